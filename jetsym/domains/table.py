"""The one table where domains meet: what the inputs are, and which module knows how to handle them.

A domain is a module with the functions of :class:`Domain`. ``probing`` reaches jets (and whatever joins them) only
through this table, and nothing is imported before its inputs turn up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from jetsym.domains.base import Domain

__all__ = ["domain_of", "load_model"]


@dataclass(frozen=True)
class Row:
    """One domain: which inputs are its own, by the module of their type or the ending of their paths.

    ``loads`` is who loads a model from a path. An ending "" is that of every path. The folder of a run is known by the
    file ``run``, and ``repairs`` is who writes how to train it better.
    """

    name: str
    module: str
    types_from: tuple[str, ...]
    loads: str
    run: str
    repairs: str
    endings: tuple[str, ...] = ()
    bundled_sample: bool = False

    def owns(self, inputs: Any) -> bool:
        if inputs is None:
            return self.bundled_sample
        first = inputs[0] if isinstance(inputs, (list, tuple)) and len(inputs) else inputs
        if isinstance(first, (str, Path)):
            return str(first).lower().endswith(self.endings) if self.endings else False
        return type(first).__module__.startswith(self.types_from)


JETS = Row(
    "jets",
    "jetsym.jets.domain",
    types_from=("jetsym.jets",),
    loads="jetsym.jets.checkpoint:load",
    run="config.yaml",
    repairs="jetsym.repair.tagger:repair",
    endings=("",),
    bundled_sample=True,
)
ATOMS = Row(
    "atoms",
    "jetsym.atoms.domain",
    types_from=("jetsym.atoms", "ase."),
    loads="jetsym.atoms.model:load",
    run="options.yaml",
    repairs="jetsym.repair.potential:repair",
    endings=(".xyz", ".extxyz", ".cif", ".vasp", ".traj"),
)
#: The first row that owns the inputs has them.
TABLE = (ATOMS, JETS)

#: Inputs that no row owns are plain arrays.
ARRAYS = "jetsym.domains.arrays"


def domain_of(inputs: Any) -> Domain:
    """The module that knows how to handle these inputs."""
    owner = next((row.module for row in TABLE if row.owns(inputs)), ARRAYS)
    return cast(Domain, import_module(owner))


def load_model(path: str | Path, inputs: Any = None) -> Any:
    """The model of a run directory or checkpoint, which is to take such inputs."""
    row = next((row for row in TABLE if row.owns(inputs)), JETS)
    return _named(row.loads)(path)


def _named(place: str) -> Callable[..., Any]:
    """What "module:function" names."""
    module, _, function = place.partition(":")
    return cast(Callable[..., Any], getattr(import_module(module), function))
