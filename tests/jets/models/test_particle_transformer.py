"""ParticleTransformer against weaver-core's own module, its packing, and state dictionaries in weaver's layout."""

import warnings
from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from jetsym.errors import CheckpointError, ConfigError
from jetsym.jets.batch import JetBatch
from jetsym.jets.features import FEATURE_SETS
from jetsym.jets.models import ParticleTransformer
from jetsym.jets.models.interactions import interaction_features
from jetsym.jets.models.packing import CPU_GROUPS, pack
from jetsym.jets.models.particle_transformer import attend, drop
from jetsym.jets.models.registry import build
from jetsym.jets.moves.actions import rotate
from jetsym.jets.schema import CLASSES

SMALL = {"embedding": (16, 24), "pairs": (8, 12), "blocks": 3, "class_blocks": 2, "heads": 4, "dropout": 0.0}
#: What tensors do not tell.
SAID = {
    "classes": CLASSES,
    "features": "full",
    "pair_activation": True,
    "activation": "gelu",
    "remove_self_pair": False,
    "pair_input_type": "pp",
}


def make(dtype=torch.float32, **options) -> ParticleTransformer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build("part", **(SMALL | options)).to(dtype)
        return disturb(model).eval()


def disturb(model: torch.nn.Module) -> torch.nn.Module:
    """Parameters and statistics as after a training: no scale that is one, no shift that is zero."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.ndim == 1 and tensor.is_floating_point():
            positive = name.endswith("running_var")
            tensor.data.add_(torch.rand_like(tensor) if positive else 0.3 * torch.randn_like(tensor))
    return model


@pytest.fixture(scope="module")
def weaver():
    """``weaver(features, **options)``: weaver-core's module with the sizes of SMALL, random weights."""
    pytest.importorskip("weaver")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from weaver.nn.model.ParticleTransformer import ParticleTransformer as Original

    def make_original(features="full", **options):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            none = {"dropout": 0.0, "attn_dropout": 0.0, "activation_dropout": 0.0}
            sizes = {
                "embed_dims": SMALL["embedding"],
                "pair_embed_dims": SMALL["pairs"],
                "num_layers": SMALL["blocks"],
                "num_cls_layers": SMALL["class_blocks"],
                "num_heads": SMALL["heads"],
                "use_pre_activation_pair": False,
                "block_params": none,
                "trim": False,
            }
            return Original(len(FEATURE_SETS[features][1]), 10, fc_params=[], **(sizes | options))

    return make_original


def weaver_logits(original, jets, features="full"):
    momenta = jets.p4[..., [1, 2, 3, 0]].mT  # (px, py, pz, E)
    return original(FEATURE_SETS[features][0](jets).mT, momenta, jets.mask[:, None])


def saved(original, path, *, prefix="", old_spelling=False):
    state = {prefix + name: tensor for name, tensor in original.state_dict().items()}
    if old_spelling:
        state = {name.replace("in_proj.", "in_proj_"): tensor for name, tensor in state.items()}
    torch.save(state, path)
    return path


# Against the original


@pytest.mark.parametrize("features", FEATURE_SETS)
@pytest.mark.parametrize(("prefix", "old_spelling"), [("", False), ("mod.", True)])
def test_logits_are_those_of_weaver(tmp_path, make_jets, weaver, features, prefix, old_spelling):
    original = disturb(weaver(features)).eval()
    model = ParticleTransformer.from_weaver(
        saved(original, tmp_path / "weights.pt", prefix=prefix, old_spelling=old_spelling),
        **SAID | {"features": features},
    )
    expected = {"features": features, "statistics": "slots", "dropout": 0.1}
    assert model.config == build("part", **(SMALL | expected)).config
    assert model.classes == CLASSES
    assert not model.training
    jets = make_jets(20)
    with torch.no_grad():
        logits = weaver_logits(original, jets, features)
        assert logits.std() > 0.1
        torch.testing.assert_close(model(jets), logits, atol=1e-5, rtol=0)
        jets, model, original = jets.to(torch.float64), model.double(), original.double()
        torch.testing.assert_close(model(jets), weaver_logits(original, jets, features), atol=1e-12, rtol=0)
        others = SAID | {"features": features, "pair_activation": False}
        other = ParticleTransformer.from_weaver(tmp_path / "weights.pt", **others).double()
        assert (other(jets) - model(jets)).abs().max() > 1e-3


@pytest.mark.slow
def test_logits_of_the_published_size_on_real_multiplicities(tmp_path, weaver):
    from jetsym.jets.io.sample import sample

    published = {"embed_dims": (128, 512, 128), "pair_embed_dims": (64, 64, 64), "num_layers": 8, "num_heads": 8}
    original = disturb(weaver(**published)).eval()
    model = ParticleTransformer.from_weaver(saved(original, tmp_path / "weights.pt"), **SAID)
    assert model.config == build("part", statistics="slots").config
    jets = sample("test", limit=64)
    with torch.no_grad():
        torch.testing.assert_close(model(jets), weaver_logits(original, jets), atol=1e-5, rtol=0)


def losses(model, call, batches, steps=20):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    found = []
    for step in range(steps):
        jets = batches[step % len(batches)]
        loss = F.cross_entropy(call(jets), jets.label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return np.array(found)


def test_training_loses_what_weaver_loses(tmp_path, make_jets, weaver):
    original = weaver().train()
    loaded = ParticleTransformer.from_weaver(saved(original, tmp_path / "weights.pt"), **SAID)
    model = ParticleTransformer(**(asdict(loaded.config) | {"dropout": 0.0}))
    model.load_state_dict(loaded.state_dict())
    batches = [make_jets(12, seed, max_particles=40) for seed in range(4)]
    expected = losses(original, lambda jets: weaver_logits(original, jets), batches)
    np.testing.assert_allclose(losses(model.train(), model, batches), expected, atol=1e-4)
    assert expected[-1] < expected[0] - 0.05
    own = ParticleTransformer(**(asdict(loaded.config) | {"dropout": 0.0, "statistics": "particles"}))
    own.load_state_dict(loaded.state_dict())
    assert np.abs(losses(own.train(), own, batches) - expected).max() > 1e-3
    theirs, ours = original.state_dict(), model.state_dict()
    for part in ("running_mean", "running_var", "num_batches_tracked"):
        torch.testing.assert_close(
            ours[f"embedding.norm.{part}"], theirs[f"embed.input_bn.{part}"], atol=1e-4, rtol=1e-4
        )


def test_weaver_reads_what_is_exported(tmp_path, make_jets, weaver):
    model, original = make(), weaver()
    model.to_weaver(tmp_path / "weights.pt")
    original.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    jets = make_jets(5)
    with torch.no_grad():
        torch.testing.assert_close(model(jets), weaver_logits(original.eval(), jets), atol=1e-5, rtol=0)


def test_initial_weights_are_spread_as_those_of_weaver(weaver, tmp_path):
    wide = {"embedding": (128, 512, 128), "pairs": (64, 64)}
    original = weaver(embed_dims=wide["embedding"], pair_embed_dims=wide["pairs"])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build("part", **(SMALL | wide))
    model.to_weaver(tmp_path / "weights.pt")
    ours = torch.load(tmp_path / "weights.pt", weights_only=True)
    for name, tensor in original.state_dict().items():
        if tensor.numel() > 1000:  # of uniform numbers so many tell their bounds
            torch.testing.assert_close(ours[name].std(), tensor.std(), rtol=0.1, atol=0)
            torch.testing.assert_close(ours[name].abs().max(), tensor.abs().max(), rtol=0.02, atol=0)
        elif tensor.is_floating_point() and tensor.min() == tensor.max():
            assert torch.equal(ours[name], tensor), name


# State dictionaries


def test_exported_weights_come_back(tmp_path, make_jets):
    model = make(features="kin")
    model.to_weaver(tmp_path / "weights.pt")
    loaded = ParticleTransformer.from_weaver(tmp_path / "weights.pt", **SAID | {"features": "kin"})
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(loaded(make_jets(4)), model(make_jets(4)))
    state = torch.load(tmp_path / "weights.pt", weights_only=True)
    assert state["cls_token"].shape == (1, 1, 24)
    assert state["pair_embed.embed.1.weight"].shape == (8, 4, 1)
    assert "blocks.0.attn.in_proj.weight" in state


def without(state, name):
    return {key: tensor for key, tensor in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {"linear.weight": torch.zeros(2, 2)}, r"\(0 layers of the embedding, 0 features\)"),
        (lambda state: state | {"blocks.0.fc1_g.weight": torch.zeros(96, 24)}, "versions 2 and 3, which .*jets.weaver"),
        (lambda state: state | {"fc.0.0.weight": torch.zeros(96, 24)}, r"hidden layers .* \(fc_params\), which jetsym"),
        (lambda state: without(state, "norm.bias"), "1 tensors differ, the first is 'pool.bias' .file: absent"),
        (lambda state: state | {"blocks.0.attn.q_norm.weight": torch.zeros(6)}, "'blocks.0.attn.q_norm.weight'"),
        (lambda state: state | {"fc.0.weight": torch.zeros(3, 24)}, "has 3 outputs, but 10 classes are named"),
        (lambda state: state | {"embed.input_bn.weight": torch.zeros(8)}, r"7, 13, 17 features"),
        (lambda state: state | {"blocks.0.c_attn": torch.zeros(4, 2)}, r"file: \(4, 2\), model: \(4,\)"),
        (lambda state: {"epoch": 3, "weights": state}, "holds a dict and not tensors by name"),
    ],
)
def test_other_files_are_named(tmp_path, change, message):
    make().to_weaver(tmp_path / "weights.pt")
    torch.save(change(torch.load(tmp_path / "weights.pt", weights_only=True)), tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=message):
        ParticleTransformer.from_weaver(tmp_path / "weights.pt", **SAID)


@pytest.mark.parametrize("name", SAID)
def test_what_tensors_do_not_tell_is_asked_for(tmp_path, name):
    make().to_weaver(tmp_path / "weights.pt")
    said = {key: value for key, value in SAID.items() if key != name}
    with pytest.raises(CheckpointError, match=rf"do not tell {name}, .*pair_activation=…, activation='gelu'"):
        ParticleTransformer.from_weaver(tmp_path / "weights.pt", **said)


def test_what_the_network_does_not_compute_is_refused(tmp_path):
    make().to_weaver(tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match="activation is 'relu', .* computes with 'gelu' alone"):
        ParticleTransformer.from_weaver(tmp_path / "weights.pt", **SAID | {"activation": "relu"})


# Parts


def test_interactions_by_hand():
    p4 = torch.tensor([[10.0, 3.0, 4.0, 0.0], [20.0, 0.0, 1.0, 5.0], [3.0, 0.0, 0.0, -3.0]], dtype=torch.float64)
    found = interaction_features(p4, torch.tensor([0, 0, 1, 2]), torch.tensor([1, 0, 0, 2]))
    y, phi = np.arctanh(5 / 20), np.pi / 2 - np.arctan2(4, 3)
    delta, m2 = np.hypot(y, phi), 30**2 - 9 - 25 - 25
    expected = np.log([delta, 1 / 6, delta, m2])
    np.testing.assert_allclose(found[0], expected, rtol=1e-12)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-12)
    np.testing.assert_allclose(found[1], np.log([1e-8, 0.5, 1e-8, 4 * 75]), rtol=1e-12)
    assert found[3].isfinite().all()


def test_packing_puts_particles_where_they_were(make_jets):
    jets = make_jets(21)
    order = torch.randperm(jets.max_particles, generator=torch.Generator().manual_seed(0))
    for mask in (jets.mask, jets.mask[:, order], jets.mask[:1], jets.mask[:0], torch.zeros_like(jets.mask)):
        packing = pack(mask)
        values = torch.randn(*mask.shape, 3).masked_fill(~mask[..., None], 0.0)
        rows = packing.rows(values)
        assert len(rows) == mask.sum()
        assert torch.equal(packing.unpack(rows), values)
        assert sum(len(group.places) for group in packing.groups) == mask.sum()
        for group in packing.groups:
            padded = group.pad(rows[group.rows])
            assert torch.equal(padded[group.real], rows[group.rows])
            assert (padded[~group.real] == 0).all()
            assert len(group.pairs()[0]) == (group.counts * (group.counts + 1) // 2).sum()
    assert len(pack(jets.mask).groups) == CPU_GROUPS


def test_biases_stand_where_their_pairs_do(make_jets):
    jets, model = make_jets(9, dtype=torch.float64), make(torch.float64)
    packing = pack(jets.mask)
    rows = packing.rows(jets.p4)
    for bias, group in zip(model.interactions.biases(rows, packing), packing.groups, strict=True):
        momenta = rows[group.rows].split(group.counts.tolist())
        for jet, (p4, count) in enumerate(zip(momenta, group.counts.tolist(), strict=True)):
            i, j = torch.meshgrid(torch.arange(count), torch.arange(count), indexing="ij")
            features = interaction_features(p4, i.flatten(), j.flatten())
            alone = model.interactions._evaluate(features).view(count, count, -1).permute(2, 0, 1)
            torch.testing.assert_close(bias[jet, :, :count, :count], alone, atol=1e-12, rtol=0)
            assert (bias[jet, :, :, count:] == -torch.inf).all()


def test_statistics_of_slots_count_padding_as_zeros(make_jets):
    jets = make_jets(6)
    values = FEATURE_SETS["full"][0](jets)
    for statistics, shown in (("slots", values), ("particles", values[jets.mask])):
        norm = make(statistics=statistics).train().embedding.norm
        reference = torch.nn.BatchNorm1d(17)
        reference.load_state_dict(norm.state_dict())
        expected = reference(shown.reshape(-1, 17)).view(shown.shape)
        expected = expected[jets.mask] if statistics == "slots" else expected
        torch.testing.assert_close(norm.over(values[jets.mask], 6 * 30), expected, atol=1e-5, rtol=0)
        for name, tensor in reference.state_dict().items():
            torch.testing.assert_close(norm.state_dict()[name], tensor, atol=1e-5, rtol=0)


def test_invariant_under_rotations_about_the_beam_and_no_others(make_jets):
    jets, model = make_jets(8, dtype=torch.float64), make(torch.float64)
    cos, sin = np.cos(2.0), np.sin(2.0)
    about_beam = torch.tensor([[[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]], dtype=torch.float64)
    about_x = torch.tensor([[[1, 0, 0], [0, cos, -sin], [0, sin, cos]]], dtype=torch.float64)
    torch.testing.assert_close(model(rotate(jets, about_beam)), model(jets), atol=1e-9, rtol=0)
    assert (model(rotate(jets, about_x)) - model(jets)).abs().max() > 1e-3


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # torch, on its first JVP
def test_forward_and_reverse_derivatives_agree(make_jets):
    jets, model = make_jets(3, dtype=torch.float64), make(torch.float64)
    # ln m² of a massless particle with itself is at its floor, and leaves it steeply.
    energy = (jets.p4[..., 1:].square().sum(dim=-1) + 1).sqrt() * jets.mask
    jets = jets.replace(p4=torch.cat([energy[..., None], jets.p4[..., 1:]], dim=-1))
    direction = 1e-2 * torch.randn(jets.p4.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def of_momenta(p4):
        return model(jets.replace(p4=p4))

    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        _, forward = torch.func.jvp(of_momenta, (jets.p4,), (direction,))
        _, pullback = torch.func.vjp(of_momenta, jets.p4)
        torch.testing.assert_close((pullback(forward)[0] * direction).sum(), forward.square().sum())
        step = 1e-6
        numeric = (of_momenta(jets.p4 + step * direction) - of_momenta(jets.p4 - step * direction)) / (2 * step)
        torch.testing.assert_close(forward, numeric, atol=1e-6, rtol=1e-4)


def test_dropout_acts_in_training_only(make_jets):
    jets, model = make_jets(4), make(dropout=0.5)
    assert torch.equal(model(jets), model(jets))
    assert not torch.equal(model.train()(jets), model(jets))


def test_half_precision_is_near(make_jets):
    jets, model = make_jets(8), make()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(jets)
    torch.testing.assert_close(logits.float(), model(jets), atol=0.1, rtol=0)


def test_all_padding(make_jets):
    jets = make_jets(2)
    empty = jets.replace(mask=torch.zeros_like(jets.mask))
    for model in (make(), make().train()):
        assert model(empty).isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": "fulll"}, "features is 'fulll'; the nearest are 'full'"),
        ({"statistics": "slot"}, "statistics is 'slot'; the nearest are 'slots'"),
        ({"heads": 5}, "embedding ends with 24; expected a multiple of heads = 5"),
        ({"heads": 0}, "heads is 0; expected a whole number from 1"),
        ({"blocks": -1}, "blocks is -1; expected a whole number from 0"),
        ({"embedding": ()}, "embedding is .*; expected one or more whole numbers from 1"),
        ({"pairs": (8, 0)}, "pairs is .*; expected whole numbers from 1"),
        ({"dropout": 1.0}, "dropout is 1.0; expected 0 or more and less than 1"),
    ],
)
def test_impossible_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        build("part", **(SMALL | options))


def test_jets_that_do_not_come_first_in_their_slots(make_jets):
    jets, model = make_jets(6), make()
    shifted = JetBatch.concatenate([jets, make_jets(1, max_particles=40)])[:6]
    rolled = shifted.replace(p4=shifted.p4.roll(7, 1), mask=shifted.mask.roll(7, 1), scalars=shifted.scalars.roll(7, 1))
    torch.testing.assert_close(model(rolled), model(jets), atol=2e-6, rtol=0)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_dropout_keeps_the_share_and_the_mean(share):
    x = torch.ones(1001, 301, dtype=torch.float64, requires_grad=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dropped = drop(x, share)
    y = dropped.detach()
    spread = (share * (1 - share) / x.numel()) ** 0.5
    assert abs(float((y == 0).double().mean()) - share) < 4 * spread
    assert abs(float(y.mean()) - 1) < 4 * spread / (1 - share)
    assert set(y.unique().tolist()) == {0.0, y.max().item()}
    neighbours = (y[:, 1:] == 0) & (y[:, :-1] == 0)
    assert abs(float(neighbours.double().mean()) - share**2) < 4 * spread
    dropped.sum().backward()
    assert torch.equal(x.grad, y)
    assert torch.equal(drop(x, 0.0), x)


def test_attention_with_dropout_is_attention_on_average():
    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, 5, 8, generator=generator, dtype=torch.float64)
    bias = torch.randn(2, 4, 5, 5, generator=generator, dtype=torch.float64)
    bias[:, :, :, 3:] = -torch.inf
    expected = attend(query, key, value, bias, dropout=0.0)
    torch.testing.assert_close(attend(query, key, value, bias, dropout=1e-9), expected)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = torch.stack([attend(query, key, value, bias, dropout=0.3) for _ in range(4000)])
    error = found.std(dim=0) / 4000**0.5
    assert ((found.mean(dim=0) - expected).abs() < 5 * error + 1e-12).all()
