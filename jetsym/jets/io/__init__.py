"""Files: reading jets into memory, writing them, streaming them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jetsym.jets.io.root import read

__all__ = ["read"]


def __getattr__(name: str) -> Any:
    # Reading needs torch and uproot; writing and listing files do not, and import this package as well.
    if name == "read":
        from jetsym.jets.io.root import read

        return read
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
