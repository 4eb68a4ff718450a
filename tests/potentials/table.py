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


def _in_frame(calculator, frame: Atoms, g, name: str):
    """Return g⁻¹ of a property of a calculator on its own, of a structure that is moved here."""
    values = np.asarray(calculator.get_property(name, moved(frame, g)), dtype=float)
    if name == "stress":
        full = values.reshape(3, 3) if values.size == 9 else voigt_6_to_full_3x3_stress(values.reshape(6))
        return g.T @ full @ g
    return values @ g if name == "forces" else values.reshape(())


def _held(calculator, frames: str):
    if frames == "space":
        return SymmetrizedCalculator(calculator, "space", reference=bulk("Cu", cubic=True))
    if frames == "O3":
        return SymmetrizedCalculator(calculator, "O3", 1)
    return RandomFrameCalculator(calculator, "O3", seed=1)


def cell(calculator, frame: Atoms, name: str, frames: str) -> str:
    """Return that it works, by what it gives against evaluations that are rotated by hand, or the line it says."""
    try:
        if frames == "plain":
            assert np.isfinite(_in_frame(calculator, frame, np.eye(3), name)).all()
            return WORKS
        if frames == "space" and not frame.pbc.all():
            SymmetrizedCalculator(calculator, "space").get_property(name, frame)
        held = _held(calculator, frames)
        found = np.asarray(held.get_property(name, frame))
        elements = [held.element] if frames == "random" else held.average(frame).elements
        weights = [1.0] if frames == "random" else held.average(frame).weights
    except (JetsymError, PropertyNotImplementedError) as error:
        return f"{type(error).__name__}: {error}"
    except Exception as error:  # of the calculator itself
        if frames != "plain" and cell(calculator, frame, name, "plain") == WORKS:
            raise
        return f"its own {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    expected = sum(w * _in_frame(calculator, frame, g, name) for w, g in zip(weights, elements, strict=True))
    found = voigt_6_to_full_3x3_stress(found) if name == "stress" else found
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5)
    return WORKS


def expect_every_frame(calculator, name: str, *, molecules: bool = True, stress_of_molecules: bool = False) -> None:
    """Hold that crystals work in every frame, and molecules as far as the calculator takes them; keep the row."""
    rows = {
        kind: {f"{what}, {frames}": cell(calculator, one, what, frames) for what in PROPERTIES for frames in FRAMES}
        for kind, one in structures().items()
    }
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


def printed(path: str | Path) -> str:
    """Return the table in Markdown: a row for each calculator and kind of structure, and below what is said."""
    known, said = json.loads(Path(path).read_text()), dict[str, int]()
    heads = [f"{what}, {frames}" for what in PROPERTIES for frames in FRAMES]
    lines = ["| calculator | structure | " + " | ".join(heads) + " |", "|---" * (2 + len(heads)) + "|"]
    for name, rows in known.items():
        for kind, row in rows.items():
            cells = [
                row[head] if row[head] == WORKS else f"{said.setdefault(row[head], len(said) + 1)}" for head in heads
            ]
            lines.append(f"| {name} | {kind} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *(f"{number}. {line}" for line, number in said.items())])


if __name__ == "__main__":
    print(printed(sys.argv[1]))
