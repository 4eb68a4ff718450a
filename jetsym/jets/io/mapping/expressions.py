"""Expressions over the branches of a tree, such as ``hypot(px, py) / 1000``, evaluated without running any of them.

An expression is parsed to Python's syntax tree and its nodes are computed one by one with numpy. What is not in the
tables of this module and of :mod:`jetsym.jets.io.mapping.functions` is refused when the expression is parsed: no
attributes but the parts of four-momenta, no strings but names of types, no powers but small ones that are written out.
Branches have one number per jet or one list per jet; where both meet, each jet's number goes with all its particles. As
to numpy, the sum of two conditions is their "or".

Precedence is Python's, but for what ROOT reads otherwise: ``a > 5 & b == 1`` means ``a > (5 & b) == 1`` to Python and
``(a > 5) & (b == 1)`` to ROOT, and is refused. ``&&`` and ``||`` are ``and`` and ``or``. A line may end with a comment
in a text of several lines, as in YAML's ``|`` and ``>``; elsewhere nobody can tell where it ends, and ``#`` is refused.
"""

from __future__ import annotations

import ast
import math
import re
import reprlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from jetsym.errors import ConfigError, DataError, closest
from jetsym.jets.io.mapping.functions import (
    FUNCTIONS,
    Function,
    Quantity,
    apply,
    as_condition,
    filtered,
    numeric,
    over_stack,
    place,
)
from jetsym.jets.io.mapping.momenta import FOUR_MOMENTA, PARTS, part

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Expression"]

#: Longest text, deepest nesting and largest exponent: beyond, it is a mistake or an attack.
_LONGEST, _DEEPEST, _LARGEST_POWER = 10_000, 100, 16

_ARITHMETIC: dict[type[ast.operator], Callable[..., Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.true_divide,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.mod,
    ast.Pow: np.float_power,
}
_BITS: dict[type[ast.operator], tuple[str, Callable[..., Any]]] = {
    ast.BitAnd: ("&", np.bitwise_and),
    ast.BitOr: ("|", np.bitwise_or),
}
_COMPARISONS: dict[type[ast.cmpop], Callable[..., Any]] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}
#: Comparisons that may stand in one chain, such as 0 < a <= 3.
_DIRECTIONS = ({ast.Lt, ast.LtE}, {ast.Gt, ast.GtE}, {ast.Eq})
_CONSTANTS = {"np.pi": math.pi, "math.pi": math.pi, "np.e": math.e, "np.inf": math.inf, "np.nan": math.nan}
_TYPES = ("bool", "int8", "int16", "int32", "int64", "float32", "float64")
_MODULES = {"numpy": "np", "awkward": "ak"}
_ALLOWED = (
    "numbers, names of branches (`in backticks` if they are no plain words), + - * / // % **, comparisons, "
    "& | ~ and or not, parentheses, x[:, 0], x[condition], and functions, among them abs, sqrt, hypot, clip, where, "
    "isin and, over particles, count, sum, max, min, first, sort; numpy's and awkward's with np. or ak. as well"
)


@dataclass(frozen=True, eq=False)
class Expression:
    """An expression that has been parsed and found harmless.

    Parameters
    ----------
    where
        Where it stands, for messages.
    text
        As it was written.
    names
        The branches that it is of.
    """

    where: str
    text: str
    names: frozenset[str]
    _root: ast.expr = field(repr=False)
    _quoted: dict[str, str] = field(repr=False)

    @classmethod
    def parse(cls, text: str, *, where: str = "expression") -> Expression:
        """Parse an expression.

        Raises
        ------
        ConfigError
            If it is none, or holds something that is not allowed; the message names the expression and the piece.

        Examples
        --------
        >>> sorted(Expression.parse("where(`Jet.PT` > 5, px, 0)").names)
        ['Jet.PT', 'px']
        >>> Expression.parse("(pt > 5) & tight == 1")
        Traceback (most recent call last):
        ...
        jetsym.errors.ConfigError: expression: '(pt > 5) & tight == 1' compares '(pt > 5) & tight' without \
parentheses, which Python and ROOT read differently; put every comparison in parentheses, such as (a > 5) & (b == 1), \
or write 'and', 'or', 'not'
        """
        line = _one_line(text, where)
        if not line or len(line) > _LONGEST:
            raise ConfigError(f"{where}: an expression of {len(line)} characters; expected 1 to {_LONGEST}")
        stem = "quoted"
        while stem in line:
            stem += "_"
        quoted: dict[str, str] = {}

        def name(match: re.Match[str]) -> str:
            quoted[f"{stem}{len(quoted)}"] = match[1]
            return f" {stem}{len(quoted) - 1} "

        plain = re.sub(_QUOTED, name, line).replace("&&", " and ").replace("||", " or ").strip()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                root = ast.parse(plain, mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError, Warning) as error:
            raise ConfigError(f"{where}: {line!r} is no expression ({error}); allowed are {_ALLOWED}") from error
        check = _Check(plain.encode(), quoted)
        for piece in check.refused(root):
            raise ConfigError(f"{where}: {line!r} holds {piece}; allowed are {_ALLOWED}")
        if check.ambiguous:
            raise ConfigError(f"{where}: {line!r} compares {check.ambiguous}")
        return cls(where, line, frozenset(quoted.get(name, name) for name in check.names), root, quoted)

    @property
    def is_of_all(self) -> bool:
        """Whether what it gives of the first particles of a jet depends on those behind them.

        So it is with sums, numbers and extremes of all, lists that are sorted or joined, and parts of lists that do not
        begin with the first.

        Examples
        --------
        >>> texts = "pt / ak.sum(pt, axis=1)", "max(pt)", "max(pt, 1)", "pt[pt > 1]", "pt[:, :2]", "first(pt)"
        >>> [Expression.parse(text).is_of_all for text in texts]
        [True, True, False, True, False, False]
        """
        return any(_is_of_all(node) for node in ast.walk(self._root))

    def check_names(self, known: list[str], *, source: str) -> None:
        """Refuse branches that are not there.

        Raises
        ------
        DataError
            If one is not; the message names those that are nearest.
        """
        for name in sorted(self.names.difference(known)):
            raise DataError(f"{source} has no branch {name!r}, of which {self}; {closest(name, sorted(known))}")

    def evaluate(self, branch: Callable[[str], Quantity]) -> Quantity:
        """Compute its value from those of branches, in float64 and int64; a branch alone stays as it is stored.

        Raises
        ------
        ConfigError
            If an operation has no meaning for its operands, of whatever kind the exception of numpy.
        DataError
            If two lists of particles do not have the same lengths.

        Examples
        --------
        >>> counts = np.array([2, 1])
        >>> values = {"pt": Quantity(np.array([3.0, 4.0, 5.0]), counts), "jet": Quantity(np.array([10.0, 5.0]))}
        >>> Expression.parse("pt / jet").evaluate(values.get).values
        array([0.3, 0.4, 1. ])
        >>> Expression.parse("sum(pt) < jet and count(pt) > 1").evaluate(values.get).values
        array([ True, False])
        """
        with np.errstate(all="ignore"):  # what is not finite is found where it is used
            if isinstance(self._root, ast.Name):
                return branch(self._quoted.get(self._root.id, self._root.id))
            # Branches are read first: what fails there is of the file, and what fails after it of the expression.
            read = {name: branch(name) for name in sorted(self.names)}
            try:
                return self._value(self._root, read.__getitem__)
            except (TypeError, ValueError, IndexError, ArithmeticError) as error:
                reason = str(error).partition("\n")[0]
                raise ConfigError(f"{self} cannot be computed ({type(error).__name__}: {reason})") from error

    def __str__(self) -> str:
        return f"{self.text!r} ({self.where})"

    def _value(self, node: ast.expr, branch: Callable[[str], Quantity]) -> Quantity:
        match node:
            case ast.Constant(value):
                return Quantity(np.asarray(value))
            case ast.Name(name):
                found = branch(self._quoted.get(name, name))
                return replace(found, values=_widened(found.values))
            case ast.Attribute(value, name):
                if _dotted(node) in _CONSTANTS:
                    return Quantity(np.asarray(_CONSTANTS[_dotted(node)]))
                return part(self._value(value, branch), name, str(self))
            case ast.UnaryOp(operator, operand):
                return self._unary(operator, self._value(operand, branch))
            case ast.BinOp(left, operator, right):
                operands = self._value(left, branch), self._value(right, branch)
                if type(operator) in _ARITHMETIC:
                    # The sum of two conditions is "or" to numpy.
                    either = type(operator) is ast.Add and all(one.values.dtype == np.bool_ for one in operands)
                    return self._apply(_ARITHMETIC[type(operator)], *(operands if either else map(numeric, operands)))
                return self._bits(*_BITS[type(operator)], *operands)
            case ast.BoolOp(operator, values):
                conditions = [self._value(value, branch) for value in values]
                return self._reduced(np.logical_and if isinstance(operator, ast.And) else np.logical_or, conditions)
            case ast.Compare(left, operators, others):
                terms = [self._value(term, branch) for term in (left, *others)]
                pairs = zip(operators, terms, terms[1:], strict=False)
                return self._reduced(np.logical_and, [self._apply(_COMPARISONS[type(o)], a, b) for o, a, b in pairs])
            case ast.Call():
                function, arguments, options = _taken_apart(node)
                return function.compute(str(self), *(self._value(one, branch) for one in arguments), **options)
            case ast.Subscript(value, ast.Tuple([ast.Slice(), ast.Slice(start, stop)])):
                return place(self._value(value, branch), str(self), _whole(start), _whole(stop), alone=False)
            case ast.Subscript(value, ast.Tuple([ast.Slice(), number])):
                return place(self._value(value, branch), str(self), _whole(number), None, alone=True)
            case ast.Subscript(value, index):
                return filtered(self._value(value, branch), self._value(index, branch), str(self))
        raise AssertionError(ast.dump(node))  # parse has refused all other nodes

    def _unary(self, operator: ast.unaryop, operand: Quantity) -> Quantity:
        if isinstance(operator, ast.Not):
            return self._apply(np.logical_not, operand)
        if isinstance(operator, ast.Invert):
            if operand.values.dtype != np.bool_:
                raise ConfigError(f"{self}: ~ of something that is no condition; use 'not'")
            return self._apply(np.logical_not, operand)
        return self._apply(np.negative if isinstance(operator, ast.USub) else np.positive, numeric(operand))

    def _bits(self, sign: str, function: Callable[..., Any], *operands: Quantity) -> Quantity:
        """Join whole numbers bit by bit, and conditions, or flags that are 0 and 1, as conditions."""
        if any(operand.values.dtype.kind != "i" for operand in operands):
            what = f"{self}: what stands beside {sign} (comparisons there go in parentheses, as in (a > 1) & (b > 2))"
            operands = tuple(as_condition(operand, what) for operand in operands)
        return self._apply(function, *operands)

    def _reduced(self, function: Callable[..., Any], operands: list[Quantity]) -> Quantity:
        first, *others = operands
        for other in others:
            first = self._apply(function, first, other)
        return first

    def _apply(self, function: Callable[..., Any], *operands: Quantity) -> Quantity:
        return apply(function, str(self), *operands)


#: A branch in backticks; a comment, or a branch of which a # is part.
_QUOTED = "`([^`]+)`"
_COMMENT = re.compile(r"`[^`\n]+`|#[^\n]*")


def _one_line(text: str, where: str) -> str:
    """Join the lines of an expression without the comments at their ends.

    Raises
    ------
    ConfigError
        If there is a comment in a single line, of which nobody can tell where it ends.
    """
    comments = [found[0] for found in _COMMENT.finditer(text) if found[0].startswith("#")]
    if comments and "\n" not in text:
        raise ConfigError(
            f"{where}: {reprlib.repr(text)} holds #, and a comment in one line (or in quotes) "
            "would swallow what follows; write a block with |, where every comment ends with its line"
        )
    return " ".join(_COMMENT.sub(lambda found: "" if found[0].startswith("#") else found[0], text).split())


def _widened(values: NDArray[Any]) -> NDArray[Any]:
    """Make numbers so wide that sums of small integers do not wrap around, in the machine's byte order."""
    kind = values.dtype.kind
    if values.dtype.itemsize == 8 and kind == "u" and (values > np.iinfo(np.int64).max).any():
        raise DataError(f"numbers up to {values.max()} are not computed with; expected less than 2^63")
    return values if kind == "b" else values.astype(np.float64 if kind == "f" else np.int64)


def _dotted(node: ast.expr) -> str:
    """Return a name such as np.sqrt, with the short names of modules; empty for anything else."""
    match node:
        case ast.Name(name):
            return name
        case ast.Attribute(ast.Name(module), name):
            return f"{_MODULES.get(module, module)}.{name}"
        case ast.Attribute(
            ast.Attribute(ast.Name("awkward" | "ak"), "JaggedArray"), "ones_like" | "zeros_like" as name
        ):
            return f"ak.{name}"  # as awkward called its lists before version 1
    return ""


def _taken_apart(node: ast.Call) -> tuple[Function, list[ast.expr], dict[str, Any]]:
    """Return the function of a call, its arguments and its options.

    Raises
    ------
    ValueError
        If there is no such function, or it does not take them; the message says what.
    """
    name = _dotted(node.func)
    if (stacked := _over_stack(name, node)) is not None:
        return *stacked, {}
    known = FUNCTIONS | FOUR_MOMENTA
    if name not in known:
        raise ValueError(f"a call of {_shown(node.func)}")
    function, arguments = known[name], list(node.args)
    options = {str(keyword.arg): _constant(keyword.value) for keyword in node.keywords}
    if "dtype" in function.options and len(arguments) == 2 and "dtype" not in options:
        options["dtype"] = _constant(arguments.pop())
    if "dtype" in options and not isinstance(options["dtype"], str):
        raise ValueError(f"{name} of an unknown type")
    if function.axis == "needed" and len(arguments) == 2 and "axis" not in options:
        options["axis"] = _constant(arguments.pop())
    if function.lists:
        lists = ast.List | ast.Tuple
        arguments = [one for each in arguments for one in (each.elts if isinstance(each, lists) else [each])]
    if not function.least <= len(arguments) <= (function.most or len(arguments)):
        raise ValueError(f"{name} with {len(arguments)} arguments{' and keywords' if options else ''}")
    over = options.pop("axis", None)
    if over is None and function.axis == "needed":
        raise ValueError(f"{name} without axis=1, over all particles of all jets; write {name}(…, axis=1)")
    if over is not None and (over not in (1, -1) or not function.axis or (len(arguments) > 1 and not function.lists)):
        raise ValueError(
            f"{name} with axis={over}; expected axis=1, over the particles of each jet"
            if function.axis
            else f"{name} with keywords"
        )
    for option, value in options.items():
        if option not in function.options or value is None:
            raise ValueError(f"{name} with {len(arguments)} arguments and keywords")
    return function, arguments, options


def _is_of_all(node: ast.AST) -> bool:
    """Return whether a piece of an expression depends on particles behind the first ones."""
    match node:
        case ast.Call(func) if _dotted(func) != "np.stack":  # which goes over numbers of jets
            function, arguments, _ = _taken_apart(node)
            return function.of_all and (len(arguments) == 1 or function.most is not None or function.lists)
        case ast.Subscript(_, ast.Tuple([ast.Slice(), ast.Slice(start, stop)])):
            return bool(_whole(start)) or (_whole(stop) or 0) < 0
        case ast.Subscript(_, ast.Tuple([ast.Slice(), number])):
            return _whole(number) != 0
        case ast.Subscript():
            return True
    return False


def _over_stack(name: str, node: ast.Call) -> tuple[Function, list[ast.expr]] | None:
    """Read np.argmax(np.stack([a, b, …], axis=1), axis=1) and its like, over several numbers of each jet."""
    match node.args:
        case [ast.Call(func, [ast.List(columns) | ast.Tuple(columns), *_]) as inner, *_] if _dotted(func) == "np.stack":
            function = over_stack(name.removeprefix("np."))
            axes = [_axis(inner), _axis(node)]
            if function is None or not all(axis in (1, -1) for axis in axes) or not columns:
                raise ValueError(f"{name} of np.stack; expected such as np.argmax(np.stack([a, b], axis=1), axis=1)")
            return function, columns
    return None


def _axis(node: ast.Call) -> Any:
    """Return what is said of the axis, by its name or as the second of two arguments."""
    said = [*node.args[1:], *(keyword.value for keyword in node.keywords)]
    named = all(keyword.arg == "axis" for keyword in node.keywords)
    return _constant(said[0]) if len(said) == 1 and named else None


def _constant(node: ast.expr) -> Any:
    """Return the number that stands there, or the name of a type of numbers; or None."""
    match node:
        case ast.Constant(bool() | int() | float() as value):
            return value
        case ast.Constant(str() as value) if value in _TYPES:
            return value
        case ast.UnaryOp(ast.USub(), ast.Constant(int() | float() as value)):
            return -value
    return None


def _whole(node: ast.expr | None) -> int | None:
    return None if node is None else _constant(node)


class _Check:
    """A look through a syntax tree for what is not allowed."""

    def __init__(self, text: bytes, quoted: Mapping[str, str]) -> None:
        self._text, self._quoted = text, quoted
        self.names: set[str] = set()
        self.ambiguous = ""

    def refused(self, node: ast.expr, depth: int = 0) -> list[str]:
        """Say what is not allowed; the names are collected, and the first comparison that can be read in two ways."""
        inner: list[ast.expr] = []
        match node:
            case ast.Constant(value):
                if not isinstance(value, bool | int | float):
                    return [f"{value!r}, which is no number"]
                if not abs(value) < 2**63:
                    return ["a number beyond 2^63"]
            case ast.Name(name):
                self.names.add(name)
            case ast.Attribute() if _dotted(node) in _CONSTANTS:
                pass
            case ast.Attribute(value, name) if name in PARTS and _dotted(value) not in ("np", "numpy", "ak", "awkward"):
                inner = [value]
            case ast.UnaryOp(_, operand):
                inner = [operand]
            case ast.BinOp(left, operator, right):
                if isinstance(operator, ast.Pow) and not _small(right):
                    return [f"the power {_shown(right)}; expected a number of at most {_LARGEST_POWER}"]
                if isinstance(operator, ast.BitXor):
                    return ["the operator ^, a power to ROOT and 'either, or' to Python; write ** or !="]
                if type(operator) not in {**_ARITHMETIC, **_BITS}:
                    return [f"the operator {type(operator).__name__}"]
                inner = [left, right]
            case ast.BoolOp(_, values):
                inner = values
            case ast.Compare(left, operators, others):
                if wrong := [type(operator).__name__ for operator in operators if type(operator) not in _COMPARISONS]:
                    return [f"the comparison {wrong[0]}{'; use isin' if wrong[0] in ('In', 'NotIn') else ''}"]
                inner = [left, *others]
                self._compare(node, inner)
            case ast.Call():
                try:
                    inner = _taken_apart(node)[1]
                except ValueError as error:
                    return [str(error)]
            case ast.Subscript(value, index):
                if wrong_index := _wrong_index(index):
                    return [wrong_index]
                inner = [value] if isinstance(index, ast.Tuple) else [value, index]
            case _:
                return [f"{type(node).__name__} {_shown(node)}"]
        if depth == _DEEPEST:
            return [f"more than {_DEEPEST} levels of nesting"]
        return [piece for one in inner for piece in self.refused(one, depth + 1)]

    def _compare(self, node: ast.Compare, terms: list[ast.expr]) -> None:
        """Remember a comparison that people, or Python and ROOT, read in two ways."""
        for term in terms:
            joined = (isinstance(term, ast.BinOp) and type(term.op) in _BITS) or (
                isinstance(term, ast.UnaryOp) and isinstance(term.op, ast.Invert)
            )
            if joined and not self._in_parentheses(term):
                self.ambiguous = self.ambiguous or (
                    f"{self._words(term)} without parentheses, which Python and ROOT read differently; put every "
                    "comparison in parentheses, such as (a > 5) & (b == 1), or write 'and', 'or', 'not'"
                )
        kinds = {type(operator) for operator in node.ops}
        if len(node.ops) > 1 and not any(kinds <= direction for direction in _DIRECTIONS):
            self.ambiguous = self.ambiguous or (
                f"in several directions at once: {self._words(node)}; write each comparison by itself, joined by 'and'"
            )

    def _in_parentheses(self, node: ast.expr) -> bool:
        before = self._text[: node.col_offset].rstrip()
        after = self._text[node.end_col_offset :].lstrip()
        return before.endswith(b"(") and after.startswith(b")")

    def _words(self, node: ast.expr) -> str:
        """Return a piece as it was written."""
        piece = " ".join(self._text[node.col_offset : node.end_col_offset].decode().split())
        for short, name in reversed([*self._quoted.items()]):
            piece = piece.replace(short, f"`{name}`")
        return reprlib.repr(piece)


def _wrong_index(index: ast.expr) -> str | None:
    """Say what is wrong with what stands in [ ], if it is not for the particles of each jet."""
    match index:
        case ast.Tuple([ast.Slice(None, None, None), ast.Slice(start, stop, None)]):
            numbers = [one for one in (start, stop) if one is not None]
        case ast.Tuple([ast.Slice(None, None, None), number]):
            numbers = [number]
        case ast.Tuple() | ast.Slice() | ast.Constant() | ast.UnaryOp(ast.USub()):
            return (
                f"[{_shown(index)}], which is not of the particles of each jet; expected [:, 0], [:, :5], [condition]"
            )
        case _:
            return None
    if all(type(_constant(number)) is int for number in numbers):
        return None
    return f"[{_shown(index)}]; expected whole numbers that are written out"


def _shown(node: ast.expr) -> str:
    try:
        return repr(ast.unparse(node)[:40])
    except RecursionError:
        return "nested too deeply to show"


def _small(exponent: ast.expr) -> bool:
    value = exponent.operand if isinstance(exponent, ast.UnaryOp) else exponent
    number = value.value if isinstance(value, ast.Constant) else None
    return isinstance(number, int | float) and not isinstance(number, bool) and abs(number) <= _LARGEST_POWER
