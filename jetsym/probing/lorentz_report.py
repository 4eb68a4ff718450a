"""What a probe of the Lorentz group says, in three parts that are never mixed up: compact, local, and windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from jetsym.probing.equivariance import Equivariance
from jetsym.probing.report import SymmetryReport
from jetsym.probing.storage import Stored

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["BoostReport", "LocalReport", "LorentzReport"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BoostReport(Stored):
    """Window energies of every layer, and the error of every output, under boosts.

    They belong to the declared measure on rapidity; boosts have no invariant one, and no spectrum over irreps.

    Parameters
    ----------
    layers
        Names of the layers from input to output; outputs stand last.
    widths
        (widths,) η₀ of the uniform measures on [−η₀, η₀], or standard deviations of the normal ones, rising.
    energies, energies_stderr
        (widths, layers, orders) B_n/N of the orthonormal polynomials n = 0 … n_max, ratios of sums over inputs, with
        jackknife standard errors.
    squared, squared_stderr
        (widths, layers) A²/N = Σ_{n≥1} B_n/N over all n: relative A is the root.
    noise_floor
        (layers,) fraction that rounding can put into any energy.
    equivariance
        Output name -> its error in the widest window.
    meta
        Axis, distribution, numbers of evaluations and inputs, dtype, cost, notes.
    baseline
        The same measurement of an untrained copy, if it was asked for.
    """

    layers: tuple[str, ...]
    widths: Array
    energies: Array
    energies_stderr: Array
    squared: Array
    squared_stderr: Array
    noise_floor: Array
    equivariance: Mapping[str, Equivariance]
    meta: Mapping[str, Any]
    baseline: BoostReport | None = field(default=None)

    KIND: ClassVar[str] = "boosts"
    FORMAT: ClassVar[int] = 1
    ARRAYS: ClassVar[tuple[str, ...]] = (
        "widths",
        "energies",
        "energies_stderr",
        "squared",
        "squared_stderr",
        "noise_floor",
    )

    @property
    def relative(self) -> Array:
        """(widths, layers) relative A of every layer and output: the curves in η₀."""
        return np.sqrt(np.maximum(self.squared, 0.0))

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw relative A of every layer against the width; see :func:`jetsym.plotting.plot_boosts`."""
        from jetsym.plotting import plot_boosts

        return plot_boosts(self, ax)

    def sentences(self) -> list[str]:
        """What was found, in plain words."""
        from jetsym.probing.lorentz_words import boost_sentences

        return boost_sentences(self)

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.KIND,
            "format": self.FORMAT,
            "layers": list(self.layers),
            **{name: getattr(self, name).tolist() for name in self.ARRAYS},
            "equivariance": {name: asdict(item) for name, item in self.equivariance.items()},
            "meta": dict(self.meta),
            "baseline": None if self.baseline is None else self.baseline.to_dict(),
        }

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            layers=tuple(data["layers"]),
            **{name: np.array(data[name], dtype=float) for name in cls.ARRAYS},
            equivariance={name: Equivariance(**item) for name, item in data["equivariance"].items()},
            meta=dict(data["meta"]),
            baseline=None if data["baseline"] is None else cls.from_dict(data["baseline"]),
        )

    def __str__(self) -> str:
        from jetsym.probing.lorentz_words import boost_table

        return boost_table(self) + "\n".join(self.sentences()) + "\n"

    def _repr_html_(self) -> str:
        from jetsym.probing.html import boost_fragment

        return boost_fragment(self)

    def __repr__(self) -> str:
        return f"BoostReport({self.meta['axis']}, {len(self.layers)} layers, {len(self.widths)} widths)"


@dataclass(frozen=True, eq=False)
class LocalReport(Stored):
    """How fast every layer and output starts to change under the six generators of the Lorentz group.

    Parameters
    ----------
    layers
        Names of the layers from input to output; outputs stand last.
    generators
        Names of the generators, J_x … K_z.
    squared, squared_stderr
        (layers, generators) Σ_x ‖L_X f‖² / Σ_x ‖f‖², per squared radian or unit of rapidity, with jackknife errors.
    meta
        Axes, method, numbers of inputs, dtype, cost, notes.
    """

    layers: tuple[str, ...]
    generators: tuple[str, ...]
    squared: Array
    squared_stderr: Array
    meta: Mapping[str, Any]

    KIND: ClassVar[str] = "local"
    FORMAT: ClassVar[int] = 1
    ARRAYS: ClassVar[tuple[str, ...]] = ("squared", "squared_stderr")

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.KIND,
            "format": self.FORMAT,
            "layers": list(self.layers),
            "generators": list(self.generators),
            **{name: getattr(self, name).tolist() for name in self.ARRAYS},
            "meta": dict(self.meta),
        }

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            layers=tuple(data["layers"]),
            generators=tuple(data["generators"]),
            **{name: np.array(data[name], dtype=float) for name in cls.ARRAYS},
            meta=dict(data["meta"]),
        )

    def __str__(self) -> str:
        from jetsym.probing.lorentz_words import local_table

        return local_table(self)


@dataclass(frozen=True, eq=False)
class LorentzReport(Stored):
    """Three honest measurements in place of a Lorentz spectrum, which does not exist.

    Parameters
    ----------
    compact
        "O3 rest", "O3 lab", "SO2 jet", "SO2 beam" -> spectra and errors under that subgroup, exactly.
    local
        "jet", "beam" -> the six generators along the axes of each jet, or of the lab.
    windows
        "beam", "jet", "random" -> boosts along that direction, in windows of rapidity.
    casimir
        Layer -> {"local": ∫ Σ_a‖J_a u‖² dμ, "spectrum": Σ λ(λ+1) b_λ, "tail": …}, both over N on the first inputs under
        SO(3) in the lab: the local and the compact measurement of the same thing, as far as l_max reaches.
    meta
        Numbers of inputs and evaluations, dtype, cost, notes.
    baseline
        The same measurement of an untrained copy, if it was asked for.
    """

    compact: Mapping[str, SymmetryReport]
    local: Mapping[str, LocalReport]
    windows: Mapping[str, BoostReport]
    casimir: Mapping[str, Mapping[str, float]]
    meta: Mapping[str, Any]
    baseline: LorentzReport | None = field(default=None)

    KIND: ClassVar[str] = "lorentz"
    FORMAT: ClassVar[int] = 1

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers from input to output."""
        return next(iter(self.compact.values())).layers

    @property
    def equivariance(self) -> Mapping[str, Equivariance]:
        """Output name -> its error under the first compact group: O(3) about the jet's momentum at rest."""
        return next(iter(self.compact.values())).equivariance

    def plot(self, axes: Sequence[Axes] | None = None) -> Figure:
        """Draw the three parts side by side; see :func:`jetsym.plotting.plot_lorentz`."""
        from jetsym.plotting import plot_lorentz

        return plot_lorentz(self, axes)

    def sentences(self) -> list[str]:
        """One plain sentence for each part."""
        from jetsym.probing.lorentz_words import lorentz_sentences

        return lorentz_sentences(self)

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.KIND,
            "format": self.FORMAT,
            **{
                name: {key: report.to_dict() for key, report in getattr(self, name).items()}
                for name in ("compact", "local", "windows")
            },
            "casimir": {layer: dict(sides) for layer, sides in self.casimir.items()},
            "meta": dict(self.meta),
            "baseline": None if self.baseline is None else self.baseline.to_dict(),
        }

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            compact={key: SymmetryReport.from_dict(item) for key, item in data["compact"].items()},
            local={key: LocalReport.from_dict(item) for key, item in data["local"].items()},
            windows={key: BoostReport.from_dict(item) for key, item in data["windows"].items()},
            casimir=dict(data["casimir"]),
            meta=dict(data["meta"]),
            baseline=None if data["baseline"] is None else cls.from_dict(data["baseline"]),
        )

    def __str__(self) -> str:
        from jetsym.probing.lorentz_words import lorentz_text

        return lorentz_text(self)

    def __repr__(self) -> str:
        return f"LorentzReport({len(self.layers)} layers, {self.meta['n_inputs']} inputs)"

    def _repr_html_(self) -> str:
        from jetsym.probing.html import lorentz_fragment

        return lorentz_fragment(self)
