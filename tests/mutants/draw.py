"""Mutants of some source files: small changes of the code by the operators of cosmic-ray, drawn with a seed."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

__all__ = ["Mutant", "Place", "draw", "places"]

#: Places of a source text, each from one (line, column) to another.
Spans = list[tuple[tuple[int, int], tuple[int, int]]]
#: Bitwise operators, as cosmic-ray calls them.
BITWISE = ("RShift", "LShift", "BitOr", "BitAnd", "BitXor")


@dataclass(frozen=True)
class Place:
    """Where an operator of cosmic-ray can change a file: the operator, and which of its places in the file."""

    file: str
    line: int
    column: int
    operator: str
    occurrence: int


@dataclass(frozen=True)
class Mutant:
    """A file with one change: its lines before and after, and the whole text."""

    place: Place
    before: str
    after: str
    text: str

    @property
    def name(self) -> str:
        """What tells it from all others of one state of the sources."""
        return f"{self.place.file}:{self.place.line} {self.place.operator} {self.place.occurrence}"


def places(root: Path, files: Sequence[Path]) -> Iterator[Place]:
    """Yield every change that an operator can make in some files.

    Annotations are left out, as they are read by type checkers and no test runs them; and bitwise operators in the
    place of others, as numbers with a fraction have none: any test would notice.
    """
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    operators = {name: get_operator(name) for name in sorted(operator_names())}
    operators = {name: made() for name, made in operators.items() if not made.arguments() and not _is_trivial(name)}
    for file in sorted(files):
        text = file.read_text(encoding="utf-8")
        nodes, spans = list(ast_nodes(get_ast(text))), _annotations(ast.parse(text))
        for name, operator in operators.items():
            starts = [start for node in nodes for start, _ in operator.mutation_positions(node)]
            for occurrence, start in enumerate(starts):
                if not any(first <= start < last for first, last in spans):
                    yield Place(file.relative_to(root).as_posix(), *start, name, occurrence)


def _is_trivial(operator: str) -> bool:
    changed, _, into = operator.partition("/")[2].partition("_")[2].partition("_")
    return operator.endswith("NoOp") or (into in BITWISE and changed not in BITWISE)


def _annotations(tree: ast.AST) -> Spans:
    found = []
    for node in ast.walk(tree):
        for one in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if one is not None:
                found.append(((one.lineno, one.col_offset), (one.end_lineno, one.end_col_offset)))
    return found


def draw(root: Path, population: Sequence[Place], *, seed: int, count: int) -> list[Mutant]:
    """Draw places in the code, each as likely as any other, and for each of them one of its changes.

    Those drawn first do not depend on how many are. What does not compile, or is the same code in other words, is no
    mutant: another one is taken for it.
    """
    at: dict[tuple[str, int, int], list[Place]] = {}
    for place in population:
        at.setdefault((place.file, place.line, place.column), []).append(place)
    rng, spots, drawn = np.random.default_rng(seed), list(at.values()), list[Mutant]()
    for number in rng.permutation(len(spots)):
        if len(drawn) == count:
            break
        changes = (spots[number][one] for one in rng.permutation(len(spots[number])))
        mutant = next(filter(None, (_mutant(root, change) for change in changes)), None)
        if mutant is not None:
            drawn.append(mutant)
    return drawn


def _mutant(root: Path, place: Place) -> Mutant | None:
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    before, tree = _parsed(root / place.file)
    after = mutate_code(before, get_operator(place.operator)(), place.occurrence)
    try:
        if after is None or ast.dump(ast.parse(after)) == tree:
            return None
        compile(after, place.file, "exec", dont_inherit=True)
    except SyntaxError:
        return None
    return Mutant(place, *_changed(before.splitlines(), after.splitlines()), after)


@cache
def _parsed(file: Path) -> tuple[str, str]:
    text = file.read_text(encoding="utf-8")
    return text, ast.dump(ast.parse(text))


def _changed(before: list[str], after: list[str]) -> tuple[str, str]:
    """Return the lines that differ, without those that begin and end both texts."""
    shorter, start = min(len(before), len(after)), 0
    while start < shorter and before[start] == after[start]:
        start += 1
    stop = 0
    while stop < shorter - start and before[-1 - stop] == after[-1 - stop]:
        stop += 1
    old, new = before[start : len(before) - stop], after[start : len(after) - stop]
    return "\n".join(line.strip() for line in old), "\n".join(line.strip() for line in new)
