"""A tagger in canonical poses: whatever network it holds sees every jet in axes of the jet's own.

The invariance is that of :mod:`jetsym.jets.moves.canonical`, exact up to rounding for jets that have such axes, and
with the jumps named there. Impact parameters have no law under rotations and are passed on as they are.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor

from jetsym.arguments import checked
from jetsym.errors import ConfigError
from jetsym.jets.batch import JetBatch
from jetsym.jets.models.base import Tagger
from jetsym.jets.models.options import Options, option
from jetsym.jets.models.registry import build, configure, register
from jetsym.jets.moves.canonical import ROTATIONS, Signs, poses
from jetsym.jets.schema import CLASSES
from jetsym.symmetry import GROUPS, Symmetry

__all__ = ["Canonical", "CanonicalConfig"]


@checked()
@dataclass(frozen=True)
class CanonicalConfig(Options):
    """The tagger that a :class:`Canonical` holds, and the poses that it shows it.

    Parameters
    ----------
    backbone
        Name of a tagger, such as "pointnet".
    options
        Options of that tagger.
    group
        "SO3", or "O3": mirror images are then alike as well.
    frame
        "lab" (the jet along x, its width in the x-y plane), or "rest": rotations at rest and boosts are then undone as
        well, and with them what the jet's energy tells. At rest Cartesian inputs, as of "pointnet", make sense;
        those about the beam do not.
    signs
        "moment" (one pose per jet), or "all": the mean of the logits over all signs of the axes, 2 to 8 times the cost,
        without the jumps where a sign changes.
    """

    backbone: str = "pointnet"
    options: dict[str, Any] = field(default_factory=dict)
    group: str = ROTATIONS.group
    frame: str = ROTATIONS.frame
    signs: Signs = option("moment", choices=get_args(Signs))

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "group", self.symmetry.group)
        if self.backbone == "canonical":
            raise ConfigError("Canonical option backbone is 'canonical'; expected the name of another tagger")
        # Its options are kept in full, as those of any other tagger are.
        object.__setattr__(self, "options", asdict(configure(self.backbone, **self.options)))

    @property
    def symmetry(self) -> Symmetry:
        """What the poses are invariant under."""
        called = {name: f"Canonical option {name}" for name in ("group", "frame")}
        rotations = [group.name for group in GROUPS.values() if group.is_orthogonal]
        return Symmetry.parse(self.group, self.frame, called=called, groups=rotations)


@register("canonical")
class Canonical(Tagger):
    """Tag jets with another tagger that sees them in canonical poses.

    Its layers are those of the backbone, ``tagger.embedding`` and so on. With ``signs="all"`` the backbone runs once
    for every pose, and a probe reads its layers as ``tagger.embedding``, ``tagger.embedding@2``, ….

    Parameters
    ----------
    classes
        Names of the classes, in the order of the logits.
    options
        Fields of :class:`CanonicalConfig`.

    Raises
    ------
    ConfigError
        There is no such backbone, or an option cannot have that value.

    Examples
    --------
    >>> model = Canonical(("QCD", "Tbqq"), options={"width": 16, "blocks": 1})
    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0], [5.0, 3.0, 4.0, 0.0]]])
    >>> jets = JetBatch(p4, torch.ones(1, 2, dtype=bool), torch.zeros(1, 2, 10), p4[:, 0])
    >>> rotated = jets.replace(p4=p4[..., [0, 3, 1, 2]])  # x → y → z → x
    >>> torch.allclose(model(rotated), model(jets), atol=1e-5)
    True
    """

    Config: ClassVar[type[Any]] = CanonicalConfig

    def __init__(self, classes: Sequence[str] = CLASSES, **options: Any) -> None:
        super().__init__(classes, **options)
        self.tagger = build(self.config.backbone, self.classes, **self.config.options)

    def ablations(self) -> dict[str, Tagger]:
        """Return copies without what the backbone can do without."""
        found: dict[str, Tagger] = {}
        for name, other in self.tagger.ablations().items():
            found[name] = copy.copy(self)
            found[name]._modules = {**self._modules, "tagger": other}
        return found

    def forward(self, jets: JetBatch) -> Tensor:
        """Compute the logits (B, classes) of B jets."""
        with torch.autocast(jets.device.type, enabled=False):  # axes are made in float64
            seen = poses(jets, self.config.symmetry, signs=self.config.signs)
        return torch.stack([self.tagger(pose) for pose in seen]).mean(dim=0)
