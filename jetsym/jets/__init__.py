"""Jets: schema, kinematics, actions, features, models and files."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jetsym.jets.batch import JetBatch
    from jetsym.jets.io.read import read
    from jetsym.jets.io.sample import sample

__all__ = ["JetBatch", "read", "sample"]

_HOMES = {
    "JetBatch": "jetsym.jets.batch",
    "read": "jetsym.jets.io.read",
    "sample": "jetsym.jets.io.sample",
}


def __getattr__(name: str) -> Any:
    # Looked up on first use, so that jetsym.jets.schema can be had without torch.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
