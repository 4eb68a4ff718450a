"""Places in an epoch: which parts of its sequence of jets each process shows, also where their number has changed.

What has been shown is said by stages: ``[[3, 40], [2, 12]]`` means that three processes have shown 40 jets each, and
then two processes 12 each of what these had left. The processes of a stage divide what is left evenly, in its order.
"""

from __future__ import annotations

from typing import Any

from jetsym.errors import ConfigError

__all__ = ["VERSION", "Pieces", "Stages", "left_after", "left_of", "part", "share", "stages_until", "total", "upgraded"]

#: Of the states of streams.
VERSION = 2

#: From which jet of the sequence to which, one after the other.
Pieces = list[tuple[int, int]]
#: Numbers of processes, and the jets that each of them has shown.
Stages = list[list[int]]


def share(n_jets: int, rank: int, ranks: int) -> tuple[int, int]:
    """Return the part of jets that is a rank's; the parts differ by one jet at most."""
    return rank * n_jets // ranks, (rank + 1) * n_jets // ranks


def total(pieces: Pieces) -> int:
    """Count the jets of pieces."""
    return sum(stop - start for start, stop in pieces)


def part(pieces: Pieces, start: int, stop: int, *, skipped: int = 0) -> Pieces:
    """Cut from pieces, one after the other, what lies between two places, without the first ``skipped`` of it.

    Examples
    --------
    >>> part([(0, 10), (50, 60)], 5, 15, skipped=2)
    [(7, 10), (50, 55)]
    """
    found, passed = [], 0
    for begin, end in pieces:
        first, last = max(start + skipped - passed, 0), min(stop - passed, end - begin)
        if first < last:
            found.append((begin + first, begin + last))
        passed += end - begin
    return found


def left_after(stages: Stages, n_jets: int) -> Pieces:
    """Find what stages have left of an epoch.

    Examples
    --------
    >>> left_after([[2, 3]], 20)
    [(3, 10), (13, 20)]
    """
    left = [(0, n_jets)]
    for ranks, each in stages:
        n_left = total(left)
        left = [piece for rank in range(ranks) for piece in part(left, *share(n_left, rank, ranks), skipped=each)]
    return left


def left_of(passed: Stages, n_jets: int, rank: int, ranks: int, *, whole: int | None) -> Pieces:
    """Find what a rank of the last stage still has to show of an epoch; with ``whole``, in batches of so many jets.

    Examples
    --------
    >>> left_of([[2, 4]], 20, 1, 2, whole=None), left_of([[2, 4]], 20, 1, 2, whole=4)
    ([(14, 20)], [(14, 18)])
    """
    left, done = left_after(passed[:-1], n_jets), passed[-1][1]
    n_left = total(left)
    own = part(left, *share(n_left, rank, ranks), skipped=done)
    return own if whole is None else part(own, 0, (n_left // ranks - done) // whole * whole)


def stages_until(stages: Stages, jets: int) -> tuple[Stages, int]:
    """Cut stages where so many jets have been shown, by all processes together; and count the jets that are missing.

    Examples
    --------
    >>> stages_until([[2, 30], [1, 10]], 65)
    ([[2, 30], [1, 5]], 0)
    """
    found: Stages = []
    for ranks, each in stages:
        own = min(each, jets // ranks)
        found += [[ranks, own]] if own else []
        jets -= ranks * own
        if own < each:
            break
    return found, jets


def upgraded(state: dict[str, Any]) -> dict[str, Any]:
    """Read a stream's state, of version 1 too: it counted batches, and its buffers were whole blocks, mixed otherwise.

    Raises
    ------
    ConfigError
        It is of version 1, and of the middle of an epoch.
    """
    if state.get("version") != 1:
        return state
    state = {**state, "version": VERSION}
    ranks, size, batch = (state.pop(name, 0) for name in ("world_size", "batch_size", "batch"))
    if batch and state.get("shuffle") and state.get("buffer") is not None:
        raise ConfigError(
            f"the saved stream stood in the middle of epoch {state.get('epoch')}, in an order that is no longer "
            "made; begin with an epoch: set_epoch(…)"
        )
    return {**state, "passed": [[ranks, batch * size]] if batch else []}
