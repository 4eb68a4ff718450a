"""The words of a command line, as people type them, brought into the form that the parser reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

import yaml

from jetsym.errors import ConfigError, shorten
from jetsym.reading import parse_yaml
from jetsym.training.presets import preset_path

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

__all__ = ["expand_presets", "joined", "other_names", "renamed", "underscored"]

#: Options that name files, of which all words up to the next option are taken: the shell expands patterns to them.
FILE_OPTIONS = frozenset({"data", "val", "inputs", "history"})

#: What the field calls an option as well: in PyTorch's examples, in weaver-core, in Lightning. Of every row the option
#: that a command has is meant.
SYNONYMS = (
    ("lr", "learning_rate", "start_lr"),
    ("weight_decay", "wd"),
    ("epochs", "num_epochs", "max_epochs"),
    ("data", "data_train"),
    ("val", "validation", "data_val"),
    ("out", "output"),
    ("mapping", "data_config"),
)

#: How yes and no are written.
TRUTH = {"true": "true", "yes": "true", "on": "true", "false": "false", "no": "false", "off": "false"}


def other_names(name: str, names: Iterable[str]) -> list[str]:
    """Return what an option is called as well, among the options of a command.

    Examples
    --------
    >>> other_names("lr", ["lr", "epochs"]), other_names("learning_rate", ["learning_rate"])
    (['learning_rate', 'start_lr'], ['lr', 'start_lr'])
    """
    taken = set(names)
    return [other for row in SYNONYMS if name in row for other in row if other not in taken]


def renamed(words: Sequence[str], parser: ArgumentParser) -> list[str]:
    """Write options by the names that the parser knows: other names of the field, and ``--no_progress``."""
    actions = {action.dest: action for action in parser._actions if action.option_strings}
    also = {other: name for name in actions for other in other_names(name, actions)}
    found: list[str] = []
    for word in words:
        flag, equals, value = word.partition("=")
        name = flag.removeprefix("--")
        positive = name.removeprefix("no_")
        if not flag.startswith("--") or name in actions:
            found.append(word)
        elif not equals and positive != name and getattr(actions.get(positive), "_typehint", None) is bool:
            found.append(f"--{positive}=false")
        else:
            found.append(f"--{also.get(name, name)}{equals}{value}")
    return found


def underscored(word: str) -> str:
    """Replace dashes inside the name of an option by underscores, as options are named as in Python.

    Examples
    --------
    >>> underscored("--batch-size=8"), underscored("--seed"), underscored("-1"), underscored("a-b")
    ('--batch_size=8', '--seed', '-1', 'a-b')
    """
    flag, equals, value = word.partition("=")
    if not flag.startswith("--"):
        return word
    return f"--{flag[2:].replace('-', '_')}{equals}{value}"


def joined(words: Sequence[str], parser: ArgumentParser, *, positional: bool = False) -> list[str]:
    """Join what is given to a parameter that takes a list: options that are repeated, and several files after one.

    ``--data a.root b.root`` (an unquoted pattern, as the shell expands it) and ``--data a.root --data b.root`` become
    ``--data '["a.root", "b.root"]'``; the last of the positional parameters takes all words that are left over.
    """
    actions = {flag: action for action in parser._actions for flag in action.option_strings}
    places = [action for action in parser._actions if not action.option_strings and action.dest != "help"]
    lists: dict[str, list[str]] = {}
    free: list[str] = []
    options: list[str] = []
    remaining = list(words)
    while remaining:
        word = remaining.pop(0)
        flag, equals, value = word.partition("=")
        action = actions.get(flag)
        if not word.startswith("--"):
            free.append(word)
        elif action is not None and _takes_list(action):
            given = lists.setdefault(flag, [])
            if flag not in options:
                options.append(flag)
            if not equals and (not remaining or remaining[0].startswith("--")):
                raise ConfigError(f"{flag} is followed by no value; expected one: {flag} VALUE")
            given.append(value if equals else remaining.pop(0))
            while not equals and action.dest in FILE_OPTIONS and remaining and not remaining[0].startswith("--"):
                given.append(remaining.pop(0))
        else:
            options.append(word)
            takes = [] if equals or (action is not None and action.nargs == 0) else remaining[:1]
            takes = [one for one in takes if not one.startswith("--")]
            if takes and (action is None or action.nargs == "?") and not _is_value(takes[0], action):
                takes = []
            options += [TRUTH[one.lower()] for one in takes] if action is not None and action.nargs == "?" else takes
            del remaining[: len(takes)]
    return _put_together(options, lists, free, places if positional else [], alone=_may_stand_alone(actions))


def _put_together(
    options: Sequence[str],
    lists: Mapping[str, list[str]],
    free: list[str],
    places: Sequence[Any],
    *,
    alone: frozenset[str],
) -> list[str]:
    """Write the words again, a list as one of them; the last of a list are the positional words that are missing."""
    for given in lists.values():
        while len(given) > 1 and len(free) < len([place for place in places if place.required]):
            free.append(given.pop())
    if places and _takes_list(places[-1]) and len(free) > len(places):
        last = len(places) - 1
        free = [*free[:last], _as_list(free[last:])]
    found = list(free)
    for word in options:
        found.append(f"{word}={_as_list(lists[word], alone=word in alone)}" if word in lists else word)
    return found


def _may_stand_alone(actions: Mapping[str, Any]) -> frozenset[str]:
    """Return the options of which one word is no list, as that of a file."""
    hints = {flag: getattr(one, "_typehint", None) for flag, one in actions.items()}
    return frozenset(flag for flag, hint in hints.items() if hint != list[str] and str in get_args(hint))


def _as_list(given: list[str], *, alone: bool = True) -> str:
    """Write words as one list, in which those that are lists already are taken apart.

    One word stays as it is where that may stand ``alone``.
    """
    if len(given) == 1 and (alone or given[0].startswith("[") or given[0] == "null"):
        return given[0]
    items: list[Any] = []
    for word in given:
        try:
            found = parse_yaml(word) if word.startswith("[") and word.endswith("]") else word
        except yaml.YAMLError as error:
            raise ConfigError(f"{shorten(word)} is no list: {error}") from error
        items += found if isinstance(found, list) else [word]
    return json.dumps(items)


def _is_value(word: str, action: Any) -> bool:
    """Tell whether a word belongs to the flag before it, where that may stand alone, as --resume may."""
    return word.lower() in TRUTH if action is not None else not word.startswith("--")


def _takes_list(action: Any) -> bool:
    """Tell whether a parameter takes words, one or a list of them."""
    hint = getattr(action, "_typehint", None)
    return any(one in (list[str], Sequence[str]) for one in (hint, *get_args(hint)))


def expand_presets(words: Sequence[str]) -> list[str]:
    """Replace ``--preset NAME`` by ``--config FILE``: a preset is a configuration file that is found by its name."""
    expanded: list[str] = []
    remaining = iter(words)
    for word in remaining:
        flag, equals, value = word.partition("=")
        if flag == "--preset":
            expanded += ["--config", str(preset_path(value if equals else next(remaining, "")))]
        else:
            expanded.append(word)
    return expanded
