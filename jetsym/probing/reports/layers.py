"""Lists of layers: what a probe can read of a model, and how."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from markupsafe import Markup

from jetsym.pages import render
from jetsym.results import Result
from jetsym.text import as_text, table_of

__all__ = ["LayerList", "LayerRow"]


@dataclass(frozen=True)
class LayerRow:
    """One layer or output.

    Parameters
    ----------
    name
        As ``layers=`` of a probe takes it, with what tells the parts of a tuple or dictionary (``name.0``,
        ``name.key``) and further calls in one pass (``name@2``) apart.
    module
        Class of the module; for an output what it should be, such as "logits".
    shape
        What it returns for ``n_inputs`` inputs.
    tokens
        Where the points of an input are in that.
    in_auto
        Whether layers="auto" reads it.
    left_out
        Why a probe leaves it out; empty where it does not.
    """

    name: str
    module: str
    shape: tuple[int, ...]
    tokens: str
    in_auto: bool
    left_out: str = ""


@dataclass(frozen=True)
class LayerList(Result):
    """The layers and outputs of a model, in the order in which they run.

    Parameters
    ----------
    model
        What the model is called.
    n_inputs
        Inputs that the shapes are of.
    rows
        One for every layer and output.

    Examples
    --------
    >>> rows = (LayerRow("head", "Linear", (2, 8), "none", True), LayerRow("output", "scalar", (2, 1), "none", True))
    >>> found = LayerList("Net", 2, rows)
    >>> found.names, [row.name for row in found], found["head"].shape
    (('head', 'output'), ['head', 'output'], (2, 8))
    """

    model: str
    n_inputs: int
    rows: tuple[LayerRow, ...]

    KIND: ClassVar[str] = "layers"
    FORMAT: ClassVar[int] = 1
    HEADER: ClassVar[tuple[str, ...]] = ("layer", "module", "shape", "tokens", "auto")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all layers and outputs."""
        return tuple(row.name for row in self.rows)

    @property
    def auto(self) -> tuple[str, ...]:
        """Names of those that layers="auto" reads, and of the outputs."""
        return tuple(row.name for row in self.rows if row.in_auto)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[LayerRow]:
        return iter(self.rows)

    def __getitem__(self, name: str) -> LayerRow:
        return self.rows[self.names.index(name)]

    def cells(self) -> list[list[str]]:
        """Return the rows as text."""
        return [
            [
                row.name,
                row.module,
                str(row.shape),
                f"left out: {row.left_out}" if row.left_out else row.tokens,
                "yes" if row.in_auto and not row.left_out else "",
            ]
            for row in self.rows
        ]

    def _records(self) -> Iterator[dict[str, Any]]:
        """Yield a row per layer or output."""
        return map(asdict, self.rows)

    def _heading(self) -> str:
        return f"Layers of {self.model}"

    def section(self) -> Markup:
        """Return the table for a notebook's cell or a page."""
        return render("layers.html", title=self._title, header=self.HEADER, rows=self.cells())

    @property
    def _title(self) -> str:
        return f"Layers and outputs of {self.model}, for {self.n_inputs} input{'s' * (self.n_inputs != 1)}"

    def __str__(self) -> str:
        return as_text(table_of(self._title, self.HEADER, self.cells(), words=len(self.HEADER)))
