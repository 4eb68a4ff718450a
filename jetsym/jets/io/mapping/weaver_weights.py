"""The weights of weaver-core's data configurations, which it computes of histograms of the training data."""

from __future__ import annotations

from typing import Any

import numpy as np

from jetsym.errors import ConfigError
from jetsym.jets.io.mapping.reweighting import WeaverWeights
from jetsym.jets.io.mapping.sections import branch_of, expression_of, is_number, listed_names, shown

__all__ = ["reweighting_of"]


def reweighting_of(said: dict[str, Any], where: str) -> WeaverWeights:
    """Return how weights are computed, as the section ``weights`` says it, which stands ``where``.

    Raises
    ------
    ConfigError
        If it says something that has no meaning; the message names the key.
    """
    bins = said.get("reweight_vars")
    edges = [
        np.array(each if isinstance(each, list) and all(map(is_number, each)) else [], np.float64)
        for each in (bins.values() if isinstance(bins, dict) else ())
    ]
    if (
        not isinstance(bins, dict)
        or len(edges) != 2
        or not all(len(each) > 1 and (np.diff(each) > 0).all() for each in edges)
    ):
        raise ConfigError(f"{where}.reweight_vars is {shown(bins)}; expected two variables with growing edges")
    classes = listed_names(said.get("reweight_classes"), f"{where}.reweight_classes")
    if (method := said.get("reweight_method")) not in ("flat", "ref"):
        raise ConfigError(f"{where}.reweight_method is {shown(method)}; expected flat or ref")
    shares = said.get("class_weights") or [1] * len(classes)
    if not isinstance(shares, list) or len(shares) != len(classes) or not all(is_number(n) for n in shares):
        raise ConfigError(f"{where}.class_weights is {shown(shares)}; expected a number for each class")
    threshold = said.get("reweight_threshold", 10)
    if not is_number(threshold) or not 0 <= threshold <= 100:
        raise ConfigError(f"{where}.reweight_threshold is {shown(threshold)}; expected a percentage")
    base = said.get("reweight_basewgt")
    hists = said.get("reweight_hists")
    table = None
    if hists is not None:
        shape = tuple(len(each) - 1 for each in edges)
        found = [np.array(hists.get(name, []), np.float32) for name in classes] if isinstance(hists, dict) else []
        if not found or any(each.shape != shape for each in found):
            raise ConfigError(f"{where}.reweight_hists has no table of {shape[0]} × {shape[1]} for each class")
        table = np.stack(found)
    return WeaverWeights(
        axes=tuple(branch_of(name, f"{where}.reweight_vars") for name in bins),
        edges=tuple(edges),
        classes=tuple(branch_of(name, f"{where}.reweight_classes") for name in classes),
        by_reference=method == "ref",
        shares=tuple(map(float, shares)),
        threshold=float(threshold),
        inside_only=bool(said.get("reweight_discard_under_overflow", True)),
        base=expression_of(base, f"{where}.reweight_basewgt") if base else None,
        table=table,
    )
