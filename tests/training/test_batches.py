"""Every jet once in an epoch, in an order of its own."""

import pytest
import torch

from jetsym.jets.batch import JetBatch
from jetsym.training.batches import batches, count_batches, in_parts
from jetsym.training.seeds import STREAMS, generator_for, seed_for


def numbered(jets: JetBatch) -> JetBatch:
    return jets.replace(columns={"number": torch.arange(len(jets))})


def order(jets: JetBatch, **options) -> list[int]:
    return torch.cat([batch.columns["number"] for batch in batches(numbered(jets), **options)]).tolist()


@pytest.mark.parametrize(("n", "batch_size", "sizes"), [(10, 4, [4, 3, 3]), (8, 4, [4, 4]), (3, 8, [3])])
def test_every_jet_once_in_even_batches(make_jets, n, batch_size, sizes):
    jets = make_jets(n)
    shown = list(batches(jets, batch_size=batch_size, seed=0, epoch=1))
    assert [len(batch) for batch in shown] == sizes
    assert count_batches(jets, batch_size=batch_size) == len(sizes)
    assert sorted(order(jets, batch_size=batch_size, seed=0, epoch=1)) == list(range(n))
    assert all(batch.mask.any(0).all() for batch in shown)  # trimmed


def test_orders_differ_between_epochs_and_seeds_only(make_jets):
    jets = make_jets(50)
    first = order(jets, batch_size=8, seed=0, epoch=1)
    assert order(jets, batch_size=8, seed=0, epoch=1) == first
    assert order(jets, batch_size=8, seed=0, epoch=2) != first
    assert order(jets, batch_size=8, seed=1, epoch=1) != first


def test_groups_of_similar_length_hold_every_jet_once(make_jets):
    jets = numbered(make_jets(13))
    parts = in_parts(jets, 4)
    assert [len(part) for part in parts] == [4, 3, 3, 3]
    assert sorted(torch.cat([part.columns["number"] for part in parts]).tolist()) == list(range(13))
    longest = [int(part.n_particles.max()) for part in parts]
    assert longest == sorted(longest)
    assert [part.max_particles for part in parts] == longest
    assert [len(part) for part in in_parts(jets[:2], 4)] == [1, 1]


@pytest.mark.parametrize("start", [0, 2, 4])
def test_an_epoch_goes_on_at_any_batch(make_jets, start):
    jets = make_jets(10)
    options = {"batch_size": 3, "seed": 0, "epoch": 1}
    sizes = [len(batch) for batch in batches(jets, **options)]
    left = list(batches(numbered(jets), **options, start=start))
    assert [len(batch) for batch in left] == sizes[start:]
    numbers = [number for batch in left for number in batch.columns["number"].tolist()]
    assert numbers == order(jets, **options)[sum(sizes[:start]) :]


def test_seeds_are_distinct():
    places = [
        {"seed": seed, "epoch": epoch, "step": step, "rank": rank}
        for seed in range(3)
        for epoch in range(3)
        for step in range(3)
        for rank in range(2)
    ]
    assert len({seed_for(stream, **place) for stream in STREAMS for place in places}) == len(STREAMS) * len(places)
    assert torch.equal(
        torch.rand(3, generator=generator_for("split", seed=1)), torch.rand(3, generator=generator_for("split", seed=1))
    )
