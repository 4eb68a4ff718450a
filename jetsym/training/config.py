"""What a training run is made of. The same fields are Python arguments, command-line flags and YAML keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from jetsym.errors import ConfigError
from jetsym.jets.augmentation import AugmentationConfig
from jetsym.jets.models import configure

__all__ = ["TrainConfig"]

Precision = Literal["auto", "32-true", "bf16-mixed"]


@dataclass(frozen=True)
class TrainConfig:
    """A training run.

    Parameters
    ----------
    data
        ROOT files to train on: a path, a glob pattern, or a list of them.
    val
        ROOT files to validate on. Without them the last tenth of the shuffled training jets is held out.
    model
        Name of the tagger, such as ``pointnet``.
    options
        Options of the tagger, such as ``{"width": 64}``; see the model's ``Config``.
    augmentation
        How jets are moved before they are shown.
    epochs
        Passes over the training jets.
    batch_size
        Jets per step.
    lr
        Largest learning rate, reached after the warm-up; from there it falls to zero along a half cosine.
    weight_decay
        Of AdamW, on weight matrices; biases and norms are not decayed.
    warmup
        Share of all steps in which the learning rate rises linearly.
    clip
        Largest norm of the gradient; longer ones are scaled down to it.
    label_smoothing
        Share of the target probability that is spread evenly over all classes.
    max_particles
        Particles kept per jet, the ones of largest pT.
    limit
        Largest number of jets taken from ``data``, and also from ``val``; all of them if not given.
    stream
        Read the training jets anew in every epoch instead of holding them in memory; see
        :class:`jetsym.jets.io.stream.JetStream`. Needs ``val``, whose jets stay in memory.
    cache
        With ``stream``: a folder for a cache of the training jets, made in the first epoch, as by ``jetsym convert``.
    mapping
        A YAML file that says which branches of other ROOT trees hold what, see :mod:`jetsym.jets.io.mapping`; for
        ``data`` and ``val``.
    seed
        Of initialisation, shuffling, augmentation and dropout.
    device
        ``auto`` (an accelerator if there is one), ``cpu`` or ``cuda``.
    precision
        ``auto`` (bf16-mixed on CUDA, 32-true elsewhere), ``32-true`` or ``bf16-mixed``. Momenta and features stay in
        32 bits in any case.

    Raises
    ------
    ConfigError
        A value cannot be used; the message names its flag.

    Examples
    --------
    >>> TrainConfig(data="train/*.root", lr=-1.0)
    Traceback (most recent call last):
    jetsym.errors.ConfigError: --lr is -1.0; expected more than 0
    """

    data: str | list[str]
    val: str | list[str] | None = None
    model: str = "pointnet"
    options: dict[str, Any] = field(default_factory=dict)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    epochs: int = 20
    batch_size: int = 256
    lr: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.05
    clip: float = 1.0
    label_smoothing: float = 0.0
    max_particles: int = 64
    limit: int | None = None
    stream: bool = False
    cache: str | None = None
    mapping: str | None = None
    seed: int = 0
    device: str = "auto"
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        if isinstance(self.augmentation, Mapping):  # as YAML and notebooks write it
            object.__setattr__(self, "augmentation", AugmentationConfig(**self.augmentation))
        if not self.data:
            raise ConfigError(f"--data is {self.data!r}; expected at least one path or pattern")
        for name in ("epochs", "batch_size", "max_particles", "limit"):
            value = getattr(self, name)
            _expect(name, value, value is None or value >= 1, "at least 1")
        for name in ("lr", "clip"):
            _expect(name, getattr(self, name), getattr(self, name) > 0, "more than 0")
        _expect("weight_decay", self.weight_decay, self.weight_decay >= 0, "at least 0")
        for name in ("warmup", "label_smoothing"):
            _expect(name, getattr(self, name), 0 <= getattr(self, name) < 1, "a share in [0, 1)")
        _expect("seed", self.seed, self.seed >= 0, "a number from 0 on")
        _expect("precision", self.precision, self.precision in get_args(Precision), _alternatives(Precision))
        _expect("device", self.device, self.device in ("auto", "cpu", "cuda"), "'auto', 'cpu' or 'cuda'")
        if self.stream and (self.val is None or self.limit is not None):
            raise ConfigError("--stream reads all of --data in every epoch; it needs --val, and goes with no --limit")
        if self.cache is not None and not self.stream:
            raise ConfigError(f"--cache is {self.cache!r}; it is only used with --stream")
        configure(self.model, **self.options)

    def to_dict(self) -> dict[str, Any]:
        """As plain values for YAML and JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """The inverse of :meth:`to_dict`."""
        return cls(**values)

    def differing(self, other: TrainConfig) -> list[str]:
        """Names of the fields in which two runs differ.

        Examples
        --------
        >>> TrainConfig("a.root").differing(TrainConfig("a.root", lr=0.1, seed=3))
        ['lr', 'seed']
        """
        mine, theirs = self.to_dict(), other.to_dict()
        return [name for name in mine if mine[name] != theirs[name]]


def _expect(flag: str, value: object, holds: bool, expected: str) -> None:
    if not holds:
        raise ConfigError(f"--{flag} is {value!r}; expected {expected}")


def _alternatives(choices: Any) -> str:
    return ", ".join(map(repr, get_args(choices)))
