"""Sources that may break a symmetry of a tagger, each with a way to switch it off or on.

Three kinds: what jets carry besides momenta (impact parameters, charge, particle flags), what the tagger says of
itself (:meth:`jetsym.jets.models.Tagger.ablations`), and how jets are cut and padded before it sees them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from jetsym.domains.base import Source
from jetsym.errors import DataError
from jetsym.jets.batch import JetBatch
from jetsym.jets.io.ragged import leading
from jetsym.jets.kinematics import pt
from jetsym.jets.moves.inputs import CARRIED, carried
from jetsym.jets.schema import SCALARS

__all__ = ["ALL_PARTICLES", "hardest", "max_particles_of", "some_of", "sources_of", "sources_of_columns"]

#: More particles than any jet has: nothing is cut.
ALL_PARTICLES = 1_000_000
#: Name -> the scalars that are set to zero.
SWITCHED = {group: tuple(name for name in SCALARS if carried(name) == group) for group in CARRIED}
#: Empty slots to add where a jet fills as many as the model takes.
SPARE_SLOTS = 8


def max_particles_of(model: Any) -> int:
    """Return how many particles of a jet a model takes; 128 where it does not say."""
    return int(getattr(model, "max_particles", 128))


def sources_of(full: JetBatch, model: Any) -> tuple[JetBatch, list[Source]]:
    """Return the jets as a model is given them, and the sources that it makes sense to switch.

    Parameters
    ----------
    full
        Jets with all their particles.
    model
        Its ``max_particles`` says where they are cut, its ``ablations()``, if it has them, what it can do without.

    Raises
    ------
    DataError
        The jets have inputs of other networks, in which nothing would be switched.

    Examples
    --------
    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0], [9.0, 0.0, 9.0, 0.0]]])
    >>> jets = JetBatch(p4, torch.ones(1, 2, dtype=bool), torch.ones(1, 2, 10), p4[:, 0])
    >>> [source.name for source in sources_of(jets, None)[1]]
    ['impact parameters', 'charge', 'particle flags', 'padding']
    """
    if full.inputs:
        raise DataError(
            f"the jets have the inputs {', '.join(full.inputs)}, in which nothing would be switched off; leave them "
            "out: jets.replace(inputs={}, input_forms={})"
        )
    most = max_particles_of(model)
    cut = first(full, most).trim()
    found = []
    for name, scalars in SWITCHED.items():
        places = [cut.scalar_names.index(scalar) for scalar in scalars if scalar in cut.scalar_names]
        if cut.scalars[..., places].any():
            found.append(Source(name, "set to zero", inputs=without(cut, places)))
    ablations = model.ablations() if hasattr(model, "ablations") else {}
    found += [Source(name, "left out of the model", model=other) for name, other in ablations.items()]
    if int(full.n_particles.max()) > most:
        change = f"the whole list moves, then its {most} of largest pT are kept"
        found.append(Source("truncation", change, adds=True, inputs=full, before=lambda jets: hardest(jets, most)))
    slots = most if most > cut.max_particles else cut.max_particles + SPARE_SLOTS
    found.append(Source("padding", f"padded to {slots} slots", adds=True, inputs=cut.widen(slots)))
    return cut, found


def sources_of_columns(jets: JetBatch) -> list[Source]:
    """Return the sources among columns of files that go with jets: those that no move changes, set to zero.

    Columns that the caller holds fixed are sources of their own. What is nowhere but zero is none.
    """
    groups: dict[str, dict[str, list[int]]] = {}
    for key, form in jets.input_forms.items():
        for place, name in enumerate(form.names):
            group = name if name in form.fixed else carried(name)
            if group is not None and jets.inputs[key][:, place].nan_to_num().any():
                groups.setdefault(group, {}).setdefault(key, []).append(place)

    def emptied(values: Tensor, places: list[int]) -> Tensor:
        found = values.clone()
        found[:, places] = torch.where(found[:, places].isnan(), found[:, places], 0.0)  # NaN stands where nothing is
        return found

    return [
        Source(
            name,
            "set to zero",
            inputs=jets.replace(
                inputs={**jets.inputs, **{key: emptied(jets.inputs[key], places) for key, places in found.items()}}
            ),
        )
        for name, found in groups.items()
    ]


def without(batch: JetBatch, places: list[int]) -> JetBatch:
    """Set some columns of the jets' scalars to zero."""
    scalars = batch.scalars.clone()
    scalars[..., places] = 0.0
    return batch.replace(scalars=scalars)


def hardest(batch: JetBatch, most: int) -> JetBatch:
    """Keep the particles of largest pT of each jet, at most so many, in falling order of pT.

    Examples
    --------
    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0], [9.0, 0.0, 9.0, 0.0]]])
    >>> jets = JetBatch(p4, torch.ones(1, 2, dtype=bool), torch.zeros(1, 2, 10), p4[:, 0])
    >>> hardest(jets, 1).p4
    tensor([[[9., 0., 9., 0.]]])
    """
    return _leading(batch, pt(batch.p4).masked_fill(~batch.mask, -1.0), most)


def first(batch: JetBatch, most: int) -> JetBatch:
    """Keep the real particles of largest pT of each jet, at most so many, in their order, as a reader does."""
    if batch.max_particles <= most:
        return batch
    real = batch.mask.to(batch.dtype).argsort(dim=1, descending=True, stable=True)
    squares = batch.p4[..., 1:3].square().sum(dim=-1).masked_fill(~batch.mask, -1)
    return _taken(batch, real.gather(1, leading(squares.gather(1, real), most)))


def _leading(batch: JetBatch, key: Tensor, most: int) -> JetBatch:
    return _taken(batch, key.argsort(dim=1, descending=True, stable=True)[:, :most])


def _taken(batch: JetBatch, order: Tensor) -> JetBatch:
    def gather(tensor: Tensor) -> Tensor:
        return tensor.gather(1, order[..., None].expand(*order.shape, tensor.shape[-1]))

    return batch.replace(p4=gather(batch.p4), mask=batch.mask.gather(1, order), scalars=gather(batch.scalars))


def some_of(jets: JetBatch, n: int) -> JetBatch:
    """Select at most n jets with particles, evenly over the batch and so over the classes of files in their order.

    Examples
    --------
    >>> p4 = torch.tensor([5.0, 3.0, 0.0, 4.0]).expand(9, 1, 4)
    >>> jets = JetBatch(p4, torch.ones(9, 1, dtype=bool), torch.zeros(9, 1, 10), p4[:, 0], label=torch.arange(9))
    >>> some_of(jets, 3).label
    tensor([0, 4, 8])
    """
    filled = (jets.n_particles > 0).nonzero().flatten()
    if not len(filled):
        raise DataError("no validation jet has particles; expected some to watch the training with")
    places = torch.linspace(0, len(filled) - 1, min(n, len(filled)), device=filled.device).round().long()
    return jets[filled[places]].trim()
