"""Spectra and equivariance errors under a compact group: the exact part of a probe."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from jetsym.domains.base import Action
from jetsym.errors import ProbeError
from jetsym.probing.forward.memory import within_memory
from jetsym.probing.forward.session import Setting
from jetsym.probing.kinds import check_law, representation_of
from jetsym.probing.measure import resolution
from jetsym.probing.measure.deviation import combine
from jetsym.probing.measure.orbit import Measurement, Orbit, measure, orbit_of, plan_passes
from jetsym.probing.measure.rounding import rounding_response
from jetsym.probing.options import AUTO, Axis, check_kinds, group_of
from jetsym.probing.reports.spectrum import SymmetryReport
from jetsym.progress import progress_bar
from jetsym.spectrum import Spectrum
from jetsym.spectrum.representations import Kind, representation
from jetsym.spectrum.responses import rounding_floor

__all__ = ["measure_compact", "report_on"]


def measure_compact(
    setting: Setting,
    model: Any,
    inputs: Any,
    *,
    group: str,
    frame: str | None = None,
    axis: Axis | None = None,
    l_max: int | str,
    tolerance: float = 0.01,
    method: str = AUTO,
    n_rotations: int | None = None,
) -> Callable[[Any, str], SymmetryReport]:
    """Prepare a measurement; what comes back measures a model, such as this one or an untrained copy, with a title.

    Parameters are those of :func:`jetsym.probe`. l_max="auto" is settled here, with ``model``.
    """
    element = group_of(group, axis)
    exact = method != "random" and n_rotations is None
    check_kinds(setting.kinds, None if l_max == AUTO or not exact else int(l_max))
    action = None
    if setting.action is None:
        about = axis if isinstance(axis, str) else "beam" if axis is None else element.axis
        inputs, action = setting.domain.act(inputs, group=group, frame=frame or "lab", axis=about, seed=setting.seed)
        check_law(setting.kinds, action)

    def orbit_for(l_max: int) -> Orbit:
        return orbit_of(
            element,
            method=method,
            l_max=l_max,
            n_rotations=n_rotations,
            batch_size=setting.evaluations_at_once(model),
            seed=setting.seed,
            adaptive=setting.batch_size == AUTO,
        )

    where = {"frame": frame or "lab", "axis": axis if isinstance(axis, str) else _numbers(element.axis)}

    def report(model: Any, title: str, l_max: int, inputs: Any) -> SymmetryReport:
        return report_on(setting, model, inputs, action, orbit_for(l_max), title=title, where=where)

    if l_max != AUTO:
        return lambda model, title: report(model, title, int(l_max), inputs)
    found = _settled(
        setting,
        inputs,
        report=lambda degree, some: report(model, f"l_max {degree}", degree, some),
        tolerance=tolerance,
        about_an_axis=element.axis is not None,
    )

    def with_resolution(model: Any, title: str) -> SymmetryReport:
        final = report(model, title, found.l_max, inputs)
        return replace(final, meta={**final.meta, "resolution": found.to_dict()})

    return with_resolution


def _settled(
    setting: Setting,
    inputs: Any,
    *,
    report: Callable[[int, Any], SymmetryReport],
    tolerance: float,
    about_an_axis: bool,
) -> resolution.Resolution:
    """The l_max that the first few inputs need."""
    if not 0 < tolerance < 1:
        raise ProbeError(f"tolerance is {tolerance}; expected a fraction of power between 0 and 1")
    some = setting.domain.take(inputs, slice(0, resolution.INPUTS))
    largest = max([0, *(representation_of(kind).lam for kind in setting.kinds.values())])
    steps = resolution.ladder(about_an_axis=about_an_axis, at_least=largest)
    return resolution.settle(
        lambda l_max: report(l_max, some), steps, tolerance=tolerance, inputs=setting.domain.size(some)
    )


def report_on(
    setting: Setting,
    model: Any,
    inputs: Any,
    action: Action | None,
    orbit: Orbit,
    *,
    title: str,
    where: Mapping[str, Any],
) -> SymmetryReport:
    """One model on inputs that are ready for the action."""
    with setting.bench(model, inputs, action) as (subject, unmoved, respond, placed):
        start = time.perf_counter()
        (rounding, plans), orbit = within_memory(
            orbit,
            lambda orbit: (
                rounding_response(unmoved, placed, respond.kinds, seed=orbit.seed, batch_size=orbit.batch_size),
                plan_passes(subject, placed, orbit, respond.kinds),
            ),
        )
        evaluations = sum(len(plan.groups) * orbit.evaluations(plan.inputs.stop - plan.inputs.start) for plan in plans)
        with progress_bar(title, evaluations, shown=setting.progress) as advance:
            found = measure(subject, placed, orbit, plans, respond.kinds, advance)
        meta = {
            **setting.facts(model, placed, action),
            "group": orbit.group.name,
            **where,
            "method": "random" if orbit.rule is None else "quadrature",
            "l_max": orbit.l_max,
            "degree": None if orbit.rule is None else orbit.rule.degree,
            "n_rotations": orbit.n_rotations,
            "evaluations": evaluations,
            "passes": found.passes,
            "seconds": time.perf_counter() - start,
            "batch_size": found.orbit.batch_size,
        }
    return _assemble(found, rounding, respond.kinds, meta)


def _assemble(
    found: Measurement, rounding: Mapping[str, float], kinds: Mapping[str, Kind], meta: dict[str, Any]
) -> SymmetryReport:
    """The report of a finished measurement."""
    spectra = {name: Spectrum.concatenate(parts) for name, parts in found.spectra.items()}
    floors = {name: max(item.noise_floor, rounding_floor(rounding[name])) for name, item in spectra.items()}
    items = list(spectra.values())
    return SymmetryReport(
        layers=tuple(spectra),
        irreps=items[0].irreps,
        fractions=np.stack([item.fractions for item in items]),
        stderr=np.stack([item.stderr for item in items]),
        norm=np.array([item.norm.mean() for item in items]),
        tail=np.array([item.tail for item in items]),
        tail_stderr=np.array([item.tail_stderr for item in items]),
        noise_floor=np.array([floors[name] for name in spectra]),
        equivariance={
            name: combine(kinds[name], parts, floors[name], exact_to=_error_exact_to(kinds[name], meta))
            for name, parts in found.errors.items()
        },
        meta=meta,
    )


def _error_exact_to(kind: Kind, meta: Mapping[str, Any]) -> int | None:
    """Up to which λ the error spectrum of an output of bandwidth l_max is exact: degree − (l_max + λ_α)."""
    if meta["degree"] is None:
        return None
    return int(min(meta["l_max"], meta["degree"] - meta["l_max"] - representation(kind).lam))


def _numbers(axis: Any) -> list[float] | None:
    return None if axis is None else [float(x) for x in axis]
