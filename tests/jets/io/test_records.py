"""Awkward records: an exact round trip, vector's behaviour, and what is refused."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import torch
import vector

from jetsym.errors import ConfigError, DataError
from jetsym.jets import JetBatch, kinematics


def assert_same(first: JetBatch, second: JetBatch) -> None:
    for name in ("p4", "mask", "scalars", "jet_p4"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    assert (first.label is None) == (second.label is None)
    assert first.label is None or torch.equal(first.label, second.label)
    assert (first.classes, first.scalar_names) == (second.classes, second.scalar_names)
    assert first.columns.keys() == second.columns.keys()
    for name, column in first.columns.items():
        assert column.dtype == second.columns[name].dtype
        assert torch.equal(column, second.columns[name]), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_round_trip_is_exact(make_jets, dtype):
    jets = make_jets(50, seed=4, dtype=dtype).trim()
    again = JetBatch.from_awkward(jets.to_awkward())
    assert_same(again, jets)
    assert again.dtype == dtype
    assert_same(JetBatch.from_awkward(jets.to_awkward()), jets)


def test_round_trip_without_label_columns_scalars_or_jets(make_jets):
    jets = make_jets(5).trim()
    bare = jets.replace(label=None, columns={}, scalars=jets.scalars[..., :0], scalar_names=())
    assert_same(JetBatch.from_awkward(bare.to_awkward()), bare)
    assert len(JetBatch.from_awkward(jets[[]].to_awkward())) == 0


def test_integer_columns_and_odd_values_survive(make_jets):
    jets = make_jets(3).trim()
    p4 = jets.p4.clone()
    p4[0, 0, 0], p4[1, 0, 1] = float("inf"), -0.0
    odd = jets.replace(p4=p4, columns={"count": torch.tensor([1, 2, 3], dtype=torch.int32)})
    again = JetBatch.from_awkward(odd.to_awkward())
    assert again.p4.numpy().tobytes() == odd.p4.numpy().tobytes()
    assert again.columns["count"].dtype == torch.int32


def test_selections_of_records_come_back_with_their_classes(make_jets):
    names = tuple(f"kind{place}" for place in range(10))
    jets = make_jets(20, seed=2).replace(classes=names)
    records = jets.to_awkward()
    order = np.argsort(records.label)
    for chosen, index in [
        (records[records.label > 4], jets.label > 4),
        (records[order], order),
        (records[::-2], slice(None, None, -2)),
        (ak.concatenate([records[:5], records[15:]]), [*range(5), *range(15, 20)]),
        (ak.drop_none(ak.mask(records, records.label != 3)), jets.label != 3),
    ]:
        assert_same(JetBatch.from_awkward(chosen), jets[index].trim())


def test_vector_knows_the_momenta(make_jets):
    jets = make_jets(20, seed=5, dtype=torch.float64)
    records = jets.to_awkward()
    assert isinstance(records.jet, vector.backends.awkward.MomentumArray4D)
    flat = jets.p4[jets.mask]
    for name in ("pt", "eta", "phi", "mass2"):
        theirs = ak.to_numpy(ak.flatten(getattr(records.constituents, name)))
        np.testing.assert_allclose(getattr(kinematics, name)(flat).numpy(), theirs, rtol=1e-9, atol=1e-7)
    nearest = ak.min(records.constituents.deltaR(records.jet), axis=1)
    assert ak.all(nearest < 1)
    total = ak.sum(records.constituents, axis=1)
    np.testing.assert_allclose(ak.to_numpy(total.E), jets.p4[..., 0].sum(dim=1).numpy(), rtol=1e-12)


def test_nothing_is_registered_globally(make_jets):
    before = dict(ak.behavior)
    make_jets(2).to_awkward()
    assert dict(ak.behavior) == before


def test_layout_is_the_documented_one(make_jets):
    records = make_jets(4).to_awkward()
    assert records.fields == ["jet", "constituents", "label", "jet_sdmass", "jet_nparticles", "jet_tau1"]
    assert records.constituents.fields[:6] == ["E", "px", "py", "pz", "charge", "isChargedHadron"]
    assert ak.all(ak.num(records.constituents) == make_jets(4).n_particles.numpy())


def test_max_particles_keeps_the_first(make_jets):
    jets = make_jets(10, seed=1)
    cut = JetBatch.from_awkward(jets.to_awkward(), max_particles=3)
    assert cut.max_particles == 3
    assert torch.equal(cut.p4, jets.p4[:, :3])
    assert torch.equal(cut.mask, jets.mask[:, :3])
    with pytest.raises(ConfigError, match="max_particles is 0"):
        JetBatch.from_awkward(jets.to_awkward(), max_particles=0)


def test_a_batch_does_not_share_memory_with_its_records(make_jets):
    jets = make_jets(1, max_particles=1)
    records = jets.to_awkward()
    before = records.to_list()
    for tensor in (jets.p4, jets.scalars, jets.jet_p4, jets.label, *jets.columns.values()):
        tensor.add_(1)
    assert records.to_list() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda records: records[["jet", "label"]], "jets has no field 'constituents'"),
        (lambda records: ak.with_field(records, records.constituents[["px", "py"]], "constituents"), "no field 'E'"),
        (lambda records: ak.with_field(records, records.jet[["px", "py", "pz"]], "jet"), "jets.jet has no field 'E'"),
        (lambda records: ak.with_field(records, records.label * 0.5, "label"), "jets.label is of type float64"),
        (
            lambda records: ak.with_field(records, records.label + 100, "label"),
            "jets.label goes from 1.* expected 0 to 9",
        ),
        (lambda records: ak.with_field(records, ["a"] * 4, "name"), "the field 'name' is of type"),
        (lambda records: ak.with_field(records, records.constituents.px, "px"), "the field 'px' is of type"),
        (lambda records: ak.mask(records, records.label < 0), "missing values"),
        (
            lambda records: ak.with_field(records, records.constituents[:, 0], "constituents"),
            "a list of momenta per jet",
        ),
    ],
)
def test_unfit_records_are_refused(make_jets, change, message):
    with pytest.raises(DataError, match=message):
        JetBatch.from_awkward(change(make_jets(4).to_awkward()))


def test_clashing_names_are_refused(make_jets):
    jets = make_jets(2)
    with pytest.raises(DataError, match="a column is called 'label'"):
        jets.replace(columns={"label": torch.zeros(2)}).to_awkward()
    with pytest.raises(DataError, match="a particle scalar is called 'px'"):
        jets.replace(scalar_names=("px", *jets.scalar_names[1:])).to_awkward()
