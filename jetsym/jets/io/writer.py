"""Writers of ROOT files in JetClass's schema: TTree ``tree``, 41 branches and a counter, never half a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot
from numpy.typing import NDArray

from jetsym.errors import ConfigError, DataError, closest, expect_at_least
from jetsym.files import finished_file
from jetsym.jets.schema import JET_BRANCHES, PARTICLE_BRANCHES, TREE

__all__ = ["COUNTER", "JetClassWriter", "open_jetclass", "write_jetclass"]

#: Name of the counter branch that the 16 per-particle branches share.
COUNTER = "npart"

_COMPRESSION = {"zlib": uproot.ZLIB, "lzma": uproot.LZMA, "lz4": uproot.LZ4, "zstd": uproot.ZSTD}

Branches = Mapping[str, Any]


class JetClassWriter:
    """An open file that takes jets in portions; made by :func:`open_jetclass`.

    Every call of :meth:`extend` writes one basket per branch. Readers work basket by basket: some thousand jets each
    are a good size.
    """

    def __init__(self, file: Any) -> None:
        self._n_jets = 0
        numbers = {dtype: ak.types.NumpyType(dtype) for dtype in set(PARTICLE_BRANCHES.values())}
        ragged = {name: ak.types.ListType(numbers[dtype]) for name, dtype in PARTICLE_BRANCHES.items()}
        self._tree = file.mktree(TREE, {**ragged, **JET_BRANCHES}, counter_name=lambda branch: COUNTER)

    def __len__(self) -> int:
        return self._n_jets

    def extend(self, columns: Branches) -> None:
        """Append jets.

        Parameters
        ----------
        columns
            Branch -> values, all 41 of them: ragged ``jets * var * number`` (awkward, or anything awkward takes) for
            the particles, (jets,) for the rest. Values are converted to the branch's type.

        Raises
        ------
        DataError
            If a branch is missing or unknown, or lengths disagree.
        """
        _check_names(columns)
        flat = {name: np.asarray(columns[name]).astype(dtype) for name, dtype in JET_BRANCHES.items()}
        ragged, counts = _ragged(columns)
        for name, column in flat.items():
            if column.shape != counts.shape:
                raise DataError(f"{name} has shape {column.shape}; expected {counts.shape}, one value per jet")
        if len(counts) == 0:
            return
        self._tree.extend({**ragged, **flat})
        self._n_jets += len(counts)


@contextmanager
def open_jetclass(path: str | Path, *, compression: str = "zlib", level: int = 6) -> Iterator[JetClassWriter]:
    """Open a file for writing; it appears under its name only when the block ends without an error.

    Until then the jets go to a temporary file in the same directory, which is removed on an error.

    Parameters
    ----------
    path
        The file to write; an existing one is replaced.
    compression
        "zlib", "lzma", "lz4" or "zstd". A flipped bit in a ZLIB basket is noticed when it is read.
    level
        Compression level, 1 to 9.

    Examples
    --------
    >>> with open_jetclass("jets.root") as writer:      # doctest: +SKIP
    ...     for columns in portions:
    ...         writer.extend(columns)
    """
    path = Path(path)
    if compression not in _COMPRESSION:
        raise ConfigError(f"compression={compression!r} is not known; {closest(compression, _COMPRESSION)}")
    if not 1 <= level <= 9:
        raise ConfigError(f"compression level {level} is not possible; expected 1 to 9")
    with (
        finished_file(path) as unfinished,
        uproot.recreate(unfinished, compression=_COMPRESSION[compression](level)) as file,
    ):
        yield JetClassWriter(file)


def write_jetclass(
    path: str | Path,
    columns: Branches,
    *,
    compression: str = "zlib",
    level: int = 6,
    jets_per_basket: int = 10_000,
) -> Path:
    """Write jets to a ROOT file with JetClass's tree, branch names, types and order, all at once or not at all.

    Parameters
    ----------
    path
        The file to write; an existing one is replaced.
    columns
        Branch -> values, see :meth:`JetClassWriter.extend`.
    compression, level
        See :func:`open_jetclass`.
    jets_per_basket
        Largest number of jets that share a basket.

    Returns
    -------
    Path
        The file written.
    """
    expect_at_least("jets_per_basket", jets_per_basket, 1)
    _check_names(columns)
    n_jets = len(columns[next(iter(JET_BRANCHES))])
    with open_jetclass(path, compression=compression, level=level) as writer:
        for start in range(0, n_jets, jets_per_basket):
            writer.extend({name: column[start : start + jets_per_basket] for name, column in columns.items()})
    return Path(path)


def _check_names(columns: Branches) -> None:
    expected = {**PARTICLE_BRANCHES, **JET_BRANCHES}
    if unknown := [name for name in columns if name not in expected]:
        raise DataError(f"{unknown[0]!r} is not a branch of JetClass; {closest(unknown[0], expected)}")
    if missing := [name for name in expected if name not in columns]:
        raise DataError(f"{len(missing)} of JetClass's {len(expected)} branches are missing, first {missing[0]!r}")


def _ragged(columns: Branches) -> tuple[dict[str, ak.Array], NDArray[np.int64]]:
    """Return the per-particle columns in their types, with the same offsets, and the number of particles per jet."""
    arrays = {name: ak.Array(columns[name]) for name in PARTICLE_BRANCHES}
    counts = None
    ragged = {}
    for name, array in arrays.items():
        if array.ndim != 2:
            raise DataError(f"{name} has {array.ndim} dimension(s); expected two, jets and particles")
        own = ak.to_numpy(ak.num(array)).astype(np.int64)
        counts = own if counts is None else counts
        if not np.array_equal(own, counts):
            raise DataError(f"{name} has other numbers of particles per jet than {next(iter(arrays))}")
        content = ak.to_numpy(ak.flatten(array)).astype(PARTICLE_BRANCHES[name])
        ragged[name] = ak.unflatten(content, counts)
    assert counts is not None
    return ragged, counts
