"""Places to write to, files that were never finished, and what is no data."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jetsym import files
from jetsym.errors import ConfigError, DataError
from jetsym.files import UNFINISHED, check_out, finished_file, is_unfinished, mark_unfinished, remove_leftovers
from jetsym.jets.io.paths import local_files

DEAD = 2**22 + 1  # above the largest number of a process


def test_a_place_that_can_be_written_to_is_left_as_it_was(tmp_path):
    assert check_out(tmp_path / "new" / "deep" / "r.json") == tmp_path / "new" / "deep" / "r.json"
    (tmp_path / "old.json").write_text("old")
    check_out(tmp_path / "old.json", inputs=[tmp_path / "other.json", None, "https://example.org/a?b"])
    check_out(tmp_path / "new" / "run", folder=True)
    assert [path.name for path in tmp_path.iterdir()] == ["old.json"]
    assert (tmp_path / "old.json").read_text() == "old"


def test_places_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "protected.json").write_text("{}")
    (tmp_path / "protected.json").chmod(0o444)
    (tmp_path / "full.json").symlink_to("/dev/full")
    os.mkfifo(tmp_path / "pipe.json")
    cases = {
        tmp_path / "folder": "which is a folder; expected the name of a file",
        tmp_path / "file" / "r.json": "'.*file' is a file; expected a folder",
        tmp_path / "file" / "deep" / "r.json": "'.*file' is a file; expected a folder",
        tmp_path / "protected.json": "write-protected",
        tmp_path / "full.json": "which is a device",
        tmp_path / "pipe.json": "which is a device",
        tmp_path / f"{'a' * 240}.json": "nothing can be written",
        Path("/sys/r.json"): "nothing can be written",
        Path("/proc/nowhere/r.json"): "nothing can be written",
    }
    for path, message in cases.items():
        with pytest.raises(ConfigError, match=message):
            check_out(path)
    with pytest.raises(ConfigError, match="which is a file; expected a folder"):
        check_out(tmp_path / "file", folder=True)
    with pytest.raises(ConfigError, match="is a file; expected a folder"):
        check_out(tmp_path / "file" / "run", folder=True)


def test_a_full_disk_and_a_folder_of_others_are_found_out(tmp_path):
    """As another user and with no room: writing fails, where asking for rights would not tell."""
    code = (
        "import os, resource, sys\n"
        "from jetsym.errors import ConfigError\n"
        "from jetsym.files import check_out\n"
        "for change in (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)), lambda: os.setuid(65534)):\n"
        "    if not os.fork():\n"
        "        if os.getuid() == 0 or change.__code__.co_names[0] == 'resource':\n"
        "            change()\n"
        "        try:\n"
        "            check_out(sys.argv[1])\n"
        "        except ConfigError as error:\n"
        "            print(error, flush=True)\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
    )
    tmp_path.chmod(0o500)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "r.json")], capture_output=True, text=True)
    tmp_path.chmod(0o700)
    too_large, *denied = done.stdout.splitlines()
    assert "File too large" in too_large or os.getuid()
    assert all("Permission denied" in line for line in denied)
    assert len(denied) == 1
    assert list(tmp_path.iterdir()) == []


def test_inputs_under_other_names(tmp_path, monkeypatch):
    report = tmp_path / "r.json"
    report.write_text("{}")
    (tmp_path / "link.json").symlink_to("r.json")
    (tmp_path / "hard.json").hardlink_to(report)
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    for out in ("r.json", "./r.json", "sub/../r.json", "link.json", "hard.json", report):
        for given in (report, str(report), [None, ["*.json"]], "link.json"):
            with pytest.raises(ConfigError, match="one of the files to read, which would be lost"):
                check_out(out, inputs=given)
    check_out("new.json", inputs="*.json")
    check_out("hard.json", inputs="sub")


def test_folders_that_are_or_hold_an_input(tmp_path, monkeypatch):
    jets = tmp_path / "data" / "train" / "a.root"
    jets.parent.mkdir(parents=True)
    jets.write_text("")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link.root").symlink_to(jets)
    (tmp_path / "data-link").symlink_to("data", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    for out in ("data/train", "data", ".", "data-link", "data/../data", tmp_path / "data/train"):
        for given in (jets, "data/train", ["data/train/*.root"], "elsewhere/link.root"):
            with pytest.raises(ConfigError, match="which is to be read; choose another folder"):
                check_out(out, inputs=given, folder=True)
    with pytest.raises(ConfigError, match="which is to be read"):
        check_out("elsewhere", inputs="elsewhere/link.root", folder=True)
    check_out("elsewhere", inputs=[jets, "data"], folder=True)
    check_out("data/train/cache", inputs="data/train", folder=True)


def leave(folder: Path, name: str, *, age: float = 0.0) -> Path:
    path = folder / name
    path.write_text("half")
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def test_leftovers_of_dead_processes_go_and_those_of_others_stay(tmp_path):
    host, alive = files._HOST, os.getppid()
    gone = [
        leave(tmp_path, f".a.{DEAD}.part.root"),
        leave(tmp_path, f".a.b [1].{host}-{DEAD}.part.root"),
        leave(tmp_path, f".a.{host}-{os.getpid()}.part.json"),  # of an earlier process of this number
        leave(tmp_path, f".a.{host}-{alive}.part.root", age=1e8),  # older than the process that has the number now
        leave(tmp_path, f".a.node-7-{alive}.part.root", age=2e5),
        leave(tmp_path, f".a.{DEAD}.part"),
    ]
    kept = [
        leave(tmp_path, f".a.{host}-{alive}.part.root"),
        leave(tmp_path, f".a.node-7-{DEAD}.part.root", age=3e4),
        leave(tmp_path, ".a.part.root"),
        leave(tmp_path, "a.4711.part.root"),
        leave(tmp_path, "._a.root"),
        leave(tmp_path, ".a.root.swp"),
    ]
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(kept)
    assert all(map(is_unfinished, gone))


@pytest.mark.filterwarnings("ignore:os.fork")  # of jax, where other tests have loaded it
def test_a_zombie_has_ended(tmp_path):
    process = os.fork()
    if not process:
        os._exit(0)
    os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
    left = leave(tmp_path, f".a.{files._HOST}-{process}.part.root")
    remove_leftovers(tmp_path)
    assert not left.exists()
    os.waitpid(process, 0)


def test_writing_a_file_removes_what_is_left_of_it_alone(tmp_path):
    leave(tmp_path, f".jets[1].{DEAD}.part.root")
    other = leave(tmp_path, f".jets1.{DEAD}.part.root")
    with finished_file(tmp_path / "jets[1].root") as first:
        first.write_text("1")
        remove_leftovers(tmp_path / "jets[1].root")
        check_out(tmp_path / "jets.root")
        assert first.exists()  # this process is writing it
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, "jets[1].root"]


def test_nothing_takes_the_place_of_a_device(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileExistsError, match="a device cannot be replaced"), finished_file(tmp_path / "pipe"):
        pass


HIDDEN = (".TTBar_000.4711.part.root", "._a.root", ".nfs0004.root", ".a.root", f".a.node-1-{DEAD}.part.root")


def test_hidden_and_partial_files_are_no_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.root", "sub/b.root", *HIDDEN, "a.root~", "sub/.b.root", ".hidden/c.root", "sub/.old/d.root"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    both = [Path("a.root"), Path("sub/b.root")]
    assert local_files(".") == both
    assert local_files("**/*.root") == both
    assert local_files(tmp_path / "**/*.root") == [tmp_path / path for path in both]
    assert local_files("*.root") == local_files("*root*") == local_files("?*.root") == both[:1]
    assert local_files(["sub", "a*"]) == both[::-1]
    assert local_files(".hidden/*.root") == local_files(".hidden") == [Path(".hidden/c.root")]
    for pattern in (".*.root", "._*", "*.root~", "sub/.*"):
        with pytest.raises(DataError, match="those that do are hidden or unfinished"):
            local_files(pattern)
    with pytest.raises(DataError, match="macOS notes on 'a.root'"):
        local_files("._a.root")
    for name in (HIDDEN[0], HIDDEN[4]):
        with pytest.raises(DataError, match="was being written and is not whole"):
            local_files([name, "a.root"])
    assert local_files(".a.root") == [Path(".a.root")]


@pytest.mark.parametrize("ending", ["root", "parquet", "h5", "npz"])
def test_every_format_leaves_hidden_files_out(ending, tmp_path):
    for name in (f"._a.{ending}", f".a.{DEAD}.part.{ending}"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match="no \\*.root files in this directory or below, nor others"):
        local_files(tmp_path)
    (tmp_path / f"a.{ending}").touch()
    assert local_files(tmp_path) == [tmp_path / f"a.{ending}"]


def test_a_folder_that_is_not_finished_is_not_read(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.root").touch()
    mark_unfinished(tmp_path / "train", command="jetsym generate")
    for paths in (tmp_path / "train", tmp_path, f"{tmp_path}/train/*.root", f"{tmp_path}/*", f"{tmp_path}/**/*.root"):
        with pytest.raises(DataError, match=f"train is not finished, as {UNFINISHED} in it says"):
            local_files(paths)
    assert local_files(tmp_path / "train" / "a.root") == [tmp_path / "train" / "a.root"]


def test_structures_in_unfinished_files(tmp_path):
    pytest.importorskip("ase")
    from jetsym.atoms.read import read_frames

    for name in ("._water.xyz", f".water.{DEAD}.part.xyz"):
        (tmp_path / name).write_text("1\n\nH 0 0 0\n")
        with pytest.raises(DataError, match="macOS notes|is not whole"):
            read_frames(tmp_path / name)
