"""Rates, averages and weights of the classes, against their definitions."""

import sys

import pytest
import torch
from torch.nn import functional as F

from jetsym.errors import ConfigError, MissingDependencyError
from jetsym.jets import checkpoint
from jetsym.jets.batch import JetBatch
from jetsym.training import loop
from jetsym.training.config import TrainConfig
from jetsym.training.engine import make_fabric
from jetsym.training.loop import train
from jetsym.training.optimisation import class_weights, learning_rate, make_average, make_optimizer
from jetsym.training.state import begin
from jetsym.training.step import add_gradient, take_step

SMALL = {"width": 8, "blocks": 1, "heads": 2}


def test_the_learning_rate_rises_and_falls():
    config = TrainConfig("a.root", lr=0.1, warmup=0.1)
    rates = [learning_rate(step, 100, config) for step in range(100)]
    assert rates[:10] == pytest.approx([0.01 * (step + 1) for step in range(10)])
    assert max(rates) == pytest.approx(0.1)
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[55] == pytest.approx(0.05)
    assert 0 < rates[-1] < 1e-4


def rates_of(schedule: str, steps: int, **options) -> list[float]:
    config = TrainConfig("a.root", schedule=schedule, lr=0.1, **options)
    return [learning_rate(step, steps, config) for step in range(steps)]


def torchs(steps: int, scheduler, every: int = 1) -> list[float]:
    """Rates of a scheduler of torch, which steps after so many of the optimizer's."""
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    one, found = scheduler(optimizer), []
    for step in range(1, steps + 1):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step % every == 0 and step < steps:
            one.step()
    return found


def test_a_flat_rate_stays_after_its_warm_up():
    assert rates_of("flat", 20, warmup=0.2) == pytest.approx([0.025, 0.05, 0.075, *[0.1] * 17])


@pytest.mark.parametrize("steps", [10, 57, 1000])
def test_one_cycle_is_torchs(steps):
    expected = torchs(steps, lambda one: torch.optim.lr_scheduler.OneCycleLR(one, max_lr=0.1, total_steps=steps))
    found = rates_of("one-cycle", steps, warmup=0.5)  # it has a warm-up of its own
    assert found == pytest.approx(expected, rel=1e-9)
    assert max(found) == pytest.approx(0.1, rel=0.05)
    assert (found[0], found[-1]) == pytest.approx((0.004, 4e-7))


@pytest.mark.parametrize(("epochs", "falling"), [(20, 6), (7, 2), (2, 1)])
def test_flat_and_decay_is_weavers(epochs, falling):
    """Weaver-core's milestones, of torch's MultiStepLR, and the closed form of the last epoch."""
    milestones, gamma = list(range(epochs - falling, epochs)), 0.01 ** (1 / falling)
    made = lambda one: torch.optim.lr_scheduler.MultiStepLR(one, milestones, gamma)  # noqa: E731
    found = rates_of("flat+decay", 5 * epochs, epochs=epochs, warmup=0.0)
    assert found == pytest.approx(torchs(5 * epochs, made, every=5), rel=1e-9)
    assert found[-6] == pytest.approx(0.1 * gamma ** (falling - 1))
    assert found[-5:] == pytest.approx([0.001] * 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "adamx"}, "--optimizer is 'adamx'; expected one of 'adamw', 'adam', 'lion', 'ranger'"),
        (
            {"schedule": "flat+cosine"},
            "--schedule is 'flat.cosine'; expected one of 'cosine', 'flat', 'flat.decay', 'one-cycle'",
        ),
        (
            {"schedule": "flat+decay", "epochs": 1},
            "--schedule is 'flat.decay', which falls before an epoch, and --epochs",
        ),
    ],
)
def test_wrong_names_and_lengths_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        TrainConfig("a.root", **options)


def stepped(optimizer_of, steps: int = 25) -> torch.Tensor:
    """Weights after some steps down a bowl that is not round, on a gradient that turns."""
    weights = torch.nn.Parameter(torch.tensor([[1.0, -2.0], [0.5, 3.0]]))
    optimizer, scale = optimizer_of([weights]), torch.tensor([[1.0, 30.0], [-0.2, 5.0]])
    for number in range(steps):
        optimizer.zero_grad()
        (scale * weights.square() / 2 + torch.sin(torch.tensor(float(number))) * weights).sum().backward()
        optimizer.step()
    return weights.detach()


def of_config(**options):
    def make(parameters):
        model = torch.nn.Module()
        model.weights = parameters[0]
        return make_optimizer(model, TrainConfig("a.root", **options))

    return make


def test_adam_has_its_decay_in_the_gradient():
    found = stepped(of_config(optimizer="adam", lr=0.01, weight_decay=0.3))
    expected = stepped(lambda one: torch.optim.Adam(one, lr=0.01, weight_decay=0.3))
    assert torch.equal(found, expected)
    assert not torch.allclose(found, stepped(of_config(lr=0.01, weight_decay=0.3)))


def test_lion_steps_by_signs():
    """m of last time, w ← w − lr (sign(0.9 m + 0.1 g) + λ w), m ← 0.99 m + 0.01 g (arXiv:2302.06675)."""
    pytest.importorskip("pytorch_optimizer")
    weights, average = torch.tensor([[1.0, -2.0], [0.5, 3.0]]), torch.zeros(2, 2)
    scale = torch.tensor([[1.0, 30.0], [-0.2, 5.0]])
    for number in range(25):
        gradient = scale * weights + torch.sin(torch.tensor(float(number)))
        weights = weights - 0.01 * (torch.sign(0.9 * average + 0.1 * gradient) + 0.3 * weights)
        average = 0.99 * average + 0.01 * gradient
    found = stepped(of_config(optimizer="lion", lr=0.01, weight_decay=0.3))
    torch.testing.assert_close(found, weights, atol=1e-5, rtol=0)


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_ranger_is_weavers(decay):
    pytest.importorskip("pytorch_optimizer")
    theirs = pytest.importorskip("weaver.utils.nn.optimizer.ranger").Ranger
    found = stepped(of_config(optimizer="ranger", lr=0.01, weight_decay=decay))
    expected = stepped(lambda one: theirs(one, lr=0.01, weight_decay=decay))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    assert not torch.allclose(found, stepped(of_config(lr=0.01, weight_decay=decay)), atol=1e-3)


def test_what_is_not_installed_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    with pytest.raises(MissingDependencyError, match=r"--optimizer lion needs .*'jetsym\[optimizers\]'"):
        make_optimizer(torch.nn.Linear(2, 2), TrainConfig("a.root", optimizer="lion"))


@pytest.mark.parametrize("optimizer", ["adam", "lion", "ranger"])
def test_a_cut_run_ends_where_an_uninterrupted_one_does(jetclass_file, tmp_path, optimizer):
    """Bit for bit, cut between two of Ranger's sixth steps, when it has looked ahead once, and with an average."""
    if optimizer != "adam":
        pytest.importorskip("pytorch_optimizer")

    def cut(moment):
        if moment.step == 8:
            raise InterruptedError

    options = {"epochs": 3, "batch_size": 12, "options": SMALL, "device": "cpu", "progress": False, "ema": 0.9}
    options |= {"optimizer": optimizer, "schedule": "flat+decay", "checkpoint_every": 1}
    data = str(jetclass_file(n=60))
    whole = train(data, tmp_path / "whole", **options)
    with pytest.raises(InterruptedError):
        train(data, tmp_path / "cut", callbacks=[cut], **options)
    resumed = train(data, tmp_path / "cut", resume=True, **options)
    (_, expected), (_, found) = (checkpoint.read(run.path / checkpoint.LAST) for run in (whole, resumed))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert [line["val_loss"] for line in resumed.metrics] == [line["val_loss"] for line in whole.metrics]
    assert whole.metrics[-1]["lr"] == pytest.approx(1e-5)


def test_biases_and_norms_are_not_decayed():
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.LayerNorm(3))
    decayed, others = make_optimizer(model, TrainConfig("a.root", weight_decay=0.3)).param_groups
    assert (decayed["weight_decay"], len(decayed["params"])) == (0.3, 1)
    assert (others["weight_decay"], len(others["params"])) == (0.0, 3)


def test_the_average_follows_the_weights():
    """a ← d a + (1 − d) w with d = min(decay, (1 + n)/(10 + n)); the first update is the weight itself."""
    model = torch.nn.Linear(1, 1, bias=False)
    average, expected = make_average(model, 0.3), None
    for n in range(12):
        model.weight.data.fill_(n**2)
        average.update_parameters(model)
        decay = min(0.3, (1 + n) / (10 + n))
        expected = float(n**2) if expected is None else decay * expected + (1 - decay) * n**2
        assert average.module.weight.item() == pytest.approx(expected, rel=1e-5)


def test_the_average_is_what_is_validated_and_saved(jetclass_file, tmp_path):
    options = {"epochs": 2, "batch_size": 16, "options": SMALL, "device": "cpu", "progress": False}
    data, seen = str(jetclass_file(n=60)), []
    run = train(data, tmp_path / "run", ema=0.9, callbacks=[lambda moment: seen.append(moment.model)], **options)
    plain = train(data, tmp_path / "plain", **options)
    (_, tensors), (_, expected) = (checkpoint.read(path / checkpoint.LAST) for path in (run.path, plain.path))
    for name in seen[-1].state_dict():
        assert torch.equal(tensors[f"trained.{name}"], expected[f"model.{name}"])  # it does not touch the training
        assert torch.equal(tensors[f"model.{name}"], seen[-1].state_dict()[name])
    assert not torch.equal(tensors["model.head.4.weight"], expected["model.head.4.weight"])
    assert run.metrics[-1]["loss"] == plain.metrics[-1]["loss"]
    assert run.metrics[-1]["val_loss"] != plain.metrics[-1]["val_loss"]
    _, best = checkpoint.read(run.path)
    assert not [name for name in best if not name.startswith("model.")]


def balanced(jets: JetBatch) -> torch.Tensor:
    return class_weights(TrainConfig("a.root", class_weights="balanced"), jets.classes, jets)


def test_balanced_weights_make_the_classes_equal(make_jets):
    jets = make_jets(7).replace(label=torch.tensor([0, 0, 0, 0, 0, 3, 3]))
    weights = balanced(jets)
    assert weights[[0, 3]].tolist() == pytest.approx([7 / (2 * 5), 7 / (2 * 2)])
    assert weights[jets.label].mean().item() == pytest.approx(1.0)
    assert not weights[[1, 2, 4, 5, 6, 7, 8, 9]].any()


def test_weights_by_name(make_jets):
    jets = make_jets(3)
    given = TrainConfig("a.root", class_weights={"QCD": 0.25, "Tbl": 3.0})
    assert class_weights(given, jets.classes, jets).tolist() == [0.25, *[1.0] * 8, 3.0]
    assert class_weights(TrainConfig("a.root"), jets.classes, jets) is None
    with pytest.raises(ConfigError, match="--class_weights names a class 'QDC' .*; the nearest are 'QCD'"):
        class_weights(TrainConfig("a.root", class_weights={"QDC": 1.0}), jets.classes, jets)


@pytest.mark.parametrize("wrong", ["equal", {"QCD": -1.0}, {"QCD": float("inf")}, {"QCD": "much"}])
def test_wrong_weights_are_named(wrong):
    with pytest.raises(ConfigError, match="--class_weights is .*; expected 'none', 'balanced', or a weight"):
        TrainConfig("a.root", class_weights=wrong)


@pytest.mark.parametrize("accumulate", [1, 3, 13])
def test_parts_and_weights_give_the_gradient_of_the_batch(make_jets, accumulate):
    jets = make_jets(13)
    weights = {name: 0.5 + place for place, name in enumerate(jets.classes)}
    config = TrainConfig("a.root", class_weights=weights, accumulate=accumulate, options=SMALL, device="cpu")
    run = begin(make_fabric(config), config, jets)
    loss = add_gradient(run, jets, size=len(jets), place={"seed": 0})
    each = F.cross_entropy(run.tagger(jets), jets.label, reduction="none")
    expected = sum((0.5 + int(label)) * value for label, value in zip(jets.label, each, strict=True)) / 13
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    gradients = torch.autograd.grad(expected, list(run.tagger.parameters()))
    for weight, gradient in zip(run.tagger.parameters(), gradients, strict=True):
        torch.testing.assert_close(weight.grad, gradient, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("model", "parts"), [("pointnet", 4), ("particlenet", 1), ("part", 1)])
def test_batches_are_normalised_whole(make_jets, model, parts):
    """Where a layer normalises by the statistics of its batch, groups of one length would each be normalised apart."""
    config, jets = TrainConfig("a.root", model=model, device="cpu"), make_jets(8)
    assert begin(make_fabric(config), config, jets).parts == parts


def test_a_run_that_no_longer_helps_ends(jetclass_file, tmp_path, monkeypatch, capsys):
    losses = iter([3.0, 2.0, 2.5, 2.0, 1.0])
    monkeypatch.setattr(loop, "validate", lambda *args, **options: {"val_loss": next(losses)})
    options = {"epochs": 9, "batch_size": 16, "options": SMALL, "device": "cpu", "patience": 2}
    data = str(jetclass_file(n=40))
    run = train(data, tmp_path / "run", **options)
    assert [line["val_loss"] for line in run.metrics] == [3.0, 2.0, 2.5, 2.0]
    assert "stopped early: no better validation loss in 2 epochs" in capsys.readouterr().err
    again = train(data, tmp_path / "run", resume=True, **options)
    assert again.metrics == run.metrics


def test_half_precision_scales_its_loss_and_remembers_by_how_much(make_jets):
    """The scale of the loss falls where the gradient overflows; that step is left out, and counted."""
    config = TrainConfig("a.root", precision="16-mixed", options=SMALL, device="cpu")
    jets = make_jets(8)
    run = begin(make_fabric(config), config, jets)
    before = {name: tensor.clone() for name, tensor in run.tagger.state_dict().items()}
    broken = jets.replace(p4=torch.full_like(jets.p4, torch.nan))
    take_step(run, broken, size=8, rate=1e-3)
    assert run.position.skipped == 1
    assert all(torch.equal(tensor, before[name]) for name, tensor in run.tagger.state_dict().items())
    scale = run.to_save()["progress"]["scale"]["scale"]
    assert scale == 2**15
    take_step(run, jets, size=8, rate=1e-3)
    assert (run.position.skipped, run.position.in_a_row) == (1, 0)
    assert not torch.equal(run.tagger.head[-1].weight, before["head.4.weight"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler's own
def test_compiled_models_train_and_are_saved_as_others(jetclass_file, tmp_path, monkeypatch):
    """Captured and run by torch's own kernels, as the default compiler takes a minute and a half."""
    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model, **options: compiler(model, backend="eager", **options))
    data = str(jetclass_file(n=30))
    options = {"epochs": 1, "batch_size": 16, "options": SMALL | {"blocks": 0}, "device": "cpu", "progress": False}
    run = train(data, tmp_path / "run", compile=True, **options)
    plain = train(data, tmp_path / "plain", **options)
    assert run.metrics[-1]["loss"] == pytest.approx(plain.metrics[-1]["loss"], abs=1e-4)
    assert checkpoint.read(run.path)[1].keys() == checkpoint.read(plain.path)[1].keys()
