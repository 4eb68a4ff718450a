"""Files named in text files, after the name of a group, and caches among files."""

from __future__ import annotations

import pytest
import torch

from jetsym.errors import ConfigError, DataError
from jetsym.jets import read
from jetsym.jets.io import JetStream
from jetsym.jets.io.inspect import inspect
from jetsym.jets.io.paths import _listed, jet_files
from jetsym.jets.io.streaming.convert import convert


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
