"""The errors a user can cause. Each message names the wrong value, what was expected, and the remedy."""

from __future__ import annotations

import difflib
import math
import operator
import warnings
from collections.abc import Collection, Iterable
from importlib import import_module
from numbers import Real
from types import ModuleType
from typing import Any, ClassVar

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DownloadError",
    "FaultError",
    "JetsymError",
    "LockedError",
    "MissingDependencyError",
    "ProbeError",
    "SpectrumError",
    "TerminatedError",
    "TrainingError",
    "closest",
    "expect_a",
    "expect_at_least",
    "expect_one_of",
    "is_positive",
    "refuse_unknown",
    "require",
    "shorten",
]


class JetsymError(Exception):
    """Base of every error that jetsym raises on purpose; the command line prints it as one line.

    ``status`` is what the command line then exits with.
    """

    status: ClassVar[int] = 1


class DataError(JetsymError):
    """A file or an array does not hold what was asked of it."""


class ConfigError(JetsymError):
    """An option or a configuration value is not one that can be used."""


class CheckpointError(JetsymError):
    """A run directory or a checkpoint cannot be loaded."""


class DownloadError(JetsymError):
    """A file cannot be fetched, or is not the one that was meant."""


class SpectrumError(JetsymError):
    """A group, an irrep, a rule or a response does not fit the spectrum estimator."""


class ProbeError(JetsymError):
    """A model, a layer or its inputs cannot be probed as asked."""


class TrainingError(JetsymError):
    """Training has gone wrong in a way that going on cannot repair."""


class FaultError(JetsymError):
    """A check has found what it looks for; ``status`` is one of its own, for continuous integration."""

    status: ClassVar[int] = 3


class LockedError(JetsymError):
    """Another process is writing where this one was to write."""


class TerminatedError(JetsymError):
    """The process was asked to end (SIGTERM), and what it did has been kept."""

    status: ClassVar[int] = 143  # 128 + 15, as a shell says of a process that died of SIGTERM


class MissingDependencyError(JetsymError, ImportError):
    """An optional package is not installed; the message holds the pip line that installs it."""

    @classmethod
    def of(cls, package: str, *, extra: str, purpose: str) -> MissingDependencyError:
        """Return the error for a package of one of jetsym's extras.

        Examples
        --------
        >>> print(MissingDependencyError.of("fastjet", extra="generate", purpose="jetsym generate"))
        jetsym generate needs the package 'fastjet', which is not installed; install it with: \
python -m pip install 'jetsym[generate]'
        """
        return cls(
            f"{purpose} needs the package {package!r}, which is not installed; "
            f"install it with: python -m pip install 'jetsym[{extra}]'"
        )


def closest(name: str, valid: Iterable[str], *, limit: int = 5) -> str:
    """Say which of the valid names come nearest to a wrong one, for the end of an error message.

    Examples
    --------
    >>> closest("part_ps", ["part_px", "part_pz", "jet_pt"])
    "the nearest are 'part_pz', 'part_px'"
    >>> closest("charge", [])
    'there is none'
    """
    names = list(valid)
    if not names:
        return "there is none"
    near = difflib.get_close_matches(str(name), names, n=limit, cutoff=0.6)
    if near:
        return "the nearest are " + ", ".join(repr(item) for item in near)
    shown = ", ".join(repr(item) for item in names[: 4 * limit])
    return f"there is {shown}" + (", …" if len(names) > 4 * limit else "")


def expect_at_least(
    name: str, value: Any, least: int, error: type[JetsymError] = ConfigError, *, otherwise: str = ""
) -> None:
    """Refuse what is no integer, or too small; ``otherwise`` says what else may stand there.

    Examples
    --------
    >>> expect_at_least("l_max", 2.5, 0, otherwise="'auto' or ")
    Traceback (most recent call last):
    jetsym.errors.ConfigError: l_max is 2.5; expected 'auto' or an integer ≥ 0
    """
    try:
        fits = not isinstance(value, bool) and operator.index(value) >= least
    except TypeError:
        fits = False
    if not fits:
        raise error(f"{name} is {value!r}; expected {otherwise}an integer ≥ {least}")


def expect_one_of(name: str, value: Any, allowed: Collection[Any], error: type[JetsymError] = ConfigError) -> None:
    """Refuse a value that is none of those allowed.

    Examples
    --------
    >>> expect_one_of("rule", "cubic", ["lebedev", "icosahedral"])
    Traceback (most recent call last):
    jetsym.errors.ConfigError: rule is 'cubic'; expected one of 'lebedev', 'icosahedral'
    """
    try:
        known = bool(value in allowed)
    except (TypeError, ValueError):  # of what has no hash, and of arrays
        known = False
    if not known:
        raise error(f"{name} is {shorten(value)}; expected one of {', '.join(map(repr, allowed))}")


def is_positive(value: Any) -> bool:
    """Tell whether a value is a finite real number above 0, and neither a truth value nor text.

    Examples
    --------
    >>> is_positive(0.5), is_positive(True), is_positive("0.5"), is_positive(float("inf"))
    (True, False, False, False)
    """
    return isinstance(value, Real) and not isinstance(value, bool) and 0 < float(value) < math.inf


def shorten(value: Any) -> str:
    """Return a value as Python writes it, in one line of 80 characters at most.

    Examples
    --------
    >>> shorten([1, 2]), len(shorten("x" * 200))
    ('[1, 2]', 80)
    """
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:79]}…"


def expect_a(name: str, value: Any, kind: Any, error: type[JetsymError] = ConfigError) -> None:
    """Refuse what is no instance of a class.

    Examples
    --------
    >>> expect_a("row", 3, str)
    Traceback (most recent call last):
    jetsym.errors.ConfigError: row is 3; expected a str
    """
    if not isinstance(value, kind):
        raise error(f"{name} is {shorten(value)}; expected a {getattr(kind, '__name__', kind)}")


def refuse_unknown(option: str, name: Any, names: Collection[str], error: type[JetsymError] = ConfigError) -> None:
    """Refuse a name that is none of those known, and say which come nearest.

    Examples
    --------
    >>> refuse_unknown("--finding", "drifft", ["drift", "leakage"])
    Traceback (most recent call last):
    jetsym.errors.ConfigError: --finding is 'drifft'; the nearest are 'drift'
    """
    if not isinstance(name, str) or name not in names:
        raise error(f"{option} is {name!r}; {closest(str(name), names)}")


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import a module of a package of one of jetsym's extras, without its warnings of what will be deprecated.

    Raises
    ------
    MissingDependencyError
        It is not installed; the message says how to install it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # which no caller can help
            return import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise MissingDependencyError.of(package, extra=extra, purpose=purpose) from None
