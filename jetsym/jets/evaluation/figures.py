"""Figures of an evaluation by name, as far as it has the numbers, and the page that holds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jetsym.pages import page

__all__ = ["FIGURES", "evaluation_page", "figures_of"]

#: Figure of an evaluation -> what it shows.
FIGURES: Mapping[str, str] = {
    "roc": "Rejection of background against signal efficiency, by class",
    "confusion": "What the jets of every class are taken for",
    "reliability": "Accuracy against confidence",
    "scores": "Densities of signals and background by the score of each signal",
    "rejection_by_pt": "Rejection of background by the jets' pT",
    "sculpting": "Mass of the background before and after the cuts",
    "rotation": "Mean score of every class against the angle of a rotation",
    "rotation_changes": "Change of a jet's score against the angle of a rotation",
    "boost_beam": "Mean score of every class against the rapidity of a boost along the beam",
    "boost_jet": "Mean score of every class against the rapidity of a boost along the jet",
}


def figures_of(evaluation: Any) -> dict[str, Any]:
    """Draw those of :data:`FIGURES` that an :class:`~jetsym.jets.evaluation.report.Evaluation` has the numbers for.

    The caller closes them.
    """
    return {name: draw(evaluation) for name, draw in _drawers(evaluation).items()}


def evaluation_page(evaluation: Any, figures: Mapping[str, Any]) -> str:
    """Return a self-contained page of an evaluation with figures of it, the first above its tables."""
    first, *others = figures
    return page(
        f"Evaluation of {evaluation.meta.get('model', evaluation.meta.get('scores', 'a tagger'))}",
        evaluation.section(),
        figure=figures[first],
        description=FIGURES[first],
        figures={FIGURES[name]: figures[name] for name in others},
    )


def _drawers(evaluation: Any) -> dict[str, Callable[[Any], Any]]:
    """Return those of :data:`FIGURES` that an evaluation has the numbers for."""
    from jetsym import plotting

    found: dict[str, Callable[[Any], Any]] = {
        "roc": plotting.plot_roc,
        "confusion": plotting.plot_confusion,
        "reliability": plotting.plot_reliability,
    }
    if evaluation.rejections:
        found["scores"] = plotting.plot_all_scores
        if evaluation.bins:
            found["rejection_by_pt"] = plotting.plot_rejection_by_pt
        if evaluation.sculpting is not None:
            found["sculpting"] = plotting.plot_sculpting
    if evaluation.stability is not None and evaluation.stability.curves:
        found["rotation"] = lambda one: plotting.plot_score_curve(one.stability)
        found["rotation_changes"] = lambda one: plotting.plot_score_curve(one.stability, changes=True)
        found["boost_beam"] = lambda one: plotting.plot_score_curve(one.stability, curve="boost beam")
        found["boost_jet"] = lambda one: plotting.plot_score_curve(one.stability, curve="boost jet")
    return found
