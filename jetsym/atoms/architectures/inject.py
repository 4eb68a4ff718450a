"""What ``--inject`` says: bias that is put into a PET, parsed and refused in one place."""

from __future__ import annotations

import re
from dataclasses import dataclass

from jetsym.errors import ConfigError

__all__ = ["CHOICES", "LARGEST", "Injection", "parse_injection"]

#: What can be injected, as it is written.
CHOICES = ("harmonics:λ with λ from 1 to 8, such as harmonics:2", "invariants", "tensor-basis")
#: The largest λ: the embedding has λ(λ + 2) harmonics.
LARGEST = 8


@dataclass(frozen=True, kw_only=True)
class Injection:
    """What is injected.

    Parameters
    ----------
    harmonics
        Largest λ of the harmonics of edge vectors; 0 for none.
    invariants
        Whether edges see distances and angles.
    tensor_basis
        Whether vectors and tensors are given as scalars times tensors made of edge vectors.
    """

    harmonics: int = 0
    invariants: bool = False
    tensor_basis: bool = False

    @property
    def features(self) -> bool:
        """Whether the embedding of edges sees more than their vectors."""
        return bool(self.harmonics) or self.invariants

    def __str__(self) -> str:
        named = {"invariants": self.invariants, "tensor-basis": self.tensor_basis}
        harmonics = [f"harmonics:{self.harmonics}"] if self.harmonics else []
        return ",".join([*harmonics, *(name for name, wanted in named.items() if wanted)])


def parse_injection(text: str | None) -> Injection:
    """Parse what is injected: one choice, or several with commas between them.

    Parameters
    ----------
    text
        Such as "harmonics:2" or "harmonics:2,invariants"; None for nothing.

    Raises
    ------
    ConfigError
        Something else, or one choice twice.

    Examples
    --------
    >>> parse_injection("harmonics:2,invariants")
    Injection(harmonics=2, invariants=True, tensor_basis=False)
    >>> str(Injection(harmonics=3, tensor_basis=True))
    'harmonics:3,tensor-basis'
    """
    found: dict[str, int | bool] = {}
    for part in [] if text is None else text.split(","):
        word, _, value = part.strip().partition(":")
        if word.replace("-", "_") in found:
            raise ConfigError(f"inject is {text!r}, which says {word!r} twice; say it once")
        if word == "harmonics" and re.fullmatch(r"[1-9]", value) and int(value) <= LARGEST:
            found[word] = int(value)
        elif part.strip() in ("invariants", "tensor-basis"):
            found[word.replace("-", "_")] = True
        else:
            raise ConfigError(f"inject is {text!r}; expected {' or '.join(CHOICES)}, or several with commas between")
    return Injection(**found)  # type: ignore[arg-type]  # each has the type of its field
