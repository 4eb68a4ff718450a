"""Contracts for models and domains of your own, and inputs to test them with; they need pytest.

Derive a test class from a contract, say how the thing is made, and pytest runs the rest:

    from jetsym.testing import TaggerContract

    class TestMyTagger(TaggerContract):
        name = "mine"
        options = {"width": 16}
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("jetsym.testing.taggers", "jetsym.testing.domains")

from jetsym.testing.domains import DomainContract  # noqa: E402  # after the rewriting is registered
from jetsym.testing.jets import degenerate_jets, random_jets  # noqa: E402
from jetsym.testing.spectra import known_modes, known_spectrum  # noqa: E402
from jetsym.testing.taggers import TaggerContract  # noqa: E402

__all__ = ["DomainContract", "TaggerContract", "degenerate_jets", "known_modes", "known_spectrum", "random_jets"]
