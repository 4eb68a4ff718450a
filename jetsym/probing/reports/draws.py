"""Baselines of a report: several networks that were never trained as one report, or one other network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from jetsym.probing.reports.significance import quantile
from jetsym.storage import Stored

__all__ = ["INITIAL", "UNTRAINED", "baseline_words", "least_gap", "over_draws", "with_model"]

#: What :func:`jetsym.probe` takes for a baseline besides models: fresh initialisations, and a run's own weights at
#: step 0.
UNTRAINED, INITIAL = "untrained", "initial"

R = TypeVar("R", bound="Stored")


def over_draws(reports: Sequence[R]) -> R:
    """Return a report of the means over several initialisations, with standard deviations over them for errors.

    Every number that has a standard error gets the standard deviation over the draws in its place; noise floors are
    the largest, evaluations and seconds those of all. ``meta["n_draws"]`` is the number of draws.
    """
    return type(reports[0]).from_dict(_together([report.to_dict() for report in reports]))


def _together(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Put dictionaries of one form together, one for every draw."""
    return {key: _combined(key, items) for key in items[0]}


def _combined(key: str, items: Sequence[Mapping[str, Any]]) -> Any:
    values = [item[key] for item in items]
    if key == "meta":
        total = {name: sum(meta[name] for meta in values) for name in ("evaluations", "seconds") if name in values[0]}
        return {**values[0], **total, "baseline": UNTRAINED, "n_draws": len(values)}
    if key == "noise_floor":
        return np.max(values, axis=0).tolist()
    if key.endswith("stderr"):  # that of the fractions is called so, others after what they belong to
        of = key.removesuffix("_stderr") if key != "stderr" else "fractions"
        return _apply(lambda draws: np.std(draws, axis=0, ddof=1), [item[of] for item in items])
    return _apply(lambda draws: np.mean(draws, axis=0), values)


def _apply(function: Callable[[Any], Any], values: Sequence[Any]) -> Any:
    """Apply a function of draws to numbers, lists and dictionaries of numbers; anything else is that of the first."""
    first = values[0]
    if isinstance(first, Mapping):
        if any(isinstance(value, Mapping) for value in first.values()) or "noise_floor" in first or "meta" in first:
            return _together(values)
        return {key: _apply(function, [value[key] for value in values]) for key in first}
    numbers = np.asarray(first)
    if numbers.dtype.kind != "f":
        return first
    return function(np.asarray(values, dtype=float)).tolist()


def with_model(report: R, name: str) -> R:
    """Return a report whose ``meta["baseline"]`` says which other network it is of."""
    data = report.to_dict()
    return type(report).from_dict({**data, "meta": {**data["meta"], "baseline": name}})


def baseline_words(meta: Mapping[str, Any]) -> str:
    """Say what a baseline is."""
    name, draws = meta.get("baseline", UNTRAINED), meta.get("n_draws")
    if name == INITIAL:
        return "the weights before the first step"
    if name != UNTRAINED:
        return f"the baseline {name}"
    return "an untrained copy" if draws is None else f"{draws} untrained copies, mean and standard deviation"


def least_gap(stderr: float, meta: Mapping[str, Any], sigma: float = 3.0) -> float:
    """Return how far from a baseline's mean a further draw would lie by chance alone: t s √(1 + 1/n) of n draws.

    For a baseline that is one network ``sigma`` standard errors over its inputs, by Student's t as well.
    """
    draws = meta.get("n_draws")
    if draws is None:
        return quantile(sigma, meta["n_inputs"]) * stderr
    return quantile(sigma, draws) * stderr * float(np.sqrt(1 + 1 / draws))
