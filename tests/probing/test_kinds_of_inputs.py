"""Inputs with kinds: what is named moves, all else stays, and what cannot be told is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import jetsym
from jetsym.errors import ProbeError
from jetsym.probing.forward.session import Session
from jetsym.probing.measure.attribution import attribute
from jetsym.probing.measure.average import orbit_average
from jetsym.probing.measure.generators import measure_generators
from jetsym.probing.monitor import Monitor
from jetsym.remedies import Symmetrized
from jetsym.spectrum import FiniteGroup, register_group

QUIET = {"progress": False, "l_max": 1}
B, N = 6, 9
WEAVER = jetsym.moves("four-vector", order="px py pz e", axis=1)


class Net(nn.Module):
    """Lengths of points, embedded types and features: invariant, whatever the mask."""

    def __init__(self, tilt=0.0):
        super().__init__()
        torch.manual_seed(0)
        self.emb, self.layer, self.head, self.tilt = nn.Embedding(4, 3), nn.Linear(7, 8), nn.Linear(8, 2), tilt

    def forward(self, pos, types, colours, mask):
        length = pos.norm(dim=-1, keepdim=True) + self.tilt * pos[..., 2:]
        h = torch.tanh(self.layer(torch.cat([length, self.emb(types), colours], -1)))
        return self.head((h * mask[..., None]).sum(1))


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    lengths = np.array([9, 5, 7, 3, 4, 6])
    return {
        "pos": rng.normal(size=(B, N, 3)),
        "types": rng.integers(0, 4, size=(B, N)),
        "colours": rng.uniform(size=(B, N, 3)),
        "mask": np.arange(N) < lengths[:, None],
    }


def relative(report):
    (item,) = report.equivariance.values()
    return item.relative


def forms(arrays):
    tensors = {name: torch.as_tensor(array) for name, array in arrays.items()}
    return {
        "tuple of numpy": tuple(arrays.values()),
        "tuple of torch": tuple(tensors.values()),
        "dictionary of numpy": arrays,
        "dictionary of torch": tensors,
        "in another order": dict(reversed(tensors.items())),
    }


@pytest.mark.parametrize(
    "form", ["tuple of numpy", "tuple of torch", "dictionary of numpy", "dictionary of torch", "in another order"]
)
def test_what_is_named_moves_and_the_mask_serves_the_layers(arrays, form):
    given = forms(arrays)[form]
    report = jetsym.probe(Net().double(), given, moves={"pos": "vector"}, **QUIET)
    assert abs(relative(report)) < 1e-13
    moves = report.meta["moves"]
    assert moves == {
        "pos": "vector",
        "types": "held fixed",
        "colours": "held fixed",
        "mask": "held fixed, True for real points",
    }
    assert any("pos: vector" in note and "colours: held fixed" in note for note in report.meta["notes"])
    assert report.meta["tokens"] == {"emb": "points: axis 1", "layer": "points: axis 1", "output": "none"}
    # Real points alone are counted: the norm of the embedding is known.
    net, kept = Net().double(), torch.as_tensor(arrays["mask"])
    norm = net.emb(torch.as_tensor(arrays["types"]))[kept].square().sum().item() / B
    assert report.norm[list(report.layers).index("emb")] == pytest.approx(norm, rel=1e-9)
    assert relative(jetsym.probe(Net(0.3).double(), given, moves={"pos": "vector"}, **QUIET)) > 0.01


@pytest.mark.parametrize("moves", [{0: "vector"}, {"pos": "vector"}, {"pos": jetsym.moves("vector", order="x y z")}])
def test_by_position_by_name_and_by_value(arrays, moves):
    given = tuple(arrays.values())
    report = jetsym.probe(Net().double(), given, moves=moves, layers=[], **QUIET)
    assert abs(relative(report)) < 1e-13
    assert report.meta["moves"]["pos"].startswith("vector")


@pytest.mark.parametrize("padding", [bool, float, np.int64])
@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("axes", [(), (1,), (2,)])
def test_masks_are_known_by_what_they_hide(arrays, padding, inverted, axes):
    class Other(Net):
        def forward(self, pos, types, colours, seen):  # the name says nothing
            flat = seen.reshape(seen.shape[0], -1).bool()
            return super().forward(pos, types, colours, ~flat if inverted else flat)

    marks = np.expand_dims(arrays["mask"] ^ inverted, axes).astype(padding)
    given = (*list(arrays.values())[:3], marks)
    report = jetsym.probe(Other().double(), given, moves={"pos": "vector"}, **QUIET)
    word = "False" if inverted else "True"
    assert report.meta["moves"]["seen"] == f"held fixed, {word} for real points"


def test_marks_that_hide_nothing_are_no_mask(arrays):
    class Charged(Net):
        def forward(self, pos, types, colours, charged):
            h = torch.tanh(self.layer(torch.cat([pos.norm(dim=-1, keepdim=True), self.emb(types), colours], -1)))
            return self.head((h * (1 + charged[..., None].to(h))).sum(1))

    given = (*list(arrays.values())[:3], arrays["mask"])
    report = jetsym.probe(Charged().double(), given, moves={"pos": "vector"}, **QUIET)
    assert report.meta["moves"]["charged"] == "held fixed"
    norm = Charged().double().emb(torch.as_tensor(arrays["types"])).square().sum().item() / B
    assert report.norm[list(report.layers).index("emb")] == pytest.approx(norm, rel=1e-9)


FLAGS = ["is_muon", "muon_mask", "in_padded_region", "padding"]


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("muons", [1, 2])
@pytest.mark.parametrize("constant", [False, True])
def test_a_flag_is_a_mask_by_what_it_does_and_never_where_it_is_said_to_stay(name, muons, constant):
    """Σ z over muons, and |x|² or 3 of any other point: vectors beside scalars, in closed form."""
    points, flags = np.random.default_rng(0).normal(size=(8, 6, 3)), np.zeros((8, 6))
    flags[:, [3, 0][:muons]] = 1
    square = (points**2).sum(-1)
    scope = {"rest": (lambda x: 3 + 0 * x[..., 2]) if constant else lambda x: (x**2).sum(-1), "np": np}
    exec(f"def model(points, {name}): return np.where({name} > 0, points[..., 2], rest(points))", scope)

    def probed(**more):
        said = {"points": "vector", **more}
        return jetsym.probe(scope["model"], (points, flags), moves=said, layers=[], l_max=2, progress=False)

    moving, rest = (square * flags / 3).sum(), (np.where(constant, 9.0, square**2) * (1 - flags)).sum()
    for report in [probed(**{name: None}), *([] if constant else [probed()])]:
        assert report.meta["moves"][name] == "held fixed"
        assert relative(report) == pytest.approx(np.sqrt(moving / (moving + rest)), rel=1e-9)


@pytest.mark.parametrize(
    ("name", "word"),
    [("mask", "True"), ("key_padding_mask", "False"), ("padMask", "False"), ("unmasked", ""), ("padova", "")],
)
def test_names_tell_by_whole_words_where_a_model_cannot_be_asked(name, word):
    scope = {}
    exec(f"def model(points, {name}): return {name}.sum(-1) + 0 * points.sum((1, 2))", scope)
    given = (np.random.default_rng(0).normal(size=(8, 6, 3)), np.eye(8, 6) == 0)
    report = jetsym.probe(scope["model"], given, moves={"points": "vector"}, **QUIET)
    assert report.meta["moves"][name] == "held fixed" + (f", {word} for real points" if word else "")


def test_several_candidates_are_refused_with_the_remedy(arrays):
    both = (arrays["pos"], arrays["types"], arrays["colours"], arrays["mask"])
    with pytest.raises(ProbeError, match=r"any of pos \(6, 9, 3\), colours \(6, 9, 3\).*moves=\{'pos': 'vector', 'col"):
        jetsym.probe(Net(), both, **QUIET)
    with pytest.raises(ProbeError, match=r"any of pos .*, colours"):
        jetsym.probe(Net(), arrays, **QUIET)
    with pytest.raises(ProbeError, match=r"any of 0 .*, 2 .*moves=\{0: 'vector', 2: 'vector'\}"):
        jetsym.probe(Net(), both, call=lambda model, given: model(*given), **QUIET)


def test_integers_marks_and_numbers_are_no_candidates():
    rng = np.random.default_rng(1)
    points, whole = rng.normal(size=(B, 5, 3)), rng.integers(0, 5, size=(B, 5, 3))
    flags = rng.uniform(size=(B, 4)) < 0.5

    def model(points, whole, flags, power, nothing):
        assert nothing is None
        return (points**power).sum((1, 2)) * flags.sum(-1) + whole.sum((1, 2))

    report = jetsym.probe(model, (points, whole, flags, 2, None), **QUIET)
    assert abs(relative(report)) < 1e-13
    assert report.meta["moves"] == {"points": "vector", "whole": "held fixed", "flags": "held fixed"}
    one_hot = np.eye(3)[whole[..., 0] % 3]
    with pytest.raises(ProbeError, match=r"that may move is b \(6, 5, 3\), but it holds nothing but 0 and 1"):
        jetsym.probe(lambda a, b: a.sum(-1) + b.sum((1, 2)), (rng.normal(size=(B, 5)), one_hot), **QUIET)


@pytest.mark.parametrize(
    ("moves", "message"),
    [
        ({"position": "vector"}, "moves names 'position', which is no array among the inputs; there is 'pos', 'types'"),
        ({7: "vector"}, "moves names 7"),
        ({"types": "vector"}, r"the input types of shape .* has dtype int64; expected one of"),
        ({"pos": "four-vector"}, "needs 4 numbers"),
        ({"pos": None}, "holds nothing that moves"),
        ({}, "moves is {}"),
        ("vector", "moves is 'vector'; expected a dictionary"),
        ({"pos": 3}, "moves says 3 of 'pos'"),
    ],
)
def test_what_cannot_be_meant_is_refused(arrays, moves, message):
    with pytest.raises(ProbeError, match=message):
        jetsym.probe(Net(), tuple(arrays.values()), moves=moves, **QUIET)


def test_moves_go_with_arrays_and_without_an_action(make_jets):
    with pytest.raises(ProbeError, match="goes with arrays"):
        jetsym.probe(lambda jets: jets.p4.sum((1, 2)), make_jets(3), moves={"p4": "four-vector"}, **QUIET)
    with pytest.raises(ProbeError, match="give one of them"):
        jetsym.probe(lambda x: x, np.ones((2, 3)), moves={0: "vector"}, action=lambda x, g: x, **QUIET)


class ChannelsFirst(nn.Module):
    """Masses of (N, 4, P), as weaver takes momenta, with features and a mask (N, 1, P)."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv1d(1, 8, 1), nn.Linear(8, 2)

    def forward(self, x, v, mask):
        square = v[:, 3:] ** 2 - (v[:, :3] ** 2).sum(1, keepdim=True)
        return self.head((torch.tanh(self.conv(square)) * mask * x[:, :1]).sum(-1))


@pytest.fixture
def momenta():
    torch.manual_seed(1)
    p = torch.randn(B, N, 3, dtype=torch.float64)
    energy = (p.square().sum(-1, keepdim=True) + torch.rand(B, N, 1, dtype=torch.float64)).sqrt()
    return torch.cat([p, energy], -1).mT  # (px, py, pz, E) along axis 1


@pytest.mark.parametrize("group", ["O3", "SO3", "SO2", "boost"])
def test_channels_first_momenta_in_any_order(momenta, group):
    x, mask = torch.rand(B, 7, N).double(), (torch.rand(B, 1, N) < 0.7)
    mask[..., :2] = True
    net = ChannelsFirst().double()
    report = jetsym.probe(net, (x, momenta, mask), moves={"v": WEAVER}, group=group, **QUIET)
    assert abs(relative(report)) < 1e-12
    assert report.meta["tokens"]["conv"] == "points: axis 2"
    assert report.meta["moves"]["mask"] == "held fixed, True for real points"
    if group != "boost":  # energies are moved by boosts: another order is another answer
        return
    wrong = jetsym.moves("four-vector", order="pz e px py", axis=1)
    assert relative(jetsym.probe(net, (x, momenta, mask), moves={"v": wrong}, group=group, **QUIET)) > 0.01


EVERYDAY = {
    "x - mean": lambda p, pt: p[..., 1:] - p[..., 1:].mean(1, keepdims=True),
    "x_i - x_j": lambda p, pt: p[:, :, None] - p[:, None],
    "share": lambda p, pt: pt / pt.sum(1, keepdims=True),
    "scalar sum": lambda p, pt: pt.sum(1),
    "θ": lambda p, pt: np.arctan2(pt, p[..., 3]),
    "rapidity": lambda p, pt: np.arctanh(p[..., 3] / p[..., 0]),
    "1/pT": lambda p, pt: 1 / pt,
    "pT²": lambda p, pt: pt**2,
    "sin φ": lambda p, pt: p[..., 2] / pt,
    "cos φ": lambda p, pt: p[..., 1] / pt,
    "mT²": lambda p, pt: p[..., 0] ** 2 - p[..., 3] ** 2,
    "log(1 + pT)": lambda p, pt: np.log1p(pt),
    "moments": lambda p, pt: np.einsum("spi,spj->sij", p, p),
}


@pytest.mark.parametrize("what", EVERYDAY)
def test_everyday_functions_of_what_moves_are_refused(what):
    p = np.random.default_rng(0).normal(size=(16, 6, 4))
    p[..., 0] = np.sqrt((p[..., 1:] ** 2).sum(-1) + 0.1)
    given = (p, EVERYDAY[what](p, np.hypot(p[..., 1], p[..., 2])))

    def model(x, q):
        return q.reshape(len(q), -1)[:, 0]

    with pytest.raises(ProbeError, match=r"the input q holds .* of x \(column .*call=…"):
        jetsym.probe(model, given, moves={"x": "four-vector"}, **QUIET)


def test_what_is_held_fixed_is_told_with_what_it_must_not_be():
    rng = np.random.default_rng(0)
    given = (rng.normal(size=(8, 5, 3)), rng.normal(size=(8, 5, 2)), rng.normal(size=(8, 5, 5, 2)))
    report = jetsym.probe(lambda x, colours, bonds: (x**2).sum((1, 2)) + colours.sum((1, 2)), given, **QUIET)
    note = "colours, bonds held fixed: it must not be computed from what moves (then compute it inside call=…"
    assert any(one.startswith(note) for one in report.meta["notes"])
    alone = jetsym.probe(lambda x: (x**2).sum((1, 2)), given[0], **QUIET)
    assert not any("held fixed" in one for one in alone.meta["notes"])


@pytest.mark.parametrize("place", [1, 2, 3])
@pytest.mark.parametrize("moves", [None, {0: "four-vector"}, {0: jetsym.moves("four-vector", axis=2)}])
def test_energies_in_another_column_are_refused_with_the_order(place, moves):
    p = np.random.default_rng(0).normal(size=(8, 5, 3))
    e = np.sqrt((p**2).sum(-1) + 0.1)
    order = " ".join(np.insert(np.array(["px", "py", "pz"], dtype=object), place, "e"))
    given = np.insert(p, place, e, axis=-1)

    def masses(x):
        return (2 * x[..., place] ** 2 - (x**2).sum(-1)).sum(1)

    with pytest.raises(ProbeError, match=rf"moves=\{{0: jetsym.moves\(\"four-vector\", order=\"{order}\""):
        jetsym.probe(masses, given, moves=moves, **QUIET)
    right = jetsym.probe(masses, given, moves={0: jetsym.moves("four-vector", order=order)}, **QUIET)
    assert abs(relative(right)) < 1e-12
    wrong = jetsym.probe(masses, given, moves={0: jetsym.moves("four-vector", order="e px py pz")}, **QUIET)
    assert relative(wrong) > 0.1


def test_the_order_that_was_taken_is_told():
    p = np.random.default_rng(0).normal(size=(8, 5, 3))
    massless = np.concatenate([np.sqrt((p**2).sum(-1, keepdims=True)), p], -1).astype(np.float32)
    for given in (massless, np.random.default_rng(0).normal(size=(8, 5, 4))):  # the second are no momenta at all
        report = jetsym.probe(lambda x: x[..., 0].sum(1), given, **QUIET)
        assert any(note.startswith("What moves: input: four-vector (E, px, py, pz)") for note in report.meta["notes"])


def test_vectors_have_no_law_under_boosts():
    with pytest.raises(ProbeError, match=r"that moves as vector has shape \(2, 3\); expected four-vectors"):
        jetsym.probe(
            lambda p, q: p[:, 0], (np.ones((2, 3)), np.ones((2, 4))), moves={"p": "vector"}, group="boost", **QUIET
        )


def derived(p):
    """What is computed from momenta (px, py, pz, E), by name."""
    px, py, pz, e = np.moveaxis(p, -1, 0)
    total = p.sum(1)
    pt, sum_pt = np.hypot(px, py), np.hypot(total[:, 0], total[:, 1])[:, None]
    eta = np.arcsinh(pz / pt) - np.arcsinh(total[:, 2:3] / sum_pt)
    return {
        "log pT": np.log(pt),
        "E": e,
        "log E": np.clip((np.log(e) - 0.3) * 5, -1, 1),
        "pT ratio": np.log(pt / sum_pt),
        "Δη": eta,
        "y": py,
    }


@pytest.mark.parametrize(
    ("what", "stale_under"),
    [
        ("log pT", {"O3", "boost x"}),
        ("E", {"boost", "boost x"}),
        ("log E", {"boost", "boost x"}),
        ("pT ratio", {"O3", "boost x"}),
        ("Δη", {"O3", "boost", "boost x"}),  # of massive particles, whose η is no rapidity
        ("y", {"O3", "SO2"}),
    ],
)
@pytest.mark.parametrize("group", ["O3", "SO2", "boost", "boost x"])
def test_what_was_computed_from_momenta_is_refused_where_it_would_be_stale(momenta, what, stale_under, group):
    values = torch.as_tensor(derived(momenta.mT.numpy())[what])
    x = torch.stack([torch.rand(B, N).double(), 0.4 * values - 1], 1)
    options = {"group": group.split()[0], **QUIET, **({"axis": "x"} if group == "boost x" else {})}
    ones, net = torch.ones(B, 1, N), ChannelsFirst().double()
    if group in stale_under:
        with pytest.raises(ProbeError, match=r"the input x holds .* of v \(column 1\).*call=…"):
            jetsym.probe(net, (x, momenta, ones), moves={"v": WEAVER}, layers=[], **options)
        said = jetsym.probe(net, (x, momenta, ones), moves={"v": WEAVER, "x": None}, layers=[], **options)
        assert said.meta["moves"]["x"] == "held fixed"
    else:
        jetsym.probe(net, (x, momenta, ones), moves={"v": WEAVER}, layers=[], **options)


class Ragged(nn.Module):
    """A list of dictionaries, one a sample."""

    def __init__(self, tilt=0.0):
        super().__init__()
        torch.manual_seed(0)
        self.emb, self.layer, self.head, self.tilt = nn.Embedding(4, 3), nn.Linear(4, 8), nn.Linear(8, 2), tilt

    def forward(self, records):
        pos = torch.cat([record["pos"] for record in records])
        types = torch.cat([record["types"] for record in records])
        length = pos.norm(dim=-1, keepdim=True) + self.tilt * pos[:, 2:]
        h = torch.tanh(self.layer(torch.cat([length, self.emb(types)], -1)))
        sizes = [len(record["types"]) for record in records]
        return self.head(torch.stack([one.sum(0) for one in h.split(sizes)]))


@pytest.mark.parametrize("options", [{}, {"batch_size": 3}, {"n_rotations": 4}, {"group": "SO2"}], ids=str)
@pytest.mark.parametrize("library", [np.asarray, torch.as_tensor])
def test_a_list_of_dictionaries_is_one_sample_each(options, library):
    rng = np.random.default_rng(3)
    records = [
        {"pos": library(rng.normal(size=(n, 3))), "types": library(rng.integers(0, 4, size=n)), "name": "molecule"}
        for n in (3, 5, 5, 2)
    ]
    for net, holds in ((Ragged().double(), True), (Ragged(0.5).double(), options.get("group") == "SO2")):
        report = jetsym.probe(net, records, **QUIET | options)
        assert (abs(relative(report)) < 1e-12) == holds
        assert report.meta["moves"] == {"pos": "vector", "types": "held fixed"}
        assert report.meta["n_inputs"] == 4
        assert report.meta["tokens"]["layer"].startswith("points: rows")
    with pytest.raises(ProbeError, match="sample 1 holds 'pos'; expected 'pos', 'types'"):
        jetsym.probe(Ragged(), [records[0], {"pos": records[1]["pos"]}], **QUIET)


def test_axes_of_records_are_those_of_one_sample():
    rng = np.random.default_rng(3)
    records = [{"p": np.abs(rng.normal(size=(4, n))), "q": rng.normal(size=3)} for n in (3, 4)]
    move = jetsym.moves("four-vector", order="px py pz e", axis=0)
    model = lambda some: np.array([(one["p"][:3] ** 2).sum() + one["q"].sum() for one in some])  # noqa: E731
    assert abs(relative(jetsym.probe(model, records, moves={"p": move}, **QUIET))) < 1e-13
    assert relative(jetsym.probe(model, records, moves={"p": move, "q": "vector"}, **QUIET)) > 0.05


@pytest.mark.parametrize("form", [lambda x: x, lambda x: (x,), lambda x: {"x": x}, lambda x: [{"x": x[0]}]])
def test_masked_arrays_are_refused(form):
    points = np.random.default_rng(0).normal(size=(4, 5, 3))
    given = np.ma.masked_array(points, mask=points > 1)
    with pytest.raises(ProbeError, match=r"a masked array of numpy.*array\.filled"):
        jetsym.probe(lambda x: x.sum(1), form(given), **QUIET)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([np.ones((2, 3)), np.ones((2, 3))], "inputs of type list are not known.*a list of dictionaries"),
        (
            (np.ones((4, 3)), np.ones((2, 7), dtype=int)),
            r"hold \[2, 4\] samples.*all samples share goes in with",
        ),
        ({"x": np.ones((4, 3), dtype=int)}, "dtype int64"),
        ({}, "dtype none"),
        ((np.ones((4, 3)), np.array(["a"] * 4)), "expected numbers"),
        ((np.ones((4, 3)), [1, 2]), "inputs of type list are not known"),
    ],
)
def test_inputs_that_are_none_are_refused(inputs, message):
    with pytest.raises(ProbeError, match=message):
        jetsym.probe(lambda *x, **y: np.ones(4), inputs, **QUIET)


def test_others_take_the_same_inputs(arrays, tmp_path):
    tensors, net = {name: torch.as_tensor(array) for name, array in arrays.items()}, Net(0.3).double()
    options = {"moves": {"pos": "vector"}}
    expected = jetsym.probe(net, tensors, layers=[], **options, **QUIET | {"l_max": 4}).equivariance["output"]
    found = attribute(net, tensors, l_max=4, sources=["rounding"], progress=False, **options)
    assert found.equivariance["output"].absolute == pytest.approx(expected.absolute, rel=1e-6)
    average = orbit_average(net, tensors, **options)["output"]
    assert average.squared_error.mean() ** 0.5 == pytest.approx(expected.absolute, rel=1e-6)
    symmetrized = Symmetrized(net, "O3", 4, **options)
    np.testing.assert_allclose(symmetrized(**tensors).detach().numpy(), average.mean, atol=1e-4)
    torch.testing.assert_close(
        symmetrized(tensors["pos"], tensors["types"], **{k: tensors[k] for k in ("colours", "mask")}),
        symmetrized(*tensors.values()),
    )
    report = Monitor(tmp_path, tensors, every=1, **options)(net, 0)
    assert report.meta["moves"]["pos"] == "vector"
    baseline = jetsym.probe(net, tensors, baseline=Net().double(), layers=[], limit=4, **options, **QUIET).baseline
    assert abs(baseline.equivariance["output"].relative) < 1e-13
    assert baseline.meta["n_inputs"] == 4


def test_slopes_reach_what_moves(momenta):
    given = (torch.rand(B, 7, N).double(), momenta, torch.ones(B, 1, N))
    for net in (ChannelsFirst().double(), Tilted().double()):
        session = Session.of(net, given, None, moves={"v": WEAVER}, layers=[], progress=False)
        found = measure_generators(session, given, axes="beam")
        assert found.meta["method"] == "forward-mode"
        assert (found.squared.max() < 1e-20) == (type(net) is ChannelsFirst)
    # Energies alone: rotations leave them, boosts do not.
    assert found.squared[-1, :3].max() < 1e-20
    assert found.squared[-1, 3:].min() > 1e-4


class Tilted(ChannelsFirst):
    def forward(self, x, v, mask):
        return self.head((torch.tanh(self.conv(v[:, 3:])) * mask).sum(-1))


def test_jax_arrays_and_a_jitted_function():
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        rng = np.random.default_rng(5)
        points, colours = (jax.numpy.asarray(rng.normal(size=(3, 4, 3))) for _ in range(2))
        model = jax.jit(lambda points, colours: (points**2).sum((1, 2)) * colours.sum((1, 2)))
        given = {"points": points, "colours": colours}  # jax compiles for every shape: few of them
        options = {"moves": {"points": "vector"}, "method": "icosahedral", "progress": False, "l_max": 0}
        assert abs(relative(jetsym.probe(model, given, **options))) < 1e-13


@pytest.mark.parametrize(
    ("points", "options"),
    [
        (np.zeros((6, 3)), {}),
        (np.zeros((6, 4, 3)), {"group": "SO3", "n_rotations": 8}),
        (np.arange(1.0, 7)[:, None] * [0, 0, 1], {"group": "SO2"}),
        (np.arange(1.0, 7)[:, None] * [1, 1, 0], {"group": "SO2", "axis": (1, 1, 0)}),
        (np.arange(1.0, 7)[:, None, None] * [[1.0, 0, 0, 0]], {"group": "O3"}),
        (np.arange(1.0, 7)[:, None, None] * [[0.0, 0, 0, 0]], {"group": "boost", "axis": "x"}),
    ],
)
@pytest.mark.parametrize("measure", [jetsym.probe, jetsym.attribute])
def test_inputs_that_no_element_changes_tell_nothing(points, options, measure):
    """Every model is invariant on them, this one too, which is not."""
    if measure is jetsym.attribute:
        options = {name: value for name, value in options.items() if name != "n_rotations"}
    with pytest.raises(ProbeError, match=r"no input changes under .*: every model gives the same then"):
        measure(lambda x: 1 + x[..., 1].reshape(len(x), -1).sum(1), points, l_max=1, progress=False, **options)


def test_some_inputs_that_stay_do_not_hinder():
    points = np.random.default_rng(0).normal(size=(6, 3)) * np.array([[0], [0], [0], [0], [0], [1]])
    report = jetsym.probe(lambda x: 1 + x[:, 1], points, l_max=1, progress=False)
    square = (points**2).sum() / 3
    assert report.equivariance["output"].relative == pytest.approx(np.sqrt(square / (6 + square)))


@pytest.mark.parametrize("hidden", [-np.inf, -1e9, float(np.finfo("float32").min)])
@pytest.mark.parametrize("axes", [(), (1,), (1, 2)])
def test_numbers_that_hide_points_from_attention_are_a_mask(hidden, axes):
    """A layer that is invariant for real points, and holds a component for padding; its name tells nothing."""
    lengths = np.array([6, 5, 3, 4, 2, 6])
    real = np.arange(6) < lengths[:, None]
    points = torch.tensor(np.random.default_rng(0).normal(size=(6, 6, 3)))
    bias = torch.tensor(np.expand_dims(np.where(real, 0.0, hidden), axes))

    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Linear(1, 4)

        def forward(self, x, bias):
            bias = bias.reshape(len(x), 6)
            h = self.embed(torch.where((bias < -1)[..., None], 7 * x[..., :1], x.norm(dim=-1, keepdim=True)))
            return (torch.softmax(bias, 1)[..., None] * torch.tanh(h)).sum(1)

    net = Attending().double()
    options = {"outputs": {"y": "scalar"}, "layers": ["embed"], "l_max": 1, "progress": False}
    report = jetsym.probe(net, (points, bias), **options)
    assert report.meta["moves"]["bias"] == "held fixed, 0 for real points"
    assert report.fractions[0, 0] == pytest.approx(1, abs=1e-12)
    h = net.embed(points.norm(dim=-1, keepdim=True)).detach().numpy()
    assert report.norm[0] == pytest.approx((h**2).sum(-1)[real].sum() / len(points))


def test_numbers_that_hide_nothing_are_no_mask():
    points = np.random.default_rng(0).normal(size=(6, 4, 3))
    charges = np.where(np.arange(4) < 2, 0.0, -1e4) * np.ones((6, 1))
    report = jetsym.probe(
        lambda x, charges: (np.linalg.norm(x, axis=-1) * (2 + charges / 1e4)).sum(1),
        (points, charges),
        moves={"x": "vector"},
        l_max=1,
        progress=False,
    )
    assert report.meta["moves"]["charges"] == "held fixed"


@pytest.mark.parametrize("seed", range(4))
def test_a_group_of_two_moves_what_it_moves(seed):
    """Of few elements drawn all may be the identity; of the points all lie on the axis but the last."""
    name = f"turn{seed}"
    turn = np.diag([-1.0, -1.0, 1.0])
    register_group(FiniteGroup(name, np.stack([np.eye(3), turn]), {"A": [1, 1], "B": [1, -1]}))
    points = np.arange(1.0, 8)[:, None] * [0, 0, 1]
    with pytest.raises(ProbeError, match="no input changes under"):
        jetsym.probe(lambda x: 2 + x[:, 0], points, group=name, progress=False)
    points[-1] = [1.0, 0, 0]
    report = jetsym.probe(lambda x: 2 + x[:, 0], points, group=name, progress=False)
    assert report.equivariance["output"].absolute == pytest.approx(np.sqrt(1 / 7))
