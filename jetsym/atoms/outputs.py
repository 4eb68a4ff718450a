"""The predictions of a model of metatrain: the kind of every output, and its values as plain arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from jetsym.errors import ProbeError
from jetsym.spectrum.representations import Kind

if TYPE_CHECKING:
    from metatensor.torch import TensorMap

__all__ = ["Block", "arrays", "blocks_of"]

#: Names of the components of a Cartesian tensor -> its kind.
CARTESIAN: dict[tuple[str, ...], Kind] = {(): "scalar", ("xyz",): "vector", ("xyz_1", "xyz_2"): "rank2"}


@dataclass(frozen=True)
class Block:
    """One block of a target: an output of its own.

    Parameters
    ----------
    name
        The target's name, and for one of several spherical tensors its (λ, σ).
    kind
        See :func:`jetsym.probe`.
    place
        Which block of the target it is.
    """

    name: str
    kind: Kind
    place: int


def blocks_of(target: str, layout: TensorMap) -> list[Block]:
    """Return the blocks of a target whose law under O(3) is known here; from its layout, or from a prediction.

    Spherical tensors of several centres, and Cartesian ones of rank 3 and more, are left out.
    """
    found: list[Block] = []
    for place, (key, block) in enumerate(layout.items()):
        components = tuple(component.names[0] for component in block.components)
        kind: Kind | None = CARTESIAN.get(components)
        name = target
        if components == ("o3_mu",):
            kind = (int(key["o3_lambda"]), int(key["o3_sigma"]))
            name = target if len(layout) == 1 else f"{target} ({kind[0]},{'+' if kind[1] > 0 else '-'})"
        if kind is not None and "atom_type" not in key.names and not name_is_taken(name, found):
            found.append(Block(name, kind, place))
    return found


def name_is_taken(name: str, blocks: Sequence[Block]) -> bool:
    """Return whether a block has this name: of those that differ in something else only the first is measured."""
    return any(block.name == name for block in blocks)


def arrays(prediction: TensorMap, blocks: Sequence[Block], *, atoms: Sequence[int]) -> Iterator[tuple[str, Tensor]]:
    """Yield the blocks of a prediction as arrays (structures, …) or (structures, atoms, …), components last.

    Raises
    ------
    ProbeError
        A prediction that does not cover every atom, or one for atoms of structures of different sizes.
    """
    for block in blocks:
        found = prediction.block(block.place)
        yield block.name, by_structure(block.name, found.values.movedim(-1, 1), found.samples.names, atoms)


def by_structure(name: str, values: Tensor, samples: Sequence[str], atoms: Sequence[int]) -> Any:
    """Return values (structures, …) or (atoms of all structures, …) with the structures along the first axis."""
    if "atom" not in samples:
        if len(values) != len(atoms):
            raise ProbeError(f"{name!r} has {len(values)} values for {len(atoms)} structures; it cannot be measured")
        return values
    if len(set(atoms)) > 1:
        raise ProbeError(f"{name!r} is predicted per atom; structures of different sizes cannot share a pass")
    if len(values) != sum(atoms):
        raise ProbeError(f"{name!r} has {len(values)} values for {sum(atoms)} atoms; it cannot be measured")
    return values.reshape(len(atoms), atoms[0], *values.shape[1:])
