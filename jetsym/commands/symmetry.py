"""The commands that see symmetries: probe, attribute, diagnose, compare, spectra over training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetsym.commands import check_results, save, use_network
from jetsym.commands.pages import diagnosis_page, keep_attribution
from jetsym.errors import ConfigError
from jetsym.files import write_atomically
from jetsym.ranks import here

if TYPE_CHECKING:
    from jetsym.jets.io.block import BadJets
    from jetsym.probing.reports.attribution import Attribution
    from jetsym.probing.reports.comparison import Comparison
    from jetsym.probing.reports.diagnosis import Diagnosis
    from jetsym.probing.reports.history import History
    from jetsym.probing.reports.read import Report

__all__ = [
    "attribute",
    "compare",
    "diagnose",
    "probe",
    "probe_calculator",
    "read_jets",
    "reading_options",
    "spectra",
]

#: File in the folder of a run for its spectra over training.
KEPT = "over_training.json"


def probe(
    model: str,
    *,
    inputs: str | list[str] | None = None,
    mapping: str | None = None,
    tree: str | None = None,
    vectors: str | None = None,
    bad_jets: BadJets = "raise",
    skip_bad: bool = False,
    out: str | None = None,
    over_training: bool = False,
    network: str | None = None,
    trust: bool = False,
    **options: Any,
) -> Report | History:
    """Measure which symmetry a trained tagger has; see :func:`jetsym.probe`.

    Parameters
    ----------
    model
        A run folder, a checkpoint, or weights in weaver's layout (.pt).
    inputs
        Files of jets to probe with; the bundled jets where none are named.
    mapping
        A YAML file that says which branches of other ROOT trees hold what, see :mod:`jetsym.jets.io.mapping`.
    tree
        Name of the tree that the mapping is of, whatever it says itself.
    vectors
        The input that holds px, py, pz and energy, where the mapping is a data configuration of weaver-core; by default
        pf_vectors.
    bad_jets
        "raise" or "drop", for jets without particles or with NaN or infinity; how many is said.
    skip_bad
        Leave out files of jets that cannot be read, and damaged parts of files; which is said.
    out
        A JSON file to write the report to; a figure (.png) and a page (.html) of the same name go beside it.
    over_training
        Show what a run with --monitor_every measured as it was trained, instead of measuring it now: a table, and the
        data and the figure in ``over_training.json`` and ``.png`` in its folder, or as ``out`` says.
    network
        The class of a network of one's own that was trained, as package.module:Class; its code runs.
    trust
        Open a model of atoms that would be refused, see :func:`jetsym.atoms.load`: whoever made it can run anything.
        Files of taggers hold nothing that could run, or are not opened at all.
    """
    from jetsym.probing.probe import probe as measure

    check_results(out, model, inputs, beside=(".html", ".png"))
    use_network(network)
    how = reading_options(mapping=mapping, tree=tree, vectors=vectors, bad_jets=bad_jets, skip_bad=skip_bad)
    if over_training:
        from jetsym.probing.reports.history import History

        why = "--over_training shows what was measured earlier"
        for name, value in how.items():
            raise ConfigError(f"--{name} is {value!r}, but {why}; leave it out")
        _refuse_changed(measure, {"inputs": inputs, **options}, why=why)
        return _kept(History.load(model), model, out)
    subject: Any = model
    if trust:
        from jetsym.atoms import load

        subject = load(model, trust=True)
    return keep(measure(subject, read_jets(model, inputs, how, options), **options), out)


def probe_calculator(
    *,
    calculator: str = "",
    inputs: str | list[str] | None = None,
    out: str | None = None,
    **options: Any,
) -> Report:
    """Measure which symmetry a calculator of ASE has; see :func:`jetsym.probe`.

    Parameters
    ----------
    calculator
        A Python entry that makes it, module:factory, such as ase.calculators.emt:EMT; its code runs.
    inputs
        Files of structures.
    out
        As for :func:`jetsym.commands.symmetry.probe`.
    """
    from jetsym.atoms.workflows.calculators import calculator_of
    from jetsym.probing.probe import probe as measure

    check_results(out, inputs, beside=(".html", ".png"))
    structures = named_structures(inputs)
    return keep(measure(calculator_of(calculator), structures, **options), out)


def named_structures(inputs: str | list[str] | None) -> str | list[str]:
    """Return the files of structures that are named, and refuse that there are none."""
    if inputs is None:
        raise ConfigError("--inputs names no files; expected those of structures, such as frames.xyz")
    return inputs


def keep(report: Report, out: str | None) -> Report:
    """Save the report of a probe with its figure and its page, and print it."""
    from jetsym.probing.diagnosis.page import report_page

    save(report, out, lambda figure: report_page(report, figure))
    print(report)
    return report


def attribute(
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
) -> Attribution:
    """Measure what breaks the symmetry of a trained tagger; see :mod:`jetsym.probing.measure.attribution`.

    Parameters
    ----------
    model
        As for :func:`jetsym.commands.symmetry.probe`.
    inputs
        Files of jets to measure on; the bundled jets where none are named.
    mapping, tree, vectors, bad_jets, skip_bad, network, out
        As for :func:`jetsym.commands.symmetry.probe`.
    """
    from jetsym.jets.sources import ALL_PARTICLES
    from jetsym.probing.measure.attribution import attribute as measure

    check_results(out, model, inputs, beside=(".html", ".png"))
    use_network(network)
    how = reading_options(mapping=mapping, tree=tree, vectors=vectors, bad_jets=bad_jets, skip_bad=skip_bad)
    jets = read_jets(model, inputs, how, options, max_particles=ALL_PARTICLES)
    return keep_attribution(measure(model, jets, **options), out)


def diagnose(
    report: str,
    *,
    baseline: str | None = None,
    history: list[str] | None = None,
    readout: str | None = None,
    needs: dict[str, list[str]] | None = None,
    thresholds: dict[str, float] | None = None,
    out: str | None = None,
) -> Diagnosis:
    """Say what is wrong with a model from its report, and what to try; see :func:`jetsym.diagnose`.

    Parameters
    ----------
    report
        A JSON file that jetsym probe wrote; or the folder of a run with --monitor_every, of which the last probe is
        judged, and the earlier ones for drift.
    baseline
        That of an untrained copy; by default the one in the report.
    history
        Those of earlier steps of the training, in their order and measured alike, for drift.
    readout
        The layer that the outputs are read from; by default those that they depend on by themselves.
    needs
        Output -> irreps that it needs, such as '{"dipole": ["(1,+)"]}'; by default those of its kind.
    thresholds
        Bounds to change, such as '{"deviation": 0.05}'; print(jetsym.probing.diagnosis.Thresholds()) shows all.
    out
        A JSON file to write the findings to; a page (.html) of the same name, with the report's figure, goes beside it.
    """
    from jetsym.probing.diagnosis.diagnose import diagnose as find
    from jetsym.probing.diagnosis.thresholds import Thresholds
    from jetsym.probing.reports.history import History
    from jetsym.probing.reports.read import read_report
    from jetsym.probing.reports.spectrum import SymmetryReport

    check_results(out, report, baseline, *(history or []), beside=(".html",))
    past = [SymmetryReport.load(path) for path in history or []]
    subject: Report
    if Path(report).is_dir():
        *watched, subject = History.load(report).reports
        past = past or watched
    else:
        subject = read_report(report)
    found = find(
        subject,
        baseline=None if baseline is None else read_report(baseline),
        history=past,
        readout=readout,
        needs=needs,
        thresholds=Thresholds(**(thresholds or {})),
    )
    if out is not None and here().is_first:
        found.save(out)
        write_atomically(Path(out).with_suffix(".html"), diagnosis_page(found, subject))
    print(found, end="")
    return found


def compare(reports: list[str], *, names: list[str] | None = None, out: str | None = None) -> Comparison:
    """Put reports side by side; see :func:`jetsym.compare`.

    Parameters
    ----------
    reports
        JSON files that jetsym probe wrote.
    names
        What to call them; by default the names of the files.
    out
        A JSON file to write all of it to; a figure (.png) and a page (.html) of the same name go beside it.
    """
    from jetsym.pages import page
    from jetsym.probing.reports.comparison import compare as put_together, numbered
    from jetsym.probing.reports.read import read_report

    check_results(out, *reports, beside=(".html", ".png"))
    read: list[Any] = [read_report(path) for path in reports]
    compared = put_together(*read, names=names or numbered([Path(path).stem for path in reports]))
    title, described = f"Symmetry of {', '.join(compared.names)}", "Reports side by side, by depth"
    save(compared, out, lambda figure: page(title, compared.section(), figure=figure, description=described))
    print(compared, end="")
    return compared


def spectra(
    run: str,
    *,
    inputs: str | list[str],
    out: str | None = None,
    limit: int = 8,
    l_max: int = 4,
    trust: bool = False,
) -> History:
    """Print the symmetry of a metatrain run's model over training.

    Parameters
    ----------
    run
        Folder of a run of ``jetsym atoms train``.
    inputs
        Files of structures.
    out
        A JSON file to write the history to, instead of ``over_training.json`` in the folder of the run; a figure
        (.png) of the same name goes beside it.
    limit
        At most so many structures.
    l_max
        Largest λ.
    trust
        Open checkpoints that would be refused, see :func:`jetsym.atoms.load`: whoever made them can run anything.
    """
    from jetsym.atoms.training.over_training import over_training

    check_results(out or str(Path(run, KEPT)), run, inputs, beside=(".png",))
    return _kept(over_training(run, inputs, limit=limit, l_max=l_max, trust=trust), run, out)


def reading_options(**options: Any) -> dict[str, Any]:
    """Return the options of reading jets that were given."""
    return {name: value for name, value in options.items() if value not in (None, "raise", False)}


def read_jets(
    model: str,
    inputs: str | list[str] | None,
    how: dict[str, Any],
    options: dict[str, Any],
    *,
    max_particles: int | None = None,
) -> Any:
    """Return inputs as named, or jets read as ``how`` says, by default as many particles as the model takes."""
    if not how:
        return inputs
    if inputs is None:
        name, value = next(iter(how.items()))
        raise ConfigError(f"--{name} is {value!r}, and --inputs names no files; expected both")
    from jetsym.jets import read
    from jetsym.jets.checkpoint import load
    from jetsym.jets.io.mapping.parse import tagger_mapping
    from jetsym.jets.io.oddities import Oddities

    named = {name: how.pop(name, None) for name in ("vectors", "tree")}
    odd, tagger = Oddities(), load(model)
    most, kept = max_particles or tagger.max_particles, tagger.standardisation
    mapping = tagger_mapping(how.pop("mapping", None), **named, test=True, standardisation=kept)
    limit = options.get("limit")
    jets = read(inputs, limit=limit, max_particles=most, columns="full", mapping=mapping, **how, oddities=odd)
    odd.say()
    return jets


def _kept(history: History, run: str, out: str | None) -> History:
    """Save the spectra of a run over its training with their figure, and print them."""
    save(history, out or Path(run, KEPT))
    print(history, end="")
    return history


def _refuse_changed(function: Callable[..., Any], options: Mapping[str, Any], *, why: str) -> None:
    """Refuse options of a function that are not as by default, where they would have no effect."""
    defaults = {name: parameter.default for name, parameter in signature(function).parameters.items()}
    for name, value in options.items():
        given = tuple(value) if isinstance(value, list) else value  # a sequence from the command line is a list
        if given != defaults[name]:
            raise ConfigError(f"--{name} is {value!r}, but {why}; leave it out")
