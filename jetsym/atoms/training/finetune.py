"""Fine-tuning of a trained PET on structures of one's own, and its uncertainty: metatrain's options for both."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from jetsym.arguments import above, at_least, checked, path
from jetsym.atoms import checkpoint
from jetsym.atoms.architectures import INJECTED
from jetsym.atoms.published import NAME, fetch
from jetsym.atoms.training.train import energy_section, train
from jetsym.errors import ConfigError

__all__ = ["add_uncertainty", "finetune"]

Method = Literal["full", "heads", "lora"]
#: What models of metatrain say of lengths that are in Å, in small letters; some say nothing.
ANGSTROM = ("angstrom", "a", "")
#: Parts of a PET that "heads" trains.
HEADS = {
    "head_modules": ["node_heads", "edge_heads"],
    "last_layer_modules": ["node_last_layers", "edge_last_layers"],
}


@checked(
    data=path,
    out=path,
    model=path,
    rank=at_least(1),
    alpha=above(0),
    epochs=at_least(1),
    batch_size=at_least(1),
    learning_rate=above(0),
    seed=at_least(0),
)
def finetune(
    model: str,
    data: str,
    *,
    out: str,
    method: Method = "full",
    version: str | None = None,
    energy: str = "energy",
    unit: str = "eV",
    forces: str | None = "forces",
    stress: str | None = None,
    virial: str | None = None,
    allow_missing: bool = False,
    variant: str | None = None,
    rank: int = 4,
    alpha: float = 8.0,
    validation: float | str = 0.1,
    epochs: int = 50,
    batch_size: int = 8,
    learning_rate: float = 1e-4,
    checkpoint_every: int | None = None,
    inject: str | None = None,
    penalty: float = 0.0,
    penalty_on: list[str] | None = None,
    seed: int = 0,
    device: str | None = None,
    watch: bool = False,
    watch_on: str | None = None,
    watch_limit: int = 4,
    stop_above: dict[str, float] | None = None,
    stop_below: dict[str, float] | None = None,
    resume: bool = False,
    trust: bool = False,
    progress: bool = True,
) -> Path:
    """Train a PET further on structures of one's own, see metatrain's documentation of fine-tuning.

    Of a model with an uncertainty, such as PET-MAD, it is the PET inside that is trained; the result is a PET without
    one, as its last-layer features are others now. Add it anew: :func:`add_uncertainty`, ``jetsym atoms uncertainty``.
    A model that was trained with ``inject`` keeps what was injected; a PET without it can be given it, and starts with
    the predictions that it has.

    Parameters
    ----------
    model
        A ``.ckpt`` of metatrain or the folder of a run, or the name of a published model such as "pet-mad-s".
    data
        File of structures with energies; lengths in Å.
    out
        Folder of the new run: ``model.ckpt`` and ``model.pt`` in it are the result.
    method
        "full" trains all weights; "heads" the heads and last layers only; "lora" small matrices added to the attention.
    version
        Version of a published model.
    energy, unit, forces, stress, virial
        Names in the file, and the unit of the energy; forces, stress and virial None to train without.
    allow_missing
        Mask forces, stress or virial where they are missing, as for :func:`jetsym.atoms.train`.
    variant
        Train an energy of another kind, such as of another functional, as a head of its own, "energy/VARIANT", that
        starts from that of "energy".
    rank, alpha
        Rank of the matrices of "lora", and the factor that their product is scaled by.
    validation
        The fraction of the structures that is set aside, or another file.
    epochs, batch_size, learning_rate, checkpoint_every, seed, device
        Options of the training, as for :func:`jetsym.atoms.train`.
    inject
        Bias put into the embedding of edges of a PET that has none, such as "harmonics:2", as for
        :func:`jetsym.atoms.train`; the method is then "full".
    penalty, penalty_on
        Weight in the loss of a penalty on A², and what it is taken of, as for :func:`jetsym.atoms.train`.
    watch
        Measure A of the outputs and the spectra of the layers at every checkpoint while it trains, against
        the pretrained model: ``watch.json``, a :class:`~jetsym.atoms.Watch`, and ``watch.png`` in the
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
        Continue from the last whole checkpoint in ``out``, of the same fine-tuning.
    trust
        Open a file that would be refused, as for :func:`jetsym.atoms.load`.
    progress
        Show a progress bar, and losses now and then.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ConfigError
        An option that cannot be used.
    CheckpointError
        There is no such model, or it is no PET.
    TrainingError
        metatrain stopped; the message is its own.
    """
    file, pet = _pet(model, version, trust)
    target = _target(variant)
    source = target if target in pet.dataset_info.targets else "energy"
    _check_target(pet, source, file)
    configs: dict[str, dict[str, Any]] = {"full": {}, "heads": dict(HEADS), "lora": {"rank": rank, "alpha": alpha}}
    return train(
        data,
        out=out,
        targets={target: _section(pet, target, energy, unit, forces, stress, virial)},
        allow_missing=allow_missing,
        length_unit=pet.dataset_info.length_unit,
        validation=validation,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        checkpoint_every=checkpoint_every,
        seed=seed,
        device=device,
        watch=watch,
        watch_on=watch_on,
        watch_limit=watch_limit,
        stop_above=stop_above,
        stop_below=stop_below,
        resume=resume,
        trust=trust,
        progress=progress,
        inject=pet.hypers.get("inject") if inject is None else inject,
        penalty=penalty,
        penalty_on=penalty_on,
        model={name: value for name, value in pet.hypers.items() if name != "inject"},
        training={
            "finetune": {
                "method": method,
                "read_from": str(file),
                "config": configs[method],
                "inherit_heads": {} if source == target else {target: source},
            }
        },
    )


@checked(data=path, out=path, model=path, batch_size=at_least(1), seed=at_least(0))
def add_uncertainty(
    model: str,
    data: str,
    *,
    out: str,
    energy: str = "energy",
    unit: str = "eV",
    forces: str | None = "forces",
    stress: str | None = None,
    virial: str | None = None,
    allow_missing: bool = False,
    variant: str | None = None,
    validation: float | str = 0.1,
    batch_size: int = 8,
    seed: int = 0,
    device: str | None = None,
    resume: bool = False,
    trust: bool = False,
    progress: bool = True,
) -> Path:
    """Add the last-layer uncertainty (LLPR) of the energy to a trained model, by the data that it was trained on.

    Nothing is trained: the covariance of last-layer features is taken over the training set, and one factor is
    calibrated on the validation set; see :func:`jetsym.atoms.workflows.calculators.uncertainty`.

    Parameters
    ----------
    model
        A ``.ckpt`` of metatrain or the folder of a run.
    data
        File of the structures that it was trained on.
    out
        Folder for the new model: ``model.ckpt`` in it.
    energy, unit, forces, stress, virial, allow_missing
        Names in the file, and the unit of the energy; forces, stress and virial as the model was trained with them.
    variant
        Name of an energy of another kind, "energy/VARIANT".
    validation
        The fraction of the structures to calibrate on, or another file.
    batch_size, seed, device, trust, progress
        As for :func:`jetsym.atoms.train`.
    resume
        Begin again in a folder where it was interrupted.

    Returns
    -------
    Path
        The folder.
    """
    file, content = _checkpoint(model, None, trust)
    if "wrapped_model_checkpoint" in content:
        raise ConfigError(f"{file} has an uncertainty already; give the checkpoint of the model that it was added to")
    known: Any = checkpoint.model_from(content, file)
    target = _target(variant)
    _check_target(known, target, file)
    if getattr(known, "finetune_config", {}).get("method") == "lora":
        raise ConfigError(
            f"{file} was fine-tuned by 'lora', and metatrain cannot read such a model back once it has an uncertainty; "
            "fine-tune by 'full' or 'heads'"
        )
    architecture = {
        "name": "llpr",
        "model": {},
        "training": {"model_checkpoint": str(file), "batch_size": batch_size, "num_workers": 0},
    }
    return train(
        data,
        out=out,
        targets={target: _section(known, target, energy, unit, forces, stress, virial)},
        allow_missing=allow_missing,
        length_unit=known.dataset_info.length_unit,
        validation=validation,
        batch_size=batch_size,
        seed=seed,
        device=device,
        resume=resume,
        trust=trust,
        progress=progress,
        options={"architecture": architecture},
    )


def _target(variant: str | None) -> str:
    return "energy" if variant is None else f"energy/{variant}"


def _check_target(model: Any, target: str, file: Path) -> None:
    targets, length = model.dataset_info.targets, model.dataset_info.length_unit
    if length.lower() not in ANGSTROM:
        raise ConfigError(f"{file} takes lengths in {length!r}; expected a model that takes them in Å")
    if target not in targets:
        energies = [name for name in targets if name.startswith("energy/")]
        remedy = f"; give variant={energies[0].partition('/')[2]!r}" if energies else ""
        raise ConfigError(f"{file} has no {target!r}; it predicts {', '.join(map(repr, targets))}{remedy}")


def _section(
    model: Any,
    target: str,
    key: str,
    unit: str,
    forces: str | None,
    stress: str | None,
    virial: str | None,
) -> dict[str, Any]:
    """Return metatrain's section of an energy, in the words of the model: it compares units and descriptions."""
    known = model.dataset_info.targets.get(target)
    if known is not None and known.unit.lower() not in ("", unit.lower()):
        raise ConfigError(f"unit is {unit!r}, but {target!r} of the model is in {known.unit!r}; convert the data first")
    words = {"unit": unit} if known is None else {"unit": known.unit, "description": known.description}
    return {**energy_section(key, unit, forces, stress, virial), **words}


def _pet(model: str, version: str | None, trust: bool) -> tuple[Path, Any]:
    """Load the checkpoint of a PET, with an uncertainty or without; return its file and the PET in it.

    metatrain trains what is inside a model with an uncertainty, so that it need not be taken out of the file.
    """
    file, content = _checkpoint(model, version, trust)
    inner = content["wrapped_model_checkpoint"] if content["architecture_name"] == "llpr" else content
    if inner["architecture_name"] not in ("pet", INJECTED):
        raise ConfigError(f"{file} is of the architecture {inner['architecture_name']!r}; only 'pet' can be fine-tuned")
    built: Any = checkpoint.model_from(content, file)  # by metatrain, which brings older ones up to date
    return file, getattr(built, "model", built)


def _checkpoint(model: str, version: str | None, trust: bool) -> tuple[Path, dict[str, Any]]:
    """Return file and content of a checkpoint, read without running anything before metatrain opens it itself."""
    published = NAME.fullmatch(str(model)) and not Path(model).exists()
    file = fetch(model, version=version) if published else checkpoint.find(model)
    if file.suffix != ".ckpt":
        raise ConfigError(f"{file} is an export, which cannot be trained any further; give the .ckpt")
    return file.resolve(), checkpoint.read_checkpoint(file, trust=trust)
