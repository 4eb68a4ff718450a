"""Items that another thread makes: in their order, no more than asked for, and nothing left behind."""

from __future__ import annotations

import threading
import time

import pytest

from jetsym.errors import DataError
from jetsym.jets.io.streaming.ahead import ahead


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("jetsym-ahead")]


def test_items_come_in_order_and_the_thread_ends():
    assert list(ahead(iter(range(50)), depth=3)) == list(range(50))
    assert not threads()


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_no_more_are_made_than_asked_for(depth):
    made = []

    def items():
        for number in range(100):
            made.append(number)
            yield number

    for number in ahead(items(), depth=depth):
        time.sleep(0.01)
        assert len(made) <= number + 1 + depth
        if number == 10:
            assert len(made) == 11 + depth  # and as many there are
            break


def test_errors_come_in_their_place():
    def items():
        yield 1
        yield 2
        raise DataError("no more")

    seen = []
    with pytest.raises(DataError, match="no more"):
        seen.extend(ahead(items()))  # what it has taken before is kept
    assert seen == [1, 2]
    assert not threads()


def test_a_loop_that_ends_early_leaves_nothing_behind():
    closed = []

    def items():
        try:
            while True:
                yield threading.current_thread().name
        finally:
            closed.append(True)

    found = ahead(items())
    assert next(found).startswith("jetsym-ahead")
    assert threads()
    found.close()
    assert closed
    assert not threads()
