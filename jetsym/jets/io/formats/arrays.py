"""NumPy's ``.npz`` files of the two public sets of :mod:`jetsym.jets.io.formats.padded`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import DataError
from jetsym.jets.io.formats.array_table import Source, open_array_table, sources
from jetsym.jets.io.formats.base import Format, register
from jetsym.jets.io.formats.padded import (
    PARTICLES,
    QUARK_GLUON,
    TOP,
    PaddedArrays,
    PaddedJets,
    index_padded,
    whole_labels,
)
from jetsym.jets.io.mapping.momenta import refuse_space_like

__all__ = ["open_npz"]


@contextmanager
def open_npz(path: Path) -> Iterator[PaddedArrays]:
    """Open a ``.npz`` file of either set."""
    status = path.stat()
    content = _npz(path, status.st_size, status.st_mtime_ns)
    if content.keys() >= {"X", "y"}:
        shape, label = content["X"].shape, content.get("y")
        classes: tuple[str, ...] | None = QUARK_GLUON
    elif "p4" in content:
        shape, label = content["p4"].shape, content.get("label")
        classes = None if label is None else TOP
    else:
        raise DataError(
            f"{path}: holds {', '.join(content) or 'nothing'}; expected X and y (quark and gluon jets of EnergyFlow), "
            "or p4 and label (top-tagging reference set); other layouts are read through mappings"
        )
    if len(shape) != 3 or shape[2] != 4 or (label is not None and label.shape != shape[:1]):
        raise DataError(
            f"{path}: momenta have shape {shape}, labels {None if label is None else label.shape}; "
            "expected (jets, particles, 4) and (jets,)"
        )

    def load(start: int, stop: int) -> PaddedJets:
        chosen = None if label is None else whole_labels(path, start, label[start:stop])
        if classes == QUARK_GLUON:
            return _quark_gluon(path, start, content["X"][start:stop], chosen)
        p4 = content["p4"][start:stop]
        mask = content["mask"][start:stop].astype(bool) if "mask" in content else (p4 != 0).any(axis=2)
        refuse_space_like(f"{path}: particles", p4[mask].T, "p4, (E, px, py, pz),")
        return p4, mask, chosen, None

    yield PaddedArrays(shape[0], shape[1], classes, load)


@contextmanager
def _open_arrays(path: Path, group: str | None) -> Iterator[Mapping[str, Source]]:
    """Open the columns of any ``.npz`` file, which has no groups."""
    status = path.stat()
    arrays = _npz(path, status.st_size, status.st_mtime_ns)
    yield {name: source for key, array in arrays.items() for name, source in sources(key, array).items()}


@lru_cache(maxsize=1)
def _npz(path: Path, size: int, mtime_ns: int) -> dict[str, NDArray[Any]]:
    """Read all arrays of a file; compressed as they are, they cannot be read in pieces."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _quark_gluon(path: Path, first: int, jets: NDArray[Any], label: Any) -> PaddedJets:
    pt, rapidity, phi, codes = np.moveaxis(jets.astype(np.float64), 2, 0)
    real = pt != 0
    mass = np.full(codes.shape, np.nan)
    for code, (value, _, _) in PARTICLES.items():
        mass[np.abs(codes) == code] = value
    unknown = np.argwhere(real & np.isnan(mass))
    if len(unknown):
        jet, particle = unknown[0]
        raise DataError(
            f"{path}: particle {particle} of jet {first + jet} has the PDG code {codes[jet, particle]:g} "
            f"({len(unknown)} such); expected one of {', '.join(map(str, PARTICLES))}, or its negative"
        )
    transverse = np.sqrt(pt**2 + np.where(real, mass, 0) ** 2)
    p4 = [transverse * np.cosh(rapidity), pt * np.cos(phi), pt * np.sin(phi), transverse * np.sinh(rapidity)]
    return np.where(real[..., None], np.stack(p4, axis=2), 0), real, label, codes


register(
    Format(
        name="NumPy",
        suffixes=(".npz",),
        index=partial(index_padded, open_npz),
        table=partial(open_array_table, _open_arrays),
    )
)
