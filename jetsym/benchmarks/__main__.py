"""``python -m jetsym.benchmarks NAME``: numbers of one run on one machine, to be read as ratios within that run."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jetsym.cli import Command, dispatch

__all__ = ["main"]

PROGRAM = "python -m jetsym.benchmarks"

BENCHMARKS = {
    "probe": Command("jetsym.benchmarks.probe:probe", "time a probe of all layers against the bare forward passes"),
    "loader": Command("jetsym.benchmarks.loader:loader", "time JetStream against bare uproot and weaver-core"),
    "train": Command("jetsym.benchmarks.train:train", "time training and inference of taggers, against weaver-core"),
    "regimes": Command(
        "jetsym.benchmarks.regimes:regimes", "train one backbone in every regime: accuracy, symmetry, cost"
    ),
    "tensor_basis": Command("jetsym.benchmarks.tensor_basis:tensor_basis", "train tensor-basis and direct heads"),
    "copper": Command("jetsym.benchmarks.copper:copper", "train a PET on EMT copper: phonons with symmetry restored"),
    "potential": Command(
        "jetsym.benchmarks.potential:potential", "time a probe of a PET against metatomic's own instrument"
    ),
    "estimator": Command(
        "jetsym.benchmarks.estimator:estimator", "time the quadrature estimator against pairwise sums"
    ),
    "faults": Command(
        "jetsym.benchmarks.faults:faults", "damage files, kill commands, fill disks, and count how that ends"
    ),
    "memory": Command(
        "jetsym.benchmarks.memory:memory", "measure the memory of evaluations, predictions and probes of many jets"
    ),
    "scaling": Command(
        "jetsym.benchmarks.scaling:scaling", "measure how time and memory grow with jets, particles, layers and l_max"
    ),
    "gpu": Command("jetsym.benchmarks.gpu:gpu", "measure taggers and probes on an accelerator, in one table"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a benchmark and return the exit status, as :func:`jetsym.cli.main` does."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return dispatch(PROGRAM, BENCHMARKS, "How fast and how large is jetsym on this machine?", words)


if __name__ == "__main__":
    sys.exit(main())
