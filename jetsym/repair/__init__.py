"""Repair: the configuration of a run that repairs what was found, by remedies that register themselves by word."""

from __future__ import annotations

from jetsym.repair.base import REMEDIES, Repair, Step, register
from jetsym.repair.dispatch import repair, words

__all__ = ["REMEDIES", "Repair", "Step", "register", "repair", "words"]
