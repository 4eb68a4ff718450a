"""The process in which metatrain trains."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

from jetsym.atoms.checkpoint import FINAL
from jetsym.atoms.training.folder import OUTPUT
from jetsym.atoms.training.said import Said
from jetsym.atoms.training.watch import Watcher
from jetsym.errors import TrainingError

__all__ = ["run"]

RUNNER = (sys.executable, "-m", "jetsym.atoms.training.runner")


def run(
    folder: Path, *, augment: bool, trust: bool, start: Path | None, said: Said, watcher: Watcher | None = None
) -> None:
    """Run metatrain in a process of its own, and keep its output."""
    command = [*RUNNER, str(folder.resolve())]
    command += [] if augment else ["--no-augmentation"]
    command += ["--trust"] if trust else []
    command += ["--ask"] if watcher is not None and watcher.decides else []
    command += [] if start is None else ["--restart", str(start.resolve())]
    # Its input ends with this process: then it stops as well.
    streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with (
        (folder / OUTPUT).open("w", encoding="utf-8") as record,
        subprocess.Popen(command, text=True, encoding="utf-8", errors="replace", **streams) as process,
        nullcontext() if watcher is None else watcher.following(partial(_answer, process)),
    ):
        try:
            assert process.stdout is not None
            for line in process.stdout:
                record.write(line)
                said.hear(line)
        except BaseException:
            process.terminate()
            raise
    if process.returncode or not (folder / FINAL).is_file():
        reason = said.reason or said.last_line or "it said nothing"
        kept = f" (all it said is in {folder / OUTPUT})" if said.began else ""
        raise TrainingError(f"metatrain stopped: {reason}{kept}")


def _answer(process: subprocess.Popen[str], answer: str) -> None:
    """Tell the process that trains, which waits at a checkpoint, whether to go on."""
    assert process.stdin is not None
    with suppress(OSError, ValueError):  # it was stopped otherwise
        process.stdin.write(f"{answer}\n")
        process.stdin.flush()
