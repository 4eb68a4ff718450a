"""What acts on jets: elements of O(3), on lab momenta, before any feature is computed.

An element moves the three-momenta of the constituents and of the jet axis together and leaves energies alone; the
order of the particles is kept. Features are recomputed from the moved momenta inside the model.
"""

from __future__ import annotations

import torch
from torch import Tensor

from jetsym.errors import DataError
from jetsym.jets.batch import JetBatch

__all__ = ["HELD_FIXED", "rotate"]

#: Scalars that have no law under a rotation (they are measured about the beam line) and are held fixed by
#: :func:`rotate`; a report on a model that uses them should say so. Charge and the particle flags are invariant.
HELD_FIXED = ("d0val", "d0err", "dzval", "dzerr")


def rotate(batch: JetBatch, matrices: Tensor) -> JetBatch:
    """Apply elements of O(3) to the lab momenta of jets.

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
    n, jets = len(matrices), len(batch)
    if tuple(matrices.shape) not in {(n, 3, 3), (n, jets, 3, 3)}:
        raise DataError(
            f"matrices have shape {tuple(matrices.shape)}; expected (n, 3, 3) or, for these jets, (n, {jets}, 3, 3)"
        )
    # p → g p on row vectors is p gᵀ; a missing jet axis broadcasts.
    transposed = matrices.to(device=batch.device, dtype=batch.dtype).mT
    if transposed.ndim == 3:
        transposed = transposed[:, None]
    constituents = _move(batch.p4, transposed)
    axes = _move(batch.jet_p4[:, None], transposed)

    def repeat(tensor: Tensor) -> Tensor:
        return tensor.expand(n, *tensor.shape).reshape(n * jets, *tensor.shape[1:])

    return batch.replace(
        p4=constituents,
        mask=repeat(batch.mask),
        scalars=repeat(batch.scalars),
        jet_p4=axes[:, 0],
        label=None if batch.label is None else repeat(batch.label),
        columns={name: repeat(column) for name, column in batch.columns.items()},
    )


def _move(p4: Tensor, transposed: Tensor) -> Tensor:
    """(B, N, 4) four-momenta under (n, B or 1, 3, 3) transposed elements, as (n·B, N, 4)."""
    # Under autocast a matrix product would round the momenta to 16 bits.
    with torch.autocast(p4.device.type, enabled=False):
        moved = torch.matmul(p4[..., 1:], transposed)
    energy = p4[..., :1].expand(*moved.shape[:-1], 1)
    return torch.cat([energy, moved], dim=-1).flatten(0, 1)
