"""Measurements of time and memory that a busy machine disturbs as little as possible."""

from __future__ import annotations

import ctypes
import gc
import math
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "alternate",
    "commit",
    "costs",
    "finished",
    "matrix_product_rate",
    "memory_of",
    "peak_growth",
    "processor_seconds",
    "seconds",
]


def seconds(task: Callable[[], Any], *, at_least: float = 0.0, clock: Callable[[], float] = time.perf_counter) -> float:
    """Measure the seconds of one call by a clock, the wall's or the processor's, averaged over as many as fill a time.

    Examples
    --------
    >>> 0.01 < seconds(lambda: time.sleep(0.01)) < 1
    True
    """
    calls, start = 0, clock()
    while not calls or clock() - start < at_least:
        task()
        calls += 1
    return (clock() - start) / calls


def processor_seconds() -> float:
    """Return the time that processors have worked for this process and for those of its children that have ended."""
    return sum(os.times()[:4])


def alternate(
    tasks: Mapping[str, Callable[[], Any]],
    repeats: int,
    *,
    at_least: float = 0.0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, NDArray[np.float64]]:
    """Measure the seconds (repeats,) of each task, alternating, so that a slow minute slows all of them.

    Examples
    --------
    >>> times = alternate({"one": lambda: sum(range(10**4)), "two": lambda: sum(range(2 * 10**4))}, 5)
    >>> times["one"].shape
    (5,)
    """
    rounds = [[seconds(task, at_least=at_least, clock=clock) for task in tasks.values()] for _ in range(repeats)]
    return dict(zip(tasks, np.array(rounds).T, strict=True))


def commit(name: str = "HEAD") -> str | None:
    """Return the hash of a commit of the checkout that jetsym is in; None where it is in none."""
    asked = ["git", "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"]
    try:
        found = subprocess.run(asked, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None


def matrix_product_rate(dtype: torch.dtype = torch.float32, *, size: int = 2048, repeats: int = 3) -> float:
    """Measure the operations per second of the machine's matrix product, the best of a few (size × size) ones."""
    left, right = torch.randn(2, size, size, dtype=dtype)
    left @ right
    return 2 * size**3 / min(seconds(lambda: left @ right) for _ in range(repeats))


def finished(result: Tensor) -> Tensor:
    """Wait for a result that is under way on an accelerator."""
    if result.is_cuda:
        torch.cuda.synchronize()
    return result


def peak_growth(function: Callable[..., Callable[[], Any]], *arguments: Any) -> float:
    """Measure the MiB by which the resident memory of a fresh process grows at most while it runs a task.

    Parameters
    ----------
    function, arguments
        ``function(*arguments)`` prepares the task, in the fresh process; it must be importable by its name.

    Returns
    -------
    float
        NaN where the system does not tell.
    """
    before, peak = memory_of(function, *arguments)
    return peak - before


def memory_of(function: Callable[..., Callable[[], Any]], *arguments: Any) -> tuple[float, float]:
    """Measure the MiB that are resident in a fresh process before it runs a task, and at most while it does.

    Parameters and NaN are those of :func:`peak_growth`.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_memory, function, arguments).result()


def costs(
    function: Callable[..., Callable[[], Any]], *arguments: Any, repeats: int = 1, enough: float = 20.0
) -> tuple[list[float], float]:
    """Measure seconds of the processor of every call of a task, and the MiB of its first one, in a fresh process.

    Parameters
    ----------
    function, arguments
        See :func:`peak_growth`.
    repeats
        Calls that are timed after a first one, which warms up; fewer where they take longer than ``enough``
        altogether, and the first one itself where it does.
    enough
        Seconds.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__])  # which takes seconds, once for all processes
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_costs, function, arguments, repeats, enough).result()


def _costs(
    function: Callable[..., Callable[[], Any]], arguments: tuple[Any, ...], repeats: int, enough: float
) -> tuple[list[float], float]:
    task = function(*arguments)
    times: list[float] = []

    def timed() -> None:
        start = time.process_time()
        task()
        times.append(time.process_time() - start)

    grown = _grown(timed)
    if not times:  # the system does not tell, and nothing was run
        timed()
    first = times.pop()
    while len(times) < repeats and first + sum(times) < enough:
        timed()
    return times or [first], grown


def _memory(function: Callable[..., Callable[[], Any]], arguments: tuple[Any, ...]) -> tuple[float, float]:
    return _resident(function(*arguments))


def _grown(task: Callable[[], Any]) -> float:
    before, peak = _resident(task)
    return peak - before


def _resident(task: Callable[[], Any]) -> tuple[float, float]:
    """Run a task; return the MiB that were resident before, and at most."""
    _give_back()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the imports and of the preparation
        before = _status("VmRSS")
        task()
        return before / 1024, _status("VmHWM") / 1024
    except OSError:
        return math.nan, math.nan


def _give_back() -> None:
    """Give memory back that the preparation has freed, which the task would take again without any growth."""
    gc.collect()
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):  # glibc's
        library.malloc_trim(0)


def _status(name: str) -> int:
    """Return an entry in KiB of what Linux says about this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
