"""Rotations at rest and about the jet, boosts, Lorentz transformations: against other formulas, and at the edges."""

import math

import numpy as np
import pytest
import torch
import vector

from jetsym.errors import DataError
from jetsym.jets import read
from jetsym.jets.batch import JetBatch
from jetsym.jets.kinematics import mass2
from jetsym.jets.moves.actions import METRIC, about_jet_axis, boost, rotate, rotate_at_rest, transform
from jetsym.jets.moves.frames import jet_axes, jet_momentum
from jetsym.jets.moves.sampling import random_orthogonal, random_rotations

EPS = 2.0**-52


def elements(*shape: int, seed: int = 0) -> torch.Tensor:
    return random_orthogonal(math.prod(shape), generator=torch.Generator().manual_seed(seed)).view(*shape, 3, 3)


def about_z(*angles: float) -> torch.Tensor:
    rows = [[[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]] for a in angles]
    return torch.tensor(rows, dtype=torch.float64)


def rapidities(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def two_body_jet(gamma: float, dtype: torch.dtype = torch.float64) -> JetBatch:
    """A jet of energy 500 and a given γ, from two massless particles whose momentum is not quite along an axis."""
    angle, direction = math.asin(1 / gamma), torch.tensor([0.6, 0.48, 0.64], dtype=torch.float64)
    across = torch.tensor([0.8, -0.36, -0.48], dtype=torch.float64)
    momenta = [250 * (math.cos(angle) * direction + sign * math.sin(angle) * across) for sign in (1, -1)]
    p4 = torch.stack([torch.cat([p.norm()[None], p]) for p in momenta])[None]
    return JetBatch(p4, torch.ones(1, 2, dtype=torch.bool), torch.zeros(1, 2, 10), p4.sum(1)).to(dtype)


ACTIONS = {
    "about_jet_axis": lambda jets: about_jet_axis(jets, about_z(0.3, 2.0)),
    "rotate_at_rest": lambda jets: rotate_at_rest(jets, elements(2)),
    "boost": lambda jets: boost(jets, rapidities(0.3, -1.0), "beam"),
    "boost along the jet": lambda jets: boost(jets, rapidities(0.3, -1.0), "jet"),
    "transform": lambda jets: transform(jets, torch.linalg.matrix_exp(_algebra(2))),
}


def _algebra(n: int, seed: int = 0) -> torch.Tensor:
    """Random elements (n, 4, 4) of the Lorentz algebra."""
    generator = torch.randn(n, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) / 2
    return (generator - generator.mT) * torch.outer(*2 * [torch.tensor([0.0, 1, 1, 1])]) + _symmetric(generator)


def _symmetric(generator: torch.Tensor) -> torch.Tensor:
    boosts = torch.zeros_like(generator)
    boosts[:, 0, 1:] = boosts[:, 1:, 0] = generator[:, 0, 1:]
    return boosts


@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_left_alone(make_jets, action, dtype):
    jets = make_jets(5, dtype=dtype, min_particles=2)
    moved = action(jets)
    assert len(moved) == 10
    assert moved.p4.dtype == moved.jet_p4.dtype == dtype
    assert torch.equal(moved.mask, jets.mask.repeat(2, 1))
    assert torch.equal(moved.scalars, jets.scalars.repeat(2, 1, 1))
    assert torch.equal(moved.label, jets.label.repeat(2))
    assert torch.equal(moved.columns["jet_tau1"], jets.columns["jet_tau1"].repeat(2))
    assert (moved.p4[~moved.mask] == 0).all()
    assert not torch.allclose(moved.p4, jets.p4.repeat(2, 1, 1), rtol=1e-2)
    # Masses: of particles to the rounding of their energies squared, of jets better.
    scale = 64 * torch.finfo(dtype).eps * (moved.p4[..., 0] ** 2 + jets.p4.repeat(2, 1, 1)[..., 0] ** 2)
    assert ((mass2(moved.p4) - mass2(jets.p4).repeat(2, 1)).abs() <= scale).all()
    torch.testing.assert_close(
        mass2(moved.p4.sum(1)), mass2(jets.p4.sum(1)).repeat(2), rtol=1e-9 if dtype == torch.float64 else 2e-2, atol=0
    )


@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)
def test_float32_jets_are_moved_in_float64(make_jets, action):
    """The result is that of float64 jets, rounded once; and autocast does not matter."""
    jets = make_jets(5, min_particles=2)
    moved, wide = action(jets), action(jets.to(torch.float64))
    torch.testing.assert_close(moved.p4, wide.p4.float(), rtol=1e-6, atol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        again = action(jets)
    assert torch.equal(again.p4, moved.p4)
    assert torch.equal(again.jet_p4, moved.jet_p4)


@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS)
def test_invariants_of_pairs_stay(make_jets, action):
    """All Minkowski products, those with the stored axis too, and slightly negative squared masses."""
    jets = make_jets(5, dtype=torch.float64, min_particles=2)
    rounded = jets.p4.clone()
    rounded[..., 0] *= 1 - 1e-7
    jets = jets.replace(p4=rounded)
    assert (mass2(jets.p4)[jets.mask] < 0).any()
    metric = torch.tensor(METRIC, dtype=torch.float64)

    def products(batch):
        everything = torch.cat([batch.p4, batch.jet_p4[:, None]], dim=1)
        return everything * metric @ everything.mT

    scale = EPS * 1000 * 2000**2
    torch.testing.assert_close(products(action(jets)), products(jets).repeat(2, 1, 1), rtol=1e-9, atol=scale)


def test_one_particle_and_no_elements(make_jets):
    jets = make_jets(4, dtype=torch.float64, max_particles=1)
    assert boost(jets, rapidities(1.0), "jet").p4.shape == (4, 1, 4)
    assert len(boost(jets, rapidities(), "beam")) == len(transform(jets, torch.zeros(0, 4, 4))) == 0
    assert len(about_jet_axis(jets, torch.zeros(0, 3, 3))) == 0
    none = jets[[]]
    assert len(rotate_at_rest(none, elements(2))) == len(boost(none, rapidities(1.0), "jet")) == 0


def test_turns_about_the_jet_axis(make_jets):
    """Against Rodrigues' formula, with elements of each jet's own; the axis stays."""
    jets, angles = make_jets(4, dtype=torch.float64), torch.linspace(-3, 3, 8, dtype=torch.float64).view(2, 4)
    moved = about_jet_axis(jets, about_z(*angles.flatten().tolist()).view(2, 4, 3, 3))
    torch.testing.assert_close(moved.jet_p4, jets.jet_p4.repeat(2, 1), rtol=1e-14, atol=1e-11)
    for k in range(2):
        for b in range(4):
            axis, p = jets.jet_p4[b, 1:] / jets.jet_p4[b, 1:].norm(), jets.p4[b, :, 1:]
            cosine, sine = angles[k, b].cos(), angles[k, b].sin()
            expected = cosine * p + sine * torch.linalg.cross(axis.expand_as(p), p)
            expected += (1 - cosine) * (p @ axis)[:, None] * axis
            torch.testing.assert_close(moved.p4[k * 4 + b, :, 1:], expected)


def test_for_a_jet_along_the_beam_it_is_a_rotation_about_the_beam(make_jets):
    jets = make_jets(2, dtype=torch.float64)
    along = jets.replace(jet_p4=torch.tensor([[9.0, 0, 0, 9.0], [9.0, 0, 0, -9.0]], dtype=torch.float64))
    moved = about_jet_axis(along, about_z(0.7))
    torch.testing.assert_close(moved[0].p4, rotate(jets[0], about_z(0.7)).p4)
    torch.testing.assert_close(moved[1].p4, rotate(jets[1], about_z(-0.7)).p4)


def test_elements_that_move_z_are_refused(make_jets):
    with pytest.raises(DataError, match="some matrices move the z axis"):
        about_jet_axis(make_jets(2), random_rotations(1))
    with pytest.raises(DataError, match="some matrices move the z axis"):
        about_jet_axis(make_jets(2), -torch.eye(3)[None])


def test_rotations_at_rest_against_vector(make_jets):
    """Boost, rotation and boost back by scikit-hep's vector."""
    jets, g = make_jets(4, dtype=torch.float64, min_particles=3), elements(3)
    moved = rotate_at_rest(jets, g)
    total = jet_momentum(jets).numpy()
    for b in range(4):
        frame = vector.obj(E=total[b, 0], px=total[b, 1], py=total[b, 2], pz=total[b, 3])
        both = torch.cat([jets.p4[b], jets.jet_p4[b][None]]).numpy().T
        rest = vector.array(dict(zip(("E", "px", "py", "pz"), both, strict=True))).boostCM_of_p4(frame)
        at_rest = np.stack([rest.px, rest.py, rest.pz])
        for k in range(3):
            px, py, pz = g[k].numpy() @ at_rest
            back = vector.array({"E": rest.E, "px": px, "py": py, "pz": pz}).boost_p4(frame)
            expected = torch.from_numpy(np.stack([back.E, back.px, back.py, back.pz], axis=-1))
            found = torch.cat([moved.p4[k * 4 + b], moved.jet_p4[k * 4 + b][None]])
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("gamma", [1.001, 2.0, 19.0, 190.0, 990.0])
def test_total_momentum_is_fixed(gamma):
    """To 4γ²ε of itself in float64, for proper and improper elements, while the particles move."""
    jets = two_body_jet(gamma)
    moved = rotate_at_rest(jets, elements(200))
    P = jet_momentum(jets)[0]
    drift = (moved.p4.sum(1) - P).abs().max() / P.norm()
    assert drift < 4 * gamma**2 * EPS
    assert (moved.p4 - jets.p4).abs().max() > 0.1 * 250


def test_at_gamma_190_the_sequence_keeps_the_momentum_to_1e_11():
    moved = rotate_at_rest(two_body_jet(190.0), elements(200))
    P = jet_momentum(two_body_jet(190.0))[0]
    assert (moved.p4.sum(1) - P).abs().max() / P.norm() < 1e-11


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_total_momentum_of_real_jets_is_fixed(real_data, dtype):
    jets = read(str(real_data / "jetclass/jetclass_kin_500.root"), limit=200).to(dtype)
    assert (mass2(jets.p4.double())[jets.mask] < 0).double().mean() > 0.1  # rounding, as it is in the data
    P = jet_momentum(jets)
    moved = rotate_at_rest(jets, elements(10))
    drift = (jet_momentum(moved).view(10, 200, 4) - P).abs().amax(dim=-1) / P[:, 0]
    gamma2 = P[:, 0] ** 2 / mass2(P)
    stored = 2.0**-24 if dtype == torch.float32 else 0.0
    assert (drift < 4 * gamma2 * EPS + stored).all()


def test_storage_in_32_bits_adds_its_own_rounding():
    """Float32 jets come back rounded once: each component to half an ε₃₂ of its particle's energy, whatever γ is."""
    for gamma in (2.0, 190.0):
        jets = two_body_jet(gamma, torch.float32)
        moved = rotate_at_rest(jets, elements(200))
        P = jet_momentum(jets)[0]
        drift = (moved.p4.double().sum(1) - P).abs().max() / P.norm()
        assert 1e-9 < drift < 2**-23


@pytest.mark.parametrize("improper", [False, True])
def test_group_law_at_rest(make_jets, improper):
    jets = make_jets(5, dtype=torch.float64, min_particles=3)
    g, h = random_rotations(2, generator=torch.Generator().manual_seed(0)) * (-1 if improper else 1)
    twice = rotate_at_rest(rotate_at_rest(jets, h[None]), g[None])
    once = rotate_at_rest(jets, (g @ h)[None])
    torch.testing.assert_close(twice.p4, once.p4, rtol=1e-10, atol=1e-7)
    torch.testing.assert_close(twice.jet_p4, once.jet_p4, rtol=1e-10, atol=1e-7)
    back = rotate_at_rest(rotate_at_rest(jets, g[None]), g.mT[None])
    torch.testing.assert_close(back.p4, jets.p4, rtol=1e-10, atol=1e-7)


def test_a_jet_at_rest_is_rotated_in_the_lab():
    p4 = torch.tensor([[[5.0, 3, 0, 4], [5.0, -3, 0, -4]]], dtype=torch.float64)
    jets = JetBatch(p4, torch.ones(1, 2, dtype=torch.bool), torch.zeros(1, 2, 10), p4[:, 0])
    torch.testing.assert_close(rotate_at_rest(jets, elements(3)).p4, rotate(jets, elements(3)).p4)


def test_own_elements_for_every_jet_at_rest(make_jets):
    jets, g = make_jets(4, dtype=torch.float64, min_particles=2), elements(3, 4)
    moved = rotate_at_rest(jets, g)
    for b in range(4):
        torch.testing.assert_close(moved[b::4].p4, rotate_at_rest(jets[b], g[:, b]).p4)


def test_jets_without_a_rest_frame_are_refused(make_jets):
    light = two_body_jet(2000.0)
    with pytest.raises(
        DataError, match="1 of 1 jets have no rest frame; .* 2 particles, with energy 500 GeV and mass 0.25"
    ):
        rotate_at_rest(light, elements(1))
    single = make_jets(6, max_particles=1)
    with pytest.raises(DataError, match=r"jets have no rest frame.*has_rest_frame"):
        rotate_at_rest(single, elements(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_boosts_add_rapidity_along_the_beam(make_jets, dtype):
    jets, shift = make_jets(4, dtype=dtype), rapidities(-2.0, 0.0, 0.7)
    moved = boost(jets, shift, "beam")

    def rapidity(p4):
        return torch.atanh(p4[..., 3].double() / p4[..., 0].double())

    expected = (rapidity(jets.p4) + shift[:, None, None]).flatten(0, 1)
    rounding = 1e-4 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(rapidity(moved.p4)[moved.mask], expected[moved.mask], rtol=0, atol=rounding)
    assert torch.equal(moved.p4[..., 1:3], jets.p4[..., 1:3].repeat(3, 1, 1))
    torch.testing.assert_close(
        rapidity(moved.jet_p4), (rapidity(jets.jet_p4) + shift[:, None]).flatten(), rtol=0, atol=rounding
    )


def test_forward_particles_keep_their_light_cone():
    """A particle of rapidity 14 is boosted to rest to rounding, where cosh and sinh lose a factor 2γ²."""
    p4 = torch.tensor([[[math.cosh(14.0), 0.0, 0.0, math.sinh(14.0)]]], dtype=torch.float64)
    jets = JetBatch(p4, torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, 1, 10), p4[:, 0])
    minus = float(p4[0, 0, 0] - p4[0, 0, 3])  # exact: the two are close to each other
    energy, pz = boost(jets, rapidities(-14.0), "beam").p4[0, 0, [0, 3]].tolist()
    assert energy - pz == pytest.approx(minus * math.exp(14.0), rel=1e-15)
    assert energy + pz == pytest.approx(float(p4[0, 0, 0] + p4[0, 0, 3]) * math.exp(-14.0), rel=1e-15)


def test_boosts_against_vector(make_jets):
    """Along directions of each jet's own and of each element's own, by scikit-hep's vector."""
    jets, shift = make_jets(3, dtype=torch.float64), rapidities(0.4, -1.5)
    directions = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    directions /= directions.norm(dim=-1, keepdim=True)
    moved = boost(jets, shift, directions)
    for k in range(2):
        for b in range(3):
            velocity = (torch.tanh(shift[k]) * directions[k, b]).tolist()
            columns = dict(zip(("E", "px", "py", "pz"), jets.p4[b].numpy().T, strict=True))
            expected = vector.array(columns).boost(vector.obj(x=velocity[0], y=velocity[1], z=velocity[2]))
            expected = torch.from_numpy(np.stack([expected.E, expected.px, expected.py, expected.pz], axis=-1))
            torch.testing.assert_close(moved.p4[k * 3 + b], expected, rtol=1e-11, atol=1e-9)
    torch.testing.assert_close(boost(jets, shift, directions[0]).p4[:3], moved.p4[:3])
    torch.testing.assert_close(boost(jets, shift, directions[0, 0]).p4[0], moved.p4[0])
    own = boost(jets, shift[:, None].expand(2, 3), directions)
    assert torch.equal(own.p4, moved.p4)


def test_boosts_along_the_jet(make_jets):
    jets = make_jets(4, dtype=torch.float64)
    axis = jet_axes(jets)[:, 2]
    moved = boost(jets, rapidities(0.9), "jet")
    torch.testing.assert_close(moved.p4, boost(jets, rapidities(0.9), axis).p4)
    torch.testing.assert_close(jet_axes(moved)[:, 2], axis)
    assert (moved.jet_p4[:, 0] > jets.jet_p4[:, 0]).all()


def test_boosts_along_one_direction_are_a_group(make_jets):
    jets, direction = make_jets(4, dtype=torch.float64), torch.tensor([0.48, 0.64, -0.6], dtype=torch.float64)
    twice = boost(boost(jets, rapidities(1.7), direction), rapidities(-0.5), direction)
    torch.testing.assert_close(twice.p4, boost(jets, rapidities(1.2), direction).p4, rtol=1e-12, atol=1e-9)
    torch.testing.assert_close(boost(jets, rapidities(0.0), direction).p4, jets.p4, rtol=1e-15, atol=1e-12)


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # torch, on its first JVP
def test_differentiable_in_the_rapidity(make_jets):
    jets = make_jets(3, dtype=torch.float64)
    _, derivative = torch.func.jvp(lambda eta: boost(jets, eta, "beam").p4, (rapidities(0.0),), (rapidities(1.0),))
    torch.testing.assert_close(derivative, jets.p4[..., [3, 1, 2, 0]] * torch.tensor([1.0, 0, 0, 1.0]))


@pytest.mark.parametrize(
    ("rapidity", "direction", "message"),
    [
        (torch.zeros(2, 3), "beam", r"rapidity have shape \(2, 3\); expected \(n,\) or, for these jets, \(n, 4\)"),
        (torch.tensor(0.5), "beam", "rapidity have shape"),
        (torch.tensor([math.inf]), "beam", "some rapidities are not finite"),
        (torch.tensor([math.nan]), "beam", "some rapidities are not finite"),
        (torch.zeros(2), "z", "direction is 'z'; expected 'beam', 'jet'"),
        (torch.zeros(2), torch.eye(3), r"direction has shape \(3, 3\); expected \(3,\), \(4, 3\) or \(2, 4, 3\)"),
        (torch.zeros(2), torch.ones(3), "some directions are not of unit length"),
        (torch.zeros(2), torch.full((3,), math.nan), "some directions are not of unit length"),
    ],
)
def test_wrong_boosts_are_refused(make_jets, rapidity, direction, message):
    with pytest.raises(DataError, match=message):
        boost(make_jets(4), rapidity, direction)


def test_transformations_are_the_matrix_product(make_jets):
    jets, matrices = make_jets(4, dtype=torch.float64), torch.linalg.matrix_exp(_algebra(3))
    moved = transform(jets, matrices)
    own = transform(jets, matrices[:, None].expand(3, 4, 4, 4))
    assert torch.equal(own.p4, moved.p4)
    for k in range(3):
        for b in range(4):
            torch.testing.assert_close(moved.p4[k * 4 + b], torch.stack([matrices[k] @ p for p in jets.p4[b]]))
            torch.testing.assert_close(moved.jet_p4[k * 4 + b], matrices[k] @ jets.jet_p4[b])
    in_32_bits = transform(jets, matrices.float())
    torch.testing.assert_close(in_32_bits.p4, moved.p4, rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("size", [0.1, 1.0, 3.0, 8.0])
def test_the_check_allows_rounding_and_nothing_else(make_jets, size):
    jets, matrices = make_jets(2), torch.linalg.matrix_exp(size * _algebra(50))
    transform(jets, matrices)
    transform(jets, matrices.float())
    wrong = matrices.clone()
    wrong[7] *= 1 + 1e-12
    with pytest.raises(DataError, match="some matrices are no Lorentz transformations"):
        transform(jets, wrong)


def test_wrong_transformations_are_refused(make_jets):
    jets = make_jets(4)
    with pytest.raises(DataError, match=r"matrices have shape \(2, 3, 3\); expected \(n, 4, 4\) or"):
        transform(jets, torch.zeros(2, 3, 3))
    with pytest.raises(DataError, match="no Lorentz transformations"):
        transform(jets, torch.full((1, 4, 4), math.nan))
    with pytest.raises(DataError, match="some matrices reverse time"):
        transform(jets, torch.diag(torch.tensor([-1.0, 1, 1, 1]))[None])
    assert torch.equal(transform(jets, torch.eye(4, dtype=torch.int64)[None]).p4, jets.p4)
