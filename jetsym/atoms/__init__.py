"""Atoms: metatrain's PET and other atomistic models under the probe, their training, and the files of structures.

The models come from metatrain; what is here loads them, moves structures with their neighbour lists, and reads what is
inside. Needs the extra ``atoms``: ``python -m pip install 'jetsym[atoms]'``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jetsym.lazy import attach

if TYPE_CHECKING:
    from jetsym.atoms.graphs import Graphs, graph
    from jetsym.atoms.model import Model, load
    from jetsym.atoms.published import pretrained
    from jetsym.atoms.read import read_frames
    from jetsym.atoms.structures import Structures
    from jetsym.atoms.training.finetune import add_uncertainty, finetune
    from jetsym.atoms.training.over_training import over_training
    from jetsym.atoms.training.train import train
    from jetsym.atoms.training.watch_report import Watch
    from jetsym.atoms.workflows.averaged_export import export
    from jetsym.atoms.workflows.calculators import calculator, uncertainty
    from jetsym.atoms.workflows.check import check
    from jetsym.atoms.workflows.check_report import Check
    from jetsym.atoms.workflows.dynamics_report import DynamicsReport, dynamics
    from jetsym.atoms.workflows.evaluation import evaluate
    from jetsym.atoms.workflows.evaluation_report import Evaluation
    from jetsym.atoms.workflows.phonon_report import PhononReport
    from jetsym.atoms.workflows.phonons import phonons
    from jetsym.atoms.workflows.random_frames import RandomFrameCalculator
    from jetsym.atoms.workflows.relaxation import RelaxationReport, relax
    from jetsym.atoms.workflows.symmetrized import SymmetrizedCalculator

__all__ = [
    "Check",
    "DynamicsReport",
    "Evaluation",
    "Graphs",
    "Model",
    "PhononReport",
    "RandomFrameCalculator",
    "RelaxationReport",
    "Structures",
    "SymmetrizedCalculator",
    "Watch",
    "add_uncertainty",
    "calculator",
    "check",
    "dynamics",
    "evaluate",
    "export",
    "finetune",
    "graph",
    "load",
    "over_training",
    "phonons",
    "pretrained",
    "read_frames",
    "relax",
    "train",
    "uncertainty",
]

# Imported when first used: nothing heavy comes with the package.
__getattr__, __dir__ = attach(
    __name__,
    __all__,
    {
        "Check": "jetsym.atoms.workflows.check_report",
        "DynamicsReport": "jetsym.atoms.workflows.dynamics_report",
        "Evaluation": "jetsym.atoms.workflows.evaluation_report",
        "Graphs": "jetsym.atoms.graphs",
        "Model": "jetsym.atoms.model",
        "PhononReport": "jetsym.atoms.workflows.phonon_report",
        "RandomFrameCalculator": "jetsym.atoms.workflows.random_frames",
        "RelaxationReport": "jetsym.atoms.workflows.relaxation",
        "Structures": "jetsym.atoms.structures",
        "SymmetrizedCalculator": "jetsym.atoms.workflows.symmetrized",
        "Watch": "jetsym.atoms.training.watch_report",
        "add_uncertainty": "jetsym.atoms.training.finetune",
        "calculator": "jetsym.atoms.workflows.calculators",
        "check": "jetsym.atoms.workflows.check",
        "dynamics": "jetsym.atoms.workflows.dynamics_report",
        "evaluate": "jetsym.atoms.workflows.evaluation",
        "export": "jetsym.atoms.workflows.averaged_export",
        "finetune": "jetsym.atoms.training.finetune",
        "graph": "jetsym.atoms.graphs",
        "load": "jetsym.atoms.model",
        "over_training": "jetsym.atoms.training.over_training",
        "pretrained": "jetsym.atoms.published",
        "phonons": "jetsym.atoms.workflows.phonons",
        "read_frames": "jetsym.atoms.read",
        "relax": "jetsym.atoms.workflows.relaxation",
        "train": "jetsym.atoms.training.train",
        "uncertainty": "jetsym.atoms.workflows.calculators",
    },
)
