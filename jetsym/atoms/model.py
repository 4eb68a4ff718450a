"""Models of metatrain as the probe calls them: structures in, plain arrays out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from jetsym.arguments import checked
from jetsym.atoms import checkpoint
from jetsym.atoms.checkpoint import Weights
from jetsym.atoms.exports import declared_outputs, read_export
from jetsym.atoms.outputs import Block, arrays, blocks_of, by_structure
from jetsym.atoms.packages import quiet
from jetsym.atoms.packages.metatrain import PairGrid, features, is_pet, outermost, select
from jetsym.atoms.read import expect_elements
from jetsym.atoms.structures import Structures
from jetsym.errors import ConfigError, ProbeError, refuse_unknown, require
from jetsym.spectrum.representations import Kind

if TYPE_CHECKING:
    from ase import Atoms
    from metatomic.torch import NeighborListOptions, System

__all__ = ["Model", "load", "without_baseline"]

EXPORT_NOTE = (
    "The model is an export (.pt), whose layers cannot be read: outputs only, with their composition baseline, "
    "and all but forces summed over the atoms of a structure."
)
#: Outputs of exports that belong to single atoms; exports do not say so, as they offer all of them either way.
PER_ATOM = ("non_conservative_force", "position", "momentum", "velocit")
#: Outputs of exports that are no targets: features, and what belongs to uncertainties or tells of an average.
AUXILIARY = re.compile(r"feature|mtt::aux::|energy_(uncertainty|ensemble)|o3::")
NO_LAYERS_NOTE = "The layers of a {name} are not read: outputs only."
FORCES, STRESS = "forces", "stress"


@checked()
def load(path: str | Path, *, weights: Weights = "best", dtype: str | None = None, trust: bool = False) -> Model:
    """Load a PET, or another model of metatrain.

    Parameters
    ----------
    path
        A ``.ckpt`` or ``.pt`` file, or the folder of a run. What a file brings along is not run, and a file that asks
        for it is refused; an export computes by its own code, of operators that touch no files: see
        :mod:`jetsym.atoms.checkpoint` and :mod:`jetsym.atoms.exports`.
    weights
        Of a checkpoint: those of the epoch that validated "best", or the "last" ones.
    dtype
        "float32" or "float64", to convert a checkpoint's model; by default as it was trained.
    trust
        Open what would be refused as well: pickles, models of any architecture with the files that they name, native
        libraries, any operator. Whoever made the file can then run anything as you.

    Returns
    -------
    Model
        In evaluation mode, for :func:`jetsym.probe` and for calls with :meth:`Model.structures`.

    Raises
    ------
    CheckpointError
        There is no such file, it cannot be loaded, or it is refused.
    MissingDependencyError
        The extra ``atoms`` is not installed.
    """
    if dtype not in (None, "float32", "float64"):
        raise ConfigError(f"dtype is {dtype!r}; expected 'float32' or 'float64'")
    require("metatrain", extra="atoms", purpose="loading a model of atoms")
    file = checkpoint.find(path)
    if file.suffix == ".pt":
        if dtype is not None:
            raise ConfigError(f"dtype is {dtype!r}, but {file} is an export of a fixed type; load the .ckpt instead")
        return Model(read_export(file, trust=trust)).eval()
    module = checkpoint.model_of(file, weights=weights, trust=trust)
    return Model(module if dtype is None else module.to(getattr(torch, dtype))).eval()


class Model(nn.Module):
    """A model of metatrain that takes :class:`~jetsym.atoms.structures.Structures` and returns arrays by name.

    Outputs are the declared targets, per structure or per atom: scalars (structures, properties), vectors
    (structures, …, properties, 3), rank-2 tensors (…, 3, 3), spherical tensors (…, 2λ+1). The composition baseline is
    left out of them, as it is a constant of the structure. Where the energy was trained with forces or stress, these
    are its gradients: ``forces`` = −∂E/∂r (structures, atoms, 1, 3), and ``stress`` = ∂E/∂ε / V (structures, 1, 3, 3),
    for structures without volume the virial ∂E/∂ε.

    Parameters
    ----------
    module
        A metatrain model (PET, SOAP-BPNN, …), or an exported one.
    gradients
        Whether to add forces and stress of the energy: None for what it was trained with; True adds the forces; or
        metatrain's names of them, "positions" and "strain".
    features
        Further outputs of the model, summed over the atoms of a structure and taken as scalars, such as "feature" or
        "mtt::aux::energy_last_layer_features".
    targets
        The targets to predict, of a model that is no export; by default all.

    Attributes
    ----------
    kinds
        Output name -> kind, as for :func:`jetsym.probe`.
    notes
        What a reader of a report must know.
    """

    @checked()
    def __init__(
        self,
        module: nn.Module,
        *,
        gradients: bool | Sequence[str] | None = None,
        features: Sequence[str] = (),
        targets: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.module: Any = module
        inner: Any = getattr(module, "model", None)  # of a model with uncertainties
        self._pet: Any = inner if is_pet(inner) else module if is_pet(module) else None
        self.exported = callable(getattr(module, "capabilities", None))
        self.name = "exported model" if self.exported else type(module).__name__
        self.kinds: dict[str, Kind] = {}
        self.notes: tuple[str, ...] = ()
        self._blocks: dict[str, list[Block]] = {}
        self._per_atom: dict[str, bool] = {}
        self._energy, self._gradients = "", list[str]()
        self._layers: str | Sequence[str] = "auto"
        self._modules_read: dict[str, nn.Module] = {}
        self._pairs: tuple[Tensor, int] | None = None  # where the real ones are, and of how many structures
        if self.exported:
            self._declare_export()
        elif hasattr(module, "dataset_info"):
            self._declare(gradients, features, targets)
        else:
            raise ProbeError(
                f"model is a {type(module).__name__}, but the inputs are structures; expected a model of metatrain, "
                "a .ckpt or a .pt file, or say with call=… how to call yours"
            )

    # --- what it predicts ---

    def _declare(
        self, gradients: bool | Sequence[str] | None, features: Sequence[str], targets: Sequence[str] | None
    ) -> None:
        declared = self.module.dataset_info.targets
        for target in declared if targets is None else targets:
            refuse_unknown("a target", target, declared)
            info = declared[target]
            self._add(target, blocks_of(target, info.layout), per_atom="atom" in info.layout.block(0).samples.names)
            wanted = _gradients(info.gradients, gradients)
            if info.quantity == "energy" and wanted and not self._energy and not self._per_atom[target]:
                self._energy, self._gradients = target, wanted
        known = self.module.supported_outputs()
        for name in features:
            if name not in known:
                raise ConfigError(f"features names {name!r}; the model offers {', '.join(map(repr, known))}")
            self._add(name, [Block(name, "scalar", 0)], per_atom=False)
        if self._gradients:
            self.kinds |= {FORCES: "vector"} if "positions" in self._gradients else {}
            self.kinds |= {STRESS: "rank2"} if "strain" in self._gradients else {}
        if self._pet is None:
            self.notes = (NO_LAYERS_NOTE.format(name=self.name),)

    def _declare_export(self) -> None:
        """Look at the prediction for a single atom, as exports declare units and no layouts."""
        self.notes = (EXPORT_NOTE,)
        capabilities = self.module.capabilities()
        named = [name for name in declared_outputs(self.module) if not AUXILIARY.match(name)]
        self._per_atom = {name: name.startswith(PER_ATOM) for name in named}
        self._blocks = {name: [] for name in named}
        atom = require("ase", extra="atoms", purpose="jetsym.atoms").Atoms(
            [capabilities.atomic_types[0]], [[0.0, 0.0, 0.0]]
        )
        with torch.no_grad():
            found = self._predict(list(self.structures([atom]).systems))
        for name, prediction in found.items():
            self._add(name, blocks_of(name, prediction), per_atom=self._per_atom[name])

    def _add(self, target: str, blocks: list[Block], *, per_atom: bool) -> None:
        self._blocks[target], self._per_atom[target] = blocks, per_atom
        self.kinds |= {block.name: block.kind for block in blocks}

    @property
    def units(self) -> dict[str, str]:
        """Output name -> its unit, as far as the model says it; of lengths in Å."""
        if self.exported:
            said = {name: output.unit for name, output in self.module.capabilities().outputs.items()}
        else:
            said = {name: info.unit for name, info in self.module.dataset_info.targets.items()}
        units = {block.name: said.get(target, "") for target, blocks in self._blocks.items() for block in blocks}
        energy = said.get(self._energy, "")
        slopes = {FORCES: f"{energy}/Å", STRESS: f"{energy}/Å³"}
        units |= {name: unit for name, unit in slopes.items() if energy and name in self.kinds and name not in units}
        return {name: unit for name, unit in units.items() if unit}

    # --- structures ---

    @property
    def atomic_types(self) -> list[int]:
        """Atomic numbers that the model knows."""
        if self.exported:
            return list(self.module.capabilities().atomic_types)
        return list(self.module.dataset_info.atomic_types)

    @property
    def neighbor_lists(self) -> list[NeighborListOptions]:
        """The neighbour lists that the model asks for."""
        if self.exported:
            return list(self.module.requested_neighbor_lists())
        return list(
            require(
                "metatrain.utils.neighbor_lists", extra="atoms", purpose="jetsym.atoms"
            ).get_requested_neighbor_lists(self.module)
        )

    @checked()
    def structures(self, frames: Sequence[Atoms]) -> Structures:
        """Return ASE frames as the model takes them: with neighbour lists, on its device and in its dtype.

        Raises
        ------
        DataError
            A frame holds an element that the model does not know.
        """
        expect_elements(frames, self.atomic_types)
        tensors = [*self.module.parameters(), *self.module.buffers()]
        like = next((tensor for tensor in tensors if tensor.is_floating_point()), torch.zeros(0, dtype=torch.float64))
        return Structures.build(frames, self.neighbor_lists).to(device=like.device, dtype=like.dtype)

    def systems(self, frames: Sequence[Atoms]) -> list[System]:
        """Return the same as a list of metatomic's systems."""
        return list(self.structures(frames).systems)

    # --- predictions ---

    def forward(self, structures: Structures) -> dict[str, Tensor]:
        """Return every output with the structures along the first axis; see :class:`Model`."""
        if not self._gradients:
            return self._outputs(list(structures.systems), structures.sizes)
        with torch.enable_grad():
            systems, positions, strains = _differentiable(structures)
            found = self._outputs(systems, structures.sizes)
            energy = found[self._blocks[self._energy][0].name].sum()
            slopes = torch.autograd.grad(energy, [*positions, *strains], materialize_grads=True)
        if "positions" in self._gradients:
            forces = -torch.cat(slopes[: len(systems)])[:, None]
            found[FORCES] = by_structure(FORCES, forces, ["system", "atom"], structures.sizes)
        if "strain" in self._gradients:
            volumes = torch.stack([system.cell.detach().det().abs() for system in systems])
            volumes = torch.where(volumes > 0, volumes, 1.0)
            found[STRESS] = torch.stack(slopes[len(systems) :])[:, None] / volumes[:, None, None, None]
        return {name: array.detach() for name, array in found.items()}

    def _outputs(self, systems: list[System], atoms: list[int]) -> dict[str, Tensor]:
        with self._watching_pairs(len(systems)):
            predictions = self._predict(systems)
        return {
            name: array
            for target, blocks in self._blocks.items()
            for name, array in arrays(predictions[target], blocks, atoms=atoms)
        }

    def _predict(self, systems: list[System]) -> dict[str, Any]:
        package = require("metatomic.torch", extra="atoms", purpose="jetsym.atoms")
        wanted = {
            name: package.ModelOutput(sample_kind="atom" if per_atom else "system")
            for name, per_atom in self._per_atom.items()
        }
        with quiet():
            if not self.exported:
                with without_baseline(self.module):
                    return dict(self.module(systems, wanted))
            options = package.ModelEvaluationOptions(length_unit="angstrom", outputs=wanted)
            return dict(self.module(systems, options, check_consistency=False))

    # --- layers, for the probe ---

    def probe_layers(self, layers: str | Sequence[str]) -> Mapping[str, nn.Module]:
        """Return the modules of a PET for "auto", names or patterns: :mod:`jetsym.atoms.packages.metatrain`."""
        self._layers, self._modules_read = layers, {}
        if self._pet is not None and not self.exported:
            self._modules_read = select(self._pet, layers)
        elif layers != "auto" and len(layers):
            raise ProbeError(f"layers={layers!r} of {self.name}; only the layers of a PET can be read: leave it out")
        return self._modules_read

    def blocks(self) -> list[str]:
        """Return the names of the layers of a PET that are in no other, without heads; none of another model."""
        return [] if self._pet is None or self.exported else outermost(self._pet)

    def probe_features(self, recorded: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return what they returned in the last pass, as (structures, atoms or pairs, features)."""
        if self._pairs is None:
            return {}
        grid, self._pairs = PairGrid(*self._pairs), None
        arrays = {name: array.detach() for name, array in recorded.items()}
        return features(arrays, grid, modules=self._modules_read, layers=self._layers)

    @contextmanager
    def _watching_pairs(self, structures: int) -> Iterator[None]:
        """Take note of where the real pairs are while a PET runs."""
        if not self._modules_read:
            yield
            return

        def note(module: nn.Module, arguments: tuple[Any, ...]) -> None:
            self._pairs = arguments[4], structures  # node, messages, elements, vectors, padding_mask, …

        handle = self._pet.backend.gnn_layers[0].register_forward_pre_hook(note)
        try:
            yield
        finally:
            handle.remove()


def _gradients(trained: Sequence[str], wanted: bool | Sequence[str] | None) -> list[str]:
    """Return the gradients of an energy to add, by metatrain's names, of those it was trained with and those wanted."""
    own = [name for name in ("positions", "strain") if name in trained]
    if wanted is None or isinstance(wanted, bool):
        return own if wanted is None else (own or ["positions"]) if wanted else []
    return [name for name in ("positions", "strain") if name in wanted]


@contextmanager
def without_baseline(module: nn.Module) -> Iterator[None]:
    """Take the composition baseline out of a metatrain model for a while (short-range repulsion stays)."""
    if not hasattr(module, "additive_models"):
        inner = getattr(module, "model", None)  # of a model with uncertainties
        with without_baseline(inner) if isinstance(inner, nn.Module) else nullcontext():
            yield
        return
    additive: Any = module.additive_models
    composition = require("metatrain.composition", extra="atoms", purpose="jetsym.atoms").CompositionModel
    module.additive_models = nn.ModuleList(item for item in additive if not isinstance(item, composition))
    try:
        yield
    finally:
        module.additive_models = additive


def _differentiable(structures: Structures) -> tuple[list[System], list[Tensor], list[Tensor]]:
    """Return structures as functions of their positions and of a strain ε: r (1 + ε)."""
    package = require("metatomic.torch", extra="atoms", purpose="jetsym.atoms")
    systems, positions, strains = [], [], []
    for system in structures.systems:
        position = system.positions.detach().requires_grad_()
        strain = torch.eye(3, dtype=structures.dtype, device=structures.device, requires_grad=True)
        moved = package.System(system.types, position @ strain, system.cell.detach() @ strain, system.pbc)
        for options in system.known_neighbor_lists():
            pairs = system.get_neighbor_list(options).copy()
            package.register_autograd_neighbors(moved, pairs, check_consistency=False)
            moved.add_neighbor_list(options, pairs)
        systems.append(moved)
        positions.append(position)
        strains.append(strain)
    return systems, positions, strains
