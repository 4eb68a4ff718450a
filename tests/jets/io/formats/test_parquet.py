"""Parquet files hold what their ROOT files hold, and are read in the same ways."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from jetsym.cli import main
from jetsym.errors import DataError, MissingDependencyError
from jetsym.jets import read
from jetsym.jets.io import JetStream
from jetsym.jets.io.inspect import inspect
from jetsym.jets.io.registry import index_file
from jetsym.jets.io.streaming.convert import convert, to_parquet

pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def both(numbered_files, tmp_path, monkeypatch):
    """ROOT files, and the folder of their Parquet files with row groups of 16 jets."""
    monkeypatch.setattr("jetsym.jets.io.formats.parquet._ROWS", 16)
    files = numbered_files([30, 50, 20])
    return files, to_parquet(files, tmp_path / "parquet", progress=False)


def test_the_same_jets_in_every_way(both, small_blocks, tmp_path):
    files, folder = both
    written = sorted(folder.glob("*.parquet"), key=lambda path: path.stem[-3:])
    truth, found = read(files), read(written)
    for name in ("p4", "mask", "scalars", "jet_p4", "label"):
        assert torch.equal(getattr(found, name), getattr(truth, name)), name
    assert all(torch.equal(found.columns[name], truth.columns[name]) for name in truth.columns)
    assert set(read(written, limit=7).p4[:, 0, 0].tolist()) < set(truth.p4[:, 0, 0].tolist())
    assert [index_file(path).n_jets for path in written] == [30, 50, 20]
    options = {"batch_size": 16, "columns": "all", "buffer": 64}
    given = torch.cat([batch.columns["jet_sdmass"] for batch in JetStream(written, **options)])
    assert len(given.unique()) == len(given) == 96
    cache = convert(written, tmp_path / "cache", progress=False)
    assert JetStream(cache, batch_size=10).n_jets == len(read(folder)) == 100
    assert inspect(written).counts == inspect(files).counts


def test_all_branches_and_their_types(both):
    _, folder = both
    table = pq.read_table(folder / "QCD_000.parquet")
    assert str(table.schema.field("part_px").type.value_type) == "float"
    assert str(table.schema.field("label_Hbb").type) == "bool"
    assert {"part_deta", "aux_truth_match", "label_Tbl"} <= set(table.column_names)


def test_jetclass2_and_vectors_of_bools(real_data, tmp_path):
    path = real_data / "jetclass2" / "JetClassII_example.root"
    folder = to_parquet(path, tmp_path, progress=False)
    truth, found = read(path), read(folder)
    assert torch.equal(found.scalars, truth.scalars)
    assert torch.equal(found.label, truth.label)


def test_damage_and_changes_are_seen(both):
    _, folder = both
    path = folder / "QCD_000.parquet"
    stream = JetStream(path, batch_size=5)
    content = bytearray(path.read_bytes())
    place = pq.ParquetFile(path).metadata.row_group(0).column(3).data_page_offset + 60
    content[place] ^= 0x55
    path.write_bytes(content)
    with pytest.raises(DataError, match="QCD_000.parquet: has changed since it was first opened"):
        list(stream)
    with pytest.raises(DataError, match="QCD_000.parquet: damaged or not readable"):
        read(path)
    path.write_bytes(content[:-50])
    with pytest.raises(DataError, match="QCD_000.parquet: damaged or not readable"):
        JetStream(path, batch_size=5)
    path.unlink()
    with pytest.raises(DataError, match="cannot be opened any more"):
        list(stream)


def test_files_are_written_once_and_whole(both, capsys):
    files, folder = both
    times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert main(["convert", str(files[0].parent), "--out", str(folder), "--to", "parquet"]) == 0
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == times
    to_parquet(files, folder, overwrite=True, progress=False)
    assert all(path.stat().st_mtime_ns > before for path, before in times.items())


def test_missing_columns_and_missing_values(both):
    _, folder = both
    path = folder / "QCD_000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["part_px"]), path)
    with pytest.raises(DataError, match="has no branch 'part_px'"):
        read(path)
    holes = [None, *table.column("jet_pt").to_pylist()[1:]]
    place = table.column_names.index("jet_pt")
    pq.write_table(table.set_column(place, "jet_pt", [np.array(holes, dtype=object).tolist()]), path)
    with pytest.raises(DataError, match="'jet_pt' has 1 missing values"):
        read(path)


def test_without_pyarrow(both, monkeypatch, tmp_path):
    files, folder = both
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for use in (lambda: to_parquet(files, tmp_path / "new", progress=False), lambda: read(folder)):
        with pytest.raises(MissingDependencyError, match=r"pip install 'jetsym\[formats\]'"):
            use()
