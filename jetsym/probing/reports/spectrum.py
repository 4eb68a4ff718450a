"""SymmetryReport: what a probe found, as numbers, text, table, picture and JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from jetsym.errors import MissingDependencyError
from jetsym.probing.reports.equivariance import Equivariance
from jetsym.probing.reports.html import paragraphs, table_element
from jetsym.spectrum import Irrep
from jetsym.storage import Stored
from jetsym.text import as_text, concise, share

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["SymmetryReport", "report_fragment", "sentences", "spectrum_table", "tail_floor", "text_table"]


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
        Output name -> :class:`~jetsym.probing.reports.equivariance.Equivariance`.
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

        return text_table(self)

    def __repr__(self) -> str:
        return (
            f"SymmetryReport({self.meta['group']}, {len(self.layers)} layers, {len(self.irreps)} irreps, "
            f"{self.meta['n_inputs']} inputs × {self.meta['n_rotations']} rotations)"
        )

    def _repr_html_(self) -> str:

        return report_fragment(self)


_ARRAYS = ("fractions", "stderr", "norm", "tail", "tail_stderr", "noise_floor")


READING = (
    "Each cell is the share of a layer's power that turns with the inputs as that irrep does, in per cent, the "
    "standard error over inputs in brackets for the last digits. (0,+) does not turn at all; λ = 1 turns as a vector, "
    "λ = 2 as a quadrupole; + and − are true tensors and pseudotensors. The shares say how the content is distributed "
    "over orientation patterns, not that the layer is equivariant."
)


READING_ERRORS = (
    "A is how far an output is from turning as its kind says, averaged over the group. Its square, as a share of the "
    "output's power (relative A squared), is the sum of the power in irreps that the output should not have and of "
    "the power in the right irrep that is turned the wrong way; the error spectrum sorts the same sum by irreps. A "
    "over spread is over the standard deviation of the symmetrised output across inputs. Below the noise floor "
    "relative A is rounding. Brackets hold standard errors over inputs, for the last digits."
)


ERROR_COLUMNS = (
    "output",
    "kind",
    "A (output units)",
    "relative A",
    "A / spread",
    "wrong irrep (%)",
    "misaligned (%)",
    "largest in the error spectrum (%)",
    "noise floor",
)


def spectrum_table(report: SymmetryReport) -> str:
    """The fractions of every layer, with errors."""
    rows = []
    for row, layer in enumerate(report.layers):
        floor = float(report.noise_floor[row])
        cells = [share(b, e, floor) for b, e in zip(report.fractions[row], report.stderr[row], strict=True)]
        rows.append(
            [layer, *cells, share(report.tail[row], report.tail_stderr[row], tail_floor(floor)), f"{floor:.0e}"]
        )
    return table_element(["layer", *map(str, report.irreps), "tail", "noise floor (fraction)"], rows)


def report_fragment(report: SymmetryReport, *, explained: bool = True) -> str:
    """A report for a notebook's cell or a section of a page, with or without a word on how to read its tables."""
    errors = table_element(
        ERROR_COLUMNS,
        [
            [
                name,
                item.kind,
                concise(item.absolute, item.absolute_stderr),
                concise(item.relative, item.relative_stderr),
                concise(item.over_spread, item.over_spread_stderr),
                share(item.leakage, item.leakage_stderr, item.noise_floor**2),
                share(item.misalignment, item.misalignment_stderr, item.noise_floor**2),
                _largest(item),
                f"{item.noise_floor:.0e}",
            ]
            for name, item in report.equivariance.items()
        ],
    )
    parts = [paragraphs(sentences(report)), spectrum_table(report), paragraphs([READING] * explained, note=True)]
    if report.equivariance:
        parts += [errors, paragraphs([READING_ERRORS] * explained, note=True)]
    return "\n".join([*parts, paragraphs([settings(report.meta)], note=True)])


def _largest(item: Equivariance) -> str:
    """The irrep that holds most of an output's error, with its share of the output's power."""
    name = max(item.error_spectrum, key=lambda irrep: item.error_spectrum[irrep], default=None)
    if name is None or abs(item.relative) <= item.noise_floor:
        return "—"
    return f"{name} {share(item.error_spectrum[name], item.error_spectrum_stderr[name], item.noise_floor**2)}"


def settings(meta: Any) -> str:
    """How it was measured, in one line."""
    return (
        f"{meta['model']}; group {meta['group']}, frame {meta['frame']}, l_max {meta['l_max']}, "
        f"method {meta['method']}, {meta['n_inputs']} inputs × {meta['n_rotations']} rotations "
        f"({meta['evaluations']:,} evaluations in {meta['seconds']:.1f} s on {meta['device']}, {meta['dtype']}), "
        f"seed {meta['seed']}. " + " ".join(meta["notes"])
    )


def tail_floor(floor: float) -> float:
    """What rounding can make of 1 − Σ b: an error of the size √floor in a norm of 1."""
    return 2 * math.sqrt(float(floor))


def sentences(report: SymmetryReport) -> list[str]:
    """What a report says: where the content lies, how it moves through the layers, and how far outputs turn."""
    result = [_depth(report)]
    for name, item in report.equivariance.items():
        result.append(_error(name, item, report))
    return result + _cut(report) + _resolution(report.meta.get("resolution"))


def _cut(report: SymmetryReport) -> list[str]:
    """Whether much lies beyond l_max, which is not only missing: part of it may alias into what is reported."""
    worst = int(report.tail.argmax())
    if report.tail[worst] <= 0.01:
        return []
    largest = report.irreps[-1]
    text = (
        f"{share(report.tail[worst], report.tail_stderr[worst])} % of {report.layers[worst]} lies beyond "
        f"{'m' if largest.is_mode else 'λ'} = {largest.lam}"
    )
    if report.meta["method"] == "random":
        return [f"{text}: a larger l_max would show where."]
    return [
        f"{text}, and as much may have strayed into the irreps shown: a larger l_max, l_max='auto' or method='random' "
        "would tell."
    ]


def _resolution(found: Mapping[str, Any] | None) -> list[str]:
    """What l_max='auto' found."""
    if not found:
        return []
    last, asked = found["steps"][-1], f"{100 * found['tolerance']:.2g}"
    numbers = f"{100 * last['tail']:.2g} % beyond it, {100 * last['difference']:.2g} % of change on the next grid"
    if found["agreed"]:
        return [f"l_max = {last['l_max']} resolves {found['inputs']} of the inputs: {numbers}."]
    return [
        f"Not resolved: l_max = {last['l_max']}, the largest tried, leaves {numbers}, where {asked} % was asked for; "
        "the shares are those of this grid, and method='random' gives some without aliasing."
    ]


def _depth(report: SymmetryReport) -> str:
    first, last = 0, len(report.layers) - 1
    invariant = report.fractions[:, 0]
    shares = [share(invariant[row], report.stderr[row, 0]) for row in (first, last)]
    if first == last:
        return f"{report.layers[0]} holds {shares[0]} % of its power in the invariant {report.irreps[0]}."
    return (
        f"The invariant part {report.irreps[0]} is {shares[0]} % of the power in {report.layers[first]} and "
        f"{shares[1]} % in {report.layers[last]}."
    )


def _error(name: str, item: Equivariance, report: SymmetryReport) -> str:
    group = report.meta["group"]
    law = "invariant" if item.kind in ("logits", "scalar") else f"equivariant as {item.kind}"
    if abs(item.relative) <= item.noise_floor:
        return f"{name} is {law} under {group} to within rounding (relative A below {item.noise_floor:.0e})."
    verb = "changes" if law == "invariant" else f"misses its law as {item.kind}"
    text = (
        f"{name} {verb} by {concise(item.relative, item.relative_stderr)} of its size (relative A) under {group}, "
        f"{abs(item.relative) / item.noise_floor:.0e} times what rounding explains"
    )
    untrained = report.baseline.equivariance.get(name) if report.baseline else None
    if untrained:
        text += f"; an untrained copy: {concise(untrained.relative, untrained.relative_stderr)}"
    return f"{text}. {_split(item)}".strip()


def _split(item: Equivariance) -> str:
    """Where the error of an output that turns comes from; for an invariant one there is nothing to split."""
    if item.kind in ("logits", "scalar", "pseudoscalar"):
        return ""
    floor = item.noise_floor**2
    return (
        f"Of its power {share(item.leakage, item.leakage_stderr, floor)} % lies in irreps that it should not have, and "
        f"{share(item.misalignment, item.misalignment_stderr, floor)} % in the right ones but turned the wrong way."
    )


def text_table(report: SymmetryReport) -> str:
    """The fractions in per cent, a row per layer, with the outputs' errors below."""
    table = Table(
        title=f"Power per irrep of {report.meta['group']} in %, standard error in the last digits", title_justify="left"
    )
    table.add_column("layer")
    for irrep in report.irreps:
        table.add_column(str(irrep), justify="right")
    table.add_column("tail", justify="right")
    for row, layer in enumerate(report.layers):
        floor = report.noise_floor[row]
        cells = [share(b, e, floor) for b, e in zip(report.fractions[row], report.stderr[row], strict=True)]
        table.add_row(layer, *cells, share(report.tail[row], report.tail_stderr[row], tail_floor(floor)))
    return as_text(table, width=28 + 15 * (len(report.irreps) + 1)) + "\n".join(sentences(report)) + "\n"
