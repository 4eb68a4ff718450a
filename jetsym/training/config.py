"""Configuration of a training run. The same fields are Python arguments, command-line flags and YAML keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from math import inf
from typing import Any, Literal

from jetsym.arguments import above, anything, at_least, checked, fraction
from jetsym.errors import ConfigError, closest
from jetsym.jets.io.block import BadJets
from jetsym.jets.io.folds import EVENT, Fold
from jetsym.jets.io.streaming.scratch import number_of_bytes
from jetsym.jets.models.registry import configure
from jetsym.jets.moves.augmentation import AugmentationConfig
from jetsym.jets.targets import Loss, expect_number
from jetsym.symmetry import GroupName
from jetsym.training.nested import nested
from jetsym.training.penalty import PenaltyConfig

__all__ = ["TrainConfig"]

_COUNTS = (
    *("epochs", "batch_size", "accumulate", "patience", "max_particles", "limit", "buffer", "samples_per_epoch"),
    *("checkpoint_every", "max_skipped", "log_every", "monitor_jets", "devices", "num_nodes"),
)

LoggerName = Literal["csv", "tensorboard", "wandb", "mlflow"]
Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
OptimizerName = Literal["adamw", "adam", "lion", "ranger"]
Schedule = Literal["cosine", "flat", "flat+decay", "one-cycle"]


@checked(
    ConfigError,
    "--",
    **dict.fromkeys(_COUNTS, at_least(1)),
    **dict.fromkeys(("warmup", "label_smoothing", "ema"), fraction),
    **dict.fromkeys(("class_weights", "augmentation", "penalty"), anything),
    lr=above(0),
    clip=above(0, endless=True),
    weight_decay=at_least(0),
    monitor_every=at_least(0),
    seed=at_least(0),
)
@dataclass(frozen=True)
class TrainConfig:
    """Configuration of a training run.

    Parameters
    ----------
    data
        Files of jets to train on: a path, a glob pattern, a directory, a cache of ``jetsym convert``, ``@LIST`` for a
        text file of these, or a list of all of them.
    val
        Files of jets to validate on. Without them the last tenth of the shuffled training jets is held out.
    model
        Name of the tagger, such as ``pointnet``; or a network of one's own as ``package.module:Class``, which is made
        without arguments, takes a :class:`~jetsym.jets.JetBatch` and returns one logit a class. Its code runs. In
        Python a network, or its class; weights that it has are what is trained on.
    options
        Options of the tagger, such as ``{"width": 64}``; see the model's ``Config``.
    augmentation
        Random moves of the jets before the model sees them.
    penalty
        Terms that are added to the loss for symmetries that the logits lack.
    epochs
        Passes over the training jets.
    batch_size
        Jets per step, of all processes together.
    accumulate
        Parts into which a process divides its jets of a step; they go through the model one after the other, which
        takes less memory and gives the same step.
    optimizer
        ``adamw``, ``adam``, or, with the extra ``optimizers``, ``lion`` or ``ranger``, weaver-core's default.
    schedule
        What the learning rate does after the warm-up: ``cosine``, down to zero; ``flat``; ``flat+decay``, down to 1% by
        the same factor before each of the last 30% of the epochs, as weaver-core's default; or ``one-cycle``, up along
        a half cosine in the first 30% of all steps, which is its warm-up, and down to nothing.
    lr
        Largest learning rate, reached after the warm-up.
    weight_decay
        Weight decay, on weight matrices; biases and norms are not decayed. Of ``adam`` it is a part of the gradient.
    warmup
        Fraction of all steps in which the learning rate rises linearly.
    clip
        Largest norm of the gradient; longer ones are scaled down to it.
    label_smoothing
        Fraction of the target probability that is spread evenly over all classes.
    class_weights
        ``none``; ``balanced``, so that every class has the same weight in all; or class -> weight of its jets in the
        loss, 1 for those that are not named; the weights of the jets count besides. The validation loss has no weights
        of classes.
    weights
        Column of the jets that weighs them in the loss, in validation and in its metrics: by default ``weight`` where
        there is one, from ``reweight`` or ``columns`` of a mapping or the files' own; ``none`` for none.
    target
        Column of the jets that is predicted in place of their class, such as ``jet_sdmass`` or ``aux_genpart_pt``; see
        :mod:`jetsym.jets.targets`. The jets then stay in memory.
    loss
        Of the target: ``huber``, ``mse``, ``logcosh``, or ``quantile`` for its median and the interval of 68 %.
    target_scale
        Centre and scale of the target. They are measured on the training jets if not given here, and stand in the
        ``config.yaml`` of the run then.
    ema
        Decay of the exponential moving average of the weights, such as 0.999; 0 for none. The average is then what is
        validated and saved.
    patience
        Early stopping: epochs without a better validation loss after which the run ends; by default it runs to the end.
    init
        A run folder, checkpoint or published weights to begin from. The model and its options are then taken from
        there; ``options`` change single ones. The last layer begins anew where the classes are others.
    freeze
        Names of blocks or weights that stay as they are, such as ``embedding`` or ``blocks.*``; ``backbone`` is all
        but ``head``.
    max_particles
        Particles kept per jet, the ones of largest pT.
    limit
        Largest number of jets taken from ``data``, and also from ``val``, spread evenly over files and their jets; all
        of them if not given.
    stream
        Read the training jets anew in every epoch instead of holding them in memory; see
        :class:`jetsym.jets.io.streaming.stream.JetStream`. Needs ``val``, whose jets stay in memory.
    cache
        With ``stream``: a folder for a cache of the training jets, made in the first epoch, as by ``jetsym convert``.
    buffer
        With ``stream``: jets held in memory to be mixed, 200,000 by default; see the same class.
    samples_per_epoch
        With ``stream``: jets of an epoch, after which there is a validation. The next epoch goes on where this one has
        stopped, and begins with all jets anew when they have been shown; the learning rate follows. By default all.
    fold
        ``k/n``: train on the jets whose number of ``fold_by`` modulo n is not k, and validate on those where it is, of
        ``val`` or else of ``data``. The run keeps it, and ``jetsym evaluate`` and ``predict`` judge that fold.
    fold_by
        The column of whole numbers that tells folds apart, ``event`` by default; with a mapping any of its columns or
        an expression.
    scratch
        With ``stream``: a folder on a disk of this machine, to which the files of ``data`` are copied ahead of being
        read, where they lie on a slow file system or another machine; see :mod:`jetsym.jets.io.streaming.scratch`.
    scratch_size
        Bytes of these copies at most, of all processes of this machine, such as 200GB; by default half of what is free.
    logger
        A log for a program that draws it, in ``logs`` in the folder of the run: ``csv``, ``tensorboard``, ``wandb``
        (Weights & Biases) or ``mlflow``, where installed. A run that is continued goes on in it. ``metrics.csv`` and
        ``metrics.jsonl`` are written in any case.
    log_every
        Steps between two that the log has the loss and the learning rate of; epochs are logged all.
    monitor_every
        Steps between two measurements of the spectra of all layers, kept in ``spectra``; 0 for none. The training is
        the same with and without.
    monitor_jets
        Validation jets that are measured each time, with 120 evaluations of each.
    checkpoint_every
        Steps between two checkpoints that a run can be continued from; there is one after every epoch as well.
    max_skipped
        Steps in a row that are left out because loss or gradient are not finite, before the run is given up.
    mapping
        A YAML file that says which branches of other ROOT trees hold what, see :mod:`jetsym.jets.io.mapping`;
        for ``data`` and ``val``.
    tree
        Name of the tree that the mapping is of, whatever it says itself.
    vectors
        The input that holds px, py, pz and energy, where the mapping is a data configuration of weaver-core; by default
        pf_vectors.
    standardisation
        Centre and scale of variables that the mapping says to be measured, by input and name. They are measured on
        ``data`` once if not given here, or by ``init``, and stand in the ``config.yaml`` of the run then.
    bad_jets
        "raise", or "drop" to leave out jets without particles, and with NaN or infinity; how many is said.
    skip_bad
        Leave out files that cannot be read, and damaged parts of files; which is said.
    other_jets
        Continue a run although files of ``data`` are gone for good, or others have come. The epoch that it was in
        begins anew, and the learning rate follows the new number of steps; needs ``val``.
    seed
        Seed of initialisation, shuffling, augmentation and dropout.
    device
        ``auto`` (an accelerator if there is one), ``cpu`` or ``cuda``.
    devices
        Devices per node, each with a process of its own; by default as many as torchrun or SLURM's srun have started on
        it, otherwise one.
    num_nodes
        Nodes; by default as many as torchrun or srun have started the program on, otherwise one.
    precision
        ``auto`` (bf16-mixed on CUDA, 32-true elsewhere), ``32-true``, ``bf16-mixed`` or ``16-mixed``. Momenta and
        features stay in 32 bits in any case.
    compile
        Compile the model with torch.compile first.

    Raises
    ------
    ConfigError
        A value cannot be used; the message names its flag.

    Examples
    --------
    >>> TrainConfig(data="train/*.root", lr=-1.0)
    Traceback (most recent call last):
    jetsym.errors.ConfigError: --lr is -1.0; expected a number > 0
    """

    data: str | list[str]
    val: str | list[str] | None = None
    model: str = "pointnet"
    options: dict[str, Any] = field(default_factory=dict)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    penalty: PenaltyConfig = field(default_factory=PenaltyConfig)
    epochs: int = 20
    batch_size: int = 256
    accumulate: int = 1
    optimizer: OptimizerName = "adamw"
    schedule: Schedule = "cosine"
    lr: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.05
    clip: float = 1.0
    label_smoothing: float = 0.0
    class_weights: Literal["none", "balanced"] | dict[str, float] = "none"
    weights: str | None = None
    target: str | None = None
    loss: Loss = "huber"
    target_scale: list[float] | None = None
    ema: float = 0.0
    patience: int | None = None
    init: str | None = None
    freeze: list[str] = field(default_factory=list)
    max_particles: int = 64
    limit: int | None = None
    stream: bool = False
    cache: str | None = None
    buffer: int | None = None
    samples_per_epoch: int | None = None
    fold: str | None = None
    fold_by: str = EVENT
    scratch: str | None = None
    scratch_size: str | int | None = None
    logger: LoggerName | None = None
    log_every: int = 50
    monitor_every: int = 0
    monitor_jets: int = 16
    checkpoint_every: int = 1000
    max_skipped: int = 10
    mapping: str | None = None
    tree: str | None = None
    vectors: str | None = None
    standardisation: dict[str, dict[str, list[float]]] | None = None
    bad_jets: BadJets = "raise"
    skip_bad: bool = False
    other_jets: bool = False
    seed: int = 0
    device: str = "auto"
    devices: int | None = None
    num_nodes: int | None = None
    precision: Precision = "auto"
    compile: bool = False

    def __post_init__(self) -> None:
        moves = {"group": GroupName.O3}
        made: object = nested("augmentation", AugmentationConfig, self.augmentation, example=moves)
        object.__setattr__(self, "augmentation", made)
        made = nested("penalty", PenaltyConfig, self.penalty, example={"weight": 0.1, "moves": moves})
        object.__setattr__(self, "penalty", made)
        if not self.data:
            raise ConfigError(f"--data is {self.data!r}; expected at least one path or pattern")
        fits = not self.penalty.generators or self.precision == "32-true"
        _expect("precision", self.precision, fits, "'32-true', as --penalty.generators takes small differences")
        if self.schedule == "flat+decay" and self.epochs < 2:
            raise ConfigError("--schedule is 'flat+decay', which falls before an epoch, and --epochs is 1; expected 2")
        _expect("device", self.device, self.device in ("auto", "cpu", "cuda"), "'auto', 'cpu' or 'cuda'")
        _ = self.held_out
        if self.stream and ((self.val is None and self.fold is None) or self.limit is not None):
            raise ConfigError(
                "--stream reads all of --data in every epoch; it needs --val or --fold, and goes with no --limit"
            )
        for name in ("cache", "buffer", "samples_per_epoch", "scratch", "scratch_size"):
            if getattr(self, name) is not None and not self.stream:
                raise ConfigError(f"--{name} is {getattr(self, name)!r}; it is only used with --stream")
        if self.scratch_size is not None:
            number_of_bytes(self.scratch_size)
            _expect("scratch_size", self.scratch_size, self.scratch is not None, "--scratch, the folder, as well")
        if self.samples_per_epoch is not None:
            fits = self.samples_per_epoch >= self.batch_size
            _expect("samples_per_epoch", self.samples_per_epoch, fits, f"at least --batch_size {self.batch_size}")
        if not isinstance(self.class_weights, str) or self.class_weights not in ("none", "balanced"):
            weights = self.class_weights.values() if isinstance(self.class_weights, Mapping) else [-1.0]
            good = all(isinstance(weight, int | float) and 0 <= weight < inf for weight in weights)
            _expect(
                "class_weights", self.class_weights, good, "'none', 'balanced', or a weight of at least 0 per class"
            )
        self._check_target()
        if self.fold is None and self.fold_by != EVENT:
            raise ConfigError(f"--fold_by is {self.fold_by!r}, and no --fold is given; expected one, such as 0/5")
        _expect("weights", self.weights, self.weights != "", "the name of a column, or 'none'")
        _expect("init", self.init, self.init != "", "a run folder, a checkpoint or published weights to begin from")
        if self.init is None:
            configure(self.model, **self.options)

    def _check_target(self) -> None:
        """Refuse options that do not go with a target, or go with one alone."""
        if self.target is None:
            _expect("loss", self.loss, self.loss == type(self).loss, "--target as well")
            _expect("target_scale", self.target_scale, self.target_scale is None, "--target as well")
            return
        expect_number(self.target)
        scale = self.target_scale
        fits = scale is None or (len(scale) == 2 and scale[1] > 0)
        _expect("target_scale", scale, fits, "centre and scale, the latter more than 0")
        if scale is not None:
            object.__setattr__(self, "target_scale", [*map(float, scale)])  # also where it came as an array
        unmoved = self.augmentation == AugmentationConfig()
        _expect("augmentation", self.augmentation, unmoved, "none with --target, which would have to move as well")
        _expect("penalty", self.penalty, not self.penalty.weight, "none with --target: it is one of logits")
        for name in ("stream", "class_weights", "label_smoothing"):
            default, value = getattr(type(self), name), getattr(self, name)
            _expect(name, value, value == default, f"{default!r} with --target")

    @property
    def held_out(self) -> Fold | None:
        """The fold to validate on, while the others are trained on; None without folds."""
        return None if self.fold is None else Fold.parse(self.fold, self.fold_by)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values for YAML and JSON."""
        return asdict(self)

    @classmethod
    @checked()
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """Make a configuration of plain values, the inverse of :meth:`to_dict`."""
        known = [one.name for one in fields(cls)]
        for name in values:
            if name not in known:
                raise ConfigError(f"there is no option {name!r} of a training; {closest(name, known)}")
        return cls(**{"data": "", **values})

    @checked()
    def differing(self, other: TrainConfig) -> list[str]:
        """Return the names of the fields in which two runs differ.

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
