"""Transforms that wait for a product: whatever the chunks, the coefficients are those of adding each at once."""

from __future__ import annotations

import numpy as np
import pytest

from jetsym.errors import SpectrumError
from jetsym.spectrum import O3, SO2, SO3, QuadratureEstimator, rapidity_window
from jetsym.spectrum.accumulation import Accumulation, block_size, waiting_numbers
from jetsym.spectrum.bands import bands_of
from jetsym.spectrum.projection import advance, matrices_of, parity_halves
from jetsym.spectrum.quadrature import icosahedral_rule, product_rule
from jetsym.spectrum.responses import prepare

torch = pytest.importorskip("torch")

#: Units per chunk: one by one, uneven last chunks, chunks that cut blocks, mixed with some larger than a block.
SIZES = {"one": [1], "three": [3], "across": [5], "mixed": [2, 1, 30, 4], "whole": [1000]}


def chunks_of(rule, sizes):
    start, step, chunks = 0, 0, []
    while start < len(rule):
        stop = min(len(rule), start + sizes[step % len(sizes)] * rule.unit)
        chunks.append(slice(start, stop))
        start, step = stop, step + 1
    return chunks


def coefficients(halves):
    return [np.asarray(half, dtype=np.float64) for half in halves]


def directly(rule, group, chunks, u, mask):
    state = None
    for chunk in chunks:
        responses = prepare(group, chunk.stop - chunk.start, *[*(part[chunk] for part in u), None][:2], mask=mask)
        state = advance(state, matrices_of(rule, chunk, like=responses.cosets[0]), responses)
    return state._replace(coefficients=parity_halves(state.coefficients))


def gathered(rule, group, chunks, u, mask):
    total = Accumulation(rule)
    for chunk in chunks:
        responses = prepare(group, total.check(chunk), *[*(part[chunk] for part in u), None][:2], mask=mask)
        total.add(chunk, responses)
    return total.halves()


@pytest.mark.parametrize("order", ["forwards", "backwards", "shuffled"])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("convert", [torch.as_tensor, np.asarray], ids=["torch", "numpy"])
def test_chunks_of_any_size_and_order_give_the_same(sizes, order, convert):
    rng = np.random.default_rng(0)
    rule, mask = O3().quadrature(4), np.array([[True, True, False], [True, False, False]])
    chunks = chunks_of(rule, SIZES[sizes])
    chunks = {"forwards": chunks, "backwards": chunks[::-1], "shuffled": rng.permutation(np.array(chunks))}[order]
    values = rng.normal(size=(2, len(rule), 2, 3, 5))
    for dtype, tolerance in (("float64", 1e-13), ("float32", 1e-6)):
        u = [convert(part.astype(dtype)) for part in values]
        expected = directly(rule, O3(), [slice(0, len(rule))], u, convert(mask))
        found = gathered(rule, O3(), chunks, u, convert(mask))
        np.testing.assert_allclose(found.norm, expected.norm, rtol=10 * tolerance)
        for one, other in zip(coefficients(found.coefficients), coefficients(expected.coefficients), strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)


@pytest.mark.parametrize("rule", [icosahedral_rule(2), product_rule(3, degree=9), product_rule(0), product_rule(1)])
def test_other_rules(rule):
    u = [torch.randn(len(rule), 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))]
    chunks = chunks_of(rule, [1, 2])
    expected = directly(rule, SO3(), [slice(0, len(rule))], u, None)
    found = gathered(rule, SO3(), chunks, u, None)
    for one, other in zip(coefficients(found.coefficients), coefficients(expected.coefficients), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-13)


def test_blocks_are_equal_and_no_larger_than_the_coefficients():
    for l_max in range(13):
        rule = SO3().quadrature(l_max)
        size, units = block_size(rule), len(rule) // rule.unit
        assert waiting_numbers(rule) <= sum(len(band.matrix) for band in bands_of(rule))
        assert not size or -(-units // size) * size - units < -(-units // size)  # none lacks more than a unit each
    assert block_size(SO3().quadrature(12)) >= 8  # pairs: 16 rings
    assert block_size(SO2("z").quadrature(8)) == block_size(rapidity_window("uniform", 1.0, 3)) == 0


@pytest.mark.parametrize("convert", [torch.as_tensor, np.asarray], ids=["torch", "numpy"])
def test_responses_that_are_refused_leave_the_sums_as_they_were(convert):
    rule = SO3().quadrature(3)
    u = np.random.default_rng(1).normal(size=(len(rule), 1, 4))
    expected, estimator = QuadratureEstimator(rule, SO3()), QuadratureEstimator(rule, SO3())
    expected.add(slice(0, len(rule)), convert(u))
    for place, chunk in enumerate(rule.chunks(2 * rule.unit)):
        if place:
            bad = np.where(np.arange(4) == 2, np.nan, u[chunk])
            with pytest.raises(SpectrumError, match="not finite"):
                estimator.add(chunk, convert(bad))
            with pytest.raises(SpectrumError, match="have 3 features in all; .* had 4"):
                estimator.add(chunk, convert(u[chunk][..., :3]))
        estimator.add(chunk, convert(u[chunk]))
    np.testing.assert_allclose(estimator.result().power, expected.result().power, rtol=1e-12)
    np.testing.assert_allclose(estimator.result().norm, expected.result().norm, rtol=1e-13)


def test_arrays_that_are_given_may_be_reused():
    rule = SO3().quadrature(2)
    u = torch.randn(len(rule), 1, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    expected = coefficients(directly(rule, SO3(), [slice(0, len(rule))], [u], None).coefficients)
    total, given = Accumulation(rule), torch.empty(rule.unit, 1, 4, dtype=torch.float64)
    for chunk in rule.chunks(1):
        given.copy_(u[chunk])
        total.add(chunk, prepare(SO3(), rule.unit, given, None))
        given.fill_(torch.nan)
    for _ in range(2):  # they can be asked for again
        for one, other in zip(coefficients(total.halves().coefficients), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-13)


@pytest.mark.parametrize("real", [[True, True, False], [False, True, True], [True, False, True]])
def test_neighbouring_tokens_of_one_input_are_not_copied(real):
    rule = SO3().quadrature(2)
    u = torch.randn(len(rule), 1, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    (flat,) = prepare(SO3(), len(rule), u, None, mask=torch.tensor([real])).cosets
    assert (flat.untyped_storage().data_ptr() == u.untyped_storage().data_ptr()) == (real != [True, False, True])
    expected, masked = QuadratureEstimator(rule, SO3()), QuadratureEstimator(rule, SO3())
    for chunk in rule.chunks(1):
        expected.add(chunk, u[chunk][:, :, real].clone())
        masked.add(chunk, u[chunk], mask=torch.tensor([real]))
    np.testing.assert_allclose(masked.result().power, expected.result().power, rtol=1e-13)
    np.testing.assert_allclose(masked.result().norm, expected.result().norm, rtol=1e-13)
