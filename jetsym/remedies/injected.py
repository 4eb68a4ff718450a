"""Features added at the embedding of a network: harmonics up to a starved λ, or invariants of pairs of particles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from jetsym.arguments import at_least, checked, having
from jetsym.errors import ConfigError
from jetsym.probing.forward.layers import select_layers
from jetsym.probing.forward.outputs import declared_outputs
from jetsym.remedies.invariants import InvariantNetwork
from jetsym.spectrum.harmonics import bounded, solid_harmonics
from jetsym.spectrum.representations import Kind

__all__ = ["HarmonicFeatures", "Injected", "InvariantFeatures"]

#: ``take(inputs)``: what features are made of, from all that a model is given, by position and by name.
Take = Callable[..., Tensor]


class HarmonicFeatures(nn.Module):
    """The solid harmonics S_1 … S_λ of a vector of every particle or edge, shortened to v/√(1 + |v|²).

    A linear embedding of vectors holds λ = 1 only, so that a layer after it must first make λ = 2, 3, … by itself; with
    these it need not.

    Parameters
    ----------
    lam
        Largest λ ≥ 1.
    vectors
        ``vectors(inputs)``: (…, 3), zero where padded, such as
        ``lambda jets: cartesian_features(jets)[..., 6:9]`` for jets, where the substructure is. Of a model with several
        arguments it is given all of them: for one called with positions (N, 3) and pairs (2, E),
        ``lambda positions, pairs: positions[pairs[1]] - positions[pairs[0]]`` are the vectors (E, 3) of the edges.

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
        self.lam, self._vectors = lam, vectors
        self.width = lam * (lam + 2)

    def forward(self, *inputs: Any, **named: Any) -> Tensor:
        """Return the harmonics (…, width)."""
        v = bounded(self._vectors(*inputs, **named))
        return torch.cat([solid_harmonics(lam, v) for lam in range(1, self.lam + 1)], dim=-1)


class InvariantFeatures(nn.Module):
    """The features of an :class:`InvariantNetwork` on the particles of the inputs: invariant channels.

    Parameters
    ----------
    vectors
        ``vectors(inputs)``: (B, N, 3) for pairs="distances", (B, N, 4) for pairs="minkowski", such as
        ``lambda jets: jets.p4``; of a model with several arguments it is given all of them.
    mask
        ``mask(inputs)``, of the same: (B, N) bool; None where there is no padding.
    options
        Further options of :class:`InvariantNetwork`.
    """

    @checked()
    def __init__(self, vectors: Take, *, mask: Take | None = None, **options: Any) -> None:
        super().__init__()
        self._vectors, self._mask = vectors, mask
        self.network = InvariantNetwork(0, **options)
        self.width = self.network.embed.out_features

    def forward(self, *inputs: Any, **named: Any) -> Tensor:
        """Return the invariant channels (B, N, width)."""
        vectors = self._vectors(*inputs, **named).to(self.network.embed.weight.dtype)
        mask = None if self._mask is None else self._mask(*inputs, **named)
        return cast("Tensor", self.network(vectors[..., :0], vectors, mask))


class Injected(nn.Module):
    """A model with further features of every particle, atom or edge added to what one of its layers returns.

    layer(…) + W features(inputs), with W linear and zero at first: the model starts as it was, and learns to use them.
    A probe reads the layers of the model, as ``model.embedding`` and so on, with what is added; ``features`` and
    ``mix`` if they are named.

    Parameters
    ----------
    model
        A torch module. Of several arguments, the features are given all of them, in the way the model is called: those
        by position and those by name.
    layer
        The name of a layer, called once in a pass, that returns (…, C): an embedding of particles (B, N, C), of the
        atoms (atoms, C) or of the edges (edges, C) of a graph.
    features
        :class:`HarmonicFeatures`, :class:`InvariantFeatures`, or any module with a ``width`` that returns a row for
        each that the layer does, (…, width).
    channels
        C; None for that of the layer, if it is an ``nn.Linear`` or an ``nn.Embedding``.

    Raises
    ------
    ConfigError
        C is not known. In a pass: the layer is not called once, or what it returns has no row for each of the features.
    ProbeError
        There is no such layer.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(3, 16), nn.SiLU(), nn.Linear(16, 1))
    >>> injected = Injected(model, "0", HarmonicFeatures(2, lambda positions: positions))
    >>> x = torch.randn(4, 5, 3)
    >>> torch.equal(injected(x), model(x)), injected.mix.weight.shape
    (True, torch.Size([16, 8]))

    A network on graphs, with the harmonics of its edges:

    >>> class Graph(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.edge, self.read = nn.Linear(3, 8), nn.Linear(8, 1)
    ...     def forward(self, positions, pairs):
    ...         return self.read(torch.tanh(self.edge(positions[pairs[1]] - positions[pairs[0]]))).sum()
    >>> features = HarmonicFeatures(2, lambda positions, pairs: positions[pairs[1]] - positions[pairs[0]])
    >>> injected = Injected(Graph(), "edge", features)
    >>> injected(torch.randn(3, 3), torch.tensor([[0, 1, 2], [1, 2, 0]])).shape
    torch.Size([])
    """

    #: The child whose layers a probe reads.
    probe_within: ClassVar[str] = "model"

    @checked(features=having("a module with a width", "width"), channels=at_least(1))
    def __init__(self, model: nn.Module, layer: str, features: Any, *, channels: int | None = None) -> None:
        super().__init__()
        (name, module), *others = select_layers(model, layer).items()
        if others:
            raise ConfigError(f"layer is {layer!r}, which are {1 + len(others)} layers; expected the name of one")
        said = getattr(module, "out_features", getattr(module, "embedding_dim", None))
        channels = said if channels is None else channels
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
    def probe_outputs(self) -> Mapping[str, Kind | None]:
        """What the model says of its outputs."""
        return declared_outputs(self.model)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Return what the model does, with the features added at the layer."""
        added = self.mix(self.features(*inputs, **named).to(self.mix.weight.dtype))
        calls: list[Any] = []

        def add(module: nn.Module, arguments: Any, output: Any) -> Tensor:
            calls.append(module)
            return self._sum(output, added)

        # For one pass, and before other hooks: those of a probe then see the layer as later layers do.
        handle = self.model.get_submodule(self._layer).register_forward_hook(add, prepend=True)
        try:
            returned = self.model(*inputs, **named)
        finally:
            handle.remove()
        if len(calls) != 1:
            raise ConfigError(
                f"layer {self._layer!r} was called {len(calls)} times in a pass; expected a layer that is called once, "
                "as features are added to all that it returns"
            )
        return returned

    def _sum(self, output: Any, added: Tensor) -> Tensor:
        """Return what a layer returned and the features, row by row: broadcasting would give rows those of others."""
        if not isinstance(output, Tensor) or output.shape != added.shape:
            found = tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
            raise ConfigError(
                f"layer {self._layer!r} returned {found}, and the features are {tuple(added.shape)}; expected "
                "features with a row for each that the layer returns"
            )
        return output + added
