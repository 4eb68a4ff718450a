"""Five ways to a symmetric tagger, side by side: how well it tags, which symmetry it has in the end, what it costs.

================  ================================================================================================
``none``          original jets, the plain backbone: whatever symmetry it shows it has learned from the data
``augmentation``  the backbone on jets moved at random, anew every time they are seen
``penalty``       the backbone on original jets, with a term in the loss for what its logits make of random moves
``generators``    the same with the slopes of the logits along the generators of rotations in place of random moves
``canonicalised`` the backbone sees every jet in axes of the jet's own, see :mod:`jetsym.jets.moves.canonical`
``exact``         a network that is invariant by construction: LLoCa, a plain transformer in local frames
================  ================================================================================================

The first five share their backbone and all its sizes. The last is another network of the same width and depth, which
is the same plain transformer where its frames are left out; invariant under proper rotations, and without the direction
of time among its inputs under the whole proper Lorentz group.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jetsym.errors import ConfigError, closest
from jetsym.forms import expect_facts
from jetsym.jets import checkpoint
from jetsym.jets.batch import JetBatch, labels_of
from jetsym.jets.evaluation import metrics
from jetsym.jets.evaluation.evaluate import expect_same_classes, predict_logits
from jetsym.jets.models import Tagger
from jetsym.jets.moves.actions import rotate
from jetsym.jets.moves.frames import has_rest_frame
from jetsym.jets.moves.sampling import random_rotations
from jetsym.jets.sources import some_of
from jetsym.probing.probe import probe
from jetsym.probing.reports.spectrum import SymmetryReport
from jetsym.results import Result
from jetsym.symmetry import FRAMES as ALL_FRAMES, GroupName, Symmetry
from jetsym.text import as_text, concise, table_of

__all__ = [
    "FRAMES",
    "REGIMES",
    "Comparison",
    "Outcome",
    "compare_runs",
    "measure_run",
    "regime_options",
    "train_seconds",
]

REGIMES = ("none", "augmentation", "penalty", "generators", "canonicalised", "exact")

#: Name -> group and frame of the symmetries that are measured.
FRAMES: dict[str, dict[str, str]] = {
    symmetry.label: {"group": symmetry.group, "frame": symmetry.frame}
    for symmetry in (Symmetry(group, frame) for frame in ALL_FRAMES for group in (GroupName.SO3, GroupName.O3))
}


def regime_options(
    regime: str,
    *,
    backbone: str = "pointnet",
    options: Mapping[str, Any] | None = None,
    group: str = GroupName.SO3,
    frame: str | None = None,
    weight: float = 0.1,
) -> dict[str, Any]:
    """Return the fields of :class:`~jetsym.training.config.TrainConfig` that make a regime.

    Parameters
    ----------
    regime
        A name of :data:`REGIMES`.
    backbone, options
        Name and options of the tagger; "exact" takes none of its options but ``blocks``, ``heads`` and ``width``.
    group, frame
        The symmetry that is aimed at: "SO3" or "O3", in the "lab" or at "rest". "generators" are those of the lab, and
        "exact" is invariant under proper rotations alone.
    weight
        Of the penalty.

    Raises
    ------
    ConfigError
        There is no such regime.

    Examples
    --------
    >>> regime_options("penalty", group="O3")["penalty"]
    {'weight': 0.1, 'moves': {'group': 'O3', 'frame': 'lab'}}
    """
    symmetry, own = Symmetry.parse(group, frame), dict(options or {})
    moves = {"group": symmetry.group, "frame": symmetry.frame}
    plain: dict[str, Any] = {"model": backbone, "options": own}
    if regime == "none":
        return plain
    if regime == "augmentation":
        return plain | {"augmentation": moves}
    if regime == "penalty":
        return plain | {"penalty": {"weight": weight, "moves": moves}}
    if regime == "generators":
        rotations = {"weight": weight, "generators": ["J_x", "J_y", "J_z"]}
        return plain | {"penalty": rotations, "precision": "32-true"}
    if regime == "canonicalised":
        return {"model": "canonical", "options": {"backbone": backbone, "options": own, **moves}}
    if regime == "exact":
        heads, width = own.get("heads", 4), own.get("width", 64)
        per_head = width // heads
        vectors = per_head // 8  # half of the channels in vectors, of four components each
        sizes = {"hidden": width // 2, "head_scalars": per_head - 4 * vectors, "head_vectors": vectors}
        sizes |= {"heads": heads, "blocks": own.get("blocks", 3)}
        return {"model": "lloca", "options": {"beam": "none", "time": not symmetry.is_at_rest, **sizes}}
    raise ConfigError(f"there is no regime {regime!r}; {closest(regime, REGIMES)}")


@dataclass(frozen=True)
class Outcome:
    """The result of one run.

    Parameters
    ----------
    name
        Of the run's folder.
    regime
        What it is grouped with.
    quality
        Accuracy and AUCs of the test jets as they are, and with ``rotated_`` before them under random rotations.
    symmetry
        Name of a symmetry -> A of the logits ("absolute"), "relative" and "over_spread", with standard errors over jets
        of the first two; see :class:`~jetsym.probing.reports.equivariance.Equivariance`.
    cost
        Number of ``parameters``; ``epochs`` and ``train_seconds`` on the machine that trained it; ``jets_per_s`` of
        inference here.
    """

    name: str
    regime: str
    quality: Mapping[str, float]
    symmetry: Mapping[str, Mapping[str, float]]
    cost: Mapping[str, float]


def measure_run(
    run: str | Path,
    test: JetBatch,
    *,
    regime: str | None = None,
    probed: int = 64,
    n_rotations: int = 32,
    symmetries: Iterable[str] = FRAMES,
    seed: int = 0,
) -> Outcome:
    """Measure a trained tagger of any regime.

    Parameters
    ----------
    run
        Its folder.
    test
        Labelled jets.
    regime
        What to group it with; its folder's name if not given.
    probed
        Jets whose orbits are measured, spread over the test jets.
    n_rotations
        Random rotations of each jet's own (unbiased, whatever the bandwidth), and as many inversions for O3.
    symmetries
        Some of :data:`FRAMES`.
    seed
        Of the random rotations.

    Raises
    ------
    DataError
        The jets are of other classes, or have no labels.
    CheckpointError
        There is no run.
    """
    run = Path(run)
    tagger = checkpoint.load(run)
    expect_same_classes(tagger, test)
    quality, speed = _quality(tagger, test, seed=seed)
    jets = some_of(test[has_rest_frame(test)], probed)
    symmetry = {}
    for name in symmetries:
        how: dict[str, Any] = {**FRAMES[name], "method": "random", "n_rotations": n_rotations, "l_max": 0}
        report = probe(tagger, jets, layers=[], limit=probed, seed=seed, progress=False, **how)
        assert isinstance(report, SymmetryReport)
        error = asdict(report.equivariance["logits"])
        symmetry[name] = {key: error[key] for key in _ERRORS}
    header, _ = checkpoint.read(run / checkpoint.LAST)
    cost = {
        "parameters": float(sum(parameter.numel() for parameter in tagger.parameters())),
        "epochs": float(header.epoch),
        "train_seconds": train_seconds(run),
        "jets_per_s": speed,
    }
    return Outcome(run.name, regime or run.name, quality, symmetry, cost)


_ERRORS = ("absolute", "absolute_stderr", "relative", "relative_stderr", "over_spread", "noise_floor")


def _quality(tagger: Tagger, test: JetBatch, *, seed: int) -> tuple[dict[str, float], float]:
    """Measure accuracy and AUCs of original and rotated jets, and jets per second of inference."""
    import torch

    rotated = rotate(test, random_rotations(len(test), generator=torch.Generator().manual_seed(seed))[None])
    values: dict[str, float] = {}
    start = time.perf_counter()
    for prefix, jets in (("", test), ("rotated_", rotated)):
        logits = predict_logits(tagger, jets)
        found = metrics.summary(logits, labels_of(jets), classes=jets.classes, efficiencies=(), scores="logits")
        values |= {f"{prefix}{name}": value for name, value in found.items()}
    return values, 2 * len(test) / (time.perf_counter() - start)


def train_seconds(run: str | Path) -> float:
    """Return the seconds that the training of a run has taken so far."""
    from jetsym.training.folder import RunFolder

    folder = RunFolder(run)
    folder.restore()
    return float(sum(line["seconds"] for line in folder.metrics))


@dataclass(frozen=True, eq=False)
class Comparison(Result):
    """Runs side by side.

    Parameters
    ----------
    outcomes
        One for every run.
    meta
        How they were measured.
    """

    outcomes: tuple[Outcome, ...]
    meta: Mapping[str, Any]

    KIND: ClassVar[str] = "regimes"
    FORMAT: ClassVar[int] = 2

    def values(self, regime: str, part: str, *keys: str) -> tuple[float, float]:
        """Return the mean over the runs of a regime of a number, and its standard error; NaN for that of a single run.

        Examples
        --------
        >>> runs = [Outcome("a", "none", {"accuracy": x}, {}, {}) for x in (0.4, 0.5)]
        >>> Comparison(tuple(runs), {}).values("none", "quality", "accuracy")
        (0.45, 0.04999999999999999)
        """
        numbers = []
        for outcome in self.outcomes:
            if outcome.regime == regime:
                value: Any = getattr(outcome, part)
                for key in keys:
                    value = value.get(key, float("nan")) if isinstance(value, Mapping) else value
                numbers.append(float(value))
        spread = float(np.std(numbers, ddof=1) / np.sqrt(len(numbers))) if len(numbers) > 1 else float("nan")
        return float(np.mean(numbers)), spread

    @property
    def regimes(self) -> tuple[str, ...]:
        """Names of the regimes, in the order of the runs."""
        return tuple(dict.fromkeys(outcome.regime for outcome in self.outcomes))

    @property
    def symmetries(self) -> tuple[str, ...]:
        """Names of the measured symmetries."""
        return tuple(dict.fromkeys(name for outcome in self.outcomes for name in outcome.symmetry))

    def __str__(self) -> str:
        quality = {"accuracy": "accuracy", "rotated_accuracy": "rotated"}
        measured = {key for outcome in self.outcomes for key in outcome.quality}
        quality |= {name: name for name in ("macro_auc_ovo", "macro_auc_ovr") if name in measured}
        cost = {"parameters": "parameters", "train_seconds": "train s", "jets_per_s": "jets/s"}
        heads = [*quality.values(), *(f"A {name}" for name in self.symmetries), *cost.values()]
        table = table_of(self._title(), ("regime", *heads))
        for regime in self.regimes:
            cells = [concise(*self.values(regime, "quality", key)) for key in quality]
            for name in self.symmetries:
                floor = self.values(regime, "symmetry", name, "noise_floor")[0]
                relative = concise(*self.values(regime, "symmetry", name, "relative"), floor=floor)
                cells.append(f"{relative} / {concise(*self.values(regime, 'symmetry', name, 'over_spread'))}")
            cells += [f"{self.values(regime, 'cost', key)[0]:,.0f}" for key in cost]
            table.add_row(regime, *cells)
        return as_text(table) + READING + "\n"

    def _records(self) -> Iterator[dict[str, Any]]:
        """Yield a row per run and number: of "quality", of "cost", or of A under a symmetry."""
        for outcome in self.outcomes:
            parts = {"quality": outcome.quality, "cost": outcome.cost, **outcome.symmetry}
            run = {"run": outcome.name, "regime": outcome.regime}
            for part, numbers in parts.items():
                yield from (run | {"part": part, "quantity": name, "value": value} for name, value in numbers.items())

    def _title(self) -> str:
        runs = len(self.outcomes) / max(1, len(self.regimes))
        return f"{runs:g} run(s) of each regime, {self.meta.get('test_jets', '?')} test jets"

    def _check(self) -> None:
        expect_facts(self.meta)


READING = (
    "A of the logits: relative (of their root-mean-square) / over the spread of their orbit averages; a mean over runs "
    "has its standard error over them in brackets; < where rounding may explain all of it."
)


def compare_runs(runs: Mapping[str, str] | Sequence[tuple[str, str]], test: JetBatch, **options: Any) -> Comparison:
    """Measure runs, and put those of a regime together.

    Parameters
    ----------
    runs
        Folder and regime of each, as a mapping or in pairs.
    test, options
        As for :func:`measure_run`.
    """
    pairs = runs.items() if isinstance(runs, Mapping) else runs
    outcomes = [measure_run(run, test, regime=regime, **options) for run, regime in pairs]
    meta = {"test_jets": len(test), **{key: value for key, value in options.items() if key != "symmetries"}}
    return Comparison(tuple(outcomes), meta)
