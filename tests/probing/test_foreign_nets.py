"""Exactly equivariant networks from outside read A at the noise floor; a broken copy of each does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import jetsym

N_POINTS = 5


def measured(model, inputs, outputs, **options):
    report = jetsym.probe(
        model, inputs, outputs=outputs, layers=[], **{"group": "O3", "l_max": 3, "progress": False, **options}
    )
    return report.equivariance


class PointCloudNet(nn.Module):
    """Messages between points by e3nn's tensor products, gated: a scalar, a vector and a λ = 2 output under O(3).

    e3nn orders the axes (y, z, x): components of λ = 1 then stand in the order of real harmonics, as those of all its
    higher irreps do, in its own frame. Turning the inputs into that frame makes every output one of the usual frame.
    """

    def __init__(self, tilt=0.0):
        super().__init__()
        from e3nn import o3
        from e3nn.nn import Gate

        gate = Gate("8x0e", [torch.tanh], "4x0e", [torch.sigmoid], "2x1o+2x2e")
        self.harmonics = o3.SphericalHarmonics("0e+1o+2e", normalize=True, normalization="component")
        self.message = o3.FullyConnectedTensorProduct("0e+1o+2e", "3x0e", gate.irreps_in)
        self.mix = o3.FullyConnectedTensorProduct(gate.irreps_out, gate.irreps_out, "2x0e+1x1o+1x1e+1x2e")
        self.gate, self.tilt = gate, tilt

    def forward(self, points):
        theirs = points[..., [1, 2, 0]]
        edges = theirs[:, :, None] - theirs[:, None, :]
        lengths = edges.square().sum(-1, keepdim=True).add(0.1).sqrt()
        edges = edges + self.tilt * torch.tensor([0.0, 1.0, 0.0], dtype=points.dtype)
        radial = torch.cat([torch.exp(-lengths), lengths, 1 / lengths], -1)
        nodes = self.gate(self.message(self.harmonics(edges), radial).sum(2))
        result = self.mix(nodes, nodes)
        return {
            "energy": result[..., :2].sum(1),
            "force": result[..., [4, 2, 3]],  # (y, z, x) to (x, y, z), per point
            "torque": result[:, :, [7, 5, 6]].sum(1),
            "quadrupole": result[..., 8:].sum(1),
        }


POINT_KINDS = {"energy": "scalar", "force": "vector", "torque": "pseudovector", "quadrupole": (2, 1)}


@pytest.fixture
def clouds():
    return torch.tensor(np.random.default_rng(0).normal(size=(3, N_POINTS, 3)))


def point_cloud_net(tilt=0.0, built_in=torch.float64):
    """In float64; e3nn keeps its coupling coefficients in the default dtype of the moment of construction."""
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(built_in)
    try:
        return PointCloudNet(tilt).double()
    finally:
        torch.set_default_dtype(before)


def test_e3nn_is_equivariant_under_o3(clouds):
    found = measured(point_cloud_net(), clouds, POINT_KINDS)
    for name, item in found.items():  # the torque is what is left of larger terms: its floor is some 300 times higher
        assert abs(item.relative) <= item.noise_floor < 1e-11, (name, item.relative, item.noise_floor)
        assert item.absolute < 1e-12
        assert item.over_spread < 1e-12


def test_e3nn_with_a_fixed_direction_let_in_is_not(clouds):
    found = measured(point_cloud_net(tilt=0.05), clouds, POINT_KINDS)
    for name, item in found.items():
        assert item.relative > 1e8 * item.noise_floor, name
        assert item.relative > 1e-3
        assert item.leakage + item.misalignment == pytest.approx(item.relative**2, rel=1e-9)


def test_e3nn_in_its_own_order_of_axes_is_no_vector_of_ours(clouds):
    """The checker sees the order of components: (y, z, x) is (1,+) as a spherical tensor, and fails as a vector."""

    def model(points):
        return {"force": net(points)["force"][..., [1, 2, 0]]}

    net = point_cloud_net()
    spherical = measured(model, clouds, {"force": (1, 1)})["force"]
    assert abs(spherical.relative) <= spherical.noise_floor
    assert measured(model, clouds, {"force": "vector"})["force"].relative > 0.1
    assert measured(model, clouds, {"force": (1, -1)})["force"].relative > 0.1


def test_coupling_coefficients_rounded_to_float32_are_seen(clouds):
    """A net that was built in float32 and is evaluated in float64 breaks its law by a float32 rounding; A shows it."""
    item = measured(point_cloud_net(built_in=torch.float32), clouds, POINT_KINDS)["force"]
    assert 1e3 * item.noise_floor < item.relative < 1e-6


class LorentzNet(nn.Module):
    """L-GATr on four-momenta: a scalar and a four-vector per jet, equivariant under the Lorentz group."""

    def __init__(self, subgroup, spurion=0.0):
        super().__init__()
        from lgatr import LGATr, PrimitivesConfig, SelfAttentionConfig

        self.net = LGATr(
            num_blocks=1,
            in_mv_channels=1,
            out_mv_channels=1,
            hidden_mv_channels=4,
            in_s_channels=1,
            out_s_channels=2,
            hidden_s_channels=4,
            attention=SelfAttentionConfig(num_heads=2),
            mlp={},
            primitives=PrimitivesConfig(subgroup=subgroup),
        )
        self.spurion = spurion

    def forward(self, p4):
        from lgatr import embed_vector, extract_scalar, extract_vector

        multivectors = embed_vector(p4)[:, :, None]
        multivectors = multivectors + self.spurion * embed_vector(torch.tensor([0.0, 0, 0, 1], dtype=p4.dtype))
        out, scalars = self.net(multivectors, scalars=torch.ones_like(p4[..., :1]))
        momentum = extract_vector(out[:, :, 0])
        return {
            "score": torch.cat([scalars.sum(1), extract_scalar(out)[:, :, 0].sum(1)], -1),
            "momentum": momentum.sum(1),
            "flow": momentum[..., 1:],
        }


JET_KINDS = {"score": "scalar", "momentum": "four-vector", "flow": "vector"}


@pytest.fixture
def momenta():
    p3 = np.random.default_rng(1).normal(size=(2, 4, 3))
    energy = np.sqrt((p3**2).sum(-1, keepdims=True) + 0.1)
    return torch.tensor(np.concatenate([energy, p3], axis=-1))


def lorentz_net(subgroup, spurion=0.0):
    torch.manual_seed(1)
    return LorentzNet(subgroup, spurion).double()


@pytest.mark.parametrize(("group", "subgroup"), [("SO3", True), ("O3", False)])
def test_lgatr_is_equivariant_under_rotations(momenta, group, subgroup):
    found = measured(lorentz_net(subgroup), momenta, JET_KINDS, group=group, l_max=2)
    for name, item in found.items():
        assert abs(item.relative) <= item.noise_floor < 1e-12, (name, item.relative, item.noise_floor)
    assert {item.kind for item in found.values()} == {"scalar", "four-vector", "vector"}


@pytest.mark.parametrize(("group", "subgroup"), [("SO3", True), ("O3", False)])
def test_lgatr_with_a_beam_spurion_is_not(momenta, group, subgroup):
    found = measured(lorentz_net(subgroup, spurion=0.3), momenta, JET_KINDS, group=group, l_max=2)
    for name, item in found.items():
        assert item.relative > 1e8 * item.noise_floor, name


def test_a_float32_copy_holds_within_its_own_noise_floor(clouds):
    found = measured(point_cloud_net().float(), clouds.float(), POINT_KINDS, l_max=2)
    for name, item in found.items():
        assert abs(item.relative) <= item.noise_floor < 1e-2, (name, item.relative, item.noise_floor)
        assert item.relative > 1e-9


class Registers(nn.Module):
    """Tokens of the network's own in front of those of points, each of which is told the mean of the real ones."""

    def __init__(self, own):
        super().__init__()
        torch.manual_seed(0)
        self.own = nn.Parameter(torch.randn(1, own, 8))
        self.embedding, self.mixing, self.head = nn.Linear(3, 8), nn.Linear(8, 8), nn.Linear(8, 1)

    def forward(self, points, mask):
        x = torch.cat([self.own.expand(len(points), -1, -1), self.embedding(points).tanh()], 1)
        real = torch.cat([mask.new_ones(len(mask), self.own.shape[1]), mask], 1)[..., None]
        x = self.mixing(x + (x * real).sum(1, keepdim=True) / real.sum(1, keepdim=True))
        return self.head(x[:, 0].tanh())[:, 0]


@pytest.mark.parametrize("own", [1, 4, 6])
def test_points_behind_several_tokens_of_the_network_s_own_are_counted_alone(own):
    points = torch.randn(5, 10, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(10) < torch.tensor([10, 4, 6, 9, 5])[:, None]
    reports = [
        jetsym.probe(
            Registers(own).double(),
            {"points": torch.where(mask[..., None], points, filling * points.flip(0)), "mask": mask},
            layers=["mixing"],
            l_max=1,
            progress=False,
        )
        for filling in (0.0, 30.0)
    ]
    assert reports[0].meta["tokens"]["mixing"] == f"points: axis 1, {own} more first"
    np.testing.assert_allclose(reports[0].fractions, reports[1].fractions, atol=1e-12)
    np.testing.assert_allclose(reports[0].norm, reports[1].norm, rtol=1e-12)
