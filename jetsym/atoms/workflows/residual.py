"""What phonons take for granted: a cell without stress; and the mesh that they are counted on."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from jetsym.atoms.calculated import GPA
from jetsym.atoms.workflows.forbidden import Spurious
from jetsym.errors import ConfigError, is_positive, shorten

__all__ = ["STRAINED", "expect_mesh", "largest_stress", "stress_said"]

#: Stress, in GPa, above which the cell is strained: in a crystal with a bulk modulus of 20 GPa it changes lengths by
#: 0.3 %. A cell that was relaxed to forces of 0.01 eV/Å is below it.
STRAINED = 0.2


def largest_stress(found: Spurious) -> float | None:
    """Return the largest component of the stress of the cell as it is used, in GPa; None where none is known."""
    return None if found.stress is None else float(np.abs(found.stress).max()) * GPA


def stress_said(found: Spurious) -> str | None:
    """Say that the cell is strained, and what relaxes it; None where it is not, or that is not known.

    Examples
    --------
    >>> pressed = Spurious(0.0, 0.0, 0.0, None, None, None, stress=[[-0.01, 0, 0], [0, -0.01, 0], [0, 0, -0.01]])
    >>> stress_said(pressed)[:61]
    'The stress of the cell is up to 1.6 GPa, at a pressure of 1.6'
    """
    size = largest_stress(found)
    if size is None or size <= STRAINED:
        return None
    pressure = -float(np.trace(found.stress)) * GPA / 3  # type: ignore[arg-type]  # which is known
    return (
        f"The stress of the cell is up to {size:.2g} GPa, at a pressure of {pressure:.2g} GPa, above {STRAINED:g} GPa: "
        "unless that is meant, frequencies are those of a strained cell; relax it with the same potential first "
        "(jetsym relax STRUCTURE --cell --out relaxed.json, then phonons of relaxed-plain.xyz)."
    )


def expect_mesh(mesh: Any) -> float | list[int]:
    """Return the mesh as phonopy takes it: a length in Å, or the points along three vectors.

    Raises
    ------
    ConfigError
        It is neither.

    Examples
    --------
    >>> expect_mesh(30), expect_mesh((10, 10, 8))
    (30, [10, 10, 8])
    """
    try:
        if isinstance(mesh, Sequence | np.ndarray) and not isinstance(mesh, str):
            points = [operator.index(n) for n in mesh]
            if len(points) == 3 and min(points) > 0:
                return points
        elif is_positive(mesh):
            return mesh  # type: ignore[no-any-return]  # a number
    except TypeError:
        pass
    raise ConfigError(
        f"mesh is {shorten(mesh)}; expected one number, a length in Å, or three numbers of points, such as [10, 10, 10]"
    )
