"""Jet taggers. Every model maps a :class:`~jetsym.jets.batch.JetBatch` to logits (B, classes).

Each has ``classes``, the names of its outputs, and ``config``, the dataclass of its options; both go into
checkpoints. Features are computed inside the model, so that a moved jet is seen as moved. A tagger registers itself,
see :mod:`jetsym.jets.models.registry`; those of jetsym do when this package is imported: a new one takes its file and
one line here.
"""

from __future__ import annotations

import jetsym.jets.checkpoint  # noqa: F401  what keeps the weights of taggers, and says so to them
from jetsym.jets.models.base import Tagger
from jetsym.jets.models.canonical import Canonical, CanonicalConfig
from jetsym.jets.models.deep_sets import DeepSets, DeepSetsConfig
from jetsym.jets.models.lloca_net import LLoCa, LLoCaConfig
from jetsym.jets.models.lorentz_gatr import LGATr, LGATrConfig
from jetsym.jets.models.particle_transformer import ParticleTransformer, ParticleTransformerConfig
from jetsym.jets.models.particlenet import ParticleNet, ParticleNetConfig
from jetsym.jets.models.pointnet import PointNet, PointNetConfig
from jetsym.jets.models.registry import MODELS, build, configure, name_of, register

__all__ = [
    "MODELS",
    "Canonical",
    "CanonicalConfig",
    "DeepSets",
    "DeepSetsConfig",
    "LGATr",
    "LGATrConfig",
    "LLoCa",
    "LLoCaConfig",
    "ParticleNet",
    "ParticleNetConfig",
    "ParticleTransformer",
    "ParticleTransformerConfig",
    "PointNet",
    "PointNetConfig",
    "Tagger",
    "build",
    "configure",
    "name_of",
    "register",
]
