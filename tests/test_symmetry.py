"""One value says which symmetry acts: parsed, given defaults, refused and put into words."""

from __future__ import annotations

import json

import numpy as np
import pytest

from jetsym import symmetry
from jetsym.errors import ConfigError, ProbeError
from jetsym.symmetry import GROUPS, NamedGroup, Symmetry, register


@pytest.mark.parametrize("typed", ["SO2", "so2", "SO3", "so3", "O3", "o3", "boost", "Boost", "LORENTZ", "lorentz"])
def test_the_case_of_a_name_does_not_matter(typed: str) -> None:
    known = {"so2": "SO2", "so3": "SO3", "o3": "O3"}
    assert Symmetry(typed).group == known.get(typed.lower(), typed.lower())


@pytest.mark.parametrize(
    ("group", "frame", "axis", "distribution"),
    [
        ("O3", "lab", None, None),
        ("SO3", "lab", None, None),
        ("SO2", "lab", "beam", None),
        ("boost", "lab", "beam", "uniform"),
        ("lorentz", "lab", None, "uniform"),
    ],
)
def test_what_is_not_given_has_a_default(group: str, frame: str, axis: str, distribution: str) -> None:
    made = Symmetry(group)
    assert (made.frame, made.axis, made.distribution, made.width) == (frame, axis, distribution, None)
    assert Symmetry(group, frame="lab") == made


def test_properties_stand_for_names() -> None:
    assert [name for name in GROUPS if Symmetry(name).is_compact] == ["so2", "so3", "o3"]
    assert [name for name in GROUPS if Symmetry(name).is_orthogonal] == ["so3", "o3"]
    assert [name for name in GROUPS if Symmetry(name).has_inversion] == ["o3"]
    assert Symmetry("O3", frame="rest").is_at_rest
    assert not Symmetry("O3").is_at_rest


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"group": "o3"}, "O3"),
        ({"group": "SO3", "frame": "rest"}, "SO3 at rest"),
        ({"group": "SO2"}, "rotations about the beam"),
        ({"group": "SO2", "axis": "Jet"}, "rotations about the axis of each jet"),
        ({"group": "SO2", "axis": [0, 3, 4]}, "rotations about the axis (0, 0.6, 0.8)"),
        ({"group": "boost", "axis": "random"}, "boosts along random directions"),
        ({"group": "boost", "width": 0.5}, "boosts along the beam, rapidity up to 0.5"),
        (
            {"group": "boost", "width": 1.0, "distribution": "normal"},
            "boosts along the beam, σ = 1",
        ),
        ({"group": "lorentz"}, "Lorentz transformations"),
    ],
)
def test_words(options: dict[str, object], words: str) -> None:
    assert Symmetry(**options).words == words  # type: ignore[arg-type]


def test_labels_are_short() -> None:
    known = [Symmetry("O3"), Symmetry("so3", "rest"), Symmetry("SO2", axis="jet"), Symmetry("boost")]
    assert [symmetry.label for symmetry in known] == ["O3 lab", "SO3 rest", "SO2 jet", "boost beam"]
    assert Symmetry.parse("SO2", axis=[0, 3, 4]).label == "SO2 the axis (0, 0.6, 0.8)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group": "O2"}, "group is 'O2'; expected one of 'SO2', 'SO3', 'O3', 'boost', 'lorentz'"),
        ({"group": 3}, "group is 3; expected one of"),
        ({"group": "O3", "frame": "cm"}, "frame is 'cm'; expected one of 'lab', 'rest'"),
        ({"group": "SO2", "frame": "rest"}, "which the group 'SO2' does not take; leave it out, .* 'SO3' or 'O3'"),
        ({"group": "O3", "axis": "jet"}, "axis is 'jet', which the group 'O3' .* the group 'SO2' or 'boost'"),
        ({"group": "SO2", "axis": "beem"}, "axis is 'beem'; expected one of 'beam', .*, or three numbers"),
        ({"group": "SO2", "axis": [0, 0, 0]}, "three finite numbers, not all zero"),
        ({"group": "SO2", "axis": [0, 1]}, "three finite numbers"),
        ({"group": "SO2", "axis": 5}, "axis is 5; expected"),
        ({"group": "SO2", "axis": ["a", "b", "c"]}, "three finite numbers"),
        ({"group": "boost", "axis": np.array([0, np.nan, 1])}, "three finite numbers"),
        ({"group": "O3", "width": 0.5}, "width is 0.5, which the group 'O3' does not take"),
        ({"group": "boost", "width": 0.0}, "width is 0.0; expected a rapidity more than 0, such as 0.5"),
        ({"group": "boost", "width": float("nan")}, "width is nan"),
        ({"group": "boost", "width": float("inf")}, "width is inf"),
        ({"group": "boost", "width": "0.5"}, "width is '0.5'; expected a rapidity more than 0, such as 0.5"),
        ({"group": "boost", "width": True}, "width is True; expected a rapidity"),
        ({"group": "lorentz", "width": [0.5]}, r"width is \[0.5\]; expected a rapidity"),
        ({"group": "lorentz", "width": 1j}, "width is 1j; expected a rapidity"),
        ({"group": "boost", "distribution": "flat"}, "distribution is 'flat'; expected one of 'uniform', 'normal'"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_remedy(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Symmetry(**options)  # type: ignore[arg-type]
    with pytest.raises(ProbeError, match=message):
        Symmetry.parse(**options, error=ProbeError)  # type: ignore[arg-type]


def test_refusals_call_a_field_as_the_caller_does() -> None:
    with pytest.raises(ConfigError, match=r"^augmentation.rapidity is 'flat'"):
        Symmetry.parse("boost", distribution="flat", called={"distribution": "augmentation.rapidity"})


def test_only_some_groups_may_do() -> None:
    assert Symmetry.parse("so3", groups=("SO3", "O3")).group == "SO3"
    for name in ("SO2", "SO4"):
        with pytest.raises(ConfigError, match=f"group is '{name}'; expected one of 'SO3', 'O3'$"):
            Symmetry.parse(name, groups=("SO3", "O3"))


@pytest.mark.parametrize(
    "made",
    [
        Symmetry("O3", frame="rest"),
        Symmetry.parse("SO2", axis=[0.0, 3.0, 4.0]),
        Symmetry("boost", axis="random", width=0.5, distribution="normal"),
        Symmetry("lorentz"),
    ],
)
def test_it_comes_back_from_the_facts_of_a_report(made: Symmetry) -> None:
    assert Symmetry.from_dict({**json.loads(json.dumps(made.to_dict())), "l_max": 4}) == made


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({"group": "SO2", "frame": "lab", "axis": [0.0, 0.0, 1.0]}, Symmetry("SO2")),
        ({"group": "lorentz"}, Symmetry("lorentz")),
        ({"group": "boost", "frame": "lab", "axis": None, "width": 0.5}, Symmetry("boost", width=0.5)),
        ({"group": "O3", "frame": "lab", "axis": None, "width": 0.5}, Symmetry("O3")),  # an attribution held both
    ],
)
def test_reports_of_version_0_1_0_are_read(meta: dict[str, object], expected: Symmetry) -> None:
    assert Symmetry.from_dict(meta) == expected
    assert Symmetry.from_dict(meta).is_about_beam == (expected.axis == "beam")


def test_a_report_may_tell_of_a_group_that_is_not_known_here() -> None:
    made = Symmetry.from_dict({"group": "T_h", "frame": "rest", "axis": None})
    assert (made.group, made.words, made.is_compact, made.is_orthogonal) == ("T_h", "T_h at rest", True, False)
    assert Symmetry.from_dict(made.to_dict()) == made


def test_a_group_joins_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(symmetry.GROUPS, "lorentz")
    with pytest.raises(ConfigError, match="group is 'Lorentz'"):
        Symmetry("Lorentz")
    register(NamedGroup("Lorentz", "everything"))
    assert Symmetry("lorentz").words == "everything"
    with pytest.raises(ConfigError, match="group is 'O3', a name that is taken"):
        register(NamedGroup("O3", "other things"))
    with pytest.raises(ConfigError, match="group is 'T_h'; expected a NamedGroup"):
        register("T_h")  # type: ignore[arg-type]
    assert Symmetry("boost", width=np.float32(0.5)).width == 0.5  # type: ignore[arg-type]  # a number as well
