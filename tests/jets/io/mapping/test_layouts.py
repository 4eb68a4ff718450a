"""Jets in every layout that mappings read: the numbers come out as they went in, whatever stands beside them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
import yaml

from jetsym.errors import ConfigError, DataError
from jetsym.jets import JetBatch, read
from jetsym.jets.io import JetStream
from jetsym.jets.io.block import read_block
from jetsym.jets.io.inspect import inspect
from jetsym.jets.io.mapping.parse import load_mapping
from jetsym.jets.io.registry import index_file

ENTRIES = 40


class Truth:
    """Massless particles of jets, some of which lie in the same entry."""

    def __init__(self, *, several: bool = False, slots: int | None = None) -> None:
        rng = np.random.default_rng(3)
        self.in_entry = rng.integers(0, 4, ENTRIES) if several else np.ones(ENTRIES, np.int64)
        self.jets = int(self.in_entry.sum())
        self.counts = rng.integers(1, 9, self.jets) if slots is None else np.full(self.jets, slots)
        n = int(self.counts.sum())
        self.parts = {"pt": rng.uniform(1, 60, n), "eta": rng.normal(size=n), "phi": rng.uniform(-3, 3, n)}
        self.parts = {name: values.astype(np.float32) for name, values in self.parts.items()}
        self.jet_pt = rng.uniform(200, 900, self.jets)
        self.label = rng.integers(0, 2, ENTRIES)

    def lists(self, name: str) -> ak.Array:
        return ak.unflatten(self.parts[name], self.counts)

    def matrix(self, name: str) -> np.ndarray:
        return self.parts[name].reshape(self.jets, -1)

    def check(self, jets: JetBatch) -> None:
        pt, eta, phi = (np.concatenate([np.zeros(0), self.parts[name]]) for name in ("pt", "eta", "phi"))
        np.testing.assert_array_equal(jets.mask.sum(dim=1), self.counts)
        expected = np.stack([pt * np.cosh(eta), pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], axis=1)
        np.testing.assert_allclose(jets.p4[jets.mask], expected, rtol=1e-5, atol=1e-4)
        assert jets.label is None or jets.label.tolist() == np.repeat(self.label, self.in_entry).tolist()


def names(pattern: str) -> dict[str, Any]:
    """Particles whose columns have names of one pattern."""
    return {part: pattern.format(part) for part in ("pt", "eta", "phi")} | {"mass": 0}


@pytest.fixture
def mapped(tmp_path) -> Callable[..., Path]:
    """``mapped(particles, **keys)``: the file of a mapping."""

    def write(particles: dict[str, Any], **keys: Any) -> Path:
        labels = {"value": "y", "classes": ["light", "heavy"]}
        content = {"particles": particles, "labels": labels, **keys}
        (tmp_path / "map.yaml").write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}))
        return tmp_path / "map.yaml"

    return write


def write_ntuple(path: Path, tree: str = "Events", **columns: Any) -> Path:
    with uproot.recreate(path) as file:
        file[tree] = columns
    return path


def write_ttree(path: Path, tree: str = "Events", **columns: Any) -> Path:
    def kind(values: Any) -> Any:
        return values.type if isinstance(values, ak.Array) else (values.dtype, values.shape[1:])

    with uproot.recreate(path) as file:
        file.mktree(tree, {name: kind(values) for name, values in columns.items()}).extend(columns)
    return path


def write_parquet(path: Path, **columns: Any) -> Path:
    pytest.importorskip("pyarrow")
    ak.to_parquet(ak.Array(columns), str(path), row_group_size=16)
    return path


def write_hdf5(path: Path, **arrays: Any) -> Path:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
    return path


WRITERS = {"a.root": write_ttree, "n.root": write_ntuple, "a.parquet": write_parquet}

# --- lists, fixed arrays, records -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITERS)
def test_lists(tmp_path, mapped, name):
    truth = Truth()
    path = WRITERS[name](tmp_path / name, y=truth.label, **{f"p_{part}": truth.lists(part) for part in truth.parts})
    mapping = mapped(names("p_{}"))
    truth.check(read(path, mapping=mapping))
    batches = [batch.to_padded() for batch in JetStream(path, batch_size=7, shuffle=False, mapping=mapping)]
    truth.check(JetBatch.concatenate(batches))
    assert inspect(path, mapping=mapping).counts.keys() == {"light", "heavy"}


@pytest.mark.parametrize("name", [*WRITERS, "a.h5", "a.npz"])
def test_fixed_arrays(tmp_path, mapped, name):
    truth = Truth(slots=5)
    columns = {f"p_{part}": truth.matrix(part) for part in truth.parts}
    write = WRITERS.get(name, write_hdf5 if name == "a.h5" else lambda path, **arrays: np.savez(path, **arrays) or path)
    path, mapping = write(tmp_path / name, y=truth.label, **columns), mapped(names("p_{}"))
    truth.check(read(path, mapping=mapping))
    assert pickle.loads(pickle.dumps(index_file(path, load_mapping(mapping)))).n_jets == ENTRIES  # noqa: S301


@pytest.mark.parametrize("name", ["a.root", "a.h5", "a.npz"])
def test_places_in_the_last_axis(tmp_path, mapped, name):
    truth = Truth(slots=5)
    cube = np.stack([truth.matrix(part) for part in ("phi", "pt", "eta")], axis=2)
    flags = np.stack([truth.label * 0.0, truth.label], axis=1)
    write = {"a.root": write_ttree, "a.h5": write_hdf5}.get(
        name, lambda path, **arrays: np.savez(path, **arrays) or path
    )
    path = write(tmp_path / name, cube=cube, flags=flags)
    particles = {"pt": "`cube.1`", "eta": "`cube.2`", "phi": "`cube.0`", "mass": 0}
    labels = {"value": "`flags.1`", "classes": ["light", "heavy"]}
    truth.check(read(path, mapping=mapped(particles, labels=labels)))
    with pytest.raises(DataError, match=r"no branch 'cube\.3'"):
        read(path, mapping=mapped(particles | {"mass": "`cube.3`"}, labels=labels))


@pytest.mark.parametrize("name", ["n.root", "a.parquet"])
def test_lists_of_records(tmp_path, mapped, name):
    truth = Truth()
    part = ak.zip({name: truth.lists(name) for name in truth.parts})
    path = WRITERS[name](tmp_path / name, part=part, jet=ak.zip({"y": truth.label, "pt": truth.jet_pt}))
    labels = {"value": "`jet.y`", "classes": ["light", "heavy"]}
    jets = read(path, mapping=mapped(names("`part.{}`"), labels=labels, columns={"pt": "`jet.pt`"}))
    truth.check(jets)
    np.testing.assert_allclose(jets.columns["pt"], truth.jet_pt)
    with pytest.raises(DataError, match=r"no branch 'part\.p'; did you mean 'part\.pt'|no branch 'part\.p'"):
        read(path, mapping=mapped(names("`part.{}`") | {"pt": "`part.p`"}, labels=labels))


def test_leaf_lists(tmp_path, mapped, monkeypatch):
    """Two floats in one branch lie in a file as a fixed array of two does; uproot writes only the latter."""
    truth = Truth()
    path = write_ttree(
        tmp_path / "a.root",
        y=truth.label,
        jet=np.stack([truth.jet_pt, -truth.jet_pt], axis=1).astype(np.float32),
        **{f"p_{part}": truth.lists(part) for part in truth.parts},
    )
    branch, model = uproot.behaviors.TBranch.TBranch, uproot.model.Model
    original, member = branch.interpretation, model.member

    class Leaf:
        def __init__(self, name: str) -> None:
            self.name = name

        def member(self, _: str) -> str:
            return self.name

    def of_leaves(self: Any) -> Any:
        leaves = uproot.AsDtype([("pt", ">f4"), ("px", ">f4")])
        return leaves if self.name == "jet" else original.fget(self)

    def leaves(self: Any, name: str, **options: Any) -> Any:
        found = member(self, name, **options)
        return [Leaf("pt"), Leaf("px")] if name == "fLeaves" and member(self, "fName") == "jet" else found

    monkeypatch.setattr(branch, "interpretation", property(of_leaves))
    monkeypatch.setattr(model, "member", leaves)
    jets = read(path, mapping=mapped(names("p_{}"), columns={"pt": "`jet.pt`", "px": "`jet.px`"}))
    truth.check(jets)
    np.testing.assert_allclose(jets.columns["pt"], truth.jet_pt, rtol=1e-6)
    np.testing.assert_allclose(jets.columns["px"], -truth.jet_pt, rtol=1e-6)
    with pytest.raises(DataError, match="the branch 'jet' is .*; expected one number"):
        read(path, mapping=mapped(names("p_{}"), columns={"pt": "jet"}))


# --- Parquet: every way in which Arrow stores lists, and missing values -----------------------------------------------


@pytest.mark.parametrize("kind", ["list_", "large_list", "dictionary"])
def test_lists_of_arrow(tmp_path, mapped, kind):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    truth = Truth()
    label = arrow.array(truth.label)
    number = arrow.float32()
    lists = arrow.list_(number) if kind == "dictionary" else getattr(arrow, kind)(number)
    columns = {f"p_{part}": arrow.array(truth.lists(part).to_list(), lists) for part in truth.parts}
    columns["y"] = label.dictionary_encode() if kind == "dictionary" else label
    columns["odd"] = arrow.array([[("a", 1)]] * ENTRIES, arrow.map_(arrow.string(), arrow.int8()))
    columns["late"] = arrow.array([None] * ENTRIES, arrow.timestamp("s"))
    parquet.write_table(arrow.table(columns), tmp_path / "a.parquet", row_group_size=11)
    truth.check(read(tmp_path / "a.parquet", mapping=mapped(names("p_{}"))))
    with pytest.raises(DataError, match=r"'late' is timestamp\[.*; expected one number"):
        read(tmp_path / "a.parquet", mapping=mapped(names("p_{}"), columns={"late": "late"}))


def test_missing_values(tmp_path, mapped):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    truth = Truth()
    lists = {f"p_{part}": truth.lists(part).to_list() for part in truth.parts}
    label = truth.label.tolist()
    within, whole, number = (tmp_path / name for name in ("a.parquet", "b.parquet", "c.parquet"))
    columns = {**lists, "y": label, "unused": [None] * ENTRIES, "unused_lists": [[None]] * ENTRIES}
    parquet.write_table(arrow.table(columns), tmp_path / "good.parquet")
    truth.check(read(tmp_path / "good.parquet", mapping=mapped(names("p_{}"))))
    eta = [list(each) for each in lists["p_eta"]]
    eta[23][0] = None
    parquet.write_table(arrow.table({**columns, "p_eta": eta}), within, row_group_size=11)
    phi = [*lists["p_phi"][:30], None, *lists["p_phi"][31:]]
    parquet.write_table(arrow.table({**columns, "p_phi": phi}), whole, row_group_size=11)
    parquet.write_table(arrow.table({**columns, "y": [*label[:8], None, *label[9:]]}), number)
    for path, name, row in ((within, "p_eta", 23), (whole, "p_phi", 30), (number, "y", 8)):
        with pytest.raises(DataError, match=f"the column '{name}' has 1 missing values, the first at entry {row};"):
            read(path, mapping=mapped(names("p_{}")))


def test_jetclass_as_awkward_writes_it(tmp_path, make_jets, jetclass_columns, jetclass_file):
    pytest.importorskip("pyarrow")
    columns = jetclass_columns(make_jets(20))
    ak.to_parquet(ak.Array(columns), str(tmp_path / "a.parquet"))
    write_ttree(tmp_path / "a.root", "tree", **columns)
    own, other = read(tmp_path / "a.root"), read(tmp_path / "a.parquet")
    assert all(np.array_equal(getattr(own, n), getattr(other, n)) for n in ("p4", "mask", "scalars", "label"))


@pytest.mark.parametrize("name", WRITERS)
def test_fixed_arrays_of_jetclass_may_be_padded(tmp_path, make_jets, jetclass_columns, name):
    columns = jetclass_columns(make_jets(20))
    padded = {
        key: ak.to_numpy(ak.fill_none(ak.pad_none(values, 40, clip=True), 0))
        if isinstance(values, ak.Array)
        else values
        for key, values in columns.items()
    }
    path = WRITERS[name](tmp_path / name, **({} if name == "a.parquet" else {"tree": "tree"}), **padded)
    with pytest.raises(DataError, match="the branch 'part_.*' is .*40.*; expected one list per jet"):
        read(path)


# --- several jets in an entry, friends --------------------------------------------------------------------------------


def axis_of(name: str) -> dict[str, Any]:
    return {"pt": name, "eta": f"0 * {name}", "phi": f"0 * {name}", "mass": 0}


def check_ranges(path: Path, mapping: Path, truth: Truth) -> None:
    """Read some jets of an entry alone, and those of several entries from the middle of one to that of another."""
    ends = np.concatenate([[0], np.cumsum(truth.counts)])
    index = pickle.loads(pickle.dumps(index_file(path, load_mapping(mapping))))  # noqa: S301 - as workers get it
    assert index.n_jets == truth.jets
    for start, stop in ((0, 1), (1, 2), (5, 6), (3, 17), (truth.jets - 1, truth.jets), (0, truth.jets)):
        jets, _ = read_block(index, start, stop)
        assert np.diff(jets.offsets).tolist() == truth.counts[start:stop].tolist()
        pt = truth.parts["pt"][ends[start] : ends[stop]]
        np.testing.assert_allclose(np.hypot(jets.values[:, 1], jets.values[:, 2]), pt, rtol=1e-5)
        np.testing.assert_allclose(np.hypot(*jets.jet_p4[:, 1:3].T), truth.jet_pt[start:stop], rtol=1e-5)


@pytest.mark.parametrize("name", ["n.root", "a.parquet"])
def test_lists_of_lists(tmp_path, mapped, name):
    truth = Truth(several=True)
    columns = {f"p_{part}": ak.unflatten(truth.lists(part), truth.in_entry) for part in truth.parts}
    path = WRITERS[name](tmp_path / name, j_pt=ak.unflatten(truth.jet_pt, truth.in_entry), y=truth.label, **columns)
    mapping = mapped(names("p_{}"), jet=axis_of("j_pt"), columns={"n": "count(p_pt)"})
    jets = read(path, mapping=mapping)
    truth.check(jets)
    np.testing.assert_allclose(jets.jet_p4[:, 1], truth.jet_pt, rtol=1e-6)
    assert jets.columns["n"].tolist() == truth.counts.tolist()
    batches = [batch.to_padded() for batch in JetStream(path, batch_size=7, shuffle=False, mapping=mapping)]
    truth.check(JetBatch.concatenate(batches))
    check_ranges(path, mapping, truth)
    chosen = read(path, mapping=mapped(names("p_{}"), jet=axis_of("j_pt"), selection="j_pt > 500"))
    np.testing.assert_allclose(chosen.jet_p4[:, 1], truth.jet_pt[truth.jet_pt > 500], rtol=1e-6)
    wrong = {"columns": {"odd": "j_odd"}}
    path = WRITERS[name](tmp_path / name, j_odd=ak.Array([[1.0, 2.0]] * ENTRIES), y=truth.label, **columns)
    with pytest.raises(DataError, match="'j_odd' has 2 values at entry .*, where there are . jets"):
        read(path, mapping=mapped(names("p_{}"), **wrong))


def nano(truth: Truth, *, table: bool) -> dict[str, Any]:
    """NanoAOD's columns: particles in any order, some of no jet, with a table between them and the jets or without."""
    rng = np.random.default_rng(5)
    entry = np.repeat(np.repeat(np.arange(ENTRIES), truth.in_entry), truth.counts)
    owner = np.repeat(np.concatenate([np.arange(n) for n in truth.in_entry]), truth.counts)
    shuffled, rows = [], []
    for number in range(ENTRIES):
        own = np.flatnonzero(entry == number)
        mixed = np.concatenate([own, np.full(rng.integers(0, 3), -1)])
        if table:
            rng.shuffle(mixed)
        place = {int(particle): at for at, particle in enumerate(mixed)}
        rows.append([place[int(particle)] for particle in own])
        shuffled.append(mixed)
    columns: dict[str, Any] = {
        f"PFCands_{name}": ak.Array([np.where(each < 0, 77, values[each]) for each in shuffled])
        for name, values in truth.parts.items()
    }
    columns |= {"FatJet_pt": ak.unflatten(truth.jet_pt, truth.in_entry), "y": truth.label}
    of_each = [owner[entry == number] for number in range(ENTRIES)]
    if table:
        weights = [truth.parts["pt"][entry == number] for number in range(ENTRIES)]
        columns |= {"FatJetPFCands_jetIdx": ak.Array(of_each), "FatJetPFCands_pFCandsIdx": ak.Array(rows)}
        return columns | {"FatJetPFCands_w": ak.Array(weights)}
    alone = [np.where(each < 0, -1, owner[each]) for each in shuffled]
    return columns | {"PFCands_jetIdx": ak.Array(alone)}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("table", [True, False])
def test_particles_found_by_index(tmp_path, mapped, name, table):
    truth = Truth(several=True)
    path = WRITERS[name](tmp_path / name, **nano(truth, table=table))
    where = {"jet": "PFCands_jetIdx"}
    columns = {"sum_pt": "sum(PFCands_pt)"}
    if table:
        where = {"jet": "FatJetPFCands_jetIdx", "index": "FatJetPFCands_pFCandsIdx"}
        columns |= {"weighted": "sum(FatJetPFCands_w)"}
    mapping = mapped(names("PFCands_{}") | where, jet=axis_of("FatJet_pt"), columns=columns)
    jets = read(path, mapping=mapping)
    truth.check(jets)
    for column in jets.columns.values():
        np.testing.assert_allclose(column, ak.sum(truth.lists("pt"), axis=1), rtol=1e-5)
    np.testing.assert_allclose(jets.jet_p4[:, 1], truth.jet_pt, rtol=1e-6)
    batches = [batch.to_padded() for batch in JetStream(path, batch_size=7, shuffle=False, mapping=mapping)]
    truth.check(JetBatch.concatenate(batches))
    check_ranges(path, mapping, truth)


def test_indices_that_lead_nowhere(tmp_path, mapped):
    truth = Truth(several=True)
    columns = nano(truth, table=True)
    where = {"jet": "FatJetPFCands_jetIdx", "index": "FatJetPFCands_pFCandsIdx"}
    jet, particles = {"jet": axis_of("FatJet_pt")}, names("PFCands_{}")
    for name, message in (
        ("jetIdx", "'FatJetPFCands_jetIdx' is .* at entry .*, where there are . jets"),
        ("pFCandsIdx", "'FatJetPFCands_pFCandsIdx' is .* at entry .*, where 'PFCands_...?' has .* values"),
    ):
        changed = {**columns, f"FatJetPFCands_{name}": columns[f"FatJetPFCands_{name}"] + 50}
        with pytest.raises(DataError, match=message):
            read(write_ttree(tmp_path / "a.root", **changed), mapping=mapped(particles | where, **jet))
    path = write_ttree(tmp_path / "b.root", Other_x=columns["PFCands_pt"], **columns)
    with pytest.raises(DataError, match="'Other_x' has a list in each entry; expected a name that begins like"):
        read(path, mapping=mapped(particles | where, columns={"x": "sum(Other_x)"}, **jet))
    with pytest.raises(ConfigError, match="particles.jet says of which jet"):
        read(path, mapping=mapped(particles | where))
    with pytest.raises(ConfigError, match="under 'index'"):
        read(path, mapping=mapped(particles | {"jet": where["jet"]}, **jet))
    with pytest.raises(ConfigError, match=r"particles.index says which particle a row is; expected .*particles.jet"):
        read(path, mapping=mapped(particles | {"index": where["index"]}, **jet))


@pytest.mark.parametrize(
    ("owner", "place", "message"),
    [
        ([0, -7], [0, 1], "jetIdx' is -7 at entry 0"),
        ([0.0, 0.7], [0, 1], "jetIdx' is 0.699.*; expected whole numbers"),
        ([0.0, np.nan], [0, 1], "jetIdx' is nan; expected whole numbers"),
        ([0, 0], [0.0, 1.6], "pFCandsIdx' is 1.6.*; expected whole numbers"),
        ([0, 0], [1, 1], "gives a jet the same particle twice in entries 0 to 0"),
    ],
)
def test_owners_that_are_no_jets(tmp_path, mapped, owner, place, message):
    lists = {f"PFCands_{part}": ak.Array([np.array([3, 4], np.float32)]) for part in ("pt", "eta", "phi", "mass")}
    lists |= {f"FatJet_{part}": ak.Array([np.array([7], np.float32)]) for part in ("pt", "eta", "phi", "mass")}

    def numbers(values):
        return ak.Array([np.array(values, np.float32 if any(x % 1 for x in values) else np.int32)])

    table = {"FatJetPFCands_jetIdx": numbers(owner), "FatJetPFCands_pFCandsIdx": numbers(place)}
    mapping = mapped(
        names("PFCands_{}") | {"jet": "FatJetPFCands_jetIdx", "index": "FatJetPFCands_pFCandsIdx"},
        jet=axis_of("FatJet_pt"),
    )
    with pytest.raises(DataError, match=message):
        read(write_ttree(tmp_path / "a.root", y=np.zeros(1, np.int32), **lists, **table), mapping=mapping)


def test_friends_that_change_are_told(tmp_path, mapped):
    truth = Truth()
    lists = {f"p_{part}": truth.lists(part) for part in ("pt", "eta", "phi")}
    path = write_ttree(tmp_path / "a.root", y=truth.label, **lists)
    write_ttree(tmp_path / "a_extra.root", w=truth.jet_pt)
    friends, columns = {"Extra": "{stem}_extra.root"}, {"w": "`Extra.w`"}
    options = {"mapping": mapped(names("p_{}"), columns=columns, friends=friends), "columns": "all", "batch_size": 4}
    cached = {"cache": tmp_path / "cache", **options}
    before = JetStream(path, **options).fingerprint()
    assert JetStream(path, **cached).n_jets == ENTRIES
    assert JetStream(path, **options).fingerprint() == before
    write_ttree(tmp_path / "a_extra.root", w=-truth.jet_pt)
    assert JetStream(path, **options).fingerprint() != before
    with pytest.raises(DataError, match=r"is stale: it was made of .*a_extra.root, but its contents have changed"):
        JetStream(path, **cached)


def test_friends(tmp_path, mapped):
    truth = Truth()
    path = write_ttree(tmp_path / "a.root", y=truth.label, **{f"p_{part}": truth.lists(part) for part in ("pt", "eta")})
    write_ttree(tmp_path / "a_extra.root", "Extra", p_phi=truth.lists("phi"), w=truth.jet_pt)
    write_ntuple(tmp_path / "more.root", w=-truth.jet_pt)
    friends = {"Extra": {"file": "{stem}_extra.root", "tree": "Extra"}, "more": "more.root"}
    particles = names("p_{}") | {"phi": "`Extra.p_phi`"}
    keys = {"columns": {"w": "`Extra.w`", "m": "`more.w`"}, "friends": friends}
    jets = read(path, mapping=mapped(particles, **keys))
    truth.check(jets)
    np.testing.assert_allclose(jets.columns["w"], truth.jet_pt)
    np.testing.assert_allclose(jets.columns["m"], -truth.jet_pt)
    write_ntuple(tmp_path / "more.root", w=-truth.jet_pt[1:])
    with pytest.raises(DataError, match=rf"more.root.* has {ENTRIES - 1} entries .* a friend, {ENTRIES}; expected"):
        read(path, mapping=mapped(particles, **keys))
    (tmp_path / "more.root").unlink()
    with pytest.raises(DataError, match="more.root: cannot be opened"):
        read(path, mapping=mapped(particles, **keys))
    # A branch of the file itself may begin with the name of a friend that has none such.
    own = {f"p_{part}": truth.lists(part) for part in ("pt", "eta")} | {"Extra.m": truth.jet_pt * 2}
    path = write_ttree(tmp_path / "a.root", y=truth.label, **own)
    keys = {"columns": {"w": "`Extra.w`", "m": "`Extra.m`"}, "friends": {"Extra": friends["Extra"]}}
    jets = read(path, mapping=mapped(particles, **keys))
    np.testing.assert_allclose(jets.columns["w"], truth.jet_pt)
    np.testing.assert_allclose(jets.columns["m"], truth.jet_pt * 2)
    path = write_ttree(tmp_path / "a.root", y=truth.label, **own, **{"Extra.w": truth.jet_pt * 2})
    with pytest.raises(DataError, match="has the branch 'Extra.w', and its friend Extra has 'w'; give the friend"):
        read(path, mapping=mapped(particles, **keys))
    with pytest.raises(ConfigError, match="friends: Extra is 3; expected a name"):
        read(path, mapping=mapped(particles, friends={"Extra": 3}))


# --- HDF5 -------------------------------------------------------------------------------------------------------------


def test_compound_arrays(tmp_path, mapped):
    truth = Truth(slots=6)
    tracks = np.zeros((ENTRIES, 6), [("pt", "f4"), ("eta", "f4"), ("phi", "f4"), ("valid", "?")])
    for part in truth.parts:
        tracks[part] = truth.matrix(part)
    jets = np.zeros(ENTRIES, [("y", "i4"), ("name", "S4")])
    jets["y"] = truth.label
    path = write_hdf5(tmp_path / "a.h5", tracks=tracks, jets=jets, short=np.arange(3))
    labels = {"value": "`jets.y`", "classes": ["light", "heavy"]}
    truth.check(read(path, mapping=mapped(names("`tracks.{}`"), labels=labels)))
    with pytest.raises(DataError, match=r"'jets\.name' is .*S4; expected one number"):
        read(path, mapping=mapped(names("`tracks.{}`"), columns={"name": "`jets.name`"}, labels=labels))
    with pytest.raises(DataError, match="no branch 'short'"):
        read(path, mapping=mapped(names("`tracks.{}`"), columns={"name": "short"}, labels=labels))


@pytest.mark.parametrize(
    "options", [{"format": "fixed"}, {"format": "table"}, {"format": "table", "data_columns": ["y"]}]
)
def test_frames_of_pandas(tmp_path, mapped, options):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("tables")
    pytest.importorskip("h5py")
    truth = Truth(slots=12)
    columns = {f"{part}_{slot}": truth.matrix(part)[:, slot] for slot in range(12) for part in truth.parts}
    frame = pandas.DataFrame({**columns, "y": truth.label, "name": ["a"] * ENTRIES})
    frame.to_hdf(tmp_path / "a.h5", key="df", mode="w", **options)
    mapping = mapped(names("{}"), columns={"first": "pt_0", "eleventh": "pt_10"})
    jets = read(tmp_path / "a.h5", mapping=mapping)
    truth.check(jets)
    np.testing.assert_array_equal(jets.columns["first"], truth.matrix("pt")[:, 0])
    np.testing.assert_array_equal(jets.columns["eleventh"], truth.matrix("pt")[:, 10])
    frame.to_hdf(tmp_path / "a.h5", key="other", mode="a", **options)
    labels = {"value": "`df.y`", "classes": ["light", "heavy"]}
    truth.check(read(tmp_path / "a.h5", mapping=mapped(names("`df.{}`"), labels=labels)))
    truth.check(read(tmp_path / "a.h5", mapping=mapped(names("{}"), tree="other")))
    with pytest.raises(DataError, match="has no group 'third'; the file holds df, other"):
        read(tmp_path / "a.h5", mapping=mapped(names("{}"), tree="third"))


# --- what nobody asks for ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITERS)
def test_odd_branches_do_no_harm(tmp_path, mapped, name, make_jets, jetclass_columns):
    columns = jetclass_columns(make_jets(10))
    odd: dict[str, Any] = {"words": ak.Array(["word"] * 10)}
    if name != "a.root":
        odd |= {"lists_of_words": ak.Array([["a", "b"]] * 10), "deep": ak.Array([[[[1.0]]]] * 10)}
        odd |= {"vector": ak.zip({"fE": np.ones(10), "fP": ak.zip({"x": np.ones(10), "name": ["a"] * 10})})}
    tree = {} if name == "a.parquet" else {"tree": "tree"}
    path = WRITERS[name](tmp_path / name, **tree, **columns, **odd)
    assert read(path).p4.shape[0] == 10
    particles = {part: f"part_{part}" for part in ("px", "py", "pz", "energy")}
    assert len(read(path, mapping=mapped(particles, labels=None))) == 10
    for each in odd.keys() - {"vector"}:
        with pytest.raises(DataError, match=f"the branch '{each}' is .*; expected one number"):
            read(path, mapping=mapped(particles, labels=None, columns={"x": each}))


def test_branches_that_uproot_does_not_know(tmp_path, mapped, monkeypatch):
    truth = Truth()
    path = write_ttree(
        tmp_path / "a.root", y=truth.label, z=truth.label, **{f"p_{part}": truth.lists(part) for part in truth.parts}
    )
    branch = uproot.behaviors.TBranch.TBranch
    original = branch.interpretation

    def refuse(self: Any) -> Any:
        if self.name == "z":
            raise ValueError("no streamer")
        return original.fget(self)

    monkeypatch.setattr(branch, "interpretation", property(refuse))
    truth.check(read(path, mapping=mapped(names("p_{}"))))
    with pytest.raises(DataError, match="the branch 'z' is .*; expected one number"):
        read(path, mapping=mapped(names("p_{}"), columns={"z": "z"}))
