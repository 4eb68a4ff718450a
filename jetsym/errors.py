"""The errors a user can cause. Each message names the wrong value, what was expected, and the remedy."""

from __future__ import annotations

import difflib
import errno
import math
import operator
import os
import warnings
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
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
    "ResourceError",
    "SpectrumError",
    "TerminatedError",
    "TrainingError",
    "closest",
    "expect_a",
    "expect_at_least",
    "expect_one_of",
    "is_out_of_memory",
    "is_positive",
    "lack_of",
    "lacks_explained",
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


class ResourceError(JetsymError):
    """The machine has no room on a disk, no memory or no open files left; nothing that was read is to blame."""


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


#: Number of an error of the system -> what is missing, and what helps.
_LACKS = {
    errno.ENOSPC: ("no space is left on the disk", "make room"),
    errno.EDQUOT: ("the quota on the disk is used up", "make room"),
    errno.EFBIG: ("it would be larger than files may be here", "raise the limit (ulimit -f)"),
    errno.EMFILE: ("too many files are open in this process", "raise the limit (ulimit -n)"),
    errno.ENFILE: ("too many files are open on this machine", "close some"),
    errno.ENOMEM: ("memory does not suffice", "free some"),
}

#: How libraries say that memory does not suffice, where they have no exception for it.
_COMPLAINTS = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")


def lack_of(error: BaseException, *, memory: bool = True) -> tuple[str, str] | None:
    """Say what the machine lacks, and what helps, if that is what an error, or one that it came from, is about.

    Libraries that have no exceptions with the system's numbers repeat its words. Without ``memory`` that does not
    count, as where a damaged file asks for more than there is anywhere.

    Examples
    --------
    >>> lack_of(OSError(errno.ENOSPC, "No space left on device"))
    ('no space is left on the disk', 'make room')
    >>> lack_of(RuntimeError("I/O error: No space left on device (os error 28)"))
    ('no space is left on the disk', 'make room')
    >>> lack_of(ValueError("no such branch")) is None
    True
    """
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        seen.append(cause)
        number = getattr(cause, "errno", None)
        told = "" if isinstance(cause, JetsymError) else str(cause)
        for known, said in _LACKS.items():
            if (known != errno.ENOMEM or memory) and (number == known or os.strerror(known) in told):
                return said
        if memory and is_out_of_memory(cause):
            return _LACKS[errno.ENOMEM]
        cause = cause.__cause__ or cause.__context__
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory does not suffice, on any device and from any library."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # that of torch
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _COMPLAINTS)


@contextmanager
def lacks_explained(what: str, *, memory: str | None = None) -> Iterator[None]:
    """Turn errors that are about what the machine lacks into one that says so, and leave others as they are.

    Parameters
    ----------
    what
        What cannot be done, and what became of it; the error begins with it.
    memory
        What helps where memory does not suffice.

    Raises
    ------
    ResourceError
        Disk, memory or open files do not suffice.

    Examples
    --------
    >>> with lacks_explained("a.root cannot be read"):
    ...     raise OSError(errno.EMFILE, "Too many open files")
    Traceback (most recent call last):
    jetsym.errors.ResourceError: a.root cannot be read: too many files are open in this process; raise the limit \
(ulimit -n), and run the same command again
    """
    try:
        yield
    except JetsymError:
        raise
    except Exception as error:
        lack = lack_of(error)
        if lack is None:
            raise
        if isinstance(error, OSError) and error.filename and str(error.filename) not in what:
            what = f"{what} ({error.filename})"
        remedy = memory if memory is not None and lack == _LACKS[errno.ENOMEM] else lack[1]
        raise ResourceError(f"{what}: {lack[0]}; {remedy}, and run the same command again") from error


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
