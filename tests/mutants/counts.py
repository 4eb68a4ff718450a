"""How many mutants the tests notice, of those that can be noticed."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

from jetsym.reading import parse_yaml

__all__ = ["equivalent", "summary", "told"]

EQUIVALENT = Path(__file__).with_name("equivalent.yaml")


def equivalent() -> list[dict[str, str]]:
    """Return the changes that no test can notice: file, the lines before and after, and why."""
    return parse_yaml(EQUIVALENT.read_text(encoding="utf-8")) or [] if EQUIVALENT.exists() else []


def summary(results: dict[str, Any], unseen: list[dict[str, str]]) -> dict[str, Any]:
    """Return how many mutants of those that can be noticed were killed, and the binomial error of that share.

    Examples
    --------
    >>> results = {f"a.py:{n} …": {"before": "a", "after": "b", "how": "killed"} for n in range(99)}
    >>> results |= {"a.py:1 …": {"before": "a", "after": "c", "how": "survived"}}
    >>> found = summary(results, [])
    >>> found["drawn"], found["killed"], found["share"], round(found["error"], 4)
    (99, 98, 0.98989898989899, 0.01)
    >>> summary(results, [{"file": "a.py", "before": "a", "after": "c", "why": "…"}])["equivalent"]
    1
    """
    reasons = {(one["file"], one["before"], one["after"]): one["why"] for one in unseen}
    survived = {name: one for name, one in results.items() if one["how"] == "survived"}
    explained = {
        name: reasons[key]
        for name, one in survived.items()
        if (key := (name.partition(":")[0], one["before"], one["after"])) in reasons
    }
    counts = Counter(one["how"] for one in results.values())
    killed = counts["killed"] + counts["timeout"]
    able = len(results) - len(explained)
    share = killed / able if able else math.nan
    return {
        "drawn": len(results),
        "killed": killed,
        "of them by the time they took": counts["timeout"],
        "equivalent": len(explained),
        "survived": len(survived) - len(explained),
        "share": share,
        "error": math.sqrt(share * (1 - share) / able) if able else math.nan,
        "share, equivalent ones counted as survivors": killed / len(results) if results else math.nan,
        "equivalent ones": explained,
        "survivors": {
            name: f"{one['before']} → {one['after']}" for name, one in survived.items() if name not in explained
        },
    }


def told(found: dict[str, Any]) -> str:
    """Return the summary in words."""
    lines = [
        f"{found['drawn']} mutants: {found['killed']} killed, {found['equivalent']} equivalent, "
        f"{found['survived']} survived; {100 * found['share']:.1f} ± {100 * found['error']:.1f} % of those that can be "
        "noticed are killed"
    ]
    return "\n".join([*lines, *(f"{name}: {change}" for name, change in found["survivors"].items())])
