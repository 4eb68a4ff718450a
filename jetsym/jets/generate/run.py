"""``jetsym generate``: a sample of JetClass-like jets, made by several processes, resumable and reproducible."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from importlib.util import find_spec
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path

from jetsym.errors import ConfigError, JetsymError, MissingDependencyError, closest, expect_at_least
from jetsym.files import check_out, mark_finished
from jetsym.jets.generate.chunk import ChunkTask, JetTable, generate_chunk
from jetsym.jets.generate.detector import DetectorConfig
from jetsym.jets.generate.manifest import Manifest, PlannedFile, plan, settings
from jetsym.jets.io.writer import open_jetclass
from jetsym.jets.schema import CLASSES
from jetsym.locks import locked
from jetsym.progress import progress_bar

__all__ = ["generate"]

#: Jets per basket: readers decompress whole baskets, and this many fit into a few tens of megabytes.
_JETS_PER_BASKET = 10_000


def generate(
    out: str | Path,
    *,
    jets_per_class: int = 1000,
    classes: Sequence[str] = CLASSES,
    split: dict[str, float] | None = None,
    jets_per_file: int = 100_000,
    seed: int = 0,
    processes: int | None = None,
    detector: DetectorConfig = DetectorConfig(),  # noqa: B008 - frozen
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Generate JetClass-like jets with Pythia 8, a simple detector and FastJet, as ROOT files with JetClass's schema.

    Writes one or more files per class, named as in JetClass (``HToBB_000.root``, …), in one folder per split, and a
    ``manifest.json`` with settings, versions, jet counts and checksums. Every file appears complete or not at all, and
    the folders are read only when all files are there; running the same call again continues where the last one
    stopped. The jets depend on the seed, not on the number of
    processes. About 30 to 60 jets per second and core.

    As the work is done by fresh processes, a script that calls this needs ``if __name__ == "__main__":``, unless
    ``processes=1``.

    Parameters
    ----------
    out
        Folder to write to; made if it is not there.
    jets_per_class
        Number of jets of each class, over all splits.
    classes
        Classes to generate, of QCD, Hbb, Hcc, Hgg, H4q, Hqql, Zqq, Wqq, Tbqq, Tbl.
    split
        Name of a subfolder -> fraction of the jets, adding up to 1, such as {"train": 0.7, "val": 0.1, "test": 0.2}.
        The splits share no collision. None writes all jets into ``out`` itself.
    jets_per_file
        Largest number of jets in a file.
    seed
        Seed of the whole sample, 0 or more.
    processes
        Number of processes; None takes one per CPU core that this process may use.
    detector
        Constants of the detector.
    overwrite
        Replace a sample that lies in ``out``. Without it, one made with other settings is an error.
    progress
        Show a progress bar.

    Returns
    -------
    Path
        The manifest.

    Raises
    ------
    ConfigError
        If an argument cannot be used, nothing can be written to ``out``, or it holds a sample with other settings.
    DataError
        If ``out`` holds other data: files of the same names that no manifest knows, or any of other names.
    MissingDependencyError
        If Pythia or FastJet is not installed.
    LockedError
        If another process is writing to ``out``.
    JetsymError
        If a process fails. Files that were finished are kept.

    Examples
    --------
    >>> generate("jets", jets_per_class=2000, split={"train": 0.8, "val": 0.2}, seed=1)      # doctest: +SKIP
    PosixPath('jets/manifest.json')
    """
    classes = _check(classes, jets_per_class, jets_per_file, split, seed, processes)
    _require_packages()
    folder = check_out(out, folder=True)
    files = plan(classes, jets_per_class=jets_per_class, jets_per_file=jets_per_file, split=split)
    recipe = settings(
        classes=classes,
        jets_per_class=jets_per_class,
        jets_per_file=jets_per_file,
        seed=seed,
        split=split,
        detector=detector,
    )
    with locked(folder, "jetsym generate"):
        manifest = Manifest.open(folder, recipe, files, overwrite=overwrite)
        missing = [file for file in files if not manifest.is_finished(file)]
        tasks = [task for file in missing for task in file.tasks(seed=seed, detector=detector)]
        workers = min(processes or _cpu_count(), max(len(tasks), 1))
        total = sum(file.n_jets for file in missing)
        with progress_bar("jets", total, shown=progress) as advance, closing(_generate_all(tasks, workers)) as tables:
            for file in missing:
                _write(folder / file.name, file, tables, advance)
                manifest.add(file)
        for place in manifest.folders:
            mark_finished(place)
    return manifest.path


def _write(path: Path, file: PlannedFile, tables: Iterator[JetTable], advance: Callable[[int], None]) -> None:
    """Take a file's jets from the stream of chunks and write them, basket by basket."""
    waiting: list[JetTable] = []
    with open_jetclass(path) as writer:
        while len(writer) < file.n_jets:
            waiting.append(next(tables))
            advance(len(waiting[-1]))
            n_jets = sum(map(len, waiting))
            if n_jets >= _JETS_PER_BASKET or len(writer) + n_jets == file.n_jets:
                writer.extend(JetTable.concatenate(waiting).columns())
                waiting.clear()


def _generate_all(tasks: Sequence[ChunkTask], processes: int) -> Generator[JetTable, None, None]:
    """Yield chunks in the order of the tasks, computed ahead by several processes, but not further than is of use."""
    if processes == 1:
        for task in tasks:
            with _named(task):
                table = generate_chunk(task)
            yield table
        return
    context = multiprocessing.get_context("spawn")
    listening, lifeline = context.Pipe(duplex=False)
    executor = ProcessPoolExecutor(processes, mp_context=context, initializer=_prepare_worker, initargs=(listening,))
    try:
        remaining = iter(tasks)
        running: deque[Future[JetTable]] = deque()
        for task in tasks:
            with _named(task):
                while len(running) < 3 * processes and (ahead := next(remaining, None)) is not None:
                    with _deaf():
                        running.append(executor.submit(generate_chunk, ahead))
                table = running.popleft().result()
            yield table
        executor.shutdown()
    finally:
        # After an error or Ctrl-C nobody waits for chunks that are under way: without their lifeline the workers end.
        lifeline.close()
        executor.shutdown(cancel_futures=True)
        listening.close()


@contextmanager
def _deaf() -> Iterator[None]:
    """Begin processes that Ctrl-C does not reach, from their first moment on: it reaches all of a terminal.

    They end with their parent, who alone says that it was interrupted.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which, begun with the first worker, would unblock the signal before its time
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _prepare_worker(lifeline: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(lifeline,), daemon=True).start()


def _end_with_parent(lifeline: Connection) -> None:
    """End when the other end closes: as the parent wants it, or as it is killed and cannot tell its workers."""
    lifeline.poll(None)
    os._exit(1)


@contextmanager
def _named(task: ChunkTask) -> Iterator[None]:
    """Name the chunk that an error came from, and what to do."""
    try:
        yield
    except BrokenProcessPool as error:
        raise JetsymError(
            f"a process that generated {task} ended abruptly, most likely for want of memory; finished files are kept: "
            "run the same command again, with fewer processes"
        ) from error
    except Exception as error:
        raise JetsymError(
            f"generating {task} failed: {error}; finished files are kept, the same command continues after them"
        ) from error


def _check(
    classes: Sequence[str],
    jets_per_class: int,
    jets_per_file: int,
    split: Mapping[str, float] | None,
    seed: int,
    processes: int | None,
) -> tuple[str, ...]:
    """Refuse arguments that cannot work, and return the classes as a tuple."""
    if isinstance(classes, str) or not classes:
        raise ConfigError(f"classes={classes!r} is not a list of classes; expected one or more of {', '.join(CLASSES)}")
    for name in classes:
        if name not in CLASSES:
            raise ConfigError(f"class {name!r} is not one of JetClass's; {closest(name, CLASSES)}")
    if len(set(classes)) < len(classes):
        raise ConfigError(f"classes={tuple(classes)} names a class twice; expected each once")
    for name, value, least in (
        ("jets_per_class", jets_per_class, 1),
        ("jets_per_file", jets_per_file, 1),
        ("seed", seed, 0),
        ("processes", 1 if processes is None else processes, 1),
    ):
        expect_at_least(name, value, least)
    for name, fraction in (split or {}).items():
        if not name.isidentifier():
            raise ConfigError(f"split {name!r} is not a plain folder name; expected letters, digits and underscores")
        if not 0 < fraction <= 1:
            raise ConfigError(f"split {name!r} has the fraction {fraction}; expected more than 0, at most 1")
    if split is not None and not math.isclose(sum(split.values()), 1.0, abs_tol=1e-6):
        raise ConfigError(f"the fractions of split={split} add up to {sum(split.values()):g}; expected 1")
    return tuple(classes)


def _require_packages() -> None:
    for package in ("pythia8mc", "fastjet"):
        if find_spec(package) is None:
            raise MissingDependencyError.of(package, extra="generate", purpose="jetsym generate")


def _cpu_count() -> int:
    # os.process_cpu_count came with Python 3.13; the affinity is what a batch system grants, and Linux only.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
