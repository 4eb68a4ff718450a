"""weaver-core's own networks, channels first and trimmed, read as jetsym's ports of them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import jetsym
from jetsym.jets.features import FEATURE_SETS, angular_points
from jetsym.jets.io.read import read
from jetsym.jets.models import ParticleNet
from jetsym.jets.models.weaver import read_state

QUIET = {"progress": False, "l_max": 1}


@pytest.fixture(scope="module")
def weaver():
    """The two networks' classes."""
    pytest.importorskip("weaver")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from weaver.nn.model.ParticleNet import ParticleNet as Convolutions
        from weaver.nn.model.ParticleTransformer import ParticleTransformer
    return {"particlenet": Convolutions, "part": ParticleTransformer}


def call_particlenet(model, jets):
    features = FEATURE_SETS["kin"][0](jets)
    return model(angular_points(jets).mT.to(features), features.mT, jets.mask[:, None])


def call_transformer(model, jets):
    momenta = jets.p4[..., [1, 2, 3, 0]].mT  # (px, py, pz, E)
    return model(FEATURE_SETS["kin"][0](jets).mT, momenta, jets.mask[:, None])


@pytest.mark.slow
@pytest.mark.parametrize("slots", [64, 128])
def test_particlenet_with_the_published_weights_reads_as_the_port(weaver, real_data, slots):
    """Its first blocks have 64 and 128 channels, as many as there are slots."""
    path = real_data / "particlenet" / "ParticleNet_kin.pt"
    port = ParticleNet.from_weaver(path).double()
    original = weaver["particlenet"](
        7, 10, conv_params=[(16, (c, c, c)) for c in (64, 128, 256)], fc_params=[(256, 0.1)], use_fusion=False
    )  # fmt: skip
    original.load_state_dict(read_state(path))
    jets = read(real_data / "jetclass" / "jetclass_kin_500.root", limit=500, max_particles=slots)
    fewer = jets[(jets.n_particles > 16) & (jets.n_particles < 40)]
    jets = jets.concatenate([fewer[:2], jets[jets.n_particles == jets.n_particles.max()][:1]]).to(torch.float64)
    theirs = jetsym.probe(
        original.double(), jets, layers=["edge_convs.?"], call=call_particlenet, outputs={"logits": "logits"}, **QUIET
    )
    ours = jetsym.probe(port, jets, **QUIET)
    pairs = {**{f"edge_convs.{i}": f"blocks.{i}" for i in range(3)}, "logits": "logits"}
    assert list(theirs.layers) == list(pairs), theirs.meta
    for name, own in pairs.items():
        row, other = theirs.layers.index(name), ours.layers.index(own)
        np.testing.assert_allclose(theirs.fractions[row], ours.fractions[other], atol=1e-6, err_msg=name)
        assert theirs.norm[row] == pytest.approx(ours.norm[other], rel=1e-6), name


@pytest.mark.parametrize("version", [1, 3.6])
def test_a_transformer_that_trims_after_five_passes_reads_as_one_that_does_not(weaver, make_jets, version):
    def make(**options):
        torch.manual_seed(0)
        sizes = {"embed_dims": (16, 32, 16), "pair_embed_dims": (8, 8), "num_heads": 2, "num_layers": 2}
        return weaver["part"](7, 10, version=version, **sizes, **options).double()

    jets = make_jets(5, dtype=torch.float64, max_particles=20, min_particles=4)
    options = {"call": call_transformer, "outputs": {"logits": "logits"}, **QUIET}
    layers = (
        ["embed", "pair_embed", "blocks.*", "cls_blocks.?", "norm"] if version == 1 else ["embed", "blocks.?", "norm"]
    )
    trimmed, plain, rounded = (
        jetsym.probe(make(**more), jets, layers=[name for name in layers if name != "cls_blocks.*"], **options)
        for more in ({}, {"trim": False}, {"compile_model": True, "pair_embed_sparse_eval": (False, False)})
    )
    assert trimmed.layers == plain.layers
    assert not any("left out" in note for note in plain.meta["notes"]), plain.meta["notes"]
    np.testing.assert_allclose(trimmed.fractions, plain.fractions, atol=1e-6)
    np.testing.assert_allclose(trimmed.norm, plain.norm, rtol=1e-6)
    np.testing.assert_allclose(rounded.fractions, plain.fractions, atol=1e-6)


@pytest.mark.slow
def test_a_transformer_with_its_defaults_is_probed_with_the_defaults(weaver, make_jets):
    torch.manual_seed(0)
    report = jetsym.probe(weaver["part"](7, 10), make_jets(2, max_particles=6), call=call_transformer, progress=False)
    assert [name for name in report.layers if name.startswith("blocks")] == [f"blocks.{i}" for i in range(8)]
    assert report.meta["tokens"]["pair_embed"] == "pairs: axis 2 and axis 3"


def test_a_transformer_takes_channels_first_momenta_by_name(weaver):
    """Its momenta are (px, py, pz, E) along axis 1, its mask (N, 1, P); the features given here stay."""
    torch.manual_seed(0)
    sizes = {"embed_dims": (16, 32, 16), "pair_embed_dims": (8, 8), "num_heads": 2, "num_layers": 1}
    model = weaver["part"](7, 10, trim=False, **sizes).double()
    p = torch.randn(4, 3, 12, dtype=torch.float64)
    v = torch.cat([p, p.square().sum(1, keepdim=True).add(0.1).sqrt()], 1)
    mask = torch.arange(12) < torch.tensor([12, 7, 9, 5])[:, None, None]
    report = jetsym.probe(
        model,
        (torch.rand(4, 7, 12, dtype=torch.float64), v * mask, mask),
        moves={"v": jetsym.moves("four-vector", order="px py pz e", axis=1)},
        outputs={"logits": "logits"},
        layers=["embed", "pair_embed", "blocks.*"],
        call=None,
        **QUIET,
    )
    assert report.meta["moves"]["mask"] == "held fixed, True for real points"
    assert report.meta["moves"]["x"] == "held fixed"
    assert report.meta["tokens"]["pair_embed"] == "pairs: axis 2 and axis 3"
    assert report.meta["tokens"]["embed"].startswith("points")
    embed, pairs = (report.fractions[report.layers.index(name), 0] for name in ("embed", "pair_embed"))
    assert embed == pytest.approx(1, abs=1e-12)  # of features alone
    assert pairs < 1 - 1e-4  # ln kT and ln Δ are no invariants of O(3)
