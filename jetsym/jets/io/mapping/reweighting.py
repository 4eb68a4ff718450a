"""Weights that give all classes the same distribution in bins of jet quantities, such as pT and mass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import DataError
from jetsym.jets.io.mapping.expressions import Expression

__all__ = ["WeaverWeights", "bin_numbers", "bin_weights"]

#: What weaver-core scales the sum of the weights of the smallest class by: below 1, so that jets that are drawn by
#: their weights differ from epoch to epoch.
_LARGEST = 0.9


def bin_weights(
    counts: NDArray[np.int64], *, reference: int | None = None, cap: float | None = None
) -> NDArray[np.float64]:
    """Compute the weight of a jet by its class and bin.

    With n_cb jets of class c in bin b, the weights are w_cb = f / n_cb ("flat": each class has the same sum of weights
    in all bins where it has jets), or w_cb = f · n_rb / n_cb (the distribution of a reference class r). So all classes
    that have jets in a bin have the same sum of weights there. The factor f makes the mean weight of all jets 1, also
    where weights are capped, w = min(w, cap), which gives up the equality in those bins.

    Parameters
    ----------
    counts
        (C, …) jets of each class in each bin.
    reference
        The class r; None for flat.
    cap
        Largest weight, at least 1; None for none.

    Returns
    -------
    (C, …) float64
        0 where there are no jets.

    Raises
    ------
    DataError
        If no jet gets a weight.

    Examples
    --------
    Two classes in two bins: 3 + 1 and 1 + 1 jets. Flat, 1/n is 1/3, 1, 1, 1; their sum over 6 jets is 4, so f = 3/2.

    >>> counts = np.array([[3, 1], [1, 1]])
    >>> bin_weights(counts)
    array([[0.5, 1.5],
           [1.5, 1.5]])
    >>> bin_weights(counts) * counts
    array([[1.5, 1.5],
           [1.5, 1.5]])

    Like class 0, n_0b/n_cb is 1, 1, 3, 1; the sum is 8, so f = 3/4. Capped at 2, f = (6 − 2)/5.

    >>> bin_weights(counts, reference=0)
    array([[0.75, 0.75],
           [2.25, 0.75]])
    >>> bin_weights(counts, reference=0, cap=2)
    array([[0.8, 0.8],
           [2. , 0.8]])
    """
    shape = np.ones(counts.shape[1:]) if reference is None else counts[reference].astype(np.float64)
    raw = np.divide(shape, counts, out=np.zeros(counts.shape), where=counts > 0)
    total = float(counts.sum())
    if not (raw * counts).sum() > 0:
        where = "in the bins of the reference class" if reference is not None and total else "in the bins"
        raise DataError(f"reweight: no jet lies {where}; check the edges and their units")
    capped = np.zeros(counts.shape, np.bool_)
    while True:
        free = float((raw * counts)[~capped].sum())
        factor = (total - (cap or 0) * float(counts[capped].sum())) / free if free else 0.0
        # The factor only grows as more are capped, so what has been capped stays so.
        more = ~capped & (factor * raw > cap) if cap is not None else capped
        if not (more & ~capped).any():
            return np.where(capped, cap or 0.0, factor * raw)
        capped |= more


def bin_numbers(
    values: Sequence[NDArray[Any]], edges: Sequence[NDArray[np.float64]]
) -> tuple[tuple[NDArray[np.int64], ...], NDArray[np.bool_]]:
    """Find the bin of each jet along each axis, and whether it lies in one; the last edge belongs to the last bin.

    Examples
    --------
    >>> bin_numbers([np.array([1.0, 2.0, 3.0, 3.1, np.nan])], [np.array([1.0, 2.0, 3.0])])
    ((array([0, 1, 1, 0, 0]),), array([ True,  True,  True, False, False]))
    """
    inside = np.ones(len(values[0]), np.bool_)
    numbers = []
    for axis, own in zip(values, edges, strict=True):
        inside &= (axis >= own[0]) & (axis <= own[-1])
        numbers.append(np.minimum(np.searchsorted(own, axis, side="right") - 1, len(own) - 2))
    return tuple(np.where(inside, number, 0) for number in numbers), inside


@dataclass(frozen=True)
class WeaverWeights:
    """Weights by class in bins of two quantities, as weaver-core computes them to draw jets by.

    A class's weights are at most 1: over its "flat" spectrum n_b, w_b = min(1, n_t / n_b), with n_t the number in the
    bin at a percentile of those that are not nearly empty; or, over that of the first class, w_b = min(1, r_b / r_t)
    with r_b = n_0b / n_b and r_t at the percentile from above. Then all classes are scaled to the same sum of weights,
    or to sums in the ratio of their shares, the smallest of which is 0.9 of what it was.

    Parameters
    ----------
    axes, edges
        The two quantities that are binned, and how.
    classes
        For each of C classes what is 1 for its jets.
    by_reference
        Whether all shall be like the first class; else flat.
    shares
        (C,) of the sum of weights.
    threshold
        The percentile.
    inside_only
        Whether jets outside of the bins have the weight 0, or that of the nearest bin.
    base
        What weights are multiplied with, and jets are counted with.
    table
        (C, n, m) the weights, once they are known.
    """

    axes: tuple[Expression, ...]
    edges: tuple[NDArray[np.float64], ...]
    classes: tuple[Expression, ...]
    by_reference: bool
    shares: tuple[float, ...]
    threshold: float
    inside_only: bool
    base: Expression | None = None
    table: NDArray[Any] | None = None

    def expressions(self) -> list[Expression]:
        """Return all expressions."""
        return [*self.axes, *self.classes, *([] if self.base is None else [self.base])]

    def count(self, of_jets: Callable[[Expression], NDArray[Any]]) -> NDArray[np.float64]:
        """Count jets by class and bin, (C, n, m), with their base weights if there are some."""
        axes = [of_jets(axis) for axis in self.axes]
        if not self.inside_only:
            axes = [np.clip(axis, own[0], own[-1]) for axis, own in zip(axes, self.edges, strict=True)]
        base = None if self.base is None else of_jets(self.base)
        found = []
        for flag in self.classes:
            own = of_jets(flag) == 1
            weights = None if base is None else base[own]
            found.append(np.histogram2d(axes[0][own], axes[1][own], bins=list(self.edges), weights=weights)[0])
        return np.stack(found)

    def fitted(self, counts: NDArray[np.float64]) -> WeaverWeights:
        """Return the same with the weights known, before they are scaled by a base.

        Raises
        ------
        DataError
            If a class has no jets in the bins.
        """
        for flag, own in zip(self.classes, counts, strict=True):
            if not (own > 0).any():
                raise DataError(f"no jets of the class {flag} lie in the bins; check the edges and their units")
        counts = counts.astype(np.float32)
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.by_reference:
                ratios = np.nan_to_num(counts[0] / counts, posinf=0)
                tops = [np.percentile(ratio[ratio > 0], 100 - self.threshold) for ratio in ratios]
                table = np.stack([np.clip(ratio / top, 0, 1) for ratio, top in zip(ratios, tops, strict=True)])
            else:
                filled = [own[own > 0.01 * np.median(own[own > 0])] for own in counts]
                levels = [np.percentile(own, self.threshold) for own in filled]
                table = np.stack(
                    [
                        np.clip(np.nan_to_num(level / own, posinf=0), 0, 1)
                        for level, own in zip(levels, counts, strict=True)
                    ]
                )
        sums = (counts * table).sum(axis=(1, 2)) / np.array(self.shares)
        return replace(self, table=table * (_LARGEST * sums.min() / sums)[:, None, None])

    def scaled_by(self, weights: NDArray[np.float32]) -> WeaverWeights:
        """Return the same, divided by the percentile from above of the weights of all jets: for those with a base."""
        assert self.table is not None
        return replace(self, table=self.table / np.percentile(weights, 100 - self.threshold))

    def weigh(self, of_jets: Callable[[Expression], NDArray[Any]]) -> NDArray[np.float32]:
        """Compute the weights of jets, 0 for those of no class."""
        assert self.table is not None
        axes = [of_jets(axis) for axis in self.axes]
        inside = np.ones(len(axes[0]), np.bool_)
        numbers = []
        for axis, own in zip(axes, self.edges, strict=True):
            if self.inside_only:
                inside &= (axis >= own[0]) & (axis <= own[-1])
            numbers.append(np.clip(np.digitize(axis, own) - 1, 0, len(own) - 2))
        weights = np.zeros(len(axes[0]), np.float32)
        for flag, own in zip(self.classes, self.table, strict=True):
            chosen = (of_jets(flag) == 1) & inside
            weights[chosen] = own[numbers[0][chosen], numbers[1][chosen]]
        return weights if self.base is None else weights * of_jets(self.base).astype(np.float32)
