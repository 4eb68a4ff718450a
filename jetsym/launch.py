"""How Lightning Fabric meets the processes that torchrun, SLURM's srun, or it itself has started."""

from __future__ import annotations

import os
from typing import Any

from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.lsf import LSFEnvironment
from lightning_fabric.plugins.environments.mpi import MPIEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch.distributed import DistError

from jetsym.errors import ConfigError
from jetsym.slurm import inside_job, step

__all__ = ["SlurmStep", "environment", "launched"]


class SlurmStep(ClusterEnvironment):
    """The processes of a step of a job of SLURM's, see :func:`jetsym.slurm.step`.

    Lightning's own takes what the job has asked for. It refuses ``--ntasks``, lets the steps of a job meet at one port,
    and takes those in a job named "interactive", as salloc names it, for processes that have nothing to do with each
    other.

    Raises
    ------
    ConfigError
        This is no process of such a step.
    """

    def __init__(self) -> None:
        found = step()
        if found is None:
            raise ConfigError("there is no step of SLURM's with several processes; start them by srun")
        self.step = found

    @staticmethod
    def detect() -> bool:
        """Tell whether srun has started this process as one of several."""
        return step() is not None

    @property
    def creates_processes_externally(self) -> bool:
        """Processes are srun's."""
        return True

    @property
    def main_address(self) -> str:
        """Where the processes meet."""
        return self.step.address

    @property
    def main_port(self) -> int:
        """The port where they meet."""
        return self.step.port

    def world_size(self) -> int:
        """Return the number of processes."""
        return self.step.tasks

    def set_world_size(self, size: int) -> None:
        """Change nothing: srun has said it."""

    def global_rank(self) -> int:
        """Return the number of this process."""
        return self.step.rank

    def set_global_rank(self, rank: int) -> None:
        """Change nothing: srun has said it."""

    def local_rank(self) -> int:
        """Return its number on its node."""
        return self.step.local_rank

    def node_rank(self) -> int:
        """Return the number of its node."""
        return self.step.node


def environment() -> ClusterEnvironment:
    """Return how the processes are found, in the order in which Lightning looks for it.

    Lightning itself warns wherever there is an ``srun`` that was not used, as on the machine where jobs are submitted.
    """
    if TorchElasticEnvironment.detect():  # also under SLURM, where srun has started torchrun
        return TorchElasticEnvironment()
    if inside_job():
        return SlurmStep() if SlurmStep.detect() else LightningEnvironment()
    for kind in (LSFEnvironment, MPIEnvironment):
        if kind.detect():
            return kind()
    return LightningEnvironment()


def launched(**options: Any) -> Fabric:
    """Return a Fabric, with these options of it, whose processes have met.

    Raises
    ------
    ConfigError
        They have not; such as where another program has the port.
    """
    plugins = [*options.pop("plugins", ()), environment()]
    fabric = Fabric(**options, plugins=plugins)
    try:
        fabric.launch()
    except DistError as error:  # an address is in use, is not known, or does not answer in time
        place = ":".join(os.environ.get(name, "?") for name in ("MASTER_ADDR", "MASTER_PORT"))
        raise ConfigError(
            f"the processes do not meet at {place} ({' '.join(str(error).split())[:160]}); name another place to "
            "all of them by MASTER_ADDR and MASTER_PORT"
        ) from error
    return fabric
