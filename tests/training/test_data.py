"""The order of an epoch and the seeds behind it."""

import pytest
import torch

from jetsym.errors import ConfigError, DataError
from jetsym.jets import read
from jetsym.jets.batch import labels_of
from jetsym.training.config import TrainConfig
from jetsym.training.data import load_jets


def test_a_tenth_is_held_out(jetclass_file):
    path = str(jetclass_file(n=50))
    training, validation = load_jets(TrainConfig(path, max_particles=12))
    assert (len(training), len(validation)) == (45, 5)
    assert training.max_particles <= 12
    axes = torch.cat([training.jet_p4, validation.jet_p4])
    assert len(axes.unique(dim=0)) == 50
    again = load_jets(TrainConfig(path, max_particles=12))[1]
    assert torch.equal(again.jet_p4, validation.jet_p4)
    other = load_jets(TrainConfig(path, max_particles=12, seed=1))[1]
    assert not torch.equal(other.jet_p4, validation.jet_p4)


def test_validation_files_and_limit(jetclass_file):
    data, val = str(jetclass_file("a.root", n=30)), str(jetclass_file("b.root", n=8, seed=1))
    training, validation = load_jets(TrainConfig(data, val=val, limit=20))
    assert (len(training), len(validation)) == (20, 8)


def test_too_few_jets_and_no_labels_are_named(jetclass_file):
    with pytest.raises(ConfigError, match="--data holds 5 jets, too few to hold a tenth out"):
        load_jets(TrainConfig(str(jetclass_file("few.root", n=5))))
    none = {f"label_{name}": None for name in ("QCD", "Hbb", "Hcc", "Hgg", "H4q", "Hqql", "Zqq", "Wqq", "Tbqq", "Tbl")}
    with pytest.raises(DataError, match="files of --data have no label branches"):
        load_jets(TrainConfig(str(jetclass_file("unlabelled.root", **none))))


def test_labels_of_unlabelled_jets(make_jets):
    with pytest.raises(DataError, match="have no labels"):
        labels_of(make_jets(2).replace(label=None))


def test_jets_through_a_mapping(jetclass_file, tmp_path):
    path, mapping = jetclass_file(n=40), tmp_path / "map.yaml"
    mapping.write_text(
        "particles: {px: part_px, py: part_py, pz: part_pz, energy: part_energy}\n"
        "labels: {one_hot: {QCD: label_QCD, other: 1 - label_QCD}}\n"
    )
    options = {"val": str(path), "mapping": str(mapping)}
    training, validation = load_jets(TrainConfig(str(path), **options))
    assert training.classes == validation.classes == ("QCD", "other")
    assert torch.equal(validation.label, (read(path).label > 0).long())
    streamed, _ = load_jets(TrainConfig(str(path), stream=True, batch_size=10, **options))
    assert streamed.classes == ("QCD", "other")
    assert len(streamed) == 40
