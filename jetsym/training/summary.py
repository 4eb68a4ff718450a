"""What a run is, in the lines that it begins with: network, device, precision, jets of each class, where it writes."""

from __future__ import annotations

from collections.abc import Mapping

from jetsym.jets.batch import JetBatch, labels_of
from jetsym.training.data import StreamedJets
from jetsym.training.folder import RunFolder
from jetsym.training.logs import LOGS
from jetsym.training.state import State

__all__ = ["opening_lines"]


def opening_lines(
    state: State, training: JetBatch | StreamedJets, validation: JetBatch, folder: RunFolder
) -> list[str]:
    """Return these lines, of a run that begins or goes on."""
    fabric, config = state.fabric, state.config
    target = "" if config.target is None else f", predicts {config.target}"
    sizes = [weight.numel() for weight in state.tagger.parameters()]
    moving = [weight.numel() for weight in state.tagger.parameters() if weight.requires_grad]
    frozen = f" ({sum(moving):,} of them trained)" if sum(moving) < sum(sizes) else ""
    processes = f", {fabric.world_size} processes" if fabric.world_size > 1 else ""
    precision = fabric.strategy.precision.precision
    return [
        f"{config.model}: {sum(sizes):,} parameters{frozen}, on {fabric.device} in {precision}{processes}{target}",
        f"{len(training):,} jets to train on{_counts(training)}",
        f"{len(validation):,} jets to validate on{_counts(validation)}",
        _way(state, folder),
    ]


def _way(state: State, folder: RunFolder) -> str:
    """Say how far the run is to go, and where it writes."""
    config, epoch = state.config, state.position.epoch
    if epoch > config.epochs:
        return (
            f"{folder.path} has its {config.epochs} epochs already; for more, begin another from its weights: --init "
            f"{folder.path}, and another --out"
        )
    log = "" if config.logger is None else f", its log to {folder.path / LOGS / config.logger}"
    first = f"epochs {epoch} to {config.epochs}" if epoch < config.epochs else f"epoch {epoch}"
    steps = f"{state.steps_per_epoch:,} step{'s' if state.steps_per_epoch > 1 else ''}"
    return f"{first} in {steps} each, of {config.batch_size} jets at most; writing to {folder.path}{log}"


def _counts(jets: JetBatch | StreamedJets) -> str:
    """Say how many jets of each class there are, where that is known without reading them all."""
    if isinstance(jets, StreamedJets):
        counts: Mapping[str, int] = jets.oddities.counts
        head = " an epoch; in the files: " if counts else " an epoch"
    elif jets.label is None:  # as those of a target may be
        return ""
    else:
        numbers = labels_of(jets).bincount(minlength=len(jets.classes)).tolist()
        counts, head = dict(zip(jets.classes, numbers, strict=False)), ": "
    return head + ", ".join(f"{name} {number:,}" for name, number in counts.items())
