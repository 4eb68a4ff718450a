"""Jets that are cut keep their particles of largest pT, in whatever order the file has them."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import torch

from jetsym.jets import read
from jetsym.jets.batch import JetBatch
from jetsym.jets.io import JetStream
from jetsym.jets.io.packed import PackedJets
from jetsym.jets.io.ragged import RaggedJets, leading
from jetsym.jets.io.sample import sample_dir
from jetsym.jets.sources import first
from jetsym.testing.jets import random_jets

COUNTS = np.array([9, 3, 0, 6, 7, 1])


def jets(*, falling: bool, seed: int = 0) -> RaggedJets:
    rng = np.random.default_rng(seed)
    pt = rng.exponential(20, COUNTS.sum())
    if falling:
        jet = np.repeat(np.arange(len(COUNTS)), COUNTS)
        pt = pt[np.lexsort((-pt, jet))]
    phi, eta = rng.uniform(-3, 3, (2, len(pt)))
    p4 = np.stack([pt * np.cosh(eta), pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], axis=1).astype("f4")
    scalars = np.arange(len(pt) * 10, dtype="f4").reshape(-1, 10)
    return RaggedJets(np.concatenate([[0], np.cumsum(COUNTS)]), p4, scalars, np.ones((len(COUNTS), 4), "f4"))


def expected(ragged: RaggedJets, most: int) -> list[list[int]]:
    """Rows of the particles that are kept, by a loop over jets."""
    rows = []
    for begin, end in zip(ragged.offsets[:-1], ragged.offsets[1:], strict=True):
        pt = np.hypot(*ragged.p4[begin:end, 1:3].astype(float).T)
        rows.append(sorted((begin + np.argsort(-pt, kind="stable")[:most]).tolist()))
    return rows


@pytest.mark.parametrize("falling", [True, False])
@pytest.mark.parametrize("most", [1, 2, 5, 8, 9, 20])
def test_the_particles_of_largest_pt_are_kept_in_their_order(falling, most):
    ragged = jets(falling=falling)
    rows = expected(ragged, most)
    cut = ragged.cut(most)
    assert cut.counts.tolist() == [len(each) for each in rows]
    np.testing.assert_array_equal(cut.p4, ragged.p4[np.concatenate(rows).astype(int)])
    np.testing.assert_array_equal(cut.scalars, ragged.scalars[np.concatenate(rows).astype(int)])
    whole = JetBatch.from_ragged(ragged)
    packed = PackedJets(ragged.offsets, ragged.p4, None, ragged.jet_p4).batch().to_padded(most)
    for batch in (JetBatch.from_ragged(ragged, max_particles=most), packed, first(whole, most)):
        assert batch.mask.sum(dim=1).tolist() == [len(each) for each in rows]
        for jet, own in enumerate(rows):
            np.testing.assert_array_equal(batch.p4[jet, batch.mask[jet]], ragged.p4[own])
            assert batch.mask[jet, : len(own)].all()


def test_particles_that_fall_up_to_rounding_are_the_first_ones():
    squares = torch.tensor([[9.0, 4.0, 4.00001, 1.0], [9.0, 4.0, 4.1, 1.0], [0.0, 0.0, 0.0, -1.0], [1.0, -1, -1, -1]])
    assert leading(squares, 2).tolist() == [[0, 1], [0, 2], [0, 1], [0, 1]]


def test_files_in_any_order_give_the_same_particles(tmp_path, jetclass_columns, write_tree):
    columns = jetclass_columns(random_jets(12, seed=3, max_particles=20, min_particles=10))
    lists = [name for name, column in columns.items() if getattr(column, "ndim", 1) == 2]
    pt = np.hypot(columns["part_px"], columns["part_py"])
    falling = ak.argsort(pt, axis=1, ascending=False)
    mixed = ak.argsort(columns["part_pz"] * 7919 % 1, axis=1)
    batches = {}
    for name, order in (("falling", falling), ("mixed", mixed)):
        path = write_tree(tmp_path / f"{name}.root", columns | {each: columns[each][order] for each in lists})
        batches[name] = read(path, max_particles=6)
        streamed = next(iter(JetStream(path, batch_size=12, shuffle=False))).to_padded(6)
        assert torch.equal(streamed.p4, batches[name].p4)
        records = read(path, max_particles=6, library="ak")
        np.testing.assert_array_equal(ak.to_numpy(records.constituents.px), batches[name].p4[..., 1])
    expected = np.sort(ak.to_numpy(pt[falling][:, :6]), axis=1)
    for batch in batches.values():
        np.testing.assert_allclose(np.sort(batch.p4[..., 1:3].norm(dim=-1).numpy(), axis=1), expected, rtol=1e-6)
    assert not torch.equal(batches["mixed"].p4, batches["falling"].p4)


def test_jetclass_is_cut_to_its_first_particles():
    whole = read(sample_dir() / "test", limit=40)
    assert torch.equal(read(sample_dir() / "test", limit=40, max_particles=16).p4, whole.p4[:, :16])
