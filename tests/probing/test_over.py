"""Probes over the values of an argument, such as the time of a velocity field."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

import jetsym
from jetsym.cli import main
from jetsym.domains.arrays import Arrays
from jetsym.errors import DataError, ProbeError
from jetsym.probing.forward.session import Session
from jetsym.probing.reports.over import ReportsOver
from jetsym.probing.reports.read import read_report
from jetsym.storage import read_json
from jetsym.testing import assert_equivariant

POINTS = np.random.default_rng(0).normal(size=(8, 3))
TIMES = [0.0, 0.5, 1.0]


class Field(torch.nn.Module):
    """v(x, t) = x + t c e_z, with |x|² beside it."""

    def __init__(self, c: float = 0.3) -> None:
        super().__init__()
        self.gauge, self.c = torch.nn.Softplus(), c

    def forward(self, x, t):
        return {"v": x + t * self.c * x.new_tensor([0, 0, 1.0]), "size": self.gauge((x**2).sum(-1))}


KINDS = {"v": "vector", "size": "scalar"}


@pytest.fixture(scope="module")
def found():
    return jetsym.probe(Field(), torch.as_tensor(POINTS), outputs=KINDS, over={"t": TIMES}, l_max=2, progress=False)


def test_a_velocity_field_has_its_error_in_closed_form(found):
    """A²/N = (tc)² / (⟨|x|²⟩ + (tc)²): what does not turn."""
    part = (np.array(TIMES) * 0.3) ** 2
    np.testing.assert_allclose(found.error("relative", "v") ** 2, part / ((POINTS**2).sum(1).mean() + part), atol=1e-13)
    np.testing.assert_allclose(found.error("relative", "size"), 0, atol=1e-14)
    assert found.steps.tolist() == TIMES
    assert found[0.5].equivariance["v"].relative == found.error("relative", "v")[1]


def test_it_is_told_drawn_and_kept(found, tmp_path):
    again = ReportsOver.load(found.save(tmp_path / "over.json"))
    assert str(again) == str(found)
    assert "0.5" in str(found)
    assert found.unit == "t"
    found.plot()
    assert found.plot(layer="v").get_xlabel() == "t"
    with pytest.raises(DataError, match="no report of t = 0.7"):
        found[0.7]


def test_files_of_them_are_read_and_compared_value_by_value(found, tmp_path):
    path = found.save(tmp_path / "over.json")
    again = read_report(path)
    assert isinstance(again, ReportsOver)
    assert str(again) == str(found)
    compared = jetsym.compare(again, found[0.5], names=["field", "half"])
    assert compared.names == ("field, t = 0", "field, t = 0.5", "field, t = 1", "half")
    np.testing.assert_array_equal(compared.shares(1, "λ = 0").value, compared.shares(3, "λ = 0").value)
    assert compared.shares(0, "λ = 0").value[-2] < 1e-20 < compared.shares(2, "λ = 0").value[-2]
    assert main(["compare", str(path), "--out", str(tmp_path / "compared.json")]) == 0
    assert len(read_json(tmp_path / "compared.json")["reports"]) == 3
    with pytest.raises(ProbeError, match=r"is one over values of t; expected that of one of them, such as report\[1\]"):
        jetsym.diagnose(again)


def test_model_and_inputs_are_loaded_once(monkeypatch):
    loaded = []
    monkeypatch.setattr(
        Session, "of", partial(lambda of, *args, **how: loaded.append("model") or of(*args, **how), Session.of)
    )
    load = Arrays.load
    monkeypatch.setattr(Arrays, "load", lambda self, *args, **how: loaded.append("inputs") or load(self, *args, **how))
    jetsym.probe(Field(), torch.as_tensor(POINTS), outputs=KINDS, over={"t": TIMES}, l_max=1, progress=False)
    assert loaded == ["model", "inputs"]


def test_each_value_has_the_baseline_of_its_own():
    options = {"outputs": KINDS, "l_max": 1, "progress": False, "baseline": Field(0.6)}
    found = jetsym.probe(Field(), torch.as_tensor(POINTS), over={"t": TIMES}, **options)
    here, there = (
        [one.equivariance["v"].absolute for one in reports]
        for reports in (found.reports, [one.baseline for one in found.reports])
    )
    np.testing.assert_allclose(there, 2 * np.array(here), atol=1e-12)


def test_an_array_of_times_is_made_in_call():
    def model(x, t):
        return x * (1 + t[:, None])

    def call(model, x, t):
        return model(x, np.full(len(x), t))

    found = jetsym.probe(model, POINTS, outputs={"v": "vector"}, over={"t": TIMES}, call=call, l_max=1, progress=False)
    assert max(abs(found.error("relative"))) < 1e-14


def test_keywords_beside_a_dictionary():
    found = jetsym.probe(
        lambda x, t: x[:, 2] * t, {"x": POINTS}, over={"t": [1.0, 2.0]}, l_max=1, progress=False, group="SO3"
    )
    np.testing.assert_allclose(found.error("absolute")[1], 2 * found.error("absolute")[0])


def test_the_assertion_says_at_which_value():
    assert_equivariant(Field(0.0), torch.as_tensor(POINTS), KINDS, over={"t": TIMES}, l_max=2)
    with pytest.raises(AssertionError, match="v is not equivariant as vector under O3 at t = 0.5") as caught:
        assert_equivariant(Field(), torch.as_tensor(POINTS), KINDS, over={"t": TIMES}, l_max=2)
    assert "t = 0:" not in str(caught.value)


@pytest.mark.parametrize(
    ("over", "options", "message"),
    [
        ({}, {}, "expected one argument"),
        ({"t": [0.0], "s": [1.0]}, {}, "expected one argument"),
        ("t", {}, "expected one argument"),
        ({"t": []}, {}, "no finite numbers"),
        ({"t": [float("nan")]}, {}, "no finite numbers"),
        ({"t": 1.0}, {}, "does not hold numbers"),
        ({"t": "12"}, {}, "no finite numbers"),
        ({"t": [1.0, 1]}, {}, "holds a number twice; expected each once"),
        ({"time": [1.0]}, {}, "over names 'time', which what is called does not take; it takes x, t. Say with call="),
        ({"t": [0.0]}, {"group": "boost"}, "goes with groups that have a spectrum"),
    ],
)
def test_what_is_no_argument_is_refused(over, options, message):
    with pytest.raises(ProbeError, match=message):
        jetsym.probe(lambda x, t: x, POINTS, over=over, progress=False, **options)
