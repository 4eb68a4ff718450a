"""What may break a symmetry of a tagger: what is switched, and that nothing else is."""

from __future__ import annotations

import pytest
import torch

from jetsym.errors import DataError
from jetsym.jets.inputs import InputForm
from jetsym.jets.models import ParticleNet, PointNet
from jetsym.jets.sources import first, hardest, max_particles_of, sources_of


def named(jets, model=None):
    cut, sources = sources_of(jets, model)
    return cut, {source.name: source for source in sources}


def test_only_what_is_carried_is_set_to_zero(make_jets):
    cut, sources = named(make_jets(6))
    columns = {
        "impact parameters": ["d0val", "d0err", "dzval", "dzerr"],
        "charge": ["charge"],
        "particle flags": ["isChargedHadron", "isNeutralHadron", "isPhoton", "isElectron", "isMuon"],
    }
    assert list(sources) == [*columns, "padding"]
    for name, gone in columns.items():
        changed = sources[name].inputs
        for place, column in enumerate(cut.scalar_names):
            if column in gone:
                assert not changed.scalars[..., place].any()
            else:
                torch.testing.assert_close(changed.scalars[..., place], cut.scalars[..., place])
        assert changed.p4 is cut.p4
        assert not sources[name].adds
    assert sum(map(len, columns.values())) == len(cut.scalar_names)


def test_what_jets_do_not_carry_is_not_switched(make_jets):
    jets = make_jets(4)
    _, sources = named(jets.replace(scalars=torch.zeros_like(jets.scalars)))
    assert list(sources) == ["padding"]
    _, sources = named(jets.replace(scalars=jets.scalars[..., :0], scalar_names=()))
    assert list(sources) == ["padding"]


class Small:
    max_particles = 5


def test_cutting_and_truncation(make_jets):
    jets = make_jets(20, max_particles=12)
    cut, sources = named(jets, Small())
    assert cut.max_particles == 5
    torch.testing.assert_close(cut.p4, jets.p4[:, :5])
    truncation = sources["truncation"]
    assert truncation.adds
    assert truncation.inputs is jets
    kept = truncation.before(truncation.inputs)
    torch.testing.assert_close(kept.p4, cut.p4)  # these jets are in falling order of pT
    torch.testing.assert_close(kept.scalars, cut.scalars)
    assert torch.equal(kept.mask, cut.mask)
    # Shuffled, the hardest are still the same.
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    shuffled = jets.replace(p4=jets.p4[:, order], mask=jets.mask[:, order], scalars=jets.scalars[:, order])
    torch.testing.assert_close(hardest(shuffled, 5).p4, cut.p4)
    # What is first among the real particles comes before any padding.
    loose = first(shuffled, 5)
    assert torch.equal(loose.n_particles, jets.n_particles.clamp(max=5))
    assert "truncation" not in named(cut, Small())[1]


def test_padding(make_jets):
    jets = make_jets(4, max_particles=12).trim()
    _, sources = named(jets, PointNet(width=8))
    assert sources["padding"].inputs.max_particles == 128
    assert sources["padding"].inputs.trim().max_particles == jets.max_particles
    full = jets.widen(128)
    assert not full.p4[:, jets.max_particles :].any()
    assert torch.equal(full.n_particles, jets.n_particles)
    _, sources = named(make_jets(4, max_particles=12, min_particles=12), Small())
    assert sources["padding"].inputs.max_particles == 5 + 8
    assert max_particles_of(None) == 128


def test_models_offer_what_they_can_do_without(make_jets):
    model = ParticleNet(("QCD", "Tbqq"), features="kinpid", k=2, channels=((4,),), hidden=4).eval()
    jets = make_jets(5, min_particles=4)
    _, sources = named(jets, model)
    assert {"sign(η_jet) in Δη", "pseudorapidity for rapidity"} <= set(sources)
    logits = model(jets)
    for name in ("sign(η_jet) in Δη", "pseudorapidity for rapidity"):
        other = sources[name].model
        assert not torch.equal(other(jets), logits)
        assert other.state_dict().keys() == model.state_dict().keys()
    torch.testing.assert_close(model(jets), logits)
    assert PointNet(width=8).ablations() == {}


@pytest.mark.parametrize("features", ["kin", "full"])
def test_the_sign_matters_for_backward_jets_only(make_jets, features):
    torch.manual_seed(0)
    model = ParticleNet(("QCD", "Tbqq"), features=features, k=2, channels=((4,),), hidden=4).eval()
    jets = make_jets(30, min_particles=4)
    same = (model.ablations()["sign(η_jet) in Δη"](jets) == model(jets)).all(dim=-1)
    forward = jets.jet_p4[:, 3] > 0
    assert same[forward].all()
    assert not same[~forward].all()  # so small a network may be blind to some


def test_jets_with_inputs_of_other_networks_are_refused(make_jets):
    jets = make_jets(3).replace(inputs={"pf": torch.zeros(3, 1)}, input_forms={"pf": InputForm(("charge",))})
    with pytest.raises(DataError, match="the inputs pf, in which nothing would be switched off"):
        sources_of(jets, None)
