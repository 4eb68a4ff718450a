"""The scores of a tagger: logits or probabilities, one for every class, or one alone that tells two classes apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from jetsym.errors import DataError, expect_one_of

__all__ = ["Scores", "as_logits", "look_like_probabilities"]

#: What the numbers of a tagger are.
Scores = Literal["logits", "probabilities"]

#: How far the probabilities of a jet may sum to something else than 1: the rounding of bfloat16, the coarsest dtype in
#: use, as what is float32 now may have been computed in it.
ROUNDING = torch.finfo(torch.bfloat16).eps


def as_logits(output: Tensor, scores: Scores | None = None, *, classes: Sequence[str] | None = None) -> Tensor:
    """Return the logits of what a tagger gives for some jets, and refuse probabilities that nobody has called so.

    A single number z for a jet tells two classes apart. It stands for the logits (0, z), of which the softmax is the
    sigmoid of z: the more, the more the jet looks like the second class. Log-probabilities are logits.

    Parameters
    ----------
    output
        (B, classes), or (B, 1) or (B,) for two classes.
    scores
        What they are: "logits", or "probabilities", which are in [0, 1] and sum to 1 over the classes. None takes them
        for logits, unless they look like probabilities.
    classes
        Names of the classes, if they are known.

    Returns
    -------
    Tensor
        (B, classes). Those of probabilities are their logarithms, in float64; what their dtype rounds to 0 (or, one
        alone, to 1) counts as the next smaller number that it could hold.

    Raises
    ------
    DataError
        The shape is another, or does not go with the classes; the numbers look like probabilities and nobody has said
        what they are; or they are said to be, and are not.
    ConfigError
        ``scores`` is none of these words.

    Examples
    --------
    >>> as_logits(torch.tensor([2.0, -1.0]))
    tensor([[ 0.,  2.],
            [ 0., -1.]])
    >>> as_logits(torch.tensor([[0.25, 0.75], [0.5, 0.5]]), "probabilities").exp()
    tensor([[0.2500, 0.7500],
            [0.5000, 0.5000]], dtype=torch.float64)
    >>> as_logits(torch.tensor([[0.25, 0.75], [0.5, 0.5]]))
    Traceback (most recent call last):
    jetsym.errors.DataError: the numbers of all 2 jets are in [0, 1] and sum to 1 over the classes, as probabilities \
do and logits do not; say scores='probabilities' if they are, such as of a model that ends in a softmax, else \
scores='logits'
    """
    expect_one_of("scores", scores, (None, "logits", "probabilities"))
    table = output[:, None] if output.ndim == 1 else output
    if table.ndim != 2 or not table.shape[1]:
        raise DataError(
            f"logits have shape {tuple(output.shape)}; expected (B, classes), or (B, 1) or (B,) for two classes"
        )
    columns = max(2, table.shape[1])
    if classes is not None and columns != len(classes):
        raise DataError(
            f"the logits have shape {tuple(output.shape)}, which tells {columns} classes apart, and there are "
            f"{len(classes)}: {', '.join(classes[:12])}{', …' if len(classes) > 12 else ''}; expected one for each, or "
            "one alone where there are two (of a model, those of its attribute 'classes', else those of the jets)"
        )
    if scores is None and look_like_probabilities(table):
        alone = table.shape[1] == 1
        how = "are in [0, 1], one for each" if alone else "are in [0, 1] and sum to 1 over the classes"
        raise DataError(
            f"the numbers of all {len(table)} jets {how}, as probabilities do and logits do not; say "
            f"scores='probabilities' if they are, such as of a model that ends in a {'sigmoid' if alone else 'softmax'}"
            ", else scores='logits'"
        )
    if scores == "probabilities":
        return _log_odds(table)
    return torch.cat([torch.zeros_like(table), table], dim=1) if table.shape[1] == 1 else table


def look_like_probabilities(table: Tensor) -> bool:
    """Tell whether (B, classes) or (B, 1) numbers are in [0, 1] for every jet, and sum to 1 if there are several.

    Of one alone no sum can tell. Logits in [0, 1] would take every jet for signal, and none with more than 73 %; zeros
    alone are what a head gives that has not been trained.
    """
    if not len(table) or not bool(_unlike_probabilities(table).logical_not().all()):
        return False
    return table.shape[1] > 1 or bool(table.any())


def _unlike_probabilities(table: Tensor) -> Tensor:
    """Return (B,) bool: jets whose numbers are no probabilities, NaN among them."""
    wide = table.double()
    inside = ((wide >= 0) & (wide <= 1 + ROUNDING)).all(dim=1)
    return ~inside if table.shape[1] == 1 else ~(inside & ((wide.sum(dim=1) - 1).abs() <= ROUNDING))


def _log_odds(table: Tensor) -> Tensor:
    """Return (B, classes) logits of (B, classes) or (B, 1) probabilities, in float64."""
    wrong = _unlike_probabilities(table).nonzero().flatten().tolist()
    if wrong:
        row = table[wrong[0]].tolist()
        summed = "" if len(row) == 1 else f", which sum to {sum(row):.4g}"
        shown = ", ".join(f"{value:.4g}" for value in row[:12]) + (", …" if len(row) > 12 else "")
        raise DataError(
            f"the probabilities of {len(wrong)} of {len(table)} jets are none, the first (jet {wrong[0]}): {shown}"
            f"{summed}; expected finite numbers in [0, 1]{'' if len(row) == 1 else ' that sum to 1 over the classes'}"
        )
    held = torch.finfo(table.dtype if table.is_floating_point() else torch.float64)
    wide = table.double()
    logs = wide.clamp(min=held.tiny * held.eps).log()  # the smallest number that is not zero
    if table.shape[1] > 1:
        return logs
    return torch.cat([torch.zeros_like(logs), logs - (1 - wide).clamp(min=held.eps / 4).log()], dim=1)
