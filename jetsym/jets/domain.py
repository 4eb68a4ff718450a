"""Jets as a domain of the probe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import forward_ad
from typing_extensions import override

from jetsym.domains.base import Action, Domain, Source
from jetsym.domains.members import same_rows
from jetsym.errors import DataError, ProbeError
from jetsym.jets.batch import JetBatch
from jetsym.jets.checkpoint import initial, load as load_tagger
from jetsym.jets.evaluation.evaluate import expect_same_classes
from jetsym.jets.inputs import expect_standardised
from jetsym.jets.io.read import read
from jetsym.jets.io.sample import sample, sample_dir
from jetsym.jets.moves import actions
from jetsym.jets.moves.emissions import COLLINEAR, SOFT, emit, split
from jetsym.jets.moves.frames import axes_along, expect_rest_frame
from jetsym.jets.moves.generators import aligned_generators, tangents
from jetsym.jets.moves.inputs import DISPLACED, carried, follow, rearranged
from jetsym.jets.moves.sampling import random_directions
from jetsym.jets.sources import ALL_PARTICLES, max_particles_of, sources_of, sources_of_columns
from jetsym.jets.weaver_network import WeaverNetwork
from jetsym.spectrum import SO2
from jetsym.spectrum.responses import to_numpy
from jetsym.symmetry import GroupName, Symmetry

__all__ = ["JETS", "Jets"]

#: Jets whose momenta are looked at at a time.
AT_ONCE = 4096
#: What a report says of displacements that go into a model.
HELD_NOTE = f"Held fixed, as only turns about the beam leave them alone: {', '.join(actions.HELD_FIXED)}."
#: Jets that tell whether they do.
FEW = 4
#: Columns that carry a direction of each jet's own.
DIRECTION = ("direction_x", "direction_y", "direction_z")
#: Share of a jet's pT that stands for the limit of soft emissions.
SOFTEST = 1e-6
#: What an axis of each jet's own is called in a report.
AXES = {"jet": "the stored axis of each jet", "random": "a random direction of each jet's own"}


class Jets(Domain):
    """Jets of constituents, which taggers take as a :class:`~jetsym.jets.batch.JetBatch`.

    Parameters
    ----------
    held_fixed
        Whether displacements, which have no law under most moves, go into the model.
    """

    notes: tuple[str, ...] = ("Constituents and jet axis move together; features are recomputed from them.",)
    lab_note = "The group acts on lab momenta."
    own_axes = ("jet", "random")

    def __init__(self, *, held_fixed: bool = True) -> None:
        if held_fixed:
            self.notes = (*self.notes, HELD_NOTE)

    @override
    def settled(self, inputs: JetBatch, outputs: Callable[[Any], Mapping[str, Any]]) -> Jets:
        """Return the domain, which speaks of displacements where outputs of a few jets depend on them."""
        few = range(min(FEW, len(inputs)))  # one at a time, as a forward pass may take no more
        return Jets(held_fixed=any(_depend_on_displacements(inputs[place : place + 1], outputs) for place in few))

    @override
    def load(self, source: Any, *, limit: int, model: Any) -> JetBatch:
        """Return jets from files, from a batch, or from the bundled sample (None), cut as the model takes them."""
        return _load(source, limit=limit, max_particles=max_particles_of(model), model=model)

    @override
    def load_model(self, path: str | Path) -> Any:
        return load_tagger(path)

    @override
    def load_initial(self, path: str | Path) -> Any:
        return load_tagger(initial(path))

    @override
    def sources(self, source: Any, *, limit: int, model: Any) -> tuple[JetBatch, list[Source]]:
        if isinstance(model, WeaverNetwork):
            jets = self.load(source, limit=limit, model=model)
            return jets, sources_of_columns(jets)
        full = _load(source, limit=limit, max_particles=ALL_PARTICLES, model=model)
        cut, found = sources_of(full, model)
        return cut, [*found, *_emissions(cut)]

    @override
    def other_moves(self) -> dict[str, Callable[..., JetBatch]]:
        return {COLLINEAR: split, SOFT: emit}

    @override
    def with_room(self, inputs: JetBatch) -> JetBatch:
        return inputs.widen(inputs.max_particles + 1)

    @override
    def targets(self, source: Any, inputs: JetBatch, *, outputs: Mapping[str, Any], model: Any) -> dict[str, Tensor]:
        """Return the labels of the jets, which are to be of the model's classes, for every output of logits."""
        names = [name for name, kind in outputs.items() if kind == "logits"]
        if not names or inputs.label is None:
            return {}
        expect_same_classes(model, inputs)
        return dict.fromkeys(names, inputs.label)

    @override
    def move(self, inputs: JetBatch, matrices: Any) -> JetBatch:
        return actions.rotate(inputs, torch.as_tensor(matrices))

    @override
    def act(self, inputs: JetBatch, symmetry: Symmetry, *, seed: int) -> tuple[JetBatch, Action]:
        """Return the action in the lab, where the jets are at rest, about an axis of each jet's own, or along one.

        Raises
        ------
        ProbeError
            No jet has a momentum, so that none moves, or not all have the frame or the axis.
        """
        if not (inputs.p4[inputs.mask].any() or inputs.jet_p4.any()):
            raise ProbeError(
                "all momenta of the jets are zero, so that nothing moves: every model gives the same then; give jets "
                "with momenta"
            )
        axis, named = symmetry.axis, AXES.get(str(symmetry.axis), symmetry.axis_words)
        if axis == "random":
            inputs = _with_directions(inputs, seed)
        if symmetry.group == GroupName.BOOST:
            return inputs, _boost_along(axis, f"Boosts along {named}.")
        if symmetry.is_at_rest:
            expect_rest_frame(inputs)
            note = "The group acts where the sum of the constituents is at rest."
            return inputs, Action(
                _on_tensors(actions.rotate_at_rest),
                False,
                note,
                lambda some, _, four: actions.outputs_at_rest(some, four),
            )
        if axis == "jet":
            return inputs, Action(_on_tensors(actions.about_jet_axis), False, f"The group turns about {named}.")
        if axis == "random":
            return inputs, Action(_about_own_direction, False, f"The group turns about {named}.")
        return super().act(inputs, symmetry, seed=seed)

    @override
    def transform(self, inputs: JetBatch, matrices: Any) -> JetBatch:
        return actions.multiply(inputs, torch.as_tensor(matrices))

    @override
    def generators(self, inputs: JetBatch, axes: str) -> Tensor:
        return aligned_generators(inputs, axes)  # type: ignore[arg-type]  # refuses other axes

    @override
    def with_tangents(self, inputs: JetBatch, generators: Tensor) -> JetBatch:
        p4, jet_p4 = tangents(inputs, generators)
        repeated = self.move(inputs, torch.eye(3, dtype=torch.float64).expand(len(generators), 3, 3))
        moving = repeated.replace(
            p4=forward_ad.make_dual(repeated.p4, p4.flatten(0, 1)),
            jet_p4=forward_ad.make_dual(repeated.jet_p4, jet_p4.flatten(0, 1)),
        )
        return follow(inputs, moving)

    @override
    def to(self, inputs: JetBatch, *, device: Any, dtype: Any) -> JetBatch:
        placed = inputs if device is None else inputs.to(device)
        return placed if dtype is None else placed.to(dtype)

    @override
    def mask(self, inputs: JetBatch) -> Tensor:
        return inputs.mask

    @override
    def slots(self, inputs: JetBatch) -> int:
        return inputs.max_particles

    @override
    def rearrange(self, inputs: JetBatch, places: Any) -> JetBatch:
        index = torch.as_tensor(np.array(places), device=inputs.device)  # torch refuses read-only memory

        def taken(tensor: Tensor) -> Tensor:
            shape = (*index.shape, *[1] * (tensor.ndim - 2))
            rows = torch.take_along_dim(tensor, index.clamp(min=0).reshape(shape), dim=1)
            return rows.masked_fill((index < 0).reshape(shape), 0)

        changed = inputs.replace(p4=taken(inputs.p4), mask=taken(inputs.mask), scalars=taken(inputs.scalars))
        return changed.replace(inputs=rearranged(inputs, index)) if inputs.inputs else changed

    @override
    def is_same(self, inputs: JetBatch, others: JetBatch) -> NDArray[np.bool_]:
        parts = [(inputs.p4, others.p4), (inputs.scalars, others.scalars)]
        parts += [(one, others.inputs[name]) for name, one in inputs.inputs.items()]
        found: NDArray[np.bool_] = np.logical_and.reduce([same_rows(one, other) for one, other in parts])
        return found


JETS = Jets()


def _load(source: Any, *, limit: int, max_particles: int, model: Any) -> JetBatch:
    own_files = isinstance(model, WeaverNetwork)
    if isinstance(source, JetBatch):
        jets = source[:limit]
    elif own_files:
        jets = model.read(sample_dir() / "test" if source is None else source, limit=limit)
    elif source is None:
        jets = sample("test", limit=limit, max_particles=max_particles)
    else:
        jets = read(source, limit=limit, max_particles=max_particles)
    if not len(jets):
        raise DataError("the batch holds no jets; expected at least one to probe with")
    expect_standardised(jets.input_forms, getattr(model, "standardisation", None))
    empty = (jets.n_particles == 0).nonzero().flatten().tolist()
    if empty:
        raise DataError(
            f"{len(empty)} jets have no particles (the first is jet {empty[0]}); leave them out of the inputs"
        )
    parts = zip(jets.p4.split(AT_ONCE), jets.mask.split(AT_ONCE), strict=True)
    if not all(bool(p4[mask].isfinite().all()) for p4, mask in parts):
        raise DataError("the jets hold NaN or infinite momenta; leave those jets out of the inputs")
    # Their axes have as many places as the data configuration says, whatever the jets have.
    return jets.widen(max_particles) if own_files and jets.max_particles < max_particles else jets.trim()


def _depend_on_displacements(jets: JetBatch, outputs: Callable[[Any], Mapping[str, Any]]) -> bool:
    """Tell whether outputs can change with the displacements of jets: as NaN, which goes through all, and as others.

    A model that refuses such jets may look at them.
    """
    forms = jets.input_forms.values()
    if any(carried(name) == DISPLACED for form in forms for name in form.names):
        return True
    places = [place for place, name in enumerate(jets.scalar_names) if name in actions.HELD_FIXED]
    if not jets.scalars[..., places].any():
        return False
    as_they_are = outputs(jets)
    for change in (lambda values: torch.full_like(values, torch.nan), lambda values: values.flip(0) + 1):
        scalars = jets.scalars.clone()
        scalars[..., places] = change(scalars[..., places])
        try:
            changed = outputs(jets.replace(scalars=scalars))
        except Exception:  # whatever a model raises that looks at them
            return True
        if any(not np.array_equal(to_numpy(one), to_numpy(changed[name])) for name, one in as_they_are.items()):
            return True
    return False


def _emissions(jets: JetBatch) -> list[Source]:
    """Return the limits of moves that change no observable that is infrared and collinear safe."""

    def halved() -> JetBatch:
        return split(jets, 0.0, generator=torch.Generator().manual_seed(0))

    def soft() -> JetBatch:
        return emit(jets, SOFTEST, generator=torch.Generator().manual_seed(0))

    return [
        Source(COLLINEAR, "half of them with the hardest particle in two halves", True, halved, is_move=True),
        Source(
            SOFT, f"half of them with a photon of {SOFTEST:.0e} of pT", True, soft, is_move=True, least=10 * SOFTEST
        ),
    ]


def _on_tensors(action: Callable[[JetBatch, Tensor], JetBatch]) -> Callable[[JetBatch, Any], JetBatch]:
    return lambda inputs, matrices: action(inputs, torch.as_tensor(matrices))


def _boost_along(axis: Any, note: str) -> Action:
    def direction(inputs: JetBatch) -> Any:
        if not isinstance(axis, str) or axis in ("x", "y", "z"):
            return torch.as_tensor(SO2(axis).axis)
        return _directions_of(inputs) if axis == "random" else axis

    def move(inputs: JetBatch, rapidity: Any) -> JetBatch:
        return actions.boost(inputs, torch.as_tensor(rapidity), direction(inputs))

    def back(inputs: JetBatch, rapidity: Any, four: Any) -> Any:
        return actions.outputs_boosted_back(inputs, torch.as_tensor(rapidity), direction(inputs), four)

    return Action(move, False, note, back)


def _about_own_direction(inputs: JetBatch, matrices: Any) -> JetBatch:
    axes = axes_along(_directions_of(inputs))
    elements = torch.as_tensor(matrices).to(axes)
    if elements.ndim == 3:
        elements = elements[:, None]
    return actions.rotate(inputs, axes.mT @ elements @ axes)


def _with_directions(inputs: JetBatch, seed: int) -> JetBatch:
    """Return jets with a random direction of their own, which travels with them as columns."""
    directions = random_directions(len(inputs), generator=torch.Generator().manual_seed(seed)).to(inputs.device)
    return inputs.replace(columns={**inputs.columns, **dict(zip(DIRECTION, directions.unbind(-1), strict=True))})


def _directions_of(inputs: JetBatch) -> Tensor:
    """Return (B, 3) float64 unit vectors."""
    directions = torch.stack([inputs.columns[name] for name in DIRECTION], dim=-1).double()
    return directions.div(directions.norm(dim=-1, keepdim=True))
