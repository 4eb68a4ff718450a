"""The least inductive bias that helps: tensor-basis heads, invariant features, and symmetry restored at inference."""

from __future__ import annotations

from jetsym.remedies.injected import HarmonicFeatures, Injected, InvariantFeatures
from jetsym.remedies.invariants import InvariantNetwork
from jetsym.remedies.symmetrized import Symmetrized, averaging_degree
from jetsym.remedies.tensor_basis import CartesianHead, TensorBasisHead

__all__ = [
    "CartesianHead",
    "HarmonicFeatures",
    "Injected",
    "InvariantFeatures",
    "InvariantNetwork",
    "Symmetrized",
    "TensorBasisHead",
    "averaging_degree",
]
