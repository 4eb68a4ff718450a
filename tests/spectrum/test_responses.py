"""Responses as columns: which belong to which input, what is refused, and what becomes of every dtype."""

from __future__ import annotations

import array_api_strict
import numpy as np
import pytest
import torch

from jetsym.errors import SpectrumError
from jetsym.spectrum import O3, SO2, SO3
from jetsym.spectrum.responses import EPS, InputColumns, as_like, check_finite, prepare, rounding_floor, to_numpy

#: Three inputs with two, none and three real tokens, of two features each.
OWNER = np.array([0, 0, 2, 2, 2])
TOKENS = [[0, 1], [], [2, 3, 4]]


@pytest.fixture
def u():
    return np.random.default_rng(0).normal(size=(4, 10))


def parts(u):
    """The columns of every input, gathered by hand."""
    return [u.reshape(4, 5, 2)[:, tokens].reshape(4, -1) for tokens in TOKENS]


def test_columns_of_inputs_that_have_as_many_each(u):
    columns = InputColumns(5)
    assert columns.slices(10) == [slice(2 * i, 2 * i + 2) for i in range(5)]
    np.testing.assert_allclose(columns.squared_norms(u), (u.reshape(4, 5, 2) ** 2).sum(-1), rtol=1e-14)
    np.testing.assert_array_equal(columns.by_input(u), np.swapaxes(u.reshape(4, 5, 2), 0, 1))
    ((where, block),) = columns.blocks(u)
    assert where == slice(0, 5)
    np.testing.assert_array_equal(block, columns.by_input(u))
    assert not columns.is_padded(u)


@pytest.mark.parametrize("xp", [np, torch])
def test_columns_of_inputs_that_differ_in_their_tokens(u, xp):
    columns, given = InputColumns(3, OWNER), xp.asarray(u)
    assert columns.slices(10) == [slice(0, 4), slice(4, 4), slice(4, 10)]
    norms = to_numpy(columns.squared_norms(given))
    np.testing.assert_allclose(norms, np.stack([(part**2).sum(axis=1) for part in parts(u)], axis=1), rtol=1e-14)
    blocks = columns.blocks(given)
    assert [where for where, _ in blocks] == [slice(0, 1), slice(1, 2), slice(2, 3)]
    for (_, block), part in zip(blocks, parts(u), strict=True):
        np.testing.assert_array_equal(to_numpy(block), part[None])


@pytest.mark.parametrize("xp", [np, torch, array_api_strict])
def test_padded_columns_have_zeros_after_each_inputs_own(u, xp):
    """Away from a CPU, as the devices of array_api_strict are by their names, blocks are these padded copies."""
    columns, given = InputColumns(3, OWNER), xp.asarray(u)
    found = to_numpy(columns.by_input(given))
    assert columns.is_padded(given) == (xp is array_api_strict)
    assert len(columns.blocks(given)) == (1 if xp is array_api_strict else 3)
    assert found.shape == (3, 4, 6)  # as many slots as the largest input has tokens
    for rows, part in zip(found, parts(u), strict=True):
        np.testing.assert_array_equal(rows[:, : part.shape[1]], part)
        assert not rows[:, part.shape[1] :].any()


def test_where_tokens_stand_is_found_once(u):
    columns = InputColumns(3, OWNER)
    columns.by_input(u)
    places = columns._places_like(u)
    assert places is columns._places_like(u)
    assert places.tolist() == [0, 1, 5, 5, 5, 5, 2, 3, 4]


@pytest.mark.parametrize("xp", [np, torch, array_api_strict])
def test_inputs_without_any_token_have_no_columns(xp):
    columns, u = InputColumns(2, np.zeros(0, dtype=np.int64)), xp.asarray(np.zeros((3, 0)))
    assert columns.slices(0) == [slice(0, 0), slice(0, 0)]
    assert columns.by_input(u).shape == (2, 3, 0)
    np.testing.assert_array_equal(to_numpy(columns.squared_norms(u)), np.zeros((3, 2)))


@pytest.mark.parametrize(
    ("dtype", "eps", "becomes"),
    [
        (torch.float64, 2.0**-52, torch.float64),
        (torch.float32, 2.0**-23, torch.float32),
        (torch.float16, 2.0**-10, torch.float32),
        (torch.bfloat16, 2.0**-7, torch.float32),
        (torch.complex64, 2.0**-23, torch.float32),
    ],
)
def test_every_dtype_has_its_rounding_and_is_summed_in_32_bits_at_least(dtype, eps, becomes):
    u = torch.ones(2, 3, 4, dtype=dtype)
    found = prepare(SO3(), 2, u, None)
    assert found.eps == eps
    assert found.cosets[0].dtype == becomes
    assert found.cosets[0].shape == (2, 24 if dtype.is_complex else 12)
    assert prepare(SO3(), 2, u, None, accumulate="float64").cosets[0].dtype == torch.float64
    assert rounding_floor(found.eps) == (8 * eps) ** 2


def test_complex_features_are_two_real_ones():
    u = np.array([[[1 + 2j, 3 - 4j]]])
    np.testing.assert_array_equal(prepare(SO3(), 1, u, None).cosets[0], [[1, 2, 3, -4]])


def test_padding_is_left_out_and_a_mask_of_real_tokens_changes_nothing():
    u = np.arange(24.0).reshape(2, 2, 3, 2)
    mask = np.array([[True, False, True], [True, False, False]])
    found = prepare(O3(), 2, u, -u, mask=mask)
    np.testing.assert_array_equal(found.cosets[0], [[0, 1, 4, 5, 6, 7], [12, 13, 16, 17, 18, 19]])
    np.testing.assert_array_equal(found.cosets[1], -found.cosets[0])
    assert found.columns.samples == 2
    assert found.columns.owner.tolist() == [0, 0, 1]
    assert prepare(SO3(), 2, u, None, mask=np.ones((2, 3), dtype=bool)).columns.owner is None


def test_responses_with_gradients_are_measured_without_them():
    found = prepare(SO3(), 1, torch.ones(1, 1, requires_grad=True), None)
    assert not found.cosets[0].requires_grad


@pytest.mark.parametrize(
    ("group", "n", "u", "options", "words"),
    [
        (O3(), 2, (2, 1), {}, "O3 takes responses to R and to −R"),
        (SO2("z"), 2, (2, 1), {"improper": (2, 1)}, r"SO2 takes responses to R only \(u_improper=None\)"),
        (SO3(), 3, (2, 1), {}, r"responses have shape \(2, 1\); expected \(3, samples, features…\)"),
        (SO3(), 2, (2,), {}, r"responses have shape \(2,\); expected \(2, samples, features…\)"),
        (O3(), 2, (2, 3), {"improper": (2, 4)}, r"u_improper has shape \(2, 4\); u_proper has \(2, 3\)"),
        (SO3(), 2, (2, 3, 4), {"mask": (3, 5)}, r"mask has shape \(3, 5\); the responses' tokens are \(3, 4\)"),
    ],
)
def test_what_does_not_fit_is_refused(group, n, u, options, words):
    improper = np.ones(options["improper"]) if "improper" in options else None
    mask = np.ones(options["mask"], dtype=bool) if "mask" in options else None
    with pytest.raises(SpectrumError, match=words):
        prepare(group, n, np.ones(u), improper, mask=mask)


def test_integers_and_numbers_that_are_none_are_refused():
    with pytest.raises(SpectrumError, match="responses have dtype int64; expected floating-point or complex numbers"):
        prepare(SO3(), 1, np.ones((1, 1), dtype=np.int64), None)
    with pytest.raises(SpectrumError, match="responses of 2 of 3 inputs are not finite, or overflow when squared"):
        check_finite(np.array([1.0, np.nan, np.inf]))
    check_finite(np.zeros(3))


def test_arrays_of_any_library_become_numpy_and_back():
    x = np.array([1.0, 0.5, -2.0])
    for given in (
        torch.tensor(x, requires_grad=True),
        torch.tensor(x, dtype=torch.bfloat16),
        array_api_strict.asarray(x),
    ):
        found = to_numpy(given)
        assert isinstance(found, np.ndarray)
        np.testing.assert_array_equal(found, x)
        back = as_like(found, given)
        assert type(back).__name__ == type(given).__name__
        assert back.dtype == given.dtype
    assert to_numpy(np.float64(3.0)).shape == ()


def test_roundings_by_name_are_those_of_torch():
    assert {name: torch.finfo(getattr(torch, name)).eps for name in EPS} == EPS
    assert sorted(EPS) == ["bfloat16", "float16", "float32", "float64"]
