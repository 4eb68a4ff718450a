"""Canonical poses: what moves a jet leaves them alone, and nothing but its position is lost."""

import pytest
import torch

from jetsym.jets.batch import JetBatch
from jetsym.jets.moves.actions import METRIC, boost, rotate, rotate_at_rest, transform
from jetsym.jets.moves.canonical import poses, principal_axes
from jetsym.jets.moves.frames import jet_momentum
from jetsym.jets.moves.sampling import random_directions, random_lorentz, random_orthogonal, random_rotations
from jetsym.symmetry import Symmetry

ALL = pytest.mark.parametrize(
    ("group", "frame", "count"), [("SO3", "lab", 2), ("O3", "lab", 4), ("SO3", "rest", 4), ("O3", "rest", 8)]
)


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def jets(make_jets):
    return make_jets(6, dtype=torch.float64, min_particles=3)


def jet_of(*particles, dtype=torch.float64) -> JetBatch:
    p4 = torch.tensor([particles], dtype=dtype)
    return JetBatch(p4, torch.ones(p4.shape[:2], dtype=bool), torch.zeros(*p4.shape[:2], 10, dtype=dtype), p4.sum(1))


def same(first, second, tolerance=1e-9):
    scale = first.p4.abs().amax()
    return bool(((first.p4 - second.p4).abs().amax() < tolerance * scale) and len(first) == len(second))


def moved_by(name, jets):
    element = random_rotations(1, generator=seeded())
    return {
        "SO3 lab": lambda: rotate(jets, element),
        "O3 lab": lambda: rotate(jets, -element),
        "SO3 rest": lambda: rotate_at_rest(jets, element),
        "O3 rest": lambda: rotate_at_rest(jets, -element),
        "boost": lambda: boost(jets, torch.tensor([1.0]), random_directions(1, generator=seeded())[0]),
        "lorentz": lambda: transform(jets, random_lorentz(1, width=1.0, generator=seeded())),
    }[name]()


@pytest.mark.parametrize(
    ("group", "frame", "invisible"),
    [
        ("SO3", "lab", {"SO3 lab"}),
        ("O3", "lab", {"SO3 lab", "O3 lab"}),
        ("SO3", "rest", {"SO3 lab", "SO3 rest", "boost", "lorentz"}),
        ("O3", "rest", {"SO3 lab", "O3 lab", "SO3 rest", "O3 rest", "boost", "lorentz"}),
    ],
)
def test_what_leaves_the_pose_alone_and_what_does_not(jets, group, frame, invisible):
    pose = poses(jets, Symmetry(group, frame))[0]
    moves = ("SO3 lab", "O3 lab", "SO3 rest", "O3 rest", "boost", "lorentz")
    found = {name for name in moves if same(pose, poses(moved_by(name, jets), Symmetry(group, frame))[0])}
    assert found == invisible


@ALL
def test_all_signs_are_a_set_that_does_not_move(jets, group, frame, count):
    found = poses(jets, Symmetry(group, frame), signs="all")
    assert len(found) == count
    element = random_rotations(1, generator=seeded()) * (-1 if group == "O3" else 1)
    again = poses(rotate(jets, element), Symmetry(group, frame), signs="all")
    for b in range(len(jets)):  # for every jet its own order
        matches = [[same(a[b], other[b]) for other in again] for a in found]
        assert torch.tensor(matches).sum(dim=0).tolist() == [1] * count
        assert torch.tensor(matches).sum(dim=1).tolist() == [1] * count
    single = poses(jets, Symmetry(group, frame))[0]
    for b in range(len(jets)):
        assert sum(same(single[b], pose[b]) for pose in found) == 1


@ALL
def test_all_products_of_momenta_stay(jets, group, frame, count):
    metric = torch.diag(torch.tensor(METRIC, dtype=torch.float64))
    products = jets.p4 @ metric @ jets.p4.mT
    for pose in poses(jets, Symmetry(group, frame), signs="all"):
        # Rounding grows with the energies, not with the products.
        bound = 1e-13 * jets.p4[..., 0].amax(dim=1).square()[:, None, None]
        assert ((pose.p4 @ metric @ pose.p4.mT - products).abs() < bound).all()
        torch.testing.assert_close(jet_momentum(pose), pose.jet_p4, atol=1e-7, rtol=0)
        assert torch.equal(pose.scalars, jets.scalars)
        assert torch.equal(pose.mask, jets.mask)


def test_axes_are_where_they_should_be(jets):
    lab, rest = poses(jets)[0], poses(jets, Symmetry("SO3", "rest"))[0]
    total = jet_momentum(jets)
    torch.testing.assert_close(lab.jet_p4[:, :2], torch.stack([total[:, 0], total[:, 1:].norm(dim=1)], dim=1))
    assert (lab.jet_p4[:, 2:] == 0).all()
    assert (rest.jet_p4[:, 1:] == 0).all()
    for pose, first in ((lab, 1), (rest, 0)):
        energy = pose.p4[..., :1].clamp_min(1e-9)
        tensor = (pose.p4[..., 1:] / energy).mT @ pose.p4[..., 1:]
        block = tensor[:, first:, first:]
        diagonal = block.diagonal(dim1=1, dim2=2)
        assert (block - torch.diag_embed(diagonal)).abs().max() < 1e-9 * tensor.abs().max()
        assert (diagonal[:, :-1] >= diagonal[:, 1:]).all()
        moments = (pose.p4[..., 1:] ** 3 / energy**2).sum(dim=1)
        assert (moments[:, first:2] > 0).all()
    assert (poses(jets, Symmetry("O3"))[0].p4[..., 1:] ** 3 / lab.p4[..., :1].clamp_min(1e-9) ** 2).sum(dim=1).min() > 0


def test_mirror_images_are_told_apart_by_so3_alone(jets):
    mirrored = rotate(jets, torch.diag(torch.tensor([1.0, -1.0, 1.0]))[None])
    assert not same(poses(jets)[0], poses(mirrored)[0], 1e-3)
    assert same(poses(jets, Symmetry("O3"))[0], poses(mirrored, Symmetry("O3"))[0])


def test_single_and_collinear_particles_have_one_pose():
    one, line = jet_of([50.0, 30, 0, 40]), jet_of([50.0, 30, 0, 40], [5.0, 3, 0, 4])
    for jet in (one, line):
        for frame in ("lab", "rest"):
            pose = poses(jet, Symmetry("SO3", frame))[0]
            rotated = poses(rotate(jet, random_rotations(1, generator=seeded())), Symmetry("SO3", frame))[0]
            torch.testing.assert_close(pose.p4, rotated.p4, atol=1e-9, rtol=0)
            assert (pose.p4[..., 2:].abs() < 1e-12).all()
    # Without a rest frame the boost is held back at γ = 1000.
    assert poses(one, Symmetry("SO3", "rest"))[0].p4[0, 0, 0] == pytest.approx(50 / 2000, rel=1e-3)


def test_a_pair_at_rest_lies_along_x():
    jet = jet_of([5.0, 3, 0, 4], [5.0, -3, 0, 4])
    expected = torch.tensor([[3.0, 3, 0, 0], [3.0, -3, 0, 0]], dtype=torch.float64)
    found = poses(jet, Symmetry("SO3", "rest"))[0].p4[0]
    found = found[found[:, 1].argsort(descending=True)]
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("frame", ["lab", "rest"])
def test_derivatives_are_those_of_finite_differences(make_jets, frame):
    jets = make_jets(2, dtype=torch.float64, max_particles=5, min_particles=4)
    step = torch.randn(jets.p4.shape, generator=seeded(), dtype=torch.float64) * jets.mask[..., None]

    def pose(t):
        return poses(jets.replace(p4=jets.p4 + t * step), Symmetry("SO3", frame))[0].p4

    t = torch.zeros((), dtype=torch.float64)
    _, forward = torch.func.jvp(pose, (t,), (torch.ones_like(t),))
    h = 1e-5
    differences = (8 * (pose(h) - pose(-h)) - (pose(2 * h) - pose(-2 * h))) / (12 * h)
    torch.testing.assert_close(forward, differences, atol=1e-6, rtol=1e-6)
    backward = torch.autograd.functional.jacobian(pose, t)
    torch.testing.assert_close(backward, forward, atol=1e-9, rtol=1e-9)


def test_derivatives_along_rotations_vanish(jets):
    generator = torch.zeros(4, 4, dtype=torch.float64)
    generator[1, 2], generator[2, 1] = -1.0, 1.0

    def pose(t):
        moved = jets.p4 + t * jets.p4 @ generator.mT
        return poses(jets.replace(p4=moved))[0].p4

    t = torch.zeros((), dtype=torch.float64)
    _, slope = torch.func.jvp(pose, (t,), (torch.ones_like(t),))
    assert slope.abs().max() < 1e-9 * jets.p4.abs().max()
    assert torch.func.jvp(lambda t: jets.p4 @ generator.mT * t, (t,), (torch.ones_like(t),))[1].abs().max() > 1


def family(t):
    """Three particles in a plane about x; their third moment across the jet changes its sign at t = 0."""
    return jet_of([60.0, 50, 9, 0], [60.0, 50, -9 + t, 0], [60.0, 50, -t, 0])


def test_signs_by_moments_jump_where_the_moment_vanishes_and_all_signs_do_not():
    before, after = family(-1e-6), family(1e-6)
    assert not same(poses(before)[0], poses(after)[0], 1e-3)
    pairs = [[same(a, b, 1e-5) for b in poses(after, signs="all")] for a in poses(before, signs="all")]
    assert sum(map(sum, pairs)) == 2


def test_axes_are_orthonormal_and_right_handed_for_any_jet(make_jets):
    jets = make_jets(8, dtype=torch.float64)
    empty = jets.replace(p4=torch.zeros_like(jets.p4))
    for batch in (jets, empty):
        for along in (None, jet_momentum(batch)[:, 1:]):
            axes = principal_axes(batch, along)
            identity = torch.eye(3, dtype=torch.float64).expand(8, 3, 3)
            torch.testing.assert_close(axes @ axes.mT, identity, atol=1e-13, rtol=0)
            assert (torch.linalg.det(axes) > 0).all()


def test_in_float32_rounding_is_all_that_is_left(make_jets):
    jets = make_jets(20, min_particles=3)
    elements = random_orthogonal(20, generator=seeded())[None]
    for frame, bound in (("lab", 1e-5), ("rest", 1e-3)):
        pose, again = (poses(batch, Symmetry("O3", frame))[0] for batch in (jets, rotate(jets, elements)))
        worst = (pose.p4 - again.p4).abs().amax(dim=(1, 2)) / pose.p4.abs().amax(dim=(1, 2))
        assert worst.median() < bound / 10
        assert worst.quantile(0.8) < bound
