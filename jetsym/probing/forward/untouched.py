"""Running a module for a while, and leaving it as it was, bit for bit."""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from jetsym.errors import ProbeError
from jetsym.probing.forward.blocks import is_equal

__all__ = ["Kept", "untouched"]

#: Types whose content is put back.
MAPPINGS = (dict, OrderedDict, defaultdict, Counter)
SEQUENCES = (list, set, deque)


@contextmanager
def untouched(model: nn.Module, device: Any) -> Iterator[None]:
    """Put a module in evaluation mode, without gradients and compilation, on a device, and back afterwards.

    What a forward pass, or the caller's way of calling it, changes in the module is put back as well: parameters and
    buffers, such as running statistics, their gradients, and attributes, such as modes, counters, caches and hooks.
    Compiled code was traced without hooks, and may run past them; so the module is evaluated as it was written.

    Raises
    ------
    ProbeError
        The module is spread over several devices and should go to a single one.
    """
    places = {parameter.device for parameter in model.parameters()}
    if device is not None and len(places) > 1:
        raise ProbeError(
            f"device is {str(device)!r}, but the model is spread over {', '.join(sorted(map(str, places)))}; leave "
            "device out to evaluate it where it is"
        )
    kept = Kept(model)
    home = next((parameter.device for parameter in model.parameters()), None)
    try:
        for parameter in model.parameters():
            parameter.grad = None  # where a forward pass differentiates, it adds to them
        _evaluate(model)
        if device is not None and home is not None:
            model.to(device)
        with torch.no_grad(), _eager():
            yield
    finally:
        if device is not None and home is not None:
            model.to(home)
        kept.restore()


def _evaluate(model: nn.Module) -> None:
    """Put a module in evaluation mode; what is exported stays in the mode that it was exported in."""
    try:
        model.eval()
    except (NotImplementedError, AttributeError):  # exported and frozen modules have no modes of their own
        for module in model.modules():
            if hasattr(module, "training"):
                module.training = False


def _eager() -> AbstractContextManager[Any]:
    """Return a context without compilation, wherever there is any; nothing is compiled before the compiler is there."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


class Kept:
    """What a module holds: its tensors, its attributes, and those of the modules and plain containers within."""

    def __init__(self, model: nn.Module) -> None:
        self._seen: dict[int, Any] = {}
        self._steps: list[Callable[[], bool]] = []
        modes = {module: module.training for module in model.modules() if hasattr(module, "training")}
        self._keep(model)
        for tensor in (*model.parameters(), *model.buffers()):
            self._keep(tensor)  # those that are no attributes, as of scripted modules
        self._steps.append(lambda: _set_modes(modes))

    def restore(self) -> bool:
        """Put back what is not as it was, and return whether there was any."""
        return sum(step() for step in self._steps) > 0

    def _keep(self, value: Any) -> None:
        if not isinstance(value, (Tensor, nn.Module, tuple, *MAPPINGS, *SEQUENCES)) or id(value) in self._seen:
            return
        self._seen[id(value)] = value  # alive, so that nothing else has its identity
        if isinstance(value, Tensor):
            self._keep_tensor(value)
        elif isinstance(value, nn.Module):
            self._keep(vars(value))
        elif isinstance(value, tuple):
            for item in value:
                self._keep(item)
        elif isinstance(value, dict) and type(value) in MAPPINGS:
            items = dict(value)
            update = partial(dict.update, value)  # that of a Counter would count
            self._steps.append(lambda: _put_back(value, value.items(), items.items(), update))
            for item in items.values():
                self._keep(item)
        elif type(value) in SEQUENCES:
            held, put = list(value), getattr(value, "update" if isinstance(value, set) else "extend")
            self._steps.append(lambda: _put_back(value, enumerate(value), enumerate(held), lambda _: put(held)))
            for item in held:
                self._keep(item)

    def _keep_tensor(self, tensor: Tensor) -> None:
        if not (is_lazy(tensor) or tensor.is_meta) and tensor.layout is torch.strided:
            self._steps.append(partial(_put_back_numbers, tensor, tensor.detach().clone()))
        if is_lazy(tensor) or (tensor.is_leaf and not tensor.is_inference()):
            self._steps.append(partial(_put_back_gradient, tensor, tensor.grad, tensor.requires_grad))


def _put_back_numbers(tensor: Tensor, numbers: Tensor) -> bool:
    """Give a tensor its numbers, unless it has them, and return whether it had not."""
    if tensor.shape != numbers.shape:
        tensor.data = numbers.clone()
    elif is_equal(tensor.detach(), numbers):
        return False
    else:
        with torch.inference_mode(tensor.is_inference()), torch.no_grad():
            tensor.copy_(numbers)
    return True


def _put_back_gradient(tensor: Tensor, gradient: Tensor | None, requires_grad: bool) -> bool:
    """Give a tensor its gradient and its wish for one, which are no state that it computes with."""
    if tensor.requires_grad is not requires_grad:
        tensor.requires_grad_(requires_grad)
    if tensor.grad is not gradient:
        tensor.grad = gradient
    return False


def _put_back(container: Any, items: Any, held: Any, put: Callable[[Any], Any]) -> bool:
    """Give a container what it held, unless it is that, and return whether it was not."""
    now, then = list(items), list(held)
    if len(now) != len(then) or any(a != c or b is not d for (a, b), (c, d) in zip(now, then, strict=True)):
        container.clear()
        put(then)
        return True
    return False


def _set_modes(modes: dict[nn.Module, bool]) -> bool:
    changed = {module: mode for module, mode in modes.items() if module.training != mode}
    for module, mode in changed.items():
        module.training = mode
    return bool(changed)
