"""Presets: configurations of training that come with jetsym, the YAML files of ``jetsym/presets``."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from jetsym.errors import ConfigError, closest


def preset_names() -> list[str]:
    """Return the names of the presets."""
    entries = (entry.name for entry in files("jetsym.presets").iterdir())
    return sorted(entry.removesuffix(".yaml") for entry in entries if entry.endswith(".yaml"))


def preset_path(name: str) -> Path:
    """Find the file of a preset.

    Raises
    ------
    ConfigError
        There is no such preset.
    """
    if name not in preset_names():
        raise ConfigError(f"--preset is {name!r}; {closest(name, preset_names())}")
    return Path(str(files("jetsym.presets") / f"{name}.yaml"))
