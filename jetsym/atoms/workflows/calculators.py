"""ASE calculators by the name or the file of a model: metatrain's checkpoints, exports, PET-MAD, and EMT."""

from __future__ import annotations

import copy
import inspect
import io
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch

from jetsym.arguments import checked
from jetsym.atoms import checkpoint
from jetsym.atoms.calculated import is_calculator
from jetsym.atoms.exports import read_export
from jetsym.atoms.model import Model
from jetsym.atoms.packages import quiet
from jetsym.atoms.published import NAME, fetch
from jetsym.errors import CheckpointError, ConfigError, require
from jetsym.lazy import imported

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ase import Atoms
    from ase.calculators.calculator import Calculator

__all__ = ["Dtype", "calculator", "calculator_of", "calculator_of_model", "exported", "exported_model", "uncertainty"]

Dtype = Literal["float32", "float64"]


@checked()
def calculator(
    model: str | Path | Calculator,
    *,
    version: str | None = None,
    variant: str | None = None,
    dtype: Dtype | None = None,
    device: str | None = None,
    trust: bool = False,
    energy: bool = True,
) -> Calculator:
    """Make an ASE calculator with energies, forces and stress.

    Parameters
    ----------
    model
        A ``.ckpt`` or ``.pt`` file of metatrain or the folder of a run; the name of a published model, such as
        "pet-mad-s" or "pet-mad-s-v1.1.0"; "emt" for ASE's effective-medium theory of Al, Ni, Cu, Pd, Ag, Pt and Au; or
        an ASE calculator, which is returned as it is.
    version
        Version of a published model, such as "1.1.0"; the newest where None.
    variant
        The energy of a model with several, "energy/VARIANT"; by default "energy", or the only one there is.
    dtype
        "float32" or "float64"; by default float64, which small displacements need. An export keeps its own.
    device
        Device of the model, such as "cpu" or "cuda"; by default the best that the model supports.
    trust
        Open a file that would be refused, as for :func:`jetsym.atoms.load`.
    energy
        False to take a model that predicts no energy as well: its calculator has no properties, and ``run_model``.

    Raises
    ------
    CheckpointError
        There is no such model, or its file cannot be used or is refused.
    DownloadError
        A published model is neither in the cache nor can it be fetched.
    ConfigError
        An option that does not go with the model.

    Examples
    --------
    >>> import pytest
    >>> ase = pytest.importorskip("ase")
    >>> calculator("emt").name
    'emt'
    """
    base: type[Calculator] = require("ase.calculators.calculator", extra="atoms", purpose="a calculator").BaseCalculator
    if isinstance(model, base):
        return model
    _check_dtype(dtype)
    if str(model) == "emt":
        return cast("Calculator", require("ase.calculators.emt", extra="atoms", purpose="a calculator").EMT())
    file = _file_of(str(model), version, "a .ckpt or .pt file of metatrain, the folder of a run, 'emt'")
    default: Dtype | None = None if file.suffix == ".pt" else "float64"
    return _of_export(_exported(file, dtype or default, trust), variant, device, str(file), energy=energy)


def exported(
    model: str | Path, *, version: str | None = None, dtype: Dtype | None = None, trust: bool = False
) -> tuple[Any, Path]:
    """Return a model of metatrain as metatomic takes it, and the file it comes from.

    Parameters
    ----------
    model
        A ``.ckpt`` or ``.pt`` file of metatrain, the folder of a run, or the name of a published model.
    version, trust
        As for :func:`calculator`.
    dtype
        "float32" or "float64"; by default that of the model.

    Returns
    -------
    (metatomic.torch.AtomisticModel, Path)
        The model and its file.

    Raises
    ------
    JetsymError
        As for :func:`calculator`.
    """
    _check_dtype(dtype)
    file = _file_of(str(model), version, "a .ckpt or .pt file of metatrain, the folder of a run")
    return _exported(file, dtype, trust), file


def _check_dtype(dtype: str | None) -> None:
    if dtype not in (None, "float32", "float64"):
        raise ConfigError(f"dtype is {dtype!r}; expected 'float32' or 'float64'")


def _file_of(named: str, version: str | None, expected: str) -> Path:
    """Return the file of a model by its name, fetched where it is a published one."""
    if NAME.fullmatch(named) and not Path(named).exists():
        return fetch(named, version=version)
    if version is not None:
        raise ConfigError(f"version is {version!r}, but {named} is a file; versions are of published models")
    if not Path(named).suffix and not Path(named).is_dir():
        raise CheckpointError(f"model is {named!r}; expected {expected}, or a published model such as 'pet-mad-s'")
    return checkpoint.find(named)


def _exported(file: Path, dtype: Dtype | None, trust: bool) -> Any:
    """Return the model in a file, of the type that it has or is to have."""
    if file.suffix == ".pt":
        if dtype is not None:
            raise ConfigError(f"dtype is {dtype!r}, but {file} is an export of a fixed type; load the .ckpt instead")
        return read_export(file, trust=trust)
    module = checkpoint.model_of(file, trust=trust)
    if dtype is not None:
        module = module.to(getattr(torch, dtype))
        declared: Any = getattr(module, "capabilities", None)
        if declared is not None:  # metatrain's "llpr" goes on declaring the type that the model had
            declared.dtype = dtype
    try:
        with quiet():
            return module.export()  # type: ignore[operator]
    except ValueError as error:  # such as for targets without a name in metatomic
        raise CheckpointError(f"{file} cannot be made a calculator: {' '.join(str(error).split())}") from error


def calculator_of(entry: str) -> Calculator:
    """Make the calculator that a Python entry point names: ``module:factory``, called without arguments.

    Its module is imported, from the folder where the program runs or as any other, and so its code runs: the name is
    to come from who runs it, never from a file of data.

    Parameters
    ----------
    entry
        Such as "ase.calculators.emt:EMT", or "potentials:mace" for ``def mace()`` in ``potentials.py``; the factory may
        also be a calculator itself.

    Raises
    ------
    ConfigError
        It is no such name, cannot be imported or called, or gives no calculator.

    Examples
    --------
    >>> import pytest
    >>> ase = pytest.importorskip("ase")
    >>> calculator_of("ase.calculators.emt:EMT").name
    'emt'
    """
    module, colon, name = entry.partition(":")
    if not (module and colon and name):
        raise ConfigError(f"--calculator is {entry!r}; expected module:factory, such as ase.calculators.emt:EMT")
    try:
        found = imported(entry)
        made = found if is_calculator(found) else found()
    except Exception as error:  # whatever foreign code raises
        raise ConfigError(
            f"--calculator is {entry!r}, which gives no calculator: {type(error).__name__}, {error}; expected "
            "module:factory, of a function that is called without arguments"
        ) from error
    if not is_calculator(made):
        raise ConfigError(f"--calculator is {entry!r}, which gives a {type(made).__name__}; expected an ASE calculator")
    return cast("Calculator", made)


def exported_model(calculator: Any) -> Any:
    """Return the model of one of metatomic's calculators, also where another one holds it; None for all others.

    Calculators of other packages keep a torch module as ``model``, which is no method that returns one.
    """
    inner = calculator
    for _ in range(4):
        model = getattr(inner, "model", None)
        if inspect.ismethod(model) and hasattr(inner, "run_model"):
            return model()
        inner = getattr(inner, "base_calculator", None) or getattr(inner, "calculator", None)
    return None


def calculator_of_model(model: Any) -> Calculator:
    """Make an ASE calculator of a loaded model: :class:`jetsym.atoms.Model`, or a module of metatrain.

    Raises
    ------
    ConfigError
        It is neither.
    """
    module = model.module if isinstance(model, Model) else model
    if not isinstance(module, torch.nn.Module) or not (hasattr(module, "export") or hasattr(module, "capabilities")):
        raise ConfigError(
            f"model is a {type(model).__name__}; expected an ASE calculator, a model of jetsym.atoms.load, or the name "
            "of one"
        )
    if not isinstance(model, Model) or not model.exported:
        with quiet():
            module = copy.deepcopy(module).export()  # type: ignore[operator]
    return _of_export(module, None, None, type(model).__name__)


def _of_export(exported: Any, variant: str | None, device: str | None, file: str, *, energy: bool = True) -> Calculator:
    outputs = exported.capabilities().outputs
    has_energy = energy or any(name.partition("/")[0] == "energy" for name in outputs)
    target = _energy(outputs, variant, file) if has_energy else ""
    variants = {"energy": target.partition("/")[2]} if "/" in target else None
    with quiet(), redirect_stdout(io.StringIO()):  # a package of neighbour lists greets when it is imported
        kind = require("metatomic_ase", extra="atoms", purpose="a calculator").MetatomicCalculator
        # The threshold only makes it warn; uncertainty() gives the numbers.
        try:
            found: Calculator = kind(exported, device=device, variants=variants, uncertainty_threshold=None)
        except RuntimeError as error:
            if device is None:
                raise
            reason = str(error).partition("\n")[0]
            raise ConfigError(f"device is {device!r}, where {file} cannot run: {reason}") from error
    # It claims to have all that ASE knows.
    found.implemented_properties = ["energy", "energies", "forces", "stress"] if has_energy else []
    return found


def _energy(outputs: Iterable[str], variant: str | None, file: str) -> str:
    """Return the name of the energy to use."""
    energies = [name for name in outputs if name.partition("/")[0] == "energy"]
    if not energies:
        raise CheckpointError(
            f"{file} predicts no energy, which a calculator needs; it predicts {', '.join(map(repr, outputs))}"
        )
    if variant is None and ("energy" in energies or len(energies) == 1):
        return min(energies, key=len)
    if f"energy/{variant}" not in energies:
        raise ConfigError(f"variant is {variant!r}, but the energies of {file} are {', '.join(map(repr, energies))}")
    return f"energy/{variant}"


@checked()
def uncertainty(calculator: Calculator, atoms: Atoms, *, per_atom: bool = False) -> np.ndarray | float | None:
    """Compute the energy's standard deviation by last-layer prediction rigidity (LLPR), where the model has it.

    Bigi, Chong, Ceriotti, Grasselli, Mach. Learn.: Sci. Technol. 5, 045018 (2024): σ² = α² fᵀ (FᵀF + ς²)⁻¹ f with f the
    last-layer features of the structure, and F those of the training set.

    Parameters
    ----------
    calculator
        One of :func:`calculator`, of a model of metatrain's architecture "llpr" (PET-MAD is one).
    atoms
        The structure.
    per_atom
        True for that of the energy of every atom, shape (atoms,), instead of that of the structure.

    Returns
    -------
    numpy.ndarray or float or None
        The standard deviation in eV; None for models without.
    """
    exported, run = exported_model(calculator), getattr(calculator, "run_model", None)
    if exported is None or run is None:
        return None
    outputs = exported.capabilities().outputs
    variant = (calculator.parameters.get("variants") or {}).get("energy")
    # The second is metatrain's name for it, the first metatomic's.
    names = (f"energy_uncertainty/{variant}", f"mtt::aux::energy/{variant}_uncertainty")
    name = next((name for name in (names if variant else ("energy_uncertainty",)) if name in outputs), None)
    if name is None:
        return None
    output = require("metatomic.torch", extra="atoms", purpose="the uncertainty").ModelOutput(
        unit="eV", sample_kind="atom" if per_atom else "system"
    )
    with quiet(), torch.no_grad():
        values = run(atoms, {name: output})[name].block().values.double().cpu().numpy().ravel()
    return values if per_atom else float(values[0])
