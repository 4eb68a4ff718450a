"""torch_geometric, imported so that TorchScript still compiles metatensor's operations afterwards."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
import torch

__all__ = ["geometric"]


def geometric(part: str) -> Any:
    """Import a module of it, or skip; it puts functions of its own in the place of two of torch, which are put back."""
    with patch.object(torch, "index_select", torch.index_select), patch.object(torch, "select", torch.select):
        return pytest.importorskip(f"torch_geometric.{part}")
