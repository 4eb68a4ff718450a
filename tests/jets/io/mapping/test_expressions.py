"""Expressions are what Python would compute from the same text, and nothing in them is ever run."""

from __future__ import annotations

import numpy as np
import pytest

from jetsym.errors import ConfigError, DataError
from jetsym.jets.io.mapping.expressions import Expression
from jetsym.jets.io.mapping.quantities import Quantity

COUNTS = np.array([2, 0, 3])
JETS = {
    "a": np.array([1.5, -2.0, 4.0], "float32"),
    "n": np.array([3, 250, 7], "uint8"),
    "b": np.array([True, False, True]),
}
PARTICLES = {"p": np.array([3.0, 4.0, -1.0, 0.5, 2.0], ">f4"), "k": np.array([1, 2, 3, 4, 5], "int32")}
VALUES = {name: Quantity(values) for name, values in JETS.items()} | {
    name: Quantity(values, COUNTS) for name, values in PARTICLES.items()
}


def value(text: str) -> np.ndarray:
    return Expression.parse(text).evaluate(VALUES.__getitem__).values


# What numpy gives for the same text: brackets stand where Python's precedence of & and | would need them.
@pytest.mark.parametrize(
    ("text", "as_numpy"),
    [
        ("a + 2 * n - 1", None),
        ("-a ** 2 / (n % 4 + 1) // 0.5", None),
        ("2 ** -3 + a ** 0.5", None),
        ("n - 251", None),  # would wrap around as uint8
        ("(a > 1) & (n < 5) | ~b", None),
        ("0 < a < 3", "(0 < a) & (a < 3)"),
        ("a > 1 and not b or n == 250", "(a > 1) & (b == 0) | (n == 250)"),
        ("n & 2", None),
        ("b + b", None),
        ("where(b, a, -a) != 1.5", None),
        ("min(a, n, 3) + max(a, 0)", "np.minimum(np.minimum(a, n), 3) + np.maximum(a, 0)"),
        ("hypot(a, 2) + arctan2(a, n)", None),
        ("sqrt(abs(a)) + log(n) + log1p(n) + log10(n) + exp(-n) + expm1(a)", None),
        ("sin(a) + cos(a) + tan(a) + sinh(a) + cosh(a) + tanh(a) + floor(a) + ceil(a) + sign(a)", None),
        ("arcsin(a / 9) + arccos(a / 9) + arctan(a) + arcsinh(a) + arccosh(n) + arctanh(a / 9)", None),
        ("isfinite(sqrt(a))", None),
        ("7", None),
    ],
)
def test_against_numpy(text, as_numpy):
    names = {name: values.astype(np.float64 if values.dtype.kind == "f" else int) for name, values in JETS.items()}
    names["b"] = JETS["b"]
    with np.errstate(all="ignore"):
        expected = eval(as_numpy or text, {**vars(np), "np": np, **names})  # noqa: S307  the text is this file's own
    found = value(text)
    assert found.dtype.kind == np.asarray(expected).dtype.kind
    np.testing.assert_array_equal(found, expected)


def test_jets_go_with_all_their_particles():
    np.testing.assert_array_equal(value("p * n"), [9, 12, -7, 3.5, 14])
    np.testing.assert_array_equal(value("where(b, p, 0)"), [3, 4, -1, 0.5, 2])
    np.testing.assert_array_equal(value("max(k, a)"), [1.5, 2, 4, 4, 5])
    np.testing.assert_array_equal(value("sum(p)"), [7, 0, 1.5])
    np.testing.assert_array_equal(value("sum(k > 1) / max(count(k), 1)"), [0.5, 0, 1])
    assert Expression.parse("p > a").evaluate(VALUES.__getitem__).counts is COUNTS
    others = VALUES | {"q": Quantity(np.zeros(5), np.array([2, 1, 2]))}
    with pytest.raises(DataError, match=r"'p \+ q' .* lists of 0 and of 1 particles in one jet; expected as many"):
        Expression.parse("p + q").evaluate(others.__getitem__)


def test_a_branch_alone_is_as_it_is_stored():
    assert value("p") is PARTICLES["p"]
    assert value(" ( n ) ").dtype == np.uint8
    assert value("p + 0").dtype == np.float64


def test_numbers_beyond_whole_numbers_are_refused():
    large = {"u": Quantity(np.array([1, 2**63 + 5], np.uint64))}
    assert Expression.parse("u").evaluate(large.get).values[1] == 2**63 + 5
    with pytest.raises(DataError, match="numbers up to 9223372036854775813"):
        Expression.parse("u > 5").evaluate(large.get)


@pytest.mark.parametrize("text", ["i * i * 4", "i * i + i * i + i * i", "np.square(2 * i)", "-(i * i) - i * i - i * i"])
def test_whole_numbers_that_int64_does_not_hold_are_refused(text):
    numbers = {"i": Quantity(np.array([3, 2**31 - 1], np.int32), np.array([2]))}
    with pytest.raises(DataError, match=r"whole numbers up to .*e\+19; expected less than 2\^63"):
        Expression.parse(text).evaluate(numbers.get)
    assert Expression.parse("i * i").evaluate(numbers.get).values[1] == (2**31 - 1) ** 2
    as_real = Expression.parse(text.replace("i", "(1.0 * i)")) if "sq" not in text else Expression.parse("(2.0 * i)**2")
    assert abs(as_real.evaluate(numbers.get).values[1]) > 2**63


def test_products_of_several_numbers_of_jets_that_int64_does_not_hold_are_refused():
    numbers = {"n": Quantity(np.array([3, 2**31 - 1]))}
    for text in ("np.prod(np.stack([n, n, 8], axis=1), axis=1)", "np.sum(np.stack([n*n, n*n, n*n], axis=1), axis=1)"):
        with pytest.raises(DataError, match="expected less than"):
            Expression.parse(text).evaluate(numbers.get)
    product = Expression.parse("np.prod(np.stack([n, n], axis=1), axis=1)").evaluate(numbers.get)
    assert product.values.tolist() == [9, (2**31 - 1) ** 2]


def test_names_that_are_no_plain_words():
    expression = Expression.parse("`Jet.PT` / `lambda` + quoted0", where="jet.pt")
    assert expression.names == {"Jet.PT", "lambda", "quoted0"}
    values = {"Jet.PT": 8.0, "lambda": 2.0, "quoted0": 1.0}
    assert expression.evaluate(lambda name: Quantity(np.array([values[name]]))).values == [5.0]
    assert Expression.parse("`Jet.PT`").evaluate(lambda name: Quantity(np.array([name]))).values == ["Jet.PT"]
    with pytest.raises(
        DataError, match=r"f.root has no branch 'Jet.PT', of which .*\(jet.pt\); the nearest are 'Jet_PT'"
    ):
        expression.check_names(["Jet_PT", "lambda", "quoted0"], source="f.root")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a & b",
            r"what stands beside & \(comparisons there go in parentheses.*\) is no condition \(it is 1.5 somewhere\)",
        ),
        ("n | (a > 1)", r"beside \|.* is no condition \(it is 3 somewhere\)"),
        ("~n", "~ of something that is no condition; use 'not'"),
        ("sum(a)", "sum of something that has one value per jet; expected one per particle"),
    ],
)
def test_operations_without_a_meaning(text, message):
    with pytest.raises(ConfigError, match="expression.*" + message):
        value(text)
