"""Two public sets of padded arrays, read as if they were files of JetClass's branches.

- The top-tagging reference set (G. Kasieczka et al., arXiv:1902.09914): tables of pandas in HDF5, with columns E_i,
  PX_i, PY_i, PZ_i in GeV and is_signal_new; or ``.npz`` files with ``p4`` (jets, particles, 4) as (E, px, py, pz),
  ``label`` (1 = top) and, if they like, ``mask``. Nothing is known of the particles but their momenta.
- Quark and gluon jets of EnergyFlow (P. Komiske, E. Metodiev, J. Thaler, arXiv:1810.05165): ``.npz`` files with ``X``
  (jets, particles, 4) as (pT, rapidity, φ, PDG code), pT in GeV, and ``y`` (1 = quark). The code gives a particle's
  mass, E = √(pT² + m²) cosh y, its charge and its kind; displacements are not known.

The jet axis is the vector sum of the particles. Particles are put in the order of falling pT.
"""

from __future__ import annotations

import pickletools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jetsym.errors import DataError, MissingDependencyError
from jetsym.jets.io.formats.index import FileIndex
from jetsym.jets.io.formats.layout import LABEL_II, Layout, axis_of
from jetsym.jets.io.formats.opening import explained
from jetsym.jets.io.paths import File
from jetsym.jets.schema import P4_BRANCHES, SCALAR_BRANCHES

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ArrayReader", "index_arrays"]

_TOP, _QUARK_GLUON = ("QCD", "top"), ("gluon", "quark")

#: Jets that are read at once.
_ROWS = 10_000

#: PDG code of a stable particle -> mass in GeV (PDG 2024), charge, and which of the five flags it has.
_PARTICLES = {
    211: (0.13957039, 1, "isChargedHadron"),
    321: (0.493677, 1, "isChargedHadron"),
    2212: (0.93827209, 1, "isChargedHadron"),
    130: (0.497611, 0, "isNeutralHadron"),
    310: (0.497611, 0, "isNeutralHadron"),
    2112: (0.93956542, 0, "isNeutralHadron"),
    22: (0.0, 0, "isPhoton"),
    11: (0.00051099895, -1, "isElectron"),
    13: (0.1056583755, -1, "isMuon"),
}

#: Some jets: (B, N, 4) momenta as (E, px, py, pz), (B, N) real or padded, (B,) labels, (B, N) PDG codes.
_Jets = tuple[Any, Any, Any, Any]


def index_arrays(path: File) -> FileIndex:
    """What :func:`jetsym.jets.io.registry.index_file` gives, of a ``.npz`` or HDF5 file.

    Raises
    ------
    DataError
        If the file is missing or damaged, or holds neither of the two sets.
    MissingDependencyError
        If h5py is needed and not installed.
    """
    if not isinstance(path, Path):
        raise DataError(f"{path}: is on another machine, from where only ROOT files are read; fetch it first")
    with explained(path), _opened(path) as (n_jets, slots, classes, _):
        if not n_jets:
            raise DataError(f"{path}: holds no jets; expected at least one")
    status = path.stat()
    return FileIndex(
        path=path,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        n_jets=n_jets,
        particles=n_jets * slots,
        layout=Layout(
            labels=(LABEL_II,) if classes else (),
            classes=classes or _TOP,
            columns=(),
            scalars=SCALAR_BRANCHES[:6] if classes == _QUARK_GLUON else (),
        ),
        branches={},
        boundaries=np.array([*range(0, n_jets, _ROWS), n_jets]),
        reader=ArrayReader,
    )


class ArrayReader:
    """An open file from which ranges of jets are read, like :class:`jetsym.jets.io.formats.root.BasketReader`."""

    def __init__(self, index: FileIndex) -> None:
        self._index = index
        self._read: tuple[int, int, dict[str, NDArray[Any]], NDArray[np.int64]] | None = None

    def __enter__(self) -> ArrayReader:
        path = self._index.path
        status = path.stat() if isinstance(path, Path) and path.exists() else None
        self._index.check_unchanged(None if status is None else (status.st_size, status.st_mtime_ns))
        return self

    def __exit__(self, *_: object) -> None:
        self._read = None

    def flat(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """(stop − start,) values with one number per jet."""
        return self._columns(start, stop)[0][name]

    def ragged(self, name: str, start: int, stop: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Values (P,) of the particles of some jets, and their number in each jet."""
        columns, counts = self._columns(start, stop)
        return columns[name], counts

    def _columns(self, start: int, stop: int) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
        if self._read is None or self._read[:2] != (start, stop):
            assert isinstance(self._index.path, Path)
            with _opened(self._index.path) as (_, _, _, load):
                parts = [
                    _columns(self._index.path, first, load(first, min(first + _ROWS, stop)))
                    for first in range(start, stop, _ROWS)
                ]
            joined = {name: np.concatenate([columns[name] for columns, _ in parts]) for name in parts[0][0]}
            self._read = start, stop, joined, np.concatenate([counts for _, counts in parts])
        return self._read[2:]


def _columns(path: Path, first: int, jets: _Jets) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
    """JetClass's branches of some jets, and the number of particles in each."""
    p4, real, label, codes = jets
    transverse = np.hypot(p4[..., 1], p4[..., 2])
    order = np.argsort(np.where(real, -transverse, np.inf), axis=1, kind="stable")
    inside = np.take_along_axis(real, order, axis=1)
    particles = np.take_along_axis(p4, order[..., None], axis=1)[inside]
    columns = {name: particles[:, place] for place, name in enumerate(P4_BRANCHES)}
    columns |= axis_of(np.where(real[..., None], p4, 0).sum(axis=1, dtype=np.float64).T)
    if label is not None:
        columns[LABEL_II] = label
    if codes is not None:
        found = np.take_along_axis(codes, order, axis=1)[inside]
        charge = np.zeros(len(found), np.float32)
        flags = {name: np.zeros(len(found), np.int32) for name in SCALAR_BRANCHES[1:6]}
        for code, (_, sign, flag) in _PARTICLES.items():
            flags[f"part_{flag}"][np.abs(found) == code] = 1
            charge[np.abs(found) == code] = sign
        columns |= {"part_charge": charge * np.sign(found).astype(np.float32), **flags}
    return columns, inside.sum(axis=1).astype(np.int64)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[int, int, tuple[str, ...] | None, Callable[[int, int], _Jets]]]:
    """Number of jets, of slots, the classes (None for unlabelled jets), and what reads a range."""
    if path.suffix != ".npz":
        with _hdf5(path) as found:
            yield found
        return
    status = path.stat()
    content = _npz(path, status.st_size, status.st_mtime_ns)
    if content.keys() >= {"X", "y"}:
        shape, label = content["X"].shape, content.get("y")
        classes: tuple[str, ...] | None = _QUARK_GLUON
    elif "p4" in content:
        shape, label = content["p4"].shape, content.get("label")
        classes = None if label is None else _TOP
    else:
        raise DataError(
            f"{path}: holds {', '.join(content) or 'nothing'}; expected X and y (quark and gluon jets of EnergyFlow), "
            "or p4 and label (top-tagging reference set)"
        )
    if len(shape) != 3 or shape[2] != 4 or (label is not None and label.shape != shape[:1]):
        raise DataError(
            f"{path}: momenta have shape {shape}, labels {None if label is None else label.shape}; "
            "expected (jets, particles, 4) and (jets,)"
        )

    def load(start: int, stop: int) -> _Jets:
        chosen = None if label is None else _whole_numbers(path, start, label[start:stop])
        if classes == _QUARK_GLUON:
            return _quark_gluon(path, start, content["X"][start:stop], chosen)
        p4 = content["p4"][start:stop]
        mask = content["mask"][start:stop].astype(bool) if "mask" in content else (p4 != 0).any(axis=2)
        return p4, mask, chosen, None

    yield shape[0], shape[1], classes, load


@lru_cache(maxsize=1)
def _npz(path: Path, size: int, mtime_ns: int) -> dict[str, NDArray[Any]]:
    """All arrays of a file; compressed as they are, they cannot be read in pieces."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _whole_numbers(path: Path, first: int, label: NDArray[Any]) -> NDArray[np.int64]:
    wrong = np.flatnonzero(label != np.round(label))
    if len(wrong):
        raise DataError(f"{path}: the label of jet {first + wrong[0]} is {label[wrong[0]]}; expected 0 or 1")
    return label.astype(np.int64)


def _quark_gluon(path: Path, first: int, jets: NDArray[Any], label: Any) -> _Jets:
    pt, rapidity, phi, codes = np.moveaxis(jets.astype(np.float64), 2, 0)
    real = pt != 0
    mass = np.full(codes.shape, np.nan)
    for code, (value, _, _) in _PARTICLES.items():
        mass[np.abs(codes) == code] = value
    unknown = np.argwhere(real & np.isnan(mass))
    if len(unknown):
        jet, particle = unknown[0]
        raise DataError(
            f"{path}: particle {particle} of jet {first + jet} has the PDG code {codes[jet, particle]:g} "
            f"({len(unknown)} such); expected one of {', '.join(map(str, _PARTICLES))}, or its negative"
        )
    transverse = np.sqrt(pt**2 + np.where(real, mass, 0) ** 2)
    p4 = [transverse * np.cosh(rapidity), pt * np.cos(phi), pt * np.sin(phi), transverse * np.sinh(rapidity)]
    return np.where(real[..., None], np.stack(p4, axis=2), 0), real, label, codes


@contextmanager
def _hdf5(path: Path) -> Iterator[tuple[int, int, tuple[str, ...] | None, Callable[[int, int], _Jets]]]:
    """A table of pandas (``to_hdf(…, format="table")``), which keeps its columns in one block per type."""
    try:
        import h5py
    except ImportError as error:
        raise MissingDependencyError.of("h5py", extra="formats", purpose="reading HDF5") from error
    with suppress(ImportError):  # some files are compressed with what HDF5 itself does not know
        import hdf5plugin  # noqa: F401
    with h5py.File(path, "r") as file:
        table = next((group["table"] for group in file.values() if "table" in getattr(group, "keys", tuple)()), None)
        if table is None or not getattr(table.dtype, "names", None):
            raise DataError(f"{path}: holds {', '.join(file) or 'nothing'}; expected a table written by pandas")
        places: dict[str, tuple[str, int]] = {}
        for block in table.dtype.names:
            names = _names(table, block)
            if names and table.dtype[block].shape != (len(names),):
                raise DataError(f"{path}: {block} has shape {table.dtype[block].shape} for {len(names)} names")
            for place, name in enumerate(names):
                places[name] = block, place
        slots = 0
        while all(f"{part}_{slots}" in places for part in ("E", "PX", "PY", "PZ")):
            slots += 1
        if not slots:
            raise DataError(
                f"{path}: the table has no columns E_0, PX_0, PY_0 and PZ_0; expected the top-tagging set's"
            )
        wanted = [[places[f"{part}_{slot}"] for part in ("E", "PX", "PY", "PZ")] for slot in range(slots)]
        blocks = {block for row in wanted for block, _ in row}
        if len(blocks) != 1:
            raise DataError(f"{path}: the momenta are of several types ({', '.join(sorted(blocks))}); expected one")
        block, columns = blocks.pop(), np.array([[place for _, place in row] for row in wanted])
        signal = places.get("is_signal_new")

        def load(start: int, stop: int) -> _Jets:
            try:
                rows = table[start:stop]
            except OSError as error:
                if "filter" not in str(error) or sys.modules.get("hdf5plugin") is not None:
                    raise
                raise MissingDependencyError.of("hdf5plugin", extra="formats", purpose=f"{path}") from error
            p4 = rows[block][:, columns]
            label = None if signal is None else _whole_numbers(path, start, rows[signal[0]][:, signal[1]])
            return p4, (p4 != 0).any(axis=2), label, None

        yield len(table), slots, None if signal is None else _TOP, load


def _names(table: Any, block: str) -> list[str]:
    """Names of the columns in a block. pandas pickles them: the pickle is taken apart here, and never run."""
    if block == "index" or f"{block}_kind" not in table.attrs:
        return []
    content = np.asarray(table.attrs[f"{block}_kind"])
    return [value for _, value, _ in pickletools.genops(content.tobytes()) if isinstance(value, str)]
