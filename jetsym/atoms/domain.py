"""Structures of atoms as a domain of the probe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import isclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from typing_extensions import override

from jetsym.atoms.calculated import UNITS, Calculated, as_measured, is_calculator
from jetsym.atoms.frames import Frames, results_of
from jetsym.atoms.graphs import Graphs
from jetsym.atoms.model import Model, load as load_potential
from jetsym.atoms.packages.base import GraphModel
from jetsym.atoms.packages.table import is_of_package, wrapped
from jetsym.atoms.read import frames_of
from jetsym.atoms.structures import Structures
from jetsym.domains.base import Domain, Measurand, Source
from jetsym.errors import ProbeError

__all__ = ["ATOMS", "Atoms"]

#: Pairs of neighbours that main memory should hold at once: a PET of the usual size needs some 12 kB for each.
PAIRS_AT_ONCE = 2**17
#: The same of networks on graphs, whose passes take no less time where they are larger: arrays that the system has to
#: find memory for anew in every pass made such passes of CHGNet take up to twice as long.
EDGES_AT_ONCE = 2**12
#: Structures that calculators are asked about before anything is measured.
LOOKED_AT = 64
#: Calls of a calculator that a probe makes without being told to, and structures that stand for all meanwhile.
CALLS, FEW = 1000, 4
#: Batches of structures that models take, and the models that say how to make one.
Batch = Structures | Frames | Graphs


class Atoms(Domain):
    """Molecules and crystals: as models of metatrain and networks on graphs take them, or as ASE's calculators do.

    A model says by its method ``structures(frames)`` what it takes: :class:`~jetsym.atoms.structures.Structures`,
    :class:`~jetsym.atoms.graphs.Graphs` or :class:`~jetsym.atoms.frames.Frames`.
    """

    notes = ("Positions, cell and neighbour lists move together.",)
    lab_note = "The group acts on whole structures."
    reach = "structures of atoms move under group='O3', 'SO3' or 'SO2' (about x, y or z)"

    @override
    def load(self, source: Any, *, limit: int, model: Any) -> Batch:
        if isinstance(source, Batch):
            return source[:limit]
        if not hasattr(model, "structures"):
            raise ProbeError(
                f"model is a {type(model).__name__}, which says nothing of the neighbour lists it needs; expected a "
                "model of metatrain, a .ckpt or a .pt file, or a calculator of ASE"
            )
        if isinstance(model, GraphModel):
            return model.structures(source, limit=limit)
        batch: Batch = model.structures(frames_of(source, limit=limit))
        return batch

    @override
    def wrap(self, model: Any, inputs: Any) -> Any:
        """Return a calculator as a function of structures; it is asked about one with a volume, and one without."""
        if isclass(model) and hasattr(model, "get_potential_energy"):
            raise ProbeError(
                f"model is the class {model.__name__}; expected a calculator made of it: {model.__name__}(…)"
            )
        if not is_calculator(model):
            return model
        if isinstance(inputs, Structures | Graphs):
            raise ProbeError(
                f"inputs are {type(inputs).__name__}, but model is a {type(model).__name__}; give ase.Atoms"
            )
        frames = inputs.atoms if isinstance(inputs, Frames) else frames_of(inputs, limit=LOOKED_AT)
        return Calculated(model, frames)

    @override
    def load_model(self, path: str | Path) -> Model:
        return load_potential(path)

    @override
    def prepare(self, model: Any, outputs: Mapping[str, Any] | None) -> Measurand:
        """Return a model that takes structures, with the outputs that it declares."""
        if not isinstance(model, (nn.Module, Calculated)):
            return super().prepare(model, outputs)
        known: Any = model
        if not isinstance(model, Model | GraphModel | Calculated):
            is_metatrain = hasattr(model, "dataset_info") or callable(getattr(model, "capabilities", None))
            known = (Model if is_metatrain and not is_of_package(model) else wrapped)(model).train(model.training)
        return Measurand(known, {**known.kinds, **(outputs or {})}, known.notes)

    @override
    def facts(self, model: Any) -> dict[str, Any]:
        """Return how often a calculator was called, and the units of what it gives."""
        if not isinstance(model, Calculated):
            return {}
        return {"calls": model.calls, "units": {name: UNITS[name] for name in model.kinds}}

    @override
    def remarks(self, model: Any) -> list[str]:
        """Return what a calculator gives otherwise than at first."""
        return model.changes() if isinstance(model, Calculated) else []

    @override
    def spacing(self, model: Any, name: str) -> float:
        """Return that of the numbers of a calculator, which other units hide."""
        return model.spacing(name) if isinstance(model, Calculated) else 0.0

    @override
    def most_calls(self, inputs: Batch) -> int | None:
        """Return :data:`CALLS` for calculators, each of whose calls may take seconds."""
        return CALLS if isinstance(inputs, Frames) else None

    @override
    def few(self, inputs: Batch) -> Sequence[int] | None:
        """Return a few structures of all kinds that calculators are asked about first."""
        return inputs.few(FEW) if isinstance(inputs, Frames) else None

    @override
    def holds(self, inputs: Batch, name: str) -> Any:
        """Return which structures have a stress: of a mixture the crystals alone, or else those with a volume."""
        if name != "stress" and not name.startswith("non_conservative_stress"):
            return None
        if isinstance(inputs, Frames):
            return inputs.crystals
        holding = inputs.with_stress
        return None if bool(holding.all()) else holding

    @override
    def lacks(self, inputs: Batch) -> NDArray[np.bool_] | None:
        """Return which structures have no pairs of neighbours, as isolated atoms: what belongs to pairs may not run."""
        if isinstance(inputs, Frames):
            return None
        lonely = np.array(inputs.pairs) == 0
        return lonely if lonely.any() else None

    @override
    def named(self, inputs: Batch, place: int) -> str:
        return f"structure {place} of {inputs.sizes[place]} atom{'s' * (inputs.sizes[place] != 1)}"

    @override
    def baselines(self, inputs: Batch, name: str) -> NDArray[np.int64] | None:
        """Return what has a zero of its own: energies, the composition, and of atoms the element as well."""
        if not isinstance(inputs, Frames) or name not in ("energy", "energies"):
            return None
        if name == "energy":
            return inputs.compositions
        return np.concatenate(
            [1000 * own + one.numbers for own, one in zip(inputs.compositions, inputs.atoms, strict=True)]
        )

    @override
    def sources(self, source: Any, *, limit: int, model: Any) -> tuple[Batch, Sequence[Source]]:
        """Refuse: no source of broken symmetry is known of structures."""
        self.refuse("attribution")

    @override
    def targets(
        self, source: Any, inputs: Batch, *, outputs: Mapping[str, Any], model: Any
    ) -> dict[str, list[NDArray[np.float64]]]:
        """Return what structures come with of the outputs of a calculator, in its units, and of forces for any model.

        Energies of other models have a zero of their own, and are not compared.
        """
        if isinstance(source, Batch):
            return {}
        frames = frames_of(source, limit=len(inputs))
        known = [results_of(frame) for frame in frames]
        found = {}
        for name in outputs if isinstance(model, Calculated) else {"forces"} & {*outputs}:
            if all(name in results for results in known):
                values = [np.asarray(results[name], dtype=np.float64) for results in known]
                if isinstance(model, Calculated):
                    values = [as_measured(name, one, frame) for one, frame in zip(values, frames, strict=True)]
                found[name] = values
        return found

    @override
    def batches(self, inputs: Batch) -> list[slice]:
        """Return every structure by itself, as each has its own number of atoms."""
        return [slice(index, index + 1) for index in range(len(inputs))]

    @override
    def max_evaluations(self, inputs: Batch) -> int:
        """Return how many evaluations main memory holds, by the pairs; accelerators say when their memory is full."""
        if isinstance(inputs, Frames):
            return inputs.at_once
        if inputs.device.type != "cpu":
            return super().max_evaluations(inputs)
        most = EDGES_AT_ONCE if isinstance(inputs, Graphs) else PAIRS_AT_ONCE
        return max(1, most // max(1, *inputs.pairs))

    @override
    def move(self, inputs: Batch, matrices: Any) -> Batch:
        return inputs.moved(matrices)

    @override
    def to(self, inputs: Batch, *, device: Any, dtype: Any) -> Batch:
        return inputs.to(device=device, dtype=dtype)

    @override
    def mask(self, inputs: Batch) -> Any:
        """Return True for all atoms: inputs are batches of equally many."""
        if isinstance(inputs, Frames):
            return inputs.real
        atoms = inputs.sizes[0]
        return torch.ones((len(inputs), atoms), dtype=torch.bool, device=inputs.device)

    @override
    def rearrange(self, inputs: Batch, places: Any) -> Batch:
        if isinstance(inputs, Graphs):
            raise ProbeError(
                "graphs keep the order of their atoms; for permutations give ase.Atoms with a calculator or a model of "
                "metatrain"
            )
        return inputs.rearranged(places)


ATOMS = Atoms()
