"""Tensor-basis heads of a PET: covariant whatever the parameters, exported, and trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from scipy.spatial.transform import Rotation

import jetsym
from jetsym.atoms import load, train
from jetsym.atoms.architectures import INJECTED, add_architectures
from jetsym.atoms.architectures.bias import bias_of
from jetsym.atoms.architectures.inject import parse_injection
from jetsym.atoms.architectures.penalty import Penalty
from jetsym.atoms.model import Model
from jetsym.atoms.packages import quiet
from jetsym.errors import ConfigError


def spherical(*irreps):
    return {"spherical": {"irreps": [{"o3_lambda": lam, "o3_sigma": sigma} for lam, sigma in irreps]}}


TARGETS = {
    "energy": "energy",
    "mtt::mu": {"cartesian": {"rank": 1}},
    "mtt::shield": {"cartesian": {"rank": 2}},
    "mtt::alpha": spherical((0, 1), (2, 1)),
    "mtt::odd": spherical((1, -1), (0, -1), (2, -1), (3, 1)),
}


@pytest.fixture
def made(make_model):
    """``made(inject, targets, …)``: a small PET with bias."""

    def make(inject="tensor-basis", targets=TARGETS, **options):
        with quiet():
            add_architectures()
            return make_model(targets, architecture=INJECTED, inject=inject, **options)

    return make


def with_constant_scalars(pet):
    """Make the last layers constants: invariant scalars, and numbers of any size."""
    generator = torch.Generator().manual_seed(0)
    for layers in (*pet.backend.node_last_layers.values(), *pet.backend.edge_last_layers.values()):
        for linear in (each for layer in layers for each in layer.values()):
            linear.weight.data.zero_()
            drawn = torch.randn(linear.bias.shape, generator=generator, dtype=torch.float64)
            linear.bias.data = drawn.to(linear.bias.dtype)
    return pet


def shaken(atoms, seed=0):
    atoms.rattle(0.1, seed=seed)
    return atoms


@pytest.mark.parametrize("inject", ["tensor-basis", "harmonics:2,invariants,tensor-basis"])
def test_of_invariant_scalars_all_targets_are_exact(made, inject):
    model = Model(with_constant_scalars(made(inject)))
    report = jetsym.probe(model, [shaken(molecule("CH3CH2OH"))], l_max=3, layers=[], progress=False)
    assert set(report.equivariance) == {
        "energy", "mtt::mu", "mtt::shield", "mtt::alpha (0,+)", "mtt::alpha (2,+)", "mtt::odd (1,-)", "mtt::odd (0,-)",
        "mtt::odd (2,-)", "mtt::odd (3,+)",
    }  # fmt: skip
    for name, item in report.equivariance.items():
        assert item.absolute < 1e-12, name
        assert item.relative < 1e-9, name  # of what is no rounding itself


def test_of_a_pet_only_the_scalars_break_the_law(made):
    """z − z̄ = Σ_k (s_k − s̄_k) T_k: the tensors, solved for the scalars of two orientations, are the same."""
    pet = made(targets={"mtt::mu": {"cartesian": {"rank": 1}}})
    basis, head = pet.backend.tensor_heads["mtt::mu"].bases[0][0], pet.backend.tensor_heads["mtt::mu"]
    recorded = {"tensors": [], "scalars": []}
    basis.register_forward_hook(lambda module, given, output: recorded["tensors"].append(output))
    head.register_forward_pre_hook(lambda module, given: recorded["scalars"].append(given[0][0]))
    model, atoms = Model(pet), shaken(molecule("CH3CH2OH"))
    turn = Rotation.random(rng=1).as_matrix()
    found = []
    for matrix in (np.eye(3), turn):
        frame = atoms.copy()
        frame.positions = atoms.positions @ matrix.T
        found.append(model(model.structures([frame]))["mtt::mu"][0, 0])
    first, second = recorded["tensors"]
    rolled = torch.from_numpy(np.roll(np.roll(turn, -1, 0), -1, 1))  # y, z, x
    torch.testing.assert_close(second, first @ rolled.T, atol=1e-13, rtol=0)
    difference = found[1] @ torch.from_numpy(turn) - found[0]
    assert difference.abs().max() > 1e-6  # a PET that was never trained
    change = torch.einsum("nk,nkm->m", recorded["scalars"][1] - recorded["scalars"][0], first).roll(1)
    torch.testing.assert_close(difference, change.detach(), atol=1e-12, rtol=0)


def test_it_turns_as_metatrain_turns_its_targets(made):
    """The law is that by which metatrain augments what it trains on, which knows nothing of this package."""
    with quiet():
        from metatomic.torch import ModelOutput
        from metatomic.torch.o3 import O3Transformations

    pet = with_constant_scalars(made())
    structures = Model(pet).structures([shaken(molecule("CH3OH")), shaken(molecule("C2H6"), 1)])
    matrices = torch.from_numpy(np.stack([Rotation.random(rng=2).as_matrix(), -Rotation.random(rng=3).as_matrix()]))
    transformations = O3Transformations(matrices, 3)
    wanted = {name: ModelOutput(sample_kind="system") for name in TARGETS}
    with torch.no_grad(), quiet():
        plain = pet(list(structures.systems), wanted)
        moved = pet(list(structures.moved(matrices[None]).systems), wanted)
        for name in TARGETS:
            expected = transformations.transform_tensormap(plain[name], torch.arange(2, dtype=torch.int32))
            for key in plain[name].keys:
                torch.testing.assert_close(
                    moved[name].block(key).values, expected.block(key).values, atol=1e-11, rtol=0
                )


def test_of_atoms_and_of_crystals(made):
    """Non-conservative forces of every atom, and a stress, which stays symmetric."""
    force = {"non_conservative_forces": {"cartesian": {"rank": 1}}}
    stress = {"non_conservative_stress": {"cartesian": {"rank": 2}}}
    pet = with_constant_scalars(made(targets=force | stress))
    crystal = shaken(bulk("Cu", cubic=True).repeat((2, 1, 1)))
    model = Model(pet)
    found = model(model.structures([crystal]))["non_conservative_stress"][0, 0]
    assert found.abs().max() > 1e-6
    assert torch.equal(found, found.mT)
    report = jetsym.probe(model, [crystal], l_max=3, layers=[], progress=False)
    assert all(item.absolute < 1e-12 for item in report.equivariance.values())
    systems = list(model.structures([crystal]).systems)
    with torch.no_grad(), quiet():
        from metatomic.torch import ModelOutput

        each = pet(systems, {"non_conservative_forces": ModelOutput(sample_kind="atom")})
    assert each["non_conservative_forces"].block().values.shape == (8, 3, 1)


def test_a_site_has_the_tensors_that_its_symmetry_allows(made):
    """An atom at a centre of inversion has no vectors, and quadrupoles; one alone has neither."""
    pet = made(targets={"mtt::mu": {"cartesian": {"rank": 1}}, "mtt::q": spherical((2, 1))})
    model = Model(with_constant_scalars(pet))
    linear = molecule("CO2")
    linear.positions += [0.3, -0.2, 0.1]
    found = model(model.structures([linear]))
    assert found["mtt::mu"].abs().max() < 1e-12
    tensors = []
    pet.backend.tensor_heads["mtt::q"].bases[0][0].register_forward_hook(lambda *x: tensors.append(x[2]))
    model(model.structures([linear]))
    assert tensors[0].shape[1:] == (6, 5)
    at_centre = tensors[0][linear.numbers == 6][0]
    assert at_centre[:5].abs().max() < 1e-12
    assert at_centre[5].abs().max() > 1e-3
    alone = model(model.structures([molecule("C")]))
    assert all(value.abs().max() == 0 for value in alone.values())


def test_no_penalty_is_paid_for_what_turns_as_it_should(made):
    """Of invariant scalars all targets obey their laws, and of a PET's own they do not."""
    pet = made()
    systems = Model(pet).systems([shaken(molecule("CH3OH")), shaken(molecule("C2H6"), 1)])

    def parts():
        penalty = Penalty(pet, 1.0, rng=np.random.default_rng(0))
        with torch.no_grad(), quiet():
            penalty(systems)
        return penalty._sums

    broken = parts()
    with_constant_scalars(pet)
    kept = parts()
    assert broken.keys() == kept.keys()
    assert all(value > 1e-12 for value in broken.values())
    assert all(value < 1e-22 for value in kept.values())


def test_no_cast_of_the_module_rounds_its_constants(made):
    pet = with_constant_scalars(made()).float().double()
    report = jetsym.probe(Model(pet), [shaken(molecule("CH3OH"))], l_max=3, layers=[], progress=False)
    assert all(item.absolute < 1e-12 for item in report.equivariance.values())


def test_an_export_gives_the_same(made, tmp_path):
    pet = made("harmonics:2,tensor-basis")
    model, frames = Model(pet), [shaken(molecule("CH3OH")), shaken(molecule("C2H6"), 1)]
    expected = model(model.structures(frames))
    with quiet():
        pet.export().save(str(tmp_path / "model.pt"))
    found = load(tmp_path / "model.pt")
    for name, values in found(found.structures(frames)).items():
        torch.testing.assert_close(values, expected[name], atol=1e-10, rtol=0)


def test_what_takes_no_such_head_is_refused(made):
    with pytest.raises(ConfigError, match=r"the targets are scalars \(energy\)"):
        made(targets={"energy": "energy"})
    with pytest.raises(ConfigError, match="target 'mtt::third' has the components xyz_1, xyz_2, xyz_3"):
        made(targets={"mtt::third": {"cartesian": {"rank": 3}}})
    with pytest.raises(ConfigError, match="inject is 'tensor'; expected"):
        parse_injection("tensor")
    assert str(parse_injection("invariants, tensor-basis,harmonics:2")) == "harmonics:2,invariants,tensor-basis"
    for words, said in (
        (("pet", "tensor-basis", 0.0, None, {"energy": {"key": "energy"}}), "the targets are scalars"),
        (("soap_bpnn", "tensor-basis", 0.0, None, {}), "architecture is 'soap_bpnn'; only a 'pet' takes it"),
    ):
        with pytest.raises(ConfigError, match=said):
            bias_of(*words)
    assert bias_of("pet", "tensor-basis", 0.0, None, {"non_conservative_forces": {}}).architecture == INJECTED


def test_targets_that_join_and_leave_have_heads(made):
    """As in fine-tuning: a new target has a head of its own, and one that leaves takes it away."""
    one, both = (
        {"mtt::mu": {"cartesian": {"rank": 1}}},
        {"mtt::mu": {"cartesian": {"rank": 1}}, "mtt::q": spherical((2, 1))},
    )
    pet, other = made(targets=one), made(targets=both)
    with quiet():
        pet.restart(other.dataset_info)
    assert list(pet.backend.tensor_heads) == ["mtt::mu", "mtt::q"]
    pet.to(torch.float64)
    model = Model(with_constant_scalars(pet).eval())
    report = jetsym.probe(model, [shaken(molecule("CH3OH"))], l_max=3, layers=[], progress=False)
    assert all(item.absolute < 1e-12 and item.relative < 1e-9 for item in report.equivariance.values())
    pet.remove_output("mtt::mu")
    assert list(pet.backend.tensor_heads) == ["mtt::q"]


@pytest.mark.slow
def test_dipoles_and_polarizabilities_train(tmp_path):
    """On molecules whose dipole is that of charges by element, and whose polarizability is that of bonds."""
    from ase.io import write

    rng, frames = np.random.default_rng(0), []
    for _ in range(24):
        frame = molecule("CH3OH")
        frame.positions += rng.normal(scale=0.15, size=frame.positions.shape)
        frame.positions = frame.positions @ Rotation.random(rng=rng).as_matrix().T
        charges = {1: 0.2, 6: -0.2, 8: -0.6}
        frame.info["mu"] = np.array([charges[z] for z in frame.numbers]) @ (frame.positions - frame.positions.mean(0))
        r = frame.positions - frame.positions[0]
        frame.info["alpha"] = (r.T @ r).ravel()
        frames.append(frame)
    write(tmp_path / "some.xyz", frames)
    targets = {
        "mtt::mu": {"key": "mu", "quantity": "", "type": {"cartesian": {"rank": 1}}},
        "mtt::alpha": {"key": "alpha", "quantity": "", "type": {"cartesian": {"rank": 2}}},
    }
    small = {"d_pet": 8, "d_node": 8, "d_head": 8, "d_feedforward": 8, "num_heads": 1, "num_attention_layers": 1}
    run = train(
        str(tmp_path / "some.xyz"), out=str(tmp_path / "run"), targets=targets, inject="tensor-basis", model=small,
        epochs=30, batch_size=4, learning_rate=1e-2, validation=0.25, progress=False, options={"final_eval": False},
    )  # fmt: skip
    losses = [float(row.split(",")[2]) for row in (run / "train.csv").read_text().splitlines()[2:]]
    assert min(losses[-5:]) < 0.3 * losses[0]
    model = load(run)
    report = jetsym.probe(model, frames[:2], l_max=3, layers=[], progress=False)
    assert set(report.equivariance) == {"mtt::mu", "mtt::alpha"}
