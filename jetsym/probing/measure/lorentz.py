"""The full probe of the Lorentz group: compact subgroups, generators and windows of boosts, one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from jetsym.errors import ProbeError
from jetsym.probing.forward.session import Session
from jetsym.probing.measure.boosts import measure_boosts
from jetsym.probing.measure.generators import casimir, measure_generators
from jetsym.probing.measure.rotations import measure_rotations
from jetsym.probing.reports.boosts import BoostReport
from jetsym.probing.reports.derived import bandwidth
from jetsym.probing.reports.lorentz import LorentzReport
from jetsym.probing.reports.spectrum import SymmetryReport
from jetsym.symmetry import GroupName, Symmetry

__all__ = ["measure_lorentz"]

#: Inputs that the local and the compact measurement are compared with.
CASIMIR_INPUTS = 2
#: Name -> the compact subgroup.
COMPACT = {
    "O3 rest": Symmetry(GroupName.O3, frame="rest"),
    "O3 lab": Symmetry(GroupName.O3),
    "SO2 jet": Symmetry(GroupName.SO2, axis="jet"),
    "SO2 beam": Symmetry(GroupName.SO2, axis="beam"),
}
LOCAL = ("jet", "beam")
#: Axes of boosts, where inputs have axes of their own, and where they have none.
BOOSTS, BOOSTS_IN_LAB = ("beam", "jet", "random"), ("beam", "x", "y")
#: Largest mode m of SO(2), whose rules are small.
MODES = 8


def measure_lorentz(
    session: Session,
    inputs: Any,
    symmetry: Symmetry,
    *,
    widths: Sequence[float],
    l_max: int | str,
    **spectra: Any,
) -> Callable[[Session, str], LorentzReport]:
    """Prepare all parts; what comes back measures a session's model, with a title.

    Parameters are those of :func:`jetsym.probe`.
    """
    if session.action is not None:
        raise ProbeError(
            f"action=… moves inputs by rotations; group={symmetry.group!r} needs jets or four-vectors, which it moves "
            "itself"
        )

    def prepared(part: Symmetry) -> Callable[[Session, str], SymmetryReport]:
        largest = max(MODES, l_max) if part.axis is not None and isinstance(l_max, int) else l_max
        return measure_rotations(session, inputs, part, l_max=largest, **spectra)

    def boosted(axis: str) -> Callable[[Session, str], BoostReport]:
        along = Symmetry(GroupName.BOOST, axis=axis, distribution=symmetry.distribution)
        return measure_boosts(session, inputs, along, l_max=l_max, widths=widths)

    own = session.domain.own_axes
    compact = {name: prepared(part) for name, part in COMPACT.items() if part.axis != "jet" or "jet" in own}
    boosts = {axis: boosted(axis) for axis in (BOOSTS if own else BOOSTS_IN_LAB)}
    axes = [name for name in LOCAL if name != "jet" or "jet" in own]

    def report(session: Session, title: str) -> LorentzReport:
        start = time.perf_counter()
        spectra = {name: measured(session, f"{title}, {name}") for name, measured in compact.items()}
        curves = {axis: measured(session, f"{title}, along {axis}") for axis, measured in boosts.items()}
        local = {name: measure_generators(session, inputs, axes=name) for name in axes}
        meta = {
            **session.facts(inputs),
            "group": symmetry.group,
            "l_max": spectra["O3 lab"].meta["l_max"],
            "method": spectra["O3 lab"].meta["method"],
            "evaluations": sum(part.meta["evaluations"] for part in spectra.values())
            + sum(part.meta["evaluations"] for part in curves.values()),
        }
        sides = _both_sides(session, inputs, spectra["O3 lab"].meta["l_max"])
        return LorentzReport(spectra, local, curves, sides, {**meta, "seconds": time.perf_counter() - start})

    return report


def _both_sides(session: Session, inputs: Any, l_max: int) -> dict[str, dict[str, float]]:
    """Measure ∫ Σ_a‖J_a u‖² dμ and Σ λ(λ+1) b_λ of the first inputs under SO(3), and the tail beyond l_max."""
    some = session.domain.select(inputs, slice(0, CASIMIR_INPUTS))
    spectrum = measure_rotations(session, some, Symmetry(GroupName.SO3), l_max=l_max, method="quadrature")(
        session, "both sides"
    )
    local = casimir(session, some, l_max=l_max, inversion=False)
    return {
        name: {
            "local": local[name],
            "spectrum": float(width),
            "tail": float(tail),
        }
        for name, width, tail in zip(spectrum.layers, bandwidth(spectrum)[0], spectrum.tail, strict=True)
    }
