"""Pictures: every function takes ``ax`` and returns it; those of several panels return their figure."""

from jetsym.plotting.evaluation import plot_confusion, plot_reliability, plot_roc
from jetsym.plotting.lorentz import plot_boosts, plot_generators, plot_lorentz
from jetsym.plotting.spectrum import plot_spectrum
from jetsym.plotting.style import figure_of, irrep_style, save_figure

__all__ = [
    "figure_of",
    "irrep_style",
    "plot_boosts",
    "plot_confusion",
    "plot_generators",
    "plot_lorentz",
    "plot_reliability",
    "plot_roc",
    "plot_spectrum",
    "save_figure",
]
