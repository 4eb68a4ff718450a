"""``jetsym.atoms.check``: whether a potential is equivariant, and its forces and stress are slopes of its energy.

Rotations and inversion are measured by :func:`jetsym.probe`; all else by moving structures and by differences.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jetsym.atoms.calculated import GPA, UNITS, Calculated, is_calculator
from jetsym.atoms.frames import Frames, is_crystal, is_left_handed, moved_frame
from jetsym.atoms.read import frames_of
from jetsym.atoms.workflows.calculators import calculator, calculator_of_model
from jetsym.atoms.workflows.check_report import Check, Row
from jetsym.atoms.workflows.slopes import ARM, slope, torque
from jetsym.errors import ConfigError, expect_at_least, is_positive, refuse_unknown, shorten
from jetsym.probing.probe import probe
from jetsym.probing.reports.equivariance import KNOWN_TO, Equivariance
from jetsym.probing.reports.spectrum import SymmetryReport
from jetsym.progress import progress_bar

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["check"]

Array = NDArray[np.float64]

#: Outputs that are checked.
CHECKED = ("energy", "forces", "stress")
#: Evaluations of one structure beside the rotations, and those of all structures together with the rotations.
EACH, CALLS, BESIDE = 58, 1000, 200
#: Rounding of two evaluations may differ by so many floors, as structures elsewhere in space are rounded otherwise.
ELSEWHERE = 10.0
#: What is rounding at least, in :data:`~jetsym.atoms.calculated.UNITS`.
LEAST = {"energy": 1e-9, "forces": 1e-8, "stress": 1e-9}
#: Rounding that no 32-bit numbers make, in the same units.
COARSE = {"energy": 1.0, "forces": 0.1, "stress": 0.01}
#: Up to so many times what steps explain a difference may be theirs: their error is an estimate, and so is rounding.
DOUBTFUL = 2.0
#: Part of A that is nothing beside the rest of it.
NOTHING = 1e-4
#: Relative A of forces between which constants or products of some numbers explain it.
SIZES = {"16-bit numbers or TF32": (2e-5, 4e-3), "32-bit numbers": (5e-9, 1e-6)}
DIRECTIONS, STRAINS, PAIRS, MOVES = 2, 3, 2, 2
#: Irrep of the error of a scalar or, block by block, of what turns -> what it hints at.
HINTS = {
    "(0,−)": "the error is odd under inversion for every orientation: a model of SO(3), as of e3nn without parity",
    "(1,+)": "one direction in space is preferred, as by a field along an axis",
    "(2,+)": "an axis in space is preferred, whatever its sense",
    "(4,+)": "the lab's three axes are preferred, as by displacements, grids or components taken one by one",
}


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
    'LennardJones: no fault in 29 tests on 1 structure.'
    """
    expect_at_least("limit", limit, 1)
    expect_at_least("l_max", l_max, 0)
    if not isinstance(at_most, Mapping | None):
        raise ConfigError(f"at_most is {shorten(at_most)}; expected a dictionary, such as {{'energy': 0.1}}")
    for name, value in (at_most or {}).items():
        refuse_unknown("at_most", name, CHECKED)
        if not is_positive(value) and value != 0:
            raise ConfigError(f"at_most[{name!r}] is {value!r}; expected a number ≥ 0, in {UNITS[name]}")
    structures = frames_of(frames, limit=limit)
    tested = Calculated(_calculator(model), structures, per_component=True)
    if "energy" not in tested.kinds:
        raise ConfigError(f"{tested.name} gives {', '.join(tested.kinds)} and no energy, which the check is about")
    tested.kinds = {name: kind for name, kind in tested.kinds.items() if name in CHECKED}
    batch = tested.structures(structures)
    n = _rotations(len(batch), l_max, n_rotations)
    if progress:
        print(f"{tested.name}: some {EACH * len(batch):,} calls beside those of the rotations", file=sys.stderr)
    report = probe(tested, batch, l_max=l_max, n_rotations=n, layers=[], seed=seed, progress=progress)
    assert isinstance(report, SymmetryReport)
    trial = _Trial(tested, batch, report.equivariance, np.random.default_rng(seed))
    rows = [*_rotated(report), *_precision(trial)]
    tests = [_moved, _net, _turned, _slopes, _jacobian]
    with progress_bar("checking", len(tests), shown=progress) as advance:
        for test in tests:
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
        ],
    }
    return Check(rows, _hints(report, rows), meta)


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
            f"{size} structures take more than {CALLS:,} calls; expected limit of at most 12, or n_rotations to say "
            "that so many are meant"
        )
    return left // (2 * size)


class _Trial:
    """The calculator, its structures as they are, what it says of them, and its rounding."""

    def __init__(
        self, tested: Calculated, batch: Frames, found: Mapping[str, Equivariance], rng: np.random.Generator
    ) -> None:
        self.tested, self.frames, self.rng = tested, batch.atoms, rng
        self.names = list(tested.kinds)
        self.floors = {name: max(np.nan_to_num(found[name].rounding), LEAST[name]) for name in self.names}
        self.here = [tested.evaluate(one) for one in self.frames]

    def noise(self, atoms: Atoms) -> float:
        """Return the rounding of the whole energy, eV."""
        return float(self.floors["energy"]) * len(atoms) / 1e3


def _row(
    test: str,
    output: str,
    values: Sequence[Any],
    *,
    explained: float,
    fault: str,
    unit: str | None = None,
    by_steps: bool = False,
) -> Row:
    """Make a row of what should be zero, known by differences at some steps or without."""
    means = np.array([np.mean(np.square(value)) for value in values])
    value = float(np.sqrt(means.mean()))
    error = float(means.std(ddof=1) / np.sqrt(len(means)) / (2 * value)) if len(means) > 1 and value else np.nan
    row = Row(test, output, value, error, explained, unit or UNITS[output])
    if value <= explained:
        return row
    if by_steps and value <= DOUBTFUL * explained:
        return replace(row, doubt=f"whether {fault}: it is hardly more than steps and rounding make")
    return replace(row, fault=fault)


def _rotated(report: SymmetryReport) -> Iterator[Row]:
    """Yield A under O(3), and its parts: under SO(3), and of parity."""
    for name, item in report.equivariance.items():
        floor = max(np.nan_to_num(item.rounding), LEAST[name])
        power = (item.rounding / item.noise_floor) ** 2 if item.noise_floor else 0.0
        odd = item.error_spectrum.get("(0,−)", 0.0) * power
        odd_error = item.error_spectrum_stderr.get("(0,−)", 0.0) * power
        turned = item.absolute * abs(item.absolute) - odd
        least, total = KNOWN_TO * floor, item.absolute**2
        nothing = max(least**2, NOTHING**2 * total)
        # Of n random rotations a share of an irrep that has none is 0 ± √2/n.
        chance = 0.0 if report.meta["method"] == "quadrature" else 4 * np.sqrt(2) / report.meta["n_rotations"] * total
        turns, mirrors = turned > nothing, odd > max(nothing, chance)
        said = {f"rotations change {name}": turns, f"parity of {name} is broken": mirrors}
        words = [word for word, is_so in said.items() if is_so]
        if not words and item.absolute > least:
            words = [f"rotations or inversion change {name}"]
        unit, root = UNITS[name], float(np.sign(turned) * np.sqrt(abs(turned)))
        yield Row("A under O(3)", name, item.absolute, item.absolute_stderr, least, unit, " and ".join(words))
        explained = float(np.sqrt(nothing))
        yield Row("A under SO(3)", name, root, item.absolute_stderr, explained, unit, words[0] if turns else "")
        root, explained = float(np.sign(odd) * np.sqrt(abs(odd))), float(np.sqrt(max(nothing, chance)))
        error = odd_error / (2 * abs(root)) if root else np.nan
        doubt = ""
        if not mirrors and odd > nothing:
            n = report.meta["n_rotations"]
            doubt = f"whether parity of {name} is broken: {n} random rotations do not tell, give n_rotations"
        fault = words[-1] if mirrors else ""
        yield Row("A of parity", name, root, error, explained, unit, fault, doubt=doubt)


def _precision(trial: _Trial) -> Iterator[Row]:
    """Yield the rounding of every output, which is that of some numbers inside."""
    for name, floor in trial.floors.items():
        fault = f"{name} is rounded as by 16-bit numbers" if floor > COARSE[name] else ""
        yield Row("rounding", name, floor, np.nan, COARSE[name], UNITS[name], fault)


def _moved(trial: _Trial) -> list[Row]:
    """Compare structures shifted, with their atoms in another order, inverted, and in a left-handed cell."""
    found: dict[tuple[str, str], list[Array]] = {}
    flipped: list[bool] = []
    for one, here in zip(trial.frames, trial.here, strict=True):

        def compare(test: str, moved: Atoms, back: Callable[[Array], Array], sign: float, here: Any = here) -> None:
            there = trial.tested.evaluate(moved)
            for name in here:
                turned = back(there[name]) * sign if name == "forces" else there[name]
                found.setdefault((test, name), []).append(turned - here[name])
            if test == LEFT and "stress" in here and np.abs(here["stress"]).max() > trial.floors["stress"]:
                flipped.append(bool(np.allclose(there["stress"], -here["stress"], rtol=1e-2)))

        for _ in range(MOVES):
            moved = one.copy()
            moved.positions += trial.rng.normal(size=3) * 2
            compare("translation", moved, lambda forces: forces, 1.0)
            order = trial.rng.permutation(len(one))
            places = np.argsort(order)
            compare("permutation", one[order], lambda forces, places=places: forces[places], 1.0)  # type: ignore[misc]
        compare("inversion", moved_frame(one, -np.eye(3)), lambda forces: forces, -1.0)
        if is_crystal(one):
            swapped = one.copy()
            swapped.set_cell(one.cell.array[[1, 0, 2]])
            swapped.set_pbc(one.pbc[[1, 0, 2]])
            compare(RIGHT if is_left_handed(one) else LEFT, swapped, lambda forces: forces, 1.0)
    rows = []
    for (test, name), values in found.items():
        words = (
            f"{name} changes sign in a left-handed cell" if test == LEFT and name == "stress" and all(flipped) else ""
        )
        fault = words or f"{name} changes {PHRASES[test]}"
        rows.append(_row(test, name, values, explained=ELSEWHERE * trial.floors[name], fault=fault))
    return rows


LEFT, RIGHT = "left-handed cell", "right-handed cell"
PHRASES = {
    "translation": "with translation",
    "permutation": "with the order of the atoms",
    "inversion": "under inversion",
    LEFT: "in a left-handed cell of the same lattice",
    RIGHT: "in a right-handed cell of the same lattice",
}


def _net(trial: _Trial) -> list[Row]:
    """Sum the forces of every structure."""
    if "forces" not in trial.names:
        return []
    values = [here["forces"].mean(axis=0) for here in trial.here]
    return [_row("net force", "forces", values, explained=ELSEWHERE * trial.floors["forces"], fault="a net force")]


def _turned(trial: _Trial) -> list[Row]:
    """Turn structures as a whole, and sum the torques of the forces on molecules."""
    found = [torque(trial.tested.total_energy, one, trial.noise(one)) for one in trial.frames]
    explained = KNOWN_TO * float(np.sqrt(np.mean([error**2 for _, error in found])))
    values = [value for value, _ in found]
    rows = [
        _row("torque −∂E/∂θ", "energy", values, explained=explained, fault="a torque on the structure", by_steps=True)
    ]
    summed, arms = [], []
    for one, here in zip(trial.frames, trial.here, strict=True):
        if "forces" in here and not one.pbc.any() and len(one) > 1:
            r = one.positions - one.positions.mean(axis=0)
            summed.append(np.cross(r, here["forces"]).mean(axis=0))
            arms.append(float(np.sqrt((r**2).mean())))
    if summed:
        explained = ELSEWHERE * trial.floors["forces"] * max(arms)
        fault = "forces on a molecule have a torque"
        rows.append(_row("torque Σ r × F", "forces", summed, explained=explained, fault=fault, unit="meV/atom"))
    return rows


def _slopes(trial: _Trial) -> list[Row]:
    """Compare forces and stress with differences of the energy."""
    rows = []
    found: dict[str, list[tuple[float, float, float]]] = {"forces": [], "stress": []}
    for one, here in zip(trial.frames, trial.here, strict=True):
        for _ in range(DIRECTIONS * ("forces" in here)):
            along = trial.rng.normal(size=(len(one), 3))

            def moved(step: float, one: Atoms = one, along: Array = along) -> Array:
                there = one.copy()
                there.positions += step * along
                return np.array([trial.tested.total_energy(there)])

            value, error = slope(moved, trial.noise(one))
            size = np.sqrt(along.size) / 1e3
            expected = -float((here["forces"] * along).sum()) / 1e3
            found["forces"].append((value[0] / size, expected / size, error / size))
        for _ in range(STRAINS * ("stress" in here)):
            drawn = trial.rng.normal(size=(3, 3))
            along = 3 * (drawn + drawn.T) / np.linalg.norm(drawn + drawn.T)

            def strained(step: float, one: Atoms = one, along: Array = along) -> Array:
                there = one.copy()
                there.set_cell(one.cell.array @ (np.eye(3) + step * along), scale_atoms=True)
                return np.array([trial.tested.total_energy(there)])

            value, error = slope(strained, trial.noise(one), arm=ARM)
            size = 3 * abs(one.get_volume()) / GPA
            expected = float((here["stress"][0] * along).sum()) / 3
            found["stress"].append((value[0] / size, expected, error / size))
    for name, against in (("forces", "−dE/dx"), ("stress", "dE/dε")):
        if not found[name]:
            continue
        slopes, given, errors = np.array(found[name]).T
        explained = KNOWN_TO * float(np.sqrt(np.mean(errors**2))) + ELSEWHERE * trial.floors[name]
        fault = f"{name} {_relation(slopes, given, name)} {against}"
        differences = list(slopes - given)
        rows.append(_row(f"against {against}", name, differences, explained=explained, fault=fault, by_steps=True))
    return rows


def _relation(slopes: Array, given: Array, name: str) -> str:
    """Say how given values go with slopes: of the other sign, by a factor, or not."""
    factor = float((given * slopes).sum() / (slopes**2).sum()) if slopes.any() else 0.0
    are = "are" if name == "forces" else "is"
    if np.abs(given - factor * slopes).max() > 1e-2 * np.abs(slopes).max() or factor == 0:
        return f"{are} not"
    return f"{are} of the wrong sign against" if abs(factor + 1) < 1e-2 else f"{are} {factor:.4g} times"


def _jacobian(trial: _Trial) -> list[Row]:
    """Measure the asymmetry of ∂F/∂x, relative to its size: ‖J − Jᵀ‖ / 2‖J‖."""
    if "forces" not in trial.names:
        return []
    noise, odd, size, errors = trial.floors["forces"] / 1e3, [], [], []
    for one in trial.frames:
        if len(one) == 1:
            continue
        for _ in range(PAIRS):
            pair = [drawn / np.linalg.norm(drawn) for drawn in trial.rng.normal(size=(2, 3 * len(one)))]
            slopes = []
            for along in pair:

                def forces(step: float, one: Atoms = one, along: Array = along) -> Array:
                    there = one.copy()
                    there.positions += step * along.reshape(-1, 3)
                    return trial.tested.evaluate(there, ["forces"])["forces"].ravel() / 1e3

                value, error = slope(forces, noise)
                slopes.append(value)
                errors.append(np.sqrt(3 * len(one)) * error)
            odd.append(np.sqrt(3 * len(one)) * (pair[0] @ slopes[1] - pair[1] @ slopes[0]))
            size += [float((value**2).sum()) for value in slopes]
    scale = 2 * np.sqrt(np.mean(size)) if size else 0.0
    if not scale:
        return []
    values = [np.array([value / scale]) for value in odd]
    explained = KNOWN_TO * float(np.sqrt(2 * np.mean(np.square(errors)))) / scale
    fault = "forces are not conservative: their Jacobian is not symmetric"
    return [
        _row(
            "Jacobian of forces", "forces", values, explained=explained, fault=fault, unit="of its size", by_steps=True
        )
    ]


def _beside_nothing(row: Row, trial: _Trial) -> Row:
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


def _hints(report: SymmetryReport, rows: Sequence[Row]) -> list[str]:
    """Say in which irrep the errors sit, and what it hints at."""
    hints = []
    wrong = {row.output for row in rows if row.test == "A under O(3)" and row.fault}
    for name, item in report.equivariance.items():
        if name not in wrong or (irrep := item.largest_irrep) is None:
            continue
        total = sum(item.error_spectrum.values()) + item.error_tail
        share = 100 * item.error_spectrum[irrep] / total if total else np.nan
        word = HINTS.get(irrep)
        hints.append(f"{share:.0f} % of A² of {name} is in {irrep}{': ' + word if word else ''}.")
        for numbers, (least, most) in SIZES.items():
            if name == "forces" and least < item.relative < most:
                hints.append(
                    f"Relative A of forces, {item.relative:.1g}, is of the size of rounding in {numbers}: look for a "
                    "buffer, a constant or a product in these."
                )
    return hints
