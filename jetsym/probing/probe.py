"""``jetsym.probe``: from a model to a report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

import jetsym
from jetsym import domains
from jetsym.errors import ProbeError
from jetsym.probing import resolution
from jetsym.probing.baseline import untrained_copy
from jetsym.probing.budget import within_memory
from jetsym.probing.capture import Record, capture, is_compiled, select_layers, untouched, unwrapped
from jetsym.probing.equivariance import combine, representation_of
from jetsym.probing.options import (
    AUTO,
    Axis,
    check,
    check_kinds,
    chosen_batch_size,
    group_of,
    orbit_of,
    whereabouts,
)
from jetsym.probing.orbit import Measurement, Orbit, Subject, measure, plan_passes
from jetsym.probing.report import SymmetryReport
from jetsym.probing.responder import Responder
from jetsym.probing.rounding import rounding_response
from jetsym.progress import progress_bar
from jetsym.spectrum import Spectrum
from jetsym.spectrum.representations import Kind, representation
from jetsym.spectrum.responses import rounding_floor

__all__ = ["probe"]

OWN_ACTION = "The inputs were moved by the caller's own action."


def probe(
    model: Any,
    inputs: Any = None,
    *,
    group: str = "O3",
    axis: Axis | None = None,
    action: Callable[[Any, Any], Any] | None = None,
    call: Callable[[Any, Any], Any] | None = None,
    layers: str | Sequence[str] = "auto",
    outputs: Mapping[str, Kind] | None = None,
    l_max: int | str = 4,
    tolerance: float = 0.01,
    method: str = "auto",
    n_rotations: int | None = None,
    limit: int = 64,
    seed: int = 0,
    device: str | None = None,
    batch_size: int | str = "auto",
    baseline: str | None = None,
    progress: bool = True,
) -> SymmetryReport:
    """Measure which symmetry a model has, layer by layer.

    Every input is evaluated along its orbit under the group. For every layer the power of the response is split over
    the irreps, B_λσ(x) = d_λ ‖∫ D^λσ(g)* u(g) dμ‖², and for every output, that should transform as ρ, the error of its
    equivariance, A² = ∫ ‖z − f̄‖² dμ with z(g) = ρ(g)⁻¹ f(g·x) and f̄ = ∫ z dμ (Domina, Abbott, Pegolo, Bigi,
    Ceriotti, arXiv:2603.24638).

    Parameters
    ----------
    model
        A torch module, the path of a run directory or checkpoint, or any callable that returns an array or a
        dictionary of arrays (only its outputs are then measured).
    inputs
        A :class:`~jetsym.jets.JetBatch`, paths of ROOT files, an array or a tuple of arrays, samples along the first
        axis; arrays (…, 3) move as vectors, (…, 4) as (E, px, py, pz). None takes the bundled jets.
    group
        "O3" (rotations and inversion), "SO3" (rotations) or "SO2" (rotations about an axis), acting on lab momenta. The
        irreps of SO(2) are the modes m.
    axis
        Of "SO2": "beam" (the default), which is "z", "x", "y", or three numbers.
    action
        ``action(inputs, matrices)`` moves inputs of another kind: matrices are numpy (n, 3, 3) or (n, samples, 3, 3),
        the result holds n · samples inputs, element by element.
    call
        ``call(model, inputs)`` says how to call a model that does not take the inputs as they are.
    layers
        "auto" (the children of the module), names or glob patterns as in ``model.named_modules()``; [] measures
        the outputs only.
    outputs
        Output name -> "logits" (invariant up to a shift common to all classes), "scalar", "pseudoscalar", "vector",
        "pseudovector" (…, 3), "rank2" (…, 3, 3), "four-vector" (…, 4) as (E, px, py, pz), or (λ, σ) for spherical
        tensors (…, 2λ+1) in the order m = −λ … λ of real harmonics, σ = −1 for pseudotensors. A single unnamed output
        takes the name given here. Default: logits for jets, scalar otherwise.
    l_max
        Largest λ (for "SO2", m) to report, or "auto": a few inputs are measured with rising l_max until the tail and
        the difference between two grids are below ``tolerance``; ``report.meta["resolution"]`` holds all steps, and
        whether they agreed in the end. The error spectrum of an output with irreps up to λ_α is exact up to
        l_max − λ_α by quadrature (see :class:`~jetsym.probing.equivariance.Equivariance`): add λ_α to have all of it.
    tolerance
        Of l_max="auto", as a fraction of power.
    method
        "quadrature" is exact for responses of bandwidth l_max (the rest shows in the tail, and in part aliases);
        "icosahedral" is a quadrature of 60 rotations for l_max ≤ 2; "random" is unbiased for any bandwidth and noisier.
        "auto" is quadrature, unless ``n_rotations`` is given.
    n_rotations
        Rotations per input of the random method (default 32).
    limit
        At most so many inputs.
    seed
        Of random rotations and of the untrained copy.
    device
        Where a torch module is evaluated; default where it is. The module is brought back afterwards.
    batch_size
        Evaluations per forward pass. "auto" starts from a size that is fast and halves it where memory does not
        suffice; ``report.meta["batch_size"]`` says what was used in the end.
    baseline
        "untrained" adds the same measurement of a freshly initialised copy of the module as ``report.baseline``.
    progress
        Show a progress bar on the standard error stream.

    Returns
    -------
    SymmetryReport

    Notes
    -----
    Memory above the forward pass does not grow with the number of rotations: the estimators hold coefficients, within
    ``jetsym.probing.budget.MEMORY_BUDGET``. Where those of one input need more, the layers, and the features of a large
    layer, are measured in several passes over its orbit: ``report.meta["passes"]``.

    Raises
    ------
    ProbeError
        An option, a layer name or an output that cannot be used; responses that are not finite.
    DataError
        Inputs that cannot be read or used.

    Examples
    --------
    A length is invariant, a component of a vector is not:

    >>> points = np.random.default_rng(0).normal(size=(8, 3))
    >>> report = probe(lambda x: {"length": (x**2).sum(-1), "height": x[:, 2]}, points, l_max=1, progress=False)
    >>> [f"{name} {item.relative:.3f}" for name, item in report.equivariance.items()]
    ['length 0.000', 'height 1.000']
    """
    check(
        method=method,
        l_max=l_max,
        n_rotations=n_rotations,
        limit=limit,
        seed=seed,
        baseline=baseline,
        device=device,
    )
    element = group_of(group, axis)
    model, notes = _ready(model, baseline)
    domain = domains.domain_of(inputs)
    kinds = domain.OUTPUTS if outputs is None else outputs
    exact = method != "random" and n_rotations is None
    check_kinds(kinds, None if l_max == AUTO or not exact else int(l_max))
    size = chosen_batch_size(batch_size, model, device)

    def orbit_for(l_max: int) -> Orbit:
        return orbit_of(
            element,
            method=method,
            l_max=l_max,
            n_rotations=n_rotations,
            batch_size=size,
            seed=seed,
            adaptive=batch_size == AUTO,
        )

    loaded = domain.load(inputs, limit=limit, model=model)
    options: dict[str, Any] = {
        "domain": domain,
        "layers": layers,
        "kinds": kinds,
        "call": call,
        "action": action,
        "device": device,
        "progress": progress,
        "notes": notes + (list(domain.NOTES) if action is None else [OWN_ACTION]),
    }
    found = None
    if l_max == AUTO:
        found = _settled(model, orbit_for, inputs=loaded, tolerance=tolerance, **options)
        l_max = found.l_max
    orbit = orbit_for(int(l_max))
    report = _report_on(model, "probing", inputs=loaded, orbit=orbit, **options)
    if found is not None:
        report = replace(report, meta={**report.meta, "resolution": found.to_dict()})
    if baseline is None:
        return report
    untrained = _report_on(untrained_copy(model, seed=seed), "untrained copy", inputs=loaded, orbit=orbit, **options)
    return replace(report, baseline=untrained)


def _ready(model: Any, baseline: str | None) -> tuple[Any, list[str]]:
    """The model to measure, loaded and without wrappers, and what is to be said about that."""
    if isinstance(model, (str, Path)):
        model = domains.load_model(model)
    if not callable(model):
        raise ProbeError(
            f"model is a {type(model).__name__}; expected a torch module, a callable, or the path of a run"
        )
    if not isinstance(model, nn.Module):
        if baseline:
            raise ProbeError("baseline='untrained' needs a torch module, whose layers can be initialised afresh")
        return model, []
    notes = []
    if is_compiled(model):
        notes.append("The model is compiled; it was evaluated without compilation, so that every layer is seen.")
    return unwrapped(model), notes


def _settled(
    model: Any,
    orbit_for: Callable[[int], Orbit],
    *,
    inputs: Any,
    tolerance: float,
    domain: domains.Domain,
    kinds: Mapping[str, Kind],
    **options: Any,
) -> resolution.Resolution:
    """The l_max that the first few inputs need."""
    if not 0 < tolerance < 1:
        raise ProbeError(f"tolerance is {tolerance}; expected a fraction of power between 0 and 1")
    some = domain.take(inputs, slice(0, resolution.INPUTS))

    def measured(l_max: int) -> SymmetryReport:
        title = f"l_max {l_max}"
        return _report_on(model, title, inputs=some, orbit=orbit_for(l_max), domain=domain, kinds=kinds, **options)

    largest = max([0, *(representation_of(kind).lam for kind in kinds.values())])
    steps = resolution.ladder(about_an_axis=orbit_for(largest).group.axis is not None, at_least=largest)
    return resolution.settle(measured, steps, tolerance=tolerance, inputs=domain.size(some))


def _report_on(
    model: Any,
    title: str,
    *,
    inputs: Any,
    domain: domains.Domain,
    orbit: Orbit,
    layers: str | Sequence[str],
    kinds: Mapping[str, Kind],
    call: Callable[[Any, Any], Any] | None,
    action: Callable[[Any, Any], Any] | None,
    device: str | None,
    progress: bool,
    notes: list[str],
) -> SymmetryReport:
    """One model on prepared inputs."""
    with ExitStack() as stack:
        if isinstance(model, nn.Module):
            modules = select_layers(model, layers)
            stack.enter_context(untouched(model, device))
            record = stack.enter_context(capture(modules))
            inputs = domain.place(inputs, **whereabouts(model))
        elif layers not in ("auto", []):
            raise ProbeError(
                f"layers={layers!r} of a {type(model).__name__}; only torch modules have layers: leave it out"
            )
        else:
            record = Record()
        respond = Responder(model, record, call=call, kinds=kinds)
        subject = Subject(domain, action or domain.move, respond)
        samples = domain.size(inputs)
        start = time.perf_counter()
        (rounding, plan), orbit = within_memory(
            orbit,
            lambda orbit: (
                rounding_response(subject, inputs, respond.kinds, seed=orbit.seed, batch_size=orbit.batch_size),
                plan_passes(subject, inputs, orbit, respond.kinds),
            ),
        )
        evaluations = len(plan.groups) * orbit.evaluations(samples)
        advance = stack.enter_context(progress_bar(title, evaluations, shown=progress))
        found = measure(subject, inputs, orbit, plan, respond.kinds, advance)
        seconds = time.perf_counter() - start
    meta = {
        "jetsym": jetsym.__version__,
        "model": type(model).__name__ if isinstance(model, nn.Module) else getattr(model, "__name__", "callable"),
        "group": orbit.group.name,
        "axis": None if orbit.group.axis is None else orbit.group.axis.tolist(),
        "frame": "lab",
        "method": "random" if orbit.rule is None else "quadrature",
        "l_max": orbit.l_max,
        "degree": None if orbit.rule is None else orbit.rule.degree,
        "n_rotations": orbit.n_rotations,
        "n_inputs": samples,
        "evaluations": evaluations,
        "passes": found.passes,
        "seconds": seconds,
        "batch_size": found.orbit.batch_size,
        "dtype": domain.dtype_name(inputs),
        "device": str(whereabouts(model)["device"]),
        "seed": orbit.seed,
        "notes": notes,
    }
    return _assemble(found, rounding, respond.kinds, meta)


def _assemble(
    found: Measurement, rounding: Mapping[str, float], kinds: Mapping[str, Kind], meta: dict[str, Any]
) -> SymmetryReport:
    """The report of a finished measurement."""
    spectra = {name: Spectrum.concatenate(parts) for name, parts in found.spectra.items()}
    floors = {name: max(item.noise_floor, rounding_floor(rounding[name])) for name, item in spectra.items()}
    items = list(spectra.values())
    return SymmetryReport(
        layers=tuple(spectra),
        irreps=items[0].irreps,
        fractions=np.stack([item.fractions for item in items]),
        stderr=np.stack([item.stderr for item in items]),
        norm=np.array([item.norm.mean() for item in items]),
        tail=np.array([item.tail for item in items]),
        tail_stderr=np.array([item.tail_stderr for item in items]),
        noise_floor=np.array([floors[name] for name in spectra]),
        equivariance={
            name: combine(kinds[name], parts, floors[name], exact_to=_error_exact_to(kinds[name], meta))
            for name, parts in found.errors.items()
        },
        meta=meta,
    )


def _error_exact_to(kind: Kind, meta: Mapping[str, Any]) -> int | None:
    """Up to which λ the error spectrum of an output of bandwidth l_max is exact: degree − (l_max + λ_α)."""
    if meta["degree"] is None:
        return None
    return int(min(meta["l_max"], meta["degree"] - meta["l_max"] - representation(kind).lam))
