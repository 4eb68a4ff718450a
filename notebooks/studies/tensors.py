"""Dipoles and polarizabilities of molecules as targets of metatrain, and the errors of models of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from molecules import TEST, VALIDATION
from scipy.spatial.transform import Rotation

import jetsym
from jetsym.atoms import load, read_frames
from jetsym.atoms.packages import quiet
from jetsym.errors import DataError
from jetsym.files import finished_file
from jetsym.spectrum.representations import Kind, representation

#: Options of the training of each variant.
TENSORS: dict[str, dict[str, Any]] = {
    "as they come": {"augment": False},
    "augmented": {},
    "harmonics": {"inject": "harmonics:2"},
    "tensor basis": {"inject": "tensor-basis"},
    "tensor basis, harmonics": {"inject": "harmonics:2,tensor-basis"},
}
#: Name of a target -> its key in the files that are written, and what it is.
TARGETS: dict[str, tuple[str, Kind]] = {
    "mtt::mu": ("mu", "vector"),
    "mtt::alpha0": ("alpha0", (0, 1)),
    "mtt::alpha2": ("alpha2", (2, 1)),
}
#: How a target is called in the tables.
WORDS = {"mtt::mu": "μ", "mtt::alpha0": "α λ=0", "mtt::alpha2": "α λ=2"}
TENSOR_COLUMNS = {
    **{f"{name} rotated": f"{word}, RMSE rotated" for name, word in WORDS.items()},
    **{f"A {name}": f"{word}, A" for name, word in WORDS.items()},
    "epoch_s": "s per epoch",
    "train_s": "training s",
}
#: Rotations of every molecule, half of them mirrored.
TIMES = 4


def tensor_targets() -> dict[str, Any]:
    """Return metatrain's section of the targets, in the units of the file."""
    sections = {}
    for name, (key, kind) in TARGETS.items():
        irreps = [] if isinstance(kind, str) else [dict(zip(("o3_lambda", "o3_sigma"), kind, strict=True))]
        section = {"spherical": {"irreps": irreps}} if irreps else {"cartesian": {"rank": 1}}
        sections[name] = {"key": key, "quantity": "", "unit": "", "type": section}
    return sections


def split_tensors(data: Path, out: Path) -> list[Any]:
    """Write molecules to learn from and to validate on, with polarizabilities by λ, and return those to measure."""
    from ase.io import write

    rank2, frames = representation("rank2"), read_frames(data)
    for place, frame in enumerate(frames):
        if np.size(frame.info.get("alpha", ())) != 9 or np.size(frame.info.get("mu", ())) != 3:
            raise DataError(f"molecule {place} of {data} lacks its dipole mu (3) or its polarizability alpha (3, 3)")
        blocks = rank2.to_blocks(np.reshape(frame.info.pop("alpha"), (3, 3)))
        scalar, _, quadrupole = (blocks[place] for place in rank2.slices)
        frame.info |= {"alpha0": float(scalar[0]), "alpha2": quadrupole}
    places = np.arange(len(frames))
    validation, test = set(places[VALIDATION]), set(places[TEST])
    parts = {
        "train": [frames[place] for place in places if place not in validation | test],
        "validation": [frames[place] for place in sorted(validation)],
    }
    for name, part in parts.items():
        with finished_file(out / f"{name}.xyz") as unfinished:
            write(unfinished, part, format="extxyz")
    return [frames[place] for place in sorted(test - validation)]


def measure_tensors(run: Path, frames: list[Any]) -> dict[str, float]:
    """Measure errors by component on molecules as they come and rotated at random, and A by component.

    The export is asked, which adds the composition baseline of what is invariant.
    """
    model, found = load(run / "model.pt"), {}
    matrices = Rotation.random(TIMES, rng=0).as_matrix() * ((-1.0) ** np.arange(TIMES))[:, None, None]
    with quiet(), torch.no_grad():
        given = [_errors(model, frame, np.eye(3)[None]) for frame in frames]
        moved = [_errors(model, frame, matrices) for frame in frames]
        report: Any = jetsym.probe(model, frames, l_max=4, baseline=None, progress=False)
    for name, (_, kind) in TARGETS.items():
        found[name] = _rms([each[name] for each in given])
        found[f"{name} rotated"] = _rms([each[name] for each in moved])
        found[f"A {name}"] = report.equivariance[name].absolute / len(representation(kind).basis) ** 0.5
    return found


def _errors(model: Any, frame: Any, matrices: Any) -> dict[str, Any]:
    """Return the errors of a molecule in some orientations, component by component."""
    predicted = model(model.structures([frame]).moved(matrices))
    errors = {}
    for name, (key, kind) in TARGETS.items():
        reference = representation(kind).matrices(matrices) @ np.ravel(frame.info[key])
        errors[name] = predicted[name].double().numpy().reshape(reference.shape) - reference
    return errors


def _rms(errors: list[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(np.concatenate([each.ravel() for each in errors])))))
