"""Infrared and collinear safety: observables of which it is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import jetsym
from jetsym.errors import ConfigError, ProbeError
from jetsym.jets import kinematics
from jetsym.jets.models import PointNet
from jetsym.probing.measure.attribution import attribute
from jetsym.probing.reports.safety import Safety

QUIET = {"progress": False}
KINDS = ("mass", "flow", "number", "squares", "hardest")


class Observables(nn.Module):
    """The jet mass and an energy flow with a network per particle are safe; the others are not, each in its way."""

    probe_outputs = dict.fromkeys(KINDS, "scalar")

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).double()

    def forward(self, jets):
        p4, energy = jets.p4.double(), jets.p4[..., 0].double()
        directions = p4[..., 1:] / p4[..., 1:].norm(dim=-1, keepdim=True).clamp_min(1e-300)
        pt = kinematics.pt(p4)
        return {
            "mass": kinematics.mass2(p4.sum(1)).clamp(min=0).sqrt(),
            "flow": (energy * self.network(directions)[..., 0]).sum(1) / 1000,
            "number": jets.mask.sum(1).double(),
            "squares": (energy.square() * jets.mask).sum(1).sqrt(),
            "hardest": pt.max(1).values,
        }


@pytest.fixture(scope="module")
def jets(make_jets):
    return make_jets(12, seed=2, dtype=torch.float64, min_particles=5, max_particles=20)


def verdicts(report):
    return {name: report.verdict(name) for name in report.curves}


def test_collinear_splittings(jets):
    report = jetsym.safety(Observables(), jets, draws=2, **QUIET)
    assert verdicts(report) == dict(zip(KINDS, ("safe", "safe", "not safe", "not safe", "not safe"), strict=True))
    assert report.sizes[0] == 0.0
    assert report.curves["number"].change == (1.0,) * 7
    hardest = kinematics.pt(jets.p4).max(1).values
    second = kinematics.pt(jets.p4).sort(dim=1, descending=True).values[:, 1]
    change = (hardest - torch.maximum(second, hardest / 2)).square().mean().sqrt()
    assert report.curves["hardest"].change[0] == pytest.approx(float(change), rel=1e-9)
    squares = jets.p4[..., 0].square().sum(1)
    energy = jets.p4[..., 0].gather(1, kinematics.pt(jets.p4).argmax(1, keepdim=True))[:, 0]
    change = (squares.sqrt() - (squares - energy.square() / 2).sqrt()).square().mean().sqrt()  # 1 − z² − (1 − z)²
    assert report.curves["squares"].change[0] == pytest.approx(float(change), rel=1e-9)
    assert report.curves["flow"].slope == pytest.approx(2.0, abs=0.05)  # as the momentum is kept
    assert report.curves["flow"].change[0] <= report.curves["flow"].rounding
    assert report.curves["mass"].change[-1] > 1e6 * report.curves["mass"].rounding


def test_soft_emissions(jets):
    report = jetsym.safety(Observables(), jets, move="soft emission", sizes=[1e-4, 1e-6, 1e-5], draws=2, **QUIET)
    assert report.sizes == (1e-6, 1e-5, 1e-4)
    assert verdicts(report) == dict(zip(KINDS, ("safe", "safe", "not safe", "safe", "safe"), strict=True))
    curves = report.curves
    assert curves["flow"].slope == pytest.approx(1.0, abs=1e-3)
    assert curves["squares"].change[0] < 1e-9 * curves["squares"].spread  # E² of the photon
    assert curves["hardest"].change == (0.0, 0.0, 0.0)
    assert "falls as its size^" in report.sentences()[1]
    one = jetsym.safety(Observables(), jets, move="soft emission", sizes=[1e-6], draws=1, **QUIET)
    assert one.verdict("flow") == "not told"
    assert "give two sizes" in one.sentences()[1]


def test_fractions_and_particles_are_chosen(jets):
    options = {"fraction": 0.1}
    report = jetsym.safety(Observables(), jets, sizes=[0], draws=1, options=options, **QUIET)
    squares = jets.p4[..., 0].square().sum(1)
    energy = jets.p4[..., 0].gather(1, kinematics.pt(jets.p4).argmax(1, keepdim=True))[:, 0]
    change = (squares.sqrt() - (squares - 0.18 * energy.square()).sqrt()).square().mean().sqrt()
    assert report.curves["squares"].change[0] == pytest.approx(float(change), rel=1e-9)
    assert report.meta["options"] == options
    other = jetsym.safety(Observables(), jets, sizes=[0], draws=1, options={"which": "random"}, **QUIET)
    assert other.curves["squares"].change[0] < 0.99 * report.curves["squares"].change[0] * 0.5 / 0.18


def test_neither_padding_nor_batches_change_it(jets):
    """A model that counts slots is not charged for the one that a particle needs."""

    def slots(jets):
        return torch.full((len(jets),), float(jets.max_particles)) + jets.jet_p4[:, 0] / 1e3

    report = jetsym.safety(slots, jets, outputs={"slots": "scalar"}, sizes=[0], draws=1, **QUIET)
    assert report.curves["slots"].change == (0.0,)
    model = Observables()
    one, other = (jetsym.safety(model, jets, sizes=[0.1], draws=1, batch_size=size, **QUIET) for size in (3, 512))
    np.testing.assert_allclose(one.curves["flow"].change, other.curves["flow"].change, rtol=1e-12)


def test_a_tagger_and_outputs_of_particles(jets):
    report = jetsym.safety(PointNet(width=8, blocks=1, heads=2), jets, sizes=[0], draws=1, **QUIET)
    assert report.verdict("logits") == "not safe"

    def both(jets):
        return {"pt": kinematics.pt(jets.p4), "sum": kinematics.pt(jets.p4).sum(1)}

    report = jetsym.safety(both, jets, outputs=dict.fromkeys(("pt", "sum"), "scalar"), sizes=[0], **QUIET)
    assert list(report.curves) == ["sum"]
    assert "'pt' belongs to single particles, and is left out." in report.meta["notes"]
    with pytest.raises(ProbeError, match="all belong to single particles"):
        jetsym.safety(lambda jets: kinematics.pt(jets.p4), jets, outputs={"pt": "scalar"}, sizes=[0], **QUIET)


def test_it_is_saved_read_and_drawn(jets, tmp_path):
    report = jetsym.safety(Observables(), jets, sizes=[0, 0.01, 0.1], draws=1, **QUIET)
    again = Safety.load(report.save(tmp_path / "s.json"))
    assert again.to_dict() == report.to_dict()
    assert str(again) == str(report)
    ax = report.plot()
    assert ax.get_xlabel() == "size of a collinear splitting"
    assert len(ax.containers) == len(KINDS)


def test_wrong_uses(jets):
    model = Observables()
    with pytest.raises(ProbeError, match="move is 'soft emision'; the nearest"):
        jetsym.safety(model, jets, move="soft emision", **QUIET)
    with pytest.raises(ProbeError, match="needs jets"):
        jetsym.safety(lambda x: x[:, 0], np.ones((4, 3)), outputs={"y": "scalar"}, **QUIET)
    with pytest.raises(ProbeError, match="sizes is empty"):
        jetsym.safety(model, jets, sizes=[], **QUIET)
    with pytest.raises(ConfigError, match="share is 0"):
        jetsym.safety(model, jets, move="soft emission", sizes=[0], **QUIET)
    with pytest.raises(ConfigError, match="angle is 2"):
        jetsym.safety(model, jets, sizes=[2], **QUIET)
    with pytest.raises(ProbeError, match="an option of a collinear splitting is 'z'"):
        jetsym.safety(model, jets, options={"z": 0.3}, **QUIET)


def test_both_are_sources_of_an_attribution(jets):
    """Half the evaluations have them: a number that grows by one has A = ½, and what is safe nothing."""
    moves = ["collinear splitting", "soft emission"]
    report = attribute(Observables(), jets, sources=moves, l_max=0, **QUIET)
    effects = report.effects["number"]
    size = float((jets.n_particles.double() ** 2).mean().sqrt())
    for name in moves:
        assert effects[name].difference == pytest.approx(0.5 / size, rel=1e-6)
        assert effects[name].is_real
        assert effects[name].adds
        assert not report.effects["mass"][name].is_real
        assert not report.effects["flow"][name].is_real
    split = report.effects["squares"]["collinear splitting"]
    assert split.is_real
    assert split.difference > 0
    assert not report.effects["squares"]["soft emission"].is_real
    asked_for_nothing = attribute(lambda jets: jets.p4[..., 0].sum(1), jets[:2], outputs={"E": "scalar"}, **QUIET)
    assert not set(moves) & set(asked_for_nothing.effects["E"])


def test_outputs_of_particles_are_no_part_of_it(jets):
    with pytest.raises(ProbeError, match="'collinear splitting' cannot be switched"):
        attribute(
            lambda jets: jets.p4[..., 0], jets, outputs={"E": "scalar"}, sources="collinear splitting", l_max=0, **QUIET
        )
