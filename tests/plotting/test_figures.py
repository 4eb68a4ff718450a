"""Every figure is drawn into the axes it is given, with its errors, also where nothing lies above rounding."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

import jetsym
from jetsym import plotting
from jetsym.plotting.measured import Measured, plot_measured
from jetsym.plotting.style import DIRECTIONS, PALETTE, log_scale
from jetsym.probing.reports.lorentz import LorentzReport
from jetsym.spectrum import O3, SO2

QUIET = {"progress": False}


@pytest.fixture(autouse=True)
def figures():
    """Without a screen, and closed afterwards."""
    with mpl.rc_context({"backend": "agg"}):
        yield
        plt.close("all")


@pytest.fixture(scope="module")
def report():
    points = np.random.default_rng(0).normal(size=(6, 3))
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.SiLU(), torch.nn.Linear(8, 1)).double()
    return jetsym.probe(net, points, l_max=2, baseline="untrained", **QUIET)


@pytest.fixture(scope="module")
def lorentz(make_jets) -> LorentzReport:
    """An exactly invariant tagger: under boosts along the beam there is nothing to draw."""
    jets = make_jets(3, dtype=torch.float64, max_particles=5, min_particles=3)

    def tagger(jets):
        pt = jets.p4.sum(1)[:, 1:3].norm(dim=-1) / 500
        return torch.stack([pt, -(pt**2)], dim=-1)

    return jetsym.probe(tagger, jets, group="lorentz", outputs={"logits": "logits"}, l_max=1, **QUIET)


def drawn(ax) -> int:
    """Error bars in axes."""
    return len(ax.containers)


def test_all_take_axes_and_give_them_back(report, lorentz):
    compared = jetsym.compare(report, report, names=["a", "b"])
    cases = {
        plotting.plot_spectrum: report,
        plotting.plot_boosts: lorentz.windows["jet"],
        plotting.plot_generators: lorentz.local["jet"],
        plotting.plot_depths: compared,
        plotting.plot_bandwidths: compared,
        plotting.plot_pseudotensors: compared,
        plotting.plot_output_errors: compared,
    }
    for draw, subject in cases.items():
        ax = plt.subplots(figsize=(3.4, 2.6), layout="constrained")[1]
        assert draw(subject, ax) is ax
        assert drawn(ax)
        ax.figure.canvas.draw()
        sizes = [text.get_fontsize() for text in (*ax.get_xticklabels(), *ax.get_legend().get_texts(), ax.yaxis.label)]
        assert min(sizes) >= 7  # points, at the width of a column
    axes = plt.subplots(1, 3)[1]
    assert plotting.plot_lorentz(lorentz, axes) is axes[0].figure


def test_nothing_above_rounding_is_an_empty_figure_and_no_error(lorentz):
    for subject in (lorentz.windows["beam"], lorentz.compact["SO2 beam"], lorentz):
        ax = subject.plot()
        plotting.figure_of(ax).canvas.draw()


def test_baseline_tail_and_what_is_unexplained_have_errors(report):
    ax = report.plot()
    irreps = sum((report.fractions > 1e-7).any(axis=0))
    axes = plotting.figure_of(ax).axes
    # The untrained copy, the trained network, the tail, and what is unexplained; the invariant shares in axes above.
    assert sum(map(drawn, axes)) == len(report.irreps) + irreps + 2
    assert drawn(axes[0]) == 2
    assert all(container.has_yerr for one in axes for container in one.containers)


@pytest.mark.parametrize("group", [O3(), SO2()])
def test_an_irrep_has_one_colour_in_every_figure(report, group):
    colours = {irrep.lam: plotting.irrep_style(irrep)["color"] for irrep in group.irreps(2)}
    assert colours == dict(enumerate(PALETTE[:3]))
    ax = jetsym.compare(report).plot().axes[0]
    seen = {line.get_label(): to_hex(line.get_color()).upper() for line in ax.get_legend().get_lines()}
    assert [seen[f"λ = {lam}"] for lam in colours] == list(colours.values())
    assert not set(DIRECTIONS) & set(PALETTE)


def test_a_logarithmic_axis_of_less_than_a_decade_has_numbers():
    for low, high in ((0.2, 0.8), (0.31, 0.38), (0.03, 0.3)):
        ax = plt.subplots()[1]
        ax.plot([1, 2], [low, high])
        log_scale(ax, low=1e-6)
        ax.figure.canvas.draw()
        inside = [tick for tick in ax.get_yticklabels("both") if low <= tick.get_position()[1] <= high]
        assert sum(bool(tick.get_text()) for tick in inside) >= 2, (low, high)


PARTICLES = np.random.default_rng(3).normal(size=(4, 3, 3))
PARTICLES = np.concatenate([np.sqrt((PARTICLES**2).sum(-1, keepdims=True) + 1), PARTICLES], axis=-1)


def square(p4):
    total = p4.sum(1)
    return total[:, 0] ** 2 - (total[:, 1:] ** 2).sum(-1)


def two(p4):
    """An invariant, and one that is broken along x alone."""
    return {"mass": square(p4), "broken": square(p4) + p4[:, :, 1].sum(1) ** 2}


def test_boosts_of_an_invariant_function_show_the_floor_and_say_so():
    found = jetsym.probe(square, PARTICLES, group="boost", outputs={"mass": "scalar"}, **QUIET)
    found = replace(found, squared=np.zeros_like(found.squared))
    ax = found.plot()
    (floor,) = [line for line in ax.lines if line.get_marker() == "v" and len(line.get_xdata())]
    assert floor.get_ydata() == pytest.approx(np.sqrt(found.noise_floor[:, 0]))
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "below rounding" in names
    assert any(name.startswith("mass (below ") for name in names)
    ax.figure.canvas.draw()


def test_a_lorentz_figure_has_a_curve_for_every_axis_and_no_line_between_outputs():
    outputs = {"mass": "scalar", "broken": "scalar"}
    found = jetsym.probe(two, PARTICLES, group="lorentz", outputs=outputs, l_max=1, **QUIET)
    axes = found.plot().axes
    names = [text.get_text() for text in axes[2].get_legend().get_texts()]
    for axis in found.windows:
        assert any(name.startswith(f"{axis}, broken") for name in names), names
    along_x = next(one for one in axes[2].containers if one.get_label() == "x, broken")
    assert along_x.lines[0].get_ydata() == pytest.approx(found.windows["x"].relative[:, 1])
    assert not any(joined(one) for ax in axes[:2] for one in ax.containers)


def joined(container) -> bool:
    """Whether a line joins any two neighbouring points."""
    seen = np.isfinite(np.array(container.lines[0].get_data(), dtype=float)).all(axis=0)
    return bool((seen[1:] & seen[:-1]).any())


class Two(torch.nn.Module):
    """One layer, and two outputs beside each other."""

    def __init__(self):
        super().__init__()
        self.first, self.score, self.other = (torch.nn.Linear(3, n).double() for n in (3, 1, 1))

    def forward(self, x):
        hidden = torch.tanh(self.first(x))
        return {"a": self.score(hidden)[..., 0], "b": self.other(hidden)[..., 0]}


def test_outputs_stand_side_by_side_without_lines():
    points = np.random.default_rng(0).normal(size=(4, 3))
    found = jetsym.probe(Two(), points, l_max=1, outputs={"a": "scalar", "b": "scalar"}, **QUIET)
    for ax in plotting.figure_of(found.plot()).axes:
        assert ax.containers
        assert not any(joined(one) for one in ax.containers)  # the layer, and each of the outputs
    ax = plotting.plot_bandwidths(jetsym.compare(found))
    x = ax.containers[0].lines[0].get_xdata()
    places = x[np.isfinite(x)]
    assert not joined(ax.containers[0])
    assert len(set(places)) == len(places) == 3
    assert places[-1] < ax.get_xlim()[1]
    assert ax.get_xlabel().endswith("outputs: a, b)")


def test_numbers_of_small_changes_do_not_run_into_each_other():
    ax = plot_measured([Measured("rounding", "y", -0.00125, 1e-5), Measured("x", "y", 0.0001, 1e-5)], "change")
    ax.figure.canvas.draw()
    boxes = sorted((t.get_window_extent().x0, t.get_window_extent().x1) for t in ax.get_xticklabels() if t.get_text())
    assert len(boxes) > 2
    assert all(left[1] < right[0] for left, right in pairwise(boxes))
    assert not ax.xaxis.get_offset_text().get_window_extent().overlaps(ax.xaxis.label.get_window_extent())
