"""Names of irreps, what follows from them, and how they are read back."""

from __future__ import annotations

import copy
import operator

import numpy as np
import pytest

from jetsym.errors import SpectrumError
from jetsym.spectrum import O3, SO2, SO3, Irrep, NamedIrrep, read_irrep
from jetsym.spectrum.irreps import parse_irreps
from jetsym.spectrum.wigner import real_wigner_d


@pytest.mark.parametrize(
    ("irrep", "name", "order", "dimension", "factor", "parity"),
    [
        (Irrep(0), "(0)", "λ = 0", 1, 1.0, None),
        (Irrep(3), "(3)", "λ = 3", 7, 7.0, None),
        (Irrep(0, 1), "(0,+)", "λ = 0", 1, 1.0, 1),
        (Irrep(0, -1), "(0,−)", "λ = 0", 1, 1.0, -1),
        (Irrep(1, 1), "(1,+)", "λ = 1", 3, 3.0, -1),
        (Irrep(1, -1), "(1,−)", "λ = 1", 3, 3.0, 1),
        (Irrep(2, 1), "(2,+)", "λ = 2", 5, 5.0, 1),
        (Irrep(0, 0), "m=0", "m = 0", 1, 1.0, None),
        (Irrep(4, 0), "m=4", "m = 4", 2, 1.0, None),
    ],
)
def test_what_follows_from_a_name(irrep, name, order, dimension, factor, parity):
    assert (str(irrep), irrep.order, irrep.dimension, irrep.factor) == (name, order, dimension, factor)
    assert irrep.parity == parity
    assert irrep.is_mode == (irrep.sigma == 0)
    assert not irrep.is_named
    assert read_irrep(irrep.to_list()) == irrep


def test_irreps_of_a_group_are_all_up_to_l_max_once():
    assert [str(irrep) for irrep in SO2("z").irreps(2)] == ["m=0", "m=1", "m=2"]
    assert [str(irrep) for irrep in SO3().irreps(2)] == ["(0)", "(1)", "(2)"]
    assert [str(irrep) for irrep in O3().irreps(1)] == ["(0,+)", "(0,−)", "(1,+)", "(1,−)"]
    # The matrix elements of all irreps up to l_max are as many as there are functions of that bandwidth.
    assert sum(irrep.dimension**2 for irrep in SO3().irreps(4)) == sum((2 * lam + 1) ** 2 for lam in range(5)) == 165


def test_the_factor_is_the_dimension_over_that_of_what_commutes():
    """For λ = 2 the trace of χ² is one; for a mode m > 0 of SO(2), cos and sin, it is two."""
    rule = SO3().quadrature(2, degree=4)
    square = rule.weights @ np.trace(real_wigner_d(2, rule.rotations), axis1=1, axis2=2) ** 2
    assert square == pytest.approx(1)
    assert Irrep(2).factor == pytest.approx(5 / square)
    angle = 2 * np.pi * np.arange(9) / 9
    assert np.mean((2 * np.cos(2 * angle)) ** 2) == pytest.approx(2)
    assert Irrep(2, 0).factor == Irrep(2, 0).dimension / 2


def test_named_irreps_are_told_apart_by_all_that_they_say():
    one = NamedIrrep(2, "E", 2, 2)
    assert (str(one), one.order, one.dimension, one.factor, one.parity) == ("E", "E", 2, 1.0, None)
    assert one.is_named
    assert not one.is_mode
    assert repr(one) == "NamedIrrep(2, 'E', 2, 2)"
    for same in (copy.copy(one), copy.deepcopy(one), read_irrep(one.to_list())):
        assert same == one
        assert not operator.ne(same, one)
        assert hash(same) == hash(one)
    others = [NamedIrrep(1, "E", 2, 2), NamedIrrep(2, "T", 2, 2), NamedIrrep(2, "E", 3, 2), NamedIrrep(2, "E", 2, 1)]
    for other in [*others, Irrep(2), (2, None)]:
        assert other != one
        assert not operator.eq(one, other)
    assert len({one, *others}) == 5
    assert NamedIrrep(3, "H", 4, 4).factor == 1.0
    assert NamedIrrep(3, "T", 3, 1).factor == 3.0


@pytest.mark.parametrize(
    "values",
    [
        [],
        [1],
        [-1, 1],
        [1, 2],
        [1, True],
        [True, 1],
        [1.0, 1],
        ["1", 1],
        [1, "E"],
        [1, 1, 1],
        [1, "E", 2],
        [1, "E", 0, 1],
        [1, "E", 2, 0],
        [1, "E", 2, 1.0],
        [1, 2, 2, 1],
        [1, "E", 2, 1, 1],
    ],
)
def test_lists_that_tell_no_irrep_are_refused(values):
    with pytest.raises(SpectrumError, match=r"which is no irrep; expected \(λ, σ\), or place, name and sizes"):
        read_irrep(values)


@pytest.mark.parametrize("values", [[0, None], [2, 1], [2, -1], [3, 0], [0, "A", 1, 1], [2, "H", 4, 4]])
def test_lists_are_read_as_they_were_written(values):
    assert read_irrep(values).to_list() == values


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: Irrep(-1), "lam is -1; expected an integer ≥ 0"),
        (lambda: Irrep(1, 2), "sigma is 2"),
        (lambda: NamedIrrep(0, "A", 0, 1), "size is 0; expected an integer ≥ 1"),
        (lambda: NamedIrrep(0, "A", 3, 3), "commuting is 3"),
    ],
)
def test_irreps_that_there_are_not_are_refused(made, words):
    with pytest.raises(SpectrumError, match=words):
        made()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0e", [(1, Irrep(0, 1))]),
        ("0o", [(1, Irrep(0, -1))]),
        ("1o", [(1, Irrep(1, 1))]),
        ("1e", [(1, Irrep(1, -1))]),
        ("2e+3o", [(1, Irrep(2, 1)), (1, Irrep(3, 1))]),
        ("8x0e + 12x2o", [(8, Irrep(0, 1)), (12, Irrep(2, -1))]),
        ("0x0e+1x1o", [(1, Irrep(1, 1))]),
        ("0x0e", None),
        ("", None),
        ("1o+", None),
        ("1o+x", None),
        ("1p", None),
        ("-1e", None),
        ("1.5o", None),
    ],
)
def test_the_notation_of_e3nn_is_read(text, expected):
    found = parse_irreps(text)
    assert found == (None if expected is None else tuple(expected))


@pytest.mark.parametrize("group", [SO2("z"), SO3(), O3()], ids=["SO2", "SO3", "O3"])
def test_as_few_elements_are_drawn_as_none(group):
    rng = np.random.default_rng(0)
    assert group.sample(0, rng).shape == group.rotations(0, rng).shape == (0, 3, 3)
    assert group.sample(1, rng).shape == (1, 3, 3)
    with pytest.raises(SpectrumError, match="n is -1; expected an integer ≥ 0"):
        group.sample(-1, rng)
