"""Training jets, in memory or streamed from files, and their order in an epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, repeat
from typing import Any

import torch

from jetsym.errors import ConfigError, DataError
from jetsym.jets.batch import JetBatch, first_difference
from jetsym.jets.inputs import expect_standardised
from jetsym.jets.io.folds import Fold
from jetsym.jets.io.mapping.parse import tagger_mapping
from jetsym.jets.io.mapping.tree_mapping import TreeMapping
from jetsym.jets.io.oddities import Oddities
from jetsym.jets.io.packed import RaggedBatch
from jetsym.jets.io.paths import Paths, jet_files
from jetsym.jets.io.streaming.ahead import ahead
from jetsym.jets.io.streaming.scratch import Scratch
from jetsym.jets.schema import WEIGHT
from jetsym.jets.targets import target_values
from jetsym.jets.weights import columns_to_read, weight_column
from jetsym.training.config import TrainConfig
from jetsym.training.fingerprints import contents_of, fingerprints, in_order
from jetsym.training.seeds import generator_for, seed_for
from jetsym.training.weights import expect_alike, mean_weight, weighed

__all__ = ["StreamedJets", "fingerprint", "load_jets"]


_NO_LABELS = "the files of {flag} have no label branches; expected labelled jets to train on"


class StreamedJets:
    """Training jets that are read anew in every epoch; the few that fill no batch are others each time.

    Raises
    ------
    DataError
        The files cannot be read, or have no labels.
    ConfigError
        A batch cannot be divided evenly among the processes.
    """

    def __init__(
        self,
        config: TrainConfig,
        *,
        rank: int = 0,
        ranks: int = 1,
        earlier: Sequence[Sequence[str]] = (),
        progress: bool = False,
    ) -> None:
        from jetsym.jets.io import JetStream

        if config.batch_size % ranks:
            raise ConfigError(f"--batch_size is {config.batch_size}; expected a multiple of the {ranks} processes")
        self._max_particles, self._batch_size = config.max_particles, config.batch_size
        scratch = None
        if config.scratch is not None:
            scratch = Scratch(config.scratch, size=config.scratch_size, inputs=config.data)
        self._scratch = scratch
        self._stream = JetStream(
            in_order(config.data, earlier),
            batch_size=config.batch_size // ranks,
            seed=seed_for("shuffle", seed=config.seed),
            cache=config.cache,
            rank=rank,
            world_size=ranks,
            mapping=mapping_of(config),
            bad_jets=config.bad_jets,
            skip_bad=config.skip_bad,
            buffer=config.buffer,
            also=columns_to_read(config.weights),
            scratch=scratch,
            fold=None if config.held_out is None else config.held_out.rest,
        )
        self._rank, self._ranks, self._own = rank, ranks, config.batch_size // ranks
        self._steps = len(self._stream)
        if config.samples_per_epoch is not None:
            self._steps = config.samples_per_epoch // config.batch_size
        self.classes = self._stream.classes
        if not self._stream.labelled:
            raise DataError(_NO_LABELS.format(flag="--data"))
        #: Whether batches may be smaller than they should be, as jets of theirs are left out.
        self.loses = config.bad_jets == "drop" or config.skip_bad
        self.oddities = self._stream.oddities
        self.oddities.counts = self._stream.class_counts() or {}
        #: The column that weighs the jets, or None; with it, or for balanced classes, a first look at all files tells
        #: the sum of the weights of each class, of mean 1, and the effective number of jets.
        self.weighed_by = weight_column(self._stream.names, config.weights)
        if self.weighed_by is not None or config.class_weights == "balanced":
            jets, sums, squares = self._stream.sums(self.weighed_by, progress=progress)
            self._mean = mean_weight(jets.sum(), sums.sum(), column=self.weighed_by or "")
            self.sums, self.n_eff = sums / self._mean, float(sums.sum() ** 2 / squares.sum())

    def __len__(self) -> int:
        """Return the number of jets in an epoch, of all processes together."""
        return self._steps * self._batch_size

    def fingerprint(self) -> dict[str, Any]:
        """Return what the order of the jets depends on, besides the epoch; the files by their contents.

        What is looked at of the contents are three places of each file, and the labels of all jets; these are not
        counted where jets are left out, as more of them may be later.
        """
        state, own = self._stream.state_dict(), ("version", "seed", "shuffle", "buffer")
        files = [list(one) for one in fingerprints(self._stream.files)]
        labels = None if self.loses else self._stream.digest_of_labels()
        known = {"order": self._stream.fingerprint(), "files": files}
        return {name: state[name] for name in own} | known | ({} if labels is None else {"labels": labels})

    def batches(
        self, epoch: int, device: torch.device | str, *, start: int = 0, passed: Sequence[Sequence[int]] = ()
    ) -> Iterator[JetBatch]:
        """Yield an epoch's batches from number ``start`` on, padded on the device.

        An epoch is a pass over all jets, or, of ``samples_per_epoch``, goes on where the one before it has stopped, and
        to the next pass when all have been shown. ``passed`` says which processes have shown the jets before, where
        these were not as many as now.
        """
        on_cpu = torch.device(device).type == "cpu"
        found = self._of_passes(epoch, start, passed)
        for batch in found if on_cpu else ahead(found, depth=1):
            jets = batch.to(device).to_padded(self._max_particles)
            if self.weighed_by is not None:
                jets = jets.replace(columns={WEIGHT: (jets.columns[self.weighed_by].double() / self._mean).float()})
            yield jets
        if self._rank == 0:
            self.oddities.say("--data")
            if self._scratch is not None:
                self._scratch.say(len(self._stream.files))

    def close(self) -> None:
        """Remove the copies of files that have been made."""
        if self._scratch is not None:
            self._scratch.close()

    def _of_passes(self, epoch: int, start: int, passed: Sequence[Sequence[int]]) -> Iterator[RaggedBatch]:
        """Yield the batches of an epoch that are left, from as many passes over all jets as they lie in."""
        place, end = (epoch - 1) * self._steps + start, epoch * self._steps
        while place < end:
            number, done = divmod(place, len(self._stream))
            # Of this pass are the last of the jets that have been shown.
            history, jets = [], done * self._batch_size
            for ranks, each in reversed(passed):
                own = min(each, jets // ranks)
                history += [[ranks, own]] if own else []
                jets -= own * ranks
            history += [[self._ranks, jets // self._ranks]] if jets else []
            self._stream.load_state_dict(self._stream.state_dict() | {"epoch": number + 1, "passed": history[::-1]})
            left = len(self._stream) - done
            yield from islice(self._all_steps(left), end - place)
            place, passed = place + left, ()

    def _all_steps(self, steps: int) -> Iterator[RaggedBatch]:
        """Yield a batch for every step; where all jets of one are left out, the one before it, or else after it, again.

        All processes have to take the same number of steps.
        """
        done, before, batch = 0, sum(each for _, each in self._passed), None
        for batch in self._stream:
            now = sum(each for _, each in self._passed)
            due = max(1, round((now - before) / self._own)) - done
            yield from repeat(batch, due)
            done += due
        if batch is None and steps:
            raise DataError("no jets of --data are left of an epoch after dropping the bad ones; expected some")
        if batch is not None:
            yield from repeat(batch, steps - done)

    @property
    def _passed(self) -> list[list[int]]:
        passed: list[list[int]] = self._stream.state_dict()["passed"]
        return passed


def mapping_of(config: TrainConfig) -> TreeMapping | None:
    """Return the mapping of a run's jets, with what has been measured on them."""
    measured = config.standardisation
    return tagger_mapping(config.mapping, vectors=config.vectors, tree=config.tree, standardisation=measured)


def load_jets(
    config: TrainConfig,
    *,
    rank: int = 0,
    ranks: int = 1,
    earlier: Sequence[Sequence[str]] = (),
    first: bool = False,
    progress: bool = False,
) -> tuple[JetBatch | StreamedJets, JetBatch]:
    """Read a run's training and validation jets, for one of ``ranks`` processes.

    Jets in memory are the same in every process, which take their parts of each batch. Where a column weighs them, it
    is their only further one, called ``weight``, of mean 1 over the files; see :mod:`jetsym.training.weights`. What is
    odd about the jets, and what is left out of them, is said once, by the first process. ``earlier`` are the
    fingerprints of the files of the run that is continued, in their order; with ``first`` it took the first jets of
    each file up to its limit.

    Returns
    -------
    (JetBatch or StreamedJets, JetBatch)
        Training and validation: the jets of ``config.val``, of the fold held out, or the last tenth, shuffled by seed.

    Raises
    ------
    DataError
        Files cannot be read, have no labels, hold jets of one class alone, or other classes for validation.
    ConfigError
        Too few jets to hold some out.
    """
    from jetsym.jets.io.read import padded, read_packed

    options: dict[str, Any] = {
        "limit": config.limit,
        "first": first,
        "columns": "full",
        "also": (*columns_to_read(config.weights), *([] if config.target is None else [config.target])),
        "bad_jets": config.bad_jets,
        "skip_bad": config.skip_bad,
        "mapping": mapping_of(config),
    }

    fold = config.held_out

    def read(paths: Paths, said: Oddities, fold: Fold | None) -> JetBatch:
        return padded(read_packed(paths, **options, oddities=said, fold=fold), config.max_particles)

    odd = Oddities()
    if config.stream:
        stream = StreamedJets(config, rank=rank, ranks=ranks, earlier=earlier, progress=progress)
        training: JetBatch | StreamedJets = stream
        odd = stream.oddities
    else:
        rest = None if fold is None else fold.rest
        training = _with_truth(read(in_order(config.data, earlier), odd, rest), "--data", config)
    if rank == 0:
        odd.say("--data")
    if config.target is None:
        _expect_classes(odd.counts)
    if config.val is not None or fold is not None:
        others, flag = Oddities(), "--data" if config.val is None else "--val"
        paths = in_order(config.data, earlier) if config.val is None else config.val
        validation = _with_truth(read(paths, others, fold), flag, config)
        others.beside(odd)
        if rank == 0:
            others.say(flag)
        if validation.classes != training.classes:
            difference = first_difference(validation.classes, training.classes)
            raise DataError(f"the jets of --val are of other classes than those of --data: {difference}")
        expect_standardised(validation.input_forms, config.standardisation, which=f"the jets of {flag}")
        expect_alike(training, validation, config)
        return training, validation
    assert isinstance(training, JetBatch)  # a stream has jets of its own to validate on
    held_out = len(training) // 10
    if not held_out:
        raise ConfigError(f"--data holds {len(training)} jets, too few to hold a tenth out; give --val as well")
    order = torch.randperm(len(training), generator=generator_for("split", seed=config.seed))
    training, validation = training[order[:-held_out]], training[order[-held_out:]]
    expect_alike(training, validation, config)
    return training, validation


def _expect_classes(counts: Mapping[str, int]) -> None:
    """Refuse jets of one class alone, on which any model is always right."""
    present = [name for name, number in counts.items() if number]
    if len(present) == 1:
        raise DataError(
            f"all {counts[present[0]]:,} jets of --data are of the class {present[0]}; expected jets of two classes at "
            "least, as there is nothing to tell apart: name the files of the others as well"
        )


def fingerprint(jets: JetBatch | StreamedJets, config: TrainConfig) -> dict[str, Any]:
    """Return what tells a run's training jets from others, wherever they lie."""
    if isinstance(jets, StreamedJets):
        return jets.fingerprint()
    try:
        files = [list(one) for one in fingerprints(jet_files(config.data))]
    except DataError:  # these jets were not read from there
        files = []
    return {"jets": len(jets), "contents": contents_of(jets), "files": files}


def _with_truth(jets: JetBatch, flag: str, config: TrainConfig) -> JetBatch:
    """Return jets with their labels, or with their target, and their weights."""
    found = weighed(jets, config.weights, flag)
    if config.target is not None:
        target = target_values(jets, config.target, f"the jets of {flag}")
        return found.replace(columns={**found.columns, config.target: target})
    if jets.label is None:
        raise DataError(_NO_LABELS.format(flag=flag))
    return found
