"""The one table where domains meet: what the inputs are, and which module knows how to handle them.

A domain is a module with the functions of :class:`Domain`. ``probing`` reaches jets (and whatever joins them) only
through this table, and nothing is imported before its inputs turn up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from jetsym.errors import CheckpointError
from jetsym.spectrum.action import Action, Measurand, Source

__all__ = ["Domain", "domain_of", "load_model", "repair_of"]


class Domain(Protocol):
    """What the module of a domain offers."""

    #: What a reader of a report must know about any action on these inputs.
    NOTES: Sequence[str]

    def measured(self, model: Any, outputs: Mapping[str, Any] | None) -> Measurand:
        """A model as it is measured here, with the kinds of its outputs (None: nobody says what they are)."""

    def load(self, source: Any, *, limit: int, model: Any) -> Any:
        """Inputs for a model from what the user gave (None: the bundled sample), at most ``limit`` of them."""

    def sources(self, source: Any, *, limit: int, model: Any) -> tuple[Any, Sequence[Source]]:
        """The inputs as :meth:`load` gives them, and what in them or in the model may break a symmetry."""

    def size(self, inputs: Any) -> int:
        """Number of inputs."""

    def take(self, inputs: Any, selection: slice) -> Any:
        """Some of the inputs."""

    def batches(self, inputs: Any) -> Sequence[slice]:
        """Inputs that may share a forward pass, as their responses have the same shapes: slices that cover them all."""

    def at_once(self, inputs: Any) -> int:
        """Evaluations of any of these inputs that main memory should hold in one pass, by what models need inside."""

    def move(self, inputs: Any, matrices: Any) -> Any:
        """Every input under n elements of O(3) in the lab (n, 3, 3), or (n, samples, 3, 3) of its own."""

    def act(self, inputs: Any, *, group: str, frame: str, axis: Any, seed: int) -> tuple[Any, Action]:
        """The action of a group ("SO2", "SO3", "O3", "boost") in a frame or about an axis, and inputs ready for it."""

    def transform(self, inputs: Any, matrices: Any) -> Any:
        """Every input under n Lorentz matrices (n, 4, 4), or (n, samples, 4, 4) of its own."""

    def generators(self, inputs: Any, axes: str) -> Any:
        """The generators J_x, J_y, J_z, K_x, K_y, K_z (6, 1 or samples, 4, 4), along the "beam" or the "jet"."""

    def tilted(self, inputs: Any, generators: Any) -> Any:
        """k · samples inputs with X p as forward-mode tangents of their momenta p, for generators (k, 1 or B, 4, 4)."""

    def place(self, inputs: Any, *, device: Any, dtype: Any) -> Any:
        """Inputs on a torch device and in a torch dtype (None: as they are)."""

    def mask(self, inputs: Any) -> Any:
        """(samples, tokens) bool, True for real tokens; None where inputs have no padding."""

    def dtype_name(self, inputs: Any) -> str:
        """Name of the floating-point type of the inputs, such as "float32"."""


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
    loads="jetsym.training.checkpoint:load",
    run="config.yaml",
    repairs="jetsym.training.repair:repair",
    endings=("",),
    bundled_sample=True,
)
ATOMS = Row(
    "atoms",
    "jetsym.atoms.domain",
    types_from=("jetsym.atoms", "ase."),
    loads="jetsym.atoms.model:load",
    run="options.yaml",
    repairs="jetsym.training.repair_atoms:repair",
    endings=(".xyz", ".extxyz", ".cif", ".vasp", ".traj"),
)
#: The first row that owns the inputs has them.
TABLE = (ATOMS, JETS)

#: Inputs that no row owns are plain arrays.
ARRAYS = "jetsym.probing.arrays"


def domain_of(inputs: Any) -> Domain:
    """The module that knows how to handle these inputs."""
    owner = next((row.module for row in TABLE if row.owns(inputs)), ARRAYS)
    return cast(Domain, import_module(owner))


def load_model(path: str | Path, inputs: Any = None) -> Any:
    """The model of a run directory or checkpoint, which is to take such inputs."""
    row = next((row for row in TABLE if row.owns(inputs)), JETS)
    return _named(row.loads)(path)


def repair_of(run: str | Path) -> Callable[..., Any]:
    """Who repairs the run in a folder.

    Raises
    ------
    CheckpointError
        The folder holds no run.
    """
    folder = Path(run).expanduser()
    for row in TABLE:
        if (folder / row.run).is_file():
            return _named(row.repairs)
    expected = " or ".join(f"{row.run} ({row.name})" for row in TABLE)
    raise CheckpointError(f"{run} holds no run; expected a folder with {expected}")


def _named(place: str) -> Callable[..., Any]:
    """What "module:function" names."""
    module, _, function = place.partition(":")
    return cast(Callable[..., Any], getattr(import_module(module), function))
