"""Data configurations as they are published for weaver-core: the same batches as weaver-core's own.

The files of the experiments are nowhere public, so each configuration, written anew with the syntax of the one that it
is named for, is read of random files with its branches. Those of JetClass, top and quark-gluon tagging are in
``test_weaver_configs.py``.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
from weaver_batches import assert_equal, of_weaver, written

from jetsym.errors import ConfigError
from jetsym.jets import JetBatch, read
from jetsym.jets.io.mapping.parse import load_mapping

pytest.importorskip("weaver")

#: weaver-core takes logarithms of what is negative, and says so.
pytestmark = pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:divide by zero:RuntimeWarning")

JETS = 1000
LISTS = re.compile(r"(cpfcandlt|npfcand|pfcand|part|sv|Part)_")
#: Branches of jets by their names, and how they are drawn.
DRAWN: dict[str, Any] = {
    r"Flavour$": lambda rng: rng.choice([0, 1, 4, 5, 21], JETS).astype("int32"),
    r"Hadrons$|^event_no$": lambda rng: rng.integers(0, 3, JETS).astype("int32"),
    r"label$|event_class$": lambda rng: rng.integers(0, 188, JETS).astype("int32"),
    r"_is[A-Z]|^is_|Id$": lambda rng: rng.integers(0, 2, JETS).astype("int32"),
    r"genjet_pt$": lambda rng: rng.uniform(-20, 60, JETS).astype("float32"),
    r"_(pt|energy|mass|sdmass)$": lambda rng: rng.uniform(20, 900, JETS).astype("float32"),
    r"": lambda rng: rng.normal(size=JETS).astype("float32"),
}


def random_file(path: Path, configuration: str, write_tree: Any) -> Path:
    """Write a file with all branches that weaver-core would read, jets without any vertex among its jets."""
    from weaver.utils.data.config import DataConfig

    options = DataConfig.load(configuration, load_observers=True)
    rng, counts, columns = np.random.default_rng(3), dict[str, Any](), dict[str, Any]()
    # The mass of a sum is a difference of large numbers, which weaver-core computes in the type of the branches.
    double = ").mass" in str(options.var_funcs)
    for name in sorted(options.train_load_branches | options.test_load_branches):
        if (found := LISTS.match(name)) is None:
            columns[name] = next(draw for pattern, draw in DRAWN.items() if re.search(pattern, name))(rng)
            if double and columns[name].dtype == np.float32:
                columns[name] = columns[name].astype("float64")
            continue
        own = counts.setdefault(found[1], rng.integers(0 if found[1] == "sv" else 1, 60, JETS))
        values = rng.normal(size=own.sum()).astype("float32")
        if re.search("_pt|energy|mass", name):
            values = np.abs(values) + np.float32(0.5)
        if re.search("charge|_is[A-Z]", name):
            values = rng.integers(0, 2, own.sum()).astype("int32")
        columns[name] = ak.unflatten(values, own)
    return write_tree(path, columns)


def part(length: int, *variables: Any, **others: Any) -> dict[str, Any]:
    """Return an input."""
    return {"length": length, "vars": [one if isinstance(one, list) else [one, None] for one in variables], **others}


#: Of AK4 jets of CMS: several classes of hadron flavours, vertices beside the particles, weights in pT and η.
CMS_AK4: dict[str, Any] = {
    "selection": "(np.abs(jet_eta)<4.7) & (jet_pt>15) & (event_no%7!=0) "
    "& ( (jet_hadronFlavour>0) | ((jet_hadronFlavour==0) & (np.abs(jet_partonFlavour)!=4)) )",
    "test_time_selection": "(np.abs(jet_eta)<4.7) & ((label_b*1 + label_bb*1 + label_c*1 + label_other*1) == 1)",
    "new_variables": {
        "pfcand_mask": "ak.ones_like(pfcand_etarel)",
        "sv_mask": "ak.ones_like(sv_etarel)",
        "label_b": "(jet_genjet_pt>0) & (jet_nBHadrons==1)",
        "label_bb": "(jet_genjet_pt>0) & (jet_nBHadrons>1)",
        "label_c": "(jet_genjet_pt>0) & (jet_nBHadrons==0) & (jet_nCHadrons>0)",
        "label_other": "(jet_genjet_pt<=0)",
    },
    "preprocess": {"method": "manual", "data_fraction": None},
    "inputs": {
        "pf_points": part(50, "pfcand_etarel", "pfcand_phirel"),
        "pf_features": part(
            50,
            ["pfcand_pt_log_nopuppi", 0.8, 0.7],
            ["pfcand_e_log_nopuppi", 1.2, 0.6],
            "pfcand_etarel",
            "pfcand_phirel",
            ["pfcand_normchi2", 5, 0.2],
            ["pfcand_btagJetDistVal", 0, 50],
            ["pfcand_dxysig", 1.1],
        ),
        "pf_mask": part(50, "pfcand_mask"),
        "sv_points": part(5, "sv_etarel", "sv_phirel"),
        "sv_features": part(5, ["sv_pt_log", 2.8, 0.8], ["sv_mass", 1.1, 0.6], ["sv_ntracks", 3, 0.5]),
        "sv_mask": part(5, "sv_mask"),
    },
    "labels": {"type": "simple", "value": ["label_b", "label_bb", "label_c", "label_other"]},
    "observers": ["event_no", "jet_pt", "jet_eta", "jet_hadronFlavour", "pfDeepFlavourJetTags_probb"],
    "monitor_variables": None,
    "weights": {
        "use_precomputed_weights": False,
        "reweight_method": "flat",
        "reweight_vars": {"jet_pt": [15, 50, 200, 1000], "jet_eta": [-4.7, -1.0, 0.0, 1.0, 4.7]},
        "reweight_classes": ["label_b", "label_bb", "label_c", "label_other"],
        "class_weights": [1, 2.5, 5, 0.15],
        "reweight_threshold": 15,
        "reweight_hists": None,
    },
}


def changed(content: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a configuration with more in its sections, None for what is left out."""
    found = copy.deepcopy(content)
    for key, said in changes.items():
        found[key] = found[key] | said if isinstance(said, dict) and isinstance(found.get(key), dict) else said
        if isinstance(found[key], dict):
            found[key] = {name: value for name, value in found[key].items() if value is not None or name == "params"}
    return found


def momenta(name: str, p4: str, pt: str, energy: str) -> dict[str, str]:
    """Return the new variables of momenta that are made of angles to the jet."""
    eta = f"ak.where(jet_eta >= 0, 1, -1) * {name}_etarel + jet_eta"
    parts = {f"{name}_{part}": f"{p4}.{part}" for part in ("px", "py", "pz", "energy")}
    return {p4: f"_p4_from_ptetaphie({pt}, {eta}, {name}_phirel, {energy})", **parts}


def vectors(name: str, length: int, **others: Any) -> dict[str, Any]:
    return part(length, *(f"{name}_{part}" for part in ("px", "py", "pz", "energy")), **others)


WITH_MOMENTA = changed(
    CMS_AK4,
    new_variables=momenta("pfcand", "pfp4", "pfcand_pt_nopuppi", "np.exp(pfcand_e_log_nopuppi)")
    | momenta("sv", "svp4", "sv_pt", "np.exp(sv_e_log)"),
    inputs={"pf_vectors": vectors("pfcand", 50), "sv_vectors": vectors("sv", 5)},
)
#: Of AK8 and AK15 jets, with flags, from before the names of awkward changed, where the experiment's own words.
BEFORE = changed(
    CMS_AK4,
    selection="(fj_isQCD + fj_isTop + fj_isW) == 1",
    test_time_selection="(fj_pt > 20) & ((fj_isQCD + fj_isTop + fj_isW) == 1)",
    new_variables=dict.fromkeys(CMS_AK4["new_variables"])
    | {
        "pfcand_mask": "awkward.JaggedArray.ones_like(pfcand_etarel)",
        "sv_mask": "awkward.JaggedArray.ones_like(sv_etarel)",
    },
    labels={"type": "simple", "value": ["fj_isQCD", "fj_isTop", "fj_isW"]},
    observers=["fj_pt", "fj_sdmass", "event_no"],
    weights=None,
)
MASS = {"type": "custom", "value": {"target_mass": "np.where(fj_isQCD, fj_genjet_sdmass, fj_gen_mass)"}}
#: Of JetClass-II: many classes by number, momenta that are scaled to the jet.
JETCLASS_II: dict[str, Any] = {
    "selection": "(jet_pt > 200) & (jet_pt < 2500) & (jet_sdmass > 20) & (jet_sdmass < 500)",
    "new_variables": {
        "part_mask": "ak.ones_like(part_energy)",
        **{f"part_{name}_scale": f"part_{name} / jet_pt * 500" for name in ("px", "py", "pz", "energy")},
        "part_pt_scale_log": "np.log(np.hypot(part_px_scale, part_py_scale))",
        "part_deltaR": "np.hypot(part_deta, part_dphi)",
        "part_d0": "np.tanh(part_d0val)",
        "label_X_QQ": "((jet_label >= 0) & (jet_label < 15))",
        "label_X_YY": "((((jet_label >= 15) & (jet_label < 100)) | (jet_label == 115)) | (jet_label >= 120) "
        "& (jet_label < 161))",
        "label_QCD": "((jet_label >= 161) & (jet_label < 188))",
    },
    "preprocess": {"method": "manual", "data_fraction": 0.5},
    "inputs": {
        "pf_points": part(128, "part_deta", "part_dphi", pad_mode="wrap"),
        "pf_features": part(
            128,
            ["part_pt_scale_log", 1.7, 0.7],
            ["part_deltaR", 0.2, 4.0],
            "part_isMuon",
            "part_d0",
            ["part_d0err", 0, 1, 0, 1],
            "part_deta",
            pad_mode="wrap",
        ),
        "pf_vectors": part(128, *(f"part_{name}_scale" for name in ("px", "py", "pz", "energy")), pad_mode="wrap"),
        "pf_mask": part(128, "part_mask", pad_mode="constant"),
    },
    "labels": {"type": "custom", "value": {"truth_label": "jet_label "}},
    "observers": ["jet_pt", "jet_eta", "jet_phi", "jet_energy", "jet_sdmass"],
    "weights": CMS_AK4["weights"]
    | {
        "reweight_vars": {"jet_pt": [200, 400, 2500], "jet_sdmass": [20, 100, 500]},
        "reweight_classes": ["label_X_QQ", "label_X_YY", "label_QCD"],
        "class_weights": [0.4, 0.05, 0.25],
    },
}
#: A few classes of JetClass, chosen by a selection.
SOME_CLASSES: dict[str, Any] = changed(
    JETCLASS_II,
    selection="(label_QCD + label_Tbqq) == 1",
    new_variables={"label_QCD": "jet_isQCD", "label_Tbqq": "1 - jet_isQCD", "label_X_QQ": None, "label_X_YY": None},
    labels={"type": "simple", "value": ["label_QCD", "label_Tbqq"]},
    weights=None,
)
CHARGED = "cpfcandlt"
#: Candidates that are sorted anew, put behind those of another list, or chosen; labels by conditions within conditions.
SORTED = changed(
    CMS_AK4,
    selection="(fj_pt>20) & (  ( (fj_label >= 100) & (fj_label < 188) & (event_no%3!=0) ) |  (fj_label <= 45))",
    test_time_selection="fj_pt>20",
    new_variables=dict.fromkeys(CMS_AK4["new_variables"])
    | {
        f"{CHARGED}_index": f"ak.argsort({CHARGED}_pt_nopuppi, axis=-1, ascending=False)",
        f"{CHARGED}_by_pt": f"{CHARGED}_e_log_nopuppi[{CHARGED}_index]",
        f"{CHARGED}_lost": f"ak.values_astype({CHARGED}_isLostTrack, 'bool')",
        "all_etarel": f"ak.concatenate([{CHARGED}_etarel[~{CHARGED}_lost], npfcand_etarel], axis=1)",
        "all_mask": "ak.ones_like(all_etarel)",
        "sv_mass_log": "np.log(np.maximum(sv_mass, 1e-10))",
        "kept_energy": f"ak.sum({CHARGED}_energy[{CHARGED}_isLostTrack == 0], 1)",
        "fj_label_new": "ak.where(fj_label<25, fj_label, ak.where((fj_label>=25) & (fj_label<120), fj_label+1, 25))",
        "n_charged": f"ak.num({CHARGED}_etarel)",
    },
    inputs=dict.fromkeys(CMS_AK4["inputs"])
    | {
        "charged": part(30, [f"{CHARGED}_by_pt", 1, 0.5], pad_mode="wrap"),
        "all": part(110, "all_etarel"),
        "all_mask": part(110, "all_mask"),
        "sv": part(10, ["sv_mass_log", 0, 0.5]),
    },
    labels={"type": "custom", "value": {"label": "fj_label_new"}},
    observers=["fj_pt", "kept_energy", "n_charged", "fj_label_new"],
    weights=None,
)
#: Numbers of jets alone, with the class as the place of a flag, as for searches of anomalies.
OF_JETS = {
    "selection": "(dijet_mass > 20)",
    "new_variables": {
        "label_sr": "((dijet_mass >= 300) & (dijet_mass < 600))",
        "label_sb": "~label_sr",
        "label_index": "np.argmax(np.stack([label_sr, label_sb], -1), -1)",
        "n_labels": "np.sum(np.stack([label_sr, label_sb], axis=1), axis=1)",
        "met": "_p4_from_ptetaphie(met_pt, ak.zeros_like(met_pt), met_phi, met_pt)",
        "fj_p4": "_p4_from_ptetaphim(fj_pt, fj_eta, fj_phi, fj_mass)",
        "total_mass": "(met + fj_p4).mass",
        "fj_list": "ak.singletons(np.log(fj_pt))",
        "fj_energy": "fj_p4.energy",
    },
    "preprocess": {"method": "manual", "data_fraction": None},
    "inputs": {
        "basic": part(1, ["fj_sdmass", 80, 0.01], ["total_mass", 1000, 0.001], ["fj_energy", 500, 0.01]),
        "log": part(1, ["fj_list", 5, 1]),
    },
    "labels": {"type": "simple", "value": ["label_sr", "label_sb"]},
    "observers": ["dijet_mass", "label_index", "n_labels"],
}

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "CMSAK4_PN": CMS_AK4,
    "CMSAK4_PNXT": WITH_MOMENTA,
    "CMSAK4_ParT": changed(
        WITH_MOMENTA,
        inputs={"pf_points": None, "sv_points": None, "pf_vectors": vectors("pfcand", 80, pad_mode="wrap")}
        | {"pf_features": part(80, ["pfcand_pt_log_nopuppi", 0.8, 0.7], pad_mode="wrap")},
    ),
    "ak4_points_pf_sv": changed(BEFORE, labels={"type": "simple", "value": ["fj_isQCD", "fj_isTop", "fj_isW"]}),
    "ak8_points_pf_sv": changed(BEFORE, observers=None, monitor_variables=["fj_pt", "fj_eta"]),
    "ak15_mass_regression": changed(BEFORE, labels=MASS, selection="(fj_pt > 100) & (fj_genjet_sdmass > -9)"),
    "JetClassII_full": JETCLASS_II,
    "JetClass_tbqq": SOME_CLASSES,
    "JetClass_kin_label_index": changed(
        SOME_CLASSES,
        labels={"type": "custom", "value": {"k": "np.argmax(np.stack([label_QCD, label_Tbqq], axis=1), axis=1)"}},
    ),
    "pf_features": changed(
        BEFORE,
        selection=None,
        test_time_selection=None,
        new_variables={"pfcand_mask": None, "sv_mask": None, "is_background": "np.logical_not(is_signal)"},
        inputs=dict.fromkeys(CMS_AK4["inputs"])
        | {"pf_features": {"length": 100, "vars": ["Part_Etarel", ["Part_E_log", 2, 1]]}},
        labels={"type": "simple", "value": ["is_signal", "is_background"]},
        observers=["E_tot", "PX_tot"],
    ),
    "ak8_inclv10_sorted": SORTED,
    "cathode_of_jets": OF_JETS,
}


def compared(name: str, folder: Path, write_tree: Any) -> JetBatch:
    """Read a random file with a configuration, and compare it with weaver-core."""
    content = CONFIGURATIONS[name]
    configuration = written(folder / f"{name}.yaml", content)
    # weaver-core 0.5 comes with an awkward that has forgotten the name, and is asked with that of today.
    today = written(folder / "today.yaml", _renamed(content))
    file = random_file(folder / "jets.root", today, write_tree)
    found = read(file, mapping=load_mapping(configuration).for_test())
    assert_equal(found, of_weaver(today, [file]))
    return found


def _renamed(content: dict[str, Any]) -> dict[str, Any]:
    names = {name: str(one).replace("awkward.JaggedArray.", "ak.") for name, one in content["new_variables"].items()}
    return content | {"new_variables": names}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_batches_are_those_of_weaver(tmp_path, write_tree, name):
    found = compared(name, tmp_path, write_tree)
    assert len(found) > 200
    assert found.has_momenta == ("pf_vectors" in CONFIGURATIONS[name]["inputs"])


def test_a_four_momentum_is_no_number(tmp_path, write_tree):
    content = changed(WITH_MOMENTA, observers=["fj_p4"], new_variables={"fj_p4": "_p4_from_ptetaphim(jet_pt, 0, 0, 1)"})
    configuration = written(tmp_path / "p4.yaml", content)
    file = random_file(tmp_path / "jets.root", configuration, write_tree)
    with pytest.raises(ConfigError, match=r"is a four-momentum; expected a number, such as its .pt"):
        read(file, mapping=load_mapping(configuration).for_test())
