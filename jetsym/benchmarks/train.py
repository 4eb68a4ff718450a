"""Benchmark of training and inference: taggers, and weaver-core's ParticleTransformer on the same batches."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import cycle
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional as F

from jetsym.benchmarks.measure import alternate, finished, peak_growth
from jetsym.errors import expect_at_least, expect_one_of
from jetsym.jets.batch import JetBatch
from jetsym.jets.features import full_features
from jetsym.jets.io.sample import sample
from jetsym.jets.models import ParticleTransformer
from jetsym.jets.models.registry import build
from jetsym.jets.moves.augmentation import AugmentationConfig, augment
from jetsym.jets.schema import CLASSES
from jetsym.text import table_of

__all__ = ["train"]

#: Name of weaver-core's ParticleTransformer in the table.
WEAVER = "weaver ParT"
#: What its tensors do not tell.
UNSAID: dict[str, Any] = {
    "features": "full",
    "pair_activation": True,
    "activation": "gelu",
    "remove_self_pair": False,
    "pair_input_type": "pp",
}

Phase = Literal["training", "inference"]


def train(
    models: list[str] | None = None,
    *,
    batch_size: int = 64,
    slots: int = 128,
    batches: int = 10,
    warmup: int = 6,
    device: str = "cpu",
    precision: str = "32-true",
    memory: bool = True,
    seed: int = 0,
) -> None:
    """Print jets per second of training and of inference, and the peak memory of both.

    Every model sees the same batches of the bundled sample, with its multiplicities, padded to ``slots``; ``part`` has
    the weights of weaver-core's, which is measured with it where it is installed: with its defaults, which trim
    padding from the sixth step on. They alternate, so that a slow minute slows all of them, and use as many threads as
    OMP_NUM_THREADS says.

    Parameters
    ----------
    models
        Names of taggers with their default options (default: part and pointnet).
    batch_size
        Jets per batch.
    slots
        Particle slots of a batch, padding included.
    batches
        Number of batches that are timed; medians are printed.
    warmup
        Steps before the timing begins.
    device
        ``cpu`` or ``cuda``.
    precision
        ``32-true`` or ``bf16-mixed``.
    memory
        Also measure the peak memory, on a CPU each in a fresh process.
    seed
        Seed of weights and batches.
    """
    expect_one_of("precision", precision, ("32-true", "bf16-mixed"))
    for name, value, least in (("batch_size", batch_size, 1), ("batches", batches, 1), ("warmup", warmup, 0)):
        expect_at_least(name, value, least)
    names = list(models or ["part", "pointnet"])
    if "part" in names and has_weaver():
        names.insert(names.index("part"), WEAVER)
    setting = (batch_size, slots, batches, device, precision, seed)
    seconds = {phase: _measured(names, phase, setting, warmup) for phase in ("training", "inference")}
    table = table_of(
        f"{batch_size} jets, {slots} slots, {precision} on {device}, {torch.get_num_threads()} threads",
        ("model", "training jets/s", "ratio", "inference jets/s", "ratio", "training MiB", "inference MiB"),
    )
    for name in names:
        row = [name]
        for times in seconds.values():
            row += [f"{batch_size / np.median(times[name]):.0f}", _ratio(name, times)]
        if memory:
            row += [f"{_peak(name, phase, setting):.0f}" for phase in ("training", "inference")]
        table.add_row(*row)
    Console(width=120).print(table)
    print(f"ratio: to {WEAVER}" if WEAVER in names else "no ratios: python -m pip install 'jetsym[bench]'")


def _ratio(name: str, times: dict[str, Any]) -> str:
    return f"{np.median(times[WEAVER] / times[name]):.2f}" if WEAVER in times else ""


def _measured(names: list[str], phase: Phase, setting: tuple[Any, ...], warmup: int) -> dict[str, Any]:
    tasks = {name: task(name, phase, *setting) for name in names}
    for run in tasks.values():
        for _ in range(warmup):
            run()
    return alternate(tasks, setting[2])


def _peak(name: str, phase: Phase, setting: tuple[Any, ...]) -> float:
    """Measure the MiB of a step above what was there before."""
    if setting[3] == "cpu":
        return peak_growth(task, name, phase, *setting)
    run = task(name, phase, *setting)
    run()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    return float(torch.cuda.max_memory_allocated() - before) / 2**20


def task(
    name: str,
    phase: Phase,
    batch_size: int,
    slots: int,
    batches: int,
    device: str,
    precision: str,
    seed: int,
    *,
    moves: AugmentationConfig | None = None,
) -> Callable[[], Tensor]:
    """Prepare one step on the next batch; in training, jets are moved as ``moves`` says."""
    model = network(name, seed).to(device).train(phase == "training")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    following = cycle(list(padded_batches(batch_size, slots, batches, device, seed)))

    def precise() -> AbstractContextManager[None]:
        return torch.autocast(device, dtype=torch.bfloat16, enabled=precision != "32-true")

    def step() -> Tensor:
        jets = augment(next(following), moves or AugmentationConfig())
        with precise():
            loss = F.cross_entropy(model(jets).float(), torch.as_tensor(jets.label))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return finished(loss)

    @torch.no_grad()
    def infer() -> Tensor:
        with precise():
            return finished(model(next(following)))

    return step if phase == "training" else infer


def padded_batches(batch_size: int, slots: int, batches: int, device: str, seed: int) -> Iterator[JetBatch]:
    """Yield batches of the bundled sample, all classes mixed, with exactly so many slots."""
    jets = sample("train", limit=batch_size * batches, max_particles=slots)
    # Where the sample is too small, its jets come more than once.
    order = torch.randperm(batch_size * batches, generator=torch.Generator().manual_seed(seed)) % len(jets)
    filler = slots - jets.max_particles
    jets = jets.replace(
        p4=F.pad(jets.p4, (0, 0, 0, filler)),
        mask=F.pad(jets.mask, (0, filler)),
        scalars=F.pad(jets.scalars, (0, 0, 0, filler)),
    )
    for part in order.split(batch_size):
        yield jets[part].to(device)


def network(name: str, seed: int) -> nn.Module:
    """Build a tagger of that name, or weaver-core's, untrained; ``part`` has weaver-core's weights if that is here."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == WEAVER:
            return Weaver()
        if name != "part" or not has_weaver():
            return build(name)
        with tempfile.TemporaryDirectory() as folder:
            torch.save(Weaver().original.state_dict(), Path(folder) / "weights.pt")
            file = Path(folder) / "weights.pt"
            return ParticleTransformer.from_weaver(file, classes=CLASSES, **UNSAID)


class Weaver(nn.Module):
    """The ParticleTransformer of weaver-core as published, on JetBatches; features are computed alike for both."""

    def __init__(self) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from weaver.nn.model.ParticleTransformer import ParticleTransformer as Original
        self.original = Original(17, 10, use_pre_activation_pair=False, fc_params=[])

    def forward(self, jets: JetBatch) -> Tensor:
        """Map B jets to logits (B, classes)."""
        momenta = jets.p4[..., [1, 2, 3, 0]].mT  # (px, py, pz, E)
        logits: Tensor = self.original(full_features(jets).mT, momenta, jets.mask[:, None])
        return logits


def has_weaver() -> bool:
    """Tell whether weaver-core is installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import weaver.nn.model.ParticleTransformer  # noqa: F401
    except ImportError:
        return False
    return True
