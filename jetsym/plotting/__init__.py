"""Pictures: every function takes ``ax`` and returns it."""

from jetsym.plotting.spectrum import plot_spectrum
from jetsym.plotting.style import irrep_style

__all__ = ["irrep_style", "plot_spectrum"]
