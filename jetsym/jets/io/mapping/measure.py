"""What a mapping leaves to be measured on the files: standardisation, classes of whole numbers, weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import DataError
from jetsym.jets.io.formats.index import EmptyFileError
from jetsym.jets.io.formats.opening import explained
from jetsym.jets.io.mapping.inputs import measure_scaling
from jetsym.jets.io.mapping.mapped_reader import MappedJets, MappedReader, index_mapped
from jetsym.jets.io.mapping.reweighting import WeaverWeights, bin_weights
from jetsym.jets.io.mapping.tree_mapping import Labels, Reweighting, TreeMapping
from jetsym.jets.io.remote import File

__all__ = ["measure_standardisation", "measured"]

#: Jets of a file that are looked through at once.
_ROWS = 65_536
#: About as many jets are measured where a mapping does not say how many, in so many pieces of each file.
_ENOUGH, _PIECES = 100_000, 16
#: More classes than any label has: a larger number is none of a class.
_MOST_CLASSES = 10_000

#: What is found in some jets.
Found = TypeVar("Found")


def measured(mapping: TreeMapping, files: Iterable[File], *, skip_bad: bool = False) -> TreeMapping:
    """Measure what a mapping leaves open on all jets of all files.

    Centres and scales are those of :func:`measure_standardisation`; a custom label of whole numbers 0, 1, … has as many
    classes as the largest number says, at least two.

    Raises
    ------
    DataError
        If a file cannot be read (left out with ``skip_bad``), a class has no jets, or there is nothing to measure.
    """
    files = list(files)
    plan, weights = mapping.unmeasured, mapping.reweighting
    bare = replace(mapping, unmeasured=None, reweighting=None)
    if plan is not None:
        if plan.bounds:
            mapping = mapping.standardised(measure_standardisation(mapping, files, skip_bad=skip_bad))
        mapping = replace(mapping, unmeasured=None)
        if plan.labels:
            mapping = _labelled(mapping, _classes(bare, files, plan.labels, skip_bad=skip_bad))
    if isinstance(weights, Reweighting):
        return mapping.with_weights(_binned(mapping, files, weights, skip_bad=skip_bad))
    if weights is not None and weights.table is None:
        mapping = replace(mapping, reweighting=_weighted(bare, files, weights, skip_bad=skip_bad))
    return mapping


def _look(
    mapping: TreeMapping, files: list[File], look: Callable[[MappedReader], list[Found]], *, skip_bad: bool
) -> list[Found]:
    """Look at file by file, and gather what has been found; where no file is left, say why."""
    found: list[Found] = []
    reasons: list[DataError] = []
    for path in files:
        try:
            index = index_mapped(path, mapping)
            with cast("MappedReader", index.reader(index)) as file, explained(path):
                found += look(file)
        except DataError as error:
            if not (skip_bad or isinstance(error, EmptyFileError)):
                raise
            reasons.append(error)
    if files and len(reasons) == len(files):
        raise min(reasons, key=lambda error: isinstance(error, EmptyFileError))
    return found


def _parts(file: MappedReader, jets: int) -> Iterator[MappedJets]:
    """Give the first jets of a file, some at a time."""
    for start in range(0, jets, _ROWS):
        yield file.jets(start, min(start + _ROWS, jets))


def measure_standardisation(
    mapping: TreeMapping, files: Iterable[File], *, skip_bad: bool = False
) -> dict[str, dict[str, list[float]]]:
    """Measure centre and scale of what a mapping leaves open, :func:`jetsym.jets.io.mapping.inputs.measure_scaling`.

    A configuration of weaver-core says which fraction of each file is taken, from its first entry on. Elsewhere all
    jets are, of more than 100,000 about as many in pieces that are spread evenly over each file.

    Returns
    -------
    dict
        Input → variable → centre and scale.

    Raises
    ------
    DataError
        If a file cannot be read (left out with ``skip_bad``), or there is nothing to measure.
    """
    plan, files = mapping.unmeasured, list(files)
    if plan is None or not plan.bounds:
        return {}
    bare = replace(mapping, unmeasured=None, reweighting=None)

    def look(file: MappedReader) -> list[dict[str, dict[str, NDArray[Any]]]]:
        if plan.fraction is None:
            parts = _spread_out(file, -(-_ENOUGH // len(files)))
        else:
            parts = _parts(file, file.first(plan.fraction))
        return [part.values_of_inputs(plan.bounds) for part in parts]

    found, measured = _look(bare, files, look, skip_bad=skip_bad), dict[str, dict[str, list[float]]]()
    for name, variable in plan.bounds:
        values = np.concatenate([each[name][variable] for each in found]) if found else np.empty(0)
        if not len(values):
            raise DataError(
                f"{mapping.path}: there is no value of {variable!r} from which to measure its standardisation"
            )
        try:
            measured.setdefault(name, {})[variable] = [*measure_scaling(values)]
        except DataError as error:
            raise DataError(f"{mapping.path}: {name}.{variable} cannot be standardised: {error}") from error
    return measured


def _spread_out(file: MappedReader, jets: int) -> Iterator[MappedJets]:
    """Give all jets of a file, or, where there are more, about so many in pieces from all over it."""
    there = file.index.n_jets
    if there <= jets:
        yield from _parts(file, there)
        return
    size = -(-jets // _PIECES)
    for start in np.linspace(0, there - size, _PIECES).astype(np.int64).tolist():
        yield file.jets(start, start + size)


def _classes(mapping: TreeMapping, files: list[File], names: tuple[str, ...], *, skip_bad: bool) -> dict[str, int]:
    """Count the classes of the columns that are whole numbers."""

    def look(file: MappedReader) -> list[dict[str, int | None]]:
        return [
            {name: _largest(part.of_jets(mapping.columns[name])) for name in names}
            for part in _parts(file, file.index.n_jets)
        ]

    found = _look(mapping, files, look, skip_bad=skip_bad)
    counts = {}
    for name in names:
        largest = [own for each in found if (own := each[name]) is not None]
        if largest and len(largest) == len(found):
            counts[name] = max(1, *largest) + 1
    return counts


def _largest(values: NDArray[Any]) -> int | None:
    """Return the largest of whole numbers that can be those of classes; None for other numbers."""
    if values.dtype.kind not in "biu" or values.min() < 0 or values.max() >= _MOST_CLASSES:
        return None
    return int(values.max())


def _labelled(mapping: TreeMapping, classes: dict[str, int]) -> TreeMapping:
    """Make the one column of whole numbers the label; where there are several, or none, all stay columns."""
    if len(classes) != 1:
        return mapping
    ((name, number),) = classes.items()
    columns = {other: one for other, one in mapping.columns.items() if other != name}
    values = tuple((one,) for one in range(number))
    labels = Labels(tuple(map(str, range(number))), value=mapping.columns[name], values=values)
    return replace(mapping, columns=columns, labels=labels)


def _binned(mapping: TreeMapping, files: list[File], weights: Reweighting, *, skip_bad: bool) -> NDArray[np.float64]:
    """Return the weights by class and bin, from the labels and the binned quantities of all jets."""
    classes = 1 if mapping.labels is None else len(mapping.labels.classes)
    counts = np.zeros((classes, *(len(edges) - 1 for edges in weights.edges)), np.int64)

    def count(file: MappedReader) -> list[NDArray[np.int64]]:
        own = np.zeros_like(counts)
        for part in _parts(file, file.index.n_jets):
            places, inside = part.bins()
            np.add.at(own, tuple(place[inside] for place in places), 1)
        return [own]

    for own in _look(mapping, files, count, skip_bad=skip_bad):
        counts += own
    try:
        return bin_weights(counts, reference=weights.reference, cap=weights.cap)
    except DataError as error:
        raise DataError(f"{mapping.path}: {error}") from error


def _weighted(mapping: TreeMapping, files: list[File], weights: WeaverWeights, *, skip_bad: bool) -> WeaverWeights:
    """Return the weights by class and bin that make the classes alike."""

    def count(file: MappedReader) -> list[NDArray[np.float64]]:
        return [weights.count(part.of_jets) for part in _parts(file, file.index.n_jets)]

    def weigh(file: MappedReader) -> list[NDArray[np.float32]]:
        return [fitted.weigh(part.of_jets) for part in _parts(file, file.index.n_jets)]

    mapping = replace(mapping, reweighting=weights)
    counts = _look(mapping, files, count, skip_bad=skip_bad)
    if not counts:
        raise DataError(f"{mapping.path}: there are no jets of which to compute weights")
    fitted = weights.fitted(np.sum(counts, axis=0))
    return (
        fitted
        if weights.base is None
        else fitted.scaled_by(np.concatenate(_look(mapping, files, weigh, skip_bad=skip_bad)))
    )
