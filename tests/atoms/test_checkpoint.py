"""Loading checkpoints and exports, and what is not opened."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib.util import find_spec
from unittest.mock import patch

import numpy as np
import pytest
import torch

import jetsym
from jetsym import atoms, cli
from jetsym.atoms.packages import quiet
from jetsym.errors import CheckpointError, ConfigError, DownloadError, MissingDependencyError

QUIET = {"l_max": 1, "progress": False}


@pytest.fixture
def saved(pet, tmp_path):
    """A checkpoint, as metatrain writes it."""
    file = tmp_path / "model.ckpt"
    torch.save(pet.get_checkpoint() | {"epoch": 3, "best_epoch": 2}, file)
    return file


def test_a_checkpoint_gives_the_same_model(pet, saved, molecule):
    frames = [molecule("H2O", 0)]
    loaded = atoms.load(saved)
    assert (loaded.name, loaded.training) == ("PET", False)
    direct, read, by_path, by_folder = (
        jetsym.probe(model, frames, **QUIET) for model in (pet, loaded, str(saved), saved.parent)
    )
    for report in (read, by_path, by_folder):
        assert report.layers == direct.layers
        torch.testing.assert_close(torch.tensor(report.fractions), torch.tensor(direct.fractions))


def test_the_command_line_probes_a_checkpoint(saved, molecule, tmp_path, capsys):
    import ase.io

    ase.io.write(tmp_path / "frames.xyz", [molecule("H2O", 0)])
    words = ["probe", str(saved), "--inputs", str(tmp_path / "frames.xyz"), "--l_max", "1", "--progress", "false"]
    assert cli.main([*words, "--layers", "[gnn_layers.1_node]"]) == 0
    said = capsys.readouterr().out
    assert "gnn_layers.1_node" in said
    assert "energy" in said


def test_a_dtype_of_ones_own(saved):
    assert atoms.load(saved, dtype="float32").module.backend.edge_embedder.weight.dtype == torch.float32
    with pytest.raises(ConfigError, match="dtype is 'half'"):
        atoms.load(saved, dtype="half")


def test_the_best_and_the_last_weights(pet, saved):
    content = pet.get_checkpoint() | {"epoch": 3, "best_epoch": 2}
    name = "backend.edge_embedder.weight"
    content["model_state_dict"] = {**content["model_state_dict"], name: content["model_state_dict"][name] + 1}
    torch.save(content, saved)
    best, last = (atoms.load(saved, weights=which).module.state_dict()[name] for which in ("best", "last"))
    torch.testing.assert_close(last, best + 1)


class Runs:
    """What a hostile file holds: a call of something, when it is read."""

    def __reduce__(self):
        return print, ("this ran",)


@pytest.mark.parametrize("place", ["metadata", "extra"])
def test_a_checkpoint_runs_nothing(pet, saved, capsys, place):
    torch.save(pet.get_checkpoint() | {place: Runs()}, saved)
    with pytest.raises(CheckpointError, match="is not opened, as it holds more than metatrain writes"):
        atoms.load(saved)
    assert "this ran" not in capsys.readouterr().out


def test_values_of_other_compiled_classes_are_refused(saved):
    """The same file with another class for its metadata."""
    with zipfile.ZipFile(saved) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    (pickled,) = [name for name in members if name.endswith("data.pkl")]
    assert b"classes.metatomic.ModelMetadata" in members[pickled]
    members[pickled] = members[pickled].replace(b"classes.metatomic.", b"classes.quantized.")
    with zipfile.ZipFile(saved, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(CheckpointError, match="a value of the class __torch__.torch.classes.quantized.ModelMetadata"):
        atoms.load(saved)


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "ran"


@pytest.fixture
def second(tmp_path, marker):
    """A second file, which writes the marker when it is unpickled."""

    class Writes:
        def __reduce__(self):
            return type(marker).write_text, (marker, "ran")

    file = tmp_path / "second.model"
    torch.save({"model": Writes()}, file)
    return file


def of_another_file(name, option, second):
    """What a checkpoint holds whose architecture unpickles a second file, and that holds no order itself."""
    hypers = {option: str(second), "mace_head_name": None, "descriptor": {}, "fitting_net": {}}
    return {
        "architecture_name": name,
        "model_ckpt_version": 1,
        "model_data": {"hypers": hypers, "model_hypers": hypers, "dataset_info": None},
        "model_state_dict": {},
        "best_model_state_dict": {},
        "epoch": 0,
        "best_epoch": 0,
    }


WRAPPED = {
    "by itself": lambda inner: inner,
    "in llpr": lambda inner: {"architecture_name": "llpr", "model_data": {}, "wrapped_model_checkpoint": inner},
    "in a classifier": lambda inner: {
        "architecture_name": "experimental.classifier",
        "model_data": {},
        "wrapped_model_checkpoint": inner,
    },
    "in llpr in a classifier": lambda inner: WRAPPED["in a classifier"](WRAPPED["in llpr"](inner)),
    "somewhere else": lambda inner: {"architecture_name": "pet", "model_data": {}, "further": [({"x": inner},)]},
}


@pytest.mark.parametrize("wrapped", WRAPPED)
@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("experimental.mace", "mace_model"),
        ("experimental.dpa3", "dpa3_model"),
        ("gap", "x"),
        ("utils.io", "x"),
    ],
)
def test_architectures_that_read_another_file_are_refused(tmp_path, second, marker, monkeypatch, name, option, wrapped):
    import metatrain.utils.io

    monkeypatch.setattr(metatrain.utils.io, "model_from_checkpoint", lambda *a, **k: pytest.fail("it was built"))
    file = tmp_path / "model.ckpt"
    torch.save(WRAPPED[wrapped](of_another_file(name, option, second)), file)
    refused = r"model.ckpt is not opened, as it holds a model of the architecture .* \(--trust\)"
    for load in (atoms.load, atoms.calculator):
        with pytest.raises(CheckpointError, match=refused):
            load(file)
    assert not marker.exists()
    torch.load(second, weights_only=False)  # as those architectures do
    assert marker.exists()


@pytest.mark.parametrize(
    "value", ["/tmp/x", "~/x", "./x", "../x", "C:\\x", "https://x/y", "file:///x", "x.ckpt", "x/y.pt", "a\nb.pkl"]
)
def test_options_that_name_files_are_refused(pet, saved, value):
    content = pet.get_checkpoint() | {"epoch": 3, "best_epoch": 2}
    for hypers in ({"cutoff_function": value}, {"long_range": {"use": [value]}}):
        content["model_data"] = {**content["model_data"], "model_hypers": hypers}
        torch.save(content, saved)
        with pytest.raises(CheckpointError, match="an option that names a file"):
            atoms.load(saved)


def test_names_that_are_spelled_by_a_function_are_refused(pet, saved):
    """As a class could then be named without its name being in the file."""
    import codecs

    class Spelled:
        def __reduce__(self):
            return codecs.encode, ("__gbepu__", "rot13")

    torch.save(pet.get_checkpoint() | {"epoch": 3, "best_epoch": 2, "more": Spelled()}, saved)
    with pytest.raises(CheckpointError, match=r"the function _codecs.encode"):
        atoms.load(saved)


def test_values_that_metatrain_does_not_expect(pet, saved):
    for changes in (
        {"model_data": 3},
        {"model_state_dict": 3, "best_model_state_dict": 3},
        {"model_ckpt_version": "x"},
    ):
        torch.save(pet.get_checkpoint() | {"epoch": 3, "best_epoch": 2} | changes, saved)
        with pytest.raises(CheckpointError, match="cannot be loaded by metatrain"):
            atoms.load(saved)


@pytest.mark.parametrize("hypers", [{"num_gnn_layers": 10**6}, {"d_pet": 10**6, "d_node": 10**6}])
def test_a_model_far_beyond_its_tensors_is_not_built(pet, saved, hypers):
    content = pet.get_checkpoint() | {"epoch": 3, "best_epoch": 2}
    known = content["model_data"]
    content["model_data"] = {**known, "model_hypers": {**known["model_hypers"], **hypers}}
    torch.save(content, saved)
    with pytest.raises(CheckpointError, match="cannot be loaded by metatrain: it (asks for|grows far)"):
        atoms.load(saved)


def test_a_packed_checkpoint_is_not_opened(saved):
    with zipfile.ZipFile(saved) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(saved, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    with pytest.raises(CheckpointError, match="unpack to"):
        atoms.load(saved)


def test_options_that_hold_each_other_are_looked_at_once(pet, saved):
    """Lists of lists, each of which is named many times: 9 ** 20 in all."""
    content, names = pet.get_checkpoint() | {"epoch": 3, "best_epoch": 2}, ["x"]
    for _ in range(20):
        names = [names] * 9
    content["model_data"] = {**content["model_data"], "more": names}
    torch.save(content, saved)
    assert atoms.load(saved).name == "PET"


def test_trust_opens_what_is_refused(pet, saved, marker):
    class Writes:
        def __reduce__(self):
            return type(marker).write_text, (marker, "ran")

    torch.save(pet.get_checkpoint() | {"epoch": 3, "best_epoch": 2, "more": Writes()}, saved)
    with pytest.raises(CheckpointError, match="--trust"):
        atoms.load(saved)
    assert not marker.exists()
    assert atoms.load(saved, trust=True).name == "PET"
    assert marker.exists()


def test_trust_comes_from_the_command_line_alone(saved, tmp_path, capsys):
    """Not from a file of options, which could have come with the model."""
    (tmp_path / "options.yaml").write_text("trust: true\n")
    words = ["probe", str(saved), "--config", str(tmp_path / "options.yaml"), "--progress", "false"]
    assert cli.main(words) == 1
    assert "trust is set in a file of options" in capsys.readouterr().err


def test_what_is_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="there is no .*none.ckpt"):
        atoms.load(tmp_path / "none.ckpt")
    with pytest.raises(CheckpointError, match="holds neither model.ckpt nor model_EPOCH.ckpt"):
        atoms.load(tmp_path)
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    with pytest.raises(CheckpointError, match="text.ckpt cannot be read as a checkpoint of metatrain"):
        atoms.load(tmp_path / "text.ckpt")
    (tmp_path / "model.txt").write_text("")
    with pytest.raises(CheckpointError, match="ends in '.txt'"):
        atoms.load(tmp_path / "model.txt")
    torch.save({"weights": torch.zeros(2)}, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match="other.ckpt holds no model"):
        atoms.load(tmp_path / "other.ckpt")
    (tmp_path / "broken.pt").write_text("no export")
    with pytest.raises(CheckpointError, match="broken.pt cannot be read as an exported model"):
        atoms.load(tmp_path / "broken.pt")


@pytest.mark.slow
def test_an_export_has_outputs_only(make_model, tmp_path, molecule):
    module = make_model({"energy": "energy", "mtt::dipole": {"cartesian": {"rank": 1}}})
    frames = [molecule("H2O", 0), molecule("CH3OH", 1)]
    expected = jetsym.probe(module, frames, **QUIET)
    with quiet():
        module.export().save(str(tmp_path / "model.pt"))
    report = jetsym.probe(tmp_path / "model.pt", frames, **QUIET)
    assert report.layers == ("energy", "mtt::dipole")
    assert report.equivariance["mtt::dipole"].kind == "vector"
    assert "outputs only" in " ".join(report.meta["notes"])
    for name, found in report.equivariance.items():
        assert found.absolute == pytest.approx(expected.equivariance[name].absolute, rel=1e-6)
    with pytest.raises(jetsym.JetsymError, match="only the layers of a PET can be read"):
        jetsym.probe(tmp_path / "model.pt", frames, layers=["gnn_layers.0"], **QUIET)


@pytest.fixture
def uncertain(pet, make_uncertain):
    """A PET with last-layer uncertainties, as the published models are."""
    return make_uncertain(pet)


def test_a_model_with_uncertainties_is_the_pet_inside(pet, uncertain, molecule, tmp_path):
    """Its layers are those of the PET, also out of a file; its uncertainty is no output of the probe."""
    torch.save(uncertain.get_checkpoint(), tmp_path / "model.ckpt")
    frames = [molecule("H2O", 0)]
    inside, *others = (jetsym.probe(model, frames, **QUIET) for model in (pet, uncertain, tmp_path / "model.ckpt"))
    assert {"gnn_layers.1_node", "gnn_layers.1_edge", "energy"} <= set(inside.layers)
    for outside in others:
        assert outside.layers == inside.layers
        assert list(outside.equivariance) == ["energy"]
        torch.testing.assert_close(torch.tensor(outside.fractions), torch.tensor(inside.fractions))


@pytest.mark.slow
def test_an_export_with_uncertainties_has_none_of_them_as_an_output(uncertain, tmp_path):
    with quiet():
        uncertain.export().save(str(tmp_path / "model.pt"))
    assert atoms.load(tmp_path / "model.pt").kinds == {"energy": "scalar"}


@pytest.mark.parametrize("name", ["pet/model-v1_trainer-v1", "llpr/model-v2_trainer-v1", "llpr/model-v3_trainer-v1"])
def test_files_of_older_metatrain(older_checkpoint, molecule, name):
    report = jetsym.probe(older_checkpoint(name), [molecule("H2O", 0)], layers=["gnn_layers.*_node"], **QUIET)
    assert {"gnn_layers.0_node", "energy"} <= set(report.layers)


def test_the_first_models_with_uncertainties(older_checkpoint, molecule, saved):
    """Version 1, which PET-MAD 1.0.2 was published in: nothing but the model inside and the covariance."""
    content = torch.load(older_checkpoint("llpr/model-v2_trainer-v1"), weights_only=False)
    later = atoms.load(older_checkpoint("llpr/model-v2_trainer-v1"))
    del content["model_data"]
    torch.save(content | {"model_ckpt_version": 1}, saved)
    model = atoms.load(saved)
    assert model.kinds == {"energy": "scalar"}
    structures = model.structures([molecule("H2O", 0)])
    torch.testing.assert_close(model(structures), later(structures))


def test_files_of_a_newer_metatrain(pet, uncertain, saved):
    for model in (pet, uncertain):
        torch.save(model.get_checkpoint() | {"model_ckpt_version": 1000}, saved)
        with pytest.raises(CheckpointError, match="format version 1000, but .* upgrade metatrain to a newer version"):
            atoms.load(saved)


def test_a_published_model_by_name(uncertain, tmp_path, monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    asked = []

    def fetch(repo_id, filename, subfolder):
        asked.append((repo_id, subfolder, filename))
        torch.save(uncertain.get_checkpoint(), tmp_path / filename)
        return str(tmp_path / filename)

    monkeypatch.setattr("jetsym.atoms.published._check_network", lambda file: None)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda repo_id, filename: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    model = atoms.pretrained("pet-mad", version="1.5.0")
    assert asked == [("lab-cosmo/upet", "models", "pet-mad-s-v1.5.0.ckpt")]
    assert model.kinds == {"energy": "scalar"}

    def offline(repo_id, filename, subfolder):
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(DownloadError, match="cannot be reached .* give the path of the file as the model"):
        atoms.pretrained("pet-mad", version="v1.5.0")


def test_without_the_extra_the_pip_line_is_named(monkeypatch, capsys, tmp_path):
    """Also where the extra is installed: its packages are made to look absent."""
    for name in ("metatrain", "metatomic", "metatomic.torch", "ase", "ase.io"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match=r"install it with: python -m pip install 'jetsym\[atoms\]'"):
        atoms.load("model.ckpt")
    (tmp_path / "frames.xyz").write_text("1\n\nH 0 0 0\n")
    assert cli.main(["probe", "model.ckpt", "--inputs", str(tmp_path / "frames.xyz")]) == 1
    line = capsys.readouterr().err.strip()
    assert line.count("\n") == 0
    assert "pip install 'jetsym[atoms]'" in line


def test_without_the_extra_everything_else_works():
    """Importing jetsym and its atoms takes none of the packages, and probing arrays neither."""
    code = (
        "import sys, numpy as np, jetsym, jetsym.atoms\n"
        "jetsym.probe(lambda x: x[:, 0], np.ones((2, 3)), l_max=1, progress=False)\n"
        "print(*sorted({'metatrain', 'metatomic', 'metatensor', 'ase'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_functions_that_another_package_put_into_torch_are_set_aside_for_metatrain():
    """As torch_geometric puts its own there, and TorchScript compiles nothing that calls them."""

    def other(*arguments, **options):
        raise AssertionError("it was called")

    own = torch.index_select, torch.select
    with patch.object(torch, "index_select", other), patch.object(torch, "select", other):
        with quiet():
            assert (torch.index_select, torch.select) == own
            compiled = torch.jit.script(_picked)
        assert torch.index_select is other  # whose package goes on with it
        assert torch.select is other
    assert compiled(torch.arange(3), torch.tensor([2])).item() == 2


def _picked(values: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    return torch.index_select(values, 0, places)


@pytest.mark.slow
def test_a_model_is_loaded_beside_torch_geometric(make_model, tmp_path):
    """In a process that imports it before metatensor, as LLoCa and SevenNet do."""
    if find_spec("torch_geometric") is None:
        pytest.skip("torch_geometric is not installed")
    torch.save(make_model().get_checkpoint() | {"epoch": 0, "best_epoch": 0}, tmp_path / "model.ckpt")
    code = """
import sys, torch_geometric, torch
from ase.build import molecule
from jetsym import atoms
assert torch.index_select.__module__ == "torch_geometric.hash_tensor"
model = atoms.load(sys.argv[1])
print(float(model(model.structures([molecule("H2O")]))["energy"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model.ckpt")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert np.isfinite(float(done.stdout))
