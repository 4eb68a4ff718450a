"""What SLURM says of the processes that its ``srun`` has started: a step of a job.

All of it is in variables of the environment. Those of the *step* count: a job has several, each with processes of its
own, and a job's script by itself, or a shell within a job, is one process whatever the job has asked for.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from jetsym.errors import ConfigError

__all__ = ["Step", "first_host", "inside_job", "step"]

#: Ports at which processes meet: from the first, so many; systems give those from 32768 on to whoever connects.
_PORTS = 10_000, 20_000
#: Ports from one job to the next one, so that its steps have their own.
_STRIDE = 64


@dataclass(frozen=True)
class Step:
    """A step of a job, as one of its processes sees it.

    Parameters
    ----------
    tasks
        Number of its processes.
    nodes
        Number of its nodes, each with as many processes.
    rank
        Number of this process, from 0.
    local_rank
        Its number on its node.
    node
        The number of its node.
    address
        Where the processes meet: the first node, or ``MASTER_ADDR``.
    port
        A port there, of this step alone, or ``MASTER_PORT``.
    """

    tasks: int
    nodes: int
    rank: int
    local_rank: int
    node: int
    address: str
    port: int


def inside_job() -> bool:
    """Tell whether this process runs within a job of SLURM's, in a step or not."""
    return "SLURM_JOB_ID" in os.environ


def step() -> Step | None:
    """Return the step of two or more processes that this one belongs to; None if there is none.

    Raises
    ------
    ConfigError
        Its nodes have different numbers of processes.

    Examples
    --------
    >>> step() is None
    True
    """
    known = os.environ
    tasks, nodes = int(known.get("SLURM_STEP_NUM_TASKS", "1")), int(known.get("SLURM_STEP_NUM_NODES", "1"))
    if tasks == 1:
        return None
    per_node = known.get("SLURM_STEP_TASKS_PER_NODE", "")
    if tasks % nodes or "," in per_node:
        raise ConfigError(
            f"srun has started {tasks} processes on {nodes} nodes, {per_node} of them on each; expected as many on "
            "every node: give --nodes and --ntasks-per-node in place of --ntasks"
        )
    return Step(
        tasks=tasks,
        nodes=nodes,
        rank=int(known["SLURM_PROCID"]),
        local_rank=int(known["SLURM_LOCALID"]),
        node=int(known["SLURM_NODEID"]),
        address=known.get("MASTER_ADDR") or first_host(known.get("SLURM_STEP_NODELIST", "127.0.0.1")),
        port=int(known.get("MASTER_PORT") or _port(int(known["SLURM_JOB_ID"]), int(known["SLURM_STEP_ID"]))),
    )


def first_host(nodes: str) -> str:
    """Return the first of a list of nodes, as SLURM writes it.

    Examples
    --------
    >>> first_host("login"), first_host("rack[02-03,7]n[4,6-9],gpu[1-2]"), first_host("a1,b[1-2]")
    ('login', 'rack02n4', 'a1')
    """
    first = re.match(r"(?:\[[^\]]*\]|[^,\[])*", nodes)
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", first[0] if first else nodes)


def _port(job: int, number: int) -> int:
    """Return the port at which the processes of a step meet, which each of them finds by itself."""
    start, many = _PORTS
    return start + (_STRIDE * job + number) % many
