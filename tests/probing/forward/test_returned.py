"""What a model returns: which arrays it holds, what they are called, and others put in their place."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass, field, fields
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import attrs
import numpy as np
import pydantic
import pytest
import torch

import jetsym
from jetsym.errors import ProbeError
from jetsym.probing.forward.returned import Returned
from jetsym.remedies.symmetrized import Symmetrized

QUIET = {"l_max": 1, "progress": False}


class Pair(NamedTuple):
    length: Any
    vector: Any


Triple = namedtuple("Triple", ["length", "vector", "note"])


@dataclass
class Plain:
    length: Any
    vector: Any = None


@dataclass(frozen=True, slots=True)
class Frozen:
    length: Any
    vector: Any
    more: tuple[Any, ...] = field(default=())


class Checked(Plain):
    def __post_init__(self):
        if self.length is None:
            raise ValueError("a length is needed")


@dataclass
class ModelOutput(OrderedDict):
    """As of transformers: a dataclass that is a dictionary of what is not None."""

    loss: Any = None
    length: Any = None
    hidden_states: Any = None

    def __post_init__(self):
        for one in fields(self):
            if getattr(self, one.name) is not None:
                super().__setitem__(one.name, getattr(self, one.name))

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        super().__setattr__(key, value)


@attrs.frozen
class ByAttrs:
    length: Any
    vector: Any


class ByPydantic(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    length: Any
    vector: Any = None


def length(x):
    return (x**2).sum(-1)


WAYS = {
    "a named tuple": (lambda x: Pair(length(x), x), ["length", "vector"], {}),
    "of collections": (lambda x: Triple(length(x), x, "text"), ["length", "vector"], {"note": "a str"}),
    "a dataclass": (lambda x: Plain(length(x)), ["length"], {"vector": "None"}),
    "a frozen one": (
        lambda x: Frozen(length(x), x, more=(x, {"last": x})),
        ["length", "vector", "more.0", "more.1.last"],
        {},
    ),
    "one that checks": (lambda x: Checked(length(x), 3), ["length"], {"vector": "an int"}),
    "transformers": (
        lambda x: ModelOutput(length=length(x), hidden_states=(x, x[:, 0])),
        ["length", "hidden_states.0", "hidden_states.1"],
        {},
    ),
    "attrs": (lambda x: ByAttrs(length(x), x), ["length", "vector"], {}),
    "pydantic": (lambda x: ByPydantic(length=length(x)), ["length"], {"vector": "None"}),
    "a namespace": (lambda x: SimpleNamespace(length=length(x), flag=True), ["length"], {"flag": "a bool"}),
    "an ordered dictionary": (lambda x: OrderedDict(b=x, a=length(x)), ["b", "a"], {}),
    "a view": (lambda x: MappingProxyType({"a": length(x)}), ["a"], {}),
    "nested": (
        lambda x: {"a": {"b": length(x), "c": [x, None]}, 1: (x[:, 0], 0.5)},
        ["a.b", "a.c.0", "1.0"],
        {"a.c.1": "None", "1.1": "a float"},
    ),
    "a list": (lambda x: [length(x), x], ["output.0", "output.1"], {}),
    "a tuple of one": (lambda x: (x,), ["output.0"], {}),
    "an array": (lambda x: x, ["output"], {}),
    "names that meet": (lambda x: {"a.b": x, "a": {"b": x}, 1: x, "1": x}, ["a.b", "a.b@2", "1", "1@2"], {}),
}


@pytest.mark.parametrize("way", WAYS)
def test_names_and_what_is_put_in_their_place(way):
    model, names, others = WAYS[way]
    x = np.random.default_rng(0).normal(size=(5, 3))
    given = model(x)
    returned = Returned(given)
    assert list(returned.arrays) == names
    assert returned.others == others
    again = returned.with_arrays({name: f"<{name}>" for name in names})
    assert type(again) is type(given) or isinstance(given, (MappingProxyType, np.ndarray))
    assert list(Returned(returned.with_arrays(returned.arrays)).arrays) == names
    if hasattr(given, "length") and not isinstance(given, dict):
        assert again.length == "<length>"
    report = jetsym.probe(model, x, **QUIET)
    assert list(report.layers) == list(report.equivariance) == names
    text = " ".join(report.meta["notes"])
    for name, what in others.items():
        assert f"{name!r} ({what})" in text
    if not others:
        assert "no floating-point array" not in text


def test_what_torch_returns_has_the_names_that_torch_gives_it():
    class Largest(torch.nn.Module):
        def forward(self, x):
            return torch.max(x, dim=1)

    report = jetsym.probe(Largest(), torch.randn(4, 3), **QUIET)
    assert report.layers == ("values",)
    assert any("'indices' (int64 numbers)" in note for note in report.meta["notes"])


@pytest.mark.parametrize(
    ("value", "what"),
    [({"a": None}, "dict"), ("text", "a str"), (None, "None"), (np.arange(3), "int64 numbers"), (Pair(1, 2), "Pair")],
)
def test_what_holds_no_array_is_refused(value, what):
    with pytest.raises(ProbeError, match=f"returned {what}, which holds no floating-point array"):
        jetsym.probe(lambda x: value, np.ones((3, 3)), **QUIET)


def test_sums_over_the_batch_and_sparse_arrays_are_no_outputs():
    def model(x):
        return {"y": length(x), "loss": length(x).mean(), "graph": torch.eye(len(x)).to_sparse(), "k": np.array(["a"])}

    report = jetsym.probe(model, torch.randn(4, 3), **QUIET)
    assert report.layers == ("y",)
    text = " ".join(report.meta["notes"])
    assert "'loss' is left out" in text
    assert "'graph' (sparse_coo float32 numbers)" in text


def test_outputs_that_come_now_and_then_are_refused():
    calls = []

    def model(x):
        calls.append(0)
        return Plain(length(x), x if len(calls) < 4 else None)

    with pytest.raises(ProbeError, match="its output 'vector' in some forward passes only"):
        jetsym.probe(model, np.random.default_rng(0).normal(size=(4, 3)), **QUIET)


@pytest.mark.parametrize("way", ["a named tuple", "a frozen one", "transformers", "nested", "an array", "attrs"])
def test_an_average_is_returned_as_the_model_does(way):
    model, names, _ = WAYS[way]
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    average = Symmetrized(model, "O3", 1)(x)
    assert type(average) is type(model(x))
    found = Returned(average).arrays
    assert list(found) == names
    for name, array in Returned(model(x)).arrays.items():
        mean = array if array.ndim == 1 and torch.equal(array, length(x)) else torch.zeros_like(array)
        torch.testing.assert_close(found[name], mean, atol=1e-12, rtol=1e-12)


def test_layers_go_by_the_same_names():
    class Inner(torch.nn.Module):
        def forward(self, x):
            return Frozen(length(x), x, more=(2 * x,))

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Inner()

        def forward(self, x):
            return self.inner(x).vector[:, 0] + 0

    report = jetsym.probe(Net(), torch.randn(4, 3), layers=["inner"], **QUIET)
    assert report.layers == ("inner.length", "inner.vector", "inner.more.0", "output")


def test_a_layer_and_an_output_may_have_one_name():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(3, 2)

        def forward(self, x):
            return {"head": self.head(x) ** 2}

    report = jetsym.probe(Net(), torch.randn(4, 3), layers=["head"], **QUIET)
    assert report.layers == ("head (layer)", "head")
    assert report.fractions[0, 2] > 0  # a linear layer has a vector's part
