"""Reading ROOT files: what is read, in which order and how much of it, and every way in which it can fail."""

from __future__ import annotations

import hashlib
import os
import random
import struct
from dataclasses import replace
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import torch
import uproot

from jetsym.errors import ConfigError, DataError, MissingDependencyError
from jetsym.jets import JetBatch, read
from jetsym.jets.io.block import read_block
from jetsym.jets.io.formats.root import BasketReader
from jetsym.jets.io.read import read_packed
from jetsym.jets.io.registry import index_file
from jetsym.jets.schema import CLASSES, CLASSES_II


def ids(jets: JetBatch) -> list[int]:
    """The numbers that ``write_numbered`` gave to the jets."""
    return jets.columns["jet_sdmass"].int().tolist()


@pytest.fixture
def numbered(jetclass_file):
    """``numbered(name, first, n)``: a file whose jets carry the numbers from ``first`` on."""

    def write(name: str, first: int, n: int) -> Path:
        return jetclass_file(name, n=n, seed=first, jet_sdmass=np.arange(first, first + n, dtype="float32"))

    return write


def test_everything_written_is_read(jetclass_file, make_jets):
    jets, truth = read(jetclass_file(n=20)), make_jets(20).trim()
    for name in ("p4", "mask", "scalars", "label"):
        assert torch.equal(getattr(jets, name), getattr(truth, name)), name
    # The axis went through float32 pt, η and φ on its way.
    torch.testing.assert_close(jets.jet_p4, truth.jet_p4, rtol=1e-6, atol=1e-3)
    assert jets.columns.keys() == truth.columns.keys()
    assert all(torch.equal(jets.columns[name], truth.columns[name]) for name in truth.columns)
    assert jets.classes == CLASSES
    assert jets.dtype == torch.float32


def test_the_axis_is_computed_in_double_precision(jetclass_file):
    path = jetclass_file(n=50)
    pt, eta, phi, energy = (
        uproot.open(path)[f"tree/jet_{name}"].array(library="np").astype("float64")
        for name in ("pt", "eta", "phi", "energy")
    )
    expected = np.stack([energy, pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], axis=1).astype("float32")
    np.testing.assert_array_equal(read(path).jet_p4.numpy(), expected)


def test_awkward_and_torch_hold_the_same(jetclass_file):
    path = jetclass_file(n=20)
    for options in ({}, {"limit": 7}, {"max_particles": 4}):
        direct, through = read(path, library="ak", **options), read(path, **options).to_awkward()
        assert direct.type == through.type
        assert direct.to_list() == through.to_list()
    assert ak.max(ak.num(direct.constituents)) == 4
    assert ak.all(direct.constituents.pt > 0)


def test_jetclass2_labels_and_types(jetclass_file):
    changes = {f"label_{name}": None for name in CLASSES} | {"jet_label": np.array([0, 14, 15, 160, 161, 187], "int32")}
    changes |= {"jet_nparticles": np.arange(6, dtype="int32"), "aux_genpart_pt": ak.Array([[1.0], [], [2.0]] * 2)}
    jets = read(jetclass_file(n=6, **changes))
    assert [jets.classes[label] for label in jets.label.tolist()] == [
        "X_bb", "X_tauhtauh", "X_YY_bbbb", "X_YY_qqtauhv", "QCD_bbccss", "QCD_light",
    ]  # fmt: skip
    assert jets.columns["jet_nparticles"].dtype == torch.int32
    assert "aux_genpart_pt" not in jets.columns
    assert len(CLASSES_II) == len(set(CLASSES_II)) == 188
    # Compared once with Sophon's own list; the order is what gives a stored number its meaning.
    assert hashlib.sha256(" ".join(CLASSES_II).encode()).hexdigest().startswith("c5dea3fd23b5ddb6")


def test_flags_and_charges_of_other_types_become_float32(jetclass_file, jetclass_columns, make_jets):
    columns = jetclass_columns(make_jets(6))
    changes = {name: ak.values_astype(columns[name], "bool") for name in columns if name.startswith("part_is")}
    changes["part_charge"] = ak.values_astype(columns["part_charge"], "int32")
    changes["part_px"] = ak.values_astype(columns["part_px"], "float64")
    jets = read(jetclass_file(n=6, **changes))
    assert jets.scalars.dtype == jets.dtype == torch.float32
    assert torch.equal(jets.scalars, make_jets(6).trim().scalars)


def test_files_without_labels_are_unlabelled(jetclass_file):
    jets = read(jetclass_file(n=3, **{f"label_{name}": None for name in CLASSES}))
    assert jets.label is None
    assert "label" not in read(jetclass_file(n=3, **{f"label_{name}": None for name in CLASSES}), library="ak").fields


def test_shared_counters_read_like_separate_ones(jetclass_columns, make_jets, write_tree, tmp_path):
    columns = jetclass_columns(make_jets(9))
    particles = {name: column for name, column in columns.items() if name.startswith("part_")}
    others = {name: ak.Array(column) for name, column in columns.items() if name not in particles}
    others["part"] = ak.zip({name.removeprefix("part_"): column for name, column in particles.items()})
    with uproot.recreate(tmp_path / "shared.root") as file:
        file.mktree("tree", {name: column.type.content for name, column in others.items()})
        file["tree"].extend(others)
    assert "npart" in uproot.open(tmp_path / "shared.root")["tree"]
    shared = read(tmp_path / "shared.root", library="ak")
    assert shared.to_list() == read(write_tree(tmp_path / "own.root", columns), library="ak").to_list()


def test_only_the_needed_branches_and_entries_are_read(numbered, monkeypatch):
    path, asked = numbered("a.root", 0, 20), {}
    for kind in ("flat", "ragged"):
        original = getattr(BasketReader, kind)

        def spy(self, name, start, stop, original=original):
            asked[name] = (start, stop)
            return original(self, name, start, stop)

        monkeypatch.setattr(BasketReader, kind, spy)
    assert ids(read(path, limit=5)) == [2, 6, 10, 14, 18]
    assert {asked[name] for name in asked if name.startswith("part")} == {(2, 19)}
    assert "part_deta" not in asked


# --- which files ------------------------------------------------------------------------------------------------------


def test_paths_patterns_directories_and_sequences(numbered, tmp_path, monkeypatch):
    second, first = numbered("data/b.root", 10, 2), numbered("data/a.root", 0, 2)
    deep = numbered("data/deep/c.root", 20, 2)
    (tmp_path / "data" / "notes.txt").write_text("not a ROOT file")
    monkeypatch.chdir(tmp_path)
    for paths, expected in [
        (first, [0, 1]),
        (str(first), [0, 1]),
        ("data/a.root", [0, 1]),
        ("data/*.root", [0, 1, 10, 11]),
        (str(tmp_path / "data" / "?.root"), [0, 1, 10, 11]),
        ("data/**/*.root", [0, 1, 10, 11, 20, 21]),
        (tmp_path / "data", [0, 1, 10, 11, 20, 21]),
        ("d*", [0, 1, 10, 11, 20, 21]),
        ([second, first], [10, 11, 0, 1]),
        ((path for path in ["data/deep", "data/[ab].root"]), [20, 21, 0, 1, 10, 11]),
        ([second, "data/*.root"], [10, 11, 0, 1]),
        ([deep, deep], [20, 21]),
    ]:
        assert ids(read(paths)) == expected, paths


def test_names_may_hold_colons_and_brackets(numbered):
    assert ids(read(numbered("run:3.root", 3, 1))) == [3]
    assert ids(read(numbered("set[1].root", 4, 1))) == [4]


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ("missing.root", "missing.root: no such file"),
        ("*.root", r"\*.root: no file matches this pattern"),
        (".", "no \\*.root files in this directory"),
        ([], "no paths to read"),
        (["here.txt", "missing.root"], "missing.root: no such file"),
    ],
)
def test_files_that_are_not_there(paths, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.txt").write_text("text")
    with pytest.raises(DataError, match=message):
        read(paths)


# --- how much ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (1, [24]),
        (2, [12, 24]),
        (3, [1, 12, 24]),
        (6, [0, 1, 11, 13, 22, 26]),
        (7, [0, 1, 11, 13, 21, 24, 26]),
        (9, [0, 1, 10, 12, 14, 21, 23, 25, 27]),
        (12, [0, 1, 10, 11, 12, 13, 14, 20, 22, 24, 25, 27]),
        (100, [0, 1, *range(10, 15), *range(20, 28)]),
    ],
)
def test_a_limit_is_spread_evenly_over_the_files_and_their_jets(numbered, limit, expected):
    files = [numbered("a.root", 0, 2), numbered("b.root", 10, 5), numbered("c.root", 20, 8)]
    assert ids(read(files, limit=limit)) == expected


def test_a_limit_opens_only_files_it_reads(numbered, tmp_path):
    broken = tmp_path / "a.root"
    broken.write_bytes(b"rubbish")
    good = numbered("b.root", 5, 5)
    assert ids(read([broken, good], limit=1)) == [7]
    assert ids(read(good, limit=50)) == [5, 6, 7, 8, 9]
    assert index_file(good).n_jets == 5


def test_max_particles_keeps_the_first(jetclass_file, make_jets):
    jets, truth = read(jetclass_file(n=20), max_particles=3), make_jets(20)
    assert jets.max_particles == 3
    assert torch.equal(jets.p4, truth.p4[:, :3])
    assert torch.equal(jets.scalars, truth.scalars[:, :3])
    assert read(jetclass_file(n=20), max_particles=1000).max_particles == int(truth.n_particles.max())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit is 0; expected an integer ≥ 1 or None"),
        ({"limit": 2.5}, "limit is 2.5"),
        ({"limit": True}, "limit is True"),
        ({"max_particles": 0}, "max_particles is 0; expected an integer ≥ 1"),
        ({"max_particles": None}, "max_particles is None; expected an integer ≥ 1"),
        ({"library": "np"}, "library is 'np'; expected one of 'torch', 'ak'"),
        ({"bad_jets": "keep"}, "bad_jets is 'keep'; expected one of 'raise', 'drop'"),
    ],
)
def test_options_without_a_meaning(jetclass_file, options, message):
    with pytest.raises(ConfigError, match=message):
        read(jetclass_file(), **options)


# --- files that are not what they should be ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"bad.root: empty \(0 bytes\)"),
        (b"PAR1 and so on, long enough", r"bad.root: not a ROOT file; it begins with b'PAR1'"),
        (b"root", "bad.root: truncated: it holds 4 bytes"),
        (b"root" + struct.pack(">iiiii", 62400, 100, 5000, 0, 0), "it holds 24 bytes, and its header says 5000"),
        (b"root" + struct.pack(">iiqi", 1062400, 100, 2**33, 0), f"its header says {2**33}"),
    ],
)
def test_files_that_are_no_root_files(tmp_path, content, message):
    (tmp_path / "bad.root").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "bad.root")


@pytest.mark.parametrize("part", [0.001, 0.01, 0.1, 0.5, 0.9, 0.999])
def test_truncated_files(jetclass_file, part):
    path = jetclass_file()
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(DataError, match=r"jets.root: truncated: it holds \d+ bytes, and its header says"):
        read(path)


def test_damage_anywhere_is_either_harmless_or_a_data_error(jetclass_file):
    path = jetclass_file(n=200)
    content, truth = path.read_bytes(), read(path)
    rng, errors = random.Random(1), 0
    for _ in range(60):
        damaged = bytearray(content)
        place = rng.randrange(len(damaged))
        damaged[place : place + 32] = rng.randbytes(min(32, len(damaged) - place))
        path.write_bytes(damaged)
        try:
            jets = read(path)
        except DataError as error:
            errors += "jets.root" in str(error)
        else:
            # A damaged title or an unread branch may go unnoticed, a momentum may not.
            assert torch.equal(jets.p4, truth.p4)
    assert errors > 40


def test_a_file_read_before_is_read_afresh(jetclass_file):
    path = jetclass_file(n=200)
    read(path)
    with uproot.open(path) as file:
        place = file["tree/part_px"].member("fBasketSeek")[0] + 200
    content = bytearray(path.read_bytes())
    content[place : place + 32] = bytes(32)
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        read(path)


def test_the_original_error_is_kept(jetclass_file, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("decompression failed\nat length")

    monkeypatch.setattr(uproot.compression, "decompress", fail)
    with pytest.raises(DataError, match=r"damaged or not readable \(RuntimeError: decompression failed\)") as caught:
        read(jetclass_file())
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_package_that_is_missing_is_no_fault_of_the_file(jetclass_file, monkeypatch):
    def fail(*_, **__):
        raise ModuleNotFoundError("install 'zstandard' with:\n\n    pip install zstandard", name="zstandard")

    monkeypatch.setattr(uproot.compression, "decompress", fail)
    words = "cannot be read without zstandard: install 'zstandard' with: pip install zstandard"
    with pytest.raises(MissingDependencyError, match=words):
        read(jetclass_file())


def test_a_tree_of_another_name(jetclass_columns, make_jets, write_tree, tmp_path):
    path = write_tree(tmp_path / "events.root", jetclass_columns(make_jets(3)), tree="Events")
    with pytest.raises(DataError, match=r"events.root: no TTree called 'tree'; the file holds 'Events' \(TTree\)"):
        read(path)


def test_what_is_called_tree_but_is_none(tmp_path):
    with uproot.recreate(tmp_path / "hist.root") as file:
        file["tree"] = np.histogram([1, 2, 3])
    with pytest.raises(DataError, match=r"the file holds 'tree' \(TH1D\)"):
        read(tmp_path / "hist.root")
    with uproot.recreate(tmp_path / "ntuple.root") as file:
        file.mkrntuple("events", {"jet_pt": "float32"})
    with pytest.raises(DataError, match=r"the file holds 'events' \(ROOT::RNTuple\)"):
        read(tmp_path / "ntuple.root")
    with uproot.recreate(tmp_path / "nothing.root"):
        pass
    with pytest.raises(DataError, match="the file holds nothing"):
        read(tmp_path / "nothing.root")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"part_px": None}, "the tree 'tree' has no branch 'part_px'; the nearest are 'part_p"),
        ({"part_px": None, "jet_eta": None}, r"the tree 'tree' has no branch 'part_px' \(nor jet_eta\)"),
        ({"label_Hcc": None}, "the tree 'tree' has no branch 'label_Hcc'; the nearest are 'label_H"),
        ({"part_px": np.ones(20, "float32")}, "the branch 'part_px' is float; expected one list per jet"),
        ({"jet_pt": ak.Array([[1.0]] * 20)}, r"the branch 'jet_pt' is double\[\]; expected one number per jet"),
        ({"jet_pt": np.ones((20, 2))}, r"the branch 'jet_pt' is double\[2\]; expected one number per jet"),
    ],
)
def test_branches_that_are_missing_or_of_another_kind(jetclass_file, changes, message):
    with pytest.raises(DataError, match=rf"^\S*jets\.root: {message}"):
        read(jetclass_file(n=20, **changes))


def test_a_tree_without_jets(jetclass_file):
    with pytest.raises(DataError, match=r"jets.root: the tree 'tree' holds no jets"):
        read(jetclass_file(n=0))


def test_branches_of_different_lengths(jetclass_file, jetclass_columns, make_jets):
    charge = jetclass_columns(make_jets(20))["part_charge"].to_list()
    charge[7] = charge[7] + [1.0]
    counts = make_jets(20).n_particles
    with pytest.raises(
        DataError, match=f"jet 7 has {counts[7]} particles in 'part_energy' and {counts[7] + 1} in 'part_charge'"
    ):
        read(jetclass_file(n=20, part_charge=ak.values_astype(ak.Array(charge), "float32")))


@pytest.mark.parametrize(("qcd", "what"), [(0.0, "none"), (2.0, "'label_QCD': 2.0"), (0.5, "'label_QCD': 0.5")])
def test_jets_without_exactly_one_label(jetclass_file, qcd, what):
    labels = {f"label_{name}": np.zeros(20, "float32") for name in CLASSES}
    labels["label_QCD"][:] = 1
    labels["label_QCD"][[4, 9]] = qcd
    with pytest.raises(DataError, match=f"jets.root: entry 4 has the labels .*{what}.*2 such jets"):
        read(jetclass_file(n=20, **labels))


def test_jets_with_two_labels(jetclass_file):
    labels = {f"label_{name}": np.zeros(20, "int32") for name in CLASSES}
    labels["label_Hbb"][:] = 1
    labels["label_Tbl"][11] = 1
    with pytest.raises(DataError, match=r"entry 11 has the labels \{'label_Hbb': 1.0, 'label_Tbl': 1.0\}"):
        read(jetclass_file(n=20, **labels))


def test_labels_other_than_0_and_1(jetclass_file):
    half = np.full(20, 0.5, "float32")
    labels = {f"label_{name}": np.zeros(20, "float32") for name in CLASSES} | {"label_QCD": half, "label_Tbl": half}
    with pytest.raises(
        DataError, match=r"entry 0 has the labels \{'label_QCD': 0.5, 'label_Tbl': 0.5\} \(20 such jets"
    ):
        read(jetclass_file(n=20, **labels))


@pytest.mark.parametrize("value", [-1, 188])
def test_jetclass2_labels_out_of_range(jetclass_file, value):
    label = np.zeros(20, "int32")
    label[3] = value
    with pytest.raises(DataError, match=f"jet_label is {value} at entry 3 .*expected 0 to 187"):
        read(jetclass_file(n=20, jet_label=label))


# --- jets that no model can use ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("branch", "entry", "particle", "value"),
    [
        ("part_px", 3, 0, np.nan),
        ("part_energy", 19, -1, np.inf),
        ("part_d0val", 0, -1, -np.inf),
        ("part_pz", 0, 0, np.nan),
        ("part_py", 5, 0, 1e300),
        ("jet_pt", 7, None, np.nan),
    ],
)
def test_values_that_are_not_finite(jetclass_file, jetclass_columns, make_jets, branch, entry, particle, value):
    column = jetclass_columns(make_jets(20))[branch]
    if branch == "jet_pt":
        column[entry] = value
    else:
        column = column.to_list()
        column[entry][particle] = value
    path = jetclass_file(n=20, **{branch: column})
    message = (
        rf"jets.root: 1 of 20 jets cannot be used \(0 without particles, 1 with NaN or infinity\), the first at "
        f"entries {entry}; jetsym.jets.read\\(…, bad_jets='drop'\\) leaves them out"
    )
    with pytest.raises(DataError, match=message):
        read(path)
    kept = read(path, bad_jets="drop")
    others = [place for place in range(20) if place != entry]
    assert torch.equal(kept.p4, make_jets(20)[others].trim().p4)
    assert torch.equal(kept.label, make_jets(20).label[others])


def test_jets_without_particles(jetclass_columns, make_jets, write_tree, tmp_path):
    jets = make_jets(10)
    empty = jets.mask.clone()
    empty[[2, 5, 9]] = False
    path = write_tree(tmp_path / "empty.root", jetclass_columns(jets.replace(mask=empty)))
    with pytest.raises(DataError, match=r"3 of 10 .*\(3 without particles, 0 with NaN.*entries 2, 5, 9"):
        read(path)
    kept = [0, 1, 3, 4, 6, 7, 8]
    assert torch.equal(read(path, bad_jets="drop").p4, jets[kept].trim().p4)
    assert len(read(path, bad_jets="drop", library="ak")) == 7

    nobody = write_tree(tmp_path / "nobody.root", jetclass_columns(jets.replace(mask=torch.zeros_like(jets.mask))))
    with pytest.raises(DataError, match=r"nobody.root: no jets are left after dropping"):
        read(nobody, bad_jets="drop")
    assert len(read([nobody, path], bad_jets="drop")) == 7


# --- several files ----------------------------------------------------------------------------------------------------


def test_files_that_do_not_go_together(jetclass_file):
    labelled = jetclass_file("a.root")
    unlabelled = jetclass_file("b.root", **{f"label_{name}": None for name in CLASSES})
    other = jetclass_file("c.root", jet_label=np.zeros(20, "int32"))
    fewer = jetclass_file("d.root", jet_tau1=None)
    for second, what in [(unlabelled, "labels"), (other, "classes"), (fewer, "columns")]:
        with pytest.raises(DataError, match=f"cannot be read together: jets that differ in their {what}.*one by one"):
            read([labelled, second])


def test_ragged_jets_are_consistent(jetclass_file):
    first, second = jetclass_file("a.root", seed=1), jetclass_file("b.root", seed=2)
    jets = read_packed([first, second]).ragged()
    assert len(jets) == 40
    assert jets.offsets[0] == 0
    assert jets.offsets[-1] == len(jets.p4) == len(jets.scalars) == jets.counts.sum()
    assert torch.equal(JetBatch.from_ragged(jets)[20:].trim().p4, read(second).p4)


def test_baskets_inside_the_tree_are_read_as_well(jetclass_file):
    """What a program that ends early leaves in the tree itself; uproot cannot write it, so the index is changed."""
    index = index_file(jetclass_file(n=20))
    whole, _ = read_block(index, 0, 20)
    with BasketReader(index) as file:
        for name, branch in index.branches.items():
            data, _ = file._basket(branch, 0)
            none = np.zeros(0, np.int64)
            index.branches[name] = replace(branch, seeks=none, sizes=none, embedded=((data, None),))
    index.path.write_bytes(bytes(index.size))
    os.utime(index.path, ns=(index.mtime_ns, index.mtime_ns))
    inside, _ = read_block(index, 0, 20)
    np.testing.assert_array_equal(inside.values, whole.values)
    np.testing.assert_array_equal(inside.label, whole.label)
