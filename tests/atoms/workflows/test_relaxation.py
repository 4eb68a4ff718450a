"""Relaxations that are known, and what a broken symmetry makes of a cubic crystal."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("ase")
pytest.importorskip("spglib")

from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from jetsym.atoms.workflows.relaxation import RelaxationReport, relax
from jetsym.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def broken(anisotropic):
    return relax(
        bulk("Cu", a=3.65, cubic=True),
        anisotropic(0.3, (0, 0, 1)),
        symmetrized=anisotropic(0.3),
        cell=True,
        fmax=1e-4,
        md_steps=20,
    )


def test_a_cubic_crystal_becomes_tetragonal_and_its_average_stays_cubic(broken):
    plain, symmetrized = broken.runs["plain"], broken.runs["symmetrized"]
    assert plain.converged
    assert symmetrized.converged
    assert broken.initial_groups["1e-05"] == "Fm-3m (225)"
    assert plain.groups["0.001"] == "I4/mmm (139)"
    assert symmetrized.groups["1e-05"] == "Fm-3m (225)"
    lengths = plain.final.cell.lengths()
    assert abs(lengths[2] - lengths[0]) > 0.01
    assert np.ptp(symmetrized.final.cell.lengths()) < 1e-6
    assert plain.spurious.forbidden_stress / units.GPa > 0.1
    assert symmetrized.spurious.forbidden_stress < 1e-10


def test_the_relaxed_lattice_constant_has_the_lowest_energy(broken, anisotropic):
    def energy(lattice):
        atoms = bulk("Cu", a=lattice, cubic=True)
        atoms.calc = anisotropic(0.3)
        return atoms.get_potential_energy()

    length = broken.runs["symmetrized"].final.cell.lengths()[0]
    assert energy(length) < min(energy(length - 0.005), energy(length + 0.005))
    assert broken.runs["symmetrized"].energies[-1] == pytest.approx(energy(length), abs=1e-8)


def test_report(broken, tmp_path):
    text = str(broken)
    for words in ("Cu4: 4 atoms relaxed", "energy [eV/atom]", "I4/mmm (139)", "NVE energy drift [meV/atom/ps]"):
        assert words in text
    stored = json.loads(broken.save(tmp_path / "relax.json").read_text())
    assert stored["runs"]["plain"]["groups"]["0.001"] == "I4/mmm (139)"
    assert stored["runs"]["plain"]["final"]["symbols"] == ["Cu"] * 4
    loaded = RelaxationReport.load(tmp_path / "relax.json")
    assert str(loaded) == text
    assert loaded.to_dict() == broken.to_dict()
    final, before = loaded.runs["plain"].final, broken.runs["plain"].final
    assert final.get_potential_energy() == before.get_potential_energy()
    np.testing.assert_array_equal(final.get_forces(), before.get_forces())
    files = broken.write_structures(tmp_path / "relax.json")
    assert [file.name for file in files] == ["relax-plain.xyz", "relax-symmetrized.xyz"]
    import ase.io

    again = ase.io.read(files[0])
    np.testing.assert_allclose(again.cell.array, broken.runs["plain"].final.cell.array, atol=1e-6)
    assert again.get_potential_energy() == pytest.approx(broken.runs["plain"].energies[-1], abs=1e-6)
    left, right = broken.plot().axes
    assert left.get_xlabel() == right.get_xlabel() == "step"


def test_pressure_compresses():
    free, pressed = (
        relax(bulk("Cu", cubic=True), EMT(), cell=True, pressure=pressure, fmax=1e-3, hydrostatic=True)
        .runs["plain"]
        .final
        for pressure in (0.0, 5.0)
    )
    assert pressed.get_volume() < 0.98 * free.get_volume()
    pressed.calc = EMT()
    assert -pressed.get_stress()[:3].mean() / units.GPa == pytest.approx(5, abs=0.1)


def test_a_molecule_and_its_constraints():
    atoms = Atoms("Cu3", positions=[[0, 0, 0], [2.7, 0, 0], [0.3, 2.6, 0]])
    atoms.set_constraint(FixAtoms([0]))
    report = relax(atoms, EMT(), optimizer="BFGS", fmax=1e-3, md_steps=10)
    run = report.runs["plain"]
    np.testing.assert_array_equal(run.final.positions[0], 0)
    assert run.converged
    assert run.fmax[-1] < 1e-3
    assert run.groups["0.1"] == "not periodic"
    assert run.drift.angular_momentum < 1e-8
    assert "a, b, c" not in str(report)
    np.testing.assert_array_equal(atoms.positions[1], [2.7, 0, 0])


def test_too_few_steps_are_said():
    report = relax(bulk("Cu", a=3.9), EMT(), cell=True, steps=2, fmax=1e-4)
    assert not report.runs["plain"].converged
    assert "2 (not converged)" in str(report)


@pytest.mark.parametrize(
    ("atoms", "options", "message"),
    [
        (Atoms("Cu2", positions=[[0, 0, 0], [2.4, 0, 0]]), {"cell": True}, "periodic in all directions"),
        (bulk("Cu"), {"fmax": 0}, "fmax is 0"),
        (bulk("Cu"), {"steps": 0}, "steps is 0"),
    ],
)
def test_wrong_options(atoms, options, message):
    with pytest.raises(ConfigError, match=message):
        relax(atoms, EMT(), **options)


class Broken(Calculator):
    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": np.nan, "forces": np.zeros((len(atoms), 3))}


def test_energies_that_are_not_finite():
    with pytest.raises(DataError, match="not finite after 0 steps"):
        relax(bulk("Cu"), Broken())
