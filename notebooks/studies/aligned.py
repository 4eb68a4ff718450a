"""A planted failure for jets: files in which every jet points in nearly the same direction."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
import torch
import uproot

from jetsym.jets import kinematics
from jetsym.jets.io.sample import sample_dir
from jetsym.jets.io.writer import write_jetclass
from jetsym.jets.moves.frames import axes_along

__all__ = ["aligned_sample"]

#: Half of the opening angle of the cone about x that the jets point into.
CONE = 0.2
MOMENTUM = ("part_px", "part_py", "part_pz")


def aligned_sample(out: Path, *, seed: int = 0, limit: int | None = None) -> Path:
    """Make the bundled sample with every jet rotated as a whole into a narrow cone about x, where it is not there.

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
    """Rotate all branches of the jets; impact parameters are left as they are, as in every move of jetsym."""
    pt, eta, phi = (_tensor(columns[name]) for name in ("jet_pt", "jet_eta", "jet_phi"))
    jets = kinematics.from_pt_eta_phi_energy(pt, eta, phi, torch.zeros_like(pt))
    goal = torch.from_numpy(np.insert(rng.uniform(-CONE, CONE, size=(2, len(jets))), 0, 1.0, axis=0).T)
    rotation = axes_along(goal).mT @ axes_along(jets[:, 1:])

    counts = ak.num(columns["part_px"])
    owner = np.repeat(np.arange(len(jets)), counts)
    momenta = torch.stack([_tensor(ak.flatten(columns[name])) for name in MOMENTUM], dim=-1)
    moved = torch.einsum("pij,pj->pi", rotation[owner], momenta)
    goal_eta, goal_phi = _angles(goal)
    moved_eta, moved_phi = _angles(moved)
    sign = torch.where(goal_eta < 0, -1.0, 1.0)
    new = {name: moved[:, axis] for axis, name in enumerate(MOMENTUM)}
    new["part_deta"] = (moved_eta - goal_eta[owner]) * sign[owner]
    new["part_dphi"] = kinematics.delta_phi(moved_phi, goal_phi[owner])
    ragged = {name: ak.unflatten(values.numpy(), counts) for name, values in new.items()}
    momentum = np.asarray(columns["jet_pt"]) * np.cosh(columns["jet_eta"])
    jet_pt = momentum / np.cosh(goal_eta.numpy())
    return columns | ragged | {"jet_eta": goal_eta.numpy(), "jet_phi": goal_phi.numpy(), "jet_pt": jet_pt}


def _tensor(column: ak.Array) -> torch.Tensor:
    return torch.from_numpy(ak.to_numpy(column).astype(np.float64))


def _angles(momenta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute η and φ of three-momenta (n, 3)."""
    p4 = torch.nn.functional.pad(momenta, (1, 0))
    return kinematics.eta(p4), kinematics.phi(p4)
