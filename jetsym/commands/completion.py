"""Completion of commands, options, their alternatives and files in a shell, by the package shtab."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pkgutil import resolve_name
from typing import Any, Literal

from jetsym.commands.helps import taken
from jetsym.commands.parser import make_parser
from jetsym.commands.table import Command, CommandGroup
from jetsym.errors import require
from jetsym.training.presets import preset_names

__all__ = ["completion"]


def completion(shell: Literal["bash", "zsh", "tcsh"]) -> None:
    """Print what lets a shell complete command lines of jetsym.

    For bash: ``jetsym completion bash > ~/.local/share/bash-completion/completions/jetsym``, or for one session
    ``source <(jetsym completion bash)``. For zsh: into a file ``_jetsym`` in a folder of ``$fpath``.

    Parameters
    ----------
    shell
        Which one.

    Raises
    ------
    MissingDependencyError
        The package shtab is not installed.
    """
    from jetsym.commands.table import COMMANDS

    shtab = require("shtab", extra="completion", purpose="jetsym completion")
    parser = argparse.ArgumentParser(prog="jetsym")
    _add(parser, "jetsym", COMMANDS, shtab)
    print(shtab.complete(parser, shell))


def _add(
    parser: argparse.ArgumentParser, program: str, commands: Mapping[str, Command | CommandGroup], shtab: Any
) -> None:
    """Give a parser its commands, with those of groups."""
    places = parser.add_subparsers()
    for name, entry in commands.items():
        own = places.add_parser(name, help=entry.help)
        if isinstance(entry, CommandGroup):
            _add(own, f"{program} {name}", entry.commands, shtab)
            continue
        seen = {"help"}
        for function in entry.functions:
            for action in make_parser(f"{program} {name}", entry, resolve_name(function))._actions:
                if action.dest not in seen:
                    _copy(action, own, shtab)
                    seen.add(action.dest)


def _copy(action: argparse.Action, parser: argparse.ArgumentParser, shtab: Any) -> None:
    """Give a parser an option with its alternatives; where a name stands, it may be that of a file."""
    value = taken(action)
    choices = value[1:-1].split(",") if value.startswith("{") and ":" not in value else None
    if action.dest == "preset":
        choices = preset_names()
    if not action.option_strings:
        own = parser.add_argument(action.dest, nargs="*", choices=choices)
    elif not value:
        parser.add_argument(*_flags(action), action="store_true", dest=action.dest)
        return
    else:
        own = parser.add_argument(*_flags(action), choices=choices, dest=action.dest)
    if choices is None and value not in ("N", "X"):
        own.complete = shtab.FILE  # type: ignore[attr-defined]


def _flags(action: argparse.Action) -> list[str]:
    also = [f"--{name}" for name in getattr(action, "also", ())]
    return [flag for flag in action.option_strings if not flag.endswith("+")] + also
