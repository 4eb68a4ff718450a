"""The full probe of the Lorentz group: compact subgroups, generators and windows of boosts, one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from jetsym.errors import ProbeError
from jetsym.probing.forward.session import Setting
from jetsym.probing.measure.boosts import measure_boosts
from jetsym.probing.measure.generators import casimir, measure_local
from jetsym.probing.measure.rotations import measure_compact
from jetsym.probing.reports.derived import bandwidth
from jetsym.probing.reports.lorentz import LorentzReport
from jetsym.probing.reports.spectrum import SymmetryReport

__all__ = ["measure_lorentz"]

#: Inputs that the local and the compact measurement are compared with.
CASIMIR_INPUTS = 2
#: Name -> group, frame, axis.
COMPACT: dict[str, dict[str, Any]] = {
    "O3 rest": {"group": "O3", "frame": "rest"},
    "O3 lab": {"group": "O3"},
    "SO2 jet": {"group": "SO2", "axis": "jet"},
    "SO2 beam": {"group": "SO2", "axis": "beam"},
}
LOCAL = ("jet", "beam")
BOOSTS = ("beam", "jet", "random")
#: Largest mode m of SO(2), whose rules are small.
MODES = 8


def measure_lorentz(
    setting: Setting, model: Any, inputs: Any, *, windows: Mapping[str, Any], l_max: int | str, **spectra: Any
) -> Callable[[Any, str], LorentzReport]:
    """Prepare all parts; what comes back measures a model, with a title. Parameters: see :func:`jetsym.probe`."""
    if setting.action is not None:
        raise ProbeError("action=… moves inputs by rotations; group='lorentz' needs jets, which it moves itself")

    def prepared(group: str, **where: Any) -> Callable[[Any, str], SymmetryReport]:
        largest = max(MODES, l_max) if group == "SO2" and isinstance(l_max, int) else l_max
        return measure_compact(setting, model, inputs, group=group, **where, l_max=largest, **spectra)

    compact = {name: prepared(**where) for name, where in COMPACT.items()}
    boosts = {axis: measure_boosts(setting, inputs, axis=axis, **windows) for axis in BOOSTS}

    def report(model: Any, title: str) -> LorentzReport:
        start = time.perf_counter()
        spectra = {name: measured(model, f"{title}, {name}") for name, measured in compact.items()}
        curves = {axis: measured(model, f"{title}, along {axis}") for axis, measured in boosts.items()}
        local = {axes: measure_local(setting, model, inputs, axes=axes) for axes in LOCAL}
        meta = {
            **setting.facts(model, inputs, None),
            "group": "lorentz",
            "evaluations": sum(part.meta["evaluations"] for part in spectra.values())
            + sum(part.meta["evaluations"] for part in curves.values()),
        }
        sides = _both_sides(setting, model, inputs, spectra["O3 lab"].meta["l_max"])
        return LorentzReport(spectra, local, curves, sides, {**meta, "seconds": time.perf_counter() - start})

    return report


def _both_sides(setting: Setting, model: Any, inputs: Any, l_max: int) -> dict[str, dict[str, float]]:
    """∫ Σ_a‖J_a u‖² dμ and Σ λ(λ+1) b_λ of the first inputs under SO(3), and the tail beyond l_max."""
    some = setting.domain.take(inputs, slice(0, CASIMIR_INPUTS))
    spectrum = measure_compact(setting, model, some, group="SO3", l_max=l_max, method="quadrature")(model, "both sides")
    local = casimir(setting, model, some, l_max=l_max, inversion=False)
    return {
        name: {
            "local": local[name],
            "spectrum": float(width),
            "tail": float(tail),
        }
        for name, width, tail in zip(spectrum.layers, bandwidth(spectrum)[0], spectrum.tail, strict=True)
    }
