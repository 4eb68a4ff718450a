"""The command line: every command is a typed Python function, its options are the function's parameters.

Errors a user can cause end in one line on the standard error stream and a non-zero status, never in a traceback.
What a command writes to files is there before it prints. Where the terminal lacks a letter a question mark stands for
it, and where the reader of the output has gone (``| head -1``) the command does its work all the same.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from jetsym._version import __version__
from jetsym.commands.words import expand_presets, joined, renamed, underscored
from jetsym.errors import ConfigError, JetsymError, closest, lacks_explained
from jetsym.lazy import is_entry
from jetsym.locks import locked
from jetsym.ranks import ALONE, sharing
from jetsym.training.presets import preset_names

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

__all__ = ["Command", "dispatch", "main"]

#: What ends the names of files that commands write at their end; those that write into folders lock these themselves.
FILES = frozenset({".json", ".onnx", ".parquet", ".pt", ".root", ".yaml"})


#: How people ask for help.
HELP = ("-h", "--help", "help")


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
        if words[:1] in (["--version"], ["version"]):
            print(__version__)
            return 0
        purpose = "Which symmetry has a trained network learned, and in which layer?"
        status = dispatch("jetsym", COMMANDS, purpose, words)
        if not words[1:] and words[:1] in ([], *([word] for word in HELP)):
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
    from jetsym.commands.helps import listed

    return "\n".join(
        [
            f"usage: {program} COMMAND [options]",
            "",
            purpose,
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

    words = [underscored(word) for word in words]
    if any(not word.strip() or (word.startswith("--") and word.endswith("=")) for word in words):
        return _fail(program, f"a word is empty in {' '.join(map(repr, words))}; expected '.' for a path", status=2)
    flags = {word.partition("=")[0] for word in words}
    chosen = next((own for flag, own in command.instead.items() if flag in flags), command.function)
    function = found(chosen)
    parser = make_parser(program, command, function)
    words = renamed(words, parser)
    if command.presets:
        words = expand_presets(words)
    try:
        words = joined(words, parser, positional=command.positional)
        expect_known(words, parser, elsewhere=lambda: _elsewhere(program, command, parser))
        expect_configurations(words)
        options = parser.instantiate(parser.parse_args(words))
    except UnicodeDecodeError:
        raise
    except (ArgumentError, ConfigError, ValueError, RecursionError) as error:
        return _fail(program, f"{explained(error, parser)} ({program} --help lists the options)", status=2)
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


def found(function: str) -> Callable[..., Any]:
    """Import a function by module:name."""
    module, _, name = function.partition(":")
    return cast("Callable[..., Any]", getattr(import_module(module), name))


def _elsewhere(program: str, command: Command, parser: ArgumentParser) -> dict[str, str]:
    """Return the options that other forms of a command have alone, with the option that calls these."""
    own = {flag for action in parser._actions for flag in action.option_strings}
    forms = {flag: make_parser(program, command, found(function)) for flag, function in command.instead.items()}
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


def _fail(program: str, message: str, *, status: int) -> int:
    print(f"{program}: error: {' '.join(message.split())}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
