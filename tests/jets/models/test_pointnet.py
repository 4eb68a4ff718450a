"""The unconstrained transformer, and the contract that every tagger keeps."""

import json
from dataclasses import asdict

import pytest
import torch
from torch import nn

from jetsym.errors import ConfigError
from jetsym.jets.actions import rotate
from jetsym.jets.augmentation import random_rotations
from jetsym.jets.batch import JetBatch
from jetsym.jets.models import MODELS, PointNet, build, name_of

SMALL = {
    "pointnet": {"width": 16, "blocks": 2, "heads": 4},
    "particlenet": {"k": 8, "channels": ((16, 16), (32,)), "hidden": 16},
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
    jets, model = make_jets(6, dtype=dtype), make(name, dtype)
    order = torch.randperm(jets.max_particles, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model(permuted(jets, order)), model(jets), atol=tolerance, rtol=0)


@every_model
@precisions
def test_independent_of_padding_and_of_the_other_jets(make_jets, name, dtype, tolerance):
    jets, model = make_jets(6, dtype=dtype), make(name, dtype)
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
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@every_model
def test_sees_orientation(make_jets, name):
    """It is not invariant by construction: there would be nothing to learn."""
    jets, model = make_jets(6), make(name)
    moved = rotate(jets, random_rotations(1, generator=torch.Generator().manual_seed(0)))
    assert (model(moved) - model(jets)).abs().max() > 1e-3


@every_model
def test_every_parameter_learns_and_can_be_reset(make_jets, name):
    jets, model = make_jets(6), make(name)
    model(jets).square().sum().backward()
    assert [key for key, parameter in model.named_parameters() if not parameter.grad.abs().sum() > 0] == []
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


def test_named_blocks_are_called_once_with_hidden_padding(make_jets):
    jets, model = make_jets(5), make("pointnet")
    outputs: dict[str, list[torch.Tensor]] = {}
    for name in ("embedding", "blocks.0", "blocks.1", "pool", "head"):
        model.get_submodule(name).register_forward_hook(
            lambda _, __, out, name=name: outputs.setdefault(name, []).append(out)
        )
    logits = model(jets)
    assert {name: [tuple(out.shape) for out in found] for name, found in outputs.items()} == {
        "embedding": [(5, 30, 16)],
        "blocks.0": [(5, 30, 16)],
        "blocks.1": [(5, 30, 16)],
        "pool": [(5, 32)],
        "head": [(5, 10)],
    }
    for name in ("embedding", "blocks.0", "blocks.1"):
        assert (outputs[name][0][~jets.mask] == 0).all()
        assert (outputs[name][0][jets.mask] != 0).any()
    torch.testing.assert_close(outputs["head"][0], logits)
    tokens, pooled = outputs["blocks.1"][0], outputs["pool"][0]
    for b in range(5):
        real = tokens[b, jets.mask[b]]
        torch.testing.assert_close(pooled[b], torch.cat([real.mean(0), real.amax(0)]))


def test_gradients_are_those_of_finite_differences(make_jets):
    jets, model = make_jets(2, dtype=torch.float64, max_particles=3), make("pointnet", torch.float64)
    assert torch.autograd.gradcheck(lambda p4: model(jets.replace(p4=p4)), jets.p4.clone().requires_grad_(), atol=1e-6)


def test_dropout_acts_in_training_only(make_jets):
    jets, model = make_jets(4), PointNet(width=16, blocks=1, dropout=0.5)
    assert torch.equal(model.eval()(jets), model(jets))
    assert not torch.equal(model.train()(jets), model(jets))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 30}, "width is 30; expected a multiple of heads = 4"),
        ({"blocks": -1}, "blocks is -1; expected at least 0"),
        ({"heads": 0}, "heads is 0; expected at least 1"),
        ({"dropout": 1.0}, "dropout is 1.0; expected less than 1"),
        ({"widht": 64}, "no option 'widht'; the nearest are 'width'"),
    ],
)
def test_impossible_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        build("pointnet", **options)


def test_unknown_models_are_named():
    with pytest.raises(ConfigError, match="no model 'pointent'; the nearest are 'pointnet'"):
        build("pointent")
    with pytest.raises(ConfigError, match="Linear is not a model of jetsym"):
        name_of(nn.Linear(1, 1))
