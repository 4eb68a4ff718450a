"""Reading the layers of a torch module while it runs, and leaving no trace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from jetsym.errors import ProbeError, closest
from jetsym.probing.forward.blocks import Call, address, find_blocks, is_equal, tensors_in, unwrapped_tensor
from jetsym.probing.forward.layers import LATER_CALL, Asked, Layered, asked_layers, match_layers, name_modules
from jetsym.probing.forward.returned import flatten_outputs, is_transformed
from jetsym.probing.options import AUTO

__all__ = ["Record", "capture"]

#: Which of the modules that ran are read, by their calls and by what the model returned.
Choose = Callable[[Mapping[str, Sequence[Call]], Sequence[Any]], Collection[str]]


class Record(dict[str, Tensor]):
    """The arrays that layers returned in one forward pass, by name, in the order in which they ran.

    A module that returns a tuple or a dictionary appears as ``name.0``, ``name.key``; the second call of a shared
    module in one pass as ``name@2``. What runs inside a vmap of ``torch.func`` is ``transformed``, and has no array of
    its own. The first pass tells which modules ran, which of them are read from then on, and which arrays are written
    to once they were returned: these are copied, whether or not torch counts the changes.

    Parameters
    ----------
    modules
        Those that are watched, by name.
    choose
        ``choose(calls, outputs)`` returns the names of those to read, by what they did in the first pass and by what
        the model then returned; None reads all.
    is_first
        Whether the next pass is the first.
    asked
        What names of layers mean, where some were given: of a module that has parts these alone are kept.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module] | None = None,
        choose: Choose | None = None,
        *,
        is_first: bool = False,
        asked: Asked | None = None,
    ) -> None:
        super().__init__()
        self._asked = asked
        self.transformed: set[str] = set()
        self.modules = {
            name: module for name, module in (modules or {}).items() if not isinstance(module, torch.jit.ScriptModule)
        }
        self.is_first = is_first
        self._choose = choose
        self._counts: Counter[str] = Counter()
        self._versions: dict[str, int] = {}
        self._returned: dict[str, Tensor] = {}
        self._copied: set[str] = set()
        self._shared: set[str] = set()
        self._before: dict[str, Any] = {}
        self._calls: dict[str, list[Call]] = {}
        self._running: dict[str, list[Call]] = {}
        self._hooks: dict[str, list[RemovableHandle]] = {}
        for name, module in self.modules.items():
            self._hooks[name] = [module.register_forward_hook(self._hook(name))]
            if choose is not None:
                self._hooks[name].append(module.register_forward_pre_hook(self._pre_hook(name), with_kwargs=True))

    def _pre_hook(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, positional: Any, named: Any) -> None:
            if self.is_first:
                given = tensors_in((positional, named))
                call = Call(sum(map(len, self._calls.values())), given, [tensor.clone() for tensor in given])
                self._calls.setdefault(name, []).append(call)
                self._running.setdefault(name, []).append(call)

        return hook

    def _hook(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            self.take(name, output)
            if self.is_first and self._running.get(name):
                has_parameters = next(module.parameters(), None) is not None
                self._running[name].pop().end(flatten_outputs(output, "").values(), has_parameters=has_parameters)

        return hook

    def remove_hooks(self, keep: Collection[str] = ()) -> None:
        """Stop to watch all modules, or all but some."""
        for name in self._hooks.keys() - set(keep):
            for handle in self._hooks.pop(name):
                handle.remove()
        self.modules = {name: module for name, module in self.modules.items() if name in self._hooks}

    def clear(self) -> None:
        """Forget everything, as between passes."""
        super().clear()
        self._returned.clear()
        self._counts.clear()
        self._versions.clear()
        self._calls.clear()
        self._running.clear()

    def take(self, name: str, output: Any) -> None:
        """Keep what a layer has just returned."""
        self._counts[name] += 1
        label = self.label(name)
        parts = None if self._asked is None else self._asked.parts.get(name)
        for key, value in flatten_outputs(output, label).items():
            if parts is not None and key not in parts:
                continue
            if (array := unwrapped_tensor(value)) is not None:
                is_copied = self.is_first or key in self._copied or array.is_inference()
                self[key] = array.clone() if is_copied else array
                self._returned[key], self._versions[key] = array, _version(self[key])
            elif is_transformed(value):
                self.transformed.add(key)

    def label(self, name: str) -> str:
        """Return what is called what a layer has returned last in this pass."""
        return name if self._counts[name] == 1 else f"{name}{LATER_CALL}{self._counts[name]}"

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

    def end_first(self, outputs: Mapping[str, Any]) -> None:
        """Take note of what the first pass tells, and forget it; the model is then to be run again.

        Raises
        ------
        ProbeError
            What is to be read did not run, or is nothing that was returned.
        """
        if self._asked is not None:
            self._expect_asked(self._asked, outputs)
        self.is_first = False
        self._copied |= {name for name, kept in self.items() if not is_equal(kept, self._returned[name])}
        self._before = {**self._returned, **outputs}
        if self._choose is not None:
            kept = self._choose(self._calls, list(outputs.values()))
            self.remove_hooks(keep=kept)
            inside = self.transformed.intersection(kept)
            self.transformed = inside or {x for x in self.transformed if x.rpartition(".")[0] not in self.transformed}
        self.clear()

    def _expect_asked(self, asked: Asked, outputs: Mapping[str, Any]) -> None:
        """Refuse names that are neither of layers nor of outputs."""
        known = {*self, *self.transformed, *outputs}
        parts = [part for name, some in asked.parts.items() if self._counts[name] for part in sorted(some)]
        for name in [*asked.others, *parts]:
            if name not in known:
                raise ProbeError(f"layer {name!r} matches no module of {asked.model}; {closest(name, asked.known)}")

    def apart(self, arrays: dict[str, Any]) -> dict[str, Any]:
        """Return arrays of a pass, with copies of those that the model writes to the same memory in every pass."""
        if self._before:  # still alive, so that nothing else has its place in memory
            self._shared = {
                name
                for name, array in arrays.items()
                if name in self._before and address(array) == address(self._before[name]) is not None
            }
            self._before = {}
        return {
            name: (array.clone() if isinstance(array, Tensor) else array.copy()) if name in self._shared else array
            for name, array in arrays.items()
        }


def _version(array: Tensor) -> int:
    """Return how often an array was changed in place; inference tensors do not count, and are copied at once."""
    return 0 if array.is_inference() else array._version


@contextmanager
def capture(model: Any, layers: str | Sequence[str], *, closed: Collection[str] = ()) -> Iterator[Record]:
    """Record what layers of a model return, from entry to exit; the hooks are removed whatever happens.

    Parameters
    ----------
    model
        A module; of another callable nothing is recorded.
    layers
        "auto" for the blocks of the model (see :func:`~jetsym.probing.forward.blocks.find_blocks`), or names and
        patterns (see :func:`~jetsym.probing.forward.layers.asked_layers`). A
        :class:`~jetsym.probing.forward.layers.Layered` model selects by itself.
    closed
        Names of modules that cannot be read.

    Raises
    ------
    ProbeError
        After the first pass: a name or pattern that matches no module and no output, or none that ran and returned
        arrays.
    """
    modules: Mapping[str, nn.Module] = {}
    choose: Choose | None = None
    asked: Asked | None = None
    if isinstance(model, Layered):
        modules = model.probe_layers(layers)
    elif isinstance(model, nn.Module) and not (isinstance(layers, Sized) and len(layers) == 0):
        modules = {name: module for name, module in name_modules(model).items() if name not in closed}
        if isinstance(layers, str) and layers == AUTO:
            choose = partial(find_blocks, model, modules)
        else:
            asked = asked_layers(model, layers)
            choose = partial(
                _chosen, asked.patterns, {name: modules[name] for name in asked.modules if name in modules}
            )
    record = Record(modules, choose, is_first=True, asked=asked)
    try:
        yield record
    finally:
        record.remove_hooks()
        record.clear()


def _chosen(
    patterns: Sequence[str],
    modules: Mapping[str, nn.Module],
    calls: Mapping[str, Sequence[Call]],
    outputs: Sequence[Any],
) -> list[str]:
    """Return the layers that were asked for, of which every name or pattern has to mean some that ran."""
    for pattern in patterns:
        meant = match_layers(pattern, list(modules))
        ran = [name for name in meant if name in calls]
        if not ran:
            beside = [name for name in calls if name.startswith(f"{meant[0]}.")] or list(calls)
            raise ProbeError(
                f"layer {pattern!r} never ran when the model was called; {closest(pattern, beside)}, which did"
            )
        if not any(call.returned for name in ran for call in calls[name]):
            raise ProbeError(
                f"layer {pattern!r} returned no array of floating-point numbers, by itself, in a tuple or in a "
                "dictionary; choose layers within it"
            )
    return list(modules)
