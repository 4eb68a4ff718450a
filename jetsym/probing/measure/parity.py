"""Learned parity: the part of invariant outputs that changes sign under the inversion, or in a mirror."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jetsym.arguments import anything, at_least, by_name, checked
from jetsym.errors import ProbeError, expect_at_least, expect_one_of
from jetsym.probing.forward.memory import within_memory
from jetsym.probing.forward.session import Session
from jetsym.probing.kinds import INVARIANT, representation_of
from jetsym.probing.measure.combination import rooted
from jetsym.probing.measure.orbit import orbit_of
from jetsym.probing.measure.rounding import Rounding, along_turns, measure_rounding
from jetsym.probing.measure.targets import Aim, aims_of, masked, summed
from jetsym.probing.options import AUTO, check
from jetsym.probing.reports.cost import CROSS_ENTROPY, SQUARED
from jetsym.probing.reports.equivariance import KNOWN_TO
from jetsym.probing.reports.parity import Oddness, Parity
from jetsym.probing.reports.significance import corrected, p_value
from jetsym.spectrum import O3, SO2
from jetsym.spectrum.representations import Kind
from jetsym.spectrum.responses import to_numpy
from jetsym.spectrum.result import jackknife_ratio
from jetsym.symmetry import Axis, GroupName, Symmetry

__all__ = ["parity"]

Array = NDArray[np.float64]

#: Outputs that have a parity: those that are invariant under rotations.
KINDS = (*INVARIANT, "pseudoscalar")


class Halves(NamedTuple):
    """What a batch of inputs gives of an output, a row an input, summed over its real objects.

    Parameters
    ----------
    odd
        (samples,) ‖a‖².
    mean, even, even_squared
        (samples, components) Σ a, Σ e and Σ e².
    objects
        (samples,) how many are summed.
    norm
        (samples,) ‖f‖².
    loss, loss_even, counts
        (samples,) of f and of e, and what they are of; zeros without targets.
    """

    odd: Array
    mean: Array
    even: Array
    even_squared: Array
    objects: Array
    norm: Array
    loss: Array
    loss_even: Array
    counts: Array


@checked(
    ProbeError,
    limit=at_least(1),
    seed=at_least(0),
    batch_size=at_least(1),
    device=anything,
    moves=anything,
    outputs=by_name,
    mirror=anything,
)
def parity(
    model: Any,
    inputs: Any = None,
    targets: Any = None,
    *,
    mirror: Axis | None = None,
    frame: str | None = None,
    n_rotations: int = 0,
    loss: str = AUTO,
    outputs: Mapping[str, Kind | None] | None = None,
    moves: Mapping[Any, Any] | None = None,
    action: Callable[[Any, Any], Any] | None = None,
    call: Callable[[Any, Any], Any] | None = None,
    limit: int = 64,
    seed: int = 0,
    device: str | None = None,
    batch_size: int | str = AUTO,
) -> Parity:
    """Measure the odd part of invariant outputs, a(x) = (f(x) − f(Px))/2, against rounding, chance and the error.

    A network that should be even has an odd part where it broke parity; one that learned a pseudoscalar has little
    else. The mean of a over inputs tells whether these prefer one hand (C. Lester, M. Schott, arXiv:1904.11195).

    Parameters
    ----------
    model, inputs, frame, outputs, moves, action, call, limit, seed, device, batch_size
        As for :func:`jetsym.probe`. Outputs are logits, scalars or pseudoscalars; others are left out.
    targets, loss
        As for :func:`jetsym.cost`; without any the odd part is compared with rounding and chance alone.
    mirror
        P is the inversion, or with a mirror the reflection that turns this axis round: "x", "y", "z" or three numbers.
    n_rotations
        With 0 the inputs are taken as they are. A model that is not invariant under rotations then has an odd part for
        that alone, as P may be a reflection and a rotation. With n ≥ 2 random rotations of each input's own a is
        averaged over them, so that the irrep (0,−) alone is left, without bias.

    Returns
    -------
    Parity
        For every output √⟨a²⟩, what is even, and with targets the loss without the odd part; significances by
        Student's t over inputs.

    Raises
    ------
    ProbeError
        No output has a parity, or an option that cannot be used.
    DataError
        Inputs that cannot be read or used.

    Examples
    --------
    >>> frames = np.random.default_rng(0).normal(size=(64, 3, 3))  # rows are vectors
    >>> volume = lambda x: np.linalg.det(x) + (x**2).sum((1, 2))
    >>> found = parity(volume, frames, outputs={"y": "scalar"}).outputs["y"]
    >>> bool(np.isclose(found.odd**2, (np.linalg.det(frames) ** 2).mean())), found.verdict, found.is_real
    (True, 'neither even nor odd', True)
    """
    check(method=AUTO, l_max=0, n_rotations=None, limit=limit, seed=seed, device=device)
    expect_one_of("loss", loss, (AUTO, SQUARED, CROSS_ENTROPY), ProbeError)
    expect_at_least("n_rotations", n_rotations, 0, ProbeError)
    if n_rotations == 1:
        raise ProbeError("n_rotations is 1, which says nothing of its own spread; expected 0, or 2 and more")
    symmetry = Symmetry.parse(GroupName.O3, frame, error=ProbeError)
    reflection, named = _reflection(mirror)
    options: dict[str, Any] = {"call": call, "action": action, "device": device, "batch_size": batch_size, "seed": seed}
    session = Session.of(model, inputs, outputs, moves=moves, layers=[], **options)
    loaded = session.domain.load(inputs, limit=limit, model=session.model)
    loaded, acting = session.act(loaded, symmetry)
    orbit = orbit_of(O3(), method="random", l_max=0, n_rotations=max(1, n_rotations), seed=seed)
    start = time.perf_counter()
    with session.open(loaded, acting) as (running, placed):
        within_memory(running, lambda: orbit.settle(running, placed))
        kinds = {name: kind for name, kind in running.outputs.items() if kind in KINDS}
        if not kinds:
            raise ProbeError(
                f"no output has a parity of its own: they are {dict(running.outputs)}; expected one of {KINDS}"
            )
        if targets is None:
            targets = running.domain.targets(inputs, placed, outputs=kinds, model=running.model)
        aims = aims_of(running, placed, targets, loss, limit=limit) if not _is_nothing(targets) else {}
        (rounding,) = within_memory(running, lambda: measure_rounding(running, placed, along_turns(O3())))
        found: dict[str, list[Halves]] = {name: [] for name in kinds}
        for part in running.parts(placed, max(1, running.evaluations // (2 + 2 * n_rotations))):
            elements = np.broadcast_to(np.eye(3), (1, part.stop - part.start, 3, 3))
            if n_rotations:
                elements = np.concatenate([elements, orbit.rotations(part)])
            both = np.concatenate([elements, reflection @ elements])

            def attempt(part: slice = part, both: Array = both) -> dict[str, Halves]:
                return _of_part(running, placed, part, both, kinds, aims)

            for name, item in within_memory(running, attempt).items():
                found[name].append(item)
        size = running.domain.size(placed)
        meta = {
            **session.facts(placed, acting),
            "mirror": named,
            "frame": symmetry.frame,
            "n_rotations": n_rotations,
            "evaluations": 2 * size * (1 + n_rotations),
            "seconds": time.perf_counter() - start,
            **running.domain.facts(running.model),
        }
        others = [name for name in running.outputs if name not in kinds]
        meta["notes"] = [*meta["notes"], *(f"{name!r} turns, and has no parity by itself." for name in others)]
    return Parity(
        {
            name: _oddness(kinds[name], found[name], rounding[name], aims.get(name), is_exact=not n_rotations)
            for name in kinds
        },
        meta,
    )


def _is_nothing(targets: Any) -> bool:
    return isinstance(targets, Mapping) and not targets


def _reflection(mirror: Axis | None) -> tuple[Array, str]:
    """Return the matrix of P, and what it is called."""
    if mirror is None:
        return -np.eye(3), "the inversion"
    axis = Symmetry.parse(GroupName.SO2, axis=mirror, error=ProbeError, called={"axis": "mirror"}).axis
    if axis in ("jet", "random"):
        raise ProbeError(f"mirror is {mirror!r}; expected 'x', 'y', 'z' or three numbers")
    normal = SO2("z" if axis == "beam" else axis or "z").axis
    words = axis if isinstance(axis, str) else f"({', '.join(f'{x:g}' for x in normal)})"
    return np.eye(3) - 2 * np.outer(normal, normal), f"the reflection of {words}"


def _of_part(
    session: Session, inputs: Any, part: slice, both: Array, kinds: Mapping[str, Kind], aims: Mapping[str, Aim]
) -> dict[str, Halves]:
    """Evaluate some inputs under elements, and then under the same reflected; the first is the identity."""
    some = session.domain.select(inputs, part)
    responses, found = session.along(some, both), {}
    for name, kind in kinds.items():
        mask = session.real(name, responses[name], some)
        mask = None if mask is None else to_numpy(mask)
        plain, mirrored = np.split(to_numpy(responses[name]).astype(np.float64), 2)
        even, odd = (plain + mirrored) / 2, (plain - mirrored) / 2
        own = odd[1:] if len(odd) > 1 else odd
        n, mean = len(own), own.mean(axis=0)
        squared = summed(mean**2, mask)
        if n > 1:  # without pairs of a rotation with itself
            squared = (n * squared - np.mean([summed(one**2, mask) for one in own], axis=0)) / (n - 1)
        averaged = (even[1:] if len(even) > 1 else even).mean(axis=0)
        losses = (np.zeros(len(mean)),) * 3
        if (aim := aims.get(name)) is not None:
            target = aim.target(part, plain[0].shape)
            counts = summed(aim.counted(target, mask).astype(float))
            losses = aim.losses(plain[0], target, mask), aim.losses(even[0], target, mask), counts
        objects = summed(np.ones(mean.shape), mask) / _components(mean, kind).shape[-1]
        found[name] = Halves(
            squared,
            _over_objects(mean, kind, mask),
            _over_objects(averaged, kind, mask),
            _over_objects(averaged**2, kind, mask),
            objects,
            summed(plain[0] ** 2, mask),
            *losses,
        )
    return found


def _components(values: Array, kind: Kind) -> Array:
    """Return (samples, objects, components): the classes of logits, one component of all else."""
    return values.reshape(len(values), -1, values.shape[-1] if kind == "logits" else 1)


def _over_objects(values: Array, kind: Kind, mask: NDArray[np.bool_] | None) -> Array:
    """Sum over the real objects of each input, (samples, components)."""
    total: Array = _components(masked(values, mask), kind).sum(axis=1)
    return total


def _above_rounding(squared: float, stderr: float, power: float, inputs: int, *, is_exact: bool) -> float:
    """Return how probable it is that ⟨a²⟩ exceeds what rounding makes by chance of the inputs, by Student's t.

    What is known exactly for each input is positive and skew: it is judged on its logarithm, as shares are on their
    log-odds.
    """
    if squared <= power:
        return 1.0
    if is_exact and power > 0:
        return p_value(float(np.log(squared / power)), stderr / squared, inputs - 1)
    return p_value(squared - power, stderr, inputs - 1)


def _oddness(kind: Kind, parts: Sequence[Halves], rounding: Rounding, aim: Aim | None, *, is_exact: bool) -> Oddness:
    """Return the two parts of an output over all inputs."""
    found = Halves(*map(np.concatenate, zip(*parts, strict=True)))
    inputs, components = found.mean.shape
    counts = found.objects * components
    # a is half a difference, so that rounding makes half of the power of f in it, at most.
    power = KNOWN_TO**2 * rounding.floor_of_error(kind) * found.norm.sum() / counts.sum()
    squared, squared_stderr = map(float, jackknife_ratio(found.odd, counts))
    odd, odd_stderr = rooted(np.array(squared), np.array(squared_stderr))
    average = found.even.sum(axis=0) / found.objects.sum()
    spread = found.even_squared - 2 * average * found.even + average**2 * found.objects[:, None]
    varies = spread.sum(axis=1) * inputs / max(inputs - 1, 1)
    share, share_stderr = map(float, jackknife_ratio(found.odd, found.odd + varies))
    means, errors = jackknife_ratio(found.mean, found.objects)
    chances = corrected([p_value(m, s, inputs - 1) for m, s in zip(means.tolist(), errors.tolist(), strict=True)])
    judged: dict[str, Any] = {}
    if aim is not None:
        error, error_stderr = map(float, jackknife_ratio(found.loss, found.counts))
        gain, gain_stderr = map(float, jackknife_ratio(found.loss_even - found.loss, found.counts))
        if aim.loss == SQUARED:
            error, error_stderr = rooted(np.array(error), np.array(error_stderr))
        judged = {
            "loss": aim.loss,
            "error": error,
            "error_stderr": error_stderr,
            "gain": gain,
            "gain_stderr": gain_stderr,
            "gain_p_value": p_value(gain, gain_stderr, inputs - 1),
        }
    return Oddness(
        kind=str(representation_of(kind).name),
        odd=odd,
        odd_stderr=odd_stderr,
        even=float(np.sqrt(varies.sum() / counts.sum())) if inputs > 1 else float("nan"),
        share=share,
        share_stderr=share_stderr,
        rounding=float(np.sqrt(power)),
        p_value=_above_rounding(squared, squared_stderr, power, inputs, is_exact=is_exact),
        mean=tuple(means.tolist()),
        mean_stderr=tuple(errors.tolist()),
        mean_p_value=min(chances),
        **judged,
    )
