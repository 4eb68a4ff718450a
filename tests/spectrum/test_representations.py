"""Representations of outputs: orthogonal, homomorphic, and split into the irreps they say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import sph_harm_y

from jetsym.errors import SpectrumError
from jetsym.spectrum import O3, Irrep
from jetsym.spectrum.matrices import irrep_matrices
from jetsym.spectrum.representations import NAMED, representation

KINDS = [*NAMED, (0, 1), (1, 1), (1, -1), (2, 1), (3, -1)]


@pytest.fixture
def elements():
    """Orthogonal matrices of both determinants."""
    result = O3().sample(24, np.random.default_rng(0))
    assert set(np.sign(np.linalg.det(result))) == {1, -1}
    return result


@pytest.mark.parametrize("kind", KINDS)
def test_the_basis_is_orthogonal_and_splits_the_representation(kind, elements):
    rho = representation(kind)
    np.testing.assert_allclose(rho.basis @ rho.basis.T, np.eye(len(rho.basis)), atol=1e-14)
    assert sum(block.dimension for block in rho.blocks) == len(rho.basis)
    components = rho.basis @ rho.matrices(elements) @ rho.basis.T
    for block, place in zip(rho.blocks, rho.slices, strict=True):
        np.testing.assert_allclose(components[:, place, place], irrep_matrices(block, elements), atol=1e-13)
        components[:, place, place] = 0
    assert np.abs(components).max() < 1e-13


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_an_orthogonal_homomorphism(kind, elements):
    rho = representation(kind)
    g, h = elements[:12], elements[12:]
    np.testing.assert_allclose(rho.matrices(g @ h), rho.matrices(g) @ rho.matrices(h), atol=1e-13)
    np.testing.assert_allclose(rho.matrices(np.swapaxes(g, 1, 2)), np.swapaxes(rho.matrices(g), 1, 2), atol=1e-13)


def test_cartesian_objects_turn_as_they_should(elements):
    """Against the definitions in Cartesian components, which the construction from irreps must reproduce."""
    rng = np.random.default_rng(1)
    a, b, tensor = rng.normal(size=3), rng.normal(size=3), rng.normal(size=(3, 3))
    rotated_a, rotated_b = elements @ a, elements @ b
    np.testing.assert_allclose(representation("vector").matrices(elements) @ a, rotated_a, atol=1e-13)
    np.testing.assert_allclose(
        representation("pseudovector").matrices(elements) @ np.cross(a, b), np.cross(rotated_a, rotated_b), atol=1e-13
    )
    np.testing.assert_allclose(
        representation("rank2").matrices(elements) @ tensor.ravel(),
        (elements @ tensor @ np.swapaxes(elements, 1, 2)).reshape(-1, 9),
        atol=1e-13,
    )
    moved = representation("four-vector").matrices(elements) @ np.array([5.0, *a])
    np.testing.assert_allclose(moved, np.column_stack([np.full(24, 5.0), rotated_a]), atol=1e-13)
    chirality = representation("pseudoscalar").matrices(elements)[:, 0, 0]
    np.testing.assert_allclose(chirality, np.linalg.det(elements), atol=1e-13)


def test_a_rank2_tensor_splits_into_trace_axial_vector_and_the_rest():
    rho = representation("rank2")
    rng = np.random.default_rng(2)
    any_tensor, axis = rng.normal(size=(3, 3)), rng.normal(size=3)
    symmetric = any_tensor + any_tensor.T
    parts = {
        0: np.eye(3),
        1: np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]]),
        2: symmetric - np.eye(3) * np.trace(symmetric) / 3,
    }
    for index, tensor in parts.items():
        powers = [(rho.to_blocks(tensor)[place] ** 2).sum() for place in rho.slices]
        assert powers[index] == pytest.approx((tensor**2).sum(), rel=1e-13)
    np.testing.assert_allclose(rho.from_blocks(rho.to_blocks(any_tensor)), any_tensor, atol=1e-14)


def test_spherical_tensors_have_the_order_of_real_harmonics(elements):
    """Y_2m of a direction, from scipy's complex harmonics, rotates as (2,+)."""

    def harmonics(direction):
        x, y, z = np.moveaxis(direction, -1, 0)
        values = [sph_harm_y(2, m, np.arccos(z), np.arctan2(y, x)) for m in range(3)]
        s = np.sqrt(2)
        negative, positive = [s * values[2].imag, -s * values[1].imag], [-s * values[1].real, s * values[2].real]
        return np.stack([*negative, values[0].real, *positive], axis=-1)

    n = np.array([0.48, 0.6, 0.64])
    rotated = representation((2, 1)).matrices(elements) @ harmonics(n)
    np.testing.assert_allclose(rotated, harmonics(elements @ n), atol=1e-13)
    wrong = representation((2, -1)).matrices(elements) @ harmonics(n)
    assert np.abs(wrong - harmonics(elements @ n)).max() > 0.1


@pytest.mark.parametrize("kind", ["vectr", (-1, 1), (1, 0), (1.5, 1), (1, 1, 1), None, [2, 1], Irrep(1)])
def test_unknown_kinds_are_refused(kind):
    with pytest.raises(SpectrumError, match="said to be .*'rank2'.*spherical tensor"):
        representation(kind)


def test_representations_are_told_apart_as_objects_so_that_they_may_be_keys():
    one, other = representation("vector"), representation("vector")
    assert {one: 1, other: 2}[one] == 1
    assert one != other
