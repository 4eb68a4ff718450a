"""JetBatch: what it refuses, and selecting, moving, trimming, joining."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jetsym.errors import DataError
from jetsym.jets import JetBatch

TENSORS = ("p4", "mask", "scalars", "jet_p4", "label")


def assert_same(first: JetBatch, second: JetBatch) -> None:
    for name in TENSORS:
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    assert first.columns.keys() == second.columns.keys()
    for name in first.columns:
        assert torch.equal(first.columns[name], second.columns[name]), name
    assert (first.classes, first.scalar_names) == (second.classes, second.scalar_names)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("p4", torch.zeros(8, 30, 3), r"p4 has shape \(8, 30, 3\); expected \(jets, particles, 4\)"),
        ("p4", torch.zeros(8, 4), r"p4 has shape \(8, 4\)"),
        ("mask", torch.zeros(8, 29, dtype=torch.bool), r"mask has shape \(8, 29\); expected \(8, 30\)"),
        ("mask", torch.zeros(8, 30), "mask has dtype torch.float32; expected torch.bool"),
        ("scalars", torch.zeros(8, 30, 9), r"scalars has shape \(8, 30, 9\); expected \(8, 30, 10\)"),
        ("jet_p4", torch.zeros(7, 4), "jet_p4 has shape"),
        ("label", torch.zeros(8, 10, dtype=torch.int64), "label has shape"),
        ("label", torch.zeros(8), "label has dtype torch.float32; expected torch.int64"),
        ("columns", {"jet_sdmass": torch.zeros(8, 1)}, "jet_sdmass has shape"),
    ],
)
def test_what_does_not_fit_together_is_refused(make_jets, field, value, message):
    with pytest.raises(DataError, match=message):
        make_jets(8).replace(**{field: value})


@pytest.mark.parametrize(
    ("index", "entries"),
    [
        (0, [0]),
        (-1, [7]),
        (np.int64(3), [3]),
        (torch.tensor(2), [2]),
        (slice(2, 5), [2, 3, 4]),
        (slice(None, None, 3), [0, 3, 6]),
        (slice(None, None, -1), [7, 6, 5, 4, 3, 2, 1, 0]),
        ([5, 1, 1], [5, 1, 1]),
        (range(2), [0, 1]),
        ([], []),
        (torch.tensor([7, 0]), [7, 0]),
        (np.array([1, 6]), [1, 6]),
        ([True, False] * 4, [0, 2, 4, 6]),
        (torch.tensor([False] * 7 + [True]), [7]),
        (np.arange(8) > 5, [6, 7]),
        (torch.zeros(8, dtype=torch.bool), []),
    ],
)
def test_selecting_gives_a_batch_of_those_jets(make_jets, index, entries):
    jets = make_jets(8)
    chosen = jets[index]
    assert isinstance(chosen, JetBatch)
    assert len(chosen) == len(entries)
    for place, entry in enumerate(entries):
        for name in TENSORS:
            assert torch.equal(getattr(chosen, name)[place], getattr(jets, name)[entry]), name
        assert chosen.columns["jet_sdmass"][place] == jets.columns["jet_sdmass"][entry]


@pytest.mark.parametrize("index", [8, -9, [8]])
def test_selecting_beyond_the_end_fails(make_jets, index):
    with pytest.raises(IndexError):
        make_jets(8)[index]


def test_a_batch_can_be_iterated_over(make_jets):
    jets = make_jets(3)
    assert_same(JetBatch.concatenate(list(jets)), jets)


def test_conversion_touches_only_floating_point(make_jets):
    jets = make_jets(4)
    double = jets.to(torch.float64)
    assert double.dtype == double.scalars.dtype == double.jet_p4.dtype == torch.float64
    assert double.columns["jet_sdmass"].dtype == torch.float64
    assert (double.mask.dtype, double.label.dtype) == (torch.bool, torch.int64)
    assert_same(double.to(torch.float32), jets)
    assert_same(jets.to("cpu"), jets)
    assert jets.to("meta").device.type == "meta"


def test_trim_drops_only_what_is_padding_everywhere(make_jets):
    jets = make_jets(8, max_particles=12)
    padded = JetBatch.concatenate([jets, make_jets(1, max_particles=40)])[:8]
    assert padded.max_particles == 40
    assert padded.trim().max_particles == int(jets.n_particles.max())
    assert_same(padded.trim(), jets.trim())


def test_trim_keeps_one_slot_and_holes(make_jets):
    jets = make_jets(2)
    nobody = jets.replace(mask=torch.zeros_like(jets.mask))
    assert nobody.trim().max_particles == 1
    assert jets[[]].trim().max_particles == 1
    hole = torch.zeros_like(jets.mask)
    hole[:, 4] = True
    assert jets.replace(mask=hole).trim().mask.tolist() == [[False] * 4 + [True]] * 2


def test_concatenate_pads_and_keeps_the_order(make_jets):
    short, long = make_jets(3, seed=1, max_particles=5), make_jets(2, seed=2, max_particles=9)
    joined = JetBatch.concatenate([short, long])
    assert (len(joined), joined.max_particles) == (5, 9)
    assert_same(joined[3:], long)
    assert_same(joined[:3].trim(), short.trim())
    assert not joined.mask[:3, 5:].any()
    assert (joined.p4[:3, 5:] == 0).all()
    assert JetBatch.concatenate([short.replace(label=None)] * 2).label is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": None}, "labels: True and False"),
        ({"columns": {}}, "columns"),
        ({"classes": ("a", "b")}, "classes"),
        ({"scalar_names": tuple("abcdefghij")}, "scalars"),
    ],
)
def test_concatenate_refuses_unlike_batches(make_jets, change, message):
    jets = make_jets(2)
    with pytest.raises(DataError, match=message):
        JetBatch.concatenate([jets, jets.replace(**change)])


def test_concatenate_refuses_nothing_and_mixed_dtypes(make_jets):
    with pytest.raises(DataError, match="no batches"):
        JetBatch.concatenate([])
    with pytest.raises(DataError, match=r"dtypes: torch\.float32 and torch\.float64"):
        JetBatch.concatenate([make_jets(2), make_jets(2, dtype=torch.float64)])


def test_repr_says_what_is_inside(make_jets):
    assert repr(make_jets(4)) == "JetBatch(4 jets, 30 particles at most, 10 classes, float32, cpu)"
    assert "unlabelled" in repr(make_jets(4).replace(label=None))
