"""Public names of a package that are imported when first used, so that importing the package stays light."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

__all__ = ["attach", "imported", "is_entry"]


def attach(
    package: str, names: Sequence[str], homes: Mapping[str, str], rooms: Sequence[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package (PEP 562).

    Parameters
    ----------
    package
        Its name.
    names
        All its public names.
    homes
        Name of those that wait -> the module that defines it.
    rooms
        Packages within it that are attributes without being imported first, and are listed with the names.
    """

    def get(name: str) -> Any:
        if name in homes:
            return getattr(import_module(homes[name]), name)
        if name in rooms:
            return import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def listed() -> list[str]:
        return sorted([*names, *rooms])

    return get, listed


def is_entry(text: object) -> bool:
    """Tell whether a text is the name of something in a module, ``module:name``.

    Examples
    --------
    >>> is_entry("mynets.sets:MyNet"), is_entry("pointnet"), is_entry("C:/data")
    (True, False, False)
    """
    return isinstance(text, str) and re.fullmatch(r"[\w.]+:[\w.<>]+", text) is not None


def imported(entry: str) -> Any:
    """Import what ``module:name`` names, from the folder where the program runs or as any other; its code runs.

    Examples
    --------
    >>> imported("pathlib:Path.home").__name__
    'home'
    """
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        return resolve_name(entry)
    finally:
        sys.path.remove(here)
