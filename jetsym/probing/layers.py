"""``jetsym.layers``: what a probe can read of a model, and how, before it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from jetsym.arguments import anything, at_least, by_name, checked
from jetsym.errors import ProbeError
from jetsym.probing.forward.layers import Layered, name_modules
from jetsym.probing.forward.memory import within_memory
from jetsym.probing.forward.session import Session
from jetsym.probing.measure.orbit import orbit_of
from jetsym.probing.options import AUTO, check, check_kinds
from jetsym.probing.reports.layers import LayerList, LayerRow
from jetsym.spectrum import group_of
from jetsym.spectrum.representations import Kind
from jetsym.symmetry import GroupName, Symmetry

__all__ = ["layers"]

#: All modules, at whatever depth.
ALL = "**"
#: Inputs that are tried, and of which shapes are shown.
INPUTS, SHOWN = 8, 2


@checked(ProbeError, seed=at_least(0), device=anything, moves=anything, outputs=by_name, tokens=by_name)
def layers(
    model: Any,
    inputs: Any = None,
    *,
    moves: Mapping[Any, Any] | None = None,
    action: Callable[[Any, Any], Any] | None = None,
    call: Callable[[Any, Any], Any] | None = None,
    layers: str | Sequence[str] = ALL,
    tokens: Mapping[str, int | tuple[int, int] | None] | None = None,
    outputs: Mapping[str, Kind] | None = None,
    seed: int = 0,
    device: str | None = None,
) -> LayerList:
    """List the layers of a model that a probe can read: names, shapes, tokens, and which of them "auto" takes.

    A few inputs are evaluated, as at the start of a probe. What is not listed did not run, returned no array of numbers
    by itself, in a tuple or in a dictionary, or is what the model returns.

    Parameters
    ----------
    model, inputs, moves, action, call, tokens, outputs, seed, device
        As for :func:`jetsym.probe`.
    layers
        Names or patterns of those to list; all by default.

    Returns
    -------
    LayerList
        With ``names``, ``auto`` (the names of those that layers="auto" takes), a row for each, ``to_dict()``,
        ``to_dataframe()`` and a table as text or in a notebook.

    Raises
    ------
    ProbeError
        As :func:`jetsym.probe` does.

    Examples
    --------
    >>> import torch, jetsym
    >>> net = torch.nn.Sequential(
    ...     torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh()), torch.nn.Dropout(0.1), torch.nn.Linear(8, 1)
    ... )
    >>> found = jetsym.layers(net, torch.randn(4, 5, 3))
    >>> found.names, found.auto
    (('0.0', '0.1', '0', '1', 'output'), ('0.0', '0.1', 'output'))
    >>> found["0.1"].module, found["0.1"].shape, found["0.1"].tokens
    ('Tanh', (2, 5, 8), 'points: axis 1')
    """
    check(method=AUTO, l_max=0, n_rotations=None, limit=1, seed=seed, device=device)
    options: dict[str, Any] = {"tokens": tokens or {}, "call": call, "action": action, "device": device, "seed": seed}
    session = Session.of(model, inputs, outputs, moves=moves, **options)
    check_kinds(session.kinds, None)
    inputs = session.domain.load(inputs, limit=INPUTS, model=session.model)
    modules = name_modules(session.model) if isinstance(session.model, nn.Module) else {}
    if layers == ALL and (isinstance(session.model, Layered) or not modules):
        layers = AUTO
    symmetry = Symmetry.parse(GroupName.O3, None, None, error=ProbeError)
    inputs, action_of = session.act(inputs, symmetry)
    few = slice(0, min(SHOWN, session.domain.batches(inputs)[0].stop))
    with session.open(inputs, action_of) as (running, placed):
        in_auto = set(running.arrays(session.domain.select(placed, few)))
    session = replace(session, layers=layers)
    with session.open(inputs, action_of) as (running, placed):
        orbit = orbit_of(group_of(symmetry), method="random", l_max=0, n_rotations=None, seed=seed)
        within_memory(running, lambda: orbit.settle(running, placed))
        found = running.arrays(session.domain.select(placed, few))
        rows = tuple(
            LayerRow(
                name,
                str(running.outputs.get(name, "")) or _module_of(name, modules),
                tuple(array.shape),
                str(running.layouts.get(name, "")),
                name in in_auto,
                running.left_out.get(name, ""),
            )
            for name, array in found.items()
        )
        return LayerList(session.facts(placed)["model"], few.stop, rows)


def _module_of(name: str, modules: Mapping[str, nn.Module]) -> str:
    """Return the class of the module that a layer is of, or of a part of what it returned."""
    name = name.partition("@")[0]
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return type(modules[name]).__name__ if name else ""
