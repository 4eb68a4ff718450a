"""Tokens are found by a dry pass: the same numbers in any layout give the same report."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import jetsym
from jetsym.errors import ProbeError
from jetsym.jets.domain import JETS
from jetsym.probing.forward.session import Session
from jetsym.probing.measure.average import orbit_average
from jetsym.probing.measure.generators import measure_generators

QUIET = {"progress": False, "l_max": 1}
CHANNELS = 6


class Layouts(nn.Module):
    """Features of the particles of jets, which padding has as well (a bias), shown in one layout after the other."""

    probe_outputs = {"logits": "logits"}  # noqa: RUF012  # read only

    def __init__(self, shown, *, slots=None, position=None, mixes=False, channels=CHANNELS):
        super().__init__()
        torch.manual_seed(0)
        self.points, self.head = nn.Linear(4, channels), nn.Linear(channels, 2)
        self.shown = nn.ModuleDict({name: nn.Identity() for name in shown})
        self.how, self.slots, self.mixes = shown, slots, mixes
        self.position = None if position is None else nn.Parameter(torch.randn(position, channels))

    def forward(self, jets):
        x, mask = jets.p4 / 30, jets.mask
        if self.slots is not None:
            short = self.slots - x.shape[1]
            x, mask = nn.functional.pad(x, (0, 0, 0, short)), nn.functional.pad(mask, (0, short))
        h = torch.tanh(self.points(x))
        if self.position is not None:
            h = h + self.position
        if self.mixes:
            h = h + torch.tanh((h * mask[..., None]).sum(1, keepdim=True) / 10)
        for name, how in self.how.items():
            self.shown[name](how(h, mask))
        return self.head((h * mask[..., None]).sum(1))


def edges(h):
    return torch.sin(h[:, :, None] + 2 * h[:, None])


def reference(layer, mask):
    """Power of a layer (B, T, F) over the tokens of a mask (B, T), by input."""
    return ((layer**2).sum(-1) * mask).sum(-1)


def seen(model, jets, **options):
    return jetsym.probe(model, jets, layers=["shown.*"], **{**QUIET, **options})


@pytest.fixture
def jets(make_jets):
    return make_jets(5, dtype=torch.float64, max_particles=9, min_particles=3)


NODES = {
    "(B,N,C)": lambda h, m: h,
    "(B,C,N)": lambda h, m: h.mT,
    "(N,B,C)": lambda h, m: h.transpose(0, 1),
    "(C,B,N)": lambda h, m: h.permute(2, 0, 1),
    "(N,C,B)": lambda h, m: h.permute(1, 2, 0),
    "(B·N,C)": lambda h, m: h.flatten(0, 1),
    "(N·B,C)": lambda h, m: h.transpose(0, 1).flatten(0, 1),
    "(C,B·N)": lambda h, m: h.flatten(0, 1).mT,
    "(B,N·C)": lambda h, m: h.flatten(1),
    "(B,C·N)": lambda h, m: h.mT.flatten(1),
    "(B,N,2,C/2)": lambda h, m: h.unflatten(-1, (2, -1)),
    "(B,2,N,C/2)": lambda h, m: h.unflatten(-1, (2, -1)).transpose(1, 2),
    "rows of real points": lambda h, m: h[m],
}


@pytest.mark.parametrize("channels", [6, "as many as particles"])
@pytest.mark.parametrize("options", [{}, {"mixes": True}], ids=["local", "mixing"])
def test_points_in_any_layout(jets, channels, options):
    jets = jets.trim()
    n = jets.max_particles
    channels = n if channels != 6 else n - n % 2 + 2
    kept = {name: how for name, how in NODES.items() if channels % 2 == 0 or "C/2" not in name}
    report = seen(
        Layouts({str(i): how for i, how in enumerate(kept.values())}, channels=channels, **options).double(), jets
    )
    assert len(report.layers) == len(kept) + 1, report.meta["notes"]
    for row, name in zip(report.fractions, kept, strict=False):
        np.testing.assert_allclose(row, report.fractions[0], atol=1e-12, err_msg=name)
    np.testing.assert_allclose(report.norm[:-1], report.norm[0], rtol=1e-12)


def test_it_is_the_real_points_that_are_counted(jets):
    """Not a comparison of layouts alone: the norm over the orbit is that of the real points."""
    model = Layouts({"x": lambda h, m: (h * 0 + 1).mT})
    report = seen(model.double(), jets)
    assert report.norm[0] == pytest.approx(CHANNELS * float(jets.n_particles.double().mean()))


def with_class_token(h, m, *, last):
    token = (h * m[..., None]).sum(1, keepdim=True)
    return torch.cat([h, token] if last else [token, h], dim=1)


CLASS_TOKENS = {
    "first": lambda h, m: with_class_token(h, m, last=False),
    "last": lambda h, m: with_class_token(h, m, last=True),
    "first, (B,C,N+1)": lambda h, m: with_class_token(h, m, last=False).mT,
    "last, (N+1,B,C)": lambda h, m: with_class_token(h, m, last=True).transpose(0, 1),
    "last, (B·(N+1),C)": lambda h, m: with_class_token(h, m, last=True).flatten(0, 1),
}


@pytest.mark.parametrize("options", [{}, {"mixes": True}], ids=["local", "mixing"])
def test_a_class_token_counts_and_padding_does_not(jets, options):
    shown = {"pooled": lambda h, m: (h * m[..., None]).sum(1), "plain": lambda h, m: h}
    shown |= {str(i): how for i, how in enumerate(CLASS_TOKENS.values())}
    report = seen(Layouts(shown, **options).double(), jets)
    assert len(report.layers) == len(shown) + 1, report.meta["notes"]
    powers = report.fractions * report.norm[:, None]
    for row, name in zip(powers[2:], CLASS_TOKENS, strict=False):
        np.testing.assert_allclose(row, powers[0] + powers[1], rtol=1e-9, err_msg=name)
    assert [report.meta["tokens"][f"shown.{i}"].split(", ")[-1] for i in range(4)] == [
        "1 more first",
        "1 more last",
    ] * 2


EDGES = {
    "(B,N,N,F)": lambda h, m: edges(h),
    "(B,F,N,N)": lambda h, m: edges(h).permute(0, 3, 1, 2),
    "(B,N²,F)": lambda h, m: edges(h).flatten(1, 2),
    "(B,F,N²)": lambda h, m: edges(h).flatten(1, 2).mT,
    "(B·N²,F)": lambda h, m: edges(h).flatten(0, 2),
    "(N,N,B,F)": lambda h, m: edges(h).permute(1, 2, 0, 3),
    "(B·N,N,F)": lambda h, m: edges(h).flatten(0, 1),
}


def test_edges_count_where_both_ends_are_real(jets):
    shown = {str(i): how for i, how in enumerate(EDGES.values())}
    report = seen(Layouts(shown).double(), jets)
    assert len(report.layers) == len(shown) + 1, report.meta["notes"]
    for row, norm, name in zip(report.fractions, report.norm, EDGES, strict=False):
        np.testing.assert_allclose(row, report.fractions[0], atol=1e-12, err_msg=name)
        assert norm == pytest.approx(report.norm[0], rel=1e-12), name
    ones = seen(Layouts({"x": lambda h, m: edges(h)[..., :1] * 0 + 1}).double(), jets)
    assert ones.norm[0] == pytest.approx(float((jets.n_particles.double() ** 2).mean()))


@pytest.mark.parametrize(
    ("rows", "count"),
    [
        (lambda n: (~torch.eye(n, dtype=bool)).nonzero().T, lambda n: n * (n - 1)),
        (lambda n: torch.tril_indices(n, n), lambda n: n * (n + 1) / 2),
        (lambda n: torch.triu_indices(n, n, 1), lambda n: n * (n - 1) / 2),
        (lambda n: torch.tril_indices(n, n, -1), lambda n: n * (n - 1) / 2),
    ],
    ids=["off the diagonal", "lower triangle", "upper without diagonal", "lower without diagonal"],
)
def test_pairs_along_one_axis(jets, rows, count):
    def pairs(h, m):
        i, j = rows(h.shape[1])
        return (edges(h) + edges(h).transpose(1, 2))[:, i, j].mT

    report = seen(Layouts({"pairs": pairs, "ones": lambda h, m: pairs(h, m)[:, :1] * 0 + 1}).double(), jets)
    assert set(report.layers) >= {"shown.pairs"}, report.meta["notes"]
    both = seen(Layouts({"pairs": pairs, "ones": lambda h, m: pairs(h, m)[:, :1] * 1e-9 + 1}).double(), jets)
    assert both.norm[1] == pytest.approx(float(count(jets.n_particles.double()).mean()), rel=1e-6)


class Trimmer(nn.Module):
    """After a few passes, cuts all jets to the longest of the batch; rounds its length up to a multiple."""

    probe_outputs = {"logits": "logits"}  # noqa: RUF012  # read only

    def __init__(self, net, *, warm_up, multiple=1):
        super().__init__()
        self.net, self.warm_up, self.multiple, self.passes = net, warm_up, multiple, 0

    def forward(self, jets):
        self.passes += 1
        if self.passes > self.warm_up:
            longest = int(jets.n_particles.max())
            n = min(-(-longest // self.multiple) * self.multiple, jets.max_particles)
            jets = jets.replace(p4=jets.p4[:, :n], mask=jets.mask[:, :n], scalars=jets.scalars[:, :n])
        return self.net(jets)


SHOWN = {
    "channels": lambda h, m: h.mT,
    "rows": lambda h, m: h.flatten(0, 1),
    "class": lambda h, m: with_class_token(h, m, last=True),
    "edges": lambda h, m: edges(h).permute(0, 3, 1, 2),
    "pool": lambda h, m: (h * m[..., None]).sum(1),
}


@pytest.mark.parametrize("warm_up", [0, 1, 2, 3, 5, 8])
@pytest.mark.parametrize("multiple", [1, 4])
def test_trimmers_change_nothing(jets, warm_up, multiple):
    jets = jets.replace(mask=jets.mask & (torch.arange(jets.max_particles) < torch.tensor([[9], [3], [4], [6], [3]])))
    net = Layouts(SHOWN).double()
    plain = jetsym.probe(net, jets, layers=["shown.*"], **QUIET)
    cut = jetsym.probe(
        Trimmer(net, warm_up=warm_up, multiple=multiple), jets, layers=["net.shown.*"], batch_size=5, **QUIET
    )
    assert [name.removeprefix("net.") for name in cut.layers] == list(plain.layers), cut.meta["notes"]
    np.testing.assert_allclose(cut.fractions, plain.fractions, atol=1e-12)
    np.testing.assert_allclose(cut.norm, plain.norm, rtol=1e-12)


@pytest.mark.parametrize("slots", [11, 12, 18, 40])
@pytest.mark.parametrize("options", [{}, {"mixes": True}, {"position": True}], ids=["local", "mixing", "position"])
def test_slots_of_the_models_own(jets, slots, options):
    shown = {
        "plain": lambda h, m: h,
        "channels": lambda h, m: h.mT,
        "inputs second": lambda h, m: h.transpose(0, 1),
        "rows": lambda h, m: h.flatten(0, 1),
        "edges": lambda h, m: edges(h),
        "pool": lambda h, m: (h * m[..., None]).sum(1),
    }
    options = options | ({"position": slots} if "position" in options else {})
    report = seen(Layouts(shown, slots=slots, **options).double(), jets)
    assert len(report.layers) == len(shown) + 1, report.meta["notes"]
    np.testing.assert_allclose(report.norm[:4], report.norm[0], rtol=1e-12)
    if "position" not in options:
        truth = seen(Layouts(shown, **options).double(), jets)
        np.testing.assert_allclose(report.fractions, truth.fractions, atol=1e-12)
        np.testing.assert_allclose(report.norm, truth.norm, rtol=1e-12)


def test_layers_that_may_hold_slots_of_the_models_own_are_left_out(jets):
    def blended(h, m):
        return torch.tanh(h + h.roll(1, 1).cumsum(1))

    report = seen(Layouts({"points": lambda h, m: h, "blended": blended}, slots=12, position=12).double(), jets)
    assert list(report.layers) == ["shown.points", "logits"]
    assert "'shown.blended' is left out: its axis of 12 may be the slots that the model pads to" in str(
        report.meta["notes"]
    )


class OneNumber(Layouts):
    """Takes one number of slots only."""

    def __init__(self, *args, n, **options):
        super().__init__(*args, **options)
        self.n = n

    def forward(self, jets):
        assert jets.max_particles == self.n
        return super().forward(jets)


def test_a_model_of_one_number_of_slots(jets):
    jets = jets.trim()
    n = jets.max_particles
    torch.manual_seed(1)
    wide, narrow, mix = (
        torch.randn(n * 6, 2 * n).double(),
        torch.randn(n * 6, n - 1).double(),
        torch.randn(n, n).double(),
    )
    shown = {
        "points": lambda h, m: h.mT,
        "class": lambda h, m: with_class_token(h, m, last=True),
        "edges": lambda h, m: edges(h),
        "pool": lambda h, m: (h * m[..., None]).sum(1),
        "narrow": lambda h, m: torch.tanh(h.flatten(1) @ narrow),
        "wide": lambda h, m: torch.tanh(h.flatten(1) @ wide),
        "mixed": lambda h, m: torch.tanh(mix @ h),
    }
    report = seen(OneNumber(shown, n=n).double(), jets)
    assert list(report.layers) == ["shown.points", "shown.class", "shown.edges", "shown.pool", "shown.narrow", "logits"]
    left_out = " ".join(report.meta["notes"])
    assert f"'shown.wide' is left out: its axis of {2 * n} may be the points" in left_out
    assert f"'shown.mixed' is left out: its axis of {n} may be the points" in left_out
    truth = seen(Layouts(shown).double(), jets)
    for name in ("shown.points", "shown.class", "shown.edges", "shown.pool"):
        ours, theirs = (r.fractions[r.layers.index(name)] for r in (report, truth))
        np.testing.assert_allclose(ours, theirs, atol=1e-12, err_msg=name)
    named = seen(OneNumber(shown, n=n).double(), jets, tokens={"shown.wide": None, "shown.mixed": 1})
    assert named.meta["tokens"]["shown.wide"] == "none"
    assert named.meta["tokens"]["shown.mixed"] == "points: axis 1"
    weights = (torch.tanh(mix @ torch.zeros(n, 1).double()) * 0 + 1) * jets.mask[..., None]
    assert named.norm[named.layers.index("shown.mixed")] < CHANNELS * float(weights.sum((1, 2)).mean())


def test_with_all_slots_full_nothing_is_left_out(make_jets):
    jets = make_jets(4, dtype=torch.float64, max_particles=6, min_particles=6)
    mix = torch.randn(6, 6).double()
    report = seen(OneNumber({"mixed": lambda h, m: torch.tanh(mix @ h)}, n=6).double(), jets)
    assert list(report.layers) == ["shown.mixed", "logits"]


def test_what_fits_nothing_is_left_out_alone(jets):
    shown = {
        "points": lambda h, m: h,
        "sum over the batch": lambda h, m: h.sum(0),
        "heads": lambda h, m: h.unflatten(-1, (2, -1)).permute(0, 2, 1, 3).flatten(0, 1).sum(1),
        "odd": lambda h, m: h.repeat(1, 2, 1)[:, 1::3],
    }
    report = seen(Layouts({key.replace(" ", "_"): how for key, how in shown.items()}).double(), jets)
    assert list(report.layers) == ["shown.points", "logits"]
    notes = " ".join(report.meta["notes"])
    assert "'shown.sum_over_the_batch' is left out: the inputs are along none of its axes." in notes
    assert "'shown.heads' is left out: its rows are 2 for an input" in notes
    assert "'shown.odd' is left out" in notes
    asked = seen(Layouts({"heads": shown["heads"]}).double(), jets, tokens={"shown.heads": 0})
    plain = seen(Layouts({"heads": lambda h, m: shown["heads"](h, m).unflatten(0, (len(m), 2))}).double(), jets)
    np.testing.assert_allclose(asked.fractions, plain.fractions, atol=1e-12)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ({"shown.pool": 1}, "neither grows with the points nor follows them"),
        ({"shown.points": 0}, "but the inputs are along axis 0"),
        ({"shown.points": 5}, "expected one or two of its axes, or None"),
        ({"shown.point": 1}, "no layer that is read; .*'shown.points'"),
        ({"shown.points": 2}, "neither grows with the points nor follows them"),
    ],
)
def test_what_a_caller_says_is_checked(jets, tokens, message):
    shown = {"points": lambda h, m: h, "pool": lambda h, m: (h * m[..., None]).sum(1)}
    with pytest.raises(ProbeError, match=message):
        seen(Layouts(shown).double(), jets, tokens=tokens)


# --- outputs ---


class Outputs(nn.Module):
    """One score for each particle, in several layouts; padding has one as well."""

    def __init__(self, how, channels=3):
        super().__init__()
        torch.manual_seed(0)
        self.points, self.how = nn.Linear(4, channels), how

    def forward(self, jets):
        h = torch.tanh(self.points(jets.p4 / 30))
        return {name: how(h, jets) for name, how in self.how.items()}


def test_outputs_of_points_leave_padding_out_in_any_layout(jets):
    how = {
        "(B,N,C)": lambda h, jets: h,
        "(B,C,N)": lambda h, jets: h.mT,
        "(B·N,C)": lambda h, jets: h.flatten(0, 1),
        "(B,N)": lambda h, jets: h[..., 0],
        "(N,B)": lambda h, jets: h[..., 0].T,
        "(B,N,1)": lambda h, jets: h[..., :1],
    }
    kinds = dict.fromkeys(how, "scalar")
    report = jetsym.probe(Outputs(how).double(), jets, outputs=kinds, layers=[], **QUIET)
    found = [report.equivariance[name] for name in how]
    for name, item in zip(how, found, strict=True):
        expected = found[0] if "C" in name else found[3]
        for value in ("absolute", "relative", "over_spread"):
            assert getattr(item, value) == pytest.approx(getattr(expected, value), rel=1e-12), (name, value)
    packed = jetsym.probe(
        Outputs({"x": lambda h, jets: h[jets.mask]}).double(), jets, layers=[], outputs={"x": "scalar"}, **QUIET
    )
    assert packed.equivariance["x"].absolute == pytest.approx(found[0].absolute, rel=1e-12)


def test_logits_of_points_are_centred_over_their_classes(jets):
    how = {"(B,N,C)": lambda h, jets: h, "(B,C,N)": lambda h, jets: h.mT}
    report = jetsym.probe(Outputs(how).double(), jets, outputs=dict.fromkeys(how, "logits"), layers=[], **QUIET)
    first, second = report.equivariance.values()
    assert first.absolute == pytest.approx(second.absolute, rel=1e-12)


def test_vectors_of_points_turn_in_any_layout(jets):
    how = {"rows": lambda h, jets: jets.p4[..., 1:] + 1, "columns": lambda h, jets: jets.p4[..., 1:].mT + 1}
    report = jetsym.probe(Outputs(how).double(), jets, outputs=dict.fromkeys(how, "vector"), layers=[], **QUIET)
    n = jets.n_particles.double().mean()
    for item in report.equivariance.values():
        assert item.absolute == pytest.approx(float((3 * n).sqrt()), rel=1e-9)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_classes_and_components_that_are_as_many_as_particles_are_no_particles(make_jets, n):
    jets = make_jets(6, dtype=torch.float64, max_particles=n, min_particles=1)
    jets = jets.replace(mask=jets.mask & (torch.arange(jets.max_particles) < (1 + torch.arange(6) % n)[:, None]))
    jets = jets.replace(p4=jets.p4 * jets.mask[..., None])

    def pooled(h, jets):
        return (h * jets.mask[..., None]).sum(1)

    for kind in ("logits", "scalar", *(["vector"] if n == 3 else [])):
        net = Outputs({"x": pooled}, channels=n).double()
        found = jetsym.probe(net, jets, outputs={"x": kind}, layers=[], **QUIET)
        assert found.meta["tokens"]["x"] == "none", kind


# --- rows that change places ---


def bonds(x):
    """Distances, differences and sums of all pairs of points (B, N, 3)."""
    i, j = torch.triu_indices(x.shape[1], x.shape[1], 1)
    return (x[:, i] - x[:, j]).norm(dim=-1), x[:, i] - x[:, j], x[:, i] + x[:, j]


class Graph(nn.Module):
    """Bonds in one order after the other."""

    def __init__(self, **shown):
        super().__init__()
        self.shown, self.how = nn.ModuleDict({name: nn.Identity() for name in shown}), shown

    def forward(self, x):
        for name, how in self.how.items():
            self.shown[name](how(x))
        return bonds(x)[0].sum(1)


def sorted_along_x(x, what, fold=False):
    lengths, _, sums = bonds(x)
    order = sums[..., 0].argsort(dim=1)
    rows = {"lengths": lengths[..., None] ** torch.arange(1, 4), "length": lengths[..., None], "vectors": sums}[what]
    rows = rows.take_along_dim(order[..., None], 1)
    return rows.flatten(0, 1) if fold else rows


@pytest.fixture
def clouds():
    return torch.tensor(np.random.default_rng(0).normal(size=(4, 5, 3)))


def test_bonds_of_a_graph_that_is_built_anew_are_left_out(clouds):
    model = Graph(
        sorted=lambda x: sorted_along_x(x, "lengths"),
        one_feature=lambda x: sorted_along_x(x, "length"),
        no_features=lambda x: sorted_along_x(x, "length")[..., 0],
        features_first=lambda x: sorted_along_x(x, "lengths").mT,
        vectors=lambda x: sorted_along_x(x, "vectors"),
        by_length=lambda x: bonds(x)[0].sort(dim=1).values,
        in_place=lambda x: bonds(x)[0][..., None],
        vectors_in_place=lambda x: bonds(x)[1],
    )
    report = seen(model, clouds)
    assert list(report.layers) == ["shown.by_length", "shown.in_place", "shown.vectors_in_place", "output"]
    notes = " ".join(report.meta["notes"])
    for name in ("sorted", "one_feature", "no_features", "features_first"):
        assert f"'shown.{name}' is left out: its rows change places along the orbit" in notes
    assert "'shown.vectors' is left out: its rows stand in an order of the model's own" in notes
    np.testing.assert_allclose(report.fractions[:2, 0], 1, atol=1e-12)  # (0,+)
    assert report.fractions[2, 2] == pytest.approx(1)  # (1,+)


def test_the_order_may_stay_under_one_group_and_not_under_another(clouds):
    """About x, what is sorted along x keeps its order."""
    model = Graph(sorted=lambda x: sorted_along_x(x, "lengths"))
    assert "shown.sorted" in seen(model, clouds, group="SO2", axis="x").layers
    assert "shown.sorted" not in seen(model, clouds, group="SO2", axis="z").layers


def test_rows_of_a_batch_fold_where_they_are_points(clouds):
    model = Graph(
        points=lambda x: torch.tanh(x).flatten(0, 1),
        points_of_a_batch=lambda x: torch.tanh(x).transpose(0, 1).flatten(0, 1),
        plain=lambda x: torch.tanh(x),
        pairs=lambda x: bonds(x)[1].flatten(0, 1),
        others=lambda x: torch.tanh(x)[:, :3].flatten(0, 1),
    )
    report = seen(model, clouds)
    names = ["shown.points", "shown.points_of_a_batch", "shown.plain", "shown.pairs", "output"]
    assert list(report.layers) == names, report.meta["notes"]
    np.testing.assert_allclose(report.fractions[:2], report.fractions[[2, 2]], atol=1e-12)
    assert "'shown.others' is left out: its rows are 3 for an input" in " ".join(report.meta["notes"])
    asked = seen(model, clouds, tokens={"shown.others": 0})
    assert "shown.others" in asked.layers
    with pytest.raises(ProbeError, match="cannot be measured: its rows change places"):
        jetsym.probe(lambda x: sorted_along_x(torch.as_tensor(x), "lengths"), clouds, **QUIET)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 6])
def test_in_small_batches_the_same_is_found(jets, batch_size):
    shown = {"(B,C,N)": NODES["(B,C,N)"], "(B,N+1,C)": CLASS_TOKENS["last"], "edges": EDGES["(B,F,N,N)"]}
    net, sizes = Layouts(shown).double(), []
    net.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    small = seen(net, jets, batch_size=batch_size)
    assert max(sizes) <= batch_size
    large = seen(net, jets)
    assert small.meta["tokens"] == large.meta["tokens"]
    np.testing.assert_allclose(small.fractions, large.fractions, atol=1e-12)


def test_boosts_and_slopes_see_the_same_tokens(jets):
    shown = {"rows": lambda h, m: h, "columns": lambda h, m: h.mT, "folded": lambda h, m: h.flatten(0, 1)}
    net = Layouts(shown).double()
    report = jetsym.probe(net, jets, layers=["shown.*"], group="boost", l_max=2, widths=(0.5,), progress=False)
    np.testing.assert_allclose(report.energies[0, 1:3], report.energies[0, [0, 0]], atol=1e-12)
    slopes = measure_generators(Session(net, JETS, {"logits": "logits"}, layers=["shown.*"]), jets, axes="beam")
    assert slopes.layers == report.layers
    np.testing.assert_allclose(slopes.squared[1:3], slopes.squared[[0, 0]], rtol=1e-12)


def test_the_orbit_average_of_an_output_has_its_tokens_behind_the_samples(jets):
    how = {"rows": lambda h, jets: h, "columns": lambda h, jets: h.mT}
    found = orbit_average(Outputs(how).double(), jets, outputs=dict.fromkeys(how, "scalar"), bandwidth=1)
    np.testing.assert_allclose(found["columns"].mean, found["rows"].mean, atol=1e-12)
    np.testing.assert_array_equal(found["columns"].mask, jets.trim().mask.numpy())


def test_masks_may_have_holes(jets):
    holes = (torch.arange(jets.max_particles) != 1) & jets.mask
    jets = jets.replace(mask=holes, p4=jets.p4 * holes[..., None])
    shown = {"rows": lambda h, m: h, "columns": lambda h, m: h.mT, "class": CLASS_TOKENS["last, (N+1,B,C)"]}
    report = seen(Layouts(shown).double(), jets)
    assert len(report.layers) == 4, report.meta["notes"]
    np.testing.assert_allclose(report.fractions[1], report.fractions[0], atol=1e-12)
    ones = seen(Layouts({"x": lambda h, m: (h[..., :1] * 0 + 1).mT}).double(), jets)
    assert ones.norm[0] == pytest.approx(float(holes.sum(1).double().mean()))


# --- networks of torch ---


class Attention(nn.Module):
    """torch's own layers, with the particles first or second, and weights of attention."""

    probe_outputs = {"logits": "logits"}  # noqa: RUF012  # read only

    def __init__(self, batch_first):
        super().__init__()
        torch.manual_seed(0)
        self.batch_first, options = batch_first, {"batch_first": batch_first, "dropout": 0.0}
        self.embed, self.head = nn.Linear(4, 8), nn.Linear(8, 3)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, **options)
        self.attention = nn.MultiheadAttention(8, 2, **options)

    def forward(self, jets):
        h = self.embed(jets.p4 / 30)
        h = h if self.batch_first else h.transpose(0, 1)
        h = self.encoder(h, src_key_padding_mask=~jets.mask)
        h, _ = self.attention(h, h, h, key_padding_mask=~jets.mask)
        h = h if self.batch_first else h.transpose(0, 1)
        return self.head((h * jets.mask[..., None]).sum(1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_attention_reads_the_same_with_the_particles_first(jets, dtype):
    reports = [
        jetsym.probe(Attention(first).to(dtype), jets, layers=["embed", "encoder", "attention"], **QUIET)
        for first in (True, False)
    ]
    assert reports[0].layers == reports[1].layers == ("embed", "encoder", "attention.0", "attention.1", "logits")
    assert [reports[0].meta["tokens"][name] for name in reports[0].layers[1:4]] == [
        "points: axis 1",
        "points: axis 1",
        "pairs: axis 1 and axis 2",
    ]
    np.testing.assert_allclose(
        reports[1].fractions, reports[0].fractions, atol=0.02 if dtype is torch.bfloat16 else 1e-6
    )


class Sorted(Layouts):
    """Sorts the particles by transverse momentum before all else."""

    def forward(self, jets):
        pt = jets.p4[..., 1:3].norm(dim=-1).masked_fill(~jets.mask, -1)
        order = pt.argsort(dim=1, descending=True)
        return super().forward(jets.replace(p4=jets.p4.take_along_dim(order[..., None], 1)))


def test_rows_in_an_order_of_the_models_own_are_read_where_they_are_named(jets):
    net = Sorted({"x": lambda h, m: h, "pool": lambda h, m: (h * m[..., None]).sum(1)}).double()
    report = seen(net, jets)
    assert list(report.layers) == ["shown.pool", "logits"]
    assert "'shown.x' is left out: its rows stand in an order of the model's own" in " ".join(report.meta["notes"])
    assert list(seen(net, jets, tokens={"shown.x": 1}).layers) == ["shown.x", "shown.pool", "logits"]
