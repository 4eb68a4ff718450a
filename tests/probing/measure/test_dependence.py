"""What outputs depend on is found whatever the order in which layers run."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import nn

import jetsym
from jetsym.probing.measure import dependence

QUIET = {"progress": False, "l_max": 1, "layers": "*"}
Pair = namedtuple("Pair", "x y")


class Twice(nn.Module):
    def forward(self, x):
        return 2 * x


class Both(nn.Module):
    """Returns its input twice, as a named tuple."""

    def forward(self, x):
        return Pair(3 * x, x + 1)


class Net(nn.Module):
    """Layers by name, and what is made of them and of points (samples, 8, 3)."""

    def __init__(self, forward, **layers):
        super().__init__()
        self._forward = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self._forward(self, x)


def found(net, outputs=None, n=16, **options):
    points = torch.randn(n, 8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.manual_seed(0)
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    return jetsym.probe(net.double(), points, outputs=outputs or {"y": "scalar"}, **{**QUIET, **options})


def readout(report, name="y"):
    """Layers of which the output keeps more than a thirtieth, with all later ones held."""
    gains = report.meta["dependence"]["outputs"][name]["readout"]
    return {layer for layer, gain in gains.items() if gain > 0.03 * max(gains.values())}


def lengths(x):
    return x.norm(dim=-1)


def test_a_branch_that_runs_last_and_hardly_counts_is_no_readout():
    def forward(net, x):
        h = net.deep(torch.relu(net.body(lengths(x))))
        return h + 1e-3 * net.aux(x[:, 0])

    report = found(Net(forward, body=nn.Linear(8, 16), deep=nn.Linear(16, 3), aux=Twice()), n=32)
    assert readout(report) == {"deep"}
    assert report.meta["dependence"]["embeddings"] == ["body", "aux"]
    assert not [item for item in jetsym.diagnose(report) if item.severity != "note"]
    assert jetsym.diagnose(report).meta["readout"] == "deep"
    assert "starvation" not in jetsym.diagnose(report)


def test_a_branch_that_is_thrown_away_is_none():
    def forward(net, x):
        h = net.body(lengths(x))
        net.last(x)
        return net.head(h)[:, 0]

    report = found(Net(forward, body=nn.Linear(8, 16), head=nn.Linear(16, 1), last=Twice()))
    assert readout(report) == {"head"}
    assert report.meta["dependence"]["outputs"]["y"]["through"]["last"] == 0


def test_each_output_has_its_own():
    def forward(net, x):
        h = net.body(x.mT)
        return {"v": net.vector(h)[..., 0] + 0.0, "s": net.scalar(lengths(x)).sum(-1)}

    parts = {"body": nn.Linear(8, 4, bias=False), "vector": nn.Linear(4, 1, bias=False), "scalar": nn.Linear(8, 2)}
    report = found(Net(forward, **parts), {"v": "vector", "s": "scalar"})
    assert (readout(report, "v"), readout(report, "s")) == ({"vector"}, {"scalar"})
    assert not [item for item in jetsym.diagnose(report) if item.name == "starvation"]
    swapped = jetsym.diagnose(report, readout="scalar")
    assert any(item.name == "starvation" and item.irreps == ("(1,+)",) for item in swapped)


def test_two_branches_that_are_joined_are_both_read():
    def forward(net, x):
        return torch.cat([net.left(lengths(x)), net.right(x[:, 0])], -1).sum(-1)

    report = found(Net(forward, left=nn.Linear(8, 4), right=nn.Linear(3, 4)))
    assert readout(report) == {"left", "right"}
    assert report.meta["dependence"]["embeddings"] == ["left", "right"]


@pytest.mark.parametrize("detach", [False, True])
def test_gradients_are_not_asked(detach):
    def forward(net, x):
        h = net.body(lengths(x))
        return net.head(h.detach() if detach else h)[:, 0]

    gains = found(Net(forward, body=nn.Linear(8, 16), head=nn.Linear(16, 1))).meta["dependence"]["outputs"]["y"]
    assert gains["through"]["body"] > 0.01


def test_tuples_and_layers_that_run_twice_are_told_apart():
    def forward(net, x):
        first, second = net.both(lengths(x))
        h = net.shared(net.shared(second))
        return net.head(h)[:, 0] + 0 * first.sum(-1)

    report = found(Net(forward, both=Both(), shared=nn.Linear(8, 8), head=nn.Linear(8, 1)))
    through = report.meta["dependence"]["outputs"]["y"]["through"]
    assert through["both.x"] == 0
    assert min(through["both.y"], through["shared"], through["shared@2"]) > 0
    assert report.meta["dependence"]["embeddings"] == ["both.x", "both.y"]


class Output(OrderedDict):
    """A dictionary of its own kind, as libraries of language models return."""


class Wrapped(nn.Module):
    def forward(self, x):
        return Output(states=2 * x, extra=[x[..., 0], None, "words"])


def test_containers_stay_what_they_are():
    def forward(net, x):
        found = net.wrapped(lengths(x))
        assert type(found) is Output
        return net.head(found["states"])[:, 0] + 0 * found["extra"][0]

    through = found(Net(forward, wrapped=Wrapped(), head=nn.Linear(8, 1))).meta["dependence"]["outputs"]["y"]["through"]
    assert through["wrapped.states"] > 0.1
    assert through["wrapped.extra.0"] == 0


def test_a_model_that_cannot_bear_noise_is_measured_all_the_same():
    """What raises or is not finite where a layer is disturbed depends on that layer."""

    def strict(net, x):
        h = net.turns(x)
        if not torch.allclose(h.norm(dim=-1), x.norm(dim=-1)):
            raise ValueError("no rotation")
        return net.head(h.norm(dim=-1))[:, 0]

    def logarithm(net, x):
        return net.head(torch.log(net.turns(x).norm(dim=-1) - x.norm(dim=-1) + 1e-9))[:, 0]

    for forward in (strict, logarithm):
        report = found(Net(forward, turns=nn.Identity(), head=nn.Linear(8, 4)))
        assert report.meta["dependence"]["outputs"]["y"]["through"]["turns"] > 0.1
        assert readout(report) == {"head"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_coarse_numbers_show_the_same(dtype):
    def forward(net, x):
        return (net.deep(torch.relu(net.body(x.norm(dim=-1)))) + 1e-3 * net.aux(x[:, 0]))[:, 0]

    torch.manual_seed(0)
    net = Net(forward, body=nn.Linear(8, 16), deep=nn.Linear(16, 3), aux=Twice()).to(dtype)
    report = jetsym.probe(net, torch.randn(16, 8, 3).to(dtype), outputs={"y": "scalar"}, **QUIET)
    assert readout(report) == {"deep"}


def test_a_linear_head_is_told_from_one_that_is_not():
    for head, even in ((lambda h: h.sum(-1) + 3, 0.0), (lambda h: (h**2).sum(-1), 0.1)):
        report = found(Net(lambda net, x, head=head: head(net.body(lengths(x))), body=nn.Linear(8, 16)))
        part = report.meta["dependence"]["outputs"]["y"]["nonlinear"]["body"]
        assert part < 1e-12 if even == 0 else part > even


def test_what_comes_past_the_layers_is_seen():
    """Learned scalars times a vector that no layer holds: nothing is starved."""

    def forward(net, x):
        return (net.body(lengths(x))[..., None] * x).sum(1)

    report = found(Net(forward, body=nn.Linear(8, 8)), {"y": "vector"})
    assert report.meta["dependence"]["outputs"]["y"]["past"] > 0.5
    assert {item.severity for item in jetsym.diagnose(report)} <= {"note"}


def test_it_is_kept_and_read_again(tmp_path):
    report = found(Net(lambda net, x: net.body(lengths(x)).sum(-1), body=nn.Linear(8, 16)))
    again = jetsym.SymmetryReport.load(report.save(tmp_path / "report.json"))
    assert again.meta["dependence"] == report.meta["dependence"]
    assert readout(again) == {"body"}


def test_the_model_is_left_as_it_was():
    net = Net(lambda net, x: net.body(lengths(x)).sum(-1), body=nn.Linear(8, 16))
    found(net)
    assert not net.body._forward_hooks
    functions = jetsym.probe(lambda x: x[:, 0], torch.randn(8, 3), **QUIET | {"layers": []})
    assert not functions.meta["dependence"]


@dataclass(frozen=True)
class States:
    states: torch.Tensor
    words: str = "words"


def test_what_a_layer_returns_within_a_dataclass_is_disturbed():
    class Stated(nn.Module):
        def forward(self, x):
            return States(2 * x)

    def forward(net, x):
        return net.head(net.states(lengths(x)).states)[:, 0]

    report = found(Net(forward, states=Stated(), head=nn.Linear(8, 1)))
    assert report.meta["dependence"]["outputs"]["y"]["through"]["states.states"] > 0.1


class Deep(nn.Module):
    """Many layers one after the other, and what else is made of what they return."""

    def __init__(self, read, n=60):
        super().__init__()
        self.steps = nn.ModuleList(nn.Linear(8, 8) for _ in range(n))
        self.extra, self.lost, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self._read = read

    def forward(self, x):
        h = x = lengths(x)
        for step in self.steps:
            h = h + 0.02 * torch.sin(step(h))
        return 2 * self._read(self, h, x)


def gains_by_both(read, monkeypatch):
    """Return the gains of a deep network by derivatives and by noise on every layer, and how many passes they took."""
    found_by, passes = [], []
    for many in (48, 1000):
        net, calls = Deep(read), []
        net.register_forward_pre_hook(lambda *_, calls=calls: calls.append(None))
        monkeypatch.setattr(dependence, "MANY", many)
        report = found(net, {"y": "logits"}, n=4, layers=["steps.*", "extra", "lost", "head"])
        found_by.append(report.meta["dependence"])
        passes.append(len(calls))
    assert found_by[0]["embeddings"] == found_by[1]["embeddings"]
    through = [each["outputs"]["y"]["through"] for each in found_by]
    assert through[0].keys() == through[1].keys()
    assert (through[0]["lost"], through[1]["lost"]) == (0, 0)
    return *through, passes[1] - passes[0]


def whole(net, h, x):
    net.lost(h)
    return net.head(h + net.extra(x))


def cut(net, h, x):
    """The graph ends behind all layers, but for a part that hardly counts."""
    h = h.detach() + 1e-3 * h
    net.lost(h)
    return net.head(h + net.extra(x))


def half_cut(net, h, x):
    """A branch beside all layers is cut off from the graph, and counts most."""
    net.lost(h)
    return net.head(h + 2 * net.extra(x).detach())


@pytest.mark.parametrize("read", [whole, cut, half_cut])
def test_many_layers_have_the_gains_that_noise_on_each_tells(read, monkeypatch):
    by_slopes, by_noise, saved = gains_by_both(read, monkeypatch)
    ratios = torch.tensor([by_slopes[name] / by_noise[name] for name in by_noise if name != "lost"])
    assert ratios.min() > 0.4
    assert ratios.max() < 2.5
    assert 0.85 < ratios.median() < 1.15
    if read is cut:  # of what ends behind the graph, nothing is believed of derivatives
        assert all(by_slopes[f"steps.{place}"] == by_noise[f"steps.{place}"] for place in range(60))
    else:
        assert saved > 30


def test_many_layers_of_a_model_that_breaks_the_graph_are_disturbed_one_by_one(monkeypatch):
    def by_numpy(net, h, x):
        net.lost(h)
        return net.head(torch.from_numpy(h.detach().numpy()) + net.extra(x.detach())).detach()

    by_slopes, by_noise, _ = gains_by_both(by_numpy, monkeypatch)
    assert by_slopes == by_noise
