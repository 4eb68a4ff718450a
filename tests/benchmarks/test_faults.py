"""The fault table: that its judges see each kind of fault, and a quick look at all of it."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from jetsym.benchmarks import (
    fault_commands,
    fault_files,
    fault_hostile,
    fault_inputs,
    fault_trials,
    fault_work,
    faults,
)
from jetsym.benchmarks.__main__ import main
from jetsym.benchmarks.fault_trials import Kill, in_process, judged
from jetsym.errors import DataError
from jetsym.locks import locked

pytestmark = pytest.mark.filterwarnings("ignore")  # of forks


def refuse() -> str:
    raise DataError("no jets")


def fail() -> str:
    raise KeyError("fEND")


def test_how_a_task_ends(tmp_path):
    assert judged(in_process(lambda: "jets", tmp_path), "jets", known=True) == "right"
    assert judged(in_process(lambda: "jest", tmp_path), "jets", known=True) == "silent"
    assert judged(in_process(lambda: "jest", tmp_path), "jets", known=False) == "unchecked"
    assert judged(in_process(refuse, tmp_path), "jets", known=True) == "refused"
    assert judged(in_process(fail, tmp_path), "jets", known=True) == "raw"


def test_a_task_that_hangs_or_takes_all_memory_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(fault_trials, "SECONDS", 1)
    ended = in_process(lambda: str(time.sleep(60)), tmp_path)
    assert ended.killed_by == signal.SIGALRM
    assert judged(ended, "jets", known=True) == "raw"
    monkeypatch.setattr(fault_trials, "BYTES", 8 << 30)
    assert judged(in_process(lambda: str(len(bytearray(1 << 40))), tmp_path), "jets", known=True) == "raw"


def test_kills_come_at_a_touch_of_a_file(tmp_path):
    def write() -> str:
        for name in "abc":
            (tmp_path / name).write_text(name)
        return "done"

    assert in_process(write, tmp_path).touches == 3
    for path in tmp_path.iterdir():
        path.unlink()
    ended = in_process(write, tmp_path, kill=Kill(signal.SIGKILL, touch=1))
    assert ended.killed_by == signal.SIGKILL
    assert ended.is_struck
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert "File too large" in in_process(lambda: str((tmp_path / "d").write_bytes(bytes(99))), tmp_path, room=9).error


def test_mutations_are_damages_and_repeat():
    content = np.random.default_rng(0).bytes(500)
    one, two = ([fault_files.mutated(content, np.random.default_rng([7, n])) for n in range(50)] for _ in range(2))
    assert one == two
    assert content not in one
    assert len({len(damaged) for damaged in one}) > 10


def test_a_reader_that_looks_at_no_checksum_is_silent(tmp_path, monkeypatch):
    subject = fault_files.FORMATS["mutated checkpoints"]
    blind = fault_files.Subject(subject.make, lambda path: fault_files._digest(np.frombuffer(path.read_bytes())), True)
    monkeypatch.setitem(fault_files.FORMATS, "blind", blind)
    blind.make(tmp_path / "probe")
    found = Counter(outcome for outcome, _ in fault_files.trials("blind", tmp_path / "t", range(12), 0))
    assert found["silent"] > 2


def test_a_kill_comes_after_some_time(tmp_path):
    ended = in_process(lambda: str(time.sleep(60)), tmp_path, kill=Kill(signal.SIGTERM, seconds=0.1))
    assert ended.killed_by == signal.SIGTERM
    assert ended.is_struck
    assert not in_process(lambda: "done", tmp_path, kill=Kill(signal.SIGTERM, seconds=60.0)).is_struck


def test_signals_are_answered_by_the_task_and_by_nobody_before_it(tmp_path):
    with locked(tmp_path / "table", "table"):  # which answers SIGTERM for its own process, as that of the table does
        for number in (signal.SIGTERM, signal.SIGINT):
            ended = in_process(lambda: str(time.sleep(60)), tmp_path, kill=Kill(number, seconds=0.1))
            assert ended.is_struck
            expected = (number, "") if number == signal.SIGTERM else (0, "KeyboardInterrupt: ")
            assert (ended.killed_by, ended.error.removeprefix(f"ended by signal {number}")) == expected

            def write() -> str:
                with locked(tmp_path / "task", "task"):
                    time.sleep(60)
                return "done"

            if number == signal.SIGTERM:
                ended = in_process(write, tmp_path / "task", kill=Kill(number, touch=1))
                assert ended.error.startswith("TerminatedError")


def test_processes_that_go_on_and_tracebacks_are_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(fault_trials, "PATIENCE", 0.2)

    def begin() -> str:
        code = "import time; print('on', flush=True); time.sleep(60)"
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()  # under its own name by now
        return "done"

    ended = in_process(begin, tmp_path)
    assert ended.said == "done"
    assert len(ended.survivors) == 1
    assert "time.sleep(60)" in ended.survivors[0]

    def show() -> str:
        subprocess.run([sys.executable, "-c", "raise KeyError('fEND')"], check=False)
        return "done"

    ended = in_process(show, tmp_path)
    assert (ended.said, ended.traceback, ended.survivors) == ("done", "KeyError: 'fEND'", ())


def test_ctrl_c_reaches_what_a_process_has_begun(tmp_path):
    code = "import signal, sys; signal.signal(signal.SIGINT, lambda *_: sys.exit(7)); print('on', flush=True); input()"

    def begin() -> str:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            (tmp_path / "ready").touch()
            return str(child.wait())

    assert in_process(begin, tmp_path, kill=Kill(signal.SIGINT, touch=0)).said == "7"


def test_the_table_holds_every_command_that_writes():
    pytest.importorskip("ase")
    held = {fault_commands.writes(work) for work in fault_commands.WORK.values()}
    assert fault_commands.writers() == held
    assert {"train", "evaluate --scores", "atoms check --calculator", "inspect"} <= held
    for name, work in fault_commands.WORK.items():
        assert {*work.needs} <= {*fault_inputs.INPUTS}, name
        assert [*work.needs] == [need for need in fault_inputs.INPUTS if need in work.needs], name
    known = {*fault_commands.WORK, *fault_inputs.INPUTS}
    assert {*fault_commands.ONCE, *fault_commands.PACKAGES} <= known


@pytest.mark.parametrize("slow", [False, True])
def test_every_command_comes_and_each_with_every_signal(slow):
    numbers = faults.PARTS["kills of slow commands" if slow else "kills"][1]
    turns = list(itertools.islice(fault_work._turns(slow=slow), numbers))
    expected = {name for name, work in fault_commands.installed().items() if work.slow == slow}
    assert {name for _, name, _ in turns} == expected
    for name in expected:
        came = [turn for turn, other, _ in turns if other == name]
        assert came == [*range(len(came))]
        assert len(came) >= len(fault_work.SIGNALS) * (2 if slow else 1), "at a touch and at a time"


class Careless(fault_commands.Work):
    """A command that writes in place, in two steps, and cannot go on."""

    def run(self, read_from: Path, out: Path, *, again: bool = False) -> str:
        with (out / "result").open("a") as file:
            file.write("first ")
        with (out / "result").open("a") as file:
            file.write("second")
        return "done"


@pytest.fixture
def careless(monkeypatch):
    work = Careless((), lambda out: (out / "result").read_text())
    monkeypatch.setattr(fault_commands, "WORK", {"careless": work})
    return work


@pytest.mark.parametrize("trials", [fault_work.kills, fault_work.pairs])
def test_a_careless_command_is_found_out(tmp_path, careless, trials):
    found = Counter(outcome for outcome, _ in trials(tmp_path, range(6), 0))
    assert found["silent"] + found["lost"] >= 2


class Raw(fault_commands.Work):
    """A command that says of a full disk what the system says."""

    def run(self, read_from: Path, out: Path, *, again: bool = False) -> str:
        (out / "result").write_bytes(bytes(100_000))
        return "done"


@pytest.mark.parametrize("mounts", [False, True])
def test_full_disks_are_full_and_raw_errors_found_out(tmp_path, monkeypatch, mounts):
    if mounts and not fault_work._may_mount():
        pytest.skip("nothing may be mounted here")
    monkeypatch.setattr(fault_work, "_may_mount", lambda: mounts)
    work = Raw((), lambda out: str(len((out / "result").read_bytes())))
    monkeypatch.setattr(fault_commands, "WORK", {"raw": work})
    found = list(fault_work.full_disks(tmp_path, range(4), 0))
    assert [outcome for outcome, _ in found] == ["raw"] * 4
    wanted = "No space left on device" if mounts else "File too large"
    assert all(wanted in words for _, words in found)
    assert not [*tmp_path.glob("full-*")], "a disk is still mounted"


def test_a_file_that_runs_is_found_out(tmp_path, monkeypatch):
    import pickle

    careless = lambda file: pickle.loads(file.read_bytes())  # noqa: E731, S301
    monkeypatch.setattr(fault_hostile, "LOADERS", {"careless": (careless, "x.pkl")})
    outcome, words = next(fault_hostile.trials(tmp_path, range(1), 0))
    assert outcome == "executed"
    assert words.startswith("pickle, careless")


def test_the_table_goes_on_where_it_was_stopped(tmp_path, monkeypatch, capsys):
    asked = []

    def trials(folder, numbers, seed):
        asked.append(list(numbers))
        yield from (("raw", "KeyError") if number == 3 else ("refused", "DataError") for number in numbers)

    monkeypatch.setattr(faults, "PARTS", {"one": (trials, 7, 2)})
    words = ["faults", "--out", str(tmp_path / "faults.json")]
    assert main([*words, "--quick"]) == 0
    assert main(words) == 3
    assert "1 trials ended as none may; the first: one: raw: KeyError" in capsys.readouterr().err
    assert asked == [[0, 1], [2, 3, 4, 5, 6]]
    kept = faults.Faults.load(tmp_path / "faults.json")
    assert kept.parts["one"] == faults.Part({"refused": 6, "raw": 1}, ("raw: KeyError",))
    assert kept.rows()[0] == ["one", "7", "6", "6", "0", "0", "0", "0", "0", "0", "1"]
    assert faults.Faults.from_dict(json.loads(json.dumps(kept.to_dict()))) == kept
    assert main([*words, "--seed", "1"]) == 1
    assert main(["faults", "--parts", "[two]"]) == 1
    assert "there is 'one'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_quick_look_at_all_of_it(capsys):
    pytest.importorskip("pyarrow")
    pytest.importorskip("ase")
    assert main(["faults", "--quick"]) == 0, capsys.readouterr()
    assert "left behind" in capsys.readouterr().out
