"""Trees that are read through a mapping, see :mod:`jetsym.jets.io.mapping`, as if they were JetClass's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import ConfigError, DataError
from jetsym.jets.io.formats.index import EmptyFileError, FileIndex, InnerReader, JetReader
from jetsym.jets.io.formats.layout import AXIS_BRANCHES, LABEL_II, Layout, axis_of
from jetsym.jets.io.formats.opening import explained
from jetsym.jets.io.mapping.expressions import Expression
from jetsym.jets.io.mapping.inputs import pack_input
from jetsym.jets.io.mapping.momenta import cartesian, refuse_space_like
from jetsym.jets.io.mapping.padding import find_empty_ends, refuse_padding
from jetsym.jets.io.mapping.quantities import Quantity, as_condition, spread
from jetsym.jets.io.mapping.reweighting import WeaverWeights, bin_numbers
from jetsym.jets.io.mapping.several_jets import index_jets, open_mapped
from jetsym.jets.io.mapping.tree_mapping import WEIGHT, MappedInput, Reweighting, TreeMapping
from jetsym.jets.io.packed_inputs import PackedInput
from jetsym.jets.io.remote import File
from jetsym.jets.schema import CLASSES, P4_BRANCHES

__all__ = ["MappedJets", "MappedReader", "index_mapped"]

#: Entries of a file that are looked through at once.
_ROWS = 65_536


def index_mapped(path: File, mapping: TreeMapping) -> FileIndex:
    """Read where everything lies in any tree with one entry per jet, after the selection.

    Raises
    ------
    DataError
        If the file is missing, is damaged, or lacks the tree, jets or a branch that is named.
    ConfigError
        If what the mapping says has no meaning for these branches.
    """
    with explained(path), open_mapped(path, mapping) as table:
        if not table.n_entries:
            raise EmptyFileError(f"{table.source} holds no jets; expected at least one")
        if mapping.of_weaver and mapping.jet is not None:
            axis = mapping.branches(mapping.jet.parts.values())
            mapping = mapping if all(table.column(name) for name in axis) else replace(mapping, jet=None)
        expressions = mapping.expressions()
        known = [*table.names, *(name for one in expressions for name in one.names if table.column(name))]
        for expression in expressions:
            expression.check_names([*known, *mapping.variables, *mapping.file_values], source=table.source)
        first = mapping.branches(_of_particles(mapping))
        names = dict.fromkeys([*first, *mapping.branches(expressions)])
        names |= dict.fromkeys(name for name in (mapping.owner, mapping.place) if name is not None)
        depths = {name: table.depth(name) for name in names}
        if not any(depths[name] for name in first) and not (mapping.of_weaver and mapping.particles is None):
            raise DataError(f"{table.source} has no list of particles in any of {', '.join(first)}, its particles")
        raw = index_jets(mapping, table, table.index([*names], _layout(mapping, path)), first=first)
    reader = partial(MappedReader, mapping, raw)
    if mapping.selection is None and mapping.fold is None:
        return replace(raw, reader=reader)
    with raw.reader(raw) as file, explained(path):
        parts = [MappedJets(mapping, raw, file, entries).selected() for entries in _in_pieces(raw.entries)]
    return raw.only(np.concatenate(parts), reader)


class MappedReader(InnerReader):
    """An open file from which ranges of jets are read, like :class:`jetsym.jets.io.formats.root.BasketReader`."""

    def __init__(self, mapping: TreeMapping, raw: FileIndex, index: FileIndex) -> None:
        super().__init__(raw, index)
        self._mapping = mapping
        self._entries = index.entries
        self._last: tuple[int, int, MappedJets] | None = None

    def __exit__(self, *arguments: object) -> None:
        self._last = None
        super().__exit__(*arguments)

    def first(self, fraction: float) -> int:
        """Count the jets in a fraction of the entries of the file, from the first on, at least one."""
        return int(np.searchsorted(self._entries, max(1, int(fraction * self._raw.n_jets))))

    def flat(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Read (stop − start,) values with one number per jet."""
        return self.jets(start, stop).flat(name)

    def ragged(self, name: str, start: int, stop: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Read the values (P,) of the particles of some jets, and their number in each jet."""
        return self.jets(start, stop).ragged(name)

    def column(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Read (stop − start,) values of a column, which may have the name of a part of the jet axis."""
        return self.jets(start, stop).column(name)

    def inputs(self, start: int, stop: int) -> dict[str, PackedInput]:
        """Read what other networks take."""
        return self.jets(start, stop).inputs()

    def jets(self, start: int, stop: int) -> MappedJets:
        """Return jets ``start`` to ``stop``, of those that are selected."""
        if self._last is None or self._last[:2] != (start, stop):
            self._last = start, stop, MappedJets(self._mapping, self._raw, self._file, self._entries[start:stop])
        return self._last[2]


class MappedJets:
    """Some entries of a file in JetClass's branches; what is read or computed once is kept."""

    def __init__(self, mapping: TreeMapping, raw: FileIndex, file: JetReader, entries: NDArray[np.int64]) -> None:
        self._mapping, self._raw, self._file, self._entries = mapping, raw, file, entries
        self._read: dict[str, Quantity] = {}

    def flat(self, name: str) -> NDArray[Any]:
        """Compute (B,) a part of the jet axis, the label, the weight or a column."""
        if name == LABEL_II:
            return self.label
        if name == WEIGHT and WEIGHT not in self._mapping.columns:
            return self._weight()
        return self._axis[name] if name in AXIS_BRANCHES else self.column(name)

    def column(self, name: str) -> NDArray[Any]:
        """Compute (B,) a column of the mapping, or the weight."""
        return self.flat(name) if name not in self._mapping.columns else self.of_jets(self._mapping.columns[name])

    def ragged(self, name: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Compute (P,) a quantity of the particles, and their number in each jet."""
        if self._mapping.particles is None:
            return np.empty(0, np.float32), np.zeros(len(self._entries), np.int64)
        momenta, counts = self._particles
        if name in P4_BRANCHES:
            return momenta[P4_BRANCHES.index(name)], counts
        expression = self._mapping.scalars[name.removeprefix("part_")]
        chosen, all_counts = self._chosen
        values = self._spread(expression, self.value(expression), all_counts)
        return values if chosen is None else values[chosen], counts

    def inputs(self) -> dict[str, PackedInput]:
        """Compute the inputs, standardised and without padding."""
        path, jets = self._raw.path, len(self._entries)
        return {
            name: pack_input(f"{path}: the input {name!r}", one, self._variables(name, one), jets=jets)
            for name, one in self._mapping.inputs.items()
        }

    def values_of_inputs(self, wanted: Iterable[tuple[str, str]]) -> dict[str, dict[str, NDArray[Any]]]:
        """Compute variables of inputs as they are before standardisation, of all members, by input and name."""
        found: dict[str, dict[str, NDArray[Any]]] = {}
        for name in dict.fromkeys(name for name, _ in wanted):
            one = self._mapping.inputs[name]
            values = [each.values.ravel() for each in self._variables(name, one)]
            found[name] = dict(zip(one.form.names, values, strict=True))
        return found

    def _variables(self, name: str, one: MappedInput) -> list[Quantity]:
        found = [self.value(each) for each in one.variables]
        if name not in self._mapping.members:
            return found
        if self._mapping.members[name]:
            chosen, counts = self._chosen
        else:
            lists = [each.counts for each in found if each.counts is not None]
            if not lists:
                raise ConfigError(f"{one.variables[0]} has one value per jet; expected one per member of {name!r}")
            chosen, counts = None, lists[0]
        others = () if self._mapping.members[name] else ("others have {}",)
        pairs = zip(one.variables, found, strict=True)
        values = [self._spread(each, value, counts, *others) for each, value in pairs]
        if chosen is None:
            return [Quantity(each, counts) for each in values]
        return [Quantity(each[chosen], self._particles[1]) for each in values]

    def selected(self) -> NDArray[np.bool_]:
        """Tell which of the entries are wanted, of those of the fold."""
        selection, fold = self._mapping.selection, self._mapping.fold
        found = np.ones(len(self._entries), np.bool_)
        if selection is not None:
            found &= as_condition(Quantity(self.of_jets(selection)), str(selection)).values
        if fold is not None:
            found &= fold.choose(self.of_jets(self._mapping.numbers_of(fold)), where=f"{self._raw.path}: ")
        return found

    def bins(self) -> tuple[tuple[NDArray[np.int64], ...], NDArray[np.bool_]]:
        """Find class and bin of each jet, as an index of a table of weights, and whether it lies in the bins."""
        reweighting = self._mapping.reweighting
        assert isinstance(reweighting, Reweighting)
        values = [self.of_jets(axis) for axis in reweighting.axes]
        numbers, inside = bin_numbers(values, reweighting.edges)
        label = np.zeros(len(self._entries), np.int64) if self._mapping.labels is None else self.label
        return (label, *numbers), inside

    @cached_property
    def label(self) -> NDArray[np.int64]:
        """(B,) number of each jet's class."""
        labels, path = self._mapping.labels, self._raw.path
        assert labels is not None
        if labels.files:
            return np.full(len(self._entries), _class_of_file(self._mapping, path))
        if labels.value is not None:
            values = self.of_jets(labels.value)
            match = [np.isin(values, own) for own in labels.values]
            remedy = f"{labels.value} is none of {', '.join(str(value) for own in labels.values for value in own)}"
        else:
            flags = [self.of_jets(each) for each in labels.one_hot]
            odd = [(flag != 0) & (flag != 1) for flag in flags]
            match = [(flag == 1) | wrong for flag, wrong in zip(flags, odd, strict=True)]
            match = [*match, *(wrong for wrong in odd if wrong.any())]  # counts twice, and is refused
            remedy = f"not exactly one of the labels of {', '.join(labels.classes)} is 1 and the others 0"
        wrong = np.flatnonzero(np.sum(match, axis=0) != 1)
        if len(wrong):
            raise DataError(
                f"{path}: at entry {self._entries[wrong[0]]} {remedy} ({len(wrong)} such jets); "
                f"leave such jets out with 'selection' in {self._mapping.path}, or give them a class"
            )
        return cast("NDArray[np.int64]", np.argmax(match, axis=0))

    def _weight(self) -> NDArray[np.float32]:
        reweighting = self._mapping.reweighting
        assert reweighting is not None
        assert reweighting.table is not None
        if isinstance(reweighting, WeaverWeights):
            return reweighting.weigh(self.of_jets)
        places, inside = self.bins()
        return np.where(inside, reweighting.table[places], 0).astype(np.float32)

    @cached_property
    def _axis(self) -> dict[str, NDArray[Any]]:
        momentum = self._mapping.jet
        if momentum is None and self._mapping.particles is None:
            return dict.fromkeys(AXIS_BRANCHES, np.zeros(len(self._entries)))
        if momentum is None:
            momenta, counts = self._particles
            jet = np.repeat(np.arange(len(counts)), counts)
            return axis_of(np.stack([np.bincount(jet, weights=one, minlength=len(counts)) for one in momenta]))
        parts = momentum.in_gev({name: self.of_jets(each) for name, each in momentum.parts.items()})
        if "eta" in parts:
            values = [parts[name] for name in ("pt", "eta", "phi")]
            found = dict(zip(AXIS_BRANCHES, [*values, cartesian(parts)[0]], strict=True))
        else:
            found = axis_of(np.stack(cartesian(parts)))
        refuse_space_like(f"{self._raw.path}: jet axes", cartesian(parts), f"{self._mapping.path}")
        return found

    @cached_property
    def _particles(self) -> tuple[list[NDArray[Any]], NDArray[np.int64]]:
        """(E, px, py, pz) of the particles that are meant, in GeV, in their order, and their number in each jet."""
        momenta, counts = self._momenta
        chosen, _ = self._chosen
        if chosen is not None:
            jets = np.repeat(np.arange(len(counts)), counts)[chosen]
            momenta, counts = [one[chosen] for one in momenta], np.bincount(jets, minlength=len(counts))
        refuse_space_like(f"{self._raw.path}: particles", momenta, f"{self._mapping.path}")
        return momenta, counts

    @cached_property
    def _momenta(self) -> tuple[list[NDArray[Any]], NDArray[np.int64]]:
        """(E, px, py, pz) of all particles in GeV, in the order of the file, and their number in each jet."""
        momentum = self._mapping.particles
        assert momentum is not None
        found = {name: self.value(expression) for name, expression in momentum.parts.items()}
        counts = next((one.counts for one in found.values() if one.counts is not None), None)
        if counts is None:
            raise ConfigError(f"{momentum.parts['px' if 'px' in found else 'pt']} has no value per particle")
        parts = {name: self._spread(momentum.parts[name], one, counts) for name, one in found.items()}
        where = self._mapping.where
        kept = None if where is None else self._spread(where, as_condition(self.value(where), str(where)), counts)
        if self._mapping.of_weaver:  # whose networks know the particles by a mask, and take zeros behind them as well
            ends = find_empty_ends([parts[name] for name in ("px", "py", "pz")], counts)
            kept = ~ends if ends.any() else None
        lists = {name: parts[name] for name, one in found.items() if one.counts is not None}
        refuse_padding(self._raw.path, self._mapping, lists, counts, self._entries, kept)
        # What is computed from padding need not be a constant, such as a direction relative to the jet's.
        names = self._mapping.branches(momentum.parts.values())
        stored = {name: one.values for name in names if (one := self._branch(name)).counts is not None}
        if all(len(one) == counts.sum() for one in stored.values()):
            refuse_padding(self._raw.path, self._mapping, stored, counts, self._entries, kept)
        self._kept = kept
        return cartesian(momentum.in_gev(parts)), counts

    @cached_property
    def _chosen(self) -> tuple[NDArray[np.int64] | None, NDArray[np.int64]]:
        """Which particles of all are meant, in their order, None for all as they are; and how many all jets have."""
        (_, px, py, _), counts = self._momenta
        chosen = None if self._kept is None else np.flatnonzero(self._kept)
        if self._mapping.by_pt:
            chosen = np.arange(len(px)) if chosen is None else chosen
            pt = np.hypot(px[chosen].astype(np.float64), py[chosen].astype(np.float64))
            chosen = chosen[np.lexsort((-pt, np.repeat(np.arange(len(counts)), counts)[chosen]))]
        return chosen, counts

    def of_jets(self, expression: Expression) -> NDArray[Any]:
        """Compute (B,) numbers of jets."""
        found = self.value(expression)
        if found.counts is not None:
            raise ConfigError(f"{expression} has a value per particle, and one per jet is expected; sum(…) makes one")
        return found.values if found.values.ndim else np.full(len(self._entries), found.values)

    def _spread(
        self,
        expression: Expression,
        found: Quantity,
        counts: NDArray[np.int64],
        others: str = "the momenta are of {} particles",
    ) -> NDArray[Any]:
        """Return values (P,) for the particles."""
        if found.counts is not None and not np.array_equal(counts, found.counts):
            jet = int(np.flatnonzero(counts != found.counts)[0])
            raise DataError(
                f"{self._raw.path}: {expression} has {found.counts[jet]} values at entry {self._entries[jet]}, where "
                f"{others.format(counts[jet])}; expected as many"
            )
        return spread(found, counts)

    def value(self, expression: Expression) -> Quantity:
        """Compute the value of an expression, which must be a number."""
        found = self._evaluated(expression)
        if found.vectors:
            raise ConfigError(f"{expression} is a four-momentum; expected a number, such as its .pt or .mass")
        return found

    def _evaluated(self, expression: Expression) -> Quantity:
        try:
            return expression.evaluate(self._branch)
        except DataError as error:
            where = f"{self._raw.path}: "  # what reads the file has said so already
            raise DataError(f"{'' if str(error).startswith(where) else where}{error}") from error

    def _branch(self, name: str) -> Quantity:
        """Return the values of a branch, of the entries that are wanted."""
        if name not in self._read and name in self._mapping.variables:
            self._read[name] = self._evaluated(self._mapping.variables[name])
        elif name not in self._read and name in self._mapping.file_values:
            patterns, path = self._mapping.file_values[name], str(self._raw.path)
            value = next((number for pattern, number in patterns if re.search(pattern, path)), 0)
            self._read[name] = Quantity(np.full(len(self._entries), value))
        elif name not in self._read:
            pieces = [self._piece(name, entries) for entries in _in_pieces(self._entries)]
            lists = [piece.counts for piece in pieces if piece.counts is not None]
            values = np.concatenate([piece.values for piece in pieces])
            self._read[name] = Quantity(values, np.concatenate(lists) if lists else None)
        return self._read[name]

    def _piece(self, name: str, entries: NDArray[np.int64]) -> Quantity:
        if self._raw.depths[name]:
            return Quantity(*self._file.ragged_at(name, entries))
        return Quantity(self._file.flat_at(name, entries))


def _layout(mapping: TreeMapping, path: File) -> Layout:
    labels, weights = mapping.labels, mapping.reweighting
    if labels is not None and labels.files:
        _class_of_file(mapping, path)
    return Layout(
        labels=() if labels is None else (LABEL_II,),
        classes=CLASSES if labels is None else labels.classes,
        columns=(*mapping.columns, *(() if weights is None or weights.table is None else (WEIGHT,))),
        scalars=tuple(f"part_{name}" for name in mapping.scalars),
        momenta=mapping.particles is not None,
    )


def _of_particles(mapping: TreeMapping) -> list[Expression]:
    """Return the expressions of which some must be lists."""
    if mapping.particles is not None:
        return [*mapping.particles.parts.values()]
    return [one for each in mapping.inputs.values() for one in each.variables]


def _class_of_file(mapping: TreeMapping, path: File) -> int:
    """Find the class whose pattern a file's name, or the end of its path, matches."""
    assert mapping.labels is not None
    patterns = mapping.labels.files
    # A remote file's parent is a pure path, which knows the same patterns.
    place = path.parent / path.name
    found = [number for number, own in enumerate(patterns) if any(place.match(pattern) for pattern in own)]
    if len(found) != 1:
        raise DataError(
            f"{path}: {len(found)} of the classes {', '.join(mapping.labels.classes)} have a pattern for this file in "
            f"{mapping.path}: labels.files; expected one"
        )
    return found[0]


def _in_pieces(entries: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Split successive entries of a file into parts that lie close together."""
    return np.split(entries, np.flatnonzero(np.diff(entries // _ROWS)) + 1) if len(entries) else []
