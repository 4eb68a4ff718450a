"""Seeds of a run's random numbers: every draw depends on its purpose, the seed, and how far the run has come.

No state of a generator is ever kept. A run that is continued at any step repeats what the uninterrupted one would have
done, because nothing that was drawn before the step matters to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["STREAMS", "forked", "generator_for", "seed_for"]

#: Every use of randomness has a stream of its own, so that adding one does not change another.
STREAMS = ("initialisation", "split", "shuffle", "augmentation", "dropout", "penalty")


def seed_for(stream: str, *, seed: int, epoch: int = 0, step: int = 0, rank: int = 0) -> int:
    """Derive a 63-bit seed from a run's seed, an epoch, a step of it, a process and a stream.

    It is alike on every machine and unrelated to its neighbours.

    Examples
    --------
    >>> seed_for("dropout", seed=0, epoch=1) == seed_for("dropout", seed=0, epoch=1, step=1)
    False
    """
    sequence = np.random.SeedSequence((seed, epoch, STREAMS.index(stream), step, rank))
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator_for(stream: str, *, device: torch.device | str = "cpu", **place: int) -> torch.Generator:
    """Make a generator on ``device``, seeded by :func:`seed_for`, which takes the other arguments."""
    return torch.Generator(device=device).manual_seed(seed_for(stream, **place))


@contextmanager
def forked() -> Iterator[None]:
    """Restore torch's global generators afterwards: initialisers and dropout use no others, so these are seeded."""
    # torch.manual_seed reaches every accelerator, so the state of each is put back.
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        yield
