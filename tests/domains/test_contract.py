"""The contract that every domain keeps, held for those of the package."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jetsym.domains.arrays import ARRAYS
from jetsym.domains.base import Domain
from jetsym.jets.domain import JETS
from jetsym.testing import DomainContract, random_jets


class TestArrays(DomainContract):
    def domain(self):
        return ARRAYS

    def inputs(self):
        return np.random.default_rng(1).normal(size=(4, 5, 3))


class TestJets(DomainContract):
    def domain(self):
        return JETS

    def inputs(self):
        return random_jets(4, dtype=torch.float64, max_particles=7)

    def numbers(self, inputs):
        return np.concatenate([inputs.p4.numpy(), inputs.jet_p4.numpy()[:, None]], axis=1)


class TestAtoms(DomainContract):
    def domain(self):
        pytest.importorskip("metatomic.torch", reason="metatomic is not installed (pip install 'jetsym[atoms]')")
        from jetsym.atoms.domain import ATOMS

        return ATOMS

    def inputs(self):
        build = pytest.importorskip("ase.build", reason="ase is not installed (pip install 'jetsym[atoms]')")
        from jetsym.atoms.structures import Structures

        frames = [build.molecule("CH3OH") for _ in range(4)]
        for seed, frame in enumerate(frames):
            frame.rattle(0.05, seed=seed)
        return Structures.build(frames, [])

    def numbers(self, inputs):
        return np.stack([structure.positions.detach().numpy() for structure in inputs.systems])


class Transposed(Domain):
    """Moves by the transposed matrices: no action from the left."""

    def load(self, source, *, limit, model):
        return source[:limit]

    def move(self, inputs, matrices):
        own = matrices if matrices.ndim == 4 else matrices[:, None]
        return np.einsum("nsij,spi->nspj", np.broadcast_to(own, (len(own), len(inputs), 3, 3)), inputs).reshape(
            -1, *inputs.shape[1:]
        )


def test_the_contract_speaks():
    class Faulty(TestArrays):
        __test__ = False

        def domain(self):
            return Transposed()

    Faulty().test_the_identity_moves_nothing()
    Faulty().test_elements_make_so_many_inputs()
    with pytest.raises(AssertionError):
        Faulty().test_moves_are_an_action()
