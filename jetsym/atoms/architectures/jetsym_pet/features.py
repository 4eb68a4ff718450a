"""What is injected into the embedding of edges, in operators that TorchScript compiles."""

import torch
from torch import Tensor, nn

from .products import Raise

__all__ = ["Harmonics", "Invariants"]


class Harmonics(nn.Module):
    """The solid harmonics S_1 … S_λ of edge vectors shortened to v/√(1 + |v|²).

    They are those of :class:`jetsym.remedies.HarmonicFeatures`, for compiled code.

    Parameters
    ----------
    lam
        Largest λ ≥ 1.

    Attributes
    ----------
    width
        Number of features, λ(λ + 2).
    """

    def __init__(self, lam: int) -> None:
        super().__init__()
        self.width = lam * (lam + 2)
        self.steps = nn.ModuleList(Raise(lower) for lower in range(1, lam))

    def forward(self, vectors: Tensor, distances: Tensor, weights: Tensor, elements: Tensor) -> Tensor:
        """Return (atoms, neighbours, width) of vectors (atoms, neighbours, 3); nothing else of an edge is used."""
        shortened = vectors / torch.sqrt(1 + (vectors * vectors).sum(dim=-1, keepdim=True))
        first = shortened.roll(-1, dims=-1)  # y, z, x
        found = [first]
        for step in self.steps:
            found.append(step(found[-1], first))
        return torch.cat(found, dim=-1)


class _Elements(nn.Embedding):
    """A factor of every element for every radial function, one at first."""

    def reset_parameters(self) -> None:
        """Set the factors to one."""
        nn.init.ones_(self.weight)


class Invariants(nn.Module):
    """Distances in radial functions, and angles between the edges of an atom, of every edge.

    For the edge from i to j, with Gaussians R_n at equal steps to the cutoff r_c and as wide as a step, the cutoff
    function f, and w_n of the element of a neighbour, learned and one at first:

    R_n(r_ij), and Σ_k f(r_ik) w_n(z_k) R_n(r_ik) P_l(cos θ_jik) / (1 + Σ_k f(r_ik)) for l = 0 … 3.

    The sums are bounded, and smooth where a neighbour k crosses the cutoff, as f is; with k = j in them, as its angle
    is zero in all orientations.

    Parameters
    ----------
    cutoff
        r_c in Å.
    n_elements
        Number of elements.
    n_radial
        Number of Gaussians.
    largest
        Largest l.

    Attributes
    ----------
    width
        Number of features.
    """

    def __init__(self, cutoff: float, n_elements: int, *, n_radial: int = 8, largest: int = 3) -> None:
        super().__init__()
        self.cutoff, self.n_radial, self.largest = float(cutoff), n_radial, largest
        self.width = n_radial * (largest + 2)
        self.elements = _Elements(n_elements, n_radial)

    def forward(self, vectors: Tensor, distances: Tensor, weights: Tensor, elements: Tensor) -> Tensor:
        """Return the features of every edge.

        Parameters
        ----------
        vectors, distances
            (atoms, neighbours, 3) and (atoms, neighbours) in Å.
        weights
            (atoms, neighbours): the cutoff function, zero where there is no neighbour.
        elements
            (atoms, neighbours): indices of the neighbours' elements.

        Returns
        -------
        (atoms, neighbours, width) tensor.
        """
        centres = torch.linspace(0.0, self.cutoff, self.n_radial, dtype=vectors.dtype, device=vectors.device)
        steps = (distances.unsqueeze(-1) - centres) * ((self.n_radial - 1) / self.cutoff)
        radial = torch.exp(-0.5 * steps * steps)
        total = 1 + weights.sum(dim=1, keepdim=True).unsqueeze(-1)
        summands = weights.unsqueeze(-1) * radial * self.elements(elements) / total
        units = vectors / distances.unsqueeze(-1)
        cosines = units @ units.transpose(1, 2)
        found = [radial]
        before, legendre = torch.zeros_like(cosines), torch.ones_like(cosines)
        for degree in range(self.largest + 1):
            found.append(legendre @ summands)
            after = ((2 * degree + 1) * cosines * legendre - degree * before) / (degree + 1)
            before, legendre = legendre, after
        return torch.cat(found, dim=-1)
