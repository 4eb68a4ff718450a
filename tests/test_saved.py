"""What commands write is there before it is shown, never over an input; where it cannot be, no work is begun."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import jetsym
from jetsym.cli import main
from jetsym.errors import ConfigError, DataError
from jetsym.jets import read
from jetsym.jets.evaluation.predict import predict
from jetsym.jets.io.streaming.convert import convert, to_parquet
from jetsym.jets.models import PointNet
from jetsym.repair import repair


@pytest.fixture(scope="module")
def reports(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("reports")
    points = np.random.default_rng(0).normal(size=(8, 3))
    for name, l_max in (("a", 1), ("b", 2)):
        jetsym.probe(lambda x: x[:, 0] + 1, points, l_max=l_max, progress=False).save(folder / f"{name}.json")
    return folder


@pytest.fixture
def place(small_run, reports, tmp_path, monkeypatch) -> Path:
    """A folder of one's own with a run, jets, reports, weights and structures."""
    for folder in (small_run.parent, reports):
        shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    for name in ("pn.pt", "cu-plain.xyz", "cu.xyz"):
        (tmp_path / name).write_text("not to be lost")
    (tmp_path / "link.json").symlink_to("a.json")
    (tmp_path / "hard.json").hardlink_to(tmp_path / "a.json")
    (tmp_path / "p.root").hardlink_to(tmp_path / "train.root")
    (tmp_path / "run" / "spectra").mkdir()
    shutil.copy(tmp_path / "a.json", tmp_path / "run" / "spectra" / "step-00000000.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


OVERWRITING = {
    "diagnose": "diagnose a.json --out a.json",
    "diagnose, ./": "diagnose a.json --out ./a.json",
    "diagnose, a link": "diagnose a.json --out link.json",
    "diagnose through a link": "diagnose link.json --out a.json",
    "diagnose, a hard link": "diagnose a.json --out hard.json",
    "diagnose, the baseline": "diagnose a.json --baseline b.json --out b.json",
    "diagnose, the history": 'diagnose a.json --history ["b.json"] --out run/../b.json',
    "diagnose, of a run": "diagnose run --out run/spectra/step-00000000.json",
    "compare, the first": "compare a.json b.json --out a.json",
    "compare, the last": "compare a.json b.json --out b.json",
    "repair": "repair run --finding leakage --out run/config.yaml",
    "repair, the weights": "repair run --finding leakage --out run/best.safetensors",
    "export": "export pn.pt --out pn.pt",
    "predict": "predict run train.root --out train.root",
    "predict, a hard link": "predict run train.root --out p.root",
    "predict, a pattern": "predict run *.root --out new.root",
    "predict, a folder": "predict run . --out new.root",
    "convert": "convert train.root --out .",
    "convert, the folder": "convert . --out .",
    "convert to parquet": "convert *.root --out . --to parquet",
    "convert to parquet, above": "convert sub/../train.root --out {parent} --to parquet",
    "inspect": "inspect train.root --figure train.root",
    "train": "train --data train.root --out .",
    "train from itself": "train --data train.root --out run --init run --overwrite",
    "relax": "relax cu-plain.xyz --model emt --out cu.json",
    "probe over training": "probe run --over_training --out run/spectra/step-00000000.json",
    "atoms train": "atoms train cu.xyz --out .",
}


@pytest.mark.parametrize("case", OVERWRITING)
def test_no_command_overwrites_what_it_reads(case, place, capsys):
    (place / "sub").mkdir()
    before = contents(place)
    words = [word.format(parent=place) for word in OVERWRITING[case].split()]
    assert main(words) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert "expected" in captured.err or "choose another" in captured.err or "elsewhere" in captured.err
    assert contents(place) == before


def test_functions_do_not_overwrite_either(place):
    before = contents(place)
    with pytest.raises(ConfigError, match="would be lost"):
        predict(PointNet(width=8, blocks=1), ["train.root"], "./train.root", progress=False)
    for write in (convert, to_parquet):
        with pytest.raises(ConfigError, match="which is to be read"):
            write("train.root", place, progress=False)
    repaired = repair("run", finding="leakage")
    with pytest.raises(ConfigError, match="would be lost"):
        repaired.save("run/config.yaml")
    assert contents(place) == before


PLACES = ("taken.json", "file/r.json", "protected.json", "full.json", "/sys/r.json")
WORK = {
    "probe": ("probe run --inputs train.root", "jetsym.probing.probe.probe"),
    "attribute": ("attribute run --inputs train.root", "jetsym.probing.measure.attribution.attribute"),
    "cost": ("cost run --inputs train.root", "jetsym.probing.measure.cost.cost"),
    "parity": ("parity run --inputs train.root", "jetsym.probing.measure.parity.parity"),
    "safety": ("safety run --inputs train.root", "jetsym.probing.measure.safety.safety"),
    "evaluate": ("evaluate run train.root", "jetsym.jets.evaluation.evaluate.evaluate"),
    "compare": ("compare a.json b.json", "jetsym.probing.reports.comparison.compare"),
    "diagnose": ("diagnose a.json", "jetsym.probing.diagnosis.diagnose.diagnose"),
    "atoms evaluate": ("atoms evaluate emt cu.xyz", "jetsym.atoms.workflows.evaluation.evaluate"),
    "relax": ("relax cu.xyz --model emt", "jetsym.atoms.workflows.relaxation.relax"),
    "phonons": ("phonons cu.xyz --model emt", "jetsym.atoms.workflows.phonons.phonons"),
}


def unwritable(folder: Path) -> None:
    (folder / "taken.json").mkdir()
    (folder / "file").write_text("")
    (folder / "protected.json").write_text("{}")
    (folder / "protected.json").chmod(0o444)
    (folder / "full.json").symlink_to("/dev/full")


@pytest.mark.parametrize("command", WORK)
def test_what_cannot_be_written_is_refused_before_the_work(command, place, capsys, monkeypatch):
    unwritable(place)
    words, work = WORK[command]
    monkeypatch.setattr(work, lambda *_, **__: pytest.fail("the work was begun"))
    for out in PLACES:
        assert main([*words.split(), "--out", out]) == 1
        captured = capsys.readouterr()
        assert f"error: out is '{out}'" in captured.err
        assert captured.out == ""


FOLDERS = {
    "train": "train --data train.root",
    "convert": "convert train.root",
    "convert to parquet": "convert train.root --to parquet",
    "generate": "generate",
    "download": "download weights",
    "demo": "demo",
    "find_lr": "train --data train.root --find_lr",
    "atoms train": "atoms train cu.xyz",
}


@pytest.mark.parametrize("command", FOLDERS)
def test_folders_that_cannot_be_made_are_refused(command, place, capsys):
    unwritable(place)
    before = contents(place)
    for out in ("file", "file/run", "/sys/run", "/proc/nowhere/run"):
        flag = [] if command == "generate" else ["--out"]
        assert main([*FOLDERS[command].split(), *flag, out]) == 1
        assert "expected a folder" in (said := capsys.readouterr().err) or "nothing can be written" in said
    assert contents(place) == before


def shown(words: str, *, encoding: str = "utf-8", pipe: str = "") -> subprocess.CompletedProcess[bytes]:
    command = f"set -o pipefail; {sys.executable} -m jetsym.cli {words} {pipe}"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    return subprocess.run(["bash", "-c", command], env=environment, capture_output=True, check=False, timeout=300)


def test_terminals_of_few_letters_and_pipes_that_close(place):
    """The table holds λ and σ, which latin-1 does not know."""
    for encoding in ("latin-1", "ascii"):
        done = shown(f"compare a.json b.json --out {encoding}.json", encoding=encoding)
        said = f"wrote {encoding}.json, {encoding}.html and {encoding}.png\n"
        assert (done.returncode, done.stderr) == (0, said.encode())
        assert b"?" in done.stdout
        assert json.loads((place / f"{encoding}.json").read_text())["kind"] == "comparison"
    done = shown("diagnose a.json --out piped.json", pipe="| (exec 0<&-; sleep 1)")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"wrote piped.json and piped.html\n")
    assert (place / "piped.json").exists()
    done = shown("diagnose a.json --out full.json", pipe="> /dev/full")
    assert done.returncode == 1
    full = b"jetsym diagnose: error: No space left on device\n"
    assert done.stderr == b"wrote full.json and full.html\n" + full
    assert (place / "full.json").exists()


@pytest.mark.slow
def test_a_reader_that_leaves_ends_no_work(place):
    """Unbuffered, so that the pipe breaks in the midst of it, and the standard error stream as well."""
    words = 'train --data train.root --out new --epochs 3 --device cpu --options \'{"width": 8, "blocks": 1}\''
    done = shown(words, pipe="2>&1 | head -1")
    assert done.returncode == 0
    assert len((place / "new" / "metrics.jsonl").read_text().splitlines()) == 3
    done = shown("evaluate run train.root --out numbers.json", encoding="ascii", pipe="| head -1")
    assert done.returncode == 0
    assert done.stderr.startswith(b"wrote numbers.json, ")
    assert len(done.stderr.splitlines()) == 1
    assert {"numbers.json", "numbers_roc.png"} <= {path.name for path in place.iterdir()}


def test_what_is_shown_has_been_saved(place, monkeypatch):
    """Where showing fails the file is there."""

    class Broken:
        encoding = "utf-8"

        def write(self, text: str) -> int:
            raise ValueError("cannot be shown")

        def flush(self) -> None:
            pass

        def isatty(self) -> bool:  # asked for where COLUMNS says no width
            return False

    work = {
        "probe run --inputs train.root --l_max 1 --limit 2": "probe.json",
        "evaluate run train.root": "evaluate.json",
        "compare a.json b.json": "compare.json",
        "diagnose a.json": "diagnose.json",
        "attribute run --inputs train.root --l_max 1 --limit 2 --frame rest": "attribute.json",
        "repair run --finding leakage": "repair.yaml",
    }
    for words, out in work.items():
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", Broken())
            with pytest.raises(ValueError, match="cannot be shown"):
                main([*words.split(), "--out", out])
        assert (place / out).stat().st_size > 100, words


def test_parquet_keeps_nothing_of_other_data(place, make_jets, jetclass_columns, write_tree, capsys):
    """The files of training and of test have the same names."""
    pytest.importorskip("pyarrow")
    for part, seed in (("train", 1), ("test", 2)):
        (place / part).mkdir()
        write_tree(place / part / "QCD_000.root", jetclass_columns(make_jets(9 + seed, seed=seed)))
    assert main(["convert", "train", "--to", "parquet", "--out", "flat"]) == 0
    assert main(["convert", "train", "--to", "parquet", "--out", "flat"]) == 0  # nothing to do
    stamp = (place / "flat/QCD_000.parquet").stat().st_mtime_ns
    capsys.readouterr()
    assert main(["convert", "test", "--to", "parquet", "--out", "flat"]) == 1
    assert "made of another file" in capsys.readouterr().err
    assert (place / "flat/QCD_000.parquet").stat().st_mtime_ns == stamp
    assert main(["convert", "test", "--to", "parquet", "--out", "flat", "--overwrite"]) == 0
    assert len(read("flat")) == 11
    shutil.copy(place / "train.root", place / "test" / "Hbb_000.root")
    assert main(["convert", "test/Hbb_000.root", "--to", "parquet", "--out", "flat"]) == 1
    assert "none of the files to write" in capsys.readouterr().err
    (place / "flat" / "stranger.root").write_text("of another")
    for more in ([], ["--overwrite"]):
        assert main(["convert", "test", "--to", "parquet", "--out", "flat", *more]) == 1
        assert "stranger.root" in capsys.readouterr().err
    assert (place / "flat" / "stranger.root").read_text() == "of another"


def test_folders_with_other_data(place, make_jets, jetclass_columns, write_tree, capsys):
    pytest.importorskip("pythia8mc")
    pytest.importorskip("fastjet")
    (place / "other").mkdir()
    write_tree(place / "other" / "mine.root", jetclass_columns(make_jets(5)))
    before = contents(place / "other")
    for words in ("generate other", "generate other --overwrite", "convert train.root --out other"):
        assert main(words.split()) == 1
        assert "holds" in (said := capsys.readouterr().err)
        assert "mine.root" in said
    cache = convert("train.root", "cache", progress=False)
    shutil.copy("train.root", cache / "more.root")
    with pytest.raises(DataError, match="holds 'more.root' besides a cache"):
        convert("train.root", cache, progress=False)
    assert contents(place / "other") == before
