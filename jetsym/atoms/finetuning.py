"""Fine-tuning a trained PET on structures of one's own, and giving it an uncertainty: metatrain's options for both."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from jetsym.atoms import checkpoint
from jetsym.atoms.published import NAME, fetch
from jetsym.atoms.training import train
from jetsym.errors import ConfigError

__all__ = ["add_uncertainty", "finetune"]

Method = Literal["full", "heads", "lora"]
#: Parts of a PET that "heads" trains.
HEADS = {
    "head_modules": ["node_heads", "edge_heads"],
    "last_layer_modules": ["node_last_layers", "edge_last_layers"],
}


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
    variant: str | None = None,
    rank: int = 4,
    alpha: float = 8.0,
    validation: float | str = 0.1,
    epochs: int = 50,
    batch_size: int = 8,
    learning_rate: float = 1e-4,
    seed: int = 0,
    device: str | None = None,
    progress: bool = True,
) -> Path:
    """Train a PET further on structures of one's own, see metatrain's documentation of fine-tuning.

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
        Of a published model.
    energy, unit, forces, stress
        Names in the file, and the unit of the energy.
    variant
        Train an energy of another kind, such as of another functional, as a head of its own, "energy/VARIANT", that
        starts from that of "energy".
    rank, alpha
        Of the matrices of "lora", and what their product is scaled by.
    validation
        The fraction of the structures that is set aside, or another file.
    epochs, batch_size, learning_rate, seed, device
        Of the training.
    progress
        Show a progress bar.

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
    if method not in ("full", "heads", "lora"):
        raise ConfigError(f"method is {method!r}; expected 'full', 'heads' or 'lora'")
    if rank < 1:
        raise ConfigError(f"rank is {rank}; expected at least 1")
    file, content = _pet(model, version)
    target = "energy" if variant is None else f"energy/{variant}"
    configs: dict[str, dict[str, Any]] = {"full": {}, "heads": dict(HEADS), "lora": {"rank": rank, "alpha": alpha}}
    slopes = {"forces": forces, "stress": stress}
    section: dict[str, Any] = {"quantity": "energy", "key": energy, "unit": unit}
    section |= {name: False if key is None else {"key": key} for name, key in slopes.items()}
    return train(
        data,
        out=out,
        targets={target: section},
        validation=validation,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        device=device,
        progress=progress,
        model=dict(content["model_data"]["model_hypers"]),
        training={
            "finetune": {
                "method": method,
                "read_from": str(file),
                "config": configs[method],
                "inherit_heads": {} if variant is None else {target: "energy"},
            }
        },
    )


def add_uncertainty(
    model: str,
    data: str,
    *,
    out: str,
    energy: str = "energy",
    unit: str = "eV",
    forces: str | None = "forces",
    stress: str | None = None,
    validation: float | str = 0.1,
    batch_size: int = 8,
    seed: int = 0,
    device: str | None = None,
    progress: bool = True,
) -> Path:
    """Add the last-layer uncertainty (LLPR) of the energy to a trained model, by the data that it was trained on.

    Nothing is trained: the covariance of last-layer features is taken over the training set, and one factor is
    calibrated on the validation set; see :func:`jetsym.atoms.calculators.uncertainty`.

    Parameters
    ----------
    model
        A ``.ckpt`` of metatrain or the folder of a run.
    data
        File of the structures that it was trained on.
    out
        Folder for the new model: ``model.ckpt`` in it.
    energy, unit, forces, stress
        Names in the file, and the unit of the energy; forces and stress as the model was trained with them.
    validation
        The fraction of the structures to calibrate on, or another file.
    batch_size, seed, device, progress
        As for :func:`jetsym.atoms.train`.

    Returns
    -------
    Path
        The folder.
    """
    file, _ = _checkpoint(model, None)
    architecture = {
        "name": "llpr",
        "model": {},
        "training": {"model_checkpoint": str(file), "batch_size": batch_size, "num_workers": 0},
    }
    return train(
        data,
        out=out,
        energy=energy,
        unit=unit,
        forces=forces,
        stress=stress,
        validation=validation,
        batch_size=batch_size,
        seed=seed,
        device=device,
        progress=progress,
        options={"architecture": architecture},
    )


def _pet(model: str, version: str | None) -> tuple[Path, dict[str, Any]]:
    """File and content of the checkpoint of a PET; of what an uncertainty was added to, where that is what it is."""
    file, content = _checkpoint(model, version)
    name = content["architecture_name"]
    if name != "pet":
        hint = "; give the checkpoint of the PET that the uncertainty was added to" if name == "llpr" else ""
        raise ConfigError(f"{file} is of the architecture {name!r}; only 'pet' can be fine-tuned{hint}")
    return file, content


def _checkpoint(model: str, version: str | None) -> tuple[Path, dict[str, Any]]:
    """File and content of a checkpoint, which is read without running anything before metatrain opens it itself."""
    published = NAME.fullmatch(str(model)) and not Path(model).exists()
    file = fetch(model, version=version) if published else checkpoint.find(model)
    if file.suffix != ".ckpt":
        raise ConfigError(f"{file} is an export, which cannot be trained any further; give the .ckpt")
    return file.resolve(), checkpoint.read_checkpoint(file)
