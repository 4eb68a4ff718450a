"""Versions of what the checkpoints of PET with injected bias hold beyond PET's own, and the steps between them.

PET's part keeps PET's version, and metatrain's own steps bring it up to date.
"""

from collections.abc import Callable
from typing import Any

__all__ = ["KEY", "VERSION", "upgrade"]

#: Where a checkpoint says its version, and the present one.
KEY, VERSION = "jetsym_version", 1
#: Version -> the step from it to the next, which changes a checkpoint in place.
STEPS: dict[int, Callable[[dict[str, Any]], None]] = {}


def upgrade(checkpoint: dict[str, Any]) -> None:
    """Bring a checkpoint up to date, in place.

    Raises
    ------
    RuntimeError
        It was written by a later version of jetsym.
    """
    version = checkpoint.get(KEY, VERSION)
    if version > VERSION:
        raise RuntimeError(
            f"it is of version {version} of jetsym's PET, and this jetsym knows versions to {VERSION}; upgrade jetsym"
        )
    for step in range(version, VERSION):
        STEPS[step](checkpoint)
    checkpoint[KEY] = VERSION
