"""Inputs: what networks of other stacks take beside the momenta, as named tables of variables of one length.

An input is a tensor (jets, variables, length), or (jets, variables) where it has no length. Its variables belong to the
particles of the jets, or to another collection of them such as secondary vertices; jets with more members than the
length are cut, those with fewer are filled up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["InputForm"]


@dataclass(frozen=True)
class InputForm:
    """The form of an input.

    Parameters
    ----------
    names
        Of its V variables, in their order.
    length
        Number of its places; None for one number per jet and variable.
    fill
        (V,) what stands in places where there is nothing; None to repeat the members of the jet from the first on.
    scaling
        (V,) how each variable was standardised, as (centre, scale, smallest, largest): (x − centre) · scale, clipped;
        None for one that stands there as it is. Empty if none was.
    fixed
        Names of variables that stay as they are when the jets are moved, whatever they are called.
    """

    names: tuple[str, ...]
    length: int | None = None
    fill: tuple[float, ...] | None = None
    scaling: tuple[tuple[float, float, float, float] | None, ...] = ()
    fixed: tuple[str, ...] = ()

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> InputForm:
        """Make a form of its fields, as JSON and awkward give them: with lists where there were tuples.

        Examples
        --------
        >>> InputForm.read({"names": ["pt"], "length": 3, "fill": [0.0], "scaling": [None]})
        InputForm(names=('pt',), length=3, fill=(0.0,), scaling=(None,))
        """
        scaling = tuple(None if one is None else tuple(one) for one in said["scaling"])
        fill = None if said["fill"] is None else tuple(said["fill"])
        return cls(tuple(said["names"]), said["length"], fill, scaling, tuple(said.get("fixed", ())))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one jet's."""
        return (len(self.names),) if self.length is None else (len(self.names), self.length)
