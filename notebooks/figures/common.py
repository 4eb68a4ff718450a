"""Common parts of all figures: their command line, the trained taggers they measure, and how a figure is saved."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib
import yaml
from matplotlib.figure import Figure

from jetsym.files import write_json
from jetsym.jets.io.sample import sample_dir
from jetsym.plotting import save_figure
from jetsym.training import train
from jetsym.training.presets import preset_path

#: A training that shows that a figure can be drawn, and no more.
QUICK = {"epochs": 2, "limit": 200, "max_particles": 24}

#: Width of a figure over one and over two columns of a paper, in inches.
ONE_COLUMN, TWO_COLUMNS = 3.5, 7.2

#: Text that is still legible in print at those widths.
FONT_SIZE = 8

#: The two taggers most figures measure: the same network, shown unrotated jets or jets rotated at random.
TAGGERS = {"unrotated": "pointnet", "rotated": "pointnet-rotated"}
LABELS = {"unrotated": "trained on unrotated jets", "rotated": "trained on rotated jets"}


def run_as_script(draw: Callable[..., None]) -> None:
    """Call ``draw(out, quick=…)`` as the command line says."""
    parser = argparse.ArgumentParser(description=(draw.__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=Path("runs/figures"), help="folder for figures and trained networks"
    )
    parser.add_argument("--quick", action="store_true", help="a small version: to see that it works, not to learn from")
    arguments = parser.parse_args()
    prepare()
    draw(arguments.out, quick=arguments.quick)


def prepare() -> None:
    """Set matplotlib up for print, without a screen."""
    matplotlib.use("Agg")
    matplotlib.rcParams |= {"font.size": FONT_SIZE, "legend.fontsize": FONT_SIZE - 1, "axes.titlesize": FONT_SIZE}
    matplotlib.rcParams |= {"pdf.fonttype": 42, "savefig.dpi": 300}


def keep(figure: Figure, name: str, out: Path, numbers: Mapping[str, Any]) -> None:
    """Save a figure as PDF and PNG, and the numbers behind it as JSON, beside each other."""
    out.mkdir(parents=True, exist_ok=True)
    for suffix in ("pdf", "png"):
        save_figure(figure, out / f"{name}.{suffix}")
    write_json(out / f"{name}.json", numbers)
    matplotlib.pyplot.close(figure)
    print(out / f"{name}.pdf")


def tagger(name: str, out: Path, *, quick: bool, preset: str | None = None, **options: Any) -> Path:
    """Return the folder of a trained tagger, trained here on the bundled jets where it is not there yet.

    Parameters
    ----------
    name
        Name of the run; one of :data:`TAGGERS`, or any with a ``preset``.
    out, quick
        As of the figures; quick runs lie in a folder of their own.
    preset, options
        The preset, and what differs from it.
    """
    values: dict[str, Any] = yaml.safe_load(preset_path(preset or TAGGERS[name]).read_text(encoding="utf-8"))
    values |= {"epochs": 22, "limit": 6000} | options | (QUICK if quick else {})
    folder = out / "runs" / (f"{name}-quick" if quick else name)
    train(str(sample_dir() / "train"), folder, val=str(sample_dir() / "val"), resume=True, progress=False, **values)
    return folder


def potential(name: str, out: Path, *, quick: bool) -> Path:
    """Return the folder of a small PET for copper, shown "rotated" or "unrotated" structures; trained at need."""
    from jetsym.benchmarks.copper import train_copper

    folder = out / "runs" / (f"copper-{name}-quick" if quick else f"copper-{name}")
    if not (folder / "run" / "model.ckpt").is_file():
        budget = {"structures": 20, "epochs": 2} if quick else {"structures": 160, "epochs": 40}
        train_copper(folder, augment=name == "rotated", progress=False, **budget)
    return folder


def copper_frames(folder: Path, *, quick: bool) -> list[Any]:
    """Read some of the structures that a potential has not seen."""
    from jetsym.atoms import read_frames

    return read_frames(folder / "validation.xyz")[: 2 if quick else 8]


def energies_of(folder: Path) -> Any:
    """Load the potential without forces and stress."""
    from jetsym.atoms import Model, load

    return Model(load(folder / "run").module, gradients=False)
