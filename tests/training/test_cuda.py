"""Training, evaluation and checkpoints on a CUDA device."""

from __future__ import annotations

import pytest
import torch

from jetsym.jets import checkpoint
from jetsym.jets.evaluation.evaluate import evaluate, predict_logits
from jetsym.jets.evaluation.predict import predictions
from jetsym.jets.io import JetStream
from jetsym.jets.models import PointNet
from jetsym.jets.moves.augmentation import AugmentationConfig
from jetsym.training.config import TrainConfig
from jetsym.training.data import load_jets
from jetsym.training.loop import train

pytestmark = pytest.mark.cuda

SMALL = {"width": 16, "blocks": 1, "heads": 2}


@pytest.fixture
def options(cuda, jetclass_file):
    files = {"data": str(jetclass_file(n=120)), "val": str(jetclass_file("val.root", n=30, seed=5))}
    chosen = {"epochs": 2, "batch_size": 16, "max_particles": 20, "options": SMALL, "device": cuda, "progress": False}
    return files | chosen | {"augmentation": AugmentationConfig("O3"), "checkpoint_every": 2}


def weights(run) -> dict[str, torch.Tensor]:
    return checkpoint.load(run / checkpoint.LAST).state_dict()


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_a_run_in_each_precision(options, tmp_path, precision):
    run = train(out=tmp_path / "run", precision=precision, ema=0.9, **options)
    assert [line["skipped"] for line in run.metrics][-1] <= (3 if precision == "16-mixed" else 0)
    assert all(1 < line["loss"] < 4 for line in run.metrics)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_cut_run_ends_where_an_uninterrupted_one_does(options, tmp_path, precision, stream):
    def cut(moment):
        if moment.step == 5:
            raise InterruptedError

    options |= {"precision": precision, "stream": stream}
    whole = train(out=tmp_path / "whole", **options)
    with pytest.raises(InterruptedError):
        train(out=tmp_path / "cut", callbacks=[cut], **options)
    resumed = train(out=tmp_path / "cut", resume=True, **options)
    # Some kernels add in any order; where a gradient is nothing but rounding, Adam makes steps of full length of it.
    bound = 1e-3 if precision == "32-true" else 2e-2
    for before, after in zip(whole.metrics, resumed.metrics, strict=True):
        assert after["val_loss"] == pytest.approx(before["val_loss"], abs=bound)
    expected = weights(whole.path)
    for name, tensor in weights(resumed.path).items():
        torch.testing.assert_close(tensor, expected[name], atol=2e-2, rtol=0)


def test_a_run_with_monitor_penalty_and_weights_of_classes(options, tmp_path):
    more = {"penalty": {"weight": 0.1, "moves": {"group": "O3"}}, "class_weights": {"QCD": 2.0}, "monitor_every": 4}
    run = train(out=tmp_path / "moves", **options | more)
    assert list((run.path / "spectra").iterdir())
    generators = {"penalty": {"weight": 0.1, "generators": ["J_z"]}, "precision": "32-true"}
    assert train(out=tmp_path / "generators", **options | generators).metrics


# A freshly compiled function warns about its own imports in some versions of torch.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_a_compiled_run(options, tmp_path):
    run = train(out=tmp_path / "run", compile=True, **options | {"epochs": 1})
    assert 1 < run.metrics[0]["loss"] < 4


def test_a_checkpoint_from_there_is_read_here(cuda, options, tmp_path):
    run = train(out=tmp_path / "run", **options)
    here, there = run.model(), run.model(device=cuda)
    _, jets = load_jets(TrainConfig(**{name: options[name] for name in ("data", "val", "max_particles")}))
    torch.testing.assert_close(predict_logits(there, jets), predict_logits(here, jets), atol=1e-4, rtol=0)


def test_evaluation_and_prediction_are_those_of_the_cpu(cuda, options):
    torch.manual_seed(0)
    model = PointNet(**SMALL)
    _, jets = load_jets(TrainConfig(**{name: options[name] for name in ("data", "val", "max_particles")}))
    stream = JetStream(options["val"], batch_size=30, columns="all", shuffle=False)
    here, (rows,) = evaluate(model, jets, rotated=0), predictions(model, stream)
    model.to(cuda)
    there, (found,) = evaluate(model, jets, rotated=0), predictions(model, stream)
    assert there.metrics["log_loss"] == pytest.approx(here.metrics["log_loss"], abs=1e-5)
    assert there.rotated.metrics["log_loss"] == pytest.approx(here.rotated.metrics["log_loss"], abs=1e-5)
    for name, column in rows.items():
        torch.testing.assert_close(*(torch.as_tensor(c[name]) for c in (found, rows)), atol=1e-5, rtol=1e-5)
        assert len(column) == 30


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_a_compiled_tagger_answers_alike(cuda, make_jets):
    jets, model = make_jets(16).to(cuda), PointNet(**SMALL).to(cuda).eval()
    with torch.no_grad():
        plain = model(jets)
        model.compile(dynamic=True)
        torch.testing.assert_close(model(jets), plain, atol=1e-3, rtol=0)
