"""Data configurations of weaver-core as mappings: the same numbers as weaver-core's own loader gives."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import torch
import uproot
import yaml
from weaver_batches import assert_equal, of_weaver, written

from jetsym.cli import main
from jetsym.errors import ConfigError, DataError
from jetsym.jets import JetBatch, read
from jetsym.jets.io import JetStream
from jetsym.jets.io.mapping.parse import load_mapping, open_mapping, tagger_mapping
from jetsym.jets.io.sample import sample_dir
from jetsym.jets.io.streaming.convert import convert
from jetsym.jets.moves.actions import rotate
from jetsym.jets.schema import CLASSES, SCALARS
from jetsym.testing import random_jets
from jetsym.training.loop import train

pytest.importorskip("weaver")

#: weaver-core takes logarithms of what is negative, and says so.
pytestmark = pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:divide by zero:RuntimeWarning")

KIN = ["part_pt_log", "part_e_log", "part_logptrel", "part_logerel", "part_deltaR"]
FLAGS = ["charge", "isChargedHadron", "isNeutralHadron", "isPhoton", "isElectron", "isMuon"]
CONSTANTS = [[1.7, 0.7], [2.0, 0.7], [-4.7, 0.7], [-4.7, 0.7], [0.2, 4.0]]


def tagging(features: list[Any], labels: list[str], **others: Any) -> dict[str, Any]:
    """Return a configuration as those that are published for JetClass, top and quark-gluon tagging are written."""
    wrap = {"length": 128, "pad_mode": "wrap"}
    kin = [[name, *constants] for name, constants in zip(KIN, CONSTANTS, strict=True)]
    shift = [["part_deta", None], ["part_dphi", None]]
    return {
        "selection": None,
        "new_variables": {
            "part_mask": "ak.ones_like(part_deta)",
            "part_pt": "np.hypot(part_px, part_py)",
            "part_pt_log": "np.log(part_pt)",
            "part_e_log": "np.log(part_energy)",
            "part_logptrel": "np.log(part_pt/jet_pt)",
            "part_logerel": "np.log(part_energy/jet_energy)",
            "part_deltaR": "np.hypot(part_deta, part_dphi)",
            **others.pop("new_variables", {}),
        },
        "preprocess": {"method": "manual", "data_fraction": 0.5},
        "inputs": {
            "pf_points": {**wrap, "vars": shift},
            "pf_features": {**wrap, "vars": [*kin, *features, *shift]},
            "pf_vectors": {**wrap, "vars": [[f"part_{name}", None] for name in ("px", "py", "pz", "energy")]},
            "pf_mask": {"length": 128, "pad_mode": "constant", "vars": [["part_mask", None]]},
        },
        "labels": {"type": "simple", "value": labels},
        "observers": ["jet_pt", "jet_eta"],
        "weights": None,
    } | others


FLAG_FEATURES = [[f"part_{name}", None] for name in FLAGS]
DISPLACEMENTS = [["part_d0", None], ["part_d0err", 0, 1, 0, 1], ["part_dz", None], ["part_dzerr", 0, 1, 0, 1]]
TANH = {"part_d0": "np.tanh(part_d0val)", "part_dz": "np.tanh(part_dzval)"}
JETCLASS = [f"label_{name}" for name in CLASSES]
JETCLASS_CONFIGURATIONS = {
    "JetClass_full": (tagging([*FLAG_FEATURES, *DISPLACEMENTS], JETCLASS, new_variables=TANH), SCALARS),
    "JetClass_kinpid": (tagging(FLAG_FEATURES, JETCLASS), SCALARS[:6]),
    "JetClass_kin": (tagging([], JETCLASS), ()),
}
TOP = tagging([], ["jet_isTop", "jet_isQCD"], new_variables={"jet_isTop": "label", "jet_isQCD": "1-label"})
PID = {
    "part_isCHad": "(np.abs(part_pid)==211) + (np.abs(part_pid)==321)*0.5 + (np.abs(part_pid)==2212)*0.2",
    "part_isNHad": "(np.abs(part_pid)==130) + (np.abs(part_pid)==2112)*0.2",
}
QUARK = {"jet_isQ": "label", "jet_isG": "1-label"}
OTHERS = {
    "top_kin": TOP,
    "qg_kin": tagging([], ["jet_isQ", "jet_isG"], new_variables=QUARK),
    "qg_kinpid": tagging(FLAG_FEATURES, ["jet_isQ", "jet_isG"], new_variables=QUARK),
    "qg_kinpidplus": tagging(
        [FLAG_FEATURES[0], ["part_isCHad", None], ["part_isNHad", None], *FLAG_FEATURES[3:]],
        ["jet_isQ", "jet_isG"],
        new_variables={**PID, **QUARK},
    ),
}


@pytest.mark.parametrize("name", JETCLASS_CONFIGURATIONS)
def test_configurations_of_jetclass_on_the_bundled_sample(tmp_path, name):
    content, scalars = JETCLASS_CONFIGURATIONS[name]
    configuration = written(tmp_path / f"{name}.yaml", content)
    files = sorted((sample_dir() / "test").glob("*.root"))[2:6]
    found, without = read(files, mapping=configuration), read(files)
    assert len(found) >= 1000
    assert_equal(found, of_weaver(configuration, files))
    assert found.scalar_names == scalars
    assert found.classes == CLASSES
    for field in ("p4", "mask", "jet_p4", "label"):
        assert torch.equal(getattr(found, field), getattr(without, field)), field
    assert torch.equal(found.scalars, without.scalars[..., : len(scalars)])


@pytest.fixture(scope="module")
def two_class_file(tmp_path_factory, jetclass_columns, write_tree) -> Callable[..., Path]:
    """``two_class_file(n, seed=, name=, **changes)``: jets with a label of 0 and 1, as for top and quark tagging."""

    def write(n: int = 60, *, seed: int = 0, name: str = "jets.root", tree: str = "tree", **changes: Any) -> Path:
        jets = random_jets(n, seed, max_particles=150)
        columns = jetclass_columns(jets)
        rng = np.random.default_rng(seed)
        columns = {key: value for key, value in columns.items() if not key.startswith("label_")}
        columns["label"] = rng.integers(0, 2, n).astype("int32")
        eta = np.arcsinh(columns["part_pz"] / np.hypot(columns["part_px"], columns["part_py"]))
        turn = np.arctan2(columns["part_py"], columns["part_px"]) - columns["jet_phi"]
        columns["part_deta"] = (eta - columns["jet_eta"]) * np.sign(columns["jet_eta"])
        columns["part_dphi"] = np.arctan2(np.sin(turn), np.cos(turn))
        ids = rng.choice([211, -211, 321, 2212, 130, -2112, 22, 11], ak.sum(ak.num(columns["part_px"])))
        columns["part_pid"] = ak.unflatten(ids.astype("int32"), ak.num(columns["part_px"]))
        columns |= changes
        path = tmp_path_factory.mktemp("two") / name
        if path.suffix == ".parquet":
            ak.to_parquet(ak.zip(columns, depth_limit=1), path)
            return path
        return write_tree(path, {key: value for key, value in columns.items() if value is not None}, tree=tree)

    return write


@pytest.mark.parametrize("suffix", [".root", ".parquet"])
@pytest.mark.parametrize("name", OTHERS)
def test_configurations_of_top_and_quark_gluon_tagging(tmp_path, two_class_file, name, suffix):
    configuration = written(tmp_path / f"{name}.yaml", OTHERS[name])
    files = [two_class_file(520, seed=1, name=f"a{suffix}"), two_class_file(500, seed=2, name=f"b{suffix}")]
    found = read(files, mapping=configuration)
    assert max(found.n_particles) == 128  # some jets are longer than the inputs
    assert len(found) == 1020
    assert_equal(found, of_weaver(configuration, files))
    assert found.classes == tuple(OTHERS[name]["labels"]["value"])
    assert len(found.scalar_names) == (6 if name == "qg_kinpid" else 0)


def test_without_a_stored_axis_it_is_the_sum_of_the_particles(tmp_path, two_class_file):
    configuration = written(tmp_path / "top.yaml", TOP)
    file = two_class_file(jet_phi=None)
    found = read(file, mapping=configuration)
    assert_equal(found, of_weaver(configuration, [file]))  # the observer jet_pt is the stored one
    total = read(file, mapping=configuration, max_particles=1000).p4.double().sum(dim=1)
    assert torch.allclose(found.jet_p4.double(), total, rtol=1e-5, atol=1e-3)
    assert not torch.allclose(found.jet_p4[:, 1].hypot(found.jet_p4[:, 2]).float(), found.columns["jet_pt"], rtol=1e-4)


#: Most of what can be said, on a tree of other names with secondary vertices beside the particles.
ODD = {
    "treename": "Events",
    "branch_magic": {"fj_": "jet_", "pfc": "part"},
    "file_magic": {"is_signal": {"/signal_": 1, "jets": 0}, "year": {r"_(20)?17\.": 2017}},
    "selection": "(fj_pt > 600) & (np.abs(fj_eta) < 1.5)",
    "test_time_selection": "fj_pt > 550",
    "new_variables": {
        "pfc_pt": "np.hypot(pfc_px, pfc_py)",
        "pfc_log": "np.log(pfc_pt - 3)",  # of what is negative, nan; of the rest some is below the bounds
        "pfc_mask": "ak.ones_like(pfc_px)",
        "is_background": "1 - is_signal",
        "once": "fj_sdmass / 100",
        "double": "2 * once",
        "fj_energy": "fj_energy",  # a branch that stands for itself
    },
    "inputs": {
        "short": {"length": 5, "pad_mode": "wrap", "vars": ["pfc_pt", ["pfc_log", 1, 2]]},
        "long": {
            "length": 200,
            "vars": [
                ["pfc_pz", 10, 0.01, None, 2, -9],
                ["pfc_energy", None, 1, -5, 5, 7.5],
                ["fj_eta"],
            ],
        },
        "both": {"length": 7, "pad_mode": "wrap", "vars": ["sv_track", "pfc_px", ["fj_pt", 500, 0.01]]},
        "sv": {"length": 3, "pad_mode": "CONSTANT", "vars": [["sv_mass", 1.0, 0.5]]},
        "jet": {"length": 1, "vars": [["fj_sdmass", 80, 0.01], ["double", None], ["year", 2000, 1, 0, 30]]},
        "flat": {"length": None, "vars": [["fj_tau1", 0, 1], ["once", None]]},
        "one": {"length": None, "vars": ["fj_phi"]},
        "pf_mask": {"length": 40, "pad_mode": "constant", "vars": ["pfc_mask"]},
    },
    "labels": {"type": "simple", "value": ["is_background", "is_signal"]},
    "observers": ["fj_pt", "double", "is_signal", "fj_nparticles"],
}


@pytest.fixture(scope="module")
def odd_files(two_class_file) -> list[Path]:
    """Return two files with jets of some and of no secondary vertices and tracks, NaN and infinity among them."""

    def secondary(n: int, seed: int) -> ak.Array:
        rng = np.random.default_rng(seed)
        counts = rng.integers(0, 6, n)
        masses = rng.exponential(2, counts.sum()).astype("float32")
        masses[::7] = np.nan
        masses[3::11] = np.inf
        return ak.unflatten(masses, counts)

    return [
        two_class_file(
            40, seed=5, name="signal_2017.root", tree="Events", sv_mass=secondary(40, 5), sv_track=secondary(40, 7)
        ),
        two_class_file(
            30, seed=6, name="jets_18.root", tree="Events", sv_mass=secondary(30, 6), sv_track=secondary(30, 8)
        ),
    ]


def test_all_that_can_be_said(tmp_path, odd_files):
    configuration = written(tmp_path / "odd.yaml", ODD)
    expected = of_weaver(configuration, odd_files)
    mapping = load_mapping(configuration)
    found = read(odd_files, mapping=mapping.for_test())
    assert_equal(found, expected)
    assert 0 < len(found) < 70
    assert found.input_forms["short"].names == ("pfc_pt", "pfc_log")
    assert found.label.tolist() == [1 - int(n) for n in found.columns["is_signal"] == 0]
    train = read(odd_files, mapping=configuration)
    chosen = (found.columns["fj_pt"] > 600) & (found.jet_p4[:, 0] >= 0)
    assert 0 < len(train) < len(found)
    assert set(train.columns["fj_pt"].tolist()) <= set(found.columns["fj_pt"][chosen].tolist())


def test_streams_and_caches_hold_the_same_inputs(tmp_path, odd_files):
    configuration = written(tmp_path / "odd.yaml", ODD)
    whole = read(odd_files, mapping=configuration)
    cache = convert(odd_files, tmp_path / "cache", mapping=configuration, progress=False)
    for source in (
        JetStream(odd_files, batch_size=7, shuffle=False, mapping=configuration, columns="all"),
        JetStream(cache, batch_size=9, shuffle=False, columns="all"),
    ):
        found = JetBatch.concatenate([batch.to_padded() for batch in source])
        assert found.input_forms == whole.input_forms
        for name, one in whole.inputs.items():
            assert torch.equal(one, found.inputs[name]), name
    shuffled = JetStream(cache, batch_size=8, seed=3, columns="all")
    for batch in shuffled:
        jets = batch.to_padded()
        rows = [whole.columns["fj_pt"].tolist().index(value) for value in jets.columns["fj_pt"].tolist()]
        for name, one in whole.inputs.items():
            assert torch.equal(one[rows], jets.inputs[name]), name


AUTO = {
    "selection": "jet_pt > 550",
    "new_variables": {"pt": "np.hypot(part_px, part_py)", "odd": "np.log(pt - 3)", "a_mask": "ak.ones_like(pt)"},
    "preprocess": {"method": "auto", "data_fraction": 0.37},
    "inputs": {
        "pf": {"length": 20, "pad_mode": "wrap", "vars": ["pt", ["odd", "auto", 3, -2, 2], ["part_dphi", 0.1, 5]]},
        "raw": {"length": 20, "vars": [["part_pz", None], "part_isMuon"]},
        "jet": {"length": 1, "vars": ["jet_sdmass"]},
        "pf_mask": {"length": 20, "vars": ["a_mask"]},
    },
    "labels": {"type": "simple", "value": ["label", "other"]},
}
AUTO["new_variables"] |= {"other": "1 - label"}


def test_standardisation_is_measured_as_weaver_does(tmp_path, two_class_file, monkeypatch):
    from weaver.utils.data.config import DataConfig
    from weaver.utils.data.preprocess import AutoStandardizer

    monkeypatch.setattr("time.sleep", lambda seconds: None)  # weaver-core waits ten seconds after some warnings
    files = [two_class_file(61, seed=3), two_class_file(40, seed=4)]
    configuration = written(tmp_path / "auto.yaml", AUTO)
    AutoStandardizer([str(file) for file in files], DataConfig.load(configuration)).produce(str(tmp_path / "made.yaml"))
    ready = yaml.safe_load((tmp_path / "made.yaml").read_text())["preprocess"]["params"]
    mapping = open_mapping(configuration, files)
    for one in mapping.inputs.values():
        for name, scaling in zip(one.form.names, one.form.scaling, strict=True):
            expected = [ready[name][key] for key in ("center", "scale", "min", "max")]
            if expected[0] is None:
                assert scaling is None
            else:
                assert np.allclose(scaling, expected, rtol=1e-6), name
    assert mapping.inputs["raw"].form.scaling[1] == (0.0, 1.0, -5.0, 5.0)  # all alike: no width to divide by
    # What weaver-core writes is a configuration as well, and gives the same jets.
    made = read(files, mapping=tmp_path / "made.yaml")
    assert_equal(made, of_weaver(str(tmp_path / "made.yaml"), files))
    assert_equal(read(files, mapping=configuration), of_weaver(str(tmp_path / "made.yaml"), files))


def test_what_weaver_has_measured_is_taken_from_the_file_beside_it(tmp_path, two_class_file, monkeypatch):
    from weaver.utils.dataset import SimpleIterDataset

    monkeypatch.setattr("time.sleep", lambda seconds: None)
    train, test = two_class_file(61, seed=3), two_class_file(20, seed=9)
    configuration = written(tmp_path / "auto.yaml", AUTO)
    alone = read(test, mapping=configuration)
    SimpleIterDataset({"": [str(train)]}, configuration, for_training=True)
    assert len(list(tmp_path.glob("*.auto.yaml"))) == 1
    assert_equal(read(test, mapping=configuration), of_weaver(configuration, [test]))
    assert not torch.allclose(alone.inputs["pf"], read(test, mapping=configuration).inputs["pf"])


WEIGHTS = {
    "use_precomputed_weights": False,
    "reweight_method": "flat",
    "reweight_vars": {"jet_pt": [600, 650, 700, 800, 900], "jet_sdmass": [0, 60, 120, 500]},
    "reweight_classes": ["label", "other"],
}
WEIGHTINGS: dict[str, dict[str, Any]] = {
    "flat": {},
    "ref": {"reweight_method": "ref"},
    "shares": {"class_weights": [1, 0.25], "reweight_threshold": 30},
    "outside": {"reweight_discard_under_overflow": False, "reweight_method": "ref", "class_weights": [2, 1]},
    "base": {"reweight_basewgt": "np.exp(jet_eta) * 3"},
    "base, outside": {"reweight_basewgt": "jet_tau1 + 1", "reweight_discard_under_overflow": False},
    "tables": {
        "reweight_hists": {"label": [[0.1 * i + j for j in range(3)] for i in range(4)], "other": [[1, 2, 3]] * 4}
    },
}


@pytest.mark.parametrize("how", WEIGHTINGS)
def test_weights_are_those_of_weaver(tmp_path, two_class_file, monkeypatch, how):
    from weaver.utils.data.config import DataConfig
    from weaver.utils.data.fileio import _read_files
    from weaver.utils.data.preprocess import WeightMaker, _apply_selection, _build_new_variables, _build_weights

    monkeypatch.setattr("time.sleep", lambda seconds: None)
    files = [two_class_file(400, seed=3), two_class_file(300, seed=4)]
    content = copy.deepcopy(AUTO) | {"preprocess": {"method": "manual"}, "weights": WEIGHTS | WEIGHTINGS[how]}
    content["inputs"]["pf"]["vars"][1][1] = 0.5
    configuration = written(tmp_path / "weights.yaml", content)
    options = DataConfig.load(configuration)
    names = [str(file) for file in files]
    if how != "tables":
        options = WeightMaker(names, options).produce(str(tmp_path / "made.yaml"))
    options = DataConfig.load(configuration if how == "tables" else str(tmp_path / "made.yaml"))
    table = _apply_selection(_read_files(names, options.train_load_branches), options.selection, options.var_funcs)
    table = _build_new_variables(table, options.train_var_funcs)
    expected = _build_weights(table, options)
    found = read(files, mapping=configuration)
    assert found.columns["weight"].dtype == torch.float32
    assert np.allclose(found.columns["weight"].numpy(), expected, rtol=1e-5, atol=1e-9)
    assert len(set(expected)) > 5
    assert bool((found.columns["weight"] == 0).any()) == ("outside" not in how and how != "tables") or how == "tables"


def test_weights_that_are_in_the_file_are_a_column(tmp_path, two_class_file):
    content = copy.deepcopy(TOP) | {
        "weights": {"use_precomputed_weights": True, "weight_branches": ["jet_tau1", "jet_isTop + 1"]}
    }
    file = two_class_file()
    found = read(file, mapping=written(tmp_path / "weights.yaml", content))
    tau = read(file, mapping=written(tmp_path / "tau.yaml", TOP | {"observers": ["jet_tau1"]})).columns["jet_tau1"]
    expected = tau.double() * torch.where(found.label == 0, 2.0, 1.0).double()
    assert torch.allclose(found.columns["weight"].double(), expected)


@pytest.mark.parametrize(
    ("value", "label", "columns"),
    [
        ({"kind": "label + 2 * (jet_eta > 0)"}, True, set()),
        ({"mass": "jet_sdmass"}, False, {"mass"}),
        ({"mass": "jet_sdmass", "kind": "label"}, True, {"mass"}),
        ({"kind": "label", "other": "1 - label"}, False, {"kind", "other"}),
        ({"kind": "-1 * label"}, False, {"kind"}),
    ],
)
def test_custom_labels(tmp_path, two_class_file, value, label, columns):
    content = copy.deepcopy(TOP) | {"labels": {"type": "custom", "value": value}, "observers": None}
    configuration, file = written(tmp_path / "custom.yaml", content), two_class_file()
    found, expected = read(file, mapping=configuration), of_weaver(configuration, [file])
    assert (found.label is not None) == label
    assert found.columns.keys() == columns
    for name, values in expected["labels"].items():
        own = found.columns[name] if name in columns else found.label
        assert np.allclose(own.numpy(), values)
    if label:
        assert found.classes == tuple(map(str, range(int(found.label.max()) + 1)))


def test_classes_of_a_custom_label_can_be_named(tmp_path, two_class_file):
    labels = {"type": "custom", "value": {"kind": "label"}, "classes": ["gluon", "quark", "top"]}
    found = read(two_class_file(), mapping=written(tmp_path / "custom.yaml", TOP | {"labels": labels}))
    assert found.classes == ("gluon", "quark", "top")


def test_without_vectors_there_is_nothing_to_move(tmp_path, two_class_file):
    content = copy.deepcopy(TOP)
    content["inputs"]["my_vectors"] = content["inputs"].pop("pf_vectors")
    configuration, file = written(tmp_path / "none.yaml", content), two_class_file()
    found = read(file, mapping=configuration)
    assert_equal(found, of_weaver(configuration, [file]))
    assert not found.has_momenta
    with pytest.raises(DataError, match="no momenta, so nothing can be moved"):
        rotate(found, torch.eye(3)[None])
    named = read(file, mapping=configuration, vectors="my_vectors")
    assert named.has_momenta
    assert torch.equal(named.p4, read(file, mapping=written(tmp_path / "top.yaml", TOP)).p4)


def changed(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(TOP) | changes


def with_input(**said: Any) -> dict[str, Any]:
    content = changed()
    content["inputs"]["more"] = said
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed(file_magic={"jet_isQCD": {"a": 1}}), "'jet_isQCD' stands in file_magic and in new_variables"),
        (
            changed(branch_magic={"fj_": "jet_"}, observers=["fj_isQCD"]),
            "branch_magic makes 'jet_isQCD' of 'fj_isQCD', which is among the new_variables",
        ),
        (with_input(length=4, vars=[["jet_tau1", 1, 1, 3, -3]]), "'jet_tau1' has min 3 above max -3"),
        (changed(bucketing={"var": "jet_nparticles", "bins": 4}), "bucketing has no counterpart"),
        (changed(tree="Events"), "the key 'tree', which is unknown; the nearest"),
        (changed(selection="aux_training_ == 1"), "aux_training_ has no counterpart"),
        (changed(monitor_variables=["jet_pt"]), "both observers and monitor_variables"),
        (changed(observers=None, monitor_variables=["part_deta"]), "'part_deta', which is a variable of an input"),
        (changed(observers=["part_px"]), "has a value per particle, and one per jet is expected"),
        (changed(labels={"type": "simple", "value": "label"}), "labels.value is 'label'; expected a list"),
        (changed(labels={"type": "other", "value": []}), "labels have the type 'other'; expected simple"),
        (changed(new_variables={"a": "b + 1", "b": "2 * a"}), "new_variables go in a circle: a → b → a"),
        (changed(new_variables={"a": "open('file')"}), "new_variables.a.*holds"),
        (changed(inputs={}), "inputs are none"),
        (changed(file_magic={"x": {"(": 1}}), "no regular expression"),
        (changed(weights={"weight_branches": ["w"]}), "no key 'use_precomputed_weights'"),
        (changed(weights=WEIGHTS | {"reweight_method": "log"}), "reweight_method is 'log'; expected flat or ref"),
        (changed(weights=WEIGHTS | {"reweight_vars": {"jet_pt": [1, 2]}}), "expected two variables with growing edges"),
        (changed(weights=WEIGHTS | {"class_weights": [1]}), "class_weights is .1.; expected a number for each class"),
        (changed(weights=WEIGHTS | {"reweight_hists": {"label": [[1]]}}), "reweight_hists has no table of 4 × 3"),
        (with_input(length=4, vars=["part_dphi", ["part_deta", 1]]), "says other things of 'part_dphi'"),
        (with_input(length=4), "expected length, vars"),
        (with_input(vars=["jet_tau1"]), "no key 'length'"),
        (with_input(length=0, vars=["jet_tau1"]), "length is 0; expected a number of places"),
        (with_input(length=4, pad_mode="edge", vars=["jet_tau1"]), "pad_mode is 'edge'; expected constant or wrap"),
        (with_input(length=4, vars=[["jet_tau1", 1, "x"]]), "scale of the variable 'jet_tau1' is 'x'"),
        (with_input(length=None, vars=["part_pid"]), "variables with several values per jet, and no length"),
        (with_input(length=4, vars=["part_nothing"]), "no branch 'part_nothing'"),
    ],
)
def test_what_has_no_meaning_is_refused_by_name(tmp_path, two_class_file, content, message):
    file = two_class_file(10, sv=ak.Array([[1.0, 2.0]] * 10))
    with pytest.raises((ConfigError, DataError), match=message):
        read(file, mapping=written(tmp_path / "wrong.yaml", content))


def test_a_mask_does_not_wrap_and_vectors_are_four(tmp_path, two_class_file):
    content, file = changed(), two_class_file(10)
    content["inputs"]["pf_mask"]["pad_mode"] = "wrap"
    with pytest.raises(ConfigError, match="expected constant for a mask"):
        read(file, mapping=written(tmp_path / "mask.yaml", content))
    configuration = written(tmp_path / "top.yaml", TOP)
    with pytest.raises(ConfigError, match="'pf_points' has part_deta, part_dphi; expected px, py, pz and energy"):
        read(file, mapping=configuration, vectors="pf_points")
    with pytest.raises(ConfigError, match="no input 'pf_vector'; the nearest are 'pf_vectors'"):
        read(file, mapping=configuration, vectors="pf_vector")


@pytest.mark.parametrize("order", [("energy", "px", "py", "pz"), ("pz", "py", "energy", "px")])
def test_momenta_are_told_by_their_names(tmp_path, two_class_file, order):
    """weaver-core's networks take them in any order, and the jets are those of the same numbers."""
    file, content = two_class_file(), changed()
    truth = read(file, mapping=written(tmp_path / "top.yaml", content))
    content["inputs"]["pf_vectors"]["vars"] = [[f"part_{name}", None] for name in order]
    configuration = written(tmp_path / "other.yaml", content)
    found = read(file, mapping=configuration)
    assert_equal(found, of_weaver(configuration, [file]))
    assert torch.equal(found.p4, truth.p4)
    content["new_variables"]["part_eg"] = "part_energy"  # what stands beside the other three
    content["inputs"]["pf_vectors"]["vars"][order.index("energy")] = ["part_eg", None]
    assert torch.equal(read(file, mapping=written(tmp_path / "third.yaml", content)).p4, truth.p4)


@pytest.mark.parametrize("names", [("a", "b", "c", "d"), ("px", "py", "pz", "mass"), ("px", "py", "px_2", "e")])
def test_momenta_whose_names_say_nothing_are_refused(tmp_path, two_class_file, names):
    content = changed()
    content["new_variables"] |= {f"v_{name}": "part_px + 0" for name in names}
    content["inputs"]["pf_vectors"]["vars"] = [[f"v_{name}", None] for name in names]
    with pytest.raises(ConfigError, match=r"'pf_vectors' has v_\w+, .*; expected px, py, pz and energy, in any order"):
        read(two_class_file(10), mapping=written(tmp_path / "wrong.yaml", content))


def test_taggers_take_the_momenta_and_are_tested_with_their_own_selection(tmp_path, two_class_file):
    content = changed(selection="jet_pt > 600", test_time_selection="jet_eta > 0", weights=WEIGHTS)
    content["inputs"]["pf_features"]["vars"][0] = ["part_pt_log", "auto"]
    content["new_variables"]["other"] = "1 - label"
    mapping = load_mapping(written(tmp_path / "top.yaml", content))
    file = two_class_file()
    train, test = (read(file, mapping=tagger_mapping(mapping, test=test)) for test in (False, True))
    assert not train.inputs
    assert "weight" in train.columns
    assert (train.columns["jet_pt"] > 600).all()
    assert "weight" not in test.columns
    assert (test.columns["jet_eta"] > 0).all()
    assert not (test.columns["jet_pt"] > 600).all()
    fingerprints = {one.fingerprint for one in (mapping, mapping.for_test(), mapping.for_taggers())}
    assert len(fingerprints) == 3


def test_a_tagger_is_trained_and_tested_with_a_configuration(tmp_path, two_class_file, capsys):
    scalars = [*FLAG_FEATURES, *DISPLACEMENTS]
    labels = {"jet_isTop": "label", "jet_isQCD": "1 - label"}
    content = tagging(scalars, [*labels], new_variables=TANH | labels, test_time_selection="jet_eta > 0")
    content["inputs"]["mine"] = content["inputs"].pop("pf_vectors")
    configuration, file = written(tmp_path / "top.yaml", content), two_class_file(80)
    options = {"width": 8, "blocks": 1, "heads": 2}
    how: dict[str, Any] = {"epochs": 1, "options": options, "device": "cpu", "progress": False, "max_particles": 16}
    with pytest.raises(ConfigError, match="which jetsym's taggers take; name the one that does: --vectors"):
        train(f"top:{file}", tmp_path / "none", mapping=configuration, **how)
    train(f"top:{file}", tmp_path / "run", mapping=configuration, vectors="mine", **how)
    arguments = [str(tmp_path / "run"), str(file), "--mapping", configuration, "--vectors", "mine"]
    capsys.readouterr()
    assert main(["evaluate", *arguments, "--device", "cpu", "--out", str(tmp_path / "found.json")]) in (0, None)
    number = int((read(file, mapping=configuration).columns["jet_eta"] > 0).sum())
    assert f"{number} jets" in capsys.readouterr().out


def test_a_tagger_whose_features_need_more_than_a_configuration_gives_is_refused_before_anything_is_written(
    tmp_path, two_class_file
):
    """The default tagger takes charge, flags and displacements, and momenta are all that such a configuration has."""
    configuration, file = written(tmp_path / "top.yaml", TOP), two_class_file(80)
    how: dict[str, Any] = {"epochs": 1, "device": "cpu", "progress": False, "max_particles": 16}
    remedy = "alone need none, such as those of --model particlenet --options.features kin"
    with pytest.raises(DataError, match=f"the jets have no scalar 'charge', .* {remedy}"):
        train(f"top:{file}", tmp_path / "run", mapping=configuration, **how)
    options = {"features": "kin", "k": 4, "hidden": 8}
    assert not list((tmp_path / "run").glob("*.safetensors"))
    assert not (tmp_path / "run" / "config.yaml").exists()
    train(f"top:{file}", tmp_path / "run", mapping=configuration, model="particlenet", options=options, **how)


@pytest.mark.parametrize("option", ["--mapping", "--data-config"])
def test_a_misspelt_branch_is_named_where_standardisation_is_measured(tmp_path, two_class_file, option, capsys):
    """Also where files that cannot be read are left out, as in inspect: none is left."""
    content = TOP | {"preprocess": {"method": "auto"}}
    content["new_variables"] = content["new_variables"] | {"part_more": "np.log(part_enrgy)"}
    features = content["inputs"]["pf_features"]
    content["inputs"] = content["inputs"] | {"pf_features": {**features, "vars": ["part_more"]}}
    configuration, file = written(tmp_path / "top.yaml", content), two_class_file(20)
    assert main(["inspect", str(file), option, str(configuration)]) == 1
    error = capsys.readouterr().err
    assert "has no branch 'part_enrgy'" in error
    assert "'part_energy'" in error
    with pytest.raises(DataError, match="has no branch 'part_enrgy'"):
        open_mapping(configuration, [file, file], skip_bad=True)


def test_file_lists_of_weaver_name_their_samples(tmp_path, two_class_file):
    configuration, files = written(tmp_path / "top.yaml", TOP), [two_class_file(20, seed=1), two_class_file(30, seed=2)]
    found = read([f"QCD:{files[0]}", f"Top:{files[1].parent}/*.root"], mapping=configuration)
    assert torch.equal(found.inputs["pf_features"], read(files, mapping=configuration).inputs["pf_features"])


def test_zeros_behind_the_particles_are_none(tmp_path, two_class_file):
    file = two_class_file(40, seed=4)
    arrays = uproot.open(file)["tree"].arrays(library="ak")
    counts = ak.num(arrays.part_px)
    padded = {
        name: ak.concatenate([arrays[name], ak.values_astype(ak.zeros_like(arrays.part_px[:, :3]), "float32")], axis=1)
        for name in arrays.fields
        if name.startswith("part_")
    }
    filled = two_class_file(40, seed=4, name="filled.root", **padded)
    configuration = written(tmp_path / "top.yaml", TOP)
    found, without = (read(one, mapping=configuration, max_particles=1000) for one in (filled, file))
    assert_equal(found, of_weaver(configuration, [filled]))  # with the zeros, as they stand in the file
    assert ak.all(ak.num(padded["part_px"]) > counts)
    assert torch.equal(found.n_particles, torch.as_tensor(ak.to_numpy(counts)))
    assert torch.equal(found.p4, without.p4)
    assert torch.equal(found.jet_p4, without.jet_p4)
    within = {name: ak.concatenate([one[:, -1:] * 0, one], axis=1) for name, one in padded.items()}
    with pytest.raises(DataError, match="are padding, by px = 0, py = 0, pz = 0"):
        read(two_class_file(40, seed=4, name="within.root", **within), mapping=configuration)
    constant = {name: ak.where(ak.local_index(one) < counts[:, None], one, -999) for name, one in padded.items()}
    with pytest.raises(DataError, match="are padding, by px = -999"):
        read(two_class_file(40, seed=4, name="constant.root", **constant), mapping=configuration)


def test_a_cache_of_a_configuration_trains_a_tagger(tmp_path, two_class_file, capsys):
    labels = {"jet_isTop": "label", "jet_isQCD": "1 - label"}
    content = tagging([*FLAG_FEATURES, *DISPLACEMENTS], [*labels], new_variables=TANH | labels)
    content["inputs"]["mine"] = content["inputs"].pop("pf_vectors")
    configuration, file = written(tmp_path / "top.yaml", content), str(two_class_file(60))
    named, cache = ["--mapping", configuration, "--vectors", "mine"], str(tmp_path / "cache")
    assert main(["convert", file, "--out", cache, *named]) in (0, None)
    how = {"epochs": 1, "options": {"width": 8, "blocks": 1, "heads": 2}, "device": "cpu", "max_particles": 16}
    how |= {"mapping": configuration, "vectors": "mine", "progress": False}
    train(cache, tmp_path / "run", **how)
    train(cache, tmp_path / "streamed", val=cache, stream=True, batch_size=20, **how)
    for mapping in (tagger_mapping(configuration, vectors="mine"), None):
        found = read(cache, mapping=mapping)
        assert bool(found.inputs) == (mapping is None)
        assert torch.equal(found.p4, read(file, mapping=configuration, vectors="mine").p4)
    other = written(tmp_path / "other.yaml", content | {"selection": "jet_pt > 600"})
    with pytest.raises(ConfigError, match="made with another mapping"):
        train(cache, tmp_path / "other", **how | {"mapping": other})
    assert main(["evaluate", str(tmp_path / "run"), cache, *named, "--device", "cpu"]) in (
        0,
        None,
    )  # no other selection
    assert main(["inspect", file, *named]) in (0, None)
    capsys.readouterr()
    assert main(["inspect", file, "--vectors", "mine"]) != 0
    assert "vectors='mine' names an input of a configuration of weaver-core, and there is no mapping" in (
        " ".join(capsys.readouterr().err.split())
    )
