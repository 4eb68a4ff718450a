"""Inputs under a move: computed anew where they are functions of the momenta, else the move is refused."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import forward_ad

from jetsym.errors import DataError
from jetsym.jets import JetBatch, read
from jetsym.jets.domain import JETS
from jetsym.jets.features import angular_points, full_features
from jetsym.jets.inputs import InputForm
from jetsym.jets.io.sample import sample_dir
from jetsym.jets.moves.actions import boost, rotate, rotate_at_rest
from jetsym.jets.moves.augmentation import AugmentationConfig, augment
from jetsym.jets.moves.sampling import random_rotations

#: The features of the field's "full" set, as a configuration of weaver-core writes them.
FEATURES = """
selection:
new_variables:
   part_pt: np.hypot(part_px, part_py)
   part_pt_log: np.log(part_pt)
   part_e_log: np.log(part_energy)
   part_logptrel: np.log(part_pt/jet_pt)
   part_logerel: np.log(part_energy/jet_energy)
   part_deltaR: np.hypot(part_deta, part_dphi)
   part_mask: ak.ones_like(part_energy)
   part_d0: np.tanh(part_d0val)
   part_dz: np.tanh(part_dzval)
inputs:
   pf_points: {length: 128, pad_mode: wrap, vars: [[part_deta, null], [part_dphi, null]]}
   pf_features:
      length: 128
      pad_mode: wrap
      vars:
         - [part_pt_log, 1.7, 0.7]
         - [part_e_log, 2.0, 0.7]
         - [part_logptrel, -4.7, 0.7]
         - [part_logerel, -4.7, 0.7]
         - [part_deltaR, 0.2, 4.0]
         - [part_charge, null]
         - [part_isChargedHadron, null]
         - [part_isNeutralHadron, null]
         - [part_isPhoton, null]
         - [part_isElectron, null]
         - [part_isMuon, null]
         - [part_d0, null]
         - [part_d0err, 0, 1, 0, 1]
         - [part_dz, null]
         - [part_dzerr, 0, 1, 0, 1]
         - [part_deta, null]
         - [part_dphi, null]
   pf_vectors:
      {length: 128, pad_mode: wrap, vars: [[part_px, null], [part_py, null], [part_pz, null], [part_energy, null]]}
   pf_mask: {length: 128, pad_mode: constant, vars: [part_mask]}
   jet: {length: 1, pad_mode: constant, vars: [[jet_pt, 500, 0.01], jet_energy]}
labels: {type: simple, value: [label_QCD, label_Hbb, label_Hcc, label_Hgg, label_H4q, label_Hqql, label_Zqq, label_Wqq,
   label_Tbqq, label_Tbl]}
observers: [jet_pt, jet_eta, jet_sdmass]
"""


@pytest.fixture(scope="module")
def jets(tmp_path_factory) -> JetBatch:
    configuration = tmp_path_factory.mktemp("configuration") / "full.yaml"
    configuration.write_text(FEATURES)
    return read(sample_dir() / "test", mapping=configuration, limit=60)


def expected_inputs(moved: JetBatch) -> dict[str, torch.Tensor]:
    """Compute the inputs of moved jets place by place from the features of their momenta."""
    tables = {
        "pf_features": full_features(moved),
        "pf_points": angular_points(moved),
        "pf_vectors": moved.p4[..., [1, 2, 3, 0]],
    }
    place, number = torch.arange(128)[None], moved.n_particles[:, None]
    rows = (place % number)[..., None]
    found = {name: values.gather(1, rows.expand(-1, -1, values.shape[2])).mT for name, values in tables.items()}
    found["pf_mask"] = (place < number)[:, None].float()
    pt = moved.jet_p4[:, 1].hypot(moved.jet_p4[:, 2])
    found["jet"] = torch.stack([((pt - 500) * 0.01).clamp(-5, 5), moved.jet_p4[:, 0]], dim=1)[..., None]
    return found


def assert_follows(moved: JetBatch) -> None:
    for name, values in expected_inputs(moved).items():
        # jetsym's own features are clipped to ±5, all of them; those that are not standardised here are not.
        own = moved.inputs[name].clamp(-5, 5) if name == "pf_features" else moved.inputs[name]
        assert torch.allclose(own, values, rtol=1e-5, atol=1e-5), name
    pt = moved.jet_p4[:, 1].hypot(moved.jet_p4[:, 2])
    assert torch.allclose(moved.columns["jet_pt"], pt, rtol=1e-5)
    assert torch.allclose(moved.columns["jet_eta"], (moved.jet_p4[:, 3] / pt).asinh(), atol=1e-5)


@pytest.mark.parametrize("move", ["turn", "boost", "rest", "augmentation"])
def test_inputs_follow_the_momenta(jets, move):
    generator = torch.Generator().manual_seed(0)
    turns = random_rotations(3, generator=generator)
    n, moved = {
        "turn": lambda: (3, rotate(jets, turns)),
        "boost": lambda: (2, boost(jets, torch.tensor([0.3, -1.0]), "beam")),
        "rest": lambda: (3, rotate_at_rest(jets, turns)),
        "augmentation": lambda: (1, augment(jets, AugmentationConfig("SO3"), generator=generator)),
    }[move]()
    assert_follows(moved)
    assert torch.equal(moved.columns["jet_sdmass"], jets.columns["jet_sdmass"].repeat(n))
    assert not torch.allclose(moved.inputs["pf_features"], jets.inputs["pf_features"].repeat(n, 1, 1), atol=0.01)


def test_derivatives_follow_as_well(jets):
    """Along a turn about the beam px grows as −py does, py as px, and the difference of azimuths not at all."""
    few = jets[:5].to(torch.float64)
    turn = torch.zeros(1, 3, 3, dtype=torch.float64)
    turn[0, 1, 0], turn[0, 0, 1] = 1.0, -1.0
    generators = torch.zeros(1, 5, 4, 4, dtype=torch.float64)
    generators[..., 1:, 1:] = turn
    with forward_ad.dual_level():
        moved = JETS.with_tangents(few, generators)
        vectors = forward_ad.unpack_dual(moved.inputs["pf_vectors"])
        points = forward_ad.unpack_dual(moved.inputs["pf_points"])
        assert torch.allclose(vectors.tangent[:, 0], -vectors.primal[:, 1])
        assert torch.allclose(vectors.tangent[:, 1], vectors.primal[:, 0])
        assert points.tangent.abs().max() < 1e-9


def test_what_is_not_what_its_name_says_is_refused(jets):
    wrong = dict(jets.inputs) | {"pf_points": jets.inputs["pf_points"] * 1.1}
    with pytest.raises(DataError, match="'part_deta' of the input 'pf_points' is not deta of these momenta"):
        rotate(jets.replace(inputs=wrong), torch.eye(3)[None])
    form = {**jets.input_forms, "pf_points": InputForm(("part_deta", "part_puppi"), length=128, fill=None)}
    with pytest.raises(DataError, match="'part_puppi' of the input 'pf_points' is no known function"):
        rotate(jets.replace(input_forms=form), torch.eye(3)[None])


def test_what_is_named_as_a_flag_and_is_none_is_refused(jets):
    """An isolation is a function of the momenta, of which only the name begins as that of a flag."""
    form = jets.input_forms["pf_features"]
    place = form.names.index("part_isPhoton")
    values = jets.inputs["pf_features"].clone()
    values[:, place] = torch.rand(values[:, place].shape)
    turned = torch.eye(3, dtype=torch.float64)[[1, 2, 0]][None]
    changed = jets.replace(inputs={**jets.inputs, "pf_features": values})
    with pytest.raises(
        DataError, match=r"'part_isPhoton' of the input 'pf_features' is no flag.*fixed=\['part_isPhoton'\]"
    ):
        rotate(changed, turned)
    values[:, place] = (values[:, place] > 0.5) * 3.5 - 1.0  # flags that were standardised are flags
    assert rotate(changed, turned).inputs["pf_features"][:, place].equal(values[:, place])


def test_an_unsigned_difference_is_told_from_a_signed_one(jets):
    eta = (jets.p4[..., 3] / jets.p4[..., 1].hypot(jets.p4[..., 2])).asinh()
    axis = (jets.jet_p4[:, 3] / jets.jet_p4[:, 1].hypot(jets.jet_p4[:, 2])).asinh()
    deta = (eta - axis[:, None]).gather(1, torch.arange(128)[None] % jets.n_particles[:, None])
    unsigned = jets.replace(
        inputs={"pf_points": torch.stack([deta, jets.inputs["pf_points"][:, 1]], dim=1)},
        input_forms={"pf_points": jets.input_forms["pf_points"]},
    )
    mirror = torch.diag(torch.tensor([1.0, 1.0, -1.0]))[None]  # η → −η: the signed one stays, this changes its sign
    assert torch.allclose(rotate(unsigned, mirror).inputs["pf_points"][:, 0], -deta, atol=1e-4)
    assert torch.allclose(rotate(jets, mirror).inputs["pf_points"], jets.inputs["pf_points"], atol=1e-4)


def test_jets_that_are_cut_shorter_than_their_inputs_do_not_move(jets):
    cut = jets.replace(p4=jets.p4[:, :20], mask=jets.mask[:, :20], scalars=jets.scalars[:, :20])
    with pytest.raises(DataError, match="is not"):
        rotate(cut, torch.eye(3)[None])


def test_a_column_of_another_axis_is_left_out(jets):
    other = jets.replace(columns=dict(jets.columns) | {"jet_pt": jets.columns["jet_pt"] * 1.05})
    moved = rotate(other, -torch.eye(3)[None])
    assert "jet_pt" not in moved.columns
    assert "jet_eta" in moved.columns


def test_inputs_are_rearranged_with_their_particles(jets):
    few = jets[:4]
    places = torch.arange(few.max_particles + 3)
    places[[0, 1, 2]] = torch.tensor([2, 0, 1])
    places[few.max_particles :] = -1
    kept = torch.where(places < 5, places, -1).expand(4, -1)  # five of each jet, in another order
    found = JETS.rearrange(few, kept.numpy())
    assert_follows(rotate(found, torch.eye(3)[None]))
