"""Space groups that files name, one tolerance for all, symmetry and parts of cells that relaxations keep."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("ase")
pytest.importorskip("spglib")
pytest.importorskip("phonopy")

import ase.io
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.calculator import all_changes
from ase.calculators.emt import EMT
from ase.spacegroup import crystal

from jetsym import cli
from jetsym.atoms import SymmetrizedCalculator, read_frames, relax
from jetsym.atoms.workflows.forbidden import space_group
from jetsym.atoms.workflows.groups import notes_on_group, refined
from jetsym.commands import atoms as commands
from jetsym.errors import ConfigError, DataError

#: Four digits of 1/3: the sites of P6_3/mmc to some 1e-4 Å.
ROUGH = (0.3333, 0.6667, 0.25)


@pytest.fixture
def rough(tmp_path):
    exact = crystal("Cu", [(1 / 3, 2 / 3, 1 / 4)], spacegroup=194, cellpar=[2.556, 2.556, 4.1739, 90, 90, 120])
    ase.io.write(tmp_path / "hcp.cif", exact)
    head = (
        "data_x\n_cell_length_a 2.556\n_cell_length_b 2.556\n_cell_length_c 4.1739\n_cell_angle_alpha 90\n"
        "_cell_angle_beta 90\n_cell_angle_gamma 120\n_symmetry_space_group_name_H-M 'P 63/m m c'\n"
        "_symmetry_Int_Tables_number 194\nloop_\n_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n"
        "_atom_site_fract_y\n_atom_site_fract_z\n"
    )
    file = tmp_path / "rough.cif"
    file.write_text(head + "Cu1 Cu {} {} {}\n".format(*ROUGH))
    return file


def test_a_group_that_is_not_found_is_said_with_both(rough):
    atoms = read_frames(rough)[0]
    (fine,) = notes_on_group(atoms, 1e-5)
    assert "names P63/mmc (194), but within symprec = 1e-05 Å the structure is Cmcm (63)" in fine
    (found,) = notes_on_group(atoms, 1e-2)
    assert "is P6_3/mmc (194) within symprec = 0.01 Å, and Cmcm (63) within 1e-05 Å" in found
    exact = refined(atoms, 1e-2)
    assert space_group(exact, symprec=1e-5) == "P6_3/mmc (194)"
    assert np.abs(exact.positions - atoms.positions).max() < 1e-3
    assert notes_on_group(exact, 1e-5) == []
    assert notes_on_group(bulk("Cu"), 1e-5) == []
    shaken = bulk("Cu", cubic=True)
    shaken.rattle(0.1)
    (nothing,) = notes_on_group(shaken, 1e-3, SymmetrizedCalculator(EMT(), "space"))
    assert "P1 (1) has no rotations to average over" in nothing
    assert notes_on_group(shaken, 1e-3, SymmetrizedCalculator(EMT(), "O3", 1)) == []
    with pytest.raises(ConfigError, match="refine needs a crystal"):
        refined(Atoms("Cu2", [[0, 0, 0], [0, 0, 2]]), 1e-3)


@pytest.mark.parametrize("order", [[0, 1, 2], [1, 0, 2]])
def test_refining_keeps_the_setting(rough, order):
    """A left-handed, turned and skewed cell stays where it is, with its masses."""
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_rotvec([0.2, 0.4, 0.1]).as_matrix()
    atoms = read_frames(rough)[0]
    cell = (np.array([[1, 2, 0], [0, 1, 0], [0, 0, 1]]) @ atoms.cell.array)[order]
    atoms.set_cell(cell, scale_atoms=False)
    atoms.set_cell(cell @ turn.T, scale_atoms=True)
    atoms.set_masses([63.0, 65.0])
    exact = refined(atoms, 1e-2)
    assert space_group(exact, symprec=1e-5) == "P6_3/mmc (194)"
    np.testing.assert_allclose(exact.cell.array, atoms.cell.array, atol=1e-3)
    np.testing.assert_allclose(exact.positions, atoms.positions, atol=1e-3)
    np.testing.assert_array_equal(exact.get_masses(), [63.0, 65.0])


def test_a_report_says_whether_the_structure_was_refined(rough):
    for refine in (True, False):
        report = commands.relax(
            str(rough), model="emt", symmetrize="none", symprec=1e-2, refine=refine, steps=1, progress=False
        )
        assert report.meta["refine"] is refine
        assert report.initial_groups["1e-05"] == ("P6_3/mmc (194)" if refine else "Cmcm (63)")


@pytest.mark.slow  # figures are drawn
def test_one_tolerance_on_the_command_line(rough, capsys):
    words = [str(rough), "--model", "emt", "--steps", "3", "--progress", "false", "--symmetrize", "space"]
    assert cli.main(["relax", *words, "--symprec", "1e-5"]) == 0
    assert "names P63/mmc (194)" in capsys.readouterr().out
    assert cli.main(["relax", *words, "--symprec", "1e-2", "--refine", "true", "--cell", "true"]) == 0
    said = capsys.readouterr().out
    assert "within 1e-05 Å (was P6_3/mmc (194))" in said
    assert "refine makes" not in said
    words = [str(rough), "--model", "emt", "--supercell", "[[2,0,0],[0,2,0],[0,0,1]]", "--mesh", "4", "--points", "3"]
    words += ["--progress", "false", "--project", "true", "--extrapolate", "false"]
    assert cli.main(["phonons", *words, "--out", str(rough.parent / "p.json"), "--symprec", "1e-2"]) == 0
    said = capsys.readouterr().out
    assert "P6_3/mmc (194)" in said
    assert "projected" in said
    names = {file.name for file in rough.parent.iterdir()}
    assert {f"p-{run}-FORCE_CONSTANTS" for run in ("plain", "projected", "symmetrized")} <= names
    assert cli.main(["phonons", *words, "--nac", str(rough.parent / "none")]) == 1
    assert "no such file of Born charges" in capsys.readouterr().err
    for bad, message in [("3,3", "supercell"), ("[0,1,1]", "expected three positive numbers of copies")]:
        assert cli.main(["phonons", str(rough), "--model", "emt", "--supercell", bad]) in (1, 2)
        assert message in capsys.readouterr().err


@pytest.mark.slow  # 24 evaluations a step
def test_an_average_over_the_space_group_keeps_the_lattice(rough, anisotropic):
    atoms = read_frames(rough)[0]
    potential = anisotropic(0.3, (1, 2, 4))
    average = SymmetrizedCalculator(potential, "space", reference=atoms)
    report = relax(atoms, potential, symmetrized=average, cell=True, steps=4, progress=False)
    plain, kept = (report.runs[name].final.cell.cellpar() for name in ("plain", "symmetrized"))
    assert abs(plain[5] - 120) + abs(plain[3] - 90) > 1e-2
    np.testing.assert_allclose(kept[[0, 3, 4, 5]], [kept[1], 90, 90, 120], atol=1e-9)
    assert kept[0] != atoms.cell.lengths()[0]


def test_fixed_symmetry_volume_and_parts_of_the_cell(anisotropic):
    potential = anisotropic(0.3, (1, 2, 4))
    atoms = bulk("Cu", a=3.65, cubic=True)
    options = {"cell": True, "steps": 6, "progress": False}

    def final(structure=atoms, **changes):
        return relax(structure, potential, **{**options, **changes}).runs["plain"].final

    free, held = final(), final(fix_symmetry=True)
    assert space_group(free, symprec=1e-4) != "Fm-3m (225)"
    assert space_group(held, symprec=1e-6) == "Fm-3m (225)"
    assert held.constraints == []
    assert held.get_volume() != pytest.approx(atoms.get_volume(), rel=1e-4)
    assert final(fixed_volume=True).get_volume() == pytest.approx(atoms.get_volume(), rel=1e-8)
    for mask in ("xx,yy", ["yy", "xx"], "XX, yy"):
        strain = np.linalg.solve(atoms.cell.array, final(cell_mask=mask).cell.array) - np.eye(3)
        assert abs(strain[0, 0]) > 1e-4
        np.testing.assert_allclose(strain - np.diag([strain[0, 0], strain[1, 1], 0]), 0, atol=1e-12)
    left = atoms.copy()
    left.set_cell(atoms.cell.array[[1, 0, 2]])
    assert space_group(final(left, fix_symmetry=True), symprec=1e-6) == "Fm-3m (225)"
    sheared = final(cell_mask="yx")
    assert sheared.cell.lengths()[2] == pytest.approx(3.65, abs=1e-12)


@pytest.mark.parametrize("fix_symmetry", [True, False])
def test_a_left_handed_cell_relaxes_as_its_mirror_image_does(fix_symmetry):
    """Some calculators divide by det(cell), so that stress has the wrong sign; cells come back as they were given."""

    class Signed(EMT):
        def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
            super().calculate(atoms, properties, system_changes)
            if "stress" in self.results:
                self.results["stress"] = self.results["stress"] * np.sign(np.linalg.det(atoms.cell.array))

    right = bulk("Cu", a=3.7)
    left = right.copy()
    left.set_cell(right.cell.array[[1, 0, 2]])
    found = [
        relax(atoms, Signed(), cell=True, steps=20, fix_symmetry=fix_symmetry, progress=False).runs["plain"].final
        for atoms in (right, left)
    ]
    assert found[1].get_volume() == pytest.approx(found[0].get_volume(), rel=1e-6)
    assert np.linalg.det(found[1].cell.array) < 0
    np.testing.assert_allclose(found[1].cell.array[[1, 0, 2]], found[0].cell.array, atol=1e-5)
    assert found[1].get_volume() < left.get_volume()


def test_a_slab_relaxes_in_its_plane():
    slab = fcc111("Cu", (1, 1, 3), a=3.7, vacuum=5.0, periodic=False)
    assert slab.pbc.tolist() == [True, True, False]
    found = relax(slab, EMT(), cell=True, cell_mask="xx,yy,xy", steps=8, progress=False).runs["plain"].final
    assert found.cell[2] == pytest.approx(slab.cell[2], abs=1e-12)
    assert found.cell.lengths()[0] < slab.cell.lengths()[0] - 1e-3
    for mask in (None, "xx,zz", "xz"):
        with pytest.raises(ConfigError, match="needs a structure that is periodic in all directions"):
            relax(slab, EMT(), cell=True, cell_mask=mask, progress=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell_mask": "xx"}, "cell_mask is given, but the cell is not relaxed"),
        ({"fixed_volume": True}, "fixed_volume is given, but the cell is not relaxed"),
        ({"pressure": 5.0}, "pressure is given, but the cell is not relaxed"),
        ({"hydrostatic": True}, "hydrostatic is given, but the cell is not relaxed"),
        ({"cell": True, "hydrostatic": True, "fixed_volume": True}, "contradict each other"),
        ({"cell": True, "hydrostatic": True, "cell_mask": "xx"}, "contradict each other"),
        ({"cell": True, "fixed_volume": True, "pressure": 1.0}, "contradict each other"),
        ({"cell": True, "cell_mask": "xx,uu"}, "cell_mask"),
        ({"cell": True, "cell_mask": ""}, "cell_mask"),
        ({"cell": True, "cell_mask": []}, "cell_mask"),
    ],
)
def test_options_that_do_not_go_together(options, message):
    with pytest.raises(ConfigError, match=message):
        relax(bulk("Cu"), EMT(), progress=False, **options)


PARTIAL = {"0": {"Cu": 0.6, "Al": 0.4}}


@pytest.mark.parametrize(
    ("occupancy", "is_refused"),
    [
        (PARTIAL, True),
        ({"0": {"Cu": 0.5}}, True),
        ({0: {"Cu": 1.0}, 1: {"Al": 0.9}}, True),
        ({"0": {"Cu": 1.0}}, False),
        ({"0": {"Cu": 0.9999}}, False),
        ("unknown", False),
    ],
)
def test_sites_that_are_occupied_in_part(occupancy, is_refused, tmp_path):
    atoms = bulk("Cu")
    atoms.info["occupancy"] = occupancy
    for work in (
        lambda: relax(atoms, EMT(), steps=1, progress=False),
        lambda: SymmetrizedCalculator(EMT(), "space").get_potential_energy(atoms),
    ):
        if is_refused:
            with pytest.raises(
                DataError, match=r"\(Cu\) has sites that are occupied in part, .*; expected whole atoms"
            ):
                work()
        else:
            work()
    ase.io.write(tmp_path / "again.xyz", atoms)
    if occupancy == PARTIAL:
        with pytest.raises(DataError, match=r"structure 0 of .*again.xyz \(Cu\) has sites .* Cu0.6 Al0.4"):
            read_frames(tmp_path / "again.xyz")


@pytest.mark.parametrize(
    ("name", "form"),
    [
        *((name, "vasp") for name in ("POSCAR", "CONTCAR", "POSCAR.relaxed", "cu_CONTCAR", "cu.poscar")),
        ("cu.json", "json"),
        ("cu.db", "db"),
    ],
)
def test_names_of_files(name, form, tmp_path, capsys):
    ase.io.write(tmp_path / name, bulk("Cu", a=3.6), format=form)
    (frame,) = read_frames(tmp_path / name)
    np.testing.assert_allclose(frame.cell.array, bulk("Cu", a=3.6).cell.array, atol=1e-9)
    (tmp_path / "other.json").write_text('{"kind": "phonons"}')
    with pytest.raises(DataError, match="cannot be read as json"):
        read_frames(tmp_path / "other.json")
    with pytest.raises(DataError, match="expected a file of structures: .*POSCAR or CONTCAR"):
        read_frames(tmp_path / "POSTCARD")
