"""A failure mode joins by one file that registers it, and is then looked for, printed, saved and repaired."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest

import jetsym
from jetsym.cli import main
from jetsym.errors import ConfigError
from jetsym.probing.diagnosis import MODES, Thresholds
from jetsym.probing.diagnosis.page import report_page
from jetsym.probing.diagnosis.thresholds import BOUNDS
from jetsym.probing.reports.diagnosis import Diagnosis

#: The one file of a mode from outside: an output that is constant, so that its symmetry says nothing.
CONSTANT = '''
from jetsym.probing.diagnosis import Bound, register
from jetsym.probing.reports.diagnosis import Evidence, Finding


@register(
    "constancy",
    why="An output that is the same for every input is invariant for no reason of symmetry.",
    remedy="Look at whether the network has learned anything.",
    remedies=("lower-rate",),
    thresholds={"constant": Bound(1e-6, "Spread of an output across inputs, as a part of its size.")},
)
def constancy(case):
    """Find outputs that are the same for all inputs."""
    for name, item in case.outputs.items():
        spread = item.relative / item.over_spread if item.over_spread else 0.0
        if not spread > case.bounds.constant:
            evidence = Evidence(f"spread of {name}", spread, float("nan"), case.bounds.constant)
            yield Finding("warning", name, f"{name} is constant.", [evidence])
'''


@pytest.fixture
def constancy(tmp_path):
    """Load the file as a package that joins would, and take its mode out again."""
    modes, bounds = dict(MODES), dict(BOUNDS)
    path = tmp_path / "constancy.py"
    path.write_text(CONSTANT)
    spec = importlib.util.spec_from_file_location("constancy", path)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    yield spec
    for table, before in ((MODES, modes), (BOUNDS, bounds)):
        table.clear()
        table.update(before)


@pytest.fixture
def constant():
    """A report on an output that is the same for all inputs."""
    points = np.random.default_rng(0).normal(size=(8, 3))
    return jetsym.probe(lambda x: np.ones(len(x)), points, outputs={"output": "scalar"}, l_max=2, progress=False)


def test_a_mode_joins_by_one_file(constancy, constant, tmp_path, capsys):
    found = jetsym.diagnose(constant)
    assert [item.name for item in found] == ["constancy"]
    text = " ".join(str(found).split())
    assert "constancy (warning), output" in text
    assert "Why: An output that is the same" in text
    assert "Try: Look at whether" in text
    assert jetsym.diagnose(constant, thresholds=Thresholds(constant=1e-9)).findings[0].evidence[0].bound == 1e-9
    page = report_page(constant, constant.plot())
    assert "constancy: output (warning)" in page
    assert "Look at whether the network has learned anything." in page
    path = constant.save(tmp_path / "report.json")
    assert main(["diagnose", str(path), "--out", str(tmp_path / "found.json")]) == 0
    assert "constancy" in capsys.readouterr().out
    stored = json.loads((tmp_path / "found.json").read_text())
    assert stored["findings"][0]["why"].startswith("An output that is the same")
    assert stored["modes"][-1] == "constancy"
    assert stored["meta"]["thresholds"]["constant"] == 1e-6


def test_its_remedy_is_offered(constancy, constant, tmp_path):
    from jetsym.repair import repair

    (tmp_path / "config.yaml").write_text("data: train/*.root")
    found = jetsym.diagnose(constant).save(tmp_path / "found.json")
    repaired = repair(tmp_path, finding="constancy", report=found)
    assert (repaired.remedy, repaired.config.lr) == ("lower-rate", 5e-4)


def test_what_it_found_is_read_without_it(constancy, constant):
    data = jetsym.diagnose(constant).to_dict()
    del MODES["constancy"]
    again = Diagnosis.from_dict(data)
    assert [item.name for item in again] == ["constancy"]
    assert "Try: Look at whether" in str(again)
    assert "constancy" not in jetsym.diagnose(constant).modes


def test_a_name_that_is_taken_is_refused(constancy):
    with pytest.raises(ConfigError, match="failure mode 'constancy' brings 'constancy', a name that is taken"):
        constancy.loader.exec_module(importlib.util.module_from_spec(constancy))
    from jetsym.probing.diagnosis import Bound, register

    with pytest.raises(ConfigError, match="failure mode 'new' brings 'sigma'"):
        register("new", why="", remedy="", thresholds={"sigma": Bound(1.0, "")})


def test_bounds_are_printed_with_their_meaning():
    assert "deviation = 0.05: Relative A of an output that counts" in str(Thresholds(deviation=0.05))
    assert set(vars(Thresholds())) == set(BOUNDS)
    with pytest.raises(ConfigError, match="the threshold sigma is 0.5; expected at least 1"):
        Thresholds(sigma=0.5)


def test_a_diagnosis_of_format_1_looked_for_the_first_modes(constant):
    data = jetsym.diagnose(constant).to_dict() | {"format": 1}
    del data["modes"]
    assert set(Diagnosis.from_dict(data).modes) == set(MODES) - {"hidden-by-rounding"}
