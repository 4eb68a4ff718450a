"""A session runs a model along orbits, and leaves it as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from jetsym.domains.arrays import ARRAYS
from jetsym.errors import ProbeError
from jetsym.probing.forward.session import OWN_ACTION, Session
from jetsym.spectrum import O3
from jetsym.symmetry import Symmetry

TURNS = O3().rotations((7,), np.random.default_rng(0))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        return {"y": self.last(self.first(x).tanh())}


@pytest.fixture
def points():
    return np.random.default_rng(1).normal(size=(5, 3)).astype("float32")


def test_everything_is_put_back(points):
    net = Net().train()
    net.last.eval()
    session = Session(net, ARRAYS, {"y": "logits"})
    with session.open(points) as (running, placed):
        assert isinstance(placed, torch.Tensor)
        responses = running.responses(placed)
        assert list(responses) == ["first", "y"]  # the last layer is the output
        assert not any(array.requires_grad for array in responses.values())
        assert not net.training
    assert running.outputs == {"y": "logits"}
    assert session.outputs == {}
    assert (net.training, net.first.training, net.last.training) == (True, True, False)
    assert not net.first._forward_hooks
    with pytest.raises(ValueError, match="gone"), session.open(points):
        raise ValueError("gone")
    assert net.training


def test_without_opening_gradients_flow_and_no_layer_is_read(points):
    net = Net()
    responses = Session(net, ARRAYS).responses(torch.as_tensor(points))
    assert list(responses) == ["y"]
    assert responses["y"].requires_grad


@pytest.mark.parametrize("batch_size", [1, 12, 100])
def test_batches_along_the_orbit_do_not_matter(points, batch_size):
    sizes = []

    def model(x):
        sizes.append(len(x))
        return x**2

    session = Session(model, ARRAYS, batch_size=batch_size)
    found = session.along(points, TURNS)["output"]
    np.testing.assert_allclose(found, np.einsum("nij,sj->nsi", TURNS, points) ** 2, rtol=1e-4, atol=1e-6)
    assert max(sizes) <= max(batch_size, len(points))
    own = TURNS[None, :5].repeat(2, 0)
    assert session.along(points, own)["output"].shape == (2, 5, 3)


def test_one_loop_gives_chunks_and_the_inversion(points):
    session = Session(lambda x: x, ARRAYS)
    chunks = [slice(0, 3), slice(3, 7)]
    taken = list(session.orbit(points, TURNS, chunks, lambda *parts: parts, inversion=True))
    assert [chunk for chunk, _, _ in taken] == chunks
    for chunk, proper, improper in taken:
        np.testing.assert_array_equal(improper["output"], -proper["output"])
        np.testing.assert_array_equal(proper["output"], session.along(points, TURNS[chunk])["output"])
    assert [improper for _, _, improper in session.orbit(points, TURNS, chunks, lambda *parts: parts)] == [{}, {}]


def test_the_lab_is_kept_beside_the_action(points):
    session = Session(lambda x: x, ARRAYS, move=lambda x, elements: np.tile(x, (len(elements), 1)))
    np.testing.assert_array_equal(session.along(points, TURNS)["output"], points[None].repeat(7, 0))
    lab = session.along(points, TURNS, in_lab=True)["output"]
    np.testing.assert_allclose(lab, np.einsum("nij,sj->nsi", TURNS, points), rtol=1e-4, atol=1e-5)


def test_the_callers_own_action_comes_first(points):
    session = Session(lambda x: x, ARRAYS, action=ARRAYS.move)
    inputs, action = session.act("anything", Symmetry("O3", frame="rest"))
    assert (inputs, action.move, action.note) == ("anything", ARRAYS.move, OWN_ACTION)
    assert session.facts(points, action)["notes"] == [OWN_ACTION]
    assert session.facts(points, action)["moves"] == {}
    facts = Session(lambda x: x, ARRAYS).facts(points)
    assert (facts["moves"], facts["notes"]) == ({"input": "vector"}, ["What moves: input: vector."])


def test_parts_cover_all_inputs_and_keep_shapes_apart(points):
    class Uneven(type(ARRAYS)):
        def batches(self, inputs):
            return [slice(0, 2), slice(2, 5)]

    assert list(Session(lambda x: x, ARRAYS).parts(points, 3)) == [slice(0, 3), slice(3, 5)]
    assert list(Session(lambda x: x, Uneven()).parts(points, 2)) == [slice(0, 2), slice(2, 4), slice(4, 5)]


def test_responses_without_the_inputs_are_refused(points):
    with pytest.raises(ProbeError, match=r"'output' has shape \(\) for a batch of 35 inputs"):
        Session(lambda x: np.asarray(x.sum()), ARRAYS).along(points, TURNS)
