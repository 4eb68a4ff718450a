"""Expressions over the branches of a tree, such as ``hypot(px, py) / 1000``, evaluated without running any of them.

An expression is parsed to Python's syntax tree and its nodes are computed one by one with numpy. What is not in the
tables of :mod:`jetsym.jets.io.mapping.syntax` and :mod:`jetsym.jets.io.mapping.functions` is refused when the
expression is parsed: no attributes but the parts of four-momenta, no strings but names of types, no powers but small
ones that are written out. Branches have one number per jet or one list per jet; where both meet, each jet's number goes
with all its particles. As to numpy, the sum of two conditions is their "or", and their product their "and".

Precedence is Python's, but for what ROOT reads otherwise: ``a > 5 & b == 1`` means ``a > (5 & b) == 1`` to Python and
``(a > 5) & (b == 1)`` to ROOT, and is refused. ``&&`` and ``||`` are ``and`` and ``or``. A line may end with a comment
in a text of several lines, as in YAML's ``|`` and ``>``; elsewhere nobody can tell where it ends, and ``#`` is refused.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import ConfigError, DataError, closest
from jetsym.jets.io.mapping.momenta import part
from jetsym.jets.io.mapping.quantities import Quantity, apply, are_conditions, as_condition, filtered, numeric, place
from jetsym.jets.io.mapping.syntax import (
    ALLOWED,
    ARITHMETIC,
    BITS,
    COMPARISONS,
    CONSTANTS,
    LONGEST,
    QUOTED,
    Check,
    dotted,
    is_of_all,
    one_line,
    taken_apart,
    whole_number,
)

__all__ = ["Expression"]


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
        line = one_line(text, where)
        if not line or len(line) > LONGEST:
            raise ConfigError(f"{where}: an expression of {len(line)} characters; expected 1 to {LONGEST}")
        stem = "quoted"
        while stem in line:
            stem += "_"
        quoted: dict[str, str] = {}

        def name(match: re.Match[str]) -> str:
            quoted[f"{stem}{len(quoted)}"] = match[1]
            return f" {stem}{len(quoted) - 1} "

        plain = re.sub(QUOTED, name, line).replace("&&", " and ").replace("||", " or ").strip()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                root = ast.parse(plain, mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError, Warning) as error:
            raise ConfigError(f"{where}: {line!r} is no expression ({error}); allowed are {ALLOWED}") from error
        check = Check(plain.encode(), quoted)
        for piece in check.refused(root):
            raise ConfigError(f"{where}: {line!r} holds {piece}; allowed are {ALLOWED}")
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
        return any(is_of_all(node) for node in ast.walk(self._root))

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
                if dotted(node) in CONSTANTS:
                    return Quantity(np.asarray(CONSTANTS[dotted(node)]))
                return part(self._value(value, branch), name, str(self))
            case ast.UnaryOp(operator, operand):
                return self._unary(operator, self._value(operand, branch))
            case ast.BinOp(left, operator, right):
                operands = self._value(left, branch), self._value(right, branch)
                if type(operator) in ARITHMETIC:
                    # The sum of two conditions is "or" to numpy, and their product "and": a condition again.
                    stays = type(operator) in (ast.Add, ast.Mult) and are_conditions(operands)
                    return self._apply(ARITHMETIC[type(operator)], *(operands if stays else map(numeric, operands)))
                return self._bits(*BITS[type(operator)], *operands)
            case ast.BoolOp(operator, values):
                conditions = [self._value(value, branch) for value in values]
                return self._reduced(np.logical_and if isinstance(operator, ast.And) else np.logical_or, conditions)
            case ast.Compare(left, operators, others):
                terms = [self._value(term, branch) for term in (left, *others)]
                pairs = zip(operators, terms, terms[1:], strict=False)
                return self._reduced(np.logical_and, [self._apply(COMPARISONS[type(o)], a, b) for o, a, b in pairs])
            case ast.Call():
                function, arguments, options = taken_apart(node)
                return function.compute(str(self), *(self._value(one, branch) for one in arguments), **options)
            case ast.Subscript(value, ast.Tuple([ast.Slice(), ast.Slice(start, stop)])):
                return place(
                    self._value(value, branch), str(self), whole_number(start), whole_number(stop), alone=False
                )
            case ast.Subscript(value, ast.Tuple([ast.Slice(), number])):
                return place(self._value(value, branch), str(self), whole_number(number), None, alone=True)
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


def _widened(values: NDArray[Any]) -> NDArray[Any]:
    """Make numbers so wide that sums of small integers do not wrap around, in the machine's byte order."""
    kind = values.dtype.kind
    if values.dtype.itemsize == 8 and kind == "u" and (values > np.iinfo(np.int64).max).any():
        raise DataError(f"numbers up to {values.max()} are not computed with; expected less than 2^63")
    return values if kind == "b" else values.astype(np.float64 if kind == "f" else np.int64)
