"""Decision stability: flips and spreads that are known in closed form, errors against brute force."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn

from jetsym.errors import ConfigError, DataError
from jetsym.jets import read
from jetsym.jets.checkpoint import load
from jetsym.jets.evaluation import metrics, stability as module
from jetsym.jets.evaluation.auc import auc_with_influence
from jetsym.jets.evaluation.evaluate import predict_logits
from jetsym.jets.evaluation.stability import actions_on_jets, stability
from jetsym.jets.evaluation.working_points import background_share_with_influence
from jetsym.jets.models import PointNet
from jetsym.jets.moves.actions import rotate
from jetsym.jets.moves.augmentation import AugmentationConfig, augment

HALF_TURN = torch.diag(torch.tensor([1.0, -1.0, -1.0]))


class Function(nn.Module):
    """A model that is a function of the jets."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, jets):
        return self.function(jets)


def by_pz(jets):
    """Two classes: the sign of the jet's pz."""
    pz = jets.jet_p4[:, 3]
    return torch.stack([-pz, pz], dim=-1)


def two_classes(jets, names=("QCD", "Tbqq")):
    return jets.replace(classes=names, label=jets.label % 2)


def about_x(angle):
    turn = torch.eye(3, dtype=torch.float64)
    turn[1, 1] = turn[2, 2] = np.cos(angle)
    turn[2, 1] = np.sin(angle)
    turn[1, 2] = -turn[2, 1]
    return lambda jets, generator: rotate(jets, turn[None])


def test_an_invariant_model_flips_nothing(make_jets):
    jets = make_jets(60)  # energies do not change under rotations in the lab, to the last bit
    model = Function(lambda jets: torch.stack([(k + 1) * jets.p4[..., 0].sum(1).sin() for k in range(10)], dim=-1))
    actions = {name: move for name, move in actions_on_jets().items() if name in ("O3 lab", "SO2 jet", "SO2 beam")}
    found = stability(model, jets, actions=actions, draws=3)
    assert set(found.changes) == set(actions)
    for changes in found.changes.values():
        assert set(changes) == {"flips", "accuracy", "macro_auc_ovo", "auc", "rejection_30", "rejection_50"}
        assert changes["flips"] == dataclasses.replace(changes["flips"], mean=0, std=0, worst=0, difference=0)
        for change in changes.values():
            assert change.worst == change.unmoved
            assert [change.mean, change.std] == pytest.approx([change.unmoved, 0], rel=1e-14, abs=1e-14)
            assert [change.difference, change.difference_stderr] == pytest.approx([0, 0], abs=1e-14)


def test_flips_are_those_that_an_element_must_make(make_jets):
    jets = make_jets(300, dtype=torch.float64)
    angle = 0.7
    moved_pz = np.sin(angle) * jets.jet_p4[:, 2] + np.cos(angle) * jets.jet_p4[:, 3]
    must = ((moved_pz > 0) != (jets.jet_p4[:, 3] > 0)).double().mean()
    actions = {"half turn": lambda jets, generator: rotate(jets, HALF_TURN[None]), "some": about_x(angle)}
    found = stability(Function(by_pz), two_classes(jets), actions=actions, draws=2)
    assert 0.05 < must < 0.95
    assert found.changes["half turn"]["flips"].mean == 1
    assert found.changes["some"]["flips"].mean == pytest.approx(float(must), abs=1e-12)
    # The score −pz mirrors the curve: the area becomes its complement.
    area = found.changes["half turn"]["auc"]
    assert area.mean == pytest.approx(1 - area.unmoved, abs=1e-12)
    assert area.std == 0


def test_beam_turns_leave_the_sign_of_pz(make_jets):
    found = stability(Function(by_pz), two_classes(make_jets(100)), draws=4)
    assert found.changes["SO2 beam"]["flips"].worst == 0
    assert "SO2 beam, boost jet: a share above 3 % is excluded at 95 %." in str(found)
    assert found.changes["O3 lab"]["flips"].worst > 0.3
    assert found.changes["boost beam"]["flips"].worst > 0


def test_numbers_are_those_of_the_metrics(make_jets, monkeypatch):
    jets, model = make_jets(150, seed=5), PointNet(width=8, blocks=1)
    move = AugmentationConfig("O3", frame="rest")
    found = stability(model, jets, actions={"rest": move}, draws=1, seed=4)
    expected = metrics.summary(predict_logits(model, jets), jets.label)
    changes = found.changes["rest"]
    names = {"auc_top_qcd": "auc"}
    for name, value in expected.items():
        assert changes[names.get(name, name)].unmoved == pytest.approx(value, rel=1e-12), name
    seed = int(np.random.SeedSequence((4, 0, 0)).generate_state(1, np.uint64)[0] >> np.uint64(1))
    moved = augment(jets, move, shared=True, generator=torch.Generator().manual_seed(seed))
    logits = predict_logits(model, moved)
    for name, value in metrics.summary(logits, jets.label).items():
        assert changes[names.get(name, name)].mean == pytest.approx(value, rel=1e-12), name
    flipped = logits.argmax(-1) != predict_logits(model, jets).argmax(-1)
    assert changes["flips"].mean == pytest.approx(float(flipped.double().mean()))
    monkeypatch.setattr(module, "TOGETHER", 37)  # moved in parts: the same element
    again = stability(model, jets, actions={"rest": move}, draws=1, seed=4)
    assert again.changes["rest"]["auc"].mean == pytest.approx(changes["auc"].mean, abs=1e-3)
    assert again.changes["rest"]["flips"].mean == pytest.approx(changes["flips"].mean, abs=0.02)


@pytest.mark.parametrize("own", ["O3", "rest", "SO2", "jet", "random", "boost", "boost random", "lorentz"])
def test_shared_elements_are_one_for_all(own, make_jets):
    options = {
        "O3": {"group": "O3"},
        "rest": {"group": "O3", "frame": "rest"},
        "SO2": {"group": "SO2"},
        "jet": {"group": "SO2", "axis": "jet"},
        "random": {"group": "SO2", "axis": "random"},
        "boost": {"group": "boost", "width": 1.0},
        "boost random": {"group": "boost", "axis": "random", "width": 1.0},
        "lorentz": {"group": "lorentz", "width": 1.0},
    }[own]
    jets = make_jets(3, dtype=torch.float64, min_particles=4)
    jets = jets[[0, 1, 0, 2]]
    moved = augment(jets, AugmentationConfig(**options), shared=True, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(moved.p4[0], moved.p4[2], rtol=0, atol=0)
    alone = augment(jets[1:2], AugmentationConfig(**options), shared=True, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(alone.p4[0], moved.p4[1], rtol=1e-12, atol=1e-9)
    each = augment(jets, AugmentationConfig(**options), generator=torch.Generator().manual_seed(1))
    assert not torch.allclose(each.p4[0], each.p4[2])


def test_errors_are_those_of_repeated_samples():
    """The stated errors of many small samples against the spread of what was measured."""
    rng, values = np.random.default_rng(0), {"auc": [], "share": []}
    for _ in range(400):
        is_signal = np.arange(120) < 50
        score = rng.normal(size=120) + is_signal
        area, psi = auc_with_influence(score, is_signal)
        values["auc"].append((area, np.sqrt((psi**2).sum())))
        share, psi = background_share_with_influence(score, is_signal, signal_efficiency=0.5)
        assert np.sqrt((psi**2).sum()) == pytest.approx(np.sqrt(share * (1 - share) / 70))
        assert psi.sum() == pytest.approx(0, abs=1e-12)
    found = np.array(values["auc"])
    assert found[:, 1].mean() == pytest.approx(found[:, 0].std(), rel=0.1)


def test_area_is_that_of_scikit_learn_with_ties():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(1)
    score, is_signal = rng.integers(0, 6, size=200) / 5, rng.random(200) < 0.4
    assert auc_with_influence(score, is_signal)[0] == pytest.approx(roc_auc_score(is_signal, score), abs=1e-12)


def test_differences_are_paired(make_jets):
    """A model that hardly moves has a difference known far better than either side."""
    jets = two_classes(make_jets(400))
    model = Function(lambda jets: by_pz(jets) + 0.05 * jets.jet_p4[:, :1] * torch.tensor([1.0, 0.0]))
    tilt = about_x(0.01)
    change = stability(model, jets, actions={"tilt": tilt}, draws=1).changes["tilt"]
    for name in ("accuracy", "auc"):
        assert change[name].difference_stderr < 0.3 * change[name].unmoved_stderr
    assert abs(change["auc"].difference) < 5 * change["auc"].difference_stderr + 1e-12


def test_errors_count_jets_and_draws(make_jets):
    """Where all jets move alike, the spread over draws is most of the error; with one draw, only jets are left."""
    jets = two_classes(make_jets(200))
    lab = {"actions": {"lab": AugmentationConfig("O3")}}
    flips = stability(Function(by_pz), jets, draws=6, **lab).changes["lab"]["flips"]
    assert flips.difference_stderr > flips.std / 6**0.5 > 0.02
    assert flips.difference_stderr < 2 * flips.std / 6**0.5
    once = stability(Function(by_pz), jets, draws=1, **lab).changes["lab"]["flips"]
    assert once.difference_stderr == pytest.approx((once.mean * (1 - once.mean) / 200) ** 0.5)
    assert np.isnan(once.std)


def test_the_published_particlenet_does_not_see_the_azimuth(real_data):
    tagger = load(real_data / "particlenet/ParticleNet_kin.pt")
    jets = read(real_data / "jetclass/jetclass_kin_500.root", limit=40)
    actions = {name: actions_on_jets()[name] for name in ("SO2 beam", "O3 rest")}
    found = stability(tagger, jets, actions=actions, draws=1)
    assert found.changes["SO2 beam"]["flips"].mean == 0
    assert abs(found.changes["SO2 beam"]["macro_auc_ovo"].difference) < 0.005
    assert found.changes["O3 rest"]["flips"].mean > 0.1


def test_without_labels_flips_are_all(make_jets):
    found = stability(PointNet(width=8, blocks=1), make_jets(20).replace(label=None), draws=2)
    assert all(set(changes) == {"flips"} for changes in found.changes.values())
    assert "only the flips" in str(found)
    assert found.signal is None


def test_which_pair_is_compared(make_jets):
    quick = {"actions": {"beam": AugmentationConfig("SO2")}, "draws": 1}
    jets = make_jets(80)
    other = stability(Function(by_pz), two_classes(jets, ("Hbb", "Hcc")), **quick)
    assert (other.signal, other.background) == ("Hcc", "Hbb")
    chosen = stability(PointNet(width=8), jets, signal="Tbl", background="Zqq", **quick)
    assert (chosen.signal, chosen.background) == ("Tbl", "Zqq")
    without = stability(PointNet(width=8), jets[jets.label > 0], **quick)
    assert without.signal is None
    assert set(without.changes["beam"]) == {"flips", "accuracy", "macro_auc_ovo"}


def test_infinite_rejections_are_said_to_be(make_jets):
    jets = two_classes(make_jets(40))
    jets = jets.replace(columns={"truth": jets.label.float()})

    def perfect(jets):
        score = jets.columns["truth"]
        return torch.stack([-score, score], dim=-1)

    found = stability(Function(perfect), jets, draws=2)
    assert "too small for it" in str(found)
    assert "nan" not in str(found)
    change = found.changes["O3 lab"]["rejection_30"]
    assert change.unmoved == change.mean == change.worst == np.inf
    assert np.isnan(change.difference)


def test_results_are_json_and_text(make_jets):
    found = stability(PointNet(width=8, blocks=1), make_jets(50), draws=2, width=0.25)
    values = json.loads(json.dumps(found.to_dict()))
    assert values["changes"]["boost jet"]["flips"]["mean"] == found.changes["boost jet"]["flips"].mean
    text = str(found)
    assert all(name in text for name in actions_on_jets())
    assert "uniform of width 0.25" in text
    assert "no rest frame" in text  # some of these jets have one particle


def test_what_cannot_be_measured_is_named(make_jets):
    jets, model = make_jets(4), PointNet(width=8)
    with pytest.raises(ConfigError, match="draws is 0"):
        stability(model, jets, draws=0)
    with pytest.raises(ConfigError, match="signal is 'Hbb' and background is None"):
        stability(model, jets, signal="Hbb")
    with pytest.raises(DataError, match="no jets"):
        stability(model, jets[[]])
    with pytest.raises(DataError, match="other classes"):
        stability(PointNet(("a", "b"), width=8), jets)
    with pytest.raises(ConfigError, match="width is -1; expected a rapidity more than 0"):
        stability(model, jets, width=-1)
