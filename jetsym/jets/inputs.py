"""Inputs: what networks of other stacks take beside the momenta, as named tables of variables of one length.

An input is a tensor (jets, variables, length), or (jets, variables) where it has no length. Its variables belong to the
particles of the jets, or to another collection of them such as secondary vertices; jets with more members than the
length are cut, those with fewer are filled up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jetsym.errors import DataError

__all__ = ["InputForm", "expect_standardised"]


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
        InputForm(names=('pt',), length=3, fill=(0.0,), scaling=(None,), fixed=())
        """
        scaling = tuple(None if one is None else tuple(one) for one in said["scaling"])
        fill = None if said["fill"] is None else tuple(said["fill"])
        return cls(tuple(said["names"]), said["length"], fill, scaling, tuple(said.get("fixed", ())))

    @property
    def standardisation(self) -> dict[str, list[float]]:
        """Centre and scale of those variables that were standardised."""
        pairs = zip(self.names, self.scaling, strict=False)  # there is no scaling where nothing was
        return {name: [*own[:2]] for name, own in pairs if own is not None}

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one jet's."""
        return (len(self.names),) if self.length is None else (len(self.names), self.length)


def expect_standardised(
    forms: Mapping[str, InputForm],
    known: Mapping[str, Mapping[str, Sequence[float]]] | None,
    *,
    which: str = "the jets",
) -> None:
    """Refuse inputs that were standardised with other numbers than those of a tagger's training.

    Parameters
    ----------
    forms
        Of the jets that it is shown.
    known
        Input → variable → centre and scale, as the training has kept them; None if it has kept none.
    which
        The jets, for the message.

    Raises
    ------
    DataError
        A variable was standardised with others, or not at all.

    Examples
    --------
    >>> form = InputForm(("px",), 3, scaling=((1.0, 0.5, -5.0, 5.0),))
    >>> expect_standardised({"pf": form}, {"pf": {"px": [1.0, 0.5]}})
    >>> expect_standardised({"pf": form}, {"pf": {"px": [2.0, 0.5]}})
    Traceback (most recent call last):
        ...
    jetsym.errors.DataError: pf.px of the jets was standardised with centre and scale 1.0, 0.5, and in the training...
    """
    for name, form in forms.items():
        numbers, standardised = (known or {}).get(name, {}), form.standardisation
        for variable in form.names:
            own = standardised.get(variable)
            if variable in numbers and own != [*numbers[variable]]:
                said = "not standardised" if own is None else f"standardised with centre and scale {own[0]}, {own[1]}"
                centre, scale = numbers[variable]
                raise DataError(
                    f"{name}.{variable} of {which} was {said}, and in the training with {centre}, {scale}; expected "
                    "the same numbers: read the files themselves with the mapping of the training, or make the cache "
                    "anew with these numbers in its mapping"
                )
