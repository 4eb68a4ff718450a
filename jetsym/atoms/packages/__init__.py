"""Packages of the extra ``atoms``: imported only where they are needed, one file for the inputs and layers of each."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quiet"]

#: (message, module) of what no caller can help: torch on the TorchScript that metatrain is built on, and numpy on the
#: stress that metatomic takes along with every energy, also of molecules, which have no volume.
EXPECTED = ((r"`torch\.jit\.\w+` is (deprecated|not supported)", ""), ("invalid value encountered", r"metatomic_ase\."))


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore the warnings that metatrain's own use of torch gives rise to."""
    with warnings.catch_warnings():
        for message, module in EXPECTED:
            warnings.filterwarnings("ignore", message=message, module=module)
        yield
