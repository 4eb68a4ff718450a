"""One writer a folder: among processes of this machine, of machines that are simulated, and of what was killed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jetsym import locks
from jetsym.cli import main
from jetsym.errors import ConfigError, LockedError
from jetsym.files import write_atomically
from jetsym.jets import checkpoint
from jetsym.jets.io import JetStream
from jetsym.jets.io.download.fetch import fetch
from jetsym.jets.io.download.jetclass import download_jetclass
from jetsym.jets.io.streaming.convert import convert
from jetsym.locks import locked
from jetsym.testing.jets import random_jets

LOCK = f".{locks.NAME}.lock"

#: Calls a machine by a name, if it is given one, and lets locks of other machines be looked at more often.
AS_HOST = """
import socket, sys
host = sys.argv.pop(1)
if host:
    socket.gethostname = lambda: host
from jetsym import locks
locks.BEAT, locks.LOOKS, locks.LOOK = 0.2, 15, 0.1
"""
#: Holds the lock of a folder until its input ends; waits for a file to appear first, if one is named.
WRITER = (
    AS_HOST
    + """
import time
from pathlib import Path
from jetsym.errors import JetsymError
folder, *go = map(Path, sys.argv[1:])
while go and not go[0].exists():
    time.sleep(0.001)
try:
    with locks.locked(folder, "a test"):
        (folder / "result").write_text("whole")
        print("holds", flush=True)
        sys.stdin.read()
except JetsymError as error:
    print(error, file=sys.stderr)
    sys.exit(error.status)
"""
)
CLI = AS_HOST + "import torch; torch.set_num_threads(1); from jetsym.cli import main; sys.exit(main(sys.argv[1:]))"
#: Whoever gets a lock holds it until a file appears, before any work is done.
HELD_CLI = CLI.replace(
    "import torch",
    """
import contextlib, time
from pathlib import Path
go, lock, locks.LOOKS = Path(sys.argv.pop(1)), locks.locked, 1000
@contextlib.contextmanager
def held(*arguments, **options):
    with lock(*arguments, **options):
        while not go.exists():
            time.sleep(0.01)
        yield
locks.locked = held
import torch""",
    1,
)


@contextlib.contextmanager
def started(code: str, *words: Any, host: str = "") -> Iterator[subprocess.Popen[str]]:
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([sys.executable, "-c", code, host, *map(str, words)], text=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def writer(folder: Path, *, host: str = "") -> Iterator[subprocess.Popen[str]]:
    """A process that holds a folder's lock by now."""
    with started(WRITER, folder, host=host) as process:
        assert process.stdout.readline() == "holds\n"
        yield process


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def contents(folder: Path) -> dict[str, Any]:
    """Path -> time and checksum, of all there is in a folder; locks are touched by their holders."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mtime_ns if path.suffix != ".lock" else None,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None,
        )
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"BEAT": 0.2, "LOOKS": 15, "LOOK": 0.1}.items():
        monkeypatch.setattr(locks, name, value)


@pytest.mark.parametrize("hosts", [("", ""), ("node1", "node2")], ids=["one machine", "two machines"])
def test_of_ten_pairs_of_processes_one_each_goes_on(tmp_path: Path, hosts: tuple[str, str]) -> None:
    go = tmp_path / "go"
    with contextlib.ExitStack() as stack:
        pairs = {
            tmp_path / f"run{number}": [
                stack.enter_context(started(WRITER, tmp_path / f"run{number}", go, host=host)) for host in hosts
            ]
            for number in range(10)
        }
        time.sleep(1)
        go.touch()
        for folder, pair in pairs.items():
            while all(process.poll() is None for process in pair):
                time.sleep(0.01)
            (refused,) = (process for process in pair if process.poll() is not None)
            (held,) = (process for process in pair if process is not refused)
            assert held.stdout.readline() == "holds\n"
            out, said = refused.communicate()
            assert (refused.returncode, out) == (1, "")
            host = hosts[pair.index(held)] or os.uname().nodename
            assert re.fullmatch(
                rf"{folder} is being written by a test \(process {held.pid} on {host}\) since "
                r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC; wait until it has ended, or write elsewhere\n",
                said,
            )
            held.stdin.close()
            assert held.wait() == 0
            assert [path.name for path in folder.iterdir()] == ["result"]


def test_a_killed_holder_is_followed_at_once(tmp_path: Path) -> None:
    with writer(tmp_path) as process:
        with pytest.raises(LockedError, match=f"process {process.pid} on"), locked(tmp_path, "another"):
            pass
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it is dead, and its parent does not know yet
        begin = time.monotonic()
        with locked(tmp_path, "another"):
            assert time.monotonic() - begin < 0.5
            assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
        process.wait()
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_a_number_that_another_process_has_by_now(tmp_path: Path) -> None:
    this = locks._this_process("an earlier run")
    (tmp_path / LOCK).write_text(json.dumps(asdict(this)))
    with pytest.raises(LockedError, match="an earlier run"), locked(tmp_path, "another"):
        pass
    (tmp_path / LOCK).write_text(json.dumps(asdict(replace(this, started=this.started - 1000))))
    with locked(tmp_path, "another"):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("state", ["ended", "gone", "unreadable", "torn", "elsewhere", "a step left behind"])
def test_of_many_that_take_over_a_lock_one_goes_on(
    tmp_path: Path, often: None, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    def write_slowly(path: Path, text: str) -> Path:
        time.sleep(0.01)
        return write_atomically(path, text)

    monkeypatch.setattr(locks, "write_atomically", write_slowly)
    ended = replace(locks._this_process("an earlier run"), started=-1000.0, token="1" * 32)
    path = tmp_path / LOCK
    rounds = {"unreadable": 2, "torn": 2, "elsewhere": 2}.get(state, 20)
    for _ in range(rounds):
        if state == "unreadable":
            path.touch()
        elif state != "gone":
            holder = replace(ended, machine="another") if state == "elsewhere" else ended
            text = json.dumps(asdict(holder))
            path.write_text(text[:-10] if state == "torn" else text)
        if state == "a step left behind":  # by one that was killed as it took over
            path.with_name(f"{path.name}.{ended.token}").write_text(json.dumps(asdict(replace(ended, token="2" * 32))))
        mine = [locks._this_process(f"thread {number}") for number in range(16)]
        found: list[Any] = [None] * 16
        ready = threading.Barrier(16)

        def take(number: int, mine: Any = mine, found: Any = found, ready: Any = ready) -> None:
            ready.wait()
            found[number] = locks._take(path, mine[number])

        threads = [threading.Thread(target=take, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (winner,) = (number for number in range(16) if found[number] is None)
        assert {other.token for other in found if other is not None} == {mine[winner].token}
        locks._release(path, mine[winner])
        assert not list(tmp_path.iterdir())


def test_of_many_processes_that_take_over_a_lock_one_goes_on(tmp_path: Path) -> None:
    folder, go = tmp_path / "run", tmp_path / "go"
    with writer(folder) as process:
        kill(process)
    with contextlib.ExitStack() as stack:
        others = [stack.enter_context(started(WRITER, folder, go)) for _ in range(8)]
        time.sleep(1)
        go.touch()
        while sum(process.poll() is None for process in others) > 1:
            time.sleep(0.01)
        (held,) = (process for process in others if process.poll() is None)
        assert held.stdout.readline() == "holds\n"
        for process in others:
            if process is not held:
                out, said = process.communicate()
                assert (process.returncode, out) == (1, "")
                assert f"process {held.pid} on" in said
        assert sorted(path.name for path in folder.iterdir()) == [LOCK, "result"]


def test_a_lock_of_another_machine_is_respected_as_long_as_it_beats(tmp_path: Path, often: None) -> None:
    with writer(tmp_path, host="node7") as process:
        before = contents(tmp_path)["result"]
        for _ in range(2):
            with pytest.raises(LockedError, match=f"process {process.pid} on node7"), locked(tmp_path, "another"):
                pass
        assert contents(tmp_path)["result"] == before
        kill(process)
    begin = time.monotonic()
    with locked(tmp_path, "another"):
        assert time.monotonic() - begin > 0.9 * locks.LOOKS * locks.LOOK
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_clocks_do_not_matter(tmp_path: Path, often: None) -> None:
    """The file server's clock is a day behind or ahead: what counts is that the lock is touched at all."""
    this = replace(locks._this_process("a run elsewhere"), machine="another")
    for offset in (-86400, 86400):
        (tmp_path / LOCK).write_text(json.dumps(asdict(this)))
        ended = threading.Event()

        def beat(offset: int = offset, ended: threading.Event = ended) -> None:
            while not ended.wait(0.3):
                os.utime(tmp_path / LOCK, (time.time() + offset,) * 2)

        thread = threading.Thread(target=beat)
        thread.start()
        try:
            with pytest.raises(LockedError, match="a run elsewhere"), locked(tmp_path, "another"):
                pass
        finally:
            ended.set()
            thread.join()


def test_sigterm_and_errors_remove_the_lock(tmp_path: Path) -> None:
    with writer(tmp_path) as process:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate()
        assert process.returncode == 143
        assert said.startswith("the process was asked to end (SIGTERM) while a test wrote to")
        assert said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["result"]
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "new" / "folder", "a test"):
        _ = 1 / (not (tmp_path / "new" / "folder" / LOCK).is_file())
    assert not (tmp_path / "new").exists()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
@pytest.mark.filterwarnings("ignore:os.fork")  # of jax, where other tests have loaded it
def test_a_fork_is_not_the_holder(tmp_path: Path) -> None:
    with locked(tmp_path, "a test"):
        child = os.fork()
        if not child:
            with contextlib.suppress(BaseException):
                locks._release(tmp_path / LOCK, replace(locks._this_process(""), pid=os.getppid()))
            os._exit(0)
        os.waitpid(child, 0)
        assert (tmp_path / LOCK).is_file()


def test_a_holder_that_has_lost_its_lock_ends(tmp_path: Path, often: None) -> None:
    def wait_for_long() -> None:
        (tmp_path / LOCK).unlink()
        time.sleep(120)

    with pytest.raises(LockedError, match="no longer this process's to write to"), locked(tmp_path, "a test"):
        wait_for_long()
    with pytest.raises(KeyboardInterrupt), locked(tmp_path, "a test"):  # Ctrl-C is still Ctrl-C
        raise KeyboardInterrupt


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is a file; expected a folder"), locked(tmp_path / "file", "a test"):
        pass


@pytest.fixture(scope="module")
def run(write_tree: Any, jetclass_columns: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds all that jetsym writes: a run, a cache, and more."""
    from jetsym.training.loop import train

    folder = tmp_path_factory.mktemp("written")
    data = str(write_tree(folder / "data.root", jetclass_columns(random_jets(60, 0))))
    train(data, folder / "run", epochs=1, options={"width": 8, "blocks": 1, "heads": 1}, device="cpu", progress=False)
    convert(data, folder / "cache", progress=False)
    return folder


TRAIN = ["train", "--data", "{0}/data.root", "--out", "{0}/run", "--device", "cpu", "--options.width", "8"]
#: Command lines that write, and what they are refused.
WRITING: dict[str, tuple[Sequence[str], str, str]] = {
    "train": (TRAIN, "run", locks.NAME),
    "train --resume": ([*TRAIN, "--resume"], "run", locks.NAME),
    "train --overwrite": ([*TRAIN, "--overwrite"], "run", locks.NAME),
    "train --find_lr": ([*TRAIN, "--find_lr"], "run", locks.NAME),
    "train --cache": (
        [*TRAIN[:4], "{0}/elsewhere", *TRAIN[5:], "--val", "{0}/data.root", "--stream", "--cache", "{0}/half"],
        "half",
        locks.NAME,
    ),
    "convert": (["convert", "{0}/data.root", "--out", "{0}/cache", "--overwrite"], "cache", locks.NAME),
    "convert --to parquet": (
        ["convert", "{0}/data.root", "--out", "{0}/tables", "--to", "parquet"],
        "tables",
        locks.NAME,
    ),
    "generate": (["generate", "{0}/sample", "--jets_per_class", "2", "--overwrite"], "sample", locks.NAME),
    "demo": (["demo", "--out", "{0}/demo", "--quick"], "demo", locks.NAME),
    "atoms train": (["atoms", "train", "{0}/data.xyz", "--out", "{0}/potential"], "potential", locks.NAME),
    "predict": (["predict", "{0}/run", "{0}/data.root", "--out", "{0}/scores.root"], "", "scores.root"),
    "probe": (["probe", "{0}/run", "--out", "{0}/report.json"], "", "report.json"),
    "evaluate": (["evaluate", "{0}/run", "{0}/data.root", "--out", "{0}/found.json"], "", "found.json"),
    "export": (["export", "{0}/run", "--out", "{0}/net.onnx"], "", "net.onnx"),
    "relax": (["relax", "{0}/cu.xyz", "--model", "emt", "--out", "{0}/relaxed.json"], "", "relaxed.json"),
    "phonons": (["phonons", "{0}/cu.xyz", "--model", "emt", "--out", "{0}/modes.json"], "", "modes.json"),
}


@pytest.mark.parametrize("command", WRITING)
def test_the_second_writer_is_refused_and_has_changed_nothing(
    run: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    words, folder, name = WRITING[command]
    if command == "generate":
        pytest.importorskip("pythia8mc")
        pytest.importorskip("fastjet")
    if command == "atoms train":
        pytest.importorskip("metatrain")
        (run / "data.xyz").write_text(4 * '1\nProperties=species:S:1:pos:R:3 energy=1.0 pbc="F F F"\nCu 0 0 0\n')
    (run / folder).mkdir(exist_ok=True)
    with locked(run / folder, "the first", name=name):
        before = contents(run)
        assert main([word.format(run) for word in words]) == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert f"is being written by the first (process {os.getpid()} on {os.uname().nodename}) since" in said
        assert contents(run) == before


def test_the_second_download_is_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with locked(run, "the first", name="weights.pt"):
        before = contents(run)
        with pytest.raises(LockedError, match=r"weights\.pt is being written by the first"):
            fetch("https://example.org/weights.pt", run / "weights.pt", sha256="0" * 64)
        assert contents(run) == before
    monkeypatch.setattr("jetsym.jets.io.download.jetclass.size_of", lambda url: 0)
    with locked(run, "the first", name="val_5M"):
        before = contents(run)
        with pytest.raises(LockedError, match="val_5M is being written by the first"):
            download_jetclass("val_5M", out=run, progress=False)
        assert contents(run) == before


def test_readers_are_not_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(run / "data.root")
    with locked(run / "run", "a training"), locked(run / "cache", "a conversion"), locked(run, "a generation"):
        assert main(["evaluate", str(run / "run"), data, "--device", "cpu"]) == 0
        assert checkpoint.load(run / "run").classes
        assert len(JetStream(run / "cache", batch_size=10)) == 6
        assert main(["inspect", str(run), "--figure", str(run / "figure.png")]) == 0
    assert "accuracy" in capsys.readouterr().out


def same_weights(one: Path, other: Path) -> bool:
    first, second = (checkpoint.read(folder / checkpoint.LAST)[1] for folder in (one, other))
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


OPTIONS = ["--device", "cpu", "--options.width", "8", "--options.blocks", "1", "--epochs", "2", "--batch_size", "4"]


@pytest.mark.slow
@pytest.mark.parametrize("hosts", [("", ""), ("node1", "node2")], ids=["one machine", "two machines"])
def test_two_trainings_on_one_folder(jetclass_file: Any, tmp_path: Path, hosts: tuple[str, str]) -> None:
    """One goes on, and its result is that of a run by itself; the other ends in one line."""
    words = ["train", "--data", str(jetclass_file(n=80)), *OPTIONS, "--out"]
    assert main([*words, str(tmp_path / "alone")]) == 0
    folder, go = tmp_path / "run", tmp_path / "go"
    with (
        started(HELD_CLI, go, *words, folder, host=hosts[0]) as first,
        started(HELD_CLI, go, *words, folder, host=hosts[1]) as second,
    ):
        while first.poll() is None and second.poll() is None:  # the one that holds the lock waits for the other to end
            time.sleep(0.01)
        go.touch()
        said = {process: process.communicate()[1] for process in (first, second)}
    statuses = {process.returncode: process for process in said}
    assert sorted(statuses) == [0, 1]
    assert said[statuses[1]].count("\n") == 1
    assert f"is being written by jetsym train (process {statuses[0].pid} on" in said[statuses[1]]
    assert same_weights(folder, tmp_path / "alone")
    assert {path.name for path in folder.iterdir()} == {path.name for path in (tmp_path / "alone").iterdir()}


@pytest.mark.slow
def test_a_job_that_is_killed_and_started_again_on_another_machine_goes_on(jetclass_file: Any, tmp_path: Path) -> None:
    words = ["train", "--data", str(jetclass_file(n=80)), *OPTIONS, "--checkpoint_every", "1", "--resume", "--out"]
    assert main([*words, str(tmp_path / "alone")]) == 0
    folder = tmp_path / "run"
    with started(CLI, *words, folder, host="node1") as job:
        while not (folder / checkpoint.LAST).is_file():
            assert job.poll() is None
            time.sleep(0.01)
        kill(job)
    assert json.loads((folder / LOCK).read_text())["host"] == "node1"
    with started(CLI, *words, folder, host="node2") as job:
        _, said = job.communicate()
    assert job.returncode == 0, said
    assert f"{folder} was being written by jetsym train (process" in said.splitlines()[0]
    assert same_weights(folder, tmp_path / "alone")
    assert not (folder / LOCK).exists()


@pytest.mark.slow
def test_all_processes_of_a_run_end_where_the_first_is_refused(jetclass_file: Any, tmp_path: Path) -> None:
    data = str(jetclass_file(n=60))
    words = ["-m", "jetsym.cli", "train", "--data", data, "--out", str(tmp_path / "run"), *OPTIONS]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    with locked(tmp_path / "run", "the first"):
        before = contents(tmp_path / "run")
        done = subprocess.run([*torchrun, *words], capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 1
        said = [line for line in done.stderr.splitlines() if line.startswith("jetsym train: error")]
        assert said
        assert all("is being written by the first" in line for line in said)
        assert contents(tmp_path / "run") == before


@pytest.mark.slow
def test_two_conversions_into_one_folder(jetclass_file: Any, tmp_path: Path) -> None:
    data = str(jetclass_file(n=2000))
    alone = convert(data, tmp_path / "alone", progress=False)
    with contextlib.ExitStack() as stack:
        words = ["convert", data, "--out", tmp_path / "cache"]
        pair = [stack.enter_context(started(CLI, *words)) for _ in range(2)]
        ended = [(process.communicate()[1], process.wait()) for process in pair]
    assert sorted(status for _, status in ended) in ([0, 0], [0, 1])  # the second is refused, or came after the first
    assert all(said.count("\n") == 1 for said, status in ended if status)
    for path in alone.glob("*.npy"):
        assert np.array_equal(np.load(path), np.load(tmp_path / "cache" / path.name))
    assert not (tmp_path / "cache" / LOCK).exists()
