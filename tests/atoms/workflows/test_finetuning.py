"""Fine-tuning in each of its ways, and uncertainties: metatrain's own, on a PET trained for two epochs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("ase")
pytest.importorskip("metatrain")

from jetsym import atoms
from jetsym.atoms.checkpoint import read_checkpoint
from jetsym.benchmarks.copper import train_copper
from jetsym.errors import CheckpointError, ConfigError

TINY = {"d_pet": 8, "d_head": 8, "d_node": 8, "d_feedforward": 8, "num_heads": 2}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a tiny PET trained on copper, and what it was trained on."""
    folder = tmp_path_factory.mktemp("copper")
    train_copper(folder, structures=20, epochs=2, model=TINY, progress=False)
    return folder


def weights(folder):
    content = read_checkpoint(folder / "model.ckpt")
    state = content["best_model_state_dict"] or content["model_state_dict"]
    return {name: values for name, values in state.items() if isinstance(values, torch.Tensor)}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "heads", "lora"])
def test_what_is_trained(trained, tmp_path, method):
    data = str(trained / "train.xyz")
    folder = atoms.finetune(
        str(trained / "run"), data, out=str(tmp_path / "new"), method=method, epochs=2, progress=False
    )
    before, after = weights(trained / "run"), weights(folder)
    changed = {name for name, values in before.items() if name in after and not torch.equal(values, after[name])}
    backbone = {name for name in changed if "gnn_layers" in name or "embedder" in name}
    heads = {name for name in changed if "heads" in name or "last_layers" in name}
    added = {name for name in after if "lora_" in name}
    assert bool(backbone) == (method == "full")
    assert bool(heads) == (method != "lora")
    assert bool(added) == (method == "lora")
    frames = atoms.read_frames(trained / "validation.xyz")
    assert np.isfinite(atoms.evaluate(atoms.calculator(folder), frames, progress=False).scores["all"].forces_rmse)


@pytest.mark.slow
def test_uncertainties_of_a_trained_model(trained, tmp_path):
    options = {"stress": "stress", "validation": str(trained / "validation.xyz"), "batch_size": 2, "progress": False}
    folder = atoms.add_uncertainty(
        str(trained / "run"), str(trained / "train.xyz"), out=str(tmp_path / "llpr"), **options
    )
    frames = atoms.read_frames(trained / "validation.xyz")
    plain, with_sigma = (atoms.calculator(path) for path in (trained / "run", folder))
    assert with_sigma.get_potential_energy(frames[0]) == pytest.approx(plain.get_potential_energy(frames[0]), abs=1e-6)
    scores = atoms.evaluate(with_sigma, frames, progress=False).scores["all"]
    assert scores.sigma > 0
    assert 0.1 < scores.pull < 10  # it was calibrated on these


def test_what_cannot_be_finetuned(make_model, tmp_path):
    with pytest.raises(ConfigError, match="method is 'head'; expected 'full', 'heads' or 'lora'"):
        atoms.finetune("model.ckpt", "data.xyz", out="new", method="head")
    with pytest.raises(ConfigError, match="rank is 0"):
        atoms.finetune("model.ckpt", "data.xyz", out="new", method="lora", rank=0)
    with pytest.raises(CheckpointError, match="there is no nowhere.ckpt"):
        atoms.finetune("nowhere.ckpt", "data.xyz", out="new")
    (tmp_path / "model.pt").touch()
    with pytest.raises(ConfigError, match="is an export, which cannot be trained any further; give the .ckpt"):
        atoms.finetune(str(tmp_path / "model.pt"), "data.xyz", out="new")
    torch.save(make_model(architecture="soap_bpnn").get_checkpoint(), tmp_path / "soap.ckpt")
    with pytest.raises(ConfigError, match="of the architecture 'soap_bpnn'; only 'pet' can be fine-tuned"):
        atoms.finetune(str(tmp_path / "soap.ckpt"), "data.xyz", out="new")
