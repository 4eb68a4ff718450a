"""Successive jets of a file, read at once in any thread, without those that no model can use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from jetsym.errors import DataError
from jetsym.jets.io.arena import Arena
from jetsym.jets.io.formats.index import FileIndex
from jetsym.jets.io.formats.layout import AXIS_BRANCHES, labels
from jetsym.jets.io.formats.opening import explained
from jetsym.jets.io.mapped import first_columns
from jetsym.jets.io.packed import DISPLACEMENTS, KINDS, PackedJets, pack_kinds
from jetsym.jets.io.remote import File
from jetsym.jets.kinematics import from_pt_eta_phi_energy
from jetsym.jets.schema import P4_BRANCHES

__all__ = ["BadJets", "BadJetsError", "ColumnSet", "narrowed", "read_block", "without_bad"]

BadJets = Literal["raise", "drop"]
ColumnSet = Literal["all", "full", "kin"]


class BadJetsError(DataError):
    """Jets that no model can use, in a file that is whole: ``skip_bad`` does not leave all jets around them out."""


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
    good, kept = without_bad(index, np.arange(start, stop), jets, bad_jets)
    return good if arena is None or kept is not None else arena.move(good, place), kept


def narrowed(jets: PackedJets, *, columns: ColumnSet, also: Sequence[str] = ()) -> PackedJets:
    """Return a view of jets with no more of them than :func:`read_block` reads."""
    names = [name for name in jets.columns if columns == "all" or name in also]
    kept = replace(jets, columns={name: jets.columns[name] for name in names})
    return kept if columns != "kin" else replace(kept, values=first_columns(jets.values, 4), kinds=None, inputs={})


def without_bad(
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
    raise BadJetsError(
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
