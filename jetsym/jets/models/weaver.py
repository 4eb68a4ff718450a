"""Weights published in weaver-core's layout: state dictionaries that torch.save wrote, opened without running them.

Source: H. Qu, C. Li, S. Qian, "Particle Transformer for Jet Tagging", arXiv:2202.03772, whose repository holds
networks trained on JetClass with each of the three feature sets; weaver-core names the tensors. The published networks
list their classes in JetClass's order, :data:`jetsym.jets.schema.CLASSES`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from jetsym.errors import CheckpointError, ConfigError
from jetsym.files import finished_file
from jetsym.jets.features import FEATURE_SETS
from jetsym.jets.models.base import Tagger
from jetsym.jets.models.particle_transformer import ParticleTransformer
from jetsym.jets.models.particlenet import ParticleNet
from jetsym.jets.schema import CLASSES

__all__ = ["export", "load", "particle_transformer", "particlenet", "read_state"]

_Model = TypeVar("_Model", bound=Tagger)

#: Our names of ParticleNet's parts -> weaver-core's.
_PARTICLENET_NAMES = (
    (r"^norm\.rows\.", "bn_fts."),
    (r"^blocks\.(\d+)\.layers\.(\d+)\.linear\.", r"edge_convs.\1.convs.\2."),
    (r"^blocks\.(\d+)\.layers\.(\d+)\.norm\.", r"edge_convs.\1.bns.\2."),
    (r"^blocks\.(\d+)\.shortcut\.linear\.", r"edge_convs.\1.sc."),
    (r"^blocks\.(\d+)\.shortcut\.norm\.", r"edge_convs.\1.sc_bn."),
    (r"^head\.0\.", "fc.0.0."),
    (r"^head\.3\.", "fc.1."),
)

#: Our names of ParticleTransformer's parts -> weaver-core's; those of the interactions count differently.
_TRANSFORMER_NAMES = (
    (r"^embedding\.norm\.", "embed.input_bn."),
    (r"^embedding\.mlp\.", "embed.embed."),
    (r"^interactions\.norm\.", "pair_embed.embed.0."),
    (r"^class_token\.token$", "cls_token"),
    (r"^class_blocks\.", "cls_blocks."),
    (r"^pool\.", "norm."),
    (r"^head\.", "fc.0."),
    (r"blocks\.(\d+)\.attention_norm\.", r"blocks.\1.pre_attn_norm."),
    (r"blocks\.(\d+)\.query_key_value\.", r"blocks.\1.attn.in_proj."),
    (r"blocks\.(\d+)\.output\.", r"blocks.\1.attn.out_proj."),
    (r"blocks\.(\d+)\.head_scale$", r"blocks.\1.c_attn"),
    (r"blocks\.(\d+)\.output_norm\.", r"blocks.\1.post_attn_norm."),
    (r"blocks\.(\d+)\.mlp_norm\.", r"blocks.\1.pre_fc_norm."),
    (r"blocks\.(\d+)\.expand\.", r"blocks.\1.fc1."),
    (r"blocks\.(\d+)\.hidden_norm\.", r"blocks.\1.post_fc_norm."),
    (r"blocks\.(\d+)\.contract\.", r"blocks.\1.fc2."),
    (r"blocks\.(\d+)\.residual_scale$", r"blocks.\1.w_resid"),
)


def load(path: str | Path) -> ParticleNet | ParticleTransformer:
    """The network of a weaver-core state dictionary, whichever of the two its tensors are named for.

    It has JetClass's ten classes; :func:`particle_transformer` takes others.

    Raises
    ------
    CheckpointError
        There is no such file, it is not a state dictionary, or not one of either network.
    """
    names = read_state(path).keys()
    if any(name.startswith("edge_convs.") for name in names):
        return particlenet(path)
    if any(name.startswith(("cls_token", "cls_blocks.", "pair_embed.", "blocks.0.attn.")) for name in names):
        return particle_transformer(path)
    first = ", ".join(sorted(names)[:3])
    raise CheckpointError(
        f"{path} holds tensors of neither a ParticleNet (edge_convs.…) nor a ParticleTransformer (cls_token, blocks.…) "
        f"of weaver-core; the first of its {len(names)} are {first}"
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
    theirs = read_state(path)
    return _filled(_particlenet_like(theirs, source=path), theirs, source=path)


def particle_transformer(
    path: str | Path, *, classes: Sequence[str] = CLASSES, pair_activation: bool = True
) -> ParticleTransformer:
    """The ParticleTransformer of a weaver-core state dictionary.

    Parameters
    ----------
    path
        ``ParT_kin.pt``, ``ParT_kinpid.pt``, ``ParT_full.pt`` as published, or the weights of a network of your own with
        one of these feature sets, of weaver-core's version 1 without further layers before the logits. All sizes are
        found from the shapes. Names may begin with ``mod.`` or not, and may spell ``in_proj_weight`` or
        ``in_proj.weight``.
    classes
        Names of the classes, in the order of the logits.
    pair_activation
        Whether it was trained with ``use_pre_activation_pair=False``, as the published ones were; the shapes do not
        tell.

    Returns
    -------
    ParticleTransformer
        In evaluation mode; when trained on, it takes its statistics as weaver-core does.

    Raises
    ------
    CheckpointError
        There is no such file, or it is not a state dictionary, or not one of such a network.
    """
    theirs = {re.sub(r"in_proj_(weight|bias)$", r"in_proj.\1", name): t for name, t in read_state(path).items()}
    return _filled(_transformer_like(theirs, classes, pair_activation, source=path), theirs, source=path)


def export(model: ParticleTransformer | ParticleNet, path: str | Path) -> None:
    """Write a network's weights as a state dictionary of weaver-core 0.5, without ``mod.``.

    Its ``ParticleTransformer`` reads it with ``load_state_dict``, when it is made with the sizes of ``model.config``,
    ``use_pre_activation_pair`` the opposite of ``pair_activation``, and ``fc_params=[]``; its ``ParticleNet`` with
    ``conv_params`` of ``k`` and ``channels``, ``fc_params`` of ``hidden``, and neither fusion nor counts.

    Parameters
    ----------
    model
        The network.
    path
        The file, replaced if it exists.

    Raises
    ------
    ConfigError
        It is another network, of which weaver-core has none.
    """
    if not isinstance(model, ParticleTransformer | ParticleNet):
        raise ConfigError(
            f"a {type(model).__name__} has no layout in weaver-core; expected a ParticleTransformer or a ParticleNet"
        )
    state = {}
    for name, tensor in model.state_dict().items():
        theirs = _weaver_name(model, name)
        axes = _axes_after(theirs) if tensor.ndim == 2 else 0
        tensor = tensor.detach().cpu().reshape((*tensor.shape, *[1] * axes))
        state[theirs] = tensor[None, None] if theirs == "cls_token" else tensor
    with finished_file(path) as unfinished:
        torch.save(state, unfinished)


def _axes_after(theirs: str) -> int:
    """How many axes of length one a weight has in weaver-core, which convolves over pairs, over edges and particles."""
    if theirs.startswith("pair_embed.") or ".sc." in theirs:
        return 1
    return 2 if ".convs." in theirs else 0


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


def _weaver_name(model: nn.Module, name: str) -> str:
    """weaver-core's name of a network's tensor."""
    if match := re.match(r"interactions\.(linears|norms)\.(\d+)\.(.*)", name):
        kind, layer, rest = match.groups()
        return f"pair_embed.embed.{3 * int(layer) + (1 if kind == 'linears' else 2)}.{rest}"
    for pattern, replacement in _PARTICLENET_NAMES if isinstance(model, ParticleNet) else _TRANSFORMER_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _filled(model: _Model, theirs: dict[str, Tensor], *, source: str | Path) -> _Model:
    """The model in evaluation mode with the tensors of weaver-core, if they are the ones it wants."""
    wanted = model.state_dict()
    names = {_weaver_name(model, name): name for name in wanted}
    found = {names.get(name, name): tensor for name, tensor in theirs.items()}
    differing = sorted(
        name
        for name in wanted.keys() | found.keys()
        if name not in wanted or name not in found or _lengths(wanted[name]) != _lengths(found[name])
    )
    if differing:
        first = differing[0]
        raise CheckpointError(
            f"{source} does not fit a {type(model).__name__} of weaver-core: {len(differing)} tensors differ, the "
            f"first is {first!r} (file: {_shape(found, first)}, model: {_shape(wanted, first)})"
        )
    model.load_state_dict({name: tensor.reshape(wanted[name].shape) for name, tensor in found.items()})
    return model.eval()


def _transformer_like(
    theirs: dict[str, Tensor], classes: Sequence[str], pair_activation: bool, *, source: str | Path
) -> ParticleTransformer:
    """An untrained network of the same sizes as the tensors."""
    embedding = _channels(theirs, "embed.embed")
    *pairs, heads = _channels(theirs, "pair_embed.embed") or [0]
    features = _length(theirs.get("embed.input_bn.weight"))
    sets = {len(names): kind for kind, (_, names) in FEATURE_SETS.items()}
    if not embedding or features not in sets:
        raise CheckpointError(
            f"{source} holds no ParticleTransformer of weaver-core with {', '.join(map(str, sets))} features "
            f"({len(embedding)} layers of the embedding, {features} features)"
        )
    outputs = _length(theirs.get("fc.0.weight"))
    if outputs != len(classes):
        raise CheckpointError(
            f"{source} has {outputs} outputs, but {len(classes)} classes are named: {tuple(classes)}; "
            "ParticleTransformer.from_weaver(path, classes=…) takes other names"
        )
    try:
        return ParticleTransformer(
            classes,
            features=sets[features],
            embedding=embedding,
            pairs=pairs,
            blocks=_count(theirs, "blocks"),
            class_blocks=_count(theirs, "cls_blocks"),
            heads=heads,
            expansion=_length(theirs.get("blocks.0.fc1.weight")) // embedding[-1] or 4,
            pair_activation=pair_activation,
            statistics="slots",
        )
    except ConfigError as error:
        raise CheckpointError(f"{source} does not fit a ParticleTransformer of weaver-core: {error}") from error


def _channels(theirs: dict[str, Tensor], prefix: str) -> list[int]:
    """Of the linear layers of a sequence in which every third module, from the second on, is one."""
    found: list[int] = []
    while (weight := theirs.get(f"{prefix}.{3 * len(found) + 1}.weight")) is not None:
        found.append(_length(weight))
    return found


def _count(theirs: dict[str, Tensor], prefix: str) -> int:
    return len({name.split(".")[1] for name in theirs if name.startswith(f"{prefix}.")})


def _particlenet_like(theirs: dict[str, Tensor], *, source: str | Path) -> ParticleNet:
    """An untrained network of the same feature set and channels as the tensors."""
    channels: list[list[int]] = []
    while f"edge_convs.{len(channels)}.convs.0.weight" in theirs:
        block, layers = len(channels), list[int]()
        while (weight := theirs.get(f"edge_convs.{block}.convs.{len(layers)}.weight")) is not None:
            layers.append(_length(weight))
        channels.append(layers)
    features = _length(theirs.get("bn_fts.weight"))
    sets = {len(names): kind for kind, (_, names) in FEATURE_SETS.items()}
    if not channels or features not in sets:
        raise CheckpointError(
            f"{source} holds no ParticleNet of weaver-core with {', '.join(map(str, sets))} features "
            f"({len(channels)} edge convolutions, {features} features)"
        )
    try:
        return ParticleNet(
            CLASSES, features=sets[features], channels=channels, hidden=_length(theirs.get("fc.0.0.weight"))
        )
    except ConfigError as error:
        raise CheckpointError(f"{source} does not fit a ParticleNet of weaver-core: {error}") from error


def _length(tensor: Tensor | None) -> int:
    """Of the first axis; 0 where there is none."""
    return 0 if tensor is None or not tensor.ndim else len(tensor)


def _lengths(tensor: Tensor) -> list[int]:
    """Of the axes that are longer than one."""
    return [length for length in tensor.shape if length != 1]


def _shape(tensors: dict[str, Tensor], name: str) -> tuple[int, ...] | str:
    return tuple(tensors[name].shape) if name in tensors else "absent"
