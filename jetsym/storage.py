"""Reports as JSON: written whole or not at all, and read back only if they are what they should be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from jetsym.errors import DataError
from jetsym.files import write_atomically

__all__ = ["Stored", "read_json"]


class Stored:
    """A report with ``to_dict`` and ``_read``, kept as JSON."""

    #: What the JSON form is called, and its version, raised when its meaning changes.
    KIND: ClassVar[str]
    FORMAT: ClassVar[int]
    meta: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        raise NotImplementedError

    @classmethod
    def _read(cls, data: Mapping[str, Any]) -> Self:
        """The report from what :meth:`to_dict` gave; KeyError, TypeError or ValueError where it is not that."""
        raise NotImplementedError

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`.

        Raises
        ------
        DataError
            The dictionary is not that of such a report, or of a version that this jetsym does not know.
        """
        kind = data.get("kind")
        if kind not in (None, cls.KIND):
            raise DataError(f"a report of kind {kind!r}; expected {cls.KIND!r}: read it with its own class")
        if data.get("format") != cls.FORMAT:
            raise DataError(
                f"a report of format {data.get('format')!r}; this jetsym reads format {cls.FORMAT}: measure it again, "
                "or read it with the version of jetsym that wrote it"
            )
        if kind is None:
            raise DataError("the report is damaged: it does not say its kind; measure it again")
        try:
            return cls._read(data)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"the report is damaged: {type(error).__name__} {error}; measure it again") from error

    def save(self, path: str | Path) -> Path:
        """Write the report as JSON, whole or not at all."""
        return write_atomically(path, json.dumps(self.to_dict(), indent=1, allow_nan=True))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a report that :meth:`save` wrote.

        Raises
        ------
        DataError
            No such file, or it does not hold such a report.
        """
        return cls.from_dict(read_json(path))


def read_json(path: str | Path) -> dict[str, Any]:
    """What a file of a report holds.

    Raises
    ------
    DataError
        No such file, or it does not hold a JSON object.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"no report can be read from {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(f"{path} is not a report: it does not hold JSON ({error})") from error
    if not isinstance(data, dict):
        raise DataError(f"{path} is not a report: it holds a {type(data).__name__}; expected what report.save wrote")
    return data
