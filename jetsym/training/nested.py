"""Options inside of options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from jetsym.errors import ConfigError, closest

__all__ = ["nested"]

T = TypeVar("T")


def nested(flag: str, kind: type[T], values: object, *, example: Mapping[str, Any]) -> T:
    """Make a dataclass of options of a mapping, as YAML and notebooks write it; errors name the flag and an example.

    Raises
    ------
    ConfigError
        It is no mapping of its options, or one has a value of a wrong type.

    Examples
    --------
    >>> from jetsym.jets.moves.augmentation import AugmentationConfig
    >>> nested("augmentation", AugmentationConfig, {"group": "O3"}, example={}).group
    'O3'
    """
    if isinstance(values, kind):
        return values
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    if not isinstance(values, Mapping):
        raise ConfigError(f"--{flag} is {values!r}; expected its options, such as {dict(example)}")
    for name in values:
        if name not in known:
            raise ConfigError(f"--{flag} has no option {name!r}; {closest(name, known)}")
    try:
        made: T = kind(**values)
    except TypeError as error:
        raise ConfigError(f"--{flag} has a value of a wrong type, in {dict(values)}: {error}") from error
    return made
