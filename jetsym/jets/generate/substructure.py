"""Jets from candidates: anti-kt clustering, soft-drop mass and N-subjettiness, all by FastJet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from jetsym.errors import require
from jetsym.jets.generate.detector import Candidates

__all__ = ["JetSelection", "Jets", "find_jets", "nsubjettiness", "soft_drop_mass"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class JetSelection:
    """Selection of jets, and constants of their substructure: JetClass's values.

    Parameters
    ----------
    radius
        R of the anti-kt algorithm, of the truth matching, and R₀ of soft drop and N-subjettiness.
    pt_min, pt_max
        Range of the jets' transverse momentum, in GeV.
    eta_max
        Largest |η| of the jets.
    soft_drop_z_cut, soft_drop_beta
        Soft drop: min(pT₁, pT₂)/(pT₁ + pT₂) > z_cut (ΔR/R₀)^β.
    """

    radius: float = 0.8
    pt_min: float = 500.0
    pt_max: float = 1000.0
    eta_max: float = 2.0
    soft_drop_z_cut: float = 0.1
    soft_drop_beta: float = 0.0


@dataclass(frozen=True)
class Jets:
    """Selected jets of a batch of events, grouped by event and sorted by falling pT within each.

    Parameters
    ----------
    event
        (jets,) number of the event within the batch.
    pt, eta, phi, energy
        (jets,) the jet's four-momentum (the sum of its constituents'), GeV and radians.
    constituents
        For each jet the numbers of its candidates, sorted by falling pT.
    """

    event: NDArray[np.int64]
    pt: Array
    eta: Array
    phi: Array
    energy: Array
    constituents: list[NDArray[np.int64]]

    def __len__(self) -> int:
        return len(self.event)

    def take(self, chosen: list[int]) -> Jets:
        """Select some of the jets, by number."""
        index = np.array(chosen, dtype=np.int64)
        return Jets(
            self.event[index],
            self.pt[index],
            self.eta[index],
            self.phi[index],
            self.energy[index],
            [self.constituents[jet] for jet in chosen],
        )


def find_jets(candidates: Candidates, n_events: int, selection: JetSelection) -> Jets:
    """Cluster every event with anti-kt and keep the jets inside the selection."""
    fastjet = _fastjet()
    counts = np.bincount(candidates.event, minlength=n_events)
    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, selection.radius)
    sequence = fastjet.ClusterSequence(_momenta(candidates, counts), definition)
    momenta = sequence.inclusive_jets(min_pt=selection.pt_min)
    members = sequence.constituent_index(min_pt=selection.pt_min)
    event = np.repeat(np.arange(n_events), ak.to_numpy(ak.num(momenta)))
    px, py, pz, energy = (ak.to_numpy(ak.flatten(momenta[name])).astype(np.float64) for name in ("px", "py", "pz", "E"))
    pt = np.hypot(px, py)
    eta = np.arcsinh(pz / pt)
    kept = np.flatnonzero((pt > selection.pt_min) & (pt < selection.pt_max) & (np.abs(eta) < selection.eta_max))
    kept = kept[np.lexsort((-pt[kept], event[kept]))]
    offsets = np.concatenate([[0], np.cumsum(counts)])
    candidate_pt = np.hypot(candidates.px, candidates.py)
    members = ak.flatten(members, axis=1)
    constituents = []
    for jet in kept:
        inside = ak.to_numpy(members[jet]).astype(np.int64) + offsets[event[jet]]
        constituents.append(inside[np.argsort(-candidate_pt[inside], kind="stable")])
    phi = np.arctan2(py, px)
    return Jets(event[kept], pt[kept], eta[kept], phi[kept], energy[kept], constituents)


def soft_drop_mass(constituents: ak.Array, selection: JetSelection) -> Array:
    """Compute the (jets,) mass in GeV after soft drop on the Cambridge/Aachen tree (arXiv:1402.2657).

    Parameters
    ----------
    constituents
        ``jets * var * {px, py, pz, E}``.
    """
    mass: Array = ak.to_numpy(
        _cambridge(constituents)
        .exclusive_jets_softdrop_grooming(
            njets=1,
            beta=selection.soft_drop_beta,
            symmetry_cut=selection.soft_drop_z_cut,
            R0=selection.radius,
        )
        .msoftdrop
    )
    # A single massless constituent comes out with a mass of −0.
    return np.maximum(mass.astype(np.float64), 0.0)


def nsubjettiness(constituents: ak.Array, selection: JetSelection) -> Array:
    """Compute the (jets, 4) N-subjettiness τ₁ … τ₄, β = 1, over Σ pT R₀ (arXiv:1011.2268, arXiv:1108.2701).

    The axes are those of exclusive kt, moved to the next local minimum of τ ("one-pass kt axes"). Jets of fewer
    constituents than axes have τ = 0.

    Parameters
    ----------
    constituents
        ``jets * var * {px, py, pz, E}``.
    """
    taus: Array = ak.to_numpy(
        _cambridge(constituents).njettiness(
            measure_definition="NormalizedMeasure",
            axes_definition="OnePass_KT_Axes",
            njets=[1, 2, 3, 4],
            beta=1.0,
            R0=selection.radius,
        )
    )
    return taus.astype(np.float64).reshape(len(constituents), 4)


def _cambridge(constituents: ak.Array) -> Any:
    fastjet = _fastjet()
    # A radius this large leaves nothing outside: the jet's tree holds all of its constituents.
    return fastjet.ClusterSequence(constituents, fastjet.JetDefinition(fastjet.cambridge_algorithm, 100.0))


def _momenta(candidates: Candidates, counts: NDArray[np.int64]) -> ak.Array:
    columns = {"px": candidates.px, "py": candidates.py, "pz": candidates.pz, "E": candidates.energy}
    return ak.unflatten(ak.zip(columns, with_name="Momentum4D"), counts)


def _fastjet() -> Any:
    fastjet = require("fastjet", extra="generate", purpose="jetsym generate")
    fastjet._swig.ClusterSequence.set_fastjet_banner_stream(None)
    return fastjet
