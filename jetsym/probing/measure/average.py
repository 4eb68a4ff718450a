"""Averaging a model over the orbit of its inputs: an exactly equivariant prediction, and what it gains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import ProbeError, expect_at_least
from jetsym.probing.forward.session import Session
from jetsym.probing.kinds import check_law, representation_of
from jetsym.probing.measure.deviation import Deviation
from jetsym.probing.measure.orbit import deviations_along, orbit_of
from jetsym.probing.options import AUTO
from jetsym.spectrum import group_of
from jetsym.spectrum.representations import Kind
from jetsym.symmetry import Axis, GroupName, Symmetry, group_names

__all__ = ["AccuracySplit", "OrbitAverage", "accuracy_split", "orbit_average"]


@dataclass(frozen=True, eq=False)
class OrbitAverage:
    """One output averaged over the orbit of every input.

    Parameters
    ----------
    mean
        (samples, …) f̄ = ∫ ρ(g)⁻¹ f(g·x) dμ in the layout and unit of the output, tokens behind the samples; logits
        are centred over classes, padded tokens are zero.
    squared_error
        (samples,) A² = ∫ ‖ρ(g)⁻¹ f(g·x) − f̄‖² dμ, summed over components and real tokens.
    mask
        (samples, tokens) bool, True for real tokens; None where the output has no padding.
    """

    mean: NDArray[Any]
    squared_error: NDArray[np.float64]
    mask: NDArray[np.bool_] | None


@dataclass(frozen=True)
class AccuracySplit:
    """The accuracy of a model as it is, and without its equivariance error.

    Parameters
    ----------
    mse
        ⟨RMSE²⟩: mean squared error per component, over inputs and orientations, of the model as it is.
    mse_of_average
        RMSE²[f̄]: the same of the orbit average.
    error
        A² per component, so that mse = mse_of_average + error.
    """

    mse: float
    mse_of_average: float
    error: float


def orbit_average(
    model: Any,
    inputs: Any = None,
    *,
    group: str = GroupName.O3,
    frame: str | None = None,
    axis: Axis | None = None,
    outputs: Mapping[str, Kind | None] | None = None,
    bandwidth: int = 4,
    moves: Mapping[Any, Any] | None = None,
    action: Callable[[Any, Any], Any] | None = None,
    call: Callable[[Any, Any], Any] | None = None,
    limit: int = 64,
    device: str | None = None,
    batch_size: int | str = "auto",
) -> dict[str, OrbitAverage]:
    """Average predictions over the group: f̄(x) = ∫ ρ(g)⁻¹ f(g·x) dμ, which is exactly equivariant.

    Parameters
    ----------
    model, inputs, group, frame, axis, outputs, moves, action, call, limit, device, batch_size
        As for :func:`jetsym.probe`.
    bandwidth
        L, the largest λ in the outputs along the orbit. The integrand ρ(g)⁻¹ f(g·x) has bandwidth L + λ_α, so f̄ needs
        a rule of degree L + λ_α only; the rule here has degree 2 · max(L, λ_α), which A² needs. Content beyond L leaves
        f̄ equivariant up to what aliases.

    Returns
    -------
    Output name -> :class:`OrbitAverage`.

    Raises
    ------
    ProbeError
        An option or an output that cannot be used.

    Examples
    --------
    The average of a model that adds a fixed direction to a vector is the vector:

    >>> points = np.random.default_rng(0).normal(size=(4, 3))
    >>> average = orbit_average(lambda x: x + [0, 0, 1], points, outputs={"force": "vector"}, bandwidth=1)["force"]
    >>> bool(np.allclose(average.mean, points)), average.squared_error.round(12)
    (True, array([1., 1., 1., 1.]))
    """
    symmetry = Symmetry.parse(group, frame, axis, error=ProbeError, groups=group_names(compact=True))
    expect_at_least("bandwidth", bandwidth, 0, ProbeError)
    expect_at_least("limit", limit, 1, ProbeError)
    element = group_of(symmetry)
    options: dict[str, Any] = {"call": call, "action": action, "device": device, "batch_size": batch_size}
    session = Session.of(model, inputs, outputs, moves=moves, layers=[], **options)
    l_max = max([bandwidth, *(representation_of(kind).lam for kind in session.kinds.values())])
    orbit = orbit_of(element, method=AUTO, l_max=l_max, n_rotations=None, seed=session.seed)
    loaded = session.domain.load(inputs, limit=limit, model=session.model)
    loaded, acting = session.act(loaded, symmetry)
    check_law(session.kinds, acting)
    with session.open(loaded, acting) as (running, placed):
        orbit.settle(running, placed)
        if not running.outputs:
            raise ProbeError(f"outputs={dict(outputs or {})}: none has a law to average by; say what one of them is")
        found = deviations_along(running, placed, orbit)
    return {name: _joined(parts) for name, parts in found.items()}


def _joined(parts: Sequence[Deviation]) -> OrbitAverage:
    masks = _padded([part.mask for part in parts if part.mask is not None])
    return OrbitAverage(
        mean=np.concatenate(_padded([part.average for part in parts])),
        squared_error=np.concatenate([part.squared for part in parts]),
        mask=np.concatenate(masks) if masks else None,
    )


def _padded(arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Pad arrays (samples, tokens, …) with zeros up to the largest number of tokens; others stay as they are."""
    if len({array.shape[1:2] for array in arrays}) < 2:
        return list(arrays)
    most = max(array.shape[1] for array in arrays)
    return [np.pad(x, [(0, 0), (0, most - x.shape[1]), *[(0, 0)] * (x.ndim - 2)]) for x in arrays]


def accuracy_split(average: OrbitAverage, target: NDArray[Any]) -> AccuracySplit:
    """Split the mean squared error of a model into that of its orbit average and its equivariance error.

    For a target that is itself equivariant, t(g·x) = ρ(g) t(x), the two are orthogonal: over inputs and orientations
    ⟨RMSE²⟩ = RMSE²[f̄] + A², per component (arXiv:2603.24638). A² is the gain of averaging at inference.

    Parameters
    ----------
    average
        From :func:`orbit_average`.
    target
        Array of the shape of ``average.mean``, for the inputs as they are; for logits centred over classes. Entries of
        padded tokens are not looked at.

    Raises
    ------
    ProbeError
        The target has another shape.

    Examples
    --------
    >>> points = np.random.default_rng(0).normal(size=(4, 3))
    >>> average = orbit_average(lambda x: x + [0, 0, 1], points, outputs={"force": "vector"}, bandwidth=1)["force"]
    >>> split = accuracy_split(average, 1.5 * points)
    >>> round(split.error, 12) == round(1 / 3, 12), np.isclose(split.mse_of_average, 0.25 * (points**2).mean())
    (True, np.True_)
    """
    if np.shape(target) != average.mean.shape:
        raise ProbeError(f"the target has shape {np.shape(target)}; expected that of the output, {average.mean.shape}")
    squares = np.abs(average.mean - np.asarray(target)) ** 2
    if average.mask is not None:
        squares = squares[average.mask]
    mse_of_average = float(squares.mean())
    error = float(average.squared_error.sum() / squares.size)
    return AccuracySplit(mse=mse_of_average + error, mse_of_average=mse_of_average, error=error)
