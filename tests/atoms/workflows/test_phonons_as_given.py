"""Phonons beside phonopy run by hand, of cells however they are given, with isotopes, charges, and forces kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ase")
pytest.importorskip("spglib")
pytest.importorskip("phonopy")

import phonopy
import phonopy.file_IO
import phonopy.structure.atoms
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.lj import LennardJones
from ase.neighborlist import neighbor_list
from scipy.spatial.transform import Rotation

from jetsym.atoms.workflows.phonon_report import PhononReport
from jetsym.atoms.workflows.phonons import _imaginary, phonons
from jetsym.atoms.workflows.supercells import choose_supercell, expect_supercell, image_distance, interaction_range
from jetsym.errors import ConfigError, DataError

BORN = "14.39965\n2.43 0 0 0 2.43 0 0 0 2.43\n1.1 0 0 0 1.1 0 0 0 1.1\n-1.1 0 0 0 -1.1 0 0 0 -1.1\n"


class Springs(Calculator):
    """Springs of shells of neighbours, (k, length, tolerance) each, with a cubic term and a force along an axis."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, shells, *, along=0.0):
        super().__init__()
        self.shells, self.along, self.calls = shells, along, 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        first, lengths, vectors = neighbor_list("idD", atoms, 1.1 * max(length for _, length, _ in self.shells))
        forces, energy = np.zeros((len(atoms), 3)), 0.0
        for k, rest, tolerance in self.shells:
            on = np.abs(lengths - rest) < tolerance
            stretch, units = lengths[on] - rest, vectors[on] / lengths[on][:, None]
            axis = self.along * units[:, 2] ** 2  # a spring is stiffer along z
            np.add.at(forces, first[on], (k * (1 + axis) * stretch + 3 * k * stretch**2)[:, None] * units)
            energy += 0.5 * (0.5 * k * stretch**2 + k * stretch**3).sum()
        self.results = {"energy": energy, "forces": forces, "stress": np.zeros(6)}


SALT = bulk("NaCl", "rocksalt", a=5.64)
SHELLS = [(2.0, 2.82, 0.4), (0.5, 3.988, 0.3)]
DIAMOND = [(20.0, 3.57 * 3**0.5 / 4, 0.3), (3.0, 3.57 / 2**0.5, 0.3)]
ARGON = LennardJones(sigma=3.4, epsilon=0.0104, rc=7.0, smooth=True)
CASES = {
    "fcc": (bulk("Ar", "fcc", a=5.26), ARGON, (3, 3, 3), False),
    "hcp": (bulk("Ar", "hcp", a=3.72, c=6.07), ARGON, (3, 3, 2), False),
    "NaCl": (SALT, Springs(SHELLS), (3, 3, 3), True),
    "diamond": (bulk("C", "diamond", a=3.57), Springs(DIAMOND), (3, 3, 3), False),
}


def by_hand(atoms, potential, supercell, born):
    """Run phonopy with its own displacements and symmetry."""
    cell = phonopy.structure.atoms.PhonopyAtoms(
        numbers=atoms.numbers,
        cell=atoms.cell.array,
        scaled_positions=atoms.get_scaled_positions(),
        masses=atoms.get_masses(),
    )
    made = phonopy.Phonopy(cell, np.diag(supercell), "P")
    made.generate_displacements(distance=1e-4, is_plusminus=True)
    forces = []
    for moved in made.supercells_with_displacements:
        structure = Atoms(moved.symbols, cell=moved.cell, scaled_positions=moved.scaled_positions, pbc=True)
        structure.calc = potential
        forces.append(structure.get_forces())
    made.forces = np.array(forces)
    made.produce_force_constants()
    if born is not None:
        made.nac_params = phonopy.file_IO.parse_BORN(made.primitive, filename=born)
    return made


def apart(one, other):
    """Return the largest difference of bands but for acoustic ones at Γ, which are roots of rounding."""
    worst = 0.0
    for mine, theirs in zip(one, other, strict=True):
        mine, theirs = np.sort(mine), np.sort(theirs)
        worst = max(worst, np.abs(mine - theirs)[np.abs(mine) > 1e-2].max(initial=0))
    return worst


@pytest.mark.parametrize("name", CASES)
def test_the_same_as_phonopy_by_hand(name, tmp_path):
    atoms, potential, supercell, is_polar = CASES[name]
    born = tmp_path / "BORN" if is_polar else None
    if born is not None:
        born.write_text(BORN)
    report = phonons(atoms, potential, supercell=supercell, nac=born, mesh=5, points=6, progress=False)
    run = report.runs["plain"]
    other = by_hand(atoms, potential, supercell, born)
    assert apart(run.bands, other.run_band_structure(list(report.path.segments)).frequencies) < 1e-6
    assert all(item.splitting < item.floor for item in run.splittings)
    assert not any("Born" in note for note in report.meta["notes"])
    if is_polar:
        without = phonons(atoms, potential, supercell=supercell, mesh=5, points=6, progress=False)
        assert any("Symmetry allows Born charges" in note for note in without.meta["notes"])
        assert apart(run.bands, without.runs["plain"].bands) > 0.5
        files = report.write_phonopy(tmp_path / "salt.json")
        assert [file.name for file in files] == ["salt-plain-phonopy_params.yaml", "salt-plain-FORCE_CONSTANTS"]
        loaded = phonopy.load(files[0], log_level=0)
        assert apart(run.bands, loaded.run_band_structure(list(report.path.segments)).frequencies) < 1e-6
        constants = phonopy.file_IO.parse_FORCE_CONSTANTS(str(files[1]))
        np.testing.assert_allclose(constants, run.force_constants, atol=1e-12)
        saved = PhononReport.load(report.save(tmp_path / "salt.json"))
        assert saved.to_dict() == report.to_dict()
        assert saved.to_dict()["runs"]["plain"]["splittings"][0]["floor"] > 0
        with pytest.raises(DataError, match="a report that was loaded has no force constants"):
            saved.write_phonopy(tmp_path / "again.json")


def forms(atoms):
    """Yield the same crystal in other cells: left-handed, skewed, both, and turned in space."""
    cell = atoms.cell.array
    skew = np.array([[1, 6, 0], [0, 1, 0], [0, -5, 1]])
    swap = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]])
    turn = Rotation.from_rotvec([0.3, 0.5, -0.7]).as_matrix()
    for vectors in (swap @ cell, skew @ cell, swap @ skew @ cell):
        other = atoms.copy()
        other.set_cell(vectors, scale_atoms=False)
        yield other
    turned = atoms.copy()
    turned.set_cell(cell @ turn.T, scale_atoms=True)
    yield turned


@pytest.mark.parametrize("name", ["fcc", "hcp"])
def test_skewed_left_handed_and_turned_cells_give_the_same_bands(name):
    atoms, potential, _, _ = CASES[name]
    options = {"mesh": 5, "points": 4, "progress": False, "symprec": 1e-4}
    first = phonons(atoms, potential, **options)
    for other in forms(atoms):
        again = phonons(other, potential, **options)
        assert again.meta["image_distance"] == pytest.approx(first.meta["image_distance"])
        assert again.path.points.keys() == first.path.points.keys()
        for point, frequencies in first.runs["plain"].points.items():
            np.testing.assert_allclose(
                again.runs["plain"].points[point], frequencies, atol=2e-6 if point != "Γ" else 1e-4
            )
        assert len(again.runs["plain"].splittings) == len(first.runs["plain"].splittings) > 0
        assert all(item.splitting < item.floor for item in again.runs["plain"].splittings)


def test_supercells():
    fcc = bulk("Cu", a=3.6)
    assert choose_supercell(fcc, reach=None, symprec=1e-3).tolist() == (4 * np.eye(3)).tolist()
    assert (
        choose_supercell(bulk("Cu", a=3.6, cubic=True), reach=None, symprec=1e-3).tolist() == (3 * np.eye(3)).tolist()
    )
    assert choose_supercell(fcc, reach=12.0, symprec=1e-3).tolist() == (5 * np.eye(3)).tolist()
    assert choose_supercell(fcc, reach=50.0, symprec=1e-3).tolist() == (4 * np.eye(3)).tolist()  # too many atoms
    for atoms in (bulk("Sn", "bct", a=5.8, c=3.2), bulk("Cu", "orthorhombic", a=3, b=4, c=9) * (1, 2, 1)):
        chosen = choose_supercell(atoms, reach=None, symprec=1e-3)
        assert image_distance(chosen.T @ atoms.cell.array) >= 9.99
    matrix = [[-1, 1, 1], [1, -1, 1], [1, 1, -1]]
    cubic = phonons(
        fcc, LennardJones(sigma=2.3, rc=5), supercell=2 * np.array(matrix), mesh=3, points=3, progress=False
    )
    assert cubic.meta["supercell"] == (2 * np.array(matrix)).tolist()
    assert cubic.meta["image_distance"] == pytest.approx(7.2)
    np.testing.assert_array_equal(expect_supercell(3), 3 * np.eye(3))
    for wrong in ((0, 1, 1), (1.5, 1, 1), [[1, 0, 0], [2, 0, 0], [0, 0, 1]], "x", (2, 2), -1):
        with pytest.raises(ConfigError, match="supercell is .*; expected three positive numbers of copies, or a 3 x 3"):
            expect_supercell(wrong)
    assert interaction_range(Springs(SHELLS)) is None


def test_supercells_that_are_too_small_are_said():
    potential = LennardJones(sigma=2.3, rc=5.2)
    said = {}
    for copies in (1, 2, 5):
        report = phonons(bulk("Cu", a=3.6), potential, supercell=copies, mesh=3, points=3, progress=False)
        said[copies] = " ".join(report.meta["notes"])
    assert "less than the 5.20 Å that the potential reaches" in said[1]
    assert "meets its own images only" in said[1]
    assert "At the edge of the supercell" in said[2]
    assert "reaches" not in said[5]
    lopsided = phonons(bulk("Cu", a=3.6), potential, supercell=(2, 2, 1), mesh=3, points=3, progress=False)
    assert "of the crystal's 48 rotations" in " ".join(lopsided.meta["notes"])


@pytest.mark.parametrize("masses", [[65.0] * 4, [63.0, 65.0, 63.0, 65.0], [1.0, 65.0, 65.0, 65.0]])
def test_isotopes_are_kept(masses, tmp_path):
    """Beside phonopy, whose primitive cell is given by hand as the whole one."""
    atoms = bulk("Ar", a=5.26, cubic=True)
    atoms.set_masses(masses)
    report = phonons(atoms, ARGON, supercell=(2, 2, 2), path="GX", points=3, mesh=3, progress=False)
    bands = {1: 3, 2: 6, 4: 12}[len(set(masses)) if masses[0] != 1 else 4]
    assert report.runs["plain"].bands[0].shape[1] == bands
    other = by_hand(atoms, ARGON, (2, 2, 2), None)
    expected = np.asarray(other.run_qpoints([[0.0, 0, 0]]).frequencies[0])
    assert report.runs["plain"].points["Γ"].max() <= expected.max() + 1e-6
    if bands == 12:
        np.testing.assert_allclose(report.runs["plain"].points["Γ"][3:], expected[3:], atol=1e-5)
        assert any("Masses tell atoms of one element apart" in note for note in report.meta["notes"])
    saved = PhononReport.load(report.save(tmp_path / "isotopes.json"))
    np.testing.assert_array_equal(saved.structure.get_masses(), masses)


def test_a_broken_symmetry_is_above_the_floor_and_the_projection_takes_it_away():
    potential = Springs(SHELLS, along=0.2)
    report = phonons(SALT, potential, project=True, supercell=2, mesh=5, points=4, progress=False)
    calls = potential.calls
    plain, projected = report.runs["plain"], report.runs["projected"]
    assert plain.worst.splitting > 10 * plain.worst.floor
    assert plain.worst.splitting > 0.05
    assert projected.worst.splitting < 1e-6
    assert projected.asymmetry < 1e-12
    assert "below the floor" in str(report)
    potential.calls = 0
    phonons(SALT, potential, supercell=2, mesh=5, points=4, progress=False)
    assert potential.calls == calls  # the projection takes no evaluations
    once = phonons(SALT, potential, supercell=2, mesh=5, points=4, extrapolate=False, progress=False)
    assert {item.floor for item in once.runs["plain"].splittings} == {None}


def test_displacements_go_on_where_they_stopped(tmp_path):
    class Stops(Springs):
        left = 10

        def calculate(self, *arguments, **options):
            super().calculate(*arguments, **options)
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt

    options = {"supercell": 2, "mesh": 3, "points": 3, "progress": False, "folder": tmp_path / "forces"}
    with pytest.raises(KeyboardInterrupt):
        phonons(SALT, Stops(SHELLS), **options)
    kept = list(Path(tmp_path, "forces", "plain").iterdir())
    assert 0 < len(kept) < 24
    potential = Springs(SHELLS)
    report = phonons(SALT, potential, **options)
    fresh = phonons(SALT, Springs(SHELLS), **{**options, "folder": None})
    np.testing.assert_array_equal(report.runs["plain"].force_constants, fresh.runs["plain"].force_constants)
    assert potential.calls == 24 - len(kept) + 1 + 7  # one that was kept is checked; forces and torque as it is
    with pytest.raises(ConfigError, match="keeps forces of another potential"):
        phonons(SALT, Springs([(1.0, 2.82, 0.4)]), **options)
    with pytest.raises(ConfigError, match="keeps forces of another crystal, supercell or displacement"):
        phonons(SALT, Springs(SHELLS), **{**options, "displacement": 0.02})
    kept[0].write_text(json.dumps({"key": 1}))
    with pytest.raises(DataError, match="holds no forces of a displacement; remove it"):
        phonons(SALT, Springs(SHELLS), **options)


def test_residual_forces_and_imaginary_modes_are_said():
    strained = SALT.copy()
    strained.positions[1] += 0.1
    report = phonons(strained, Springs([(-1.0, 2.82, 0.4)]), supercell=2, mesh=3, points=3, progress=False)
    said, run = " ".join(report.meta["notes"]), report.runs["plain"]
    assert "relax the structure first" in said
    assert run.residual_force > 0.01
    assert f"{run.imaginary} of {run.modes} modes on the mesh are imaginary" in said
    assert run.lowest < 0
    points, frequencies = np.array([[0.0, 0, 0], [0.5, 0, 0]]), np.array([[-0.03, -0.02, 0.01, -2.0], [-1.0, 0, 1, 2]])
    assert _imaginary(frequencies, points) == 2  # not the acoustic ones at Γ


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file of Born charges"),
        ("", "cannot be read as phonopy's BORN"),
        ("1\n1 2\n", "cannot be read as"),
    ],
)
def test_wrong_files_of_charges(content, message, tmp_path):
    if content is not None:
        (tmp_path / "BORN").write_text(content)
    with pytest.raises(DataError, match=message):
        phonons(SALT, Springs(SHELLS), supercell=1, nac=tmp_path / "BORN", progress=False)
    nac = {"born": np.zeros((1, 3, 3)), "dielectric": np.eye(3)}
    with pytest.raises(ConfigError, match=r"nac has born of shape \(1, 3, 3\).* expected \(2, 3, 3\)"):
        phonons(SALT, Springs(SHELLS), supercell=1, nac=nac, progress=False)
