"""Features in blocks, and features sketched."""

import numpy as np
import pytest

from jetsym.errors import SpectrumError
from jetsym.spectrum import O3, FeatureSketch, Irrep, QuadratureEstimator, RandomEstimator, Spectrum
from jetsym.testing.spectra import known_spectrum

POWERS = {Irrep(0, 1): 1.0, Irrep(1, 1): 0.5, Irrep(1, -1): 0.2, Irrep(2, 1): 0.7}


def responses(features, seed=0):
    """Responses (n, samples, features) of both cosets along a rule, and the rule."""
    rng = np.random.default_rng(seed)
    function, frames, rule = known_spectrum(POWERS, features=features, rng=rng), O3().sample(2, rng), O3().quadrature(2)
    moved = rule.rotations[:, None] @ frames
    return rule, function(moved), function(-moved)


def spectrum(rule, proper, improper):
    estimator = QuadratureEstimator(rule, O3())
    for chunk in rule.chunks(20):
        estimator.add(chunk, proper[chunk], improper[chunk])
    return estimator.result()


def test_blocks_of_features_add_up():
    rule, proper, improper = responses(7)
    whole = spectrum(rule, proper, improper)
    blocks = [slice(0, 3), slice(3, 4), slice(4, 7)]
    added = Spectrum.sum_features([spectrum(rule, proper[..., block], improper[..., block]) for block in blocks])
    np.testing.assert_allclose(added.power, whole.power, atol=1e-13)
    np.testing.assert_allclose(added.norm, whole.norm, rtol=1e-13)
    np.testing.assert_allclose(added.fractions, whole.fractions, atol=1e-13)
    assert added.n_rotations == whole.n_rotations


def test_blocks_of_features_add_up_for_random_rotations():
    rng = np.random.default_rng(1)
    rotations, u = O3().rotations((3, 6), rng), rng.normal(size=(2, 6, 3, 5))

    def estimate(features):
        estimator = RandomEstimator(O3(), 2, rotations)
        estimator.add(slice(0, 6), u[0, ..., features], u[1, ..., features])
        return estimator.result()

    added = Spectrum.sum_features([estimate(slice(0, 2)), estimate(slice(2, 5))])
    np.testing.assert_allclose(added.power, estimate(slice(0, 5)).power, atol=1e-13)


def test_blocks_that_do_not_fit_are_refused():
    rule, proper, improper = responses(2)
    whole, fewer = spectrum(rule, proper, improper), spectrum(rule, proper[:, :1], improper[:, :1])
    with pytest.raises(SpectrumError, match=r"spectra of \[1, 2\] inputs cannot be added"):
        Spectrum.sum_features([whole, fewer])
    with pytest.raises(SpectrumError, match="no spectra to add"):
        Spectrum.sum_features([])


def test_sketch_is_unbiased_and_as_noisy_as_stated():
    rule, proper, improper = responses(40)
    exact = spectrum(rule, proper, improper)
    power, norm, squares = [], [], []
    for seed in range(200):
        sketch = FeatureSketch(40, 8, np.random.default_rng(seed))
        sketched = spectrum(rule, sketch(proper), sketch(improper))
        np.testing.assert_allclose(sketched.power.sum(axis=1), sketched.norm, rtol=1e-12)  # Parseval for each
        power.append(sketched.power[0])
        norm.append(sketched.norm[0])
        squares.append(np.sum(sketch(proper[0, 0]) ** 2))
    content = exact.power[0] > 1e-9
    error = np.std(power, axis=0, ddof=1)[content] / np.sqrt(200)
    assert (np.abs(np.mean(power, axis=0)[content] - exact.power[0][content]) < 3 * error).all()
    assert abs(np.mean(norm) - exact.norm[0]) < 3 * np.std(norm) / np.sqrt(200)
    u = proper[0, 0]
    assert np.var(squares) == pytest.approx(2 * (np.sum(u**2) ** 2 - np.sum(u**4)) / 8, rel=0.4)


def test_sketch_keeps_type_and_dtype_and_checks_sizes():
    import torch

    sketch = FeatureSketch(4, 2, np.random.default_rng(0))
    for dtype in (torch.float32, torch.complex128):
        sketched = sketch(torch.ones(3, 5, 4, dtype=dtype))
        assert sketched.dtype == dtype
        np.testing.assert_allclose(sketched[0, 0].real, sketch.matrix.sum(axis=0), rtol=1e-6)
    with pytest.raises(SpectrumError, match=r"expected \(…, 4\)"):
        sketch(np.ones((3, 5)))
    with pytest.raises(SpectrumError, match="expected floating-point"):
        sketch(np.ones((3, 4), dtype=int))
    with pytest.raises(SpectrumError, match="width is 0"):
        FeatureSketch(4, 0, np.random.default_rng(0))
