"""weaver's networks by their own files: logits as of weaver-core's own loader, and features of moved jets."""

from __future__ import annotations

import logging
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import uproot
import yaml
from torch import Tensor
from torch.autograd import forward_ad

import jetsym
from jetsym.cli import main
from jetsym.domains.table import domain_of
from jetsym.errors import CheckpointError, ConfigError, DataError
from jetsym.jets import JetBatch, read, weaver
from jetsym.jets.domain import Jets
from jetsym.jets.features import kinematic_quantities
from jetsym.jets.io.mapping.expressions import Expression
from jetsym.jets.io.mapping.parse import load_mapping
from jetsym.jets.io.mapping.quantities import Quantity
from jetsym.jets.io.mapping.traced import Traced
from jetsym.jets.models import ParticleNet, ParticleTransformer
from jetsym.jets.moves.actions import boost, rotate
from jetsym.jets.moves.generators import tangents
from jetsym.jets.moves.inputs import follow
from jetsym.jets.moves.sampling import random_rotations
from jetsym.jets.weaver_files import files_of
from jetsym.probing.measure.attribution import attribute
from jetsym.probing.reports.attribution import Attribution

pytest.importorskip("weaver")

#: Networks as those of the public repository are written.
PARTICLENET = """
from weaver.nn.model.ParticleNet import ParticleNet
import torch

class Wrapper(torch.nn.Module):
    def __init__(self, **kwargs):
        super().__init__()
        self.mod = ParticleNet(**kwargs)

    def forward(self, points, features, lorentz_vectors, mask):
        return self.mod(points, features, mask)

def get_model(data_config, **kwargs):
    model = Wrapper(
        input_dims=len(data_config.input_dicts['pf_features']),
        num_classes=len(data_config.label_value),
        conv_params=kwargs.get('conv_params', [(7, (8, 8)), (7, (12,))]),
        fc_params=kwargs.get('fc_params', [(16, 0.1)]),
        use_fusion=kwargs.get('use_fusion', False),
        use_fts_bn=kwargs.get('use_fts_bn', True),
        use_counts=kwargs.get('use_counts', True),
        for_inference=kwargs.get('for_inference', False)
    )
    return model, {'input_names': list(data_config.input_names)}

def get_loss(data_config, **kwargs):
    return torch.nn.CrossEntropyLoss()
"""
TRANSFORMER = """
import torch
from weaver.nn.model.ParticleTransformer import ParticleTransformer
from weaver.utils.logger import _logger

class Wrapper(torch.nn.Module):
    def __init__(self, **kwargs) -> None:
        super().__init__()
        self.mod = ParticleTransformer(**kwargs)

    @torch.jit.ignore
    def no_weight_decay(self):
        return {'mod.cls_token', }

    def forward(self, points, features, lorentz_vectors, mask):
        return self.mod(features, v=lorentz_vectors, mask=mask)

def get_model(data_config, **kwargs):
    cfg = dict(
        input_dim=len(data_config.input_dicts['pf_features']), num_classes=len(data_config.label_value),
        pair_input_dim=4, use_pre_activation_pair=False, embed_dims=[16, 16], pair_embed_dims=[8], num_heads=2,
        num_layers=2, num_cls_layers=1, fc_params=[], activation='gelu', trim=True, for_inference=False,
    )
    cfg.update(**kwargs)
    model = Wrapper(**cfg)
    return model, {'input_names': list(data_config.input_names)}
"""
#: The data configuration of JetClass's "full" features, with three classes.
DATA = """
selection:
   ### use `&`, `|`, `~` for logical operations on numpy arrays
new_variables:
   ### [format] name: formula
   part_mask: ak.ones_like(part_energy)
   part_pt: np.hypot(part_px, part_py)
   part_pt_log: np.log(part_pt)
   part_e_log: np.log(part_energy)
   part_logptrel: np.log(part_pt/jet_pt)
   part_logerel: np.log(part_energy/jet_energy)
   part_deltaR: np.hypot(part_deta, part_dphi)
   part_d0: np.tanh(part_d0val)
   part_dz: np.tanh(part_dzval)
   rest: 1 - label_QCD - label_Hbb
preprocess:
  method: manual
  data_fraction: 0.5
inputs:
   pf_points: {length: LENGTH, pad_mode: wrap, vars: [[part_deta, null], [part_dphi, null]]}
   pf_features:
      length: LENGTH
      pad_mode: wrap
      vars:
         - [part_pt_log, 1.7, 0.7]
         - [part_e_log, 2.0, 0.7]
         - [part_logptrel, -4.7, 0.7]
         - [part_logerel, -4.7, 0.7]
         - [part_deltaR, 0.2, 4.0]
         - [part_charge, null]
         - [part_isChargedHadron, null]
         - [part_isNeutralHadron, null]
         - [part_isPhoton, null]
         - [part_isElectron, null]
         - [part_isMuon, null]
         - [part_d0, null]
         - [part_d0err, 0, 1, 0, 1]
         - [part_dz, null]
         - [part_dzerr, 0, 1, 0, 1]
         - [part_deta, null]
         - [part_dphi, null]
   pf_vectors:
      length: LENGTH
      pad_mode: wrap
      vars: [[part_px, null], [part_py, null], [part_pz, null], [part_energy, null]]
   pf_mask: {length: LENGTH, pad_mode: constant, vars: [[part_mask, null]]}
labels:
   type: simple
   value: [label_QCD, label_Hbb, rest]
observers: [jet_pt, jet_eta]
weights:
"""
LENGTH = 24
NETWORKS = {"particlenet": PARTICLENET, "part": TRANSFORMER}
QUIET = {"progress": False, "l_max": 1}


@pytest.fixture
def columns(jetclass_columns, make_jets):
    """Branches of JetClass for some jets, with the stored Δη and Δφ."""

    def of(jets: JetBatch) -> dict[str, Any]:
        import awkward as ak

        found, counts = jetclass_columns(jets), jets.n_particles.numpy()
        deta_dphi = kinematic_quantities(jets, "field")
        return found | {
            f"part_{name}": ak.unflatten(deta_dphi[name][jets.mask].float().numpy(), counts)
            for name in ("deta", "dphi")
        }

    return of


@pytest.fixture
def made(tmp_path, columns, write_tree, make_jets):
    """``made(name, data, options)``: files of a network with random weights, and one of jets."""

    def make(
        name: str = "part", data: str = DATA, *, prefix: str = "", **options: Any
    ) -> tuple[Path, Path, Path, Path]:
        jets = make_jets(12, 3, max_particles=LENGTH, min_particles=9)
        file = write_tree(tmp_path / "jets.root", columns(jets))
        folder = tmp_path / "net"
        folder.mkdir(exist_ok=True)
        (folder / "network.py").write_text(NETWORKS[name])
        (folder / "data.yaml").write_text(data.replace("LENGTH", str(LENGTH)))
        network = theirs(folder, options)
        torch.save({prefix + key: value for key, value in network.state_dict().items()}, folder / "net_state.pt")
        return folder / "network.py", folder / "data.yaml", folder / "net_state.pt", file

    return make


def theirs(folder: Path, options: dict[str, Any]) -> torch.nn.Module:
    """The network as weaver-core makes it, with parameters as after a training."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from weaver.utils.data.config import DataConfig
        from weaver.utils.import_tools import import_module

        torch.manual_seed(0)
        config = DataConfig.load(folder / "data.yaml")
        model = import_module(folder / "network.py", name="_network_module").get_model(config, **options)[0]
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.data.add_(
                torch.rand_like(tensor) if name.endswith("running_var") else 0.3 * torch.randn_like(tensor)
            )
    return model.eval()


def of_weaver(data: Path, file: Path) -> dict[str, Tensor]:
    """What weaver-core's own loader gives its networks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from weaver.utils.dataset import SimpleIterDataset

        logging.getLogger("weaver").setLevel(logging.ERROR)
        whole = {"for_training": False, "fetch_by_files": True, "fetch_step": 1}
        rows = [inputs for inputs, *_ in SimpleIterDataset({"_": [str(file)]}, str(data), **whole)]
    return {name: torch.as_tensor(np.stack([row[name] for row in rows])) for name in rows[0]}


#: The sizes of the public repository's example_ParticleTransformer.py.
PUBLISHED = {
    "embed_dims": [128, 512, 128],
    "pair_embed_dims": [64, 64, 64],
    "num_heads": 8,
    "num_layers": 8,
    "num_cls_layers": 2,
    "block_params": None,
    "cls_block_params": {"dropout": 0, "attn_dropout": 0, "activation_dropout": 0},
}
CASES = [
    ("part", {}),
    ("part", PUBLISHED),
    ("part", {"use_pre_activation_pair": True}),
    ("part", {"version": 2}),
    ("part", {"version": 3}),
    ("part", {"fc_params": [(16, 0.1), (8, 0.0)]}),
    ("part", {"remove_self_pair": True, "activation": "relu"}),
    ("particlenet", {}),
    ("particlenet", {"conv_params": [(3, (8, 8)), (5, (12,))], "fc_params": [(16, 0.1), (6, 0.1)]}),
    ("particlenet", {"use_fusion": True}),
    ("particlenet", {"use_counts": False, "use_fts_bn": False}),
]


@pytest.mark.parametrize(
    ("name", "options", "prefix"), [(*case, ("", "module.")[n % 2]) for n, case in enumerate(CASES)]
)
def test_logits_are_those_of_weaver_by_its_own_loader(made, name, options, prefix):
    network, data, weights, file = made(name, prefix=prefix, **options)
    net = weaver(network, data, weights, options=options)
    assert net.classes == ("QCD", "Hbb", "rest")
    jets = net.read(file)
    inputs, expected = net.inputs_of(jets), of_weaver(data, file)
    assert list(inputs) == ["pf_points", "pf_features", "pf_vectors", "pf_mask"]
    for key, tensor in ((key, expected[key]) for key in inputs):
        torch.testing.assert_close(inputs[key], tensor, atol=2e-6, rtol=2e-6, msg=key)
    with torch.no_grad():
        logits = theirs(network.parent, options)(*(expected[key] for key in inputs))
        assert logits.std() > 0.05
        torch.testing.assert_close(net(jets), logits, atol=1e-5, rtol=0)


def test_public_weights_and_real_jets(real_data, tmp_path):
    """Inputs of the public kinematic configuration; the reference comes from weaver-core's own loader and network."""
    (tmp_path / "network.py").write_text(PARTICLENET)
    found = yaml.safe_load(DATA.replace("LENGTH", "128"))
    kin = r"part_(\w+_log|log\w+|deltaR|deta|dphi)"
    features = found["inputs"]["pf_features"]
    features["vars"] = [one for one in features["vars"] if re.fullmatch(kin, one[0])]
    found["labels"]["value"] = [f"label_{name}" for name in jetsym.jets.schema.CLASSES]
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(found, sort_keys=False))
    conv = [(16, (64, 64, 64)), (16, (128, 128, 128)), (16, (256, 256, 256))]
    options = {"conv_params": conv, "fc_params": [(256, 0.1)]}
    net = weaver(
        tmp_path / "network.py",
        tmp_path / "data.yaml",
        real_data / "particlenet" / "ParticleNet_kin.pt",
        options=options,
    )
    jets = net.read(real_data / "jetclass" / "jetclass_kin_500.root")[:64]
    expected = np.load(real_data / "particlenet" / "ParticleNet_kin_logits_jetclass_kin_500.npy")[:64]
    with torch.no_grad():
        np.testing.assert_allclose(net(jets).numpy(), expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_layers_are_those_of_the_ports(made, name):
    network, data, weights, file = made(name)
    net = weaver(network, data, weights).double()
    said: dict[str, Any] = {"classes": net.classes, "features": "full"}
    if name == "part":
        said |= {"pair_activation": True, "activation": "gelu", "remove_self_pair": False, "pair_input_type": "pp"}
        port: torch.nn.Module = ParticleTransformer.from_weaver(weights, **said)
        pairs = {"mod.blocks.0": "blocks.0", "mod.blocks.1": "blocks.1", "mod.norm": "pool"}
    else:
        port = ParticleNet.from_weaver(weights, **said, k=7, use_counts=True)
        pairs = {"mod.edge_convs.0": "blocks.0", "mod.edge_convs.1": "blocks.1"}
    jets = net.read(file, limit=4).to(torch.float64)
    plain = jets.replace(inputs={}, input_forms={}, scalars=read(file, limit=4).scalars.double(), scalar_names=PLAIN)
    layers = [f"network.{own}" for own in pairs]
    found = jetsym.probe(net, jets, layers=layers, **QUIET)
    ours = jetsym.probe(port.double(), plain, layers=list(pairs.values()), **QUIET)
    for own, other in ((f"network.{own}", other) for own, other in pairs.items()):
        row, there = found.layers.index(own), ours.layers.index(other)
        np.testing.assert_allclose(found.fractions[row], ours.fractions[there], atol=1e-5, err_msg=own)
        assert found.norm[row] == pytest.approx(ours.norm[there], rel=1e-5), own
    row, there = found.layers.index("logits"), ours.layers.index("logits")
    np.testing.assert_allclose(found.fractions[row], ours.fractions[there], atol=1e-5)


PLAIN = jetsym.jets.schema.SCALARS


def moved(jets: JetBatch) -> JetBatch:
    """Return jets that are rotated and boosted, one element."""
    matrices = random_rotations(1, generator=torch.Generator().manual_seed(1))
    return boost(rotate(jets, matrices), torch.tensor([0.3], dtype=torch.float64), "beam")


def test_variables_of_moved_jets_are_those_of_a_file_of_moved_jets(made, columns, write_tree, tmp_path):
    network, data, weights, file = made()
    net = weaver(network, data, weights)
    jets = net.read(file)
    there = moved(jets)
    truth = read(file)
    again = write_tree(tmp_path / "moved.root", columns(moved(truth.replace(inputs={}, input_forms={}))))
    expected, found = of_weaver(data, again), net.inputs_of(there)
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], atol=2e-3, rtol=2e-3, msg=name)
        if name != "pf_mask":
            assert (tensor - net.inputs_of(jets)[name]).abs().max() > 0.1, name


UNKNOWN = DATA.replace("part_d0: np.tanh(part_d0val)", "part_d0: np.tanh(part_weird)")


def test_columns_that_nobody_knows_are_refused_until_they_are_named(made, columns, write_tree, tmp_path):
    network, data, weights, file = made(data=UNKNOWN)
    import awkward as ak

    with uproot.open(file) as opened:
        arrays = opened["tree"].arrays(library="ak")
    stored = {name: arrays[name] for name in arrays.fields if not name.startswith("n")}
    weird = write_tree(tmp_path / "weird.root", {**stored, "part_weird": ak.full_like(arrays["part_energy"], 0.5)})
    net = weaver(network, data, weights)
    with pytest.raises(DataError, match="has no branch 'part_weird', of which inputs"):
        net.read(file)
    jets = net.read(weird)
    with torch.no_grad():
        assert net(jets).isfinite().all()  # where nothing moves, nothing is refused
    with pytest.raises(DataError, match=r"'part_weird' .* is no known function of the momenta.*fixed=\['part_weird'\]"):
        rotate(jets, torch.eye(3)[None])
    for names in (["part_weird"], ["part_d0"]):
        held = weaver(network, data, weights, fixed=names)
        rotated = rotate(held.read(weird), random_rotations(1, generator=torch.Generator().manual_seed(1)))
        place = [one[0] for one in yaml.safe_load(data.read_text())["inputs"]["pf_features"]["vars"]].index("part_d0")
        values = held.inputs_of(rotated)["pf_features"][:, place]
        torch.testing.assert_close(values, torch.full_like(values, np.tanh(0.5)))
    with pytest.raises(ConfigError, match="fixed names 'part_other', of which no input of .* is; expected some of"):
        weaver(network, data, weights, fixed=["part_other"])


def test_columns_that_are_not_what_their_name_says_are_refused(made):
    network, data, weights, file = made()
    net = weaver(network, data, weights)
    jets = net.read(file)
    (name,) = (one for one in jets.inputs if one.startswith("columns of part_"))
    place = jets.input_forms[name].names.index("part_deta")
    wrong = jets.inputs[name].clone()
    wrong[:, place] = -wrong[:, place] + 0.1
    with pytest.raises(DataError, match="'part_deta' .* is not deta of these momenta, .* fixed"):
        rotate(jets.replace(inputs=jets.inputs | {name: wrong}), torch.eye(3)[None])


def test_jets_that_were_read_otherwise_are_refused(made):
    network, data, weights, file = made()
    net = weaver(network, data, weights)
    with pytest.raises(DataError, match=r"have no column 'part_\w+', .*net\.read\(paths\)"):
        net(read(file))


def test_sums_over_particles_that_were_cut_are_refused(made):
    """weaver-core sums before it cuts: over 24 particles of a jet, of which 8 are handed to the network."""
    own = "part_logptrel: np.log(part_pt/jet_pt)"
    for total in ("ak.sum(part_pt, axis=1)", "ak.num(part_pt)"):
        text = DATA.replace(own, f"part_logptrel: np.log(part_pt/{total})")
        network, data, weights, file = made(data=text)
        net = weaver(network, data, weights)
        expected = of_weaver(data, file)["pf_features"][:, 2]
        torch.testing.assert_close(net.inputs_of(net.read(file))["pf_features"][:, 2], expected, rtol=1e-5, atol=1e-5)
        data.write_text(data.read_text().replace(f"length: {LENGTH}", "length: 8"))
        net = weaver(network, data, weights)
        with pytest.raises(DataError, match=r"is of all \d\d members of .* in a jet, of which the network takes 8"):
            net.inputs_of(net.read(file))
        held = weaver(network, data, weights, fixed=["part_logptrel"])  # as the message says: it is stored as it was
        found = held.inputs_of(held.read(file))["pf_features"][:, 2]
        torch.testing.assert_close(found, expected[:, :8], rtol=1e-5, atol=1e-5)
    network, data, weights, file = made()
    data.write_text(data.read_text().replace(f"length: {LENGTH}", "length: 8"))
    net = weaver(network, data, weights)
    assert net.inputs_of(net.read(file))["pf_features"].shape[-1] == 8


def test_derivatives_go_through(made):
    """Forward-mode derivatives along the generators are the differences of logits of jets that are moved a little."""
    network, data, weights, file = made()
    net = weaver(network, data, weights).double()
    jets = net.read(file, limit=2).to(torch.float64)
    domain = domain_of(jets)
    generators = domain.generators(jets, "beam")
    p4, jet_p4 = tangents(jets, generators)
    still = domain.move(jets, torch.eye(3, dtype=torch.float64).expand(len(generators), 3, 3))

    def moved(step: float) -> Tensor:
        momenta = {"p4": still.p4 + step * p4.flatten(0, 1), "jet_p4": still.jet_p4 + step * jet_p4.flatten(0, 1)}
        return net(follow(jets, still.replace(**momenta)))

    with forward_ad.dual_level(), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        tangent = forward_ad.unpack_dual(net(domain.with_tangents(jets, generators))).tangent
    with torch.no_grad():
        difference = (moved(1e-6) - moved(-1e-6)) / 2e-6
    assert tangent.abs().max() > 0.01
    torch.testing.assert_close(tangent, difference, atol=1e-4, rtol=1e-4)


EXPRESSIONS = [
    "a + 2 * b - a / b // 1 + a % 0.3 + a ** 2",
    "np.log(a) + np.exp(-b) + np.sqrt(a) + np.tanh(b) + np.arctan2(a, b) + np.hypot(n, b) + np.log(n + 2)",
    "np.where((a > 0.5) & (n == 1), a, -b) + (a > b) * 1 + (a > 0.2 and not n > 0)",
    "np.clip(a, 0.2, 0.6) + np.maximum(a, b) + np.abs(b - a) + ak.ones_like(a) + np.sign(b - a) + np.nan_to_num(a)",
    "a / jet + sum(a) + mean(b) / count(b) + np.log1p(jet)",
    "jet * 2 + jet ** 2 + np.where(jet > 1, 0, jet)",
    "isin(n, [0, 1]) + np.rint(a) + np.cos(n) + np.degrees(a)",
]


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_expressions_of_tensors_are_those_of_arrays(text):
    random, counts = np.random.default_rng(0), np.array([3, 1, 4])
    values = {
        "a": random.random(8),
        "b": random.random(8) + 0.1,
        "n": random.integers(-1, 3, 8),
        "jet": random.random(3) + 0.5,
    }
    expression = Expression.parse(text)

    def of(wrap):
        return {name: Quantity(wrap(each), counts if len(each) == 8 else None) for name, each in values.items()}

    expected = expression.evaluate(of(lambda each: each).__getitem__)
    found = expression.evaluate(of(lambda each: Traced(torch.as_tensor(each))).__getitem__)
    assert isinstance(found.values, Traced)
    np.testing.assert_allclose(found.values.tensor.numpy().astype(float), expected.values.astype(float), rtol=1e-12)
    assert (found.counts is None) == (expected.counts is None)


@pytest.mark.parametrize("text", ["max(a)", "sort(a)", "np.cbrt(a)"])
def test_what_is_not_computed_of_tensors_is_refused_by_name(text):
    quantity = Quantity(Traced(torch.rand(3)), np.array([2, 1]))  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"is not computed anew for jets that move; .*fixed="):
        Expression.parse(text).evaluate({"a": quantity}.__getitem__)


def test_the_network_runs_only_when_it_is_named(made, tmp_path):
    network, data, weights, file = made()
    marker = tmp_path / "ran"
    network.write_text(f"open({str(marker)!r}, 'w').close()\n" + network.read_text())
    load_mapping(data)
    read(file, mapping=data)
    with pytest.raises(CheckpointError):
        jetsym.load(weights)
    with pytest.raises(CheckpointError):
        jetsym.load(network.parent)
    assert not marker.exists()
    weaver(network, data, weights)
    assert marker.exists()


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def test_weights_are_opened_without_running_them(made):
    network, data, weights, _ = made()
    torch.save({"trap": Trap()}, weights)
    with pytest.raises(CheckpointError, match="is not a whole state dictionary of tensors"):
        weaver(network, data, weights)


def test_wrong_uses_are_said_in_a_sentence(made, tmp_path):
    network, data, weights, _ = made()
    with pytest.raises(
        CheckpointError, match=r"does not fit the network: .* \(file: .*, network: absent\); give the opt"
    ):
        weaver(network, data, weights, options={"num_layers": 1})
    with pytest.raises(ConfigError, match="makes no network for this data configuration .TypeError"):
        weaver(network, data, weights, options={"layers": 1})
    with pytest.raises(ConfigError, match="there is no file"):
        weaver(tmp_path / "other.py", data, weights)
    (tmp_path / "other.yaml").write_text("particles: {}")
    with pytest.raises(ConfigError, match="no data configuration of weaver-core"):
        weaver(network, tmp_path / "other.yaml", weights)
    (tmp_path / "auto.yaml").write_text(
        data.read_text().replace("manual", "auto").replace("[part_charge, null]", "part_charge")
    )
    with pytest.raises(ConfigError, match=r"standardises 'part_charge' automatically, .*auto\.yaml beside"):
        weaver(network, tmp_path / "auto.yaml", weights)
    assert files_of(network.parent) == (network, data, weights)
    (network.parent / "second.pt").touch()
    with pytest.raises(ConfigError, match=r"holds net_state\.pt, second\.pt as \*\.pt; expected one state dictionary"):
        files_of(network.parent)


#: As Sophon's: momenta in units in which the jet has 500 GeV, and as many classes as an option says.
SCALED = """
selection: (jet_pt > 200) & (jet_pt < 2500) & (jet_sdmass > 20) & (jet_sdmass < 500)
new_variables:
   part_mask: ak.ones_like(part_energy)
   part_px_scale: part_px / jet_pt * 500
   part_py_scale: part_py / jet_pt * 500
   part_pz_scale: part_pz / jet_pt * 500
   part_energy_scale: part_energy / jet_pt * 500
   part_pt: np.hypot(part_px, part_py)
   part_pt_scale_log: np.log(np.hypot(part_px_scale, part_py_scale))
   part_logptrel: np.log(part_pt/jet_pt)
   part_deltaR: np.hypot(part_deta, part_dphi)
inputs:
   pf_points: {length: 128, pad_mode: wrap, vars: [[part_deta, null], [part_dphi, null]]}
   pf_features:
      length: 128
      pad_mode: wrap
      vars: [[part_pt_scale_log, 1.7, 0.7], [part_logptrel, -4.7, 0.7], [part_deltaR, 0.2, 4.0], [part_charge, null]]
   pf_vectors:
      length: 128
      pad_mode: wrap
      vars: [[part_px_scale, null], [part_py_scale, null], [part_pz_scale, null], [part_energy_scale, null]]
   pf_mask: {length: 128, pad_mode: constant, vars: [[part_mask, null]]}
labels: {type: custom, value: {truth_label: jet_label}}
observers: [jet_pt, jet_sdmass]
"""


def test_scaled_momenta_as_sophon_takes_them(real_data, tmp_path):
    (tmp_path / "network.py").write_text(TRANSFORMER)
    (tmp_path / "data.yaml").write_text(SCALED)
    options = {"num_classes": 188, "use_pre_activation_pair": True, "fc_params": [(16, 0.1)]}
    torch.save(theirs(tmp_path, options).state_dict(), tmp_path / "net.pt")
    net = weaver(*files_of(tmp_path), options=options)
    file = real_data / "jetclass2" / "JetClassII_example.root"
    jets, expected = net.read(file), of_weaver(tmp_path / "data.yaml", file)
    assert len(jets) == len(expected["pf_mask"])
    inputs = net.inputs_of(jets)
    for key, tensor in inputs.items():
        torch.testing.assert_close(tensor, expected[key], atol=1e-4, rtol=1e-5, msg=key)
    there = net.inputs_of(rotate(jets, torch.tensor([[[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]])))
    torch.testing.assert_close(there["pf_features"], inputs["pf_features"], atol=5e-3, rtol=1e-3)
    x, y = inputs["pf_vectors"][:, :2].unbind(1)
    torch.testing.assert_close(there["pf_vectors"][:, :2], torch.stack([-y, x], 1), atol=1e-2, rtol=1e-4)
    with torch.no_grad():
        assert net(jets[:2]).shape == (2, 188)


def test_trimming_is_off(made):
    network, data, weights, file = made()
    net = weaver(network, data, weights)
    jets, shapes = net.read(file), []
    net.network.mod.embed.register_forward_hook(lambda module, given, found: shapes.append(tuple(found.shape[:2])))
    few = jets[jets.n_particles < LENGTH].trim()
    with torch.no_grad():
        for _ in range(8):
            net(few)
    assert set(shapes) == {(len(few), LENGTH)}


def test_the_command_line(made, tmp_path, capsys):
    network, data, weights, file = made()
    folder = str(network.parent)
    assert (
        main(
            [
                "predict",
                str(file),
                "--weaver",
                folder,
                "--out",
                str(tmp_path / "p.root"),
                "--logits",
                "--progress",
                "false",
            ]
        )
        == 0
    )
    with uproot.open(tmp_path / "p.root") as opened:
        written = opened["tree"].arrays([f"logit_{name}" for name in ("QCD", "Hbb", "rest")], library="np")
    net = weaver(network, data, weights)
    with torch.no_grad():
        np.testing.assert_allclose(np.stack([*written.values()], 1), net(net.read(file)).numpy(), atol=1e-5)
    assert main(["evaluate", str(file), "--weaver", folder, "--out", str(tmp_path / "e.json")]) == 0
    assert (tmp_path / "e.json").is_file()
    capsys.readouterr()
    probed = ["probe", "--weaver", folder, "--inputs", str(file), "--limit", "2", "--l_max", "0", "--progress", "false"]
    assert main([*probed, "--layers", "network.mod.norm", "--out", str(tmp_path / "r.json")]) == 0
    assert "network.mod.norm" in capsys.readouterr().out
    assert main(["probe", "--weaver", str(tmp_path / "none")]) != 0
    assert "expected a folder with a network" in " ".join(capsys.readouterr().err.split())


def test_sources_of_a_broken_symmetry_are_columns(made, columns, write_tree, make_jets, tmp_path):
    """With a column set to zero, A is that of files in which it is zero."""
    network, data, weights, file = made(data=UNKNOWN)
    import awkward as ak

    with uproot.open(file) as opened:
        arrays = opened["tree"].arrays(library="ak")
    random = np.random.default_rng(0)
    plain = {name: arrays[name] for name in arrays.fields if not name.startswith("n")}
    counts = ak.num(plain["part_px"])
    plain["part_weird"] = ak.unflatten(random.normal(size=int(ak.sum(counts))).astype("f4"), counts)
    net = weaver(network, data, weights, fixed=["part_weird"]).double()
    options = {"l_max": 1, "limit": 3, "progress": False}
    found = attribute(net, write_tree(tmp_path / "a.root", plain), sources=["charge", "part_weird"], **options)
    assert found.meta["n_inputs"] == 3
    for name, zeros in {"charge": ["part_charge"], "part_weird": ["part_weird"]}.items():
        without = {**plain, **{one: 0 * plain[one] for one in zeros}}
        there = write_tree(tmp_path / f"{name}.root", without)
        expected = attribute(net, there, sources=[], **options).equivariance["logits"]
        effect = found.effects["logits"][name]
        assert effect.equivariance.absolute == pytest.approx(expected.absolute, rel=1e-9)
        assert effect.equivariance.absolute != pytest.approx(found.equivariance["logits"].absolute, rel=1e-6)
    every = Jets().sources(net.read(tmp_path / "a.root"), limit=4, model=net)[1]
    assert {one.name for one in every} == {"charge", "particle flags", "impact parameters", "part_weird"}


def test_the_command_attributes(made, tmp_path, capsys):
    network, _, _, file = made()
    told = ["attribute", "--weaver", str(network.parent), "--inputs", str(file), "--limit", "2", "--l_max", "1"]
    more = ["--sources", '["impact parameters"]', "--progress", "false", "--out", str(tmp_path / "a.json")]
    assert main([*told, *more]) == 0
    assert "impact parameters" in capsys.readouterr().out
    assert Attribution.load(tmp_path / "a.json").meta["n_inputs"] == 2
