"""The action of O(3) on jets: its order, its group law, what it leaves alone."""

import math

import pytest
import torch

from jetsym.errors import DataError
from jetsym.jets.kinematics import mass2
from jetsym.jets.moves.actions import HELD_FIXED, rotate
from jetsym.jets.moves.sampling import random_orthogonal, random_rotations


def elements(*shape: int, seed: int = 0) -> torch.Tensor:
    return random_orthogonal(math.prod(shape), generator=torch.Generator().manual_seed(seed)).view(*shape, 3, 3)


def test_every_element_acts_on_every_jet_element_major(make_jets):
    jets, g = make_jets(4, dtype=torch.float64), elements(3)
    moved = rotate(jets, g)
    assert len(moved) == 12
    for k in range(3):
        for b in range(4):
            expected = torch.stack([g[k] @ p for p in jets.p4[b, :, 1:]])
            torch.testing.assert_close(moved.p4[k * 4 + b, :, 1:], expected)
            torch.testing.assert_close(moved.jet_p4[k * 4 + b, 1:], g[k] @ jets.jet_p4[b, 1:])


def test_own_elements_for_every_jet(make_jets):
    jets, g = make_jets(4, dtype=torch.float64), elements(3, 4)
    moved = rotate(jets, g)
    for b in range(4):
        torch.testing.assert_close(moved[b::4].p4, rotate(jets[b], g[:, b]).p4)
        torch.testing.assert_close(moved[b::4].jet_p4, rotate(jets[b], g[:, b]).jet_p4)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-4), (torch.float64, 1e-11)])
def test_group_law_and_inverse(make_jets, dtype, tolerance):
    jets, (g, h) = make_jets(5, dtype=dtype), elements(2)
    twice = rotate(rotate(jets, h[None]), g[None])
    once = rotate(jets, (g @ h)[None])
    torch.testing.assert_close(twice.p4, once.p4, atol=tolerance, rtol=0)
    torch.testing.assert_close(twice.jet_p4, once.jet_p4, atol=tolerance, rtol=0)
    back = rotate(rotate(jets, g[None]), g.mT[None])
    torch.testing.assert_close(back.p4, jets.p4, atol=tolerance, rtol=0)


def test_improper_elements_reflect(make_jets):
    jets = make_jets(3)
    moved = rotate(jets, -torch.eye(3)[None])
    assert torch.equal(moved.p4[..., 1:], -jets.p4[..., 1:])
    assert torch.equal(moved.jet_p4[:, 1:], -jets.jet_p4[:, 1:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_left_alone(make_jets, dtype):
    jets = make_jets(5, dtype=dtype)
    moved = rotate(jets, elements(2))
    assert moved.p4.dtype == moved.jet_p4.dtype == dtype
    assert torch.equal(moved.p4[..., 0], jets.p4[..., 0].repeat(2, 1))
    assert torch.equal(moved.jet_p4[:, 0], jets.jet_p4[:, 0].repeat(2))
    assert torch.equal(moved.mask, jets.mask.repeat(2, 1))
    assert torch.equal(moved.scalars, jets.scalars.repeat(2, 1, 1))
    assert torch.equal(moved.label, jets.label.repeat(2))
    assert torch.equal(moved.columns["jet_sdmass"], jets.columns["jet_sdmass"].repeat(2))
    assert (moved.p4[~moved.mask] == 0).all()
    torch.testing.assert_close(
        mass2(moved.p4.sum(1)), mass2(jets.p4.sum(1)).repeat(2), rtol=1e-9 if dtype == torch.float64 else 1e-2, atol=0
    )
    assert set(HELD_FIXED) <= set(jets.scalar_names)


def test_unlabelled_jets_and_one_element(make_jets):
    jets = make_jets(3).replace(label=None)
    moved = rotate(jets, elements(1, 3))
    assert moved.label is None
    assert moved.scalars.data_ptr() == jets.scalars.data_ptr()  # one element copies nothing but momenta


def test_autocast_does_not_round_momenta(make_jets):
    jets, g = make_jets(3), elements(2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        moved = rotate(jets, g)
    assert torch.equal(moved.p4, rotate(jets, g).p4)


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # torch, on its first JVP
def test_differentiable_in_the_element(make_jets):
    jets = make_jets(3, dtype=torch.float64)
    generator = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 0]], dtype=torch.float64)

    def rotated(angle):
        return rotate(jets, torch.linalg.matrix_exp(angle * generator)[None]).p4

    _, derivative = torch.func.jvp(
        rotated, (torch.zeros((), dtype=torch.float64),), (torch.ones((), dtype=torch.float64),)
    )
    torch.testing.assert_close(derivative[..., 1], -jets.p4[..., 2])
    torch.testing.assert_close(derivative[..., 2], jets.p4[..., 1])


@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 4), (2, 5, 3, 3), (1, 1, 4, 3, 3), (4, 2, 3, 3)])
def test_wrong_shapes_are_refused(make_jets, shape):
    with pytest.raises(DataError, match=r"matrices have shape .*; expected \(n, 3, 3\)"):
        rotate(make_jets(4), torch.zeros(shape))


def test_no_elements_give_no_jets(make_jets):
    assert len(rotate(make_jets(4), random_rotations(0))) == 0
