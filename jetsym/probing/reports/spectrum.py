"""Reports on compact groups: the symmetry content of layers, and the equivariance error of outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from jetsym.arguments import checked, shaped
from jetsym.cards import Evaluated, Shared, model_card
from jetsym.errors import ConfigError, DataError, ProbeError, shorten
from jetsym.pages import render
from jetsym.probing.reports.base import LayerReport
from jetsym.probing.reports.card import symmetries
from jetsym.probing.reports.equivariance import KNOWN_TO, Equivariance
from jetsym.probing.reports.sentences import sentences_of, share_of_power, unit_of
from jetsym.spectrum import Irrep, read_irrep
from jetsym.text import as_text, at_most, concise, percent, table_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["SymmetryReport", "tail_floor"]


@checked(
    ProbeError,
    layers=shaped("layers"),
    irreps=shaped("irreps"),
    fractions=shaped("layers", "irreps", finite=False),
    stderr=shaped("layers", "irreps", finite=False),
    norm=shaped("layers", finite=False),
    tail=shaped("layers", finite=False),
    tail_stderr=shaped("layers", finite=False),
    unexplained=shaped("layers", finite=False),
    unexplained_stderr=shaped("layers", finite=False),
    noise_floor=shaped("layers", finite=False),
)
@dataclass(frozen=True, eq=False)
class SymmetryReport(LayerReport):
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
    unexplained, unexplained_stderr
        (layers,) what a rule of quadrature does not see, over the power: that beyond l_max and that of what aliased,
        found at ``meta["held_out"]`` random elements of each input's own beside the rule. It is no share and may
        exceed 1, and bounds what aliasing does to every fraction b of the rule: √b changes by no more than its root.
        Where it is more than rounding, which ``meta["unbiased"]`` names, fractions, tail and norm are unbiased
        estimates with the help of these elements, and so is the error of such an output. Random elements and finite
        groups need none: for them it is the tail. NaN where nothing was held out, as in older reports.
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
    unexplained: NDArray[np.float64]
    unexplained_stderr: NDArray[np.float64]
    noise_floor: NDArray[np.float64]
    equivariance: Mapping[str, Equivariance]
    meta: Mapping[str, Any]
    baseline: SymmetryReport | None = field(default=None)

    KIND: ClassVar[str] = "spectrum"
    FORMAT: ClassVar[int] = 4  # 2: the parts of an output's error; 3: the kind of report; 4: what a rule does not see
    ARRAYS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **dict.fromkeys(("fractions", "stderr"), ("layers", "irreps")),
        **dict.fromkeys(("norm", "tail", "tail_stderr", "unexplained", "unexplained_stderr"), ("layers",)),
        "noise_floor": ("layers",),
    }
    MORE_FACTS: ClassVar[tuple[str, ...]] = ("evaluations", "frame", "l_max", "method", "n_rotations", "seed")

    @checked(DataError)
    def plot(self, ax: Axes | None = None, *, legend: bool = True) -> Axes:
        """Draw the layer spectra; see :func:`jetsym.plotting.plot_spectrum`."""
        from jetsym.plotting import plot_spectrum

        return plot_spectrum(self, ax, legend=legend)

    def sentences(self) -> list[str]:
        """Say where the content lies, how it moves through the layers, and how far outputs are from their law."""
        return sentences_of(self)

    def settings(self) -> str:
        """Say in one line how it was measured."""
        meta = self.meta
        reach = "" if self.irreps[0].is_named else f"l_max {meta['l_max']}, "
        return (
            f"{meta['model']}; group {meta['group']}, frame {meta['frame']}, {reach}method {meta['method']}, "
            f"{meta['n_inputs']} inputs × {meta['n_rotations']} rotations "
            f"({meta['evaluations']:,} evaluations in {meta['seconds']:.1f} s on {meta['device']}, {meta['dtype']}), "
            f"seed {meta['seed']}. " + " ".join(meta["notes"])
        )

    def cells(self, row: int) -> list[str]:
        """Write the fractions of a layer, its tail and what is unexplained, in per cent with errors."""
        floor = float(self.noise_floor[row])
        pairs = zip(self.fractions[row], self.stderr[row], strict=True)
        return [
            *(share_of_power(b, e, floor) for b, e in pairs),
            percent(self.tail[row], self.tail_stderr[row], tail_floor(floor)),
            percent(self.unexplained[row], self.unexplained_stderr[row], floor),
        ]

    def unseen(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (layers,) what is unexplained, with errors; where nothing was held out, the tail."""
        missing = np.isnan(self.unexplained)
        value = np.where(missing, self.tail, self.unexplained)
        return value, np.where(missing, self.tail_stderr, self.unexplained_stderr)

    @checked(DataError)
    def is_seen(self, layer: str) -> bool:
        """Return whether nothing of a layer is known to lie beyond the rule: what is unexplained is rounding."""
        if self.meta["method"] == "random":  # which has no rule
            return True
        rows = [row for row, name in enumerate(self.layers) if name == layer]
        return not any(self.unexplained[row] > KNOWN_TO**2 * self.noise_floor[row] for row in rows)

    def section(self, *, explained: bool = True) -> Markup:
        """Return it for a notebook's cell or a page, with or without a word on how to read its tables."""
        floors = [at_most(floor) for floor in self.noise_floor]
        return render(
            "spectrum.html",
            sentences=self.sentences(),
            shares_header=["layer", *map(str, self.irreps), "tail", "unexplained", "noise floor (fraction)"],
            shares=[[layer, *self.cells(row), floors[row]] for row, layer in enumerate(self.layers)],
            errors_header=ERROR_COLUMNS,
            errors=[_error_cells(name, item, self) for name, item in self.equivariance.items()],
            explained=explained,
            irreps=self.irreps,
            settings=self.settings(),
        )

    def to_model_card(
        self,
        evaluation: Evaluated | None = None,
        *,
        model: Shared | None = None,
        repo_id: str | None = None,
        dataset: str | None = None,
        license: str | None = None,
    ) -> str:
        """Return a model card for the Hugging Face hub: measured symmetry, and accuracy, with their errors.

        Parameters
        ----------
        evaluation
            What :func:`jetsym.jets.evaluation.evaluate.evaluate` found of the same model.
        model
            The tagger itself, so that the card describes it and says how it is loaded.
        repo_id
            Where it will be shared, such as "user/name".
        dataset
            What it was evaluated on, in words.
        license
            Of its weights, as the hub names it, such as "bsd-3-clause".

        Returns
        -------
        str
            Markdown with a head in YAML, to be given to ``push_to_hub`` or written as README.md.

        Raises
        ------
        ConfigError
            The model is of another class than that of the report, or the evaluation is none of a tagger.

        Examples
        --------
        ::

            card = report.to_model_card(evaluation, model=tagger, repo_id="user/name")
            tagger.push_to_hub("user/name", card=card)
        """
        options: dict[str, Any] = {"repo_id": repo_id, "dataset": dataset, "license": license}
        title = str(self.meta["model"])
        if model is not None and type(model).__name__ != title:
            raise ConfigError(
                f"the report is of a {title}, and model is {shorten(model)}; expected the model that was probed"
            )
        return model_card(model, title=title, evaluation=evaluation, symmetries=symmetries(self), **options)

    def _records(self) -> Iterator[dict[str, Any]]:
        """Yield a row per layer and irrep: fraction, error, norm, noise floor and unexplained."""
        return (
            {
                "layer": layer,
                "irrep": str(irrep),
                "lam": None if irrep.is_named else irrep.lam,
                "sigma": irrep.sigma,
                "fraction": self.fractions[row, column],
                "stderr": self.stderr[row, column],
                "norm": self.norm[row],
                "unexplained": self.unexplained[row],
                "noise_floor": self.noise_floor[row],
            }
            for row, layer in enumerate(self.layers)
            for column, irrep in enumerate(self.irreps)
        )

    def _content(self) -> dict[str, Any]:
        return {**super()._content(), "irreps": [irrep.to_list() for irrep in self.irreps]}

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> Self:
        return super()._read({**data, "irreps": tuple(map(read_irrep, data["irreps"]))})

    def __str__(self) -> str:
        title = f"Power per irrep of {self.meta['group']} in %, standard error in the last digits"
        rows = [(layer, *self.cells(row)) for row, layer in enumerate(self.layers)]
        table = table_of(title, ("layer", *map(str, self.irreps), "tail", "unexplained"), rows)
        return as_text(table) + "\n".join(self.sentences()) + "\n"

    def __repr__(self) -> str:
        return (
            f"SymmetryReport({self.meta['group']}, {len(self.layers)} layers, {len(self.irreps)} irreps, "
            f"{self.meta['n_inputs']} inputs × {self.meta['n_rotations']} rotations)"
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


def _error_cells(name: str, item: Equivariance, report: SymmetryReport) -> list[str]:
    """Write the error of an output, by :data:`ERROR_COLUMNS`."""
    unit = unit_of(name, report)
    return [
        name,
        item.kind,
        f"{concise(item.absolute, item.absolute_stderr)}{unit and ' '}{unit}",
        concise(item.relative, item.relative_stderr, floor=item.noise_floor if item.is_hidden else 0.0),
        concise(item.over_spread, item.over_spread_stderr),
        percent(item.leakage, item.leakage_stderr, item.parts_floor),
        percent(item.misalignment, item.misalignment_stderr, item.parts_floor),
        _largest(item),
        at_most(item.noise_floor),
    ]


def _largest(item: Equivariance) -> str:
    """Write the irrep that holds most of an output's error, with its share of the output's power."""
    name = item.largest_irrep
    if name is None or item.is_within_rounding:
        return "—"
    return f"{name} {percent(item.error_spectrum[name], item.error_spectrum_stderr[name], item.noise_floor**2)}"


def tail_floor(floor: float) -> float:
    """Return what rounding can make of 1 − Σ b: an error of the size √floor in a norm of 1."""
    return 2 * float(np.sqrt(floor))
