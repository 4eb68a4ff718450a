"""Small files of numbered jets, of several classes and with several clusters each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import uproot

from jetsym.jets.io.blocks import cut
from jetsym.jets.io.writer import write_jetclass
from jetsym.jets.schema import JET_BRANCHES, LABEL_BRANCHES, PARTICLE_BRANCHES


@pytest.fixture(scope="session")
def numbered_files(tmp_path_factory, make_jets, jetclass_columns) -> Callable[..., list[Path]]:
    """``numbered_files(sizes)``: one file and class per size, ten jets a cluster, jet_sdmass counting all jets."""

    def write(sizes: list[int], *, compression: str = "lz4", jets_per_basket: int = 10) -> list[Path]:
        folder = tmp_path_factory.mktemp("numbered")
        first, files = 0, []
        for place, size in enumerate(sizes):
            columns = jetclass_columns(make_jets(size, seed=place, max_particles=6))
            labels = list(LABEL_BRANCHES)
            columns |= {name: np.full(size, name == labels[place % 10]) for name in labels}
            columns["jet_sdmass"] = np.arange(first, first + size)
            columns |= {name: np.zeros(size) for name in JET_BRANCHES if name not in columns}
            columns |= {name: columns["part_px"] for name in PARTICLE_BRANCHES if name not in columns}
            path = folder / f"{labels[place % 10].removeprefix('label_')}_{place:03d}.root"
            files.append(write_jetclass(path, columns, compression=compression, jets_per_basket=jets_per_basket))
            first += size
        return files

    return write


@pytest.fixture
def small_blocks(monkeypatch) -> None:
    """Blocks of ten to forty jets, so that small files are made of many."""
    monkeypatch.setattr("jetsym.jets.io.blocks.cut", lambda boundaries: cut(boundaries, smallest=10, largest=40))


def flip(path: Path, branch: str, *, basket: int = 0, at: int = 100) -> None:
    """Change bytes in the middle of a basket of a file."""
    with uproot.open(path) as file:
        place = int(file["tree"][branch].member("fBasketSeek")[basket]) + at
    content = bytearray(path.read_bytes())
    content[place : place + 8] = bytes(byte ^ 0x55 for byte in content[place : place + 8])
    path.write_bytes(content)
