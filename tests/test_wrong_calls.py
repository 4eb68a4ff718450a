"""Every public function refuses wrong arguments, or answers right: calls made of its signature, and of a right one."""

from __future__ import annotations

import inspect
import math
from importlib import import_module
from importlib.util import find_spec
from pkgutil import resolve_name

import numpy as np
import pytest
from matplotlib import pyplot

from jetsym.arguments import at_least, checked
from jetsym.benchmarks.calls.right import CALLS, NOT_RUN, arguments_of
from jetsym.benchmarks.calls.world import World
from jetsym.benchmarks.calls.wrong import Trial, call, gaps, trials, try_out
from jetsym.errors import DataError

ROOMS = ("", ".jets", ".jets.io", ".jets.models", ".atoms", ".spectrum", ".plotting", ".remedies", ".training")
ROOMS += (".testing", ".repair")

#: Public names that nobody calls: protocols, types, base classes of what users write, and tests.
NOT_CALLED = {"jetsym.Layered", "jetsym.spectrum.Group", "jetsym.jets.models.Tagger", "jetsym.probing.probe"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"))


def needs(name):
    """Skip what stands on an extra that is not installed."""
    if ".atoms" in name and any(find_spec(package) is None for package in ("metatrain", "metatomic", "ase")):
        pytest.skip("the extra atoms is not installed")


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.filterwarnings("ignore")
def test_wrong_calls(name, world, tmp_path, monkeypatch):
    needs(name)
    monkeypatch.chdir(tmp_path)  # where a wrong path may be written to
    function, arguments = arguments_of(name, world)
    known = frozenset() if name in NOT_RUN else gaps(call(function, arguments))
    ends = []
    for trial in trials(name, function):
        ends.append(try_out(trial, *arguments_of(name, world), known))
        pyplot.close("all")
    bad = [f"{end.how}: {end.trial} -> {end.words}" for end in ends if end.how not in ("refused", "answered")]
    assert bad == [], f"{len(bad)} of {len(ends)}"


def test_every_public_name_is_called():
    public = {
        f"jetsym{room}.{name}"
        for room in ROOMS
        for name in import_module(f"jetsym{room}").__all__
        if callable(thing := getattr(import_module(f"jetsym{room}"), name))
        and not (isinstance(thing, type) and issubclass(thing, Exception))
    }
    assert public - NOT_CALLED - CALLS.keys() == set()


def test_how_many():
    """So many wrong calls that a door that is left open would be seen."""
    if find_spec("metatrain") is None:
        pytest.skip("the extra atoms is not installed")
    assert sum(1 for name in CALLS for _ in trials(name, resolve_name(name))) > 12_000


def loose(count: int, names: list[str] | None = None) -> float:
    """Take everything, and answer with a number that is none."""
    return math.nan if count == 0 else float(np.sqrt(count))


@checked(DataError, count=at_least(1))
def strict(count: int, names: list[str] | None = None) -> float:
    """Take what it says."""
    return float(np.sqrt(count))


def misnamed(count: int) -> float:
    raise DataError("something is wrong")


def hows(function):
    return {end.how for end in (try_out(trial, function, {"count": 1}) for trial in trials("f", function))}


@pytest.mark.filterwarnings("ignore")
def test_the_tester_sees_what_is_wrong():
    assert hows(loose) == {"accepted", "raw", "answered"}
    assert hows(strict) == {"refused", "answered"}
    assert hows(misnamed) == {"refused", "unnamed"}
    assert try_out(Trial("f", "count", 0, True), loose, {"count": 1}).how == "accepted"


def test_signatures_stay_as_they_are():
    assert list(inspect.signature(strict).parameters) == ["count", "names"]
    assert inspect.signature(strict).parameters["names"].annotation == "list[str] | None"
