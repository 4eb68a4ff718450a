"""Options of PET with injected bias, ``experimental.jetsym_pet``.

It is a PET that is given what it would have to make by itself. In every GNN layer PET embeds an
edge by a linear map of its vector and its distance, so that λ = 2, 3, … come from products in later layers, and angles
from attention. ``inject`` adds W features(edge) to that embedding, with W linear and zero at first: the model starts as
the PET of the same seed, and learns to use them.

``harmonics:λ``
    Solid harmonics S_1 … S_λ of the edge vector shortened to v/√(1 + |v|²): λ(λ + 2) features of an edge.
``invariants``
    Distances in radial functions, and sums over the other edges of the same atom of radial functions times Legendre
    polynomials of the cosines between the edges, weighted by the cutoff and by the element of the neighbour.
``tensor-basis``
    Targets of vectors and tensors (Cartesian of rank 1 and 2, spherical ones, of structures or of atoms; a
    non-conservative stress as a symmetric one) are Σ_i Σ_k s_ik T_ik. The scalars s_ik of atom i are what PET's last
    layers give. The tensors T_ik are made of three vectors v = Σ_j f(r_ij) w(z_i, z_j, r_ij) r_ij of its edges, with
    the cutoff function f and a small network w of elements and distance: v₁^k v₂^(λ−k) and v₁^k v₂^(λ−1−k) v₃, coupled
    to λ, with a sum of harmonics of the edges for λ ≥ 2; for pseudotensors with a triple product, and cross products.
    The tensors turn exactly as they should, whatever is learned. The scalars are invariant only as far as PET has
    learned them to be: A² of the target is that of Σ_k (s_ik − ∫ s_ik dμ) T_ik, and is measured by a probe. A head
    given scalars that are invariant is exact.

The trainer takes a ``penalty``: its weight, in the loss, times the A² under O(3) of the targets, or of those and the
layers that ``penalty_on`` names, from two random positions of every structure of a batch; see
:mod:`jetsym.atoms.architectures.penalty`.

Several injections stand with commas between them, ``harmonics:2,invariants``. All other options are PET's; all layers
have PET's names. An exported model (``.pt``) holds its own code, and runs wherever metatomic does. A checkpoint
(``.ckpt``) needs jetsym: ``mtt`` alone says that the architecture ``experimental.jetsym_pet`` is not among its own.
Load it by ``jetsym.atoms.load``.
"""

from typing import Optional

from metatrain.pet.documentation import ModelHypers as PETHypers, TrainerHypers as PETTrainerHypers

__all__ = ["ModelHypers", "TrainerHypers"]


class ModelHypers(PETHypers):  # type: ignore[misc]  # metatrain has no types
    """Options of the model: PET's, and what is injected."""

    inject: Optional[str] = None  # noqa: UP045  # as metatrain reads it
    """What is injected: "harmonics:λ", "invariants", "tensor-basis", or several with commas; None for PET as it is."""


class TrainerHypers(PETTrainerHypers):  # type: ignore[misc]  # metatrain has no types
    """Options of the trainer: PET's, and a penalty on A²."""

    penalty: float = 0.0
    """Weight of the penalty in the loss; 0 for none."""

    penalty_on: list[str] = []  # noqa: RUF012  # as metatrain reads it
    """Names of targets, and names or patterns of layers, that it weighs; none for all targets."""
