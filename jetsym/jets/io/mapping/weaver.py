"""The data configurations of weaver-core as mappings, with all their keys but `bucketing`.

What a configuration calls inputs stands in ``JetBatch.inputs``, value by value as weaver-core 0.5 fills, standardises
and clips it. The momenta are the input ``pf_vectors``, or another one that is named: px, py, pz and energy in GeV, told
by the names of its variables, in any order; a configuration without any gives jets that cannot be moved. The jet axis
is jet_pt, jet_eta, jet_phi and jet_energy where the file or the configuration has all four, and else the sum of the
particles. Observers and monitored variables are columns, weights the column ``weight``. Charge, flags and displacements
are scalars where the configuration names all of them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from jetsym.errors import ConfigError, closest
from jetsym.jets.inputs import InputForm
from jetsym.jets.io.mapping.expressions import Expression
from jetsym.jets.io.mapping.reweighting import WeaverWeights
from jetsym.jets.io.mapping.sections import branch_of, expect_known, expression_of, is_number, listed_names, shown
from jetsym.jets.io.mapping.tree_mapping import WEIGHT, Labels, MappedInput, Momentum, TreeMapping, Unmeasured
from jetsym.jets.io.mapping.weaver_weights import reweighting_of
from jetsym.jets.schema import SCALARS
from jetsym.reading import parse_yaml, read_text

__all__ = ["VECTORS", "is_weaver", "measured_by_weaver", "weaver_mapping"]

#: The input of the momenta, where none is named.
VECTORS = "pf_vectors"

_KEYS = (
    *("treename", "branch_magic", "file_magic", "selection", "test_time_selection", "preprocess", "new_variables"),
    *("inputs", "labels", "observers", "monitor_variables", "weights", "bucketing"),
)
_WEIGHTS = (
    *("use_precomputed_weights", "weight_branches", "reweight_method", "reweight_vars", "reweight_classes"),
    *("class_weights", "reweight_threshold", "reweight_discard_under_overflow", "reweight_hists", "reweight_basewgt"),
)
#: Where weaver-core keeps how a variable is standardised, and what it takes where nothing is said.
_PARAMETERS = {"center": None, "scale": 1, "min": -5, "max": 5, "pad_value": 0}
#: Longest chain of variables that are of one another.
_DEEPEST = 50
#: What weaver-core itself adds to the branches; it differs between training and test.
_TRAINING = "aux_training_"
#: What is no energy beside px, py and pz.
_NO_ENERGY = re.compile("mass|pt|eta|phi|rapidity|log|(?<![a-z])m(?![a-z])", re.IGNORECASE)
#: What the parts of momenta are called, as pieces of names in small letters.
_PARTS = {"px": "px", "py": "py", "pz": "pz", "energy": r"energy|(?<![a-z])(e|en|ene)(?![a-z])"}


def is_weaver(found: Any) -> bool:
    """Tell a configuration of weaver-core by its keys: it has inputs and labels, and no particles.

    Examples
    --------
    >>> is_weaver({"inputs": {}, "labels": {}}), is_weaver({"particles": {}, "labels": {}})
    (True, False)
    """
    return isinstance(found, dict) and "particles" not in found and {"inputs", "labels"} <= found.keys()


def weaver_mapping(path: Path, found: dict[str, Any], *, vectors: str | None = None) -> TreeMapping:
    """Read a configuration that has been parsed as YAML.

    Parameters
    ----------
    path
        Its file.
    found
        What it says, or what :func:`measured_by_weaver` makes of that.
    vectors
        The input that holds px, py, pz and energy; None for ``pf_vectors``, if there is one.

    Raises
    ------
    ConfigError
        If it says something that has no meaning, or no counterpart here; the message names the key.
    """
    return _Options(path, found, vectors).mapping()


def measured_by_weaver(path: Path, found: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration with what weaver-core has measured for it, where it has left that beside the file.

    That is its ``*.auto.yaml``, which weaver-core reads instead as well.
    """
    if not path.is_file() or ".auto.yaml" in path.name:
        return found
    digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    automatic = path.with_name(path.name.replace(".yaml", f".{digest}.auto.yaml"))
    if automatic == path or not automatic.is_file():
        return found
    try:
        there = parse_yaml(read_text(automatic))
    except (OSError, yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{automatic}, which weaver-core has measured, cannot be read ({error})") from error
    return there if is_weaver(there) else found


class _Options:
    """A configuration, key by key."""

    def __init__(self, path: Path, found: dict[str, Any], vectors: str | None) -> None:
        self.path = path
        expect_known(f"{path}", found, _KEYS)
        self.found = {key: value for key, value in found.items() if value is not None}
        if self.found.get("bucketing"):
            raise ConfigError(
                f"{path}: bucketing has no counterpart, as batches hold jets of any number of particles; leave it out"
            )
        self.variables = {
            name: self.expression(text, f"new_variables.{name}")
            for name, text in self.section("new_variables").items()
            if text != name
        }
        _refuse_circles(self.path, self.variables)
        self.parameters: dict[str, dict[str, Any]] = {}
        self.vectors = vectors
        self.files = {name: self._patterns(name, said) for name, said in self.section("file_magic").items()}
        if both := sorted(self.files.keys() & self.variables):
            raise ConfigError(
                f"{path}: {both[0]!r} stands in file_magic and in new_variables, of which weaver-core leaves out the "
                "latter; leave one of them out"
            )

    def mapping(self) -> TreeMapping:
        preprocess = self.section("preprocess", known=("method", "data_fraction", "params"))
        inputs = {name: self._input(name, preprocess) for name in self.section("inputs")}
        if not inputs:
            raise ConfigError(f"{self.path}: inputs are none; expected at least one")
        automatic = {
            (key, name): self._bounds(name)
            for key, one in inputs.items()
            for name in one.form.names
            if self.parameters[name]["center"] == "auto" and not name.endswith("_mask")
        }
        labels, columns, custom = self._labels()
        columns = self._columns() | columns
        weighting = self._weights(columns)
        momentum, axis = self._momenta(inputs)
        selection = self.selection("selection")
        mapping = TreeMapping(
            path=self.path,
            tree=self.word("treename"),
            particles=momentum,
            jet=axis,
            by_pt=False,
            scalars={},
            columns=columns,
            labels=labels,
            selection=selection,
            reweighting=weighting,
            fingerprint=hashlib.sha256(
                json.dumps([self.found, self.vectors], default=str, sort_keys=True).encode()
            ).hexdigest()[:16],
            inputs=inputs,
            variables=self.variables,
            file_values=self.files,
            of_weaver=True,
            test_selection=self.selection("test_time_selection") or selection,
            unmeasured=None
            if not automatic and not custom
            else Unmeasured(automatic, self.fraction(preprocess), custom),
        )
        named = set(mapping.branches(mapping.expressions())) | self.variables.keys()
        if _TRAINING in named:
            raise ConfigError(f"{self.path}: {_TRAINING} has no counterpart; write selections without it")
        return self._renamed(mapping, self._scalars(named))

    def section(self, key: str, known: tuple[str, ...] | None = None) -> dict[str, Any]:
        """Return a section; one that is not there is empty."""
        found = self.found.get(key, {})
        if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
            raise ConfigError(f"{self.path}: {key} is {shown(found)}; expected keys that are words, with their values")
        if known is not None:
            expect_known(f"{self.path}: {key}", found, known)
        return found

    def word(self, key: str) -> str | None:
        found = self.found.get(key)
        if found is not None and not isinstance(found, str):
            raise ConfigError(f"{self.path}: {key} is {shown(found)}; expected a word")
        return found

    def names(self, key: str, found: Any) -> list[str]:
        return listed_names(found, f"{self.path}: {key}")

    def selection(self, key: str) -> Expression | None:
        found = self.found.get(key)
        return self.expression(found, key) if found else None

    def expression(self, text: Any, where: str) -> Expression:
        return expression_of(text, f"{self.path}: {where}")

    def of(self, name: str, where: str) -> Expression:
        """Return what a name means, a branch or a new variable."""
        return branch_of(name, f"{self.path}: {where}")

    def fraction(self, preprocess: dict[str, Any]) -> float:
        """Return the part of the entries of each file that standardisation is measured on; all, where it is null."""
        found = preprocess.get("data_fraction", 0.1)
        if found is not None and not (is_number(found) and 0 < found <= 1):
            raise ConfigError(f"{self.path}: preprocess.data_fraction is {shown(found)}; expected a part of 1, or null")
        return 1.0 if found is None else float(found)

    def _input(self, key: str, preprocess: dict[str, Any]) -> MappedInput:
        where = f"{self.path}: inputs.{key}"
        said = self.section("inputs")[key]
        if not isinstance(said, dict) or not isinstance(said.get("vars"), list) or not said["vars"]:
            raise ConfigError(f"{where} is {shown(said)}; expected length, vars and perhaps pad_mode")
        expect_known(where, said, ("length", "pad_mode", "vars"))
        if "length" not in said:
            raise ConfigError(f"{where} has no key 'length'; expected a number of places, or null for numbers of jets")
        automatic = str(preprocess.get("method", "manual")).lower().startswith("auto")
        ready = preprocess.get("params") or {}
        names = []
        for variable in said["vars"]:
            name, *given = variable if isinstance(variable, list) and variable else [variable]
            if not isinstance(name, str) or len(given) > len(_PARAMETERS):
                raise ConfigError(
                    f"{where}.vars has {shown(variable)}; expected a name, or a list of a name and up to five of "
                    "centre, scale, smallest, largest and padding"
                )
            names.append(name)
            own = {**_PARAMETERS, "center": "auto" if automatic else None}
            own |= dict(zip(_PARAMETERS, given, strict=False))
            own |= {"length": said["length"], "pad_mode": str(said.get("pad_mode", "constant")).lower()}
            if name in ready:
                own |= ready[name]
            if own != self.parameters.setdefault(name, own):
                raise ConfigError(f"{where}.vars says other things of {name!r} than another input does; expected one")
        first = self.parameters[names[0]]
        length, mode = first["length"], first["pad_mode"]
        if length is not None and (not isinstance(length, int) or isinstance(length, bool) or length < 1):
            raise ConfigError(f"{where}.length is {shown(length)}; expected a number of places, or null")
        if mode not in ("constant", "wrap") or (mode == "wrap" and key.endswith("_mask")):
            expected = "constant for a mask" if key.endswith("_mask") else "constant or wrap"
            raise ConfigError(f"{where}.pad_mode is {shown(mode)}; expected {expected}")
        fill = tuple(self._number(name, "pad_value") for name in names)
        scaling = tuple(self._scaling(name) for name in names)
        form = InputForm(tuple(names), length, None if mode == "wrap" else fill, scaling)
        return MappedInput(form, tuple(self.of(name, f"inputs.{key}") for name in names))

    def _scaling(self, name: str) -> tuple[float, float, float, float] | None:
        own = self.parameters[name]
        if own["center"] is None or own["center"] == "auto":
            return None
        return self._number(name, "center"), self._number(name, "scale"), *self._bounds(name)

    def _bounds(self, name: str) -> tuple[float, float]:
        own = self.parameters[name]
        smallest = -np.inf if own["min"] is None else self._number(name, "min")
        largest = np.inf if own["max"] is None else self._number(name, "max")
        if smallest > largest:
            raise ConfigError(f"{self.path}: the variable {name!r} has min {smallest:g} above max {largest:g}")
        return smallest, largest

    def _number(self, name: str, key: str) -> float:
        found = self.parameters[name][key]
        if not is_number(found) or not np.isfinite(found):
            raise ConfigError(f"{self.path}: {key} of the variable {name!r} is {shown(found)}; expected a number")
        return float(found)

    def _labels(self) -> tuple[Labels | None, dict[str, Expression], tuple[str, ...]]:
        """Return the labels, further columns of labels, and the names of those whose numbers must be looked at."""
        said = self.section("labels", known=("type", "value", "classes"))
        value = said.get("value")
        if said.get("type") == "simple":
            names = self.names("labels.value", value)
            if len(set(names)) < len(names) or not names:
                raise ConfigError(f"{self.path}: labels.value is {shown(names)}; expected one or more different names")
            flags = tuple(self.expression(name, "labels.value") for name in names)
            classes = [name.removeprefix("label_") for name in names]
            return Labels(tuple(classes if len(set(classes)) == len(classes) else names), one_hot=flags), {}, ()
        if said.get("type") != "custom" or not isinstance(value, dict):
            raise ConfigError(
                f"{self.path}: labels have the type {shown(said.get('type'))}; expected simple with a list as value, "
                "or custom with names and expressions"
            )
        columns = {name: self.expression(text, f"labels.value.{name}") for name, text in value.items()}
        if "classes" in said:
            classes = self.names("labels.classes", said["classes"])
            if len(columns) != 1:
                raise ConfigError(f"{self.path}: labels.classes are those of one label, and {len(columns)} are given")
            (expression,) = columns.values()
            return Labels(tuple(classes), value=expression, values=tuple((n,) for n in range(len(classes)))), {}, ()
        return None, columns, tuple(columns)

    def _columns(self) -> dict[str, Expression]:
        observers, monitored = (self.names(key, self.found.get(key, [])) for key in ("observers", "monitor_variables"))
        if observers and monitored:
            raise ConfigError(f"{self.path}: has both observers and monitor_variables; expected one of them")
        if both := sorted({*monitored} & self.parameters.keys()):
            raise ConfigError(
                f"{self.path}: monitor_variables has {both[0]!r}, which is a variable of an input as well and would "
                "be standardised; give it another name among the new_variables"
            )
        key = "observers" if observers else "monitor_variables"
        return {name: self.of(name, key) for name in [*observers, *monitored]}

    def _weights(self, columns: dict[str, Expression]) -> WeaverWeights | None:
        """Return how weights are computed; those that are in the file already become a column."""
        said = self.section("weights", known=_WEIGHTS)
        if not said:
            return None
        if WEIGHT in columns:
            raise ConfigError(f"{self.path}: {WEIGHT!r} is a column already, and weights are asked for")
        if "use_precomputed_weights" not in said:
            raise ConfigError(f"{self.path}: weights have no key 'use_precomputed_weights'; expected true or false")
        if said["use_precomputed_weights"]:
            names = self.names("weights.weight_branches", said.get("weight_branches"))
            columns[WEIGHT] = self.expression("*".join(f"({name})" for name in names), "weights.weight_branches")
            return None
        return reweighting_of(said, f"{self.path}: weights")

    def _momenta(self, inputs: dict[str, MappedInput]) -> tuple[Momentum | None, Momentum]:
        if self.vectors is not None and self.vectors not in inputs:
            raise ConfigError(f"{self.path} has no input {self.vectors!r}; {closest(self.vectors, [*inputs])}")
        axis = {name: self.of(f"jet_{name}", "the jet axis") for name in ("pt", "eta", "phi", "energy")}
        one = inputs.get(self.vectors or VECTORS)
        if one is None:
            return None, Momentum(axis, 1.0)
        parts = dict(zip(_parts(one.form.names), one.variables, strict=True))
        if len(one.form.names) != 4 or parts.keys() != _PARTS.keys():
            raise ConfigError(
                f"{self.path}: the input {self.vectors or VECTORS!r} has {', '.join(one.form.names)}; expected px, py, "
                "pz and energy, in any order and by these names, from which the jets can be moved; name another one "
                "with vectors=, or give the variables such names among the new_variables"
            )
        return Momentum({name: parts[name] for name in _PARTS}, 1.0), Momentum(axis, 1.0)

    def _scalars(self, named: set[str]) -> dict[str, Expression]:
        """Return charge and flags, and displacements, where all of them are named."""
        there = [name for name in SCALARS if f"part_{name}" in named]
        known = next((SCALARS[:n] for n in (10, 6) if all(name in there for name in SCALARS[:n])), ())
        return {name: self.of(f"part_{name}", "the scalars") for name in known}

    def _renamed(self, mapping: TreeMapping, scalars: dict[str, Expression]) -> TreeMapping:
        """Let the names stand for branches of other names, as branch_magic says."""
        mapping = replace(mapping, scalars=scalars)
        magic, tested = self.section("branch_magic"), mapping.test_selection
        aliases = {}
        for name in mapping.branches([*mapping.expressions(), *([] if tested is None else [tested])]):
            decoded = name
            for old, new in magic.items():
                decoded = decoded.replace(old, str(new))
            if decoded == name:
                continue
            if decoded in mapping.variables:
                raise ConfigError(
                    f"{self.path}: branch_magic makes {decoded!r} of {name!r}, which is among the new_variables as "
                    "well; give the variable another name"
                )
            aliases[name] = self.of(decoded, "branch_magic")
        return replace(mapping, variables={**mapping.variables, **aliases})

    def _patterns(self, name: str, said: Any) -> tuple[tuple[str, float], ...]:
        where = f"{self.path}: file_magic.{name}"
        if not isinstance(said, dict) or not all(is_number(value) for value in said.values()):
            raise ConfigError(f"{where} is {shown(said)}; expected patterns of paths with a number for each")
        for pattern in said:
            try:
                re.compile(str(pattern))
            except re.error as error:
                raise ConfigError(f"{where} has {pattern!r}, which is no regular expression ({error})") from error
        return tuple((str(pattern), value) for pattern, value in said.items())


def _parts(names: Sequence[str]) -> list[str | None]:
    """Return which part of a momentum each name says; what stands alone beside px, py and pz is the energy.

    None for a name that says none, or several, or something else. Whether it is an energy, its values tell later.

    Examples
    --------
    >>> _parts(["part_e", "part_px", "part_py", "part_pz"]), _parts(["v_px", "v_py", "v_pz", "v_mass"])
    (['energy', 'px', 'py', 'pz'], ['px', 'py', 'pz', None])
    """
    said = [[part for part, words in _PARTS.items() if re.search(words, name.lower())] for name in names]
    found = [each[0] if len(each) == 1 else None for each in said]
    if found.count(None) == 1 and set(found) == {"px", "py", "pz", None}:
        place = found.index(None)
        found[place] = "energy" if not said[place] and not _NO_ENERGY.search(names[place]) else None
    return found


def _refuse_circles(path: Path, variables: dict[str, Expression]) -> None:
    of = {name: {*one.names} & variables.keys() for name, one in variables.items()}
    depths: dict[str, int] = {}
    try:
        for name in TopologicalSorter(of).static_order():
            depths[name] = 1 + max((depths[inner] for inner in of[name]), default=0)
    except CycleError as error:
        circle = " → ".join(reversed(error.args[1]))
        raise ConfigError(f"{path}: new_variables go in a circle: {circle}") from error
    if max(depths.values(), default=0) > _DEEPEST:
        raise ConfigError(f"{path}: new_variables are of one another {_DEEPEST} deep; expected fewer")
