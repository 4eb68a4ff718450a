"""Rest frames and axes of jets, with their poles and their refusals."""

import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from jetsym.errors import DataError
from jetsym.jets.batch import JetBatch
from jetsym.jets.moves.frames import (
    MAX_GAMMA,
    axes_along,
    expect_rest_frame,
    has_rest_frame,
    jet_axes,
    jet_momentum,
)


def jets_of(*jets, dtype=torch.float64):
    """A batch from lists of four-momenta."""
    slots = max(map(len, jets))
    p4 = torch.tensor([[*jet, *[[0.0] * 4] * (slots - len(jet))] for jet in jets], dtype=dtype)
    mask = torch.arange(slots) < torch.tensor([len(jet) for jet in jets])[:, None]
    return JetBatch(p4, mask, torch.zeros(len(jets), slots, 10, dtype=dtype), p4.sum(1))


def test_momentum_is_the_float64_sum_of_real_constituents(make_jets):
    jets = make_jets(6)
    total = jet_momentum(jets)
    assert total.dtype == torch.float64
    for b in range(6):
        exact = [math.fsum(jets.p4[b, : jets.n_particles[b], i].tolist()) for i in range(4)]
        torch.testing.assert_close(total[b], torch.tensor(exact, dtype=torch.float64), rtol=1e-15, atol=1e-12)
    junk = jets.replace(p4=torch.where(jets.mask[..., None], jets.p4, 7.0))
    assert torch.equal(jet_momentum(junk), total)
    assert not torch.allclose(total.float(), jets.jet_p4)


def test_axes_are_rotations_with_the_jet_as_third_row(make_jets):
    jets = make_jets(50)
    axes = jet_axes(jets)
    assert axes.dtype == torch.float64
    p = jets.jet_p4[:, 1:].double()
    torch.testing.assert_close(axes @ axes.mT, torch.eye(3, dtype=torch.float64).expand(50, 3, 3), atol=1e-15, rtol=0)
    assert (torch.linalg.det(axes) - 1).abs().max() < 1e-15
    along = (axes @ p[..., None])[..., 0]
    torch.testing.assert_close(along[:, 2], p.norm(dim=-1), rtol=1e-15, atol=0)
    assert (along[:, :2].abs() / along[:, 2:]).max() < 1e-15


def test_first_axis_points_to_larger_polar_angles_second_to_larger_azimuths():
    """The independent definition by angles: A = Ry(−θ) Rz(−φ)."""
    theta, phi = torch.tensor([0.3, 1.2, 2.9]), torch.tensor([-3.0, 0.4, 2.2])
    vectors = torch.stack([theta.sin() * phi.cos(), theta.sin() * phi.sin(), theta.cos()], dim=-1).double()
    turns = Rotation.from_euler("ZY", torch.stack([phi, theta], dim=-1).numpy()).inv()
    torch.testing.assert_close(axes_along(vectors), torch.from_numpy(turns.as_matrix()), atol=1e-7, rtol=0)


@pytest.mark.parametrize(
    "vector",
    [
        (0.0, 0.0, 3.0),
        (0.0, 0.0, -3.0),
        (-0.0, -0.0, 1.0),
        (1e-300, 0.0, 1.0),
        (0.0, -1e-300, -1.0),
        (1e-200, 2e-200, -3e-200),
        (1e200, -2e200, 3e200),
        (5e-324, 0.0, 0.0),
        (0.0, 2.0, 0.0),
        (0.0, 0.0, 0.0),
    ],
)
def test_poles_and_extremes(vector):
    vector = torch.tensor(vector, dtype=torch.float64)
    axes = axes_along(vector)
    torch.testing.assert_close(axes @ axes.mT, torch.eye(3, dtype=torch.float64), atol=1e-15, rtol=0)
    assert float(torch.linalg.det(axes)) == pytest.approx(1, abs=1e-14)
    unit = vector / vector.abs().max() if vector.any() else torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(axes[2], unit / unit.norm(), atol=1e-15, rtol=0)


def test_the_axes_of_a_jet_along_the_beam():
    assert axes_along(torch.tensor([0.0, 0.0, 2.0])).tolist() == torch.eye(3).tolist()
    down = axes_along(torch.tensor([0.0, 0.0, -2.0])) + 0.0
    assert down.tolist() == [[-1, 0, 0], [0, 1, 0], [0, 0, -1]]


def test_a_jet_without_direction_is_refused():
    jets = jets_of([[5.0, 3.0, 0.0, 4.0]], [[5.0, 0.0, 0.0, 0.0]])
    with pytest.raises(DataError, match=r"axis of 1 of 2 jets has no direction; the first is jet 1, .*\[5.0, 0.0"):
        jet_axes(jets)
    bad = jets.replace(jet_p4=torch.full((2, 4), math.nan, dtype=torch.float64))
    with pytest.raises(DataError, match="axis of 2 of 2 jets"):
        jet_axes(bad)


def test_which_jets_have_a_rest_frame():
    def massive(gamma):
        return [gamma, 0.0, math.sqrt(gamma**2 - 1), 0.0]

    photon = [5.0, 3.0, 0.0, 4.0]
    jets = jets_of(
        [photon, [5.0, -3.0, 0.0, 4.0]],  # two photons at an angle
        [photon],
        [photon, photon],  # collinear
        [[4.999, 3.0, 0.0, 4.0]],  # spacelike, by rounding
        [massive(0.99 * MAX_GAMMA)],
        [massive(1.01 * MAX_GAMMA)],
        [[0.0] * 4],
        [[-5.0, 0.0, 0.0, 0.0]],
        [[2.0, 0.0, 0.0, 0.0]],
        [[math.nan] * 4],
    )
    assert has_rest_frame(jets).tolist() == [True, *[False] * 3, True, *[False] * 3, True, False]
    expect_rest_frame(jets[has_rest_frame(jets)])
    with pytest.raises(
        DataError, match=r"7 of 10 jets have no rest frame; the first is jet 1 of 1 particles, .* mass 0 "
    ):
        expect_rest_frame(jets)
    with pytest.raises(DataError, match=r"mass imaginary \(M² = -0.01 GeV²\).*leave them out with .*has_rest_frame"):
        expect_rest_frame(jets[3])


def test_real_jets_have_rest_frames(real_data):
    from jetsym.jets import read

    jets = read(str(real_data / "jetclass/jetclass_kin_500.root"))
    assert has_rest_frame(jets).all()
