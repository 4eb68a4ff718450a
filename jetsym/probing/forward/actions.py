"""The caller's own action, checked before it is believed: the identity, the order of what it returns, and products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetsym.domains.anything import arrays_within
from jetsym.errors import JetsymError, ProbeError, is_out_of_memory
from jetsym.probing.forward.session import Session
from jetsym.spectrum import SO3
from jetsym.spectrum.responses import EPS, to_numpy

__all__ = ["check_action"]

Array = NDArray[np.float64]

#: Inputs that are moved.
INPUTS = 2
#: What counts as the same, relative to the largest number: of inputs, of outputs, and in roundings of either.
SAME_INPUTS, SAME_OUTPUTS, ROUNDINGS = 1e-5, 1e-3, 16.0
ON_COLUMNS = "Matrices act on columns, x → g x, so on the rows of an array as x @ g.T"
UNKNOWN_SENSE = (
    "The sense in which action=… turns was not checked: the elements commute, and other rotations do not tell it here."
)
ORDER = "all inputs under the first element, then all under the second, and so on"


def check_action(session: Session, inputs: Any, elements: Array, *, own: bool) -> None:
    """Refuse an action of the caller's that is none, by what it does to a few inputs.

    Elements that commute cannot tell the sense of turns: it is tried with rotations about other axes, which an action
    may not know; then a note of the session says so.

    Moved inputs are compared by their arrays; where they hold anything else, by what the model returns for them.

    Parameters
    ----------
    session, inputs
        An open session, and its inputs.
    elements
        Two elements of the group, (2, 3, 3).
    own
        Whether each input is to have elements of its own.

    Raises
    ------
    ProbeError
        The identity changes inputs, another number of them comes back, or in another order, or moving by h and then by
        g is not moving by gh.
    """
    if session.action is None:
        return
    domain = session.domain
    most = max(domain.batches(inputs), key=lambda alike: alike.stop - alike.start)
    few = domain.select(inputs, slice(most.start, min(most.start + INPUTS, most.stop)))
    n, one, (g, h) = domain.size(few), np.eye(elements.shape[-1]), elements

    def moved(some: Any, *matrices: Array, stack: bool = True) -> Any:
        by = np.stack(matrices) if stack else matrices[0]
        expected = len(by) * domain.size(some)
        try:
            assert session.action is not None
            found = session.action(some, by)
            size = domain.size(found)
        except Exception as error:  # whatever the action raises
            if isinstance(error, JetsymError) or is_out_of_memory(error):
                raise
            raise ProbeError(
                f"action=… cannot be called with {domain.size(some)} inputs and matrices {by.shape} ({error}); "
                "expected action(inputs, matrices) that returns as many inputs for every matrix"
            ) from error
        if size != expected:
            raise ProbeError(
                f"action=… returned {size} inputs for {domain.size(some)} inputs and matrices {by.shape}; expected "
                f"{expected}: {ORDER}"
            )
        return found

    compare = _Comparison(session, few)
    if compare.differ([moved(few, one)], [few]):
        raise ProbeError(
            "action=… changes the inputs under the identity; expected action(inputs, identity) to return them as they "
            "are: to move those that it was given, by what the matrices say alone"
        )
    alone = [moved(few, g), moved(few, h)]
    if compare.differ([moved(few, g, h)], alone):
        raise ProbeError(f"action=… returns inputs under two elements in another order, or others; expected {ORDER}")
    if compare.differ([moved(moved(few, h), g)], [moved(few, g @ h)]):
        raise ProbeError(f"action=… is no action: moving by h and then by g is not moving by g h. {ON_COLUMNS}")
    if g.shape == (3, 3) and np.allclose(g @ h, h @ g) and not _turns_forwards(session, few, moved, compare):
        session.doubts[UNKNOWN_SENSE] = None
    if not compare.by_outputs and not compare.differ([alone[0]], [few]):
        raise ProbeError("action=… leaves the inputs as they are; expected what the matrices make of them")
    if own and n > 1:
        by_input = [moved(domain.select(few, slice(place, place + 1)), e) for place, e in enumerate((g, h))]
        if compare.differ([moved(few, np.stack([g, h])[None], stack=False)], by_input):
            raise ProbeError(
                "action=… moves inputs in another way by matrices (n, samples, 3, 3), of each one's own, than one by "
                "one; take these in, or leave out method='random' and n_rotations"
            )


def _turns_forwards(session: Session, few: Any, moved: Callable[..., Any], compare: _Comparison) -> bool:
    """Return whether rotations that do not commute tell the sense of an action, or refuse one that turns backwards."""
    g, h = SO3().sample(2, np.random.default_rng(session.seed))
    try:
        both = moved(moved(few, h), g)
        forwards, backwards = (not compare.differ([both], [moved(few, product)]) for product in (g @ h, h @ g))
    except Exception as error:  # whatever an action or a model raises that knows turns about one axis alone
        if is_out_of_memory(error):
            raise
        return False
    if backwards and not forwards:
        raise ProbeError(
            "action=… turns backwards: moving by h and then by g is moving by h g, as g and h about other axes show. "
            f"{ON_COLUMNS}"
        )
    return forwards and not backwards


class _Comparison:
    """Inputs compared by their arrays, or by what a model makes of them."""

    def __init__(self, session: Session, few: Any) -> None:
        self._session, self.by_outputs = session, arrays_within(few) is None
        self._tolerance = max(
            SAME_OUTPUTS if self.by_outputs else SAME_INPUTS, ROUNDINGS * EPS[session.domain.dtype_name(few)]
        )
        self._noise = 0.0  # of a model that answers in several ways
        if self.by_outputs:
            self._noise = 4 * _apart(self._numbers([few]), self._numbers([few]))

    def differ(self, found: list[Any], expected: list[Any]) -> bool:
        """Return whether inputs, one after the other, are others than expected."""
        return not _apart(self._numbers(found), self._numbers(expected)) <= self._tolerance + self._noise

    def _numbers(self, parts: list[Any]) -> list[Array]:
        """Return arrays with the inputs of all parts along the first axis, or all of them flat where there is none."""
        if not self.by_outputs:
            return [np.concatenate([np.ravel(to_numpy(array)) for part in parts for array in self._by_input(part)])]
        found = [self._session.returned(part) for part in parts]
        return [np.concatenate([np.atleast_1d(to_numpy(one[name])) for one in found]) for name in found[0]]

    def _by_input(self, part: Any) -> list[Any]:
        domain = self._session.domain
        one_by_one = [domain.select(part, slice(place, place + 1)) for place in range(domain.size(part))]
        return [array for one in one_by_one for array in arrays_within(one) or []]


def _apart(found: list[Array], expected: list[Array]) -> float:
    """Return the largest difference relative to the largest number; infinite where shapes differ."""
    worst = 0.0
    for a, b in zip(found, expected, strict=True):
        if a.shape != b.shape:
            return float("inf")
        if a.size and (size := float(np.abs(b).max())):
            worst = max(worst, float(np.abs(np.subtract(a, b, dtype=np.result_type(a, b, np.float64))).max()) / size)
    return worst
