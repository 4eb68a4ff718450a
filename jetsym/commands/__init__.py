"""Functions behind the commands: the library's, with files to write results to and text to print."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jetsym.errors import ConfigError
from jetsym.files import write_atomically

__all__ = ["check_out", "save"]


def check_out(out: str | None) -> None:
    """Refuse to write numbers to anything but a JSON file; all that goes beside it is named after it."""
    if out is not None and Path(out).suffix != ".json":
        beside = "figures and all else beside it take its stem"
        raise ConfigError(f"--out is {out!r}; expected a name that ends in .json ({beside})")


def save(result: Any, out: str | Path | None, page: Callable[[Any], str] | None = None) -> None:
    """Save a result with a figure beside it, and with the page that is made of the figure; not without a file."""
    if out is None:
        return
    import matplotlib.pyplot as plt

    from jetsym.plotting import figure_of, save_figure

    figure = result.plot()
    result.save(out)
    if page is not None:
        write_atomically(Path(out).with_suffix(".html"), page(figure))
    save_figure(figure, Path(out).with_suffix(".png"))
    plt.close(figure_of(figure))
