"""The pytest plugin: the fixture ``assert_equivariant``, and ``--jetsym-report PATH``.

It imports no torch when pytest starts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jetsym.errors import JetsymError
from jetsym.files import check_out
from jetsym.testing.findings import Assertion, Assertions, collecting

__all__ = ["assert_equivariant"]

FOUND = pytest.StashKey[list[Assertion]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--jetsym-report``."""
    parser.getgroup("jetsym").addoption(
        "--jetsym-report",
        metavar="PATH",
        default=None,
        help="write what all assertions of equivariance have measured to this JSON file",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a place that cannot be written to, before any test runs."""
    path = config.getoption("--jetsym-report")
    if path is None or hasattr(config, "workerinput"):  # a process of pytest-xdist, which hands its findings over
        return
    try:
        config.pluginmanager.register(Writer(check_out(path)))
    except JetsymError as error:
        raise pytest.UsageError(f"--jetsym-report: {error}") from None


@pytest.fixture
def assert_equivariant() -> Callable[..., Any]:
    """Assert that the outputs of a model obey their laws: ``assert_equivariant(model, inputs, outputs)``."""
    from jetsym.testing.equivariance import assert_equivariant

    return assert_equivariant


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Collect the assertions of a test, its fixtures included."""
    if item.config.getoption("--jetsym-report") is None:
        return (yield)
    item.stash[FOUND] = []
    with collecting(item.stash[FOUND].append):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Hand the assertions of a phase over with the report of it, which also comes from other processes."""
    report: Any = yield
    found = item.stash.get(FOUND, [])
    report.jetsym = [json.dumps(Assertions((one,)).to_dict()) for one in found]
    found.clear()
    return report  # type: ignore[no-any-return]  # pytest's own


class Writer:
    """What gathers the assertions of all tests, and writes them in the end.

    Parameters
    ----------
    path
        Of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._found = path, list[Assertion]()

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Take the assertions of a test."""
        for text in getattr(report, "jetsym", ()):
            for one in Assertions.from_dict(json.loads(text)).assertions:
                self._found.append(Assertion(one.ended, one.words, one.measured, report.nodeid))

    def pytest_sessionfinish(self) -> None:
        """Write the file."""
        Assertions(tuple(self._found)).save(self._path)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say where it is."""
        terminalreporter.write_line(f"What {len(self._found)} assertions of equivariance measured: {self._path}")
