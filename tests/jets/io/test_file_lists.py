"""Files named in text files, after the name of a group, and caches among files."""

from __future__ import annotations

import os

import pytest
import torch

from jetsym.cli import main
from jetsym.errors import CheckpointError, ConfigError, DataError
from jetsym.jets import checkpoint, read
from jetsym.jets.io import JetStream
from jetsym.jets.io.inspect import inspect
from jetsym.jets.io.paths import _listed, jet_files
from jetsym.jets.io.streaming.convert import convert
from jetsym.jets.models import DeepSets


def test_a_list_names_files_patterns_and_folders(jetclass_file, tmp_path, monkeypatch):
    files = [jetclass_file(f"{name}.root", n=4, seed=number) for number, name in enumerate("abcd")]
    folder = tmp_path / "lists"
    folder.mkdir()
    elsewhere = files[0].parent
    (folder / "train.txt").write_text(f"# my files\n{elsewhere}/[ab].root\n\nQCD:{files[3]}\n../{files[2].name}\n")
    if elsewhere != tmp_path:
        files[2].rename(tmp_path / files[2].name)
    monkeypatch.chdir("/")
    found = jet_files(f"@{folder}/train.txt")
    assert [file.name for file in found] == ["a.root", "b.root", "d.root", "c.root"]
    assert len(read(f"@{folder}/train.txt")) == 16
    assert [file.name for file in jet_files([f"@{folder}/train.txt", files[0]])] == [file.name for file in found]


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), ("# nothing\n\n", "names no files"), ("@other.txt\n", "names another list")],
)
def test_lists_that_cannot_be_read(content, message, tmp_path):
    if content is not None:
        (tmp_path / "list.txt").write_text(content)
    with pytest.raises(DataError, match=message):
        jet_files(f"@{tmp_path}/list.txt")


def test_comments_end_lines_of_a_list(jetclass_file, tmp_path):
    a, b = jetclass_file("a.root", 3), jetclass_file("b #2.root", 4)
    (tmp_path / "list.txt").write_text(f"# all\n{a}  # the first\nQCD:a.root\t#again\n  \n{b}\n#end\nb*2.root # 2\n")
    assert jet_files(f"@{tmp_path / 'list.txt'}") == [a, b]
    (tmp_path / "none.txt").write_text("# nothing\n   # but words\n")
    with pytest.raises(DataError, match="names no files"):
        jet_files(f"@{tmp_path / 'none.txt'}")


def test_lines_longer_than_a_name_can_be(jetclass_file, tmp_path):
    path, address = jetclass_file("a.root", 3), f"https://example.org/b.root?token={'x' * 300}"
    (tmp_path / "list.txt").write_text(f"# {'words ' * 60}\n{path}\n")
    assert jet_files(f"@{tmp_path / 'list.txt'}") == [path]
    (tmp_path / "far.txt").write_text(f"{path}\n{address}\n")
    assert _listed(f"@{tmp_path / 'far.txt'}") == [path, address]


def test_names_before_paths_are_taken_off(jetclass_file):
    path = jetclass_file("a.root", n=4)
    assert jet_files(f"QCD:{path}") == [path]
    assert jet_files([f"top:{path.parent}/*.root"]) == [path]


def test_colons_in_names_that_are_there_stay(jetclass_file, monkeypatch):
    path = jetclass_file("a.root", n=4)
    other = path.rename(path.parent / "run12:a.root")
    jetclass_file("b.root", n=4)
    monkeypatch.chdir(path.parent)
    assert [file.resolve() for file in jet_files("run12:*.root")] == [other]
    (path.parent / "list.txt").write_text("run12:a.root\n")
    monkeypatch.chdir("/")
    assert jet_files(f"@{path.parent}/list.txt") == [other]


@pytest.mark.parametrize("columns", ["kin", "full", "all"])
def test_a_cache_is_read_like_its_files(jetclass_file, tmp_path, columns):
    files = [jetclass_file("a.root", n=30), jetclass_file("b.root", n=21, seed=2)]
    cache = convert(files, tmp_path / "cache", columns=columns, progress=False)
    direct, found = read(files, columns=columns), read(cache)
    for name in ("p4", "mask", "scalars", "jet_p4", "label"):
        assert torch.equal(getattr(found, name), getattr(direct, name)), name
    assert found.columns.keys() == direct.columns.keys()
    assert torch.equal(read(cache, limit=17).label, found.label[[(2 * n + 1) * 51 // 34 for n in range(17)]])
    assert len(read([cache, jetclass_file("c.root", n=9, seed=3)], columns=columns)) == 60
    assert inspect([cache, files[0]]).n_jets == 81
    stream = JetStream([cache, files[0]], batch_size=9, columns=columns)
    assert sum(len(batch) for batch in stream) == 81


def test_a_cache_that_does_not_fit_is_refused(jetclass_file, tmp_path):
    path = jetclass_file("a.root", n=30)
    cache = convert(path, tmp_path / "cache", progress=False)
    (tmp_path / "m.yaml").write_text("particles: {px: part_px, py: part_py, pz: part_pz, energy: part_energy}\n")
    with pytest.raises(ConfigError, match="made without a mapping"):
        read(cache, mapping=tmp_path / "m.yaml")
    with pytest.raises(DataError, match="is a cache already"):
        convert(cache, tmp_path / "other", progress=False)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(DataError, match="is stale"):
        read(cache)


def test_links_to_folders_are_followed_and_dead_ones_named(jetclass_file, tmp_path):
    file = jetclass_file("real/a/jets.root", n=7)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "sub").symlink_to(file.parent)
    (tmp_path / "links" / "again").symlink_to("sub")
    (tmp_path / "links" / "up").symlink_to("..")
    (tmp_path / "links" / "itself").symlink_to("itself")
    assert len(read(tmp_path / "links")) == 7
    (tmp_path / "links" / "dead.root").symlink_to("nowhere")
    with pytest.raises(DataError, match="dead.root cannot be read: No such file"):
        read(tmp_path / "links")
    with pytest.raises(DataError, match="dead.root"):
        read(tmp_path / "links" / "dead.root")


def test_pipes_in_place_of_files(jetclass_file, tmp_path):
    jetclass_file("data/jets.root")
    for name in ("x.root", "x.parquet", "x.h5", "x.npz"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(DataError, match="a pipe, which may never end"):
            read(tmp_path / name)
    os.mkfifo(tmp_path / "data" / "pipe.root")
    with pytest.raises(DataError, match=r"pipe.root cannot be read: it is a pipe"):
        read(tmp_path / "data")


def test_names_in_bytes_of_no_encoding(jetclass_file, tmp_path):
    name = os.fsdecode(b"caf\xe9")
    file = jetclass_file(f"{name}/j\udce9ts.root", n=5)
    assert len(read(file)) == len(read(file.parent)) == 5
    assert main(["inspect", str(file)]) == 0
    assert main(["convert", str(file), "--out", str(tmp_path / name / "cache")]) == 0
    assert len(read(tmp_path / name / "cache")) == 5
    checkpoint.save(file.parent / "m\udce9.safetensors", DeepSets())
    scores = tmp_path / name / "scores.root"
    words = [str(file.parent / "m\udce9.safetensors"), str(file), "--out", str(scores), "--progress", "false"]
    assert main(["predict", *words]) == 0
    assert scores.is_file()


def test_an_empty_path_is_not_the_folder_one_is_in():
    with pytest.raises(ConfigError, match="expected a path"):
        read("")
    with pytest.raises(CheckpointError, match="expected a path"):
        checkpoint.load("")
