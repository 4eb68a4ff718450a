"""The folder of a run by metatrain: where it goes on, its metrics, and that a refused run leaves it as it was."""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from jetsym.atoms.architectures.bias import expect_injection
from jetsym.atoms.checkpoint import FINAL, epochs_in, is_cut_off, is_whole, read_checkpoint
from jetsym.errors import CheckpointError, ConfigError
from jetsym.files import finished_file

__all__ = [
    "COPIES",
    "GIVEN",
    "INDICES",
    "METRICS",
    "OPTIONS",
    "OUTPUT",
    "WATCH",
    "WATCH_FIGURE",
    "as_it_was",
    "best_of",
    "join_metrics",
    "where_to_go_on",
]

#: The export of the model at the end.
EXPORTED = "model.pt"
GIVEN, OPTIONS, OUTPUT, METRICS = "train.yaml", "options.yaml", "output.txt", "train.csv"
#: What is measured while it trains, and its figure.
WATCH, WATCH_FIGURE = "watch.json", "watch.png"
#: What metatrain writes anew, but not over others.
INDICES = "indices"
#: Sections of metatrain's options -> copies of structures, where it needs one.
COPIES = {name: f"{name}.xyz" for name in ("training_set", "validation_set", "test_set")}
BASELINES = {"composition_model.ckpt", "scaler.ckpt"}
#: All that is written before the first epoch is over.
WRITTEN = {
    *(GIVEN, OPTIONS, OUTPUT, METRICS, INDICES, WATCH, WATCH_FIGURE, "options_restart.yaml", "train.log"),
    *BASELINES,
    *COPIES.values(),
}


def where_to_go_on(folder: Path, resume: bool, trust: bool, inject: str | None) -> tuple[int, Path] | None:
    """Return epoch and checkpoint that a run goes on from, looked at for what it may run; None for a new one.

    A run whose first checkpoint was cut off begins anew.

    Raises
    ------
    ConfigError
        Something is in the folder, and the run is not to go on, or it was trained with another injection.
    CheckpointError
        The checkpoint is refused.
    """
    if not resume and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise ConfigError(f"out is {folder}, which is not empty; choose another folder, or resume=true to continue")
    epochs = epochs_in(folder)
    if not resume or not epochs:
        return None
    # One that was being written when the run was killed has no end; the one before it serves as well, if there is one.
    whole = [epoch for epoch, file in epochs.items() if is_whole(file)]
    if not whole and len(epochs) == 1 and is_cut_off(*epochs.values()):
        return None
    last = max(whole or epochs)
    content = read_checkpoint(epochs[last], trust=trust)  # metatrain itself would run what is in there
    expect_injection(inject, epochs[last], content)
    return last, epochs[last]


@contextmanager
def as_it_was(folder: Path) -> Iterator[Callable[[], None]]:
    """Put a folder back to what it was where the block ends with an error before it has called what this yields.

    Checkpoints of epochs are written after that, and are not copied.
    """
    kept = False

    def keep() -> None:
        nonlocal kept
        kept = True

    with tempfile.TemporaryDirectory() as place:
        before, copy = {path.name for path in folder.iterdir()}, Path(place)
        _copy({folder / name for name in WRITTEN & before}, copy)
        try:
            yield keep
        except BaseException:
            if not kept:
                now = list(folder.iterdir())
                _remove(path for path in now if path.name in WRITTEN or path.name not in before)
                _copy(copy.iterdir(), folder)
            raise


def _copy(paths: Iterable[Path], folder: Path) -> None:
    for path in paths:
        if path.is_dir():
            shutil.copytree(path, folder / path.name)
        else:
            shutil.copy2(path, folder / path.name)


def _remove(paths: Iterable[Path]) -> None:
    """Remove what was written, but for locks, which end by themselves."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.suffix != ".lock":
            path.unlink(missing_ok=True)


def best_of(folder: Path, *, trust: bool = False) -> str:
    """Say which epoch of a run validated best, how well, and which files hold its weights; "" where none is known."""
    try:
        epoch = read_checkpoint(folder / FINAL, trust=trust).get("best_epoch")
    except CheckpointError:  # a training that is over does not fail by what is said of it
        return ""
    if not isinstance(epoch, int):
        return ""
    names, units, rows = _metrics(folder / METRICS)
    found = dict(zip(names, rows.get(epoch, ()), strict=False))
    errors = [
        f"{name} {found[name]}{' ' if unit else ''}{unit}"
        for name, unit in zip(names, units, strict=False)
        if name.startswith("validation") and name in found
    ]
    said = f", with {', '.join(errors)}" if errors else ""
    return f"best in validation: epoch {epoch}{said}; its weights are in {folder / FINAL} and {folder / EXPORTED}"


def _metrics(file: Path) -> tuple[list[str], list[str], dict[int, list[str]]]:
    """Return the names of the metrics, their units, and their values by epoch."""
    if not file.is_file():
        return [], [], {}
    with file.open(encoding="utf-8", newline="") as text:
        lines = [[cell.strip() for cell in line] for line in csv.reader(text)]
    (names, units), rows = [*lines, [], []][:2], lines[2:]
    return names, units, {int(row[0]): row for row in rows if len(row) == len(names) and row[0].isdecimal()}


def join_metrics(file: Path) -> None:
    """Join the metrics of a continued run: metatrain appends to them, with the names once more and repeated epochs."""
    if not file.is_file():
        return
    with file.open(encoding="utf-8", newline="") as text:
        lines = [*csv.reader(text), [], []]
    (names, units), rows = lines[:2], lines[2:]
    epochs = {row[0].strip(): row for row in rows if len(row) == len(names) and row[0].strip().isdecimal()}
    with finished_file(file) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as text:
        csv.writer(text).writerows([names, units, *(epochs[epoch] for epoch in sorted(epochs, key=int))])
