"""The unconstrained transformer on its own; what it shares with the others is in test_contract.py."""

import shutil

import numpy as np
import pytest
import torch

import jetsym
from jetsym.errors import ConfigError
from jetsym.jets.features import pair_invariants
from jetsym.jets.models import PointNet
from jetsym.jets.models.registry import build
from jetsym.jets.moves.actions import boost, rotate
from jetsym.spectrum import O3

#: Tensors and invariants at the embedding, and biases from pairs.
MORE = {"harmonics": 3, "pairs": 8, "invariants": 4}


def make(dtype: torch.dtype = torch.float32, **options: int) -> PointNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build("pointnet", width=16, blocks=2, heads=4, **options).to(dtype).eval()


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


@pytest.mark.parametrize("options", [{}, MORE])
def test_gradients_are_those_of_finite_differences(make_jets, options):
    jets, model = make_jets(2, dtype=torch.float64, max_particles=3), make(torch.float64, **options)
    assert torch.autograd.gradcheck(lambda p4: model(jets.replace(p4=p4)), jets.p4.clone().requires_grad_(), atol=1e-6)


def test_the_embedding_has_the_tensors_it_is_given_and_no_others(make_jets):
    """Its linear layer makes λ ≤ 1 of vectors alone, and λ ≤ L of harmonics up to L."""
    jets = make_jets(3, dtype=torch.float64)
    for largest in (1, 2, 3):
        model = make(torch.float64, harmonics=largest)
        report = jetsym.probe(model, jets, layers=["embedding.linear"], l_max=4, frame="lab", progress=False)
        content = [sum(report.fractions[0][report.irreps.index((lam, sigma))] for sigma in (1, -1)) for lam in range(5)]
        assert min(content[: largest + 1]) > 1e-3
        assert max(content[largest + 1 :]) < 1e-20


def test_pairs_are_invariant_and_padding_does_nothing(make_jets):
    jets = make_jets(4, dtype=torch.float64, max_particles=12)
    rotated = rotate(jets, torch.from_numpy(O3().sample(4, np.random.default_rng(0)))[None])
    pairs = pair_invariants(jets)
    torch.testing.assert_close(pair_invariants(rotated), pairs, atol=1e-9, rtol=1e-9)
    p4, (b, i, j) = jets.p4, (0, 0, 1)
    products = p4[b, i, 1:].norm() * p4[b, j, 1:].norm()
    assert pairs[b, i, j, 0].item() == pytest.approx((2 * (products - p4[b, i, 1:] @ p4[b, j, 1:])).log().item() / 4)
    model = make(torch.float64, **MORE)
    longer = jets.replace(
        p4=torch.cat([jets.p4, torch.ones(4, 3, 4)], dim=1),
        mask=torch.cat([jets.mask, torch.zeros(4, 3, dtype=torch.bool)], dim=1),
        scalars=torch.cat([jets.scalars, torch.ones(4, 3, jets.scalars.shape[-1])], dim=1),
    )
    torch.testing.assert_close(model(longer), model(jets))
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    shuffled = jets.replace(p4=jets.p4[:, order], mask=jets.mask[:, order], scalars=jets.scalars[:, order])
    torch.testing.assert_close(model(shuffled), model(jets))
    empty = jets.replace(mask=torch.zeros_like(jets.mask))
    assert model(empty).isfinite().all()


def test_the_embedding_sees_the_invariants_as_such(make_jets):
    """With nothing but the columns of the invariants it is the same however a jet is rotated, mirrored or boosted."""
    jets, model = make_jets(3, dtype=torch.float64), make(torch.float64, invariants=4)
    with torch.no_grad():
        model.embedding.linear.weight[:, :21] = 0
    rotated = rotate(jets, torch.from_numpy(O3().sample(3, np.random.default_rng(0)))[None])
    before = model(jets)
    for moved in (rotated, boost(jets, torch.tensor([0.7], dtype=torch.float64), "beam")):
        torch.testing.assert_close(model(moved), before, atol=1e-9, rtol=1e-9)
    assert before.std(dim=0).max() > 1e-4


def test_what_is_not_asked_for_changes_nothing():
    """Checkpoints from before there were tensors, pairs and invariants fit."""
    plain, named = make(), make(harmonics=1, pairs=0, invariants=0)
    assert list(plain.state_dict()) == list(named.state_dict())
    assert all(torch.equal(named.state_dict()[name], value) for name, value in plain.state_dict().items())
    assert plain.embedding.linear.in_features == 21
    assert make(invariants=4).embedding.linear.in_features == 26
    assert set(make(**MORE).state_dict()) - set(plain.state_dict()) == {
        f"pairs.mlp.{layer}.{name}" for layer in (0, 2) for name in ("weight", "bias")
    }


def test_dropout_acts_in_training_only(make_jets):
    jets, model = make_jets(4), PointNet(width=16, blocks=1, dropout=0.5)
    assert torch.equal(model.eval()(jets), model(jets))
    assert not torch.equal(model.train()(jets), model(jets))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 30}, "width is 30; expected a multiple of heads = 4"),
        ({"blocks": -1}, "blocks is -1; expected a whole number from 0"),
        ({"heads": 0}, "heads is 0; expected a whole number from 1"),
        ({"harmonics": 0}, "harmonics is 0; expected a whole number from 1"),
        ({"pairs": -1}, "pairs is -1; expected a whole number from 0"),
        ({"invariants": -1}, "invariants is -1; expected a whole number from 0"),
        ({"invariants": True}, "invariants is True; expected a whole number from 0"),
        ({"dropout": 1.0}, "dropout is 1.0; expected 0 or more and less than 1"),
        ({"widht": 64}, "no option 'widht'; the nearest are 'width'"),
    ],
)
def test_impossible_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        build("pointnet", **options)


# A freshly compiled function warns about its own imports in some versions of torch.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs a C++ compiler")
def test_gradients_of_the_compiled_network_are_finite_in_half_precision(make_jets):
    """A fused backward pass computes the maximum's argument anew, and unrounded: nothing equals what was rounded."""
    jets, norms = make_jets(32, max_particles=12), []
    for backend in ("eager", "inductor"):
        torch.manual_seed(0)
        model = PointNet(("QCD", "Tbqq"), width=16, blocks=1, heads=2)
        model.compile(backend=backend)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(jets).float().square().mean()
        loss.backward()
        norms.append(torch.stack([weight.grad.norm() for weight in model.parameters()]))
    torch.testing.assert_close(norms[1], norms[0], rtol=0.1, atol=1e-3)
