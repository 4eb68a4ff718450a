"""The options of a probe, refused before anything is read or run, and what is chosen where calls are dear."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

import torch

from jetsym.errors import ProbeError, expect_at_least, expect_one_of
from jetsym.probing.kinds import representation_of
from jetsym.spectrum.representations import Kind
from jetsym.symmetry import Axis, Distribution, Symmetry

__all__ = ["AUTO", "ProbeOptions", "affordable", "check", "check_kinds", "values_over"]

AUTO = "auto"
METHODS = (AUTO, "quadrature", "icosahedral", "random")
#: Random rotations per input where the caller leaves it open.
RANDOM_ROTATIONS = 32
#: Fewer say nothing of their own spread.
LEAST_ROTATIONS = 3
#: Calls beside the orbit, at most, where the domain names a few inputs: rounding, reproducibility, and one an input.
BESIDE = 200


class ProbeOptions(TypedDict, total=False):
    """The options of :func:`jetsym.probe` but the group, for type checkers; they are described there."""

    frame: str | None
    axis: Axis | None
    moves: Mapping[Any, Any] | None
    action: Callable[[Any, Any], Any] | None
    call: Callable[[Any, Any], Any] | None
    layers: str | Sequence[str] | Mapping[str, str | None]
    tokens: Mapping[str, int | tuple[int, int] | None] | None
    outputs: Mapping[str, Kind | None] | None
    l_max: int | str
    tolerance: float
    method: str
    n_rotations: int | None
    distribution: Distribution
    widths: Sequence[float]
    limit: int
    seed: int
    device: str | None
    batch_size: int | str
    baseline: Any
    n_draws: int
    progress: bool


def check(
    *, method: str, l_max: int | str, n_rotations: int | None, limit: int, seed: int, device: Any, n_draws: int = 2
) -> None:
    """Refuse options that cannot be used."""
    expect_one_of("method", method, METHODS, ProbeError)
    if not isinstance(l_max, str) or l_max != AUTO:
        expect_at_least("l_max", l_max, 0, ProbeError, otherwise=f"{AUTO!r} or ")
    elif method in ("random", "icosahedral") or n_rotations is not None:
        raise ProbeError("l_max='auto' compares two rules of quadrature; give a number for other methods")
    expect_at_least("limit", limit, 1, ProbeError)
    expect_at_least("seed", seed, 0, ProbeError)
    if n_rotations is not None:
        expect_at_least("n_rotations", n_rotations, LEAST_ROTATIONS, ProbeError)
        if method in ("quadrature", "icosahedral"):
            raise ProbeError("n_rotations goes with method='random'; those of a quadrature follow from l_max")
    expect_at_least("n_draws", n_draws, 2, ProbeError)
    if device is not None:
        _check_device(device)


def _check_device(device: Any) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:  # torch built without CUDA asserts
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise ProbeError(f"device is {device!r}, which cannot be used ({reason}); expected one like 'cpu'") from None


def check_kinds(kinds: Mapping[str, Kind], l_max: int | None) -> None:
    """Refuse what is no kind of output, and what a rule for l_max does not resolve (None: there is no such limit)."""
    for name, kind in kinds.items():
        rho = representation_of(kind)
        lam = rho.lam
        if l_max is not None and lam > l_max:  # what the rule says about it would be wrong
            raise ProbeError(
                f"output {name!r} is said to be {rho.name!r}, with λ up to {lam}, but l_max is {l_max}; "
                f"expected l_max of at least {lam}"
            )


def affordable(size: int, cosets: int, most: int, *, beside: int, least: int, meant: str) -> int:
    """Return how many random rotations of each input keep to the calls that a domain allows.

    Parameters
    ----------
    size, cosets
        How many inputs, and evaluations per rotation.
    most, beside
        Calls in all, and those among them that are not along the orbits.
    least
        Rotations that are needed.
    meant
        Options by which a caller says that more are meant.

    Raises
    ------
    ProbeError
        There are too many inputs for the rotations that are needed.

    Examples
    --------
    >>> affordable(10, 2, 1000, beside=200, least=4, meant="n_rotations=…")
    40
    """
    n = (most - beside) // (cosets * size)
    if n < least:
        raise ProbeError(
            f"{size} inputs under {least} rotations each are more than {most:,} calls; expected a smaller limit=…, or "
            f"{meant} to say that so many are meant"
        )
    return n


def values_over(over: Mapping[str, Sequence[float]], symmetry: Symmetry) -> tuple[str, tuple[float, ...]]:
    """Return the argument that is given one number after the other, and the numbers."""
    if not symmetry.is_compact:
        raise ProbeError(
            f"over={over!r} goes with groups that have a spectrum, not {symmetry.group!r}; measure one value at a time"
        )
    if not isinstance(over, Mapping) or len(over) != 1 or not isinstance(next(iter(over)), str):
        raise ProbeError(f"over is {over!r}; expected one argument of the model and its values, as {{'t': [0.0, 1.0]}}")
    ((argument, values),) = over.items()
    try:
        numbers = () if isinstance(values, str) else tuple(float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise ProbeError(
            f"over={over!r} does not hold numbers ({error}); expected such as {{'t': [0.0, 1.0]}}"
        ) from error
    if not numbers or not all(map(math.isfinite, numbers)):
        raise ProbeError(f"over={over!r} holds no finite numbers; expected such as {{'t': [0.0, 1.0]}}")
    if len(set(numbers)) < len(numbers):
        raise ProbeError(f"over={over!r} holds a number twice; expected each once, such as {{'t': [0.0, 1.0]}}")
    return argument, numbers
