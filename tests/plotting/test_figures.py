"""Every figure is drawn into the axes it is given, with its errors, also where nothing lies above rounding."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

import jetsym
from jetsym import plotting
from jetsym.plotting.style import DIRECTIONS, PALETTE
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
