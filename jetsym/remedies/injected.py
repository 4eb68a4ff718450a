"""Features added at the embedding of a network: harmonics up to a starved λ, or invariants of pairs of particles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from jetsym.arguments import at_least, checked, having
from jetsym.errors import ConfigError, expect_at_least
from jetsym.probing.forward.layers import select_layers
from jetsym.probing.forward.outputs import declared_outputs
from jetsym.remedies.invariants import InvariantNetwork
from jetsym.spectrum.harmonics import bounded, solid_harmonics
from jetsym.spectrum.representations import Kind

__all__ = ["HarmonicFeatures", "Injected", "InvariantFeatures"]

#: ``take(inputs)``: what features are made of, from the inputs of a model.
Take = Callable[[Any], Tensor]


class HarmonicFeatures(nn.Module):
    """The solid harmonics S_1 … S_λ of a vector of every particle, shortened to v/√(1 + |v|²).

    A linear embedding of vectors holds λ = 1 only, so that a layer after it must first make λ = 2, 3, … by itself; with
    these it need not.

    Parameters
    ----------
    lam
        Largest λ ≥ 1.
    vectors
        ``vectors(inputs)``: (B, N, 3), zero where padded, such as
        ``lambda jets: cartesian_features(jets)[..., 6:9]`` for jets, where the substructure is.

    Attributes
    ----------
    width
        Number of features, λ(λ + 2).

    Examples
    --------
    >>> features = HarmonicFeatures(2, lambda positions: positions)
    >>> features.width, features(torch.randn(4, 5, 3)).shape
    (8, torch.Size([4, 5, 8]))
    """

    @checked(lam=at_least(1))
    def __init__(self, lam: int, vectors: Take) -> None:
        super().__init__()
        expect_at_least("lam", lam, 1)
        self.lam, self._vectors = lam, vectors
        self.width = lam * (lam + 2)

    def forward(self, inputs: Any) -> Tensor:
        """Return the harmonics (B, N, width)."""
        v = bounded(self._vectors(inputs))
        return torch.cat([solid_harmonics(lam, v) for lam in range(1, self.lam + 1)], dim=-1)


class InvariantFeatures(nn.Module):
    """The features of an :class:`InvariantNetwork` on the particles of the inputs: invariant channels.

    Parameters
    ----------
    vectors
        ``vectors(inputs)``: (B, N, 3) for pairs="distances", (B, N, 4) for pairs="minkowski", such as
        ``lambda jets: jets.p4``.
    mask
        ``mask(inputs)``: (B, N) bool; None where there is no padding.
    options
        Further options of :class:`InvariantNetwork`.
    """

    @checked()
    def __init__(self, vectors: Take, *, mask: Take | None = None, **options: Any) -> None:
        super().__init__()
        self._vectors, self._mask = vectors, mask
        self.network = InvariantNetwork(0, **options)
        self.width = self.network.embed.out_features

    def forward(self, inputs: Any) -> Tensor:
        """Return the invariant channels (B, N, width)."""
        vectors = self._vectors(inputs).to(self.network.embed.weight.dtype)
        return cast(
            "Tensor", self.network(vectors[..., :0], vectors, None if self._mask is None else self._mask(inputs))
        )


class Injected(nn.Module):
    """A model with further features of every particle added to what one of its layers returns.

    layer(…) + W features(inputs), with W linear and zero at first: the model starts as it was, and learns to use them.
    A probe reads the layers of the model, as ``model.embedding`` and so on, with what is added; ``features`` and
    ``mix`` if they are named.

    Parameters
    ----------
    model
        A torch module of one argument.
    layer
        The name of a layer, called once in a pass, that returns (B, N, C): the embedding.
    features
        :class:`HarmonicFeatures`, :class:`InvariantFeatures`, or any module of the inputs with a ``width``.
    channels
        C; None for that of the layer, if it is an ``nn.Linear``.

    Raises
    ------
    ConfigError
        C is not known.
    ProbeError
        There is no such layer.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(3, 16), nn.SiLU(), nn.Linear(16, 1))
    >>> injected = Injected(model, "0", HarmonicFeatures(2, lambda positions: positions))
    >>> x = torch.randn(4, 5, 3)
    >>> torch.equal(injected(x), model(x)), injected.mix.weight.shape
    (True, torch.Size([16, 8]))
    """

    #: The child whose layers a probe reads.
    probe_within: ClassVar[str] = "model"

    @checked(features=having("a module with a width", "width"), channels=at_least(1))
    def __init__(self, model: nn.Module, layer: str, features: Any, *, channels: int | None = None) -> None:
        super().__init__()
        (name, module), *others = select_layers(model, layer).items()
        if others:
            raise ConfigError(f"layer is {layer!r}, which are {1 + len(others)} layers; expected the name of one")
        channels = getattr(module, "out_features", None) if channels is None else channels
        if channels is None:
            raise ConfigError(
                f"layer {name!r} is a {type(module).__name__}, which does not say how many channels it returns; "
                "say so with channels=…"
            )
        self.model, self.features = model, features
        self.mix = nn.Linear(features.width, channels, bias=False)
        nn.init.zeros_(self.mix.weight)
        self._layer = name

    @property
    def probe_outputs(self) -> Mapping[str, Kind]:
        """What the model says of its outputs."""
        return declared_outputs(self.model)

    def forward(self, inputs: Any) -> Any:
        """Return what the model does, with the features added at the layer."""
        added = self.mix(self.features(inputs).to(self.mix.weight.dtype))
        # For one pass, and before other hooks: those of a probe then see the layer as later layers do.
        layer = self.model.get_submodule(self._layer)
        handle = layer.register_forward_hook(lambda module, arguments, output: output + added, prepend=True)
        try:
            return self.model(inputs)
        finally:
            handle.remove()
