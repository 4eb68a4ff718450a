"""Scores as friends of the trees that they are of: an entry each, in their order, read beside the momenta."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import uproot

from jetsym.cli import main
from jetsym.errors import ConfigError, DataError
from jetsym.jets import checkpoint, read
from jetsym.jets.evaluation.evaluate import predict_logits
from jetsym.jets.evaluation.predict import predict
from jetsym.jets.io.folds import Fold
from jetsym.jets.io.streaming.convert import convert
from jetsym.jets.models import DeepSets, PointNet

MAPPING = """
tree: tree
particles: {px: part_px, py: part_py, pz: part_pz, energy: part_energy}
jet: {pt: jet_pt, eta: jet_eta, phi: jet_phi, energy: jet_energy}
columns: {qcd: "`Scores.score_QCD`", entry: "`Scores.entry`", number: jet_sdmass}
friends: {Scores: "../scores/{stem}_scores.root"}
"""


@pytest.fixture
def model() -> PointNet:
    torch.manual_seed(0)
    return PointNet(width=8, blocks=1)


@pytest.fixture
def files(numbered, tmp_path) -> list[Path]:
    return numbered([60, 25], tmp_path / "data")


@pytest.fixture
def numbered(write_tree, make_jets, jetclass_columns):
    def write(sizes: list[int], folder: Path) -> list[Path]:
        folder.mkdir()
        made = []
        for seed, size in enumerate(sizes):
            columns = jetclass_columns(make_jets(size, seed=seed, max_particles=6))
            columns |= {"jet_sdmass": np.arange(size) + 1000.0 * seed, "event": np.arange(size) * 7}
            made.append(write_tree(folder / f"{'ab'[seed]}.root", columns))
        return made

    return write


def scores(model: PointNet, file: Path) -> np.ndarray:
    return predict_logits(model, read(file)).softmax(dim=-1).numpy()


def test_friends_are_as_long_as_the_trees_and_read_beside_them(model, files, tmp_path):
    predict(model, files, tmp_path / "scores" / "{stem}_scores.root", friend=True, logits=True, progress=False)
    assert sorted(path.name for path in (tmp_path / "scores").iterdir()) == ["a_scores.root", "b_scores.root"]
    for file in files:
        with uproot.open(tmp_path / "scores" / f"{file.stem}_scores.root") as friend, uproot.open(file) as data:
            tree = friend["scores"]
            assert tree.num_entries == data["tree"].num_entries
            found = tree.arrays(library="np")
            assert {*found} == {"entry", *(f"{kind}_{name}" for kind in ("score", "logit") for name in model.classes)}
            assert found["entry"].tolist() == [*range(tree.num_entries)]
            table = np.stack([found[f"score_{name}"] for name in model.classes], axis=1)
            assert np.allclose(table, scores(model, file), atol=1e-6)
    (tmp_path / "map.yaml").write_text(MAPPING)
    jets = read(files, mapping=tmp_path / "map.yaml")  # the momenta, and the scores of each
    assert np.allclose(jets.columns["qcd"], np.concatenate([scores(model, file)[:, 0] for file in files]), atol=1e-6)
    assert jets.columns["entry"].tolist() == [*range(60), *range(25)]
    assert np.array_equal(jets.p4.numpy(), read(files).p4.numpy())


def test_entries_without_scores_are_nan(model, files, tmp_path, write_tree, make_jets, jetclass_columns):
    columns = jetclass_columns(make_jets(25, seed=1, max_particles=6))
    energy = np.array(columns["jet_energy"], np.float64)
    energy[[0, 3, 24]] = np.nan
    columns |= {"jet_energy": energy, "event": np.arange(25)}
    write_tree(files[1], columns)
    predict(model, files, tmp_path / "{stem}.root", friend=True, bad_jets="drop", progress=False)
    for file, missing in zip(files, ([], [0, 3, 24]), strict=True):
        found = uproot.open(tmp_path / file.name)["scores"].arrays(library="np")
        assert np.flatnonzero(np.isnan(found["score_QCD"])).tolist() == missing
        assert len(found["score_QCD"]) == len(found["entry"]) == uproot.open(file)["tree"].num_entries
    # of a fold, of which the first file has no jets at all
    predict(
        model, files, tmp_path / "{stem}.root", friend=True, bad_jets="drop", fold=Fold(5, 6, "event"), progress=False
    )
    found = [uproot.open(tmp_path / file.name)["scores"]["score_QCD"].array(library="np") for file in files]
    assert [np.flatnonzero(np.isfinite(one)).tolist() for one in found] == [
        [*np.flatnonzero(np.arange(60) * 7 % 6 == 5)],
        [5, 11, 17, 23],
    ]


def test_one_file_may_have_any_name_and_format(model, files, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    out = predict(model, files[0], tmp_path / "s.parquet", friend=True, progress=False)
    assert out == tmp_path / "s.parquet"
    assert parquet.read_table(out)["score_Hbb"].to_numpy() == pytest.approx(scores(model, files[0])[:, 1], abs=1e-6)


def test_on_the_command_line(model, files, tmp_path, capsys):
    checkpoint.save(tmp_path / "run" / "best.safetensors", model)
    data, run = [str(file) for file in files], str(tmp_path / "run")
    assert main(["predict", run, *data, "--friend", "--out", f"{tmp_path}/new/{{stem}}.root"]) == 0
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.root", "b.root"]
    assert main(["predict", run, *data, "--friend", "--out", f"{tmp_path}/new/one.root"]) == 1
    assert re.search(r"for \S+a\.root and \S+b\.root alike; expected .*\{stem\}\.root", capsys.readouterr().err)
    assert len([*(tmp_path / "new").iterdir()]) == 2


def test_a_killed_run_goes_on_with_the_files_that_are_left(model, files, tmp_path, capsys):
    out, how = tmp_path / "{stem}_s.root", {"friend": True, "resume": True, "progress": False}
    predict(model, files, out, **how)
    capsys.readouterr()
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*_s.root")}
    assert {*before} == {"a_s.root", "b_s.root"}
    (tmp_path / "b_s.root").write_bytes(before["b_s.root"][:300])  # as of a disk that was full
    touched = (tmp_path / "a_s.root").stat().st_mtime_ns
    predict(model, files, out, **how)
    assert "1 of 2 files have their friends from an earlier call" in capsys.readouterr().err
    assert (tmp_path / "a_s.root").stat().st_mtime_ns == touched
    with uproot.open(tmp_path / "b_s.root") as friend:
        assert np.allclose(friend["scores/score_QCD"].array(library="np"), scores(model, files[1])[:, 0], atol=1e-6)
        assert friend["file"] == str(files[1])
    predict(model, files, out, **how)
    assert "2 of 2 files" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".root", ".parquet"])
@pytest.mark.parametrize("other", ["tagger", "jets", "option"])
def test_friends_of_other_work_are_made_anew(other, suffix, model, files, numbered, tmp_path, capsys):
    pytest.importorskip("pyarrow")
    out, how = tmp_path / f"{{stem}}_s{suffix}", {"friend": True, "progress": False}
    predict(model, files[:1], out, **how)
    predict(model, files[:1], out, resume=True, **how)
    assert "1 of 1 files" in capsys.readouterr().err
    if other == "tagger":
        with torch.no_grad():
            next(model.parameters()).add_(1e-3)
    elif other == "jets":
        (anew,) = numbered([61], tmp_path / "more")
        files[0].write_bytes(anew.read_bytes())
    predict(model, files[:1], out, resume=True, logits=other == "option", **how)
    assert "earlier" not in capsys.readouterr().err


def test_one_file_for_all_does_not_go_on(model, files, tmp_path):
    with pytest.raises(ConfigError, match=r"resume \(--resume\) goes on file by file, for friends alone"):
        predict(model, files, tmp_path / "s.root", resume=True, progress=False)


def test_what_has_no_meaning_is_refused(model, files, numbered, tmp_path, write_tree):
    twins = [files[0], *numbered([20], tmp_path / "other")]
    with pytest.raises(ConfigError, match="alike; expected a name of its own"):
        predict(model, twins, tmp_path / "{stem}.root", friend=True, progress=False)
    with pytest.raises(ConfigError, match="one of the files to read"):
        predict(model, files, tmp_path / "data" / "{stem}.root", friend=True, progress=False)
    with pytest.raises(ConfigError, match="would be read as jets"):
        predict(model, tmp_path / "data", tmp_path / "data" / "{stem}_s.root", friend=True, progress=False)
    cache = convert(files, tmp_path / "cache", progress=False)
    with pytest.raises(ConfigError, match="is a cache, which is no tree"):
        predict(model, cache, tmp_path / "{stem}.root", friend=True, progress=False)


def test_several_jets_in_an_entry_are_refused(tmp_path):
    ak = pytest.importorskip("awkward")
    pytest.importorskip("pyarrow")
    rng, counts = np.random.default_rng(0), [2, 1, 3]
    columns = {
        name: ak.Array([[rng.uniform(1, 2, 4).tolist() for _ in range(count)] for count in counts])
        for name in ("pt", "eta", "phi", "mass")
    }
    ak.to_parquet(ak.zip(columns, depth_limit=1), tmp_path / "s.parquet")
    (tmp_path / "map.yaml").write_text("particles: {pt: pt, eta: eta, phi: phi, mass: mass}\n")
    with pytest.raises(DataError, match=r"s\.parquet has several jets in an entry, and a friend one row for it"):
        predict(
            *(DeepSets(("a", "b"), features="kin"), tmp_path / "s.parquet", tmp_path / "f.root"),
            friend=True,
            mapping=tmp_path / "map.yaml",
            progress=False,
        )
    assert not (tmp_path / "f.root").exists()


@pytest.mark.parametrize("friend", [True, False])
def test_a_friend_that_the_mapping_reads_is_not_replaced(friend, model, files, tmp_path):
    places = [file.with_name(f"{file.stem}_extra.root") for file in files]
    for file, place in zip(files, places, strict=True):
        with uproot.recreate(place) as made:
            made["tree"] = {"precious": np.arange(uproot.open(file)["tree"].num_entries) + 0.5}
    before = [place.read_bytes() for place in places]
    momenta = MAPPING.partition("jet:")[0]
    (tmp_path / "map.yaml").write_text(momenta + 'columns: {p: "`x.precious`"}\nfriends: {x: "{stem}_extra.root"}\n')
    out = files[0].with_name("{stem}_extra.root") if friend else places[1]
    with pytest.raises(ConfigError, match="one of the files to read, which would be lost"):
        predict(model, files, out, friend=friend, mapping=tmp_path / "map.yaml", progress=False)
    assert [place.read_bytes() for place in places] == before


@pytest.mark.parametrize("friend", [True, False])
def test_columns_with_the_names_of_scores(friend, files, tmp_path):
    model = DeepSets(features="kin")
    mapping, out = tmp_path / "map.yaml", tmp_path / ("{stem}.root" if friend else "one.root")
    mapping.write_text(MAPPING.partition("columns:")[0] + "columns: {score_QCD: jet_sdmass}\n")
    with pytest.raises(ConfigError, match="have a column 'score_QCD', the name of what the tagger gives"):
        predict(model, files, out, friend=friend, mapping=mapping, progress=False)
    assert not [*tmp_path.glob("*.root")]
    mapping.write_text(MAPPING.partition("columns:")[0] + "columns: {logit_extra: jet_sdmass, logit_QCD: jet_sdmass}\n")
    predict(model, files, out, friend=friend, mapping=mapping, progress=False)
    if friend:
        with uproot.open(tmp_path / "a.root") as found:
            assert found["scores"].keys() == ["entry", *(f"score_{name}" for name in model.classes)]
    else:
        with uproot.open(out) as found:
            assert found["tree"]["logit_extra"].array()[:3].tolist() == [0, 1, 2]
    with pytest.raises(ConfigError, match="have a column 'logit_QCD'"):
        predict(model, files, out, friend=friend, logits=True, mapping=mapping, progress=False)


def test_the_name_of_the_file_stands_in_folders_as_well(model, files, tmp_path):
    predict(model, files, tmp_path / "new" / "{stem}" / "s.root", friend=True, progress=False)
    assert sorted(str(path.relative_to(tmp_path / "new")) for path in (tmp_path / "new").rglob("*.root")) == [
        "a/s.root",
        "b/s.root",
    ]
    with pytest.raises(ConfigError, match="has a meaning with --friend alone"):
        predict(model, files, tmp_path / "{stem}.root", progress=False)
