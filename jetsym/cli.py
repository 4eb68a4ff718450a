"""The command line: every command is a typed Python function, its options are the function's parameters.

Errors a user can cause end in one line on the standard error stream and a non-zero status, never in a traceback.
What a command writes to files is there before it prints. Where the terminal lacks a letter a question mark stands for
it, and where the reader of the output has gone (``| head -1``) the command does its work all the same.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, get_args

import yaml

from jetsym._version import __version__
from jetsym.errors import ConfigError, JetsymError, closest, lacks_explained, shorten
from jetsym.lazy import is_entry
from jetsym.locks import locked
from jetsym.ranks import ALONE, sharing
from jetsym.reading import parse_yaml
from jetsym.training.presets import preset_names, preset_path

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

__all__ = ["Command", "dispatch", "main"]

#: What ends the names of files that commands write at their end; those that write into folders lock these themselves.
FILES = frozenset({".json", ".onnx", ".parquet", ".pt", ".root", ".yaml"})


#: Options that name files, of which all words up to the next option are taken: the shell expands patterns to them.
FILE_OPTIONS = frozenset({"data", "val", "inputs", "history"})


@dataclass(frozen=True)
class Command:
    """A command: the function behind it, a line of help, and how its parameters appear.

    ``shares`` tells that processes which torchrun or srun has started share its inputs, and the first alone writes.
    ``many`` names a parameter that takes all words of the command line that belong to no option; ``instead`` an option
    with which another function is behind the command.
    """

    function: str
    help: str
    positional: bool = False
    skip: frozenset[str] = frozenset()
    presets: bool = False
    shares: bool = False
    many: str | None = None
    instead: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CommandGroup:
    """Several commands under one name: ``jetsym NAME COMMAND``."""

    commands: Mapping[str, Command]
    help: str


ATOMS = {
    "train": Command("jetsym.atoms.training.train:train", "train a PET or SOAP-BPNN by metatrain", positional=True),
    "spectra": Command(
        "jetsym.commands.symmetry:spectra", "measure the checkpoints of a run, epoch by epoch", positional=True
    ),
    "evaluate": Command(
        "jetsym.commands.atoms:evaluate", "measure errors on a file of structures, by subset", positional=True
    ),
    "check": Command(
        "jetsym.commands.atoms:check",
        "check a potential: its symmetries, and its forces and stress against its energy",
        positional=True,
        instead={"--calculator": "jetsym.commands.atoms:check_calculator"},
    ),
    "dynamics": Command(
        "jetsym.commands.atoms:dynamics",
        "measure the drift of energy and angular momentum as trained, averaged and in random frames",
        positional=True,
    ),
    "export": Command(
        "jetsym.commands.atoms:export",
        "write a model for LAMMPS and others, as it is or averaged over O(3)",
        positional=True,
    ),
    "finetune": Command(
        "jetsym.atoms.training.finetune:finetune", "train a PET further on your structures", positional=True
    ),
    "uncertainty": Command(
        "jetsym.atoms.training.finetune:add_uncertainty",
        "give a trained model a last-layer uncertainty",
        positional=True,
    ),
}
COMMANDS: dict[str, Command | CommandGroup] = {
    "demo": Command("jetsym.demo:demo", "train two taggers on the bundled jets, probe both, and write a report"),
    "download": Command(
        "jetsym.commands.data:download", "fetch published weights of taggers, or public jets", positional=True
    ),
    "generate": Command("jetsym.jets.generate:generate", "make JetClass-like jets with Pythia and FastJet", True),
    "convert": Command("jetsym.commands.data:convert", "make a cache of files of jets that streams read faster", True),
    "inspect": Command("jetsym.commands.data:inspect", "show what files of jets or a cache hold", True),
    "train": Command(
        "jetsym.commands.training:train",
        "train a tagger on ROOT files",
        skip=frozenset({"penalties", "callbacks"}),
        presets=True,
    ),
    "evaluate": Command(
        "jetsym.commands.training:evaluate",
        "measure how well a tagger does on unrotated and rotated jets, or how good the scores in a file are",
        positional=True,
        instead={
            "--scores": "jetsym.commands.training:evaluate_scores",
            "--weaver": "jetsym.commands.weaver:evaluate",
        },
        shares=True,
    ),
    "predict": Command(
        "jetsym.commands.training:predict",
        "write a tagger's probabilities for jets to a file",
        positional=True,
        instead={"--weaver": "jetsym.commands.weaver:predict"},
        shares=True,
    ),
    "export": Command(
        "jetsym.commands.training:export", "write a tagger for other programs: ONNX, or weaver's layout", True
    ),
    "probe": Command(
        "jetsym.commands.symmetry:probe",
        "measure the symmetry of a trained tagger, layer by layer",
        positional=True,
        shares=True,
        skip=frozenset({"action", "call", "outputs"}),
        instead={
            "--weaver": "jetsym.commands.weaver:probe",
            "--calculator": "jetsym.commands.symmetry:probe_calculator",
        },
    ),
    "attribute": Command(
        "jetsym.commands.symmetry:attribute",
        "find what breaks the symmetry of a trained tagger, one source at a time",
        positional=True,
        shares=True,
        skip=frozenset({"call", "outputs"}),
        instead={"--weaver": "jetsym.commands.weaver:attribute"},
    ),
    "cost": Command(
        "jetsym.commands.costs:cost",
        "measure the part of a loss that a broken symmetry makes",
        positional=True,
        skip=frozenset({"targets", "action", "call", "outputs"}),
        instead={"--calculator": "jetsym.commands.costs:cost_calculator"},
    ),
    "parity": Command(
        "jetsym.commands.costs:parity",
        "measure what of a tagger's output is odd under the inversion or a reflection",
        positional=True,
        skip=frozenset({"targets", "action", "call", "outputs"}),
        instead={"--calculator": "jetsym.commands.costs:parity_calculator"},
    ),
    "safety": Command(
        "jetsym.commands.costs:safety",
        "measure what collinear splittings and soft emissions change of a tagger's output",
        positional=True,
        skip=frozenset({"call", "outputs"}),
    ),
    "compare": Command("jetsym.commands.symmetry:compare", "put reports side by side, layer by layer", many="reports"),
    "diagnose": Command(
        "jetsym.commands.symmetry:diagnose", "find what is wrong with a model, from the report of a probe", True
    ),
    "repair": Command(
        "jetsym.commands.training:repair", "write the configuration of a run that repairs what was found", True
    ),
    "atoms": CommandGroup(ATOMS, "train, fine-tune and evaluate models of atoms, follow their symmetry over training"),
    "relax": Command(
        "jetsym.commands.atoms:relax", "relax a structure, symmetrised at inference and not", positional=True
    ),
    "phonons": Command(
        "jetsym.commands.atoms:phonons",
        "compute phonons of a crystal, symmetrised at inference and not",
        positional=True,
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status.

    0 done, 1 an error, 2 a wrong command line, 3 a fault that a check has found, 130 interrupted (Ctrl-C), 143
    terminated (SIGTERM).
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    with _patient_streams():
        if words[:1] == ["--version"]:
            print(__version__)
            return 0
        purpose = "Which symmetry has a trained network learned, and in which layer?"
        status = dispatch("jetsym", COMMANDS, purpose, words)
        if not words or words[0] in ("-h", "--help"):
            print("jetsym --version says which jetsym this is.")
        return status


class _Outlet(io.FileIO):
    """A stream to a terminal, a file or a pipe; when its reader has gone, what is written to it is dropped."""

    lost = False

    def write(self, data: Any) -> int:
        if self.lost:
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except BrokenPipeError:
            self.lost = True
            return memoryview(data).nbytes
        except OSError:  # such as a full disk: said once
            self.lost = True
            raise


@contextmanager
def _patient_streams() -> Iterator[None]:
    """Let nothing that is printed, in whatever encoding and to whomever, end the work."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _patient(sys.stdout, sys.__stdout__), _patient(sys.stderr, sys.__stderr__)
    try:
        yield
    finally:
        with suppress(OSError):
            sys.stdout.flush()
        sys.stdout, sys.stderr = before


def _patient(stream: TextIO | None, own: TextIO | None) -> TextIO:
    """Return what stands for a stream of the process; another, such as a notebook's, is returned as it is."""
    if stream is None:  # closed by whoever started the process
        return Path(os.devnull).open("w", encoding="utf-8")
    if not isinstance(stream, io.TextIOWrapper) or stream is not own or os.name == "nt":
        return stream
    stream.flush()
    outlet = io.BufferedWriter(_Outlet(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(
        outlet,
        stream.encoding,
        errors="replace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


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
    if not words or words[0] in ("-h", "--help"):
        print(overview(program, commands, purpose))
        return 0
    name, *rest = words
    if name not in commands:
        return _fail(program, f"unknown command {name!r}; {closest(name, commands)}", status=2)
    command = commands[name]
    if isinstance(command, CommandGroup):
        return dispatch(f"{program} {name}", command.commands, command.help.capitalize() + ".", rest)
    program = f"{program} {name}"
    with _patient_streams():
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
    width = max(map(len, commands))
    return "\n".join(
        [
            f"usage: {program} COMMAND [options]",
            "",
            purpose,
            "",
            "commands:",
            *(f"  {name:<{width}}  {command.help}" for name, command in commands.items()),
            "",
            f"{program} COMMAND --help lists the options of a command.",
        ]
    )


def run(program: str, command: Command, words: Sequence[str]) -> int:
    """Parse the options of a command and call its function."""
    from jsonargparse import ArgumentError

    from jetsym.commands.configuration import expect_configurations

    words = [underscored(word) for word in words]
    if any(not word.strip() or (word.startswith("--") and word.endswith("=")) for word in words):
        return _fail(program, f"a word is empty in {' '.join(map(repr, words))}; expected '.' for a path", status=2)
    flags = {word.partition("=")[0] for word in words}
    chosen = next((own for flag, own in command.instead.items() if flag in flags), command.function)
    module, _, name = chosen.partition(":")
    function = getattr(import_module(module), name)
    parser = make_parser(program, command, function)
    if command.presets:
        words = expand_presets(words)
    words = joined(words, parser, positional=command.positional)
    try:
        expect_configurations(words)
        options = parser.instantiate(parser.parse_args(words))
    except UnicodeDecodeError:
        raise
    except (ArgumentError, ConfigError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        return _fail(program, f"{reason} ({program} --help lists the options)", status=2)
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
    out = Path(getattr(options, "out", None) or "").expanduser()
    with ExitStack() as stack:
        ranks = stack.enter_context(sharing()) if command.shares else ALONE
        if not ranks.is_first:
            stack.enter_context(redirect_stdout(stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))))
        if out.suffix in FILES and ranks.is_first:
            with suppress(OSError, ConfigError):  # what cannot be written is the command's to tell
                stack.enter_context(locked(out.parent, program, name=out.name))
        helps = "choose a smaller --batch_size" if hasattr(options, "batch_size") else None
        with lacks_explained("the command could not go on", memory=helps):
            result = function(**vars(options))
    if isinstance(result, Path):
        print(result)
    return 0


def make_parser(program: str, command: Command, function: Callable[..., Any]) -> ArgumentParser:
    """Make a parser of the function's parameters, from the command line and from YAML files."""
    from jsonargparse import ArgumentParser, set_parsing_settings

    from jetsym.commands.configuration import MODE, set_loader

    set_loader()
    # A configuration holds values only: it can name no class to build and nothing to import.
    set_parsing_settings(instantiate_subclass_spec_in_any=False, import_path_denylist=["*"])
    others = "; ".join(f"{program} {flag} ... --help lists the options with {flag}" for flag in command.instead) or None
    said: dict[str, Any] = {"prog": program, "description": command.help, "epilog": others}
    parser = ArgumentParser(**said, parser_mode=MODE, exit_on_error=False)
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
    return parser


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
            given += [value] if equals else remaining[:1]
            del remaining[: 0 if equals else 1]
            while not equals and action.dest in FILE_OPTIONS and remaining and not remaining[0].startswith("--"):
                given.append(remaining.pop(0))
        else:
            options.append(word)
            takes = remaining[:1] if not equals and (action is None or action.nargs != 0) else []
            if takes and (action is None or action.nargs == "?") and not _is_value(takes[0], action):
                takes = []
            options += takes
            del remaining[: len(takes)]
    return _put_together(options, lists, free, places if positional else [])


def _put_together(
    options: Sequence[str], lists: Mapping[str, list[str]], free: list[str], places: Sequence[Any]
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
        found += [word] if word not in lists else [f"{word}={_as_list(lists[word])}"] if lists[word] else [word]
    return found


def _as_list(given: list[str]) -> str:
    """Write words as one list, in which those that are lists already are taken apart."""
    if len(given) == 1:
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
    return word.lower() in ("true", "false") if action is not None else not word.startswith("--")


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


def _fail(program: str, message: str, *, status: int) -> int:
    print(f"{program}: error: {' '.join(message.split())}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
