"""The unconstrained transformer on its own; what it shares with the others is in test_contract.py."""

import pytest
import torch

from jetsym.errors import ConfigError
from jetsym.jets.models import PointNet, build


def make(dtype: torch.dtype = torch.float32) -> PointNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build("pointnet", width=16, blocks=2, heads=4).to(dtype).eval()


def test_named_blocks_are_called_once_with_hidden_padding(make_jets):
    jets, model = make_jets(5), make()
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
    jets, model = make_jets(2, dtype=torch.float64, max_particles=3), make(torch.float64)
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
