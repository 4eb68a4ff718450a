"""Reports of learned parity: the odd part of outputs under an inversion or a reflection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from jetsym.probing.reports.cost import SQUARED
from jetsym.probing.reports.significance import chance_of, in_sigma
from jetsym.results import Result, flat
from jetsym.text import as_text, at_most, concise, percent, table_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["EVEN", "MIXED", "ODD", "Oddness", "Parity"]

#: What an output is found to be.
EVEN, ODD, MIXED = "even", "odd", "neither even nor odd"
#: Standard deviations from where on something is said to be so.
SIGMA = 3.0


@dataclass(frozen=True)
class Oddness:
    """The two parts of an output, f = e + a with e(Px) = e(x) and a(Px) = −a(x), component by component.

    Parameters
    ----------
    kind
        What the output is said to be.
    odd, odd_stderr
        √⟨a²⟩ per component, in the unit of the output, with its jackknife error over inputs; negative where an unbiased
        estimate of the square is.
    even
        Standard deviation of e across inputs, per component; NaN for a single input.
    share, share_stderr
        ⟨a²⟩ over ⟨a²⟩ + even²: the part of what varies that is odd.
    rounding
        √⟨a²⟩ that rounding alone can make, at most.
    p_value
        How probable it is that ⟨a²⟩ exceeds rounding by chance of these inputs, by Student's t; of its logarithm where
        no rotations were drawn, so that a² is exact for each input.
    mean, mean_stderr, mean_p_value
        ⟨a⟩ of each component, and how probable any of them is by chance (Student's t, corrected by Holm): below the
        level the inputs themselves prefer one hand, and the output tells which.
    loss
        "squared" or "cross-entropy" where there were targets, else None; so are the next numbers.
    error, error_stderr
        Loss of the output as it is: of squared errors the root of their mean per component.
    gain, gain_stderr, gain_p_value
        Mean loss of e alone less that of f: above 0 where the odd part has learned something, below where it is
        noise.
    """

    kind: str
    odd: float
    odd_stderr: float
    even: float
    share: float
    share_stderr: float
    rounding: float
    p_value: float
    mean: tuple[float, ...]
    mean_stderr: tuple[float, ...]
    mean_p_value: float
    loss: str | None = None
    error: float | None = None
    error_stderr: float | None = None
    gain: float | None = None
    gain_stderr: float | None = None
    gain_p_value: float | None = None

    @property
    def is_real(self) -> bool:
        """Whether there surely is an odd part: more than rounding, and than chance."""
        return abs(self.odd) > self.rounding and self.p_value < chance_of(SIGMA)

    @property
    def verdict(self) -> str:
        """What the output is, as far as rounding lets it be told: "even", "odd" or "neither even nor odd"."""
        if abs(self.odd) <= self.rounding:
            return EVEN
        return ODD if self.even <= self.rounding else MIXED


@dataclass(frozen=True, eq=False)
class Parity(Result):
    """The learned parity of outputs.

    Parameters
    ----------
    outputs
        Output name -> its two parts.
    meta
        What P is (``mirror``), number of inputs and rotations, dtype, cost, notes.
    """

    outputs: Mapping[str, Oddness]
    meta: Mapping[str, Any]

    KIND: ClassVar[str] = "parity"
    FORMAT: ClassVar[int] = 1

    def plot(self, ax: Axes | None = None, *, legend: bool = True) -> Axes:
        """Draw the odd share of what varies of every output; hollow where it cannot be told from chance or rounding."""
        from jetsym.plotting.measured import Measured, plot_measured

        rows = [
            Measured(name, item.kind, 100 * item.share, 100 * item.share_stderr, item.is_real)
            for name, item in self.outputs.items()
        ]
        label = f"odd share under {self.meta['mirror']} [%]"
        return plot_measured(rows, label, ax, title="kind", legend=legend)

    def _records(self) -> Iterator[dict[str, Any]]:
        """Yield a row per output, without the means of its components."""
        return ({"output": name} | flat(asdict(item)) for name, item in self.outputs.items())

    def __str__(self) -> str:
        mirror, inputs = self.meta["mirror"], self.meta["n_inputs"]
        table = table_of(
            f"Parity under {mirror}, {inputs} inputs",
            ("output", "odd part", "σ", "even part", "odd, %", "error", "lost without", "σ"),
        )
        for name, item in self.outputs.items():
            floor = item.rounding**2 / (item.odd**2 + item.even**2) if item.odd or item.even else 0.0
            judged = ["", "", ""]
            if item.error is not None and item.gain is not None and item.gain_stderr is not None:
                judged = [concise(item.error, item.error_stderr or 0.0), concise(item.gain, item.gain_stderr)]
                judged.append(_sigma(item.gain_p_value))
            table.add_row(
                name,
                concise(item.odd, item.odd_stderr, floor=item.rounding),
                _sigma(item.p_value),
                concise(item.even),
                percent(item.share, item.share_stderr, floor),
                *judged,
            )
        return as_text(table, width=140) + "\n".join(self.sentences()) + "\n"

    def sentences(self) -> list[str]:
        """Say in plain words what was found for every output."""
        return [" ".join(_sentences(name, item, self.meta)) for name, item in self.outputs.items()]


def _sentences(name: str, item: Oddness, meta: Mapping[str, Any]) -> list[str]:
    mirror, level = meta["mirror"], chance_of(SIGMA)
    if item.verdict == EVEN:
        return [f"{name} is even under {mirror} to within rounding (odd part below {at_most(item.rounding)})."]
    size = concise(item.odd, item.odd_stderr)
    if meta["n_inputs"] < 2:
        return [f"{name} has an odd part of {size} under {mirror}; one input has no errors to judge it by."]
    if not item.is_real:
        result = [f"An odd part of {name} of {size} under {mirror} cannot be told from chance on these inputs."]
    elif item.verdict == ODD:
        result = [f"{name} is odd under {mirror}: all that varies of it is a pseudoscalar, {size}."]
    else:
        share = percent(item.share, item.share_stderr)
        result = [f"{name} has an odd part of {size} under {mirror}, {share} % of what varies of it."]
    if item.mean_p_value < level:
        where = max(range(len(item.mean)), key=lambda i: abs(item.mean[i]) / (item.mean_stderr[i] or 1e-300))
        which = f" (component {where})" if len(item.mean) > 1 else ""
        amount = concise(item.mean[where], item.mean_stderr[where])
        result.append(
            f"Its mean{which} is {amount}, {_sigma(item.mean_p_value)} σ from 0: these inputs prefer one hand."
        )
    if item.gain is not None and item.gain_p_value is not None:
        amount = concise(abs(item.gain), item.gain_stderr or 0.0)
        if item.loss == SQUARED and item.error:
            error = concise(item.error, item.error_stderr or 0.0)
            result.append(f"It is {item.odd / item.error:.2g} times the error of {error}.")
        if item.gain_p_value >= level:
            result.append("What it does to the loss cannot be told from chance.")
        elif item.gain > 0:
            result.append(f"It is learned: without it the loss grows by {amount}.")
        else:
            result.append(f"It is no gain: without it the loss falls by {amount}.")
    return result


def _sigma(p_value: float | None) -> str:
    if p_value is None:
        return ""
    sigma = in_sigma(p_value)
    return ">30" if sigma > 30 else f"{sigma:.1f}"
