"""Weights of the training jets, in memory and streamed: in the loss, in validation, and what reweighting does."""

import numpy as np
import pytest
import torch
import uproot
import yaml
from torch.nn import functional as F

from jetsym.cli import main
from jetsym.errors import ConfigError, DataError
from jetsym.jets import checkpoint, read
from jetsym.jets.evaluation import metrics
from jetsym.jets.io.block import read_block
from jetsym.jets.io.mapping.measure import measured
from jetsym.jets.io.mapping.parse import load_mapping
from jetsym.jets.io.paths import jet_files
from jetsym.jets.io.registry import index_file
from jetsym.jets.io.streaming.convert import convert
from jetsym.jets.io.streaming.stream import JetStream
from jetsym.jets.schema import CLASSES
from jetsym.training import loop
from jetsym.training.batches import batches
from jetsym.training.config import TrainConfig
from jetsym.training.data import load_jets
from jetsym.training.engine import make_fabric
from jetsym.training.folder import RunFolder
from jetsym.training.loop import train
from jetsym.training.optimisation import class_weights
from jetsym.training.state import begin
from jetsym.training.step import add_gradient
from jetsym.training.weights import sums_of_classes

SMALL = {"width": 8, "blocks": 1, "heads": 2}
QUICK = {"epochs": 1, "batch_size": 16, "options": SMALL, "device": "cpu"}
KIN = QUICK | {"model": "deepsets", "options": {"features": "kin"}}  # of momenta alone
MOMENTA = {"px": "part_px", "py": "part_py", "pz": "part_pz", "energy": "part_energy"}


def signed(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.choice([-1.0, 1.0], n, p=[0.2, 0.8]) * rng.uniform(1, 5, n)).astype("f4")


@pytest.fixture
def write_mapping(tmp_path):
    def write(name: str = "map.yaml", **changes) -> str:
        content = {
            "particles": MOMENTA,
            "labels": {"one_hot": {"QCD": "label_QCD", "other": "1 - label_QCD"}},
            **changes,
        }
        (tmp_path / name).write_text(yaml.safe_dump(content))
        return str(tmp_path / name)

    return write


# --- the loss ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [1, 3, 13])
def test_the_gradient_is_that_of_the_weighted_sum_over_the_number_of_jets(make_jets, accumulate):
    """Σ w c l / n, whatever the parts that a batch goes through the model in."""
    weights = torch.from_numpy(signed(13))
    jets = make_jets(13).replace(columns={"weight": weights})
    factors = {name: 0.5 + place for place, name in enumerate(jets.classes)}
    config = TrainConfig("a.root", class_weights=factors, accumulate=accumulate, options=SMALL, device="cpu")
    run = begin(make_fabric(config), config, jets)
    loss = add_gradient(run, jets, size=26, place={"seed": 0})  # another process has the other 13
    each = F.cross_entropy(run.tagger(jets), jets.label, reduction="none")
    expected = (each * weights * (0.5 + jets.label)).sum() / 26
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    gradients = torch.autograd.grad(expected, list(run.tagger.parameters()))
    for weight, gradient in zip(run.tagger.parameters(), gradients, strict=True):
        torch.testing.assert_close(weight.grad, gradient, atol=1e-5, rtol=1e-3)


def test_validation_is_weighted(make_jets):
    weights = torch.from_numpy(signed(40, seed=1))
    jets = make_jets(40).replace(columns={"weight": weights}, label=torch.arange(40) % 10)
    config = TrainConfig("a.root", options=SMALL, device="cpu")
    run = begin(make_fabric(config), config, jets)
    found = loop.validate(run.fabric, run.tagger, jets, batch_size=8)
    logits = run.tagger.eval()(jets).detach()
    losses = F.cross_entropy(logits, jets.label, reduction="none")
    assert found["val_loss"] == pytest.approx(float((weights * losses).sum() / weights.sum()), rel=1e-5)
    for name, value in metrics.summary(logits, jets.label, weights=weights, efficiencies=()).items():
        assert found[name] == pytest.approx(value, rel=1e-6)
    plain = loop.validate(run.fabric, run.tagger, jets.replace(columns={}), batch_size=8)
    assert plain["val_loss"] == float(F.cross_entropy(logits, jets.label))
    assert plain["accuracy"] != found["accuracy"]


# --- which weights ----------------------------------------------------------------------------------------------------


def test_weights_have_a_mean_of_one(jetclass_file, write_mapping):
    given = signed(60)
    path = str(jetclass_file(n=60, weight=given, gen=given**2, jet_sdmass=given))
    own, _ = load_jets(TrainConfig(path, val=path))  # a branch of the files themselves
    np.testing.assert_allclose(own.columns["weight"], given / given.mean(dtype="f8"), rtol=1e-6)
    assert list(own.columns) == ["weight"]
    assert load_jets(TrainConfig(path, val=path, weights="none"))[0].columns == {}
    mapped = write_mapping(columns={"weight": "gen", "third": "weight"})
    for weights, expected in ((None, given**2), ("third", given)):
        jets, validation = load_jets(TrainConfig(path, val=path, mapping=mapped, weights=weights))
        np.testing.assert_allclose(jets.columns["weight"], expected / expected.mean(dtype="f8"), rtol=1e-6)
        assert torch.equal(validation.columns["weight"], jets.columns["weight"])
    for stream in (False, True):
        with pytest.raises(ConfigError, match="weights is 'thrid', which is no column of the jets"):
            load_jets(TrainConfig(path, val=path, mapping=mapped, weights="thrid", stream=stream, batch_size=10))


@pytest.mark.parametrize("stream", [False, True])
def test_weights_that_cannot_be_meant(jetclass_file, stream):
    options = {"stream": stream, "batch_size": 10}
    weighed, plain = str(jetclass_file("w.root", n=30, weight=np.ones(30))), str(jetclass_file("p.root", n=30))
    with pytest.raises(DataError, match="those of --val have none; give it to both, or .* --weights none"):
        load_jets(TrainConfig(weighed, val=plain, **options))
    with pytest.raises(DataError, match="the jets of --val have a column 'weight' of weights, and those of --data"):
        load_jets(TrainConfig(plain, val=weighed, **options))
    load_jets(TrainConfig(weighed, val=plain, weights="none", **options))
    for name, weights, said in (
        (
            "nan.root",
            np.where(np.arange(30) == 4, np.nan, 1.0),
            "1 of 30 weights are NaN or infinite, the first at jet 4",
        ),
        (
            "sum.root",
            np.where(np.arange(30) < 15, -1.0, 1.0),
            "weights of the 30 jets of --data, .* sum to 0; expected",
        ),
    ):
        with pytest.raises(DataError, match=said):
            load_jets(TrainConfig(str(jetclass_file(name, n=30, weight=weights)), val=weighed, **options))


def test_only_some_files_with_weights_are_refused(jetclass_file):
    files = [str(jetclass_file("w.root", n=30, weight=np.ones(30))), str(jetclass_file("p.root", n=30))]
    for stream in (False, True):
        with pytest.raises(DataError, match="cannot be (read|streamed) together"):
            load_jets(TrainConfig(files, val=files[0], stream=stream, batch_size=10))


# --- streams ----------------------------------------------------------------------------------------------------------


def by_jet(parts) -> dict[float, float]:
    pairs = [zip(part.jet_p4[:, 0].tolist(), part.columns["weight"].tolist(), strict=True) for part in parts]
    return {energy: weight for each in pairs for energy, weight in each}


@pytest.mark.parametrize("cached", [False, True])
def test_streamed_jets_have_the_weights_of_those_in_memory(jetclass_file, tmp_path, cached):
    files = [str(jetclass_file(f"{n}.root", n=40, seed=n, weight=signed(40, seed=n))) for n in range(2)]
    options = {"val": files[0], "class_weights": "balanced", "batch_size": 10}
    memory, _ = load_jets(TrainConfig(files, **options))
    cache = str(tmp_path / "cache") if cached else None
    config = TrainConfig(files, stream=True, cache=cache, **options)
    for rank in range(1 if cached else 2):
        stream, _ = load_jets(config, rank=rank, ranks=1 if cached else 2)
        shown = list(batches(stream, batch_size=10, seed=0, epoch=1))
        expected = by_jet([memory])
        found = by_jet(shown)
        assert found == pytest.approx({jet: expected[jet] for jet in found}, rel=1e-6)
        assert {name for jets in shown for name in jets.columns} == {"weight"}
        np.testing.assert_allclose(sums_of_classes(stream), sums_of_classes(memory), rtol=1e-5)
        balanced = class_weights(config, stream.classes, stream)
        torch.testing.assert_close(balanced, class_weights(config, memory.classes, memory), rtol=1e-5, atol=0)
    weight = memory.columns["weight"] * balanced[memory.label]
    sums = torch.zeros(10).index_add(0, memory.label, weight)
    assert sums.tolist() == pytest.approx([8.0] * 10, rel=1e-4)  # of 80 in all


def test_balanced_classes_of_a_stream_are_those_of_memory(jetclass_file):
    path = str(jetclass_file(n=50))
    config = TrainConfig(path, val=path, stream=True, class_weights="balanced", batch_size=10)
    stream, memory = load_jets(config)[0], read(path)
    assert torch.equal(class_weights(config, memory.classes, stream), class_weights(config, memory.classes, memory))


def test_a_class_of_negative_weight_cannot_be_balanced(jetclass_file):
    label = {"label_QCD": (np.arange(30) < 10) * 1.0, "label_Hbb": np.arange(30) >= 10}
    others = {f"label_{name}": np.zeros(30, "i4") for name in CLASSES[2:]}
    path = str(jetclass_file(n=30, **label, **others, weight=np.where(np.arange(30) < 10, -0.5, 1.0)))
    config = TrainConfig(path, val=path, class_weights="balanced")
    jets, _ = load_jets(config)
    with pytest.raises(ConfigError, match="the weights of the jets of 'QCD' sum to -10; expected more than 0"):
        class_weights(config, jets.classes, jets)


def test_a_cache_without_the_weights_is_refused(jetclass_file, write_mapping, tmp_path):
    plain = jetclass_file(n=40, weight=np.ones(40))
    mapping = write_mapping(reweight={"bins": {"jet_pt": [0, 1e5]}})
    for number, how in enumerate(({}, {"mapping": mapping})):
        folder = tmp_path / f"cache{number}"
        convert(plain, folder, columns="full", progress=False, **how)
        config = TrainConfig(str(plain), val=str(plain), stream=True, cache=str(folder), batch_size=10, **how)
        with pytest.raises(ConfigError, match="is a cache without the column 'weight', which .* has; .* --overwrite"):
            load_jets(config)
        convert(plain, folder, columns="full", also=["weight"], overwrite=True, progress=False, **how)
        jets, _ = load_jets(config)
        assert jets.weighed_by == "weight"


def test_a_stream_gives_the_columns_that_are_asked_for(jetclass_file):
    path = jetclass_file(n=40, weight=signed(40), jet_sdmass=np.arange(40.0))
    stream = JetStream(path, batch_size=40, shuffle=False, also=["jet_sdmass", "nothing"])
    (batch,) = stream
    assert stream.names == tuple(batch.columns) == ("jet_sdmass",)
    assert batch.columns["jet_sdmass"].tolist() == list(range(40))
    jets, sums, squares = stream.sums("jet_sdmass")
    assert (jets.sum(), sums.sum(), squares.sum()) == (40, sum(range(40)), sum(n**2 for n in range(40)))


# --- whole runs -------------------------------------------------------------------------------------------------------


def weights_of(run) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in checkpoint.read(run.path)[1].items() if name.startswith("model.")}


@pytest.mark.parametrize("stream", [False, True])
def test_a_training_with_weights_differs_and_one_with_equal_ones_does_not(
    jetclass_file, write_mapping, tmp_path, stream, capsys
):
    equal = np.full(80, 0.3, "f4")
    data = str(jetclass_file("d.root", n=80, gen=signed(80), equal=equal))
    mappings = {
        "plain": {},
        "equal": {"columns": {"weight": "equal"}},
        "signed": {"columns": {"weight": "gen"}},
        "reweight": {"reweight": {"bins": {"jet_pt": [0, 60, 100, 1e5]}}},
    }
    runs = {}
    for name, changes in mappings.items():
        mapping = write_mapping(f"{name}.yaml", **changes)
        runs[name] = train(data, tmp_path / name, val=data, stream=stream, mapping=mapping, **KIN)
        said = capsys.readouterr().err
        assert ("the column 'weight' weighs the jets, in the loss and in validation: 80 for" in said) == (
            name != "plain"
        )
    options = {"val": data, "stream": stream, "mapping": write_mapping("s.yaml", **mappings["signed"]), **KIN}
    runs["none"] = train(data, tmp_path / "none", weights="none", **options)
    plain = weights_of(runs["plain"])
    for name in ("equal", "none"):
        assert all(torch.equal(tensor, plain[key]) for key, tensor in weights_of(runs[name]).items()), name
    for name in ("signed", "reweight"):
        found = weights_of(runs[name])
        assert max(float((found[key].float() - plain[key].float()).abs().max()) for key in plain) > 1e-4, name
        assert runs[name].metrics[-1]["loss"] != runs["plain"].metrics[-1]["loss"]
        assert runs[name].metrics[-1]["val_loss"] != runs["plain"].metrics[-1]["val_loss"]


def test_a_run_goes_on_with_its_own_weights(jetclass_file, tmp_path):
    """One that was trained before weights counted is not continued with them in silence."""
    data = str(jetclass_file(n=40, weight=signed(40)))
    train(data, tmp_path / "run", progress=False, **QUICK | {"epochs": 2, "weights": "none"})
    file = tmp_path / "run" / "config.yaml"
    former = yaml.safe_load(file.read_text())
    del former["weights"]
    file.write_text(yaml.safe_dump(former))
    (tmp_path / "run" / "metrics.jsonl").write_text("")
    with pytest.raises(ConfigError, match="trained on other jets: weights was None and is now 'weight'"):
        train(data, tmp_path / "run", progress=False, resume=True, **QUICK | {"epochs": 2})
    train(data, tmp_path / "run", progress=False, resume=True, **QUICK | {"epochs": 2, "weights": "none"})
    config = TrainConfig(data, options=SMALL, device="cpu")  # checkpoints of then do not say
    run = begin(make_fabric(config), config, load_jets(config)[0])
    with pytest.raises(ConfigError, match="weights was None and is now 'weight'"):
        run._expect_same_jets({"jets": 36}, RunFolder(tmp_path), False)


def test_imbalanced_classes_are_learned_as_equal_ones(write_tree, tmp_path):
    """Jets that tell nothing: the loss is least at the share of each class, which reweighting makes one half."""
    rng = np.random.default_rng(0)
    label = (rng.random(600) < 0.1).astype("i4")
    columns = {name: [[value]] * 600 for name, value in zip(MOMENTA.values(), (3.0, 0.0, 4.0, 5.0), strict=True)}
    data = str(write_tree(tmp_path / "a.root", columns | {"top": label, "pt": np.full(600, 3.0)}))
    labels = {"value": "top", "classes": ["QCD", "top"]}
    shares = {}
    for name, changes in (("plain", {}), ("flat", {"reweight": {"bins": {"pt": [0, 10]}}})):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({"particles": MOMENTA, "labels": labels, **changes}))
        options = KIN | {"epochs": 8, "batch_size": 50, "lr": 0.03}
        run = train(data, tmp_path / name, progress=False, mapping=str(tmp_path / f"{name}.yaml"), val=data, **options)
        jets = read(data, limit=1, mapping=str(tmp_path / f"{name}.yaml"))
        shares[name] = float(run.model()(jets).softmax(-1)[0, 1].detach())
    assert shares["plain"] == pytest.approx(label.mean(), abs=0.05)
    assert shares["flat"] == pytest.approx(0.5, abs=0.08)


# --- spectra ----------------------------------------------------------------------------------------------------------

BINS = [200, 300, 400, 500, 700, 1000]


def spectrum_chi2(pt, weights, before=None) -> float:
    """χ² per bin of a weighted spectrum against a flat one; ``before``: the jets per bin that made the weights."""
    sums, squares = (np.histogram(pt, BINS, weights=values)[0] for values in (weights, weights**2))
    variance = squares * (1 if before is None else 1 + np.histogram(pt, BINS)[0] / before)
    flat = (sums / variance).sum() / (1 / variance).sum()
    return float(((sums - flat) ** 2 / variance).sum() / (len(BINS) - 2))


@pytest.mark.parametrize("to", ["flat", "QCD"])
def test_reweighting_gives_the_same_spectra_on_an_independent_half(write_tree, tmp_path, to):
    rng = np.random.default_rng(2)
    n = 8000
    label = rng.choice(3, n, p=[0.7, 0.2, 0.1]).astype("i4")
    pt = 200 + rng.exponential(150 + 60 * label, n).clip(max=799)
    columns = {name: [[1.0]] * n for name in MOMENTA.values()} | {"top": label, "pt": pt}
    files = []
    for half in range(2):
        own = {name: values[half::2] for name, values in columns.items()}
        files.append(write_tree(tmp_path / f"{half}.root", own))
    content = {
        "particles": MOMENTA,
        "columns": {"pt": "pt"},
        "labels": {"value": "top", "classes": ["QCD", "W", "top"]},
        "reweight": {"bins": {"pt": BINS}, "to": to},
    }
    (tmp_path / "map.yaml").write_text(yaml.safe_dump(content))
    mapping = measured(load_mapping(tmp_path / "map.yaml"), jet_files(files[0]))
    index = index_file(jet_files(files[1])[0], mapping)
    jets, _ = read_block(index, 0, index.n_jets)
    pt, weights = jets.columns["pt"], jets.columns["weight"].astype("f8")
    spectra = [np.histogram(pt[jets.label == c], BINS, weights=weights[jets.label == c])[0] for c in range(3)]
    for c in range(3):
        own = jets.label == c
        with uproot.open(files[0]) as file:
            first = file["tree"].arrays(["pt", "top"], library="np")
        before = np.histogram(first["pt"][first["top"] == c], BINS)[0]
        if to == "flat":
            assert spectrum_chi2(pt[own], weights[own], before) < 2
            assert spectrum_chi2(pt[own], np.ones(own.sum())) > 3  # the checker
        else:
            counts = [np.histogram(pt[jets.label == k], BINS)[0] for k in (0, c)]
            error = np.sqrt(1 / counts[1] + 1 / before + 1 / counts[0])
            assert np.mean(((spectra[c] / spectra[0] - 1) / error) ** 2) < 2
            assert np.mean(((counts[1] * counts[0].sum() / counts[1].sum() / counts[0] - 1) / error) ** 2) > 2 or not c
    totals = [spectrum.sum() for spectrum in spectra]
    assert totals == pytest.approx([np.mean(totals)] * 3, rel=0.2)


def test_from_the_shell(jetclass_file, tmp_path, capsys):
    data = str(jetclass_file(n=60, weight=signed(60)))
    words = ["--epochs", "1", "--batch_size", "20", "--options.width", "8", "--device", "cpu", "--progress", "false"]
    assert main(["train", "--data", data, "--out", str(tmp_path / "run"), *words]) == 0
    assert main(["train", "--data", data, "--out", str(tmp_path / "none"), "--weights", "none", *words]) == 0
    assert yaml.safe_load((tmp_path / "none" / "config.yaml").read_text())["weights"] == "none"
    capsys.readouterr()
    for extra, said in (([], "Weighted by the column 'weight' ("), (["--weights", "none"], "Not weighted: every jet")):
        assert main(["evaluate", str(tmp_path / "run"), data, "--rotated", "null", *extra]) == 0
        assert said in capsys.readouterr().out
    table = str(tmp_path / "scores.root")
    assert main(["predict", str(tmp_path / "run"), data, "--out", table, "--progress", "false"]) == 0
    assert main(["evaluate", table, "--scores", "score_*"]) == 0
    assert "Weighted by the column 'weight' (" in capsys.readouterr().out
    assert main(["evaluate", table, "--scores", "score_*", "--weights", "wait"]) == 1
    assert "weights is 'wait', which is no column of the jets" in capsys.readouterr().err
