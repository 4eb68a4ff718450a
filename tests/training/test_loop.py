"""The training loop: it learns, it repeats itself, and it goes on where it was interrupted."""

import csv
import json
import math

import pytest
import torch
import yaml

from jetsym.errors import ConfigError, DataError, TrainingError
from jetsym.jets import checkpoint, read
from jetsym.jets.batch import JetBatch
from jetsym.jets.moves.augmentation import AugmentationConfig
from jetsym.training import loop, state, step
from jetsym.training.batches import batches, count_batches
from jetsym.training.config import TrainConfig
from jetsym.training.data import load_jets
from jetsym.training.engine import make_fabric
from jetsym.training.loop import train
from jetsym.training.seeds import generator_for
from jetsym.training.state import begin

SMALL = {"width": 8, "blocks": 1, "heads": 2}
QUICK = {
    "epochs": 3,
    "batch_size": 16,
    "max_particles": 10,
    "options": SMALL | {"dropout": 0.2},
    "augmentation": AugmentationConfig("O3"),
    "device": "cpu",
    "progress": False,
}


@pytest.fixture
def data(jetclass_file) -> str:
    return str(jetclass_file(n=60))


def tensors(path):
    return checkpoint.read(path)[1]


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def dying_after(epochs: int):
    """A callback that makes training stop, as if killed, when it has finished so many epochs."""

    seen = []

    def die(moment):
        if epochs in seen:  # by now everything about the epoch is written
            raise KeyboardInterrupt
        seen.append(moment.metrics and moment.metrics["epoch"])

    return [die]


def test_a_run_leaves_what_its_folder_promises(data, tmp_path):
    run = train(data, tmp_path / "run", **QUICK)
    assert sorted(path.name for path in run.path.iterdir()) == [
        "best.safetensors",
        "config.yaml",
        "initial.safetensors",
        "last.safetensors",
        "metrics.csv",
        "metrics.jsonl",
    ]
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert lines == run.metrics
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert {"loss", "val_loss", "accuracy", "lr", "seconds", "jets_per_s"} <= set(lines[0])
    with (run.path / "metrics.csv").open() as stream:
        assert [float(row["loss"]) for row in csv.DictReader(stream)] == [line["loss"] for line in lines]
    config = TrainConfig.from_dict(yaml.safe_load((run.path / "config.yaml").read_text()))
    assert config == TrainConfig(data, **{key: value for key, value in QUICK.items() if key != "progress"})
    assert lines[0]["lr"] > lines[1]["lr"] > lines[2]["lr"]
    assert lines[2]["lr"] < 0.1 * config.lr
    header, _ = checkpoint.read(run.path)
    assert header.metrics == min(lines, key=lambda line: line["val_loss"])
    assert header.config == config.to_dict()
    assert not run.model().training


def test_runs_repeat_and_leave_the_global_generator_alone(data, tmp_path):
    before = torch.get_rng_state()
    first = train(data, tmp_path / "a", **QUICK)
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(5)
    second = train(data, tmp_path / "b", **QUICK)
    assert same(tensors(first.path / checkpoint.LAST), tensors(second.path / checkpoint.LAST))
    third = train(data, tmp_path / "c", **QUICK, seed=1)
    assert not same(tensors(first.path / checkpoint.LAST), tensors(third.path / checkpoint.LAST))


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_resumed_run_ends_bit_for_bit_where_an_uninterrupted_one_does(data, tmp_path, epochs):
    whole = train(data, tmp_path / "whole", **QUICK)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "cut", callbacks=dying_after(epochs), **QUICK)
    resumed = train(data, tmp_path / "cut", resume=True, **QUICK)
    for name in (checkpoint.LAST, checkpoint.BEST):
        assert same(tensors(whole.path / name), tensors(resumed.path / name))
    timing = ("seconds", "jets_per_s")
    assert [{key: value for key, value in line.items() if key not in timing} for line in resumed.metrics] == [
        {key: value for key, value in line.items() if key not in timing} for line in whole.metrics
    ]


def test_a_run_killed_between_metrics_and_checkpoint_has_no_line_twice(data, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "run", callbacks=dying_after(1), **QUICK)
    lines = tmp_path / "run" / "metrics.jsonl"
    lines.write_text(lines.read_text() + json.dumps(json.loads(lines.read_text()) | {"epoch": 2}) + "\n")
    resumed = train(data, tmp_path / "run", resume=True, **QUICK)
    assert [line["epoch"] for line in resumed.metrics] == [1, 2, 3]


def test_resuming_nothing_begins_and_resuming_the_end_ends(data, tmp_path):
    run = train(data, tmp_path / "run", resume=True, **QUICK)
    assert len(run.metrics) == 3
    again = train(data, tmp_path / "run", resume=True, **QUICK)
    assert again.metrics == run.metrics


def test_a_run_in_place_is_protected(data, tmp_path):
    train(data, tmp_path / "run", **QUICK)
    (tmp_path / "run" / "notes.txt").write_text("keep")
    with pytest.raises(
        ConfigError, match="holds a run already; continue it with --resume, replace it with --overwrite"
    ):
        train(data, tmp_path / "run", **QUICK)
    with pytest.raises(ConfigError, match="--resume and --overwrite were both given"):
        train(data, tmp_path / "run", resume=True, overwrite=True, **QUICK)
    with pytest.raises(ConfigError, match=r"--lr is 0\.5, but the run in .* has 0\.001"):
        train(data, tmp_path / "run", resume=True, lr=0.5, **QUICK)
    with pytest.raises(ConfigError, match="which is a file"):
        train(data, data, **QUICK)
    run = train(data, tmp_path / "run", overwrite=True, **QUICK | {"epochs": 1})
    assert len(run.metrics) == 1
    assert (tmp_path / "run" / "notes.txt").read_text() == "keep"


def test_a_failed_start_destroys_and_blocks_nothing(data, tmp_path):
    run = train(data, tmp_path / "run", **QUICK)
    before = tensors(run.path)
    with pytest.raises(DataError):
        train(str(tmp_path / "nowhere.root"), run.path, overwrite=True, **QUICK)
    assert same(tensors(run.path), before)
    with pytest.raises(DataError):
        train(str(tmp_path / "nowhere.root"), tmp_path / "new", **QUICK)
    assert len(train(data, tmp_path / "new", **QUICK).metrics) == 3


def test_it_learns(data, make_jets, tmp_path, monkeypatch):
    """Two classes that differ in their number of particles, told apart after a few epochs."""
    many, few = make_jets(200, seed=1, min_particles=20), make_jets(200, seed=2, max_particles=12)
    jets = JetBatch.concatenate([few, many]).replace(columns={})
    jets = jets.replace(label=(torch.arange(400) >= 200).long() * 8)
    shuffled = jets[torch.randperm(400, generator=torch.Generator().manual_seed(0))]
    monkeypatch.setattr(loop, "load_jets", lambda config, **place: (shuffled[:300], shuffled[300:]))
    run = train(data, tmp_path / "run", epochs=6, batch_size=32, lr=5e-3, options={"width": 16}, progress=False)
    assert run.metrics[-1]["auc_top_qcd"] > 0.97
    assert run.metrics[-1]["loss"] < 0.5 < run.metrics[0]["loss"]


def test_augmentation_reaches_the_training_jets_only(data, tmp_path, monkeypatch):
    moved = []
    monkeypatch.setattr(step, "augment", lambda batch, config, generator: moved.append(len(batch)) or batch)
    train(data, tmp_path / "run", **QUICK)
    assert sum(moved) == 3 * 54  # not the 6 that are held out


def test_every_step_moves_jets_anew(data, tmp_path, monkeypatch):
    seeds = []
    monkeypatch.setattr(
        step, "augment", lambda batch, config, generator: seeds.append(generator.initial_seed()) or batch
    )
    train(data, tmp_path / "run", **QUICK)
    train(data, tmp_path / "other", seed=1, **QUICK)
    assert len(set(seeds)) == 2 * 3 * 4  # runs, epochs, steps


def with_nan(jets: JetBatch, jet: int) -> JetBatch:
    broken = jets.replace(p4=jets.p4.clone())
    broken.p4[jet, 0] = torch.nan
    return broken


def test_an_epoch_of_which_every_step_was_left_out_has_no_loss(data, make_jets, tmp_path, monkeypatch):
    jets = make_jets(40)
    broken = jets.replace(p4=torch.full_like(jets.p4, torch.nan))
    monkeypatch.setattr(loop, "load_jets", lambda config, **place: (broken, jets))
    run = train(data, tmp_path / "run", max_skipped=1000, **QUICK)
    assert all(math.isnan(line["loss"]) and line["skipped"] > 0 for line in run.metrics)


def test_steps_that_are_not_finite_are_left_out_and_counted(data, make_jets, tmp_path, monkeypatch):
    jets = make_jets(40)
    monkeypatch.setattr(loop, "load_jets", lambda config, **place: (with_nan(jets, 7), jets))
    losses = []
    run = train(data, tmp_path / "run", callbacks=[lambda moment: losses.append(moment.loss)], **QUICK)
    assert [line["skipped"] for line in run.metrics] == [1, 1, 1]
    assert [line["loss"] > 0 for line in run.metrics] == [True] * 3
    assert sum(map(math.isnan, losses)) == 3 + 3  # and one call after each epoch
    assert all(tensor.isfinite().all() for tensor in tensors(run.path / checkpoint.LAST).values())


def test_too_many_steps_in_a_row_stop_the_run_and_keep_what_was_good(data, make_jets, tmp_path, monkeypatch):
    """The bad jets come with the second epoch, as if the network had run away."""
    jets = make_jets(40)
    monkeypatch.setattr(loop, "load_jets", lambda config, **place: (jets, jets))
    add_gradient, calls = step.add_gradient, []

    def running_away(run, batch, **options):
        calls.append(len(batch))
        return add_gradient(run, with_nan(batch, 0) if len(calls) > 3 else batch, **options)

    monkeypatch.setattr(step, "add_gradient", running_away)
    message = r"in epoch 2, step 1, at a learning rate of .*2 steps in a row were left out.*smaller --lr"
    with pytest.raises(TrainingError, match=message):
        train(data, tmp_path / "run", max_skipped=2, **QUICK)
    assert len(calls) == 5
    header, _ = checkpoint.read(tmp_path / "run" / checkpoint.LAST)
    assert header.epoch == 1
    assert all(tensor.isfinite().all() for tensor in tensors(tmp_path / "run" / checkpoint.LAST).values())


def test_validation_jets_that_are_not_finite_are_named(data, make_jets, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "load_jets", lambda config, **place: (make_jets(40), with_nan(make_jets(40), 0)))
    with pytest.raises(TrainingError, match="the validation loss is nan, while the weights are finite; look for jets"):
        train(data, tmp_path / "run", **QUICK)
    assert [file.name for file in (tmp_path / "run").glob("*.safetensors")] == ["initial.safetensors"]


@pytest.mark.parametrize("parts", [1, 4, 100])
def test_groups_of_similar_length_give_the_gradient_of_the_batch(make_jets, monkeypatch, parts):
    config, jets = TrainConfig("a.root", device="cpu", label_smoothing=0.1, options=SMALL), make_jets(13)
    monkeypatch.setattr(state, "CPU_PARTS", parts)
    run = begin(make_fabric(config), config, jets)
    model = run.tagger
    assert run.parts == parts
    loss = step.add_gradient(run, jets, size=len(jets), place={"seed": 0})
    expected = torch.nn.functional.cross_entropy(model(jets), jets.label, label_smoothing=0.1)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for parameter, gradient in zip(
        model.parameters(), torch.autograd.grad(expected, list(model.parameters())), strict=True
    ):
        torch.testing.assert_close(parameter.grad, gradient, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_momenta_reach_the_model_unrounded(make_jets, precision):
    seen = []

    class Spy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 10)

        def forward(self, jets):
            seen.append(jets)
            return self.layer(jets.p4.sum(1))

    fabric, jets = make_fabric(TrainConfig("a.root", device="cpu", precision=precision)), make_jets(3)
    logits = fabric.setup_module(Spy())(jets)
    assert torch.equal(seen[0].p4, jets.p4)
    assert logits.dtype == torch.float32


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_mixed_precision_trains(data, tmp_path, precision):
    run = train(data, tmp_path / "run", precision=precision, **QUICK)
    assert all(tensor.dtype == torch.float32 for tensor in tensors(run.path).values())


def test_progress_is_shown_on_the_error_stream(data, tmp_path, capsys):
    train(data, tmp_path / "run", **QUICK | {"progress": True})
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("val_loss") == 3
    assert "epoch 3/3" in captured.err


# --- what others add to the loop -------------------------------------------------------------------------------------


def test_callbacks_see_every_step_and_every_epoch(data, tmp_path):
    moments = []
    run = train(data, tmp_path / "run", callbacks=[moments.append], **QUICK)
    assert [moment.step for moment in moments] == [1, 2, 3, 4, 4, 5, 6, 7, 8, 8, 9, 10, 11, 12, 12]
    assert [moment.metrics for moment in moments if moment.metrics is not None] == run.metrics
    losses = [moment.loss for moment in moments if moment.metrics is None]
    assert run.metrics[0]["loss"] == pytest.approx(sum(losses[:4]) / 4, rel=0.05)
    assert {moment.folder for moment in moments} == {run.path}


def test_what_a_callback_draws_changes_nothing(data, tmp_path):
    quiet = train(data, tmp_path / "quiet", **QUICK)
    noisy = train(data, tmp_path / "noisy", callbacks=[lambda moment: torch.rand(3)], **QUICK)
    assert same(tensors(quiet.path / checkpoint.LAST), tensors(noisy.path / checkpoint.LAST))


def test_penalties_are_added_to_the_loss_and_its_gradient(make_jets):
    config, jets = TrainConfig("a.root", device="cpu", options=SMALL), make_jets(13)
    run, draws = begin(make_fabric(config), config, jets), []
    model = run.tagger

    def penalty(model, batch, generator):
        draws.append(torch.rand(2, generator=generator))
        return model(batch).square().mean()

    place = {"seed": 0, "epoch": 1, "step": 3}
    loss = step.add_gradient(run, jets, size=len(jets), place=place, penalties=[penalty])
    expected = torch.nn.functional.cross_entropy(model(jets), jets.label) + model(jets).square().mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    gradient = torch.autograd.grad(expected, model.head[-1].weight)[0]
    torch.testing.assert_close(model.head[-1].weight.grad, gradient, atol=1e-5, rtol=1e-4)
    assert torch.equal(draws[0], torch.rand(2, generator=generator_for("penalty", **place)))
    assert len({tuple(draw.tolist()) for draw in draws}) == 4


def test_a_tagger_with_one_logit_trains_as_the_two_that_it_stands_for(make_jets):
    """The cross-entropy of (0, z) is the binary one of z; epochs are measured alike, however early they are."""
    from jetsym.jets.models import PointNet

    class OneLogit(PointNet):
        def forward(self, jets):
            return super().forward(jets)[:, 1:]

    jets = make_jets(40)
    jets = jets.replace(classes=("QCD", "Tbqq"), label=jets.label % 2)
    config = TrainConfig("a.root", device="cpu", options=SMALL)
    fabric = make_fabric(config)
    run = begin(fabric, config, jets)
    run.tagger.__class__ = OneLogit
    z = run.tagger(jets)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(z[:, 0], jets.label.float())
    assert step.add_gradient(run, jets, size=40, place={"seed": 0}).item() == pytest.approx(expected.item(), rel=1e-5)
    gradient = torch.autograd.grad(expected, run.tagger.head[-1].weight)[0]
    torch.testing.assert_close(run.tagger.head[-1].weight.grad, gradient, atol=1e-5, rtol=1e-4)
    found = loop.validate(fabric, run.tagger, jets, batch_size=8)
    assert found["val_loss"] == pytest.approx(expected.item(), rel=1e-5)
    assert found["accuracy"] == float(((z[:, 0] > 0) == (jets.label == 1)).double().mean())
    with torch.no_grad():
        run.tagger.head[-1].bias[1] = 0.5  # untrained, all of them may lie in [0, 1]
        run.tagger.head[-1].weight[1] *= 0.01
    assert ((run.tagger(jets) >= 0) & (run.tagger(jets) <= 1)).all()
    assert loop.validate(fabric, run.tagger, jets, batch_size=8)["accuracy"] == float((jets.label == 1).double().mean())


# --- streamed from files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cached", [False, True])
def test_a_streamed_run_learns_from_the_files_and_continues_bit_for_bit(jetclass_file, tmp_path, cached):
    files = [str(jetclass_file(f"{name}.root", n=40, seed=seed)) for seed, name in enumerate("ab")]
    options = QUICK | {"val": str(jetclass_file("val.root", n=20, seed=5)), "stream": True}
    if cached:
        options["cache"] = str(tmp_path / "cache")
    whole = train(files, tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        train(files, tmp_path / "run", callbacks=dying_after(1), **options)
    again = train(files, tmp_path / "run", resume=True, **options)
    assert same(tensors(again.path / "last.safetensors"), tensors(whole.path / "last.safetensors"))
    assert len({line["loss"] for line in whole.metrics}) == 3


def test_a_streamed_epoch_shows_the_files_jets(jetclass_file):
    path = str(jetclass_file(n=60))
    jets, _ = load_jets(TrainConfig(path, val=path, stream=True, batch_size=15, max_particles=7))
    seen = list(batches(jets, batch_size=15, seed=0, epoch=1))
    assert (len(jets), count_batches(jets, batch_size=15)) == (60, 4)
    assert max(batch.max_particles for batch in seen) <= 7
    truth = read(path, max_particles=7).jet_p4
    shown = torch.cat([batch.jet_p4 for batch in seen])
    assert not torch.equal(shown, truth)
    assert torch.equal(shown[shown[:, 0].argsort()], truth[truth[:, 0].argsort()])
    others = torch.cat([batch.jet_p4 for batch in batches(jets, batch_size=15, seed=0, epoch=2)])
    assert not torch.equal(others, shown)


def test_options_that_do_not_go_with_a_stream(data):
    for options in ({}, {"val": data, "limit": 3}):
        with pytest.raises(ConfigError, match="--stream reads all of --data in every epoch; it needs --val"):
            TrainConfig(data, stream=True, **options)
    with pytest.raises(ConfigError, match="only used with --stream"):
        TrainConfig(data, cache="somewhere")
