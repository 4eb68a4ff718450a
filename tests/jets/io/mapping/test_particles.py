"""Which particles a mapping means, padding that is none, and momenta in every form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
import vector
import yaml

from jetsym.cli import main
from jetsym.errors import ConfigError, DataError
from jetsym.jets import JetBatch, read
from jetsym.jets.io import JetStream
from jetsym.jets.io.mapping.padding import find_padding
from jetsym.jets.io.mapping.parse import load_mapping

N, LENGTH = 30, 14
CARTESIAN = {name: f"c_{name}" for name in ("px", "py", "pz", "energy")}
POLAR = {name: f"c_{name}" for name in ("pt", "eta", "phi", "mass")}


@pytest.fixture(scope="module")
def jets() -> dict[str, ak.Array]:
    rng = np.random.default_rng(5)
    counts = rng.integers(2, LENGTH, N)
    counts[3] = LENGTH  # one jet without padding
    n = counts.sum()
    p4 = vector.array(
        {
            "pt": rng.exponential(20, n) + 0.1,
            "eta": rng.normal(0, 1, n),
            "phi": rng.uniform(-3.1, 3.1, n),
            "mass": rng.choice([0.0, 0.1396, 0.938], n),
        }
    )
    parts = {"px": p4.px, "py": p4.py, "pz": p4.pz, "energy": p4.E, "rapidity": p4.rapidity}
    parts |= {name: getattr(p4, name) for name in ("pt", "eta", "phi", "mass")}
    return {f"c_{name}": ak.unflatten(np.asarray(one), counts) for name, one in parts.items()} | {
        "c_id": ak.unflatten(rng.choice([-211, 211, 22, 130, 0], n).astype("i4"), counts)
    }


@pytest.fixture
def from_tree(tmp_path, write_tree) -> Callable[..., JetBatch]:
    """``from_tree(branches, particles, **keys)``: the jets of a tree of branches through a mapping."""

    def load(branches: dict[str, Any], particles: dict[str, Any], **keys: Any) -> JetBatch:
        path = write_tree(tmp_path / "jets.root", branches)
        (tmp_path / "map.yaml").write_text(yaml.safe_dump({"particles": particles, **keys}, sort_keys=False))
        return read(path, mapping=tmp_path / "map.yaml")

    return load


def padded(jets: dict[str, ak.Array], fill: float | dict[str, float]) -> dict[str, ak.Array]:
    def pad(name: str, one: ak.Array) -> ak.Array:
        value = fill.get(name, -7.0) if isinstance(fill, dict) else fill
        return ak.unflatten(np.ravel(ak.fill_none(ak.pad_none(one, LENGTH), value)), np.full(N, LENGTH))

    return {name: pad(name, one) for name, one in jets.items()}


FILLS = [0, -999, -99, -1, 999, np.nan, {"c_pt": 0.0, "c_eta": -9.0, "c_phi": -9.5, "c_px": -3.5, "c_py": -2.5}]


@pytest.mark.parametrize("form", [CARTESIAN, POLAR], ids=["cartesian", "polar"])
@pytest.mark.parametrize("fill", FILLS, ids=str)
def test_padding_is_refused_and_left_out(jets, from_tree, tmp_path, form, fill):
    columns = {name: one for name, one in jets.items() if name != "c_id"}
    with pytest.raises(
        DataError, match=r"padding, by .*the first at entry \d.*'where' under 'particles' in .*map.yaml"
    ) as caught:
        from_tree(padded(columns, fill), form)
    with pytest.raises(DataError, match="padding"):
        next(iter(JetStream(tmp_path / "jets.root", batch_size=8, mapping=tmp_path / "map.yaml")))
    condition = str(caught.value).split('where: "')[1].split('"')[0]
    expected = from_tree(columns, form)
    found = from_tree(padded(columns, fill), form | {"where": condition})
    assert found.n_particles.tolist() == ak.num(columns["c_px"]).tolist() == expected.n_particles.tolist()
    for name in ("p4", "mask", "jet_p4"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_padding_that_where_leaves_is_refused(jets, from_tree):
    with pytest.raises(DataError, match="are padding"):
        from_tree(padded(jets, 0), CARTESIAN | {"where": "c_px > -998"})


def test_particles_are_no_padding():
    """Equal particles, quantised ones, one of a constant, and jets of constants alone are particles."""
    rng = np.random.default_rng(0)
    pt, eta, phi = (np.round(rng.normal(3, 1, 4000), 1) for _ in range(3))
    counts = np.full(1000, 4)
    assert not len(find_padding([np.abs(pt) + 0.1, eta, phi + 0.05], counts))
    ones = np.ones(6)
    assert not len(find_padding([ones, ones, ones], np.array([1, 3, 2])))
    one = np.array([3.0, 2.0, -999.0, 4.0, 5.0])
    assert not len(find_padding([one, one, one], np.array([3, 2])))
    assert find_padding([np.array([0.0, 5.0]), np.array([0.0, 0.0])], np.array([2])).tolist() == [0]


@pytest.mark.parametrize(
    ("where", "keep"),
    [
        ("c_pt > 10", lambda one: one["c_pt"] > 10),
        ("c_id != 0 and c_pt > 1", lambda one: (one["c_id"] != 0) & (one["c_pt"] > 1)),
        ("isin(abs(c_id), [211, 22])", lambda one: (abs(one["c_id"]) == 211) | (one["c_id"] == 22)),
        ("c_pt >= max(c_pt) / 2", lambda one: one["c_pt"] >= ak.max(one["c_pt"], axis=1, mask_identity=False) / 2),
    ],
)
@pytest.mark.parametrize("order", ["file", "pt"])
def test_where_selects_particles(jets, from_tree, where, keep, order):
    kinds = {"charge": "sign(c_id)", "isChargedHadron": "abs(c_id) == 211", "isNeutralHadron": "c_id == 130"}
    kinds |= {"isPhoton": "c_id == 22", "isElectron": 0, "isMuon": 0}
    filled = ak.any(keep(jets), axis=1)
    some = {name: one[filled] for name, one in jets.items()}
    found = from_tree(some, CARTESIAN | kinds | {"where": where, "order": order})
    chosen = {name: one[keep(some)] for name, one in some.items()}
    if order == "pt":
        rank = ak.argsort(chosen["c_pt"], axis=1, ascending=False)
        chosen = {name: one[rank] for name, one in chosen.items()}
    assert found.n_particles.tolist() == ak.num(chosen["c_pt"]).tolist()
    flat = {name: np.asarray(ak.flatten(one)) for name, one in chosen.items()}
    for place, name in enumerate(("energy", "px", "py", "pz")):
        np.testing.assert_array_equal(found.p4[found.mask][:, place], flat[f"c_{name}"].astype("f4"))
        np.testing.assert_allclose(found.jet_p4[:, place], ak.sum(chosen[f"c_{name}"], axis=1), rtol=2e-5, atol=1e-3)
    scalars = found.scalars[found.mask]
    np.testing.assert_array_equal(scalars[:, 0], np.sign(flat["c_id"]))
    np.testing.assert_array_equal(scalars[:, 3], flat["c_id"] == 22)


def test_flags_are_conditions(jets, from_tree):
    flags = jets | {"flag": (ak.to_numpy(jets["c_pt"][:, 0]) > 10).astype("i4"), "good": (jets["c_pt"] > 5) * 1}
    with_particles = ak.any(flags["good"] == 1, axis=1)
    flags = {name: one[with_particles] for name, one in flags.items()}
    found = from_tree(flags, CARTESIAN | {"where": "good"}, selection="flag")
    assert found.n_particles.tolist() == ak.sum(flags["good"], axis=1)[flags["flag"] == 1].tolist()
    with pytest.raises(ConfigError, match="'c_id' .*where.* is no condition"):
        from_tree(flags, CARTESIAN | {"where": "c_id"})
    with pytest.raises(DataError, match="jets cannot be used.* without particles"):
        from_tree(flags, CARTESIAN | {"where": "c_pt > 1e6"})


@pytest.mark.parametrize("scale", ["energy", "mass"])
@pytest.mark.parametrize("direction", [("px", "py", "pz"), ("pt", "eta", "phi"), ("pt", "rapidity", "phi")])
@pytest.mark.parametrize("units", ["GeV", "MeV"])
def test_momenta_in_every_form(jets, from_tree, scale, direction, units):
    names = (*direction, scale)
    columns = {f"c_{name}": jets[f"c_{name}"] for name in names}
    factor = 1000 if units == "MeV" else 1
    columns |= {name: one * factor for name, one in columns.items() if name[2:] not in ("eta", "rapidity", "phi")}
    axis = {f"j_{name[2:]}": ak.to_numpy(one[:, 0]) for name, one in columns.items()}
    momenta = {name: f"c_{name}" for name in names} | {"units": units}
    axis_momenta = {name: f"j_{name}" for name in names} | {"units": units}
    found = from_tree(columns | axis, momenta, jet=axis_momenta)
    for place, name in enumerate(("energy", "px", "py", "pz")):
        expected = np.asarray(ak.flatten(jets[f"c_{name}"]))
        np.testing.assert_allclose(found.p4[found.mask][:, place], expected, rtol=2e-6, atol=2e-6)
        np.testing.assert_allclose(found.jet_p4[:, place], jets[f"c_{name}"][:, 0], rtol=2e-6, atol=2e-5)


@pytest.mark.parametrize(
    ("changes", "guess"),
    [
        ({"energy": "c_px", "px": "c_energy"}, "what it gives as px may be the energy"),
        ({"energy": "c_pz", "px": "c_energy", "py": "c_px", "pz": "c_py"}, "what it gives as px may be the energy"),
        ({"energy": "c_py", "py": "c_energy"}, "what it gives as py may be the energy"),
        ({"energy": "c_energy / 1000"}, "times the energy, as in another unit$"),
    ],
)
def test_momenta_that_are_none_are_refused(jets, from_tree, changes, guess):
    with pytest.raises(DataError, match=rf"particles have E < \|p\| in \d+ of \d+ .*{guess}"):
        from_tree(jets, CARTESIAN | changes)
    from_tree(jets, CARTESIAN | {"energy": "c_energy * 0.995"})  # off by less than what measurements are


def test_axes_that_are_none_are_refused(jets, from_tree):
    axis = {f"j_{name}": jets[f"c_{name}"][:, 0] for name in ("pt", "eta", "phi", "energy", "mass")}
    named = {"pt": "j_pt", "eta": "j_eta", "phi": "j_phi"}
    with pytest.raises(DataError, match=r"jet axes have E < \|p\| in 30 of 30"):
        from_tree(jets | axis, CARTESIAN, jet=named | {"energy": "j_energy / 1000"})
    from_tree(jets | axis, CARTESIAN, jet=named | {"mass": "j_mass"})


def test_both_angles_are_refused(tmp_path):
    (tmp_path / "map.yaml").write_text("particles: {pt: a, eta: b, rapidity: c, phi: d, mass: 0}")
    with pytest.raises(ConfigError, match=r"expected px, py, pz or pt, eta \(or rapidity\), phi"):
        load_mapping(tmp_path / "map.yaml")


def test_targets_are_columns(jets, from_tree):
    columns = jets | {"gen_mass": np.arange(N, dtype="f8")}
    found = from_tree(columns, CARTESIAN, targets={"mass": "gen_mass / 2"}, columns={"n": "count(c_px)"})
    assert found.columns["mass"].tolist() == (np.arange(N) / 2).tolist()
    assert found.columns["n"].tolist() == ak.num(jets["c_px"]).tolist()
    with pytest.raises(ConfigError, match="targets has 'mass', which is a column too"):
        from_tree(columns, CARTESIAN, targets={"mass": "gen_mass"}, columns={"mass": "gen_mass"})
    with pytest.raises(ConfigError, match="targets has 'label'; expected a name"):
        from_tree(columns, CARTESIAN, targets={"label": "gen_mass"})


# --- the words of YAML ------------------------------------------------------------------------------------------------


def selection_of(tmp_path: Path, text: str) -> str:
    (tmp_path / "map.yaml").write_text("particles: {px: a, py: b, pz: c, energy: d}\n" + text)
    mapping = load_mapping(tmp_path / "map.yaml")
    assert mapping is not None
    assert mapping.selection is not None
    return mapping.selection.text


@pytest.mark.parametrize("style", ["|", "|-", "|+", ">", ">-", ">+", ">2-", "> # GeV"])
def test_comments_in_blocks_of_lines_end_with_their_lines(tmp_path, style):
    text = f"selection: {style}\n  # first\n  pt > 20\n  # and pt < 500   (off for now)\n  and msd < 100  # GeV\n"
    for behind in ("", "columns: {x: y}\n", "# a comment (\ncolumns: {x: y}\n", "\n\n", "  # the last"):
        assert selection_of(tmp_path, text + behind) == "pt > 20 and msd < 100"


@pytest.mark.parametrize(
    "text",
    [
        'selection: "pt > 20 # GeV\n\n  and msd < 100"\n',
        "selection: 'pt > 20 # and\n\n  msd < 100'\n",
        'selection: "pt > 20 # GeV\\n and msd < 100"\n',
        "selection: |-\n  pt > 20 # GeV",
        "columns: {x: 'msd # in GeV / 1000'}\n",
        "reweight: {bins: {'pt # GeV': [0, 1]}}\n",
        "labels: {one_hot: {a: 'x # y', b: z}}\n",
    ],
)
def test_comments_that_would_swallow_the_rest_are_refused(tmp_path, text):
    with pytest.raises(ConfigError, match=r"holds #.*would swallow what follows; write a block with \|"):
        selection_of(tmp_path, text)


def test_words_may_begin_with_backticks(jets, tmp_path, write_tree):
    path = write_tree(tmp_path / "jets.root", {name.replace("c_", "Jet."): one for name, one in jets.items()})
    (tmp_path / "map.yaml").write_text(
        "particles:\n  px: `Jet.px` * 1\n  py: `Jet.py` # a comment\n  pz: '`Jet.pz`'\n  energy: `Jet.energy`\n"
        "  where: `Jet.pt` > 0\ncolumns: {n: count(`Jet.px`), first: first(`Jet.pt`)}\n"
    )
    found = read(path, mapping=tmp_path / "map.yaml")
    assert found.columns["n"].tolist() == ak.num(jets["c_px"]).tolist()
    assert found.columns["first"].tolist() == jets["c_pt"][:, 0].tolist()


# --- another tree than the mapping says -------------------------------------------------------------------------------


@pytest.fixture
def two_trees(jets, tmp_path) -> Path:
    """A file with the jets in the tree ``one``, and with twice their momenta in the tree ``two``."""
    with uproot.recreate(tmp_path / "trees.root") as file:
        for name, factor in (("one", 1), ("two", 2)):
            columns = {each: one * factor for each, one in jets.items() if each[2:] in CARTESIAN}
            file.mktree(name, {each: one.type for each, one in columns.items()}).extend(columns)
    (tmp_path / "map.yaml").write_text(yaml.safe_dump({"tree": "one", "particles": CARTESIAN}))
    return tmp_path / "trees.root"


def test_another_tree(two_trees, tmp_path):
    mapping = tmp_path / "map.yaml"
    one, two = read(two_trees, mapping=mapping), read(two_trees, mapping=mapping, tree="two")
    np.testing.assert_array_equal(two.p4, 2 * one.p4)
    same, other = load_mapping(mapping, tree="one"), load_mapping(mapping, tree="two")
    assert same.fingerprint == load_mapping(mapping).fingerprint != other.fingerprint
    with pytest.raises(DataError, match="three"):
        read(two_trees, mapping=mapping, tree="three")
    with pytest.raises(ConfigError, match="tree='two' names the tree of a mapping, and there is none"):
        read(two_trees, tree="two")


def test_another_tree_on_the_command_line(two_trees, tmp_path, capsys):
    data = [str(two_trees), "--mapping", str(tmp_path / "map.yaml")]
    assert main(["convert", *data, "--out", str(tmp_path / "one")]) == 0
    assert main(["convert", *data, "--out", str(tmp_path / "two"), "--tree", "two"]) == 0
    one, two = (
        next(
            iter(
                JetStream(
                    str(two_trees),
                    batch_size=5,
                    shuffle=False,
                    cache=tmp_path / name,
                    mapping=load_mapping(tmp_path / "map.yaml", tree=name),
                )
            )
        )
        for name in ("one", "two")
    )
    np.testing.assert_array_equal(two.p4, 2 * one.p4)
    assert main(["inspect", *data, "--tree", "three"]) != 0
    assert "three" in capsys.readouterr().err


# --- features, collections and labels of particles --------------------------------------------------------------------


def stacked(variables: list[ak.Array], length: int, fill: float) -> np.ndarray:
    """(jets, variables, length), by awkward's own padding."""
    rows = [ak.to_numpy(ak.fill_none(ak.pad_none(one, length, clip=True), fill)) for one in variables]
    return np.stack(rows, axis=1).astype("f4")


@pytest.mark.parametrize("order", ["file", "pt"])
def test_features_and_labels_of_the_particles_that_are_meant(jets, from_tree, order):
    filled = ak.any(jets["c_pt"] > 8, axis=1)
    some = {name: one[filled] for name, one in jets.items()}
    found = from_tree(
        some,
        CARTESIAN | {"where": "c_pt > 8", "order": order},
        features={
            "length": 5,
            "variables": {
                "log_pt": {"of": "log(c_pt)", "centre": 1.7, "scale": 0.7, "largest": 0.9},
                "id": "abs(c_id)",
                "share": {"of": "c_pt / sum(c_pt)"},
                "n": {"of": "count(c_pt)", "scale": 0.1},
            },
        },
        particle_labels={"length": 4, "variables": {"photon": "c_id == 22"}},
    )
    chosen = {name: one[some["c_pt"] > 8] for name, one in some.items()}
    if order == "pt":
        rank = ak.argsort(chosen["c_pt"], axis=1, ascending=False)
        chosen = {name: one[rank] for name, one in chosen.items()}
    log_pt = (np.log(chosen["c_pt"]) - 1.7) * 0.7
    share = chosen["c_pt"] / ak.sum(some["c_pt"], axis=1)
    number = ak.ones_like(chosen["c_pt"]) * ak.num(some["c_pt"]) * 0.1
    expected = [ak.where(log_pt > 0.9, 0.9, log_pt), abs(chosen["c_id"]), share, number]
    np.testing.assert_allclose(found.inputs["features"], stacked(expected, 5, 0), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found.inputs["particle_labels"], stacked([chosen["c_id"] == 22], 4, -1))
    assert found.input_forms["features"].names == ("log_pt", "id", "share", "n")
    assert found.n_particles.tolist() == ak.num(chosen["c_pt"]).tolist()


def test_collections(jets, from_tree):
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 5, N)
    vertices = {f"sv_{name}": ak.unflatten(rng.exponential(2, counts.sum()), counts) for name in ("pt", "m")}
    said = {"length": 3, "variables": {"pt": {"of": "sv_pt", "scale": 2}, "m": "sv_m", "e": "count(c_px)"}}
    found = from_tree(jets | vertices, CARTESIAN, collections={"vertices": said})
    number = ak.ones_like(vertices["sv_m"]) * ak.num(jets["c_px"])
    expected = stacked([2 * vertices["sv_pt"], vertices["sv_m"], number], 3, 0)
    np.testing.assert_allclose(found.inputs["vertices"], expected, rtol=1e-6)
    with pytest.raises(DataError, match="'c_px' .* values at entry .* where others have"):
        from_tree(jets | vertices, CARTESIAN, collections={"v": {"length": 3, "variables": {"a": "sv_m", "b": "c_px"}}})
    with pytest.raises(ConfigError, match="has one value per jet; expected one per member of 'v'"):
        from_tree(jets | vertices, CARTESIAN, collections={"v": {"length": 3, "variables": {"a": "count(sv_m)"}}})


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"variables": {"a": "b"}}, "features.length is None; expected a number of places"),
        ({"length": 0, "variables": {"a": "b"}}, "features.length is 0"),
        ({"length": 3}, "features.variables names none"),
        ({"length": 3, "variables": {"a": {"centre": 1}}}, "variables.a.of is None; expected an expression"),
        ({"length": 3, "variables": {"a": {"of": "b", "centre": "auto"}}}, "a.centre is 'auto'; expected a number"),
        ({"length": 3, "variables": {"a": {"of": "b", "mean": 1}}}, "has the key 'mean', which is unknown"),
        ({"length": 3, "variables": {"a": {"of": "b", "smallest": 2, "largest": 1}}}, "clipped to nothing"),
        ({"length": 3, "pad": 1, "variables": {"a": "b"}}, "has the key 'pad', which is unknown"),
        ({"length": 3, "variables": {"a": "b # c"}}, "variables.a: 'b # c' holds #"),
    ],
)
def test_features_without_a_meaning_are_refused(tmp_path, said, message):
    (tmp_path / "map.yaml").write_text(yaml.safe_dump({"particles": CARTESIAN, "features": said}))
    with pytest.raises(ConfigError, match=message):
        load_mapping(tmp_path / "map.yaml")
