"""The layers of a model: which modules are read, and by what names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Protocol, runtime_checkable

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from jetsym.errors import ProbeError, closest

__all__ = ["Layered", "is_compiled", "select_layers", "unwrapped"]

#: What ``torch.compile`` puts between the name of a module and those of its children.
COMPILED = "_orig_mod"

#: The attribute in which a wrapper says which of its children is the model whose layers are to be read.
WITHIN = "probe_within"


@runtime_checkable
class Layered(Protocol):
    """A model that knows best what its layers are, and which input their responses belong to."""

    #: What the model is called in a report.
    name: str

    def probe_layers(self, layers: str | Sequence[str]) -> Mapping[str, nn.Module]:
        """Return the modules to read, by name, for names or patterns of layers; "auto" for all worth it."""

    def probe_features(self, recorded: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return what those modules did in the last pass, inputs along the first axis, by names of layers."""


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the module inside wrappers that change how it runs and not what it computes.

    These are ``torch.compile(model)``, ``nn.DataParallel`` and ``DistributedDataParallel``.

    Examples
    --------
    >>> unwrapped(nn.DataParallel(nn.Linear(3, 2)))
    Linear(in_features=3, out_features=2, bias=True)
    """
    wrapped = _not_compiled(model)
    while isinstance(wrapped, (nn.DataParallel, DistributedDataParallel)):
        wrapped = _not_compiled(wrapped.module)
    return wrapped


def _not_compiled(module: nn.Module) -> nn.Module:
    """Return what ``torch.compile(module)`` was given; any other module itself."""
    inner = getattr(module, COMPILED, None)
    return inner if isinstance(inner, nn.Module) else module


def is_compiled(model: nn.Module) -> bool:
    """Return whether a module or a part of it is compiled, by ``torch.compile(module)`` or by ``module.compile()``."""
    return any(
        _not_compiled(module) is not module or getattr(module, "_compiled_call_impl", None) is not None
        for module in model.modules()
    )


def select_layers(model: nn.Module, layers: str | Sequence[str]) -> dict[str, nn.Module]:
    """Return the modules to read, by name, in the model's own order.

    ``"auto"`` takes the direct children of the model, and opens lists of modules. It looks into the only child of a
    model, and into the one that a wrapper with further children names as ``probe_within``: what a wrapper adds beside
    is not what the outputs are read from. Otherwise ``layers`` holds names as in ``model.named_modules()``, or glob
    patterns of them. A compiled part of the model goes by its plain name, and is read inside. A :class:`Layered` model
    selects by itself.

    Raises
    ------
    ProbeError
        A name or pattern that matches no module; the message names the nearest.
    """
    if isinstance(model, Layered):
        return dict(model.probe_layers(layers))
    if layers == "auto":
        return dict(_open(model, ""))
    patterns = [layers] if isinstance(layers, str) else list(layers)
    modules = {_plain(name): _not_compiled(module) for name, module in model.named_modules() if _plain(name)}
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in modules):
            raise ProbeError(
                f"layer {pattern!r} matches no module of {type(model).__name__}; {closest(pattern, modules)}"
            )
    return {name: module for name, module in modules.items() if any(fnmatchcase(name, item) for item in patterns)}


def _plain(name: str) -> str:
    return ".".join(part for part in name.split(".") if part != COMPILED)


def _open(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    within = getattr(module, WITHIN, None)
    children = [
        (name, _not_compiled(child)) for name, child in module.named_children() if within is None or name == within
    ]
    if len(children) == 1 and not isinstance(children[0][1], (nn.ModuleList, nn.ModuleDict)):
        name, child = children[0]
        if list(child.children()):
            yield from _open(child, f"{prefix}{name}.")
            return
    for name, child in children:
        if isinstance(child, (nn.ModuleList, nn.ModuleDict)):
            for item, grandchild in child.named_children():
                yield f"{prefix}{name}.{item}", _not_compiled(grandchild)
        else:
            yield f"{prefix}{name}", child
