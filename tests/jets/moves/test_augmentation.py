"""Random elements follow their declared distributions; a sampler that does not is caught by the same checks."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest, norm, truncnorm, uniform

from jetsym.errors import ConfigError
from jetsym.jets.batch import JetBatch
from jetsym.jets.moves.actions import METRIC, rotate
from jetsym.jets.moves.augmentation import AugmentationConfig, augment
from jetsym.jets.moves.frames import has_rest_frame, jet_axes, jet_momentum
from jetsym.jets.moves.sampling import (
    random_directions,
    random_lorentz,
    random_orthogonal,
    random_rapidities,
    random_rotations,
    random_turns,
)

N = 40_000


def rotations(n: int = N, seed: int = 0) -> torch.Tensor:
    return random_rotations(n, generator=torch.Generator().manual_seed(seed))


def uniform_euler_angles(n: int, seed: int = 0) -> torch.Tensor:
    """A common mistake: uniform α, β, γ crowd the poles, because the measure is sin β dα dβ dγ."""
    rng = np.random.default_rng(seed)
    (ca, cb, cg), (sa, sb, sg) = (f(rng.uniform(0, 1, (3, n)) * np.pi * [[2], [1], [2]]) for f in (np.cos, np.sin))
    first = np.array([[ca, -sa, 0 * ca], [sa, ca, 0 * ca], [0 * ca, 0 * ca, 1 + 0 * ca]])
    second = np.array([[cb, 0 * cb, sb], [0 * cb, 1 + 0 * cb, 0 * cb], [-sb, 0 * cb, cb]])
    third = np.array([[cg, -sg, 0 * cg], [sg, cg, 0 * cg], [0 * cg, 0 * cg, 1 + 0 * cg]])
    return torch.from_numpy(np.einsum("ijn,jkn,kln->nil", first, second, third))


def p_values(matrices: torch.Tensor) -> dict[str, float]:
    """Kolmogorov-Smirnov p-values of what must hold for Haar-distributed rotations, also after a fixed left factor."""
    factor = torch.linalg.matrix_exp(torch.tensor([[0.0, -1, 2], [1, 0, -3], [-2, 3, 0]], dtype=torch.float64))
    found = {}
    for name, R in {"": matrices, "left-translated ": factor @ matrices}.items():
        trace = R.diagonal(dim1=1, dim2=2).sum(-1).numpy()
        angle = np.arccos(np.clip((trace - 1) / 2, -1, 1))
        # density (1 − cos θ)/π on [0, π]
        found[name + "angle"] = kstest(angle, lambda t: (t - np.sin(t)) / math.pi).pvalue
        axis = torch.stack([R[:, 2, 1] - R[:, 1, 2], R[:, 0, 2] - R[:, 2, 0], R[:, 1, 0] - R[:, 0, 1]], dim=-1).numpy()
        axis /= np.linalg.norm(axis, axis=1, keepdims=True)
        for index, component in enumerate("xyz"):  # every coordinate of a uniform point on the sphere is uniform
            found[f"{name}axis {component}"] = kstest(axis[:, index], "uniform", args=(-1, 2)).pvalue
            found[f"{name}image of {component}"] = kstest(R[:, 2, index].numpy(), "uniform", args=(-1, 2)).pvalue
        azimuth = np.arctan2(axis[:, 1], axis[:, 0])
        found[name + "azimuth"] = kstest(azimuth, "uniform", args=(-math.pi, 2 * math.pi)).pvalue
    return found


def test_rotations_are_haar_distributed():
    assert min(p_values(rotations()).values()) > 1e-4


def test_the_checker_catches_uniform_euler_angles():
    values = p_values(uniform_euler_angles(N))
    assert values["angle"] < 1e-10
    assert values["image of z"] < 1e-10


def test_moments_of_matrix_elements():
    """⟨R_ij⟩ = 0, ⟨R_ij R_kl⟩ = δ_ik δ_jl / 3 (Schur), ⟨R_33⁴⟩ = 1/5."""
    R = rotations().flatten(1)
    bound = 5 / math.sqrt(N)
    assert R.mean(0).abs().max() < bound
    assert (R.mT @ R / N - torch.eye(9) / 3).abs().max() < bound
    assert float((R[:, 8] ** 4).mean()) == pytest.approx(0.2, abs=bound)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
def test_they_are_rotations(dtype, tolerance):
    R = random_rotations(1000, generator=torch.Generator().manual_seed(1), dtype=dtype)
    assert R.dtype == dtype
    assert (R @ R.mT - torch.eye(3, dtype=dtype)).abs().max() < tolerance
    assert (torch.linalg.det(R) - 1).abs().max() < tolerance


def test_orthogonal_elements_have_fair_signs_and_haar_rotations():
    g = random_orthogonal(N, generator=torch.Generator().manual_seed(0))
    signs = torch.linalg.det(g).round()
    assert set(signs.tolist()) == {-1.0, 1.0}
    assert abs(float(signs.mean())) < 5 / math.sqrt(N)
    assert min(p_values(g * signs[:, None, None]).values()) > 1e-4
    assert min(p_values((g * signs[:, None, None])[signs < 0]).values()) > 1e-4


def test_a_generator_decides_and_the_global_one_is_left_alone():
    before = torch.get_rng_state()
    assert torch.equal(rotations(5, seed=1), rotations(5, seed=1))
    assert not torch.equal(rotations(5, seed=1), rotations(5, seed=2))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("group", ["SO3", "O3"])
def test_augment_moves_every_jet_by_its_own_element(make_jets, group):
    jets = make_jets(64, dtype=torch.float64, max_particles=6, min_particles=4)
    moved = augment(jets, AugmentationConfig(group), generator=torch.Generator().manual_seed(5))
    # the element of every jet, from least squares on its constituents
    found = torch.linalg.lstsq(jets.p4[..., 1:], moved.p4[..., 1:]).solution.mT
    torch.testing.assert_close(rotate(jets, found[None]).p4, moved.p4, atol=1e-6, rtol=0)
    signs = set(torch.linalg.det(found).round().tolist())
    assert signs == ({1.0} if group == "SO3" else {1.0, -1.0})
    assert len(found.round(decimals=6).unique(dim=0)) == 64


def test_augment_with_none_is_the_batch_itself(make_jets):
    jets = make_jets(3)
    assert augment(jets, AugmentationConfig()) is jets


WIDTHS = [0.1, 0.5, 1.0, 2.0]
#: Distributions of rapidity by name: options of the samplers for a width, and the distribution of rapidity over width.
DISTRIBUTIONS = {
    "uniform": (lambda w: {"distribution": "uniform", "width": w}, uniform(-1, 2)),
    "normal": (lambda w: {"distribution": "normal", "width": w}, norm()),
    "cut at 2σ": (lambda w: {"distribution": "normal", "width": w, "bound": 2 * w}, truncnorm(-2, 2)),
    "cut at σ/2": (lambda w: {"distribution": "normal", "width": w, "bound": w / 2}, truncnorm(-0.5, 0.5)),
}
METRIC_MATRIX = torch.diag(torch.tensor(METRIC, dtype=torch.float64))


def defect(matrices: torch.Tensor) -> float:
    """Largest element of Λᵀ g Λ − g, over ‖Λ‖²."""
    errors = (matrices.mT @ METRIC_MATRIX @ matrices - METRIC_MATRIX).abs().amax(dim=(-2, -1))
    return float((errors / matrices.square().sum(dim=(-2, -1))).max())


def faults(matrices: torch.Tensor, expected, width: float) -> list[str]:
    """What is wrong with boosts along z whose rapidity over the width should have a distribution."""
    found = []
    if not defect(matrices) < 1e-14:
        found.append("group property")
    eta = torch.atanh(matrices[:, 3, 0] / matrices[:, 0, 0]).numpy() / width  # of a particle that was at rest
    if not np.isfinite(eta).all():
        return [*found, "velocity"]
    if np.abs(eta).max() > expected.support()[1] + 1e-9:
        found.append("support")
    if kstest(eta, expected.cdf).pvalue < 1e-4:
        found.append("distribution")
    return found


def boosts(rapidity: torch.Tensor) -> torch.Tensor:
    """Boosts along z as they should be."""
    return boosts_by(rapidity.cosh(), rapidity.sinh())


def as_velocity(rapidity: torch.Tensor) -> torch.Tensor:
    """A common mistake: the rapidity taken for the velocity β."""
    gamma = 1 / torch.sqrt(1 - rapidity**2)
    return boosts_by(gamma, gamma * rapidity)


def half_as_velocity(rapidity: torch.Tensor) -> torch.Tensor:
    """A variant: γ = cosh η with β = η."""
    return boosts_by(rapidity.cosh(), rapidity.cosh() * rapidity)


def boosts_by(gamma: torch.Tensor, beta_gamma: torch.Tensor) -> torch.Tensor:
    matrices = torch.eye(4, dtype=torch.float64).repeat(len(gamma), 1, 1)
    matrices[:, 0, 0] = matrices[:, 3, 3] = gamma
    matrices[:, 0, 3] = matrices[:, 3, 0] = beta_gamma
    return matrices


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_rapidities_have_their_distribution(name, width):
    options, expected = DISTRIBUTIONS[name]
    eta = random_rapidities(N, generator=torch.Generator().manual_seed(3), **options(width))
    assert eta.dtype == torch.float64
    assert faults(boosts(eta), expected, width) == []
    assert kstest(eta.abs().numpy() / width, lambda x: 2 * expected.cdf(x) - 1).pvalue > 1e-4


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["uniform", "cut at 2σ", "cut at σ/2"])
def test_the_checker_catches_a_rapidity_taken_for_a_velocity(name, width):
    options, expected = DISTRIBUTIONS[name]
    eta = random_rapidities(N, generator=torch.Generator().manual_seed(3), **options(width))
    assert faults(as_velocity(eta), expected, width) != []
    assert "group property" in faults(half_as_velocity(eta), expected, width)
    if name == "uniform" and width == 0.5:
        assert "distribution" in faults(as_velocity(eta), expected, width)


def test_the_checker_catches_clipping_and_another_width():
    eta = random_rapidities(N, "normal", width=1.0, generator=torch.Generator().manual_seed(3))
    _, expected = DISTRIBUTIONS["cut at σ/2"]
    assert faults(boosts(eta.clamp(-0.5, 0.5)), expected, 1.0) == ["distribution"]
    assert faults(boosts(eta), norm(), 1.05) == ["distribution"]


def test_moved_jets_have_the_drawn_rapidity():
    """The same checks on the augmentation itself: a particle at rest shows the boost that its jet got."""
    p4 = torch.tensor([1.0, 0, 0, 0], dtype=torch.float64).expand(N, 1, 4)
    jets = JetBatch(p4, torch.ones(N, 1, dtype=torch.bool), torch.zeros(N, 1, 10), p4[:, 0])
    for name, width in (("uniform", 0.5), ("cut at 2σ", 2.0)):
        options, expected = DISTRIBUTIONS[name]
        chosen = options(width)
        config = AugmentationConfig("boost", rapidity=chosen.pop("distribution"), **chosen)
        moved = augment(jets, config, generator=torch.Generator().manual_seed(3)).p4[:, 0]
        assert faults(boosts_by(moved[:, 0], moved[:, 3]), expected, width) == []


def test_extreme_widths_and_bounds():
    source = {"generator": torch.Generator().manual_seed(0)}
    assert (random_rapidities(5, width=0.0, **source) == 0).all()
    assert (random_rapidities(5, "normal", width=0.0, bound=1.0, **source) == 0).all()
    narrow = random_rapidities(N, "normal", width=1e6, bound=1.0, **source).numpy()  # as good as uniform
    assert kstest(narrow, "uniform", args=(-1, 2)).pvalue > 1e-4
    wide = random_rapidities(N, "normal", width=1.0, bound=1e6, **source).numpy()
    assert kstest(wide, "norm").pvalue > 1e-4
    assert random_rapidities(3, width=1.0, dtype=torch.float32, **source).dtype == torch.float32
    assert len(random_rapidities(0, width=1.0, **source)) == len(random_lorentz(0, width=1.0)) == 0


def test_turns_and_directions_are_uniform():
    turns = random_turns(N, generator=torch.Generator().manual_seed(0))
    angle = torch.atan2(turns[:, 1, 0], turns[:, 0, 0]).numpy()
    assert kstest(angle, "uniform", args=(-math.pi, 2 * math.pi)).pvalue > 1e-4
    assert (turns @ turns.mT - torch.eye(3, dtype=torch.float64)).abs().max() < 1e-15
    assert (torch.linalg.det(turns) - 1).abs().max() < 1e-15
    directions = random_directions(N, generator=torch.Generator().manual_seed(0))
    assert (directions.norm(dim=-1) - 1).abs().max() < 1e-15
    for component in directions.T.numpy():
        assert kstest(component, "uniform", args=(-1, 2)).pvalue > 1e-4
    azimuth = torch.atan2(directions[:, 1], directions[:, 0]).numpy()
    assert kstest(azimuth, "uniform", args=(-math.pi, 2 * math.pi)).pvalue > 1e-4


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_lorentz_elements(name, width):
    """Group property, the distribution of |η|, and isotropy of where a particle at rest goes and comes from."""
    options, expected = DISTRIBUTIONS[name]
    matrices = random_lorentz(N, generator=torch.Generator().manual_seed(4), **options(width))
    assert defect(matrices) < 1e-14
    assert matrices[:, 0, 0].min() >= 1
    assert (torch.linalg.det(matrices).sign() == 1).all()
    eta = torch.asinh(matrices[:, 1:, 0].norm(dim=-1)).numpy() / width
    assert kstest(eta, lambda x: 2 * expected.cdf(x) - 1).pvalue > 1e-4
    for velocity in (matrices[:, 1:, 0], matrices[:, 0, 1:]):
        for component in (velocity / velocity.norm(dim=-1, keepdim=True)).T.numpy():
            assert kstest(component, "uniform", args=(-1, 2)).pvalue > 1e-4
    in_32_bits = random_lorentz(3, generator=torch.Generator().manual_seed(4), dtype=torch.float32, **options(width))
    assert in_32_bits.dtype == torch.float32


CONFIGURATIONS = [
    AugmentationConfig("SO2"),
    AugmentationConfig("SO2", axis="jet"),
    AugmentationConfig("SO2", axis="random"),
    AugmentationConfig("SO3", frame="lab"),
    AugmentationConfig("SO3", frame="rest"),
    AugmentationConfig("O3", frame="rest"),
    AugmentationConfig("boost", width=1.0),
    AugmentationConfig("boost", axis="jet", rapidity="normal", width=0.5),
    AugmentationConfig("boost", axis="random", rapidity="normal", width=0.5, bound=1.0),
    AugmentationConfig("lorentz", width=1.0),
    AugmentationConfig("lorentz", rapidity="normal", width=0.5, bound=1.0),
]


@pytest.mark.parametrize("config", CONFIGURATIONS, ids=str)
def test_what_every_augmentation_leaves_alone(make_jets, config):
    jets = make_jets(24, max_particles=12)
    moved = augment(jets, config, generator=torch.Generator().manual_seed(5))
    assert moved.p4.dtype == torch.float32
    assert torch.equal(moved.p4, augment(jets, config, generator=torch.Generator().manual_seed(5)).p4)
    assert torch.equal(moved.scalars, jets.scalars)
    assert torch.equal(moved.mask, jets.mask)
    assert torch.equal(moved.label, jets.label)
    assert (moved.p4[~jets.mask] == 0).all()
    assert moved.p4.isfinite().all()


@pytest.mark.parametrize("config", CONFIGURATIONS, ids=str)
def test_every_jet_moves_by_an_element_of_its_own(make_jets, config):
    """The element of each jet, by least squares, is a Lorentz transformation that keeps what its group keeps."""
    jets = make_jets(24, dtype=torch.float64, max_particles=12, min_particles=8)
    moved = augment(jets, config, generator=torch.Generator().manual_seed(5))
    found = torch.linalg.lstsq(jets.p4, moved.p4).solution.mT
    torch.testing.assert_close(acting(found, jets.jet_p4), moved.jet_p4, rtol=1e-6, atol=1e-3)
    close = {"rtol": 0, "atol": 1e-5 * float(found.abs().max()) ** 2}
    torch.testing.assert_close(found.mT @ METRIC_MATRIX @ found, METRIC_MATRIX.expand(24, 4, 4), **close)
    assert len(found.round(decimals=5).unique(dim=0)) == 24
    signs = set(torch.linalg.det(found).round().tolist())
    assert signs == ({1.0, -1.0} if config.group == "O3" else {1.0})
    if config.group in ("SO2", "SO3") and config.frame != "rest":
        torch.testing.assert_close(moved.p4[..., 0], jets.p4[..., 0])
    if config.group in ("SO2", "boost") and config.axis is None:
        kept = torch.eye(4, dtype=torch.float64)[[0, 3] if config.group == "SO2" else [1, 2]]
        torch.testing.assert_close(kept @ found.mT, kept.expand(24, 2, 4), **close)
    if config.axis == "jet":
        torch.testing.assert_close(jet_axes(moved)[:, 2], jet_axes(jets)[:, 2], rtol=0, atol=1e-9)
    if config.frame == "rest":
        torch.testing.assert_close(jet_momentum(moved), jet_momentum(jets), rtol=1e-9, atol=1e-8)


def acting(matrices: torch.Tensor, p4: torch.Tensor) -> torch.Tensor:
    return (matrices @ p4[..., None])[..., 0]


@pytest.mark.parametrize("group", ["SO3", "O3"])
def test_jets_without_a_rest_frame_turn_about_their_momentum(make_jets, group):
    """A single particle keeps its momentum, the stored axis turns about it, and other jets move as ever."""
    config = AugmentationConfig(group, frame="rest")
    jets = make_jets(60, dtype=torch.float64, max_particles=2)
    light = ~has_rest_frame(jets)
    assert 0 < light.sum() < 60
    moved = augment(jets, config, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(jet_momentum(moved), jet_momentum(jets), rtol=1e-8, atol=1e-6)
    torch.testing.assert_close(moved.p4[light], jets.p4[light], rtol=1e-12, atol=1e-9)
    pairs = ~light & (jets.n_particles == 2)
    assert (moved.p4[pairs] - jets.p4[pairs]).abs().amax(dim=(1, 2)).min() > 1e-2

    # Two collinear photons, and a stored axis beside them.
    p = torch.tensor([5.0, 0, 3.0, 4.0], dtype=torch.float64)
    aside = torch.tensor([9.0, 1.0, 4.0, 8.0], dtype=torch.float64).expand(64, 4)
    p4 = torch.stack([p, 2 * p]).expand(64, 2, 4)
    collinear = JetBatch(p4, torch.ones(64, 2, dtype=torch.bool), torch.zeros(64, 2, 10), aside)
    rotated = augment(collinear, config, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(rotated.p4, p4)
    torch.testing.assert_close(rotated.jet_p4[:, 0], aside[:, 0])
    torch.testing.assert_close(rotated.jet_p4[:, 1:] @ p[1:], aside[:, 1:] @ p[1:])
    assert len(rotated.jet_p4.round(decimals=6).unique(dim=0)) == 64


def test_empty_jets_go_through(make_jets):
    jets = make_jets(4, max_particles=3)
    empty = jets.replace(p4=torch.zeros_like(jets.p4), mask=torch.zeros_like(jets.mask))
    moved = augment(empty, AugmentationConfig("O3", frame="rest"), generator=torch.Generator().manual_seed(5))
    assert (moved.p4 == 0).all()
    assert moved.jet_p4.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group": "SO4"}, "group is 'SO4'; expected one of 'none', 'SO2', 'SO3', 'O3', 'boost', 'lorentz'"),
        ({"group": None}, "augmentation.group is None; expected one of"),
        ({"group": "SO3", "frame": "cm"}, "augmentation.frame is 'cm'; expected one of 'lab', 'rest'"),
        ({"group": "SO2", "axis": "z"}, "augmentation.axis is 'z'; expected one of 'beam', 'jet', 'random'"),
        ({"group": "boost", "rapidity": "flat", "width": 1.0}, "rapidity is 'flat'; expected one of 'uniform'"),
        (
            {"group": "boost", "frame": "rest", "width": 1.0},
            "augmentation.frame is 'rest', which the group 'boost' does not take; leave it out, .* group 'SO3' or 'O3'",
        ),
        ({"group": "SO2", "frame": "rest"}, "augmentation.frame is 'rest', which the group 'SO2' does not take"),
        ({"group": "lorentz", "axis": "jet", "width": 1.0}, "axis is 'jet', .* take the group 'SO2' or 'boost'"),
        ({"group": "SO3", "axis": "beam"}, "augmentation.axis is 'beam', which the group 'SO3' does not take"),
        ({"group": "O3", "width": 1.0}, "augmentation.width is 1.0, .* take the group 'boost' or 'lorentz'"),
        ({"rapidity": "normal"}, "augmentation.rapidity is 'normal', which the group 'none' does not take"),
        ({"group": "SO2", "bound": 1.0}, "augmentation.bound is 1.0, which the group 'SO2' does not take"),
        ({"group": "boost"}, "augmentation.width is None; the group 'boost' needs a rapidity more than 0"),
        ({"group": "lorentz", "width": 0.0}, "augmentation.width is 0.0; expected a rapidity more than 0"),
        ({"group": "boost", "width": float("nan")}, "augmentation.width is nan"),
        ({"group": "boost", "width": float("inf")}, "augmentation.width is inf"),
        ({"group": "boost", "width": 1.0, "bound": 2.0}, "augmentation.bound is 2.0, .* set rapidity to 'normal'"),
        ({"group": "boost", "width": 1.0, "rapidity": "normal", "bound": -1.0}, "bound is -1.0; expected"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        AugmentationConfig(**options)
