"""Averages over a group remove what they say, and nothing else; the shortest rule is taken, and wrong ones refused."""

from __future__ import annotations

import numpy as np
import pytest

from jetsym.errors import SpectrumError
from jetsym.spectrum import O3, SO2, SO3
from jetsym.spectrum.averaging import group_average
from jetsym.spectrum.quadrature import axis_matrices
from jetsym.spectrum.wigner import real_wigner_d

AXIS = np.array([1.0, 2.0, -2.0]) / 3


def means(average, lam):
    """∫ D^λ dμ by the average, of proper rotations."""
    return np.einsum("i,imn->mn", average.weights, real_wigner_d(lam, average.elements))


@pytest.mark.parametrize("rule", ["auto", "lebedev"])
@pytest.mark.parametrize("l_max", [0, 1, 2, 3, 4, 5, 6, 8])
def test_irreps_up_to_the_degree_are_removed(rule, l_max):
    average = group_average(SO3(), l_max, rule=rule)
    assert average.degree >= l_max
    assert average.weights.min() > 0
    np.testing.assert_allclose(average.weights.sum(), 1, rtol=1e-14)
    np.testing.assert_allclose(np.linalg.det(average.elements), 1, rtol=1e-12)
    for lam in range(1, average.degree + 1):
        assert np.abs(means(average, lam)).max() < 1e-12


@pytest.mark.parametrize(
    ("l_max", "nodes", "degree"),
    [(0, 6, 0), (1, 12, 1), (2, 18, 2), (3, 24, 3), (4, 60, 5), (5, 60, 5), (6, 182, 6)],
)
def test_the_shortest_rule_is_taken(l_max, nodes, degree):
    """Lebedev's 6, 14 or 26 points times degree + 1 angles; the icosahedron's 60 rotations where they are fewer."""
    average = group_average(SO3(), l_max)
    assert (len(average.weights), average.degree) == (nodes, degree)
    assert len(group_average(O3(), l_max).weights) == 2 * nodes


def test_icosahedral_rotations_leave_the_irrep_of_their_first_invariant():
    average = group_average(SO3(), 2, rule="icosahedral")
    assert (len(average.weights), average.degree) == (60, 5)
    assert max(np.abs(means(average, lam)).max() for lam in range(1, 6)) < 1e-12
    np.testing.assert_allclose(np.linalg.eigvalsh(means(average, 6)), [0] * 12 + [1], atol=1e-12)  # one invariant


def test_every_element_of_o3_comes_with_its_inversion():
    average = group_average(O3(), 4)
    half = len(average.weights) // 2
    np.testing.assert_array_equal(average.elements[half:], -average.elements[:half])
    np.testing.assert_array_equal(average.weights[half:], average.weights[:half])
    np.testing.assert_allclose(average.weights.sum(), 1, rtol=1e-14)


def test_modes_up_to_the_degree_are_removed_and_the_next_is_not():
    average = group_average(SO2(AXIS), 3)
    assert average.degree == 3
    assert len(average.elements) == 4
    np.testing.assert_allclose(average.elements @ AXIS, np.tile(AXIS, (4, 1)), atol=1e-15)
    across = np.array([2.0, 1.0, 2.0]) / 3
    turned, third = average.elements @ across, np.cross(AXIS, across)
    phase = turned @ across + 1j * turned @ third
    mean = [average.weights @ phase**m for m in range(5)]
    np.testing.assert_allclose(mean, [1, 0, 0, 0, 1], atol=1e-14)  # 4 angles take m = 4 for invariant


def test_random_elements_are_of_the_group_and_follow_the_seed():
    average = group_average(SO2(AXIS), 3, rule="random", n_rotations=7, seed=5)
    assert average.degree is None
    np.testing.assert_array_equal(average.weights, np.full(7, 1 / 7))
    np.testing.assert_allclose(average.elements @ AXIS, np.tile(AXIS, (7, 1)), atol=1e-15)
    again = group_average(SO2(AXIS), 0, rule="random", n_rotations=7, seed=5)
    np.testing.assert_array_equal(again.elements, average.elements)
    other = group_average(SO2(AXIS), 3, rule="random", n_rotations=7)
    assert np.abs(other.elements - average.elements).max() > 0.1
    drawn = SO2(AXIS).rotations((7,), np.random.default_rng(0))
    np.testing.assert_array_equal(other.elements, drawn)  # the seed is 0 if not said otherwise
    assert len(group_average(SO3(), 0, rule="random", n_rotations=1).weights) == 1


def test_the_error_of_random_elements_falls_as_their_root():
    """(1/n) Σ D^1 has a mean square of 1/(3n) an entry, by the orthogonality of D^1."""
    squares = [
        (group_average(SO3(), 1, rule="random", n_rotations=50, seed=s).elements.mean(axis=0) ** 2).mean()
        for s in range(200)
    ]
    error = np.std(squares, ddof=1) / np.sqrt(len(squares))
    assert abs(np.mean(squares) - 1 / 150) < 4 * error < 1e-3


def test_a_rule_made_by_hand_is_taken_as_it_is():
    rule = SO3().quadrature(1, degree=4)
    average = group_average(SO3(), 9, rule=rule)
    assert average.degree == 4
    np.testing.assert_array_equal(average.elements, rule.rotations)
    np.testing.assert_array_equal(average.weights, rule.weights)


@pytest.mark.parametrize(
    ("group", "l_max", "options", "words"),
    [
        (SO3(), -1, {}, "l_max is -1; expected an integer ≥ 0"),
        (SO3(), 2, {"rule": "cubic"}, "rule is 'cubic'; expected one of 'auto', 'lebedev', 'icosahedral', 'random'"),
        (SO3(), 2, {"rule": "random"}, "rule is 'random' and n_rotations None; expected a number with rule='random'"),
        (SO3(), 2, {"n_rotations": 3}, "rule is 'auto' and n_rotations 3; expected a number with rule='random' only"),
        (SO3(), 2, {"rule": "random", "n_rotations": 0}, "n_rotations is 0; expected an integer ≥ 1"),
        (SO2("z"), 2, {"rule": "icosahedral"}, "rotations about several axes; SO2"),
        (SO3(), 6, {"rule": "icosahedral"}, "exact to degree 5"),
    ],
)
def test_what_does_not_go_together_is_refused(group, l_max, options, words):
    with pytest.raises(SpectrumError, match=words):
        group_average(group, l_max, **options)


def test_turns_about_one_axis_are_not_removed_by_turns_about_another():
    """The test tells an average over the wrong group."""
    average = group_average(SO2(AXIS), 2)
    wrong = axis_matrices(np.array([0.0, 0.0, 1.0]), np.linspace(0, 2 * np.pi, 3, endpoint=False))
    vector = np.array([1.0, -1.0, 0.5])
    np.testing.assert_allclose(average.weights @ (average.elements @ vector), AXIS * (AXIS @ vector), atol=1e-14)
    assert np.abs((wrong @ vector).mean(axis=0) - AXIS * (AXIS @ vector)).max() > 0.1
