"""Real JetClass and JetClass-II jets, as ROOT writes them, against uproot's, awkward's and vector's own reading."""

from __future__ import annotations

import json
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import torch
import uproot
import vector

from jetsym.errors import DataError
from jetsym.jets import JetBatch, kinematics, read
from jetsym.jets.io import JetStream
from jetsym.jets.io.block import read_block
from jetsym.jets.io.registry import index_file
from jetsym.jets.io.streaming.convert import convert, to_parquet
from jetsym.jets.schema import AUX_BRANCHES, CLASSES, CLASSES_II, P4_BRANCHES, SCALAR_BRANCHES


@pytest.fixture(scope="module")
def jetclass(real_data) -> Path:
    return real_data / "jetclass" / "jetclass_kin_500.root"


@pytest.fixture(scope="module")
def jetclass2(real_data) -> Path:
    return real_data / "jetclass2" / "JetClassII_example.root"


@pytest.fixture(scope="module", params=["jetclass", "jetclass2"])
def either(request) -> Path:
    return request.getfixturevalue(request.param)


def assert_same(first: JetBatch, second: JetBatch) -> None:
    for name in ("p4", "mask", "scalars", "jet_p4", "label"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    assert all(torch.equal(first.columns[name], second.columns[name]) for name in first.columns | second.columns)
    assert first.classes == second.classes


def test_all_jets_of_jetclass(jetclass):
    jets = read(jetclass)
    assert len(jets) == 500
    assert jets.label.bincount().tolist() == [48, 48, 55, 50, 33, 52, 54, 49, 65, 46]
    assert jets.classes == CLASSES
    assert jets.columns.keys() >= AUX_BRANCHES.keys() | {"jet_sdmass", "jet_tau4", "jet_nparticles"}
    assert torch.equal(jets.n_particles.float(), jets.columns["jet_nparticles"])


def test_all_jets_of_jetclass2(jetclass2):
    jets = read(jetclass2)
    assert len(jets) == 100
    assert jets.classes == CLASSES_II
    assert jets.label.tolist() == uproot.open(jetclass2)["tree/jet_label"].array().to_list()
    assert not jets.columns.keys() & AUX_BRANCHES.keys()
    assert torch.equal(jets.n_particles.int(), jets.columns["jet_nparticles"])


def test_values_are_bitwise_those_of_uproot(either):
    jets, tree = read(either), uproot.open(either)["tree"]
    for values, names in ((jets.p4, P4_BRANCHES), (jets.scalars, SCALAR_BRANCHES)):
        for place, name in enumerate(names):
            stored = ak.values_astype(tree[name].array(), "float32")
            padded = ak.to_numpy(ak.fill_none(ak.pad_none(stored, jets.max_particles), np.float32(0)))
            assert values[..., place].numpy().tobytes() == padded.tobytes(), name
            assert (ak.num(stored) == jets.n_particles.numpy()).to_numpy().all()
    for name, column in jets.columns.items():
        np.testing.assert_array_equal(column.numpy(), tree[name].array(library="np"))


def test_kinematics_are_those_of_vector(either):
    jets, tree = read(either), uproot.open(either)["tree"]
    stored = tree.arrays(["part_px", "part_py", "part_pz", "part_energy", "jet_pt", "jet_eta", "jet_phi", "jet_energy"])
    flat = {
        name: ak.to_numpy(ak.flatten(stored[f"part_{name}"])).astype("float64") for name in ("px", "py", "pz", "energy")
    }
    theirs, ours = vector.array(flat), jets.p4[jets.mask]
    # φ near ±π may round to either end of the interval.
    np.testing.assert_allclose(kinematics.pt(ours), theirs.pt, rtol=1e-6)
    np.testing.assert_allclose(kinematics.eta(ours), theirs.eta, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        kinematics.delta_phi(kinematics.phi(ours).double(), torch.from_numpy(theirs.phi)), 0, atol=1e-6
    )
    axis = vector.array(
        {name: stored[f"jet_{name}"].to_numpy().astype("float64") for name in ("pt", "eta", "phi", "energy")}
    )
    for place, name in enumerate(("E", "px", "py", "pz")):
        np.testing.assert_array_equal(jets.jet_p4[:, place].numpy(), getattr(axis, name).astype("float32"))


def test_stored_relative_angles_follow_from_the_stored_axis(jetclass):
    jets, tree = read(jetclass), uproot.open(jetclass)["tree"]
    axis = jets.jet_p4[:, None].double()
    p4 = jets.p4.double()
    deta = (kinematics.eta(p4) - kinematics.eta(axis)) * kinematics.eta(axis).sign()
    dphi = kinematics.delta_phi(kinematics.phi(p4), kinematics.phi(axis))
    for ours, name in ((deta, "part_deta"), (dphi, "part_dphi")):
        np.testing.assert_allclose(ours[jets.mask], ak.to_numpy(ak.flatten(tree[name].array())), atol=2e-6)


def test_jetclass2_names_say_what_the_truth_says(jetclass2):
    """The decay products stored with each jet spell the name of its class."""
    jets = read(jetclass2)
    tree = uproot.open(jetclass2)["tree"]
    truth = tree.arrays(
        ["aux_genpart_pid", "aux_genpart_isResDecayProd", "aux_genpart_isQcdParton", "aux_genpart_isResY"]
    )
    letters = {1: "q", 2: "q", 3: "s", 4: "c", 5: "b", 11: "e", 13: "m", 21: "g"}
    checked = 0
    for label, jet in zip(jets.label.tolist(), truth, strict=True):
        name = jets.classes[label]
        products = [abs(pid) for pid in jet.aux_genpart_pid[jet.aux_genpart_isResDecayProd]]
        assert name.startswith("QCD") == (not products)
        assert name.startswith("X_YY") == (len(products) == 4)
        spelt = name.rpartition("_")[2]
        assert ("tau" in spelt) == (15 in products)
        if products and "tau" not in spelt:
            # Of four products one may lie outside the jet, and neutrinos are written v.
            visible = [letters.get(pid, "v") for pid in products]
            for letter in spelt:
                visible.remove(letter)
            assert len(visible) <= 1
            checked += 1
    assert checked > 50


def test_counter_branches_read_like_vector_branches(jetclass, write_tree, tmp_path):
    arrays = uproot.open(jetclass)["tree"].arrays()
    copy = write_tree(tmp_path / "counters.root", {name: arrays[name] for name in arrays.fields})
    assert uproot.open(jetclass)["tree/part_px"].typename == "std::vector<float>"
    assert uproot.open(copy)["tree/part_px"].typename == "float[]"
    assert_same(read(copy), read(jetclass))


def test_limits_patterns_and_directories(jetclass, real_data):
    jets = read(jetclass)
    spread = (2 * torch.arange(30) + 1) * len(jets) // 60
    assert_same(read(jetclass, limit=30), jets[spread].trim())
    assert_same(
        read(jetclass, max_particles=10),
        jets.replace(p4=jets.p4[:, :10], mask=jets.mask[:, :10], scalars=jets.scalars[:, :10]),
    )
    assert_same(read(real_data / "jetclass"), jets)
    assert_same(read(str(real_data / "jet*s" / "*.root")), jets)
    with pytest.raises(DataError, match="differ in their classes"):
        read(real_data)


def test_records_round_trip(either):
    jets, records = read(either), read(either, library="ak")
    assert_same(JetBatch.from_awkward(records), jets)
    assert ak.all(records.constituents[:, 0].pt >= records.constituents[:, -1].pt)
    assert ak.max(abs(ak.sum(records.constituents, axis=1).deltaR(records.jet))) < 0.1


@pytest.mark.parametrize("part", [0.0001, 0.01, 0.3, 0.8, 0.9999])
def test_truncated_copies_are_refused(either, tmp_path, part):
    content = either.read_bytes()
    short = tmp_path / either.name
    short.write_bytes(content[: int(part * len(content))])
    with pytest.raises(DataError, match=f"{either.name}: truncated"):
        read(short)


def test_flipped_headers_and_baskets_are_refused(either, tmp_path):
    content = bytearray(either.read_bytes())
    copy = tmp_path / either.name
    copy.write_bytes(bytes(byte ^ 0xFF for byte in content[:4]) + content[4:])
    with pytest.raises(DataError, match="not a ROOT file"):
        read(copy)
    with uproot.open(either) as file:
        place = file["tree/part_px"].member("fBasketSeek")[0] + 300
    content[place] ^= 0x10
    copy.write_bytes(content)
    with pytest.raises(DataError, match="damaged or not readable"):
        read(copy)


@pytest.mark.parametrize("columns", ["all", "full", "kin"])
def test_any_range_of_jets_is_read_from_whole_baskets(either, columns):
    index, rng = index_file(either), np.random.default_rng(0)
    whole = read_block(index, 0, index.n_jets, columns=columns)[0]
    for _ in range(10):
        start, stop = np.sort(rng.choice(index.n_jets + 1, size=2, replace=False)).tolist()
        part, expected = read_block(index, start, stop, columns=columns)[0], whole.slice(start, stop)
        for name in ("offsets", "values", "kinds", "jet_p4", "label"):
            np.testing.assert_array_equal(getattr(part, name), getattr(expected, name))
        assert all((part.columns[name] == expected.columns[name]).all() for name in whole.columns)


def test_streams_caches_and_parquet_hold_the_same_jets(either, tmp_path):
    truth = read(either)
    cache = convert(either, tmp_path / "cache", progress=False)
    parquet = to_parquet(either, tmp_path / "parquet", progress=False)
    for source in (either, cache, parquet):
        (batch,) = JetStream(source, batch_size=len(truth), shuffle=False, columns="all")
        assert_same(batch.to_padded(), truth)


def test_a_mapping_reads_vector_branches(either, tmp_path):
    particles = {name.removeprefix("part_"): name for name in (*P4_BRANCHES, *SCALAR_BRANCHES)}
    truth = read(either)
    second = truth.classes == CLASSES_II
    values = {"value": "jet_label", "classes": list(CLASSES_II)}
    content = {
        "particles": particles | {"units": "GeV", "order": "file"},
        "jet": {name: f"jet_{name}" for name in ("pt", "eta", "phi", "energy")},
        "columns": {name: name for name in truth.columns},
        "labels": values if second else {"one_hot": {name: f"label_{name}" for name in CLASSES}},
    }
    (tmp_path / "map.yaml").write_text(json.dumps(content))  # JSON is YAML
    assert_same(read(either, mapping=tmp_path / "map.yaml"), truth)
    content["selection"] = "jet_nparticles > 40 and sum(part_isMuon) == 0"
    (tmp_path / "map.yaml").write_text(json.dumps(content))
    keep = (truth.columns["jet_nparticles"] > 40) & (truth.scalars[..., 5].sum(dim=1) == 0)
    assert 20 < keep.sum() < len(truth)
    assert_same(read(either, mapping=tmp_path / "map.yaml"), truth[keep].trim())
