"""The one table where domains meet: whose the inputs are, by what they are and by the model that is to take them.

``probing`` reaches jets, and whatever joins them, only through this table, and nothing is imported before its inputs
turn up. Another package joins with an entry point of the group ``jetsym.domains``, which bears the name of the package
whose types the inputs have, or their model where they are paths or dictionaries, and holds its domain; or, for more
than types can tell, by :func:`register`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from jetsym.domains.base import Domain
from jetsym.errors import ProbeError, expect_a

__all__ = ["TABLE", "Known", "Row", "arguments_of", "domain_of", "domain_with", "load_model", "register"]

#: The group of the entry points.
ENTRY_POINTS = "jetsym.domains"


@dataclass(frozen=True)
class Known:
    """Inputs that are known by what they are.

    Parameters
    ----------
    types
        Packages that their type comes from.
    models
        Packages that the type of the model comes from, where the inputs' own says nothing (None, paths, dictionaries).
    endings
        Of paths; "" is that of every path.
    are_nothing
        Whether None stands for inputs that come with the domain.
    methods
        Of the model, whatever package it is from, where it is told by these.
    """

    types: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    endings: tuple[str, ...] = ()
    are_nothing: bool = False
    methods: tuple[str, ...] = ()

    def __call__(self, inputs: Any, model: Any) -> bool:
        """Return whether inputs are among these."""
        first = inputs[0] if isinstance(inputs, (list, tuple)) and len(inputs) else inputs
        is_path = isinstance(first, (str, Path))
        says_nothing = is_path or type(first).__module__ == "builtins"
        return (
            _is_from(first, self.types)
            or (says_nothing and (_is_from(model, self.models) or self._is_told(model)))
            or (is_path and str(first).lower().endswith(self.endings))
            or (self.are_nothing and first is None)
        )

    def _is_told(self, model: Any) -> bool:
        return bool(self.methods) and all(hasattr(model, name) for name in self.methods)


def _is_from(value: Any, packages: tuple[str, ...]) -> bool:
    return f"{type(value).__module__}.".startswith(tuple(f"{package}." for package in packages))


@dataclass(frozen=True)
class Row:
    """One domain.

    Parameters
    ----------
    name
        What it is called.
    domain
        The domain, or where to load it from.
    owns
        ``owns(inputs, model)``: whether inputs are its own; the model may be a path that is not loaded yet.

    Raises
    ------
    ProbeError
        One of them is something else.
    """

    name: str
    domain: Domain | metadata.EntryPoint
    owns: Callable[[Any, Any], bool]

    def __post_init__(self) -> None:
        expect_a("the name of a domain", self.name, str, ProbeError)
        expect_a(f"the domain {self.name!r}", self.domain, Domain | metadata.EntryPoint, ProbeError)
        expect_a(f"owns of the domain {self.name!r}", self.owns, Callable, ProbeError)

    def load(self) -> Domain:
        """Return the domain, imported now where it has not been.

        Raises
        ------
        ProbeError
            It cannot be imported, or is no domain.
        """
        if isinstance(self.domain, Domain):
            return self.domain
        place = f"the domain {self.name!r} of these inputs ({self.domain.value})"
        try:
            found = self.domain.load()
        except Exception as error:  # whatever the import of a foreign package raises
            raise ProbeError(
                f"{place} cannot be loaded: {error}; repair or remove the package it comes from"
            ) from error
        if not isinstance(found, Domain):
            raise ProbeError(f"{place} is a {type(found).__name__}; expected an instance of jetsym.domains.base.Domain")
        return found


def _row(name: str, place: str, owns: Known) -> Row:
    return Row(name, metadata.EntryPoint(name, place, ENTRY_POINTS), owns)


#: The first row that owns the inputs has them.
TABLE = [
    _row(
        "atoms",
        "jetsym.atoms.domain:ATOMS",
        Known(
            types=("jetsym.atoms", "ase"),
            models=("jetsym.atoms", "metatrain", "metatomic"),
            endings=(".xyz", ".extxyz", ".cif", ".vasp", ".traj"),
            methods=("get_property", "get_potential_energy"),
        ),
    ),
    _row(
        "jets",
        "jetsym.jets.domain:JETS",
        Known(types=("jetsym.jets",), endings=("",), are_nothing=True),
    ),
]
#: Inputs that no row owns are plain arrays, lists of dictionaries, or anything that the caller moves; and a path that
#: no row loads is that of a tagger.
ARRAYS = _row("arrays", "jetsym.domains.arrays:ARRAYS", Known())
RECORDS = _row("records", "jetsym.domains.records:RECORDS", Known())
ANYTHING = _row("anything", "jetsym.domains.anything:ANYTHING", Known())
TAGGERS = TABLE[-1]


def register(row: Row) -> None:
    """Let a domain join; it comes before those that are there.

    Raises
    ------
    ProbeError
        Another has its name, or it is no row.
    """
    expect_a("row", row, Row, ProbeError)
    if any(row.name == other.name for other in TABLE):
        raise ProbeError(f"there is a domain {row.name!r} already; expected another name")
    TABLE.insert(0, row)


@cache
def _joined(entry_points: Callable[..., Any]) -> tuple[Row, ...]:
    """Return the rows of other packages, read once; none of them is imported here."""
    return tuple(
        Row(entry.name, entry, Known((entry.name,), (entry.name,))) for entry in entry_points(group=ENTRY_POINTS)
    )


def _owner(inputs: Any, model: Any, *, is_moved: bool = False) -> Row:
    rows = (*_joined(metadata.entry_points), *TABLE)
    own = next((row for row in rows if row.owns(inputs, model)), None)
    if is_moved and isinstance(inputs, list) and inputs and not isinstance(inputs[0], (str, Path)):
        # What another package knows how to move, for its own models, is the caller's here.
        own = own if any(row.owns({}, model) for row in rows) else None
    if own is not None:
        return own
    if isinstance(inputs, list) and inputs and all(isinstance(one, Mapping) for one in inputs):
        return ANYTHING if is_moved and not all(map(_is_of_arrays, inputs)) else RECORDS
    return ANYTHING if is_moved and not _is_of_arrays(inputs) else ARRAYS


def _is_of_arrays(inputs: Any) -> bool:
    """Return whether inputs are an array, or a tuple or a dictionary of arrays and numbers."""
    members = inputs.values() if isinstance(inputs, Mapping) else inputs if isinstance(inputs, tuple) else [inputs]
    return all(_is_array(one) or one is None or isinstance(one, (int, float, str)) for one in members)


def _is_array(value: Any) -> bool:
    return not getattr(value, "is_nested", False) and hasattr(value, "dtype") and hasattr(value, "shape")


def domain_of(inputs: Any, model: Any = None, *, is_moved: bool = False) -> Domain:
    """Return the domain that inputs belong to, where such a model is to take them.

    Parameters
    ----------
    inputs, model
        Both are only looked at.
    is_moved
        Whether the caller says what moves the inputs, which may then be anything.
    """
    return _owner(inputs, model, is_moved=is_moved).load()


def load_model(path: str | Path, inputs: Any = None) -> Any:
    """Return the model of a run folder or checkpoint, which is to take such inputs."""
    row = _owner(inputs, path)
    return (TAGGERS if row in (ARRAYS, RECORDS) else row).load().load_model(path)


def domain_with(inputs: Any, model: Any, *, moves: Mapping[Any, Any] | None, action: Any, call: Any) -> Domain:
    """Return the domain of inputs, with what the caller says of them."""
    if moves is not None and action is not None:
        raise ProbeError("moves=… and action=… both say what moves the inputs; give one of them")
    arguments = arguments_of(model) if call is None and isinstance(inputs, tuple) else ()
    return domain_of(inputs, model, is_moved=action is not None).with_moves(moves, arguments)


def arguments_of(model: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of the arguments that a model takes by position; none where they are not known."""
    try:
        parameters = inspect.signature(getattr(model, "forward", model)).parameters.values()
    except (TypeError, ValueError):
        return ()
    return tuple(one.name for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD))
