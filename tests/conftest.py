"""What several test modules share: random jets, small JetClass files, and the folder of real data."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import torch
import uproot

from jetsym import symmetry
from jetsym.jets.batch import JetBatch
from jetsym.jets.schema import LABEL_BRANCHES, P4_BRANCHES, PARTICLE_BRANCHES, SCALAR_BRANCHES
from jetsym.spectrum import groups
from jetsym.testing.jets import random_jets


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
    return random_jets


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
        columns = _jetclass_columns(random_jets(n, seed)) | changes
        return _write_tree(tmp_path / name, {key: value for key, value in columns.items() if value is not None})

    return write


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a tagger trained for one epoch on random jets, beside its data ``train.root``."""
    from jetsym.training.loop import train

    folder = tmp_path_factory.mktemp("trained")
    _write_tree(folder / "train.root", _jetclass_columns(random_jets(60, seed=1)))
    options = {"width": 8, "blocks": 1, "heads": 2}
    train(str(folder / "train.root"), folder / "run", epochs=1, options=options, device="cpu", progress=False)
    return folder / "run"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks train faster on one thread, and much faster where other processes want the cores as well."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def groups_of_this_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups that a test registers are known to that test alone; messages name all that are known."""
    monkeypatch.setattr(symmetry, "GROUPS", dict(symmetry.GROUPS))
    monkeypatch.setattr(groups, "_GROUPS", dict(groups._GROUPS))
