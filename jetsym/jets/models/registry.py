"""The registry of taggers: made by name, from options that their config checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from jetsym.errors import ConfigError, closest
from jetsym.jets.models.base import Tagger
from jetsym.jets.models.canonical import Canonical
from jetsym.jets.models.deep_sets import DeepSets
from jetsym.jets.models.lloca_net import LLoCa
from jetsym.jets.models.lorentz_gatr import LGATr
from jetsym.jets.models.particle_transformer import ParticleTransformer
from jetsym.jets.models.particlenet import ParticleNet
from jetsym.jets.models.pointnet import PointNet
from jetsym.jets.schema import CLASSES

__all__ = ["MODELS", "build", "configure", "name_of"]


#: Name -> class of every tagger that :func:`build` makes and checkpoints hold.
MODELS: dict[str, type[Tagger]] = {
    "pointnet": PointNet,
    "part": ParticleTransformer,
    "particlenet": ParticleNet,
    "deepsets": DeepSets,
    "lgatr": LGATr,
    "lloca": LLoCa,
    "canonical": Canonical,
}


def build(name: str, classes: Sequence[str] = CLASSES, **options: Any) -> Tagger:
    """Make an untrained tagger by name.

    Parameters
    ----------
    name
        A key of :data:`MODELS`.
    classes
        Names of the classes, in the order of the logits.
    options
        Fields of the model's ``Config``.

    Raises
    ------
    ConfigError
        There is no such model, or it has no such option, or the option cannot have that value.

    Examples
    --------
    >>> build("pointnet", ("QCD", "Tbqq"), width=32).config
    PointNetConfig(width=32, blocks=3, heads=4, expansion=2, dropout=0.0, harmonics=1, pairs=0, invariants=0)
    """
    config = configure(name, **options)
    return MODELS[name](classes, **asdict(config))


def configure(name: str, **options: Any) -> Any:
    """The ``Config`` of a model, without making one; arguments and errors are those of :func:`build`.

    Examples
    --------
    >>> configure("pointnet", widht=32)
    Traceback (most recent call last):
    jetsym.errors.ConfigError: model 'pointnet' has no option 'widht'; the nearest are 'width'
    """
    if name not in MODELS:
        raise ConfigError(f"there is no model {name!r}; {closest(name, MODELS)}")
    known = [field.name for field in fields(MODELS[name].Config)]
    for option in options:
        if option not in known:
            raise ConfigError(f"model {name!r} has no option {option!r}; {closest(option, known)}")
    try:
        return MODELS[name].Config(**options)
    except TypeError as error:
        raise ConfigError(f"an option of model {name!r} has a value of a wrong type, in {options}: {error}") from error


def name_of(model: Tagger) -> str:
    """The name under which :data:`MODELS` lists a model's class.

    Raises
    ------
    ConfigError
        It does not list it.

    Examples
    --------
    >>> name_of(PointNet(width=8, heads=2))
    'pointnet'
    """
    for name, model_class in MODELS.items():
        if type(model) is model_class:
            return name
    raise ConfigError(f"{type(model).__name__} is not a model of jetsym; expected one of {', '.join(MODELS)}")
