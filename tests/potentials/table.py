"""Which calculators give energy, forces and stress, as they are, averaged and in random frames: a table.

Tests fill it (``JETSYM_TABLE=table.json python -m tests.potentials chgnet sevenn mace -k every_frame``, and pytest with
that variable for those of the main environment); ``python -m tests.potentials.table table.json`` prints it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from ase.stress import voigt_6_to_full_3x3_stress
from potentials.crystals import moved

from jetsym.atoms import RandomFrameCalculator, SymmetrizedCalculator
from jetsym.errors import JetsymError

PROPERTIES = ("energy", "forces", "stress")
FRAMES = ("plain", "space", "O3", "random")
WORKS = "✓"


def structures() -> dict[str, Atoms]:
    """Return a crystal out of its symmetric places, and a molecule, both of copper, which all of them know."""
    crystal = bulk("Cu", cubic=True)
    crystal.positions += np.random.default_rng(1).normal(size=(4, 3)) * 0.05
    molecule = Atoms("Cu3", [[0, 0, 0], [2.3, 0.1, 0], [0.3, 2.2, 0.2]])
    return {"crystal": crystal, "molecule": molecule}


def _by_hand(calculator, frame: Atoms, elements, names) -> dict[str, np.ndarray]:
    """Return g⁻¹ of properties of a calculator on its own, for structures that are moved here, (elements, …)."""
    found = {name: [] for name in names}
    for g in elements:
        turned = moved(frame, g)
        for name in reversed(names):  # the stress first, with which others come
            values = np.asarray(calculator.get_property(name, turned), dtype=float)
            if name == "stress":
                full = values.reshape(3, 3) if values.size == 9 else voigt_6_to_full_3x3_stress(values.reshape(6))
                values = g.T @ full @ g
            found[name].append(values @ g if name == "forces" else values)
    return {name: np.stack([np.squeeze(each) for each in values]) for name, values in found.items()}


def _held(calculator, frame: Atoms, frames: str):
    if frames == "space":
        reference = bulk("Cu", cubic=True)
        reference.set_cell(reference.cell.array * [1, 1, 1.1], scale_atoms=True)  # of sixteen elements
        return SymmetrizedCalculator(calculator, "space", reference=reference if frame.pbc.all() else None)
    return SymmetrizedCalculator(calculator, "O3", 1) if frames == "O3" else RandomFrameCalculator(calculator, seed=1)


def cells(calculator, frame: Atoms, frames: str) -> dict[str, str]:
    """Return of every property that it works, by what is found rotating by hand, or the line that is said of it."""
    said, found = dict[str, str](), {}
    held = calculator if frames == "plain" else _held(calculator, frame, frames)
    for name in reversed(PROPERTIES):
        try:
            found[name] = np.asarray(held.get_property(name, frame))
            said[name] = WORKS
        except (JetsymError, PropertyNotImplementedError) as error:
            said[name] = f"{type(error).__name__}: {error}"
        except Exception as error:
            if frames != "plain":
                raise
            said[name] = f"its own {type(error).__name__}: {error}"  # of the calculator itself
    elements, weights = [np.eye(3)], [1.0]
    if found and frames == "random":
        elements = [held.element]
    elif found and frames != "plain":
        elements, weights, _ = held.average(frame)
    expected = _by_hand(calculator, frame, elements, [name for name in PROPERTIES if name in found])
    for name, values in expected.items():
        given = np.squeeze(found[name])
        given = voigt_6_to_full_3x3_stress(given) if name == "stress" and given.size == 6 else given
        if np.isfinite(values).all():
            np.testing.assert_allclose(given, np.tensordot(weights, values, axes=1), rtol=1e-4, atol=2e-5)
        else:
            said[name] = "its own numbers are not finite"
    return {name: said[name] for name in PROPERTIES}


def expect_every_frame(calculator, name: str, *, molecules: bool = True, stress_of_molecules: bool = False) -> None:
    """Hold that crystals work in every frame, and molecules as far as the calculator takes them; keep the row."""
    rows = {kind: dict[str, str]() for kind in structures()}
    for kind, one in structures().items():
        for frames in FRAMES:
            rows[kind] |= {f"{what}, {frames}": line for what, line in cells(calculator, one, frames).items()}
    if path := os.environ.get("JETSYM_TABLE"):
        known = json.loads(Path(path).read_text()) if Path(path).is_file() else {}
        Path(path).write_text(json.dumps(known | {name: rows}, indent=1, ensure_ascii=False))
    assert set(rows["crystal"].values()) == {WORKS}, rows["crystal"]
    for place, said in rows["molecule"].items():
        what, frames = place.split(", ")
        if what == "stress" and not stress_of_molecules:
            assert "\n" not in said
        elif frames == "space":
            assert said.startswith("ConfigError: the structure Cu3 has boundaries"), said
            assert "\n" not in said
        else:
            assert (said == WORKS) == molecules, (place, said)
            assert "\n" not in said


def printed(path: str | Path) -> str:
    """Return the table in Markdown: which of energy E, forces F and stress S work, and below what is said of others."""
    known, said = json.loads(Path(path).read_text()), dict[str, int]()

    def written(row: dict[str, str], frames: str) -> str:
        lines = {what: row[f"{what}, {frames}"] for what in PROPERTIES}
        works = " ".join(what[0].upper() for what, line in lines.items() if line == WORKS)
        notes = [f"({said.setdefault(line, len(said) + 1)})" for line in dict.fromkeys(lines.values()) if line != WORKS]
        return " ".join([works, *notes]).strip()

    lines = ["| calculator | structure | " + " | ".join(FRAMES) + " |", "|---" * (2 + len(FRAMES)) + "|"]
    for name, rows in known.items():
        for kind, row in rows.items():
            lines.append(f"| {name} | {kind} | " + " | ".join(written(row, frames) for frames in FRAMES) + " |")
    return "\n".join([*lines, "", *(f"{number}. `{line}`" for line, number in said.items())])


if __name__ == "__main__":
    print(printed(sys.argv[1]))
