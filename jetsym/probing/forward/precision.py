"""Precision of a forward pass: full for what a measurement computes itself, and what a model computes in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["Precisions", "full_precision"]

#: Relative spacing of the numbers that products of float32 are made of, by the word of torch for it.
PRODUCTS = {"highest": 2.0**-23, "high": 2.0**-10, "medium": 2.0**-7}


class Precisions(TorchDispatchMode):
    """The precisions that torch computes in while it is entered, whatever goes in and comes out.

    It sees every operation: those under autocast, behind conversions, in scripted modules and in plain callables. What
    other libraries compute stays unseen.

    Attributes
    ----------
    eps
        Relative spacings of the floating-point numbers that were computed. TF32, in which graphics processors may
        multiply float32, counts as its 11 bits, where it is allowed.

    Examples
    --------
    >>> with Precisions() as seen:
    ...     _ = torch.ones(2).bfloat16().double()
    >>> {2.0**-52, 2.0**-7} <= seen.eps
    True
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch says no types
        self.eps: set[float] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and note the precision of what it returns."""
        returned = func(*args, **(kwargs or {}))
        for array in tree_leaves(returned):
            if isinstance(array, Tensor) and (array.is_floating_point() or array.is_complex()):
                self.eps.add(torch.finfo(array.dtype).eps)
                if array.dtype == torch.float32:
                    self.eps.add(_eps_of_convolutions() if "convolution" in str(func) else _eps_of_products())
        return returned


def _eps_of_products() -> float:
    try:
        return PRODUCTS[torch.get_float32_matmul_precision()]
    except RuntimeError:  # torch refuses to say so once the caller has chosen by the newer setting
        return PRODUCTS["high" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "highest"]


def _eps_of_convolutions() -> float:
    try:
        lowered = torch.backends.cudnn.allow_tf32
    except RuntimeError:  # as above; steps for a precision that is not there do no harm
        lowered = True
    return PRODUCTS["high" if lowered and torch.cuda.is_available() else "highest"]


@contextmanager
def full_precision() -> Iterator[None]:
    """Leave TF32 and autocast off for a while.

    They are the model's affair: moved inputs and sums over an orbit that were rounded to 11 or 8 bits would pass for
    what the model does.

    Examples
    --------
    >>> with torch.autocast("cpu", dtype=torch.bfloat16), full_precision():
    ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    torch.float32
    """
    with ExitStack() as stack:
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        stack.enter_context(_without_tf32())
        yield


@contextmanager
def _without_tf32() -> Iterator[None]:
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:  # torch refuses to say so once the caller has chosen by the newer setting
        with _newer_setting():
            yield
        return
    if before == "highest":
        yield
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def _newer_setting() -> Iterator[None]:
    products = torch.backends.cuda.matmul
    before = products.fp32_precision
    products.fp32_precision = "ieee"
    try:
        yield
    finally:
        products.fp32_precision = before
