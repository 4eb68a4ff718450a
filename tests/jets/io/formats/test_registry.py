"""Formats register themselves: a new one takes one file, and is then read, streamed, converted, inspected and named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from jetsym.errors import ConfigError, DataError
from jetsym.jets import JetBatch, read
from jetsym.jets.io import JetStream
from jetsym.jets.io.formats.layout import choose_layout
from jetsym.jets.io.inspect import inspect
from jetsym.jets.io.registry import FORMATS, FileIndex, Format, JetReader, index_file, readable, register
from jetsym.jets.io.streaming.convert import convert

# What somebody else writes: the whole of a new format, one jet a line.


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def index_lines(path: Path) -> FileIndex:
    jets = lines_of(path)
    first = jets[0] if jets else {}
    ragged = {name for name, value in first.items() if isinstance(value, list)}
    types = {name: "list" if name in ragged else "number" for name in first}
    layout = choose_layout(path, types, ragged=ragged, flat=set(types) - ragged)
    particles = sum(len(jet[layout.ragged[0]]) for jet in jets)
    return FileIndex.of(path, n_jets=len(jets), particles=particles, layout=layout, reader=LineReader)


class LineReader(JetReader):
    def flat(self, name, start, stop):
        return np.array([jet[name] for jet in lines_of(self.index.path)[start:stop]])

    def ragged(self, name, start, stop):
        lists = [jet[name] for jet in lines_of(self.index.path)[start:stop]]
        return np.concatenate([np.array(one) for one in lists]), np.array([len(one) for one in lists])


@pytest.fixture
def lines() -> Format:
    yield register(Format(name="JSON lines", suffixes=(".jsonl",), index=index_lines))
    del FORMATS["JSON lines"]


@pytest.fixture
def line_file(tmp_path, make_jets, jetclass_columns):
    columns = {
        name: np.asarray(c).tolist() if getattr(c, "ndim", 1) == 1 else c.to_list()
        for name, c in jetclass_columns(make_jets(20)).items()
    }
    path = tmp_path / "jets.jsonl"
    path.write_text(
        "".join(json.dumps(dict(zip(columns, jet, strict=True))) + "\n" for jet in zip(*columns.values(), strict=True))
    )
    return path


def assert_same(first: JetBatch, second: JetBatch) -> None:
    for name in ("p4", "mask", "scalars", "jet_p4", "label"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name


def test_a_format_of_one_file_is_read_streamed_converted_and_inspected(lines, line_file, jetclass_file, tmp_path):
    expected = read(jetclass_file())
    assert_same(read(line_file), expected)
    assert_same(read(line_file, limit=7), expected[[1, 4, 7, 10, 12, 15, 18]].trim())
    assert index_file(line_file).n_jets == 20
    stream = JetStream(line_file, batch_size=8, shuffle=False)
    assert_same(JetBatch.concatenate([batch.to_padded() for batch in stream]), expected)
    convert(line_file, tmp_path / "cache", progress=False)
    assert sum(len(batch) for batch in JetStream(tmp_path / "cache", batch_size=8, shuffle=False)) == 20
    summary = inspect(line_file)
    assert (summary.n_jets, summary.n_bad) == (20, 0)
    assert {"part_px", "label_QCD"} <= summary.branches.keys()


def test_a_registered_format_is_found_in_folders_and_named_in_errors(lines, line_file, tmp_path):
    assert len(read(tmp_path)) == 20
    (tmp_path / "empty").mkdir()
    for place in ("empty", "nothing.root"):
        with pytest.raises(DataError, match=r"ROOT \(.root\).*JSON lines \(.jsonl\)"):
            read(tmp_path / place)
    (tmp_path / "jets.txt").write_text("no jets here, but enough text")
    with pytest.raises(DataError, match=r"not a ROOT file.*JSON lines \(.jsonl\)"):
        read(tmp_path / "jets.txt")
    with pytest.raises(DataError, match="https://example.org/a.jsonl: is on another machine, from where only ROOT"):
        read("https://example.org/a.jsonl")


def test_a_damaged_file_of_a_registered_format_is_named(lines, line_file):
    line_file.write_text(line_file.read_text()[:-40])
    with pytest.raises(DataError, match="jets.jsonl: damaged or not readable"):
        read(line_file)


def test_an_empty_file_is_refused(lines, tmp_path):
    (tmp_path / "none.jsonl").write_text("")
    with pytest.raises(DataError, match="none.jsonl"):
        read(tmp_path / "none.jsonl")


def test_the_formats_of_jetsym():
    assert readable() == "ROOT (.root), RNTuple (.root), Parquet (.parquet), HDF5 (.h5, .hdf5), NumPy (.npz)"


def test_what_is_no_format_is_refused():
    with pytest.raises(ConfigError, match="format is 'ROOT'; expected a Format"):
        register("ROOT")
