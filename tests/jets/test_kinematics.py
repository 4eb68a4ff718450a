"""Kinematics against vector, and at the edges: the wrap of φ, pT → 0, massless, zero vectors, derivatives."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import vector

from jetsym.jets import kinematics

DTYPES = [torch.float32, torch.float64]


def momenta(dtype: torch.dtype, n: int = 500) -> torch.Tensor:
    rng = np.random.default_rng(3)
    p3 = rng.normal(size=(n, 3)) * rng.choice([1e-3, 1.0, 1e3], size=(n, 1))
    mass = rng.choice([0.0, 0.13957, 80.4], size=n)
    return torch.from_numpy(np.column_stack([np.sqrt((p3**2).sum(axis=1) + mass**2), p3])).to(dtype)


def oracle(p4: torch.Tensor) -> vector.MomentumNumpy4D:
    energy, px, py, pz = p4.double().numpy().T
    return vector.array({"px": px, "py": py, "pz": pz, "E": energy})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("ours", "theirs"), [("pt", "pt"), ("phi", "phi"), ("eta", "eta"), ("momentum", "p"), ("mass2", "mass2")]
)
def test_functions_agree_with_vector(dtype, ours, theirs):
    p4 = momenta(dtype)
    value = getattr(kinematics, ours)(p4)
    assert value.dtype == dtype
    assert value.shape == (500,)
    # A difference of squares: its error is a rounding of the energy squared.
    scale = p4[:, 0].double().numpy() ** 2 if ours == "mass2" else np.abs(getattr(oracle(p4), theirs))
    error = np.abs(value.double().numpy() - getattr(oracle(p4), theirs)) / scale
    assert error.max() < 8 * torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
def test_collider_coordinates_come_back(dtype):
    p4 = momenta(dtype)
    again = kinematics.from_pt_eta_phi_energy(kinematics.pt(p4), kinematics.eta(p4), kinematics.phi(p4), p4[:, 0])
    error, eps = (again - p4).abs(), torch.finfo(dtype).eps
    pt, eta = kinematics.pt(p4), kinematics.eta(p4)
    assert (error[:, 1:3] <= 8 * eps * pt[:, None]).all()
    # η rounds at its own size, and sinh multiplies that by cosh η.
    assert (error[:, 3] <= 4 * eps * (1 + eta.abs()) * kinematics.momentum(p4)).all()
    assert torch.equal(again[:, 0], p4[:, 0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_delta_phi_wraps_and_agrees_with_vector(dtype):
    first = torch.linspace(-math.pi, math.pi, 41, dtype=dtype)
    second = torch.linspace(-math.pi, math.pi, 37, dtype=dtype)
    ours = kinematics.delta_phi(first[:, None], second)
    left = vector.array({"pt": np.ones(41), "phi": first.double().numpy()})[:, None]
    theirs = torch.from_numpy(left.deltaphi(vector.array({"pt": np.ones(37), "phi": second.double().numpy()})))
    assert (ours.abs() <= math.pi * (1 + torch.finfo(dtype).eps)).all()
    # At ±π the two may choose different ends of the interval: compare on the circle.
    gap = (ours.double() - theirs).abs()
    assert torch.minimum(gap, 2 * math.pi - gap).max() < 8 * torch.finfo(dtype).eps


def test_delta_phi_keeps_small_differences_exactly():
    first, second = torch.tensor(1e-6), torch.tensor(0.0)
    assert kinematics.delta_phi(first, second) == first
    almost = torch.tensor(math.pi) - 1e-6
    assert kinematics.delta_phi(almost, -almost) == pytest.approx(-2e-6, abs=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_zero_vector_has_zero_coordinates(dtype):
    for sign in (1.0, -1.0):
        zero = sign * torch.zeros(2, 4, dtype=dtype)
        for name in ("pt", "phi", "eta", "rapidity", "momentum", "mass2"):
            assert (getattr(kinematics, name)(zero) == 0).all(), name


@pytest.mark.parametrize("dtype", DTYPES)
def test_rapidity_is_that_of_its_definition(dtype):
    p4 = momenta(dtype)
    energy, px, py, pz = p4.double().numpy().T
    transverse2 = px**2 + py**2 + np.maximum(energy**2 - px**2 - py**2 - pz**2, 0)
    exact = np.sign(pz) * np.log((energy + np.abs(pz)) / np.sqrt(transverse2))
    error = np.abs(kinematics.rapidity(p4).double().numpy() - exact)
    # The mass is a difference of squares: its rounding is one of the energy squared.
    assert (error < 8 * torch.finfo(dtype).eps * (1 + energy**2 / transverse2)).all()
    heavy = torch.tensor([[5.0, 0.0, 0.0, 3.0], [5.0, 3.0, 0.0, 4.0]], dtype=dtype)
    assert kinematics.rapidity(heavy)[0] == pytest.approx(math.log(2))
    assert kinematics.rapidity(heavy)[1] == pytest.approx(kinematics.eta(heavy)[1])  # no mass
    assert kinematics.rapidity(torch.tensor([5.0, 0.0, 0.0, 5.0], dtype=dtype)).isfinite()


def test_along_the_beam_eta_is_infinite():
    p4 = torch.tensor([[5.0, 0.0, 0.0, 5.0], [5.0, 0.0, 0.0, -5.0]])
    assert kinematics.eta(p4).tolist() == [math.inf, -math.inf]
    assert kinematics.phi(p4).tolist() == [0, 0]


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_pt_neither_underflows_nor_overflows(scale):
    p4 = torch.tensor([5.0, 3.0, 4.0, 0.0]) * scale
    assert kinematics.pt(p4) == pytest.approx(5 * scale, rel=1e-6)


def test_eta_keeps_its_precision_towards_the_beam():
    eta = torch.tensor([-15.0, -8.0, 8.0, 15.0])
    p4 = kinematics.from_pt_eta_phi_energy(torch.ones(4), eta, torch.zeros(4), torch.cosh(eta))
    torch.testing.assert_close(kinematics.eta(p4), eta, rtol=3e-7, atol=0)


def test_mass2_of_light_particles_survives_float32():
    # E² − |p|² would lose it all: the difference is 1e-10 of the squares.
    p4 = torch.tensor([1000.0, 0.0, 0.0, 1000.0]) + torch.tensor([6.1035156e-05, 0.0, 0.0, 0.0])
    assert kinematics.mass2(p4) == pytest.approx(2 * 1000 * 6.1035156e-05, rel=1e-5)
    assert kinematics.mass2(torch.tensor([1.0, 0.0, 0.0, 1.0])) == 0
    assert kinematics.mass2(torch.tensor([1.0, 0.0, 0.0, 2.0])) == -3


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's own, on its first forward derivative
@pytest.mark.parametrize("name", ["pt", "phi", "eta", "rapidity", "momentum", "mass2"])
def test_derivatives_are_finite_at_padding_and_right_elsewhere(name):
    function = getattr(kinematics, name)
    p4 = momenta(torch.float64, 6)
    padded = torch.cat([p4, torch.zeros(2, 4, dtype=torch.float64)]).requires_grad_()
    (gradient,) = torch.autograd.grad(function(padded).sum(), padded)
    assert (gradient[6:] == 0).all()
    _, tangent = torch.func.jvp(function, (padded.detach(),), (torch.ones_like(padded),))
    assert (tangent[6:] == 0).all()
    assert torch.autograd.gradcheck(function, p4.requires_grad_())
