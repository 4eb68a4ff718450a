"""Outputs that turn: A, its split and the error spectrum of functions that are known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import jetsym
from jetsym.errors import ProbeError
from jetsym.probing.measure.deviation import EquivarianceError
from jetsym.spectrum import O3, SO2, SO3, Irrep, QuadratureEstimator, RandomEstimator
from jetsym.spectrum.representations import representation
from jetsym.testing.spectra import known_spectrum

QUIET = {"progress": False}


@pytest.fixture
def points():
    return np.random.default_rng(0).normal(size=(12, 3))


def errors(model, inputs, outputs, **options):
    return jetsym.probe(model, inputs, outputs=outputs, **{"l_max": 3, **QUIET, **options}).equivariance


def holds(item):
    return abs(item.relative) <= item.noise_floor < 1e-13


def deviation(function, rho, *, l_max, degree=None, group=None):
    """The deviation of a function of frames (n, 3, 3), at the identity frame, by a rule."""
    group = group or O3()
    rule = group.quadrature(l_max, degree=degree)
    error = EquivarianceError(rho, rule.weights, len(rule), estimator=QuadratureEstimator(rule, group))
    r = rule.rotations
    improper = function(-r)[:, None] if group.has_inversion else None
    error.add(slice(0, len(rule)), r, function(r)[:, None], improper)
    return error.result()


def test_a_fixed_direction_is_an_error_of_known_size(points):
    """f(x) = x + c |x| e_z: z = x + c|x| g⁻¹e_z, so f̄ = x and A² = c²|x|², all of it a scalar in the wrong place."""
    c = 0.3

    def model(x):
        return x + c * np.linalg.norm(x, axis=-1, keepdims=True) * np.array([0, 0, 1.0])

    item = errors(model, points, {"force": "vector"})["force"]
    squares = (points**2).sum(axis=1)
    assert item.kind == "vector"
    assert item.absolute == pytest.approx(c * np.sqrt(squares.mean()), rel=1e-12)
    assert item.relative == pytest.approx(c / np.sqrt(1 + c**2), rel=1e-12)
    spread = np.sqrt(points.var(axis=0, ddof=1).sum())
    assert item.over_spread == pytest.approx(c * np.sqrt(squares.mean()) / spread, rel=1e-12)
    assert item.leakage == pytest.approx(c**2 / (1 + c**2), rel=1e-12)
    assert abs(item.misalignment) < 1e-14
    # g⁻¹e_z turns as a vector does under the inverse: all of the error has λ = 1.
    assert item.error_spectrum["(1,+)"] == pytest.approx(c**2 / (1 + c**2), rel=1e-12)
    assert abs(item.error_tail) < 1e-14


def test_misalignment_alone(points):
    """f(x) = M x lies in the right irrep; f̄ = x tr M / 3, so for M = diag(1, 2, 6) A² = |x|² (41/3 − 9)."""
    item = errors(lambda x: x * np.array([1.0, 2.0, 6.0]), points, {"force": "vector"})["force"]
    squares = (points**2).sum(axis=1)
    assert abs(item.leakage) < 1e-14
    assert item.misalignment == pytest.approx(1 - 27 / 41, rel=1e-12)
    assert item.absolute == pytest.approx(np.sqrt(squares.mean() * (41 / 3 - 9)), rel=1e-12)


def test_every_kind_holds_for_its_own_objects_and_fails_for_others(points):
    a, (b, c) = points, np.random.default_rng(1).normal(size=(2, *points.shape))

    def model(x, y, w):
        cross = np.cross(x, y)
        outer = x[:, :, None] * y[:, None, :]
        return {
            "length": (x**2).sum(-1),
            "chirality": (cross * w).sum(-1),
            "vector": x * (x * y).sum(-1)[:, None],
            "axial": cross,
            "tensor": outer + cross[:, :, None] * cross[:, None, :],
            "four": np.column_stack([(x**2).sum(-1), y]),
            "harmonics": np.stack([x[:, 1], x[:, 2], x[:, 0]], axis=-1),
        }

    right = {"length": "scalar", "chirality": "pseudoscalar", "vector": "vector", "axial": "pseudovector"}
    right |= {"tensor": "rank2", "four": "four-vector", "harmonics": (1, 1)}
    moves = {"x": "vector", "y": "vector", "w": "vector"}
    found = errors(model, (a, b, c), right, moves=moves)
    assert all(holds(item) for item in found.values()), {name: item.relative for name, item in found.items()}
    wrong = {"length": "pseudoscalar", "chirality": "scalar", "vector": "pseudovector", "axial": "vector"}
    wrong |= {"harmonics": "vector", "four": "scalar"}
    found = errors(model, (a, b, c), wrong, moves=moves)
    assert all(item.relative > 0.1 for name, item in found.items() if name in wrong)


def test_parity_makes_the_difference_between_vector_and_pseudovector(points):
    """A cross product passes as a vector under rotations only; under O(3) its average vanishes, so A² = N."""
    pair, moves = (points, np.random.default_rng(1).normal(size=points.shape)), {0: "vector", 1: "vector"}
    assert holds(errors(np.cross, pair, {"b": "pseudovector"}, moves=moves)["b"])
    assert holds(errors(np.cross, pair, {"b": "vector"}, group="SO3", moves=moves)["b"])
    wrong = errors(np.cross, pair, {"b": "vector"}, moves=moves)["b"]
    assert wrong.relative == pytest.approx(1, abs=1e-13)
    assert wrong.leakage == pytest.approx(1, abs=1e-13)
    assert wrong.error_spectrum["(0,−)"] == pytest.approx(1, abs=1e-13)


def test_a_reducible_output_is_split_block_by_block(points):
    """x_i y_j whose trace part is broken: the leak is the trace's, though λ = 2 is what leaks in."""

    def model(x):
        tensor = x[:, :, None] * x[:, None, :]
        return tensor + 0.5 * x[:, 2, None, None] ** 2 * np.eye(3)

    item = errors(model, points, {"stress": "rank2"}, l_max=4)["stress"]
    # ½ x_z² 1: of its trace part x_z² = |x|²/3 + (λ = 2), the second, of power ¼ · 3 · (1/5 − 1/9) |x|⁴, is the error.
    fourth = ((points**2).sum(axis=1) ** 2).mean()
    assert item.absolute == pytest.approx(np.sqrt(0.75 * (1 / 5 - 1 / 9) * fourth), rel=1e-12)
    assert item.leakage == pytest.approx(item.relative**2, rel=1e-12)
    assert abs(item.misalignment) < 1e-14
    assert item.error_spectrum["(2,+)"] == pytest.approx(item.relative**2, rel=1e-12)


@pytest.mark.parametrize("kind", ["scalar", "pseudoscalar", "vector", "pseudovector", "rank2", "four-vector", (2, -1)])
@pytest.mark.parametrize("group", [O3(), SO3(), SO2([1.0, 2.0, -2.0])], ids=repr)
def test_the_error_is_the_sum_of_its_spectrum_on_a_grid_of_sufficient_degree(kind, group):
    """A² = Σ_{β≠0} B_β[z] for random functions of bandwidth 2, whose z has bandwidth 2 + λ_α."""
    rho = representation(kind).under(group)
    rng = np.random.default_rng(3)
    powers = dict.fromkeys(O3().irreps(2), 1.0)
    f = known_spectrum(powers, features=len(rho.basis), rng=rng)

    def function(frames):
        return f(frames).reshape(-1, *rho.shape)

    found = deviation(function, rho, l_max=2 + rho.lam, group=group)
    assert found.squared[0] > 0.1 * found.norm[0]
    assert found.spectrum.power[0, 1:].sum() == pytest.approx(found.squared[0], rel=1e-10)
    # Independently: brute force on the Cartesian form, and the right irreps' power from the estimator itself.
    rule = group.quadrature(2 + rho.lam)
    elements = np.concatenate([rule.rotations, -rule.rotations])[: len(rule) * (2 if group.has_inversion else 1)]
    weights = np.tile(rule.weights, len(elements) // len(rule)) * len(rule) / len(elements)
    flat = function(elements).reshape(len(elements), -1)
    z = np.einsum("nji,nj->ni", rho.matrices(elements), flat)
    mean = weights @ z
    np.testing.assert_allclose(found.average.ravel(), mean, atol=1e-12)
    assert found.squared[0] == pytest.approx(weights @ ((z - mean) ** 2).sum(axis=1), rel=1e-12)
    right = 0.0
    for block, place in zip(rho.blocks, rho.slices, strict=True):
        estimator = QuadratureEstimator(rule, group)
        signs = (1, -1) if group.has_inversion else (1,)
        halves = [rho.to_blocks(function(sign * rule.rotations))[:, None, place] for sign in signs]
        estimator.add(slice(0, len(rule)), *halves)
        spectrum = estimator.result()
        own = Irrep(block.lam) if group.name == "SO3" else block
        right += spectrum.power[0, spectrum.irreps.index(own)]
    assert found.leakage[0] == pytest.approx(found.norm[0] - right, rel=1e-10)


def test_a_grid_of_too_low_degree_says_up_to_where_the_error_spectrum_is_exact(points):
    """(x_z)³ e_z of bandwidth 3 as a vector: z reaches λ = 4; at l_max = 3 the tail holds what lies there."""

    def model(x):
        return x[:, 2:] ** 3 * np.array([0, 0, 1.0])

    narrow = errors(model, points, {"v": "vector"}, l_max=3)["v"]
    wide = errors(model, points, {"v": "vector"}, l_max=4)["v"]
    assert (narrow.error_exact_to, wide.error_exact_to) == (2, 3)
    for name in ("(1,+)", "(1,−)", "(2,+)", "(2,−)"):
        assert narrow.error_spectrum[name] == pytest.approx(wide.error_spectrum[name], abs=1e-13)
    assert narrow.relative == pytest.approx(wide.relative, rel=1e-12)
    assert wide.relative**2 == pytest.approx(sum(wide.error_spectrum.values()), rel=1e-12)
    assert abs(wide.error_tail) < 1e-13
    assert wide.error_spectrum["(4,+)"] > 1e-3
    assert abs(narrow.error_tail) > 1e-3
    assert errors(model, points, {"v": "vector"}, n_rotations=4)["v"].error_exact_to is None


@pytest.mark.parametrize("group", [O3(), SO2([0.0, 3.0, 4.0])], ids=repr)
def test_random_rotations_are_unbiased_for_the_error_and_its_split(group):
    """z-scores over 300 repeats of 4 rotations each, for a function with both kinds of error."""
    rho, n, repeats = representation("vector").under(group), 4, 300
    rng = np.random.default_rng(4)
    f = known_spectrum({Irrep(1, 1): 2.0, Irrep(2, 1): 1.0, Irrep(0, 1): 1.0}, features=3, rng=rng)
    exact = deviation(f, rho, l_max=3, group=group)
    rotations = group.rotations((repeats, n), rng)
    error = EquivarianceError(rho, None, n, estimator=RandomEstimator(group, 3, rotations))
    elements = np.swapaxes(rotations, 0, 1)
    for chunk in (slice(0, 3), slice(3, n)):
        improper = f(-elements[chunk]) if group.has_inversion else None
        error.add(chunk, elements[chunk], f(elements[chunk]), improper)
    found = error.result()
    cases = {
        "squared": (found.squared, exact.squared[0]),
        "leakage": (found.leakage, exact.leakage[0]),
        "misalignment": (found.squared - found.leakage, exact.squared[0] - exact.leakage[0]),
        "spectrum": (found.spectrum.power[:, 1:].sum(axis=1), exact.spectrum.power[0, 1:].sum()),
    }
    for name, (values, truth) in cases.items():
        z = (values.mean() - truth) / (values.std(ddof=1) / np.sqrt(repeats))
        assert abs(z) < 3, (name, z)
        assert truth > 0.1


def test_an_exact_vector_reads_no_error_with_random_rotations_either(points):
    item = errors(lambda x: x * (x**2).sum(-1)[:, None], points, {"v": "vector"}, n_rotations=4)["v"]
    assert holds(item)
    # Each part is a difference, with the rounding of both its terms.
    assert max(abs(item.leakage), abs(item.misalignment)) < 2 * item.noise_floor**2


def test_only_real_tokens_count(make_jets):
    """Per-token vectors with NaN in the padding; the broken copy is broken for one token of one jet."""
    jets = make_jets(4, seed=3, dtype=torch.float64, min_particles=2, max_particles=6)

    def model(batch, offset=0.0):
        directions = batch.p4[..., 1:] / batch.p4[..., :1].clamp(min=1e-9)
        directions = directions + offset * torch.eye(directions.shape[1], 3, dtype=directions.dtype)
        return torch.where(batch.mask[..., None], directions, torch.nan)

    assert not jets.mask.all()
    assert holds(errors(model, jets, {"flow": "vector"}, l_max=1)["flow"])
    broken = errors(lambda batch: model(batch, 0.01), jets, {"flow": "vector"}, l_max=1)["flow"]
    touched = jets.mask[:, :3].sum() / len(jets)
    assert broken.absolute == pytest.approx(0.01 * float(touched) ** 0.5, rel=1e-9)


def test_the_axes_of_a_tensor_are_no_tokens(make_jets):
    """Jets padded to three particles with a 3 × 3 tensor each: the mask must not touch the tensor's rows."""
    jets = make_jets(4, seed=3, dtype=torch.float64, min_particles=1, max_particles=3)
    assert jets.mask.shape[1] == 3
    assert not jets.mask.all()

    def model(batch):
        p = torch.where(batch.mask[..., None], batch.p4[..., 1:] / 100, 0)
        return {"tensor": p.mT @ p, "wrong": p.mT @ p + torch.diag(torch.tensor([0.0, 0, 1], dtype=p.dtype))}

    found = errors(model, jets, {"tensor": "rank2", "wrong": "rank2"})
    assert holds(found["tensor"])
    assert found["wrong"].absolute == pytest.approx(np.sqrt(2 / 3), rel=1e-9)


def test_complex_outputs_are_pairs_of_real_ones(points):
    found = errors(lambda x: {"v": x * (1 + 2j), "w": x + 1j}, points, {"v": "vector", "w": "vector"})
    assert holds(found["v"])
    assert found["w"].absolute == pytest.approx(np.sqrt(3), rel=1e-12)


@pytest.mark.parametrize(
    ("outputs", "options", "message"),
    [
        ({"v": "vektor"}, {}, "said to be 'vektor'.*'vector'"),
        ({"v": (2, 0)}, {}, "spherical tensor"),
        ({"v": [1, 1]}, {}, "spherical tensor"),
        ({"v": "rank2"}, {}, r"shape \(\d+, 3\) is said to be 'rank2', which needs shape \(samples, …, 3, 3\)"),
        ({"v": (2, 1)}, {}, r"needs shape \(samples, …, 5\)"),
        ({"v": (2, 1)}, {"l_max": 1}, "λ up to 2, but l_max is 1; expected l_max of at least 2"),
    ],
)
def test_what_is_no_kind_of_the_output_is_refused(points, outputs, options, message):
    with pytest.raises(ProbeError, match=message):
        errors(lambda x: x, points, outputs, **options)


@pytest.mark.parametrize(
    ("model", "relative"),
    [
        (lambda x: np.eye(3)[np.argmax(np.abs(x), -1)], np.sqrt(2 / 3)),
        (lambda x: 0.05 + 0.9 * np.eye(3)[np.argmax(x, -1)], np.sqrt(0.81 * 2 / 3 / (0.81 + 0.09 + 0.0075))),
        (lambda x: np.stack([x[:, 2] > 0, x[:, 2] <= 0], -1).astype(float), np.sqrt(0.5)),
        (lambda x: (x > 0).astype(float), np.sqrt(0.5)),
    ],
)
def test_labels_are_no_rows_that_change_places(model, relative):
    """Two orientations have the same numbers in another order, as each stands for a class."""
    points = np.random.default_rng(0).normal(size=(64, 3))
    item = jetsym.probe(model, points, l_max=4, progress=False).equivariance["output"]
    assert abs(item.relative - relative) < 4 * item.relative_stderr < 0.04


def test_bonds_in_another_order_are_refused_all_the_same():
    """Lengths of the sides of triangles, in the order in which a graph built anew would find them."""
    points = np.random.default_rng(0).normal(size=(6, 4, 3))

    def model(x):
        lengths = np.linalg.norm(x[:, [0, 1, 2]] - x[:, [1, 2, 0]], axis=-1)
        return np.take_along_axis(lengths, np.argsort(x[:, :3, 0], axis=1), axis=1)

    with pytest.raises(ProbeError, match=r"its rows (change places|stand in an order)"):
        jetsym.probe(model, points, l_max=1, progress=False)


def test_four_vectors_are_equivariant_under_boosts_and_not_invariant():
    momenta = np.random.default_rng(0).normal(size=(6, 3, 4))
    momenta[..., 0] = 1 + np.linalg.norm(momenta[..., 1:], axis=-1)

    def model(p):
        total = p.sum(1)
        return {"P": total, "broken": total * [1, 1, 1, 2], "mass": total[:, 0] ** 2 - (total[:, 1:] ** 2).sum(-1)}

    kinds = {"P": "four-vector", "broken": "four-vector", "mass": "scalar"}
    report = jetsym.probe(model, momenta, group="boost", widths=[1.0], outputs=kinds, progress=False)
    whole, broken, mass = report.sentences()
    assert whole.startswith("P is equivariant as four-vector under boosts along the beam to within rounding")
    assert broken.startswith("broken misses its law as four-vector by ")
    assert mass.startswith("mass is invariant under boosts along the beam to within rounding")


def test_few_rotations_of_one_input_have_errors_by_their_chance():
    """Of a hundred draws of ten rotations A and the part of an irrep are off by about their errors."""
    inputs = np.array([[[0.3, -0.5, 0.8]]])
    exact = jetsym.probe(quartic, inputs, outputs={"output": "scalar"}, layers=[], progress=False).equivariance[
        "output"
    ]
    assert exact.error_shares["(4,+)"] == pytest.approx(1, rel=1e-10)
    assert exact.error_shares_stderr["(4,+)"] == 0
    pulls, parts = [], []
    for seed in range(100):
        options = {"layers": [], "n_rotations": 10, "seed": seed, "progress": False}
        item = jetsym.probe(quartic, inputs, outputs={"output": "scalar"}, **options).equivariance["output"]
        pulls.append((item.absolute - exact.absolute) / item.absolute_stderr)
        parts.append((item.error_shares["(2,+)"]) / item.error_shares_stderr["(2,+)"])
    for found in (pulls, parts):
        assert abs(np.mean(found)) < 0.6
        assert 0.4 < np.std(found) < 1.7


def quartic(x):
    """Return x⁴ + y⁴ + z⁴ less its mean over rotations."""
    return (x**4).sum(axis=(1, 2)) - 0.6 * ((x**2).sum(axis=(1, 2))) ** 2
