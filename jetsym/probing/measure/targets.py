"""What outputs should be, and the losses that they are then judged by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from jetsym.errors import ProbeError, shorten
from jetsym.probing.forward.session import Session
from jetsym.probing.kinds import as_measured, representation_of
from jetsym.probing.options import AUTO
from jetsym.probing.reports.cost import CROSS_ENTROPY, SQUARED
from jetsym.spectrum.representations import Kind
from jetsym.spectrum.responses import to_numpy

__all__ = ["Aim", "aims_of", "masked", "of_label", "summed"]

#: Inputs that tell logits from probabilities, and how far these may sum to something else than 1: in 16 bits.
FEW, ROUNDING = 8, 2.0**-7

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Aim(NamedTuple):
    """What an output should be.

    Parameters
    ----------
    name, kind
        Of the output.
    loss
        "squared" or "cross-entropy".
    rows
        What it should be for each input.
    """

    name: str
    kind: Kind
    loss: str
    rows: Sequence[NDArray[Any]]

    def target(self, part: slice, shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the targets of some inputs in the shape of the output, from which axes of length 1 may be missing."""
        rows = self.rows[part]
        if self.loss == CROSS_ENTROPY:
            return self._numbers(_fitted(self.name, rows, shape[:-1]), classes=shape[-1])
        target: NDArray[Any] = as_measured(_fitted(self.name, rows, shape), self.kind)
        return target

    def _numbers(self, labels: NDArray[Any], *, classes: int) -> NDArray[Any]:
        if (labels >= classes).any():
            raise ProbeError(
                f"a target of {self.name!r} is class {int(labels.max())}; expected numbers below {classes}"
            )
        return labels

    def counted(self, target: NDArray[Any], mask: Mask | None) -> Mask:
        """Return which entries of targets count: of real tokens, and of labels those from 0 on, as torch has it."""
        real = np.ones(target.shape, dtype=bool) if mask is None else _spread(mask, target.ndim)
        return np.broadcast_to(real & (target >= 0) if self.loss == CROSS_ENTROPY else real, target.shape)

    def losses(self, values: NDArray[Any], target: NDArray[Any], mask: Mask | None) -> Array:
        """Return (samples,) losses of values (samples, …), summed over what counts."""
        if self.loss == SQUARED:
            return summed(np.abs(values - target) ** 2, mask)
        return summed(
            logsumexp(values.astype(np.float64), axis=-1) - of_label(values, target), self.counted(target, mask)
        )


def of_label(logits: NDArray[Any], labels: NDArray[Any]) -> NDArray[Any]:
    """Return the logits (…,) of the classes that are right; of none where there is no label."""
    chosen: NDArray[Any] = np.take_along_axis(logits, np.maximum(labels, 0).astype(np.intp)[..., None], axis=-1)[..., 0]
    return chosen


def summed(values: NDArray[Any], mask: Mask | None = None) -> Array:
    """Sum values (samples, …) over all but the samples, where a mask (samples, …) of fewer axes or as many says so."""
    total: Array = masked(values, mask).reshape(len(values), -1).sum(axis=1)
    return total


def masked(values: NDArray[Any], mask: Mask | None) -> NDArray[Any]:
    """Return values (samples, …), 0 where a mask (samples, …) of fewer axes or as many says that they do not count."""
    return values if mask is None else np.where(_spread(mask, values.ndim), values, 0.0)


def _spread(mask: Mask, ndim: int) -> Mask:
    return mask.reshape(*mask.shape, *[1] * (ndim - mask.ndim))


def aims_of(session: Session, inputs: Any, targets: Any, loss: str, *, limit: int) -> dict[str, Aim]:
    """Return what each output of an open session should be, as far as it is known.

    Parameters
    ----------
    session, inputs
        Open, and settled.
    targets
        An array, a list of arrays, or a dictionary of either.
    loss
        "auto", "squared" or "cross-entropy".
    limit
        How many inputs were taken at most: where there are fewer, all have to have targets and no others.

    Raises
    ------
    ProbeError
        Nothing is known, or it does not go with the outputs.
    """
    names, size = list(session.outputs), session.domain.size(inputs)
    if not isinstance(targets, Mapping):
        if len(names) != 1:
            raise ProbeError(
                f"targets is one array, but the outputs are {names}; expected a dictionary with their names"
            )
        targets = {names[0]: targets}
    if unknown := [name for name in targets if name not in names]:
        raise ProbeError(f"targets names {unknown[0]!r}; expected an output with a law: {', '.join(map(repr, names))}")
    if not targets:
        raise ProbeError(
            "nothing says what the outputs should be (labels of jets, energies or forces of structures for a "
            "calculator); give targets=…"
        )
    found = {}
    for name, given in targets.items():
        rows = _rows(name, given)
        if len(rows) != size and (len(rows) < size or size < limit):
            raise ProbeError(f"the targets of {name!r} are {len(rows)} rows; expected one for each of {size} inputs")
        kind = session.outputs[name]
        found[name] = Aim(name, kind, _loss_of(name, kind, rows[:size], loss), rows[:size])
    _refuse_probabilities(session, inputs, [name for name, aim in found.items() if aim.loss == CROSS_ENTROPY])
    return found


def _rows(name: str, given: Any) -> list[NDArray[Any]]:
    """Return the targets of an output, one array for each input."""
    try:
        return [to_numpy(np.asarray(row) if isinstance(row, (int, float, list)) else row) for row in given]
    except (TypeError, ValueError) as error:
        raise ProbeError(
            f"the targets of {name!r} are {shorten(given)}; expected an array, or a list of arrays, one an input"
        ) from error


def _refuse_probabilities(session: Session, inputs: Any, names: Sequence[str]) -> None:
    """Refuse outputs that are said to be logits, and are in [0, 1] and sum to 1 for a few inputs."""
    if not names:
        return
    some = slice(0, min(FEW, session.domain.batches(inputs)[0].stop))
    returned = session.returned(session.domain.select(inputs, some))
    for name in names:
        values = to_numpy(returned[name]).astype(np.float64)
        is_whole = values.ndim > 1 and values.shape[-1] > 1 and (np.abs(values.sum(axis=-1) - 1) < ROUNDING).all()
        if is_whole and (values >= 0).all():
            raise ProbeError(
                f"{name!r} is in [0, 1] and sums to 1 over the classes, as probabilities do; expected logits: take the "
                "logarithm with call=…"
            )


def _loss_of(name: str, kind: Kind, rows: Sequence[NDArray[Any]], loss: str) -> str:
    are_numbers = all(row.dtype.kind in "iub" for row in rows)
    if loss == AUTO:
        return CROSS_ENTROPY if kind == "logits" and are_numbers else SQUARED
    if loss == CROSS_ENTROPY and not (kind == "logits" and are_numbers):
        said = "logits" if kind == "logits" else representation_of(kind).name
        what = f"{said!r} with targets of dtype {rows[0].dtype}"
        raise ProbeError(f"loss is {loss!r}, but {name!r} is {what}; expected logits with numbers of classes")
    return loss


def _fitted(name: str, rows: Sequence[NDArray[Any]], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the targets of some inputs in the shape of the output, from which axes of length 1 may be missing."""
    if len({row.shape for row in rows}) == 1:
        target = np.stack(rows)
        if [n for n in target.shape[1:] if n != 1] == [n for n in shape[1:] if n != 1]:
            target = target.reshape(shape)
            if np.isfinite(target).all():
                return target
            raise ProbeError(f"some targets of {name!r} are not finite; leave these inputs out")
    found = " or ".join(dict.fromkeys(str(row.shape) for row in rows))
    hint = f"; numbers of classes go with logits: outputs={{{name!r}: 'logits'}}" if rows[0].dtype.kind in "iub" else ""
    raise ProbeError(
        f"targets of {name!r} have shape {found} for an input; expected {shape[1:]}, as the output has{hint}"
    )
