"""The outputs of a model: their names, and what somebody, or the model itself, says that they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jetsym.errors import ProbeError, closest
from jetsym.probing.forward.returned import Returned, detached
from jetsym.probing.kinds import as_measured
from jetsym.spectrum.representations import Kind
from jetsym.spectrum.responses import to_numpy

__all__ = ["Outputs", "declared_outputs"]

#: The attribute in which a model says what its outputs are when nobody else does: name -> kind.
DECLARED = "probe_outputs"
#: Packages whose networks return logits, recognised by where their forward pass is written.
OF_TAGGERS = ("weaver",)
#: Outputs are the same to so much of their size, in whatever precision.
SAME = 1e-2


@dataclass(eq=False)
class Outputs:
    """The outputs of a model, known from its first pass on.

    Parameters
    ----------
    said
        Output name -> kind, as the caller says; None for outputs without a law.
    declared
        What the model says of what its own forward pass returns.

    Attributes
    ----------
    kinds
        Name -> kind of every output, None for one without a law.
    unsaid
        Those that nothing is said of, which are taken as scalars.
    others
        What was returned beside, and is no array of floating-point numbers: name -> what it is.
    """

    said: Mapping[str, Kind | None]
    declared: Mapping[str, Kind | None]
    kinds: dict[str, Kind | None] = field(default_factory=dict, init=False)
    unsaid: list[str] = field(default_factory=list, init=False)
    others: dict[str, str] = field(default_factory=dict, init=False)
    _returned: Returned | None = field(default=None, init=False)  # without its arrays

    def take(self, returned: Any, own: Any) -> dict[str, Any]:
        """Return the outputs by name.

        Parameters
        ----------
        returned
            What a pass gave.
        own
            What the model's own forward pass returned in it; None where it did not run, or nobody looked.
        """
        found = Returned(returned)
        if not self.kinds:
            known = _kinds_of(found, self.said, self.declared, None if own is None else Returned(own))
            self.kinds = {name: known.get(name, "scalar") for name in found.arrays}
            self.unsaid.extend(name for name in found.arrays if name not in known)
            self.others |= found.others
        elif len(self.kinds) == 1 and found.is_single:
            found.rename(*self.kinds)
        lacking = [name for name in self.kinds if name not in found.arrays]
        if lacking:
            raise ProbeError(f"the model returned its output {lacking[0]!r} in some forward passes only")
        arrays, found.arrays, self._returned = found.arrays, {}, found
        return {name: arrays[name] for name in self.kinds}

    def as_returned(self, arrays: Mapping[str, Any]) -> Any:
        """Put an array for every output together as the model returned them."""
        assert self._returned is not None
        return self._returned.with_arrays(arrays)

    def notes(self, left_out: Mapping[str, str]) -> Iterator[str]:
        """Yield what a reader of a report must know of the outputs."""
        if self.others:
            yield f"Returned, but no floating-point array: {', '.join(f'{k!r} ({v})' for k, v in self.others.items())}."
        without = [name for name, kind in self.kinds.items() if kind is None and name not in left_out]
        if without:
            yield f"Measured as layers are, without a law: {', '.join(map(repr, without))}."
        unsaid = [name for name in self.unsaid if name not in left_out]
        if unsaid:
            yield (
                f"Taken as scalars, as nothing says what they are: {', '.join(map(repr, unsaid))}. Say with outputs= "
                "if they are logits, one for each class, which count up to a common shift, or if they turn."
            )


def declared_outputs(model: Any) -> Mapping[str, Kind | None]:
    """Return what a model says its outputs are, by name, as ``probe_outputs``: taggers return logits.

    Networks of weaver-core say nothing, and are known by the package of their forward pass; those that are made for
    inference return probabilities, and those without a head features.

    Examples
    --------
    >>> import torch
    >>> declared_outputs(torch.nn.Linear(3, 2))
    {}
    """
    said: Mapping[str, Kind | None] | None = getattr(model, DECLARED, None)
    if said is not None:
        return said
    package = (getattr(getattr(type(model), "forward", None), "__module__", None) or "").partition(".")[0]
    if package not in OF_TAGGERS:
        return {}
    others = any(getattr(part, "for_inference", False) or getattr(part, "fc", part) is None for part in model.modules())
    return {} if others else {"logits": "logits"}


def _kinds_of(
    found: Returned, said: Mapping[str, Kind | None], declared: Mapping[str, Kind | None], own: Returned | None
) -> dict[str, Kind | None]:
    """Return what is known of outputs, by name; an array without a name takes the one that is said or declared.

    Parameters
    ----------
    found
        What was returned.
    said
        By the caller: None for outputs without a law.
    declared
        By the model, of what its own forward pass returns. It holds for what a caller makes of that where it is the
        same still, logits up to a shift.
    own
        What the model's own forward pass returned; None where that is not known.

    Raises
    ------
    ProbeError
        There is no output of a name that the caller said something of.
    """
    if said:
        if found.is_single and len(said) == 1:
            found.rename(*said)
        for name in said:
            if name in found.others:
                raise ProbeError(f"the output {name!r} is {found.others[name]}, no floating-point array: leave it out")
            if name not in found.arrays:
                raise ProbeError(f"the model has no output {name!r}; {closest(name, found.arrays)}")
        return dict(said)
    if own is None:
        return {}
    theirs = own.arrays
    if not own.is_named and len(theirs) == len(declared) == 1:
        theirs = dict(zip(declared, theirs.values(), strict=True))
    known: dict[str, Kind | None] = {}
    for name, array in list(found.arrays.items()):
        for label, kind in declared.items():
            if label in theirs and _fits(kind, array, theirs[label]):
                if found.is_single:
                    found.rename(label)
                known[label if found.is_single else name] = kind
                break
    return known


def _fits(kind: Kind | None, array: Any, own: Any) -> bool:
    """Tell whether an array is what the model returned, of a kind or without a law."""
    values, others = (to_numpy(detached(x)).astype(np.complex128) for x in (array, own))
    if values.shape != others.shape:
        return False
    if kind == "logits":
        if values.ndim > 2:
            return False
        values, others = (as_measured(x, kind) for x in (values, others))
    return bool(np.allclose(values, others, rtol=SAME, atol=SAME * np.abs(others).max(initial=0)))
