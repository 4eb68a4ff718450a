"""The one way to run a model: in evaluation mode, with its layers recorded, along the orbits of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray
from torch import nn

from jetsym._version import __version__
from jetsym.domains.base import Action, Domain
from jetsym.domains.naming import STILL
from jetsym.domains.table import domain_with, load_model
from jetsym.errors import ProbeError, expect_at_least, is_out_of_memory
from jetsym.probing.forward.calling import Call, home_of, plain_call, with_bundled_jets
from jetsym.probing.forward.closed import opened
from jetsym.probing.forward.layers import LATER_CALL, Layered, is_compiled, unwrapped
from jetsym.probing.forward.layouts import Layout
from jetsym.probing.forward.orbits import Orbits, Responses
from jetsym.probing.forward.outputs import Outputs, declared_outputs
from jetsym.probing.forward.running import Running
from jetsym.probing.forward.tokens import Named
from jetsym.probing.kinds import as_measured, check_law, token_mask
from jetsym.probing.options import AUTO
from jetsym.ranks import here
from jetsym.spectrum.representations import Kind
from jetsym.spectrum.responses import to_numpy
from jetsym.symmetry import Symmetry

__all__ = ["OWN_ACTION", "Responses", "Session"]

OWN_ACTION = "The inputs were moved by the caller's own action."
HELD_NOTE = "it must not be computed from what moves (then compute it inside call=…, from what moved)."
COMPILED_NOTE = "The model is compiled; it was evaluated without compilation, so that every layer is seen."
#: Evaluations per forward pass where the caller leaves it open, on a CPU and on an accelerator.
BATCH_SIZE_CPU, BATCH_SIZE_ACCELERATOR = 512, 8192


@dataclass(eq=False)
class Session(Orbits):
    """A model and how it is run on inputs of a domain.

    Parameters
    ----------
    model
        Any callable.
    domain
        The domain of its inputs.
    kinds
        Output name -> kind, as somebody says; an output that is not named anywhere is taken as a "scalar".
    without_law
        Outputs that have none: they are measured as layers are.
    declared
        What the model says of its own outputs; see :func:`~jetsym.probing.forward.outputs.Outputs`.
    layers, tokens, call, action, device, batch_size, seed, progress
        As for :func:`jetsym.probe`.
    notes
        What a reader of a report must know of the model.
    said
        Name or pattern of layers -> their irreps, as the caller says.
    acting, move, back
        The :class:`~jetsym.domains.base.Action` along the orbit, and two of its parts; None for rotations in the lab,
        or the caller's own action.

    Attributes
    ----------
    outputs
        Name and kind of every output, known after the first pass.
    laws
        Name -> :class:`~jetsym.probing.forward.laws.Law` of layers that have one, known after
        :func:`~jetsym.probing.forward.laws.settle_laws`.
    layouts, left_out
        Where responses have their inputs and tokens, and why some are left out, by name: known after
        :func:`jetsym.probing.forward.settle.settle`.
    partly
        Layers that do not run for inputs that lack something for them, known after :meth:`settle_partly`.
    doubts
        Notes on what could not be checked of the caller's action, each once.
    evaluations
        Evaluations per forward pass; they may be halved where the batch size is "auto".
    """

    model: Any
    domain: Domain
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    without_law: frozenset[str] = frozenset()
    declared: Mapping[str, Kind | None] = field(default_factory=dict)
    layers: str | Sequence[str] = AUTO
    tokens: Mapping[str, Named] = field(default_factory=dict)
    call: Call | None = None
    action: Call | None = None
    device: str | None = None
    batch_size: int | str = AUTO
    seed: int = 0
    progress: bool = True
    notes: tuple[str, ...] = ()
    move: Call | None = None
    back: Callable[[Any, Any, Any], Any] | None = None
    acting: Action | None = None
    said: Mapping[str, str] = field(default_factory=dict)
    outputs: dict[str, Kind] = field(default_factory=dict, init=False)
    laws: dict[str, Any] = field(default_factory=dict, init=False)
    layouts: dict[str, Layout] = field(default_factory=dict, init=False)
    left_out: dict[str, str] = field(default_factory=dict, init=False)
    doubts: dict[str, None] = field(default_factory=dict, init=False)
    partly: set[str] = field(default_factory=set, init=False)
    evaluations: int = field(init=False)
    _running: Running = field(init=False)
    _names: list[str] = field(default_factory=list, init=False)
    _blank: dict[str, Any] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        said = {**self.kinds, **dict.fromkeys(self.without_law)}
        self._running = Running(self.model, self.call, Outputs(said, self.declared))
        if self.adaptive:
            on_cpu = str(self.device or home_of(self.model)).startswith("cpu")
            self.evaluations = BATCH_SIZE_CPU if on_cpu else BATCH_SIZE_ACCELERATOR
        else:
            expect_at_least("batch_size", self.batch_size, 1, ProbeError, otherwise=f"{AUTO!r} or ")
            self.evaluations = int(self.batch_size)

    @classmethod
    def of(
        cls,
        model: Any,
        inputs: Any,
        outputs: Mapping[str, Kind | None] | None,
        *,
        moves: Mapping[Any, Any] | None = None,
        **options: Any,
    ) -> Self:
        """Make a session of what a user gave: the model is loaded, taken out of wrappers, and known to its domain.

        Parameters
        ----------
        model, inputs, outputs, moves
            As for :func:`jetsym.probe`; the inputs are only looked at.
        **options
            See :class:`Session`.

        Raises
        ------
        ProbeError
            The model is neither a callable nor the path of one.
        """
        if isinstance(model, (str, Path)):
            model = load_model(model, inputs)
        model = opened(model)
        compiled = isinstance(model, nn.Module) and is_compiled(model)
        if isinstance(model, nn.Module):
            model = unwrapped(model)
        domain = domain_with(inputs, model, moves=moves, action=options.get("action"), call=options.get("call"))
        model = domain.wrap(model, inputs)
        if isinstance(model, type) and issubclass(model, nn.Module):
            raise ProbeError(f"model is the class {model.__name__}; expected a module made of it: {model.__name__}(…)")
        if not callable(model):
            raise ProbeError(
                f"model is a {type(model).__name__}; expected a torch module, a callable, or the path of a run, and "
                f"with structures a calculator of ASE; the inputs are {type(inputs).__name__}"
            )
        if not isinstance(outputs, Mapping | None):
            raise ProbeError(f"outputs is {outputs!r}; expected a dictionary like {{'logits': 'logits'}}")
        if isinstance(options.get("layers"), Mapping):
            named: Mapping[str, Any] = options["layers"]
            options |= {"layers": list(named), "said": {name: kind for name, kind in named.items() if kind is not None}}
        elif not isinstance(options.get("layers", AUTO), str):
            options["layers"] = list(options["layers"])  # of an array, too
        if inputs is None:
            options["call"] = with_bundled_jets(options.get("call") or plain_call)
        said = None if outputs is None else {name: kind for name, kind in outputs.items() if kind is not None}
        without_law = frozenset(outputs or ()) - frozenset(said or ())
        model, kinds, notes = domain.prepare(model, said)
        return cls(
            model,
            domain,
            {name: kind for name, kind in kinds.items() if name not in without_law},
            without_law=without_law,
            declared=declared_outputs(model) if outputs is None else {},
            notes=(*notes, *([COMPILED_NOTE] if compiled else [])),
            **options,
        )

    @property
    def kinds_measured(self) -> dict[str, Kind]:
        """Name -> kind of every output and of every layer that has a law."""
        return {**{name: law.kind for name, law in self.laws.items()}, **self.outputs}

    @property
    def adaptive(self) -> bool:
        """The freedom to halve the evaluations per pass where memory does not suffice."""
        return self.batch_size == AUTO

    def act(self, inputs: Any, symmetry: Symmetry) -> tuple[Any, Action]:
        """Return inputs ready for a symmetry, and how it acts on them: by the domain, or by the caller's own action."""
        if self.action is not None:
            return inputs, Action(self.action, True, OWN_ACTION)
        return self.domain.act(inputs, symmetry, seed=self.seed)

    @contextmanager
    def open(self, inputs: Any, action: Action | None = None) -> Iterator[tuple[Session, Any]]:
        """Run the model in evaluation mode, without gradients, on its device, with its layers recorded.

        Parameters
        ----------
        inputs
            What :meth:`act` gave.
        action
            What moves them; None for rotations in the lab.

        Yields
        ------
        A session of its own, and the inputs on the device and in the dtype of the model. Afterwards the model is as it
        was.
        """
        running = replace(
            self,
            move=None if action is None else action.move,
            back=None if action is None else action.back,
            acting=action,
        )
        self.layouts, self.left_out, self._running = running.layouts, running.left_out, running._running
        self.doubts, self.laws = running.doubts, running.laws
        with running._running.open(inputs, self.domain, layers=self.layers, device=self.device) as placed:
            running.domain = self.domain = self.domain.settled(placed, running.returned)
            yield running, placed

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The modules that are read, by name; before the first pass all that may be."""
        return self._running.modules

    def label(self, name: str) -> str:
        """Return what is called what a module has returned last in this pass."""
        return self._running.label(name)

    @property
    def differentiates(self) -> bool:
        """Whether the forward pass has asked for gradients, to differentiate by itself."""
        return self._running.differentiates

    def facts(self, inputs: Any, action: Action | None = None) -> dict[str, Any]:
        """Return what every report says about its measurement."""
        model, own = self.model, [] if action is None else [action.note]
        moves = {} if self.action is not None else self.domain.what_moves(inputs)
        held = [name for name, how in moves.items() if how == str(STILL)]
        plain = type(model).__name__ if isinstance(model, nn.Module) else getattr(model, "__name__", "callable")
        return {
            "jetsym": __version__,
            "model": model.name if isinstance(model, Layered) else plain,
            "n_inputs": self.domain.size(inputs),
            "dtype": self.domain.dtype_name(inputs),
            "device": str(home_of(model)),
            "seed": self.seed,
            "ranks": here().size,
            "without_law": sorted(self.without_law - set(self.left_out)),
            "unsaid": [name for name in self._running.outputs.unsaid if name not in self.left_out],
            "left_out": sorted(set(self.left_out) & set(self._running.outputs.kinds)),
            "tokens": {name: str(layout) for name, layout in self.layouts.items()},
            "moves": moves,
            "notes": [
                *self.notes,
                *own,
                *self.doubts,
                *([f"What moves: {'; '.join(f'{name}: {how}' for name, how in moves.items())}."] if moves else []),
                *([f"{', '.join(held)} held fixed: {HELD_NOTE}"] if held else []),
                *(self.domain.notes if self.action is None else ()),
                *self._running.notes(self.left_out),
            ],
        }

    def holding(self, name: str, inputs: Any) -> NDArray[np.bool_] | None:
        """Return (samples,), True for inputs that have a response; None where all have it."""
        held = self.domain.holds(inputs, name)
        if held is not None:
            return np.asarray(to_numpy(held), dtype=bool)
        lacking = self.domain.lacks(inputs) if name in self.partly else None
        return None if lacking is None else ~lacking

    def real(self, name: str, response: Any, inputs: Any) -> Any:
        """Return (samples, tokens), True for real tokens of a response (elements, samples, tokens, …), or None."""
        held = self.holding(name, inputs)
        if held is not None:
            return np.repeat(held[:, None], response.shape[2] if response.ndim > 2 else 1, axis=1)
        mask = self.domain.mask(inputs)
        if mask is None or name not in self.layouts:
            return token_mask(mask, response, self.outputs.get(name))
        layout = self.layouts[name]
        return layout.real(mask) if layout.axes else None

    def responses(self, inputs: Any) -> Responses:
        """Return responses by name: layers in the order in which they ran, then outputs, centred if they are logits.

        Inputs come first, and then tokens where there are any, once it is settled where they are.
        """
        size, mask = self.domain.size(inputs), self.domain.mask(inputs) if self.layouts else None
        responses = {}
        for name, array in self.arrays(inputs).items():
            if self.is_left_out(name):
                continue
            layout = self.layouts.get(name)
            try:
                arranged = array if layout is None else layout.arranged(array, size, mask=mask)
            except (ProbeError, RuntimeError, ValueError) as error:
                if is_out_of_memory(error):
                    raise
                raise ProbeError(
                    f"{name!r} of shape {tuple(array.shape)} is not as in the dry pass ({layout}): {error}; choose "
                    "other layers"
                ) from error
            if name in self.outputs:
                arranged = as_measured(arranged, self.outputs[name])
            responses[name] = self.laws[name].arranged(arranged) if name in self.laws else arranged
        if self.partly and self.domain.lacks(inputs) is not None:
            responses = {
                name: responses[name] if blank is None else array_namespace(blank).concat([blank] * size)
                for name, blank in self._blank.items()
                if not self.is_left_out(name)
            }
        self._check_names(list(responses))
        return responses

    def settle_partly(self, inputs: Any) -> None:
        """Find out by a pass of each kind which layers do not run for inputs that lack something for them."""
        lacking = self.domain.lacks(inputs)
        if lacking is None or lacking.all():
            return
        whole, without = (self.domain.select(inputs, slice(place, place + 1)) for place in np.argsort(lacking)[[0, -1]])
        found, here = self.responses(whole), self.arrays(without)
        self.partly |= {
            name
            for name, array in found.items()
            if name not in self.outputs and (name not in here or here[name].shape[2:] != array.shape[2:])
        }
        self._blank = {
            name: array_namespace(array).zeros_like(array[:1, :1]) if name in self.partly else None
            for name, array in found.items()
        }
        if self.partly:
            places = [self.domain.named(inputs, int(place)) for place in np.flatnonzero(lacking)]
            self.doubts[
                f"{', '.join(sorted(self.partly))} do not run for {', '.join(places)}, without pairs of neighbours: "
                "left out of them."
            ] = None

    def is_left_out(self, name: str) -> bool:
        """Return whether a response is left out, or the module whose later call it is."""
        return name in self.left_out or name.partition(LATER_CALL)[0] in self.left_out

    def returned(self, inputs: Any) -> Responses:
        """Return what the outputs are, as the model returned them."""
        arrays = self.arrays(inputs)
        return {name: arrays[name] for name in self.outputs or arrays}

    def arrays(self, inputs: Any) -> Responses:
        """Return what layers and outputs are, as the model returned them."""
        is_first = not self._running.outputs.kinds
        found = self._running.arrays(inputs)
        if is_first:
            self.outputs |= {name: kind for name, kind in self._running.outputs.kinds.items() if kind is not None}
            if self.acting is not None:  # what a model declares by itself is known from here on
                check_law(self.outputs, self.acting, four_vectors=True)
        return found

    def _check_names(self, names: list[str]) -> None:
        """Refuse layers that run in one pass and not in the next, whose average over the orbit has no meaning."""
        if not self._names:
            self._names = names
        differing = sorted(name for name in set(names) ^ set(self._names) if not self.is_left_out(name))
        if differing:
            raise ProbeError(
                f"{', '.join(map(repr, differing))} ran in some forward passes only, so that there is no response to "
                "every rotation; choose layers=… that always run"
            )

    def as_returned(self, arrays: dict[str, Any]) -> Any:
        """Put an array for every output together as the model returned them: alone, as a tuple, or by name."""
        return self._running.outputs.as_returned(arrays)
