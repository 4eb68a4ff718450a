"""A monitor sees every layer over training, and the training does not see the monitor."""

from __future__ import annotations

import copy
import json

import matplotlib as mpl
import numpy as np
import pytest
import torch
from torch import nn

import jetsym
from jetsym.errors import DataError, ProbeError
from jetsym.jets.models import PointNet
from jetsym.probing.monitor import Monitor
from jetsym.probing.reports.history import FOLDER, History

POINTS = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))


class Noisy(nn.Module):
    """Dropout, batch statistics, and a little noise that does not ask whether it is training."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 8)
        self.norm = nn.BatchNorm1d(8)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(8, 1)

    def forward(self, x):
        hidden = self.dropout(self.norm(self.first(x)).relu())
        return self.head(hidden + 1e-7 * torch.rand(()))


def trained(monitor, *, steps=6):
    torch.manual_seed(0)
    model = Noisy().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    target = POINTS.norm(dim=1, keepdim=True)
    for step in range(steps + 1):
        if monitor is not None:
            monitor(model, step, last=step == steps)
        optimizer.zero_grad()
        (model(POINTS) - target).square().mean().backward()
        optimizer.step()
    return model, torch.random.get_rng_state()


def test_a_monitored_training_is_the_same_to_the_last_bit(tmp_path):
    alone, state = trained(None)
    watched, other = trained(Monitor(tmp_path, POINTS, every=2))
    assert torch.equal(state, other)
    assert all(torch.equal(alone.state_dict()[name], value) for name, value in watched.state_dict().items())
    assert History.load(tmp_path).steps.tolist() == [0, 2, 4, 6]


def test_modes_and_gradients_stay(tmp_path):
    model = Noisy().train()
    model.norm.eval()  # frozen by its owner
    model(POINTS).sum().backward()
    before = copy.deepcopy({name: parameter.grad for name, parameter in model.named_parameters()})
    Monitor(tmp_path, POINTS, every=1)(model, 1)
    assert [module.training for module in model.modules()] == [True, True, False, True, True]
    assert all(torch.equal(parameter.grad, before[name]) for name, parameter in model.named_parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_probes_are_those_of_jetsym_probe(tmp_path, make_jets):
    jets, model = make_jets(5, min_particles=2), PointNet(width=8, blocks=1, heads=2).eval()
    found = Monitor(tmp_path, jets, every=10, group="SO3", frame="rest")(model, 20)
    direct = jetsym.probe(model, jets, group="SO3", frame="rest", method="icosahedral", l_max=2, progress=False)
    assert found.meta["n_rotations"] == 60
    assert found.layers == direct.layers
    np.testing.assert_array_equal(found.fractions, direct.fractions)
    assert found.equivariance == direct.equivariance


def test_136_evaluations_of_every_input_with_parity(tmp_path):
    seen = []
    model = nn.Linear(3, 1)
    report = Monitor(tmp_path, POINTS, every=1, call=lambda model, x: seen.append(len(x)) or model(x))(model, 0)
    assert report.meta["evaluations"] == 2 * (60 + 8) * len(POINTS)
    assert sum(seen) < 145 * len(POINTS) + 200  # to learn the names and the effect of rounding, on however few inputs


def test_a_probe_is_written_whole_beside_the_checkpoints(tmp_path):
    monitor = Monitor(tmp_path, POINTS, every=3)
    assert monitor(Noisy(), 4) is None
    monitor(Noisy(), 6)
    monitor(Noisy(), 7, last=True)
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == ["step-00000006.json", "step-00000007.json"]
    assert jetsym.SymmetryReport.load(tmp_path / FOLDER / "step-00000006.json").meta["step"] == 6


def test_a_run_that_goes_back_forgets_what_came_after(tmp_path):
    monitor, model = Monitor(tmp_path, POINTS, every=1), Noisy()
    for step in range(4):
        monitor(model, step)
    monitor.forget(after=1)
    assert History.load(tmp_path).steps.tolist() == [0, 1]
    monitor.forget()
    with pytest.raises(DataError, match="holds no probes of its training; train with monitor_every"):
        History.load(tmp_path)


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """A net that becomes less and less invariant: |x|² + step · x₃, whose power is known."""
    folder = tmp_path_factory.mktemp("run")
    monitor = Monitor(folder, POINTS, every=1, layers=["*"], call=lambda model, x: {"height": model(x)})
    for step in range(4):
        monitor(Growing(step), step)
    return History.load(folder)


class Growing(nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.weight = weight
        self.length, self.tilt = nn.Identity(), nn.Identity()

    def forward(self, x):
        return self.length(x.square().sum(-1)) + self.tilt(self.weight * x[:, 2])


def test_history_holds_what_was_seen(history):
    squared = POINTS.double().square().sum(-1).numpy()
    for place, step in enumerate(history.steps):
        vector, scalar = step**2 * squared.sum() / 3, (squared**2).sum()
        expected = np.sqrt(vector / (vector + scalar))
        assert history.error("relative")[place] == pytest.approx(expected, abs=2e-4)
    assert history.layers == ("length", "tilt", "height")
    assert history.over_steps("fractions").shape == (4, 3, len(history.irreps))
    assert history.over_steps("fractions")[2, 1, list(map(str, history.irreps)).index("(1,+)")] == pytest.approx(1)


def test_history_is_kept_and_read_back(history, tmp_path):
    path = history.save(tmp_path / "history.json")
    again = History.load(path)
    assert again.steps.tolist() == history.steps.tolist()
    np.testing.assert_array_equal(again.over_steps("fractions"), history.over_steps("fractions"))
    assert "spectra" not in json.loads(path.read_text())
    assert repr(again) == "History(4 probes of 3 layers, steps 0 to 3)"


def test_table(history):
    lines = str(history).splitlines()
    assert sum(line.lstrip("│ ").startswith(("0 ", "1 ", "2 ", "3 ")) for line in lines) == 4
    assert "height" in lines[2]
    assert "(1,+)" in history.table("tilt")
    with pytest.raises(ProbeError, match="no layer 'tlit'; the nearest are 'tilt'"):
        history.table("tlit")


def test_figures(history):
    with mpl.rc_context({"backend": "agg"}):
        figure = history.plot()
        assert [ax.get_title() for ax in figure.axes] == ["length", "tilt", "height", "equivariance error"]
        ax = mpl.figure.Figure().subplots()
        assert history.plot(ax) is ax
        drawn = {bars.get_label(): bars for bars in ax.containers}["A/spread"]
        assert drawn.has_yerr
        assert drawn[0].get_xdata().tolist() == [0, 1, 2, 3]
        ax = mpl.figure.Figure().subplots()
        assert history.plot(ax, layer="tilt") is ax
        mpl.pyplot.close("all")


def test_what_cannot_be_used_is_refused(history, tmp_path):
    with pytest.raises(ProbeError, match="every is 0"):
        Monitor(tmp_path, POINTS, every=0)
    with pytest.raises(ProbeError, match="group is 'SO2'; the icosahedral rule"):
        Monitor(tmp_path, POINTS, every=1, group="SO2")
    other = jetsym.probe(lambda x: x[:, 0], POINTS, l_max=1, progress=False)
    with pytest.raises(DataError, match="does not say its step"):
        History((other,))
    other.meta["step"] = 9
    with pytest.raises(DataError, match="steps 0 and 9 are of other layers"):
        History((*history.reports, other))
    with pytest.raises(DataError, match="no probes"):
        History(())
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "step-00000001.json").write_text("{")
    with pytest.raises(DataError, match="does not hold JSON"):
        History.load(tmp_path)
