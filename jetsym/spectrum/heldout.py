"""Held-out elements: what a rule does not see, from responses at a few random elements of each input's own.

The coefficients of a rule rebuild the response up to l_max, ũ. What is beyond l_max, and what of it aliased into the
coefficients, is missing from ũ or too much in it: r(h) = u(h) − ũ(h) at elements h that the rule does not hold. As the
coefficients do not depend on h, averages over h are unbiased, whatever the bandwidth of u:

    unexplained  mean_h ‖r‖² = the power beyond l_max + the power of what aliased,
    B_α          B̂_α + (2/k) Σ_h ⟨ũ_α(h), r(h)⟩ + 1/(k(k−1)) Σ_{h≠h′} κ_α(h⁻¹h′) r(h) · r(h′),
    N            Σ B̂ + mean_h(‖u‖² − ‖ũ‖²) = Σ B̂ + mean_h(‖r‖² + 2⟨ũ, r⟩),

with B̂ of the rule, the kernel κ_α of the projector on the irrep, and each parity half (u(R) ± u(−R))/2 by itself. A
response that is band-limited has r = 0 to rounding, whatever the input: what is above is no chance. But what fills less
than about 1/(2k · inputs) of the orbit can still be missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
from array_api_compat import array_namespace, device
from numpy.typing import NDArray
from scipy.stats import norm as normal, t as student

from jetsym.arguments import checked
from jetsym.errors import SpectrumError
from jetsym.spectrum.bands import bands_of, basis_at, rows_of
from jetsym.spectrum.projection import State, parity_halves
from jetsym.spectrum.quadrature import Quadrature
from jetsym.spectrum.responses import InputColumns, Responses, as_like, check_finite, to_numpy
from jetsym.spectrum.windows import Window

__all__ = ["Estimates", "HeldOut", "HeldOutElements", "HeldOutResponses", "chance", "is_beyond_chance"]

Array = NDArray[np.float64]


class Estimates(NamedTuple):
    """Unbiased power (samples, components), norm (samples,) and unexplained power (samples,)."""

    power: Array
    norm: Array
    unexplained: Array


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The findings at k held-out elements of each input: sums of squares, which add over features.

    Parameters
    ----------
    power
        (samples, components) B̂ of the rule.
    squares
        (samples, k) ‖r(h)‖².
    cross
        (samples, k, components) 2⟨ũ_α(h), r(h)⟩.
    pairs
        (samples, k, components) Σ_{h′≠h} κ_α(h⁻¹h′) r(h) · r(h′).
    """

    power: Array
    squares: Array
    cross: Array
    pairs: Array

    def estimates(self) -> Estimates:
        """Return the estimates."""
        k = self.squares.shape[1]
        power = self.power + self.cross.mean(axis=1) + self.pairs.sum(axis=1) / (k * (k - 1))
        return Estimates(power, self.power.sum(axis=1) + self.of_norm.mean(axis=1), self.squares.mean(axis=1))

    def is_significant(self, norm: Array) -> bool:
        """Return whether the estimates differ from the rule in some component, or in its norm, by more than chance."""
        power, unbiased, _ = self.estimates()
        change = np.concatenate([power - self.power, (unbiased - norm)[:, None]], axis=1)
        return is_beyond_chance(change, np.concatenate([self.influence(), self.of_norm[..., None]], axis=2))

    def influence(self) -> Array:
        """Return what each element of an input makes of its estimates (samples, k, components), but for a constant."""
        influence: Array = self.cross + 2 * self.pairs / (self.squares.shape[1] - 1)  # it is in two of every pair
        return influence

    @property
    def of_norm(self) -> Array:
        """(samples, k) ‖r‖² + 2⟨ũ, r⟩, whose mean is that of the norm less Σ B̂."""
        of_norm: Array = self.squares + self.cross.sum(axis=-1)
        return of_norm

    @classmethod
    def joined(cls, parts: Sequence[Self], combine: Any) -> Self:
        """Join or add the findings about batches of inputs, or about blocks of features."""
        names = ("power", "squares", "cross", "pairs")
        return cls(**{name: combine([getattr(part, name) for part in parts]) for name in names})


def chance(influence: Array) -> Array:
    """Return the standard error of a sum over inputs from the spread over the elements of each, (samples, k, …)."""
    error: Array = np.sqrt(influence.var(axis=1, ddof=1).sum(axis=0) / influence.shape[1])
    return error


def is_beyond_chance(change: Array, influence: Array) -> bool:
    """Return whether changes (samples, …), summed over these very inputs, are more than the chance of their elements.

    That is the spread of their influence over the elements of each input, (samples, k, …), with Student's t for as many
    degrees of freedom, at the tail of three standard deviations of a normal, shared by all that are looked at.
    """
    samples, k = influence.shape[:2]
    error = chance(influence)
    quantile = student.isf(normal.sf(3) / error.size, samples * (k - 1))
    return bool((np.abs(change.sum(axis=0)) > quantile * error).any())


class HeldOutElements:
    """Elements of each input's own, which all layers share, and what the functions of a rule are there.

    Parameters
    ----------
    rule
        A rule on SO(3) or SO(2), or a window.
    elements
        (k, samples, 3, 3) random proper rotations of the group, or (k, samples) rapidities of the window's measure,
        drawn for every input anew; k ≥ 3.

    Raises
    ------
    SpectrumError
        Too few elements, another shape, or elements that the inputs share.

    Examples
    --------
    A rule for l_max = 1 takes a response of λ = 9 for an invariant one and a tail:

    >>> from jetsym.spectrum import SO3, QuadratureEstimator
    >>> rule, rng = SO3().quadrature(1), np.random.default_rng(0)
    >>> response = lambda rotations: np.polynomial.legendre.legval(rotations[..., 2, 2], [1] + 8 * [0] + [1])
    >>> estimator = QuadratureEstimator(rule, SO3())
    >>> for chunk in rule.chunks(9):
    ...     estimator.add(chunk, response(rule.rotations[chunk])[:, None, None] * np.ones((64, 1)))
    >>> held_out = HeldOutElements(rule, SO3().rotations((8, 64), rng))
    >>> estimator.add_held_out(held_out, slice(0, 8), response(held_out.elements)[..., None])
    >>> spectrum = estimator.result()
    >>> spectrum.fractions.round(2), spectrum.unbiased().fractions.round(1)  # true: 0.95, 0
    (array([0.75, 0.25]), array([0.9, 0. ]))
    """

    @checked(SpectrumError)
    def __init__(self, rule: Quadrature | Window, elements: Array) -> None:
        if elements.ndim != (2 if isinstance(rule, Window) else 4) or len(elements) < 3:
            raise SpectrumError(
                f"held-out elements have shape {elements.shape}; expected (k, samples, 3, 3), or (k, samples) "
                "rapidities, with k of at least 3"
            )
        if elements.shape[1] > 1 and np.array_equal(elements[:, 0], elements[:, 1]):
            raise SpectrumError(
                "inputs share their held-out elements, which makes the errors wrong; draw them anew for every input"
            )
        self.rule, self.elements, bands = rule, elements, bands_of(rule)
        self._functions = np.swapaxes(np.concatenate(basis_at(rule, elements), axis=-1), 0, 1)
        self._lam = np.concatenate([band.lam for band in bands])
        self._weighted = self._functions * np.concatenate([band.factor for band in bands])
        self._converted: dict[Any, tuple[Any, Any]] = {}

    def __len__(self) -> int:
        return len(self.elements)

    @cached_property
    def kernels(self) -> Array:
        """(samples, k, k, λ) κ_λ(h⁻¹h′), kernels of the projectors on every λ."""
        of_each = [self._lam == lam for lam in range(1 + self._lam.max())]
        turned = np.swapaxes(self._functions, 1, 2)
        return np.stack([self._weighted[..., rows] @ turned[:, rows] for rows in of_each], axis=-1)

    @property
    def belonging(self) -> Array:
        """(rows, λ) which row of all bands, one after the other, belongs to which λ, mode m or polynomial."""
        return np.asarray(self._lam[:, None] == np.arange(1 + self._lam.max()), dtype=np.float64)

    def like(self, like: Any) -> tuple[Any, Any]:
        """Return the functions times their factors (samples, k, rows), and :attr:`belonging`, as arrays like another.

        They are made once for each library, type and device.
        """
        key = (array_namespace(like).__name__, like.dtype, device(like))
        if key not in self._converted:
            self._converted[key] = as_like(self._weighted, like), as_like(self.belonging, like)
        return self._converted[key]


class HeldOutResponses:
    """The responses of one layer to held-out elements, until the coefficients of the rule are complete."""

    def __init__(self, elements: HeldOutElements) -> None:
        self.elements = elements
        self._chunks: list[tuple[slice, tuple[Any, ...]]] = []

    def add(self, chunk: slice, responses: Responses) -> None:
        """Add responses to a chunk of the elements, in their order."""
        samples = self.elements.elements.shape[1]
        if responses.columns.samples != samples:
            raise SpectrumError(f"responses of {responses.columns.samples} inputs; held-out elements are of {samples}")
        if chunk.start != (self._chunks[-1][0].stop if self._chunks else 0):
            raise SpectrumError(f"held-out elements {chunk.start}:{chunk.stop} are out of order; add each chunk once")
        self._chunks.append((chunk, responses.cosets))

    def residuals(self, state: State, columns: InputColumns) -> list[list[tuple[slice, Any]]]:
        """Return for every parity half r (samples, k, features) of some inputs each, and which.

        ``state`` holds the halves of the coefficients.
        """
        found = []
        for u, coefficients in zip(parity_halves(self._cosets(state)), state.coefficients, strict=True):
            blocks = columns.blocks(u)
            functions, _ = self.elements.like(u)
            for rows, own in self._parts(coefficients, columns):
                for place, (some, c) in enumerate(own):
                    blocks[place] = some, blocks[place][1] - functions[some, :, rows] @ c
            found.append(blocks)
        return found

    def compare(self, state: State, columns: InputColumns) -> list[tuple[Array, Array, Array]]:
        """Return for every half squares (samples, k), cross and pairs (samples, k, λ); see :class:`HeldOut`."""
        k, found = len(self.elements), []
        for blocks, coefficients in zip(self.residuals(state, columns), state.coefficients, strict=True):
            xp = array_namespace(coefficients)
            gram = to_numpy(xp.concat([r @ xp.matrix_transpose(r) for _, r in blocks])).astype(np.float64)
            products = [
                xp.concat([r @ xp.matrix_transpose(c) for (_, r), (_, c) in zip(blocks, own, strict=True)])
                for _, own in self._parts(coefficients, columns, first_apart=False)
            ]
            functions, belonging = self.elements.like(coefficients)
            cross = (functions * xp.concat(products, axis=2)) @ belonging
            squares = np.diagonal(gram, axis1=1, axis2=2)
            check_finite(squares.sum(axis=1))
            pairs = ((gram * (1 - np.eye(k)))[:, :, None] @ self.elements.kernels)[:, :, 0]
            found.append((squares, 2 * to_numpy(cross).astype(np.float64), pairs))
        return found

    def _parts(
        self, coefficients: Any, columns: InputColumns, *, first_apart: bool = True
    ) -> list[tuple[slice, list[tuple[slice, Any]]]]:
        """Return rows that are multiplied together, and their blocks: the first band, then all others, or all.

        The first holds what does not vary: once it is taken off, little is left, and little rounding is added. Where
        blocks are copies it is band by band.
        """
        first, *others = rows_of(self.elements.rule)
        if columns.is_padded(coefficients):
            return [(rows, columns.blocks(coefficients[rows, :])) for rows in (first, *others)]
        whole = columns.blocks(coefficients)
        if not first_apart:
            return [(slice(0, int(coefficients.shape[0])), whole)]
        parts = [first, *([slice(first.stop, others[-1].stop)] if others else [])]
        return [(rows, [(some, c[:, rows, :]) for some, c in whole]) for rows in parts]

    def _cosets(self, state: State) -> tuple[Any, ...]:
        """Return the responses to all elements, for each coset."""
        stop = self._chunks[-1][0].stop if self._chunks else 0
        if stop != len(self.elements):
            raise SpectrumError(f"responses to {stop} of {len(self.elements)} held-out elements were added; add all")
        parts = [cosets for _, cosets in self._chunks]
        found, expected = parts[0][0].shape[1], state.coefficients[0].shape[1]
        if found != expected:
            raise SpectrumError(f"responses to held-out elements have {found} features in all; the others {expected}")
        xp = array_namespace(parts[0][0])
        return tuple(xp.concat(list(each), axis=0) if len(each) > 1 else each[0] for each in zip(*parts, strict=True))
