"""Slopes by differences: their errors where functions are smooth, and where they are less so than supposed."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("ase")

from jetsym.atoms.workflows.slopes import LONGEST, slope
from jetsym.probing.reports.equivariance import KNOWN_TO

#: Rounding of an energy in float32, and a slope, eV/Å.
NOISE, SLOPE = 2e-6, 0.4


def bent(x):
    """A line with a kink within a step, as where a pair of atoms comes within a cutoff."""
    return np.array([SLOPE * x + 0.01 * max(0.0, x - 0.3 * LONGEST)])


def test_what_is_not_smooth_makes_no_fault():
    coarse, error = slope(bent, NOISE)
    assert abs(coarse[0] - SLOPE) > KNOWN_TO * error, "the step supposes that it is smooth"
    value, error = slope(bent, NOISE, expected=SLOPE)
    assert abs(value[0] - SLOPE) < KNOWN_TO * error < 0.01


@pytest.mark.parametrize("function", [bent, lambda x: np.array([SLOPE * np.sin(x) + 3 * x**2])])
def test_a_slope_that_is_another_is_found(function):
    value, error = slope(function, NOISE, expected=0.9 * SLOPE)
    assert abs(value[0] - SLOPE) < KNOWN_TO * error
    assert abs(value[0] - 0.9 * SLOPE) > KNOWN_TO * error


def test_what_is_as_expected_takes_no_more_calls():
    calls = []

    def counted(x):
        calls.append(x)
        return np.array([np.sin(x)])

    assert slope(counted, NOISE, expected=1.0) == slope(np.sin, NOISE)
    assert len(calls) == 4
