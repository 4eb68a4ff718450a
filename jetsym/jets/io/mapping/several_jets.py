"""Several jets in one entry, and friend trees: other tables made into one row per jet, before they are mapped."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import ConfigError, DataError
from jetsym.jets.io.formats.base import format_of
from jetsym.jets.io.formats.index import EmptyFileError, FileIndex, InnerReader, JetReader
from jetsym.jets.io.formats.layout import Layout
from jetsym.jets.io.formats.opening import explained
from jetsym.jets.io.formats.table import Column, Table
from jetsym.jets.io.mapping.tree_mapping import TreeMapping
from jetsym.jets.io.remote import File

__all__ = ["index_jets", "open_mapped"]

#: What the lists of a column are of.
Of = Literal["entries", "jets", "particles", "rows"]


@contextmanager
def open_mapped(path: File, mapping: TreeMapping) -> Iterator[Table]:
    """Open the table of a file that a mapping is of, with those of its friends.

    Raises
    ------
    DataError
        If a file is missing, is damaged, is of a format without tables, or a friend has another number of entries.
    """
    with ExitStack() as stack:
        table = stack.enter_context(_open(path, mapping.tree, mapping))
        friends = {}
        for name, friend in mapping.friend_paths(path).items():
            friends[name] = stack.enter_context(_open(friend, mapping.friends[name][1], mapping))
        yield _JoinedTable(table, friends) if friends else table


@contextmanager
def _open(path: File, tree: str | None, mapping: TreeMapping) -> Iterator[Table]:
    form = format_of(path)
    if form.table is None:
        raise DataError(f"{path}: {mapping.path} maps columns of files, of which {form.name} does not tell")
    with explained(path), form.table(path, tree) as table:
        yield table


class _JoinedTable(Table):
    """A table with those of its friends, whose columns have the friend's name and a dot before theirs."""

    def __init__(self, table: Table, friends: Mapping[str, Table]) -> None:
        self._tables = {"": table} | {f"{name}.": friend for name, friend in friends.items()}
        for friend in friends.values():
            if friend.n_entries != table.n_entries:
                raise DataError(
                    f"{friend.source} has {friend.n_entries} entries and {table.source}, of which it is a friend, "
                    f"{table.n_entries}; expected as many"
                )
        names = [prefix + name for prefix, each in self._tables.items() for name in each.names]
        super().__init__(table.path, table.source, table.n_entries, names)

    def column(self, name: str) -> Column | None:
        prefix = self._home(name)
        return self._tables[prefix].column(name.removeprefix(prefix))

    def index(self, names: Sequence[str], layout: Layout) -> FileIndex:
        homes = {name: self._home(name) for name in names}
        found = {
            prefix: table.index([n.removeprefix(prefix) for n, home in homes.items() if home == prefix], layout)
            for prefix, table in self._tables.items()
        }
        return replace(
            found[""],
            particles=max(each.particles for each in found.values()),
            depths={prefix + name: depth for prefix, each in found.items() for name, depth in each.depths.items()},
            reader=partial(_JoinedReader, found, homes),
        )

    def _home(self, name: str) -> str:
        """Find the friend that a column is of, by the beginning of its name; nothing for the file itself.

        Raises
        ------
        DataError
            If both have such a column.
        """
        named = [prefix for prefix in self._tables if name.startswith(prefix)]
        there = [prefix for prefix in named if self._tables[prefix].column(name.removeprefix(prefix)) is not None]
        if len(there) > 1:
            own = name.removeprefix(there[1])
            raise DataError(
                f"{self.source} has the branch {name!r}, and its friend {there[1][:-1]} has {own!r}; give the friend "
                "another name in the mapping"
            )
        return max(there or named, key=len)


class _JoinedReader(JetReader):
    """Open files of which each has some of the columns."""

    def __init__(self, indices: Mapping[str, FileIndex], homes: Mapping[str, str], index: FileIndex) -> None:
        super().__init__(index)
        self._indices, self._homes, self._stack = indices, homes, ExitStack()

    def __enter__(self) -> Self:
        self._readers = {prefix: self._stack.enter_context(each.reader(each)) for prefix, each in self._indices.items()}
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def flat(self, name: str, start: int, stop: int) -> NDArray[Any]:
        reader, own = self._of(name)
        return reader.flat(own, start, stop)

    def ragged(self, name: str, start: int, stop: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        reader, own = self._of(name)
        return reader.ragged(own, start, stop)

    def nested(self, name: str, start: int, stop: int) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
        reader, own = self._of(name)
        return reader.nested(own, start, stop)

    def _of(self, name: str) -> tuple[JetReader, str]:
        prefix = self._homes[name]
        return self._readers[prefix], name.removeprefix(prefix)


@dataclass(frozen=True)
class _Jets:
    """The jets of the entries of a file.

    Parameters
    ----------
    starts
        (entries + 1,) the number of the first jet of each entry, and of all.
    of
        What the lists of each column are of.
    owner, place
        Columns with the number of the jet, and of the particle, of each row; None where lists of lists tell.
    """

    starts: NDArray[np.int64]
    of: Mapping[str, Of]
    owner: str | None
    place: str | None


def index_jets(mapping: TreeMapping, table: Table, raw: FileIndex, *, first: Sequence[str]) -> FileIndex:
    """Make one row per jet of a table with several jets in an entry; one with one jet in each is given back.

    Parameters
    ----------
    mapping, table, raw
        What is read of which file, and its index with a row per entry.
    first
        The branches of the particles, of their momenta if there are some.

    Raises
    ------
    DataError
        If there are no jets.
    ConfigError
        If the mapping does not say whose particles they are.
    """
    axis = [] if mapping.jet is None else mapping.branches(mapping.jet.parts.values())
    deep = [name for name, depth in raw.depths.items() if depth == 2]
    if mapping.owner is None:
        if not any(name in deep for name in first):
            if deep:
                raise ConfigError(
                    f"{table.source}: {deep[0]!r} has lists of lists, and the particles have not; expected both"
                )
            return raw
        kinds: tuple[Of, ...] = ("entries", "jets", "particles")
        of = {name: kinds[depth] for name, depth in raw.depths.items()}
        counting = next(name for name in first if name in deep)
    else:
        lists = [name for name in axis if raw.depths[name] == 1]
        if not lists or deep or raw.depths[mapping.owner] != 1 or (mapping.place and raw.depths[mapping.place] != 1):
            raise ConfigError(
                f"{mapping.path}: particles.jet says of which jet of an entry a particle is; expected lists of "
                "numbers, lists with the momenta of those jets under 'jet', and no lists of lists"
            )
        counting = lists[0]
        of = _assigned(mapping, raw, jets=counting, particles=next(name for name in first if raw.depths[name] == 1))
    with raw.reader(raw) as file:
        counts = [
            file.nested(counting, start, stop)[2] if counting in deep else file.ragged(counting, start, stop)[1]
            for start, stop in zip(raw.boundaries[:-1].tolist(), raw.boundaries[1:].tolist(), strict=True)
        ]
    starts = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    if not starts[-1]:
        raise EmptyFileError(f"{table.source} holds no jets in its {table.n_entries} entries; expected at least one")
    return replace(
        raw,
        n_jets=int(starts[-1]),
        several=True,
        boundaries=np.unique(starts[raw.boundaries]),
        depths={name: int(kind in ("particles", "rows")) for name, kind in of.items()},
        reader=partial(_SeveralReader, raw, _Jets(starts, of, mapping.owner, mapping.place)),
    )


def _assigned(mapping: TreeMapping, raw: FileIndex, *, jets: str, particles: str) -> dict[str, Of]:
    """Find out of what the list in each column is one, from what the names begin with."""
    assert mapping.owner is not None
    stems: dict[str, Of] = {_stem(particles): "particles"}
    stems |= {_stem(mapping.owner): "rows"}  # with no table between them the particles are its rows
    if _stem(jets) in stems:
        raise ConfigError(f"{mapping.path}: {jets}, of jets, and {particles} or {mapping.owner} begin alike")
    stems[_stem(jets)] = "jets"
    found: dict[str, Of] = {}
    for name, depth in raw.depths.items():
        stem = max((each for each in stems if re.match(rf"{re.escape(each)}[_.]", name)), key=len, default=None)
        if depth and stem is None:
            raise DataError(
                f"{raw.path}: the branch {name!r} has a list in each entry; expected a name that begins like one of "
                f"{jets} (of jets), {particles} (of particles) and {mapping.owner}"
            )
        found[name] = stems[stem] if depth and stem is not None else "entries"
    if mapping.place is None and found[particles] != "rows":
        raise ConfigError(
            f"{mapping.path}: {mapping.owner} (particles.jet) is of another list than {particles}; expected the number "
            "of the particle that each of its rows is under 'index'"
        )
    return found


def _stem(name: str) -> str:
    return re.split(r"[_.](?=[^_.]*$)", name)[0]


class _SeveralReader(InnerReader):
    """An open file with several jets in each entry, read as one jet in each."""

    def __init__(self, raw: FileIndex, jets: _Jets, index: FileIndex) -> None:
        super().__init__(raw, index)
        self._jets = jets
        self._rows: tuple[int, int, Any] | None = None

    def flat(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Read (stop − start,) values with one number per jet."""
        first, last = self._entries(start, stop)
        begin = start - int(self._jets.starts[first])
        if self._jets.of[name] == "entries":
            values = np.repeat(self._file.flat(name, first, last), np.diff(self._jets.starts[first : last + 1]))
        else:
            values, counts = self._file.ragged(name, first, last)
            self._check_counts(name, first, last, counts)
        return values[begin : begin + stop - start]

    def ragged(self, name: str, start: int, stop: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Read the values (P,) of the particles of some jets, and their number in each jet."""
        first, last = self._entries(start, stop)
        begin = start - int(self._jets.starts[first])
        if self._jets.owner is None:
            values, inner, outer = self._file.nested(name, first, last)
            self._check_counts(name, first, last, outer)
            ends = np.concatenate([[0], np.cumsum(inner)])[begin : begin + stop - start + 1]
            return values[ends[0] : ends[-1]], np.diff(ends)
        rows, places, sizes, counts = self._owned(start, stop, first, last)
        values, own = self._file.ragged(name, first, last)
        if self._jets.of[name] == "rows":
            self._check_sizes(name, own, sizes)
            return values[rows], counts
        entries, wanted = places
        if (beyond := np.flatnonzero((wanted < 0) | (wanted >= own[entries]))).size:
            wrong = beyond[0]
            raise DataError(
                f"{self.index.path}: {self._jets.place!r} is {wanted[wrong]} at entry {first + entries[wrong]}, where "
                f"{name!r} has {own[entries[wrong]]} values; expected the number of one of them"
            )
        return values[np.cumsum(own)[entries] - own[entries] + wanted], counts

    def _entries(self, start: int, stop: int) -> tuple[int, int]:
        """Return the first entry of some jets, and the one after the last."""
        starts = self._jets.starts
        first = int(np.searchsorted(starts, start, side="right")) - 1
        return first, int(np.searchsorted(starts, stop, side="left"))

    def _check_counts(self, name: str, first: int, last: int, counts: NDArray[np.int64]) -> None:
        expected = np.diff(self._jets.starts[first : last + 1])
        wrong = np.flatnonzero(counts != expected)
        if len(wrong):
            raise DataError(
                f"{self.index.path}: {name!r} has {counts[wrong[0]]} values at entry {first + wrong[0]}, where there "
                f"are {expected[wrong[0]]} jets; expected as many"
            )

    def _check_sizes(self, name: str, own: NDArray[np.int64], sizes: NDArray[np.int64]) -> None:
        if not np.array_equal(own, sizes):
            raise DataError(f"{self.index.path}: {name!r} and {self._jets.owner!r} have lists of different lengths")

    def _whole(self, name: str, values: NDArray[Any]) -> NDArray[np.int64]:
        """Return numbers of jets or particles, or refuse fractions."""
        if values.dtype.kind == "f" and (wrong := np.flatnonzero(values != np.round(values))).size:
            raise DataError(f"{self.index.path}: {name!r} is {values[wrong[0]]}; expected whole numbers")
        return values.astype(np.int64)

    def _owned(self, start: int, stop: int, first: int, last: int) -> Any:
        """Find the rows of some jets: which, the entries and numbers of their particles, and how many in each jet."""
        if self._rows is None or self._rows[:2] != (start, stop):
            jets = self._jets
            assert jets.owner is not None
            owner, sizes = self._file.ragged(jets.owner, first, last)
            owner = self._whole(jets.owner, owner)
            entries = np.repeat(np.arange(last - first), sizes)
            n_jets = np.diff(jets.starts[first : last + 1])
            if (beyond := np.flatnonzero((owner < -1) | (owner >= n_jets[entries]))).size:
                raise DataError(
                    f"{self.index.path}: {jets.owner!r} is {owner[beyond[0]]} at entry {first + entries[beyond[0]]}, "
                    f"where there are {n_jets[entries[beyond[0]]]} jets; expected the number of one of them, or −1"
                )
            jet = jets.starts[first + entries] + owner
            rows = np.flatnonzero((owner >= 0) & (jet >= start) & (jet < stop))
            rows = rows[np.argsort(jet[rows], kind="stable")]
            wanted = np.zeros(0, np.int64)
            if jets.place is not None:
                numbers, own = self._file.ragged(jets.place, first, last)
                self._check_sizes(jets.place, own, sizes)
                wanted = self._whole(jets.place, numbers)[rows]
                if len(np.unique(jet[rows] * (1 + wanted.max(initial=0)) + wanted)) < len(rows):
                    raise DataError(
                        f"{self.index.path}: {jets.place!r} gives a jet the same particle twice in entries {first} to "
                        f"{last - 1}; expected each once"
                    )
            counts = np.bincount(jet[rows] - start, minlength=stop - start)
            self._rows = start, stop, (rows, (entries[rows], wanted), sizes, counts)
        return self._rows[2]
