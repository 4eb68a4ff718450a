"""Calling a model: as it is to be called, with gradients where its forward pass differentiates by itself."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import Signature, signature
from typing import Any

import torch
from array_api_compat import is_torch_array
from torch import nn

from jetsym.domains.base import Domain
from jetsym.errors import ProbeError, is_out_of_memory
from jetsym.probing.forward.returned import flatten_outputs
from jetsym.spectrum.responses import EPS

__all__ = ["Call", "Caller", "home_of", "in_numbers", "numbers_of", "place", "plain_call", "taken", "with_bundled_jets"]

Call = Callable[[Any, Any], Any]

DIFFERENTIATES_NOTE = "The forward pass differentiates by itself; it was evaluated with gradients enabled."
#: What a forward pass is given in turn, if it asks for gradients: none, a graph, and a graph from its inputs on.
WITHOUT, WITH_GRAPH, FROM_INPUTS = range(3)
#: How an error says that a forward pass asks for gradients; an assertion need not say anything.
ASKS = "grad"
#: Numbers that a model may take if it does not say which.
USUAL = (torch.float32, torch.float64)


def plain_call(model: Callable[..., Any], inputs: Any, **others: Any) -> Any:
    """Call a model with its inputs, several where they are a tuple and keywords where they are a dictionary.

    Raises
    ------
    ProbeError
        It takes other arguments.
    """
    named: dict[str, Any] = {**(inputs if isinstance(inputs, dict) else {}), **others}
    placed = inputs if isinstance(inputs, tuple) else () if isinstance(inputs, dict) else (inputs,)
    try:
        return model(*placed, **named)
    except TypeError as error:
        takes = taken(model)
        if takes is None or _fits(takes, placed, named):
            raise
        raise ProbeError(
            f"the model takes {takes}, and is given {len(placed)} inputs by position and "
            f"{', '.join(map(repr, named)) or 'none'} by name; say with call=… how to call it"
        ) from error


def with_bundled_jets(call: Call) -> Call:
    """Return a call whose errors say that jets were taken, as no inputs were named."""

    def called(model: Any, inputs: Any, **others: Any) -> Any:
        try:
            return call(model, inputs, **others)
        except (TypeError, AttributeError, LookupError, ValueError, ProbeError) as error:
            raise ProbeError(
                f"inputs is None, which takes the bundled jets, and the model does not take those "
                f"({type(error).__name__}: {error}); name what it takes as inputs"
            ) from error

    return called


def taken(model: Any) -> Signature | None:
    """Return what a model or another callable takes; None where it does not say."""
    try:
        return signature(getattr(model, "forward", model))
    except (TypeError, ValueError):
        return None


def _fits(takes: Signature, placed: Sequence[Any], named: Mapping[str, Any]) -> bool:
    try:
        takes.bind(*placed, **named)
    except TypeError:
        return False
    return True


class Caller:
    """A way to call a model, which tries again with gradients once a forward pass asks for them.

    Forces are derivatives of an energy, and many potentials take them as they run. Where gradients are disabled they
    say that there is no graph; such a model is called with gradients from then on.

    Parameters
    ----------
    call
        ``call(model, inputs)``; None for :func:`plain_call`.

    Attributes
    ----------
    differentiates
        Whether the model has asked for gradients.

    Examples
    --------
    >>> def force(x):
    ...     x.requires_grad_()
    ...     return -torch.autograd.grad((x**2).sum(), x)[0]
    >>> with torch.no_grad():
    ...     Caller()(force, torch.ones(2))
    tensor([-2., -2.])
    """

    def __init__(self, call: Call | None = None) -> None:
        self._call, self._gives = call or plain_call, WITHOUT

    @property
    def differentiates(self) -> bool:
        """Whether the model has asked for gradients."""
        return self._gives != WITHOUT

    def __call__(self, model: Any, inputs: Any, *, before: Callable[[], None] = lambda: None) -> Any:
        """Return what the model does; ``before`` is called before every try."""
        first: Exception | None = None
        for gives in range(self._gives, FROM_INPUTS + 1):
            before()
            try:
                with _graph(inputs, gives):
                    returned = self._call(model, inputs)
            except Exception as error:
                if is_out_of_memory(error) or not _asks(error):
                    raise
                first = first or error
            else:
                self._gives = gives
                return returned
        assert first is not None
        raise first


def _asks(error: Exception) -> bool:
    return ASKS in str(error).lower() or isinstance(error, AssertionError)


@contextmanager
def _graph(inputs: Any, gives: int) -> Iterator[None]:
    """Enable gradients, if they are to be given, from inputs whose own are those of this pass alone."""
    if gives == WITHOUT:
        yield
        return
    with torch.enable_grad():
        for array in flatten_outputs(inputs, "").values():
            if is_torch_array(array) and array.is_leaf:
                array.grad = None
                if gives == FROM_INPUTS and (array.is_floating_point() or array.is_complex()):
                    array.requires_grad_()
        yield


def numbers_of(model: nn.Module, own: str) -> list[torch.dtype | None]:
    """Return the types of numbers that a model may take, the likeliest first; None for those of the inputs.

    Its parameters say which, if they all have one. Complex parameters count by their real parts, and whole numbers and
    those of 8 bits, to which networks are quantised, do not count.

    Parameters
    ----------
    model
        The model.
    own
        Name of the type of the inputs.

    Examples
    --------
    >>> numbers_of(nn.Linear(3, 2), "float64"), numbers_of(nn.Linear(3, 2, dtype=torch.complex128), "float32")
    ([torch.float32], [torch.float64])
    >>> numbers_of(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1).double()), "float64")
    [torch.float64, torch.float32]
    """
    found = list(dict.fromkeys(filter(None, map(_real_type, model.parameters()))))
    if found:
        return sorted(found, key=lambda dtype: (str(dtype) != f"torch.{own}", EPS[str(dtype).removeprefix("torch.")]))
    others = dict.fromkeys([*filter(None, map(_real_type, model.buffers())), *USUAL])
    return [None, *(dtype for dtype in others if str(dtype) != f"torch.{own}")]


def in_numbers(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Return a copy of a module in a type of numbers; complex ones are pairs of them."""

    def converted(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.is_complex():
            return tensor.to(dtype.to_complex())
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    wide = copy.deepcopy(model)
    wide._apply(converted)
    return wide


def _real_type(numbers: torch.Tensor) -> torch.dtype | None:
    dtype = numbers.dtype.to_real() if numbers.is_complex() else numbers.dtype
    return dtype if dtype.is_floating_point and str(dtype).removeprefix("torch.") in EPS else None


def home_of(model: Any) -> torch.device:
    """Return the device of a module's parameters; the CPU where there are none."""
    parameters = model.parameters() if isinstance(model, nn.Module) else iter(())
    return next((parameter.device for parameter in parameters), torch.device("cpu"))


def place(
    inputs: Any, model: nn.Module, domain: Domain, *, device: str | None, try_out: Callable[[Any], object] | None
) -> Any:
    """Return inputs on the device of a module, and in numbers that it takes.

    Parameters of 16 bits do not say that a module rounds its inputs to them: it is tried on the caller's own numbers.

    Parameters
    ----------
    inputs, model, domain
        The inputs of the domain, for the module.
    device
        Where they go if the module has no parameters, whose numbers may be anywhere.
    try_out
        Runs the module on an input, where its parameters do not tell; None takes the likeliest numbers.
    """
    there = home_of(model) if any(True for _ in model.parameters()) else device
    own = domain.dtype_name(inputs)
    types = numbers_of(model, own)
    finest = torch.finfo(types[0]).eps if types[0] is not None else 0.0
    tried = [None, *types] if finest > max(EPS["float32"], EPS.get(own, 0.0)) else types
    for dtype in tried if len(tried) > 1 else ():
        if try_out is None:
            break
        placed = domain.to(inputs, device=there, dtype=dtype)
        try:
            try_out(domain.select(placed, slice(0, 1)))
        except Exception as error:  # whatever a model says of numbers that it does not take
            if is_out_of_memory(error):
                raise
        else:
            return placed
    return domain.to(inputs, device=there, dtype=types[0])
