"""A summary of files of jets: jets per class, branches, ranges, bad values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Group
from rich.text import Text

from jetsym.errors import DataError
from jetsym.jets.io.arena import Arena
from jetsym.jets.io.block import read_block
from jetsym.jets.io.formats.index import EmptyFileError
from jetsym.jets.io.limits import cut
from jetsym.jets.io.mapping.parse import open_mapping
from jetsym.jets.io.mapping.tree_mapping import TreeMapping
from jetsym.jets.io.oddities import Oddities
from jetsym.jets.io.packed import PackedJets
from jetsym.jets.io.paths import Paths, jet_files
from jetsym.jets.io.read import MappingFile
from jetsym.jets.io.registry import index_file
from jetsym.jets.io.remote import File
from jetsym.jets.io.streaming.cache import CacheFiles, is_cache, load_manifest
from jetsym.jets.schema import P4_BRANCHES, SCALARS
from jetsym.text import table_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Range", "Summary", "inspect"]

#: Axes of the histograms: quantity, label, edges.
_HISTOGRAMS: dict[str, tuple[str, NDArray[np.float64]]] = {
    "jet pT": ("jet pT [GeV]", np.linspace(0, 2000, 101)),
    "jet mass": ("jet mass [GeV]", np.linspace(0, 500, 101)),
    "particles per jet": ("particles per jet", np.arange(-0.5, 201, 4)),
}
#: Classes that lines on one axis can tell apart.
_LINES = 5


@dataclass
class Range:
    """Smallest, largest and mean finite value of a quantity, and how many are NaN or infinite."""

    low: float = np.inf
    high: float = -np.inf
    total: float = 0.0
    finite: int = 0
    bad: int = 0

    def add(self, values: NDArray[Any]) -> None:
        """Count more values."""
        good = values[np.isfinite(values)]
        self.bad += len(values) - len(good)
        self.finite += len(good)
        if len(good):
            self.low, self.high = min(self.low, float(good.min())), max(self.high, float(good.max()))
            self.total += float(good.sum(dtype=np.float64))


@dataclass
class Summary:
    """The findings of :func:`inspect`.

    Parameters
    ----------
    paths
        The files.
    n_jets
        All their jets.
    counts
        Jets of each class; of "unlabelled" where files have no labels.
    branches
        Type of each branch of the first file; empty for a cache.
    ranges
        By quantity, of particles and of jets.
    n_empty
        Jets without particles.
    damaged
        Why files or parts of them could not be read.
    histograms
        By quantity and class.
    oddities
        What is odd about the jets.
    """

    paths: list[File]
    n_jets: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    ranges: dict[str, Range] = field(default_factory=dict)
    n_empty: int = 0
    damaged: list[str] = field(default_factory=list)
    histograms: dict[str, dict[str, NDArray[np.int64]]] = field(default_factory=dict)
    oddities: Oddities = field(default_factory=Oddities)

    @property
    def notes(self) -> list[str]:
        """What is odd about the jets, a line for each kind."""
        return self.oddities.words()

    @property
    def n_bad(self) -> int:
        """Values that are NaN or infinite."""
        return sum(each.bad for each in self.ranges.values())

    def table(self) -> Group:
        """Return everything but the histograms, to be printed by rich."""
        what = "files" if self.branches else "cache"
        title = f"{len(self.paths)} {what}, {self.n_jets:,} jets, {self.n_empty} of them without particles"
        jets = [(name, f"{count:,}") for name, count in self.counts.items() if count]
        classes = table_of(None, ("class", "jets"), jets)
        values = table_of(None, ("quantity", "type", "lowest", "mean", "highest", "NaN or ∞"), words=2)
        for name in {**self.ranges, **self.branches}:
            each = self.ranges.get(name)
            numbers = ["-"] * 4 if each is None else [f"{each.low:.4g}", f"{each.total / max(each.finite, 1):.4g}"]
            numbers += [] if each is None else [f"{each.high:.4g}", str(each.bad)]
            values.add_row(name, self.branches.get(name, ""), *numbers)
        # Text, as brackets in names are no markup.
        notes = [Text(f"not read: {reason}") for reason in self.damaged] + [Text(f"odd: {note}") for note in self.notes]
        return Group(title, classes, values, *notes)

    def plot(self, axes: Any = None) -> Axes:
        """Draw histograms of jet pT, jet mass and multiplicity by class; give the first of the three axes.

        Few classes are lines on one axis, as shares of their jets. More of them stand above each other, each as high as
        its fullest bin.
        """
        import matplotlib.pyplot as plt

        from jetsym.plotting.style import LEGEND, REPORTS, colour_of

        kinds = [name for name, count in self.counts.items() if count]
        stacked = len(kinds) > _LINES
        if axes is None:
            height = min(1.2 + 0.32 * len(kinds), 20.0) if stacked else 3.2
            axes = plt.subplots(1, len(_HISTOGRAMS), figsize=(11, height), layout="constrained")[1]
        for ax, (name, (label, edges)) in zip(axes, _HISTOGRAMS.items(), strict=True):
            filled = np.flatnonzero(sum(self.histograms[name].values()))
            for number, kind in enumerate(kinds):
                counts, colour = (
                    self.histograms[name].get(kind, np.zeros(len(edges) - 1)),
                    colour_of(number, len(kinds)),
                )
                if stacked:
                    row = len(kinds) - 1 - number
                    shape = row + 0.9 * counts / max(counts.max(), 1)
                    ax.stairs(shape, edges, baseline=row, fill=True, color=colour, alpha=0.4)
                    ax.stairs(shape, edges, baseline=row, color=colour)
                elif counts.any():
                    ax.stairs(counts / counts.sum(), edges, label=kind, color=colour, linestyle=REPORTS[number][0])
            if len(filled):
                ax.set_xlim(edges[filled[0]], edges[filled[-1] + 1])
            ax.set_xlabel(label)
            if stacked:
                ax.set_yticks([])
                ax.set_ylim(0, len(kinds))
        if stacked:
            axes[0].set_yticks(np.arange(len(kinds)) + 0.4, kinds[::-1], fontsize="small" if len(kinds) < 40 else 5)
            axes[0].tick_params(left=False)
        else:
            axes[0].set_ylabel("share of the class's jets")
            axes[-1].legend(**LEGEND)
        first: Axes = axes[0]
        return first


def inspect(paths: Paths, *, mapping: MappingFile = None) -> Summary:
    """Look through all jets of files, or of a cache, block by block.

    Damaged parts and bad values are counted, and do not end it. Trees that are no JetClass's need a ``mapping``, as in
    :func:`jetsym.jets.read`.

    Raises
    ------
    DataError
        If nothing is there to be read, or the first file has not the tree and the branches of jets.

    Examples
    --------
    >>> from jetsym.jets.io.sample import sample_dir
    >>> summary = inspect(sample_dir() / "val")
    >>> summary.n_jets, summary.counts["Hbb"], summary.n_bad
    (1260, 126, 0)
    >>> round(summary.ranges["jet_pt"].low) >= 500
    True
    """
    folder = Path(paths) if isinstance(paths, str | Path) else None
    if folder is not None and is_cache(folder):
        manifest = load_manifest(folder)
        cache = CacheFiles(folder, columns=manifest["columns"])
        summary = Summary([folder])
        for block in cache.blocks:
            _add(summary, folder, cache.read(block, Arena(0, 8))[0])
        return summary
    summary = Summary([*jet_files(paths)])
    for path, jets in _blocks(summary, open_mapping(mapping, summary.paths, skip_bad=True)):
        _add(summary, path, jets)
    return summary


def _blocks(summary: Summary, mapping: TreeMapping | None) -> Iterator[tuple[File, PackedJets]]:
    for path in summary.paths:
        try:
            index = index_file(path, mapping)
        except EmptyFileError:
            if len(summary.paths) == 1:
                raise
            summary.oddities.empty.append(path)
            continue
        except DataError as error:
            if path == summary.paths[0]:
                raise
            summary.damaged.append(str(error))
            continue
        if not summary.branches:
            names = (*index.layout.ragged, *index.layout.labels)
            summary.branches = dict(index.types) or dict.fromkeys(names, "")
        for start, stop in cut(index.boundaries):
            try:
                yield path, read_block(index, start, stop, bad_jets="keep")[0]
            except DataError as error:
                summary.damaged.append(str(error))


def _add(summary: Summary, path: File, jets: PackedJets) -> None:
    summary.oddities.see(path, jets)
    summary.n_jets += len(jets)
    counts = np.diff(jets.offsets)
    summary.n_empty += int(np.count_nonzero(counts == 0))
    label = np.zeros(len(jets), np.int64) if jets.label is None else jets.label
    classes = ("unlabelled",) if jets.label is None else jets.classes
    for name, number in zip(classes, np.bincount(label, minlength=len(classes)), strict=True):
        summary.counts[name] = summary.counts.get(name, 0) + int(number)

    energy, px, py, pz = jets.jet_p4.astype(np.float64).T
    with np.errstate(invalid="ignore", over="ignore"):
        pt, mass = np.hypot(px, py), np.sqrt(np.clip(energy**2 - px**2 - py**2 - pz**2, 0, None))
        scalars = jets.ragged().scalars
    quantities = {name: jets.values[:, place] for place, name in enumerate(P4_BRANCHES)}
    quantities |= {f"part_{name}": scalars[:, place] for place, name in enumerate(SCALARS[: scalars.shape[1]])}
    quantities |= {"jet_pt": pt, "jet_energy": energy, **jets.columns}
    for name, values in quantities.items():
        summary.ranges.setdefault(name, Range()).add(values)
    for name, values in (("jet pT", pt), ("jet mass", mass), ("particles per jet", counts)):
        edges, found = _HISTOGRAMS[name][1], summary.histograms.setdefault(name, {})
        for number in np.unique(label):
            new = np.histogram(values[(label == number) & np.isfinite(values)], edges)[0]
            found[classes[number]] = found.get(classes[number], 0) + new
