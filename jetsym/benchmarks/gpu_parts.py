"""The parts of the table of an accelerator: each yields its lines, one after the other."""

from __future__ import annotations

import math
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from jetsym.benchmarks.measure import alternate, finished, seconds
from jetsym.benchmarks.probe import forwards_alone, probed
from jetsym.benchmarks.train import WEAVER, has_weaver, network, padded_batches, task
from jetsym.errors import JetsymError
from jetsym.jets import checkpoint
from jetsym.jets.batch import JetBatch
from jetsym.jets.io.sample import sample, sample_dir
from jetsym.jets.models import PointNet, build
from jetsym.jets.moves.augmentation import AugmentationConfig
from jetsym.probing.probe import probe as probe_model
from jetsym.remedies.symmetrized import Symmetrized
from jetsym.training.callbacks import Moment
from jetsym.training.config import TrainConfig
from jetsym.training.data import StreamedJets
from jetsym.training.engine import make_fabric
from jetsym.training.loop import train, train_epoch
from jetsym.training.seeds import forked
from jetsym.training.state import Position, State, begin
from jetsym.training.step import take_step

__all__ = ["PARTS", "Row", "Size", "in_words"]

MOVES = AugmentationConfig("SO3")


@dataclass(frozen=True)
class Row:
    """One line of the table: a sentence of figures, and the figures by name."""

    what: str
    figure: str
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Size:
    """How much is measured, on which device."""

    device: str
    quick: bool
    seed: int

    def of(self, full: Any, quick: Any) -> Any:
        """Return the one or the other."""
        return quick if self.quick else full

    @property
    def small(self) -> dict[str, Any]:
        """Options of a PointNet that make it quick, if it is to be."""
        return {"width": 8, "blocks": 1, "heads": 2} if self.quick else {}


def in_words(error: BaseException) -> str:
    """Put an error into one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def precision(size: Size) -> Iterator[Row]:
    """Compare the losses of one training in bf16 and in float32, from the same weights on the same batches."""
    steps, window = size.of((200, 20), (6, 2))
    jets, losses = _sample(size), dict[str, np.ndarray]()
    for name in ("32-true", "bf16-mixed"):
        state = _begin(size, jets, precision=name)
        losses[name] = np.array([loss for loss, _ in islice(_endless(state, jets), steps)])
    smooth = [np.convolve(curve, np.full(window, 1 / window), mode="valid") for curve in losses.values()]
    difference = float(np.abs(smooth[0] - smooth[1]).max())
    last = {name: float(curve[-1]) for name, curve in zip(losses, smooth, strict=True)}
    text = f"loss {last['bf16-mixed']:.4f}, {last['32-true']:.4f} in float32; at most {difference:.4f} apart on the way"
    what = f"bf16 against float32, PointNet, {steps} steps, mean over {window}"
    yield Row(what, text, {"largest_difference": difference, **last})


def throughput(size: Size) -> Iterator[Row]:
    """Training steps with rotated jets, beside weaver-core's network on the same."""
    names = [WEAVER, "part", "pointnet"] if has_weaver() else ["part", "pointnet"]
    batches, warmup = size.of((4, 7), (1, 0))
    for precision in ("bf16-mixed", "32-true"):
        for batch_size in size.of((512, 2048), (4,)):
            rates: dict[str, float] = {}
            for name in names:
                what = f"training, {name}, {precision}, batches of {batch_size}"
                try:
                    rates[name], memory = _rate(size, name, batch_size, batches, warmup, precision)
                except Exception as error:  # such as memory that does not suffice for one of them
                    yield Row(what, in_words(error))
                    continue
                values = {"jets_per_s": rates[name], "peak_MiB": memory}
                text = f"{rates[name]:,.0f} jets/s" + ("" if math.isnan(memory) else f", {memory:,.0f} MiB")
                if WEAVER in rates:
                    values["to_weaver"] = rates[name] / rates[WEAVER]
                    text += f", {values['to_weaver']:.2f} of weaver-core's"
                yield Row(what, text, values)


def _rate(size: Size, name: str, batch_size: int, batches: int, warmup: int, precision: str) -> tuple[float, float]:
    """Jets per second, and the peak memory in MiB (NaN on a CPU)."""
    step = task(name, "training", batch_size, 128, batches, size.device, precision, size.seed, moves=MOVES)
    for _ in range(warmup):
        step()
    on_cpu = size.device == "cpu"
    if not on_cpu:
        torch.cuda.reset_peak_memory_stats()
    times = [seconds(step) for _ in range(2 * batches)]
    memory = float("nan") if on_cpu else torch.cuda.max_memory_allocated() / 2**20
    del step
    if not on_cpu:
        torch.cuda.empty_cache()
    return batch_size / statistics.median(times), memory


def stream(size: Size) -> Iterator[Row]:
    """Training on jets that are read meanwhile, against training on batches that are there."""
    batch_size, copies = size.of((512, 30), (32, 1))
    with tempfile.TemporaryDirectory(prefix="jetsym-gpu-") as temporary:
        files = Path(temporary, "files")
        files.mkdir()
        for path in sorted(sample_dir().glob("train/*.root" if not size.quick else "val/*.root")):
            for copy in range(copies):
                shutil.copy(path, files / f"{path.stem}_{copy}.root")
        for name, cache in (("ROOT", None), ("cache", str(Path(temporary, "cache")))):
            config = _config(size, data=str(files), batch_size=batch_size, cache=cache, stream=True, max_particles=128)
            jets = StreamedJets(config)
            state = _begin(size, jets, config=config)
            there = _there(state, jets)
            steps = min(len(jets) // batch_size - 1, size.of(400, 4))
            for _ in range(3):
                there(2)
            start = time.perf_counter()
            epoch = train_epoch(state, jets)
            next(epoch)
            first, start = time.perf_counter() - start, time.perf_counter()
            shown = sum(count for _, count in islice(epoch, steps))
            streamed = shown / (time.perf_counter() - start)
            del epoch
            alone = there(steps)
            text = f"{streamed:,.0f} of {alone:,.0f} jets/s: {streamed / alone:.3f}; first batch after {first:.2f} s"
            values = {"streamed": streamed, "there": alone, "ratio": streamed / alone, "first_s": first}
            yield Row(f"PointNet, batches of {batch_size} of {len(jets):,} jets from {name}", text, values)


def _there(state: State, jets: StreamedJets) -> Callable[[int], float]:
    """Jets per second of so many steps, on batches that are on the device already."""
    batches = cycle(list(islice(jets.batches(1, state.fabric.device), 8)))

    def run(steps: int) -> float:
        start, shown = time.perf_counter(), 0
        for batch in islice(batches, steps):
            take_step(state, batch, size=len(batch), rate=1e-4)
            shown += len(batch)
        return shown / (time.perf_counter() - start)

    return run


def probe(size: Size) -> Iterator[Row]:
    """Time a probe of all layers against its forward passes alone."""
    for name, n_jets in (("pointnet", 32), ("part", 8)):
        model = network(name, size.seed).to(size.device)
        jets, l_max = sample("test", limit=size.of(n_jets, 1)), size.of(8, 1)
        alone, whole = forwards_alone(model, jets, l_max=l_max), probed(model, jets, l_max=l_max)
        alone()
        report = whole()
        times = alternate({"forward": alone, "probe": whole}, size.of(3, 1))
        ratio = float(np.median(times["probe"] / times["forward"]))
        rate = report.meta["evaluations"] / float(np.median(times["probe"]))
        text = f"{ratio:.2f} of its forward passes, {rate:,.0f} evaluations/s, batches of {report.meta['batch_size']}"
        what = f"{name}, float32, l_max {l_max}, {len(jets)} jets"
        yield Row(what, text, {"ratio": ratio, "evaluations_per_s": rate})


def symmetrized(size: Size) -> Iterator[Row]:
    """Compare the average over O(3) on the device with the same in float64 on the CPU."""
    jets, l_max = sample("test", limit=size.of(8, 1)), size.of(4, 1)
    model = _pointnet(size).eval()
    with torch.no_grad():
        exact = Symmetrized(model.double(), "O3", l_max)(jets.to(torch.float64))
        for dtype in (torch.float64, torch.float32):
            average = Symmetrized(model.to(size.device, dtype), "O3", l_max)
            placed = jets.to(size.device).to(dtype)
            average(placed)
            duration = seconds(partial(_finished_call, average, placed), at_least=size.of(1.0, 0.0))
            off = float((average(placed).cpu().double() - exact).abs().max() / exact.std())
            evaluations = len(jets) * len(average.average.weights)
            text = f"{off:.1e} of the logits' spread from the CPU's float64, {duration / evaluations * 1e6:.2f} μs each"
            what = f"PointNet over {evaluations} evaluations, {str(dtype).removeprefix('torch.')}"
            yield Row(what, text, {"difference": off, "seconds_each": duration / evaluations})


def _finished_call(model: nn.Module, jets: JetBatch) -> Tensor:
    return finished(model(jets))


class Invariant(nn.Module):
    """Logits of the scalar products of the four leading momenta: exactly invariant under O(3) but for rounding."""

    probe_outputs: ClassVar[dict[str, str]] = {"logits": "logits"}

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(16, 64), nn.Linear(64, 10)

    def forward(self, jets: JetBatch) -> Tensor:
        """B jets → logits (B, classes)."""
        momenta = jets.p4[:, :4, 1:] / 100
        logits: Tensor = self.head(torch.tanh(self.hidden((momenta @ momenta.mT).flatten(1))))
        return logits


def floors(size: Size) -> Iterator[Row]:
    """Compare the noise floor that a probe reports of exactly invariant nets with what rounding makes of them."""
    jets = sample("test", limit=size.of(16, 2), max_particles=40)
    with forked():
        torch.manual_seed(size.seed)
        nets = {"scalar products": Invariant(), "canonical frames": build("canonical", options=size.small, group="O3")}
    for name, model in nets.items():
        model.to(size.device)
        for how, context in _PRECISIONS.items():

            def call(net: nn.Module, x: JetBatch, context: Any = context) -> Tensor:
                with context(size.device):
                    logits: Tensor = net(x)
                return logits

            what = f"{name}, {how}"
            try:
                found = probe_model(model, jets, l_max=size.of(4, 1), call=call, layers=[], progress=False)
            except JetsymError as error:
                yield Row(what, in_words(error))
                continue
            logits = found.equivariance["logits"]
            floor, actual = logits.noise_floor, abs(logits.relative)
            ratio = floor / actual if actual else float("inf")
            text = f"floor {floor:.1e}, relative A {actual:.1e}: {ratio:.2g} times"
            yield Row(what, text, {"floor": floor, "actual": actual, "ratio": ratio})


@contextmanager
def _tf32(device: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


_PRECISIONS: dict[str, Callable[[str], AbstractContextManager[None]]] = {
    "float32": lambda device: nullcontext(),
    "TF32": _tf32,
    "bf16 autocast": lambda device: torch.autocast(torch.device(device).type, dtype=torch.bfloat16),
    "fp16 autocast": lambda device: torch.autocast(torch.device(device).type, dtype=torch.float16),
}


def resume(size: Size) -> Iterator[Row]:
    """Compare a run that is cut and continued with two that are not."""
    for precision in ("32-true", "bf16-mixed"):
        options = _config(size, precision=precision, epochs=2, limit=size.of(4000, 60), checkpoint_every=2).to_dict()
        with tempfile.TemporaryDirectory(prefix="jetsym-gpu-") as temporary:
            runs = [Path(temporary, name) for name in ("first", "second", "cut")]
            for run in runs[:2]:
                train(out=run, progress=False, **options)
            try:
                train(out=runs[2], progress=False, callbacks=[_cut], **options)
            except InterruptedError:
                train(out=runs[2], progress=False, resume=True, **options)
            weights = [checkpoint.load(run / checkpoint.LAST).state_dict() for run in runs]
        again, resumed = (
            max(float((one - other[name]).abs().max()) for name, one in weights[0].items()) for other in weights[1:]
        )
        text = f"weights differ by {resumed:.1e} at most; those of two uninterrupted runs by {again:.1e}"
        yield Row(f"PointNet, {precision}, cut after 3 steps", text, {"resumed": resumed, "again": again})


def _cut(moment: Moment) -> None:
    if moment.step == 3:
        raise InterruptedError


def compiled(size: Size) -> Iterator[Row]:
    """Forward and backward passes of compiled taggers against those of the same as they are."""
    backend = "inductor" if size.device.startswith("cuda") else "eager"
    batches = list(padded_batches(size.of(512, 4), 128, 2, size.device, size.seed))
    for name in ("pointnet", "part"):
        model = network(name, size.seed).to(size.device)

        def step(jets: JetBatch, model: nn.Module = model) -> None:
            with torch.autocast(torch.device(size.device).type, dtype=torch.bfloat16):
                loss = nn.functional.cross_entropy(model(jets).float(), torch.as_tensor(jets.label))
            loss.backward()
            finished(loss)

        def timed() -> float:
            return statistics.median(seconds(partial(step, jets)) for jets in batches * size.of(4, 1))

        plain = [timed(), timed()][1]
        model.compile(backend=backend, dynamic=True)
        first = seconds(lambda: step(batches[0]))
        step(batches[1])
        after = timed()
        rate = len(batches[0]) / after
        text = f"{plain / after:.2f} times as fast, {rate:,.0f} jets/s; the first step took {first:.1f} s"
        yield Row(f"{name}, bf16, {backend}", text, {"speed_up": plain / after, "first_s": first})


#: Name -> part, and its seconds at most.
PARTS: dict[str, tuple[Callable[[Size], Iterator[Row]], float]] = {
    "floors": (floors, 50),
    "symmetrized": (symmetrized, 30),
    "probe": (probe, 60),
    "precision": (precision, 50),
    "resume": (resume, 45),
    "stream": (stream, 75),
    "throughput": (throughput, 110),
    "compiled": (compiled, 60),
}


def _sample(size: Size) -> JetBatch:
    return sample("train", limit=size.of(None, 60), max_particles=64).to(size.device)


def _pointnet(size: Size) -> PointNet:
    with forked():
        torch.manual_seed(size.seed)
        return PointNet(**size.small)


def _config(size: Size, **options: Any) -> TrainConfig:
    """Train a PointNet on the bundled sample with rotated jets, where the options do not say otherwise."""
    own: dict[str, Any] = {
        "data": str(sample_dir() / "train"),
        "val": str(sample_dir() / "val"),
        "options": size.small,
        "augmentation": MOVES,
        "batch_size": size.of(512, 16),
        "device": "cuda" if size.device.startswith("cuda") else size.device,
        "seed": size.seed,
    }
    return TrainConfig(**own | options)


def _begin(size: Size, jets: JetBatch | StreamedJets, *, config: TrainConfig | None = None, **options: Any) -> State:
    config = config or _config(size, **options)
    return begin(make_fabric(config), config, jets)


def _endless(state: State, jets: JetBatch) -> Iterator[tuple[float, int]]:
    """Step after step, epoch after epoch."""
    while True:
        yield from train_epoch(state, jets)
        state.position = Position(epoch=state.position.epoch + 1)
