"""Padded arrays, read as if they were files of JetClass's branches: two public sets of jets.

- The top-tagging reference set (G. Kasieczka et al., arXiv:1902.09914): ``.npz`` files with ``p4`` (jets, particles, 4)
  as (E, px, py, pz), ``label`` (1 = top) and, if they like, ``mask``; or tables in HDF5, see
  :mod:`jetsym.jets.io.formats.hdf5`. Nothing is known of the particles but their momenta.
- Quark and gluon jets of EnergyFlow (P. Komiske, E. Metodiev, J. Thaler, arXiv:1810.05165): ``.npz`` files with ``X``
  (jets, particles, 4) as (pT, rapidity, φ, PDG code), pT in GeV, and ``y`` (1 = quark). The code gives a particle's
  mass, E = √(pT² + m²) cosh y, its charge and its kind; displacements are not known.

The jet axis is the vector sum of the particles. Particles are put in the order of falling pT.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import DataError
from jetsym.jets.io.copies import place_of
from jetsym.jets.io.formats.index import FileIndex, JetReader
from jetsym.jets.io.formats.layout import LABEL_II, Layout, axis_of
from jetsym.jets.schema import P4_BRANCHES, SCALAR_BRANCHES

__all__ = [
    "PARTICLES",
    "QUARK_GLUON",
    "TOP",
    "PaddedArrays",
    "PaddedJets",
    "PaddedReader",
    "index_padded",
    "whole_labels",
]

TOP, QUARK_GLUON = ("QCD", "top"), ("gluon", "quark")

#: Jets that are read at once.
_ROWS = 10_000

#: PDG code of a stable particle -> mass in GeV (PDG 2024), charge, and which of the five flags it has.
PARTICLES = {
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
PaddedJets = tuple[Any, Any, Any, Any]


@dataclass(frozen=True)
class PaddedArrays:
    """An open file of padded arrays.

    Parameters
    ----------
    n_jets, slots
        Numbers of jets, and of particles at most.
    classes
        Names of the classes; None for unlabelled jets.
    load
        Gives the jets of a range.
    """

    n_jets: int
    slots: int
    classes: tuple[str, ...] | None
    load: Callable[[int, int], PaddedJets]


def index_padded(open_file: Callable[[Path], AbstractContextManager[PaddedArrays]], path: Path) -> FileIndex:
    """Make the index of a file that a function opens.

    Raises
    ------
    DataError
        If the file is missing or damaged, or holds neither of the two sets.
    """
    with open_file(path) as arrays:
        pass
    return FileIndex.of(
        path,
        n_jets=arrays.n_jets,
        particles=arrays.n_jets * arrays.slots,
        layout=Layout(
            labels=(LABEL_II,) if arrays.classes else (),
            classes=arrays.classes or TOP,
            columns=(),
            scalars=SCALAR_BRANCHES[:6] if arrays.classes == QUARK_GLUON else (),
        ),
        reader=partial(PaddedReader, open_file),
    )


class PaddedReader(JetReader):
    """An open file from which ranges of jets are read."""

    def __init__(self, open_file: Callable[[Path], AbstractContextManager[PaddedArrays]], index: FileIndex) -> None:
        super().__init__(index)
        self._open_file = open_file
        self._read: tuple[int, int, dict[str, NDArray[Any]], NDArray[np.int64]] | None = None

    def __exit__(self, *_: object) -> None:
        self._read = None

    def flat(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Read (stop − start,) values with one number per jet."""
        return self._columns(start, stop)[0][name]

    def ragged(self, name: str, start: int, stop: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Read the values (P,) of the particles of some jets, and their number in each jet."""
        columns, counts = self._columns(start, stop)
        return columns[name], counts

    def _columns(self, start: int, stop: int) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
        if self._read is None or self._read[:2] != (start, stop):
            assert isinstance(self.index.path, Path)
            with self._open_file(place_of(self.index.path)) as arrays:
                parts = [_columns(arrays.load(n, min(n + _ROWS, stop))) for n in range(start, stop, _ROWS)]
            joined = {name: np.concatenate([columns[name] for columns, _ in parts]) for name in parts[0][0]}
            self._read = start, stop, joined, np.concatenate([counts for _, counts in parts])
        return self._read[2:]


def _columns(jets: PaddedJets) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
    """Compute JetClass's branches of some jets, and the number of particles in each."""
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
        for code, (_, sign, flag) in PARTICLES.items():
            flags[f"part_{flag}"][np.abs(found) == code] = 1
            charge[np.abs(found) == code] = sign
        columns |= {"part_charge": charge * np.sign(found).astype(np.float32), **flags}
    return columns, inside.sum(axis=1).astype(np.int64)


def whole_labels(path: Path, first: int, label: NDArray[Any]) -> NDArray[np.int64]:
    """Return labels as whole numbers, and refuse others; ``first`` is the number of the first jet."""
    wrong = np.flatnonzero(label != np.round(label))
    if len(wrong):
        raise DataError(f"{path}: the label of jet {first + wrong[0]} is {label[wrong[0]]}; expected 0 or 1")
    return label.astype(np.int64)
