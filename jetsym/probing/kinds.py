"""Kinds of outputs: what they are said to be, and so how they should transform."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from array_api_compat import array_namespace

from jetsym.domains.base import Action
from jetsym.errors import ProbeError, SpectrumError
from jetsym.spectrum import Group
from jetsym.spectrum.representations import Kind, Representation, representation

__all__ = ["FOUR_VECTOR", "as_measured", "axes_of_object", "check_law", "representation_of", "token_mask"]

INVARIANT = ("logits", "scalar")
#: The kind of output that has a law under boosts.
FOUR_VECTOR = "four-vector"


def representation_of(kind: Kind, group: Group | None = None) -> Representation:
    """Return the representation of a kind of output, of a group; what is none is the caller's mistake, a ProbeError."""
    try:
        return representation(kind) if group is None else representation(kind).under(group)
    except SpectrumError as error:
        raise ProbeError(str(error)) from error


def as_measured(response: Any, kind: Kind) -> Any:
    """Return an output as it is measured: logits without their mean over classes, as a common shift predicts nothing.

    Parameters
    ----------
    response
        (evaluations, …, *shape) array. A single logit, (evaluations, …, 1) or (evaluations,), tells two classes apart:
        it is measured as the logits (0, z) that it stands for, of which the softmax is the sigmoid of z.
    kind
        What it is said to be; see :func:`jetsym.spectrum.representations.representation`.

    Raises
    ------
    ProbeError
        An unknown kind, or a shape that does not fit it.

    Examples
    --------
    >>> import numpy as np
    >>> as_measured(np.array([[1.0, 2.0, 6.0]]), "logits")
    array([[-2., -1.,  3.]])
    >>> as_measured(np.array([[4.0]]), "logits")
    array([[-2.,  2.]])
    """
    rho = representation_of(kind)
    shape = tuple(response.shape)
    if shape[max(1, len(shape) - len(rho.shape)) :] != rho.shape:
        expected = ", ".join(["samples", "…", *map(str, rho.shape)])
        raise ProbeError(
            f"an output of shape {shape} is said to be {rho.name!r}, which needs shape ({expected}); say what it is "
            "with outputs=…, or wrap the model with call=…"
        )
    if kind != "logits":
        return response
    if not shape or 0 in shape[1:]:
        raise ProbeError(f"logits of shape {shape} have no classes; call this output 'scalar'")
    if len(shape) == 1 or shape[-1] == 1:
        half = (response[:, None] if len(shape) == 1 else response) / 2
        return array_namespace(half).concat([-half, half], axis=-1)
    return response - response.sum(-1)[..., None] / response.shape[-1]


def axes_of_object(kind: Kind | None) -> int:
    """Return how many axes one object of an output has, such as the 3 × 3 of a rank-2 tensor or the classes of logits.

    Examples
    --------
    >>> axes_of_object("rank2"), axes_of_object("logits"), axes_of_object("scalar")
    (2, 1, 0)
    """
    return 1 if kind == "logits" else 0 if kind is None else len(representation_of(kind).shape)


def token_mask(mask: Any, response: Any, kind: Kind | None = None) -> Any:
    """Return the mask of the inputs' tokens, where a response (elements, samples, tokens, features…) has them, or None.

    By its shape, for inputs of which nothing else is known. The axes of one object of an output, such as the 3 × 3 of a
    rank-2 tensor, are never taken for tokens.
    """
    own = 1 if kind is None else max(1, axes_of_object(kind))
    if mask is None or response.ndim < 3 + own or tuple(response.shape[1:3]) != tuple(mask.shape):
        return None
    return mask


def check_law(kinds: Mapping[str, Kind], action: Action, *, four_vectors: bool = False) -> None:
    """Refuse outputs that turn, where an action does not say how; of ``four_vectors`` it may know."""
    known = (*INVARIANT, FOUR_VECTOR) if four_vectors and action.back is not None else INVARIANT
    turning = [name for name, kind in kinds.items() if kind not in known]
    if turning and not action.on_outputs:
        said = representation_of(kinds[turning[0]]).name
        raise ProbeError(
            f"output {turning[0]!r} is said to be {said!r}, whose law is known for rotations in the lab "
            f"about a fixed axis or all axes only; measure {' or '.join(known)} here, or outputs={{}}"
        )
