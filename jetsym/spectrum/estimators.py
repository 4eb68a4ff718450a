"""Estimators of the symmetry content B_α: exact by quadrature, unbiased by random rotations. Both stream.

Both take the raw responses of a network along the orbit of its inputs, f(R·x) and f(−R·x), as arrays of any library
that follows the array API (numpy, torch, …), and do their arithmetic there; only the results come back as numpy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_array_api_strict_namespace, is_torch_array, to_device
from numpy.typing import NDArray

from jetsym.errors import SpectrumError
from jetsym.spectrum.groups import SO3
from jetsym.spectrum.quadrature import Quadrature
from jetsym.spectrum.result import Spectrum
from jetsym.spectrum.wigner import characters, small_d

__all__ = ["QuadratureEstimator", "RandomEstimator", "rounding_floor", "to_numpy"]

#: Rounding of a response and of its accumulation, in units of the dtype's eps, that the noise floor allows for.
ROUNDING_FACTOR = 8.0


def to_numpy(array: Any) -> NDArray[Any]:
    """A numpy view or copy of an array of any library, wherever it lives."""
    if isinstance(array, np.ndarray):
        return array
    if is_torch_array(array):
        array = array.detach()  # torch refuses to export tensors that require gradients
    on_host = array if is_array_api_strict_namespace(array_namespace(array)) else to_device(array, "cpu")
    return np.from_dlpack(on_host)


def rounding_floor(eps: float) -> float:
    """The noise floor of a spectrum, as a fraction of power, for a relative rounding eps of the responses.

    By Parseval all irreps together hold no more of a rounding error than its own power, (ROUNDING_FACTOR · eps)².
    """
    return (ROUNDING_FACTOR * eps) ** 2


class QuadratureEstimator:
    """Exact power per irrep, from all rotations of a rule.

    For every γ-ring the responses are Fourier-transformed over γ by one matrix product with the K angles, then for
    every n ≥ 0 one product with w e^{−imα} d^λ_mn(β) gives all (λ, m) at once; as responses are real, n and −n hold the
    same power. Cosines and sines are kept apart, so everything is a product of real matrices. The state is one complex
    coefficient per (λ, m, n ≥ 0), parity and feature: it does not grow with the number of rotations.

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
        self._bands = [_Band(rule, n) for n in range(rule.l_max + 1)]
        self._coefficients: list[Any] = []
        self._norm: NDArray[np.float64] | None = None
        self._halves: tuple[int, int] = (0, 0)
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
        halves, norm, self._eps = _prepare(
            self.group, chunk.stop - chunk.start, u_proper, u_improper, mask, self.accumulate
        )
        xp = array_namespace(halves)
        _, n_halves, samples, features = halves.shape
        count = rings.stop - rings.start
        weights = self.rule.ring_weights[rings, None] / self.rule.ring_size
        norm = (weights[..., None] * norm.reshape(count, -1, samples)).sum(axis=(0, 1))
        self._norm = norm if self._norm is None else self._norm + norm

        by_ring = xp.reshape(halves, (count, self.rule.ring_size, n_halves * samples * features))
        fourier = _ring_transform(self.rule, like=halves) @ by_ring  # (rings, 2·l_max+1, columns): cos 0…, sin 1…
        for n, band in enumerate(self._bands):
            update = band.cosine(rings, like=halves) @ fourier[:, n, :]
            if n:
                update = update + band.sine(rings, like=halves) @ fourier[:, self.rule.l_max + n, :]
            if len(self._coefficients) <= n:
                self._coefficients.append(update)
            else:
                self._coefficients[n] += update
        self._halves = (n_halves, samples)
        self._seen[rings] = True

    def result(self) -> Spectrum:
        """The spectrum of all inputs, once every ring was added.

        Raises
        ------
        SpectrumError
            Rings are missing.
        """
        if self._norm is None or not self._seen.all():
            missing = int((~self._seen).sum())
            raise SpectrumError(f"{missing} of {len(self._seen)} rings were not added; add every chunk of the rule")
        n_halves, samples = self._halves
        irreps = self.group.irreps(self.rule.l_max)
        power = np.zeros((samples, len(irreps)))
        for n, (band, coefficients) in enumerate(zip(self._bands, self._coefficients, strict=True)):
            xp = array_namespace(coefficients)
            squares = xp.sum(xp.reshape(coefficients, (coefficients.shape[0], n_halves, samples, -1)) ** 2, axis=-1)
            by_row = to_numpy(squares).astype(float) * (2.0 if n else 1.0)
            for index, irrep in enumerate(irreps):
                if irrep.lam >= n:
                    half = 0 if irrep.parity in (None, 1) else 1
                    power[:, index] += irrep.dimension * by_row[band.rows[irrep.lam], half].sum(axis=0)
        return Spectrum(irreps, power, self._norm, len(self.rule), rounding_floor(self._eps), "quadrature")


class _Band:
    """The matrices w e^{−imα} d^λ_mn(β) of one n: rows are (real, imaginary) × (λ ≥ n, m), columns are rings."""

    def __init__(self, rule: Quadrature, n: int) -> None:
        d_columns, self.rows, start = [], {}, 0
        total = sum(2 * lam + 1 for lam in range(n, rule.l_max + 1))
        for lam in range(n, rule.l_max + 1):
            size = 2 * lam + 1
            phase = np.exp(-1j * np.arange(-lam, lam + 1)[:, None] * rule.alpha)
            d_columns.append(rule.ring_weights * phase * small_d(lam, rule.beta)[:, :, n + lam].T)
            real = np.arange(start, start + size)
            self.rows[lam] = np.concatenate([real, real + total])
            start += size
        matrix = np.concatenate(d_columns)
        # (x + iy)(c − is) = (xc + ys) + i(yc − xs): c and s are the ring's cosine and sine transforms.
        self._cosine = np.concatenate([matrix.real, matrix.imag])
        self._sine = np.concatenate([matrix.imag, -matrix.real])
        self._converted: dict[tuple[str, Any, Any], Any] = {}

    def cosine(self, rings: slice, *, like: Any) -> Any:
        return self._converted_to("cosine", self._cosine, like)[:, rings]

    def sine(self, rings: slice, *, like: Any) -> Any:
        return self._converted_to("sine", self._sine, like)[:, rings]

    def _converted_to(self, name: str, matrix: NDArray[np.float64], like: Any) -> Any:
        key = (name, like.dtype, device(like))
        if key not in self._converted:
            self._converted[key] = _as_like(matrix, like)
        return self._converted[key]


def _ring_transform(rule: Quadrature, *, like: Any) -> Any:
    """(2·l_max+1, K) matrix of the cosine (n = 0 … l_max) and sine (n = 1 … l_max) transforms over γ."""
    angles = np.arange(rule.l_max + 1)[:, None] * rule.gamma
    return _as_like(np.concatenate([np.cos(angles), np.sin(angles[1:])]) / rule.ring_size, like)


def _as_like(matrix: NDArray[np.float64], like: Any) -> Any:
    xp = array_namespace(like)
    return xp.asarray(matrix, dtype=like.dtype, device=device(like))


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
        self._responses: list[tuple[slice, Any]] = []
        self._norm: NDArray[np.float64] | None = None
        self._eps = 0.0

    def add(self, chunk: slice, u_proper: Any, u_improper: Any = None, *, mask: Any = None) -> None:
        """Add the responses to the rotations ``[:, chunk]``; arguments and errors as for the quadrature."""
        halves, norm, self._eps = _prepare(self.group, chunk.stop - chunk.start, u_proper, u_improper, mask, None)
        samples, n = self.rotations.shape[:2]
        if halves.shape[2] != samples:
            raise SpectrumError(f"responses of {halves.shape[2]} inputs; there are rotations for {samples}")
        self._responses.append((chunk, halves))
        norm = norm.sum(axis=0) / n
        self._norm = norm if self._norm is None else self._norm + norm

    def result(self) -> Spectrum:
        """The spectrum of all inputs, once every rotation's responses were added."""
        n = self.rotations.shape[1]
        covered = sorted(index for chunk, _ in self._responses for index in range(chunk.start, chunk.stop))
        if self._norm is None or covered != list(range(n)):
            raise SpectrumError(f"responses to {len(covered)} of {n} rotations were added; add all of them once")
        relative = np.einsum("siab,sjac->sijbc", self.rotations, self.rotations)
        kernel = characters(self.l_max, relative)  # (samples, n, n, λ)
        kernel[:, np.arange(n), np.arange(n)] = 0.0
        gram = self._gram()  # (halves, samples, n, n)
        pair_sums = np.einsum("sijl,hsij->hsl", kernel, _centred_gram(gram)) / (n * (n - 1))
        pair_sums[:, :, 0] = np.einsum("sij,hsij->hs", kernel[..., 0], gram) / (n * (n - 1))
        power = np.stack(
            [irrep.dimension * pair_sums[0 if irrep.parity in (None, 1) else 1, :, irrep.lam] for irrep in self.irreps],
            axis=-1,
        )
        return Spectrum(self.irreps, power, self._norm, n, rounding_floor(self._eps), "random")

    def _gram(self) -> NDArray[np.float64]:
        """(halves, samples, n, n) scalar products of the responses of each input."""
        order = np.argsort(np.concatenate([np.arange(chunk.start, chunk.stop) for chunk, _ in self._responses]))
        xp = array_namespace(self._responses[0][1])
        responses = xp.concat([halves for _, halves in self._responses], axis=0)
        by_sample = xp.permute_dims(responses, (1, 2, 0, 3))
        gram = to_numpy(by_sample @ xp.matrix_transpose(by_sample)).astype(float)
        return gram[:, :, order][:, :, :, order]


def _centred_gram(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """(u_i − c_ij) · (u_j − c_ij) from u_i · u_j (…, n, n), with c_ij the mean of the other n − 2 vectors."""
    n = gram.shape[-1]
    squares = np.diagonal(gram, axis1=-2, axis2=-1)
    with_sum = gram.sum(axis=-1)
    pair_with_sum = with_sum[..., :, None] + with_sum[..., None, :]
    pair_squares = squares[..., :, None] + squares[..., None, :]
    pair_with_others = pair_with_sum - pair_squares - 2 * gram
    others_squared = with_sum.sum(axis=-1)[..., None, None] - 2 * pair_with_sum + pair_squares + 2 * gram
    return gram - pair_with_others / (n - 2) + others_squared / (n - 2) ** 2


def _prepare(
    group: SO3, n_chunk: int, u_proper: Any, u_improper: Any, mask: Any, accumulate: str | None
) -> tuple[Any, NDArray[np.float64], float]:
    """Check raw responses and split them by parity.

    Returns the halves (n_chunk, halves, samples, features) as real arrays, the norm ‖u‖² per rotation and input
    averaged over R and −R (n_chunk, samples), and the eps of the responses' dtype.
    """
    if group.has_inversion != (u_improper is not None):
        need = "responses to R and to −R" if group.has_inversion else "responses to R only (u_improper=None)"
        raise SpectrumError(f"{group.name} takes {need}")
    xp = array_namespace(u_proper)
    if not xp.isdtype(u_proper.dtype, ("real floating", "complex floating")):
        raise SpectrumError(f"responses have dtype {u_proper.dtype}; expected floating-point or complex numbers")
    eps = float(xp.finfo(u_proper.dtype).eps)
    proper = _flatten(xp, u_proper, n_chunk, mask, accumulate)
    if u_improper is None:
        halves = proper[:, None, ...]
    else:
        if tuple(u_improper.shape) != tuple(u_proper.shape):
            raise SpectrumError(f"u_improper has shape {tuple(u_improper.shape)}; u_proper has {tuple(u_proper.shape)}")
        improper = _flatten(xp, u_improper, n_chunk, mask, accumulate)
        halves = xp.stack([(proper + improper) / 2, (proper - improper) / 2], axis=1)
    norm = to_numpy(xp.sum(xp.sum(halves**2, axis=-1), axis=1)).astype(float)
    if not np.isfinite(norm).all():
        bad = int((~np.isfinite(norm)).sum())
        raise SpectrumError(
            f"{bad} of {norm.size} responses are not finite, or overflow when squared in {u_proper.dtype}"
        )
    return halves, norm, eps


def _flatten(xp: Any, u: Any, n_chunk: int, mask: Any, accumulate: str | None) -> Any:
    """Responses as (n_chunk, samples, features) real arrays in the dtype of accumulation, padding tokens zeroed."""
    if u.ndim < 2 or u.shape[0] != n_chunk:
        raise SpectrumError(f"responses have shape {tuple(u.shape)}; expected ({n_chunk}, samples, features…)")
    samples = u.shape[1]
    if mask is not None:
        if tuple(u.shape[1:3]) != tuple(mask.shape):
            raise SpectrumError(f"mask has shape {tuple(mask.shape)}; the responses' tokens are {tuple(u.shape[1:3])}")
        keep = xp.reshape(mask, (1, *mask.shape, *[1] * (u.ndim - 3)))
        u = xp.where(keep, u, xp.zeros_like(u))
    flat = xp.reshape(u, (n_chunk, samples, -1))
    if xp.isdtype(flat.dtype, "complex floating"):
        flat = xp.concat([xp.real(flat), xp.imag(flat)], axis=-1)
    if accumulate == "float64":
        return xp.astype(flat, xp.float64)
    if xp.finfo(flat.dtype).bits < 32:  # sums over an orbit need more than half precision
        return xp.astype(flat, xp.float32)
    return flat
