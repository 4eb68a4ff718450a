"""What a rule does not see of a model, and what a report then says: responses in closed form beyond every band."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import jetsym
from jetsym.probing.measure.orbit import HELD_OUT
from jetsym.remedies import Symmetrized, averaging_degree
from jetsym.spectrum.wigner import real_spherical_harmonics

QUIET = {"progress": False}


def points(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 3))


def azimuth(x):
    return np.arctan2(x[:, 1], x[:, 0])


def harmonic(*lams):
    """1 plus one harmonic of unit power of every λ, of the direction of a point, along a fixed direction each."""
    rng = np.random.default_rng(2)
    along = {lam: rng.normal(size=2 * lam + 1) for lam in lams}

    def model(x):
        n = x / np.linalg.norm(x, axis=-1, keepdims=True)
        parts = [real_spherical_harmonics(lam, n) @ (a / np.linalg.norm(a)) for lam, a in along.items()]
        return 1 + np.sqrt(4 * np.pi) * np.sum(parts, axis=0)

    return model


#: A model, how it is probed, and its true relative A.
UNSEEN = {
    "cos 9φ": (lambda x: 2 + np.cos(9 * azimuth(x)), {"group": "SO2"}, (0.5 / 4.5) ** 0.5),
    "cos 17φ, read as a constant": (lambda x: 2 + np.cos(17 * azimuth(x)), {"group": "SO2"}, (0.5 / 4.5) ** 0.5),
    "sin 33φ at 8": (lambda x: 1 + np.sin(33 * azimuth(x)), {"group": "SO2", "l_max": 8}, (1 / 3) ** 0.5),
    "cos 5φ at 1": (lambda x: 1 + np.cos(5 * azimuth(x)), {"group": "SO2", "l_max": 1}, (1 / 3) ** 0.5),
    "72 towers": (lambda x: np.floor(azimuth(x) / (2 * np.pi / 72)) % 2 + 1.0, {"group": "SO2"}, 0.1**0.5),
    "faint cos 17φ": (lambda x: 2 + 0.02 * np.cos(17 * azimuth(x)), {"group": "SO2"}, 0.01 / 2**0.5),
    "λ = 9": (harmonic(9), {"l_max": 4}, 0.5**0.5),
    "λ = 11 and 13": (harmonic(11, 13), {"l_max": 4}, (2 / 3) ** 0.5),
    "λ = 10 under SO(3)": (harmonic(10), {"group": "SO3", "l_max": 4}, 0.5**0.5),
    "λ = 6 and 10 by the icosahedron": (harmonic(6, 10), {"method": "icosahedral", "l_max": 2}, (2 / 3) ** 0.5),
}


@pytest.mark.parametrize("n", [4, 16])
@pytest.mark.parametrize("name", UNSEEN)
def test_what_lies_beyond_the_rule_is_seen(name, n):
    model, options, truth = UNSEEN[name]
    report = jetsym.probe(model, points(n), **options, **QUIET)
    item = report.equivariance["output"]
    assert report.meta["unbiased"] == ["output"]
    assert report.unexplained[0] > 100 * report.noise_floor[0]
    # Few inputs give an error that is uncertain itself.
    width = 3 if n > 8 else 5
    assert item.relative == pytest.approx(truth, abs=width * item.relative_stderr)
    assert report.fractions[0, 0] == pytest.approx(1 - truth**2, abs=width * report.stderr[0, 0])
    assert not report.is_seen("output")
    assert "to within rounding" not in str(report)
    assert "unbiased estimates, with the help of 8 random elements" in str(report)


def test_one_input_is_judged_by_its_elements():
    report = jetsym.probe(lambda x: 2 + np.cos(17 * azimuth(x)), points(1), group="SO2", **QUIET)
    item = report.equivariance["output"]
    assert item.relative == pytest.approx((0.5 / 4.5) ** 0.5, abs=5 * item.relative_stderr)
    assert "to within rounding" not in str(report)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", [{}, {"l_max": 2}, {"group": "SO2"}, {"method": "icosahedral", "l_max": 2}])
def test_band_limited_layers_read_below_the_floor(dtype, options):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.square = nn.Linear(3, 8), nn.Identity()

        def forward(self, x):
            h = self.linear(x)
            return self.square(h * h[:, [1, 2, 3, 4, 5, 6, 7, 0]]).sum(-1)

    ratios = []
    for seed in range(5):
        torch.manual_seed(seed)
        x = torch.tensor(points(5, seed=seed), dtype=dtype)
        report = jetsym.probe(Net().to(dtype), x, outputs={"y": "scalar"}, layers=["*"], **options, **QUIET, seed=seed)
        assert report.layers == ("linear", "square", "y")
        ratios.append(report.unexplained / report.noise_floor)
    assert (np.median(ratios, axis=0) < 1).all()
    assert np.max(ratios) < 2  # what few numbers of five inputs have by chance
    assert report.meta["unbiased"] == []
    assert abs(report.equivariance["y"].unexplained) < report.equivariance["y"].noise_floor
    assert report.meta["held_out"] == HELD_OUT


@pytest.mark.parametrize(
    ("kind", "shape"),
    [("vector", (3,)), ("rank2", (3, 3)), ("pseudoscalar", ()), ("four-vector", (4,)), ((2, 1), (5,))],
)
@pytest.mark.parametrize("group", ["O3", "SO3", "SO2"])
def test_errors_of_outputs_that_turn_agree_with_random_rotations(kind, shape, group):
    """A, its split and the error spectrum of outputs with content far beyond l_max."""
    rng = np.random.default_rng(3)
    weights = rng.normal(size=(3, int(np.prod(shape))))

    def model(x):
        return (np.tanh(3 * x @ weights) + np.sign(x[:, :1] + x[:, 1:2])).reshape(len(x), *shape)

    options = {"outputs": {"y": kind}, "group": group, "l_max": 2, **QUIET}
    rule = jetsym.probe(model, points(64), **options)
    random = jetsym.probe(model, points(64), n_rotations=96, **options)
    assert rule.meta["unbiased"] == ["y"]
    a, b = rule.equivariance["y"], random.equivariance["y"]
    for part in ("relative", "absolute", "leakage", "misalignment"):
        error = np.hypot(getattr(a, f"{part}_stderr"), getattr(b, f"{part}_stderr"))
        assert getattr(a, part) == pytest.approx(getattr(b, part), abs=4 * error + 1e-12), part
    for irrep, value in a.error_spectrum.items():
        error = np.hypot(a.error_spectrum_stderr[irrep], b.error_spectrum_stderr[irrep])
        assert value == pytest.approx(b.error_spectrum[irrep], abs=4.5 * error + 1e-12), irrep
    assert a.error_exact_to is None
    np.testing.assert_array_less(
        np.abs(rule.fractions - random.fractions), 4.5 * np.hypot(rule.stderr, random.stderr) + 1e-12
    )


def test_the_spread_of_what_does_not_depend_on_the_inputs_is_none():
    """Read by the rule, 2 + cos 17φ has a mean that depends on where an input lies: it has not."""
    report = jetsym.probe(lambda x: 2 + np.cos(17 * azimuth(x)), points(32), group="SO2", **QUIET)
    found = report.equivariance["output"].over_spread
    assert np.isnan(found) or found > 3  # by the rule alone 1


def test_random_elements_and_finite_groups_need_none():
    random = jetsym.probe(harmonic(9), points(8), n_rotations=16, **QUIET)
    assert random.meta["held_out"] == 0
    np.testing.assert_array_equal(random.unexplained, random.tail)
    assert random.equivariance["output"].unexplained == 0


def test_fast_waves_in_rapidity_are_seen():
    p = np.random.default_rng(0).normal(size=(16, 3))
    p4 = np.column_stack([np.linalg.norm(p, axis=1) + 1, p])
    report = jetsym.probe(
        lambda x: 2 + np.cos(30 * np.arctanh(x[:, 3] / x[:, 0])),
        p4,
        group="boost",
        l_max=1,
        widths=[0.02, 2.0],
        **QUIET,
    )
    item, row = report.equivariance["output"], report.layers.index("output")
    assert report.unexplained[0, row] < 0.01 < 0.05 < report.unexplained[1, row]
    assert item.relative == pytest.approx((0.5 / 4.5) ** 0.5, abs=4 * item.relative_stderr)
    assert "unexplained: it varies faster than they resolve" in str(report)
    held = report.to_dict()
    old = {key: value for key, value in held.items() if not key.startswith("unexplained")}
    old |= {"format": 1, "noise_floor": held["noise_floor"][0]}
    assert np.isnan(type(report).from_dict(old).unexplained).all()


def test_reports_of_before_are_read_without():
    report = jetsym.probe(harmonic(3), points(3), l_max=3, **QUIET)
    data = json.loads(json.dumps(report.to_dict()))
    assert data["unexplained"] == report.unexplained.tolist()
    old = {key: value for key, value in data.items() if not key.startswith("unexplained")} | {"format": 3}
    loaded = jetsym.SymmetryReport.from_dict(old)
    assert np.isnan(loaded.unexplained).all()
    assert loaded.is_seen("output")
    for result in (str(loaded), loaded._repr_html_(), str(jetsym.compare(loaded)), str(jetsym.diagnose(loaded))):
        assert result
    loaded.plot()


def test_batches_do_not_matter():
    reports = [jetsym.probe(harmonic(9), points(6), l_max=2, batch_size=size, **QUIET) for size in (40, 512)]
    np.testing.assert_allclose(reports[0].fractions, reports[1].fractions, atol=1e-12)
    np.testing.assert_allclose(reports[0].unexplained, reports[1].unexplained)
    other = jetsym.probe(harmonic(9), points(6), l_max=2, seed=1, **QUIET)
    assert np.abs(other.unexplained - reports[0].unexplained) > 1e-6


def test_what_follows_from_it():
    """Bandwidths are lower bounds, saturation is found, and averaging refuses."""
    report = jetsym.probe(harmonic(9), points(16), **QUIET)
    compared = jetsym.compare(report)
    assert compared.is_lower_bound(0).all()
    assert "at least" in compared.sentences()[-1]
    assert "≥" in str(compared)
    assert "saturation" in jetsym.diagnose(report).names
    hidden = jetsym.probe(lambda x: 2 + np.cos(17 * azimuth(x)), points(32), group="SO2", **QUIET)
    assert "under-resolved" in jetsym.diagnose(hidden).names
    for each in (report, hidden):
        with pytest.raises(jetsym.errors.ConfigError, match="where the error spectrum ends"):
            averaging_degree(each.equivariance["output"])


def test_an_average_says_what_it_leaves():
    x = torch.tensor(points(64))
    model = lambda x: x[:, 0] ** 6  # noqa: E731
    assert Symmetrized(model, "O3", 6).left_over(x)["output"] < 1e-14
    assert Symmetrized(model, "O3", 2).left_over(x)["output"] > 0.1
    vector = Symmetrized(lambda x: x * torch.tensor([1.0, 1.0, 1.3]), "O3", 2, outputs={"v": "vector"})
    assert vector.left_over(x)["v"] < 1e-14


def test_an_action_of_ones_own_may_know_shared_matrices_only():
    def action(inputs, matrices):
        assert matrices.ndim == 3
        return np.einsum("nij,sj->nsi", matrices, inputs).reshape(-1, 3)

    own = jetsym.probe(harmonic(9), points(4), l_max=2, action=action, **QUIET)
    plain = jetsym.probe(harmonic(9), points(4), l_max=2, **QUIET)
    np.testing.assert_allclose(own.unexplained, plain.unexplained)
    np.testing.assert_allclose(own.fractions, plain.fractions, atol=1e-14)
