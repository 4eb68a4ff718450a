"""A training of a potential, watched: A of its outputs and spectra of its layers at every checkpoint, as it goes.

metatrain trains in a process of its own and leaves a checkpoint now and then. Here a thread of the process that started
it measures them on the CPU: on one core, and with the lowest priority where the system has such for threads, so that
the training is not held up. Where A is to end it, it waits instead: where it ends does then not depend on the load of
the machine, and the measurement has all cores. A probe takes the 60 rotations of the icosahedron and their inversions,
which resolve λ ≤ 2, and 16 held-out elements of each structure's own. What is found is written to ``watch.json`` after
each of them, and drawn in ``watch.png`` now and then.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from jetsym.atoms.checkpoint import FINAL, epochs_in, is_whole, read_checkpoint
from jetsym.atoms.model import Model, load
from jetsym.atoms.read import read_frames
from jetsym.atoms.training.data import Part
from jetsym.atoms.training.folder import WATCH, WATCH_FIGURE
from jetsym.atoms.training.runner import GO_ON, STOP
from jetsym.atoms.training.watch_report import BEFORE, Bound, Watch
from jetsym.errors import ConfigError, DataError, expect_at_least, refuse_unknown
from jetsym.plotting.style import save_figure
from jetsym.probing.probe import probe
from jetsym.probing.reports.equivariance import KNOWN_TO
from jetsym.probing.reports.spectrum import SymmetryReport

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["Watcher", "watched_frames"]

#: Seconds from one look for new checkpoints to the next.
EVERY = 0.2
#: Seconds at least from one figure to the next while it trains: drawing takes some time as well.
DRAWN_EVERY = 20.0
#: Slopes of an energy as metatrain's sections of targets name them -> as models do.
SLOPES = {"forces": "positions", "stress": "strain", "virial": "strain"}


def watched_frames(named: str | None, parts: Mapping[str, Part], limit: int) -> list[Atoms]:
    """Return a few structures to measure on, evenly spaced: of a file, or of what is validated or trained on.

    Parameters
    ----------
    named
        A file of structures; None for those of the validation, where that is a file, and else of the training.
    parts
        Sections of metatrain's options -> the files of structures.
    limit
        How many at most. Isolated atoms, which every model fits, are left out where there is anything else.

    Raises
    ------
    ConfigError
        The structures of the training are of a format that only metatrain reads.
    """
    expect_at_least("watch_limit", limit, 1)
    part = parts.get("validation_set", parts["training_set"])
    frames = part.frames if named is None else read_frames(named)
    if frames is None:
        raise ConfigError(
            "watch needs structures, and those of the training are read by metatrain alone; give watch_on"
        )
    frames = [frame for frame in frames if len(frame) > 1] or frames
    if not frames:
        raise DataError(f"{named} holds no structures; expected some to watch the training with")
    places = [(2 * place + 1) * len(frames) // (2 * limit) for place in range(limit)]
    return [frames[place] for place in sorted({*places})]


class Watcher:
    """What measures the checkpoints of one run, writes down what it finds, and says when the run is to end.

    Parameters
    ----------
    folder
        Of the run.
    frames
        Structures to measure on.
    targets
        metatrain's section of targets.
    finetuned
        metatrain's section of the fine-tuning, that of no model where a training begins from scratch.
    bounds
        Where the training is to end.
    trust
        Open files that would be refused.
    shown
        Whether to say A after every measurement, on the standard error stream.
    """

    def __init__(
        self,
        folder: Path,
        frames: Sequence[Atoms],
        targets: Mapping[str, Any],
        finetuned: Mapping[str, Any],
        bounds: tuple[Bound, ...],
        *,
        trust: bool,
        shown: bool,
    ) -> None:
        self.folder, self._frames, self._bounds = folder, list(frames), bounds
        self._targets, self._finetuned = targets, finetuned
        self._trust, self._shown = trust, shown
        self._reports: dict[int, SymmetryReport] = {}
        self._missing: dict[int, str] = {}
        self._seconds: list[float] = []
        self._units: dict[str, str] = {}
        self._stopped: tuple[Bound, int] | None = None
        self._kept: int | None = None
        self._start, self._drawn = BEFORE, -DRAWN_EVERY
        self._over = threading.Event()
        self._settings = {
            "structures": len(self._frames),
            "digest": _digest(self._frames),
            "targets": sorted(targets),
            "pretrained": finetuned.get("read_from"),
            "method": "icosahedral",
        }

    @property
    def decides(self) -> bool:
        """Whether the training is to wait at every checkpoint for what is found there."""
        return bool(self._bounds)

    def begin(self, start: int | None) -> None:
        """Take what was measured up to the epoch that a run goes on from, and measure the pretrained model if needed.

        Raises
        ------
        ConfigError
            The pretrained model is beyond a bound already, or rounding alone reaches it.
        """
        self._start = BEFORE if start is None else start
        with suppress(DataError):  # none yet, or damaged: what it holds is measured again
            former = Watch.load(self.folder / WATCH)
            if former.settings == self._settings:
                self._reports = {one.meta["step"]: one for one in former.reports if one.meta["step"] <= self._start}
                self._seconds, self._units = list(former.seconds), dict(former.units)
        pretrained = self._finetuned.get("read_from")
        if pretrained is not None and BEFORE not in self._reports:
            module = load(pretrained, trust=self._trust).module
            self._measure(BEFORE, getattr(module, "model", module), self._finetuned.get("inherit_heads") or {})
        for bound in self._bounds if BEFORE in self._reports else ():
            self._check(bound, self._reports[BEFORE])
        self._write()

    def _check(self, bound: Bound, report: SymmetryReport) -> None:
        """Refuse a bound that says nothing: one that the pretrained model does not keep, or that rounding hides."""
        refuse_unknown("a bound on A", bound.output, report.outputs)
        item, said = report.equivariance[bound.output], bound.words(self._units)
        if bound.value <= KNOWN_TO * item.rounding:
            raise ConfigError(
                f"the training is to stop with A of {said}, which rounding alone can make ({item.rounding:.1g}); give "
                "a larger bound"
            )
        if bound.is_crossed(report):
            raise ConfigError(
                f"the training is to stop with A of {said}, but A of the pretrained model is {item.absolute:.3g} "
                "already; give another bound"
            )

    @contextmanager
    def following(self, answer: Callable[[str], None]) -> Iterator[None]:
        """Measure checkpoints as they appear while the block runs; ``answer`` tells the training whether to go on."""
        thread = threading.Thread(target=self._follow, args=(answer,), name="jetsym watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _follow(self, answer: Callable[[str], None]) -> None:
        with nullcontext() if self.decides else _giving_way():
            while not self._over.wait(EVERY):
                if waiting := self._waiting():
                    epoch = max(waiting)  # the one that the training waits at, before those of an earlier run
                    self._measure_file(epoch, waiting[epoch])
                    if self.decides and epoch > self._start:
                        answer(STOP if self._is_to_stop(epoch) else GO_ON)
                    self._write()

    def _is_to_stop(self, epoch: int) -> bool:
        report = self._reports.get(epoch)
        crossed = [] if report is None else [bound for bound in self._bounds if bound.is_crossed(report)]
        self._stopped = (crossed[0], epoch) if crossed else None
        return bool(crossed)

    def finish(self) -> Watch:
        """Measure what is left: checkpoints, the last epoch, and the weights that ``model.ckpt`` holds; return all."""
        for epoch, file in sorted(self._waiting().items()):
            self._measure_file(epoch, file)
        final = self.folder / FINAL
        content = read_checkpoint(final, trust=self._trust)
        for weights, name in (("last", "epoch"), ("best", "best_epoch")):
            if content.get(name) not in (None, *self._reports):
                self._missing.pop(content[name], None)
                self._measure_file(content[name], final, weights=weights)
        self._kept = content.get("best_epoch")
        found = self._write(draw=True)
        if found is None:
            raise DataError(f"no checkpoint could be measured: {next(iter(self._missing.values()), 'there is none')}")
        return found

    def _waiting(self) -> dict[int, Path]:
        """Return the checkpoints that are there to their ends, and were not measured yet."""
        done = {*self._reports, *self._missing}
        return {epoch: file for epoch, file in epochs_in(self.folder).items() if epoch not in done and is_whole(file)}

    def _measure_file(self, epoch: int, file: Path, weights: Any = "last") -> None:
        """Measure an epoch, and take note where that fails: a training goes on all the same."""
        try:
            self._measure(epoch, load(file, weights=weights, trust=self._trust).module)
        except Exception as error:  # a model that has diverged can fail in any place
            self._missing[epoch] = " ".join(str(error).split()) or type(error).__name__

    def _measure(self, epoch: int, module: nn.Module, inherited: Mapping[str, str] | None = None) -> None:
        """Probe a model, whose targets may go by those names that they are inherited from."""
        began = time.perf_counter()
        names = {target: (inherited or {}).get(target, target) for target in self._targets}
        known: Any = module
        if epoch == BEFORE and not {*names.values()} <= {*known.dataset_info.targets}:
            return  # its heads are new ones: there is nothing to compare with
        model = Model(module, targets=[*names.values()], gradients=self._slopes())
        found = probe(
            model,
            self._frames,
            method="icosahedral",
            l_max=2,
            layers=model.blocks(),
            limit=len(self._frames),
            progress=False,
        )
        targets = {own: target for target, own in names.items()}
        report = _renamed(found, targets)
        report = replace(report, meta={**report.meta, "step": epoch, "unit": "epochs"})
        self._result({**self._reports, epoch: report})  # refused where it does not go with the others
        units = {targets.get(name, name): unit for name, unit in self._units_of(model).items()}
        self._units |= {name: unit for name, unit in units.items() if name in report.outputs}
        self._reports[epoch] = report
        self._seconds.append(time.perf_counter() - began)
        if self._shown:
            self._say(report)

    def _slopes(self) -> list[str] | None:
        """Return the gradients that are trained on; None where metatrain decides by the data."""
        energies = [one for one in self._targets.values() if isinstance(one, Mapping) and "forces" in one]
        if not energies:
            return None
        return sorted({own for name, own in SLOPES.items() for one in energies if one.get(name)})

    def _units_of(self, model: Model) -> dict[str, str]:
        """Return the units of the outputs; where no structure has a volume, the "stress" is a virial."""
        units = model.units
        if "stress" in units and not any(frame.cell.rank == 3 for frame in self._frames):
            units["stress"] = units["stress"].removesuffix("/Å³")
        return units

    def _say(self, report: SymmetryReport) -> None:
        epoch = report.meta["step"]
        errors = (f"{name} {item.absolute:.3g} {self._units.get(name, '')}".rstrip() for name, item in _outputs(report))
        words = "pretrained" if epoch == BEFORE else f"epoch {epoch}"
        print(f"{words}: A of {', '.join(errors)}", file=sys.stderr, flush=True)

    def _result(self, reports: Mapping[int, SymmetryReport]) -> Watch:
        return Watch(
            tuple(reports[epoch] for epoch in sorted(reports)),
            self._bounds,
            self._stopped,
            self._kept,
            dict(self._missing),
            dict(self._units),
            tuple(self._seconds),
            self._settings,
        )

    def _write(self, *, draw: bool = False) -> Watch | None:
        """Write what was found so far; nothing where that is nothing."""
        if not self._reports:
            return None
        found = self._result(self._reports)
        found.save(self.folder / WATCH)
        if draw or time.monotonic() - self._drawn > DRAWN_EVERY:
            save_figure(found.plot(), self.folder / WATCH_FIGURE)
            self._drawn = time.monotonic()
        return found


def _outputs(report: SymmetryReport) -> list[tuple[str, Any]]:
    return list(report.outputs.items())


def _renamed(report: SymmetryReport, names: Mapping[str, str]) -> SymmetryReport:
    """Return a report with outputs under other names."""
    return replace(
        report,
        layers=tuple(names.get(layer, layer) for layer in report.layers),
        equivariance={names.get(name, name): item for name, item in report.equivariance.items()},
    )


def _digest(frames: Sequence[Atoms]) -> str:
    """Return what tells structures from others."""
    digest = hashlib.sha256()
    for frame in frames:
        for part in (frame.numbers, frame.positions, frame.cell.array, frame.pbc):
            digest.update(part.tobytes())
    return digest.hexdigest()[:16]


@contextmanager
def _giving_way() -> Iterator[None]:
    """Let this thread take one core at most, and that only where nothing else wants it."""
    if sys.platform == "linux":  # where threads have a priority of their own
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
