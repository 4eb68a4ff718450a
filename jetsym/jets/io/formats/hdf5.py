"""The top-tagging reference set (G. Kasieczka et al., arXiv:1902.09914): tables of pandas in HDF5.

Columns E_i, PX_i, PY_i, PZ_i in GeV, and is_signal_new (1 = top); see :mod:`jetsym.jets.io.formats.padded`.
"""

from __future__ import annotations

import pickletools
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jetsym.errors import DataError, MissingDependencyError, require
from jetsym.jets.io.formats.base import Format, register
from jetsym.jets.io.formats.padded import TOP, PaddedArrays, PaddedJets, index_padded, whole_labels

__all__ = ["column_names", "open_hdf5"]


@contextmanager
def open_hdf5(path: Path) -> Iterator[PaddedArrays]:
    """Open a table of pandas (``to_hdf(…, format="table")``), which keeps its columns in one array per type.

    Raises
    ------
    DataError
        If it holds no such table.
    MissingDependencyError
        If h5py, or a filter with which the file is compressed, is not installed.
    """
    h5py = require("h5py", extra="formats", purpose="reading HDF5")
    with suppress(ImportError):  # some files are compressed with what HDF5 itself does not know
        import hdf5plugin  # noqa: F401
    with h5py.File(path, "r") as file:
        table = next((group["table"] for group in file.values() if "table" in getattr(group, "keys", tuple)()), None)
        if table is None or not getattr(table.dtype, "names", None):
            raise DataError(f"{path}: holds {', '.join(file) or 'nothing'}; expected a table written by pandas")
        places: dict[str, tuple[str, int]] = {}
        for array in table.dtype.names:
            names = column_names(table, array)
            if names and table.dtype[array].shape != (len(names),):
                raise DataError(f"{path}: {array} has shape {table.dtype[array].shape} for {len(names)} names")
            for place, name in enumerate(names):
                places[name] = array, place
        slots = 0
        while all(f"{part}_{slots}" in places for part in ("E", "PX", "PY", "PZ")):
            slots += 1
        if not slots:
            raise DataError(
                f"{path}: the table has no columns E_0, PX_0, PY_0 and PZ_0; expected the top-tagging set's"
            )
        wanted = [[places[f"{part}_{slot}"] for part in ("E", "PX", "PY", "PZ")] for slot in range(slots)]
        arrays = {array for row in wanted for array, _ in row}
        if len(arrays) != 1:
            raise DataError(f"{path}: the momenta are of several types ({', '.join(sorted(arrays))}); expected one")
        array, columns = arrays.pop(), np.array([[place for _, place in row] for row in wanted])
        signal = places.get("is_signal_new")

        def load(start: int, stop: int) -> PaddedJets:
            try:
                rows = table[start:stop]
            except OSError as error:
                if "filter" not in str(error) or sys.modules.get("hdf5plugin") is not None:
                    raise
                raise MissingDependencyError.of("hdf5plugin", extra="formats", purpose=f"{path}") from error
            p4 = rows[array][:, columns]
            label = None if signal is None else whole_labels(path, start, rows[signal[0]][:, signal[1]])
            return p4, (p4 != 0).any(axis=2), label, None

        yield PaddedArrays(len(table), slots, None if signal is None else TOP, load)


def column_names(table: Any, array: str) -> list[str]:
    """Return the names of the columns in an array of pandas. Their pickle is taken apart here, and never run."""
    if array == "index" or f"{array}_kind" not in table.attrs:
        return []
    content = np.asarray(table.attrs[f"{array}_kind"])
    return [value for _, value, _ in pickletools.genops(content.tobytes()) if isinstance(value, str)]


register(Format(name="HDF5", suffixes=(".h5", ".hdf5"), index=partial(index_padded, open_hdf5)))
