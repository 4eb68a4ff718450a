"""Irreps as e3nn writes them, in its order of components: against e3nn's own matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jetsym.errors import SpectrumError
from jetsym.spectrum.irreps import parse_irreps
from jetsym.spectrum.representations import representation

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("text", ["1o", "1e", "2e", "3o", "2x0e+1x0o+2x1o+1x1e+1x2e", "4x0e + 3x3e"])
def test_the_matrices_are_those_of_e3nn(text):
    o3 = pytest.importorskip("e3nn.o3")
    elements = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 3, 3)))[0]
    rho = representation(text)
    theirs = o3.Irreps(text).D_from_matrix(torch.as_tensor(elements)).numpy()
    np.testing.assert_allclose(rho.matrices(elements), theirs, atol=1e-6)  # its own are of its constants in float32
    assert rho.shape == (o3.Irreps(text).dim,)


def test_harmonics_of_e3nn_have_their_law_and_ours_have_not():
    o3 = pytest.importorskip("e3nn.o3")
    points, turn = torch.randn(5, 3, dtype=torch.float64), np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    first = o3.spherical_harmonics("0e+1o+2e", points, normalize=True).numpy()
    after = o3.spherical_harmonics("0e+1o+2e", points @ torch.as_tensor(turn).T, normalize=True).numpy()
    np.testing.assert_allclose(first @ representation("0e+1o+2e").matrices(turn).T, after, atol=1e-12)
    assert np.abs(first[:, 4:] @ representation((2, 1)).matrices(turn).T - after[:, 4:]).max() > 0.1


def test_what_is_no_irrep_is_none():
    for text in ("8x0", "e", "1x1p", "8x0e+", "-1x0e", "", "0x1o"):
        assert parse_irreps(text) is None
    with pytest.raises(SpectrumError, match="irreps as e3nn writes them"):
        representation("8x0")
