"""The packages of the extra ``atoms``, imported only where they are needed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

from jetsym.errors import MissingDependencyError

__all__ = ["quiet", "require"]

#: What torch says of the TorchScript that metatensor and metatrain are built on; nothing a caller can mend.
EXPECTED = (r"`torch\.jit\.\w+` is (deprecated|not supported)",)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings that metatrain's own use of torch gives rise to."""
    with warnings.catch_warnings():
        for message in EXPECTED:
            warnings.filterwarnings("ignore", message=message)
        yield


def require(module: str, purpose: str) -> ModuleType:
    """A module of one of the packages.

    Raises
    ------
    MissingDependencyError
        It is not installed; the message says how to install it.
    """
    try:
        with quiet():
            return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or module.partition(".")[0] != error.name.partition(".")[0]:
            raise
        raise MissingDependencyError.of(error.name.partition(".")[0], extra="atoms", purpose=purpose) from None
