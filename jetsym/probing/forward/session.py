"""What all measurements of one model share: the model ready to run, its inputs, and how the two come together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from array_api_compat import array_namespace
from numpy.typing import NDArray
from torch import nn

from jetsym._version import __version__
from jetsym.domains.base import Action, Domain, Measurand
from jetsym.domains.table import domain_of, load_model
from jetsym.errors import ProbeError
from jetsym.probing.forward.capture import Layered, Record, capture, is_compiled, select_layers, untouched, unwrapped
from jetsym.probing.forward.responder import Responder
from jetsym.probing.options import AUTO, _check_integer
from jetsym.spectrum.representations import Kind

__all__ = ["OWN_ACTION", "Bench", "Responses", "Setting", "Subject", "chosen_batch_size", "ready", "whereabouts"]

OWN_ACTION = "The inputs were moved by the caller's own action."


class Bench(NamedTuple):
    """A model that is ready to run: in evaluation mode, with its layers recorded.

    Parameters
    ----------
    subject
        What is measured, under one action.
    unmoved
        The same under rotations in the lab, by which the effect of rounding is measured.
    respond
        The named responses; its ``kinds`` names the outputs, after the first pass.
    inputs
        The inputs on the device and in the dtype of the model.
    """

    subject: Subject
    unmoved: Subject
    respond: Responder
    inputs: Any


@dataclass(frozen=True)
class Setting:
    """The options of a probe that do not depend on what is measured; see :func:`jetsym.probe`."""

    domain: Domain
    layers: str | Sequence[str] = "auto"
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    call: Callable[[Any, Any], Any] | None = None
    action: Callable[[Any, Any], Any] | None = None
    device: str | None = None
    batch_size: int | str = "auto"
    seed: int = 0
    progress: bool = True
    notes: tuple[str, ...] = ()

    @contextmanager
    def bench(self, model: Any, inputs: Any, action: Action | None = None) -> Iterator[Bench]:
        """A model on its inputs under an action of the domain (None: rotations in the lab), or the caller's own."""
        move = self.action or (self.domain.move if action is None else action.move)
        with ExitStack() as stack:
            if isinstance(model, nn.Module):
                modules = select_layers(model, self.layers)
                stack.enter_context(untouched(model, self.device))
                record = stack.enter_context(capture(modules))
                inputs = self.domain.place(inputs, **whereabouts(model))
            elif self.layers not in ("auto", []):
                raise ProbeError(
                    f"layers={self.layers!r} of a {type(model).__name__}; only torch modules have layers: leave it out"
                )
            else:
                record = Record()
            respond = Responder(model, record, call=self.call, kinds=self.kinds)
            unmoved = Subject(self.domain, self.action or self.domain.move, respond)
            yield Bench(Subject(self.domain, move, respond), unmoved, respond, inputs)

    def evaluations_at_once(self, model: Any) -> int:
        """Evaluations per forward pass to start with."""
        return chosen_batch_size(self.batch_size, model, self.device)

    def names_outputs(self, bench: Bench) -> None:
        """One forward pass, after which the kinds of the outputs are known."""
        bench.unmoved.along(self.domain.take(bench.inputs, slice(0, 1)), np.eye(3)[None], 1)

    def facts(self, model: Any, inputs: Any, action: Action | None) -> dict[str, Any]:
        """What every report says about its measurement."""
        own = [OWN_ACTION] if self.action is not None else [*([] if action is None else [action.note])]
        domain_notes = [] if self.action is not None else list(self.domain.NOTES)
        return {
            "jetsym": __version__,
            "model": _called(model),
            "n_inputs": self.domain.size(inputs),
            "dtype": self.domain.dtype_name(inputs),
            "device": str(whereabouts(model)["device"]),
            "seed": self.seed,
            "notes": [*self.notes, *own, *domain_notes],
        }


def _called(model: Any) -> str:
    """What a model is called."""
    if isinstance(model, Layered):
        return model.name
    return type(model).__name__ if isinstance(model, nn.Module) else getattr(model, "__name__", "callable")


#: Evaluations per forward pass where the caller leaves it open, on a CPU and on an accelerator.
BATCH_SIZE_CPU, BATCH_SIZE_ACCELERATOR = 512, 8192


def chosen_batch_size(wanted: int | str, model: Any, device: str | None) -> int:
    """Evaluations per forward pass to start with."""
    if wanted == AUTO:
        on_cpu = str(device or whereabouts(model)["device"]).startswith("cpu")
        return BATCH_SIZE_CPU if on_cpu else BATCH_SIZE_ACCELERATOR
    _check_integer("batch_size", wanted, 1, f"{AUTO!r} or ")
    return int(wanted)


def whereabouts(model: Any) -> dict[str, Any]:
    """Device and dtype of a module's parameters; CPU and None where there are none."""
    parameters = list(model.parameters()) if isinstance(model, nn.Module) else []
    if not parameters:
        return {"device": torch.device("cpu"), "dtype": None}
    parameter = next((p for p in parameters if p.is_floating_point()), parameters[0])
    return {"device": parameter.device, "dtype": parameter.dtype}


#: Name of a layer or output -> array (evaluations, features…).
Responses = dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """What is measured: how to move inputs, and how to get the responses of every layer and output to them."""

    domain: Domain
    move: Callable[[Any, Any], Any]
    respond: Callable[[Any], Responses]

    def along(self, inputs: Any, matrices: NDArray[np.float64], batch_size: int) -> Responses:
        """Responses (elements, samples, features…) of the inputs under elements (n, 3, 3) or (n, samples, 3, 3).

        They are evaluated in forward passes of at most ``batch_size`` inputs, or of one element.
        """
        samples, elements = self.domain.size(inputs), len(matrices)
        step = max(1, batch_size // samples)
        parts = [self._evaluate(inputs, matrices[start : start + step]) for start in range(0, elements, step)]
        if len(parts) == 1:
            return parts[0]
        return {name: array_namespace(parts[0][name]).concat([part[name] for part in parts]) for name in parts[0]}

    def _evaluate(self, inputs: Any, matrices: NDArray[np.float64]) -> Responses:
        """One forward pass."""
        samples, elements = self.domain.size(inputs), len(matrices)
        responses = self.respond(self.move(inputs, matrices))
        for name, response in responses.items():
            if response.ndim < 1 or response.shape[0] != samples * elements:
                raise ProbeError(
                    f"{name!r} has shape {tuple(response.shape)} for a batch of {samples * elements} inputs; expected "
                    "the inputs along its first axis: choose other layers, or wrap the model with call=…"
                )
        return {name: array.reshape(elements, samples, *array.shape[1:]) for name, array in responses.items()}


def ready(
    model: Any, inputs: Any, outputs: Mapping[str, Kind] | None, baseline: str | None
) -> tuple[Domain, Measurand]:
    """The domain of the inputs, and the model as it is measured there: loaded and without wrappers."""
    if isinstance(model, (str, Path)):
        model = load_model(model, inputs)
    domain = domain_of(inputs)
    if not callable(model):
        raise ProbeError(
            f"model is a {type(model).__name__}; expected a torch module, a callable, or the path of a run"
        )
    if not isinstance(model, nn.Module):
        if baseline:
            raise ProbeError("baseline='untrained' needs a torch module, whose layers can be initialised afresh")
        return domain, domain.measured(model, outputs)
    found = domain.measured(unwrapped(model), outputs)
    if not is_compiled(model):
        return domain, found
    note = "The model is compiled; it was evaluated without compilation, so that every layer is seen."
    return domain, found._replace(notes=(*found.notes, note))
