"""SevenNet: its graphs, its outputs, and its layers, which are the modules of its sequence by their own names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from jetsym.atoms.graphs import Graphs
from jetsym.atoms.packages.base import GraphModel, full_stress, per_structure, per_volume
from jetsym.errors import ProbeError

__all__ = ["SevenNet"]

#: The components of its stress.
ORDER = ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (0, 2))


class SevenNet(GraphModel):
    """A network of the package sevenn (``sevenn.util.load_checkpoint("7net-0").build_model()``).

    Energies are without the shifts of the elements, which are constants of a structure.
    """

    outputs = {"energy": "scalar", "energies": "scalar", "forces": "vector", "stress": "rank2"}  # noqa: RUF012
    hands_on = True
    without = ("reduce_total_*", "rescale_*", "force_output")

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        if self.module.eval_modal_map:
            raise ProbeError(
                f"the SevenNet has {len(self.module.modal_map)} modalities, {', '.join(self.module.modal_map)}; "
                "networks of one only are read: give its calculator, SevenNetCalculator(…, modal=…)"
            )
        if not self.module.type_map:
            raise ProbeError("the SevenNet holds no map of its elements; build it from its checkpoint")
        self.notes = ("Energies are without the shifts of the elements.",)

    @property
    @override
    def cutoff(self) -> float:
        return float(self.module.cutoff)

    @property
    @override
    def atomic_types(self) -> Sequence[int]:
        return list(self.module.type_map)

    @override
    def predict(self, graphs: Graphs) -> dict[str, Tensor]:
        volumes = per_volume(graphs)
        data: dict[str, Any] = {
            "atomic_numbers": graphs.numbers,
            "x": graphs.numbers,
            "pos": graphs.positions.detach().clone(),
            "edge_index": graphs.edge_index,
            "edge_vec": graphs.vectors.detach(),
            "cell_lattice_vectors": graphs.cells,
            "pbc_shift": graphs.shifts,
            "cell_volume": volumes.clone(),
            "num_atoms": torch.as_tensor(graphs.sizes, device=graphs.device),
            "batch": graphs.batch,
        }
        self._given = dict(data)
        with self._on_batches(graphs.dtype):
            found = self.module(data)
        shifts = self.module.rescale_atomic_energy.shift.detach()
        shifts = shifts[found["atom_type"]] if len(shifts) > 1 else shifts.expand(len(graphs.batch))
        energies = found["atomic_energy"].reshape(-1) - shifts
        total = found["inferred_total_energy"].reshape(-1)
        return {
            "energy": total - per_structure(graphs, shifts),
            "energies": energies,
            "forces": found["inferred_force"],
            "stress": -full_stress(found["inferred_stress"], ORDER),
        }

    @contextmanager
    def _on_batches(self, dtype: torch.dtype) -> Iterator[None]:
        """Let the network take batches, which a calculator's does not, in any numbers: it marks elements in float32."""

        def mark(module: Any, arguments: Any, data: Any) -> None:
            for key in filter(None, (module.key_output, module.key_additional_output)):
                data[key] = data[key].to(dtype)

        marks = [each for each in self.module if type(each).__name__ == "OnehotEmbedding"]
        handles = [each.register_forward_hook(mark, prepend=True) for each in marks]
        before = self.module.is_batch_data
        self.module.set_is_batch_data(True)
        try:
            yield
        finally:
            self.module.set_is_batch_data(before)
            for handle in handles:
                handle.remove()
