"""The registry of taggers: made by name, from options that their config checks.

A tagger registers itself. What is defined elsewhere is found by its name once its module has been imported, or, of an
installed package, by the entry point of that name in the group ``jetsym.taggers``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import Any, TypeVar

from jetsym.arguments import anything, checked
from jetsym.errors import ConfigError, closest, expect_a, shorten
from jetsym.jets.models.base import Tagger
from jetsym.jets.schema import CLASSES
from jetsym.lazy import is_entry

__all__ = ["ENTRY_POINTS", "MODELS", "build", "configure", "name_of", "register", "tagger_class"]

_Class = TypeVar("_Class", bound=type[Tagger])

#: Group of entry points by which installed packages name their taggers.
ENTRY_POINTS = "jetsym.taggers"

#: Name -> class of every tagger that has registered itself: what :func:`build` makes and checkpoints hold.
MODELS: dict[str, type[Tagger]] = {}


@checked(name=anything)
def register(name: str) -> Callable[[_Class], _Class]:
    """Register a class of taggers under a name, as a decorator.

    Raises
    ------
    ConfigError
        Another class has the name, or it is no class of taggers.

    Examples
    --------
    ::

        @dataclass(frozen=True)
        class LinearConfig(Options):
            width: int = 8

        @register("linear")
        class Linear(Tagger):
            Config = LinearConfig

            def __init__(self, classes=CLASSES, **options):
                super().__init__(classes, **options)
                self.head = nn.Linear(self.config.width, len(self.classes))
    """
    expect_a("the name of a model", name, str)

    def add(tagger: _Class) -> _Class:
        if not (isinstance(tagger, type) and issubclass(tagger, Tagger)):
            raise ConfigError(f"the model {name!r} is {shorten(tagger)}; expected a class derived from Tagger")
        other = MODELS.get(name, tagger)
        # The same class made anew, as when a cell of a notebook runs again, takes the place of the old one.
        if (other.__module__, other.__qualname__) != (tagger.__module__, tagger.__qualname__):
            raise ConfigError(f"the model {name!r} is {other.__module__}.{other.__qualname__}; choose another name")
        tagger.name = name
        MODELS[name] = tagger
        return tagger

    return add


def tagger_class(name: str) -> type[Tagger]:
    """Return the class that is registered under a name.

    Raises
    ------
    ConfigError
        There is none.
    """
    if name not in MODELS and is_entry(name):
        raise ConfigError(
            f"the model {name!r} is a network of a user, whose code no file brings along and which is not imported by "
            f"its name in one; give it: jetsym.load(path, model={name.rpartition(':')[2]}), or --network {name}"
        )
    if name not in MODELS:
        for point in entry_points(group=ENTRY_POINTS, name=name):
            register(name)(point.load())
    if name not in MODELS:
        known = dict.fromkeys([*MODELS, *entry_points(group=ENTRY_POINTS).names])
        raise ConfigError(f"there is no model {name!r}; {closest(name, known)}")
    return MODELS[name]


@checked()
def build(name: str, classes: Sequence[str] = CLASSES, **options: Any) -> Tagger:
    """Make an untrained tagger by name.

    Parameters
    ----------
    name
        Under which it is registered, such as "pointnet".
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
    return tagger_class(name)(classes, **options)


@checked()
def configure(name: str, **options: Any) -> Any:
    """Return the ``Config`` of a model, without making one; arguments and errors are those of :func:`build`.

    Examples
    --------
    >>> configure("pointnet", widht=32)
    Traceback (most recent call last):
    jetsym.errors.ConfigError: model 'pointnet' has no option 'widht'; the nearest are 'width'
    """
    return tagger_class(name).configure(**options)


@checked(model=anything)
def name_of(model: Tagger) -> str:
    """Return the name under which a model's class is registered.

    Raises
    ------
    ConfigError
        It is not.

    Examples
    --------
    >>> name_of(build("pointnet", width=8, heads=2))
    'pointnet'
    """
    for name, model_class in MODELS.items():
        if type(model) is model_class:
            return name
    raise ConfigError(f"{type(model).__name__} is not a model of jetsym; expected one of {', '.join(MODELS)}")
