"""Any tree through a mapping: the same jets as from a JetClass file, and clear words for what a mapping cannot mean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import awkward as ak
import numpy as np
import pytest
import torch
import uproot
import yaml

from jetsym.cli import main
from jetsym.commands import symmetry
from jetsym.errors import ConfigError, DataError
from jetsym.jets import JetBatch, read
from jetsym.jets.io import JetStream
from jetsym.jets.io.inspect import inspect
from jetsym.jets.io.mapping.parse import load_mapping
from jetsym.jets.io.streaming.convert import convert
from jetsym.jets.schema import CLASSES, CLASSES_II, LABEL_BRANCHES, P4_BRANCHES, SCALARS

N = 60


def assert_same(first: JetBatch, second: JetBatch) -> None:
    for name in ("p4", "mask", "scalars", "jet_p4", "label"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    assert first.columns.keys() == second.columns.keys()
    assert all(torch.equal(first.columns[name], second.columns[name]) for name in first.columns)
    assert (first.classes, first.scalar_names) == (second.classes, second.scalar_names)


def foreign(columns: dict[str, Any]) -> dict[str, Any]:
    """JetClass's branches under other names, in MeV and cm, in other types; products with 1000 are exact in doubles."""
    names = {f"part_{name}": f"c_{name}" for name in SCALARS} | {f"label_{name}": f"is{name}" for name in CLASSES}
    names |= {name: f"c_{name.removeprefix('part_')}" for name in P4_BRANCHES}
    changed = {new: columns[old] for old, new in names.items() if old in columns}
    changed |= {
        f"c_{name}": ak.values_astype(changed[f"c_{name}"], "f8") * 1000 for name in ("px", "py", "pz", "energy")
    }
    changed |= {f"c_{name}": ak.values_astype(changed[f"c_{name}"], "f8") / 8 for name in ("d0val", "dzval")}
    changed["fj.pt"] = columns["jet_pt"].astype("f8") * 1000
    changed |= {"fj_eta": columns["jet_eta"], "fj_phi": columns["jet_phi"], "fj_msd": columns["jet_sdmass"]}
    changed |= {"fj_e": columns["jet_energy"].astype("f8") * 1000, "fj_n": columns["jet_nparticles"]}
    changed["fj_tau1"] = columns["jet_tau1"].astype("f8")
    return changed


BASE: dict[str, Any] = {
    "tree": "Events",
    "particles": {name: f"c_{name}" for name in ("px", "py", "pz", "energy", *SCALARS)}
    | {"units": "MeV", "d0val": "c_d0val * 8", "dzval": "8 * c_dzval"},
    "jet": {"pt": "`fj.pt`", "eta": "fj_eta", "phi": "fj_phi", "energy": "fj_e", "units": "MeV"},
    "columns": {"jet_nparticles": "fj_n", "jet_sdmass": "fj_msd", "jet_tau1": "fj_tau1"},
    "labels": {"one_hot": {name: f"is{name}" for name in CLASSES}},
}


@pytest.fixture
def write_mapping(tmp_path) -> Callable[..., Path]:
    """``write_mapping(**changes)``: the mapping of a foreign tree; a change of None leaves a key out."""

    def write(name: str = "map.yaml", **changes: Any) -> Path:
        content = {key: value for key, value in {**BASE, **changes}.items() if value is not None}
        (tmp_path / name).write_text(yaml.safe_dump(content, sort_keys=False))
        return tmp_path / name

    return write


@pytest.fixture
def pair(tmp_path, make_jets, jetclass_columns, write_tree) -> Callable[..., tuple[Path, Path]]:
    """``pair(name, n=, seed=, **changes)``: the same jets in a JetClass file and in a foreign tree."""

    def write(name: str = "jets.root", n: int = N, seed: int = 0, **changes: Any) -> tuple[Path, Path]:
        columns = jetclass_columns(make_jets(n, seed))
        changed = {key: value for key, value in {**foreign(columns), **changes}.items() if value is not None}
        return (
            write_tree(tmp_path / "jetclass" / name, columns),
            write_tree(tmp_path / "foreign" / name, changed, tree="Events"),
        )

    return write


# --- the same jets as from JetClass's own files -----------------------------------------------------------------------


def test_a_foreign_tree_is_read_like_jetclass(pair, write_mapping):
    own, other = pair()
    truth, mapping = read(own), write_mapping()
    jets = read(other, mapping=mapping)
    # Doubles stay doubles in columns; all else is the same in every bit.
    assert jets.columns["jet_tau1"].dtype == torch.float64
    assert_same(jets.replace(columns={**jets.columns, "jet_tau1": jets.columns["jet_tau1"].float()}), truth)
    records = read(other, mapping=load_mapping(mapping), library="ak", limit=7, max_particles=3)
    assert (
        records.constituents.px.to_list() == read(own, library="ak", limit=7, max_particles=3).constituents.px.to_list()
    )
    assert_same(read(other, mapping=write_mapping(tree=None)), jets)


def test_jetclass2(tmp_path, make_jets, jetclass_columns, write_tree, write_mapping):
    columns = {name: one for name, one in jetclass_columns(make_jets(N)).items() if name not in LABEL_BRANCHES}
    columns["jet_label"] = np.arange(N, dtype="int32") * 3
    truth = read(write_tree(tmp_path / "own.root", columns))
    changed = foreign(columns) | {"fj_class": columns["jet_label"] - 7, "fj_tau1": columns["jet_tau1"]}
    other = write_tree(tmp_path / "other.root", changed, tree="Events")
    for classes in (list(CLASSES_II), {name: place for place, name in enumerate(CLASSES_II)}):
        assert_same(read(other, mapping=write_mapping(labels={"value": "fj_class + 7", "classes": classes})), truth)


def test_streams_and_caches_hold_the_same_jets(pair, write_mapping, small_blocks, tmp_path):
    files = [pair(f"jets_{seed}.root", n=N + seed, seed=seed)[1] for seed in range(3)]
    mapping = write_mapping()
    truth = read(files, mapping=mapping)
    cache = convert(files, tmp_path / "cache", mapping=mapping, progress=False)
    for stream in (
        JetStream(files, mapping=mapping, batch_size=len(truth), columns="all", shuffle=False),
        JetStream(cache, batch_size=len(truth), columns="all", shuffle=False),
        JetStream(files, cache=cache, mapping=mapping, batch_size=len(truth), columns="all", shuffle=False),
    ):
        assert_same(next(iter(stream)).to_padded(), truth)
    for source, how in ((files, {"mapping": mapping}), (cache, {})):
        kin = next(iter(JetStream(source, batch_size=len(truth), columns="kin", shuffle=False, **how)))
        assert torch.equal(kin.to_padded().p4, truth.p4)
    shuffled = torch.cat([batch.label for batch in JetStream(files, mapping=mapping, batch_size=1, buffer=50)])
    assert torch.equal(shuffled.bincount(minlength=10), truth.label.bincount(minlength=10))


def test_a_cache_knows_its_mapping(pair, write_mapping, tmp_path):
    own, path = pair()
    mapping = write_mapping()
    cache = convert(path, tmp_path / "cache", mapping=mapping, progress=False)
    mapping.write_text("# a comment\n" + mapping.read_text())
    assert convert(path, cache, mapping=mapping, progress=False) == cache
    other = write_mapping("other.yaml", selection="fj_eta > 0")
    for wrong, how in ((other, "with another mapping"), (None, "with a mapping")):
        with pytest.raises(ConfigError, match=f"a cache that was made {how}; choose another folder"):
            convert(path, cache, mapping=wrong, progress=False)
        with pytest.raises(ConfigError, match=f"a cache that was made {how}"):
            JetStream(path, cache=cache, mapping=wrong, batch_size=5)
    assert JetStream(cache, batch_size=5).n_jets == JetStream(cache, mapping=mapping, batch_size=5).n_jets == N
    with pytest.raises(ConfigError, match="a cache that was made with another mapping"):
        JetStream(cache, mapping=other, batch_size=5)
    plain = convert(own, tmp_path / "plain", progress=False)
    with pytest.raises(ConfigError, match="a cache that was made without a mapping"):
        JetStream(plain, mapping=other, batch_size=5)
    state = JetStream(path, mapping=mapping, batch_size=5).state_dict()
    same = write_mapping("same.yaml", columns={"jet_sdmass": "fj_msd"})
    with pytest.raises(ConfigError, match="the saved stream had jets="):
        JetStream(path, mapping=same, batch_size=5).load_state_dict(state)


# --- momenta in other forms -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", ["energy", "mass"])
def test_momenta_from_pt_eta_phi(pair, write_mapping, scale):
    own, path = pair()
    truth = read(own)
    pt = "hypot(c_px, c_py)"
    mass2 = "c_energy ** 2 - c_px ** 2 - c_py ** 2 - c_pz ** 2"
    particles = {"pt": pt, "eta": f"arcsinh(c_pz / {pt})", "phi": "arctan2(c_py, c_px)", "units": "MeV"}
    particles[scale] = "c_energy" if scale == "energy" else f"sqrt(max({mass2}, 0))"
    jet = {"pt": "`fj.pt`", "eta": "fj_eta", "phi": "fj_phi", "units": "MeV"}
    jet[scale] = "fj_e" if scale == "energy" else "sqrt(max(fj_e ** 2 - (`fj.pt` * cosh(fj_eta)) ** 2, 0))"
    jets = read(path, mapping=write_mapping(particles=particles, jet=jet))
    torch.testing.assert_close(jets.p4, truth.p4, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(jets.jet_p4, truth.jet_p4, rtol=1e-6, atol=1e-4)
    assert (jets.scalar_names, jets.scalars.shape[2]) == ((), 0)


def test_the_axis_from_cartesian_momenta_or_from_the_particles(pair, write_mapping):
    own, path = pair()
    truth = read(own)
    pt, eta, phi = "`fj.pt`", "fj_eta", "fj_phi"
    jet = {"px": f"{pt} * cos({phi})", "py": f"{pt} * sin({phi})", "pz": f"{pt} * sinh({eta})", "energy": "fj_e"}
    jets = read(path, mapping=write_mapping(jet=jet | {"units": "MeV"}))
    torch.testing.assert_close(jets.jet_p4, truth.jet_p4, rtol=1e-6, atol=1e-4)
    summed = read(path, mapping=write_mapping(jet=None))
    torch.testing.assert_close(summed.jet_p4, truth.p4.double().sum(dim=1).float(), rtol=1e-6, atol=1e-4)


def test_particles_in_the_order_of_pt(pair, write_mapping, make_jets):
    own, path = pair()
    truth = read(own)
    flipped = {f"c_{name}": foreign_column(own, name)[:, ::-1] for name in ("px", "py", "pz", "energy", *SCALARS)}
    _, path = pair("flipped.root", **flipped)
    particles = BASE["particles"] | {"d0val": "c_d0val", "dzval": "c_dzval", "units": "GeV", "order": "pt"}
    jets = read(path, mapping=write_mapping(particles=particles))
    assert torch.equal(jets.p4, truth.p4)
    assert torch.equal(jets.scalars, truth.scalars)
    assert torch.equal(read(path, mapping=write_mapping(particles=particles), max_particles=2).p4, truth.p4[:, :2])


def foreign_column(path: Path, name: str) -> ak.Array:
    records = read(path, library="ak").constituents
    return records[{"energy": "E"}.get(name, name)]


def test_constants_and_quantities_that_the_tree_lacks(pair, write_mapping):
    own, path = pair()
    truth = read(own)
    particles = {name: f"c_{name}" for name in ("px", "py", "pz", "energy", "charge")} | {"units": "MeV"}
    particles |= {"isChargedHadron": "abs(c_charge) > 0", "isNeutralHadron": "fj_eta > 0"}
    particles |= dict.fromkeys(("isPhoton", "isElectron", "isMuon"), 0)
    jets = read(path, mapping=write_mapping(particles=particles, columns={"one": 1, "n": "count(c_px)"}))
    assert jets.scalar_names == SCALARS[:6]
    assert torch.equal(jets.scalars[..., 1], (truth.scalars[..., 0] != 0).float())
    assert torch.equal(jets.scalars[..., 2], ((truth.jet_p4[:, 3] > 0)[:, None] & truth.mask).float())
    assert not jets.scalars[..., 3:].any()
    assert torch.equal(jets.columns["n"], truth.n_particles)
    assert jets.columns["one"].tolist() == [1] * N
    batch = next(iter(JetStream(path, mapping=write_mapping(columns={"one": 1}), columns="all", batch_size=8)))
    assert batch.columns["one"].tolist() == [1] * 8


# --- selection and labels ---------------------------------------------------------------------------------------------


def test_a_selection(pair, write_mapping, small_blocks, monkeypatch, tmp_path):
    monkeypatch.setattr("jetsym.jets.io.mapping.mapped_reader._ROWS", 16)  # several pieces of each file
    pairs = [pair(f"{seed}.root", seed=seed) for seed in range(3)]
    files = [other for _, other in pairs]
    truth = read([own for own, _ in pairs])
    # The last file has no jet that passes.
    _, files[2] = pair("2.root", seed=2, **{"fj.pt": np.ones(N)})
    mapping = write_mapping(selection="`fj.pt` > 700e3 and not (fj_eta < 0 and isQCD)")
    keep = (truth.columns["jet_nparticles"] > 0) & (truth.jet_p4[:, 1].hypot(truth.jet_p4[:, 2]) > 700)
    keep &= ~((truth.jet_p4[:, 3] < 0) & (truth.label == 0))
    keep[2 * N :] = False
    assert 20 < keep.sum() < 100
    jets = read(files, mapping=mapping)
    assert torch.equal(jets.p4, truth[keep].trim().p4)
    assert torch.equal(jets.columns["jet_sdmass"], truth[keep].columns["jet_sdmass"])
    assert len(read(files, mapping=mapping, limit=10)) == 10
    for source in (files, convert(files, tmp_path / "cache", mapping=mapping, progress=False)):
        how = {} if source is not files else {"mapping": mapping}
        shares = [
            [*JetStream(source, batch_size=7, shuffle=False, columns="all", rank=rank, world_size=2, buffer=20, **how)]
            for rank in range(2)
        ]
        found = torch.cat([batch.columns["jet_sdmass"] for share in shares for batch in share])
        assert torch.equal(found, jets.columns["jet_sdmass"])
        shuffled = torch.cat([b.columns["jet_sdmass"] for b in JetStream(source, batch_size=1, columns="all", **how)])
        assert torch.equal(shuffled.sort().values, jets.columns["jet_sdmass"].sort().values)
    with pytest.raises(DataError, match=r"2.root: no jets, the selection leaves none"):
        read(files[2], mapping=mapping)
    with pytest.raises(DataError, match=r"2.root and the other files: the selection leaves no jets"):
        JetStream(files[2], mapping=mapping, batch_size=2)


def test_bad_jets_are_named_by_their_entry_in_the_file(pair, write_mapping):
    own, _ = pair()
    energy = (1000 * foreign_column(own, "energy")).to_list()  # in MeV
    energy[41][0] = np.nan
    _, path = pair("bad.root", c_energy=energy, number=np.arange(N))
    with pytest.raises(DataError, match="1 of 20 jets cannot be used .* the first at entries 41"):
        read(path, mapping=write_mapping(selection="number >= 40"))
    assert len(read(path, mapping=write_mapping(selection="number >= 40"), bad_jets="drop")) == 19
    assert len(read(path, mapping=write_mapping(selection="number < 40"))) == 40


def test_labels_of_files(pair, write_mapping):
    names = ["QCD_a.root", "QCD_b.root", "top/1.root"]
    files = [pair(name, n=5 + seed, seed=seed)[1] for seed, name in enumerate(names)]
    labels = {"files": {"QCD": "QCD_*.root", "top": ["top/*.root", "ttbar*"]}}
    jets = read(files, mapping=write_mapping(labels=labels))
    assert jets.label.tolist() == [0] * 11 + [1] * 7
    assert jets.classes == ("QCD", "top")
    for patterns, number in (({"QCD": "*_a.root", "top": "top/*"}, 0), ({"QCD": "*.root", "top": "top/*"}, 2)):
        with pytest.raises(
            DataError, match=rf"{number} of the classes QCD, top have a pattern for this file .*labels.files"
        ):
            read(files, mapping=write_mapping(labels={"files": patterns}))
    unlabelled = read(files, mapping=write_mapping(labels=None))
    assert unlabelled.label is None


def test_labels_that_are_none(pair, write_mapping):
    flavour = np.tile([1, 5, 4], N // 3)
    _, path = pair(flavour=flavour)
    labels = {"value": "flavour", "classes": {"light": [1, 2], "b": 5}}
    with pytest.raises(
        DataError, match=r"at entry 2 'flavour' .* is none of 1, 2, 5 \(20 such jets\); leave such jets out"
    ):
        read(path, mapping=write_mapping(labels=labels))
    jets = read(path, mapping=write_mapping(labels=labels, selection="flavour != 4"))
    assert jets.label.tolist() == [0, 1] * (N // 3)
    for flags in ({"light": "flavour == 1", "b": "flavour > 3"}, {"light": "flavour < 2", "b": "flavour == 5"}):
        one_hot = write_mapping(labels={"one_hot": flags})
        if flags["b"] == "flavour > 3":
            assert read(path, mapping=one_hot).label.tolist() == [0, 1, 1] * (N // 3)
        else:
            with pytest.raises(DataError, match="at entry 2 not exactly one of the labels of light, b is 1"):
                read(path, mapping=one_hot)
    for odd in ("flavour - 1", "flavour / 10"):  # 0, 4, 3 and 0.1, 0.5, 0.4: neither is a flag
        with pytest.raises(DataError, match="not exactly one of the labels of a, b is 1 and the others 0"):
            read(path, mapping=write_mapping(labels={"one_hot": {"a": odd, "b": 0}}))


# --- weights ----------------------------------------------------------------------------------------------------------


def test_weights_make_the_classes_alike(pair, write_mapping, monkeypatch, tmp_path):
    """By hand: background 3 + 1 and signal 1 + 1 jets in two bins of pT; flat, f = 6/4; like background, f = 6/8."""
    monkeypatch.setattr("jetsym.jets.io.mapping.mapped_reader._ROWS", 4)
    signal = np.array([0, 0, 0, 0, 1, 1, 1])
    pt = np.array([510, 550, 599, 600, 500, 700, 701], "f8") * 1000  # the last lies outside
    first = pair("a.root", n=5, signal=signal[:5], **{"fj.pt": pt[:5]})[1]
    second = pair("b.root", n=2, signal=signal[5:], **{"fj.pt": pt[5:]})[1]
    labels = {"value": "signal", "classes": ["background", "signal"]}
    bins = {"`fj.pt` / 1000": [500, 600, 700]}
    for how, expected in (
        ({}, [0.5, 0.5, 0.5, 1.5, 1.5, 1.5, 0]),
        ({"to": "background"}, [0.75, 0.75, 0.75, 0.75, 2.25, 0.75, 0]),
        ({"to": "background", "cap": 2}, [0.8, 0.8, 0.8, 0.8, 2, 0.8, 0]),
    ):
        mapping = write_mapping(labels=labels, reweight={"bins": bins, **how})
        weight = read([first, second], mapping=mapping).columns["weight"]
        assert weight.dtype == torch.float32
        torch.testing.assert_close(weight, torch.tensor(expected))
        if "cap" not in how:
            cache = convert([first, second], tmp_path / f"{how}", mapping=mapping, progress=False)
            (batch,) = JetStream(cache, batch_size=10, shuffle=False, columns="all")
            assert torch.equal(batch.columns["weight"], weight)
    # A selection comes before the weights: without the first jet, background 2 + 1, so that f = 5/4.
    mapping = write_mapping(labels=labels, reweight={"bins": bins}, selection="`fj.pt` != 510e3")
    torch.testing.assert_close(
        read([first, second], mapping=mapping).columns["weight"], torch.tensor([0.625, 0.625, 1.25, 1.25, 1.25, 0])
    )


@pytest.mark.parametrize("to", ["flat", "QCD"])
def test_weighted_histograms_in_pt_and_mass(pair, write_mapping, to):
    rng = np.random.default_rng(0)
    n = 4000
    signal = rng.integers(0, 3, n)
    pt, mass = 500 + 500 * rng.beta(1 + signal, 2), 200 * rng.beta(2, 1 + signal)
    columns = {f"c_{name}": [[value]] * n for name, value in {"px": 1.0, "py": 1.0, "pz": 1.0, "energy": 2.0}.items()}
    _, path = pair("many.root", n=n, **columns, **{"fj.pt": pt * 1000}, fj_msd=mass, signal=signal)
    edges = {"`fj.pt` / 1000": [500, 600, 700, 1000], "fj_msd": [0, 60, 120, 200]}
    mapping = write_mapping(
        particles={name: f"c_{name}" for name in ("px", "py", "pz", "energy")},
        columns={"mass": "fj_msd"},
        labels={"value": "signal", "classes": ["QCD", "W", "top"]},
        reweight={"bins": edges, "to": to},
    )
    jets = read(path, mapping=mapping)
    weight = jets.columns["weight"].double().numpy()
    assert np.mean(weight) == pytest.approx(1)
    histograms = [
        np.histogram2d(pt[signal == c], mass[signal == c], [*edges.values()], weights=weight[signal == c])[0]
        for c in range(3)
    ]
    counts = np.histogram2d(pt[signal == 0], mass[signal == 0], [*edges.values()])[0]
    for histogram in histograms[1:]:
        np.testing.assert_allclose(histogram, histograms[0], rtol=1e-5)
    expected = np.ones_like(counts) if to == "flat" else counts
    np.testing.assert_allclose(histograms[0] / histograms[0].sum(), expected / expected.sum(), rtol=1e-5)


def test_bins_without_jets(pair, write_mapping):
    _, path = pair()
    reweight = {"bins": {"fj_eta": [50, 60]}}
    with pytest.raises(DataError, match="map.yaml: reweight: no jet lies in the bins; check the edges"):
        read(path, mapping=write_mapping(reweight=reweight))
    (path.parent / "rubbish.root").write_bytes(b"rubbish")
    reweight = {"bins": {"fj_eta": [-5, 5]}}
    with pytest.raises(DataError, match="rubbish.root: not a ROOT file"):
        JetStream(path.parent, mapping=write_mapping(reweight=reweight), batch_size=5)
    stream = JetStream(
        path.parent, mapping=write_mapping(reweight=reweight), batch_size=5, columns="all", skip_bad=True
    )
    assert len(stream.skipped) == 1
    assert "weight" in next(iter(stream)).columns


# --- what goes wrong --------------------------------------------------------------------------------------------------

P = {name: f"c_{name}" for name in ("px", "py", "pz", "energy")}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"particle": {}}, r"map.yaml has the key 'particle', which is unknown; the nearest are 'particles'"),
        ({"particles": P | {"isMoun": 0}}, r"map.yaml: particles has the key 'isMoun', which is unknown; .*'isMuon'"),
        ({"jet": P | {"charge": 0}}, r"map.yaml: jet has the key 'charge', which is unknown"),
        ({"labels": {"one_hot": {"a": 1}, "of": 1}}, r"map.yaml: labels has the key 'of', which is unknown"),
        ({"reweight": {"bins": {"x": [0, 1]}, "too": 1}}, r"map.yaml: reweight has the key 'too'"),
        ({"particles": None}, r"map.yaml has no key 'particles'"),
        ({"particles": 3}, r"map.yaml: particles is 3; expected keys that are words"),
        ({"particles": {True: "x"}}, r"map.yaml: particles is \{True: 'x'\}; expected keys that are words"),
        (
            {"particles": {"px": "a", "py": "b", "pz": "c"}},
            r"particles has px, py, pz; expected .* with them energy or mass",
        ),
        ({"particles": P | {"mass": 0}}, r"particles has px, py, pz, energy, mass; expected"),
        ({"particles": P | {"units": "TeV"}}, r"particles.units is 'TeV'; expected GeV or MeV"),
        ({"particles": P | {"order": "eta"}}, r"particles.order is 'eta'; expected pt, or file"),
        (
            {"particles": P | {"charge": "q"}},
            r"particles says charge and not isChargedHadron, .*write isChargedHadron: 0",
        ),
        ({"particles": P | {"px": ["a"]}}, r"particles.px is \['a'\]; expected an expression or the name of a branch"),
        ({"particles": P | {"px": True}}, r"particles.px is True; expected an expression"),
        (
            {"particles": P | {"px": "open('x')"}},
            r'map.yaml: particles.px: "open\(.x.\)" holds a call of .open.; allowed are',
        ),
        ({"tree": 3}, r"tree is 3; expected the name of a tree"),
        ({"columns": {"a/b": "x"}}, r"columns has 'a/b'; expected a name of letters, digits and _"),
        ({"columns": {"../x": "x"}}, r"columns has '../x'"),
        ({"columns": {"label": "x"}}, r"columns has 'label'; expected a name .* none of jet, constituents, label"),
        ({"columns": {"weight": 1}, "reweight": {"bins": {"x": [0, 1]}}}, r"columns has 'weight'"),
        ({"columns": {"a": "lambda: 1"}}, r"map.yaml: columns.a: 'lambda: 1' holds Lambda"),
        ({"labels": {}}, r"labels has no labels; expected one of one_hot, value \(with classes\) and files"),
        ({"labels": {"value": "x", "files": {}}}, r"labels has value and files; expected one of"),
        ({"labels": {"value": "x"}}, r"labels expects value and classes together"),
        ({"labels": {"one_hot": {"a": "x"}, "classes": ["a"]}}, r"labels expects value and classes together"),
        ({"labels": {"value": "x", "classes": {"a": 1, "b": [1, 2]}}}, r"labels.classes has 1 in two classes"),
        ({"labels": {"value": "x", "classes": {"a": 1.5}}}, r"labels.classes.a is 1.5; expected a whole number"),
        ({"labels": {"value": "x", "classes": ["a", "a"]}}, r"labels.classes is \['a', 'a'\]; expected each word once"),
        ({"labels": {"one_hot": {}}}, r"labels.one_hot names no class"),
        ({"labels": {"files": {"a": 3}}}, r"labels.files is 3; expected one or more words"),
        ({"selection": ["x"]}, r"selection is \['x'\]; expected an expression"),
        ({"reweight": {}}, r"reweight has no key 'bins'"),
        ({"reweight": {"bins": {"x": [1]}}}, r"reweight.bins.x is \[1\]; expected two or more growing numbers"),
        ({"reweight": {"bins": {"x": [1, 1]}}}, r"reweight.bins.x is \[1, 1\]; expected two or more growing"),
        ({"reweight": {"bins": {"x": ["a", "b"]}}}, r"reweight.bins.x is .*; expected two or more growing"),
        ({"reweight": {"bins": {"x": [0, 1]}, "to": "tpo"}}, r"reweight.to is 'tpo'; "),
        ({"reweight": {"bins": {"x": [0, 1]}, "cap": 0.5}}, r"reweight.cap is 0.5; expected a number of at least 1"),
    ],
)
def test_mappings_without_a_meaning(write_mapping, changes, message):
    with pytest.raises(ConfigError, match=message):
        load_mapping(write_mapping(**changes))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tree: [", r"map.yaml is no YAML \("),
        ("tree: a\ntree: b\n", r"map.yaml is no YAML \(the key 'tree' stands there twice"),
        ("particles: !!python/object/apply:os.system [true]", r"is no YAML \(could not determine a constructor"),
        ("- a", r"map.yaml is \['a'\]; expected keys that are words"),
        ("", r"map.yaml is None; expected keys"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nparticles: *b", r"particles is \[\['x', 'x'\], "),
        ("\x00", r"is no YAML"),
    ],
)
def test_files_that_are_no_mapping(tmp_path, text, message):
    (tmp_path / "map.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_mapping(tmp_path / "map.yaml")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"the mapping .*map.yaml cannot be read \(No such file or directory\)"):
        load_mapping(tmp_path / "map.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tree": "Event"}, r"no TTree called 'Event'; the file holds 'Events' \(TTree\)"),
        (
            {"selection": "fj_etta > 1"},
            r"the tree 'Events' has no branch 'fj_etta', of which 'fj_etta > 1' \(.*map.yaml: ",
        ),
        ({"selection": "fj_etta > 1"}, r"map.yaml: selection\); the nearest are 'fj_eta'"),
        ({"selection": "fj_eta"}, r"'fj_eta' \(.*: selection\) is no condition .* expected comparisons"),
        ({"selection": "c_px > 3"}, r"'c_px > 3' .* has a value per particle, and one per jet is expected"),
        ({"columns": {"a": "c_px"}}, r"'c_px' \(.*: columns.a\) has a value per particle"),
        (
            {"columns": {"a": "sum(c_px + two)"}},
            r"foreign/jets.root: 'sum\(c_px \+ two\)' .* has lists of \d+ and of \d+",
        ),
        ({"columns": {"a": "sum(fj_eta)"}}, r"columns.a\): sum of something that has one value per jet"),
        ({"particles": P | {"energy": "two"}}, r"'two' \(.*\) has 2 values at entry \d+, where the momenta are of"),
        ({"particles": dict.fromkeys(P, "fj_eta")}, r"has no list of particles in any of fj_eta, its particles"),
        ({"particles": dict.fromkeys(P, "sum(two)")}, r"'sum\(two\)' \(.*: particles.px\) has no value per particle"),
        (
            {"particles": P | {"energy": "matrix"}},
            r"'matrix' \(.*\) has 3 values at entry 0, where the momenta are of \d+ particles; expected as many",
        ),
    ],
)
def test_mappings_that_do_not_fit_a_tree(pair, write_mapping, changes, message):
    _, path = pair(two=[[1.0, 2.0]] * N, matrix=np.zeros((N, 3)))
    with pytest.raises((ConfigError, DataError), match=message):
        read(path, mapping=write_mapping(**changes))


def test_trees_on_a_server(pair, write_mapping, file_server):
    pytest.importorskip("aiohttp")
    _, path = pair("QCD_0.root")
    file_server.files["data/QCD_0.root"] = path.read_bytes()
    mapping = write_mapping(labels={"files": {"QCD": "data/QCD_*.root", "top": "top_*"}}, selection="fj_eta > 0")
    jets = read(f"{file_server.url}/data/QCD_0.root", mapping=mapping)
    assert 10 < len(jets) < N
    assert not jets.label.any()
    assert torch.equal(jets.p4, read(path, mapping=write_mapping(selection="fj_eta > 0")).p4)


def test_damage_is_found_before_jets_are_selected_by_it(pair, write_mapping):
    _, path = pair(number=np.zeros(N, "i8"))  # compressed well, so that its baskets carry checksums
    with uproot.open(path) as file:
        place = int(file["Events/number"].member("fBasketSeek")[0]) + 80
    content = bytearray(path.read_bytes())
    content[place : place + 20] = bytes(byte ^ 0x55 for byte in content[place : place + 20])
    path.write_bytes(content)
    assert len(read(path, mapping=write_mapping())) == N
    for changes in ({"selection": "number == 0"}, {"reweight": {"bins": {"number": [0, 1]}}}):
        with pytest.raises(DataError, match=r"jets.root: damaged or not readable"):
            read(path, mapping=write_mapping(**changes))


def test_files_that_are_no_trees(tmp_path, pair, write_mapping):
    own, _ = pair()
    (tmp_path / "a.parquet").write_bytes(b"")
    with pytest.raises(DataError, match="a.parquet: damaged or not readable"):
        read(tmp_path / "a.parquet", mapping=write_mapping())
    with pytest.raises(DataError, match="not one TTree, which needs no name|no TTree called 'Events'"):
        read(own, mapping=write_mapping())


# --- from the shell ---------------------------------------------------------------------------------------------------


def test_from_the_shell(pair, write_mapping, tmp_path, capsys):
    own, path = pair()
    mapping = str(write_mapping())
    cache = tmp_path / "cache"
    assert main(["convert", str(path), "--out", str(cache), "--mapping", mapping]) == 0
    assert JetStream(cache, batch_size=5).n_jets == N
    assert main(["inspect", str(path), "--mapping", mapping]) == 0
    assert f"{N} jets" in capsys.readouterr().out
    assert inspect(path, mapping=mapping).counts == inspect(own).counts
    assert main(["convert", str(path), "--out", str(tmp_path / "other"), "--mapping", str(tmp_path / "none.yaml")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "none.yaml cannot be read" in error
    assert main(["convert", str(path), "--out", str(tmp_path / "p"), "--to", "parquet", "--mapping", mapping]) == 1
    assert "--mapping" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["probe", "attribute"])
def test_probing_through_a_mapping(pair, write_mapping, monkeypatch, command):
    _, path = pair()
    module = {"probe": "jetsym.probing.probe", "attribute": "jetsym.probing.measure.attribution"}[command]
    given = []
    monkeypatch.setattr(f"{module}.{command}", lambda model, inputs, **options: given.append((inputs, options)))
    monkeypatch.setattr(
        "jetsym.jets.checkpoint.load", lambda model: SimpleNamespace(max_particles=3, standardisation=None)
    )
    mapping = str(write_mapping())
    getattr(symmetry, command)("run", inputs=str(path), mapping=mapping, limit=7)
    (jets, options), expected = given[0], read(path, mapping=mapping, limit=7)
    assert (len(jets), options) == (7, {"limit": 7})
    assert torch.equal(jets.p4, expected.p4[:, :3] if command == "probe" else expected.p4)
    with pytest.raises(ConfigError, match="--inputs names no files; expected both"):
        getattr(symmetry, command)("run", mapping=mapping)
