"""Benchmark of reading jets: bare uproot, JetStream from ROOT and from a cache, and the field's standard loader.

The two loaders are compared in what a network takes: the field's 17 features of 128 particles, their momenta and a
mask, zero where padded, of the same files. All tasks take turns, so that a slow minute slows all of them; the time of
processors, of all threads and worker processes, tells what a task costs on a machine that has other work as well.
"""

from __future__ import annotations

import importlib.util
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import uproot
from numpy.typing import NDArray
from rich.console import Console

from jetsym.benchmarks.measure import peak_growth, processor_seconds
from jetsym.errors import ConfigError
from jetsym.jets.io import JetStream
from jetsym.jets.io.formats.layout import AXIS_BRANCHES
from jetsym.jets.io.paths import local_files
from jetsym.jets.io.registry import index_file
from jetsym.jets.io.streaming.convert import convert
from jetsym.jets.schema import LABEL_BRANCHES, P4_BRANCHES, SCALAR_BRANCHES, TREE
from jetsym.text import table_of

__all__ = ["loader"]

#: What a tagger is trained on: what JetStream reads with columns="full".
BRANCHES = (*P4_BRANCHES, *SCALAR_BRANCHES, *AXIS_BRANCHES, *LABEL_BRANCHES)

#: Particles of a network's inputs, and what the rows of the table call these.
_SLOTS, _SAME = 128, "17 × 128"

#: What a network takes, by name.
Inputs = dict[str, torch.Tensor]

#: Of each round (rounds, 3): jets, seconds, and seconds of processors.
Rounds = NDArray[np.float64]

#: Settings of weaver-core: its defaults, and what may be its best.
_WEAVER: dict[str, dict[str, Any]] = {
    "weaver-core, default": {"fetch_by_files": False, "fetch_step": 0.01, "workers": 1},
    "weaver-core, all jets at once, 2 workers": {"fetch_by_files": False, "fetch_step": 1.0, "workers": 2},
    "weaver-core, file by file, 2 workers": {"fetch_by_files": True, "fetch_step": 1, "workers": 2},
}


def loader(
    files: str | list[str],
    *,
    batch_size: int = 512,
    repeats: int = 5,
    threads: int = 2,
    cache: str | None = None,
    weaver: bool = True,
    weaver_files: int | None = None,
    memory: bool = True,
) -> None:
    """Print jets per second of one epoch, all on the same files and in one run; medians, and ratios within rounds.

    Files as ROOT writes them are made by ``tests/benchmarks/write_vector_files.py``. Everything is read from the
    system's memory once the first round is over.

    Parameters
    ----------
    files
        Labelled JetClass files.
    batch_size
        Jets per batch.
    repeats
        Number of rounds, in which all take their turn.
    threads
        Threads of JetStream.
    cache
        Folder for JetStream's cache; a temporary one by default.
    weaver
        Time weaver-core as well, if it is installed (extra ``bench``).
    weaver_files
        Number of the files that both loaders bring to a network's inputs, as weaver-core takes long; by default all.
    memory
        Measure the memory of JetStream with one file and with all.
    """
    paths = local_files(files)
    n_jets = sum(index_file(path).n_jets for path in paths)
    with tempfile.TemporaryDirectory(prefix="jetsym-loader-") as temporary:
        folder = Path(cache or temporary) / "cache"
        start = time.perf_counter()
        convert(paths, folder, columns="full", threads=threads)
        made = n_jets / (time.perf_counter() - start)
        tasks: dict[str, Callable[[], int]] = {
            "bare uproot, iterate(step_size=25000)": partial(bare, paths),
            "JetStream from ROOT, shuffled": partial(stream, paths, batch_size, threads),
            "JetStream from the cache, shuffled": partial(stream, folder, batch_size, threads),
        }
        for name, task in tasks.items():  # which warms up the system as well
            _expect_all(name, task(), n_jets)
        some = paths[:weaver_files]
        tasks |= {
            f"JetStream from {name}, {_SAME}": partial(features, source, batch_size, threads)
            for name, source in (("ROOT", some), ("the cache", folder))
            if name == "ROOT" or len(some) == len(paths)
        }
        if weaver and importlib.util.find_spec("weaver"):
            tasks |= {
                f"{name}, {_SAME}": partial(_count, inputs_of_weaver, some, batch_size, temporary, **how)
                for name, how in _WEAVER.items()
            }
        rounds = [[_timed(task) for task in tasks.values()] for _ in range(repeats)]
        found = dict(zip(tasks, np.array(rounds).transpose(1, 0, 2), strict=True))
        print_table(found, f"{n_jets:,} jets in {len(paths)} files, {len(BRANCHES)} branches, batches of {batch_size}")
        print(f"the cache was made with {made:,.0f} jets/s")
        if memory:
            for name, source in (("one file", paths[:1]), (f"{len(paths)} files", paths)):
                growth = peak_growth(partial, stream, source, batch_size, threads)
                print(f"JetStream from ROOT, {name}: {growth:,.0f} MiB at most")


def bare(paths: Sequence[Path]) -> int:
    """Read the branches with uproot alone."""
    named = [{path: TREE} for path in paths]
    return sum(len(arrays) for arrays in uproot.iterate(named, list(BRANCHES), step_size=25_000))


def stream(source: Any, batch_size: int, threads: int) -> int:
    """Read one shuffled epoch, opening the files included, as ragged tensors on the CPU."""
    jets = 0
    for batch in JetStream(source, batch_size=batch_size, threads=threads):
        jets += len(batch)
    return jets


def features(source: Any, batch_size: int, threads: int) -> int:
    """Read one shuffled epoch, opening the files included, as a network takes it."""
    batches = JetStream(source, batch_size=batch_size, threads=threads, features="full", slots=_SLOTS)
    return sum(len(batch.features) for batch in batches)


def inputs_of_stream(source: Any, batch_size: int, threads: int, *, shuffle: bool = True) -> Iterator[Inputs]:
    """Read one epoch, with the names and axes that weaver-core gives its inputs: (B, variables, 128)."""
    options: dict[str, Any] = {"features": "full", "slots": _SLOTS, "threads": threads, "shuffle": shuffle}
    for batch in JetStream(source, batch_size=batch_size, **options):
        yield {
            "pf_features": batch.features.mT,
            "pf_vectors": batch.p4[..., [1, 2, 3, 0]].mT,
            "pf_mask": batch.mask[:, None].float(),
        }


def inputs_of_weaver(
    paths: Sequence[Path], batch_size: int, folder: str, *, fetch_by_files: bool, fetch_step: float, workers: int
) -> Iterator[Inputs]:
    """Read one epoch by weaver-core's loader as the same inputs."""
    from weaver.utils.dataset import SimpleIterDataset

    config = Path(folder) / "weaver.yaml"
    config.write_text(weaver_config())
    data = SimpleIterDataset(
        {"_": [str(path) for path in paths]},
        str(config),
        batch_size=batch_size,
        load_range_and_fraction=((0, 1), 1, 1),
        fetch_by_files=fetch_by_files,
        fetch_step=fetch_step,
        name="train",
    )
    batches: Any = torch.utils.data.DataLoader(data, batch_size=batch_size, num_workers=min(workers, len(paths)))
    return (inputs for inputs, *_ in batches)


def _count(inputs_of: Callable[..., Iterator[Inputs]], *arguments: Any, **options: Any) -> int:
    return sum(len(inputs["pf_mask"]) for inputs in inputs_of(*arguments, **options))


def weaver_config() -> str:
    """Return weaver-core's description of JetClass's inputs: that of the field's configurations, padded with 0."""
    lines = ["treename: tree", "selection:", "new_variables:"]
    lines += [f"   {name}: {expression}" for name, expression in _VARIABLES.items()]
    lines += ["preprocess:", "  method: manual", "  data_fraction: 0.5", "inputs:"]
    inputs = {
        "pf_features": list(_FEATURES),
        "pf_vectors": [f"[{name}, null]" for name in ("part_px", "part_py", "part_pz", "part_energy")],
        "pf_mask": ["[part_mask, null]"],
    }
    for name, variables in inputs.items():
        lines += [f"   {name}:", f"      length: {_SLOTS}", "      pad_mode: constant", "      vars:"]
        lines += [f"         - {variable}" for variable in variables]
    return "\n".join([*lines, "labels:", "   type: simple", f"   value: [{', '.join(LABEL_BRANCHES)}]", ""])


_VARIABLES = {
    "part_mask": "ak.ones_like(part_energy)",
    "part_pt": "np.hypot(part_px, part_py)",
    "part_pt_log": "np.log(part_pt)",
    "part_e_log": "np.log(part_energy)",
    "part_logptrel": "np.log(part_pt/jet_pt)",
    "part_logerel": "np.log(part_energy/jet_energy)",
    "part_deltaR": "np.hypot(part_deta, part_dphi)",
    "part_d0": "np.tanh(part_d0val)",
    "part_dz": "np.tanh(part_dzval)",
}

_FEATURES = (
    "[part_pt_log, 1.7, 0.7]",
    "[part_e_log, 2.0, 0.7]",
    "[part_logptrel, -4.7, 0.7]",
    "[part_logerel, -4.7, 0.7]",
    "[part_deltaR, 0.2, 4.0]",
    *(f"[{name}, null]" for name in SCALAR_BRANCHES[:6]),
    "[part_d0, null]",
    "[part_d0err, 0, 1, 0, 1]",
    "[part_dz, null]",
    "[part_dzerr, 0, 1, 0, 1]",
    "[part_deta, null]",
    "[part_dphi, null]",
)


def print_table(found: dict[str, Rounds], title: str) -> None:
    """Print medians and ranges of the jets per second, and medians of the ratios within a round.

    A ratio to weaver-core's is to the setting of it that is the fastest, or that takes the least time of processors.
    """
    heads = ("", "jets/s", "from … to", "× uproot", "× weaver", "× its best", "core µs/jet", "less than weaver")
    table = table_of(f"{title}, {torch.get_num_threads()} torch threads", heads)
    rates = {name: one[:, 0] / one[:, 1] for name, one in found.items()}
    costs = {name: 1e6 * one[:, 2] / one[:, 0] for name, one in found.items()}
    others = [name for name in rates if name.startswith("weaver")]
    best = max(others, key=lambda name: float(np.median(rates[name])), default=None)
    least = min(others, key=lambda name: float(np.median(costs[name])), default=None)
    bare = next(iter(rates.values()))
    for name, rate in rates.items():
        to_weaver = [_median(rate / rates[other]) if other else "-" for other in (others[0] if others else None, best)]
        cost = _median(costs[least] / costs[name]) if least else "-"
        spread = f"{rate.min():,.0f} … {rate.max():,.0f}"
        columns = (f"{np.median(rate):,.0f}", spread, f"{np.median(rate / bare):.2f}", *to_weaver)
        table.add_row(name, *columns, _median(costs[name]), cost)
    Console(width=160).print(table)


def _median(values: NDArray[np.float64]) -> str:
    return f"{np.median(values):.1f}"


def _timed(task: Callable[[], int]) -> tuple[float, float, float]:
    start, before = time.perf_counter(), processor_seconds()
    jets = task()
    return jets, time.perf_counter() - start, processor_seconds() - before


def _expect_all(name: str, found: int, n_jets: int) -> None:
    """Refuse a setting in which a stream leaves out more than a few jets, those that fill no batch."""
    if not 0.9 * n_jets < found <= n_jets:
        raise ConfigError(f"{name} gave {found} of {n_jets} jets; expected nearly all: choose a smaller batch_size")
