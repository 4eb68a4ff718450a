"""Batches hold the classes as a shuffle of all jets would, whatever the clusters; what is left is divided anew."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from jetsym.errors import ConfigError
from jetsym.jets.io import JetStream
from jetsym.jets.io.limits import cut
from jetsym.jets.io.streaming.blocks import JetFiles
from jetsym.jets.io.streaming.convert import convert
from jetsym.jets.io.streaming.mixing import Mixture, strata

SIZES = [40, 70, 25, 61]
N = sum(SIZES)


def pure(blocks: int, jets: int, classes: int = 10) -> np.ndarray:
    """(blocks · classes, classes) counts of blocks that hold one class each."""
    return np.repeat(np.eye(classes, dtype=int) * jets, blocks, axis=0)


def sorted_by_class(sizes: list[int], blocks: int) -> np.ndarray:
    """Counts of equal blocks of one file in which class follows class."""
    jets = np.repeat(np.arange(len(sizes)), sizes)
    return np.stack([np.bincount(part, minlength=len(sizes)) for part in np.array_split(jets, blocks)])


def jetclass_ii(files: int) -> np.ndarray:
    """Counts of files of 100,000 jets: 40 classes in some, 147 in others, and one in the rest."""
    rng, counts = np.random.default_rng(0), np.zeros((3 * files, 188), int)
    for kind, (first, last) in enumerate([(0, 40), (40, 187), (187, 188)]):
        n = last - first
        counts[kind * files : (kind + 1) * files, first:last] = rng.multinomial(100_000, np.full(n, 1 / n), size=files)
    return counts


LAYOUTS = {
    "ten files with one cluster each": pure(1, 60_000),
    "a hundred of them": pure(10, 60_000),
    "JetClass, sixty clusters of every class": pure(60, 16_500),
    "JetClass-II, twelve files": jetclass_ii(4),
    "JetClass-II, ninety files": jetclass_ii(30),
    "one file sorted by class, clusters as uproot writes them": pure(1, 60_000),
    "one file sorted by class, clusters of several": sorted_by_class([55, 31, 90, 60, 12, 60, 71, 44, 60, 60], 9)
    * 1000,
    "two classes, one in ten": np.repeat(np.diag([50_000, 50_000]), [9, 1], axis=0),
    "mixed files": np.random.default_rng(0).multinomial(16_500, np.full(10, 0.1), size=40),
}


def epoch(counts: np.ndarray, *, buffer: int = 200_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, float]:
    """The classes of all jets in the order of a planned epoch, jets held at a time, and readings per block."""
    mixture, rng = Mixture(counts, buffer=buffer), np.random.default_rng(seed)
    plan = mixture.plan(rng.permutation(len(counts)), rng)
    jets = {}
    for block, stratum in zip(*np.nonzero(mixture.counts), strict=True):
        classes = np.flatnonzero(mixture.of_class == stratum)
        jets[block, stratum] = rng.permutation(np.repeat(classes, counts[block, classes]))
    pieces = list(zip(plan.block, plan.stratum, plan.first, plan.last, strict=True))
    edges = np.searchsorted(plan.window, np.arange(len(plan.starts)))
    order = np.concatenate(
        [
            rng.permutation(np.concatenate([jets[b, s][first:last] for b, s, first, last in pieces[begin:end]]))
            for begin, end in pairwise(edges)
        ]
    )
    sizes = plan.last - plan.first
    _, first, visit = np.unique(plan.visit, return_index=True, return_inverse=True)
    come = np.bincount(plan.window[first], weights=np.bincount(visit, weights=sizes), minlength=len(plan.starts))
    held = np.cumsum(come)[:-1] - plan.starts[:-1]
    return order, held, len(first) / len(counts)


def spread(order: np.ndarray, batch_size: int) -> np.ndarray:
    """The standard deviation of each class's share in batches, in units of that of independent draws."""
    share = np.bincount(order) / len(order)
    batches = order[: len(order) // batch_size * batch_size].reshape(-1, batch_size)
    found = np.stack([(batches == label).mean(axis=1) for label in np.flatnonzero(share)])
    share = share[share > 0]
    return found.std(axis=1) / np.sqrt(share * (1 - share) / batch_size)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_shares_of_classes_spread_as_those_of_independent_draws(layout):
    counts = LAYOUTS[layout]
    order, held, readings = epoch(counts)
    assert (np.bincount(order, minlength=counts.shape[1]) == counts.sum(axis=0)).all()
    assert spread(order, 512).max() < 1.3
    assert 0.85 < spread(order, 512).mean() < 1.1  # nor less than by chance: it is a shuffle
    for part in np.array_split(order, 20):  # nor does any class come early or late
        share = counts.sum(axis=0) / counts.sum()
        assert np.abs(np.bincount(part, minlength=len(share)) / len(part) - share).max() < 5 / np.sqrt(len(part))
    assert held.max() <= 650_000
    assert readings < 1.15


def test_blocks_in_random_order_are_not_enough():
    """The measure of the test above, of what it is to catch: four of ten classes at a time."""
    rng = np.random.default_rng(0)
    buffers = [rng.permutation(np.repeat(part, 60_000)) for part in np.array_split(rng.permutation(10), 3)]
    assert spread(np.concatenate(buffers), 512).max() > 5


def test_rounding_is_all_that_differs_between_windows():
    mixture, rng = Mixture(pure(10, 997), buffer=8000), np.random.default_rng(0)
    plan = mixture.plan(rng.permutation(100), rng)
    windows = len(plan.starts) - 1
    found = np.zeros((windows, 10))
    np.add.at(found, (plan.window, plan.stratum), plan.last - plan.first)
    assert np.abs(found - 9970 / windows).max() < mixture.lanes + 1e-9
    assert np.diff(plan.starts).sum() == 99_700


def test_classes_that_lie_alike_are_one_stratum():
    assert len(set(strata(LAYOUTS["mixed files"], most=1e9))) == 1
    assert len(set(strata(LAYOUTS["ten files with one cluster each"], most=1e9))) == 10
    twelve = strata(jetclass_ii(4), most=1e9)
    assert len(set(twelve)) <= 6  # some classes may differ more than most by chance
    assert not set(twelve[:40]) & set(twelve[40:187])
    assert twelve[187] not in twelve[:187]
    # What cannot be held at a time is joined, the smallest first.
    few = strata(pure(2, 60_000) * np.arange(1, 11), most=1_500_000)
    assert 1 < len(set(few)) < 10
    assert (few[:2] == few[0]).all()


@pytest.fixture
def one_sorted_file(jetclass_file):
    """A file of 4,000 jets: five classes one after the other; blocks of 500 jets hold one or two of them."""
    sizes = [900, 700, 1100, 300, 1000]
    labels = np.repeat(np.arange(5), sizes)
    names = ("QCD", "Hbb", "Hcc", "Hgg", "H4q", "Hqql", "Zqq", "Wqq", "Tbqq", "Tbl")
    columns = {f"label_{name}": (labels == place).astype("int32") for place, name in enumerate(names)}
    return jetclass_file("sorted.root", n=4000, jet_sdmass=np.arange(4000, dtype="float32"), **columns), labels


@pytest.mark.parametrize("layout", ["root", "parquet", "cache"])
def test_a_file_sorted_by_class_is_mixed(one_sorted_file, tmp_path, monkeypatch, layout):
    path, labels = one_sorted_file
    monkeypatch.setattr("jetsym.jets.io.streaming.cache._BLOCK", 60_000)
    monkeypatch.setattr("jetsym.jets.io.formats.parquet._ROWS", 500)
    few = {"smallest": 100, "largest": 500}
    monkeypatch.setattr("jetsym.jets.io.streaming.blocks.cut", lambda boundaries, **_: cut(boundaries, **few))
    if layout == "parquet":
        pytest.importorskip("pyarrow")
        from jetsym.jets.io.streaming.convert import to_parquet

        path = to_parquet(path, tmp_path / "parquet", progress=False)
    if layout == "cache":
        path = convert(path, tmp_path / "cache", progress=False)
    found, numbers = [], []
    for batch in JetStream(path, batch_size=40, columns="all", buffer=1600, seed=1):
        found.append(np.bincount(batch.label, minlength=5))
        numbers += batch.columns["jet_sdmass"].tolist()
        assert (labels[batch.columns["jet_sdmass"].long()] == batch.label.numpy()).all()
    assert sorted(numbers) == list(range(4000))
    share = np.bincount(labels) / 4000
    assert (np.std(found, axis=0) / 40 / np.sqrt(share * (1 - share) / 40)).max() < 1.3


def test_one_cluster_each_is_mixed_and_read_once(numbered_files, monkeypatch):
    files = numbered_files([300] * 5, jets_per_basket=300)
    asked = []
    read = JetFiles.read
    monkeypatch.setattr(JetFiles, "read", lambda self, *block: asked.append(block[0]) or read(self, *block))
    labels = [batch.label for batch in JetStream(files, batch_size=50, buffer=400, seed=2)]
    assert len(asked) == len(set(asked)) == 5
    counts = np.stack([np.bincount(label, minlength=5) for label in labels])
    assert counts.min() >= 2
    assert np.std(counts) / np.sqrt(50 * 0.2 * 0.8) < 1.3


def test_jets_that_are_left_out_are_missing_where_they_would_be(jetclass_file, jetclass_columns, make_jets):
    px = jetclass_columns(make_jets(400))["part_px"].to_list()
    bad = set(range(0, 400, 7))
    for number in bad:
        px[number][0] = np.nan
    path = jetclass_file(n=400, part_px=px, jet_sdmass=np.arange(400, dtype="float32"))
    options = {"batch_size": 20, "columns": "all", "buffer": 100, "seed": 3}
    given = [batch.columns["jet_sdmass"].tolist() for batch in JetStream(path, bad_jets="drop", **options)]
    assert sorted(jet for batch in given for jet in batch) == [jet for jet in range(400) if jet not in bad]
    assert min(map(len, given)) < max(map(len, given)) <= 20


# --- another number of processes --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(numbered_files):
    return numbered_files(SIZES)


@pytest.fixture(params=["root", "cache", "cache by blocks", "in order"])
def stream(request, files, tmp_path, small_blocks, monkeypatch):
    monkeypatch.setattr("jetsym.jets.io.streaming.cache._BLOCK", 5000)
    source = files if request.param in ("root", "in order") else convert(files, tmp_path / "cache", progress=False)

    def make(**options) -> JetStream:
        buffer = None if request.param == "cache" else 64
        return JetStream(
            source, **{"columns": "all", "buffer": buffer, "shuffle": request.param != "in order"} | options
        )

    return make


def shown(stream: JetStream, batches: int | None = None) -> list[int]:
    """The numbers of the jets of the next batches, or of all that are left of the epoch."""
    numbers: list[int] = []
    if batches != 0:
        for place, batch in enumerate(stream, start=1):
            numbers += batch.columns["jet_sdmass"].long().tolist()
            if place == batches:
                break
    return numbers


@pytest.mark.parametrize("ranks", [(1, 2), (2, 1), (3, 2), (1, 4, 3), (4, 1, 2)])
def test_what_is_left_of_an_epoch_is_divided_anew(stream, ranks):
    """Whatever the numbers of processes, each of them stopped after two steps of twelve jets but the last."""
    seen: list[int] = []
    state = None
    for place, world_size in enumerate(ranks):
        last = place == len(ranks) - 1
        states = []
        for rank in range(world_size):
            own = stream(batch_size=12 // world_size, rank=rank, world_size=world_size, seed=4)
            if state is not None:
                own.load_state_dict(state)
                place_of_it = sum(number * jets for number, jets in state["passed"])
                own.set_epoch(0, jets=place_of_it)  # goes nowhere
            seen += shown(own, None if last else 2)
            states.append(own.state_dict())
        assert all(one == states[0] for one in states)
        state = states[0]
    assert len(seen) == len(set(seen))
    least = N // 12 * 12 if stream(batch_size=12).state_dict()["shuffle"] else N
    assert len(seen) == least
    assert state["epoch"] == 1
    assert state["passed"] == []


def test_as_many_processes_go_on_with_the_next_batch(stream):
    whole = stream(batch_size=12, seed=4)
    truth = shown(whole, 7)
    for jets in (0, 12, 60):
        again = stream(batch_size=12, seed=4)
        again.set_epoch(0, jets=jets)
        assert again.state_dict()["passed"] == ([[1, jets]] if jets else [])
        assert shown(again, 1) == truth[jets : jets + 12]
    # A stream goes back within the history that it knows.
    there = stream(batch_size=6, rank=1, world_size=2, seed=4)
    there.load_state_dict(whole.state_dict() | {"passed": [[1, 60], [2, 12]]})
    there.set_epoch(0, jets=36)
    assert there.state_dict()["passed"] == [[1, 36]]
    with pytest.raises(ConfigError, match="jets=37; expected at most 196, in equal parts on each of 2 processes"):
        stream(batch_size=6, world_size=2).set_epoch(3, jets=37)


def test_states_of_version_one(stream, files):
    own = stream(batch_size=12, seed=4)
    state = own.state_dict()
    older = {name: value for name, value in state.items() if name != "passed"}
    older |= {"version": 1, "batch_size": 12, "world_size": 1, "batch": 0, "epoch": 2}
    own.load_state_dict(older)
    assert own.state_dict() == state | {"epoch": 2}
    if state["shuffle"] and state["buffer"] is not None:
        with pytest.raises(ConfigError, match="in the middle of epoch 2, in an order that is no longer made"):
            own.load_state_dict(older | {"batch": 3})
    else:
        own.load_state_dict(older | {"batch": 3})
        assert own.state_dict()["passed"] == [[1, 36]]


def test_classes_are_counted_from_labels_alone(stream, files, jetclass_file):
    assert list(stream(batch_size=12).class_counts().values()) == [*SIZES, 0, 0, 0, 0, 0, 0]
    assert JetStream(files, batch_size=12, mapping=None).class_counts()["QCD"] == SIZES[0]
