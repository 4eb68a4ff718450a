"""Pages and figures that go beside the numbers of evaluations, attributions and diagnoses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetsym.commands import save
from jetsym.files import write_atomically

if TYPE_CHECKING:
    from jetsym.jets.evaluation.report import Evaluation
    from jetsym.probing.reports.attribution import Attribution
    from jetsym.probing.reports.diagnosis import Diagnosis
    from jetsym.probing.reports.read import Report

__all__ = ["BESIDE", "FIGURES", "diagnosis_page", "draw_evaluation", "keep_attribution"]

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
#: Endings of the figures and the page of an evaluation, which go beside its numbers.
BESIDE = (*(f"_{name}.png" for name in FIGURES), ".html")


def draw_evaluation(evaluation: Evaluation, out: Path) -> None:
    """Draw the figures of an evaluation beside its numbers, and the page that holds all of them."""
    import matplotlib.pyplot as plt

    from jetsym.plotting import figure_of, save_figure
    from jetsym.probing.reports.html import page, sections_of

    drawn = {name: draw(evaluation) for name, draw in _drawers(evaluation).items()}
    tables, notes = evaluation.tables(), evaluation.notes()
    if evaluation.stability is not None:
        tables.append(evaluation.stability.table())
        notes += evaluation.stability.all_notes()
    title = f"Evaluation of {evaluation.meta.get('model', evaluation.meta.get('scores', 'a tagger'))}"
    first, *others = drawn
    shown = {"figure": drawn[first], "description": FIGURES[first]}
    figures = {FIGURES[name]: drawn[name] for name in others}
    write_atomically(out.with_suffix(".html"), page(title, sections_of(tables, notes), **shown, figures=figures))
    for name, figure in drawn.items():
        save_figure(figure, out.with_name(f"{out.stem}_{name}.png"))
        plt.close(figure_of(figure))


def _drawers(evaluation: Evaluation) -> dict[str, Callable[[Any], Any]]:
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


def keep_attribution(found: Attribution, out: str | None) -> Attribution:
    """Save an attribution with its figure and its page, and print it."""
    from jetsym.probing.reports.html import page

    title, shows = f"What breaks the symmetry of {found.meta['model']}", "What switching each source changes"
    save(found, out, lambda figure: page(title, found.section(), figure=figure, description=shows))
    print(found, end="")
    return found


def diagnosis_page(diagnosis: Diagnosis, report: Report) -> str:
    """Return the page of a diagnosis, with the figure of the report that it judges."""
    import matplotlib.pyplot as plt

    from jetsym.plotting import figure_of
    from jetsym.probing.reports.html import page

    figure = figure_of(report.plot())
    shows = f"What was measured under {report.meta['group']}, layer by layer"
    found = page(f"Diagnosis of {report.meta['model']}", diagnosis.section(), figures={shows: figure})
    plt.close(figure)
    return found
