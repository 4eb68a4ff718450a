"""Random columns in place of a simulation, for tests of what surrounds it."""

import numpy as np

from jetsym.jets.generate.chunk import ChunkTask, JetTable
from jetsym.jets.schema import CLASSES, JET_BRANCHES, LABEL_BRANCHES, PARTICLE_BRANCHES


def random_chunk(task: ChunkTask) -> JetTable:
    """Random columns that depend on the task as the real ones do."""
    rng = np.random.default_rng(np.random.SeedSequence(task.seed, spawn_key=task.key))
    counts = rng.integers(1, 5, task.n_jets)
    jets = {name: rng.normal(size=task.n_jets).astype(dtype) for name, dtype in JET_BRANCHES.items()}
    for name, branch in zip(CLASSES, LABEL_BRANCHES, strict=True):
        jets[branch] = np.full(task.n_jets, name == task.label).astype(LABEL_BRANCHES[branch])
    particles = {name: rng.normal(size=counts.sum()).astype(dtype) for name, dtype in PARTICLE_BRANCHES.items()}
    return JetTable(counts, particles, jets)
