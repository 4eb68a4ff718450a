"""Weights that give all classes the same distribution in bins of jet quantities, such as pT and mass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jetsym.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["bin_numbers", "bin_weights"]


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
