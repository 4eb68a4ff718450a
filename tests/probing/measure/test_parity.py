"""Learned parity: functions whose odd parts are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import jetsym
from jetsym.errors import ConfigError, ProbeError
from jetsym.jets.models import PointNet
from jetsym.probing.reports.parity import Parity
from jetsym.probing.reports.significance import in_sigma


def frames(n=64, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 3, 3))


def even(x):
    return (x**2).sum((1, 2))


def odd(x):
    return np.linalg.det(x)


def found(f, x=None, targets=None, kind="scalar", **options):
    return jetsym.parity(f, frames() if x is None else x, targets, outputs={"y": kind}, **options)


def test_the_two_parts_of_a_known_function():
    x = frames()
    item = found(lambda x: even(x) + 0.1 * odd(x)).outputs["y"]
    assert item.odd == pytest.approx(0.1 * np.sqrt((odd(x) ** 2).mean()), rel=1e-12)
    assert item.even == pytest.approx(even(x).std(ddof=1), rel=1e-12)
    assert item.mean[0] == pytest.approx(0.1 * odd(x).mean(), rel=1e-12)
    assert item.mean_stderr[0] == pytest.approx(0.1 * odd(x).std(ddof=1) / 8, rel=1e-12)
    assert item.share == pytest.approx(item.odd**2 / (item.odd**2 + even(x).var() * 64 / 63), rel=1e-12)
    assert item.verdict == "neither even nor odd"
    assert item.is_real


def test_a_network_that_should_be_even_and_is_not():
    """A part of 1e-8 is found in float64, and hidden by rounding in float32."""

    def model(x):
        return even(x) + 1e-8 * odd(x)

    report = found(model)
    assert report.outputs["y"].is_real
    assert in_sigma(report.outputs["y"].p_value) > 8
    assert found(even).outputs["y"].verdict == "even"
    assert "even under the inversion to within rounding" in found(even).sentences()[0]
    single = found(model, x=frames().astype(np.float32))
    assert single.outputs["y"].verdict == "even"
    assert not single.outputs["y"].is_real


def test_a_pseudoscalar_that_was_learned():
    x = frames()
    for kind in ("scalar", "pseudoscalar"):
        report = found(odd, targets=odd(x) + 0.3, kind=kind)
        item = report.outputs["y"]
        assert item.verdict == "odd"
        assert item.share == 1.0
        assert item.error == pytest.approx(0.3, rel=1e-12)
        assert item.gain == pytest.approx(((odd(x) + 0.3) ** 2).mean() - 0.09, rel=1e-9)
        assert "all that varies of it is a pseudoscalar" in report.sentences()[0]
    labels = (odd(x) > 0).astype(int)
    report = found(lambda x: np.stack([0 * odd(x), 5 * odd(x)], axis=1), targets=labels, kind="logits")
    item = report.outputs["y"]
    assert item.gain + item.error == pytest.approx(np.log(2), rel=1e-12)  # without its odd part it knows nothing
    assert item.gain_p_value < 1e-10
    assert "It is learned: without it the loss grows" in report.sentences()[0]


def test_an_odd_part_that_is_noise():
    x = frames(400)
    report = found(lambda x: even(x) + 0.5 * odd(x), x, even(x), limit=400)
    assert report.outputs["y"].gain == pytest.approx(-0.25 * (odd(x) ** 2).mean(), rel=1e-9)
    assert "without it the loss falls" in report.sentences()[0]
    assert report.outputs["y"].mean_p_value > 0.01


def test_inputs_that_prefer_one_hand():
    x = frames()
    handed = x * np.sign(odd(x))[:, None, None]
    report = found(lambda x: even(x) + odd(x), handed)
    assert report.outputs["y"].mean_p_value < 1e-6
    assert "these inputs prefer one hand" in report.sentences()[0]


def test_rotations_leave_the_pseudoscalar_alone():
    """x_z is odd as it stands, for the rotation in P; averaged over rotations 0.2 det is left."""
    x = frames(400)
    fixed = found(lambda x: x[:, 0, 2] + 0.2 * odd(x), x, limit=400).outputs["y"]
    assert fixed.odd > 0.9
    turned = found(lambda x: x[:, 0, 2] + 0.2 * odd(x), x, limit=400, n_rotations=8).outputs["y"]
    assert turned.odd == pytest.approx(0.2 * np.sqrt((odd(x) ** 2).mean()), abs=4 * turned.odd_stderr)
    none = found(lambda x: x[:, 0, 2], x, limit=400, n_rotations=8).outputs["y"]
    assert not none.is_real
    assert none.odd**2 < 0.05  # a biased one would be ⟨x_z²⟩/8


def test_reflections():
    report = found(lambda x: x[:, 0, 2] ** 3 + x[:, 0, 0], mirror="z")
    assert report.meta["mirror"] == "the reflection of z"
    assert report.outputs["y"].odd == pytest.approx(np.sqrt((frames()[:, 0, 2] ** 6).mean()), rel=1e-12)
    assert found(lambda x: x[:, 0, 0], mirror=[0, 1, 0]).outputs["y"].verdict == "even"


def test_jets_and_their_labels(make_jets):
    jets = make_jets(12, seed=1)
    model = PointNet(width=8, blocks=1, heads=2)
    item = jetsym.parity(model, jets).outputs["logits"]
    assert item.loss == "cross-entropy"
    assert len(item.mean) == 10
    unlabelled = jetsym.parity(model, jets.replace(label=None)).outputs["logits"]
    assert unlabelled.loss is None
    assert unlabelled.odd == item.odd


def test_padded_particles_do_not_count(make_jets):
    jets = make_jets(8, dtype=torch.float64, min_particles=3, max_particles=9)
    call = lambda _, jets: jets.p4[..., 3] + (~jets.mask) * 1e3  # noqa: E731
    item = jetsym.parity(lambda jets: call(None, jets), jets, outputs={"pz": "scalar"}).outputs["pz"]
    real = jets.p4[..., 3][jets.mask]
    assert item.odd == pytest.approx(float(real.square().mean().sqrt()), rel=1e-9)
    assert item.verdict == "odd"


def test_vectors_are_left_out():
    report = jetsym.parity(lambda x: {"v": x[:, 0], "y": even(x)}, frames(), outputs={"v": "vector", "y": "scalar"})
    assert list(report.outputs) == ["y"]
    assert "'v' turns, and has no parity by itself." in report.meta["notes"]


def test_it_is_saved_and_read(tmp_path):
    report = found(odd, targets=even(frames()))
    again = Parity.load(report.save(tmp_path / "p.json"))
    assert again.to_dict() == report.to_dict()
    assert str(again) == str(report)


def test_wrong_uses():
    with pytest.raises(ProbeError, match="no output has a parity"):
        found(lambda x: x[:, 0], kind="vector")
    with pytest.raises(ProbeError, match="n_rotations is 1"):
        found(even, n_rotations=1)
    with pytest.raises(ProbeError, match="mirror is 'jet'"):
        found(even, mirror="jet")
    with pytest.raises((ProbeError, ConfigError), match="mirror"):
        found(even, mirror="up")
    with pytest.raises(ProbeError, match="expected one of"):
        found(even, loss="hinge")
