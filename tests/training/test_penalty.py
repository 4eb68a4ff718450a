"""Penalties by configuration: they reach the loss, and what makes no sense is refused."""

from __future__ import annotations

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser

from jetsym.errors import ConfigError
from jetsym.jets.models import PointNet
from jetsym.jets.moves.augmentation import AugmentationConfig
from jetsym.remedies.penalty import GeneratorPenalty, TransformationPenalty
from jetsym.training import loop
from jetsym.training.config import TrainConfig
from jetsym.training.loop import train
from jetsym.training.penalty import PenaltyConfig, penalties_of, two_positions

SMALL = {"width": 8, "blocks": 1, "heads": 2}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_none_by_default():
    assert penalties_of(PenaltyConfig()) == []


@pytest.mark.parametrize("against", ["moved", "input"])
@pytest.mark.parametrize("moves", [{"group": "O3", "frame": "rest"}, {"group": "boost", "width": 0.5}], ids=str)
def test_moves_are_those_of_the_augmentation(make_jets, moves, against):
    jets, net = make_jets(5, min_particles=2), PointNet(**SMALL)
    config = PenaltyConfig(weight=0.5, moves=moves, against=against)
    both = two_positions(jets, seeded(), config=config)
    assert torch.equal(both[:5].p4, jets.p4) == (against == "input")
    assert not torch.equal(both[5:].p4, jets.p4)
    by_hand = TransformationPenalty(lambda _, __: both)(net, jets, None)
    assert torch.equal(penalties_of(config)[0](net, jets, seeded()), 0.5 * by_hand)


def test_generators(make_jets):
    jets, net = make_jets(5), PointNet(**SMALL)
    found = penalties_of(PenaltyConfig(weight=2.0, generators=["J_z", "K_z"], axes="jet"))[0](net, jets, seeded())
    assert torch.equal(found, 2 * GeneratorPenalty(("J_z", "K_z"), axes="jet")(net, jets, seeded()))


def test_it_is_part_of_the_loss(jetclass_file, tmp_path):
    data, losses = str(jetclass_file(n=60)), {}
    options = {"options": SMALL, "epochs": 1, "batch_size": 60, "device": "cpu", "progress": False}
    for weight in (0.0, 1.0, 2.0):
        penalty = {"weight": weight, "moves": {"group": "SO3" if weight else "none"}}
        seen: list[float] = []
        train(
            data,
            tmp_path / str(weight),
            penalty=penalty,
            callbacks=[lambda m, seen=seen: seen.append(m.loss)],
            **options,
        )
        losses[weight] = seen[0]
    assert losses[1.0] - losses[0.0] > 1e-3
    assert losses[2.0] - losses[0.0] == pytest.approx(2 * (losses[1.0] - losses[0.0]), rel=1e-3)


def test_flags_and_yaml(tmp_path):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_function_arguments(loop.train, skip={"penalties", "callbacks"})
    words = ["--data", "a.root", "--out", "run", "--penalty.weight", "0.3", "--penalty.moves.group", "SO3"]
    options = vars(parser.instantiate(parser.parse_args(words)))
    wanted = PenaltyConfig(weight=0.3, moves=AugmentationConfig("SO3"))
    assert options["penalty"] == wanted
    config = TrainConfig("a.root", penalty=wanted)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config.to_dict()))
    assert TrainConfig.from_dict(yaml.safe_load((tmp_path / "config.yaml").read_text())) == config
    options = vars(parser.instantiate(parser.parse_args(["--config", str(tmp_path / "config.yaml"), "--out", "run"])))
    assert options["penalty"] == wanted


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weight": -1.0}, "--penalty.weight is -1.0; expected a number ≥ 0"),
        ({"weight": 1.0}, "there is nothing to weigh"),
        ({"moves": {"group": "SO3"}}, "give it a weight above 0"),
        ({"weight": 1.0, "moves": {"group": "SO3"}, "generators": ["J_z"]}, "both given; choose one"),
        ({"weight": 1.0, "moves": {"grup": "SO3"}}, "--penalty.moves has no option 'grup'; the nearest are 'group'"),
        ({"weight": 1.0, "generators": ["J_w"]}, "no generator 'J_w'"),
        ({"weight": 1.0, "generators": ["J_z"], "axes": "z"}, "axes is 'z'"),
        ({"weight": 1.0, "moves": {"group": "SO3"}, "against": "x"}, "penalty.against is 'x'"),
        ("SO3", "--penalty is 'SO3'; expected its options, such as {'weight': 0.1"),
        ({"weight": 1.0, "moves": "SO3"}, "--penalty.moves is 'SO3'; expected its options, such as {'group': 'O3'}"),
        ({"weight": "much", "moves": {"group": "SO3"}}, "--penalty.weight is 'much'; expected a number ≥ 0"),
        ({"wight": 1.0}, "--penalty has no option 'wight'; the nearest are 'weight'"),
    ],
)
def test_what_makes_no_sense_is_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        TrainConfig("a.root", penalty=values)


def test_small_differences_need_32_bits():
    penalty = {"weight": 1.0, "generators": ["J_z"]}
    TrainConfig("a.root", penalty=penalty, precision="32-true")
    with pytest.raises(ConfigError, match="--precision is 'auto'; expected '32-true'"):
        TrainConfig("a.root", penalty=penalty)
