"""JetClass files as ROOT itself writes them, with ``std::vector`` branches, LZ4 and automatic clusters.

uproot cannot write ``std::vector``, so this script, for ``python -m jetsym.benchmarks loader``, runs in an
environment of its own, which needs nothing of jetsym::

    python -m venv /tmp/root && /tmp/root/bin/python -m pip install root uproot awkward
    /tmp/root/bin/python tests/benchmarks/write_vector_files.py data/sample/train OUT --jets 50000

Each file holds one class: jets of the sample, drawn with replacement, rotated about the beam and rescaled, so that a
jet which is drawn twice compresses no better than two jets.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import uproot

_FILLER = """
struct JetFiller {
  TFile file; TTree* tree; long n; const long* offsets;
  std::vector<std::function<void(long)>> fill;
  JetFiller(const char* path, int compression, long jets, long starts)
      : file(path, "RECREATE", "", compression), tree(new TTree("tree", "tree")), n(jets),
        offsets((const long*)starts) {}
  template <class T> void vector(const char* name, long address) {
    auto* values = new std::vector<T>();
    tree->Branch(name, values);
    auto* p = (const T*)address;
    fill.push_back([=](long i) { values->assign(p + this->offsets[i], p + this->offsets[i + 1]); });
  }
  template <class T> void number(const char* name, long address) {
    auto* value = new T();
    tree->Branch(name, value);
    fill.push_back([=](long i) { *value = ((const T*)address)[i]; });
  }
  void write() {
    for (long i = 0; i < n; ++i) { for (auto& one : fill) one(i); tree->Fill(); }
    file.Write(); file.Close();
  }
};
"""
_CTYPES = {"float32": "float", "int32": "int", "bool": "bool"}
_COMPRESSION = {"zlib": 101, "lzma": 207, "lz4": 404, "zstd": 505}


def resample(source: Path, n_jets: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The branches of ``n_jets`` jets of a file, the ragged ones flat, and the offsets of the jets."""
    rng = np.random.default_rng(seed)
    with uproot.open(source) as file:
        tree = file["tree"]
        names = tree.keys()
        ragged = [name for name in names if name.startswith("part_")]
        flat = [name for name in names if name.startswith(("jet_", "label_", "aux_"))]
        arrays = tree.arrays([*ragged, *flat], library="np")
    chosen = rng.integers(len(arrays[flat[0]]), size=n_jets)
    columns = {name: arrays[name][chosen] for name in flat}
    counts = np.array([len(row) for row in arrays[ragged[0]]])[chosen]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    columns |= {name: np.concatenate(arrays[name][chosen]) for name in ragged}

    def per_particle(values: np.ndarray) -> np.ndarray:
        return np.repeat(values, counts).astype("float32")

    angle, scale = rng.uniform(-np.pi, np.pi, n_jets), rng.uniform(0.9, 1.1, n_jets)
    rotated = (columns["part_px"] + 1j * columns["part_py"]) * np.repeat(scale * np.exp(1j * angle), counts)
    columns["part_px"], columns["part_py"] = rotated.real.astype("float32"), rotated.imag.astype("float32")
    for name in ("part_pz", "part_energy"):
        columns[name] *= per_particle(scale)
    for name in ("part_d0val", "part_d0err", "part_dzval", "part_dzerr", "part_deta", "part_dphi"):
        columns[name] *= per_particle(rng.uniform(0.9, 1.1, n_jets))
    columns["jet_phi"] = np.angle(np.exp(1j * (columns["jet_phi"] + angle))).astype("float32")
    for name in ("jet_pt", "jet_energy", "jet_sdmass"):
        columns[name] = (columns[name] * scale).astype("float32")
    return columns, offsets


def write(path: Path, columns: dict[str, np.ndarray], offsets: np.ndarray, *, compression: str) -> None:
    import ROOT

    if not hasattr(ROOT, "JetFiller"):
        ROOT.gInterpreter.Declare(_FILLER)
    columns = {name: np.ascontiguousarray(column) for name, column in columns.items()}
    filler = ROOT.JetFiller(str(path), _COMPRESSION[compression], len(offsets) - 1, offsets.ctypes.data)
    for name, column in columns.items():
        add = filler.vector if name.startswith("part_") else filler.number
        add[_CTYPES[str(column.dtype)]](name, column.ctypes.data)
    filler.write()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="folder of JetClass files to draw jets from")
    parser.add_argument("out", type=Path)
    parser.add_argument("--jets", type=int, default=50_000, help="jets per file")
    parser.add_argument("--files", type=int, default=1, help="files per class")
    parser.add_argument("--compression", choices=_COMPRESSION, default="lz4")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for place, source in enumerate(sorted(options.source.glob("*.root"))):
        for number in range(options.files):
            target = options.out / f"{source.stem.rstrip('0123456789')}{number:03d}.root"
            write(target, *resample(source, options.jets, 1000 * place + number), compression=options.compression)
            print(target, target.stat().st_size)
