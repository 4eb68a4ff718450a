"""The Lorentz algebra: its commutators, its exponentials, its alignment to jets."""

from itertools import product

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from jetsym.errors import DataError
from jetsym.jets.kinematics import eta, pt
from jetsym.jets.moves.actions import METRIC, about_jet_axis, boost, rotate, transform
from jetsym.jets.moves.frames import jet_axes
from jetsym.jets.moves.generators import aligned_generators, tangents
from jetsym.spectrum import WindowEstimator, lorentz, rapidity_window

GENERATORS = {name: torch.as_tensor(matrix) for name, matrix in lorentz.GENERATORS.items()}


def levi_civita(i, j, k):
    return (i - j) * (j - k) * (k - i) / 2


@pytest.mark.parametrize(
    ("left", "right", "result", "sign"), [("J", "J", "J", 1), ("J", "K", "K", 1), ("K", "K", "J", -1)]
)
def test_commutators(left, right, result, sign):
    for i, j in product(range(3), repeat=2):
        x, y = GENERATORS[f"{left}_{'xyz'[i]}"], GENERATORS[f"{right}_{'xyz'[j]}"]
        expected = sum(sign * levi_civita(i, j, k) * GENERATORS[f"{result}_{'xyz'[k]}"] for k in range(3))
        assert torch.equal(x @ y - y @ x, expected)


def test_they_keep_the_metric():
    metric = torch.diag(torch.tensor(METRIC, dtype=torch.float64))
    for generator in GENERATORS.values():
        assert torch.equal(generator.mT @ metric + metric @ generator, torch.zeros(4, 4, dtype=torch.float64))
    assert list(GENERATORS) == ["J_x", "J_y", "J_z", "K_x", "K_y", "K_z"]


def exponential(generator, parameter):
    return torch.from_numpy(expm(parameter * generator.numpy()))


@pytest.mark.parametrize("parameter", [-1.3, 0.2, 2.0])
@pytest.mark.parametrize("axis", range(3))
def test_exponentials_are_the_finite_actions(make_jets, parameter, axis):
    jets = make_jets(4, dtype=torch.float64)
    parameters, unit = torch.tensor([parameter], dtype=torch.float64), torch.eye(3, dtype=torch.float64)[axis]
    by_generator = transform(jets, exponential(GENERATORS[f"K_{'xyz'[axis]}"], parameter)[None])
    torch.testing.assert_close(boost(jets, parameters, unit).p4, by_generator.p4, rtol=1e-12, atol=1e-9)

    element = exponential(GENERATORS[f"J_{'xyz'[axis]}"], parameter)
    i, j = (axis + 1) % 3, (axis + 2) % 3  # x → y, y → z, z → x
    R = np.eye(3)
    R[[i, i, j, j], [i, j, i, j]] = np.cos(parameter), -np.sin(parameter), np.sin(parameter), np.cos(parameter)
    by_matrix = rotate(jets, torch.from_numpy(R)[None])
    torch.testing.assert_close(by_matrix.p4, transform(jets, element[None]).p4, rtol=1e-12, atol=1e-9)
    torch.testing.assert_close(by_matrix.jet_p4, transform(jets, element[None]).jet_p4, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("parameter", [-0.7, 1.1])
def test_aligned_generators_act_about_and_along_each_jet(make_jets, parameter):
    jets = make_jets(5, dtype=torch.float64)
    generators = aligned_generators(jets, "jet")
    assert generators.shape == (6, 5, 4, 4)
    finite = torch.linalg.matrix_exp(parameter * generators)[:, None]  # (6, 1, B, 4, 4)
    cosine, sine = np.cos(parameter), np.sin(parameter)
    about_z = torch.tensor([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(transform(jets, finite[2]).p4, about_jet_axis(jets, about_z[None]).p4)
    rapidity = torch.tensor([parameter], dtype=torch.float64)
    torch.testing.assert_close(transform(jets, finite[5]).p4, boost(jets, rapidity, "jet").p4)
    axes = jet_axes(jets)
    for i in range(3):
        torch.testing.assert_close(transform(jets, finite[3 + i]).p4, boost(jets, rapidity, axes[:, i]).p4)
    # the same algebra
    j, k = generators[:3], generators[3:]
    torch.testing.assert_close(j[0] @ j[1] - j[1] @ j[0], j[2], atol=1e-14, rtol=0)
    torch.testing.assert_close(k[0] @ k[1] - k[1] @ k[0], -j[2], atol=1e-14, rtol=0)


def test_beam_axes_are_the_generators_themselves(make_jets):
    generators = aligned_generators(make_jets(3))
    assert generators.shape == (6, 1, 4, 4)
    assert torch.equal(generators[:, 0], torch.stack(list(GENERATORS.values())))
    with pytest.raises(DataError, match="axes is 'rest'; expected one of 'beam', 'jet'"):
        aligned_generators(make_jets(3), "rest")


@pytest.mark.parametrize("axes", ["beam", "jet"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-8)])
def test_tangents_are_derivatives_of_the_actions(make_jets, axes, dtype, tolerance):
    jets = make_jets(3, dtype=dtype)
    generators = aligned_generators(jets, axes)
    p4, jet_p4 = tangents(jets, generators)
    assert p4.dtype == jet_p4.dtype == dtype
    assert p4.shape == (6, *jets.p4.shape)
    assert (p4[:, ~jets.mask] == 0).all()
    step = 1e-5
    wide, per_jet = jets.to(torch.float64), generators.expand(6, 3, 4, 4)
    ahead, behind = (transform(wide, torch.linalg.matrix_exp(t * per_jet)) for t in (step, -step))
    for found, moved in ((p4, ahead.p4 - behind.p4), (jet_p4, ahead.jet_p4 - behind.jet_p4)):
        expected = (moved / (2 * step)).view(found.shape)
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance * float(expected.abs().max()))


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # torch, on its first JVP
@pytest.mark.parametrize("direction", ["beam", "jet"])
@pytest.mark.parametrize("distribution", ["uniform", "normal"])
def test_a_narrow_window_measures_the_derivative_along_a_boost(make_jets, direction, distribution):
    """B₁/Var(η) → ‖L_K f‖², the first by finite boosts and Gauss nodes, the second by a forward-mode derivative."""
    jets = make_jets(4, dtype=torch.float64)

    def responses(p4, jet_p4):
        return torch.stack([pt(p4).sum(-1).log(), eta(jet_p4), p4[..., 0].square().sum(-1).log()], dim=-1)

    p4, jet_p4 = (tangent[5] for tangent in tangents(jets, aligned_generators(jets, direction)))
    _, derivative = torch.func.jvp(responses, (jets.p4, jets.jet_p4), (p4, jet_p4))
    window = rapidity_window(distribution, 1e-3, 1)
    moved = boost(jets, torch.from_numpy(window.rapidity), direction)
    estimator = WindowEstimator(window)
    estimator.add(slice(0, len(window)), responses(moved.p4, moved.jet_p4).view(len(window), 4, 3))
    expected = derivative.square().sum(-1).numpy()
    assert expected.min() > 0.1
    np.testing.assert_allclose(estimator.result().slope2, expected, rtol=1e-4)
