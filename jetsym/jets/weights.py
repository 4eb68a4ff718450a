"""Weights of jets: the column that holds them, what they must be, and how many equal jets they are worth.

One rule for training, validation and evaluation: a column ``weight`` counts. It comes from ``reweight`` or from
``columns: {weight: …}`` of a mapping, or from a file's own branch of that name. An option ``weights`` names another
column, or is "none", so that every jet counts once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from jetsym.errors import ConfigError, DataError, closest
from jetsym.jets.schema import WEIGHT

__all__ = [
    "NO_WEIGHTS",
    "as_weights",
    "check_weights",
    "columns_to_read",
    "describe_weights",
    "effective_number",
    "weight_column",
    "weights_in_words",
]

#: What the option says where every jet is to count once.
NO_WEIGHTS = "none"


def weight_column(names: Iterable[str], asked: str | None) -> str | None:
    """Return the column whose values weigh the jets: the one asked for, else ``weight`` where there is one, else None.

    Parameters
    ----------
    names
        Columns that there are.
    asked
        Name of a column; "none" for no weights; None for the rule.

    Raises
    ------
    ConfigError
        There is no such column.

    Examples
    --------
    >>> weight_column(["mass", "weight"], None), weight_column(["mass"], None), weight_column(["weight"], "none")
    ('weight', None, None)
    """
    known = list(names)
    if asked == NO_WEIGHTS:
        return None
    if asked is None:
        return WEIGHT if WEIGHT in known else None
    if asked not in known:
        raise ConfigError(
            f"weights is {asked!r}, which is no column of the jets; {closest(asked, [*known, NO_WEIGHTS])}. A mapping "
            f"makes a column of any branch or expression: columns: {{{WEIGHT}: …}}"
        )
    return asked


def columns_to_read(asked: str | None) -> tuple[str, ...]:
    """Return the per-jet columns to read besides others, as far as there are such, for :func:`weight_column` to find.

    Examples
    --------
    >>> columns_to_read(None), columns_to_read("genWeight"), columns_to_read("none")
    (('weight',), ('genWeight',), ())
    """
    return () if asked == NO_WEIGHTS else (asked or WEIGHT,)


def as_weights(weights: Tensor | NDArray[Any] | None, jets: int) -> NDArray[np.float64]:
    """Return the weights (jets,) in float64; 1 for every jet where there are none.

    Raises
    ------
    DataError
        The shape is another, or a weight is NaN or infinite.
    """
    if weights is None:
        return np.ones(jets)
    values = np.asarray(weights.numpy(force=True) if isinstance(weights, Tensor) else weights, np.float64)
    if values.shape != (jets,):
        raise DataError(f"weights have shape {values.shape}; expected ({jets},), one for each jet")
    if not np.isfinite(values).all():
        first = int(np.flatnonzero(~np.isfinite(values))[0])
        raise DataError(
            f"{(~np.isfinite(values)).sum()} of {jets} weights are NaN or infinite, the first at jet {first}; expected "
            "finite numbers"
        )
    return values


def check_weights(weights: NDArray[np.float64], label: NDArray[np.int64], classes: Sequence[str]) -> None:
    """Refuse weights with which a class that has jets counts nothing, or less: no share of it has a meaning.

    Raises
    ------
    DataError
        The weights of a class sum to zero or less.

    Examples
    --------
    >>> check_weights(np.array([1.0, 2.0, -2.0]), np.array([0, 1, 1]), ("QCD", "top"))
    Traceback (most recent call last):
    jetsym.errors.DataError: the weights of the 2 jets of 'top' sum to 0; expected more than 0, or no share of this \
class has a meaning: leave its jets out, take more of them, or leave the weights out with weights='none' \
(--weights none)
    """
    jets, sums = (np.bincount(label, values, len(classes)) for values in (None, weights))
    wrong = np.flatnonzero((jets > 0) & (sums <= 0))
    if len(wrong):
        name, few = classes[wrong[0]], jets[wrong[0]]
        raise DataError(
            f"the weights of the {few} jets of {name!r} sum to {sums[wrong[0]]:.4g}; expected more than 0, or no share "
            "of this class has a meaning: leave its jets out, take more of them, or leave the weights out with "
            "weights='none' (--weights none)"
        )


def effective_number(weights: NDArray[np.float64]) -> float:
    """Return the number of equal jets that say as much: n_eff = (Σw)² / Σw², which is n where all weights are equal.

    Source: L. Kish, Survey Sampling (1965); G. Bohm, G. Zech, Nucl. Instrum. Methods A 748 (2014) 1.

    Examples
    --------
    >>> effective_number(np.full(10, 0.3)), effective_number(np.array([1.0, 1.0, -1.0]))
    (10.0, 0.3333333333333333)
    """
    if len(weights) and (weights == weights[0]).all() and weights[0]:
        return float(len(weights))
    squares = float(np.square(weights).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def describe_weights(column: str, weights: NDArray[np.float64]) -> dict[str, Any]:
    """Return what a report says of weights: their column, n_eff, their sum, and the share of jets below zero."""
    return {
        "column": column,
        "n_eff": effective_number(weights),
        "sum": float(weights.sum()),
        "negative": float((weights < 0).mean()),
    }


def weights_in_words(found: Mapping[str, Any] | None, jets: int) -> str:
    """Say of some jets whether, and by what, they are weighed: a sentence of what :func:`describe_weights` gives.

    Examples
    --------
    >>> print(weights_in_words(describe_weights("weight", np.array([2.0, 1.0, -1.0, 2.0])), 4))
    Weighted by the column 'weight' (25 % negative): the 4 jets count as 1.6 of equal weight.
    >>> print(weights_in_words(None, 4))
    Not weighted: every jet counts once.
    """
    if found is None:
        return "Not weighted: every jet counts once."
    negative = f" ({100 * found['negative']:.2g} % negative)" if found["negative"] else ""
    return (
        f"Weighted by the column {found['column']!r}{negative}: the {jets:,} jets count as {found['n_eff']:,.4g} of "
        "equal weight."
    )
