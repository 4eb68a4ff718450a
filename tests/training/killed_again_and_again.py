"""Train as ``train.json`` in a folder says, in processes that are killed at random; a program of its own.

``python killed_again_and_again.py FOLDER KILLS``: every process continues the run in FOLDER/run. It is killed with
SIGKILL some steps later, at any moment of a step or of the writing of a checkpoint; the last one is left to finish.
The processes are forked, so that what takes long to import is imported once. Prints the steps of which they died.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import awkward  # noqa: F401
import sklearn.metrics  # noqa: F401
import torch
import uproot  # noqa: F401

import jetsym.jets.io.streaming.stream
import jetsym.probing.monitor  # noqa: F401
from jetsym.training.loop import train


def child(folder: Path, told: int) -> None:
    """Train, telling the number of every step that is done."""
    torch.set_num_threads(1)
    options = json.loads((folder / "train.json").read_text())
    train(
        out=folder / "run",
        resume=True,
        progress=False,
        callbacks=[lambda moment: os.write(told, moment.step.to_bytes(4, "big"))],
        **options,
    )


def main(folder: Path, kills: int) -> None:
    random.seed(1)
    killed_at: list[int] = []
    while True:
        reading, told = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(reading)
            status = 1
            try:
                child(folder, told)
                status = 0
            finally:
                os._exit(status)
        os.close(told)
        step, wait = 0, random.randrange(1, 6) if len(killed_at) < kills else 10**9
        while wait and (message := os.read(reading, 4)):
            step, wait = int.from_bytes(message, "big"), wait - 1
        if wait == 0:
            time.sleep(random.random() * 0.02)
            os.kill(pid, signal.SIGKILL)
            killed_at.append(step)
        os.close(reading)
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            continue
        print(json.dumps(killed_at))
        sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
