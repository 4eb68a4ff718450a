"""Diagnosis: the failure modes of a network, and the rules that find them.

A mode is one row of the table :data:`MODES`, which the file of its rule adds by :func:`register`; a file in the list
here is all that a new one takes.
"""

from __future__ import annotations

from importlib import import_module

from jetsym.probing.diagnosis.case import Case, NotJudged
from jetsym.probing.diagnosis.modes import MODES, Mode, register
from jetsym.probing.diagnosis.thresholds import Bound, Thresholds

__all__ = ["MODES", "Bound", "Case", "Mode", "NotJudged", "Thresholds", "register"]

# In the order of the table, in which findings of one severity stand.
for _file in ("layers", "outputs", "beam", "resolution", "rounding"):
    import_module(f"{__name__}.{_file}")
