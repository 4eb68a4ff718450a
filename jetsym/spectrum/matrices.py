"""Matrices of representations: of irreps, of Cartesian tensors and of functions, and what lies between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import SpectrumError
from jetsym.spectrum.irreps import Irrep
from jetsym.spectrum.quadrature import axis_matrices, product_rule
from jetsym.spectrum.wigner import real_wigner_d

__all__ = [
    "CARTESIAN",
    "EXACT",
    "fault_of",
    "given_matrices",
    "intertwiner",
    "intertwiners",
    "irrep_matrices",
    "rotation_to_z",
]

#: How far matrices that a function gives may be from a representation.
EXACT = 1e-5
#: Norm below which what is left of a random matrix is rounding.
NOTHING = 1e-3


def irrep_matrices(irrep: Irrep, elements: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute D^λσ(g) of orthogonal matrices (…, 3, 3): D^λσ(−R) = p D^λ(R) with the parity p = σ(−1)^λ.

    Parameters
    ----------
    irrep
        (λ, σ); without a sign the inversion does nothing.
    elements
        (…, 3, 3) orthogonal matrices.

    Returns
    -------
    (…, 2λ+1, 2λ+1) float64 array.

    Examples
    --------
    >>> irrep_matrices(Irrep(0, -1), -np.eye(3))  # a pseudoscalar changes sign
    array([[-1.]])
    """
    determinant = np.sign(np.linalg.det(elements))[..., None, None]
    sign = np.where(determinant < 0, irrep.parity or 1, 1).astype(float)
    return sign * real_wigner_d(irrep.lam, elements * determinant) if irrep.lam else sign


def given_matrices(
    function: Callable[[NDArray[np.float64]], Any], elements: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return ρ(g) (…, d, d) as a function gives it for one matrix after the other."""
    flat = elements.reshape(-1, *elements.shape[-2:])
    each = [np.asarray(function(element), dtype=np.float64) for element in flat]
    if wrong := [one for one in each if one.ndim != 2 or one.shape != each[0].shape or len(set(one.shape)) != 1]:
        raise SpectrumError(f"gives {wrong[0].tolist()} of shape {wrong[0].shape}")
    found: NDArray[np.float64] = np.stack(each)
    return found.reshape(*elements.shape[:-2], *found.shape[1:])


def fault_of(
    function: Callable[[NDArray[np.float64]], Any], elements: NDArray[np.float64], *, closes: bool = True
) -> str | None:
    """Return what keeps matrices that a function gives from being an orthogonal representation, if anything does."""
    others = np.roll(elements, 1, axis=0)
    try:
        own, theirs = given_matrices(function, elements), given_matrices(function, others)
        both = given_matrices(function, elements @ others) if closes else own @ theirs
    except Exception as error:  # whatever the function raises for elements that it does not know
        return f"it cannot be called with all its elements ({error})"
    if not np.isfinite(own).all() or (apart := np.abs(own @ theirs - both).max()) > EXACT:
        return f"ρ(g) ρ(h) is not ρ(gh), by {apart:.1g}" if np.isfinite(own).all() else "it is not finite"
    if (apart := np.abs(own @ np.swapaxes(own, 1, 2) - np.eye(own.shape[-1])).max()) > EXACT:
        return (
            f"its matrices are not orthogonal, by {apart:.1g}; the error A needs ρ⁻¹ = ρᵀ and a norm that ρ keeps, so "
            "that outputs are to be given in an orthonormal basis"
        )
    return None


def intertwiner(irrep: Irrep, cartesian: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the rows of an irrep that a Cartesian tensor holds once."""
    rule = product_rule(irrep.lam + 1)  # degree 2λ+2, enough for λ plus the two factors of a rank-2 tensor
    return next(intertwiners(real_wigner_d(irrep.lam, rule.rotations), cartesian(rule.rotations), rule.weights))


def intertwiners(
    irrep: NDArray[np.float64], whole: NDArray[np.float64], weights: NDArray[np.float64]
) -> Iterator[NDArray[np.float64]]:
    """Yield rows Q with D(g) Q = Q ρ(g) and Q Qᵀ = 1, each orthogonal to those before: ∫ D(g) M ρ(g)ᵀ dμ for some M.

    By Schur's lemma Q Qᵀ is a multiple of 1 for any irrep D, (n, d, d), of ρ, (n, k, k).
    """
    rng, left = np.random.default_rng(0), np.eye(whole.shape[-1])
    while np.trace(left) > irrep.shape[-1] - 0.5:
        start = rng.normal(size=(irrep.shape[-1], whole.shape[-1])) @ left
        rows = np.einsum("n,nab,bc,ndc->ad", weights, irrep, start, whole, optimize=True)
        if np.linalg.norm(rows) < NOTHING:
            return
        rows = rows / np.linalg.norm(rows) * np.sqrt(len(rows))
        left = left - rows.T @ rows
        yield rows


def rotation_to_z(axis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a rotation (3, 3) that takes a unit axis to z: by π about the direction between the two.

    An axis that points down is rotated up first, as next to −z that direction would be lost to rounding.
    """
    over = np.diag([1.0, -1.0, -1.0]) if axis[2] < 0 else np.eye(3)
    between = over @ axis + [0.0, 0.0, 1.0]
    return axis_matrices(between / np.linalg.norm(between), np.array(np.pi)) @ over


def _with_energy(rotations: NDArray[np.float64]) -> NDArray[np.float64]:
    result = np.zeros((*rotations.shape[:-2], 4, 4))
    result[..., 0, 0], result[..., 1:, 1:] = 1.0, rotations
    return result


#: Name -> ρ(R) of proper rotations on flattened Cartesian components.
CARTESIAN: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "vector": lambda r: r,
    "pseudovector": lambda r: r,
    "rank2": lambda r: np.einsum("...ac,...bd->...abcd", r, r).reshape(*r.shape[:-2], 9, 9),
    "four-vector": _with_energy,
}
