"""Fine-tuning in each of its ways, and uncertainties: metatrain's own, on a PET trained for two epochs."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
import yaml

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
def test_uncertainties_of_a_trained_model_and_fine_tuning_it_again(trained, tmp_path):
    """As with PET-MAD: what is trained is the PET inside, and then it has no uncertainty any more."""
    data, validation = str(trained / "train.xyz"), str(trained / "validation.xyz")
    options = {"stress": "stress", "validation": validation, "batch_size": 2, "progress": False}
    folder = atoms.add_uncertainty(str(trained / "run"), data, out=str(tmp_path / "llpr"), **options)
    frames = atoms.read_frames(validation)
    plain, with_sigma = (atoms.calculator(path) for path in (trained / "run", folder))
    assert with_sigma.get_potential_energy(frames[0]) == pytest.approx(plain.get_potential_energy(frames[0]), abs=1e-6)
    scores = atoms.evaluate(with_sigma, frames, progress=False).scores["all"]
    assert scores.sigma > 0
    assert 0.1 < scores.pull < 10  # it was calibrated on these
    new = atoms.finetune(str(folder), data, out=str(tmp_path / "new"), method="heads", epochs=1, progress=False)
    assert read_checkpoint(new / "model.ckpt")["architecture_name"] == "pet"
    before, after = weights(trained / "run"), weights(new)
    assert before.keys() == after.keys()
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in before if "gnn_layers" in name} <= same  # it starts from the PET that was wrapped
    assert not {name for name in same if "last_layers" in name and "weight" in name}
    assert atoms.evaluate(atoms.calculator(new), frames, progress=False).scores["all"].sigma is None


def asked(monkeypatch, folder):
    """What metatrain would be given, in place of running it."""
    stub = "import pathlib, sys; pathlib.Path(sys.argv[1], 'model.ckpt').write_text('')"
    monkeypatch.setattr("jetsym.atoms.training.process.RUNNER", (sys.executable, "-c", stub))
    options = []

    def collect(action, *arguments, **more):
        made = action(*arguments, out=str(folder / f"run-{len(options)}"), progress=False, **more)
        options.append(yaml.safe_load((made / "options.yaml").read_text()))
        return options[-1]

    return collect


@pytest.fixture
def data(tmp_path):
    """metatrain is not run here, and would not get far with it."""
    frame = "1\nProperties=species:S:1:pos:R:3:forces:R:3 energy=0.0\nCu 0 0 0 0 0 0\n"
    (tmp_path / "data.xyz").write_text(2 * frame)
    return str(tmp_path / "data.xyz")


def test_a_model_with_an_uncertainty_is_asked_for_in_its_own_words(
    make_model, make_uncertain, data, tmp_path, monkeypatch
):
    """metatrain compares units and descriptions letter by letter, and options of the net with those it was made by."""
    pet = make_model(num_gnn_layers=3)  # lengths in "Angstrom", with a capital
    pet.dataset_info.targets["energy"].unit = "EV"
    pet.dataset_info.targets["energy"].description = "of copper"
    pet = type(pet).load_checkpoint(pet.get_checkpoint() | {"epoch": 0}, context="restart")
    torch.save(make_uncertain(pet).get_checkpoint(), tmp_path / "model.ckpt")
    ask = asked(monkeypatch, tmp_path)
    found = ask(atoms.finetune, str(tmp_path / "model.ckpt"), data, method="heads")
    assert found["architecture"]["name"] == "pet"
    assert found["architecture"]["model"]["num_gnn_layers"] == 3
    assert found["architecture"]["training"]["finetune"]["read_from"] == str(tmp_path / "model.ckpt")
    assert found["training_set"]["systems"]["length_unit"] == "Angstrom"
    target = found["training_set"]["targets"]["energy"]
    assert (target["unit"], target["description"], target["forces"]) == ("EV", "of copper", {"key": "forces"})
    torch.save(pet.get_checkpoint(), tmp_path / "model.ckpt")
    found = ask(atoms.add_uncertainty, str(tmp_path / "model.ckpt"), data)
    assert found["training_set"]["systems"]["length_unit"] == "Angstrom"
    assert found["training_set"]["targets"]["energy"]["unit"] == "EV"


def test_another_energy_starts_from_the_first_and_later_from_itself(make_model, data, tmp_path, monkeypatch):
    ask = asked(monkeypatch, tmp_path)
    torch.save(make_model().get_checkpoint(), tmp_path / "model.ckpt")
    found = ask(atoms.finetune, str(tmp_path / "model.ckpt"), data, variant="pbe")
    assert list(found["training_set"]["targets"]) == ["energy/pbe"]
    assert found["architecture"]["training"]["finetune"]["inherit_heads"] == {"energy/pbe": "energy"}
    torch.save(make_model({"energy/pbe": "energy"}).get_checkpoint(), tmp_path / "model.ckpt")
    found = ask(atoms.finetune, str(tmp_path / "model.ckpt"), data, variant="pbe")
    assert found["architecture"]["training"]["finetune"]["inherit_heads"] == {}
    found = ask(atoms.add_uncertainty, str(tmp_path / "model.ckpt"), data, variant="pbe")
    assert list(found["training_set"]["targets"]) == ["energy/pbe"]
    with pytest.raises(ConfigError, match="has no 'energy'; it predicts 'energy/pbe'; give variant='pbe'"):
        atoms.finetune(str(tmp_path / "model.ckpt"), data, out="new")


@pytest.mark.parametrize("name", ["pet/model-v1_trainer-v1", "llpr/model-v2_trainer-v1", "llpr/model-v4_trainer-v7"])
def test_options_of_older_models_are_brought_up_to_date(older_checkpoint, data, tmp_path, monkeypatch, name):
    from metatrain.utils.architectures import get_default_hypers

    found = asked(monkeypatch, tmp_path)(atoms.finetune, str(older_checkpoint(name)), data)
    assert found["architecture"]["model"].keys() == get_default_hypers("pet")["model"].keys()


def test_what_cannot_be_trained_further(make_model, make_uncertain, data, tmp_path):
    file = tmp_path / "model.ckpt"
    pet = make_model()
    torch.save(make_uncertain(pet).get_checkpoint(), file)
    with pytest.raises(ConfigError, match="has an uncertainty already; give the checkpoint of the model that it was"):
        atoms.add_uncertainty(str(file), data, out="new")
    pet.dataset_info.length_unit = "bohr"
    torch.save(pet.get_checkpoint(), file)
    with pytest.raises(ConfigError, match="takes lengths in 'bohr'; expected a model that takes them in Å"):
        atoms.finetune(str(file), data, out="new")
    pet.dataset_info.length_unit = "angstrom"
    pet.dataset_info.targets["energy"].unit = "kcal/mol"
    torch.save(pet.get_checkpoint(), file)
    with pytest.raises(ConfigError, match="unit is 'eV', but 'energy' of the model is in 'kcal/mol'; convert the data"):
        atoms.finetune(str(file), data, out="new")


def test_what_cannot_be_finetuned(make_model, make_uncertain, tmp_path):
    with pytest.raises(ConfigError, match="method is 'head'; expected one of 'full', 'heads', 'lora'"):
        atoms.finetune("model.ckpt", "data.xyz", out="new", method="head")
    with pytest.raises(ConfigError, match="rank is 0"):
        atoms.finetune("model.ckpt", "data.xyz", out="new", method="lora", rank=0)
    with pytest.raises(CheckpointError, match="there is no nowhere.ckpt"):
        atoms.finetune("nowhere.ckpt", "data.xyz", out="new")
    (tmp_path / "model.pt").touch()
    with pytest.raises(ConfigError, match="is an export, which cannot be trained any further; give the .ckpt"):
        atoms.finetune(str(tmp_path / "model.pt"), "data.xyz", out="new")
    soap = make_model(architecture="soap_bpnn")
    for model in (soap, make_uncertain(soap)):
        torch.save(model.get_checkpoint(), tmp_path / "soap.ckpt")
        with pytest.raises(ConfigError, match="of the architecture 'soap_bpnn'; only 'pet' can be fine-tuned"):
            atoms.finetune(str(tmp_path / "soap.ckpt"), "data.xyz", out="new")


@pytest.mark.slow
def test_fine_tuning_goes_on_with_gaps_masked_and_ten_structures_do_for_an_uncertainty(trained, tmp_path):
    import ase.io
    from ase.calculators.singlepoint import SinglePointCalculator

    frames = atoms.read_frames(trained / "train.xyz")[:10]
    ase.io.write(tmp_path / "ten.xyz", frames, format="extxyz")
    results = {name: value for name, value in frames[4].calc.results.items() if name != "forces"}
    frames[4].calc = SinglePointCalculator(frames[4], **results)
    ase.io.write(tmp_path / "gaps.xyz", frames, format="extxyz")
    options = {"out": str(tmp_path / "new"), "allow_missing": True, "progress": False}
    for epochs in (1, 2):
        folder = atoms.finetune(
            str(trained / "run"), str(tmp_path / "gaps.xyz"), epochs=epochs, resume=epochs == 2, **options
        )
    rows = (folder / "train.csv").read_text().splitlines()[2:]
    assert [int(row.split(",")[0]) for row in rows] == [0, 1]
    assert all(np.isfinite([float(cell) for cell in row.split(",")]).all() for row in rows)
    options = {"out": str(tmp_path / "sigma"), "stress": "stress", "progress": False}
    sigma = atoms.add_uncertainty(str(trained / "run"), str(tmp_path / "ten.xyz"), **options)
    assert atoms.uncertainty(atoms.calculator(sigma), frames[0]) > 0
