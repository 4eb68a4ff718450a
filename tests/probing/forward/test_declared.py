"""What outputs are taken for: as the caller says, as the model says, and scalars otherwise."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

import jetsym
from jetsym.errors import ProbeError
from jetsym.jets.models import PointNet
from jetsym.probing.measure.attribution import attribute
from jetsym.probing.measure.average import orbit_average
from jetsym.probing.reports.read import read_report
from jetsym.remedies.injected import Injected, InvariantFeatures
from jetsym.remedies.symmetrized import Symmetrized

QUIET = {"l_max": 1, "progress": False, "layers": []}
CLASSES = ("QCD", "Tbqq", "Hbb")


@pytest.fixture
def jets(make_jets):
    return make_jets(4, seed=3, dtype=torch.float64, min_particles=4, max_particles=8)


@pytest.fixture
def points():
    return np.random.default_rng(0).normal(size=(6, 3))


@pytest.fixture
def tagger():
    torch.manual_seed(0)
    return PointNet(CLASSES, width=8, blocks=1, heads=2).double()


def unsaid(report):
    return [note for note in report.meta["notes"] if note.startswith("Taken as scalars")]


def kinds(report):
    return {name: item.kind for name, item in report.equivariance.items()}


class Weaver(nn.Module):
    """Stands for a network of weaver-core, whose package the tests do not need."""

    def __init__(self, classes=3, head=True, for_inference=False):
        super().__init__()
        self.for_inference = for_inference
        self.hidden, self.fc = nn.Linear(3, 4), nn.Linear(4, classes) if head else None

    def forward(self, points):
        hidden = self.hidden(points).tanh()
        if self.fc is None:
            return hidden
        return self.fc(hidden).softmax(dim=1) if self.for_inference else self.fc(hidden)


Weaver.forward.__module__ = "weaver.nn.model.Stand"


class Subclass(Weaver):
    """What somebody makes of it, with the same forward pass."""


class Wrapper(nn.Module):
    """What somebody puts around a tagger."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, inputs):
        return self.model(inputs)


def test_the_outputs_of_taggers_are_logits(tagger, jets):
    wide = Injected(tagger, "embedding", InvariantFeatures(lambda jets: jets.p4, width=4), channels=8).double()
    for model in (tagger, nn.DataParallel(tagger), Symmetrized(tagger, "O3", 1), wide):
        report = jetsym.probe(model, jets, **QUIET)
        assert kinds(report) == {"logits": "logits"}
        assert not unsaid(report)


@pytest.mark.parametrize("make", [Weaver, Subclass, lambda: Weaver(7)])
def test_so_are_those_of_networks_of_weaver(make, points):
    before = "weaver" in sys.modules
    report = jetsym.probe(make(), points, **QUIET)
    assert kinds(report) == {"logits": "logits"}
    assert not unsaid(report)
    assert ("weaver" in sys.modules) == before


def test_weavers_own_networks_are_known(make_jets):
    pytest.importorskip("weaver")
    from weaver.nn.model.ParticleNet import ParticleNet

    from jetsym.jets.features import FEATURE_SETS, angular_points

    def call(model, jets):
        features = FEATURE_SETS["kin"][0](jets)
        return model(angular_points(jets).mT.to(features), features.mT, jets.mask[:, None])

    jets = make_jets(3, max_particles=10, min_particles=9)
    for options, expected in ({}, {"logits": "logits"}), ({"for_inference": True}, {"output": "scalar"}):
        model = ParticleNet(7, 5, conv_params=[(4, (8, 8, 8))], fc_params=[(8, 0.1)], **options)
        assert kinds(jetsym.probe(model, jets, call=call, **QUIET)) == expected


@pytest.mark.parametrize(
    "make",
    [
        lambda tagger: Wrapper(tagger),
        lambda tagger: lambda jets: tagger(jets),
        lambda tagger: nn.Sequential(tagger, nn.Identity()),
        lambda tagger: nn.Sequential(tagger, nn.Softmax(-1)),
    ],
)
def test_those_of_any_other_module_are_scalars_and_the_report_says_so(make, tagger, jets):
    model = make(tagger)
    report = jetsym.probe(model, jets, **QUIET)
    assert kinds(report) == {"output": "scalar"}
    (note,) = unsaid(report)
    assert "'output'" in note
    assert "outputs=" in note
    said = jetsym.probe(model, jets, outputs={"logits": "logits"}, **QUIET)
    assert kinds(said) == {"logits": "logits"}
    assert not unsaid(said)


def test_scalars_are_not_centred(points):
    """(z, z): a shift common to both classes predicts nothing, and is an error of two scalars."""

    def model(x):
        return np.stack([x[:, 2], x[:, 2]], axis=-1)

    assert jetsym.probe(model, points, **QUIET).equivariance["output"].relative == pytest.approx(1)
    logits = jetsym.probe(model, points, outputs={"y": "logits"}, **QUIET).equivariance["y"]
    assert abs(logits.absolute) < 1e-12


@pytest.mark.parametrize("head", ["softmax", "embedding", "half", "several"])
def test_what_a_call_makes_of_a_tagger_need_not_be_logits(head, tagger, jets):
    """Only what the model itself returned is, up to a common shift."""
    calls = {
        "softmax": lambda model, jets: model(jets).softmax(-1),
        "embedding": lambda model, jets: jets.p4.sum(1)[:, 1:],
        "half": lambda model, jets: model(jets)[:, :2],
        "several": lambda model, jets: {"a": model(jets), "b": jets.p4.sum(1), "log": model(jets).log_softmax(-1)},
    }
    found = kinds(jetsym.probe(tagger, jets, call=calls[head], **QUIET))
    if head == "several":
        assert found == {"a": "logits", "b": "scalar", "log": "logits"}
    else:
        assert found == {"output": "scalar"}


@pytest.mark.parametrize(
    "change", [lambda y: y, lambda y: y.float(), lambda y: y.log_softmax(-1), lambda y: y - y[:, :1]]
)
def test_what_is_the_same_up_to_a_shift_is_logits(change, tagger, jets):
    report = jetsym.probe(tagger, jets, call=lambda model, jets: change(model(jets)), **QUIET)
    assert kinds(report) == {"logits": "logits"}


@pytest.mark.parametrize("head", [True, False])
def test_probabilities_and_features_of_a_network_of_weaver_are_no_logits(head, points):
    report = jetsym.probe(Weaver(head=head, for_inference=head), points, **QUIET)
    assert kinds(report) == {"output": "scalar"}
    assert unsaid(report)


def test_a_single_logit_is_a_binary_tagger(points):
    report = jetsym.probe(Weaver(1), points, **QUIET)
    assert kinds(report) == {"logits": "logits"}


def test_any_model_may_say_what_its_outputs_are(points):
    class Field(nn.Module):
        probe_outputs = types.MappingProxyType({"force": "vector", "energy": "scalar"})

        def forward(self, x):
            return {"energy": (x**2).sum(-1), "force": x, "charge": x[:, 0]}

    report = jetsym.probe(Field(), points, **QUIET)
    assert kinds(report) == {"energy": "scalar", "force": "vector", "charge": "scalar"}
    assert "'charge'." in unsaid(report)[0]
    assert report.equivariance["force"].relative < 1e-6
    assert kinds(jetsym.probe(Field(), points, outputs={"force": "scalar"}, **QUIET))["force"] == "scalar"


def test_what_a_model_says_is_refused_where_its_law_is_not_known(jets):
    """A sum of momenta is a vector in the lab, and no vector of the rotations where the jet is at rest."""

    class Total(nn.Module):
        probe_outputs = types.MappingProxyType({"total": "vector"})

        def forward(self, jets):
            return jets.p4[..., 1:].sum(1)

    assert jetsym.probe(Total(), jets, **QUIET).equivariance["total"].relative < 1e-12
    for where in ({"frame": "rest"}, {"group": "SO2", "axis": "jet"}, {"group": "boost"}):
        for measure in (jetsym.probe, attribute, orbit_average, jetsym.cost):
            own = {"l_max": 1, "progress": False} if measure in (jetsym.probe, attribute) else {}
            with pytest.raises(ProbeError, match=r"'total' is said to be 'vector'|expected one of"):
                measure(Total(), jets, **where, **own)


def test_an_output_without_a_law_is_measured_as_a_layer_is(points, tmp_path):
    """z holds a vector only: (1,+) is 1, and no A is said of it."""

    def model(x):
        return {"length": (x**2).sum(-1), "z": x}

    for group in ("O3", "SO3", "SO2"):
        plain = jetsym.probe(model, points, group=group, **QUIET)
        report = jetsym.probe(model, points, group=group, outputs={"z": None}, **QUIET)
        assert list(report.layers) == ["length", "z"]
        assert list(report.equivariance) == ["length"]
        np.testing.assert_array_equal(report.fractions, plain.fractions)
        assert report.meta["without_law"] == ["z"]
        assert report.hidden == []
        assert any("without a law: 'z'" in note for note in report.meta["notes"])
    report.save(tmp_path / "report.json")
    assert read_report(tmp_path / "report.json").hidden == []
    jetsym.compare(report, plain)
    assert "z" in str(report)


def test_so_is_the_only_output(points):
    report = jetsym.probe(lambda x: x, points, outputs={"z": None}, **QUIET)
    assert report.layers == ("z",)
    assert report.equivariance == {}
    assert report.fractions[0, 2] == pytest.approx(1)
    assert "z" in str(report)
    assert report._repr_html_()
    boosted = jetsym.probe(lambda p: p[:, 1:], np.abs(np.ones((4, 4))), outputs={"z": None}, group="boost", **QUIET)
    assert boosted.layers == ("z",)
    with pytest.raises(ProbeError, match="none has a law to average by"):
        orbit_average(lambda x: x, points, outputs={"z": None})
    with pytest.raises(ProbeError, match="no output has a law"):
        attribute(nn.Linear(3, 2), points, outputs={"z": None}, progress=False)


def test_a_baseline_has_the_outputs_of_the_model(points):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x):
            return {"z": self.layer(x), "y": (self.layer(x) ** 2).sum(-1)}

    for baseline in ("untrained", Net()):
        report = jetsym.probe(Net(), points, outputs={"z": None}, baseline=baseline, n_draws=2, **QUIET)
        assert report.baseline.layers == report.layers
        assert list(report.baseline.equivariance) == ["y"]


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (["logits"], "outputs is .*expected a dictionary"),
        ({"nothing": None}, "no output 'nothing'"),
        ({"count": None}, "'count' is int64 numbers"),
        ({"count": "scalar"}, "'count' is int64 numbers"),
        ({"name": "scalar"}, "'name' is a str"),
    ],
)
def test_what_is_said_of_nothing_is_refused(points, outputs, message):
    def model(x):
        return {"y": x, "z": x, "count": np.arange(len(x)), "name": "text"}

    with pytest.raises(ProbeError, match=message):
        jetsym.probe(model, points, outputs=outputs, **QUIET)
