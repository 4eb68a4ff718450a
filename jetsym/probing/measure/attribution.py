"""What breaks a symmetry: the equivariance error A measured again with its possible sources switched, one at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from inspect import signature
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from jetsym.arguments import above, anything, at_least, by_name, checked
from jetsym.domains.base import Source
from jetsym.errors import JetsymError, ProbeError, closest
from jetsym.probing.forward.calling import in_numbers, plain_call
from jetsym.probing.forward.closed import has_closed
from jetsym.probing.forward.memory import within_memory
from jetsym.probing.forward.session import Session
from jetsym.probing.forward.settle import settle
from jetsym.probing.kinds import check_law
from jetsym.probing.measure.boosts import window_energies, windows_of
from jetsym.probing.measure.combination import combine, errors_of, is_beyond_rule, scatter, stderr_over_size
from jetsym.probing.measure.deviation import Deviation
from jetsym.probing.measure.orbit import measure, orbit_of, plan_passes
from jetsym.probing.measure.rounding import along_boosts, along_turns, measure_rounding
from jetsym.probing.options import AUTO, check, check_kinds
from jetsym.probing.reports.attribution import Attribution, Effect, judged
from jetsym.probing.reports.equivariance import KNOWN_TO, Equivariance
from jetsym.progress import progress_bar
from jetsym.spectrum import Spectrum, WindowEnergies, group_of
from jetsym.spectrum.heldout import chance
from jetsym.spectrum.representations import Kind
from jetsym.symmetry import Axis, GroupName, Symmetry

__all__ = ["attribute"]

Call = Callable[[Any, Any], Any]

MIXED_PRECISION = "mixed precision"


class Measured(NamedTuple):
    """One measurement of all outputs.

    Parameters
    ----------
    kinds, floors
        Of every output, and its noise floor as a fraction of power.
    parts
        Its deviations, one row per input.
    beyond
        Outputs of which the rule does not see all, so that held-out elements tell.
    facts
        Of the measurement.
    """

    kinds: Mapping[str, Kind]
    floors: Mapping[str, float]
    parts: Mapping[str, Sequence[Deviation]]
    beyond: frozenset[str]
    facts: Mapping[str, Any]

    def combined(self, name: str, *, unbiased: bool) -> Equivariance:
        """Return the error of an output over all inputs."""
        return combine(self.kinds[name], self.parts[name], self.floors[name], unbiased=unbiased)


@checked(
    ProbeError,
    width=above(0),
    limit=at_least(1),
    seed=at_least(0),
    batch_size=at_least(1),
    l_max=anything,
    device=anything,
    moves=anything,
    outputs=by_name,
    axis=anything,
)
def attribute(
    model: Any,
    inputs: Any = None,
    *,
    group: str = GroupName.O3,
    frame: str | None = None,
    axis: Axis | None = None,
    l_max: int = 2,
    width: float = 0.5,
    sources: str | Sequence[str] = AUTO,
    outputs: Mapping[str, Kind | None] | None = None,
    moves: Mapping[Any, Any] | None = None,
    call: Callable[[Any, Any], Any] | None = None,
    limit: int = 64,
    seed: int = 0,
    device: str | None = None,
    batch_size: int | str = AUTO,
    progress: bool = True,
) -> Attribution:
    """Measure which inputs, features and settings a model's equivariance error comes from.

    A is measured as it is, and again with each source switched off, or on, on the same inputs and group elements. What
    is compared is A itself, over the size of the output as it is: a size that changes with a source tells nothing.
    Where a rule does not see all of A in one of the two, estimates from held-out elements are compared, which are
    unbiased.

    Parameters
    ----------
    model, inputs, frame, axis, outputs, moves, call, limit, seed, device, batch_size, progress
        As for :func:`jetsym.probe`. Jets are cut to the model's ``max_particles``, as they are for its training.
    group
        "O3", "SO3", "SO2", or "boost".
    l_max
        The elements are those of a rule that is exact for responses of this bandwidth (for boosts: order).
    width
        Of "boost": rapidities are uniform on [−width, width].
    sources
        "auto" for all that apply, or names of some. For jets, switched off: "impact parameters", "charge", "particle
        flags" (set to zero), and what ``model.ablations()`` offers; switched on: "truncation" (the whole list of
        particles moves, is sorted by pT and cut) and "padding" (empty slots are added). For torch modules "rounding"
        (off: float64; on for a model in float64: float32) and "mixed precision" (on: bfloat16 autocast). [] measures A
        as it is. By name alone "collinear splitting" and "soft emission": moves of jets that are no group, and change
        nothing that is infrared and collinear safe. Half of all evaluations then have them, so that A² grows by a
        quarter of the squared change of f̄; :func:`jetsym.safety` follows them to their limit.

    Returns
    -------
    Attribution
        A as it is, and the effect of every source with a paired error.

    Raises
    ------
    ProbeError
        An option or a source that cannot be used.
    DataError
        Inputs that cannot be read or used.

    Notes
    -----
    The sources may act together: their effects need not add up to A.

    Examples
    --------
    >>> points = torch.tensor(np.random.default_rng(0).normal(size=(8, 3)))
    >>> report = attribute(nn.Linear(3, 2).double(), points, outputs={"y": "scalar"}, l_max=1, progress=False)
    >>> [f"{name}: {abs(effect.difference) < 0.01}" for name, effect in report.effects["y"].items()]
    ['rounding: True', 'mixed precision: True']
    """
    check(method=AUTO, l_max=l_max, n_rotations=None, limit=limit, seed=seed, device=device)
    symmetry = Symmetry.parse(group, frame, axis, error=ProbeError)
    if symmetry.is_whole or isinstance(l_max, str):
        raise ProbeError(
            f"group={symmetry.group!r} with l_max={l_max!r} is for jetsym.probe; attribution needs a compact group, or "
            "boosts along one axis, and a number for l_max"
        )
    if not symmetry.is_compact:
        symmetry = Symmetry.parse(group, frame, axis, width, error=ProbeError)
    elif width != signature(attribute).parameters["width"].default:
        raise ProbeError(f"width is {width!r}, which is of boosts, and this is group={symmetry.group!r}; leave it out")
    options: dict[str, Any] = {"call": call, "device": device, "batch_size": batch_size, "seed": seed}
    session = Session.of(model, inputs, outputs, moves=moves, layers=[], **options)
    check_kinds(session.kinds, l_max)
    inputs, offered = session.domain.sources(inputs, limit=limit, model=session.model)
    chosen = _chosen([*offered, *_precisions(session, inputs)], sources)
    start, found = time.perf_counter(), {}
    with progress_bar("attributing", len(chosen) + 1, shown=progress) as advance:
        as_is = _measure(session, inputs, symmetry, l_max)
        alike = replace(session, kinds=as_is.kinds, declared={})  # outputs are what they were found to be
        advance(1)
        for source in chosen:
            switched = _switched(alike, inputs, source, symmetry, l_max)
            found[source.name] = _half_and_half(as_is, switched, source.name) if source.is_move else switched
            advance(1)
    meta = {
        **as_is.facts,
        **symmetry.to_dict(),
        "l_max": l_max,
        "seconds": time.perf_counter() - start,
        "unbiased": sorted(as_is.beyond.union(*(item.beyond for item in found.values()))),
    }
    return Attribution(
        equivariance={name: as_is.combined(name, unbiased=name in as_is.beyond) for name in as_is.kinds},
        effects=judged(
            {
                name: {source.name: _effect(name, source, as_is, found[source.name]) for source in chosen}
                for name in as_is.kinds
            },
            meta["n_inputs"],
        ),
        meta=meta,
    )


def _chosen(offered: Sequence[Source], wanted: str | Sequence[str]) -> list[Source]:
    if wanted == AUTO:
        return [source for source in offered if not source.is_move]
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    known = {source.name: source for source in offered}
    for name in names:
        if name not in known:
            raise ProbeError(f"there is no source {name!r} for this model and these inputs; {closest(name, known)}")
    return [known[name] for name in dict.fromkeys(names)]


def _precisions(session: Session, inputs: Any) -> list[Source]:
    """Return what rounding adds, for torch modules."""
    model = session.model
    if not isinstance(model, nn.Module) or has_closed(model):  # precision is part of code that runs as one
        return []
    parameter = next((p for p in model.parameters() if p.is_floating_point()), None)
    name = session.domain.dtype_name(inputs) if parameter is None else str(parameter.dtype).removeprefix("torch.")

    def in_(dtype: torch.dtype) -> dict[str, Any]:
        return {
            "model": in_numbers(model, dtype),
            "inputs": session.domain.to(inputs, device=None, dtype=dtype),
        }

    to_single, double = name == "float64", in_(torch.float64)
    single = in_(torch.float32)
    precise = Source("rounding", "float32", True, **single) if to_single else Source("rounding", "float64", **double)
    return [precise, Source(MIXED_PRECISION, "bfloat16 autocast", True, **single)]


def _as_called(call: Call | None, source: Source) -> Call | None:
    """Return how the model is called with a source switched."""

    def after_change(model: Any, inputs: Any) -> Any:
        assert source.before is not None
        return (call or plain_call)(model, source.before(inputs))

    def under_autocast(model: Any, inputs: Any) -> Any:
        device = next((parameter.device.type for parameter in model.parameters()), "cpu")
        with torch.autocast(device, dtype=torch.bfloat16):
            returned = (call or plain_call)(model, inputs)
        return _widened(returned)

    if source.name == MIXED_PRECISION:
        return under_autocast
    return call if source.before is None else after_change


def _widened(returned: Any) -> Any:
    """Return outputs in 16 bits as float32, so that nothing is lost after the model."""
    if isinstance(returned, Mapping):
        return {name: _widened(value) for name, value in returned.items()}
    if isinstance(returned, (tuple, list)):
        return type(returned)(map(_widened, returned))
    return returned.float() if isinstance(returned, torch.Tensor) and returned.dtype == torch.bfloat16 else returned


def _switched(session: Session, inputs: Any, source: Source, symmetry: Symmetry, l_max: int) -> Measured:
    """Measure with one source switched."""
    model = session.model if source.model is None else source.model
    try:
        if source.inputs is not None:
            inputs = source.inputs() if source.is_move else source.inputs
        return _measure(replace(session, model=model, call=_as_called(session.call, source)), inputs, symmetry, l_max)
    except JetsymError as error:
        raise type(error)(f"{source.name!r} cannot be switched: {error}; choose other sources=…") from error
    except (RuntimeError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise ProbeError(f"{source.name!r} cannot be switched ({reason}); choose other sources=…") from error


def _measure(session: Session, inputs: Any, symmetry: Symmetry, l_max: int) -> Measured:
    """Measure deviations of all outputs of one model on one set of inputs."""
    inputs, action = session.act(inputs, symmetry)
    check_law(session.kinds, action)
    orbit = None
    if symmetry.is_compact:
        orbit = orbit_of(group_of(symmetry), method=AUTO, l_max=l_max, n_rotations=None, seed=session.seed)
    else:
        assert symmetry.width is not None
        (window,) = windows_of(symmetry, [symmetry.width], l_max)
    with session.open(inputs, action) as (running, placed):
        within_memory(running, lambda: orbit.settle(running, placed) if orbit else settle(running, placed))
        if not running.outputs:
            raise ProbeError("no output has a law that could be broken; say with outputs=… what one of them is")
        way = along_boosts(window) if orbit is None else along_turns(orbit.group)
        (rounding,) = within_memory(running, lambda: measure_rounding(running, placed, way))
        floors = {name: rounding[name].floor_of_error(kind) for name, kind in running.outputs.items()}
        spectra: Mapping[str, Spectrum | WindowEnergies]
        parts: Mapping[str, Sequence[Deviation]]
        if orbit is None:
            spectra, parts = window_energies(running, placed, window)
        else:
            plans = within_memory(running, lambda: plan_passes(running, placed, orbit))
            measured = measure(running, placed, orbit, plans, lambda _: None)
            spectra = {name: Spectrum.concatenate(some) for name, some in measured.spectra.items()}
            parts = measured.deviations
        beyond = frozenset(name for name in parts if is_beyond_rule(spectra[name], parts[name], floors[name]))
        return Measured(dict(running.outputs), floors, parts, beyond, session.facts(placed, action))


def _half_and_half(as_is: Measured, moved: Measured, source: str) -> Measured:
    """Return a measurement of which half the evaluations are of moved inputs: A² + ¼‖f̄₁ − f̄₀‖².

    That is the variance within the orbits as they are, and that between an input and the moved one. What the move makes
    of the variance within is no change by the move.
    """
    parts: dict[str, list[Deviation]] = {}
    for name, own in as_is.parts.items():
        others, unbiased = moved.parts.get(name, ()), name in as_is.beyond | moved.beyond
        means = [[part.average for part in some] for some in (own, others)]
        if len({mean.shape[1:] for some in means for mean in some}) != 1 or any(part.mask is not None for part in own):
            raise ProbeError(f"{source!r} cannot be switched: it changes of what points {name!r} is; choose others")
        first, last = (np.concatenate(some) for some in means)
        before, _ = errors_of(own, unbiased=unbiased)
        change = (np.abs(last - first) ** 2).reshape(len(first), -1).sum(axis=1) / 4
        parts[name] = [
            Deviation(
                squared=before.squared + change,
                norm=before.norm + change,
                leakage=before.leakage + change,
                noise=np.concatenate([part.noise for part in own]),
                average=first,  # as their spread is what A is compared with
                spectrum=None,
                mask=None,
            )
        ]
    floors = {name: max(floor, moved.floors[name]) for name, floor in as_is.floors.items()}
    return moved._replace(floors=floors, parts=parts, beyond=as_is.beyond | moved.beyond)


def _effect(name: str, source: Source, as_is: Measured, switched: Measured) -> Effect:
    if name not in switched.parts:
        raise ProbeError(f"{source.name!r} cannot be switched: the model then has no output {name!r}")
    unbiased = name in as_is.beyond | switched.beyond
    found, sway = errors_of(switched.parts[name], unbiased=unbiased)
    before, sway_before = errors_of(as_is.parts[name], unbiased=unbiased)
    influence = None if sway is None or sway_before is None else (sway.squared, sway_before.squared)
    difference, stderr = paired_difference(
        (found.squared, found.norm), (before.squared, before.norm), influence=influence
    )
    size = before.norm.sum()
    scale = float(np.sqrt(found.norm.sum() / size)) if size > 0 else 1.0
    floors = np.sqrt(as_is.floors[name]), scale * np.sqrt(switched.floors[name])
    return Effect(
        change=source.change,
        adds=source.adds,
        equivariance=switched.combined(name, unbiased=unbiased),
        difference=difference,
        difference_stderr=stderr,
        rounding=max(float(KNOWN_TO * min(floors)), source.least),
        switched_stderr=stderr_over_size((found, before), (sway, sway_before)),
    )


Sums = tuple[NDArray[np.float64], NDArray[np.float64]]


def paired_difference(switched: Sums, as_is: Sums, *, influence: Sums | None = None) -> tuple[float, float]:
    """Return √(ΣA²/ΣN) with a source switched less that as it is, with N as it is in both, and its jackknife error.

    Parameters
    ----------
    switched, as_is
        (inputs,) A² and N of each measurement, on the same inputs.
    influence
        (inputs, k) what each held-out element makes of either A², where they are estimates: the error is at least that
        by chance of these elements, which both measurements share.

    Examples
    --------
    >>> same, size = np.array([1.0, 2.0, 4.0]), np.array([4.0, 4.0, 4.0])
    >>> paired_difference((same, size), (same, size)), paired_difference((same, 9 * size), (same, size))
    ((0.0, 0.0), (0.0, 0.0))
    """
    norm = as_is[1]
    totals, left_out = zip(*(_roots(squared, norm) for squared in (switched[0], as_is[0])), strict=True)
    difference = float(totals[0] - totals[1])
    if len(norm) < 2:
        return difference, float("nan")
    stderr = scatter(left_out[0] - left_out[1])
    if influence is not None and norm.sum() > 0:
        parts = [sway / (2 * abs(root)) for sway, root in zip(influence, totals, strict=True) if root]
        signs = [sign for sign, root in zip((1, -1), totals, strict=True) if root]
        together = sum(sign * part for sign, part in zip(signs, parts, strict=True))
        stderr = max(stderr, float(chance(together)) / float(norm.sum())) if parts else stderr
    return difference, stderr


def _roots(squared: NDArray[np.float64], norm: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """Return the signed √(ΣA²/ΣN) over all inputs, and without each of them."""

    def root(numerator: Any, denominator: Any) -> Any:
        ratio = numerator / np.where(denominator > 0, denominator, 1.0)
        return np.where(denominator > 0, np.sign(ratio) * np.sqrt(np.abs(ratio)), 0.0)

    total = squared.sum(), norm.sum()
    return float(root(*total)), root(total[0] - squared, total[1] - norm)
