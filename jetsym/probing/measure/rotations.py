"""Spectra and equivariance errors under a compact group: the exact part of a probe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jetsym.domains.base import Action
from jetsym.errors import ProbeError
from jetsym.probing.forward.laws import settle_laws
from jetsym.probing.forward.memory import within_memory
from jetsym.probing.forward.session import Session
from jetsym.probing.kinds import check_law, representation_of
from jetsym.probing.measure import resolution
from jetsym.probing.measure.combination import combine, is_beyond_rule
from jetsym.probing.measure.dependence import measure_dependence
from jetsym.probing.measure.deviation import Deviation
from jetsym.probing.measure.orbit import FEW, Measurement, Orbit, measure, orbit_of, plan_passes
from jetsym.probing.measure.rounding import Rounding, along_turns, measure_rounding
from jetsym.probing.options import AUTO, BESIDE, LEAST_ROTATIONS, affordable, check_kinds
from jetsym.probing.reports.spectrum import SymmetryReport
from jetsym.progress import progress_bar
from jetsym.ranks import here
from jetsym.spectrum import FiniteGroup, Group, Spectrum, group_of
from jetsym.spectrum.irreps import Irrep
from jetsym.spectrum.representations import Kind
from jetsym.symmetry import Symmetry

__all__ = ["measure_rotations"]


def measure_rotations(
    session: Session,
    inputs: Any,
    symmetry: Symmetry,
    *,
    l_max: int | str,
    tolerance: float = 0.01,
    method: str = AUTO,
    n_rotations: int | None = None,
    **_: Any,
) -> Callable[[Session, str], SymmetryReport]:
    """Prepare a measurement; what comes back measures a session's model, or that of a copy, with a title.

    Parameters are those of :func:`jetsym.probe`; those of boosts have no meaning here. l_max="auto" is settled here,
    with the session's own model.
    """
    group = group_of(symmetry)
    if method == AUTO and n_rotations is None and l_max != AUTO:
        n_rotations = _few_enough(session, inputs, group, int(l_max))
    exact = method != "random" and n_rotations is None
    resolved = l_max == AUTO or not exact or isinstance(group, FiniteGroup)
    check_kinds(session.kinds, None if resolved else int(l_max))
    inputs, action = session.act(inputs, symmetry)
    check_law(session.kinds, action, four_vectors=True)

    def report(session: Session, title: str, l_max: int, inputs: Any) -> SymmetryReport:
        orbit = orbit_of(group, method=method, l_max=l_max, n_rotations=n_rotations, seed=session.seed)
        return _report_on(session, inputs, action, orbit, title=title, symmetry=symmetry)

    if l_max != AUTO:
        return lambda session, title: report(session, title, int(l_max), inputs)
    found = _settled(
        session,
        inputs,
        report=lambda degree, some: report(session, f"l_max {degree}", degree, some),
        tolerance=tolerance,
        about_an_axis=group.axis is not None,
    )

    def with_resolution(session: Session, title: str) -> SymmetryReport:
        final = report(session, title, found.l_max, inputs)
        return replace(final, meta={**final.meta, "resolution": found.to_dict()})

    return with_resolution


def _few_enough(session: Session, inputs: Any, group: Group, l_max: int) -> int | None:
    """Return how many random rotations keep to the calls that a domain allows; None where quadrature does.

    Raises
    ------
    ProbeError
        There are too many inputs for that.
    """
    most = session.domain.most_calls(inputs)
    if most is None:
        return None
    by_rule = orbit_of(group, method=AUTO, l_max=l_max, n_rotations=None, seed=0)
    size = session.domain.size(inputs)
    if by_rule.evaluations(size) <= most - BESIDE - size:
        return None
    meant = "n_rotations=… or method=…"
    return affordable(size, by_rule.cosets, most, beside=BESIDE + size, least=LEAST_ROTATIONS, meant=meant)


def _settled(
    session: Session,
    inputs: Any,
    *,
    report: Callable[[int, Any], SymmetryReport],
    tolerance: float,
    about_an_axis: bool,
) -> resolution.Resolution:
    """Find the l_max that the first few inputs need."""
    if not 0 < tolerance < 1:
        raise ProbeError(f"tolerance is {tolerance}; expected a fraction of power between 0 and 1")
    some = session.domain.select(inputs, slice(0, resolution.INPUTS))
    largest = max([0, *(representation_of(kind).lam for kind in session.kinds.values())])
    steps = resolution.ladder(about_an_axis=about_an_axis, at_least=largest)
    return resolution.settle(
        lambda l_max: report(l_max, some), steps, tolerance=tolerance, inputs=session.domain.size(some)
    )


def _report_on(
    session: Session, inputs: Any, action: Action, orbit: Orbit, *, title: str, symmetry: Symmetry
) -> SymmetryReport:
    """Measure one model on inputs that are ready for the action."""
    with session.open(inputs, action) as (running, placed):
        start = time.perf_counter()
        _announce(running, placed, orbit)
        within_memory(running, lambda: orbit.settle(running, placed))
        remarks = within_memory(running, lambda: _laws_of_layers(running, placed, action, orbit))
        way = along_turns(orbit.group)
        (rounding,), plans = within_memory(
            running, lambda: (measure_rounding(running, placed, way), plan_passes(running, placed, orbit))
        )
        (element,) = orbit.group.sample(1, np.random.default_rng(session.seed))
        dependence = within_memory(running, lambda: measure_dependence(running, placed, element[None]))
        evaluations = sum(len(plan.groups) * orbit.evaluations(plan.inputs.stop - plan.inputs.start) for plan in plans)
        labels = {name: running.domain.baselines(placed, name) for name in running.outputs}
        with progress_bar(title, evaluations, shown=session.progress) as advance:
            apart = [name for name, own in labels.items() if own is not None]
            found = measure(running, placed, orbit, plans, lambda count: advance(count * here().size), by_input=apart)
        holding = {name: running.holding(name, placed) for name in found.spectra}
        remarks += running.domain.remarks(running.model)
        meta = {
            **session.facts(placed, action),
            **symmetry.to_dict(),
            "method": "random" if orbit.rule is None else "quadrature",
            "l_max": orbit.l_max,
            "degree": None if orbit.rule is None else orbit.rule.degree,
            "n_rotations": orbit.n_rotations,
            "evaluations": evaluations,
            "passes": found.passes,
            "seconds": time.perf_counter() - start,
            "batch_size": running.evaluations,
            "dependence": dependence,
            **running.domain.facts(running.model),
        }
        meta["notes"] = [*meta["notes"], *remarks]
        meta["laws"] = {name: law.name for name, law in running.laws.items()}
    return _assemble(found, rounding, orbit, running.kinds_measured, labels, holding, meta)


def _laws_of_layers(session: Session, inputs: Any, action: Action, orbit: Orbit) -> list[str]:
    """Settle which layers have a law, where the action says how they turn; return what a reader must know."""
    if not action.on_outputs or (isinstance(orbit.group, FiniteGroup) and orbit.group.on_four_vectors):
        if session.said:
            raise ProbeError(
                f"layers says what layers are, but {action.note} Their law is not known there: leave it out"
            )
        return []
    elements = orbit.group.sample(FEW, np.random.default_rng(session.seed))
    return list(settle_laws(session, inputs, elements, l_max=orbit.l_max))


def _announce(session: Session, inputs: Any, orbit: Orbit) -> None:
    """Say how many calls there will be, where they are dear and progress is shown."""
    if session.progress and session.domain.most_calls(inputs) is not None:
        size = session.domain.size(inputs)
        name = getattr(session.model, "name", "the model")
        print(
            f"{name}: {orbit.evaluations(size):,} calls for {size} inputs under {orbit.n_rotations} rotations "
            f"(method {'random' if orbit.rule is None else 'quadrature'}), and at most {BESIDE + size} beside them",
            file=sys.stderr,
        )


def _assemble(
    found: Measurement,
    rounding: Mapping[str, Rounding],
    orbit: Orbit,
    kinds: Mapping[str, Kind],
    labels: Mapping[str, Any],
    holding: Mapping[str, NDArray[np.bool_] | None],
    meta: dict[str, Any],
) -> SymmetryReport:
    """Put the report of a finished measurement together; ``holding`` says which inputs have a response."""
    sums = {eps: orbit.rounding_of_sums(eps) for eps in {item.eps for item in rounding.values()}}
    floors = {name: rounding[name].floor(sums[rounding[name].eps]) for name in found.spectra}
    # One layer after the other, as the numbers of every input are most of what a probe of many inputs holds.
    layers = {
        name: _Layer.of(
            Spectrum.concatenate(found.spectra.pop(name)),
            found.deviations.get(name, ()),
            floors[name],
            holding[name],
            sees_all=orbit.sees_all,
        )
        for name in floors
    }
    errors = {
        name: combine(
            kinds[name],
            parts,
            rounding[name].floor_of_error(kinds[name]),
            exact_to=_error_exact_to(representation_of(kinds[name], orbit.group).lam, meta),
            unbiased=name in layers and layers[name].is_unbiased,
            labels=labels.get(name),
        )
        for name, parts in found.deviations.items()
    }
    errors |= {name: replace(errors[name], kind=said) for name, said in meta["laws"].items() if name in errors}
    if orbit.sees_all:
        errors = {name: replace(item, unexplained=0.0, unexplained_stderr=0.0) for name, item in errors.items()}
    rows = [*layers.values()]
    return SymmetryReport(
        layers=tuple(layers),
        irreps=rows[0].irreps,
        fractions=np.stack([row.fractions for row in rows]),
        stderr=np.stack([row.stderr for row in rows]),
        norm=np.array([row.norm for row in rows]),
        tail=np.array([row.tail[0] for row in rows]),
        tail_stderr=np.array([row.tail[1] for row in rows]),
        unexplained=np.array([row.unexplained[0] for row in rows]),
        unexplained_stderr=np.array([row.unexplained[1] for row in rows]),
        noise_floor=np.array([*floors.values()]),
        equivariance=errors,
        meta={
            **meta,
            "held_out": orbit.n_held_out,
            "unbiased": [name for name, row in layers.items() if row.is_unbiased],
        },
    )


class _Layer(NamedTuple):
    """What a report says of a layer, over all inputs: the last two with their errors."""

    irreps: tuple[Irrep, ...]
    is_unbiased: bool
    fractions: NDArray[np.float64]
    stderr: NDArray[np.float64]
    norm: float
    tail: tuple[float, float]
    unexplained: tuple[float, float]

    @classmethod
    def of(
        cls,
        spectrum: Spectrum,
        errors: Sequence[Deviation],
        floor: float,
        held: NDArray[np.bool_] | None,
        *,
        sees_all: bool,
    ) -> _Layer:
        """Sum over inputs, by held-out elements where the rule does not suffice."""
        is_unbiased = is_beyond_rule(spectrum, errors, floor)
        if is_unbiased:
            spectrum = spectrum.unbiased()
        tail = spectrum.tail, spectrum.tail_stderr
        unexplained = tail if sees_all else spectrum.unexplained  # where nothing aliases, what is not shown is the tail
        norm = _mean(spectrum.norm, held)
        return cls(spectrum.irreps, is_unbiased, spectrum.fractions, spectrum.stderr, norm, tail, unexplained)


def _mean(norm: NDArray[np.float64], held: NDArray[np.bool_] | None) -> float:
    """Return the mean power of the inputs that have a response; of the others it is a zero that stands for none."""
    return float(norm.mean() if held is None or not held.any() else norm[held].mean())


def _error_exact_to(lam: int, meta: Mapping[str, Any]) -> int | None:
    """Return up to which λ the error spectrum of an output of bandwidth l_max is exact: degree − (l_max + λ_α)."""
    if meta["degree"] is None:
        return None
    return int(min(meta["l_max"], meta["degree"] - meta["l_max"] - lam))
