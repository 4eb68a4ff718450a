"""Work killed with SIGKILL at ten moments leaves nothing, an error or the whole, and the next run mends it."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import uproot

import jetsym
from jetsym.errors import DataError
from jetsym.files import UNFINISHED, is_unfinished
from jetsym.jets import read
from jetsym.jets.io.streaming.appending import JOURNAL
from jetsym.jets.io.streaming.convert import convert, to_parquet
from jetsym.jets.io.streaming.stream import JetStream

MOMENTS = 10
PROGRAM = Path(__file__).with_name("killed_at_moments.py")


@pytest.fixture(scope="module")
def data(tmp_path_factory, make_jets, jetclass_columns, write_tree) -> Path:
    """Three files with 60 jets in all."""
    folder = tmp_path_factory.mktemp("data")
    for number in range(3):
        write_tree(folder / f"QCD_{number}.root", jetclass_columns(make_jets(20, seed=number)))
    return folder


def killed(work: str, folder: Path, data: Path, moments: int = MOMENTS) -> tuple[list[Path], list[Path]]:
    """Folders as kills left them, and as the next runs did, the first of these after a run that was not killed."""
    (folder / "before").mkdir(exist_ok=True)
    command = [sys.executable, str(PROGRAM), work, str(folder), str(data), str(moments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= MOMENTS, "too few moments that differ"
    return (
        [folder / f"{moment}-left" for moment in range(moments)],
        [folder / "whole", *(folder / str(moment) for moment in range(moments))],
    )


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.name.endswith(".lock")}


def jets_in(folder: Path) -> int | None:
    """Number of jets in a folder, None where it cannot be read."""
    try:
        return len(read(folder))
    except DataError:
        return None


@pytest.mark.slow
@pytest.mark.parametrize("work", ["predict-root", "predict-parquet"])
def test_predictions(work, data, tmp_path):
    left, done = killed(work, tmp_path, data)
    file = f"p.{work.partition('-')[2]}"
    for folder in left:
        seen = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
        assert seen <= {file}
    assert any(is_unfinished(path) for folder in left for path in folder.iterdir())
    for folder in done:
        assert names(folder) == {file}
    for folder in done if file.endswith("root") else ():
        with uproot.open(folder / file) as tree:
            assert tree["tree"].num_entries == 60


@pytest.mark.slow
@pytest.mark.parametrize("work", ["cache", "replaced cache"])
def test_caches(work, data, tmp_path, jetclass_columns, make_jets, write_tree):
    others = write_tree(tmp_path / "others.root", jetclass_columns(make_jets(7, seed=9)))
    if "replaced" in work:
        convert(others, tmp_path / "before", progress=False)
    left, done = killed(work, tmp_path, data)
    found = set()
    for folder in left:
        try:
            found.add(JetStream(folder, batch_size=7).n_jets)
        except DataError:
            found.add(None)
    assert None in found
    assert found <= {None, 60, *([7] if "replaced" in work else [])}
    arrays = {path.name: path.read_bytes() for path in done[0].glob("*.npy")}
    for folder in done:
        assert {path.name: path.read_bytes() for path in folder.glob("*.npy")} == arrays
        assert names(folder) == {*arrays, "manifest.json"}
        assert JOURNAL not in names(folder)
        assert JetStream(folder, batch_size=7).n_jets == 60


@pytest.mark.slow
@pytest.mark.parametrize("work", ["parquet", "replaced parquet"])
def test_parquet(work, data, tmp_path, jetclass_columns, make_jets, write_tree):
    pytest.importorskip("pyarrow")
    others = write_tree(tmp_path / "QCD_1.root", jetclass_columns(make_jets(7, seed=9)))
    if "replaced" in work:
        to_parquet(others, tmp_path / "before", progress=False)
    left, done = killed(work, tmp_path, data)
    assert {jets_in(folder) for folder in left} <= {None, 60, *([7] if "replaced" in work else [])}
    assert any(UNFINISHED in names(folder) and "QCD_0.parquet" in names(folder) for folder in left)
    for folder in done:
        assert names(folder) == {f"QCD_{number}.parquet" for number in range(3)}
        assert jets_in(folder) == 60


@pytest.mark.slow
def test_generated_samples(data, tmp_path):
    pytest.importorskip("pythia8mc")
    pytest.importorskip("fastjet")
    left, done = killed("generate", tmp_path, data)
    for part in ("train", "val"):
        assert {jets_in(folder / part) for folder in left} <= {None, 40}
    assert any("train/HToBB_000.root" in names(folder) and jets_in(folder / "train") is None for folder in left)
    for folder in done:
        assert names(folder) == names(done[0])
        assert not any(map(is_unfinished, names(folder)))
        assert [jets_in(folder / part) for part in ("train", "val")] == [40, 40]


@pytest.mark.slow
def test_downloads(data, tmp_path):
    archives = tmp_path / "server"
    archives.mkdir()
    for part, number in enumerate((0, 1)):
        with tarfile.open(archives / f"JetClass_Pythia_train_100M_part{part}.tar", "w") as tar:
            tar.add(data / f"QCD_{number}.root", arcname=f"JetClass/QCD_{number}.root")
            tar.add(data / "QCD_2.root", arcname=f"JetClass/._QCD_{number}.root")  # as macOS packs
    left, done = killed("download", tmp_path, archives)
    assert {jets_in(folder / "train_100M") for folder in left} <= {None, 40}
    for folder in done:
        assert jets_in(folder / "train_100M") == 40
        lists = {f"train_100M/JetClass_Pythia_train_100M_part{part}.files.json" for part in (0, 1)}
        assert names(folder) == {"train_100M", "train_100M/QCD_0.root", "train_100M/QCD_1.root", *lists}


@pytest.mark.slow
def test_comparisons(tmp_path):
    points = np.random.default_rng(0).normal(size=(4, 3))
    reports = tmp_path / "reports"
    for l_max, name in ((1, "a"), (2, "b")):
        jetsym.probe(lambda x: x[:, 0] + 1, points, l_max=l_max, progress=False).save(reports / f"{name}.json")
    left, done = killed("compare", tmp_path, reports, moments=4)
    for folder in left:
        if (folder / "c.json").exists():
            assert json.loads((folder / "c.json").read_text())["kind"] == "comparison"
    for folder in done:
        assert names(folder) == {"c.json", "c.html", "c.png"}
