"""CHGNet as its wheel has it: outputs as its calculator gives them, layers and laws."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from potentials.crystals import crystals, error_of_forces, moved, results
from potentials.table import expect_every_frame

import jetsym
from jetsym.atoms.packages.table import wrapped
from jetsym.errors import DataError, ProbeError

pytestmark = pytest.mark.filterwarnings("ignore")
chgnet = pytest.importorskip("chgnet.model")


@pytest.fixture(scope="module")
def network():
    return chgnet.CHGNet.load(use_device="cpu", verbose=False)


@pytest.fixture(scope="module")
def wide():
    return chgnet.CHGNet.load(use_device="cpu", verbose=False).double()


@pytest.fixture(scope="module")
def report(wide):
    return jetsym.probe(wide, crystals()[:1], l_max=2, progress=False)


@pytest.fixture(scope="module")
def calculator(network):
    return pytest.importorskip("chgnet.model.dynamics").CHGNetCalculator(network, use_device="cpu")


def test_the_outputs_are_those_of_its_calculator(network, calculator):
    model = wrapped(network.eval())
    for frame in crystals():
        found, own = model(model.structures([frame])), results(calculator, frame)
        converted = network.graph_converter(pytest.importorskip("pymatgen.io.ase").AseAtomsAdaptor.get_structure(frame))
        composition = float(network.composition_model([converted])) * len(frame)
        assert found["energy"].item() == pytest.approx(own["energy"] - composition, abs=1e-4)
        np.testing.assert_allclose(found["forces"][0], own["forces"], atol=2e-5)
        np.testing.assert_allclose(found["stress"][0], own["stress"], atol=2e-6)
        np.testing.assert_allclose(found["magmoms"][0], calculator.results["magmoms"], atol=1e-5)


def test_a_batch_is_what_its_structures_are_alone(wide):
    model = wrapped(wide.eval())
    both = model.structures(crystals())
    rotated = both[1:2].moved(np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3, 3)))[0])
    together = model(rotated)
    for place in range(3):
        for name, values in model(rotated[place : place + 1]).items():
            np.testing.assert_allclose(together[name][place], values[0], atol=1e-10)


def test_a_moved_graph_is_that_of_the_moved_crystal(wide):
    model, (frame, _) = wrapped(wide.eval()), crystals()
    turn = -np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
    built, carried = model(model.structures([moved(frame, turn)])), model(model.structures([frame]).moved(turn[None]))
    for name in ("energy", "stress"):
        np.testing.assert_allclose(built[name], carried[name], atol=1e-5)  # its converter is of float32


def test_in_float64_every_output_has_its_law_below_the_floor(report):
    assert set(report.equivariance) >= {"energy", "energies", "forces", "stress", "magmoms"}
    assert all(item.is_within_rounding for item in report.equivariance.values())
    assert report.equivariance["forces"].noise_floor < 1e-10


def test_features_of_atoms_bonds_and_angles_are_invariant_to_rounding(report):
    invariant = [name for name in report.layers if name not in ("bond_basis_expansion.2", "forces", "stress")]
    assert {"atom_conv_layers.3", "bond_conv_layers.2", "angle_layers.2", "bond_basis_expansion.0"} <= set(invariant)
    for name in invariant:
        row = report.layers.index(name)
        assert abs(report.fractions[row, 0] - 1) < 1e-5  # bonds vanish at the cutoff, and their tail with them
        assert np.abs(report.fractions[row, 1:]).max() < 1e-12


def test_directions_of_bonds_are_vectors(report):
    row = report.layers.index("bond_basis_expansion.2")
    assert report.fractions[row, report.irreps.index(next(i for i in report.irreps if str(i) == "(1,+)"))] > 0.999


def test_the_error_is_what_rotating_structures_by_hand_gives(network, calculator):
    frame = crystals()[0]
    by_hand = error_of_forces(calculator, frame, (1,))
    item = jetsym.probe(network, [frame], group="SO3", layers=[], l_max=2, progress=False).equivariance["forces"]
    assert by_hand < 3e-5
    assert abs(item.relative) < 3e-5


def test_molecules_are_refused(wide):
    water = pytest.importorskip("ase.build").molecule("H2O")
    with pytest.raises(DataError, match="structure 0 .H2O. is not periodic in three directions"):
        jetsym.probe(wide, [water], progress=False)


def test_an_unknown_layer_is_refused_with_the_nearest(wide):
    with pytest.raises(ProbeError, match="atom_conv_layers.3"):
        jetsym.probe(wide, crystals(), layers=["atom_conv_layers.30"], progress=False)


def test_every_frame(calculator):
    expect_every_frame(calculator, "CHGNet", molecules=False)


def test_the_code_of_the_documentation_runs():
    page = (Path(__file__).parents[2] / "notebooks" / "docs" / "inputs.md").read_text(encoding="utf-8")
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "from chgnet" in block)
    known = {"jetsym": jetsym, "frames": crystals()[:1]}
    exec(code.replace("frames)", "frames, l_max=2, progress=False)"), known)
    assert "forces" in known["report"].equivariance
    assert len(known["report"].layers) > 3
