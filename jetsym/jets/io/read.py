"""Files of jets as padded torch batches or as awkward records."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import torch

from jetsym.errors import ConfigError, DataError, expect_one_of
from jetsym.jets.batch import JetBatch
from jetsym.jets.io.arena import Arena
from jetsym.jets.io.formats.index import EmptyFileError, FileIndex
from jetsym.jets.io.formats.layout import AXIS_BRANCHES, labels
from jetsym.jets.io.formats.opening import explained
from jetsym.jets.io.mapping.parse import load_mapping, open_mapping
from jetsym.jets.io.mapping.tree_mapping import TreeMapping
from jetsym.jets.io.oddities import Oddities, Skipped
from jetsym.jets.io.packed import DISPLACEMENTS, KINDS, PackedJets, pack_kinds
from jetsym.jets.io.paths import Paths, jet_files
from jetsym.jets.io.registry import index_file
from jetsym.jets.io.remote import File
from jetsym.jets.kinematics import from_pt_eta_phi_energy
from jetsym.jets.schema import P4_BRANCHES

if TYPE_CHECKING:
    import awkward as ak
    from numpy.typing import NDArray


__all__ = [
    "BadJets",
    "ColumnSet",
    "MappingFile",
    "check_number",
    "narrowed",
    "padded",
    "read",
    "read_block",
    "read_packed",
]


BadJets = Literal["raise", "drop"]
ColumnSet = Literal["all", "full", "kin"]

#: Jets of a piece of a file that is read at once, where only some of them are wanted.
_LARGEST = 65_536

#: A file with a mapping, one that has been read, or none for files that need none.
MappingFile = str | os.PathLike[str] | TreeMapping | None


@overload
def read(
    paths: Paths,
    *,
    limit: int | None = ...,
    max_particles: int = ...,
    library: Literal["torch"] = ...,
    columns: ColumnSet = ...,
    also: Sequence[str] = ...,
    bad_jets: BadJets = ...,
    skip_bad: bool = ...,
    mapping: MappingFile = ...,
    vectors: str | None = ...,
    oddities: Oddities | None = ...,
) -> JetBatch: ...
@overload
def read(
    paths: Paths,
    *,
    limit: int | None = ...,
    max_particles: int = ...,
    library: Literal["ak"],
    columns: ColumnSet = ...,
    also: Sequence[str] = ...,
    bad_jets: BadJets = ...,
    skip_bad: bool = ...,
    mapping: MappingFile = ...,
    vectors: str | None = ...,
    oddities: Oddities | None = ...,
) -> ak.Array: ...
def read(
    paths: Paths,
    *,
    limit: int | None = None,
    max_particles: int = 128,
    library: Literal["torch", "ak"] = "torch",
    columns: ColumnSet = "all",
    also: Sequence[str] = (),
    bad_jets: BadJets = "raise",
    skip_bad: bool = False,
    mapping: MappingFile = None,
    vectors: str | None = None,
    oddities: Oddities | None = None,
) -> JetBatch | ak.Array:
    """Read jets from JetClass or JetClass-II files into memory.

    The files hold a TTree called ``tree`` with JetClass's branches (:mod:`jetsym.jets.schema`), the ragged ones as
    ``std::vector`` (what ROOT writes) or with counters (what uproot writes), or an RNTuple of that name, or are Parquet
    files of such columns. Ten ``label_*`` branches give JetClass's label, ``jet_label`` gives JetClass-II's with its
    188 classes, and files with neither give unlabelled jets. Only the branches that a JetBatch holds are read: momenta,
    particle scalars, labels, the jet axis, and, as ``columns``, soft-drop mass, N-subjettiness, multiplicity and flat
    ``aux_*`` truth as far as the files have them. The files of the top-tagging reference set (HDF5, ``.npz``) and of
    EnergyFlow's quark and gluon jets (``.npz``) are read as they are, see :mod:`jetsym.jets.io.formats.padded`; they
    lack some or all particle scalars. Further formats are registered, see :mod:`jetsym.jets.io.registry`.

    Parameters
    ----------
    paths
        A file, a glob pattern, a directory (all ``*.root`` below it), a cache of ``jetsym convert``, the address of a
        ROOT file (https, s3, root), ``@LIST`` for a text file of these, or a sequence of them; files are read in sorted
        order, or in the order of the sequence, and each once.
    limit
        Read at most this many jets in total. They are spread evenly over the files, and over the jets of each, as some
        files keep class after class or are sorted by pT; where a file has fewer, the others give more. Up to 256
        clusters of a file are looked into, and 4 where all its labels are the same. Jets that ``bad_jets="drop"``
        leaves out count as read.
    max_particles
        Keep this many particles of each jet, those of largest pT, in the order of the file (most are sorted by falling
        pT). The batch has as many slots as its fullest jet needs.
    library
        "torch" for a :class:`~jetsym.jets.batch.JetBatch`; "ak" for awkward records as in
        :func:`jetsym.jets.io.records.to_records`.
    columns
        "kin" for momenta, axis and label; "full" for the particles' scalars as well; "all" for the further per-jet
        branches as well, which the files must then have in common.
    also
        Per-jet branches to read in any case, as far as the files have them.
    bad_jets
        What to do with jets without particles, and with NaN or infinity in momenta, scalars or axis: "raise" or
        "drop".
    skip_bad
        Leave out files that cannot be read, and damaged parts of files. One without entries among others is always
        left out.
    mapping
        A YAML file that says what the branches of another tree hold, see :mod:`jetsym.jets.io.mapping`, or a data
        configuration of weaver-core.
    vectors
        The input of weaver-core's configuration that holds px, py, pz and energy; None for ``pf_vectors``.
    oddities
        Takes up what has been left out and what is odd, see :class:`jetsym.jets.io.oddities.Oddities`.

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
    expect_one_of("library", library, ("torch", "ak"))
    check_number("max_particles", max_particles, "particles")
    expect_one_of("columns", columns, ("all", "full", "kin"))
    known = load_mapping(mapping, vectors=vectors)
    jets = read_packed(
        paths,
        limit=limit,
        columns=columns,
        also=also,
        bad_jets=bad_jets,
        skip_bad=skip_bad,
        mapping=known,
        oddities=oddities,
    )
    if library == "ak":
        from jetsym.jets.io.records import to_records

        return to_records(jets.ragged().cut(max_particles))
    return padded(jets, max_particles)


def padded(jets: PackedJets, max_particles: int | None) -> JetBatch:
    """Pad jets to a batch that owns what it holds; what a file has given may be read-only."""
    own = {name: np.array(column) for name, column in jets.columns.items()}
    return replace(jets, columns=own).batch().to_padded(max_particles)


def read_packed(
    paths: Paths,
    *,
    limit: int | None = None,
    columns: ColumnSet = "all",
    also: Sequence[str] = (),
    bad_jets: BadJets = "raise",
    skip_bad: bool = False,
    mapping: MappingFile = None,
    oddities: Oddities | None = None,
    first: bool = False,
) -> PackedJets:
    """Read jets with all their particles, without padding; parameters and errors as in :func:`read`.

    With ``first`` a limit takes the first jets of each file, for files whose jets are in no order.
    """
    check_number("limit", limit, "jets", none="None for all")
    expect_one_of("bad_jets", bad_jets, ("raise", "drop"))
    files, said = jet_files(paths), Oddities() if oddities is None else oddities
    known = open_mapping(mapping, files, skip_bad=skip_bad)
    options: dict[str, Any] = {"columns": columns, "also": also, "bad_jets": bad_jets}

    @cache
    def index_of(number: int) -> FileIndex | None:
        try:
            return index_file(files[number], known)
        except DataError as error:
            alone = isinstance(error, EmptyFileError) and len(files) > 1
            if not (alone or skip_bad):
                raise
            if alone:
                said.empty.append(files[number])
            else:
                said.skipped.append(Skipped(files[number], None, str(error)))
            return None

    def jets_in(number: int) -> int:
        index = index_of(number)
        return 0 if index is None else index.n_jets

    shares: Sequence[int | None] = [None] * len(files)
    if limit is not None:
        shares = [limit] if len(files) == 1 else _spread(limit, len(files), jets_in)
    parts = []
    for number, share in enumerate(shares):
        # A selection can leave no jets of a file, and so can a fault.
        if share == 0 or (index := index_of(number)) is None or not index.n_jets:
            continue
        wanted = [np.arange(share)] if first and share and share < index.n_jets else _chosen(index, share, skip_bad)
        for jets in wanted:
            try:
                parts.append(_read_chosen(index, jets, said, **options))
            except DataError as error:
                if not skip_bad:
                    raise
                said.skipped.append(Skipped(index.path, len(jets), str(error)))
    return _joined(parts, files, said)


def _joined(parts: list[PackedJets], files: Sequence[File], said: Oddities) -> PackedJets:
    if not parts:
        faults = f"; {said.skipped[0].reason}" if said.skipped else ""
        why = f"none of {len(files)} files holds any" if faults or said.empty else "the selection leaves none"
        raise DataError(f"{_few(files)}: no jets, {why}; expected at least one{faults}")
    try:
        joined = PackedJets.concatenate(parts)
    except DataError as error:
        raise DataError(f"{_few(files)} cannot be read together: {error}; read them one by one") from error
    if not len(joined):
        raise DataError(f"{_few(files)}: no jets are left after dropping the bad ones; expected at least one")
    return joined


def _read_chosen(
    index: FileIndex, jets: NDArray[np.int64], said: Oddities, *, bad_jets: BadJets, **columns: Any
) -> PackedJets:
    """Read jets of growing numbers; those between them may be bad."""
    start, stop = int(jets[0]), int(jets[-1]) + 1
    found = read_block(index, start, stop, bad_jets="keep", **columns)[0]
    if len(jets) < stop - start:
        found = found.take(jets - start)
    said.see(index.path, found)
    good, kept = _without_bad(index, jets, found, bad_jets)
    if kept is not None:
        said.drop(index.path, len(kept) - int(kept.sum()), part=start)
    return good


def _chosen(index: FileIndex, share: int | None, in_pieces: bool) -> list[NDArray[np.int64]]:
    """Choose jets of a file, all or a number of them spread evenly over it, as pieces to be read one by one.

    Whole clusters have to be decompressed, so not all are visited: up to 256, evenly spaced, or a few where the labels
    say that all jets are of one class.
    """
    if share is None or share >= index.n_jets:
        if not in_pieces:
            return [np.arange(index.n_jets)]
        return [np.arange(start, stop) for start, stop in _clusters(index.boundaries, smallest=8192)]
    clusters = _clusters(index.boundaries)
    most = 4 if len(clusters) > 4 and _of_one_class(index) else 256
    while True:
        n = min(share, most, len(clusters))
        visited = [clusters[(2 * place + 1) * len(clusters) // (2 * n)] for place in range(n)]
        ends = np.cumsum([0, *(stop - start for start, stop in visited)])
        if ends[-1] >= share or n == len(clusters):
            break
        most *= 2
    places = (2 * np.arange(share) + 1) * ends[-1] // (2 * share)
    edges = np.searchsorted(places, ends)
    pieces = (
        places[edges[number] : edges[number + 1]] - ends[number] + start for number, (start, _) in enumerate(visited)
    )
    return [piece for piece in pieces if len(piece)]


def _clusters(boundaries: NDArray[np.int64], *, smallest: int = 1) -> list[tuple[int, int]]:
    """Cut a file into whole clusters of at least so many jets, and large ones into parts."""
    grid = np.arange(0, boundaries[-1] + smallest, smallest)
    edges = np.unique(boundaries[np.searchsorted(boundaries, grid).clip(max=len(boundaries) - 1)])
    inner = [np.linspace(a, b, -(-(b - a) // _LARGEST), endpoint=False).astype(np.int64) for a, b in pairwise(edges)]
    return list(pairwise([*np.concatenate(inner).tolist(), int(boundaries[-1])]))


def _of_one_class(index: FileIndex) -> bool:
    """Tell whether the labels of a file, which take little to read, are all the same."""
    layout = index.layout
    if not layout.labels:
        return False
    with index.reader(index) as file, explained(index.path):
        flat = {name: file.flat(name, 0, index.n_jets) for name in layout.labels}
    label = labels(index.path, flat, layout)
    return label is not None and bool((label == label[0]).all())


def _spread(limit: int, files: int, size: Callable[[int], int]) -> list[int]:
    """Split a total evenly over files; what short files cannot give goes to the others. Opens only files it needs."""
    sizes: dict[int, int] = {}
    shares = [0] * files
    left, spare = limit, list(range(files))
    while left and spare:
        for place, number in enumerate(spare):
            # Differences of floors: shares differ by at most one, and few jets come from files spaced evenly.
            share = (place + 1) * left // len(spare) - place * left // len(spare)
            if share:
                sizes[number] = size(number)
                shares[number] = min(shares[number] + share, sizes[number])
        left = limit - sum(shares)
        spare = [number for number in spare if number not in sizes or shares[number] < sizes[number]]
    return shares


def read_block(
    index: FileIndex,
    start: int,
    stop: int,
    *,
    columns: ColumnSet = "all",
    also: Sequence[str] = (),
    bad_jets: BadJets | Literal["keep"] = "raise",
    arena: Arena | None = None,
) -> tuple[PackedJets, NDArray[np.bool_] | None]:
    """Read some successive jets of a file, in any thread.

    Parameters
    ----------
    index
        Of the file, from :func:`jetsym.jets.io.registry.index_file`.
    start, stop
        The first jet, and the one after the last.
    columns
        "kin" for momenta, axis and label; "full" for the particles' scalars as well; "all" for the further per-jet
        branches as well.
    also
        Per-jet branches to read in any case, as far as the file has them.
    bad_jets
        As in :func:`read`, or "keep" to count them.
    arena
        Where the particles go, if there is room.

    Returns
    -------
    (PackedJets, (stop − start,) bool or None)
        The jets, and which of those asked for they are; None for all.

    Raises
    ------
    DataError
        If the file is damaged, has changed or gone, or holds bad jets or labels.
    """
    path, layout = index.path, index.layout
    if index.packed is not None:
        jets = narrowed(index.packed, columns=columns, also=also).slice(start, stop)
        place = None if arena is None else arena.reserve(len(jets.values))
        if arena is None or place is None:
            return jets, None
        arena.values[place : place + len(jets.values)] = jets.values
        return arena.move(jets, place), None
    names = layout.columns if columns == "all" else tuple(name for name in layout.columns if name in also)
    with index.reader(index) as file, explained(path):
        flat = {name: file.flat(name, start, stop) for name in (*AXIS_BRANCHES, *layout.labels)}
        further = {name: file.column(name, start, stop) for name in names}
        first = P4_BRANCHES[0]
        content, counts = file.ragged(first, start, stop)

        def particles(name: str) -> NDArray[Any]:
            values, own = file.ragged(name, start, stop)
            _check_counts(path, start, (first, counts), (name, own))
            return values

        scalars = () if columns == "kin" else layout.scalars
        rows = (*P4_BRANCHES, *(f"part_{name}" for name in DISPLACEMENTS if f"part_{name}" in scalars))
        place = None if arena is None else arena.reserve(len(content))
        if arena is None or place is None:
            values = np.empty((len(content), len(rows)), np.float32)
        else:
            values = arena.values[place : place + len(content)]
        with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite, which is reported with its entry
            values[:, 0] = content
            for column, name in enumerate(rows[1:], start=1):
                values[:, column] = particles(name)
        kinds = None
        if scalars:
            bits = (particles(f"part_{name}") for name in KINDS)
            kinds = pack_kinds([one.astype(one.dtype.newbyteorder("=")) for one in bits])
        inputs = {} if columns == "kin" else file.inputs(start, stop)
    axis = [torch.from_numpy(flat[name].astype(np.float64)) for name in AXIS_BRANCHES]
    jets = PackedJets(
        offsets=np.concatenate([[0], np.cumsum(counts)]),
        values=values,
        kinds=kinds,
        jet_p4=from_pt_eta_phi_energy(*axis).to(torch.float32).numpy(),
        label=labels(path, flat, layout, first=start),
        classes=layout.classes,
        columns=further,
        inputs=inputs,
    )
    if bad_jets == "keep":
        return jets, None
    good, kept = _without_bad(index, np.arange(start, stop), jets, bad_jets)
    return good if arena is None or kept is not None else arena.move(good, place), kept


def narrowed(jets: PackedJets, *, columns: ColumnSet, also: Sequence[str] = ()) -> PackedJets:
    """Return a view of jets with no more of them than :func:`read_block` reads."""
    names = [name for name in jets.columns if columns == "all" or name in also]
    kept = replace(jets, columns={name: jets.columns[name] for name in names})
    return kept if columns != "kin" else replace(kept, values=jets.values[:, :4], kinds=None, inputs={})


def _without_bad(
    index: FileIndex, numbers: NDArray[np.int64], jets: PackedJets, bad_jets: BadJets
) -> tuple[PackedJets, NDArray[np.bool_] | None]:
    """Raise on, or leave out, jets that no model can use; ``numbers`` are theirs in the file."""
    empty = (np.diff(jets.offsets) == 0) & index.layout.momenta
    finite: Any = np.isfinite(jets.jet_p4).all(axis=1)
    for values in (jets.values, jets.kinds):
        if values is None or values.dtype == np.uint8:
            continue
        isfinite = np.isfinite(values)
        if not isfinite.all():  # row by row is ten times slower, and hardly ever needed
            particles = np.flatnonzero(~isfinite.all(axis=1))
            finite[np.searchsorted(jets.offsets, particles, side="right") - 1] = False
    bad = empty | ~finite
    if not bad.any():
        return jets, None
    if bad_jets == "drop":
        return jets.take(np.flatnonzero(~bad)), ~bad
    entries = ", ".join(str(entry) for entry in index.entries[numbers[np.flatnonzero(bad)[:5]]])
    raise DataError(
        f"{index.path}: {bad.sum()} of {len(jets)} jets cannot be used ({empty.sum()} without particles, "
        f"{(~finite).sum()} with NaN or infinity), the first at entries {entries}; "
        "jetsym.jets.read(…, bad_jets='drop') leaves them out, and so does --bad_jets drop"
    )


def _check_counts(
    path: File, start: int, one: tuple[str, NDArray[np.int64]], other: tuple[str, NDArray[np.int64]]
) -> None:
    (here, counts), (there, own) = one, other
    if not np.array_equal(counts, own):
        entry = np.flatnonzero(counts != own)[0]
        raise DataError(
            f"{path}: jet {start + entry} has {counts[entry]} particles in {here!r} and {own[entry]} in "
            f"{there!r}; expected the same number in all part_* branches"
        )


def check_number(name: str, value: Any, unit: str, *, none: str | None = None) -> None:
    """Refuse what is not a number of at least 1.

    Raises
    ------
    ConfigError
        It is not, nor None where that has a meaning.
    """
    if value is None and none:
        return
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        expected = f"a number of {unit} of at least 1" + (f", or {none}" if none else "")
        raise ConfigError(f"{name}={value!r}; expected {expected}")


def _few(files: Sequence[File]) -> str:
    return ", ".join(str(file) for file in files[:3]) + (f" and {len(files) - 3} more files" if len(files) > 3 else "")
