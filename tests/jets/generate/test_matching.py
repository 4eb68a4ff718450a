"""Truth matching on hand-made event records."""

from __future__ import annotations

import numpy as np
import pytest

from jetsym.jets.generate.matching import Event, delta_r, find_parents, match
from jetsym.jets.generate.processes import PROCESSES
from jetsym.jets.schema import CLASSES


def make_event(rows: list[tuple[int, int, tuple[int, int], tuple[float, float, float]]]) -> Event:
    """An event of (pid, status, (first, last daughter), (pT, η, φ)); entry 0 is the system, as in Pythia."""
    rows = [(90, -11, (0, 0), (1.0, 0.0, 0.0)), *rows]
    pt, eta, phi = np.array([row[3] for row in rows]).T
    return Event(
        pid=np.array([row[0] for row in rows], dtype=np.int32),
        status=np.array([row[1] for row in rows], dtype=np.int32),
        first_daughter=np.array([row[2][0] for row in rows], dtype=np.int32),
        last_daughter=np.array([row[2][1] for row in rows], dtype=np.int32),
        momentum=np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], axis=1),
    )


def higgs_to_ww(lepton: int, neutrino: int) -> Event:
    """A Higgs with one recoil copy, W → u d̄ and W → ℓ ν; the lepton radiates a photon and moves."""
    return make_event(
        [
            (25, -22, (2, 2), (500, 0.0, 0.0)),
            (25, -62, (3, 4), (520, 0.1, 0.2)),
            (24, -22, (5, 6), (300, 0.1, 0.2)),
            (-24, -22, (7, 8), (220, 0.1, 0.2)),
            (2, -23, (0, 0), (200, 0.3, 0.2)),
            (-1, -23, (0, 0), (100, -0.1, 0.2)),
            (lepton, -23, (9, 10), (120, 0.1, 0.7)),
            (neutrino, 23, (0, 0), (100, 3.0, 0.2)),
            (lepton, 51, (0, 0), (110, 0.1, 0.6)),
            (22, 51, (0, 0), (10, 0.1, 0.9)),
        ]
    )


def test_delta_r_goes_across_pi() -> None:
    assert delta_r(1.0, np.pi - 0.1, 1.0, -np.pi + 0.1) == pytest.approx(0.2)
    assert delta_r(1.3, -3.0, 1.0, -3.4) == pytest.approx(0.5)


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_has_a_process_and_jetclass_s_file_name(name: str) -> None:
    stems = ["ZJetsToNuNu", "HToBB", "HToCC", "HToGG", "HToWW4Q", "HToWW2Q1L", "ZToQQ", "WToQQ", "TTBar", "TTBarLep"]
    assert PROCESSES[name].file_stem == stems[CLASSES.index(name)]
    assert list(PROCESSES) == list(CLASSES)


def test_a_semileptonic_higgs_needs_two_quarks_and_the_radiated_lepton() -> None:
    (parent,) = find_parents(higgs_to_ww(11, -12), PROCESSES["Hqql"])
    assert (parent.pid, parent.truth_match) == (25, 46)
    assert (parent.pt, parent.eta, parent.phi) == pytest.approx((520, 0.1, 0.2))  # the copy that decays
    np.testing.assert_allclose(parent.products, [[0.3, 0.2], [-0.1, 0.2], [0.1, 0.6]], atol=1e-12)
    assert find_parents(higgs_to_ww(11, -12), PROCESSES["H4q"]) == []
    assert find_parents(higgs_to_ww(15, -16), PROCESSES["Hqql"]) == []  # taus are not leptons here


def test_all_products_have_to_lie_in_the_jet_but_no_neutrino() -> None:
    parents = find_parents(higgs_to_ww(13, -14), PROCESSES["Hqql"])
    assert match(0.1, 0.2, parents, radius=0.8) == 0
    assert match(0.1, -0.19, parents, radius=0.8) == 0
    assert match(0.1, -0.21, parents, radius=0.8) is None  # the lepton is 0.81 away
    assert match(0.0, 0.0, [], radius=0.8) is None


@pytest.mark.parametrize(
    ("quarks", "code"), [((2, -1), 12), ((4, -3), 11), ((2, -3), 12), ((2, -5), 11), ((4, -5), 11)]
)
def test_hadronic_tops_carry_jetclass_s_code(quarks: tuple[int, int], code: int) -> None:
    event = make_event(
        [
            (6, -62, (2, 3), (600, 0.0, 3.0)),
            (24, -22, (4, 4), (400, 0.0, 3.1)),
            (5, -23, (0, 0), (200, 0.1, 3.0)),
            (24, -52, (5, 6), (400, 0.0, 3.1)),
            (quarks[0], -23, (0, 0), (200, 0.2, -3.1)),
            (quarks[1], -23, (0, 0), (200, -0.2, 3.0)),
        ]
    )
    (parent,) = find_parents(event, PROCESSES["Tbqq"])
    assert (parent.truth_match, len(parent.products)) == (code, 3)
    assert find_parents(event, PROCESSES["Tbl"]) == []


@pytest.mark.parametrize(
    ("name", "parent", "products", "code"),
    [
        ("Tbl", 6, (5, -11), 15),
        ("Tbl", -6, (-5, 13), 16),
        ("Wqq", 24, (2, -1), 22),
        ("Wqq", -24, (-4, 3), 21),
        ("Zqq", 23, (5, -5), 31),
        ("Zqq", 23, (4, -4), 32),
        ("Zqq", 23, (3, -3), 33),
        ("Hbb", 25, (5, -5), 41),
        ("Hcc", 25, (4, -4), 42),
        ("Hgg", 25, (21, 21), 44),
    ],
)
def test_codes(name: str, parent: int, products: tuple[int, int], code: int) -> None:
    event = make_event(
        [
            (parent, -62, (2, 3), (600, 1.0, 3.0)),
            (products[0], -23, (0, 0), (300, 1.1, 3.0)),
            (products[1], -23, (0, 0), (300, 0.9, 3.0)),
        ]
    )
    (found,) = find_parents(event, PROCESSES[name])
    assert (found.pid, found.truth_match) == (parent, code)
    assert found.visible_pt == pytest.approx(600)


def test_the_hard_parton_is_the_parent_in_qcd() -> None:
    event = make_event(
        [
            (2, -21, (3, 4), (0.1, 0.0, 0.0)),
            (21, -21, (3, 4), (0.1, 0.0, 0.0)),
            (23, -22, (0, 0), (550, 0.0, 0.0)),
            (2, -23, (5, 5), (550, 0.5, -3.1)),
            (2, 62, (0, 0), (400, 0.6, -3.1)),
        ]
    )
    (parent,) = find_parents(event, PROCESSES["QCD"])
    assert (parent.pid, parent.truth_match, len(parent.products)) == (2, 50, 1)
    assert match(0.5, 3.1, [parent], radius=0.8) == 0
    assert match(0.5, 2.3, [parent], radius=0.8) is None
