"""Atoms: metatrain's PET and other atomistic models under the probe, their training, and the files of structures.

The models come from metatrain; what is here loads them, moves structures with their neighbour lists, and reads what is
inside. Needs the extra ``atoms``: ``python -m pip install 'jetsym[atoms]'``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jetsym.atoms.frames import read_frames
    from jetsym.atoms.model import Model, load
    from jetsym.atoms.structures import Structures
    from jetsym.atoms.training import train

__all__ = ["Model", "Structures", "load", "over_training", "read_frames", "train"]

# Imported when first used: nothing heavy comes with the package.
_LAZY = {
    "Model": "jetsym.atoms.model",
    "Structures": "jetsym.atoms.structures",
    "load": "jetsym.atoms.model",
    "over_training": "jetsym.training.history",
    "read_frames": "jetsym.atoms.frames",
    "train": "jetsym.atoms.training",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'jetsym.atoms' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
