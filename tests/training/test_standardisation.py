"""Standardisation that a mapping leaves to be measured: on the training jets, once, and then the same for ever."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import awkward as ak
import numpy as np
import pytest
import torch
import uproot
import yaml
from torch import Tensor, nn

from jetsym.cli import main
from jetsym.errors import ConfigError, DataError
from jetsym.jets import JetBatch, checkpoint, read
from jetsym.jets.evaluation.evaluate import predict_logits
from jetsym.jets.evaluation.predict import predict
from jetsym.jets.io.folds import Fold
from jetsym.jets.io.mapping import measure
from jetsym.jets.io.mapping.inputs import measure_scaling
from jetsym.jets.io.mapping.parse import load_mapping, open_mapping, tagger_mapping
from jetsym.jets.io.streaming.convert import convert
from jetsym.jets.models import Tagger
from jetsym.jets.models.options import Options
from jetsym.jets.models.registry import MODELS, register
from jetsym.jets.schema import CLASSES
from jetsym.training import standardisation
from jetsym.training.config import TrainConfig
from jetsym.training.loop import train
from jetsym.training.standardisation import with_standardisation
from jetsym.training.trials import dry_run

FEATURES: dict[str, Any] = {
    "length": 12,
    "variables": {
        "px": {"of": "part_px", "centre": "measured"},
        "log_e": {"of": "log(part_energy)", "centre": "measured", "scale": "measured", "smallest": -2, "largest": 3},
        "pz": {"of": "part_pz", "centre": 1.0, "scale": 0.1},
        "charge": "part_charge",
    },
}
MAPPING: dict[str, Any] = {
    "particles": {name: f"part_{name}" for name in ("px", "py", "pz", "energy")}
    | {"where": "part_energy > 5", "order": "pt"},
    "labels": {"one_hot": {name: f"label_{name}" for name in CLASSES}},
    "features": FEATURES,
    "collections": {"again": {"length": 2, "variables": {"charge": {"of": "part_charge", "scale": "measured"}}}},
}


@pytest.fixture(autouse=True)
def featured() -> Any:
    """A tagger of the features alone, which keeps what it has seen."""

    @dataclass(frozen=True)
    class FeaturedConfig(Options):
        width: int = 4

    class Featured(Tagger):
        Config = FeaturedConfig
        seen: ClassVar[list[Tensor]] = []

        def __init__(self, classes: Any = ("a", "b"), **options: Any) -> None:
            super().__init__(classes, **options)
            self.head = nn.Linear(4, len(self.classes))

        def forward(self, jets: JetBatch) -> Tensor:
            self.seen.append(jets.inputs["features"])
            return self.head(jets.inputs["features"].mean(dim=2))

    known = dict(MODELS)
    register("featured")(Featured)
    yield Featured
    MODELS.clear()
    MODELS.update(known)


@pytest.fixture
def mapping(tmp_path) -> str:
    (tmp_path / "map.yaml").write_text(yaml.safe_dump(MAPPING, sort_keys=False))
    return str(tmp_path / "map.yaml")


def quick(**options: Any) -> dict[str, Any]:
    return {"model": "featured", "epochs": 1, "device": "cpu", "progress": False, "batch_size": 16} | options


def expected(*files: Path) -> dict[str, dict[str, list[float]]]:
    """Measure with awkward and numpy alone."""

    def numbers(name: str, function: Any = lambda values: values, least: float = 5) -> list[float]:
        parts = []
        for file in files:
            tree = uproot.open(file)["tree"]
            kept = tree["part_energy"].array() > least
            parts.append(function(ak.to_numpy(ak.flatten(tree[name].array()[kept])).astype(np.float64)))
        low, centre, high = np.percentile(np.concatenate(parts), [16, 50, 84])
        return [centre, 1 / max(high - centre, centre - low)]

    of_features = {"px": numbers("part_px"), "log_e": numbers("part_energy", np.log)}
    # A collection has members of its own, whatever particles are meant.
    return {"features": of_features, "again": {"charge": numbers("part_charge", least=0)}}


def assert_close(found: Any, wanted: dict[str, dict[str, list[float]]]) -> None:
    assert {name: [*each] for name, each in found.items()} == {name: [*each] for name, each in wanted.items()}
    for name, each in wanted.items():
        for variable, values in each.items():
            assert np.allclose(found[name][variable], values, rtol=1e-6), (name, variable)


def test_measured_once_on_the_training_jets_and_applied_to_all_others(
    tmp_path, jetclass_file, mapping, featured, capsys
):
    files = [jetclass_file("a.root", 60, 1), jetclass_file("b.root", 40, 2)]
    other = jetclass_file("other.root", 50, 9)
    run = train([str(file) for file in files], tmp_path / "run", val=str(other), mapping=mapping, **quick())
    kept = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["standardisation"]
    assert_close(kept, expected(*files))
    assert checkpoint.read(tmp_path / "run")[0].config["standardisation"] == kept
    # The validation jets, and those of a test, are shown with the same numbers; by hand:
    known = load_mapping(mapping).standardised(kept)
    wanted = read(other, mapping=known, max_particles=64)
    raw = read(other, mapping=with_plain_features(tmp_path), max_particles=64).inputs["features"]
    centre, scale = kept["features"]["log_e"]
    there = raw[:, 1] != 0
    by_hand = ((raw[:, 1] - centre) * scale).clip(-2, 3)
    assert torch.allclose(wanted.inputs["features"][:, 1][there], by_hand[there], atol=1e-5)
    assert not there.all()
    assert (wanted.inputs["features"][:, 1][~there] == 0).all()  # padding stays zero
    featured.seen.clear()
    model = str(tmp_path / "run")
    for command in (
        ["evaluate", model, str(other), "--mapping", mapping, "--device", "cpu"],
        ["predict", model, str(other), "--mapping", mapping, "--device", "cpu", "--out", str(tmp_path / "s.parquet")],
    ):
        assert main(command) in (0, None)
        shown = torch.cat(featured.seen)[: len(wanted)]
        assert torch.allclose(shown.sum(dim=0), wanted.inputs["features"].sum(dim=0), rtol=1e-4, atol=1e-3)
        featured.seen.clear()
    capsys.readouterr()
    tagger = run.model()
    assert tagger.standardisation == kept
    assert len(MAPPING["features"]["variables"]) == wanted.inputs["features"].shape[1]


def with_plain_features(folder: Path) -> str:
    variables = {"px": "part_px", "log_e": "log(part_energy)", "pz": "part_pz", "charge": "part_charge"}
    content = MAPPING | {"features": {"length": 12, "variables": variables}, "collections": None}
    (folder / "plain.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return str(folder / "plain.yaml")


def test_a_stream_measures_before_its_first_epoch_and_goes_on_with_it(tmp_path, jetclass_file, mapping, monkeypatch):
    file, other = jetclass_file("a.root", 60, 1), jetclass_file("other.root", 50, 9)
    options = quick(val=str(other), mapping=mapping, stream=True)
    train(str(file), tmp_path / "run", **options)
    text = (tmp_path / "run" / "config.yaml").read_text()
    assert_close(yaml.safe_load(text)["standardisation"], expected(file))
    moved = file.rename(tmp_path / "moved.root")
    monkeypatch.setattr(standardisation, "measure_standardisation", lambda *_, **__: pytest.fail("measured again"))
    train(str(moved), tmp_path / "run", resume=True, **options)
    train(str(moved), tmp_path / "tuned", init=str(tmp_path / "run"), **options)
    tuned = yaml.safe_load((tmp_path / "tuned" / "config.yaml").read_text())
    assert tuned["standardisation"] == yaml.safe_load(text)["standardisation"]
    others = {"features": {"px": [0.0, 1.0], "log_e": [0.0, 1.0]}, "again": {"charge": [0.0, 1.0]}}
    with pytest.raises(ConfigError, match="--standardisation is"):
        train(str(moved), tmp_path / "run", resume=True, standardisation=others, **options)
    train(str(moved), tmp_path / "given", standardisation=others, **options)
    assert checkpoint.load(tmp_path / "given").standardisation == others


def test_what_is_not_known_is_refused(tmp_path, jetclass_file, mapping, capsys):
    file = str(jetclass_file("a.root", 60, 1))
    train(file, tmp_path / "plain", mapping=with_plain_features(tmp_path), **quick())
    for command in ("evaluate", "predict", "probe"):
        inputs = ["--inputs", file] if command == "probe" else [file]
        out = ["--out", str(tmp_path / "s.parquet")] if command == "predict" else []
        assert main([command, str(tmp_path / "plain"), *inputs, *out, "--mapping", mapping]) != 0
        assert "standardised by what is measured on the training data, and that is not known" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"again\.charge is standardised"):
        train(file, tmp_path / "x", mapping=mapping, standardisation={"features": MAPPING_NUMBERS}, **quick())
    (tmp_path / "none.yaml").write_text(
        yaml.safe_dump(MAPPING | {"particles": MAPPING["particles"] | {"where": "part_energy > 1e9"}})
    )
    with pytest.raises(DataError, match="there is no value of 'log_e' from which to measure its standardisation"):
        train(file, tmp_path / "y", mapping=str(tmp_path / "none.yaml"), **quick())


@pytest.mark.parametrize(
    "odd", ["abc", {"features": 3}, {"features": {"px": [0.0]}}, {"features": {"px": [0, np.nan]}}]
)
def test_numbers_that_are_none_are_refused(mapping, odd):
    with pytest.raises(ConfigError, match=r"standardisation of features\.px is .*; expected its centre and scale"):
        load_mapping(mapping).standardised(odd)


MAPPING_NUMBERS = {"px": [0.0, 1.0], "log_e": [0.0, 1.0]}


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"centre": "measured", "scale": 2}, "scale is 2 beside one that is measured; expected both measured"),
        ({"centre": 1.5, "scale": "measured"}, "centre is 1.5 beside one that is measured"),
        ({"centre": "median"}, "centre is 'median'; expected a number, or measured"),
        ({"centre": "measured", "smallest": "measured"}, "smallest is 'measured'; expected a number"),
        ({"centre": "measured", "smallest": 2, "largest": 1}, "clipped to nothing"),
    ],
)
def test_what_has_no_meaning_is_refused(tmp_path, said, message):
    content = MAPPING | {"features": {"length": 3, "variables": {"x": {"of": "part_px"} | said}}}
    (tmp_path / "map.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(ConfigError, match=message):
        load_mapping(tmp_path / "map.yaml")


def test_a_cache_keeps_what_was_measured_when_it_was_made(tmp_path, jetclass_file, mapping):
    file, other = jetclass_file("a.root", 60, 1), jetclass_file("other.root", 50, 9)
    cache = convert([file], tmp_path / "cache", mapping=mapping, progress=False)
    train(str(cache), tmp_path / "run", val=str(other), mapping=mapping, **quick(stream=True))
    kept = checkpoint.load(tmp_path / "run").standardisation
    assert_close(kept, expected(file))
    own = convert([other], tmp_path / "others", mapping=mapping, progress=False)
    with pytest.raises(ConfigError, match="standardised with other numbers"):
        read(own, mapping=tagger_mapping(mapping, test=True, standardisation=kept))
    same = read(cache, mapping=tagger_mapping(mapping, test=True, standardisation=kept))
    assert torch.equal(same.inputs["features"], read(file, mapping=mapping).inputs["features"])
    with pytest.raises(DataError, match="expected one cache of all of them, or files"):
        train([str(cache), str(own)], tmp_path / "two", val=str(other), mapping=mapping, **quick())


def test_jets_standardised_with_other_numbers_are_refused(tmp_path, jetclass_file, mapping, featured, capsys):
    file, other = jetclass_file("a.root", 60, 1), jetclass_file("other.root", 50, 9)
    own, others = (
        str(convert([each], tmp_path / f"{each.stem}_cache", mapping=mapping, progress=False)) for each in (file, other)
    )
    train(str(file), tmp_path / "run", val=str(other), mapping=mapping, **quick())
    # A cache needs no mapping; what its inputs were standardised with is kept with a run on it all the same.
    train(own, tmp_path / "cached", val=own, **quick())
    capsys.readouterr()
    kept = {name: checkpoint.load(tmp_path / name).standardisation["features"] for name in ("run", "cached")}
    assert kept["cached"] == kept["run"] | {"pz": [1.0, 0.1]}
    out = ["--out", str(tmp_path / "s.parquet")]
    for run in ("run", "cached"):
        model = str(tmp_path / run)
        for command in (
            ["predict", model, others, *out],
            ["evaluate", model, others],
            ["probe", model, "--inputs", others],
            ["probe", model, "--inputs", others, "--bad_jets", "drop"],
            ["attribute", model, "--inputs", others],
        ):
            featured.seen.clear()
            assert main(command) not in (0, None), command
            said = capsys.readouterr().err
            assert "features.px of the jets was standardised with" in said, (command, said)
            assert not featured.seen
        assert main(["predict", model, own, *out]) in (0, None)
        capsys.readouterr()
    for options in ({}, {"stream": True}):
        with pytest.raises(DataError, match=r"features\.px of the jets of --val was standardised with"):
            train(own, tmp_path / "x", val=others, **quick(**options))
    with pytest.raises(DataError, match=r"features\.px of the jets of .*other_cache was standardised with"):
        train(others, tmp_path / "y", val=others, init=str(tmp_path / "run"), **quick())
    plain = read(other, mapping=with_plain_features(tmp_path), max_particles=8)
    with pytest.raises(DataError, match=r"features\.px of the jets was not standardised"):
        predict_logits(checkpoint.load(tmp_path / "run"), plain)


def test_predictions_in_python_take_the_numbers_and_the_fold_of_the_training(tmp_path, write_jets, mapping, featured):
    file = write_jets(tmp_path / "a.root", 60)
    run = train(file, tmp_path / "run", fold="0/3", mapping=mapping, **quick())
    tagger = run.model()
    known = tagger_mapping(mapping, test=True, standardisation=tagger.standardisation)
    wanted = read(file, mapping=known, max_particles=64)
    judged = read(file, mapping=known, max_particles=64, fold=Fold.parse("0/3", "event"))
    for options, jets in (({}, judged), ({"fold": "none"}, wanted)):
        featured.seen.clear()
        predict(tagger, file, tmp_path / "s.root", mapping=mapping, progress=False, **options)
        shown = torch.cat(featured.seen)
        assert len(shown) == len(jets)
        assert torch.allclose(shown.sum(dim=0), jets.inputs["features"].sum(dim=0), rtol=1e-4, atol=1e-3)
    tagger.standardisation = None
    with pytest.raises(ConfigError, match="measured on the training data, and that is not known here"):
        predict(tagger, file, tmp_path / "s.root", mapping=mapping, progress=False)
    tagger.standardisation = run.model().standardisation
    with pytest.raises(DataError, match="of the jets was standardised with"):  # by all jets, not those of the training
        predict_logits(tagger, read(file, mapping=mapping, max_particles=64))


@pytest.fixture
def write_jets(jetclass_file, write_tree) -> Any:
    """Write jets with the number of their event."""

    def write(path: Path, jets: int) -> str:
        with uproot.open(jetclass_file("raw.root", jets, 1)) as file:
            tree = file["tree"]
            columns = {name: tree[name].array() for name in tree.keys(filter_name="/[^n].*/")}
        return str(write_tree(path, columns | {"event": np.arange(jets)}))

    return write


def test_a_cache_of_all_folds_does_not_tell_the_standardisation_of_a_fold(tmp_path, write_jets, mapping):
    file = write_jets(tmp_path / "a.root", 60)
    cache = str(convert([file], tmp_path / "cache", mapping=mapping, progress=False))
    for options in ({"mapping": mapping}, {}):
        with pytest.raises(DataError, match="standardised by all its jets, those of fold 0/3 that are held out among"):
            train(cache, tmp_path / "run", fold="0/3", **quick(**options))


def test_a_run_is_not_continued_with_other_inputs(tmp_path, jetclass_file, mapping):
    file = str(jetclass_file("a.root", 60, 1))
    train(file, tmp_path / "run", val=file, mapping=mapping, **quick(epochs=1))
    content = MAPPING | {"features": FEATURES | {"variables": FEATURES["variables"] | {"charge": "part_d0val"}}}
    Path(mapping).write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(ConfigError, match=r"other jets: contents was .* the same files and mapping"):
        train(file, tmp_path / "run", val=file, mapping=mapping, resume=True, **quick(epochs=1))


def test_whole_numbers_and_conditions_are_measured(tmp_path, jetclass_file, mapping):
    file = jetclass_file("a.root", 60, 1)
    variables = {"of": "part_charge > 0", "centre": "measured"}
    content = MAPPING | {"features": {"length": 3, "variables": {"positive": variables}}, "collections": None}
    Path(mapping).write_text(yaml.safe_dump(content, sort_keys=False))
    found = open_mapping(mapping, [file]).inputs["features"].form.scaling[0]
    assert found[1] == 1
    assert found[0] in (0, 1)


def test_infinite_values_are_left_out_of_what_is_measured(tmp_path, jetclass_file, mapping):
    numbers = np.arange(101.0)
    assert measure_scaling(np.concatenate([numbers, np.full(40, -np.inf)])) == measure_scaling(numbers)
    for odd in ([1.0, np.inf, -np.inf, np.nan], [*[-1.7e308] * 3, *[1.7e308] * 4]):
        with pytest.raises(DataError, match="values are NaN or infinite|expected a finite one"):
            measure_scaling(np.array(odd))
    variables = {"of": "log(part_px * 0)", "centre": "measured"}
    content = MAPPING | {"features": {"length": 3, "variables": {"x": variables}}, "collections": None}
    Path(mapping).write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(DataError, match=r"features\.x cannot be standardised: .* values are NaN or infinite"):
        open_mapping(mapping, [jetclass_file("a.root", 60, 1)])


def test_many_jets_are_measured_in_pieces_from_all_over_the_files(tmp_path, write_tree, mapping, monkeypatch):
    monkeypatch.setattr(measure, "_ENOUGH", 40)
    monkeypatch.setattr(measure, "_PIECES", 4)
    grown = np.arange(100, dtype="float32")
    columns: dict[str, Any] = {"part_px": ak.unflatten(np.repeat(grown, 3), np.full(100, 3))}
    columns |= {f"part_{name}": columns["part_px"] + 10 for name in ("py", "pz")}
    columns["part_energy"] = columns["part_px"] * 4 + 30
    labels = {f"label_{name}": np.zeros(100, "int32") for name in CLASSES} | {"label_QCD": np.ones(100, "int32")}
    file = write_tree(tmp_path / "grown.root", columns | labels | {"part_charge": columns["part_px"]})
    found = open_mapping(mapping, [file]).inputs["features"].form.scaling[0]
    pieces = np.concatenate([np.arange(start, start + 10) for start in (0, 30, 60, 90)])
    low, centre, high = np.percentile(np.repeat(pieces, 3), [16, 50, 84])
    assert np.allclose(found[:2], [centre, 1 / max(high - centre, centre - low)])


def test_the_first_process_measures_for_all(jetclass_file, mapping, monkeypatch):
    class Fabric:
        def __init__(self, first: bool, told: Any = None) -> None:
            self.is_global_zero, self.told = first, told

        def broadcast(self, found: Any) -> Any:
            return found if self.is_global_zero else self.told

    file = jetclass_file("a.root", 60, 1)
    config = TrainConfig(str(file), mapping=mapping)
    first = with_standardisation(config, Fabric(True)).standardisation
    assert_close(first, expected(file))
    monkeypatch.setattr(standardisation, "measure_standardisation", lambda *_, **__: pytest.fail("measured"))
    assert with_standardisation(config, Fabric(False, first)).standardisation == first
    with pytest.raises(DataError, match="cannot"):
        with_standardisation(config, Fabric(False, DataError("cannot")))
    told: list[Any] = []
    first_one = Fabric(True)
    first_one.broadcast = lambda found: told.append(found) or found
    monkeypatch.setattr(standardisation, "measure_standardisation", lambda *_, **__: [][0])
    with pytest.raises(IndexError):
        with_standardisation(config, first_one)
    assert isinstance(told[-1], IndexError)
    assert with_standardisation(TrainConfig(str(file)), Fabric(False)).standardisation is None


def test_a_dry_run_measures_too(jetclass_file, mapping):
    assert np.isfinite(dry_run(TrainConfig(str(jetclass_file("a.root", 60, 1)), mapping=mapping, **options()))["loss"])


def options() -> dict[str, Any]:
    return {name: value for name, value in quick().items() if name != "progress"}
