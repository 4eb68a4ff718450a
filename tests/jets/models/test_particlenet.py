"""ParticleNet against its definition on dense tensors, its edges, and the published weights."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from jetsym.errors import CheckpointError, ConfigError
from jetsym.jets.batch import JetBatch
from jetsym.jets.features import FEATURE_SETS, angular_points
from jetsym.jets.models import ParticleNet
from jetsym.jets.models.particlenet import CHUNK, nearest
from jetsym.jets.models.registry import build
from jetsym.jets.models.weaver import read_state
from jetsym.jets.moves.actions import rotate
from jetsym.jets.schema import CLASSES
from jetsym.probing.forward.untrained import untrained_copy

SMALL = {"k": 6, "channels": ((16, 16), (16,), (32, 24)), "hidden": 12}


def lively(model: ParticleNet) -> ParticleNet:
    """The network with statistics and normalisations as after a training, in evaluation mode."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            for tensor, low in ((module.running_mean, -0.5), (module.running_var, 0.5), (module.weight, 0.5)):
                tensor.data.uniform_(low, low + 1, generator=generator)
            module.bias.data.uniform_(-0.5, 0.5, generator=generator)
    return model.eval()


def make(dtype=torch.float32, **options) -> ParticleNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return lively(build("particlenet", **(SMALL | options)).to(dtype))


def weaver_state(model: ParticleNet) -> dict[str, torch.Tensor]:
    """The network's tensors under weaver-core's names and in its shapes, written down independently."""
    own, state = model.state_dict(), {}

    def norm(theirs, ours):
        for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            state[f"{theirs}.{part}"] = own[f"{ours}.{part}"]

    norm("bn_fts", "norm.rows")
    for b, block in enumerate(model.blocks):
        for i in range(len(block.layers)):
            state[f"edge_convs.{b}.convs.{i}.weight"] = own[f"blocks.{b}.layers.{i}.linear.weight"][..., None, None]
            norm(f"edge_convs.{b}.bns.{i}", f"blocks.{b}.layers.{i}.norm")
        if f"blocks.{b}.shortcut.linear.weight" in own:
            state[f"edge_convs.{b}.sc.weight"] = own[f"blocks.{b}.shortcut.linear.weight"][..., None]
            norm(f"edge_convs.{b}.sc_bn", f"blocks.{b}.shortcut.norm")
    for theirs, ours in (("fc.0.0", "head.0"), ("fc.1", "head.3")):
        state |= {f"{theirs}.{part}": own[f"{ours}.{part}"] for part in ("weight", "bias")}
    return state


def dense_logits(state, features, points, mask, k):
    """The network as it is defined: every edge of every slot, two-dimensional convolutions, then the normalisation."""

    def norm(x, name):
        shape = (1, -1) + (1,) * (x.ndim - 2)
        mean, variance, weight, bias = (
            state[f"{name}.{part}"].view(shape) for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (variance + 1e-5).sqrt() * weight + bias

    real = mask[:, None].to(features.dtype)  # (B, 1, N)
    x = norm(features.mT, "bn_fts") * real
    points = points.mT
    for b in range(sum(name.startswith("edge_convs") and name.endswith("convs.0.weight") for name in state)):
        distances = (points[..., None] - points[:, :, None]).square().sum(1)
        distances = distances.masked_fill(~mask[:, None], 1e9)  # padded slots come last
        distances.diagonal(dim1=1, dim2=2).fill_(torch.inf)
        numbers = distances.sort(dim=-1).indices[..., :k]
        neighbours = torch.stack([jet[:, order] for jet, order in zip(x, numbers, strict=True)])  # (B, C, N, k)
        centre = x[..., None].expand_as(neighbours)
        edges, layer = torch.cat([centre, neighbours - centre], dim=1), 0
        while (weight := state.get(f"edge_convs.{b}.convs.{layer}.weight")) is not None:
            edges = norm(F.conv2d(edges, weight), f"edge_convs.{b}.bns.{layer}").relu()
            layer += 1
        shortcut = x
        if f"edge_convs.{b}.sc.weight" in state:
            shortcut = norm(F.conv1d(x, state[f"edge_convs.{b}.sc.weight"]), f"edge_convs.{b}.sc_bn")
        x = points = (edges.mean(-1) + shortcut).relu() * real
    pooled = x.sum(-1) / real.sum(-1)
    hidden = F.linear(pooled, state["fc.0.0.weight"], state["fc.0.0.bias"]).relu()
    return F.linear(hidden, state["fc.1.weight"], state["fc.1.bias"])


@pytest.mark.parametrize("features", FEATURE_SETS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
def test_is_the_network_of_the_definition(make_jets, features, dtype, tolerance):
    jets, model = make_jets(20, dtype=dtype), make(dtype, features=features)
    assert (jets.n_particles <= 6).any()  # some lack neighbours: the definition has padded slots take their place
    assert jets.mask.sum() > 2 * CHUNK
    compute, _ = FEATURE_SETS[features]
    padded = JetBatch.concatenate([jets, make_jets(1, dtype=dtype, max_particles=40)])[:20]
    expected = dense_logits(weaver_state(model), compute(padded), angular_points(padded), padded.mask, k=6)
    assert expected.std() > 0.01
    torch.testing.assert_close(model(jets), expected, atol=tolerance, rtol=0)
    wrong = dense_logits(weaver_state(model), compute(padded), angular_points(padded), padded.mask, k=5)
    assert (wrong - expected).abs().max() > 1e-4


def test_nearest_by_hand():
    points = torch.tensor([[[0.0], [3.0], [1.0], [9.0]], [[9.0], [5.0], [5.5], [9.0]]])
    mask = torch.tensor([[True, True, True, False], [False, True, True, False]])
    assert nearest(points, mask, 2).tolist() == [[2, 1], [2, 0], [0, 1], [4, 5], [3, 5]]
    assert nearest(points, mask, 5)[0].tolist() == [2, 1, 5, 5, 5]
    assert nearest(points, torch.zeros_like(mask), 2).shape == (0, 2)


def test_nearest_sees_small_distances_far_from_the_origin():
    points = 1000 + torch.tensor([[[0.0, 0.0], [0.003, 0.0], [0.001, 0.0], [0.0, 0.002]]])
    mask = torch.ones(1, 4, dtype=torch.bool)
    assert nearest(points, mask, 1).flatten().tolist() == [2, 2, 0, 0]


def test_named_blocks_are_called_once_with_hidden_padding(make_jets):
    jets, model = make_jets(5), make()
    outputs: dict[str, list[torch.Tensor]] = {}
    shapes = {"norm": (5, 30, 17), "blocks.0": (5, 30, 16), "blocks.1": (5, 30, 16), "blocks.2": (5, 30, 24)}
    for name in (*shapes, "pool", "head"):
        model.get_submodule(name).register_forward_hook(
            lambda _, __, out, name=name: outputs.setdefault(name, []).append(out)
        )
    logits = model(jets)
    found = {name: [tuple(out.shape) for out in tensors] for name, tensors in outputs.items()}
    assert found == {name: [shape] for name, shape in (shapes | {"pool": (5, 24), "head": (5, 10)}).items()}
    for name in shapes:
        assert (outputs[name][0][~jets.mask] == 0).all()
        assert (outputs[name][0][jets.mask] != 0).any()
    assert torch.equal(outputs["head"][0], logits)


def awkward_jets(dtype: torch.dtype) -> JetBatch:
    """One particle; a collinear jet; duplicates; massless along the beam and at rest; none at all."""
    line = torch.tensor([50.0, 30.0, 0.0, 40.0], dtype=dtype)
    p4 = torch.zeros(5, 9, 4, dtype=dtype)
    p4[0, 0] = line
    p4[1] = line * torch.arange(1, 10, dtype=dtype)[:, None]
    p4[2] = line
    p4[3, 0], p4[3, 1], p4[3, 2] = torch.tensor([[5, 0, 0, 5], [5, 0, 0, -5], [1, 0, 0, 0]], dtype=dtype)
    counts = torch.tensor([1, 9, 9, 4, 0])
    mask = torch.arange(9) < counts[:, None]
    return JetBatch(p4, mask, torch.zeros(5, 9, 10, dtype=dtype), 9 * line.expand(5, 4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("training", [False, True])
def test_degenerate_jets_have_finite_logits_and_gradients(dtype, training):
    jets, model = awkward_jets(dtype), make(dtype).train(training)
    for batch in (jets, *(jets[b] for b in range(5))):
        p4 = batch.p4.clone().requires_grad_()
        logits = model(batch.replace(p4=p4))
        assert logits.isfinite().all()
        logits.square().sum().backward()
        assert p4.grad.isfinite().all()
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    assert all(buffer.isfinite().all() for buffer in model.buffers())


@pytest.mark.parametrize("features", FEATURE_SETS)
def test_invariant_under_rotations_about_the_beam_and_no_others(make_jets, features):
    jets, model = make_jets(8, dtype=torch.float64), make(torch.float64, features=features)
    cos, sin = np.cos(2.0), np.sin(2.0)
    about_beam = torch.tensor([[[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]], dtype=torch.float64)
    about_x = torch.tensor([[[1, 0, 0], [0, cos, -sin], [0, sin, cos]]], dtype=torch.float64)
    torch.testing.assert_close(model(rotate(jets, about_beam)), model(jets), atol=1e-10, rtol=0)
    assert (model(rotate(jets, about_x)) - model(jets)).abs().max() > 1e-3


def test_statistics_are_those_of_the_real_particles(make_jets):
    jets, model = make_jets(6), make(dropout=0.0, features="kin").train()
    model.norm.rows.reset_running_stats()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    logits = model(jets)
    values = FEATURE_SETS["kin"][0](jets)[jets.mask]
    torch.testing.assert_close(model.norm.rows.running_mean, 0.1 * values.mean(0), atol=1e-6, rtol=0)
    torch.testing.assert_close(model.norm.rows.running_var, 0.9 + 0.1 * values.var(0), atol=1e-5, rtol=0)
    after = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(state)
    padded = JetBatch.concatenate([jets, make_jets(1, max_particles=47)])[:6]
    torch.testing.assert_close(model(padded), logits, atol=1e-5, rtol=0)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, after[name], atol=1e-5, rtol=0, msg=name)


def test_evaluation_is_training_with_stored_statistics(make_jets):
    """Both ways through an edge convolution agree where the statistics are the batch's own."""
    jets, model = make_jets(12, dtype=torch.float64), make(torch.float64, dropout=0.0)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.momentum = 1.0
    logits = model.train()(jets)
    count = int(jets.mask.sum())
    for name, module in model.named_modules():  # the stored variance divides by n − 1
        if isinstance(module, torch.nn.BatchNorm1d):
            rows = count if "layers" not in name else count * 6
            module.running_var *= (rows - 1) / rows
    torch.testing.assert_close(model.eval()(jets), logits, atol=1e-10, rtol=0)


def test_it_learns(make_jets):
    jets = make_jets(16, max_particles=12)
    jets = jets.replace(label=torch.arange(16) % 2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ParticleNet(("a", "b"), features="kin", k=4, channels=((16, 16),), hidden=16)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        losses = []
        for _ in range(60):
            loss = F.cross_entropy(model(jets), jets.label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # torch, on its first JVP
def test_forward_and_reverse_derivatives_agree(make_jets):
    jets, model = make_jets(3, dtype=torch.float64), make(torch.float64)
    direction = 1e-2 * torch.randn(jets.p4.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def of_momenta(p4):
        return model(jets.replace(p4=p4))

    _, forward = torch.func.jvp(of_momenta, (jets.p4,), (direction,))
    _, pullback = torch.func.vjp(of_momenta, jets.p4)
    torch.testing.assert_close((pullback(forward)[0] * direction).sum(), forward.square().sum())
    step = 1e-6
    numeric = (of_momenta(jets.p4 + step * direction) - of_momenta(jets.p4 - step * direction)) / (2 * step)
    torch.testing.assert_close(forward, numeric, atol=1e-6, rtol=1e-4)
    together = torch.func.vmap(lambda d: torch.func.jvp(of_momenta, (jets.p4,), (d,))[1])
    torch.testing.assert_close(together(torch.stack([direction, -direction]))[0], forward)


def test_half_precision_takes_the_same_neighbours(make_jets):
    jets, model = make_jets(8), make()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(jets)
    torch.testing.assert_close(logits.float(), model(jets), atol=0.1, rtol=0)


def test_an_untrained_copy_forgets_the_statistics(make_jets):
    model = make()
    fresh = untrained_copy(model, seed=3)
    assert all((module.running_mean == 0).all() for module in fresh.modules() if hasattr(module, "running_mean"))
    assert not torch.equal(fresh(make_jets(3)), model(make_jets(3)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": "fulll"}, "features is 'fulll'; the nearest are 'full'"),
        ({"k": 0}, "k is 0; expected a whole number from 1"),
        ({"k": 2.5}, "k is 2.5; expected a whole number from 1"),
        ({"hidden": -1}, "hidden is -1"),
        ({"channels": [[64, 0]]}, "expected one or more whole numbers from 1"),
        ({"channels": []}, "expected one or more whole numbers from 1"),
        ({"channels": [[8], []]}, "expected one or more whole numbers from 1"),
        ({"channels": 8}, "option channels is 8; expected one or more whole numbers"),
        ({"dropout": 1.0}, "dropout is 1.0; expected 0 or more and less than 1"),
    ],
)
def test_impossible_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        build("particlenet", **options)


# The published weights

SAID = {"classes": CLASSES, "features": "full", "k": 16, "use_counts": True}


@pytest.mark.parametrize("prefix", ["", "mod."])
@pytest.mark.parametrize("features", FEATURE_SETS)
def test_published_state_dictionaries_are_recognised(tmp_path, make_jets, features, prefix):
    model = make(features=features, k=16)
    torch.save({prefix + name: tensor for name, tensor in weaver_state(model).items()}, tmp_path / "weights.pt")
    loaded = ParticleNet.from_weaver(tmp_path / "weights.pt", **SAID | {"features": features})
    assert loaded.config == build("particlenet", **(SMALL | {"features": features, "k": 16})).config
    assert loaded.classes == CLASSES
    assert not loaded.training
    jets = make_jets(4)
    assert torch.equal(loaded(jets), model(jets))


def test_state_dictionaries_are_written_as_weaver_writes_them(tmp_path, make_jets):
    model = make(k=16)
    model.to_weaver(tmp_path / "weights.pt")
    written, expected = torch.load(tmp_path / "weights.pt", weights_only=True), weaver_state(model)
    assert written.keys() == expected.keys()
    for name, tensor in written.items():
        assert tensor.shape == expected[name].shape, name
        assert torch.equal(tensor, expected[name])
    jets = make_jets(4)
    assert torch.equal(ParticleNet.from_weaver(tmp_path / "weights.pt", **SAID)(jets), model(jets))


def test_weaver_reads_what_is_written(tmp_path, make_jets):
    pytest.importorskip("weaver")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from weaver.nn.model.ParticleNet import ParticleNet as Original
    model, jets = make(), make_jets(6, min_particles=8)  # with fewer than k others, the original takes padding
    model.to_weaver(tmp_path / "weights.pt")
    original = Original(
        17, 10, conv_params=[(6, (16, 16)), (6, (16,)), (6, (32, 24))], fc_params=[(12, 0.1)],
        use_fusion=False, use_fts_bn=True, use_counts=True, for_inference=False,
    )  # fmt: skip
    original.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    features, points = FEATURE_SETS["full"][0](jets), angular_points(jets)
    with torch.no_grad():
        logits = original.eval()(points.mT, features.mT, jets.mask[:, None].float())
        torch.testing.assert_close(model(jets), logits, atol=1e-5, rtol=0)


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def without(state, name):
    return {key: tensor for key, tensor in state.items() if key != name}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda state: {"trap": Trap()}, "is not a whole state dictionary of tensors"),
        (lambda state: [1, 2], "holds a list and not tensors by name"),
        (lambda state: {}, "holds a dict and not tensors by name"),
        (lambda state: {"epoch": 3, "weights": state}, "holds a dict and not tensors by name"),
        (lambda state: {"linear.weight": torch.zeros(2, 2)}, r"\(0 edge convolutions, 0 features\)"),
        (lambda state: without(state, "bn_fts.weight"), "3 edge convolutions, 0 features"),
        (lambda state: state | {"bn_fts.weight": torch.zeros(8)}, "with 7, 13, 17 features"),
        (lambda state: without(state, "fc.1.bias"), r"'head\.3\.bias' \(file: absent, model: \(10,\)\)"),
        (lambda state: without(state, "edge_convs.1.bns.0.running_var"), r"1 tensors differ.*running_var"),
        (lambda state: state | {"fc.1.bias": torch.zeros(2)}, r"\(file: \(2,\), model: \(10,\)\)"),
        (lambda state: state | {"fusion_block.0.weight": torch.zeros(2, 2, 1)}, "a fusion block, which .*jets.weaver"),
        (lambda state: state | {"fc.0.0.weight": torch.tensor(1.0)}, "does not fit a ParticleNet|holds no ParticleNet"),
        (lambda state: state | {"bn_fts.weight": torch.tensor(1.0)}, "does not fit a ParticleNet|holds no ParticleNet"),
        (
            lambda state: state | {"edge_convs.0.convs.0.weight": torch.tensor(1.0)},
            "does not fit a ParticleNet|holds no ParticleNet",
        ),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    torch.save(content(weaver_state(make())), tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=message):
        ParticleNet.from_weaver(tmp_path / "weights.pt", **SAID)


@pytest.mark.parametrize("name", SAID)
def test_what_tensors_do_not_tell_is_asked_for(tmp_path, name):
    make(k=7).to_weaver(tmp_path / "weights.pt")
    said = SAID | {"k": 7}
    assert ParticleNet.from_weaver(tmp_path / "weights.pt", **said).config.k == 7
    del said[name]
    with pytest.raises(CheckpointError, match=rf"do not tell {name}, .*k=…, use_counts=True\)"):
        ParticleNet.from_weaver(tmp_path / "weights.pt", **said)


def test_a_mean_over_slots_is_refused(tmp_path):
    make().to_weaver(tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match="use_counts is False, .* computes with True alone"):
        ParticleNet.from_weaver(tmp_path / "weights.pt", **SAID | {"use_counts": False})


@pytest.mark.parametrize("key", ["state_dict", "model"])
@pytest.mark.parametrize("prefix", ["module.", "model.mod.", "module.module."])
def test_names_and_files_may_be_wrapped(tmp_path, make_jets, prefix, key):
    model = make(k=16)
    state = {prefix + name: tensor for name, tensor in weaver_state(model).items()}
    torch.save({"epoch": 3, key: state}, tmp_path / "weights.pt")
    jets = make_jets(4)
    assert torch.equal(ParticleNet.from_weaver(tmp_path / "weights.pt", **SAID)(jets), model(jets))


def test_broken_files_are_refused(tmp_path):
    path = tmp_path / "weights.pt"
    with pytest.raises(CheckpointError, match=r"there is no file .*weights\.pt"):
        ParticleNet.from_weaver(path)
    with pytest.raises(CheckpointError, match="there is no file"):
        ParticleNet.from_weaver(tmp_path)
    torch.save(weaver_state(make()), path)
    whole = path.read_bytes()
    legacy = pickle.dumps({"trap": Trap()})
    for raw in (b"", b"404: Not Found", b"<html></html>", whole[: len(whole) // 2], legacy, pickle.dumps(Trap())):
        path.write_bytes(raw)
        with pytest.raises(CheckpointError, match="is not a whole state dictionary of tensors") as caught:
            read_state(path)
        assert "\n" not in str(caught.value)


def test_published_network_gives_the_reference_logits(real_data):
    """weaver-core's own ParticleNet with the published weights, on real JetClass jets in file order."""
    from jetsym.jets import read

    model = ParticleNet.from_weaver(real_data / "particlenet" / "ParticleNet_kin.pt")
    assert model.config == build("particlenet", features="kin").config
    jets = read(real_data / "jetclass" / "jetclass_kin_500.root")
    expected = np.load(real_data / "particlenet" / "ParticleNet_kin_logits_jetclass_kin_500.npy")
    with torch.no_grad():
        logits = torch.cat([model(jets[start : start + 100].trim()) for start in range(0, 500, 100)])
    np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=0)
    assert (logits.argmax(1) == jets.label).float().mean() == pytest.approx(0.718)
