"""Writing JetClass-schema ROOT files: exact schema, exact values, all or nothing."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot

from jetsym.errors import ConfigError, DataError
from jetsym.jets.io.writer import COUNTER, open_jetclass, write_jetclass
from jetsym.jets.schema import JET_BRANCHES, PARTICLE_BRANCHES, TREE

ROOT_TYPES = {"float32": "float", "int32": "int32_t", "bool": "bool"}


def make_columns(n_jets: int = 7, *, seed: int = 0) -> dict[str, ak.Array | np.ndarray]:
    """Random numbers with JetClass's names and types; the first jet has no particles."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 9, n_jets)
    counts[:1] = 0
    ragged = {
        name: ak.unflatten(rng.normal(0, 3, counts.sum()).astype(dtype), counts)
        for name, dtype in PARTICLE_BRANCHES.items()
    }
    return {**ragged, **{name: rng.normal(0, 3, n_jets).astype(dtype) for name, dtype in JET_BRANCHES.items()}}


def test_the_tree_has_exactly_jetclass_s_branches_in_order_and_type(tmp_path: Path) -> None:
    with uproot.open(write_jetclass(tmp_path / "jets.root", make_columns())) as file:
        assert file.classnames() == {f"{TREE};1": "TTree"}
        typenames = {name.removesuffix("[]"): kind for name, kind in file[TREE].typenames().items()}
    expected = {
        COUNTER: "int32_t",
        **{name: f"{ROOT_TYPES[dtype]}[]" for name, dtype in PARTICLE_BRANCHES.items()},
        **{name: ROOT_TYPES[dtype] for name, dtype in JET_BRANCHES.items()},
    }
    assert list(typenames.items()) == list(expected.items())
    assert len(typenames) == 42


def test_values_come_back_as_they_were(tmp_path: Path) -> None:
    columns = make_columns(50)
    with uproot.open(write_jetclass(tmp_path / "jets.root", columns, jets_per_basket=20)) as file:
        tree = file[TREE]
        assert tree["part_px"].num_baskets == 3
        read = tree.arrays()
    for name, values in columns.items():
        assert ak.array_equal(read[name], values, dtype_exact=True, check_parameters=False), name
    assert read[COUNTER].tolist() == ak.num(columns["part_px"]).tolist()


def test_values_are_converted_to_the_branch_s_type(tmp_path: Path) -> None:
    columns = {name: ak.to_list(values) for name, values in make_columns(5).items()}
    columns["label_Hbb"] = [1.0, 0.0, 0.0, 0.0, 0.0]
    with uproot.open(write_jetclass(tmp_path / "jets.root", columns)) as file:
        label = file[TREE]["label_Hbb"].array(library="np")
    assert label.dtype == np.bool_
    assert label.tolist() == [True, False, False, False, False]


@pytest.mark.parametrize(("compression", "magic"), [("zlib", b"ZL"), ("lz4", b"L4"), ("zstd", b"ZS"), ("lzma", b"XZ")])
def test_compression(tmp_path: Path, compression: str, magic: bytes) -> None:
    columns = {**make_columns(500), "label_QCD": np.zeros(500)}
    path = write_jetclass(tmp_path / "jets.root", columns, compression=compression, level=4)
    with uproot.open(path) as file:
        branch = file[TREE]["label_QCD"]
        assert branch.compressed_bytes < branch.uncompressed_bytes / 2
        start = branch.member("fBasketSeek")[0] + branch.basket_key(0).fKeylen
    assert path.read_bytes()[start : start + 2] == magic


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = write_jetclass(tmp_path / "jets.root", make_columns(4))
    before = path.read_bytes()
    portions = [make_columns(4), {"part_px": []}]
    with pytest.raises(DataError, match="40 of JetClass's 41"), open_jetclass(path) as writer:
        list(map(writer.extend, portions))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_is_not_there_before_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "jets.root"
    with open_jetclass(path) as writer:
        writer.extend(make_columns(4))
        writer.extend(make_columns(3, seed=1))
        assert len(writer) == 7
        assert not path.exists()
    with uproot.open(path) as file:
        assert file[TREE].num_entries == 7


def test_no_jets_make_an_empty_tree(tmp_path: Path) -> None:
    with uproot.open(write_jetclass(tmp_path / "jets.root", make_columns(0))) as file:
        assert file[TREE].num_entries == 0
        assert len(file[TREE].keys()) == 42


def test_errors_name_what_is_wrong(tmp_path: Path) -> None:
    columns = make_columns()
    path = tmp_path / "jets.root"
    with pytest.raises(DataError, match="'part_ps' is not a branch of JetClass; the nearest are 'part_p"):
        write_jetclass(path, {**columns, "part_ps": columns["part_px"]})
    with pytest.raises(DataError, match="1 of JetClass's 41 branches are missing, first 'jet_phi'"):
        write_jetclass(path, {name: values for name, values in columns.items() if name != "jet_phi"})
    with pytest.raises(DataError, match=r"jet_pt has shape \(6,\); expected \(7,\)"):
        write_jetclass(path, {**columns, "jet_pt": columns["jet_pt"][1:]})
    with pytest.raises(DataError, match="part_charge has other numbers of particles per jet than part_px"):
        write_jetclass(path, {**columns, "part_charge": columns["part_charge"][::-1]})
    with pytest.raises(DataError, match="part_px has 1 dimension"):
        write_jetclass(path, {**columns, "part_px": columns["jet_pt"]})
    with pytest.raises(ConfigError, match="compression='zlibb' is not known; the nearest are 'zlib'"):
        write_jetclass(path, columns, compression="zlibb")
    with pytest.raises(ConfigError, match="level 0"):
        write_jetclass(path, columns, level=0)
    with pytest.raises(ConfigError, match="jets_per_basket is 0"):
        write_jetclass(path, columns, jets_per_basket=0)
    assert not list(tmp_path.iterdir())
