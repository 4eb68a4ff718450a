"""Modules that run as one: scripted, traced and exported ones, none of whose parts is called as a module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import fx, nn

from jetsym.errors import ProbeError
from jetsym.probing.options import AUTO

__all__ = ["closed", "has_closed", "opened", "readable"]

#: The one call in an exported graph that is no layer: it checks the shapes of the inputs.
GUARDS = "_guards_fn"


def closed(module: Any) -> str | None:
    """Return how a module became one that runs as one; None where its parts run as modules.

    Examples
    --------
    >>> closed(torch.jit.trace(nn.Linear(3, 2), torch.ones(1, 3))), closed(nn.Linear(3, 2))
    ('traced', None)
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
    """Return those of the selected modules that can be read, and what a reader of a report must know of the others.

    Raises
    ------
    ProbeError
        Modules that cannot be read were asked for.
    """
    how = {
        id(part): (name, word)
        for name, module in model.named_modules()
        if (word := closed(module))
        for part in module.modules()
        if part is not module or word != "exported"
    }
    hidden = {name: how[id(module)] for name, module in modules.items() if id(module) in how}
    word = closed(model)
    if hidden and layers != AUTO:
        name, (outer, word) = next(iter(hidden.items()))
        raise ProbeError(
            f"layer {name!r} cannot be read: {repr(outer) if outer else 'the model'} is {word} and runs as one; leave "
            "it out, or give the module that it was made from"
        )
    notes = (
        [f"The model is {word} and runs as one: only its outputs are measured."]
        if word
        else [f"{name!r} is {word} and cannot be read." for name, (_, word) in hidden.items()]
    )
    return {name: module for name, module in modules.items() if name not in hidden}, notes
