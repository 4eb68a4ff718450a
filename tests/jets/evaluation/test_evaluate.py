"""Evaluation: batching changes nothing, rotations are applied, the model is left as it was."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from jetsym.errors import DataError
from jetsym.jets.evaluation.evaluate import evaluate, predict_logits
from jetsym.jets.evaluation.metrics import accuracy
from jetsym.jets.features import kinematic_features
from jetsym.jets.models import PointNet
from jetsym.jets.moves.actions import rotate
from jetsym.jets.moves.sampling import random_rotations


class Oriented(nn.Module):
    """Ten logits of which the largest is the number of the octant of the jet axis."""

    def forward(self, jets):
        octant = ((jets.jet_p4[:, 1:] > 0) * torch.tensor([1, 2, 4])).sum(-1)
        return torch.nn.functional.one_hot(octant, 10) * 3.0


def test_batches_change_nothing(make_jets):
    jets, model = make_jets(13), PointNet(width=8, blocks=1).train()
    logits = predict_logits(model, jets, batch_size=5)
    assert model.training
    assert logits.shape == (13, 10)
    torch.testing.assert_close(logits, model(jets).detach(), atol=2e-6, rtol=0)
    assert not logits.requires_grad


def test_unrotated_and_rotated(make_jets):
    jets, model = make_jets(300), Oriented()
    jets = jets.replace(label=model(jets).argmax(-1))
    found = evaluate(model, jets, rotated=3, batch_size=64)
    assert found.metrics["accuracy"] == 1.0
    moved = rotate(jets, random_rotations(300, generator=torch.Generator().manual_seed(3))[None])
    assert found.rotated.metrics["accuracy"] == accuracy(model(moved), jets.label)
    assert found.rotated.metrics["accuracy"] == pytest.approx(1 / 8, abs=0.06)
    assert evaluate(model, jets, rotated=3).to_dict() == found.to_dict()
    assert evaluate(model, jets).rotated is None
    # the same jets are in the same bins
    assert [each.jets for each in found.rotated.bins] == [each.jets for each in found.bins]


def test_portions_are_measured_as_one_sample(make_jets):
    """With weights, which not every class has the same of, and rotations that are drawn one portion after the other."""
    jets = make_jets(320)
    jets = jets.replace(columns={**jets.columns, "weight": 1.0 + torch.arange(320) % 3})
    model = Oriented()
    whole = evaluate(model, jets, rotated=3)
    portions = evaluate(model, (jets[start : start + 64] for start in range(0, 320, 64)), rotated=3)
    assert portions.to_dict() == whole.to_dict()
    assert whole.meta["weights"]
    with pytest.raises(DataError, match="there are no jets"):
        evaluate(model, iter(()))


def test_an_invariant_model_loses_nothing(make_jets):
    jets = make_jets(100, dtype=torch.float64)

    class Invariant(nn.Module):
        def forward(self, jets):
            energy = kinematic_features(jets)[..., 1].sum(1)
            return torch.stack([energy.sin() * k for k in range(10)], dim=-1)

    found = evaluate(Invariant(), jets, rotated=0)
    for name in ("accuracy", "macro_auc_ovo"):
        assert found.rotated.metrics[name] == found.metrics[name]


def test_bins_are_of_the_stored_axis(make_jets):
    jets = make_jets(200)
    edges = [500.0, 700.0, 1100.0]
    found = evaluate(PointNet(width=8, blocks=1), jets, pt_edges=edges)
    pt = torch.hypot(jets.jet_p4[:, 1], jets.jet_p4[:, 2])
    assert [each.jets for each in found.bins] == [
        int(((pt >= low) & (pt < high)).sum()) for low, high in pairwise(edges)
    ]


def test_what_cannot_be_evaluated_is_named(make_jets):
    with pytest.raises(DataError, match="have no labels"):
        evaluate(PointNet(width=8), make_jets(3).replace(label=None))
    with pytest.raises(DataError, match="no jets to evaluate"):
        evaluate(PointNet(width=8), make_jets(3)[[]])


def test_jets_of_other_classes_are_refused(make_jets):
    from jetsym.jets.models import PointNet

    jets = make_jets(6)
    for classes in (jets.classes[::-1], jets.classes[:3]):
        with pytest.raises(DataError, match="other classes than the tagger's"):
            evaluate(PointNet(classes, width=8, heads=2, blocks=1), jets)
