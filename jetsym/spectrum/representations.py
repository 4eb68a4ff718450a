"""Representations ρ(g) of outputs: scalars, vectors, tensors and their irreducible blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import SpectrumError
from jetsym.spectrum.finite import FiniteGroup
from jetsym.spectrum.groups import Group
from jetsym.spectrum.irreps import Irrep, parse_irreps
from jetsym.spectrum.matrices import (
    CARTESIAN,
    EXACT,
    fault_of,
    given_matrices,
    intertwiner,
    intertwiners,
    irrep_matrices,
    rotation_to_z,
)
from jetsym.spectrum.quadrature import axis_matrices, product_rule
from jetsym.spectrum.wigner import real_wigner_d

__all__ = ["NAMED", "Kind", "Representation", "representation", "write_irreps"]

#: A name of :data:`NAMED`, (λ, σ) of a spherical tensor, irreps as e3nn writes them, "8x0e+8x1o", or a function
#: R → ρ(R) that gives matrices.
Kind = str | tuple[int, int] | Callable[[NDArray[np.float64]], Any]

#: P: v in the axes of e3nn, its x, y, z being our y, z, x.
OUR_AXES = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
#: Largest mode that matrices which a function gives are looked at for.
MODES = 32

#: Name -> shape of one object, and its irreducible blocks under O(3).
NAMED: dict[str, tuple[tuple[int, ...], tuple[Irrep, ...]]] = {
    "logits": ((), (Irrep(0, 1),)),
    "scalar": ((), (Irrep(0, 1),)),
    "pseudoscalar": ((), (Irrep(0, -1),)),
    "vector": ((3,), (Irrep(1, 1),)),
    "pseudovector": ((3,), (Irrep(1, -1),)),
    "rank2": ((3, 3), (Irrep(0, 1), Irrep(1, -1), Irrep(2, 1))),
    "four-vector": ((4,), (Irrep(0, 1), Irrep(1, 1))),
}


@dataclass(frozen=True, eq=False)
class Representation:
    """An orthogonal representation ρ on the last axes of an output, and its irreducible blocks under a group.

    Parameters
    ----------
    name
        "vector", "rank2", … or "(λ,σ)".
    shape
        Shape of one object: (), (3,), (3, 3), (4,) or (2λ+1,).
    blocks
        The irreps it is the direct sum of, in the order of the basis.
    basis
        (dim, dim) orthogonal Q from flattened components to the blocks one after the other:
        Q ρ(g) Qᵀ = diag(D^β(g), …), with D^λ in the order of :func:`~jetsym.spectrum.wigner.real_wigner_d`.
    whole
        The representation of O(3) that this one is the restriction of to rotations about an axis; None for O(3).
    is_proper
        Whether it is one of rotations alone.
    accuracy
        How far its matrices are from those that a function gives.
    function
        What gives the matrices where they are no representation of all rotations; there are no blocks then, but under
        a smaller group.
    """

    name: str
    shape: tuple[int, ...]
    blocks: tuple[Irrep, ...]
    basis: NDArray[np.float64]
    whole: Representation | None = None
    is_proper: bool = False
    accuracy: float = 0.0
    function: Callable[[NDArray[np.float64]], Any] | None = None

    @property
    def lam(self) -> int:
        """Largest λ of the blocks, λ_α: ρ(g)⁻¹ f(g·x) has a bandwidth larger than that of f by so much."""
        return max((block.lam for block in self.blocks), default=1)

    @property
    def slices(self) -> tuple[slice, ...]:
        """Slices of the components in the basis, one for each block."""
        stops = np.cumsum([block.dimension for block in self.blocks])
        return tuple(
            slice(int(stop) - block.dimension, int(stop)) for block, stop in zip(self.blocks, stops, strict=True)
        )

    def matrices(self, elements: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute ρ(g) (…, dim, dim) on flattened components, for orthogonal matrices (…, 3, 3), proper or not.

        Examples
        --------
        >>> representation("pseudovector").matrices(-np.eye(3)).round(12) + 0.0  # the inversion leaves it alone
        array([[1., 0., 0.],
               [0., 1., 0.],
               [0., 0., 1.]])
        """
        if self.function is not None:
            return given_matrices(self.function, elements)
        diagonal = np.zeros((*elements.shape[:-2], *self.basis.shape))
        for block, place in zip(self.block_matrices(elements), self.slices, strict=True):
            diagonal[..., place, place] = block
        return self.basis.T @ diagonal @ self.basis

    def block_matrices(self, elements: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Compute D^β(g) (…, d_β, d_β) of every block, for orthogonal matrices (…, 3, 3) of the group."""
        if self.whole is None:
            return [irrep_matrices(block, elements) for block in self.blocks]
        whole = self.basis @ self.whole.matrices(elements) @ self.basis.T
        return [whole[..., place, place] for place in self.slices]

    def under(self, group: Group) -> Representation:
        """Restrict the representation to a group: as it is for SO(3) and O(3), split into its irreps for others.

        A block (λ, σ) of O(3) holds every mode m ≤ λ of the rotations about an axis once. In components along that axis
        m = 0 stands alone, and ±m mix with each other.

        Examples
        --------
        >>> from jetsym.spectrum import SO2
        >>> [str(block) for block in representation("four-vector").under(SO2("x")).blocks]
        ['m=0', 'm=0', 'm=1']
        """
        if self.is_proper and (group.has_inversion or (isinstance(group, FiniteGroup) and group.has_reflections)):
            raise SpectrumError(f"{self.name} is a representation of rotations, not of the reflections of {group}")
        if self.function is not None:
            return self._under_smaller(group, self.function)
        if isinstance(group, FiniteGroup):
            return self if group.on_four_vectors else self._split(group)  # those have scalars only
        if group.axis is None:
            return self
        to_z = rotation_to_z(group.axis)
        blocks, rows = [], []
        for irrep, place in zip(self.blocks, self.slices, strict=True):
            along = irrep_matrices(irrep, to_z) @ self.basis[place]
            for m in range(irrep.lam + 1):
                blocks.append(Irrep(m, 0))
                rows.append(along[[irrep.lam - m, irrep.lam + m][: blocks[-1].dimension]])
        return Representation(self.name, self.shape, tuple(blocks), np.concatenate(rows), whole=self)

    def _under_smaller(self, group: Group, function: Callable[[NDArray[np.float64]], Any]) -> Representation:
        """Restrict matrices that a function gives to a group that they are a representation of."""
        rng, closes = np.random.default_rng(0), not isinstance(group, FiniteGroup) or group.is_finite
        if wrong := fault_of(function, group.sample(8, rng), closes=closes):
            raise SpectrumError(f"the function {self.name} gives no representation of {group}: {wrong}")
        if isinstance(group, FiniteGroup):
            return self._split(group)
        if group.axis is None:
            raise SpectrumError(f"the function {self.name} gives no representation of {group} of finite dimension")
        angles = 2 * np.pi * np.arange(4 * MODES + 1) / (4 * MODES + 1)
        turns, weights = axis_matrices(group.axis, angles), np.full(len(angles), 1 / len(angles))
        whole, blocks, rows = self.matrices(turns), list[Irrep](), list[NDArray[np.float64]]()
        for m in range(MODES + 1):
            c, s = np.cos(m * angles), np.sin(m * angles)
            matrices = np.moveaxis(np.array([[c, -s], [s, c]] if m else [[c]]), -1, 0)
            found = list(intertwiners(matrices, whole, weights))
            rows, blocks = rows + found, blocks + [Irrep(m, 0)] * len(found)
        if not rows or len(basis := np.concatenate(rows)) != len(self.basis):
            raise SpectrumError(f"the function {self.name} has modes above {MODES} under {group}; expected none")
        return Representation(self.name, self.shape, tuple(blocks), basis, whole=self)

    def _split(self, group: FiniteGroup) -> Representation:
        """Split the representation into the irreps of a group given by its elements."""
        whole, blocks, rows = self.matrices(group.elements), [], []
        for irrep, matrices in zip(group.irreps(0), group.matrices, strict=True):
            for row in intertwiners(matrices, whole, group.weights):
                blocks.append(irrep)
                rows.append(row)
        if not rows or len(basis := np.concatenate(rows)) != len(self.basis):
            raise SpectrumError(f"{self.name} holds irreps of {group.name} that its table lacks; add all of them")
        return Representation(self.name, self.shape, tuple(blocks), basis, whole=self)

    def to_blocks(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert objects (…, *shape) to components (…, dim) in the basis of the blocks."""
        leading = values.shape[: values.ndim - len(self.shape)]
        return values.reshape(*leading, len(self.basis)) @ self.basis.T

    def from_blocks(self, components: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert components (…, dim) back to objects (…, *shape), the inverse of :meth:`to_blocks`."""
        return (components @ self.basis).reshape(*components.shape[:-1], *self.shape)


def representation(kind: Kind) -> Representation:
    """Return the representation of a kind of output.

    Parameters
    ----------
    kind
        "logits", "scalar" or "pseudoscalar" (component by component), "vector" or "pseudovector" (…, 3) in the order
        x, y, z, "rank2" (…, 3, 3) Cartesian, "four-vector" (…, 4) as (E, px, py, pz), or (λ, σ) for spherical
        tensors (…, 2λ+1) in the order m = −λ … λ of real harmonics, σ = +1 for true and −1 for pseudotensors.

        Irreps as e3nn writes them, "8x0e+8x1o", of features (…, Σ n (2λ+1)) in its order: one irrep after the other,
        the copies of each one after the other, and components along e3nn's axes, whose pole is y: x, y, z for λ = 1.

        Or a function R → ρ(R) of an orthogonal matrix (3, 3), which gives the orthogonal matrix (d, d) that outputs
        (…, d) turn with: ρ(gh) = ρ(g) ρ(h) is checked, and the irreps it holds are found by its characters.

    Raises
    ------
    SpectrumError
        Anything else.

    Examples
    --------
    >>> [str(block) for block in representation("rank2").blocks], representation((2, 1)).shape
    (['(0,+)', '(1,−)', '(2,+)'], (5,))
    >>> representation(lambda r: np.kron(r, r)).name
    '(0,+) ⊕ (1,−) ⊕ (2,+)'
    """
    if callable(kind):
        return _of_function(kind)
    if isinstance(kind, str) and kind in NAMED:
        shape, blocks = NAMED[kind]
        return Representation(kind, shape, blocks, _basis(kind, blocks))
    if isinstance(kind, tuple) and len(kind) == 2 and isinstance(kind[0], int) and kind[0] >= 0 and kind[1] in (1, -1):
        irrep = Irrep(*kind)
        return Representation(str(irrep), (irrep.dimension,), (irrep,), np.eye(irrep.dimension))
    if isinstance(kind, str) and (irreps := parse_irreps(kind)) is not None:
        return _of_irreps(irreps)
    raise SpectrumError(
        f"an output is said to be {kind!r}; expected one of {', '.join(map(repr, NAMED))}, "
        "(λ, σ) with λ ≥ 0 and σ = 1 or −1 for a spherical tensor, or irreps as e3nn writes them, such as '8x0e+8x1o'"
    )


def write_irreps(irreps: Sequence[tuple[int, Irrep]]) -> str:
    """Write irreps as e3nn does.

    Examples
    --------
    >>> write_irreps([(8, Irrep(0, 1)), (2, Irrep(1, -1))])
    '8x0e+2x1e'
    """
    return "+".join(f"{n}x{irrep.lam}{'e' if irrep.parity == 1 else 'o'}" for n, irrep in irreps)


@lru_cache(maxsize=64)
def _of_irreps(irreps: tuple[tuple[int, Irrep], ...]) -> Representation:
    """Return the representation of features in the order of e3nn.

    Its axes are ours in another order: its y is our z, its z our x. Its harmonics at v are ours at P v, which are
    D(P) times ours at v.
    """
    blocks = tuple(irrep for n, irrep in irreps for _ in range(n))
    dim, at = sum(block.dimension for block in blocks), 0
    basis = np.zeros((dim, dim))
    for block in blocks:
        place = slice(at, at + block.dimension)
        basis[place, place] = real_wigner_d(block.lam, OUR_AXES).T
        at = place.stop
    return Representation(write_irreps(irreps), (dim,), blocks, basis)


@lru_cache(maxsize=16)
def _of_function(function: Callable[[NDArray[np.float64]], Any]) -> Representation:
    """Return the representation whose matrices a function gives, of O(3), of rotations, or of what is known later."""
    name = str(getattr(function, "__name__", type(function).__name__))
    try:
        one = given_matrices(function, np.eye(3)[None])[0]
    except SpectrumError as error:
        raise SpectrumError(
            f"the function {name} {error} for the identity; expected that of (d, d), [[1]] for a single number"
        ) from None
    except Exception as error:  # whatever the function raises
        raise SpectrumError(
            f"the function {name} cannot be called with a matrix (3, 3) ({error}); expected ρ(R), (d, d)"
        ) from error
    d = len(one)
    if one.shape != (d, d) or not np.abs(one - np.eye(d)).max(initial=0) < EXACT:
        raise SpectrumError(f"the function {name} gives {one.tolist()} for the identity; expected that of (d, d)")
    rng, angles = np.random.default_rng(0), 2 * np.pi * np.arange(2 * d + 1) / (2 * d + 1)
    drawn = np.linalg.qr(rng.normal(size=(8, 3, 3)))[0]
    proper = drawn * np.sign(np.linalg.det(drawn))[:, None, None]
    for signs in ((1.0, -1.0), (1.0,)):
        if fault_of(function, np.concatenate([sign * proper for sign in signs])):
            continue
        about_z = given_matrices(function, axis_matrices(np.array([0.0, 0.0, 1.0]), angles))
        modes = np.abs(np.fft.rfft(np.trace(about_z, axis1=1, axis2=2))) / len(angles)
        lam = int(np.flatnonzero(modes > 0.5)[-1])
        rule = product_rule(max(1, lam))
        elements = np.concatenate([sign * rule.rotations for sign in signs])
        whole, weights = given_matrices(function, elements), np.tile(rule.weights, len(signs)) / len(signs)
        blocks, rows = list[Irrep](), list[NDArray[np.float64]]()
        for irrep in (Irrep(each, sigma) for each in range(lam + 1) for sigma in (1, -1)[: len(signs)]):
            found = list(intertwiners(irrep_matrices(irrep, elements), whole, weights))
            rows, blocks = rows + found, blocks + [irrep] * len(found)
        if rows and len(basis := np.concatenate(rows)) == d:
            named = " ⊕ ".join(map(str, blocks))
            found_all = Representation(named, (d,), tuple(blocks), basis, is_proper=len(signs) == 1)
            apart = found_all.matrices(proper) - given_matrices(function, proper)
            return replace(found_all, accuracy=float(np.linalg.norm(apart, axis=(1, 2), ord=2).max()))
    return Representation(name, (d,), (), np.eye(d), function=function)


@lru_cache(maxsize=16)
def _basis(name: str, blocks: tuple[Irrep, ...]) -> NDArray[np.float64]:
    if name not in CARTESIAN:
        return np.eye(1)
    return np.concatenate([intertwiner(block, CARTESIAN[name]) for block in blocks])
