"""The trainings of the study of the least bias: ``fit(run, epochs, every)``, for the options of a variant."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from at_equal_time import Fit
from molecules import LOSS, PET, SOAP
from tensors import tensor_targets

from jetsym.atoms import train
from jetsym.benchmarks.copper import train_copper

BATCH, RATE = 4, 3e-3


def fit_ethanol(data: Path, validation: Path, seed: int, options: Mapping[str, Any]) -> Fit:
    """Return the training on energies and forces, of PET or SOAP-BPNN."""
    model = SOAP if options.get("architecture") == "soap_bpnn" else PET
    training = {"loss": LOSS, "num_workers": 0}
    return _fit(data, validation, seed, forces="forces", model=model, training=training, **options)


def fit_tensors(data: Path, validation: Path, seed: int, options: Mapping[str, Any]) -> Fit:
    """Return the training on dipoles and polarizabilities."""
    return _fit(data, validation, seed, targets=tensor_targets(), model=PET, training={"num_workers": 0}, **options)


def _fit(data: Path, validation: Path, seed: int, **options: Any) -> Fit:
    """Return a training for some epochs; one that was stopped goes on."""

    def fit(run: Path, epochs: int, every: int | None) -> object:
        return train(
            str(data),
            out=str(run),
            validation=str(validation),
            epochs=epochs,
            checkpoint_every=every,
            seed=seed,
            device="cpu",
            batch_size=BATCH,
            learning_rate=RATE,
            options={"final_eval": False},
            resume=run.is_dir(),
            progress=False,
            **options,
        )

    return fit


def fit_copper(seed: int, options: Mapping[str, Any], *, quick: bool) -> Fit:
    """Return the training on copper."""

    def fit(run: Path, epochs: int, every: int | None) -> object:
        structures = 20 if quick else 100
        return train_copper(
            run.parent,
            structures=structures,
            epochs=epochs,
            seed=seed,
            progress=False,
            checkpoint_every=every,
            resume=run.is_dir(),
            **options,
        )

    return fit
