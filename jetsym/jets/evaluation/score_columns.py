"""Columns of scores and of the truth in files: which ones they are, and of which classes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import DataError, closest, shorten
from jetsym.jets.io.columns import Columns
from jetsym.jets.io.formats.layout import LABEL_II, Layout, labels
from jetsym.jets.io.formats.padded import TOP
from jetsym.jets.schema import CLASSES_II
from jetsym.reading import parse_json

__all__ = ["FLAG", "Truth", "matching", "rows_with_scores", "truth_of", "two_classes"]

#: Columns that number the classes, in the order in which they are looked for, with the classes if these are known.
NUMBERS: dict[str, tuple[str, ...] | None] = {
    "label": None,
    LABEL_II: CLASSES_II,
    "_label_": None,
    "is_signal_new": TOP,
}
#: What the names of flags begin with, before that of their class.
FLAG = "label_"

#: What turns the class that it stands before into the one for which a score is smaller: not_QCD, TvsQCD.
DENIAL = re.compile(r"(?:not|non|anti|vs|versus|against|veto|(?:^|[^A-Za-z])no)[^0-9A-Za-z]*$", re.IGNORECASE)


def rows_with_scores(columns: Columns, names: Sequence[str]) -> tuple[Columns, int]:
    """Leave out the rows without any score (NaN in all), as of jets that could not be used; and count them."""
    values = [columns.read(name) for name in names]
    lost = np.all([np.isnan(one) for one in values if one.dtype.kind == "f"] or [np.zeros(0, np.bool_)], axis=0)
    if not lost.any() or lost.all() or not all(one.dtype.kind == "f" for one in values):
        return columns, 0
    whole = columns.load
    return replace(columns, load=lambda name: np.asarray(whole(name))[~lost]), int(lost.sum())


def matching(names: Sequence[str], patterns: Sequence[str]) -> dict[str, str]:
    """Return the columns that fit, in the order of the patterns, each with what its class is called."""
    found: dict[str, str] = {}
    for pattern in patterns:
        stars = re.compile("".join("(.*)" if part == "*" else re.escape(part) for part in re.split(r"(\*)", pattern)))
        for name in names:
            if name not in found and (name == pattern or fnmatchcase(name, pattern)):
                match = stars.fullmatch(name) if "*" in pattern else None
                found[name] = "".join(match.groups()) if match is not None else name
    if len(found) > 1 and set(found) <= set(patterns):  # named one by one
        words = [name.split("_") for name in found]
        shared = next((n for n, each in enumerate(zip(*words, strict=False)) if len(set(each)) > 1), 0)
        return {name: "_".join(name.split("_")[shared:]) for name in found}
    return found


def two_classes(
    path: Any, column: str, raw: str, truth: Truth, background: str | Sequence[str] | None
) -> tuple[str, ...]:
    """Return (background, signal) of a single column of scores."""
    if truth.classes is None:
        return ("background", raw)
    if len(truth.classes) != 2:
        raise DataError(
            f"{path}: the column {column!r} alone tells two classes apart, and the labels are of {len(truth.classes)}: "
            f"{', '.join(truth.classes[:12])}; name the columns of all classes"
        )
    first, second = truth.classes
    named = max((name for name in truth.classes if _ends_in(column, name, raw)), key=len, default=None)
    denied = named is not None and DENIAL.search(column.removesuffix(named)) is not None
    against = (background,) if isinstance(background, str) else tuple(background or ())
    if named is not None and not denied:
        signal = named
    elif len(against) == 1 and against[0] in truth.classes:
        signal = first if against[0] == second else second
    elif truth.counted and not (denied and named == second):
        signal = second
    else:
        raise DataError(
            f"{path}: the column {column!r} may be larger for {first!r} or for {second!r}; expected a name ending in "
            "one of them as a word, labels 0 and 1, or the one for which it is smaller as background=… (--background)"
        )
    return (second, first) if signal == first else (first, second)


def _ends_in(column: str, name: str, raw: str) -> bool:
    """Tell whether a class is the last word of a column's name, or what stands for ``*`` in it."""
    begins = "(?<=[a-z])" if name[:1].isupper() else "(?!)"  # as in scoreQCD
    return raw == name or re.search(rf"(?:^|[^0-9A-Za-z]|{begins}){re.escape(name)}$", column) is not None


class Truth(NamedTuple):
    """What labels are called, the names of the classes if these are known, the numbers, and whether the file has them.

    Those that it has may tell background (0) and signal (1) apart.
    """

    shown: str
    classes: tuple[str, ...] | None
    number: NDArray[np.int64]
    counted: bool = False


def truth_of(path: Any, columns: Columns, found: Mapping[str, str], label: str | None) -> Truth:
    """Find the labels."""
    names = [name for name in columns.names if name not in found]
    if label is not None and "*" not in label:
        if label not in names:
            raise DataError(f"{path}: there is no column {label!r} of labels; {closest(label, names)}")
        return _numbered(path, columns, label)
    if label is not None:
        flags = {name: raw.removeprefix(FLAG) for name, raw in matching(names, [label]).items()}
        if len(flags) < 2:
            raise DataError(f"{path}: {label} fits {len(flags)} columns of labels; expected one for every class")
        return _flagged(path, columns, flags)
    if "label" in names:
        return _numbered(path, columns, "label")
    flags = {name: name.removeprefix(FLAG) for name in names if name.startswith(FLAG) or name in found.values()}
    if len(flags) > 1:
        return _flagged(path, columns, flags)
    numbers = next((name for name in NUMBERS if name in names), None)
    if numbers is None:
        raise DataError(
            f"{path}: there are no labels, neither numbers ({', '.join(NUMBERS)}) nor flags ({FLAG}…); name their "
            f"column, or a pattern of flags, with label=… (--label): there is {', '.join(names[:20]) or 'nothing else'}"
        )
    return _numbered(path, columns, numbers)


def _flagged(path: Any, columns: Columns, flags: Mapping[str, str]) -> Truth:
    """Return the number of the flag that is 1."""
    classes = tuple(flags.values())
    number = labels(path, {name: columns.read(name) for name in flags}, Layout(tuple(flags), classes, ()))
    assert number is not None
    return Truth(f"the flags {', '.join(list(flags)[:3])}{', …' if len(flags) > 3 else ''}", classes, number)


def _numbered(path: Any, columns: Columns, name: str) -> Truth:
    """Return numbers as they are, and names as numbers."""
    values = columns.read(name)
    if values.dtype.kind in "SU":
        classes, number = np.unique(values.astype(str), return_inverse=True)
        return Truth(name, tuple(each.removeprefix(FLAG) for each in classes.tolist()), number.astype(np.int64))
    with np.errstate(invalid="ignore"):
        whole = values.astype(np.int64) if values.dtype.kind in "fiub" else None
    if whole is None or not np.array_equal(values, whole):
        raise DataError(f"{path}: the column {name!r} holds no whole numbers; expected these, or names")
    known = columns.facts.get("label_classes")
    if name == "label" and known is not None:
        try:
            return Truth(name, tuple(map(str, parse_json(known))), whole, counted=True)
        except (ValueError, TypeError) as error:
            raise DataError(f"{path}: label_classes is {shorten(known)}; expected a list of names in JSON") from error
    return Truth(name, NUMBERS.get(name), whole, counted=True)
