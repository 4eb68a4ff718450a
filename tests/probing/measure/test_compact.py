"""Results of batches are laid side by side with the values, shapes and names that they have."""

from __future__ import annotations

import tracemalloc
from dataclasses import fields, is_dataclass

import numpy as np
import pytest

from jetsym.probing.measure import compact as module
from jetsym.probing.measure.combination import _over_spread, _squares_by_input
from jetsym.probing.measure.compact import compact, compacted
from jetsym.probing.measure.deviation import EquivarianceError
from jetsym.spectrum import O3, SO3, RandomEstimator, Spectrum
from jetsym.spectrum.representations import representation


def results(batches: int, *, samples: int = 5, tokens: bool = False):
    """What a probe keeps of batches of one to so many inputs, the last the fewest: spectra and deviations."""
    for number in range(batches):
        rng = np.random.default_rng(number)
        n = samples if number < batches - 1 else 1
        rotations = SO3().rotations((n, 4), rng)
        error = EquivarianceError(representation("vector"), None, 4, estimator=RandomEstimator(O3(), 1, rotations))
        mask = rng.random((n, number + 2)) < 0.7 if tokens else None
        shape = (4, n, number + 2, 3) if tokens else (4, n, 3)
        error.add(slice(0, 4), np.swapaxes(rotations, 0, 1), rng.normal(size=shape), rng.normal(size=shape), mask=mask)
        found = error.result()
        yield number * samples, ({"layer": found.spectrum}, {"output": found})


def expect_same(one, other):
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    elif is_dataclass(one) or hasattr(one, "_fields"):
        names = one._fields if isinstance(one, tuple) else [field.name for field in fields(one)]
        for name in names:
            expect_same(getattr(one, name), getattr(other, name))
    else:
        assert one == other


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("batches", [1, 3, 4, 9])
def test_values_stay_as_they_are(monkeypatch, batches, tokens):
    monkeypatch.setattr(module, "TOGETHER", 4)
    expected, found = list(results(batches, tokens=tokens)), list(compacted(results(batches, tokens=tokens)))
    assert [number for number, _ in found] == [number for number, _ in expected]
    for (_, (spectra, deviations)), (_, (own_spectra, own_deviations)) in zip(expected, found, strict=True):
        expect_same(spectra["layer"], own_spectra["layer"])
        expect_same(deviations["output"], own_deviations["output"])
    if batches >= 4:
        first, second = (found[place][1][0]["layer"].power for place in (0, 3))
        assert first.base is second.base is not None
        first, second = (found[place][1][1]["output"].by_rotation.power for place in (0, 3))
        assert first.base is second.base is not None


def test_arrays_of_several_types_are_left_alone():
    parts = [Spectrum(SO3().irreps(0), np.ones((1, 1), dtype), np.ones(1), 9, 0.0, "random") for dtype in ("f4", "f8")]
    first, second = compact(parts)
    assert (first.power.dtype, second.power.dtype) == (np.float32, np.float64)
    assert first.norm.base is second.norm.base is not None


def test_squares_of_one_row_an_input_are_those_of_the_general_way():
    rows, counts = np.random.default_rng(0).normal(size=(9000, 3)), np.ones(9001, int)
    counts[-1] = 0  # so that the general way is taken
    quick, general = _squares_by_input(rows, counts[:-1]), _squares_by_input(rows, counts)
    for one, other in zip(quick, general, strict=True):
        np.testing.assert_array_equal(one, other[:-1])


def test_the_spread_of_many_inputs_takes_no_copies_of_their_rows():
    rows = np.random.default_rng(0).normal(size=(50_000, 20))
    tracemalloc.start()
    try:
        value, stderr = _over_spread(np.ones(50_000), rows, np.ones(50_000, int), noise=0.0, least=0.0)
        assert tracemalloc.get_traced_memory()[1] < 0.7 * rows.nbytes
    finally:
        tracemalloc.stop()
    assert value == pytest.approx(20**-0.5, rel=0.01)
    assert 0 < stderr < 0.01
