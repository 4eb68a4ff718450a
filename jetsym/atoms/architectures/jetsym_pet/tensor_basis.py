"""Heads for tensors: scalars of a PET times tensors made of edge vectors, in operators that TorchScript compiles."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jetsym.errors import ConfigError
from jetsym.spectrum.coupling import rotation_generators
from jetsym.spectrum.irreps import Irrep
from jetsym.spectrum.representations import representation

from .products import Raise, from_steps, in_whole_steps

__all__ = ["TensorBasis", "TensorHead", "blocks_of_target"]

#: Learned vectors that true tensors take, and further ones for the pseudoscalar v₄ · (v₅ × v₆).
TRUE, AXIAL = 3, 3
#: Names of the components of a Cartesian target -> its kind.
CARTESIAN = {("xyz",): "vector", ("xyz_1", "xyz_2"): "rank2"}
#: Targets that are symmetric by what they are.
SYMMETRIC = ("non_conservative_stress",)


class TensorBasis(nn.Module):
    """Tensors T_k of every atom, made of learned vectors and of edges: covariant, whatever the parameters.

    With ab for the coupling of a and b to the largest λ, as in :class:`jetsym.remedies.TensorBasisHead`:

    - σ = +1: v₁^k v₂^(λ−k) and v₁^k v₂^(λ−1−k) v₃, 2λ+1 tensors, and for λ ≥ 2 the sums Σ_j c(z_i, z_j, r_ij) S_λ of
      the edges j, which an atom at a centre of inversion has as well;
    - σ = −1: these times the pseudoscalar v₄ · (v₅ × v₆), and (v₁ · J) T_k, for λ = 1 the products v₁ × v_k.

    Parameters
    ----------
    lam, sigma
        (λ, σ) of the tensors.

    Attributes
    ----------
    tensors
        Their number K.
    """

    factors: Tensor
    generators: Tensor

    def __init__(self, lam: int, sigma: int) -> None:
        super().__init__()
        self.lam, self.sigma = lam, sigma
        terms = [[0] * k + [1] * (lam - k) for k in range(lam, -1, -1)]
        terms += [[0] * k + [1] * (lam - 1 - k) + [2] for k in range(lam - 1, -1, -1)]
        factors = torch.tensor(terms, dtype=torch.int64).T if lam else torch.zeros(0, 1, dtype=torch.int64)
        self.register_buffer("factors", factors, persistent=False)  # (λ, 2λ+1): the vectors of every product
        self.raises = nn.ModuleList(Raise(lower) for lower in range(1, lam))
        steps = in_whole_steps(rotation_generators(lam))
        self.register_buffer("generators", steps, persistent=False)
        self.direct = int(lam > 1)
        true = len(terms) + self.direct
        self.tensors = true if sigma > 0 else 2 * true if lam else 1

    def forward(self, vectors: Tensor, edges: Tensor, weights: Tensor) -> Tensor:
        """Return the tensors of every atom.

        Parameters
        ----------
        vectors
            (atoms, 3 or 6, 3) learned vectors as y, z, x.
        edges
            (atoms, neighbours, 3) edge vectors as y, z, x.
        weights
            (atoms, neighbours) of the sum over edges.

        Returns
        -------
        (atoms, K, 2λ+1) tensor, m from −λ to λ.
        """
        if self.lam == 0:
            found = torch.ones_like(vectors[:, :1, :1])
        else:
            found = vectors[:, self.factors[0]]
            harmonics = edges
            for lower, higher in enumerate(self.raises):
                found = higher(found, vectors[:, self.factors[lower + 1]])
                harmonics = higher(harmonics, edges)
            if self.direct > 0:
                found = torch.cat([found, (weights.unsqueeze(-1) * harmonics).sum(dim=1, keepdim=True)], dim=1)
        if self.sigma > 0:
            return found
        triple = torch.linalg.cross(vectors[:, 4], vectors[:, 5])
        pseudo: Tensor = found * (vectors[:, 3] * triple).sum(dim=-1).unsqueeze(-1).unsqueeze(-1)
        if self.lam == 0:
            return pseudo
        return torch.cat([pseudo, self._turned(vectors[:, 0], found)], dim=1)

    def _turned(self, vectors: Tensor, tensors: Tensor) -> Tensor:
        """Return (v · J) T."""
        # J are in the order x, y, z.
        turning = torch.einsum("na,aij->nij", vectors.roll(1, dims=-1), from_steps(self.generators, tensors))
        turned: Tensor = tensors @ turning.transpose(1, 2)
        return turned


class _Weights(nn.Linear):
    """A linear map without a constant whose weights make vectors of length one or so, not far below."""

    def reset_parameters(self) -> None:
        """Draw the weights."""
        nn.init.normal_(self.weight, std=2 / self.in_features**0.5)


class EdgeWeights(nn.Module):
    """w_q(z_i, z_j, r_ij) of every edge, times the cutoff function: exactly invariant, as no PET layer is in it.

    Parameters
    ----------
    cutoff
        In Å.
    n_elements
        Number of elements.
    weights
        Number of weights of an edge.
    width, n_radial
        Hidden channels, and Gaussians of the distance.
    """

    def __init__(self, cutoff: float, n_elements: int, weights: int, *, width: int = 32, n_radial: int = 8) -> None:
        super().__init__()
        self.cutoff, self.n_radial = float(cutoff), n_radial
        self.centres = nn.Embedding(n_elements, n_radial)
        self.neighbours = nn.Embedding(n_elements, n_radial)
        self.hidden = nn.Linear(n_radial, width)
        self.weights = _Weights(width, weights, bias=False)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Return (atoms, neighbours, weights), zero where there is no neighbour, of what PET's backend prepares."""
        distances = batch["edge_distances"]
        centres = torch.linspace(0.0, self.cutoff, self.n_radial, dtype=distances.dtype, device=distances.device)
        steps = (distances.unsqueeze(-1) - centres) * ((self.n_radial - 1) / self.cutoff)
        pairs = self.centres(batch["element_indices_nodes"]).unsqueeze(1)
        pairs = pairs + self.neighbours(batch["element_indices_neighbors"])
        hidden = torch.nn.functional.silu(self.hidden(torch.exp(-0.5 * steps * steps) * (1 + pairs)))
        real = torch.where(batch["padding_mask"], batch["cutoff_factors"], 0.0)
        weights: Tensor = self.weights(hidden) * real.unsqueeze(-1)
        return weights


class TensorHead(nn.Module):
    """A target as Σ_k s_k T_k of every atom: s_k are scalars that a PET gives, T_k those of :class:`TensorBasis`.

    Exactly equivariant for invariant scalars s_k, whatever the parameters. Those of a PET are invariant as far as it
    has learned: what is left of A comes from them alone.

    Parameters
    ----------
    blocks
        For every block of the target its irreps.
    cartesian
        Kind of a Cartesian target, "vector" or "rank2"; "" for spherical ones.
    cutoff, n_elements
        Of the PET.

    Attributes
    ----------
    scalars
        Number of scalars that every block takes.

    References
    ----------
    M. Domina, F. Bigi, P. Pegolo, M. Ceriotti, arXiv:2505.05404.
    """

    rows: Tensor

    def __init__(self, blocks: list[list[Irrep]], cartesian: str, cutoff: float, n_elements: int) -> None:
        super().__init__()
        bases = [[TensorBasis(irrep.lam, irrep.sigma or 1) for irrep in block] for block in blocks]
        every = [basis for block in bases for basis in block]
        self.bases: Any = nn.ModuleList(nn.ModuleList(block) for block in bases)
        self.scalars = [sum(basis.tensors for basis in block) for block in bases]
        self.vectors = TRUE + AXIAL * any(basis.sigma < 0 for basis in every)
        self.edges = EdgeWeights(cutoff, n_elements, self.vectors + sum(basis.direct for basis in every))
        self.register_buffer("rows", in_whole_steps(_rows(blocks[0], cartesian)), persistent=False)

    def forward(self, scalars: list[Tensor], batch: dict[str, Tensor]) -> list[Tensor]:
        """Return the flattened components (atoms, components · P) of every block, from scalars (atoms, K · P)."""
        r = batch["edge_vectors"].roll(-1, dims=-1)  # y, z, x
        r = r / torch.sqrt(1 + (r * r).sum(dim=-1, keepdim=True))
        weights = self.edges(batch)
        v = torch.einsum("nmq,nmc->nqc", weights[:, :, : self.vectors], r)
        v = v / torch.sqrt(1 + (v * v).sum(dim=-1, keepdim=True))
        found: list[Tensor] = []
        place = self.vectors
        for block, bases in enumerate(self.bases):
            components: list[Tensor] = []
            s = scalars[block].reshape(scalars[block].shape[0], self.scalars[block], -1)  # (atoms, K, P)
            first = 0
            for basis in bases:
                tensors = basis(v, r, weights[:, :, min(place, weights.shape[2] - 1)])
                components.append(torch.einsum("nkp,nkm->nmp", s[:, first : first + basis.tensors], tensors))
                first += basis.tensors
                place += basis.direct
            spherical = torch.cat(components, dim=1)
            if self.rows.numel() > 0:
                spherical = torch.einsum("mc,nmp->ncp", from_steps(self.rows, spherical), spherical)
            found.append(spherical.flatten(1))
        return found


def _rows(irreps: list[Irrep], cartesian: str) -> NDArray[np.float64]:
    """Return the matrix (spherical, Cartesian) of a Cartesian target; nothing for a spherical one."""
    if not cartesian:
        return np.zeros(0)
    whole = representation(cartesian)
    return np.concatenate([whole.basis[whole.slices[whole.blocks.index(irrep)]] for irrep in irreps])


def blocks_of_target(name: str, info: Any) -> tuple[list[list[Irrep]], str] | None:
    """Return the irreps of every block of a target, and its Cartesian kind; None for a scalar.

    Raises
    ------
    ConfigError
        A target that no such head is known for: of several centres, or Cartesian of rank 3 and more.
    """
    found, cartesian = [], ""
    for key, block in info.layout.items():
        components = tuple(component.names[0] for component in block.components)
        if not components:
            return None
        if components == ("o3_mu",) and "atom_type" not in key.names:
            found.append([Irrep(int(key["o3_lambda"]), int(key["o3_sigma"]))])
        elif components in CARTESIAN:
            cartesian = CARTESIAN[components]
            irreps = representation(cartesian).blocks
            found.append([irrep for irrep in irreps if name not in SYMMETRIC or irrep.sigma == 1])
        else:
            raise ConfigError(
                f"inject is tensor-basis, and target {name!r} has the components {', '.join(components)}; expected "
                "scalars, vectors, Cartesian tensors of rank 2, or spherical tensors of one centre"
            )
    return found, cartesian
