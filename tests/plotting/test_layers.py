"""Figures of big models show groups of layers: all of them, in their order, and no more than can be told apart."""

from __future__ import annotations

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import jetsym
from jetsym.plotting import figure_of, plot_invariant_share, plot_spectrum
from jetsym.plotting.layers import condensed, grouped
from jetsym.plotting.style import LINES

NAMES = {
    "blocks": [f"blocks.{block}.{part}" for block in range(10) for part in ("norm", "attn", "mlp")],
    "flat": [f"layer{number}" for number in range(40)],
    "deep": [f"net.stage{stage}.block{block}.conv" for stage in range(4) for block in range(20)],
    "one stack": [f"blocks.{number}" for number in range(96)],
}


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.mark.parametrize("name", NAMES)
def test_groups_hold_every_layer_once_in_order(name):
    layers = ["embed", *NAMES[name], "logits"]
    groups = grouped(layers, ["logits"])
    assert 4 <= len(groups) <= LINES
    assert [place for group in groups for place in group.places] == list(range(len(layers)))
    assert groups[-1] == ("logits", [len(layers) - 1])
    assert len({group.name for group in groups}) == len(groups)


@pytest.mark.parametrize(("layers", "outputs", "alone"), [(20, 6, True), (20, 7, False), (8, 9, False), (0, 30, False)])
def test_no_output_is_left_out_however_many_there_are(layers, outputs, alone):
    names = [f"blocks.{number}" for number in range(layers)]
    apart = [f"output_{number}" for number in range(outputs)]
    groups = grouped([*names, *apart], apart)
    assert sorted(place for group in groups for place in group.places) == list(range(layers + outputs))
    assert len(groups) <= LINES
    assert all(len({place < layers for place in group.places}) == 1 for group in groups)
    assert {(name, (layers + place,)) for place, name in enumerate(apart)} <= {
        (group.name, (*group.places,)) for group in groups
    } or not alone


def test_few_layers_stay_as_they_are():
    assert grouped(["a", "b.c", "d"]) == [("a", [0]), ("b.c", [1]), ("d", [2])]


@pytest.fixture(scope="module")
def report():
    points = np.random.default_rng(0).normal(size=(6, 3))
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.SiLU(), torch.nn.Linear(8, 1)).double()
    return jetsym.probe(net, points, l_max=2, baseline="untrained", progress=False)


def many(report, n: int):
    """The same report with its first layer n times, and its output."""
    rows = [0] * n + [len(report.layers) - 1]
    arrays = {name: getattr(report, name)[rows] for name in report.ARRAYS}
    scale = np.append(np.linspace(0.5, 1.0, n), 1.0)
    arrays["fractions"] = arrays["fractions"] * scale[:, None]
    names = (*(f"blocks.{number}" for number in range(n)), report.layers[-1])
    return replace(report, layers=names, baseline=None, **arrays)


def test_a_big_model_has_twelve_places_with_means_and_ranges(report):
    big = many(report, 55)
    ax = plot_spectrum(big)
    assert len(ax.get_xticklabels()) == LINES
    assert "range in a group" in [text.get_text() for text in ax.get_legend().get_texts()]
    groups = grouped(big.layers, big.outputs)
    above = plot_invariant_share(big)
    shares = above.containers[0].lines[0].get_ydata()
    assert shares == pytest.approx([big.fractions[group.places, 0].mean() for group in groups])
    ends = above.containers[0].lines[2][0].get_segments()
    for group, segment in zip(groups[:-1], ends, strict=False):
        own = big.fractions[group.places, 0]
        assert sorted(segment[:, 1]) == pytest.approx([own.min(), own.max()])


def test_a_new_figure_has_the_invariant_share_on_a_linear_axis_of_its_own(report):
    ax = plot_spectrum(report)
    above, below = figure_of(ax).axes
    assert below is ax
    assert (above.get_yscale(), below.get_yscale()) == ("linear", "log")
    named = [text.get_text() for text in below.get_legend().get_texts()]
    assert "(0,+)" not in named
    assert "thin: baseline" in named
    given = plot_spectrum(report, plt.figure().add_subplot())
    assert "(0,+)" in [text.get_text() for text in given.get_legend().get_texts()]


def test_errors_of_single_layers_are_kept():
    groups = grouped(["a", "b"])
    mean, bars = condensed(np.array([1.0, 2.0]), np.array([0.1, 0.2]), groups)
    assert mean.tolist() == [1.0, 2.0]
    assert bars.tolist() == [[0.1, 0.2], [0.1, 0.2]]
