"""The contract that every tagger keeps."""

import json
from dataclasses import asdict

import pytest
import torch
from torch import nn

from jetsym.errors import ConfigError
from jetsym.jets import checkpoint
from jetsym.jets.batch import JetBatch
from jetsym.jets.models.registry import MODELS, build, name_of
from jetsym.jets.moves.actions import rotate
from jetsym.jets.moves.sampling import random_rotations
from jetsym.probing.forward.layers import select_layers
from jetsym.probing.forward.untrained import untrained_copy

SMALL = {
    "pointnet": {"width": 16, "blocks": 2, "heads": 4},
    "part": {"embedding": (16, 16), "pairs": (8, 8), "blocks": 2, "class_blocks": 2, "heads": 4, "dropout": 0.0},
    "particlenet": {"k": 8, "channels": ((16, 16), (32,)), "hidden": 16},
    "deepsets": {"particles": (16, 16), "jets": (16,)},
    "lgatr": {"multivectors": 4, "channels": 8, "blocks": 2, "heads": 2, "beam": "lightlike"},
    "lloca": {
        "hidden": 8,
        "head_scalars": 4,
        "head_vectors": 1,
        "blocks": 2,
        "heads": 2,
        "beam": "xyplane",
        "time": True,
    },
    "canonical": {"backbone": "pointnet", "options": {"width": 16, "blocks": 2, "heads": 4}},
}
#: Invariant under rotations by construction.
INVARIANT = {"canonical"}
#: Frames are made of differences between nearly parallel sums of momenta, which magnify rounding.
LOOSER = {
    "lloca": {torch.float32: 2e-5, torch.float64: 1e-10},
    "canonical": {torch.float32: 2e-5, torch.float64: 1e-10},
}
every_model = pytest.mark.parametrize("name", MODELS)
precisions = pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.float64, 1e-13)])


def make(name: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build(name, **SMALL[name]).to(dtype).eval()


def permuted(jets: JetBatch, order: torch.Tensor) -> JetBatch:
    return jets.replace(p4=jets.p4[:, order], mask=jets.mask[:, order], scalars=jets.scalars[:, order])


@every_model
@precisions
def test_invariant_under_permutations(make_jets, name, dtype, tolerance):
    jets, model, tolerance = make_jets(6, dtype=dtype), make(name, dtype), LOOSER.get(name, {}).get(dtype, tolerance)
    order = torch.randperm(jets.max_particles, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model(permuted(jets, order)), model(jets), atol=tolerance, rtol=0)


@every_model
@precisions
def test_independent_of_padding_and_of_the_other_jets(make_jets, name, dtype, tolerance):
    jets, model, tolerance = make_jets(6, dtype=dtype), make(name, dtype), LOOSER.get(name, {}).get(dtype, tolerance)
    logits = model(jets)
    assert logits.dtype == dtype
    padded = JetBatch.concatenate([jets, make_jets(1, dtype=dtype, max_particles=47)])
    torch.testing.assert_close(model(padded)[:6], logits, atol=tolerance, rtol=0)
    for b in range(6):
        torch.testing.assert_close(model(jets[b].trim()), logits[b : b + 1], atol=tolerance, rtol=0)


@every_model
def test_rubbish_in_the_padding_is_not_seen(make_jets, name):
    jets, model = make_jets(6), make(name)
    dirty = jets.replace(
        p4=jets.p4.masked_fill(~jets.mask[..., None], 77.0),
        scalars=jets.scalars.masked_fill(~jets.mask[..., None], 5.0),
    )
    assert torch.equal(model(dirty), model(jets))


@every_model
def test_lonely_particles_and_empty_jets_give_finite_numbers(make_jets, name):
    jets, model = make_jets(3), make(name).train()
    mask = torch.zeros_like(jets.mask)
    mask[0, 0] = mask[1, 0] = True
    p4 = jets.p4 * mask[..., None]
    p4[1] = 0  # a particle at rest without mass
    p4.requires_grad_()
    logits = model(jets.replace(p4=p4, mask=mask))
    assert logits.isfinite().all()
    logits.square().sum().backward()
    assert p4.grad.isfinite().all()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("name", [name for name in MODELS if name not in INVARIANT])
def test_sees_orientation(make_jets, name):
    """It is not invariant by construction: there would be nothing to learn."""
    jets, model = make_jets(6), make(name)
    moved = rotate(jets, random_rotations(1, generator=torch.Generator().manual_seed(0)))
    assert (model(moved) - model(jets)).abs().max() > 1e-3


@every_model
def test_every_parameter_learns_and_can_be_reset(make_jets, name):
    jets, model = make_jets(6), make(name)
    model(jets).square().sum().backward()
    learning = {key: parameter for key, parameter in model.named_parameters() if parameter.requires_grad}
    assert [key for key, parameter in learning.items() if not parameter.grad.abs().sum() > 0] == []
    owners = [module for module in model.modules() if [*module.parameters(recurse=False), *module.buffers(False)]]
    assert all(callable(getattr(module, "reset_parameters", None)) for module in owners)


@every_model
def test_config_describes_the_model(name):
    model = make(name)
    assert name_of(model) == name
    options = json.loads(json.dumps(asdict(model.config)))
    twin = build(name, model.classes, **options)
    twin.load_state_dict(model.state_dict())
    assert twin.config == model.config
    assert build(name, ("a", "b")).classes == ("a", "b")


@every_model
def test_named_blocks_return_one_tensor_with_hidden_padding(make_jets, name):
    jets, model = make_jets(5), make(name)
    outputs: dict[str, list[torch.Tensor]] = {layer: [] for layer in select_layers(model, "auto")}
    for layer, found in outputs.items():
        model.get_submodule(layer).register_forward_hook(lambda _, __, out, found=found: found.append(out))
    logits = model(jets)
    called = {layer: found[0] for layer, found in outputs.items() if len(found) == 1}
    assert {layer: len(found) for layer, found in outputs.items()} == {
        layer: 0 if layer == "interactions" else 1 for layer in outputs
    }
    assert all(len(tensor) == 5 for tensor in called.values())
    tokens = {layer: tensor for layer, tensor in called.items() if tensor.shape[:2] == jets.mask.shape}
    assert len(tokens) >= 2
    for layer, tensor in tokens.items():
        assert (tensor[~jets.mask] == 0).all(), layer
        assert (tensor[jets.mask] != 0).any(), layer
    assert torch.equal(next(tensor for layer, tensor in called.items() if layer.split(".")[-1] == "head"), logits)


@every_model
def test_an_untrained_copy_is_another_network_and_reproducible(make_jets, name):
    jets, model = make_jets(4), make(name)
    logits = model(jets)
    fresh = untrained_copy(model, seed=3)
    assert torch.equal(fresh(jets), untrained_copy(model, seed=3)(jets))
    assert not torch.equal(fresh(jets), logits)
    assert torch.equal(model(jets), logits)
    state = fresh.state_dict()
    assert all(tensor.isfinite().all() for tensor in state.values())
    assert state.keys() == model.state_dict().keys()


@every_model
def test_checkpoints_hold_it(tmp_path, make_jets, name):
    model = make(name)
    checkpoint.save(tmp_path / checkpoint.BEST, model)
    loaded = checkpoint.load(tmp_path)
    assert type(loaded) is type(model)
    assert loaded.config == model.config
    jets = make_jets(4)
    assert torch.equal(loaded(jets), model(jets))


def degenerate_jets(dtype: torch.dtype) -> JetBatch:
    """One particle; a collinear jet; duplicates; massless along the beam and at rest; a pair; none at all."""
    line = torch.tensor([50.0, 30.0, 0.0, 40.0], dtype=dtype)
    p4 = torch.zeros(6, 9, 4, dtype=dtype)
    p4[0, 0] = line
    p4[1] = line * torch.arange(1, 10, dtype=dtype)[:, None]
    p4[2] = line
    p4[3, 0], p4[3, 1], p4[3, 2] = torch.tensor([[5, 0, 0, 5], [5, 0, 0, -5], [1, 0, 0, 0]], dtype=dtype)
    p4[4, 0], p4[4, 1] = line, torch.tensor([50.0, 0.0, 30.0, 40.0], dtype=dtype)
    counts = torch.tensor([1, 9, 9, 4, 2, 0])
    mask = torch.arange(9) < counts[:, None]
    return JetBatch(p4 * mask[..., None], mask, torch.zeros(6, 9, 10, dtype=dtype), 9 * line.expand(6, 4))


@every_model
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("training", [False, True])
def test_degenerate_jets_have_finite_logits_and_gradients(name, dtype, training):
    jets, model = degenerate_jets(dtype), make(name, dtype).train(training)
    for batch in (jets, *(jets[b] for b in range(len(jets)))):
        p4 = batch.p4.clone().requires_grad_()
        logits = model(batch.replace(p4=p4))
        assert logits.isfinite().all()
        logits.square().sum().backward()
        assert p4.grad.isfinite().all()
        assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())
    assert all(buffer.isfinite().all() for buffer in model.buffers())
    # Whether collinear particles span a frame of lloca is up to rounding, which differs between batches.
    if not training and (name, dtype) != ("lloca", torch.float32):
        alone = torch.cat([model(jets[b].trim()) for b in range(len(jets))])
        torch.testing.assert_close(model(jets), alone, atol=1e-5, rtol=0)


def test_unknown_models_are_named():
    with pytest.raises(ConfigError, match="no model 'pointent'; the nearest are 'pointnet'"):
        build("pointent")
    with pytest.raises(ConfigError, match="Linear is not a model of jetsym"):
        name_of(nn.Linear(1, 1))
