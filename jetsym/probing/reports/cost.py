"""Reports of what a broken symmetry costs: the part of a loss that is owed to A."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from jetsym.probing.reports.base import expect_meta
from jetsym.probing.reports.significance import chance_of, p_value
from jetsym.results import Result
from jetsym.symmetry import Symmetry
from jetsym.text import as_text, at_most, concise, concise_root, percent, table_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["CROSS_ENTROPY", "SQUARED", "Cost", "LossSplit"]

#: The losses that are split.
SQUARED, CROSS_ENTROPY = "squared", "cross-entropy"
#: Probability from where on a difference is said to be more than chance: that of two standard deviations.
LEVEL = chance_of(2.0)


@dataclass(frozen=True)
class LossSplit:
    """The loss of an output over the orbits of the inputs, split into that of its average and what A makes of it.

    Parameters
    ----------
    kind, loss
        Of the output, and "squared" (mean squared error per component, in the output's unit squared) or "cross-entropy"
        (nats, one for every object with a label).
    as_is, as_is_stderr
        For the inputs as they are.
    moved, moved_stderr
        ⟨loss⟩ over the orbits, with targets that transform as the output does.
    of_average, of_average_stderr
        Of the average over the group, f̄ = ∫ ρ(g)⁻¹ f(g·x) dμ.
    cost, cost_stderr
        moved − of_average, what is owed to A: A² per component, or ⟨KL(p̄ ‖ p)⟩ with p̄ the softmax of the averaged
        logits.
    share, share_stderr
        cost / moved, as a ratio of sums over inputs.
    gain, gain_stderr
        as_is − of_average: what averaging takes off the loss of these inputs as they are. Below 0 where their
        orientation tells something.
    rounding
        The cost that rounding alone can make, at most.
    remainder
        Estimate of what the finite number of rotations still adds to ``of_average`` of a cross-entropy, O(1/n²); 0 of
        squared errors.
    """

    kind: str
    loss: str
    as_is: float
    as_is_stderr: float
    moved: float
    moved_stderr: float
    of_average: float
    of_average_stderr: float
    cost: float
    cost_stderr: float
    share: float
    share_stderr: float
    gain: float
    gain_stderr: float
    rounding: float
    remainder: float = 0.0

    @property
    def is_within_rounding(self) -> bool:
        """Whether rounding explains the cost and its error."""
        return max(abs(self.cost), self.cost_stderr if self.cost_stderr > 0 else 0.0) <= self.rounding


@dataclass(frozen=True, eq=False)
class Cost(Result):
    """What a broken symmetry costs, output by output.

    Parameters
    ----------
    losses
        Output name -> its loss, split.
    meta
        Group, frame, number of inputs and rotations, dtype, cost of the measurement, notes.
    """

    losses: Mapping[str, LossSplit]
    meta: Mapping[str, Any]

    KIND: ClassVar[str] = "cost"
    FORMAT: ClassVar[int] = 1

    def plot(self, ax: Axes | None = None, *, legend: bool = True) -> Axes:
        """Draw the share of every loss that is owed to A; hollow where rounding explains it."""
        from jetsym.plotting.measured import Measured, plot_measured

        rows = [
            Measured(name, item.loss, 100 * item.share, 100 * item.share_stderr, not item.is_within_rounding)
            for name, item in self.losses.items()
        ]
        label = f"share of the loss owed to A under {Symmetry.from_dict(self.meta).words} [%]"
        return plot_measured(rows, label, ax, title="loss", legend=legend)

    def _records(self) -> Iterator[dict[str, Any]]:
        """Yield a row per output, with all parts of its loss."""
        return ({"output": name} | asdict(item) for name, item in self.losses.items())

    def _check(self) -> None:
        expect_meta(self.meta)

    def __str__(self) -> str:
        under, inputs = Symmetry.from_dict(self.meta).words, self.meta["n_inputs"]
        table = table_of(
            f"Losses under {under}, {inputs} inputs: roots of squared errors, cross-entropies in nats",
            ("output", "loss", "as it is", "moved", "its average", "owed to A", "share, %"),
            words=2,
        )
        for name, item in self.losses.items():
            values = [self._shown(item, key) for key in ("as_is", "moved", "of_average")]
            floor = item.rounding / item.moved if item.moved > 0 else 0.0
            share = percent(item.share, item.share_stderr, floor)
            unit = self.meta.get("units", {}).get(name) if item.loss == SQUARED else None
            table.add_row(
                f"{name} [{unit}]" if unit else name,
                item.loss,
                *values,
                self._shown(item, "cost", floor=item.rounding),
                share,
            )
        return as_text(table, width=140) + "\n".join(self.sentences()) + "\n"

    def sentences(self) -> list[str]:
        """Say in plain words what was found for every output."""
        return [" ".join(self._sentences(name, item)) for name, item in self.losses.items()]

    @staticmethod
    def _shown(item: LossSplit, key: str, *, floor: float = 0.0) -> str:
        """Write one of the numbers, of squared errors as its root."""
        value, error = getattr(item, key), getattr(item, f"{key}_stderr")
        if item.loss == SQUARED:
            return concise_root(value, error, floor=floor**0.5)
        return concise(value, error, floor=floor)

    def _sentences(self, name: str, item: LossSplit) -> list[str]:
        what = "mean squared error" if item.loss == SQUARED else "cross-entropy"
        under = Symmetry.from_dict(self.meta).words
        if item.is_within_rounding:
            result = [f"{name} owes nothing of its {what} to A under {under} that can be told from rounding"]
            result[0] += f" (below {at_most(item.rounding)})."
        else:
            share = percent(item.share, item.share_stderr)
            result = [f"A makes {share} % of the {what} of {name} over its orbits under {under}."]
        inputs = self.meta["n_inputs"]
        chance = p_value(item.gain, item.gain_stderr, inputs - 1)
        if inputs < 2:
            result.append("One input has no errors to judge by.")
        elif abs(item.gain) <= item.rounding or chance >= LEVEL:
            result.append("Of these inputs as they are, averaging would change it by no more than chance.")
        else:
            verb = "take away" if item.gain > 0 else "add"
            end = "" if item.gain > 0 else ": their orientation tells something"
            amount = concise(abs(item.gain), item.gain_stderr)
            result.append(f"Of these inputs as they are, averaging would {verb} {amount}{end}.")
        if abs(item.remainder) > max(item.cost_stderr, item.rounding):
            result.append(f"Few rotations may still make {item.remainder:.1g} of it: raise n_rotations.")
        return result
