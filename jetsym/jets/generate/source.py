"""Pythia as a source of events: batches of plain arrays, and a filter that drops hopeless events early."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from jetsym.errors import JetsymError, require
from jetsym.jets.generate.detector import Particles
from jetsym.jets.generate.matching import Event, Parent, delta_r, find_parents
from jetsym.jets.generate.processes import COMMON_SETTINGS, PROCESSES, Process

__all__ = ["EventBatch", "EventSource"]

_NEUTRINOS = (12, 14, 16)

# The early filter. In the hard process, before any radiation, each bound is far enough from the selection of jets
# (pT > 500 GeV, |η| < 2, products within ΔR < 0.8 of the axis) that events beyond it practically never give a jet.
_VISIBLE_PT_MIN = 400.0
_ETA_MAX = 2.5
_SEPARATION_MAX = 1.8
# Once radiation harder than the scale is done, the decaying particle has recoiled against it. About 2 per cent of
# the selected jets would come from one below the bound; nearly half of the events do.
_RECOIL_SCALE = 20.0
_RECOILED_PT_MIN = 470.0


@dataclass(frozen=True)
class EventBatch:
    """Event records of a batch, one after the other; event i holds the entries ``offsets[i]`` to ``offsets[i + 1]``.

    Parameters
    ----------
    offsets
        (events + 1,) first entry of each event, and the end.
    pid, status, first_daughter, last_daughter
        (entries,) as in Pythia's event record; daughters are counted within the event.
    charge
        (entries,) in units of e.
    p4
        (entries, 4) as (E, px, py, pz) in GeV.
    vertex
        (entries, 3) production vertex in mm.
    """

    offsets: NDArray[np.int64]
    pid: NDArray[np.int32]
    status: NDArray[np.int32]
    first_daughter: NDArray[np.int32]
    last_daughter: NDArray[np.int32]
    charge: NDArray[np.float64]
    p4: NDArray[np.float64]
    vertex: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def record(self, i: int) -> Event:
        """Return the columns of one event that truth matching reads."""
        entries = slice(self.offsets[i], self.offsets[i + 1])
        return Event(
            pid=self.pid[entries],
            status=self.status[entries],
            first_daughter=self.first_daughter[entries],
            last_daughter=self.last_daughter[entries],
            momentum=self.p4[entries, 1:],
        )

    def visible(self) -> Particles:
        """Return the stable particles of all events, without neutrinos."""
        seen = (self.status > 0) & ~np.isin(np.abs(self.pid), _NEUTRINOS)
        event = np.repeat(np.arange(len(self)), np.diff(self.offsets))
        energy, px, py, pz = self.p4[seen].T
        return Particles(event[seen], self.pid[seen], self.charge[seen], px, py, pz, energy, *self.vertex[seen].T)


class EventSource:
    """An initialised, silent Pythia for one class.

    Parameters
    ----------
    name
        Class, a key of :data:`.processes.PROCESSES`.
    seed
        Pythia's random seed, 1 to 900 000 000.
    """

    def __init__(self, name: str, *, seed: int) -> None:
        pythia8mc = require("pythia8mc", extra="generate", purpose="jetsym generate")
        process = PROCESSES[name]
        self._name = name
        self._pythia = pythia8mc.Pythia("", False)
        for line in (*COMMON_SETTINGS, *process.settings, "Random:setSeed = on", f"Random:seed = {seed}"):
            if not self._pythia.readString(line):
                raise JetsymError(f"Pythia {pythia8mc.__version__} does not accept the setting {line!r} ({name})")
        # Pythia holds only the C++ half of the hook: without a reference here the Python half is collected, and the
        # filter silently stops filtering.
        self._filter = _early_filter(pythia8mc, process)
        self._pythia.setUserHooksPtr(self._filter)
        if not self._pythia.init():
            raise JetsymError(f"Pythia could not be initialised for class {name} with seed {seed}")

    def batch(self, count: int) -> EventBatch:
        """Generate the next ``count`` events (fewer, should Pythia give up on some)."""
        entries = self._pythia.nextBatch(count).prt
        if len(entries) == 0:
            raise JetsymError(f"Pythia failed on {count} events of class {self._name} in a row")
        counts = ak.to_numpy(ak.num(entries))
        flat = ak.flatten(entries)
        pid = _numpy(flat.id)
        return EventBatch(
            offsets=np.concatenate([[0], np.cumsum(counts)]),
            pid=pid,
            status=_numpy(flat.status),
            first_daughter=_numpy(flat.daughter1),
            last_daughter=_numpy(flat.daughter2),
            charge=self._charges(pid),
            p4=np.stack([_numpy(flat.p[name]) for name in ("e", "px", "py", "pz")], axis=1),
            # A vertex is missing where it is the origin.
            vertex=np.stack([_numpy(ak.fill_none(flat.vProd[name], 0.0)) for name in ("px", "py", "pz")], axis=1),
        )

    def _charges(self, pid: NDArray[np.int32]) -> NDArray[np.float64]:
        kinds, inverse = np.unique(pid, return_inverse=True)
        return np.array([self._pythia.particleData.charge(int(kind)) for kind in kinds])[inverse]


def _may_give_a_jet(parent: Parent) -> bool:
    """Tell whether a parent in the hard process, before any radiation, can end up in a selected and matched jet."""
    eta, phi = parent.products.T
    if any(delta_r(eta, phi, *axis).max() > _SEPARATION_MAX for axis in parent.products):
        return False
    return parent.visible_pt > _VISIBLE_PT_MIN and abs(parent.visible_eta) < _ETA_MAX


def _early_filter(pythia8mc: Any, process: Process) -> Any:
    """Make a hook that drops events that cannot give a jet of the class, before most of the shower is spent on them."""

    class EarlyFilter(pythia8mc.UserHooks):  # type: ignore[misc]  # pythia8mc has no types
        def canVetoProcessLevel(self) -> bool:
            return True

        def doVetoProcessLevel(self, event: Any) -> bool:
            particles = [event[i] for i in range(event.size())]
            record = Event(
                pid=np.array([particle.id() for particle in particles]),
                status=np.array([particle.status() for particle in particles]),
                first_daughter=np.array([particle.daughter1() for particle in particles]),
                last_daughter=np.array([particle.daughter2() for particle in particles]),
                momentum=np.array([(particle.px(), particle.py(), particle.pz()) for particle in particles]),
            )
            parents = find_parents(record, process)
            return len(parents) != process.per_event or not any(map(_may_give_a_jet, parents))

        def canVetoPT(self) -> bool:
            return process.parent != 0

        def scaleVetoPT(self) -> float:
            return _RECOIL_SCALE

        def doVetoPT(self, stage: int, event: Any) -> bool:
            # Entries 5 and 6 are what comes out of the hard 2 → 2 process; their bottom copies have recoiled.
            parents = [event[i] for i in (5, 6) if abs(event[i].id()) == process.parent]
            return all(event[parent.iBotCopyId()].pT() < _RECOILED_PT_MIN for parent in parents)

    return EarlyFilter()


def _numpy(array: ak.Array) -> NDArray[Any]:
    return cast("NDArray[Any]", ak.to_numpy(array, allow_missing=False))
