"""Figures of an evaluation show what it holds, in axes of one's own or in new ones."""

from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.container import ErrorbarContainer

from jetsym.jets.evaluation.assess import assess
from jetsym.jets.schema import CLASSES, CLASSES_II
from jetsym.plotting import plot_confusion, plot_reliability, plot_roc, plot_rocs


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@cache
def evaluation(n: int = 600, classes: tuple[str, ...] = CLASSES):
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(n) % len(classes)
    logits = torch.randn(n, len(classes), generator=generator) + 2 * torch.eye(len(classes))[label]
    return assess(logits, label, classes=classes)


@pytest.mark.parametrize("plot", [plot_roc, plot_confusion, plot_reliability])
@pytest.mark.parametrize("classes", [CLASSES, ("g", "q"), CLASSES_II])
def test_axes_are_taken_and_given_back(plot, classes):
    found = evaluation(400, classes)
    ax = plt.figure().add_subplot()
    assert plot(found, ax) is ax
    assert plot(found) is not ax
    plot(found).get_figure().canvas.draw()


def test_roc_curves_are_the_rejections():
    found = evaluation()
    ax = plot_roc(found)
    lines = {line.get_label(): line.get_xydata() for line in ax.lines}
    assert set(CLASSES[1:]) <= set(lines)
    quality = found.qualities[1]
    shown = dict(zip(*quality.roc, strict=True))
    for efficiency, rejection in lines["Hbb"]:
        assert rejection == pytest.approx(1 / shown[efficiency])
    points = [item for item in ax.containers if isinstance(item, ErrorbarContainer)]
    bounded = [item for item in found.rejections.values() if item.passed and not item.few]
    assert 0 < len(bounded) < len(found.rejections)
    carets = [line for line in ax.lines if line.get_marker() == "^"]
    assert len(carets) == len(found.rejections) - len(bounded)
    for point, item in zip(points, bounded, strict=True):
        lower, upper = item.interval
        assert tuple(point.lines[2][0].get_segments()[0][:, 1]) == pytest.approx((lower, min(upper, 10 * item.value)))


def test_working_points_stand_at_their_efficiencies():
    """Where several do, the ends of their intervals differ in width, so that none hides another."""
    found = evaluation(6000)
    bounded = next(name for name, item in found.rejections.items() if item.passed and not item.few)
    for ax in (plot_roc(found), plot_rocs({"one": found, "other": found}, signal=bounded)):
        bars = [item for item in ax.containers if isinstance(item, ErrorbarContainer)]
        places = [float(item.lines[0].get_xdata()[0]) for item in bars]
        carets = [float(line.get_xdata()[0]) for line in ax.lines if line.get_marker() == "^" and len(line.get_xdata())]
        assert {*places, *carets} <= {item.signal_efficiency for item in found.rejections.values()}
        widths = [(place, item.lines[1][0].get_markersize()) for place, item in zip(places, bars, strict=True)]
        assert len(bars) > 1
        assert len(set(widths)) == len(widths)


def test_a_sample_without_background_has_no_curves():
    generator = torch.Generator().manual_seed(0)
    found = assess(torch.randn(50, 10, generator=generator), torch.full((50,), 3), classes=CLASSES)
    assert [line for line in plot_roc(found).lines if len(line.get_xdata())] == []
    shares = plot_confusion(found).images[0].get_array()
    assert np.ma.getmaskarray(shares)[0].all()
    assert shares[3].sum() == pytest.approx(100)


def test_reliability_has_the_bins_with_jets():
    found = evaluation()
    ax = plot_reliability(found)
    (bars,) = (item for item in ax.containers if isinstance(item, ErrorbarContainer))
    y = bars.lines[0].get_ydata()
    assert list(y) == [value for value in found.calibration.accuracy if value is not None]
