"""Reading the layers of a torch module while it runs, and leaving no trace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from fnmatch import fnmatchcase
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from jetsym.errors import ProbeError, closest

__all__ = ["Layered", "Record", "capture", "flatten_outputs", "is_compiled", "select_layers", "untouched", "unwrapped"]

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
        """The modules to read, by name, for names or patterns of layers; "auto" for all that are worth it."""

    def probe_features(self, recorded: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """What those modules returned in the last pass, with the inputs along the first axis, by names of layers."""


def unwrapped(model: nn.Module) -> nn.Module:
    """The module inside wrappers that change how it runs and not what it computes.

    These are ``torch.compile(model)``, ``nn.DataParallel`` and ``DistributedDataParallel``.

    Examples
    --------
    >>> unwrapped(nn.DataParallel(nn.Linear(3, 2)))
    Linear(in_features=3, out_features=2, bias=True)
    """
    wrapped: Any = _not_compiled(model)
    while isinstance(wrapped, (nn.DataParallel, DistributedDataParallel)):
        wrapped = _not_compiled(wrapped.module)
    return wrapped


def _not_compiled(module: nn.Module) -> nn.Module:
    """What ``torch.compile(module)`` was given; any other module itself."""
    inner = getattr(module, COMPILED, None)
    return inner if isinstance(inner, nn.Module) else module


def is_compiled(model: nn.Module) -> bool:
    """Whether a module or a part of it is compiled, by ``torch.compile(module)`` or by ``module.compile()``."""
    return any(
        _not_compiled(module) is not module or getattr(module, "_compiled_call_impl", None) is not None
        for module in model.modules()
    )


def select_layers(model: nn.Module, layers: str | Sequence[str]) -> dict[str, nn.Module]:
    """The modules to read, by name, in the model's own order.

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


class Record(dict[str, Tensor]):
    """What layers returned in one forward pass, by name, in the order in which they ran; clear it between passes.

    A module that returns a tuple or a dictionary appears as ``name.0``, ``name.key``; the second call of a shared
    module in one pass as ``name@2``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._calls: Counter[str] = Counter()
        self._versions: dict[str, int] = {}
        self._returned: dict[str, Tensor] = {}
        self._copied: set[str] = set()

    def clear(self) -> None:
        super().clear()
        self._returned.clear()
        self._calls.clear()
        self._versions.clear()

    def take(self, name: str, output: Any) -> None:
        """Keep what a layer has just returned."""
        self._calls[name] += 1
        label = name if self._calls[name] == 1 else f"{name}@{self._calls[name]}"
        for key, array in flatten_outputs(output, label).items():
            if isinstance(array, Tensor):
                self[key] = array.clone() if key in self._copied or array.is_inference() else array
                self._returned[key], self._versions[key] = array, _version(self[key])

    def is_same(self, name: str, output: Any) -> bool:
        """Whether a layer returned this very array, and nothing changed it since."""
        kept, returned = self[name], self._returned[name]
        return returned is output and (kept is returned or torch.equal(kept, returned))

    def overwritten(self) -> list[str]:
        """Names whose arrays were changed in place after the layer returned them; from now on they are copied.

        Copying all of them would cost memory traffic in every pass, for the sake of the few models that do this.
        """
        names = [name for name, array in self.items() if _version(array) != self._versions[name]]
        self._copied.update(names)
        return names


def _version(array: Tensor) -> int:
    """How often an array was changed in place; inference tensors do not count, and are copied at once."""
    return 0 if array.is_inference() else array._version


@contextmanager
def capture(layers: Mapping[str, nn.Module]) -> Iterator[Record]:
    """Record what the given modules return, from entry to exit; the hooks are removed whatever happens."""
    record = Record()

    def hook_for(name: str) -> Any:
        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            record.take(name, output)

        return hook

    handles = [module.register_forward_hook(hook_for(name)) for name, module in layers.items()]
    try:
        yield record
    finally:
        for handle in handles:
            handle.remove()
        record.clear()


def flatten_outputs(output: Any, name: str) -> dict[str, Any]:
    """Name the arrays of an output: an array as it is, tuples by position, dictionaries by key; the rest is skipped."""
    if isinstance(output, (tuple, list)):
        output = dict(enumerate(output))
    if isinstance(output, Mapping):
        return {
            label: array
            for key, value in output.items()
            for label, array in flatten_outputs(value, f"{name}.{key}").items()
        }
    return {name: output} if hasattr(output, "shape") and hasattr(output, "dtype") else {}


@contextmanager
def untouched(model: nn.Module, device: Any) -> Iterator[None]:
    """Evaluation mode, without gradients and compilation, on a device; modes and the device are restored.

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
    modes = {module: module.training for module in model.modules()}
    home = next((parameter.device for parameter in model.parameters()), None)
    try:
        model.eval()
        if device is not None and home is not None:
            model.to(device)
        with torch.no_grad(), _eager(model):
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        if device is not None and home is not None:
            model.to(home)


def _eager(model: nn.Module) -> AbstractContextManager[Any]:
    """A context without compilation, where there is any (importing the compiler takes seconds)."""
    return torch.compiler.set_stance("force_eager") if is_compiled(model) else nullcontext()
