"""Pages and figures that go beside the numbers of evaluations, attributions and diagnoses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jetsym.commands import save
from jetsym.files import write_atomically
from jetsym.jets.evaluation.figures import FIGURES, evaluation_page, figures_of

if TYPE_CHECKING:
    from jetsym.jets.evaluation.report import Evaluation
    from jetsym.probing.reports.attribution import Attribution
    from jetsym.probing.reports.diagnosis import Diagnosis
    from jetsym.probing.reports.read import Report

__all__ = ["BESIDE", "diagnosis_page", "draw_evaluation", "keep_attribution"]

#: Endings of the figures and the page of an evaluation, which go beside its numbers.
BESIDE = (*(f"_{name}.png" for name in FIGURES), ".html")


def draw_evaluation(evaluation: Evaluation, out: Path) -> None:
    """Draw the figures of an evaluation beside its numbers, and the page that holds all of them."""
    import matplotlib.pyplot as plt

    from jetsym.plotting import figure_of, save_figure

    drawn = figures_of(evaluation)
    write_atomically(out.with_suffix(".html"), evaluation_page(evaluation, drawn))
    for name, figure in drawn.items():
        save_figure(figure, out.with_name(f"{out.stem}_{name}.png"))
        plt.close(figure_of(figure))


def keep_attribution(found: Attribution, out: str | None) -> Attribution:
    """Save an attribution with its figure and its page, and print it."""
    from jetsym.pages import page

    def made(figure: Any) -> str:
        title, shows = f"What breaks the symmetry of {found.meta['model']}", "What switching each source changes"
        return page(title, found.section(), figure=figure, description=shows)

    save(found, out, made)
    print(found, end="")
    return found


def diagnosis_page(diagnosis: Diagnosis, report: Report) -> str:
    """Return the page of a diagnosis, with the figure of the report that it judges."""
    import matplotlib.pyplot as plt

    from jetsym.pages import page
    from jetsym.plotting import figure_of

    figure = figure_of(report.plot())
    shows = f"What was measured under {report.meta['group']}, layer by layer"
    found = page(f"Diagnosis of {report.meta['model']}", diagnosis.section(), figures={shows: figure})
    plt.close(figure)
    return found
