"""Couplings and generators in the caller's library: made once, and never what a later call could not use."""

from __future__ import annotations

import numpy as np
import pytest

from jetsym.spectrum.coupling import (
    rotation_generators,
    rotation_generators_in,
    stretched_coupling,
    stretched_coupling_in,
)
from jetsym.spectrum.wigner import real_spherical_harmonics

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch) -> None:
    monkeypatch.setattr("jetsym.spectrum.coupling._kept", {})


def coupling(dtype=torch.float32):
    return stretched_coupling_in(torch, 2, 1, dtype=dtype, device=torch.device("cpu"))


def test_made_once_for_every_dtype():
    assert coupling() is coupling()
    assert coupling(torch.float64).dtype == torch.float64
    np.testing.assert_array_equal(coupling(torch.float64).numpy(), stretched_coupling(2, 1))
    in_numpy = stretched_coupling_in(np, 2, 1, dtype=np.float32, device="cpu")
    assert isinstance(in_numpy, np.ndarray)
    np.testing.assert_array_equal(in_numpy, coupling().numpy())
    generators = rotation_generators_in(torch, 2, dtype=torch.float64, device="cpu")
    np.testing.assert_array_equal(generators.numpy(), rotation_generators(2))
    in_numpy[:] = 0  # a copy: what is kept of the mathematics itself stays
    assert stretched_coupling(2, 1).any()


def test_what_inference_mode_makes_is_not_kept():
    with torch.inference_mode():
        coupling()
    vector = torch.ones(3, requires_grad=True)
    (vector[:, None] * coupling()[0]).square().sum().backward()  # autograd refuses tensors of inference mode
    assert vector.grad.any()


def test_what_a_derivative_makes_may_be_used_outside():
    def norm(vector):
        return torch.einsum("b,abc->ac", vector, coupling()).square().sum()

    vector = torch.arange(3.0)
    _, forward = torch.func.jvp(norm, (vector,), (torch.ones(3),))
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(norm))(vector[None])[0].sum(), forward)
    vector.requires_grad_()
    norm(vector).backward()
    torch.testing.assert_close(vector.grad.sum(), forward)


def test_what_tracers_make_is_not_kept():
    fake = pytest.importorskip("torch._subclasses.fake_tensor")
    with fake.FakeTensorMode():
        coupling()
    assert type(coupling()) is torch.Tensor

    jax = pytest.importorskip("jax")

    def total(x):
        return (x * stretched_coupling_in(jax.numpy, 1, 1, dtype=jax.numpy.float32, device=None)).sum()

    jax.jit(total)(1.0)
    assert float(total(1.0)) == pytest.approx(stretched_coupling(1, 1).sum(), abs=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler speaks of what it cannot trace
def test_compiling_before_anything_was_made():
    def coupled(vector):
        coupling = stretched_coupling_in(torch, 1, 1, dtype=vector.dtype, device=vector.device)
        return torch.einsum("b,abc->ac", vector, coupling)

    stretched_coupling.cache_clear()
    vector = torch.tensor([1.0, 2.0, 3.0])
    found = torch.compile(coupled, backend="eager", dynamic=True)(vector)
    stretched_coupling.cache_clear()
    np.testing.assert_allclose(found, np.einsum("b,abc->ac", vector, stretched_coupling(1, 1)), atol=1e-5)


def test_compiling_what_makes_harmonics():
    """Where the compiler does trace numpy, it finds what numpy finds."""
    points = np.random.default_rng(0).normal(size=(5, 3))
    points /= np.linalg.norm(points, axis=-1, keepdims=True)
    compiled = torch.compile(lambda points: real_spherical_harmonics(3, points), backend="eager", dynamic=True)
    np.testing.assert_allclose(compiled(points), real_spherical_harmonics(3, points), atol=1e-14)
