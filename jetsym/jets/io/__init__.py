"""Files of jets: read into memory (:func:`jetsym.jets.read`), written, streamed."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jetsym.jets.io.streaming.stream import JetStream

__all__ = ["JetStream"]


def __getattr__(name: str) -> Any:
    # Streaming needs torch and uproot; writing and listing files do not, and import this package as well.
    if name in __all__:
        return getattr(import_module("jetsym.jets.io.streaming.stream"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
