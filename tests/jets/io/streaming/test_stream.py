"""JetStream: every jet once, in an order that only depends on what it should, whatever happens in between."""

from __future__ import annotations

import random
import resource
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import uproot

from jetsym.errors import ConfigError, DataError
from jetsym.jets import read
from jetsym.jets.io import JetStream
from jetsym.jets.io.limits import cut
from jetsym.jets.io.packed import RaggedBatch
from jetsym.jets.io.sample import sample_dir
from jetsym.jets.io.streaming.blocks import Block, JetFiles, mixed
from jetsym.jets.io.streaming.convert import convert
from jetsym.jets.io.writer import write_jetclass
from jetsym.jets.schema import JET_BRANCHES, PARTICLE_BRANCHES

SIZES = [40, 70, 25, 61]
N = sum(SIZES)


@pytest.fixture(scope="module")
def files(numbered_files) -> list[Path]:
    return numbered_files(SIZES)


@pytest.fixture(scope="module")
def cache(files, tmp_path_factory) -> Path:
    return convert(files, tmp_path_factory.mktemp("cache") / "made", progress=False)


@pytest.fixture(params=["root", "cache", "cache by blocks"])
def stream(request, files, cache, small_blocks, monkeypatch):
    """``stream(**options)`` over the numbered files, from each kind of source, in buffers of several blocks."""
    monkeypatch.setattr("jetsym.jets.io.streaming.cache._BLOCK", 5000)

    def make(**options) -> JetStream:
        source = files if request.param == "root" else cache
        buffer = None if request.param == "cache" else 64
        return JetStream(source, **{"columns": "all", "buffer": buffer, **options})

    return make


def ids(batches) -> list[int]:
    return [int(number) for batch in batches for number in batch.columns["jet_sdmass"]]


def equal(one: RaggedBatch, other: RaggedBatch) -> bool:
    names = ("offsets", "values", "kinds", "jet_p4", "label")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in names) and all(
        torch.equal(one.columns[name], other.columns[name]) for name in one.columns
    )


# --- every jet once ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
@pytest.mark.parametrize("batch_size", [1, 16, 500])
def test_evaluation_gives_every_jet_once_over_the_ranks(stream, world_size, batch_size):
    shares = [
        stream(batch_size=batch_size, shuffle=False, rank=rank, world_size=world_size) for rank in range(world_size)
    ]
    given = [list(share) for share in shares]
    assert [len(batches) for batches in given] == [len(share) for share in shares]
    assert ids(batch for batches in given for batch in batches) == list(range(N))
    assert all(len(batch) == batch_size for batches in given for batch in batches[:-1])


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_training_gives_all_ranks_as_many_full_batches_of_different_jets(stream, world_size):
    ranks = [stream(batch_size=16, rank=rank, world_size=world_size) for rank in range(world_size)]
    given = [list(rank) for rank in ranks]
    assert {len(batches) for batches in given} == {len(ranks[0])} == {N // world_size // 16}
    assert all(len(batch) == 16 for batches in given for batch in batches)
    shown = ids(batch for batches in given for batch in batches)
    assert len(set(shown)) == len(shown) > N - 16 * world_size - world_size


def test_all_columns_are_those_of_read(stream, files):
    truth = read(files)
    whole = next(iter(stream(batch_size=N, shuffle=False)))
    padded = whole.to_padded()
    for name in ("p4", "mask", "scalars", "jet_p4", "label"):
        assert torch.equal(getattr(padded, name), getattr(truth, name)), name
    assert padded.columns.keys() == truth.columns.keys()
    assert all(torch.equal(padded.columns[name], truth.columns[name]) for name in truth.columns)
    assert (padded.classes, padded.scalar_names) == (truth.classes, truth.scalar_names)
    assert torch.equal(whole.p4, truth.p4[truth.mask])
    assert torch.equal(whole.scalars, truth.scalars[truth.mask])
    assert whole.n_particles.tolist() == truth.n_particles.tolist()
    cut_short = read(files, max_particles=3)
    assert torch.equal(whole.to_padded(3).scalars, cut_short.scalars)


def test_shuffled_batches_hold_whole_jets(stream, files):
    truth = read(files)
    for batch in stream(batch_size=32, seed=3):
        chosen = batch.columns["jet_sdmass"].long()
        assert torch.equal(batch.to_padded(100).p4, truth[chosen].trim().p4)
        assert torch.equal(batch.label, truth.label[chosen])


def test_fewer_columns(stream):
    full = next(iter(stream(batch_size=8, columns="full", shuffle=False)))
    assert not full.columns
    assert full.scalars.shape[1] == len(full.scalar_names) == 10
    kin = next(iter(stream(batch_size=8, columns="kin", shuffle=False)))
    assert torch.equal(kin.p4, full.p4)
    assert (kin.scalars.shape[1], kin.scalar_names) == (0, ())
    assert kin.to_padded(4).scalars.shape == (8, 4, 0)


@pytest.fixture(scope="module")
def a_million(tmp_path_factory) -> list[Path]:
    """Fifty names of one file of 20,000 jets drawn from the bundled sample, which soft-drop mass numbers."""
    names = [f"{path}:tree" for path in sorted((sample_dir() / "train").glob("*.root"))]
    jets = uproot.concatenate(names, [*PARTICLE_BRANCHES, *JET_BRANCHES])
    jets = jets[np.random.default_rng(0).integers(0, len(jets), 20_000)]
    columns = {name: jets[name] for name in jets.fields} | {"jet_sdmass": np.arange(20_000)}
    folder = tmp_path_factory.mktemp("million")
    first = write_jetclass(folder / "jets_00.root", columns)
    for number in range(1, 50):
        (folder / f"jets_{number:02d}.root").hardlink_to(first)
    return sorted(folder.iterdir())


@pytest.mark.slow
def test_a_million_jets_once(a_million, monkeypatch):
    asked: list[Block] = []
    read_block = JetFiles.read
    monkeypatch.setattr(JetFiles, "read", lambda self, *block: asked.append(block[0]) or read_block(self, *block))
    count, particles, labels = np.zeros(20_000, int), 0, np.zeros(10, int)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for batch in JetStream(a_million, batch_size=2000, columns="all"):
        count += np.bincount(batch.columns["jet_sdmass"].numpy().astype(int), minlength=len(count))
        labels += np.bincount(batch.label, minlength=10)
        particles += len(batch.p4)
    assert (count == 50).all()
    # All entries of every file, each once: the fifty are no others' jets.
    ranges = {number: sorted((b.start, b.stop) for b in asked if b.file == number) for number in range(50)}
    assert all(pieces[0][0] == 0 and pieces[-1][1] == 20_000 for pieces in ranges.values())
    assert all(one[1] == other[0] for pieces in ranges.values() for one, other in pairwise(pieces))
    once = read(a_million[0])
    assert particles == 50 * int(once.n_particles.sum())
    assert labels.tolist() == (50 * once.label.bincount(minlength=10)).tolist()
    # Two buffers of 200,000 jets, not a million: 1 GB, as ru_maxrss counts kB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1e6


# --- the order --------------------------------------------------------------------------------------------------------


def test_the_order_depends_on_seed_and_epoch_only(stream):
    first = ids(stream(batch_size=16, seed=1))
    assert first != sorted(first)
    assert ids(stream(batch_size=16, seed=1, threads=1)) == first
    assert ids(stream(batch_size=16, seed=2)) != first
    both = stream(batch_size=16, seed=1)
    assert ids(both) == first
    second = ids(both)
    assert second != first
    assert ids(stream(batch_size=16, seed=1, epoch=1)) == second


def test_successive_jets_are_of_unrelated_classes(numbered_files, small_blocks):
    files = numbered_files([300] * 5, jets_per_basket=30)
    labels = torch.cat([batch.label for batch in JetStream(files, batch_size=30, buffer=300, seed=1)]).numpy()
    same = np.mean(labels[1:] == labels[:-1])
    # Of n pairs a fifth is alike, give or take a few standard errors; in the order of the files nearly all are.
    assert abs(same - 0.2) < 4 * np.sqrt(0.2 * 0.8 / len(labels))
    by_buffer = [np.bincount(part, minlength=5) for part in labels.reshape(5, 300)]
    assert np.min(by_buffer) > 20  # no class is missing for long
    in_order = torch.cat([batch.label for batch in JetStream(files, batch_size=30, shuffle=False)]).numpy()
    assert np.mean(in_order[1:] == in_order[:-1]) > 0.99


def test_every_place_is_as_likely(numbered_files, tmp_path, monkeypatch):
    monkeypatch.setattr("jetsym.jets.io.streaming.cache._BLOCK", 1500)
    cache = convert(numbered_files([40] * 5), tmp_path / "cache", progress=False)
    stream = JetStream(cache, batch_size=50, columns="all", buffer=80)
    places = np.array([np.argsort(ids(stream)) for _ in range(100)])
    # The mean place of a jet over the epochs: 99.5, with the standard error of a uniform number.
    assert np.abs(places.mean(axis=0) - 99.5).max() < 5 * 57.7 / np.sqrt(100)


def test_blocks_are_whole_clusters():
    assert cut(np.array([0, 16533, 33066, 49599, 50000])) == [(0, 16533), (16533, 33066), (33066, 50000)]
    assert cut(np.array([0, 100])) == [(0, 100)]
    assert cut(np.arange(0, 20001, 500)) == [(0, 8500), (8500, 20000)]
    assert cut(np.array([0, 150_000])) == [(0, 50_000), (50_000, 100_000), (100_000, 150_000)]


def test_groups_alternate():
    blocks = [Block(file, start, start + 1) for file in range(10) for start in range(12)]
    order = mixed(blocks, [str(file % 5) for file in range(10)], np.random.default_rng(0))
    assert sorted(order) == list(range(120))
    for start in range(0, 120, 30):
        counts = np.bincount([blocks[number].file % 5 for number in order[start : start + 30]], minlength=5)
        assert counts.min() >= 4


# --- resume -----------------------------------------------------------------------------------------------------------


def test_a_stream_continues_where_another_stopped(stream):
    rng = random.Random(0)
    whole = stream(batch_size=7, seed=5)
    truth, states = [], []
    for _ in range(2):
        states.append([whole.state_dict()])
        truth.append([])
        for batch in whole:
            truth[-1].append(batch)
            states[-1].append(whole.state_dict())
    following = next(iter(whole))
    for place in range(34):  # three sources: a hundred places
        epoch, stop = rng.randrange(2), rng.randrange(len(truth[0]))
        if place % 8 == 0:  # to open files anew takes longest
            again = stream(batch_size=7, seed=5, threads=1)
        again.load_state_dict(states[epoch][stop])
        rest = list(again)
        assert len(rest) == len(truth[epoch]) - stop
        assert all(equal(one, other) for one, other in zip(rest, truth[epoch][stop:], strict=True))
        if place % 8 == 0:
            assert equal(next(iter(again)), [*truth, [following]][epoch + 1][0])


def test_a_state_of_something_else_is_refused(files, cache):
    state = JetStream(files, batch_size=8, seed=1).state_dict()
    for options, name in [({"seed": 2}, "seed"), ({"buffer": 9}, "buffer"), ({"shuffle": False}, "shuffle")]:
        with pytest.raises(ConfigError, match=f"the saved stream had {name}="):
            JetStream(files, **{"batch_size": 8, "seed": 1, **options}).load_state_dict(state)
    for other in (files[:3], cache):
        with pytest.raises(ConfigError, match="the saved stream had "):
            JetStream(other, batch_size=8, seed=1).load_state_dict(state)
    with pytest.raises(ConfigError, match="'batches' is not part of a stream's state"):
        JetStream(files, batch_size=8, seed=1).load_state_dict(state | {"batches": 3})


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0; expected an integer ≥ 1"),
        ({"rank": 2, "world_size": 2}, "rank=2; expected less than world_size=2"),
        ({"seed": -1}, "seed is -1; expected an integer ≥ 0"),
        ({"columns": "none"}, "columns is 'none'; expected one of 'all', 'full', 'kin'"),
        ({"bad_jets": "keep"}, "bad_jets is 'keep'"),
        ({"batch_size": 100, "world_size": 2}, "196 jets are too few for one batch of 100 on each of 2 ranks"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_options_without_a_meaning(files, options, message):
    with pytest.raises(ConfigError, match=message):
        JetStream(files, **{"batch_size": 8, **options})


def test_files_that_do_not_go_together(jetclass_file):
    labelled, other = jetclass_file("a.root"), jetclass_file("b.root", jet_label=np.zeros(20, "int32"))
    with pytest.raises(DataError, match="b.root and .*a.root cannot be streamed together: .* their classes"):
        JetStream([labelled, other], batch_size=4)


def test_bad_jets_are_refused_or_left_out_of_their_batches(jetclass_file, jetclass_columns, make_jets):
    px = jetclass_columns(make_jets(20))["part_px"].to_list()
    px[3][0], px[12][0] = np.nan, np.inf
    number = np.arange(20, dtype="float32")
    path = jetclass_file(n=20, part_px=px, jet_sdmass=number)
    with pytest.raises(DataError, match="2 of 20 jets cannot be used"):
        list(JetStream(path, batch_size=5, shuffle=False))
    given = list(JetStream(path, batch_size=5, shuffle=False, columns="all", bad_jets="drop"))
    assert [len(batch) for batch in given] == [5 - 1, 5, 5 - 1, 5]
    assert ids(given) == [place for place in range(20) if place not in (3, 12)]


def test_charges_that_fit_no_byte_are_kept(jetclass_file, jetclass_columns, make_jets):
    columns = jetclass_columns(make_jets(20))
    path = jetclass_file("odd.root", n=20, part_charge=columns["part_charge"] * 2)
    plain = jetclass_file("plain.root", n=20, seed=1)
    batch = next(iter(JetStream([path, plain], batch_size=40, shuffle=False)))
    assert torch.equal(batch.to_padded().scalars, read([path, plain]).scalars)
    with pytest.raises(DataError, match="charges are not −1, 0 or 1.*stream from the files"):
        convert(path, path.parent / "cache", progress=False)
