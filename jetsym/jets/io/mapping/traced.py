"""Traced: a torch tensor that numpy's functions take, so that expressions are computed on a device, with derivatives.

Only what is computed element by element, and sums and means over the particles of a jet; anything else is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.lib.mixins import NDArrayOperatorsMixin
from torch import Tensor

from jetsym.errors import DataError

__all__ = ["Traced"]

#: What torch calls otherwise than numpy.
_NAMES = {"absolute": "abs", "fabs": "abs", "rint": "round", "degrees": "rad2deg", "radians": "deg2rad"}
#: Functions that take whole numbers and conditions as they are; the others take real numbers.
_OF_ANY = frozenset(
    [
        *("add", "subtract", "multiply", "maximum", "minimum", "negative", "positive", "absolute", "sign", "square"),
        *("remainder", "floor_divide", "equal", "not_equal", "less", "less_equal", "greater", "greater_equal"),
        *("logical_and", "logical_or", "logical_xor", "logical_not", "bitwise_and", "bitwise_or"),
        *("isfinite", "isinf", "isnan"),
    ]
)


class Traced(NDArrayOperatorsMixin):
    """Numbers (n,) as a tensor.

    Examples
    --------
    >>> pt = Traced(torch.tensor([3.0, 4.0], requires_grad=True))
    >>> np.log(np.hypot(pt, 2 * pt)).tensor.sum().backward()
    >>> pt.tensor.grad
    tensor([0.3333, 0.2500])
    """

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the numbers, as numpy calls it."""
        return np.dtype(str(self.tensor.dtype).removeprefix("torch."))

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.tensor.ndim

    def __len__(self) -> int:
        return len(self.tensor)

    def astype(self, dtype: Any) -> Traced:
        """Convert the numbers."""
        return Traced(self.tensor.to(getattr(torch, np.dtype(dtype).name)))

    def __getitem__(self, index: Any) -> Traced:
        return Traced(self.tensor[self._tensor(index) if isinstance(index, np.ndarray | Traced) else index])

    def ravel(self) -> Traced:
        """Return the numbers along one axis."""
        return Traced(self.tensor.reshape(-1))

    def __array_ufunc__(self, function: np.ufunc, method: str, *operands: Any, **options: Any) -> Traced:
        name = function.__name__
        found = getattr(torch, _NAMES.get(name, name), None)
        if method != "__call__" or options or found is None:
            raise _refused(name)
        tensors = [self._tensor(one) for one in operands]
        if name not in _OF_ANY:
            tensors = [one if one.is_floating_point() else one.double() for one in tensors]
        return Traced(found(*tensors))

    def __array_function__(
        self, function: Callable[..., Any], types: Sequence[type], given: Sequence[Any], options: Mapping[str, Any]
    ) -> Traced:
        name, operands = function.__name__, [self._tensor(one) for one in given]
        if name == "bincount":
            sums = torch.zeros(options["minlength"], dtype=torch.float64, device=self.tensor.device)
            return Traced(sums.index_add(0, operands[0], self._tensor(options["weights"])))
        if options or name not in ("where", "clip", "nan_to_num", "zeros_like", "ones_like", "repeat"):
            raise _refused(name)
        if name == "nan_to_num" and not operands[0].is_floating_point():
            return Traced(operands[0])
        return Traced(getattr(torch, {"repeat": "repeat_interleave"}.get(name, name))(*operands))

    def _tensor(self, operand: Any) -> Tensor:
        return operand.tensor if isinstance(operand, Traced) else torch.as_tensor(operand, device=self.tensor.device)


def _refused(name: str) -> DataError:
    return DataError(
        f"{name} is not computed anew for jets that move; write the variable without it, or hold it fixed where that "
        "is meant: fixed=[its name]"
    )
