"""Evaluation of scores that files hold already: those of jetsym predict, of weaver-core, or of anything else."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jetsym.errors import DataError, closest
from jetsym.jets.evaluation.assess import assess
from jetsym.jets.evaluation.auc import MultiClass
from jetsym.jets.evaluation.report import Evaluation
from jetsym.jets.evaluation.score_columns import FLAG, matching, rows_with_scores, truth_of, two_classes
from jetsym.jets.evaluation.scores import Scores, as_logits
from jetsym.jets.io.columns import Columns, open_columns
from jetsym.jets.io.oddities import plural
from jetsym.jets.io.paths import Paths, jet_files
from jetsym.jets.schema import WEIGHT
from jetsym.jets.weights import NO_WEIGHTS, as_weights, weight_column

__all__ = ["ScoredJets", "evaluate_scores", "read_scores"]
#: Columns of a mass in GeV, in the order in which they are looked for.
MASSES = ("jet_sdmass", "jet_mass")


@dataclass(frozen=True, eq=False)
class ScoredJets:
    """Jets of which a tagger's scores and the truth are known.

    Parameters
    ----------
    logits, label
        (B, classes) and (B,) int64.
    classes
        Names, in the order of the logits.
    jet_pt
        (B,) GeV, if it is known.
    columns
        Names of the columns that hold the scores.
    weights
        (B,) float64 of the jets, or None.
    weighed_by
        Name of the column that holds them.
    lost
        Number of rows that are left out, as they have no score at all (NaN).
    jet_mass, mass
        (B,) GeV, if it is known, and what it is called.
    """

    logits: Tensor
    label: Tensor
    classes: tuple[str, ...]
    jet_pt: Tensor | None
    columns: tuple[str, ...]
    weights: Tensor | None = None
    weighed_by: str | None = None
    lost: int = 0
    jet_mass: Tensor | None = None
    mass: str = "jet mass"


def evaluate_scores(
    data: Paths,
    scores: str | Sequence[str] = "score_*",
    *,
    label: str | None = None,
    kind: Scores | None = None,
    background: str | Sequence[str] | None = None,
    working_points: Mapping[str, float] | None = None,
    pt_edges: Sequence[float] | None = None,
    confidence: float = 0.95,
    multi_class: MultiClass = "ovo",
    weights: str | None = None,
) -> Evaluation:
    """Measure the scores that files hold, without a model.

    Parameters
    ----------
    data, scores, label, kind, weights
        See :func:`read_scores`.
    background, working_points, pt_edges, confidence, multi_class
        See :func:`jetsym.jets.evaluation.assess.assess`; bins of pT need a column ``jet_pt``, the mass of
        the background one of ``jet_sdmass`` and ``jet_mass``.

    Raises
    ------
    DataError
        As in :func:`read_scores`.
    ConfigError
        An option names no class, or has no meaning.
    """
    jets = read_scores(data, scores, label=label, kind=kind, background=background, weights=weights)
    if jets.lost:
        print(f"note: {plural(jets.lost, 'row')} without scores left out (NaN)", file=sys.stderr, flush=True)
    found = assess(
        jets.logits,
        jets.label,
        classes=jets.classes,
        jet_pt=jets.jet_pt,
        jet_mass=jets.jet_mass,
        mass=jets.mass,
        background=background,
        working_points=working_points,
        pt_edges=pt_edges,
        confidence=confidence,
        multi_class=multi_class,
        scores="logits",
        weights=jets.weights,
        column=jets.weighed_by or WEIGHT,
    )
    named = scores if isinstance(scores, str) else ", ".join(scores)
    if len(jets.columns) == 1:
        named = f"{jets.columns[0]} (larger for {jets.classes[1]})"
    return replace(found, meta={**found.meta, "scores": named, "columns": list(jets.columns)})


def read_scores(
    data: Paths,
    scores: str | Sequence[str] = "score_*",
    *,
    label: str | None = None,
    kind: Scores | None = None,
    background: str | Sequence[str] | None = None,
    weights: str | None = None,
) -> ScoredJets:
    """Read a tagger's scores and the jets' labels from files.

    Parameters
    ----------
    data
        ROOT, Parquet or HDF5 files, or ``.npz``, with one value per jet in a column; see
        :func:`jetsym.jets.io.columns.open_columns`.
    scores
        A pattern of the columns that hold the scores, such as ``score_*``, or their names one by one. The class of a
        column is what stands for ``*``, without ``label_``; of names, what follows the words that all begin with. A
        single column tells two classes apart: it is larger for the one that is the last word of its name (as in
        ``score_top``; neither in ``prob`` for b, nor in ``score_not_QCD``), else for that which is not ``background``,
        else for label 1.
    label
        The column of the labels: numbers, or names of classes; or a pattern of columns that are 1 for jets of a class
        and 0 for others. By default ``label``, as jetsym predict writes; else flags ``label_QCD`` and so on, or flags
        named as what stands for ``*``, as weaver-core writes; else the numbers of JetClass-II (``jet_label``), of
        weaver-core (``_label_``) or of the top-tagging reference set (``is_signal_new``). Numbers count the classes
        that stand beside them as ``label_classes``, else those of the scores.
    kind
        "probabilities" or "logits". By default probabilities, but for columns whose names begin with ``logit``.
    background
        Of two classes, the one for which a single column is smaller, where its name does not tell.
    weights
        The column that weighs the jets: by default ``weight`` where there is one; "none" for none.

    Raises
    ------
    DataError
        A file cannot be read; no column fits; the probabilities of a jet do not sum to 1; a score is NaN or infinite;
        there are no labels, or jets of a class without a score; or only some of the files have weights.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp()) / "scores.npz"
    >>> np.savez(path, score_QCD=[0.75, 0.25], score_top=[0.25, 0.75], label_QCD=[1, 0], label_top=[0, 1])
    >>> jets = read_scores(path)
    >>> jets.classes, jets.label.tolist(), jets.logits.exp().tolist()
    (('QCD', 'top'), [0, 1], [[0.75, 0.25], [0.25, 0.75]])
    """
    patterns = [scores] if isinstance(scores, str) else list(scores)
    files = jet_files(data)
    parts: list[_Part] = []
    for path in files:
        with open_columns(path) as columns:
            parts.append(_part(path, columns, patterns, label, background, weights))
        if (parts[-1].columns, parts[-1].classes) != (parts[0].columns, parts[0].classes):
            raise DataError(
                f"{path}: has scores {', '.join(parts[-1].columns)} of {', '.join(parts[-1].classes)}, and {files[0]} "
                f"has {', '.join(parts[0].columns)} of {', '.join(parts[0].classes)}; evaluate them one by one"
            )
    first = parts[0]
    table = torch.from_numpy(np.concatenate([part.table for part in parts]))
    if not len(table):
        raise DataError(f"{files[0]}: holds no jets; expected at least one")
    logits = _logits(table, first.columns, kind, shown=f"{files[0]}{' …' if len(files) > 1 else ''}")
    for path, part in zip(files, parts, strict=True):
        if part.weighed_by != first.weighed_by:
            raise DataError(
                f"{path} has {'no' if part.weighed_by is None else 'a'} column {WEIGHT!r} of weights, and {files[0]} "
                f"has {'one' if part.weighed_by is None else 'none'}; evaluate them one by one, or leave the weights "
                f"out with weights={NO_WEIGHTS!r} (--weights {NO_WEIGHTS})"
            )
    weighed = [part.weights for part in parts if part.weights is not None]
    known = [part.jet_pt for part in parts if part.jet_pt is not None]
    return ScoredJets(
        logits,
        torch.from_numpy(np.concatenate([part.label for part in parts])),
        first.classes,
        torch.from_numpy(np.concatenate(known)) if len(known) == len(parts) else None,
        first.columns,
        torch.from_numpy(np.concatenate(weighed)) if weighed else None,
        first.weighed_by,
        sum(part.lost for part in parts),
        *_masses(parts),
    )


def _masses(parts: Sequence[_Part]) -> tuple[Tensor | None, str]:
    """Return the masses of the jets and what they are called; None where files have none, or other ones."""
    named = {part.mass for part in parts}
    known = [part.jet_mass for part in parts if part.jet_mass is not None]
    if len(known) < len(parts) or len(named) > 1:
        return None, MASSES[-1]
    return torch.from_numpy(np.concatenate(known)), named.pop()


def _logits(table: Tensor, columns: Sequence[str], kind: Scores | None, *, shown: str) -> Tensor:
    """Return (B, classes) logits of what columns hold."""
    named = all(name.startswith("logit") for name in columns)
    try:
        if not bool(table.isfinite().all()):
            jet, place = table.isfinite().logical_not().nonzero()[0].tolist()
            raise DataError(f"{columns[place]} is {table[jet, place]} at jet {jet}; expected finite numbers")
        return as_logits(table, kind or (None if named else "probabilities"))
    except DataError as error:
        remedy = "" if kind or named else "; if they are logits, say so with kind='logits' (--kind logits)"
        raise DataError(f"{shown}: {error}{remedy}") from error


@dataclass(frozen=True, eq=False)
class _Part:
    """What one file gives; fields as of :class:`ScoredJets`, with the scores as they are."""

    table: NDArray[Any]
    label: NDArray[np.int64]
    classes: tuple[str, ...]
    jet_pt: NDArray[np.float64] | None
    columns: tuple[str, ...]
    weights: NDArray[np.float64] | None
    weighed_by: str | None
    lost: int
    jet_mass: NDArray[np.float64] | None
    mass: str


def _part(
    path: Any,
    columns: Columns,
    patterns: Sequence[str],
    label: str | None,
    background: str | Sequence[str] | None,
    weights: str | None,
) -> _Part:
    """Read one file."""
    found = matching(columns.names, patterns)
    if not found:
        raise DataError(
            f"{path}: no column fits {', '.join(patterns)}; {closest(patterns[0], columns.names)}: name those that "
            "hold the scores"
        )
    columns, lost = rows_with_scores(columns, list(found))
    values = [columns.read(name) for name in found]
    for name, one in zip(found, values, strict=True):
        if one.dtype.kind not in "fiub":
            raise DataError(f"{path}: the column {name!r} holds {one.dtype}; expected numbers")
    truth = truth_of(path, columns, found, label)
    shown, label_classes, number, _ = truth
    classes = tuple(raw.removeprefix(FLAG) for raw in found.values())
    if len(found) == 1:
        classes = two_classes(path, next(iter(found)), classes[0], truth, background)
        label_classes = label_classes or classes
    elif label_classes is None:
        if not columns.ordered and not all(name in patterns for name in found):
            raise DataError(
                f"{path}: {shown} numbers classes whose order this file does not keep; name the columns of the scores "
                f"in the order of the numbers, such as --scores '[{', '.join(found)}]'"
            )
        label_classes = classes
    if len(set(classes)) != len(classes):
        raise DataError(f"{path}: the columns {', '.join(found)} are of the classes {classes}; expected different ones")
    if len(number) and not 0 <= number.min() <= number.max() < len(label_classes):
        raise DataError(
            f"{path}: {shown} is {number.min()} to {number.max()}; expected 0 to {len(label_classes) - 1}, as there "
            f"are the classes {', '.join(label_classes[:12])}"
        )
    places = np.array([classes.index(name) if name in classes else -1 for name in label_classes])
    own = places[number]
    if (own < 0).any():
        name = label_classes[number[own < 0][0]]
        raise DataError(
            f"{path}: {(own < 0).sum()} of {len(own)} jets are of classes without a score, the first of {name!r} (by "
            f"{shown}); {closest(name, classes)}. Leave these jets out, or name the columns of all classes"
        )
    momenta = columns.read("jet_pt").astype(np.float64) if "jet_pt" in columns.names else None
    if momenta is not None and not np.isfinite(momenta).all():
        raise DataError(f"{path}: jet_pt is not finite for {(~np.isfinite(momenta)).sum()} jets; expected GeV")
    column = weight_column((name for name in columns.names if name not in found), weights)
    weighed = None if column is None else _weights(path, column, columns.read(column))
    mass = next((name for name in MASSES if name in columns.names), None)
    return _Part(
        np.stack(values, axis=1),
        own.astype(np.int64),
        classes,
        momenta,
        tuple(found),
        weighed,
        column,
        lost,
        None if mass is None else columns.read(mass).astype(np.float64),
        mass or MASSES[-1],
    )


def _weights(path: Any, column: str, values: NDArray[Any]) -> NDArray[np.float64]:
    """Return the weights that a column holds."""
    try:
        if values.dtype.kind not in "fiub":
            raise DataError(f"they are {values.dtype}; expected numbers")
        return as_weights(values, len(values))
    except DataError as error:
        raise DataError(f"{path}: the column {column!r} weighs the jets: {error}") from error
