"""Settling where responses have their inputs and tokens, before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from jetsym.errors import ProbeError, closest
from jetsym.probing.forward.dry import INPUTS, DryPasses, dry_passes
from jetsym.probing.forward.evidence import ROUNDINGS, TOLERANCE, own_orders
from jetsym.probing.forward.layers import LATER_CALL, Layered
from jetsym.probing.forward.layouts import Layout
from jetsym.probing.forward.orbits import without_inputs
from jetsym.probing.forward.session import Session
from jetsym.probing.forward.tokens import ROUGHLY, UNNAMED, WITHOUT_INPUTS, find_layouts
from jetsym.probing.kinds import axes_of_object
from jetsym.spectrum.responses import to_numpy

__all__ = ["reordered", "settle"]

OWN_ORDER = "its rows stand in an order of the model's own, which may change along the orbit; " + UNNAMED
FOR_EACH = "it runs more often in some forward passes than in others, as once for every input"
MIXED = "what it returns for an input is not the same in company of another: its rows are not those of one input each"
REORDERED = "its rows change places along the orbit, as those of a graph that is built anew"


def settle(
    session: Session, inputs: Any, elements: NDArray[np.float64] | None = None, *, features: bool = True
) -> None:
    """Find out by a dry pass what the outputs are called, and where responses have their inputs and tokens.

    Parameters
    ----------
    session
        An open session, whose outputs, layouts and responses that are left out are known afterwards.
    inputs
        All inputs, ready for the action.
    elements
        A few elements of the group (n, …), along which rows are to keep their places; None does without.
    features
        Whether features should keep theirs as well (elements of a finite group may exchange them).

    Raises
    ------
    ProbeError
        No response can be measured, or what the caller says of tokens is not so.
    """
    domain = session.domain
    if isinstance(session.model, Layered):
        session.settle_partly(inputs)
        one = domain.select(inputs, slice(0, 1))
        alone = session.responses(one)
        if elements is not None and domain.most_calls(inputs) is None:  # dear calls are made one by one
            session.left_out.update(_mixed(session, one, elements[:2]))
            session.left_out.update(_out_of_order(session, inputs, elements, set(), features=features))
        _leave_out(session, alone, 1)
        return
    move = session.action or domain.move
    own = {} if session.action is None or elements is None else {"turn": elements[-1]}  # of the caller's own group
    passes = dry_passes(session.arrays, domain, inputs, move=move, evaluations=session.evaluations, **own)
    arrays = passes.alone.arrays
    for name in session.tokens:
        if name not in arrays:
            raise ProbeError(f"tokens names {name!r}, which is no layer that is read; {closest(name, arrays)}")
    own = {name: axes_of_object(kind) for name, kind in session.outputs.items()}
    with np.errstate(all="ignore"):  # what is not finite tells nothing here, and is refused when it is measured
        found, left_out = find_layouts(passes, own_axes=own, named=session.tokens)
        session.left_out.update(_for_each_input(passes))
        found = {name: item for name, item in found.items() if not session.is_left_out(name)}
        doubtful = own_orders(passes, found) - set(session.tokens)
    # A domain that does not count its points knows them by the shapes of responses, if there are any.
    known = found if passes.has_points else {name: item for name, item in found.items() if item != Layout()}
    session.layouts.update(known)
    session.left_out.update(left_out)
    if not all(map(session.is_left_out, arrays)):
        session.left_out.update(_out_of_order(session, inputs, elements, doubtful, features=features))
    _leave_out(session, arrays, passes.alone.size)


def _leave_out(session: Session, arrays: Mapping[str, Any], size: int) -> None:
    """Forget what is left out of some responses to so many inputs; refuse if nothing remains."""
    for name in session.left_out:
        session.layouts.pop(name, None)
        session.outputs.pop(name, None)
    if session.left_out and all(map(session.is_left_out, arrays)):
        name, reason = next(iter(session.left_out.items()))
        if reason == WITHOUT_INPUTS:
            raise ProbeError(without_inputs(name, arrays[name], size))
        raise ProbeError(f"{name!r} cannot be measured: {reason}")


def _mixed(session: Session, one: Any, elements: NDArray[np.float64]) -> dict[str, str]:
    """Return why responses are left out that a model puts to inputs they do not belong to."""
    alone, together = session.along(one, elements[:1]), session.along(one, elements)
    reasons = {}
    for name, response in alone.items():
        first, again = (to_numpy(item[name])[0, 0] for item in (alone, together))
        with np.errstate(all="ignore"):
            spread = (np.abs(first - first.mean(axis=0)) ** 2).sum() if first.ndim else 0.0
            most = ROUGHLY * spread + TOLERANCE**2 * (np.abs(first) ** 2).sum()
            if response.shape[2:] != together[name].shape[2:] or (np.abs(again - first) ** 2).sum() > most:
                reasons[name] = MIXED
    return reasons


def _for_each_input(passes: DryPasses) -> dict[str, str]:
    """Return why modules are left out that run as often as there are inputs, by the names of their first calls."""
    if len({one.size for one in passes.all}) == 1:
        return {}
    calls: dict[str, list[int]] = {}
    for place, one in enumerate(passes.all):
        for name in one.arrays:
            module, _, number = name.partition(LATER_CALL)
            counts = calls.setdefault(module, [1] * len(passes.all))
            counts[place] = max(counts[place], int(number.partition(".")[0] or 1))
    repeated = {
        module
        for module, counts in calls.items()
        if len({count / one.size for count, one in zip(counts, passes.all, strict=True)}) == 1
    }
    return {name: FOR_EACH for name in calls if name in repeated or name.rpartition(".")[0] in repeated}


def _out_of_order(
    session: Session, inputs: Any, elements: NDArray[np.float64] | None, doubtful: set[str], *, features: bool
) -> dict[str, str]:
    """Return why responses are left out whose rows change places along the orbit, or may: the doubtful ones."""
    if elements is None:
        return {name: OWN_ORDER.format(name=name) for name in doubtful}
    reasons, domain = {}, session.domain
    few = domain.select(inputs, slice(0, min(INPUTS, session.evaluations, domain.batches(inputs)[0].stop)))
    for name, response in session.along(few, elements).items():
        has_tokens = name in session.layouts and bool(session.layouts[name].axes)
        real = session.real(name, response, few) if has_tokens else None
        eps = float(array_namespace(response).finfo(response.dtype).eps)
        with np.errstate(all="ignore"):
            values = to_numpy(response)
            labels = name in session.outputs and not has_tokens and _is_of_labels(values)
            moves = None if labels else reordered(values, real, eps=eps, axes=None if features else int(has_tokens))
        if moves:
            reasons[name] = REORDERED
        elif moves is False and name in doubtful:
            reasons[name] = OWN_ORDER.format(name=name)
    return reasons


def _is_of_labels(along: NDArray[Any]) -> bool:
    """Return whether responses (elements, inputs, …) hold few values, as labels do: these come in any order.

    Examples
    --------
    >>> _is_of_labels(np.eye(3)[None]), _is_of_labels(np.arange(9.0).reshape(1, 3, 3))
    (True, False)
    """
    values, inputs, each = len(np.unique(along)), along.shape[1], along[0, :1].size
    return values < each or (values == each and inputs > 1)


def reordered(along: NDArray[Any], real: NDArray[np.bool_] | None, *, eps: float, axes: int | None) -> bool | None:
    """Return whether rows of responses (elements, inputs, …) change places along an orbit.

    Two elements then have the same rows, in another order.

    Parameters
    ----------
    along
        Responses, the tokens of each input first.
    real
        (inputs, tokens) of real points, or None for all.
    eps
        Rounding of the responses.
    axes
        How many axes behind the inputs to look along; None for all.

    Returns
    -------
    None where the responses are the same for all elements, in the same order.

    Examples
    --------
    >>> bonds = np.array([[[1.0, 2.0, 3.0]], [[3.0, 1.0, 2.0]]])
    >>> [reordered(u, None, eps=1e-16, axes=None) for u in (bonds, bonds[[0, 0]])]
    [True, None]
    """
    values = np.asarray(np.abs(along) if np.iscomplexobj(along) else along, dtype=np.float64)
    tolerance = max(TOLERANCE, ROUNDINGS * eps)
    same = True
    for axis in range(2, values.ndim if axes is None else min(2 + axes, values.ndim)):
        rows = np.moveaxis(values, axis, 2).reshape(*values.shape[:2], values.shape[axis], -1)
        key = rows @ np.random.default_rng(0).normal(size=rows.shape[-1])
        for place in range(values.shape[1]):
            kept = slice(None) if real is None or axis > 2 else real[place]
            ours, keys = rows[:, place, kept], key[:, place, kept]
            spread = ((ours[0] - ours[0].mean(axis=0)) ** 2).sum()
            sorted_rows = np.take_along_axis(ours, np.argsort(keys, axis=1)[..., None], axis=1)
            in_order, matched = (((item[1:] - item[:1]) ** 2).sum(axis=(1, 2)) for item in (ours, sorted_rows))
            moved = in_order > tolerance**2 * spread
            same = same and not moved.any()
            if (
                axis > 2
                and 2 * len(np.unique(np.round(keys[0] / (tolerance * (np.abs(keys[0]).max() or 1))))) < keys.shape[1]
            ):
                continue  # few values, as those of a picture, come in any order
            if (moved & (matched <= tolerance**2 * spread) & (100 * matched < in_order)).any():
                return True
    return None if same else False
