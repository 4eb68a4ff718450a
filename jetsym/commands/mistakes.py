"""Wrong command lines, each in one sentence that says what was typed, what is expected, and what mends it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from jetsym.annotations import allowed
from jetsym.commands.words import other_names
from jetsym.errors import ConfigError, closest, shorten

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

__all__ = ["expect_known", "explained"]

_KEY = re.compile(r'Parser key "([\w.]+)"')
_VALUE = re.compile(r"(?:Got|Given) value: (.*)")
_ENTRY = re.compile(r"NestedArg\(key='(.*)', val='?(.*?)'?\)")
_UNKNOWN_KEY = re.compile(r"[Oo]ption '([\w.]+)' is not accepted|does not accept option '(\w+)'")
_NUMBER = re.compile(r"-\.?\d")


def expect_known(
    words: Sequence[str],
    parser: ArgumentParser,
    *,
    elsewhere: Callable[[], Mapping[str, str]],
    typed: Sequence[str] = (),
) -> None:
    """Refuse options that a command does not have, and words that belong to none of those that it has.

    Parameters
    ----------
    words
        The command line, with positional parameters first, as :func:`jetsym.commands.words.joined` writes it.
    parser
        What reads it.
    elsewhere
        Returns the options of other forms of the command, and the option that these forms are called by.
    typed
        The command line in the order in which it was typed.

    Raises
    ------
    ConfigError
        There is such a word.
    """
    actions = {flag: action for action in parser._actions for flag in action.option_strings}
    free = len([action for action in parser._actions if not action.option_strings and action.nargs is None])
    many = any(action.nargs == "+" for action in parser._actions if not action.option_strings)
    remaining = list(words)
    while remaining:
        word = remaining.pop(0)
        flag, equals, _ = word.partition("=")
        if word in ("-h", "--help"):
            return
        if flag.startswith("--"):
            action = actions.get(flag) or actions.get(flag.split(".")[0])
            if flag not in actions and (action is None or not hasattr(action, "_typehint")):
                raise ConfigError(_no_option(flag, parser, elsewhere()))
            if not equals and action is not None and action.nargs is None:
                if not remaining or remaining[0].startswith("--"):
                    raise ConfigError(f"{flag} is followed by no value; expected one: {parser.prog} … {flag} VALUE")
                del remaining[0]
            elif not equals and action is not None and action.nargs == "?" and remaining[:1]:
                remaining = remaining[1:] if remaining[0] in ("true", "false") else remaining
        elif free > 0 or many:
            free -= 1
            if word.startswith("-") and not _NUMBER.match(word):
                raise ConfigError(_one_dash(word, parser))
        else:
            said = _one_dash(word, parser) if word.startswith("-") else _left_over(word, parser, typed)
            raise ConfigError(f"{said}; expected {parser.usage}")


def _left_over(word: str, parser: ArgumentParser, typed: Sequence[str]) -> str:
    """Say that a word belongs to no option, and what the option takes that it was typed behind."""
    places = [place for place, one in enumerate(typed) if one == word]
    behind = (
        [*itertools.takewhile(lambda one: not one.startswith("--"), reversed(typed[: places[-1]]))] if places else []
    )
    flag = typed[places[-1] - len(behind) - 1] if places and len(behind) < places[-1] else ""
    action = next((one for one in parser._actions if flag in one.option_strings), None)
    hint = getattr(action, "_typehint", None)
    if not behind or hint is None:
        return f"{word!r} belongs to no option"
    numbers = [*itertools.takewhile(_is_number, [*reversed(behind), word])]
    several = f", several as '[{', '.join(numbers)}]'" if len(numbers) > 1 and _takes_numbers(hint) else ""
    return f"{word!r} belongs to no option, as {flag} takes one value, {_expected(hint, flag, in_it=False)}{several}"


def _is_number(word: str) -> bool:
    return re.fullmatch(r"-?[\d.]+(e-?\d+)?", word) is not None


def _takes_numbers(hint: Any) -> bool:
    """Tell whether an option takes a list of numbers."""
    return any(get_args(kind)[:1] in ((int,), (float,)) for kind in get_args(hint))


def _one_dash(word: str, parser: ArgumentParser) -> str:
    near = [flag for flag in _flags(parser) if flag[2:3] == word[1:2]]
    return f"{word} is no option, as options begin with two dashes, such as {next(iter(near), '--help')}"


def _flags(parser: ArgumentParser) -> Iterator[str]:
    """Give the options of a parser, and what they are called as well."""
    names = [action.dest for action in parser._actions if action.option_strings]
    for action in parser._actions:
        yield from (flag for flag in action.option_strings if not flag.endswith("+"))
        yield from (f"--{name}" for name in other_names(action.dest, names) if action.option_strings)


def _no_option(flag: str, parser: ArgumentParser, elsewhere: Mapping[str, str]) -> str:
    if flag in elsewhere:
        return f"{flag} is no option of {parser.prog} unless {elsewhere[flag]} is given; leave it out, or give that"
    places = {action.dest: action for action in parser._actions if not action.option_strings}
    if flag[2:] in places:
        return f"{flag} is no option, as its value is written without a name; expected {parser.usage}"
    return f"{parser.prog} has no option {flag}; {closest(flag, _flags(parser))}"


def explained(error: Exception, parser: ArgumentParser, instead: Iterable[str] = ()) -> str:
    """Say what a parser's own error says, in the words of who typed the command line.

    Where something is missing that a command does not need with other options, ``instead``, these are named as well.
    """
    text = str(error)
    key, values = _KEY.search(text), _VALUE.findall(text)
    if missing := re.search(r"arguments are required: (.*)", text):
        names = [_typed(name, parser) for name in missing[1].split(", ")]
        verb = "is" if len(names) == 1 else "are"
        return f"{' and '.join(names)} {verb} missing; expected {parser.usage}{_others(parser, instead)}"
    if unknown := _UNKNOWN_KEY.search(text):
        return _no_key(unknown[1] or unknown[2], parser)
    if key and key[1] == "config":
        return _no_file_of_options(text)
    actions = {action.dest: action for action in parser._actions}
    action = actions.get(key[1]) if key else None
    if key and "Unable to load config" in text:
        fields = [flag for flag in _flags(parser) if flag.startswith(f"--{key[1]}.")]
        return f"--{key[1]} has several fields, which are given one by one; expected such as {fields[0]} VALUE"
    if action is None or not values or not hasattr(action, "_typehint"):
        return " ".join(text.split())
    name, said = _typed(action.dest, parser), values[-1].strip()
    if entry := _ENTRY.match(said):
        name, said = f"{name}.{entry[1]}", entry[2]
    return f"{name} is {shorten(said)}; expected {_expected(action._typehint, name, in_it=bool(entry))}"


def _others(parser: ArgumentParser, instead: Iterable[str]) -> str:
    """Name the forms of a command that take other words."""
    return "".join(f", or {parser.prog} {flag} …" for flag in instead)


def _typed(name: str, parser: ArgumentParser) -> str:
    """Write the name of a parameter as it is typed."""
    action = next((one for one in parser._actions if one.dest == name), None)
    return f"--{name}" if action is None or action.option_strings else name.upper()


def _expected(hint: Any, name: str, *, in_it: bool) -> str:
    """Say what an option takes, and how that is written."""
    kinds = list(get_args(hint)) if get_origin(hint) not in (None, Literal, dict, list) else [hint]
    tables = [get_args(kind) for kind in kinds if get_origin(kind) is dict]
    if in_it and tables:
        kind = allowed(tables[0][1])
        return "a value" if kind is None else kind.words
    kind = allowed(hint)
    words = "another value" if kind is None else kind.words.replace(" or None", ", or null for none")
    if tables:
        words = re.sub(r"a dictionary of \w+ -> ", "names, each with ", words).replace("anything", "a value")
        return f"{words}: such as {name}.NAME VALUE, or {name} '{{NAME: VALUE}}'"
    return words


def _no_key(key: str, parser: ArgumentParser) -> str:
    names = [action.dest for action in parser._actions if action.option_strings]
    own = next((name for name in names if key in other_names(name, names)), None)
    remedy = f"it is called {own} there" if own else closest(key, names)
    return f"{parser.prog} has no option {key!r}, which a file of options names; {remedy}"


def _no_file_of_options(text: str) -> str:
    found = re.search(r"'([^']+)'", text)
    path = Path(found[1] if found else "")
    path = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    if path.is_dir():
        inside = path / "config.yaml"
        remedy = f"such as {inside}" if inside.is_file() else "such as one that --print_config prints"
        return f"--config {path} is a folder; expected a YAML file, {remedy}"
    return f"--config {path}: there is no such file; expected a YAML file, such as one that --print_config prints"
