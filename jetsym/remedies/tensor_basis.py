"""Invariant scalars times a small basis of covariant tensors: an equivariant head for an invariant network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from jetsym.arguments import above, among, at_least, checked
from jetsym.errors import ConfigError, expect_at_least, expect_one_of
from jetsym.spectrum.harmonics import bounded, couple, rotate_infinitesimally, solid_harmonics
from jetsym.spectrum.representations import NAMED, representation

__all__ = ["CartesianHead", "TensorBasisHead", "rank_note"]

BASES = ("coupled", "harmonics")


class TensorBasisHead(nn.Module):
    """A spherical tensor y^λσ = Σ_k s_k T_k of particles: invariant scalars s_k times covariant tensors T_k.

    The tensors are made of a few learned vectors v_q = Σ_j w_q(features_j, |r_j|²) r_j, shortened to v/√(1 + |v|²) so
    that everything is smooth and bounded; ab stands for the coupling of a and b to the largest λ:

    - λ = 0: 1; λ = 1: v₁, v₂, v₃; λ = 2: v₁v₁ = Y₂(v₁), v₂v₂, v₁v₂, v₁v₃, v₂v₃;
    - any λ: v₁^k v₂^(λ−k) and v₁^k v₂^(λ−1−k) v₃, which are 2λ+1 tensors, independent where the three vectors are;
    - σ = −1: the same times the pseudoscalar v₄ · (v₅ × v₆) of a second triple.

    Exactly equivariant when ``features`` are invariant, whatever the parameters; on other features measure A with
    :func:`jetsym.probe`.

    Where a site has a symmetry of its own the vectors are confined, and the basis loses rank: coplanar at a mirror
    plane, parallel on an axis, all zero at a centre of inversion. :meth:`rank` tells for which inputs. Some of that
    loss is right, as the tensor itself is confined. Where it is not, add tensors: ``direct`` ones for σ = +1 (a
    centre of inversion allows λ = 2), ``axial`` ones for σ = −1 (a mirror plane allows an axial vector) and for vectors
    that are coplanar by chance. With no vectors at all (a centre of inversion) axial tensors vanish too.

    Parameters
    ----------
    lam, sigma
        (λ, σ) of the output: σ = +1 for true tensors, −1 for pseudotensors.
    features
        Number of features of a particle, 0 or more.
    width
        Width of the hidden layers.
    basis
        "coupled" as above, or "harmonics": Y_λ(v_q) of 2λ+1 learned vectors, without couplings between them.
    tensors
        Take only the first so many of the 2λ+1: an approximation that is faster, and no longer universal.
    direct
        Number of tensors Σ_j c(features_j, |r_j|²) S_λ(r_j) that join the basis: harmonics of the direction times a
        length that vanishes as |r|^λ at the origin and grows as |r|, so that for λ = 1 they are sums Σ_j c_j r_j.
    axial
        Whether tensors (v₁ · J) T_k join the basis, with J the generators of rotations: for λ = 1 they are v₁ × v_k.
        They have the other σ, so that for σ = +1 they take the pseudoscalar.
    context
        Number of further invariants that ``forward`` is given for each output, such as features of the central atom.
    length
        Unit of the vectors: their typical length, in Å, GeV, ….

    References
    ----------
    M. Domina, F. Bigi, P. Pegolo, M. Ceriotti, "Representing spherical tensors with scalar-based machine-learning
    models", arXiv:2505.05404.

    Examples
    --------
    >>> head = TensorBasisHead(2, features=4).double()
    >>> features, r = torch.randn(6, 10, 4, dtype=torch.float64), torch.randn(6, 10, 3, dtype=torch.float64)
    >>> head(features, r).shape
    torch.Size([6, 5])
    >>> torch.allclose(head(features, -r), head(features, r), atol=1e-14)  # (2,+) is even under the inversion
    True
    >>> head.rank(features, r).tolist()
    [5, 5, 5, 5, 5, 5]
    """

    @checked(
        lam=at_least(0),
        sigma=among(-1, 1),
        features=at_least(0),
        width=at_least(1),
        tensors=at_least(1),
        direct=at_least(0),
        context=at_least(0),
        length=above(0),
    )
    def __init__(
        self,
        lam: int,
        sigma: int = 1,
        *,
        features: int,
        width: int = 64,
        basis: str = "coupled",
        tensors: int | None = None,
        direct: int = 0,
        axial: bool = False,
        context: int = 0,
        length: float = 1.0,
    ) -> None:
        super().__init__()
        _check(lam, sigma, basis, tensors, {"features": features, "direct": direct, "context": context}, length)
        self.lam, self.sigma = lam, sigma
        self._length = float(length)
        self._coupled = basis == "coupled"
        self._tensors = 2 * lam + 1 if tensors is None else tensors
        self._features, self._direct, self._context = features, direct, context
        self._axial = axial and lam > 0
        self._true_vectors = self._vectors_needed()
        self._pseudo = sigma < 0 or self._axial
        vectors = self._true_vectors + 3 * self._pseudo
        total = (self._tensors + direct) * (1 + self._axial)

        self.particles = _perceptron(features + 1, width, width)
        self.weights = nn.Linear(width, vectors + direct, bias=False)
        nn.init.normal_(self.weights.weight, std=4 / width**0.5)  # vectors of length one or so, not far below
        invariants = vectors * (vectors + 1) // 2
        self.scalars = nn.Sequential(
            _perceptron(width + 1 + invariants + context, width, width), nn.Linear(width, total)
        )

    def forward(
        self, features: Tensor, vectors: Tensor, mask: Tensor | None = None, context: Tensor | None = None
    ) -> Tensor:
        """Return the spherical tensor of every set of particles.

        Parameters
        ----------
        features
            (…, N, F) features of the particles.
        vectors
            (…, N, 3) true vectors of the particles, x, y, z, from an origin that moves along: momenta, positions from
            the centre of a molecule, or for one output per atom those of its neighbours, (…, atoms, neighbours, 3).
        mask
            (…, N) bool, True for real particles, or weights such as a smooth cutoff; None takes all.
        context
            (…, C) further invariants.

        Returns
        -------
        (…, 2λ+1) tensor, m from −λ to λ in the convention of :mod:`jetsym.spectrum.wigner`; (y, z, x) for λ = 1.
        """
        given = 0 if context is None else context.shape[-1]
        if given != self._context:
            raise ConfigError(
                f"forward was given {given} invariants as context; expected {self._context}, as context=…"
            )
        tensors, invariants = self._basis(features, vectors, mask)
        if context is not None:
            invariants = torch.cat([invariants, context], dim=-1)
        return torch.einsum("...k,...km->...m", self.scalars(invariants), tensors)

    def basis_tensors(self, features: Tensor, vectors: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the tensors T_k (…, K, 2λ+1); those made of the learned vectors are not longer than one."""
        return self._basis(features, vectors, mask)[0]

    @torch.no_grad()
    def rank(
        self, features: Tensor, vectors: Tensor, mask: Tensor | None = None, *, tolerance: float | None = None
    ) -> Tensor:
        """Count the dimensions that the basis spans, 0 … 2λ+1, for every set of particles.

        Parameters
        ----------
        features, vectors, mask
            As for :meth:`forward`.
        tolerance
            Singular values of the tensors up to this one are zero; default √ε of the dtype. Coordinates that were
            rounded, such as those of a file, ask for more.

        Returns
        -------
        (…) int64 tensor; :func:`rank_note` puts it into words.
        """
        tensors = self.basis_tensors(features, vectors, mask)
        least = torch.finfo(tensors.dtype).eps ** 0.5 if tolerance is None else tolerance
        return torch.sum(torch.linalg.svdvals(tensors) > least, dim=-1)

    def _vectors_needed(self) -> int:
        """Count the vectors that make the basis without the pseudoscalar; for λ = 0 their products are invariants."""
        if self.lam == 0:
            return 3
        if not self._coupled:
            return self._tensors
        places = {place for term in self._terms() for place, exponent in enumerate(term) if exponent}
        return max(places) + 1

    def _terms(self) -> list[tuple[int, int, int]]:
        """Return the powers of v₁, v₂ and v₃ in every tensor; those of a single vector first."""
        pairs = [(k, self.lam - k, 0) for k in range(self.lam, -1, -1)]
        pairs.sort(key=lambda term: 0 not in term[:2])
        with_third = [(k, self.lam - 1 - k, 1) for k in range(self.lam - 1, -1, -1)]
        return (pairs + with_third)[: self._tensors]

    def _basis(self, features: Tensor, vectors: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the tensors (…, K, 2λ+1), and the invariants (…, I) that their scalars are functions of."""
        if vectors.shape[-1] != 3 or features.shape[-1] != self._features:
            raise ConfigError(
                f"features and vectors have shapes {tuple(features.shape)} and {tuple(vectors.shape)}; expected "
                f"(…, N, {self._features}) and (…, N, 3)"
            )
        present = torch.ones_like(vectors[..., 0]) if mask is None else mask.to(vectors.dtype)
        real = (present != 0)[..., None]
        r = torch.where(real, vectors, 0) / self._length
        square = r.square().sum(dim=-1, keepdim=True)
        hidden = self.particles(torch.cat([torch.where(real, features, 0), square.log1p()], dim=-1))
        weights = self.weights(hidden) * present[..., None]
        v = bounded(torch.einsum("...nq,...nc->...qc", weights[..., : weights.shape[-1] - self._direct], r))

        tensors = self._products(v)
        if self._direct:
            harmonics = solid_harmonics(self.lam, bounded(r)) * (1 + square).sqrt()
            joined = torch.einsum("...nd,...nm->...dm", weights[..., -self._direct :], harmonics)
            tensors = torch.cat([tensors, joined], dim=-2)
        tensors = self._with_parity(v, tensors)

        count = present.sum(dim=-1, keepdim=True)
        pooled = (hidden * present[..., None]).sum(dim=-2) / (1 + count)
        row, column = torch.triu_indices(v.shape[-2], v.shape[-2], device=v.device)
        products = (v @ v.mT)[..., row, column]
        return tensors, torch.cat([pooled, count.log1p(), products], dim=-1)

    def _products(self, v: Tensor) -> Tensor:
        """Return true tensors (…, tensors, 2λ+1) of vectors (…, V, 3)."""
        if self.lam == 0:
            return v.new_ones(*v.shape[:-2], 1, 1)
        if not self._coupled:
            return cast("Tensor", solid_harmonics(self.lam, v[..., : self._tensors, :]))

        def factor(place: int, exponent: int) -> Tensor:
            # The power 0 is 1, also of a vector that the basis does not need.
            return cast("Tensor", solid_harmonics(exponent, v[..., min(place, v.shape[-2] - 1), :]))

        products = [couple(couple(factor(0, k), factor(1, m)), factor(2, n)) for k, m, n in self._terms()]
        return torch.stack(products, dim=-2)

    def _with_parity(self, v: Tensor, tensors: Tensor) -> Tensor:
        """Return true tensors, and axial ones made of them, with the σ of the output."""
        if not self._pseudo:
            return tensors
        first, second, third = v[..., -3:, :].unbind(dim=-2)
        pseudoscalar: Tensor = (first * torch.linalg.cross(second, third)).sum(dim=-1)[..., None, None]
        if not self._axial:
            return pseudoscalar * tensors
        axial = rotate_infinitesimally(v[..., :1, :], tensors)
        parts = [tensors, pseudoscalar * axial] if self.sigma > 0 else [pseudoscalar * tensors, axial]
        return torch.cat(parts, dim=-2)


class CartesianHead(nn.Module):
    """Vectors, rank-2 tensors and the like as a :class:`TensorBasisHead` for every irreducible block.

    Parameters
    ----------
    kind
        A Cartesian output as for :func:`jetsym.probe`: "scalar", "pseudoscalar", "vector", "pseudovector", "rank2",
        "four-vector"; or "symmetric" for symmetric rank-2 tensors, (0,+) ⊕ (2,+), such as polarizabilities.
    options
        Further options of every :class:`TensorBasisHead`; ``tensors`` of each at most.

    Examples
    --------
    >>> head = CartesianHead("symmetric", features=4)
    >>> alpha = head(torch.randn(6, 10, 4), torch.randn(6, 10, 3))
    >>> alpha.shape, torch.allclose(alpha, alpha.mT)
    (torch.Size([6, 3, 3]), True)
    """

    @checked()
    def __init__(self, kind: str, **options: Any) -> None:
        super().__init__()
        if kind not in (*NAMED, "symmetric"):
            raise ConfigError(f"kind is {kind!r}; expected one of {', '.join(map(repr, NAMED))} or 'symmetric'")
        rho = representation("rank2" if kind == "symmetric" else kind)
        kept = [place for place, block in enumerate(rho.blocks) if kind != "symmetric" or block.sigma == 1]
        self._shape = rho.shape
        self._rows = np.concatenate([rho.basis[rho.slices[place]] for place in kept])
        self.blocks = nn.ModuleList()
        for lam, sigma in (rho.blocks[place] for place in kept):
            limited = {"tensors": min(options["tensors"], 2 * lam + 1)} if options.get("tensors") else {}
            self.blocks.append(TensorBasisHead(lam, sigma or 1, **options | limited))

    def forward(
        self, features: Tensor, vectors: Tensor, mask: Tensor | None = None, context: Tensor | None = None
    ) -> Tensor:
        """Return the output (…, *shape) of every set of particles: (…), (…, 3), (…, 3, 3) or (…, 4) as (E, px, py, pz).

        The arguments are those of :meth:`TensorBasisHead.forward`.
        """
        components = torch.cat([block(features, vectors, mask, context) for block in self.blocks], dim=-1)
        flat = components @ torch.as_tensor(self._rows).to(components)
        return flat.reshape(*flat.shape[:-1], *self._shape)


def rank_note(ranks: Tensor, lam: int) -> str:
    """Put into words the ranks that :meth:`TensorBasisHead.rank` found for the inputs.

    Examples
    --------
    >>> print(rank_note(torch.tensor([5, 5, 3, 2]), 2))
    the tensor basis spans fewer than the 5 dimensions of λ = 2 for 2 of 4 inputs (2 for 1, 3 for 1): their tensors \
are confined by a symmetry, or direct=… or axial=True must join the basis
    """
    full, ranks = 2 * lam + 1, ranks.flatten()
    low = ranks[ranks < full]
    if not len(low):
        return f"the tensor basis spans all {full} dimensions of λ = {lam} for all {len(ranks)} inputs"
    found = ", ".join(f"{rank} for {count}" for rank, count in zip(*low.unique(return_counts=True), strict=True))
    return (
        f"the tensor basis spans fewer than the {full} dimensions of λ = {lam} for {len(low)} of {len(ranks)} inputs "
        f"({found}): their tensors are confined by a symmetry, or direct=… or axial=True must join the basis"
    )


def _check(lam: int, sigma: int, basis: str, tensors: int | None, counts: Mapping[str, int], length: float) -> None:
    if lam < 0 or sigma not in (1, -1):
        raise ConfigError(f"the output is said to be ({lam}, {sigma}); expected λ ≥ 0 and σ = 1 or −1")
    expect_one_of("basis", basis, BASES)
    if tensors is not None and not 1 <= tensors <= 2 * lam + 1:
        raise ConfigError(f"tensors is {tensors}; expected 1 … {2 * lam + 1} for λ = {lam}, or None for all")
    for name, count in counts.items():
        expect_at_least(name, count, 0)
    if not 0 < length < float("inf"):
        raise ConfigError(f"length is {length}; expected the typical length of the vectors, above 0")


def _perceptron(width_in: int, width: int, width_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width_in, width), nn.SiLU(), nn.Linear(width, width_out), nn.SiLU())
