"""Benchmark of a probe of all layers of a PointNet against the same forward passes alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from jetsym.benchmarks.measure import alternate, finished, peak_growth
from jetsym.jets.batch import JetBatch
from jetsym.jets.io.sample import sample
from jetsym.jets.models.pointnet import PointNet
from jetsym.probing.measure import dependence, orbit, rotations
from jetsym.probing.measure.orbit import Orbit
from jetsym.probing.measure.rounding import measure_rounding
from jetsym.probing.probe import probe as probe_model
from jetsym.probing.reports.read import Report
from jetsym.spectrum import SO3
from jetsym.spectrum.accumulation import block_size
from jetsym.spectrum.heldout import HeldOutResponses
from jetsym.symmetry import GroupName
from jetsym.text import table_of

__all__ = ["probe"]


def probe(
    l_max: list[int] | None = None,
    *,
    jets: int = 2,
    width: int = 64,
    blocks: int = 3,
    repeats: int = 5,
    batch_size: int | None = None,
    memory: bool = True,
    guards: bool = True,
    seed: int = 0,
) -> None:
    """Print the seconds of a probe of all layers, of its forward passes alone, their ratio, and their memory.

    A second table gives what the guards add to the probe of every kind of rule, on 16 jets, in percent: the evaluations
    of held-out elements, and their comparison with the rule; the dry passes and the measurement of rounding before the
    orbit; and, beside them, the layers that are disturbed one by one to find which of them the outputs are read from.

    The forward passes alone run on the very inputs of the probe, moved beforehand, in the same batches. Both run in
    float32 on the CPU, with as many threads as OMP_NUM_THREADS says: on a busy machine one thread disturbs least.

    Parameters
    ----------
    l_max
        Largest λ, one table row each (default 8 and 12).
    jets
        Jets of the bundled sample that are probed.
    width, blocks
        Size of the PointNet.
    repeats
        Number of alternating timings of both; medians are printed.
    batch_size
        Evaluations per forward pass; by default the number that the probe finds.
    memory
        Also measure the peak memory of both, each in a fresh process.
    guards
        Also measure what the guards add.
    seed
        Seed of the network's weights.
    """
    title = f"PointNet({width}, {blocks} blocks), {jets} jets, float32, {torch.get_num_threads()} threads"
    speed = ("l_max", "rings/product", "passes", "evaluations/s", "forward s", "probe s", "ratio")
    table = table_of(title, (*speed, "forward MiB", "probe MiB"), words=0)
    for degree in l_max or [8, 12]:
        case = (degree, jets, width, blocks, batch_size, seed)
        row = _row(case, repeats)
        if memory:
            row += [f"{peak_growth(task, *case):.0f}" for task in (forwards_task, probe_task)]
        table.add_row(*row)
    Console(width=120).print(table)
    if guards:
        Console(width=120).print(_guards(_network(width, blocks, seed), repeats))


#: Rules that held-out elements stand beside, by what they are called in the table.
RULES: dict[str, dict[str, Any]] = {
    "O3, l_max 4": {"group": GroupName.O3, "l_max": 4},
    "O3, l_max 6": {"group": GroupName.O3, "l_max": 6},
    "O3, icosahedral": {"group": GroupName.O3, "l_max": 2, "method": "icosahedral"},
    "SO2, l_max 4": {"group": GroupName.SO2, "l_max": 4},
    "SO2, l_max 16": {"group": GroupName.SO2, "l_max": 16},
    "boosts, l_max 4": {"group": GroupName.BOOST, "l_max": 4},
}


def _guards(network: torch.nn.Module, repeats: int, *, jets: int = 16) -> Table:
    """Time probes, and in the same runs what the guards take of them, and return the table."""
    title = f"Guards, {jets} jets: held-out elements, and what comes before the orbit, in percent of the orbit"
    shares = ("held out %", "compared %", "before %", "disturbed %")
    table = table_of(title, ("rule", "evaluations", "seconds", *shares))
    inputs = sample("test", limit=jets)
    for name, options in RULES.items():
        task = probed(network, inputs, **options)
        with patch.object(orbit, "HELD_OUT", 0):
            without = task().meta["evaluations"]
        evaluations = task().meta["evaluations"]
        seconds, *found = np.median([_parts(task) for _ in range(repeats)], axis=0)
        if options["group"] == GroupName.BOOST:  # its rounding belongs to every width
            found[1:] = [np.nan, np.nan]
        values = ["–" if np.isnan(value) else f"{value:.1f}" for value in (100 * (evaluations / without - 1), *found)]
        table.add_row(name, str(evaluations), f"{seconds:.2f}", *values)
    return table


def _parts(task: Callable[[], Report]) -> list[float]:
    """Return the seconds of a probe, and in percent of its orbit: the comparison, what comes before, disturbed layers.

    The times are those of the processor, with all threads, within one run: what is small is lost in the noise between
    runs. The orbit is meant without the comparison.
    """
    along, disturbed = Timed(orbit.measure), Timed(dependence.measure_dependence)
    dry, rounding, compared = Timed(Orbit.settle), Timed(measure_rounding), Timed(HeldOutResponses.compare)
    with (
        patch.object(rotations, "measure", along),
        patch.object(rotations, "measure_dependence", disturbed),
        patch.object(rotations, "measure_rounding", rounding),
        patch.object(Orbit, "settle", lambda *arguments: dry(*arguments)),
        patch.object(HeldOutResponses, "compare", lambda *arguments: compared(*arguments)),
    ):
        start = time.process_time()
        task()
        seconds = time.process_time() - start
    bare = (along.seconds or seconds) - compared.seconds
    guards = compared.seconds, dry.seconds + rounding.seconds, disturbed.seconds
    return [seconds, *(100 * part / bare for part in guards)]


class Timed:
    """A function that adds up the seconds of the processor that its calls take."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function, self.seconds = function, 0.0

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        start = time.process_time()
        try:
            return self._function(*arguments, **options)
        finally:
            self.seconds += time.process_time() - start


def _row(case: tuple[Any, ...], repeats: int) -> list[str]:
    """Time both in this process, and return the row of the table."""
    alone, probed = forwards_task(*case), probe_task(*case)
    alone()
    report = probed()
    times = alternate({"forward": alone, "probe": probed}, repeats)
    forward, whole = (float(np.median(times[name])) for name in ("forward", "probe"))
    return [
        str(case[0]),
        str(_rings_per_product(case[0], report.meta["batch_size"])),
        str(report.meta.get("passes", 1)),
        f"{report.meta['evaluations'] / whole:.0f}",
        f"{forward:.2f}",
        f"{whole:.2f}",
        f"{np.median(times['probe'] / times['forward']):.3f}",
    ]


def _rings_per_product(l_max: int, batch_size: int) -> int:
    """Count the rings of one input in a product: those of a forward pass, or of a block that is gathered first."""
    rule = SO3().quadrature(l_max)
    chunk = next(rule.chunks(batch_size))
    return max(chunk.stop // rule.unit, block_size(rule)) * (rule.unit // rule.ring_size)


def probe_task(
    l_max: int, jets: int, width: int, blocks: int, batch_size: int | None, seed: int, call: Any = None
) -> Callable[[], Report]:
    """Prepare the probe."""
    size = "auto" if batch_size is None else batch_size
    return probed(_network(width, blocks, seed), sample("test", limit=jets), l_max=l_max, batch_size=size, call=call)


def forwards_task(
    l_max: int, jets: int, width: int, blocks: int, batch_size: int | None, seed: int
) -> Callable[[], None]:
    """Prepare the forward passes of the probe alone, on inputs recorded from it."""
    size = "auto" if batch_size is None else batch_size
    return forwards_alone(_network(width, blocks, seed), sample("test", limit=jets), l_max=l_max, batch_size=size)


def probed(model: torch.nn.Module, inputs: JetBatch, **options: Any) -> Callable[[], Report]:
    """Prepare the probe of a model."""
    return lambda: probe_model(model, inputs, progress=False, **options)


def forwards_alone(model: torch.nn.Module, inputs: JetBatch, **options: Any) -> Callable[[], None]:
    """Prepare the forward passes of such a probe alone, on inputs recorded from it."""
    moved: list[JetBatch] = []

    def call(network: torch.nn.Module, inputs: JetBatch) -> Any:
        moved.append(inputs)
        return torch.zeros(len(inputs), 2, device=inputs.device)

    probed(model, inputs, call=call, **options)()
    model.eval()

    def run() -> None:
        with torch.no_grad():
            for inputs in moved:
                model(inputs)
        finished(moved[-1].p4)

    return run


def _network(width: int, blocks: int, seed: int) -> PointNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PointNet(width=width, blocks=blocks)
