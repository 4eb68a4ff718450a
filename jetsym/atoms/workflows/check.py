"""``jetsym.atoms.check``: whether a potential is equivariant, and its forces and stress are slopes of its energy.

Rotations and inversion are measured by :func:`jetsym.probe`; all else by moving structures and by differences.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jetsym.arguments import anything, at_least, checked
from jetsym.atoms.calculated import UNITS, Calculated, is_calculator
from jetsym.atoms.read import frames_of
from jetsym.atoms.workflows.calculators import calculator, calculator_of_model
from jetsym.atoms.workflows.check_hints import hints_of
from jetsym.atoms.workflows.check_report import Check, Row
from jetsym.atoms.workflows.check_tests import CHECKED, EACH, LEAST, TESTS, Trial
from jetsym.errors import ConfigError, expect_at_least, is_positive, refuse_unknown, shorten
from jetsym.probing.measure.combination import rooted
from jetsym.probing.probe import probe
from jetsym.probing.reports.equivariance import KNOWN_TO
from jetsym.probing.reports.spectrum import SymmetryReport
from jetsym.progress import progress_bar
from jetsym.text import options_said

__all__ = ["check"]

#: Calls of all structures together with the rotations, and those of a probe beside its rotations.
CALLS, BESIDE = 1000, 200
#: Part of A that is nothing beside the rest of it.
NOTHING = 1e-4


@checked(l_max=at_least(0), n_rotations=at_least(1), limit=at_least(1), at_most=anything, seed=at_least(0))
def check(
    model: Any,
    frames: Any,
    *,
    l_max: int = 4,
    n_rotations: int | None = None,
    limit: int = 8,
    at_most: Mapping[str, float] | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Check:
    """Check a potential: its symmetries, and whether forces and stress are the slopes of its energy.

    Parameters
    ----------
    model
        An ASE calculator, a model of :func:`jetsym.atoms.load`, or what :func:`jetsym.atoms.calculator` takes by name.
    frames
        ``ase.Atoms``, a list of them, or files of structures: crystals, molecules, or both.
    l_max
        Largest λ of the error's irreps.
    n_rotations
        Random rotations of every structure; by default a rule of quadrature, or so few that all calls stay within
        1,000.
    limit
        At most so many structures, the first ones.
    at_most
        Faults to allow, by output in its unit, such as {"energy": 0.1, "forces": 5.0} in meV/atom and meV/Å.
    seed
        Of all that is random.
    progress
        Announce the number of calls, and show a progress bar, on the standard error stream.

    Returns
    -------
    Check
        With ``rows``, ``faults``, ``hints``, ``meta``; it prints as a table, and is saved as JSON.

    Raises
    ------
    JetsymError
        What is no calculator, has no energy, or cannot be evaluated; too many structures for 1,000 calls.

    Notes
    -----
    Slopes are D = (8 (E₁ − E₋₁) − (E₂ − E₋₂)) / 12h at steps h for the energy's own rounding ε, h = (ε / E⁽⁵⁾)^(1/5);
    their errors are 1.5 ε/h and half of the correction to the second order.

    Examples
    --------
    >>> import pytest
    >>> ase = pytest.importorskip("ase")
    >>> from ase.build import bulk
    >>> from ase.calculators.lj import LennardJones
    >>> crystal = bulk("Ar") * (2, 1, 1)
    >>> crystal.rattle(0.1)
    >>> found = check(LennardJones(sigma=3.4), crystal, l_max=1, n_rotations=4, progress=False)
    >>> found.verdict()
    'LennardJones: no fault in 38 tests on 1 structure.'
    """
    expect_at_least("limit", limit, 1)
    expect_at_least("l_max", l_max, 0)
    if not isinstance(at_most, Mapping | None):
        raise ConfigError(f"at_most is {shorten(at_most)}; expected a dictionary, such as {{'energy': 0.1}}")
    for name, value in (at_most or {}).items():
        refuse_unknown("at_most", name, CHECKED)
        if not is_positive(value) and value != 0:
            raise ConfigError(f"at_most[{name!r}] is {value!r}; expected a number ≥ 0, in {UNITS[name]}")
    structures = frames_of(frames, limit=limit + 1)
    there_are_more, structures = len(structures) > limit, structures[:limit]
    tested = Calculated(_calculator(model), structures, per_component=True)
    if "energy" not in tested.kinds:
        raise ConfigError(f"{tested.name} gives {', '.join(tested.kinds)} and no energy, which the check is about")
    beside = [name for name in tested.kinds if name not in CHECKED]
    tested.kinds = {name: kind for name, kind in tested.kinds.items() if name in CHECKED}
    batch = tested.structures(structures)
    n = _rotations(len(batch), l_max, n_rotations)
    if progress:
        print(f"{tested.name}: some {EACH * len(batch):,} calls beside those of the rotations", file=sys.stderr)
    report = probe(tested, batch, l_max=l_max, n_rotations=n, layers=[], seed=seed, progress=progress)
    assert isinstance(report, SymmetryReport)
    trial = Trial(tested, batch.atoms, np.random.default_rng(seed))
    rows = list(_rotated(report, trial))
    with progress_bar("checking", len(TESTS), shown=progress) as advance:
        for test in TESTS:
            rows += test(trial)
            advance(1)
    rows = [_with_allowance(_beside_nothing(row, trial), at_most or {}) for row in rows]
    left_out = [name for name in CHECKED if name not in tested.kinds]
    meta = {
        "model": tested.name,
        "n_inputs": len(batch),
        "formulas": [one.get_chemical_formula() for one in batch.atoms],
        "calls": tested.calls,
        "n_rotations": report.meta["n_rotations"],
        "method": report.meta["method"],
        "seed": seed,
        "notes": [
            *report.meta["notes"],
            *([f"Not given, and not checked: {', '.join(left_out)}."] if left_out else []),
            *([f"Given, and not checked: {', '.join(beside)}; jetsym.probe measures these."] if beside else []),
            *([f"The first {limit} structures alone were checked: limit."] if there_are_more else []),
        ],
    }
    return Check(rows, hints_of(report, rows), meta)


def _calculator(model: Any) -> Any:
    if is_calculator(model):
        return model
    if isinstance(model, (str, Path)):
        return calculator(model)
    return calculator_of_model(model)


def _rotations(size: int, l_max: int, n_rotations: int | None) -> int | None:
    """Return how many random rotations there are; None where a rule does within the calls."""
    if n_rotations is not None:
        return n_rotations
    left = CALLS - BESIDE - size * (1 + EACH)
    if 2 * size * (4.3 * (2 * l_max + 1) ** 2 + 8) <= left and l_max > 1:  # as many as any rule of that degree takes
        return None
    if left < 6 * size:
        raise ConfigError(
            f"{size} structures take more than {CALLS:,} calls; expected limit of at most "
            f"{(CALLS - BESIDE) // (EACH + 7)}, or n_rotations to say that so many are meant"
        )
    return left // (2 * size)


def _rotated(report: SymmetryReport, trial: Trial) -> Iterator[Row]:
    """Yield A under O(3), and its parts: under SO(3), and of parity."""
    for name, item in report.equivariance.items():
        floor = trial.pooled(name) if name == "energy" else max(np.nan_to_num(item.rounding), LEAST[name])
        power = (item.rounding / item.noise_floor) ** 2 if item.noise_floor else 0.0
        odd = item.error_spectrum.get("(0,−)", 0.0) * power
        turned = item.absolute * abs(item.absolute) - odd
        least, total = KNOWN_TO * floor, item.absolute**2
        nothing = max(least**2, NOTHING**2 * total)
        # Of n random rotations a share of an irrep that has none is 0 ± √2/n.
        one = 0.0 if report.meta["method"] == "quadrature" else np.sqrt(2) / report.meta["n_rotations"] * total
        chance, odd_error = 4 * one, max(item.error_spectrum_stderr.get("(0,−)", 0.0) * power, one)
        turned_error = np.hypot(2 * item.absolute * item.absolute_stderr, odd_error)
        # What no rotation changes is odd alone, and then by the same for all: nothing is left to chance.
        turns, mirrors = turned > nothing, odd > max(nothing, chance)
        said = {f"rotations change {name}": turns, f"parity of {name} is broken": mirrors}
        words = [word for word, is_so in said.items() if is_so]
        if not words and item.absolute > least:
            words = [f"rotations or inversion change {name}"]
        unit, (turning, mirroring) = UNITS[name], said
        yield Row("A under O(3)", name, item.absolute, item.absolute_stderr, least, unit, " and ".join(words))
        for test, what, square, error, is_so, explained in (
            ("A under SO(3)", turning, turned, turned_error, turns, nothing),
            ("A of parity", mirroring, odd, odd_error, mirrors, max(nothing, chance)),
        ):
            is_told, doubt = is_so or abs(square) <= nothing, ""
            if not is_told:
                doubt = f"whether {what}: {_not_told(report, square / total, error / total)}"
            error = np.nan if abs(square) <= nothing else error  # which is that of what it is the rest of
            root = rooted(np.asarray(square), np.asarray(error))
            yield Row(test, name, *root, float(np.sqrt(explained)), unit, what if is_so else "", doubt=doubt)


def _not_told(report: SymmetryReport, part: float, error: float) -> str:
    """Say that random rotations do not tell a part of A² from none, and how many may, where it exceeds its error."""
    n = report.meta["n_rotations"]
    if report.meta["method"] == "quadrature":
        return f"{n} rotations by a rule do not tell, raise l_max"
    enough = int(4 * np.sqrt(2) / abs(part)) + 1
    if not part > error or enough <= n:
        return f"{n} random rotations do not tell, give more by n_rotations"
    return f"{n} random rotations do not tell, {options_said({'n_rotations': enough})} may"


def _beside_nothing(row: Row, trial: Trial) -> Row:
    """Leave open what is said of an output that is zero in all structures, as forces are in perfect crystals."""
    if row.test != "A under O(3)" or row.fault:
        return row
    sizes = [np.abs(here[row.output]).max() for here in trial.here if row.output in here]
    if max(sizes, default=0.0) > LEAST[row.output]:
        return row
    return replace(row, doubt=f"the law of {row.output}, which is zero in all structures: shake them")


def _with_allowance(row: Row, at_most: Mapping[str, float]) -> Row:
    allowed = row.unit == UNITS[row.output] and row.output in at_most and abs(row.value) <= at_most[row.output]
    return replace(row, allowed=allowed)
