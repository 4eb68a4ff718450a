"""Inputs: what stands beside the momenta in batches, packed jets and records, and is never left stale."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jetsym.errors import DataError
from jetsym.jets import JetBatch
from jetsym.jets.inputs import InputForm
from jetsym.jets.io.packed import PackedJets
from jetsym.jets.io.packed_inputs import PackedInput
from jetsym.jets.moves.actions import boost

FORMS = {
    "pf": InputForm(("pt", "eta"), length=4, fill=None),
    "mask": InputForm(("mask",), length=4, fill=(0.0,)),
    "jet": InputForm(("msd", "tau")),
}


def with_inputs(jets: JetBatch, *, seed: int = 0) -> JetBatch:
    rng = np.random.default_rng(seed)
    inputs = {name: torch.from_numpy(rng.normal(size=(len(jets), *form.shape))) for name, form in FORMS.items()}
    return jets.replace(inputs=inputs, input_forms=FORMS)


def packed(counts: list[int], *, seed: int = 0) -> PackedJets:
    """Jets of inputs alone, whose first variable counts their members."""
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    rows = rng.normal(size=(offsets[-1], 3)).astype("float32")
    inputs = {
        "pf": PackedInput(FORMS["pf"], rows[:, :2], offsets),
        "mask": PackedInput(FORMS["mask"], rows[:, 2:], offsets),
        "jet": PackedInput(FORMS["jet"], rng.normal(size=(len(counts), 2)).astype("float32")),
    }
    nothing = np.zeros(len(counts) + 1, np.int64), np.empty((0, 4), np.float32), None
    return PackedJets(*nothing, np.zeros((len(counts), 4), np.float32), inputs=inputs)


def filled(rows: np.ndarray, length: int, fill: float | None) -> np.ndarray:
    """Return rows (n, V) as one jet's input (V, length), place by place."""
    places = []
    for place in range(length):
        if fill is None:
            places.append(rows[place % len(rows)] if len(rows) else np.zeros(rows.shape[1]))
        else:
            places.append(rows[place] if place < len(rows) else np.full(rows.shape[1], fill))
    return np.stack(places, axis=1)


def test_rows_are_filled_up_jet_by_jet():
    jets = packed([2, 0, 4, 1])
    found = jets.batch().to_padded().inputs
    for number, (start, stop) in enumerate([(0, 2), (2, 2), (2, 6), (6, 7)]):
        for name, fill in (("pf", None), ("mask", 0.0)):
            expected = filled(jets.inputs[name].values[start:stop], 4, fill)
            assert np.array_equal(found[name][number].numpy(), expected), (name, number)
    assert np.array_equal(found["jet"].numpy(), jets.inputs["jet"].values)


def test_selections_and_slices_are_those_of_the_batch():
    jets = packed([2, 0, 4, 1, 3])
    batch = jets.batch().to_padded()
    chosen = np.array([3, 0, 3])
    parts = [jets.slice(0, 2), jets.slice(2, 5).slice(0, 1), jets.slice(3, 5)]
    for found, expected in (
        (jets.take(chosen), batch[chosen]),
        (jets.slice(1, 4), batch[1:4]),
        (PackedJets.concatenate(parts), batch),
    ):
        for name, one in found.batch().to_padded().inputs.items():
            assert torch.equal(one, expected.inputs[name]), name


def test_batches_are_selected_converted_joined_and_trimmed_with_their_inputs(make_jets):
    jets = with_inputs(make_jets(8))
    joined = JetBatch.concatenate([jets[:3], jets[[3, 4]], jets[torch.arange(8) > 4]])
    for name in FORMS:
        assert torch.equal(joined.inputs[name], jets.inputs[name])
        assert jets.to(torch.float32).inputs[name].dtype == torch.float32
        assert jets.trim().inputs[name].shape == (8, *FORMS[name].shape)
    other = jets.replace(inputs={"jet": jets.inputs["jet"]}, input_forms={"jet": FORMS["jet"]})
    with pytest.raises(DataError, match="differ in their inputs"):
        JetBatch.concatenate([jets, other])


def test_inputs_of_another_shape_or_without_a_form_are_refused(make_jets):
    jets = make_jets(8)
    with pytest.raises(DataError, match=r"pf has shape \(8, 2, 5\); expected \(8, 2, 4\)"):
        jets.replace(inputs={"pf": torch.zeros(8, 2, 5)}, input_forms={"pf": FORMS["pf"]})
    with pytest.raises(DataError, match="the inputs are pf, and forms are given of none"):
        jets.replace(inputs={"pf": torch.zeros(8, 2, 4)})


def test_records_hold_them_and_give_them_back(make_jets):
    jets = with_inputs(make_jets(8))
    back = JetBatch.from_awkward(jets.to_awkward()[[5, 1]])
    assert back.input_forms == FORMS
    for name in FORMS:
        assert torch.equal(back.inputs[name], jets.inputs[name][[5, 1]])


def test_jets_without_momenta_say_so_and_cannot_be_moved():
    jets = packed([2, 1]).batch().to_padded()
    assert not jets.has_momenta
    assert jets[:1].trim().p4.shape == (1, 0, 4)
    with pytest.raises(DataError, match="no momenta, so nothing can be moved"):
        boost(jets, torch.zeros(1), "beam")
