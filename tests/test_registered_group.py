"""A group that the package does not know, C₄ about the beam, joins by the public registry alone: nothing else is told.

It is given by its elements and its real irreps; it is probed, averaged over, moved by in training and reported.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import jetsym
from jetsym import symmetry as names
from jetsym.errors import ConfigError, ProbeError
from jetsym.jets.moves.actions import rotate, transform
from jetsym.jets.moves.augmentation import AugmentationConfig, augment
from jetsym.plotting import figure_of
from jetsym.probing.diagnosis.page import report_page
from jetsym.probing.measure.attribution import attribute
from jetsym.probing.measure.average import orbit_average
from jetsym.probing.probe import MEASUREMENTS
from jetsym.remedies.symmetrized import Symmetrized
from jetsym.spectrum import FiniteGroup, register_group
from jetsym.symmetry import Symmetry
from jetsym.training.config import TrainConfig
from jetsym.training.penalty import penalties_of

QUIET = {"progress": False}
TURN = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
TURNS = np.stack([np.linalg.matrix_power(TURN, k) for k in range(4)])
#: A does not change, B changes its sign with every turn, E turns: the modes m = 0, 2 and ±1.
IRREPS = {"A": [1, 1, 1, 1], "B": [1, -1, 1, -1], "E": TURNS[:, :2, :2]}


@pytest.fixture(autouse=True)
def c4() -> FiniteGroup:
    """C₄, known while a test runs."""
    group = FiniteGroup("C4", TURNS, IRREPS)
    register_group(group, words="quarter turns about the beam")
    return group


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(16, 3))


def features(x):
    """One function in every irrep, and one that holds two of them, three to one in power."""
    phi, rho = np.arctan2(x[:, 1], x[:, 0]), np.hypot(x[:, 0], x[:, 1])
    return {
        "height": x[:, 2],
        "fourfold": np.cos(4 * phi),
        "quadrupole": rho * np.cos(2 * phi - 1),
        "turning": np.stack([np.cos(phi), np.sin(phi)], axis=-1),
        "threefold": np.cos(3 * phi),
        "both": 3**0.5 + np.sign(np.cos(2 * phi)),
    }


def test_it_is_probed(points):
    report = jetsym.probe(features, points, group="c4", **QUIET)
    assert [str(irrep) for irrep in report.irreps] == ["A", "B", "E"]
    found = dict(zip(report.layers, report.fractions, strict=True))
    for name, fractions in {
        "height": [1, 0, 0],
        "fourfold": [1, 0, 0],
        "quadrupole": [0, 1, 0],
        "turning": [0, 0, 1],
        "both": [0.75, 0.25, 0],
    }.items():
        np.testing.assert_allclose(found[name], fractions, atol=1e-12)
    np.testing.assert_allclose(report.tail, 0, atol=1e-12)
    error = report.equivariance
    assert error["height"].relative < 1e-12
    assert error["both"].relative == pytest.approx(0.5)
    assert error["both"].error_spectrum == pytest.approx({"B": 0.25, "E": 0})
    assert (report.meta["group"], report.meta["n_rotations"], report.meta["frame"]) == ("C4", 4, "lab")


def test_outputs_that_turn_keep_their_law(points):
    kinds = {"kept": "vector", "fixed": "vector", "square": "rank2"}

    def model(x):
        return {"kept": x, "fixed": x + np.array([1, 0, 1]), "square": x[:, :, None] * x[:, None]}

    error = jetsym.probe(model, points, group="C4", outputs=kinds, **QUIET).equivariance
    assert error["kept"].relative < 1e-12
    assert error["square"].relative < 1e-12
    # The step along the beam is allowed, that along x is not: it stays where it is, in the wrong irrep.
    assert error["fixed"].absolute == pytest.approx(1)
    assert error["fixed"].leakage * (error["fixed"].absolute / error["fixed"].relative) ** 2 == pytest.approx(1)
    assert error["fixed"].misalignment == pytest.approx(0, abs=1e-12)


def test_l_max_has_no_meaning_and_random_elements_are_refused(points):
    few, settled = (jetsym.probe(features, points, group="C4", l_max=l_max, **QUIET) for l_max in (0, "auto"))
    assert np.allclose(few.fractions, settled.fractions)
    assert settled.meta["resolution"]["agreed"]
    with pytest.raises(jetsym.JetsymError, match="4 elements, all of which are evaluated; leave out method='random'"):
        jetsym.probe(features, points, group="C4", method="random", **QUIET)
    with pytest.raises(ProbeError, match="axis is 'x', which the group 'C4' does not take"):
        jetsym.probe(features, points, group="C4", axis="x", **QUIET)


def test_it_is_reported(points, tmp_path):
    report = jetsym.probe(features, points, group="C4", **QUIET)
    loaded = jetsym.SymmetryReport.load(report.save(tmp_path / "c4.json"))
    assert (loaded.irreps, str(loaded)) == (report.irreps, str(report))
    for text in (str(report), report_page(report, report.plot())):
        assert "C4" in text
        assert "The invariant part A is 100 % of the power in height" in text
    drawn = figure_of(report.plot()).axes
    named = [[text.get_text() for text in ax.get_legend().get_texts()] for ax in drawn]
    assert named == [["A"], ["B", "E"]] or named == [["B", "E"], ["A"]]
    assert report.to_dataframe().query("layer == 'both' and irrep == 'B'").fraction.item() == pytest.approx(0.25)
    table = str(jetsym.compare(report, loaded))
    assert "B (%)" in table
    assert "λ" not in table.splitlines()[2]
    assert "under quarter turns about the beam" in str(attribute(features, points, group="c4", l_max=1, **QUIET))


def layered():
    """A model whose second layer holds directions in the plane alone, nothing of A; one output of A, one of E."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Identity(), nn.Identity()

        def forward(self, x):
            plane = self.first(x) * torch.tensor([1.0, 1.0, 0.0])
            second = self.second(plane / plane.norm(dim=-1, keepdim=True))
            return {"y": (second**4).sum(dim=-1), "v": 2 * second}

    return Net()


def test_what_has_no_λ_is_not_judged_by_it(points):
    options = {"outputs": {"y": "scalar", "v": "vector"}, "layers": ["first", "second"], "l_max": "auto"}
    report = jetsym.probe(layered(), points, group="C4", **options, **QUIET)
    found = jetsym.diagnose(report)
    unnamed = "the irreps of C4 have names in place of λ"
    for mode in ("bottleneck", "saturation", "parity-contamination", "parity-blindness"):
        assert found.not_judged[mode] == unnamed
    # The second layer holds nothing of A, but what is read from it is exactly invariant all the same: nothing starves.
    assert "starvation" not in found
    (late,) = [finding for finding in found if finding.name == "late-collapse"]
    assert late.subject == "second"
    assert "% of second is not invariant" in late.text
    assert late.irreps == ("A",)
    assert "λ" not in "".join(finding.text for finding in found)
    assert "starvation" not in jetsym.diagnose(report, needs={"v": ["E"]})
    starved = jetsym.diagnose(report, needs={"v": ["B"]})
    assert ("B",) in [finding.irreps for finding in starved if finding.name == "starvation"]
    with pytest.raises(ProbeError, match="needs names 'F', which is no irrep of the report"):
        jetsym.diagnose(report, needs={"v": ["F"]})


def test_a_tail_of_a_table_is_no_matter_of_l_max(points):
    register_group(FiniteGroup("C4 less", TURNS, {"A": IRREPS["A"], "E": IRREPS["E"]}))
    options = {"group": "C4 less", "outputs": {"both": "scalar"}, **QUIET}
    report = jetsym.probe(lambda x: {"both": features(x)["both"]}, points, l_max="auto", **options)
    found = jetsym.diagnose(report)
    assert "saturation" in found.not_judged
    assert not any(finding.options for finding in found)
    page = report_page(report, report.plot())
    for words in ("l_max", "λ = 1 transforms", "quadrupole", "grid"):
        assert words not in page
    assert "A is invariant;" in page
    # A vector needs no λ = 1 here.
    vector = jetsym.probe(lambda x: {"v": x}, points, group="C4", outputs={"v": "vector"}, l_max=0, **QUIET)
    assert vector.equivariance["v"].error_exact_to is None


def test_it_stands_beside_other_groups(points):
    here = jetsym.probe(features, points, group="C4", **QUIET)
    there = jetsym.probe(features, points, group="SO3", l_max=2, **QUIET)
    compared = jetsym.compare(here, there, names=["here", "there"])
    assert list(compared.orders) == ["A", "B", "E", "λ = 0", "λ = 1", "λ = 2"]
    rows = [(name, dict(zip(compared.header, cells, strict=True))) for name, cells in compared.rows()]
    quadrupole = {name: cells for name, cells in rows if cells["layer"] == "quadrupole"}
    assert quadrupole["here"]["bandwidth"] == quadrupole["here"]["λ = 1 (%)"] == quadrupole["there"]["B (%)"] == "—"
    assert quadrupole["here"]["B (%)"].startswith("100")
    assert [text for text in compared.sentences() if text.startswith("here")] == []
    frame = compared.to_dataframe().query("report == 'here'")
    assert set(frame.quantity) == {"A", "B", "E", "tail", "unexplained", "relative A", "A / spread"}
    assert here.to_dataframe().lam.isna().all()
    bandwidths, shares = compared.plot().axes[1], compared.plot().axes[0]
    assert bandwidths.get_legend_handles_labels()[1] == ["there"]
    assert {"A", "λ = 1"} <= {text.get_text() for text in shares.get_legend().get_texts()}


def test_a_table_that_is_not_complete_leaves_a_tail(points):
    register_group(FiniteGroup("C4 less", TURNS, {"A": IRREPS["A"], "E": IRREPS["E"]}))
    report = jetsym.probe(lambda x: {"both": features(x)["both"]}, points, group="C4 less", **QUIET)
    np.testing.assert_allclose(report.tail, 0.25)
    assert "% of both lies beyond the table of irreps." in str(report)


def test_predictions_are_averaged_over_it(points):
    average = orbit_average(features, points, group="C4")["both"]
    np.testing.assert_allclose(average.mean, 3**0.5)
    np.testing.assert_allclose(average.squared_error, 1)
    x = torch.as_tensor(points)
    model = Symmetrized(lambda x: x[:, 0] ** 2, "C4", 2)
    torch.testing.assert_close(model(x), (x[:, 0] ** 2 + x[:, 1] ** 2) / 2)


def test_jets_are_moved_by_it(make_jets):
    jets = make_jets(64)
    moved = augment(jets, AugmentationConfig("c4"), generator=torch.Generator().manual_seed(0))
    choices = rotate(jets, torch.as_tensor(TURNS)).p4.reshape(4, *jets.p4.shape)
    fits = torch.isclose(moved.p4, choices, atol=1e-3).all(dim=-1).all(dim=-1)  # (turns, jets)
    assert fits.any(dim=0).all()
    assert (fits.sum(dim=1) > 4).all()  # every turn is drawn, and by each jet for itself
    config = TrainConfig("a.root", augmentation={"group": "C4"}, penalty={"weight": 1.0, "moves": {"group": "c4"}})
    assert TrainConfig.from_dict(config.to_dict()) == config
    (penalty,) = penalties_of(config.penalty)
    generator = torch.Generator().manual_seed(0)
    assert penalty(lambda jets: jets.jet_p4[:, [0, 3]], jets, generator) < 1e-6
    assert penalty(lambda jets: jets.jet_p4[:, 1:3], jets, generator) > 1


def test_jets_are_probed_at_rest_and_in_the_lab(make_jets):
    jets = make_jets(4, min_particles=5)

    class Tagger(nn.Module):
        def forward(self, jets):
            return torch.stack([jets.p4[..., 3].sum(dim=1), jets.p4[..., 1].square().sum(dim=1)], dim=1)

    for frame in ("lab", "rest"):
        report = jetsym.probe(Tagger(), jets, group="C4", frame=frame, outputs={"y": "scalar"}, layers=[], **QUIET)
        assert report.fractions[0].sum() == pytest.approx(1, abs=1e-5)
        assert report.equivariance["y"].relative > 0.01
        moved = augment(jets, AugmentationConfig("C4", frame=frame), generator=torch.Generator().manual_seed(0))
        assert not torch.equal(moved.p4, jets.p4)
        torch.testing.assert_close(moved.p4[..., 0].sum(dim=1), jets.p4[..., 0].sum(dim=1))


def test_elements_may_be_lorentz_transformations(make_jets):
    mirror = np.stack([np.eye(4), np.diag([1.0, 1.0, 1.0, -1.0])])
    register_group(FiniteGroup("forward-backward", mirror, {"even": [1, 1], "odd": [1, -1]}))
    p4 = np.random.default_rng(0).normal(size=(6, 4))
    report = jetsym.probe(lambda p: {"pz": p[:, 3], "pt": p[:, 1]}, p4, group="Forward-Backward", **QUIET)
    np.testing.assert_allclose(report.fractions, [[0, 1], [1, 0]], atol=1e-12)
    assert [item.relative for item in report.equivariance.values()] == pytest.approx([1, 0], abs=1e-12)
    wrong = r"has shape \(6, 3\); expected four-vectors \(…, 4\)"
    with pytest.raises(ProbeError, match=wrong):
        jetsym.probe(lambda p: p[:, 0], p4[:, 1:], group="forward-backward", **QUIET)
    with pytest.raises(ProbeError, match="whose law is known"):
        jetsym.probe(lambda p: p, p4, group="forward-backward", outputs={"p": "four-vector"}, **QUIET)
    jets = make_jets(16)
    moved = augment(jets, AugmentationConfig("forward-backward"), generator=torch.Generator().manual_seed(0))
    back = transform(jets, torch.as_tensor(mirror[1:]))
    flipped = (moved.p4 == back.p4).flatten(1).all(dim=1)
    assert 2 < int(flipped.sum()) < 14
    assert (moved.p4 == jets.p4).flatten(1).all(dim=1)[~flipped].all()
    with pytest.raises(ConfigError, match="frame is 'rest', which the group 'forward-backward' does not take"):
        AugmentationConfig("forward-backward", frame="rest")


def test_a_group_may_bring_its_own_measurement(make_jets, monkeypatch):
    """Dilations p → s p, which have no Haar measure: a name, and a row in the probe's table of measurements."""
    names.register(names.NamedGroup("dilation", "dilations", is_compact=False, on_four_vectors=True))
    scales, asked = np.exp(np.linspace(-1, 1, 5)), {}

    def measure(session, inputs, symmetry, **options):
        inputs, action = session.act(inputs, symmetry)
        asked.update(options)

        def report(session, title):
            with session.open(inputs, action) as (running, placed):
                return {
                    name: np.asarray(y) for name, y in running.along(placed, scales[:, None, None] * np.eye(4)).items()
                }

        return report

    monkeypatch.setitem(MEASUREMENTS, "dilation", measure)
    options = {"group": "Dilation", "outputs": {"y": "scalar"}, "layers": [], "widths": (0.5,), "l_max": 3, **QUIET}
    p4 = np.random.default_rng(0).normal(size=(6, 2, 4))
    found = jetsym.probe(lambda p: {"y": p.sum(axis=1)[:, 0]}, p4, **options)["y"]
    np.testing.assert_allclose(found, scales[:, None] * p4.sum(axis=1)[:, 0], rtol=1e-12)
    assert (asked["l_max"], asked["widths"]) == (3, (0.5,))
    jets = make_jets(4)
    tagger = lambda jets: {"y": jets.p4[..., 0].sum(dim=1) * jets.jet_p4[:, 3]}  # noqa: E731
    found = jetsym.probe(tagger, jets, **options)["y"]
    np.testing.assert_allclose(found, scales[:, None] ** 2 * tagger(jets)["y"].numpy(), rtol=1e-5)
    with pytest.raises(ConfigError, match="augmentation.group is 'dilation'; expected one of 'none', 'SO2'"):
        _ = AugmentationConfig("dilation").symmetry  # from which no random elements can be drawn
    with pytest.raises(ProbeError, match="group='dilation' with l_max=1 is for jetsym.probe"):
        attribute(lambda p: p[:, 0, 0], p4, group="dilation", l_max=1, **QUIET)


def test_a_report_is_read_where_the_group_is_not_known(points, tmp_path, monkeypatch):
    path = jetsym.probe(features, points, group="C4", **QUIET).save(tmp_path / "c4.json")
    monkeypatch.delitem(names.GROUPS, "c4")
    loaded = jetsym.SymmetryReport.load(path)
    assert [str(irrep) for irrep in loaded.irreps] == ["A", "B", "E"]
    assert Symmetry.from_dict(loaded.meta).words == "C4"
    assert "C4" in str(loaded)
