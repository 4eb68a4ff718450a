"""Estimators against functions of known spectrum, Parseval, invariance, and each other."""

from functools import partial

import numpy as np
import pytest

from jetsym.errors import SpectrumError
from jetsym.spectrum import O3, SO3, Irrep, QuadratureEstimator, RandomEstimator
from jetsym.spectrum.estimators import centred_gram
from jetsym.spectrum.wigner import characters
from jetsym.testing.spectra import known_spectrum

O3_POWERS = {
    Irrep(0, 1): 2.0,
    Irrep(0, -1): 0.5,
    Irrep(1, 1): 1.0,
    Irrep(1, -1): 0.25,
    Irrep(2, 1): 0.125,
    Irrep(3, -1): 3.0,
    Irrep(4, 1): 0.7,
}


def frames(n, rng):
    return O3().sample(n, rng)


def measure(function, inputs, estimator, rotations, chunks, *, convert=lambda u: u, **options):
    """Evaluate a function of frames along the orbit and return the spectrum."""
    for chunk in chunks:
        moved = (
            rotations[chunk][:, None] @ inputs
            if rotations.ndim == 3
            else np.swapaxes(rotations[:, chunk], 0, 1) @ inputs
        )
        improper = convert(function(-moved)) if estimator.group.has_inversion else None
        estimator.add(chunk, convert(function(moved)), improper, **options)
    return estimator.result()


def by_quadrature(function, inputs, *, group=None, l_max=4, degree=None, chunk=100, accumulate=None, **options):
    group = group or O3()
    rule = group.quadrature(l_max, degree=degree)
    estimator = QuadratureEstimator(rule, group, accumulate=accumulate)
    return measure(function, inputs, estimator, rule.rotations, rule.chunks(chunk), **options)


def by_random(function, inputs, *, seed, group=None, l_max=4, n=24, chunk=24, **options):
    group = group or O3()
    rotations = group.rotations((len(inputs), n), np.random.default_rng(seed))
    estimator = RandomEstimator(group, l_max, rotations)
    chunks = [slice(start, min(start + chunk, n)) for start in range(0, n, chunk)]
    return measure(function, inputs, estimator, rotations, chunks, **options)


def expected_power(powers, irreps):
    return np.array([powers.get(irrep, 0.0) for irrep in irreps])


def test_quadrature_recovers_a_known_spectrum_exactly():
    rng = np.random.default_rng(0)
    function = known_spectrum(O3_POWERS, features=5, rng=rng)
    spectrum = by_quadrature(function, frames(3, rng))
    expected = expected_power(O3_POWERS, spectrum.irreps)
    np.testing.assert_allclose(spectrum.power, np.tile(expected, (3, 1)), atol=1e-12 * sum(O3_POWERS.values()))
    np.testing.assert_allclose(spectrum.norm, sum(O3_POWERS.values()), rtol=1e-12)
    assert abs(spectrum.tail) < 1e-12
    assert spectrum.n_rotations == 342


def test_a_wrong_power_is_noticed():
    rng = np.random.default_rng(0)
    wrong = {**O3_POWERS, Irrep(1, 1): O3_POWERS[Irrep(1, 1)] * (1 + 1e-6)}
    spectrum = by_quadrature(known_spectrum(wrong, rng=rng), frames(1, rng))
    assert np.abs(spectrum.power - expected_power(O3_POWERS, spectrum.irreps)).max() > 1e-7


def test_so3_quadrature_does_not_split_parity():
    rng = np.random.default_rng(1)
    powers = {Irrep(0): 1.0, Irrep(2): 2.0, Irrep(3): 0.5}
    inputs = SO3().sample(2, rng)
    spectrum = by_quadrature(known_spectrum(powers, features=2, rng=rng), inputs, group=SO3(), l_max=3)
    np.testing.assert_allclose(spectrum.power, np.tile(expected_power(powers, spectrum.irreps), (2, 1)), atol=1e-12)


def test_quadrature_equals_pairwise_characters():
    """B_λ = d_λ Σ_ij w_i w_j χ_λ(R_iᵀ R_j) u_i·u_j, the definition without any Wigner matrix or Fourier transform."""
    rng = np.random.default_rng(2)
    rule, inputs = SO3().quadrature(3), SO3().sample(1, rng)

    def function(x):
        return np.tanh(x.reshape(*x.shape[:-2], 9) @ np.linspace(-1, 1, 36).reshape(9, 4))

    spectrum = by_quadrature(function, inputs, group=SO3(), l_max=3)
    u = function(rule.rotations @ inputs[0])
    chi = characters(3, np.einsum("iab,jac->ijbc", rule.rotations, rule.rotations))
    weights = rule.weights[:, None] * rule.weights
    expected = [(2 * lam + 1) * np.sum(weights * chi[:, :, lam] * (u @ u.T)) for lam in range(4)]
    np.testing.assert_allclose(spectrum.power[0], expected, atol=1e-14)


@pytest.mark.parametrize("chunk", [1, 9, 50, 5000])
def test_chunks_do_not_matter(chunk):
    rng = np.random.default_rng(3)
    function, inputs = known_spectrum(O3_POWERS, features=3, rng=rng), frames(2, rng)
    np.testing.assert_allclose(
        by_quadrature(function, inputs, chunk=chunk).power, by_quadrature(function, inputs).power, atol=1e-12
    )
    reference = by_random(function, inputs, seed=5, n=24)
    np.testing.assert_allclose(
        by_random(function, inputs, seed=5, n=24, chunk=min(chunk, 24)).power, reference.power, atol=1e-12
    )


def test_parseval_for_a_function_that_is_not_band_limited():
    """B and the norm approach each other as l_max grows; the tail says what is missing."""
    inputs = frames(2, np.random.default_rng(4))
    tails = [by_quadrature(lambda x: np.exp(2 * x[..., 0]), inputs, l_max=l_max).tail for l_max in (1, 3, 6, 9)]
    assert all(tail > 0 for tail in tails[:3])
    assert tails[0] > 0.01
    assert abs(tails[-1]) < 1e-9


def test_power_does_not_depend_on_the_orientation_of_the_input():
    rng = np.random.default_rng(5)
    inputs, g = frames(1, rng), O3().sample(1, rng)

    def function(x):  # of bandwidth 3, so that l_max = 3 is exact
        return (x.reshape(*x.shape[:-2], 9)[..., [0, 4, 5]] + 0.3) ** 3

    here, there = by_quadrature(function, inputs, l_max=3), by_quadrature(function, g @ inputs, l_max=3)
    np.testing.assert_allclose(here.power, there.power, atol=1e-13)
    assert np.count_nonzero(here.fractions > 1e-3) > 3


def test_aliasing_beyond_the_degree_is_there_and_a_higher_degree_shows_it():
    rng = np.random.default_rng(6)
    function, inputs = known_spectrum({Irrep(6, 1): 1.0}, rng=rng), frames(1, rng)
    assert by_quadrature(function, inputs, l_max=2).fractions.sum() > 0.1
    assert abs(by_quadrature(function, inputs, l_max=2, degree=8).fractions).sum() < 1e-12
    assert by_quadrature(function, inputs, l_max=2, degree=8).tail == pytest.approx(1)


def test_random_estimator_is_within_three_standard_errors():
    rng = np.random.default_rng(7)
    function, inputs = known_spectrum(O3_POWERS, features=4, rng=rng), frames(400, rng)
    spectrum = by_random(function, inputs, seed=2, n=24)
    expected = expected_power(O3_POWERS, spectrum.irreps) / sum(O3_POWERS.values())
    z = (spectrum.fractions - expected) / spectrum.stderr
    assert np.abs(z).max() < 3
    assert spectrum.stderr.max() < 0.02
    wrong = expected + 0.1
    assert np.abs((spectrum.fractions - wrong) / spectrum.stderr).max() > 3


def test_a_large_constant_does_not_drown_the_random_estimate():
    rng = np.random.default_rng(14)
    small, inputs = known_spectrum({Irrep(2, 1): 1e-4}, rng=rng), frames(400, rng)
    spectrum = by_random(lambda x: 1.0 + small(x), inputs, seed=4)
    assert spectrum.fractions[4] == pytest.approx(1e-4, abs=3 * spectrum.stderr[4])
    assert spectrum.stderr[1:].max() < 1e-4


def test_random_estimator_does_not_alias_nor_clip():
    rng = np.random.default_rng(8)
    function, inputs = known_spectrum({Irrep(6, 1): 1.0}, rng=rng), frames(400, rng)
    spectrum = by_random(function, inputs, seed=2, l_max=2)
    assert (np.abs(spectrum.fractions) <= 3.5 * spectrum.stderr).all()
    assert (spectrum.fractions < 0).any()
    assert spectrum.tail == pytest.approx(1, abs=4 * spectrum.tail_stderr)


def test_masked_tokens_are_left_out_even_when_they_hold_nan():
    rng = np.random.default_rng(9)
    function, inputs = known_spectrum(O3_POWERS, features=6, rng=rng), frames(2, rng)
    mask = np.array([[True, True, False], [True, False, False]])

    def tokens(x):
        u = function(x).reshape(*x.shape[:-2], 3, 2)
        return np.where(mask[..., None], u, np.nan)

    def kept(x):
        return np.where(mask[..., None], function(x).reshape(*x.shape[:-2], 3, 2), 0.0)

    random, options = by_random(tokens, inputs, seed=1, mask=mask), {"seed": 1}
    np.testing.assert_allclose(random.power, by_random(kept, inputs, **options).power, atol=1e-14)
    masked, plain = by_quadrature(tokens, inputs, mask=mask), by_quadrature(kept, inputs)
    np.testing.assert_allclose(masked.power, plain.power, atol=1e-14)
    np.testing.assert_allclose(masked.norm, plain.norm, rtol=1e-14)
    with pytest.raises(SpectrumError, match="not finite"):
        by_quadrature(tokens, inputs)
    with pytest.raises(SpectrumError, match=r"mask has shape \(2, 4\)"):
        by_quadrature(kept, inputs, mask=np.ones((2, 4), dtype=bool))


def test_complex_features_are_two_real_ones():
    rng = np.random.default_rng(10)
    function, inputs = known_spectrum(O3_POWERS, features=2, rng=rng), frames(2, rng)
    complex_one = by_quadrature(lambda x: function(x)[..., 0] + 1j * function(x)[..., 1], inputs)
    np.testing.assert_allclose(complex_one.power, by_quadrature(function, inputs).power, atol=1e-13)


@pytest.fixture
def jax():
    """jax with 64-bit arrays, for one test."""
    jax = pytest.importorskip("jax")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield jax
    jax.config.update("jax_enable_x64", before)


def array_maker(library, request):
    """The function of a library that makes its arrays from numpy's."""
    if library == "jax":
        return request.getfixturevalue("jax").numpy.asarray
    module = pytest.importorskip(library)
    return module.asarray


@pytest.mark.parametrize("library", ["torch", "array_api_strict", pytest.param("jax", marks=pytest.mark.slow)])
def test_backends_agree(library, request):
    convert = array_maker(library, request)
    rng = np.random.default_rng(11)
    function, inputs = known_spectrum(O3_POWERS, features=3, rng=rng), frames(2, rng)
    mask = np.array([[True, True, False], [True, False, True]])

    def complex_tokens(x):
        return (1 + 2j) * function(x)[..., None] ** 2

    for estimate in (partial(by_quadrature, chunk=1000), partial(by_random, seed=3)):
        for response, options in ((function, {}), (complex_tokens, {"mask": mask})):
            reference = estimate(response, inputs, **options)
            given = {name: convert(value) for name, value in options.items()}
            spectrum = estimate(response, inputs, convert=convert, **given)
            tolerance = 1e-12 * reference.norm.max()
            np.testing.assert_allclose(spectrum.power, reference.power, atol=tolerance, rtol=0)
            np.testing.assert_allclose(spectrum.norm, reference.norm, rtol=1e-13)


@pytest.mark.parametrize("group", [SO3(), O3()])
def test_update_is_a_pure_function_that_jax_compiles(jax, group):
    rng = np.random.default_rng(15)
    function, inputs = known_spectrum({Irrep(0): 1.0, Irrep(2): 0.5}, features=3, rng=rng), frames(2, rng)
    rule = group.quadrature(3)
    estimator = QuadratureEstimator(rule, group)
    compilations = []

    def update(*args):
        compilations.append(args)
        return estimator.update(*args)

    state, step, size = None, jax.jit(update), 2 * rule.ring_size
    states = []
    for chunk in rule.chunks(size):
        moved = rule.rotations[chunk][:, None] @ inputs
        cosets = (moved, -moved) if group.has_inversion else (moved,)
        responses = [jax.numpy.asarray(function(x)) for x in cosets]
        state = step(state, estimator.matrices(chunk, like=responses[0]), *responses)
        states.append((state, np.asarray(state.norm).copy()))
    assert len(states) == 13
    assert len(compilations) == 2  # for the first chunk, and once for all others
    for kept, norm in states:
        np.testing.assert_array_equal(kept.norm, norm)  # no state was changed by a later step
    spectrum = estimator.spectrum(state)
    reference = by_quadrature(function, inputs, group=group, l_max=3)
    np.testing.assert_allclose(spectrum.power, reference.power, atol=1e-12)
    np.testing.assert_allclose(spectrum.norm, reference.norm, rtol=1e-13)
    assert spectrum.noise_floor == reference.noise_floor
    with pytest.raises(SpectrumError, match="not finite"):
        estimator.spectrum(state._replace(norm=state.norm * np.nan))


def test_matrices_made_while_jax_traces_do_not_outlive_the_trace(jax):
    rule = SO3().quadrature(1)
    estimator, u = QuadratureEstimator(rule, SO3()), jax.numpy.ones((len(rule), 1, 2))
    whole = slice(0, len(rule))
    for _ in range(2):  # two traces: the second must not see arrays of the first
        state = jax.jit(lambda u: estimator.update(None, estimator.matrices(whole, like=u), u))(u)
    estimator.add(whole, u)
    np.testing.assert_allclose(estimator.result().power, estimator.spectrum(state).power, atol=1e-15)
    np.testing.assert_allclose(estimator.result().power, [[2.0, 0.0]], atol=1e-15)


@pytest.mark.slow
def test_jax_takes_single_and_half_precision(jax):
    rng = np.random.default_rng(16)
    function, inputs = known_spectrum(O3_POWERS, features=4, rng=rng), frames(2, rng)
    exact = by_quadrature(function, inputs)
    for dtype in ("float32", "bfloat16"):
        low = by_quadrature(function, inputs, chunk=1000, convert=partial(jax.numpy.asarray, dtype=dtype))
        assert np.abs(np.sqrt(np.abs(low.fractions)) - np.sqrt(np.abs(exact.fractions))).max() < low.noise_floor**0.5


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_low_precision_stays_within_the_stated_floor(dtype):
    import torch

    rng = np.random.default_rng(12)
    function, inputs = known_spectrum(O3_POWERS, features=8, rng=rng), frames(3, rng)
    exact = by_quadrature(function, inputs)
    low = by_quadrature(function, inputs, convert=lambda u: torch.tensor(u, dtype=getattr(torch, dtype)))
    difference = np.abs(np.sqrt(np.maximum(low.fractions, 0)) - np.sqrt(np.maximum(exact.fractions, 0)))
    assert low.noise_floor > exact.noise_floor
    assert difference.max() <= np.sqrt(low.noise_floor)
    assert difference.max() > 0


def test_accumulation_in_float64_on_request():
    import torch

    rng = np.random.default_rng(13)
    function, inputs = known_spectrum(O3_POWERS, features=8, rng=rng), frames(2, rng)

    def rounded(x):
        return function(x).astype(np.float32).astype(np.float64)

    exact = by_quadrature(rounded, inputs).power
    options = {"convert": lambda u: torch.tensor(u, dtype=torch.float32)}
    double = by_quadrature(function, inputs, accumulate="float64", **options).power
    single = by_quadrature(function, inputs, **options).power
    np.testing.assert_allclose(double, exact, atol=1e-13)
    assert np.abs(single - exact).max() > 1e-9
    with pytest.raises(SpectrumError, match="accumulate is 'float16'"):
        QuadratureEstimator(SO3().quadrature(1), SO3(), accumulate="float16")


def test_state_does_not_grow_with_the_number_of_rotations():
    sizes = []
    for degree in (4, 20):
        rule = SO3().quadrature(2, degree=degree)
        estimator = QuadratureEstimator(rule, SO3())
        for chunk in rule.chunks(1000):
            estimator.add(chunk, np.ones((chunk.stop - chunk.start, 1, 7)))
        sizes.append(sum(coset.nbytes for coset in estimator._sum.halves().coefficients))
    assert sizes[0] == sizes[1] == (1 + 9 + 25) * 7 * 8  # Σ (2λ+1)² × features × float64


def test_misuse_is_refused():
    rule = O3().quadrature(1)
    estimator = QuadratureEstimator(rule, O3())
    chunk = next(rule.chunks(6))
    u = np.ones((6, 2, 3))
    with pytest.raises(SpectrumError, match="responses to R and to −R"):
        estimator.add(chunk, u)
    with pytest.raises(SpectrumError, match="u_improper has shape"):
        estimator.add(chunk, u, u[:, :1])
    with pytest.raises(SpectrumError, match=r"expected \(6, samples, features…\)"):
        estimator.add(chunk, u[:5], u[:5])
    with pytest.raises(SpectrumError, match="expected floating-point"):
        estimator.add(chunk, u > 0, u > 0)
    estimator.add(chunk, u, u)
    with pytest.raises(SpectrumError, match="added already"):
        estimator.add(chunk, u, u)
    with pytest.raises(SpectrumError, match="were not added"):
        estimator.result()


def test_misuse_of_the_random_estimator_is_refused():
    rotations = SO3().rotations((3, 4), np.random.default_rng(0))
    with pytest.raises(SpectrumError, match="at least 3"):
        RandomEstimator(SO3(), 2, rotations[:, :2])
    with pytest.raises(SpectrumError, match=r"expected \(samples, n, 3, 3\)"):
        RandomEstimator(SO3(), 2, rotations[0])
    with pytest.raises(SpectrumError, match="share their rotations"):
        RandomEstimator(SO3(), 2, rotations[[0, 0, 1]])
    random = RandomEstimator(SO3(), 2, rotations)
    with pytest.raises(SpectrumError, match="there are rotations for 3"):
        random.add(slice(0, 4), np.ones((4, 2, 3)))
    random.add(slice(0, 2), np.ones((2, 3, 3)))
    with pytest.raises(SpectrumError, match="2 of 4 rotations"):
        random.result()


@pytest.mark.parametrize("n", [3, 4, 7])
def test_products_of_pairs_are_centred_by_the_mean_of_all_others(n):
    u = np.random.default_rng(0).normal(size=(2, n, 5)) + 10
    found = centred_gram(u @ np.swapaxes(u, 1, 2))
    for x, i, j in np.ndindex(2, n, n):
        if i != j:
            others = np.delete(u[x], [i, j], axis=0).mean(axis=0)
            assert found[x, i, j] == pytest.approx((u[x, i] - others) @ (u[x, j] - others), abs=1e-10)
