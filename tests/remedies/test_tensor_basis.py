"""The tensor-basis head: exactly equivariant on invariant features, complete, or aware that it is not."""

from __future__ import annotations

import e3nn.o3
import numpy as np
import pytest
import torch
from torch import nn

import jetsym
from jetsym.errors import ConfigError
from jetsym.remedies import CartesianHead, InvariantNetwork, TensorBasisHead
from jetsym.remedies.tensor_basis import rank_note
from jetsym.spectrum import O3, Irrep
from jetsym.spectrum.coupling import rotation_generators, stretched_coupling
from jetsym.spectrum.harmonics import couple, rotate_infinitesimally, solid_harmonics
from jetsym.spectrum.matrices import irrep_matrices
from jetsym.spectrum.quadrature import axis_matrices
from jetsym.spectrum.representations import representation
from jetsym.spectrum.wigner import real_spherical_harmonics, real_wigner_d

ELEMENTS = [*O3().rotations(3, np.random.default_rng(5)), *-O3().rotations(3, np.random.default_rng(6)), -np.eye(3)]


@pytest.fixture
def cloud():
    """Invariant features (4, 9, 3), vectors (4, 9, 3) and a mask, float64."""
    generator = torch.Generator().manual_seed(1)
    features, vectors = torch.randn(2, 4, 9, 3, generator=generator, dtype=torch.float64)
    return features, vectors, torch.arange(9) < torch.tensor([9, 8, 7, 4])[:, None]


def head_of(*arguments, seed=0, **options) -> TensorBasisHead:
    torch.manual_seed(seed)
    return TensorBasisHead(*arguments, **{"features": 3, "width": 16, **options}).double()


@pytest.mark.parametrize("lam", range(6))
def test_solid_harmonics_are_those_of_the_spectrum(lam):
    directions = np.random.default_rng(0).normal(size=(7, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    expected = real_spherical_harmonics(lam, directions) * np.sqrt(4 * np.pi / (2 * lam + 1))
    found = solid_harmonics(lam, torch.from_numpy(2.0 * directions))
    np.testing.assert_allclose(found, 2.0**lam * expected, atol=1e-13)


@pytest.mark.parametrize(("first", "second"), [(0, 3), (1, 1), (1, 2), (2, 2), (3, 1)])
def test_the_coupling_is_clebsch_gordans(first, second):
    """Against e3nn: the same up to one factor, in its own real basis, which is (x, y, z) for λ = 1 as y is its pole."""
    total = first + second
    points = torch.randn(50, 3, dtype=torch.float64)
    points /= points.norm(dim=1, keepdim=True)
    change = {  # S(x) of e3nn = M S(x) of ours
        lam: torch.linalg.lstsq(
            solid_harmonics(lam, points),
            e3nn.o3.spherical_harmonics(lam, points, normalize=False, normalization="norm"),
        ).solution
        for lam in (first, second, total)
    }
    theirs = e3nn.o3.wigner_3j(first, second, total, dtype=torch.float64)
    theirs = torch.einsum("abc,ia,jb,kc->ijk", theirs, change[first], change[second], change[total]).numpy()
    ours = stretched_coupling(first, second)
    np.testing.assert_allclose(ours / np.linalg.norm(ours), theirs * np.sign((ours * theirs).sum()), atol=1e-10)


def test_the_generators_are_the_derivatives_of_rotations():
    for lam in range(5):
        for axis, generator in zip(np.eye(3), rotation_generators(lam), strict=True):
            forward, backward = (real_wigner_d(lam, axis_matrices(axis, np.array(h))) for h in (1e-4, -1e-4))
            np.testing.assert_allclose((forward - backward) / 2e-4, generator, atol=1e-6)
    v, u = torch.randn(2, 5, 3, dtype=torch.float64)
    cross = solid_harmonics(1, torch.linalg.cross(v, u))
    torch.testing.assert_close(rotate_infinitesimally(v, solid_harmonics(1, u)), cross)


def test_products_of_harmonics_are_harmonics():
    v = torch.randn(5, 3, dtype=torch.float64)
    product = couple(solid_harmonics(2, v), solid_harmonics(3, v))
    torch.testing.assert_close(product, solid_harmonics(5, v), rtol=1e-12, atol=1e-12)


VARIANTS = [{}, {"direct": 2, "axial": True}, {"basis": "harmonics"}, {"tensors": 1, "context": 2}]


@pytest.mark.parametrize("options", VARIANTS, ids=lambda options: ",".join(options) or "plain")
@pytest.mark.parametrize("sigma", [1, -1])
@pytest.mark.parametrize("lam", range(5))
def test_it_is_exactly_equivariant(cloud, lam, sigma, options):
    features, vectors, mask = cloud
    head = head_of(lam, sigma, **options)
    context = (torch.ones(4, 2, dtype=torch.float64),) if "context" in options else ()
    y = head(features, vectors, mask, *context)
    assert y.shape == (4, 2 * lam + 1)
    assert (y.norm(dim=-1) > 1e-9).all()
    for g in ELEMENTS:
        moved = head(features, vectors @ torch.from_numpy(g).mT, mask, *context)
        expected = y @ torch.from_numpy(irrep_matrices(Irrep(lam, sigma), g)).mT
        torch.testing.assert_close(moved, expected, rtol=0, atol=1e-12 * float(y.detach().abs().max()))


@pytest.mark.parametrize("kind", ["pseudoscalar", "vector", "pseudovector", "rank2", "symmetric", "four-vector"])
def test_cartesian_outputs_are_exactly_equivariant(cloud, kind):
    features, vectors, mask = cloud
    torch.manual_seed(0)
    head = CartesianHead(kind, features=3, width=16, direct=1).double()
    rho = representation("rank2" if kind == "symmetric" else kind)
    y = head(features, vectors, mask)
    assert y.shape == (4, *rho.shape)
    for g in ELEMENTS:
        moved = head(features, vectors @ torch.from_numpy(g).mT, mask)
        expected = y.reshape(4, -1) @ torch.from_numpy(rho.matrices(g)).mT
        torch.testing.assert_close(moved.reshape(4, -1), expected, rtol=0, atol=1e-12 * float(y.detach().abs().max()))
    fast = CartesianHead(kind, features=3, width=16, tensors=2).double()
    assert [len(block.basis_tensors(features, vectors, mask)[0]) for block in fast.blocks] == [
        min(2, 2 * block.lam + 1) for block in rho.blocks if block.sigma == 1 or kind != "symmetric"
    ]
    if kind == "symmetric":
        torch.testing.assert_close(y, y.mT, rtol=0, atol=1e-14)
        assert abs(torch.einsum("bii->b", y)).min() > 1e-6  # with a trace


def test_padding_permutation_and_gradients(cloud):
    features, vectors, mask = cloud
    head = head_of(2, direct=1)
    y = head(features, vectors, mask)
    dirty = torch.where(mask[..., None], vectors, torch.nan).requires_grad_()
    torch.testing.assert_close(head(torch.where(mask[..., None], features, torch.nan), dirty, mask), y)
    order = torch.randperm(9)
    torch.testing.assert_close(head(features[:, order], vectors[:, order], mask[:, order]), y)
    (gradient,) = torch.autograd.grad(head(features, dirty, mask).sum(), dirty)
    assert gradient.isfinite().all()
    assert not gradient[~mask].any()
    # A smooth cutoff: a particle of weight zero is none, and near zero it hardly counts.
    weights = mask.double()
    torch.testing.assert_close(head(features, vectors, weights), y)
    weights[0, 0] = 1e-9
    without = mask.clone()
    without[0, 0] = False
    torch.testing.assert_close(head(features, vectors, weights), head(features, vectors, without), atol=1e-8, rtol=0)
    # No particle at all, and all of them at the origin, are no trouble.
    assert head(features, 0 * vectors, mask).isfinite().all()
    assert head(features, vectors, mask & False).isfinite().all()


def test_one_output_for_every_token(cloud):
    features, vectors, mask = cloud
    head = head_of(1)
    relative = vectors[:, None, :] - vectors[:, :, None]
    neighbours = mask[:, None, :] & mask[:, :, None] & ~torch.eye(9, dtype=bool)
    tokens = head(features[:, None].expand(4, 9, 9, 3), relative, neighbours)
    assert tokens.shape == (4, 9, 3)
    torch.testing.assert_close(tokens[1, 2], head(features[1], relative[1, 2], neighbours[1, 2]))


@pytest.mark.parametrize("basis", ["coupled", "harmonics"])
@pytest.mark.parametrize("sigma", [1, -1])
@pytest.mark.parametrize("lam", range(5))
def test_the_basis_is_complete_for_generic_inputs(cloud, lam, sigma, basis):
    assert head_of(lam, sigma, basis=basis).rank(*cloud, tolerance=1e-12).tolist() == [2 * lam + 1] * 4


def symmetric_clouds():
    """Name -> features (N, 3) and vectors (N, 3) of clouds with one particle of every kind in an orbit of a group."""
    generator = torch.Generator().manual_seed(2)
    features, points = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64)
    mirror, turn = torch.diag(torch.tensor([1.0, 1, -1]).double()), torch.diag(torch.tensor([-1.0, -1, 1]).double())
    groups = {
        "mirror": [torch.eye(3).double(), mirror],
        "axis": [torch.eye(3).double(), turn],
        "centre": [torch.eye(3).double(), -torch.eye(3).double()],
        "three axes": [mirror @ mirror, turn, turn.roll((1, 1), (0, 1)), turn.roll((-1, -1), (0, 1))],
    }
    return {
        name: (features.repeat(len(group), 1), torch.cat([points @ g.mT for g in group]))
        for name, group in groups.items()
    }


# What a site allows, by characters: the number of invariant components of (λ, σ) under its group.
@pytest.mark.parametrize(
    ("site", "lam", "sigma", "options", "rank", "allowed"),
    [
        ("mirror", 1, 1, {}, 2, 2),
        ("mirror", 2, 1, {}, 3, 3),
        ("mirror", 1, -1, {}, 0, 1),
        ("mirror", 1, -1, {"axial": True}, 1, 1),
        ("mirror", 3, -1, {"axial": True}, 3, 3),
        ("axis", 1, 1, {}, 1, 1),
        ("axis", 2, 1, {}, 1, 3),
        ("axis", 2, 1, {"direct": 3}, 3, 3),
        ("axis", 2, -1, {"direct": 3, "axial": True}, 2, 3),  # the last one asks for a pseudoscalar
        ("centre", 2, 1, {}, 0, 5),
        ("centre", 2, 1, {"direct": 5}, 5, 5),
        ("centre", 3, 1, {"direct": 5}, 0, 0),
        ("three axes", 2, 1, {}, 0, 2),
        ("three axes", 2, 1, {"direct": 5}, 2, 2),
    ],
)
def test_the_rank_at_symmetric_sites(site, lam, sigma, options, rank, allowed):
    head, cloud = head_of(lam, sigma, **options), symmetric_clouds()[site]
    assert head.rank(*cloud).item() == rank <= allowed
    note = rank_note(head.rank(*cloud), lam)
    assert ("spans fewer" in note) == (rank < 2 * lam + 1)
    # No tensor of any head points where the site does not allow it.
    full = head_of(lam, sigma, direct=9, axial=True)
    assert full.rank(*cloud).item() <= allowed


def test_vectors_that_are_coplanar_by_chance_take_axial_tensors():
    head = head_of(1, features=0, axial=True)
    with torch.no_grad():
        head.weights.weight[2] = head.weights.weight[0] + head.weights.weight[1]  # v₃ ∥ v₁ + v₂ before it is shortened
    features, vectors = torch.zeros(2, 9, 0).double(), torch.randn(2, 9, 3).double()
    tensors = head.basis_tensors(features, vectors)
    assert (torch.linalg.svdvals(tensors[:, :3])[:, -1] < 1e-12).all()
    assert (torch.linalg.svdvals(tensors)[:, -1] > 1e-9).all()


def test_what_cannot_be_built_is_refused():
    for arguments, options, message in [
        ((-1,), {}, "lam is -1; expected an integer ≥ 0"),
        ((1, 0), {}, "sigma is 0; expected an integer of -1, 1"),
        ((1,), {"basis": "couple"}, "basis is 'couple'.*'coupled', 'harmonics'"),
        ((1,), {"tensors": 4}, "tensors is 4; expected 1 … 3"),
        ((1,), {"direct": -1}, "direct is -1"),
        ((1,), {"length": 0.0}, "length is 0.0"),
    ]:
        with pytest.raises(ConfigError, match=message):
            head_of(*arguments, **options)
    two = torch.zeros(1, 4, 2).double()
    with pytest.raises(ConfigError, match=r"shapes \(1, 4, 2\) and \(1, 4, 2\); expected \(…, N, 3\) and"):
        head_of(1)(two, two)
    with pytest.raises(ConfigError, match="given 0 invariants as context; expected 2"):
        head_of(1, context=2)(torch.zeros(1, 4, 3).double(), torch.zeros(1, 4, 3).double())
    with pytest.raises(ConfigError, match="kind is 'vektor'.*'symmetric'"):
        CartesianHead("vektor", features=3)
    with pytest.raises(ConfigError, match="pairs is 'angles'"):
        InvariantNetwork(1, pairs="angles")


class MomentumNet(nn.Module):
    """A momentum-like vector of jets, from a network of invariants under O(3) or from the features as they are."""

    def __init__(self, *, invariant: bool) -> None:
        super().__init__()
        self.invariant = invariant
        self.net = InvariantNetwork(2, width=16, layers=1, extent=200.0)
        self.head = CartesianHead("vector", features=16 if invariant else 19, width=16, direct=1, length=100.0)

    def forward(self, batch):
        p3 = batch.p4[..., 1:]
        scalars = torch.stack([batch.p4[..., 0].log1p(), batch.scalars[..., 0]], dim=-1)
        features = self.net(scalars, p3, batch.mask)
        if not self.invariant:
            features = torch.cat([features, p3.abs().log1p()], dim=-1)
        return self.head(features, p3, batch.mask)


def test_jets_a_momentum_like_target(make_jets):
    """The momentum that neutral particles carry away: learned by a few steps, exactly equivariant all the same."""
    torch.manual_seed(0)
    jets, other = (make_jets(32, seed=seed, dtype=torch.float64, max_particles=8, min_particles=2) for seed in (0, 1))

    def target(batch):
        return (batch.p4[..., 1:] * ((batch.scalars[..., 0] == 0) & batch.mask)[..., None]).sum(dim=1) / 100

    net = MomentumNet(invariant=True).double()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.mse_loss(net(jets), target(jets)).backward()
        optimizer.step()
    error = nn.functional.mse_loss(net(other), target(other)) / target(other).square().mean()
    assert error < 0.2
    report = jetsym.probe(net, other[:4], outputs={"p": "vector"}, l_max=1, layers=[], progress=False)
    assert report.equivariance["p"].relative < 1e-12
    unconstrained = MomentumNet(invariant=False).double()
    report = jetsym.probe(unconstrained, other[:4], outputs={"p": "vector"}, l_max=2, layers=[], progress=False)
    assert report.equivariance["p"].relative > 1e-4


@pytest.mark.parametrize("pairs", ["distances", "minkowski"])
def test_the_invariant_network_is_invariant(make_jets, pairs):
    jets = make_jets(3, seed=2, dtype=torch.float64, max_particles=6)
    torch.manual_seed(0)
    net = InvariantNetwork(1, pairs=pairs, width=8, extent=None if pairs == "minkowski" else 300.0).double()
    vectors = jets.p4 if pairs == "minkowski" else jets.p4[..., 1:]
    features = net(jets.scalars[..., :1], vectors, jets.mask)
    assert features.shape == (3, jets.p4.shape[1], 8)
    assert not features[~jets.mask].any()
    assert features[jets.mask].std(dim=0).min() > 1e-4
    if pairs == "minkowski":
        rapidity, ch, sh = 0.7, np.cosh(0.7), np.sinh(0.7)
        assert rapidity == pytest.approx(np.arctanh(sh / ch))
        moved = vectors.clone()
        moved[..., 0], moved[..., 3] = (
            ch * vectors[..., 0] + sh * vectors[..., 3],
            sh * vectors[..., 0] + ch * vectors[..., 3],
        )
    else:
        moved = vectors @ torch.from_numpy(-ELEMENTS[0]).mT + 7.0
    torch.testing.assert_close(net(jets.scalars[..., :1], moved, jets.mask), features, rtol=0, atol=1e-8)
    order = torch.randperm(vectors.shape[1])
    permuted = net(jets.scalars[:, order, :1], vectors[:, order], jets.mask[:, order])
    torch.testing.assert_close(permuted, features[:, order])
