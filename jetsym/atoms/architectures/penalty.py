"""A penalty on A²: what a PET's outputs and layers make of how a structure lies, as a term of the loss that trains it.

Every structure of a batch is shown in two random positions g₁·x and g₂·x of O(3), which are drawn anew in every step:

- an output f with z = ρ(g)⁻¹ f(g·x) adds ½ ‖z₁ − z₂‖², whose mean is A² = ∫ ‖z − z̄‖² dμ, without bias, as
  E ‖z₁ − z₂‖² = 2A² for independent g₁ and g₂. It is taken of predictions as the loss takes them, scaled as targets
  are, and per atom where they belong to a structure, as a mean over components: beside a squared error of structures
  that are rotated at random, in which A² counts once, weight 1 counts it twice;
- a layer h adds ½ Σ ‖h₁ − h₂‖² / ½ Σ (‖h₁‖² + ‖h₂‖²) over the atoms or pairs of the batch: 1 − b_(0,+), the share of
  its power that is not invariant. A ratio, as a layer could otherwise please by being small.

Energies are compared, and not their slopes: the two positions cost one pass of twice as many structures without forces.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jetsym.atoms.outputs import Block, blocks_of
from jetsym.atoms.packages.metatrain import PairGrid, features, select
from jetsym.atoms.structures import Structures
from jetsym.errors import ConfigError, ProbeError, closest, require
from jetsym.spectrum import O3
from jetsym.spectrum.representations import representation

if TYPE_CHECKING:
    from metatomic.torch import System

__all__ = ["PENALTY", "Penalty"]

#: What a line of the log begins with that says the penalty of an epoch.
PENALTY = "mean penalty: "


class Penalty:
    """The penalty of one training.

    Parameters
    ----------
    model
        A PET.
    weight
        Weight in the loss.
    on
        Names of targets, and names or patterns of layers, such as "gnn_layers.0_node"; none for all targets whose law
        is known.
    per_structure
        Targets that the loss does not take per atom.
    rng
        Draws positions.

    Raises
    ------
    ConfigError
        ``on`` names neither, or a target whose law under O(3) is not known.
    """

    def __init__(
        self,
        model: Any,
        weight: float,
        on: Sequence[str] = (),
        *,
        per_structure: Sequence[str] = (),
        rng: np.random.Generator,
    ) -> None:
        targets = {name: info for name, info in model.dataset_info.targets.items() if not info.is_atomic_basis}
        known = {name: blocks_of(name, info.layout) for name, info in targets.items()}
        self.blocks = {name: blocks for name, blocks in known.items() if blocks and (name in on or not on)}
        self.patterns = [name for name in on if name not in self.blocks]
        self._check(model, on)
        self.layers: Mapping[str, nn.Module] = select(model, self.patterns) if self.patterns else {}
        self.weight, self._model, self._rng = weight, model, rng
        self._per_structure = list(per_structure)
        self._due: list[System] = []
        self._sums: dict[str, float] = {}
        self._batches = 0

    def _check(self, model: Any, on: Sequence[str]) -> None:
        targets = list(model.dataset_info.targets)
        if lawless := [name for name in on if name in targets and name not in self.blocks]:
            raise ConfigError(f"penalty_on names {lawless[0]!r}, whose law under O(3) is not known here; leave it out")
        if not on and not self.blocks:
            raise ConfigError(
                f"penalty has nothing to weigh: the law of {', '.join(targets)} under O(3) is not known here; name "
                "layers with penalty_on"
            )
        for name in self.patterns:
            try:
                select(model, name)
            except ProbeError:
                layers = [layer for layer, _ in model.backend.named_modules() if layer]
                raise ConfigError(
                    f"penalty_on names {name!r}, which is neither a target ({', '.join(targets)}) nor a layer; "
                    f"{closest(name, layers)}"
                ) from None

    # --- in PET's training ---

    @contextmanager
    def within(self, trainer: Any) -> Iterator[None]:
        """Add the term to the loss of PET's trainer, the module, for a while.

        PET's ``train`` is one function of 600 lines, which hands a batch to ``evaluate_model`` and what that returns to
        its loss. A term needs the structures, which only the first is given, and the sum, which only the second
        returns. Both are looked up in the module at every run, so that they can be wrapped there: of the loop itself
        nothing is copied, and a change of metatrain's does not go by unseen.
        """
        evaluate, loss = trainer.evaluate_model, trainer.LossAggregator

        def evaluated(model: Any, systems: list[System], targets: Any, is_training: bool, **options: Any) -> Any:
            self._due = list(systems) if is_training else []
            if not is_training:
                self._say()
            return evaluate(model, systems, targets, is_training=is_training, **options)

        def compute(own: Any, predictions: Any, targets: Any, extra_data: Any = None) -> Tensor:
            total: Tensor = loss.compute(own, predictions, targets, extra_data)
            if not self._due:
                return total
            systems, self._due = self._due, []
            return total + self.weight * self(systems)

        trainer.evaluate_model = evaluated
        trainer.LossAggregator = type(loss.__name__, (loss,), {"compute": compute})
        try:
            yield
        finally:
            trainer.evaluate_model, trainer.LossAggregator = evaluate, loss

    def _say(self) -> None:
        """Log the means over the batches since the last time."""
        if self._batches:
            words = ", ".join(f"{name} {value / self._batches:.3e}" for name, value in self._sums.items())
            logging.info(f"{PENALTY}{words}")
        self._sums, self._batches = {}, 0

    # --- what it is ---

    def __call__(self, systems: Sequence[System]) -> Tensor:
        """Return the penalty of some structures with their neighbour lists, without its weight."""
        elements = np.stack([O3().sample(len(systems), self._rng) for _ in range(2)])
        moved = list(Structures(tuple(systems)).moved(elements).systems)
        with self._recorded() as recorded:
            predictions = self._predictions(moved)
        parts = self._of_outputs(predictions, elements.reshape(-1, 3, 3))
        parts |= self._of_layers(recorded)
        for name, part in parts.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(part.detach())
        self._batches += 1
        return torch.stack(list(parts.values())).sum() if parts else torch.zeros((), device=moved[0].device)

    def _predictions(self, systems: list[System]) -> Any:
        """Return what the loss takes of predictions."""
        package = require("metatomic.torch", extra="atoms", purpose="jetsym atoms train")
        per_atom = require("metatrain.utils.per_atom", extra="atoms", purpose="jetsym atoms train")
        infos = self._model.dataset_info.targets
        wanted = {name: package.ModelOutput(sample_kind=infos[name].sample_kind) for name in self.blocks}
        found = per_atom.average_by_num_atoms(self._model(systems, wanted), systems, self._per_structure)
        scales = {"remove": False, "use_per_target_scales": False, "use_per_property_scales": True}
        return self._model.scaler.apply_scales(systems, found, **scales)

    def _of_outputs(self, predictions: Any, elements: NDArray[np.float64]) -> dict[str, Tensor]:
        """Return A² of every output, by pairs of positions (2n, 3, 3), those of the second halves after the first."""
        found = {}
        for name, blocks in self.blocks.items():
            for block in blocks:
                first, second = _unmoved(predictions[name].block(block.place), block, elements).chunk(2)
                found[block.name] = (first - second).square().mean() / 2
        return found

    def _of_layers(self, recorded: _Recorded) -> dict[str, Tensor]:
        """Return the share of every layer that is not invariant; none where rounding moved a pair over the cutoff."""
        if not self.layers or recorded.mask is None:
            return {}
        atoms = len(recorded.mask) // 2
        halves = []
        for half in (slice(None, atoms), slice(atoms, None)):
            arrays = {name: array[half] for name, array in recorded.arrays.items()}
            grid = PairGrid(recorded.mask[half], 1)
            halves.append(features(arrays, grid, modules=self.layers, layers=self.patterns))
        if not torch.equal(recorded.mask[:atoms], recorded.mask[atoms:]):
            return {}
        return {name: _share(array, halves[1][name]) for name, array in halves[0].items()}

    @contextmanager
    def _recorded(self) -> Iterator[_Recorded]:
        """Take note of what layers return in a pass, and of where the real pairs are."""
        recorded = _Recorded()
        handles = []
        if self.layers:
            handles = [layer.register_forward_hook(recorded.note(name)) for name, layer in self.layers.items()]
            handles.append(self._model.backend.gnn_layers[0].register_forward_pre_hook(recorded.note_mask))
        try:
            yield recorded
        finally:
            for handle in handles:
                handle.remove()


class _Recorded:
    """What layers returned, with gradients, as the probe names it, and the mask of pairs."""

    def __init__(self) -> None:
        self.arrays: dict[str, Tensor] = {}
        self.mask: Tensor | None = None

    def note(self, name: str) -> Any:
        """Return a hook that takes note of a layer."""

        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            parts = {name: output} if isinstance(output, Tensor) else {f"{name}.{k}": x for k, x in enumerate(output)}
            self.arrays |= parts

        return hook

    def note_mask(self, module: nn.Module, arguments: Any) -> None:
        """Take the mask out of what a GNN layer is given."""
        self.mask = arguments[4]  # node, messages, elements, vectors, padding_mask, …


def _unmoved(found: Any, block: Block, elements: NDArray[np.float64]) -> Tensor:
    """Return z = ρ(g)⁻¹ f(g·x) of a block, (rows, properties, components)."""
    values: Tensor = found.values.movedim(-1, 1).flatten(2) if found.values.ndim > 2 else found.values[..., None]
    rho = torch.as_tensor(representation(block.kind).matrices(elements)).to(values)
    return values @ rho[found.samples.column("system").long()]  # z = ρᵀ y, a row at a time


def _share(first: Tensor, second: Tensor) -> Tensor:
    tiny = torch.finfo(first.dtype).tiny
    return (first - second).square().sum() / (first.square().sum() + second.square().sum() + tiny)
