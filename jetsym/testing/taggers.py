"""The contract that every tagger keeps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from jetsym.jets import checkpoint
from jetsym.jets.batch import JetBatch
from jetsym.jets.models.base import Tagger
from jetsym.jets.models.registry import build, name_of
from jetsym.jets.moves.actions import rotate
from jetsym.jets.moves.sampling import random_rotations
from jetsym.probing.forward.untrained import untrained_copy
from jetsym.probing.layers import layers
from jetsym.testing.jets import degenerate_jets, random_jets

__all__ = ["TaggerContract"]

both_precisions = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


class TaggerContract:
    """Tests of a registered tagger: symmetries of its input, edges, parameters, layers, checkpoints.

    Attributes
    ----------
    name
        Under which it is registered.
    options
        Of a small network: tests build many.
    tolerances
        Dtype -> how far logits of equal jets may differ by rounding.
    invariant
        Whether it is invariant under rotations by construction; others must see the orientation, or there would be
        nothing to learn.
    batches_agree
        Dtypes in which degenerate jets give the same logits alone and in a batch.
    any_classes
        Whether it is made for any classes; a network of one's own has those that it was written for.
    """

    name: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}
    tolerances: ClassVar[Mapping[torch.dtype, float]] = {torch.float32: 2e-6, torch.float64: 1e-13}
    invariant: ClassVar[bool] = False
    batches_agree: ClassVar[tuple[torch.dtype, ...]] = (torch.float32, torch.float64)
    any_classes: ClassVar[bool] = True

    def make(self, dtype: torch.dtype = torch.float32) -> Tagger:
        """Build the network with the same weights every time, in evaluation mode."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return build(self.name, **self.options).to(dtype).eval()

    @both_precisions
    def test_invariant_under_permutations(self, dtype: torch.dtype) -> None:
        """The order of particles does not matter."""
        jets, model = random_jets(6, dtype=dtype), self.make(dtype)
        order = torch.randperm(jets.max_particles, generator=torch.Generator().manual_seed(1))
        permuted = jets.replace(p4=jets.p4[:, order], mask=jets.mask[:, order], scalars=jets.scalars[:, order])
        torch.testing.assert_close(model(permuted), model(jets), atol=self.tolerances[dtype], rtol=0)

    @both_precisions
    def test_independent_of_padding_and_of_the_other_jets(self, dtype: torch.dtype) -> None:
        """A jet has the same logits with more slots, in another batch, and alone."""
        jets, model = random_jets(6, dtype=dtype), self.make(dtype)
        logits = model(jets)
        assert logits.dtype == dtype
        padded = JetBatch.concatenate([jets, random_jets(1, dtype=dtype, max_particles=47)])
        torch.testing.assert_close(model(padded)[:6], logits, atol=self.tolerances[dtype], rtol=0)
        for b in range(6):
            alone = model(jets[b].trim())
            torch.testing.assert_close(alone, logits[b : b + 1], atol=self.tolerances[dtype], rtol=0)

    def test_rubbish_in_the_padding_is_not_seen(self) -> None:
        """Numbers in padded slots change nothing, bit for bit."""
        jets, model = random_jets(6), self.make()
        dirty = jets.replace(
            p4=jets.p4.masked_fill(~jets.mask[..., None], 77.0),
            scalars=jets.scalars.masked_fill(~jets.mask[..., None], 5.0),
        )
        assert torch.equal(model(dirty), model(jets))

    def test_lonely_particles_and_empty_jets_give_finite_numbers(self) -> None:
        """Logits and gradients are finite for one particle, one at rest without mass, and none."""
        jets, model = random_jets(3), self.make().train()
        mask = torch.zeros_like(jets.mask)
        mask[0, 0] = mask[1, 0] = True
        p4 = jets.p4 * mask[..., None]
        p4[1] = 0  # a particle at rest without mass
        _finite(model, jets.replace(p4=p4, mask=mask))

    def test_sees_orientation(self) -> None:
        """It is not invariant by construction, unless it says so."""
        jets, model = random_jets(6), self.make()
        moved = rotate(jets, random_rotations(1, generator=torch.Generator().manual_seed(0)))
        change = float((model(moved) - model(jets)).detach().abs().max())
        assert change < 1e-3 if self.invariant else change > 1e-3

    def test_every_parameter_learns_and_can_be_reset(self) -> None:
        """Every parameter has a gradient, and every module that owns one can draw it anew."""
        jets, model = random_jets(6), self.make()
        model(jets).square().sum().backward()
        learning = {key: parameter for key, parameter in model.named_parameters() if parameter.requires_grad}
        grads = {key: parameter.grad for key, parameter in learning.items()}
        assert [key for key, grad in grads.items() if grad is None or not grad.abs().sum() > 0] == []
        owners = [module for module in model.modules() if [*module.parameters(recurse=False), *module.buffers(False)]]
        assert all(callable(getattr(module, "reset_parameters", None)) for module in owners)

    def test_config_describes_the_model(self) -> None:
        """Name and options, through JSON, make the same network."""
        model = self.make()
        assert name_of(model) == self.name
        twin = build(self.name, model.classes, **json.loads(json.dumps(asdict(model.config))))
        twin.load_state_dict(model.state_dict())
        assert twin.config == model.config
        assert model(random_jets(3)).shape == (3, len(model.classes))
        if self.any_classes:
            two = build(self.name, ("a", "b"), **self.options).eval()
            assert two.classes == ("a", "b")
            assert two(random_jets(3)).shape == (3, 2)

    def test_named_blocks_return_one_tensor_with_hidden_padding(self) -> None:
        """Layers of "auto" return one tensor a pass; features of tokens are zero in padded slots."""
        jets, model = random_jets(5), self.make()
        heads = [layer for layer, _ in model.named_modules() if layer.split(".")[-1] == "head"]
        names = [row.name for row in layers(model, jets) if row.in_auto and row.name != "logits"]
        assert all(layer in dict(model.named_modules()) for layer in names)  # one tensor, once
        outputs: dict[str, torch.Tensor] = {}
        for layer in [*names, heads[-1]]:
            model.get_submodule(layer).register_forward_hook(
                lambda _, __, out, layer=layer: outputs.update({layer: out})
            )
        logits = model(jets)
        assert all(len(tensor) == 5 for tensor in outputs.values())
        tokens = {layer: tensor for layer, tensor in outputs.items() if tensor.shape[:2] == jets.mask.shape}
        assert len(tokens) >= 2
        for layer, tensor in tokens.items():
            assert (tensor[~jets.mask] == 0).all(), layer
            assert (tensor[jets.mask] != 0).any(), layer
        assert torch.equal(outputs[heads[-1]], logits)

    def test_an_untrained_copy_is_another_network_and_reproducible(self) -> None:
        """A copy drawn anew differs from the model, and is the same for the same seed."""
        jets, model = random_jets(4), self.make()
        logits = model(jets)
        fresh = untrained_copy(model, seed=3)
        assert torch.equal(fresh(jets), untrained_copy(model, seed=3)(jets))
        assert not torch.equal(fresh(jets), logits)
        assert torch.equal(model(jets), logits)
        state = fresh.state_dict()
        assert all(tensor.isfinite().all() for tensor in state.values())
        assert state.keys() == model.state_dict().keys()

    def test_checkpoints_hold_it(self, tmp_path: Path) -> None:
        """A checkpoint gives the same network back."""
        model = self.make()
        checkpoint.save(tmp_path / checkpoint.BEST, model)
        loaded = checkpoint.load(tmp_path)
        assert type(loaded) is type(model)
        assert loaded.config == model.config
        jets = random_jets(4)
        assert torch.equal(loaded(jets), model(jets))

    @both_precisions
    @pytest.mark.parametrize("training", [False, True])
    def test_degenerate_jets_have_finite_logits_and_gradients(self, dtype: torch.dtype, training: bool) -> None:
        """Collinear, equal, massless and missing particles give finite numbers, in a batch and alone."""
        jets, model = degenerate_jets(dtype), self.make(dtype).train(training)
        for batch in (jets, *(jets[b] for b in range(len(jets)))):
            _finite(model, batch)
        assert all(buffer.isfinite().all() for buffer in model.buffers())
        if not training and dtype in self.batches_agree:
            alone = torch.cat([model(jets[b].trim()) for b in range(len(jets))])
            torch.testing.assert_close(model(jets), alone, atol=1e-5, rtol=0)


def _finite(model: Tagger, jets: JetBatch) -> None:
    """Assert that logits and all gradients of them are finite."""
    p4 = jets.p4.clone().requires_grad_()
    logits = model(jets.replace(p4=p4))
    assert logits.isfinite().all()
    logits.square().sum().backward()
    assert p4.grad is not None
    assert p4.grad.isfinite().all()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())
