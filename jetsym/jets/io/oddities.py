"""What is odd about jets as they are read: said once, and no reason to stop."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jetsym.jets.io.packed import DISPLACEMENTS, KINDS, PackedJets
from jetsym.jets.io.remote import File
from jetsym.ranks import here

__all__ = ["Oddities", "Skipped", "plural"]

#: What a stored energy may be below the momentum, relatively: more than rounding to half precision does.
ROUNDING = 1e-3
#: Particles among which one with a rare flag (a muon) would have been found.
MANY = 50_000
#: Files in GeV and in MeV differ by 1000, kinds of jets by less than this.
FACTOR = 100
#: No collider has made jets of this pT in GeV; in MeV all are beyond it.
LARGEST_PT = 14_000
#: Values of a file that its median is taken of.
_ENOUGH = 20_000


@dataclass(frozen=True)
class Skipped:
    """A file that ``skip_bad`` has left out, or some jets of it (``n_jets`` is None for a file that did not open)."""

    path: File
    n_jets: int | None
    reason: str


@dataclass
class Oddities:
    """What is odd about jets, collected while they are read.

    Parameters
    ----------
    skipped
        Files that are left out, and parts of files.
    empty
        Files without a single entry.
    dropped
        Jets left out by ``bad_jets="drop"``, by file and part of it.
    counts
        Jets of each class; nothing where there are no labels.
    left_out
        Per-jet columns that only some files have.
    folds
        Of each file the fold whose jets are read, their number, and that of all entries.

    Examples
    --------
    >>> import numpy as np
    >>> row = np.array([[5, 3, 0, 4]], np.float32)
    >>> found = Oddities()
    >>> found.see("a.root", PackedJets(np.array([0, 1]), row, None, row))
    >>> found.see("b.root", PackedJets(np.array([0, 1]), 1000 * row, None, 1000 * row))
    >>> print(*found.words())
    the medians of jet pT are 3 GeV in a.root and 3000 GeV in b.root, a factor of 1000: one is in MeV, it seems
    """

    skipped: list[Skipped] = field(default_factory=list)
    empty: list[File] = field(default_factory=list)
    dropped: dict[tuple[Any, Any], int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    folds: dict[Any, tuple[str, int, int]] = field(default_factory=dict)
    _numbers: Counter[str] = field(default_factory=Counter)
    _pt: dict[Any, list[NDArray[Any]]] = field(default_factory=dict)
    _said: set[str] = field(default_factory=set)
    _lock: Any = field(default_factory=Lock)

    def see(self, path: Any, jets: PackedJets, *, counted: bool = True) -> None:
        """Look at some jets of a file, in any thread; not ``counted`` where they do not say which classes there are."""
        numbers: Counter[str] = Counter()
        known = (("particles", jets.values[:, :4]), ("jets", jets.jet_p4)) if len(jets.values) else ()
        for kind, momenta in known:  # jets known by inputs alone have none
            energy, *direction = momenta.T.astype(np.float64)
            with np.errstate(invalid="ignore", over="ignore"):
                p = np.sqrt(sum(one * one for one in direction))
                numbers[kind] = len(momenta)
                numbers[f"{kind} E < 0"] = int(np.count_nonzero(energy < 0))
                numbers[f"{kind} E < |p|"] = int(np.count_nonzero((energy >= 0) & (energy < p * (1 - ROUNDING))))
                numbers[f"{kind} p = 0"] = int(np.count_nonzero(p == 0))
        if jets.kinds is not None:
            kinds = jets.kinds
            for place, name in enumerate(KINDS):
                bits = (0b1100000 if place == 0 else 1 << (place - 1)) if kinds.ndim == 1 else 0
                numbers[name] = int(np.count_nonzero(kinds & bits if bits else kinds[:, place]))
                numbers[f"all {name}"] = len(kinds)
            for name, column in zip(DISPLACEMENTS, jets.values[:, 4:].T, strict=False):
                numbers[name], numbers[f"all {name}"] = int(np.count_nonzero(column)), len(column)
        few = min(len(jets), 1000)
        some = jets.take(np.arange(few) * len(jets) // max(few, 1))
        filled = np.diff(some.offsets) > 0
        sums = np.add.reduceat(some.values[:, 1:3], some.offsets[:-1][filled]) if filled.any() else np.zeros((0, 2))
        with self._lock:
            self._numbers.update(numbers)
            mine = self._pt.setdefault(path, [])
            if sum(len(one) for one in mine) < _ENOUGH:
                axis, own = np.hypot(*some.jet_p4[filled, 1:3].T), np.hypot(*np.asarray(sums).T)
                mine.append(np.stack([axis, own], axis=1).astype(np.float64))
            if jets.label is not None and counted:
                found = np.bincount(jets.label, minlength=len(jets.classes))
                for name, number in zip(jets.classes, found.tolist(), strict=True):
                    self.counts[name] = self.counts.get(name, 0) + number

    def drop(self, path: File, jets: int, *, part: Any = None) -> None:
        """Count jets of a file, or of a part of it, that have been left out; once, however often it is read."""
        with self._lock:
            self.dropped[path, part] = jets

    def words(self) -> list[str]:
        """Say all of it, a line for each kind."""
        return [*self._folds(), *self._losses(), *self._classes(), *self._momenta(), *self._silent(), *self._units()]

    def say(self, about: str = "") -> None:
        """Print what has not been said yet as notes on the standard error stream; nothing where nothing is odd.

        Of processes that share, the first says it.
        """
        for line in self.words() if here().is_first else ():
            if line not in self._said:
                self._said.add(line)
                print(f"note: {about}{': ' if about else ''}{line}", file=sys.stderr, flush=True)

    def beside(self, other: Oddities) -> None:
        """Compare with jets that have been read before, of which all has been said."""
        self._pt = {**other._pt, **self._pt}
        self._said |= other._said

    def _losses(self) -> list[str]:
        found = []
        if self.dropped:
            files: Counter[Any] = Counter()
            for (path, _), number in self.dropped.items():
                files[path] += number
            found.append(
                f"{plural(files.total(), 'jet')} of {plural(len(files), 'file')} left out: no particles, NaN or "
                f"infinity ({_few([f'{path} {number}' for path, number in files.items()])})"
            )
        whole = [one for one in self.skipped if one.n_jets is None]
        parts = [one for one in self.skipped if one.n_jets is not None]
        if whole:
            found.append(f"{plural(len(whole), 'file')} left out; the first: {whole[0].reason}")
        if parts:
            lost = sum(one.n_jets or 0 for one in parts)
            found.append(f"{plural(lost, 'jet')} left out in damaged parts of files; the first: {parts[0].reason}")
        if self.empty:
            found.append(f"{plural(len(self.empty), 'file')} without entries left out: {_few(self.empty)}")
        if self.left_out:
            found.append(f"columns that only some of the files have are left out: {_few(self.left_out)}")
        return found

    def _folds(self) -> list[str]:
        found: dict[str, list[int]] = {}
        for fold, jets, entries in self.folds.values():
            sums = found.setdefault(fold, [0, 0])
            sums[:] = sums[0] + jets, sums[1] + entries
        return [f"{fold}: {plural(jets, 'jet')} of {entries:,} entries" for fold, (jets, entries) in found.items()]

    def _classes(self) -> list[str]:
        absent = [name for name, number in self.counts.items() if not number]
        if not absent or len(absent) == len(self.counts):
            return []
        return [f"no jets of {len(absent)} of {len(self.counts)} classes: {_few(absent, most=12)}"]

    def _momenta(self) -> list[str]:
        found = []
        for kind, name in (("particles", "particle"), ("jets", "jet axis")):
            for fault in ("E < 0", "E < |p|", "p = 0"):
                if number := self._numbers[f"{kind} {fault}"]:
                    of = f"{number:,} of {self._numbers[kind]:,}"
                    found.append(f"{of} {'particles' if name == 'particle' else 'jet axes'} have {fault}")
        return found

    def _silent(self) -> list[str]:
        """Name inputs that are zero for all particles; of flags all, or one that many particles should have."""
        flags = KINDS[1:]
        zero = [name for name in (*KINDS, *DISPLACEMENTS) if self._numbers[f"all {name}"] and not self._numbers[name]]
        many = max((self._numbers[f"all {name}"] for name in zero), default=0)
        if many < MANY and not set(flags) <= set(zero):
            zero = [name for name in zero if name not in flags]
        return [f"0 for all {many:,} particles: {', '.join(zero)}"] if zero else []

    def _units(self) -> list[str]:
        medians = {path: np.nanmedian(np.concatenate(parts), axis=0) for path, parts in self._pt.items() if _any(parts)}
        if not medians:
            return []
        found = []
        axis = {path: float(one[0]) for path, one in medians.items() if one[0] > 0}
        least, most = (chosen(axis, key=axis.__getitem__, default=None) for chosen in (min, max))
        if axis and axis[most] > FACTOR * axis[least]:
            found.append(
                f"the medians of jet pT are {axis[least]:.4g} GeV in {least} and {axis[most]:.4g} GeV in {most}, a "
                f"factor of {axis[most] / axis[least]:.4g}: one is in MeV, it seems"
            )
        elif axis and axis[least] > LARGEST_PT:
            found.append(f"the median of jet pT is {axis[least]:.4g} GeV in {least}: it is in MeV, it seems")
        for path, (jet, particles) in medians.items():
            if jet > 0 and particles > 0 and not 1 / FACTOR < jet / particles < FACTOR:
                found.append(
                    f"the median pT of the jet axes is {jet:.4g} GeV in {path}, and that of the sums of their "
                    f"particles {particles:.4g} GeV: one is in MeV, it seems"
                )
                break
        return found


def plural(number: int, word: str) -> str:
    """Put a number before a word.

    Examples
    --------
    >>> plural(1, "jet"), plural(2000, "file")
    ('1 jet', '2,000 files')
    """
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _any(parts: Sequence[NDArray[Any]]) -> bool:
    return any(len(part) and bool(np.isfinite(part).any(axis=0).all()) for part in parts)


def _few(words: Sequence[Any], *, most: int = 3) -> str:
    shown = ", ".join(map(str, words[:most]))
    return shown + (f" and {len(words) - most} more" if len(words) > most else "")
