"""Training of metatrain's models: a thin layer over the options of ``mtt train``.

The training runs in a process of its own, as metatrain seeds global generators and sets up logging for itself. Its
folder holds

==================  ====================================================================================
``train.yaml``      the options of ``jetsym atoms train``, as its ``--config`` takes them
``options.yaml``    the same in metatrain's terms, as it was given them
``model_5.ckpt`` …  checkpoints along the way, for :func:`jetsym.atoms.over_training`
``model.ckpt``      the model with the weights that validated best; ``model.pt`` is its export
``train.csv``       metrics by epoch
``train.log``       metatrain's log, and ``output.txt`` the same with warnings
==================  ====================================================================================
"""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from jetsym.atoms.checkpoint import FINAL, epochs_in, is_whole, read_checkpoint
from jetsym.atoms.exports import read_export
from jetsym.atoms.read import FORMATS, read_frames
from jetsym.atoms.training.runner import FAILED
from jetsym.errors import ConfigError, DataError, TrainingError, expect_at_least, expect_one_of, require
from jetsym.files import check_out, expect_data, finished_file, write_atomically
from jetsym.locks import locked
from jetsym.progress import progress_bar

__all__ = ["ARCHITECTURES", "GIVEN", "OPTIONS", "energy_section", "train"]

GIVEN, OPTIONS, OUTPUT, METRICS = "train.yaml", "options.yaml", "output.txt", "train.csv"
RUNNER = (sys.executable, "-m", "jetsym.atoms.training.runner")
ARCHITECTURES = ("pet", "soap_bpnn")
#: How metatrain says that an epoch is over.
EPOCH = re.compile(r"Epoch:\s*(\d+)")


def train(
    data: str,
    *,
    out: str,
    architecture: Literal["pet", "soap_bpnn"] = "pet",
    energy: str = "energy",
    unit: str = "eV",
    forces: str | None = None,
    stress: str | None = None,
    targets: dict[str, Any] | None = None,
    length_unit: str = "angstrom",
    validation: float | str = 0.1,
    test: float | str = 0.0,
    epochs: int = 100,
    batch_size: int = 8,
    learning_rate: float | None = None,
    checkpoint_every: int | None = None,
    augment: bool = True,
    precision: Literal[32, 64] = 32,
    seed: int = 0,
    device: str | None = None,
    model: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    resume: bool = False,
    trust: bool = False,
    progress: bool = True,
) -> Path:
    """Train a PET, or SOAP-BPNN as the exactly equivariant reference, on structures with energies or other targets.

    Parameters
    ----------
    data
        File of structures that ASE reads, such as extended XYZ; lengths in Å.
    out
        Folder of the run; a new one, or with ``resume`` one to continue.
    architecture
        "pet" or "soap_bpnn".
    energy, unit
        Name of the energies in the file, and their unit.
    forces, stress
        Names of forces and stress in the file, which the slopes of the energy are then trained on; None for neither.
    targets
        metatrain's section of targets, in place of the energy.
    length_unit
        metatrain's name for Å, which it writes into the model.
    validation, test
        The fraction of the structures that is set aside, or another file.
    epochs, batch_size, learning_rate
        metatrain's ``num_epochs``, ``batch_size`` and ``learning_rate`` (None: its own default).
    checkpoint_every
        Epochs between checkpoints; by default ten over the run.
    augment
        Show PET every structure under a random rotation or improper rotation, anew in every epoch. metatrain has no
        option for this; without, its augmentation is replaced by the identity. SOAP-BPNN needs and has none.
    precision
        32 or 64 bits.
    seed
        Seed of splits, weights and augmentation.
    device
        metatrain's ``device``, such as "cpu" or "cuda"; None for its choice.
    model, training, options
        Further options of metatrain: of ``architecture.model``, of ``architecture.training``, and at the top.
    resume
        Continue from the last whole checkpoint in the folder, which is read without running anything.
    trust
        Open files that would be refused, as for :func:`jetsym.atoms.load`: the checkpoint that the run goes on from,
        and those that the options name, which metatrain itself unpickles.
    progress
        Show a progress bar on the standard error stream.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ConfigError
        An option that cannot be used, or a folder that is in use.
    LockedError
        Another process is writing to the folder.
    DataError
        There is no such file of structures, or no forces or stress of that name in it.
    CheckpointError
        A file to go on from, or one that the options name, cannot be read or is refused.
    TrainingError
        metatrain stopped; the message is its own.
    MissingDependencyError
        The extra ``atoms`` is not installed.
    """
    given = dict(locals())
    require("metatrain", extra="atoms", purpose="jetsym atoms train")
    _check(architecture, epochs, batch_size, precision, validation, test, checkpoint_every)
    folder = Path(out).expanduser()
    every = checkpoint_every or max(1, epochs // 10)
    section = targets or {"energy": energy_section(energy, unit, forces, stress)}
    content: dict[str, Any] = {
        "seed": seed,
        "base_precision": precision,
        **({} if device is None else {"device": device}),
        "architecture": {
            "name": architecture,
            "model": dict(model or {}),
            "training": {
                "num_epochs": epochs,
                "batch_size": batch_size,
                "log_interval": 1,
                "checkpoint_interval": every,
                **({} if learning_rate is None else {"learning_rate": learning_rate}),
                **({} if augment else {"num_workers": 0}),  # other processes would augment again
                **(training or {}),
            },
        },
        "training_set": _set(data, section, length_unit),
        "validation_set": _held_out(validation, section, length_unit),
        "test_set": _held_out(test, section, length_unit),
        **(options or {}),
    }
    read = [data, validation, test, (training or {}).get("finetune", {}).get("read_from")]
    check_out(folder, inputs=[part for part in read if isinstance(part, str)], folder=True)
    if not trust:
        _check_files(content["architecture"])
    with locked(folder, "jetsym atoms train"):
        start = _prepare(folder, resume, trust)
        for name, values in {GIVEN: _again(given), OPTIONS: content}.items():
            write_atomically(folder / name, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
        with progress_bar("training", epochs, shown=progress) as advance:
            advance(0 if start is None else start[0] + 1)
            _run(folder, augment=augment, trust=trust, start=None if start is None else start[1], advance=advance)
        if start is not None:
            _join_metrics(folder / METRICS)
    return folder


def _check(
    architecture: str,
    epochs: int,
    batch_size: int,
    precision: int,
    validation: float | str,
    test: float | str,
    checkpoint_every: int | None,
) -> None:
    expect_one_of("architecture", architecture, ARCHITECTURES)
    for name, value in {"epochs": epochs, "batch_size": batch_size, "checkpoint_every": checkpoint_every}.items():
        if value is not None:
            expect_at_least(name, value, 1)
    expect_one_of("precision", precision, (32, 64))
    for name, part in {"validation": validation, "test": test}.items():
        if not isinstance(part, str) and not 0 <= part < 1:
            raise ConfigError(f"{name} is {part}; expected a fraction from 0 to below 1, or a file")


def _again(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that train another run in the same way, from wherever it is started."""
    parts = {name: given[name] for name in ("data", "validation", "test")}
    files = {name: str(_file(part)) for name, part in parts.items() if not isinstance(part, (int, float))}
    return {name: value for name, value in given.items() if name not in ("out", "resume", "trust", "progress")} | files


def energy_section(key: str, unit: str, forces: str | None, stress: str | None) -> dict[str, Any]:
    """Return metatrain's section of an energy."""
    slopes = {"forces": forces, "stress": stress}
    named = {name: False if found is None else {"key": found} for name, found in slopes.items()}
    return {"quantity": "energy", "key": key, "unit": unit, **named}


def _set(data: str, targets: Mapping[str, Any], length_unit: str) -> dict[str, Any]:
    """Return metatrain's section of a file of structures."""
    file = _file(data)
    expect_data(file)
    if not file.is_file():
        raise DataError(f"there is no file {file}; expected structures, such as extended XYZ")
    _check_slopes(file, targets)
    return {"systems": {"read_from": str(file), "length_unit": length_unit}, "targets": dict(targets)}


def _file(name: str) -> Path:
    return Path(name).expanduser().resolve()


def _check_slopes(file: Path, targets: Mapping[str, Any]) -> None:
    """Refuse forces or stress that a file does not have: metatrain trains without, and says so in its log alone."""
    named = {
        slope: section[slope]["key"]
        for section in targets.values()
        for slope in ("forces", "stress", "virial")
        if isinstance(section, Mapping) and isinstance(section.get(slope), Mapping) and "key" in section[slope]
    }
    if not named or file.suffix.lower() not in FORMATS:
        return
    frames = read_frames(file, limit=1)
    if not frames:
        raise DataError(f"{file} holds no structures")
    first = frames[0]
    there = {*first.arrays, *first.info, *(first.calc.results if first.calc else ())} - {"numbers", "positions"}
    for slope, key in named.items():
        if key not in there:
            raise DataError(
                f"{slope} is {key!r}, which {file} does not have; its first structure has "
                f"{', '.join(sorted(there)) or 'nothing'} (give {slope}=null to train without)"
            )


def _held_out(part: float | str, targets: Mapping[str, Any], length_unit: str) -> Any:
    return _set(part, targets, length_unit) if isinstance(part, str) else float(part)


def _check_files(options: Any) -> None:
    """Refuse checkpoints and exports that options name and that hold what may run, as metatrain would run it."""
    if isinstance(options, str) and Path(options).suffix in (".ckpt", ".pt"):
        read_export(options) if options.endswith(".pt") else read_checkpoint(options)
    elif isinstance(options, (Mapping, list, tuple)):
        for value in options.values() if isinstance(options, Mapping) else options:
            _check_files(value)


def _prepare(folder: Path, resume: bool, trust: bool) -> tuple[int, Path] | None:
    """Prepare the folder of a run; return epoch and checkpoint to go on from, looked at for what it may run."""
    if not resume and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise ConfigError(f"out is {folder}, which is not empty; choose another folder, or resume=true to continue")
    shutil.rmtree(folder / "indices", ignore_errors=True)  # metatrain writes them anew, but not over others
    epochs = epochs_in(folder)
    if not resume or not epochs:
        return None
    # One that was being written when the run was killed has no end; the one before it serves as well.
    last = max([epoch for epoch, file in epochs.items() if is_whole(file)] or epochs)
    read_checkpoint(epochs[last], trust=trust)  # metatrain itself would run what is in there
    return last, epochs[last]


def _join_metrics(file: Path) -> None:
    """Join the metrics of a continued run: metatrain appends to them, with the names once more and repeated epochs."""
    if not file.is_file():
        return
    with file.open(encoding="utf-8", newline="") as text:
        lines = [*csv.reader(text), [], []]
    (names, units), rows = lines[:2], lines[2:]
    epochs = {row[0].strip(): row for row in rows if len(row) == len(names) and row[0].strip().isdecimal()}
    with finished_file(file) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as text:
        csv.writer(text).writerows([names, units, *(epochs[epoch] for epoch in sorted(epochs, key=int))])


def _run(folder: Path, *, augment: bool, trust: bool, start: Path | None, advance: Callable[[int], None]) -> None:
    """Run metatrain in a process of its own, and keep its output and count its epochs."""
    command = [*RUNNER, str(folder.resolve())]
    command += [] if augment else ["--no-augmentation"]
    command += ["--trust"] if trust else []
    command += [] if start is None else ["--restart", str(start.resolve())]
    # Nothing is written to its input, which ends with this process: then it stops as well.
    streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    said = failed = ""
    with (
        (folder / OUTPUT).open("w", encoding="utf-8") as record,
        subprocess.Popen(command, text=True, encoding="utf-8", errors="replace", **streams) as process,
    ):
        try:
            assert process.stdout is not None
            for line in process.stdout:
                record.write(line)
                failed = line.strip().removeprefix(FAILED) if line.startswith(FAILED) else failed
                said = line.strip() or said
                advance(1 if EPOCH.search(line) else 0)
        except BaseException:
            process.terminate()
            raise
    if process.returncode or not (folder / FINAL).is_file():
        reason = failed or said or "it said nothing"
        raise TrainingError(f"metatrain stopped: {reason} (all it said is in {folder / OUTPUT})")
