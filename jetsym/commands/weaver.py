"""``--weaver DIR``: probe, attribute, predict and evaluate with a network of weaver-core by its own files.

The folder holds one network (``.py``), one data configuration (``.yaml``) and one state dictionary (``.pt``). The
Python file is run, because it was named here; nothing else in the folder is.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jetsym.commands import check_results
from jetsym.commands.pages import BESIDE, keep_attribution
from jetsym.errors import ConfigError

if TYPE_CHECKING:
    from jetsym.jets.io.block import BadJets
    from jetsym.jets.weaver_network import WeaverNetwork
    from jetsym.probing.reports.attribution import Attribution
    from jetsym.probing.reports.read import Report

__all__ = ["attribute", "evaluate", "predict", "probe"]


def probe(
    *,
    weaver: str,
    inputs: str | list[str] | None = None,
    fixed: list[str] | None = None,
    network_options: dict[str, Any] | None = None,
    vectors: str | None = None,
    out: str | None = None,
    **options: Any,
) -> Report:
    """Measure which symmetry a network of weaver-core has; see :func:`jetsym.jets.weaver` and :func:`jetsym.probe`.

    Parameters
    ----------
    weaver
        A folder with one network (.py), which is run, one data configuration (.yaml) and one state dictionary (.pt).
    inputs
        As for :func:`jetsym.commands.symmetry.probe`.
    fixed
        Columns that stay as they are when jets are moved, although nothing says that no move changes them.
    network_options
        For get_model of the network, such as '{"use_fusion": true}'.
    vectors
        The input that holds px, py, pz and energy; by default pf_vectors.
    out
        As for :func:`jetsym.commands.symmetry.probe`.
    """
    from jetsym.commands.symmetry import keep
    from jetsym.probing.probe import probe as measure

    check_results(out, inputs, beside=(".html", ".png"))
    return keep(measure(_network(weaver, fixed, network_options, vectors), inputs, **options), out)


def attribute(
    *,
    weaver: str,
    inputs: str | list[str] | None = None,
    fixed: list[str] | None = None,
    network_options: dict[str, Any] | None = None,
    vectors: str | None = None,
    out: str | None = None,
    **options: Any,
) -> Attribution:
    """Measure what breaks the symmetry of a network of weaver-core; see :mod:`jetsym.probing.measure.attribution`.

    Parameters
    ----------
    weaver
        As for :func:`jetsym.commands.weaver.probe`.
    inputs
        Files of jets to measure on; the bundled jets where none are named.
    fixed
        Columns that stay as they are when jets are moved, although nothing says that no move changes them; each is a
        source of its own.
    network_options, vectors
        As for :func:`jetsym.commands.weaver.probe`.
    out
        As for :func:`jetsym.commands.symmetry.probe`.
    """
    from jetsym.probing.measure.attribution import attribute as measure

    check_results(out, inputs, beside=(".html", ".png"))
    return keep_attribution(measure(_network(weaver, fixed, network_options, vectors), inputs, **options), out)


def predict(
    data: str | list[str],
    *,
    weaver: str,
    out: str,
    network_options: dict[str, Any] | None = None,
    vectors: str | None = None,
    logits: bool = False,
    batch_size: int = 512,
    bad_jets: BadJets = "raise",
    skip_bad: bool = False,
    threads: int = 2,
    device: str = "auto",
    progress: bool = True,
) -> Path:
    """Write the probabilities of a network of weaver-core; see :func:`jetsym.jets.evaluation.predict.predict`.

    Parameters
    ----------
    data
        Files of jets: a path, a glob pattern, or a list of them; labels are not needed.
    weaver
        As for :func:`jetsym.commands.weaver.probe`.
    out
        The file to write: a name that ends in .root or .parquet.
    network_options, vectors
        As for :func:`jetsym.commands.weaver.probe`.
    logits
        Write the logits beside the probabilities.
    batch_size
        Jets per forward pass.
    bad_jets, skip_bad
        As for :func:`jetsym.commands.taggers.predict`.
    threads
        Threads that read.
    device
        "cpu", "cuda", or "auto" for the latter where there is one.
    progress
        Show a progress bar.
    """
    from jetsym.commands.taggers import placed
    from jetsym.jets.evaluation.predict import predict as write

    net = _network(weaver, None, network_options, vectors)
    how: dict[str, Any] = {"bad_jets": bad_jets, "skip_bad": skip_bad, "threads": threads, "progress": progress}
    mapping = net.mapping_of(data)
    return write(net.to(placed(device)), data, out, logits=logits, batch_size=batch_size, mapping=mapping, **how)


def evaluate(
    data: str | list[str],
    *,
    weaver: str,
    rotated: int | None = 0,
    fixed: list[str] | None = None,
    network_options: dict[str, Any] | None = None,
    vectors: str | None = None,
    limit: int | None = None,
    batch_size: int = 512,
    background: str | list[str] | None = None,
    working_points: dict[str, float] | None = None,
    pt_edges: list[float] | None = None,
    multi_class: Literal["ovo", "ovr"] = "ovo",
    device: str = "auto",
    bad_jets: BadJets = "raise",
    skip_bad: bool = False,
    out: str | None = None,
) -> None:
    """Measure how well a network of weaver-core tags jets, which need labels.

    Parameters
    ----------
    data
        Files of jets: a path, a glob pattern, or several of them.
    weaver
        As for :func:`jetsym.commands.weaver.probe`.
    rotated
        Seed of the random rotations that the jets are measured under as well; null measures them unrotated only.
    fixed
        Columns that stay as they are when jets are rotated, although nothing says that no rotation changes them.
    network_options, vectors
        As for :func:`jetsym.commands.weaver.probe`.
    limit
        At most so many jets.
    batch_size
        Jets per forward pass.
    background
        Class or classes that the others are told from; by default QCD, or the first.
    working_points
        Class -> signal efficiency at which its background rejection is quoted.
    pt_edges
        Edges of the bins of jet pT in GeV; by default five bins of as many jets each.
    multi_class
        Which macro AUC: "ovo", one class against one other, or "ovr", one against the rest.
    device
        "cpu", "cuda", or "auto" for the latter where there is one.
    bad_jets
        As for :func:`jetsym.commands.symmetry.probe`.
    skip_bad
        Leave out files that cannot be read, and damaged parts of files; which is said.
    out
        A JSON file to write the numbers to; figures (_roc.png, _confusion.png, _reliability.png and, as far as the jets
        allow, _scores.png, _rejection_by_pt.png, _sculpting.png) and a page (.html) with all of them go beside it.
    """
    from jetsym.commands.evaluation import keep
    from jetsym.commands.taggers import placed
    from jetsym.jets.evaluation.evaluate import evaluate as measure
    from jetsym.jets.io.oddities import Oddities

    check_results(out, data, beside=BESIDE)
    net, odd = _network(weaver, fixed, network_options, vectors).to(placed(device)), Oddities()
    jets = net.read(data, limit=limit, bad_jets=bad_jets, skip_bad=skip_bad, oddities=odd)
    odd.say()
    how: dict[str, Any] = {"working_points": working_points, "pt_edges": pt_edges, "multi_class": multi_class}
    found = measure(net, jets, rotated=rotated, batch_size=batch_size, background=background, **how)
    keep(replace(found, meta={**found.meta, "model": weaver, "data": data}), out)


def _network(
    folder: str, fixed: list[str] | None, options: dict[str, Any] | None, vectors: str | None
) -> WeaverNetwork:
    from jetsym.jets.weaver_files import files_of, weaver

    if not Path(folder).expanduser().is_dir():
        raise ConfigError(f"--weaver is {folder!r}; expected a folder with a network, a data configuration and weights")
    return weaver(*files_of(folder), fixed=fixed or (), options=options, vectors=vectors)
