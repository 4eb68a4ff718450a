"""What the scaling laws are of: tasks of a size, and by how much each may grow with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import awkward as ak
import torch
import uproot
from torch.nn import functional as F

from jetsym.benchmarks.loader import stream
from jetsym.jets.batch import JetBatch
from jetsym.jets.evaluation.evaluate import evaluate
from jetsym.jets.io.sample import sample_dir
from jetsym.jets.io.writer import write_jetclass
from jetsym.jets.models.pointnet import PointNet
from jetsym.jets.schema import JET_BRANCHES, PARTICLE_BRANCHES, TREE
from jetsym.probing.probe import probe
from jetsym.testing.jets import random_jets

__all__ = ["LAWS", "Growth", "prepared"]

#: Particles per jet where their number does not grow: uniform up to this, in the mean as many as in the bundled jets.
USUAL = 80
#: Jets of a file that is read, and of a portion that is evaluated.
FILE, PORTION = 1000, 10_000
#: Jets of a batch that is read; files are whole numbers of these, as a stream leaves out the rest.
BATCH = 500

#: What prepares a task: its size, and a folder for its files -> the task.
Made = Callable[[int, Path], Callable[[], Any]]


@dataclass(frozen=True)
class Growth:
    """Sizes of a task along an axis, and the exponents that its work has by itself.

    Parameters
    ----------
    sizes
        From small to large; a quick look takes the first three.
    time, memory
        Exponents of time and of memory; attention is among all pairs of particles, and a rule for irreps up to l_max
        has as many nodes as the cube of that.
    made
        What prepares the task of a size.
    """

    sizes: tuple[int, ...]
    time: float
    memory: float
    made: Made


def prepared(task: str, axis: str, size: int, folder: Path) -> Callable[[], Any]:
    """Prepare a task of a size, for one thread of a process of its own."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return LAWS[task, axis].made(size, folder)


def _files(columns: Mapping[str, Any], number: int, folder: Path) -> list[Path]:
    """Write a file, and return it as so many files."""
    first = write_jetclass(folder / "0.root", columns)
    more = [folder / f"{place}.root" for place in range(1, number)]
    for path in more:
        path.hardlink_to(first)
    return [first, *more]


def _bundled() -> dict[str, Any]:
    """Return the branches of bundled jets of all classes, as many as a file has here."""
    names = [*PARTICLE_BRANCHES, *JET_BRANCHES]
    paths = sorted((sample_dir() / "train").glob("*.root"))
    files = [uproot.open({path: TREE}).arrays(names, entry_stop=FILE // len(paths)) for path in paths]
    found = ak.concatenate(files)
    return {name: found[name] for name in names}


def _read_jets(jets: int, folder: Path) -> Callable[[], int]:
    return partial(stream, _files(_bundled(), jets // FILE, folder), BATCH, 1)


def _read_particles(times: int, folder: Path) -> Callable[[], int]:
    """Prepare the reading of jets that have each of their particles so many times."""
    columns = _bundled()
    columns |= {name: ak.concatenate([columns[name]] * times, axis=1) for name in PARTICLE_BRANCHES}
    return partial(stream, _files(columns, 1, folder), BATCH, 1)


def _step(size: int, folder: Path, *, jets: int = 8, particles: int = 32, blocks: int = 3, mixed: bool = False) -> Any:
    """Prepare a training step."""
    model = PointNet(blocks=blocks).train()
    batch = random_jets(jets, max_particles=USUAL if mixed else particles, min_particles=1 if mixed else particles)
    optimizer = torch.optim.AdamW(model.parameters())

    def step() -> None:
        loss = F.cross_entropy(model(batch), torch.as_tensor(batch.label))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _probed(
    size: int, folder: Path, *, jets: int = 2, particles: int = 16, blocks: int = 1, l_max: int = 4
) -> Callable[[], Any]:
    """Prepare a probe of all layers of a narrow network."""
    model = PointNet(width=8, blocks=blocks, heads=2).eval()
    batch = random_jets(jets, max_particles=particles, min_particles=particles)
    return lambda: probe(model, batch, l_max=l_max, limit=jets, progress=False)


def _evaluated(size: int, folder: Path, *, jets: int = 200, particles: int | None = None) -> Callable[[], Any]:
    """Prepare an evaluation, unrotated and rotated, of jets that come in portions."""
    model = PointNet().eval()
    few = random_jets(min(jets, PORTION), max_particles=particles or USUAL, min_particles=particles or 1)

    def portions() -> Iterator[JetBatch]:
        for start in range(0, jets, PORTION):
            yield few[: jets - start]

    return lambda: evaluate(model, portions(), rotated=0)


def _along(make: Callable[..., Any], name: str, **options: Any) -> Made:
    """Return what prepares a task whose option of that name is its size."""
    return lambda size, folder: make(size, folder, **{name: size}, **options)


_BLOCKS = (2, 8, 32, 128, 256, 500)
#: Task and axis -> how it is to grow.
LAWS: dict[tuple[str, str], Growth] = {
    ("reading", "jets"): Growth((1000, 10_000, 30_000, 100_000, 300_000, 1_000_000), 1, 0, _read_jets),
    ("reading", "particles"): Growth((1, 2, 4, 8, 16, 32), 1, 1, _read_particles),
    ("training", "jets"): Growth((16, 32, 64, 128, 256, 512), 1, 1, _along(_step, "jets", mixed=True)),
    ("training", "particles"): Growth((16, 32, 128, 512, 1024, 2048), 2, 1, _along(_step, "particles")),
    ("training", "layers"): Growth(_BLOCKS, 1, 1, _along(_step, "blocks")),
    ("probing", "jets"): Growth((4, 8, 16, 64, 128, 256), 1, 1, _along(_probed, "jets", l_max=2)),
    ("probing", "particles"): Growth((16, 32, 128, 512, 1024, 2048), 2, 1, _along(_probed, "particles", l_max=1)),
    ("probing", "layers"): Growth(_BLOCKS, 1, 1, _along(_probed, "blocks")),
    ("probing", "l_max"): Growth((1, 2, 4, 8, 12, 16, 24), 3, 3, _along(_probed, "l_max", jets=1)),
    ("evaluation", "jets"): Growth((1000, 2000, 4000, 10_000, 30_000, 100_000), 1, 0, _along(_evaluated, "jets")),
    ("evaluation", "particles"): Growth((16, 32, 128, 512, 1024, 2048), 2, 1, _along(_evaluated, "particles", jets=50)),
}
