"""Boosts in declared windows of rapidity: the energies of every layer, and the error of every output."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from jetsym.errors import ProbeError, SpectrumError
from jetsym.probing.budget import within_memory
from jetsym.probing.compact import check_law
from jetsym.probing.deviation import Deviation, EquivarianceError
from jetsym.probing.equivariance import combine
from jetsym.probing.lorentz_report import BoostReport
from jetsym.probing.options import AUTO, Axis
from jetsym.probing.orbit import Orbit, Subject, token_mask
from jetsym.probing.precision import full_precision
from jetsym.probing.rounding import rounding_response
from jetsym.probing.setting import Setting
from jetsym.progress import progress_bar
from jetsym.spectrum import SO3, WindowEnergies, WindowEstimator
from jetsym.spectrum.action import Action
from jetsym.spectrum.representations import Kind, representation
from jetsym.spectrum.responses import rounding_floor
from jetsym.spectrum.result import jackknife_ratio
from jetsym.spectrum.windows import Distribution, Window, rapidity_windows

__all__ = ["measure_boosts", "window_energies", "windows_of"]


def measure_boosts(
    setting: Setting,
    inputs: Any,
    *,
    axis: Axis | None,
    n_max: int | str,
    distribution: Distribution,
    widths: Sequence[float],
) -> Callable[[Any, str], BoostReport]:
    """Prepare a measurement; what comes back measures a model, with a title. Parameters: see :func:`jetsym.probe`."""
    if setting.action is not None:
        raise ProbeError(
            "action=… moves inputs by rotations; for group='boost' the inputs must be jets or four-vectors"
        )
    windows = windows_of(distribution, widths, n_max)
    inputs, action = setting.domain.act(
        inputs, group="boost", frame="lab", axis="beam" if axis is None else axis, seed=setting.seed
    )
    check_law(setting.kinds, action)
    named = "beam" if axis is None else axis if isinstance(axis, str) else [float(x) for x in axis]
    return lambda model, title: _report_on(setting, model, inputs, action, windows, title=title, axis=named)


def windows_of(distribution: Distribution, widths: Sequence[float], n_max: int | str) -> tuple[Window, ...]:
    """The windows, by rising width; what is none is the caller's mistake, a ProbeError."""
    if n_max == AUTO:
        raise ProbeError("l_max='auto' goes with rotations; for boosts l_max is the largest order of the polynomials")
    try:
        widths = sorted({float(width) for width in widths})
        if not widths:
            raise ProbeError("widths holds no rapidity; expected at least one, such as [0.5, 1.0]")
        return rapidity_windows(distribution, widths, int(n_max))
    except (SpectrumError, TypeError, ValueError) as error:
        raise ProbeError(f"widths={widths!r}, distribution={distribution!r} cannot be used: {error}") from error


def _report_on(
    setting: Setting,
    model: Any,
    inputs: Any,
    action: Action,
    windows: Sequence[Window],
    *,
    title: str,
    axis: Any,
) -> BoostReport:
    """One model on inputs that are ready for the boosts."""
    samples = setting.domain.size(inputs)
    with setting.bench(model, inputs, action) as (subject, unmoved, respond, placed):
        start = time.perf_counter()
        size = setting.evaluations_at_once(model)
        orbit = Orbit(SO3(), 0, None, len(windows[0]), size, setting.seed, adaptive=setting.batch_size == AUTO)
        rounding, orbit = within_memory(
            orbit,
            lambda orbit: rounding_response(
                unmoved, placed, respond.kinds, seed=setting.seed, batch_size=orbit.batch_size
            ),
        )
        found = []
        evaluations = samples * sum(map(len, windows))
        with progress_bar(f"{title}, boosts", evaluations, shown=setting.progress) as advance:
            for window in windows:
                attempt = partial(window_energies, subject, placed, respond.kinds, window)
                energies, orbit = within_memory(orbit, attempt)
                found.append(energies)
                advance(samples * len(window))
        meta = {
            **setting.facts(model, placed, action),
            "group": "boost",
            "frame": "lab",
            "axis": axis,
            "method": "windows",
            "distribution": windows[0].distribution,
            "l_max": windows[0].n_max,
            "degree": windows[0].degree,
            "evaluations": evaluations,
            "seconds": time.perf_counter() - start,
            "batch_size": orbit.batch_size,
        }
    return _assemble(windows, found, rounding, respond.kinds, meta)


Found = tuple[dict[str, WindowEnergies], dict[str, list[Deviation]]]


def window_energies(subject: Subject, inputs: Any, kinds: Mapping[str, Kind], window: Window, orbit: Orbit) -> Found:
    """Window energies of every layer and deviations of every output, over all inputs."""
    domain, step = subject.domain, max(1, orbit.batch_size // len(window))
    energies: dict[str, list[WindowEnergies]] = {}
    deviations: dict[str, list[Deviation]] = {}
    still = np.broadcast_to(np.eye(3), (len(window), 3, 3))  # invariant outputs stay as they are
    for start in range(0, domain.size(inputs), step):
        some = domain.take(inputs, slice(start, start + step))
        everything = slice(0, len(window))
        for name, response in subject.along(some, window.rapidity, orbit.batch_size).items():
            mask = token_mask(domain.mask(some), response, kinds.get(name))
            try:
                estimator = WindowEstimator(window)
                with full_precision():
                    estimator.add(everything, response, mask=mask)
            except SpectrumError as error:
                raise ProbeError(f"{name!r} cannot be measured: {error}") from error
            energies.setdefault(name, []).append(estimator.result())
            if name in kinds:
                deviation = EquivarianceError(representation(kinds[name]), window.weights, len(window))
                deviation.add(everything, still, response, mask=mask)
                deviations.setdefault(name, []).append(deviation.result())
    return {name: WindowEnergies.concatenate(parts) for name, parts in energies.items()}, deviations


def _assemble(
    windows: Sequence[Window],
    found: Sequence[Found],
    rounding: Mapping[str, float],
    kinds: Mapping[str, Kind],
    meta: dict[str, Any],
) -> BoostReport:
    layers = tuple(found[0][0])
    floors = {name: max(found[0][0][name].noise_floor, rounding_floor(rounding[name])) for name in layers}
    ratios = [
        [jackknife_ratio(energies[name].deviation, energies[name].norm) for name in layers] for energies, _ in found
    ]
    return BoostReport(
        layers=layers,
        widths=np.array([window.width for window in windows]),
        energies=np.array([[energies[name].fractions for name in layers] for energies, _ in found]),
        energies_stderr=np.array([[energies[name].stderr for name in layers] for energies, _ in found]),
        squared=np.array([[value for value, _ in row] for row in ratios]),
        squared_stderr=np.array([[stderr for _, stderr in row] for row in ratios]),
        noise_floor=np.array([floors[name] for name in layers]),
        equivariance={name: combine(kinds[name], parts, floors[name]) for name, parts in found[-1][1].items()},
        meta=meta,
    )
