"""A planted failure for jets: files in which every jet points in nearly the same direction."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
import torch
import uproot
from numpy.typing import NDArray

from jetsym.jets.frames import axes_along
from jetsym.jets.io.sample import sample_dir
from jetsym.jets.io.writer import write_jetclass

__all__ = ["aligned_sample"]

#: Half of the opening angle of the cone about x that the jets point into.
CONE = 0.2
MOMENTUM = ("part_px", "part_py", "part_pz")


def aligned_sample(out: Path, *, seed: int = 0, limit: int | None = None) -> Path:
    """The bundled sample, every jet turned as a whole into a narrow cone about the x axis; made where it is not there.

    Nothing but the direction of the jets is changed: this is what a network sees that was trained on one small part of
    a detector. With a limit, only the first jets of each file are taken.
    """
    rng = np.random.default_rng(seed)
    for path in sorted(sample_dir().glob("*/*.root")):
        target = out / path.parent.name / path.name
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            with uproot.open(path) as file:
                tree = file["tree"]
                names = [name for name in tree.keys() if name != "npart"]  # noqa: SIM118 (a tree, not a mapping)
                columns = {name: tree[name].array(entry_stop=limit) for name in names}
            write_jetclass(target, aligned(columns, rng))
    return out


def aligned(columns: dict[str, ak.Array], rng: np.random.Generator) -> dict[str, ak.Array]:
    """All branches of the jets after the turn; impact parameters are left as they are, as in every move of jetsym."""
    axes = _unit(columns["jet_eta"], columns["jet_phi"])
    goal = np.stack([np.ones(len(axes)), *rng.uniform(-CONE, CONE, size=(2, len(axes)))], axis=-1)
    goal /= np.linalg.norm(goal, axis=-1, keepdims=True)
    turn = _onto(goal).transpose(0, 2, 1) @ _onto(axes)

    counts = ak.num(columns["part_px"])
    momenta = np.stack([ak.to_numpy(ak.flatten(columns[name])).astype(np.float64) for name in MOMENTUM], axis=-1)
    moved = np.einsum("pij,pj->pi", np.repeat(turn, ak.to_numpy(counts), axis=0), momenta)
    eta, phi = np.arctanh(goal[:, 2]), np.arctan2(goal[:, 1], goal[:, 0])
    new = {name: moved[:, axis] for axis, name in enumerate(MOMENTUM)}
    new["part_deta"] = _eta(moved) - np.repeat(eta, counts)
    new["part_deta"] *= np.repeat(np.where(eta < 0, -1.0, 1.0), counts)
    new["part_dphi"] = _wrapped(np.arctan2(moved[:, 1], moved[:, 0]) - np.repeat(phi, counts))
    momentum = np.asarray(columns["jet_pt"]) * np.cosh(columns["jet_eta"])
    ragged = {name: ak.unflatten(values, counts) for name, values in new.items()}
    return columns | ragged | {"jet_eta": eta, "jet_phi": phi, "jet_pt": momentum / np.cosh(eta)}


def _onto(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return axes_along(torch.from_numpy(vectors)).numpy()


def _unit(eta: ak.Array, phi: ak.Array) -> NDArray[np.float64]:
    eta, phi = (np.asarray(value, dtype=np.float64) for value in (eta, phi))
    return np.stack([np.cos(phi), np.sin(phi), np.sinh(eta)], axis=-1) / np.cosh(eta)[:, None]


def _eta(momenta: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.arcsinh(momenta[:, 2] / np.hypot(momenta[:, 0], momenta[:, 1]))


def _wrapped(phi: NDArray[np.float64]) -> NDArray[np.float64]:
    return (phi + np.pi) % (2 * np.pi) - np.pi
