"""The random estimator as a statistician sees it: bias, errors that cover, and what breaks them."""

import numpy as np
import pytest

from jetsym.spectrum import O3, Irrep, QuadratureEstimator, RandomEstimator
from jetsym.testing.spectra import known_spectrum

POWERS = {Irrep(0, 1): 1.0, Irrep(1, 1): 1.0, Irrep(1, -1): 0.3, Irrep(2, 1): 0.5, Irrep(2, -1): 0.2, Irrep(5, 1): 1.0}
TOTAL = sum(POWERS.values())
L_MAX = 2


def random_spectrum(function, frames, rotations, *, l_max=L_MAX):
    """The estimate for frames (samples, 3, 3), each along rotations (samples, n, 3, 3) of its own."""
    estimator = RandomEstimator(O3(), l_max, rotations)
    moved = np.swapaxes(rotations @ frames[:, None], 0, 1)
    estimator.add(slice(0, rotations.shape[1]), function(moved), function(-moved))
    return estimator.result()


def exact_spectrum(function, frames, *, l_max, degree=None):
    rule = O3().quadrature(l_max, degree=degree)
    estimator = QuadratureEstimator(rule, O3())
    for chunk in rule.chunks(2000):
        moved = rule.rotations[chunk][:, None] @ frames
        estimator.add(chunk, function(moved), function(-moved))
    return estimator.result()


def truth(l_max=L_MAX):
    return np.array([POWERS.get(irrep, 0.0) for irrep in O3().irreps(l_max)])


def z_scores(function, draw, *, experiments, samples, rng):
    """(experiments, irreps) distance of the fractions from the truth in units of their stated errors."""
    scores = []
    for _ in range(experiments):
        spectrum = random_spectrum(function, O3().sample(samples, rng), draw(samples))
        scores.append((spectrum.fractions - truth() / TOTAL) / spectrum.stderr)
    return np.array(scores)


def test_unbiased_over_400_repeats():
    """400 estimates of one input; 12 rotations each, so that a bias of 1/n would stand out."""
    rng = np.random.default_rng(0)
    function, frame = known_spectrum(POWERS, features=3, rng=rng), O3().sample(1, rng)
    estimates = random_spectrum(function, np.repeat(frame, 400, axis=0), O3().rotations((400, 12), rng))
    error = estimates.power.std(axis=0, ddof=1) / np.sqrt(400)
    z = (estimates.power.mean(axis=0) - truth()) / error
    assert np.abs(z).max() < 3
    # With the diagonal i = j left in, every irrep would be too large by about d_λ N/(2n), and be seen.
    biased = np.array([irrep.dimension * TOTAL / 2 / 12 for irrep in estimates.irreps])
    assert (biased / error).min() > 5


@pytest.mark.slow
def test_stated_errors_cover_and_shared_rotations_break_them():
    rng = np.random.default_rng(1)
    function = known_spectrum(POWERS, features=3, rng=rng)

    def own(samples):
        return O3().rotations((samples, 8), rng)

    def shared(samples):  # the same eight for all inputs, but in another order, which the estimator does not notice
        rotations = O3().rotations(8, rng)
        return np.stack([rng.permutation(rotations) for _ in range(samples)])

    honest = z_scores(function, own, experiments=40, samples=60, rng=rng)
    assert 0.8 < np.sqrt(np.mean(honest**2)) < 1.25
    broken = z_scores(function, shared, experiments=40, samples=60, rng=rng)
    assert np.sqrt(np.mean(broken**2)) > 3


@pytest.mark.slow
@pytest.mark.parametrize("l_max", [1, 2])
def test_no_aliasing_at_three_times_l_max_where_the_rule_aliases_and_says_so(l_max):
    rng = np.random.default_rng(2)
    bandwidth = 3 * l_max
    function = known_spectrum({Irrep(bandwidth, 1): 1.0, Irrep(0, 1): 1.0}, features=2, rng=rng)
    frames = O3().sample(300, rng)
    expected = np.zeros(len(O3().irreps(l_max)))
    expected[0] = 0.5

    random = random_spectrum(function, frames, O3().rotations((300, 16), rng), l_max=l_max)
    assert (np.abs(random.fractions - expected) <= 3 * random.stderr).all()
    assert random.stderr.max() < 0.03
    assert random.tail == pytest.approx(0.5, abs=3 * random.tail_stderr)

    aliased = exact_spectrum(function, frames[:4], l_max=l_max)
    finer = exact_spectrum(function, frames[:4], l_max=l_max, degree=2 * bandwidth)  # exact for the norm, too
    assert np.abs(aliased.fractions - expected).max() > 0.1  # it aliases
    assert aliased.tail > 0.05  # the tail tells of content beyond l_max, if not of all of it
    assert np.abs(aliased.fractions - finer.fractions).max() > 0.1  # two grids disagree
    np.testing.assert_allclose(finer.fractions, expected, atol=1e-13)
    assert finer.tail == pytest.approx(0.5)
