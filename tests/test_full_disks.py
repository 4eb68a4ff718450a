"""Work on a full disk ends in one error that names the file, leaves what was there, and goes on where there is room."""

from __future__ import annotations

import errno
import os
import resource
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from random_chunk import random_chunk

import jetsym
from jetsym import cli
from jetsym.errors import ResourceError, is_out_of_memory, lack_of, lacks_explained
from jetsym.files import finished_file, write_atomically
from jetsym.jets import checkpoint, read
from jetsym.jets.evaluation.evaluate import predict_logits
from jetsym.jets.evaluation.predict import predict
from jetsym.jets.export import export_onnx
from jetsym.jets.generate.chunk import ChunkTask
from jetsym.jets.generate.detector import DetectorConfig
from jetsym.jets.io.streaming.convert import convert, to_parquet
from jetsym.jets.io.streaming.stream import JetStream
from jetsym.jets.io.writer import write_jetclass
from jetsym.jets.models import ParticleNet, PointNet, weaver
from jetsym.plotting.style import save_figure
from jetsym.training.loop import train


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes: where that ends, systems and libraries go the ways of a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="module")
def data(tmp_path_factory, make_jets, jetclass_columns, write_tree) -> Path:
    """Two files with 60 jets in all."""
    folder = tmp_path_factory.mktemp("data")
    for number in range(2):
        write_tree(folder / f"QCD_{number}.root", jetclass_columns(make_jets(30, seed=number)))
    return folder


@pytest.fixture(scope="module")
def columns():
    return random_chunk(ChunkTask("QCD", 100, 0, (0, 0, 0, 0), DetectorConfig())).columns()


def figure(path: Path) -> Path:
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    axes.plot([0, 1])
    return save_figure(axes, path)


def weaver_weights(path: Path) -> None:
    weaver.export(ParticleNet(k=4, channels=((8, 8),), hidden=8), path)


def report(path: Path) -> Path:
    points = np.random.default_rng(0).normal(size=(4, 3))
    return jetsym.probe(lambda x: x[:, 0] + 1, points, l_max=2, progress=False).save(path)


#: What is written -> how, to a path, given files of jets and columns of some; and the bytes at which it stops.
WRITERS: dict[str, tuple[Callable[..., object], tuple[int, ...]]] = {
    "a.txt": (lambda out, data, columns: write_atomically(out, 100_000 * "x"), (4096, 50_000)),
    "a.safetensors": (lambda out, data, columns: checkpoint.save(out, PointNet(width=16)), (4096, 30_000)),
    "a.pt": (lambda out, data, columns: weaver_weights(out), (4096, 10_000)),
    "a.json": (lambda out, data, columns: report(out), (2500,)),
    "a.png": (lambda out, data, columns: figure(out), (4096,)),
    "a.pdf": (lambda out, data, columns: figure(out), (4096,)),
    "a.onnx": (lambda out, data, columns: export_onnx(PointNet(width=16), out), (4096,)),
    "a.root": (lambda out, data, columns: write_jetclass(out, columns), (4096, 20_000)),
    "p.root": (lambda out, data, columns: predict(tagger(), data, out, progress=False), (4096, 8000)),
    "p.parquet": (lambda out, data, columns: predict(tagger(), data, out, progress=False), (4096, 6000)),
    "cache": (lambda out, data, columns: convert(data, out, progress=False), (2100, 4096, 20_000)),
    "parquet": (lambda out, data, columns: to_parquet(data, out, progress=False), (4096, 10_000)),
}


def tagger() -> PointNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return PointNet(width=8, blocks=1)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        pytest.param(name, size, marks=[pytest.mark.slow] * name.endswith("onnx"))
        for name, (_, sizes) in WRITERS.items()
        for size in sizes
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_the_error_names_the_place_and_the_work_goes_on(name, size, data, columns, tmp_path):
    write, out = WRITERS[name][0], tmp_path / name
    with room_for(size), pytest.raises(ResourceError, match="it would be larger than files may be here") as found:
        write(out, data, columns)
    assert str(out) in str(found.value)
    assert str(data) not in str(found.value), "what was read is not to blame"
    assert not out.is_file()
    write(out, data, columns)
    left = [path.name for path in (out if out.is_dir() else tmp_path).iterdir()]
    assert not [one for one in left if one.startswith((".", "unfinished"))]
    if name == "parquet":
        assert len(read(out)) == 60
    if name == "cache":
        assert JetStream(out, batch_size=7).n_jets == 60


def test_what_was_there_stays(tmp_path):
    path = write_atomically(tmp_path / "a.txt", "before")
    with room_for(4096), pytest.raises(ResourceError, match="what was there before is unchanged"):
        write_atomically(path, 5000 * "x")
    assert path.read_text() == "before"
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]


def test_a_converted_folder_goes_on_after_every_size_of_disk(data, tmp_path):
    """Whatever the moment at which a disk is full, the same command makes the same cache."""
    whole = convert(data, tmp_path / "whole", progress=False)
    expected = {path.name: path.read_bytes() for path in whole.glob("*.npy")}
    largest = max(map(len, expected.values()))
    for number, size in enumerate(np.linspace(2100, largest, 8).astype(int).tolist()):
        out = tmp_path / str(number)
        with room_for(size):
            try:
                convert(data, out, progress=False)
            except ResourceError:
                pass
            else:
                assert size == largest
        assert {path.name: path.read_bytes() for path in convert(data, out, progress=False).glob("*.npy")} == expected


def test_a_run_says_what_it_has_saved_and_goes_on(data, tmp_path):
    """Bit for bit as if the disk had been large enough."""
    options = {"data": [str(path) for path in sorted(data.glob("*.root"))], "max_particles": 10, "progress": False}
    options |= {"epochs": 2, "batch_size": 4, "options": {"width": 8, "blocks": 1}, "checkpoint_every": 3}
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_the_disk(moment):
        if moment.step == 5:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))

    try:
        with pytest.raises(
            ResourceError, match=r"last.safetensors could not be written \(what was there before is un.*"
        ):
            train(out=tmp_path / "run", callbacks=[fill_the_disk], **options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert checkpoint.read(tmp_path / "run" / checkpoint.LAST)[0].progress["position"]["step"] == 3
    train(out=tmp_path / "run", resume=True, **options)
    train(out=tmp_path / "whole", **options)
    (_, tensors), (_, others) = (checkpoint.read(tmp_path / name / checkpoint.LAST) for name in ("run", "whole"))
    assert tensors.keys() == others.keys()
    assert all(torch.equal(tensors[name], others[name]) for name in tensors)


def test_where_an_error_has_a_name_of_its_own_it_is_said():
    found = pytest.raises(ResourceError, match=r"it could not go on \(/data/a.root\): too many files are open")
    with found, lacks_explained("it could not go on"):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), "/data/a.root")


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """In this order: written, brought to the disk, renamed, and the folder brought to the disk."""
    told: list[str] = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(
        os, "fsync", lambda place: (told.append(str(Path(f"/proc/self/fd/{place}").readlink())), sync(place))
    )
    monkeypatch.setattr(Path, "replace", lambda path, to: (told.append("renamed"), replace(path, to))[1])
    write_atomically(tmp_path / "a.txt", "whole")
    assert told[0].startswith(str(tmp_path / ".a."))
    assert told[1:] == ["renamed", str(tmp_path)]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_rights_are_those_of_the_umask(tmp_path, mask):
    """Also where a library makes its file for its owner alone."""
    before = os.umask(mask)
    try:
        with finished_file(tmp_path / "a.bin") as unfinished:
            os.close(os.open(unfinished, os.O_CREAT | os.O_WRONLY, 0o600))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == 0o666 & ~mask


def test_a_damaged_file_is_not_taken_for_a_lack_of_files_nor_the_other_way_around(data):
    """With skip_bad a file is left out that is damaged, and none for want of open files."""
    stream = JetStream(data, batch_size=10, skip_bad=True)
    before, taken = resource.getrlimit(resource.RLIMIT_NOFILE), []
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, before[1]))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        with pytest.raises(ResourceError, match=r"QCD_\d.root: cannot be read: too many files are open.*ulimit -n"):
            list(stream)
    finally:
        for one in taken:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert sum(map(len, JetStream(data, batch_size=10, skip_bad=True))) == 60
    assert not stream.skipped


class _Hungry(torch.nn.Module):
    classes = ("QCD", "Tbqq")

    def forward(self, jets):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


def test_where_memory_ends_the_size_of_batches_is_named(make_jets):
    with pytest.raises(ResourceError, match=r"512 jets at a time.*memory does not suffice.*smaller batch_size"):
        predict_logits(_Hungry(), make_jets(4))


def test_what_is_lacking_is_found_in_causes_and_in_words():
    for number, words in {errno.ENOSPC: "no space", errno.EDQUOT: "quota", errno.EMFILE: "too many files"}.items():
        assert words in lack_of(OSError(number, os.strerror(number)))[0]
        assert words in lack_of(RuntimeError(f"I/O error: {os.strerror(number)} (os error {number})"))[0]
        later = ValueError("unexpected position")
        later.__context__ = OSError(number, os.strerror(number))
        assert words in lack_of(later)[0]
    assert lack_of(MemoryError())[0] == "memory does not suffice"
    assert lack_of(MemoryError(), memory=False) is None
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    for other in (OSError(errno.ENOENT, os.strerror(errno.ENOENT)), RuntimeError("shapes differ"), KeyError("x")):
        assert lack_of(other) is None
        with pytest.raises(type(other)), lacks_explained("nothing"):
            raise other


def hungry(batch_size: int = 512) -> None:
    """Do what needs too much memory.

    Parameters
    ----------
    batch_size
        Jets at a time.
    """
    raise MemoryError


def full(path: str = "/data/a.root") -> None:
    """Write where there is no room.

    Parameters
    ----------
    path
        A name.
    """
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hungry", "memory does not suffice; choose a smaller --batch_size, and run the same command again"),
        (
            "full",
            "the command could not go on (/data/a.root): no space is left on the disk; make room, and run the same",
        ),
    ],
)
def test_the_command_line_says_in_one_line_what_is_lacking(name, said, capsys):
    commands = {name: cli.Command(f"test_full_disks:{name}", "try")}
    assert cli.dispatch("jetsym", commands, "Try.", [name]) == 1
    found = capsys.readouterr().err
    assert said in found
    assert found.count("\n") == 1
