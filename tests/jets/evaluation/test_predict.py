"""Predictions in files: what the model says, jet by jet in the order of the files, whole or not at all."""

import json

import awkward as ak
import numpy as np
import pyarrow.parquet
import pytest
import torch
import uproot
from torch import nn

import jetsym
from jetsym.errors import CheckpointError, ConfigError, DataError
from jetsym.jets import read
from jetsym.jets.evaluation import predict as predict_module
from jetsym.jets.evaluation.evaluate import evaluate
from jetsym.jets.evaluation.predict import predict
from jetsym.jets.evaluation.scored_files import read_scores
from jetsym.jets.io.columns import open_columns
from jetsym.jets.io.mapping.parse import load_mapping
from jetsym.jets.io.registry import index_file
from jetsym.jets.io.sample import sample_dir
from jetsym.jets.io.streaming.blocks import JetFiles
from jetsym.jets.models import PointNet, build
from jetsym.jets.schema import CLASSES, SCALARS


@pytest.fixture(scope="module")
def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return PointNet(width=8, blocks=1).eval()


def columns_of(path) -> dict[str, np.ndarray]:
    if path.suffix == ".parquet":
        return {name: column.to_numpy() for name, column in zip(*table_of(path), strict=True)}
    with uproot.open(path) as file:
        return {name: ak.to_numpy(column) for name, column in file["tree"].arrays(how=dict).items()}


def table_of(path):
    table = pyarrow.parquet.read_table(path)
    return table.column_names, table.columns


@pytest.fixture
def two_files(jetclass_file):
    return [jetclass_file("b.root", n=30, seed=1), jetclass_file("a.root", n=21, seed=2)]


@pytest.mark.parametrize("suffix", [".root", ".parquet"])
def test_probabilities_and_observers_in_the_order_of_the_files(suffix, model, two_files, tmp_path, monkeypatch):
    monkeypatch.setattr(predict_module, "ROWS", 8)  # several portions, across the edge of the files
    monkeypatch.setattr(predict_module, "BUFFER", 16)
    out = predict(model, two_files, tmp_path / f"p{suffix}", logits=True, batch_size=5, progress=False)
    found, jets = columns_of(out), read(two_files)
    logits = model(jets).detach()
    assert len(jets) == 51
    for place, name in enumerate(CLASSES):
        np.testing.assert_allclose(found[f"logit_{name}"], logits[:, place], atol=2e-6)
        np.testing.assert_allclose(found[f"score_{name}"], logits.softmax(-1)[:, place], atol=1e-6)
        assert found[f"score_{name}"].dtype == np.float32
    np.testing.assert_array_equal(found["label"], jets.label)
    for name, column in jets.columns.items():
        np.testing.assert_array_equal(found[name], column)
    stored = {name: [] for name in ("jet_pt", "jet_eta", "jet_phi", "jet_energy")}
    for path in two_files:
        with uproot.open(path) as file:
            for name, values in stored.items():
                values.extend(file["tree"][name].array())
    for name, values in stored.items():
        np.testing.assert_allclose(found[name], np.array(values, "float32"), rtol=1e-6, atol=1e-6)
    assert [file.name for file in tmp_path.glob("*p*") if "part" in file.name] == []


def test_names_of_the_classes_are_kept(model, two_files, tmp_path):
    tagger = PointNet(("light", "heavy"), width=8, blocks=1)
    predict(tagger, two_files, tmp_path / "p.root", progress=False)
    with uproot.open(tmp_path / "p.root") as file:
        assert json.loads(str(file["classes"])) == ["light", "heavy"]
        assert json.loads(str(file["label_classes"])) == list(CLASSES)
        assert [name for name in file["tree"].keys() if "score" in name] == ["score_light", "score_heavy"]  # noqa: SIM118
    predict(tagger, two_files, tmp_path / "p.parquet", progress=False)
    facts = pyarrow.parquet.read_schema(tmp_path / "p.parquet").metadata
    assert json.loads(facts[b"classes"]) == ["light", "heavy"]


def test_both_formats_hold_the_same(model, tmp_path):
    data = sample_dir() / "val"
    root = columns_of(predict(model, data, tmp_path / "p.root", progress=False))
    parquet = columns_of(predict(model, data, tmp_path / "p.parquet", progress=False))
    assert list(root) == list(parquet)
    for name, column in root.items():
        np.testing.assert_array_equal(column, parquet[name])
        assert column.dtype == parquet[name].dtype
    assert "aux_truth_match" in root
    total = sum(root[f"score_{name}"].astype(float) for name in CLASSES)
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_jets_without_labels(model, jetclass_file, tmp_path):
    data = jetclass_file("u.root", n=4, **{f"label_{name}": None for name in CLASSES})
    found = columns_of(predict(model, data, tmp_path / "p.root", progress=False))
    assert "label" not in found
    assert len(found["score_QCD"]) == 4


def test_only_some_particles_are_kept(model, two_files, tmp_path):
    found = columns_of(predict(model, two_files, tmp_path / "p.parquet", max_particles=3, progress=False))
    logits = model(read(two_files, max_particles=3)).detach()
    np.testing.assert_allclose(found["score_QCD"], logits.softmax(-1)[:, 0], atol=1e-6)
    model.max_particles = 3
    try:
        again = columns_of(predict(model, two_files, tmp_path / "q.parquet", progress=False))
    finally:
        del model.max_particles
    np.testing.assert_array_equal(found["score_QCD"], again["score_QCD"])


def test_bad_jets_are_named_or_left_out(model, make_jets, jetclass_columns, write_tree, tmp_path):
    jets = make_jets(6, seed=3)
    momenta = jets.p4.clone()
    momenta[2, 0, 1] = torch.nan
    data = write_tree(tmp_path / "bad.root", jetclass_columns(jets.replace(p4=momenta)))
    out = tmp_path / "p.root"
    with pytest.raises(DataError, match="1 of 6 jets cannot be used"):
        predict(model, data, out, progress=False)
    assert not out.exists()
    found = columns_of(predict(model, data, out, bad_jets="drop", progress=False))
    np.testing.assert_array_equal(found["entry"], np.arange(6))
    np.testing.assert_array_equal(found["label"], np.where(np.arange(6) == 2, -1, jets.label))
    np.testing.assert_array_equal(np.isnan(found["score_QCD"]), np.arange(6) == 2)
    np.testing.assert_array_equal(found["file"], np.zeros(6))


@pytest.mark.parametrize("suffix", [".root", ".parquet"])
def test_what_was_there_stays_when_it_fails(suffix, model, two_files, tmp_path):
    out = tmp_path / f"p{suffix}"
    out.write_text("before")

    class Failing(PointNet):
        def forward(self, jets):
            raise DataError("no")

    with pytest.raises(DataError, match="no"):
        predict(Failing(width=8, blocks=1), two_files, out, progress=False)
    assert out.read_text() == "before"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.root", "b.root", out.name]


def test_mistakes(model, two_files, tmp_path):
    with pytest.raises(ConfigError, match="expected a name that ends in .root or .parquet"):
        predict(model, two_files, tmp_path / "p.csv")
    with pytest.raises(ConfigError, match="one of the files to read"):
        predict(model, tmp_path / "*.root", two_files[0])
    assert len(read(two_files[0])) == 30
    with pytest.raises(ConfigError, match="batch_size is 0; expected an integer ≥ 1"):
        predict(model, two_files, tmp_path / "p.root", batch_size=0)
    with pytest.raises(ConfigError, match="max_particles is -1; expected an integer ≥ 1 or None"):
        predict(model, two_files, tmp_path / "p.root", max_particles=-1)
    with pytest.raises(DataError, match=r"no\.root: no such file"):
        predict(model, tmp_path / "no.root", tmp_path / "p.root")


def test_a_cache_can_be_read_and_the_file_replaced(model, two_files, tmp_path):
    from jetsym.jets.io.streaming.convert import convert

    cache = convert(two_files, tmp_path / "cache", columns="all")
    for _ in range(2):
        found = columns_of(predict(model, cache, tmp_path / "p.root", progress=False))
    direct = columns_of(predict(model, two_files, tmp_path / "q.root", progress=False))
    assert list(found) == list(direct)
    np.testing.assert_array_equal(found["score_QCD"], direct["score_QCD"])


def test_files_are_read_as_they_are_needed(model, jetclass_file, tmp_path, monkeypatch):
    """Besides the jets at work only the next buffer is read, however many files there are."""
    monkeypatch.setattr(predict_module, "ROWS", 16)
    monkeypatch.setattr(predict_module, "BUFFER", 20)
    read_so_far, ahead, rows = [0], [], []
    real_read, real_columns = JetFiles.read, predict_module._columns

    def counted(self, block, arena=None):
        read_so_far[0] += len(block)
        return real_read(self, block, arena)

    def noted(jets, *rest, **options):
        rows.append(len(jets))
        ahead.append(read_so_far[0] - sum(rows))
        return real_columns(jets, *rest, **options)

    monkeypatch.setattr(JetFiles, "read", counted)
    monkeypatch.setattr(predict_module, "_columns", noted)
    files = [jetclass_file(f"{number:02}.root", n=20, seed=number) for number in range(12)]
    predict(model, files, tmp_path / "p.root", progress=False)
    assert sum(rows) == 240
    assert max(rows) == 16
    assert max(ahead) <= 60


@pytest.mark.slow
def test_published_weights_on_real_jets(real_data, tmp_path):
    """Reference logits of the original network, which go beyond 20."""
    tagger = jetsym.load(real_data / "particlenet" / "ParticleNet_kin.pt")
    data = real_data / "jetclass" / "jetclass_kin_500.root"
    found = columns_of(predict(tagger, data, tmp_path / "p.root", logits=True, progress=False))
    expected = np.load(real_data / "particlenet" / "ParticleNet_kin_logits_jetclass_kin_500.npy")
    np.testing.assert_allclose(np.stack([found[f"logit_{name}"] for name in CLASSES], axis=1), expected, atol=2e-4)


def test_jets_through_a_mapping(model, jetclass_file, tmp_path):
    path, mapping = jetclass_file(n=30), tmp_path / "map.yaml"
    particles = ", ".join(f"{name}: part_{name}" for name in ("px", "py", "pz", "energy", *SCALARS))
    mapping.write_text(f"particles: {{{particles}}}\ncolumns: {{number: jet_nparticles}}\nselection: jet_eta > 0\n")
    found = columns_of(predict(model, path, tmp_path / "p.root", mapping=mapping, progress=False))
    jets = read(path, mapping=mapping)
    assert 0 < len(jets) < 30
    chosen = index_file(path, load_mapping(mapping)).entries
    np.testing.assert_array_equal(found["entry"], np.arange(30))
    np.testing.assert_array_equal(found["number"][chosen], jets.columns["number"])
    np.testing.assert_allclose(found["score_QCD"][chosen], model(jets).detach().softmax(-1)[:, 0], atol=1e-6)
    np.testing.assert_array_equal(np.flatnonzero(np.isfinite(found["score_QCD"])), chosen)


@pytest.mark.parametrize("suffix", [".root", ".parquet"])
def test_rows_can_be_joined_to_the_entries_of_several_files(
    suffix, model, make_jets, jetclass_columns, write_tree, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(predict_module, "ROWS", 8)
    monkeypatch.setattr(predict_module, "BUFFER", 16)
    jets = make_jets(40, seed=3)
    momenta = jets.p4.clone()
    momenta[[0, 7, 8, 19, 20, 39], 0, 1] = torch.nan
    bad = jets.replace(p4=momenta)
    for folder, part in (("a", bad[:20]), ("b", bad[20:])):
        (tmp_path / folder).mkdir()
        write_tree(tmp_path / folder / "x.root", jetclass_columns(part))
    (tmp_path / "b" / "y.root").write_bytes(b"no jets")
    out = tmp_path / f"p{suffix}"
    found = columns_of(
        predict(model, [tmp_path / "a", tmp_path / "b"], out, bad_jets="drop", skip_bad=True, progress=False)
    )
    np.testing.assert_array_equal(found["file"], np.arange(40) // 20)
    with open_columns(out) as columns:
        assert json.loads(columns.facts["files"]) == [str(tmp_path / place / "x.root") for place in "ab"]
    np.testing.assert_array_equal(found["entry"], np.arange(40) % 20)
    lost = np.isin(np.arange(40), [0, 7, 8, 19, 20, 39])
    np.testing.assert_array_equal(np.isnan(found["score_Hbb"]), lost)
    expected = model(jets).detach().softmax(-1)[:, 1].numpy()
    np.testing.assert_allclose(found["score_Hbb"][~lost], expected[~lost], atol=1e-6)
    np.testing.assert_array_equal(found["label"], np.where(lost, -1, jets.label))
    words = capsys.readouterr().err
    assert "6 jets of 2 files left out" in words
    assert "1 file left out" in words
    read_again = read_scores(out)
    assert (len(read_again.label), read_again.lost) == (34, 6)


def test_numbers_without_a_negative_say_none_as_well(model, make_jets, jetclass_columns, write_tree, tmp_path):
    jets = make_jets(6, seed=3)
    momenta = jets.p4.clone()
    momenta[[0, 3], 0, 1] = torch.nan
    columns = jetclass_columns(jets.replace(p4=momenta))
    columns |= {
        "event": np.arange(6, dtype=np.uint32) + 7,
        "good": np.ones(6, bool),
        "run": np.arange(6, dtype=np.uint64),
    }
    path = write_tree(tmp_path / "a.root", columns)
    mapping = tmp_path / "map.yaml"
    mapping.write_text(
        "particles: {px: part_px, py: part_py, pz: part_pz, energy: part_energy}\n"
        "columns: {event: event, good: good, run: run}\n"
    )
    options = {"mapping": mapping, "bad_jets": "drop", "progress": False}
    bare = build("deepsets", classes=("A", "B"), features="kin").eval()
    found = columns_of(predict(bare, path, tmp_path / "p.root", **options))
    lost = [0, 3]
    for name, values in (("event", np.arange(6) + 7), ("good", np.ones(6)), ("run", np.arange(6))):
        expected = values.copy()
        expected[lost] = -1
        np.testing.assert_array_equal(found[name], expected)


def test_columns_that_only_some_files_have_are_left_out(model, jetclass_columns, make_jets, write_tree, tmp_path):
    jets = make_jets(6, seed=3)
    first, second = jetclass_columns(jets), jetclass_columns(jets)
    second.pop("jet_sdmass")
    files = [write_tree(tmp_path / "a.root", first), write_tree(tmp_path / "b.root", second)]
    found = columns_of(predict(model, files, tmp_path / "p.root", progress=False))
    assert len(found["entry"]) == 12
    assert "jet_sdmass" not in found
    assert "jet_sdmass" in columns_of(predict(model, files[0], tmp_path / "p.root", progress=False))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_no_numbers_are_refused_before_anything_is_written(value, two_files, tmp_path):
    broken = PointNet(width=8, blocks=1)
    with torch.no_grad():
        next(broken.parameters()).view(-1)[3] = value
    with pytest.raises(CheckpointError, match=r"1 of \d+ weights of the PointNet are not finite, the first of '"):
        predict(broken, two_files, tmp_path / "p.root", progress=False)
    with pytest.raises(CheckpointError, match="are not finite"):
        evaluate(broken, read(two_files))
    assert not (tmp_path / "p.root").exists()


class _Sometimes(nn.Module):
    """Gives no numbers for jets of some pT, one way or another."""

    classes = CLASSES

    def __init__(self, share: float, value: float) -> None:
        super().__init__()
        self.share, self.value = share, value

    def forward(self, jets):
        logits = torch.arange(10.0).repeat(len(jets), 1) * jets.jet_p4[:, :1] / 100
        logits[jets.jet_p4[:, 0] < self.share, 4] = self.value
        return logits


@pytest.mark.parametrize("suffix", [".root", ".parquet"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_scores_that_are_no_numbers_are_marked_and_counted(suffix, value, two_files, tmp_path, capsys):
    jets = read(two_files)
    energy = jets.jet_p4[:, 0].numpy()
    share = float(np.median(energy))
    model, number = _Sometimes(share, value), int((energy < share).sum())
    out = predict(model, two_files, tmp_path / f"p{suffix}", logits=True, batch_size=7, progress=False)
    first = int(np.flatnonzero(energy < share)[0])
    place = f"file {first // 30 if first < 30 else 1}, entry {first if first < 30 else first - 30}"
    said = capsys.readouterr().err
    assert f"{number} of 51 jets have no scores, as the tagger gives no finite numbers for them" in said
    assert f"the first at {place}; their scores are NaN" in said
    found = columns_of(out)
    for name in CLASSES:
        for column in (found[f"score_{name}"], found[f"logit_{name}"]):
            assert np.array_equal(np.isnan(column), energy < share)
    assert (found["label"] >= 0).all()
    scored = read_scores(out)
    assert (len(scored.label), scored.lost) == (51 - number, number)


def test_a_tagger_that_gives_no_numbers_at_all(two_files, tmp_path):
    with pytest.raises(DataError, match="gives no finite numbers for any of 51 jets"):
        predict(_Sometimes(torch.inf, torch.nan), two_files, tmp_path / "p.root", progress=False)
    assert not list(tmp_path.glob("p*"))


def test_a_class_that_is_impossible_is_a_score(two_files, tmp_path, capsys):
    """Minus infinity is the logarithm of no chance."""
    out = predict(_Sometimes(torch.inf, -torch.inf), two_files, tmp_path / "p.root", progress=False)
    assert (columns_of(out)[f"score_{CLASSES[4]}"] == 0).all()
    assert "no scores" not in capsys.readouterr().err
