"""The list of a model's layers, before a probe."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import jetsym
from jetsym.errors import DataError, ProbeError
from jetsym.jets.models import PointNet
from jetsym.probing.reports.layers import LayerList


def cloud(*shape):
    return torch.randn(*shape, 3, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Points, pairs of them, rows of a graph, and a head; with a loss beside it."""

    def __init__(self):
        super().__init__()
        self.embed, self.pair, self.pool, self.head = nn.Linear(3, 4), nn.Linear(1, 2), nn.Linear(4, 6), nn.Linear(6, 1)
        self.channels, self.mixed, self.loss = nn.Identity(), nn.Identity(), nn.MSELoss()

    def forward(self, x):
        h = torch.tanh(self.embed(x))
        self.channels(h.mT * 1)
        self.mixed(h.sum(0, keepdim=True) * 1)
        pairs = self.pair((x[:, :, None] - x[:, None]).norm(dim=-1, keepdim=True))
        return self.head(self.pool(h.mean(1)) + pairs.mean((1, 2)).sum(-1, keepdim=True))


@pytest.fixture
def found():
    torch.manual_seed(0)
    return jetsym.layers(Net(), cloud(4, 5))


def test_names_shapes_and_tokens(found):
    assert found.names == ("embed", "channels", "mixed", "pair", "pool", "output")
    assert [row.module for row in found] == ["Linear", "Identity", "Identity", "Linear", "Linear", "scalar"]
    assert [row.shape for row in found] == [(2, 5, 4), (2, 4, 5), (1, 5, 4), (2, 5, 5, 2), (2, 6), (2, 1)]
    tokens = {row.name: row.tokens for row in found}
    assert tokens["embed"] == "points: axis 1"
    assert tokens["channels"] == "points: axis 2"
    assert tokens["pair"] == "pairs: axis 1 and axis 2"
    assert tokens["pool"] == tokens["output"] == "none"
    assert found["mixed"].left_out == "the inputs are along none of its axes"
    assert [row.name for row in found if row.left_out] == ["mixed"]
    assert found.auto == ("embed", "pair", "pool", "output")  # an identity hands its input on


def test_a_probe_reads_what_is_listed(found):
    report = jetsym.probe(Net(), cloud(4, 5), layers=["**"], l_max=1, progress=False)
    assert report.layers == tuple(row.name for row in found if not row.left_out)
    assert report.meta["tokens"] == {row.name: row.tokens for row in found if not row.left_out}
    default = jetsym.probe(Net(), cloud(4, 5), l_max=1, progress=False)
    assert default.layers == tuple(row.name for row in found if row.in_auto and not row.left_out)


def test_text_page_and_files(found, tmp_path):
    text, html = str(found), found._repr_html_()
    for row in found:
        assert row.name in text
        assert str(row.shape) in html
    assert "left out: the inputs are along none of its axes" in text
    assert "Layers and outputs of Net, for 2 inputs" in text
    found.save(tmp_path / "layers.json")
    again = LayerList.load(tmp_path / "layers.json")
    assert again == found
    assert len(again) == len(found)
    broken = found.to_dict()
    del broken["rows"][0]["shape"]
    with pytest.raises(DataError):
        LayerList.from_dict(broken)


def test_a_table_of_pandas(found):
    pytest.importorskip("pandas")
    frame = found.to_dataframe()
    assert list(frame["name"]) == list(found.names)
    assert list(frame["shape"]) == [row.shape for row in found]


def test_options():
    net, x = Net(), cloud(4, 5)
    assert jetsym.layers(net, x, layers=["p*"]).names == ("pair", "pool", "output")
    with pytest.raises(ProbeError, match="layer 'loss' never ran"):
        jetsym.layers(net, x, layers=["loss"])
    named = jetsym.layers(net, x, tokens={"channels": None}, outputs={"output": "pseudoscalar"})
    assert named["channels"].tokens == "none"
    assert named["output"].module == "pseudoscalar"
    called = jetsym.layers(net, x.mT, call=lambda model, some: model(some.mT), action=turned)
    assert called["pool"].shape == (2, 6)
    assert jetsym.layers(net, x, call=lambda model, some: {"a": model(some)}).names[-1] == "a"


def turned(columns, matrices):
    matrices = np.broadcast_to(matrices.reshape(len(matrices), -1, 3, 3), (len(matrices), len(columns), 3, 3))
    return (torch.tensor(matrices, dtype=columns.dtype) @ columns).flatten(0, 1)


def test_taggers_functions_and_modules_without_parts():
    tagger = jetsym.layers(PointNet(width=16, blocks=2))
    assert list(tagger.auto) == ["embedding", "blocks.0", "blocks.1", "pool", "logits"]
    assert tagger["blocks.0.attention"].tokens == "points: axis 1"
    assert tagger["logits"].module == "logits"
    assert jetsym.layers(lambda x: x.sum(-1), cloud(4)).names == ("output",)
    assert jetsym.layers(nn.Linear(3, 2), cloud(4)).names == ("output",)


def test_a_model_that_knows_its_layers():
    class Cloud(nn.Module):
        name = "cloud"

        def __init__(self):
            super().__init__()
            self.layer, self.head = nn.Linear(3, 4), nn.Linear(4, 1)

        def forward(self, x):
            return self.head(torch.tanh(self.layer(x.flatten(0, 1))).view(len(x), -1, 4).sum(1))

        def probe_layers(self, layers):
            return {"rows": self.layer}

        def probe_features(self, recorded):
            return {"rows": recorded["rows"].view(-1, 5, 4)}

    assert isinstance(Cloud(), jetsym.Layered)
    found = jetsym.layers(Cloud(), cloud(4, 5))
    assert found.names == ("rows", "output")
    assert found["rows"].shape == (2, 5, 4)
    assert str(found).startswith("Layers and outputs of cloud")
    assert jetsym.probe(Cloud(), cloud(4, 5), l_max=1, progress=False).layers == ("rows", "output")


def test_a_model_that_knows_its_layers_and_mixes_its_inputs():
    class Mixed(nn.Module):
        name = "mixed"

        def forward(self, x):
            return x.square().sum((1, 2), keepdim=True)[..., 0] + (len(x) > 1) * x.sum()

        def probe_layers(self, layers):
            return {}

        def probe_features(self, recorded):
            return {}

    with pytest.raises(ProbeError, match="'output' cannot be measured"):
        jetsym.probe(Mixed(), cloud(4, 5), l_max=1, progress=False)


class Named(nn.Module):
    """A tuple of two, a dictionary, a module that runs twice, and an output that has the name of a layer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.att, self.score, self.twice = Both(), nn.Linear(3, 2), nn.Linear(3, 3)

    def forward(self, x):
        first, rest = self.att(self.twice(torch.tanh(self.twice(x))))
        return {"score": torch.tanh(self.score(first).mean(1)), "size": rest["size"].sum((1, 2))}


class Both(nn.Module):
    def forward(self, x):
        return x * 2, {"size": x**2}


def test_a_probe_takes_every_name_that_lists_and_reports_show():
    net, x, options = Named(), cloud(4, 5), {"l_max": 1, "progress": False}
    listed = jetsym.layers(net, x)
    assert {"att.0", "att.1.size", "twice", "twice@2", "score (layer)", "score", "size"} <= set(listed.names)
    whole = jetsym.probe(net, x, layers=list(listed.names), **options)
    assert whole.layers == listed.names
    assert jetsym.probe(net, x, layers=list(whole.layers), **options).layers == whole.layers
    for name in whole.layers:
        one = jetsym.probe(net, x, layers=name, **options)
        # "score" is a module and an output; the first call of a module goes by its own name, which means all of them
        more = {"score": ["score (layer)"], "twice": ["twice", "twice@2"]}.get(name, [name])
        assert set(one.layers) == {*more, "score", "size"}
        row, own = whole.layers.index(more[0]), one.layers.index(more[0])
        np.testing.assert_allclose(one.fractions[own], whole.fractions[row], atol=1e-6)
    assert jetsym.layers(net, x, layers=["att.0"]).names == ("att.0", "score", "size")


@pytest.mark.parametrize("name", ["att.2", "att.1.siz", "twice@3", "sizes", "att.0 (layer) (layer)"])
def test_a_name_of_nothing_is_refused(name):
    with pytest.raises(ProbeError, match="matches no module of Named"):
        jetsym.probe(Named(), cloud(4, 5), layers=["score", name], l_max=1, progress=False)
