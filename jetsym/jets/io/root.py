"""JetClass and JetClass-II ROOT files as padded torch batches or as awkward records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import awkward as ak
import numpy as np
import torch
import uproot

from jetsym.errors import ConfigError, DataError
from jetsym.jets.io.layout import AXIS_BRANCHES, find_layout, labels
from jetsym.jets.io.paths import Paths, check_root, root_files
from jetsym.jets.kinematics import from_pt_eta_phi_energy
from jetsym.jets.ragged import RaggedJets
from jetsym.jets.schema import P4_BRANCHES, SCALAR_BRANCHES, TREE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from jetsym.jets.batch import JetBatch

__all__ = ["count_jets", "read", "read_ragged"]


BadJets = Literal["raise", "drop"]


@overload
def read(
    paths: Paths,
    *,
    limit: int | None = ...,
    max_particles: int = ...,
    library: Literal["torch"] = ...,
    bad_jets: BadJets = ...,
) -> JetBatch: ...
@overload
def read(
    paths: Paths,
    *,
    limit: int | None = ...,
    max_particles: int = ...,
    library: Literal["ak"],
    bad_jets: BadJets = ...,
) -> ak.Array: ...
def read(
    paths: Paths,
    *,
    limit: int | None = None,
    max_particles: int = 128,
    library: Literal["torch", "ak"] = "torch",
    bad_jets: BadJets = "raise",
) -> JetBatch | ak.Array:
    """Read jets from JetClass or JetClass-II ROOT files into memory.

    The files hold a TTree called ``tree`` with JetClass's branches (:mod:`jetsym.jets.schema`), the ragged ones as
    ``std::vector`` (what ROOT writes) or with counters (what uproot writes). Ten ``label_*`` branches give
    JetClass's label, ``jet_label`` gives JetClass-II's with its 188 classes, and files with neither give unlabelled
    jets. Only the branches that a JetBatch holds are read: momenta, particle scalars, labels, the jet axis, and, as
    ``columns``, soft-drop mass, N-subjettiness, multiplicity and flat ``aux_*`` truth as far as the files have them.

    Parameters
    ----------
    paths
        A file, a glob pattern, a directory (all ``*.root`` below it), or a sequence of these; files are read in
        sorted order, or in the order of the sequence, and each once.
    limit
        Read at most this many jets in total. They are spread evenly over the files, the first jets of each, because
        JetClass keeps one class per file; where a file has fewer, the others give more. Jets that ``bad_jets="drop"``
        leaves out count as read.
    max_particles
        Keep the first this many particles of each jet in the order of the file (falling pT). The batch has as many
        slots as its fullest jet needs.
    library
        "torch" for a :class:`~jetsym.jets.batch.JetBatch`; "ak" for awkward records as in
        :func:`jetsym.jets.records.to_awkward`.
    bad_jets
        What to do with jets without particles, and with NaN or infinity in momenta, scalars or axis: "raise" or
        "drop".

    Returns
    -------
    JetBatch or awkward.Array
        Momenta in GeV, float32 as stored; the jet axis from the stored pt, eta, phi and energy, computed in float64
        and rounded to float32.

    Raises
    ------
    DataError
        If a file is missing, is no ROOT file, is damaged, lacks the tree or a branch, holds no jets, holds bad jets,
        or holds a jet without exactly one label; the message names the file.
    ConfigError
        If an option has no meaning.

    Examples
    --------
    >>> from jetsym.jets.io.sample import sample_dir
    >>> len(read(sample_dir() / "test", limit=10))
    10
    >>> read(sample_dir() / "test" / "*.root", limit=30, library="ak").constituents.pt.ndim
    2
    """
    if library not in ("torch", "ak"):
        raise ConfigError(f"library={library!r}; expected 'torch' or 'ak'")
    jets = read_ragged(paths, limit=limit, max_particles=max_particles, bad_jets=bad_jets)
    if library == "ak":
        from jetsym.jets.records import records

        return records(jets)
    return jets.pad()


def read_ragged(
    paths: Paths, *, limit: int | None = None, max_particles: int = 128, bad_jets: BadJets = "raise"
) -> RaggedJets:
    """Read jets as flat columns and offsets, without padding; parameters and errors as in :func:`read`."""
    _check_number("limit", limit, "jets", none="None for all")
    _check_number("max_particles", max_particles, "particles")
    if bad_jets not in ("raise", "drop"):
        raise ConfigError(f"bad_jets={bad_jets!r}; expected 'raise' or 'drop'")
    files = root_files(paths)
    stops: Sequence[int | None] = [None] * len(files)
    if limit is not None:
        stops = [limit] if len(files) == 1 else _spread(limit, files)
    parts = [
        _read_file(file, stop=stop, max_particles=max_particles, bad_jets=bad_jets)
        for file, stop in zip(files, stops, strict=True)
        if stop != 0
    ]
    try:
        jets = RaggedJets.concatenate(parts)
    except DataError as error:
        raise DataError(f"{_few(files)} cannot be read together: {error}; read them one by one") from error
    if not len(jets):
        raise DataError(f"{_few(files)}: no jets are left after dropping the bad ones; expected at least one")
    return jets


def count_jets(path: Path) -> int:
    """Number of jets of one file, from its tree's header alone.

    Raises
    ------
    DataError
        If the file is missing, is no ROOT file, is damaged, or lacks the tree.
    """
    with _open_tree(path) as tree:
        return int(tree.num_entries)


def _spread(limit: int, files: Sequence[Path]) -> list[int]:
    """Split a total evenly over files; what short files cannot give goes to the others. Opens only files it needs."""
    sizes: dict[int, int] = {}
    shares = [0] * len(files)
    left, spare = limit, list(range(len(files)))
    while left and spare:
        for place, index in enumerate(spare):
            # Differences of floors: shares differ by at most one, and few jets come from files spaced evenly.
            share = (place + 1) * left // len(spare) - place * left // len(spare)
            if share:
                if index not in sizes:
                    sizes[index] = count_jets(files[index])
                shares[index] = min(shares[index] + share, sizes[index])
        left = limit - sum(shares)
        spare = [index for index in spare if index not in sizes or shares[index] < sizes[index]]
    return shares


def _read_file(path: Path, *, stop: int | None, max_particles: int, bad_jets: BadJets) -> RaggedJets:
    with _open_tree(path) as tree:
        if not tree.num_entries:
            raise DataError(f"{path}: the tree {TREE!r} holds no jets; expected at least one")
        with _explained(path):
            layout = find_layout(tree, path)
            arrays = tree.arrays(list(layout.branches), entry_stop=stop, library="ak", how=dict)
    columns = {name: ak.to_numpy(arrays[name]) for name in layout.flat}
    contents = {name: ak.to_numpy(ak.flatten(arrays[name])) for name in layout.ragged}
    counts = {name: ak.to_numpy(ak.num(arrays[name])) for name in layout.ragged}
    for name in layout.ragged[1:]:
        _check_counts(path, layout.ragged[0], name, counts)
    axis = [torch.from_numpy(columns[name].astype(np.float64)) for name in AXIS_BRANCHES]
    jets = RaggedJets(
        offsets=np.concatenate([[0], np.cumsum(counts[layout.ragged[0]], dtype=np.int64)]),
        p4=_stack(contents, P4_BRANCHES),
        scalars=_stack(contents, SCALAR_BRANCHES),
        jet_p4=from_pt_eta_phi_energy(*axis).to(torch.float32).numpy(),
        label=labels(path, columns, layout),
        classes=layout.classes,
        columns={name: columns[name] for name in layout.columns},
    ).cut(max_particles)
    return _without_bad(path, jets, bad_jets)


def _without_bad(path: Path, jets: RaggedJets, bad_jets: BadJets) -> RaggedJets:
    """Raise on, or leave out, jets that no model can use."""
    empty = jets.counts == 0
    finite = np.isfinite(jets.jet_p4).all(axis=1)
    for values in (jets.p4, jets.scalars):
        isfinite = np.isfinite(values)
        if not isfinite.all():  # row by row is ten times slower, and hardly ever needed
            particles = np.flatnonzero(~isfinite.all(axis=1))
            finite[np.searchsorted(jets.offsets, particles, side="right") - 1] = False
    bad = empty | ~finite
    if not bad.any():
        return jets
    if bad_jets == "drop":
        return jets.select(~bad)
    entries = ", ".join(str(entry) for entry in np.flatnonzero(bad)[:5])
    raise DataError(
        f"{path}: {bad.sum()} of {len(jets)} jets cannot be used ({empty.sum()} without particles, "
        f"{(~finite).sum()} with NaN or infinity), the first at entries {entries}; "
        "jetsym.jets.read(…, bad_jets='drop') leaves them out"
    )


@contextmanager
def _open_tree(path: Path) -> Iterator[Any]:
    check_root(path)
    with _explained(path):
        file = uproot.open({path: None})  # a dict keeps colons in names from being taken for a tree's
    with file:
        with _explained(path):
            trees = file.classnames(cycle=False)
            tree = file[TREE] if TREE in trees else None
        if not isinstance(tree, uproot.TTree):
            found = ", ".join(f"{name!r} ({kind})" for name, kind in trees.items()) or "nothing"
            raise DataError(
                f"{path}: no TTree called {TREE!r}; the file holds {found}; expected one entry per jet there"
            )
        yield tree


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Whatever goes wrong inside uproot on a damaged file, of whatever type, becomes one DataError with the file."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise DataError(
            f"{path}: damaged or not readable ({type(error).__name__}: {reason}); "
            "check the file against its checksum, and fetch or write it again"
        ) from error


def _check_counts(path: Path, first: str, other: str, counts: dict[str, NDArray[np.int64]]) -> None:
    if not np.array_equal(counts[first], counts[other]):
        entry = np.flatnonzero(counts[first] != counts[other])[0]
        raise DataError(
            f"{path}: jet {entry} has {counts[first][entry]} particles in {first!r} and {counts[other][entry]} in "
            f"{other!r}; expected the same number in all part_* branches"
        )


def _stack(contents: dict[str, NDArray[Any]], names: Sequence[str]) -> NDArray[np.float32]:
    stacked = np.empty((len(contents[names[0]]), len(names)), dtype=np.float32)
    with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite, which is reported with its entry
        for place, name in enumerate(names):
            stacked[:, place] = contents[name]
    return stacked


def _check_number(name: str, value: Any, unit: str, *, none: str | None = None) -> None:
    if value is None and none:
        return
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        expected = f"a number of {unit} of at least 1" + (f", or {none}" if none else "")
        raise ConfigError(f"{name}={value!r}; expected {expected}")


def _few(files: Sequence[Path]) -> str:
    return ", ".join(str(file) for file in files[:3]) + (f" and {len(files) - 3} more files" if len(files) > 3 else "")
