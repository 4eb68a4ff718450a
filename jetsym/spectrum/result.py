"""Spectrum: the power of a response per irrep and input, with its errors; WindowEnergies: the same for boosts."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from jetsym.arguments import at_least, checked, shaped
from jetsym.errors import SpectrumError
from jetsym.spectrum.heldout import HeldOut, chance
from jetsym.spectrum.irreps import Irrep
from jetsym.spectrum.windows import Window

__all__ = ["Spectrum", "WindowEnergies", "by_chance", "jackknife_ratio"]

#: Inputs whose random elements are looked at at a time.
AT_ONCE = 4096


def jackknife_ratio(
    numerator: NDArray[np.float64],
    denominator: NDArray[np.float64],
    *,
    influence: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute a ratio of sums over inputs, and its standard error by leaving out one input at a time.

    Parameters
    ----------
    numerator
        (samples, …) one value per input.
    denominator
        (samples,) one value per input.
    influence
        What each random element of an input makes of both, (samples, k, …) and (samples, k): the error is then at least
        that by chance of these elements, which few inputs may not show, and a single one does not.

    Returns
    -------
    ratio, stderr
        Arrays of shape (…). The error is NaN for a single input without random elements; a vanishing denominator gives
        the ratio 0.

    Examples
    --------
    >>> ratio, stderr = jackknife_ratio(np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 2.0]))
    >>> float(ratio), float(stderr.round(6))  # for equal denominators the standard error of the mean
    (1.0, 0.288675)
    """
    samples, axes = len(numerator), (1,) * (numerator.ndim - 1)
    total, norm = numerator.sum(axis=0), denominator.sum(axis=0).reshape(axes)
    ratio, stderr = _divide(total, norm), np.full_like(total, np.nan)
    if samples > 1:
        without = np.asarray(total - numerator, np.float64)  # changed in place, as of many inputs it is large
        _divide(without, norm - denominator.reshape((-1, *axes)), out=without)
        without -= without.mean(axis=0)
        without *= without
        stderr = np.sqrt((samples - 1) * without.mean(axis=0))
    if influence is not None:
        stderr = np.fmax(stderr, by_chance(numerator, denominator, influence=influence)[1])
    return ratio, stderr


def by_chance(
    numerator: NDArray[np.float64],
    denominator: NDArray[np.float64],
    *,
    influence: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute a ratio of sums over these very inputs, and its standard error by chance of their random elements.

    Arguments and results as for :func:`jackknife_ratio`; the error is 0 without random elements.
    """
    axes = (1,) * (numerator.ndim - 1)
    total, norm = numerator.sum(axis=0), denominator.sum(axis=0).reshape(axes)
    ratio = _divide(total, norm)
    if influence is None:
        return ratio, np.zeros_like(ratio)
    of, over = influence[0], influence[1].reshape((*influence[1].shape, *axes))
    blocks = [slice(start, start + AT_ONCE) for start in range(0, max(1, len(of)), AT_ONCE)]
    errors = [chance(of[block] - ratio * over[block]) for block in blocks]
    return ratio, _divide(np.hypot.reduce(errors), np.abs(norm))


def _divide(
    numerator: NDArray[np.float64], denominator: NDArray[np.float64], *, out: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Divide, into ``out`` if there is one; what is over 0 is 0."""
    found = np.empty(np.broadcast_shapes(np.shape(numerator), np.shape(denominator))) if out is None else out
    np.divide(numerator, denominator, out=found, where=denominator != 0)
    np.copyto(found, 0.0, where=denominator == 0)
    return found


#: What may stay unexplained of the power: √b is wrong by a hundredth at most.
MATERIAL = 1e-4


class Powers:
    """Power of a response per component, of any kind, and what follows from it: errors, tail, joining of batches."""

    power: NDArray[np.float64]
    norm: NDArray[np.float64]
    noise_floor: float
    #: Fields with one row per input; squares, so that they add over features.
    _rows: ClassVar[tuple[str, ...]] = ("power", "norm")
    #: What held-out elements say, where there were any, and whether power and norm are estimates with their help.
    held_out: HeldOut | None = None
    is_unbiased: bool = False

    def _measure(self) -> Hashable:
        """Return what two results have to agree in to be joined."""
        raise NotImplementedError

    @property
    def fractions(self) -> NDArray[np.float64]:
        """(components,) b = Σ_x B / Σ_x N, a ratio of sums."""
        return self._share(lambda power, norm: power)[0]

    @property
    def stderr(self) -> NDArray[np.float64]:
        """(components,) jackknife standard errors of the fractions over inputs."""
        return self._share(lambda power, norm: power)[1]

    @property
    def tail(self) -> float:
        """1 − Σ b: the fraction of the power beyond the last component."""
        return float(self._share(lambda power, norm: norm - power.sum(axis=1))[0])

    @property
    def tail_stderr(self) -> float:
        """Jackknife standard error of the tail."""
        return float(self._share(lambda power, norm: norm - power.sum(axis=1))[1])

    @property
    def unexplained(self) -> tuple[float, float]:
        """What the rule does not see over N, with its error: the power beyond the last component, and what aliased.

        It is no share, and may exceed 1: |√b − √b̂| ≤ √unexplained for every fraction. NaN without held-out elements.
        """
        if self.held_out is None:
            return float("nan"), float("nan")
        held = self.held_out
        _, norm, unexplained = held.estimates()
        value, stderr = jackknife_ratio(unexplained, norm, influence=(held.squares, held.of_norm))
        return float(value), float(stderr)

    def is_resolved(self, floor: float) -> bool:
        """Return whether the rule may stand as it is: what it leaves unexplained is rounding, or hardly anything.

        A response that is band-limited leaves nothing unexplained but rounding, whatever the inputs, so that more is no
        chance. Up to :data:`MATERIAL` it counts if it changes what the rule says by more than chance.

        Parameters
        ----------
        floor
            What rounding can make of it.
        """
        unexplained = self.unexplained[0]
        if self.held_out is None or unexplained <= floor:
            return True
        return unexplained <= MATERIAL and not self.held_out.is_significant(self.norm)

    def unbiased(self) -> Self:
        """Return it with the estimates from held-out elements, which are unbiased whatever the bandwidth.

        Raises
        ------
        SpectrumError
            There were no held-out elements.
        """
        if self.held_out is None:
            raise SpectrumError("no responses to held-out elements were added, which it takes for unbiased estimates")
        return self._with(*self.held_out.estimates()[:2])

    def _with(self, power: NDArray[np.float64], norm: NDArray[np.float64]) -> Self:
        return replace(self, power=power, norm=norm, is_unbiased=True)  # type: ignore[type-var]

    def _share(
        self, of: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return a quantity of power and norm over the norm, with its error."""
        influence = None
        if self.is_unbiased and self.held_out is not None:
            components, over = self.held_out.influence()[..., : self.power.shape[1]], self.held_out.of_norm
            flat = of(components.reshape(-1, self.power.shape[1]), over.ravel())
            influence = flat.reshape(*over.shape, *flat.shape[1:]), over
        return jackknife_ratio(of(self.power, self.norm), self.norm, influence=influence)

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Join the results of several batches of inputs, measured alike.

        Raises
        ------
        SpectrumError
            No parts, or parts that were measured in another way (irreps or window, method, number of rotations).
        """
        return cls._joined(parts, "join", np.concatenate)

    @classmethod
    def sum_features(cls, parts: Sequence[Self]) -> Self:
        """Add the results of disjoint blocks of features, for the same inputs and rotations, to that of all features.

        Power and norm are sums over features, so that they add. With one estimator for each block of features, the
        memory that coefficients need is bounded by the largest block; one pass over the orbit is needed for each.

        Raises
        ------
        SpectrumError
            No parts, or parts that differ in their inputs or in how they were measured.

        Examples
        --------
        >>> from jetsym.spectrum import SO3
        >>> power = np.array([[1.0, 2.0]])
        >>> part = Spectrum(SO3().irreps(1), power, power.sum(axis=1), 9, 1e-30, "quadrature")
        >>> Spectrum.sum_features([part, part]).power
        array([[2., 4.]])
        """
        sizes = sorted({len(part.norm) for part in parts})
        if len(sizes) > 1:
            raise SpectrumError(f"spectra of {sizes} inputs cannot be added; blocks of features need the same inputs")
        return cls._joined(parts, "add", lambda rows: np.sum(rows, axis=0))

    @classmethod
    def _joined(cls, parts: Sequence[Self], verb: str, combine: Callable[[list[Any]], Any]) -> Self:
        if not parts:
            raise SpectrumError(f"no spectra to {verb}; expected at least one")
        if len({part._measure() for part in parts}) > 1:
            raise SpectrumError(
                "spectra measured with other irreps, methods, numbers of rotations or windows cannot be joined"
            )
        rows: dict[str, Any] = {name: combine([getattr(part, name) for part in parts]) for name in cls._rows}
        held = [part.held_out for part in parts if part.held_out is not None]
        rows["held_out"] = HeldOut.joined(held, combine) if len(held) == len(parts) else None
        return replace(parts[0], **rows, noise_floor=max(part.noise_floor for part in parts))  # type: ignore[type-var]


@checked(
    SpectrumError,
    power=shaped("samples", "irreps"),
    norm=shaped("samples"),
    n_rotations=at_least(1),
    noise_floor=at_least(0),
)
@dataclass(frozen=True, eq=False)
class Spectrum(Powers):
    """The power of a response u(g) = f(g·x) per irrep and input.

    Parameters
    ----------
    irreps
        The irreps, up to l_max.
    power
        (samples, irreps) B_α(x) = d_α ‖∫ D^α(g)* u(g) dμ‖², in the response's unit squared. Unbiased estimates may be
        negative; they are not clipped.
    norm
        (samples,) N(x) = ∫ ‖u‖² dμ, so that Σ_α B_α = N over all irreps (Parseval).
    n_rotations
        Number of rotations per input, R and −R counted once.
    noise_floor
        The fraction of power that rounding alone can put into any irrep. By the triangle inequality rounding changes
        √b_α by no more than √noise_floor.
    method
        "quadrature" or "random".
    held_out
        What held-out elements say, see :mod:`jetsym.spectrum.heldout`; None where there were none.
    is_unbiased
        Whether power and norm are estimates with their help.
    """

    irreps: tuple[Irrep, ...]
    power: NDArray[np.float64]
    norm: NDArray[np.float64]
    n_rotations: int
    noise_floor: float
    method: str
    held_out: HeldOut | None = None
    is_unbiased: bool = False

    def _measure(self) -> Hashable:
        return self.irreps, self.method, self.n_rotations


@checked(
    SpectrumError,
    power=shaped("samples", "orders"),
    norm=shaped("samples"),
    deviation=shaped("samples"),
    noise_floor=at_least(0),
)
@dataclass(frozen=True, eq=False)
class WindowEnergies(Powers):
    """The power of a response u(y) to boosts per orthonormal polynomial of a window of rapidity, and input.

    Window energies belong to the declared measure on rapidity: another window gives other numbers for the same
    response. They are no irreps; boosts have no invariant probability measure.

    Parameters
    ----------
    window
        The measure, with its nodes.
    power
        (samples, n_max + 1) B_n = ‖∫ p_n(y) u(y) dμ‖², in the response's unit squared.
    norm
        (samples,) N = ∫‖u‖² dμ = Σ_n B_n over all n.
    deviation
        (samples,) A² = ∫‖u − ū‖² dμ = Σ_{n≥1} B_n over all n, also those beyond n_max; from the coefficients rather
        than as N − B_0, so that nothing cancels where u hardly depends on y.
    noise_floor
        The fraction of power that rounding alone can put into any energy.
    held_out, is_unbiased
        As of :class:`Spectrum`, at rapidities of each input's own; the components are all polynomials of the nodes.
    """

    window: Window
    power: NDArray[np.float64]
    norm: NDArray[np.float64]
    deviation: NDArray[np.float64]
    noise_floor: float
    held_out: HeldOut | None = None
    is_unbiased: bool = False
    _rows: ClassVar[tuple[str, ...]] = ("power", "norm", "deviation")

    @property
    def deviation_share(self) -> tuple[float, float]:
        """A²/N as a ratio of sums over inputs, with its error: Σ_{n≥1} B_n/N."""
        influence = None
        if self.is_unbiased and self.held_out is not None:
            over = self.held_out.of_norm
            influence = over - self.held_out.influence()[..., 0], over
        value, stderr = jackknife_ratio(self.deviation, self.norm, influence=influence)
        return float(value), float(stderr)

    @property
    def slope2(self) -> NDArray[np.float64]:
        """(samples,) B_1/Var(y): the squared slope of the best straight line, ‖du/dy‖² at 0 for a narrow window."""
        if self.window.n_max < 1:
            raise SpectrumError("the window has n_max = 0; take n_max ≥ 1 for a slope")
        return self.power[:, 1] / self.window.variance

    def _with(self, power: NDArray[np.float64], norm: NDArray[np.float64]) -> Self:
        deviation = norm - power[:, 0]
        power = power[:, : self.window.n_max + 1]
        return replace(self, power=power, norm=norm, deviation=deviation, is_unbiased=True)

    def _measure(self) -> Hashable:
        window = self.window
        return window.distribution, window.width, window.n_max, len(window)
