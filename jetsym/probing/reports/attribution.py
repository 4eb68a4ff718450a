"""Reports of attributions: A as it is, the effect of every source, and a sentence on which explains most."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from markupsafe import Markup

from jetsym.pages import render
from jetsym.probing.reports.base import expect_meta
from jetsym.probing.reports.equivariance import KNOWN_TO, Equivariance
from jetsym.probing.reports.significance import chance_of, corrected, p_value
from jetsym.results import Result, flat
from jetsym.symmetry import Symmetry
from jetsym.text import as_text, concise, table_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Attribution", "Effect", "judged"]


#: Probability that anything at all is said to change A where nothing does: that of two standard deviations.
LEVEL = chance_of(2.0)


@dataclass(frozen=True)
class Effect:
    """The effect of switching one source on the equivariance error of an output.

    Parameters
    ----------
    change
        What was done.
    adds
        Whether the source was switched on; otherwise it was switched off.
    equivariance
        The error with the source switched.
    difference, difference_stderr
        A with the source switched minus A as it is, over the size of the output as it is, with the jackknife error over
        inputs of the difference: both are measured on the same inputs and elements.
    rounding
        What rounding alone makes of the difference, at most.
    p_value
        How probable such a difference is by chance: by Student's t over the inputs, corrected for the number of
        sources and outputs in which anything changes but rounding (Holm).
    switched_stderr
        Jackknife error over inputs of A with the source switched over the size of the output as it is: of the kind of
        that of relative A as it is, numerator and size left out together. NaN in reports from before it was measured.
    """

    change: str
    adds: bool
    equivariance: Equivariance
    difference: float
    difference_stderr: float
    rounding: float = 0.0
    p_value: float = 1.0
    switched_stderr: float = float("nan")

    @property
    def is_real(self) -> bool:
        """True where the difference is more than rounding, and surely no chance, for all that was tried."""
        return abs(self.difference) > self.rounding and self.p_value < LEVEL


Effects = Mapping[str, Mapping[str, Effect]]


def judged(effects: Effects, inputs: int) -> dict[str, dict[str, Effect]]:
    """Return effects with their probabilities by chance on so many inputs, corrected for how many there are.

    What changes nothing but rounding cannot be said to by chance, and is not counted.
    """
    places = [
        (name, source)
        for name, of in effects.items()
        for source, item in of.items()
        if abs(item.difference) > item.rounding
    ]
    found = [effects[name][source] for name, source in places]
    chances = corrected([p_value(item.difference, item.difference_stderr, inputs - 1) for item in found])
    values = dict(zip(places, chances, strict=True))
    return {
        name: {source: replace(item, p_value=values.get((name, source), 1.0)) for source, item in of.items()}
        for name, of in effects.items()
    }


@dataclass(frozen=True, eq=False)
class Attribution(Result):
    """The sources that an equivariance error comes from.

    Parameters
    ----------
    equivariance
        Output name -> its error as it is.
    effects
        Output name -> source -> what switching it does.
    meta
        Group, frame, number of inputs, dtype, cost, notes.
    """

    equivariance: Mapping[str, Equivariance]
    effects: Effects
    meta: Mapping[str, Any]

    KIND: ClassVar[str] = "attribution"
    FORMAT: ClassVar[int] = 2  # 2: differences of A over the size as it is, with their probabilities by chance

    def sentences(self) -> list[str]:
        """Say in plain words what was found for every output."""
        return [" ".join(_sentences(name, self)) for name in self.equivariance]

    def plot(self, ax: Axes | None = None, *, legend: bool = True) -> Axes:
        """Draw what switching every source does to A; hollow where it cannot be told from chance or rounding."""
        from jetsym.plotting.measured import Measured, plot_measured

        rows = [
            Measured(_switch(source, item), name, item.difference, item.difference_stderr, item.is_real)
            for name, of in self.effects.items()
            for source, item in of.items()
        ]
        label = f"change of A under {Symmetry.from_dict(self.meta).words} / size as it is"
        return plot_measured(rows, label, ax, title="output", legend=legend)

    def _records(self) -> Iterator[dict[str, Any]]:
        """Yield a row per output and source: A with the source switched, over its own size, and the difference."""
        for name, of in self.effects.items():
            for source, item in of.items():
                switched = {key: getattr(item.equivariance, key) for key in ("relative", "relative_stderr")}
                yield {"output": name, "source": source} | switched | flat(asdict(item))

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> Self:
        found = super()._read(data)
        return replace(found, effects=judged(found.effects, found.meta["n_inputs"]))

    def _check(self) -> None:
        expect_meta(self.meta)

    def section(self) -> Markup:
        """Return it for a notebook's cell or a page."""
        rows = [row for name in self.equivariance for row in self.rows(name)]
        return render("attribution.html", sentences=self.sentences(), header=HEADS, rows=rows)

    def rows(self, name: str) -> list[list[str]]:
        """Write A of an output as it is, and with every source switched, by :data:`HEADS`.

        All errors of A are those of the ratio to the size as it is, by leaving out one input at a time; reports from
        before these were measured have none where a source is switched.
        """
        item = self.equivariance[name]
        rows = [[name, "", "", "as it is", _relative(item), "", ""]]
        for source, effect in self.effects[name].items():
            difference = concise(effect.difference, effect.difference_stderr, floor=_hidden(item, effect))
            switched, chance = "on" if effect.adds else "off", f"{effect.p_value:.1g}"
            rows.append([name, source, switched, effect.change, _switched(item, effect), difference, chance])
        return rows

    def __str__(self) -> str:
        under, inputs = Symmetry.from_dict(self.meta).words, self.meta["n_inputs"]
        table = table_of(f"Relative A under {under}, {inputs} inputs", HEADS, words=4)
        for name in self.equivariance:
            for place, row in enumerate(self.rows(name)):
                table.add_row("" if place else name, *row[1:])
            table.add_section()
        return as_text(table, width=140) + "\n".join(self.sentences()) + "\n"


#: Heads of the columns of :meth:`Attribution.rows`.
HEADS = ("output", "source", "", "what was done", "A / size as it is", "difference", "by chance")


def _switch(source: str, effect: Effect) -> str:
    """Say which source, and whether it was switched on or off."""
    return f"{source} {'on' if effect.adds else 'off'}"


def _relative(item: Equivariance) -> str:
    return concise(item.relative, item.relative_stderr, floor=item.noise_floor)


def _switched(item: Equivariance, effect: Effect) -> str:
    """Write A with a source switched, over the size of the output as it is."""
    return concise(item.relative + effect.difference, effect.switched_stderr, floor=_switched_floor(item, effect))


def _switched_floor(item: Equivariance, effect: Effect) -> float:
    """Return the noise floor of A with a source switched, over the size of the output as it is."""
    size = item.absolute / item.relative if item.relative else float("nan")
    other = effect.equivariance
    return other.noise_floor * (other.absolute / other.relative / size if other.relative and item.relative else 1.0)


def _hidden(item: Equivariance, effect: Effect) -> float:
    """Return below what a difference cannot be told from rounding: of both measurements, where neither exceeds its own.

    Of one that exceeds the finer rounding the difference is that of the roundings, such as of float32 and float64.
    """
    if abs(effect.difference) > effect.rounding:
        return effect.rounding
    return max(effect.rounding, KNOWN_TO * _switched_floor(item, effect))


def _sentences(name: str, report: Attribution) -> list[str]:
    item, effects = report.equivariance[name], report.effects[name]
    off = {source: effect for source, effect in effects.items() if not effect.adds}
    on = {source: effect for source, effect in effects.items() if effect.adds and effect.is_real}
    still = [source for source, effect in effects.items() if effect.adds and not effect.is_real]
    if item.is_within_rounding:
        under = Symmetry.from_dict(report.meta).words
        result = [f"{item.verdict(name, 'invariant or equivariant as it is', under)}."]
    elif not off:
        result = [f"{name} has a relative A of {_relative(item)}; no source was switched off."]
    elif report.meta["n_inputs"] < 2:
        result = [f"{name} has a relative A of {_relative(item)}. One input has no errors to judge sources by."]
    else:
        result = [f"{name} has a relative A of {_relative(item)}. {_largest(item, off)}"]
    for source, effect in on.items():
        verb = "adds" if effect.difference > 0 else "takes away"
        amount = concise(abs(effect.difference), effect.difference_stderr)
        result.append(f"{source.capitalize()} ({effect.change}) {verb} {amount}.")
    if still:
        what = ", ".join(still).capitalize()
        result.append(f"{what} {'changes' if len(still) == 1 else 'change'} nothing that can be told from chance.")
    if name in report.meta.get("unbiased", ()):
        result.append("The rule does not see all of it: held-out elements tell the differences.")
    return result


def _largest(item: Equivariance, off: Mapping[str, Effect]) -> str:
    """Say which of the sources that were switched off explains most of it, as a part of A²."""
    lowering = {source: effect for source, effect in off.items() if effect.is_real and effect.difference < 0}
    if not lowering:
        *others, last = off
        sources = f"{', '.join(others)} or {last}" if others else last
        return f"No measurable part of it comes from {sources}{', switched off one at a time' if others else ''}."
    source, effect = min(lowering.items(), key=lambda pair: pair[1].difference)
    left = max(item.relative + effect.difference, 0.0) ** 2 / item.relative**2
    value = _switched(item, effect)
    if left < 0.5:
        return f"Most of it comes from {source}: {effect.change}, A falls to {value}."
    return f"No source explains half of it; without {source} ({effect.change}) A falls furthest, to {value}."
