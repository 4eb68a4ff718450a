"""Laws of layers, on networks of e3nn: three layouts, what modules say, and what they say in vain."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import jetsym
from jetsym.errors import ProbeError
from jetsym.probing.forward.laws import COPIES_FIRST, COPIES_LAST, FLAT, Law
from jetsym.probing.reports.spectrum import SymmetryReport
from jetsym.spectrum.irreps import parse_irreps

pytestmark = pytest.mark.filterwarnings("ignore")
o3 = pytest.importorskip("e3nn.o3")
POINTS = np.random.default_rng(0).normal(size=(6, 5, 3))


class Layout(nn.Module):
    """Hand features on in another layout, and say what they are."""

    def __init__(self, irreps: str, layout: str, *, says: str | None = None):
        super().__init__()
        self.irreps, self.layout = o3.Irreps(irreps), layout
        if says != "":
            self.irreps_out = says or irreps

    def forward(self, x):
        if self.layout == FLAT:
            return 1.0 * x
        parts, at = [], 0
        for n, irrep in self.irreps:
            parts.append(x[..., at : at + n * irrep.dim].unflatten(-1, (n, irrep.dim)))
            at += n * irrep.dim
        together = torch.cat(parts, dim=-1)
        return together if self.layout == COPIES_FIRST else together.mT.contiguous()


class Net(nn.Module):
    """Harmonics of points, mixed linearly, and in a layout."""

    def __init__(self, last: nn.Module, irreps: str = "4x0e+4x1o+4x2e"):
        super().__init__()
        torch.manual_seed(0)
        self.harmonics = o3.SphericalHarmonics("0e+1o+2e", normalize=False)
        self.linear = o3.Linear("0e+1o+2e", irreps)
        self.last = last

    def forward(self, points):
        return self.last(self.linear(self.harmonics(points))).flatten(2).square().sum((1, 2))


def report_on(net: nn.Module, **options):
    options = {"layers": ["linear", "last"], "l_max": 2, "progress": False} | options
    return jetsym.probe(net.double(), POINTS, **options)


@pytest.mark.parametrize("layout", [FLAT, COPIES_FIRST, COPIES_LAST])
def test_every_layout_is_read_and_obeys_below_the_floor(layout):
    report = report_on(Net(Layout("4x0e+4x1o+4x2e", layout)))
    assert report.meta["laws"] == {"linear": "4x0e+4x1o+4x2e", "last": "4x0e+4x1o+4x2e"}
    for name in ("linear", "last"):
        assert report.equivariance[name].is_within_rounding
        assert report.equivariance[name].noise_floor < 1e-13
        assert report.equivariance[name].kind == "4x0e+4x1o+4x2e"
    assert set(report.outputs) == {"output"}
    assert "2 layers whose law is known: equivariant under O3 to within rounding" in str(report)


def test_numbers_of_irreps_may_differ():
    irreps = "6x0e+3x1o+1x2e+2x0e"
    report = report_on(Net(Layout(irreps, FLAT), irreps))
    assert report.equivariance["last"].is_within_rounding
    assert report.equivariance["last"].kind == irreps


def test_a_layer_that_breaks_its_law_is_found_with_the_size_of_the_fault():
    class Faulty(Layout):
        def forward(self, x):
            x = super().forward(x)
            return x + 0.01 * torch.nn.functional.one_hot(torch.tensor(5), x.shape[-1])  # a vector's component

    report = report_on(Net(Faulty("4x0e+4x1o+4x2e", FLAT)))
    item, row = report.equivariance["last"], report.layers.index("last")
    assert report.equivariance["linear"].is_within_rounding
    # A constant in one component of a vector: all of it is error, for each of five points.
    assert item.absolute == pytest.approx(0.01 * np.sqrt(5), rel=1e-6)
    assert item.relative == pytest.approx(0.01 * np.sqrt(5) / np.sqrt(report.norm[row]), rel=1e-6)
    assert "1 of 2 layers whose law is known misses it under O3: the first is last" in str(report)


def test_what_does_not_turn_as_it_says_is_not_believed_and_named():
    report = report_on(Net(Layout("4x0e+4x1o+4x2e", FLAT, says="4x0e+4x1e+4x2e")))
    assert set(report.meta["laws"]) == {"linear"}
    assert any("Not believed" in note and "'last' (4x0e+4x1e+4x2e)" in note for note in report.meta["notes"])
    # Rotations know no parity: the same law is believed there.
    assert set(report_on(Net(Layout("4x0e+4x1o+4x2e", FLAT, says="4x0e+4x1e+4x2e")), group="SO3").meta["laws"]) == {
        "linear",
        "last",
    }


def test_what_does_not_fit_the_shape_is_not_believed():
    report = report_on(Net(Layout("4x0e+4x1o+4x2e", FLAT, says="4x0e+4x1o")))
    assert set(report.meta["laws"]) == {"linear"}
    assert any("Not read" in note and "'last' (4x0e+4x1o)" in note for note in report.meta["notes"])
    assert not any("Not read" in note for note in report_on(Net(Layout("4x0e+4x1o+4x2e", FLAT))).meta["notes"])


@pytest.mark.parametrize("own", ["2x0e", o3.Irreps("2x0e"), {"last": "4x0e+4x1o+4x2e"}], ids=repr)
@pytest.mark.parametrize("says", ["", None])
def test_irreps_that_a_plain_network_keeps_for_itself_say_nothing_of_its_layers(own, says):
    net = Net(Layout("4x0e+4x1o+4x2e", FLAT, says=says))
    before = report_on(net)
    net.irreps = own
    report = report_on(net)
    assert report.meta["laws"] == before.meta["laws"]
    np.testing.assert_allclose(report.fractions, before.fractions, atol=1e-12)


def test_irreps_of_a_network_that_knows_its_layers_are_a_mapping_or_are_not_read():
    class Knowing(Net):
        name = "knowing"

        def probe_layers(self, layers):
            return {"last": self.last}

        def probe_features(self, recorded):
            return recorded

    net = Knowing(Layout("4x0e+4x1o+4x2e", FLAT, says=""))
    for own, laws in [({"l*": "4x0e+4x1o+4x2e"}, {"last": "4x0e+4x1o+4x2e"}), ("4x0e+4x1o+4x2e", {})]:
        net.irreps = own
        assert report_on(net, layers="auto").meta["laws"] == laws


def test_a_caller_says_what_layers_are():
    net = Net(Layout("4x0e+4x1o+4x2e", COPIES_LAST, says=""))
    report = report_on(net, layers={"linear": None, "last": "4x0e+4x1o+4x2e"})
    assert set(report.meta["laws"]) == {"linear", "last"}
    # Said wrongly: it is measured all the same, as a caller may want to know.
    wrong = report_on(net, layers={"last": "4x0e+4x1e+4x2e"}).equivariance["last"]
    assert wrong.relative > 0.1
    with pytest.raises(ProbeError, match=r"layers says 'last' is '3x0e', but it is of shape \(5, 9, 4\)"):
        report_on(net, layers={"last": "3x0e"})
    with pytest.raises(ProbeError, match="layers says 'last' is 'vector'"):
        report_on(net, layers={"last": "vector"})


def test_outputs_are_irreps_as_well():
    class Features(Net):
        def forward(self, points):
            return self.linear(self.harmonics(points))

    item = report_on(Features(nn.Identity()), outputs={"features": "4x0e+4x1o+4x2e"}, layers=[]).equivariance
    assert item["features"].is_within_rounding
    assert item["features"].kind == "4x0e+4x1o+4x2e"
    assert (
        report_on(Features(nn.Identity()), outputs={"f": "4x0e+4x1e+4x2e"}, layers=[]).equivariance["f"].relative > 0.1
    )


@pytest.mark.parametrize("options", [{"group": "SO2", "axis": "x"}, {"method": "random", "n_rotations": 6}])
def test_laws_hold_under_other_groups_and_methods(options):
    report = report_on(Net(Layout("4x0e+4x1o+4x2e", COPIES_FIRST)), **options)
    assert set(report.meta["laws"]) == {"linear", "last"}
    assert all(item.is_within_rounding for item in report.equivariance.values())


def test_a_law_that_the_rule_does_not_resolve_is_said():
    report = report_on(Net(Layout("4x0e+4x1o+4x2e", FLAT)), l_max=1)
    assert report.meta["laws"] == {}
    assert any("'last' is said to be 4x0e+4x1o+4x2e, with λ up to 2" in note for note in report.meta["notes"])


def test_two_layouts_that_fit_are_none():
    irreps = "4x0e+4x1o"
    assert Law.fitting(irreps, (7, 4, 4)) is None
    assert Law.fitting(irreps, (7, 16)) == Law(parse_irreps(irreps), FLAT)
    assert Law.fitting(irreps, (7, 3, 4)) is None
    assert Law.fitting("no irreps", (7, 16)) is None


def test_reports_are_saved_and_read(tmp_path):
    report = report_on(Net(Layout("4x0e+4x1o+4x2e", FLAT)))
    report.save(tmp_path / "report.json")
    again = SymmetryReport.load(tmp_path / "report.json")
    assert again.meta["laws"] == report.meta["laws"]
    assert again.equivariance["last"].relative == report.equivariance["last"].relative
    assert again.hidden == ["linear", "last"]
    assert jetsym.diagnose(again) is not None
