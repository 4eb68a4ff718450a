"""Files of jets as padded torch batches or as awkward records."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from jetsym.arguments import at_least, checked
from jetsym.errors import DataError
from jetsym.jets.batch import JetBatch
from jetsym.jets.io.block import BadJets, BadJetsError, ColumnSet, read_block, without_bad
from jetsym.jets.io.folds import Fold
from jetsym.jets.io.formats.index import EmptyFileError, FileIndex
from jetsym.jets.io.limits import choose, spread_over
from jetsym.jets.io.mapping.parse import load_mapping, open_mapping
from jetsym.jets.io.mapping.tree_mapping import TreeMapping
from jetsym.jets.io.oddities import Oddities, Skipped
from jetsym.jets.io.packed import PackedJets
from jetsym.jets.io.paths import Paths, jet_files
from jetsym.jets.io.registry import index_file
from jetsym.jets.io.remote import File

if TYPE_CHECKING:
    import awkward as ak


__all__ = ["MappingFile", "padded", "read", "read_packed"]


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
    tree: str | None = ...,
    oddities: Oddities | None = ...,
    fold: Fold | None = ...,
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
    tree: str | None = ...,
    oddities: Oddities | None = ...,
    fold: Fold | None = ...,
) -> ak.Array: ...
@checked(limit=at_least(1), max_particles=at_least(1))
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
    tree: str | None = None,
    oddities: Oddities | None = None,
    fold: Fold | None = None,
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
        configuration of weaver-core. A standardisation that it leaves to be measured is measured on these very files;
        a tagger refuses jets with other numbers than those of its training. For a tagger read with
        ``mapping=tagger_mapping(path, test=True, standardisation=tagger.standardisation)``, from
        ``jetsym.jets.io.mapping.parse``.
    vectors
        The input of weaver-core's configuration that holds px, py, pz and energy; None for ``pf_vectors``.
    tree
        Name of the tree that the mapping is of, whatever it says itself.
    oddities
        Takes up what has been left out and what is odd, see :class:`jetsym.jets.io.oddities.Oddities`.
    fold
        Read the jets of a fold alone, see :class:`jetsym.jets.io.folds.Fold`.

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
    known = load_mapping(mapping, vectors=vectors, tree=tree)
    jets = read_packed(
        paths,
        limit=limit,
        columns=columns,
        also=also,
        bad_jets=bad_jets,
        skip_bad=skip_bad,
        mapping=known,
        oddities=oddities,
        fold=fold,
    )
    if library == "ak":
        from jetsym.jets.io.records import to_records

        return to_records(jets.ragged().cut(max_particles))
    return padded(jets, max_particles)


def padded(jets: PackedJets, max_particles: int | None) -> JetBatch:
    """Pad jets to a batch that owns what it holds; what a file has given may be read-only."""
    own = {name: np.array(column) for name, column in jets.columns.items()}
    return replace(jets, columns=own).batch().to_padded(max_particles)


@checked(limit=at_least(1))
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
    fold: Fold | None = None,
) -> PackedJets:
    """Read jets with all their particles, without padding; parameters and errors as in :func:`read`.

    With ``first`` a limit takes the first jets of each file, for files whose jets are in no order.
    """
    files, said = jet_files(paths), Oddities() if oddities is None else oddities
    known = open_mapping(mapping, files, skip_bad=skip_bad, fold=fold)
    options: dict[str, Any] = {"columns": columns, "also": also, "bad_jets": bad_jets}

    @cache
    def index_of(number: int) -> FileIndex | None:
        try:
            index = index_file(files[number], known, fold)
        except DataError as error:
            alone = isinstance(error, EmptyFileError) and len(files) > 1
            if not (alone or skip_bad):
                raise
            if alone:
                said.empty.append(files[number])
            else:
                said.skipped.append(Skipped(files[number], None, str(error)))
            return None
        if fold is not None:
            said.folds[index.path] = str(fold), index.n_jets, index.n_entries
        return index

    def jets_in(number: int) -> int:
        index = index_of(number)
        return 0 if index is None else index.n_jets

    shares: Sequence[int | None] = [None] * len(files)
    if limit is not None:
        shares = [limit] if len(files) == 1 else spread_over(limit, len(files), jets_in)
    parts = []
    for number, share in enumerate(shares):
        # A selection can leave no jets of a file, and so can a fault.
        if share == 0 or (index := index_of(number)) is None or not index.n_jets:
            continue
        wanted = [np.arange(share)] if first and share and share < index.n_jets else choose(index, share, skip_bad)
        for jets in wanted:
            try:
                parts.append(_read_chosen(index, jets, said, **options))
            except DataError as error:
                if not skip_bad or isinstance(error, BadJetsError):
                    raise
                said.skipped.append(Skipped(index.path, len(jets), str(error)))
    if not parts and fold is not None and not said.skipped:
        raise DataError(f"{_few(files)}: {fold} has no jets; expected at least one")
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
    good, kept = without_bad(index, jets, found, bad_jets)
    if kept is not None:
        said.drop(index.path, len(kept) - int(kept.sum()), part=start)
    return good


def _few(files: Sequence[File]) -> str:
    return ", ".join(str(file) for file in files[:3]) + (f" and {len(files) - 3} more files" if len(files) > 3 else "")
