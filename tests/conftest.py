"""What several test modules share: random jets, small JetClass files, and the folder of real data."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import torch
import uproot

from jetsym.jets.batch import JetBatch
from jetsym.jets.schema import CLASSES, LABEL_BRANCHES, P4_BRANCHES, PARTICLE_BRANCHES, SCALAR_BRANCHES


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real simulation data; its tests skip where it is not there."""
    folder = os.environ.get("JETSYM_REAL_DATA")
    if not folder:
        pytest.skip("JETSYM_REAL_DATA does not name a folder of real data")
    return Path(folder)


@pytest.fixture(scope="session")
def cuda() -> str:
    """Name of a CUDA device; its tests skip where there is none. JETSYM_TEST_DEVICE=cpu tries these tests without."""
    device = os.environ.get("JETSYM_TEST_DEVICE", "cuda")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device")
    return device


def _make_jets(
    n: int = 8, seed: int = 0, dtype: torch.dtype = torch.float32, *, max_particles: int = 30, min_particles: int = 1
) -> JetBatch:
    rng = np.random.default_rng(seed)
    counts = rng.integers(min_particles, max_particles + 1, size=n)
    mask = np.arange(max_particles) < counts[:, None]
    jet_pt, jet_eta, jet_phi = rng.uniform(500, 1000, n), rng.uniform(-2, 2, n), rng.uniform(-np.pi, np.pi, n)

    # Falling shares of the jet's pT, within a radius of 0.8, of light and heavier hadrons.
    share = -np.sort(-rng.exponential(size=mask.shape) * mask, axis=1)
    pt = jet_pt[:, None] * share / share.sum(axis=1, keepdims=True)
    radius, angle = 0.8 * np.sqrt(rng.uniform(size=mask.shape)), rng.uniform(-np.pi, np.pi, mask.shape)
    eta, phi = jet_eta[:, None] + radius * np.cos(angle), jet_phi[:, None] + radius * np.sin(angle)
    mass = rng.choice([0.0, 0.13957, 0.93957], size=mask.shape)
    px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    p4 = np.stack([np.sqrt(px**2 + py**2 + pz**2 + mass**2), px, py, pz], axis=-1)

    charge = rng.integers(-1, 2, size=mask.shape)
    kind = np.where(charge == 0, rng.choice([1, 2], size=mask.shape), rng.choice([0, 3, 4], size=mask.shape))
    displacement = rng.normal(size=(*mask.shape, 4)) * (charge != 0)[..., None]
    displacement[..., 1::2] = np.abs(displacement[..., 1::2])
    scalars = np.concatenate([charge[..., None], np.eye(5)[kind], displacement], axis=-1)

    # Padding is exactly +0, where a product with the mask would give −0 as well.
    p4, scalars = (np.where(mask[..., None], values, 0) for values in (p4, scalars))

    # The stored axis is near the sum of the constituents, but not the same.
    total = p4.sum(axis=1)
    columns = {"jet_sdmass": rng.uniform(0, 200, n), "jet_nparticles": counts, "jet_tau1": rng.uniform(0, 1, n)}
    return JetBatch(
        p4=torch.from_numpy(p4).to(dtype),
        mask=torch.from_numpy(mask),
        scalars=torch.from_numpy(scalars).to(dtype),
        jet_p4=torch.from_numpy(total * (1 + 0.01 * rng.normal(size=(n, 1)))).to(dtype),
        label=torch.from_numpy(rng.integers(0, len(CLASSES), size=n)),
        columns={name: torch.from_numpy(np.asarray(column, dtype="float32")) for name, column in columns.items()},
    )


def _jetclass_columns(jets: JetBatch) -> dict[str, Any]:
    counts = jets.n_particles.numpy()
    particles = torch.cat([jets.p4, jets.scalars], dim=-1)[jets.mask].numpy()
    columns: dict[str, Any] = {
        name: ak.unflatten(particles[:, place].astype(PARTICLE_BRANCHES[name]), counts)
        for place, name in enumerate((*P4_BRANCHES, *SCALAR_BRANCHES))
    }
    energy, px, py, pz = jets.jet_p4.double().numpy().T
    axis = {
        "pt": np.hypot(px, py),
        "eta": np.arcsinh(pz / np.hypot(px, py)),
        "phi": np.arctan2(py, px),
        "energy": energy,
    }
    columns |= {f"jet_{name}": values.astype("float32") for name, values in axis.items()}
    columns |= {name: column.numpy() for name, column in jets.columns.items()}
    if jets.label is not None:
        label = jets.label.numpy()
        columns |= {name: (label == place).astype(dtype) for place, (name, dtype) in enumerate(LABEL_BRANCHES.items())}
    return columns


def _write_tree(path: Path, columns: Mapping[str, Any], *, tree: str = "tree") -> Path:
    branches = {name: ak.Array(column) for name, column in columns.items()}
    kinds = {name: array.type.content for name, array in branches.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with uproot.recreate(path) as file:
        file.mktree(tree, kinds)
        if len(next(iter(branches.values()))):
            file[tree].extend(branches)
    return path


@pytest.fixture(scope="session")
def make_jets() -> Callable[..., JetBatch]:
    """``make_jets(n, seed, dtype, max_particles=, min_particles=)``: random, physically sensible jets."""
    return _make_jets


@pytest.fixture(scope="session")
def jetclass_columns() -> Callable[[JetBatch], dict[str, Any]]:
    """``jetclass_columns(jets)``: the branches of a JetClass file, with its names and its mixed types."""
    return _jetclass_columns


@pytest.fixture(scope="session")
def write_tree() -> Callable[..., Path]:
    """``write_tree(path, columns, tree=)``: a ROOT file with counter branches, one counter per ragged branch."""
    return _write_tree


@pytest.fixture
def jetclass_file(tmp_path: Path) -> Callable[..., Path]:
    """``jetclass_file(name, n=, seed=, **changes)``: a small JetClass file; a change of None leaves a branch out."""

    def write(name: str = "jets.root", n: int = 20, seed: int = 0, **changes: Any) -> Path:
        columns = _jetclass_columns(_make_jets(n, seed)) | changes
        return _write_tree(tmp_path / name, {key: value for key, value in columns.items() if value is not None})

    return write
