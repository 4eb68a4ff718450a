"""ParticleTransformer: attention among the particles of a jet, biased by what every two of them have to do.

Read it bottom-up from :class:`ParticleTransformer`: normalised features, embedding, particle attention blocks, class
attention blocks, head. Each named block is called once per forward pass and returns one tensor, so that hooks and
probes can read it: (B, N, C) with zeros in the padded slots for ``embedding`` and ``blocks.*``, (B, C) for
``class_token``, ``class_blocks.*`` and ``pool``, (B, classes) for ``head``.

After H. Qu, C. Li, S. Qian, "Particle Transformer for Jet Tagging", arXiv:2202.03772, with the parametrisation of the
weights published with it; :meth:`ParticleTransformer.from_weaver` reads these. Only real particles and pairs of real
particles are computed: where particles meet, jets of similar multiplicity stand together.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jetsym.errors import ConfigError
from jetsym.jets.batch import JetBatch
from jetsym.jets.features import FEATURE_SETS
from jetsym.jets.models.interactions import Interactions
from jetsym.jets.models.options import Options, option
from jetsym.jets.models.packing import Packing, RowNorm, pack
from jetsym.jets.models.registry import register
from jetsym.jets.models.weaver import WeaverNames, WeaverTagger, feature_set, length
from jetsym.jets.schema import CLASSES

__all__ = ["ParticleTransformer", "ParticleTransformerConfig"]

#: Which slots the normalisation of the features takes its statistics from, in training.
STATISTICS = ("particles", "slots")


@dataclass(frozen=True)
class ParticleTransformerConfig(Options):
    """Inputs and size of a :class:`ParticleTransformer`; the defaults are those of the published weights.

    Parameters
    ----------
    features
        "kin", "kinpid" or "full": the field's 7, 13 or 17 features of a particle.
    embedding
        Channels after each layer of the embedding; the last, C, are those of every particle, a multiple of ``heads``.
    pairs
        Channels of the hidden layers that turn interaction features into biases.
    blocks, class_blocks
        Number of particle attention and of class attention blocks.
    heads
        Attention heads per block.
    expansion
        Hidden width of the blocks' perceptrons, in multiples of C.
    dropout
        Probability of dropping a channel of a block's updates, a channel of its hidden layer, or the attention to a
        particle, in training; class attention blocks drop nothing.
    pair_activation
        Whether the biases pass through a last nonlinearity (weaver-core: ``use_pre_activation_pair=False``).
    statistics
        In training the features are normalised by the mean and variance over real particles ("particles") or, as
        weaver-core does, over all slots of the batch, padded ones counted as zeros ("slots").
    """

    features: str = option("full", choices=FEATURE_SETS)
    embedding: Sequence[int] = (128, 512, 128)
    pairs: Sequence[int] = option((64, 64, 64), empty=True)
    blocks: int = option(8, least=0)
    class_blocks: int = 2
    heads: int = 8
    expansion: int = 4
    dropout: float = option(0.1, below=1)
    pair_activation: bool = True
    statistics: str = option("particles", choices=STATISTICS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.embedding[-1] % self.heads:
            raise ConfigError(
                f"ParticleTransformer option embedding ends with {self.embedding[-1]}; expected a multiple of "
                f"heads = {self.heads}"
            )


class Linear(nn.Linear):
    """A linear map with Xavier's uniform weights, as a whole or ``parts`` maps side by side, and without bias at first.

    ``gain`` makes the weights smaller, so that a deep stack of updates begins small.
    """

    gain, parts = 1.0, 1

    def __init__(self, width_in: int, width_out: int, *, parts: int = 1, gain: float = 1.0) -> None:
        super().__init__(width_in, width_out)
        self.gain, self.parts = gain, parts
        self.reset_parameters()

    def reset_parameters(self) -> None:
        bound = self.gain * math.sqrt(6 / (self.in_features + self.out_features / self.parts))
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.zeros_(self.bias)


class SlotNorm(RowNorm):
    """Normalisation of the features of real particles, with statistics of real particles or of all slots."""

    def __init__(self, features: int, *, statistics: str) -> None:
        super().__init__(features)
        self.statistics = statistics

    def over(self, rows: Tensor, slots: int) -> Tensor:
        """Normalise (n, F) rows out of ``slots``, the others being zero, → (n, F)."""
        if self.statistics == "particles" or not self.training or slots < 2:
            return cast("Tensor", self(rows))
        mean = rows.sum(dim=0) / slots
        variance = ((rows - mean).square().sum(dim=0) + (slots - len(rows)) * mean.square()) / slots
        with torch.no_grad():
            momentum = self.momentum or 0.0
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
            self.running_var.lerp_((variance * slots / (slots - 1)).to(self.running_var.dtype), momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        return (rows - mean) * (self.weight * (variance + self.eps).rsqrt()) + self.bias


class Embedding(nn.Module):
    """One particle's features to C channels, alike for all particles."""

    def __init__(self, features: int, channels: Sequence[int], *, statistics: str) -> None:
        super().__init__()
        self.norm = SlotNorm(features, statistics=statistics)
        layers: list[nn.Module] = []
        for width_in, width_out in zip([features, *channels], channels, strict=False):
            layers += [nn.LayerNorm(width_in), Linear(width_in, width_out), nn.GELU()]
        self.mlp = nn.Sequential(*layers)

    def forward(self, features: Tensor, packing: Packing) -> Tensor:
        """Map (B, N, F) → (B, N, C)."""
        rows = self.norm.over(packing.rows(features), features.shape[0] * features.shape[1])
        return packing.unpack(self.mlp(rows))


class AttentionBlock(nn.Module):
    """Attention, then a perceptron, both added to what came in; each is normalised before and once more within."""

    def __init__(self, config: ParticleTransformerConfig, *, gain: float, dropout: float) -> None:
        super().__init__()
        width, hidden = config.embedding[-1], config.expansion * config.embedding[-1]
        self.heads, self.dropout = config.heads, dropout
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = Linear(width, 3 * width, parts=3)
        self.output = Linear(width, width, gain=gain)
        self.head_scale = nn.Parameter(torch.ones(config.heads))
        self.output_norm = nn.LayerNorm(width)
        self.mlp_norm = nn.LayerNorm(width)
        self.expand = Linear(width, hidden)
        self.hidden_norm = nn.LayerNorm(hidden)
        self.contract = Linear(hidden, width, gain=gain)
        self.residual_scale = nn.Parameter(torch.ones(width))

    def reset_parameters(self) -> None:
        """Reset the block's own parameters; its layers have theirs."""
        nn.init.ones_(self.head_scale)
        nn.init.ones_(self.residual_scale)

    def forward(self, x: Tensor, packing: Packing, biases: Sequence[Tensor]) -> Tensor:
        """Map (B, N, C) and the groups' biases → (B, N, C)."""
        rows = packing.rows(x)
        projected = self.query_key_value(self.attention_norm(rows))
        mixed = [rows[:0]]
        for group, bias in zip(packing.groups, biases, strict=True):
            jets = len(group.counts)
            padded = group.pad(projected[group.rows]).view(jets, group.slots, 3, self.heads, -1)
            query, key, value = padded.permute(2, 0, 3, 1, 4)
            attended = attend(query, key, value, bias, dropout=self.dropout if self.training else 0.0)
            mixed.append(attended.transpose(1, 2).flatten(2).flatten(0, 1).index_select(0, group.places))
        return packing.unpack(self.update(rows, torch.cat(mixed)))

    def update(self, rows: Tensor, mixed: Tensor) -> Tensor:
        """Update rows (n, C) by what attention has gathered for them (n, C) → (n, C)."""
        per_channel = self.head_scale.repeat_interleave(rows.shape[1] // self.heads)
        rows = rows + self._drop(self.output_norm(self.output(mixed) * per_channel))
        hidden = self.hidden_norm(self._drop(F.gelu(self.expand(self.mlp_norm(rows)))))
        return rows * self.residual_scale + self._drop(self.contract(hidden))

    def _drop(self, x: Tensor) -> Tensor:
        return drop(x, self.dropout) if self.training else x


class ClassAttentionBlock(AttentionBlock):
    """A block whose only query is the jet's class token; it attends to itself and to the real particles."""

    def forward(self, token: Tensor, x: Tensor, packing: Packing, mask: Tensor) -> Tensor:  # type: ignore[override]
        """Map (B, C), (B, N, C) and (B, N) mask → (B, C)."""
        jets, width = token.shape
        of_query, of_others = self.query_key_value.weight.split([width, 2 * width])
        query_bias, others_bias = self.query_key_value.bias.split([width, 2 * width])
        query = F.linear(token, of_query, query_bias).view(jets, self.heads, 1, -1)
        rows = torch.cat([self.attention_norm(token), self.attention_norm(packing.rows(x))])
        own, others = F.linear(rows, of_others, others_bias).split([jets, len(rows) - jets])
        padded = torch.cat([own[:, None], packing.unpack(others)], dim=1)
        key, value = padded.view(jets, -1, 2, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        bias = F.pad(torch.where(mask, 0.0, -torch.inf), (1, 0))[:, None, None].to(query.dtype)
        return self.update(token, attend(query, key, value, bias, dropout=0.0).flatten(1))


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, *, dropout: float) -> Tensor:
    """Attend with queries (b, h, t, d), keys, values (b, h, s, d) and biases (b, 1 or h, t, s) → (b, h, t, d)."""
    if not dropout or not query.is_cpu:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)
    # What torch does step by step as well when it drops on a CPU, with fewer passes over the (b, h, t, s).
    leading, scale = query.shape[:2], query.shape[-1] ** -0.5
    query, key, value, bias = (part.flatten(0, 1) for part in (query, key, value, bias))
    weights = torch.baddbmm(bias, query, key.mT, alpha=scale).softmax(dim=-1)
    return torch.unflatten(torch.bmm(drop(weights, dropout), value), 0, leading)


def drop(x: Tensor, share: float) -> Tensor:
    """Drop out; on a CPU a random number serves four elements, as drawing one for each takes longer than to attend.

    The share is rounded to a multiple of 2⁻¹⁶, and the scale with it.
    """
    if not share or not x.is_cpu:
        return F.dropout(x, share)
    dropped = min(round(share * 2**16), 2**16 - 1)
    draws = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    kept = draws.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - 2**15
    return x * kept.to(x.dtype).mul_(2**16 / (2**16 - dropped))


class ClassToken(nn.Module):
    """Every jet's class token before it has seen the jet."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.empty(width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.trunc_normal_(self.token, std=0.02)

    def forward(self, jets: int) -> Tensor:
        """Return the token of every jet, (B, C)."""
        return self.token.expand(jets, -1)


def _weaver_pair_layer(match: re.Match[str]) -> str:
    """Count layers as weaver-core does, in whose sequence activations have places of their own."""
    return f"pair_embed.embed.{3 * int(match[2]) + (1 if match[1] == 'linears' else 2)}."


@register("part")
class ParticleTransformer(WeaverTagger):
    """Tag jets by attention with pairwise interactions.

    Invariant by construction under permutations of the particles and under padding, and under rotations about the
    beam that leave impact parameters as they are: none of its features changes.

    Parameters
    ----------
    classes
        Names of the classes, in the order of the logits.
    options
        Fields of :class:`ParticleTransformerConfig`.

    Raises
    ------
    ConfigError
        An option does not make a network.

    Examples
    --------
    >>> model = ParticleTransformer(("QCD", "Tbqq"), features="kin", embedding=(16,), pairs=(8,), blocks=1, heads=2)
    >>> p4 = torch.tensor([[[5.0, 3.0, 0.0, 4.0]]])
    >>> model(JetBatch(p4, torch.ones(1, 1, dtype=bool), torch.zeros(1, 1, 10), p4[:, 0])).shape
    torch.Size([1, 2])
    """

    Config: ClassVar[type[Any]] = ParticleTransformerConfig

    def __init__(self, classes: Sequence[str] = CLASSES, **options: Any) -> None:
        super().__init__(classes, **options)
        config = self.config
        self.compute_features, names = FEATURE_SETS[config.features]
        width = config.embedding[-1]
        self.embedding = Embedding(len(names), config.embedding, statistics=config.statistics)
        self.interactions = Interactions(config.pairs, config.heads, last_activation=config.pair_activation)
        self.blocks = nn.ModuleList(
            AttentionBlock(config, gain=1 / math.sqrt(2 * depth), dropout=config.dropout)
            for depth in range(1, config.blocks + 1)
        )
        self.class_token = ClassToken(width)
        self.class_blocks = nn.ModuleList(
            ClassAttentionBlock(config, gain=1.0, dropout=0.0) for _ in range(config.class_blocks)
        )
        self.pool = nn.LayerNorm(width)
        self.head = Linear(width, len(self.classes))

    def forward(self, jets: JetBatch) -> Tensor:
        """Compute the logits (B, classes) of B jets."""
        packing = pack(jets.mask)
        x = self.embedding(self.compute_features(jets).to(self.head.weight.dtype), packing)
        biases = self.interactions.biases(packing.rows(jets.p4), packing)
        for block in self.blocks:
            x = block(x, packing, biases)
        token = self.class_token(len(jets))
        for block in self.class_blocks:
            token = block(token, x, packing, jets.mask)
        logits: Tensor = self.head(self.pool(token))
        return logits

    weaver_names: ClassVar[WeaverNames] = (
        (r"^interactions\.(linears|norms)\.(\d+)\.", _weaver_pair_layer),
        (r"^interactions\.norm\.", "pair_embed.embed.0."),
        (r"^embedding\.norm\.", "embed.input_bn."),
        (r"^embedding\.mlp\.", "embed.embed."),
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
    weaver_marks = ("cls_token", "cls_blocks.", "pair_embed.", "blocks.0.attn.")
    weaver_output = "fc.0.weight"
    weaver_unsaid: ClassVar[Mapping[str, Any]] = {
        **dict.fromkeys(("features", "pair_activation")),
        "activation": "gelu",
        "remove_self_pair": False,
        "pair_input_type": "pp",
    }
    weaver_more: ClassVar[Mapping[str, str]] = {
        ".fc1_g.": "gated layers, as of weaver-core's versions 2 and 3",
        "fc.0.0.": "hidden layers before the logits (fc_params)",
        "pair_embed.fts_embed.": "pair features that are stored (pair_extra_dim)",
        "conv_embed.": "an embedding by convolutions (use_conv_embed)",
        ".c_mask": "scales of the interactions (scale_attn_mask)",
        ".ls1.": "scales of layers (layer_scale_init_values)",
    }

    @classmethod
    def weaver_options(cls, theirs: Mapping[str, Tensor]) -> dict[str, Any]:
        """Find all sizes; of weaver-core's version 1, without further layers before the logits.

        When trained on, the network takes its statistics as weaver-core does.
        """
        embedding = _channels(theirs, "embed.embed")
        *pairs, heads = _channels(theirs, "pair_embed.embed") or [0]
        features = feature_set(theirs.get("embed.input_bn.weight"), layers=len(embedding), of="layers of the embedding")
        return {
            "features": features,
            "embedding": embedding,
            "pairs": pairs,
            "blocks": _count(theirs, "blocks"),
            "class_blocks": _count(theirs, "cls_blocks"),
            "heads": heads,
            "expansion": length(theirs.get("blocks.0.fc1.weight")) // embedding[-1] or 4,
            "statistics": "slots",
        }

    @staticmethod
    def weaver_shape(name: str, tensor: Tensor) -> Sequence[int]:
        """Add axes of length one: weaver-core convolves over pairs, and has a token for a batch of one jet."""
        if name == "cls_token":
            return (1, 1, *tensor.shape)
        return (*tensor.shape, 1) if name.startswith("pair_embed.") and tensor.ndim == 2 else tensor.shape


def _channels(theirs: Mapping[str, Tensor], prefix: str) -> list[int]:
    """Find the channels of the linear layers of a sequence in which every third module, from the second on, is one."""
    found: list[int] = []
    while (weight := theirs.get(f"{prefix}.{3 * len(found) + 1}.weight")) is not None:
        found.append(length(weight))
    return found


def _count(theirs: Mapping[str, Tensor], prefix: str) -> int:
    return len({name.split(".")[1] for name in theirs if name.startswith(f"{prefix}.")})
