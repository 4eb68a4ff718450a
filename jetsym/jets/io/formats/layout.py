"""The layout of a JetClass or JetClass-II file: its branches, and its labels, which the two store differently."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import uproot
from numpy.typing import NDArray

from jetsym.errors import DataError, closest
from jetsym.jets.io.remote import File
from jetsym.jets.schema import (
    AUX_BRANCHES,
    CLASSES,
    CLASSES_II,
    EVENT_BRANCHES,
    JET_OBSERVERS,
    LABEL_BRANCHES,
    P4_BRANCHES,
    SCALAR_BRANCHES,
    TREE,
    WEIGHT,
)

__all__ = ["AXIS_BRANCHES", "LABEL_II", "Layout", "axis_of", "choose_layout", "is_number", "labels"]

#: The stored jet axis, in the order of :func:`jetsym.jets.kinematics.from_pt_eta_phi_energy`.
AXIS_BRANCHES = ("jet_pt", "jet_eta", "jet_phi", "jet_energy")

#: The number of each jet's class, as JetClass-II stores it.
LABEL_II = "jet_label"


@dataclass(frozen=True)
class Layout:
    """Which branches of a file to read, and what for.

    Parameters
    ----------
    labels
        The ten ``label_*``, or ``jet_label``, or nothing.
    classes
        The classes that these tell apart.
    columns
        Further per-jet branches that the file has.
    scalars
        What is known of the particles besides their momenta: all, the charge and the five flags, or nothing.
    momenta
        False where not even the momenta are known, but only inputs.
    """

    labels: tuple[str, ...]
    classes: tuple[str, ...]
    columns: tuple[str, ...]
    scalars: tuple[str, ...] = SCALAR_BRANCHES
    momenta: bool = True

    @property
    def ragged(self) -> tuple[str, ...]:
        """Branches with one list per jet."""
        return (*P4_BRANCHES, *self.scalars)

    @property
    def flat(self) -> tuple[str, ...]:
        """Branches with one number per jet."""
        return (*AXIS_BRANCHES, *self.labels, *self.columns)

    @property
    def branches(self) -> tuple[str, ...]:
        """All branches to read."""
        return (*self.ragged, *self.flat)


def choose_layout(path: File, types: Mapping[str, str], *, ragged: set[str], flat: set[str]) -> Layout:
    """Find what a JetBatch holds among the branches of a file, by name and type.

    Parameters
    ----------
    path
        Of the file, for messages.
    types
        All branches, and what they are called in messages.
    ragged, flat
        Those with a list of numbers per jet, and those with one number.

    Raises
    ------
    DataError
        If a branch is missing, or of the wrong kind.
    """
    second = LABEL_II in types
    first = not second and not LABEL_BRANCHES.keys().isdisjoint(types)
    layout = Layout(
        labels=(LABEL_II,) if second else tuple(LABEL_BRANCHES) if first else (),
        classes=CLASSES_II if second else CLASSES,
        # JetClass-II stores its truth particles as lists, which a per-jet column cannot hold.
        columns=tuple(
            name
            for name in (*JET_OBSERVERS, *AUX_BRANCHES, *EVENT_BRANCHES, WEIGHT)
            if name in flat and name not in AXIS_BRANCHES
        ),
    )
    missing = [name for name in layout.branches if name not in types]
    if missing:
        others = f" (nor {', '.join(missing[1:4])}{', …' if len(missing) > 4 else ''})" if missing[1:] else ""
        raise DataError(
            f"{path}: the tree {TREE!r} has no branch {missing[0]!r}{others}; "
            f"{closest(missing[0], sorted(types))}; jetsym.jets.schema lists the branches of JetClass's files"
        )
    for names, kind, expected in (
        (layout.ragged, ragged, "one list per jet, as std::vector or with a counter"),
        (layout.flat, flat, "one number per jet"),
    ):
        for name in names:
            if name not in kind:
                raise DataError(f"{path}: the branch {name!r} is {types[name]}; expected {expected}")
    return layout


def is_number(interpretation: Any) -> bool:
    """Tell whether an interpretation of uproot's is of plain numbers."""
    plain = isinstance(interpretation, uproot.AsDtype) and not interpretation.inner_shape
    return plain and interpretation.from_dtype.names is None


def axis_of(p4: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """Compute the branches of the jet axis from its four-momenta (4, B) as (E, px, py, pz); η is 0 where pT is.

    Examples
    --------
    >>> {name: values.tolist() for name, values in axis_of(np.array([[5.0], [3.0], [0.0], [0.0]])).items()}
    {'jet_pt': [3.0], 'jet_eta': [0.0], 'jet_phi': [0.0], 'jet_energy': [5.0]}
    """
    energy, px, py, pz = np.asarray(p4, np.float64)
    pt = np.hypot(px, py)
    eta = np.arcsinh(np.divide(pz, pt, out=np.zeros_like(pz), where=pt != 0))
    return dict(zip(AXIS_BRANCHES, (pt, eta, np.arctan2(py, px), energy), strict=True))


def labels(path: File, columns: dict[str, NDArray[Any]], layout: Layout, *, first: int = 0) -> NDArray[np.int64] | None:
    """Find the index of each jet's class, (B,) int64, or None; ``first`` is the number of the first jet.

    Raises
    ------
    DataError
        If a jet has not exactly one label, or one beyond the classes; the message names file and entry.
    """
    if not layout.labels:
        return None
    if layout.labels == (LABEL_II,):
        label = columns[LABEL_II].astype(np.int64)
        wrong = np.flatnonzero((label < 0) | (label >= len(layout.classes)))
        if len(wrong):
            raise DataError(
                f"{path}: {LABEL_II} is {label[wrong[0]]} at entry {first + wrong[0]} ({len(wrong)} such jets); "
                f"expected 0 to {len(layout.classes) - 1}"
            )
        return label
    # JetClass stores float, bool and int32 side by side: cast before stacking.
    table = np.stack([columns[name].astype(np.float32) for name in layout.labels], axis=1)
    wrong = np.flatnonzero((table.sum(axis=1) != 1) | ((table != 0) & (table != 1)).any(axis=1))
    if len(wrong):
        given = {name: float(value) for name, value in zip(layout.labels, table[wrong[0]], strict=True) if value != 0}
        raise DataError(
            f"{path}: entry {first + wrong[0]} has the labels {given or 'none'} ({len(wrong)} such jets); "
            f"expected exactly one of {layout.labels[0]} and the {len(layout.labels) - 1} other label branches to be 1"
        )
    return cast("NDArray[np.int64]", table.argmax(axis=1))
