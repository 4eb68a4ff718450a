"""Batches, features, moves and taggers on a CUDA device: as on the CPU."""

from __future__ import annotations

import pytest
import torch

from jetsym.errors import MissingDependencyError
from jetsym.jets.features import FEATURE_SETS, cartesian_features, harmonic_features, invariant_features
from jetsym.jets.io import JetStream
from jetsym.jets.models import MODELS, ParticleTransformer, build
from jetsym.jets.moves.actions import about_jet_axis, boost, rotate, rotate_at_rest
from jetsym.jets.moves.augmentation import AugmentationConfig, augment
from jetsym.jets.moves.frames import has_rest_frame
from jetsym.jets.moves.sampling import random_rotations, random_turns

pytestmark = pytest.mark.cuda


@pytest.fixture
def jets(make_jets):
    found = make_jets(24, dtype=torch.float64, min_particles=3)
    return found[has_rest_frame(found)]


def test_a_batch_moves_there_and_back(cuda, jets):
    there = jets.to(cuda)
    assert there.device.type == there.label.device.type == there.columns["jet_sdmass"].device.type == cuda
    back = there[[3, 1]].trim().to("cpu")
    assert torch.equal(back.p4, jets[[3, 1]].trim().p4)
    assert torch.equal(there[there.label > 4].label.cpu(), jets[jets.label > 4].label)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_features_are_those_of_the_cpu(cuda, jets, dtype):
    jets = jets.to(dtype)
    functions = [function for function, _ in FEATURE_SETS.values()]
    functions += [cartesian_features, lambda x: harmonic_features(x, 3), lambda x: invariant_features(x, 4)]
    for function in functions:
        # Differences of nearly equal azimuths and of products lose digits, on each device others.
        bounds = {"atol": 1e-3 if dtype == torch.float32 else 1e-9, "rtol": 0}
        torch.testing.assert_close(function(jets.to(cuda)).cpu(), function(jets), **bounds)


def test_moves_are_those_of_the_cpu(cuda, jets):
    generator = torch.Generator().manual_seed(0)
    turns, about = (sample(5, generator=generator) for sample in (random_rotations, random_turns))
    for move in (
        lambda x: rotate(x, -turns),
        lambda x: rotate_at_rest(x, turns),
        lambda x: about_jet_axis(x, about),
        lambda x: boost(x, torch.linspace(-1, 1, 5), "jet"),
    ):
        torch.testing.assert_close(move(jets.to(cuda)).p4.cpu(), move(jets).p4, atol=1e-9, rtol=1e-12)


def test_tf32_does_not_reach_the_momenta(cuda, jets):
    turns, exact = random_rotations(3, generator=torch.Generator().manual_seed(0)), torch.float32
    torch.set_float32_matmul_precision("high")
    try:
        moved = rotate(jets.to(exact).to(cuda), turns).p4.cpu().double()
    finally:
        torch.set_float32_matmul_precision("highest")
    torch.testing.assert_close(moved, rotate(jets, turns).p4, atol=1e-3, rtol=1e-6)


@pytest.mark.parametrize(
    "config",
    [
        AugmentationConfig("O3"),
        AugmentationConfig("SO3", frame="rest"),
        AugmentationConfig("SO2", axis="random"),
        AugmentationConfig("boost", axis="jet", width=0.5),
        AugmentationConfig("lorentz", rapidity="normal", width=0.5, bound=1.0),
    ],
    ids=lambda config: config.group,
)
def test_augmentation_draws_on_the_device(cuda, jets, config):
    jets = jets.to(cuda)
    first, second = (augment(jets, config, generator=torch.Generator(cuda).manual_seed(1)).p4 for _ in range(2))
    assert torch.equal(first, second)
    assert first.isfinite().all()
    assert not torch.equal(first, jets.p4)


def test_packed_jets_are_unpacked_there(cuda, jetclass_file):
    path = jetclass_file(n=40)
    (packed,) = JetStream(path, batch_size=40, shuffle=False)
    assert packed.values.is_pinned() == (cuda != "cpu")
    here, there = packed.to_padded(20), packed.to(cuda).to_padded(20)
    for name in ("p4", "mask", "scalars", "jet_p4", "label"):
        assert torch.equal(getattr(here, name), getattr(there, name).cpu())


@pytest.mark.parametrize("name", MODELS)
def test_taggers_answer_as_on_the_cpu(cuda, jets, name):
    try:
        model = build(name).double().eval()
    except MissingDependencyError as error:
        pytest.skip(str(error))
    with torch.no_grad():
        here = model(jets)
        # Frames of particles that fly alike are made of small differences.
        bound = 1e-6 if name in ("lgatr", "lloca") else 1e-8
        torch.testing.assert_close(model.to(cuda)(jets.to(cuda)).cpu(), here, atol=bound, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["pointnet", "part", "particlenet", "deepsets"])
def test_gradients_under_autocast(cuda, jets, name, dtype):
    torch.manual_seed(0)
    model, jets = build(name).to(cuda), jets.to(torch.float32).to(cuda)
    with torch.autocast(cuda, dtype=dtype):
        loss = torch.nn.functional.cross_entropy(model(jets).float(), jets.label)
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert 1 < float(loss.detach()) < 6


def test_packing_changes_nothing(cuda, jets):
    """Jets alone, without padding, and jets together in groups of similar multiplicity."""
    model = ParticleTransformer(blocks=2).double().to(cuda).eval()
    jets = jets.to(cuda)
    with torch.no_grad():
        alone = torch.cat([model(jets[number].trim()) for number in range(len(jets))])
        torch.testing.assert_close(model(jets), alone, atol=1e-9, rtol=0)
