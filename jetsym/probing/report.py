"""SymmetryReport: what a probe found, as numbers, text, table, picture and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import MissingDependencyError
from jetsym.probing.equivariance import Equivariance
from jetsym.probing.storage import Stored
from jetsym.spectrum import Irrep

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["SymmetryReport"]


@dataclass(frozen=True, eq=False)
class SymmetryReport(Stored):
    """Symmetry content of every layer and equivariance error of every output.

    Parameters
    ----------
    layers
        Names of the layers from input to output; outputs stand last.
    irreps
        Irreps of the group up to l_max.
    fractions, stderr
        (layers, irreps) fraction b of each layer's power in each irrep, a ratio of sums over inputs, and its jackknife
        standard error. Unbiased estimates may be negative.
    norm
        (layers,) mean power N per input, in the layer's unit squared.
    tail, tail_stderr
        (layers,) fraction beyond l_max, 1 − Σ b, with its error.
    noise_floor
        (layers,) fraction that rounding can put into any irrep: √b is uncertain by no more than its root.
    equivariance
        Output name -> :class:`~jetsym.probing.equivariance.Equivariance`.
    meta
        Group, frame, method, numbers of rotations and inputs, dtype, device, seed, cost, notes.
    baseline
        The same measurement of an untrained copy, if it was asked for.

    Notes
    -----
    b says how a layer's content is distributed over orientation patterns, not that the layer is equivariant.
    """

    layers: tuple[str, ...]
    irreps: tuple[Irrep, ...]
    fractions: NDArray[np.float64]
    stderr: NDArray[np.float64]
    norm: NDArray[np.float64]
    tail: NDArray[np.float64]
    tail_stderr: NDArray[np.float64]
    noise_floor: NDArray[np.float64]
    equivariance: Mapping[str, Equivariance]
    meta: Mapping[str, Any]
    baseline: SymmetryReport | None = field(default=None)

    KIND: ClassVar[str] = "spectrum"
    FORMAT: ClassVar[int] = 3  # 2: the parts of an output's error; 3: the kind of report

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the layer spectra; see :func:`jetsym.plotting.plot_spectrum`."""
        from jetsym.plotting import plot_spectrum

        return plot_spectrum(self, ax)

    def sentences(self) -> list[str]:
        """What was found, in plain words."""
        from jetsym.probing.words import sentences

        return sentences(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        return {
            "kind": self.KIND,
            "format": self.FORMAT,
            "layers": list(self.layers),
            "irreps": [[irrep.lam, irrep.sigma] for irrep in self.irreps],
            **{name: getattr(self, name).tolist() for name in _ARRAYS},
            "equivariance": {name: asdict(item) for name, item in self.equivariance.items()},
            "meta": dict(self.meta),
            "baseline": None if self.baseline is None else self.baseline.to_dict(),
        }

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> SymmetryReport:
        report = cls(
            layers=tuple(data["layers"]),
            irreps=tuple(Irrep(lam, sigma) for lam, sigma in data["irreps"]),
            **{name: np.array(data[name], dtype=float) for name in _ARRAYS},
            equivariance={name: Equivariance(**item) for name, item in data["equivariance"].items()},
            meta=dict(data["meta"]),
            baseline=None if data["baseline"] is None else cls.from_dict(data["baseline"]),
        )
        rows, table = (len(report.layers),), (len(report.layers), len(report.irreps))
        for name in _ARRAYS:
            shape, expected = getattr(report, name).shape, table if name in ("fractions", "stderr") else rows
            if shape != expected:
                raise ValueError(f"{name} has shape {shape} instead of {expected}")
        return report

    def to_dataframe(self) -> pd.DataFrame:
        """One row per layer and irrep, with fraction, standard error, norm and noise floor (needs pandas)."""
        try:
            import pandas as pd
        except ImportError:
            purpose = "SymmetryReport.to_dataframe"
            raise MissingDependencyError.of("pandas", extra="notebooks", purpose=purpose) from None
        return pd.DataFrame(
            {
                "layer": layer,
                "irrep": str(irrep),
                "lam": irrep.lam,
                "sigma": irrep.sigma,
                "fraction": self.fractions[row, column],
                "stderr": self.stderr[row, column],
                "norm": self.norm[row],
                "noise_floor": self.noise_floor[row],
            }
            for row, layer in enumerate(self.layers)
            for column, irrep in enumerate(self.irreps)
        )

    def __str__(self) -> str:
        from jetsym.probing.words import text_table

        return text_table(self)

    def __repr__(self) -> str:
        return (
            f"SymmetryReport({self.meta['group']}, {len(self.layers)} layers, {len(self.irreps)} irreps, "
            f"{self.meta['n_inputs']} inputs × {self.meta['n_rotations']} rotations)"
        )

    def _repr_html_(self) -> str:
        from jetsym.probing.html import report_fragment

        return report_fragment(self)


_ARRAYS = ("fractions", "stderr", "norm", "tail", "tail_stderr", "noise_floor")
