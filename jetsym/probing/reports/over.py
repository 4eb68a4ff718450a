"""Reports over the values of an argument of the model, such as the time of a velocity field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from jetsym.errors import DataError
from jetsym.probing.reports.history import Series
from jetsym.probing.reports.spectrum import SymmetryReport

__all__ = ["ReportsOver"]


@dataclass(frozen=True, eq=False)
class ReportsOver(Series):
    """The symmetry of a model against one of its arguments, as ``jetsym.probe(…, over={"t": [0.0, 0.5, 1.0]})`` gives.

    Parameters
    ----------
    argument
        Its name.
    values
        (values,) the numbers it was given.
    reports
        One :class:`~jetsym.SymmetryReport` for each of them, all of the same layers, irreps and outputs.

    Raises
    ------
    DataError
        There are none, or they do not go together.
    """

    argument: str
    values: tuple[float, ...]
    reports: tuple[SymmetryReport, ...]

    KIND: ClassVar[str] = "over"
    FORMAT: ClassVar[int] = 1
    TITLE: ClassVar[str] = "Over an argument"

    def __post_init__(self) -> None:
        if not self.reports or len(self.values) != len(self.reports):
            raise DataError(f"{len(self.reports)} reports over {len(self.values)} values; expected one for each")
        self._check_alike()

    @property
    def steps(self) -> NDArray[np.float64]:
        """(values,) the numbers."""
        return np.array(self.values, dtype=np.float64)

    @property
    def unit(self) -> str:
        """The name of the argument."""
        return self.argument

    def __getitem__(self, value: float) -> SymmetryReport:
        """Return the report of a value."""
        if value not in self.values:
            raise DataError(f"there is no report of {self.argument} = {value!r}; there are {list(self.values)}")
        return self.reports[self.values.index(value)]

    def __repr__(self) -> str:
        return f"ReportsOver({self.argument} = {list(self.values)}, {len(self.layers)} layers)"
