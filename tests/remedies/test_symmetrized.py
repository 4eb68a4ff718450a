"""Averages over a group are exactly symmetric from the degree on that the error spectrum names, and have gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import jetsym
from jetsym.errors import ConfigError, JetsymError
from jetsym.jets.models.deep_sets import DeepSets
from jetsym.probing.measure.average import orbit_average
from jetsym.remedies import Symmetrized, averaging_degree
from jetsym.spectrum import O3, SO3, FiniteGroup, Irrep, register_group
from jetsym.spectrum.averaging import group_average
from jetsym.spectrum.quadrature import axis_matrices
from jetsym.spectrum.representations import representation
from jetsym.spectrum.wigner import real_wigner_d
from jetsym.testing.spectra import known_spectrum


@pytest.mark.parametrize("rule", ["auto", "lebedev", "icosahedral"])
@pytest.mark.parametrize("l_max", range(6))
def test_averages_remove_every_irrep_up_to_their_degree(l_max, rule):
    average = group_average(SO3(), l_max, rule=rule)
    assert average.weights.sum() == pytest.approx(1, abs=1e-14)
    for lam in range(1, l_max + 1):
        mean = np.einsum("n,nab->ab", average.weights, real_wigner_d(lam, average.elements))
        np.testing.assert_allclose(mean, 0, atol=1e-13)
    assert len(average.weights) <= len(group_average(SO3(), l_max, rule="lebedev").weights) or rule == "icosahedral"


def frames_of(n: int) -> np.ndarray:
    return O3().sample(n, np.random.default_rng(3))


def known(powers, *, features=2):
    f = known_spectrum(powers, features=features, rng=np.random.default_rng(0))
    return lambda frames: f(np.swapaxes(frames, 1, 2))  # rows are the vectors that move


def error_of(model, inputs, **options):
    """The error of an output, by a probe that resolves λ = 4 in full."""
    report = jetsym.probe(model, inputs, l_max=4, layers=[], progress=False, **options)
    return next(iter(report.equivariance.values()))


def deviation(model, frames, group=None, kind="scalar"):
    """The relative A of the only output, by its own definition, at a few elements of the group."""
    rho = representation(kind)
    elements = (group or O3()).sample(12, np.random.default_rng(9))
    z = np.stack([model(frames @ g.T).reshape(-1, len(rho.basis)) @ rho.matrices(g) for g in elements])
    return np.sqrt(((z - z.mean(axis=0)) ** 2).sum() / (z**2).sum())


def test_the_error_falls_to_the_floor_at_the_degree_of_the_error_spectrum():
    model, frames = known({Irrep(0, 1): 1.0, Irrep(2, 1): 0.3, Irrep(3, -1): 0.2, Irrep(4, 1): 1e-2}), frames_of(2)
    error = error_of(model, frames)
    assert error.relative == pytest.approx(np.sqrt(0.51 / 1.51), rel=1e-10)
    assert averaging_degree(error) == 4
    assert averaging_degree(error, tolerance=0.05) == 3
    assert averaging_degree(error, tolerance=0.6) == 2
    assert averaging_degree(error, tolerance=1.01) == 0
    found = [deviation(Symmetrized(model, "O3", l_max, rule="lebedev"), frames) for l_max in range(5)]
    assert min(found[:4]) > 0.01
    assert found[4] < 1e-13
    # What is of odd parity goes with R and −R alone.
    odd = known({Irrep(0, 1): 1.0, Irrep(0, -1): 0.3, Irrep(3, 1): 0.2})
    assert deviation(Symmetrized(odd, "O3", 0), frames) < 1e-13
    assert deviation(Symmetrized(odd, "SO3", 3), frames, SO3()) < 1e-13
    assert deviation(Symmetrized(odd, "SO3", 3), frames) > 0.3


def test_a_vector_asks_for_one_more_degree():
    model, frames = known(dict.fromkeys(O3().irreps(3), 1.0), features=3), frames_of(3)
    error = error_of(model, frames, outputs={"v": "vector"})
    assert averaging_degree(error, tolerance=1e-12) == 4
    errors = [
        deviation(Symmetrized(model, "O3", l_max, outputs={"v": "vector"}), frames, kind="vector") for l_max in (3, 4)
    ]
    assert errors[0] > 1e-2
    assert errors[1] < 1e-13


def test_named_irreps_ask_for_no_degree():
    """All elements are averaged over, whatever the degree: only what the table of irreps lacks cannot be told."""
    turns = axis_matrices(np.array([0.0, 0.0, 1.0]), np.pi / 2 * np.arange(4))
    irreps = {"A": np.ones(4), "B": [1, -1, 1, -1], "E": turns[:, :2, :2]}
    register_group(FiniteGroup("C4", turns, irreps))
    register_group(FiniteGroup("C4 less", turns, {"A": irreps["A"], "E": irreps["E"]}))
    points = np.random.default_rng(0).normal(size=(6, 3))

    def model(x):
        return 2 + x[:, 0] + np.cos(2 * np.arctan2(x[:, 1], x[:, 0]))  # A, E and B

    error = error_of(model, points, group="C4")
    assert min(error.error_spectrum["B"], error.error_spectrum["E"]) > 0.01
    assert [averaging_degree(error, tolerance=tolerance) for tolerance in (1e-12, 1e-3, 0.5)] == [0, 0, 0]
    average = Symmetrized(model, "C4", 0)
    np.testing.assert_allclose(average(points @ turns[1].T), average(points), atol=1e-14)
    np.testing.assert_allclose(average(points), 2, atol=1e-14)
    with pytest.raises(ConfigError, match="where the error spectrum ends"):  # B is not in this table
        averaging_degree(error_of(model, points, group="C4 less"))


def test_a_spectrum_that_ends_too_early_is_said():
    report = jetsym.probe(known({Irrep(0, 1): 1.0, Irrep(2, 1): 0.3}), frames_of(3), l_max=1, layers=[], progress=False)
    with pytest.raises(ConfigError, match="beyond λ = 1, where the error spectrum ends; probe with a larger l_max"):
        averaging_degree(report.equivariance["output"])


@pytest.mark.parametrize("kind", ["scalar", "pseudoscalar", "vector", "rank2", "four-vector", (2, -1)])
def test_it_agrees_with_the_measured_average(kind):
    rho, frames = representation(kind), frames_of(3)
    f = known(dict.fromkeys(O3().irreps(2), 1.0), features=len(rho.basis))

    def model(x):
        return {"t": f(x).reshape(-1, *rho.shape)}

    measured = orbit_average(model, frames, outputs={"t": kind}, bandwidth=2)["t"]
    mean, std = Symmetrized(model, "O3", 4, outputs={"t": kind}, batch_size=50).with_std(frames)
    np.testing.assert_allclose(mean["t"], measured.mean, atol=1e-13)
    wide = Symmetrized(model, "O3", 8, outputs={"t": kind}).with_std(frames)[1]  # |z|² has twice the bandwidth
    np.testing.assert_allclose((wide["t"] ** 2).reshape(3, -1).sum(axis=1), measured.squared_error, rtol=1e-11)
    assert std["t"].shape == mean["t"].shape


class Energy(nn.Module):
    """A smooth energy of pairs, with directions of its own; returned with its forces."""

    def __init__(self, *, forces: bool = False) -> None:
        super().__init__()
        self.tilt = nn.Parameter(torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64))
        self._forces = forces

    def forward(self, positions):
        with torch.enable_grad():
            x = positions if positions.requires_grad else positions.detach().requires_grad_()
            difference = x[:, :, None] - x[:, None]
            square = difference.square().sum(-1)
            energy = (square * (1 + difference @ self.tilt) ** 2 * torch.exp(-square / 8)).sum((1, 2))
            if not self._forces:
                return energy
            (gradient,) = torch.autograd.grad(energy.sum(), x)
        return {"energy": energy, "forces": -gradient}


@pytest.fixture
def positions():
    return torch.randn(2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("batch_size", [16, 10**6])
def test_forces_are_minus_the_gradient_of_the_averaged_energy(positions, batch_size):
    averaged = Symmetrized(Energy(), "O3", 2, batch_size=batch_size)
    moving = positions.clone().requires_grad_()
    energy = averaged(moving)
    (gradient,) = torch.autograd.grad(energy.sum(), moving, create_graph=True)

    step, difference = 1e-5, torch.zeros_like(positions)
    with torch.no_grad():
        for place in np.ndindex(4, 3):
            up, down = positions.clone(), positions.clone()
            up[:, *place] += step
            down[:, *place] -= step
            difference[:, *place] = (averaged(up) - averaged(down)) / (2 * step)
    torch.testing.assert_close(gradient.detach(), difference, rtol=1e-8, atol=1e-7)

    # The average of the forces, rotated back, is the same thing.
    both = Symmetrized(
        Energy(forces=True), "O3", 2, outputs={"energy": "scalar", "forces": "vector"}, batch_size=batch_size
    )
    with torch.no_grad():
        found = both(positions)
    torch.testing.assert_close(found["energy"], energy.detach(), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(found["forces"], -gradient.detach(), rtol=1e-12, atol=1e-12)

    # Parameters and second derivatives have gradients as well.
    (slope,) = torch.autograd.grad(gradient.square().sum(), averaged.model.tilt)
    assert slope.isfinite().all()
    assert slope.norm() > 1e-3


def test_pieces_of_the_orbit_give_the_same_gradients(positions):
    found = []
    for batch_size in (2, 30, 10**6):
        averaged = Symmetrized(Energy(), "O3", 3, batch_size=batch_size)
        moving = positions.clone().requires_grad_()
        energy = averaged(moving).sum()
        found.append(torch.autograd.grad(energy, (moving, averaged.model.tilt)))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-12, atol=1e-12)


def test_memory_for_gradients_is_that_of_one_piece(positions):
    """What the graph keeps: without the pieces it grows with the number of rotations."""

    def kept(batch_size):
        count = 0

        def pack(tensor):
            nonlocal count
            count += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            Symmetrized(Energy(), "O3", 5, batch_size=batch_size)(positions.clone().requires_grad_())
        return count

    assert kept(8) < 0.05 * kept(10**6)


def test_random_averages_come_near_as_one_over_root_n():
    model, frames = known({Irrep(0, 1): 1.0, Irrep(4, 1): 1.0}), frames_of(20)
    few, many = (
        np.std(Symmetrized(model, "SO3", rule="random", n_rotations=n, seed=1)(frames) - model_mean(frames))
        for n in (16, 1024)
    )
    assert few / many == pytest.approx(8, rel=0.5)
    again = [Symmetrized(model, "SO3", rule="random", n_rotations=5, seed=2)(frames) for _ in range(2)]
    np.testing.assert_array_equal(*again)


def model_mean(frames):
    return Symmetrized(known({Irrep(0, 1): 1.0, Irrep(4, 1): 1.0}), "SO3", 4)(frames)


def test_what_is_symmetric_already_comes_back_as_it_is():
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    mean, std = Symmetrized(lambda x: (x, x.norm(dim=1)), "O3", 5, outputs={"output.0": "vector"}).with_std(x)
    assert isinstance(mean, tuple)
    torch.testing.assert_close(mean[0], x, rtol=1e-6, atol=1e-6)
    assert max(part.abs().max() for part in std) < 1e-5
    constant = Symmetrized(lambda x: torch.full((len(x),), 0.1), "O3", 5)(x)
    assert torch.equal(constant, torch.full((5,), 0.1))


def test_a_jet_tagger(make_jets):
    """About an axis across the beam: A falls with the degree, logits stay as they are where nothing breaks."""
    torch.manual_seed(0)
    jets = make_jets(3, seed=1, dtype=torch.float64, min_particles=4, max_particles=8)
    model = DeepSets(features="kin", particles=(8,), jets=(8,)).double().eval()

    def error(tagger):
        options = {"group": "SO2", "axis": "x", "l_max": 40, "layers": [], "progress": False}
        return jetsym.probe(tagger, jets, **options).equivariance["logits"].relative

    plain, *averaged = [error(model), *(error(Symmetrized(model, "SO2", l_max, axis="x")) for l_max in (2, 8, 24))]
    assert plain > averaged[0] > averaged[1] > averaged[2]
    assert averaged[2] < 0.2 * plain
    about_beam, std = Symmetrized(model, "SO2", 6).with_std(jets)  # an exact symmetry of these features
    torch.testing.assert_close(about_beam, model(jets), rtol=1e-9, atol=1e-9)
    assert std.max() < 1e-6
    assert set(dict(Symmetrized(model).named_parameters())) == {f"model.{name}" for name, _ in model.named_parameters()}


def test_a_jet_observable_of_known_bandwidth(make_jets):
    """(Σ p_x)² / E² has λ = 0 and 2: averaged to degree 2 it is |Σ p|²/3E²; at rest Σ p is at rest too."""
    jets = make_jets(4, seed=1, dtype=torch.float64, min_particles=3)

    def model(batch):
        return (batch.p4[..., 1].sum(1) / batch.p4[..., 0].sum(1)) ** 2

    total = jets.p4.sum(1)
    expected = total[:, 1:].square().sum(1) / (3 * total[:, 0] ** 2)
    torch.testing.assert_close(Symmetrized(model, "O3", 2)(jets), expected, rtol=1e-12, atol=0)
    moving = jets.replace(p4=jets.p4.clone().requires_grad_())
    Symmetrized(model, "O3", 2, batch_size=8)(moving).sum().backward()
    assert moving.p4.grad[jets.mask].norm() > 0
    at_rest = Symmetrized(model, "O3", 2, frame="rest")(jets)
    torch.testing.assert_close(at_rest, model(jets), rtol=1e-9, atol=0)  # Σ p is left alone
    with pytest.raises(ConfigError, match="'vector', but only invariants can be averaged"):
        Symmetrized(model, "O3", frame="rest", outputs={"p": "vector"})(jets)


def test_what_cannot_be_averaged_is_refused(positions):
    for options, message in [
        ({"group": "O2"}, "group is 'O2'"),
        ({"l_max": -1}, "l_max is -1"),
        ({"rule": "lebedew"}, "rule is 'lebedew'.*'lebedev'"),
        ({"rule": "random"}, "expected a number with rule='random' only"),
        ({"n_rotations": 5}, "expected a number with rule='random' only"),
        ({"l_max": 6, "rule": "icosahedral"}, "exact to degree 5"),
        ({"group": "SO2", "rule": "icosahedral"}, "about several axes"),
        ({"outputs": {"f": "vektor"}}, "said to be 'vektor'"),
    ]:
        with pytest.raises(JetsymError, match=message):
            Symmetrized(Energy(), **options)
    with pytest.raises(JetsymError, match="no output 'force'; the nearest are 'forces'"):
        Symmetrized(Energy(forces=True), outputs={"force": "vector"})(positions)
    with pytest.raises(JetsymError, match="which needs shape"):
        Symmetrized(Energy(), outputs={"energy": "vector"})(positions)
