"""Figures: every function takes ``ax`` and returns it; those of several panels return their figure."""

from jetsym.plotting.comparison import (
    plot_bandwidths,
    plot_comparison,
    plot_depths,
    plot_output_errors,
    plot_pseudotensors,
)
from jetsym.plotting.distributions import plot_all_scores, plot_scores, plot_sculpting
from jetsym.plotting.evaluation import plot_confusion, plot_reliability
from jetsym.plotting.history import plot_error_over_training, plot_layer_over_training, plot_over_training, plot_watch
from jetsym.plotting.lorentz import plot_boosts, plot_generators, plot_lorentz
from jetsym.plotting.losses import plot_losses
from jetsym.plotting.moves import plot_score_curve
from jetsym.plotting.rejection import plot_rejection_by_pt, plot_roc, plot_rocs
from jetsym.plotting.safety import plot_safety
from jetsym.plotting.slices import plot_errors_by
from jetsym.plotting.spectrum import plot_invariant_share, plot_spectrum
from jetsym.plotting.style import figure_of, irrep_style, save_figure

__all__ = [
    "figure_of",
    "irrep_style",
    "plot_all_scores",
    "plot_bandwidths",
    "plot_boosts",
    "plot_comparison",
    "plot_confusion",
    "plot_depths",
    "plot_error_over_training",
    "plot_errors_by",
    "plot_generators",
    "plot_invariant_share",
    "plot_layer_over_training",
    "plot_lorentz",
    "plot_losses",
    "plot_output_errors",
    "plot_over_training",
    "plot_pseudotensors",
    "plot_rejection_by_pt",
    "plot_reliability",
    "plot_roc",
    "plot_rocs",
    "plot_safety",
    "plot_score_curve",
    "plot_scores",
    "plot_sculpting",
    "plot_spectrum",
    "plot_watch",
    "save_figure",
]
