"""The evidence for where the tokens of a response are: what it does in dry passes whose points are moved about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import ProbeError
from jetsym.probing.forward.dry import DryPasses, Pass
from jetsym.probing.forward.layouts import TRIANGLES, Layout, find_tokens

__all__ = ["ROUNDINGS", "TOLERANCE", "Evidence", "evidence_of", "own_orders", "tokens_of"]

Array = NDArray[Any]

#: What counts as the same: relative to what differs between tokens, and in roundings of what is compared.
TOLERANCE, ROUNDINGS = 1e-3, 16.0


@dataclass(frozen=True)
class Evidence:
    """The marks of a layout in the dry passes; None where nothing can be seen.

    Parameters
    ----------
    follows
        Tokens change places as the points do.
    keeps
        They stay where they are when points change places, though they differ.
    is_local
        Another point in a slot changes its own tokens, and no other.
    is_steady
        Tokens of real points are the same with more slots.
    """

    follows: bool | None = None
    keeps: bool | None = None
    is_local: bool | None = None
    is_steady: bool | None = None


def evidence_of(layout: Layout, passes: DryPasses, name: str) -> Evidence | None:
    """Look for the marks of a layout; None where an array does not fit it."""
    alone, n = passes.alone, passes.alone.slots
    try:
        u = np.concatenate([tokens_of(layout, one, name, n) for one in passes.together])
        wider = [tokens_of(layout, one, name, n) for one in passes.others if one.slots > n]
    except (ProbeError, ValueError, IndexError):
        return None
    b, slots, eps = alone.size, layout.slots(n), alone.eps[name]
    kept = np.ones((b, u.shape[1]), dtype=bool) if alone.mask is None else layout.real(alone.mask)
    if len(slots) != u.shape[1]:
        return None
    original = u[:b]
    scale = _power(original, kept)

    def judge(difference: float, contrast: float) -> bool | None:
        noise = (ROUNDINGS * eps) ** 2 * scale
        return difference <= TOLERANCE**2 * contrast + noise if contrast > 10 * noise else None

    found = Evidence()
    if passes.permuted is not None:
        moved = np.where(slots < 0, slots, passes.permuted[slots])
        to = find_tokens(slots, moved, ordered=layout.form not in TRIANGLES)
        contrast = _power(original[:, to] - original, kept)
        found = replace(
            found,
            follows=judge(_power(u[b : 2 * b][:, to] - original, kept), contrast),
            keeps=judge(_power(u[b : 2 * b] - original, kept), contrast),
        )
        if passes.exchanged is not None:
            change, touched = u[2 * b :] - original, (slots == passes.exchanged).any(axis=1)
            found = replace(
                found, is_local=judge(_power(change, kept & ~touched), _power(change, kept & touched)) or None
            )
    spread = _power(original - original.mean(axis=1, keepdims=True), kept)
    steady = [judge(_power(w - original, kept), spread) for w in wider]
    return replace(found, is_steady=steady[0] if steady else None)


def tokens_of(layout: Layout, one: Pass, name: str, slots: int) -> Array:
    """Return (inputs, tokens, features) of a pass, of real numbers in float64."""
    values = layout.arranged(one.arrays[name], one.size, mask=one.mask, slots=slots)
    if np.iscomplexobj(values):
        values = np.stack([values.real, values.imag], axis=-1)
    return np.asarray(values.reshape(*values.shape[:2], -1), dtype=np.float64)


def _power(values: Array, kept: Array) -> float:
    return float((values**2).sum(axis=-1)[kept].sum())


def own_orders(passes: DryPasses, layouts: Mapping[str, Layout]) -> set[str]:
    """Return names of responses whose rows stay where they are, though they differ, when points change places."""
    found = {name: evidence_of(layout, passes, name) for name, layout in layouts.items() if layout.axes}
    return {name for name, one in found.items() if one is not None and one.keeps and not one.follows}
