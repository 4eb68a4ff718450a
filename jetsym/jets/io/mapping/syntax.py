"""What may stand in an expression, and what is refused when it is parsed."""

from __future__ import annotations

import ast
import math
import re
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jetsym.errors import ConfigError
from jetsym.jets.io.mapping.functions import FUNCTIONS, Function, over_stack
from jetsym.jets.io.mapping.momenta import FOUR_MOMENTA, PARTS

__all__ = [
    "ALLOWED",
    "ARITHMETIC",
    "BITS",
    "COMPARISONS",
    "CONSTANTS",
    "LONGEST",
    "QUOTED",
    "Check",
    "dotted",
    "is_of_all",
    "one_line",
    "taken_apart",
    "whole_number",
]

#: Longest text, deepest nesting and largest exponent: beyond, it is a mistake or an attack.
LONGEST, _DEEPEST, _LARGEST_POWER = 10_000, 100, 16

ARITHMETIC: dict[type[ast.operator], Callable[..., Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.true_divide,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.mod,
    ast.Pow: np.float_power,
}
BITS: dict[type[ast.operator], tuple[str, Callable[..., Any]]] = {
    ast.BitAnd: ("&", np.bitwise_and),
    ast.BitOr: ("|", np.bitwise_or),
}
COMPARISONS: dict[type[ast.cmpop], Callable[..., Any]] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}
#: Comparisons that may stand in one chain, such as 0 < a <= 3.
_DIRECTIONS = ({ast.Lt, ast.LtE}, {ast.Gt, ast.GtE}, {ast.Eq})
CONSTANTS = {"np.pi": math.pi, "math.pi": math.pi, "np.e": math.e, "np.inf": math.inf, "np.nan": math.nan}
_TYPES = ("bool", "int8", "int16", "int32", "int64", "float32", "float64")
_MODULES = {"numpy": "np", "awkward": "ak"}
ALLOWED = (
    "numbers, names of branches (`in backticks` if they are no plain words), + - * / // % **, comparisons, "
    "& | ~ and or not, parentheses, x[:, 0], x[condition], and functions, among them abs, sqrt, hypot, clip, where, "
    "isin and, over particles, count, sum, max, min, first, sort; numpy's and awkward's with np. or ak. as well"
)

#: A branch in backticks; a comment, or a branch of which a # is part.
QUOTED = "`([^`]+)`"
_COMMENT = re.compile(r"`[^`\n]+`|#[^\n]*")


def one_line(text: str, where: str) -> str:
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


def dotted(node: ast.expr) -> str:
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


def taken_apart(node: ast.Call) -> tuple[Function, list[ast.expr], dict[str, Any]]:
    """Return the function of a call, its arguments and its options.

    Raises
    ------
    ValueError
        If there is no such function, or it does not take them; the message says what.
    """
    name = dotted(node.func)
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


def is_of_all(node: ast.AST) -> bool:
    """Return whether a piece of an expression depends on particles behind the first ones."""
    match node:
        case ast.Call(func) if dotted(func) != "np.stack":  # which goes over numbers of jets
            function, arguments, _ = taken_apart(node)
            return function.of_all and (len(arguments) == 1 or function.most is not None or function.lists)
        case ast.Subscript(_, ast.Tuple([ast.Slice(), ast.Slice(start, stop)])):
            return bool(whole_number(start)) or (whole_number(stop) or 0) < 0
        case ast.Subscript(_, ast.Tuple([ast.Slice(), number])):
            return whole_number(number) != 0
        case ast.Subscript():
            return True
    return False


def _over_stack(name: str, node: ast.Call) -> tuple[Function, list[ast.expr]] | None:
    """Read np.argmax(np.stack([a, b, …], axis=1), axis=1) and its like, over several numbers of each jet."""
    match node.args:
        case [ast.Call(func, [ast.List(columns) | ast.Tuple(columns), *_]) as inner, *_] if dotted(func) == "np.stack":
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


def whole_number(node: ast.expr | None) -> int | None:
    """Return the number that stands in [ ], if there is one."""
    return None if node is None else _constant(node)


class Check:
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
            case ast.Attribute() if dotted(node) in CONSTANTS:
                pass
            case ast.Attribute(value, name) if name in PARTS and dotted(value) not in ("np", "numpy", "ak", "awkward"):
                inner = [value]
            case ast.UnaryOp(_, operand):
                inner = [operand]
            case ast.BinOp(left, operator, right):
                if isinstance(operator, ast.Pow) and not _small(right):
                    return [f"the power {_shown(right)}; expected a number of at most {_LARGEST_POWER}"]
                if isinstance(operator, ast.BitXor):
                    return ["the operator ^, a power to ROOT and 'either, or' to Python; write ** or !="]
                if type(operator) not in {**ARITHMETIC, **BITS}:
                    return [f"the operator {type(operator).__name__}"]
                inner = [left, right]
            case ast.BoolOp(_, values):
                inner = values
            case ast.Compare(left, operators, others):
                if wrong := [type(operator).__name__ for operator in operators if type(operator) not in COMPARISONS]:
                    return [f"the comparison {wrong[0]}{'; use isin' if wrong[0] in ('In', 'NotIn') else ''}"]
                inner = [left, *others]
                self._compare(node, inner)
            case ast.Call():
                try:
                    inner = taken_apart(node)[1]
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
            joined = (isinstance(term, ast.BinOp) and type(term.op) in BITS) or (
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
