"""Files: reading jets into memory, writing them, streaming them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jetsym.jets.io.read import read
    from jetsym.jets.io.streaming.stream import JetStream

__all__ = ["JetStream", "read"]

_HOMES = {"JetStream": "jetsym.jets.io.streaming.stream", "read": "jetsym.jets.io.read"}


def __getattr__(name: str) -> Any:
    # Reading needs torch and uproot; writing and listing files do not, and import this package as well.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
