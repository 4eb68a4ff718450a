"""Molecules with their dipoles and polarizabilities, as padded tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jetsym.errors import ConfigError, DataError, require
from jetsym.spectrum.representations import representation

__all__ = ["TARGETS", "Molecules", "read_molecules"]

#: Key in the file -> its kind of :class:`jetsym.remedies.CartesianHead`.
TARGETS = {"mu": "vector", "alpha": "symmetric"}


@dataclass(frozen=True, eq=False)
class Molecules:
    """Molecules as padded tensors.

    Parameters
    ----------
    positions
        (B, N, 3) from the mean position of the atoms, Å.
    elements
        (B, N, E) one-hot.
    mask
        (B, N) bool.
    targets
        Name -> (B, 3) or (B, 3, 3), in the unit of the file.
    """

    positions: Tensor
    elements: Tensor
    mask: Tensor
    targets: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(self.mask)

    def __getitem__(self, choice: Any) -> Molecules:
        targets = {name: values[choice] for name, values in self.targets.items()}
        return Molecules(self.positions[choice], self.elements[choice], self.mask[choice], targets)


def read_molecules(path: str | Path, targets: Sequence[str]) -> Molecules:
    """Read the molecules of an extended XYZ file with these targets, float32.

    Raises
    ------
    DataError
        There is no such file, or a molecule without a target or with one of another shape.
    """
    read = require("ase.io", extra="atoms", purpose="the benchmark tensor_basis").read
    unknown = sorted(set(targets) - set(TARGETS))
    if unknown:
        raise ConfigError(f"targets has {unknown}; expected some of {list(TARGETS)}")
    if not Path(path).expanduser().is_file():
        raise DataError(f"there is no file {str(path)!r}; expected an extended XYZ file of molecules")
    frames = read(str(Path(path).expanduser()), ":")
    mask = torch.arange(max(map(len, frames))) < torch.tensor([[len(frame)] for frame in frames])
    numbers = torch.zeros(mask.shape, dtype=torch.long)
    numbers[mask] = torch.from_numpy(np.concatenate([frame.numbers for frame in frames])).long()
    positions = torch.zeros(*mask.shape, 3)
    centred = [frame.positions - frame.positions.mean(axis=0) for frame in frames]
    positions[mask] = torch.from_numpy(np.concatenate(centred)).float()
    elements = (numbers[..., None] == numbers[mask].unique()).float()
    values = {}
    for name in targets:
        shape = representation("rank2" if TARGETS[name] == "symmetric" else TARGETS[name]).shape
        found = [np.asarray(frame.info.get(name, [])) for frame in frames]
        wrong = [place for place, value in enumerate(found) if value.size != np.prod(shape)]
        if wrong:
            raise DataError(f"molecule {wrong[0]} of {Path(path).name} has no {name!r} with {np.prod(shape)} numbers")
        values[name] = torch.from_numpy(np.stack(found)).float().reshape(-1, *shape)
    return Molecules(positions, elements, mask, values)
