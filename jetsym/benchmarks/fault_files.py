"""Files of every format that are damaged by a seeded generator, and read."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator

from jetsym.benchmarks.fault_trials import Ended, in_process, judged
from jetsym.errors import JetsymError
from jetsym.jets import checkpoint
from jetsym.jets.io.read import read
from jetsym.jets.io.sample import sample_dir
from jetsym.jets.io.streaming.convert import convert, to_parquet
from jetsym.jets.models import PointNet
from jetsym.probing.probe import probe
from jetsym.probing.reports.spectrum import SymmetryReport

__all__ = ["FORMATS", "mutated", "trials"]


@dataclass(frozen=True)
class Subject:
    """A format: how a file of it is made, and read.

    Parameters
    ----------
    make
        Write one into a folder; return the file to damage.
    read
        Return a digest of all that is read of it.
    known
        Whether its format, or what jetsym writes into it, holds a checksum of the contents.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], str]
    known: bool


def mutated(content: bytes, rng: Generator) -> bytes:
    """Return a damaged copy: a flipped bit, a piece overwritten, cut out, doubled, or zeroed, or the end cut off.

    Examples
    --------
    >>> mutated(b"jets" * 8, np.random.default_rng(0)) == b"jets" * 8
    False
    """
    while True:
        damaged = bytearray(content)
        place = int(rng.integers(len(content)))
        length = int(min(2 ** rng.uniform(0, 12), len(content) - place))
        piece = damaged[place : place + length]
        match int(rng.integers(6)):
            case 0:
                damaged[place] ^= 1 << int(rng.integers(8))
            case 1:
                damaged[place : place + length] = rng.bytes(length)
            case 2:
                del damaged[place : place + length]
            case 3:
                damaged[place:place] = piece
            case 4:
                damaged[place : place + length] = bytes(length)
            case _:
                del damaged[place:]
        if damaged != content:
            return bytes(damaged)


def trials(name: str, folder: Path, numbers: range, seed: int) -> Iterator[tuple[str, str]]:
    """Yield what becomes of damaged files of a format, and in which words; each has a number, and a generator of it."""
    subject = FORMATS[name]
    file = subject.make(folder / "whole")
    content, truth = file.read_bytes(), subject.read(file)
    for number in numbers:
        place = folder / f"{number}"
        shutil.copytree(folder / "whole", place)
        damaged = place / file.relative_to(folder / "whole")
        damaged.write_bytes(mutated(content, np.random.default_rng([seed, number])))
        ended = in_process(lambda file=damaged: subject.read(file), place)  # type: ignore[misc]
        yield judged(ended, truth, known=subject.known), _words(ended)
        shutil.rmtree(place)


def _words(ended: Ended) -> str:
    return ended.error or "read"


def _digest(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _first_jets(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(min((sample_dir() / "test").glob("*.root")), folder / "jets.root"))


def _jets(path: Path) -> str:
    jets = read(path, limit=64)
    labels = () if jets.label is None else (jets.label.numpy(),)
    return _digest(jets.p4.numpy(), jets.mask.numpy(), jets.scalars.numpy(), *labels)


def _checkpoint(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.save(folder / "best.safetensors", PointNet(width=8, blocks=1))
    return folder / "best.safetensors"


def _tagger(path: Path) -> str:
    state = checkpoint.load(path).state_dict()
    return _digest(*(state[name].numpy() for name in sorted(state)))


def _cache(folder: Path) -> Path:
    source = _first_jets(folder.parent / "source")
    convert(source, folder, progress=False)
    return max(folder.glob("*.npy"), key=lambda file: file.stat().st_size)


def _parquet(folder: Path) -> Path:
    source = _first_jets(folder.parent / "source")
    to_parquet(source, folder, progress=False)
    return next(folder.glob("*.parquet"))


def _report(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    points = np.random.default_rng(0).normal(size=(4, 3))
    return probe(lambda x: x[:, 0] + 1, points, l_max=2, progress=False).save(folder / "report.json")


def _spectrum(path: Path) -> str:
    report = SymmetryReport.load(path)
    text = str(report) + json.dumps(report.to_dict(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _structures(folder: Path) -> Path:
    from ase.build import molecule
    from ase.io import write

    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "frames.xyz", [molecule(name) for name in ("CH3OH", "H2O", "C6H6", "CH4")])
    return folder / "frames.xyz"


def _frames(path: Path) -> str:
    from jetsym.atoms.read import frames_of

    frames = frames_of(str(path), limit=64)
    if not frames:
        raise JetsymError("nothing was read")
    return _digest(*(array for one in frames for array in (one.numbers, one.positions, one.cell.array)))


FORMATS = {
    "mutated ROOT": Subject(lambda folder: _first_jets(folder), _jets, known=False),
    "mutated checkpoints": Subject(_checkpoint, _tagger, known=True),
    "mutated caches": Subject(_cache, lambda file: _jets(file.parent), known=False),
    "mutated reports": Subject(_report, _spectrum, known=True),
    "mutated Parquet": Subject(_parquet, _jets, known=True),
    "mutated extxyz": Subject(_structures, _frames, known=False),
}
