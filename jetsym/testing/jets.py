"""Jets to test with: random ones that are physically sensible, and degenerate ones."""

from __future__ import annotations

import numpy as np
import torch

from jetsym.arguments import at_least, checked
from jetsym.jets.batch import JetBatch
from jetsym.jets.schema import CLASSES

__all__ = ["degenerate_jets", "random_jets"]


@checked(n=at_least(0), seed=at_least(0), max_particles=at_least(1), min_particles=at_least(0))
def random_jets(
    n: int = 8, seed: int = 0, dtype: torch.dtype = torch.float32, *, max_particles: int = 30, min_particles: int = 1
) -> JetBatch:
    """Make random jets: pT of 500 to 1000 GeV, falling shares of it, particles within a radius of 0.8.

    Parameters
    ----------
    n
        Number of jets.
    seed
        Of the random numbers; the same seed gives the same jets.
    dtype
        Of momenta and scalars.
    max_particles, min_particles
        Particles per jet, uniformly distributed; the rest of the slots is padding, exactly zero.

    Examples
    --------
    >>> random_jets(3, max_particles=5)
    JetBatch(3 jets, 5 particles at most, 10 classes, float32, cpu)
    """
    rng = np.random.default_rng(seed)
    counts = rng.integers(min_particles, max_particles + 1, size=n)
    mask = np.arange(max_particles) < counts[:, None]
    jet_pt, jet_eta, jet_phi = rng.uniform(500, 1000, n), rng.uniform(-2, 2, n), rng.uniform(-np.pi, np.pi, n)

    # Falling shares of the jet's pT, within a radius of 0.8, of light and heavier hadrons.
    share = -np.sort(-rng.exponential(size=mask.shape) * mask, axis=1)
    pt = jet_pt[:, None] * share / share.sum(axis=1, keepdims=True)
    radius, angle = 0.8 * np.sqrt(rng.uniform(size=mask.shape)), rng.uniform(-np.pi, np.pi, mask.shape)
    eta, phi = jet_eta[:, None] + radius * np.cos(angle), jet_phi[:, None] + radius * np.sin(angle)
    mass = rng.choice([0.0, 0.13957, 0.93957], size=mask.shape)
    px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    p4 = np.stack([np.sqrt(px**2 + py**2 + pz**2 + mass**2), px, py, pz], axis=-1)

    charge = rng.integers(-1, 2, size=mask.shape)
    kind = np.where(charge == 0, rng.choice([1, 2], size=mask.shape), rng.choice([0, 3, 4], size=mask.shape))
    displacement = rng.normal(size=(*mask.shape, 4)) * (charge != 0)[..., None]
    displacement[..., 1::2] = np.abs(displacement[..., 1::2])
    scalars = np.concatenate([charge[..., None], np.eye(5)[kind], displacement], axis=-1)

    # Padding is exactly +0, where a product with the mask would give −0 as well.
    p4, scalars = (np.where(mask[..., None], values, 0) for values in (p4, scalars))

    # The stored axis is near the sum of the constituents, but not the same.
    total = p4.sum(axis=1)
    columns = {"jet_sdmass": rng.uniform(0, 200, n), "jet_nparticles": counts, "jet_tau1": rng.uniform(0, 1, n)}
    return JetBatch(
        p4=torch.from_numpy(p4).to(dtype),
        mask=torch.from_numpy(mask),
        scalars=torch.from_numpy(scalars).to(dtype),
        jet_p4=torch.from_numpy(total * (1 + 0.01 * rng.normal(size=(n, 1)))).to(dtype),
        label=torch.from_numpy(rng.integers(0, len(CLASSES), size=n)),
        columns={name: torch.from_numpy(np.asarray(column, dtype="float32")) for name, column in columns.items()},
    )


@checked()
def degenerate_jets(dtype: torch.dtype = torch.float32) -> JetBatch:
    """Make jets at the edges: one particle; collinear; duplicates; massless along the beam and at rest; a pair; none.

    Examples
    --------
    >>> degenerate_jets().n_particles.tolist()
    [1, 9, 9, 4, 2, 0]
    """
    line = torch.tensor([50.0, 30.0, 0.0, 40.0], dtype=dtype)
    p4 = torch.zeros(6, 9, 4, dtype=dtype)
    p4[0, 0] = line
    p4[1] = line * torch.arange(1, 10, dtype=dtype)[:, None]
    p4[2] = line
    p4[3, 0], p4[3, 1], p4[3, 2] = torch.tensor([[5, 0, 0, 5], [5, 0, 0, -5], [1, 0, 0, 0]], dtype=dtype)
    p4[4, 0], p4[4, 1] = line, torch.tensor([50.0, 0.0, 30.0, 40.0], dtype=dtype)
    counts = torch.tensor([1, 9, 9, 4, 2, 0])
    mask = torch.arange(9) < counts[:, None]
    return JetBatch(p4 * mask[..., None], mask, torch.zeros(6, 9, 10, dtype=dtype), 9 * line.expand(6, 4))
