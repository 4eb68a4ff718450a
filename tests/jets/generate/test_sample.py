"""The bundled sample: complete, as its manifest says, and physical."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot

from jetsym.jets.generate.manifest import MANIFEST
from jetsym.jets.generate.processes import PROCESSES
from jetsym.jets.schema import CLASSES, JET_BRANCHES, LABEL_BRANCHES, PARTICLE_BRANCHES

SAMPLE = Path(__file__).parents[3] / "data" / "sample"

pytestmark = pytest.mark.skipif(not (SAMPLE / MANIFEST).exists(), reason=f"no bundled sample in {SAMPLE}")


@pytest.fixture(scope="module")
def jets() -> ak.Array:
    """All training jets."""
    columns = [*PARTICLE_BRANCHES, *JET_BRANCHES]
    return ak.concatenate(
        [uproot.concatenate(f"{SAMPLE}/train/{PROCESSES[name].file_stem}_000.root:tree", columns) for name in CLASSES]
    )


@pytest.fixture(scope="module")
def of_class(jets: ak.Array) -> dict[str, ak.Array]:
    return {name: jets[jets[f"label_{name}"] == 1] for name in CLASSES}


def test_files_are_those_of_the_manifest_and_fit_into_20_megabytes() -> None:
    entries = json.loads((SAMPLE / MANIFEST).read_text(encoding="utf-8"))["files"]
    files = {path.relative_to(SAMPLE).as_posix(): path for path in SAMPLE.rglob("*") if path.is_file()}
    assert set(files) == {*entries, MANIFEST, "README.md"}
    assert sum(path.stat().st_size for path in files.values()) <= 20_000_000
    for name, entry in entries.items():
        assert hashlib.sha256(files[name].read_bytes()).hexdigest() == entry["sha256"], name


def test_classes_are_balanced_in_every_split() -> None:
    entries = json.loads((SAMPLE / MANIFEST).read_text(encoding="utf-8"))["files"]
    for split in ("train", "val", "test"):
        jets = {entry["class"]: entry["jets"] for entry in entries.values() if entry["split"] == split}
        assert set(jets) == set(CLASSES)
        assert len(set(jets.values())) == 1


def test_no_jet_is_there_twice(jets: ak.Array) -> None:
    others = [
        uproot.concatenate(f"{SAMPLE}/{split}/*.root:tree", ["jet_pt", "jet_energy"], library="np")
        for split in ("val", "test")
    ]
    pt = np.concatenate([ak.to_numpy(jets.jet_pt), *(part["jet_pt"] for part in others)])
    energy = np.concatenate([ak.to_numpy(jets.jet_energy), *(part["jet_energy"] for part in others)])
    assert len({*zip(pt.tolist(), energy.tolist(), strict=True)}) == len(pt)


def test_every_jet_has_one_label_and_lies_in_the_selection(jets: ak.Array) -> None:
    assert np.all(sum(ak.to_numpy(jets[branch]).astype(int) for branch in LABEL_BRANCHES) == 1)
    assert ak.all((jets.jet_pt > 500) & (jets.jet_pt < 1000) & (abs(jets.jet_eta) < 2))
    assert all(np.all(np.isfinite(ak.flatten(jets[branch], axis=None))) for branch in jets.fields)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("Wqq", 74, 84), ("Zqq", 83, 94), ("Hbb", 105, 125), ("Hcc", 112, 128), ("Hgg", 112, 128), ("Tbqq", 160, 180)],
)
def test_the_soft_drop_mass_is_that_of_the_particle(
    of_class: dict[str, ak.Array], name: str, low: float, high: float
) -> None:
    assert low < np.median(of_class[name].jet_sdmass) < high


def test_neutrinos_and_leptons_take_mass_away(of_class: dict[str, ak.Array]) -> None:
    median = {name: np.median(jets.jet_sdmass) for name, jets in of_class.items()}
    assert median["QCD"] < 50
    assert median["Hqql"] < median["H4q"]
    assert median["Tbl"] < median["Tbqq"]


def test_prongs_order_the_n_subjettiness_ratios(of_class: dict[str, ak.Array]) -> None:
    tau21 = {name: np.median(jets.jet_tau2 / jets.jet_tau1) for name, jets in of_class.items()}
    tau32 = {name: np.median(jets.jet_tau3 / jets.jet_tau2) for name, jets in of_class.items()}
    tau43 = {name: np.median(jets.jet_tau4 / jets.jet_tau3) for name, jets in of_class.items()}
    assert tau32["Tbqq"] < tau32["QCD"] - 0.15
    assert max(tau21["Wqq"], tau21["Zqq"], tau21["Hbb"]) < tau21["QCD"] - 0.1
    assert tau43["H4q"] < tau43["QCD"]


def test_heavy_flavour_is_displaced(of_class: dict[str, ak.Array]) -> None:
    def displaced(jets: ak.Array) -> float:
        """Mean number of tracks with a transverse impact parameter beyond five standard deviations, below 5 mm."""
        significant = (jets.part_charge != 0) & (abs(jets.part_d0val) > 5 * jets.part_d0err)
        return float(ak.mean(ak.sum(significant & (abs(jets.part_d0val) < 5), axis=1)))

    counts = {name: displaced(jets) for name, jets in of_class.items()}
    assert counts["Hbb"] > 1.3 * counts["Hcc"]
    assert counts["Hcc"] > 1.3 * counts["Hgg"]
    assert counts["Tbqq"] > 1.3 * counts["Wqq"]


def test_prompt_leptons(of_class: dict[str, ak.Array]) -> None:
    def lepton_jets(jets: ak.Array) -> float:
        pt = np.hypot(jets.part_px, jets.part_py)
        return float(ak.mean(ak.any(((jets.part_isElectron == 1) | (jets.part_isMuon == 1)) & (pt > 20), axis=1)))

    assert min(lepton_jets(of_class[name]) for name in ("Hqql", "Tbl")) > 0.7
    assert max(lepton_jets(of_class[name]) for name in ("QCD", "Hgg", "Wqq")) < 0.1


def test_multiplicities_are_close_to_jetclass(of_class: dict[str, ak.Array]) -> None:
    """Mean numbers of particles of 33 to 65 public JetClass jets per class (spread about 12: errors of 2)."""
    jetclass = [34.8, 40.2, 38.3, 56.7, 48.8, 26.2, 35.2, 31.7, 52.0, 26.1]
    means = [float(ak.mean(of_class[name].jet_nparticles)) for name in CLASSES]
    np.testing.assert_allclose(means, jetclass, atol=6)
