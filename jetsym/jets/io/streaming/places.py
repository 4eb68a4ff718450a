"""Places in an epoch: which parts of its sequence of jets each process shows, also where their number has changed.

What has been shown is said by stages: ``[[3, 40], [2, 12]]`` means that three processes have shown 40 jets each, and
then two processes 12 each of what these had left. The processes of a stage divide what is left evenly, in its order.
"""

from __future__ import annotations

__all__ = ["Pieces", "Stages", "left_after", "part", "share", "stages_until", "total"]

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
