"""Instrument for one question: which symmetry has a trained network learned, and in which layer.

>>> import jetsym
>>> sorted(jetsym.__all__)
['JetsymError', 'Layered', 'SymmetryReport', '__version__', 'attribute', 'compare', 'cost', 'diagnose', 'layers', \
'load', 'moves', 'parity', 'probe', 'safety', 'train']
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jetsym._version import __version__
from jetsym.errors import JetsymError
from jetsym.lazy import attach

if TYPE_CHECKING:
    from jetsym.domains.moves import moves
    from jetsym.jets.checkpoint import load
    from jetsym.probing.diagnosis.diagnose import diagnose
    from jetsym.probing.forward.layers import Layered
    from jetsym.probing.layers import layers
    from jetsym.probing.measure.attribution import attribute
    from jetsym.probing.measure.cost import cost
    from jetsym.probing.measure.parity import parity
    from jetsym.probing.measure.safety import safety
    from jetsym.probing.probe import probe
    from jetsym.probing.reports.comparison import compare
    from jetsym.probing.reports.spectrum import SymmetryReport
    from jetsym.training.loop import train

__all__ = [
    "JetsymError",
    "Layered",
    "SymmetryReport",
    "__version__",
    "attribute",
    "compare",
    "cost",
    "diagnose",
    "layers",
    "load",
    "moves",
    "parity",
    "probe",
    "safety",
    "train",
]

# Imported when first used: `import jetsym` loads neither torch nor matplotlib.
__getattr__, __dir__ = attach(
    __name__,
    __all__,
    {
        "Layered": "jetsym.probing.forward.layers",
        "SymmetryReport": "jetsym.probing.reports.spectrum",
        "attribute": "jetsym.probing.measure.attribution",
        "compare": "jetsym.probing.reports.comparison",
        "cost": "jetsym.probing.measure.cost",
        "diagnose": "jetsym.probing.diagnosis.diagnose",
        "layers": "jetsym.probing.layers",
        "load": "jetsym.jets.checkpoint",
        "moves": "jetsym.domains.moves",
        "parity": "jetsym.probing.measure.parity",
        "probe": "jetsym.probing.probe",
        "safety": "jetsym.probing.measure.safety",
        "train": "jetsym.training.loop",
    },
    rooms=["atoms", "jets", "plotting", "ranks", "remedies", "repair", "spectrum", "testing", "training"],
)
