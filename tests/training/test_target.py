"""Training on a target: what is learned, kept, gone on with, probed and refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import uproot
import yaml
from pyarrow import parquet

import jetsym
from jetsym.cli import main
from jetsym.errors import ConfigError, DataError
from jetsym.jets import read
from jetsym.jets.evaluation.evaluate import predict_outputs
from jetsym.jets.evaluation.predict import predict
from jetsym.jets.evaluation.regression import Regression, regress
from jetsym.jets.io.sample import sample_dir
from jetsym.jets.models import PointNet
from jetsym.jets.targets import Target
from jetsym.training import TrainConfig, dry_run

SMALL = {"width": 16, "blocks": 1, "heads": 2}
DATA = str(sample_dir() / "train")
OPTIONS = {"options": SMALL, "device": "cpu", "max_particles": 64, "progress": False, "limit": 400, "batch_size": 40}


def state(tagger):
    return tagger.state_dict()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that has learned the number of particles of jets."""
    folder = tmp_path_factory.mktemp("target") / "run"
    return jetsym.train(DATA, folder, target="jet_nparticles", epochs=8, lr=0.01, **OPTIONS)


def test_it_learns_and_says_how_well(run):
    config = yaml.safe_load((run.path / "config.yaml").read_text())
    truth = read(DATA, limit=400, columns="all").columns["jet_nparticles"]
    centre, scale = config["target_scale"]
    assert centre == pytest.approx(float(truth.mean()), rel=0.1)
    assert scale == pytest.approx(float(truth.std()), rel=0.2)
    assert {"val_loss", "bias", "resolution", "rmse"} <= {*run.metrics[-1]}
    assert "accuracy" not in run.metrics[-1]
    assert min(line["rmse"] for line in run.metrics) < 0.6 * scale

    tagger = run.model()
    assert (tagger.target.name, tagger.target.centre, tagger.target.scale) == ("jet_nparticles", centre, scale)
    jets = read(str(sample_dir() / "test"), limit=300, max_particles=64, columns="full", also=("jet_nparticles",))
    found = regress(tagger, jets, rotated=0)
    predicted = tagger.target.values(tagger(jets).detach())[:, 0]
    difference = predicted - jets.columns["jet_nparticles"].double()
    assert found.overall.rmse == pytest.approx(float(difference.square().mean().sqrt()), rel=1e-4)
    assert found.overall.bias == pytest.approx(float(difference.mean()), rel=1e-3, abs=1e-2)
    assert found.overall.rmse < 0.8 * float(jets.columns["jet_nparticles"].std())


def test_its_outputs_are_probed_as_scalars(run):
    report = jetsym.probe(run.path, limit=4, l_max=1, progress=False)
    assert {name: item.kind for name, item in report.outputs.items()} == {"jet_nparticles": "scalar"}


def test_quantiles_hold_the_truth(tmp_path):
    run = jetsym.train(DATA, tmp_path / "run", target="jet_nparticles", loss="quantile", epochs=4, lr=0.01, **OPTIONS)
    tagger = run.model()
    assert tagger.classes == ("jet_nparticles 16 %", "jet_nparticles 50 %", "jet_nparticles 84 %")
    jets = read(str(sample_dir() / "test"), limit=300, max_particles=64, columns="full", also=("jet_nparticles",))
    assert 0.4 < regress(tagger, jets).overall.coverage < 0.9


def test_a_run_goes_on_with_its_scale(run, tmp_path):
    options = {**OPTIONS, "target": "jet_nparticles", "epochs": 2, "limit": 120}
    whole = jetsym.train(DATA, tmp_path / "whole", **options)

    def ends(moment):
        if moment.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jetsym.train(DATA, tmp_path / "run", callbacks=[ends], checkpoint_every=2, **options)
    again = jetsym.train(DATA, tmp_path / "run", resume=True, **options)
    assert all(torch.equal(one, state(whole.model())[name]) for name, one in state(again.model()).items())
    with pytest.raises(ConfigError, match="--loss is 'mse', but the run in .* has 'huber'"):
        jetsym.train(DATA, tmp_path / "run", resume=True, **options, loss="mse")
    tuned = jetsym.train(DATA, tmp_path / "tuned", init=str(run.path), **{**options, "options": {}})
    assert tuned.model().target == run.model().target
    classes = jetsym.train(DATA, tmp_path / "classes", init=str(run.path), **{**options, "options": {}, "target": None})
    assert classes.model().target is None
    assert len(classes.model().classes) == 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "mse"}, "--loss is 'mse'; expected --target as well"),
        ({"target_scale": [0.0, 1.0]}, "--target_scale is .*; expected --target as well"),
        ({"target": "m", "stream": True, "val": "x"}, "--stream is True; expected False with --target"),
        ({"target": "m", "label_smoothing": 0.1}, "--label_smoothing is 0.1; expected 0.0 with --target"),
        ({"target": "m", "class_weights": "balanced"}, "--class_weights is 'balanced'; expected 'none' with --target"),
        ({"target": "m", "augmentation": {"group": "O3"}}, "--augmentation is .*; expected none with --target"),
        ({"target": "m", "penalty": {"weight": 1.0, "moves": {"group": "O3"}}}, "--penalty is .*; expected none with"),
        ({"target": "label_QCD"}, "--target is 'label_QCD', which names a kind"),
        ({"target": "m", "target_scale": [1.0, 0.0]}, "expected centre and scale, the latter more than 0"),
    ],
)
def test_options_that_do_not_go_together(options, message):
    with pytest.raises(ConfigError, match=message):
        TrainConfig("x.root", **options)


def test_columns_that_are_not_there(tmp_path):
    with pytest.raises(DataError, match="the jets of --data have no column 'jet_mas' to be predicted"):
        jetsym.train(DATA, tmp_path / "run", target="jet_mas", epochs=1, **OPTIONS)
    assert dry_run(TrainConfig(DATA, target="jet_sdmass", limit=80, options=SMALL, device="cpu"))["rmse"] > 0


def test_from_the_command_line(run, tmp_path, capsys):
    test = str(sample_dir() / "test")
    out = tmp_path / "numbers.json"
    assert main(["evaluate", str(run.path), test, "--limit", "60", "--device", "cpu", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "jet_nparticles, predicted − true" in said
    assert "all, rotated at random" in said
    assert Regression.load(out).overall.jets == 60
    assert json.loads(out.read_text())["kind"] == "regression"
    assert main(["evaluate", str(run.path), test, "--limit", "60", "--background", "QCD"]) == 1
    assert "--background is for classes, and the network predicts jet_nparticles" in capsys.readouterr().err
    table = str(tmp_path / "predicted.root")
    assert main(["predict", str(run.path), test, "--out", table, "--progress", "false", "--device", "cpu"]) == 0
    written = uproot.open(table)["tree"].arrays(["predicted_jet_nparticles", "jet_nparticles"], library="np")
    jets = read(test, max_particles=64, columns="full", also=("jet_nparticles",))
    assert written["jet_nparticles"].tolist() == jets.columns["jet_nparticles"].tolist()
    tagger = run.model()
    predicted = tagger.target.values(predict_outputs(tagger, jets))[:, 0].numpy()
    np.testing.assert_allclose(written["predicted_jet_nparticles"], predicted, rtol=1e-5)
    assert main(["predict", str(run.path), test, "--out", table, "--logits", "--device", "cpu"]) == 1
    assert "logits are to be written, and the network predicts jet_nparticles" in capsys.readouterr().err
    assert main(["export", str(run.path), "--out", str(tmp_path / "m.onnx")]) == 1
    assert "predicts jet_nparticles and tells no classes" in capsys.readouterr().err


def test_quantiles_are_written_by_name(tmp_path):
    tagger = PointNet(Target("m", 0.0, 1.0, "quantile").outputs, **SMALL).aimed(Target("m", 5.0, 2.0, "quantile"))
    path = predict(tagger, str(sample_dir() / "test"), tmp_path / "p.parquet", max_particles=8, progress=False)
    names = parquet.read_schema(path).names
    assert [name for name in names if "predicted" in name] == ["predicted_m_16", "predicted_m_50", "predicted_m_84"]
    assert not any(name.startswith("score") for name in names)
