"""The driver: files, manifest, resuming, overwriting, errors. Most of it with a stand-in for the simulation."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from random_chunk import random_chunk

from jetsym.errors import ConfigError, DataError, JetsymError, MissingDependencyError
from jetsym.files import UNFINISHED
from jetsym.jets.generate import DetectorConfig, generate, run
from jetsym.jets.generate.chunk import ChunkTask, JetTable
from jetsym.jets.schema import CLASSES

pytest.importorskip("pythia8mc", reason="its version stands in every manifest")

SPLIT = {"train": 0.7, "val": 0.1, "test": 0.2}


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> list[ChunkTask]:
    """Replaces the simulation; the tasks that were asked for."""
    tasks: list[ChunkTask] = []

    def record(task: ChunkTask) -> JetTable:
        tasks.append(task)
        return random_chunk(task)

    monkeypatch.setattr(run, "generate_chunk", record)
    monkeypatch.setattr(run, "_require_packages", lambda: None)
    return tasks


def make(out: Path, **options: Any) -> Path:
    return generate(
        out, **{"jets_per_class": 20, "processes": 1, "progress": False, "classes": ["QCD", "Hbb"], **options}
    )


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.*")
    }


def read(path: Path) -> ak.Array:
    with uproot.open(path) as file:
        return file["tree"].arrays()


def test_files_are_named_as_in_jetclass(tmp_path: Path, simulated: list[ChunkTask]) -> None:
    make(tmp_path, classes=CLASSES)
    stems = {"HToBB", "HToCC", "HToGG", "HToWW2Q1L", "HToWW4Q", "TTBar", "TTBarLep", "WToQQ", "ZToQQ", "ZJetsToNuNu"}
    assert set(contents(tmp_path)) == {f"{stem}_000.root" for stem in stems} | {"manifest.json"}
    assert np.all(read(tmp_path / "HToWW2Q1L_000.root").label_Hqql)


def test_splits_files_and_chunks_add_up(tmp_path: Path, simulated: list[ChunkTask]) -> None:
    manifest = make(tmp_path, jets_per_class=1505, jets_per_file=600, split=SPLIT, classes=["Wqq"])
    files = json.loads(manifest.read_text())["files"]
    assert {name: entry["jets"] for name, entry in files.items()} == {
        "train/WToQQ_000.root": 600,
        "train/WToQQ_001.root": 454,
        "val/WToQQ_000.root": 150,
        "test/WToQQ_000.root": 301,
    }
    assert [task.n_jets for task in simulated] == [500, 100, 454, 150, 301]
    assert len({task.key for task in simulated}) == len(simulated)
    for name, entry in files.items():
        assert entry["sha256"] == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        assert entry["bytes"] == (tmp_path / name).stat().st_size
        assert len(read(tmp_path / name)) == entry["jets"]


def test_a_file_does_not_depend_on_the_others(tmp_path: Path, simulated: list[ChunkTask]) -> None:
    make(tmp_path / "one", classes=["Hbb"])
    make(tmp_path / "all", classes=CLASSES)
    assert ak.array_equal(read(tmp_path / "one/HToBB_000.root"), read(tmp_path / "all/HToBB_000.root"))


def test_the_manifest_says_how_the_jets_were_made(tmp_path: Path, simulated: list[ChunkTask]) -> None:
    detector = DetectorConfig(track_efficiency=0.5)
    settings = json.loads(make(tmp_path, seed=5, detector=detector).read_text())["settings"]
    assert settings["seed"] == 5
    assert settings["classes"] == ["QCD", "Hbb"]
    assert settings["detector"]["track_efficiency"] == 0.5
    assert settings["selection"] == {
        "radius": 0.8,
        "pt_min": 500.0,
        "pt_max": 1000.0,
        "eta_max": 2.0,
        "soft_drop_z_cut": 0.1,
        "soft_drop_beta": 0.0,
    }
    assert "25:onIfMatch = 5 -5" in settings["pythia"]["Hbb"]
    assert set(settings["versions"]) == {"jetsym", "pythia8mc", "fastjet"}


def test_finished_files_are_kept_and_damaged_ones_made_again(tmp_path: Path, simulated: list[ChunkTask]) -> None:
    make(tmp_path, split=SPLIT)
    before = contents(tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.root")}
    simulated.clear()
    make(tmp_path, split=SPLIT)
    assert simulated == []
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    (tmp_path / "val/HToBB_000.root").unlink()
    (tmp_path / "test/HToBB_000.root").write_bytes(b"torn")
    make(tmp_path, split=SPLIT)
    assert [(task.label, task.key[1]) for task in simulated] == [("Hbb", 1), ("Hbb", 2)]
    assert set(contents(tmp_path)) == set(before)
    assert len(read(tmp_path / "test/HToBB_000.root")) == 4


def test_other_settings_need_overwrite(tmp_path: Path, simulated: list[ChunkTask]) -> None:
    make(tmp_path, classes=["QCD", "Hbb"])
    with pytest.raises(ConfigError, match=r"seed: there 0, asked 1.*overwrite=True"):
        make(tmp_path, seed=1)
    with pytest.raises(ConfigError, match=r"detector\.ecal_noise: there 0\.2, asked 0\.3"):
        make(tmp_path, detector=DetectorConfig(ecal_noise=0.3))
    make(tmp_path, classes=["Hbb"], seed=1, overwrite=True)
    assert set(contents(tmp_path)) == {"HToBB_000.root", "manifest.json"}


def test_files_of_others_are_not_touched(tmp_path: Path, simulated: list[ChunkTask]) -> None:
    (tmp_path / "HToBB_000.root").write_text("mine")
    (tmp_path / "notes.txt").write_text("mine too")
    with pytest.raises(DataError, match=r"HToBB_000\.root is there already, but no manifest\.json"):
        make(tmp_path)
    assert (tmp_path / "HToBB_000.root").read_text() == "mine"
    make(tmp_path, overwrite=True)
    make(tmp_path, overwrite=True, seed=1)
    assert (tmp_path / "notes.txt").read_text() == "mine too"


def test_overwriting_deletes_nothing_outside_the_folder(tmp_path: Path, simulated: list[ChunkTask]) -> None:
    manifest = make(tmp_path / "sample")
    (tmp_path / "precious.root").write_text("mine")
    content = json.loads(manifest.read_text())
    content["files"]["../precious.root"] = content["files"]["HToBB_000.root"]
    manifest.write_text(json.dumps(content))
    make(tmp_path / "sample", overwrite=True)
    assert (tmp_path / "precious.root").exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"files": {}}', '{"files": 1, "settings": []}'])
def test_a_foreign_manifest_is_an_error(tmp_path: Path, simulated: list[ChunkTask], content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(DataError, match=r"not a manifest of jetsym generate"):
        make(tmp_path)


@pytest.mark.parametrize("error", [RuntimeError("no luck"), KeyboardInterrupt()])
def test_a_failure_leaves_finished_files_and_no_half_ones(
    tmp_path: Path, simulated: list[ChunkTask], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail_late(task: ChunkTask) -> JetTable:
        if task.label == "Hbb" and task.key[-1] == 1:
            raise error
        return random_chunk(task)

    monkeypatch.setattr(run, "generate_chunk", fail_late)
    expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else JetsymError
    with pytest.raises(expected) as caught:
        make(tmp_path, jets_per_class=700)
    if expected is JetsymError:
        assert "generating Hbb, seed 0, chunk (1, 0, 0, 1) failed: no luck" in str(caught.value)
        assert "the same command continues" in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"ZJetsToNuNu_000.root", "manifest.json", UNFINISHED}
    monkeypatch.setattr(run, "generate_chunk", random_chunk)
    make(tmp_path, jets_per_class=700)
    assert len(read(tmp_path / "HToBB_000.root")) == 700


def test_what_a_killed_run_left_half_written_is_removed(tmp_path: Path, simulated: list[ChunkTask]) -> None:
    (tmp_path / ".HToBB_000.123.part.root").write_text("half")
    make(tmp_path)
    assert set(contents(tmp_path)) == {"ZJetsToNuNu_000.root", "HToBB_000.root", "manifest.json"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ["Hbbb"]}, "class 'Hbbb' is not one of JetClass's; the nearest are 'Hbb'"),
        ({"classes": []}, "expected one or more of QCD, Hbb"),
        ({"classes": "QCD"}, "classes='QCD' is not a list"),
        ({"classes": ["QCD", "QCD"]}, "names a class twice"),
        ({"jets_per_class": 0}, "jets_per_class is 0; expected an integer ≥ 1"),
        ({"jets_per_file": 0}, "jets_per_file is 0"),
        ({"processes": 0}, "processes is 0"),
        ({"seed": -1}, "seed is -1; expected an integer ≥ 0"),
        ({"split": {"train": 0.7, "val": 0.1}}, "add up to 0.8; expected 1"),
        ({"split": {"a/b": 1.0}}, "split 'a/b' is not a plain folder name"),
        ({"split": {"train": 1.5, "val": -0.5}}, "split 'train' has the fraction 1.5"),
        ({"split": {"train": 0.99, "val": 0.01}}, "split 'val' gets none of 20 jets per class"),
    ],
)
def test_arguments_that_cannot_work(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(tmp_path / "new", **options)
    assert message in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_the_output_must_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file; expected a folder"):
        make(tmp_path / "file")


@pytest.mark.parametrize("package", ["pythia8mc", "fastjet"])
def test_a_missing_package_names_the_pip_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setattr(run, "find_spec", lambda name: None if name == package else object())
    with pytest.raises(MissingDependencyError, match=rf"jetsym generate needs.*'{package}'.*'jetsym\[generate\]'"):
        make(tmp_path)


def test_importing_needs_neither_pythia_nor_fastjet_nor_torch() -> None:
    code = (
        "import sys; sys.modules.update(pythia8mc=None, fastjet=None)\n"
        "import jetsym.jets.generate\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_parameter_is_documented() -> None:
    text = inspect.getdoc(generate) or ""
    for name in inspect.signature(generate).parameters:
        assert f"\n{name}\n    " in text
    text = inspect.getdoc(DetectorConfig) or ""
    for name in inspect.signature(DetectorConfig).parameters:
        assert name in text


def test_one_and_two_processes_write_the_same_jets(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pythia8mc")
    pytest.importorskip("fastjet")
    options = {"jets_per_class": 10, "classes": ["QCD", "Tbl"], "seed": 9}
    make(tmp_path / "one", **options)
    make(tmp_path / "two", processes=2, **options)
    for name in ("ZJetsToNuNu_000.root", "TTBarLep_000.root"):
        first, second = read(tmp_path / "one" / name), read(tmp_path / "two" / name)
        assert len(first) == 10
        assert ak.array_equal(first, second, dtype_exact=True)
    out, err = capfd.readouterr()  # neither Pythia nor FastJet prints its banner
    assert (out, err) == ("", "")


@pytest.mark.slow
def test_a_killed_worker_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pythia8mc")
    pytest.importorskip("fastjet")
    monkeypatch.setattr(run, "_prepare_worker", sys.exit)  # every worker ends as it starts
    with pytest.raises(JetsymError, match=r"ended abruptly.*finished files are kept"):
        make(tmp_path, processes=2)
    assert not list(tmp_path.rglob("*.root"))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds child processes through /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_parent_leaves_no_workers(tmp_path: Path, number: signal.Signals) -> None:
    pytest.importorskip("pythia8mc")
    pytest.importorskip("fastjet")
    (tmp_path / "script.py").write_text(
        "import signal\n"
        "from jetsym.jets.generate import generate\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it\n"
        "    generate('out', jets_per_class=100000, processes=2, progress=False)\n"
    )
    with subprocess.Popen([sys.executable, "script.py"], cwd=tmp_path, stderr=subprocess.PIPE, text=True) as parent:
        try:
            children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
            _wait_for(lambda: len(children.read_text().split()) == 3)  # multiprocessing has one of its own besides
            workers = [Path("/proc", pid) for pid in children.read_text().split()]
            time.sleep(3)  # let them start to work
            parent.send_signal(number)
            _, error = parent.communicate(timeout=60)
        finally:
            parent.kill()
    _wait_for(lambda: not any(worker.exists() for worker in workers))
    assert number == signal.SIGKILL or error.rstrip().endswith("KeyboardInterrupt")
    if number == signal.SIGINT:
        left = sorted(path.name for path in tmp_path.rglob("*.*") if path.is_file())
        assert left == ["manifest.json", "script.py", "unfinished.txt"]  # which says that not all is there


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds child processes through /proc")
@pytest.mark.parametrize("seconds", [0.0, 0.5, 3.0])
def test_ctrl_c_gives_one_line(tmp_path: Path, seconds: float) -> None:
    """It reaches all processes of a terminal, also those that are just beginning."""
    pytest.importorskip("pythia8mc")
    pytest.importorskip("fastjet")
    words = ["generate", str(tmp_path / "out"), "--jets_per_class", "100000", "--processes", "2", "--progress", "false"]
    with subprocess.Popen(
        [sys.executable, "-c", f"import sys; from jetsym.cli import main; sys.exit(main({words}))"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as parent:
        try:
            children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
            _wait_for(lambda: len(children.read_text().split()) >= 2)
            time.sleep(seconds)
            os.killpg(parent.pid, signal.SIGINT)
            _, error = parent.communicate(timeout=60)
        finally:
            parent.kill()
    assert error == "jetsym generate: error: interrupted\n"
    assert parent.returncode == 130


def _wait_for(condition: Callable[[], bool], *, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.1)
