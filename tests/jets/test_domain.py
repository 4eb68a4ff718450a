"""Jets as a domain of the probe: which action a group, frame and axis stand for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from torch.autograd import forward_ad

import jetsym
from jetsym.errors import ProbeError
from jetsym.jets import domain
from jetsym.jets.models import DeepSets
from jetsym.jets.moves import actions
from jetsym.jets.moves.frames import jet_axes
from jetsym.spectrum import O3, SO2
from jetsym.spectrum.lorentz import GENERATORS
from jetsym.symmetry import Symmetry

ROTATIONS = O3().rotations(3, np.random.default_rng(0))
TURNS = SO2("z").rotations(3, np.random.default_rng(0))


@pytest.fixture
def jets(make_jets):
    return make_jets(4, seed=5, dtype=torch.float64, min_particles=2, max_particles=5)


def act(jets, group, *, frame="lab", axis=None, seed=0):
    return domain.JETS.act(jets, Symmetry(group, frame, axis), seed=seed)


@pytest.mark.parametrize(
    ("where", "elements", "expected"),
    [
        ({"group": "O3"}, ROTATIONS, actions.rotate),
        ({"group": "O3", "frame": "rest"}, ROTATIONS, actions.rotate_at_rest),
        ({"group": "SO2", "axis": "jet"}, TURNS, actions.about_jet_axis),
        ({"group": "SO2", "axis": "beam"}, TURNS, actions.rotate),
    ],
)
def test_rotations_go_where_they_should(jets, where, elements, expected):
    prepared, action = act(jets, **where)
    moved = action.move(prepared, elements)
    torch.testing.assert_close(moved.p4, expected(jets, torch.as_tensor(elements)).p4, rtol=1e-12, atol=1e-10)


def test_boosts_along_the_jet_are_matrices_in_its_axes(jets):
    prepared, action = act(jets, "boost", axis="jet")
    moved = action.move(prepared, np.array([0.7]))
    axes = jet_axes(jets).numpy()
    for place in range(len(jets)):
        boosts = np.stack([GENERATORS[name] for name in ("K_x", "K_y", "K_z")])
        matrix = expm(0.7 * np.tensordot(axes[place, 2], boosts, axes=1))
        expected = jets.p4[place].numpy() @ matrix.T
        np.testing.assert_allclose(moved.p4[place].numpy(), expected, rtol=1e-12, atol=1e-10)


def test_random_directions_stay_with_their_jets(jets):
    prepared, action = act(jets, "SO2", axis="random", seed=3)
    whole = action.move(prepared, TURNS)
    part = action.move(prepared[2:], TURNS)
    torch.testing.assert_close(whole.p4.reshape(3, 4, -1)[:, 2:], part.p4.reshape(3, 2, -1))
    axes = domain._directions_of(prepared)
    along = (prepared.p4[..., 1:] * axes[:, None]).sum(-1)
    after = (whole.p4[..., 1:] * axes.repeat(3, 1)[:, None]).sum(-1)
    torch.testing.assert_close(after, along.repeat(3, 1), rtol=1e-10, atol=1e-8)
    assert not torch.allclose(axes, domain._directions_of(act(jets, "SO2", axis="random", seed=4)[0]))


def test_jets_that_nothing_moves_are_refused(jets):
    jets = jets.replace(p4=torch.zeros_like(jets.p4), jet_p4=torch.zeros_like(jets.jet_p4))
    for group in ("O3", "SO2", "boost"):
        with pytest.raises(ProbeError, match="all momenta of the jets are zero"):
            jetsym.probe(DeepSets(), jets, group=group, progress=False)


def test_only_rotations_in_the_lab_turn_outputs_too(jets):
    laws = {frame: act(jets, "O3", frame=frame)[1].on_outputs for frame in ("lab", "rest")}
    assert laws == {"lab": True, "rest": False}
    assert not act(jets, "boost")[1].on_outputs


def test_jets_carry_the_generators_as_tangents(jets):
    generators = domain.JETS.generators(jets, "jet")
    with forward_ad.dual_level():
        moving = domain.JETS.with_tangents(jets, generators)
        primal, tangent = forward_ad.unpack_dual(moving.p4)
    torch.testing.assert_close(primal, jets.p4.repeat(6, 1, 1))
    step = 1e-6
    ahead, back = (domain.JETS.transform(jets, torch.linalg.matrix_exp(sign * step * generators)) for sign in (1, -1))
    torch.testing.assert_close(tangent, (ahead.p4 - back.p4) / (2 * step), rtol=1e-7, atol=1e-5)


class Reads(torch.nn.Module):
    """A network that reads some scalars, and passes them through what hides a NaN."""

    def __init__(self, *names, hides=False, refuses=False):
        super().__init__()
        self.names, self.hides, self.refuses = names, hides, refuses

    def forward(self, jets):
        found = jets.p4[..., 0].sum(dim=1)
        for name in self.names:
            values = jets.scalars[..., jets.scalar_names.index(name)]
            if self.refuses and not values.isfinite().all():
                raise ValueError("these are no numbers")
            found = found + (values.nan_to_num() if self.hides else 0 * values).masked_fill(~jets.mask, 0).sum(dim=1)
        return found[:, None] * torch.tensor([1.0, -1.0], dtype=found.dtype)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (Reads(), False),
        (Reads("charge", "isMuon"), False),
        (Reads("d0val"), True),  # with a weight of zero
        (Reads("dzerr", hides=True), True),
        (Reads("dzval", refuses=True), True),
    ],
)
def test_displacements_are_said_to_be_held_fixed_where_a_model_reads_them(jets, model, told):
    def outputs(some):
        return {"logits": model(some)}

    notes = domain.JETS.settled(jets, outputs).notes
    assert (domain.HELD_NOTE in notes) == told
    assert notes[0].startswith("Constituents and jet axis move together")
    without = jets.replace(scalars=torch.zeros_like(jets.scalars))
    assert domain.HELD_NOTE not in domain.JETS.settled(without, outputs).notes


@pytest.mark.parametrize(("features", "told"), [("kin", False), ("kinpid", False), ("full", True)])
def test_the_report_of_a_kinematic_tagger_says_nothing_of_displacements(features, told):
    report = jetsym.probe(DeepSets(features=features), group="SO3", limit=3, l_max=1, progress=False)
    assert (domain.HELD_NOTE in report.meta["notes"]) == told
