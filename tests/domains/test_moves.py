"""How arrays move: kinds, orders and axes, against matrices that are multiplied by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from torch.autograd import forward_ad

import jetsym
from jetsym.domains.moves import Move
from jetsym.errors import ProbeError
from jetsym.spectrum import O3
from jetsym.spectrum.lorentz import GENERATORS
from jetsym.spectrum.representations import representation

G = O3().sample(3, np.random.default_rng(0))
OWN = O3().sample(6, np.random.default_rng(1)).reshape(3, 2, 3, 3)


@pytest.fixture
def rng():
    return np.random.default_rng(2)


@pytest.mark.parametrize("library", [np.asarray, torch.as_tensor])
@pytest.mark.parametrize("matrices", [G, OWN], ids=["shared", "own"])
def test_layouts_of_four_vectors_move_alike(rng, library, matrices):
    p = rng.normal(size=(2, 5, 4))  # (E, px, py, pz)
    expected = p[None].repeat(3, 0)
    own = matrices if matrices.ndim == 4 else matrices[:, None]
    expected[..., 1:] = np.einsum("nsij,spj->nspi", own.repeat(2 // own.shape[1], 1), p[..., 1:])
    expected = expected.reshape(6, 5, 4)
    for order, axis in (("e px py pz", -1), ("px py pz e", 1), ("PZ, PX, E, PY", 2), ("pz e px py", 1)):
        names = [word.strip(",").lower() for word in order.split()]
        places = [["e", "px", "py", "pz"].index(name) for name in names]
        array = np.moveaxis(p[..., places], -1, axis)
        move = jetsym.moves("four-vector", order=order, axis=axis)
        found = np.asarray(move.moved(library(array), matrices))
        np.testing.assert_allclose(np.moveaxis(found, axis, -1), expected[..., places], atol=1e-12)


def test_other_columns_stay_as_they_are(rng):
    x = rng.normal(size=(2, 5, 6))
    found = jetsym.moves("vector", order="charge z _ x y mass").moved(x, G)
    stay, move = [0, 2, 5], [3, 4, 1]
    np.testing.assert_array_equal(found[..., stay], np.tile(x, (3, 1, 1))[..., stay])
    np.testing.assert_allclose(
        found[..., move], np.einsum("nij,spj->nspi", G, x[..., move]).reshape(6, 5, 3), atol=1e-12
    )


@pytest.mark.parametrize("kind", ["pseudovector", "rank2", (2, -1), "pseudoscalar"])
def test_other_kinds_move_by_their_representation(rng, kind):
    rho = representation(kind)
    x = rng.normal(size=(2, 5, *rho.shape))
    flat = x.reshape(2, 5, -1)
    expected = np.einsum("nij,spj->nspi", rho.matrices(G), flat).reshape(6, *x.shape[1:])
    np.testing.assert_allclose(Move(kind).moved(x, G), expected, atol=1e-12)


def test_boosts_and_tangents_reach_the_momenta_alone(rng):
    p = rng.normal(size=(2, 5, 5))
    move = jetsym.moves("four-vector", order="px py pz e charge")
    boosted = move.moved(p, expm(0.7 * GENERATORS["K_z"])[None])
    c, s = np.cosh(0.7), np.sinh(0.7)
    np.testing.assert_allclose(boosted[..., 3], c * p[..., 3] + s * p[..., 2], atol=1e-12)
    np.testing.assert_array_equal(boosted[..., 4], p[..., 4])
    generators = np.stack(list(GENERATORS.values()))[:, None]
    tangent = move.moved(torch.as_tensor(p), generators, others=0.0)
    assert float(tangent[..., 4].abs().max()) == 0
    eps = 1e-6
    ahead = move.moved(p, np.eye(4) + eps * generators)
    np.testing.assert_allclose((ahead - np.tile(p, (6, 1, 1)))[..., :4] / eps, tangent[..., :4], atol=1e-6)
    with pytest.raises(ProbeError, match="a vector has no law under Lorentz"):
        Move("vector").moved(p[..., :3], generators)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("vektor",), "an input is said to be 'vektor'"),
        (("logits",), "an input is said to be 'logits'"),
        (("vector", "x y"), "order is 'x y'; expected every component of a vector once, such as 'x y z'"),
        (("four-vector", "px py pz"), "such as 'px py pz e'"),
        (("four-vector", "px py pz e e"), "order is"),
        (("four-vector", "px py pz e eta"), "holds 'eta', which changes as the components move"),
        (("four-vector", "pt eta phi e"), "order is 'pt eta phi e'"),
        (("rank2", "x y z"), "goes with 'vector', 'pseudovector', 'four-vector'"),
        (("rank2", None, 1), "axis=1 does not go with 'rank2', which has 2 axes"),
        (("vector", None, "last"), "axis is 'last'"),
    ],
)
def test_what_is_no_move_is_refused(arguments, message):
    with pytest.raises(ProbeError, match=message):
        Move(*arguments)


@pytest.mark.parametrize(
    ("move", "shape", "message"),
    [
        (Move("vector"), (4, 5), "which needs 3 numbers along the last axes"),
        (Move("four-vector"), (4, 5, 3), "which needs 4 numbers"),
        (jetsym.moves("vector", axis=0), (3, 5), "its samples are along this axis"),
        (jetsym.moves("vector", axis=2), (4, 3), "has no such axis"),
        (Move("rank2"), (4, 3), "which needs 3 × 3 numbers"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(move, shape, message):
    with pytest.raises(ProbeError, match=message):
        move.check(np.ones(shape), "x")
    with pytest.raises(ProbeError, match="has dtype int64"):
        Move("vector").check(np.ones((4, 3), dtype=int), "x")


def test_tangents_of_arrays_with_kinds():
    from jetsym.domains.arrays import Arrays

    p, features = torch.randn(2, 5, 4, dtype=torch.float64), torch.randn(2, 5, 3, dtype=torch.float64)
    domain = Arrays().with_moves({"p": "four-vector"}, ())
    generators = domain.generators(None, "beam")
    with forward_ad.dual_level():
        tilted = domain.with_tangents({"p": p, "features": features}, generators)
        assert forward_ad.unpack_dual(tilted["features"]).tangent is None
        tangent = forward_ad.unpack_dual(tilted["p"]).tangent
    expected = torch.einsum("kij,spj->kspi", torch.as_tensor(generators[:, 0]), p).flatten(0, 1)
    torch.testing.assert_close(tangent, expected)
