"""Networks on graphs: what a package's network takes and returns, and its layers, structure by structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from jetsym.atoms.graphs import Graphs, graph
from jetsym.atoms.read import expect_elements, frames_of
from jetsym.errors import ProbeError, closest
from jetsym.spectrum.representations import Kind

__all__ = ["GraphModel", "full_stress", "per_structure", "per_volume", "with_volume"]

#: What stands between the name of a layer and the number of its call.
CALL = "@"


class GraphModel(nn.Module):
    """A network that takes :class:`~jetsym.atoms.graphs.Graphs`, and returns arrays with the structures in front.

    Of a network of no package that is known, this is all: it is called with the graphs, and what it returns for every
    atom or edge of all structures is put structure by structure. A package's own class derives from it.

    Parameters
    ----------
    module
        The network.

    Attributes
    ----------
    kinds
        Output name -> kind, as for :func:`jetsym.probe`.
    notes
        What a reader of a report must know.
    """

    #: The outputs that the network has, by name.
    outputs: Mapping[str, Kind] = {}
    #: Patterns of the layers that "auto" reads, as of ``named_modules()``; * does not stand for dots.
    layers: Sequence[str] = ("*",)
    #: Patterns of those among them that are no layers, such as what returns an output.
    without: Sequence[str] = ()
    #: Whether those that "auto" reads hand on one dictionary: all of them are then watched, to tell which made what.
    hands_on: bool = False
    #: Pattern of layers -> their irreps, where a package's modules do not say them in ``irreps_out``.
    irreps: Mapping[str, str] = {}
    #: Packages whose networks are known.
    packages: Sequence[str] = ("metatrain",)

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module: Any = module
        self.name = type(module).__name__
        self.kinds: dict[str, Kind] = dict(self.outputs)
        self.notes: tuple[str, ...] = ()
        self._graphs: Graphs | None = None
        self._given: Mapping[str, Any] = {}  # what a dictionary holds before the first layer
        self._asked: list[str] = []
        self._inside: dict[str, bool] = {}  # layer -> whether its rows are of something inside structures

    @property
    def cutoff(self) -> float:
        """The distance (Å) up to which atoms are neighbours."""
        raise ProbeError(
            f"model is a {self.name}, but the inputs are structures, and it is of no package that is known "
            f"({', '.join(self.packages)}); give their graphs, jetsym.atoms.graph(frames, cutoff), a model of "
            "metatrain, a .ckpt or a .pt file, or say with call=… how to call yours"
        )

    @property
    def atomic_types(self) -> Sequence[int] | None:
        """Atomic numbers that the network knows; None for all."""
        return None

    def structures(self, frames: Any, *, limit: int = 2**31) -> Graphs:
        """Return ASE frames, or files of them, as the network takes them, on its device and in its numbers.

        Parameters
        ----------
        frames
            ``ase.Atoms``, a file, or a list of either.
        limit
            At most so many.

        Raises
        ------
        DataError
            A frame holds an element that the network does not know.
        """
        self.cutoff  # noqa: B018  # refuses a network of which none is known
        known_frames = frames_of(frames, limit=limit)
        if (known := self.atomic_types) is not None:
            expect_elements(known_frames, known)
        like = next((each for each in self.module.parameters() if each.is_floating_point()), torch.zeros(0))
        return self.graphs(known_frames).to(device=like.device, dtype=like.dtype)

    def graphs(self, frames: Sequence[Any]) -> Graphs:
        """Return the graphs of frames, in float64, with whatever the network takes beside."""
        return graph(frames, self.cutoff)

    def predict(self, graphs: Graphs) -> Any:
        """Return what the network does, with rows for structures, atoms or edges of all structures."""
        return self.module(graphs)

    def forward(self, graphs: Graphs) -> Any:
        """Return every output with the structures along the first axis."""
        self._graphs = graphs
        with torch.enable_grad():
            returned = self.predict(graphs)

        def folded(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            found = graphs.folded(leaf.detach())
            if found is None:
                raise ProbeError(
                    f"the {self.name} returned an array of shape {tuple(leaf.shape)} for {len(graphs)} structures of "
                    f"{graphs.sizes} atoms; expected rows for structures, atoms or edges"
                )
            return found

        return tree_map(folded, returned)

    # --- layers, for the probe ---

    def probe_layers(self, layers: str | Sequence[str]) -> Mapping[str, nn.Module]:
        """Return the modules that "auto", names or patterns mean."""
        self._inside = {}
        modules = {name: each for name, each in self.module.named_modules() if name}
        modules = {name: each for name, each in modules.items() if not isinstance(each, torch.jit.ScriptModule)}
        if layers == "auto":
            meant = [name for name in modules if _is_meant(name, self.layers) and not _is_meant(name, self.without)]
            self._asked = [each for name in meant for each in _that_run(name, modules)]
        else:
            patterns = [layers] if isinstance(layers, str) else list(layers)
            for pattern in patterns:
                if not any(_is_meant(name, [pattern]) for name in modules):
                    raise ProbeError(f"layer {pattern!r} matches no module of {self.name}; {closest(pattern, modules)}")
            self._asked = [name for name in modules if _is_meant(name, patterns)]
        watched = [name for name in modules if self.hands_on and _is_meant(name, self.layers)]
        return {name: each for name, each in modules.items() if name in self._asked or name in watched}

    def probe_features(self, recorded: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return what they made in the last pass, as (structures, rows, features…).

        Networks that hand a dictionary on return in it what was there before: of each array the layer counts that made
        it. A layer that made one array has its own name, one that made several NAME.key.
        """
        graphs, self._graphs = self._graphs, None
        if graphs is None:
            return {}
        before, seen = dict(self._given), set[int]()
        made: dict[str, dict[str, Tensor]] = {}
        for label, array in recorded.items():
            called, at, call = label.partition(CALL)
            name = next(
                (each for each in _prefixes(called) if each in self._asked or _is_meant(each, self.layers)), called
            )
            key = called.removeprefix(name).lstrip(".")
            last, before[key] = before.get(key), array
            is_new = array.data_ptr() not in seen and not (key and last is not None and _is_same(array, last))
            seen.add(array.data_ptr())
            found = self._folded(graphs, label, array.detach()) if array.is_floating_point() and array.numel() else None
            if is_new and found is not None and name in self._asked:
                made.setdefault(name + at + call, {})[key] = found
        return {
            label if len(arrays) == 1 else f"{label}.{key}": array
            for label, arrays in made.items()
            for key, array in arrays.items()
        }

    def _folded(self, graphs: Graphs, label: str, array: Tensor) -> Tensor | None:
        """Put a layer's rows structure by structure; of isolated atoms as in passes before, which tell whose they are.

        An atom for each structure has as many rows as there are structures.
        """
        if not graphs.has_one_each:
            self._inside[label] = len(array) != len(graphs)
        return graphs.folded(array, inside=self._inside.get(label, False))


def full_stress(six: Tensor, order: Sequence[tuple[int, int]]) -> Tensor:
    """Return symmetric tensors (structures, 3, 3) of their six components (structures, 6) in an order.

    Examples
    --------
    >>> full_stress(torch.arange(6.0)[None], [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]).tolist()
    [[[0.0, 5.0, 4.0], [5.0, 1.0, 3.0], [4.0, 3.0, 2.0]]]
    """
    found = six.new_zeros(*six.shape[:-1], 3, 3)
    for place, (row, column) in enumerate(order):
        found[..., row, column] = found[..., column, row] = six[..., place]
    return found


def per_structure(graphs: Graphs, values: Tensor) -> Tensor:
    """Return the sums (structures,) over the atoms of each of values (atoms,)."""
    return values.new_zeros(len(graphs)).index_add(0, graphs.batch, values)


def per_volume(graphs: Graphs) -> Tensor:
    """Return (structures,) volumes to divide by; 1 for structures without, whose virial stands for the stress."""
    return torch.where(graphs.volumes > 0, graphs.volumes, torch.ones_like(graphs.volumes))


def with_volume(graphs: Graphs) -> Tensor:
    """Return (structures, 3, 3) cells to differentiate by and to divide by; a unit cube for structures without."""
    cube = torch.eye(3, dtype=graphs.dtype, device=graphs.device)
    return torch.where(graphs.cells.flatten(1).any(dim=1)[:, None, None], graphs.cells, cube)


def _is_same(array: Tensor, last: Tensor) -> bool:
    """Tell whether an array of a dictionary is still what it was before."""
    return array.data_ptr() == last.data_ptr() or (
        array.shape == last.shape and array.dtype == last.dtype and torch.equal(array, last)
    )


def _is_meant(name: str, patterns: Sequence[str]) -> bool:
    """Tell whether a name fits a pattern, in which * stands for what is between two dots."""
    return any(
        name.count(".") == pattern.count(".") and all(map(fnmatchcase, name.split("."), pattern.split(".")))
        for pattern in patterns
    )


def _that_run(name: str, modules: Mapping[str, nn.Module]) -> Sequence[str]:
    """Return the name of a module, or those of what it holds where it only keeps modules, as a list of them does."""
    if type(modules[name]).forward is not nn.Module.forward:
        return [name]
    held = [f"{name}.{own}" for own, _ in modules[name].named_children()]
    return [each for own in held if own in modules for each in _that_run(own, modules)]


def _prefixes(name: str) -> Sequence[str]:
    """Return a name without its last parts, the longest first."""
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
