"""The local measurement: how fast responses start to change under the six generators of the Lorentz group.

Forward-mode derivatives are exact where there is a graph. What cuts it (``.detach()``, ``torch.no_grad``, numpy, a
function with a derivative of its own that is wrong) makes them silently too small, or wrong, and so they are held
against central differences, which know of no graph. Neither sees jumps of the response (exchanged neighbours, the wrap
of φ, signs), other than those so fine that the differences cross many.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from array_api_compat import array_namespace, device as device_of
from numpy.typing import NDArray
from scipy.linalg import expm
from torch import nn
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from jetsym.errors import ProbeError, is_out_of_memory
from jetsym.probing.forward.calling import in_numbers
from jetsym.probing.forward.closed import has_closed
from jetsym.probing.forward.precision import full_precision
from jetsym.probing.forward.session import Responses, Session
from jetsym.probing.forward.settle import settle
from jetsym.probing.kinds import FOUR_VECTOR
from jetsym.probing.reports.generators import STEP, LocalReport
from jetsym.spectrum import O3, SO3
from jetsym.spectrum.lorentz import GENERATORS
from jetsym.spectrum.responses import prepare, to_numpy
from jetsym.spectrum.result import jackknife_ratio
from jetsym.symmetry import GroupName

__all__ = ["casimir", "measure_generators", "slopes"]

#: How operators say that they have no forward-mode derivative.
COMPLAINTS = ("forward AD", "forward-mode", "jvp", "Jacobian-vector")
#: Multiples of the step, and the weights of f(+) − f(−) there.
STENCIL = ((1, 2 / 3), (2, -1 / 12))
#: Two differences, over one step and over two, that agree to this are those of a smooth response, with no jump between.
SMOOTH = 0.1
#: Part of Σ‖L_X f‖², for any generator, by which forward mode and differences may differ.
AGREE = 0.01
#: Slopes below this part of a response's size per step are rounding.
ROUNDING = 1e-5


class Slope(NamedTuple):
    """The slopes of a response.

    Parameters
    ----------
    squares
        (samples, generators) ‖L_X f‖².
    norm
        (samples,) ‖f‖².
    smooth
        (samples, generators) whether differences over one step and over two agree, and are more than rounding; True
        throughout by forward mode.
    """

    squares: NDArray[np.float64]
    norm: NDArray[np.float64]
    smooth: NDArray[np.bool_]


Slopes = dict[str, Slope]
R = TypeVar("R")


class NoSlopeError(ProbeError):
    """Derivatives are not finite."""


def measure_generators(session: Session, inputs: Any, *, axes: str) -> LocalReport:
    """Measure ‖L_X f‖² of every layer and output for J_x, J_y, J_z, K_x, K_y, K_z.

    L_X f(x) = d/dt f(exp(tX)·x) at t = 0, by forward-mode differentiation, which does not see jumps of the response
    (exchanged neighbours, the wrap of φ, signs). Where an operator has no forward-mode rule, or its derivatives are
    not those of what the model computes, by central differences in float64, which the report says.

    Parameters
    ----------
    session, inputs
        What is measured.
    axes
        "beam" (those of the lab) or "jet" (third axis along each jet).
    """
    start = time.perf_counter()
    found, method, notes = _by_best_method(
        session, inputs, lambda running, placed, forward: _all_slopes(running, placed, axes, forward), axes=axes
    )
    names = tuple(found)
    ratios = [jackknife_ratio(found[name].squares, found[name].norm) for name in names]
    facts = session.facts(inputs)
    meta = {
        **facts,
        "notes": [*facts["notes"], *notes],
        "group": GroupName.LORENTZ,
        "axes": axes,
        "method": method,
        "seconds": time.perf_counter() - start,
    }
    return LocalReport(
        layers=names,
        generators=tuple(GENERATORS),
        squared=np.array([ratio for ratio, _ in ratios]),
        squared_stderr=np.array([stderr for _, stderr in ratios]),
        meta=meta,
    )


def casimir(session: Session, inputs: Any, *, l_max: int, inversion: bool = True) -> dict[str, float]:
    """Measure ∫ Σ_a ‖J_a u‖² dμ over the orbit of each input, over ∫‖u‖² dμ: what Σ λ(λ+1) b_λ is by the spectrum.

    Parameters
    ----------
    session, inputs
        What is measured, on how few inputs.
    l_max
        The orbit is averaged over the rule for l_max, of R and, with ``inversion``, −R: exact up to this bandwidth.
    inversion
        Whether to average over O(3) rather than SO(3).

    Returns
    -------
    Layer or output -> the ratio of sums over inputs.

    Notes
    -----
    On SO(3) Σ_a J_a² is the Casimir operator, whose eigenvalue on the irrep λ is λ(λ+1). The tail beyond l_max weighs
    as λ², so that for a trained network the two sides meet only as l_max grows.
    """
    rule = (O3() if inversion else SO3()).quadrature(l_max)
    rotations, weights = rule.rotations, rule.weights
    if inversion:
        rotations, weights = np.concatenate([rotations, -rotations]), np.concatenate([weights, weights]) / 2

    def sums(running: Session, placed: Any, forward: bool) -> dict[str, tuple[float, float]]:
        domain, samples = session.domain, session.domain.size(placed)
        step = max(1, running.evaluations // (3 * samples))
        total: dict[str, tuple[float, float]] = {}
        for begin in range(0, len(rotations), step):
            part = slice(begin, begin + step)
            with full_precision():
                moved = (session.action or domain.move)(placed, rotations[part])
            share = np.repeat(weights[part], samples)
            found = slopes(running, moved, domain.generators(moved, "beam")[:3], forward)
            for name, item in found.items():
                left, right = total.get(name, (0.0, 0.0))
                total[name] = left + float(share @ item.squares.sum(axis=1)), right + float(share @ item.norm)
        return total

    found, _, _ = _by_best_method(session, inputs, sums)
    return {name: left / right if right else 0.0 for name, (left, right) in found.items()}


def _by_best_method(
    session: Session, inputs: Any, measured: Callable[[Session, Any, bool], Mapping[str, Any]], *, axes: str = "beam"
) -> tuple[dict[str, Any], str, list[str]]:
    """Return what ``measured(session, inputs, forward)`` gives by forward mode, or else by differences; which; and why.

    The derivatives of forward mode are held against differences of all inputs, along the generators of some ``axes``.
    """
    notes: list[str] = []
    if isinstance(session.model, nn.Module) and not has_closed(session.model):  # whose code may lose tangents
        try:
            with session.open(inputs) as (running, placed):
                settle(running, placed)
                result = dict(measured(running, placed, True))
                found = _all_slopes(running, placed, axes, True)
        except NoSlopeError as error:
            notes = [f"{error}. Slopes are central differences."]
        except (RuntimeError, NotImplementedError) as error:
            if isinstance(error, ProbeError) or not any(words in str(error) for words in COMPLAINTS):
                raise
        else:
            checked, dtype = _in_double(
                session, inputs, lambda opened, placed: _all_slopes(opened, placed, axes, False)
            )
            notes = _contradicted(found, checked, AGREE if dtype == "float64" else 10 * AGREE)
            if not notes and not running.differentiates:  # with detached inputs, as a rule
                return result, "forward-mode", notes
    result, dtype = _in_double(session, inputs, lambda opened, placed: dict(measured(opened, placed, False)))
    reason = ", as forward mode cannot be trusted here" if notes else ""
    return result, f"central differences of {STEP:.1e} in {dtype}{reason}", notes


def _in_double(session: Session, inputs: Any, measured: Callable[[Session, Any], R]) -> tuple[R, str]:
    """Return what ``measured(session, inputs)`` gives in double precision, or in that of a model that has only one."""
    if not isinstance(session.model, nn.Module):
        return _measured_with(session, inputs, measured)
    try:
        return _measured_with(replace(session, model=_widened(session, inputs)), inputs, measured)
    except (RuntimeError, TypeError) as error:
        if isinstance(error, ProbeError):
            raise
        return _measured_with(session, inputs, measured)


def _measured_with(session: Session, inputs: Any, measured: Callable[[Session, Any], R]) -> tuple[R, str]:
    with session.open(inputs) as (running, placed):
        settle(running, placed)
        return measured(running, placed), session.domain.dtype_name(placed)


def _contradicted(forward: Slopes, differences: Slopes, tolerance: float) -> list[str]:
    """Return a note on the layers whose forward-mode derivatives are not those of what they compute."""
    wrong = []
    for name, (by_differences, _, smooth) in differences.items():
        if name not in forward:
            continue
        sides = [np.where(smooth, each, 0.0).sum(axis=0) for each in (forward[name].squares, by_differences)]
        off = np.abs(sides[0] - sides[1]) - tolerance * np.maximum(*sides)  # for every generator
        if not (off <= 0).all():
            most = int(off.argmax())
            wrong.append(f"{name} ({sides[0][most]:.3g} against {sides[1][most]:.3g})")
    if not wrong:
        return []
    return [
        f"Forward-mode derivatives are not those of what the model computes in {', '.join(wrong)}: something cuts the "
        "graph (detach, no_grad, numpy, a derivative of its own), or makes steps too fine to be told from a slope. "
        "Slopes are central differences."
    ]


def _widened(session: Session, inputs: Any) -> nn.Module:
    """Return a module in float64, or as it is where a part that runs as one takes no other numbers than its own."""
    wide: nn.Module = in_numbers(session.model, torch.float64)
    if has_closed(wide):
        try:
            with replace(session, model=wide).open(session.domain.select(inputs, slice(0, 1))) as (running, placed):
                running.arrays(placed)
        except Exception as error:  # whatever it says of these numbers
            if is_out_of_memory(error):
                raise
            wide = session.model
    return wide


def _all_slopes(session: Session, inputs: Any, axes: str, forward: bool) -> Slopes:
    """Measure the slopes of all inputs."""
    domain, parts = session.domain, []
    for part in session.parts(inputs, max(1, session.evaluations // len(GENERATORS))):
        some = domain.select(inputs, part)
        parts.append(slopes(session, some, domain.generators(some, axes), forward, by_law=True))
    return {name: Slope(*map(np.concatenate, zip(*(part[name] for part in parts), strict=True))) for name in parts[0]}


def slopes(session: Session, inputs: Any, generators: Any, forward: bool, *, by_law: bool = False) -> Slopes:
    """Return ‖L_X f‖² and ‖f‖² of every layer and output, for generators (k, 1 or samples, 4, 4).

    With ``by_law`` outputs that are four-vectors are to move as X f, which is taken off.
    """
    k, samples = len(generators), session.domain.size(inputs)
    values, derivatives, others = (_by_forward_mode if forward else _by_differences)(session, inputs, generators)
    result: Slopes = {}
    for name, derivative in derivatives.items():
        shaped = derivative.reshape(k, samples, *derivative.shape[1:])
        value = values[name].reshape(-1, samples, *derivative.shape[1:])[:1]
        other = others[name].reshape(shaped.shape) if others else shaped
        if by_law and session.outputs.get(name) == FOUR_VECTOR:
            moved = _times_generators(value, generators)
            shaped, other = shaped - moved, other - moved
        mask = session.real(name, shaped, inputs)
        squares, norm, apart = (
            to_numpy(item.columns.squared_norms(item.cosets[0])).astype(np.float64)
            for item in (
                prepare(None, len(u), u, None, mask=mask, accumulate="float64") for u in (shaped, value, shaped - other)
            )
        )
        if not (np.isfinite(squares).all() and np.isfinite(norm).all()):
            raise NoSlopeError(f"{name!r} cannot be measured: its derivatives along the generators are not finite")
        smooth = (apart <= SMOOTH**2 * squares) & (squares > (ROUNDING**2 * norm)[:1])
        result[name] = Slope(squares.T, norm[0], (smooth if others else np.ones_like(smooth)).T)
    return result


def _times_generators(value: Any, generators: Any) -> Any:
    """Return X f (k, samples, …, 4) of four-vectors (1, samples, …, 4) and X (k, 1 or samples, 4, 4)."""
    xp = array_namespace(value)
    matrices = xp.asarray(to_numpy(generators), dtype=value.dtype, device=device_of(value))
    matrices = xp.reshape(matrices, (*matrices.shape[:2], *[1] * (value.ndim - 3), 4, 4))
    return xp.matmul(matrices, value[..., None])[..., 0]


def _by_forward_mode(session: Session, inputs: Any, generators: Any) -> tuple[Responses, Responses, Responses]:
    with forward_ad.dual_level(), sdpa_kernel(SDPBackend.MATH):  # the other kernels have no forward mode
        with full_precision():
            tilted = session.domain.with_tangents(inputs, generators)
        duals = {name: forward_ad.unpack_dual(u) for name, u in session.responses(tilted).items()}
    values = {name: dual.primal for name, dual in duals.items()}
    return values, {name: dual.primal * 0 if dual.tangent is None else dual.tangent for name, dual in duals.items()}, {}


def _by_differences(session: Session, inputs: Any, generators: Any) -> tuple[Responses, Responses, Responses]:
    """Return values, derivatives by a stencil, and those by its larger step alone, to see whether they agree."""
    domain, matrices = session.domain, to_numpy(generators)
    if matrices.shape[1] == 1:  # the same for all inputs
        matrices = matrices[:, 0]
    values = session.responses(domain.transform(inputs, np.eye(4)[None]))
    derivatives: Responses = {}
    for multiple, weight in STENCIL:
        ahead, back = (
            session.responses(domain.transform(inputs, expm(sign * multiple * STEP * matrices))) for sign in (1, -1)
        )
        central = {name: (ahead[name] - back[name]) / (2 * multiple * STEP) for name in ahead}
        for name in ahead:
            term = central[name] * (2 * multiple * weight)
            derivatives[name] = derivatives[name] + term if name in derivatives else term
    return values, derivatives, central
