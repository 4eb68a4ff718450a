"""Common parts of networks with built-in Lorentz symmetry: inputs that do not move, and references that break it.

A reference is a vector, or a plane, that stays where it is when the jet is moved. A network that sees it keeps the
transformations that leave it as it is and loses the others:

============================  ==============================================  ======================
``beam``                      reference                                       kept of J and K
============================  ==============================================  ======================
``"none"``                    none                                            all
``"spacelike"``               (0, 0, 0, ±1)                                   J_z, K_x, K_y
``"lightlike"``               (1, 0, 0, ±1)                                   J_z
``"timelike"``                (√2, 0, 0, ±1)                                  J_z
``"xyplane"``                 the plane e_x ∧ e_y across the beam             J_z, K_z
============================  ==============================================  ======================

and ``time``, the vector (1, 0, 0, 0), keeps J_x, J_y, J_z.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from jetsym.jets.batch import JetBatch
from jetsym.jets.features import FULL_FEATURES, KINPID_FEATURES, full_features, kinpid_features
from jetsym.jets.models.base import Tagger

__all__ = [
    "BEAMS",
    "SCALAR_SETS",
    "count_scalars",
    "reference_vectors",
    "renewable",
    "scalars",
    "without_references",
]

#: Name of a beam reference -> its vectors (E, x, y, z); that of the plane is none.
BEAMS: dict[str, tuple[tuple[float, float, float, float], ...]] = {
    "none": (),
    "spacelike": ((0, 0, 0, 1), (0, 0, 0, -1)),
    "lightlike": ((1, 0, 0, 1), (1, 0, 0, -1)),
    "timelike": ((2**0.5, 0, 0, 1), (2**0.5, 0, 0, -1)),
    "xyplane": (),
}

#: Name of a set of a particle's scalars -> the function that computes features, and which of its columns these are.
SCALAR_SETS: dict[str, tuple[Callable[[JetBatch], Tensor] | None, slice[int | None, int]]] = {
    "none": (None, slice(0)),
    "pid": (kinpid_features, slice(5, len(KINPID_FEATURES) - 2)),
    "full": (full_features, slice(5, len(FULL_FEATURES) - 2)),
}


def count_scalars(kind: str) -> int:
    """Count the columns of :func:`scalars`.

    Examples
    --------
    >>> [count_scalars(kind) for kind in SCALAR_SETS]
    [0, 6, 10]
    """
    columns = SCALAR_SETS[kind][1]
    return columns.stop - (columns.start or 0)


def scalars(jets: JetBatch, kind: str) -> Tensor:
    """Return what does not move with the momenta, (B, N, F); zero where padded.

    ``kind`` is "none" (F = 0), "pid" (charge and particle flags, F = 6), or "full" (impact parameters as well, which
    have no law under transformations and are held fixed, F = 10).
    """
    compute, columns = SCALAR_SETS[kind]
    return jets.p4[..., :0] if compute is None else compute(jets)[..., columns]


def reference_vectors(beam: str, time: bool) -> Tensor:
    """Return the vectors (R, 4) among the references, in float64.

    Examples
    --------
    >>> reference_vectors("lightlike", True).tolist()
    [[1.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, -1.0], [1.0, 0.0, 0.0, 0.0]]
    """
    vectors = [*BEAMS[beam], *([(1, 0, 0, 0)] if time else [])]
    return torch.tensor(vectors, dtype=torch.float64).view(-1, 4)


def without_references(model: Any) -> dict[str, Tagger]:
    """Copy a network so that its embedding leaves its references out; nothing where it has none."""
    if model.config.beam == "none" and not model.config.time:
        return {}
    other = copy.deepcopy(model)
    other.embedding.reference_weight = 0.0
    return {"reference vectors": other}


def renewable(make: Callable[[], nn.Module]) -> nn.Module:
    """Make a module of another package, by ``make``, with a ``reset_parameters`` that initialises all of it afresh.

    Its parts, whose own initialisers need to be told how, if they have any, are left to that of the whole.
    """
    module = make()
    for part in module.modules():
        part.reset_parameters = _leave  # type: ignore[assignment]
    module.reset_parameters = partial(_renew, module, make)  # type: ignore[assignment]
    return module


def _renew(module: nn.Module, make: Callable[[], nn.Module]) -> None:
    module.load_state_dict(make().state_dict())


def _leave() -> None:
    """Do nothing: the whole has been reset already."""
