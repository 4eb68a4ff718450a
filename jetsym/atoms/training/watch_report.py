"""What a watched training found: A of the outputs and spectra of the layers, epoch by epoch, against the start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from jetsym.arguments import checked
from jetsym.errors import ConfigError, DataError, is_positive, refuse_unknown
from jetsym.probing.reports.differences import differences_of
from jetsym.probing.reports.history import Series
from jetsym.probing.reports.spectrum import SymmetryReport
from jetsym.text import as_text, concise, percent, table_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["BEFORE", "Bound", "Watch", "bounds_of"]

#: The epoch of the pretrained model: the one before metatrain's first, which is 0.
BEFORE = -1
#: Slopes of an energy as metatrain's sections of targets name them -> as outputs.
SLOPES = {"forces": "forces", "stress": "stress", "virial": "stress"}


@dataclass(frozen=True)
class Bound:
    """A bound on A of an output, at which a training ends.

    Parameters
    ----------
    output
        Name of the output.
    value
        A, in the unit of the output.
    above
        Whether the training ends where A is above it; or else where A is below.
    """

    output: str
    value: float
    above: bool

    def is_crossed(self, report: SymmetryReport) -> bool:
        """Tell whether A is beyond it, and above it by more than rounding makes."""
        item = report.equivariance[self.output]
        if self.above:
            return item.absolute > self.value and not item.is_within_rounding
        return item.absolute < self.value

    def words(self, units: Mapping[str, str]) -> str:
        """Say it, such as "forces above 0.05 eV/Å"."""
        side = "above" if self.above else "below"
        return f"{self.output} {side} {self.value:.6g} {units.get(self.output, '')}".rstrip()


def bounds_of(
    above: Mapping[str, float] | None, below: Mapping[str, float] | None, targets: Mapping[str, Any]
) -> tuple[Bound, ...]:
    """Return the bounds on A that a user gives, of the outputs that are trained.

    Parameters
    ----------
    above, below
        Output -> A in its unit.
    targets
        metatrain's section of targets.

    Raises
    ------
    ConfigError
        There is no such output, or the bound is no positive number.

    Examples
    --------
    >>> bounds_of({"forces": 0.05}, None, {"energy": {"forces": {"key": "forces"}, "stress": False}})
    (Bound(output='forces', value=0.05, above=True),)
    """
    known = {*targets}
    for section in targets.values():
        slopes = section if isinstance(section, Mapping) else {}
        known |= {output for name, output in SLOPES.items() if slopes.get(name, name != "virial")}
    found = []
    for option, given in (("stop_above", above), ("stop_below", below)):
        for output, value in (given or {}).items():
            if output.partition(" (")[0] not in known:  # blocks of spherical targets are "NAME (λ,σ)"
                refuse_unknown(option, output, sorted(known))
            if not is_positive(value):
                raise ConfigError(f"{option} of {output!r} is {value!r}; expected A in its unit, a number above 0")
            found.append(Bound(output, float(value), option == "stop_above"))
    return tuple(found)


@checked(DataError)
@dataclass(frozen=True, eq=False)
class Watch(Series):
    """The symmetry of a potential while it is trained, measured at its checkpoints.

    Parameters
    ----------
    reports
        One :class:`~jetsym.SymmetryReport` for every epoch that was measured, with metatrain's number of it as
        ``meta["step"]``, in their order; that of the pretrained model, if there is one, comes first, as epoch −1.
    bounds
        Where the training was to end.
    stopped
        The bound at which it was told to end, and the epoch at which that was; None where no bound was crossed.
    kept
        The epoch whose weights ``model.ckpt`` holds, which is that of the best validation; None as long as it trains.
    missing
        Epoch -> why it could not be measured.
    units
        Units of the outputs, as far as the model says them.
    seconds
        Time that each measurement took.
    settings
        What was measured, and on which structures.

    Raises
    ------
    DataError
        There are no reports, or they do not go together.
    """

    reports: tuple[SymmetryReport, ...]
    bounds: tuple[Bound, ...]
    stopped: tuple[Bound, int] | None
    kept: int | None
    missing: Mapping[int, str]
    units: Mapping[str, str]
    seconds: tuple[float, ...]
    settings: Mapping[str, Any]

    KIND: ClassVar[str] = "watch"
    FORMAT: ClassVar[int] = 1
    TITLE: ClassVar[str] = "While training"

    def __post_init__(self) -> None:
        if not self.reports:
            raise DataError("a training that was watched at no epoch; expected at least one")
        self._check_alike()

    @property
    def steps(self) -> NDArray[np.int64]:
        """(reports,) metatrain's numbers of the epochs, −1 for the pretrained model."""
        return np.array([report.meta["step"] for report in self.reports], dtype=np.int64)

    @property
    def unit(self) -> str:
        """What :attr:`steps` are."""
        return "epochs"

    @property
    def before(self) -> SymmetryReport | None:
        """The report of the pretrained model; None of a training from scratch."""
        return self.at(BEFORE)

    def at(self, epoch: int) -> SymmetryReport | None:
        """Return the report of an epoch; None where it was not measured."""
        return next((report for report in self.reports if report.meta["step"] == epoch), None)

    def label(self, step: Any) -> str:
        """Name an epoch in tables and figures."""
        return "pretrained" if step == BEFORE else str(step)

    def crossed(self, report: SymmetryReport) -> list[Bound]:
        """Return the bounds that are crossed in a report."""
        return [bound for bound in self.bounds if bound.is_crossed(report)]

    def plot(self, ax: Axes | None = None, *, layer: str | None = None, legend: bool = True) -> Axes | Figure:
        """Draw a panel for the spectrum of every layer, and one for A with its bounds; as :meth:`History.plot` else."""
        from jetsym.plotting import plot_watch
        from jetsym.plotting.style import with_legend

        if ax is None and layer is None:
            return with_legend(plot_watch(self), legend)
        return super().plot(ax, layer=layer, legend=legend)

    def sentences(self) -> list[str]:
        """Say what became of A and of the layers since the start, why the training ended, and what model.ckpt holds."""
        return [*self._changes(), *self._end(), *self._kept(), *self._missing(), self._cost()]

    def _changes(self) -> list[str]:
        first, last = self.reports[0], self.reports[-1]
        if first is last:
            return []
        alone = first.meta["n_inputs"] < 2
        found = [] if alone else differences_of(last, first)
        real = {item.layer for item in found if item.quantity == "absolute A" and item.is_real}
        start, end = (self._moment(report) for report in (first, last))
        texts = []
        for name in self.outputs:
            one, two = (_error(report, name) for report in (first, last))
            surely = "" if alone else "; they surely differ" if name in real else "; they do not surely differ"
            texts.append(f"A of {name}{self._in_unit(name)}: {one} {start}, {two} {end}{surely}.")
        if alone:
            return [*texts, "One structure tells nothing of others."]
        shares = [item for item in found if item.quantity not in ("absolute A", "A / spread")]
        layers = sorted({item.layer for item in shares if item.is_real}, key=self.layers.index)
        where = f": in {', '.join(layers)}" if layers else ""
        return [
            *texts,
            f"{sum(item.is_real for item in shares)} of {len(shares)} shares of power surely differ{where}.",
            "Errors are combined as of independent inputs: of the same ones, as here, they are smaller.",
        ]

    def _moment(self, report: SymmetryReport) -> str:
        epoch = report.meta["step"]
        return "pretrained" if epoch == BEFORE else f"after epoch {epoch}"

    def _in_unit(self, name: str) -> str:
        return f" ({self.units[name]})" if self.units.get(name) else ""

    def _end(self) -> list[str]:
        if self.stopped is None:
            return []
        bound, epoch = self.stopped
        report = self.at(epoch)
        found = "" if report is None else f": A is {_error(report, bound.output)}"
        return [f"Told to end at epoch {epoch}, with A of {bound.words(self.units)}{found}."]

    def _kept(self) -> list[str]:
        if self.kept is None:
            return []
        text = f"model.ckpt holds the weights of epoch {self.kept}, which validated best"
        report = self.at(self.kept)
        if report is None:
            return [f"{text}; they were not measured."]
        errors = (f"{name} {_error(report, name)} {self.units.get(name, '')}".rstrip() for name in self.outputs)
        text += f": A of {', '.join(errors)}."
        over = [bound for bound in self.crossed(report) if bound.above]
        within = [one.meta["step"] for one in self.reports if not any(bound.is_crossed(one) for bound in over)]
        if over:
            said = " and ".join(bound.words(self.units) for bound in over)
            text += f" That is {said}; the last that is not: {self.label(within[-1]) if within else 'none'}."
        return [text]

    def _missing(self) -> list[str]:
        return [f"Epoch {epoch} could not be measured: {why}." for epoch, why in sorted(self.missing.items())]

    def _cost(self) -> str:
        number, mean = len(self.seconds), float(np.mean(self.seconds))
        of = self.settings["structures"]
        return (
            f"{number} measurement{'s' * (number != 1)} on {of} structure{'s' * (of != 1)}, {mean:.1f} s each, on the "
            f"CPU: {'the training waited for them' if self.bounds else 'on one thread beside the training'}."
        )

    def table(self, layer: str | None = None) -> str:
        """Return a row for every epoch: A of every output in its unit, and the invariant shares of all layers.

        With ``layer`` it is that of :meth:`jetsym.probing.reports.history.History.table`.
        """
        if layer is not None:
            return super().table(layer)
        hidden = self.reports[0].hidden
        errors = [f"A of {name}{self._in_unit(name)}" for name in self.outputs]
        title = f"{self.TITLE}: A by output; invariant share in % under {self.reports[0].meta['group']}, by layer"
        table = table_of(title, ("epoch", *errors, *hidden), words=0)
        for report in self.reports:
            cells = [_error(report, name) for name in self.outputs]
            rows = [self.row(name) for name in hidden]
            cells += [percent(report.fractions[row, 0], report.stderr[row, 0], report.noise_floor[row]) for row in rows]
            table.add_row(self.label(report.meta["step"]), *cells)
        return as_text(table)

    def __str__(self) -> str:
        return self.table() + "\n".join(self.sentences()) + "\n"

    def __repr__(self) -> str:
        epochs = ", ".join(self.label(int(epoch)) for epoch in self.steps)
        return f"Watch({len(self.layers)} layers; epochs {epochs})"

    def _content(self) -> dict[str, Any]:
        stopped = self.stopped and {**vars(self.stopped[0]), "epoch": self.stopped[1]}
        return {"epochs": self.steps.tolist(), **super()._content(), "stopped": stopped}

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> Self:
        bound = dict(data["stopped"] or {})
        return super()._read({**data, "stopped": [bound, bound.pop("epoch")] if bound else None})


def _error(report: SymmetryReport, name: str) -> str:
    item = report.equivariance[name]
    return concise(item.absolute, item.absolute_stderr, floor=item.rounding if item.is_within_rounding else 0.0)
