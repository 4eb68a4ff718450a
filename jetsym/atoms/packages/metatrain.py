"""The layers of metatrain's PET: their names, which are metatrain's, and their features structure by structure.

A PET keeps what belongs to atoms as (atoms, features), and what belongs to pairs as (atoms, neighbours, features),
padded to the largest number of neighbours. Layers that hold both are named ``LAYER_node`` and ``LAYER_edge``, as in
metatrain's diagnostics (``mtt::feature::LAYER_node``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn

from jetsym.errors import ProbeError, closest

__all__ = ["PairGrid", "features", "is_pet", "outermost", "select"]

#: The layers of "auto": embeddings, every attention layer, every GNN layer, heads and last layers.
AUTO = re.compile(
    r"node_embedders\.\d+|edge_embedder|system_conditioning"
    r"|gnn_layers\.\d+(\.(edge_embedder|neighbor_embedder|compress|trans\.layers\.\d+(\.attention)?))?"
    r"|combination_mlps\.\d+|gnn_layers_post_mp_(node|edge)\.\d+"
    r"|(node|edge)_heads\.[^.]+\.\d+|(node|edge)_last_layers\.[^.]+\.\d+\.[^.]+"
)
SUFFIXES = ("_node", "_edge")


def is_pet(module: Any) -> bool:
    """Tell whether a module has the layers of a PET."""
    return hasattr(getattr(module, "backend", None), "gnn_layers")


def select(pet: Any, layers: str | Sequence[str]) -> dict[str, nn.Module]:
    """Select the modules to read for "auto", or for names or patterns such as "gnn_layers.*_node".

    Raises
    ------
    ProbeError
        A name or pattern that matches no module; the message names the nearest.
    """
    modules = {name: module for name, module in pet.backend.named_modules() if name}
    if layers == "auto":
        return {name: module for name, module in modules.items() if AUTO.fullmatch(name)}
    patterns = [layers] if isinstance(layers, str) else list(layers)
    for pattern in patterns:
        if not any(_matches(name, [pattern]) for name in modules):
            raise ProbeError(f"layer {pattern!r} matches no layer of the PET; {closest(pattern, modules)}")
    return {name: module for name, module in modules.items() if _matches(name, patterns)}


def outermost(pet: Any) -> list[str]:
    """Return those of the layers of "auto" that are in no other of them, but for heads, which go by their target."""
    found = [name for name in select(pet, "auto") if not re.match("(node|edge)_(heads|last_layers)", name)]
    return [name for name in found if not any(name.startswith(f"{other}.") for other in found)]


def _matches(name: str, patterns: Sequence[str]) -> bool:
    """Tell whether a module may hold what one of the patterns asks for."""
    return any(fnmatchcase(name + suffix, pattern) for pattern in patterns for suffix in ("", *SUFFIXES))


class PairGrid:
    """Positions of the real pairs among (atoms, neighbours) of a batch of structures with equally many of both.

    Parameters
    ----------
    mask
        (atoms of all structures, neighbours) bool, True for real pairs.
    structures
        Number of structures.

    Raises
    ------
    ProbeError
        The structures differ in their number of pairs.
    """

    def __init__(self, mask: Tensor, structures: int) -> None:
        self.shape = tuple(mask.shape)
        self.structures = structures
        counts = mask.reshape(structures, -1).sum(dim=1)
        if (counts != counts[0]).any():
            raise ProbeError(
                f"a structure has {int(counts.min())} or {int(counts.max())} pairs of neighbours, depending on how it "
                "is rotated, as some are at the very cutoff; shift its atoms a little, or leave it out of the inputs"
            )
        self._real = mask.flatten().nonzero().squeeze(1)

    def nodes(self, array: Tensor) -> Tensor:
        """Return (structures, atoms, features) of (atoms of all structures, …, features)."""
        return array.reshape(self.structures, -1, array.shape[-1])

    def edges(self, array: Tensor) -> Tensor:
        """Return (structures, pairs, features) of (atoms, neighbours, features), without padding."""
        return array.flatten(0, 1)[self._real].reshape(self.structures, -1, array.shape[-1])

    def parts(self, array: Tensor, *, node: bool) -> Iterator[tuple[str, Tensor]]:
        """Yield what an array holds: features of atoms, of pairs, or both, with the suffix that tells them apart.

        ``node`` says that an array (atoms, 1, features) belongs to atoms, where every atom has one neighbour as well.
        """
        atoms, neighbours = self.shape
        if array.ndim not in (2, 3) or array.shape[0] != atoms:
            return
        if array.ndim == 2 or (array.shape[1] == 1 and (node or neighbours != 1)):
            yield "", self.nodes(array)
        elif array.shape[1] == neighbours:
            yield "", self.edges(array)
        elif array.shape[1] == neighbours + 1:  # the atom itself comes first
            yield "_node", self.nodes(array[:, 0])
            yield "_edge", self.edges(array[:, 1:])


def features(
    recorded: Mapping[str, Tensor], grid: PairGrid, *, modules: Mapping[str, nn.Module], layers: str | Sequence[str]
) -> dict[str, Tensor]:
    """Arrange what the modules returned as (structures, atoms or pairs, features), by metatrain's names of layers.

    Parameters
    ----------
    recorded
        Responses by name; the parts of a pair (of atoms, of pairs) are named ``NAME.0`` and ``NAME.1``.
    grid
        Positions of the pairs of the batch.
    modules, layers
        The selected modules, and the names or patterns that were asked for.
    """
    patterns = ["*"] if layers == "auto" else [layers] if isinstance(layers, str) else layers
    found = {}
    for label, array in recorded.items():
        called, at, call = label.partition("@")
        name, _, part = called.rpartition(".")
        suffix = SUFFIXES[int(part)] if called not in modules and part in ("0", "1") else ""
        base = name if suffix else called
        for extra, values in grid.parts(array, node=suffix == "_node" or "center" in base):
            full = base + suffix + extra
            if values.numel() and any(fnmatchcase(full, p) or fnmatchcase(base, p) for p in patterns):
                found[full + at + call] = values
    return found
