"""Any ASE calculator as the probe calls it: structures in, plain arrays out, in units that can be read."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from jetsym.atoms.frames import Frames, is_crystal, is_left_handed
from jetsym.atoms.packages import quiet
from jetsym.errors import DataError, JetsymError, ProbeError, require, shorten
from jetsym.spectrum.representations import Kind
from jetsym.spectrum.responses import EPS

if TYPE_CHECKING:
    from ase import Atoms

__all__ = [
    "ELSEWHERE",
    "GPA",
    "LEAST",
    "UNITS",
    "Calculated",
    "as_measured",
    "ask",
    "full_stress",
    "is_calculator",
    "repeats_to",
]

#: Unit of every output that is measured.
UNITS: Mapping[str, str] = MappingProxyType(
    {
        "energy": "meV/atom",
        "energies": "meV",
        "forces": "meV/Å",
        "stress": "GPa",
        "dipole": "e Å",
        "charges": "e",
        "magmoms": "μB",
    }
)
#: What is rounding at least, in these units.
LEAST: Mapping[str, float] = MappingProxyType({"energy": 1e-9, "forces": 1e-8, "stress": 1e-9})
#: Rounding elsewhere may be so many times what is measured in one place.
ELSEWHERE = 10.0
#: Outputs of single atoms.
PER_ATOM = ("energies", "forces", "charges", "magmoms")
#: Of 1 eV/Å³.
GPA = 160.21766208
#: What ASE's structures call for these.
GETTERS = {
    "energy": "get_potential_energy",
    "forces": "get_forces",
    "stress": "get_stress",
    "dipole": "get_dipole_moment",
    "charges": "get_charges",
    "magmoms": "get_magnetic_moments",
}
NOTE = "The calculator builds its own neighbour lists; improper elements move a cell a by −g, which spans the lattice."


def is_calculator(model: Any) -> bool:
    """Return whether a model is a calculator of ASE, or behaves as one."""
    return not inspect.isclass(model) and all(hasattr(model, name) for name in ("get_property", "get_potential_energy"))


def ask(calculator: Any, atoms: Atoms, names: Sequence[str]) -> dict[str, Any]:
    """Ask a calculator for several properties of a structure at once, by nothing that it kept of one before.

    Returns
    -------
    dict
        By name; those that it does not give are left out, and others that it gives all the same are there.
    """
    base = require("ase.calculators.calculator", extra="atoms", purpose="a calculator")
    own = atoms.copy()  # which a calculator may wrap into its cell, sort or write into
    known = hasattr(calculator, "calculate") and hasattr(calculator, "results")
    getters = {name: getter for name in names if (getter := _own_getter(calculator, base.Calculator, name)) is not None}
    with quiet(), np.errstate(all="ignore"):
        if known:
            calculator.atoms, calculator.results = None, {}
        if known and len(getters) < len(names):
            calculator.calculate(own, [name for name in names if name not in getters], list(base.all_changes))
            found = dict(calculator.results)
        else:
            found = {name: calculator.get_property(name, own) for name in names if name not in getters}
        found |= {name: getter(own) for name, getter in getters.items()}
    return {name: values for name, values in found.items() if values is not None}


def _own_getter(calculator: Any, base: type, name: str) -> Callable[[Atoms], Any] | None:
    """Return what ``atoms.get_…()`` calls where a calculator has it changed, as wrappers do; None for ASE's own."""

    def is_changed(method: str) -> bool:
        own = getattr(calculator, method, None)
        return own is not None and getattr(own, "__func__", own) is not getattr(base, method, own)

    getter = GETTERS.get(name, "")
    if is_changed(getter):
        return cast("Callable[[Atoms], Any]", getattr(calculator, getter))
    return partial(calculator.get_property, name) if is_changed("get_property") else None


def full_stress(values: Any) -> NDArray[np.float64]:
    """Return a stress as (3, 3), given as that or as Voigt's six numbers, with whatever axes of length 1."""
    array = np.asarray(values, dtype=np.float64)
    if array.size == 9:
        return array.reshape(3, 3)
    if array.size != 6:
        raise ProbeError(f"stress has shape {array.shape}; expected (3, 3), or (6,) in Voigt's order")
    voigt = require("ase.stress", extra="atoms", purpose="a stress").voigt_6_to_full_3x3_stress
    return np.asarray(voigt(array.reshape(6)))


def repeats_to(name: str, here: NDArray[np.float64], at_once: NDArray[np.float64], spacing: float) -> float:
    """Return how much a later evaluation of a structure may differ, root mean square, where nothing is kept of others.

    Parameters
    ----------
    name
        The output.
    here, at_once
        Two evaluations, one right after the other.
    spacing
        Relative spacing of its numbers.
    """
    return ELSEWHERE * (_size(at_once - here) + LEAST.get(name, 0.0) + spacing * _size(here))


def _size(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


class Calculated:
    """A calculator that takes :class:`~jetsym.atoms.frames.Frames` and returns arrays by name.

    Outputs are those of ASE's energy, energies, forces, stress, dipole, charges and magmoms that the calculator gives
    when it is asked, whatever it claims: see :data:`UNITS`. The energy is that per atom; the stress is symmetric, as
    (structures, 1, 3, 3), and that of structures without volume is no number to count: :meth:`Atoms.holds
    <jetsym.atoms.domain.Atoms.holds>`. Magnetic moments are scalars where there is one number an atom, and axial
    vectors where there are three.

    Parameters
    ----------
    calculator
        The calculator. It is given copies of structures alone, and what it returns is copied.
    frames
        Structures that it is asked about: one with a volume, and one without.
    per_component
        Divide every output by the root of its size, so that A is a root mean square over atoms and components.

    Raises
    ------
    DataError
        It gives nothing for one of these structures.
    ProbeError
        It implements no output that is known here.
    """

    def __init__(self, calculator: Any, frames: Sequence[Atoms], *, per_component: bool = False) -> None:
        self.calculator, self._per_component = calculator, per_component
        self.name = type(calculator).__name__
        self.calls = 0
        self._first: list[tuple[int, Atoms, dict[str, NDArray[np.float64]]]] = []  # what was found before all else
        self._finer: set[str] = set()  # outputs with numbers that 32 bits do not hold
        self.kinds: dict[str, Kind] = {}
        claimed = [name for name in UNITS if name in (getattr(calculator, "implemented_properties", None) or UNITS)]
        if not claimed:
            raise ProbeError(
                f"{self.name} implements none of {', '.join(UNITS)} (its implemented_properties are "
                f"{list(calculator.implemented_properties)}), so that there is nothing to measure"
            )
        refused: dict[str, str] = {}
        asked = Frames.of(frames)
        for place in np.unique(asked.crystals, return_index=True)[1].tolist():
            one = asked.atoms[place]
            names = _held(claimed, one)
            found = self._asked(one, names, refused)
            if not found:
                reason = next(iter(refused.values()), "it returned nothing")
                raise DataError(
                    f"{self.name} gives nothing for structure {place} ({one.get_chemical_formula()}): {reason}; "
                    f"expected {', '.join(names[:3])}: give structures that it knows, and a calculator that is set up"
                )
            self._first.append((place, one, found))
            for name, values in found.items():
                if self.kinds.setdefault(name, _kind(name, values)) != _kind(name, values):
                    raise ProbeError(
                        f"{self.name} gives {name} of structure {place} ({one.get_chemical_formula()}) as "
                        f"{_kind(name, values)} and of others as {self.kinds[name]}; measure such structures by "
                        "themselves"
                    )
        self.kinds = {name: self.kinds[name] for name in UNITS if name in self.kinds}
        lacking = [name for name in claimed if name not in self.kinds and (name != "stress" or asked.crystals.any())]
        left = [place for place, one in enumerate(asked.atoms) if is_left_handed(one)]
        self.notes: tuple[str, ...] = (
            NOTE,
            *([f"{self.name} claims {', '.join(lacking)} and does not give it."] if lacking else []),
            *([f"Structures {', '.join(map(str, left))} have left-handed cells, and keep them."] if left else []),
        )

    def structures(self, frames: Sequence[Atoms]) -> Frames:
        """Return frames as they are taken: copies without calculators and constraints."""
        return Frames.of(frames)

    def probe_layers(self, layers: str | Sequence[str]) -> Mapping[str, Any]:
        """Return none: a calculator shows no layers."""
        return {}

    def probe_features(self, recorded: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return none."""
        return {}

    def __call__(self, frames: Frames) -> dict[str, NDArray[np.float64]]:
        """Return every output with the structures along the first axis, evaluated one by one."""
        rows = []
        for one, place in zip(frames.atoms, frames.places, strict=True):
            names = _held(self.kinds, one)
            try:
                found = self.evaluate(one, names)
            except (JetsymError, MemoryError):
                raise
            except Exception as error:  # whatever a calculator raises
                raise ProbeError(
                    f"{self.name} fails for structure {place} ({one.get_chemical_formula()}): {_reason(error)}; "
                    "leave it out of the inputs"
                ) from error
            lacking = [name for name in names if name not in found]
            if lacking:
                raise ProbeError(
                    f"{self.name} gives no {lacking[0]} for structure {place} ({one.get_chemical_formula()}), as it "
                    "does for others; measure such structures by themselves"
                )
            if self._per_component:
                found = {name: values / np.sqrt(values.size) for name, values in found.items()}
            rows.append({name: found.get(name, np.zeros((1, 3, 3))) for name in self.kinds})
        return {name: np.stack([row[name] for row in rows]) for name in self.kinds}

    def total_energy(self, atoms: Atoms) -> float:
        """Return the whole energy of one structure, eV: where it is given the free one, whose slopes forces are."""
        self.calls += 1
        found = ask(self.calculator, atoms, ["energy"])
        return float(np.asarray(found.get("free_energy", found["energy"]), dtype=np.float64).reshape(()))

    def evaluate(self, atoms: Atoms, names: Sequence[str] | None = None) -> dict[str, NDArray[np.float64]]:
        """Evaluate one structure: what there is of the named outputs, or of all, in :data:`UNITS`."""
        names = _held(self.kinds, atoms) if names is None else names
        self.calls += 1
        found = ask(self.calculator, atoms, names)
        given = {name: _numbers(name, found[name]) for name in names if name in found}
        self._finer |= {name for name, values in given.items() if (values != values.astype(np.float32)).any()}
        return {name: as_measured(name, values, atoms) for name, values in given.items()}

    def spacing(self, name: str) -> float:
        """Return the relative spacing of the numbers that an output came in so far, before units were changed."""
        return EPS["float64" if name in self._finer else "float32"]

    def changes(self) -> list[str]:
        """Ask about the first structures once more, and say which outputs are others by now, in sentences."""
        found = []
        for place, one, before in self._first:
            after, at_once = (self.evaluate(one, list(before)) for _ in range(2))
            for name, values in before.items():
                if name not in self.kinds or name not in after or name not in at_once:
                    continue
                by = _size(after[name] - values)
                if by > repeats_to(name, after[name], at_once[name], self.spacing(name)):
                    found.append(
                        f"{name} of structure {place} has changed by {by:.1g} {UNITS[name]} since the first call: "
                        f"{self.name} keeps a state, which A holds as well."
                    )
        return found

    def _asked(self, atoms: Atoms, names: Sequence[str], refused: dict[str, str]) -> dict[str, NDArray[np.float64]]:
        """Return what a calculator gives of a structure: all at once, or one after the other where it refuses some."""
        try:
            return self.evaluate(atoms, names)
        except (JetsymError, MemoryError):
            raise
        except Exception:  # whatever a calculator raises that claims more than it has
            found: dict[str, NDArray[np.float64]] = {}
        for name in names:
            try:
                found |= self.evaluate(atoms, [name])
            except (JetsymError, MemoryError):
                raise
            except Exception as error:
                refused[name] = _reason(error)
        return found


def _held(names: Iterable[str], atoms: Atoms) -> list[str]:
    """Return those of some outputs that a structure has: a stress needs a volume."""
    return [name for name in names if name != "stress" or is_crystal(atoms)]


def _reason(error: Exception) -> str:
    """Return the last line of what an error says, with its type where that says it all."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip().rstrip(".") if lines else type(error).__name__


def _numbers(name: str, values: Any) -> NDArray[np.float64]:
    """Return what a calculator gives as numbers."""
    try:
        if np.iscomplexobj(values):
            raise TypeError("complex numbers")
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ProbeError(
            f"{name} is {shorten(values)}; expected real numbers, as ASE's calculators give them"
        ) from error


def _kind(name: str, values: NDArray[np.float64]) -> Kind:
    """Return the law of an output, by its name and the shape in which it was given."""
    if name == "stress":
        return "rank2"
    if name == "magmoms" and values.shape[-1] == 3:
        return "pseudovector"
    return "vector" if name in ("forces", "dipole") else "scalar"


def as_measured(name: str, array: NDArray[np.float64], atoms: Atoms) -> NDArray[np.float64]:
    """Return an output of one structure in its unit: (), (3,), (1, 3, 3), or (atoms, 1 or 3)."""
    n = len(atoms)
    if name == "energy" and array.size == 1:
        return 1e3 * array.reshape(()) / n
    if name == "stress" and array.size in (6, 9):
        return GPA * full_stress(array)[None]
    if name == "dipole" and array.size == 3:
        return array.reshape(3)
    if name == "forces" and array.shape == (n, 3):
        return 1e3 * array
    if name in PER_ATOM and name != "forces" and array.size == n:
        return array.reshape(n, 1) * (1e3 if name == "energies" else 1.0)
    if name == "magmoms" and array.shape == (n, 3):
        return array[:, None]
    raise ProbeError(
        f"{name} has shape {array.shape} for a structure of {n} atoms; expected what ASE's calculators give"
    )
