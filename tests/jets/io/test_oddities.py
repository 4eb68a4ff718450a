"""What is odd about jets is said, each kind of it, and nothing where nothing is."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import torch
import uproot
import yaml

from jetsym.errors import DataError
from jetsym.jets import read
from jetsym.jets.io.inspect import inspect
from jetsym.jets.io.oddities import Oddities
from jetsym.jets.io.sample import sample_dir
from jetsym.jets.schema import CLASSES

FLAGS = ("isChargedHadron", "isNeutralHadron", "isPhoton", "isElectron", "isMuon")
LABELS = [f"label_{name}" for name in CLASSES]


def jets(n=40, seed=0, unit=1.0):
    """Columns of jets in JetClass's branches, with all classes and nothing odd."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(3, 9, n)
    total = counts.sum()
    pt, eta, phi = 20 + rng.exponential(20, total), rng.normal(0, 0.3, total), rng.normal(0, 0.3, total)
    px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    energy = np.sqrt(px**2 + py**2 + pz**2 + 0.02)
    kind = rng.integers(0, 5, total)
    particles = {"px": px * unit, "py": py * unit, "pz": pz * unit, "energy": energy * unit}
    particles |= {"charge": rng.choice([-1.0, 0.0, 1.0], total)}
    particles |= {name: (kind == place).astype(np.int32) for place, name in enumerate(FLAGS)}
    particles |= {name: rng.normal(0, 0.1, total) for name in ("d0val", "d0err", "dzval", "dzerr")}
    columns = {
        f"part_{k}": ak.unflatten(v.astype(v.dtype if k in FLAGS else np.float32), counts) for k, v in particles.items()
    }
    of = np.repeat(np.arange(n), counts)
    x, y, z, e = (np.bincount(of, weights=one * unit, minlength=n) for one in (px, py, pz, energy))
    axis = {"pt": np.hypot(x, y), "eta": np.arcsinh(z / np.hypot(x, y)), "phi": np.arctan2(y, x), "energy": e}
    columns |= {f"jet_{name}": values.astype(np.float32) for name, values in axis.items()}
    return columns | {name: (np.arange(n) % 10 == place).astype(np.int32) for place, name in enumerate(LABELS)}


def changed(columns, name, change):
    """Columns with another one of the particles' values."""
    values = np.array(ak.flatten(columns[name]))
    return {**columns, name: ak.unflatten(change(values), ak.num(columns[name]))}


def first(value):
    def change(values):
        values[0] = value
        return values

    return change


@pytest.fixture
def written(tmp_path, write_tree):
    """Write files of columns, a.root first, and give their folder."""

    def write(*files):
        for name, columns in zip("abcdef", files, strict=False):
            write_tree(tmp_path / "odd" / f"{name}.root", columns)
        return tmp_path / "odd"

    (tmp_path / "odd").mkdir()
    return write


def said(paths, **options):
    found = Oddities()
    read(paths, oddities=found, **options)
    return found.words()


def test_nothing_is_said_of_jets_as_they_should_be(written):
    assert said(written(jets(), jets(seed=1))) == []
    assert said(sample_dir() / "val") == []
    assert inspect(sample_dir() / "val").notes == []


def zero(values):
    return values * 0


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("part_charge", zero, "0 for all 221 particles: charge"),
        ("part_d0val", zero, "0 for all 221 particles: d0val"),
        ("part_dzerr", zero, "0 for all 221 particles: dzerr"),
        ("part_energy", first(-5.0), "1 of 221 particles have E < 0"),
        ("part_energy", first(1.0), "1 of 221 particles have E < |p|"),
        ("jet_energy", first(1.0), "1 of 40 jet axes have E < |p|"),
        ("jet_energy", first(-1.0), "1 of 40 jet axes have E < 0"),
    ],
)
def test_each_oddity_is_said(written, name, change, words):
    columns = jets()
    odd = {**columns, name: change(columns[name].copy())} if name.startswith("jet") else changed(columns, name, change)
    folder = written(odd)
    assert said(folder) == [words]
    assert inspect(folder).notes == [words]


def test_all_flags_that_are_zero_are_said_and_a_rare_one_is_not(written, tmp_path, write_tree):
    columns = jets()
    columns = changed(columns, "part_isMuon", zero)
    assert said(written(columns)) == []  # so few particles may be without a muon
    for name in FLAGS:
        columns = changed(columns, f"part_{name}", zero)
    assert said(write_tree(tmp_path / "flags.root", columns)) == [f"0 for all 221 particles: {', '.join(FLAGS)}"]


def test_particles_without_momentum_are_said(written):
    columns = jets()
    for name in ("px", "py", "pz"):
        columns = changed(columns, f"part_{name}", first(0.0))
    assert said(written(columns)) == ["1 of 221 particles have p = 0"]


def test_rounded_energies_are_not_odd(written):
    rounded = changed(jets(), "part_energy", lambda values: values.astype(np.float16).astype(np.float32))
    assert said(written(rounded)) == []


def test_units_that_differ_between_files_are_said(written):
    (words,) = said(written(jets(), jets(seed=1, unit=1000.0)))
    assert words.startswith("the medians of jet pT are ")
    assert "a.root" in words
    assert "b.root" in words
    assert "one is in MeV, it seems" in words


def test_units_of_axis_and_particles_that_differ_are_said(written):
    columns = {**jets(unit=1000.0), **{name: values for name, values in jets().items() if name.startswith("jet_")}}
    (words,) = said(written(columns))
    assert words.startswith("the median pT of the jet axes is ")


def test_energies_in_mev_alone_are_said(written):
    (words,) = said(written(jets(unit=1000.0)))
    assert words.startswith("the median of jet pT is ")


def test_classes_without_jets_are_named(written):
    columns = jets()
    for name in LABELS:
        columns[name] = np.full(40, name in LABELS[:1], np.int32)
    columns[LABELS[3]] = np.array(columns[LABELS[3]])
    columns[LABELS[0]][5], columns[LABELS[3]][5] = 0, 1
    (words,) = said(written(columns))
    assert words == "no jets of 8 of 10 classes: Hbb, Hcc, H4q, Hqql, Zqq, Wqq, Tbqq, Tbl"


def test_what_is_left_out_is_counted(written):
    bad = changed(jets(), "part_px", first(np.nan))
    folder = written(bad, jets(seed=1))
    (folder / "c.root").write_bytes(b"root of no file")
    with uproot.recreate(folder / "d.root") as file:
        file.mktree("other", {"x": "f4"})
    found = Oddities()
    assert len(read(folder, bad_jets="drop", skip_bad=True, oddities=found)) == 79
    assert sum(found.dropped.values()) == 1
    assert [one.path.name for one in found.skipped] == ["c.root", "d.root"]
    assert found.words()[0] == f"1 jet of 1 file left out: no particles, NaN or infinity ({folder / 'a.root'} 1)"
    assert found.words()[1].startswith("2 files left out; the first: ")
    with pytest.raises(DataError, match=r"c\.root"):
        read(folder, bad_jets="drop")


def test_one_file_without_entries_among_others_is_no_error(written, tmp_path):
    folder, columns = written(jets()), jets()
    types = {
        name: column.type.content if isinstance(column, ak.Array) else column.dtype for name, column in columns.items()
    }
    with uproot.recreate(folder / "b.root") as file:
        file.mktree("tree", types)
    found = Oddities()
    assert len(read(folder, oddities=found)) == 40
    assert found.words() == [f"1 file without entries left out: {folder / 'b.root'}"]
    assert len(read(folder, limit=10)) == 10
    with pytest.raises(DataError, match="holds no jets"):
        read(folder / "b.root")


def test_a_damaged_part_of_a_file_is_left_out(written):
    folder = written()
    columns = jets(n=20_000)
    with uproot.recreate(folder / "a.root") as file:
        types = {n: c.type.content if isinstance(c, ak.Array) else c.dtype for n, c in columns.items()}
        tree = file.mktree("tree", types)
        for start in (0, 10_000):
            tree.extend({name: column[start : start + 10_000] for name, column in columns.items()})
    with uproot.open(folder / "a.root") as file:
        place = file["tree/part_px"].member("fBasketSeek")[1] + 100
    content = bytearray((folder / "a.root").read_bytes())
    content[place : place + 64] = bytes(64)
    (folder / "a.root").write_bytes(content)
    found = Oddities()
    assert torch.equal(read(folder, skip_bad=True, oddities=found).label, torch.arange(10_000) % 10)
    assert [one.n_jets for one in found.skipped] == [10_000]


# --- a limit ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clusters", [1, 10, 300])
def test_a_limit_covers_a_file_that_is_sorted_by_class(tmp_path, write_tree, clusters):
    columns = jets(n=2100)
    label = np.arange(2100) // 210
    columns |= {name: (label == place).astype(np.int32) for place, name in enumerate(LABELS)}
    path = tmp_path / "sorted.root"
    types = {n: c.type.content if isinstance(c, ak.Array) else c.dtype for n, c in columns.items()}
    with uproot.recreate(path) as file:
        tree = file.mktree("tree", types)
        for part in np.array_split(np.arange(2100), clusters):
            tree.extend({name: column[part[0] : part[-1] + 1] for name, column in columns.items()})
    for limit in (200, 1000):
        assert read(path, limit=limit).label.bincount(minlength=10).tolist() == pytest.approx([limit // 10] * 10, abs=3)
    assert read(path, limit=7).label.unique().numel() == 7
    assert len(read(path, limit=2099)) == 2099


def test_a_limit_covers_a_file_of_one_class_that_is_sorted_by_momentum(tmp_path, write_tree):
    columns = jets(n=400)
    columns |= {name: np.full(400, place == 2, np.int32) for place, name in enumerate(LABELS)}
    columns["jet_pt"] = np.linspace(100, 500, 400).astype(np.float32)
    found = read(write_tree(tmp_path / "one.root", columns), limit=40)
    pt = found.jet_p4[:, 1:3].norm(dim=1)
    assert float(pt.mean()) == pytest.approx(300, abs=2)


def test_bad_jets_that_are_not_wanted_do_not_matter(tmp_path, write_tree):
    bad = changed(jets(), "part_px", first(np.nan))
    assert len(read(write_tree(tmp_path / "a.root", bad), limit=10)) == 10  # of jet 2, 6, …
    with pytest.raises(DataError, match="the first at entries 0"):
        read(tmp_path / "a.root", limit=40)


def test_files_whose_columns_differ_are_read_without_these(written):
    folder = written({**jets(), "jet_sdmass": np.ones(40, np.float32)}, jets(seed=1))
    assert len(read(folder, columns="full")) == 80
    with pytest.raises(DataError, match="cannot be read together"):
        read(folder)


def test_an_empty_file_is_left_out_of_a_reweighting(tmp_path, write_tree):
    columns = jets()
    write_tree(tmp_path / "a.root", columns)
    types = {n: c.type.content if isinstance(c, ak.Array) else c.dtype for n, c in columns.items()}
    with uproot.recreate(tmp_path / "b.root") as file:
        file.mktree("tree", types)
    mapping = {
        "tree": "tree",
        "particles": {name: f"part_{name}" for name in ("px", "py", "pz", "energy")},
        "labels": {"one_hot": {name: f"label_{name}" for name in CLASSES}},
        "reweight": {"bins": {"jet_pt": [0, 100, 1000]}},
    }
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(mapping))
    found = read(tmp_path, mapping=tmp_path / "m.yaml")
    assert float(found.columns["weight"].sum()) > 0
