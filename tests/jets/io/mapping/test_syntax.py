"""What may stand in expressions, and what is refused."""

from __future__ import annotations

import pytest

from jetsym.errors import ConfigError
from jetsym.jets.io.mapping.expressions import Expression


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("__import__('os').system('true')", "a call of \"__import__('os').system\""),
        ("__import__('os')", "a call of '__import__'"),
        ("eval(a)", "a call of 'eval'"),
        ("a.tofile", "Attribute 'a.tofile'"),
        ("a.__class__.__mro__", "Attribute"),
        ("().__class__", "Attribute"),
        ("a[0]", "['0'], which is not of the particles of each jet; expected [:, 0], [:, :5], [condition]"),
        ("lambda: a", "Lambda"),
        ("[x for x in a]", "ListComp '[x for x in a]'"),
        ("{a for a in a}", "SetComp"),
        ("sum(x for x in a)", "GeneratorExp"),
        ("(a := 3)", "NamedExpr"),
        ("a if b else n", "IfExp"),
        ("f'{a}'", "JoinedStr"),
        ("'text' + a", "'text', which is no number"),
        ("a + b'x'", "which is no number"),
        ("a + 1j", "1j, which is no number"),
        ("a == None", "None, which is no number"),
        ("9 ** 9 ** 9", "the power '9 ** 9'"),
        ("a ** 1000000", "the power '1000000'; expected a number of at most 16"),
        ("a ** n", "the power 'n'"),
        ("a ** -" + "-" * 900 + "1", "the power nested too deeply to show"),
        ("9" * 400, "a number beyond 2^63"),
        ("1e999", "a number beyond 2^63"),
        ("a << 40", "the operator LShift"),
        ("a @ n", "the operator MatMult"),
        ("a ^ n", "the operator ^, a power to ROOT and 'either, or' to Python; write ** or !="),
        ("a in b", "the comparison In"),
        ("a is b", "the comparison Is"),
        ("sqrt(a, n)", "sqrt with 2 arguments"),
        ("min()", "min with 0 arguments"),
        ("where(b, a)", "where with 2 arguments"),
        ("sqrt(x=a)", "sqrt with 0 arguments and keywords"),
        ("hypot(*a)", "hypot with 1 arguments"),
        ("max(*a, *n)", "Starred '*a'"),
        ("sqrt(**a)", "keywords"),
        ("not " * 200 + "a", "more than 100 levels of nesting"),
        ("(" * 300 + "a" + ")" * 300, "is no expression"),
        ("a; n", "is no expression"),
        ("import os", "is no expression"),
        ("a = 3", "is no expression"),
        ("`a", "is no expression"),
        ("a +", "is no expression"),
        ("1_000 a", "is no expression"),
        ("a\x00", "is no expression"),
        ("yield a", "is no expression"),
        ("", "an expression of 0 characters; expected 1 to 10000"),
        ("a" + "+a" * 6000, "an expression of 12001 characters; expected 1 to 10000"),
    ],
)
def test_what_is_not_allowed_is_refused_when_it_is_parsed(text, piece):
    with pytest.raises(ConfigError) as caught:
        Expression.parse(text, where="map.yaml: jet.pt")
    message = str(caught.value)
    assert message.startswith("map.yaml: jet.pt: ")
    assert piece in message
    if "characters" not in piece:
        assert "allowed are numbers, names of branches" in message


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("pt > 5 & flag == 1", "compares '5 & flag' without parentheses"),
        ("flag == 1 & pt > 5", "'1 & pt'"),
        ("pt > 5 | flag == 1", r"'5 \| flag'"),
        ("pt > 5 & flag", "'5 & flag'"),
        ("flag & pt > 5", "'flag & pt'"),
        ("(pt > 5) & flag == 1", r"'\(pt > 5\) & flag'"),
        ("flag == 1 & (pt > 5)", r"'1 & \(pt > 5\)'"),
        ("pt > 5 & flag == 1 & bits < 3", "'5 & flag'"),
        ("pt > 5 and (flag == 1 | bits < 3)", r"'1 \| bits'"),
        ("not (pt > 5 & flag == 1)", "'5 & flag'"),
        ("where(pt > 5 & flag == 1, 1, 0)", "'5 & flag'"),
        ("sum(x > 5 & mu == 1)", "'5 & mu'"),
        ("x[x > 5 & mu == 1]", "'5 & mu'"),
        ("bits & 4 == 4", "'bits & 4'"),
        ("4 == bits & 4", "'bits & 4'"),
        ("~flag == 1", "'~flag'"),
        ("pt > 5 & ~flag == 1", "'5 & ~flag'"),
        ("`jet.x` > 5 & `né` == 1", "'5 & `né`'"),
        ("5 < pt == flag", "in several directions at once: '5 < pt == flag'"),
        ("pt > flag < 3", "in several directions at once"),
        ("flag != bits != 3", "in several directions at once"),
    ],
)
def test_what_root_and_python_read_differently_is_refused(text, piece):
    with pytest.raises(ConfigError, match=f"(?s){piece}"):
        Expression.parse(text)


@pytest.mark.parametrize("text", ["pt > 20 # and pt < 500  and flag", "pt # in GeV / 1000", "#", "pt * 2 # -"])
def test_a_comment_in_one_line_is_refused(text):
    with pytest.raises(ConfigError, match=r"holds #.* would swallow what follows; write a block with \|"):
        Expression.parse(text)
