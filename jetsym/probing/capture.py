"""Reading the layers of a torch module while it runs, and leaving no trace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from jetsym.errors import ProbeError, closest

__all__ = ["capture", "flatten_outputs", "select_layers", "untouched"]


def select_layers(model: nn.Module, layers: str | Sequence[str]) -> dict[str, nn.Module]:
    """The modules to read, by name, in the model's own order.

    ``"auto"`` takes the direct children of the model, and opens lists of modules (a model with a single child is
    looked into). Otherwise ``layers`` holds names as in ``model.named_modules()``, or glob patterns of them.

    Raises
    ------
    ProbeError
        A name or pattern that matches no module; the message names the nearest.
    """
    if layers == "auto":
        return dict(_open(model, ""))
    patterns = [layers] if isinstance(layers, str) else list(layers)
    modules = {name: module for name, module in model.named_modules() if name}
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in modules):
            raise ProbeError(
                f"layer {pattern!r} matches no module of {type(model).__name__}; {closest(pattern, modules)}"
            )
    return {name: module for name, module in modules.items() if any(fnmatchcase(name, item) for item in patterns)}


def _open(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    children = list(module.named_children())
    if len(children) == 1 and not isinstance(children[0][1], (nn.ModuleList, nn.ModuleDict)):
        name, child = children[0]
        if list(child.children()):
            yield from _open(child, f"{prefix}{name}.")
            return
    for name, child in children:
        if isinstance(child, (nn.ModuleList, nn.ModuleDict)):
            for item, grandchild in child.named_children():
                yield f"{prefix}{name}.{item}", grandchild
        else:
            yield f"{prefix}{name}", child


@contextmanager
def capture(layers: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Record what the given modules return, from entry to exit; the hooks are removed whatever happens.

    Yields a dictionary that each forward pass fills; clear it between passes. A module that returns a tuple or a
    dictionary appears as ``name.0``, ``name.key``; the second call of a shared module in one pass as ``name@2``.
    """
    record: dict[str, Tensor] = {}
    calls: Counter[str] = Counter()

    def hook_for(name: str) -> Any:
        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            if not record:
                calls.clear()
            calls[name] += 1
            label = name if calls[name] == 1 else f"{name}@{calls[name]}"
            record.update(flatten_outputs(output, label))

        return hook

    handles = [module.register_forward_hook(hook_for(name)) for name, module in layers.items()]
    try:
        yield record
    finally:
        for handle in handles:
            handle.remove()


def flatten_outputs(output: Any, name: str) -> dict[str, Any]:
    """Name the arrays of an output: an array as it is, tuples by position, dictionaries by key; the rest is skipped."""
    if isinstance(output, Mapping):
        return {
            label: array
            for key, value in output.items()
            for label, array in flatten_outputs(value, f"{name}.{key}").items()
        }
    if isinstance(output, (tuple, list)):
        return {
            label: array
            for position, value in enumerate(output)
            for label, array in flatten_outputs(value, f"{name}.{position}").items()
        }
    return {name: output} if hasattr(output, "shape") and hasattr(output, "dtype") else {}


@contextmanager
def untouched(model: nn.Module, device: Any) -> Iterator[None]:
    """Evaluation mode, without gradients, on a device; every submodule's mode and the device are restored."""
    modes = {module: module.training for module in model.modules()}
    home = next((parameter.device for parameter in model.parameters()), None)
    try:
        model.eval()
        if device is not None and home is not None:
            model.to(device)
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        if device is not None and home is not None:
            model.to(home)
