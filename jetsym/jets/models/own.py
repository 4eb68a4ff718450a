"""Networks of users: any torch module that is made without arguments, and takes jets to one logit a class.

A run of such a network names its class, as ``module:Class``, to say what is needed to open it again; a checkpoint holds
no code, and nothing is ever imported by the name in a file. Whoever opens it gives the class: ``jetsym.load(path,
model=MyNet)``, or ``--network module:Class``. From then on this process knows the class by its name.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from jetsym.errors import ConfigError, shorten
from jetsym.jets.batch import JetBatch
from jetsym.jets.models.base import Tagger
from jetsym.jets.models.options import Options
from jetsym.jets.models.registry import MODELS, register
from jetsym.jets.schema import CLASSES
from jetsym.lazy import imported, is_entry

__all__ = ["OwnNetwork", "expect_logits", "given_tagger", "imported_network", "own_tagger"]


#: Empty slots that are added to see whether a network counts them.
EMPTY = 7


@dataclass(frozen=True)
class NoOptions(Options):
    """The options of a network that has none."""


class OwnNetwork(Tagger):
    """A network of a user as a tagger; of every such network there is a class derived from this one.

    Parameters
    ----------
    classes
        Names of the classes, in the order of the logits.
    options
        None.
    """

    Config: ClassVar[type[Any]] = NoOptions
    kind: ClassVar[type[nn.Module]]  # the user's class

    def __init__(self, classes: Sequence[str] = CLASSES, **options: Any) -> None:
        super().__init__(classes, **options)
        self.network = _made(self.kind)

    def forward(self, jets: JetBatch) -> Tensor:
        """Compute the logits (B, classes) of B jets."""
        logits: Tensor = self.network(jets)
        return logits

    def reset_parameters(self) -> None:
        """Draw all weights anew, as the user's class does when it is made."""
        self.network.load_state_dict(_made(self.kind).state_dict())


def own_tagger(network: type[nn.Module]) -> type[Tagger]:
    """Return the tagger of a class of networks, known by its name from then on; a class of taggers itself.

    Raises
    ------
    ConfigError
        It is no class of torch modules.
    """
    if not (isinstance(network, type) and issubclass(network, nn.Module)):
        raise ConfigError(f"model is {shorten(network)}; expected a name, a torch module, or a class of them")
    if issubclass(network, Tagger):
        return network
    name = f"{network.__module__}:{network.__qualname__}"
    known = MODELS.get(name)
    if known is not None and issubclass(known, OwnNetwork) and known.kind is network:
        return known
    said = {"kind": network, "__module__": network.__module__, "__qualname__": network.__qualname__}
    return register(name)(type(network.__name__, (OwnNetwork,), said))


def given_tagger(network: nn.Module) -> Tagger:
    """Return a tagger with the weights of a network that was made.

    Raises
    ------
    ConfigError
        Its class makes another network when it is made without arguments.
    """
    if isinstance(network, Tagger):
        return network
    tagger = own_tagger(type(network))()
    pair = (network, tagger.get_submodule("network"))
    shapes = [{name: tuple(x.shape) for name, x in one.state_dict().items()} for one in pair]
    if shapes[0] != shapes[1]:
        differing = next(name for name in {**shapes[0], **shapes[1]} if shapes[0].get(name) != shapes[1].get(name))
        raise ConfigError(
            f"model is a {type(network).__name__} whose {differing!r} is {shapes[0].get(differing, 'absent')}, where "
            f"{type(network).__name__}() has {shapes[1].get(differing, 'absent')}; expected a class that makes the "
            "same network without arguments: derive one with these sizes"
        )
    tagger.network = copy.deepcopy(network)
    return tagger


def imported_network(option: str, entry: str) -> type[nn.Module]:
    """Import the class that ``module:Class`` names, also from the folder where the program runs; its code runs.

    The name is to come from who runs the program, never from a file.

    Raises
    ------
    ConfigError
        It is no such name, cannot be imported, or is no class of torch modules.

    Examples
    --------
    >>> imported_network("--model", "torch.nn:Linear").__name__
    'Linear'
    """
    expected = "expected module:Class, of a torch module that is made without arguments"
    if not is_entry(entry):
        raise ConfigError(f"{option} is {entry!r}; {expected}")
    try:
        found = imported(entry)
    except Exception as error:  # whatever foreign code raises
        raise ConfigError(
            f"{option} is {entry!r}, which cannot be imported: {type(error).__name__}, {error}; {expected}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ConfigError(f"{option} is {entry!r}, which is {shorten(found)}; {expected}")
    return found


def expect_logits(tagger: Tagger, jets: JetBatch) -> None:
    """Refuse a network that does not give one logit a class for jets, before it is trained.

    Raises
    ------
    DataError
        Jets lack what the features of a tagger of jetsym are made of.
    ConfigError
        It fails on them, or gives something else, or a jet's logits depend on the jets beside it or on empty slots.
    """
    who, was = f"--model {tagger.name}", tagger.training
    tagger.eval()
    if not isinstance(tagger, OwnNetwork):
        with torch.no_grad():
            tagger.forward(jets)  # not compiled, as a batch of this size comes once
        tagger.train(was)
        return
    try:
        with torch.no_grad():
            found: Any = tagger(jets)
            alone: Any = tagger(jets[:1])
            wider = _wider(tagger, jets)
    except Exception as error:  # whatever foreign code raises
        raise ConfigError(
            f"{who} fails on {len(jets)} jets: {type(error).__name__}, {error}; expected a network that takes a "
            "JetBatch, with p4 (B, N, 4) and mask (B, N), to logits (B, classes)"
        ) from error
    finally:
        tagger.train(was)
    wanted = (len(jets), len(tagger.classes))
    if not isinstance(found, Tensor) or not found.is_floating_point() or tuple(found.shape) != wanted:
        what = f"{found.dtype} {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise ConfigError(
            f"{who} gives {what} for {len(jets)} jets; expected logits {wanted}, one for each of "
            f"{', '.join(tagger.classes)}"
        )
    if not found.isfinite().all():
        raise ConfigError(f"{who} gives logits that are not finite; expected finite ones for every jet")
    if not torch.allclose(alone, found[:1], rtol=1e-2, atol=1e-2):
        raise ConfigError(
            f"{who} gives a jet other logits beside other jets than alone; expected each jet's to be its own: is "
            "jets.mask taken into account, and no mean taken over the batch?"
        )
    if wider is not None and not torch.allclose(wider, found, rtol=1e-2, atol=1e-2):
        raise ConfigError(
            f"{who} gives other logits where jets have {EMPTY} more empty slots; expected particles alone to count: is "
            "jets.mask taken into account, and a mean taken over jets.n_particles?"
        )


def _wider(tagger: Tagger, jets: JetBatch) -> Any:
    """Return the logits of jets with further empty slots; None of a network for one number of slots, which says so."""
    try:
        return tagger(jets.widen(jets.max_particles + EMPTY))
    except Exception:  # whatever foreign code raises
        return None


def _made(kind: type[nn.Module]) -> nn.Module:
    """Make a network without arguments."""
    try:
        network = kind()
    except Exception as error:  # whatever foreign code raises
        raise ConfigError(
            f"the network {kind.__module__}:{kind.__qualname__} cannot be made without arguments: "
            f"{type(error).__name__}, {error}; expected a class that takes none, such as one with its sizes in it"
        ) from error
    if not any(weight.requires_grad for weight in network.parameters()):
        raise ConfigError(f"the network {kind.__module__}:{kind.__qualname__} has no weights that could be trained")
    return network
