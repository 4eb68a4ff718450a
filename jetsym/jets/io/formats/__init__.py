"""Formats of files of jets, one file each, that register themselves when this package is imported.

A new format takes its file and one line here; directories are searched for formats in this order.
"""

from __future__ import annotations

from jetsym.jets.io.formats import root, rntuple, parquet, hdf5, arrays  # isort: skip

__all__ = ["arrays", "hdf5", "parquet", "rntuple", "root"]
