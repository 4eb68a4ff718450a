"""Packages of the extra ``atoms``: imported only where they are needed, one file for the inputs and layers of each."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["quiet", "torch_of_its_own"]

#: (message, module) of what no caller can help: torch on the TorchScript that metatrain is built on, and numpy on the
#: stress that metatomic takes along with every energy, also of molecules, which have no volume.
EXPECTED = ((r"`torch\.jit\.\w+` is (deprecated|not supported)", ""), ("invalid value encountered", r"metatomic_ase\."))


#: Functions of torch in whose place torch_geometric puts its own when it is imported, as by lloca and SevenNet.
REPLACED = ("index_select", "select")


@contextmanager
def torch_of_its_own() -> Iterator[None]:
    """Put torch's own functions where others were put, for a while: TorchScript does not compile calls of others.

    metatensor compiles its operations as soon as it is imported, and would not be.
    """
    others = {name: getattr(torch, name) for name in REPLACED}
    for name in REPLACED:
        setattr(torch, name, getattr(torch._C._VariableFunctions, name))
    try:
        yield
    finally:
        for name, function in others.items():
            setattr(torch, name, function)


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore the warnings that metatrain's own use of torch gives rise to, and give it torch's own functions."""
    with warnings.catch_warnings(), torch_of_its_own():
        for message, module in EXPECTED:
            warnings.filterwarnings("ignore", message=message, module=module)
        yield
