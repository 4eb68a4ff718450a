"""All figures: ``python notebooks/figures/all.py [--quick] [--out DIR]``."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from common import run_as_script

#: The figures in their order, by the script that draws each.
FIGURES = (
    "what_a_and_b_are",
    "pet_layers",
    "jet_layers",
    "over_training",
    "two_domains",
    "lorentz",
    "failure_and_repair",
    "cost_and_accuracy",
)


def draw(out: Path, *, quick: bool = False) -> None:
    """Draw all figures, each with the numbers behind it."""
    for name in FIGURES:
        import_module(name).draw(out, quick=quick)


if __name__ == "__main__":
    run_as_script(draw)
