"""Files of jets: read into memory (:func:`jetsym.jets.read`), written, streamed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jetsym.lazy import attach

if TYPE_CHECKING:
    from jetsym.jets.io.streaming.stream import JetStream

__all__ = ["JetStream"]

# Streaming needs torch and uproot; writing and listing files do not, and import this package as well.
__getattr__, __dir__ = attach(__name__, __all__, {"JetStream": "jetsym.jets.io.streaming.stream"})
