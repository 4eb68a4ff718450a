"""Functions of expressions give what Python gives for the same text on awkward arrays, jet by jet."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

from jetsym.errors import ConfigError, DataError
from jetsym.jets.io.mapping.expressions import Expression
from jetsym.jets.io.mapping.functions import FUNCTIONS, Function
from jetsym.jets.io.mapping.quantities import Quantity

COUNTS = np.array([3, 1, 0, 4, 2])
FLAT = {
    "x": np.array([3.0, -1.0, 2.0, 7.5, 0.0, 4.0, -2.0, 4.0, 1.0, 6.0], "float32"),
    "k": np.array([211, -211, 22, 130, 11, 22, -13, 2112, 211, 0], "int32"),
    "mu": np.array([0, 1, 0, 0, 1, 1, 0, 0, 0, 1], "int32"),
    "odd": np.array([2.0, np.nan, 1.0, np.nan, 0.0, np.nan, -np.inf, np.nan, np.inf, 6.0], "float32"),
}
JETS = {
    "pt": np.array([500.0, 620.0, 30.0, 700.0, 80.0]),
    "flag": np.array([1, 0, 1, 1, 0], "int32"),
    "qcd": np.array([0, 1, 0, 1, 0], "float32"),
    "bits": np.array([5, 4, 2, 7, 0], "uint8"),
}
VALUES = {name: Quantity(values, COUNTS) for name, values in FLAT.items()} | {
    name: Quantity(values) for name, values in JETS.items()
}
ARRAYS = {name: ak.unflatten(values, COUNTS) for name, values in FLAT.items()} | JETS


def quantity(text: str) -> Quantity:
    return Expression.parse(text).evaluate(VALUES.__getitem__)


def check(text: str, expected: object) -> None:
    """Compare with awkward's or numpy's answer, whose None is NaN here."""
    found = quantity(text)
    if isinstance(expected, ak.Array) and expected.ndim == 2:
        assert ak.num(expected).tolist() == found.counts.tolist()
        expected = ak.flatten(expected)
    else:
        assert found.counts is None
    if isinstance(expected, ak.Array):
        expected = ak.to_numpy(ak.fill_none(expected, np.nan))
    np.testing.assert_allclose(found.values, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        "np.sqrt(np.abs(x)) + np.hypot(x, 3)",
        "np.arctan2(x, pt) - np.log1p(np.abs(k))",
        "np.where(x > 2, x, -1)",
        "np.maximum(x, k) + np.minimum(pt, x)",
        "numpy.square(x) + np.power(x, 2)",
        "ak.ones_like(x) * pt",
        "np.zeros_like(x) + pt / np.pi",
        "np.logical_and(x > 0, mu == 1)",
        "np.logical_not(x > 0) | np.logical_or(x > 5, mu == 1)",
        "np.isfinite(np.log(x))",
        "ak.num(x)",
        "ak.num(x, axis=1) + ak.count(k, axis=-1)",
        "ak.sum(x, axis=1) / pt",
        "np.sum(x, axis=-1) + ak.sum(x, 1)",
        "ak.sum(x[x > 1], axis=1)",
        "ak.prod(x, axis=1)",
        "ak.max(x, axis=1)",
        "np.min(k, axis=1)",
        "ak.mean(x, axis=1)",
        "ak.any(x > 4, axis=1)",
        "ak.all(x > 0, axis=1)",
        "ak.firsts(x)",
        "ak.firsts(x, axis=1) * 2",
        "ak.sort(x, axis=1)",
        "ak.sort(k, axis=-1, ascending=False)",
        "k[ak.argsort(x, axis=1, ascending=False)]",
        "x[ak.argsort(np.abs(k), axis=-1)] + 0",
        "k[ak.argsort(x, axis=1)[:, :2]]",
        "x[(x > 0) & (mu == 0)]",
        "x[:, :2]",
        "x[:, 1:]",
        "x[:, -2:]",
        "x[:, 1:-1]",
        "ak.sum(x[:, :2], axis=1)",
        "(x > 2) == True",
        "np.isin(bits, [4, 7])",
        "np.abs(k) * (mu != 0)",
        "ak.sort(odd, axis=1)",
        "ak.sort(odd, axis=1, ascending=False)",
        "x[ak.argsort(odd, axis=1)]",
        "x[ak.argsort(odd, axis=1, ascending=False)]",
        "ak.min(odd, axis=1)",
        "np.max(odd, axis=1)",
        "ak.max(odd, axis=1)",
        "ak.sum(odd, axis=1)",
        "((x > 2) + (k > 0)) * 3",
        "((pt > 50) + (flag == 1) + (pt < 500)) * 1",
        "(x > 2) + (mu == 1) * 0.5",
        "(x > 2) * (mu == 0) + (k > 0)",
        "((pt > 20) * (flag == 1) + (pt < 500)) * 2",
        "np.maximum(x > 2, mu == 1) + (k > 0)",
        "np.minimum(pt > 20, flag == 1) + (pt < 500)",
        "np.abs(pt > 50) + np.nan_to_num(flag == 1)",
        "np.ones_like(pt > 50) + (flag == 1)",
        "(x > 2) * 3 + (k > 0)",
        "ak.concatenate([x, odd[mu == 0], k], axis=1)",
        "ak.concatenate([ak.singletons(pt), x], 1)",
        "ak.local_index(x, 1)",
        "ak.values_astype(mu, 'bool') * 2",
        "ak.values_astype(x, 'int32') + 0",
        "np.ones_like(pt, dtype='float32')",
        "np.argmax(np.stack([pt, flag, qcd * 600], axis=1), axis=1)",
        "np.argmin(np.stack([pt, flag, qcd], -1), -1)",
        "np.sum(np.stack((flag, qcd), axis=1), axis=1) + 1",
        "np.max(np.stack([pt, 100 + flag], axis=1), axis=1)",
    ],
)
def test_as_awkward_does_it(text):
    with np.errstate(all="ignore"):
        check(text, eval(text, {"np": np, "numpy": np, "ak": ak, **ARRAYS}))  # noqa: S307  the text is this file's own


@pytest.mark.parametrize(
    ("text", "as_awkward"),
    [
        ("max(x)", "ak.max(x, axis=1)"),
        ("min(x, axis=1)", "ak.min(x, axis=1)"),
        ("max(x, 1)", "np.maximum(x, 1)"),
        ("min(x, pt, 2)", "np.minimum(np.minimum(x, pt), 2)"),
        ("np.clip(x, -0.5, 5) + clip(x, 0, k)", "np.minimum(np.maximum(x, -0.5), 5) + np.minimum(np.maximum(x, 0), k)"),
        ("max(x) - min(x)", "ak.max(x, axis=1) - ak.min(x, axis=1)"),
        ("mean(abs(x))", "ak.mean(np.abs(x), axis=1)"),
        ("any(x > 5) or all(x > 5)", "ak.any(x > 5, axis=1) | ak.all(x > 5, axis=1)"),
        ("first(x)", "ak.firsts(x)"),
        ("x[:, 0]", "ak.firsts(x)"),
        ("x[:, 1]", "ak.firsts(x[:, 1:])"),
        ("x[:, -1]", "ak.firsts(x[:, -1:])"),
        ("sort(x)", "ak.sort(x, axis=1)"),
        ("sort(x, ascending=False)[:, 0]", "ak.max(x, axis=1)"),
        ("first(k[argsort(x, ascending=False)])", "ak.firsts(k[ak.argsort(x, axis=1, ascending=False)])"),
        ("isin(abs(k), [211, 130, 2112])", "(abs(k) == 211) | (abs(k) == 130) | (abs(k) == 2112)"),
        ("isin(abs(k), 211, 13)", "(abs(k) == 211) | (abs(k) == 13)"),
        ("sum(x[isin(k, (22, 211))])", "ak.sum(x[(k == 22) | (k == 211)], axis=1)"),
        ("pt > 100 and flag", "(pt > 100) & (flag == 1)"),
        ("flag & (pt > 100)", "(flag == 1) & (pt > 100)"),
        ("(pt > 100) | qcd", "(pt > 100) | (qcd == 1)"),
        ("flag | qcd", "(flag == 1) | (qcd == 1)"),
        ("not flag and pt > 50", "(flag == 0) & (pt > 50)"),
        ("(bits & 4) == 4", "(bits & 4) == 4"),
        ("bits & 3", "bits & 3"),
        ("pt > 100 && flag == 1 || pt < 50", "(pt > 100) & (flag == 1) | (pt < 50)"),
        ("where(True, x, 0)", "x"),
        ("flag == False", "flag == 0"),
        ("pow(x, 2) + fabs(x) + atan2(x, 2)", "x**2 + np.abs(x) + np.arctan2(x, 2)"),
        ("np.log10(2 * math.pi) * x", "np.log10(2 * np.pi) * x"),
    ],
)
def test_under_names_of_their_own(text, as_awkward):
    with np.errstate(all="ignore"):
        check(text, eval(as_awkward, {"np": np, "ak": ak, **ARRAYS}))  # noqa: S307  the text is this file's own


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("ak.sum(x)", r"ak.sum without axis=1, over all particles of all jets; write ak.sum\(…, axis=1\)"),
        ("np.max(x)", "np.max without axis=1"),
        ("ak.sum(x, axis=0)", "ak.sum with axis=0; expected axis=1"),
        ("ak.sum(x, axis=pt)", "ak.sum without axis=1"),
        ("max(x, pt, axis=1)", "max with axis=1; expected"),
        ("np.sqrt(x, axis=1)", "np.sqrt with keywords"),
        ("ak.sort(x, reverse=True)", "ak.sort with 1 arguments and keywords"),
        ("ak.sort(x, ascending=flag)", "ak.sort with 1 arguments and keywords"),
        ("np.load(x)", "a call of 'np.load'"),
        ("np.random.seed(1)", "a call of 'np.random.seed'"),
        ("os.system(x)", "a call of 'os.system'"),
        ("ak.firsts", "Attribute 'ak.firsts'"),
        ("np.newaxis", "Attribute"),
        ("isin(x)", "isin with 1 arguments"),
        ("isin(x, [])", "isin with 1 arguments"),
        ("sqrt([1, 2])", "List"),
        ("x[:, flag]", "expected whole numbers that are written out"),
        ("x[:, 0.5]", "expected whole numbers that are written out"),
        ("x[:, ::2]", "whole numbers"),
        ("x[:2]", "not of the particles of each jet"),
        ("x[0, :]", "not of the particles of each jet"),
        ("x[-1]", "not of the particles of each jet"),
        ("k in [1, 2]", "the comparison In; use isin"),
    ],
)
def test_what_has_no_meaning_is_refused_by_name(text, piece):
    with pytest.raises(ConfigError, match=piece):
        Expression.parse(text)


@pytest.mark.parametrize(
    ("text", "kind", "piece"),
    [
        ("x[mu]", ConfigError, r"\[ \] of what is no condition"),
        ("pt[flag == 1]", ConfigError, "particles of something that has one value per jet"),
        ("pt[:, 0]", ConfigError, "particles of something that has one value per jet"),
        ("max(pt)", ConfigError, "max of something that has one value per jet"),
        ("ak.max(x > 2, axis=1)", ConfigError, "max of conditions; write any"),
        ("min(x > 2)", ConfigError, "min of conditions; write all"),
        ("~mu", ConfigError, "~ of something that is no condition; use 'not'"),
        ("x[argsort(x[x > 3])] + x", DataError, "lists of 3 and of 0|lists of 0 and of 3|lists of 3 and of"),
        ("x[x > 1][x > 1]", DataError, "lists of"),
        ("x[x > 3][argsort(x)]", DataError, "numbers of particles that are not there"),
    ],
)
def test_what_has_no_meaning_for_these_values_is_refused(text, kind, piece):
    with pytest.raises(kind, match=piece):
        quantity(text)


VECTORS = ("px", "py", "pz", "energy", "pt", "eta", "phi", "mass")


@pytest.mark.parametrize("part", VECTORS)
@pytest.mark.parametrize(
    "text",
    [
        "_p4_from_ptetaphie(abs(x) + 1, x / 9, k / 900, pt + 50)",
        "_p4_from_ptetaphim(pt, flag, qcd, bits)",
        "_p4_from_pxpypze(x, k, mu, pt + 3000)",
        "_p4_from_ptetaphim(abs(x) + 1, x / 9, k / 900, 1) + _p4_from_ptetaphim(pt, flag, qcd, bits)",
        "_p4_from_ptetaphim(abs(x) + 1, x / 9, k / 900, 1)[x > 1]",
    ],
)
def test_four_momenta_are_those_of_weaver(text, part):
    tools = pytest.importorskip("weaver.utils.data.tools")
    double = {name: ak.values_astype(ak.Array(values), "float64") for name, values in ARRAYS.items()}
    functions = {name: getattr(tools, name) for name in dir(tools) if name.startswith("_p4")}
    vectors = eval(text, functions | double)  # noqa: S307  the text is this file's own
    check(f"({text}).{part}", getattr(vectors, part))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sqrt(_p4_from_pxpypze(x, x, x, x))", "a four-momentum where a number is expected"),
        ("_p4_from_pxpypze(x, x, x, x) + pt", "a four-momentum where a number is expected"),
        ("_p4_from_pxpypze(x, x, x, x) > 2", "a four-momentum where a number is expected"),
        ("sum(_p4_from_pxpypze(x, x, x, x))", "sum of four-momenta"),
        ("_p4_from_pxpypze(x, x, x, x)[:, 0].mass", "one particle, as by .* of four-momenta; expected numbers"),
        ("first(_p4_from_pxpypze(x, x, x, x)).mass", "one particle, as by .* of four-momenta; expected numbers"),
        ("sum(sort(_p4_from_pxpypze(x, x, x, x)).px)", " sort of four-momenta"),
        ("x[argsort(_p4_from_pxpypze(x, x, x, x))]", " argsort of four-momenta"),
        (
            "ak.concatenate([_p4_from_pxpypze(x, x, x, x), _p4_from_pxpypze(x, x, x, x)], axis=1).px",
            "concatenate of four-momenta",
        ),
        ("np.max(np.stack([_p4_from_pxpypze(pt, pt, pt, pt), pt], axis=1), axis=1)", "np.stack of four-momenta"),
        ("_p4_from_pxpypze(pt, pt, pt, pt) & flag", "a condition of four-momenta"),
        ("x.px", "of what is no four-momentum"),
        ("_p4_from_pxpypze(x, x, x, x).charge", "Attribute"),
        ("_p4_from_pxpypze(x, x, x)", "with 3 arguments"),
        ("np.argmax(np.stack([pt, flag], axis=0), axis=1)", "np.argmax of np.stack"),
        ("np.median(np.stack([pt, flag], axis=1), axis=1)", "np.median of np.stack"),
        ("np.argmax(np.stack([x, k], axis=1), axis=1)", "several values per jet"),
        ("ak.values_astype(x, 'object')", "of an unknown type"),
        ("ak.values_astype(x, 3)", "of an unknown type"),
        ("ak.concatenate([x, pt], axis=1)", "one value per jet"),
        ("ak.concatenate([x, k])", "without axis=1"),
        ("ak.singletons(x)", "singletons of what has no value per jet"),
    ],
)
def test_what_is_no_four_momentum_and_no_stack(text, message):
    with pytest.raises(ConfigError, match=message):
        quantity(text)


@pytest.mark.parametrize("kind", [TypeError, ValueError, IndexError, OverflowError])
def test_what_numpy_cannot_compute_is_a_mistake_of_the_expression(kind, monkeypatch):
    def fail(*_, **__):
        raise kind("of shapes")

    monkeypatch.setitem(FUNCTIONS, "sqrt", Function(fail))
    told = rf"'sqrt\(pt\)' \(here\) cannot be computed \({kind.__name__}: of shapes\)"
    with pytest.raises(ConfigError, match=told):
        Expression.parse("sqrt(pt)", where="here").evaluate({"pt": Quantity(np.arange(3.0))}.get)

    def damaged(_):
        raise kind("of the file")

    with pytest.raises(kind, match="of the file"):  # what the file does not give is no mistake of the expression
        Expression.parse("exp(pt)", where="here").evaluate(damaged)


@pytest.mark.parametrize(
    "text", ["((pt > 5)) & ( flag == 1 )", "1 < pt <= 600", "(bits & 4) > 0", "not (flag & 1) == 1"]
)
def test_parentheses_make_it_plain(text):
    names = {"pt": JETS["pt"], "flag": JETS["flag"], "bits": JETS["bits"]}
    expected = {"1 < pt <= 600": "(1 < pt) & (pt <= 600)", "not (flag & 1) == 1": "(flag & 1) != 1"}.get(text, text)
    check(text, eval(expected, names))  # noqa: S307  the text is this file's own


def test_a_comment_ends_with_its_line():
    check("pt > 20\n# and pt < 500   (switched off for now)\nand flag\n", (JETS["pt"] > 20) & (JETS["flag"] == 1))
    check("(pt > 20) & # don`t ( care\n   (flag == 1) # the end", (JETS["pt"] > 20) & (JETS["flag"] == 1))
    assert Expression.parse("`jet#1` > 2").names == {"jet#1"}
    assert Expression.parse("`jet#1` > 2 # `jet#2`\n").names == {"jet#1"}
