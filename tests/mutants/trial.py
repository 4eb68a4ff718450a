"""Tests that are collected once, and run in forked processes: which lines each runs, and whether they notice a change.

A change within a function is made in the loaded module: the function gets the code of the changed text. Any other needs
a process that loads the module from that text.
"""

from __future__ import annotations

import ast
import gc
import inspect
import json
import os
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from tempfile import TemporaryDirectory
from types import CodeType, FunctionType
from typing import Any

import pytest

__all__ = ["Coverage", "Outcome", "Session", "forked", "imported", "load", "statement", "try_anew"]

#: Nothing is kept between two runs of the tests, and no process shares them. Assertions stay as they are written: what
#: rewrites them would find the changed module before :class:`_Changed` does, and without its change.
OPTIONS = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-header", "--assert=plain", "-s"]
#: A trial may take this processor time, and this many times that of its tests without a change.
SECONDS, TIMES = 5.0, 8.0
#: How much longer a process may live than it may work, on a busy machine.
PATIENCE = 40.0
#: Bytes of address space that it may take.
MEMORY = 16 * 2**30


@dataclass(frozen=True)
class Coverage:
    """What the tests do without a change.

    Parameters
    ----------
    seconds
        Test -> the processor time it takes.
    lines
        File -> line -> the tests that run it.
    failed
        Tests that fail.
    """

    seconds: Mapping[str, float]
    lines: Mapping[str, Mapping[str, Sequence[str]]]
    failed: Sequence[str]

    def runs(self, file: Path, line: int) -> set[str]:
        """Return the tests that run the statement of a line; none where it runs when the file is imported."""
        text, of_file = file.read_text(encoding="utf-8"), self.lines.get(str(file), {})
        if imported(text, line):
            return set()
        return {test for row in statement(text, line) for test in of_file.get(str(row), ())}

    def tests_of(self, file: Path, line: int, *, seconds: float) -> list[str]:
        """Return the tests that run the statement of a line, the fastest first, as many as take so long in all.

        Of what runs when the file is imported, if ever, these are all tests that run anything of it, and those in the
        file that is named after it.
        """
        found = self.runs(file, line)
        if not found:
            named = {test for test in self.seconds if test.partition("::")[0].endswith(f"test_{file.name}")}
            found = named.union(*self.lines.get(str(file), {}).values())
        chosen, total = [], 0.0
        for test in sorted(found, key=lambda test: (self.seconds[test], test)):
            total += self.seconds[test]
            if total <= seconds or not chosen:
                chosen.append(test)
        return chosen


@dataclass(frozen=True)
class Outcome:
    """How a trial ended, "killed", "timeout" or "survived"; the test or error that told, and how many were to run."""

    how: str
    test: str
    tests: int


def forked(work: Callable[[], Any], *, seconds: float, quiet: bool = True) -> tuple[Any, str]:
    """Return what a function returns in a process of its own; else None, and "timeout" or what the process printed.

    Parameters
    ----------
    work
        Returns what JSON can hold.
    seconds
        The processor time that it may take.
    quiet
        Whether what it prints is not shown.
    """
    with TemporaryDirectory() as folder:
        result, printed = Path(folder) / "result.json", Path(folder) / "printed"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of packages with threads; nothing of theirs runs in the new process
            child = os.fork()
        if child == 0:
            _work(work, result, printed if quiet else None, seconds)
        status = _wait(child, time.monotonic() + PATIENCE * seconds)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # whatever it has started
        if status is None:
            os.waitpid(child, 0)
        if status is None or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
            return None, "timeout"
        if result.exists():
            return json.loads(result.read_text(encoding="utf-8")), ""
        said = printed.read_text(encoding="utf-8", errors="replace")[-2000:] if printed.exists() else ""
        return None, said.strip() or "no word"


def _work(work: Callable[[], Any], result: Path, printed: Path | None, seconds: float) -> None:
    status = 1
    try:
        os.setsid()
        limit = int(seconds) + 1  # a new process has used none
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        if printed is not None:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for stream in (1, 2):
                os.dup2(os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
        text = json.dumps(work())
        result.write_text(text, encoding="utf-8")
        status = 0
    except BaseException:  # whatever it is: the parent says so
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def _wait(child: int, until: float) -> int | None:
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(0.01)
    return None


class Session:
    """Collected tests, as a plugin of pytest that runs ``loop`` in the place of pytest's own.

    Parameters
    ----------
    room
        Module whose files are changed, and whose functions forget what they have kept before each test.
    """

    def __init__(self, room: str, loop: Callable[[Session], None]) -> None:
        self.room, self.loop = room, loop
        self.items: dict[str, pytest.Item] = {}
        self.failed: list[str] = []
        self.functions: dict[tuple[str, str, int], list[FunctionType]] = {}

    @classmethod
    def run(cls, arguments: Sequence[str], room: str, loop: Callable[[Session], None]) -> int:
        """Collect tests with the options of pytest, run a loop, and return pytest's status."""
        from hypothesis import HealthCheck, settings

        # Searches are the same every time, and no test fails since the machine is busy.
        quiet = {"deadline": None, "database": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}
        settings.register_profile("mutants", **quiet)
        settings.load_profile("mutants")
        return int(pytest.main([*arguments, *OPTIONS], plugins=[cls(room, loop)]))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the loop."""
        if session.testsfailed:
            raise session.Interrupted(f"{session.testsfailed} errors while tests were collected")
        self.items = {item.nodeid: item for item in session.items}
        for one in gc.get_objects():
            if type(one) is FunctionType and str(one.__module__).startswith(self.room):
                self.functions.setdefault(_named(one.__code__), []).append(one)
        gc.collect()
        gc.freeze()  # what is there is left alone by the processes that follow, and shared by them
        self.loop(self)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember tests that fail."""
        if report.failed:
            self.failed.append(report.nodeid)

    def one_by_one(self, tests: Sequence[str]) -> Iterator[str]:
        """Run tests, and yield their names after each."""
        for place, test in enumerate(tests):
            item, then = self.items[test], tests[place + 1 : place + 2]
            _forget(self.room)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=self.items[then[0]] if then else None)
            yield test

    def measure(self, files: Sequence[Path]) -> Coverage:
        """Find which tests run which lines of some files."""
        found, why = forked(lambda: asdict(self._measure(files)), seconds=3600)
        if found is None:
            raise RuntimeError(f"the tests do not end as tests do: {why}")
        return Coverage(**found)

    def _measure(self, files: Sequence[Path]) -> Coverage:
        import coverage

        watch = coverage.Coverage(data_file=None, config_file=False, include=list(map(str, files)), messages=False)
        watch.start()
        seconds = {}
        for test in self.items:
            watch.switch_context(test)
            start = time.process_time()
            list(self.one_by_one([test]))
            seconds[test] = time.process_time() - start
            watch.switch_context("")
        watch.stop()
        data = watch.get_data()
        lines = {
            file: {str(line): sorted(filter(None, of)) for line, of in data.contexts_by_lineno(file).items()}
            for file in data.measured_files()
        }
        return Coverage(seconds, lines, self.failed)

    def try_out(self, file: Path, line: int, text: str, tests: Sequence[str], *, seconds: float) -> Outcome | None:
        """Run tests until one fails, with the function at a line as another text has it; None if it does not fit in."""

        def work() -> str | None:
            if not self._patch(file, line, text):
                return None
            return next((self.failed[0] for _ in self.one_by_one(tests) if self.failed), "")

        found, why = forked(work, seconds=seconds)
        return None if found is None and not why else _outcome(found, why, tests)

    def _patch(self, file: Path, line: int, text: str) -> bool:
        """Give the function at a line the code of another text; return whether there is one that takes it."""
        first = _defined_at(text, line)
        codes = [
            one for one in _codes(compile(text, str(file), "exec", dont_inherit=True)) if one.co_firstlineno == first
        ]
        live = self.functions.get(_named(codes[0]), []) if len(codes) == 1 else []
        for function in live:
            with suppress(ValueError):  # as of one that uses other names of a function around it
                function.__code__ = codes[0]
        return bool(live) and all(function.__code__ is codes[0] for function in live)


def load(names: Sequence[str]) -> None:
    """Load modules, so that no trial has to; what cannot be loaded by its name alone is left to them."""
    for name in names:
        with suppress(Exception):
            import_module(name)


def _outcome(failed: str | None, why: str, tests: Sequence[str]) -> Outcome:
    if why:
        return Outcome("timeout" if why == "timeout" else "killed", why.splitlines()[-1], len(tests))
    return Outcome("killed" if failed else "survived", failed or "", len(tests))


def try_anew(module: str, file: Path, text: str, tests: Sequence[str], *, seconds: float) -> Outcome:
    """Run tests until one fails where a module is loaded from another text; it may not have been loaded before."""
    first: list[str] = []
    if not tests:
        return Outcome("survived", "", 0)

    def loop(session: Session) -> None:
        known = [test for test in tests if test in session.items]
        for _ in session.one_by_one(known if len(known) == len(tests) else list(session.items)):
            if session.failed:
                break
        first.extend(session.failed)

    def work() -> str:
        sys.meta_path.insert(0, _Changed(module, str(file), text))  # type: ignore[arg-type]
        files = sorted({test.partition("::")[0] for test in tests})
        status = Session.run(files, module.rpartition(".")[0], loop)
        return first[0] if first else "" if status == 0 else "none can be collected"

    return _outcome(*forked(work, seconds=seconds + SECONDS), tests)


def _forget(room: str) -> None:
    """Empty what functions and modules have kept."""
    modules = [module for name, module in sys.modules.items() if f"{name}.".startswith(f"{room}.")]
    for name, value in [pair for module in modules for pair in vars(module).items()]:
        if hasattr(value, "cache_clear"):
            value.cache_clear()
        elif name == "_kept":
            value.clear()


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yield the code of all functions and methods, but not of what they define themselves."""
    for one in code.co_consts:
        if isinstance(one, CodeType):
            if one.co_flags & inspect.CO_OPTIMIZED:  # a function, and no body of a class
                yield one
            else:
                yield from _codes(one)


def _defined_at(text: str, line: int) -> int:
    """Return where the outermost function around a line begins, its decorators included."""
    around = [
        min([node.lineno, *(one.lineno for one in node.decorator_list)])
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef) and node.lineno <= line <= (node.end_lineno or 0)
    ]
    return min(around, default=0)


def _named(code: CodeType) -> tuple[str, str, int]:
    return code.co_filename, code.co_qualname, code.co_firstlineno


def statement(text: str, line: int) -> range:
    """Return the lines of the innermost statement at a line, of a compound one those of its head.

    Examples
    --------
    >>> statement("if a:\\n    b = [\\n        1\\n    ]\\n", 3), statement("if a:\\n    b = 1\\n", 1)
    (range(2, 5), range(1, 2))
    """
    found = range(line, line + 1)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.stmt | ast.excepthandler):
            first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
            body = getattr(node, "body", None)
            last = max(first, body[0].lineno - 1) if body else node.end_lineno or node.lineno
            if first <= line <= last:
                found = range(first, last + 1)
    return found


def imported(text: str, line: int) -> bool:
    """Return whether a line stands outside of all functions, or in what is run to define one.

    Examples
    --------
    >>> [imported("def f(x=1):\\n    return x\\n", line) for line in (1, 2)]
    [True, False]
    """
    defined = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    return not any(node.body[0].lineno <= line <= (node.end_lineno or 0) for node in defined)


class _Changed(SourceFileLoader):
    """Loads a module from another text than that of its file; finds it as well."""

    def __init__(self, module: str, file: str, text: str) -> None:
        super().__init__(module, file)
        self.text = text

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.text, self.path, "exec", dont_inherit=True)
