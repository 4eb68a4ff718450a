"""A tagger's probabilities for files of jets, written beside what is known of each jet, in the order of the files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jetsym.arguments import at_least, checked
from jetsym.errors import ConfigError, DataError
from jetsym.files import check_out
from jetsym.jets import kinematics
from jetsym.jets.batch import JetBatch
from jetsym.jets.evaluation.evaluate import expect_finite_weights, predict_logits, predict_outputs
from jetsym.jets.evaluation.friends import STEM, Friends, fingerprint_of_network
from jetsym.jets.evaluation.row_files import SUFFIXES, Columns, Write, row_file
from jetsym.jets.evaluation.scores import Scores
from jetsym.jets.evaluation.unscored import Unscored
from jetsym.jets.io.block import BadJets
from jetsym.jets.io.folds import Fold, judged_fold
from jetsym.jets.io.mapping.parse import load_mapping
from jetsym.jets.io.paths import Paths, jet_files, would_be_read
from jetsym.jets.io.read import MappingFile
from jetsym.jets.io.streaming.blocks import ENTRY, FILE
from jetsym.jets.io.streaming.stream import JetStream
from jetsym.jets.models import Tagger
from jetsym.jets.schema import TREE
from jetsym.jets.targets import target_of
from jetsym.progress import progress_bar
from jetsym.ranks import here

__all__ = ["predict", "predictions"]

#: Jets whose particles are in memory at a time, and jets of a basket or of a row group.
BUFFER, ROWS = 16_384, 16_384

#: What the stored axis says, with the function that finds it.
_AXIS = {"jet_pt": kinematics.pt, "jet_eta": kinematics.eta, "jet_phi": kinematics.phi}


@checked(batch_size=at_least(1))
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
    skip_bad: bool = False,
    threads: int = 2,
    mapping: MappingFile = None,
    fold: Fold | Literal["none"] | None = None,
    friend: bool = False,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Write a tagger's probabilities for every entry of some files.

    Entries that are not scored, as a selection, ``bad_jets`` or ``skip_bad`` leaves them out, have a row of NaN (−1 in
    whole numbers), so that the rows can be joined to the files' own. What is left out is said. Where the tagger gives
    no finite numbers for a jet, its scores are NaN, all of them; how many jets these are is said as well. The jets
    keep their order: that of the files as :func:`jetsym.jets.read` sorts them, and of the jets in each. Memory stays
    bounded, however many there are, and the file appears under its name only when it is whole.

    Parameters
    ----------
    model
        A tagger with ``classes``, from a JetBatch to logits (B, classes), or to one alone for two classes; or a network
        that predicts a target (``--target``).
    data
        Files of jets, with or without labels.
    out
        A name that ends in ``.root`` or ``.parquet``; a file of that name is replaced. In the name of friends
        ``{stem}`` stands for that of the file that it is a friend of.
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
        "raise", or "drop" to give no scores to jets without particles, and with NaN or infinity.
    skip_bad
        Leave out files that cannot be read, and give no scores to jets in damaged parts of files.
    threads
        Threads that read.
    mapping
        As in :func:`jetsym.jets.read`, for other trees than JetClass's. What it leaves to be measured is what the
        tagger's training has kept as ``standardisation``.
    fold
        Give scores to the jets of a fold alone, see :class:`jetsym.jets.io.folds.Fold`; by default of the one that the
        tagger's training has held out. "none" for all jets.
    friend
        Write a file for each of the files, a friend of its tree: a tree ``scores`` of as many entries, in their order,
        with the columns ``entry``, ``score_<class>`` and ``logit_<class>``.
    resume
        Of friends, leave those as they are that an earlier call has made of the same files with the same tagger and
        options; how many is said. Files that gave none are tried again.
    progress
        Show a progress bar.

    Returns
    -------
    Path
        The file (of friends the pattern of their names): a TTree ``tree`` or a table with one row per entry, and
        the columns

        - ``file``, int32: the place of its file in the list ``files`` that is kept beside the columns, from 0;
        - ``entry``, int64: its number in the file (or cache), from 0;
        - ``score_<class>``, float32: the probabilities, which add up to one;
        - ``logit_<class>``, float32, if asked for;
        - of a target, in their place, ``predicted_<target>``, float32, in its unit; of quantiles
          ``predicted_<target>_16``, ``_50`` and ``_84``;
        - ``jet_pt``, ``jet_eta``, ``jet_phi``, ``jet_energy``, float32 (GeV, radians): the stored axis, to rounding;
        - the further per-jet branches that all the files have, as they are;
        - ``label``, int32: the number of the jet's class among ``label_classes``, if it is known.

        The names of the classes are kept as JSON lists under ``classes`` and ``label_classes``, those of the files
        under ``files``: strings in a ROOT file, metadata of the schema in a Parquet file. A friend names its file as
        ``file``.

    Raises
    ------
    ConfigError
        The name ends otherwise, is that of one of the files to read or would be read with them, or cannot be written;
        or an option has no meaning; or the mapping's inputs are measured on the training data, and the tagger does not
        tell.
    DataError
        Files cannot be read, differ in their columns, or have not what the tagger needs; or it gives no finite numbers
        for any jet.
    CheckpointError
        Weights of the tagger are not finite.
    ResourceError
        There is no room on the disk; or memory does not suffice for so many jets at a time.
    MissingDependencyError
        The name ends in .parquet and pyarrow is not installed.
    """
    data = data if isinstance(data, str | os.PathLike) else list(data)
    if Path(out).suffix not in SUFFIXES:
        raise ConfigError(f"out is {str(out)!r}; expected a name that ends in {' or '.join(SUFFIXES)}")
    out = Path(out).expanduser()
    if STEM in str(out) and not friend:
        raise ConfigError(f"out is {str(out)!r}, in which {STEM} has a meaning with --friend alone; write a plain name")
    if resume and not friend:
        raise ConfigError("resume (--resume) goes on file by file, for friends alone; add --friend, or leave it out")
    files, mapping = jet_files(data), load_mapping(mapping)
    friends = Friends.of(out, files, mapping) if friend else Friends({})
    read_beside = [] if mapping is None else mapping.friends_of(files)
    for place in friends.places.values() if friend else [out]:
        check_out(place, inputs=[data, *read_beside])
        if would_be_read(place, data):
            raise ConfigError(
                f"out is {str(place)!r}, which would be read as jets with the files there; write it elsewhere"
            )
    expect_finite_weights(model)
    if mapping is not None and mapping.unmeasured is not None and mapping.unmeasured.bounds:
        mapping = mapping.for_taggers() if isinstance(model, Tagger) else mapping
        mapping = mapping.standardised(getattr(model, "standardisation", None) or {})
    if fold is None:
        fold = judged_fold(getattr(model, "held_out", None), None, None)
    if friend:
        friends.made_of = {
            "tagger": fingerprint_of_network(model),
            "classes": getattr(model, "classes", None),
            "target": str(target_of(model)),
            "standardisation": getattr(model, "standardisation", None),
            "mapping": None if mapping is None else mapping.fingerprint,
            "fold": str(fold),
            "max_particles": max_particles or getattr(model, "max_particles", None),
            "scores": scores,
            "logits": logits,
            "bad_jets": bad_jets,
        }
    left = friends.left() if resume else files
    if not left:
        return out
    stream = JetStream(
        [str(file) for file in left] if resume else data,
        batch_size=ROWS,
        columns="all",
        shuffle=False,
        buffer=BUFFER,
        threads=threads,
        bad_jets=bad_jets,
        skip_bad=skip_bad,
        mapping=mapping,
        numbered=True,
        fold=fold if isinstance(fold, Fold) else None,
    )
    if friend and stream.several:
        raise DataError(
            f"--friend: {stream.several[0]} has several jets in an entry, and a friend one row for it; write the "
            "scores without --friend, a row for each jet"
        )
    classes = tuple(getattr(model, "classes", stream.classes))
    facts = {"classes": json.dumps(classes)}
    if not friend:
        facts["files"] = json.dumps([str(file) for file in stream.files])
    if stream.labelled:
        facts["label_classes"] = json.dumps(stream.classes)
    opened: AbstractContextManager[Write]
    if not here().is_first:  # of processes that share the first writes what all of them found
        opened = nullcontext(lambda columns: None)
    elif friend:
        opened = friends.opened(stream.files, facts, _names_of(model, classes, logits))
    else:
        opened = row_file(out, facts, TREE)
    with (
        opened as write,
        progress_bar("entries", sum(stream.n_entries), shown=progress) as advance,
    ):
        size: dict[str, Any] = {"max_particles": max_particles, "batch_size": batch_size}
        unscored = Unscored()
        found = predictions(model, stream, logits=logits, scores=scores, unscored=unscored, **size)
        scored = False
        for columns in _every_entry(found, stream.n_entries):
            write(columns)
            advance(len(columns[ENTRY]))
            scored = True
        if not scored:
            raise DataError(f"no jets are left of {stream.n_jets} after dropping the bad ones; expected at least one")
        unscored.expect_some()
    stream.oddities.say()
    unscored.say()
    return out


def predictions(
    model: nn.Module,
    stream: JetStream,
    *,
    logits: bool = False,
    scores: Scores | None = None,
    max_particles: int | None = None,
    batch_size: int = 512,
    unscored: Unscored | None = None,
) -> Iterator[Columns]:
    """Yield the columns of :func:`predict` for one batch of a stream after the other.

    ``unscored`` counts the jets for which the model gives no finite numbers.

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
    for batch in stream:
        jets = batch.to_padded(limit)
        target = target_of(model)
        if target is None:
            found = predict_logits(model, jets, batch_size=batch_size, scores=scores)
            scores = scores or "logits"  # as the first jets have shown: a few may look like anything
            wrong = ~found.softmax(dim=-1).isfinite().all(dim=-1)
        else:
            found = target.values(predict_outputs(model, jets, batch_size=batch_size))
            wrong = ~found.isfinite().all(dim=-1)
        found[wrong] = torch.nan
        if unscored is not None:
            unscored.count(jets, wrong)
        yield _columns(jets, found, model, keep_logits=logits)


def _names_of(model: nn.Module, classes: Sequence[str], logits: bool) -> list[str]:
    """Return the columns of what a model gives: probabilities, then logits; or those of its target."""
    target = target_of(model)
    if target is not None:
        if logits:
            raise ConfigError(f"logits are to be written, and the network predicts {target.name}; leave --logits out")
        return [f"predicted_{name.removesuffix(' %').replace(' ', '_')}" for name in target.outputs]
    return [f"{kind}_{name}" for kind in ("score", *(["logit"] if logits else [])) for name in classes]


def _columns(jets: JetBatch, logits: Tensor, model: nn.Module, *, keep_logits: bool) -> Columns:
    names = _names_of(model, getattr(model, "classes", jets.classes), keep_logits)
    if target_of(model) is None:
        values = [logits.double().softmax(dim=-1).float(), *([logits] if keep_logits else [])]
    else:
        values = [logits.float()]
    numbers = [column.numpy() for tensor in values for column in tensor.T.contiguous()]
    columns = dict(zip(names, numbers, strict=True))
    if taken := next((name for name in jets.columns if name in columns), None):
        raise ConfigError(
            f"the jets have a column {taken!r}, the name of what the tagger gives; rename it, as columns: of "
            "a mapping does"
        )
    axis = jets.jet_p4.double()
    columns |= {name: function(axis).float().numpy() for name, function in _AXIS.items()}
    columns["jet_energy"] = jets.jet_p4[:, 0].numpy()
    columns |= {name: column.numpy() for name, column in jets.columns.items()}
    if jets.label is not None:
        columns["label"] = jets.label.to(torch.int32).numpy()
    return columns


def _every_entry(found: Iterator[Columns], n_entries: Sequence[int]) -> Iterator[Columns]:
    """Add rows for the entries that have no scores, among some columns with file and entry in growing order.

    Examples
    --------
    >>> parts = [{"file": np.array([0, 1]), "entry": np.array([1, 0]), "x": np.array([5.0, 7.0], "f4")}]
    >>> [part["x"].tolist() for part in _every_entry(iter(parts), [2, 2])]
    [[nan, 5.0, 7.0], [nan]]
    """
    begin = np.concatenate([[0], np.cumsum(n_entries)])
    next_one, last = 0, None
    for columns in found:
        places = begin[columns[FILE]] + columns[ENTRY]
        before = np.maximum(np.diff(places, prepend=next_one - 1) - 1, 0)  # several jets of an entry are not apart
        rows = np.arange(len(places)) + np.cumsum(before)
        entries = np.full(len(places) + int(before.sum()), -1)
        entries[rows] = places
        entries[entries < 0] = np.concatenate([np.arange(b - n, b) for b, n in zip(places, before, strict=True)])
        last, next_one = columns, int(places[-1]) + 1
        yield _placed(columns, rows, entries, begin)
    if last is not None:
        for start in range(next_one, int(begin[-1]), ROWS):
            entries = np.arange(start, min(start + ROWS, int(begin[-1])))
            yield _placed({name: column[:0] for name, column in last.items()}, np.arange(0), entries, begin)


def _placed(columns: Columns, rows: NDArray[Any], entries: NDArray[Any], begin: NDArray[Any]) -> Columns:
    """Put columns into some rows of as many as there are entries, the others without values."""
    file = np.searchsorted(begin, entries, side="right") - 1
    found: Columns = {FILE: file.astype(np.int32), ENTRY: entries - begin[file]}
    for name, column in columns.items():
        if name not in found:
            # What has no negative numbers is widened to have one for "none".
            dtype = np.result_type(column.dtype, np.int8) if column.dtype.itemsize < 8 else column.dtype
            if column.dtype == np.uint64:
                dtype = np.dtype(np.int64)
                if (column > np.iinfo(dtype).max).any():
                    raise DataError(f"{name} has numbers up to {column.max()}, which cannot stand beside a −1 for none")
            found[name] = np.full((len(entries), *column.shape[1:]), np.nan if dtype.kind == "f" else -1, dtype)
            found[name][rows] = column
    return found
