"""Results are written and read by the types of their fields alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from jetsym.errors import DataError
from jetsym.forms import as_plain, from_plain
from jetsym.storage import Stored


@dataclass(frozen=True)
class Inner:
    name: str
    pair: tuple[float, str]


@dataclass(frozen=True)
class Own:
    """Of another form than that of its fields."""

    value: int

    def to_dict(self) -> dict[str, Any]:
        return {"twice": 2 * self.value}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Own:
        return cls(data["twice"] // 2)


@dataclass(frozen=True, eq=False)
class Outer(Stored):
    array: NDArray[np.float64]
    inner: tuple[Inner, ...]
    by_number: Mapping[int, Own]
    names: Sequence[str]
    rows: list[list[float]]
    maybe: Inner | None = None
    deeper: Outer | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    KIND: ClassVar[str] = "outer"
    FORMAT: ClassVar[int] = 1

    def _check(self) -> None:
        if len(self.names) != len(self.inner):
            raise ValueError("other names than there are")


def outer(**changes: Any) -> Outer:
    inner = (Inner("a", (0.5, "x")), Inner("b", (1.5, "y")))
    values = {"array": np.eye(2), "inner": inner, "by_number": {3: Own(4)}, "names": ("a", "b"), "rows": [[1.0], [2.0]]}
    return Outer(**values | changes)


def test_what_is_written_comes_back(tmp_path):
    inner = Inner("c", (float("inf"), "z"))
    made = outer(maybe=inner, deeper=outer(), meta={"notes": ["n"], "parts": ({"k": (1, 2)},)})
    found = Outer.load(made.save(tmp_path / "outer.json"))
    np.testing.assert_array_equal(found.array, np.eye(2))
    assert found.inner == made.inner
    assert found.by_number == {3: Own(4)}
    assert (found.names, found.rows, found.maybe) == (("a", "b"), [[1.0], [2.0]], inner)
    assert isinstance(found.deeper, Outer)
    assert found.deeper.inner == made.inner
    assert found.to_dict() == made.to_dict()
    assert json.loads(json.dumps(found.to_dict()["by_number"])) == {"3": {"twice": 8}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"array": "rubbish"}, "array is 'rubbish'"),
        ({"array": [["a"]]}, "could not convert"),
        ({"inner": {"name": "a"}}, "inner is"),
        ({"inner": [{"name": "a", "pair": [0.5]}, 1]}, r"inner\[0\].pair is \[0.5\]"),
        ({"inner": [{"name": "a", "pear": 1}]}, "pear"),
        ({"by_number": {"x": {"twice": 2}}}, "invalid literal"),
        ({"names": "ab"}, "names is 'ab'"),
        ({"names": ["a"]}, "other names than there are"),
        ({"maybe": 3}, "maybe is 3"),
        ({"deeper": {"kind": "inner"}}, "of kind 'inner'"),
        ({"rows": [["1"]]}, r"rows\[0\]\[0\] is '1'"),
    ],
)
def test_what_is_of_another_form_is_refused(changes, message):
    with pytest.raises(DataError, match=message):
        Outer.from_dict(outer().to_dict() | changes)


@pytest.mark.parametrize("name", ["array", "inner", "by_number", "names", "rows", "maybe", "deeper", "meta"])
def test_no_entry_may_be_missing(name):
    data = outer().to_dict()
    del data[name]
    with pytest.raises(DataError, match=f"KeyError '{name}'"):
        Outer.from_dict(data)


def test_values_of_no_type_stay_as_they_are():
    assert from_plain(Any, [1, [2]]) == [1, [2]]
    assert from_plain(int | str, "1") == "1"
    assert as_plain({"a": (1, (2.5, None))}) == {"a": [1, [2.5, None]]}
