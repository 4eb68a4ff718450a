"""Which package of potentials a network comes from, and so which class here knows its inputs and layers."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from torch import nn

__all__ = ["KNOWN", "is_of_package", "wrapped"]

#: Package that the type of a network comes from -> the class that knows it, in the module of that name here.
KNOWN = {
    "sevenn": ("sevennet", "SevenNet"),
    "chgnet": ("chgnet", "CHGNet"),
    "mace": ("mace", "MACE"),
    "nequip": ("nequip", "NequIP"),
    "fairchem": ("fairchem", "Fairchem"),
    "orb_models": ("orb", "Orb"),
}


def is_of_package(module: Any) -> str | None:
    """Return the known package that the type of a network, or one it derives from, comes from."""
    packages = (each.__module__.partition(".")[0] for each in type(module).__mro__)
    return next((each for each in packages if each in KNOWN), None)


def wrapped(module: nn.Module) -> Any:
    """Return a network as :class:`~jetsym.atoms.packages.base.GraphModel`, that of its package where it is known."""
    package = is_of_package(module)
    file, name = ("base", "GraphModel") if package is None else KNOWN[package]
    found = getattr(import_module(f"jetsym.atoms.packages.{file}"), name)(module)
    found.packages = ("metatrain", *KNOWN)
    return found
