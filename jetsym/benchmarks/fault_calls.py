"""Wrong calls of public functions, drawn from all those that are made of their signatures."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import chdir
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name

import numpy as np

from jetsym.benchmarks.calls.right import CALLS, NOT_RUN, arguments_of
from jetsym.benchmarks.calls.world import World
from jetsym.benchmarks.calls.wrong import Trial, call, gaps, trials as wrong_calls, try_out
from jetsym.benchmarks.fault_trials import in_process

__all__ = ["trials"]

#: What the tester says -> what becomes of the trial: a wrong value that is taken gives an answer to something else.
OUTCOMES = {"refused": "refused", "answered": "right", "accepted": "silent"}
#: Packages of the extra for atoms, without which nothing of it is called.
ATOMS = ("metatrain", "metatomic", "ase")


def trials(folder: Path, numbers: range, seed: int) -> Iterator[tuple[str, str]]:
    """Yield what becomes of wrong calls, drawn without replacement, and begun anew where there are no more."""
    left_out = any(find_spec(package) is None for package in ATOMS)
    names = [name for name in CALLS if not (left_out and ".atoms" in name)]
    every = [trial for name in names for trial in wrong_calls(name, resolve_name(name))]
    order = np.random.default_rng([seed, 4]).permutation(len(every))
    for number in numbers:
        trial = every[order[number % len(every)]]
        place = folder / f"{number}"
        place.mkdir(parents=True)
        ended = in_process(partial(_tried, trial, place), place)
        how, _, words = (ended.said or f"raw {ended.error}").partition(" ")
        yield OUTCOMES.get(how, "raw"), f"{trial}: {words}"
        shutil.rmtree(place)


def _tried(trial: Trial, place: Path) -> str:
    name, world = trial.function, World(place / "world")
    world.folder.mkdir()
    with chdir(place):  # where a wrong path may be written to
        known = frozenset() if name in NOT_RUN else gaps(call(*arguments_of(name, world)))
        end = try_out(trial, *arguments_of(name, world), known)
    return f"{end.how} {end.words}"
