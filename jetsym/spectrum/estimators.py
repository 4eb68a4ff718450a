"""Estimators of the symmetry content B_α: exact by quadrature, unbiased by random rotations. Both stream.

Both take the raw responses of a network along the orbit of its inputs, f(R·x) and f(−R·x), as arrays of any library
that follows the array API (numpy, torch, jax, …), and do their arithmetic there; only the results come back as numpy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_torch_array
from numpy.typing import NDArray

from jetsym.errors import SpectrumError
from jetsym.spectrum.groups import SO3, Irrep
from jetsym.spectrum.quadrature import Quadrature
from jetsym.spectrum.responses import Columns, as_like, check_finite, prepare, rounding_floor, to_numpy
from jetsym.spectrum.result import Spectrum
from jetsym.spectrum.wigner import characters, small_d

__all__ = ["QuadratureEstimator", "RandomEstimator"]


class QuadratureEstimator:
    """Exact power per irrep, from all rotations of a rule.

    For every γ-ring the responses are Fourier-transformed over γ by one matrix product with the K angles, then for
    every n ≥ 0 one product with w e^{−imα} d^λ_mn(β) gives all (λ, m) at once; as responses are real, n and −n hold the
    same power. Cosines and sines are kept apart, so everything is a product of real matrices. The state is one complex
    coefficient per (λ, m, n ≥ 0), coset and feature: it does not grow with the number of rotations.

    Parameters
    ----------
    rule
        The rule; ``rule.l_max`` is the largest λ reported.
    group
        ``SO3()``, or ``O3()`` to split parity with the responses under −R.
    accumulate
        None accumulates in the dtype of the responses, "float64" in double precision.

    Notes
    -----
    B_λσ = d_λ ‖∫ D^λσ(g)* u(g) dμ‖² after Domina, Abbott, Pegolo, Bigi, Ceriotti, arXiv:2603.24638. Exact to rounding
    when the rule's degree is at least λ plus the bandwidth of u.

    Examples
    --------
    >>> from jetsym.spectrum import SO3, QuadratureEstimator
    >>> rule = SO3().quadrature(2)
    >>> estimator = QuadratureEstimator(rule, SO3())
    >>> x = np.array([[0.0, 0.6, 0.8]])  # one input, one vector
    >>> for chunk in rule.chunks(20):
    ...     moved = np.einsum("nij,sj->nsi", rule.rotations[chunk], x)  # f(R·x) = R x
    ...     estimator.add(chunk, moved)
    >>> estimator.result().fractions.round(12) + 0.0
    array([0., 1., 0.])
    """

    def __init__(self, rule: Quadrature, group: SO3, *, accumulate: str | None = None) -> None:
        if accumulate not in (None, "float64"):
            raise SpectrumError(f"accumulate is {accumulate!r}; expected None (the response's dtype) or 'float64'")
        self.rule = rule
        self.group = group
        self.accumulate = accumulate
        self._bands = bands_of(rule)
        self._coefficients: list[list[Any]] = []  # for each coset, for each n: (rows of the band, columns)
        self._norm = np.zeros(0)
        self._columns = Columns(0)
        self._eps = 0.0
        self._seen = np.zeros(len(rule.alpha), dtype=bool)

    def add(self, chunk: slice, u_proper: Any, u_improper: Any = None, *, mask: Any = None) -> None:
        """Add the responses to the rotations of one chunk.

        Parameters
        ----------
        chunk
            A slice from ``rule.chunks``; every ring must be added exactly once.
        u_proper, u_improper
            (n_chunk, samples, features…) responses f(R·x) and f(−R·x); the second is None for SO(3). Complex features
            count as two real ones.
        mask
            (samples, tokens) bool for token features (n_chunk, samples, tokens, features…): False tokens are left out.

        Raises
        ------
        SpectrumError
            Chunks that cut or repeat a ring, shapes that do not fit, or responses that are not finite.
        """
        rings = self.rule.rings(chunk)
        if self._seen[rings].any():
            raise SpectrumError(f"the chunk {chunk.start}:{chunk.stop} was added already; add every chunk once")
        n_chunk = chunk.stop - chunk.start
        responses = prepare(self.group, n_chunk, u_proper, u_improper, mask=mask, accumulate=self.accumulate)
        if not self._coefficients:
            self._coefficients = [[None] * len(self._bands) for _ in responses.cosets]
            self._norm = np.zeros(responses.columns.samples)
        weights = self.rule.weights[chunk]
        for state, u in zip(self._coefficients, responses.cosets, strict=True):
            self._norm += weights @ responses.columns.squared_norms(u) / len(responses.cosets)
            self._add_coset(state, u, rings)
        check_finite(self._norm)
        self._columns, self._eps = responses.columns, responses.eps
        self._seen[rings] = True

    def _add_coset(self, state: list[Any], u: Any, rings: slice) -> None:
        """Add the responses of one coset to its coefficients."""
        xp, rule = array_namespace(u), self.rule
        count = rings.stop - rings.start
        by_ring = xp.reshape(u, (count, rule.ring_size, u.shape[1]))
        fourier = as_like(ring_transform(rule), u) @ by_ring
        for band, place in zip(self._bands, range(len(state)), strict=True):
            # Cosine and sine of n lie side by side: (rings, 1 or 2, columns) as the rows of one product.
            block = fourier[:, band.frequencies, :]
            rows = xp.reshape(block, (-1, u.shape[1]))
            state[place] = accumulate(state[place], band.matrix(rings, like=u), rows)

    def result(self) -> Spectrum:
        """The spectrum of all inputs, once every ring was added.

        Raises
        ------
        SpectrumError
            Rings are missing.
        """
        if not self._seen.all():
            missing = int((~self._seen).sum())
            raise SpectrumError(f"{missing} of {len(self._seen)} rings were not added; add every chunk of the rule")
        irreps = self.group.irreps(self.rule.l_max)
        power = np.zeros((self._columns.samples, len(irreps)))
        for band, coefficients in zip(self._bands, zip(*self._coefficients, strict=True), strict=True):
            by_row = [self._columns.sum(half**2) for half in parity_halves(coefficients)]
            for index, irrep in enumerate(irreps):
                if irrep.lam >= band.n:
                    rows = by_row[half_of(irrep)][band.rows(irrep.lam)]
                    power[:, index] += irrep.dimension * band.multiplicity * rows.sum(axis=0)
        return Spectrum(irreps, power, self._norm, len(self.rule), rounding_floor(self._eps), "quadrature")


def parity_halves(cosets: tuple[Any, ...]) -> tuple[Any, ...]:
    """The even and the odd half (u(R) ± u(−R))/2 of what belongs to R and −R; one coset is its own only half."""
    if len(cosets) == 1:
        return cosets
    proper, improper = cosets
    return (proper + improper) / 2, (proper - improper) / 2


def half_of(irrep: Irrep) -> int:
    """Which of the parity halves holds an irrep."""
    return 1 if irrep.parity == -1 else 0


def accumulate(state: Any, matrix: Any, rows: Any) -> Any:
    """state + matrix @ rows, in place where the library can."""
    if state is None:
        return matrix @ rows
    if is_torch_array(state):
        return state.addmm_(matrix, rows)
    return state + matrix @ rows


def ring_transform(rule: Quadrature) -> NDArray[np.float64]:
    """(2·l_max+1, K) transform over the angles of a ring: cos 0γ, cos γ, sin γ, cos 2γ, sin 2γ, …"""
    angles = np.arange(1, rule.l_max + 1)[:, None] * rule.gamma
    pairs = np.stack([np.cos(angles), np.sin(angles)], axis=1).reshape(-1, rule.ring_size)
    return np.concatenate([np.ones((1, rule.ring_size)), pairs]) / rule.ring_size


class Band:
    """The matrix w e^{−imα} d^λ_mn(β) of one n ≥ 0, as a real matrix on the ring transforms.

    Rows are the real parts of all (λ ≥ n, m), then their imaginary parts; columns are rings, for n > 0 each with its
    cosine and sine transform.
    """

    def __init__(self, rule: Quadrature, n: int) -> None:
        self.n = n
        self.frequencies = slice(2 * n - 1, 2 * n + 1) if n else slice(0, 1)
        self.multiplicity = 2.0 if n else 1.0  # n and −n
        self._starts = np.cumsum([0] + [2 * lam + 1 for lam in range(n, rule.l_max + 1)])
        blocks = [self._block(rule, lam) for lam in range(n, rule.l_max + 1)]
        matrix = np.concatenate(blocks)
        cosine = np.concatenate([matrix.real, matrix.imag])
        # (x + iy)(c − is) = (xc + ys) + i(yc − xs): c and s are the cosine and sine transforms of a ring.
        sine = np.concatenate([matrix.imag, -matrix.real])
        self._matrix = np.stack([cosine, sine] if n else [cosine], axis=-1)
        self._converted: dict[Any, Any] = {}

    def _block(self, rule: Quadrature, lam: int) -> NDArray[np.complex128]:
        phase = np.exp(-1j * np.arange(-lam, lam + 1)[:, None] * rule.alpha)
        return rule.ring_weights * phase * small_d(lam, rule.beta)[:, :, self.n + lam].T

    def rows(self, lam: int) -> NDArray[np.int64]:
        """Rows of one λ: real parts, then imaginary parts."""
        real = np.arange(self._starts[lam - self.n], self._starts[lam - self.n + 1])
        return np.concatenate([real, real + self._starts[-1]])

    def matrix(self, rings: slice, *, like: Any) -> Any:
        """(rows, rings · 1 or 2) in the library, dtype and device of another array; kept for the next call."""
        key = (rings.start, rings.stop, array_namespace(like).__name__, like.dtype, device(like))
        if key not in self._converted:
            self._converted[key] = as_like(self._matrix[:, rings].reshape(len(self._matrix), -1), like)
        return self._converted[key]


def bands_of(rule: Quadrature) -> list[Band]:
    """The matrices of a rule for n = 0 … l_max; made once for each rule, as all layers share them."""
    if not hasattr(rule, "_bands"):
        object.__setattr__(rule, "_bands", [Band(rule, n) for n in range(rule.l_max + 1)])
    return rule._bands  # type: ignore[attr-defined]


class RandomEstimator:
    """Unbiased power per irrep from random rotations, of its own for every input.

    B̂_α = d_λ / (n(n−1)) Σ_{i≠j} χ_λ(R_iᵀ R_j) u_i · u_j for each parity half u. For λ > 0 a constant in u drops out
    on average but not from the noise; so each pair enters as (u_i − c_ij) · (u_j − c_ij) with c_ij the mean of all the
    other responses, which leaves the estimate unbiased, as c_ij does not depend on R_i and R_j. There is no aliasing
    whatever the bandwidth of u. A single input is noisy: the estimate is meant for averages over many inputs, and the
    jackknife over inputs is right because no two inputs share their rotations.

    Parameters
    ----------
    group
        ``SO3()`` or ``O3()``.
    l_max
        Largest λ reported.
    rotations
        (samples, n, 3, 3) Haar-uniform proper rotations, drawn for every input anew, as
        ``group.rotations((samples, n), rng)`` gives them; n ≥ 3.

    Raises
    ------
    SpectrumError
        Fewer than three rotations, another shape, or rotations that the inputs share.

    Examples
    --------
    >>> from jetsym.spectrum import SO3, RandomEstimator
    >>> x = np.random.default_rng(1).normal(size=(200, 3))
    >>> rotations = SO3().rotations((200, 32), np.random.default_rng(0))
    >>> estimator = RandomEstimator(SO3(), 2, rotations)
    >>> estimator.add(slice(0, 32), np.einsum("snij,sj->nsi", rotations, x))
    >>> spectrum = estimator.result()
    >>> bool(np.all(np.abs(spectrum.fractions - [0, 1, 0]) < 4 * spectrum.stderr + 1e-12))
    True
    """

    def __init__(self, group: SO3, l_max: int, rotations: NDArray[np.float64]) -> None:
        if rotations.ndim != 4 or rotations.shape[2:] != (3, 3):
            raise SpectrumError(f"rotations have shape {rotations.shape}; expected (samples, n, 3, 3)")
        if rotations.shape[1] < 3:
            raise SpectrumError(f"{rotations.shape[1]} rotations per input; the unbiased estimator needs at least 3")
        if len(rotations) > 1 and np.array_equal(rotations[0], rotations[1]):
            raise SpectrumError(
                "inputs share their rotations, which makes the errors wrong; draw them anew for every input"
            )
        self.group = group
        self.irreps = group.irreps(l_max)
        self.l_max = l_max
        self.rotations = rotations
        self._responses: list[tuple[slice, tuple[Any, ...]]] = []
        self._norm = np.zeros(len(rotations))
        self._columns = Columns(0)
        self._eps = 0.0

    def add(self, chunk: slice, u_proper: Any, u_improper: Any = None, *, mask: Any = None) -> None:
        """Add the responses to the rotations ``[:, chunk]``; arguments and errors as for the quadrature."""
        responses = prepare(self.group, chunk.stop - chunk.start, u_proper, u_improper, mask=mask)
        samples, n = self.rotations.shape[:2]
        if responses.columns.samples != samples:
            raise SpectrumError(f"responses of {responses.columns.samples} inputs; there are rotations for {samples}")
        for u in responses.cosets:
            self._norm += responses.columns.squared_norms(u).sum(axis=0) / (n * len(responses.cosets))
        check_finite(self._norm)
        self._responses.append((chunk, responses.cosets))
        self._columns, self._eps = responses.columns, responses.eps

    def result(self) -> Spectrum:
        """The spectrum of all inputs, once every rotation's responses were added."""
        n = self.rotations.shape[1]
        covered = sorted(index for chunk, _ in self._responses for index in range(chunk.start, chunk.stop))
        if covered != list(range(n)):
            raise SpectrumError(f"responses to {len(covered)} of {n} rotations were added; add all of them once")
        relative = np.einsum("siab,sjac->sijbc", self.rotations, self.rotations)
        kernel = characters(self.l_max, relative)  # (samples, n, n, λ)
        kernel[:, np.arange(n), np.arange(n)] = 0.0
        pair_sums = []  # for each parity half (samples, λ)
        for gram in self._grams():
            sums = np.einsum("sijl,sij->sl", kernel, centred_gram(gram))
            sums[:, 0] = np.einsum("sij,sij->s", kernel[..., 0], gram)
            pair_sums.append(sums / (n * (n - 1)))
        power = [irrep.dimension * pair_sums[half_of(irrep)][:, irrep.lam] for irrep in self.irreps]
        return Spectrum(self.irreps, np.stack(power, axis=-1), self._norm, n, rounding_floor(self._eps), "random")

    def _grams(self) -> list[NDArray[np.float64]]:
        """(samples, n, n) scalar products of the responses of each input, for each parity half."""
        order = np.argsort(np.concatenate([np.arange(chunk.start, chunk.stop) for chunk, _ in self._responses]))
        xp = array_namespace(*self._responses[0][1])
        chunks = zip(*(cosets for _, cosets in self._responses), strict=True)
        cosets = tuple(xp.concat(list(coset), axis=0) for coset in chunks)
        grams = []
        for half in parity_halves(cosets):
            by_sample = [half[:, columns] for columns in self._columns.slices(half.shape[1])]
            products = np.stack([to_numpy(u @ xp.matrix_transpose(u)).astype(np.float64) for u in by_sample])
            grams.append(products[:, order][:, :, order])
        return grams


def centred_gram(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """(u_i − c_ij) · (u_j − c_ij) from u_i · u_j (…, n, n), with c_ij the mean of the other n − 2 vectors."""
    n = gram.shape[-1]
    squares = np.diagonal(gram, axis1=-2, axis2=-1)
    with_sum = gram.sum(axis=-1)
    pair_with_sum = with_sum[..., :, None] + with_sum[..., None, :]
    pair_squares = squares[..., :, None] + squares[..., None, :]
    pair_with_others = pair_with_sum - pair_squares - 2 * gram
    others_squared = with_sum.sum(axis=-1)[..., None, None] - 2 * pair_with_sum + pair_squares + 2 * gram
    return gram - pair_with_others / (n - 2) + others_squared / (n - 2) ** 2
