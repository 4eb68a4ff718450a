"""Results that are shown as well as kept: numbers as a table of pandas, a figure, a page, and a file of each.

A result derives from :class:`Result` and says its numbers by ``_records``; where it has a figure, it has ``plot`` of
its own; where its page is more than its text, a ``section``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from jetsym.arguments import checked
from jetsym.errors import ConfigError, DataError, JetsymError, require
from jetsym.files import check_out, write_atomically
from jetsym.pages import page, render
from jetsym.storage import Stored

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Result", "flat"]

#: Suffixes of files that hold the whole of a result, which can be read again; and of its page.
NUMBERS, PAGE = ("", ".json"), ".html"


class Result(Stored):
    """A stored result that is also a table of numbers, a figure and a page, as far as it has them."""

    def _records(self) -> Iterable[Mapping[str, Any]]:
        """Return its numbers in rows, each under the same names."""
        raise NotImplementedError

    def to_dataframe(self) -> pd.DataFrame:
        """Return its numbers, with what they belong to, as a table of pandas."""
        pandas = require("pandas", extra="notebooks", purpose=f"{type(self).__name__}.to_dataframe")
        return pandas.DataFrame(list(self._records()))

    def plot(self, ax: Any = None, *, legend: bool = True) -> Axes | Figure:
        """Draw it; a result that has no figure refuses to.

        Parameters
        ----------
        ax
            Axes to draw into; a new figure by default. One of several panels takes as many axes, or parts those given.
        legend
            Whether to draw the legend.

        Raises
        ------
        ConfigError
            It has no figure, or needs another number of axes.
        """
        raise ConfigError(f"a result of kind {self.KIND!r} has no figure; print it, or save it as .html or .json")

    def section(self) -> Markup:
        """Return it for a notebook's cell or a page; its text where it has no other form."""
        return render("text.html", text=str(self))

    def _repr_html_(self) -> str:
        return str(self.section())

    def _heading(self) -> str:
        """Say what it is, above its page."""
        model = getattr(self, "meta", {}).get("model")
        return self.KIND.capitalize() + (f" of {model}" if isinstance(model, str) else "")

    def page(self) -> str:
        """Return it as a self-contained HTML page, with its figure where it has one."""
        from matplotlib import pyplot

        from jetsym.plotting import figure_of

        try:
            figure = self.plot()
        except JetsymError:  # it has none, or its numbers are too few for one
            return page(self._heading(), self.section())
        try:
            return page(self._heading(), self.section(), figure=figure, description=self._heading())
        finally:
            pyplot.close(figure_of(figure))

    @checked(DataError)
    def save(self, path: str | Path) -> Path:
        """Write it whole or not at all; return the path. The suffix says the form.

        Parameters
        ----------
        path
            ``.json`` for all of it, which :meth:`load` reads; ``.html`` for a page; ``.png``, ``.pdf``, ``.svg`` and
            other formats of matplotlib for its figure.

        Raises
        ------
        ConfigError
            The suffix is that of no form, or it has no figure, or nothing can be written there.
        """
        suffix = Path(path).suffix.lower()
        if suffix in NUMBERS:
            return super().save(path)
        check_out(path)
        if suffix == PAGE:
            return write_atomically(path, self.page())
        return self._save_figure(path)

    def _save_figure(self, path: str | Path) -> Path:
        from matplotlib import pyplot
        from matplotlib.backend_bases import FigureCanvasBase

        from jetsym.plotting import figure_of, save_figure

        if Path(path).suffix.lower().removeprefix(".") not in FigureCanvasBase.get_supported_filetypes():
            raise ConfigError(
                f"path is {str(path)!r}; expected a name that ends in .json for all of it, .html for a page, or .png, "
                ".pdf or .svg for a figure"
            )
        figure = self.plot()
        try:
            return save_figure(figure, path)
        finally:
            pyplot.close(figure_of(figure))


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries that are single values or words, for a row of a table.

    Examples
    --------
    >>> flat({"auc": 0.9, "roc": ((0.0, 1.0), (0.0, 1.0)), "name": "top"})
    {'auc': 0.9, 'name': 'top'}
    """
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, str) or not isinstance(value, Mapping | Sequence)
    }
