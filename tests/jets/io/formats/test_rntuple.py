"""RNTuples: what is in the file decides, not its suffix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import uproot

from jetsym.errors import DataError
from jetsym.jets import JetBatch, read
from jetsym.jets.io import JetStream
from jetsym.jets.io.inspect import inspect
from jetsym.jets.io.registry import count_jets, index_file


def write_rntuple(path: Path, *parts: dict, name: str = "tree") -> Path:
    """An RNTuple with a cluster for each part."""
    with uproot.recreate(path) as file:
        ntuple = file.mkrntuple(name, parts[0])
        for part in parts[1:]:
            ntuple.extend(part)
    return path


@pytest.fixture
def two_clusters(tmp_path, make_jets, jetclass_columns) -> Path:
    return write_rntuple(tmp_path / "ntuple.root", *(jetclass_columns(make_jets(20, seed=seed)) for seed in (0, 1)))


def test_jets_are_those_of_a_tree(two_clusters, jetclass_file):
    expected = read([jetclass_file("a.root", seed=0), jetclass_file("b.root", seed=1)])
    found = read(two_clusters)
    for name in ("p4", "mask", "scalars", "jet_p4", "label"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    assert found.columns.keys() == expected.columns.keys()
    assert count_jets(two_clusters) == 40
    assert index_file(two_clusters).boundaries.tolist() == [0, 20, 40]
    assert index_file(two_clusters).particles == found.mask.sum()


def test_it_is_streamed_beside_a_tree_and_inspected(two_clusters, jetclass_file):
    stream = JetStream([two_clusters, jetclass_file("a.root")], batch_size=16, shuffle=False)
    jets = JetBatch.concatenate([batch.to_padded() for batch in stream])
    assert torch.equal(jets.p4, read([two_clusters, jetclass_file("a.root")]).p4)
    summary = inspect(two_clusters)
    assert summary.branches["part_px"] == "std::vector<float>"
    assert summary.n_jets == 40


def test_what_is_missing_or_of_another_kind_is_named(tmp_path, make_jets, jetclass_columns):
    columns = jetclass_columns(make_jets(5))
    without = {name: column for name, column in columns.items() if name != "part_px"}
    with pytest.raises(DataError, match="has no branch 'part_px'; the nearest are 'part_p"):
        read(write_rntuple(tmp_path / "a.root", without))
    with pytest.raises(DataError, match="the branch 'part_px' is float; expected one list per jet"):
        read(write_rntuple(tmp_path / "b.root", columns | {"part_px": np.ones(5, np.float32)}))


def test_one_of_another_name_is_refused_as_a_tree_would_be(tmp_path, make_jets, jetclass_columns):
    path = write_rntuple(tmp_path / "a.root", jetclass_columns(make_jets(5)), name="Events")
    with pytest.raises(DataError, match=r"no TTree called 'tree'; the file holds 'Events' \(ROOT::RNTuple\)"):
        read(path)


def test_a_file_that_changes_meanwhile_is_refused(two_clusters, tmp_path, make_jets, jetclass_columns):
    index = index_file(two_clusters)
    write_rntuple(two_clusters, jetclass_columns(make_jets(7)))
    with pytest.raises(DataError, match="has changed since it was first opened"), index.reader(index):
        pass
