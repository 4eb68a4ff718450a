"""Held-out elements against closed forms: what a rule does not see, and estimates that do not alias."""

import functools

import array_api_strict
import jax
import numpy as np
import pytest
import torch

from jetsym.errors import SpectrumError
from jetsym.spectrum import (
    O3,
    SO2,
    SO3,
    HeldOutElements,
    Irrep,
    QuadratureEstimator,
    Spectrum,
    WindowEstimator,
    rapidity_window,
)
from jetsym.spectrum.bands import bands_of, basis_at
from jetsym.spectrum.wigner import real_spherical_harmonics

K = 8


def measured(function, inputs, rule, group, *, seed, chunk=None, convert=lambda u: u):
    """The spectrum of function(g·x) for frames x (samples, 3, 3), with held-out elements drawn from a seed."""
    return trials_of(function, inputs, rule, group, seeds=[seed], chunk=chunk, convert=convert)[0]


def trials_of(function, inputs, rule, group, *, seeds, chunk=None, convert=lambda u: u):
    """The same for several seeds, with the rule evaluated once."""
    signs = (1, -1) if group.has_inversion else (1,)
    by_rule = [convert(function(sign * rule.rotations[:, None] @ inputs)) for sign in signs]
    trials = []
    for seed in seeds:
        estimator = QuadratureEstimator(rule, group)
        estimator.add(slice(0, len(rule)), *by_rule)
        held = HeldOutElements(rule, group.rotations((K, len(inputs)), np.random.default_rng(seed)))
        for start in range(0, K, chunk or K):
            part = slice(start, min(start + (chunk or K), K))
            moved = held.elements[part] @ inputs
            estimator.add_held_out(held, part, *(convert(function(sign * moved)) for sign in signs))
        trials.append(estimator.result())
    return trials


def frames(samples, seed=0):
    return SO3().rotations(samples, np.random.default_rng(seed))


def waves(amplitudes):
    """Σ a cos(mφ + δ) of the azimuth of the first column, and the power in every mode."""

    def function(frames):
        phi = np.arctan2(frames[..., 1, 0], frames[..., 0, 0])
        return sum(a * np.cos(m * phi + delta) for m, (a, delta) in amplitudes.items())[..., None]

    return function, {m: (a * np.cos(d)) ** 2 if m == 0 else a * a / 2 for m, (a, d) in amplitudes.items()}


def harmonics(powers, features=4):
    """Σ √(4π P) Y_λ(third column) along a unit vector each, times det g for σ = −, with B = P averaged over inputs."""
    rng = np.random.default_rng(1)
    directions = {irrep: rng.normal(size=(2 * irrep.lam + 1, features)) for irrep in powers}
    directions = {irrep: d / np.linalg.norm(d) for irrep, d in directions.items()}

    def function(frames):
        sign = np.sign(np.linalg.det(frames))[..., None]
        return sum(
            np.sqrt(4 * np.pi * power)
            * real_spherical_harmonics(irrep.lam, frames[..., 2])
            @ directions[irrep]
            * (1 if irrep.sigma == 1 else sign)
            for irrep, power in powers.items()
        )

    return function


def is_zero(values, truth, sigmas=4.0):
    """Whether a mean over trials is the truth within its standard error, and not without one."""
    values = np.asarray(values)
    error = values.std(axis=0, ddof=1) / len(values) ** 0.5
    return bool((np.abs(values.mean(axis=0) - truth) <= sigmas * error + 1e-12).all())


# --- closed forms ---


@pytest.mark.parametrize(
    ("l_max", "amplitudes"),
    [
        (4, {0: (1.0, 0.4), 3: (0.5, 1.0), 9: (0.7, 0.2), 17: (0.8, 2.0)}),
        (4, {0: (1.0, 0.0), 17: (1.0, 0.0)}),  # the rule reads a constant of 2
        (2, {0: (1.0, 0.0), 1: (0.3, 0.3), 8: (0.5, 0.0), 9: (0.7, 0.1), 10: (0.4, 1.0)}),  # read as 1, 0 and 1
        (0, {0: (2.0, 0.0), 1: (1.0, 0.7)}),
        (8, {0: (1.0, 0.0), 8: (0.2, 0.1), 25: (1.0, 0.3), 33: (0.6, 0.0)}),
    ],
)
def test_modes_beyond_the_band_are_seen_and_the_estimates_are_unbiased(l_max, amplitudes):
    function, exact = waves(amplitudes)
    group, inputs = SO2(), frames(4)
    rule = group.quadrature(l_max)
    trials = trials_of(function, inputs, rule, group, seeds=range(200))
    true_power = np.array([exact.get(m, 0.0) for m in range(l_max + 1)])
    beyond = sum(power for m, power in exact.items() if m > l_max)
    # What aliased: the coefficients of the rule are those of the sum over all modes with the same phase at its angles.
    aliased = np.zeros(4)
    angles = np.arctan2(inputs[:, 1, 0], inputs[:, 0, 0])[:, None] + rule.alpha
    for m, (a, delta) in amplitudes.items():
        if m > l_max:
            strays = a * np.cos(m * angles + delta)
            for low in range(l_max + 1):
                waved = (strays * np.exp(1j * low * rule.alpha)).mean(axis=1)
                aliased = aliased + (2 if low else 1) * np.abs(waved) ** 2
    if sum(m > l_max for m in amplitudes) == 1:  # several interfere
        unexplained = [trial.held_out.estimates().unexplained.mean() for trial in trials]
        assert is_zero(unexplained, beyond + aliased.mean())
    estimates = [trial.held_out.estimates() for trial in trials]
    assert is_zero([each.power.mean(axis=0) for each in estimates], true_power)
    assert is_zero([each.norm.mean() for each in estimates], sum(exact.values()))
    assert is_zero([(each.norm - each.power[:, 0]).mean() for each in estimates], sum(exact.values()) - exact[0])
    assert min(trial.unexplained[0] for trial in trials) > 100 * trials[0].noise_floor


def test_jackknife_errors_are_those_of_the_trials():
    function, exact = waves({0: (1.0, 0.0), 2: (0.6, 0.3), 17: (1.0, 0.0)})
    group, inputs = SO2(), frames(16)
    rule = group.quadrature(4)
    trials = [trial.unbiased() for trial in trials_of(function, inputs, rule, group, seeds=range(200))]
    spread = np.std([trial.fractions for trial in trials], axis=0)
    # Inputs of other azimuths are read otherwise by the rule, which the error over inputs holds as well.
    errors = np.mean([trial.stderr for trial in trials], axis=0)
    assert (errors > 0.8 * spread).all()
    assert (errors < 2.5 * spread + 1e-12).all()
    truth = np.array([exact.get(m, 0.0) for m in range(5)]) / sum(exact.values())
    beyond = np.mean([np.abs(trial.fractions - truth) > 3 * trial.stderr for trial in trials])
    assert beyond < 0.03


def test_one_input_has_errors_over_its_elements():
    function, _ = waves({0: (1.0, 0.0), 2: (0.6, 0.3), 17: (1.0, 0.0)})
    rule, group = SO2().quadrature(4), SO2()
    trials = trials_of(function, frames(1), rule, group, seeds=range(300))
    spread = np.std([trial.unexplained[0] for trial in trials])
    errors = np.array([trial.unexplained[1] for trial in trials])
    assert 0.5 * spread < np.median(errors) < 2 * spread
    unbiased = trials[0].unbiased()
    assert np.isfinite([*unbiased.stderr, unbiased.tail_stderr]).all()
    assert np.isnan(measured(function, frames(1), rule, group, seed=0).stderr).all()  # of the rule alone


@functools.cache
def beyond_four():
    powers = {Irrep(0, 1): 1.0, Irrep(2, -1): 0.6, Irrep(9, 1): 0.5, Irrep(11, -1): 0.4, Irrep(13, 1): 0.7}
    rule, group = O3().quadrature(4), O3()
    inputs = frames(8, seed=3)
    return powers, trials_of(harmonics(powers), inputs, rule, group, seeds=range(100))


def test_harmonics_beyond_the_band_of_all_rotations():
    powers, trials = beyond_four()
    rule = trials[0]
    per_input = np.array([powers.get(irrep, 0.0) for irrep in rule.irreps])
    estimates = [trial.held_out.estimates() for trial in trials]
    # Only the mean over directions of the inputs has exactly these powers: each function is one of a vector.
    dense = measured(harmonics(powers), frames(8, seed=3), O3().quadrature(13), O3(), seed=0)
    exact = np.stack([dense.power[:, dense.irreps.index(irrep)] for irrep in rule.irreps], axis=1)
    np.testing.assert_allclose(dense.norm, dense.power.sum(axis=1))
    assert is_zero([each.power.mean(axis=0) for each in estimates], exact.mean(axis=0))
    assert is_zero([each.norm.mean() for each in estimates], dense.norm.mean())
    assert np.abs(rule.power - exact).max() > 0.01  # the rule alone is wrong
    assert rule.unexplained[0] > 0.5 * sum(powers[irrep] for irrep in powers if irrep.lam > 4) / dense.norm.mean()
    assert per_input.sum() == pytest.approx(1.6)


def test_unexplained_is_the_power_beyond_and_what_aliased():
    powers, trials = beyond_four()
    rule = O3().quadrature(4)
    inputs = frames(8, seed=3)
    low = {irrep: power for irrep, power in powers.items() if irrep.lam <= 4}
    estimator = QuadratureEstimator(rule, O3())
    both, alone = harmonics(powers), harmonics(powers | dict.fromkeys(set(powers) - set(low), 0.0))
    for part in rule.chunks(len(rule)):
        moved = rule.rotations[part][:, None] @ inputs
        estimator.add(part, both(moved) - alone(moved), both(-moved) - alone(-moved))
    strays = estimator.result()  # its power is what aliased, its norm what lies beyond, by the rule
    dense = O3().quadrature(13)
    squares = [
        ((both(sign * g) - alone(sign * g)) ** 2).sum(-1)
        for sign in (1, -1)
        for g in [dense.rotations[:, None] @ inputs]
    ]
    beyond = dense.weights @ np.mean(squares, axis=0)
    found = [trial.held_out.estimates().unexplained.mean() for trial in trials]
    assert is_zero(found, (beyond + strays.power.sum(axis=1)).mean())


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
def test_windows_of_fast_waves(distribution):
    window = rapidity_window(distribution, 2.0, 1)
    inputs = np.linspace(0, 1, 5)
    dense = rapidity_window(distribution, 2.0, 1, degree=150)

    def function(y):
        return (1 + np.cos(5 * y + 3 * inputs))[..., None]

    def result(nodes, seed=None):
        estimator = WindowEstimator(nodes)
        estimator.add(slice(0, len(nodes)), function(nodes.rapidity[:, None]))
        if seed is not None:
            held = HeldOutElements(nodes, nodes.draw((K, 5), np.random.default_rng(seed)))
            estimator.add_held_out(held, slice(0, K), function(held.elements))
        return estimator.result()

    exact, trials = result(dense), [result(window, seed) for seed in range(200)]
    assert is_zero([trial.unbiased().power.mean(axis=0) for trial in trials], exact.power.mean(axis=0))
    assert is_zero([trial.unbiased().deviation.mean() for trial in trials], exact.deviation.mean())
    assert np.abs(trials[0].power - exact.power).max() > 0.01
    assert trials[0].unexplained[0] > 0.1


# --- what is band-limited reads nothing ---


@pytest.mark.parametrize(
    ("l_max", "dtype", "library"),
    [(1, "float32", jax.numpy.asarray)]  # which has no float64 unless it is switched on
    + [
        (l_max, dtype, lib)
        for l_max in (1, 4, 6)
        for dtype, lib in [("float32", torch.as_tensor), ("float64", np.asarray)]
    ],
)
def test_band_limited_responses_read_below_the_floor(l_max, dtype, library):
    powers = {Irrep(0, 1): 30.0, Irrep(1, 1): 1.0, Irrep(l_max, -1): 2.0, Irrep(l_max, 1): 0.5}
    rule, inputs = O3().quadrature(l_max), frames(3)

    def convert(u):
        return library(u.astype(dtype))

    spectrum = measured(harmonics(powers), inputs, rule, O3(), seed=0, convert=convert)
    assert 0 < spectrum.unexplained[0] < spectrum.noise_floor
    np.testing.assert_allclose(
        spectrum.unbiased().fractions, spectrum.fractions, atol=3e-6 if dtype == "float32" else 1e-13
    )


@pytest.mark.parametrize("group", [SO3(), SO2([1.0, 2.0, -1.0])])
def test_band_limited_responses_of_other_groups(group):
    rule = group.quadrature(2) if group.axis is not None else group.quadrature(2, rule="icosahedral")
    spectrum = measured(lambda x: x[..., 0] * x[..., 1], frames(3), rule, group, seed=1)
    assert spectrum.unexplained[0] < spectrum.noise_floor
    seen = measured(lambda x: x[..., 0] ** 5, frames(3), rule, group, seed=1)
    assert seen.unexplained[0] > 1e-3


@pytest.mark.parametrize("l_max", [0, 1, 3])
def test_functions_at_the_nodes_give_the_coefficients(l_max):
    for group, options in ((SO3(), {}), (SO2("x"), {}), (SO3(), {"rule": "icosahedral"})):
        if options and l_max > 2:
            continue
        rule = group.quadrature(l_max, **options)
        u = np.random.default_rng(0).normal(size=(len(rule), 1))
        estimator = QuadratureEstimator(rule, group)
        estimator.add(slice(0, len(rule)), u[:, None])
        coefficients = [rule.weights * values.T @ u for values in basis_at(rule, rule.rotations)]
        power = np.zeros(l_max + 1)
        for band, values in zip(bands_of(rule), coefficients, strict=True):
            np.add.at(power, band.lam, band.factor * values[:, 0] ** 2)
        np.testing.assert_allclose(estimator.result().power[0], power, atol=1e-14)


# --- keeping account ---


def test_chunks_batches_pieces_and_tokens_do_not_matter():
    powers = {Irrep(0, 1): 1.0, Irrep(3, 1): 0.5, Irrep(7, -1): 0.5}
    rule, group, inputs = O3().quadrature(2), O3(), frames(3)
    function = harmonics(powers)
    whole = measured(function, inputs, rule, group, seed=0)
    chunked = measured(function, inputs, rule, group, seed=0, chunk=3)
    pieces = [
        measured(lambda x, part=part: function(x)[..., part], inputs, rule, group, seed=0)
        for part in (slice(0, 1), slice(1, 4))
    ]
    mask = np.array([[True, False], [True, True], [False, False]])

    def tokens(x):
        u = function(x)
        return np.stack([u, 2 * u], axis=-2)

    estimator = QuadratureEstimator(rule, group)
    held = HeldOutElements(rule, group.rotations((K, 3), np.random.default_rng(0)))
    moved = rule.rotations[:, None] @ inputs
    estimator.add(slice(0, len(rule)), tokens(moved), tokens(-moved), mask=mask)
    moved = held.elements @ inputs
    estimator.add_held_out(held, slice(0, K), tokens(moved), tokens(-moved), mask=mask)
    masked = estimator.result()
    for found in (chunked, Spectrum.sum_features(pieces)):
        assert found.unexplained == pytest.approx(whole.unexplained)
        np.testing.assert_allclose(found.unbiased().fractions, whole.unbiased().fractions)
        np.testing.assert_allclose(found.unbiased().stderr, whole.unbiased().stderr)
    one, five = whole.held_out.estimates(), masked.held_out.estimates()
    for a, b in zip(one, five, strict=True):
        np.testing.assert_allclose(b[0], a[0])
        np.testing.assert_allclose(b[1], 5 * a[1])
        np.testing.assert_allclose(b[2], 0, atol=1e-15)
    parts = [measured(function, inputs[some], rule, group, seed=0) for some in (slice(0, 1), slice(1, 3))]
    joined = Spectrum.concatenate(parts)
    assert joined.held_out.squares.shape == (3, K)
    assert joined.unexplained[1] > 0


@pytest.mark.parametrize("group", [O3(), SO2("x")], ids=["O3", "SO2"])
def test_padded_tokens_away_from_a_cpu_say_the_same(group):
    """As the devices of array_api_strict are no CPU by name, inputs that differ in their tokens are padded there."""
    rule, inputs, rng = group.quadrature(2), frames(3), np.random.default_rng(3)
    held = HeldOutElements(rule, group.rotations((4, 3), rng))
    mask = np.array([[True, False, False], [True, True, True], [False, False, True]])
    function = harmonics({Irrep(0, 1): 1.0, Irrep(1, -1): 0.4, Irrep(3, 1): 0.5, Irrep(6, -1): 0.5})

    def tokens(x):
        return np.stack([function(x), function(2 * x) ** 2, 1 + function(x)], axis=-2)

    signs = (1, -1) if group.has_inversion else (1,)

    def found(convert):
        estimator = QuadratureEstimator(rule, group)
        for chunk in rule.chunks(30):
            moved = rule.rotations[chunk][:, None] @ inputs
            estimator.add(chunk, *(convert(tokens(s * moved)) for s in signs), mask=convert(mask))
        for some in (slice(0, 3), slice(3, 4)):
            moved = held.elements[some] @ inputs
            estimator.add_held_out(held, some, *(convert(tokens(s * moved)) for s in signs), mask=convert(mask))
        residuals = estimator._held_out.residuals(estimator._sum.halves(), estimator._sum.columns)
        return estimator.result(), residuals[-1]

    (own, parts), (padded, whole) = found(lambda u: u), found(array_api_strict.asarray)
    assert [some for some, _ in parts] == [slice(0, 1), slice(1, 2), slice(2, 3)]  # each input has its own columns
    assert [some for some, _ in whole] == [slice(0, 3)]
    np.testing.assert_allclose(padded.power, own.power, atol=1e-13)
    for name in ("squares", "cross", "pairs"):
        np.testing.assert_allclose(getattr(padded.held_out, name), getattr(own.held_out, name), atol=1e-12)
    assert own.unexplained[0] > 0.1


def test_misuse_is_refused():
    rule, group = SO3().quadrature(1), SO3()
    rotations = group.rotations((K, 2), np.random.default_rng(0))
    with pytest.raises(SpectrumError, match="inputs share their held-out elements"):
        HeldOutElements(rule, np.repeat(rotations[:, :1], 2, axis=1))
    with pytest.raises(SpectrumError, match=r"shape \(2, 2, 3, 3\); expected \(k, samples, 3, 3\)"):
        HeldOutElements(rule, rotations[:2])
    held = HeldOutElements(rule, rotations)

    def filled():
        estimator = QuadratureEstimator(rule, group)
        estimator.add(slice(0, len(rule)), np.ones((len(rule), 2, 3)))
        return estimator

    with pytest.raises(SpectrumError, match="of another rule"):
        QuadratureEstimator(SO3().quadrature(1), group).add_held_out(held, slice(0, K), np.ones((K, 2, 3)))
    estimator = filled()
    with pytest.raises(SpectrumError, match="responses of 3 inputs; held-out elements are of 2"):
        estimator.add_held_out(held, slice(0, K), np.ones((K, 3, 3)))
    with pytest.raises(SpectrumError, match="out of order"):
        estimator.add_held_out(held, slice(4, K), np.ones((4, 2, 3)))
    estimator.add_held_out(held, slice(0, 4), np.ones((4, 2, 3)))
    with pytest.raises(SpectrumError, match="4 of 8 held-out elements were added"):
        estimator.result()
    estimator = filled()
    estimator.add_held_out(held, slice(0, K), np.ones((K, 2, 4)))
    with pytest.raises(SpectrumError, match="8 features in all; the others 6"):
        estimator.result()
    estimator = filled()
    estimator.add_held_out(held, slice(0, K), np.full((K, 2, 3), np.nan))
    with pytest.raises(SpectrumError, match="not finite"):
        estimator.result()
    with pytest.raises(SpectrumError, match="no responses to held-out elements"):
        filled().result().unbiased()
