"""Wrong values for a parameter, by what its annotation names, and what a call with one of them ended in.

Nothing here asks the code that refuses: annotations are read as text, word by word.
"""

from __future__ import annotations

import inspect
import math
import re
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, fields, is_dataclass
from io import StringIO
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import numpy as np

from jetsym.errors import JetsymError, shorten

__all__ = ["Outcome", "Trial", "call", "gaps", "trials", "try_out"]

#: Seconds after which a call is taken to hang.
PATIENCE = 20

#: Of no type that any parameter names, but for "Any"; each in turn, in place of anything.
OF_NO_TYPE: tuple[Any, ...] = (object(), b"bytes", 1j)
#: By a word of an annotation: values of that type, none of which is one that would do everywhere.
BY_TYPE: dict[str, tuple[Any, ...]] = {
    "int": (-1, 0),
    "float": (2.5, -1.0, 0.0, math.nan, math.inf, -math.inf),
    "bool": (True,),
    "str": ("no such thing", ""),
    "None": (None,),
    "Sequence": ([], [None], [object()]),
    "Mapping": ({}, {"no such thing": object()}, {None: None}),
    "array": (np.zeros((2, 5, 7)), np.full((3, 3), np.nan), np.zeros(0), np.array(["text"])),
}
#: Words that mean what another one does; a number may be a whole one.
ALIKE = {
    **dict.fromkeys(("list", "tuple", "Iterable", "Paths"), "Sequence"),
    "dict": "Mapping",
    **dict.fromkeys(("NDArray", "ArrayLike", "Array", "Tensor", "ndarray"), "array"),
    **dict.fromkeys(("Path", "Literal", "Axis"), "str"),
}
#: Names of several types at once.
ALIASES = {
    "MappingFile": "str | None",
    "Kind": "str | tuple | Callable",
    "AugmentationConfig": "AugmentationConfig | Mapping",
    "PenaltyConfig": "PenaltyConfig | Mapping",
    "Options": "Mapping",
    "Values": "Mapping",
}
#: Annotations that are checked by hand: anything may stand there, and a function is called as it is.
OPEN = {"Any", "Callable", "Take", "object"}

#: Parameters that may hold what is not finite, as their descriptions say, or hold whatever is given.
GAPS: dict[str, tuple[str, ...]] = {"jetsym.training.Moment": ("loss",), "jetsym.repair.Repair": ("config",)}

How = Literal["refused", "answered", "unnamed", "accepted", "raw", "hung"]


#: Right values that take longer than a call may: torch compiles for a minute.
LONG = (("compile", True),)


@dataclass(frozen=True)
class Trial:
    """A wrong value for one parameter.

    Parameters
    ----------
    function, parameter
        Where it goes.
    value
        What is given.
    is_type
        Whether the type is one that the annotation names, so that an answer may be right.
    """

    function: str
    parameter: str
    value: Any
    is_type: bool

    def __str__(self) -> str:
        return f"{self.function}({self.parameter}={shorten(self.value)})"


@dataclass(frozen=True)
class Outcome:
    """How a call ended.

    Parameters
    ----------
    how
        "refused" by a :class:`~jetsym.JetsymError`; "answered", by a result without a number that is not finite;
        "unnamed", refused with words that name neither parameter nor value; "accepted", of a wrong type, or with
        numbers that are not finite; "raw", by an error of Python or of a library; "hung".
    words
        The message, or the last lines of the traceback.
    """

    trial: Trial
    how: How
    words: str = ""


def call(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call a function with arguments by name, those of ``*names``, which it then begins with, as a list."""
    named = dict(arguments)
    parameters = inspect.signature(function).parameters.values()
    several = named.pop(next((one.name for one in parameters if one.kind is one.VAR_POSITIONAL), ""), ())
    return function(*(several if isinstance(several, list | tuple) else [several]), **named)


def trials(name: str, function: Callable[..., Any]) -> Iterator[Trial]:
    """Yield wrong values for every parameter of a function that says what it takes."""
    for one in inspect.signature(function).parameters.values():
        if one.kind is one.VAR_KEYWORD or one.annotation is one.empty:
            continue
        for value, is_type in _values(one.annotation):
            if any(one.name == name and value is long for name, long in LONG):
                continue
            yield Trial(name, one.name, value, is_type)


def _written(annotation: Any) -> str:
    """Return an annotation as it stands in a file."""
    if annotation is NoneType:
        return "None"
    if get_origin(annotation) in (Union, UnionType):
        return " | ".join(map(_written, get_args(annotation)))
    names = [annotation, *(getattr(annotation, name, None) for name in ("__forward_arg__", "__name__"))]
    return next((name for name in names if isinstance(name, str)), str(annotation))


def _values(annotation: Any) -> Iterator[tuple[Any, bool]]:
    text = _written(annotation)
    for alias, meant in ALIASES.items():
        text = re.sub(rf"\b{alias}\b", meant, text)
    outer = re.sub(r"\[[^\[\]]*\]", "", re.sub(r"\[[^\[\]]*\]", "", re.sub(r"\[[^\[\]]*\]", "", text)))
    words = set(re.findall(r"\w+", outer))
    known = {ALIKE.get(word, word) for word in words}
    anything = bool(words & OPEN)
    if "float" in known:
        known.add("int")
    if "array" in known:  # of numbers; lists of them are arrays, too
        known |= {"Sequence", "int", "float"} if "ArrayLike" in words else {"Sequence"}
    if known & {"Sequence"}:
        known |= {"array"}
    for kind, values in BY_TYPE.items():
        for value in values:
            whole_ok = kind == "float" and value == 2.5 and "int" in known and "float" not in known
            yield value, not whole_ok and (anything or kind in known)
    for value in OF_NO_TYPE:
        yield value, anything
    if not anything:
        yield print, False
        yield int, False


def gaps(found: Any) -> frozenset[str]:
    """Return the places of a result that hold no number, as of what cannot be told."""
    return frozenset(_not_finite(found, set()))


def try_out(
    trial: Trial, function: Callable[..., Any], arguments: Mapping[str, Any], known: frozenset[str] = frozenset()
) -> Outcome:
    """Call a function with one wrong value among right ones.

    Parameters
    ----------
    trial
        The wrong value.
    function, arguments
        Those of a right call.
    known
        The :func:`gaps` that the result of the right call has as well.
    """
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()), _in_time():
            warnings.simplefilter("ignore")
            found = call(function, {**arguments, trial.parameter: trial.value})
    except JetsymError as error:
        text = str(error)
        named = trial.parameter in text or str(trial.value) in text or shorten(trial.value) in text
        return Outcome(trial, "refused" if named or trial.is_type else "unnamed", text)
    except _HungError:
        return Outcome(trial, "hung")
    except (Exception, SystemExit) as error:
        if traceback.extract_tb(error.__traceback__)[-1].filename.endswith("right.py"):
            return Outcome(trial, "answered", "an error of the model that is called")
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = next((f for f in reversed(traceback.extract_tb(error.__traceback__)) if "/jetsym/" in f.filename), last)
        return Outcome(trial, "raw", f"{type(error).__name__}: {error} [{where.filename}:{where.lineno}]")
    if not trial.is_type:
        return Outcome(trial, "accepted", type(found).__name__)
    gap = trial.parameter in GAPS.get(trial.function, ())
    wrong = None if gap else next(iter(gaps(found) - known), None)
    return Outcome(trial, "answered" if wrong is None else "accepted", f"{wrong or ''} {type(found).__name__}")


class _HungError(BaseException):
    """A call takes too long."""


@contextmanager
def _in_time() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise _HungError

    former = signal.signal(signal.SIGALRM, stop)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)


def _not_finite(found: Any, seen: set[int]) -> Iterator[str]:
    """Yield where a result holds a number that is none."""
    if id(found) in seen:
        return
    seen.add(id(found))
    if isinstance(found, float) and math.isnan(found):
        yield "nan"
    elif is_dataclass(found) and not isinstance(found, type):
        for one in fields(found):
            yield from (f"{one.name}: {words}" for words in _not_finite(getattr(found, one.name), seen))
    elif hasattr(found, "dtype") and hasattr(found, "shape"):
        array = np.asarray(found.detach().cpu() if hasattr(found, "detach") else found)
        if array.dtype.kind in "fc" and np.isnan(array).any():
            yield "an array with nan"
    elif isinstance(found, Mapping):
        for key, value in found.items():
            yield from (f"{key}: {one}" for one in _not_finite(value, seen))
    elif isinstance(found, list | tuple):
        for value in found:
            yield from _not_finite(value, seen)
