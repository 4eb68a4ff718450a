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
from jetsym.errors import ProbeError, closest
from jetsym.probing import budget
from jetsym.probing.baseline import untrained_copy
from jetsym.probing.capture import Record, capture, is_compiled, select_layers, untouched, unwrapped
from jetsym.probing.equivariance import combine, representation_of
from jetsym.probing.orbit import Measurement, Orbit, Subject, measure, plan_passes, rounding_response, within_memory
from jetsym.probing.report import SymmetryReport
from jetsym.probing.responder import Responder
from jetsym.progress import progress_bar
from jetsym.spectrum import O3, SO3, Spectrum
from jetsym.spectrum.representations import Kind, representation
from jetsym.spectrum.responses import rounding_floor

__all__ = ["probe"]

GROUPS = {"SO3": SO3, "O3": O3}
METHODS = ("auto", "quadrature", "random")

#: Evaluations per forward pass where the caller leaves it open, on a CPU and on an accelerator.
BATCH_SIZE_CPU, BATCH_SIZE_ACCELERATOR = 512, 8192
OWN_ACTION = "The inputs were moved by the caller's own action."
#: Random rotations per input where the caller leaves it open.
RANDOM_ROTATIONS = 32


def probe(
    model: Any,
    inputs: Any = None,
    *,
    group: str = "O3",
    action: Callable[[Any, Any], Any] | None = None,
    call: Callable[[Any, Any], Any] | None = None,
    layers: str | Sequence[str] = "auto",
    outputs: Mapping[str, Kind] | None = None,
    l_max: int = 4,
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
        "O3" (rotations and inversion) or "SO3" (rotations), acting on lab momenta.
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
        Largest λ to report. The error spectrum of an output with irreps up to λ_α is exact up to l_max − λ_α by
        quadrature (see :class:`~jetsym.probing.equivariance.Equivariance`): add λ_α to have it up to the rest.
    method
        "quadrature" is exact for responses of bandwidth l_max (the rest shows in the tail, and in part aliases);
        "random" is unbiased for any bandwidth and noisier. "auto" is quadrature, unless ``n_rotations`` is given.
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
    _check(group=group, method=method, l_max=l_max, n_rotations=n_rotations, limit=limit, baseline=baseline)
    if isinstance(model, (str, Path)):
        model = domains.load_model(model)
    if not callable(model):
        raise ProbeError(
            f"model is a {type(model).__name__}; expected a torch module, a callable, or the path of a run"
        )
    if baseline and not isinstance(model, nn.Module):
        raise ProbeError("baseline='untrained' needs a torch module, whose layers can be initialised afresh")
    notes = []
    if isinstance(model, nn.Module):
        if is_compiled(model):
            notes.append("The model is compiled; it was evaluated without compilation, so that every layer is seen.")
        model = unwrapped(model)
    domain = domains.domain_of(inputs)
    orbit = _orbit(group, method, l_max, n_rotations, chosen_batch_size(batch_size, model, device), seed)
    orbit = replace(orbit, adaptive=batch_size == "auto", memory=budget.MEMORY_BUDGET)
    kinds = domain.OUTPUTS if outputs is None else outputs
    _check_kinds(kinds, orbit)
    options: dict[str, Any] = {
        "inputs": domain.load(inputs, limit=limit, model=model),
        "domain": domain,
        "orbit": orbit,
        "layers": layers,
        "kinds": kinds,
        "call": call,
        "action": action,
        "device": device,
        "progress": progress,
        "notes": notes + (list(domain.NOTES) if action is None else [OWN_ACTION]),
    }
    report = _report_on(model, "probing", **options)
    if baseline is None:
        return report
    return replace(report, baseline=_report_on(untrained_copy(model, seed=seed), "untrained copy", **options))


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
                rounding_response(subject, inputs, seed=orbit.seed, batch_size=orbit.batch_size),
                plan_passes(subject, inputs, orbit),
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
        "device": str(next(model.parameters()).device) if _has_parameters(model) else "cpu",
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


def _orbit(group: str, method: str, l_max: int, n_rotations: int | None, batch_size: int, seed: int) -> Orbit:
    element = GROUPS[group]()
    if method == "random" or (method == "auto" and n_rotations is not None):
        return Orbit(element, l_max, None, n_rotations or RANDOM_ROTATIONS, batch_size, seed)
    rule = element.quadrature(l_max)
    return Orbit(element, l_max, rule, len(rule), batch_size, seed)


def chosen_batch_size(wanted: int | str, model: Any, device: str | None) -> int:
    if wanted == "auto":
        on_cpu = str(device or whereabouts(model)["device"]).startswith("cpu")
        return BATCH_SIZE_CPU if on_cpu else BATCH_SIZE_ACCELERATOR
    if isinstance(wanted, str) or wanted < 1:
        raise ProbeError(f"batch_size is {wanted!r}; expected 'auto' or at least 1")
    return wanted


def _has_parameters(model: Any) -> bool:
    return isinstance(model, nn.Module) and next(model.parameters(), None) is not None


def whereabouts(model: Any) -> dict[str, Any]:
    """Device and dtype of a module's parameters; CPU and None where there are none."""
    if not _has_parameters(model):
        return {"device": "cpu", "dtype": None}
    parameter = next((p for p in model.parameters() if p.is_floating_point()), next(model.parameters()))
    return {"device": parameter.device, "dtype": parameter.dtype}


def _check(*, group: str, method: str, l_max: int, n_rotations: int | None, limit: int, baseline: str | None) -> None:
    """Refuse options that cannot be used before anything is read or run."""
    if group not in GROUPS:
        raise ProbeError(f"group is {group!r}; {closest(group, GROUPS)}")
    if method not in METHODS:
        raise ProbeError(f"method is {method!r}; {closest(method, METHODS)}")
    if l_max < 0:
        raise ProbeError(f"l_max is {l_max}; expected an integer ≥ 0")
    if method == "quadrature" and n_rotations is not None:
        raise ProbeError("n_rotations goes with method='random'; those of a quadrature follow from l_max")
    if n_rotations is not None and n_rotations < 3:
        raise ProbeError(f"n_rotations is {n_rotations}; expected at least 3")
    if limit < 1:
        raise ProbeError(f"limit is {limit}; expected at least 1")
    if baseline not in (None, "untrained"):
        raise ProbeError(f"baseline is {baseline!r}; expected None or 'untrained'")


def _check_kinds(kinds: Mapping[str, Kind], orbit: Orbit) -> None:
    """Refuse outputs whose own irreps a rule does not resolve: what it says about them would be wrong."""
    for name, kind in kinds.items():
        lam = representation_of(kind).lam
        if orbit.rule is not None and lam > orbit.l_max:
            raise ProbeError(
                f"output {name!r} is said to be {kind!r}, with λ up to {lam}, but l_max is {orbit.l_max}; "
                f"expected l_max of at least {lam}"
            )
