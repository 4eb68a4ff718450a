"""Generation of JetClass-like jets: Pythia 8 collisions, a simple detector, FastJet jets, ROOT files of its schema.

Importing this needs neither Pythia nor FastJet; :func:`generate` does (``pip install 'jetsym[generate]'``).
"""

from jetsym.jets.generate.detector import DetectorConfig
from jetsym.jets.generate.run import generate

__all__ = ["DetectorConfig", "generate"]
