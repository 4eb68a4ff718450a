"""Expressions over the branches of a tree, such as ``hypot(px, py) / 1000``, evaluated without running any of them.

An expression is parsed to Python's syntax tree and its nodes are computed one by one with numpy. What is not in the
tables of this module is refused when the expression is parsed: no attributes, no strings, no calls but of the functions
below, no powers but small ones that are written out. Branches have one number per jet or one list per jet; where both
meet, each jet's number goes with all its particles.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from jetsym.errors import ConfigError, DataError, closest

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Expression", "Quantity", "spread"]

#: Longest text, deepest nesting and largest exponent: beyond, it is a mistake or an attack.
_LONGEST, _DEEPEST, _LARGEST_POWER = 1000, 100, 16

_ONE: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        *(np.exp, np.expm1, np.log, np.log10, np.log1p, np.sqrt, np.sign, np.floor, np.ceil, np.isfinite),
        *(np.sin, np.cos, np.tan, np.arcsin, np.arccos, np.arctan),
        *(np.sinh, np.cosh, np.tanh, np.arcsinh, np.arccosh, np.arctanh),
    )
} | {"abs": np.absolute}
_TWO: dict[str, Callable[..., Any]] = {"arctan2": np.arctan2, "hypot": np.hypot}
_MANY: dict[str, Callable[..., Any]] = {"max": np.maximum, "min": np.minimum}
#: From a jet's particles to the jet.
_OVER_PARTICLES = ("count", "sum")
_FUNCTIONS = sorted((*_ONE, *_TWO, *_MANY, *_OVER_PARTICLES, "where"))

_ARITHMETIC: dict[type[ast.operator], Callable[..., Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.true_divide,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.mod,
    ast.Pow: np.float_power,
}
_BITS: dict[type[ast.operator], Callable[..., Any]] = {ast.BitAnd: np.bitwise_and, ast.BitOr: np.bitwise_or}
_COMPARISONS: dict[type[ast.cmpop], Callable[..., Any]] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}
_ALLOWED = (
    "numbers, names of branches (`in backticks` if they are no plain words), + - * / // % **, comparisons, "
    f"& | ~ and or not, parentheses, and the functions {', '.join(_FUNCTIONS)}"
)


@dataclass(frozen=True, eq=False)
class Quantity:
    """Numbers of jets or of their particles.

    Parameters
    ----------
    values
        (B,) of the jets, (P,) of all their particles, or () a constant.
    counts
        (B,) how many particles each jet has; None for what is not of particles.
    """

    values: NDArray[Any]
    counts: NDArray[np.int64] | None = None


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
        >>> Expression.parse("open('f')")
        Traceback (most recent call last):
        ...
        jetsym.errors.ConfigError: expression: "open('f')" holds a call of 'open'; allowed are numbers, names of \
branches (`in backticks` if they are no plain words), + - * / // % **, comparisons, & | ~ and or not, parentheses, and \
the functions abs, arccos, arccosh, arcsin, arcsinh, arctan, arctan2, arctanh, ceil, cos, cosh, count, exp, expm1, \
floor, hypot, isfinite, log, log10, log1p, max, min, sign, sin, sinh, sqrt, sum, tan, tanh, where
        """
        line = " ".join(text.split())
        if not line or len(line) > _LONGEST:
            raise ConfigError(f"{where}: an expression of {len(line)} characters; expected 1 to {_LONGEST}")
        stem = "quoted"
        while stem in line:
            stem += "_"
        quoted: dict[str, str] = {}

        def name(match: re.Match[str]) -> str:
            quoted[f"{stem}{len(quoted)}"] = match[1]
            return f" {stem}{len(quoted) - 1} "

        plain = re.sub("`([^`]+)`", name, line).strip()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                root = ast.parse(plain, mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError, Warning) as error:
            raise ConfigError(f"{where}: {line!r} is no expression ({error}); allowed are {_ALLOWED}") from error
        names: set[str] = set()
        for piece in _refused(root, names):
            raise ConfigError(f"{where}: {line!r} holds {piece}; allowed are {_ALLOWED}")
        return cls(where, line, frozenset(quoted.get(name, name) for name in names), root, quoted)

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
            If an operation has no meaning for its operands.
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
            return self._value(self._root, branch)

    def __str__(self) -> str:
        return f"{self.text!r} ({self.where})"

    def _value(self, node: ast.expr, branch: Callable[[str], Quantity]) -> Quantity:
        match node:
            case ast.Constant(value):
                return Quantity(np.asarray(value))
            case ast.Name(name):
                found = branch(self._quoted.get(name, name))
                return Quantity(_widened(found.values), found.counts)
            case ast.UnaryOp(operator, operand):
                return self._unary(operator, self._value(operand, branch))
            case ast.BinOp(left, operator, right):
                operands = self._value(left, branch), self._value(right, branch)
                if type(operator) in _ARITHMETIC:
                    return self._apply(_ARITHMETIC[type(operator)], *map(_numeric, operands))
                if any(operand.values.dtype.kind == "f" for operand in operands):
                    raise ConfigError(f"{self}: & or | of fractions; put comparisons in parentheses: (a > 1) & (b > 2)")
                return self._apply(_BITS[type(operator)], *operands)
            case ast.BoolOp(operator, values):
                conditions = [self._value(value, branch) for value in values]
                return self._reduced(np.logical_and if isinstance(operator, ast.And) else np.logical_or, conditions)
            case ast.Compare(left, operators, others):
                terms = [self._value(term, branch) for term in (left, *others)]
                pairs = zip(operators, terms, terms[1:], strict=False)
                return self._reduced(np.logical_and, [self._apply(_COMPARISONS[type(o)], a, b) for o, a, b in pairs])
            case ast.Call(ast.Name(name), arguments):
                return self._call(name, [self._value(argument, branch) for argument in arguments])
        raise AssertionError(ast.dump(node))  # parse has refused all other nodes

    def _unary(self, operator: ast.unaryop, operand: Quantity) -> Quantity:
        if isinstance(operator, ast.Not):
            return self._apply(np.logical_not, operand)
        if isinstance(operator, ast.Invert):
            if operand.values.dtype != np.bool_:
                raise ConfigError(f"{self}: ~ of something that is no condition; use 'not'")
            return self._apply(np.logical_not, operand)
        return self._apply(np.negative if isinstance(operator, ast.USub) else np.positive, _numeric(operand))

    def _call(self, name: str, arguments: list[Quantity]) -> Quantity:
        if name in _OVER_PARTICLES:
            values, counts = arguments[0].values, arguments[0].counts
            if counts is None:
                raise ConfigError(f"{self}: {name} of something that has one value per jet; expected one per particle")
            if name == "count":
                return Quantity(counts)
            jets = np.repeat(np.arange(len(counts)), counts)
            return Quantity(np.bincount(jets, weights=values.astype(np.float64), minlength=len(counts)))
        if name == "where":
            return self._apply(np.where, *arguments)
        arguments = [_numeric(argument) for argument in arguments]
        if name in _MANY:
            return self._reduced(_MANY[name], arguments)
        return self._apply((_ONE | _TWO)[name], *arguments)

    def _reduced(self, function: Callable[..., Any], operands: list[Quantity]) -> Quantity:
        first, *others = operands
        for other in others:
            first = self._apply(function, first, other)
        return first

    def _apply(self, function: Callable[..., Any], *operands: Quantity) -> Quantity:
        """Apply a function to numbers, where each jet's goes with all its particles if others are of particles."""
        lists = [operand.counts for operand in operands if operand.counts is not None]
        if not lists:
            return Quantity(np.asarray(function(*(operand.values for operand in operands))))
        for other in lists[1:]:
            _same_counts(lists[0], other, str(self))
        return Quantity(function(*(spread(operand, lists[0]) for operand in operands)), lists[0])


def spread(quantity: Quantity, counts: NDArray[np.int64]) -> NDArray[Any]:
    """Spread values to particles (P,): a jet's number goes to each of its ``counts`` particles, a constant to all."""
    if quantity.counts is not None:
        return quantity.values
    if quantity.values.ndim == 0:
        return np.broadcast_to(quantity.values, counts.sum())
    return np.repeat(quantity.values, counts)


def _same_counts(one: NDArray[np.int64], other: NDArray[np.int64], what: str) -> None:
    """Refuse lists of different lengths.

    Raises
    ------
    DataError
        If they are not of one length in every jet.
    """
    if one is not other and not np.array_equal(one, other):
        jet = int(np.flatnonzero(one != other)[0])
        raise DataError(f"{what} has lists of {one[jet]} and of {other[jet]} particles in one jet; expected as many")


def _widened(values: NDArray[Any]) -> NDArray[Any]:
    """Make numbers so wide that sums of small integers do not wrap around, in the machine's byte order."""
    kind = values.dtype.kind
    return values if kind == "b" else values.astype(np.float64 if kind == "f" else np.int64)


def _numeric(quantity: Quantity) -> Quantity:
    """Turn conditions into 0 and 1."""
    if quantity.values.dtype != np.bool_:
        return quantity
    return Quantity(quantity.values.astype(np.int64), quantity.counts)


def _refused(node: ast.expr, names: set[str], depth: int = 0) -> list[str]:
    """Say what is not allowed in a syntax tree; the names in it are collected."""
    inner: list[ast.expr] = []
    match node:
        case ast.Constant(value):
            if isinstance(value, bool) or not isinstance(value, int | float):
                return [f"{value!r}, which is no number"]
            if not abs(value) < 2**63:
                return ["a number beyond 2^63"]
        case ast.Name(name):
            names.add(name)
        case ast.UnaryOp(_, operand):
            inner = [operand]
        case ast.BinOp(left, operator, right):
            if isinstance(operator, ast.Pow) and not _small(right):
                return [f"the power {_shown(right)}; expected a number of at most {_LARGEST_POWER}"]
            if type(operator) not in {**_ARITHMETIC, **_BITS}:
                return [f"the operator {type(operator).__name__}"]
            inner = [left, right]
        case ast.BoolOp(_, values):
            inner = values
        case ast.Compare(left, operators, others):
            if wrong := [type(operator).__name__ for operator in operators if type(operator) not in _COMPARISONS]:
                return [f"the comparison {wrong[0]}"]
            inner = [left, *others]
        case ast.Call(function, arguments, keywords):
            if not isinstance(function, ast.Name) or function.id not in _FUNCTIONS:
                return [f"a call of {_shown(function)}"]
            if keywords or not _fits(function.id, len(arguments)):
                return [f"{function.id} with {len(arguments)} arguments{' and keywords' if keywords else ''}"]
            inner = arguments
        case _:
            return [f"{type(node).__name__} {_shown(node)}"]
    if depth == _DEEPEST:
        return [f"more than {_DEEPEST} levels of nesting"]
    return [piece for one in inner for piece in _refused(one, names, depth + 1)]


def _shown(node: ast.expr) -> str:
    try:
        return repr(ast.unparse(node)[:40])
    except RecursionError:
        return "nested too deeply to show"


def _small(exponent: ast.expr) -> bool:
    value = exponent.operand if isinstance(exponent, ast.UnaryOp) else exponent
    number = value.value if isinstance(value, ast.Constant) else None
    return isinstance(number, int | float) and not isinstance(number, bool) and abs(number) <= _LARGEST_POWER


def _fits(function: str, arguments: int) -> bool:
    if function in _MANY:
        return arguments >= 2
    return arguments == (3 if function == "where" else 2 if function in _TWO else 1)
