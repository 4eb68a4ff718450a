"""Text that others wrote, read with limits: files that are files, JSON and YAML that stay as small as they look.

A pipe or a device may never end. A few lines of YAML can ask for gigabytes, as an alias stands for all that it names,
and a name may be an alias of many aliases. What is nested deeper than anything of use ends Python's stack, and a number
of thousands of digits its patience. All of these end in an OSError or a ValueError with the reason, which those who
read turn into an error of their own.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
import struct
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from jetsym.errors import DataError, JetsymError

__all__ = [
    "as_json",
    "encodable",
    "expect_path",
    "expect_regular",
    "expect_small",
    "expect_stored",
    "from_json",
    "parse_json",
    "parse_yaml",
    "read_text",
    "what_is",
]

#: Values that a YAML text may stand for, aliases counted as often as they stand there, and how deep they may lie.
MOST_VALUES, DEEPEST = 1_000_000, 64
#: Digits of a whole number that may mean something.
_MOST_DIGITS = 400
_FAST = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
#: Bytes of a text that is read whole.
_LARGEST = 1 << 30


def what_is(path: str | os.PathLike[str]) -> str:
    """Say what is there in place of a file.

    Examples
    --------
    >>> what_is("/dev/null"), what_is(Path.home())
    ('a device', 'a folder')
    """
    mode = os.stat(path).st_mode  # noqa: PTH116 (of paths in whatever form)
    kinds = {"a folder": stat.S_ISDIR, "a pipe": stat.S_ISFIFO, "a socket": stat.S_ISSOCK, "a file": stat.S_ISREG}
    return next((name for name, is_one in kinds.items() if is_one(mode)), "a device")


def expect_regular(path: str | os.PathLike[str]) -> None:
    """Refuse what is there and is neither a file nor a link to one, before it is opened, as that may never end.

    Raises
    ------
    OSError
        It is a pipe, a device, a socket or a folder; ``strerror`` says which. Or there is nothing.

    Examples
    --------
    >>> expect_regular("/dev/null")
    Traceback (most recent call last):
    OSError: [Errno 22] it is a device, which may never end; expected a file: '/dev/null'
    """
    kind = what_is(path)
    if kind == "a folder":
        raise IsADirectoryError(errno.EISDIR, "it is a folder; expected a file", os.fspath(path))
    if kind != "a file":
        raise OSError(errno.EINVAL, f"it is {kind}, which may never end; expected a file", os.fspath(path))


def expect_path(name: str, path: Any, error: type[JetsymError] = DataError) -> None:
    """Refuse no text at all where a path is expected: it would mean the folder that one happens to be in.

    Raises
    ------
    JetsymError
        It is empty, or blank.

    Examples
    --------
    >>> expect_path("out", "")
    Traceback (most recent call last):
    jetsym.errors.DataError: out is ''; expected a path, or '.' for the folder that you are in
    """
    if isinstance(path, str) and not path.strip():
        raise error(f"{name} is {path!r}; expected a path, or '.' for the folder that you are in")


#: Text that torch compresses unpacks to four times of it, some eight where much of it is alike.
TEXT_UNPACKS_TO = 32


def expect_stored(path: str | os.PathLike[str], *, packed_text: Collection[str] = ()) -> None:
    """Refuse a zip archive whose records unpack to more than it holds, as those of torch.save, as they are, never do.

    What is no zip archive is left to whoever opens it.

    Parameters
    ----------
    path
        The archive.
    packed_text
        Endings of records that may be compressed all the same, such as the code of TorchScript, as far as text goes.

    Raises
    ------
    ValueError
        Its records are compressed, or overlap.

    Examples
    --------
    >>> import io
    >>> packed = io.BytesIO()
    >>> with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
    ...     archive.writestr("data.pkl", bytes(10**6))
    >>> expect_stored(packed)
    Traceback (most recent call last):
    ValueError: its records unpack to 1000000 bytes from ...; expected records that are not compressed
    """
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
            text = sum(one.file_size for one in records if one.filename.endswith(tuple(packed_text)))
            unpacked = sum(one.file_size for one in records) - text
            packed = archive.fp.seek(0, os.SEEK_END) if archive.fp else 0
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error, EOFError):
        return
    if unpacked > packed:
        raise ValueError(
            f"its records unpack to {unpacked} bytes from {packed}; expected records that are not compressed"
        )
    if text > TEXT_UNPACKS_TO * packed:
        raise ValueError(
            f"its code unpacks to {text} bytes from {packed}; expected less than {TEXT_UNPACKS_TO} times as much"
        )


@contextmanager
def encodable(path: Path) -> Iterator[Path]:
    r"""Give a file under a name that is text, for libraries that know no others: a link, where its own is bytes.

    Examples
    --------
    >>> with encodable(Path("caf\udce9/model.safetensors")) as place:
    ...     place.name, place.is_symlink()
    ('file.safetensors', True)
    """
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        with TemporaryDirectory() as folder:
            link = Path(folder, "file" + path.suffix.encode(errors="ignore").decode())
            link.symlink_to(path.absolute())
            yield link
    else:
        yield path


def read_text(path: str | os.PathLike[str]) -> str:
    """Return the text (UTF-8) of a file.

    Raises
    ------
    OSError
        There is no file, it is none (see :func:`expect_regular`), or has more than a GB.
    UnicodeDecodeError
        It is no such text.
    """
    expect_regular(path)
    if Path(path).stat().st_size > _LARGEST:
        raise OSError(errno.EFBIG, "it has more than a GB; expected a text", os.fspath(path))
    return Path(path).read_text(encoding="utf-8")


def parse_json(text: str | bytes) -> Any:
    """Return what a text in JSON holds; ValueError, and nothing else, where it is none.

    Examples
    --------
    >>> parse_json("[" * 100_000)
    Traceback (most recent call last):
    ValueError: it is nested too deeply
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def parse_yaml(text: str, loader: Any = yaml.SafeLoader) -> Any:
    """Return the plain values that a text in YAML stands for.

    Parameters
    ----------
    text
        The text, of one document.
    loader
        The class of PyYAML that reads it: :class:`yaml.SafeLoader`, its twin in C, or one derived from them.

    Raises
    ------
    yaml.YAMLError
        It is no YAML, it has tags, it stands for more values than :data:`MOST_VALUES` (aliases are counted as often
        as they stand there), is nested deeper than :data:`DEEPEST`, holds itself, or a number of too many digits.

    Examples
    --------
    >>> parse_yaml("{a: &one [1, 2], b: *one}")
    {'a': [1, 2], 'b': [1, 2]}
    >>> parse_yaml("&one [*one]")
    Traceback (most recent call last):
    yaml.error.YAMLError: a value holds itself
    """
    reader = loader(text)
    try:
        node = reader.get_single_node()
        if node is None:
            return None
        _count(node, {}, 0)
        return reader.construct_document(node)
    except RecursionError as error:
        raise yaml.YAMLError("it is nested too deeply") from error
    except (ValueError, OverflowError, LookupError, TypeError, AttributeError) as error:  # of scalars with a tag
        if isinstance(error, UnicodeError):
            raise
        raise yaml.YAMLError(f"a value cannot be read ({error})") from error
    finally:
        reader.dispose()


def expect_small(text: str) -> None:
    r"""Refuse a text in YAML that :func:`parse_yaml` would refuse for its size, without making its values.

    Raises
    ------
    yaml.YAMLError
        As :func:`parse_yaml`.

    Examples
    --------
    >>> from itertools import pairwise
    >>> rows = [f"- &{name} [*{old}, *{old}, *{old}, *{old}]" for old, name in pairwise("abcdefghijk")]
    >>> bomb = "\n".join(["- &a [1, 1, 1, 1]", *rows])
    >>> expect_small(bomb)
    Traceback (most recent call last):
    yaml.error.YAMLError: its aliases stand for more than 1000000 values
    """
    node = yaml.compose(text, Loader=_FAST)
    if node is not None:
        _count(node, {}, 0)


def _count(node: yaml.Node, known: dict[int, int | None], depth: int) -> int:
    """Count the values that a node stands for; ``known`` has those of others, None while they are being counted."""
    if depth > DEEPEST:
        raise yaml.YAMLError(f"it is nested more than {DEEPEST} deep")
    if id(node) in known:
        found = known[id(node)]
        if found is None:
            raise yaml.YAMLError("a value holds itself")
        return found
    known[id(node)] = None
    total = 1 + sum(_count(part, known, depth + 1) for part in _parts(node))
    if total > MOST_VALUES:
        raise yaml.YAMLError(f"its aliases stand for more than {MOST_VALUES} values")
    known[id(node)] = total
    return total


def _parts(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif len(node.value) > _MOST_DIGITS and node.tag.endswith((":int", ":float")):
        raise yaml.YAMLError(f"a number has {len(node.value)} digits")


def as_json(values: Any) -> Any:
    """Return plain values with the words NaN, Infinity and -Infinity in the place of these numbers.

    Examples
    --------
    >>> as_json({"a": [1.5, float("nan")], "b": (float("-inf"), None)})
    {'a': [1.5, 'NaN'], 'b': ['-Infinity', None]}
    """
    if isinstance(values, float) and not math.isfinite(values):
        return "NaN" if math.isnan(values) else "Infinity" if values > 0 else "-Infinity"
    if isinstance(values, dict):
        return {name: as_json(value) for name, value in values.items()}
    return [as_json(value) for value in values] if isinstance(values, list | tuple) else values


def from_json(values: Any) -> Any:
    """Return what :func:`as_json` was given, but for tuples.

    Examples
    --------
    >>> from_json({"a": [1.5, "NaN"], "b": ["-Infinity", None]})
    {'a': [1.5, nan], 'b': [-inf, None]}
    """
    if isinstance(values, str):
        return float(values) if values in ("NaN", "Infinity", "-Infinity") else values
    if isinstance(values, dict):
        return {name: from_json(value) for name, value in values.items()}
    return [from_json(value) for value in values] if isinstance(values, list) else values
