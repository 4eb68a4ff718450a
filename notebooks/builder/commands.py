"""A page for every command, with its options, made from the parser that reads the command line."""

from __future__ import annotations

import html
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, Literal, get_args, get_origin

from jetsym.cli import COMMANDS, Command, CommandGroup, make_parser

__all__ = ["commands", "pages"]


def commands(
    table: Mapping[str, Command | CommandGroup] = COMMANDS, program: str = "jetsym"
) -> Iterator[tuple[str, Command]]:
    """Yield every command under the words that call it, those of groups among them."""
    for name, entry in table.items():
        if isinstance(entry, CommandGroup):
            yield from commands(entry.commands, f"{program} {name}")
        else:
            yield f"{program} {name}", entry


def pages() -> dict[str, str]:
    """Return the Markdown of all pages, by their place in the documentation."""
    found = {"commands/index.md": index()}
    for program, command in commands():
        found[place(program)] = page(program, command)
    return found


def place(program: str) -> str:
    """Return where a command's page is."""
    return f"commands/{'-'.join(program.split()[1:])}.md"


def index() -> str:
    """Return the page that lists all commands."""
    lines = ["# Commands", "", "| command | what it does |", "|---|---|"]
    for program, command in commands():
        lines.append(f"| [`{program}`]({place(program).partition('/')[2]}) | {command.help} |")
    lines += [
        "",
        "`--help` behind a command says what stands here. Every option is a key of a YAML file as well:",
        "`--print_config` writes one, `--config FILE` reads it, and what follows it on the command line overrides",
        "it. Dashes and underscores in the names of options mean the same, and so do other names of the field, such as",
        "`--learning_rate` and `--lr`; `--no_progress` is `--progress false`.",
        "",
        "`jetsym completion bash > ~/.local/share/bash-completion/completions/jetsym` lets bash complete commands,",
        "options, their alternatives and files, from the next shell on; `jetsym completion zsh` does so for zsh. It",
        "needs the extra `completion`: `pip install 'jetsym[completion]'`.",
        "",
        "Where there is a terminal, help and tables are as wide as it is: a table that is wider is written in parts.",
        "The files that a command has written are named on the standard error stream.",
        "",
        "A command ends with status 0 when it is done, 1 after an error, 2 where the command line is wrong, 3 where a",
        "check has found a fault, 130 when it was interrupted and 143 when it was asked to end. Errors take one line.",
    ]
    return "\n".join(lines) + "\n"


def page(program: str, command: Command) -> str:
    """Return the page of one command, and of what stands behind it with other first options."""
    lines = [f"# {program}", "", sentence(command.help), ""]
    lines += described(program, command, command.function)
    for flag, function in command.instead.items():
        lines += [f"## {program} … {flag}", "", *described(program, command, function)]
    return "\n".join(lines).rstrip() + "\n"


def described(program: str, command: Command, name: str) -> list[str]:
    """Return the words of the function behind a command, and its options."""
    module, _, attribute = name.partition(":")
    function = getattr(import_module(module), attribute)
    parser = make_parser(program, command, function)
    actions = [action for action in parser._actions if action.dest not in ("help", "print_config", "config")]
    places = [action for action in actions if not action.option_strings]
    options = [action for action in actions if action.option_strings]
    words = " ".join(f"{action.dest.upper()}" if action.required else f"[{action.dest.upper()}]" for action in places)
    lines = ["```text", f"{program} {words} [options]".replace("  ", " "), "```", ""]
    lines += [plain(text) for text in opening(function)] + [""]
    for action in [*places, *options]:
        title = action.option_strings[0] if action.option_strings else action.dest.upper()
        lines += [f"**`{title}`**{value(action)}", f":   {plain(action.help or '') or '–'}", ""]
    return lines


def opening(function: Any) -> list[str]:
    """Return the lines of a docstring before its sections."""
    return re.split(r"\n\w[\w ]*\n-{3,}\n", inspect.getdoc(function) or "")[0].strip().splitlines()


def value(action: Any) -> str:
    """Say what an option takes and what it is when it is not given."""
    hint = getattr(action, "_typehint", None)
    choices = [choice for one in (hint, *get_args(hint)) if get_origin(one) is Literal for choice in get_args(one)]
    said = [" or ".join(f"`{choice}`" for choice in choices)] if choices else []
    if action.required:
        said.append("required")
    elif isinstance(action.default, (bool, int, float, str, list, tuple)) and action.default not in (
        "",
        "==SUPPRESS==",
    ):
        default = action.default if isinstance(action.default, str) else json.dumps(action.default)
        said.append(f"default `{default}`")
    return f" — {'; '.join(said)}" if said else ""


def plain(text: str) -> str:
    """Write what docstrings mark up as Markdown: names of the reference become links, and code stays code."""
    found = []
    for part in re.split(r"(:[a-z]+:`[^`]+`|``[^`]+``|`[^`]+`)", text):
        role = re.fullmatch(r":[a-z]+:`~?([^`]+)`", part)
        if role:
            name = html.escape(role[1])
            found.append(f'<autoref identifier="{name}" optional><code>{name}</code></autoref>')
        elif part.startswith("`"):
            found.append(f"`{part.strip('`')}`")
        else:
            found.append(re.sub(r"([*_\[\]{}|])", r"\\\1", html.escape(part, quote=False)))
    return "".join(found)


def sentence(text: str) -> str:
    """Begin with a capital and end with a full stop."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
