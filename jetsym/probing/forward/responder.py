"""One forward pass of a model, as named responses of its layers and outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from array_api_compat import array_namespace

from jetsym.errors import ProbeError, closest
from jetsym.probing.forward.capture import Layered, Record, flatten_outputs
from jetsym.probing.kinds import as_measured
from jetsym.spectrum.representations import Kind

__all__ = ["Responder"]


class Responder:
    """Calls a model and collects what its layers and outputs hold.

    Parameters
    ----------
    model
        Any callable.
    record
        The dictionary that :func:`~jetsym.probing.forward.capture.capture` fills during a pass; empty where there are
        no hooks.
    call
        ``call(model, inputs)``; by default ``model(inputs)``, or ``model(*inputs)`` for a tuple.
    kinds
        Output name -> kind; an output that is not named there is a "scalar".

    Attributes
    ----------
    kinds
        Name and kind of every output, known after the first pass.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        record: Record,
        *,
        call: Callable[[Any, Any], Any] | None,
        kinds: Mapping[str, Kind],
    ) -> None:
        self._model = model
        self._record = record
        self._call = call or _plain_call
        self._wanted = dict(kinds)
        self.kinds: dict[str, Kind] = {}
        self._names: list[str] = []

    def __call__(self, inputs: Any) -> dict[str, Any]:
        """Responses by name: layers in the order in which they ran, then outputs, centred where they are logits."""
        try:
            outputs = self._named(self._run(inputs))
            if not self.kinds:
                self.kinds |= self._kinds_of(outputs)
            layers: Mapping[str, Any] = {
                name: array
                for name, array in self._record.items()
                if _is_floating(array) and not any(self._record.is_same(name, output) for output in outputs.values())
            }
            if isinstance(self._model, Layered):
                layers = self._model.probe_features(layers)
        finally:
            self._record.clear()  # hold no activations beyond the pass
        responses = dict(layers) | {
            name: as_measured(self._get(outputs, name), kind) for name, kind in self.kinds.items()
        }
        self._check_names(list(responses))
        return responses

    def _run(self, inputs: Any) -> Any:
        """One forward pass, or a second one to copy what the first has overwritten in place."""
        returned = self._call(self._model, inputs)
        if self._record.overwritten():
            self._record.clear()
            returned = self._call(self._model, inputs)
        return returned

    def _check_names(self, names: list[str]) -> None:
        """Refuse layers that run in one pass and not in the next, whose average over the orbit has no meaning."""
        if not self._names:
            self._names = names
        differing = sorted(set(names) ^ set(self._names))
        if differing:
            raise ProbeError(
                f"{', '.join(map(repr, differing))} ran in some forward passes only, so that there is no response to "
                "every rotation; choose layers=… that always run"
            )

    def _get(self, outputs: Mapping[str, Any], name: str) -> Any:
        if name not in outputs:
            raise ProbeError(f"the model returned its output {name!r} in some forward passes only")
        return outputs[name]

    def _named(self, returned: Any) -> dict[str, Any]:
        """The arrays of what the model returned, by name."""
        named = isinstance(returned, Mapping)
        found = returned if named else flatten_outputs(returned, "output")
        outputs = {str(name): array for name, array in found.items() if _is_floating(array)}
        if not outputs:
            raise ProbeError(
                f"the model returned {type(returned).__name__}, which holds no floating-point array; say with call=… "
                "how to get one from it"
            )
        if not named and len(outputs) == 1 and len(self._wanted) == 1:
            return {next(iter(self._wanted)): next(iter(outputs.values()))}
        return outputs

    def _kinds_of(self, outputs: Mapping[str, Any]) -> dict[str, Kind]:
        for name in self._wanted:
            if name not in outputs:
                raise ProbeError(f"the model has no output {name!r}; {closest(name, outputs)}")
        return {name: self._wanted.get(name, "scalar") for name in outputs}


def _plain_call(model: Callable[..., Any], inputs: Any) -> Any:
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def _is_floating(array: Any) -> bool:
    if not (hasattr(array, "dtype") and hasattr(array, "shape")):
        return False
    return bool(array_namespace(array).isdtype(array.dtype, ("real floating", "complex floating")))
