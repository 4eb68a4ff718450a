"""Targets: losses against closed forms, scales, what is refused, and how deviations are measured."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import jetsym
from jetsym.errors import CheckpointError, ConfigError, DataError
from jetsym.jets.evaluation.evaluate import predict_logits
from jetsym.jets.evaluation.regression import deviation_of, regress
from jetsym.jets.export import export_onnx
from jetsym.jets.models import ParticleTransformer, PointNet, weaver
from jetsym.jets.targets import LOSSES, QUANTILES, Target, scale_of, target_values
from jetsym.testing import random_jets

CENTRE, SCALE = 80.0, 20.0


def of(loss):
    return Target("mass", CENTRE, SCALE, loss)


@pytest.mark.parametrize(
    ("loss", "value"),
    [
        ("mse", lambda d: d**2),
        ("huber", lambda d: d**2 / 2 if abs(d) < 1 else abs(d) - 0.5),
        ("logcosh", lambda d: math.log(math.cosh(d))),
    ],
)
def test_losses_are_their_closed_forms(loss, value):
    truth = torch.tensor([40.0, 70.0, 80.0, 81.0, 300.0])
    outputs = torch.tensor([[0.5], [-0.75], [0.0], [3.0], [-2.0]])
    d = (outputs[:, 0].double() - (truth.double() - CENTRE) / SCALE).tolist()
    found = of(loss).losses(outputs, truth)
    assert found.tolist() == pytest.approx([value(one) for one in d], rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(("loss", "best"), [("mse", "mean"), ("quantile", "quantiles")])
def test_the_smallest_loss_is_at_the_mean_or_at_the_quantiles(loss, best):
    truth = torch.from_numpy(np.random.default_rng(0).exponential(20.0, 4001))
    target = Target("mass", *scale_of(truth, "mass"), loss)
    outputs = torch.zeros(len(target.outputs), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([outputs], lr=0.5, max_iter=400, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = target.losses(outputs.expand(len(truth), -1), truth).mean()
        value.backward()
        return value

    optimizer.step(closure)
    expected = truth.mean()[None] if best == "mean" else torch.quantile(truth, torch.tensor(QUANTILES).double())
    torch.testing.assert_close(target.values(outputs.detach()[None])[0], expected, rtol=0.02, atol=0.05)


def test_large_differences_have_finite_losses():
    for loss in LOSSES:
        target = of(loss)
        outputs = torch.full((1, len(target.outputs)), 1e4, requires_grad=True)
        value = target.losses(outputs, torch.tensor([0.0])).sum()
        value.backward()
        assert value.isfinite()
        assert outputs.grad.isfinite().all()


def test_outputs_of_another_shape_are_refused():
    with pytest.raises(DataError, match=r"shape \(2, 10\); expected \(2, 1\): mass"):
        of("mse").losses(torch.zeros(2, 10), torch.zeros(2))


def test_targets_of_jets():
    jets = random_jets(4)
    mass = torch.tensor([80.0, 90.0, 100.0, 110.0])
    kept = jets.replace(columns={"jet_sdmass": mass})
    assert target_values(kept, "jet_sdmass").tolist() == mass.tolist()
    with pytest.raises(DataError, match="have no column 'jet_mass' to be predicted; expected a number of every jet"):
        target_values(kept, "jet_mass")
    with pytest.raises(DataError, match="is not finite for 1 of 4 jets"):
        target_values(jets.replace(columns={"m": torch.tensor([1.0, math.nan, 2.0, 3.0])}), "m")
    with pytest.raises(ConfigError, match="--target is 'aux_genpart_pid', which names a kind"):
        target_values(kept, "aux_genpart_pid")
    with pytest.raises(DataError, match="is 3 for all jets; there is nothing to be predicted"):
        scale_of(torch.full((5,), 3.0), "m")


@pytest.mark.parametrize(
    "config",
    [
        {"target": "m"},
        {"target": "m", "loss": "mse", "target_scale": [0.0, 0.0]},
        {"target": "m", "loss": "best", "target_scale": [0.0, 1.0]},
        {"target": "m", "loss": "mse", "target_scale": [0.0]},
        {"target": 3, "loss": "mse", "target_scale": [0.0, 1.0]},
    ],
)
def test_damaged_targets_are_refused(config):
    with pytest.raises(CheckpointError, match="a file predicts"):
        Target.of(config, source="a file")
    assert Target.of({}, source="a file") is None


def test_deviations_of_normal_numbers():
    rng = np.random.default_rng(1)
    truth = torch.from_numpy(rng.normal(80, 20, 20_000))
    predicted = truth + 3.0 + torch.from_numpy(rng.normal(0, 5, 20_000))
    interval = torch.stack([predicted - 3 - 5, predicted - 3 + 5], dim=1)
    found = deviation_of(predicted, truth, interval)
    assert abs(found.bias - 3) < 4 * found.bias_stderr
    assert found.bias_stderr == pytest.approx(5 / math.sqrt(20_000), rel=0.03)
    assert abs(found.resolution - 4.97) < 4 * found.resolution_stderr + 0.01  # 16 % lies 0.9945 σ from the mean
    assert found.rmse == pytest.approx(math.sqrt(9 + 25), rel=0.02)
    assert abs(found.coverage - 0.6827) < 4 * found.coverage_stderr
    spread = [deviation_of(predicted[i::40], truth[i::40]).resolution for i in range(40)]
    one = deviation_of(predicted[::40], truth[::40]).resolution_stderr
    assert one == pytest.approx(np.std(spread, ddof=1), rel=0.5)


def test_one_jet_has_no_errors():
    found = deviation_of(torch.tensor([1.0]), torch.tensor([3.0]))
    assert (found.bias, found.resolution) == (-2.0, 0.0)
    assert math.isnan(found.bias_stderr)
    assert math.isnan(found.resolution_stderr)


def test_bins_hold_every_jet_once():
    jets = random_jets(60)
    number = (torch.arange(60) % 7).double()  # with values that are equal
    tagger = PointNet(("m",), width=8, heads=2).aimed(Target("m", *scale_of(number, "m"))).eval()
    found = regress(tagger, jets.replace(columns={"m": number}))
    assert sum(part.jets for _, _, part in found.bins) == 60
    assert all(low <= part.truth <= high for low, high, part in found.bins)
    assert found.rotated is None


@pytest.mark.parametrize(("name", "law"), [("jet_sdmass", "scalar"), ("aux_genpart_eta", None)])
def test_what_turns_with_a_jet_is_not_taken_to_be_invariant(name, law):
    jets = random_jets(6)
    jets = jets.replace(columns={name: jets.jet_p4[:, 1]})
    tagger = PointNet((name,), width=8, heads=2).aimed(Target(name, 0.0, 1.0)).eval()
    assert tagger.probe_outputs == {name: law}
    assert (regress(tagger, jets, rotated=0).rotated is None) == (law is None)
    report = jetsym.probe(tagger, jets, l_max=1, progress=False)
    assert ({*report.equivariance} == {name}) == (law is not None)
    assert name in report.layers


def test_what_tells_classes_and_what_predicts_are_not_confused(tmp_path):
    jets, tagger = random_jets(4), PointNet(("mass",), width=8, heads=2)
    with pytest.raises(DataError, match="the network tells the classes mass, and predicts no target"):
        regress(tagger, jets)
    tagger.aimed(of("mse"))
    with pytest.raises(DataError, match="the network predicts mass and tells no classes"):
        predict_logits(tagger, jets)
    with pytest.raises(DataError, match="predicts mass and tells no classes, which a graph of logits needs"):
        export_onnx(tagger, tmp_path / "m.onnx")
    with pytest.raises(DataError, match="which weaver-core's layout needs"):
        weaver.export(
            ParticleTransformer(("mass",), embedding=(16,), heads=2, blocks=1).aimed(of("mse")), tmp_path / "m.pt"
        )
    assert PointNet(("mass",), width=8, heads=2).target is None
    assert PointNet.probe_outputs == {"logits": "logits"}
