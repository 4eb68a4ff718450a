"""Saved results whose values are damaged: refused, or still a result that can be shown and saved."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jetsym
from jetsym.errors import DataError, SpectrumError
from jetsym.files import write_json
from jetsym.forms import expect_facts, expect_form
from jetsym.reading import as_json, from_json
from jetsym.spectrum import read_irrep
from jetsym.storage import DIGEST, Stored, read_json

BEFORE = Path(__file__).with_name("written_before")
#: Results as an older version wrote them, without a digest: what holds them is their form alone.
REPORTS = [path for path in sorted((BEFORE / "reports").glob("*.json")) if "kind" in json.loads(path.read_text())]
#: What stands in the place of a value; the last one takes it away.
RUBBISH = (None, "rubbish", -3, 1e300, [], {}, "NaN", True, [1, 2], {"a": 1}, "", 0, ...)


def kinds() -> dict[str, type[Stored]]:
    import jetsym.benchmarks.compare_regimes
    import jetsym.jets.evaluation.report
    import jetsym.jets.evaluation.stability_report
    import jetsym.probing.reports.attribution
    import jetsym.probing.reports.comparison
    import jetsym.probing.reports.diagnosis
    import jetsym.probing.reports.generators
    import jetsym.probing.reports.history
    import jetsym.probing.reports.read  # noqa: F401

    def below(kind: type) -> Iterator[type]:
        for one in kind.__subclasses__():
            yield one
            yield from below(one)

    return {kind.KIND: kind for kind in below(Stored) if "KIND" in vars(kind)}


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """All places in a tree of values, of lists the first few."""
    within = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    for key, item in within:
        yield (*at, key)
        yield from places(item, (*at, key))


def damaged(data: dict[str, Any], place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    found = copy.deepcopy(data)
    inner = found
    for key in place[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return found


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_damaged_values_are_refused_or_can_be_shown(path):
    """What is read without an error holds together: it is shown in full and written again."""
    data, rng, counts = json.loads(path.read_text()), np.random.default_rng(0), Counter()
    kind, everywhere = kinds()[data["kind"]], list(places(data))
    kind.from_dict(data)
    for _ in range(40):
        place = everywhere[rng.integers(len(everywhere))]
        value = RUBBISH[rng.integers(len(RUBBISH))]
        try:
            found = kind.from_dict(damaged(data, place, value))
        except DataError:
            counts["refused"] += 1
            continue
        counts["shown"] += 1
        str(found)
        getattr(found, "_repr_html_", lambda: None)()
        json.dumps(as_json(found.to_dict()), allow_nan=False)
    assert counts["refused"] > 10, counts


@pytest.fixture
def report():
    points = np.random.default_rng(0).normal(size=(1, 3))  # of one input, which has no spread
    return jetsym.probe(lambda x: x[:, 0] + 1, points, l_max=1, progress=False)


def test_every_damaged_byte_of_a_file_is_noticed(report, tmp_path):
    path = report.save(tmp_path / "report.json")
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 200):
        content = bytearray(whole)
        content[place] ^= 1 << rng.integers(8)
        path.write_bytes(content)
        try:
            found = jetsym.SymmetryReport.load(path)
        except DataError:
            continue
        # What is left are spaces, and the name of the digest.
        assert str(found) == str(report)


def test_a_value_that_was_changed_is_noticed_unless_it_is_meant(report, tmp_path):
    path = report.save(tmp_path / "report.json")
    data = json.loads(path.read_text())
    data["norm"][0] *= 2
    path.write_text(json.dumps(data))
    with pytest.raises(DataError, match="was changed after it was written: .* take its entry 'digest' out"):
        read_json(path)
    del data[DIGEST]
    path.write_text(json.dumps(data))
    assert jetsym.SymmetryReport.load(path).norm[0] == 2 * report.norm[0]


def test_other_spaces_and_another_order_are_the_same_content(report, tmp_path):
    path = report.save(tmp_path / "report.json")
    data = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(data.items())), separators=(",", ":")))
    assert str(jetsym.SymmetryReport.load(path)) == str(report)


def test_files_hold_json_and_their_numbers_come_back(report, tmp_path):
    """Which has no NaN and no infinity: strict readers refuse them."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    path = report.save(tmp_path / "report.json")
    json.loads(path.read_text(), parse_constant=refuse)
    loaded = jetsym.SymmetryReport.load(path)
    name = next(iter(report.equivariance))
    assert np.isnan(loaded.equivariance[name].over_spread)
    np.testing.assert_equal(loaded.to_dict(), report.to_dict())
    values = {"a": [float("nan"), float("inf"), -float("inf"), 0.1, None], "b": {"c": "Inf", "d": True}}
    text = write_json(tmp_path / "v.json", values).read_text()
    np.testing.assert_equal(from_json(json.loads(text, parse_constant=refuse)), values)


def test_files_of_older_versions_have_names_for_numbers_that_are_none(tmp_path):
    """Python's own, which are read as before."""
    (tmp_path / "old.json").write_text('{"kind": "number", "value": NaN, "other": [Infinity]}')
    np.testing.assert_equal(
        read_json(tmp_path / "old.json"), {"kind": "number", "value": float("nan"), "other": [float("inf")]}
    )


@pytest.mark.parametrize(
    ("values", "right"),
    [
        ([0, 1], True),
        ([3, -1], True),
        ([2, None], True),
        ([2, 0], True),
        ([1, "E", 2, 2], True),
        ([1, 2], False),
        ([-1, 1], False),
        ([1.5, 1], False),
        ([True, 1], False),
        ([1, "E", 2, 0], False),
        ([1, 2, 2, 2], False),
        ([1], False),
        ([], False),
    ],
)
def test_irreps_of_files(values, right):
    if right:
        assert read_irrep(values).to_list() == values
        return
    with pytest.raises(SpectrumError, match="is no irrep"):
        read_irrep(values)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"n_inputs": "4"}, "n_inputs is '4'; expected int"),
        ({"n_inputs": True}, "n_inputs is True; expected int"),
        ({"notes": ["a", 1]}, r"notes is \['a', 1\]"),
        ({"resolution": {"tolerance": 0.1}}, "resolution has no 'agreed'"),
        ({"resolution": {"tolerance": 0.1, "agreed": True, "inputs": 4, "steps": []}}, "resolution has no steps"),
        ({"resolution": {"tolerance": 0.1, "agreed": True, "inputs": 4, "steps": [{"l_max": 2}]}}, "what it leaves"),
    ],
)
def test_facts_of_another_form(facts, message):
    with pytest.raises(TypeError, match=message):
        expect_facts(facts)
    with pytest.raises(TypeError, match="meta has no 'group'"):
        expect_facts({}, needed=("group",))


def test_forms_of_results(report):
    expect_form(report)
    name = next(iter(report.equivariance))
    for changes, message in (
        ({"layers": ("a", 1)}, r"layers\[1\] is 1; expected str"),
        ({"norm": [1.0]}, r"norm is \[1.0\]"),
        ({"norm": np.array(["1"])}, "norm is array"),
        ({"meta": [1]}, "meta is"),
        ({"equivariance": {name: 1}}, "equivariance.*is 1; expected Equivariance"),
        ({"baseline": "none"}, "baseline is 'none'"),
    ):
        changed = copy.copy(report)
        changed.__dict__.update(changes)
        with pytest.raises(TypeError, match=message):
            expect_form(changed)
    item = copy.copy(report.equivariance[name])
    item.__dict__["error_spectrum"] = {"(0)": "1"}
    changed = copy.copy(report)
    changed.__dict__["equivariance"] = {name: item}
    with pytest.raises(TypeError, match=r"error_spectrum\['\(0\)'\] is '1'; expected float"):
        expect_form(changed)


def test_boosts_name_the_layers_beyond_the_rule_for_every_width(tmp_path):
    def response(p4):
        return np.cos(9 * np.arctanh(p4[..., 3] / p4[..., 0])).sum(-1)

    momenta = np.random.default_rng(0).normal(size=(6, 3, 3))
    p4 = np.concatenate([np.sqrt(1 + (momenta**2).sum(-1, keepdims=True)), momenta], -1)
    options = {"group": "boost", "axis": "z", "widths": [0.5, 1.5], "l_max": 2, "progress": False}
    report = jetsym.probe(response, p4, **options)
    assert report.meta["unbiased"] == [["output"], ["output"]]
    assert type(report).load(report.save(tmp_path / "boosts.json")).meta["unbiased"] == report.meta["unbiased"]
