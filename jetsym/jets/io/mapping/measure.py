"""What a mapping leaves to be measured on the files: standardisation, classes of whole numbers, weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from jetsym.errors import DataError
from jetsym.jets.io.formats.index import EmptyFileError
from jetsym.jets.io.formats.opening import explained
from jetsym.jets.io.mapping.inputs import measure_scaling
from jetsym.jets.io.mapping.mapped_reader import MappedJets, MappedReader, index_mapped
from jetsym.jets.io.mapping.reweighting import WeaverWeights, bin_weights
from jetsym.jets.io.mapping.tree_mapping import Labels, MappedInput, Reweighting, TreeMapping, Unmeasured
from jetsym.jets.io.remote import File

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["measured"]

#: Jets of a file that are looked through at once.
_ROWS = 65_536
#: More classes than any label has: a larger number is none of a class.
_MOST_CLASSES = 10_000

#: What is found in some jets.
Found = TypeVar("Found")


def measured(mapping: TreeMapping, files: Iterable[File], *, skip_bad: bool = False) -> TreeMapping:
    """Measure what a mapping leaves open on all jets of all files.

    Centres and scales come from the first entries of each file, as many of them as the mapping says; a custom label
    of whole numbers 0, 1, … has as many classes as the largest number says, at least two.

    Raises
    ------
    DataError
        If a file cannot be read (left out with ``skip_bad``), a class has no jets, or there is nothing to measure.
    """
    files = list(files)
    plan, weights = mapping.unmeasured, mapping.reweighting
    bare = replace(mapping, unmeasured=None, reweighting=None)
    if plan is not None:
        mapping = replace(mapping, unmeasured=None)
        if plan.bounds:
            mapping = replace(mapping, inputs=_standardised(bare, files, plan, skip_bad=skip_bad))
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
    """Look at file by file, and gather what has been found."""
    found: list[Found] = []
    for path in files:
        with suppress(DataError if skip_bad else EmptyFileError):
            index = index_mapped(path, mapping)
            with cast("MappedReader", index.reader(index)) as file, explained(path):
                found += look(file)
    return found


def _parts(file: MappedReader, jets: int) -> Iterator[MappedJets]:
    """Give the first jets of a file, some at a time."""
    for start in range(0, jets, _ROWS):
        yield file.jets(start, min(start + _ROWS, jets))


def _standardised(
    mapping: TreeMapping, files: list[File], plan: Unmeasured, *, skip_bad: bool
) -> dict[str, MappedInput]:
    """Return the inputs with the scaling that has been measured."""
    expressions = {
        name: one
        for each in mapping.inputs.values()
        for name, one in zip(each.form.names, each.variables, strict=True)
        if name in plan.bounds
    }

    def look(file: MappedReader) -> list[dict[str, NDArray[Any]]]:
        parts = _parts(file, file.first(plan.fraction))
        return [{name: part.value(one).values.ravel() for name, one in expressions.items()} for part in parts]

    found, scaling = _look(mapping, files, look, skip_bad=skip_bad), {}
    for name, bounds in plan.bounds.items():
        values = np.concatenate([each[name] for each in found]) if found else np.empty(0)
        if not len(values):
            raise DataError(f"{mapping.path}: there is no value of {name!r} from which to measure its standardisation")
        scaling[name] = (*measure_scaling(values), *bounds)
    return {
        key: replace(
            one,
            form=replace(
                one.form,
                scaling=tuple(
                    scaling.get(name, own) for name, own in zip(one.form.names, one.form.scaling, strict=True)
                ),
            ),
        )
        for key, one in mapping.inputs.items()
    }


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
