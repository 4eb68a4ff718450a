"""Do a piece of work in processes that are killed at moments spread over it; a program of its own.

``python killed_at_moments.py WORK FOLDER DATA MOMENTS``: the work is done once in ``FOLDER/whole``, to count how often
it touches a file (opens, renames or removes it, or makes a folder) or goes on to the next batch of jets. Then it is
begun anew as often as there are moments, each time in a folder of its own, and killed with SIGKILL at one of these. A
copy of what is left stays in ``N-left``; in ``N`` the work is then done again, to its end. Processes are forked, so
that what takes long to import is imported once. Prints how often files were touched.
"""

import os
import shutil
import signal
import sys
from pathlib import Path

import awkward  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import pyarrow.parquet  # noqa: F401
import torch
import uproot  # noqa: F401
from random_chunk import random_chunk

from jetsym.commands.symmetry import compare
from jetsym.jets.evaluation.predict import predict
from jetsym.jets.generate import run
from jetsym.jets.io.download import jetclass
from jetsym.jets.io.streaming.convert import convert, to_parquet
from jetsym.jets.models import PointNet

TOUCHES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "batch"}


def predicted(out: Path, data: Path) -> None:
    model = PointNet(width=8, blocks=1)
    model.register_forward_pre_hook(lambda *_: sys.audit("batch", out))
    predict(model, data, out, batch_size=5, progress=False)


def generated(folder: Path, data: Path) -> None:
    run.generate_chunk, run._require_packages = random_chunk, lambda: None
    split = {"train": 0.5, "val": 0.5}
    run.generate(folder, jets_per_class=40, classes=["QCD", "Hbb"], split=split, processes=1, progress=False)


def downloaded(folder: Path, data: Path) -> None:
    """Take archives from a folder in place of a server."""
    jetclass.fetch = lambda url, path, **_: path if path.exists() else shutil.copy(data / path.name, path)
    jetclass.size_of = lambda url: None
    parts = ["train_100M_part0", "train_100M_part1"]
    jetclass.download_jetclass(parts, out=folder, progress=False)


def replaced_cache(folder: Path, data: Path) -> None:
    files = sorted(data.glob("*.root"))
    convert(files, folder, overwrite=True, progress=False)


WORK = {
    "predict-root": lambda folder, data: predicted(folder / "p.root", data),
    "predict-parquet": lambda folder, data: predicted(folder / "p.parquet", data),
    "cache": lambda folder, data: convert(data, folder, progress=False),
    "replaced cache": replaced_cache,
    "parquet": lambda folder, data: to_parquet(data, folder, progress=False),
    "replaced parquet": lambda folder, data: to_parquet(data, folder, overwrite=True, progress=False),
    "generate": generated,
    "download": downloaded,
    "compare": lambda folder, data: compare([str(data / "a.json"), str(data / "b.json")], out=str(folder / "c.json")),
}


def forked(work: str, folder: Path, data: Path, *, last: int = -1) -> int:
    """Do the work in a process of its own, killed when it is about to touch a file once more; count the touches."""
    told, tell = os.pipe()
    process = os.fork()
    if not process:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        torch.set_num_threads(1)
        state = {"left": last}

        def watch(event: str, arguments: tuple[object, ...]) -> None:
            if event not in TOUCHES or not str(arguments[0]).startswith(str(folder)):
                return
            if state["left"] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            state["left"] -= 1
            os.write(tell, b".")

        sys.addaudithook(watch)
        try:
            WORK[work](folder, data)
        except BaseException as error:
            print(f"{work} in {folder}: {error!r}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    os.close(tell)
    with os.fdopen(told, "rb") as pipe:
        touches = len(pipe.read())
    _, status = os.waitpid(process, 0)
    expected = 0 if last < 0 else signal.SIGKILL
    if status != expected:
        sys.exit(f"{work} in {folder} ended with status {status}; expected {expected}")
    return touches


def main(work: str, folder: Path, data: Path, moments: int) -> None:
    """Do the work whole, and killed at so many moments."""
    before = folder / "before"  # what there is already, if anything
    before.mkdir(exist_ok=True)
    touches = forked(work, Path(shutil.copytree(before, folder / "whole")), data)
    for moment in range(moments):
        place = Path(shutil.copytree(before, folder / f"{moment}"))
        forked(work, place, data, last=moment * (touches - 1) // (moments - 1))
        shutil.copytree(place, folder / f"{moment}-left")
        forked(work, place, data)
    print(touches)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
