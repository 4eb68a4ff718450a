"""From names and files to calculators; uncertainties of models that have them; models by name without a network."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("ase")
pytest.importorskip("metatrain")

from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from jetsym import atoms
from jetsym.atoms.packages import quiet
from jetsym.atoms.published import fetch
from jetsym.errors import CheckpointError, ConfigError, DownloadError


@pytest.fixture
def saved(make_model, tmp_path):
    """A checkpoint of an untrained PET, as metatrain writes it."""
    file = tmp_path / "model.ckpt"
    torch.save(make_model(dtype=torch.float32).get_checkpoint() | {"epoch": 3, "best_epoch": 2}, file)
    return file


@pytest.fixture
def uncertain(make_model, make_uncertain, tmp_path):
    """The same with last-layer uncertainties."""
    file = tmp_path / "uncertain.ckpt"
    torch.save(make_uncertain(make_model(dtype=torch.float32)).get_checkpoint(), file)
    return file


def test_calculators_are_taken_as_they_are():
    potential = EMT()
    assert atoms.calculator(potential) is potential
    assert isinstance(atoms.calculator("emt"), EMT)


def test_forces_of_a_checkpoint_are_the_slope_of_its_energy(saved):
    water = molecule("H2O")
    water.calc = atoms.calculator(saved)
    forces = water.get_forces()
    step = 1e-5
    energies = []
    for sign in (1, -1):
        moved = water.copy()
        moved.positions[1, 2] += sign * step
        moved.calc = water.calc
        energies.append(moved.get_potential_energy())
    assert forces[1, 2] == pytest.approx(-(energies[0] - energies[1]) / (2 * step), abs=1e-7)  # float64 by default
    assert np.abs(forces.sum(axis=0)).max() < 1e-10


def test_stress_of_a_checkpoint_is_the_slope_of_its_energy(saved):
    copper = bulk("Cu", cubic=True)
    copper.calc = atoms.calculator(saved.parent)
    stress, step, energies = copper.get_stress(voigt=False), 1e-5, []
    for sign in (1, -1):
        strained = copper.copy()
        strain = np.eye(3) + sign * step * np.diag([0.0, 0.0, 1.0])
        strained.set_cell(copper.cell.array @ strain, scale_atoms=True)
        strained.calc = copper.calc
        energies.append(strained.get_potential_energy())
    assert stress[2, 2] == pytest.approx((energies[0] - energies[1]) / (2 * step) / copper.get_volume(), abs=1e-7)


def test_single_precision(saved):
    water = molecule("H2O")
    exact, rough = (atoms.calculator(saved, dtype=dtype) for dtype in (None, "float32"))
    energies = [potential.get_potential_energy(water) for potential in (exact, rough)]
    assert energies[0] == pytest.approx(energies[1], abs=1e-4)
    assert energies[0] != energies[1]


def test_an_export(saved, tmp_path):
    with quiet():
        atoms.load(saved).module.export().save(str(tmp_path / "export.pt"))
    water = molecule("H2O")
    single, exported = atoms.calculator(saved, dtype="float32"), atoms.calculator(tmp_path / "export.pt")
    with quiet():
        assert exported.get_potential_energy(water) == pytest.approx(single.get_potential_energy(water), abs=1e-5)
    with pytest.raises(ConfigError, match="is an export of a fixed type; load the .ckpt instead"):
        atoms.calculator(tmp_path / "export.pt", dtype="float64")


def test_uncertainties(uncertain, saved):
    water = molecule("H2O")
    assert atoms.uncertainty(EMT(), water) is None
    assert atoms.uncertainty(atoms.calculator(saved), water) is None
    potential = atoms.calculator(uncertain)
    whole, single = atoms.uncertainty(potential, water), atoms.uncertainty(potential, water, per_atom=True)
    assert whole > 0
    assert single.shape == (3,)
    assert single[1] == pytest.approx(single[2], rel=0.5)
    water.calc = potential
    assert np.isfinite(water.get_forces()).all()


def test_a_model_of_several_energies(make_model, make_uncertain, tmp_path):
    model = make_uncertain(make_model({"energy/pbe": "energy", "energy/r2scan": "energy"}))
    torch.save(model.get_checkpoint(), tmp_path / "several.ckpt")
    with pytest.raises(ConfigError, match="variant is None, but the energies of .* are 'energy/pbe', 'energy/r2scan'"):
        atoms.calculator(tmp_path / "several.ckpt")
    water, found = molecule("H2O"), {}
    systems = atoms.Model(model).systems([water])
    for variant in ("pbe", "r2scan"):
        potential = atoms.calculator(tmp_path / "several.ckpt", variant=variant)
        found[variant] = potential.get_potential_energy(water)
        names = (f"energy/{variant}", f"mtt::aux::energy/{variant}_uncertainty")
        with quiet(), torch.no_grad():
            from metatomic.torch import ModelOutput

            direct = model(systems, {name: ModelOutput(sample_kind="system") for name in names})
        assert found[variant] == pytest.approx(float(direct[names[0]].block().values), abs=1e-6)
        assert atoms.uncertainty(potential, water) == pytest.approx(float(direct[names[1]].block().values), rel=1e-6)
    assert abs(found["pbe"] - found["r2scan"]) > 1e-6
    torch.save(make_model({"energy/pbe": "energy"}).get_checkpoint(), tmp_path / "one.ckpt")
    assert np.isfinite(atoms.calculator(tmp_path / "one.ckpt").get_potential_energy(water))
    with pytest.raises(ConfigError, match="variant is 'r2scan', but the energies of .* are 'energy/pbe'"):
        atoms.calculator(tmp_path / "one.ckpt", variant="r2scan")


def test_a_model_without_an_energy(make_model, tmp_path):
    vector = {"cartesian": {"rank": 1}}
    torch.save(make_model({"mtt::dipole": vector}).get_checkpoint(), tmp_path / "dipole.ckpt")
    with pytest.raises(CheckpointError, match="predicts no energy, which a calculator needs; it predicts .*dipole"):
        atoms.calculator(tmp_path / "dipole.ckpt")


@pytest.mark.parametrize(
    ("model", "options", "kind", "message"),
    [
        ("pet-foo", {}, CheckpointError, "expected a .ckpt or .pt file of metatrain, the folder of a run, 'emt'"),
        ("nowhere.ckpt", {}, CheckpointError, "there is no nowhere.ckpt"),
        ("nowhere.ckpt", {"version": "1.0.0"}, ConfigError, "versions are of published models"),
        ("nowhere.ckpt", {"dtype": "half"}, ConfigError, "dtype is 'half'"),
        ("pet-mad-s-v1.0.2", {"version": "1.1.0"}, ConfigError, "is of version 1.0.2, but version is '1.1.0'"),
    ],
)
def test_wrong_models(model, options, kind, message):
    with pytest.raises(kind, match=message):
        atoms.calculator(model, **options)


@pytest.fixture
def offline(monkeypatch):
    """No network, and an empty cache."""
    import huggingface_hub

    def unknown(*arguments, **options):
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr("jetsym.hub.getproxies", dict)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda repository, file: None)
    monkeypatch.setattr(huggingface_hub, "scan_cache_dir", lambda: SimpleNamespace(repos=[]))
    return monkeypatch


@pytest.mark.parametrize(
    ("name", "file"), [("pet-mad-s-v1.5.0", "pet-mad-s-v1.5.0"), ("pet-mad-s", "pet-mad-s-vVERSION")]
)
def test_without_a_network_it_is_said_what_to_do(offline, name, file):
    with pytest.raises(
        DownloadError, match=f"{file}.ckpt is not in the cache .* give the path of the file as the model"
    ):
        atoms.calculator(name)


def test_what_is_in_the_cache_needs_no_network(offline, saved):
    import huggingface_hub

    held = SimpleNamespace(file_name="pet-mad-s-v1.5.0.ckpt")
    older = SimpleNamespace(file_name="pet-mad-s-v1.10.0.ckpt")
    other = SimpleNamespace(file_name="pet-mad-xs-v2.0.0.ckpt")
    revision = SimpleNamespace(files=[held, older, other])
    repository = SimpleNamespace(repo_id="lab-cosmo/upet", revisions=[revision])
    offline.setattr(huggingface_hub, "scan_cache_dir", lambda: SimpleNamespace(repos=[repository]))
    asked = []
    offline.setattr(
        huggingface_hub,
        "try_to_load_from_cache",
        lambda repository, file: asked.append((repository, file)) or str(saved),
    )
    assert fetch("pet-mad-s") == Path(saved)  # the newest: 1.10 is newer than 1.5
    assert fetch("pet-mad-s", version="1.5.0") == Path(saved)
    assert asked == [("lab-cosmo/upet", f"models/pet-mad-s-v{version}.ckpt") for version in ("1.10.0", "1.5.0")]


def test_names_that_are_not_published(monkeypatch):
    upet = pytest.importorskip("upet")
    monkeypatch.setattr("jetsym.atoms.published._check_network", lambda file: None)
    monkeypatch.setattr(
        upet, "list_upet", lambda print_summary: [{"model": "pet-mad", "size": "s", "version": "1.5.0"}]
    )
    with pytest.raises(ConfigError, match="there is no published model 'pet-mads-s'; the nearest are 'pet-mad-s'"):
        fetch("pet-mads-s")
