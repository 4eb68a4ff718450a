"""The commands that say what a broken symmetry costs: cost, parity, and safety under moves that are no group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jetsym.commands import check_results, keep_numbers, save, use_network
from jetsym.commands.symmetry import named_structures, read_jets, reading_options

if TYPE_CHECKING:
    from jetsym.jets.io.block import BadJets
    from jetsym.probing.reports.cost import Cost
    from jetsym.probing.reports.parity import Parity
    from jetsym.probing.reports.safety import Safety

__all__ = ["cost", "cost_calculator", "parity", "parity_calculator", "safety"]


def cost(
    model: str,
    *,
    inputs: str | list[str] | None = None,
    mapping: str | None = None,
    tree: str | None = None,
    vectors: str | None = None,
    bad_jets: BadJets = "raise",
    skip_bad: bool = False,
    network: str | None = None,
    out: str | None = None,
    **options: Any,
) -> Cost:
    """Measure the part of a tagger's loss that a broken symmetry makes; see :func:`jetsym.cost`.

    Parameters
    ----------
    model
        As for :func:`jetsym.commands.symmetry.probe`.
    inputs
        Files of jets with labels; the bundled jets where none are named.
    mapping, tree, vectors, bad_jets, skip_bad, network
        As for :func:`jetsym.commands.symmetry.probe`.
    out
        A JSON file to write the numbers to.
    """
    from jetsym.probing.measure.cost import cost as measure

    check_results(out, model, inputs)
    use_network(network)
    how = reading_options(mapping=mapping, tree=tree, vectors=vectors, bad_jets=bad_jets, skip_bad=skip_bad)
    return keep_numbers(measure(model, read_jets(model, inputs, how, options), **options), out)


def cost_calculator(
    *, calculator: str = "", inputs: str | list[str] | None = None, out: str | None = None, **options: Any
) -> Cost:
    """Measure the part of a calculator's squared errors that a broken symmetry makes; see :func:`jetsym.cost`.

    Parameters
    ----------
    calculator
        As for :func:`jetsym.commands.symmetry.probe_calculator`.
    inputs
        Files of structures with energies, forces or both.
    out
        A JSON file to write the numbers to.
    """
    from jetsym.atoms.workflows.calculators import calculator_of
    from jetsym.probing.measure.cost import cost as measure

    check_results(out, inputs)
    return keep_numbers(measure(calculator_of(calculator), named_structures(inputs), **options), out)


def parity(
    model: str,
    *,
    inputs: str | list[str] | None = None,
    mapping: str | None = None,
    tree: str | None = None,
    vectors: str | None = None,
    bad_jets: BadJets = "raise",
    skip_bad: bool = False,
    network: str | None = None,
    out: str | None = None,
    **options: Any,
) -> Parity:
    """Measure the odd part of a tagger's logits under the inversion or a reflection; see :func:`jetsym.parity`.

    Parameters
    ----------
    model
        As for :func:`jetsym.commands.symmetry.probe`.
    inputs
        Files of jets, with labels or without; the bundled jets where none are named.
    mapping, tree, vectors, bad_jets, skip_bad, network
        As for :func:`jetsym.commands.symmetry.probe`.
    out
        A JSON file to write the numbers to.
    """
    from jetsym.probing.measure.parity import parity as measure

    check_results(out, model, inputs)
    use_network(network)
    how = reading_options(mapping=mapping, tree=tree, vectors=vectors, bad_jets=bad_jets, skip_bad=skip_bad)
    return keep_numbers(measure(model, read_jets(model, inputs, how, options), **options), out)


def parity_calculator(
    *, calculator: str = "", inputs: str | list[str] | None = None, out: str | None = None, **options: Any
) -> Parity:
    """Measure the odd part of a calculator's energies under the inversion; see :func:`jetsym.parity`.

    Parameters
    ----------
    calculator
        As for :func:`jetsym.commands.symmetry.probe_calculator`.
    inputs
        Files of structures.
    out
        A JSON file to write the numbers to.
    """
    from jetsym.atoms.workflows.calculators import calculator_of
    from jetsym.probing.measure.parity import parity as measure

    check_results(out, inputs)
    return keep_numbers(measure(calculator_of(calculator), named_structures(inputs), **options), out)


def safety(
    model: str,
    *,
    inputs: str | list[str] | None = None,
    mapping: str | None = None,
    tree: str | None = None,
    bad_jets: BadJets = "raise",
    skip_bad: bool = False,
    network: str | None = None,
    out: str | None = None,
    **options: Any,
) -> Safety:
    """Measure what collinear splittings or soft emissions change of a tagger's logits; see :func:`jetsym.safety`.

    Parameters
    ----------
    model
        As for :func:`jetsym.commands.symmetry.probe`.
    inputs
        Files of jets; the bundled jets where none are named.
    mapping, tree, bad_jets, skip_bad, network
        As for :func:`jetsym.commands.symmetry.probe`.
    out
        A JSON file to write the numbers to; a figure (.png) of the same name goes beside it.
    """
    from jetsym.probing.measure.safety import safety as measure

    check_results(out, model, inputs, beside=(".png",))
    use_network(network)
    how = reading_options(mapping=mapping, tree=tree, bad_jets=bad_jets, skip_bad=skip_bad)
    report = measure(model, read_jets(model, inputs, how, options), **options)
    save(report, out)
    print(report, end="")
    return report
