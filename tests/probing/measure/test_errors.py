"""What random rotations make of errors is kept for all inputs together, and says the same as by input."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import jetsym
from jetsym.domains.arrays import Arrays
from jetsym.probing.measure.deviation import Deviation
from jetsym.probing.measure.errors import Errors
from jetsym.spectrum.heldout import chance


def turning(x):
    return {"y": x[:, 0] @ np.diag([1.0, 2.0, 3.0]) + 0.1, "s": (x[:, 0] ** 2 * [1, 2, 3]).sum(-1)}


@pytest.mark.parametrize("inputs", [1, 2, 40])
def test_reports_are_the_same_as_with_what_every_input_has(inputs, monkeypatch):
    points = np.random.default_rng(0).normal(size=(inputs, 2, 3))
    options = {"outputs": {"y": "vector", "s": "scalar"}, "method": "random", "n_rotations": 4, "l_max": 2}

    def reported():
        return jetsym.probe(turning, points, batch_size=32, seed=3, progress=False, **options).outputs

    pooled = reported()
    monkeypatch.setattr(Deviation, "pooled", lambda self: self)
    for name, by_input in reported().items():
        for key, value in dataclasses.asdict(by_input).items():
            found = getattr(pooled[name], key)
            if isinstance(value, dict):
                assert found.keys() == value.keys()
                found, value = list(found.values()), list(value.values())
            if not isinstance(value, str | None):
                np.testing.assert_allclose(found, value, rtol=1e-9, atol=1e-13, err_msg=key)


def test_outputs_with_a_zero_for_some_inputs_keep_what_every_input_has(monkeypatch):
    """The errors of those that share a label with no other are left out, which takes the errors of each."""
    labels = np.array([0, 0, 0, 1, 1, 2])
    monkeypatch.setattr(Arrays, "baselines", lambda self, inputs, name: labels if name == "s" else None)
    points = np.random.default_rng(0).normal(size=(6, 2, 3))
    options = {"outputs": {"y": "vector", "s": "scalar"}, "method": "random", "n_rotations": 4, "l_max": 2}
    found = jetsym.probe(turning, points, batch_size=8, seed=3, progress=False, **options).outputs
    for item in found.values():
        assert np.isfinite([*item.error_spectrum_stderr.values(), *item.error_shares_stderr.values()]).all()
        assert item.error_shares_stderr["(2,+)"] > 0


def influence(inputs, n, irreps):
    draws = np.random.default_rng(1).normal(size=(inputs, n, irreps + 2)) ** 3
    return Errors(draws[..., 0], draws[..., 1], draws[..., 0], draws[..., 2:])


def test_any_ratio_has_the_error_by_chance_of_all_inputs():
    own = influence(50, 4, 5)
    parts = [Errors(*(each[some] for each in own)).pooled() for some in (slice(0, 3), slice(3, 4), slice(4, 50))]
    joined = Errors(*map(np.concatenate, zip(*parts, strict=True)))
    for pooled in (joined, joined.pooled()):
        held = pooled.opposed()
        np.testing.assert_allclose(chance(held.power), chance(own.power), rtol=1e-12)
        ratio = 0.3
        of_both = chance(held.squared - ratio * held.norm), chance(own.squared - ratio * own.norm)
        np.testing.assert_allclose(*of_both, rtol=1e-12)
        assert np.isnan(held.leakage).all()


def test_where_parts_cancel_no_rounding_is_left():
    """A part that is 2 · all of what varies has no error as a share, which sums of squares would show as 1e-8."""
    own = influence(1000, 4, 1)
    own = own._replace(power=2 * own.squared[..., None])
    held = own.pooled().opposed()
    assert chance(held.power[..., 0] - 2 * held.squared) < 1e-14 * chance(held.squared)


def test_what_is_kept_does_not_grow_with_inputs():
    for inputs in (10, 1000):
        assert influence(inputs, 4, 9).pooled().power.shape == (11, 1, 9)
