"""Modules that run as one: scripted, traced and exported ones, none of whose parts is called as a module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import fx, nn

from jetsym.errors import ProbeError
from jetsym.probing.forward.layers import match_layers
from jetsym.probing.options import AUTO

__all__ = ["closed", "has_closed", "opened", "readable"]

#: The one call in an exported graph that is no layer: it checks the shapes of the inputs.
GUARDS = "_guards_fn"


def closed(module: Any) -> str | None:
    """Return how a module became one that runs as one; None where its parts run as modules.

    Examples
    --------
    >>> closed(torch.export.export(nn.Linear(3, 2), (torch.ones(1, 3),)).module()), closed(nn.Linear(3, 2))
    ('exported', None)
    """
    if isinstance(module, torch.jit.ScriptModule):
        return "traced" if type(module).__name__ == "TopLevelTracedModule" else "scripted"
    if isinstance(module, fx.GraphModule):
        calls = {node.target for node in module.graph.nodes if node.op == "call_module"}
        return None if calls - {GUARDS} else "exported"
    return None


def has_closed(model: Any) -> bool:
    """Return whether a model or a part of it runs as one."""
    return isinstance(model, nn.Module) and any(closed(module) for module in model.modules())


def opened(model: Any) -> Any:
    """Return what an exported program is called as; any other model as it is."""
    return model.module() if isinstance(model, torch.export.ExportedProgram) else model


def readable(
    model: nn.Module, modules: Mapping[str, nn.Module], layers: str | Sequence[str]
) -> tuple[dict[str, nn.Module], list[str]]:
    """Return those of some modules that can be read, and what a reader of a report must know of the others.

    An exported module can be read as one, where another calls it; a scripted one does not even say what it returned.

    Raises
    ------
    ProbeError
        A name or pattern means none that can be read.
    """
    outer: dict[int, tuple[str, str]] = {}
    for name, module in model.named_modules():
        if word := closed(module):
            for part in module.modules():
                if part is not module or word != "exported" or not name:
                    outer.setdefault(id(part), (name, word))
    hidden = {name: outer[id(module)] for name, module in modules.items() if id(module) in outer}
    open_names = [name for name in modules if name not in hidden]
    names = list(modules)
    patterns = [] if layers == AUTO else [layers] if isinstance(layers, str) else layers
    for pattern in patterns:
        meant = match_layers(pattern, names)
        closed_ones = [outer[id(model)]] if id(model) in outer else [hidden[name] for name in meant if name in hidden]
        if closed_ones and all(name in hidden for name in meant):
            name, word = closed_ones[0]
            raise ProbeError(
                f"layer {pattern!r} cannot be read: {repr(name) if name else 'the model'} is {word} and runs as one; "
                "leave it out, or give the module that it was made from"
            )
    if id(model) in outer:
        return {}, [f"The model is {outer[id(model)][1]} and runs as one: only its outputs are measured."]
    notes = [f"{name!r} is {word} and runs as one: what it does inside is not read." for name, word in hidden.values()]
    return {name: modules[name] for name in open_names}, list(dict.fromkeys(notes))
