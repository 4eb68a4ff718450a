"""Symmetry penalties: terms of the loss that grow with what a network's outputs make of a move they should not see.

Both are ``penalty(model, inputs, generator)``, a mean over the inputs with gradients, in the unit of the outputs
squared, and zero for an invariant model:

:class:`TransformationPenalty`
    compares two positions of each input, g₁·x and g₂·x. With both drawn from the Haar measure its expectation is the A²
    that a probe reports, as E ‖u₁ − u₂‖² = 2 ∫ ‖u − ū‖² dμ for independent draws.
:class:`GeneratorPenalty`
    takes the slopes ‖L_X f‖² along generators where the input lies, the local quantity of
    :mod:`jetsym.probing.measure.generators`,
    by central differences: torch's attention has no derivative of its forward-mode derivative.

Logits are centred over classes first, as a common shift predicts nothing. In training mode dropout makes the two
positions differ for an invariant model as well: the first penalty then counts this noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from jetsym.arguments import at_least, checked
from jetsym.domains.table import domain_of
from jetsym.errors import ConfigError, closest
from jetsym.probing.kinds import as_measured
from jetsym.spectrum.lorentz import GENERATORS

__all__ = ["GeneratorPenalty", "TransformationPenalty"]

#: What is penalised: outputs that should be invariant.
Invariant = Literal["logits", "scalar"]

#: Angle or rapidity of the central differences: rounding in float32 then adds 1e-8 of the output squared, the cubic
#: term of the output 1e-5 of its slope.
STEP = 2.0**-8


@checked()
@dataclass(frozen=True)
class TransformationPenalty:
    """½ ‖f(g₁·x) − f(g₂·x)‖², summed over outputs, mean over inputs.

    Parameters
    ----------
    positions
        ``positions(inputs, generator)``: twice as many inputs, each first in one position and then, in the second half,
        in another. They go through the model together, so that batch statistics do not tell the halves apart.
    kind
        "logits" or "scalar".

    Examples
    --------
    The sum of the squares does not see a reflection, the sum does:

    >>> mirrored = TransformationPenalty(lambda x, generator: torch.cat([x, -x]), kind="scalar")
    >>> points = torch.tensor([[1.0, 2.0, 0.0]])
    >>> mirrored(lambda x: (x**2).sum(-1), points), mirrored(lambda x: x.sum(-1), points)
    (tensor(0.), tensor(18.))
    """

    positions: Callable[[Any, torch.Generator | None], Any]
    kind: Invariant = "logits"

    def __call__(self, model: Callable[[Any], Tensor], inputs: Any, generator: torch.Generator | None = None) -> Tensor:
        """Return the mean penalty of some inputs."""
        first, second = _measured(model(self.positions(inputs, generator)), self.kind).chunk(2)
        return (first - second).square().sum(dim=1).mean() / 2


@checked(draws=at_least(1))
@dataclass(frozen=True)
class GeneratorPenalty:
    """Σ_X ‖L_X f‖² over some generators of the Lorentz group, summed over outputs, mean over inputs.

    Parameters
    ----------
    generators
        Names out of J_x, J_y, J_z (rotations) and K_x, K_y, K_z (boosts).
    axes
        "beam": x, y and the beam z; "jet": along each jet, see :func:`jetsym.jets.moves.generators.aligned_generators`.
    draws
        Directions per input and step: random combinations Σ a_X X with independent a of unit variance, whose mean
        ‖L f‖² is the sum over all X, exactly. None takes every generator.
    kind
        "logits" or "scalar".
    moves
        What of several arrays moves, by position or key, as for :func:`jetsym.probe`.

    Notes
    -----
    Two positions of ±2⁻⁸ (angle or rapidity) go through the model together. In 16 bits their difference is mostly
    rounding: train in 32.

    Raises
    ------
    ConfigError
        There is no such generator.

    Examples
    --------
    A height above a plane: J_x and J_y move it at the rate of the distance along the plane, and J_z does not.

    >>> p4 = torch.tensor([[5.0, 3.0, 0.0, 4.0]])
    >>> [round(float(GeneratorPenalty((name,), draws=None, kind="scalar")(lambda p: p[:, 3], p4)), 1)
    ...  for name in ("J_x", "J_y", "J_z", "K_z")]
    [0.0, 9.0, 0.0, 25.0]
    """

    generators: Sequence[str] = ("J_x", "J_y", "J_z")
    axes: Literal["beam", "jet"] = "beam"
    draws: int | None = 1
    kind: Invariant = "logits"
    moves: Mapping[Any, Any] | None = None
    _chosen: list[int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        known = list(GENERATORS)
        for name in self.generators:
            if name not in known:
                raise ConfigError(f"there is no generator {name!r}; {closest(name, known)}")
        if not self.generators:
            raise ConfigError(f"generators is {self.generators!r}; expected at least one of {', '.join(known)}")
        object.__setattr__(self, "_chosen", [known.index(name) for name in self.generators])

    def __call__(self, model: Callable[[Any], Tensor], inputs: Any, generator: torch.Generator | None = None) -> Tensor:
        """Return the mean penalty of some inputs."""
        domain = domain_of(inputs).with_moves(self.moves, ())
        matrices = torch.as_tensor(domain.generators(inputs, self.axes))[self._chosen]
        if self.draws is not None:
            matrices = _combinations(matrices, self.draws, domain.size(inputs), generator)
        moved = torch.linalg.matrix_exp(STEP * torch.cat([matrices, -matrices]))
        if moved.shape[1] == 1:  # the same for all inputs
            moved = moved[:, 0]
        ahead, back = _measured(model(domain.transform(inputs, moved)), self.kind).chunk(2)
        squares = ((ahead - back) / (2 * STEP)).square().sum(dim=1)
        return squares.sum() / (domain.size(inputs) * (self.draws or 1))


def _combinations(matrices: Tensor, draws: int, inputs: int, generator: torch.Generator | None) -> Tensor:
    """Return (draws, inputs, 4, 4) random combinations of (k, 1 or inputs, 4, 4) generators."""
    device = matrices.device if generator is None else generator.device
    shape = (draws, len(matrices), inputs)
    weights = torch.randn(shape, generator=generator, device=device, dtype=matrices.dtype).to(matrices.device)
    return torch.einsum("dkb,kbij->dbij", weights, matrices.expand(-1, inputs, 4, 4))


def _measured(outputs: Tensor, kind: Invariant) -> Tensor:
    """Return (inputs, outputs) in at least 32 bits, logits centred."""
    wide = outputs if outputs.dtype == torch.float64 else outputs.float()
    centred: Tensor = as_measured(wide, kind)
    return centred.reshape(len(centred), -1)
