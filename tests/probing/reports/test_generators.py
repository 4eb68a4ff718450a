"""What a report on generators says: which is felt most, where any surely is."""

from __future__ import annotations

import numpy as np
import pytest

import jetsym

GENERATOR = np.random.default_rng(0)
MOMENTA = GENERATOR.normal(size=(8, 3, 3))
EVENTS = np.concatenate([np.sqrt((MOMENTA**2).sum(-1, keepdims=True) + 0.1), MOMENTA], axis=-1)


def mass(p: np.ndarray) -> np.ndarray:
    total = p.sum(axis=1)
    return total[:, 0] ** 2 - (total[:, 1:] ** 2).sum(axis=-1)


def local(function):
    options = {"group": "lorentz", "l_max": 1, "widths": [0.5], "outputs": {"output": "scalar"}, "progress": False}
    (report,) = jetsym.probe(function, EVENTS, **options).local.values()
    return report


def test_an_invariant_has_no_generator_that_it_feels_most():
    said = local(mass).sentence()
    assert "no change of output can be told from rounding: the largest, under" in said
    assert "fastest" not in said


@pytest.mark.parametrize(("place", "least"), [(3, "J_z"), (0, "J_")])
def test_what_feels_some_generators_says_which(place, least):
    said = local(lambda p: mass(p) + p[:, 0, place]).sentence()
    assert "output changes fastest under" in said
    assert f"slowest under {least}" in said


def test_a_small_slope_is_no_rounding():
    assert "changes fastest under" in local(lambda p: mass(p) + 1e-6 * p[:, 0, 3]).sentence()
