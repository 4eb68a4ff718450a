"""Symmetry spectra: how the power of a response is distributed over the irreps of a compact group.

Boosts have no such spectrum; :mod:`jetsym.spectrum.windows` says what is measured of them instead.

Backend-neutral mathematics: numpy, scipy and the caller's array type; no torch, no jets, no atoms.
"""

from jetsym.spectrum.estimators import QuadratureEstimator, RandomEstimator, WindowEstimator
from jetsym.spectrum.finite import FiniteGroup, FiniteRule
from jetsym.spectrum.groups import O3, SO2, SO3, Group, group_of, register_group
from jetsym.spectrum.heldout import HeldOutElements
from jetsym.spectrum.irreps import Irrep, NamedIrrep, read_irrep
from jetsym.spectrum.quadrature import Quadrature
from jetsym.spectrum.result import Spectrum, WindowEnergies
from jetsym.spectrum.sketch import FeatureSketch
from jetsym.spectrum.windows import Window, rapidity_window, rapidity_windows

__all__ = [
    "O3",
    "SO2",
    "SO3",
    "FeatureSketch",
    "FiniteGroup",
    "FiniteRule",
    "Group",
    "HeldOutElements",
    "Irrep",
    "NamedIrrep",
    "Quadrature",
    "QuadratureEstimator",
    "RandomEstimator",
    "Spectrum",
    "Window",
    "WindowEnergies",
    "WindowEstimator",
    "group_of",
    "rapidity_window",
    "rapidity_windows",
    "read_irrep",
    "register_group",
]
