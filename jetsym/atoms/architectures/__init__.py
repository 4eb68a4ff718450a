"""Architectures of metatrain that are kept here, as metatrain looks for them inside its own package only.

===============  =========================================================================
``jetsym_pet``   PET with injected bias, ``experimental.jetsym_pet`` to metatrain
``inject``       what can be injected, parsed
``penalty``      a penalty on A² in the loss of its training
``bias``         both, as options of metatrain
===============  =========================================================================

A folder is an architecture as metatrain has them: model, trainer, options (``documentation.py``) and versions of
checkpoints. Its modules are imported by the names that metatrain gives them, ``metatrain.experimental.jetsym_pet``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jetsym.errors import require

__all__ = ["INJECTED", "add_architectures"]

#: metatrain's name of PET with injected bias. It is in every checkpoint, and in metatrain's error where mtt reads one.
INJECTED = "experimental.jetsym_pet"


def add_architectures() -> None:
    """Let metatrain find the architectures of this folder, in this process."""
    experimental: Any = require("metatrain.experimental", extra="atoms", purpose="jetsym.atoms")
    folder = str(Path(__file__).parent)
    if folder in experimental.__path__:
        return
    experimental.__path__.append(folder)
    # Checkpoints are compared with a list of metatrain's own folders before anything is imported.
    opening: Any = require("metatrain.utils.io", extra="atoms", purpose="jetsym.atoms")
    own = opening.find_all_architectures
    opening.find_all_architectures = lambda: [*own(), INJECTED]
