"""What a trained network is compared with: untrained copies, its own first weights, another network."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch import nn

import jetsym
from jetsym.errors import CheckpointError, ProbeError
from jetsym.jets import checkpoint
from jetsym.jets.io.sample import sample, sample_dir
from jetsym.jets.models import PointNet
from jetsym.probing.forward.untrained import untrained_copy
from jetsym.probing.reports.draws import least_gap, over_draws
from jetsym.probing.reports.significance import quantile
from jetsym.training import train

QUIET = {"progress": False, "l_max": 1}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 8), nn.Linear(8, 2)

    def forward(self, x):
        return self.second(torch.tanh(self.first(x)))


@pytest.fixture
def points():
    return torch.randn(12, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("group", ["O3", "SO2"])
def test_the_baseline_is_the_mean_over_draws_with_their_standard_deviation(points, group):
    """Each draw is a report of its own, which probing the copy by itself gives as well."""
    model = Net()
    report = jetsym.probe(model, points, group=group, baseline="untrained", n_draws=4, seed=3, **QUIET)
    copies = [untrained_copy(model, seed=3, draw=draw) for draw in range(4)]
    draws = [jetsym.probe(copy, points, group=group, seed=3, **QUIET) for copy in copies]
    found = report.baseline
    fractions = np.array([draw.fractions for draw in draws])
    np.testing.assert_allclose(found.fractions, fractions.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.stderr, fractions.std(axis=0, ddof=1), rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(found.tail_stderr, np.std([draw.tail for draw in draws], axis=0, ddof=1), atol=1e-300)
    np.testing.assert_array_equal(found.noise_floor, np.max([draw.noise_floor for draw in draws], axis=0))
    errors = [draw.equivariance["output"] for draw in draws]
    output = asdict(found.equivariance["output"])
    for name in ("relative", "absolute", "over_spread", "leakage"):
        assert output[name] == pytest.approx(np.mean([getattr(item, name) for item in errors]), rel=1e-12)
        assert output[f"{name}_stderr"] == pytest.approx(np.std([getattr(item, name) for item in errors], ddof=1))
    one = next(iter(output["error_spectrum"]))
    assert output["error_spectrum"][one] == pytest.approx(np.mean([item.error_spectrum[one] for item in errors]))
    assert found.meta["n_draws"] == 4
    assert found.meta["evaluations"] == 4 * report.meta["evaluations"]
    assert type(report).from_dict(report.to_dict()).baseline.meta["n_draws"] == 4
    assert "4 untrained copies, mean and standard deviation" in " ".join(report.sentences())


def test_draws_of_boosts_and_of_the_whole_group_are_put_together(jets):
    for group in ("boost", "lorentz"):
        model = PointNet(width=8, blocks=1, heads=2).double()
        report = jetsym.probe(
            model, jets, group=group, baseline="untrained", n_draws=2, limit=2, layers=[], widths=(0.1, 0.5), **QUIET
        )
        assert report.baseline.meta["n_draws"] == 2
        part = report.baseline.windows["beam"] if group == "lorentz" else report.baseline
        assert part.widths.tolist() == [0.1, 0.5]
        assert (part.squared_stderr > 0).all()
        assert type(report).from_dict(report.to_dict()).baseline.layers == report.layers


@pytest.fixture
def jets():
    return sample("test", limit=2, max_particles=12)


def test_a_further_draw_lies_within_the_gap_that_is_stated():
    """t s √(1 + 1/n) is the prediction interval of normal draws: of 40,000 it misses as many as three sigma do."""
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(40_000, 6))
    gap = np.array([least_gap(s, {"n_draws": 5}, 2.0) for s in draws[:, :5].std(axis=1, ddof=1)])
    outside = np.mean(draws[:, 5] - draws[:, :5].mean(axis=1) > gap)
    assert outside == pytest.approx(0.02275, rel=0.1)  # one side of two sigma
    assert least_gap(1.0, {"n_inputs": 10**7}) == pytest.approx(3.0, rel=1e-5)
    assert quantile(3.0, 1) == np.inf


def test_parameters_that_nothing_redraws_are_named(points):
    class Token(nn.Module):
        def __init__(self):
            super().__init__()
            self.token, self.body = nn.Parameter(torch.ones(3)), nn.Linear(3, 2)

        def forward(self, x):
            return self.body(x + self.token)

    with pytest.raises(ProbeError, match="nothing redraws 'token'"):
        jetsym.probe(Token(), points, baseline="untrained", **QUIET)
    normed = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(3, 4)), nn.Linear(4, 2))
    with pytest.raises(ProbeError, match="nothing redraws '0.parametrizations.weight.original'"):
        jetsym.probe(normed, points, baseline="untrained", **QUIET)

    class Half(nn.Linear):
        def reset_parameters(self):
            nn.init.zeros_(self.bias)

    with pytest.raises(ProbeError, match="nothing redraws 'weight'"):
        untrained_copy(Half(3, 2), seed=0)
    with pytest.raises(ProbeError, match="Tanh has none"):
        jetsym.probe(nn.Tanh(), points, baseline="untrained", **QUIET)


def test_a_copy_that_answers_as_the_model_does_is_no_baseline(points):
    model = Net()
    other = Net()
    for call in (lambda given, x: model(x), lambda given, x: other(x) + 1.0):
        with pytest.raises(ProbeError, match="bit for bit as the model does"):
            jetsym.probe(model, points, call=call, baseline="untrained", **QUIET)
    torch.manual_seed(0)  # the same seed is no reason for the same weights
    assert jetsym.probe(Net(), points, baseline="untrained", seed=0, **QUIET).baseline


def test_another_model_is_measured_as_the_model_is(points):
    tuned, pretrained = Net(), Net()
    report = jetsym.probe(tuned, points, baseline=pretrained, outputs={"output": "scalar"}, **QUIET)
    alone = jetsym.probe(pretrained, points, outputs={"output": "scalar"}, **QUIET)
    np.testing.assert_array_equal(report.baseline.fractions, alone.fractions)
    assert report.baseline.meta["baseline"] == "Net"
    assert "the baseline Net: " in " ".join(report.sentences())
    with pytest.raises(ProbeError, match="expected 'untrained', 'initial', a model"):
        jetsym.probe(tuned, points, baseline="runs/none", **QUIET)
    with pytest.raises(ProbeError, match="needs the folder of a run"):
        jetsym.probe(tuned, points, baseline="initial", **QUIET)


def test_a_run_keeps_its_first_weights(tmp_path):
    options = {"model": "pointnet", "options": {"width": 8, "blocks": 1, "heads": 2}, "epochs": 1, "device": "cpu"}
    folder = tmp_path / "run"
    train(str(sample_dir() / "train"), folder, val=str(sample_dir() / "val"), limit=40, progress=False, **options)
    first, best = checkpoint.load(folder / checkpoint.INITIAL), checkpoint.load(folder)
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), best.parameters(), strict=True))
    options = {"limit": 4, "layers": [], **QUIET}
    report = jetsym.probe(folder, baseline="initial", **options)
    alone = jetsym.probe(folder / checkpoint.INITIAL, **options)
    np.testing.assert_array_equal(report.baseline.fractions, alone.fractions)
    assert "the weights before the first step: " in " ".join(report.sentences())
    (folder / checkpoint.INITIAL).unlink()
    with pytest.raises(CheckpointError, match="runs keep it since"):
        jetsym.probe(folder, baseline="initial", **options)


def test_reports_of_draws_keep_what_is_no_number(points):
    report = jetsym.probe(Net(), points, **QUIET)
    both = over_draws([report, report])
    assert both.layers == report.layers
    assert both.irreps == report.irreps
    assert both.meta["notes"] == report.meta["notes"]
    assert both.equivariance["output"].kind == "scalar"
    assert (both.stderr == 0).all()
