"""The command line: every command is a typed Python function, its options are the function's parameters.

Errors a user can cause end in one line on the standard error stream and a non-zero status, never in a traceback.
What a command writes to files is there before it prints. Where the terminal lacks a letter a question mark stands for
it, and where the reader of the output has gone (``| head -1``) the command does its work all the same.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, redirect_stdout, suppress
from pathlib import Path
from pkgutil import resolve_name
from shutil import get_terminal_size

from jetsym._version import __version__
from jetsym.commands.parser import elsewhere, make_parser
from jetsym.commands.streams import patient_streams
from jetsym.commands.table import COMMANDS, Command, CommandGroup
from jetsym.commands.words import expand_presets, joined, renamed, underscored
from jetsym.errors import ConfigError, JetsymError, closest, lacks_explained
from jetsym.lazy import is_entry
from jetsym.locks import locked
from jetsym.ranks import ALONE, sharing

__all__ = ["COMMANDS", "Command", "CommandGroup", "dispatch", "main", "make_parser"]

#: What ends the names of files that commands write at their end; those that write into folders lock these themselves.
FILES = frozenset({".json", ".onnx", ".parquet", ".pt", ".root", ".yaml"})

#: How people ask for help.
HELP = ("-h", "--help", "help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status.

    0 done, 1 an error, 2 a wrong command line, 3 a fault that a check has found, 130 interrupted (Ctrl-C), 143
    terminated (SIGTERM).
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    with patient_streams():
        if words[:1] in (["--version"], ["version"]):
            print(__version__)
            return 0
        purpose = "Which symmetry has a trained network learned, and in which layer?"
        status = dispatch("jetsym", COMMANDS, purpose, words)
        if not words[1:] and words[:1] in ([], *([word] for word in HELP)):
            print("jetsym --version says which jetsym this is.")
        return status


def dispatch(program: str, commands: Mapping[str, Command | CommandGroup], purpose: str, words: Sequence[str]) -> int:
    """Run one command of a program that has several, and return the exit status.

    Parameters
    ----------
    program
        Name of the program.
    commands
        Its commands by name.
    purpose
        Its purpose, in a line of help.
    words
        The command line: a command and its options.
    """
    if words and words[0] in HELP and words[1:2] and words[1] in commands:  # jetsym help train
        words = [*words[1:], "--help"]
    if not words or words[0] in HELP:
        print(overview(program, commands, purpose))
        return 0
    name, *rest = words
    if name not in commands:
        return _fail(program, f"unknown command {name!r}; {closest(name, commands)}", status=2)
    command = commands[name]
    if isinstance(command, CommandGroup):
        return dispatch(f"{program} {name}", command.commands, command.help.capitalize() + ".", rest)
    program = f"{program} {name}"
    with patient_streams():
        try:
            status = run(program, command, rest)
            sys.stdout.flush()
            return status
        except JetsymError as error:
            return _fail(program, str(error), status=error.status)
        except OSError as error:  # a folder that cannot be written, a full disk
            where = f": {error.filename}" if error.filename else ""
            return _fail(program, f"{error.strerror or error}{where}", status=1)
        except UnicodeDecodeError as error:
            return _fail(program, f"a configuration is not UTF-8 text: {error}", status=1)
        except KeyboardInterrupt:
            return _fail(program, "interrupted", status=130)


def overview(program: str, commands: Mapping[str, Command | CommandGroup], purpose: str) -> str:
    """Return the text of ``PROGRAM --help``."""
    from jetsym.commands.helps import listed

    return "\n".join(
        [
            f"usage: {program} COMMAND [options]",
            "",
            textwrap.fill(purpose, get_terminal_size().columns),
            "",
            "commands:",
            *listed({name: command.help for name, command in commands.items()}),
            "",
            f"{program} COMMAND --help lists the options of a command.",
        ]
    )


def run(program: str, command: Command, words: Sequence[str]) -> int:
    """Parse the options of a command and call its function."""
    from jsonargparse import ArgumentError

    from jetsym.commands.configuration import expect_configurations
    from jetsym.commands.mistakes import expect_known, explained
    from jetsym.commands.results import naming_written, numbers_file, terminal_width
    from jetsym.text import fitted

    words = [underscored(word) for word in words]
    if any(not word.strip() or (word.startswith("--") and word.endswith("=")) for word in words):
        return _fail(program, f"a word is empty in {' '.join(map(repr, words))}; expected '.' for a path", status=2)
    flags = {word.partition("=")[0] for word in words}
    chosen = next((own for flag, own in command.instead.items() if flag in flags), command.function)
    function = resolve_name(chosen)
    parser = make_parser(program, command, function)
    words = renamed(words, parser)
    if command.presets:
        words = expand_presets(words)
    try:
        typed, words = words, joined(words, parser, positional=command.positional)
        expect_known(words, parser, elsewhere=lambda: elsewhere(program, command, parser), typed=typed)
        expect_configurations(words)
        options = parser.instantiate(parser.parse_args(words))
    except UnicodeDecodeError:
        raise
    except (ArgumentError, ConfigError, ValueError, RecursionError) as error:
        said = explained(error, parser, command.instead if chosen == command.function else ())
        return _fail(program, f"{said} ({program} --help lists the options)", status=2)
    if options.get("trust") and not any(word.partition("=")[0] == "--trust" for word in words):
        raise ConfigError("trust is set in a file of options; expected it on the command line alone: --trust")
    for name in ("calculator", "weaver"):  # whose code runs, where a command takes one
        entry = options.get(name) if f"--{name}" in command.instead else None
        if entry and not {entry, f"--{name}={entry}"} & {*words}:
            raise ConfigError(f"{name} is {entry!r} in a file of options; expected it on the command line alone")
    for name in ("model", "network"):
        if is_entry(entry := options.get(name)) and not {entry, f"--{name}={entry}"} & {*words}:
            raise ConfigError(f"{name} is {entry!r} in a file of options; expected it on the command line alone")
    for own in ("config", "preset"):
        options.pop(own, None)
    if command.numbers and options.out:
        options.out = numbers_file(options.out)
    out = Path(getattr(options, "out", None) or "").expanduser()
    with ExitStack() as stack:
        ranks = stack.enter_context(sharing()) if command.shares else ALONE
        if not ranks.is_first:
            stack.enter_context(redirect_stdout(stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))))
        if out.suffix in FILES and ranks.is_first:
            with suppress(OSError, ConfigError):  # what cannot be written is the command's to tell
                stack.enter_context(locked(out.parent, program, name=out.name))
        helps = "choose a smaller --batch_size" if hasattr(options, "batch_size") else None
        with lacks_explained("the command could not go on", memory=helps), naming_written(), fitted(terminal_width()):
            result = function(**vars(options))
    if isinstance(result, Path) and ranks.is_first:
        print(result)
    return 0


def _fail(program: str, message: str, *, status: int) -> int:
    print(f"{program}: error: {' '.join(message.split())}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
