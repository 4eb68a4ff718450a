"""A tagger's probabilities for files of jets, written beside what is known of each jet, in the order of the files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jetsym.errors import ConfigError, DataError, require
from jetsym.files import check_out, finished_file
from jetsym.jets import kinematics
from jetsym.jets.batch import JetBatch
from jetsym.jets.evaluation.evaluate import predict_logits
from jetsym.jets.evaluation.scores import Scores
from jetsym.jets.io.paths import Paths, would_be_read
from jetsym.jets.io.read import BadJets, MappingFile, check_number
from jetsym.jets.io.streaming.stream import JetStream
from jetsym.jets.schema import TREE
from jetsym.progress import progress_bar

__all__ = ["predict", "predictions"]

Columns = dict[str, NDArray[Any]]
#: Appends rows to a file.
Write = Callable[[Columns], None]

#: Jets whose particles are in memory at a time, and jets of a basket or of a row group.
BUFFER, ROWS = 16_384, 16_384

#: What the stored axis says, with the function that finds it.
_AXIS = {"jet_pt": kinematics.pt, "jet_eta": kinematics.eta, "jet_phi": kinematics.phi}


def predict(
    model: nn.Module,
    data: Paths,
    out: str | Path,
    *,
    logits: bool = False,
    scores: Scores | None = None,
    max_particles: int | None = None,
    batch_size: int = 512,
    bad_jets: BadJets = "raise",
    threads: int = 2,
    mapping: MappingFile = None,
    progress: bool = True,
) -> Path:
    """Write a tagger's probabilities for every jet of some files.

    The jets keep their order: that of the files as :func:`jetsym.jets.read` sorts them, and of the jets in each. Memory
    stays bounded, however many there are, and the file appears under its name only when it is whole.

    Parameters
    ----------
    model
        A tagger with ``classes``, from a JetBatch to logits (B, classes), or to one alone for two classes.
    data
        Files of jets, with or without labels.
    out
        A name that ends in ``.root`` or ``.parquet``; a file of that name is replaced.
    logits
        Write the logits as well.
    scores
        What the tagger gives, judged by the first jets where it is not said; see
        :func:`jetsym.jets.evaluation.scores.as_logits`.
    max_particles
        Particles kept per jet; by default as many as in the tagger's training.
    batch_size
        Jets per forward pass.
    bad_jets
        "raise", or "drop" to leave out jets without particles, and with NaN or infinity.
    threads
        Threads that read.
    mapping
        As in :func:`jetsym.jets.read`, for other trees than JetClass's.
    progress
        Show a progress bar.

    Returns
    -------
    Path
        The file: a TTree ``tree`` or a table with one row per jet, and the columns

        - ``score_<class>``, float32: the probabilities, which add up to one;
        - ``logit_<class>``, float32, if asked for;
        - ``jet_pt``, ``jet_eta``, ``jet_phi``, ``jet_energy``, float32 (GeV, radians): the stored axis, to rounding;
        - the further per-jet branches that the files have, as they are;
        - ``label``, int32: the number of the jet's class among ``label_classes``, if it is known.

        The names of the classes are kept as JSON lists under ``classes`` and ``label_classes``: strings in a ROOT file,
        metadata of the schema in a Parquet file.

    Raises
    ------
    ConfigError
        The name ends otherwise, is that of one of the files to read or would be read with them, or cannot be written;
        or an option has no meaning.
    DataError
        Files cannot be read, differ in their columns, or have not what the tagger needs.
    MissingDependencyError
        The name ends in .parquet and pyarrow is not installed.
    """
    data = data if isinstance(data, str | os.PathLike) else list(data)
    if Path(out).suffix not in _WRITERS:
        raise ConfigError(f"out is {str(out)!r}; expected a name that ends in {' or '.join(_WRITERS)}")
    out = check_out(out, inputs=data)
    if would_be_read(out, data):
        raise ConfigError(f"out is {str(out)!r}, which would be read as jets with the files there; write it elsewhere")
    check_number("batch_size", batch_size, "jets")
    stream = JetStream(
        data,
        batch_size=ROWS,
        columns="all",
        shuffle=False,
        buffer=BUFFER,
        threads=threads,
        bad_jets=bad_jets,
        mapping=mapping,
    )
    classes = tuple(getattr(model, "classes", stream.classes))
    facts = {"classes": json.dumps(classes)}
    if stream.labelled:
        facts["label_classes"] = json.dumps(stream.classes)
    with (
        finished_file(out) as unfinished,
        _WRITERS[out.suffix](unfinished, facts) as write,
        progress_bar("jets", stream.n_jets, shown=progress) as advance,
    ):
        written = 0
        size: dict[str, Any] = {"max_particles": max_particles, "batch_size": batch_size}
        for columns in predictions(model, stream, logits=logits, scores=scores, **size):
            rows = len(columns["jet_pt"])
            write(columns)
            advance(rows)
            written += rows
        if not written:
            raise DataError(f"no jets are left of {stream.n_jets} after dropping the bad ones; expected at least one")
    return out


def predictions(
    model: nn.Module,
    stream: JetStream,
    *,
    logits: bool = False,
    scores: Scores | None = None,
    max_particles: int | None = None,
    batch_size: int = 512,
) -> Iterator[Columns]:
    """Yield the columns of :func:`predict` for one batch of a stream after the other.

    Examples
    --------
    >>> from jetsym.jets.io.sample import sample_dir
    >>> from jetsym.jets.models import PointNet
    >>> stream = JetStream(sample_dir() / "val", batch_size=1000, columns="all", shuffle=False)
    >>> columns = next(predictions(PointNet(width=8, blocks=1), stream))
    >>> columns["score_Hbb"].shape, bool(abs(sum(columns[f"score_{name}"] for name in stream.classes) - 1).max() < 1e-6)
    ((1000,), True)
    """
    limit = max_particles or getattr(model, "max_particles", None)
    check_number("max_particles", limit, "particles", none="None for all")
    for batch in stream:
        jets = batch.to_padded(limit)
        found = predict_logits(model, jets, batch_size=batch_size, scores=scores)
        scores = scores or "logits"  # as the first jets have shown: a few may look like anything
        yield _columns(jets, found, model, keep_logits=logits)


def _columns(jets: JetBatch, logits: Tensor, model: nn.Module, *, keep_logits: bool) -> Columns:
    classes = getattr(model, "classes", jets.classes)
    values = {"score": logits.double().softmax(dim=-1).float(), **({"logit": logits} if keep_logits else {})}
    columns = {
        f"{kind}_{name}": column.numpy()
        for kind, tensor in values.items()
        for name, column in zip(classes, tensor.T.contiguous(), strict=True)
    }
    axis = jets.jet_p4.double()
    columns |= {name: function(axis).float().numpy() for name, function in _AXIS.items()}
    columns["jet_energy"] = jets.jet_p4[:, 0].numpy()
    columns |= {name: column.numpy() for name, column in jets.columns.items()}
    if jets.label is not None:
        columns["label"] = jets.label.to(torch.int32).numpy()
    return columns


@contextmanager
def _root(path: Path, facts: dict[str, str]) -> Iterator[Write]:
    """Open a TTree that takes rows in portions."""
    import uproot

    with uproot.recreate(path, compression=uproot.ZLIB(4)) as file:
        for name, text in facts.items():
            file[name] = text
        trees: list[Any] = []

        def write(columns: Columns) -> None:
            if not trees:
                trees.append(file.mktree(TREE, {name: column.dtype for name, column in columns.items()}))
            trees[0].extend(columns)

        yield write


@contextmanager
def _parquet(path: Path, facts: dict[str, str]) -> Iterator[Write]:
    """Open a table that takes rows in portions, each a row group."""
    arrow, parquet = (
        require(module, extra="formats", purpose="writing Parquet") for module in ("pyarrow", "pyarrow.parquet")
    )
    with ExitStack() as stack:
        writers: list[Any] = []

        def write(columns: Columns) -> None:
            table = arrow.table(columns, metadata=facts)
            if not writers:
                writer = parquet.ParquetWriter(path, table.schema, write_page_checksum=True)
                writers.append(stack.enter_context(writer))
            writers[0].write_table(table)

        yield write


_WRITERS = {".root": _root, ".parquet": _parquet}
