"""Jets: schema, kinematics, actions, features, models and files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jetsym.lazy import attach

if TYPE_CHECKING:
    from jetsym.jets.batch import JetBatch
    from jetsym.jets.io.read import read
    from jetsym.jets.io.sample import sample
    from jetsym.jets.weaver_files import weaver

__all__ = ["JetBatch", "read", "sample", "weaver"]

# Looked up on first use, so that jetsym.jets.schema can be had without torch.
__getattr__, __dir__ = attach(
    __name__,
    __all__,
    {
        "JetBatch": "jetsym.jets.batch",
        "read": "jetsym.jets.io.read",
        "sample": "jetsym.jets.io.sample",
        "weaver": "jetsym.jets.weaver_files",
    },
)
