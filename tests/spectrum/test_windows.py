"""Windows of boosts: Gauss rules, and window energies against closed forms."""

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.integrate import quad
from scipy.special import factorial, gammaln, spherical_in, spherical_jn
from scipy.stats import norm as gaussian

from jetsym.errors import SpectrumError
from jetsym.spectrum import HeldOutElements, WindowEnergies, WindowEstimator, rapidity_window, rapidity_windows

search = partial(settings, derandomize=True, deadline=None, database=None)
distributions = st.sampled_from(["uniform", "normal"])
widths = st.sampled_from([0.1, 0.5, 1.0, 2.0])


def energies_of(function, window, *, chunk=3, convert=lambda u: u, **options):
    """Window energies of u(y), a function from (n,) rapidities to (n, samples, features…)."""
    estimator = WindowEstimator(window, **options)
    for part in window.chunks(chunk):
        estimator.add(part, convert(function(window.rapidity[part])))
    return estimator.result()


def one(function):
    """A function of rapidity as the response of one input with one feature."""
    return lambda eta: function(eta)[:, None, None]


def coefficients_of_exp(distribution, k, width, n):
    """∫ p_n(y) e^{ky} dμ: the expansions of a plane wave in Legendre and in Hermite polynomials."""
    if distribution == "uniform":
        return np.sqrt(2 * n + 1) * spherical_in(n, k * width)
    return np.exp((k * width) ** 2 / 2) * (k * width) ** n / np.sqrt(factorial(n))


def coefficients_of_cos(distribution, k, width, n):
    wave = np.real(1j**n)
    if distribution == "uniform":
        return wave * np.sqrt(2 * n + 1) * spherical_jn(n, k * width)
    return wave * np.exp(-((k * width) ** 2) / 2) * (k * width) ** n / np.sqrt(factorial(n))


@search(max_examples=40)
@given(distributions, widths, st.integers(0, 10), st.integers(0, 9))
def test_rules_are_exact_to_their_degree_and_not_beyond(distribution, width, n_max, more):
    window = rapidity_window(distribution, width, n_max, degree=2 * n_max + more)
    assert window.weights.min() > 0
    assert window.weights.sum() == pytest.approx(1, abs=1e-15)
    assert window.degree >= 2 * n_max + more
    # The even moments over their width^k: 1/(k+1), and the double factorial (k−1)!!; the odd ones vanish.
    errors = []
    for k in range(0, window.degree + 2, 2):
        exact = (
            1 / (k + 1) if distribution == "uniform" else math.exp(gammaln(k + 1) - gammaln(k / 2 + 1)) / 2 ** (k / 2)
        )
        assert abs(window.weights @ window.rapidity ** (k + 1)) < 1e-12 * (exact * (k + 3) * max(1, width) ** (k + 1))
        errors.append(abs(window.weights @ (window.rapidity / width) ** k / exact - 1))
    assert max(errors[:-1]) < 1e-12
    assert errors[-1] > 1e-10
    assert window.variance == pytest.approx(quad_variance(distribution, width), rel=1e-8)


def quad_variance(distribution, width):
    density = (lambda x: 1 / (2 * width)) if distribution == "uniform" else gaussian(scale=width).pdf
    reach = width if distribution == "uniform" else 12 * width
    return quad(lambda x: x * x * density(x), -reach, reach)[0]


@search(max_examples=30)
@given(distributions, widths, st.integers(0, 20))
def test_polynomials_are_orthonormal_and_graded(distribution, width, n_max):
    window = rapidity_window(distribution, width, n_max)
    p, n = window.polynomials, len(window)
    assert p.shape == (n, n) == (2 * n_max + 2, 2 * n_max + 2)
    np.testing.assert_allclose(p * window.weights @ p.T, np.eye(n), atol=1e-11)
    for k in range(min(n, 8)):  # of degree k, with a positive leading coefficient
        fit = np.polynomial.Polynomial.fit(window.rapidity, p[k], k)
        assert fit.coef[k] > 0
        np.testing.assert_allclose(fit(window.rapidity), p[k], atol=1e-10 * np.abs(p[k]).max())


@pytest.mark.parametrize("width", [0.1, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("distribution", ["uniform", "normal"])
@pytest.mark.parametrize("wave", ["exp", "cos"])
def test_closed_forms(distribution, wave, width):
    k, n = 0.8, np.arange(5)
    u, expected = {"exp": (np.exp, coefficients_of_exp), "cos": (np.cos, coefficients_of_cos)}[wave]
    energies = energies_of(one(lambda eta: u(k * eta)), rapidity_window(distribution, width, 4, degree=50))
    np.testing.assert_allclose(energies.power[0], expected(distribution, k, width, n) ** 2, rtol=1e-10, atol=1e-14)
    everything = expected(distribution, k, width, np.arange(40)) ** 2
    assert energies.norm[0] == pytest.approx(everything.sum(), rel=1e-11)
    assert energies.deviation[0] == pytest.approx(everything[1:].sum(), rel=1e-10)
    assert energies.tail == pytest.approx(everything[5:].sum() / everything.sum(), abs=1e-12)


def test_deviation_of_an_exponential_in_elementary_functions():
    """∫(u − ū)² of e^{ky} on [−y₀, y₀]: sinh(2x)/2x − (sinh x/x)² with x = ky₀."""
    for window in rapidity_windows("uniform", [0.1, 0.5, 1.0, 2.0], 4, degree=40):
        x = 1.3 * window.width
        energies = energies_of(one(lambda eta: np.exp(1.3 * eta)), window)
        assert energies.deviation[0] == pytest.approx(math.sinh(2 * x) / (2 * x) - (math.sinh(x) / x) ** 2, rel=1e-9)


def test_another_measure_gives_other_energies():
    """The checker checks: the closed forms of one measure do not hold for the other, nor with a wrong width."""
    n = np.arange(3)
    energies = energies_of(one(np.exp), rapidity_window("normal", 0.5, 2, degree=40))
    assert not np.allclose(energies.power[0], coefficients_of_exp("uniform", 1, 0.5, n) ** 2, rtol=1e-2)
    assert not np.allclose(energies.power[0], coefficients_of_exp("normal", 1, 0.55, n) ** 2, rtol=1e-2)


@search(max_examples=40)
@given(distributions, widths, st.integers(0, 6), st.integers(0, 2**32 - 1))
def test_polynomials_have_no_tail_and_energies_add_up(distribution, width, degree, seed):
    """A polynomial response of degree ≤ n_max: Σ B = N, Σ_{n≥1} B = A², and nothing above its degree."""
    rng = np.random.default_rng(seed)
    terms = rng.normal(size=(degree + 1, 2, 3))
    window = rapidity_window(distribution, width, 6)
    energies = energies_of(lambda eta: np.tensordot(np.vander(eta, degree + 1, increasing=True), terms, 1), window)
    tolerance = 1e-12 * energies.norm.max()
    np.testing.assert_allclose(energies.power.sum(axis=1), energies.norm, atol=tolerance)
    np.testing.assert_allclose(energies.power[:, 1:].sum(axis=1), energies.deviation, atol=tolerance)
    assert np.abs(energies.power[:, degree + 1 :]).max(initial=0) < tolerance
    # A² from its definition, on a rule of twice as many nodes
    finer = rapidity_window(distribution, width, 12)
    u = np.tensordot(np.vander(finer.rapidity, degree + 1, increasing=True), terms, 1)
    mean = np.tensordot(finer.weights, u, 1)
    squares = np.tensordot(finer.weights, ((u - mean) ** 2).sum(axis=-1), 1)
    np.testing.assert_allclose(energies.deviation, squares, atol=10 * tolerance)


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
def test_the_slope_of_a_narrow_window(distribution):
    """B₁/Var(y) → ‖du/dy‖² at 0, with an error of second order in the width; here u′(0) = (1.5, −0.4)."""
    slopes = np.array([1.5, -0.4])

    def u(eta):
        return np.sin(np.multiply.outer(eta, slopes))[:, None] + 7

    widths = [0.2, 0.1, 0.05]
    found = [energies_of(u, window).slope2[0] for window in rapidity_windows(distribution, widths, 2)]
    errors = np.abs(np.array(found) - slopes @ slopes)
    assert errors[-1] < 0.02
    np.testing.assert_allclose(errors[:-1] / errors[1:], 4, rtol=0.1)
    narrow = energies_of(u, rapidity_window(distribution, 1e-4, 2))
    assert narrow.slope2[0] == pytest.approx(slopes @ slopes, rel=1e-6)


def test_an_invariant_response_has_no_deviation():
    """Nothing cancels: the relative A of a constant is of the order of the rounding, not of its root."""
    energies = energies_of(lambda eta: np.full((len(eta), 3, 4), 123.456), rapidity_window("uniform", 2.0, 5))
    assert np.sqrt(energies.deviation / energies.norm).max() < 1e-14
    np.testing.assert_allclose(energies.fractions, [1, 0, 0, 0, 0, 0], atol=1e-15)


def test_the_tail_is_seen_by_default_and_aliasing_beyond_the_degree():
    window = rapidity_window("uniform", 1.0, 2)
    p5 = one(lambda eta: np.polynomial.legendre.legval(eta, [0, 0, 0, 0, 0, 11**0.5]))
    assert energies_of(p5, window).tail == pytest.approx(1, abs=1e-12)
    fewest = rapidity_window("uniform", 1.0, 2, degree=4)  # Σ B = N whatever the response
    assert len(fewest) == 3
    assert energies_of(p5, fewest).tail == pytest.approx(0, abs=1e-12)


def test_tokens_complex_features_and_chunks():
    rng = np.random.default_rng(0)
    window, terms = (
        rapidity_window("normal", 0.7, 3),
        rng.normal(size=(4, 2, 5, 3)) + 1j * rng.normal(size=(4, 2, 5, 3)),
    )
    mask = np.arange(5) < np.array([[3], [5]])
    u = np.tensordot(np.vander(window.rapidity, 4), terms, 1)
    whole, parts = WindowEstimator(window), WindowEstimator(window, accumulate="float64")
    whole.add(slice(0, len(window)), np.where(mask[..., None], u, 0))
    for chunk in window.chunks(3):
        parts.add(chunk, u[chunk, ...], mask=mask)
    for name in ("power", "norm", "deviation"):
        np.testing.assert_allclose(getattr(parts.result(), name), getattr(whole.result(), name), rtol=1e-12)
    separate = [
        energies_of(lambda eta, part=part: np.tensordot(np.vander(eta, 4), part[:, None], 1), window)
        for part in (terms.real[:, 1], terms.imag[:, 1])
    ]
    total = WindowEnergies.concatenate(separate)
    np.testing.assert_allclose(total.power.sum(axis=0), whole.result().power[1], rtol=1e-12)


def test_joining():
    window = rapidity_window("uniform", 1.0, 2)
    first = energies_of(lambda eta: np.stack([eta, eta**2], axis=-1)[..., None], window)
    second = energies_of(lambda eta: np.stack([1 + eta, eta**3], axis=-1)[..., None], window)
    both = WindowEnergies.concatenate([first, second])
    assert both.power.shape == (4, 3)
    assert both.deviation.tolist() == [*first.deviation, *second.deviation]
    np.testing.assert_allclose(
        WindowEnergies.sum_features([first, second]).deviation, first.deviation + second.deviation
    )
    assert both.fractions.shape == both.stderr.shape == (3,)
    assert both.stderr.max() > 0
    assert both.tail_stderr > 0
    other = energies_of(lambda eta: eta[:, None, None], rapidity_window("uniform", 1.1, 2))
    with pytest.raises(SpectrumError, match="windows cannot be joined"):
        WindowEnergies.concatenate([first, other])
    with pytest.raises(SpectrumError, match=r"spectra of \[1, 2\] inputs"):
        WindowEnergies.sum_features([first, other])


@pytest.mark.parametrize("library", ["torch", "jax", "array_api_strict"])
def test_libraries_agree(library):
    u = np.random.default_rng(0).normal(size=(8, 3, 4))
    mask = np.array([[True] * 4, [True, True, False, False], [True] + [False] * 3])
    window = rapidity_window("normal", 1.0, 3)
    if library == "jax":
        jax = pytest.importorskip("jax")
        home = jax if hasattr(jax, "enable_x64") else pytest.importorskip("jax.experimental")  # before jax 0.8
        with home.enable_x64(True):
            found = _by(window, jax.numpy.asarray(u), jax.numpy.asarray(mask))
    else:
        module = pytest.importorskip(library)
        found = _by(window, module.asarray(u), module.asarray(mask))
    expected = _by(window, u, mask)
    for name in ("power", "norm", "deviation"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-12 * expected.norm.max())
    assert found.noise_floor == expected.noise_floor < 1e-29


def _by(window, u, mask):
    estimator = WindowEstimator(window)
    for chunk in window.chunks(3):
        estimator.add(chunk, u[chunk, ...], mask=mask)
    return estimator.result()


def test_low_precision_stays_within_the_stated_floor():
    window = rapidity_window("uniform", 1.0, 3)
    energies = energies_of(lambda eta: np.full((len(eta), 2, 50), 0.1), window, convert=lambda u: u.astype(np.float32))
    assert energies.fractions[1:].max() <= energies.noise_floor
    assert 1e-13 < energies.noise_floor < 1e-11


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("gauss", 1.0, 2), {}, "distribution is 'gauss'; expected one of 'uniform', 'normal'"),
        (("uniform", 0.0, 2), {}, "width is 0.0; expected a number > 0"),
        (("normal", float("nan"), 2), {}, "width is nan"),
        (("normal", float("inf"), 2), {}, "width is inf"),
        (("uniform", 1.0, -1), {}, "n_max is -1"),
        (("uniform", 1.0, 3), {"degree": 5}, "degree is 5; expected at least 2·n_max = 6 and less than 200"),
        (("uniform", 1.0, 60), {}, "degree is 243; expected"),
        (("uniform", 1.0, 120), {}, ": lower n_max"),
    ],
)
def test_wrong_windows_are_refused(arguments, options, message):
    with pytest.raises(SpectrumError, match=message):
        rapidity_window(*arguments, **options)


def test_wrong_use_is_refused():
    window = rapidity_window("uniform", 1.0, 1)
    with pytest.raises(SpectrumError, match="accumulate is 'float16'"):
        WindowEstimator(window, accumulate="float16")
    estimator = WindowEstimator(window)
    with pytest.raises(SpectrumError, match="4 of 4 nodes or rings were not added"):
        estimator.result()
    estimator.add(slice(0, 2), np.ones((2, 1, 1)))
    with pytest.raises(SpectrumError, match="added already"):
        estimator.add(slice(1, 3), np.ones((2, 1, 1)))
    with pytest.raises(SpectrumError, match="expected \\(2, samples"):
        estimator.add(slice(2, 4), np.ones((3, 1, 1)))
    with pytest.raises(SpectrumError, match="not finite"):
        estimator.add(slice(2, 4), np.full((2, 1, 1), np.nan))
    with pytest.raises(SpectrumError, match="n_max = 0"):
        energies_of(one(np.exp), rapidity_window("uniform", 1.0, 0)).slope2  # noqa: B018


def test_residuals_at_held_out_rapidities_are_what_the_polynomials_leave():
    """Of y⁴ a window of four nodes keeps its projection on cubics: the residual at y is p(y) of the interpolation."""
    window = rapidity_window("uniform", 1.0, 1)  # 4 nodes: cubics are rebuilt exactly
    held = HeldOutElements(window, window.draw((3, 2), np.random.default_rng(0)))
    estimator = WindowEstimator(window)
    estimator.add(slice(0, 4), np.repeat(window.rapidity[:, None, None] ** 4, 2, axis=1))
    estimator.add_held_out(held, slice(0, 3), (held.elements**4)[..., None])
    found = estimator.held_out_residuals()
    # The Gauss nodes are the zeros of P₄: what interpolates y⁴ there leaves P₄(y) over its leading coefficient, 35/8.
    expected = np.polynomial.legendre.legval(held.elements, [0, 0, 0, 0, 1]) * 8 / 35
    np.testing.assert_allclose(found, np.swapaxes(expected, 0, 1)[..., None], atol=1e-14)
