"""The tests of a potential that move structures, and compare forces and stress with differences of the energy.

Every structure is judged by itself, against its own rounding and its own steps: a stiff one among them excuses none of
the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from jetsym.atoms.calculated import ELSEWHERE, GPA, LEAST, UNITS, Calculated, repeats_to
from jetsym.atoms.frames import is_left_handed, moved_frame
from jetsym.atoms.workflows.check_report import Row
from jetsym.atoms.workflows.slopes import ARM, rms, slope, torque
from jetsym.probing.measure.rounding import MARGIN, POINTS, Differences
from jetsym.probing.reports.equivariance import KNOWN_TO
from jetsym.spectrum.responses import EPS

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["CHECKED", "EACH", "LEAST", "TESTS", "Trial"]

Array = NDArray[np.float64]

#: Outputs that are checked.
CHECKED = ("energy", "forces", "stress")
#: Evaluations of one structure beside the rotations.
EACH = 69
#: What is rounding at least, in units of the spacing of the numbers.
OF_SPACING = 0.3
#: Steps along which rounding is measured, Å.
STEP = 1e-3
#: Rounding that no 32-bit numbers make, in the same units, but for energies with large constants.
COARSE = {"energy": 1.0, "forces": 0.1, "stress": 0.01}
#: Up to so many times what steps explain a difference may be theirs: their error is an estimate, and so is rounding.
DOUBTFUL = 2.0
DIRECTIONS, STRAINS, PAIRS, MOVES, CELLS = 2, 3, 2, 2, 3


class Trial:
    """The calculator, its structures as they are, what it says of them, and its rounding for each.

    Parameters
    ----------
    tested, frames
        The calculator and the structures.
    rng
        For all that is random.
    """

    def __init__(self, tested: Calculated, frames: Sequence[Atoms], rng: np.random.Generator) -> None:
        self.tested, self.frames, self.rng = tested, frames, rng
        self.names = list(tested.kinds)
        self.here = [tested.evaluate(one) for one in frames]
        self.at_once = [tested.evaluate(one) for one in frames]
        self.floors = [self._floors(one, here) for one, here in zip(frames, self.here, strict=True)]

    def _floors(self, one: Atoms, here: Mapping[str, Array]) -> dict[str, float]:
        """Return the rounding of every output of a structure, along a displacement of its atoms.

        Along turns an energy may stay as it is to the last digit, however coarsely it is rounded.
        """
        along = self.rng.normal(size=one.positions.shape)
        rows = [here, *(self.tested.evaluate(_displaced(one, k * STEP * along)) for k in range(1, POINTS))]
        floors = {}
        for name, value in here.items():
            values = np.stack([row[name] for row in rows]).reshape(1, POINTS, 1, -1)
            differences, size = Differences.of(values, np.ones(1)), rms(value)
            moved = differences.size(EPS["float64"], at_least_two_agree=False) * rms(values)
            floors[name] = max(MARGIN * moved, OF_SPACING * self.tested.spacing(name) * size, LEAST[name])
        return floors

    def noise(self, place: int) -> float:
        """Return the rounding of the whole energy of a structure, eV."""
        return self.floors[place]["energy"] * len(self.frames[place]) / 1e3

    def pooled(self, name: str) -> float:
        """Return the rounding of an output over all structures."""
        return rms([floors[name] for floors in self.floors if name in floors])

    def row(
        self,
        test: str,
        output: str,
        values: Mapping[int, Sequence[Any]],
        *,
        explained: Mapping[int, float] | None = None,
        fault: str,
        unit: str | None = None,
        by_steps: bool = False,
    ) -> Row:
        """Make a row of what should be zero in every structure; the one is shown that is least explained.

        Parameters
        ----------
        test, output, fault, unit
            As in the row.
        values
            Structure -> arrays that should be zero.
        explained
            Structure -> what rounding and steps make of their root mean square; by default some of its rounding.
        by_steps
            Whether steps are part of it, of which a small factor is left open.
        """
        known = explained or {place: ELSEWHERE * self.floors[place][output] for place in values}
        means = {place: np.array([np.mean(np.square(value)) for value in own]) for place, own in values.items()}
        worst = max(means, key=lambda place: means[place].mean() / known[place] ** 2)
        draws = means[worst]
        value = float(np.sqrt(draws.mean()))
        error = float(draws.std(ddof=1) / np.sqrt(len(draws)) / (2 * value)) if len(draws) > 1 and value else np.nan
        structure = worst if len(self.frames) > 1 else None
        row = Row(test, output, value, error, known[worst], unit or UNITS[output], structure=structure)
        if value <= known[worst]:
            return row
        if by_steps and value <= DOUBTFUL * known[worst]:
            return replace(row, doubt=f"whether {fault}: it is hardly more than steps and rounding make")
        return replace(row, fault=fault)


def _displaced(one: Atoms, by: Array) -> Atoms:
    moved: Atoms = one.copy()
    moved.positions += by
    return moved


def _precision(trial: Trial) -> list[Row]:
    """Return the rounding of every output, which is that of some numbers inside."""
    rows = []
    for name in trial.names:
        places = [place for place, floors in enumerate(trial.floors) if name in floors]
        # Energies with the constants of their elements are large, and come in 32-bit numbers of that size.
        by_size = {place: KNOWN_TO * EPS["float32"] * rms(trial.here[place][name]) for place in places}
        known = {place: max(COARSE[name], by_size[place] if name == "energy" else 0.0) for place in places}
        are, jump = ("are", "jump") if name == "forces" else ("is", "jumps")
        fault = f"{name} {are} rounded as by 16-bit numbers, or {jump} as where pairs cross a cutoff"
        values = {place: [trial.floors[place][name]] for place in places}
        rows.append(trial.row("rounding", name, values, explained=known, fault=fault))
    return rows


def _moved(trial: Trial) -> list[Row]:
    """Compare structures rotated, shifted, in another order, by other images, inverted, and in a left-handed cell.

    Averages over rotations know nothing of the structure as it is given, which a network may take another way, such as
    for cells along x, y and z.
    """
    found: dict[tuple[str, str], dict[int, list[Array]]] = {}
    flipped: list[bool] = []
    for place, (one, here) in enumerate(zip(trial.frames, trial.here, strict=True)):
        for test, moved, by, order in _moves(one, trial.rng):
            there = trial.tested.evaluate(moved)
            for name in here:
                expected = here[name][order] @ by.T if name == "forces" else here[name]
                expected = by @ expected @ by.T if name == "stress" else expected
                found.setdefault((test, name), {}).setdefault(place, []).append(there[name] - expected)
            if test == LEFT and "stress" in here and np.abs(here["stress"]).max() > trial.floors[place]["stress"]:
                flipped.append(bool(np.allclose(there["stress"], -here["stress"], rtol=1e-2)))
    rows = []
    for (test, name), values in found.items():
        words = (
            f"{name} changes sign in a left-handed cell" if test == LEFT and name == "stress" and all(flipped) else ""
        )
        rows.append(trial.row(test, name, values, fault=words or f"{name} {_change(name)} {PHRASES[test]}"))
    return rows


def _moves(one: Atoms, rng: np.random.Generator) -> Iterator[tuple[str, Atoms, Array, Any]]:
    """Yield tests, the structure as each moves it, the matrix that vectors turn by, and the order of the atoms."""
    identity, as_they_are = np.eye(3), slice(None)
    rotation = Rotation.random(rng=rng).as_matrix()
    yield "rotation", moved_frame(one, rotation), rotation, as_they_are
    for _ in range(MOVES):
        yield "translation", _displaced(one, rng.normal(size=3) * 2), identity, as_they_are
        if len(one) > 1:
            yield "permutation", one[order := _another(len(one), rng)], identity, order
    if one.pbc.any():
        cells = rng.integers(-CELLS, CELLS + 1, size=one.positions.shape) * one.pbc
        yield "periodic images", _displaced(one, cells @ one.cell.array), identity, as_they_are
    yield "inversion", moved_frame(one, -identity), -identity, as_they_are
    if one.cell.rank == 3 and one.pbc.any():
        swapped = one.copy()
        swapped.set_cell(one.cell.array[[1, 0, 2]])
        swapped.set_pbc(one.pbc[[1, 0, 2]])
        yield RIGHT if is_left_handed(one) else LEFT, swapped, identity, as_they_are


def _another(n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw an order of two things or more that is not theirs."""
    order = rng.permutation(n)
    return np.roll(order, 1) if (order == np.arange(n)).all() else order


LEFT, RIGHT = "left-handed cell", "right-handed cell"
PHRASES = {
    "rotation": "with a rotation of the structure as it is given",
    "translation": "with translation",
    "permutation": "with the order of the atoms",
    "periodic images": "with the periodic image that an atom is given by",
    "inversion": "under inversion",
    LEFT: "in a left-handed cell of the same lattice",
    RIGHT: "in a right-handed cell of the same lattice",
}


def _change(name: str) -> str:
    return "change" if name == "forces" else "changes"


def _net(trial: Trial) -> list[Row]:
    """Sum the forces of every structure, and take the antisymmetric part of stresses of nine numbers."""
    rows = []
    if "forces" in trial.names:
        values = {place: [here["forces"].mean(axis=0)] for place, here in enumerate(trial.here)}
        rows.append(trial.row("net force", "forces", values, fault="a net force"))
    stresses = {place: here["stress"] for place, here in enumerate(trial.here) if "stress" in here}
    odd = {place: [(stress - stress.mT) / 2] for place, stress in stresses.items()}
    if any(value.any() for (value,) in odd.values()):
        rows.append(trial.row("asymmetry of stress", "stress", odd, fault="stress is not symmetric"))
    return rows


def _turned(trial: Trial) -> list[Row]:
    """Turn structures as a whole, and sum the torques of the forces on molecules."""
    energy = trial.tested.total_energy
    found = {place: torque(energy, one, trial.noise(place)) for place, one in enumerate(trial.frames)}
    explained = {place: KNOWN_TO * error for place, (_, error) in found.items()}
    values = {place: [value] for place, (value, _) in found.items()}
    fault = "a torque on the structure"
    rows = [trial.row("torque −∂E/∂θ", "energy", values, explained=explained, fault=fault, by_steps=True)]
    summed, explained = {}, {}
    for place, (one, here) in enumerate(zip(trial.frames, trial.here, strict=True)):
        if "forces" in here and not one.pbc.any() and len(one) > 1:
            r = one.positions - one.positions.mean(axis=0)
            summed[place] = [np.cross(r, here["forces"]).mean(axis=0)]
            explained[place] = ELSEWHERE * trial.floors[place]["forces"] * rms(r)
    if summed:
        fault = "forces on a molecule have a torque"
        rows.append(trial.row("torque Σ r × F", "forces", summed, explained=explained, fault=fault, unit="meV/atom"))
    return rows


def _slopes(trial: Trial) -> list[Row]:
    """Compare forces and stress with differences of the energy."""
    rows = []
    for name, against, measure in (("forces", "−dE/dx", _along_atoms), ("stress", "dE/dε", _along_strains)):
        found = {place: np.array(measure(trial, place)) for place, here in enumerate(trial.here) if name in here}
        if not found:
            continue
        values, explained, wrong = {}, {}, []
        for place, three in found.items():
            slopes, given, errors = three.T
            values[place] = list(slopes - given)
            explained[place] = KNOWN_TO * rms(errors) + ELSEWHERE * trial.floors[place][name]
            if rms(slopes - given) > explained[place]:
                wrong.append(three[:, :2])
        fault = f"{name} {_relation(np.concatenate(wrong), name)} {against}" if wrong else ""
        rows.append(trial.row(f"against {against}", name, values, explained=explained, fault=fault, by_steps=True))
    return rows


def _along_atoms(trial: Trial, place: int) -> list[tuple[float, float, float]]:
    """Return slopes of the energy along random displacements, what the forces say, and the slopes' errors; meV/Å."""
    one, forces, found = trial.frames[place], trial.here[place]["forces"], []
    for _ in range(DIRECTIONS):
        along = trial.rng.normal(size=(len(one), 3))

        def energy(step: float, along: Array = along) -> Array:
            return np.array([trial.tested.total_energy(_displaced(one, step * along))])

        expected, size = -float((forces * along).sum()) / 1e3, np.sqrt(along.size) / 1e3
        value, error = slope(energy, trial.noise(place), expected=expected)
        found.append((value[0] / size, expected / size, error / size))
    return found


def _along_strains(trial: Trial, place: int) -> list[tuple[float, float, float]]:
    """Return slopes of the energy along random strains, what the stress says, and the slopes' errors; GPa."""
    one, (stress,), found = trial.frames[place], trial.here[place]["stress"], []
    for _ in range(STRAINS):
        drawn = trial.rng.normal(size=(3, 3))
        along = 3 * (drawn + drawn.T) / np.linalg.norm(drawn + drawn.T)

        def energy(step: float, along: Array = along) -> Array:
            there = one.copy()
            there.set_cell(one.cell.array @ (np.eye(3) + step * along), scale_atoms=True)
            return np.array([trial.tested.total_energy(there)])

        expected, size = float((stress * along).sum()) / 3, 3 * abs(one.get_volume()) / GPA
        value, error = slope(energy, trial.noise(place), arm=ARM, expected=expected * size)
        found.append((value[0] / size, expected, error / size))
    return found


def _relation(pairs: Array, name: str) -> str:
    """Say how given values go with slopes, (n, 2) of these and those: of the other sign, by a factor, or not."""
    slopes, given = pairs.T
    factor = float((given * slopes).sum() / (slopes**2).sum()) if slopes.any() else 0.0
    are = "are" if name == "forces" else "is"
    apart = np.abs(given - factor * slopes).max()
    if factor == 0 or apart > min(1e-2, 0.1 * abs(factor - 1)) * np.abs(slopes).max():
        return f"{are} not"
    return f"{are} of the wrong sign against" if abs(factor + 1) < 1e-2 else f"{are} {factor:.4g} times"


def _jacobian(trial: Trial) -> list[Row]:
    """Measure the asymmetry of ∂F/∂x, relative to its size: ‖J − Jᵀ‖ / 2‖J‖."""
    if "forces" not in trial.names:
        return []
    values, explained = {}, {}
    for place, one in enumerate(trial.frames):
        odd, size, errors = [], [], []
        for _ in range(PAIRS * (len(one) > 1)):
            pair = [drawn / np.linalg.norm(drawn) for drawn in trial.rng.normal(size=(2, 3 * len(one)))]
            slopes = []
            for along in pair:

                def forces(step: float, one: Atoms = one, along: Array = along) -> Array:
                    moved = _displaced(one, step * along.reshape(-1, 3))
                    return trial.tested.evaluate(moved, ["forces"])["forces"].ravel() / 1e3

                value, error = slope(forces, trial.floors[place]["forces"] / 1e3)
                slopes.append(value)
                errors.append(np.sqrt(3 * len(one)) * error)
            odd.append(np.sqrt(3 * len(one)) * (pair[0] @ slopes[1] - pair[1] @ slopes[0]))
            size += [float((value**2).sum()) for value in slopes]
        scale = 2 * np.sqrt(np.mean(size)) if size else 0.0
        if scale:
            values[place] = [np.array([value / scale]) for value in odd]
            explained[place] = KNOWN_TO * float(np.sqrt(2)) * rms(errors) / scale
    if not values:
        return []
    fault, unit = "forces are not conservative: their Jacobian is not symmetric", "of its size"
    return [
        trial.row("Jacobian of forces", "forces", values, explained=explained, fault=fault, unit=unit, by_steps=True)
    ]


def _repeated(trial: Trial) -> list[Row]:
    """Evaluate structures once more, after all others, beside what two evaluations at once differ by."""
    rows = []
    ends = [trial.tested.evaluate(one) for one in trial.frames]
    for name in trial.names:
        values, explained = {}, {}
        for place, (here, at_once, end) in enumerate(zip(trial.here, trial.at_once, ends, strict=True)):
            if name in here:
                values[place] = [end[name] - here[name]]
                explained[place] = repeats_to(name, here[name], at_once[name], trial.tested.spacing(name))
        fault = f"what was evaluated before changes {name}: the calculator keeps a state"
        rows.append(trial.row("repetition", name, values, explained=explained, fault=fault))
    return rows


#: Every test of a trial; the last one looks back at all others.
TESTS = (_precision, _moved, _net, _turned, _slopes, _jacobian, _repeated)
