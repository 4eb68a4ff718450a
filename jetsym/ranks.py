"""Processes that share the inputs of one measurement: those that torchrun or SLURM's srun has started.

A command that shares, such as ``torchrun --nproc_per_node 4 -m jetsym.cli probe …``, does so by itself. A program says
where: a probe in one process alone, of a training that has several, must not wait for the others.

    with jetsym.ranks.sharing():
        report = jetsym.probe(model, inputs)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, TypeVar

from jetsym.errors import DataError, JetsymError
from jetsym.slurm import step

__all__ = ["ALONE", "Ranks", "here", "sharing", "started"]

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """The processes that share, as one of them sees them; one alone by default.

    Parameters
    ----------
    rank
        Number of this process, from 0.
    size
        Number of processes.

    Examples
    --------
    >>> [Ranks(rank, 3).share(slice(10, 15)) for rank in range(3)]
    [slice(10, 11, None), slice(11, 13, None), slice(13, 15, None)]
    >>> Ranks().in_order(lambda: [(7, "b"), (2, "a")]), Ranks().of_first(lambda: "first")
    (['a', 'b'], 'first')
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that prints and writes."""
        return self.rank == 0

    def share(self, part: slice[int]) -> slice[int]:
        """Return what is this process's of some inputs, one after the other; it may be none of them."""
        start, stop = (part.start + (part.stop - part.start) * rank // self.size for rank in (self.rank, self.rank + 1))
        return slice(start, stop)

    def in_order(self, task: Callable[[], list[tuple[int, T]]]) -> list[T]:
        """Return what a task finds in all processes, in each of them, in the order of the numbers that go with it.

        Raises
        ------
        JetsymError
            The task ends with an error in another process, or that process has ended; an error of this one is raised
            as it is.
        """
        return [value for _, value in sorted(self._gathered(task), key=itemgetter(0))]

    def of_first(self, task: Callable[[], T]) -> T:
        """Return what a task finds in the first process, in each of them; the others wait for it.

        Raises
        ------
        JetsymError
            As :meth:`in_order` does.
        """
        return self.in_order(lambda: [(0, task())] if self.is_first else [])[0]

    def expect_same(self, value: object, what: str) -> None:
        """Refuse to go on where processes differ in what they have found, such as the files that are there.

        Raises
        ------
        DataError
            In each of them, with the number of the first one that differs.
        """
        found = self.in_order(lambda: [(self.rank, value)])
        if other := next((rank for rank, one in enumerate(found) if one != found[0]), None):
            raise DataError(
                f"process {other} of {self.size} finds other {what} than process 0; expected the same on all machines"
            )

    def _gathered(self, task: Callable[[], list[tuple[int, T]]]) -> list[tuple[int, T]]:
        if self.size == 1:
            return task()
        from torch import distributed

        found: list[tuple[int, T]] = []
        failed: Exception | None = None
        try:
            found = task()
        except Exception as error:  # of any kind: the others wait, and have to know
            failed = error
        all_of_them: list[Any] = [None] * self.size
        try:
            distributed.all_gather_object(all_of_them, (found, None if failed is None else str(failed)))
        except RuntimeError as error:  # of gloo: a connection is closed
            if failed is None:
                raise JetsymError(
                    f"a process of the {self.size} that share has ended; its own error says why"
                ) from error
        if failed is not None:
            raise failed
        for rank, (_, reason) in enumerate(all_of_them):
            if reason is not None:
                raise JetsymError(f"process {rank} of {self.size} ended with: {reason}")
        return [item for some, _ in all_of_them for item in some]


#: A process that shares with no other.
ALONE = Ranks()
_HERE: ContextVar[Ranks] = ContextVar("ranks", default=ALONE)


def here() -> Ranks:
    """Return the processes that share at this place of the program."""
    return _HERE.get()


def started() -> tuple[int, int]:
    """Return processes per node, and nodes, as torchrun or srun have started them; 1 and 1 otherwise."""
    if "TORCHELASTIC_RUN_ID" in os.environ:  # Lightning, which would tell, takes a second to load
        local, everywhere = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
        return local, everywhere // local
    found = step()
    return (1, 1) if found is None else (found.tasks // found.nodes, found.nodes)


@contextmanager
def sharing() -> Iterator[Ranks]:
    """Let measurements inside share their inputs among the processes that torchrun or srun has started.

    All of them must come here, and each finds the same report, whose ``meta`` says how many ``ranks`` there were. Each
    process takes a CUDA device of its own, in turn. Where there is one process alone, nothing changes.

    Examples
    --------
    >>> with sharing() as ranks:
    ...     ranks.size
    1
    """
    local, nodes = started()
    if local * nodes == 1 or here().size > 1:
        yield here()
        return
    import torch
    from torch import distributed

    from jetsym.launch import launched

    joined_already = distributed.is_initialized()
    # Results are exchanged as they are in the memory of the host, on whatever device they were found.
    fabric = launched(accelerator="cpu", devices=local, num_nodes=nodes)
    if torch.cuda.is_available():
        torch.cuda.set_device(fabric.local_rank % torch.cuda.device_count())
    token = _HERE.set(Ranks(fabric.global_rank, fabric.world_size))
    try:
        yield here()
    finally:
        _HERE.reset(token)
        if not joined_already and distributed.is_initialized():
            distributed.destroy_process_group()
