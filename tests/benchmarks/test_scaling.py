"""Exponents of known laws, and the benchmark that measures them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from jetsym.benchmarks.__main__ import main
from jetsym.benchmarks.measure import costs
from jetsym.benchmarks.scaling import Exponent, Law, Scaling, fitted
from jetsym.benchmarks.scaling_tasks import LAWS, prepared
from jetsym.errors import DataError

SIZES = np.array([1, 2, 4, 8, 16, 64])


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("constant", [0.0, 0.3])
def test_exponents_are_found_whatever_does_not_grow(power, constant):
    found = fitted(SIZES, constant + 0.1 * SIZES**power)
    assert found.value == pytest.approx(power, abs=0.01)
    assert not found.exceeds(power)


def test_the_error_is_that_of_the_scatter():
    """Over many series, exponents scatter by what their errors say."""
    rng = np.random.default_rng(0)
    found = [fitted(SIZES, 2.0 * SIZES**1.5 * np.exp(0.05 * rng.normal(size=len(SIZES)))) for _ in range(100)]
    pulls = np.array([(one.value - 1.5) / one.error for one in found])
    assert abs(np.median(pulls)) < 0.5
    assert 0.5 < np.percentile(np.abs(pulls), 68) < 2.0


def test_what_does_not_grow_has_no_exponent():
    for values in (np.full(6, 3.0), 3.0 + 0.001 * SIZES, np.full(6, np.nan)):
        found = fitted(SIZES, values)
        assert not np.isfinite(found.value)
        assert not found.exceeds(0)
    assert str(fitted(SIZES, np.full(6, 3.0))) == "–"


def test_more_than_the_work_is_marked():
    assert Exponent(1.5, 0.1).exceeds(1)
    assert not Exponent(1.5, 0.3).exceeds(1)  # two errors
    assert not Exponent(1.15, 0.01).exceeds(1)
    quadratic = tuple((float(size**2),) for size in SIZES)
    law = Law("probing", "layers", tuple(SIZES.tolist()), quadratic, tuple(SIZES.astype(float)), 1, 1)
    assert "! (1)" in law.cells()[3]
    assert "!" not in law.cells()[4]
    assert law.rate == 64 + 16  # (64² − 16²) / (64 − 16)


def test_hours_are_those_of_one_more_jet():
    law = Law("reading", "jets", (1000, 2000), ((5.0, 5.0, 9.0), (6.0,)), (1.0, 1.0), 1, 0)
    assert Scaling((law,), {}).hours(3_600_000) == {"reading": pytest.approx(1.0)}


def slow(size):
    return lambda: [sum(range(1000)) for _ in range(size)]


@pytest.mark.slow
def test_processes_tell_what_calls_cost():
    """Ten times the work, by the processor's time."""
    (few, _), (many, _) = (costs(slow, size, repeats=3) for size in (1000, 10_000))
    assert len(few) == len(many) == 3
    assert 5 < np.median(many) / np.median(few) < 20
    once, _ = costs(slow, 10_000, repeats=3, enough=0.0)
    assert len(once) == 1


@pytest.mark.parametrize("law", LAWS, ids=" ".join)
def test_tasks_are_of_their_size(law, tmp_path, monkeypatch):
    """Reading gives all jets, a stream's last few aside; the others run."""
    size = LAWS[law].sizes[0]
    done = prepared(*law, size, tmp_path)()
    if law == ("reading", "jets"):
        assert 0.9 * size < done <= size
    if law[0] == "probing":
        assert done.meta["n_inputs"] == (size if law[1] == "jets" else 1 if law[1] == "l_max" else 2)


@pytest.mark.slow
def test_the_benchmark(tmp_path, capsys):
    out = tmp_path / "scaling.json"
    assert main(["scaling", "--quick", "true", "--tasks", "[reading]", "--out", str(out)]) == 0
    assert "reading of 100 million jets" in capsys.readouterr().out
    found = Scaling.load(out)
    assert [(law.task, law.axis, law.sizes) for law in found.laws] == [
        (task, axis, LAWS[task, axis].sizes[:3]) for task, axis in LAWS if task == "reading"
    ]
    assert main(["scaling", "--tasks", "[read]"]) == 1
    assert "the nearest are 'reading'" in capsys.readouterr().err
    content = json.loads(out.read_text())
    content["laws"][0]["axis"] = "moons"
    with pytest.raises(DataError, match="a law of reading by moons"):
        Scaling.from_dict(content)
