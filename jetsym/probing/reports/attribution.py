"""Reports of attributions: A as it is, the effect of every source, and a sentence on which explains most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

from jetsym.probing.reports.equivariance import Equivariance
from jetsym.storage import Stored
from jetsym.symmetry import Symmetry
from jetsym.text import as_text, concise, table_of

__all__ = ["Attribution", "Effect"]


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
        Relative A with the source switched minus relative A as it is, with the jackknife error over inputs of the
        difference: both are measured on the same inputs and elements.
    """

    change: str
    adds: bool
    equivariance: Equivariance
    difference: float
    difference_stderr: float

    @property
    def is_real(self) -> bool:
        """True where the difference is more than rounding, and than twice its error."""
        return abs(self.difference) > max(2 * self.difference_stderr, self.equivariance.noise_floor)


@dataclass(frozen=True, eq=False)
class Attribution(Stored):
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
    effects: Mapping[str, Mapping[str, Effect]]
    meta: Mapping[str, Any]

    KIND: ClassVar[str] = "attribution"
    FORMAT: ClassVar[int] = 1

    def sentences(self) -> list[str]:
        """Say in plain words what was found for every output."""
        return [" ".join(_sentences(name, self)) for name in self.equivariance]

    def _content(self) -> dict[str, Any]:
        return {
            "equivariance": {name: asdict(item) for name, item in self.equivariance.items()},
            "effects": {
                name: {source: asdict(effect) for source, effect in effects.items()}
                for name, effects in self.effects.items()
            },
            "meta": dict(self.meta),
        }

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            equivariance={name: Equivariance(**item) for name, item in data["equivariance"].items()},
            effects={
                name: {
                    source: Effect(**{**effect, "equivariance": Equivariance(**effect["equivariance"])})
                    for source, effect in effects.items()
                }
                for name, effects in data["effects"].items()
            },
            meta=dict(data["meta"]),
        )

    def __str__(self) -> str:
        table = table_of(
            f"Relative A under {Symmetry.from_dict(self.meta).words}, {self.meta['n_inputs']} inputs",
            ("output", "source", "", "what was done", "relative A", "difference"),
            words=4,
        )
        for name, item in self.equivariance.items():
            table.add_row(name, "", "", "as it is", _relative(item), "")
            for source, effect in self.effects[name].items():
                floor = effect.equivariance.noise_floor
                difference = concise(effect.difference, effect.difference_stderr, floor=floor)
                switched = "on" if effect.adds else "off"
                table.add_row("", source, switched, effect.change, _relative(effect.equivariance), difference)
            table.add_section()
        return as_text(table, width=140) + "\n".join(self.sentences()) + "\n"


def _relative(item: Equivariance) -> str:
    return concise(item.relative, item.relative_stderr, floor=item.noise_floor)


def _sentences(name: str, report: Attribution) -> list[str]:
    item, effects = report.equivariance[name], report.effects[name]
    off = {source: effect for source, effect in effects.items() if not effect.adds}
    on = {source: effect for source, effect in effects.items() if effect.adds and effect.is_real}
    if item.is_within_rounding:
        under = Symmetry.from_dict(report.meta).words
        result = [f"{item.verdict(name, 'invariant or equivariant as it is', under)}."]
    elif not off:
        result = [f"{name} has a relative A of {_relative(item)}; no source was switched off."]
    else:
        result = [f"{name} has a relative A of {_relative(item)}. {_largest(item, off)}"]
    for source, effect in on.items():
        verb = "adds" if effect.difference > 0 else "takes away"
        amount = concise(abs(effect.difference), effect.difference_stderr)
        result.append(f"{source.capitalize()} ({effect.change}) {verb} {amount}.")
    return result


def _largest(item: Equivariance, off: Mapping[str, Effect]) -> str:
    """Say which of the sources that were switched off explains most of it, as a part of A²."""
    lowering = {source: effect for source, effect in off.items() if effect.is_real and effect.difference < 0}
    if not lowering:
        return f"None of {', '.join(off)} explains it: without any one of them it is not measurably smaller."
    source, effect = min(lowering.items(), key=lambda pair: pair[1].difference)
    left = max(effect.equivariance.relative, 0.0) ** 2 / item.relative**2
    value = _relative(effect.equivariance)
    if left < 0.5:
        return f"Most of it comes from {source}: {effect.change}, A falls to {value}."
    return f"No source explains half of it; without {source} ({effect.change}) A falls furthest, to {value}."
