"""Rounding and what it alone makes of responses: the measured noise floor, by differences along small turns.

A computed response is ũ = u + δ, with a smooth u and a rounding error δ that differs between neighbouring inputs. Of
values at equispaced steps along the group, the k-th differences Δᵏ leave of u what goes as (step)ᵏ, and of an error of
variance σ² a mean square of C(2k, k) σ², whatever k: σ² is where mean (Δᵏ)² / C(2k, k) no longer falls with k (Moré and
Wild, "Estimating computational noise", SIAM J. Sci. Comput. 33, 1292 (2011)).

The steps have to be a few times as large as the spacing of the numbers in which a model computes: much smaller ones
change nothing that is rounded. So there are steps for the precision of the inputs, and for every coarser one
inside; and larger ones for outputs that most of these leave as they are, as small differences of large numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice, pairwise
from math import ceil, comb, prod
from typing import Any, NamedTuple

import numpy as np
import torch
from array_api_compat import array_namespace
from numpy.typing import NDArray

from jetsym.errors import ProbeError
from jetsym.probing.forward.session import Session
from jetsym.probing.measure.reproducibility import Answers, as_numbers, ask
from jetsym.spectrum import SO2, Group, QuadratureEstimator, WindowEstimator
from jetsym.spectrum.quadrature import axis_matrices
from jetsym.spectrum.representations import Kind, representation
from jetsym.spectrum.responses import EPS
from jetsym.spectrum.windows import Window

__all__ = ["Path", "Rounding", "along_boosts", "along_turns", "measure_rounding", "spread_of_a_constant"]

Array = NDArray[np.float64]

#: Values along each path, and their distance in units of the numbers' spacing.
POINTS, STEP = 8, 4.0
#: Values along paths with steps for the finest precision, where that is float32 or finer: what is smooth is gone after
#: one or two differences.
POINTS_OF_FINEST = 5
#: Orders of differences, of so many values, that have at least a few of them.
FEWER = 2
#: Inputs that travel together, inputs in all, and paths at least, each near an element of its own.
TOGETHER, PLACES, PATHS = 4, 64, 4
#: Places at least, inputs near elements, unless evaluations are dear: a few tell too little of a single number, whose
#: rounding is in one place another than in the next.
ENOUGH = 16
#: Paths of the same inputs share forward passes up to this part of the evaluations of one: their responses are held, in
#: double precision.
SHARED = 4
#: Elements at most at which answers are compared; one where enough inputs travel together.
BASES = 2
#: The floor over the measured size of rounding: A of an exactly invariant network lies between a third of it and all.
MARGIN = 2.0
#: Rounding of a response to its own numbers, in units of their spacing: what there is at least.
LEAST = 0.2
#: Part of the steps that leave a response as it is, from where on it seems to be rounded coarsely, and surely is.
STILL, QUITE_STILL = 0.5, 0.95
#: Orders of differences that agree to this factor are those of rounding.
AGREE = 1.5
#: Spacings that a library other than torch may compute in without a word: 16 bits, after a step to compare them with.
SUSPECTED = (2.0**-15, EPS["float16"], EPS["bfloat16"])
#: Steps are so many times larger each time, where a response stays as it is along the smallest; its rounding is the
#: same along two of these to a factor, and so many times the spacing of its numbers at most.
LARGER, PLATEAU, CANCELLED = 16.0, 2.0, 1e4
#: What turning an output back in double precision adds, relative to its size: matrices are orthogonal to a rounding.
TURNING_BACK = 1.2 * EPS["float64"]
#: A place whose rounding is as many times that of the others, and more than its root, is one where the response jumps.
JUMP = 100.0


class Rounding(NamedTuple):
    """The rounding of a response.

    Parameters
    ----------
    size
        Its root mean square, relative to that of the response.
    eps
        Relative spacing of the response's numbers.
    """

    size: float
    eps: float

    def floor(self, sums: float = 0.0) -> float:
        """Return the fraction of power that it may make, with the relative rounding of sums over the orbit."""
        return MARGIN**2 * (self.size**2 + sums**2)

    def floor_of_error(self, kind: Kind) -> float:
        """Return the fraction of power that it may make of A² of an output, which is turned back."""
        rho = representation(kind)
        return self.floor(TURNING_BACK + rho.accuracy if rho.lam else 0.0)


class Path(NamedTuple):
    """Steps along the group near some of its elements.

    Parameters
    ----------
    inputs
        The inputs that go along.
    elements
        (bases · points, …) matrices or rapidities, of one base after those of another.
    weights
        (bases,) how much each base counts.
    """

    inputs: slice
    elements: Array
    weights: Array


@dataclass(frozen=True, eq=False)
class Differences:
    """The mean square differences of a response at every place.

    Parameters
    ----------
    squares
        (places, orders) mean (Δᵏ)² / C(2k, k), summed over features.
    norm
        (places,) mean ‖u‖².
    weights
        (places,) how much each counts.
    still
        (places,) part of the first differences that is exactly zero.
    """

    squares: Array
    norm: Array
    weights: Array
    still: Array

    @classmethod
    def of(cls, values: Array, weights: Array) -> Differences:
        """Take them of values (bases, points, samples, features) of equispaced inputs, and the weights (bases,)."""
        squares, difference = [], values
        for order in range(1, values.shape[1] - FEWER + 1):
            difference = np.diff(difference, axis=1)
            if order == 1:
                still = (difference == 0).mean(axis=(1, 3))
            squares.append(_mean_square(difference) / comb(2 * order, order))
        norm = _mean_square(values)
        repeated = np.repeat(weights, values.shape[2])
        return cls(np.stack(squares, axis=-1).reshape(-1, len(squares)), norm.ravel(), repeated, still.ravel())

    @classmethod
    def concatenate(cls, parts: Sequence[Differences]) -> Differences:
        """Return those of all places."""
        names = ("squares", "norm", "weights", "still")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    @property
    def unchanged(self) -> float:
        """Part of the steps that do not change the response at all, in the median over places."""
        there = self.still[self.norm > 0]  # inputs without the output say nothing of it
        return float(np.median(there)) if there.size else 1.0

    def size(self, eps: float, *, at_least_two_agree: bool = True) -> float:
        """Return the relative size of the rounding: of the first order that the further ones agree with.

        Places where the response jumps are left out, as a step looks like rounding in all orders.

        Parameters
        ----------
        eps
            Relative spacing of the finest numbers, which no place is below.
        at_least_two_agree
            Two further orders at least are to agree with one; 0 is returned where all are smaller, of a response that
            is not smooth enough for these steps.
        """
        ratios = self.squares / np.where(self.norm > 0, self.norm, np.inf)[:, None]
        there = ratios[self.norm > 0] if self.norm.any() else ratios
        usual = np.maximum(np.sqrt(np.median(there, axis=0)), eps)
        kept = np.where(ratios <= np.maximum((JUMP * usual) ** 2, usual), self.weights[:, None], 0.0)
        norm = (kept * self.norm[:, None]).sum(axis=0)
        levels = np.sqrt((kept * self.squares).sum(axis=0) / np.where(norm > 0, norm, 1.0))
        tried = levels[:-2] if at_least_two_agree else levels
        agree = [level <= AGREE * levels[order:].min() for order, level in enumerate(tried)]
        return float(levels[agree.index(True)]) if any(agree) else 0.0


def _mean_square(values: Array) -> Array:
    """Return (bases, samples) mean squares over points of values (bases, points, samples, features), all features."""
    parts = np.ascontiguousarray(values).view(np.float64)  # of complex numbers both
    return np.asarray(np.einsum("bpsf,bpsf->bs", parts, parts) / values.shape[1])


#: The paths along which values are at some distances, on some inputs of a session.
Way = Callable[[Session, Any, Array], list[Path]]


def along_turns(group: Group) -> Way:
    """Return the way of small turns near elements of a group: about its axis, or about any."""

    def paths(session: Session, inputs: Any, distances: Array) -> list[Path]:
        parts = _parts(session, inputs, TOGETHER)
        parts = list(islice(cycle(parts), _paths(session, inputs, parts)))
        rng = np.random.default_rng(session.seed)
        result = []
        for part in parts:
            (base,) = group.sample(1, rng)
            axis = group.axis if isinstance(group, SO2) else rng.normal(size=3)
            turns = np.tile(np.eye(len(base)), (len(distances), 1, 1))
            turns[:, -3:, -3:] = axis_matrices(axis / np.linalg.norm(axis), distances)
            result.append(Path(part, turns @ base, np.ones(1)))
        return result

    return paths


def _paths(session: Session, inputs: Any, parts: Sequence[slice]) -> int:
    """Return how many paths there are: one for each part, and as many as lead by enough places."""
    least = max(PATHS, len(parts))
    if session.domain.most_calls(inputs) is not None:
        return least
    together: float = sum(part.stop - part.start for part in parts) / len(parts)
    return max(least, ceil(ENOUGH / together))


def along_boosts(window: Window) -> Way:
    """Return the way of small boosts near all nodes of a window, which a few inputs share between them."""

    def paths(session: Session, inputs: Any, distances: Array) -> list[Path]:
        parts = _parts(session, inputs, TOGETHER)[: len(window)]
        near = window.rapidity[:, None] + distances - distances.mean()
        nodes = [slice(place, None, len(parts)) for place in range(len(parts))]
        return [Path(part, near[own].ravel(), window.weights[own]) for part, own in zip(parts, nodes, strict=True)]

    return paths


def _parts(session: Session, inputs: Any, together: int) -> list[slice]:
    """Return slices of a few inputs, of those that may travel together."""
    few = session.domain.few(inputs)
    if few is not None:
        return [slice(place, place + 1) for place in few]
    some = session.domain.select(inputs, slice(0, PLACES))
    return list(session.parts(some, min(together, session.evaluations)))


def measure_rounding(session: Session, inputs: Any, *ways: Way) -> list[dict[str, Rounding]]:
    """Return what rounding makes of each layer and output along ways through the group.

    Parameters
    ----------
    session, inputs
        What is measured, on which inputs; a few of them are looked at.
    ways
        Each gets a result.

    Raises
    ------
    ProbeError
        The model is random, or mixes the inputs of a batch, by more than rounding; see
        :mod:`jetsym.probing.measure.reproducibility`. Or responses are not finite.

    Notes
    -----
    The coarsest precision inside is that of any operation of torch in a forward pass, of inputs, layers and outputs. Of
    other libraries it is found where small steps change nothing at all, and larger ones do so everywhere. What differs
    between two evaluations, such as sums in any order on an accelerator, is part of the rounding.
    """
    finest = EPS[session.domain.dtype_name(inputs)]
    nearest = ways[0](session, inputs, STEP * finest * np.arange(1.0))
    first = nearest[0].inputs
    bases = nearest[: min(BASES, ceil(TOGETHER / (first.stop - first.start)))]
    answers = ask(session, inputs, first, np.stack([path.elements[0] for path in bases]))
    found = [_along(session, inputs, way, answers, finest) for way in ways]
    if any(map(answers.apart_by, answers.apart)):
        together, session.evaluations = session.evaluations, 1
        alone = _along(session, inputs, ways[0], answers, finest)
        session.evaluations = together
        answers.refuse_batches({name: item.size for name, item in alone.items()})
    return found


def _along(session: Session, inputs: Any, way: Way, answers: Answers, finest: float) -> dict[str, Rounding]:
    """Return the rounding along one way, from steps for the finest precision and for every coarser one inside."""

    def differences(eps: float, points: int = POINTS) -> dict[str, Differences]:
        return _differences(session, inputs, way(session, inputs, STEP * eps * np.arange(float(points))))

    first = differences(finest, POINTS_OF_FINEST if finest <= EPS["float32"] else POINTS)
    unexplained = any(item.unchanged > STILL for item in first.values())
    inside = {eps for eps in answers.inside if eps > finest}
    if not inside and finest < EPS["float32"] and (unexplained or not answers.by_torch):
        inside = {EPS["float32"]}
    coarser = {eps: differences(eps) for eps in sorted(inside)}
    hidden = [differences(eps) for eps in SUSPECTED] if unexplained and not answers.by_torch else []
    small = [name for name in session.outputs if name in first and first[name].unchanged > STILL]
    larger: list[dict[str, Differences]] = []
    if small and answers.by_torch and not coarser and finest <= EPS["float32"]:
        larger = [differences(finest * LARGER**power) for power in (1, 2, 3)]
    result = {}
    for name, item in first.items():
        sizes = [coarser[eps][name].size(finest) for eps in coarser]
        if item.unchanged > STILL:
            sizes.append(_hidden([steps[name].size(finest) for steps in hidden]))
            sizes.append(_cancelled([steps[name] for steps in larger], finest))
        still = [item.unchanged > QUITE_STILL, *(steps[name].unchanged > STILL for steps in coarser.values())]
        if coarser and all(still):  # what changes along coarser steps is measured there
            sizes.append(float(np.sqrt(finest * max(coarser))))  # few values change: how often, times how much
        changes = any(steps[name].squares.any() for steps in (first, *coarser.values(), *hidden))
        least = LEAST * (answers.eps[name] if changes else finest)
        size = max(least, answers.differing[name] / 2**0.5, item.size(finest, at_least_two_agree=False), *sizes)
        result[name] = Rounding(size if item.norm.any() else 0.0, answers.eps[name])
    return result


def _hidden(sizes: Sequence[float]) -> float:
    """Return the rounding in a precision that only the response tells of, from steps for :data:`SUSPECTED`.

    Such a response does not change along the smallest steps, changes nearly everywhere along larger ones, by the root
    of their size until all is rounded anew, and by a few units of that precision. What has steps of its own, such as
    the towers of a calorimeter, changes by more, or in some places only.
    """
    if not sizes:
        return 0.0
    first, *_ = sizes
    found = zip(sizes, sizes[1:], SUSPECTED[1:], strict=False)
    return max(
        [0.0, *(size for last, size, eps in found if last >= size / 10 and first >= size / 30 and size <= 16 * eps)]
    )


def _cancelled(found: Sequence[Differences], eps: float) -> float:
    """Return the rounding of a small difference of large numbers, from steps that are larger each time.

    Along the smallest steps what is rounded is the same, as the small difference x + δ − x changes by less than a
    spacing of x: the error stays as it is. From where on most steps change it, rounding is the same along larger ones.
    What grows with the steps is none: a kink as the step, and the sum of many small jumps as its root.
    """
    for here, further in pairwise(found):
        if here.unchanged <= STILL:
            sizes = here.size(eps), further.size(eps)
            return sizes[0] if max(sizes) <= min(PLATEAU * min(sizes), CANCELLED * eps) else 0.0
    return 0.0


def _differences(session: Session, inputs: Any, paths: Sequence[Path]) -> dict[str, Differences]:
    found: dict[str, list[Differences]] = {}
    largest: dict[str, float] = {}  # in units of what is too small
    for path in _together(session, paths):
        some = session.domain.select(inputs, path.inputs)
        responses = session.along(some, path.elements)
        for name, values in as_numbers(session, some, responses).items():
            parted = values.reshape(len(path.weights), -1, values.shape[1], prod(values.shape[2:]))
            found.setdefault(name, []).append(Differences.of(parted, path.weights))
            size = float(np.abs(values).max(initial=0.0)) / _too_small(responses[name])
            largest[name] = max(largest.get(name, 0.0), size)
    for name, size in largest.items():
        if 0 < size < 1:
            raise ProbeError(
                f"{name!r} cannot be measured: none of its numbers exceeds {size * _too_small(responses[name]):.1g}, "
                "and squares of what a symmetry changes of it are below the smallest number of its precision; multiply "
                "it by a constant, with call=…, or leave it out"
            )
    return {name: Differences.concatenate(parts) for name, parts in found.items()}


def _too_small(response: Any) -> float:
    """Return the size of a response whose rounding squared is no number any more, in the precision of the sums.

    Examples
    --------
    >>> [f"{_too_small(np.zeros(1, dtype)):.0e}" for dtype in ("float64", "float32", "float16")]
    ['1e-146', '3e-16', '3e-16']
    """
    info = array_namespace(response).finfo(response.dtype)
    summed = np.finfo(np.float64 if info.bits > 32 else np.float32)  # half precision is summed in single
    return float(np.sqrt(summed.tiny / np.float64(summed.eps)))


def _together(session: Session, paths: Sequence[Path]) -> list[Path]:
    """Join paths of the same inputs, which then share forward passes, up to so many evaluations at once."""
    joined: list[Path] = []
    for path in sorted(paths, key=lambda path: path.inputs.start):
        last, samples = joined[-1] if joined else None, path.inputs.stop - path.inputs.start
        if last is None or last.inputs != path.inputs or samples * len(last.elements) >= session.evaluations // SHARED:
            joined.append(path)
        else:
            pairs = zip((last.elements, last.weights), (path.elements, path.weights), strict=True)
            joined[-1] = Path(path.inputs, *map(np.concatenate, pairs))
    return joined


def spread_of_a_constant(
    estimator: QuadratureEstimator | WindowEstimator, chunks: Iterable[slice], eps: float
) -> float:
    """Return the root of what an estimator puts beside the invariant part of a constant: the rounding of its sums.

    Parameters
    ----------
    estimator
        A fresh one.
    chunks
        Slices of its nodes.
    eps
        Relative spacing of the numbers of a response; sums are made in at least 32 bits.
    """
    dtype = torch.float64 if eps <= EPS["float64"] else torch.float32
    for chunk in chunks:
        constant = torch.full((chunk.stop - chunk.start, 1, 1), np.pi, dtype=dtype)
        if isinstance(estimator, QuadratureEstimator):
            estimator.add(chunk, constant, constant if estimator.group.has_inversion else None)
        else:
            estimator.add(chunk, constant)
    found = estimator.result()
    return float(np.sqrt(found.power[:, 1:].sum() / found.norm.sum()))
