"""Symmetry spectra: how the power of a response is distributed over the irreps of a compact group.

Backend-neutral mathematics: numpy, scipy and the caller's array type; no torch, no jets, no atoms.
"""

from jetsym.spectrum.estimators import QuadratureEstimator, RandomEstimator
from jetsym.spectrum.groups import O3, SO2, SO3, Group, Irrep
from jetsym.spectrum.quadrature import Quadrature
from jetsym.spectrum.result import Spectrum
from jetsym.spectrum.sketch import FeatureSketch

__all__ = [
    "O3",
    "SO2",
    "SO3",
    "FeatureSketch",
    "Group",
    "Irrep",
    "Quadrature",
    "QuadratureEstimator",
    "RandomEstimator",
    "Spectrum",
]
