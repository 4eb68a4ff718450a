"""Saved results: every kind says what it is, reads every format so far, and refuses those to come."""

from __future__ import annotations

import json
import pkgutil
from contextlib import suppress
from dataclasses import is_dataclass
from importlib import import_module
from typing import get_type_hints

import numpy as np
import pytest

import jetsym
from jetsym.atoms.packages import quiet
from jetsym.errors import DataError
from jetsym.jets.evaluation.stability_report import Change, Stability
from jetsym.storage import UPGRADES, Stored, read_json
from jetsym.training.trials import RateCurve

NAN = float("nan")


def below(kind):
    for one in kind.__subclasses__():
        yield one
        yield from below(one)


@pytest.fixture(scope="module")
def kinds():
    """All classes of results, of all modules of the package."""
    for module in pkgutil.walk_packages(jetsym.__path__, "jetsym."):
        if not module.name.endswith("__main__"):
            with suppress(ImportError), quiet():  # of an optional package
                import_module(module.name)
    found = {kind for kind in below(Stored) if hasattr(kind, "KIND")}
    assert len(found) >= 14
    return [kind for kind in found if kind.__module__.startswith("jetsym.")]


def test_every_result_has_a_kind_of_its_own(kinds):
    names = [kind.KIND for kind in kinds]
    assert len(set(names)) == len(names)
    for kind in kinds:
        assert kind.FORMAT >= 1
        own = kind._content is not Stored._content and kind._read.__func__ is not Stored._read.__func__
        assert own or (is_dataclass(kind) and get_type_hints(kind)), kind


def test_every_upgrade_leads_to_a_format_that_is_read(kinds):
    formats = {kind.KIND: kind.FORMAT for kind in kinds}
    for kind, former in UPGRADES:
        assert all((kind, step) in UPGRADES for step in range(former, formats[kind])), (kind, former)
        assert former < formats[kind]
    for kind, current in formats.items():  # none is left out, but that nothing was written in format 0 of most
        assert all((kind, step) in UPGRADES for step in range(1, current)), kind


class Number(Stored):
    """A result for the tests below."""

    KIND, FORMAT = "number", 3

    def __init__(self, value):
        self.value = value

    def _content(self):
        return {"value": self.value}

    @classmethod
    def _read(cls, data):
        return cls(float(data["value"]))


@pytest.fixture
def upgrades(monkeypatch):
    monkeypatch.setitem(UPGRADES, ("number", 1), lambda data: {"value": data["old"]})
    monkeypatch.setitem(UPGRADES, ("number", 2), lambda data: data | {"kind": "number", "value": 2 * data["value"]})


def test_formats_are_upgraded_step_by_step(upgrades, tmp_path):
    path = tmp_path / "number.json"
    for text, value in [
        ('{"format": 1, "old": 3}', 6),
        ('{"kind": "number", "format": 2, "value": 3}', 6),
        ('{"kind": "number", "format": 3, "value": 3}', 3),
    ]:
        path.write_text(text)
        assert Number.load(path).value == value
    assert Number.from_dict(Number(5).to_dict()).value == 5
    assert read_json(Number(5).save(path)) == {"kind": "number", "format": 3, "value": 5}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"kind": "number", "format": 4, "value": 1}, "format 4; this jetsym reads formats up to 3: .* newer"),
        ({"kind": "number", "format": "1"}, "format '1'"),
        ({"kind": "letter", "format": 1}, "kind 'letter'; expected 'number'"),
        ({"format": 3, "value": 1}, "damaged: KeyError 'kind'"),
        ({"value": 1}, "damaged"),  # a format 0, of which there was none
        ({"format": 1}, "damaged: KeyError 'old'"),
        ({"kind": "number", "format": 3, "value": "one"}, "damaged: ValueError"),
    ],
)
def test_what_cannot_be_read_is_refused(upgrades, data, message):
    with pytest.raises(DataError, match=message):
        Number.from_dict(data)


def test_stability_survives_json(tmp_path):
    change = Change(0.5, 0.1, 0.4, 0.02, 0.3, -0.1, NAN)
    found = Stability({"lab": {"flips": change}}, "Tbqq", "QCD", 20, 2, 0, ("a note",))
    loaded = Stability.load(found.save(tmp_path / "s.json"))
    assert str(loaded) == str(found)
    assert loaded.notes == ("a note",)
    # as 0.1.0 wrote it, with and without an evaluation around it
    before = {key: value for key, value in found.to_dict().items() if key not in ("kind", "format")}
    for data in (before, {"stability": before}):
        assert str(Stability.from_dict(json.loads(json.dumps(data)))) == str(found)


def test_learning_rates_survive_json(tmp_path):
    curve = RateCurve(np.geomspace(1e-5, 1, 12), np.linspace(2, 1, 12))
    loaded = RateCurve.load(curve.save(tmp_path / "rates.json"))
    np.testing.assert_array_equal(loaded.rates, curve.rates)
    assert str(loaded) == str(curve)
    stored = read_json(tmp_path / "rates.json")
    assert {*stored} == {"kind", "format", "rates", "losses", "smoothed", "suggestion"}


def test_the_first_spectra_are_read(tmp_path):
    points = np.random.default_rng(0).normal(size=(4, 3))
    report = jetsym.probe(lambda x: x, points, outputs={"output": "vector"}, l_max=1, progress=False)
    values = report.to_dict()
    (name, item), *_ = values["equivariance"].items()
    first = ("kind", "absolute", "absolute_stderr", "relative", "relative_stderr", "over_spread", "noise_floor")
    values["equivariance"] = {name: {key: item[key] for key in first}}
    values = {key: value for key, value in values.items() if key != "kind"} | {"format": 1}
    (tmp_path / "first.json").write_text(json.dumps(values))
    from jetsym.probing.reports.read import read_report

    loaded = read_report(tmp_path / "first.json")
    assert loaded.equivariance[name].relative == report.equivariance[name].relative
    assert np.isnan(loaded.equivariance[name].leakage)
    assert "nan" not in str(loaded) + loaded._repr_html_()
    assert loaded.to_dict()["format"] == jetsym.SymmetryReport.FORMAT
