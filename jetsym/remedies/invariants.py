"""Features of particles that a group leaves alone: message passing on the invariants of pairs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from jetsym.arguments import above, at_least, checked
from jetsym.errors import expect_one_of
from jetsym.spectrum.lorentz import minkowski_products

__all__ = ["InvariantNetwork", "distances", "log_products"]


def distances(positions: Tensor) -> Tensor:
    """Return the Euclidean distances (…, N, N) of positions (…, N, 3), smooth but for pairs at one place.

    Examples
    --------
    >>> distances(torch.tensor([[0.0, 0.0, 0.0], [0.0, 3.0, 4.0]]))[0, 1].round(decimals=4)
    tensor(5.)
    """
    difference = positions[..., :, None, :] - positions[..., None, :, :]
    return (difference.square().sum(dim=-1) + torch.finfo(positions.dtype).tiny).sqrt()


def log_products(p4: Tensor) -> Tensor:
    """Return log(1 + |p_i · p_j|) (…, N, N) of four-momenta (…, N, 4) as (E, px, py, pz); on the diagonal masses².

    Examples
    --------
    >>> back_to_back = torch.tensor([[2.0, 2.0, 0.0, 0.0], [2.0, -2.0, 0.0, 0.0]])
    >>> log_products(back_to_back).expm1()
    tensor([[0., 8.],
            [8., 0.]])
    """
    products: Tensor = minkowski_products(p4, p4)
    return products.abs().log1p()


#: Name -> invariants of pairs, and the range of values that Gaussians cover by default.
PAIRS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "distances": (distances, 6.0),
    "minkowski": (log_products, 12.0),
}


class InvariantNetwork(nn.Module):
    """Message passing that knows momenta or positions only by the invariants of pairs.

    h_i ← h_i + φ(Σ_j W g(x_ij) ∘ V h_j) with Gaussians g of x_ij: the distance of two positions, unchanged by O(3) and
    translations, or log(1 + |p_i · p_j|) of two four-momenta, unchanged by Lorentz transformations. Its features go
    into a :class:`~jetsym.remedies.TensorBasisHead`, or as invariant channels beside the features of another network.

    Parameters
    ----------
    scalars
        Number of invariant numbers known of each particle, such as an element as one-hot or charge; 0 or more.
    pairs
        "distances" of vectors (…, N, 3), or "minkowski" for four-vectors (…, N, 4) as (E, px, py, pz).
    width, layers
        Number of features, and of rounds of messages.
    gaussians, extent
        Number of Gaussians, and the range [0, extent] of x that they cover (default: 6 Å for distances; 12 for
        logarithms in GeV²).

    References
    ----------
    K. Schütt et al., "SchNet", arXiv:1706.08566, for the continuous filters.

    Examples
    --------
    >>> net = InvariantNetwork(2).double()
    >>> scalars, r = torch.rand(3, 7, 2, dtype=torch.float64), torch.randn(3, 7, 3, dtype=torch.float64)
    >>> torch.allclose(net(scalars, r), net(scalars, 5 - r.roll(1, dims=-1)), atol=1e-13)
    True
    """

    centres: Tensor

    @checked(scalars=at_least(0), width=at_least(1), layers=at_least(1), gaussians=at_least(1), extent=above(0))
    def __init__(
        self,
        scalars: int,
        *,
        pairs: str = "distances",
        width: int = 64,
        layers: int = 2,
        gaussians: int = 16,
        extent: float | None = None,
    ) -> None:
        super().__init__()
        expect_one_of("pairs", pairs, PAIRS)
        self._invariants, default = PAIRS[pairs]
        extent = default if extent is None else float(extent)
        self.register_buffer("centres", torch.linspace(0, extent, gaussians), persistent=False)
        self._inverse_width = gaussians / extent
        self.embed = nn.Linear(scalars + 1, width)  # one more input, a constant: there may be no scalars
        self.filters = nn.ParameterList(torch.randn(gaussians, width) / gaussians**0.5 for _ in range(layers))
        self.values = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(layers))
        self.updates = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)) for _ in range(layers)
        )

    def forward(self, scalars: Tensor, vectors: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return features (…, N, width) of particles with scalars (…, N, S), vectors (…, N, 3 or 4), mask (…, N)."""
        real = torch.ones_like(vectors[..., 0], dtype=torch.bool) if mask is None else mask.bool()
        vectors = torch.where(real[..., None], vectors, 0)
        x = self._invariants(vectors)[..., None]
        gaussians = torch.exp(-((x - self.centres) * self._inverse_width).square() / 2)
        pairs = gaussians * (real[..., :, None] & real[..., None, :])[..., None]
        known = torch.where(real[..., None], scalars, 0)
        h = self.embed(torch.cat([known, real[..., None].to(known.dtype)], dim=-1))
        for filters, values, update in zip(self.filters, self.values, self.updates, strict=True):
            # Σ_j of filter_ij ∘ value_j, without the (N, N, width) filters: sums over j first, one per Gaussian.
            collected = torch.einsum("...ijg,...jc->...igc", pairs, values(h))
            h = h + update((collected * filters).sum(dim=-2))
        return torch.where(real[..., None], h, 0)
