"""Batches as a network takes them: features of the particles that are there, in slots, wherever they are to be."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from jetsym.errors import ConfigError, DataError
from jetsym.jets import read
from jetsym.jets.features import FEATURE_SETS
from jetsym.jets.io import JetStream
from jetsym.jets.io.featured import FeaturedBatch, _put_by_torch, featured
from jetsym.jets.io.sample import sample_dir
from jetsym.jets.io.streaming.convert import convert
from jetsym.jets.io.streaming.stream import JetStream as Stream
from jetsym.jets.ragged_features import _rows, features_of_particles

SETS = list(FEATURE_SETS)


@pytest.fixture(scope="module")
def files(numbered_files) -> list[Path]:
    return numbered_files([40, 70, 25])


def batch_of(files, **options):
    return next(iter(JetStream(files, batch_size=135, shuffle=False, **options)))


def padded(batch, name: str, slots: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Features as the padded functions compute them, in so many slots."""
    jets = batch.to_padded().to(dtype)
    return FEATURE_SETS[name][0](jets.widen(max(slots, jets.max_particles)))[:, :slots]


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("source", ["root", "cache"])
def test_features_are_those_of_the_padded_jets(files, tmp_path, name, source):
    where = files if source == "root" else convert(files, tmp_path / "cache", columns="full", progress=False)
    batch, ragged = batch_of(where, features=name), batch_of(where)
    assert isinstance(batch, FeaturedBatch)
    assert batch.names == FEATURE_SETS[name][1]
    assert batch.features.shape == (135, 128, len(batch.names))
    assert batch.features.dtype == torch.float32
    exact = padded(ragged, name, 128, torch.float64)
    torch.testing.assert_close(batch.features.double(), exact, atol=1e-6, rtol=0)
    assert torch.equal(batch.features[..., -2:], batch.points)
    jets = ragged.to_padded().widen(128)
    for one in ("p4", "mask", "jet_p4", "label"):
        assert torch.equal(getattr(batch, one), getattr(jets, one)), one
    assert torch.equal(batch.n_particles, jets.n_particles)


def test_features_of_the_sample_are_exact_to_their_last_digits():
    """Jets of all classes, in 64 bits: each feature is off by no more than float32 rounds it and its logarithm."""
    batch = next(iter(JetStream(sample_dir() / "test", batch_size=2304, shuffle=False)))
    jets = featured(batch, "full", slots=128)
    error = (jets.features.double() - padded(batch, "full", 128, torch.float64)).abs()
    assert error.max() < 1e-6
    assert error[..., 15:].max() < 3e-7  # Δη and Δφ


@pytest.mark.parametrize("slots", [1, 3, 5])
def test_the_first_particles_of_the_file_stay(files, slots):
    """As weaver-core has it, and not those of largest pT."""
    batch, whole = batch_of(files, features="full", slots=slots), batch_of(files, features="full")
    assert (whole.n_particles > slots).any()
    for one in ("features", "p4", "mask"):
        assert torch.equal(getattr(batch, one), getattr(whole, one)[:, :slots]), one


def test_momenta_in_rising_order_are_cut_in_the_order_of_the_file(make_jets, jetclass_columns, write_tree, tmp_path):
    jets = make_jets(20)
    back = jets.ragged()
    order = np.lexsort((np.hypot(*back.p4[:, 1:3].T), np.repeat(np.arange(20), back.counts)))
    back = replace(back, p4=back.p4[order], scalars=back.scalars[order])
    rising = write_tree(tmp_path / "rising.root", jetclass_columns(type(jets).from_ragged(back)))
    (batch,) = JetStream([rising], batch_size=20, shuffle=False, features="kin", slots=2)
    assert torch.equal(batch.p4, read(rising).p4[:, :2])
    assert not torch.equal(batch.p4, read(rising, max_particles=2).p4)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("loose", [False, True])
def test_torch_computes_what_numpy_does(files, name, loose):
    """As on an accelerator, with jets and particles that have no transverse momentum among them."""
    batch = batch_of(files)
    values, axes = batch.values.clone(), batch.jet_p4.clone()
    values[0, :4], axes[3] = torch.tensor([5.0, 0.0, 0.0, 5.0]), torch.tensor([9.0, 0.0, 0.0, 9.0])
    batch = replace(batch, values=values, jet_p4=axes, kinds=batch.scalars[:, :6] if loose else batch.kinds)
    expected = torch.from_numpy(features_of_particles(batch, name))
    found = _rows(torch, batch.values, batch.kinds, batch.jet_p4, batch.n_particles, FEATURE_SETS[name][1])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_accelerators_get_the_same(files):
    """What is done there, done here by torch."""
    batch = batch_of(files)
    rows = torch.from_numpy(features_of_particles(batch, "full"))
    for slots in (3, 128):
        found, p4 = _put_by_torch(batch, (rows, batch.p4), slots)
        expected = featured(batch, "full", slots=slots)
        assert torch.equal(found, expected.features)
        assert torch.equal(p4, expected.p4)


@pytest.mark.cuda
@pytest.mark.parametrize("name", SETS)
def test_features_on_the_device_are_those_of_the_cpu(cuda, files, name):
    there, here = (list(JetStream(files, batch_size=32, features=name, device=d)) for d in (cuda, "cpu"))
    for one, other in zip(there, here, strict=True):
        assert one.features.device.type == "cuda"
        torch.testing.assert_close(one.features.cpu(), other.features, atol=1e-6, rtol=0)
        assert torch.equal(one.p4.cpu(), other.p4)
        assert torch.equal(one.mask.cpu(), other.mask)
        assert torch.equal(one.label.cpu(), other.label)


@pytest.mark.cuda
def test_ragged_batches_come_on_the_device(cuda, files):
    there, here = (list(JetStream(files, batch_size=32, device=device)) for device in (cuda, None))
    assert there[0].values.device.type == "cuda"
    assert here[0].values.is_pinned()
    for one, other in zip(there, here, strict=True):
        assert torch.equal(one.values.cpu(), other.values)


def test_odd_particles_have_the_features_that_the_padded_functions_give(files):
    """Along the beam, without any momentum, and in a jet that has no transverse momentum itself."""
    batch = batch_of(files)
    values, axes = batch.values.clone(), batch.jet_p4.clone()
    values[0, :4] = torch.tensor([5.0, 0.0, 0.0, 5.0])
    values[1, :4] = torch.tensor([5.0, 0.0, 0.0, -5.0])
    values[2, :4] = 0.0
    axes[3] = torch.tensor([9.0, 0.0, 0.0, 9.0])
    odd = replace(batch, values=values, jet_p4=axes)
    found = featured(odd, "kin", slots=128)
    assert found.features.isfinite().all()
    torch.testing.assert_close(found.features, padded(odd, "kin", 128), atol=1e-5, rtol=0)


def test_charges_that_are_no_bits(files):
    batch = batch_of(files)
    loose = batch.scalars[:, :6].clone()
    loose[0, 0], loose[1, 0] = -2.0, 7.0
    odd = replace(batch, kinds=loose)
    found = featured(odd, "full", slots=128)
    assert found.features[0, :2, 5].tolist() == [-2.0, 5.0]
    torch.testing.assert_close(found.features, padded(odd, "full", 128), atol=5e-6, rtol=0)


def test_a_stream_stands_at_the_batch_that_has_been_handed_over(files):
    """However many are made ahead, and bit for bit the same after it."""
    options = {"batch_size": 16, "seed": 2, "features": "full", "device": "cpu"}
    whole = list(JetStream(files, **options))
    stream = JetStream(files, **options)
    for place, _ in enumerate(stream, start=1):
        assert stream.state_dict()["passed"] == [[1, 16 * place]]
        if place == 3:
            break
    other = JetStream(files, **options)
    other.load_state_dict(stream.state_dict())
    rest = list(other)
    assert len(rest) == len(whole) - 3
    assert all(torch.equal(one.features, two.features) for one, two in zip(rest, whole[3:], strict=True))
    assert other.state_dict()["epoch"] == 1


def test_no_thread_is_left_behind(files):
    before = set(threading.enumerate())
    for _ in JetStream(files, batch_size=16, features="kin"):
        break
    assert set(threading.enumerate()) == before


def test_an_error_on_the_way_comes_through(files, monkeypatch):
    def fails(*window):
        raise DataError("the disk is gone")

    monkeypatch.setattr(Stream, "_windows", fails)
    with pytest.raises(DataError, match="the disk is gone"):
        next(iter(JetStream(files, batch_size=16, features="kin")))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slots": 64}, "slots=64 is given, and features=None; expected features"),
        ({"features": "full", "slots": 0}, "slots"),
        ({"features": "all"}, "features is 'all'; expected one of 'kin', 'kinpid', 'full'"),
        ({"features": "full", "columns": "kin"}, "columns='kin' are momenta alone, and features='full' are made of"),
        ({"device": "nowhere"}, "device is 'nowhere'"),
    ],
)
def test_mistakes_are_named(files, options, message):
    with pytest.raises(ConfigError, match=message):
        JetStream(files, batch_size=8, **options)
    assert len(JetStream(files, batch_size=8, columns="kin", features="kin"))


def test_files_without_the_scalars_are_refused_when_they_are_opened(make_jets, tmp_path, write_tree, jetclass_columns):
    columns = {name: value for name, value in jetclass_columns(make_jets(12)).items() if "d0" not in name}
    path = write_tree(tmp_path / "bare.root", columns)
    mapping = tmp_path / "bare.yaml"
    mapping.write_text("particles: {px: part_px, py: part_py, pz: part_pz, energy: part_energy}\n")
    with pytest.raises(DataError, match=r"bare.root: the jets have no scalar 'charge', of which features='full' are"):
        JetStream(path, batch_size=4, mapping=mapping, features="full")
    (batch, *_) = JetStream(path, batch_size=4, mapping=mapping, features="kin", slots=16)
    assert batch.features.shape == (4, 16, 7)
