"""The parser of a command: its options are the parameters of the function behind it."""

from __future__ import annotations

from collections.abc import Callable
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from jetsym.commands.table import Command
from jetsym.training.presets import preset_names

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

__all__ = ["elsewhere", "make_parser"]


def elsewhere(program: str, command: Command, parser: ArgumentParser) -> dict[str, str]:
    """Return the options that other forms of a command have alone, with the option that calls these."""
    own = {flag for action in parser._actions for flag in action.option_strings}
    forms = {flag: make_parser(program, command, resolve_name(function)) for flag, function in command.instead.items()}
    return {
        option: flag
        for flag, form in forms.items()
        for action in form._actions
        for option in action.option_strings
        if option not in own and option != flag
    }


def make_parser(program: str, command: Command, function: Callable[..., Any]) -> ArgumentParser:
    """Make a parser of the function's parameters, from the command line and from YAML files."""
    from jsonargparse import ArgumentParser, set_parsing_settings

    from jetsym.commands.configuration import MODE, set_loader
    from jetsym.commands.helps import describe

    set_loader()
    # A configuration holds values only: it can name no class to build and nothing to import.
    set_parsing_settings(instantiate_subclass_spec_in_any=False, import_path_denylist=["*"])
    others = "; ".join(f"{program} {flag} ... --help lists the options with {flag}" for flag in command.instead) or None
    said: dict[str, Any] = {"prog": program, "description": command.help, "epilog": others}
    parser = ArgumentParser(**said, parser_mode=MODE, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="YAML file with options; later options override it")
    if command.presets:
        parser.add_argument("--preset", help=f"a ready configuration: {', '.join(preset_names())}")
    skip: set[str | int] = set(command.skip)
    if command.many:
        parser.add_argument(command.many, nargs="+", type=str)
        skip.add(command.many)
    parser.add_function_arguments(function, as_positional=command.positional, skip=skip)
    for action in parser._actions:
        if getattr(action, "_typehint", None) is bool:  # --resume alone means --resume true
            action.nargs, action.const = "?", True
    describe(parser, function)
    return parser
