"""Estimators of the symmetry content B_α: exact by quadrature, unbiased by random rotations; and of window energies.

All of them stream. They take the raw responses of a network along the orbit of its inputs, f(R·x) and f(−R·x), as
arrays of any library that follows the array API (numpy, torch, jax, …), and do their arithmetic there; only the results
come back as numpy.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from jetsym.arguments import array, at_least, checked
from jetsym.errors import SpectrumError
from jetsym.spectrum.accumulation import Accumulation
from jetsym.spectrum.finite import FiniteGroup, FiniteRule
from jetsym.spectrum.groups import Group
from jetsym.spectrum.heldout import HeldOut, HeldOutElements, HeldOutResponses
from jetsym.spectrum.irreps import Irrep
from jetsym.spectrum.projection import Matrices, State, advance, matrices_of, parity_halves, powers_of
from jetsym.spectrum.quadrature import Quadrature
from jetsym.spectrum.responses import EPS, InputColumns, check_finite, prepare, rounding_floor, to_numpy
from jetsym.spectrum.result import Spectrum, WindowEnergies
from jetsym.spectrum.windows import Window

__all__ = ["QuadratureEstimator", "RandomEstimator", "WindowEstimator"]


class QuadratureEstimator:
    """Exact power per irrep, from all rotations of a rule.

    The state is one complex coefficient per (λ, m, n ≥ 0), coset and feature: it does not grow with the number of
    rotations. :mod:`jetsym.spectrum.projection` says by which matrix products it comes about.

    Parameters
    ----------
    rule
        The rule; ``rule.l_max`` is the largest λ (or m) reported.
    group
        ``SO3()``, ``O3()`` to split parity with the responses under −R, or the ``SO2(axis)`` that made the rule.
    accumulate
        None accumulates in the dtype of the responses, "float64" in double precision.

    Notes
    -----
    B_λσ = d_λ ‖∫ D^λσ(g)* u(g) dμ‖² after Domina, Abbott, Pegolo, Bigi, Ceriotti, arXiv:2603.24638. Exact to rounding
    when the rule's degree is at least λ plus the bandwidth of u. For SO(2), B_m is the power of e^{±imφ} together.

    ``add`` checks and keeps account. Underneath is the pure function ``update`` of a state, which ``jax.jit`` can
    compile: see its example.

    Raises
    ------
    SpectrumError
        The rule belongs to another group.

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

    @checked(SpectrumError)
    def __init__(self, rule: Quadrature | FiniteRule, group: Group, *, accumulate: str | None = None) -> None:
        check_accumulate(accumulate)
        check_axis(rule, group)
        self.rule = rule
        self.group = group
        self.accumulate = accumulate
        self._sum = Accumulation(rule)
        self._held_out: HeldOutResponses | None = None

    @checked(SpectrumError, u_proper=array, u_improper=array, mask=array)
    def add(self, chunk: slice, u_proper: Any, u_improper: Any = None, *, mask: Any = None) -> None:
        """Add the responses to the rotations of one chunk.

        Parameters
        ----------
        chunk
            A slice from ``rule.chunks``; every ring must be added exactly once.
        u_proper, u_improper
            (n_chunk, samples, features…) responses f(R·x) and f(−R·x); the second is None for SO(3) and SO(2). Complex
            features count as two real ones.
        mask
            (samples, tokens) bool for token features (n_chunk, samples, tokens, features…): False tokens are left out.

        Raises
        ------
        SpectrumError
            Chunks that cut or repeat a ring, shapes that do not fit, or responses that are not finite.
        """
        n_chunk = self._sum.check(chunk)
        responses = prepare(self.group, n_chunk, u_proper, u_improper, mask=mask, accumulate=self.accumulate)
        self._sum.add(chunk, responses)

    def add_held_out(
        self, elements: HeldOutElements, chunk: slice, u_proper: Any, u_improper: Any = None, *, mask: Any = None
    ) -> None:
        """Add the responses to a chunk of held-out elements, before or after those of the rule.

        Parameters
        ----------
        elements
            Elements of each input's own.
        chunk
            Slice of them; in their order, and all of them before the result.
        u_proper, u_improper, mask
            As for :meth:`add`: (n_chunk, samples, features…).

        Raises
        ------
        SpectrumError
            Elements of another rule, out of order, or shapes that do not fit.
        """
        responses = prepare(
            self.group, chunk.stop - chunk.start, u_proper, u_improper, mask=mask, accumulate=self.accumulate
        )
        self._held_out = held_out_of(self._held_out, elements, self.rule)
        self._held_out.add(chunk, responses)

    def result(self) -> Spectrum:
        """Return the spectrum of all inputs, once every ring was added, with what held-out elements say of it.

        Raises
        ------
        SpectrumError
            Rings, or held-out elements, are missing.
        """
        state, columns = self._sum.halves(), self._sum.columns
        spectrum = self._spectrum(state, columns, self._sum.eps)
        if self._held_out is None:
            return spectrum
        halves = self._held_out.compare(state, columns)
        squares = np.sum([half[0] for half in halves], axis=0)
        cross, pairs = (
            np.stack([halves[half_of(irrep)][place][..., irrep.lam] for irrep in spectrum.irreps], axis=-1)
            for place in (1, 2)
        )
        return replace(spectrum, held_out=HeldOut(spectrum.power, squares, cross, pairs))

    def held_out_residuals(self) -> Any:
        """Return r = u − ũ at the held-out elements, of even parity, as (samples, k, features)."""
        assert self._held_out is not None
        even = self._held_out.residuals(self._sum.halves(), self._sum.columns)[0]
        return array_namespace(even[0][1]).concat([r for _, r in even], axis=0)

    def matrices(self, chunk: slice, *, like: Any) -> Matrices:
        """Return the factors of a chunk's responses for ``update``, in the library, dtype and device of ``like``.

        ``like`` is any real array of the dtype to accumulate in. They are alike for all layers, and kept by the rule.
        """
        return matrices_of(self.rule, chunk, like=like)

    def update(self, state: State | None, matrices: Matrices, u_proper: Any, u_improper: Any = None) -> State:
        """Return the state after one more chunk, as a pure function of arrays: None is the state before the first.

        It knows nothing of which chunks there were, nor looks at values. Chunks of one size compile once. Padding of
        token features is to be set to zero. (For torch use ``add``, or go on with the returned state only: torch
        coefficients are updated in place.)

        Examples
        --------
        >>> import jax
        >>> from jetsym.spectrum import SO3, QuadratureEstimator
        >>> rule = SO3().quadrature(1)
        >>> estimator = QuadratureEstimator(rule, SO3())
        >>> state, step = None, jax.jit(estimator.update)
        >>> for chunk in rule.chunks(9):
        ...     rotations = jax.numpy.asarray(rule.rotations[chunk])
        ...     responses = rotations @ jax.numpy.ones((1, 3, 1))  # one input, one vector
        ...     state = step(state, estimator.matrices(chunk, like=rotations), responses[:, None, :, 0])
        >>> estimator.spectrum(state).fractions.round(6) + 0.0
        array([0., 1.])
        """
        n_chunk = int(matrices.weights.shape[0])
        return advance(state, matrices, prepare(self.group, n_chunk, u_proper, u_improper, accumulate=self.accumulate))

    def spectrum(self, state: State) -> Spectrum:
        """Return the spectrum that belongs to the state after all chunks, as ``update`` returned it.

        Raises
        ------
        SpectrumError
            Some responses were not finite.
        """
        check_finite(to_numpy(state.norm))
        eps = float(array_namespace(state.norm).finfo(state.norm.dtype).eps)
        halves = State(state.norm, parity_halves(state.coefficients))
        return self._spectrum(halves, InputColumns(int(state.norm.shape[0])), eps)

    def _spectrum(self, state: State, columns: InputColumns, eps: float) -> Spectrum:
        irreps = self.group.irreps(self.rule.l_max)
        halves = powers_of(self.rule, state.coefficients, columns)
        power = np.stack([halves[half_of(irrep)][:, irrep.lam] for irrep in irreps], axis=-1)
        norm = to_numpy(state.norm).astype(np.float64)
        # The elements are rounded as well, to float64, and move what has λ by up to λ times that.
        floor = rounding_floor(max(eps, EPS["float64"] * self.rule.l_max / 2))
        return Spectrum(irreps, power, norm, len(self.rule), floor, "quadrature")


class WindowEstimator:
    """Window energies B_n = ‖∫ p_n(y) u(y) dμ(y)‖² of a declared measure on rapidity, from all nodes of a window.

    The state is one coefficient per node and feature.

    Parameters
    ----------
    window
        Nodes, weights and polynomials, from :func:`~jetsym.spectrum.windows.rapidity_window`.
    accumulate
        None accumulates in the dtype of the responses, "float64" in double precision.

    Examples
    --------
    >>> from jetsym.spectrum import WindowEstimator, rapidity_window
    >>> window = rapidity_window("uniform", 1.5, 2)
    >>> estimator = WindowEstimator(window)
    >>> for chunk in window.chunks(4):
    ...     estimator.add(chunk, 1 + 2 * window.rapidity[chunk, None])  # one input, u(y) = 1 + 2y
    >>> energies = estimator.result()
    >>> energies.power.round(12) + 0.0  # 1² and 2² Var(y), Var(y) = 1.5²/3
    array([[1., 3., 0.]])
    >>> energies.deviation.round(12)
    array([3.])
    """

    @checked(SpectrumError)
    def __init__(self, window: Window, *, accumulate: str | None = None) -> None:
        check_accumulate(accumulate)
        self.window = window
        self.accumulate = accumulate
        self._sum = Accumulation(window)
        self._held_out: HeldOutResponses | None = None

    @checked(SpectrumError, responses=array, mask=array)
    def add(self, chunk: slice, responses: Any, *, mask: Any = None) -> None:
        """Add the responses to the boosts of one chunk.

        Parameters
        ----------
        chunk
            A slice from ``window.chunks``; every node must be added exactly once.
        responses
            (n_chunk, samples, features…) u(y). Complex features count as two real ones.
        mask
            (samples, tokens) bool for token features (n_chunk, samples, tokens, features…): False tokens are left out.

        Raises
        ------
        SpectrumError
            Chunks that repeat a node, shapes that do not fit, or responses that are not finite.
        """
        n_chunk = self._sum.check(chunk)
        self._sum.add(chunk, prepare(None, n_chunk, responses, None, mask=mask, accumulate=self.accumulate))

    def add_held_out(self, elements: HeldOutElements, chunk: slice, responses: Any, *, mask: Any = None) -> None:
        """Add the responses to a chunk of held-out rapidities; see :meth:`QuadratureEstimator.add_held_out`."""
        n_chunk = chunk.stop - chunk.start
        self._held_out = held_out_of(self._held_out, elements, self.window)
        self._held_out.add(chunk, prepare(None, n_chunk, responses, None, mask=mask, accumulate=self.accumulate))

    def result(self) -> WindowEnergies:
        """Return the window energies of all inputs, once every node was added, with what held-out rapidities say.

        Raises
        ------
        SpectrumError
            Nodes are missing.
        """
        state = self._sum.halves()
        (power,) = powers_of(self.window, state.coefficients, self._sum.columns)
        held_out = None
        if self._held_out is not None:
            ((squares, cross, pairs),) = self._held_out.compare(state, self._sum.columns)
            held_out = HeldOut(power, squares, cross, pairs)
        return WindowEnergies(
            self.window,
            power[:, : self.window.n_max + 1],
            to_numpy(state.norm).astype(np.float64),
            power[:, 1:].sum(axis=1),
            rounding_floor(self._sum.eps),
            held_out,
        )

    def held_out_residuals(self) -> Any:
        """Return r = u − ũ at the held-out rapidities, as (samples, k, features)."""
        assert self._held_out is not None
        even = self._held_out.residuals(self._sum.halves(), self._sum.columns)[0]
        return array_namespace(even[0][1]).concat([r for _, r in even], axis=0)


def check_accumulate(accumulate: str | None) -> None:
    if accumulate not in (None, "float64"):
        raise SpectrumError(f"accumulate is {accumulate!r}; expected None (the response's dtype) or 'float64'")


def held_out_of(
    before: HeldOutResponses | None, elements: HeldOutElements, rule: Quadrature | FiniteRule | Window
) -> HeldOutResponses:
    """Return what collects responses to held-out elements; refuse those of another rule, or others than before."""
    if elements.rule is not rule or (before is not None and before.elements is not elements):
        raise SpectrumError("these held-out elements are of another rule, or others than before; expected the same")
    return before or HeldOutResponses(elements)


def check_axis(rule: Quadrature | FiniteRule, group: Group) -> None:
    """Refuse a rule that does not belong to a group: to all rotations, those about the same axis, or its elements."""
    if isinstance(rule, FiniteRule) or isinstance(group, FiniteGroup):
        fits = isinstance(rule, FiniteRule) and rule.group is group
    else:
        rules, groups = ([] if axis is None else axis.tolist() for axis in (rule.axis, group.axis))
        fits = rules == groups
    if not fits:
        described = "SO(3)" if rule.axis is None else f"SO(2) about {rule.axis}"
        described = repr(rule.group) if isinstance(rule, FiniteRule) else described
        raise SpectrumError(f"the rule is one of {described}; expected one of {group!r}: take its quadrature(l_max)")


def half_of(irrep: Irrep) -> int:
    """Return the number of the parity half that holds an irrep."""
    return 1 if irrep.parity == -1 else 0


class RandomEstimator:
    """Unbiased power per irrep from random rotations, of its own for every input.

    B̂_α = 1 / (n(n−1)) Σ_{i≠j} κ_λ(R_iᵀ R_j) u_i · u_j for each parity half u. The kernels κ project on the irreps:
    κ_λ = d_λ χ_λ for SO(3) and O(3), and κ_0 = 1, κ_m = 2 cos mφ for SO(2). For λ > 0 a constant in u drops out on
    average but not from the noise; so each pair enters as (u_i − c_ij) · (u_j − c_ij) with c_ij the mean of all the
    other responses, which leaves the estimate unbiased, as c_ij does not depend on R_i and R_j. There is no aliasing
    whatever the bandwidth of u. A single input is noisy: the estimate is meant for averages over many inputs, and the
    jackknife over inputs is right because no two inputs share their rotations.

    Parameters
    ----------
    group
        ``SO3()``, ``O3()`` or ``SO2(axis)``.
    l_max
        Largest λ (or m) reported.
    rotations
        (samples, n, 3, 3) Haar-uniform proper rotations, drawn for every input anew, as
        ``group.rotations((samples, n), rng)`` gives them; n ≥ 3.

    Raises
    ------
    SpectrumError
        Fewer than three rotations, another shape, rotations that the inputs share, or that move the axis of SO(2).

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

    @checked(SpectrumError, l_max=at_least(0))
    def __init__(self, group: Group, l_max: int, rotations: NDArray[np.float64]) -> None:
        if rotations.ndim != 4 or rotations.shape[2:] != (3, 3):
            raise SpectrumError(f"rotations have shape {rotations.shape}; expected (samples, n, 3, 3)")
        if rotations.shape[1] < 3:
            raise SpectrumError(f"{rotations.shape[1]} rotations per input; the unbiased estimator needs at least 3")
        if len(rotations) > 1 and np.array_equal(rotations[0], rotations[1]):
            raise SpectrumError(
                "inputs share their rotations, which makes the errors wrong; draw them anew for every input"
            )
        if group.axis is not None and not np.allclose(rotations @ group.axis, group.axis, atol=1e-6):
            raise SpectrumError(f"some rotations move the axis of {group!r}; draw them with its rotations(shape, rng)")
        self.group = group
        self.irreps = group.irreps(l_max)
        self.l_max = l_max
        self.rotations = rotations
        self._responses: list[tuple[slice, tuple[Any, ...]]] = []
        self._norm = np.zeros(len(rotations))
        self._columns = InputColumns(0)
        self._eps = 0.0
        self._influence: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    @checked(SpectrumError, u_proper=array, u_improper=array, mask=array)
    def add(self, chunk: slice, u_proper: Any, u_improper: Any = None, *, mask: Any = None) -> None:
        """Add the responses to the rotations ``[:, chunk]``; arguments and errors as for the quadrature."""
        # Small irreps are differences of large scalar products: in float64, or rounding would drown them.
        options = {"mask": mask, "accumulate": "float64"}
        responses = prepare(self.group, chunk.stop - chunk.start, u_proper, u_improper, **options)
        samples, n = self.rotations.shape[:2]
        if responses.columns.samples != samples:
            raise SpectrumError(f"responses of {responses.columns.samples} inputs; there are rotations for {samples}")
        for u in responses.cosets:
            squares = to_numpy(responses.columns.squared_norms(u)).astype(np.float64)
            self._norm += squares.sum(axis=0) / (n * len(responses.cosets))
        check_finite(self._norm)
        self._responses.append((chunk, responses.cosets))
        self._columns, self._eps = responses.columns, responses.eps

    def result(self) -> Spectrum:
        """Return the spectrum of all inputs, once every rotation's responses were added."""
        n = self.rotations.shape[1]
        covered = sorted(index for chunk, _ in self._responses for index in range(chunk.start, chunk.stop))
        if covered != list(range(n)):
            raise SpectrumError(f"responses to {len(covered)} of {n} rotations were added; add all of them once")
        power = self.influence()[0].mean(axis=1) / 2  # every pair has two rotations
        return Spectrum(self.irreps, power, self._norm, n, rounding_floor(self._eps), "random")

    def influence(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return what each rotation of an input makes of its power and norm, once all responses were added.

        Returns
        -------
        power
            (samples, n, irreps) 2/(n−1) Σ_{j≠i} κ_λ(R_iᵀ R_j) u_i · u_j, whose mean over rotations is twice the power.
        norm
            (samples, n) ‖u_i‖², averaged over R and −R.
        """
        if self._influence is None:
            n = self.rotations.shape[1]
            relative = np.einsum("siab,sjac->sijbc", self.rotations, self.rotations)
            kernel = self.group.kernels(self.l_max, relative)  # (samples, n, n, λ)
            kernel[:, np.arange(n), np.arange(n)] = 0.0
            norm, pair_sums = np.zeros(self.rotations.shape[:2]), []  # for each parity half (samples, n, λ)
            for gram in self._grams():
                sums = np.einsum("sijl,sij->sil", kernel, centred_gram(gram))
                sums[..., 0] = np.einsum("sij,sij->si", kernel[..., 0], gram)
                pair_sums.append(2 * sums / (n - 1))
                norm += np.diagonal(gram, axis1=1, axis2=2)
            power = [pair_sums[half_of(irrep)][..., irrep.lam] for irrep in self.irreps]
            self._influence = np.stack(power, axis=-1), norm
        return self._influence

    def _grams(self) -> list[NDArray[np.float64]]:
        """Compute (samples, n, n) scalar products of the responses of each input, for each parity half."""
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
    """Compute (u_i − c_ij) · (u_j − c_ij) from u_i · u_j (…, n, n), with c_ij the mean of the other n − 2 vectors."""
    n: int = gram.shape[-1]
    squares = np.diagonal(gram, axis1=-2, axis2=-1)
    with_sum = gram.sum(axis=-1)
    pair_with_sum = with_sum[..., :, None] + with_sum[..., None, :]
    pair_squares = squares[..., :, None] + squares[..., None, :]
    pair_with_others: NDArray[np.float64] = pair_with_sum - pair_squares - 2 * gram
    others_squared: NDArray[np.float64] = (
        with_sum.sum(axis=-1)[..., None, None] - 2 * pair_with_sum + pair_squares + 2 * gram
    )
    return gram - pair_with_others / (n - 2) + others_squared / (n - 2) ** 2
