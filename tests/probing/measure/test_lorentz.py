"""The Lorentz probe on models whose behaviour is known: invariants, windows, generators, and one report of all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import jetsym
from jetsym.errors import DataError, ProbeError
from jetsym.jets.kinematics import delta_phi, eta, mass2, phi, pt
from jetsym.jets.models.pointnet import PointNet
from jetsym.plotting import save_figure
from jetsym.probing.forward.session import Session
from jetsym.probing.measure import generators as lie
from jetsym.probing.reports.boosts import BoostReport
from jetsym.probing.reports.lorentz import LorentzReport
from jetsym.spectrum import O3

QUIET = {"progress": False, "l_max": 2}


@pytest.fixture
def jets(make_jets):
    return make_jets(6, seed=3, dtype=torch.float64, min_particles=3, max_particles=7)


@pytest.fixture
def tagger():
    torch.manual_seed(0)
    return PointNet(("QCD", "Tbqq", "Hbb"), width=16, blocks=2, heads=2).double()


def rapidity(p4):
    return torch.atanh((p4[..., 3] / p4[..., 0]).clamp(-1 + 1e-15, 1 - 1e-15))


class Angular(nn.Module):
    """A model on log pT, Δφ, and how far particles are from their jet along the beam, in one measure or another."""

    def __init__(self, along):
        super().__init__()
        self.along = along

    def forward(self, jets):
        p4 = torch.where(jets.mask[..., None], jets.p4, torch.ones_like(jets.p4))
        axis = jets.jet_p4[:, None]
        features = [pt(p4).log(), self.along(p4) - self.along(axis), delta_phi(phi(p4), phi(axis))]
        seen = torch.sin(torch.stack(features, dim=-1)) * jets.mask[..., None]
        return torch.cat([seen.sum(1), seen.square().sum(1)], dim=-1)


class Minkowski(nn.Module):
    """A model on the regularised logarithms of Minkowski products of particles, and of nothing else."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.mix = nn.Linear(4, 3).double()

    def forward(self, jets):
        p4 = jets.p4
        products = (p4[:, :, None, 0] * p4[:, None, :, 0]) - p4[..., 1:] @ p4[..., 1:].mT
        logs = torch.log(products.abs() + 1e-2) * (jets.mask[:, :, None] & jets.mask[:, None])
        return self.mix(torch.stack([logs.sum((1, 2)), *(logs.pow(k).mean((1, 2)) for k in (2, 3, 4))], dim=-1) / 100)


def error(model, jets, name="logits", **options):
    return jetsym.probe(model, jets, outputs={name: "scalar"}, **{**QUIET, **options}).equivariance[name]


ABOUT_THE_BEAM = ({"group": "SO2", "axis": "beam"}, {"group": "boost", "axis": "beam"})
EVERYTHING = (
    *ABOUT_THE_BEAM,
    {"group": "SO2", "axis": "jet"},
    {"group": "SO2", "axis": "random"},
    {"group": "O3"},
    {"group": "O3", "frame": "rest"},
    {"group": "boost", "axis": "jet"},
    {"group": "boost", "axis": "random"},
    {"group": "boost", "axis": [0.6, 0, 0.8]},
)


@pytest.mark.parametrize("options", ABOUT_THE_BEAM, ids=str)
def test_rapidity_differences_see_nothing_of_the_beam_s_symmetry(jets, options):
    assert abs(error(Angular(rapidity), jets, **options).relative) < 1e-10


def test_pseudorapidity_to_a_massive_jet_is_not_invariant_under_boosts_along_the_beam(jets):
    massive = jets.replace(jet_p4=jets.jet_p4 * torch.tensor([1.2, 1, 1, 1], dtype=torch.float64))
    assert abs(error(Angular(eta), massive, group="SO2", axis="beam").relative) < 1e-10
    assert abs(error(Angular(rapidity), massive, group="boost", axis="beam").relative) < 1e-10
    broken = error(Angular(eta), massive, group="boost", axis="beam")
    assert broken.relative > 1e-3 > broken.noise_floor
    assert abs(error(Angular(rapidity), massive, group="boost", axis="jet").relative) > 1e-3


@pytest.mark.parametrize("options", EVERYTHING, ids=str)
def test_minkowski_products_are_invariant_under_everything(jets, options):
    item = error(Minkowski(), jets, **options)
    assert abs(item.relative) < 1e-10
    assert abs(item.relative) <= 3 * item.noise_floor  # products of collinear momenta: one jet makes most of it


def test_the_rest_frame_is_the_jet_s_own(jets):
    """Energies are invariant under O(3) in the lab and not at rest; p·P/M under both."""

    def energies(batch):
        return batch.p4[:, :2, 0] / 100

    def at_rest(batch):
        total = torch.where(batch.mask[..., None], batch.p4, 0).sum(1)
        products = batch.p4[:, :2, 0] * total[:, None, 0] - (batch.p4[:, :2, 1:] * total[:, None, 1:]).sum(-1)
        return products / mass2(total)[:, None].sqrt()

    assert abs(error(energies, jets, "e").relative) < 1e-12
    assert error(energies, jets, "e", frame="rest").relative > 0.01
    assert abs(error(at_rest, jets, "e", frame="rest").relative) < 1e-9
    assert abs(error(at_rest, jets, "e").relative) < 1e-9


def test_window_energies_add_up_and_meet_the_slope(tagger, jets):
    """Σ_{n≥1} B_n = A²(y₀), and B_1/Var(y) → ‖L_K f‖² as y₀ → 0, for every layer."""
    report = jetsym.probe(tagger, jets, group="boost", axis="beam", l_max=4, widths=[1e-3, 0.3], progress=False)
    assert isinstance(report, BoostReport)
    assert np.all(report.energies[:, :, 1:].sum(-1) <= report.squared * (1 + 1e-12))
    np.testing.assert_allclose(report.energies[:, :, 1:].sum(-1), report.squared, rtol=1e-3)  # kinks reach beyond n = 4
    np.testing.assert_allclose(report.equivariance["logits"].relative, report.relative[-1, -1], rtol=1e-9)
    options = jetsym.domains.table.domain_of(jets), {"logits": "logits"}
    local = lie.measure_generators(Session(tagger, *options), jets, axes="beam")
    assert local.layers == report.layers
    np.testing.assert_allclose(report.energies[0, :, 1] / (1e-6 / 3), local.squared[:, 5], rtol=1e-4)


def test_forward_mode_and_central_differences_agree(tagger, jets):
    options = jetsym.domains.table.domain_of(jets), {"logits": "logits"}

    class WithoutForwardMode(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient

    class Opaque(nn.Module):
        def __init__(self):
            super().__init__()
            self.tagger = tagger

        def forward(self, batch):
            return WithoutForwardMode.apply(self.tagger(batch))

    for axes in ("beam", "jet"):
        forward = lie.measure_generators(Session(tagger, *options), jets, axes=axes)
        other = lie.measure_generators(Session(Opaque().float(), *options), jets, axes=axes)
        tagger.double()
        assert forward.meta["method"] == "forward-mode"
        assert other.meta["method"].startswith("central differences of 2.0e-03 in float64")
        np.testing.assert_allclose(forward.squared[-1], other.squared[-1], rtol=1e-3)  # kinks within the step


class Wrong(torch.autograd.Function):
    """The identity, with a forward-mode derivative that is none."""

    @staticmethod
    def forward(x):
        return x.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def jvp(ctx, tangent):
        return -2 * tangent


class Cut(nn.Module):
    """A network of momenta, through something that may cut its graph."""

    def __init__(self, through, dtype=torch.float64):
        super().__init__()
        torch.manual_seed(0)
        self.through, self.a, self.b = through, nn.Linear(4, 8, dtype=dtype), nn.Linear(8, 1, dtype=dtype)

    def forward(self, p4):
        return {"y": self.b(torch.tanh(self.a(self.through(p4)))).sum(1)}


CUTS = {
    "detach": lambda x: x.detach(),
    "some particles": lambda x: torch.cat([x[:, :1].detach(), x[:, 1:]], 1),
    "one input": lambda x: torch.cat([x[:1].detach(), x[1:]]),
    "data": lambda x: x.data + 0,
    "numpy": lambda x: torch.from_numpy(x.detach().numpy().copy()),
    "derivative of its own": Wrong.apply,
    "fine steps": lambda x: torch.round(x * 1e5) / 1e5,
    "no number": lambda x: x * (1 + 0 * torch.sqrt((x * 0).sum(-1, keepdim=True))),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("cut", CUTS)
def test_a_graph_that_is_cut_is_found(cut, dtype):
    """The slopes are those of the network without the cut, by differences, and the report says so."""
    rng = np.random.default_rng(0)
    momenta = rng.normal(size=(12, 3, 3))
    p4 = torch.tensor(np.concatenate([np.sqrt(1 + (momenta**2).sum(-1, keepdims=True)), momenta], -1)).to(dtype)

    def measured(through):
        session = Session.of(Cut(through, dtype), p4, {"y": "scalar"}, progress=False)
        return lie.measure_generators(session, p4, axes="beam"), lie.casimir(session, p4[:2], l_max=1)["y"]

    (expected, sides), (found, others) = measured(lambda x: x), measured(CUTS[cut])
    assert (expected.meta["method"], expected.meta["notes"]) == ("forward-mode", found.meta["notes"][:-1])
    assert found.meta["method"].startswith("central differences")
    assert "Slopes are central differences" in found.meta["notes"][-1]
    np.testing.assert_allclose(found.squared, expected.squared, rtol=1e-2 if cut == "fine steps" else 1e-4)
    assert others == pytest.approx(sides, rel=1e-2)
    assert "Slopes are central differences" in " ".join(str(found).split())


@pytest.mark.parametrize("through", [torch.abs, torch.relu, torch.round], ids=["abs", "relu", "round"])
def test_kinks_and_jumps_are_no_cut(through):
    p4 = torch.tensor(np.random.default_rng(1).normal(size=(12, 3, 4)))
    session = Session.of(Cut(through), p4, {"y": "scalar"}, progress=False)
    found = lie.measure_generators(session, p4, axes="beam")
    assert found.meta["method"] == "forward-mode"
    assert "do not see jumps" in found.sentence()


class Polynomials(nn.Module):
    """Harmonic polynomials of momenta up to λ = 3, and a constant."""

    def forward(self, p4):
        x, y, z = p4[..., 1:].unbind(-1)
        return {"u": torch.stack([x * 0 + 0.5, x, x * y, z * z - x * x, x * y * z, x.pow(3) - 3 * x * y * y], dim=-1)}


def test_slopes_are_the_casimir_of_the_spectrum():
    """∫ Σ_a‖J_a u‖² dμ = Σ λ(λ+1) B_λ for responses that the rule resolves, and not with one generator left out."""
    points = torch.as_tensor(np.random.default_rng(0).normal(size=(5, 4)))
    for group, inversion in (("O3", True), ("SO3", False)):
        report = jetsym.probe(Polynomials(), points, group=group, l_max=3, progress=False)
        options = (jetsym.domains.table.domain_of(points),)
        local = lie.casimir(Session(Polynomials(), *options), points, l_max=3, inversion=inversion)["u"]
        weights = [irrep.lam * (irrep.lam + 1) for irrep in report.irreps]
        assert local == pytest.approx(report.fractions[0] @ weights, rel=1e-10)
    partial = lie.measure_generators(Session(Polynomials(), *options), points, axes="beam").squared[0, :2].sum()
    assert partial != pytest.approx(report.fractions[0] @ weights, rel=1e-2)


def test_the_gap_between_slopes_and_spectrum_shrinks_with_l_max(tagger, jets):
    options = jetsym.domains.table.domain_of(jets), {"logits": "logits"}
    gaps = []
    for l_max in (1, 3):
        report = jetsym.probe(tagger, jets[:2], group="SO3", l_max=l_max, progress=False)
        local = lie.casimir(Session(tagger, *options), jets[:2], l_max=l_max, inversion=False)
        spectral = [row @ [irrep.lam * (irrep.lam + 1) for irrep in report.irreps] for row in report.fractions]
        gaps.append([abs(local[name] / value - 1) for name, value in zip(report.layers, spectral, strict=True)])
    assert np.all(np.array(gaps[1]) < 0.3 * np.array(gaps[0]))


def test_one_report_holds_all_three_parts(tagger, jets, tmp_path):
    report = jetsym.probe(tagger, jets, group="lorentz", widths=[0.2, 1.0], limit=4, baseline="untrained", **QUIET)
    assert isinstance(report, LorentzReport)
    assert list(report.compact) == ["O3 rest", "O3 lab", "SO2 jet", "SO2 beam"]
    assert list(report.windows) == ["beam", "jet", "random"]
    rest = jetsym.probe(tagger, jets, frame="rest", limit=4, **QUIET)
    assert report.equivariance["logits"].relative == pytest.approx(rest.equivariance["logits"].relative, rel=1e-12)
    assert set(report.casimir) == set(report.layers)
    assert len(report.sentences()) == 4
    assert report.baseline.layers == report.layers
    again = LorentzReport.load(report.save(tmp_path / "report.json"))
    assert str(again) == str(report)
    np.testing.assert_array_equal(again.windows["jet"].energies, report.windows["jet"].energies)
    assert again._repr_html_() == report._repr_html_()
    assert save_figure(again.plot(), tmp_path / "report.png").stat().st_size > 10_000
    assert save_figure(again.windows["beam"].plot(), tmp_path / "boosts.png").stat().st_size > 10_000
    with pytest.raises(DataError, match="kind 'lorentz'; expected 'boosts'"):
        BoostReport.load(tmp_path / "report.json")


def test_random_directions_belong_to_the_jets_and_the_seed(tagger, jets):
    options = {"group": "boost", "axis": "random", "widths": [0.5], **QUIET}
    one, two = (jetsym.probe(tagger, jets, batch_size=size, **options) for size in (512, 7))
    np.testing.assert_allclose(one.squared, two.squared, rtol=1e-10)
    other = jetsym.probe(tagger, jets, seed=1, **options)
    assert not np.allclose(one.squared, other.squared, rtol=1e-3)


def test_arrays_of_four_vectors_are_boosted_too():
    p4 = np.random.default_rng(0).normal(size=(5, 2, 4))
    p4[..., 0] = 1 + np.linalg.norm(p4[..., 1:], axis=-1)

    def model(p):
        return {"product": p[:, 0, 0] * p[:, 1, 0] - (p[:, 0, 1:] * p[:, 1, 1:]).sum(-1), "energy": p[:, 0, 0]}

    found = jetsym.probe(model, p4, group="boost", axis=[1, 2, 2], outputs={}, **QUIET).equivariance
    assert abs(found["product"].relative) < 1e-13
    assert found["energy"].relative > 0.1


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"frame": "rest", "group": "boost"}, ProbeError, "frame is 'rest', which the group 'boost' does not take"),
        ({"frame": "moving"}, ProbeError, "frame is 'moving'; expected one of 'lab', 'rest'"),
        ({"group": "lorentz", "axis": "jet"}, ProbeError, "axis is 'jet', which the group 'lorentz' does not take"),
        ({"group": "boost", "widths": []}, ProbeError, "at least one"),
        ({"group": "boost", "widths": [-1.0]}, ProbeError, "expected a list of numbers > 0"),
        ({"group": "boost", "widths": 3}, ProbeError, "expected a list of numbers > 0"),
        ({"group": "boost", "distribution": "cauchy"}, ProbeError, "'uniform', 'normal'"),
        ({"group": "boost", "l_max": "auto"}, ProbeError, "largest order"),
        (
            {"group": "boost", "outputs": {"logits": "vector"}},
            ProbeError,
            "whose law is known for rotations in the lab",
        ),
        ({"frame": "rest", "outputs": {"logits": (1, 1)}}, ProbeError, "whose law is known"),
        ({"group": "boost", "action": lambda x, r: x}, ProbeError, "must be jets or four-vectors"),
        (
            {"group": "boost", "inputs": np.ones((3, 3))},
            ProbeError,
            r"expected four-vectors \(…, 4\)",
        ),
        ({"frame": "rest", "inputs": np.ones((3, 4))}, ProbeError, "3 of 3 samples have no rest frame"),
        ({"group": "lorentz", "inputs": np.ones((3, 4))}, ProbeError, "3 of 3 samples have no rest frame"),
        ({"frame": "rest", "inputs": np.ones((3, 3))}, ProbeError, r"expected four-vectors \(…, 4\)"),
    ],
)
def test_what_cannot_be_measured_is_refused(tagger, jets, options, kind, message):
    inputs = options.pop("inputs", jets)
    with pytest.raises(kind, match=message):
        jetsym.probe(tagger, inputs, **{**QUIET, **options})


def test_jets_without_a_rest_frame_are_named(tagger, make_jets):
    single = make_jets(3, seed=1, dtype=torch.float64, min_particles=1, max_particles=1)
    p4 = single.p4.clone()
    p4[..., 0] = p4[..., 1:].norm(dim=-1)
    with pytest.raises(DataError, match="3 of 3 jets have no rest frame; the first is jet 0 of 1 particles"):
        jetsym.probe(tagger, single.replace(p4=p4), frame="rest", **QUIET)


def test_the_group_of_elements_is_the_one_that_is_named(jets):
    """Turns about the jet leave its axis where it is; the sum of constituents moves, unless it lies on the axis."""
    item = error(lambda batch: batch.jet_p4 / 100, jets, "axis", group="SO2", axis="jet")
    assert abs(item.relative) < 1e-12
    assert error(lambda batch: batch.jet_p4[:, 1:] / 100, jets, "axis", group="SO2", axis="random").relative > 0.1
    assert O3().has_inversion
