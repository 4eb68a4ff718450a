"""Plain callables of other libraries: jax arrays in and out."""

from __future__ import annotations

import numpy as np
import pytest

import jetsym

jax = pytest.importorskip("jax")


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def test_jax_and_numpy_callables_give_the_same():
    rng = np.random.default_rng(0)
    vectors, momenta = rng.normal(size=(5, 2, 3)), rng.normal(size=(5, 4))

    def model(xp):
        def call(v, p):
            return {"mixed": xp.tanh(v[:, 0] + p[:, 1:]), "dot": (v[:, 0] * p[:, 1:]).sum(-1), "pair": v}

        return call

    moves = {"v": "vector", "p": "four-vector"}  # by the names of the function's arguments
    for options in ({"moves": moves}, {"n_rotations": 6, "moves": moves}, {"batch_size": 7, "moves": moves}):
        options |= {"l_max": 1, "progress": False}  # jax compiles for every shape, and each λ has its own
        expected = jetsym.probe(model(np), (vectors, momenta), **options)
        arrays = jax.numpy.asarray(vectors), jax.numpy.asarray(momenta)
        report = jetsym.probe(jax.jit(model(jax.numpy)), arrays, **options)
        assert set(report.layers) == {"mixed", "dot", "pair"}
        assert report.meta["dtype"] == "float64"
        for row, layer in enumerate(report.layers):
            np.testing.assert_allclose(
                report.fractions[row], expected.fractions[expected.layers.index(layer)], atol=1e-12
            )
        assert abs(report.equivariance["dot"].relative) <= report.equivariance["dot"].noise_floor
