"""The noise floor is the actual rounding of exactly invariant networks, to a factor of three, in every precision."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from invariant_nets import CLOUDS, NETS, Attention
from scipy.spatial.transform import Rotation
from torch import nn

import jetsym
from jetsym.errors import ProbeError
from jetsym.jets.io.sample import sample
from jetsym.probing.forward.precision import Precisions
from jetsym.probing.measure import rounding
from jetsym.probing.reports.boosts import BoostReport
from jetsym.probing.reports.read import read_report

QUIET = {"progress": False}


def behind(dtype, arrays):
    """Return a network in one precision behind arrays of another."""

    def made(net):
        model = net.to(dtype)
        return lambda x: model(x.to(dtype)).to(arrays), CLOUDS.to(arrays)

    return made


def under_autocast(dtype):
    def made(net):
        def model(x):
            with torch.autocast("cpu", dtype=dtype):
                return net.float()(x.to(dtype)).float()

        return model, CLOUDS.float()

    return made


PRECISIONS = {
    "float64": lambda net: (net.double(), CLOUDS),
    "float32": lambda net: (net.float(), CLOUDS.float()),
    "bfloat16": lambda net: (net.bfloat16(), CLOUDS.bfloat16()),
    "float16": lambda net: (net.half(), CLOUDS.half()),
    "float32 behind float64": behind(torch.float32, torch.float64),
    "float16 behind float32": behind(torch.float16, torch.float32),
    "bfloat16 behind float64": behind(torch.bfloat16, torch.float64),
    "autocast to bfloat16": under_autocast(torch.bfloat16),
    "autocast to float16": under_autocast(torch.float16),
}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("net", NETS)
def test_the_floor_is_the_rounding_of_invariant_networks(net, precision):
    torch.manual_seed(3)
    model, inputs = PRECISIONS[precision](net())
    report = jetsym.probe(model, inputs, l_max=2, outputs={"y": "scalar"}, **QUIET)
    item = report.equivariance["y"]
    assert item.noise_floor / 3 < item.relative < item.noise_floor
    assert item.is_within_rounding
    rest = np.sqrt(max(report.fractions[-1, 1:].sum(), 0.0))  # up to l_max: part of what rounding makes
    assert rest < np.sqrt(report.noise_floor[-1]) < 12 * rest
    assert ("cannot be told" in report.sentences()[1]) == (item.noise_floor > 0.01)


def plain(xp, dtype, result):
    """Return a network of distances of a library without layers, in one precision behind another."""
    rng = np.random.default_rng(0)
    first, last = (rng.normal(size=shape) / 8 for shape in ((64, 16), (16, 3)))

    def model(x):
        y = xp.asarray(x).astype(dtype)
        r = xp.sqrt(((y[:, :, None] - y[:, None]) ** 2).sum(-1)).reshape(len(x), -1)
        return (xp.tanh(r @ xp.asarray(first, dtype=dtype)) @ xp.asarray(last, dtype=dtype)).astype(result)

    return model


@pytest.mark.parametrize(
    ("model", "arrays"),
    [
        (plain(np, np.float32, np.float64), np.float64),
        (plain(np, np.float16, np.float64), np.float64),
        (plain(np, np.float16, np.float32), np.float32),
        (plain(np, np.float64, np.float32), np.float32),
        (plain(jnp, jnp.float32, jnp.float32), np.float32),
        (plain(jnp, jnp.bfloat16, jnp.float32), np.float32),
        (lambda x: np.tanh(plain(np, np.float16, np.float64)(x) / 3).sum(-1), np.float64),
        (lambda x: np.sqrt((x.astype(np.float16) ** 2).sum(-1)).astype(float), np.float64),
    ],
)
def test_what_other_libraries_compute_in_is_found_by_the_response(model, arrays):
    inputs = CLOUDS.numpy().astype(arrays)
    item = jetsym.probe(model, inputs, l_max=2, **QUIET).equivariance["output"]
    assert item.noise_floor / 3 < item.relative < item.noise_floor


@pytest.mark.parametrize("towers", [72, 360])
@pytest.mark.parametrize("height", [1.0, 0.05])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_jumps_are_no_rounding(towers, height, dtype):
    def model(x):
        return 1 + height * (np.floor(np.arctan2(x[..., 1], x[..., 0]) * towers / (2 * np.pi)) % 2).mean(-1)

    item = jetsym.probe(model, CLOUDS.numpy()[:, :1].astype(dtype), l_max=2, **QUIET).equivariance["output"]
    assert item.relative > 0.2 * height > 1e4 * item.noise_floor


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_broken_is_seen_above_the_floor(dtype):
    """By 5 %, which eight times the spacing of bfloat16 would hide."""

    def model(x):
        return 1 + 0.05 * 3**0.5 * x[:, 0, 2:] / x.norm(dim=-1)[:, :1]

    item = jetsym.probe(model, CLOUDS.to(dtype), l_max=2, **QUIET).equivariance["output"]
    assert item.relative == pytest.approx(0.05, rel=0.05)
    assert item.relative > 5 * item.noise_floor


def test_rapid_content_is_no_rounding():
    """A response of λ = 40 moves by more than a spacing of bfloat16 along every step."""
    x = CLOUDS.numpy()[:, 0]
    for group, dtype in (("O3", np.float64), ("SO2", np.float32)):
        report = jetsym.probe(
            lambda x: 2 + np.cos(40 * np.arctan2(x[:, 1], x[:, 0])), x.astype(dtype), group=group, **QUIET
        )
        assert report.equivariance["output"].noise_floor < 1e3 * np.finfo(dtype).eps


def test_precisions_are_seen_inside_whatever_goes_in():
    inner = nn.Linear(3, 3)
    with Precisions() as seen, torch.autocast("cpu", dtype=torch.bfloat16):
        inner(torch.ones(1, 3)).double()
    assert {2.0**-7, 2.0**-23, 2.0**-52} <= seen.eps


def test_rare_changes_of_what_is_rounded_twice():
    """Invariants in float32 under autocast change at few inputs only; the floor knows of them."""
    torch.manual_seed(3)
    net = Attention()

    def model(x):
        with torch.autocast("cpu", dtype=torch.float16):
            return net(x).float()

    item = jetsym.probe(model, CLOUDS.float(), l_max=2, outputs={"y": "scalar"}, **QUIET).equivariance["y"]
    assert item.relative < item.noise_floor < 1e-4


@pytest.mark.parametrize(("given", "offset"), [(torch.float32, 1e4), (torch.float64, 1e10)])
@pytest.mark.parametrize("beside", [torch.bfloat16, torch.float16])
def test_a_coarse_layer_beside_does_not_raise_the_floor_of_a_large_offset(given, offset, beside):
    side = nn.Linear(3, 4, dtype=beside)
    x = CLOUDS[:, 0].to(given)

    def model(x):
        side(x.to(beside))
        return offset + x[:, 2]

    item = jetsym.probe(model, x, l_max=2, **QUIET).equivariance["output"]
    expected = (x.square().sum(1).mean() / 3).sqrt().item()
    assert item.absolute == pytest.approx(expected, rel=1e-2)
    assert item.relative > 100 * item.noise_floor
    assert not item.is_within_rounding


def light():
    """Particles of γ = 1000, whose mass in float32 is mostly rounding."""
    momentum = 1000 * jetsym.spectrum.O3().sample(12, np.random.default_rng(10))[:, :, 0]
    return np.concatenate([np.sqrt((momentum**2).sum(-1, keepdims=True) + 1), momentum], -1).astype(np.float32)


def mass2(p):
    return p[:, 0] ** 2 - (p[:, 1:] ** 2).sum(-1)


def test_floors_that_hide_have_a_verdict_of_their_own():
    report = jetsym.probe(mass2, light(), l_max=2, **QUIET)
    item = report.equivariance["output"]
    assert item.is_hidden
    assert item.noise_floor / 3 < item.relative
    for text in (report.sentences()[1], str(report), report._repr_html_()):
        assert "cannot be told from rounding" in text
        assert "to within rounding" not in text
    (finding,) = [found for found in jetsym.diagnose(report) if found.name == "hidden-by-rounding"]
    assert finding.severity == "warning"
    assert "cannot be told from rounding" in finding.text
    precise = jetsym.probe(mass2, light().astype(np.float64), l_max=2, **QUIET)
    assert "to within rounding" in precise.sentences()[1]
    assert "hidden-by-rounding" not in jetsym.diagnose(precise)


def test_layers_that_rounding_hides_are_said():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.mass, self.head = nn.Identity(), nn.Linear(1, 1)

        def forward(self, p):
            return self.head(0 * self.mass(mass2(p)[:, None]))

    report = jetsym.probe(Net(), light(), layers=["mass"], l_max=2, **QUIET)
    assert any(text.startswith("Shares below") and "mass" in text for text in report.sentences())
    assert "hidden-by-rounding" in jetsym.diagnose(report)


def test_boosts_have_a_floor_for_every_width(tmp_path):
    rng = np.random.default_rng(0)
    momenta = rng.normal(size=(12, 4, 4)).astype(np.float32)
    momenta[..., 0] = np.sqrt((momenta[..., 1:] ** 2).sum(-1) + 1)

    def masses(p):
        total = p.sum(1)
        return np.sqrt(total[:, :1] ** 2 - (total[:, 1:] ** 2).sum(-1, keepdims=True))

    report = jetsym.probe(masses, momenta, group="boost", l_max=3, widths=[0.1, 1.0, 5.0], **QUIET)
    floors = np.sqrt(report.noise_floor[:, 0])
    ratio = floors / report.relative[:, 0]
    assert ((ratio > 1) & (ratio < 3)).all(), ratio
    assert floors[-1] > 30 * floors[0]  # rapid boosts magnify
    saved = report.to_dict()
    again = BoostReport.from_dict(saved)
    np.testing.assert_array_equal(again.noise_floor, report.noise_floor)
    older = BoostReport.from_dict({**saved, "format": 1, "noise_floor": saved["noise_floor"][-1]})
    assert older.noise_floor.shape == report.noise_floor.shape
    report.save(tmp_path / "report.json")
    assert read_report(tmp_path / "report.json").rows() == report.rows()
    hidden = jetsym.probe(mass2, light(), group="boost", l_max=1, widths=[0.5], **QUIET)
    assert "cannot be told from rounding" in hidden.sentences()[0]
    assert "hidden-by-rounding" in jetsym.diagnose(hidden)


def test_the_masses_of_real_jets():
    """Few jets, of large E/m, make most of the rounding."""

    class Mass(nn.Module):
        probe_outputs = {"logits": "logits"}  # noqa: RUF012  # read only

        def forward(self, jets):
            total = (jets.p4 * jets.mask[..., None]).sum(1)
            mass = (total[:, 0] ** 2 - (total[:, 1:] ** 2).sum(-1)).clamp(min=0).sqrt()
            return torch.stack([mass, -mass], -1)

    jets = sample("test", limit=64)
    for options in ({"frame": "lab"}, {"frame": "rest"}):
        item = jetsym.probe(Mass(), jets, l_max=2, **options, **QUIET).equivariance["logits"]
        assert item.noise_floor / 3 < item.relative < item.noise_floor


@pytest.mark.parametrize("inputs", [1, 2])
def test_floors_of_a_single_number_hold_for_every_seed(inputs):
    """A sum that cancels, of the corners of an icosahedron: rounded in one place otherwise than in the next."""
    golden = (1 + 5**0.5) / 2
    corners = np.array([[0, one, two * golden] for one in (1, -1) for two in (1, -1)])
    corners = np.concatenate([np.roll(corners, place, axis=1) for place in range(3)])
    for seed in range(24):
        rng = np.random.default_rng(seed)
        turned = [corners @ Rotation.random(rng=rng).as_matrix() * rng.uniform(0.5, 2) for _ in range(inputs)]
        weights = torch.as_tensor(rng.normal(size=12))

        def model(x, weights=weights):
            terms = torch.tanh((x[:, :, None] - x[:, None]).square().sum((-1, -2)) / 100 * weights) * weights
            return (terms - 0.999 * terms.mean(1, keepdim=True)).sum(1, keepdim=True)

        points = torch.as_tensor(np.stack(turned))
        options = {"method": "icosahedral", "l_max": 2, "outputs": {"y": "scalar"}, "seed": seed}
        item = jetsym.probe(model, points, **options, **QUIET).equivariance["y"]
        assert abs(item.relative) < item.noise_floor, seed


@pytest.mark.parametrize("part", [1e-3, 1e-2, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_small_difference_of_large_numbers_is_rounded_as_these(part, dtype):
    """As x + δ − x is along small turns to a constant, and is not along large ones."""

    def model(x):
        return (x + part * x * torch.tanh(x.norm(dim=-1, keepdim=True))) - x

    for seed in range(6):
        points = torch.as_tensor(np.random.default_rng(seed).normal(size=(4, 6, 3))).to(dtype)
        options = {"method": "icosahedral", "l_max": 2, "outputs": {"y": "vector"}, "seed": seed}
        item = jetsym.probe(model, points, **options, **QUIET).equivariance["y"]
        assert item.noise_floor / 4 < item.relative < item.noise_floor, seed


@pytest.mark.parametrize("points", [1, 30, 250])
@pytest.mark.parametrize("height", [0.7, 0.05])
def test_jumps_in_torch_are_no_rounding(points, height):
    """Towers leave an output as it is along small steps, as well, and change it along larger ones."""
    clouds = torch.as_tensor(np.random.default_rng(0).normal(size=(4, points, 3))).float()

    def model(x):
        return 1 + height * (torch.floor(torch.atan2(x[..., 1], x[..., 0]) * 180 / np.pi) % 2).mean(-1, keepdim=True)

    item = jetsym.probe(model, clouds, l_max=2, outputs={"y": "scalar"}, **QUIET).equivariance["y"]
    assert item.relative > 0.2 * height / points**0.5
    assert item.noise_floor < item.relative / 10


def test_kinks_are_no_rounding():
    """Outputs that are zero for most inputs and have a kink beside."""

    def model(x):
        return torch.relu(x[..., 2] - 1.5).sum(-1, keepdim=True)

    for seed in range(6):
        points = torch.as_tensor(np.random.default_rng(seed).normal(size=(4, 6, 3))).float()
        item = jetsym.probe(model, points, l_max=2, outputs={"y": "scalar"}, seed=seed, **QUIET).equivariance["y"]
        assert item.relative > 0.1
        assert item.noise_floor < 1e-5


@pytest.mark.parametrize("inputs", [2, 6])
def test_paths_of_the_same_inputs_share_their_passes(inputs, monkeypatch):
    calls, found = [], []
    points = torch.randn(inputs, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def model(x):
        calls.append(len(x))
        return x.square().sum((-2, -1)).sqrt()

    for shared in (4, 10**9):  # together, and one by one
        calls.clear()
        monkeypatch.setattr(rounding, "SHARED", shared)
        report = jetsym.probe(model, points, l_max=1, **QUIET)
        found.append((sum(calls), len(calls), report.noise_floor))
    (evaluations, few, floor), (as_many, many, apart) = found
    assert evaluations == as_many
    assert few < many
    assert floor == pytest.approx(apart, rel=1e-6)


def tilted(points):
    """Return 1 + 0.3 cos θ, of which 97.09 % of the power is invariant: relative A is 0.3/√3.09."""
    return 1 + 0.3 * points[:, 2] / np.linalg.norm(points, axis=-1)


@pytest.mark.parametrize(
    ("size", "dtype"), [(1e-200, "float64"), (1e-150, "float64"), (1e-24, "float32"), (1e-17, "float32")]
)
@pytest.mark.parametrize("options", [{"method": "quadrature"}, {"n_rotations": 8}])
def test_squares_that_are_lost_are_no_symmetry(size, dtype, options):
    """Below the root of the smallest number A would be zero, and the output invariant; one of ordinary size beside."""
    points = np.random.default_rng(0).normal(size=(4, 3)).astype(dtype)

    def model(x):
        return {"small": (size * tilted(x)).astype(dtype), "usual": tilted(x).astype(dtype)}

    with pytest.raises(ProbeError, match=r"'small' cannot be measured: none of its numbers exceeds .*, with call="):
        jetsym.probe(model, points, l_max=1, **options, **QUIET)


@pytest.mark.parametrize(
    ("size", "dtype"), [(1e-140, "float64"), (1e-15, "float32"), (1e-4, "float16"), (0.0, "float64")]
)
def test_small_numbers_whose_squares_there_are_read_as_others(size, dtype):
    points = np.random.default_rng(0).normal(size=(4, 3))
    report = jetsym.probe(lambda x: (size * tilted(x)).astype(dtype), points, l_max=1, **QUIET)
    relative = 0.3 / 3.09**0.5 if size else 0.0
    assert report.equivariance["output"].relative == pytest.approx(relative, rel=1e-3)
    assert report.fractions[0, 0] == pytest.approx(1 - relative**2 if size else 0.0, rel=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shares_say_no_more_digits_than_sums_have(dtype):
    """Sums of squares in float32 made 100.0000298(79) % of the power invariant."""
    points = np.random.default_rng(1).normal(size=(16, 3)).astype(dtype)
    report = jetsym.probe(lambda x: (1 + 3e-8 * tilted(x)).astype(dtype), points, l_max=2, **QUIET)
    share, _, error = report.cells(0)[0].partition("(")
    digits = len(share.partition(".")[2])
    assert abs(float(share) - 100) <= 2 * float(error.rstrip(")") or 0) * 10.0**-digits


@pytest.mark.parametrize(
    "turned", [lambda x: np.cross(x[:, 0], x[:, 1]), lambda x: x[:, 0, [1, 2, 0]], lambda x: x.mean(1)]
)
@pytest.mark.parametrize("kind", ["vector", "pseudovector", (1, 1)])
def test_parts_of_an_error_below_rounding_are_bounds(turned, kind):
    """Of the two parts of A one is zero here, or both: 2.3(2)e-13 % of rounding were said to be rotated wrongly."""
    points = np.random.default_rng(0).normal(size=(6, 4, 3))
    report = jetsym.probe(lambda x: turned(x), points, outputs={"o": kind}, l_max=2, **QUIET)
    item = report.equivariance["o"]
    for value in (item.leakage, item.misalignment):
        assert abs(value) > 1e-3 or abs(value) <= item.parts_floor < 1e-14
    if not item.is_within_rounding:
        (said,) = [line for line in report.sentences() if line.startswith("o misses")]
        assert "e-13 %" not in said.replace("<4e-13 %", "").replace("<3e-13 %", "").replace("<5e-13 %", "")


def test_no_larger_l_max_is_asked_for_where_all_is_rounding():
    flat = np.random.default_rng(0).normal(size=(6, 4, 3)) * [1, 1, 0]
    report = jetsym.probe(lambda x: np.linalg.det(x[:, :3]), flat, l_max=3, **QUIET)
    assert "Whether output is invariant under O3 cannot be told from rounding" in str(report)
    assert "l_max" not in "".join(report.sentences())
