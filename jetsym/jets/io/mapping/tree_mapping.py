"""TreeMapping: what a mapping says, once it has been read from its file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import ConfigError, DataError
from jetsym.jets.inputs import InputForm
from jetsym.jets.io.folds import ALL_JUDGED, Fold
from jetsym.jets.io.mapping.expressions import Expression
from jetsym.jets.io.mapping.reweighting import WeaverWeights
from jetsym.jets.io.remote import File
from jetsym.jets.schema import WEIGHT

__all__ = ["WEIGHT", "Labels", "MappedInput", "Momentum", "Reweighting", "TreeMapping", "Unmeasured"]


@dataclass(frozen=True)
class Momentum:
    """Four-momenta as px, py, pz or pt, eta or rapidity, phi, with an energy or a mass.

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
        """Return the values of the parts in GeV, where they are no angles; GeV are left as they are."""
        if self.divisor == 1:
            return values
        angles = ("eta", "rapidity", "phi")
        return {n: one if n in angles else one.astype(np.float64) / self.divisor for n, one in values.items()}


@dataclass(frozen=True)
class Labels:
    """The source of a jet's class; one of the last three is not empty.

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

    def expressions(self) -> list[Expression]:
        """Return all expressions."""
        return [*self.axes]


@dataclass(frozen=True)
class MappedInput:
    """An input of networks, see :mod:`jetsym.jets.inputs`: its form, and an expression for each of its variables."""

    form: InputForm
    variables: tuple[Expression, ...]


@dataclass(frozen=True)
class Unmeasured:
    """What a mapping says that must be measured on the files first.

    Parameters
    ----------
    bounds
        Variables whose centre and scale are measured, each with its input, and the bounds at which they are clipped.
    fraction
        Of the entries of each file, from the first on, that are measured; None for some from all over each file.
    labels
        Columns that are the label if they are whole numbers.
    """

    bounds: Mapping[tuple[str, str], tuple[float, float]]
    fraction: float | None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class TreeMapping:
    """A mapping from the branches of a tree to jets.

    Parameters
    ----------
    path
        Its file.
    tree
        Name of the tree; None for the only one of a file.
    particles, jet
        The momenta; without those of the jets, the sum of the particles. Without those of the particles the jets are
        known by their inputs alone.
    by_pt
        Whether to sort the particles by falling pT.
    scalars, columns
        Further quantities of the particles and of the jets, by name.
    labels, selection, reweighting
        As far as they are given.
    fingerprint
        Of all that it says, comments and spaces aside.
    owner, place
        Where there are several jets in an entry: branches with the number of the jet that each particle, or each row
        of a table between jets and particles, is of, and with the number of the particle of each row.
    friends
        Name -> file, beside the data, and its tree, whose branches are read as ``name.branch``.
    where
        Which of the particles are meant; None for all.
    targets
        Names of the columns that are targets of a regression.
    inputs
        What networks take beside the momenta, by name.
    members
        Inputs whose variables all have the same members -> whether these are the particles that are meant, in their
        order, or those of a collection.
    variables
        Names that stand for expressions, in expressions and in one another.
    file_values
        Names that stand for numbers which a file's path tells: regular expressions and numbers, of which the first
        that is found in the path counts, or else 0.
    of_weaver
        Whether it is a configuration of weaver-core. Then the momenta of the jets are left out for files that lack a
        part of them.
    test_selection
        The selection of jets that a network is tested with.
    unmeasured
        What must be measured first.
    part_of
        Fingerprint of the mapping of which this one reads a part.
    fold
        Of whose jets all of this is.
    """

    path: Path
    tree: str | None
    particles: Momentum | None
    jet: Momentum | None
    by_pt: bool
    scalars: dict[str, Expression]
    columns: dict[str, Expression]
    labels: Labels | None
    selection: Expression | None
    reweighting: Reweighting | WeaverWeights | None
    fingerprint: str
    owner: str | None = None
    place: str | None = None
    friends: Mapping[str, tuple[str, str | None]] = field(default_factory=dict)
    where: Expression | None = None
    targets: tuple[str, ...] = ()
    inputs: Mapping[str, MappedInput] = field(default_factory=dict)
    members: Mapping[str, bool] = field(default_factory=dict)
    variables: Mapping[str, Expression] = field(default_factory=dict)
    file_values: Mapping[str, tuple[tuple[str, float], ...]] = field(default_factory=dict)
    of_weaver: bool = False
    test_selection: Expression | None = None
    unmeasured: Unmeasured | None = None
    part_of: str | None = None
    fold: Fold | None = None

    def expressions(self) -> list[Expression]:
        """Return all expressions, those of variables as far as others are of them."""
        found = [] if self.particles is None else [*self.particles.parts.values()]
        found += [*self.scalars.values(), *self.columns.values()]
        found += [one for each in self.inputs.values() for one in each.variables]
        found += [] if self.where is None else [self.where]
        found += [] if self.jet is None else self.jet.parts.values()
        found += [] if self.labels is None else self.labels.one_hot
        found += [] if self.labels is None or self.labels.value is None else [self.labels.value]
        found += [] if self.selection is None else [self.selection]
        found += [] if self.fold is None else [self.numbers_of(self.fold)]
        found += [] if self.reweighting is None else self.reweighting.expressions()
        named = {name: False for each in found for name in each.names}
        while name := next((name for name, seen in named.items() if not seen), None):
            named[name] = True
            if name in self.variables:
                found.append(self.variables[name])
                named = dict.fromkeys(self.variables[name].names, False) | named
        return found

    def numbers_of(self, fold: Fold) -> Expression:
        """Return what tells the folds apart: a column, or any expression."""
        return self.columns.get(fold.column) or Expression.parse(fold.column, where=f"--fold_by; {ALL_JUDGED}")

    def of_tree(self, tree: str) -> TreeMapping:
        """Return the same of another tree."""
        fingerprint = hashlib.sha256(f"{self.fingerprint} {tree}".encode()).hexdigest()[:16]
        return self if tree == self.tree else replace(self, tree=tree, fingerprint=fingerprint)

    def for_test(self) -> TreeMapping:
        """Return the same as a network is tested with: another selection, and no weights that jets are drawn by."""
        if not self.of_weaver:
            return self
        weights = None if isinstance(self.reweighting, WeaverWeights) else self.reweighting
        if self.test_selection is self.selection and weights is self.reweighting:
            return self
        mark = f"{self.fingerprint} test"
        return replace(self, selection=self.test_selection, reweighting=weights, fingerprint=mark)

    def for_taggers(self) -> TreeMapping:
        """Return the same for jetsym's own taggers, which compute what they take from momenta and scalars.

        Raises
        ------
        ConfigError
            If there are no momenta.
        """
        if not self.of_weaver:
            return self
        if self.particles is None:
            raise ConfigError(
                f"{self.path}: no input holds px, py, pz and energy ({', '.join(self.inputs)}), which jetsym's taggers "
                "take; name the one that does: --vectors"
            )
        plan = self.unmeasured
        plan = None if plan is None or not plan.labels else replace(plan, bounds={})
        momenta = f"{self.fingerprint} momenta"
        return replace(self, inputs={}, unmeasured=plan, fingerprint=momenta, part_of=self.fingerprint)

    def standardised(self, measured: Mapping[str, Mapping[str, Sequence[float]]]) -> TreeMapping:
        """Return the same with the standardisation of its inputs known: input → variable → centre and scale.

        Raises
        ------
        ConfigError
            If one of those that have to be measured is not among them.
        """
        plan = self.unmeasured
        if plan is None or not plan.bounds:
            return self
        found = {}
        for (name, variable), bounds in plan.bounds.items():
            of_input = measured.get(name) if isinstance(measured, Mapping) else measured
            numbers = of_input.get(variable) if isinstance(of_input, Mapping) else of_input
            if numbers is None:
                raise ConfigError(
                    f"{self.path}: {name}.{variable} is standardised by what is measured on the training data, and "
                    "that is not known here; train with this mapping first"
                )
            numbers = [*numbers] if isinstance(numbers, list | tuple) else []
            if len(numbers) != 2 or not all(isinstance(each, int | float) and np.isfinite(each) for each in numbers):
                raise ConfigError(
                    f"the standardisation of {name}.{variable} is {measured!r:.200}; expected its centre and scale"
                )
            found[name, variable] = (float(numbers[0]), float(numbers[1]), *bounds)
        inputs = {}
        for name, one in self.inputs.items():
            pairs = zip(one.form.names, one.form.scaling, strict=True)
            scaling = tuple(found.get((name, variable), own) for variable, own in pairs)
            inputs[name] = replace(one, form=replace(one.form, scaling=scaling))
        return replace(self, inputs=inputs, unmeasured=replace(plan, bounds={}) if plan.labels else None)

    @property
    def is_unmeasured(self) -> bool:
        """Whether standardisation, classes or weights are of the files that are read, and measured on them first.

        Weights of weaver-core's are kept once they are known.
        """
        weights = self.reweighting
        known = isinstance(weights, WeaverWeights) and weights.table is not None
        return self.unmeasured is not None or (weights is not None and not known)

    def branches(self, expressions: Iterable[Expression]) -> list[str]:
        """List the branches of the file that expressions are of, in the end."""
        names, left = dict[str, None](), [name for each in expressions for name in sorted(each.names)]
        while left:
            name = left.pop(0)
            if name in self.variables:
                left += sorted(self.variables[name].names)
            elif name not in self.file_values:
                names[name] = None
        return [*names]

    def friend_paths(self, path: File) -> dict[str, Path]:
        """Return the files of the friends of a file, by name.

        Raises
        ------
        DataError
            The file is on another machine.
        """
        if self.friends and not isinstance(path, Path):
            raise DataError(f"{path}: friends are read beside files on this machine; fetch it first")
        place = Path(str(path))
        return {name: place.parent / text.replace("{stem}", place.stem) for name, (text, _) in self.friends.items()}

    def friends_of(self, paths: Iterable[File]) -> list[Path]:
        """Return the files of all friends of some files."""
        return [friend for path in paths for friend in self.friend_paths(path).values()]

    def with_weights(self, table: NDArray[np.float64]) -> TreeMapping:
        """Return the same with the weights known."""
        assert isinstance(self.reweighting, Reweighting)
        return replace(self, reweighting=replace(self.reweighting, table=table))
