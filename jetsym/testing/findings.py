"""What assertions have found, kept as JSON; no torch is imported to collect it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

from jetsym.arguments import checked
from jetsym.results import Result
from jetsym.text import as_text, table_of

__all__ = ["HELD", "Assertion", "Assertions", "collecting", "tell"]

#: How an assertion ended.
HELD, BROKEN, UNRESOLVED = "held", "broken", "unresolved"


@dataclass(frozen=True)
class Assertion:
    """One assertion: how it ended, in words, and what was measured.

    Parameters
    ----------
    ended
        "held", "broken" or "unresolved".
    words
        A sentence for each output.
    measured
        Group -> report, as its ``to_dict`` gives it.
    test
        Where it was made, as pytest calls it; "" outside of a test.
    """

    ended: str
    words: tuple[str, ...]
    measured: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    test: str = ""

    def report(self, group: str) -> Any:
        """Return the report under one of the groups that were measured."""
        from jetsym.probing.reports.read import KINDS

        data = self.measured[group]
        return KINDS[data["kind"]].from_dict(data)


@checked()
@dataclass(frozen=True, eq=False)
class Assertions(Result):
    """All assertions of a run of tests, as ``pytest --jetsym-report PATH`` writes them.

    Parameters
    ----------
    assertions
        In the order in which the tests ended.

    Examples
    --------
    >>> [one.ended for one in Assertions((Assertion("held", ("energy is invariant",), test="test_it"),)).assertions]
    ['held']
    """

    assertions: tuple[Assertion, ...]

    KIND: ClassVar[str] = "assertions"
    FORMAT: ClassVar[int] = 1

    def __str__(self) -> str:
        rows = ((one.test, one.ended, " ".join(one.words)) for one in self.assertions)
        return as_text(table_of(None, ("test", "ended", "found"), rows, words=3))

    def _records(self) -> Iterator[dict[str, Any]]:
        """Yield a row per assertion."""
        return ({"test": one.test, "ended": one.ended, "found": " ".join(one.words)} for one in self.assertions)


_COLLECTORS: list[Callable[[Assertion], None]] = []


@contextmanager
def collecting(take: Callable[[Assertion], None]) -> Iterator[None]:
    """Give every assertion that is made inside the block to a function."""
    _COLLECTORS.append(take)
    try:
        yield
    finally:
        _COLLECTORS.remove(take)


def tell(assertion: Callable[[], Assertion]) -> None:
    """Give an assertion to all that collect them; it is only made if there are any."""
    if _COLLECTORS:
        made = assertion()
        for take in list(_COLLECTORS):
            take(made)
