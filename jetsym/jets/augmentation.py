"""Random elements of the rotation group, drawn from an explicit generator, and the augmentation that applies them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from jetsym.errors import ConfigError
from jetsym.jets.actions import rotate
from jetsym.jets.batch import JetBatch

__all__ = ["AugmentationConfig", "augment", "random_orthogonal", "random_rotations"]

Group = Literal["none", "SO3", "O3"]


def random_rotations(
    n: int,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Rotations distributed by the Haar measure of SO(3).

    Four independent normal numbers point uniformly on the unit sphere of quaternions, which covers SO(3) twice and
    evenly (K. Shoemake, "Uniform random rotations", Graphics Gems III, 1992).

    Parameters
    ----------
    n
        How many.
    generator
        The source of randomness, on ``device``; None takes torch's global one.
    device, dtype
        Where and how the matrices are held.

    Returns
    -------
    Tensor
        (n, 3, 3), R Rᵀ = 1 and det R = +1 to the rounding of ``dtype``.

    Examples
    --------
    >>> R = random_rotations(2, generator=torch.Generator().manual_seed(0))
    >>> torch.allclose(R @ R.mT, torch.eye(3, dtype=R.dtype)), torch.linalg.det(R).round()
    (True, tensor([1., 1.], dtype=torch.float64))
    """
    quaternions = torch.randn(n, 4, generator=generator, device=device, dtype=dtype)
    w, x, y, z = (quaternions / torch.linalg.vector_norm(quaternions, dim=-1, keepdim=True)).unbind(-1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], dim=-1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], dim=-1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], dim=-1),
    ]
    return torch.stack(rows, dim=-2)


def random_orthogonal(
    n: int,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Elements of O(3) distributed by its Haar measure: a random rotation times a fair sign.

    Parameters and result are those of :func:`random_rotations`, with det = ±1.

    Examples
    --------
    >>> g = random_orthogonal(4, generator=torch.Generator().manual_seed(0))
    >>> torch.linalg.det(g).round()
    tensor([ 1., -1.,  1.,  1.], dtype=torch.float64)
    """
    rotations = random_rotations(n, generator=generator, device=device, dtype=dtype)
    signs = torch.randint(0, 2, (n, 1, 1), generator=generator, device=device).to(dtype) * 2 - 1
    return rotations * signs


@dataclass(frozen=True)
class AugmentationConfig:
    """How training jets are moved, anew every time they are seen.

    Parameters
    ----------
    group
        ``"none"``, ``"SO3"`` (a random rotation of each jet's lab momenta) or ``"O3"`` (reflections as well).
    """

    group: Group = "none"

    def __post_init__(self) -> None:
        if self.group not in get_args(Group):
            raise ConfigError(
                f"augmentation.group is {self.group!r}; expected one of {', '.join(map(repr, get_args(Group)))}"
            )


def augment(batch: JetBatch, config: AugmentationConfig, *, generator: torch.Generator | None = None) -> JetBatch:
    """Move every jet by a random element of its own; the batch itself is returned where the group is "none".

    ``generator`` lives on the device of the batch; None takes torch's global one.
    """
    if config.group == "none":
        return batch
    sample = random_rotations if config.group == "SO3" else random_orthogonal
    return rotate(batch, sample(len(batch), generator=generator, device=batch.device, dtype=batch.dtype)[None])
