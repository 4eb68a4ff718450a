"""Saved results: JSON files that say their kind and format, written whole or not at all, and read in any format so far.

A file names the digest of its content, so that a value that has been damaged is noticed; older files name none. What is
read is compared with the types that the fields of a result name, see :mod:`jetsym.forms`.

A result derives from :class:`Stored`. When the meaning of its JSON form changes, its ``FORMAT`` is raised, and
:data:`UPGRADES` gets a function that makes the dictionary of the former format one of the new.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, Self

from jetsym.arguments import checked
from jetsym.errors import DataError, JetsymError, shorten
from jetsym.files import check_out, write_json
from jetsym.forms import as_plain, expect_form, made_of
from jetsym.reading import as_json, expect_path, from_json, parse_json, read_text

__all__ = ["UPGRADES", "Stored", "one_against_the_rest", "read_json"]

#: The entry of a file that names the digest of all others.
DIGEST = "digest"


class Stored:
    """A result that is kept as JSON: a dataclass, by its fields, or by a ``_content`` and ``_read`` of its own."""

    #: What the JSON form is called, and its version, raised when its meaning changes.
    KIND: ClassVar[str]
    FORMAT: ClassVar[int]

    def _content(self) -> dict[str, Any]:
        """Return all of it but kind and format as values that JSON can hold."""
        return {name: as_plain(getattr(self, name)) for name in self._fields()}

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> Self:
        """Return the result whose :meth:`to_dict` gave ``data``; KeyError, TypeError or ValueError if none did."""
        return made_of(cls, {name: data[name] for name in cls._fields()})

    def _check(self) -> None:
        """Refuse what was read and does not hold together: KeyError, TypeError or ValueError."""

    @classmethod
    def _fields(cls) -> list[str]:
        return [field.name for field in fields(cls)]  # type: ignore[arg-type]  # of a dataclass

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as values that JSON can hold."""
        return {"kind": self.KIND, "format": self.FORMAT, **self._content()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the result whose :meth:`to_dict` gave ``data``, now or in an older version of jetsym.

        Raises
        ------
        DataError
            The dictionary is not that of such a result, or that of a newer jetsym.
        """
        if not isinstance(data, Mapping):
            raise DataError(f"a report is {shorten(data)}; expected the dictionary that to_dict of {cls.__name__} gave")
        kind, found = data.get("kind", cls.KIND), data.get("format", 0)
        if kind != cls.KIND:
            raise DataError(f"a report of kind {kind!r}; expected {cls.KIND!r}: read it with its own class")
        if not isinstance(found, int) or found > cls.FORMAT:
            raise DataError(
                f"a report of kind {kind!r} and format {found!r}; this jetsym reads formats up to {cls.FORMAT}: read "
                "it with the version of jetsym that wrote it, or a newer one"
            )
        try:
            for former in range(found, cls.FORMAT):
                data = UPGRADES[kind, former](dict(data))
            if "kind" not in data:
                raise KeyError("kind")
            found = cls._read(data)
            expect_form(found)
            found._check()
            return found
        except DataError:
            raise
        except (JetsymError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise DataError(
                f"the report is damaged: {type(error).__name__} {error}; expected the whole of one of kind {kind!r}: "
                "copy it again, or measure it again"
            ) from error

    @checked(DataError)
    def save(self, path: str | Path) -> Path:
        """Write it as JSON, whole or not at all; return the path."""
        check_out(path)
        values = as_json(self.to_dict())
        return write_json(path, values | {DIGEST: _digest(values)})

    @classmethod
    @checked(DataError)
    def load(cls, path: str | Path) -> Self:
        """Read what :meth:`save` wrote, now or in an older version of jetsym.

        Raises
        ------
        DataError
            No such file, or it does not hold such a result.
        """
        return cls.from_dict(read_json(path))


@checked(DataError)
def read_json(path: str | Path) -> dict[str, Any]:
    """Return what the file of a result holds.

    Raises
    ------
    DataError
        No such file, or it does not hold a JSON object, or has been damaged since it was written.
    """
    expect_path("the path of a report", path)
    try:
        data = parse_json(read_text(path))
    except OSError as error:
        raise DataError(f"no report can be read from {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not a report: it does not hold JSON ({error})") from error
    if not isinstance(data, dict):
        raise DataError(f"{path} is not a report: it holds a {type(data).__name__}; expected what save wrote")
    digest = data.pop(DIGEST, None)
    if digest is not None and digest != _digest(data):
        raise DataError(
            f"{path} is damaged, or was changed after it was written: its content does not have the digest that it "
            f"names; copy it again, or measure it again (where the change is meant, take its entry {DIGEST!r} out)"
        )
    found: dict[str, Any] = from_json(data)
    return found


def _digest(values: Mapping[str, Any]) -> str:
    """Compute the SHA-256 of values as JSON, whatever their order and spaces."""
    plain = json.loads(json.dumps(values))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


#: What format 1 of spectra does not say of an output.
_PARTS_OF_AN_ERROR: dict[str, Any] = {
    **dict.fromkeys(("leakage", "leakage_stderr", "misalignment", "misalignment_stderr", "error_tail"), float("nan")),
    "error_spectrum": {},
    "error_spectrum_stderr": {},
    "error_exact_to": None,
}


def _with_parts_of_errors(data: dict[str, Any]) -> dict[str, Any]:
    return data | {"equivariance": {name: _PARTS_OF_AN_ERROR | item for name, item in data["equivariance"].items()}}


def _without_held_out(rows: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return the upgrade of a report whose rule was not checked at other elements: NaN in the shape of its rows."""

    def upgrade(data: dict[str, Any]) -> dict[str, Any]:
        nothing = _nan_like(data[rows])
        return data | {"unexplained": nothing, "unexplained_stderr": nothing}

    return upgrade


def _nan_like(values: Any) -> Any:
    return [_nan_like(value) for value in values] if isinstance(values, list) else float("nan")


#: The failure modes that a diagnosis of format 1 looked for, which it does not say.
_FIRST_MODES = (
    *("starvation", "bottleneck", "saturation", "leakage", "misalignment", "parity-contamination"),
    *("parity-blindness", "frame-locking", "late-collapse", "drift", "under-resolved"),
)


def _of_kind(kind: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return the upgrade of a form that had not said its kind, and has not changed besides."""
    return lambda data: data | {"kind": kind}


def _stability(data: dict[str, Any]) -> dict[str, Any]:
    """Take it out of what ``jetsym evaluate`` of 0.1.0 wrote for jets without labels."""
    return {**data.get("stability", data), "kind": "stability"}


def one_against_the_rest(data: dict[str, Any]) -> dict[str, Any]:
    """Say of ``macro_auc`` which one it was, wherever it stands."""

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {re.sub("macro_auc(?!_ov)", "macro_auc_ovr", key): renamed(item) for key, item in value.items()}
        return [renamed(item) for item in value] if isinstance(value, list) else value

    upgraded: dict[str, Any] = renamed(data)
    return upgraded


def _without_distributions(data: dict[str, Any]) -> dict[str, Any]:
    """Say of an evaluation that its distributions were not kept."""
    nothing: dict[str, Any] = {"roc_band": ((), ()), "scores": None}
    return data | {"qualities": [nothing | item for item in data.get("qualities", ())], "sculpting": None}


def _with_rounding_of_effects(data: dict[str, Any]) -> dict[str, Any]:
    """Say of effects what rounding makes of them; their differences are of two ratios, as they were measured."""
    effects = {
        name: {source: item | {"rounding": item["equivariance"]["noise_floor"]} for source, item in of.items()}
        for name, of in data["effects"].items()
    }
    return data | {"effects": effects}


#: Kind and format -> what makes a dictionary of this format one of the next. Version 0.1.0 had no kinds and formats
#: (format 0) for some results.
UPGRADES: dict[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {
    ("spectrum", 1): _with_parts_of_errors,
    ("spectrum", 2): _of_kind("spectrum"),
    ("spectrum", 3): _without_held_out("tail"),
    ("boosts", 1): lambda data: _without_held_out("squared")(
        data | {"noise_floor": [data["noise_floor"]] * len(data["widths"])}
    ),
    ("attribution", 1): _with_rounding_of_effects,
    ("diagnosis", 1): lambda data: {"modes": _FIRST_MODES} | data,
    ("evaluation", 1): lambda data: {"stability": None} | data,
    ("evaluation", 2): one_against_the_rest,
    ("evaluation", 3): dict,  # which knows no weights: what it lacks is None
    ("evaluation", 4): _without_distributions,
    ("stability", 0): _stability,
    ("stability", 1): one_against_the_rest,
    ("stability", 2): lambda data: {"curves": {}} | data,
    ("regimes", 1): one_against_the_rest,
    ("learning-rates", 0): _of_kind("learning-rates"),
    ("potential", 0): _of_kind("potential"),
    ("potential", 1): dict,  # which knows no errors of A: what it lacks is None
    ("relaxation", 0): _of_kind("relaxation"),
    ("phonons", 0): _of_kind("phonons"),
}
