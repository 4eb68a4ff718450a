"""The table of failure modes: a row for each, which the file of its rule adds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from jetsym.errors import ConfigError, expect_a
from jetsym.probing.diagnosis.case import Case
from jetsym.probing.diagnosis.thresholds import BOUNDS, Bound
from jetsym.probing.reports.diagnosis import Finding
from jetsym.text import options_said

__all__ = ["MEASURE_AGAIN", "MODES", "Mode", "Rule", "register"]

#: The word for what repairs a measurement rather than a model.
MEASURE_AGAIN = "measure-again"


Rule = Callable[[Case], Iterable[Finding]]


@dataclass(frozen=True)
class Mode:
    """One way in which a network fails its symmetry.

    Parameters
    ----------
    name
        What it is called.
    rule
        ``rule(case)``: findings without names, one by one; :class:`~jetsym.probing.diagnosis.case.NotJudged` where
        the report does not hold what it takes.
    why
        Why it matters.
    remedy
        What to try, in words.
    remedies
        What ``jetsym repair`` can do about it, by word, the least intrusive first; each kind of run knows some.
    """

    name: str
    rule: Rule
    why: str
    remedy: str
    remedies: tuple[str, ...]

    def findings(self, case: Case) -> Iterator[Finding]:
        """Find the failures in a report, each with its name, why it matters and what to try."""
        for found in self.rule(case):
            remedy = self.remedy + (f" By these numbers: {options_said(found.options)}." if found.options else "")
            yield replace(
                found,
                name=self.name,
                why=self.why,
                remedy=remedy,
                evidence=tuple(found.evidence),
                irreps=tuple(found.irreps),
            )


#: Every failure mode that is looked for, by name.
MODES: dict[str, Mode] = {}


def register(
    name: str,
    *,
    why: str,
    remedy: str,
    remedies: Sequence[str] = (),
    thresholds: Mapping[str, Bound] | None = None,
) -> Callable[[Rule], Rule]:
    """Add the rule that follows to the table of modes; the parameters are those of :class:`Mode`.

    Parameters
    ----------
    thresholds
        Bounds of its own by name, which the rule finds in ``case.bounds`` and users may change.

    Raises
    ------
    ConfigError
        The name of the mode or of a bound is taken.
    """
    expect_a("the name of a failure mode", name, str)
    own = thresholds or {}
    taken = [*({name} & MODES.keys()), *(own.keys() & BOUNDS.keys())]
    if taken:
        raise ConfigError(f"failure mode {name!r} brings {taken[0]!r}, a name that is taken; expected another")

    def add(rule: Rule) -> Rule:
        expect_a(f"the rule of {name!r}", rule, Callable)
        MODES[name] = Mode(name, rule, why, remedy, tuple(remedies))
        BOUNDS.update(own)
        return rule

    return add
