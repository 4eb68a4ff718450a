"""Pictures: every function takes ``ax`` and returns it."""

from jetsym.plotting.spectrum import plot_spectrum
from jetsym.plotting.style import figure_of, irrep_style, save_figure

__all__ = ["figure_of", "irrep_style", "plot_spectrum", "save_figure"]
