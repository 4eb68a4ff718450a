"""Phonons against a closed form, against phonopy with its own use of symmetry, and with a broken symmetry."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

pytest.importorskip("ase")
pytest.importorskip("spglib")
pytest.importorskip("phonopy")

from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.neighborlist import neighbor_list

from jetsym.atoms.workflows.band_path import band_path
from jetsym.atoms.workflows.phonons import PhononReport, phonons
from jetsym.errors import ConfigError, DataError, MissingDependencyError

LATTICE = 3.59


class Springs(Calculator):
    """Springs of strength k between nearest neighbours of an fcc crystal."""

    implemented_properties = ("energy", "forces", "stress")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        rest = LATTICE / np.sqrt(2)
        first, lengths, vectors = neighbor_list("idD", atoms, rest * 1.2)
        forces = np.zeros((len(atoms), 3))
        np.add.at(forces, first, 3.0 * (lengths - rest)[:, None] * vectors / lengths[:, None])
        energy = 0.25 * 3.0 * ((lengths - rest) ** 2).sum()
        self.results = {"energy": energy, "forces": forces, "stress": np.zeros(6)}


def test_frequencies_of_an_fcc_crystal_of_springs():
    """At X = (2π/a)(1,0,0): m ω² = 8k for the longitudinal, 4k for both transverse bands."""
    run = phonons(bulk("Cu", a=LATTICE), Springs(), supercell=(4, 4, 4), path="GX", mesh=10, displacement=1e-3).runs[
        "plain"
    ]
    mass = Atoms("Cu").get_masses()[0]
    expected = np.sqrt(np.array([4, 4, 8]) * 3.0 / mass) * units.s / (2 * np.pi) * 1e-12
    np.testing.assert_allclose(run.points["X"], expected, rtol=1e-5)
    assert [(item.point, item.bands) for item in run.splittings] == [("X", (0, 1))]
    assert run.gamma_acoustic < 1e-4


def test_the_same_as_phonopy_with_its_symmetry():
    """For an invariant potential, displacing every atom along every axis gives what symmetry would have filled in."""
    import phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    atoms = bulk("Cu", "hcp", a=2.55, c=4.17)
    run = phonons(atoms, EMT(), supercell=(3, 3, 2), path="GMKGALHA", mesh=10, displacement=1e-3).runs["plain"]
    cell = PhonopyAtoms(symbols=["Cu", "Cu"], cell=atoms.cell.array, scaled_positions=atoms.get_scaled_positions())
    other = phonopy.Phonopy(cell, np.diag([3, 3, 2]), "P")
    other.generate_displacements(distance=1e-3, is_plusminus=True)
    forces = []
    for moved in other.supercells_with_displacements:
        structure = Atoms(moved.symbols, cell=moved.cell, scaled_positions=moved.scaled_positions, pbc=True)
        structure.calc = EMT()
        forces.append(structure.get_forces())
    other.forces = np.array(forces)
    other.produce_force_constants()
    for name, point in band_path(atoms.cell.array, path="GMKGALHA").points.items():
        expected = np.asarray(other.run_qpoints([point]).frequencies[0])
        np.testing.assert_allclose(run.points[name], expected, atol=1e-4)


def test_density_of_states_counts_the_bands():
    run = phonons(bulk("Cu", a=LATTICE), EMT(), supercell=(3, 3, 3), path="GX", mesh=15).runs["plain"]
    assert np.trapezoid(run.dos, run.dos_frequencies) == pytest.approx(3, rel=0.02)


@pytest.fixture(scope="module")
def broken(anisotropic):
    return phonons(
        bulk("Cu", a=LATTICE, cubic=True),
        anisotropic(0.2, (1, 2, 4)),
        symmetrized=anisotropic(0.2),
        supercell=(2, 2, 2),
        mesh=10,
        points=11,
    )


def test_a_broken_symmetry_splits_bands_and_its_average_does_not(broken):
    plain, symmetrized = broken.runs["plain"], broken.runs["symmetrized"]
    assert [(item.point, item.bands) for item in plain.splittings] == [("X", (0, 1)), ("W", (1, 2)), ("L", (0, 1))]
    assert min(item.splitting for item in plain.splittings) > 1e-2
    assert symmetrized.worst.splitting < 1e-8
    assert plain.asymmetry > 1e-3
    assert symmetrized.asymmetry < 1e-10
    assert plain.spurious.forbidden_stress > 1e-3
    assert symmetrized.spurious.forbidden_stress < 1e-10


def test_splittings_are_those_of_the_bands(broken):
    run = broken.runs["plain"]
    for item in run.splittings:
        chosen = run.points[item.point][list(item.bands)]
        assert item.splitting == pytest.approx(chosen.max() - chosen.min())
        assert item.frequency == pytest.approx(chosen.mean())


def test_report(broken, tmp_path):
    text = str(broken)
    for words in ("Cu4, Fm-3m (225)", "splitting at X, bands 1, 2 [THz]", "plain", "symmetrized", "torque [eV]"):
        assert words in text
    stored = json.loads(broken.save(tmp_path / "phonons.json").read_text())
    loaded = PhononReport.load(tmp_path / "phonons.json")
    assert str(loaded) == str(broken)
    assert loaded.to_dict() == broken.to_dict()
    assert loaded.plot().axes
    assert stored["runs"]["plain"]["splittings"][0]["point"] == "X"
    assert stored["meta"]["supercell"] == [2, 2, 2]
    bands, states = broken.plot().axes
    assert bands.get_ylabel() == "frequency [THz]"
    assert bands.get_xticklabels()[0].get_text() == "Γ"
    assert len(bands.get_legend().get_texts()) == 2
    assert states.get_xlabel() == "states / THz"


def test_default_supercell_is_at_least_ten_angstrom_long():
    report = phonons(bulk("Cu", a=LATTICE, cubic=True), EMT(), path="GX", mesh=5, points=3)
    assert report.meta["supercell"] == [3, 3, 3]


def test_a_band_path_jumps_and_has_its_lengths():
    way = band_path(bulk("Cu", a=4.0).cell.array, path="GX,GL", points=9)
    (start, first), (middle, jump), (end, last) = way.ticks
    assert (first, jump, last) == ("Γ", "X|Γ", "L")
    assert (start, middle, end) == pytest.approx((0, 1 / 4, 1 / 4 + np.sqrt(3) / 8))  # X = (1,0,0)/a, L = (½,½,½)/a
    assert [len(segment) for segment in way.segments] == [9, 8]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "GQ"}, "no special point at 'Q'; this lattice has"),
        ({"path": "G"}, "expected two special points or more"),
        ({"points": 1}, "points is 1"),
        ({"displacement": 0}, "displacement is 0"),
        ({"supercell": (2, 2)}, "supercell is \\[2, 2\\]"),
        ({"supercell": (2, 2, 0)}, "expected three positive numbers"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ConfigError, match=message):
        phonons(bulk("Cu"), EMT(), **{"supercell": (1, 1, 1)} | options)


@pytest.mark.parametrize("mesh", [0, -3.0, (10, 10), (4, 4, 0), (4, 4, 2.5), "fine", None])
def test_a_mesh_is_a_length_or_three_numbers(mesh):
    with pytest.raises(
        ConfigError, match=r"mesh is .*; expected one number, a length in Å, or three numbers of points"
    ):
        phonons(bulk("Cu"), EMT(), supercell=(1, 1, 1), mesh=mesh)


@pytest.mark.parametrize(("a", "said"), [(3.70, True), (3.62, True), (3.59, False)])
def test_the_stress_of_a_strained_cell_is_said(a, said):
    report = phonons(bulk("Cu", a=a), EMT(), supercell=(1, 1, 1), path="GX", points=3, mesh=4, progress=False)
    copper = bulk("Cu", a=a)
    copper.calc = EMT()
    pressure = -np.trace(copper.get_stress(voigt=False)) / 3 / units.GPa
    words = " ".join(report.meta["notes"])
    assert ("frequencies are those of a strained cell" in words) == said
    assert (f"at a pressure of {pressure:.2g} GPa, above 0.2 GPa" in words) == said
    assert ("jetsym relax STRUCTURE --cell" in words) == said
    assert f"{abs(pressure):.3g}" in str(report)
    assert PhononReport.from_dict(report.to_dict()).runs["plain"].spurious == report.runs["plain"].spurious


def test_without_a_stress_none_is_said():
    class Slack(Springs):
        implemented_properties = ("energy", "forces")

        def calculate(self, *arguments, **options):
            super().calculate(*arguments, **options)
            del self.results["stress"]

    report = phonons(bulk("Cu", a=3.7), Slack(), supercell=(1, 1, 1), path="GX", points=3, mesh=4, progress=False)
    assert "stress" not in str(report)
    assert report.runs["plain"].spurious.stress is None


def test_a_molecule_has_no_bands():
    with pytest.raises(DataError, match="phonons need a crystal"):
        phonons(Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2]]), EMT())


class Broken(Calculator):
    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 0.0, "forces": np.full((len(atoms), 3), np.nan)}


def test_forces_that_are_not_finite():
    with pytest.raises(DataError, match="forces are not finite"):
        phonons(bulk("Cu"), Broken(), supercell=(2, 2, 2))


def test_without_phonopy_the_pip_line_is_named(monkeypatch):
    for name in ("phonopy", "phonopy.structure", "phonopy.structure.cells"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match=r"phonons needs the package 'phonopy'.*'jetsym\[atoms\]'"):
        phonons(bulk("Cu"), EMT(), supercell=(1, 1, 1))


def test_lengths_along_the_path_of_a_hexagonal_crystal():
    """M is half a reciprocal vector of length 2/(√3 a), and A half of 1/c."""
    way = band_path(bulk("Cu", "hcp", a=2.5, c=4.0).cell.array, path="MGA", points=9)
    assert [place for place, _ in way.ticks] == pytest.approx(
        [0, 1 / (np.sqrt(3) * 2.5), 1 / (np.sqrt(3) * 2.5) + 1 / 8]
    )
