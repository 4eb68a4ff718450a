"""What acts on jets, before any feature is computed: O(3) in the lab and at rest, boosts, Lorentz transformations.

An element moves the four-momenta of the constituents and of the jet axis together; the order of the particles is kept.
Features are recomputed from the moved momenta inside the model.

All actions give n · B jets, element by element: jet b under element k is number k·B + b. Masks, scalars, labels and
columns are repeated as they are, padding stays zero, and momenta come back in the dtype of the jets. Inputs follow the
momenta, or the move is refused (:mod:`jetsym.jets.moves.inputs`). Boosts are
computed in float64 for each four-vector, in the factors e^±η of its light-cone components E ± p∥.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from jetsym.errors import DataError
from jetsym.jets.batch import JetBatch
from jetsym.jets.moves.frames import expect_rest_frame, jet_axes, jet_momentum
from jetsym.jets.moves.inputs import follow
from jetsym.spectrum.lorentz import boost_to_rest, boosted, boosted_outputs

__all__ = [
    "HELD_FIXED",
    "METRIC",
    "about_jet_axis",
    "boost",
    "multiply",
    "outputs_at_rest",
    "outputs_boosted_back",
    "rotate",
    "rotate_at_rest",
    "transform",
]

#: Scalars measured about the beam line: rotations about the beam leave them as they are, but they have no law under
#: anything else, and every action holds them fixed. A report on a model that uses them should say so. Charge and the
#: particle flags are invariant.
HELD_FIXED = ("d0val", "d0err", "dzval", "dzerr")

#: Diagonal of the metric of (E, px, py, pz).
METRIC = (1.0, -1.0, -1.0, -1.0)


def rotate(batch: JetBatch, matrices: Tensor) -> JetBatch:
    """Apply elements of O(3) to the lab momenta of jets; energies stay as they are.

    Parameters
    ----------
    batch
        B jets of up to N particles.
    matrices
        Orthogonal 3 × 3 matrices g, acting as p → g p; an improper element is −R. Either (n, 3, 3), every jet under
        every element, or (n, B, 3, 3), each jet under elements of its own. They are cast to the dtype of the jets.

    Returns
    -------
    JetBatch
        n · B jets, element by element: jet b under element k is number k·B + b. Energies, masks, scalars, labels and
        columns are repeated as they are.

    Raises
    ------
    DataError
        The matrices do not have one of the two shapes.

    Examples
    --------
    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0]]])
    >>> batch = JetBatch(p4, torch.ones(1, 1, dtype=bool), torch.zeros(1, 1, 10), p4[:, 0])
    >>> rotate(batch, -torch.eye(3)[None]).jet_p4
    tensor([[ 5., -3.,  0., -4.]])
    """
    elements = _per_jet("matrices", matrices, batch, (3, 3)).to(batch.dtype)
    return _apply(batch, lambda p4: _turned(p4, elements), dtype=batch.dtype)


def about_jet_axis(batch: JetBatch, matrices: Tensor) -> JetBatch:
    """Turn jets about their own axis: SO(2) about the direction of ``jet_p4``, which stays where it is.

    Parameters
    ----------
    batch
        B jets.
    matrices
        Rotations about z, (n, 3, 3) or (n, B, 3, 3). Each is taken to the axes of each jet, :func:`jet_axes`.

    Raises
    ------
    DataError
        Another shape, matrices that move the z axis, or a jet whose stored axis has no direction.

    Examples
    --------
    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0]]])
    >>> batch = JetBatch(p4, torch.ones(1, 1, dtype=bool), torch.zeros(1, 1, 10), torch.tensor([[9.0, 0.0, 0.0, 9.0]]))
    >>> about_jet_axis(batch, torch.diag(torch.tensor([-1.0, -1.0, 1.0]))[None]).p4  # half a turn
    tensor([[[ 5., -3.,  0.,  4.]]])
    """
    elements = _per_jet("matrices", matrices, batch, (3, 3)).double()
    z = elements.new_tensor([0.0, 0.0, 1.0])
    if not torch.allclose(elements[..., 2, :], z, atol=1e-5) or not torch.allclose(elements[..., 2], z, atol=1e-5):
        raise DataError("some matrices move the z axis; expected rotations about z, which are taken to each jet's axis")
    axes = jet_axes(batch)
    return rotate(batch, axes.mT @ elements @ axes)


def rotate_at_rest(batch: JetBatch, matrices: Tensor) -> JetBatch:
    """Apply elements of O(3) in the rest frame of each jet: the little group of its total momentum P.

    Each four-vector is boosted along P to where P is at rest, rotated there, and boosted back, one after the other: as
    one matrix the product would break the group law. P is the sum of the constituents, :func:`jet_momentum`; it is
    fixed to 4γ²ε of itself, γ = E/M and ε = 2.2e-16, before the momenta are rounded to the dtype of the jets. The axes
    at rest are those of the lab, carried along by the boost. The stored ``jet_p4`` moves as well: it is not P.

    Parameters
    ----------
    batch
        B jets.
    matrices
        Orthogonal matrices (n, 3, 3) or (n, B, 3, 3), proper or improper.

    Raises
    ------
    DataError
        Another shape, or jets without a rest frame, :func:`jetsym.jets.moves.frames.has_rest_frame`.

    Examples
    --------
    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0], [5.0, -3.0, 0.0, 4.0]]], dtype=torch.float64)
    >>> batch = JetBatch(p4, torch.ones(1, 2, dtype=bool), torch.zeros(1, 2, 10), p4.sum(1))
    >>> rotate_at_rest(batch, -torch.eye(3)[None]).p4.round(decimals=9)  # two particles back to back change places
    tensor([[[ 5., -3.,  0.,  4.],
             [ 5.,  3.,  0.,  4.]]], dtype=torch.float64)
    """
    elements = _per_jet("matrices", matrices, batch, (3, 3)).double()
    expect_rest_frame(batch)
    direction, factor = boost_to_rest(jet_momentum(batch))

    def move(p4: Tensor) -> Tensor:
        return _boosted(_turned(_boosted(p4, direction, 1 / factor), elements), direction, factor)

    return _apply(batch, move)


def boost(batch: JetBatch, rapidity: Tensor, direction: Tensor | str) -> JetBatch:
    """Boost jets along a direction: rapidities along it grow, y → y + rapidity; momenta across it stay.

    Parameters
    ----------
    batch
        B jets.
    rapidity
        (n,), or (n, B) for rapidities of each jet's own.
    direction
        "beam" (z), "jet" (the stored axis of each jet, before the boost), or unit vectors (3,), (B, 3) or (n, B, 3).

    Raises
    ------
    DataError
        Rapidities or directions of another shape, not finite, or not of unit length.

    Examples
    --------
    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0]]])
    >>> batch = JetBatch(p4, torch.ones(1, 1, dtype=bool), torch.zeros(1, 1, 10), p4[:, 0])
    >>> boost(batch, torch.tensor([3.0]).log(), "beam").p4  # E + pz three times as large, E − pz a third
    tensor([[[13.6667,  3.0000,  0.0000, 13.3333]]])
    """
    shift = _per_jet("rapidity", rapidity, batch, ()).double()
    if not shift.isfinite().all():
        raise DataError("some rapidities are not finite; expected real numbers (atanh of a velocity below 1)")
    along, factor = _directions(batch, direction, len(shift)), shift.exp()
    return _apply(batch, lambda p4: _boosted(p4, along, factor))


def outputs_at_rest(batch: JetBatch, four: Any) -> Any:
    """Return four-vector outputs (n, B, …, 4) as they are where each jet is at rest."""
    direction, factor = boost_to_rest(jet_momentum(batch))
    return boosted_outputs(four, direction, 1 / factor[None])


def outputs_boosted_back(batch: JetBatch, rapidity: Tensor, direction: Tensor | str, four: Any) -> Any:
    """Return four-vector outputs (n, B, …, 4) for jets that were boosted, as they are where the jets came from."""
    shift = _per_jet("rapidity", rapidity, batch, ()).double()
    return boosted_outputs(four, _directions(batch, direction, len(shift)).reshape(-1, 3), (-shift).exp())


def transform(batch: JetBatch, matrices: Tensor) -> JetBatch:
    """Apply Lorentz transformations Λ to four-momenta (E, px, py, pz): p → Λ p, in float64.

    Parameters
    ----------
    batch
        B jets.
    matrices
        (n, 4, 4) or (n, B, 4, 4) with Λᵀ g Λ = g, proper or not, that keep the direction of time.

    Raises
    ------
    DataError
        Another shape, or matrices that are no such transformations to the rounding of their dtype.

    Examples
    --------
    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0]]])
    >>> batch = JetBatch(p4, torch.ones(1, 1, dtype=bool), torch.zeros(1, 1, 10), p4[:, 0])
    >>> transform(batch, torch.diag(torch.tensor([1.0, -1.0, 1.0, 1.0]))[None]).p4
    tensor([[[ 5., -3.,  0.,  4.]]])
    """
    elements = _per_jet("matrices", matrices, batch, (4, 4))
    eps = torch.finfo(elements.dtype).eps if elements.is_floating_point() else 0.0
    elements = elements.double()
    metric = torch.diag(elements.new_tensor(METRIC))
    defect = (elements.mT @ metric @ elements - metric).abs().amax(dim=(-2, -1))
    size = elements.square().sum(dim=(-2, -1))
    worst = float((defect / size).max()) if defect.numel() else 0.0
    if not worst <= 64 * eps:
        raise DataError(
            f"some matrices are no Lorentz transformations of (E, px, py, pz): Λᵀ g Λ differs from g by {worst:.1e} of "
            f"‖Λ‖²; expected at most {64 * eps:.1e} in their precision"
        )
    if (elements[..., 0, 0] < 0).any():
        raise DataError("some matrices reverse time; expected Λ with a positive element E, E")
    return multiply(batch, matrices)


def multiply(batch: JetBatch, matrices: Tensor) -> JetBatch:
    """Apply any real matrices to four-momenta (E, px, py, pz), in float64: Lorentz transformations, or a scale.

    Parameters
    ----------
    batch
        B jets.
    matrices
        (n, 4, 4) or (n, B, 4, 4).

    Raises
    ------
    DataError
        Another shape.

    Examples
    --------
    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0]]])
    >>> batch = JetBatch(p4, torch.ones(1, 1, dtype=bool), torch.zeros(1, 1, 10), p4[:, 0])
    >>> multiply(batch, 2 * torch.eye(4)[None]).p4
    tensor([[[10.,  6.,  0.,  8.]]])
    """
    elements = _per_jet("matrices", matrices, batch, (4, 4)).double()
    return _apply(batch, lambda p4: p4 @ elements.mT)


def _per_jet(name: str, values: Tensor, batch: JetBatch, shape: tuple[int, ...]) -> Tensor:
    """Return values (n, *shape) or (n, B, *shape) on the batch's device as (n, 1 or B, *shape)."""
    n, jets = (len(values) if values.ndim else 0), len(batch)
    if tuple(values.shape) not in {(n, *shape), (n, jets, *shape)}:
        tail = "".join(f", {size}" for size in shape)
        one = f"(n{tail})" if tail else "(n,)"
        raise DataError(
            f"{name} have shape {tuple(values.shape)}; expected {one} or, for these jets, (n, {jets}{tail})"
        )
    values = values.to(batch.device)
    return values if values.ndim == len(shape) + 2 else values[:, None]


def _directions(batch: JetBatch, direction: Tensor | str, n: int) -> Tensor:
    """Return unit vectors, float64, that broadcast against (n, B, 3)."""
    if isinstance(direction, str):
        if direction not in ("beam", "jet"):
            raise DataError(f"direction is {direction!r}; expected 'beam', 'jet' or unit vectors")
        if direction == "jet":
            return jet_axes(batch)[:, 2]
        return torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64, device=batch.device)
    jets, shape = len(batch), tuple(direction.shape)
    if shape not in {(3,), (jets, 3), (n, jets, 3)}:
        raise DataError(f"direction has shape {shape}; expected (3,), ({jets}, 3) or ({n}, {jets}, 3)")
    vectors = direction.to(batch.device, torch.float64)
    length: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    if not torch.allclose(length, torch.ones_like(length), atol=1e-5):
        raise DataError("some directions are not of unit length; divide them by their norms")
    return vectors / length


def _turned(p4: Tensor, elements: Tensor) -> Tensor:
    """Return four-momenta (…, B, N, 4) under (n, B or 1, 3, 3) elements of O(3), as (n, B, N, 4)."""
    # p → g p on row vectors is p gᵀ. A matrix product would round the momenta to 16 bits under autocast, and on an
    # accelerator to the 11 of TF32 where a program allows that.
    with torch.autocast(p4.device.type, enabled=False):
        moved = torch.matmul(p4[..., 1:], elements.mT) if p4.is_cpu else _by_columns(p4[..., 1:], elements)
    energy = p4[..., :1].expand(*moved.shape[:-1], 1)
    return torch.cat([energy, moved], dim=-1)


def _by_columns(vectors: Tensor, elements: Tensor) -> Tensor:
    """Return vectors (…, B, N, 3) under matrices (n, B or 1, 3, 3), as (n, B, N, 3), without a matrix product."""
    x, y, z = (vectors[..., place, None] * elements[..., None, :, place] for place in range(3))
    return x + y + z


def _boosted(p4: Tensor, direction: Tensor, factor: Tensor) -> Tensor:
    """Return four-momenta (…, B, N, 4) with E ± p∥ times factor^±1: directions (…, B or 1, 3), factors (…, B or 1)."""
    moved: Tensor = boosted(p4, direction[..., None, :], factor[..., None], torch)
    return moved


def _apply(batch: JetBatch, move: Callable[[Tensor], Tensor], *, dtype: torch.dtype = torch.float64) -> JetBatch:
    """Return the jets with momenta (B, N, 4) moved in a dtype to (n, B, N, 4), and all the rest repeated n times."""
    p4, jet_p4 = move(batch.p4.to(dtype)), move(batch.jet_p4[:, None].to(dtype))
    n, jets = p4.shape[:2]

    def repeat(tensor: Tensor) -> Tensor:
        return tensor.expand(n, *tensor.shape).reshape(n * jets, *tensor.shape[1:])

    moved = batch.replace(
        p4=p4.flatten(0, 1).to(batch.dtype),
        mask=repeat(batch.mask),
        scalars=repeat(batch.scalars),
        jet_p4=jet_p4[:, :, 0].flatten(0, 1).to(batch.dtype),
        label=None if batch.label is None else repeat(batch.label),
        columns={name: repeat(column) for name, column in batch.columns.items()},
        inputs={name: repeat(one) for name, one in batch.inputs.items()},
    )
    return follow(batch, moved)
