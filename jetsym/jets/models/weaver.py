"""Weights published in weaver-core's layout: state dictionaries that torch.save wrote, opened without running them.

Source: H. Qu, C. Li, S. Qian, "Particle Transformer for Jet Tagging", arXiv:2202.03772, whose repository holds
networks trained on JetClass with each of the three feature sets; weaver-core names the tensors. The published networks
list their classes in JetClass's order, :data:`jetsym.jets.schema.CLASSES`.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor

from jetsym.errors import CheckpointError, ConfigError
from jetsym.jets.models.particlenet import FEATURE_SETS, ParticleNet
from jetsym.jets.schema import CLASSES

__all__ = ["particlenet", "read_state"]

#: weaver-core's names of ParticleNet's parts -> ours.
_RENAMED = (
    (r"^bn_fts\.", "norm.rows."),
    (r"^edge_convs\.(\d+)\.convs\.(\d+)\.", r"blocks.\1.layers.\2.linear."),
    (r"^edge_convs\.(\d+)\.bns\.(\d+)\.", r"blocks.\1.layers.\2.norm."),
    (r"^edge_convs\.(\d+)\.sc\.", r"blocks.\1.shortcut.linear."),
    (r"^edge_convs\.(\d+)\.sc_bn\.", r"blocks.\1.shortcut.norm."),
    (r"^fc\.0\.0\.", "head.0."),
    (r"^fc\.1\.", "head.3."),
)


def particlenet(path: str | Path) -> ParticleNet:
    """The ParticleNet of a weaver-core state dictionary, trained on JetClass.

    Parameters
    ----------
    path
        ``ParticleNet_kin.pt``, ``ParticleNet_kinpid.pt``, ``ParticleNet_full.pt`` as published, or the weights of a
        network of your own with one of these feature sets, 16 neighbours and JetClass's ten classes, and without a
        fusion block. Feature set and channels are found from the shapes. Names may begin with ``mod.`` or not.

    Returns
    -------
    ParticleNet
        In evaluation mode.

    Raises
    ------
    CheckpointError
        There is no such file, or it is not a state dictionary, or not one of such a network.
    """
    found = {_renamed(name): tensor for name, tensor in read_state(path).items()}
    found = {name: tensor.flatten(2).squeeze(2) if tensor.ndim > 2 else tensor for name, tensor in found.items()}
    model = _like(found, source=path)
    wanted = model.state_dict()
    differing = sorted(
        name
        for name in wanted.keys() | found.keys()
        if name not in wanted or name not in found or wanted[name].shape != found[name].shape
    )
    if differing:
        first = differing[0]
        raise CheckpointError(
            f"{path} does not fit a ParticleNet of weaver-core: {len(differing)} tensors differ, the first is "
            f"{first!r} (file: {_shape(found, first)}, model: {_shape(wanted, first)})"
        )
    model.load_state_dict(found)
    return model.eval()


def read_state(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a state dictionary that torch.save wrote, on the CPU, by name without ``mod.``.

    Nothing in the file is executed: only tensors and plain containers are opened.

    Raises
    ------
    CheckpointError
        There is no such file, or it holds anything else.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}; expected weights that torch.save wrote, such as *.pt")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what torch raises over a broken file is anything, down to KeyError
        reason = str(error).split(". ")[0].splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path} is not a whole state dictionary of tensors ({reason}); jetsym opens nothing else: fetch it again, "
            "or save model.state_dict()"
        ) from error
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path} holds a {type(state).__name__} and not tensors by name; save model.state_dict()")
    return {str(name).removeprefix("mod."): tensor for name, tensor in state.items()}


def _renamed(name: str) -> str:
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def _like(found: dict[str, Tensor], *, source: str | Path) -> ParticleNet:
    """An untrained network of the same feature set and channels as the tensors."""
    channels: list[list[int]] = []
    while f"blocks.{len(channels)}.layers.0.linear.weight" in found:
        block, layers = len(channels), list[int]()
        while (weight := found.get(f"blocks.{block}.layers.{len(layers)}.linear.weight")) is not None:
            layers.append(_length(weight))
        channels.append(layers)
    features = _length(found.get("norm.rows.weight"))
    sets = {len(names): kind for kind, (_, names) in FEATURE_SETS.items()}
    if not channels or features not in sets:
        raise CheckpointError(
            f"{source} holds no ParticleNet of weaver-core with {', '.join(map(str, sets))} features "
            f"({len(channels)} edge convolutions, {features} features)"
        )
    try:
        return ParticleNet(
            CLASSES, features=sets[features], channels=channels, hidden=_length(found.get("head.0.weight"))
        )
    except ConfigError as error:
        raise CheckpointError(f"{source} does not fit a ParticleNet of weaver-core: {error}") from error


def _length(tensor: Tensor | None) -> int:
    """Of the first axis; 0 where there is none."""
    return 0 if tensor is None or not tensor.ndim else len(tensor)


def _shape(tensors: dict[str, Tensor], name: str) -> tuple[int, ...] | str:
    return tuple(tensors[name].shape) if name in tensors else "absent"
