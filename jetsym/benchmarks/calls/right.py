"""A right call of every public function and class: one line each, from which wrong ones are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pkgutil import resolve_name
from typing import Any

import numpy as np
import torch

from jetsym.benchmarks.calls.world import QUICK, World, fields_of, quarter_turns
from jetsym.spectrum import O3, SO2, SO3, Irrep
from jetsym.symmetry import Symmetry

__all__ = ["CALLS", "NOT_RUN", "arguments_of"]

#: Name -> the arguments of a right call; ``self`` is what a method belongs to.
CALLS: dict[str, Callable[[World], Mapping[str, Any]]] = {
    "jetsym.SymmetryReport": lambda w: fields_of(w.report),
    "jetsym.SymmetryReport.plot": lambda w: {"self": w.report},
    "jetsym.SymmetryReport.is_seen": lambda w: {"self": w.report, "layer": w.report.layers[0]},
    "jetsym.SymmetryReport.save": lambda w: {"self": w.report, "path": w.new("report.json")},
    "jetsym.SymmetryReport.load": lambda w: {"path": w.report.save(w.new("report.json"))},
    "jetsym.SymmetryReport.from_dict": lambda w: {"data": w.report.to_dict()},
    "jetsym.attribute": lambda w: {
        "model": w.net,
        "inputs": w.points,
        "outputs": {"output": "scalar"},
        "l_max": 1,
        "limit": 3,
        "progress": False,
    },
    "jetsym.compare": lambda w: {"reports": [w.report, w.report], "names": ["a", "b"]},
    "jetsym.cost": lambda w: {
        "model": w.tagger,
        "inputs": w.jets,
        "n_rotations": 4,
        "limit": 3,
        "batch_size": 8,
        "progress": False,
    },
    "jetsym.diagnose": lambda w: {"report": w.report},
    "jetsym.layers": lambda w: {"model": w.net, "inputs": w.points},
    "jetsym.load": lambda w: {"path": w.run.path},
    "jetsym.moves": lambda w: {"kind": "vector"},
    "jetsym.parity": lambda w: {"model": w.tagger, "inputs": w.jets, "limit": 3},
    "jetsym.probe": lambda w: {"model": w.net, "inputs": w.points, **QUICK},
    "jetsym.safety": lambda w: {
        "model": w.tagger,
        "inputs": w.jets,
        "sizes": [0.1, 0.01],
        "draws": 1,
        "limit": 3,
        "progress": False,
    },
    "jetsym.train": lambda w: {
        "data": w.data,
        "out": w.new("run"),
        "progress": False,
        "options": {"width": 8, "blocks": 1, "heads": 2},
        "limit": 32,
        "batch_size": 32,
        "epochs": 1,
        "device": "cpu",
    },
    # jets
    "jetsym.jets.JetBatch": lambda w: fields_of(w.jets),
    "jetsym.jets.JetBatch.replace": lambda w: {"self": w.jets},
    "jetsym.jets.JetBatch.to": lambda w: {"self": w.jets, "target": torch.float64},
    "jetsym.jets.JetBatch.widen": lambda w: {"self": w.jets, "slots": 12},
    "jetsym.jets.JetBatch.concatenate": lambda w: {"batches": [w.jets, w.jets]},
    "jetsym.jets.JetBatch.from_ragged": lambda w: {"jets": w.jets.ragged()},
    "jetsym.jets.JetBatch.from_awkward": lambda w: {"jets": w.jets.to_awkward()},
    "jetsym.jets.read": lambda w: {"paths": w.data, "limit": 4},
    "jetsym.jets.sample": lambda w: {"limit": 4},
    "jetsym.jets.weaver": lambda w: {"network": "net.py", "data": "data.yaml", "weights": "net.pt"},
    "jetsym.jets.io.JetStream": lambda w: {"paths": w.data, "batch_size": 8},
    "jetsym.jets.models.PointNet": lambda w: {"classes": ("QCD", "Tbqq"), "width": 8, "heads": 2},
    "jetsym.jets.models.PointNetConfig": lambda w: {"width": 8, "heads": 2},
    "jetsym.jets.models.ParticleNet": lambda w: {},
    "jetsym.jets.models.ParticleNetConfig": lambda w: {},
    "jetsym.jets.models.ParticleTransformer": lambda w: {"embedding": (16,), "heads": 2, "blocks": 1},
    "jetsym.jets.models.ParticleTransformerConfig": lambda w: {},
    "jetsym.jets.models.DeepSets": lambda w: {},
    "jetsym.jets.models.DeepSetsConfig": lambda w: {},
    "jetsym.jets.models.LGATr": lambda w: {},
    "jetsym.jets.models.LGATrConfig": lambda w: {},
    "jetsym.jets.models.LLoCa": lambda w: {},
    "jetsym.jets.models.LLoCaConfig": lambda w: {},
    "jetsym.jets.models.Canonical": lambda w: {},
    "jetsym.jets.models.CanonicalConfig": lambda w: {},
    "jetsym.jets.models.build": lambda w: {"name": "pointnet", "width": 8, "heads": 2},
    "jetsym.jets.models.configure": lambda w: {"name": "pointnet", "width": 8, "heads": 2},
    "jetsym.jets.models.name_of": lambda w: {"model": w.tagger},
    "jetsym.jets.models.register": lambda w: {"name": "pointnet"},
    # atoms
    "jetsym.atoms.Check": lambda w: fields_of(w.check),
    "jetsym.atoms.Evaluation": lambda w: fields_of(w.evaluated),
    "jetsym.atoms.Graphs": lambda w: fields_of(w.graphs),
    "jetsym.atoms.Graphs.to": lambda w: {"self": w.graphs, "dtype": torch.float32},
    "jetsym.atoms.Graphs.moved": lambda w: {"self": w.graphs, "matrices": O3().sample(2, w.rng)},
    "jetsym.atoms.Model": lambda w: {"module": w.pet},
    "jetsym.atoms.Model.structures": lambda w: {"self": w.model, "frames": w.frames},
    "jetsym.atoms.PhononReport": lambda w: fields_of(w.phonons),
    "jetsym.atoms.RelaxationReport": lambda w: fields_of(w.relaxation),
    "jetsym.atoms.RelaxationReport.write_structures": lambda w: {"self": w.relaxation, "path": w.new("relaxed.xyz")},
    "jetsym.atoms.PhononReport.write_phonopy": lambda w: {"self": w.phonons, "path": w.new("phonopy.yaml")},
    "jetsym.atoms.Structures": lambda w: fields_of(w.model.structures(w.frames)),
    "jetsym.atoms.Structures.to": lambda w: {"self": w.model.structures(w.frames), "dtype": torch.float32},
    "jetsym.atoms.Structures.moved": lambda w: {
        "self": w.model.structures(w.frames),
        "matrices": O3().sample(2, w.rng),
    },
    "jetsym.atoms.SymmetrizedCalculator": lambda w: {"calculator": w.emt, "l_max": 1},
    "jetsym.atoms.add_uncertainty": lambda w: {
        "model": "model.ckpt",
        "data": "no frames.xyz",
        "out": str(w.new("uncertain")),
        "progress": False,
    },
    "jetsym.atoms.calculator": lambda w: {"model": w.emt},
    "jetsym.atoms.check": lambda w: {
        "model": w.emt,
        "frames": w.frames[:1],
        "l_max": 1,
        "n_rotations": 3,
        "limit": 1,
        "progress": False,
    },
    "jetsym.atoms.dynamics": lambda w: {
        "atoms": w.frames[0],
        "calculator": w.emt,
        "frames": ["plain"],
        "runs": 2,
        "steps": 2,
        "progress": False,
    },
    "jetsym.atoms.DynamicsReport": lambda w: fields_of(w.dynamics),
    "jetsym.atoms.RandomFrameCalculator": lambda w: {"calculator": w.emt},
    "jetsym.atoms.Watch": lambda w: fields_of(w.watch),
    "jetsym.atoms.export": lambda w: {"model": "model.ckpt", "out": w.new("model.pt")},
    "jetsym.atoms.evaluate": lambda w: {"calculator": w.emt, "frames": w.labelled, "turned": 1, "progress": False},
    "jetsym.atoms.finetune": lambda w: {
        "model": "model.ckpt",
        "data": "no frames.xyz",
        "out": str(w.new("tuned")),
        "progress": False,
    },
    "jetsym.atoms.graph": lambda w: {"frames": w.frames, "cutoff": 3.0},
    "jetsym.atoms.load": lambda w: {"path": "model.ckpt"},
    "jetsym.atoms.over_training": lambda w: {"run": "run", "inputs": w.frames},
    "jetsym.atoms.phonons": lambda w: {
        "atoms": _copper(),
        "calculator": w.emt,
        "supercell": 1,
        "path": "GX",
        "points": 3,
        "mesh": 2.0,
        "progress": False,
    },
    "jetsym.atoms.pretrained": lambda w: {"name": "pet-mad"},
    "jetsym.atoms.read_frames": lambda w: {"path": w.structures_file},
    "jetsym.atoms.relax": lambda w: {
        "atoms": w.frames[1],
        "calculator": w.emt,
        "steps": 1,
        "fmax": 1.0,
        "progress": False,
    },
    "jetsym.atoms.train": lambda w: {
        "data": "no frames.xyz",
        "out": str(w.new("pet")),
        "epochs": 1,
        "progress": False,
    },
    "jetsym.atoms.uncertainty": lambda w: {"calculator": w.emt, "atoms": w.frames[0]},
    # spectrum
    "jetsym.spectrum.O3": lambda w: {},
    "jetsym.spectrum.O3.irreps": lambda w: {"self": O3(), "l_max": 1},
    "jetsym.spectrum.O3.sample": lambda w: {"self": O3(), "n": 2, "rng": w.rng},
    "jetsym.spectrum.SO2": lambda w: {"axis": "z"},
    "jetsym.spectrum.SO2.irreps": lambda w: {"self": SO2(), "l_max": 1},
    "jetsym.spectrum.SO2.quadrature": lambda w: {"self": SO2(), "l_max": 1},
    "jetsym.spectrum.SO2.rotations": lambda w: {"self": SO2(), "shape": (2, 3), "rng": w.rng},
    "jetsym.spectrum.SO2.sample": lambda w: {"self": SO2(), "n": 2, "rng": w.rng},
    "jetsym.spectrum.SO2.kernels": lambda w: {"self": SO2(), "l_max": 1, "rotations": SO2().sample(2, w.rng)},
    "jetsym.spectrum.SO3": lambda w: {},
    "jetsym.spectrum.SO3.irreps": lambda w: {"self": SO3(), "l_max": 1},
    "jetsym.spectrum.SO3.quadrature": lambda w: {"self": SO3(), "l_max": 1},
    "jetsym.spectrum.SO3.rotations": lambda w: {"self": SO3(), "shape": (2, 3), "rng": w.rng},
    "jetsym.spectrum.SO3.sample": lambda w: {"self": SO3(), "n": 2, "rng": w.rng},
    "jetsym.spectrum.SO3.kernels": lambda w: {"self": SO3(), "l_max": 1, "rotations": SO3().sample(2, w.rng)},
    "jetsym.spectrum.FeatureSketch": lambda w: {"features": 10, "width": 4, "rng": w.rng},
    "jetsym.spectrum.FiniteGroup": lambda w: {
        "name": "C4",
        "elements": quarter_turns(),
        "irreps": {"A": [1, 1, 1, 1], "B": [1, -1, 1, -1]},
    },
    "jetsym.spectrum.FiniteGroup.irreps": lambda w: {"self": w.c4, "l_max": 0},
    "jetsym.spectrum.FiniteGroup.quadrature": lambda w: {"self": w.c4, "l_max": 0},
    "jetsym.spectrum.FiniteGroup.sample": lambda w: {"self": w.c4, "n": 2, "rng": w.rng},
    "jetsym.spectrum.FiniteRule": lambda w: {"group": w.c4, "l_max": 0},
    "jetsym.spectrum.HeldOutElements": lambda w: {"rule": w.rule, "elements": SO3().rotations((4, 5), w.rng)},
    "jetsym.spectrum.Irrep": lambda w: {"lam": 1, "sigma": 1},
    "jetsym.spectrum.NamedIrrep": lambda w: {"lam": 2, "name": "E", "size": 2, "commuting": 2},
    "jetsym.spectrum.Quadrature": lambda w: fields_of(w.rule),
    "jetsym.spectrum.QuadratureEstimator": lambda w: {"rule": w.rule, "group": SO3()},
    "jetsym.spectrum.QuadratureEstimator.add": lambda w: {
        "self": w.quadrature(),
        "chunk": slice(0, len(w.rule)),
        "u_proper": w.rule.rotations @ np.ones((3, 1)),
    },
    "jetsym.spectrum.RandomEstimator": lambda w: {
        "group": O3(),
        "l_max": 1,
        "rotations": O3().rotations((5, 4), w.rng),
    },
    "jetsym.spectrum.RandomEstimator.add": lambda w: {
        "self": w.draws(),
        "chunk": slice(0, 4),
        "u_proper": np.ones((4, 5, 2)),
        "u_improper": np.ones((4, 5, 2)),
    },
    "jetsym.spectrum.Spectrum": lambda w: fields_of(w.filled().result()),
    "jetsym.spectrum.Window": lambda w: fields_of(w.window),
    "jetsym.spectrum.Window.polynomials_at": lambda w: {"self": w.window, "rapidity": np.zeros(3)},
    "jetsym.spectrum.Window.draw": lambda w: {"self": w.window, "shape": (2, 3), "rng": w.rng},
    "jetsym.spectrum.WindowEnergies": lambda w: fields_of(_energies(w)),
    "jetsym.spectrum.WindowEstimator": lambda w: {"window": w.window},
    "jetsym.spectrum.WindowEstimator.add": lambda w: {
        "self": w.windows(),
        "chunk": slice(0, len(w.window)),
        "responses": np.ones((len(w.window), 2, 1)),
    },
    "jetsym.spectrum.group_of": lambda w: {"symmetry": Symmetry("O3")},
    "jetsym.spectrum.rapidity_window": lambda w: {"distribution": "uniform", "width": 1.0, "n_max": 2},
    "jetsym.spectrum.rapidity_windows": lambda w: {"distribution": "normal", "widths": [0.1, 0.5], "n_max": 2},
    "jetsym.spectrum.read_irrep": lambda w: {"values": [1, 1]},
    "jetsym.spectrum.register_group": lambda w: {"group": w.c4},
    # plotting
    "jetsym.plotting.figure_of": lambda w: {"figure": _axes()},
    "jetsym.plotting.irrep_style": lambda w: {"irrep": Irrep(1, -1)},
    "jetsym.plotting.plot_bandwidths": lambda w: {"comparison": w.comparison},
    "jetsym.plotting.plot_boosts": lambda w: {"report": w.boosts},
    "jetsym.plotting.plot_comparison": lambda w: {"comparison": w.comparison},
    "jetsym.plotting.plot_confusion": lambda w: {"evaluation": w.evaluation},
    "jetsym.plotting.plot_depths": lambda w: {"comparison": w.comparison},
    "jetsym.plotting.plot_error_over_training": lambda w: {"history": w.history},
    "jetsym.plotting.plot_errors_by": lambda w: {"reports": {"a": w.report, "b": w.report}},
    "jetsym.plotting.plot_generators": lambda w: {"report": next(iter(w.lorentz.local.values()))},
    "jetsym.plotting.plot_invariant_share": lambda w: {"report": w.report},
    "jetsym.plotting.plot_layer_over_training": lambda w: {
        "history": w.history,
        "layer": w.history.layers[0],
    },
    "jetsym.plotting.plot_lorentz": lambda w: {"report": w.lorentz},
    "jetsym.plotting.plot_output_errors": lambda w: {"comparison": w.comparison},
    "jetsym.plotting.plot_over_training": lambda w: {"history": w.history},
    "jetsym.plotting.plot_pseudotensors": lambda w: {"comparison": w.comparison},
    "jetsym.plotting.plot_reliability": lambda w: {"evaluation": w.evaluation},
    "jetsym.plotting.plot_roc": lambda w: {"evaluation": w.evaluation},
    "jetsym.plotting.plot_safety": lambda w: {"safety": w.safety},
    "jetsym.plotting.plot_spectrum": lambda w: {"report": w.report},
    "jetsym.plotting.plot_watch": lambda w: {"watch": w.watch},
    "jetsym.plotting.plot_all_scores": lambda w: {"evaluation": w.evaluation},
    "jetsym.plotting.plot_losses": lambda w: {"run": w.run.path},
    "jetsym.plotting.plot_rejection_by_pt": lambda w: {"evaluation": w.evaluation},
    "jetsym.plotting.plot_rocs": lambda w: {"evaluations": {"a": w.evaluation, "b": w.evaluation}},
    "jetsym.plotting.plot_score_curve": lambda w: {"stability": w.stability},
    "jetsym.plotting.plot_scores": lambda w: {"evaluation": w.evaluation},
    "jetsym.plotting.plot_sculpting": lambda w: {"evaluation": w.evaluation},
    "jetsym.plotting.save_figure": lambda w: {"figure": _axes(), "path": w.new("figure.png")},
    # remedies
    "jetsym.remedies.CartesianHead": lambda w: {"kind": "vector", "features": 2},
    "jetsym.remedies.GeneratorPenalty": lambda w: {"generators": ("J_x",)},
    "jetsym.remedies.HarmonicFeatures": lambda w: {"lam": 2, "vectors": lambda positions: positions},
    "jetsym.remedies.Injected": lambda w: {"model": w.net, "layer": "0", "features": _harmonics()},
    "jetsym.remedies.InvariantFeatures": lambda w: {"vectors": lambda positions: positions},
    "jetsym.remedies.InvariantNetwork": lambda w: {"scalars": 2},
    "jetsym.remedies.Symmetrized": lambda w: {"model": w.net, "l_max": 1},
    "jetsym.remedies.TensorBasisHead": lambda w: {"lam": 1, "features": 2},
    "jetsym.remedies.TransformationPenalty": lambda w: {"positions": lambda x, generator: x},
    "jetsym.remedies.averaging_degree": lambda w: {"equivariance": w.report.equivariance["output"], "tolerance": 1.0},
    # training
    "jetsym.training.Moment": lambda w: {"step": 1, "model": w.tagger, "folder": w.folder, "loss": 0.5},
    "jetsym.training.Run": lambda w: fields_of(w.run),
    "jetsym.training.Run.model": lambda w: {"self": w.run},
    "jetsym.training.TrainConfig": lambda w: {"data": w.data},
    "jetsym.training.TrainConfig.from_dict": lambda w: {"values": {"data": w.data}},
    "jetsym.training.TrainConfig.differing": lambda w: {"self": w.config, "other": w.config},
    "jetsym.training.dry_run": lambda w: {"config": w.config},
    "jetsym.training.find_lr": lambda w: {"config": w.config, "steps": 10},
    "jetsym.training.load": lambda w: {"path": w.run.path},
    "jetsym.training.train": lambda w: CALLS["jetsym.train"](w),
    # testing
    "jetsym.testing.Assertions": lambda w: {"assertions": ()},
    "jetsym.testing.DomainContract": lambda w: {},
    "jetsym.testing.TaggerContract": lambda w: {},
    "jetsym.testing.assert_equivariant": lambda w: {
        "model": lambda x: (x**2).sum(-1),
        "inputs": w.points,
        "outputs": {"output": "scalar"},
        "limit": 3,
    },
    "jetsym.testing.degenerate_jets": lambda w: {},
    "jetsym.testing.known_modes": lambda w: {"powers": {0: 1.0, 2: 0.5}, "rng": w.rng},
    "jetsym.testing.known_spectrum": lambda w: {"powers": {Irrep(1, 1): 1.0}, "rng": w.rng},
    "jetsym.testing.random_jets": lambda w: {"n": 3},
    # repair
    "jetsym.repair.Repair": lambda w: fields_of(_repaired(w)),
    "jetsym.repair.Repair.save": lambda w: {"self": _repaired(w), "path": w.new("repair.yaml")},
    "jetsym.repair.Step": lambda w: {"changes": {}, "effect": "none"},
    "jetsym.repair.register": lambda w: {"word": "nothing", "runs": "jets"},
    "jetsym.repair.repair": lambda w: {"run": w.run.path, "finding": "leakage"},
    "jetsym.repair.words": lambda w: {"finding": "leakage", "runs": "jets"},
}

#: Right calls that need what is not at hand here, a network or a published model, or take long: only wrong ones are
#: made of them.
NOT_RUN = frozenset(
    {
        "jetsym.jets.weaver",
        "jetsym.atoms.add_uncertainty",
        "jetsym.atoms.export",
        "jetsym.atoms.finetune",
        "jetsym.atoms.load",
        "jetsym.atoms.over_training",
        "jetsym.atoms.pretrained",
        "jetsym.atoms.train",
    }
)


def arguments_of(name: str, world: World) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return a function, or the method of something, and the arguments of a right call."""
    arguments = dict(CALLS[name](world))
    if "self" in arguments:
        return getattr(arguments.pop("self"), name.rpartition(".")[2]), arguments
    return resolve_name(name), arguments


def _axes() -> Any:
    from matplotlib.figure import Figure

    return Figure().subplots()


def _copper() -> Any:
    from ase.build import bulk

    return bulk("Cu")


def _energies(world: World) -> Any:
    made = world.windows()
    made.add(slice(0, len(world.window)), np.ones((len(world.window), 2, 1)))
    return made.result()


def _harmonics() -> Any:
    from jetsym.remedies import HarmonicFeatures

    return HarmonicFeatures(2, lambda positions: positions)


def _repaired(world: World) -> Any:
    from jetsym.repair import repair

    return repair(world.run.path, finding="leakage")
