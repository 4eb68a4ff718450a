"""What the package says of itself: its requirements, its versions, its citation."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import torch
import versions
import yaml

import jetsym

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_every_requirement_has_a_lowest_version():
    pins = dict(line.split("==") for line in versions.lowest())
    assert {one.name for one in versions.requirements()} == set(pins)
    assert pins["torch"] == torch.__version__  # which is not put in the place of the one that is here
    for one in versions.requirements():
        assert one.specifier.contains(pins[one.name]), one


def test_the_extras_of_the_legs_are_there():
    assert set(versions.EXTRAS) <= set(PROJECT["optional-dependencies"])
    assert all((ROOT / place).exists() for place in versions.TESTS)
    assert set(versions.ROOMS) >= {name for name in dir(jetsym) if name in ("jets", "plotting", "spectrum", "training")}


def test_a_wheel_that_is_too_large_is_refused(tmp_path, monkeypatch):
    def build(words, **_):
        place = Path(words[words.index("--wheel-dir") + 1])
        place.mkdir(parents=True)
        (place / "jetsym.whl").write_bytes(bytes(11))

    monkeypatch.setattr(versions.subprocess, "run", build)
    monkeypatch.setattr(versions, "LARGEST", 11)
    assert versions.wheel(tmp_path, "python").name == "jetsym.whl"
    monkeypatch.setattr(versions, "LARGEST", 10)
    with pytest.raises(ValueError, match="expected at most"):
        versions.wheel(tmp_path, "python")


def test_what_is_said_of_python_and_of_the_licence_agrees():
    named = [one.rpartition(" ")[2] for one in PROJECT["classifiers"] if "Python :: 3." in one]
    assert PROJECT["requires-python"] == f">={named[0]}"
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == jetsym.__version__
    assert citation["license"] == PROJECT["license"]
    papers = {one["value"].removeprefix("arXiv:") for item in citation["references"] for one in item["identifiers"]}
    assert papers == {address.rpartition("/")[2] for address in PROJECT["urls"].values()}
