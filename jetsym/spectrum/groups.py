"""The compact groups whose spectra can be measured: their irreps, elements and rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from jetsym.arguments import at_least, checked, shaped
from jetsym.errors import ConfigError, SpectrumError, expect_a, shorten
from jetsym.spectrum.finite import FiniteGroup
from jetsym.spectrum.irreps import Irrep
from jetsym.spectrum.quadrature import Quadrature, axis_matrices, circle_rule, icosahedral_rule, product_rule
from jetsym.spectrum.wigner import characters, mode_characters
from jetsym.symmetry import GroupName, NamedGroup, Symmetry, register

__all__ = ["O3", "SO2", "SO3", "Group", "group_of", "register_group"]

#: The rules of SO(3) and O(3) by name.
RULES = {"lebedev": product_rule, "icosahedral": icosahedral_rule}


class SO2:
    """Rotations about an axis. Irreps are the modes m = 0, 1, …; elements are 3×3 rotation matrices.

    A real response is u(φ) = Σ_m c_m e^{imφ} with c_−m = c_m*, so m and −m hold the same power and are reported
    together: B_0 = ‖c_0‖² and B_m = 2‖c_m‖² for m > 0. Then Σ_m B_m = N. In other words the real irrep m > 0, of
    dimension 2 and character 2 cos mφ, has the projector with kernel 2 cos m(φ − φ′): half of dimension times
    character, as over the complex numbers it falls apart into two irreps.

    Parameters
    ----------
    axis
        "x", "y", "z", or a vector (3,) of any length.

    Raises
    ------
    SpectrumError
        Another name, or a vector without a direction.

    Examples
    --------
    >>> SO2("z").irreps(2)[2].dimension, len(SO2([1, 1, 0]).quadrature(4))
    (2, 17)
    """

    name = GroupName.SO2
    has_inversion = False

    def __init__(self, axis: str | Sequence[float] | NDArray[np.float64] = "z") -> None:
        named = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}
        try:
            vector = np.asarray(named[axis] if isinstance(axis, str) else axis, dtype=float)
        except (LookupError, TypeError, ValueError):
            vector = np.full(0, np.nan)
        if vector.shape != (3,) or not 0 < np.linalg.norm(vector) < np.inf:
            raise SpectrumError(
                f"axis is {shorten(axis)}; expected 'x', 'y', 'z' or three finite numbers, not all zero"
            )
        self.axis: NDArray[np.float64] = vector / np.linalg.norm(vector)

    @checked(SpectrumError, l_max=at_least(0))
    def irreps(self, l_max: int) -> tuple[Irrep, ...]:
        """Return the modes m = 0 … l_max."""
        return tuple(Irrep(m, 0) for m in range(l_max + 1))

    @checked(SpectrumError, l_max=at_least(0))
    def quadrature(self, l_max: int, *, degree: int | None = None) -> Quadrature:
        """Return equispaced angles, 4·l_max + 1 by default; see :func:`jetsym.spectrum.quadrature.circle_rule`."""
        return circle_rule(l_max, self.axis, degree=degree)

    @checked(SpectrumError, shape=at_least(0))
    def rotations(self, shape: int | tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
        """Draw rotations (*shape, 3, 3) by angles uniform on [0, 2π)."""
        return axis_matrices(self.axis, rng.uniform(0, 2 * np.pi, size=shape))

    @checked(SpectrumError, n=at_least(0))
    def sample(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draw n Haar-uniform elements (n, 3, 3) of the group."""
        return self.rotations(n, rng)

    @checked(SpectrumError, l_max=at_least(0), rotations=shaped("...", 3, 3))
    def kernels(self, l_max: int, rotations: Any) -> Any:
        """Return 1 and 2 cos mφ, kernels of the projectors on m = 0 … l_max at rotations (…, 3, 3), as (…, l_max+1)."""
        return mode_characters(l_max, rotations)

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{x:g}' for x in self.axis)})"


class SO3:
    """Proper rotations. Irreps λ = 0, 1, …; elements are 3×3 rotation matrices."""

    name = GroupName.SO3
    has_inversion = False
    axis = None

    @checked(SpectrumError, l_max=at_least(0))
    def irreps(self, l_max: int) -> tuple[Irrep, ...]:
        """Return all irreps up to l_max, by rising λ."""
        return tuple(Irrep(lam) for lam in range(l_max + 1))

    @checked(SpectrumError, l_max=at_least(0))
    def quadrature(
        self, l_max: int, *, degree: int | None = None, rule: Literal["lebedev", "icosahedral"] = "lebedev"
    ) -> Quadrature:
        """Return a rule of proper rotations for l_max.

        Parameters
        ----------
        l_max
            Largest λ to resolve.
        degree
            Exactness degree, at least and by default 2·l_max.
        rule
            "lebedev", :func:`~jetsym.spectrum.quadrature.product_rule`, for any l_max; or "icosahedral",
            :func:`~jetsym.spectrum.quadrature.icosahedral_rule`, 60 rotations of degree 5 for l_max ≤ 2.

        Raises
        ------
        SpectrumError
            Another name, or a rule that does not reach the degree.

        Examples
        --------
        >>> len(SO3().quadrature(2)), len(SO3().quadrature(2, degree=5)), len(SO3().quadrature(2, rule="icosahedral"))
        (70, 84, 60)
        """
        return RULES[rule](l_max, degree=degree)

    @checked(SpectrumError, shape=at_least(0))
    def rotations(self, shape: int | tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
        """Draw Haar-uniform proper rotations (*shape, 3, 3), from normalised Gaussian quaternions.

        Examples
        --------
        >>> SO3().rotations(5, np.random.default_rng(0)).shape
        (5, 3, 3)
        """
        shape = (shape,) if isinstance(shape, int) else shape
        q = rng.normal(size=(*shape, 4))
        w, x, y, z = np.moveaxis(q / np.linalg.norm(q, axis=-1, keepdims=True), -1, 0)
        rows = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
        return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)

    @checked(SpectrumError, n=at_least(0))
    def sample(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draw n Haar-uniform elements (n, 3, 3) of the group."""
        return self.rotations(n, rng)

    @checked(SpectrumError, l_max=at_least(0), rotations=shaped("...", 3, 3))
    def kernels(self, l_max: int, rotations: Any) -> Any:
        """Return d_λ χ_λ, kernels of the projectors on λ = 0 … l_max at rotations (…, 3, 3), as (…, l_max+1)."""
        xp = array_namespace(rotations)
        chi = characters(l_max, rotations)
        return chi * (2 * xp.arange(l_max + 1, dtype=chi.dtype) + 1)

    def __repr__(self) -> str:
        return f"{self.name}()"


class O3(SO3):
    """Rotations and inversion. Irreps (λ, ±); elements are orthogonal 3×3 matrices, R and −R.

    Rules and random draws hold the proper rotations only: R and −R are always evaluated together, because the halves
    (u(R) ± u(−R))/2 then split the parity exactly.
    """

    name = GroupName.O3
    has_inversion = True

    @checked(SpectrumError, l_max=at_least(0))
    def irreps(self, l_max: int) -> tuple[Irrep, ...]:
        """Return all irreps up to l_max, by rising λ, true tensors before pseudotensors."""
        return tuple(Irrep(lam, sigma) for lam in range(l_max + 1) for sigma in (1, -1))

    @checked(SpectrumError, n=at_least(0))
    def sample(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draw n Haar-uniform elements (n, 3, 3) of the group, each proper or improper with equal chance."""
        return cast("NDArray[np.float64]", self.rotations(n, rng) * rng.choice([-1.0, 1.0], size=(n, 1, 1)))


#: Any of the groups.
Group = SO2 | SO3 | FiniteGroup

#: Axes that the abstract group has along z: the beam, and those of each input's own.
_ALONG_Z = ("beam", "jet", "random")
#: Name -> the group of a symmetry of that name.
_GROUPS: dict[str, Callable[[Symmetry], Group]] = {
    GroupName.SO2: lambda symmetry: SO2("z" if symmetry.axis in _ALONG_Z or symmetry.axis is None else symmetry.axis),
    GroupName.SO3: lambda symmetry: SO3(),
    GroupName.O3: lambda symmetry: O3(),
}


@checked(SpectrumError)
def group_of(symmetry: Symmetry) -> Group:
    """Return the compact group of a symmetry.

    Raises
    ------
    SpectrumError
        The group is not compact, or is not registered here.

    Examples
    --------
    >>> group_of(Symmetry("O3")), group_of(Symmetry("SO2")), group_of(Symmetry.parse("SO2", axis=[0, 3, 4]))
    (O3(), SO2(0, 0, 1), SO2(0, 0.6, 0.8))
    """
    if symmetry.group not in _GROUPS:
        raise SpectrumError(f"group is {symmetry.group!r}, which has no spectrum; expected one of {', '.join(_GROUPS)}")
    return _GROUPS[symmetry.group](symmetry)


@checked()
def register_group(group: FiniteGroup, *, words: str | None = None) -> None:
    """Let a group be named as ``group=…`` of probes, averages, augmentations and penalties.

    Rotations and reflections take a frame, "lab" or "rest"; Lorentz transformations act in the lab.

    Parameters
    ----------
    group
        Elements, weights and real irreps.
    words
        What acts, for a sentence, such as "quarter turns about the beam"; the name if not given.

    Raises
    ------
    ConfigError
        Another group has that name, or it is not given by its elements.
    """
    expect_a("group", group, FiniteGroup)
    known = _GROUPS.get(group.name)
    if known is not None and not group.is_same(known(Symmetry(group.name))):
        raise ConfigError(f"group is {group.name!r}, a name that another group has; expected another name")
    is_of = {"has_inversion": group.has_reflections, "on_four_vectors": group.on_four_vectors}
    register(NamedGroup(group.name, words or group.name, () if group.on_four_vectors else ("frame",), **is_of))
    _GROUPS[group.name] = lambda symmetry: group
