"""The commands that write, each on inputs so small that it is done in seconds, and what they leave."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from pkgutil import resolve_name

from jetsym import cli
from jetsym.benchmarks.fault_inputs import from_server
from jetsym.benchmarks.fault_results import (
    at,
    content,
    files,
    graph,
    jets,
    packed,
    picture,
    scores,
    tagger,
    trained_pet,
)
from jetsym.errors import JetsymError

__all__ = ["WORK", "Work", "installed", "modules", "writers", "writes"]

#: Options that name what a command writes.
RESULTS = {"out", "figure"}


@dataclass(frozen=True)
class Work:
    """A command that writes.

    Parameters
    ----------
    words
        Of the command line; IN is the folder of what is read, OUT that of what is written.
    result
        Return a digest of what it has written; raises where it cannot be read, as before the command is done.
    needs
        What it reads, of :data:`~jetsym.benchmarks.fault_inputs.INPUTS`.
    resume
        Words that let it go on where it was killed.
    slow
        It takes many seconds, or has others work for it: it comes less often, and may take five times as long.
    before
        What the process does first, given IN.
    """

    words: tuple[str, ...]
    result: Callable[[Path], str]
    needs: tuple[str, ...] = ()
    resume: tuple[str, ...] = ()
    slow: bool = False
    before: Callable[[Path], None] | None = None

    def run(self, read_from: Path, out: Path, *, again: bool = False) -> str:
        """Do it; raise JetsymError where the command line says in one line that it has failed."""
        if self.before is not None:
            self.before(read_from)
        words = [*self.words, *(self.resume if again else ())]
        status = cli.main([word.replace("IN", str(read_from)).replace("OUT", str(out)) for word in words])
        if status:
            raise JetsymError(f"status {status}")
        return "done"


def writers() -> set[str]:
    """Return the commands that write files, with the option that puts another function behind one.

    Examples
    --------
    >>> sorted(name for name in writers() if name.startswith("predict"))
    ['predict', 'predict --weaver']
    """
    found = set()
    for name, command in _commands(cli.COMMANDS):
        functions = {"": command.function} | {f" {flag}": function for flag, function in command.instead.items()}
        for flag, function in functions.items():
            if RESULTS & set(signature(resolve_name(function)).parameters):
                found.add(name + flag)
    return found


def _commands(
    commands: Mapping[str, cli.Command | cli.CommandGroup], group: str = ""
) -> Iterator[tuple[str, cli.Command]]:
    for name, command in commands.items():
        if isinstance(command, cli.CommandGroup):
            yield from _commands(command.commands, f"{name} ")
        else:
            yield group + name, command


def writes(work: Work) -> str:
    """Return the name in :func:`writers` of what a command line does.

    Examples
    --------
    >>> writes(WORK["predict by weaver"]), writes(WORK["atoms check"])
    ('predict --weaver', 'atoms check')
    """
    name = max(
        (name for name, _ in _commands(cli.COMMANDS) if work.words[: name.count(" ") + 1] == tuple(name.split()))
    )
    command = dict(_commands(cli.COMMANDS))[name]
    return " ".join([name, *(flag for flag in command.instead if flag in work.words)])


def installed() -> dict[str, Work]:
    """Return the commands whose packages are installed."""
    return {
        name: work
        for name, work in WORK.items()
        if all(find_spec(package) for key in (name, *work.needs) for package in PACKAGES.get(key, ()))
    }


def modules(name: str) -> set[str]:
    """Return what a command takes long to import."""
    return {module for key in (name, *WORK[name].needs) for module in ONCE.get(key, ())}


def _smaller_demo(folder: Path) -> None:
    from jetsym import demo

    demo.QUICK = demo.Scale(train_jets=64, test_jets=64, epochs=1, probe_jets=2, l_max=1)


#: Name of a command, or of what it reads -> what takes long to import, so that processes that are forked have it.
ONCE = {
    "jets": (
        "jetsym.commands.data",
        "jetsym.commands.evaluation",
        "jetsym.commands.training",
        "jetsym.training.loop",
        "sklearn.metrics",
        "uproot",
    ),
    "tagger": ("jetsym.commands.symmetry", "jetsym.commands.costs", "jetsym.plotting", "jetsym.pages"),
    "weaver": ("jetsym.commands.weaver",),
    "reports": ("jetsym.commands.symmetry", "jetsym.probing.reports.comparison", "jetsym.pages"),
    "run": ("jetsym.repair",),
    "structures": (
        "ase.build",
        "jetsym.commands.atoms",
        "jetsym.commands.potentials",
        "jetsym.atoms.workflows.check",
        "metatomic_ase",
    ),
    "pet": ("metatrain.cli.train", "jetsym.atoms.training.finetune", "jetsym.atoms.workflows.averaged_export"),
    "phonons": ("jetsym.atoms.workflows.phonons", "phonopy", "spglib"),
    "phonons of a calculator": ("jetsym.atoms.workflows.phonons", "phonopy", "spglib"),
    "convert --to parquet": ("pyarrow.parquet",),
    "export": ("jetsym.jets.export", "onnx", "onnxscript"),
    "generate": ("fastjet", "jetsym.jets.generate", "pythia8mc"),
    "demo": ("jetsym.demo",),
}
QUIET = ("--progress", "false")
TAGGER = ("IN/tagger.safetensors",)
FEW = ("--inputs", "IN/jets", "--limit", "4")
BY_WEAVER = ("--weaver", "IN/weaver")
EMT = ("--calculator", "ase.calculators.emt:EMT", "--inputs", "IN/frames.xyz", "--limit", "2")
L1 = ("--l_max", "1", *QUIET)
L2 = ("--l_max", "2", *QUIET)
TRAIN = (
    "train",
    "--data",
    "IN/jets",
    "--val",
    "IN/jets",
    "--out",
    "OUT/run",
    "--epochs",
    "1",
    "--limit",
    "128",
    *QUIET,
)
SMALL = ("--batch_size", "32", "--options", '{"width": 8, "blocks": 1}', "--device", "cpu")
PET = '{"d_pet": 8, "d_node": 8, "d_head": 8, "d_feedforward": 8, "num_heads": 1, "num_gnn_layers": 1, "cutoff": 3.0}'
ATOMS_TRAIN = ("IN/frames.xyz", "--out", "OUT/run", "--validation", "0.25", "--batch_size", "2", *QUIET)
#: Name of a command, or of what it reads -> packages that it takes beyond those that jetsym needs itself.
PACKAGES = {
    "structures": ("ase", "metatrain", "metatomic"),
    **dict.fromkeys(("phonons", "phonons of a calculator"), ("phonopy",)),
    "convert --to parquet": ("pyarrow",),
    "predict to Parquet": ("pyarrow",),
    "export": ("onnx", "onnxscript", "onnxruntime"),
    "generate": ("pythia8mc", "fastjet"),
    "generate by two processes": ("pythia8mc", "fastjet"),
}
GENERATE = (
    "generate",
    "OUT/g",
    "--jets_per_class",
    "4",
    "--classes",
    "[QCD, Hbb]",
    "--split",
    "{a: 0.5, b: 0.5}",
    *QUIET,
)
JETS, TAGGED, WEAVER = ("jets",), ("jets", "tagger"), ("jets", "weaver")
COPPER = ("IN/copper.xyz", "--model", "emt", *QUIET)
COPPER_EMT = ("IN/copper.xyz", *EMT[:2], *QUIET)
ATOMS, SERVER = ("structures",), ("jets", "tagger", "server")

#: Command -> what it does, and what it leaves.
WORK: dict[str, Work] = {
    "convert": Work(("convert", "IN/jets", "--out", "OUT/cache"), at("cache", jets), JETS),
    "convert --to parquet": Work(
        ("convert", "IN/jets", "--out", "OUT/parquet", "--to", "parquet"), at("parquet", jets), JETS
    ),
    "predict to ROOT": Work(
        ("predict", *TAGGER, "IN/jets", "--out", "OUT/p.root", *QUIET), at("p.root", scores), TAGGED
    ),
    "predict to Parquet": Work(
        ("predict", *TAGGER, "IN/jets", "--out", "OUT/p.parquet", *QUIET), at("p.parquet", scores), TAGGED
    ),
    "predict by weaver": Work(
        ("predict", "IN/jets", *BY_WEAVER, "--out", "OUT/p.root", *QUIET), at("p.root", scores), WEAVER
    ),
    "evaluate": Work(("evaluate", *TAGGER, "IN/jets", "--out", "OUT/e.json"), at("e.json"), TAGGED),
    "evaluate scores": Work(
        ("evaluate", "IN/scores/p.root", "--scores", "score_*", "--out", "OUT/e.json"),
        at("e.json"),
        (*TAGGED, "scores"),
    ),
    "evaluate by weaver": Work(("evaluate", "IN/jets", *BY_WEAVER, "--out", "OUT/e.json"), at("e.json"), WEAVER),
    "probe": Work(("probe", *TAGGER, *FEW, "--layers", "[]", *L1, "--out", "OUT/r.json"), at("r.json"), TAGGED),
    "probe by weaver": Work(
        ("probe", *BY_WEAVER, *FEW, "--layers", "[]", *L1, "--out", "OUT/r.json"), at("r.json"), WEAVER
    ),
    "probe of a calculator": Work(("probe", *EMT, "--layers", "[]", *L2, "--out", "OUT/r.json"), at("r.json"), ATOMS),
    "probe over training": Work(
        ("probe", "IN/run", "--over_training", "--out", "OUT/h.json"), at("h.json"), ("jets", "run")
    ),
    "attribute": Work(("attribute", *TAGGER, *FEW, *L1, "--out", "OUT/a.json"), at("a.json"), TAGGED),
    "attribute by weaver": Work(("attribute", *BY_WEAVER, *FEW, *L1, "--out", "OUT/a.json"), at("a.json"), WEAVER),
    "cost": Work(("cost", *TAGGER, *FEW, "--out", "OUT/c.json"), at("c.json"), TAGGED),
    "cost of a calculator": Work(("cost", *EMT, "--out", "OUT/c.json"), at("c.json"), ATOMS),
    "parity": Work(("parity", *TAGGER, *FEW, "--out", "OUT/p.json"), at("p.json"), TAGGED),
    "parity of a calculator": Work(("parity", *EMT, "--out", "OUT/p.json"), at("p.json"), ATOMS),
    "safety": Work(("safety", *TAGGER, *FEW, "--draws", "1", *QUIET, "--out", "OUT/s.json"), at("s.json"), TAGGED),
    "compare": Work(("compare", "IN/a.json", "IN/b.json", "--out", "OUT/c.json"), at("c.json"), ("reports",)),
    "diagnose": Work(("diagnose", "IN/a.json", "--out", "OUT/d.json"), at("d.json"), ("reports",)),
    "inspect": Work(("inspect", "IN/jets", "--figure", "OUT/f.png"), at("f.png", picture), JETS),
    "repair": Work(
        ("repair", "IN/run", "--finding", "leakage", "--out", "OUT/r.yaml"), at("r.yaml", content), ("jets", "run")
    ),
    "train": Work((*TRAIN, *SMALL), at("run", tagger), JETS, resume=("--resume",)),
    "train --find_lr": Work((*TRAIN, *SMALL, "--find_lr"), at("run/learning_rate.json"), JETS, slow=True),
    "export": Work(("export", *TAGGER, "--out", "OUT/t.onnx"), at("t.onnx", graph), TAGGED, slow=True),
    "export of weights": Work(
        ("export", "IN/particlenet.safetensors", "--out", "OUT/t.pt"), at("t.pt", packed), ("particlenet",)
    ),
    "download weights": Work(
        ("download", "weights", "--out", "OUT/w", *QUIET), at("w/net.pt", content), SERVER, before=from_server
    ),
    "download jetclass": Work(
        ("download", "jetclass", "--out", "OUT/j", *QUIET), at("j/val_5M", jets), SERVER, before=from_server
    ),
    "download toptagging": Work(
        ("download", "toptagging", "--out", "OUT/t", *QUIET), at("t", files), SERVER, before=from_server
    ),
    "generate": Work((*GENERATE, "--processes", "1"), lambda out: jets(out / "g/a") + jets(out / "g/b"), slow=True),
    "generate by two processes": Work(
        (*GENERATE, "--processes", "2"), lambda out: jets(out / "g/a") + jets(out / "g/b"), slow=True
    ),
    "demo": Work(
        ("demo", "--out", "OUT/demo", "--quick", *QUIET), at("demo/metrics.json"), slow=True, before=_smaller_demo
    ),
    "atoms train": Work(
        ("atoms", "train", *ATOMS_TRAIN, "--epochs", "2", "--model", PET, "--device", "cpu"),
        at("run", trained_pet),
        ATOMS,
        resume=("--resume",),
        slow=True,
    ),
    "atoms finetune": Work(
        ("atoms", "finetune", "IN/pet", *ATOMS_TRAIN, "--epochs", "1", "--method", "heads", "--device", "cpu"),
        at("run", trained_pet),
        (*ATOMS, "pet"),
        resume=("--resume",),
        slow=True,
    ),
    "atoms uncertainty": Work(
        ("atoms", "uncertainty", "IN/pet", *ATOMS_TRAIN),
        at("run", trained_pet),
        (*ATOMS, "pet"),
        resume=("--resume",),
        slow=True,
    ),
    "atoms spectra": Work(
        (
            "atoms",
            "spectra",
            "IN/pet",
            "--inputs",
            "IN/frames.xyz",
            "--limit",
            "1",
            "--l_max",
            "1",
            "--out",
            "OUT/s.json",
        ),
        at("s.json"),
        (*ATOMS, "pet"),
        slow=True,
    ),
    "atoms evaluate": Work(
        ("atoms", "evaluate", "emt", "IN/frames.xyz", "--turned", "1", "--out", "OUT/e.json", *QUIET),
        at("e.json"),
        ATOMS,
    ),
    "atoms evaluate by a calculator": Work(
        ("atoms", "evaluate", "IN/frames.xyz", *EMT[:2], "--turned", "1", "--out", "OUT/e.json", *QUIET),
        at("e.json"),
        ATOMS,
    ),
    "atoms check": Work(
        ("atoms", "check", "emt", "IN/copper.xyz", "--n_rotations", "3", *L1, "--out", "OUT/c.json"),
        at("c.json"),
        ATOMS,
    ),
    "atoms check of a calculator": Work(
        ("atoms", "check", "IN/copper.xyz", *EMT[:2], "--n_rotations", "3", *L1, "--out", "OUT/c.json"),
        at("c.json"),
        ATOMS,
    ),
    "atoms dynamics": Work(
        ("atoms", "dynamics", *COPPER, "--frames", "plain", "--runs", "2", "--steps", "3", "--out", "OUT/d.json"),
        at("d.json"),
        ATOMS,
    ),
    "atoms dynamics by a calculator": Work(
        ("atoms", "dynamics", *COPPER_EMT, "--frames", "plain", "--runs", "2", "--steps", "3", "--out", "OUT/d.json"),
        at("d.json"),
        ATOMS,
    ),
    "atoms export": Work(
        ("atoms", "export", "IN/pet", "OUT/m.pt", "--l_max", "1"), at("m.pt", packed), (*ATOMS, "pet"), slow=True
    ),
    "relax": Work(
        ("relax", *COPPER, "--rattle", "0.02", "--steps", "3", "--out", "OUT/r.json"),
        at("r.json"),
        ATOMS,
        slow=True,
    ),
    "phonons": Work(
        ("phonons", *COPPER, "--supercell", "[1,1,1]", "--mesh", "2", "--out", "OUT/p.json"),
        at("p.json"),
        ATOMS,
        slow=True,
    ),
    "relax by a calculator": Work(
        ("relax", *COPPER_EMT, "--rattle", "0.02", "--steps", "3", "--out", "OUT/r.json"),
        at("r.json"),
        ATOMS,
        slow=True,
    ),
    "phonons of a calculator": Work(
        ("phonons", *COPPER_EMT, "--supercell", "[1,1,1]", "--mesh", "2", "--out", "OUT/p.json"),
        at("p.json"),
        ATOMS,
        slow=True,
    ),
}
