"""What tries out mutants tells the killed, those that take too long and those that no test sees, and draws fairly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mutants.counts import equivalent, summary
from mutants.draw import _changed, draw, places
from mutants.trial import Coverage, Session, forked, try_anew

SMALL = '''"""A small module."""

LIMIT = 3


def double(x: int) -> int:
    return 2 * x


def count(n):
    while n > 0:
        n -= 1
    return n


def unseen(x):
    return x + 1
'''
TESTS = """import small


def test_double():
    assert small.double(2) == 4


def test_more():
    assert small.double(5) == 10


def test_count():
    assert small.count(3) == 0


def test_limit():
    assert small.LIMIT == 3
"""


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module and its tests, on the path."""
    (tmp_path / "small.py").write_text(SMALL, encoding="utf-8")
    (tmp_path / "test_small.py").write_text(TESTS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def changed(before: str, after: str) -> str:
    assert SMALL.count(before) == 1
    return SMALL.replace(before, after)


def test_changes_within_functions_are_noticed_or_not(room):
    file, tests = room / "small.py", [f"test_small.py::test_{name}" for name in ("double", "more", "count")]
    trials = [
        (7, changed("2 * x", "3 * x"), tests),
        (7, changed("2 * x", "2 + x"), tests[:1]),
        (7, changed("2 * x", "2 + x"), tests),
        (12, changed("n -= 1", "n += 1"), tests),
        (7, SMALL, tests),
        (3, changed("3", "4"), tests),
    ]

    def loop(session: Session) -> None:
        for line, text, chosen in trials:
            outcome = session.try_out(file, line, text, chosen, seconds=1)
            found.append(None if outcome is None else [outcome.how, outcome.test, outcome.tests])

    def work() -> list[object]:
        status = Session.run(["test_small.py", "-c", "/dev/null", "--rootdir", str(room)], "small", loop)
        return [status, *found]

    found: list[object] = []
    told, why = forked(work, seconds=60)
    assert not why
    assert told == [
        0,
        ["killed", tests[0], 3],
        ["survived", "", 1],  # as 2 + 2 is 2 · 2
        ["killed", tests[1], 3],
        ["timeout", "timeout", 3],
        ["survived", "", 3],
        None,  # no function stands there
    ]


def test_changes_of_what_is_imported_are_noticed_or_not(room):
    tests = ["test_small.py::test_double", "test_small.py::test_limit"]
    for chosen, how, test in ((tests, "killed", tests[1]), (tests[:1], "survived", "")):
        outcome = try_anew("small", room / "small.py", changed("LIMIT = 3", "LIMIT = 4"), chosen, seconds=20)
        assert (outcome.how, outcome.test) == (how, test)
    broken = try_anew("small", room / "small.py", changed("LIMIT = 3", "LIMIT = 3 + None"), tests, seconds=20)
    assert broken.how == "killed"


def test_the_fastest_tests_of_a_statement_come_first(room):
    file = str(room / "small.py")
    seconds = {"a": 3.0, "b": 1.0, "c": 2.0}
    coverage = Coverage(seconds, {file: {"7": ["a", "b"], "11": ["c"]}}, [])
    assert coverage.tests_of(Path(file), 7, seconds=10) == ["b", "a"]
    assert coverage.tests_of(Path(file), 7, seconds=3) == ["b"]
    assert coverage.tests_of(Path(file), 11, seconds=1) == ["c"]  # one at least
    assert coverage.tests_of(Path(file), 3, seconds=10) == ["b", "c", "a"]  # what is imported: all of the file
    assert coverage.tests_of(Path(file), 17, seconds=10) == ["b", "c", "a"]  # no test runs it: it may be run then
    assert coverage.runs(Path(file), 7) == {"a", "b"}
    assert not coverage.runs(Path(file), 3)
    assert not coverage.runs(Path(file), 17)
    named = Coverage({"tests/test_small.py::test_limit": 1.0, "tests/test_smaller.py::test_it": 1.0}, {}, [])
    assert named.tests_of(Path(file), 3, seconds=10) == ["tests/test_small.py::test_limit"]
    assert Coverage({}, {}, []).tests_of(Path(file), 7, seconds=10) == []


def test_processes_that_end_otherwise_say_so():
    assert forked(lambda: {"a": [1]}, seconds=5) == ({"a": [1]}, "")
    found, why = forked(lambda: 1 / 0, seconds=5)
    assert found is None
    assert "ZeroDivisionError" in why


def test_lines_that_differ_are_told():
    assert _changed(["a", "b", "c"], ["a", "x", "c"]) == ("b", "x")
    assert _changed(["@cache", "def f"], ["def f"]) == ("@cache", "")
    assert _changed(["a", "a"], ["a", "a"]) == ("", "")


def test_what_is_drawn_does_not_depend_on_how_much_is(room):
    pytest.importorskip("cosmic_ray")
    population = list(places(room, [room / "small.py"]))
    assert {place.line for place in population} == {3, 7, 11, 12, 17}  # no annotation is changed
    five, ten = (draw(room, population, seed=3, count=count) for count in (5, 10))
    assert [mutant.name for mutant in ten[:5]] == [mutant.name for mutant in five]
    spots = [(mutant.place.line, mutant.place.column) for mutant in ten]
    assert len(set(spots)) == len(spots)
    for mutant in ten:
        assert mutant.text.count("\n") == SMALL.count("\n")
        assert mutant.before != mutant.after
    assert draw(room, population, seed=4, count=5) != five


def test_the_kept_table_is_the_summary_of_its_mutants():
    file = Path(__file__).parents[1] / "notebooks" / "results" / "mutants.json"
    kept = json.loads(file.read_text(encoding="utf-8"))
    assert summary(kept["results"], equivalent()) == kept["summary"]
    assert kept["summary"]["drawn"] == 400
    assert kept["summary"]["share"] >= 0.9
    explained = {(name.partition(":")[0], one["before"], one["after"]) for name, one in kept["results"].items()}
    for one in equivalent():  # each reason is one of a mutant that was drawn
        assert (one["file"], one["before"], one["after"]) in explained
        assert len(one["why"]) > 10
