"""A PET with forces and stress that are no slopes of its energy: probed, evaluated, checked, averaged and rotated."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("metatomic_ase", reason="the extra 'atoms' is not installed")

from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import voigt_6_to_full_3x3_stress

import jetsym
from jetsym.atoms import RandomFrameCalculator, SymmetrizedCalculator, calculator, check, evaluate, export, load
from jetsym.atoms.calculated import GPA
from jetsym.atoms.exports import declared_outputs
from jetsym.atoms.frames import moved_frame
from jetsym.atoms.workflows.calculators import exported
from jetsym.spectrum import O3

pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered", "ignore:stress requested but likely")
FORCE, STRESS = "non_conservative_force", "non_conservative_stress"
TARGETS = {"energy": "energy", FORCE: {"cartesian": {"rank": 1}}, STRESS: {"cartesian": {"rank": 2}}}


@pytest.fixture(scope="module")
def file(make_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("direct") / "model.ckpt"
    torch.save(make_model(TARGETS, gradients=("positions", "strain")).get_checkpoint(), path)
    return path


@pytest.fixture(scope="module")
def export_file(file):
    return export(file, file.with_suffix(".pt"), symmetrize="none").path


@pytest.fixture(scope="module")
def frames(molecule):
    crystal = bulk("Cu", cubic=True)
    crystal.rattle(0.05, seed=1)
    return [molecule("H2O", seed=0), crystal, molecule("CH3OH", seed=2)]


def direct(file, atoms, name):
    """Return an output as the model gives it, (…, 3) or (…, 3, 3), in eV and Å."""
    model = load(file)
    with torch.no_grad():
        return model(model.structures([atoms]))[name][0].double().numpy()


def labelled(frames, file):
    """Return structures whose forces and stress are those that the model predicts directly, and 0.1 eV/Å more."""
    found = []
    for one in frames:
        known = {"energy": 0.0, "forces": direct(file, one, FORCE).reshape(-1, 3) + 0.1}
        if one.pbc.all():
            stress = direct(file, one, STRESS).reshape(3, 3) + 0.01 * np.eye(3)
            known["stress"] = stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        found.append(Atoms(one.numbers, one.positions, cell=one.cell, pbc=one.pbc))
        found[-1].calc = SinglePointCalculator(found[-1], **known)
    return found


@pytest.mark.parametrize("kind", ["checkpoint", "export"])
def test_a_probe_measures_them_by_their_laws(file, export_file, frames, kind):
    model = load(file if kind == "checkpoint" else export_file)
    report = jetsym.probe(model, frames, layers=[], l_max=2, progress=False)
    assert {name: report.equivariance[name].kind for name in (FORCE, STRESS)} == {FORCE: "vector", STRESS: "rank2"}
    # By hand: random pairs ±R of each structure.
    elements = O3().rotations((24,), np.random.default_rng(0))
    spread, norm = 0.0, 0.0
    for one in frames:
        z = np.stack([direct(file, moved_frame(one, g), FORCE).reshape(-1, 3) @ g for g in (*elements, *-elements)])
        spread += ((z - z.mean(axis=0)) ** 2).sum() / len(z)
        norm += (z**2).sum() / len(z)
    assert report.equivariance[FORCE].relative == pytest.approx(np.sqrt(spread / norm), rel=0.1)


def test_the_stress_of_molecules_which_is_zero_is_not_pooled_with_that_of_crystals(file, frames):
    model, other = load(file), frames[1].copy()
    other.rattle(0.2, seed=9)
    assert np.abs(direct(file, frames[0], STRESS)).max() == 0
    found = [
        jetsym.probe(model, some, layers=[], l_max=2, progress=False).equivariance[STRESS]
        for some in ([frames[1], other], [*frames, other])
    ]
    assert found[1].absolute == pytest.approx(found[0].absolute, rel=1e-9)
    assert found[1].over_spread == pytest.approx(found[0].over_spread, rel=1e-9)


@pytest.mark.parametrize("kind", ["checkpoint", "export"])
def test_an_evaluation_compares_each_once_in_its_units(file, export_file, frames, kind):
    potential = calculator(file if kind == "checkpoint" else export_file)
    found = evaluate(potential, labelled(frames, file), turned=0, progress=False)
    others = found.scores["all"].others
    assert set(others) == {FORCE, STRESS}
    assert others[FORCE]["rmse"] == pytest.approx(100.0, rel=1e-6)
    assert others[STRESS]["mae"] == pytest.approx(GPA * 0.01 / 3, rel=1e-6)
    assert found.scores["all"].forces_rmse != pytest.approx(100.0, rel=1e-3)  # those of the energy are others
    text = str(found)
    assert "nc F RMSE [meV/Å]" in text
    assert "nc: non-conservative" in text


def test_an_older_name_of_forces_is_no_second_output(file, export_file):
    for model in (exported(file)[0], exported(export_file)[0]):
        assert [name for name in declared_outputs(model) if "conservative" in name and "::" not in name] == [
            FORCE,
            STRESS,
        ]


@pytest.fixture(scope="module", params=[True, "forces", "stress"])
def potential(request, file):
    model, _ = exported(file)
    kind = pytest.importorskip("metatomic_ase").MetatomicCalculator
    return kind(model, non_conservative=request.param, device="cpu", uncertainty_threshold=None)


def test_calculators_that_take_them_are_averaged_and_rotated(potential, frames):
    for one in frames[:2]:
        average, random = SymmetrizedCalculator(potential, "O3", 1), RandomFrameCalculator(potential, seed=2)
        forces, stress = np.zeros((len(one), 3)), np.zeros((3, 3))
        for g, weight in zip(*average.average(one)[:2], strict=True):
            moved = moved_frame(one, g)
            forces += weight * potential.get_property("forces", moved) @ g
            if one.pbc.all():
                stress += weight * g.T @ voigt_6_to_full_3x3_stress(potential.get_property("stress", moved)) @ g
        np.testing.assert_allclose(average.get_forces(one), forces, atol=1e-12)
        drawn = random.get_forces(one)
        moved = moved_frame(one, random.element)
        np.testing.assert_allclose(drawn, potential.get_property("forces", moved) @ random.element, atol=1e-12)
        if one.pbc.all():
            np.testing.assert_allclose(voigt_6_to_full_3x3_stress(average.get_stress(one)), stress, atol=1e-12)


def test_a_check_finds_that_they_are_no_slopes(file, potential, frames):
    wrong = potential.parameters["non_conservative"]
    found = check(potential, frames[1:2], n_rotations=3, progress=False)
    slopes = {row.output for row in found.rows if row.fault and ("−dE/dx" in row.test or "dE/dε" in row.test)}
    expected = {True: {"forces", "stress"}, "forces": {"forces"}, "stress": {"stress"}}[wrong]
    assert slopes == expected
