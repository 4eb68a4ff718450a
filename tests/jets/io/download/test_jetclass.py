"""JetClass from a stand-in of its record on this machine, with small archives, cut connections and hostile members."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from jetsym.cli import main
from jetsym.errors import ConfigError, DownloadError
from jetsym.jets.io.download import jetclass as datasets
from jetsym.jets.io.download.archive import unpack
from jetsym.jets.io.download.jetclass import JETCLASS, Archive, chosen_splits, download_jetclass

FILES = {f"val_5M/{kind}_120.root": np.random.default_rng(place).bytes(50_000) for place, kind in enumerate("ABC")}


def tar_of(files: dict[str, bytes], **special: dict[str, object]) -> bytes:
    """An archive of files; ``special`` adds members by name, with attributes of their own."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for attributes in special.values():
            member = tarfile.TarInfo()
            for key, value in attributes.items():
                setattr(member, key, value)
            tar.addfile(member)
    return buffer.getvalue()


@pytest.fixture
def record(file_server, monkeypatch):
    """The record's stand-in, with val_5M and two parts of train_100M."""
    bodies = {
        "val_5M": tar_of(FILES),
        "train_100M_part0": tar_of({"HToBB_000.root": b"zero"}),
        "train_100M_part1": tar_of({"./HToBB_010.root": b"one", "README": b"skipped"}),
    }
    monkeypatch.setattr(datasets, "_RECORD", file_server.url)
    monkeypatch.setattr(datasets, "fetch", lambda *a, **k: real_fetch(*a, **k, pause=0.001))
    for split, body in bodies.items():
        monkeypatch.setitem(JETCLASS, split, Archive(split, hashlib.md5(body).hexdigest()))
        file_server.files[JETCLASS[split].name] = body
    return file_server


real_fetch = datasets.fetch


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.root"))}


def gets(server) -> list[tuple[str, str | None]]:
    return [(name, wanted) for method, name, wanted in server.asked if method == "GET"]


def test_a_split_is_fetched_and_unpacked(record, tmp_path):
    assert download_jetclass(out=tmp_path / "new", progress=False) == [tmp_path / "new/val_5M"]
    assert contents(tmp_path / "new") == FILES
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["val_5M"]
    download_jetclass(out=tmp_path / "new", progress=False)
    assert len(gets(record)) == 1, "what is there is not fetched again"
    (tmp_path / "new/val_5M/A_120.root").write_bytes(b"cut")
    download_jetclass(out=tmp_path / "new", progress=False)
    assert contents(tmp_path / "new") == FILES


def test_parts_share_a_folder_and_archives_may_stay(record, tmp_path):
    parts = ["train_100M_part0", "train_100M_part1"]
    assert download_jetclass(parts, out=tmp_path, keep_archives=True, progress=False) == [tmp_path / "train_100M"]
    assert contents(tmp_path) == {"train_100M/HToBB_000.root": b"zero", "train_100M/HToBB_010.root": b"one"}
    assert len(list(tmp_path.glob("*.tar"))) == 2


def test_cut_connections_are_taken_up_again(record, tmp_path):
    record.drops = [60_000, 0, 30_000]
    download_jetclass(out=tmp_path, progress=False)
    assert [wanted for _, wanted in gets(record)] == [None, "bytes=60000-", "bytes=60000-", "bytes=90000-"]
    assert contents(tmp_path) == FILES


def test_wrong_bytes_are_not_unpacked(record, tmp_path):
    body = record.files["JetClass_Pythia_val_5M.tar"]
    record.files["JetClass_Pythia_val_5M.tar"] = body[:-1] + b"?"
    with pytest.raises(DownloadError, match="is not the file expected: its md5 is"):
        download_jetclass(out=tmp_path, progress=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["fetch", "unpack", "move", "note"])
def test_a_killed_call_is_continued(record, tmp_path, monkeypatch, place):
    calls = iter(range(2))

    def killed(original):
        def change(*arguments, **options):
            if next(calls, None) is None:
                raise KeyboardInterrupt
            return original(*arguments, **options)

        return change

    with monkeypatch.context() as patch:
        if place == "fetch":
            record.drops = [60_000]

            def dying(*arguments, **options):
                return real_fetch(*arguments, **options, attempts=1)

            patch.setattr(datasets, "fetch", dying)
        elif place == "unpack":
            patch.setattr(tarfile.TarFile, "extract", killed(tarfile.TarFile.extract))
        elif place == "move":
            patch.setattr(Path, "replace", killed(Path.replace))
        else:
            patch.setattr(Archive, "note", killed(lambda *arguments: 1 / 0))
        with pytest.raises((KeyboardInterrupt, DownloadError, ZeroDivisionError)):
            download_jetclass(out=tmp_path, progress=False)
    assert not JETCLASS["val_5M"].is_there(tmp_path)
    (tmp_path / ".JetClass_Pythia_val_5M.tar.unfinished").mkdir()  # what a real kill leaves behind
    (tmp_path / ".JetClass_Pythia_val_5M.tar.unfinished/D.root").write_bytes(b"old")
    before = len(gets(record))
    download_jetclass(out=tmp_path, progress=False)
    assert [wanted for _, wanted in gets(record)[before:]] == (["bytes=60000-"] if place == "fetch" else [])
    assert contents(tmp_path) == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["val_5M"]


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        ({"name": "../out.root"}, "leads out of its folder"),
        ({"name": "a/../../out.root"}, "leads out of its folder"),
        ({"name": "/tmp/out.root"}, "leads out of its folder"),
        ({"name": "C:\\out.root"}, "leads out of its folder"),
        ({"name": "x.root", "type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "is a link"),
        ({"name": "x.root", "type": tarfile.SYMTYPE, "linkname": "good.root"}, "is a link"),
        ({"name": "x.root", "type": tarfile.LNKTYPE, "linkname": "good.root"}, "is a link"),
        ({"name": "x.root", "type": tarfile.CHRTYPE}, "is a device"),
        ({"name": "x.root", "type": tarfile.FIFOTYPE}, "is a device"),
        ({"name": "other/good.root"}, "two files called 'good.root'"),
    ],
)
def test_hostile_members_unpack_nothing(tmp_path, member, reason):
    archive = tmp_path / "bad.tar"
    archive.write_bytes(tar_of({"good.root": b"1"}, bad=member))
    with pytest.raises(DownloadError, match=reason):
        unpack(archive, tmp_path / "out", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.tar"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (tar_of({"notes.txt": b"1"}), r"holds no \*.root files"),
        (b"no archive" * 100, "not a tar archive"),
        (b"", "not a tar archive"),
        (tar_of({"x.root": b"1" * 5000})[:3000], "not a tar archive that can be read"),
    ],
)
def test_useless_archives(tmp_path, body, reason):
    (tmp_path / "bad.tar").write_bytes(body)
    with pytest.raises(DownloadError, match=reason):
        unpack(tmp_path / "bad.tar", tmp_path / "out", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.tar"]


def test_the_disk_is_looked_at_first(record, tmp_path, monkeypatch):
    size = len(record.files["JetClass_Pythia_val_5M.tar"])
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(1, 1, 2 * size - 1))
    with pytest.raises(DownloadError, match="make room or choose another"):
        download_jetclass(out=tmp_path, progress=False)
    assert gets(record) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(1, 1, 2 * size))
    download_jetclass(out=tmp_path, progress=False)


def test_a_server_that_does_not_say_sizes_is_believed_later(record, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "size_of", lambda url: None)
    download_jetclass(out=tmp_path, progress=False)
    assert contents(tmp_path) == FILES


def test_names_of_splits():
    assert len(chosen_splits(["train_100M", "train_100M_part3", "val_5M"])) == 11
    assert all(len(archive.md5) == 32 for archive in JETCLASS.values())
    assert len({archive.md5 for archive in JETCLASS.values()}) == 12
    with pytest.raises(ConfigError, match="--split is 'val'; the nearest are 'val_5M'|--split is 'val'; there is"):
        chosen_splits("val")
    with pytest.raises(ConfigError, match="names none"):
        chosen_splits([])


def test_checksums_are_those_of_the_record(real_data):
    readme = (real_data / "README.md").read_text(encoding="utf-8")
    assert all(archive.md5 in readme for archive in JETCLASS.values())


def test_jetclass_from_the_command_line(record, tmp_path, capsys):
    out = tmp_path / "new"
    assert main(["download", "jetclass", "--out", str(out), "--dry_run"]) == 0
    text = capsys.readouterr().out
    assert f"{record.url}/JetClass_Pythia_val_5M.tar -> {out}/val_5M (md5 {JETCLASS['val_5M'].md5})" in text
    assert not out.exists()
    assert record.asked == []
    assert main(["download", "jetclass", "--split", "[val_5M, train_100M_part0]", "--out", str(out)]) == 0
    assert capsys.readouterr().out.split() == [str(out / "val_5M"), str(out / "train_100M")]
    assert main(["download", "jetclass", "--out", str(out), "--dry_run"]) == 0
    assert "there already" in capsys.readouterr().out
    assert main(["download", "jetclass", "--split", "test_20M", "--out", str(out)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
