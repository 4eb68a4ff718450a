"""Small untrained models of metatrain, and structures."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jetsym.atoms.packages import quiet

PACKAGES = ("metatrain", "metatomic", "ase")
SMALL = {"d_pet": 16, "d_node": 16, "d_head": 16, "d_feedforward": 16, "num_heads": 2}
SMALL_SOAP = {
    "soap": {"max_angular": 2, "max_radial": 2, "cutoff": {"radius": 4.0, "width": 0.5}},
    "bpnn": {"num_hidden_layers": 1, "num_neurons_per_layer": 8},
}
#: What metatrain's options say of forces and stress that are outputs of their own.
NON_CONSERVATIVE = {
    "non_conservative_force": {"quantity": "force", "unit": "eV/A", "sample_kind": "atom"},
    "non_conservative_stress": {"quantity": "pressure", "unit": "eV/A^3"},
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip where the extra is not installed, but for the test of what is said then."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    for item in items:
        if missing and "atoms" in item.path.parts and "without_the_extra" not in item.name:
            reason = f"{missing[0]} is not installed (pip install 'jetsym[atoms]')"
            item.add_marker(pytest.mark.skip(reason=reason))


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    nested = {name: _merged(base[name], value) for name, value in changes.items() if isinstance(value, dict)}
    return {**base, **changes, **nested}


def _make_model(
    targets: dict[str, Any] | None = None,
    *,
    architecture: str = "pet",
    gradients: tuple[str, ...] = (),
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    **hypers: Any,
) -> torch.nn.Module:
    with quiet():
        from metatrain.utils.architectures import get_default_hypers, import_architecture
        from metatrain.utils.data import DatasetInfo
        from metatrain.utils.data.target_info import get_energy_target_info, get_generic_target_info

        layouts = {}
        for name, kind in (targets or {"energy": "energy"}).items():
            option = {
                "quantity": "energy" if kind == "energy" else "",
                "unit": "",
                "type": kind,
                "sample_kind": "system",
            }
            option |= {"num_subtargets": 1, "description": ""} | NON_CONSERVATIVE.get(name, {})
            if kind == "energy":
                flags = {f"add_{'position' if g == 'positions' else g}_gradients": True for g in gradients}
                layouts[name] = get_energy_target_info(name, option, **flags)
            else:
                layouts[name] = get_generic_target_info(name, option)
        small = SMALL_SOAP if architecture == "soap_bpnn" else SMALL
        options = _merged(_merged(get_default_hypers(architecture)["model"], small), hypers)
        info = DatasetInfo("Angstrom", [1, 6, 7, 8, 29], layouts)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return import_architecture(architecture).__model__(options, info).to(dtype).eval()


@pytest.fixture(scope="session")
def make_model() -> Callable[..., torch.nn.Module]:
    """``make_model(targets, architecture=, gradients=, dtype=, seed=, **hypers)``: a small untrained model."""
    return _make_model


@pytest.fixture(scope="session")
def pet() -> torch.nn.Module:
    """A small untrained PET in float64 with an energy."""
    return _make_model()


@pytest.fixture(scope="session")
def make_injected() -> Callable[..., torch.nn.Module]:
    """``make_injected(inject, targets, scale=, …)``: a small PET with bias, its further weights drawn with a scale."""

    def make(inject: str, targets: dict[str, Any] | None = None, *, scale: float = 0.5, **options: Any) -> Any:
        from jetsym.atoms.architectures import INJECTED, add_architectures

        add_architectures()
        made: Any = _make_model(targets, architecture=INJECTED, inject=inject, **options)
        generator = torch.Generator().manual_seed(1)
        for layer in made.backend.gnn_layers:
            weight = layer.edge_embedder.mix.weight
            weight.data = scale * torch.randn(weight.shape, generator=generator, dtype=torch.float64).to(weight.dtype)
        return made

    return make


@pytest.fixture(scope="session")
def make_uncertain() -> Callable[[torch.nn.Module], torch.nn.Module]:
    """``make_uncertain(model)``: the same with last-layer uncertainties, of a made-up covariance, as PET-MAD has."""

    def make(model: Any) -> torch.nn.Module:
        with quiet():
            from metatrain.llpr import LLPRUncertaintyModel
            from metatrain.utils.architectures import get_default_hypers

            made = LLPRUncertaintyModel(get_default_hypers("llpr")["model"], model.dataset_info)
            made.set_wrapped_model(model)
        made.to(next(model.parameters()).dtype)
        for name, buffer in made.named_buffers():
            if "covariance" in name or "cholesky" in name:
                buffer.copy_(torch.eye(len(buffer)))
        return made.eval()

    return make


@pytest.fixture(scope="session")
def older_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``older_checkpoint("pet/model-v1_trainer-v1")``: a file of an older metatrain, of those it tests itself with."""

    def unpack(name: str) -> Path:
        import metatrain

        architecture, _, stem = name.partition("/")
        packed = Path(metatrain.__file__).parent / architecture / "tests" / "checkpoints" / f"{stem}.ckpt.gz"
        if not packed.is_file():
            pytest.skip(f"this metatrain comes without {packed}")
        file = tmp_path_factory.mktemp("older") / f"{stem}.ckpt"
        file.write_bytes(gzip.decompress(packed.read_bytes()))
        return file

    return unpack


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shaken methanol with energies and forces of an effective-medium potential."""
    ase_io = pytest.importorskip("ase.io")
    from ase.build import molecule
    from ase.calculators.emt import EMT

    rng, frames = np.random.default_rng(0), []
    for _ in range(12):
        frame = molecule("CH3OH")
        frame.positions += rng.normal(scale=0.05, size=frame.positions.shape)
        frame.calc = EMT()
        frame.get_forces()
        frames.append(frame)
    file = tmp_path_factory.mktemp("data") / "methanol.xyz"
    ase_io.write(file, frames)
    return file


@pytest.fixture(scope="session")
def molecule() -> Callable[..., Any]:
    """``molecule(name, seed)``: a molecule, shaken by 0.05 Å where a seed is given."""

    def make(name: str = "CH3CH2OH", seed: int | None = None) -> Any:
        from ase.build import molecule

        atoms = molecule(name)
        if seed is not None:
            atoms.positions += np.random.default_rng(seed).normal(scale=0.05, size=atoms.positions.shape)
        return atoms

    return make
