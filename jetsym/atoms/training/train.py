"""Training of metatrain's models: a thin layer over the options of ``mtt train``.

The training runs in a process of its own, as metatrain seeds global generators and sets up logging for itself. Its
folder holds

==================  ====================================================================================
``train.yaml``      the options of ``jetsym atoms train``, as its ``--config`` takes them
``options.yaml``    the same in metatrain's terms, as it was given them
``model_5.ckpt`` …  checkpoints along the way, for :func:`jetsym.atoms.over_training`
``watch.json``      with ``watch``, the symmetry at these checkpoints, and ``watch.png``
``model.ckpt``      the model with the weights that validated best; ``model.pt`` is its export
``train.csv``       metrics by epoch
``train.log``       metatrain's log, and ``output.txt`` the same with warnings
==================  ====================================================================================
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from jetsym.arguments import above, at_least, checked, path
from jetsym.atoms.architectures.bias import bias_of, expect_start
from jetsym.atoms.checkpoint import read_checkpoint
from jetsym.atoms.exports import read_export
from jetsym.atoms.training.data import Part, file_of, read_part, split
from jetsym.atoms.training.folder import (
    COPIES,
    GIVEN,
    INDICES,
    METRICS,
    OPTIONS,
    as_it_was,
    best_of,
    join_metrics,
    where_to_go_on,
)
from jetsym.atoms.training.process import run
from jetsym.atoms.training.said import Said
from jetsym.atoms.training.watch import Watcher, watched_frames
from jetsym.atoms.training.watch_report import bounds_of
from jetsym.errors import ConfigError, require
from jetsym.files import check_out, write_atomically
from jetsym.locks import locked
from jetsym.progress import progress_bar

__all__ = ["ARCHITECTURES", "GIVEN", "OPTIONS", "energy_section", "train"]
ARCHITECTURES = ("pet", "soap_bpnn")


@checked(
    data=path,
    out=path,
    epochs=at_least(1),
    batch_size=at_least(1),
    learning_rate=above(0),
    checkpoint_every=at_least(1),
    seed=at_least(0),
)
def train(
    data: str,
    *,
    out: str,
    architecture: Literal["pet", "soap_bpnn"] = "pet",
    inject: str | None = None,
    penalty: float = 0.0,
    penalty_on: list[str] | None = None,
    energy: str = "energy",
    unit: str = "eV",
    forces: str | None = None,
    stress: str | None = None,
    virial: str | None = None,
    allow_missing: bool = False,
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
    watch: bool = False,
    watch_on: str | None = None,
    watch_limit: int = 4,
    stop_above: dict[str, float] | None = None,
    stop_below: dict[str, float] | None = None,
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
    inject
        Bias put into a PET. "harmonics:λ", solid harmonics of the edge vectors up to λ from 1 to 8, or "invariants",
        distances and angles between the edges of an atom, are seen by the embedding of edges, with weights that are
        zero at first, so that the run starts as without. "tensor-basis" makes targets that are vectors or tensors as
        scalars of the PET times tensors of its edge vectors, which turn as they should whatever is learned. Several
        stand with commas between them, "harmonics:2,invariants". The ``.ckpt`` needs jetsym, the ``.pt`` does not.
    penalty
        Weight in the loss of a penalty on the A² of a PET under O(3), 0 for none: in units of the loss, per atom and
        component, from two random positions of every structure in every step. It takes one more pass of twice as many
        structures, without forces, and is said with the losses.
    penalty_on
        What it weighs: targets by name, and layers by name or pattern such as "gnn_layers.0_node", of which it is the
        share of power that is not invariant. By default all targets.
    energy, unit
        Name of the energies in the file, and their unit.
    forces, stress
        Names of forces and stress in the file, which the slopes of the energy are then trained on; None for neither.
        Every structure must have them, the stress as (3, 3) and with its sign, positive under tension, in ``unit`` per
        Å³; a name that holds virials is refused.
    virial
        Name of the virial −V σ in the file, (3, 3) in ``unit``, in place of the stress.
    allow_missing
        Train on structures that lack forces, stress or virial as well, or have them as NaN: they are masked, and
        counted. Energies must be there, as the composition baseline is fitted to all of them.
    targets
        metatrain's section of targets, in place of the energy, forces, stress and virial.
    length_unit
        metatrain's name for Å, which it writes into the model.
    validation, test
        The fraction of the structures that is set aside, one of them at least, or another file.
    epochs, batch_size, learning_rate
        metatrain's ``num_epochs``, ``batch_size`` (no more than there are structures) and ``learning_rate`` (None: its
        own default).
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
        Further options of metatrain: of ``architecture.model``, of ``architecture.training``, and at the top. The size
        of a PET is in the first: "d_pet" (128), "d_node" (256), "d_head" (128), "d_feedforward" (256), "num_heads" (8),
        "num_attention_layers" (2), "num_gnn_layers" (2) and "cutoff" (4.5 Å), by default as in brackets.
    watch
        Measure A of the outputs and the spectra of the layers at every checkpoint while it trains, beside the
        pretrained model if there is one: ``watch.json``, a :class:`~jetsym.atoms.Watch`, and ``watch.png`` in the
        folder. This is done on the CPU by this process, in one thread that gives way to the training.
    watch_on
        File of the structures to measure on; by default those of the validation, where that is a file, or else those
        that are trained on.
    watch_limit
        Measure on at most so many structures, taken evenly from the file.
    stop_above, stop_below
        Output -> A in the unit of the output, such as {"forces": 0.05} in eV/Å: the training ends at the first
        checkpoint where A is above or below it, with its model. They need ``watch``, and then the training waits at
        every checkpoint until it is measured.
    resume
        Continue from the last whole checkpoint in the folder, which is read without running anything. Where that is
        refused, the folder stays as it was.
    trust
        Open files that would be refused, as for :func:`jetsym.atoms.load`: the checkpoint that the run goes on from,
        and those that the options name, which metatrain itself unpickles.
    progress
        Show a progress bar, and losses now and then, on the standard error stream.

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
        There is no such file of structures, or a structure in it cannot be used, or lacks what is to be trained on.
    CheckpointError
        A file to go on from, or one that the options name, cannot be read or is refused.
    TrainingError
        metatrain stopped; the message is its own.
    MissingDependencyError
        The extra ``atoms`` is not installed.
    """
    given = dict(locals())
    require("metatrain", extra="atoms", purpose="jetsym atoms train")
    _check(validation=validation, test=test)
    _check_watch(watch, watch_on=watch_on, stop_above=stop_above, stop_below=stop_below)
    folder = Path(out).expanduser()
    every = checkpoint_every or max(1, epochs // 10)
    section = targets or {"energy": energy_section(energy, unit, forces, stress, virial)}
    bias = bias_of(architecture, inject, penalty, penalty_on, section)
    finetuned = (training or {}).get("finetune", {})
    start_of = finetuned.get("read_from")
    read = [data, validation, test, watch_on, start_of]
    check_out(folder, inputs=[part for part in read if isinstance(part, str)], folder=True)
    parts = {"training_set": data, "validation_set": validation, "test_set": test}
    sets = {
        name: read_part(part, section, length_unit, allow_missing=allow_missing)
        for name, part in parts.items()
        if not isinstance(part, (int, float))
    }
    fractions, numbers = _split(sets, validation, test)
    content: dict[str, Any] = {
        "seed": seed,
        "base_precision": precision,
        **({} if device is None else {"device": device}),
        "architecture": {
            "name": bias.architecture,
            "model": {**(model or {}), **bias.model},
            "training": {
                "num_epochs": epochs,
                "batch_size": batch_size,
                "log_interval": 1,
                "checkpoint_interval": every,
                **({} if learning_rate is None else {"learning_rate": learning_rate}),
                **({} if augment else {"num_workers": 0}),  # other processes would augment again
                **bias.training,
                **(training or {}),
            },
        },
        **{name: sets[name].section if name in sets else fractions[name] for name in parts},
        **(options or {}),
    }
    words = [*(part.words for part in sets.values()), _fit_batches(content["architecture"], numbers)]
    if not trust:
        _check_files(content["architecture"])
    if start_of is not None:
        expect_start(inject, start_of, read_checkpoint(start_of, trust=trust), method=finetuned.get("method", "full"))
    watcher = None
    if watch:
        bounds, frames = bounds_of(stop_above, stop_below, section), watched_frames(watch_on, sets, watch_limit)
        watcher = Watcher(folder, frames, section, finetuned, bounds, trust=trust, shown=progress)
    with locked(folder, "jetsym atoms train"):
        start = where_to_go_on(folder, resume, trust, inject)
        with as_it_was(folder) as keep:
            _write(folder, sets, {GIVEN: _again(given), OPTIONS: content})
            print(*filter(None, words), sep="\n", flush=True)
            if watcher is not None:
                watcher.begin(None if start is None else start[0])
            with progress_bar("training", epochs, shown=progress) as advance:
                advance(0 if start is None else start[0] + 1)
                said = Said(epochs, advance, keep, shown=progress)
                run(
                    folder,
                    augment=augment,
                    trust=trust,
                    start=None if start is None else start[1],
                    said=said,
                    watcher=watcher,
                )
        if start is not None:
            join_metrics(folder / METRICS)
        if watcher is not None:
            print(watcher.finish(), end="")
        if best := best_of(folder, trust=trust):
            print(best, flush=True)
    return folder


def _split(
    sets: Mapping[str, Part], validation: float | str, test: float | str
) -> tuple[dict[str, float], dict[str, int]]:
    """Return the fractions of validation and test, and how many structures there are of each, where that is known."""
    known = {name.removesuffix("_set"): len(part.frames) for name, part in sets.items() if part.frames is not None}
    if "training" not in known:
        given = {"validation": validation, "test": test}
        return {f"{name}_set": float(part) for name, part in given.items() if isinstance(part, (int, float))}, {}
    fractions, numbers = split(known["training"], validation, test)
    numbers |= {name: number for name, number in known.items() if name != "training"}
    return {f"{name}_set": fraction for name, fraction in fractions.items()}, numbers


def _fit_batches(architecture: dict[str, Any], numbers: Mapping[str, int]) -> str:
    """Make batches no larger than metatrain can fill; return in words how structures are used."""
    training = architecture.get("training", {})
    asked, parts = training.get("batch_size", 0), ["training", *(["validation"] * (architecture.get("name") == "llpr"))]
    words = ", ".join(f"{number} for {name}" for name, number in numbers.items() if number)
    less = min([numbers[name] for name in parts if numbers.get(name)], default=asked)
    if less < asked:
        architecture["training"] = {**training, "batch_size": less}
        words += f", in batches of {less}"
    return words


def _write(folder: Path, sets: Mapping[str, Part], options: Mapping[str, Any]) -> None:
    """Write the options of a run, and copies of structures where metatrain needs them."""
    shutil.rmtree(folder / INDICES, ignore_errors=True)  # metatrain writes them anew, but not over others
    for name, part in sets.items():
        if part.filled:
            part.write_copy(folder / COPIES[name])
    for name, values in options.items():
        write_atomically(folder / name, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def _check(**parts: float | str) -> None:
    for name, part in parts.items():
        if not isinstance(part, str) and not 0 <= part < 1:
            raise ConfigError(f"{name} is {part}; expected a fraction from 0 to below 1, or a file")


def _check_watch(watch: bool, **options: Any) -> None:
    """Refuse options that need ``watch`` without it."""
    for name, value in options.items():
        if value is not None and not watch:
            raise ConfigError(f"{name} is {value!r}, and watch is off; expected watch=true (--watch) with it")


def _again(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that train another run in the same way, from wherever it is started."""
    parts = {name: given[name] for name in ("data", "validation", "test")}
    files = {name: str(file_of(part)) for name, part in parts.items() if not isinstance(part, (int, float))}
    if given["watch_on"] is not None:
        files["watch_on"] = str(file_of(given["watch_on"]))
    return {name: value for name, value in given.items() if name not in ("out", "resume", "trust", "progress")} | files


def energy_section(
    key: str, unit: str, forces: str | None, stress: str | None, virial: str | None = None
) -> dict[str, Any]:
    """Return metatrain's section of an energy.

    Raises
    ------
    ConfigError
        Both stress and virial are given.
    """
    if stress is not None and virial is not None:
        raise ConfigError(f"stress is {stress!r} and virial is {virial!r}, which are the same but for −V; give one")
    slopes = {"forces": forces, "stress": stress, **({} if virial is None else {"virial": virial})}
    named = {name: False if found is None else {"key": found} for name, found in slopes.items()}
    return {"quantity": "energy", "key": key, "unit": unit, **named}


def _check_files(options: Any) -> None:
    """Refuse checkpoints and exports that options name and that hold what may run, as metatrain would run it."""
    if isinstance(options, str) and Path(options).suffix in (".ckpt", ".pt"):
        read_export(options) if options.endswith(".pt") else read_checkpoint(options)
    elif isinstance(options, (Mapping, list, tuple)):
        for value in options.values() if isinstance(options, Mapping) else options:
            _check_files(value)
