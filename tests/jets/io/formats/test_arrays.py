"""The top-tagging set and the quark and gluon jets: read like JetClass's files, as far as they know the same."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from jetsym.errors import DataError, MissingDependencyError
from jetsym.jets import read
from jetsym.jets.io import JetStream
from jetsym.jets.io.inspect import inspect
from jetsym.jets.io.registry import index_file
from jetsym.jets.io.streaming.convert import convert


def top_jets(n: int = 25, slots: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Padded massless jets, falling in pT, and labels."""
    rng = np.random.default_rng(seed)
    p3 = rng.normal(size=(n, slots, 3)) * 50
    p3 = np.take_along_axis(p3, np.argsort(-np.hypot(p3[..., 0], p3[..., 1]), axis=1)[..., None], axis=1)
    p3 *= (np.arange(slots) < rng.integers(1, slots + 1, (n, 1)))[..., None]
    p4 = np.concatenate([np.linalg.norm(p3, axis=2, keepdims=True), p3], axis=2).astype(np.float32)
    return p4, rng.integers(0, 2, n)


def write_npz(path: Path, **arrays: np.ndarray) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def write_table(path: Path, p4: np.ndarray, label: np.ndarray | None, *, complib: str | None = None) -> Path:
    """The table as pandas writes it."""
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("tables")
    pytest.importorskip("h5py")
    columns = {f"{part}_{i}": p4[:, i, k] for i in range(p4.shape[1]) for k, part in enumerate(("E", "PX", "PY", "PZ"))}
    columns |= {"truthE": p4[:, 0, 0], "ttv": np.zeros(len(p4), np.int64)}
    columns |= {} if label is None else {"is_signal_new": label}
    level = {} if complib is None else {"complib": complib, "complevel": 5}
    pandas.DataFrame(columns).to_hdf(path, key="table", mode="w", format="table", **level)
    return path


# momenta, labels, order


def test_top_jets_of_both_forms(tmp_path):
    p4, label = top_jets()
    mask = (p4 != 0).any(axis=2)
    files = [
        write_npz(tmp_path / "a.npz", p4=p4, label=label, mask=mask),
        write_npz(tmp_path / "b.npz", p4=p4, label=label),
        write_table(tmp_path / "c.h5", p4, label),
    ]
    for path in files:
        jets = read(path)
        np.testing.assert_array_equal(jets.mask, mask)
        np.testing.assert_array_equal(jets.p4, p4)
        np.testing.assert_array_equal(jets.label, label)
        np.testing.assert_allclose(jets.jet_p4, p4.sum(axis=1, dtype=np.float64), rtol=2e-6, atol=1e-4)
        assert jets.classes == ("QCD", "top")
        assert jets.scalar_names == ()
        assert index_file(path).n_jets == 25
    assert len(read(files, limit=30)) == 30
    assert read(files[0], max_particles=2).max_particles == 2


def test_unlabelled_jets(tmp_path):
    p4, _ = top_jets()
    assert read(write_npz(tmp_path / "a.npz", p4=p4)).label is None
    assert read(write_table(tmp_path / "b.h5", p4, None)).label is None


def test_particles_are_put_in_order(tmp_path):
    p4, label = top_jets()
    rng = np.random.default_rng(1)
    shuffled = rng.permuted(np.arange(6)[None].repeat(25, axis=0), axis=1)
    path = write_npz(tmp_path / "a.npz", p4=np.take_along_axis(p4, shuffled[..., None], axis=1), label=label)
    np.testing.assert_array_equal(read(path).p4, p4)


def test_the_real_top_jets(real_data, tmp_path):
    path = real_data / "toplandscape" / "toplandscape_1000.npz"
    with np.load(path) as stored:
        p4, mask, label = (stored[name] for name in ("p4", "mask", "label"))
    jets = read(path)
    slots = jets.max_particles
    assert slots == mask.sum(axis=1).max()
    np.testing.assert_array_equal(jets.p4, p4[:, :slots])
    np.testing.assert_array_equal(jets.mask, mask[:, :slots])
    np.testing.assert_array_equal(jets.label, label)
    pt = np.hypot(*jets.jet_p4[:, 1:3].numpy().T)
    assert 540 < pt.min() < pt.max() < 660, "the set's jets have 550 to 650 GeV"
    again = read(write_table(tmp_path / "same.h5", p4, label))
    np.testing.assert_array_equal(again.p4, jets.p4)


def test_tables_in_compressed_form(tmp_path, monkeypatch):
    p4, label = top_jets()
    for library in ("zlib", "blosc"):
        path = write_table(tmp_path / f"{library}.h5", p4, label, complib=library)
        if library == "blosc":
            with monkeypatch.context() as patch:
                patch.setitem(sys.modules, "hdf5plugin", None)
                patch.setattr("h5py.Dataset.__getitem__", _no_filter)
                with pytest.raises(MissingDependencyError, match=r"'hdf5plugin'.*pip install 'jetsym\[formats\]'"):
                    read(path)
            pytest.importorskip("hdf5plugin")
        np.testing.assert_array_equal(read(path).p4, p4)


def _no_filter(self, rows):
    raise OSError("Can't synchronously read data (can't open directory or file: required filter 'blosc')")


def test_quark_and_gluon_jets(tmp_path):
    codes = [211, -211, 2212, -321, 130, -2112, 22, 11, -11, 13, -13]
    mass = [0.13957, 0.13957, 0.938272, 0.493677, 0.497611, 0.939565, 0, 0.000511, 0.000511, 0.105658, 0.105658]
    n = len(codes)
    pt = np.linspace(100, 1, n)
    rng = np.random.default_rng(0)
    jet = np.stack([pt, rng.normal(size=n), rng.uniform(0, 6.28, n), codes], axis=1)
    jets = read(write_npz(tmp_path / "qg.npz", X=np.stack([np.concatenate([jet, np.zeros((3, 4))])] * 2), y=[1.0, 0.0]))
    assert jets.classes == ("gluon", "quark")
    assert jets.label.tolist() == [1, 0]
    assert jets.max_particles == n
    energy, px, py, pz = jets.p4[0].double().numpy().T
    np.testing.assert_allclose(np.hypot(px, py), pt, rtol=1e-6)
    np.testing.assert_allclose(np.arctanh(pz / energy), jet[:, 1], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(np.exp(1j * np.arctan2(py, px)), np.exp(1j * jet[:, 2]), rtol=1e-6, atol=1e-6)
    transverse = energy**2 - pz**2
    np.testing.assert_allclose(transverse - pt**2, np.square(mass), atol=3e-6 * (energy**2).max())
    names = jets.scalar_names
    assert names == ("charge", "isChargedHadron", "isNeutralHadron", "isPhoton", "isElectron", "isMuon")
    assert jets.scalars[0, :, 0].tolist() == [1, -1, 1, -1, 0, 0, 0, -1, 1, -1, 1]
    assert jets.scalars[0, :, 1:].argmax(dim=1).tolist() == [0, 0, 0, 0, 1, 1, 2, 3, 3, 4, 4]
    assert (jets.scalars[0, :, 1:].sum(dim=1) == 1).all()


# streams, caches


@pytest.fixture
def two_sets(tmp_path) -> dict[str, list[Path]]:
    rng = np.random.default_rng(0)
    top, quarks = [], []
    for place in range(2):
        p4, label = top_jets(60, seed=place)
        top.append(write_npz(tmp_path / f"top_{place}.npz", p4=p4, label=label))
        X = rng.uniform(0, 1, (50, 4, 4)) * [50, 2, 6, 0] + [1, 0, 0, 0]
        X[..., 3] = rng.choice([211, -211, 22, 130, -13], X.shape[:2])
        quarks.append(write_npz(tmp_path / f"quarks_{place}.npz", X=X, y=rng.integers(0, 2, 50)))
    return {"top": top, "quarks": quarks}


@pytest.mark.parametrize("which", ["top", "quarks"])
@pytest.mark.parametrize("columns", ["kin", "all"])
def test_streams_and_caches(two_sets, which, columns, small_blocks, tmp_path):
    files = two_sets[which]
    jets = read(files)
    names = () if columns == "kin" else jets.scalar_names
    sources = [files, convert(files, tmp_path / "cache", columns=columns)]
    for source in sources:
        for buffer in (None, 30):
            batches = list(JetStream(source, batch_size=16, columns=columns, shuffle=False, buffer=buffer))
            padded = [batch.to_padded(jets.max_particles) for batch in batches]
            assert all(batch.scalar_names == names for batch in padded)
            first = 0
            for batch in padded:
                own = jets[slice(first, first + len(batch))]
                first += len(batch)
                slots = batch.max_particles
                np.testing.assert_array_equal(batch.p4, own.p4[:, :slots])
                np.testing.assert_array_equal(batch.label, own.label)
                if names:
                    np.testing.assert_array_equal(batch.scalars, own.scalars[:, :slots])
            assert first == len(jets)
        shuffled = JetStream(source, batch_size=16, columns=columns, buffer=30)
        assert sum(map(len, shuffled)) == len(jets) // 16 * 16


def test_different_sets_do_not_go_together(two_sets):
    with pytest.raises(DataError, match="they differ in their classes"):
        JetStream([*two_sets["top"], *two_sets["quarks"]], batch_size=8)
    with pytest.raises(DataError, match="cannot be read together"):
        read([*two_sets["top"], *two_sets["quarks"]])


def test_inspecting(two_sets):
    summary = inspect(two_sets["quarks"])
    assert summary.n_jets == 100
    assert set(summary.counts) == {"gluon", "quark"}
    assert summary.ranges["part_isMuon"].high == 1
    assert inspect(two_sets["top"]).n_jets == 120


# mistakes


class Bomb:
    def __reduce__(self):
        return Path.touch, (Path("exploded"),)


def test_pickles_are_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "bomb.npz", p4=np.array([Bomb()], dtype=object))
    with pytest.raises(DataError, match=r"bomb\.npz: damaged or not readable .*allow_pickle"):
        read(tmp_path / "bomb.npz")
    path = write_table(tmp_path / "bomb.h5", *top_jets())
    import h5py

    with h5py.File(path, "a") as file:
        file["table/table"].attrs["values_block_0_kind"] = np.bytes_(pickle.dumps(Bomb(), protocol=0))
    with pytest.raises(DataError, match=r"bomb\.h5"):
        read(path)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"a": np.zeros(3)}, "holds a; expected X and y"),
        ({"p4": np.zeros((3, 2, 3)), "label": np.zeros(3)}, r"momenta have shape \(3, 2, 3\)"),
        ({"p4": np.ones((3, 2, 4)), "label": np.zeros(2)}, r"labels \(2,\)"),
        ({"p4": np.ones((0, 2, 4)), "label": np.zeros(0)}, "holds no jets"),
        ({"p4": np.ones((3, 2, 4)), "label": np.array([0, 2, 1])}, "jet_label is 2 at entry 1"),
        ({"p4": np.ones((3, 2, 4)), "label": np.array([0, 0.5, 1])}, "the label of jet 1 is 0.5"),
        ({"p4": np.full((3, 2, 4), np.nan), "label": np.zeros(3)}, "3 of 3 jets cannot be used"),
        ({"p4": np.zeros((3, 2, 4)), "label": np.zeros(3)}, "3 without particles"),
        ({"X": np.ones((3, 2, 4)) * [1, 0, 0, 17], "y": np.zeros(3)}, "has the PDG code 17"),
        ({"p4": np.tile([3.0, 0, 4, 5], (30, 2, 1)), "label": np.zeros(30)}, "gives as pz may be the energy"),
    ],
)
def test_bad_arrays(tmp_path, arrays, reason):
    with pytest.raises(DataError, match=reason):
        read(write_npz(tmp_path / "bad.npz", **arrays))


def test_bad_files(tmp_path, monkeypatch):
    (tmp_path / "bad.npz").write_bytes(b"PK no archive")
    with pytest.raises(DataError, match=r"bad\.npz: damaged or not readable"):
        read(tmp_path / "bad.npz")
    h5py = pytest.importorskip("h5py")
    (tmp_path / "bad.h5").write_bytes(b"no HDF5")
    with pytest.raises(DataError, match=r"bad\.h5: damaged or not readable"):
        read(tmp_path / "bad.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.zeros(3)
    with pytest.raises(DataError, match="holds x; expected a table written by pandas"):
        read(tmp_path / "other.h5")
    p4, label = top_jets()
    path = write_table(tmp_path / "cut.h5", p4, label)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataError, match=r"cut\.h5: damaged or not readable"):
        read(path)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'jetsym\[formats\]'"):
        read(path)
