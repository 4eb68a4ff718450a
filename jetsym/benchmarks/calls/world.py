"""What right calls take: jets and their files, a run, reports, structures and a potential, each made once and small."""

from __future__ import annotations

from dataclasses import fields
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from jetsym.jets import JetBatch, sample
from jetsym.jets.io.sample import sample_dir
from jetsym.jets.models import PointNet, Tagger
from jetsym.probing.measure.safety import safety
from jetsym.probing.probe import probe
from jetsym.probing.reports.comparison import compare
from jetsym.spectrum import O3, SO3, FiniteGroup, QuadratureEstimator, RandomEstimator, WindowEstimator, rapidity_window
from jetsym.training import Run, TrainConfig, train

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["World", "fields_of"]

#: A probe of few calls.
QUICK: dict[str, Any] = {"l_max": 1, "limit": 3, "batch_size": 64, "progress": False}


def fields_of(made: Any) -> dict[str, Any]:
    """Return the arguments that make a dataclass anew."""
    return {one.name: getattr(made, one.name) for one in fields(made) if one.init}


def quarter_turns() -> np.ndarray:
    """Return four turns about z, (4, 3, 3)."""
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    return np.stack([np.linalg.matrix_power(turn, k) for k in range(4)])


class World:
    """What right calls take.

    Parameters
    ----------
    folder
        Where files are made; an empty one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._places = count()

    def new(self, name: str) -> Path:
        """Return a path where nothing is."""
        return self.folder / f"{next(self._places)}-{name}"

    @property
    def rng(self) -> np.random.Generator:
        """Draws anew from the beginning."""
        return np.random.default_rng(0)

    @cached_property
    def data(self) -> str:
        """Files of jets."""
        return str(sample_dir() / "test")

    @cached_property
    def jets(self) -> JetBatch:
        """Some of the bundled jets."""
        return sample(limit=6, max_particles=8)

    @cached_property
    def tagger(self) -> Tagger:
        """An untrained tagger."""
        return PointNet(width=8, blocks=1, heads=2).eval()

    @cached_property
    def run(self) -> Run:
        """A run of one step."""
        options = {"width": 8, "blocks": 1, "heads": 2}
        plain: dict[str, Any] = {
            "device": "cpu",
            "limit": 32,
            "batch_size": 32,
            "epochs": 1,
            "progress": False,
            "max_particles": 8,
        }
        return train(self.data, self.new("run"), model="pointnet", options=options, **plain)

    @cached_property
    def config(self) -> TrainConfig:
        """The configuration of a training of two steps."""
        options = {"width": 8, "blocks": 1, "heads": 2}
        return TrainConfig(self.data, options=options, limit=32, batch_size=8, epochs=1, device="cpu")

    @cached_property
    def points(self) -> np.ndarray:
        """Vectors (5, 3)."""
        return self.rng.normal(size=(5, 3))

    @cached_property
    def net(self) -> torch.nn.Module:
        """A network of vectors."""
        return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.SiLU(), torch.nn.Linear(4, 1)).double()

    @cached_property
    def report(self) -> Any:
        """A report of layers and an output."""
        return probe(self.net, self.points, **QUICK)

    @cached_property
    def boosts(self) -> Any:
        """A report of boosts."""
        return probe(self.tagger, self.jets, group="boost", layers=[], widths=(0.1, 0.5), **QUICK)

    @cached_property
    def lorentz(self) -> Any:
        """A report of all that is said of jets."""
        return probe(self.tagger, self.jets, group="lorentz", layers=[], widths=(0.1, 0.5), **QUICK)

    @cached_property
    def comparison(self) -> Any:
        """A comparison of two reports."""
        return compare(self.report, self.report, names=["a", "b"])

    @cached_property
    def history(self) -> Any:
        """Spectra over a training of two steps."""
        from jetsym.probing.monitor import Monitor
        from jetsym.probing.reports.history import History

        folder = self.new("monitored")
        monitor = Monitor(folder, self.points, every=1)
        for step in range(2):
            monitor(self.net, step)
        return History.load(folder)

    @cached_property
    def safety(self) -> Any:
        """What soft and collinear particles change."""
        return safety(self.tagger, self.jets, draws=1, limit=3, progress=False)

    @cached_property
    def stability(self) -> Any:
        """How stable the tagger's decisions are, with curves."""
        from jetsym.jets.evaluation.stability import stability

        return stability(self.tagger, self.jets, draws=1, curves=True)

    @cached_property
    def evaluation(self) -> Any:
        """An evaluation of the tagger."""
        from jetsym.jets.evaluation.evaluate import evaluate

        return evaluate(self.run.model(), sample(limit=100, max_particles=8))

    @cached_property
    def c4(self) -> FiniteGroup:
        """Quarter turns about z."""
        turns = quarter_turns()
        return FiniteGroup("C4", turns, {"A": [1, 1, 1, 1], "B": [1, -1, 1, -1], "E": turns[:, :2, :2]})

    @cached_property
    def rule(self) -> Any:
        """A rule for λ ≤ 1."""
        return SO3().quadrature(1)

    @cached_property
    def window(self) -> Any:
        """A window of rapidity."""
        return rapidity_window("uniform", 1.0, 2)

    @cached_property
    def frames(self) -> list[Atoms]:
        """Structures."""
        from ase.build import bulk, molecule

        crystal = bulk("Cu", cubic=True)
        crystal.rattle(0.02, seed=0)
        return [molecule("CH3OH"), crystal]

    @cached_property
    def labelled(self) -> list[Atoms]:
        """Structures with energies and forces."""
        from ase.calculators.emt import EMT
        from ase.calculators.singlepoint import SinglePointCalculator

        found = []
        for frame in self.frames:
            one = frame.copy()
            one.calc = EMT()
            known = {"energy": one.get_potential_energy(), "forces": one.get_forces()}
            one.calc = SinglePointCalculator(one, **known)
            found.append(one)
        return found

    @cached_property
    def structures_file(self) -> str:
        """A file of structures with energies and forces."""
        from ase.io import write

        path = self.new("frames.xyz")
        write(path, self.labelled * 4)
        return str(path)

    @cached_property
    def emt(self) -> Any:
        """A potential."""
        from ase.calculators.emt import EMT

        return EMT()

    @cached_property
    def pet(self) -> Any:
        """A small untrained PET."""
        from jetsym.atoms.packages import quiet

        with quiet():
            from metatrain.utils.architectures import get_default_hypers, import_architecture
            from metatrain.utils.data import DatasetInfo
            from metatrain.utils.data.target_info import get_energy_target_info

            option: dict[str, Any] = {"quantity": "energy", "unit": "", "type": "energy", "sample_kind": "system"}
            option |= {"num_subtargets": 1, "description": ""}
            small = {"d_pet": 8, "d_node": 8, "d_head": 8, "d_feedforward": 8, "num_heads": 1}
            hypers = get_default_hypers("pet")["model"] | small
            info = DatasetInfo("Angstrom", [1, 6, 8, 29], {"energy": get_energy_target_info("energy", option)})
            return import_architecture("pet").__model__(hypers, info).to(torch.float64).eval()

    @cached_property
    def model(self) -> Any:
        """The same as a probe calls it."""
        from jetsym.atoms import Model

        return Model(self.pet)

    @cached_property
    def graphs(self) -> Any:
        """Structures as graphs."""
        from jetsym.atoms import graph

        return graph(self.frames, 3.0)

    @cached_property
    def check(self) -> Any:
        """A check of the potential."""
        from jetsym.atoms import check

        return check(self.emt, self.frames[:1], l_max=1, n_rotations=3, limit=1, progress=False)

    @cached_property
    def evaluated(self) -> Any:
        """An evaluation of the potential."""
        from jetsym.atoms import evaluate

        return evaluate(self.emt, self.labelled, turned=1, progress=False)

    @cached_property
    def dynamics(self) -> Any:
        """Two short runs of molecular dynamics."""
        from jetsym.atoms import dynamics

        return dynamics(self.frames[0], self.emt, frames=["plain"], runs=2, steps=2, progress=False)

    @cached_property
    def watch(self) -> Any:
        """The symmetry of a potential over a training, as it is kept."""
        from jetsym.atoms import Watch

        reports = tuple(self.history.reports)
        return Watch(reports, (), None, None, {}, {}, tuple(1.0 for _ in reports), {})

    @cached_property
    def relaxation(self) -> Any:
        """A relaxation of a crystal."""
        from jetsym.atoms import relax

        return relax(self.frames[1], self.emt, steps=1, fmax=1.0, progress=False)

    @cached_property
    def phonons(self) -> Any:
        """Phonons of a crystal."""
        from ase.build import bulk

        from jetsym.atoms import phonons

        return phonons(bulk("Cu"), self.emt, supercell=1, path="GX", points=3, mesh=2.0, progress=False)

    def quadrature(self) -> Any:
        """Return an estimator that knows nothing yet."""
        return QuadratureEstimator(self.rule, SO3())

    def filled(self) -> Any:
        """Return an estimator that has seen the rule."""
        made = self.quadrature()
        whole = slice(0, len(self.rule))
        made.add(whole, self.rule.rotations @ self.points[0][None, :, None])
        return made

    def draws(self) -> Any:
        """Return an estimator of random rotations of five inputs."""
        return RandomEstimator(O3(), 1, O3().rotations((5, 4), self.rng))

    def windows(self) -> Any:
        """Return an estimator of windows of rapidity."""
        return WindowEstimator(self.window)
