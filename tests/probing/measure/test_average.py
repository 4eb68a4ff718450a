"""The orbit average is exactly equivariant, and takes exactly A² off the squared error of an equivariant target."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import nn

import jetsym
from jetsym.errors import ProbeError
from jetsym.jets import checkpoint
from jetsym.jets.models.pointnet import PointNet
from jetsym.probing.measure.average import OrbitAverage, accuracy_split, orbit_average
from jetsym.spectrum import O3
from jetsym.spectrum.representations import representation
from jetsym.testing.spectra import known_spectrum


@pytest.fixture
def points():
    return np.random.default_rng(0).normal(size=(10, 3))


def broken(x):
    """A vector with a fixed direction and a fixed anisotropy: f̄ = x (1 + 0.3/3 tr)."""
    return x * np.array([1.0, 1.0, 1.3]) + 0.2 * np.array([0, 0, 1.0])


def test_the_average_of_a_known_function(points):
    average = orbit_average(broken, points, outputs={"force": "vector"}, bandwidth=1)["force"]
    np.testing.assert_allclose(average.mean, 1.1 * points, atol=1e-14)
    # A² = 0.2² + |x|² (⟨m²⟩ − ⟨m⟩²) for the diagonal m = (1, 1, 1.3).
    expected = 0.04 + (points**2).sum(axis=1) * (3.69 / 3 - 1.1**2)
    np.testing.assert_allclose(average.squared_error, expected, rtol=1e-12)
    probed = jetsym.probe(broken, points, outputs={"force": "vector"}, l_max=1, progress=False)
    assert np.sqrt(expected.mean()) == pytest.approx(probed.equivariance["force"].absolute, rel=1e-12)


@pytest.mark.parametrize("kind", ["scalar", "pseudoscalar", "vector", "rank2", "four-vector", (2, -1)])
def test_the_average_is_equivariant_and_splits_the_squared_error(kind):
    """Random functions of bandwidth 2 on frames; the split against brute force over the group."""
    rho, rng = representation(kind), np.random.default_rng(1)
    f = known_spectrum(dict.fromkeys(O3().irreps(2), 1.0), features=len(rho.basis), rng=rng)

    def model(frames):
        return f(np.swapaxes(frames, 1, 2)).reshape(-1, *rho.shape)

    frames = O3().sample(3, rng)  # rows are the vectors that move
    average = orbit_average(model, frames, outputs={"t": kind}, bandwidth=2)["t"]
    g = O3().sample(1, rng)[0]
    rotated = orbit_average(model, frames @ g.T, outputs={"t": kind}, bandwidth=2)["t"]
    expected = average.mean.reshape(3, -1) @ rho.matrices(g).T
    np.testing.assert_allclose(rotated.mean.reshape(3, -1), expected, atol=1e-12)
    assert np.abs(model(frames @ g.T).reshape(3, -1) - model(frames).reshape(3, -1) @ rho.matrices(g).T).max() > 0.1

    target = rng.normal(size=average.mean.shape)
    split = accuracy_split(average, target)
    rule = O3().quadrature(2)
    squares = 0.0
    for sign in (1, -1):
        for weight, r in zip(rule.weights, sign * rule.rotations, strict=True):
            aim = target.reshape(3, -1) @ rho.matrices(r).T
            squares += weight / 2 * ((model(frames @ r.T).reshape(3, -1) - aim) ** 2).mean()
    assert split.mse == pytest.approx(squares, rel=1e-12)
    assert split.mse == split.mse_of_average + split.error
    assert min(split.mse_of_average, split.error) > 0.05


def test_too_small_a_bandwidth_leaves_an_average_that_is_not_equivariant(points):
    """x_z³ e_z has bandwidth 3: a rule of degree 2 is not enough, one of degree 6 is."""

    def model(x):
        return x[:, 2:] ** 3 * np.array([0, 0, 1.0])

    exact = 0.2 * points * (points**2).sum(axis=1, keepdims=True)  # ⟨(n·e)⁴⟩ = 1/5
    narrow, wide = (
        orbit_average(model, points, outputs={"v": "vector"}, bandwidth=bandwidth)["v"] for bandwidth in (1, 3)
    )
    np.testing.assert_allclose(wide.mean, exact, atol=1e-13)
    assert np.abs(narrow.mean - exact).max() > 1e-3


def test_jets_logits_and_padded_tokens(make_jets):
    jets = make_jets(3, seed=3, dtype=torch.float64, min_particles=2, max_particles=6)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([1.0, 1.0, 1.3], dtype=torch.float64))

        def forward(self, batch):
            flow = batch.p4[..., 1:] * self.weight
            logits = torch.stack([flow[:, 0, 0], batch.p4[:, 0, 0], batch.p4[:, 0, 0]], -1)
            return {"flow": torch.where(batch.mask[..., None], flow, torch.nan), "logits": logits}

    net = Net().train()
    found = orbit_average(net, jets, outputs={"flow": "vector", "logits": "logits"}, bandwidth=1, batch_size=20)
    assert net.training
    mask = jets.mask.numpy()
    p3 = jets.p4[..., 1:].numpy()
    np.testing.assert_allclose(found["flow"].mean[mask], 1.1 * p3[mask], rtol=1e-12)
    assert not found["flow"].mean[~mask].any()
    np.testing.assert_allclose(found["logits"].mean.sum(axis=1), 0, atol=1e-11)
    split = accuracy_split(found["flow"], np.where(mask[..., None], p3, np.nan))
    assert split.mse_of_average == pytest.approx(0.01 * (p3[mask] ** 2).mean(), rel=1e-10)
    assert split.error == pytest.approx((3.69 / 3 - 1.21) * (p3[mask] ** 2).mean(), rel=1e-10)


def test_a_run_folder_and_a_checkpoint_are_averaged_like_their_model(make_jets, tmp_path):
    torch.manual_seed(0)
    jets, tagger = make_jets(2, seed=3, max_particles=5), PointNet(("QCD", "Tbqq"), width=8, blocks=1, heads=2).eval()
    checkpoint.save(tmp_path / checkpoint.BEST, tagger)
    expected, *found = (
        orbit_average(model, jets, outputs={"logits": "logits"}, bandwidth=1)["logits"]
        for model in (tagger, tmp_path, str(tmp_path / checkpoint.BEST), nn.DataParallel(tagger), lambda x: tagger(x))
    )
    assert expected.mean.shape == (2, 2)
    for other in found:
        np.testing.assert_allclose(other.mean, expected.mean, rtol=1e-6)
    with pytest.raises(ProbeError, match="model is a int; expected a torch module, a callable, or the path of a run"):
        orbit_average(3, jets)


def test_an_average_about_each_jet_is_not_one_about_the_beam(make_jets):
    jets = make_jets(3, seed=3, dtype=torch.float64, min_particles=2, max_particles=5)

    def model(batch):
        return batch.p4[..., 1].sum(1) ** 2

    about_jet, about_beam = (
        orbit_average(model, jets, group="SO2", axis=axis, outputs={"y": "scalar"}, bandwidth=2)["y"].mean
        for axis in ("jet", "beam")
    )
    np.testing.assert_allclose(about_beam, jets.p4[..., 1:3].sum(1).square().sum(1) / 2, rtol=1e-10)
    assert np.abs(about_jet / about_beam - 1).max() > 0.01
    with pytest.raises(ProbeError, match="whose law is known for rotations in the lab"):
        orbit_average(lambda batch: batch.jet_p4[:, 1:], jets, frame="rest", outputs={"p": "vector"})


def test_what_cannot_be_averaged_is_refused(points):
    with pytest.raises(ProbeError, match="group is 'O2'.*'O3'"):
        orbit_average(broken, points, group="O2")
    with pytest.raises(ProbeError, match="bandwidth is -1"):
        orbit_average(broken, points, bandwidth=-1)
    with pytest.raises(ProbeError, match="said to be 'vektor'"):
        orbit_average(broken, points, outputs={"force": "vektor"})
    average = OrbitAverage(mean=np.zeros((2, 3)), squared_error=np.zeros(2), mask=None)
    with pytest.raises(ProbeError, match=r"target has shape \(2,\); expected that of the output, \(2, 3\)"):
        accuracy_split(average, np.zeros(2))


@pytest.mark.parametrize("value", [-3, 2.5, 2.0, True, "2", None, [2]])
@pytest.mark.parametrize(("option", "least"), [("limit", 1), ("bandwidth", 0)])
def test_what_is_no_number_of_inputs_or_bandwidth_is_refused(option, least, value):
    with pytest.raises(ProbeError, match=re.escape(f"{option} is {value!r}; expected an integer ≥ {least}")):
        orbit_average(lambda x: x[:, 0], np.ones((4, 3)), group="SO3", **{option: value})


def test_a_limit_without_inputs_is_refused():
    with pytest.raises(ProbeError, match="limit is 0; expected an integer ≥ 1"):
        orbit_average(lambda x: x[:, 0], np.ones((4, 3)), group="SO3", limit=0)
    found = orbit_average(lambda x: x[:, 0], np.ones((4, 3)), group="SO3", limit=np.int64(2), bandwidth=np.int32(1))
    assert len(found["output"].mean) == 2
