"""What is tried before a run leaves nothing behind and says what a run would do."""

import json

import numpy as np
import pytest

from jetsym.cli import main
from jetsym.errors import ConfigError
from jetsym.training.config import TrainConfig
from jetsym.training.loop import train
from jetsym.training.trials import RateCurve, dry_run, find_lr

SMALL = {"width": 8, "blocks": 1, "heads": 2}
OPTIONS = {"batch_size": 16, "options": SMALL, "device": "cpu"}


@pytest.mark.parametrize("stream", [False, True])
def test_a_dry_run_takes_the_first_step_of_the_run(jetclass_file, tmp_path, stream):
    data, val = str(jetclass_file(n=64)), str(jetclass_file("val.root", n=10, seed=1))
    options = OPTIONS | {"data": data, "val": val, "stream": stream}
    before = sorted(tmp_path.iterdir())
    found = dry_run(TrainConfig(**options))
    assert sorted(tmp_path.iterdir()) == before
    losses = []
    run = train(
        out=tmp_path / "run", progress=False, callbacks=[lambda at: losses.append(at.loss)], **options, epochs=1
    )
    assert found["loss"] == losses[0]
    assert found["jets"] == 16
    assert found["parameters"] == sum(weight.numel() for weight in run.model().parameters())
    assert found["val_loss"] > 0


def test_a_dry_run_reads_few_jets(jetclass_file, monkeypatch):
    from jetsym.training import trials

    seen, load_jets = [], trials.load_jets
    monkeypatch.setattr(trials, "load_jets", lambda config, **place: seen.append(config.limit) or load_jets(config))
    data = str(jetclass_file(n=64))
    dry_run(TrainConfig(data, **OPTIONS | {"batch_size": 2}))
    dry_run(TrainConfig(data, limit=30, **OPTIONS | {"batch_size": 2}))
    assert seen == [40, 30]


def falling_at(rate: float, *, noise: float) -> RateCurve:
    """A loss that falls around one rate, and rises at the end."""
    rates = np.geomspace(1e-6, 1, 100)
    losses = 2 - np.tanh(np.log(rates / rate) / 2) + np.exp(np.log(rates) * 2 + 3)
    return RateCurve(rates, losses + noise * np.random.default_rng(0).normal(size=100))


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("rate", [1e-4, 3e-3])
def test_the_suggestion_is_where_the_loss_falls_fastest(rate, noise):
    assert rate / 3 < falling_at(rate, noise=noise).suggestion < 3 * rate


def test_the_loss_runs_away_and_ends_the_search(jetclass_file):
    config = TrainConfig(str(jetclass_file(n=120)), **OPTIONS | {"clip": 1e6})
    curve = find_lr(config, largest=1e6, steps=40)
    assert 10 <= len(curve.rates) < 40
    assert curve.rates[0] == pytest.approx(1e-6)
    assert curve.smoothed.shape == curve.losses.shape == curve.rates.shape
    assert f"--lr {curve.suggestion:.2g}" in str(curve)
    again = find_lr(config, largest=1e6, steps=40)
    np.testing.assert_array_equal(again.losses, curve.losses)


def test_a_search_that_makes_no_sense_is_named(jetclass_file):
    config = TrainConfig(str(jetclass_file(n=40)), **OPTIONS)
    for options, words in (
        ({"smallest": 1.0, "largest": 0.1}, "expected growing ones"),
        ({"steps": 3}, "steps is 3; expected an integer ≥ 10"),
        ({"smallest": 0.0}, "smallest is 0.0; expected a number > 0"),
    ):
        with pytest.raises(ConfigError, match=words):
            find_lr(config, **options)
    with pytest.raises(ConfigError, match="the loss runs away at a learning rate of"):
        find_lr(TrainConfig(str(jetclass_file(n=40)), **OPTIONS | {"clip": 1e9}), smallest=1e4, largest=1e9)


def test_trials_from_the_command_line(jetclass_file, tmp_path, capsys):
    words = ["train", "--data", str(jetclass_file(n=40)), "--out", str(tmp_path / "run"), "--device", "cpu"]
    words += ["--options", json.dumps(SMALL), "--batch_size", "16"]
    assert main([*words, "--dry_run"]) == 0
    assert not (tmp_path / "run").exists()
    assert "val_loss" in capsys.readouterr().out
    assert main([*words, "--find_lr"]) == 0
    said = capsys.readouterr().out
    assert "the loss falls fastest at --lr" in said
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"learning_rate.json", "learning_rate.png"}
    curve = json.loads((tmp_path / "run" / "learning_rate.json").read_text())
    assert f"{curve['suggestion']:.2g}" in said
    assert main([*words, "--epochs", "1"]) == 0  # the folder is free for a run
