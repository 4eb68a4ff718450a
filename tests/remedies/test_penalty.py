"""Penalties against closed forms, against what a probe measures, and for every network."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

import jetsym
from jetsym.domains.table import domain_of
from jetsym.errors import ConfigError
from jetsym.jets.batch import JetBatch
from jetsym.jets.models import PointNet
from jetsym.jets.models.registry import build
from jetsym.jets.moves.augmentation import AugmentationConfig, augment
from jetsym.jets.moves.sampling import random_rotations
from jetsym.probing.forward.session import Session
from jetsym.probing.measure.generators import measure_generators
from jetsym.remedies.penalty import GeneratorPenalty, TransformationPenalty

ROTATIONS, BOOSTS = ("J_x", "J_y", "J_z"), ("K_x", "K_y", "K_z")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def four_vectors(n=40):
    return torch.randn(n, 4, generator=seeded(), dtype=torch.float64)


def linear(outputs=3, size=4):
    weight = torch.randn(outputs, size, generator=seeded(1), dtype=torch.float64)
    return weight, lambda x: x @ weight.T


def spread_about_axis(weight, points):
    """Σ_rows |w|² |x|² − (w·x)² = Σ_a |w·(e_a × x)|², mean over points."""
    return (weight.square().sum(1) * points.square().sum(1)[:, None] - (points @ weight.T) ** 2).sum(1).mean()


def in_two_positions(points, generator, *, with_input=False):
    """Each point rotated by two rotations, or one, of its own."""
    rotated = [
        (random_rotations(len(points), generator=generator) @ points[..., None])[..., 0] for _ in range(2 - with_input)
    ]
    return torch.cat([points, *rotated] if with_input else rotated)


def test_generators_of_a_linear_model():
    weight, model = linear()
    points = four_vectors()
    penalty = GeneratorPenalty(ROTATIONS, draws=None, kind="scalar")
    expected = spread_about_axis(weight[:, 1:], points[:, 1:])
    assert float(penalty(model, points)) == pytest.approx(float(expected), rel=1e-3)
    # K_a takes p_a to E and E to p_a.
    penalty = GeneratorPenalty(BOOSTS, draws=None, kind="scalar")
    moved = points[:, 1:, None] * weight[:, 0] + points[:, :1, None] * weight[:, 1:].T
    assert float(penalty(model, points)) == pytest.approx(float(moved.square().sum((1, 2)).mean()), rel=1e-3)


def test_random_directions_have_the_mean_of_all_generators():
    _, model = linear()
    points = four_vectors(5)
    exact = GeneratorPenalty(ROTATIONS, draws=None, kind="scalar")(model, points)
    penalty = GeneratorPenalty(ROTATIONS, draws=4000, kind="scalar")
    assert float(penalty(model, points, seeded())) == pytest.approx(float(exact), rel=0.02)
    again = GeneratorPenalty(ROTATIONS, draws=2, kind="scalar")
    assert again(model, points, seeded(3)) == again(model, points, seeded(3))


def test_two_random_positions_of_a_linear_model():
    """Var_g w·(g x) = |w|² |x|²/3 for each row: A² of a probe. With the input itself its own share comes on top."""
    weight, model = linear(size=3)
    points = four_vectors(20)[:, 1:].repeat(1000, 1)
    squared = (weight.square().sum() * points.square().sum(1) / 3).mean()
    penalty = TransformationPenalty(in_two_positions, kind="scalar")
    assert float(penalty(model, points, seeded())) == pytest.approx(float(squared), rel=0.03)
    penalty = TransformationPenalty(partial(in_two_positions, with_input=True), kind="scalar")
    own = (points @ weight.T).square().sum(1).mean() / 2
    assert float(penalty(model, points, seeded())) == pytest.approx(float(squared / 2 + own), rel=0.03)


def test_logits_are_centred_and_scalars_are_not():
    points = four_vectors()
    shift = lambda x: x[:, 3:] * torch.ones(5)  # noqa: E731
    for penalty in (GeneratorPenalty(draws=None), TransformationPenalty(lambda x, _: torch.cat([x, x.flip(0)]))):
        assert float(penalty(shift, points)) < 1e-24
    assert float(GeneratorPenalty(draws=None, kind="scalar")(shift, points)) > 1


def in_two_rotations(jets, generator):
    moved = partial(augment, config=AugmentationConfig("SO3"), generator=generator)
    return JetBatch.concatenate([moved(jets), moved(jets)])


@pytest.fixture
def net():
    torch.manual_seed(0)
    return PointNet(width=8, blocks=1, heads=2).double()


def test_it_is_what_a_probe_measures(net, make_jets):
    jets = make_jets(4, dtype=torch.float64, min_particles=2)
    report = jetsym.probe(net, jets, group="SO3", l_max=3, progress=False)
    many = JetBatch.concatenate([jets] * 1500)
    with torch.no_grad():
        measured = TransformationPenalty(in_two_rotations)(net, many, seeded())
    assert float(measured) ** 0.5 == pytest.approx(report.equivariance["logits"].absolute, rel=0.03)

    options = domain_of(jets), {"logits": "logits"}
    local = measure_generators(Session(net, *options), jets, axes="jet")
    row = local.layers.index("logits")
    with torch.no_grad():
        logits = net(jets)
        norm = (logits - logits.mean(1, keepdim=True)).square().sum(1).mean()
    for place, name in enumerate((*ROTATIONS, *BOOSTS)):
        found = GeneratorPenalty((name,), axes="jet", draws=None)(net, jets).detach()
        assert float(found / norm) == pytest.approx(local.squared[row, place], rel=1e-2)


@pytest.mark.parametrize(
    "penalty",
    [
        TransformationPenalty(in_two_rotations),
        GeneratorPenalty((*ROTATIONS, *BOOSTS)),
    ],
    ids=["transformations", "generators"],
)
def test_zero_for_an_invariant_model_and_gradients_for_others(penalty, net, make_jets):
    jets = make_jets(6, dtype=torch.float64, min_particles=3)

    def energies(jets):
        """Products of momenta, which nothing changes."""
        first, second, third = jets.p4[:, :3].unbind(1)
        products = [
            (a * b * torch.tensor([1.0, -1, -1, -1])).sum(-1)
            for a, b in ((first, second), (first, third), (second, third))
        ]
        return torch.stack(products, dim=1) / products[0].detach().abs().max()

    assert float(penalty(energies, jets, seeded())) < 1e-12
    value = penalty(net, jets, seeded())
    assert value > 1e-6
    value.backward()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())
    weight = net.embedding.linear.weight
    slope, size = weight.grad.clone(), 1e-5
    with torch.no_grad():
        values = []
        for sign in (1, -1):
            weight += sign * size * slope / slope.norm()
            values.append(float(penalty(net, jets, seeded())))
            weight -= sign * size * slope / slope.norm()
    assert (values[0] - values[1]) / (2 * size) == pytest.approx(float(slope.norm()), rel=1e-4)


def test_training_with_it_makes_a_network_more_invariant(make_jets):
    """The same network on the same jets, told to tell forward jets from backward ones: it must turn them to do so."""
    jets, found = make_jets(40, max_particles=8, min_particles=2), {}
    forward = (jets.jet_p4[:, 3] > 0).long()
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        net, draws = PointNet(("0", "1"), width=8, blocks=1, heads=2), seeded()
        penalty = TransformationPenalty(in_two_rotations)
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
        for _ in range(30):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(jets), forward)
            (loss + weight * penalty(net, jets, draws)).backward()
            optimizer.step()
        report = jetsym.probe(net, jets[:8], l_max=1, layers=[], progress=False, group="SO3")
        found[weight] = report.equivariance["logits"].absolute, float(loss.detach())
    assert found[0.0][1] < 0.3
    assert found[1.0][0] < 0.2 * found[0.0][0]


SIZES = {
    "part": {"embedding": (8,), "pairs": (8,), "blocks": 1, "class_blocks": 1, "heads": 2},
    "particlenet": {"k": 4, "channels": ((8,),), "hidden": 8},
    "deepsets": {"particles": (8,), "jets": (8,)},
    "canonical": {"options": {"width": 8, "blocks": 1, "heads": 2}},
}


@pytest.mark.parametrize("name", SIZES)
def test_every_network_can_be_trained_with_it(name, make_jets):
    torch.manual_seed(0)
    net = build(name, **SIZES[name]).train()
    jets = make_jets(6, min_particles=6)
    value = GeneratorPenalty()(net, jets, seeded())
    assert value.isfinite()
    value.backward()
    grads = [parameter.grad for parameter in net.parameters() if parameter.grad is not None]
    assert grads
    assert all(grad.isfinite().all() for grad in grads)


def test_what_cannot_be_used_is_refused():
    for options, message in (
        ({"generators": ("J_w",)}, "no generator 'J_w'"),
        ({"generators": ()}, "expected at least one of J_x"),
        ({"axes": "rest"}, "axes is 'rest'"),
        ({"draws": 0}, "draws is 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            GeneratorPenalty(**options)
