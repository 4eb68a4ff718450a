"""Which symmetry acts: a group by its name, with its frame, its axis, and the rapidities of its boosts.

Everything that takes these options makes one value of them here: this is where they are parsed, given their defaults,
refused and put into words. What users type are strings, in any case of letters: ``so3`` is SO3. A group that is not
among these joins by :func:`register`; one that is given by its elements, by :func:`jetsym.spectrum.register_group`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal, get_args

from jetsym.errors import ConfigError, JetsymError, expect_a, is_positive

__all__ = [
    "AXES",
    "FRAMES",
    "GROUPS",
    "Axis",
    "BoostGroup",
    "Distribution",
    "GroupName",
    "LorentzGroup",
    "NamedGroup",
    "RotationGroup",
    "Symmetry",
    "group_names",
    "register",
]

#: Axis of rotations or boosts: a name, or a vector of three numbers.
Axis = str | Sequence[float]
Frame = Literal["lab", "rest"]
Distribution = Literal["uniform", "normal"]

#: Names of groups by what a probe of them gives, for type checkers: a spectrum, a report of boosts, all of it.
RotationGroup = Literal["O3", "SO3", "SO2"]
BoostGroup = Literal["boost"]
LorentzGroup = Literal["lorentz"]

FRAMES: tuple[str, ...] = get_args(Frame)
#: Names of axes, and what they are called in a sentence. Those of each jet's own come last.
AXES = {
    "beam": "the beam",
    "x": "the x axis",
    "y": "the y axis",
    "z": "the z axis",
    "jet": "the axis of each jet",
    "random": "random directions",
}


class GroupName:
    """Names of the groups that come with the package, as they are written in options, configurations and reports."""

    SO2: Final = "SO2"
    SO3: Final = "SO3"
    O3: Final = "O3"
    BOOST: Final = "boost"
    LORENTZ: Final = "lorentz"


@dataclass(frozen=True)
class NamedGroup:
    """What is known of a group by its name.

    Parameters
    ----------
    name
        As it is typed and stored.
    words
        What acts, for a sentence; ``{axis}`` stands for the axis.
    takes
        The options that go with it: "frame", "axis", or "distribution" and "width" of rapidities.
    is_compact
        Whether it has a Haar measure, and so a spectrum; boosts have none.
    is_orthogonal
        Whether it holds all proper rotations and, beyond them, at most the inversion.
    has_inversion
        Whether it holds reflections.
    on_four_vectors
        Whether its elements are matrices (n, 4, 4) on (E, px, py, pz), such as Lorentz transformations.
    """

    name: str
    words: str
    takes: tuple[str, ...] = ()
    is_compact: bool = True
    is_orthogonal: bool = False
    has_inversion: bool = False
    on_four_vectors: bool = False

    @property
    def is_drawn_from(self) -> bool:
        """Whether random elements have a law: the Haar measure, or a distribution of rapidities."""
        return self.is_compact or "distribution" in self.takes


#: Name in lower case -> group.
GROUPS: dict[str, NamedGroup] = {}


def register(group: NamedGroup) -> None:
    """Let a group be named in options; its name is then known in any case of letters.

    Raises
    ------
    ConfigError
        Another group has that name, or it is no group.
    """
    expect_a("group", group, NamedGroup)
    if GROUPS.setdefault(group.name.lower(), group) != group:
        raise ConfigError(
            f"group is {group.name!r}, a name that is taken; expected another one than {_listed(group_names())}"
        )


for _group in (
    NamedGroup(GroupName.SO2, "rotations about {axis}", ("axis",)),
    NamedGroup(GroupName.SO3, GroupName.SO3, ("frame",), is_orthogonal=True),
    NamedGroup(GroupName.O3, GroupName.O3, ("frame",), is_orthogonal=True, has_inversion=True),
    NamedGroup(GroupName.BOOST, "boosts along {axis}", ("axis", "distribution", "width"), is_compact=False),
    NamedGroup(GroupName.LORENTZ, "Lorentz transformations", ("distribution", "width"), is_compact=False),
):
    register(_group)


@dataclass(frozen=True)
class Symmetry:
    """Which group acts, where, and for boosts how far.

    Parameters
    ----------
    group
        A name of :data:`GROUPS`, in any case of letters.
    frame
        "lab" if not given, or "rest", the rest frame of each jet's constituents.
    axis
        Of rotations about an axis, or boosts along one: "beam" if not given, "x", "y", "z" or three numbers, which are
        brought to unit length; for jets also "jet" or "random". None for groups without an axis.
    width
        Of boosts: half-width y₀, or standard deviation, of the rapidities; None where nobody says.
    distribution
        Of boosts: "uniform" on [−y₀, y₀] if not given, or "normal".

    Raises
    ------
    ConfigError
        There is no such group, or an option has another value, or does not go with the group.

    Examples
    --------
    >>> Symmetry("so3"), Symmetry("SO2").axis, Symmetry("O3", frame="rest").words
    (Symmetry(group='SO3', frame='lab', axis=None, width=None, distribution=None), 'beam', 'O3 at rest')
    >>> Symmetry.parse("boost", frame="rest")
    Traceback (most recent call last):
    jetsym.errors.ConfigError: frame is 'rest', which the group 'boost' does not take; leave it out, or take the group \
'SO3' or 'O3'
    """

    group: str = GroupName.O3
    frame: str = None  # type: ignore[assignment]  # "lab" once it is made
    axis: str | tuple[float, ...] | None = None
    width: float | None = None
    distribution: Distribution | None = None

    def __post_init__(self) -> None:
        if str(self.group).lower() not in GROUPS:
            raise _Refused("group", f" is {self.group!r}; expected one of ", group_names())
        named = self.named
        for field, values in (("frame", FRAMES), ("distribution", get_args(Distribution))):
            if getattr(self, field) not in (None, *values):
                raise _Refused(field, f" is {getattr(self, field)!r}; expected one of {_listed(values)}")
        for field in ("frame", "axis", "distribution", "width"):
            value = getattr(self, field)
            if value is not None and field not in named.takes and not (field == "frame" and value == FRAMES[0]):
                takers = " or ".join(repr(other.name) for other in GROUPS.values() if field in other.takes)
                remedy = f"leave it out, or take the group {takers}"
                raise _Refused(field, f" is {value!r}, which the group {named.name!r} does not take; {remedy}")
        if self.width is not None and not is_positive(self.width):
            raise _Refused("width", f" is {self.width!r}; expected a rapidity more than 0, such as 0.5")
        settled: dict[str, Any] = {
            "group": named.name,
            "frame": self.frame or FRAMES[0],
            "axis": _settled_axis(self.axis) if "axis" in named.takes else None,
            "distribution": self.distribution or get_args(Distribution)[0] if "distribution" in named.takes else None,
        }
        for field, value in settled.items():
            object.__setattr__(self, field, value)

    @classmethod
    def parse(
        cls,
        group: str,
        frame: str | None = None,
        axis: Axis | None = None,
        width: float | None = None,
        distribution: str | None = None,
        *,
        error: type[JetsymError] = ConfigError,
        called: Mapping[str, str] | None = None,
        groups: Iterable[str] = (),
    ) -> Symmetry:
        """Make a symmetry of options as they were typed, or refuse them.

        Parameters
        ----------
        group, frame, axis, width, distribution
            See :class:`Symmetry`; None is what was not given.
        error
            The kind of error that refuses.
        called
            Field -> what the caller calls it, for messages, such as {"frame": "augmentation.frame"}.
        groups
            The only groups that will do, if any are named.

        Examples
        --------
        >>> Symmetry.parse("O2", called={"group": "--group"})
        Traceback (most recent call last):
        jetsym.errors.ConfigError: --group is 'O2'; expected one of 'SO2', 'SO3', 'O3', 'boost', 'lorentz'
        """
        try:
            made = cls(group, frame, axis, width, distribution)  # type: ignore[arg-type]
            if groups and made.group not in groups:
                raise _Refused("group", f" is {group!r}; expected one of ", tuple(groups))
        except _Refused as refusal:
            raise error((called or {}).get(refusal.field, refusal.field) + refusal.told(groups)) from None
        return made

    @property
    def named(self) -> NamedGroup:
        """The group, or for one that is not registered here, as of a report made elsewhere, no more than its name."""
        return GROUPS.get(str(self.group).lower(), NamedGroup(self.group, self.group))

    @property
    def is_compact(self) -> bool:
        """Whether the group has a Haar measure, and so a spectrum."""
        return self.named.is_compact

    @property
    def is_whole(self) -> bool:
        """Whether it is no single motion but all of the Lorentz group, which is measured part by part."""
        return not self.is_compact and self.axis is None

    @property
    def is_orthogonal(self) -> bool:
        """Whether the group is that of all rotations, with or without the inversion."""
        return self.named.is_orthogonal

    @property
    def has_inversion(self) -> bool:
        """Whether the group holds reflections."""
        return self.named.has_inversion

    @property
    def is_at_rest(self) -> bool:
        """Whether the group acts in the rest frame of each jet."""
        return self.frame != FRAMES[0]

    @property
    def is_about_beam(self) -> bool:
        """Whether the axis is that of the beam, z."""
        return self.axis in ("beam", "z")

    @property
    def axis_words(self) -> str:
        """The axis in a sentence, such as "the beam"."""
        if isinstance(self.axis, tuple):
            return f"the axis ({', '.join(f'{x:g}' for x in self.axis)})"
        return AXES.get(self.axis or "", "")

    @property
    def words(self) -> str:
        """What acts, for a sentence: "O3 at rest", "boosts along the beam, rapidity up to 0.5"."""
        told = self.named.words.replace("{axis}", self.axis_words) + (" at rest" if self.is_at_rest else "")
        if self.width is None:
            return told
        return f"{told}, {'σ =' if self.distribution == 'normal' else 'rapidity up to'} {self.width:g}"

    @property
    def label(self) -> str:
        """The group with its axis or its frame, as a short name: "O3 rest", "SO2 jet"."""
        return f"{self.group} {self.axis_words if isinstance(self.axis, tuple) else self.axis or self.frame}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, without what goes with boosts alone where there are none."""
        values = asdict(self)
        values["axis"] = list(self.axis) if isinstance(self.axis, tuple) else self.axis
        return {name: value for name, value in values.items() if value is not None or name == "axis"}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Symmetry:
        """Return the symmetry that the facts of a report tell, also of one made by an older version or elsewhere.

        Examples
        --------
        >>> Symmetry.from_dict({"group": "SO2", "frame": "lab", "axis": [0.0, 0.0, 1.0], "l_max": 4}).axis
        'beam'
        """
        given = {field.name: values[field.name] for field in fields(cls) if values.get(field.name) is not None}
        if str(given["group"]).lower() in GROUPS:
            named = GROUPS[given["group"].lower()]
            return cls(**{name: given[name] for name in given if name in ("group", "frame", *named.takes)})
        made = object.__new__(cls)
        for field in fields(cls):
            object.__setattr__(made, field.name, given.get(field.name, FRAMES[0] if field.name == "frame" else None))
        return made


class _Refused(ConfigError):
    """A value of a field, refused: the field, what is said of it, and names that may follow."""

    def __init__(self, field: str, told: str, names: tuple[str, ...] = ()) -> None:
        super().__init__(field + told + _listed(names))
        self.field, self._told, self._names = field, told, names

    def told(self, names: Iterable[str]) -> str:
        """Tell what is wrong with the field, where only these names will do."""
        return self._told + _listed(tuple(names) or self._names if self._names else ())


def _settled_axis(axis: Axis | None) -> str | tuple[float, ...]:
    """Return an axis by its name, or as a vector of unit length."""
    if axis is None:
        return "beam"
    if isinstance(axis, str):
        if axis.lower() not in AXES:
            raise _Refused("axis", f" is {axis!r}; expected one of {_listed(AXES)}, or three numbers")
        return axis.lower()
    try:
        vector = [float(x) for x in axis]
    except (TypeError, ValueError):
        vector = []
    length = math.hypot(*vector)
    if len(vector) != 3 or not 0 < length < math.inf:
        raise _Refused("axis", f" is {axis!r}; expected one of {_listed(AXES)}, or three finite numbers, not all zero")
    unit = tuple(x / length for x in vector)
    return "beam" if unit == (0.0, 0.0, 1.0) else unit


def group_names(*, compact: bool = False, drawn: bool = False) -> tuple[str, ...]:
    """Return the names of all groups, or of those with a spectrum, or of those that random elements are drawn from.

    Examples
    --------
    >>> group_names(compact=True)[:3]
    ('SO2', 'SO3', 'O3')
    """
    return tuple(
        group.name
        for group in GROUPS.values()
        if (group.is_compact or not compact) and (group.is_drawn_from or not drawn)
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
