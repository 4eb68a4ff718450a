"""The layers of "auto", in the layouts in which people build networks."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import pytest
import torch
from geometric import geometric
from torch import Tensor, nn

import jetsym
from jetsym.errors import ProbeError
from jetsym.probing.forward.capture import capture
from jetsym.probing.forward.layers import name_modules

C = 8


def blocks_of(model, x=None, call=None):
    """Names that "auto" reads, in the order in which they run, after two passes."""
    x = torch.randn(2, 6, 3) if x is None else x
    model.eval()
    with torch.no_grad(), capture(model, "auto") as record:
        returned = model(x) if call is None else call(model, x)
        record.end_first(returned if isinstance(returned, dict) else {"output": returned})
        if call is None:
            model(x)
        else:
            call(model, x)
        return list(record)


class Residual(nn.Module):
    """A block: two linear layers, added to what came in."""

    def __init__(self, width=C):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x, mask=None):
        return x + self.down(torch.tanh(self.up(self.norm(x))))


class Trunk(nn.Module):
    """Embedding, blocks and pooling, with a list of the blocks."""

    def __init__(self, n=3):
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(3, C), nn.GELU(), nn.Linear(C, C))
        self.blocks = nn.ModuleList(Residual() for _ in range(n))
        self.norm = nn.LayerNorm(C)

    def forward(self, x):
        x = self.embed(x)
        for block in self.blocks:
            x = block(x) * 1.0
        return self.norm(x)


class Net(nn.Module):
    """A trunk and a head."""

    def __init__(self, n=3):
        super().__init__()
        self.trunk, self.dropout = Trunk(n), nn.Dropout(0.5)
        self.head = nn.Sequential(nn.Linear(C, C), nn.ReLU(), nn.Linear(C, 2))

    def forward(self, x):
        return self.head(self.dropout(self.trunk(x).mean(1)))


TRUNK = ["embed", "blocks.0", "blocks.1", "blocks.2", "norm"]


def within(prefix, names=TRUNK):
    return [f"{prefix}.{name}" for name in names]


# --- wrappers ---


class Wrapper(nn.Module):
    """What hands its inputs to a module within, and holds more that does not run."""

    def __init__(self, name, inner, **more):
        super().__init__()
        self.name = name
        self.add_module(name, inner)
        for key, module in more.items():
            self.add_module(key, module)

    def forward(self, x):
        return getattr(self, self.name)(x)


def test_a_net_and_its_loss():
    net = nn.Sequential(nn.Linear(3, C), nn.Tanh(), nn.Linear(C, 2))
    module = Wrapper("net", net, loss=nn.CrossEntropyLoss(), metric=nn.Linear(1, 1))
    assert blocks_of(module) == ["net.0", "net.1"]
    report = jetsym.probe(module, torch.randn(4, 3), l_max=1, progress=False)
    assert report.layers == ("net.0", "net.1", "output")


@pytest.mark.parametrize("name", ["net", "module", "model"])
def test_wrappers_are_opened(name):
    assert blocks_of(Wrapper(name, Net(), loss=nn.MSELoss())) == within(f"{name}.trunk")
    assert blocks_of(Wrapper(name, Wrapper("module", Net()))) == within(f"{name}.module.trunk")
    assert blocks_of(Net()) == within("trunk")
    assert blocks_of(Trunk()) == TRUNK[:-1]


def test_adapters_and_models_past_whose_wrappers_the_call_goes():
    """As base_model.model.model.layers.0, where the outer two are never called, with adapters in the blocks."""

    class Adapted(nn.Module):
        def __init__(self):
            super().__init__()
            self.base_layer = nn.Linear(C, C)
            self.lora_dropout = nn.ModuleDict({"default": nn.Identity()})
            self.lora_A = nn.ModuleDict({"default": nn.Linear(C, 2, bias=False)})
            self.lora_B = nn.ModuleDict({"default": nn.Linear(2, C, bias=False)})

        def forward(self, x):
            low = self.lora_A["default"](self.lora_dropout["default"](x))
            return self.base_layer(x) + self.lora_B["default"](low)

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.q_proj, self.v_proj, self.mlp = Adapted(), Adapted(), nn.Linear(C, C)

        def forward(self, x):
            return (x + self.mlp(torch.tanh(self.q_proj(x)) * self.v_proj(x)),)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed_tokens, self.norm = nn.Linear(3, C), nn.LayerNorm(C)
            self.layers = nn.ModuleList(Layer() for _ in range(3))

        def forward(self, x):
            x = self.embed_tokens(x)
            for layer in self.layers:
                x = layer(x)[0]
            return self.norm(x)

    class Causal(nn.Module):
        def __init__(self):
            super().__init__()
            self.model, self.lm_head = Model(), nn.Linear(C, 2)

        def forward(self, x):
            return {"logits": self.lm_head(self.model(x)).to(torch.float64)}

    class Peft(nn.Module):
        def __init__(self):
            super().__init__()
            self.base_model = Wrapper("model", Causal())

        def forward(self, x):
            return self.base_model.model(x)

    prefix = "base_model.model.model"
    layers = [f"{prefix}.layers.{n}.0" for n in range(3)]
    assert blocks_of(Peft()) == [f"{prefix}.embed_tokens", *layers, f"{prefix}.norm"]


# --- networks of others ---


class Attention(nn.Module):
    """Equal parts side by side, which make no stack."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (nn.Sequential(nn.Linear(C, C), nn.Dropout(0.1)) for _ in range(3))

    def forward(self, x):
        return x + torch.softmax(self.query(x) @ self.key(x).mT, -1) @ self.value(x)


class Bert(nn.Module):
    """embeddings, encoder.layer.0 …, pooler, with a classifier on it."""

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.ModuleList(Attention() for _ in range(4))

        def forward(self, hidden_states, attention_mask=None):
            for layer in self.layer:
                hidden_states = layer(hidden_states)
            return OrderedDict(last_hidden_state=hidden_states)

    class Embeddings(nn.Module):
        def __init__(self):
            super().__init__()
            self.word, self.position, self.norm = nn.Linear(3, C), nn.Embedding(6, C), nn.LayerNorm(C)

        def forward(self, x):
            return self.norm(self.word(x) + self.position(torch.arange(x.shape[1])))

    class Pooler(nn.Module):
        def __init__(self):
            super().__init__()
            self.dense, self.activation = nn.Linear(C, C), nn.Tanh()

        def forward(self, x):
            return self.activation(self.dense(x[:, 0]))

    def __init__(self):
        super().__init__()
        self.embeddings, self.encoder, self.pooler = self.Embeddings(), self.Encoder(), self.Pooler()

    def forward(self, x):
        hidden = self.encoder(hidden_states=self.embeddings(x), attention_mask=torch.ones(2, 1, 1, 6))
        return self.pooler(hidden["last_hidden_state"])


def test_bert():
    model = nn.Sequential(OrderedDict(bert=Bert(), dropout=nn.Dropout(0.1), classifier=nn.Linear(C, 2)))
    layers = [f"bert.encoder.layer.{n}" for n in range(4)]
    assert blocks_of(model) == ["bert.embeddings", *layers, "bert.pooler"]


def test_stacks_of_an_encoder_and_a_decoder_of_one_class():
    class Stack(nn.Module):
        def __init__(self):
            super().__init__()
            self.block, self.final = nn.ModuleList(Residual() for _ in range(3)), nn.LayerNorm(C)

        def forward(self, x, seen=0):
            x = x + seen
            for block in self.block:
                x = block(x)
            return self.final(x)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.shared, self.encoder, self.decoder, self.head = nn.Linear(3, C), Stack(), Stack(), nn.Linear(C, 2)

        def forward(self, x):
            seen = self.encoder(self.shared(x))
            return self.head(self.decoder(self.shared(x), seen=seen))

    inside = ["block.0", "block.1", "block.2", "final"]
    assert blocks_of(Model()) == ["shared", *within("encoder", inside), "shared@2", *within("decoder", inside)]


@pytest.mark.parametrize("n", [1, 2, 4])
@pytest.mark.parametrize("norm_first", [False, True])
def test_encoders_of_torch(n, norm_first):
    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.inputs, self.head = nn.Linear(3, C), nn.Linear(C, 2)
            layer = nn.TransformerEncoderLayer(C, 2, 16, batch_first=True, norm_first=norm_first)
            self.encoder = nn.TransformerEncoder(layer, n, norm=nn.LayerNorm(C), enable_nested_tensor=not norm_first)

        def forward(self, x):
            return self.head(self.encoder(self.inputs(x)).mean(1))

    assert blocks_of(Tagger()) == ["inputs", *(f"encoder.layers.{i}" for i in range(n)), "encoder.norm"]


def test_a_transformer_of_torch():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Linear(3, C), nn.Linear(C, 2)
            self.transformer = nn.Transformer(C, 2, 2, 2, 16, batch_first=True)

        def forward(self, x):
            x = self.embed(x)
            return self.head(self.transformer(x, x[:, :2]))

    names = [*(f"{kind}.{n}" for kind in ("encoder", "decoder") for n in ("layers.0", "layers.1", "norm"))]
    assert blocks_of(Pair()) == ["embed", *within("transformer", names)]


def test_a_body_and_heads_each_with_blocks():
    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks, self.out = nn.ModuleList(Residual() for _ in range(2)), nn.Linear(C, 2)

        def forward(self, x):
            for block in self.blocks:
                x = block(x)
            return self.out(x.mean(1))

    class Pet(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.classifier, self.generator = Trunk(), Head(), Head()

        def forward(self, x):
            return self.classifier(self.body(x))

    assert blocks_of(Pet()) == [*within("body"), "classifier.blocks.0", "classifier.blocks.1"]


class KerasLayer(nn.Module):
    """A layer as those of Keras on torch: parameters in a dictionary, layers within in a plain list."""

    def __init__(self, layers=(), size=None):
        super().__init__()
        object.__setattr__(self, "_layers", list(layers))
        numbers = (
            {} if size is None else {"kernel": nn.Parameter(torch.randn(*size)), "bias": nn.Parameter(torch.ones(1))}
        )
        self.torch_params = nn.ParameterDict(numbers)

    def forward(self, x):
        for layer in self._layers:
            x = layer(x)
        return x if self._layers or not self.torch_params else torch.tanh(x @ self.torch_params["kernel"])


class Functional(KerasLayer):
    pass


def dense(*size):
    return KerasLayer(size=size)


def test_keras_on_torch():
    flat = Functional([KerasLayer(), dense(3, C), dense(C, C), KerasLayer(), dense(C, C), dense(C, 2)])
    assert blocks_of(flat) == ["_layers.1", "_layers.2", "_layers.4"]
    nested = Functional([Functional([dense(3, C), dense(C, C)]), dense(C, C), dense(C, 2)])
    nested.functional = Functional(nested._layers)  # the same layers under another name
    assert blocks_of(nested) == ["_layers.0._layers.0", "_layers.0._layers.1", "_layers.1"]


def test_modules_in_plain_lists_are_named_once():
    model = nn.Module()
    model.known = nn.Linear(3, 3)
    model.plain = [model.known, nn.Sequential(nn.Tanh(), nn.Tanh()), "text"]
    model.table = {"a": nn.ReLU(), 3: nn.Tanh()}
    model.parent = [model]
    assert list(name_modules(model)) == ["known", "plain.1", "plain.1.0", "plain.1.1", "table.a", "table.3"]


# --- stacks and what is none ---


def test_nested_sequentials():
    def layer(a, b):
        return nn.Sequential(nn.Linear(a, b), nn.ReLU())

    stack = nn.Sequential(layer(3, C), layer(C, C), layer(C, C), nn.Linear(C, 2))
    assert blocks_of(nn.Sequential(nn.Sequential(stack))) == ["0.0.0", "0.0.1", "0.0.2"]
    encoder, decoder = (
        nn.Sequential(nn.Linear(3, C), nn.GELU(), nn.Linear(C, C)),
        nn.Sequential(nn.Tanh(), nn.Linear(C, 2)),
    )
    assert blocks_of(nn.Sequential(encoder, decoder)) == ["0.0", "0.1", "0.2", "1.0"]
    stages = [nn.Sequential(Residual(), Residual()) for _ in range(3)]
    model = nn.Sequential(OrderedDict(stem=nn.Linear(3, C), stages=nn.Sequential(*stages), head=nn.Linear(C, 2)))
    assert blocks_of(model) == ["stem", "stages.0", "stages.1", "stages.2"]


def test_sums_over_points_of_one_network_into_another():
    class Sets(nn.Module):
        def __init__(self):
            super().__init__()
            self.phi = nn.Sequential(nn.Linear(3, C), nn.ReLU(), nn.Linear(C, C), nn.ReLU())
            self.rho = nn.Sequential(nn.Linear(C, C), nn.ReLU(), nn.Linear(C, 2))

        def forward(self, x):
            return self.rho(self.phi(x).sum(1))

    assert blocks_of(Sets()) == ["phi.0", "phi.1", "phi.2", "phi.3", "rho.0", "rho.1"]


def test_a_block_that_is_called_many_times():
    class Albert(nn.Module):
        def __init__(self):
            super().__init__()
            self.inputs, self.layers, self.head = nn.Linear(3, C), nn.ModuleList([Residual()]), nn.Linear(C, 2)

        def forward(self, x):
            x = self.inputs(x)
            for _ in range(3):
                x = self.layers[0](x)
            return self.head(x)

    assert blocks_of(Albert()) == ["inputs", "layers.0", "layers.0@2", "layers.0@3"]


def test_weights_that_are_shared_between_names():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Sequential(nn.Linear(3, C), nn.Linear(C, C))
            self.blocks = nn.ModuleList([Residual(), Residual()])
            self.again = self.blocks  # no other name of the same
            self.head = nn.Linear(C, 2)

        def forward(self, x):
            x = self.first(x)
            for block in [*self.blocks, *self.again]:
                x = block(x)
            return self.head(x)

    assert blocks_of(Tied()) == ["first", "blocks.0", "blocks.1", "blocks.0@2", "blocks.1@2"]


@pytest.mark.parametrize("outside", [False, True])
def test_blocks_in_a_dictionary_or_as_attributes(outside):
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.head = nn.Linear(3, C), nn.Linear(C, 2)
            blocks = {"near": Residual(), "far": Residual(), "farther": Residual()}
            self.blocks = None if outside else nn.ModuleDict(blocks)
            for name, block in blocks.items() if outside else ():
                self.add_module(name, block)
            self.beside = nn.Sequential(
                nn.Sequential(nn.Linear(C, C), nn.ReLU()), nn.Sequential(nn.Linear(C, C), nn.ReLU())
            )

        def forward(self, x):
            x = self.beside(self.stem(x))
            for name in ("near", "far", "farther"):
                x = getattr(self, name)(x) if outside else self.blocks[name](x)
            return self.head(x)

    names = ["near", "far", "farther"]
    assert blocks_of(Named()) == ["stem", "beside", *(names if outside else within("blocks", names))]


def test_what_stands_beside_a_stack_is_opened_if_it_holds_a_better_one():
    class Projected(nn.Module):
        def __init__(self):
            super().__init__()
            self.project = nn.ModuleList([nn.Linear(3, C), nn.Linear(C, C), nn.Linear(C, C), nn.Linear(C, C)])
            self.small = nn.Sequential(nn.Linear(C, C), nn.ReLU())
            self.trunk, self.head = nn.Sequential(Residual(), Residual()), nn.Linear(C, 2)

        def forward(self, x):
            for layer in self.project:
                x = torch.relu(layer(x))
            return self.head(self.trunk(self.small(x)))

    projections = [f"project.{n}" for n in range(4)]
    assert blocks_of(Projected()) == [*projections, "small", "trunk.0", "trunk.1"]


def test_equal_networks_side_by_side_are_no_stack():
    class Ensemble(nn.Module):
        def __init__(self, member):
            super().__init__()
            self.members = nn.ModuleList(member() for _ in range(2))

        def forward(self, x):
            return torch.stack([member(x) for member in self.members]).mean(0)

    inside = [*within("trunk"), "head"]
    assert blocks_of(Ensemble(Net)) == [*within("members.0", inside), *within("members.1", inside)]
    for width in (2, 3):  # be what they return of the shape of what they are given
        single = Ensemble(lambda width=width: nn.Sequential(nn.Linear(3, C), nn.ReLU(), nn.Linear(C, width)))
        assert blocks_of(single) == [f"members.{i}.{n}" for i in range(2) for n in range(3)]


def test_modules_that_are_run_by_another_method_are_opened():
    class Coder(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([Residual(), Residual()])

        def encode(self, x):
            for block in self.blocks:
                x = block(x)
            return x

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.coder, self.head = nn.Linear(3, C), Coder(), nn.Linear(C, 2)

        def forward(self, x):
            return self.head(self.coder.encode(self.stem(x)))

    assert blocks_of(Model()) == ["stem", "coder.blocks.0", "coder.blocks.1"]


@dataclass
class Graph:
    nodes: Tensor
    edges: Tensor


def test_modules_that_pass_objects_on_are_read_inside():
    class Message(nn.Module):
        def __init__(self):
            super().__init__()
            self.nodes, self.edges = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, graph):
            nodes = self.nodes(graph.nodes)
            return Graph(nodes, self.edges(graph.edges) + nodes)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers, self.head = nn.ModuleList([Message(), Message()]), nn.Linear(3, 2)

        def forward(self, x):
            graph = Graph(x, 2 * x)
            for layer in self.layers:
                graph = layer(graph)
            return self.head(graph.nodes + graph.edges)

    assert blocks_of(Net()) == [f"layers.{n}.{part}" for n in range(2) for part in ("nodes", "edges")]


def test_what_is_opened_is_read_where_it_does_something_of_its_own():
    class Pooled(nn.Module):
        def __init__(self, trunk):
            super().__init__()
            self.trunk = trunk

        def forward(self, x):
            return torch.sort(self.trunk(x), dim=1).values.mean(1)

    class Model(nn.Module):
        def __init__(self, trunk):
            super().__init__()
            self.pooled, self.head = Pooled(trunk), nn.Linear(C, 2)

        def forward(self, x):
            return self.head(self.pooled(x))

    assert blocks_of(Model(Trunk())) == [*within("pooled.trunk"), "pooled"]
    assert blocks_of(Model(nn.Linear(3, C))) == ["pooled.trunk", "pooled"]


def test_what_makes_weights_is_no_layer():
    parametrized = [nn.utils.parametrizations.weight_norm(nn.Linear(3, C)), nn.Tanh(), nn.Linear(C, 2)]
    assert blocks_of(nn.Sequential(*parametrized)) == ["0", "1"]


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_parts_without_hooks_are_passed_over():
    scripted = nn.Sequential(torch.jit.script(nn.Linear(3, C)), nn.Tanh(), nn.Linear(C, 2))
    assert blocks_of(scripted) == ["1"]
    with pytest.raises(ProbeError, match="layer '0' cannot be read: '0' is scripted and runs as one"):
        jetsym.probe(scripted, torch.randn(2, 5, 3), layers=["0"], l_max=1, progress=False)
    for whole in (torch.jit.script(nn.Sequential(*scripted)), torch.jit.freeze(torch.jit.script(scripted.eval()))):
        assert jetsym.probe(whole, torch.randn(2, 5, 3), l_max=1, progress=False).layers == ("output",)


def test_networks_within_a_vmap():
    class Ensemble(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.base = nn.Linear(3, 3), nn.Sequential(nn.Linear(3, C), nn.Tanh(), nn.Linear(C, 2))

        def forward(self, x):
            return torch.vmap(self.base, in_dims=1)(torch.tanh(self.stem(x))).mean(0)

    assert blocks_of(Ensemble()) == ["stem"]
    assert jetsym.probe(Ensemble(), torch.randn(2, 5, 3), l_max=1, progress=False).layers == ("stem", "output")


# --- what hands its input on, and what returns the outputs ---


class Scaled(nn.Module):
    """Dropout as some write it: a product with one in evaluation."""

    def forward(self, x):
        return x * 1.0


class Permuted(nn.Module):
    def forward(self, x):
        return x.mT


@pytest.mark.parametrize("idle", [nn.Identity, nn.Dropout, nn.AlphaDropout, nn.Dropout1d, Scaled])
def test_what_hands_its_input_on_is_no_layer(idle):
    torch.manual_seed(0)
    model = nn.Sequential(idle(), nn.Linear(3, 6), idle(), nn.Sigmoid(), nn.Linear(6, 2))
    assert blocks_of(model) == ["1", "3"]


@pytest.mark.parametrize("idle", [nn.Flatten, lambda: nn.Unflatten(2, (2, 3)), Permuted])
def test_another_shape_of_the_input_is_no_layer(idle):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.idle, self.second, self.head = nn.Linear(3, 6), idle(), nn.Tanh(), nn.Linear(1, 1)

        def forward(self, x):
            return self.head(self.second(self.idle(self.first(x)))[..., :1])

    assert blocks_of(Net()) == ["first", "second"]


def test_activations_are_layers_where_they_change_nothing_and_in_place():
    positive = nn.Sequential(nn.Linear(3, C), nn.Softplus(), nn.ReLU(), nn.Linear(C, 2))
    assert blocks_of(positive) == ["0", "1", "2"]
    in_place = nn.Sequential(nn.Linear(3, C), nn.ReLU(inplace=True), nn.Linear(C, 2))
    assert blocks_of(in_place) == ["0", "1"]


def test_blocks_that_start_as_the_identity_are_layers():
    model = Trunk()
    for block in model.blocks:
        nn.init.zeros_(block.down.weight)
        nn.init.zeros_(block.down.bias)
    assert blocks_of(model) == TRUNK[:-1]


@pytest.mark.parametrize(
    "call",
    [
        lambda model, x: model(x).squeeze(-1),
        lambda model, x: model(x).to(torch.float64),
        lambda model, x: model(x)[..., 0],
        lambda model, x: {"energy": model(x)},
        lambda model, x: model(x).numpy(),
    ],
)
def test_what_returns_the_outputs_in_another_shape_or_precision_is_no_layer(call):
    model = nn.Sequential(nn.Linear(3, C), nn.Tanh(), nn.Linear(C, 1))
    assert blocks_of(model, call=call) == ["0", "1"]
    assert blocks_of(model, call=lambda model, x: torch.sigmoid(model(x))) == ["0", "1", "2"]


def test_graph_networks_of_torch_geometric():
    networks = geometric("nn")
    edges = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])
    net = networks.GCN(3, C, num_layers=3, out_channels=2)

    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.gnn, self.head = net, nn.Linear(2, 1)

        def forward(self, x):
            return self.head(self.gnn(x, edges))

    assert blocks_of(Tagger(), torch.randn(4, 3)) == [
        "gnn.convs.0",
        "gnn.act",
        "gnn.convs.1",
        "gnn.act@2",
        "gnn.convs.2",
    ]


@pytest.mark.slow
def test_networks_of_weaver():
    pytest.importorskip("weaver")
    from weaver.nn.model.ParticleNet import ParticleNet
    from weaver.nn.model.ParticleTransformer import ParticleTransformer

    x = torch.randn(2, 3, 20)
    x = torch.cat([x, x.norm(dim=1, keepdim=True) + 0.1], 1)
    mask = torch.ones(2, 1, 20, dtype=torch.bool)
    convolutions = blocks_of(ParticleNet(4, 2), x, call=lambda model, x: model(x[:, :2], x, mask))
    assert convolutions == ["bn_fts", "edge_convs.0", "edge_convs.1", "fusion_block"]
    transformer = blocks_of(ParticleTransformer(4, 2, trim=False), x, call=lambda model, x: model(x, x, mask))
    stacks = [*(f"blocks.{n}" for n in range(8)), "cls_blocks.0", "cls_blocks.1"]
    assert [name for name in transformer if "locks" in name] == stacks
