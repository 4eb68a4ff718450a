"""Calculators of the main environment: energy, forces and stress as they are, averaged and in random frames."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("metatomic_ase", reason="the extra 'atoms' is not installed")
pytest.importorskip("spglib", reason="the extra 'atoms' is not installed")

from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from potentials.table import expect_every_frame

from jetsym.atoms import calculator
from jetsym.atoms.packages import quiet
from jetsym.atoms.workflows.calculators import exported

pytestmark = pytest.mark.filterwarnings("ignore")  # metatomic's, of the stress of molecules
NAMES = {"emt": "EMT", "lj": "Lennard-Jones", "jetsym": "jetsym.atoms.calculator", "metatomic": "metatomic's"}
NAMES |= {"direct": "metatomic's, non-conservative"}


@pytest.fixture(scope="module")
def file(make_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("frames") / "model.ckpt"
    targets = {"energy": "energy", "non_conservative_force": {"cartesian": {"rank": 1}}}
    targets |= {"non_conservative_stress": {"cartesian": {"rank": 2}}}
    torch.save(make_model(targets, gradients=("positions", "strain")).get_checkpoint(), path)
    return path


def made(name, file):
    if name == "emt":
        return EMT()
    if name == "lj":
        return LennardJones(sigma=2.3, epsilon=0.1, rc=5.0, smooth=True)
    if name == "jetsym":
        return calculator(file)
    with quiet():
        return pytest.importorskip("metatomic_ase").MetatomicCalculator(
            exported(file, dtype="float64")[0], device="cpu", non_conservative=name == "direct"
        )


SLOW = ("metatomic", "direct")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in NAMES])
def test_every_frame(name, file):
    with quiet():
        expect_every_frame(made(name, file), NAMES[name])


@pytest.mark.slow  # an export is compiled
def test_every_frame_of_upet(file):
    upet = pytest.importorskip("upet.ase")
    with quiet():
        potential = upet.UPETCalculator(checkpoint_path=str(file), device="cpu", dtype=torch.float64)
        expect_every_frame(potential, "upet's")
