"""How to read the jets of any ROOT tree: a YAML file that says which branches hold what.

::

    tree: Events                        # one entry per jet; may be left out where a file holds a single tree
    particles:
      pt: fj_part_pt                    # px, py, pz or pt, eta, phi, with energy or mass: branches or expressions
      eta: fj_part_eta
      phi: fj_part_phi
      mass: 0.13957
      units: GeV                        # of momenta, energies and masses; GeV if not given, or MeV
      order: pt                         # sort by falling pT; in the order of the file if not given
      charge: fj_part_charge            # none of the further quantities, the charge and the five flags, or all ten
      isChargedHadron: abs(fj_part_pdg) == 211
      ...
    jet:                                # the jet axis, in the same forms; the sum of the particles if not given
      {px: fj_px, py: fj_py, pz: fj_pz, energy: fj_e, units: MeV}
    columns:                            # further numbers of jets
      jet_sdmass: fj_msd / 1000
    labels:                             # one of three forms, in the order of the classes; unlabelled if not given
      one_hot: {QCD: is_qcd, top: is_top}
      # value: fj_flavour
      # classes: {light: [1, 2, 3], c: 4, b: 5}          (or a list of names for 0, 1, 2, ...)
      # files: {QCD: "QCD_*.root", top: [top_a.root, "top/*.root"]}
    selection: fj_pt > 200e3 and abs(fj_eta) < 2         # only these jets
    reweight:                           # a column `weight`, see jetsym.jets.io.mapping.reweighting
      bins: {fj_pt / 1000: [200, 300, 500, 1000], fj_msd / 1000: [0, 50, 100, 200]}
      to: flat                          # or the name of a class
      cap: 10                           # largest weight, where 1 is the mean; none if not given

What can stand in expressions is said in :mod:`jetsym.jets.io.mapping.expressions`; nothing in them is run by Python.
The
particles' quantities are those of :data:`jetsym.jets.schema.SCALARS`, lengths in mm; a flag that the tree does not tell
is written as ``isMuon: 0``. Weights are computed from all jets of all files that the selection leaves, also where only
some of them are read; jets outside of the bins have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jetsym.jets.io.mapping.expressions import Expression

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["WEIGHT", "Labels", "Momentum", "Reweighting", "TreeMapping", "cartesian"]

#: The column that reweighting gives.
WEIGHT = "weight"


@dataclass(frozen=True)
class Momentum:
    """Four-momenta as px, py, pz or pt, eta, phi, with an energy or a mass.

    Parameters
    ----------
    parts
        Three and one expressions, by name.
    divisor
        What makes GeV of them.
    """

    parts: dict[str, Expression]
    divisor: float

    def in_gev(self, values: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The values of the parts in GeV, where they are no angles; GeV are left as they are."""
        if self.divisor == 1:
            return values
        angles = ("eta", "phi")
        return {n: one if n in angles else one.astype(np.float64) / self.divisor for n, one in values.items()}


@dataclass(frozen=True)
class Labels:
    """Where the class of a jet is found; one of the last three is not empty.

    Parameters
    ----------
    classes
        Names of the classes, in label order.
    one_hot
        An expression for each class, 1 for its jets and 0 for others.
    value, values
        An expression, and those of its values that mean each class.
    files
        Patterns of the files that hold each class.
    """

    classes: tuple[str, ...]
    one_hot: tuple[Expression, ...] = ()
    value: Expression | None = None
    values: tuple[tuple[int, ...], ...] = ()
    files: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Reweighting:
    """Which weights jets get.

    Parameters
    ----------
    axes, edges
        What is binned, and how.
    reference
        Label of the class that the others shall be like; None for flat.
    cap
        The largest weight.
    table
        The weights by class and bin, once the files have been looked at.
    """

    axes: tuple[Expression, ...]
    edges: tuple[NDArray[np.float64], ...]
    reference: int | None
    cap: float | None
    table: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class TreeMapping:
    """What a mapping says.

    Parameters
    ----------
    path
        Its file.
    tree
        Name of the tree; None for the only one of a file.
    particles, jet
        The momenta; without those of the jets, the sum of the particles.
    by_pt
        Whether to sort the particles by falling pT.
    scalars, columns
        Further quantities of the particles and of the jets, by name.
    labels, selection, reweighting
        As far as they are given.
    fingerprint
        Of all that it says, comments and spaces aside.
    """

    path: Path
    tree: str | None
    particles: Momentum
    jet: Momentum | None
    by_pt: bool
    scalars: dict[str, Expression]
    columns: dict[str, Expression]
    labels: Labels | None
    selection: Expression | None
    reweighting: Reweighting | None
    fingerprint: str

    def expressions(self) -> list[Expression]:
        """All expressions."""
        found = [*self.particles.parts.values(), *self.scalars.values(), *self.columns.values()]
        found += [] if self.jet is None else self.jet.parts.values()
        found += [] if self.labels is None else self.labels.one_hot
        found += [] if self.labels is None or self.labels.value is None else [self.labels.value]
        found += [] if self.selection is None else [self.selection]
        return found + ([] if self.reweighting is None else [*self.reweighting.axes])

    def with_weights(self, table: NDArray[np.float64]) -> TreeMapping:
        """The same with the weights known."""
        assert self.reweighting is not None
        return replace(self, reweighting=replace(self.reweighting, table=table))


def cartesian(parts: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """(E, px, py, pz) of n momenta, from any of the forms that they have; what is stored so is taken over as it is.

    Examples
    --------
    >>> parts = {"pt": np.array([3.0]), "eta": np.array([0.0]), "phi": np.array([0.0]), "mass": np.array([4.0])}
    >>> [values.item() for values in cartesian(parts)]
    [5.0, 3.0, 0.0, 0.0]
    """
    with np.errstate(all="ignore"):  # what is not finite is found and counted later
        if "px" in parts:
            px, py, pz = (parts[name] for name in ("px", "py", "pz"))
        else:
            pt, eta, phi = (parts[name].astype(np.float64) for name in ("pt", "eta", "phi"))
            px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
        if "energy" in parts:
            return [parts["energy"], px, py, pz]
        squares = [one.astype(np.float64) ** 2 for one in (parts["mass"], px, py, pz)]
        return [np.sqrt(np.sum(squares, axis=0)), px, py, pz]
