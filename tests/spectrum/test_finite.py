"""Groups given by their elements: their spectra against those of SO(2), and by characters, for every type of irrep."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from scipy.linalg import expm

from jetsym.errors import ConfigError, SpectrumError
from jetsym.spectrum import (
    SO2,
    SO3,
    FiniteGroup,
    Irrep,
    NamedIrrep,
    QuadratureEstimator,
    RandomEstimator,
    group_of,
    read_irrep,
    register_group,
)
from jetsym.spectrum.averaging import group_average
from jetsym.spectrum.lorentz import GENERATORS
from jetsym.spectrum.quadrature import axis_matrices
from jetsym.spectrum.representations import representation
from jetsym.spectrum.wigner import real_wigner_d
from jetsym.symmetry import Symmetry


def cyclic(n: int) -> FiniteGroup:
    """C_n about z with all its real irreps."""
    angle = 2 * np.pi * np.arange(n) / n
    irreps = {"A": np.ones(n)}
    if n % 2 == 0:
        irreps["B"] = np.cos(np.pi * np.arange(n))
    for m in range(1, (n + 1) // 2):
        irreps[f"E{m}"] = axis_matrices(np.array([0.0, 0.0, 1.0]), m * angle)[:, :2, :2]
    return FiniteGroup(f"C{n}", axis_matrices(np.array([0.0, 0.0, 1.0]), angle), irreps)


def products(generators: list[np.ndarray]) -> np.ndarray:
    found = [np.eye(len(generators[0]))]
    for element in found:
        for generator in generators:
            if not any(np.abs(generator @ element - other).max() < 1e-9 for other in found):
                found.append(generator @ element)
    return np.stack(found)


def dihedral() -> FiniteGroup:
    """C_3v: turns by a third about z, and mirrors that hold z; E is of real type."""
    turn = axis_matrices(np.array([0.0, 0.0, 1.0]), np.array(2 * np.pi / 3))
    elements = products([turn, np.diag([1.0, -1.0, 1.0])])
    return FiniteGroup("C3v", elements, {"A1": np.ones(6), "A2": np.linalg.det(elements), "E": elements[:, :2, :2]})


def quaternions() -> FiniteGroup:
    """Q8, whose irrep H is of quaternionic type: left products by ±1, ±i, ±j, ±k.

    It is no group of rotations. Given with weights, as a rule is, its products are not looked at.
    """
    i = np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 0, -1], [0, 0, 1, 0]], dtype=float)
    j = np.array([[0, 0, -1, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, -1, 0, 0]], dtype=float)
    still = np.broadcast_to(np.eye(3), (8, 3, 3))
    return FiniteGroup("Q8", still, {"A": np.ones(8), "H": products([i, j])}, weights=np.full(8, 1 / 8))


def spectrum(group, responses):
    estimator = QuadratureEstimator(group.quadrature(4), group)
    estimator.add(slice(0, len(responses)), responses)
    return estimator.result()


def by_characters(group: FiniteGroup, u: np.ndarray) -> np.ndarray:
    """(samples, irreps) ‖P_α u‖² by projectors as matrices on functions on the group."""
    flat = group.elements.reshape(len(group.elements), -1)
    powers = []
    for irrep, matrices in zip(group.irreps(0), group.matrices, strict=True):
        projector = np.zeros((len(flat), len(flat)))
        for row, element in enumerate(group.elements):
            for column, other in enumerate(group.elements):
                product = (np.linalg.inv(element) @ other).ravel()
                place = np.abs(flat - product).max(axis=1).argmin()
                projector[row, column] = irrep.factor * np.trace(matrices[place]) / len(flat)
        assert np.allclose(projector @ projector, projector)  # d/t is the right factor: it is a projector
        projected = np.einsum("gh,hsf->gsf", projector, u)
        powers.append((projected**2).mean(axis=0).sum(axis=-1))
    return np.stack(powers, axis=-1)


@pytest.mark.parametrize("group", [cyclic(3), cyclic(4), cyclic(6), dihedral()], ids=lambda group: group.name)
def test_powers_are_those_of_the_projectors_and_add_up(group):
    u = np.random.default_rng(0).normal(size=(len(group.elements), 5, 3))
    found = spectrum(group, u)
    np.testing.assert_allclose(found.power, by_characters(group, u), rtol=1e-12)
    np.testing.assert_allclose(found.power.sum(axis=1), found.norm, rtol=1e-12)  # Parseval: the table is complete


def test_four_turns_sort_the_modes_of_so2():
    group, so2 = cyclic(4), SO2("z")
    rng = np.random.default_rng(1)
    amplitudes = rng.normal(size=(5, 2, 3))  # modes 0 … 4, cosine and sine, features

    def u(rotations):
        phi = np.arctan2(rotations[:, 1, 0], rotations[:, 0, 0])
        waves = np.stack([np.cos(np.outer(phi, range(5))), np.sin(np.outer(phi, range(5)))], axis=-1)
        return np.einsum("nmc,mcf->nf", waves, amplitudes)[:, None]

    ours = spectrum(group, u(group.elements)).power[0]
    # Orbits from every angle between two turns, whose mean over them is that over all of SO(2).
    starts = axis_matrices(np.array([0.0, 0.0, 1.0]), 2 * np.pi * np.arange(9) / 36)
    ours = np.mean([spectrum(group, u(group.elements @ start)).power[0] for start in starts], axis=0)
    rule = so2.quadrature(4)
    estimator = QuadratureEstimator(rule, so2)
    estimator.add(slice(0, len(rule)), u(rule.rotations))
    modes = estimator.result().power[0]
    np.testing.assert_allclose(ours, [modes[0] + modes[4], modes[2], modes[1] + modes[3]], rtol=1e-12)


def test_the_quaternionic_type_counts_once():
    group = quaternions()
    assert [irrep.factor for irrep in group.irreps(0)] == [1.0, 1.0]
    found = spectrum(group, (group.matrices[1] @ np.random.default_rng(0).normal(size=4))[:, None])  # turns as H
    np.testing.assert_allclose(found.power, [[0, float(found.norm[0])]], atol=1e-12)


def test_weights_are_those_of_the_average():
    rule = SO3().quadrature(2)
    group = FiniteGroup("nodes", rule.rotations, {"A": np.ones(len(rule)), "T": rule.rotations}, weights=rule.weights)
    x = np.array([0.0, 0.6, 0.8])
    found = spectrum(group, 2 + (rule.rotations @ x)[:, None])
    np.testing.assert_allclose(found.power, [[12, 1]], rtol=1e-12)


def test_irreps_have_names_that_survive():
    irreps = cyclic(4).irreps(0)
    assert [str(irrep) for irrep in irreps] == ["A", "B", "E1"]
    assert [irrep.dimension for irrep in irreps] == [1, 1, 2]
    assert (irreps[2].parity, irreps[2].is_mode, irreps[2].is_named, Irrep(2).is_named) == (None, False, True, False)
    for irrep in (*irreps, Irrep(1, -1), Irrep(2), Irrep(3, 0)):
        for other in (read_irrep(irrep.to_list()), copy.deepcopy(irrep)):
            assert (other, str(other), hash(other)) == (irrep, str(irrep), hash(irrep))
    assert NamedIrrep(1, "B", 1, 1) != Irrep(1)
    assert NamedIrrep(1, "B", 1, 1) != NamedIrrep(1, "B'", 1, 1)


@pytest.mark.parametrize("kind", ["scalar", "vector", "pseudovector", "rank2", "four-vector", (3, -1)])
@pytest.mark.parametrize("group", [cyclic(4), dihedral()], ids=lambda group: group.name)
def test_outputs_fall_apart_into_its_irreps(kind, group):
    whole = representation(kind)
    split = whole.under(group)
    np.testing.assert_allclose(split.basis @ split.basis.T, np.eye(len(whole.basis)), atol=1e-10)
    rotated = split.basis @ whole.matrices(group.elements) @ split.basis.T
    for irrep, place in zip(split.blocks, split.slices, strict=True):
        matrices = group.matrices[irrep.lam]
        np.testing.assert_allclose(rotated[:, place, place], matrices, atol=1e-10)
        rotated[:, place, place] = 0
    np.testing.assert_allclose(rotated, 0, atol=1e-10)


def test_a_table_that_lacks_an_irrep_of_an_output_is_refused():
    group = cyclic(4)
    short = FiniteGroup("short", group.elements, {"A": group.matrices[0], "B": group.matrices[1]})
    assert representation("scalar").under(short).blocks == short.irreps(0)[:1]
    with pytest.raises(SpectrumError, match="vector holds irreps of short that its table lacks"):
        representation("vector").under(short)


def test_averages_and_draws():
    group = cyclic(4)
    average = group_average(group, 7)
    assert (average.elements is group.elements, average.degree) == (True, None)
    drawn = group.sample(400, np.random.default_rng(0))
    counts = [(np.abs(drawn - element).max(axis=(1, 2)) < 1e-9).sum() for element in group.elements]
    assert sum(counts) == 400
    assert min(counts) > 60
    heavy = FiniteGroup("C4w", group.elements, {"A": np.ones(4)}, weights=[0.4, 0.1, 0.4, 0.1])
    assert np.isclose(np.abs(heavy.sample(1000, np.random.default_rng(0))[:, 0, 0]).mean(), 0.8, atol=0.06)
    with pytest.raises(SpectrumError, match="4 elements, all of which are evaluated; leave out method='random'"):
        group_average(group, 2, rule="random", n_rotations=3)


def test_a_rule_belongs_to_its_group():
    for rule, group in (
        (cyclic(4).quadrature(1), SO3()),
        (SO3().quadrature(1), cyclic(4)),
        (cyclic(4).quadrature(1), cyclic(4)),
        (SO2().quadrature(1), cyclic(4)),
    ):
        with pytest.raises(SpectrumError, match="the rule is one of"):
            QuadratureEstimator(rule, group)


def test_random_elements_are_refused():
    estimator = RandomEstimator(cyclic(4), 1, SO3().rotations((2, 4), np.random.default_rng(0)))
    estimator.add(slice(0, 4), np.ones((4, 2, 1)))
    with pytest.raises(SpectrumError, match="all of which are evaluated"):
        estimator.result()


def of_c4(**changed):
    group = cyclic(4)
    irreps = dict(zip(("A", "B", "E"), group.matrices, strict=True))
    return {"name": "bad", "elements": group.elements, "irreps": irreps} | changed


C4 = cyclic(4)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"elements": np.eye(3)}, r"elements of bad have shape \(3, 3\); expected \(n, 3, 3\)"),
        ({"elements": 2 * C4.elements}, "are wrong by 3"),
        ({"elements": C4.elements[:3]}, r"'A' has shape \(4, 1, 1\); expected \(3, d, d\), or \(3,\) signs"),
        ({"elements": C4.elements[:3], "irreps": {"A": np.ones(3)}}, "no group: a product of two is none of them"),
        ({"elements": C4.elements[[0, 2, 1, 3]]}, "does not follow the products"),
        ({"irreps": {"B": C4.matrices[1]}}, "'B' of bad comes first; expected the invariant one"),
        (
            {"irreps": {"A": np.ones(4), "E": C4.matrices[2], "again": C4.matrices[2]}},
            "'again' of bad is reducible",
        ),
        ({"irreps": {"A": np.ones(4), "AB": np.stack([np.diag([1.0, s]) for s in (1, -1, 1, -1)])}}, "'AB' of bad"),
        ({"irreps": {"A": np.ones(4), "E": 1.1 * C4.matrices[2]}}, "does not follow the products"),
        ({"irreps": {"A": np.ones((4, 2))}}, r"'A' has shape \(4, 2\); expected \(4, d, d\)"),
        ({"irreps": {"A": np.ones(4), "E": 1.1 * C4.matrices[2]}, "weights": [0.3, 0.2, 0.3, 0.2]}, "not orthogonal"),
        ({"weights": [0.5, 0.5, 0.0, 0.0]}, "expected 4 above 0 with sum 1"),
        ({"weights": [0.25, 0.25, 0.25]}, "expected 4 above 0 with sum 1"),
        ({"weights": [0.3, 0.3, 0.3, 0.3]}, "expected 4 above 0 with sum 1"),
    ],
)
def test_what_is_no_group_with_its_irreps_is_refused(changed, message):
    with pytest.raises(SpectrumError, match=message):
        FiniteGroup(**of_c4(**changed))


def test_lorentz_transformations_may_be_elements():
    mirror = np.stack([np.eye(4), np.diag([1.0, 1.0, 1.0, -1.0])])
    group = FiniteGroup("Z2", mirror, {"even": [1, 1], "odd": [1, -1]})
    assert (group.on_four_vectors, group.has_reflections, cyclic(4).on_four_vectors) == (True, True, False)
    with pytest.raises(SpectrumError, match="4 × 4 Lorentz"):
        FiniteGroup("Z2", np.stack([np.eye(4), np.eye(4)[[1, 0, 2, 3]]]), {"even": [1, 1], "odd": [1, -1]})


def test_a_group_is_registered_by_its_name():
    group = dihedral()
    with pytest.raises(ConfigError, match="group is 'c3v'"):
        Symmetry("c3v")
    register_group(group, words="turns and mirrors of a triangle")
    made = Symmetry("c3v", frame="rest")
    assert (made.group, made.words) == ("C3v", "turns and mirrors of a triangle at rest")
    assert (made.is_compact, made.is_orthogonal, made.has_inversion) == (True, False, True)
    assert group_of(made) is group
    with pytest.raises(ConfigError, match="a name that is taken"):
        register_group(FiniteGroup("o3", np.eye(3)[None], {"A": [1]}))
    with pytest.raises(SpectrumError, match="group is 'boost', .* expected one of SO2, SO3, O3, C3v"):
        group_of(Symmetry("boost"))


def test_a_sum_of_two_irreps_does_not_pass_for_one_of_complex_type():
    """Both have ∫ χ² dμ = 2; the sum would give powers that are wrong where its parts differ in dimension."""
    turns = np.stack([np.diag(signs) for signs in ([1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1])]).astype(float)
    with pytest.raises(SpectrumError, match="'both' of D2 is reducible, .*∫ χ² dμ is 2 and ∫ χ\\(g²\\) dμ 2"):
        FiniteGroup("D2", turns, {"A": np.ones(4), "both": turns[:, :2, :2]})


@pytest.mark.parametrize(
    ("elements", "irreps", "weights", "message"),
    [
        ([0, 1, 2, 3, 0], {"A": np.ones(5)}, None, "some come more than once"),
        ([0, 1, 2, 3], {"A": np.ones(4), "B": [1, 1, -1, -1]}, np.full(4, 0.25), "does not follow the products"),
        ([0, 1, 2, 3], {"A": np.ones(4), "B": [-1, 1, -1, 1]}, np.full(4, 0.25), "does not follow the products"),
        ([0, 1, 2, 3], {"A": np.ones(4)}, [0.7, 0.1, 0.1, 0.1], "do not average as a group does"),
        ([0, 1], {"A": np.ones(2)}, [0.5, 0.5], "do not average as a group does"),
        ([0, 1, 2, 3], {"A": np.ones(4), "tail": [1, -1, 1, -1]}, None, "none of them '' or 'tail'"),
    ],
)
def test_what_would_average_wrongly_is_refused(elements, irreps, weights, message):
    turns = axis_matrices(np.array([0.0, 0.0, 1.0]), np.pi / 2 * np.arange(4))
    with pytest.raises(SpectrumError, match=message):
        FiniteGroup("bad", turns[elements], irreps, weights=weights)


def cube() -> tuple[np.ndarray, np.ndarray]:
    """The 24 turns of a cube, and their irrep E: how x², y² and z² change places, without their sum."""
    turns = products([axis_matrices(axis, np.array(np.pi / 2)) for axis in np.eye(3)[:2]])
    basis = np.array([[1, -1, 0], [1, 1, -2]]) / np.sqrt([[2], [6]])
    return turns, basis @ turns**2 @ basis.T


def test_weights_are_those_under_which_matrix_elements_are_orthogonal():
    """Weights 1 + c E_12(g) leave vectors and all characters as they were, but not the energies of E."""
    turns, e = cube()
    irreps = {"A": np.ones(24), "E": e, "T": turns}
    plain = FiniteGroup("O", turns, irreps)
    assert len(turns) == 24
    for c in (1e-3, 0.5):
        weights = (1 + c * e[:, 0, 1]) / 24
        with pytest.raises(SpectrumError, match="do not average as a group does"):  # T ⊗ T holds E, which is not listed
            FiniteGroup("bad", turns, {"A": irreps["A"], "T": turns}, weights=weights)
        FiniteGroup("vectors", turns, {"A": irreps["A"], "T": turns}, weights=np.full(24, 1 / 24))
        np.testing.assert_allclose(np.einsum("n,nij->ij", weights, turns), 0, atol=1e-12)
        with pytest.raises(SpectrumError, match="do not average as a group does; .* matrix elements of the irreps"):
            FiniteGroup("bad", turns, irreps, weights=weights)
    # What would have been wrong: a response in E has not all of its power there.
    u = np.einsum("nij,j->ni", e, [0.6, 0.8])[:, None]
    assert spectrum(plain, u).power[0, 1] == pytest.approx(spectrum(plain, u).norm[0])
    # Another irrep that the weights mix with the first: ∫ E dμ is not 0.
    with pytest.raises(SpectrumError, match="orthogonal characters|do not average"):
        FiniteGroup("bad", turns, {"A": np.ones(24), "E": e}, weights=(1 + 0.5 * e[:, 0, 0]) / 24)


def test_a_rule_that_integrates_its_irreps_is_a_group():
    """Of real, complex and quaternionic type; one degree less would do for vectors, but not for squares of irreps."""
    rule = SO3().quadrature(2)
    irreps = {f"λ={lam}": real_wigner_d(lam, rule.rotations) for lam in range(3)}
    FiniteGroup("nodes", rule.rotations, irreps, weights=rule.weights)
    coarse = SO3().quadrature(1)
    irreps = {f"λ={lam}": real_wigner_d(lam, coarse.rotations) for lam in range(3)}
    with pytest.raises(SpectrumError, match="reducible|do not average as a group does"):
        FiniteGroup("nodes", coarse.rotations, irreps, weights=coarse.weights)
    turns = SO2("z").quadrature(3)
    angles = 2 * np.pi * np.arange(len(turns)) / len(turns)
    modes = {"m=0": np.ones(len(turns)), "m=3": axis_matrices(np.array([0.0, 0.0, 1.0]), 3 * angles)[:, :2, :2]}
    FiniteGroup("turns", axis_matrices(np.array([0.0, 0.0, 1.0]), angles), modes, weights=turns.weights)


def test_a_rule_that_is_closed_in_part_stays_a_rule():
    """Turns by thirds and the same after a tilt: products with the last hit others, with the first of the rest none."""
    turns = axis_matrices(np.array([0.0, 0.0, 1.0]), 2 * np.pi / 3 * np.arange(3))
    tilted = turns @ axis_matrices(np.array([0.0, 1.0, 0.0]), np.array(1.0))
    elements = np.concatenate([tilted, turns])  # from the left the last keeps both halves
    with pytest.raises(SpectrumError, match="do not average as a group does"):
        FiniteGroup("half", elements, {"A": np.ones(6)}, weights=np.full(6, 1 / 6))
    group = FiniteGroup.__new__(FiniteGroup)
    group.elements = elements
    assert group._products() is None
    group.elements = turns
    np.testing.assert_array_equal(group._products(), (np.arange(3)[:, None] + np.arange(3)) % 3)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": None}, "the name of a group is None; expected what is typed for it"),
        ({"name": ""}, "the name of a group is ''"),
        ({"name": 4}, "the name of a group is 4"),
        ({"irreps": {"A": np.ones(4), "E": np.array([1, 1j, -1, -1j])}}, "irrep 'E' are complex numbers; expected one"),
        ({"irreps": {"A": np.ones(4), "E": [1, 1j, -1, -1j]}}, "irrep 'E' are complex numbers"),
        (
            {"irreps": {"A": np.ones(4), "B": ["1", "-1", "1", "-1"]}},
            r"irrep 'B' are \['1', '-1', '1', '-1'\]; expected",
        ),
        ({"irreps": {"A": np.ones(4), "B": [[1], [1, 2]]}}, r"irrep 'B' are \[\[1\], \[1, 2\]\]; expected one array"),
        ({"irreps": {"A": np.ones(4), "B": None}}, "irrep 'B' are None; expected one array of real numbers"),
        ({"irreps": [np.ones(4)]}, "irreps of bad are list; expected names"),
        ({"irreps": {1: np.ones(4)}}, r"irreps of bad are \[1\]; expected names"),
        ({"irreps": {}}, r"irreps of bad are \[\]; expected names"),
        ({"elements": C4.elements + 0j}, "elements of bad are complex numbers"),
        ({"elements": 1.0}, r"elements of bad have shape \(\); expected"),
        ({"elements": "C4"}, "elements of bad are 'C4'; expected one array of real numbers"),
        ({"weights": ["a"] * 4}, "weights of bad are .*; expected one array of real numbers"),
        ({"weights": 0.25}, "weights of bad are 0.25; expected 4 above 0"),
        ({"weights": [np.nan, 0.25, 0.25, 0.5]}, "expected 4 above 0"),
        ({"irreps": {"A": np.ones(4), "B": [1, np.nan, 1, -1]}}, "does not follow the products"),
        ({"irreps": {"A": np.ones(4), "E": np.ones((4, 2, 3))}}, r"'E' has shape \(4, 2, 3\); expected \(4, d, d\)"),
        ({"irreps": {"A": np.ones(4), "E": np.ones((4, 3, 2))}}, r"'E' has shape \(4, 3, 2\); expected \(4, d, d\)"),
        ({"irreps": {"A": np.ones(4), "E": np.ones((4, 2))}}, r"'E' has shape \(4, 2\); expected \(4, d, d\)"),
        ({"irreps": {"A": np.ones(3)}}, r"'A' has shape \(3, 1, 1\); expected \(4, d, d\), or \(4,\) signs"),
    ],
)
def test_what_is_no_name_or_no_real_numbers_is_refused(changed, message):
    with pytest.raises(SpectrumError, match=message):
        FiniteGroup(**of_c4(**changed))


@pytest.mark.parametrize("signs", [(-1, 1, 1, 1), (-1, -1, -1, -1), (-1, -1, 1, 1)])
@pytest.mark.parametrize("weights", [None, [0.5, 0.5]])
def test_elements_keep_the_direction_of_time(signs, weights):
    elements = np.stack([np.eye(4), np.diag(np.array(signs, dtype=float))])
    with pytest.raises(SpectrumError, match="elements of T turn time back, as energies would be negative; expected"):
        FiniteGroup("T", elements, {"A": np.ones(2)}, weights=weights)
    improper = FiniteGroup("P", np.stack([np.eye(4), np.diag([1.0, -1.0, -1.0, -1.0])]), {"A": np.ones(2)})
    assert improper.has_reflections


def test_a_name_stands_for_one_group():
    turns = axis_matrices(np.array([0.0, 0.0, 1.0]), np.pi / 2 * np.arange(4))
    four = FiniteGroup("G", turns, {"A": np.ones(4)})
    register_group(four)
    register_group(FiniteGroup("G", turns, {"A": np.ones(4)}))  # as when a cell of a notebook runs again
    with pytest.raises(ConfigError, match="group is SO3.*; expected a FiniteGroup"):
        register_group(SO3())
    with pytest.raises(ConfigError, match="a name that another group has"):
        register_group(FiniteGroup("G", turns[::2], {"A": np.ones(2)}))


@pytest.mark.parametrize("digits", [6, 7])
def test_elements_of_a_few_digits_find_the_irreps_of_outputs(digits):
    turns = axis_matrices(np.array([0.0, 0.0, 1.0]), 2 * np.pi / 3 * np.arange(3)).round(digits)
    group = FiniteGroup("C3", turns, {"A": np.ones(3), "E": turns[:, :2, :2]})
    assert [str(block) for block in representation("vector").under(group).blocks] == ["A", "E"]


def test_groups_are_the_same_where_all_that_is_given_is():
    one = cyclic(4)
    assert one.is_same(cyclic(4))
    assert not one.is_same(SO3())
    assert not one.is_same(cyclic(3))
    fewer = FiniteGroup("C4", one.elements, {"A": one.matrices[0], "B": one.matrices[1]})
    assert not one.is_same(fewer)
    assert not fewer.is_same(one)
    swapped = FiniteGroup("C4", one.elements, {"A": one.matrices[0], "E": one.matrices[2], "B": one.matrices[1]})
    assert not one.is_same(swapped)
    weighted = FiniteGroup("C4", one.elements, {"A": np.ones(4)}, weights=np.full(4, 0.25))
    assert not weighted.is_same(one)
    assert weighted.is_same(FiniteGroup("other", one.elements, {"one": np.ones(4)}, weights=np.full(4, 0.25)))


@pytest.mark.parametrize("rapidity", [0.0, 3.0, 7.0])
def test_mirrors_of_moving_frames_are_as_exact_as_their_large_elements_allow(rapidity):
    """B P B⁻¹ with elements of cosh 2y ~ 6e5, whose products are rounded to 1e-16 of their squares."""
    boost = expm(rapidity * GENERATORS["K_z"])
    mirror = boost @ np.diag([1.0, 1.0, 1.0, -1.0]) @ expm(-rapidity * GENERATORS["K_z"])
    group = FiniteGroup("mirror", np.stack([np.eye(4), mirror]), {"even": [1, 1], "odd": [1, -1]})
    assert group.has_reflections
    with pytest.raises(SpectrumError, match="a product of two is none of them"):
        FiniteGroup("mirror", np.stack([np.eye(4), mirror @ expm(GENERATORS["J_z"])]), {"even": [1, 1]})


def test_a_group_of_260_elements_has_none_more_than_once():
    turns = axis_matrices(np.array([0.0, 0.0, 1.0]), 2 * np.pi * np.arange(260) / 260)
    assert len(FiniteGroup("C260", turns, {"A": np.ones(260)}).elements) == 260
