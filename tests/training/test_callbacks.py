"""Watched runs: spectra at the steps that were asked for, and the training of an unwatched one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import jetsym
from jetsym.errors import ConfigError, DataError
from jetsym.jets import checkpoint
from jetsym.jets.sources import some_of
from jetsym.probing.reports.history import FOLDER, History
from jetsym.training.config import TrainConfig
from jetsym.training.loop import train

QUICK = {
    "epochs": 2,
    "batch_size": 16,
    "max_particles": 8,
    "options": {"width": 8, "blocks": 1, "heads": 2, "dropout": 0.2},
    "device": "cpu",
    "progress": False,
    "monitor_jets": 3,
}


@pytest.fixture
def data(jetclass_file) -> str:
    return str(jetclass_file(n=60))  # 54 to train on: 4 steps an epoch


def test_a_watched_run_ends_with_the_same_weights(data, tmp_path):
    plain = train(data, tmp_path / "plain", **QUICK)
    watched = train(data, tmp_path / "watched", monitor_every=3, **QUICK)
    assert not (plain.path / FOLDER).exists()
    first, second = (checkpoint.read(run.path / checkpoint.LAST)[1] for run in (plain, watched))
    assert all(torch.equal(first[name], second[name]) for name in first)
    history = History.load(watched.path)
    assert history.steps.tolist() == [0, 3, 6, 8]
    assert history.meta["n_inputs"] == 3


def test_the_last_probe_is_of_the_last_weights(data, tmp_path):
    run = train(data, tmp_path / "run", monitor_every=100, **QUICK)
    history = History.load(run.path)
    assert history.steps.tolist() == [0, 8]
    from jetsym.training.data import load_jets

    _, validation = load_jets(TrainConfig(data, **{k: v for k, v in QUICK.items() if k != "progress"}))
    jets, last = some_of(validation, 3), checkpoint.load(run.path / checkpoint.LAST)
    direct = jetsym.probe(last, jets, method="icosahedral", l_max=2, progress=False)
    np.testing.assert_array_equal(direct.fractions, history.reports[-1].fractions)


class Killed(Exception):
    pass


def test_a_continued_run_has_the_history_of_an_uninterrupted_one(data, tmp_path):
    whole = train(data, tmp_path / "whole", monitor_every=2, **QUICK)

    def die(moment):
        if moment.step == 7:
            raise Killed

    with pytest.raises(Killed):
        train(data, tmp_path / "cut", monitor_every=2, callbacks=[die], **QUICK)
    assert History.load(tmp_path / "cut").steps.tolist() == [0, 2, 4, 6]
    cut = train(data, tmp_path / "cut", resume=True, monitor_every=2, **QUICK)
    first, second = History.load(whole.path), History.load(cut.path)
    assert second.steps.tolist() == [0, 2, 4, 6, 8]
    np.testing.assert_array_equal(first.over_steps("fractions"), second.over_steps("fractions"))
    # Begun anew with other steps, nothing is left of the old ones.
    train(data, tmp_path / "cut", overwrite=True, monitor_every=5, **QUICK)
    assert History.load(tmp_path / "cut").steps.tolist() == [0, 5, 8]


def test_some_jets_are_of_all_classes_and_have_particles(make_jets):
    jets = make_jets(30).replace(label=torch.arange(30) // 3)
    assert some_of(jets, 10).label.tolist() == list(range(10))
    jets.mask[::2] = False
    assert (some_of(jets, 99).n_particles > 0).all()
    assert len(some_of(jets, 99)) == 15
    jets.mask[:] = False
    with pytest.raises(DataError, match="no validation jet has particles"):
        some_of(jets, 3)


@pytest.mark.parametrize(("name", "value"), [("monitor_every", -1), ("monitor_jets", 0)])
def test_bad_values_name_their_flag(name, value):
    with pytest.raises(ConfigError, match=f"--{name} is {value}"):
        TrainConfig("a.root", **{name: value})
