"""Figures of distributions, of several runs, and of moved scores show what results hold, and refuse what they lack."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.patches import StepPatch

import jetsym
from jetsym.errors import ConfigError, DataError
from jetsym.jets.evaluation.assess import assess
from jetsym.jets.evaluation.report import Evaluation
from jetsym.jets.evaluation.stability_report import ScoreCurve, Stability
from jetsym.jets.schema import CLASSES
from jetsym.plotting import (
    figure_of,
    plot_all_scores,
    plot_errors_by,
    plot_losses,
    plot_rejection_by_pt,
    plot_rocs,
    plot_score_curve,
    plot_scores,
    plot_sculpting,
)


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@cache
def evaluation(n: int = 2000, seed: int = 0) -> Evaluation:
    """Scores of which those of Hbb go with the mass of QCD, those of Hcc do not."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(n) % len(CLASSES)
    mass = 50 + 100 * torch.rand(n, generator=generator)
    logits = torch.randn(n, len(CLASSES), generator=generator) + torch.eye(len(CLASSES))[label]
    logits[:, CLASSES.index("Hbb")] += 0.1 * (mass - 100)
    return assess(logits, label, classes=CLASSES, jet_pt=10 * mass, jet_mass=mass)


def texts(ax) -> str:
    return " ".join(text.get_text() for text in ax.get_legend().get_texts())


@pytest.mark.parametrize("plot", [plot_scores, plot_sculpting, plot_rejection_by_pt])
def test_axes_are_taken_and_given_back(plot):
    ax = plt.figure().add_subplot()
    assert plot(evaluation(), ax) is ax
    figure_of(plot(evaluation())).canvas.draw()


def test_densities_of_scores_are_of_unit_area_and_the_cut_is_the_working_point():
    ax = plot_scores(evaluation(), signal="Tbqq")
    stairs = [patch for patch in ax.patches if isinstance(patch, StepPatch)]
    assert len(stairs) == 2
    for patch in stairs:
        values, edges, _ = patch.get_data()
        assert np.sum(values * np.diff(edges)) == pytest.approx(1)
    quality = next(item for item in evaluation().qualities if item.name == "Tbqq")
    (line,) = ax.lines
    assert line.get_xdata()[0] == quality.scores.cut
    # To within the bin that holds the cut, half of the signal is on its right.
    above = np.array(quality.scores.signal)[np.array(quality.scores.edges[1:]) > quality.scores.cut]
    assert above[1:].sum() < quality.rejection.signal_efficiency * quality.jets <= above.sum()


def test_every_signal_has_a_panel():
    assert len(plot_all_scores(evaluation()).axes) == len(CLASSES) - 1


def test_the_most_sculpted_come_first_with_their_numbers():
    ax = plot_sculpting(evaluation())
    words = texts(ax)
    found = evaluation().sculpting.signals
    assert f"JSD {found['Hbb'].divergence:.3f}" in words
    assert words.index("Hbb") < min(words.index(name) for name in CLASSES[2:] if name in words)
    assert len(ax.get_legend().get_texts()) == 5
    unmoved = plot_sculpting(evaluation(), signals=["Hcc"])
    assert found["Hcc"].is_seen or "not told from it" in texts(unmoved)


def test_runs_are_drawn_together_with_bands():
    runs = {"a": evaluation(seed=0), "b": evaluation(seed=1)}
    ax = plot_rocs(runs, signal="Hgg")
    assert {"a", "b"} <= {line.get_label() for line in ax.lines}
    assert len(ax.collections) >= 2
    assert ax.get_title() == "Hgg against QCD"
    with pytest.raises(ConfigError, match="Hhh"):
        plot_rocs(runs, signal="Hhh")
    other = replace(runs["b"], background=("Hbb",))
    with pytest.raises(ConfigError, match="against"):
        plot_rocs({"a": runs["a"], "b": other})
    with pytest.raises(ConfigError, match="none"):
        plot_rocs({})


def test_no_point_where_counts_cannot_support_it():
    few = evaluation(100)
    ax = plot_rocs({"few": few}, signal="Tbqq")
    assert few.rejections["Tbqq"].few
    assert not ax.containers
    (caret,) = (line for line in ax.lines if line.get_marker() == "^")
    assert caret.get_ydata()[0] == pytest.approx(few.rejections["Tbqq"].interval[0])


def test_rejections_by_pt_are_those_of_the_bins():
    ax = plot_rejection_by_pt(evaluation(), signals=["Hqql"])
    heights = sorted(float(one.lines[0].get_ydata()[0]) for one in ax.containers)
    bins = [one.rejections["Hqql"] for one in evaluation().bins]
    assert heights == pytest.approx(sorted(one.value for one in bins if one.passed >= 10))
    without = replace(evaluation(), bins=())
    with pytest.raises(ConfigError, match="no bins"):
        plot_rejection_by_pt(without)


def test_what_older_files_lack_is_refused_by_name(tmp_path):
    older = evaluation().to_dict() | {"format": 4}
    older.pop("sculpting")
    for item in older["qualities"]:
        del item["scores"], item["roc_band"]
    found = Evaluation.from_dict(json.loads(json.dumps(older)))
    with pytest.raises(ConfigError, match="no histogram"):
        plot_scores(found)
    with pytest.raises(ConfigError, match="no masses"):
        plot_sculpting(found)
    bands = [len(plot_rocs({"one": one}).collections) for one in (found, evaluation())]
    assert bands[1] == bands[0] + 1


def test_curves_of_scores():
    values = (0.0, 90.0, 180.0)
    curve = ScoreCurve(
        "angle", values, {"QCD": (0.5, 0.4, 0.3)}, {"QCD": (0.1, 0.1, 0.1)}, {"QCD": (0.0, 0.2, 0.3)}, {"QCD": 9}
    )
    stability = Stability({}, None, None, 9, 1, 0, curves={"rotation": curve})
    assert plot_score_curve(stability).lines[0].get_ydata() == pytest.approx([0.5, 0.4, 0.3])
    assert plot_score_curve(stability, changes=True).lines[0].get_ydata() == pytest.approx([0.0, 0.2, 0.3])
    assert Stability.from_dict(json.loads(json.dumps(stability.to_dict()))) == stability
    with pytest.raises(ConfigError, match="boost"):
        plot_score_curve(stability, curve="boost beam")
    with pytest.raises(ConfigError, match="no curves"):
        plot_score_curve(replace(stability, curves={}))


def test_losses_of_a_run(tmp_path):
    lines = [{"epoch": n, "loss": 2.0 / n, "val_loss": loss} for n, loss in ((1, 1.5), (2, 1.0), (3, 1.2))]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    ax = plot_losses(tmp_path)
    assert ax.lines[1].get_ydata() == pytest.approx([1.5, 1.0, 1.2])
    assert "epoch 2" in texts(ax)
    assert plot_losses(lines).lines[0].get_ydata() == pytest.approx([2.0, 1.0, 2 / 3])
    with pytest.raises(DataError, match="no losses"):
        plot_losses(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="no epochs"):
        plot_losses([])


def test_errors_by_part_are_those_of_the_reports():
    rng = np.random.default_rng(0)

    def height(x):
        return (x**2).sum(-1) + x[:, 2]

    parts = {"near": rng.normal(size=(8, 3)), "far": 5 * rng.normal(size=(8, 3))}
    found = {name: jetsym.probe(height, x, l_max=2, progress=False) for name, x in parts.items()}
    ax = plot_errors_by(found, by="distance")
    heights = [container.lines[0].get_ydata()[0] for container in ax.containers]
    expected = [one.equivariance["output"].relative for one in found.values()]
    assert heights == pytest.approx(expected)
    assert expected[0] > 2 * expected[1] > 0
    assert set(texts(ax).split()) == {"model", "noise", "floor"}
    with pytest.raises(ConfigError, match="output is 'nothing'"):
        plot_errors_by(found, output="nothing")
    with pytest.raises(ConfigError, match="none"):
        plot_errors_by({})
    with pytest.raises(ConfigError, match="expected the report"):
        plot_errors_by({"a": 1})
