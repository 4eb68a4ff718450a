"""What options are for, from the docstrings of the functions that take them, and in the words of a terminal."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import is_dataclass
from functools import cache
from pydoc import locate
from typing import Any, cast

from docstring_parser import DocstringStyle, parse

__all__ = ["descriptions", "opening", "plain"]

#: Descriptions that stand elsewhere: those of the parameters of the same names of another function.
_ELSEWHERE = re.compile(r"As for :func:`~?([\w.]+)`")
#: What docstrings mark up: names of the reference, code, and words that are stressed.
_MARKED = re.compile(r":\w+:`(?P<short>~)?(?P<name>[^`]+)`|``(?P<code>[^`]+)``|`(?P<word>[^`]+)`")


def descriptions(function: Callable[..., Any]) -> dict[str, str]:
    """Return what the options of a command are for, by name, with the marks of docstrings.

    Several parameters may share a description ("energy, forces"), or have that of another function ("As for
    :func:`jetsym.probe`."); options that a function hands on are described where they are taken.
    """
    from jsonargparse._parameter_resolvers import get_signature_parameters

    parameters = get_signature_parameters(function)
    homes = dict.fromkeys([function, *(one.parent or one.component for one in parameters)])
    found: dict[str, str] = {}
    for one in parameters:
        places = dict.fromkeys([one.parent or one.component, *homes])
        found[one.name] = next((text for home in places if (text := _documented(home).get(one.name))), "")
        if is_dataclass(one.annotation):  # whose fields are options of their own
            found |= {f"{one.name}.{name}": text for name, text in descriptions(cast("type", one.annotation)).items()}
    return found


@cache
def _documented(home: Any) -> dict[str, str]:
    """Return the descriptions in a docstring, each under its own name."""
    found: dict[str, str] = {}
    for entry in parse(getattr(home, "__doc__", None) or "", style=DocstringStyle.NUMPYDOC).params:
        text = " ".join((entry.description or "").split())
        for name in entry.arg_name.split(", "):
            found[name] = _from_elsewhere(name, text)
    return found


def _from_elsewhere(name: str, text: str) -> str:
    named = _ELSEWHERE.match(text)
    return _documented(locate(named[1])).get(name, "") if named else text


def opening(function: Callable[..., Any]) -> str:
    """Return the sentence that a function's docstring begins with, without the names that it sends readers to.

    Examples
    --------
    >>> from jetsym.commands.symmetry import probe
    >>> opening(probe)
    'Measure which symmetry a trained tagger has.'
    """
    first = " ".join((function.__doc__ or "").strip().partition("\n\n")[0].split())
    return plain(re.sub(r"; see :\w+:`[^`]+`(?: and :\w+:`[^`]+`)?(?=\.)", "", first))


def plain(text: str, options: Collection[str] = ()) -> str:
    """Return a text without the marks of docstrings; names of options are written as they are typed.

    Examples
    --------
    >>> plain("With ``stream``: see :class:`~jetsym.jets.io.JetStream`; ``none`` for none.", ["stream"])
    'With --stream: see JetStream; none for none.'
    """

    def unmarked(found: re.Match[str]) -> str:
        if found["name"]:
            return str(found["name"]).rpartition(".")[2] if found["short"] else str(found["name"])
        word = str(found["code"] or found["word"])
        return f"--{word}" if word in options else word

    return _MARKED.sub(unmarked, text)
