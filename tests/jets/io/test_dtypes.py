"""Columns that have another type in every file: joined, streamed, kept and written with their values, or refused."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
import uproot

from jetsym.errors import DataError
from jetsym.jets import read
from jetsym.jets.batch import JetBatch
from jetsym.jets.evaluation.predict import predict
from jetsym.jets.io import JetStream
from jetsym.jets.io.ragged import cast_exactly, common_dtype
from jetsym.jets.io.streaming.blocks import JetFiles
from jetsym.jets.io.streaming.convert import convert
from jetsym.jets.models import PointNet
from jetsym.jets.schema import LABEL_BRANCHES

BIG = 2**60
VALUES = {
    "small int32": np.array([1, 2, 3], np.int32),
    "big int64": np.array([BIG + 1, BIG + 3, -5]),
    "big uint64": np.array([BIG, BIG + 7, 1], np.uint64),
    "huge uint64": np.array([2**64 - 1, 2, 1], np.uint64),
    "half float32": np.array([0.5, 1.25, np.nan], np.float32),
    "fine float64": np.array([0.37, 1e300, 1.0]),
    "bool": np.array([True, False, True]),
}
PAIRS = [*permutations(VALUES, 2)]
#: Pairs whose values no type holds: a float of 53 bits and whole numbers of more, or below 0 and above 2^63.
HOPELESS = {
    frozenset(pair)
    for pair in [
        ("big int64", "huge uint64"),
        *((big, loose) for big in VALUES if "big" in big or "huge" in big for loose in VALUES if "float" in loose),
    ]
}


def same(found, expected) -> bool:
    """Compare numbers exactly, as Python does across types."""
    pairs = list(zip(found, expected, strict=True))
    return all(a == b or (a != a and b != b) for a, b in pairs)


def in_order(values) -> list:
    return sorted(values, key=lambda value: (value != value, value))


def concatenated(arrays) -> list:
    return [value for array in arrays for value in array.tolist()]


@pytest.fixture
def files(tmp_path, jetclass_columns, make_jets, write_tree):
    def make(*columns):
        made = []
        for seed, values in enumerate(columns):
            own = jetclass_columns(make_jets(len(values), seed=seed, max_particles=4))
            own |= {name: np.zeros(len(values)) for name in LABEL_BRANCHES}
            own |= {"label_QCD": np.ones(len(values)), "event": values}
            made.append(write_tree(tmp_path / f"{seed}.root", own))
        return made

    return make


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_values_survive_or_are_refused(one, other):
    parts = [VALUES[one], VALUES[other]]
    if frozenset((one, other)) in HOPELESS:
        with pytest.raises(DataError, match=f"'x' is {parts[0].dtype.name} here and {parts[1].dtype.name} there"):
            common_dtype(parts, "x")
    else:
        dtype = common_dtype(parts, "x")
        assert same(concatenated(part.astype(dtype) for part in parts), concatenated(parts))


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_what_is_written_already_settles_the_type(one, other):
    first, later = VALUES[one], VALUES[other]
    fits = {
        np.dtype(np.int32): {"small int32", "bool"},
        np.dtype(np.int64): {"small int32", "big int64", "big uint64", "bool"},
        np.dtype(np.uint64): {"small int32", "big uint64", "huge uint64", "bool"},
        np.dtype(np.float32): {"small int32", "half float32", "bool"},
        np.dtype(np.float64): {"small int32", "half float32", "fine float64", "bool"},
        np.dtype(np.bool_): {"bool"},
    }[first.dtype]
    if other in fits:
        found = cast_exactly(later, first.dtype, "x", where="b.root")
        assert found.dtype == first.dtype
        assert same(found.tolist(), later.tolist())
    else:
        message = f"b.root: the column 'x' is {later.dtype.name}, and {first.dtype.name} in the files before it"
        with pytest.raises(DataError, match=message):
            cast_exactly(later, first.dtype, "x", where="b.root")


@pytest.mark.parametrize(
    ("one", "other"), [*permutations(("small int32", "big int64")), *permutations(("half float32", "fine float64")),
                       *permutations(("big int64", "big uint64")), ("bool", "fine float64")]
)  # fmt: skip
def test_every_reader_gives_the_values(files, tmp_path, one, other):
    parts = [VALUES[one], VALUES[other]]
    made, expected = files(*parts), concatenated(parts)
    assert same(read(made, columns="all").columns["event"].tolist(), expected)
    for shuffle in (False, True):
        (batch,) = JetStream(made, batch_size=6, columns="all", shuffle=shuffle)
        found = batch.columns["event"].tolist()
        assert same(in_order(found), in_order(expected)) if shuffle else same(found, expected)
    joined = JetBatch.concatenate([read(file, columns="all") for file in made])
    assert same(joined.columns["event"].tolist(), expected)


@pytest.mark.parametrize("names", [("half float32", "big int64"), ("big int64", "half float32")])
def test_readers_refuse_what_no_type_holds(files, names):
    made = files(*(VALUES[name] for name in names))
    for shuffle in (False, True):
        with pytest.raises(DataError, match="'event' is .*no type holds all its values exactly"):
            list(JetStream(made, batch_size=6, columns="all", shuffle=shuffle))
    with pytest.raises(DataError, match="'event' is .*no type holds all its values exactly"):
        JetBatch.concatenate([read(file, columns="all") for file in made])


@pytest.mark.parametrize("kind", [".root", ".parquet", "cache"])
def test_files_written_hold_the_values(files, tmp_path, kind, monkeypatch):
    monkeypatch.setattr("jetsym.jets.evaluation.predict.ROWS", 3)
    monkeypatch.setattr("jetsym.jets.evaluation.predict.BUFFER", 3)  # so that the files are read apart

    def written(*parts):
        made, out = files(*parts), tmp_path / f"out-{np.random.default_rng().integers(10**9)}{kind.strip('cahe')}"
        if kind == "cache":
            return read(convert(made, out, progress=False), columns="all").columns["event"].tolist()
        predict(PointNet(width=8, blocks=1), made, out, progress=False)
        if kind == ".root":
            return uproot.open(out)["tree"]["event"].array(library="np").tolist()
        return pytest.importorskip("pyarrow.parquet").read_table(out)["event"].to_pylist()

    wide, narrow = VALUES["big int64"], VALUES["small int32"]
    assert same(written(wide, narrow), concatenated([wide, narrow]))
    fine, half = VALUES["fine float64"], VALUES["half float32"]
    assert same(written(fine, half), concatenated([fine, half]))
    for parts in ((narrow, wide), (half, fine)):
        message = f"'event' is {parts[1].dtype.name}, and {parts[0].dtype.name} in the files before it"
        with pytest.raises(DataError, match=message):
            written(*parts)


def test_a_cache_that_goes_on_keeps_the_type_it_began_with(files, tmp_path, monkeypatch):
    made = files(VALUES["big int64"], VALUES["small int32"])
    whole = JetFiles.read

    def stopped(self, block, *arguments, **named):
        if block.file:
            raise KeyboardInterrupt
        return whole(self, block, *arguments, **named)

    monkeypatch.setattr(JetFiles, "read", stopped)
    with pytest.raises(KeyboardInterrupt):
        convert(made, tmp_path / "cache", progress=False)
    monkeypatch.setattr(JetFiles, "read", whole)
    found = read(convert(made, tmp_path / "cache", progress=False), columns="all").columns["event"]
    assert found.dtype == torch.int64
    assert found.tolist() == concatenated([VALUES["big int64"], VALUES["small int32"]])
