"""The options of a probe: refused before anything is read or run, or turned into the orbit that they ask for."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from jetsym.errors import ProbeError, SpectrumError
from jetsym.probing.kinds import representation_of
from jetsym.spectrum import O3, SO2, SO3, Group
from jetsym.spectrum.representations import Kind

__all__ = ["AUTO", "Axis", "check", "check_group", "check_kinds", "group_of"]

AUTO = "auto"
#: Axis of SO(2): a name, or a vector of three numbers.
Axis = str | Sequence[float]

GROUPS = ("SO2", "SO3", "O3", "boost", "lorentz")
METHODS = (AUTO, "quadrature", "icosahedral", "random")
#: Names of axes, and where SO(2) has them: those of each input's own are along z in the abstract group.
AXES = {"beam": "z", "x": "x", "y": "y", "z": "z", "jet": "z", "random": "z"}

#: Random rotations per input where the caller leaves it open.
RANDOM_ROTATIONS = 32


def check(
    *, method: str, l_max: int | str, n_rotations: int | None, limit: int, seed: int, baseline: str | None, device: Any
) -> None:
    """Refuse options that cannot be used."""
    if method not in METHODS:
        raise ProbeError(f"method is {method!r}; expected one of {_listed(METHODS)}")
    if l_max != AUTO:
        _check_integer("l_max", l_max, 0, f"{AUTO!r} or ")
    elif method in ("random", "icosahedral") or n_rotations is not None:
        raise ProbeError("l_max='auto' compares two rules of quadrature; give a number for other methods")
    _check_integer("limit", limit, 1)
    _check_integer("seed", seed, 0)
    if n_rotations is not None:
        _check_integer("n_rotations", n_rotations, 3)
        if method in ("quadrature", "icosahedral"):
            raise ProbeError("n_rotations goes with method='random'; those of a quadrature follow from l_max")
    if baseline not in (None, "untrained"):
        raise ProbeError(f"baseline is {baseline!r}; expected None or 'untrained'")
    if device is not None:
        _check_device(device)


def _check_integer(name: str, value: Any, least: int, otherwise: str = "") -> None:
    try:
        fits = not isinstance(value, bool) and operator.index(value) >= least
    except TypeError:
        fits = False
    if not fits:
        raise ProbeError(f"{name} is {value!r}; expected {otherwise}an integer ≥ {least}")


def _check_device(device: Any) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:  # torch built without CUDA asserts
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise ProbeError(f"device is {device!r}, which cannot be used ({reason}); expected one like 'cpu'") from None


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def check_group(name: str, *, frame: str | None, axis: Axis | None) -> None:
    """Refuse a group that there is not, and frames and axes that do not go with it."""
    if name not in GROUPS:
        raise ProbeError(f"group is {name!r}; expected one of {_listed(GROUPS)}")
    if frame not in (None, "lab", "rest"):
        raise ProbeError(f"frame is {frame!r}; expected 'lab' or 'rest'")
    if frame == "rest" and name not in ("SO3", "O3"):
        raise ProbeError(f"frame is 'rest', but {name!r} acts in the lab; it goes with group='O3' or 'SO3'")
    if axis is None:
        return
    if name not in ("SO2", "boost"):
        raise ProbeError(f"axis is {axis!r}, but {name!r} has no single axis; it goes with group='SO2' or 'boost'")
    if isinstance(axis, str) and axis not in AXES:
        raise ProbeError(f"axis is {axis!r}; expected one of {_listed(AXES)}, or three numbers")
    try:
        SO2("z" if isinstance(axis, str) else axis)
    except (SpectrumError, ValueError) as error:
        raise ProbeError(str(error)) from error


def group_of(name: str, axis: Axis | None = None) -> Group:
    """The compact group of a name, and for SO(2) of an axis (default: the beam, z).

    Examples
    --------
    >>> group_of("O3"), group_of("SO2", "beam"), group_of("SO2", [0, 3, 4])
    (O3(), SO2(0, 0, 1), SO2(0, 0.6, 0.8))
    """
    check_group(name, frame=None, axis=axis)
    if name == "SO2":
        return SO2("z" if axis is None else AXES[axis] if isinstance(axis, str) else axis)
    if name not in ("SO3", "O3"):
        raise ProbeError(f"group is {name!r}, which is not compact; expected 'SO2', 'SO3' or 'O3'")
    return O3() if name == "O3" else SO3()


def check_kinds(kinds: Mapping[str, Kind], l_max: int | None) -> None:
    """Refuse what is no kind of output, and what a rule for l_max does not resolve (None: there is no such limit)."""
    if not isinstance(kinds, Mapping):
        raise ProbeError(f"outputs is {kinds!r}; expected a dictionary like {{'logits': 'logits'}}")
    for name, kind in kinds.items():
        lam = representation_of(kind).lam
        if l_max is not None and lam > l_max:  # what the rule says about it would be wrong
            raise ProbeError(
                f"output {name!r} is said to be {kind!r}, with λ up to {lam}, but l_max is {l_max}; "
                f"expected l_max of at least {lam}"
            )
