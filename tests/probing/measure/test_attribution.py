"""Attribution: models that break for one known reason each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import jetsym.probing.measure.attribution as module
from jetsym import SymmetryReport
from jetsym.errors import DataError, ProbeError
from jetsym.jets.models import ParticleNet, PointNet
from jetsym.probing.measure.attribution import attribute, paired_difference
from jetsym.probing.measure.combination import stderr_over_size
from jetsym.probing.measure.deviation import Errors
from jetsym.probing.probe import probe
from jetsym.probing.reports.attribution import Attribution, Effect, judged

QUIET = {"progress": False}


class Function(nn.Module):
    """Two logits (0, f) of a function of jets; cut, if it says so, to a number of particles."""

    probe_outputs = {"logits": "logits"}  # noqa: RUF012  # read only

    def __init__(self, function, max_particles=128):
        super().__init__()
        self.function, self.max_particles = function, max_particles

    def forward(self, jets):
        value = self.function(jets)
        return torch.stack([torch.zeros_like(value), value], dim=-1)


def energy(jets):
    return (jets.p4[..., 0] * jets.mask).sum(1) / 1000


def column(jets, name):
    return jets.scalars[..., jets.scalar_names.index(name)]


def with_d0(jets):
    """Invariant but for d0 · pz."""
    return energy(jets) + (column(jets, "d0val") * jets.p4[..., 3]).sum(1) / 100


@pytest.fixture(scope="module")
def jets(make_jets):
    return make_jets(12, seed=2, dtype=torch.float64, min_particles=5, max_particles=20)


def relative(report, source=None):
    item = report.equivariance["logits"] if source is None else report.effects["logits"][source].equivariance
    return item.relative, item.noise_floor


def test_impact_parameters_are_found(jets):
    report = attribute(Function(with_d0), jets, **QUIET)
    as_is, floor = relative(report)
    assert as_is > 0.01 > 1e6 * floor
    effects = report.effects["logits"]
    off, floor = relative(report, "impact parameters")
    assert off <= floor < 1e-10
    assert effects["impact parameters"].difference == pytest.approx(-as_is, rel=1e-12)
    assert effects["impact parameters"].difference_stderr > 0
    for name in ("charge", "particle flags", "padding"):
        assert relative(report, name)[0] == pytest.approx(as_is, rel=1e-12), name
        assert effects[name].difference_stderr < 1e-12
    assert "truncation" not in effects  # no jet is cut
    assert not any(effect.is_real for name, effect in effects.items() if name != "impact parameters")
    assert "Most of it comes from impact parameters: set to zero" in report.sentences()[0]


def test_as_it_is_is_what_the_probe_says(jets):
    jets, model = jets[:4], PointNet(width=8, blocks=1, heads=2).double()
    for where in ({}, {"frame": "rest"}, {"group": "SO2", "axis": "jet"}, {"group": "SO3"}):
        report = attribute(model, jets, l_max=2, sources=[], **where, **QUIET)
        whole = probe(model, jets, l_max=2, layers=[], **where, **QUIET)
        expected = whole.equivariance["logits"]
        found = report.equivariance["logits"].relative
        assert report.meta["unbiased"] == [name for name in whole.meta["unbiased"] if name == "logits"]
        assert found == pytest.approx(expected.relative, rel=1e-10)
        assert report.equivariance["logits"].relative_stderr == pytest.approx(expected.relative_stderr, rel=1e-8)
    boosts = {"group": "boost", "axis": "jet", "l_max": 3}
    report = attribute(model, jets, width=0.3, sources=[], **boosts, **QUIET)
    expected = probe(model, jets, widths=[0.3], layers=[], **boosts, **QUIET).equivariance["logits"]
    assert report.equivariance["logits"].relative == pytest.approx(expected.relative, rel=1e-2)  # may be unbiased


@pytest.mark.parametrize(("name", "scalar"), [("charge", "charge"), ("particle flags", "isPhoton")])
def test_charge_and_flags_are_found(jets, name, scalar):
    model = Function(lambda jets: energy(jets) + (column(jets, scalar) * jets.p4[..., 3]).sum(1) / 1000)
    report = attribute(model, jets, sources=["impact parameters", "charge", "particle flags"], **QUIET)
    for source, effect in report.effects["logits"].items():
        assert effect.is_real == (source == name)
    assert relative(report, name)[0] <= relative(report, name)[1]


def test_padding_is_found(jets):
    """A sum that takes an empty slot for a particle along the jet's pz."""

    def careless(jets):
        return energy(jets) + (~jets.mask).sum(1) * jets.jet_p4[:, 3] / 1e4

    full = jets[jets.n_particles == jets.n_particles.max()]
    full = full[[0] * 3]
    report = attribute(Function(careless, max_particles=40), full, sources=["charge", "padding"], **QUIET)
    assert relative(report)[0] <= relative(report)[1]
    assert relative(report, "padding")[0] > 0.01
    assert "invariant or equivariant as it is" in report.sentences()[0]
    assert "Padding (padded to 40 slots) adds" in report.sentences()[0]


def test_truncation_is_found(jets):
    """Invariant under rotations on any list; which particles are on it depends on where pT points."""
    report = attribute(Function(energy, max_particles=4), jets, **QUIET)
    assert relative(report)[0] <= relative(report)[1]
    effects = report.effects["logits"]
    assert {name for name, effect in effects.items() if effect.is_real} == {"truncation"}
    assert relative(report, "truncation")[0] > 1e-3
    # About the beam no pT changes, and the same particles are kept.
    beam = attribute(Function(energy, max_particles=4), jets, group="SO2", sources="truncation", **QUIET)
    assert relative(beam, "truncation")[0] <= relative(beam, "truncation")[1]


class Ill(nn.Module):
    """A small difference of large energies: rounding makes it depend on the order of summation after a boost."""

    probe_outputs = {"logits": "logits"}  # noqa: RUF012  # read only

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, jets):
        pair = jets.p4[:, 0].to(self.scale.dtype)
        mass2 = pair[:, 0] ** 2 - (pair[:, 1:] ** 2).sum(-1)
        value = 1e3 * self.scale * mass2
        return torch.stack([torch.zeros_like(value), value + 1.0], dim=-1)


def test_rounding_is_found(make_jets):
    jets = make_jets(8, seed=3, min_particles=5)
    report = attribute(Ill(), jets, **QUIET)
    as_is, _ = relative(report)
    off, floor = relative(report, "rounding")
    assert as_is > 1e3 * off
    assert off <= floor
    assert report.effects["logits"]["rounding"].change == "float64"
    double = attribute(Ill().double(), jets, sources=["rounding"], **QUIET)
    assert (report.meta["dtype"], double.meta["dtype"]) == ("float32", "float64")
    assert double.effects["logits"]["rounding"].adds
    assert relative(double, "rounding")[0] > 1e3 * relative(double)[0]


class Precise(nn.Module):
    """Invariant under rotations: a product of matrices that autocast rounds, of direction² − 1/3."""

    probe_outputs = {"logits": "logits"}  # noqa: RUF012  # read only

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2, bias=False)
        nn.init.constant_(self.linear.weight, 1.0)
        with torch.no_grad():
            self.linear.weight[0] = 0

    def forward(self, jets):
        direction = jets.jet_p4[:, 1:] / jets.jet_p4[:, 1:].norm(dim=-1, keepdim=True)
        return torch.tensor([0.0, 1.0]) + 100 * self.linear(direction**2 - 1 / 3)


def test_mixed_precision_is_found(make_jets):
    jets = make_jets(8, seed=4, min_particles=3)
    effects = attribute(Precise(), jets, **QUIET).effects["logits"]
    assert effects["mixed precision"].adds
    assert effects["mixed precision"].difference > 1e-3
    for name in ("charge", "padding"):
        assert abs(effects[name].difference) < 1e-4


class WithReference(Function):
    """Adds the projection on a reference vector, which it can do without."""

    def __init__(self, reference=(0.0, 0.0, 1.0)):
        super().__init__(self.value)
        self.register_buffer("reference", torch.tensor(reference, dtype=torch.float64))

    def value(self, jets):
        return energy(jets) + jets.jet_p4[:, 1:] @ self.reference / 1000

    def ablations(self):
        return {"reference vectors": WithReference((0.0, 0.0, 0.0))}


def test_references_are_found(jets):
    report = attribute(WithReference(), jets, **QUIET)
    assert relative(report)[0] > 0.1
    assert relative(report, "reference vectors")[0] <= relative(report, "reference vectors")[1]
    assert "Most of it comes from reference vectors" in report.sentences()[0]
    assert report.effects["logits"]["reference vectors"].change == "left out of the model"


def test_the_largest_part_may_be_small(jets):
    def mostly_momenta(jets):
        return with_d0(jets) / 100 + jets.jet_p4[:, 3] / 500

    report = attribute(Function(mostly_momenta), jets, sources=["impact parameters", "charge"], **QUIET)
    effect = report.effects["logits"]["impact parameters"]
    assert 0.5 < (effect.equivariance.relative / relative(report)[0]) ** 2 < 1.5
    expected = (
        "No source explains half of it; without impact parameters"
        if effect.is_real and effect.difference < 0
        else "No measurable part of it comes from"
    )
    assert expected in report.sentences()[0]


def test_nothing_explains_what_momenta_do(jets):
    report = attribute(Function(lambda jets: jets.jet_p4[:, 3]), jets, **QUIET)
    expected = (
        "No measurable part of it comes from impact parameters, charge or particle flags, switched off one at a time."
    )
    assert expected in report.sentences()[0]
    alone = attribute(Function(lambda jets: jets.jet_p4[:, 3]), jets, sources=["charge"], **QUIET)
    assert alone.sentences()[0].endswith("No measurable part of it comes from charge.")


@pytest.mark.slow
def test_the_sign_and_pseudorapidity_of_particlenet(jets):
    """Along the beam, features that the network can do without; about the beam nothing of them breaks."""
    torch.manual_seed(0)
    model = ParticleNet(("QCD", "Tbqq"), features="kin", k=4, channels=((8, 8),), hidden=8).double().eval()
    names = ["sign(η_jet) in Δη", "pseudorapidity for rapidity"]
    about = attribute(model, jets, group="SO2", sources=names, **QUIET)
    along = attribute(model, jets, group="boost", width=1.0, sources=names, **QUIET)
    for name in names:
        assert relative(about, name)[0] < 1e-9
        assert along.effects["logits"][name].difference != 0
    assert model.angles == "field"


def test_paired_errors_are_those_of_a_jackknife_by_hand():
    rng = np.random.default_rng(0)
    n = 9
    norm, switched, as_is = rng.uniform(1, 2, n), rng.uniform(0.1, 0.2, n), rng.uniform(0.2, 0.3, n)

    def difference(keep):
        return np.sqrt(switched[keep].sum() / norm[keep].sum()) - np.sqrt(as_is[keep].sum() / norm[keep].sum())

    value, stderr = paired_difference((switched, 7 * norm), (as_is, norm))  # the size as it is counts
    assert value == pytest.approx(difference(np.arange(n)))
    without = np.array([difference(np.delete(np.arange(n), i)) for i in range(n)])
    assert stderr == pytest.approx(np.sqrt((n - 1) * without.var()))
    assert np.isnan(paired_difference((switched[:1], norm[:1]), (as_is[:1], norm[:1]))[1])


def test_errors_of_a_are_of_one_kind(jets):
    """What a source changes nothing of has the error that it has as it is; elsewhere it is that of the ratio."""
    report = attribute(Function(with_d0), jets, sources=["charge", "impact parameters"], **QUIET)
    item, effects = report.equivariance["logits"], report.effects["logits"]
    assert effects["charge"].switched_stderr == pytest.approx(item.relative_stderr, rel=1e-9)
    assert item.absolute_stderr / item.absolute > 1.05 * item.relative_stderr / item.relative  # another kind
    rows = {row[1]: row[4] for row in report.rows("logits")}
    assert rows["charge"] == rows[""]
    older = replace(effects["charge"], switched_stderr=float("nan"))
    kept = replace(report, effects={"logits": {"charge": older}})
    assert "(" not in kept.rows("logits")[1][4]  # no error rather than one of another kind


def test_the_error_over_the_size_as_it_is_is_that_of_a_jackknife_by_hand():
    rng, n = np.random.default_rng(1), 7
    switched, as_is = (Errors(*rng.uniform(1, 2, (3, n)), rng.uniform(1, 2, (n, 1))) for _ in range(2))

    def squared(keep):
        return switched.squared[keep].sum() / as_is.norm[keep].sum()

    without = np.array([squared(np.delete(np.arange(n), i)) for i in range(n)])
    expected = np.sqrt((n - 1) * without.var()) / (2 * np.sqrt(squared(np.arange(n))))
    assert stderr_over_size((switched, as_is), (None, None)) == pytest.approx(expected)
    assert np.isnan(stderr_over_size((switched, as_is._replace(norm=np.zeros(n))), (None, None)))


def test_arrays_and_callables(jets):
    points = np.random.default_rng(0).normal(size=(5, 3))
    plain = attribute(lambda x: {"y": x[:, 2]}, points, l_max=1, **QUIET)
    assert plain.effects == {"y": {}}
    assert "no source was switched off" in plain.sentences()[0]
    called = attribute(lambda jets: with_d0(jets), jets, outputs={"y": "scalar"}, **QUIET)
    assert set(called.effects["y"]) == {"impact parameters", "charge", "particle flags", "padding"}
    wrapped = attribute(
        Function(with_d0), jets, call=lambda model, jets: {"a": model(jets)}, outputs={"a": "logits"}, **QUIET
    )
    assert wrapped.effects["a"]["impact parameters"].is_real


def test_report_is_kept(jets, tmp_path):
    report = attribute(Function(with_d0), jets, frame="rest", limit=4, **QUIET)
    assert any("at rest" in note for note in report.meta["notes"])
    loaded = Attribution.load(report.save(tmp_path / "a.json"))
    assert str(loaded) == str(report)
    assert "Relative A under O3 at rest, 4 inputs" in str(report)
    with pytest.raises(DataError, match="kind 'attribution'"):
        SymmetryReport.load(tmp_path / "a.json")
    boosted = attribute(Function(with_d0), jets, group="boost", axis="random", limit=2, sources=[], **QUIET)
    assert "boosts along random directions, rapidity up to 0.5" in " ".join(str(boosted).split())


def test_what_cannot_be_attributed_is_named(jets):
    model = Function(with_d0)
    with pytest.raises(ProbeError, match="no source 'truncatoin'.*the nearest are"):
        attribute(Function(with_d0, 4), jets, sources="truncatoin", **QUIET)
    with pytest.raises(ProbeError, match="group='lorentz'"):
        attribute(model, jets, group="lorentz", **QUIET)
    with pytest.raises(ProbeError, match="l_max='auto'"):
        attribute(model, jets, l_max="auto", **QUIET)
    with pytest.raises(ProbeError, match="batch_size is 0"):
        attribute(model, jets, batch_size=0, **QUIET)
    with pytest.raises(ProbeError, match="frame is 'rest'"):
        attribute(model, jets, group="SO2", frame="rest", **QUIET)
    with pytest.raises(ProbeError, match="whose law is known"):
        attribute(lambda jets: jets.jet_p4[:, 1:], jets, frame="rest", outputs={"v": "vector"}, **QUIET)


def test_a_source_that_fails_is_named(jets):
    class Stubborn(nn.Module):
        """Takes float64 and at most 20 slots."""

        def forward(self, jets):
            if jets.max_particles > 20:
                raise RuntimeError("too many\nslots")
            return energy(jets)[:, None] * torch.tensor([0.0, 1.0])

    with pytest.raises(ProbeError, match=r"'padding' cannot be switched \(too many\); choose other sources"):
        attribute(Stubborn(), jets, sources="padding", **QUIET)


def test_jets_are_read_whole(jetclass_file):
    path = str(jetclass_file(n=10))
    report = attribute(Function(energy, max_particles=3), path, limit=4, sources="truncation", **QUIET)
    assert relative(report)[0] < 1e-6 < relative(report, "truncation")[0]
    assert report.meta["n_inputs"] == 4


def test_elements_and_jets_are_the_same(jets, monkeypatch):
    """A source that changes nothing has no difference at all, also about random axes."""
    same = module.Source("nothing", "nothing", inputs=jets)
    monkeypatch.setattr(module, "_precisions", lambda *_: [same])
    report = attribute(Function(with_d0), jets, group="SO2", axis="random", sources="nothing", **QUIET)
    effect = report.effects["logits"]["nothing"]
    assert [effect.difference, effect.difference_stderr] == pytest.approx([0, 0], abs=1e-14)


def test_a_size_that_changes_is_no_source(jets):
    """Charges set to zero make the output a hundred times smaller, and leave A as it is."""

    def model(jets):
        return 100 * (column(jets, "charge") ** 2 * jets.mask).sum(1) + jets.jet_p4[:, 3] / 100

    report = attribute(Function(model), jets, sources=["charge", "impact parameters"], **QUIET)
    effect = report.effects["logits"]["charge"]
    assert effect.equivariance.relative > 10 * report.equivariance["logits"].relative
    assert abs(effect.difference) < 1e-12
    assert not effect.is_real
    assert "No measurable part of it comes from charge or impact parameters" in report.sentences()[0]


def fields(rng, n, amount):
    """Seven sources of noise that stand for nothing: each changes A of every input by chance."""
    return {f"source {place}": 1 + amount * rng.normal(size=n) for place in range(7)}


def test_of_seven_sources_that_do_nothing_none_is_found():
    """In 1000 draws, something is said in about 5 %, where each by itself would be in 30 %."""
    rng, n, said, alone = np.random.default_rng(0), 16, 0, 0
    norm = np.ones(n)
    for _ in range(1000):
        before = rng.gamma(4, size=n)
        effects = {}
        for name, factor in fields(rng, n, 0.1).items():
            difference, stderr = paired_difference((before * factor, norm), (before, norm))
            effects[name] = Effect("", False, None, difference, stderr)
        found = judged({"y": effects}, n)["y"].values()
        said += any(effect.is_real for effect in found)
        alone += any(abs(effect.difference) > 2 * effect.difference_stderr for effect in found)
    assert said < 70
    assert alone > 200


def test_what_lies_beyond_the_rule_is_attributed_by_held_out_elements(jets):
    """cos 9φ about the beam is invisible to a rule for m ≤ 2 of nine angles; switched off, A falls to nothing."""

    def model(jets):
        phi = torch.atan2(jets.jet_p4[:, 2], jets.jet_p4[:, 1])
        charged = (column(jets, "charge") ** 2 * jets.mask).sum(1).clamp(max=1)
        return 2 + charged * torch.cos(9 * phi)

    options = {"group": "SO2", "l_max": 2, "sources": ["charge", "impact parameters"], **QUIET}
    report = attribute(Function(model), jets, **options)
    item, effects = report.equivariance["logits"], report.effects["logits"]
    assert item.relative == pytest.approx((0.5 / 4.5) ** 0.5, abs=4 * item.relative_stderr)
    assert effects["charge"].is_real
    assert effects["charge"].difference == pytest.approx(-item.relative, rel=0.05)
    assert not effects["impact parameters"].is_real
    assert report.meta["unbiased"] == ["logits"]
    assert "Most of it comes from charge" in report.sentences()[0]
    assert "held-out elements tell the differences" in report.sentences()[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_difference_is_bounded_by_the_coarser_rounding_of_the_two(dtype):
    """A of an invariant network is zero in bfloat16, by chance: by how much it may differ is what that rounds by."""
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Linear(7, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3)).to(dtype)

    class Lengths(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = layers

        def forward(self, x):
            return self.layers(x.norm(dim=-1))

    points = torch.tensor(np.random.default_rng(1).normal(size=(12, 7, 3)), dtype=dtype)
    report = attribute(Lengths(), points, outputs={"y": "scalar"}, progress=False)
    effect = report.effects["y"]["mixed precision"]
    assert not effect.is_real
    (row,) = [row for row in report.rows("y") if row[1] == "mixed precision"]
    bound = float(row[5].removeprefix("<"))
    assert bound >= 3 * effect.equivariance.noise_floor > 1e-5


@pytest.mark.parametrize("group", ["O3", "SO3", "SO2"])
def test_a_width_is_of_boosts(group):
    points = torch.tensor(np.random.default_rng(1).normal(size=(3, 7, 3)))
    with pytest.raises(ProbeError, match=f"width is 2.0, which is of boosts, and this is group='{group}'"):
        attribute(lambda x: x.norm(dim=-1).sum(-1), points, group=group, width=2.0, progress=False)
