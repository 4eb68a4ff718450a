"""What a broken symmetry costs: losses whose parts are known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import jetsym
from jetsym.errors import DataError, ProbeError
from jetsym.jets.evaluation.evaluate import evaluate
from jetsym.jets.models import PointNet
from jetsym.probing.measure.average import accuracy_split, orbit_average
from jetsym.probing.reports.cost import Cost
from jetsym.spectrum import FiniteGroup, register_group

QUIET = {"progress": False}


def points(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 3))


def within(value, stderr, truth, sigmas=4.0):
    return abs(value - truth) < sigmas * stderr


def stretched(x):
    """A vector with a fixed direction and a fixed anisotropy: f̄ = 1.1 x."""
    return x * np.array([1.0, 1.0, 1.3]) + 0.2 * np.array([0, 0, 1.0])


def test_squared_errors_split_without_bias_at_any_number_of_rotations():
    x = points(1500)
    squares = (x**2).sum(axis=1)
    owed = (0.04 + squares.mean() * (3.69 / 3 - 1.1**2)) / 3
    found = jetsym.cost(stretched, x, 1.5 * x, outputs={"v": "vector"}, n_rotations=4, limit=1500, **QUIET).losses["v"]
    assert found.loss == "squared"
    average = 0.16 * squares.mean() / 3
    assert within(found.cost, found.cost_stderr, owed)
    assert within(found.of_average, found.of_average_stderr, average)
    assert found.cost_stderr < 0.05 * owed
    # The mean over four rotations of what is anisotropic has a fourth of its A² more, which would be seen.
    exact = jetsym.cost(stretched, x, 1.1 * x, outputs={"v": "vector"}, n_rotations=4, limit=1500, **QUIET).losses["v"]
    assert within(exact.of_average, exact.of_average_stderr, 0.0)
    assert (owed - 0.04 / 3) / 4 > 8 * exact.of_average_stderr
    assert found.moved == pytest.approx(found.of_average + found.cost, rel=1e-12)
    assert found.share == pytest.approx(found.cost / found.moved, rel=1e-12)
    assert found.as_is == pytest.approx(((stretched(x) - 1.5 * x) ** 2).mean(), rel=1e-12)
    assert found.gain == pytest.approx(found.as_is - found.of_average, rel=1e-9)


def test_it_agrees_with_quadrature():
    x = points(40)
    split = accuracy_split(orbit_average(stretched, x, outputs={"v": "vector"}, bandwidth=1)["v"], 1.5 * x)
    options = {"outputs": {"v": "vector"}, "n_rotations": 400}
    found = jetsym.cost(stretched, x, torch.tensor(1.5 * x), **options, **QUIET).losses["v"]
    assert found.cost == pytest.approx(split.error, rel=0.02)
    assert found.moved == pytest.approx(split.mse, rel=0.02)
    assert found.of_average == pytest.approx(split.mse_of_average, rel=0.02)


def margins(x):
    """Logits (0, 3) where a point lies within half its length of the z axis, else (0, 0): half of all orientations."""
    return np.stack([np.zeros(len(x)), 3.0 * (np.abs(x[:, 2]) > 0.5 * np.linalg.norm(x, axis=1))], axis=1)


def softplus(x):
    return np.log1p(np.exp(x))


def test_the_cross_entropy_of_the_average_has_no_bias_of_few_rotations():
    """Margins 0 and 3 with equal chance: ⟨CE⟩, CE of the mean 3/2, and what is between, without labels."""
    x, n = points(1500), 6
    labels = np.random.default_rng(1).integers(0, 2, size=1500)
    found = jetsym.cost(margins, x, labels, outputs={"y": "logits"}, n_rotations=n, limit=1500, **QUIET).losses["y"]
    owed = (softplus(3.0) + softplus(0.0)) / 2 - softplus(1.5)
    assert found.loss == "cross-entropy"
    assert within(found.cost, found.cost_stderr, owed, 3.0)
    mean = labels.mean()
    assert within(found.moved, found.moved_stderr, (softplus(3.0) + softplus(0.0)) / 2 - 1.5 * mean)
    assert within(found.of_average, found.of_average_stderr, softplus(1.5) - 1.5 * mean)
    # What the plain mean of six logits would add, ½ p(1 − p) Var/n, is more than that.
    p = 1 / (1 + np.exp(-1.5))
    bias = p * (1 - p) / 2 * 2.25 / n
    assert bias > 4 * found.cost_stderr
    assert abs(found.remainder) < bias / 4
    logits = margins(x)
    direct = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(1500), labels]
    assert found.as_is == pytest.approx(direct.mean(), rel=1e-12)


def test_the_cost_of_logits_needs_no_label_and_no_common_shift():
    x, labels = points(30), np.zeros(30, dtype=int)
    options = {"outputs": {"y": "logits"}, "n_rotations": 8, **QUIET}
    first = jetsym.cost(margins, x, labels, **options).losses["y"]
    other = jetsym.cost(lambda x: margins(x) + 7 * x[:, :1], x, 1 - labels, **options).losses["y"]
    assert other.cost == pytest.approx(first.cost, rel=1e-9)
    assert other.moved != pytest.approx(first.moved, rel=1e-3)
    single = jetsym.cost(lambda x: margins(x)[:, 1:], x, labels, **options).losses["y"]  # one logit for two classes
    assert single.cost == pytest.approx(first.cost, rel=1e-12)
    assert single.as_is == pytest.approx(first.as_is, rel=1e-12)


def test_objects_without_a_label_do_not_count():
    x, labels = points(20), np.array([0, 1] * 10)
    options = {"outputs": {"y": "logits"}, "n_rotations": 8, **QUIET}
    some = jetsym.cost(margins, x, np.where(np.arange(20) < 12, labels, -1), **options).losses["y"]
    alone = jetsym.cost(margins, x[:12], labels[:12], **options).losses["y"]
    assert some.as_is == pytest.approx(alone.as_is, rel=1e-12)
    assert some.cost == pytest.approx(alone.cost, rel=1e-12)
    with pytest.raises(ProbeError, match="no input has a label"):
        jetsym.cost(margins, x, np.full(20, -1), **options)


def test_all_elements_of_a_finite_group_are_exact():
    name = "costs-parity"
    register_group(FiniteGroup(name, [np.eye(3), -np.eye(3)], {"even": [[[1.0]]] * 2, "odd": [[[1.0]], [[-1.0]]]}))
    x, labels = points(9), np.arange(9) % 2
    found = jetsym.cost(
        lambda x: np.stack([0 * x[:, 0], x[:, 0]], axis=1), x, labels, outputs={"y": "logits"}, group=name, **QUIET
    ).losses["y"]
    moved = (softplus(x[:, 0]) + softplus(-x[:, 0])) / 2
    assert found.moved == pytest.approx(moved.mean(), rel=1e-12)
    assert found.of_average == pytest.approx(np.log(2), rel=1e-12)
    assert found.remainder == 0.0


class Tagger(nn.Module):
    """Vectors of particles that miss by a fixed one, and a logit that is invariant."""

    probe_outputs = {"v": "vector", "logits": "logits"}  # noqa: RUF012  # read only

    def forward(self, jets):
        fixed = torch.tensor([0.0, 0.3, 0.0], dtype=jets.dtype)
        energy = (jets.p4[..., 0] * jets.mask).sum(1) / 1000
        return {"v": jets.p4[..., 1:] + fixed, "logits": torch.stack([torch.zeros_like(energy), energy], -1)}


def test_padding_does_not_count(make_jets):
    jets = make_jets(12, seed=1, dtype=torch.float64, min_particles=3, max_particles=9)
    found = jetsym.cost(Tagger(), jets, {"v": jets.trim().p4[..., 1:]}, n_rotations=4, **QUIET).losses["v"]
    assert found.cost == pytest.approx(0.09 / 3, rel=1e-6)
    assert found.of_average == pytest.approx(0.0, abs=1e-9)
    assert found.as_is == pytest.approx(0.09 / 3, rel=1e-6)


def test_jets_bring_their_labels(make_jets):
    jets = make_jets(20, seed=3)
    model = PointNet(width=8, blocks=1, heads=2)
    report = jetsym.cost(model, jets, n_rotations=4, **QUIET)
    found = report.losses["logits"]
    assert found.as_is == pytest.approx(evaluate(model, jets, rotated=None).metrics["log_loss"], rel=1e-4)
    assert found.cost > 0
    assert report.meta["n_inputs"] == 20
    two = PointNet(("QCD", "Tbqq"), width=8, blocks=1, heads=2)
    with pytest.raises(DataError, match="other classes"):
        jetsym.cost(two, jets, **QUIET)
    with pytest.raises(ProbeError, match=r"give targets"):
        jetsym.cost(model, jets.replace(label=None), **QUIET)


def test_an_invariant_model_owes_nothing_beyond_rounding():
    x = points(16)
    report = jetsym.cost(lambda x: (x**2).sum(1), x, np.ones(16), outputs={"y": "scalar"}, n_rotations=4, **QUIET)
    found = report.losses["y"]
    assert found.is_within_rounding
    assert "owes nothing" in report.sentences()[0]
    broken = jetsym.cost(lambda x: (x**2).sum(1) + 1e-9 * x[:, 0], x, np.ones(16), outputs={"y": "scalar"}, **QUIET)
    assert not broken.losses["y"].is_within_rounding


def test_averaging_may_do_harm_where_orientation_tells_something():
    x = points(64)
    report = jetsym.cost(lambda x: x[:, 2], x, x[:, 2], outputs={"y": "scalar"}, **QUIET)
    assert report.losses["y"].as_is == 0.0
    assert report.losses["y"].gain < 0
    assert "their orientation tells something" in report.sentences()[0]


def test_it_is_saved_and_read(tmp_path):
    report = jetsym.cost(stretched, points(8), points(8), outputs={"v": "vector"}, n_rotations=4, **QUIET)
    again = Cost.load(report.save(tmp_path / "c.json"))
    assert again.to_dict() == report.to_dict()
    assert str(again) == str(report)
    assert "RMSE" not in str(report)
    assert "owed to A" in str(report)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": np.ones(7)}, "7 rows; expected one for each of 8"),
        ({"targets": np.ones(9)}, "9 rows; expected one for each of 8"),
        ({"targets": np.ones((8, 2))}, r"shape \(2,\) for an input"),
        ({"targets": np.full(8, np.nan)}, "not finite"),
        ({"targets": {"z": np.ones(8)}}, "targets names 'z'"),
        ({"targets": None}, "give targets"),
        ({"targets": np.ones(8), "loss": "absolute"}, "expected one of 'auto', 'squared', 'cross-entropy'"),
        ({"targets": np.ones(8, dtype=int), "loss": "cross-entropy"}, "expected logits with numbers of classes"),
        ({"targets": np.ones(8), "n_rotations": 3}, "n_rotations"),
        ({"targets": np.ones(8), "group": "boost"}, "expected one of"),
    ],
)
def test_wrong_uses(options, message):
    x = points(8)
    with pytest.raises(ProbeError, match=message):
        jetsym.cost(lambda x: x[:, 0], x, **{"outputs": {"y": "scalar"}, **options}, **QUIET)
    with pytest.raises(ProbeError, match="class 5"):
        jetsym.cost(margins, x, np.full(8, 5), outputs={"y": "logits"}, n_rotations=4, **QUIET)


def test_what_looks_like_other_outputs_is_refused():
    x, labels = points(8), np.zeros(8, dtype=int)

    def probabilities(x):
        shares = np.exp(margins(x))
        return shares / shares.sum(axis=1, keepdims=True)

    with pytest.raises(ProbeError, match="as probabilities do; expected logits"):
        jetsym.cost(probabilities, x, labels, outputs={"y": "logits"}, n_rotations=4, **QUIET)
    with pytest.raises(ProbeError, match="numbers of classes go with logits"):
        jetsym.cost(margins, x, labels, outputs={"y": "scalar"}, n_rotations=4, **QUIET)


def test_an_axis_of_each_jet(make_jets):
    """About its own axis the axis of a jet stays, and the momentum of a particle does not."""
    jets = make_jets(6, seed=5, dtype=torch.float64)
    axis = jets.jet_p4[0, 1:] / jets.jet_p4[0, 1:].norm()
    options = {"outputs": {"y": "scalar"}, "group": "SO2", "axis": "jet", "n_rotations": 8, **QUIET}
    along = jetsym.cost(lambda jets: jets.jet_p4[:, 1:] @ axis, jets, np.zeros(6), **options).losses["y"]
    across = jetsym.cost(lambda jets: jets.p4[:, 0, 2], jets, np.zeros(6), **options).losses["y"]
    assert along.is_within_rounding
    assert not across.is_within_rounding


def test_structures_bring_their_energies_and_forces():
    pytest.importorskip("ase")
    from ase.build import bulk, molecule
    from ase.calculators.emt import EMT
    from ase.calculators.singlepoint import SinglePointCalculator

    class Pushed(EMT):
        """EMT with a force of 0.03 eV/Å along x on every atom, and 2 meV an atom too much."""

        def calculate(self, *arguments):
            super().calculate(*arguments)
            forces, energy = self.results["forces"], self.results["energy"]
            self.results |= {"forces": forces + np.eye(3)[0] * 0.03, "energy": energy + 0.002 * len(forces)}

    frames = []
    for place, structure in enumerate((bulk("Cu", cubic=True), molecule("N2"))):
        structure.rattle(0.05, seed=place)
        structure.calc = EMT()
        energy, forces = structure.get_potential_energy(), structure.get_forces()
        structure.calc = SinglePointCalculator(structure, energy=energy, forces=forces)
        frames.append(structure)
    report = jetsym.cost(Pushed(), frames, n_rotations=4, **QUIET)
    assert set(report.losses) == {"energy", "forces"}
    forces, energy = report.losses["forces"], report.losses["energy"]
    assert forces.cost == pytest.approx(900 / 3, rel=1e-6)  # (meV/Å)² per component
    assert forces.of_average == pytest.approx(0.0, abs=1e-6)
    assert energy.moved == pytest.approx(4.0, rel=1e-6)
    assert energy.is_within_rounding
    assert "forces [meV/Å]" in str(report)
