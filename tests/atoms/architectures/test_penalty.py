"""The penalty of a training on A² and on layers: against what a probe measures, and within PET's trainer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import jetsym
from jetsym.atoms.model import Model
from jetsym.atoms.packages import quiet
from jetsym.errors import ConfigError

#: Draws, of a batch that holds every structure so many times.
DRAWS, COPIES = 16, 25
TENSORS = {
    "energy": "energy",
    "mtt::mu": {"cartesian": {"rank": 1}},
    "mtt::alpha": {"spherical": {"irreps": [{"o3_lambda": 0, "o3_sigma": 1}, {"o3_lambda": 2, "o3_sigma": 1}]}},
}


@pytest.fixture(scope="module")
def penalised():
    """``penalised(model, frames, draws, on)``: by name the mean penalty over draws, and its standard error."""
    from jetsym.atoms.architectures.penalty import Penalty

    def measured(model, frames, on=(), **options):
        penalty = Penalty(model, 1.0, on, rng=np.random.default_rng(0), **options)
        systems = COPIES * Model(model).systems(frames)
        model.train()
        found = []
        with torch.no_grad(), quiet():
            for _ in range(DRAWS):
                penalty._sums = {}
                penalty(systems)
                found.append(penalty._sums)
        model.eval()
        rows = {name: np.array([each[name] for each in found]) for name in found[0]}
        return {name: (row.mean(), row.std(ddof=1) / np.sqrt(DRAWS)) for name, row in rows.items()}

    return measured


def test_its_mean_is_the_a_squared_that_a_probe_measures(make_model, molecule, penalised):
    model, frames = make_model(TENSORS), [molecule(seed=0), molecule("CH3OH", seed=1)]
    found = penalised(model, frames)
    assert set(found) == {"energy", "mtt::mu", "mtt::alpha (0,+)", "mtt::alpha (2,+)"}
    sizes = [len(frame) for frame in frames]
    expected = dict.fromkeys(found, 0.0)
    for frame, size in zip(frames, sizes, strict=True):
        report = jetsym.probe(Model(model), [frame], l_max=4, layers=[], progress=False)
        for name, item in report.equivariance.items():
            components = {"mtt::mu": 3, "mtt::alpha (2,+)": 5}.get(name, 1)
            expected[name] += item.absolute**2 / components / size**2 / len(frames)
    for name, (mean, error) in found.items():
        assert abs(mean - expected[name]) < 4 * error, name
        assert error < 0.1 * mean, name


def test_of_layers_it_is_the_share_that_is_not_invariant(make_model, molecule, penalised):
    model, frames, layers = make_model(), [molecule(seed=0)], ["gnn_layers.0_node", "gnn_layers.0.edge_embedder"]
    found = penalised(model, frames, on=layers)
    report = jetsym.probe(Model(model), frames, l_max=4, layers=layers, progress=False)
    assert set(found) == set(layers)
    for name, (mean, error) in found.items():
        expected = 1 - report.fractions[report.layers.index(name), 0]
        assert abs(mean - expected) < 4 * error + 1e-3, name
        assert error < 0.1 * mean


def test_it_has_a_slope_for_every_parameter_that_an_output_depends_on(make_model, molecule):
    from jetsym.atoms.architectures.penalty import Penalty

    model = make_model().train()
    systems = Model(model).systems([molecule(seed=0)])
    with quiet():
        Penalty(model, 1.0, ["gnn_layers.0_node", "energy"], rng=np.random.default_rng(0))(systems).backward()
    lacking = [name for name, each in model.named_parameters() if each.grad is None]
    assert lacking == []
    assert not any(module._forward_hooks for module in model.modules())


class Loop:
    """In place of metatrain's module with PET's trainer: what its training looks up there, by the same names."""

    class LossAggregator:
        def __init__(self, targets=None, config=None):
            self.given = targets, config

        def __call__(self, predictions, targets, extra_data=None):
            return self.compute(predictions, targets, extra_data)

        def compute(self, predictions, targets, extra_data=None):
            return torch.tensor(float(predictions - targets))

    @staticmethod
    def evaluate_model(model, systems, targets, is_training, check_consistency=False):
        return len(systems)


def test_it_is_a_term_of_the_loss_in_training_alone_and_is_said(make_model, molecule, caplog):
    from jetsym.atoms.architectures.penalty import PENALTY, Penalty

    model, loop = make_model(), Loop()
    penalty = Penalty(model, 0.5, rng=np.random.default_rng(3))
    again = Penalty(model, 0.5, rng=np.random.default_rng(3))
    systems = Model(model).systems([molecule(seed=0)])
    with caplog.at_level("INFO"), quiet(), penalty.within(loop):
        loss = loop.LossAggregator(targets={}, config={"type": "mse"})
        assert loss.given == ({}, {"type": "mse"})
        terms = []
        for _ in range(2):
            predictions = loop.evaluate_model(model, systems, {}, is_training=True)
            terms.append(0.5 * float(again(systems).detach()))
            assert float(loss(predictions, 0.0).detach()) == pytest.approx(1 + terms[-1], rel=1e-6)
        assert terms[0] != terms[1]
        assert not caplog.messages
        for _ in range(2):
            predictions = loop.evaluate_model(model, systems, {}, is_training=False)
            assert float(loss(predictions, 0.0)) == 1
    (said,) = caplog.messages
    assert said.startswith(f"{PENALTY}energy ")
    assert float(said.split()[-1]) == pytest.approx(sum(terms), rel=1e-3)  # a mean of two, without the weight
    assert (loop.LossAggregator, loop.evaluate_model) == (Loop.LossAggregator, Loop.evaluate_model)


def test_pets_trainer_looks_up_what_is_wrapped():
    """What the term rests on, of a metatrain that may change."""
    with quiet():
        import metatrain.pet.trainer as module
    names = module.Trainer.train.__code__.co_names
    assert {"evaluate_model", "LossAggregator"} <= set(names)
    assert callable(module.LossAggregator.compute)


def test_what_cannot_be_weighed_is_refused(make_model):
    from jetsym.atoms.architectures.bias import bias_of
    from jetsym.atoms.architectures.penalty import Penalty

    def made(model, *on):
        return Penalty(model, 1.0, on, rng=np.random.default_rng(0))

    with pytest.raises(ConfigError, match=r"'enrgy', which is neither a target \(energy\) nor a layer; "):
        made(make_model(), "enrgy")
    third = make_model({"mtt::third": {"cartesian": {"rank": 3}}})
    with pytest.raises(ConfigError, match="penalty has nothing to weigh: the law of mtt::third"):
        made(third)
    with pytest.raises(ConfigError, match="names 'mtt::third', whose law under O"):
        made(third, "mtt::third")
    for options, said in (
        ((-1.0, None), "penalty is -1.0; expected a weight"),
        ((float("nan"), None), "penalty is nan; expected a weight"),
        ((0.0, ["energy"]), "penalty is 0; give it a weight above 0"),
        ((1.0, "energy"), r"expected a list of names, such as \['energy'\]"),
    ):
        with pytest.raises(ConfigError, match=said):
            bias_of("pet", None, *options, {"energy": {}})
    with pytest.raises(ConfigError, match="penalty is 1.0, but architecture is 'soap_bpnn'"):
        bias_of("soap_bpnn", None, 1.0, None, {"energy": {}})


@pytest.mark.slow
def test_it_lowers_a_where_nothing_else_does(tmp_path, molecule, capsys):
    """Structures as they come, without augmentation: the same training with the penalty and without."""
    from ase.calculators.emt import EMT
    from ase.io import write

    frames = [molecule("CH3OH", seed=seed) for seed in range(12)]
    for frame in frames:
        frame.calc = EMT()
        frame.get_potential_energy()
    write(tmp_path / "some.xyz", frames)
    tiny = {"d_pet": 8, "d_node": 8, "d_head": 8, "d_feedforward": 8, "num_heads": 1, "num_attention_layers": 1}

    def a_of(name, epochs=40, **options):
        run = jetsym.atoms.train(
            str(tmp_path / "some.xyz"), out=str(tmp_path / name), model=tiny, epochs=epochs, batch_size=3,
            validation=0.25, learning_rate=3e-3, augment=False, options={"final_eval": False}, **options,
        )  # fmt: skip
        model = jetsym.atoms.load(run, weights="last")
        report = jetsym.probe(model, frames[:4], l_max=4, layers=[], progress=False)
        return report.equivariance["energy"].absolute

    plain = a_of("plain", progress=False)
    capsys.readouterr()
    penalised = a_of("penalised", penalty=1e4)
    assert ", mean penalty: energy " in capsys.readouterr().err
    assert penalised < 0.5 * plain
    again = jetsym.atoms.train(
        str(tmp_path / "some.xyz"), out=str(tmp_path / "penalised"), model=tiny, epochs=41, batch_size=3,
        validation=0.25, learning_rate=3e-3, augment=False, options={"final_eval": False}, penalty=1e4, resume=True,
        progress=False,
    )  # fmt: skip
    assert "mean penalty: energy" in (again / "output.txt").read_text()
