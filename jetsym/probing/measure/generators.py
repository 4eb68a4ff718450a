"""The local measurement: how fast responses start to change under the six generators of the Lorentz group."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import expm
from torch import nn
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from jetsym.errors import ProbeError
from jetsym.probing.forward.calling import in_numbers
from jetsym.probing.forward.closed import has_closed
from jetsym.probing.forward.memory import is_out_of_memory
from jetsym.probing.forward.precision import full_precision
from jetsym.probing.forward.session import Responses, Session
from jetsym.probing.forward.settle import settle
from jetsym.probing.reports.generators import LocalReport
from jetsym.spectrum import O3, SO3
from jetsym.spectrum.lorentz import GENERATORS
from jetsym.spectrum.responses import prepare, to_numpy
from jetsym.spectrum.result import jackknife_ratio
from jetsym.symmetry import GroupName

__all__ = ["casimir", "measure_generators", "slopes"]

#: How operators say that they have no forward-mode derivative.
COMPLAINTS = ("forward AD", "forward-mode", "jvp", "Jacobian-vector")
#: Angle or rapidity of the central differences, of fourth order: large enough that what a network makes of rounding,
#: some 1e-9 of its response, is divided by no small number.
STEP = 2.0**-9
#: Multiples of the step, and the weights of f(+) − f(−) there.
STENCIL = ((1, 2 / 3), (2, -1 / 12))

#: Name -> ‖L_X f‖² (samples, generators) and ‖f‖² (samples,).
Slopes = dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]


def measure_generators(session: Session, inputs: Any, *, axes: str) -> LocalReport:
    """Measure ‖L_X f‖² of every layer and output for J_x, J_y, J_z, K_x, K_y, K_z.

    L_X f(x) = d/dt f(exp(tX)·x) at t = 0, by forward-mode differentiation, which does not see jumps of the response
    (exchanged neighbours, the wrap of φ, signs). Where an operator has no forward-mode rule, by central differences in
    float64, which the report says.

    Parameters
    ----------
    session, inputs
        What is measured.
    axes
        "beam" (those of the lab) or "jet" (third axis along each jet).
    """
    start = time.perf_counter()
    found, method = _by_best_method(
        session, inputs, lambda running, placed, forward: _all_slopes(running, placed, axes, forward)
    )
    names = tuple(found)
    ratios = [jackknife_ratio(*found[name]) for name in names]
    meta = {
        **session.facts(inputs),
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
            for name, (squares, norm) in found.items():
                left, right = total.get(name, (0.0, 0.0))
                total[name] = left + float(share @ squares.sum(axis=1)), right + float(share @ norm)
        return total

    found, _ = _by_best_method(session, inputs, sums)
    return {name: left / right if right else 0.0 for name, (left, right) in found.items()}


def _by_best_method(
    session: Session, inputs: Any, measured: Callable[[Session, Any, bool], Mapping[str, Any]]
) -> tuple[dict[str, Any], str]:
    """Return what ``measured(session, inputs, forward)`` gives by forward mode, or else by differences; and which."""
    model = session.model
    if isinstance(model, nn.Module) and not has_closed(model):  # whose code may lose tangents without a word
        try:
            with session.open(inputs) as (running, placed):
                settle(running, placed)
                found = dict(measured(running, placed, True))
                if not running.differentiates:  # with detached inputs, as a rule
                    return found, "forward-mode"
        except (RuntimeError, NotImplementedError) as error:
            if isinstance(error, ProbeError) or not any(words in str(error) for words in COMPLAINTS):
                raise
    if isinstance(model, nn.Module):
        model = _widened(session, inputs)
    with replace(session, model=model).open(inputs) as (running, placed):
        settle(running, placed)
        found, dtype = dict(measured(running, placed, False)), session.domain.dtype_name(placed)
    return found, f"central differences of {STEP:.1e} in {dtype}"


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
        parts.append(slopes(session, some, domain.generators(some, axes), forward))
    return {
        name: (np.concatenate([part[name][0] for part in parts]), np.concatenate([part[name][1] for part in parts]))
        for name in parts[0]
    }


def slopes(session: Session, inputs: Any, generators: Any, forward: bool) -> Slopes:
    """Return ‖L_X f‖² and ‖f‖² of every layer and output, for generators (k, 1 or samples, 4, 4)."""
    k, samples = len(generators), session.domain.size(inputs)
    values, derivatives = (_by_forward_mode if forward else _by_differences)(session, inputs, generators)
    result: Slopes = {}
    for name, derivative in derivatives.items():
        shaped = derivative.reshape(k, samples, *derivative.shape[1:])
        value = values[name].reshape(-1, samples, *derivative.shape[1:])[:1]
        mask = session.real(name, shaped, inputs)
        squares, norm = (
            to_numpy(item.columns.squared_norms(item.cosets[0])).astype(np.float64)
            for item in (prepare(None, len(u), u, None, mask=mask, accumulate="float64") for u in (shaped, value))
        )
        if not (np.isfinite(squares).all() and np.isfinite(norm).all()):
            raise ProbeError(f"{name!r} cannot be measured: its derivatives along the generators are not finite")
        result[name] = squares.T, norm[0]
    return result


def _by_forward_mode(session: Session, inputs: Any, generators: Any) -> tuple[Responses, Responses]:
    with forward_ad.dual_level(), sdpa_kernel(SDPBackend.MATH):  # the other kernels have no forward mode
        with full_precision():
            tilted = session.domain.with_tangents(inputs, generators)
        duals = {name: forward_ad.unpack_dual(u) for name, u in session.responses(tilted).items()}
    values = {name: dual.primal for name, dual in duals.items()}
    return values, {name: dual.primal * 0 if dual.tangent is None else dual.tangent for name, dual in duals.items()}


def _by_differences(session: Session, inputs: Any, generators: Any) -> tuple[Responses, Responses]:
    domain, matrices = session.domain, to_numpy(generators)
    if matrices.shape[1] == 1:  # the same for all inputs
        matrices = matrices[:, 0]
    values = session.responses(domain.transform(inputs, np.eye(4)[None]))
    derivatives: Responses = {}
    for multiple, weight in STENCIL:
        ahead, back = (
            session.responses(domain.transform(inputs, expm(sign * multiple * STEP * matrices))) for sign in (1, -1)
        )
        for name in ahead:
            term = (ahead[name] - back[name]) * (weight / STEP)
            derivatives[name] = derivatives[name] + term if name in derivatives else term
    return values, derivatives
