"""No label of a figure covers another one, however long the names of layers, reports and numbers are."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from matplotlib import pyplot as plt

import jetsym
from jetsym.plotting.parity import plot_parity
from jetsym.plotting.style import in_lines, label_layers, tilt_labels

LONG = [f"gnn_layers.{place}.trans.layers.0.attention_{end}" for place in range(3) for end in ("node", "edge")]


def overlapping(texts, figure):
    """Return pairs of texts whose boxes, turned back by their angle, have points in common."""
    figure.canvas.draw()
    shown = [text for text in texts if text.get_text() and text.get_visible()]
    pairs = []
    for one, other in combinations(shown, 2):
        corners = []
        for text in (one, other):
            angle = np.deg2rad(text.get_rotation())
            turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
            place = text.get_transform().transform(text.get_unitless_position())
            straight = text.get_rotation()
            text.set_rotation(0)
            box = text.get_window_extent(figure.canvas.get_renderer()).get_points() - place
            text.set_rotation(straight)
            corners.append((turn @ place) + box)  # along and across the letters
        (a, b), (c, d) = corners
        if one.get_rotation() == other.get_rotation() and (np.minimum(b, d) - np.maximum(a, c) > 1).all():
            pairs.append((one.get_text(), other.get_text()))
    return pairs


def test_titles_of_panels_do_not_run_into_each_other():
    figure, axes = plt.subplots(1, 4, figsize=(11.5, 2.7), layout="constrained")
    for ax, name in zip(axes, LONG, strict=False):
        ax.set_title(in_lines(name), fontsize="medium")
    assert not overlapping([ax.title for ax in axes], figure)
    for ax, name in zip(axes, LONG, strict=False):
        ax.set_title(name, fontsize="medium")
    assert overlapping([ax.title for ax in axes], figure)  # as they are
    plt.close(figure)


@pytest.mark.parametrize("names", [LONG * 2, [f"{a} ... {b}" for a, b in pairwise(LONG)] * 2])
def test_names_of_layers_leave_room_for_the_axes(names):
    figure, ax = plt.subplots(figsize=(2.8 + 0.75 * len(names), 5.0), layout="constrained")
    label_layers(ax, names)
    figure.canvas.draw()
    height = ax.get_window_extent().height / figure.bbox.height
    assert height > 0.5
    assert not overlapping(ax.get_xticklabels(), figure)
    plt.close(figure)


def test_names_of_reports_are_tilted_where_they_have_no_room():
    figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.2), layout="constrained")
    tilt_labels(axes[1], ["pet-with-a-longer-name energy", "pet-with-a-longer-name forces"] * 2, width=40)
    assert not overlapping(axes[1].get_xticklabels(), figure)
    plt.close(figure)


def test_the_errors_of_compared_reports_have_names_that_can_be_read():
    points = np.random.default_rng(0).normal(size=(4, 3, 3))

    def model(x):
        return {"energy": x[:, 0, 0] ** 2, "forces": x * np.array([1.0, 1.1, 1.0])}

    options = {"outputs": {"energy": "scalar", "forces": "vector"}, "l_max": 2, "progress": False}
    reports = [jetsym.probe(model, points, **options) for _ in range(2)]
    for names in (["a", "b"], ["pet-as-it-was-trained", "pet-with-a-longer-name"]):
        figure = jetsym.compare(*reports, names=names).plot()
        for ax in figure.axes:
            assert not overlapping(ax.get_xticklabels(), figure), names
        plt.close(figure)


def test_a_number_that_all_energies_have_in_common_is_named_once():
    energies = -1756700.0 - np.linspace(13, 46, 7)
    outputs = {"energy": {"reference": energies, "predicted": energies + 0.5, "unit": "meV/atom"}}
    figure = plot_parity(outputs)
    (ax,) = figure.axes
    assert ax.get_xlabel() == "reference energy + 1,756,700 [meV/atom]"
    assert not overlapping([*ax.get_xticklabels(), ax.xaxis.label, ax.xaxis.get_offset_text()], figure)
    assert not ax.xaxis.get_offset_text().get_text()
    (points,) = [line for line in ax.lines if line.get_marker() == "."]
    np.testing.assert_allclose(points.get_xdata(), energies + 1756700)
    plt.close(figure)
    forces = {"forces": {"reference": [-1500.0, 1000.0], "predicted": [-1400.0, 900.0], "unit": "meV/Å"}}
    figure = plot_parity(forces | {"stress": {"reference": [0.1, 0.2], "predicted": [0.1, 0.2], "unit": "GPa"}})
    for ax in figure.axes:
        assert not overlapping(ax.get_xticklabels(), figure)
        assert "+" not in ax.get_xlabel()
    plt.close(figure)
