"""Checkpoints: what is written comes back, and what is broken is named."""

import json
import os
import pickle
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from jetsym.errors import CheckpointError
from jetsym.jets import checkpoint
from jetsym.jets.models import PointNet
from jetsym.jets.models.registry import build
from jetsym.jets.schema import CLASSES


@pytest.fixture
def model() -> PointNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return PointNet(("QCD", "Hbb", "Tbqq"), width=8, blocks=1, heads=2)


@pytest.fixture
def file(tmp_path, model):
    path = tmp_path / checkpoint.BEST
    checkpoint.save(path, model, epoch=3, metrics={"epoch": 3, "val_loss": 1.5}, config={"lr": 0.1})
    return path


def rewrite(file, **changes):
    """Exchange entries of the header, leaving the tensors as they are, in format 2: its digest is of these alone."""
    tensors = load_file(file)
    older = {"version": 2, "digest": checkpoint._digest_of_tensors(tensors)}
    header = json.loads(checkpoint_header(file)) | older | changes
    save_file(tensors, file, metadata={"jetsym": json.dumps(header)})


def checkpoint_header(file) -> str:
    raw = file.read_bytes()
    return json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])["__metadata__"]["jetsym"]


def test_a_loaded_model_is_the_saved_one(file, model, make_jets):
    loaded = checkpoint.load(file)
    assert not loaded.training
    assert loaded.classes == ("QCD", "Hbb", "Tbqq")
    assert loaded.config == model.config
    jets = make_jets(4)
    assert torch.equal(loaded(jets), model.eval()(jets))


def test_header_and_further_tensors_come_back(tmp_path, model):
    state = {"optimizer.0.step": torch.tensor(7.0), "optimizer.0.exp_avg": torch.randn(3, 2).T}
    checkpoint.save(tmp_path / "x.safetensors", model, epoch=2, metrics={"loss": 0.5}, config={"seed": 1}, state=state)
    header, tensors = checkpoint.read(tmp_path / "x.safetensors")
    assert (header.model, header.epoch, header.metrics, header.config) == ("pointnet", 2, {"loss": 0.5}, {"seed": 1})
    assert header.version == checkpoint.FORMAT_VERSION
    assert all(torch.equal(tensors[name], tensor) for name, tensor in state.items())
    assert len(tensors) == 2 + len(model.state_dict())


def test_a_directory_means_its_best_or_else_its_last(tmp_path, model):
    last = PointNet(("a", "b"), width=8)
    checkpoint.save(tmp_path / checkpoint.LAST, last)
    assert checkpoint.load(tmp_path).classes == ("a", "b")
    checkpoint.save(tmp_path / checkpoint.BEST, model)
    assert checkpoint.load(str(tmp_path)).classes == model.classes


def test_writing_replaces_in_one_step(file, model, monkeypatch):
    before = file.read_bytes()

    def killed(path, content):
        with path.open("wb") as stream:
            stream.write(content[:4])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(file, model)
    assert file.read_bytes() == before


def test_missing_files_are_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"there is no .*nowhere; expected a run directory"):
        checkpoint.load(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="holds none of best.safetensors, last.safetensors and model"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("legacy", [False, True])
def test_pickles_are_refused_unopened(tmp_path, legacy):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was opened",))

    path = tmp_path / checkpoint.BEST
    if legacy:
        path.write_bytes(pickle.dumps(Trap()))
    else:
        torch.save({"trap": Trap()}, path)
    with pytest.raises(CheckpointError, match=r"is a pickle or a torch\.save archive, which jetsym does not open"):
        checkpoint.load(tmp_path)


def test_no_length_of_the_header_is_mistaken_for_a_pickle(tmp_path, model):
    """The first byte of a safetensors file is a multiple of eight, which is that of a pickle in one of 32."""
    path, starts = tmp_path / "x.safetensors", set()
    for length in range(256):
        checkpoint.save(path, model, config={"filler": "x" * length})
        starts.add(path.read_bytes()[:1])
        assert checkpoint.load(path).classes == model.classes
    assert b"\x80" in starts


@pytest.mark.parametrize("size", [0, 4, 100, -1])
def test_files_cut_short_are_recognised(file, size):
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(CheckpointError, match="is not a whole safetensors file"):
        checkpoint.load(file)


def test_text_in_its_place(file):
    file.write_text("<html>404 not found</html>")
    with pytest.raises(CheckpointError, match="is not a whole safetensors file"):
        checkpoint.load(file)


def test_a_flipped_bit_is_noticed(file):
    raw = bytearray(file.read_bytes())
    raw[-100] ^= 1
    file.write_bytes(raw)
    with pytest.raises(CheckpointError, match="is damaged"):
        checkpoint.load(file)


def test_a_flipped_bit_is_noticed_wherever_it_is(file, model):
    """In the header of the format, in that of jetsym, and in the tensors."""
    rng, raw = np.random.default_rng(0), file.read_bytes()
    begin = 8 + int.from_bytes(raw[:8], "little")
    places = {*range(8), *rng.integers(8, begin, 150).tolist(), *rng.integers(begin, len(raw), 50).tolist()}
    for place in places:
        changed = bytearray(raw)
        changed[place] ^= 1 << rng.integers(8)
        file.write_bytes(changed)
        with pytest.raises(CheckpointError):
            checkpoint.load(file)


@pytest.mark.parametrize("change", [{"epoch": 4}, {"classes": ["QCD", "Tbqq", "Hbb"]}, {"version": 2}])
def test_a_header_that_was_changed_is_noticed(file, change):
    """Not only by chance: names of classes in another order are a whole header as well."""
    header = json.loads(checkpoint_header(file)) | change
    save_file(load_file(file), file, metadata={"jetsym": json.dumps(header)})
    with pytest.raises(CheckpointError, match="is damaged"):
        checkpoint.read(file)


def test_everybody_may_read_it_as_the_umask_says(file, model):
    before = os.umask(0o027)
    try:
        checkpoint.save(file, model)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_other_safetensors_are_refused(tmp_path):
    save_file({"x": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="has no header of jetsym"):
        checkpoint.load(tmp_path / "other.safetensors")


def test_a_broken_header_is_refused(file):
    save_file(load_file(file), file, metadata={"jetsym": "{not json"})
    with pytest.raises(CheckpointError, match="has a header that cannot be read"):
        checkpoint.load(file)


def test_a_header_with_unknown_entries_is_refused(file):
    rewrite(file, colour="blue")
    with pytest.raises(CheckpointError, match="has a header that cannot be read"):
        checkpoint.load(file)


def test_another_version_is_named(file):
    rewrite(file, version=99)
    with pytest.raises(CheckpointError, match="has checkpoint format 99; this version of jetsym reads formats up to 3"):
        checkpoint.load(file)


def test_files_of_format_1_are_read(file, model, make_jets):
    """They have no progress, and end with a whole epoch."""
    tensors, header = load_file(file), json.loads(checkpoint_header(file))
    del header["progress"]
    older = {"version": 1, "digest": checkpoint._digest_of_tensors(tensors)}
    save_file(tensors, file, metadata={"jetsym": json.dumps(header | older)})
    found, _ = checkpoint.read(file)
    assert (found.version, found.epoch, found.progress) == (3, 3, {"position": {"epoch": 4}})
    assert torch.equal(checkpoint.load(file)(make_jets(4)), model.eval()(make_jets(4)))


def test_tensors_that_do_not_fit_are_named(file):
    rewrite(file, options={"width": 16, "blocks": 1, "heads": 2, "expansion": 2, "dropout": 0.0})
    with pytest.raises(CheckpointError, match=r"tensors differ, the first is .*\(file: \(\d+.*\), model: \(\d+"):
        checkpoint.load(file)


def test_missing_tensors_are_named(file, model):
    rewrite(file, options={"width": 8, "blocks": 2, "heads": 2, "expansion": 2, "dropout": 0.0})
    with pytest.raises(CheckpointError, match=r"the first is 'blocks\.1\..*file: absent"):
        checkpoint.load(file)


@pytest.mark.parametrize("change", [{"model": "pointent"}, {"options": {"depth": 3}}])
def test_unknown_models_are_named(file, change):
    rewrite(file, **change)
    with pytest.raises(CheckpointError, match="holds a model that cannot be built: "):
        checkpoint.load(file)


def test_published_weights_are_loaded_by_their_suffix(real_data):
    loaded = checkpoint.load(real_data / "particlenet" / "ParticleNet_kin.pt")
    assert (loaded.classes, loaded.config.features, loaded.training) == (CLASSES, "kin", False)


def test_other_pt_files_are_refused_unopened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was opened",))

    torch.save({"trap": Trap()}, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match="is not a whole state dictionary of tensors"):
        checkpoint.load(tmp_path / "weights.pt")


def test_statistics_of_normalisations_are_kept(tmp_path, make_jets):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        trained = build("particlenet", k=4, channels=[[8]], hidden=8).train()
    trained(make_jets(6))
    checkpoint.save(tmp_path / "x.safetensors", trained)
    loaded = checkpoint.load(tmp_path / "x.safetensors")
    assert (loaded.norm.rows.running_mean != 0).any()
    assert torch.equal(loaded(make_jets(4)), trained.eval()(make_jets(4)))


def test_a_checkpoint_of_metatrain_is_named(tmp_path):
    torch.save({"model": torch.zeros(1)}, tmp_path / "model.ckpt")
    with pytest.raises(CheckpointError, match="checkpoints of metatrain are for jetsym.atoms.load"):
        checkpoint.load(tmp_path / "model.ckpt")
