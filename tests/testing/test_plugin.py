"""The pytest plugin, in processes of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import jetsym
from jetsym.testing import Assertions

TESTS = """
import numpy as np, pytest
from jetsym.testing import UnresolvedError, assert_equivariant as alone

POINTS = np.random.default_rng(0).normal(size=(4, 3, 3))

@pytest.fixture
def checked(assert_equivariant):
    return assert_equivariant(lambda x: x.sum(1), POINTS, {"sum": "vector"}, l_max=2)

def test_good(checked, assert_equivariant):
    assert checked.equivariance["sum"].is_within_rounding

def test_bad():
    alone(lambda x: x.sum(1) + [0, 0, 1], POINTS, {"sum": "vector"}, l_max=2)

def test_open(assert_equivariant):
    assert_equivariant(lambda x: 0 * x.sum(1), POINTS, {"sum": "vector"}, l_max=2, unresolved="skip")

def test_unresolved():
    alone(lambda x: 0 * x.sum(1), POINTS, {"sum": "vector"}, l_max=2)
"""


def run(folder: Path, *options: str, code: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": str(Path(jetsym.__file__).parents[1]),
    }
    command = ["-c", code] if code else ["-m", "pytest", "-q", "-p", "jetsym.testing.plugin", *options]
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("project")
    (place / "test_them.py").write_text(TESTS)
    return place


@pytest.mark.parametrize("processes", [(), pytest.param(("-p", "xdist", "-n", "2"), marks=pytest.mark.slow)])
def test_a_run_of_tests_writes_what_was_measured(folder, processes):
    if processes:
        pytest.importorskip("xdist")
    done = run(folder, "--jetsym-report", "report.json", *processes)
    assert "2 failed, 1 passed, 1 skipped" in done.stdout
    assert "AssertionError: sum is not equivariant as vector under O3" in done.stdout
    assert "4 assertions of equivariance measured" in done.stdout
    found = {one.test.partition("::")[2]: one for one in Assertions.load(folder / "report.json").assertions}
    assert {name: one.ended for name, one in found.items()} == {
        "test_good": "held",
        "test_bad": "broken",
        "test_open": "unresolved",
        "test_unresolved": "unresolved",
    }
    bad = found["test_bad"].report("O3").equivariance["sum"]
    assert max(bad.error_spectrum, key=bad.error_spectrum.get) == "(1,+)"
    assert "test_bad" in str(Assertions.load(folder / "report.json"))


def test_a_place_that_cannot_be_written_to_is_refused_first(folder):
    done = run(folder, "--jetsym-report", "test_them.py/report.json")
    assert done.returncode == 4
    assert "--jetsym-report" in done.stderr
    assert "test_them.py" in done.stderr


def test_the_plugin_imports_no_torch_when_pytest_starts(tmp_path):
    (tmp_path / "test_nothing.py").write_text(
        "import sys\ndef test_nothing(assert_equivariant_not_used=None):\n"
        "    assert 'jetsym.testing.plugin' in sys.modules\n"
        "    assert not {'torch', 'scipy', 'jetsym.probing.probe'} & set(sys.modules)\n"
    )
    done = run(tmp_path, "--jetsym-report", "report.json")
    assert "1 passed" in done.stdout, done.stdout
    assert Assertions.load(tmp_path / "report.json").assertions == ()


def test_it_is_an_entry_point_of_pytest():
    table = Path(jetsym.__file__).parents[1] / "pyproject.toml"
    points = tomllib.loads(table.read_text())["project"]["entry-points"]["pytest11"]
    assert points == {"jetsym": "jetsym.testing.plugin"}
