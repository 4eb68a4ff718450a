"""Atoms: metatrain's PET and other atomistic models under the probe, their training, and the files of structures.

The models come from metatrain; what is here loads them, moves structures with their neighbour lists, and reads what is
inside. Needs the extra ``atoms``: ``python -m pip install 'jetsym[atoms]'``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jetsym.atoms.calculators import calculator, uncertainty
    from jetsym.atoms.evaluation import Evaluation, evaluate
    from jetsym.atoms.finetuning import add_uncertainty, finetune
    from jetsym.atoms.frames import read_frames
    from jetsym.atoms.lattice_dynamics import phonons
    from jetsym.atoms.model import Model, load
    from jetsym.atoms.phonon_report import PhononReport
    from jetsym.atoms.published import pretrained
    from jetsym.atoms.relaxation import RelaxationReport, relax
    from jetsym.atoms.structures import Structures
    from jetsym.atoms.symmetrized import SymmetrizedCalculator
    from jetsym.atoms.training import train

__all__ = [
    "Evaluation",
    "Model",
    "PhononReport",
    "RelaxationReport",
    "Structures",
    "SymmetrizedCalculator",
    "add_uncertainty",
    "calculator",
    "evaluate",
    "finetune",
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
_LAZY = {
    "Evaluation": "jetsym.atoms.evaluation",
    "Model": "jetsym.atoms.model",
    "PhononReport": "jetsym.atoms.phonon_report",
    "RelaxationReport": "jetsym.atoms.relaxation",
    "Structures": "jetsym.atoms.structures",
    "SymmetrizedCalculator": "jetsym.atoms.symmetrized",
    "add_uncertainty": "jetsym.atoms.finetuning",
    "calculator": "jetsym.atoms.calculators",
    "evaluate": "jetsym.atoms.evaluation",
    "finetune": "jetsym.atoms.finetuning",
    "load": "jetsym.atoms.model",
    "over_training": "jetsym.training.history",
    "pretrained": "jetsym.atoms.published",
    "phonons": "jetsym.atoms.lattice_dynamics",
    "read_frames": "jetsym.atoms.frames",
    "relax": "jetsym.atoms.relaxation",
    "train": "jetsym.atoms.training",
    "uncertainty": "jetsym.atoms.calculators",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'jetsym.atoms' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
