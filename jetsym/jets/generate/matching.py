"""Truth matching: which decay or hard parton a jet comes from, by JetClass's rule.

A jet belongs to a class if every visible product of the decay (quarks, gluons, electrons, muons; not neutrinos) lies
within ΔR < 0.8 of the jet axis, ΔR² = Δη² + Δφ². Quarks and gluons are taken right after the decay, before they
radiate, charged leptons after their final-state radiation. A QCD jet holds the hard quark or gluon.
Source: arXiv:2202.03772, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jetsym.jets.generate.processes import Process

__all__ = ["Event", "Parent", "delta_r", "find_parents", "match"]

_CHARGED_LEPTONS = (11, 13)
_BOSONS = (23, 24)


@dataclass(frozen=True)
class Event:
    """The columns of one Pythia event record that truth matching needs, each of shape (entries,).

    ``momentum`` is (entries, 3) as (px, py, pz) in GeV.
    """

    pid: NDArray[np.int32]
    status: NDArray[np.int32]
    first_daughter: NDArray[np.int32]
    last_daughter: NDArray[np.int32]
    momentum: NDArray[np.float64]


@dataclass(frozen=True)
class Parent:
    """A decaying particle, or a hard parton, that may make a jet.

    Parameters
    ----------
    pid
        PDG number, with its sign.
    pt, eta, phi
        Its transverse momentum in GeV, pseudorapidity and azimuth.
    visible_pt, visible_eta
        Transverse momentum in GeV and pseudorapidity of the sum of ``products``.
    products
        (products, 2) pseudorapidity and azimuth of everything that has to lie in the jet.
    truth_match
        JetClass's code of the decay.
    """

    pid: int
    pt: float
    eta: float
    phi: float
    visible_pt: float
    visible_eta: float
    products: NDArray[np.float64]
    truth_match: int


def delta_r(
    eta: NDArray[np.float64] | float, phi: NDArray[np.float64] | float, axis_eta: float, axis_phi: float
) -> NDArray[np.float64]:
    """Compute the distance √(Δη² + Δφ²) from an axis, with the difference in azimuth taken across ±π."""
    dphi = np.remainder(np.asarray(phi) - axis_phi + np.pi, 2 * np.pi) - np.pi
    return np.hypot(np.asarray(eta) - axis_eta, dphi)


def find_parents(event: Event, process: Process) -> list[Parent]:
    """Find the particles of an event whose decay is the one that defines the class, in the order of the record."""
    pid = np.abs(event.pid)
    if process.parent == 0:
        # Status 23 marks outgoing particles of the hard process; the minus sign says that they went on to shower.
        hard = np.flatnonzero((np.abs(event.status) == 23) & ((pid <= 5) | (pid == 21)))
        return [_parent(event, int(i), [int(i)], process.truth_match) for i in hard]
    found = []
    for i in np.flatnonzero(pid == process.parent):
        if event.first_daughter[i] == 0 or _last_copy(event, int(i)) != i:
            continue
        partons, leptons = _visible_products(event, int(i))
        if (len(partons), len(leptons)) == (process.partons, process.leptons):
            found.append(_parent(event, int(i), partons + leptons, _truth_code(process, pid, partons, leptons)))
    return found


def match(eta: float, phi: float, parents: Sequence[Parent], *, radius: float) -> int | None:
    """Return the index of the first parent with all products within ``radius`` of the jet axis; None if none has."""
    for i, parent in enumerate(parents):
        if np.all(delta_r(parent.products[:, 0], parent.products[:, 1], eta, phi) < radius):
            return i
    return None


def _daughters(event: Event, i: int) -> list[int]:
    first, last = int(event.first_daughter[i]), int(event.last_daughter[i])
    if first == 0:
        return []
    return list(range(first, max(first, last) + 1))


def _last_copy(event: Event, i: int) -> int:
    """Follow a particle through its recoils and radiation to the entry that decays, or is final."""
    while copies := [j for j in _daughters(event, i) if event.pid[j] == event.pid[i]]:
        i = copies[0]
    return i


def _visible_products(event: Event, i: int) -> tuple[list[int], list[int]]:
    """Find the entries of quarks and gluons, and of charged leptons, from a decay and the bosons in it."""
    partons: list[int] = []
    leptons: list[int] = []
    for j in _daughters(event, i):
        pid = abs(int(event.pid[j]))
        if pid in _BOSONS:
            more_partons, more_leptons = _visible_products(event, _last_copy(event, j))
            partons += more_partons
            leptons += more_leptons
        elif pid <= 5 or pid == 21:
            partons.append(j)
        elif pid in _CHARGED_LEPTONS:
            leptons.append(_last_copy(event, j))
    return partons, leptons


def _truth_code(process: Process, pid: NDArray[np.int32], partons: list[int], leptons: list[int]) -> int:
    """Return JetClass's code: top 11 (with charm), 12, 15 (e), 16 (µ); W 21 (with charm), 22; Z 31 (b), 32 (c), 33."""
    code = process.truth_match
    if process.parent == 6 and leptons:
        return code + int(pid[leptons[0]] == 13)
    if process.parent in (6, 24):
        charm_or_beauty = sum(int(pid[j]) >= 4 for j in partons)
        from_top = int(process.parent == 6)
        return code + int(charm_or_beauty == from_top)
    if process.parent == 23:
        return code + {5: 0, 4: 1}.get(int(pid[partons[0]]), 2)
    return code


def _parent(event: Event, i: int, products: list[int], truth_match: int) -> Parent:
    visible = event.momentum[products]
    pt, eta, phi = _coordinates(np.stack([event.momentum[i], visible.sum(axis=0), *visible])).tolist()
    return Parent(
        pid=int(event.pid[i]),
        pt=pt[0],
        eta=eta[0],
        phi=phi[0],
        visible_pt=pt[1],
        visible_eta=eta[1],
        products=np.array([eta[2:], phi[2:]]).T,
        truth_match=truth_match,
    )


def _coordinates(momentum: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute (3, n) transverse momentum, pseudorapidity and azimuth of (n, 3) momenta."""
    px, py, pz = momentum.T
    pt = np.hypot(px, py)
    return np.stack([pt, np.arcsinh(pz / np.maximum(pt, 1e-12)), np.arctan2(py, px)])
