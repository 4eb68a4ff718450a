"""Pages of all public names, made from ``__all__``: a name that becomes public appears by itself."""

from __future__ import annotations

from importlib import import_module

import jetsym
from jetsym.probing.diagnosis.diagnose import MODES

__all__ = ["modes", "names", "pages", "rooms"]

#: Public modules below those that ``import jetsym`` brings.
BELOW = (
    "jetsym.jets.io",
    "jetsym.jets.models",
    "jetsym.jets.generate",
    "jetsym.domains.base",
    "jetsym.probing.diagnosis",
    "jetsym.errors",
    "jetsym.storage",
    "jetsym.symmetry",
)


def rooms() -> list[str]:
    """Return the modules whose names are public."""
    listed = sorted(set(dir(jetsym)) - set(jetsym.__all__))
    return ["jetsym", *(f"jetsym.{name}" for name in listed), *BELOW]


def names(room: str) -> list[str]:
    """Return the public names of a module that have words of their own."""
    return [name for name in import_module(room).__all__ if not name.startswith("__")]


def place(room: str) -> str:
    """Return where a module's page is."""
    return "reference/index.md" if room == "jetsym" else f"reference/{room.removeprefix('jetsym.')}.md"


def pages() -> dict[str, str]:
    """Return the Markdown of all pages, by their place in the documentation."""
    return {place(room): page(room) for room in rooms()}


def page(room: str) -> str:
    """Return the page of a module: its first sentence, a list of its names, and their docstrings."""
    first = (import_module(room).__doc__ or "").strip().partition("\n\n")[0].replace("``", "`").replace("\n", " ")
    lines = [f"# {room}", "", first, ""]
    if room == "jetsym":
        others = ", ".join(f"[`{each}`]({place(each).partition('/')[2]})" for each in rooms()[1:])
        lines += [f"Modules: {others}.", ""]
    lines += [" · ".join(f"[`{name}`][{room}.{name}]" for name in names(room)), ""]
    for name in names(room):
        lines += [f"::: {room}.{name}", ""]
    return "\n".join(lines)


def modes() -> str:
    """Return the failure modes that a diagnosis looks for, with why each matters and what to try."""
    lines = [f"`diagnose` knows {len(MODES)}:", ""]
    for name, mode in MODES.items():
        lines += [f"**{name}**", f":   {mode.why}", "", f"    *To try:* {mode.remedy}", ""]
    return "\n".join(lines)
