"""All commands: the functions behind them, a line of help, and how their parameters appear."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["COMMANDS", "Command", "CommandGroup"]


@dataclass(frozen=True)
class Command:
    """A command: the function behind it, a line of help, and how its parameters appear.

    ``shares`` tells that processes which torchrun or srun has started share its inputs, and the first alone writes;
    ``numbers`` that --out names a file of numbers, whose .json may be left out. ``many`` names a parameter that takes
    all words of the command line that belong to no option; ``instead`` an option with which another function is behind
    the command.
    """

    function: str
    help: str
    positional: bool = False
    skip: frozenset[str] = frozenset()
    presets: bool = False
    shares: bool = False
    numbers: bool = False
    many: str | None = None
    instead: Mapping[str, str] = field(default_factory=dict)

    @property
    def functions(self) -> tuple[str, ...]:
        """The function, and those that are behind the command with other options."""
        return (self.function, *self.instead.values())


@dataclass(frozen=True)
class CommandGroup:
    """Several commands under one name: ``jetsym NAME COMMAND``."""

    commands: Mapping[str, Command]
    help: str


ATOMS = {
    "train": Command("jetsym.atoms.training.train:train", "train a PET or SOAP-BPNN by metatrain", positional=True),
    "spectra": Command(
        "jetsym.commands.symmetry:spectra",
        "measure the checkpoints of a run, epoch by epoch",
        positional=True,
        numbers=True,
    ),
    "evaluate": Command(
        "jetsym.commands.potentials:evaluate",
        "measure errors on a file of structures, by subset",
        positional=True,
        instead={"--calculator": "jetsym.commands.potentials:evaluate_calculator"},
        numbers=True,
    ),
    "check": Command(
        "jetsym.commands.potentials:check",
        "check a potential: its symmetries, and its forces and stress against its energy",
        positional=True,
        instead={"--calculator": "jetsym.commands.potentials:check_calculator"},
        numbers=True,
    ),
    "dynamics": Command(
        "jetsym.commands.atoms:dynamics",
        "measure the drift of energy and angular momentum as trained, averaged and in random frames",
        positional=True,
        instead={"--calculator": "jetsym.commands.atoms:dynamics_calculator"},
        numbers=True,
    ),
    "export": Command(
        "jetsym.commands.potentials:export",
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
    "convert": Command(
        "jetsym.commands.data:convert",
        "make a cache of files of jets that streams read faster",
        positional=True,
        shares=True,
    ),
    "inspect": Command("jetsym.commands.data:inspect", "show what files of jets or a cache hold", True),
    "train": Command(
        "jetsym.commands.training:train",
        "train a tagger on ROOT files",
        skip=frozenset({"penalties", "callbacks"}),
        presets=True,
    ),
    "evaluate": Command(
        "jetsym.commands.evaluation:evaluate",
        "measure how well a tagger does on unrotated and rotated jets, or how good the scores in a file are",
        positional=True,
        instead={
            "--scores": "jetsym.commands.evaluation:evaluate_scores",
            "--weaver": "jetsym.commands.weaver:evaluate",
        },
        shares=True,
        numbers=True,
    ),
    "predict": Command(
        "jetsym.commands.taggers:predict",
        "write a tagger's probabilities for jets to a file",
        positional=True,
        instead={"--weaver": "jetsym.commands.weaver:predict"},
        shares=True,
    ),
    "export": Command(
        "jetsym.commands.taggers:export", "write a tagger for other programs: ONNX, or weaver's layout", True
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
        numbers=True,
    ),
    "attribute": Command(
        "jetsym.commands.symmetry:attribute",
        "find what breaks the symmetry of a trained tagger, one source at a time",
        positional=True,
        shares=True,
        skip=frozenset({"call", "outputs"}),
        instead={"--weaver": "jetsym.commands.weaver:attribute"},
        numbers=True,
    ),
    "cost": Command(
        "jetsym.commands.costs:cost",
        "measure the part of a loss that a broken symmetry makes",
        positional=True,
        skip=frozenset({"targets", "action", "call", "outputs"}),
        instead={"--calculator": "jetsym.commands.costs:cost_calculator"},
        numbers=True,
    ),
    "parity": Command(
        "jetsym.commands.costs:parity",
        "measure what of a tagger's output is odd under the inversion or a reflection",
        positional=True,
        skip=frozenset({"targets", "action", "call", "outputs"}),
        instead={"--calculator": "jetsym.commands.costs:parity_calculator"},
        numbers=True,
    ),
    "safety": Command(
        "jetsym.commands.costs:safety",
        "measure what collinear splittings and soft emissions change of a tagger's output",
        positional=True,
        skip=frozenset({"call", "outputs"}),
        numbers=True,
    ),
    "compare": Command(
        "jetsym.commands.symmetry:compare", "put reports side by side, layer by layer", many="reports", numbers=True
    ),
    "diagnose": Command(
        "jetsym.commands.symmetry:diagnose",
        "find what is wrong with a model, from the report of a probe",
        True,
        numbers=True,
    ),
    "repair": Command(
        "jetsym.commands.training:repair", "write the configuration of a run that repairs what was found", True
    ),
    "atoms": CommandGroup(ATOMS, "train, fine-tune and evaluate models of atoms, follow their symmetry over training"),
    "completion": Command(
        "jetsym.commands.completion:completion", "print what lets a shell complete command lines of jetsym", True
    ),
    "relax": Command(
        "jetsym.commands.atoms:relax",
        "relax a structure, symmetrised at inference and not",
        positional=True,
        instead={"--calculator": "jetsym.commands.atoms:relax_calculator"},
        numbers=True,
    ),
    "phonons": Command(
        "jetsym.commands.atoms:phonons",
        "compute phonons of a crystal, symmetrised at inference and not",
        positional=True,
        instead={"--calculator": "jetsym.commands.atoms:phonons_calculator"},
        numbers=True,
    ),
}
