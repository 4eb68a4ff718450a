"""Splittings and soft emissions: what they keep, what they add, and what they leave alone."""

from __future__ import annotations

import math

import pytest
import torch

from jetsym.errors import ConfigError, DataError
from jetsym.jets import kinematics
from jetsym.jets.inputs import InputForm
from jetsym.jets.moves.emissions import emit, split


@pytest.fixture
def jets(make_jets):
    return make_jets(16, seed=1, dtype=torch.float64, min_particles=2, max_particles=12)


def generator():
    return torch.Generator().manual_seed(0)


def new_ones(before, after):
    """Momenta of the two daughters of each jet's hardest particle, the neutral one last."""
    hardest = kinematics.pt(before.p4).masked_fill(~before.mask, -1).argmax(dim=1)
    found = []
    for jet, parent in enumerate(hardest.tolist()):
        rest = before.p4[jet][before.mask[jet]].tolist()
        rest.remove(before.p4[jet, parent].tolist())
        found.append([row for row in after.p4[jet][after.mask[jet]].tolist() if row not in rest])
    return torch.tensor(found, dtype=torch.float64), before.p4[torch.arange(len(before)), hardest]


@pytest.mark.parametrize("angle", [0.0, 1e-3, 0.4])
@pytest.mark.parametrize("z", [0.5, 0.2])
def test_a_splitting_has_its_angle_its_fractions_and_its_masses(jets, angle, z):
    after = split(jets, angle, fraction=z, generator=generator())
    assert torch.equal(after.n_particles, jets.n_particles + 1)
    both, parent = new_ones(jets, after)
    torch.testing.assert_close(both.sum(dim=1)[:, 1:], parent[:, 1:], rtol=1e-12, atol=1e-10)
    directions = both[..., 1:] / both[..., 1:].norm(dim=-1, keepdim=True)
    opening = torch.linalg.cross(directions[:, 0], directions[:, 1]).norm(dim=-1)
    torch.testing.assert_close(opening, torch.full_like(opening, math.sin(angle)), rtol=1e-9, atol=1e-12)
    along = (both[..., 1:] @ parent[:, 1:, None])[..., 0] / parent[:, 1:].square().sum(-1, keepdim=True)
    shares = along.sort(dim=1).values
    torch.testing.assert_close(shares, torch.tensor([min(z, 1 - z), max(z, 1 - z)]).double().expand_as(shares))
    mass = kinematics.mass2(parent)[:, None] * shares.square()
    scale = float(parent[:, 0].square().max())
    found = kinematics.mass2(both).sort(dim=1).values
    torch.testing.assert_close(found, mass.sort(dim=1).values, rtol=0, atol=1e-9 * scale)
    if angle == 0:
        torch.testing.assert_close(after.p4.sum(1), jets.p4.sum(1), rtol=1e-13, atol=1e-10)
    assert torch.equal(after.jet_p4, jets.jet_p4)


def test_massless_particles_have_massless_daughters(jets):
    massless = jets.replace(p4=torch.cat([jets.p4[..., 1:].norm(dim=-1, keepdim=True), jets.p4[..., 1:]], dim=-1))
    after = split(massless, 0.3, fraction=0.3, generator=generator())
    assert float((kinematics.mass2(after.p4).abs() / after.p4[..., 0].square().clamp(min=1)).max()) < 1e-12


def test_one_daughter_keeps_the_charge_and_the_other_is_neutral(jets):
    names = jets.scalar_names
    scalars = torch.zeros_like(jets.scalars)
    kinds = {"isChargedHadron": "isNeutralHadron", "isMuon": "isPhoton", "isPhoton": "isPhoton"}
    for jet, kind in enumerate([*kinds] * 5):
        scalars[jet, :, names.index(kind)] = 1.0
        scalars[jet, :, names.index("charge")] = float(kind != "isPhoton")
        scalars[jet, :, names.index("d0val")] = 0.1 * (kind != "isPhoton")
    jets = jets.replace(scalars=scalars * jets.mask[..., None])[:15]
    after = split(jets, 0.1, generator=generator())
    for name in ("charge", "d0val"):
        place = names.index(name)
        torch.testing.assert_close(after.scalars[..., place].sum(1), jets.scalars[..., place].sum(1))
    for jet, (kind, neutral) in enumerate([*kinds.items()] * 5):
        gained = after.scalars[jet].sum(0) - jets.scalars[jet].sum(0)
        wanted = torch.zeros_like(gained)
        wanted[names.index(neutral)] = 1.0
        torch.testing.assert_close(gained, wanted)
        assert kind in kinds


def test_an_emission_is_a_massless_photon_in_the_jet(jets):
    jets = jets.replace(columns={"jet_pt": kinematics.pt(jets.jet_p4), "jet_nparticles": jets.n_particles})
    after = emit(jets, 0.01, radius=0.4, generator=generator())
    assert torch.equal(after.n_particles, jets.n_particles + 1)
    added = after.p4.sum(1) - jets.p4.sum(1)
    torch.testing.assert_close(kinematics.pt(added), 0.01 * kinematics.pt(jets.jet_p4))
    assert float((kinematics.mass2(added).abs() / added[:, 0].square()).max()) < 1e-9
    distance = torch.hypot(
        kinematics.eta(added) - kinematics.eta(jets.jet_p4),
        kinematics.delta_phi(kinematics.phi(added), kinematics.phi(jets.jet_p4)),
    )
    assert 0.2 < float(distance.max()) <= 0.4
    torch.testing.assert_close(after.jet_p4, jets.jet_p4 + added)
    torch.testing.assert_close(after.columns["jet_pt"], kinematics.pt(after.jet_p4))
    assert torch.equal(after.columns["jet_nparticles"], jets.n_particles + 1)
    gained = (after.scalars.sum(1) - jets.scalars.sum(1)).round(decimals=9)
    assert gained.nonzero()[:, 1].unique().tolist() == [jets.scalar_names.index("isPhoton")]


def test_order_slots_and_dtype(jets):
    full = jets[jets.n_particles == jets.n_particles.max()].trim()
    assert split(full, 0.0).max_particles == full.max_particles + 1
    roomy = jets.widen(20)
    after = split(roomy, 0.1, generator=generator())
    assert after.max_particles == 20
    pt = kinematics.pt(after.p4).masked_fill(~after.mask, -1)
    assert (pt.diff(dim=1) <= 0).all()  # as they were
    assert not after.p4[~after.mask].any()
    backwards = full.replace(p4=full.p4.flip(1), scalars=full.scalars.flip(1))
    behind = split(backwards, 0.0)
    torch.testing.assert_close(behind.p4[:, : full.max_particles - 1], backwards.p4[:, :-1])
    assert split(jets.to(torch.float32), 0.1).p4.dtype == torch.float32
    assert emit(jets.to(torch.float32), 0.1).jet_p4.dtype == torch.float32


def test_draws_are_those_of_the_generator(jets):
    one, other = (split(jets, 0.1, which="random", generator=generator()) for _ in range(2))
    assert torch.equal(one.p4, other.p4)
    assert not torch.equal(one.p4, split(jets, 0.1, which="random").p4)


def test_wrong_uses(jets):
    for angle in (-0.1, math.pi / 2, math.nan):
        with pytest.raises(ConfigError, match="angle is"):
            split(jets, angle)
    for fraction in (0.0, 1.0):
        with pytest.raises(ConfigError, match="fraction is"):
            split(jets, 0.1, fraction=fraction)
    with pytest.raises(ConfigError, match="which is 'softest'"):
        split(jets, 0.1, which="softest")
    for share in (0.0, -1.0, math.inf):
        with pytest.raises(ConfigError, match="share is"):
            emit(jets, share)
    form = {"pf": InputForm(("part_px",), length=2, fill=(0.0,))}
    other = jets.replace(inputs={"pf": torch.zeros(len(jets), 1, 2, dtype=torch.float64)}, input_forms=form)
    for move in (split, emit):
        with pytest.raises(DataError, match="to which no particle can be added"):
            move(other, 0.1)
    beam = jets.replace(jet_p4=torch.tensor([1.0, 0.0, 0.0, 1.0]).double().expand(len(jets), 4))
    with pytest.raises(DataError, match="along the beam"):
        emit(beam, 0.1)
