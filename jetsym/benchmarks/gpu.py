"""What taggers and probes do on an accelerator: speed, precision and rounding, in one table of a few minutes."""

from __future__ import annotations

import math
import multiprocessing
import subprocess
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any

import torch
from rich.console import Console

from jetsym._version import __version__
from jetsym.benchmarks.gpu_parts import PARTS, Row, Size, in_words
from jetsym.errors import ConfigError, closest
from jetsym.files import check_out, write_json
from jetsym.text import table_of

__all__ = ["gpu"]

#: Seconds for everything, the start of each process included.
ALTOGETHER = 345.0


def gpu(
    *,
    out: str | None = None,
    device: str = "cuda",
    quick: bool = False,
    parts: list[str] | None = None,
    isolate: bool = True,
    seed: int = 0,
) -> None:
    """Print one table of what an accelerator does: throughput, precision, the probe's cost, and rounding.

    Every part has a time limit, and one that fails says so in its line; all of it takes less than six minutes.

    Parameters
    ----------
    out
        A JSON file, written anew after every line.
    device
        ``cuda``, or ``cpu`` to see that everything runs.
    quick
        Small nets, few jets.
    parts
        Which ones, see the first column of the table; all by default.
    isolate
        Whether each part has a process of its own: a fault of a device ends all that its process does there.
    seed
        Of weights and batches.
    """
    chosen = [*PARTS] if parts is None else parts
    for name in chosen:
        if name not in PARTS:
            raise ConfigError(f"parts names {name!r}; {closest(name, PARTS)}")
    if out is not None:
        check_out(out)
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError("torch finds no CUDA device here; run it on a machine with one, or try it with --device cpu")
    machine, found, start = machine_of(device), list[dict[str, Any]](), time.monotonic()
    for name, row in _all_rows(chosen, Size(device, quick, seed), isolate=isolate):
        values = {key: value for key, value in row.values.items() if math.isfinite(value)}
        found.append({"part": name, "what": row.what, "figure": row.figure, "values": values})
        if out is not None:
            write_json(out, {"machine": machine, "quick": quick, "rows": found})
        print(f"[{time.monotonic() - start:4.0f} s] {name}: {row.what}: {row.figure}", flush=True)
    heads = ("part", "what", "figure")
    rows = [[entry[head] for head in heads] for entry in found]
    title = ", ".join(f"{name} {value}" for name, value in machine.items())
    Console(width=150).print(table_of(title, heads, rows, words=3))


def machine_of(device: str) -> dict[str, str]:
    """Card, driver, and the torch that uses them."""
    facts = {"torch": torch.__version__, "jetsym": __version__}
    if not device.startswith("cuda"):
        return {"device": device, **facts}
    try:
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=20).stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        driver = "unknown"
    return {"card": torch.cuda.get_device_name(device), "driver": driver, **facts, "CUDA": str(torch.version.cuda)}


def _all_rows(names: Sequence[str], size: Size, *, isolate: bool) -> Iterator[tuple[str, Row]]:
    """Yield the lines of all parts, with their names."""
    end = time.monotonic() + ALTOGETHER
    for name in names:
        yield from ((name, row) for row in (_isolated(name, size, end) if isolate else _rows(name, size)))


def _rows(name: str, size: Size) -> Iterator[Row]:
    """Yield the lines of a part; its last line is its error, where it has one."""
    try:
        yield from PARTS[name][0](size)
    except Exception as error:  # whatever it is, the other parts are still to come
        yield Row("failed", in_words(error))


def _isolated(name: str, size: Size, end: float) -> Iterator[Row]:
    """Yield the lines of a part from a process of its own, until its limit and until ``end`` by the clock at most."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["jetsym.benchmarks.gpu_parts"])  # which takes seconds, once for all parts
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, name, size))
    process.start()
    theirs.close()
    limit = max(0.0, min(PARTS[name][1], end - time.monotonic()))
    end = time.monotonic() + limit
    try:
        while ours.poll(max(0.0, end - time.monotonic())):
            yield ours.recv()
        yield Row("ended", f"not done in {limit:.0f} s")
    except (EOFError, ConnectionError):  # it is done, or gone
        process.join(10)
        if process.exitcode:
            yield Row("failed", f"its process ended with status {process.exitcode}")
    finally:
        process.kill()
        process.join()


def _work(connection: Connection, name: str, size: Size) -> None:
    for row in _rows(name, size):
        connection.send(row)
