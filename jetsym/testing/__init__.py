"""One assertion for any model, contracts for models and domains of your own, and inputs to test them with.

    from jetsym.testing import assert_equivariant

    def test_my_potential():
        assert_equivariant(model, frames, {"energy": "scalar", "forces": "vector"})

Derive a test class from a contract, say how the thing is made, and pytest runs the rest:

    from jetsym.testing import TaggerContract

    class TestMyTagger(TaggerContract):
        name = "mine"
        options = {"width": 16}

Contracts need pytest. Nothing here imports torch before it is used.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from jetsym.lazy import attach

with suppress(ImportError):
    import pytest

    pytest.register_assert_rewrite("jetsym.testing.taggers", "jetsym.testing.domains")

if TYPE_CHECKING:
    from jetsym.testing.domains import DomainContract
    from jetsym.testing.equivariance import UnresolvedError, assert_equivariant
    from jetsym.testing.findings import Assertions
    from jetsym.testing.jets import degenerate_jets, random_jets
    from jetsym.testing.spectra import known_modes, known_spectrum
    from jetsym.testing.taggers import TaggerContract

__all__ = [
    "Assertions",
    "DomainContract",
    "TaggerContract",
    "UnresolvedError",
    "assert_equivariant",
    "degenerate_jets",
    "known_modes",
    "known_spectrum",
    "random_jets",
]

__getattr__, __dir__ = attach(
    __name__,
    __all__,
    {
        "Assertions": "jetsym.testing.findings",
        "DomainContract": "jetsym.testing.domains",
        "TaggerContract": "jetsym.testing.taggers",
        "UnresolvedError": "jetsym.testing.equivariance",
        "assert_equivariant": "jetsym.testing.equivariance",
        "degenerate_jets": "jetsym.testing.jets",
        "known_modes": "jetsym.testing.spectra",
        "known_spectrum": "jetsym.testing.spectra",
        "random_jets": "jetsym.testing.jets",
    },
)
