"""Reading the layers of a torch module while it runs, and leaving no trace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from jetsym.errors import ProbeError
from jetsym.probing.forward.layers import is_compiled

__all__ = ["LATER_CALL", "Record", "capture", "flatten_outputs", "untouched"]


#: What stands between the name of a module and the number of its call, from the second one on.
LATER_CALL = "@"


class Record(dict[str, Tensor]):
    """The arrays that layers returned in one forward pass, by name, in the order in which they ran.

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
        """Forget everything, as between passes."""
        super().clear()
        self._returned.clear()
        self._calls.clear()
        self._versions.clear()

    def take(self, name: str, output: Any) -> None:
        """Keep what a layer has just returned."""
        self._calls[name] += 1
        label = name if self._calls[name] == 1 else f"{name}{LATER_CALL}{self._calls[name]}"
        for key, array in flatten_outputs(output, label).items():
            if isinstance(array, Tensor):
                self[key] = array.clone() if key in self._copied or array.is_inference() else array
                self._returned[key], self._versions[key] = array, _version(self[key])

    def is_same(self, name: str, output: Any) -> bool:
        """Return whether a layer returned this very array, and nothing changed it since."""
        kept, returned = self[name], self._returned[name]
        return returned is output and (kept is returned or torch.equal(kept, returned))

    def overwritten(self) -> list[str]:
        """Return names whose arrays were changed in place after the layer returned them, and copy them from now on.

        Copying all of them would cost memory traffic in every pass, for the sake of the few models that do this.
        """
        names = [name for name, array in self.items() if _version(array) != self._versions[name]]
        self._copied.update(names)
        return names


def _version(array: Tensor) -> int:
    """Return how often an array was changed in place; inference tensors do not count, and are copied at once."""
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
    """Put a module in evaluation mode, without gradients and compilation, on a device, and back afterwards.

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
    """Return a context without compilation, where there is any (importing the compiler takes seconds)."""
    return torch.compiler.set_stance("force_eager") if is_compiled(model) else nullcontext()
