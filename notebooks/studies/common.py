"""Common parts of the studies: their command line, and a table of results over seeds."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rich.table

from jetsym.errors import ConfigError
from jetsym.files import write_atomically, write_json
from jetsym.remedies.symmetrized import averaging_degree
from jetsym.text import as_text, concise


def arguments(description: str, *, out: str, data: str = "") -> argparse.Namespace:
    """Parse folder, size and seeds from the command line; and a file of data, where it is said what that holds."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(out), help="folder for data, runs and results")
    parser.add_argument("--quick", action="store_true", help="a small version: to see that it works, not to learn from")
    parser.add_argument("--seeds", type=int, choices=range(1, 11), default=3, help="runs of everything")
    if data:
        parser.add_argument("--data", type=Path, help=data)
    return parser.parse_args()


@dataclass
class Table:
    """Results by variant and seed."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, variant: str, seed: int, values: Mapping[str, float]) -> None:
        """Add one variant's numbers for one seed, and print them."""
        self.rows.append({"variant": variant, "seed": seed, **values})
        print(
            f"{variant}, seed {seed}: " + ", ".join(f"{name} {value:.4g}" for name, value in values.items()), flush=True
        )

    @property
    def variants(self) -> list[str]:
        """Names of the variants, in the order in which they came."""
        return list(dict.fromkeys(row["variant"] for row in self.rows))

    def mean(self, variant: str, column: str) -> tuple[float, float]:
        """Compute the mean over the seeds, and its standard error; NaN for the error of one seed."""
        values = np.array([row[column] for row in self.rows if row["variant"] == variant])
        error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
        return float(values.mean()), float(error)

    def text(self, columns: Mapping[str, str]) -> str:
        """Format a table, with standard errors over the seeds in the last digits."""
        table = rich.table.Table(box=rich.box.SIMPLE)
        table.add_column("")
        for title in columns.values():
            table.add_column(title, justify="right")
        for variant in self.variants:
            table.add_row(variant, *(concise(*self.mean(variant, column)) for column in columns))
        return as_text(table, width=160)


def trained_once(folder: Path, train: Callable[[], object]) -> float:
    """Train into a folder where that is not done yet; return the seconds it took, which are kept there."""
    taken = folder / "seconds.txt"
    if not taken.is_file():
        start = time.perf_counter()
        train()
        write_atomically(taken, f"{time.perf_counter() - start:.1f}\n")
    return float(taken.read_text())


def keep(path: Path, numbers: Mapping[str, Any], text: str) -> None:
    """Write the numbers, and show the table."""
    write_json(path, numbers)
    write_atomically(path.with_suffix(".txt"), text)
    print(text, end="")


def degree(report: Any, output: str, *, tolerance: float) -> int:
    """Return the degree of the average that leaves so much of an output's A², as far as the report can tell."""
    try:
        return averaging_degree(report.equivariance[output], tolerance=tolerance)
    except ConfigError:
        return int(report.meta["l_max"])
