"""Symmetry restored at inference: the average of a model over a group, with gradients and an uncertainty."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from array_api_compat import array_namespace, is_torch_array
from numpy.typing import NDArray
from torch import nn

from jetsym.arguments import above, at_least, checked
from jetsym.domains.base import Domain
from jetsym.domains.table import arguments_of, domain_with
from jetsym.errors import ConfigError, ProbeError, SpectrumError
from jetsym.probing.forward.outputs import declared_outputs
from jetsym.probing.forward.session import Responses, Session
from jetsym.probing.kinds import representation_of
from jetsym.probing.reports.equivariance import Equivariance
from jetsym.spectrum import Quadrature, group_of
from jetsym.spectrum.averaging import GroupAverage, group_average
from jetsym.spectrum.representations import Kind
from jetsym.spectrum.responses import as_like
from jetsym.symmetry import Axis, GroupName, Symmetry, group_names

__all__ = ["Symmetrized", "averaging_degree"]

Arrays = dict[str, Any]


class Symmetrized(nn.Module):
    """A model averaged over a group, f̄(x) = ∫ ρ(g)⁻¹ f(g·x) dμ: what is left transforms exactly as it should.

    It is called as the model is, and returns what the model does. Gradients flow through the average, so that forces
    are minus the gradient of an averaged energy; pieces of the orbit are then evaluated again on the way back, so that
    memory does not grow with the number of rotations. For measurements without gradients see
    :func:`jetsym.probing.measure.average.orbit_average`.

    Parameters
    ----------
    model
        A torch module, or any callable of what :func:`jetsym.probe` takes: jets, arrays, ….
    group, frame, axis, moves, action, call
        As for :func:`jetsym.probe`: "O3", "SO3" or "SO2". Keywords are what a dictionary is there.
    l_max
        The largest λ of the error spectrum that is to go, at most: z(g) = ρ(g)⁻¹ f(g·x) has the bandwidth of f plus λ
        of the output. :func:`averaging_degree` reads it off a report; :meth:`left_over` says what an average misses.
    rule
        "auto", "lebedev", "icosahedral", "random" or a quadrature: :func:`~jetsym.spectrum.averaging.group_average`.
    n_rotations, seed
        Number and seed of random rotations. They are the same in every call.
    outputs
        Output name -> what it is, such as {"forces": "vector"}. Outputs that are not named are averaged component by
        component, as scalars; so are those of jets, which are logits.
    batch_size
        Inputs per forward pass, of all elements together; "auto" for 512 on a CPU, 8192 on an accelerator.

    Raises
    ------
    JetsymError
        Options that do not go together, or an output that does not fit what it is said to be.

    Examples
    --------
    >>> model = lambda x: x * torch.tensor([1.0, 1.0, 1.3]) + torch.tensor([0.0, 0.0, 1.0])
    >>> symmetrized = Symmetrized(model, "O3", 2, outputs={"force": "vector"})
    >>> symmetrized(torch.tensor([[1.0, 2.0, 3.0]])).round(decimals=5)
    tensor([[1.1000, 2.2000, 3.3000]])
    """

    @checked(l_max=at_least(0), n_rotations=at_least(1), batch_size=at_least(1), seed=at_least(0))
    def __init__(
        self,
        model: Callable[..., Any],
        group: str = GroupName.O3,
        l_max: int = 4,
        *,
        rule: str | Quadrature = "auto",
        n_rotations: int | None = None,
        outputs: Mapping[str, Kind] | None = None,
        frame: str | None = None,
        axis: Axis | None = None,
        moves: Mapping[Any, Any] | None = None,
        action: Callable[[Any, Any], Any] | None = None,
        call: Callable[[Any, Any], Any] | None = None,
        batch_size: int | str = "auto",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.model = model
        self._symmetry = Symmetry.parse(group, frame, axis, error=ProbeError, groups=group_names(compact=True))
        self._options: dict[str, Any] = {
            "layers": [],
            "call": call,
            "action": action,
            "batch_size": batch_size,
            "seed": seed,
        }
        self._outputs, self._moves = outputs, moves
        for kind in (outputs or {}).values():
            representation_of(kind)
        element = group_of(self._symmetry)
        try:
            self.average: GroupAverage = group_average(element, l_max, rule=rule, n_rotations=n_rotations, seed=seed)
        except SpectrumError as error:
            raise ConfigError(str(error)) from error

    @property
    def probe_outputs(self) -> Mapping[str, Kind | None]:
        """What the model says of its outputs, of which these are averages."""
        return declared_outputs(self.model)

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        """Return the average f̄, as an array, or as a tuple or a dictionary of arrays where the model returns one."""
        mean, _, rebuild = self._sums(self._given(inputs, keywords), self.average.elements)
        return rebuild(mean)

    def with_std(self, *inputs: Any, **keywords: Any) -> tuple[Any, Any]:
        """Return the average f̄, and component by component the standard deviation of ρ(g)⁻¹ f(g·x) over the group.

        The standard deviation has no gradient. It says how far single predictions are from symmetric, √A² for
        invariant outputs: an uncertainty that costs nothing more.
        """
        mean, variance, rebuild = self._sums(self._given(inputs, keywords), self.average.elements)
        std = {name: array_namespace(array).sqrt(array) for name, array in variance.items()}
        return rebuild(mean), rebuild(std)

    def left_over(self, *inputs: Any, **keywords: Any) -> dict[str, float]:
        """Estimate what is left of relative A of every output: rounding, where the degree of the average suffices.

        An average that is not exact depends on where its elements start. It is taken again over the elements g h with a
        random h, ρ(h)⁻¹ f̄(h·x), which differs from f̄(x) by 2A² in the mean. It takes the evaluations of two calls.

        Examples
        --------
        >>> model = lambda x: x[:, 0] ** 6
        >>> points = torch.randn(64, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        >>> [Symmetrized(model, "O3", l_max).left_over(points)["output"] > 1e-3 for l_max in (2, 4, 6)]
        [True, True, False]
        """
        elements = self.average.elements
        turned = elements @ group_of(self._symmetry).sample(1, np.random.default_rng(self._options["seed"]))
        given = self._given(inputs, keywords)
        with torch.no_grad():
            mean, other = (self._sums(given, some)[0] for some in (elements, turned))
        result = {}
        for name, values in mean.items():
            xp = array_namespace(values)
            square, norm = (float(xp.sum(abs(part) ** 2)) for part in (values - other[name], values))
            result[name] = (square / 2 / norm) ** 0.5 if norm else 0.0
        return result

    def _given(self, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Return inputs as a probe takes them: one, a tuple, or a dictionary."""
        if keywords:
            return dict(zip(arguments_of(self.model), inputs, strict=False)) | keywords
        return inputs[0] if len(inputs) == 1 else inputs

    def _sums(self, given: Any, elements: NDArray[np.float64]) -> tuple[Arrays, Arrays, Callable[[Arrays], Any]]:
        """Return mean and variance of every output, and how to put outputs together as the model does."""
        domain = domain_with(given, self.model, moves=self._moves, **{k: self._options[k] for k in ("action", "call")})
        session = Session(self.model, domain, self._kinds(domain), **self._options)
        x, action = session.act(given, self._symmetry)
        for name, kind in session.kinds.items():
            if not action.on_outputs and representation_of(kind).lam:
                raise ConfigError(f"output {name!r} is a {kind!r}, but only invariants can be averaged: {action.note}")
        session.move = action.move
        size, n = max(1, session.evaluations // domain.size(x)), len(self.average.weights)
        chunks = [slice(start, start + size) for start in range(0, n, size)]
        first, mean, square = Arrays(), Arrays(), Arrays()

        def take(chunk: slice, responses: Responses, _: Responses) -> tuple[Arrays, Arrays]:
            z = self._turned_back(responses, elements[chunk], session.outputs)
            for name, values in z.items():
                first.setdefault(name, _detached(values[0]))
            return self._partial(z, first, chunk)

        again = len(chunks) > 1 and torch.is_grad_enabled()
        for sums in session.orbit(x, elements, chunks, take, again=again):
            for total, some in zip((mean, square), sums, strict=True):
                for name, value in some.items():
                    total[name] = total[name] + value if name in total else value
        variance = {name: abs(square[name] - _detached(mean[name]) ** 2) for name in mean}  # abs: of rounding errors
        return {name: first[name] + mean[name] for name in mean}, variance, session.as_returned

    def _kinds(self, domain: Domain) -> dict[str, Kind]:
        kinds = domain.prepare(self.model, self._outputs).outputs
        # Logits stay as they are, where a measurement takes their mean over classes off.
        return {name: "scalar" if kind == "logits" else kind for name, kind in kinds.items()}

    def _turned_back(self, responses: Arrays, elements: NDArray[np.float64], kinds: Mapping[str, Kind]) -> Arrays:
        """Apply ρ(g)⁻¹ to responses (elements, samples, …, *shape)."""
        result = {}
        for name, values in responses.items():
            rho = representation_of(kinds[name], group_of(self._symmetry))
            if rho.lam == 0 and all(block.sigma == 1 for block in rho.blocks):
                result[name] = values
                continue
            xp = array_namespace(values)
            matrices = as_like(rho.matrices(elements), values)
            flat = xp.reshape(values, (values.shape[0], -1, len(rho.basis)))
            result[name] = xp.reshape(xp.matmul(flat, matrices), values.shape)  # uᵀ ρ = (ρ⁻¹ u)ᵀ
        return result

    def _partial(self, z: Arrays, first: Arrays, chunk: slice) -> tuple[Arrays, Arrays]:
        """Return Σ w (z − z₀) and Σ w |z − z₀|²: nothing cancels where z hardly depends on g."""
        mean, square = Arrays(), Arrays()
        for name, values in z.items():
            xp = array_namespace(values)
            weights = self.average.weights[chunk].reshape(-1, *[1] * (values.ndim - 1))
            shifted = values - first[name]
            mean[name] = xp.sum(as_like(weights, shifted) * shifted, axis=0)
            square[name] = xp.sum(as_like(weights, shifted) * _detached(shifted) ** 2, axis=0)
        return mean, square


@checked(tolerance=above(0))
def averaging_degree(equivariance: Equivariance, *, tolerance: float = 1e-3) -> int:
    """Return the degree of averaging that an error spectrum asks for: the l_max of :class:`Symmetrized`.

    Parameters
    ----------
    equivariance
        What a report says about an output: ``report.equivariance[name]``.
    tolerance
        The part of A² that may be left beyond the degree.

    Returns
    -------
    The smallest L with Σ_{λ>L} B_λ[z] ≤ tolerance · A², including what is beyond the spectrum's own end.

    Raises
    ------
    ConfigError
        The spectrum ends too early to tell, or held-out elements show that the rule it comes from does not resolve A.
    """
    power: dict[int, float] = {}
    for name, value in equivariance.error_spectrum.items():
        numbered = re.fullmatch(r"\(?(?:m=|λ=)?(\d+)(?:,[+−-])?\)?", name)
        lam = int(numbered[1]) if numbered else 0  # an irrep of a finite group, all elements of which average exactly
        power[lam] = power.get(lam, 0.0) + value
    allowed = tolerance * equivariance.relative**2
    beyond = equivariance.error_tail
    if beyond > allowed:
        raise ConfigError(
            f"{beyond:.2g} of the squared error {equivariance.relative**2:.2g} is beyond λ = {max(power, default=0)}, "
            f"where the error spectrum ends; probe with a larger l_max, or allow a tolerance above {tolerance:g}"
        )
    for lam in sorted(power, reverse=True):
        beyond += power[lam]
        if beyond > allowed:
            return lam
    return 0


def _detached(array: Any) -> Any:
    return array.detach() if is_torch_array(array) else array
