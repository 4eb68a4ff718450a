"""The page of an evaluation holds every figure that it has the numbers for, legible, and no name that acts as HTML."""

from __future__ import annotations

import re
from dataclasses import replace

import matplotlib.pyplot as plt
import pytest
import torch

from jetsym.commands.pages import BESIDE, draw_evaluation
from jetsym.jets.evaluation.assess import assess
from jetsym.jets.evaluation.figures import FIGURES, figures_of
from jetsym.jets.evaluation.stability_report import ScoreCurve, Stability
from jetsym.plotting import figure_of

EVIL = "<script>alert(1)</script>"


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture
def evaluation():
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(400) % 2
    logits = torch.randn(400, 2, generator=generator) + torch.eye(2)[label]
    mass = 100 * torch.rand(400, generator=generator)
    found = assess(logits, label, classes=("QCD", EVIL), jet_pt=mass, jet_mass=mass)
    rows = ({EVIL: row} for row in ((0.5, 0.4), (0.1, 0.1), (0.0, 0.2)))
    curve = ScoreCurve("angle", (0.0, 180.0), *rows, {EVIL: 9})
    curves = dict.fromkeys(("rotation", "boost beam", "boost jet"), curve)
    return replace(found, stability=Stability({}, None, None, 9, 1, 0, curves=curves))


def test_every_figure_is_in_the_page_and_beside_it(evaluation, tmp_path):
    open_before = plt.get_fignums()
    draw_evaluation(evaluation, tmp_path / "numbers.json")
    assert {path.name for path in tmp_path.iterdir()} == {f"numbers{ending}" for ending in BESIDE}
    page = (tmp_path / "numbers.html").read_text(encoding="utf-8")
    assert page.count("<img ") == len(FIGURES)
    assert EVIL not in page
    assert "&lt;script&gt;" in page
    assert all(words.replace("'", "&#39;") in page for words in FIGURES.values())
    assert plt.get_fignums() == open_before


def test_letters_are_eight_pixels_where_the_page_is_narrow(evaluation, tmp_path):
    page = evaluation.page()
    widths = [int(width) for width in re.findall(r"min-width: (\d+)px", page)]
    for width, figure in zip(widths, figures_of(evaluation).values(), strict=True):
        whole = figure_of(figure)
        texts = whole.findobj(lambda one: hasattr(one, "get_fontsize") and getattr(one, "get_text", str)())
        smallest = min(one.get_fontsize() for one in texts)
        assert smallest / 72 * width / whole.get_size_inches()[0] >= 8


def test_what_is_not_known_is_left_out(evaluation):
    poor = replace(evaluation, bins=(), sculpting=None, stability=None)
    assert set(figures_of(poor)) == {"roc", "confusion", "reliability", "scores"}
    assert poor.page().count("<img ") == 4
