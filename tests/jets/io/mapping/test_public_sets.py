"""Public sets of jets: files laid out as their documentation tells, through the mappings that have their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jetsym.errors import ConfigError, DataError
from jetsym.jets import JetBatch, read
from jetsym.jets.io.mapping.parse import PUBLIC, load_mapping

h5py = pytest.importorskip("h5py")

JETS, SLOTS = 25, 30


def write(path: Path, **arrays: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values, compression="gzip")
    return path


class Padded:
    """Jets of growing numbers of massless particles, falling in pT, and which slots are real."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.real = np.arange(SLOTS) < rng.integers(2, SLOTS + 1, (JETS, 1))
        self.pt = np.where(self.real, -np.sort(-rng.uniform(1, 90, (JETS, SLOTS)), axis=1), 0)
        self.eta, self.phi = (np.where(self.real, rng.normal(0, 0.2, (JETS, SLOTS)), 0) for _ in range(2))
        self.jet_pt, self.jet_eta = rng.uniform(400, 900, JETS), rng.normal(size=JETS)
        self.jet_mass = rng.uniform(20, 200, JETS)
        self.label = rng.integers(0, 2, JETS)

    @property
    def flat(self) -> np.ndarray:
        return np.zeros(JETS)

    def p4(self, *, eta: np.ndarray, scale: float = 1) -> np.ndarray:
        pt = self.pt * scale
        parts = [pt * np.cosh(eta), pt * np.cos(self.phi), pt * np.sin(self.phi), pt * np.sinh(eta)]
        return np.stack(parts, axis=2).astype(np.float32)

    def check(self, jets: JetBatch, p4: np.ndarray) -> None:
        assert jets.mask.sum(dim=1).tolist() == self.real.sum(axis=1).tolist()
        np.testing.assert_allclose(jets.p4[jets.mask], p4[self.real], rtol=2e-5, atol=1e-4)


def test_jetnet(tmp_path):
    jets = {name: Padded(seed) for seed, name in enumerate("tgz")}
    for name, one in jets.items():
        particles = np.stack([one.eta, one.phi, one.pt / one.jet_pt[:, None], one.real], axis=2)
        features = np.stack([one.jet_pt, one.jet_eta, one.jet_mass, one.real.sum(axis=1)], axis=1)
        write(tmp_path / f"{name}150.hdf5", particle_features=particles, jet_features=features)
    found = read(tmp_path / "*.hdf5", mapping="jetnet")
    assert found.classes == ("g", "q", "t", "w", "z")
    assert found.label.tolist() == [0] * JETS + [2] * JETS + [4] * JETS
    for place, name in enumerate("gtz"):
        one = jets[name]
        own = found[place * JETS : (place + 1) * JETS]
        one.check(own, one.p4(eta=one.eta + one.jet_eta[:, None]))
        np.testing.assert_allclose(own.jet_p4[:, 1], one.jet_pt, rtol=1e-6)
        np.testing.assert_allclose(np.arcsinh((own.jet_p4[:, 3] / own.jet_p4[:, 1]).numpy()), one.jet_eta, rtol=1e-5)
        mass = own.jet_p4[:, 0].double() ** 2 - (own.jet_p4[:, 1:].double() ** 2).sum(dim=1)
        np.testing.assert_allclose(mass.sqrt(), one.jet_mass, rtol=1e-2)


def test_atlas_top_tagging(tmp_path):
    one = Padded()
    mev = {"fjet_clus_pt": one.pt * 1000, "fjet_clus_E": one.pt * np.cosh(one.eta) * 1000}
    path = write(
        tmp_path / "test.h5",
        **mev,
        fjet_clus_eta=one.eta,
        fjet_clus_phi=one.phi,
        fjet_pt=one.jet_pt * 1000,
        fjet_eta=one.jet_eta,
        fjet_phi=one.flat + 0.5,
        fjet_m=one.jet_mass * 1000,
        labels=one.label,
        weights=one.flat,
    )
    jets = read(path, mapping="atlas-top-tagging")
    one.check(jets, one.p4(eta=one.eta))
    assert jets.label.tolist() == one.label.tolist()
    assert jets.classes == ("QCD", "top")
    np.testing.assert_allclose(np.hypot(*jets.jet_p4[:, 1:3].T.numpy()), one.jet_pt, rtol=1e-6)
    np.testing.assert_allclose(np.arctan2(*jets.jet_p4[:, [2, 1]].T.numpy()), 0.5, rtol=1e-6)


def test_aspen_open_jets(tmp_path):
    one = Padded()
    p4 = one.p4(eta=one.eta)
    rest = np.random.default_rng(1).normal(size=(JETS, SLOTS, 10))
    candidates = np.concatenate([p4[..., 1:], p4[..., :1], rest], axis=2)
    path = write(
        tmp_path / "a.h5", PFCands=candidates, jet_kinematics=np.zeros((JETS, 4)), event_info=np.zeros((JETS, 3))
    )
    jets = read(path, mapping="aspen-open-jets")
    one.check(jets, p4)
    assert jets.label is None
    np.testing.assert_allclose(jets.jet_p4, p4.sum(axis=1, dtype=np.float64), rtol=1e-5, atol=1e-4)


def test_omnilearn(tmp_path):
    one = Padded()
    pt, energy = np.where(one.real, one.pt, 1), np.where(one.real, one.pt * np.cosh(one.eta + one.jet_eta[:, None]), 1)
    share = np.where(one.real, np.log(1 - pt / (one.jet_pt[:, None] * 3)), 0)
    data = [one.eta, one.phi, share, np.log(pt), share, np.log(energy), np.hypot(one.eta, one.phi)]
    jet = np.stack([one.jet_pt, one.jet_eta, one.jet_mass, one.real.sum(axis=1)], axis=1)
    path = write(tmp_path / "train.h5", data=np.stack(data, axis=2), jet=jet, pid=one.label)
    jets = read(path, mapping="omnilearn-top")
    one.check(jets, one.p4(eta=one.eta + one.jet_eta[:, None]))
    assert jets.label.tolist() == one.label.tolist()


def test_flavour_tagging(tmp_path):
    one = Padded()
    tracks = np.zeros((JETS, SLOTS), [("qOverP", "f4"), ("deta", "f4"), ("dphi", "f4"), ("valid", "?")])
    eta = one.eta + one.jet_eta[:, None]
    momentum = np.where(one.real, one.pt * np.cosh(eta) * 1000, np.nan)
    tracks["qOverP"] = np.where(np.arange(SLOTS) % 2, 1, -1) / momentum
    tracks["deta"], tracks["dphi"], tracks["valid"] = one.eta, one.phi, one.real
    names = ("pt_btagJes", "eta_btagJes", "mass")
    jets = np.zeros(JETS, [*((name, "f4") for name in names), ("HadronConeExclTruthLabelID", "i4")])
    jets["pt_btagJes"], jets["eta_btagJes"], jets["mass"] = one.jet_pt * 1000, one.jet_eta, one.jet_mass * 1000
    jets["HadronConeExclTruthLabelID"] = np.array([0, 5])[one.label]
    found = read(write(tmp_path / "a.h5", jets=jets, tracks=tracks), mapping="atlas-ftag")
    assert found.mask.sum(dim=1).tolist() == one.real.sum(axis=1).tolist()
    p4 = one.p4(eta=eta)
    np.testing.assert_allclose(found.p4[found.mask][:, 1:], p4[one.real][:, 1:], rtol=1e-4, atol=1e-3)
    assert found.classes == ("light", "c", "b", "tau")
    assert found.label.tolist() == (2 * one.label).tolist()


def test_names(tmp_path, monkeypatch):
    assert PUBLIC == ("aspen-open-jets", "atlas-ftag", "atlas-top-tagging", "jetnet", "omnilearn-top")
    for name in PUBLIC:
        assert load_mapping(name).path.stem == name
    with pytest.raises(ConfigError, match="the mapping jetnt cannot be read .*, or one of aspen-open-jets, .*jetnet"):
        load_mapping("jetnt")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jetnet").write_text("particles: {px: a, py: b, pz: c, energy: d}")
    assert load_mapping("jetnet").labels is None, "a file of this name goes before"


@pytest.mark.parametrize("name", ["atlas-top-tagging", "jetnet", "omnilearn-top"])
def test_padding_that_a_mapping_does_not_leave_out(tmp_path, name):
    """A copy of the mapping without its condition reads no slot that is padding as a particle."""
    one = Padded()
    particles = np.stack([one.eta, one.phi, one.pt / one.jet_pt[:, None], one.real], axis=2)
    features = np.stack([one.jet_pt, one.jet_eta, one.jet_mass, one.real.sum(axis=1)], axis=1)
    columns = {"fjet_clus_pt": one.pt, "fjet_clus_eta": one.eta, "fjet_clus_phi": one.phi, "labels": one.label}
    columns |= {"fjet_clus_E": one.pt * np.cosh(one.eta), "particle_features": particles, "jet_features": features}
    columns |= {"fjet_pt": one.jet_pt, "fjet_eta": one.jet_eta, "fjet_phi": one.flat, "fjet_m": one.jet_mass}
    size = np.maximum(one.pt, 1)
    energy = np.where(one.real, size * np.cosh(one.eta + one.jet_eta[:, None]), 1)
    columns |= {"data": np.stack([one.eta, one.phi, one.pt, np.log(size), one.pt, np.log(energy)], axis=2)}
    path = write(tmp_path / "g.hdf5", jet=features, pid=one.label, **columns)
    own = [line for line in load_mapping(name).path.read_text().splitlines() if not line.startswith("  where:")]
    (tmp_path / "map.yaml").write_text("\n".join(own))
    assert read(path, mapping=name).mask.sum() == one.real.sum()
    with pytest.raises(DataError, match="are padding"):
        read(path, mapping=tmp_path / "map.yaml")
