"""The keys of a mapping's own YAML, and what has no meaning among them."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import numpy as np

from jetsym.errors import ConfigError, closest
from jetsym.jets.inputs import InputForm
from jetsym.jets.io.mapping.expressions import Expression
from jetsym.jets.io.mapping.sections import Section, expression_of, is_number, names_of, shown, whole_numbers
from jetsym.jets.io.mapping.tree_mapping import (
    WEIGHT,
    Labels,
    MappedInput,
    Momentum,
    Reweighting,
    TreeMapping,
    Unmeasured,
)
from jetsym.jets.schema import SCALARS

__all__ = ["mapping_of"]

_UNITS = {"GeV": 1.0, "MeV": 1000.0}
_DIRECTIONS = (("px", "py", "pz"), ("pt", "eta", "phi"), ("pt", "rapidity", "phi"))
_LABELS = ("one_hot", "value", "files")
#: Inputs of the particles themselves, with what stands where there are none.
_OF_PARTICLES = {"features": 0.0, "particle_labels": -1.0}
#: Stands for a centre and a scale that the training data tell.
_MEASURED = "measured"
_STANDARDISATION = {"centre": 0.0, "scale": 1.0, "smallest": -math.inf, "largest": math.inf}
#: Fields of a record of jets, which no column may take.
_RESERVED = ("jet", "constituents", "label", "jet_label", "jet_pt", "jet_eta", "jet_phi", "jet_energy")


def mapping_of(path: Path, found: Section) -> TreeMapping:
    """Return the mapping that the keys of a file say.

    Raises
    ------
    ConfigError
        If one of them has no meaning; the message names it.
    """
    content = dict(found.left)
    particles = found.section("particles")
    if particles is None:
        raise ConfigError(f"{path} has no key 'particles', which says where their momenta are")
    momentum = _momentum(particles)
    order = particles.take("order", "file")
    if order not in ("file", "pt"):
        raise ConfigError(f"{particles.at('order')} is {shown(order)}; expected pt, or file")
    owner, place = particles.branch("jet"), particles.branch("index")
    if place is not None and owner is None:
        raise ConfigError(f"{particles.at('index')} says which particle a row is; expected {particles.at('jet')} too")
    where = particles.expression("where")
    scalars = {name: one for name in SCALARS if (one := particles.expression(name)) is not None}
    if len(scalars) not in (0, 6, 10) or list(scalars) != list(SCALARS[: len(scalars)]):
        missing = [name for name in SCALARS[: 10 if set(scalars) & set(SCALARS[6:]) else 6] if name not in scalars]
        raise ConfigError(
            f"{particles.where} says {', '.join(scalars)} and not {', '.join(missing)}; expected none of them, charge "
            f"and the five flags, or all of {', '.join(SCALARS)}; write {missing[0]}: 0 for what the tree does not tell"
        )
    particles.end()
    if (jet := found.section("jet")) is not None:
        axis: Momentum | None = _momentum(jet)
        jet.end()
    else:
        axis = None
    labels = _labels(found.section("labels"))
    reweighting = _reweighting(found.section("reweight"), labels)
    tree = found.take("tree")
    if tree is not None and not isinstance(tree, str):
        raise ConfigError(f"{found.at('tree')} is {shown(tree)}; expected the name of a tree")
    columns, targets = (
        _columns(found.section(key), weighted=reweighting is not None) for key in ("columns", "targets")
    )
    if twice := sorted(columns.keys() & targets):
        raise ConfigError(f"{found.at('targets')} has {twice[0]!r}, which is a column too; expected names of their own")
    selection = found.expression("selection")
    inputs, bounds = _inputs(found)
    friends = _friends(found.section("friends"))
    found.end()
    return TreeMapping(
        path=path,
        tree=tree,
        particles=momentum,
        jet=axis,
        by_pt=order == "pt",
        scalars=scalars,
        columns=columns | targets,
        labels=labels,
        selection=selection,
        reweighting=reweighting,
        fingerprint=hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16],
        owner=owner,
        place=place,
        friends=friends,
        where=where,
        targets=tuple(targets),
        inputs=inputs,
        members={name: name in _OF_PARTICLES for name in inputs},
        unmeasured=Unmeasured(bounds, fraction=None) if bounds else None,
    )


def _friends(section: Section | None) -> dict[str, tuple[str, str | None]]:
    friends = {}
    for name, found in ({} if section is None else section.left).items():
        place = {"file": found} if isinstance(found, str) else found
        words = isinstance(place, dict) and all(isinstance(each, str) for each in place.values())
        if not words or "file" not in place or not {*place} <= {"file", "tree"} or not name.isidentifier():
            raise ConfigError(
                f"friends: {name} is {shown(found)}; expected a name of letters, digits and _, with a file beside "
                "the data ({stem} stands for the data's own name), or with file: and tree:"
            )
        friends[name] = place["file"], place.get("tree")
    return friends


def _momentum(section: Section) -> Momentum:
    units = section.take("units", "GeV")
    if units not in _UNITS:
        raise ConfigError(f"{section.at('units')} is {shown(units)}; expected {' or '.join(_UNITS)}")
    names = [*dict.fromkeys(name for direction in _DIRECTIONS for name in direction), "energy", "mass"]
    parts = {name: one for name in names if (one := section.expression(name)) is not None}
    if not any(parts.keys() == {*direction, scale} for direction in _DIRECTIONS for scale in ("energy", "mass")):
        raise ConfigError(
            f"{section.where} has {', '.join(parts) or 'no momenta'}; expected px, py, pz or pt, eta (or "
            "rapidity), phi, and with them energy or mass"
        )
    return Momentum(parts, _UNITS[units])


def _inputs(found: Section) -> tuple[dict[str, MappedInput], dict[tuple[str, str], tuple[float, float]]]:
    """Return the inputs, and which of their variables are to be measured, with the bounds of these."""
    sections = {name: found.section(name) for name in _OF_PARTICLES}
    if (collections := found.section("collections")) is not None:
        for name in [*collections.left]:
            if name in _OF_PARTICLES or not (name.isidentifier() and name.isascii()):
                raise ConfigError(
                    f"{collections.where} has {name!r}; expected a name of letters, digits and _, and none of "
                    f"{', '.join(_OF_PARTICLES)}"
                )
            sections[name] = collections.section(name)
    there = {name: each for name, each in sections.items() if each is not None}
    read = {name: _input(each, _OF_PARTICLES.get(name, 0.0)) for name, each in there.items()}
    bounds = {(name, variable): own for name, (_, each) in read.items() for variable, own in each.items()}
    return {name: one for name, (one, _) in read.items()}, bounds


def _input(section: Section, fill: float) -> tuple[MappedInput, dict[str, tuple[float, float]]]:
    length, variables = section.take("length"), section.section("variables")
    section.end()
    if not isinstance(length, int) or isinstance(length, bool) or length < 1:
        raise ConfigError(f"{section.at('length')} is {shown(length)}; expected a number of places of at least 1")
    if variables is None or not variables.left:
        raise ConfigError(f"{section.at('variables')} names none; expected names, with an expression for each")
    expressions, scaling, bounds = [], [], dict[str, tuple[float, float]]()
    for name, said in variables.left.items():
        own = Section(variables.at(name), said if isinstance(said, dict) else {"of": said})
        expressions.append(expression_of(own.take("of"), own.where if isinstance(said, str) else own.at("of")))
        numbers = {key: own.take(key, default) for key, default in _STANDARDISATION.items()}
        own.end()
        measured = _MEASURED in (numbers["centre"], numbers["scale"])
        for key in ("centre", "scale") if measured else ():
            if numbers[key] not in (_MEASURED, _STANDARDISATION[key]):
                raise ConfigError(
                    f"{own.at(key)} is {shown(numbers[key])} beside one that is measured; expected both measured, or "
                    "two numbers"
                )
            numbers[key] = _STANDARDISATION[key]
        for key, number in numbers.items():
            if not is_number(number) or math.isnan(number):
                raise ConfigError(f"{own.at(key)} is {shown(number)}; expected a number, or {_MEASURED}")
        if not numbers["smallest"] < numbers["largest"]:
            raise ConfigError(f"{own.where} is clipped to nothing; expected smallest below largest")
        plain = numbers == _STANDARDISATION
        centre, scale, smallest, largest = map(float, numbers.values())
        scaling.append(None if plain or measured else (centre, scale, smallest, largest))
        if measured:
            bounds[name] = (smallest, largest)
    form = InputForm(tuple(variables.left), length, (fill,) * len(expressions), tuple(scaling))
    return MappedInput(form, tuple(expressions)), bounds


def _columns(section: Section | None, *, weighted: bool) -> dict[str, Expression]:
    if section is None:
        return {}
    reserved = (*_RESERVED, *((WEIGHT,) if weighted else ()))
    for name in section.left:
        if name in reserved or not (name.isidentifier() and name.isascii()):
            raise ConfigError(
                f"{section.where} has {name!r}; expected a name of letters, digits and _, and none of "
                f"{', '.join(reserved)}"
            )
    return {name: expression_of(found, section.at(name)) for name, found in section.left.items()}


def _labels(section: Section | None) -> Labels | None:
    if section is None:
        return None
    if len(given := [form for form in _LABELS if form in section.left]) != 1:
        raise ConfigError(
            f"{section.where} has {' and '.join(given) or 'no labels'}; expected one of one_hot, value (with classes) "
            "and files"
        )
    forms = {form: section.take(form) for form in _LABELS}
    classes = section.take("classes")
    section.end()
    where = section.at(given[0])
    if (forms["value"] is None) != (classes is None):
        raise ConfigError(f"{section.where} expects value and classes together")
    if forms["value"] is not None:
        where = section.at("classes")
        if isinstance(classes, list):
            classes = {name: place for place, name in enumerate(names_of(classes, where))}
        entries = Section(where, classes).left
        values = tuple(whole_numbers(value, f"{where}.{name}") for name, value in entries.items())
        everything = [value for each in values for value in each]
        if twice := sorted({value for value in everything if everything.count(value) > 1}):
            raise ConfigError(f"{where} has {twice[0]} in two classes; expected values of their own")
        labels = Labels(tuple(entries), value=expression_of(forms["value"], section.at("value")), values=values)
    elif forms["one_hot"] is not None:
        entries = Section(where, forms["one_hot"]).left
        labels = Labels(tuple(entries), one_hot=tuple(expression_of(each, where) for each in entries.values()))
    else:
        entries = Section(where, forms["files"]).left
        patterns = [[each] if isinstance(each, str) else each for each in entries.values()]
        labels = Labels(tuple(entries), files=tuple(tuple(names_of(each, where)) for each in patterns))
    if not labels.classes:
        raise ConfigError(f"{where} names no class; expected at least one")
    return labels


def _reweighting(section: Section | None, labels: Labels | None) -> Reweighting | None:
    if section is None:
        return None
    bins, to, cap = section.section("bins"), section.take("to", "flat"), section.take("cap")
    section.end()
    if bins is None or not bins.left:
        raise ConfigError(f"{section.where} has no key 'bins'; expected expressions with the edges of their bins")
    edges = []
    for name, found in bins.left.items():
        numbers = isinstance(found, list) and all(is_number(value) for value in found)
        own = np.array(found if numbers else [], np.float64)
        if len(own) < 2 or not (np.isfinite(own).all() and (np.diff(own) > 0).all()):
            raise ConfigError(f"{bins.at(name)} is {shown(found)}; expected two or more growing numbers, the edges")
        edges.append(own)
    classes = () if labels is None else labels.classes
    if to != "flat" and to not in classes:
        raise ConfigError(f"{section.at('to')} is {shown(to)}; {closest(str(to), ['flat', *classes])}")
    if cap is not None and not (is_number(cap) and cap >= 1):
        raise ConfigError(f"{section.at('cap')} is {shown(cap)}; expected a number of at least 1, the mean weight")
    axes = tuple(expression_of(name, bins.where) for name in bins.left)
    return Reweighting(axes, tuple(edges), None if to == "flat" else classes.index(to), cap)
