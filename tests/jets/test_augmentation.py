"""Random rotations follow the Haar measure; a sampler that does not is caught by the same checks."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from jetsym.errors import ConfigError
from jetsym.jets.actions import rotate
from jetsym.jets.augmentation import AugmentationConfig, augment, random_orthogonal, random_rotations

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


def test_an_unknown_group_is_refused():
    with pytest.raises(ConfigError, match=r"augmentation.group is 'SO2'; expected one of 'none', 'SO3', 'O3'"):
        AugmentationConfig("SO2")
