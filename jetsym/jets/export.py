"""Taggers as ONNX graphs, for programs without torch: raw four-momenta in, logits out, features inside."""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from jetsym._version import __version__
from jetsym.errors import ConfigError, DataError, require
from jetsym.files import check_out, finished_file
from jetsym.jets.batch import JetBatch
from jetsym.jets.io.sample import sample
from jetsym.jets.models import Tagger
from jetsym.jets.models.padded import padded
from jetsym.jets.models.registry import name_of
from jetsym.jets.schema import SCALARS
from jetsym.jets.targets import refuse_target

__all__ = ["check_onnx", "export_onnx", "onnx_inputs"]

#: Largest difference of a logit that is allowed between onnxruntime and torch, in units of the largest logit or of one.
TOLERANCE = 1e-5

#: Name of a graph's input -> its axes after the jets, and what is in it.
INPUTS = {
    "p4": (("particles", 4), "(E, px, py, pz) of the particles in GeV, zero where padded"),
    "mask": (("particles",), "true for a real particle"),
    "scalars": (("particles", len(SCALARS)), f"{', '.join(SCALARS)}; d0, dz and errors in mm; zero where padded"),
    "jet_p4": ((4,), "(E, px, py, pz) of the jet's stored axis in GeV"),
}

#: Numbers of jets and of particles at most, with which the written graph is compared with torch.
CHECKS = ((20, 128), (7, 30), (1, 3))


class _Exported(nn.Module):
    """A tagger as a function of tensors, as ONNX knows no JetBatch."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, p4: Tensor, mask: Tensor, scalars: Tensor, jet_p4: Tensor) -> Tensor:
        logits: Tensor = self.model(JetBatch(p4, mask, scalars, jet_p4))
        return logits


def export_onnx(model: Tagger, path: str | Path, *, tolerance: float = TOLERANCE) -> Path:
    """Write a tagger as an ONNX graph for any numbers of jets and particles, and compare it with torch.

    The inputs are ``p4`` (jets, particles, 4), ``mask`` (jets, particles) bool, ``scalars`` (jets, particles, 10) and
    ``jet_p4`` (jets, 4), float32, as of :class:`~jetsym.jets.batch.JetBatch`; the output is ``logits`` (jets, classes).
    Features are computed in the graph. Its metadata are JSON texts by name: ``classes``, ``inputs``, ``scalars``,
    ``output``, ``max_particles`` (how many particles of a jet the tagger was trained on), ``model``, ``options`` and
    ``jetsym`` (the version).

    Parameters
    ----------
    model
        A tagger of jetsym; it is written in float32 and in evaluation mode.
    path
        A name that ends in ``.onnx``; a file of that name is replaced.
    tolerance
        Largest difference of a logit from torch's in onnxruntime, on the bundled jets, that is let pass; where logits
        are larger than one, in units of the largest, as float32 has no more digits to give.

    Raises
    ------
    ConfigError
        The tagger cannot be written as a graph, or the graph gives other logits than torch; or nothing can be written
        there.
    MissingDependencyError
        One of onnx, onnxscript and onnxruntime is not installed.
    """
    if Path(path).suffix != ".onnx":
        raise ConfigError(f"the graph is to be written to {str(path)!r}; expected a name that ends in .onnx")
    refuse_target(model, "a graph of logits")
    path = check_out(path)
    _import_onnx()
    name = type(model).__name__
    if model.no_graph:
        raise ConfigError(
            f"a {name} cannot be written as an ONNX graph: {model.no_graph}; export another tagger, or use it from "
            "Python"
        )
    facts = _metadata(model)
    program = _traced(_Exported(padded(model).cpu().float()).eval(), name)
    program.model.metadata_props.update(facts)
    with finished_file(path) as unfinished:
        program.save(unfinished, include_initializers=True)
        found = check_onnx(unfinished, model)
        if not found <= tolerance:
            raise ConfigError(
                f"the graph of this {name} gives logits that differ from torch's by {found:.2g} of the largest (or of "
                f"one); expected at most {tolerance:g}: it is not written (a larger tolerance would let it pass)"
            )
    return path


def check_onnx(path: str | Path, model: nn.Module) -> float:
    """Return the largest difference of a logit between a graph in onnxruntime and a tagger, on the bundled jets.

    Where logits are larger than one, it is in units of the largest.
    The tagger is taken in float32 and in evaluation mode. Several numbers of jets and particles are tried, with padding
    beyond the fullest jet.
    """
    session = _import_onnx().InferenceSession(Path(path).read_bytes(), providers=["CPUExecutionProvider"])
    known = {item.name for item in session.get_inputs()}
    reference, worst = copy.deepcopy(model).cpu().float().eval(), 0.0
    for jets, particles in CHECKS:
        batch = sample("test", limit=jets, max_particles=particles)
        batch = batch.widen(batch.max_particles + 5)
        with torch.inference_mode():
            expected = reference(batch).numpy()
        inputs = {name: tensor for name, tensor in onnx_inputs(batch).items() if name in known}
        difference = np.abs(session.run(None, inputs)[0] - expected)
        scale = max(1.0, float(np.abs(expected).max()))
        worst = max(worst, float(difference.max()) / scale if np.isfinite(difference).all() else np.inf)
    return worst


def onnx_inputs(jets: JetBatch) -> dict[str, Any]:
    """Return jets as the numpy arrays that :func:`export_onnx`'s graphs take.

    Raises
    ------
    DataError
        The jets have not all scalars.

    Examples
    --------
    >>> {name: array.shape for name, array in onnx_inputs(sample("test", limit=2, max_particles=5)).items()}
    {'p4': (2, 5, 4), 'mask': (2, 5), 'scalars': (2, 5, 10), 'jet_p4': (2, 4)}
    """
    if jets.scalar_names != SCALARS:
        raise DataError(f"the jets have the scalars {jets.scalar_names}; expected {SCALARS}")
    return {name: getattr(jets.to(torch.float32), name).numpy(force=True) for name in INPUTS}


def _traced(module: nn.Module, name: str) -> Any:
    """Trace a module to a graph with free numbers of jets and particles."""
    example = sample("test", limit=6, max_particles=20)
    jets, particles = torch.export.Dim("jets"), torch.export.Dim("particles")
    axes = {"jets": jets, "particles": particles}
    free = {
        name: {0: jets, **{place: axes[axis] for place, axis in enumerate(rest, start=1) if isinstance(axis, str)}}
        for name, (rest, _) in INPUTS.items()
    }
    inputs, hypot = tuple(getattr(example, name) for name in INPUTS), _hypot()
    # Other kernels of attention lay their results out in another way than the graph that their names are replaced by.
    with _quiet(), sdpa_kernel(SDPBackend.MATH):
        try:
            module(*inputs)  # once before: what packages keep from their first call must not be the tracer's
            return torch.onnx.export(
                module,
                inputs,
                dynamo=True,
                dynamic_shapes=free,
                input_names=list(INPUTS),
                output_names=["logits"],
                custom_translation_table={torch.ops.prims.hypot.default: hypot, torch.ops.aten.hypot.default: hypot},
                verbose=False,
            )
        except Exception as error:  # torch's exporter raises what it meets, of any kind
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            raise ConfigError(f"this {name} cannot be written as an ONNX graph: {reason}") from error


def _hypot() -> Any:
    """Write √(x² + y²) in ONNX's operations, which have none for it."""
    from onnxscript import opset18

    def hypot(x: Any, y: Any) -> Any:
        return opset18.Sqrt(opset18.Add(opset18.Mul(x, x), opset18.Mul(y, y)))

    return hypot


def _metadata(model: Tagger) -> dict[str, str]:
    facts = {
        "classes": model.classes,
        "inputs": {name: text for name, (_, text) in INPUTS.items()},
        "scalars": SCALARS,
        "output": "logits; their softmax gives the classes' probabilities",
        "max_particles": model.max_particles,
        "model": name_of(model),
        "options": asdict(model.config),
        "jetsym": __version__,
    }
    return {name: json.dumps(value, ensure_ascii=False) for name, value in facts.items()}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter from speaking of its own deprecations, unneeded packages and what it does not simplify."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _import_onnx() -> Any:
    """Import onnxruntime, if all of the extra is there."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        found = require(name, extra="onnx", purpose="writing ONNX graphs")
    return found
