"""Evaluations of taggers, as numbers, as tables of text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from markupsafe import Markup
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from jetsym.forms import expect_facts
from jetsym.jets.evaluation.calibration import Calibration
from jetsym.jets.evaluation.distributions import MassSculpting, ScoreHistogram
from jetsym.jets.evaluation.rejection import FEW, Rejection
from jetsym.jets.evaluation.stability_report import Stability
from jetsym.jets.weights import weights_in_words
from jetsym.pages import sections_of
from jetsym.results import Result, flat
from jetsym.text import as_text, concise, table_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Bin", "ClassQuality", "Evaluation"]

#: Classes that a table shows; the JSON form holds all.
SHOWN = 20

#: Macro-averaged areas, and what is averaged.
MACRO = {
    "macro_auc_ovo": "the mean over all pairs of classes, one against one",
    "macro_auc_ovr": "the mean over classes, each against all others together",
}


@dataclass(frozen=True)
class ClassQuality:
    """The quality with which one class is found.

    Parameters
    ----------
    name, jets
        The class, and its jets.
    found
        Share of them whose largest logit is theirs.
    auc
        Area under the ROC curve of its probability against all other classes; None where these have no jets.
    auc_background, auc_background_stderr
        Area against the background by the score p_s / (p_s + p_b), with DeLong's error; None for background.
    rejection
        At its working point; None for background.
    roc
        Signal efficiency, and share of background that passes: points of the ROC curve against the background.
    n_eff
        Number of equal jets that its jets are worth, (Σw)²/Σw²; None where jets have no weights.
    roc_band
        Interval of that share at the cut of every point, see :func:`jetsym.jets.evaluation.roc.roc_points`; empty in
        formats before 5.
    scores
        Histogram of its score; None for background, and in formats before 5.
    """

    name: str
    jets: int
    found: float
    auc: float | None
    auc_background: float | None = None
    auc_background_stderr: float | None = None
    rejection: Rejection | None = None
    roc: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
    n_eff: float | None = None
    roc_band: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
    scores: ScoreHistogram | None = None


@dataclass(frozen=True)
class Bin:
    """The jets of a range of pT, low ≤ pT < high in GeV, with the metrics of :class:`Evaluation` that they allow.

    ``rejections`` are at the same signal efficiency in every bin, so that each bin has a cut of its own. ``n_eff`` is
    the number of equal jets that its jets are worth, None where jets have no weights.
    """

    low: float
    high: float
    jets: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    rejections: Mapping[str, Rejection] = field(default_factory=dict)
    n_eff: float | None = None


@dataclass(frozen=True, eq=False)
class Evaluation(Result):
    """The quality of a tagger on labelled jets.

    Parameters
    ----------
    metrics
        ``accuracy``, ``macro_auc_ovo`` (one class against one other; or ``macro_auc_ovr``, one against the rest; of the
        classes present) and ``auc_top_qcd`` as far as the sample allows, each with its standard error as ``…_stderr``;
        ``log_loss`` (nats); ``ece`` and ``ece_floor``, see
        :class:`~jetsym.jets.evaluation.calibration.Calibration`.
    classes
        Names of all classes, in the order of the logits.
    background
        Those against which the others are told.
    qualities
        One :class:`ClassQuality` for every class present.
    confusion
        Jets by true class (rows) and most probable class (columns); where jets have weights, sums of these.
    calibration
        Reliability of the probabilities.
    bins
        The same by the jets' pT.
    rotated
        The same tagger on the same jets, each after a rotation of its own.
    stability
        How stable its decisions are on the same jets, if that was asked for.
    sculpting
        What its cuts do to the mass of the background; None where the masses are not known, and in formats before 5.
    meta
        What was measured: number of ``jets``, level of the intervals, and what the caller added. ``weights`` is None
        where every jet counted once, else the ``column`` that weighed them, ``n_eff`` = (Σw)²/Σw², their ``sum``, and
        the share of ``negative`` ones; formats before 4 do not say, and counted every jet once.
    """

    metrics: Mapping[str, float]
    classes: tuple[str, ...]
    background: tuple[str, ...]
    qualities: tuple[ClassQuality, ...]
    confusion: tuple[tuple[float, ...], ...]
    calibration: Calibration
    bins: tuple[Bin, ...] = ()
    rotated: Evaluation | None = None
    stability: Stability | None = None
    sculpting: MassSculpting | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    KIND: ClassVar[str] = "evaluation"
    FORMAT: ClassVar[int] = 5

    @property
    def rejections(self) -> dict[str, Rejection]:
        """Of every signal class, at its working point."""
        return {item.name: item.rejection for item in self.qualities if item.rejection is not None}

    def plot(self, ax: Axes | None = None, *, legend: bool = True) -> Axes:
        """Draw the ROC curves; see :func:`jetsym.plotting.plot_roc`, and others there."""
        from jetsym.plotting import plot_roc
        from jetsym.plotting.style import with_legend

        return with_legend(plot_roc(self, ax), legend)

    def section(self) -> Markup:
        """Return its tables and those of its stability for a notebook's cell or a page, with notes on them."""
        tables, notes = self.tables(), self.notes()
        if self.stability is not None:
            tables.append(self.stability.table())
            notes += self.stability.all_notes()
        return sections_of(tables, notes)

    def page(self) -> str:
        """Return it as a self-contained HTML page, with all figures that it has the numbers for."""
        from matplotlib import pyplot

        from jetsym.jets.evaluation.figures import evaluation_page, figures_of
        from jetsym.plotting import figure_of

        drawn = figures_of(self)
        try:
            return evaluation_page(self, drawn)
        finally:
            for figure in drawn.values():
                pyplot.close(figure_of(figure))

    def _records(self) -> Iterator[dict[str, Any]]:
        """Yield a row per class and its rejection at its working point; :attr:`metrics` are of all classes."""
        for item in self.qualities:
            rejection = {} if item.rejection is None else flat(item.rejection.to_dict())
            yield flat(asdict(item)) | {f"rejection_{key}": value for key, value in rejection.items()}

    def _check(self) -> None:
        expect_facts(self.meta, needed=("jets", "confidence"))
        if self.meta["confidence"] is None:
            raise TypeError("meta has no level of the intervals")

    def tables(self) -> list[Table]:
        """Return all numbers: an overview, by class, and by pT where that is known."""
        return [self._overview(), self._classes(), *([self._bins()] if self.bins else [])]

    def notes(self) -> list[str]:
        """Say what the tables mean, and what the sample is too small for."""
        return list(map(str, self._notes()))

    def table(self) -> Group:
        """Return all numbers, to be printed by rich."""
        return Group(*self.tables(), *self._notes())

    def __str__(self) -> str:
        return as_text(self.table(), width=120)

    def _overview(self) -> Table:
        jets = self.meta["jets"] if "jets" in self.meta else round(sum(map(sum, self.confusion)))
        columns = [self, *([self.rotated] if self.rotated else [])]
        heads = ("as they are", "rotated at random")[: len(columns)]
        table = _table(
            f"{self.meta.get('model', self.meta.get('scores', 'tagger'))} on {jets:,} jets", "metric", *heads
        )
        for name in self.metrics:
            if not name.endswith(("_stderr", "_floor")):
                table.add_row(name, *(_measured(each.metrics, name) for each in columns))
        return table

    def _classes(self) -> Table:
        against = "QCD" if all(name.startswith("QCD") for name in self.background) else ", ".join(self.background)
        heads = ("class", "jets", "found", "AUC", "signal", "rejection", *(["rotated"] if self.rotated else []))
        table = _table(f"each class against {against}", *heads)
        rotated = self.rotated.rejections if self.rotated else {}
        for item in self.qualities[:SHOWN]:
            cells = [_jets(item), f"{100 * item.found:.1f} %"]
            if item.rejection is not None and item.auc_background is not None:
                cells.append(_with_error(item.auc_background, item.auc_background_stderr))
                cells += [f"{100 * item.rejection.signal_efficiency:.4g} %", str(item.rejection)]
                cells += [_short(rotated[item.name])] if self.rotated else []
            table.add_row(item.name, *cells)
        return table

    def _bins(self) -> Table:
        ranges = (f"{each.low:g}–{each.high:g}" for each in self.bins)
        table = _table("by jet pT [GeV]; rejections with a cut for every bin", "", *ranges)
        table.add_row("jets", *map(_jets, self.bins))
        names = [name for name in ("accuracy", *MACRO) if name in self.metrics]
        for name in names:
            cells = (_measured(each.metrics, name) for each in self.bins)
            table.add_row(name, *cells, end_section=name == names[-1])
        for name in list(self.rejections)[:SHOWN]:
            table.add_row(name, *(_short(each.rejections.get(name)) for each in self.bins))
        return table

    def _notes(self) -> list[Text]:
        notes = [weights_in_words(self.meta["weights"], self.meta["jets"])] if "weights" in self.meta else []
        level = f"{100 * float(self.meta.get('confidence', 0.95)):.4g} %"
        notes += [f"{name}: {words}." for name, words in MACRO.items() if name in self.metrics]
        notes.append(f"[…] {level} interval; it counts that the cut is found on the same sample.")
        every = [*self.rejections.values(), *(item for each in self.bins for item in each.rejections.values())]
        every += self.rotated.rejections.values() if self.rotated else []
        if any(item.passed and item.few for item in every):
            notes.append(f"* fewer than {FEW} background jets pass: read the interval, not the number.")
        if any(item.passed and item.share is not None and item.share <= 0 for item in every):
            notes.append("> weights cancel: those of the background that passes sum to 0 or less; a bound from below.")
        if any(not item.passed for item in every):
            notes.append("> no background jet passes: the sample bounds the rejection from below only.")
        if any(item.high == 1 for item in every):
            notes.append("An interval from 1 on: too few jets of the signal to place so loose a cut.")
        notes += [] if self.sculpting is None else _sculpted(self.sculpting)
        if len(self.qualities) > SHOWN:
            notes.append(f"The first {SHOWN} of {len(self.qualities)} classes; save the result to have them all.")
        return [Text(note) for note in notes]


def _sculpted(sculpting: MassSculpting) -> list[str]:
    """Say which cut looks most at the mass of the background, beyond chance, and which are not seen to."""
    known = {name: item for name, item in sculpting.signals.items() if item.divergence is not None}
    seen = {name: item for name, item in known.items() if item.is_seen}
    if not known:
        return []
    unseen = [name for name in known if name not in seen]
    left = f"; not told from chance for {', '.join(unseen[:SHOWN])}" if unseen else ""
    if not seen:
        return [
            f"No cut is seen to look at the mass of the background ({sculpting.mass}): too few jets pass, or it is so."
        ]
    name, item = max(seen.items(), key=lambda pair: pair[1].excess)
    return [
        f"The cut for {name} looks most at the mass of the background ({sculpting.mass}), beyond chance: between the "
        f"jets that pass and those that fail the Jensen–Shannon divergence is {item.divergence:.3f} bits, "
        f"{item.by_chance:.3f} by chance{left}."
    ]


def _table(title: str, *heads: str) -> Table:
    """Return a table with names on the left and numbers on the right, narrow enough for 80 columns."""
    return table_of(title, heads, no_wrap=True, box=SIMPLE_HEAD, pad_edge=False, padding=(0, 0, 0, 1))


def _jets(part: ClassQuality | Bin) -> str:
    """Return the number of jets; where they have weights, with that of equal jets that they count as."""
    return f"{part.jets:,}" if part.n_eff is None else f"{part.jets:,} ({part.n_eff:,.4g})"


def _measured(metrics: Mapping[str, float], name: str) -> str:
    if name not in metrics:
        return "–"
    if name == "ece":
        return f"{metrics[name]:.4f} ({metrics['ece_floor']:.4f} if perfect)"
    return _with_error(metrics[name], metrics.get(f"{name}_stderr"))


def _with_error(value: float, error: float | None) -> str:
    return concise(value, error) if error else f"{value:.4f}"


def _short(rejection: Rejection | None) -> str:
    return "–" if rejection is None else str(rejection).partition(" [")[0].partition(" (")[0]
