"""Functions behind the commands: the library's, with files to write results to and text to print."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from jetsym.errors import ConfigError
from jetsym.files import Inputs, check_out, write_atomically
from jetsym.ranks import here

if TYPE_CHECKING:
    from jetsym.storage import Stored

__all__ = ["check_results", "keep_numbers", "save", "use_network"]

S = TypeVar("S", bound="Stored")


def use_network(network: str | None) -> None:
    """Import the network of one's own that ``--network`` names, so that runs of it can be opened."""
    if network is not None:
        from jetsym.jets.models.own import imported_network, own_tagger

        own_tagger(imported_network("--network", network))


def check_results(out: str | None, *inputs: Inputs, beside: Sequence[str] = ()) -> None:
    """Refuse, before anything is measured, a file for numbers that is no JSON file, or as :func:`check_out` refuses it.

    ``beside`` are endings of further files, in place of ``.json``. Of a folder among the inputs, such as that of a run,
    what is read of it has to be named; its spectra are taken to be.
    """
    if out is None:
        return
    path = Path(out)
    if path.suffix != ".json":
        named = "figures and all else beside it take its stem"
        raise ConfigError(f"--out is {out!r}; expected a name that ends in .json ({named})")
    read = [*inputs, *(f"{name}/spectra/*" for name in inputs if isinstance(name, str))]
    for name in (path.name, *(path.stem + ending for ending in beside)):
        check_out(path.with_name(name), inputs=read)


def save(result: Any, out: str | Path | None, page: Callable[[Any], str] | None = None) -> None:
    """Save a result, and then a figure beside it and the page that is made of the figure; not without a file.

    Of processes that share, the first writes.
    """
    if out is None or not here().is_first:
        return
    import matplotlib.pyplot as plt

    from jetsym.plotting import figure_of, save_figure

    result.save(out)
    figure = result.plot()
    if page is not None:
        write_atomically(Path(out).with_suffix(".html"), page(figure))
    save_figure(figure, Path(out).with_suffix(".png"))
    plt.close(figure_of(figure))


def keep_numbers(found: S, out: str | None) -> S:
    """Save what was found, and print it; of processes that share, the first writes."""
    if out is not None and here().is_first:
        found.save(out)
    print(found, end="")
    return found
