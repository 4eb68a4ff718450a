"""Boosts in declared windows of rapidity: the energies of every layer, and the error of every output."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jetsym.domains.base import Action
from jetsym.errors import ProbeError, SpectrumError
from jetsym.probing.forward.memory import within_memory
from jetsym.probing.forward.session import Responses, Session
from jetsym.probing.forward.settle import settle
from jetsym.probing.kinds import check_law
from jetsym.probing.measure import orbit
from jetsym.probing.measure.combination import combine, is_beyond_rule
from jetsym.probing.measure.deviation import Deviation, EquivarianceError
from jetsym.probing.measure.rounding import Rounding, along_boosts, measure_rounding, spread_of_a_constant
from jetsym.probing.options import AUTO
from jetsym.probing.reports.boosts import BoostReport
from jetsym.progress import progress_bar
from jetsym.ranks import here
from jetsym.spectrum import HeldOutElements, WindowEnergies, WindowEstimator
from jetsym.spectrum.representations import Kind, representation
from jetsym.spectrum.windows import Window, rapidity_windows
from jetsym.symmetry import Symmetry

__all__ = ["measure_boosts", "window_energies", "windows_of"]


def measure_boosts(
    session: Session, inputs: Any, symmetry: Symmetry, *, l_max: int | str, widths: Sequence[float], **_: Any
) -> Callable[[Session, str], BoostReport]:
    """Prepare a measurement; what comes back measures a session's model, with a title.

    Parameters are those of :func:`jetsym.probe`; those of rotations alone have no meaning here.
    """
    if session.action is not None:
        raise ProbeError(
            f"action=… moves inputs by rotations; for group={symmetry.group!r} the inputs must be jets or four-vectors"
        )
    windows = windows_of(symmetry, widths, l_max)
    inputs, action = session.act(inputs, symmetry)
    check_law(session.kinds, action, four_vectors=True)
    return lambda session, title: _report_on(session, inputs, action, windows, title=title, symmetry=symmetry)


def windows_of(symmetry: Symmetry, widths: Sequence[float], n_max: int | str) -> tuple[Window, ...]:
    """Return the windows of boosts, by rising width; what is none is the caller's mistake, a ProbeError."""
    if n_max == AUTO:
        raise ProbeError("l_max='auto' goes with rotations; for boosts l_max is the largest order of the polynomials")
    try:
        if not len(widths) or isinstance(widths, str):
            raise ProbeError(f"widths is {widths!r}; expected at least one rapidity, such as [0.5, 1.0]")
        widths = sorted(set(widths))
        return rapidity_windows(symmetry.distribution or "uniform", widths, int(n_max))
    except (SpectrumError, TypeError, ValueError) as error:
        raise ProbeError(
            f"widths={widths!r}, distribution={symmetry.distribution!r} cannot be used: {error}; expected rapidities, "
            "such as [0.5, 1.0]"
        ) from error


def _report_on(
    session: Session, inputs: Any, action: Action, windows: Sequence[Window], *, title: str, symmetry: Symmetry
) -> BoostReport:
    """Measure one model on inputs that are ready for the boosts."""
    samples = session.domain.size(inputs)
    with session.open(inputs, action) as (running, placed):
        start = time.perf_counter()
        few = windows[-1].rapidity[[0, len(windows[-1]) // 2, -1]]
        within_memory(running, lambda: settle(running, placed, few))
        rounding = within_memory(running, lambda: measure_rounding(running, placed, *map(along_boosts, windows)))
        found = []
        evaluations = samples * sum(len(window) + orbit.HELD_OUT for window in windows)
        with progress_bar(f"{title}, boosts", evaluations, shown=session.progress) as advance:
            for window in windows:
                found.append(window_energies(running, placed, window))
                advance(samples * (len(window) + orbit.HELD_OUT))
        meta = {
            **session.facts(placed, action),
            **symmetry.to_dict(),
            "method": "windows",
            "l_max": windows[0].n_max,
            "degree": windows[0].degree,
            "evaluations": evaluations,
            "seconds": time.perf_counter() - start,
            "batch_size": running.evaluations,
        }
    return _assemble(windows, found, rounding, running.outputs, meta)


Found = tuple[dict[str, WindowEnergies], dict[str, list[Deviation]]]


class WindowBatch:
    """A few inputs under the boosts of a window, and under held-out ones of each input's own."""

    def __init__(self, session: Session, inputs: Any, part: slice, window: Window) -> None:
        self._session, self._window = session, window
        self._inputs = session.domain.select(inputs, part)
        generators = orbit.held_out_generators(session.seed, part)
        own = np.stack([window.draw((orbit.HELD_OUT,), each) for each in generators], axis=1)
        self._held_out = HeldOutElements(window, own) if len(own) else None
        self.estimators: dict[str, WindowEstimator] = {}
        self.errors: dict[str, EquivarianceError] = {}

    def travel(self) -> None:
        """Evaluate all of them."""
        sum(
            1
            for _ in self._session.orbit(self._inputs, self._window.rapidity, [slice(0, len(self._window))], self._take)
        )
        if self._held_out is not None:
            elements = self._held_out.elements
            sum(1 for _ in self._session.orbit(self._inputs, elements, [slice(0, len(elements))], self._compare))

    def _take(self, chunk: slice, responses: Responses, _: Responses) -> None:
        window, kinds = self._window, self._session.outputs
        still = np.broadcast_to(np.eye(3), (len(window), 3, 3))  # invariant outputs stay as they are
        for name, response in responses.items():
            estimator = self.estimators[name] = WindowEstimator(window)
            mask = self._real(name, response)
            try:
                estimator.add(chunk, response, mask=mask)
            except SpectrumError as error:
                raise ProbeError(f"{name!r} cannot be measured: {error}") from error
            if name in kinds:
                rho, own = representation(kinds[name]), WindowEstimator(window)
                self.errors[name] = EquivarianceError(rho, window.weights, len(window), estimator=own)
                self.errors[name].add(chunk, still, response, mask=mask)

    def _compare(self, chunk: slice, responses: Responses, _: Responses) -> None:
        assert self._held_out is not None
        for name, response in responses.items():
            mask = self._real(name, response)
            try:
                self.estimators[name].add_held_out(self._held_out, chunk, response, mask=mask)
            except SpectrumError as error:
                raise ProbeError(f"{name!r} cannot be measured: {error}") from error
            if name in self.errors:
                self.errors[name].add_held_out(self._held_out, chunk, response, turns=False, mask=mask)

    def _real(self, name: str, response: Any) -> Any:
        return self._session.real(name, response, self._inputs)


def window_energies(session: Session, inputs: Any, window: Window) -> Found:
    """Measure window energies of every layer and deviations of every output, over all inputs."""
    ranks = here()

    def travel(part: slice) -> tuple[dict[str, WindowEnergies], dict[str, Deviation]]:
        batch = WindowBatch(session, inputs, part, window)
        batch.travel()
        return (
            {name: estimator.result() for name, estimator in batch.estimators.items()},
            {name: error.result() for name, error in batch.errors.items()},
        )

    def along() -> list[tuple[int, tuple[dict[str, WindowEnergies], dict[str, Deviation]]]]:
        most = max(1, session.evaluations // max(len(window), orbit.HELD_OUT))
        return [(part.start, travel(part)) for part in session.parts(inputs, most, ranks)]

    found = ranks.in_order(lambda: within_memory(session, along))
    energies = {name: WindowEnergies.concatenate([part[name] for part, _ in found]) for name in found[0][0]}
    return energies, {name: [errors[name] for _, errors in found] for name in found[0][1]}


def _assemble(
    windows: Sequence[Window],
    found: Sequence[Found],
    rounding: Sequence[Mapping[str, Rounding]],
    kinds: Mapping[str, Kind],
    meta: dict[str, Any],
) -> BoostReport:
    layers = tuple(found[0][0])
    sums = {
        eps: [spread_of_a_constant(WindowEstimator(window), [slice(0, len(window))], eps) for window in windows]
        for eps in {item.eps for item in rounding[0].values()}
    }
    floors = [
        {name: one[name].floor(sums[one[name].eps][place]) for name in layers} for place, one in enumerate(rounding)
    ]
    unexplained = np.array([[energies[name].unexplained for name in layers] for energies, _ in found])
    unbiased = [
        [name for name in layers if is_beyond_rule(energies[name], errors.get(name, ()), least[name])]
        for (energies, errors), least in zip(found, floors, strict=True)
    ]
    shown = [
        [energies[name].unbiased() if name in beyond else energies[name] for name in layers]
        for (energies, _), beyond in zip(found, unbiased, strict=True)
    ]
    ratios = [[item.deviation_share for item in row] for row in shown]
    return BoostReport(
        layers=layers,
        widths=np.array([window.width for window in windows]),
        energies=np.array([[item.fractions for item in row] for row in shown]),
        energies_stderr=np.array([[item.stderr for item in row] for row in shown]),
        squared=np.array([[value for value, _ in row] for row in ratios]),
        squared_stderr=np.array([[stderr for _, stderr in row] for row in ratios]),
        unexplained=unexplained[..., 0],
        unexplained_stderr=unexplained[..., 1],
        noise_floor=np.array([[one[name] for name in layers] for one in floors]),
        equivariance={
            name: combine(
                kinds[name], parts, rounding[-1][name].floor_of_error(kinds[name]), unbiased=name in unbiased[-1]
            )
            for name, parts in found[-1][1].items()
        },
        meta={**meta, "held_out": orbit.HELD_OUT, "unbiased": unbiased},
    )
