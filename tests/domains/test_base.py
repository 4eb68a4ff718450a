"""A domain is checked when it is made, and has a default for what it does not say."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from jetsym.domains.arrays import ARRAYS
from jetsym.domains.base import Domain
from jetsym.errors import ProbeError
from jetsym.symmetry import Symmetry


class Rows(Domain):
    """Rows of an array that are vectors: no more than a domain has to say."""

    def load(self, source, *, limit, model):
        """Return the first rows."""
        return np.asarray(source)[:limit]

    def move(self, inputs, matrices):
        """Rotate the rows."""
        return ARRAYS.move(inputs, matrices)


def test_all_else_has_a_default():
    rows, points = Rows(), np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    assert rows.size(points) == 5
    np.testing.assert_array_equal(rows.select(points, slice(1, 3)), points[1:3])
    assert rows.batches(points) == (slice(0, 5),)
    assert rows.max_evaluations(points) == sys.maxsize
    assert rows.mask(points) is None
    assert rows.dtype_name(points) == "float32"
    assert rows.to(points, device="cpu", dtype=None) is points
    assert rows.prepare(np.sum, None) == (np.sum, {}, ())
    assert rows.sources(points, limit=2, model=None)[1] == ()
    inputs, action = rows.act(points, Symmetry("SO3"), seed=0)
    assert inputs is points
    assert action.on_outputs
    assert action.move(points, np.eye(3)[None]).shape == (5, 3)


@pytest.mark.parametrize(
    "call",
    [
        lambda rows: rows.act(None, Symmetry("O3", frame="rest"), seed=0),
        lambda rows: rows.act(None, Symmetry("SO2", axis="jet"), seed=0),
        lambda rows: rows.act(None, Symmetry("boost"), seed=0),
        lambda rows: rows.transform(None, np.eye(4)[None]),
        lambda rows: rows.generators(None, "beam"),
        lambda rows: rows.with_tangents(None, np.eye(4)[None]),
    ],
)
def test_what_it_has_not_is_refused(call):
    with pytest.raises(ProbeError, match="needs jets; these inputs move under rotations"):
        call(Rows())


def test_no_model_is_loaded_from_a_path_by_default():
    with pytest.raises(ProbeError, match="model is 'run', but no model for these inputs"):
        Rows().load_model("run")


class Lacking(Domain):
    def load(self, source, *, limit, model):
        return source


class Short(Rows):
    def load(self, source):
        return source


class Greedy(Rows):
    def mask(self, inputs, layer):
        return None


class Renamed(Rows):
    def act(self, inputs, symmetry, *, random_seed):
        return inputs, None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Lacking, r"the domain Lacking has no move\(inputs, matrices\)"),
        (Short, r"the method load of the domain Short .*'limit'.*expected load\(source, \*, limit, model\)"),
        (Greedy, r"the method mask of the domain Greedy .*'layer'.*expected mask\(inputs\)"),
        (Renamed, r"the method act of the domain Renamed .*seed.*expected act\(inputs, symmetry, \*, seed\)"),
    ],
)
def test_a_domain_is_checked_when_it_is_made(wrong, message):
    with pytest.raises(ProbeError, match=message):
        wrong()


def test_more_options_and_static_methods_are_no_fault():
    class Wider(Rows):
        @staticmethod
        def mask(inputs):
            return None

        def size(self, inputs, *, of="all"):
            return len(inputs)

        def load(self, source, **options):
            return source

    assert isinstance(Wider(), Domain)
