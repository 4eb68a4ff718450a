"""A model while it runs, one forward pass at a time: its layers recorded, its outputs named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.parameter import is_lazy

from jetsym.domains.base import Domain
from jetsym.errors import ProbeError, is_out_of_memory
from jetsym.probing.forward.calling import DIFFERENTIATES_NOTE, Call, Caller, place
from jetsym.probing.forward.capture import Record, capture
from jetsym.probing.forward.closed import closed, readable
from jetsym.probing.forward.dry import ABOUT_DIAGONAL
from jetsym.probing.forward.layers import BESIDE_OUTPUT, Layered, asked_layers, name_modules
from jetsym.probing.forward.outputs import Outputs
from jetsym.probing.forward.returned import detached, flatten_outputs, is_floating
from jetsym.probing.forward.untouched import Kept, untouched
from jetsym.probing.options import AUTO
from jetsym.spectrum.responses import to_numpy

__all__ = ["Running"]

CONVERTED = "The inputs were converted from {own} to {taken}, which the model takes."
#: How many times the rounding of a response, or what it differs by between two evaluations, is more than that.
ROUNDINGS = 1e3


class Fresh(NamedTuple):
    """A module that has not run yet, and inputs to run it on.

    Parameters
    ----------
    kept
        All that it holds.
    inputs, domain
        The inputs, as it takes them.
    """

    kept: Kept
    inputs: Any = None
    domain: Any = None

    @classmethod
    def of(cls, model: nn.Module) -> Self | None:
        """Keep what a module holds; None where its first pass only makes its parameters."""
        return None if any(map(is_lazy, model.parameters())) else cls(Kept(model))

    def refuse_histories(self, some: Any, run: Callable[[Any], Any]) -> None:
        """Refuse a module whose response to some inputs depends on those that it was given before.

        Raises
        ------
        ProbeError
            The same inputs have another response after others, by more than from one evaluation to the next.
        """
        last = self.domain.size(self.inputs)
        turns = [np.linalg.matrix_power(ABOUT_DIAGONAL, k + 1) for k in range(self.domain.size(some))]
        other = self.domain.select(self.inputs, slice(last - 1, last))
        with suppress(ProbeError):  # of inputs that only the caller's own action moves
            other = self.domain.move(other, np.stack(turns))

        def response(*before: Any) -> list[NDArray[Any]]:
            self.kept.restore()
            for inputs in before:
                run(inputs)
            arrays = flatten_outputs(run(some), "").values()
            return [to_numpy(array).copy() for array in arrays if is_floating(array)]

        alone, again, after = response(), response(), response(other)
        for first, second, third in zip(alone, again, after, strict=True):
            if not first.shape == second.shape == third.shape:
                continue  # refused by what names it
            with np.errstate(all="ignore"):
                between, apart = (np.abs(item - first).max(initial=0.0) for item in (second, third))
                if apart > ROUNDINGS * max(between, np.finfo(first.dtype).eps * np.abs(first).max(initial=0.0)):
                    raise ProbeError(
                        "the model keeps a state that its first inputs set: the same inputs have another response "
                        f"after others, by {apart:.1g}; run it once on typical inputs before, or set that state"
                    )


class Running:
    """A model, called with inputs, and what its layers and outputs then are.

    Parameters
    ----------
    model, call
        What is called, and how.
    outputs
        What is known of its outputs.

    Attributes
    ----------
    remarks
        What a reader of a report must know of the layers.
    """

    def __init__(self, model: Any, call: Call | None, outputs: Outputs) -> None:
        self.outputs, self.remarks = outputs, list[str]()
        self._model, self._call, self._caller = model, call, Caller(call)
        self._record = Record()
        self._fresh: Fresh | None = None
        self._listed_as: dict[str, str] = {}  # layers that are outputs
        self._named = False
        self._own: Any = None  # what the model's own forward pass returned, where another function calls it

    @contextmanager
    def open(self, inputs: Any, domain: Domain, *, layers: str | Sequence[str], device: str | None) -> Iterator[Any]:
        """Run the model in evaluation mode, without gradients, on its device, with its layers recorded.

        Yields
        ------
        The inputs on the device and in the numbers of the model. Afterwards the model is as it was.
        """
        model, self._named = self._model, layers != AUTO
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))  # where a model could not differentiate
            if isinstance(model, nn.Module):
                closed_names = self._closed(layers)
                stack.enter_context(untouched(model, device))
                self._record = stack.enter_context(capture(model, layers, closed=closed_names))
                if self._call is not None and self.outputs.declared:
                    stack.callback(model.register_forward_hook(self._keep_own).remove)
                try_out = None if isinstance(model, Layered) else self._run
                self._fresh = Fresh.of(model)  # before it is tried, and until its first pass: it is a copy
                own = domain.dtype_name(inputs)
                inputs = place(inputs, model, domain, device=device, try_out=try_out)
                if (taken := domain.dtype_name(inputs)) != own:
                    self.remarks.append(CONVERTED.format(own=own, taken=taken))
                self._fresh = self._fresh and self._fresh._replace(inputs=inputs, domain=domain)
            elif layers not in (AUTO, []):
                name = getattr(model, "name", type(model).__name__)
                raise ProbeError(f"layers={layers!r} of {name}; only torch modules have layers: leave it out")
            else:
                self._record = stack.enter_context(capture(model, []))
            yield inputs

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The modules that are read, by name; before the first pass all that may be."""
        return self._record.modules

    def label(self, name: str) -> str:
        """Return what is called what a module has returned last in this pass."""
        return self._record.label(name)

    def arrays(self, inputs: Any) -> dict[str, Any]:
        """Return what layers and outputs are in one pass, as the model returned them."""
        try:
            found = self._found(inputs)
            if self._record.is_first:
                fresh, self._fresh = self._fresh, None
                if fresh is not None and fresh.kept.restore():
                    fresh.refuse_histories(inputs, self._run)
                    found = self._found(inputs)
                self._record.end_first(found)
                found = self._found(inputs)
            same = (
                (name, key)
                for key, output in found.items()
                for name in self._record
                if self._record.is_same(name, output)
            )
            self._listed_as = dict(same)
            layers: Mapping[str, Any] = {
                name: array
                for name, array in self._record.items()
                if is_floating(array) and name not in self._listed_as
            }
            if isinstance(self._model, Layered):
                layers = self._model.probe_features(layers)
        finally:
            self._record.clear()  # hold no activations beyond the pass
            self._own = None
        arrays = {f"{name}{BESIDE_OUTPUT}" if name in found else name: array for name, array in layers.items()} | found
        arrays = self._record.apart(arrays)
        if self.differentiates and not torch.is_grad_enabled():
            return {name: detached(array) for name, array in arrays.items()}
        return arrays

    def notes(self, left_out: Mapping[str, str]) -> Iterator[str]:
        """Yield what a reader of a report must know, where some layers and outputs are left out."""
        yield from self.remarks
        if self._record.transformed:
            names = ", ".join(map(repr, sorted(self._record.transformed)))
            yield f"Not read, as they run inside a transformation of torch.func: {names}."
        if self._named:
            for name, output in self._listed_as.items():
                yield f"{name!r} is not listed by itself: it is the output {output!r}."
        yield from (f"{name!r} is left out: {reason}." for name, reason in left_out.items())
        yield from self.outputs.notes(left_out)
        if self.differentiates:
            yield DIFFERENTIATES_NOTE

    def _closed(self, layers: str | Sequence[str]) -> set[str]:
        """Return the names of modules that cannot be read, as they are of code that runs as one."""
        model = self._model
        if isinstance(model, Layered):
            return set()
        modules = name_modules(model) if layers == AUTO or closed(model) else asked_layers(model, layers).modules
        open_modules, remarks = readable(model, modules, layers)
        self.remarks.extend(remarks)
        return modules.keys() - open_modules.keys()

    def _found(self, inputs: Any) -> dict[str, Any]:
        """Return the outputs of one pass."""
        returned = self._run(inputs)
        return self.outputs.take(returned, returned if self._call is None else self._own)

    @property
    def differentiates(self) -> bool:
        """Whether the forward pass has asked for gradients, to differentiate by itself."""
        return self._caller.differentiates

    def _keep_own(self, module: nn.Module, arguments: Any, returned: Any) -> None:
        self._own = returned

    def _run(self, inputs: Any) -> Any:
        """Call the model, a second time to copy what the first pass has overwritten in place."""
        returned = self._called(inputs)
        return self._called(inputs) if self._record.overwritten() else returned

    def _called(self, inputs: Any) -> Any:
        try:
            return self._caller(self._model, inputs, before=self._record.clear)
        except Exception as error:
            word = closed(self._model)
            if isinstance(error, ProbeError) or is_out_of_memory(error):
                raise
            if word is None:
                note = f"The model was called with {type(inputs).__name__}; say with call=… how to call it otherwise."
                if note not in getattr(error, "__notes__", ()):
                    error.add_note(note)
                raise
            reason = str(error).strip().rpartition("\n")[2]
            raise ProbeError(
                f"the {word} model cannot be run ({reason}): it takes inputs of the number, the shapes and the types "
                "that it was made for; make it for any number of inputs, or give the module that it was made from"
            ) from error
