"""The features of :mod:`jetsym.jets.features` of particles without padding, in a twentieth of the time.

They are computed once for every particle that is there: by numpy on a CPU, whose float32 logarithms and hyperbolic
functions are the fastest there, and by torch elsewhere. Differences to the axis J of the jet are taken in 64 bits,

    Δη = asinh((p_z cosh η_J − |p| sinh η_J) / p_T)
    Δφ = atan2(p_y cos φ_J − p_x sin φ_J, p_x cos φ_J + p_y sin φ_J),

which needs no wrap, and of which the two transcendental functions see small arguments alone. No derivatives are known
of them: what moves jets, or differentiates by their momenta, takes the functions of the other module.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch

from jetsym.errors import DataError, closest
from jetsym.jets.features import CLIP, FEATURE_SETS, SQUARE_FLOOR, STANDARDISATION
from jetsym.jets.io.packed import DISPLACEMENTS, KINDS, RaggedBatch, kind_columns

__all__ = ["FeatureSet", "features_of_particles", "scalars_of"]

#: Names of the sets of features.
FeatureSet = Literal["kin", "kinpid", "full"]


def scalars_of(features: FeatureSet) -> tuple[str, ...]:
    """Return the scalars that a set of features is made of, besides momenta."""
    return {"kin": (), "kinpid": KINDS, "full": (*KINDS, *DISPLACEMENTS)}[features]


def features_of_particles(batch: RaggedBatch, features: FeatureSet) -> Any:
    """Compute a set of features of all particles of a batch.

    Parameters
    ----------
    batch
        On any device.
    features
        The set; its columns are named in :data:`jetsym.jets.features.FEATURE_SETS`.

    Returns
    -------
    (P, F) float32
        Standardised and clipped; a numpy array where the batch is on the CPU, else a tensor beside it.

    Raises
    ------
    DataError
        The batch lacks one of the scalars, or has no momenta.

    Examples
    --------
    >>> from jetsym.jets.io import JetStream
    >>> from jetsym.jets.io.sample import sample_dir
    >>> batch = next(iter(JetStream(sample_dir() / "val", batch_size=8)))
    >>> features_of_particles(batch, "full").shape == (len(batch.p4), len(FEATURE_SETS["full"][1]))
    True
    """
    _expect(batch, features)
    on_cpu = batch.values.device.type == "cpu"
    xp: Any = np if on_cpu else torch
    arrays: list[Any] = [batch.values, batch.kinds, batch.jet_p4, batch.n_particles]
    values, kinds, jet_p4, counts = (one.numpy() if on_cpu and one is not None else one for one in arrays)
    found = _rows(xp, values, kinds, jet_p4, counts, FEATURE_SETS[features][1])
    return np.ascontiguousarray(found) if on_cpu else found


def _rows(xp: Any, values: Any, kinds: Any, jet_p4: Any, counts: Any, names: Sequence[str]) -> Any:
    """Return the features of these names (P, F), of arrays of numpy or of torch."""
    columns = _kinematic(xp, values, jet_p4, counts)
    if "charge" in names:
        columns |= zip(KINDS, _kinds(xp, kinds), strict=True)
    if "d0" in names:
        d0, d0err, dz, dzerr = values[:, 4:8].T
        columns |= {"d0": xp.tanh(d0), "d0err": xp.clip(d0err, 0.0, 1.0)}
        columns |= {"dz": xp.tanh(dz), "dzerr": xp.clip(dzerr, 0.0, 1.0)}
    return xp.stack([columns[name] for name in names]).T


def _kinematic(xp: Any, values: Any, jet_p4: Any, counts: Any) -> dict[str, Any]:
    """Return the seven kinematic features, each (P,)."""
    axes = _of_each_particle(xp, _axes(xp, jet_p4), counts, len(values))
    cos_phi, sin_phi, cosh_eta, sinh_eta = axes[:4]
    px, py, pz = _cast(xp, values[:, 1:4].T, "float64")
    px, py, pt2 = _off_beam(xp, px, py)
    pt = xp.sqrt(pt2)
    sinh_deta = (pz * cosh_eta - xp.sqrt(pt2 + pz * pz) * sinh_eta) / pt
    deta = xp.arcsinh(_cast(xp, sinh_deta, "float32"))
    across, along = py * cos_phi - px * sin_phi, px * cos_phi + py * sin_phi
    dphi = xp.arctan2(_cast(xp, across, "float32"), _cast(xp, along, "float32"))
    log_pt = xp.log(_cast(xp, pt, "float32"))
    log_energy = xp.log(xp.clip(values[:, 0], SQUARE_FLOOR**0.5, None))
    shift_pt, shift_energy = _cast(xp, axes[4:], "float32")
    columns = {
        "pt_log": log_pt - _centre("pt_log"),
        "e_log": log_energy - _centre("e_log"),
        "logptrel": log_pt - shift_pt,
        "logerel": log_energy - shift_energy,
        "deltaR": xp.sqrt(deta * deta + dphi * dphi) - _centre("deltaR"),
        "deta": deta,
        "dphi": dphi,
    }
    return {name: xp.clip(column * _scale(name), -CLIP, CLIP) for name, column in columns.items()}


def _centre(name: str) -> float:
    return STANDARDISATION[name][0]


def _scale(name: str) -> float:
    return STANDARDISATION.get(name, (0.0, 1.0))[1]


def _axes(xp: Any, jet_p4: Any) -> Any:
    """Return what is needed of the axis of each jet, (6, B) float64.

    cos φ, sin φ, cosh η and sinh η times the sign of η, and log pT and log E with the centres of the features that are
    relative to them added, which spares these a rounding.
    """
    energy, px, py, pz = _cast(xp, jet_p4.T, "float64")
    px, py, pt2 = _off_beam(xp, px, py)
    pt = xp.sqrt(pt2)
    sinh_eta = pz / pt
    sign = xp.where(sinh_eta < 0, -1.0, 1.0)
    log_energy = xp.log(xp.clip(energy, SQUARE_FLOOR**0.5, None))
    shifts = [xp.log(pt) + _centre("logptrel"), log_energy + _centre("logerel")]
    return xp.stack([px / pt, py / pt, sign * xp.sqrt(1 + sinh_eta**2), sign * sinh_eta, *shifts])


def _off_beam(xp: Any, px: Any, py: Any) -> tuple[Any, Any, Any]:
    """Return px, py and pT², as :mod:`jetsym.jets.features` has them of what has no transverse part."""
    pt2 = px * px + py * py
    still = pt2 < SQUARE_FLOOR
    if xp is np and not still.any():  # an accelerator is not asked, as that would wait for it
        return px, py, pt2
    px, py = xp.where(still, SQUARE_FLOOR**0.5, px), xp.where(still, 0.0, py)
    return px, py, xp.where(still, SQUARE_FLOOR, pt2)


def _kinds(xp: Any, kinds: Any) -> Any:
    """Return charge and flags, each (P,)."""
    if kinds.ndim == 1:
        return [_cast(xp, column, "float32") for column in kind_columns(kinds)]
    return xp.clip(kinds, -CLIP, CLIP).T


def _of_each_particle(xp: Any, jets: Any, counts: Any, particles: int) -> Any:
    """Repeat what is known of jets (K, B) for each of their particles, (K, P)."""
    if xp is np:
        return jets.repeat(counts, axis=1)
    return torch.repeat_interleave(jets, counts, dim=1, output_size=particles)


def _cast(xp: Any, values: Any, dtype: str) -> Any:
    # Columns of rows become rows of their own, over which everything that follows goes faster.
    return values.astype(dtype, order="C") if xp is np else values.to(getattr(torch, dtype))


def _expect(batch: RaggedBatch, features: FeatureSet) -> None:
    """Refuse a batch of which these features cannot be computed."""
    if batch.inputs and not batch.longest:
        raise DataError(
            f"the jets have inputs ({', '.join(batch.inputs)}) and no momenta, from which features={features!r} are "
            "computed; name the input that holds px, py, pz and energy: vectors="
        )
    for name in scalars_of(features):
        if name not in batch.scalar_names:
            raise DataError(
                f"the jets have no scalar {name!r}, of which features={features!r} are made; "
                f"{closest(name, batch.scalar_names)}"
            )
