"""The benchmarks run, and what they compare is the same; how fast it is they say themselves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from jetsym.benchmarks import gpu
from jetsym.benchmarks.__main__ import BENCHMARKS, main
from jetsym.benchmarks.estimator import pairwise, quadrature
from jetsym.benchmarks.loader import inputs_of_stream, inputs_of_weaver, weaver_config
from jetsym.benchmarks.measure import matrix_product_rate, peak_growth
from jetsym.benchmarks.memory import Memory, Run, repeated, write_sample
from jetsym.benchmarks.molecules import read_molecules
from jetsym.benchmarks.probe import forwards_task
from jetsym.benchmarks.tensor_basis import run as run_tensor_basis
from jetsym.benchmarks.train import WEAVER, task
from jetsym.jets import read
from jetsym.jets.io import JetStream
from jetsym.jets.io.sample import sample_dir
from jetsym.jets.schema import LABEL_BRANCHES
from jetsym.spectrum import SO3


def test_the_probe_benchmark(capsys):
    words = ["--l_max", "[1]", "--jets", "1", "--width", "8", "--blocks", "1", "--repeats", "1", "--memory", "false"]
    assert main(["probe", *words]) == 0
    text = capsys.readouterr().out
    assert "ratio" in text
    assert "evaluations/s" in text


def test_the_estimator_benchmark(capsys):
    assert main(["estimator", "--l_max", "1", "--features", "[3, 5]", "--repeats", "1", "--rings", "2"]) == 0
    assert "speed-up" in capsys.readouterr().out


def test_the_two_ways_agree():
    rule = SO3().quadrature(3)
    u = torch.randn(len(rule), 1, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    np.testing.assert_allclose(quadrature(rule, u, 40), pairwise(rule, u), rtol=1e-12)


def test_the_forward_passes_alone_are_those_of_the_probe(monkeypatch):
    evaluations = []

    def count(model, jets):
        evaluations.append(len(jets))

    run = forwards_task(1, 2, 8, 1, 36, 0)
    monkeypatch.setattr("jetsym.jets.models.pointnet.PointNet.forward", count)
    run()
    rule = SO3().quadrature(1)
    assert sum(evaluations) >= 2 * 2 * len(rule)
    assert evaluations.count(36) == 2 * 2 * len(rule) // 36


def test_mistakes_and_help(capsys):
    assert main(["prob"]) == 2
    assert "the nearest are 'probe'" in capsys.readouterr().err
    assert main(["estimator", "--l_max", "-1"]) == 1
    assert capsys.readouterr().err.startswith("python -m jetsym.benchmarks estimator: error: l_max is -1")
    assert main([]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in BENCHMARKS)


def allocate(mebibytes: int):
    return lambda: np.ones(mebibytes * 2**17)


@pytest.mark.slow
def test_peak_memory_is_that_of_the_task():
    assert peak_growth(allocate, 64) == pytest.approx(64, abs=4)


def test_matrix_products_take_time():
    assert 1e6 < matrix_product_rate(size=64) < 1e15


def test_the_loader_benchmark(capsys, jetclass_file):
    jetclass_file("a.root", n=200)
    path = jetclass_file("b.root", n=100)
    words = ["--batch_size", "4", "--repeats", "1", "--weaver", "false", "--memory", "false"]
    assert main(["loader", "--files", str(path.parent), *words]) == 0
    text = capsys.readouterr().out
    assert "300 jets in 2 files, 28 branches" in text
    assert "JetStream from the cache" in text
    assert main(["loader", "--files", str(path.parent), "--batch_size", "200", *words[2:]]) == 1
    assert "gave 200 of 300 jets" in capsys.readouterr().err


def test_both_loaders_deliver_the_same(tmp_path):
    pytest.importorskip("weaver")
    paths = sorted((sample_dir() / "val").glob("*.root"))[:2]
    how = {"fetch_by_files": True, "fetch_step": 1, "workers": 1}
    both = inputs_of_stream(paths, 50, 1, shuffle=False), inputs_of_weaver(paths, 50, str(tmp_path), **how)
    ours, theirs = (list(one) for one in both)
    assert ours[0].keys() == theirs[0].keys()
    for name in ours[0]:
        # Each shuffles in its own way, so that values are compared slot by slot, in the order of their size.
        here, there = (torch.cat([batch[name].float() for batch in one]).sort(dim=0).values for one in (ours, theirs))
        assert torch.allclose(here, there, atol=1e-6, rtol=0), name


def test_weavers_configuration_is_yaml():
    found = yaml.safe_load(weaver_config())
    assert len(found["inputs"]["pf_features"]["vars"]) == 17
    assert found["labels"]["value"] == list(LABEL_BRANCHES)


def epoch(folder: Path, n_files: int):
    files = sorted(folder.glob("*.root"))[:n_files]
    return lambda: sum(len(batch) for batch in JetStream(files, batch_size=64, buffer=6000))


@pytest.mark.slow
def test_a_streams_memory_does_not_grow_with_the_files(jetclass_file):
    first = jetclass_file("0.root", n=3000)
    for number in range(1, 30):
        shutil.copy(first, first.with_name(f"{number}.root"))
    few, many = (peak_growth(epoch, first.parent, n_files) for n_files in (4, 30))
    assert many - few < 15  # of 100 MiB more jets


def test_the_training_benchmark(capsys):
    words = ["--models", "[deepsets]", "--batch_size", "4", "--batches", "1", "--warmup", "1", "--memory", "false"]
    assert main(["train", *words]) == 0
    text = capsys.readouterr().out
    assert "deepsets" in text
    assert "inference jets/s" in text
    assert main(["train", "--precision", "16"]) == 1
    assert "expected one of '32-true', 'bf16-mixed'" in capsys.readouterr().err
    assert main(["train", "--models", "[deepset]", "--batches", "1"]) == 1
    assert "the nearest are 'deepsets'" in capsys.readouterr().err


def test_memory_is_said_by_jets_and_by_what_each_more_takes():
    runs = (Run("predict", 100, 300.0, 340.0), Run("probe", 100, 300.0, 310.0), Run("predict", 1124, 310.0, 351.0))
    assert Memory(runs, {}).rows() == [
        ["predict", "100", "340", "40", "–"],
        ["probe", "100", "310", "10", "–"],
        ["predict", "1,124", "351", "41", "1,024"],
    ]


def test_jets_of_the_memory_benchmark_are_the_samples_again_and_again(tmp_path):
    path = write_sample(tmp_path / "jets.root", 4500)
    jets = read(repeated(tmp_path, 2))
    assert len(jets) == 2 * 4500
    assert torch.equal(jets.p4[4500:], jets.p4[:4500])
    assert len(np.unique(read(path, limit=200).label)) == 10


@pytest.mark.slow
def test_the_memory_benchmark_goes_on(capsys, tmp_path):
    words = ["memory", "--jets", "[200, 400]", "--probed", "[20]", "--out", str(tmp_path / "m.json")]
    assert main([*words, "--tasks", "[predict]"]) == 0
    assert main([*words, "--width", "4"]) == 1
    assert "expected {" in capsys.readouterr().err
    assert main(words) == 0
    found = Memory.load(tmp_path / "m.json")
    tasks = [(run.task, run.jets) for run in found.runs]
    assert tasks == [("predict", 200), ("predict", 400), ("evaluate", 200), ("evaluate", 400), ("probe", 20)]
    assert all(0 < run.before < run.peak < 2000 for run in found.runs)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--jets", "[200, 100]"], "expected rising numbers of jets"),
        (["--jets", "[200, 300]"], "expected multiples of 200"),
        (["--tasks", "[probes]"], "the nearest are 'probe'"),
        (["--probed", "[0]"], "probed is 0"),
    ],
)
def test_mistakes_of_the_memory_benchmark(capsys, words, message):
    assert main(["memory", *words]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_both_particle_transformers_compute_the_same(capsys):
    pytest.importorskip("weaver")
    setting = (8, 64, 1, "cpu", "32-true", 0)
    logits = [task(name, "inference", *setting)() for name in (WEAVER, "part")]
    torch.testing.assert_close(logits[1], logits[0], atol=1e-5, rtol=0)


def failing(size):
    yield gpu.Row("first", "fine", {"value": 1.0, "nothing": float("nan")})
    raise RuntimeError("an illegal\nmemory access")


def test_the_table_of_an_accelerator_comes_out_whatever_fails(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(gpu.PARTS, "symmetrized", (failing, 10))
    words = ["--device", "cpu", "--quick", "--isolate", "false", "--out", str(tmp_path / "gpu.json")]
    assert main(["gpu", *words, "--parts", "[symmetrized,floors,precision]"]) == 0
    assert "RuntimeError: an illegal memory access" in capsys.readouterr().out
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert [row["part"] for row in rows] == ["symmetrized"] * 2 + ["floors"] * 8 + ["precision"]
    assert rows[0]["values"] == {"value": 1.0}
    for row in rows[2:10]:
        assert row["values"]["actual"] <= row["values"]["floor"]
    assert rows[-1]["values"]["largest_difference"] < 0.1


def test_mistakes_of_the_table_of_an_accelerator(capsys):
    assert main(["gpu", "--device", "cpu", "--parts", "[floor]"]) == 1
    assert "the nearest are 'floors'" in capsys.readouterr().err
    if not torch.cuda.is_available():
        assert main(["gpu"]) == 1
        assert "torch finds no CUDA device here" in capsys.readouterr().err


@pytest.mark.slow
def test_every_part_of_the_table_of_an_accelerator_in_its_own_process(tmp_path):
    parts = [name for name in gpu.PARTS if name != "compiled"]  # which takes a minute on a CPU
    words = ["--device", "cpu", "--quick", "--out", str(tmp_path / "gpu.json"), "--parts", json.dumps(parts)]
    assert main(["gpu", *words]) == 0
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert {row["part"] for row in rows} == set(parts)
    assert not [row for row in rows if not row["values"]]


def test_a_part_of_the_table_that_takes_too_long_is_ended(monkeypatch):
    monkeypatch.setattr(gpu, "ALTOGETHER", 0.1)
    rows = list(gpu._all_rows(["symmetrized", "floors"], gpu.Size("cpu", True, 0), isolate=True))
    assert [(name, row.what) for name, row in rows] == [("symmetrized", "ended"), ("floors", "ended")]


def write_molecules(path: Path, n: int = 12, **changes) -> Path:
    """Random clouds of H and O with the dipole of charges ±1, and a polarizability of the same form."""
    ase = pytest.importorskip("ase", reason="the extra 'atoms' is not installed")
    io = pytest.importorskip("ase.io")
    rng, frames = np.random.default_rng(0), []
    for _ in range(n):
        frame = ase.Atoms("OH3", 1.5 * rng.normal(size=(4, 3)))
        charges = np.where(frame.numbers == 8, -3.0, 1.0)
        alpha = np.einsum("n,ni,nj->ij", charges**2, frame.positions, frame.positions)
        frame.info |= {"mu": charges @ frame.positions, "alpha": alpha} | changes
        frames.append(frame)
    io.write(path, frames)
    return path


def test_the_tensor_basis_benchmark(capsys, tmp_path):
    path = write_molecules(tmp_path / "molecules.xyz")
    words = ["--epochs", "2", "--seeds", "1", "--width", "8", "--out", str(tmp_path / "found.json")]
    assert main(["tensor_basis", "--data", str(path), *words]) == 0
    text = capsys.readouterr().out
    assert "direct, augmented" in text
    assert "alpha: the tensor basis spans all 5 dimensions" in text
    runs = json.loads((tmp_path / "found.json").read_text())["runs"]
    assert len(runs) == 2 * 5
    for run in runs:
        assert (run["A"] < 1e-12) == ("tensor basis" in run["method"])
        if "tensor basis" in run["method"]:
            assert run["rmse"] == pytest.approx(run["rmse_rotated"], rel=1e-9)
        assert run["epochs"] == 2 if "tensor basis" in run["method"] else 4


def test_mistakes_of_the_tensor_basis_benchmark(capsys, tmp_path):
    path = write_molecules(tmp_path / "molecules.xyz", mu=[1.0])
    for words, message in [
        (["--data", str(tmp_path / "none.xyz")], "there is no file"),
        (["--data", str(path)], "molecule 0 of molecules.xyz has no 'mu' with 3 numbers"),
        (["--data", str(path), "--targets", "[charge]"], "targets has ['charge']"),
        (["--data", str(path), "--heads", "[direct]"], "expected 'tensor basis' first"),
        (["--data", str(path), "--seeds", "0"], "expected whole numbers ≥ 1"),
    ]:
        assert main(["tensor_basis", *words]) == 1
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_the_tensor_basis_is_as_accurate_as_a_direct_head(real_data, tmp_path):
    path = real_data / "atoms" / "qm7x_reduced_100_CHNO.xyz"
    if not path.is_file():
        pytest.skip(f"there is no {path.name} among the real data")
    molecules = read_molecules(path, ["mu"])
    options = {"seed": 0, "width": 16, "batch_size": 16, "learning_rate": 3e-3, "test_fraction": 0.2}
    ours, direct = (
        run_tensor_basis(molecules, "mu", method, epochs=40 * factor, **options)
        for method, factor in (("tensor basis", 1), ("direct, augmented", 2))
    )
    assert ours["rmse_rotated"] < direct["rmse_rotated"] < 0.4
