"""Long jobs go on: files that have moved or gone, other numbers of processes, bad jets and broken files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import suppress

import pytest
import torch

from jetsym.errors import ConfigError, DataError, TrainingError
from jetsym.jets import checkpoint, read
from jetsym.jets.io.streaming.convert import convert
from jetsym.jets.schema import LABEL_BRANCHES, SCALARS
from jetsym.training.batches import batches
from jetsym.training.config import TrainConfig
from jetsym.training.data import StreamedJets, load_jets
from jetsym.training.loop import train

OPTIONS = {
    "epochs": 2,
    "batch_size": 8,
    "max_particles": 10,
    "model": "deepsets",
    "options": {"features": "kin"},
    "checkpoint_every": 1,
    "device": "cpu",
    "progress": False,
}


class Stopped(Exception):
    pass


def stop_after(steps: int):
    def stop(moment):
        if moment.step >= steps:
            raise Stopped

    return stop


def begun(data, out, steps=3, **options):
    with pytest.raises(Stopped):
        train(data, out, callbacks=[stop_after(steps)], **OPTIONS | options)


@pytest.fixture(params=[False, True], ids=["in memory", "streamed"])
def files(request, jetclass_file, tmp_path):
    """Three files in a folder, and the options of a run on them."""
    folder = tmp_path / "here"
    folder.mkdir()
    for number, name in enumerate("abc"):
        jetclass_file(f"{name}.root", n=20, seed=number).rename(folder / f"{name}.root")
    return folder, {"val": str(jetclass_file("val.root", n=20, seed=9)), "stream": request.param}


def weights(out):
    return checkpoint.read(out / checkpoint.LAST)[1]


def same(first, second) -> bool:
    one, other = weights(first), weights(second)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_goes_on_where_its_files_have_moved(files, tmp_path):
    folder, options = files
    train(str(folder / "*.root"), tmp_path / "whole", **OPTIONS | options)
    begun(str(folder / "*.root"), tmp_path / "run", **options)
    elsewhere = tmp_path / "elsewhere"
    for old, new in (("a", "z/1"), ("b", "y/2"), ("c", "x/3")):  # other names, and another order of these
        (elsewhere / new[0]).mkdir(parents=True)
        shutil.move(folder / f"{old}.root", elsewhere / f"{new}.root")
    train(str(elsewhere), tmp_path / "run", resume=True, **OPTIONS | options)
    assert same(tmp_path / "run", tmp_path / "whole")


def test_other_contents_under_the_same_names_are_told(files, tmp_path, jetclass_file):
    folder, options = files
    begun(str(folder / "*.root"), tmp_path / "run", **options)
    jetclass_file("new.root", n=20, seed=77).rename(folder / "b.root")
    with pytest.raises(ConfigError, match=r"1 are gone \(b.root\), and 1 are new \(b.root\).*--other_jets"):
        train(str(folder / "*.root"), tmp_path / "run", resume=True, **OPTIONS | options)


def test_another_mapping_is_told(files, tmp_path):
    folder, options = files
    mapping = tmp_path / "map.yaml"
    text = (
        "particles: {px: part_px, py: part_py, pz: part_pz, energy: part_energy, charge: part_charge, "
        + ", ".join(f"{name}: part_{name}" for name in SCALARS[1:6])
        + "}\njet: {pt: jet_pt, eta: jet_eta, phi: jet_phi, energy: jet_energy}\n"
        + "labels: {one_hot: {"
        + ", ".join(f"{name.removeprefix('label_')}: {name}" for name in LABEL_BRANCHES)
        + "}}\n"
    )
    mapping.write_text(text)
    options = options | {"mapping": str(mapping)}
    begun(str(folder / "*.root"), tmp_path / "run", **options)
    mapping.write_text(text.replace("charge: part_charge", "charge: -part_charge"))
    with pytest.raises(ConfigError, match="was .* and is now"):
        train(str(folder / "*.root"), tmp_path / "run", resume=True, **OPTIONS | options)


def test_other_validation_jets_are_told(files, tmp_path, jetclass_file):
    folder, options = files
    begun(str(folder / "*.root"), tmp_path / "run", **options)
    other = str(jetclass_file("val2.root", n=20, seed=10))
    with pytest.raises(ConfigError, match="validation was"):
        train(str(folder / "*.root"), tmp_path / "run", resume=True, **OPTIONS | options | {"val": other})


def test_a_run_goes_on_without_a_file_that_is_gone_on_demand_alone(files, tmp_path, capsys):
    folder, options = files
    begun(str(folder / "*.root"), tmp_path / "run", steps=9, **options)  # in the second epoch
    (folder / "b.root").unlink()
    with pytest.raises(ConfigError, match=r"1 are gone \(b.root\), and 0 are new"):
        train(str(folder / "*.root"), tmp_path / "run", resume=True, **OPTIONS | options)
    run = train(str(folder / "*.root"), tmp_path / "run", resume=True, other_jets=True, **OPTIONS | options)
    assert [line["epoch"] for line in run.metrics] == [1, 2]
    words = capsys.readouterr().err
    assert "1 files are gone (b.root), 0 are new; an epoch has 5 steps, and had " in words
    assert "epoch 2 begins anew" in words


def test_without_jets_to_validate_on_other_jets_are_refused(jetclass_file, tmp_path):
    data = [str(jetclass_file(f"{name}.root", n=40, seed=number)) for number, name in enumerate("ab")]
    begun(data, tmp_path / "run")
    with pytest.raises(ConfigError, match="give --val"):
        train(data[:1], tmp_path / "run", resume=True, other_jets=True, **OPTIONS)


def shown(data, passed, *, start, rank, ranks):
    """Axes of the jets that a process is shown in the rest of an epoch."""
    config = TrainConfig(data=data, val=data, stream=True, batch_size=8, model="deepsets")
    jets = StreamedJets(config, rank=rank, ranks=ranks)
    order = {"batch_size": 8, "seed": 0, "epoch": 1, "start": start, "rank": rank, "ranks": ranks}
    return [batch.jet_p4[:, 0] for batch in batches(jets, **order, passed=passed)]


def test_a_stream_is_divided_anew_among_other_processes(jetclass_file):
    data = str(jetclass_file(n=64))
    before = shown(data, [], start=0, rank=0, ranks=1)[:3]
    parts = [shown(data, [[1, 24]], start=3, rank=rank, ranks=2) for rank in (0, 1)]
    assert [len(part) for part in parts] == [5, 5]
    everything = torch.cat([*before, *parts[0], *parts[1]])
    assert sorted(everything.tolist()) == sorted(read(data).jet_p4[:, 0].tolist())


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True])
def test_a_run_of_one_process_goes_on_with_two(jetclass_file, tmp_path, stream):
    data, val = str(jetclass_file(n=64)), str(jetclass_file("val.root", n=20, seed=5))
    begun(data, tmp_path / "run", steps=3, val=val, stream=stream)
    words = ["--data", data, "--val", val, "--out", str(tmp_path / "run"), "--resume", "--stream", str(stream).lower()]
    words += ["--model", "deepsets", "--options", json.dumps(OPTIONS["options"]), "--epochs", "2", "--batch_size", "8"]
    words += ["--max_particles", "10", "--checkpoint_every", "1", "--device", "cpu", "--progress", "false"]
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "jetsym.cli", "train", *words]
    found = subprocess.run(run, capture_output=True, text=True, timeout=200)
    assert found.returncode == 0, found.stderr
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2


# --- what is left out, and what is odd --------------------------------------------------------------------------------


@pytest.fixture(params=[False, True], ids=["in memory", "streamed"])
def bad(request, make_jets, jetclass_columns, write_tree, jetclass_file, tmp_path):
    jets = make_jets(40, seed=3)
    momenta = jets.p4.clone()
    momenta[[5, 6], 0, 1] = torch.nan
    folder = tmp_path / "bad"
    folder.mkdir()
    write_tree(folder / "a.root", jetclass_columns(jets.replace(p4=momenta)))
    (folder / "b.root").write_bytes(b"root of no file")
    return folder, {"val": str(jetclass_file("val.root", n=20, seed=5)), "stream": request.param}


def test_bad_jets_and_files_are_left_out_and_counted(bad, tmp_path, capsys):
    folder, options = bad
    with pytest.raises(DataError, match=r"b\.root|2 of 40 jets cannot be used"):
        train(str(folder), tmp_path / "run", **OPTIONS | options)
    with pytest.raises(DataError, match="2 of 40 jets cannot be used"):
        train(str(folder), tmp_path / "run", skip_bad=True, **OPTIONS | options)
    capsys.readouterr()
    run = train(str(folder), tmp_path / "run2", skip_bad=True, bad_jets="drop", **OPTIONS | options)
    words = capsys.readouterr().err
    assert len(run.metrics) == 2
    assert words.count("2 jets of 1 file left out") == 1
    assert words.count("1 file left out; the first: ") == 1


def test_steps_whose_jets_are_all_left_out_are_taken_all_the_same(make_jets, jetclass_columns, write_tree, tmp_path):
    jets = make_jets(40, seed=3)
    momenta = jets.p4.clone()
    momenta[1:, 0, 1] = torch.nan
    path = str(write_tree(tmp_path / "a.root", jetclass_columns(jets.replace(p4=momenta))))
    config = TrainConfig(data=path, val=path, stream=True, batch_size=8, model="deepsets", bad_jets="drop")
    found = list(batches(StreamedJets(config), batch_size=8, seed=0, epoch=1))
    assert [len(batch) for batch in found] == [1] * 5


@pytest.mark.parametrize("stream", [False, True])
def test_one_class_alone_is_refused(make_jets, jetclass_columns, write_tree, tmp_path, stream):
    jets = make_jets(40, seed=3)
    path = str(write_tree(tmp_path / "a.root", jetclass_columns(jets.replace(label=torch.full((40,), 3)))))
    with pytest.raises(DataError, match="all 40 jets of --data are of the class Hgg"):
        load_jets(TrainConfig(data=path, val=path, stream=stream, batch_size=8))


def test_what_is_odd_is_said_once(make_jets, jetclass_columns, write_tree, tmp_path, capsys):
    jets = make_jets(40, seed=3)
    data = write_tree(tmp_path / "a.root", jetclass_columns(jets.replace(label=torch.arange(40) % 2)))
    val = write_tree(tmp_path / "b.root", jetclass_columns(jets.replace(p4=jets.p4 * 1000, jet_p4=jets.jet_p4 * 1000)))
    with suppress(TrainingError):
        train(str(data), tmp_path / "run", val=str(val), **OPTIONS)
    words = capsys.readouterr().err
    assert words.count("note: --data: no jets of 8 of 10 classes: Hcc, ") == 1
    assert words.count("one is in MeV, it seems") == 1


@pytest.mark.parametrize("stream", [False, True])
def test_caches_are_trained_on(jetclass_file, tmp_path, stream):
    cache = convert(jetclass_file(n=40), tmp_path / "cache", progress=False)
    other = convert(jetclass_file("v.root", n=20, seed=2), tmp_path / "other", progress=False)
    run = train(str(cache), tmp_path / "run", val=str(other), stream=stream, **OPTIONS)
    assert len(run.metrics) == 2


def test_files_whose_unused_columns_differ_are_trained_on(make_jets, jetclass_columns, write_tree, tmp_path):
    first, second = jetclass_columns(make_jets(20, seed=1)), jetclass_columns(make_jets(20, seed=2))
    second.pop("jet_sdmass")
    files = [str(write_tree(tmp_path / f"{name}.root", c)) for name, c in (("a", first), ("b", second))]
    for stream in (False, True):
        train(files, tmp_path / f"run{stream}", val=files, stream=stream, **OPTIONS)
