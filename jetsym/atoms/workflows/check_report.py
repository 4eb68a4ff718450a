"""What a check of a potential found: one table, a verdict, and the faults by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

from markupsafe import Markup

from jetsym.arguments import checked
from jetsym.pages import render
from jetsym.results import Result
from jetsym.text import as_text, at_most, concise, table_of

__all__ = ["Check", "Row"]

HEADS = ("test", "output", "found", "unit", "explained by rounding or steps", "verdict")


@dataclass(frozen=True)
class Row:
    """One test of one output.

    Parameters
    ----------
    test, output
        What was tried, and on what.
    value, error
        Root mean square over components and atoms, and its error: of all structures for A, else of one.
    explained
        What rounding, or the steps of differences, make of it at most.
    unit
        Of these.
    fault
        What is wrong, in a few words; "" where nothing is.
    allowed
        Whether the fault is no larger than the caller allows.
    doubt
        What may be wrong and cannot be told, and what would tell; "" where nothing is.
    structure
        The one of which it is, of several: that where least is explained; None for all together.
    """

    test: str
    output: str
    value: float
    error: float
    explained: float
    unit: str
    fault: str = ""
    allowed: bool = False
    doubt: str = ""
    structure: int | None = None

    @property
    def is_fault(self) -> bool:
        """Whether it is wrong, and by more than is allowed."""
        return bool(self.fault) and not self.allowed

    def cells(self) -> list[str]:
        """Write it under :data:`HEADS`."""
        verdict = f"? {self.doubt}" if self.doubt else "✓"
        if self.fault:
            verdict = f"allowed: {self.fault}" if self.allowed else f"✗ {self.fault}"
            verdict += "" if self.structure is None else f" (structure {self.structure})"
        found = concise(self.value, self.error)
        return [self.test, self.output, found, self.unit, at_most(self.explained), verdict]


@checked()
@dataclass(frozen=True)
class Check(Result):
    """The symmetries and consistency of a potential.

    Parameters
    ----------
    rows
        Every test of every output.
    hints
        What the faults hint at.
    meta
        Model, calls, structures, seed, notes.
    """

    rows: Sequence[Row]
    hints: Sequence[str]
    meta: Mapping[str, Any]

    KIND: ClassVar[str] = "check"
    FORMAT: ClassVar[int] = 1

    @property
    def faults(self) -> list[Row]:
        """The tests that found one."""
        return [row for row in self.rows if row.is_fault]

    @property
    def is_clean(self) -> bool:
        """Whether no test found a fault."""
        return not self.faults

    def row(self, test: str, output: str) -> Row:
        """Return one test of one output; KeyError where it was not made."""
        for one in self.rows:
            if (one.test, one.output) == (test, output):
                return one
        raise KeyError(f"there is no test {test!r} of {output!r}")

    def verdict(self) -> str:
        """Say what was found in a sentence."""
        name, n = self.meta["model"], self.meta["n_inputs"]
        on = f"{n} structure{'s' * (n != 1)}"
        doubts = list(dict.fromkeys(row.doubt for row in self.rows if row.doubt and not row.fault))
        open_ = f" Left open: {'; '.join(doubts)}." if doubts else ""
        allowed = list(dict.fromkeys(row.fault for row in self.rows if row.fault and row.allowed))
        open_ = (f" Allowed: {'; '.join(allowed)}." if allowed else "") + open_
        if self.is_clean:
            beyond = " beyond what is allowed" if allowed else ""
            return f"{name}: no fault{beyond} in {len(self.rows)} tests on {on}.{open_}"
        found = list(dict.fromkeys(row.fault for row in self.faults))
        return f"{name}: {len(found)} fault{'s' * (len(found) != 1)} on {on}: {'; '.join(found)}.{open_}"

    def sentences(self) -> list[str]:
        """Return the verdict, hints, and what a reader must know."""
        return [self.verdict(), *self.hints, *self.meta["notes"], f"{self.meta['calls']:,} calls."]

    def section(self) -> Markup:
        """Return it for a notebook's cell or a page."""
        rows = [row.cells() for row in self.rows]
        return render("check.html", sentences=self.sentences(), header=HEADS, rows=rows)

    def _records(self) -> Iterator[dict[str, Any]]:
        """Yield a row per test and output."""
        return map(asdict, self.rows)

    def __str__(self) -> str:
        table = table_of(None, HEADS, [row.cells() for row in self.rows], words=2)
        return as_text(table) + "\n".join(self.sentences()) + "\n"

    def __repr__(self) -> str:
        return f"Check({self.meta['model']}, {len(self.rows)} tests, {len(self.faults)} with faults)"

    def _content(self) -> dict[str, Any]:
        return {"rows": [asdict(row) for row in self.rows], "hints": list(self.hints), "meta": dict(self.meta)}

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> Self:
        return cls([Row(**row) for row in data["rows"]], list(data["hints"]), dict(data["meta"]))
