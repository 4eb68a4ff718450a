"""Benchmark of the quadrature estimator against sums over all pairs of rotations, and the machine's matrix product."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from jetsym.benchmarks.measure import alternate, matrix_product_rate
from jetsym.spectrum import SO3, Quadrature, QuadratureEstimator
from jetsym.spectrum.bands import bands_of, ring_transform
from jetsym.spectrum.wigner import characters
from jetsym.text import table_of

__all__ = ["estimator", "operations", "pairwise"]


def estimator(
    l_max: int = 6,
    *,
    features: list[int] | None = None,
    rings: int | None = None,
    repeats: int = 5,
    seed: int = 0,
) -> None:
    """Print the seconds of both for random responses in float32 on the CPU, and the rate of the estimator's products.

    The matrices of a rule are made once, as all layers and inputs share them; the characters of all pairs of rotations
    are evaluated anew, as they are where rotations are not shared. Both give the same spectrum, which is checked. On a
    busy machine run it with OMP_NUM_THREADS=1: threads that wait for each other can take a hundred times longer.

    Parameters
    ----------
    l_max
        Largest λ.
    features
        Numbers of features, one table row each (default 4, 64 and 4096).
    rings
        γ-rings that are added at a time (default: all).
    repeats
        Number of alternating timings of both; medians are printed.
    seed
        Seed of the responses.
    """
    rule = SO3().quadrature(l_max)
    generator = torch.Generator().manual_seed(seed)
    chunk = len(rule) if rings is None else rings * rule.ring_size
    rate = matrix_product_rate()
    table = table_of(
        f"l_max = {l_max}, {len(rule)} rotations, {torch.get_num_threads()} threads, "
        f"matrix product {rate / 1e9:.0f} Gflop/s",
        ("features", "pairwise ms", "quadrature ms", "speed-up", "of the matrix product"),
        words=0,
    )
    for count in features or [4, 64, 4096]:
        u = torch.randn(len(rule), 1, count, generator=generator)
        np.testing.assert_allclose(quadrature(rule, u, chunk), pairwise(rule, u), rtol=1e-3)
        tasks = {"pairwise": partial(pairwise, rule, u), "quadrature": partial(quadrature, rule, u, chunk)}
        times = alternate(tasks, repeats, at_least=0.05)
        slow, fast = (float(np.median(each)) for each in times.values())
        table.add_row(
            str(count),
            f"{1e3 * slow:.1f}",
            f"{1e3 * fast:.2f}",
            f"{np.median(times['pairwise'] / times['quadrature']):.0f}",
            f"{operations(rule, count) / fast / rate:.2f}",
        )
    Console(width=120).print(table)


def quadrature(rule: Quadrature, u: Tensor, chunk_size: int) -> NDArray[np.float64]:
    """Compute the (irreps,) power of responses (rotations, 1, features) by the estimator."""
    running = QuadratureEstimator(rule, SO3())
    for chunk in rule.chunks(chunk_size):
        running.add(chunk, u[chunk])
    return running.result().power.squeeze(0)


def pairwise(rule: Quadrature, u: Tensor) -> NDArray[np.float64]:
    """Compute the (irreps,) power as d_λ Σ_ij w_i w_j χ_λ(R_iᵀ R_j) u_i · u_j, characters included."""
    rotations = rule.rotations
    kernel: Any = characters(rule.l_max, np.einsum("iab,jac->ijbc", rotations, rotations))
    weighted = torch.as_tensor(rule.weights, dtype=u.dtype)[:, None] * u.reshape(len(rule), -1)
    gram = (weighted @ weighted.T).numpy().astype(np.float64)
    power: NDArray[np.float64] = np.arange(1.0, 2 * rule.l_max + 2, 2) * np.tensordot(gram, kernel, axes=2)
    return power


def operations(rule: Quadrature, features: int) -> int:
    """Count multiplications and additions in the matrix products of the estimator.

    Examples
    --------
    >>> rule = SO3().quadrature(0)  # 3 pairs of rings of one angle, transformed by one factor each; one coefficient
    >>> operations(rule, 1) == 2 * 3 * (2 + 1)
    True
    """
    transform = 2 * ring_transform(rule).size * (len(rule) // rule.unit)
    products = sum(2 * band.matrix.size for band in bands_of(rule))
    return (transform + products) * features
