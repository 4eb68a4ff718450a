"""Structures under the probe: how they move, what is measured, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import jetsym
from jetsym.atoms import Model, Structures, check, domain, read_frames
from jetsym.errors import ConfigError, DataError, ProbeError
from jetsym.probing.measure import orbit
from jetsym.spectrum import O3

QUIET = {"progress": False, "layers": []}
TURN = O3().rotations((3,), np.random.default_rng(0))


@pytest.fixture(scope="module")
def forces_model(make_model):
    """A PET whose energy was trained with forces and stress, so to say."""
    return Model(make_model(gradients=("positions", "strain"), seed=1))


@pytest.fixture
def copper():
    """A slightly shaken cubic cell of copper, small against the cutoff."""
    from ase.build import bulk

    atoms = bulk("Cu", "fcc", a=3.6, cubic=True)
    atoms.positions += np.random.default_rng(1).normal(scale=0.05, size=atoms.positions.shape)
    return atoms


def pairs_of(system):
    """Pairs with their vectors, whatever their order."""
    (options,) = system.known_neighbor_lists()
    block = system.get_neighbor_list(options)
    return {
        tuple(label): vector for label, vector in zip(block.samples.values.tolist(), block.values[..., 0], strict=True)
    }


@pytest.mark.parametrize("sign", [1, -1])
def test_moved_structures_are_those_of_moved_frames(pet, molecule, copper, sign):
    model = Model(pet)
    for frame in (molecule("CH3CH2OH", 0), copper):
        for matrix, moved in zip(sign * TURN, model.structures([frame]).moved(sign * TURN).systems, strict=True):
            rotated = frame.copy()
            rotated.set_cell(frame.cell.array @ matrix.T)
            rotated.positions = frame.positions @ matrix.T
            (fresh,) = model.systems([rotated])
            torch.testing.assert_close(moved.positions, fresh.positions)
            torch.testing.assert_close(moved.cell, fresh.cell)
            ours, theirs = pairs_of(moved), pairs_of(fresh)
            assert ours.keys() == theirs.keys()
            for pair, vector in ours.items():
                torch.testing.assert_close(vector, theirs[pair], atol=1e-12, rtol=0)


def test_moved_structures_come_element_by_element(pet, molecule):
    some = Model(pet).structures([molecule("H2O"), molecule("CH3OH")])
    own = np.stack([TURN, TURN[::-1]], axis=1)
    moved = some.moved(own)
    assert moved.sizes == [3, 6] * 3
    expected = some.systems[1].positions @ torch.from_numpy(own[2, 1]).mT
    torch.testing.assert_close(moved.systems[5].positions, expected)


def test_pairs_at_the_very_cutoff_do_not_come_and_go(make_model):
    """In perfect copper whole shells may be at the cutoff, where rounding would decide."""
    from ase.build import bulk

    frame = bulk("Cu", "fcc", a=3.6, cubic=True)
    model = Model(make_model(cutoff=3.6))
    (system,) = model.systems([frame])
    assert len(pairs_of(system)) == 4 * 12  # the second shell, at a = 3.6, is left out
    report = jetsym.probe(model, [frame], l_max=2, layers=["gnn_layers.1_edge"], progress=False)
    assert report.layers == ("gnn_layers.1_edge", "energy")


def test_forces_and_stress_are_slopes_of_the_energy(forces_model, copper):
    found = forces_model(forces_model.structures([copper]))
    assert found["forces"].shape == (1, 4, 1, 3)
    assert found["stress"].shape == (1, 1, 3, 3)

    def energy(frame):
        return float(forces_model(forces_model.structures([frame]))["energy"])

    step = 1e-4
    for atom, axis in ((0, 0), (2, 1)):
        shifted = [copper.copy(), copper.copy()]
        shifted[0].positions[atom, axis] += step
        shifted[1].positions[atom, axis] -= step
        slope = (energy(shifted[0]) - energy(shifted[1])) / (2 * step)
        assert float(found["forces"][0, atom, 0, axis]) == pytest.approx(-slope, rel=1e-5)
    strained = [copper.copy(), copper.copy()]
    for sign, frame in zip((1, -1), strained, strict=True):
        strain = np.eye(3)
        strain[0, 1] = sign * step
        frame.set_cell(frame.cell.array @ strain, scale_atoms=True)
    slope = (energy(strained[0]) - energy(strained[1])) / (2 * step) / copper.get_volume()
    assert float(found["stress"][0, 0, 0, 1]) == pytest.approx(slope, rel=1e-5)


def test_forces_and_stress_are_measured_as_what_they_are(forces_model, copper):
    report = jetsym.probe(forces_model, [copper], l_max=2, **QUIET)
    assert {name: item.kind for name, item in report.equivariance.items()} == {
        "energy": "scalar",
        "forces": "vector",
        "stress": "rank2",
    }
    assert all(0 < item.relative < 1 for item in report.equivariance.values())


def test_a_loaded_module_and_its_wrapper_are_the_same(pet, molecule):
    frames = [molecule("H2O", 0)]
    module, wrapped = (jetsym.probe(model, frames, l_max=1, progress=False) for model in (pet, Model(pet)))
    assert module.layers == wrapped.layers
    assert module.meta["model"] == "PET"
    np.testing.assert_array_equal(module.fractions, wrapped.fractions)


def test_every_layer_has_its_metatrain_name(pet, molecule):
    report = jetsym.probe(pet, [molecule("H2O", 0)], l_max=1, progress=False)
    expected = {"node_embedders.0", "edge_embedder", "energy"}
    for k in (0, 1):
        names = ["edge_embedder", "compress", *(f"trans.layers.{j}_{x}" for j in (0, 1) for x in ("node", "edge"))]
        expected |= {f"gnn_layers.{k}_node", f"gnn_layers.{k}_edge", *(f"gnn_layers.{k}.{name}" for name in names)}
        expected |= {f"gnn_layers.{k}.trans.layers.{j}.attention_{x}" for j in (0, 1) for x in ("node", "edge")}
        expected |= {f"gnn_layers_post_mp_node.{k}", f"gnn_layers_post_mp_edge.{k}", f"combination_mlps.{k}"}
    expected |= {"gnn_layers.1.neighbor_embedder", "node_heads.energy.0", "edge_heads.energy.0"}
    expected |= {"node_last_layers.energy.0.energy___0", "edge_last_layers.energy.0.energy___0"}
    assert set(report.layers) == expected
    assert report.layers[-1] == "energy"


def test_layers_are_chosen_by_name_and_pattern(pet, molecule):
    frames = [molecule("H2O", 0)]
    report = jetsym.probe(pet, frames, layers=["gnn_layers.?_node", "node_heads.energy.0"], l_max=1, progress=False)
    assert report.layers == ("gnn_layers.0_node", "gnn_layers.1_node", "node_heads.energy.0", "energy")
    with pytest.raises(ProbeError, match="'gnn_layer.0' matches no layer of the PET; the nearest are 'gnn_layers.0'"):
        jetsym.probe(pet, frames, layers=["gnn_layer.0"], progress=False)


def test_frames_add_up(pet, molecule, monkeypatch):
    """Frames of several sizes: a ratio of sums of what each of them gives by the rule alone."""
    monkeypatch.setattr(orbit, "HELD_OUT", 0)
    frames = [molecule("H2O", 0), molecule("CH3CH2OH", 1), molecule("CO2", 2)]
    options = {"l_max": 2, "layers": ["gnn_layers.1_*"], "progress": False}
    alone = [jetsym.probe(pet, [frame], **options) for frame in frames]
    together = jetsym.probe(pet, frames, **options)
    assert together.meta["n_inputs"] == 3
    norms = np.stack([report.norm for report in alone])
    expected = sum(report.fractions * report.norm[:, None] for report in alone) / norms.sum(axis=0)[:, None]
    np.testing.assert_allclose(together.fractions, expected, atol=1e-14)
    np.testing.assert_allclose(together.norm, norms.mean(axis=0))
    assert jetsym.probe(pet, frames, limit=2, **options).meta["n_inputs"] == 2


@pytest.mark.parametrize("batch_size", [20, 300])
def test_batches_do_not_matter(pet, molecule, batch_size):
    frames, options = [molecule("CH3OH", 0), molecule("H2O")], {"l_max": 2, "progress": False}
    some, all_at_once = (jetsym.probe(pet, frames, batch_size=size, **options) for size in (batch_size, 4096))
    np.testing.assert_allclose(some.fractions, all_at_once.fractions, atol=1e-14)


def test_an_open_batch_size_goes_by_the_pairs(pet, molecule, copper, monkeypatch):
    frames = [molecule("H2O"), copper]
    assert Model(pet).structures(frames).pairs[0] == 6
    monkeypatch.setattr(domain, "PAIRS_AT_ONCE", 60)
    assert domain.ATOMS.max_evaluations(Model(pet).structures(frames[:1])) == 10
    report = jetsym.probe(pet, frames[:1], l_max=1, **QUIET)
    assert report.meta["batch_size"] == 10


def test_after_a_probe_a_model_still_takes_any_batch(pet, molecule):
    model = Model(pet)
    frames = [molecule("H2O", 0), molecule("CH3OH", 1)]
    before = model(model.structures(frames))["energy"]
    jetsym.probe(model, frames, l_max=1, progress=False)
    torch.testing.assert_close(model(model.structures(frames))["energy"], before)


def test_groups_and_estimators(pet, molecule):
    frames, options = [molecule("CH3CH2OH", seed) for seed in range(6)], {"l_max": 1, "progress": False}
    layers = ["gnn_layers.1_edge"]
    o3, so3 = (jetsym.probe(pet, frames, group=group, layers=layers, **options) for group in ("O3", "SO3"))
    # With parity, λ of SO(3) is (λ,+) and (λ,−) together.
    by_lam = [sum(o3.fractions[0, place] for place, i in enumerate(o3.irreps) if i.lam == lam) for lam in (0, 1)]
    np.testing.assert_allclose(so3.fractions[0], by_lam, atol=1e-3)
    random = jetsym.probe(pet, frames, n_rotations=32, layers=layers, **options)
    assert random.meta["method"] == "random"
    assert np.all(np.abs(random.fractions - o3.fractions) < 5 * random.stderr + 1e-3)
    so2 = jetsym.probe(pet, frames, group="SO2", axis="z", layers=layers, **options)
    assert [str(irrep) for irrep in so2.irreps] == ["m=0", "m=1"]
    assert so2.fractions[0, 0] > so3.fractions[0, 0]  # what is invariant under all rotations is so about z


def test_an_untrained_copy_is_a_baseline(pet, molecule):
    report = jetsym.probe(pet, [molecule("H2O", 0)], l_max=1, baseline="untrained", **QUIET)
    assert report.baseline is not None
    assert report.baseline.equivariance["energy"].relative != report.equivariance["energy"].relative


def test_single_precision_has_a_higher_floor(make_model, molecule):
    report = jetsym.probe(make_model(dtype=torch.float32), [molecule("H2O", 0)], l_max=1, **QUIET)
    assert report.meta["dtype"] == "float32"
    assert 1e-16 < report.noise_floor[0] < 1e-8


def test_atoms_without_neighbours(pet):
    """There are no pairs; layers of pairs have nothing to report."""
    from ase import Atoms

    report = jetsym.probe(pet, [Atoms("O", [[0, 0, 0]])], l_max=1, progress=False)
    assert "gnn_layers.1_node" in report.layers
    assert "gnn_layers.1_edge" not in report.layers
    assert abs(report.equivariance["energy"].relative) < 1e-12


def test_a_molecule_of_two_atoms(pet):
    """Every atom has one neighbour: features of atoms and of pairs have the same shape."""
    from ase.build import molecule

    report = jetsym.probe(pet, [molecule("CO")], l_max=1, progress=False)
    assert {"gnn_layers.1_node", "gnn_layers.1_edge", "gnn_layers.0.compress"} <= set(report.layers)


def test_files_of_frames(pet, molecule, tmp_path):
    import ase.io

    file = tmp_path / "frames.xyz"
    ase.io.write(file, [molecule("H2O", 0), molecule("CH3OH", 1)])
    assert [len(frame) for frame in read_frames(file)] == [3, 6]
    assert len(read_frames([file, file], limit=3)) == 3
    report = jetsym.probe(pet, str(file), l_max=1, **QUIET)
    assert report.meta["n_inputs"] == 2


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="there is no file .*none.xyz"):
        read_frames(tmp_path / "none.xyz")
    with pytest.raises(DataError, match="ends in '.py'; expected a file of structures"):
        read_frames(tmp_path / "frames.py")
    (tmp_path / "broken.xyz").write_text("3\n\nH 0 0\n")
    with pytest.raises(DataError, match="broken.xyz cannot be read as extxyz"):
        read_frames(tmp_path / "broken.xyz")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group": "boost"}, "group='boost' needs jets"),
        ({"group": "lorentz"}, "needs jets"),
        ({"frame": "rest"}, "frame='rest' needs jets"),
        ({"group": "SO2", "axis": "jet"}, "axis='jet' needs jets"),
    ],
)
def test_what_only_jets_have(pet, molecule, options, message):
    with pytest.raises(ProbeError, match=message):
        jetsym.probe(pet, [molecule("H2O")], l_max=1, **options, **QUIET)


def test_what_cannot_be_an_input(pet, molecule):
    odd = molecule("H2O")
    odd.numbers[0] = 16
    with pytest.raises(DataError, match=r"structure 1 \(H2S\) holds atomic numbers \[16\]; the model knows"):
        jetsym.probe(pet, [molecule("H2O"), odd], **QUIET)
    odd = molecule("H2O")
    odd.positions[1, 1] = np.nan
    with pytest.raises(DataError, match="structure 0 has positions or a cell that are not finite"):
        jetsym.probe(pet, [odd], **QUIET)
    with pytest.raises(ProbeError, match="model is a Linear, but the inputs are structures"):
        jetsym.probe(nn.Linear(3, 3), [odd], **QUIET)
    with pytest.raises(ProbeError, match="says nothing of the neighbour lists it needs"):
        jetsym.probe(lambda structures: None, [molecule("H2O")], progress=False)
    with pytest.raises(ConfigError, match="features names 'featur'; the model offers 'feature'"):
        Model(pet, features=["featur"])


def test_a_callable_takes_ready_structures(pet, molecule):
    """A function of structures, such as of the distances of all atoms from their mean."""
    structures = Model(pet).structures([molecule("H2O", 0)])
    assert isinstance(structures, Structures)

    def size(some):
        positions = torch.stack([system.positions for system in some.systems])
        return {
            "size": (positions - positions.mean(dim=1, keepdim=True)).norm(dim=(1, 2)),
            "height": positions[:, 0, 2],
        }

    report = jetsym.probe(size, structures, l_max=1, progress=False)
    assert report.equivariance["size"].relative < 1e-12
    assert report.equivariance["height"].relative == pytest.approx(1)


def test_attribution_is_for_jets(pet, molecule):
    from jetsym.probing.measure.attribution import attribute

    with pytest.raises(ProbeError, match="attribution needs jets"):
        attribute(pet, [molecule("H2O")], progress=False)


def test_the_average_over_the_orbit_is_equivariant(make_model, molecule):
    from jetsym.probing.measure.average import orbit_average

    model = make_model({"dipole": {"cartesian": {"rank": 1}}})
    frames = [molecule("H2O", 0), molecule("CH3OH", 1)]
    rotated = [frame.copy() for frame in frames]
    for frame in rotated:
        frame.positions = frame.positions @ TURN[0].T
    plain, after = (orbit_average(model, some, bandwidth=5)["dipole"] for some in (frames, rotated))
    assert plain.mean.shape == (2, 1, 3)
    np.testing.assert_allclose(after.mean, plain.mean @ TURN[0].T, atol=1e-3 * np.abs(plain.mean).max())


@pytest.mark.slow
def test_the_stress_of_slabs_and_molecules_is_not_pooled_with_that_of_crystals(forces_model, copper, molecule):
    """That of a slab is over an arbitrary volume, and that of a molecule a virial, in eV."""
    from ase.build import fcc111

    slab = fcc111("Cu", (1, 1, 3), vacuum=6.0)
    slab.cell[2] = 0  # as metatomic takes it
    frames = {"crystal": copper, "slab": slab, "molecule": molecule("H2O", 1)}

    def stress(*names):
        report = jetsym.probe(forces_model, [frames[name] for name in names], l_max=2, **QUIET)
        return report.equivariance["stress"].absolute

    alone = stress("crystal")
    assert stress("crystal", "slab", "molecule") == pytest.approx(alone, rel=1e-9)
    assert stress("molecule", "crystal") == pytest.approx(alone, rel=1e-9)
    assert stress("molecule") > 0  # of molecules alone it is the virial


def test_a_slab_has_no_stress_where_a_calculator_is_probed_and_checked(copper):
    from ase.build import fcc111
    from ase.calculators.emt import EMT

    slab = fcc111("Cu", (1, 1, 3), vacuum=6.0)
    copper = copper.copy()
    copper.rattle(0.05, seed=0)
    for frames in ([copper], [slab, copper]):
        found = check(EMT(), frames, l_max=2, n_rotations=4, progress=False)
        assert found.row("against dE/dε", "stress").value >= 0
    with pytest.raises(KeyError):
        check(EMT(), [slab], l_max=2, n_rotations=4, progress=False).row("against dE/dε", "stress")
