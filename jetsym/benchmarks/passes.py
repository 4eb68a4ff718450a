"""The processor's time of a probe over that of its forward passes alone, pass by pass."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from torch import nn
from torch.utils._python_dispatch import _disable_current_modes

from jetsym.atoms.calculated import is_calculator
from jetsym.atoms.domain import ATOMS
from jetsym.atoms.read import frames_of
from jetsym.errors import ProbeError
from jetsym.probing.forward import calling
from jetsym.probing.measure import rotations
from jetsym.probing.measure.orbit import measure
from jetsym.probing.probe import probe

__all__ = ["Passes", "as_it_takes", "passes_of"]

Task = Callable[[], Any]


@dataclass
class Passes:
    """Seconds of the processor of one probe, and of the same forward passes without anything around them.

    Attributes
    ----------
    probe
        Of the probe, without those of the bare passes.
    before, orbit
        Of bare passes: those that find out what a network takes and how it rounds, and those along the orbit.
    number
        How many passes there were, or calls of a calculator.
    report
        What the probe found.
    """

    probe: float = 0.0
    before: float = 0.0
    orbit: float = 0.0
    number: int = 0
    report: Any = field(default=None, repr=False)

    @property
    def over_all(self) -> float:
        """The time of the probe over that of all its passes."""
        return self.probe / (self.before + self.orbit)

    @property
    def over_orbit(self) -> float:
        """The time of the probe over that of its passes along the orbit alone."""
        return self.probe / self.orbit


def as_it_takes(model: Any, inputs: Any) -> tuple[Any, Any]:
    """Return a network on atoms as the probe knows it, and its structures with graphs, built once; others as is."""
    if not isinstance(model, nn.Module):
        return model, inputs
    known = ATOMS.prepare(model, None).model
    return known, known.structures(frames_of(inputs, limit=2**31))


def passes_of(model: Any, inputs: Any, **options: Any) -> Passes:
    """Time a probe and, in between, every one of its forward passes once more by a copy of the model that nobody reads.

    Pass and bare pass follow each other, in turn one and the other first, so that a slow minute slows both. Of a
    calculator the bare pass is its ``calculate`` by a copy of its own, which sees the same structures one by one.

    Parameters
    ----------
    model, inputs
        As for :func:`jetsym.probe`, and as :func:`as_it_takes` gives them.
    **options
        Of the probe.

    Raises
    ------
    ProbeError
        The probe runs another model than this one, which it wraps or loads.
    """
    found, twin = Passes(), copy.deepcopy(model)
    clock = _Clock(found)
    with clock.along_the_orbit():
        if is_calculator(model):
            with patch.object(model, "calculate", _calculating(model.calculate, twin.calculate, clock)):
                found.report = clock.around(lambda: probe(model, inputs, **options))
        else:
            with patch.object(calling.Caller, "__call__", _calling(calling.Caller.__call__, model, twin, clock)):
                found.report = clock.around(lambda: probe(model, inputs, **options))
    if not found.number:
        raise ProbeError(f"the probe called no {type(model).__name__}, but what it made of it; give that")
    return found


class _Clock:
    """The processor's clock of a probe, which stands still during bare passes."""

    def __init__(self, found: Passes) -> None:
        self._found, self._part, self._bare = found, "before", 0.0

    @property
    def bare_is_first(self) -> bool:
        """Whether the bare pass comes before the other this time."""
        return self._found.number % 2 == 1

    def around(self, task: Task) -> Any:
        """Run a probe, and note its time without that of the bare passes."""
        start = time.process_time()
        returned = task()
        self._found.probe = time.process_time() - start - self._bare
        return returned

    def bare(self, task: Task) -> None:
        """Run a bare pass, outside of modes of torch that watch what is computed."""
        start = time.process_time()
        with _disable_current_modes():
            begin = time.process_time()
            task()
            spent = time.process_time() - begin
        setattr(self._found, self._part, getattr(self._found, self._part) + spent)
        self._bare += time.process_time() - start

    @contextmanager
    def along_the_orbit(self) -> Iterator[None]:
        """Tell the passes along the orbit from those before."""

        def along(*arguments: Any, **named: Any) -> Any:
            self._part = "orbit"
            return measure(*arguments, **named)

        with patch.object(rotations, "measure", along):
            yield

    def paired(self, task: Task, bare: Task) -> Any:
        """Run a pass and the bare one."""
        first = self.bare_is_first
        if first:
            self.bare(bare)
        returned = task()
        self._found.number += 1
        if not first:
            self.bare(bare)
        return returned


def _calling(call: Callable[..., Any], model: Any, twin: Any, clock: _Clock) -> Callable[..., Any]:
    """Return a way to call models that calls the copy of one as well."""

    def both(caller: calling.Caller, given: Any, inputs: Any, **more: Any) -> Any:
        if given is not model:  # such as a copy in other numbers
            return call(caller, given, inputs, **more)
        return clock.paired(lambda: call(caller, given, inputs, **more), lambda: call(caller, twin, inputs))

    return both


def _calculating(calculate: Callable[..., Any], bare: Callable[..., Any], clock: _Clock) -> Callable[..., Any]:
    """Return the method of a calculator that calls that of its copy as well."""

    def both(atoms: Any, *arguments: Any, **named: Mapping[str, Any]) -> Any:
        one = atoms.copy()
        return clock.paired(lambda: calculate(atoms, *arguments, **named), lambda: bare(one, *arguments, **named))

    return both
