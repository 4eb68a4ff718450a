"""Whether a model gives one answer to one input: twice, and alone as in a batch; and in which precision it does."""

from __future__ import annotations

import random
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from array_api_compat import array_namespace, device
from numpy.typing import NDArray

from jetsym.errors import JetsymError, ProbeError
from jetsym.probing.forward.precision import Precisions
from jetsym.probing.forward.session import Responses, Session
from jetsym.spectrum.responses import EPS, to_numpy

__all__ = ["Answers", "as_numbers", "ask"]

#: Two answers to one input differ by no more than so many times their rounding.
MOST = 30.0
#: So many times where a model draws what changes its answer by rounding only, or sums are small beside their terms.
MOST_OF_DRAWN = 1e3
#: But no more than this is taken for rounding in that way.
ROUNDING = 1e-8
#: Sums in any order on an accelerator, magnified by cancellations, make two answers differ by no more than this.
MOST_OF_SUMS = 1e-2
#: Further evaluations of a model that has drawn random numbers without a difference.
FURTHER = 8
#: Inputs of a batch that are evaluated alone.
ALONE = 3
#: What is said of a model whose answers depend on the batch, and what helps.
MIXES = (
    "the model mixes the inputs of a batch (batch normalisation in training mode, sums or sorting over the batch); put "
    "it in evaluation mode, or give batch_size=1, which evaluates every input alone"
)


@dataclass(frozen=True, eq=False)
class Answers:
    """What answers to the same inputs tell.

    Parameters
    ----------
    inside
        Relative spacings of the numbers in which torch computed, and of those that it was given and returned.
    by_torch
        Whether torch computed at all.
    eps
        Layer or output -> relative spacing of its numbers, whatever type they are handed over in.
    differing
        Layer or output -> root-mean-square difference of two evaluations, over its size.
    apart
        Layer or output -> (inputs,) difference of an input alone and in a batch, over its size.
    """

    inside: frozenset[float]
    by_torch: bool
    eps: Mapping[str, float]
    differing: Mapping[str, float]
    apart: Mapping[str, NDArray[np.float64]]

    @property
    def coarsest(self) -> float:
        """Relative spacing of the coarsest numbers inside."""
        return max(self.inside)

    def apart_by(self, name: str, rounding: float = 0.0) -> float:
        """Return the difference of most inputs alone and in a batch, 0 where rounding explains it.

        One input that is decided by rounding, as between two neighbours at one distance, counts for nothing.
        """
        difference = float(np.median(self.apart[name])) if len(self.apart[name]) else 0.0
        return difference if difference > MOST * max(rounding, self.coarsest) else 0.0

    def refuse_batches(self, rounding: Mapping[str, float]) -> None:
        """Refuse a model whose answer to an input depends on the batch by more than the rounding of inputs alone.

        Raises
        ------
        ProbeError
            Most inputs that were tried have another answer alone.
        """
        for name, size in rounding.items():
            if difference := self.apart_by(name, size):
                raise ProbeError(
                    f"{name!r} differs by {difference:.1g} of its size between an input alone and the same input in a "
                    f"batch, where rounding makes about {max(size, self.coarsest):.0e}: {MIXES}"
                )


def ask(session: Session, inputs: Any, part: slice, elements: NDArray[np.float64]) -> Answers:
    """Evaluate some inputs under some elements twice in a batch, and a few of them alone.

    Raises
    ------
    ProbeError
        Two evaluations differ by more than :data:`MOST_OF_DRAWN` times the rounding of the coarsest precision inside: a
        model may draw what changes its answer by rounding only, such as the roll of a frame about a bond. What it then
        changes is in the noise floor. On an accelerator, where sums are made in any order, more is allowed of a model
        that draws no random numbers. Or an input cannot be evaluated alone.
    """
    samples = part.stop - part.start
    some, before = session.domain.select(inputs, part), _random_states()
    found = session.along(some, elements)
    batch, draws = as_numbers(session, some, found), before != _random_states()
    sizes = {name: _root_mean_square(values) for name, values in batch.items()}

    def difference(name: str, values: NDArray[Any], others: NDArray[Any]) -> float:
        return _root_mean_square(values - others) / sizes[name] if sizes[name] else 0.0

    differing = dict.fromkeys(batch, 0.0)
    for _ in range(1 + FURTHER * draws):
        again = as_numbers(session, some, session.along(some, elements))
        for name, values in batch.items():
            differing[name] = max(differing[name], difference(name, again[name], values))
        if any(differing.values()):
            break
    apart: dict[str, list[float]] = {name: [] for name in batch}
    seen = Precisions()
    for place in range(min(ALONE, samples * len(elements))):
        sample, element = place % samples, place % len(elements)
        with nullcontext() if place else seen:  # which is half as fast, and sees all at once
            alone = _alone(session, inputs, part.start + sample, elements[element])
        for name, values in alone.items():
            if values.shape == batch[name].shape[2:]:  # of a jet with fewer particles, some models make less
                apart[name].append(difference(name, values, batch[name][element, sample]))
    eps = {
        name: max(
            float(array_namespace(array).finfo(array.dtype).eps),
            _spacing(batch[name]),
            session.domain.spacing(session.model, name),
        )
        for name, array in found.items()
    }
    inside = frozenset({*seen.eps, *eps.values(), EPS[session.domain.dtype_name(inputs)]})
    for name, array in found.items():
        ordered = draws or "cpu" in str(device(array)).lower()
        at_least = min(MOST_OF_DRAWN * max(inside), ROUNDING) if ordered else MOST_OF_SUMS
        _refuse_random(name, differing[name], max(inside), at_least=at_least, draws=draws)
    return Answers(inside, bool(seen.eps), eps, differing, {name: np.array(values) for name, values in apart.items()})


def as_numbers(session: Session, inputs: Any, found: Responses) -> dict[str, NDArray[Any]]:
    """Return responses as numpy arrays of double precision, with zeros for what is padding; refuse what is not finite.

    Parameters
    ----------
    session, inputs
        What was evaluated, on which inputs.
    found
        Responses (elements, samples, features…).
    """
    result = {}
    for name, response in found.items():
        real = session.real(name, response, inputs)
        values = to_numpy(response)
        values = values.astype(np.complex128 if np.iscomplexobj(values) else np.float64)  # a copy
        if real is not None:
            values[:, ~to_numpy(real)] = 0.0
        if not np.isfinite(values).all():
            raise ProbeError(
                f"{name!r} cannot be measured: its responses to the inputs as they are are not finite; leave out the "
                "inputs for which it is not, or choose other layers and outputs"
            )
        result[name] = values
    return result


def _alone(session: Session, inputs: Any, place: int, element: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """Return responses (features…) to one input under one element."""
    one = session.domain.select(inputs, slice(place, place + 1))
    try:
        found = as_numbers(session, one, session.along(one, element[None]))
    except (ValueError, ProbeError) as error:  # one input has no variance
        if isinstance(error, JetsymError) and "finite" not in str(error):
            raise
        raise ProbeError(f"inputs can be evaluated in a batch, but not one alone ({error}): {MIXES}") from error
    return {name: values[0, 0] for name, values in found.items()}


def _refuse_random(name: str, differing: float, eps: float, *, at_least: float, draws: bool) -> None:
    if differing <= max(MOST * eps, at_least):
        return
    does = "draws random numbers" if draws else "draws random numbers or keeps a state"
    raise ProbeError(
        f"{name!r} differs by {differing:.1g} of its size between two evaluations of the same inputs, where rounding "
        f"makes about {eps:.0e}: the model {does} (dropout in training mode, noise layers, samplers), so that what a "
        "symmetry changes cannot be told from chance; put it in evaluation mode, or fix what it draws"
    )


def _spacing(values: NDArray[Any]) -> float:
    """Return the relative spacing of numbers, by the binary digits that they need; 0 where they tell of none.

    Those of a precision need most of its digits, as whole numbers and fractions do not.

    Examples
    --------
    >>> _spacing(np.sqrt(np.arange(2.0, 20.0)).astype(np.float16).astype(float)) == 2.0**-10, _spacing(np.arange(20.0))
    (True, 0.0)
    """
    parts = np.abs(values.view(np.float64))
    digits = (np.frexp(parts[parts > 0])[0] * 2.0**53).astype(np.int64)
    if not digits.size:
        return 0.0
    needed = 53 - np.log2(digits & -digits)  # the last digit that is not zero
    for eps in sorted(EPS.values(), reverse=True):
        most = 1 - np.log2(eps)
        if needed.max() <= most and np.median(needed) >= most - 3:
            return eps
    return 0.0


def _root_mean_square(values: NDArray[Any]) -> float:
    return float(np.sqrt((np.abs(values) ** 2).mean())) if values.size else 0.0


def _random_states() -> list[Any]:
    """Return the states of the random numbers that all share, of Python, numpy and torch."""
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    kind, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002  # what models draw from, not the probe
    states = [random.getstate(), kind, np.asarray(keys).tobytes(), *rest]
    return states + [state.numpy().tobytes() for state in (torch.get_rng_state(), *devices)]
