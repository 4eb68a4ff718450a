"""``assert_equivariant`` on potentials: rotations with the layer that breaks them first, and permutations of atoms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jetsym.atoms.domain import ATOMS
from jetsym.atoms.graphs import graph
from jetsym.errors import ProbeError
from jetsym.testing import assert_equivariant


def test_a_potential(pet):
    from ase.build import molecule

    frames = [molecule("CH3CH2OH"), molecule("H2O")]
    assert_equivariant(pet, frames, group="permutations", permutation=True)
    with pytest.raises(AssertionError, match=r"energy is not invariant under SO3.*first shows in layer 'gnn_layers"):
        assert_equivariant(pet, frames, group="SO3", l_max=2)

    def by_order(model, structures):
        lengths = torch.stack([(system.positions[0] - system.positions[-1]).norm() for system in structures.systems])
        return {"energy": lengths}

    with pytest.raises(AssertionError, match="change places"):
        assert_equivariant(pet, frames, {"energy": "scalar"}, group="permutations", call=by_order)


def test_atoms_in_another_order_keep_their_neighbours(pet):
    from ase.build import molecule

    from jetsym.atoms.model import Model

    structures = Model(pet).structures([molecule("CH3CH2OH")])
    (system,) = structures.systems
    places = np.random.default_rng(0).permutation(len(system))
    (other,) = ATOMS.rearrange(structures, places[None]).systems
    assert torch.equal(other.types, system.types[places])
    for options in system.known_neighbor_lists():
        pairs = other.get_neighbor_list(options)
        first, second = pairs.samples.values[:, 0].long(), pairs.samples.values[:, 1].long()
        vectors = other.positions[second] - other.positions[first]
        torch.testing.assert_close(pairs.values[..., 0], vectors)


def test_permutations_of_what_a_calculator_takes():
    from ase.build import molecule
    from ase.calculators.lj import LennardJones

    class ByOrder(LennardJones):
        def calculate(self, atoms=None, *rest):
            super().calculate(atoms, *rest)
            self.results["energy"] += 0.1 * atoms.get_distance(0, len(atoms) - 1)

    frames = [molecule("H2O"), molecule("CH3OH")]
    assert_equivariant(LennardJones(), frames, group="permutations")
    with pytest.raises(AssertionError, match="energy is not the same, or permuted along, when points change places"):
        assert_equivariant(ByOrder(), frames, group="permutations")


def test_graphs_keep_the_order_of_their_atoms():
    from ase.build import molecule

    with pytest.raises(ProbeError, match="graphs keep the order of their atoms"):
        ATOMS.rearrange(graph([molecule("H2O")], 3.0), np.array([[1, 0, 2]]))
