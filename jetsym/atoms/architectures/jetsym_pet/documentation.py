"""Options of PET with injected bias, ``experimental.jetsym_pet``.

It is a PET whose embedding of edges also sees what it would have to make by itself. In every GNN layer PET embeds an
edge by a linear map of its vector and its distance, so that λ = 2, 3, … come from products in later layers, and angles
from attention. ``inject`` adds W features(edge) to that embedding, with W linear and zero at first: the model starts as
the PET of the same seed, and learns to use them.

``harmonics:λ``
    Solid harmonics S_1 … S_λ of the edge vector shortened to v/√(1 + |v|²): λ(λ + 2) features of an edge.
``invariants``
    Distances in radial functions, and sums over the other edges of the same atom of radial functions times Legendre
    polynomials of the cosines between the edges, weighted by the cutoff and by the element of the neighbour.

Several stand with commas between them, ``harmonics:2,invariants``. All other options are PET's; all layers have PET's
names. An exported model (``.pt``) holds its own code, and runs wherever metatomic does. A checkpoint (``.ckpt``) needs
jetsym: ``mtt`` alone says that the architecture ``experimental.jetsym_pet`` is not among its own. Load it by
``jetsym.atoms.load``.
"""

from typing import Optional

from metatrain.pet.documentation import ModelHypers as PETHypers
from metatrain.pet.documentation import TrainerHypers as PETTrainerHypers

__all__ = ["ModelHypers", "TrainerHypers"]


class ModelHypers(PETHypers):  # type: ignore[misc]  # metatrain has no types
    """Options of the model: PET's, and what is injected."""

    inject: Optional[str] = None  # noqa: UP045  # as metatrain reads it
    """What the embedding of edges sees besides vectors: "harmonics:λ", "invariants", or both with a comma; None for
    PET as it is."""


class TrainerHypers(PETTrainerHypers):  # type: ignore[misc]  # metatrain has no types
    """Options of the trainer: PET's."""
