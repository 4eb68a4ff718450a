"""Processes that share the inputs of a measurement find what one finds, and only the first of them writes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet
import pytest
import torch

from jetsym.cli import main
from jetsym.jets import checkpoint
from jetsym.jets.evaluation.report import Evaluation
from jetsym.jets.io.sample import sample_dir
from jetsym.jets.io.streaming.appending import JOURNAL
from jetsym.jets.io.streaming.convert import convert
from jetsym.jets.models import PointNet
from jetsym.probing.reports.attribution import Attribution
from jetsym.probing.reports.read import read_report
from jetsym.ranks import ALONE, Ranks, here, sharing, started

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("part", [slice(0, 0), slice(3, 4), slice(5, 17)])
def test_shares_cover_all_inputs_once_in_their_order(size, part):
    shares = [Ranks(rank, size).share(part) for rank in range(size)]
    assert [place for share in shares for place in range(share.start, share.stop)] == [*range(part.start, part.stop)]
    lengths = [share.stop - share.start for share in shares]
    assert max(lengths) - min(lengths) <= 1


def test_one_process_shares_with_none():
    assert started() == (1, 1)
    with sharing() as ranks:
        assert ranks == here() == ALONE
        assert ranks.in_order(lambda: [(2, "b"), (1, "a")]) == ["a", "b"]
        with pytest.raises(ZeroDivisionError):
            ranks.in_order(lambda: [(0, 1 / 0)])


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("run") / "model.safetensors"
    checkpoint.save(path, PointNet(width=8, blocks=1))
    return path


def run(words: list[Any], processes: int = 2) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TORCHRUN, str(processes), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={name: value for name, value in os.environ.items() if name != "COLUMNS"} | {"OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
@pytest.mark.parametrize("group", ["O3", "boost"])
def test_two_processes_find_what_one_finds(model, tmp_path, group):
    """Of five jets, so that the two have different shares."""
    words = ["probe", model, "--group", group, "--l_max", "2", "--limit", "5"]
    assert main([*map(str, words), "--out", str(tmp_path / "one.json")]) == 0
    done = run(["-m", "jetsym.cli", *words, "--out", tmp_path / "two.json"])
    assert done.returncode == 0, done.stderr
    one, two = (read_report(tmp_path / f"{name}.json") for name in ("one", "two"))
    assert (one.meta["ranks"], two.meta["ranks"]) == (1, 2)
    assert one.layers == two.layers
    for name in ("fractions", "stderr") if group == "O3" else ("energies", "energies_stderr"):
        np.testing.assert_allclose(getattr(two, name), getattr(one, name), rtol=1e-4, atol=1e-7)
    for name, item in one.equivariance.items():
        assert two.equivariance[name].absolute == pytest.approx(item.absolute, rel=1e-4)
    assert done.stdout.count("logits") == str(two).count("logits")  # printed once
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{name}.{ending}" for name in ("one", "two") for ending in ("json", "html", "png")
    }


@pytest.mark.slow
def test_more_processes_than_inputs_attribute_as_one_does(model, tmp_path):
    words = ["attribute", model, "--l_max", "1", "--limit", "2", "--sources", '["charge"]']
    assert main([*map(str, words), "--out", str(tmp_path / "one.json")]) == 0
    done = run(["-m", "jetsym.cli", *words, "--out", tmp_path / "three.json"], processes=3)
    assert done.returncode == 0, done.stderr
    one, three = (Attribution.load(tmp_path / f"{name}.json") for name in ("one", "three"))
    for name, item in one.equivariance.items():
        assert three.equivariance[name].absolute == pytest.approx(item.absolute, rel=1e-4)


@pytest.mark.slow
def test_an_average_over_a_group_is_shared_and_an_error_in_one_process_ends_all(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        """
import os

import numpy as np
import jetsym
from jetsym.errors import JetsymError
from jetsym.probing.measure.average import orbit_average

def say(line):
    os.write(1, (line + chr(10)).encode())  # at once: the two processes share what they print to

points = np.random.default_rng(0).normal(size=(5, 3))
with jetsym.ranks.sharing() as ranks:
    found = orbit_average(lambda x: x + [0, 0, 1], points, outputs={"force": "vector"}, bandwidth=1)["force"]
    assert np.allclose(found.mean, points), found.mean
    assert jetsym.ranks.here().size == 2

    def fails():
        if ranks.rank == 1:
            raise ValueError("no such point")
        return [(0, "found")]

    try:
        ranks.in_order(fails)
    except (JetsymError, ValueError) as error:
        say(f"{ranks.rank} {type(error).__name__} {error}")
    if ranks.rank == 1:
        raise SystemExit  # before the others expect it
    try:
        ranks.in_order(lambda: [])
    except JetsymError as error:
        say(f"later {error}")
assert jetsym.ranks.here().size == 1
"""
    )
    done = run([program])
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [
        "0 JetsymError process 1 of 2 ended with: no such point",
        "1 ValueError no such point",
        "later a process of the 2 that share has ended; its own error says why",
    ]


@pytest.mark.slow
def test_two_processes_predict_and_evaluate_as_one_does(model, tmp_path):
    """The batches are the same, so that the bits are as well; rows keep their order and their numbers."""
    data = sample_dir() / "test"
    predicted = ["predict", model, data, "--batch_size", "100", "--logits", "--out"]
    evaluated = ["evaluate", model, data, "--limit", "600", "--batch_size", "100", "--out"]
    assert main([*map(str, predicted), str(tmp_path / "one.parquet")]) == 0
    assert main([*map(str, evaluated), str(tmp_path / "one.json")]) == 0
    for words in ([*predicted, tmp_path / "two.parquet"], [*evaluated, tmp_path / "two.json"]):
        done = run(["-m", "jetsym.cli", *words])
        assert done.returncode == 0, done.stderr
    tables = [pyarrow.parquet.read_table(tmp_path / f"{name}.parquet") for name in ("one", "two")]
    assert tables[0].equals(tables[1])
    one, two = (Evaluation.load(tmp_path / f"{name}.json").to_dict() for name in ("one", "two"))
    assert one == two


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("to", ["cache", "parquet"])
def test_two_processes_convert_as_one_does(tmp_path, to):
    words = ["convert", sample_dir() / "test", sample_dir() / "val", "--to", to, "--out"]
    if to == "parquet":
        words.remove(sample_dir() / "val")  # whose files have the same names
    assert main([*map(str, words), str(tmp_path / "one")]) == 0
    for _ in range(2):  # the second finds all there
        done = run(["-m", "jetsym.cli", *words, tmp_path / "two"])
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(str(tmp_path / "two")) == 1
        assert files_in(tmp_path / "two") == files_in(tmp_path / "one")


@pytest.mark.slow
def test_a_conversion_that_fails_in_one_process_ends_all_with_a_line_each_and_goes_on_in_one(tmp_path):
    data = tmp_path / "data"
    shutil.copytree(sample_dir() / "test", data)
    damaged = sorted(data.glob("*.root"))[3]  # the second one's second
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2] + bytes(2000) + whole[len(whole) // 2 + 2000 :])
    words = ["convert", data, "--out", tmp_path / "cache"]
    done = run(["-m", "jetsym.cli", *words])
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if line.startswith("jetsym convert: error: ")]
    assert len(said) == 2
    assert all(damaged.name in line for line in said)
    assert sum("process 1 of 2 ended with" in line for line in said) == 1
    assert done.stderr.count("Traceback") <= 1  # of torchrun itself
    assert {path.name for path in (tmp_path / "cache").iterdir() if path.suffix != ".npy"} == {JOURNAL}
    assert json.loads((tmp_path / "cache" / JOURNAL).read_text())["blocks"] == 2
    damaged.write_bytes(whole)
    assert main([*map(str, words)]) == 0
    assert {*files_in(tmp_path / "cache")} >= {"manifest.json", "values.npy"}


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["the first", "the second", "all"])
def test_a_killed_conversion_goes_on(tmp_path, killed):
    """The sample under many names; one process or all of them are killed with SIGKILL once something is written."""
    data = tmp_path / "data"
    data.mkdir()
    for number in range(40):
        for path in sorted((sample_dir() / "test").glob("*.root"))[:2]:
            shutil.copyfile(path, data / f"{path.stem}_{number}.root")
    words = ["-m", "jetsym.cli", "convert", data, "--out", tmp_path / "cache"]
    command = [*TORCHRUN, "2", *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    journal = tmp_path / "cache" / JOURNAL
    deadline = time.monotonic() + 120
    while not (journal.exists() and json.loads(journal.read_text()).get("blocks", 0) > 3):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    ranks = {rank_of(one): one for one in psutil.Process(process.pid).children(recursive=True)}
    for rank in {"the first": [0], "the second": [1], "all": [0, 1]}[killed]:
        ranks[rank].kill()
    said = process.communicate(timeout=120)[1]
    assert process.returncode != 0, said
    assert not (tmp_path / "cache" / "manifest.json").exists()
    done = run(words, processes=3)
    assert done.returncode == 0, done.stderr
    convert(data, tmp_path / "one", progress=False)
    assert files_in(tmp_path / "cache") == files_in(tmp_path / "one")


def rank_of(process: psutil.Process) -> int | None:
    """The rank that torchrun has given a process; None for a helper of its own."""
    try:
        return int(process.environ()["RANK"])
    except (KeyError, psutil.Error):
        return None
