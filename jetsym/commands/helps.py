"""The help of a command: what it needs, what its options take and are for, as wide as the terminal."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from shutil import get_terminal_size
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from jsonargparse import DefaultHelpFormatter

from jetsym.commands.descriptions import descriptions, opening, plain
from jetsym.commands.words import other_names

if TYPE_CHECKING:
    from argparse import Action

    from jsonargparse import ArgumentParser

__all__ = ["describe", "listed", "spelled", "taken"]

#: What the parser's own options are for.
_OWN = {
    "help": "Show this and end.",
    "config": "A YAML file of options; what stands behind it on the command line overrides it.",
    "print_config": "Print the options as YAML, as --config takes them, and end.",
}
#: What stands for a value of a kind.
_VALUES = {int: "N", float: "X"}


def describe(parser: ArgumentParser, function: Callable[..., Any]) -> None:
    """Give a parser and all of its options their descriptions, and the help its form."""
    known = descriptions(function)
    where: dict[str, Any] = {action.dest: action for action in parser._actions}
    for action in parser._actions:
        action.help = _OWN.get(action.dest) or known.get(action.dest) or action.help or ""
        if action.dest == "print_config":
            action.metavar = ""
    names = frozenset(name for name, action in where.items() if action.option_strings)
    for name in names:
        where[name].also = other_names(name, names)
    parser.formatter_class = type("Help", (_Help,), {"options": names})
    parser.description = opening(function)
    needed = [_briefly(action) for action in parser._actions if action.required]
    parser.usage = " ".join([str(parser.prog), *needed, "[options]"])
    _, own, *groups = parser._action_groups
    own.title = "help and files of options"
    for place, group in enumerate(groups):
        group.title = "options" if place == 0 else plain(" ".join((group.title or "").split()))


def listed(entries: Mapping[str, str]) -> list[str]:
    """Write names with a line about each as two columns, as wide as the terminal.

    Examples
    --------
    >>> listed({"a": "one", "bc": "two"})
    ['  a   one', '  bc  two']
    """
    room = max(map(len, entries)) + 4
    width = max(get_terminal_size().columns, room + 20)
    lines = []
    for name, text in entries.items():
        head = f"  {name}".ljust(room)
        lines += textwrap.wrap(text, width, initial_indent=head, subsequent_indent=" " * room) or [head.rstrip()]
    return lines


def spelled(action: Action) -> str:
    """Write an option as it is typed, with what it takes."""
    flags = [flag for flag in action.option_strings if not flag.endswith("+")]
    flags += [f"--{name}" for name in getattr(action, "also", ())]
    return f"{', '.join(flags)} {taken(action)}".strip() if flags else action.dest.upper()


def _briefly(action: Action) -> str:
    return f"{action.option_strings[0]} {taken(action)}" if action.option_strings else action.dest.upper()


def taken(action: Action) -> str:
    """Say in a word what an option takes: alternatives, a number, or a name of what is meant; "" for nothing."""
    hint = getattr(action, "_typehint", None)
    name = action.dest.rpartition(".")[2].upper()
    if action.nargs == 0 or (hint is bool and action.default is False):
        return ""
    if hint is bool:
        return "{true,false}"
    if hint is None:
        return name if action.metavar is None else str(action.metavar)
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    choices = [str(choice) for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
    if choices and not any(kind is str for kind in kinds):
        return "{" + ",".join(choices) + "}"
    if str in kinds or any(get_args(kind)[:1] == (str,) and _is_of(kind, Sequence) for kind in kinds):
        return name
    if any(_is_of(kind, Mapping) for kind in kinds):
        return "{NAME: VALUE}"
    if any(_is_of(kind, Sequence) for kind in kinds):
        return "[X, ...]"
    return next((_VALUES[kind] for kind in kinds if kind in _VALUES), name)


def _is_of(hint: Any, kind: type) -> bool:
    """Tell whether an annotation is of containers of a kind."""
    origin = get_origin(hint)
    return isinstance(origin, type) and issubclass(origin, kind)


class _Help(DefaultHelpFormatter):
    """Writes options without the types of Python and the marks of docstrings."""

    options: frozenset[str] = frozenset()

    def _format_usage(self, usage: str | None, *args: Any, **kwargs: Any) -> str:
        return textwrap.fill(f"usage: {usage}", self._width, subsequent_indent=" " * 7) + "\n\n"

    def start_section(self, heading: str | None) -> None:
        super().start_section(None if heading is None else textwrap.fill(heading, self._width - 1))

    def _format_action_invocation(self, action: Action) -> str:
        return spelled(action)

    def _expand_help(self, action: Action) -> str:
        text = re.sub(r"(?<=[\w,;:(] )None\b", "null", plain(action.help or "", self.options))
        default = _shown(action.default)
        said = "required" if action.required and action.option_strings else f"default: {default}" if default else ""
        return f"{text} ({said})".strip() if said else text


def _shown(default: Any) -> str:
    """Write a default as it would be typed; "" where there is none to speak of."""
    if (default in (None, "", "==SUPPRESS==", False) and default != 0) or default is False:
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, Mapping | Sequence) and not isinstance(default, str):
        return "[" + ", ".join(map(str, default)) + "]" if default and not isinstance(default, Mapping) else ""
    return f"{default:g}" if isinstance(default, float) else str(default)
