"""The equivariance error A of an output, as reports hold it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from jetsym.text import at_most

__all__ = ["HIDES", "KNOWN_TO", "Equivariance", "rounding_of_sums"]

Array = NDArray[np.float64]

#: Relative A from where on a noise floor hides what matters, as the bound of a diagnosis: a hundredth of the output.
HIDES = 0.01
#: The factor to which noise floors are known.
KNOWN_TO = 3.0
#: Sums of squares are made in at least 32 bits: what is left of those that cancel, as a fraction of them, at most.
SUMS_OF_SQUARES = 16 * 2.0**-23


def rounding_of_sums(noise_floor: float) -> float:
    """Return what rounding can make of a fraction of power near 1, or of two whose difference is small.

    That of the response, whose noise floor of power is given, adds its square; that of sums of squares counts once, and
    these have at least 32 bits.
    """
    return min(2 * KNOWN_TO * float(np.sqrt(noise_floor)), SUMS_OF_SQUARES)


@dataclass(frozen=True)
class Equivariance:
    """The distance of an output from transforming as it should.

    Parameters
    ----------
    kind
        "logits", "scalar", "vector", …, or "(λ,σ)" for spherical tensors.
    absolute, absolute_stderr
        A = √⟨A²⟩ over inputs, in the unit of the output, with A² = ∫ ‖z − f̄‖² dμ, z(g) = ρ(g)⁻¹ f(g·x) and f̄ = ∫ z dμ,
        summed over components and real tokens.
    relative, relative_stderr
        √(Σ A² / Σ N): the part of the output's root-mean-square value that the group makes or breaks.
    over_spread
        A over the standard deviation of f̄ across inputs: the number to compare across domains, as it is free of
        arbitrary constants in the output. Energies, which have a zero for every composition, spread about their mean
        over it, where it has two structures or more. Real tokens of all inputs spread about one mean; the spread is
        free of the bias of few inputs and of few rotations. NaN for a single input, and where no spread can be told
        from rounding.
    over_spread_stderr
        Its standard error by leaving out one input at a time; NaN in reports from before it was measured.
    noise_floor
        The relative error that rounding alone can cause.
    leakage, leakage_stderr, misalignment, misalignment_stderr
        The two parts of relative², as fractions of Σ N with errors: power in irreps that the output should not have,
        Σ_blocks (N − B_α[u]), and power in the right irrep but rotated wrongly, Σ_blocks (B_α[u] − ‖f̄‖²). An
        output whose blocks all have λ = 0 has no misalignment.
    error_spectrum, error_spectrum_stderr
        B_β[z] as fractions of Σ N, for every irrep but the invariant one, by name. A² = Σ_β B_β[z]. Empty for boosts,
        which have no irreps to split it over.
    error_shares, error_shares_stderr
        B_β[z] as parts of A² of these very inputs, by name, with the errors by chance of their random rotations or
        held-out elements, 0 by an exact rule. Empty in older reports.
    error_tail
        What is left of relative² beyond l_max.
    error_exact_to
        Largest λ up to which the error spectrum is exact for an output of bandwidth l_max: z has bandwidth
        l_max + λ_α, so a probe at l_max says it up to l_max − λ_α. None for random rotations and estimates from
        held-out elements, which do not alias.
    unexplained, unexplained_stderr
        A² from held-out elements less that of the rule, as a fraction of Σ N: what the rule does not see of A², or sees
        too much of. Where the output's response is not band-limited, the numbers above are those from held-out
        elements, which are unbiased. NaN where there were none, as in older reports; random rotations and finite
        groups, all elements of which are evaluated, need none.

    rounding
        The error that rounding alone can cause, in the unit of the output. NaN in older reports.

    Energies have an arbitrary zero for every composition. Where one has two structures or more, Σ N is that of these
    structures about their mean; where none has, ``relative`` and ``over_spread`` are NaN, and the other fractions
    are those of Σ N as the model gives it.

    A negative unbiased estimate of A² is reported as minus the root of its modulus, never clipped.
    """

    kind: str
    absolute: float
    absolute_stderr: float
    relative: float
    relative_stderr: float
    over_spread: float
    noise_floor: float
    leakage: float
    leakage_stderr: float
    misalignment: float
    misalignment_stderr: float
    error_spectrum: Mapping[str, float]
    error_spectrum_stderr: Mapping[str, float]
    error_tail: float
    error_exact_to: int | None
    over_spread_stderr: float = float("nan")
    unexplained: float = float("nan")
    unexplained_stderr: float = float("nan")
    rounding: float = float("nan")
    error_shares: Mapping[str, float] = field(default_factory=dict)
    error_shares_stderr: Mapping[str, float] = field(default_factory=dict)

    @property
    def largest_irrep(self) -> str | None:
        """The irrep that holds most of A²; None where its parts are not known."""
        return max(self.error_spectrum, key=lambda irrep: self.error_spectrum[irrep], default=None)

    @property
    def law(self) -> str:
        """What the output is where it obeys its law, in words: "invariant", or "equivariant as vector"."""
        return "invariant" if self.kind in ("logits", "scalar") else f"equivariant as {self.kind}"

    @property
    def parts_floor(self) -> float:
        """What rounding can make of ``leakage`` and ``misalignment``, which are differences of sums of squares.

        Rounding of the response adds its square; that of the sums of N and B, which cancel, counts once.
        """
        return max(self.noise_floor**2, rounding_of_sums(self.noise_floor**2))

    @property
    def is_within_rounding(self) -> bool:
        """Whether rounding explains relative A and its standard error, as far as the noise floor is known."""
        if self.is_without_size:
            return bool(max(abs(self.absolute), np.nan_to_num(self.absolute_stderr)) <= KNOWN_TO * self.rounding)
        return bool(max(abs(self.relative), np.nan_to_num(self.relative_stderr)) <= KNOWN_TO * self.noise_floor)

    @property
    def is_without_size(self) -> bool:
        """Whether there is nothing to compare A with: energies of compositions that come once."""
        return bool(np.isnan(self.relative))

    @property
    def is_hidden(self) -> bool:
        """Whether it cannot be told from rounding if the output obeys its law: rounding explains it, and too much."""
        return self.is_within_rounding and self.noise_floor > HIDES

    def verdict(self, name: str, law: str, under: str) -> str:
        """Say what is known of an output that errs by no more than rounding, without a full stop.

        Parameters
        ----------
        name, law, under
            Of the output, such as "invariant", and of what acts.
        """
        if self.is_hidden:
            return (
                f"Whether {name} is {law} under {under} cannot be told from rounding, which alone makes relative A "
                f"{self.noise_floor:.1g}: measure in a higher precision"
            )
        floor = at_most(KNOWN_TO * self.noise_floor)
        return f"{name} is {law} under {under} to within rounding (relative A below {floor})"
