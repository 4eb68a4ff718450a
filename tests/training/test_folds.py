"""k-fold by a whole number: what a run is trained, validated and judged on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import uproot

from jetsym.cli import main
from jetsym.errors import ConfigError, DataError
from jetsym.jets import checkpoint
from jetsym.jets.schema import LABEL_BRANCHES
from jetsym.training.batches import batches
from jetsym.training.config import TrainConfig
from jetsym.training.data import load_jets
from jetsym.training.loop import train

OPTIONS = {
    "batch_size": 10,
    "max_particles": 8,
    "model": "deepsets",
    "options": {"features": "kin"},
    "device": "cpu",
    "progress": False,
    "epochs": 1,
}


@pytest.fixture
def data(tmp_path, jetclass_columns, make_jets, write_tree) -> list[Path]:
    """Two files with three jets of every event; the pT of each jet is its own."""
    files = []
    for seed, size in enumerate([90, 60], start=1):
        columns = jetclass_columns(make_jets(size, seed=seed, max_particles=6))
        columns |= {name: np.zeros(size) for name in LABEL_BRANCHES}
        columns |= {"label_QCD": np.arange(size) % 2 == 0, "label_Hbb": np.arange(size) % 2 == 1}
        columns["event"] = np.arange(size) // 3
        files.append(write_tree(tmp_path / f"{seed}.root", columns))
    return files


def energies(files: list[Path], chosen) -> list[float]:
    found = [uproot.open(file)["tree"].arrays(["event", "jet_energy"], library="np") for file in files]
    return sorted(float(e) for one in found for n, e in zip(one["event"], one["jet_energy"], strict=True) if chosen(n))


@pytest.mark.parametrize("how", ["in memory", "streamed", "a cache", "a limit"])
def test_all_folds_but_one_are_trained_on(data, tmp_path, how, capsys):
    more = {"streamed": {"stream": True}, "a cache": {"stream": True, "cache": str(tmp_path / "c")}}.get(how, {})
    more |= {"limit": 40} if how == "a limit" else {}
    config = TrainConfig([str(file) for file in data], fold="1/4", batch_size=1, max_particles=8, **more)
    training, validation = load_jets(config)
    shown = [axis for one in batches(training, batch_size=1, seed=0, epoch=1) for axis in one.jet_p4[:, 0].tolist()]
    judged = sorted(validation.jet_p4[:, 0].tolist())
    mine, others = energies(data, lambda n: n % 4 == 1), energies(data, lambda n: n % 4 != 1)
    said = capsys.readouterr().err
    assert f"--data: fold 1/4 by 'event': {len(mine)} jets of 150 entries" in said
    assert f"--data: all folds but 1/4 by 'event': {len(others)} jets of 150 entries" in said
    if how == "a limit":
        assert (len(shown), len(judged)) == (40, len(mine) if len(mine) < 40 else 40)
        assert {*np.float32(shown)} <= {*np.float32(others)}
        assert {*np.float32(judged)} <= {*np.float32(mine)}
    else:
        assert np.allclose(sorted(shown), others, rtol=1e-6)
        assert np.allclose(judged, mine, rtol=1e-6)


def test_the_run_is_judged_on_what_it_has_not_seen(data, tmp_path, capsys):
    files, run = [str(file) for file in data], str(tmp_path / "run")
    train(files, run, fold="1/4", val=files[1], **OPTIONS)
    assert checkpoint.load(run).held_out == ("1/4", "event")
    mine = energies(data, lambda n: n % 4 == 1)
    capsys.readouterr()
    assert main(["evaluate", run, *files, "--out", f"{tmp_path}/found.json"]) == 0
    out, err = capsys.readouterr()
    assert f"fold 1/4 by 'event': {len(mine)} jets of 150 entries" in err
    assert f"{len(mine)} jets" in out
    assert main(["evaluate", run, *files, "--fold", "none"]) == 0
    assert "on which the network was trained, are judged as well" in capsys.readouterr().err
    for command, out in (("evaluate", "x.json"), ("predict", "x.root")):
        assert main([command, run, *files, "--fold", "0/4", "--out", f"{tmp_path}/{out}"])
        assert "that the network was trained on: its training has held out fold 1/4" in capsys.readouterr().err
    assert main(["predict", run, *files, "--out", f"{tmp_path}/scores.root"]) == 0
    found = uproot.open(tmp_path / "scores.root")["tree"].arrays(["file", "entry", "score_Hbb"], library="np")
    events = np.concatenate([np.arange(90) // 3, np.arange(60) // 3])
    assert np.array_equal(np.isfinite(found["score_Hbb"]), events % 4 == 1)
    assert found["entry"].tolist() == [*range(90), *range(60)]
    with pytest.raises(ConfigError, match="--fold is '2/4', but the run"):
        train(files, run, fold="2/4", val=files[1], resume=True, **OPTIONS)
    with pytest.raises(ConfigError, match="its training has held out 1/4 by event; hold out the same"):
        train(files, tmp_path / "next", fold="2/4", init=run, **OPTIONS)


@pytest.mark.parametrize("options", [{"fold": "4/4"}, {"fold": "1/4", "fold_by": ""}, {"fold_by": "run"}])
def test_what_has_no_meaning_is_refused(options):
    with pytest.raises(ConfigError, match="--fold"):
        TrainConfig("a.root", **options)


def test_data_without_the_column(jetclass_file, tmp_path):
    with pytest.raises(DataError, match="there is no column 'event' to tell folds apart"):
        train(str(jetclass_file(n=40)), tmp_path / "run", fold="0/2", **OPTIONS)
    assert not (tmp_path / "run").exists()


def test_a_run_from_one_with_a_fold_is_told_of_it(data, tmp_path, capsys):
    files, run = [str(file) for file in data], str(tmp_path / "run")
    train(files, run, fold="1/4", **OPTIONS)
    note = "was trained on jets of all folds but 1/4 by 'event'; without --fold this run may validate on them"
    capsys.readouterr()
    train(files, tmp_path / "all", init=run, **OPTIONS)
    assert note in capsys.readouterr().err
    train(files, tmp_path / "same", init=run, fold="1/4", **OPTIONS)
    assert note not in capsys.readouterr().err


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_files_without_the_column_are_judged_with_fold_none(command, mapped, data, jetclass_file, tmp_path, capsys):
    run, other = str(tmp_path / "run"), str(jetclass_file(n=40))
    train(str(data[0]), run, fold="1/4", **OPTIONS)
    (tmp_path / "map.yaml").write_text(
        "tree: tree\nparticles: {px: part_px, py: part_py, pz: part_pz, energy: part_energy}\n"
        "labels: {one_hot: {QCD: label_QCD, Hbb: label_Hbb}}\n"
    )
    words = [command, run, other, *(["--mapping", f"{tmp_path}/map.yaml"] if mapped else [])]
    words += ["--out", f"{tmp_path}/out.{'json' if command == 'evaluate' else 'root'}"]
    capsys.readouterr()
    assert main(words) == 1
    assert "evaluate and predict take jets of all folds with --fold none" in capsys.readouterr().err
    if not mapped:
        assert main([*words, "--fold", "none"]) == 0
