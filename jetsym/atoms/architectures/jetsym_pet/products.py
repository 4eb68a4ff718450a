"""Products of spherical tensors in operators that TorchScript compiles, with constants that no cast rounds."""

from typing import Any

import torch
from torch import Tensor, nn

from jetsym.spectrum.coupling import stretched_coupling

__all__ = ["Raise", "from_steps", "in_whole_steps"]

#: Of couplings and matrices, of order one: as fine as float64.
STEP = 2.0**-52


def in_whole_steps(constants: Any) -> Tensor:
    """Return constants of order one in whole steps of float64, which no cast of the module that keeps them rounds.

    A model that is trained in float32 may so go on in float64, with couplings that are exact.
    """
    return (torch.tensor(constants) / STEP).round().to(torch.int64)


def from_steps(steps: Tensor, like: Tensor) -> Tensor:
    """Return what :func:`in_whole_steps` was given, in the numbers of another tensor."""
    return (steps.to(torch.float64) * 2.0**-52).to(like.dtype)  # compiled code sees no globals


class Raise(nn.Module):
    """The product of a spherical tensor of λ with a vector, taken to λ + 1."""

    coupling: Tensor

    def __init__(self, lam: int) -> None:
        super().__init__()
        self.register_buffer("coupling", in_whole_steps(stretched_coupling(lam, 1)).flatten(0, 1), persistent=False)

    def forward(self, tensors: Tensor, vectors: Tensor) -> Tensor:
        """Return (…, 2λ+3) of (…, 2λ+1) and (…, 3)."""
        products = (tensors.unsqueeze(-1) * vectors.unsqueeze(-2)).flatten(-2)
        return products @ from_steps(self.coupling, products)
