"""Folds by a whole number: the same jets, whatever reads them, and nothing of one fold in another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import uproot

from jetsym.errors import ConfigError, DataError
from jetsym.jets import read
from jetsym.jets.io import JetStream
from jetsym.jets.io.folds import Fold, folded, judged_fold
from jetsym.jets.io.oddities import Oddities
from jetsym.jets.io.registry import index_file
from jetsym.jets.io.streaming.convert import convert
from jetsym.jets.schema import LABEL_BRANCHES

MAPPING = """
tree: tree
particles: {px: part_px, py: part_py, pz: part_pz, energy: part_energy}
jet: {pt: jet_pt, eta: jet_eta, phi: jet_phi, energy: jet_energy}
columns: {number: jet_sdmass, event: event, run: event // 1000}
labels: {one_hot: {QCD: label_QCD, Hbb: label_Hbb}}
reweight: {bins: {jet_pt: [0, 1000000]}}
"""


def write(path: Path, jetclass_columns, make_jets, write_tree, *, events, seed: int = 0, **columns) -> Path:
    size = len(events)
    own = jetclass_columns(make_jets(size, seed=seed, max_particles=6))
    own |= {name: np.zeros(size) for name in LABEL_BRANCHES}
    own |= {"label_QCD": np.arange(size) % 2 == 0, "label_Hbb": np.arange(size) % 2 == 1}
    own |= {"jet_sdmass": np.arange(size) + 1000.0 * seed, "event": events, **columns}
    return write_tree(path, own)


@pytest.fixture
def files(tmp_path, jetclass_columns, make_jets, write_tree) -> list[Path]:
    """Two files with their jets' events, in no order, some negative."""
    made = (jetclass_columns, make_jets, write_tree)
    rng = np.random.default_rng(3)
    return [
        write(tmp_path / f"{name}.root", *made, events=rng.integers(-50, 5000, size), seed=seed)
        for seed, (name, size) in enumerate([("a", 90), ("b", 50)], start=1)
    ]


def expected(files: list[Path], chosen) -> set[float]:
    """Numbers of the jets that are meant, by brute force."""
    found = set()
    for file in files:
        arrays = uproot.open(file)["tree"].arrays(["event", "jet_sdmass"], library="np")
        found |= {number for number, event in zip(arrays["jet_sdmass"], arrays["event"], strict=True) if chosen(event)}
    return found


@pytest.mark.parametrize("kind", ["files", "mapping", "cache", "cache by mapping"])
def test_every_reader_gives_the_same_jets(files, tmp_path, kind):
    mapping, column = None, "jet_sdmass"
    if "mapping" in kind:
        (tmp_path / "map.yaml").write_text(MAPPING)
        mapping, column = str(tmp_path / "map.yaml"), "number"
    data = convert(files, tmp_path / "cache", mapping=mapping, progress=False) if "cache" in kind else files
    for fold, chosen in (
        (Fold(1, 3, "event"), lambda event: event % 3 == 1),
        (Fold(1, 3, "event").rest, lambda event: event % 3 != 1),
    ):
        wanted = expected(files, chosen)
        said = Oddities()
        jets = read(data, mapping=mapping, fold=fold, oddities=said)
        assert {*jets.columns[column].tolist()} == wanted
        assert len(jets) == len(wanted)
        assert f"{fold}: {len(wanted)} jets of 140 entries" in said.words()
        limited = read(data, mapping=mapping, fold=fold, limit=20)
        assert len(limited) == 20
        assert {*limited.columns[column].tolist()} <= wanted
        for shuffle in (True, False):
            stream = JetStream(data, batch_size=1, columns="all", mapping=mapping, fold=fold, shuffle=shuffle)
            batches = [batch.columns[column].item() for batch in stream]
            assert sorted(batches) == sorted(wanted)
            assert sum(stream.class_counts().values()) == len(wanted)
            assert f"{fold}: {len(wanted)} jets of 140 entries" in stream.oddities.words()
        parts = JetStream(data, batch_size=1, columns="all", mapping=mapping, fold=fold, buffer=30, seed=1)
        assert sorted(batch.columns[column].item() for batch in parts) == sorted(wanted)
        jets_of_classes, sums, _ = parts.sums()
        assert jets_of_classes.sum() == sums.sum() == len(wanted)
        others = JetStream(data, batch_size=1, columns="all", mapping=mapping, buffer=30, seed=1)
        assert others.fingerprint() != parts.fingerprint()


def test_entries_are_those_of_the_file(files):
    stream = JetStream(files, batch_size=16, shuffle=False, numbered=True, columns="full", fold=Fold(0, 4, "event"))
    found = [
        (int(f), int(e)) for batch in stream for f, e in zip(*map(batch.columns.get, ("file", "entry")), strict=True)
    ]
    events = [uproot.open(file)["tree"]["event"].array(library="np") for file in files]
    assert found == [(f, e) for f, own in enumerate(events) for e in np.flatnonzero(own % 4 == 0)]
    assert stream.n_entries == [90, 50]


def test_particles_go_with_their_jets(files):
    for file in files:
        whole = read(file)
        mine = np.flatnonzero(uproot.open(file)["tree"]["event"].array(library="np") % 5 == 2)
        jets = read(file, fold=Fold(2, 5, "event"))
        assert np.array_equal(jets.p4.numpy(), whole[mine].trim().p4.numpy())
        assert np.array_equal(jets.label.numpy(), whole.label.numpy()[mine])


def test_expressions_of_a_mapping_tell_folds_apart_and_weights_are_of_the_fold(files, tmp_path):
    (tmp_path / "map.yaml").write_text(MAPPING)
    mapping = str(tmp_path / "map.yaml")
    by_run = read(files, mapping=mapping, fold=Fold(1, 2, "run"))
    assert {*by_run.columns["number"].tolist()} == expected(files, lambda event: event // 1000 % 2 == 1)
    by_expression = read(files, mapping=mapping, fold=Fold(1, 2, "event // 1000"))
    assert by_expression.columns["number"].tolist() == by_run.columns["number"].tolist()
    # flat: the classes of what is read weigh the same, which those of all jets together would not
    sums = np.bincount(by_run.label, by_run.columns["weight"])
    assert sums[0] == pytest.approx(sums[1], rel=1e-5)


def test_what_has_no_meaning_is_refused(files, tmp_path, jetclass_columns, make_jets, write_tree):
    for text in ("5/5", "1", "1/1", "-1/5", "0/0", "a/b", "1/5/5", ""):
        with pytest.raises(ConfigError, match="expected k/n"):
            Fold.parse(text, "event")
    with pytest.raises(DataError, match=r"a\.root: there is no column 'evnt'.*event.*--fold_by names another"):
        read(files, fold=Fold(0, 2, "evnt"))
    made = (jetclass_columns, make_jets, write_tree)
    for number, events in enumerate([np.arange(20) + 0.0, np.full(20, True)]):
        path = write(tmp_path / f"odd{number}.root", *made, events=events)
        with pytest.raises(DataError, match="by which jets cannot be told apart into folds; expected whole numbers"):
            read(path, fold=Fold(0, 2, "event"))
    even = write(tmp_path / "even.root", *made, events=2 * np.arange(20))
    with pytest.raises(DataError, match="fold 1/2 by 'event' has no jets"):
        read(even, fold=Fold(1, 2, "event"))
    with pytest.raises(DataError, match="fold 1/2 by 'event', leaves no jets"):
        JetStream(even, batch_size=2, fold=Fold(1, 2, "event"))
    cache = convert(files, tmp_path / "cache", columns="full", progress=False)
    with pytest.raises(DataError, match="is a cache without the column 'event'"):
        JetStream(cache, batch_size=2, fold=Fold(1, 2, "event"))
    (tmp_path / "map.yaml").write_text(MAPPING)
    with pytest.raises(ConfigError, match="has a value per particle"):
        read(files, mapping=str(tmp_path / "map.yaml"), fold=Fold(0, 2, "part_px"))


def test_big_numbers_of_every_type():
    for dtype in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">i8", ">u4"):
        values = np.array([0, 1, 5, np.iinfo(dtype).max], dtype)
        for of in (3, 300, 100_000):  # more than a type of few bits holds
            assert Fold(1, of, "event").choose(values).tolist() == [int(value) % of == 1 for value in values]


def test_an_index_keeps_whole_clusters(files):
    index = index_file(files[0])
    found = folded(index, Fold(0, 2, "event"))
    assert (found.boundaries[0], found.boundaries[-1]) == (0, found.n_jets)
    assert found.n_entries == 90


def test_jets_of_the_training_are_not_judged_by_accident(capsys):
    trained = ("1/5", "number")
    assert judged_fold(trained, None, None) == judged_fold(trained, "1/5", None) == Fold(1, 5, "number")
    assert judged_fold(trained, None, "number") == judged_fold(trained, "1/5", "number") == Fold(1, 5, "number")
    assert judged_fold(trained, "none", "eventNumber") is None
    capsys.readouterr()
    assert judged_fold(None, "0/2", None) == Fold(0, 2, "event")
    assert judged_fold(None, "none", None) is None
    assert not capsys.readouterr().err
    assert judged_fold(trained, "none", None) is None
    assert "on which the network was trained, are judged as well" in capsys.readouterr().err
    for asked in ("0/5", "1/4"):
        with pytest.raises(ConfigError, match="that the network was trained on"):
            judged_fold(trained, asked, None)
    for asked in (None, "1/5"):
        with pytest.raises(ConfigError, match="by 'eventNumber' has jets that .* held out fold 1/5 by 'number'"):
            judged_fold(trained, asked, "eventNumber")
    with pytest.raises(ConfigError, match="no --fold is given"):
        judged_fold(None, None, "event")
