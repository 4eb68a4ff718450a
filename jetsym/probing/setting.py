"""What all measurements of one model share: the model ready to run, its inputs, and how the two come together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from torch import nn

import jetsym
from jetsym.domains import Domain
from jetsym.errors import ProbeError
from jetsym.probing.capture import Layered, Record, capture, select_layers, untouched
from jetsym.probing.options import chosen_batch_size, whereabouts
from jetsym.probing.orbit import Subject
from jetsym.probing.responder import Responder
from jetsym.spectrum.action import Action
from jetsym.spectrum.representations import Kind

__all__ = ["OWN_ACTION", "Bench", "Setting"]

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
                # A module without parameters may hold its numbers anywhere: its inputs stay where they are.
                bare = {"device": self.device, "dtype": None}
                where = whereabouts(model) if any(True for _ in model.parameters()) else bare
                inputs = self.domain.place(inputs, **where)
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
            "jetsym": jetsym.__version__,
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
