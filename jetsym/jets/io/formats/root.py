"""TTrees of ROOT files, their baskets read in bulk: where they lie, what is in them, and every way to be bad.

uproot reads the file's directory, its tree and the types of the branches, and decompresses. What is done here is to
read whole baskets in one go, in any thread (decompression and the copies of numpy leave Python's lock alone), and to
strip the ten bytes that ``std::vector`` puts before each jet's particles from all branches with one mask.
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
import uproot
from numpy.typing import NDArray

from jetsym.errors import DataError, lacks_explained
from jetsym.jets.io.copies import place_of
from jetsym.jets.io.formats.base import Format, register
from jetsym.jets.io.formats.index import Branch, FileIndex, JetReader
from jetsym.jets.io.formats.layout import Layout
from jetsym.jets.io.formats.opening import explained, open_tree, stamp_of
from jetsym.jets.io.formats.table import Column, Table, depth_of, index_jetclass, split_digits, unpacked
from jetsym.jets.io.remote import File, RemoteFile, open_remote
from jetsym.jets.schema import TREE

__all__ = ["BasketReader", "TreeTable", "open_table"]

# A basket begins with a key (TKey) and ends this with what TBasket adds to it; all numbers are big-endian.
_KEY = struct.Struct(">ihiIhh")  # bytes, version, bytes when decompressed, date, length of the key, cycle
_BASKET = struct.Struct(">HiiiiB")  # version, buffer size, entry size, entries, end of the data, flag


class TreeTable(Table):
    """An open TTree, with branches of branches and the leaves of leaf lists; those that are no numbers do no harm."""

    def __init__(self, path: File, tree: Any) -> None:
        self._tree, self._stamp = tree, stamp_of(path)
        self._branches: dict[str, tuple[Any, str | None]] = {}
        paths = dict(reversed([*tree.iteritems(recursive=True)]))  # the first of two with the same path, as in ROOT
        names = Counter(branch.name for branch in paths.values())
        for place, branch in reversed(paths.items()):
            name = branch.name if names[branch.name] == 1 else place
            self._branches[name] = branch, None
            if len(leaves := branch.member("fLeaves")) > 1:
                for leaf in leaves:
                    self._branches[f"{name}.{leaf.member('fName')}"] = branch, leaf.member("fName")
        super().__init__(path, f"{path}: the tree {tree.name!r}", int(tree.num_entries), list(self._branches))

    def column(self, name: str) -> Column | None:
        """Tell what a branch holds; None if there is none of this name."""
        if (found := self._find(name)) is None:
            return None
        (branch, _), part = found
        try:
            type_ = str(branch.typename)
        except Exception:  # whatever uproot says of what it does not know
            return Column("of an unknown type", None)
        if (numbers := _numbers(branch)) is not None:
            lists, dtype, shape = numbers
            if isinstance(part, str):
                shape, dtype = dtype[part].shape, dtype[part].base
            elif part is not None:
                if not shape or part >= shape[-1]:
                    return None
                shape = shape[:-1]
            return Column(type_, lists + len(shape) if dtype.kind in "biuf" else None, fixed=bool(shape))
        if part is not None:
            return Column(type_, None) if isinstance(part, str) else None
        try:
            return Column(type_, depth_of(branch.interpretation.awkward_form(branch.file)))
        except Exception:  # whatever uproot says of what it does not know
            return Column(type_, None)

    def index(self, names: Sequence[str], layout: Layout) -> FileIndex:
        """Find where the baskets of chosen branches lie; parameters as of :class:`FileIndex`.

        Raises
        ------
        ValueError
            If the baskets do not hold all jets.
        """
        chosen = {name: found for name in names if (found := self._find(name)) is not None}
        fast = {name: found for name, found in chosen.items() if _numbers(found[0][0]) is not None}
        branches = {name: _branch(name, branch, part) for name, ((branch, _), part) in fast.items()}
        counters = [counter for (branch, _), _ in fast.values() if (counter := _counter(branch)) is not None]
        branches |= {counter.name: _branch(counter.name, counter, None) for counter in counters}
        for branch in branches.values():
            if branch.entries[-1] != self.n_entries or (np.diff(branch.entries) <= 0).any():
                raise ValueError(f"the baskets of {branch.name!r} do not add up to {self.n_entries} jets")
        # Clusters are where the lists begin anew: their baskets take longest to decompress.
        lists = [name for name in fast if self.depth(name)]
        common = branches[lists[0]].entries if lists else np.array([0, self.n_entries])
        for name in lists[1:]:
            common = np.intersect1d(common, branches[name].entries, assume_unique=True)
        deepest = [name for name in chosen if self.depth(name)]
        size = branches[deepest[0]].dtype.itemsize if deepest and deepest[0] in fast else 1
        return FileIndex(
            self.path,
            *self._stamp,
            n_jets=self.n_entries,
            particles=chosen[deepest[0]][0][0].uncompressed_bytes // size if deepest else 0,
            layout=layout,
            branches=branches,
            boundaries=common,
            reader=partial(BasketReader, tree=self._tree.object_path.strip("/").rpartition(";")[0]),
            depths={name: self.depth(name) for name in chosen},
        )

    def _find(self, name: str) -> tuple[tuple[Any, str | None], str | int | None] | None:
        if name in self._branches:
            return self._branches[name], self._branches[name][1]
        split = split_digits(name)
        whole = None if split is None else self._branches.get(split[0])
        return None if split is None or whole is None or whole[1] is not None else (whole, split[1])


@contextmanager
def open_table(path: File, name: str | None) -> Iterator[Table]:
    """Open a tree of a file, an RNTuple beside trees as well; None for the only one that it has."""
    from jetsym.jets.io.formats.rntuple import NTuple, NTupleTable  # registers itself after this format

    kinds = (uproot.TTree, NTuple) if isinstance(path, Path) else uproot.TTree
    with open_tree(path, name, kind=kinds) as tree, explained(path):
        yield TreeTable(path, tree) if isinstance(tree, uproot.TTree) else NTupleTable(path, tree)


def _numbers(branch: Any) -> tuple[int, np.dtype[Any], tuple[int, ...]] | None:
    """Tell how uproot's plain numbers lie in a branch: lists or not, their type, and the shape of arrays of them."""
    try:
        how = branch.interpretation
    except Exception:  # whatever uproot says of what it does not know
        return None
    lists = isinstance(how, uproot.AsJagged)
    how = how.content if lists else how
    return (int(lists), how.from_dtype.base, how.inner_shape) if type(how) is uproot.AsDtype else None


def _counter(branch: Any) -> Any:
    """Return the branch that counts the elements of the lists of another; None where there is no such numbers."""
    counter = branch.count_branch
    numbers = None if counter is None else _numbers(counter)
    return counter if numbers is not None and numbers[0] == 0 and not numbers[2] else None


def _branch(name: str, branch: Any, part: str | int | None) -> Branch:
    how = branch.interpretation
    ragged = isinstance(how, uproot.AsJagged)
    embedded = tuple(
        (basket.data, None if basket.byte_offsets is None else basket.byte_offsets.astype(np.int64))
        for basket in branch.embedded_baskets
    )
    stored = branch.num_baskets - len(embedded)
    counter = _counter(branch)
    numbers = how.content if ragged else how
    return Branch(
        name=name,
        dtype=numbers.from_dtype.base,
        header=how.header_bytes if ragged else None,
        counter=counter.name if ragged and counter is not None else None,
        entries=np.array(branch.entry_offsets, np.int64),
        seeks=np.array(branch.member("fBasketSeek")[:stored], np.int64),
        sizes=np.array(branch.member("fBasketBytes")[:stored], np.int64),
        shape=numbers.inner_shape,
        part=part,
        embedded=embedded,
    )


class BasketReader(JetReader):
    """An open file from which ranges of jets are read, branch by branch; not to be shared between threads."""

    def __init__(self, index: FileIndex, *, tree: str = TREE) -> None:
        super().__init__(index)
        self._tree, self._stack = tree, ExitStack()
        self._lengths: dict[tuple[str, int, int], NDArray[np.int64]] = {}
        self._mask: tuple[NDArray[np.int64], int, int, NDArray[np.bool_]] | None = None

    def __enter__(self) -> Self:
        path = place_of(self.index.path)
        if isinstance(path, RemoteFile):
            self._file, *status = open_remote(path, ahead=False)
        else:
            try:
                with lacks_explained(f"{path}: cannot be read"):
                    self._file = path.open("rb", buffering=0)
            except OSError as error:
                raise DataError(f"{path}: cannot be opened any more ({error.strerror}); it was there before") from error
            found = os.fstat(self._file.fileno())
            status = [found.st_size, found.st_mtime_ns]
        try:
            self.index.check_unchanged((status[0], status[1]))
        except DataError:
            self._file.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._stack.close()

    def flat(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Read (stop − start,) values of a branch with one number per jet, in the machine's byte order."""
        if name not in self.index.branches:
            return unpacked(*self._slowly(name, start, stop), first=start)[0]
        branch = self.index.branches[name]
        return self._fixed(branch, start, stop).astype(branch.number.newbyteorder("="))

    def ragged(self, name: str, start: int, stop: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Read the values (P,) of some jets' particles, in the file's byte order, and their number in each jet."""
        if name not in self.index.branches:
            values, (counts,) = unpacked(*self._slowly(name, start, stop), first=start)
            return values, counts
        branch = self.index.branches[name]
        if branch.header is None:
            values = self._fixed(branch, start, stop)
            return values.ravel(), np.full(len(values), values.shape[1])
        first, last, parts = self._baskets(branch, start, stop)
        data = np.concatenate([part for part, _ in parts]) if len(parts) > 1 else parts[0][0]
        offsets = self._offsets(branch, first, last, parts)
        header, itemsize = branch.header, branch.itemsize
        if offsets[-1] != len(data):
            raise ValueError(f"{name!r} holds {len(data)} bytes for jets {first} to {last}, expected {offsets[-1]}")
        offsets = offsets[start - first : stop - first + 1]
        data, offsets = data[offsets[0] : offsets[-1]], offsets - offsets[0]
        lengths = np.diff(offsets) - header
        if lengths.min() < 0 or (lengths % itemsize).any():
            raise ValueError(f"{name!r} holds lists of {lengths.min()} bytes and more for values of {itemsize}")
        if header:
            data = self._stripped(data, offsets, header, itemsize)
        return branch.values(data), lengths // itemsize

    def nested(self, name: str, start: int, stop: int) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
        """Read the values (P,) of a list of lists per entry, the lengths of the inner lists, and those of the outer."""
        values, (outer, inner) = unpacked(*self._slowly(name, start, stop), first=start)
        return values, inner, outer

    def _fixed(self, branch: Branch, start: int, stop: int) -> NDArray[Any]:
        """Read (stop − start, …) values of a branch with as many numbers in every entry."""
        first, last, parts = self._baskets(branch, start, stop)
        data = np.concatenate([part for part, _ in parts])
        if len(data) != (last - first) * branch.itemsize:
            raise ValueError(f"{branch.name!r} holds {len(data)} bytes for jets {first} to {last}")
        return branch.values(data)[start - first : stop - first]

    def _slowly(self, name: str, start: int, stop: int) -> tuple[Any, str]:
        """Read what is no plain numbers with uproot."""
        if not hasattr(self, "_open"):
            self._open = self._stack.enter_context(open_tree(self.index.path, self._tree))
        array = self._open[name].array(entry_start=start, entry_stop=stop)
        return array, f"{self.index.path}: the branch {name!r}"

    def _stripped(
        self, data: NDArray[np.uint8], offsets: NDArray[np.int64], header: int, itemsize: int
    ) -> NDArray[np.uint8]:
        """Strip the headers of the lists from the bytes."""
        # Two bytes at a time where nothing begins at an odd one: half the work.
        unit = 2 if header % 2 == 0 and itemsize % 2 == 0 else 1
        same = self._mask is not None and self._mask[1:3] == (header, itemsize)
        if self._mask is None or not same or not np.array_equal(self._mask[0], offsets):
            mask = np.ones(len(data) // unit, np.bool_)
            mask[(offsets[:-1, None] // unit + np.arange(header // unit)).ravel()] = False
            self._mask = offsets, header, itemsize, mask
        return data.view(f"u{unit}")[self._mask[3]].view(np.uint8)

    def _offsets(self, branch: Branch, first: int, last: int, parts: list[Any]) -> NDArray[np.int64]:
        """Find where the bytes of each jet begin in the joined baskets, (jets + 1,)."""
        if any(starts is None for _, starts in parts):
            if branch.counter is None:
                raise ValueError(f"{branch.name!r} does not say where its lists begin")
            key = branch.counter, first, last
            if key not in self._lengths:
                self._lengths[key] = self.flat(*key).astype(np.int64)
            lengths = self._lengths[key] * branch.itemsize
            if lengths.min() < 0:
                raise ValueError(f"{branch.counter!r} counts {lengths.min()} particles")
            return np.concatenate([[0], np.cumsum(lengths)])
        ends = np.cumsum([len(data) for data, _ in parts])
        begins = np.repeat(ends - [len(data) for data, _ in parts], [len(starts) for _, starts in parts])
        return np.append(np.concatenate([starts for _, starts in parts]) + begins, ends[-1])

    def _baskets(self, branch: Branch, start: int, stop: int) -> tuple[int, int, list[Any]]:
        """Read all baskets that hold some of the jets: their first and last jet, and the bytes and starts of each."""
        begin = int(np.searchsorted(branch.entries, start, side="right")) - 1
        end = int(np.searchsorted(branch.entries, stop, side="left"))
        parts = [self._basket(branch, number) for number in range(begin, end)]
        return int(branch.entries[begin]), int(branch.entries[end]), parts

    def _basket(self, branch: Branch, number: int) -> tuple[NDArray[np.uint8], NDArray[np.int64] | None]:
        if number >= len(branch.seeks):
            data, starts = branch.embedded[number - len(branch.seeks)]
            return data, None if starts is None else starts[:-1]
        n_jets = int(branch.entries[number + 1] - branch.entries[number])
        size, seek = int(branch.sizes[number]), int(branch.seeks[number])
        self._file.seek(seek)
        raw = self._file.read(size)
        if len(raw) != size:
            raise ValueError(f"{branch.name!r} has a basket beyond the end of the file")
        stored, _, n_bytes, _, key, _ = _KEY.unpack_from(raw)
        _, _, _, entries, last, _ = _BASKET.unpack_from(raw, key - _BASKET.size)
        end = last - key
        if stored != size or entries != n_jets or not 0 <= end <= n_bytes:
            raise ValueError(f"{branch.name!r} has a basket at byte {seek} that is not the one the tree describes")
        if size - key == n_bytes:
            data = np.frombuffer(raw, np.uint8)[key:]
        else:
            source: Any = SimpleNamespace(file_path=self.index.path)
            chunk = uproot.source.chunk.Chunk.wrap(source, np.frombuffer(raw, np.uint8))
            cursor = uproot.source.cursor.Cursor(key)
            data = uproot.compression.decompress(chunk, cursor, {}, size - key, n_bytes).raw_data
        if len(data) != n_bytes:
            raise ValueError(f"{branch.name!r} has a basket at byte {seek} of {len(data)} bytes, expected {n_bytes}")
        if end == n_bytes:
            return data, None
        # One number says how many follow; the last of them is not used.
        starts = data[end:].view(">i4")[1:-1]
        if len(starts) != n_jets:
            raise ValueError(f"{branch.name!r} has a basket at byte {seek} with {len(starts)} jets, expected {n_jets}")
        return data[:end], starts.astype(np.int64) - key


register(
    Format(
        name="ROOT",
        suffixes=(".root",),
        index=partial(index_jetclass, open_table),
        remote=True,
        table=open_table,
    )
)
