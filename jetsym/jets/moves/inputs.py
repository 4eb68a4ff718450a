"""Inputs of networks under a move: those that are functions of the momenta are computed anew, or the move is refused.

Which variable is which function is known by a table of names, and believed only if it gives what stands in the input
before the move: a Δη with another sign, or a pT of other units, is refused rather than replaced. Charges, identities,
masks and displacements stay as they are, as they do in ``JetBatch.scalars``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from jetsym.errors import DataError
from jetsym.jets import kinematics
from jetsym.jets.batch import JetBatch
from jetsym.jets.features import kinematic_quantities
from jetsym.jets.inputs import InputForm

__all__ = ["CARRIED", "DISPLACED", "carried", "follow", "is_known", "laws_named", "rearranged"]

#: Differences between a stored variable and the function that it is named after, of its size or of 1.
_TOLERANCE = 2e-3

#: What names of variables of particles begin with.
_PREFIX = re.compile(r"^(part|particle|pfcand|pfc|pf|cand|constituent|const)s?_")

#: Variables that no move changes, or that have no law and are held fixed.
_FIXED = re.compile(
    r"^(mask|charge|pid|pdg_?id|is[a-z]+|(tanh_?)?d[0xz](val|err|sig)?|d[0z]_?(val|err|sig)|ones?|bias|nparticles)$"
)
#: What displacements are called.
DISPLACED = "impact parameters"
#: What variables that no move changes are of -> how their names begin.
CARRIED = {DISPLACED: r"(tanh_?)?d[0xz]", "charge": "charge", "particle flags": "is|pid|pdg"}


class _Quantities:
    """What is computed of the momenta of jets (B, N) and of their axes (B,), once it is asked for."""

    def __init__(self, batch: JetBatch) -> None:
        self.batch = batch

    @cached_property
    def field(self) -> dict[str, Tensor]:
        return kinematic_quantities(self.batch, "field")

    @cached_property
    def unsigned(self) -> dict[str, Tensor]:
        return kinematic_quantities(self.batch, "unsigned")

    @cached_property
    def rapidity(self) -> dict[str, Tensor]:
        return kinematic_quantities(self.batch, "rapidity")

    @cached_property
    def p4(self) -> Tensor:
        return self.batch.p4

    @cached_property
    def jet(self) -> Tensor:
        return self.batch.jet_p4


_Law = Callable[[_Quantities], Tensor]


def _of_field(name: str, *others: str) -> tuple[_Law, ...]:
    return tuple(lambda q, how=how: getattr(q, how)[name] for how in ("field", *others))


_PT_LOG, _E_LOG = _of_field("pt_log"), _of_field("e_log")
_DELTA_R, _DETA = _of_field("deltaR", "rapidity"), _of_field("deta", "unsigned", "rapidity")
_DPHI = _of_field("dphi")

#: Variables of particles, without what their names begin with, and the functions that they may be.
_OF_PARTICLES: dict[str, tuple[_Law, ...]] = {
    **dict.fromkeys(("energy", "e"), (lambda q: q.p4[..., 0],)),
    "px": (lambda q: q.p4[..., 1],),
    "py": (lambda q: q.p4[..., 2],),
    "pz": (lambda q: q.p4[..., 3],),
    "pt": (lambda q: kinematics.pt(q.p4),),
    "eta": (lambda q: kinematics.eta(q.p4),),
    "phi": (lambda q: kinematics.phi(q.p4),),
    **dict.fromkeys(("rapidity", "y"), (lambda q: kinematics.rapidity(q.p4),)),
    **dict.fromkeys(("pt_log", "log_pt", "logpt"), _PT_LOG),
    **dict.fromkeys(("e_log", "energy_log", "log_e", "log_energy", "loge"), _E_LOG),
    **dict.fromkeys(("logptrel", "ptrel_log", "log_ptrel"), _of_field("logptrel")),
    **dict.fromkeys(("logerel", "erel_log", "log_erel"), _of_field("logerel")),
    **dict.fromkeys(("deltar", "delta_r", "dr"), _DELTA_R),
    **dict.fromkeys(("deta", "etarel", "eta_rel", "delta_eta"), _DETA),
    **dict.fromkeys(("dphi", "phirel", "phi_rel", "delta_phi"), _DPHI),
    **dict.fromkeys(("ptrel", "pt_rel"), (lambda q: (q.field["logptrel"]).exp(),)),
    **dict.fromkeys(("erel", "e_rel"), (lambda q: (q.field["logerel"]).exp(),)),
}
#: Variables of jets.
_OF_JETS: dict[str, tuple[_Law, ...]] = {
    "jet_pt": (lambda q: kinematics.pt(q.jet),),
    "jet_eta": (lambda q: kinematics.eta(q.jet),),
    "jet_phi": (lambda q: kinematics.phi(q.jet),),
    **dict.fromkeys(("jet_energy", "jet_e"), (lambda q: q.jet[..., 0],)),
    "jet_px": (lambda q: q.jet[..., 1],),
    "jet_py": (lambda q: q.jet[..., 2],),
    "jet_pz": (lambda q: q.jet[..., 3],),
}


def follow(before: JetBatch, after: JetBatch) -> JetBatch:
    """Let the inputs and columns of moved jets follow their momenta.

    Parameters
    ----------
    before
        B jets as they were, whose inputs go with their momenta.
    after
        n · B jets, element by element, with momenta that have been moved and all else as it was.

    Returns
    -------
    JetBatch
        The moved jets. Columns of the jet axis are computed anew, and left out where they were another axis's.

    Raises
    ------
    DataError
        If a variable of an input is no known function of the momenta, or not the one that it is named after.

    Examples
    --------
    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0]]])
    >>> form = {"pf": InputForm(("part_px", "part_charge"), length=2, fill=(0.0, 0.0))}
    >>> inputs = {"pf": torch.tensor([[[3.0, 0.0], [1.0, 0.0]]])}
    >>> jets = JetBatch(p4, torch.ones(1, 1, dtype=bool), torch.zeros(1, 1, 10), p4[:, 0])
    >>> jets = jets.replace(inputs=inputs, input_forms=form)
    >>> follow(jets, jets.replace(p4=-p4)).inputs["pf"].tolist()
    [[[-3.0, 0.0], [1.0, 0.0]]]
    """
    axis = [name for name in before.columns if name in _OF_JETS]
    if not before.inputs and not axis:
        return after
    if not before.has_momenta:
        raise DataError(
            f"the jets have inputs ({', '.join(before.inputs)}) and no momenta, so nothing can be moved; name the "
            "input that holds px, py, pz and energy: vectors="
        )
    here, there = _Quantities(before), _Quantities(after)
    inputs: dict[str, Tensor] = {}
    for name, values in after.inputs.items():
        form = before.input_forms[name]
        columns = list(values.unbind(1))
        for place, variable in enumerate(form.names):
            if variable in form.fixed:
                continue
            own, laws = _laws(name, variable, is_of_jet=form.length is None)
            stored = before.inputs[name][:, place]
            law = next((law for law in laws if _same(_placed(law(here), form, place, before), stored)), None)
            if law is not None:
                columns[place] = _placed(law(there), form, place, after).to(values.dtype)
            elif laws:
                raise DataError(
                    f"the variable {variable!r} of the input {name!r} is not {own} of these momenta, as its name says, "
                    "and cannot be computed anew after a move; hold it fixed where that is meant (fixed=), give it "
                    "another name, or leave the input out: "
                    "jets.replace(inputs=…, input_forms=…)"
                )
            elif own.startswith("is") and not _is_of_two_values(stored, form, before):  # as an isolation, which is none
                raise DataError(
                    f"the variable {variable!r} of the input {name!r} is no flag, as its name says, but has more than "
                    "two values, and would stay as it is while the momenta move; hold it fixed where that is meant, "
                    f"fixed=[{variable!r}], or leave the input out: jets.replace(inputs=…, input_forms=…)"
                )
        inputs[name] = torch.stack(columns, dim=1)
    columns_of_jets = dict(after.columns)
    for name in axis:
        (law,) = _OF_JETS[name]
        if _same(law(here), before.columns[name]):
            columns_of_jets[name] = law(there).to(after.columns[name].dtype)
        else:
            del columns_of_jets[name]
    return after.replace(inputs=inputs, columns=columns_of_jets)


def _laws(name: str, variable: str, *, is_of_jet: bool) -> tuple[str, tuple[_Law, ...]]:
    """Return what a variable may be of the momenta, and its plain name; nothing for one that stays as it is."""
    if (laws := _OF_JETS.get(variable.lower())) is not None:
        return variable, laws
    plain = _PREFIX.sub("", variable.lower())
    if not is_of_jet and (laws := _OF_PARTICLES.get(plain)) is not None:
        return plain, laws
    if _FIXED.match(plain):
        return plain, ()
    raise DataError(
        f"the variable {variable!r} of the input {name!r} is no known function of the momenta, and would stay as it "
        f"is while they move; known are {', '.join(_OF_PARTICLES)} of particles and {', '.join(_OF_JETS)}; hold it "
        f"fixed where that is meant, fixed=[{variable!r}], or leave the input out: "
        "jets.replace(inputs=…, input_forms=…)"
    )


def _placed(values: Tensor, form: InputForm, place: int, batch: JetBatch) -> Tensor:
    """Standardise values (B, N) or (B,) and put them in the places of an input, (B, length) or (B,)."""
    scaling = form.scaling[place] if form.scaling else None
    if scaling is not None:
        centre, scale, smallest, largest = scaling
        values = ((values - centre) * scale).clamp(smallest, largest)
    values = torch.where(values.isnan(), 0.0, values)
    if form.length is None:
        return values
    counts = batch.n_particles[:, None]
    if values.ndim == 1:
        values, counts = values[:, None], torch.ones_like(counts)
    number = torch.arange(form.length, device=values.device).expand(len(values), -1)
    there, fill = number < counts, 0.0
    if form.fill is None:
        number, there = number % counts.clamp_min(1), (counts > 0).expand_as(there)
    else:
        fill = form.fill[place]
    return torch.where(there, values.gather(1, number.clamp(max=values.shape[1] - 1)), fill)


def _is_of_two_values(stored: Tensor, form: InputForm, batch: JetBatch) -> bool:
    """Tell whether a variable has at most two values, of the particles that there are."""
    values = stored
    if form.length is not None and form.fill is not None:
        values = stored[torch.arange(form.length, device=stored.device) < batch.n_particles[:, None]]
    return values.numel() == 0 or bool(((values == values.max()) | (values == values.min())).all())


def _same(computed: Tensor, stored: Tensor) -> bool:
    difference = (computed.detach() - stored).abs()
    alike = difference <= _TOLERANCE * stored.abs().clamp_min(1.0)
    return bool((alike | (computed.isnan() & stored.isnan())).all())  # NaN stands where there is nothing


def laws_named(variable: str) -> set[str]:
    """Return the names of a variable of particles, as what it is of the momenta; none for one that is not known.

    Examples
    --------
    >>> sorted(laws_named("part_energy")), laws_named("part_charge")
    (['e', 'energy'], set())
    """
    law = _OF_PARTICLES.get(_PREFIX.sub("", variable.lower()))
    return {name for name, other in _OF_PARTICLES.items() if law is not None and other is law}


def is_known(variable: str) -> bool:
    """Tell whether a variable is, by its name, a known function of the momenta, or one that no move changes."""
    plain = _PREFIX.sub("", variable.lower())
    return variable.lower() in _OF_JETS or plain in _OF_PARTICLES or _FIXED.match(plain) is not None


def carried(variable: str) -> str | None:
    """Return what a variable that no move changes is of; None for those that move, and for masks and numbers.

    Examples
    --------
    >>> [carried(name) for name in ("part_d0val", "pfcand_charge", "part_isMuon", "part_px", "part_mask")]
    ['impact parameters', 'charge', 'particle flags', None, None]
    """
    plain = _PREFIX.sub("", variable.lower())
    if not _FIXED.match(plain):
        return None
    return next((name for name, begin in CARRIED.items() if re.match(begin, plain)), None)


def rearranged(before: JetBatch, places: Tensor) -> dict[str, Tensor]:
    """Return inputs of particles in another order, as their slots (B, N) come from those of before; −1 is empty."""
    real = (places >= 0) & before.mask.gather(1, places.clamp(min=0))
    slots = places.gather(1, (~real).to(torch.int8).argsort(dim=1, stable=True))  # those of real particles, in order
    counts, found = real.sum(dim=1, keepdim=True), dict(before.inputs)
    for name, form in before.input_forms.items():
        plain = {_PREFIX.sub("", variable.lower()) for variable in form.names}
        if form.length is None or not any(one in _OF_PARTICLES or _FIXED.match(one) for one in plain):
            continue
        number = torch.arange(form.length, device=places.device).expand(len(places), -1)
        there = number < counts
        if form.fill is None:
            number, there = number % counts.clamp_min(1), (counts > 0).expand_as(there)
        old = slots.gather(1, number.clamp(max=slots.shape[1] - 1)).clamp(0, form.length - 1)
        values = before.inputs[name].gather(2, old[:, None].expand(-1, len(form.names), -1))
        fill = values.new_tensor(form.fill or [0.0] * len(form.names))
        found[name] = torch.where(there[:, None], values, fill[:, None])
    return found
