"""PET with injected bias: what its embedding sees, and that it is trained, saved and exported as a PET is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import jetsym
from jetsym import atoms
from jetsym.atoms.architectures import add_architectures
from jetsym.atoms.packages import quiet
from jetsym.errors import CheckpointError
from jetsym.spectrum.harmonics import bounded, solid_harmonics

EMBEDDER = "gnn_layers.0.edge_embedder"
BOTH = "harmonics:2,invariants"
FRAMES = ("CH3CH2OH", "CH3OCH3")


@pytest.fixture(scope="module")
def features(make_injected):
    """The module of the architecture that holds what is injected, by the name that metatrain gives it."""
    add_architectures()
    with quiet():
        from metatrain.experimental.jetsym_pet import features

    return features


def evaluate(module, frames):
    model = atoms.Model(module)
    return model(model.structures(frames))


# --- what is seen ---


@pytest.mark.parametrize("scripted", [False, True])
def test_harmonics_are_those_of_the_spectrum(features, scripted):
    made = features.Harmonics(4)
    with quiet():
        module = torch.jit.script(made) if scripted else made
    vectors = torch.randn(3, 5, 3, dtype=torch.float64)
    expected = torch.cat([solid_harmonics(lam, bounded(vectors)) for lam in range(1, 5)], dim=-1)
    found = module(vectors, vectors[..., 0], vectors[..., 0], torch.zeros(3, 5, dtype=torch.long))
    assert found.shape[-1] == made.width == 24
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(module.float().double()(vectors, vectors, vectors, vectors), found, rtol=0, atol=0)


def test_invariants_are_sums_over_neighbours(features):
    """Against numpy's polynomials, edge by edge, with an element and a padded neighbour."""
    rng = np.random.default_rng(0)
    vectors, weights, elements = rng.normal(size=(2, 4, 3)), rng.uniform(size=(2, 4)), rng.integers(3, size=(2, 4))
    weights[1, 3] = 0.0
    module = features.Invariants(4.5, 3).double()
    factors = rng.normal(size=(3, 8))
    module.elements.weight.data = torch.tensor(factors)
    distances = np.linalg.norm(vectors, axis=-1)
    found = module(*map(torch.tensor, (vectors, distances, weights, elements))).detach().numpy()
    centres = np.linspace(0, 4.5, 8)
    radial = np.exp(-0.5 * ((distances[..., None] - centres) / (4.5 / 7)) ** 2)
    for atom in range(2):
        for edge in range(4):
            expected = [radial[atom, edge]]
            for degree in range(4):
                polynomial = np.polynomial.Legendre.basis(degree)
                total = np.zeros(8)
                for other in range(4):
                    cosine = vectors[atom, edge] @ vectors[atom, other] / distances[atom, [edge, other]].prod()
                    factor = weights[atom, other] * factors[elements[atom, other]] * radial[atom, other]
                    total += factor * polynomial(cosine)
                expected.append(total / (1 + weights[atom].sum()))
            np.testing.assert_allclose(found[atom, edge], np.concatenate(expected), rtol=1e-12, atol=1e-14)
    moved = vectors.copy()
    moved[1, 3] = [5.0, -1.0, 2.0]  # behind the padded neighbour may stand anything
    again = module(*map(torch.tensor, (moved, distances, weights, elements))).detach().numpy()
    np.testing.assert_allclose(np.delete(again[1], 3, axis=0), np.delete(found[1], 3, axis=0), rtol=0, atol=1e-15)


def shares(report, layer):
    """Fraction of a layer by λ, true tensors and pseudotensors together."""
    row = report.fractions[report.layers.index(layer)]
    return [sum(float(row[place]) for place, irrep in enumerate(report.irreps) if irrep.lam == lam) for lam in range(5)]


def spectra(module, molecule, *layers):
    frames = [molecule(name, 0) for name in FRAMES]
    return jetsym.probe(atoms.Model(module), frames, layers=list(layers), outputs={}, l_max=4, progress=False)


def test_harmonics_put_content_where_a_pet_has_none(make_model, make_injected, molecule):
    before, after = (spectra(made, molecule, EMBEDDER) for made in (make_model(), make_injected("harmonics:2")))
    floor = before.noise_floor[0]
    assert abs(shares(before, EMBEDDER)[2]) < 10 * floor
    assert shares(after, EMBEDDER)[2] > 0.05
    assert max(abs(share) for share in shares(after, EMBEDDER)[3:]) < 10 * after.noise_floor[0]  # λ = 2 was asked for


def test_invariants_add_what_is_invariant_and_nothing_else(make_injected, molecule):
    report = spectra(make_injected("invariants"), molecule, EMBEDDER, f"{EMBEDDER}.mix")
    added = report.layers.index(f"{EMBEDDER}.mix")
    assert shares(report, f"{EMBEDDER}.mix")[0] == pytest.approx(1.0, abs=1e-12)
    assert max(map(abs, shares(report, f"{EMBEDDER}.mix")[1:])) < 10 * report.noise_floor[added]
    assert shares(report, EMBEDDER)[1] > 1e-3  # the vectors are still there


# --- as a PET ---


@pytest.mark.parametrize("inject", ["harmonics:3", "invariants", BOTH])
def test_it_starts_as_the_pet_of_the_same_seed(make_model, make_injected, molecule, inject):
    plain, injected = make_model(), make_injected(inject, scale=0.0)
    frames = [molecule(name, 0) for name in FRAMES]
    found, expected = evaluate(injected, frames), evaluate(plain, frames)
    torch.testing.assert_close(found["energy"], expected["energy"], rtol=0, atol=0)
    drawn = []
    for module in (plain, injected):
        with torch.random.fork_rng(devices=[]), quiet():
            torch.manual_seed(3)
            type(module)(module.hypers, module.dataset_info)
            drawn.append(torch.rand(3))
    assert torch.equal(*drawn)  # the order of structures and their rotations are drawn after
    own = set(injected.state_dict()) - set(plain.state_dict())
    assert own >= {f"backend.gnn_layers.{layer}.edge_embedder.mix.weight" for layer in (0, 1)}
    assert all(".mix." in name or ".features." in name for name in own)


def test_an_untrained_copy_uses_nothing_of_it(make_injected, molecule):
    layers = [f"{EMBEDDER}.mix", EMBEDDER]
    frames = [molecule(FRAMES[0], 0)]
    model = atoms.Model(make_injected("harmonics:2"))
    report = jetsym.probe(model, frames, layers=layers, l_max=3, baseline="untrained", progress=False)
    row = report.layers.index(EMBEDDER)
    place = [(irrep.lam, irrep.sigma) for irrep in report.irreps].index((2, 1))
    assert report.fractions[row, place] > 0.05
    assert np.abs(report.baseline.fractions[row, place]) < 1e-14


OTHERS = {
    "as it comes": {},
    "residual": {"featurizer_type": "residual", "transformer_type": "PostLN", "d_node": 32},
    "adaptive": {"num_neighbors_adaptive": 6},
    "charges": {"system_conditioning": True},
}


@pytest.mark.filterwarnings("ignore:module does not have '_mts_buffer_names'")  # of metatrain, as it saves
@pytest.mark.parametrize("options", OTHERS)
def test_exported_and_plain_agree(make_injected, molecule, tmp_path, options):
    module = make_injected(BOTH, gradients=("positions",), dtype=torch.float64, **OTHERS[options])
    with quiet():
        module.export().save(str(tmp_path / "model.pt"))
    exported = atoms.load(tmp_path / "model.pt")
    alone = molecule("H2O")[:1]
    for frames in ([molecule(name, 0) for name in FRAMES], [alone]):
        expected = evaluate(module, frames)["energy"]
        offset = exported(exported.structures([frames[0]]))["energy"] - expected[:1]  # with its baseline: of elements
        found = exported(exported.structures(frames))["energy"] - offset
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
        assert torch.isfinite(found).all()


def test_a_checkpoint_gives_the_same_model(make_injected, molecule, tmp_path):
    module = make_injected(BOTH, gradients=("positions",))
    file = tmp_path / "model.ckpt"
    torch.save(module.get_checkpoint() | {"epoch": 3, "best_epoch": 2}, file)
    loaded = atoms.load(file)
    assert loaded.name == "InjectedPET"
    frames = [molecule(name, 0) for name in FRAMES]
    found, expected = loaded(loaded.structures(frames)), evaluate(module, frames)
    for name in ("energy", "forces"):
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=0)
    assert "gnn_layers.1_node" in jetsym.probe(str(file), frames[:1], l_max=1, progress=False).layers


def test_a_checkpoint_of_a_later_version_is_refused(make_injected, tmp_path):
    file = tmp_path / "model.ckpt"
    torch.save(make_injected("invariants").get_checkpoint() | {"epoch": 0, "best_epoch": 0, "jetsym_version": 7}, file)
    with pytest.raises(CheckpointError, match=r"of version 7 of jetsym's PET, and this jetsym knows .* upgrade jetsym"):
        atoms.load(file)


def test_no_file_is_named_by_what_is_injected(make_injected, tmp_path):
    content = make_injected("invariants").get_checkpoint() | {"epoch": 0, "best_epoch": 0}
    content["model_data"]["model_hypers"] = content["model_data"]["model_hypers"] | {"inject": "/tmp/other.ckpt"}
    torch.save(content, tmp_path / "model.ckpt")
    with pytest.raises(CheckpointError, match="an option that names a file, '/tmp/other.ckpt'"):
        atoms.load(tmp_path / "model.ckpt")


def test_padding_adds_nothing(make_injected, molecule):
    """A molecule whose atoms have fewer neighbours than those of another is padded beside it."""
    module = make_injected(BOTH, gradients=("positions",))
    wide, near = molecule("CH3CH2OH", 0), molecule("CH3CH2OH", 1)
    wide.positions *= 2.5
    together, alone = evaluate(module, [near, wide]), evaluate(module, [wide])
    torch.testing.assert_close(together["energy"][1], alone["energy"][0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(together["forces"][1], alone["forces"][0], rtol=1e-10, atol=1e-12)


def test_the_energy_is_continuous_where_a_neighbour_crosses_the_cutoff(make_injected, molecule):
    module = make_injected(BOTH, scale=2.0)
    from ase import Atoms

    def energy(distance):
        frame = molecule("H2O", 0) + Atoms("O", [[0.0, 0.0, 0.0]])
        frame.positions[3] = frame.positions[0] + [0.0, 0.0, distance]
        return evaluate(module, [frame])["energy"].item()

    cutoff = 4.5
    # Much nearer, Structures leaves pairs out already.
    assert abs(energy(cutoff + 1e-4) - energy(cutoff - 1e-4)) < 1e-9
    assert abs(energy(cutoff - 0.4) - energy(cutoff + 0.1)) > 1e-5  # and a neighbour is felt before it leaves


def test_forces_are_slopes_and_can_be_trained(make_injected, molecule):
    """Forces against differences of the energy, and the slope of their square by the weights against differences."""
    module = make_injected(BOTH, gradients=("positions",))
    frame, step = molecule("CH3OH", 0), 1e-4
    forces = evaluate(module, [frame])["forces"][0, :, 0]
    for atom, axis in [(0, 0), (1, 2), (4, 1)]:
        energies = []
        for sign in (1, -1):
            moved = frame.copy()
            moved.positions[atom, axis] += sign * step
            energies.append(evaluate(module, [moved])["energy"].item())
        assert forces[atom, axis].item() == pytest.approx((energies[1] - energies[0]) / (2 * step), rel=1e-5, abs=1e-7)

    with quiet():
        from metatomic.torch import ModelOutput
    system = atoms.Model(module).systems([frame])[0]
    weight = module.backend.gnn_layers[0].edge_embedder.mix.weight
    elements = module.backend.features[1].elements.weight

    def squared():
        from jetsym.atoms.model import _differentiable

        systems, positions, _ = _differentiable(atoms.Model(module).structures([frame]))
        energy = module(systems, {"energy": ModelOutput(sample_kind="system")})["energy"].block().values.sum()
        (slope,) = torch.autograd.grad(energy, positions, create_graph=True)
        return (slope**2).sum()

    assert system.positions.dtype == torch.float64
    module.train()  # only then is there a second derivative of attention
    try:
        slopes = torch.autograd.grad(squared(), [weight, elements])
        for parameter, place in [(weight, (3, 2)), (weight, (5, 20)), (elements, (1, 2))]:
            slope = slopes[parameter is elements]
            values = []
            for sign in (1, -1):
                parameter.data[place] += sign * step
                values.append(squared().item())
                parameter.data[place] -= sign * step
            difference = (values[0] - values[1]) / (2 * step)
            assert slope[place].item() == pytest.approx(difference, rel=1e-4, abs=1e-9)
            assert abs(difference) > 1e-9
    finally:
        module.eval()
