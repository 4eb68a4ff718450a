"""Files of options (``--config``), looked at before the command line is parsed: they hold plain values, and few."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from jetsym.errors import ConfigError
from jetsym.reading import expect_small, parse_yaml, read_text

__all__ = ["MODE", "expect_configurations", "set_loader"]

#: What jsonargparse calls our way to read values.
MODE = "jetsym"
#: Characters of a text that YAML may need long for.
_LONG = 400


def set_loader() -> None:
    """Let jsonargparse read values as it does, but none that stand for more than they look like; see :data:`MODE`."""
    import jsonargparse

    jsonargparse.set_loader(MODE, _load, (yaml.YAMLError,))


def expect_configurations(words: Sequence[str]) -> None:
    """Refuse files of options that hold anything else, before any of what they hold is used or shown.

    Parameters
    ----------
    words
        The command line; those after ``--config`` that are files are looked at.

    Raises
    ------
    ConfigError
        Such a file is no file, no YAML, holds no options, or names a further file of options.
    """
    for path in _named(words):
        try:
            found = parse_yaml(read_text(path))
        except OSError as error:
            raise ConfigError(f"--config {path} cannot be read ({error.strerror or error})") from error
        except yaml.YAMLError as error:
            raise ConfigError(f"--config {path} is no YAML: Problems parsing config: {error}") from error
        if not isinstance(found, dict):
            raise ConfigError(f"--config {path} holds no options; expected YAML with a line NAME: VALUE for each")
        if "config" in found:
            raise ConfigError(f"--config {path} names a further file of options; expected options alone")
        for value in found.values():
            _expect_small_texts(value)


def _named(words: Sequence[str]) -> Iterator[Path]:
    """Give what is there of what the command line names as files of options."""
    for place, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag == "--config":
            name = value if equals else next(iter(words[place + 1 :]), "")
            path = Path(name).expanduser()
            try:
                if name and path.exists() and not path.is_dir():
                    yield path
            except (OSError, ValueError):  # it is too long for a name, and meant as options
                continue


def _load(text: str) -> Any:
    """Read a value as jsonargparse does, once it is known to be small."""
    import jsonargparse

    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        return text  # a name in bytes of no encoding, which YAML knows no letters for
    expect_small(text)
    try:
        return jsonargparse.get_loader("yaml")(text)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise yaml.YAMLError(f"a value cannot be read ({error})") from error


def _expect_small_texts(value: Any) -> None:
    """Refuse text among values that would be read as YAML once more, and stands for too much."""
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            _expect_small_texts(one)
    elif isinstance(value, str) and ("*" in value or len(value) > _LONG):
        try:
            expect_small(value)
        except yaml.YAMLError as error:
            if "stand for" in str(error) or "digits" in str(error):
                raise ConfigError(f"a value in a file of options is refused: {error}") from error
