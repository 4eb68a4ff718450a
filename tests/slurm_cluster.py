"""A SLURM of two nodes, which are daemons on this machine, for as long as the block that asked for it.

    with started_cluster() as cluster:
        job = cluster.submit("job.sh")
        cluster.wait(job, "COMPLETED")

All that the daemons write, and the sockets that they listen to, is in a folder of its own and on free ports: several of
them run side by side, and neither /run nor /var is touched. Root is not needed: whoever starts them may submit jobs.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

#: Where daemons are that are not on the path of an ordinary user.
PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
DAEMONS = ("munged", "slurmctld", "slurmd")
PROGRAMS = ("mungekey", "sbatch", "squeue", "srun", "scancel", "scontrol", "sinfo")
#: Seconds that a credential of a job lives, and that a job which is queued again waits; 120 by default.
CREDENTIAL = 5
#: What the environment of a job must not have from one around it: the tests may themselves run in a job.
FOREIGN = ("SLURM", "SBATCH", "SRUN", "MASTER_", "TORCHELASTIC")

HOST = socket.gethostname().partition(".")[0]
#: The first node is where processes meet, so that its name has to be known.
NODES = (HOST, f"{HOST}-second")
#: Jobs in ``low`` and ``graced`` give way to those in ``high``: at once, or after some seconds in which they may end.
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={port}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire={credential}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
KillWait=60
MinJobAge=3600
MailProg=/bin/true
GresTypes=gpu
{nodes}
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE
PartitionName=graced Nodes=ALL PriorityTier=1 PreemptMode=REQUEUE GraceTime=60
PartitionName=high Nodes=ALL PriorityTier=2 PreemptMode=OFF
"""


class NoClusterError(Exception):
    """SLURM is not installed here, or its daemons do not start; says why."""


@dataclass(frozen=True)
class Cluster:
    """A running SLURM.

    Parameters
    ----------
    folder
        Its folder, where its logs are.
    environment
        Variables of the environment of those who use it.
    """

    folder: Path
    environment: dict[str, str]

    def run(self, *words: object, seconds: float = 180, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run a command of SLURM's, such as ``srun``."""
        return subprocess.run(
            [str(word) for word in words],
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
            env=self.environment | changes,
        )

    def submit(self, *words: object, **changes: str) -> str:
        """Submit a job by ``sbatch``, and return its number."""
        done = self.run("sbatch", "--parsable", *words, **changes)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def job(self, number: str) -> dict[str, str]:
        """Return what ``scontrol`` says of a job, such as its ``JobState``."""
        said = self.run("scontrol", "--oneliner", "show", "job", number).stdout
        return dict(word.split("=", 1) for word in said.split() if "=" in word)

    def processes(self, number: str) -> list[psutil.Process]:
        """Return the processes of the steps of a job, by their rank."""
        found = {}
        for one in _processes(self.folder):
            with _gone():
                known = one.environ()
                if known.get("SLURM_JOB_ID") == number and "SLURM_PROCID" in known and "python" in one.name():
                    found[int(known["SLURM_PROCID"])] = one
        return [found[rank] for rank in sorted(found)]

    def wait(self, number: str, *states: str, seconds: float = 180) -> dict[str, str]:
        """Wait until a job is in one of some states, and return what is said of it then."""
        until = time.monotonic() + seconds
        while True:
            job = self.job(number)
            if job.get("JobState") in states:
                return job
            assert time.monotonic() < until, f"job {number} is not {states} after {seconds} s: {job}"
            time.sleep(0.2)


@contextmanager
def started_cluster(programs: Path, **variables: str) -> Iterator[Cluster]:
    """Start SLURM's daemons for the time of a block, two processors a node, whatever the machine has.

    Jobs find the programs of a folder before others, and variables in their environment.

    Raises
    ------
    NoClusterError
        They are not there, or do not start.
    """
    missing = [name for name in (*DAEMONS, *PROGRAMS) if shutil.which(name, path=PATH) is None]
    if missing:
        raise NoClusterError(f"SLURM is not installed: there is no {', '.join(missing)}")
    with ExitStack() as stack:
        # Paths of sockets have at most 107 letters, which those of pytest's folders may exceed.
        folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        guard = [sys.executable, __file__, str(folder), str(os.getpid())]
        stack.enter_context(subprocess.Popen(guard, start_new_session=True))
        stack.callback(_end, folder)
        environment = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        path = os.pathsep.join((str(programs), PATH))
        environment |= {"PATH": path, "SLURM_CONF": str(folder / "slurm.conf"), **variables}
        cluster = Cluster(folder, environment)
        _start(cluster)
        yield cluster


def _start(cluster: Cluster) -> None:
    folder = cluster.folder
    port, *ports = _free_ports(1 + len(NODES))
    nodes = (
        f"NodeName={name} NodeHostname={HOST} NodeAddr=127.0.0.1 Port={its} CPUs=2 State=UNKNOWN"
        for name, its in zip(NODES, ports, strict=True)
    )
    known = {"folder": folder, "host": HOST, "user": getpass.getuser(), "port": port, "credential": CREDENTIAL}
    configuration = folder / "slurm.conf"
    configuration.write_text(CONFIGURATION.format(**known, nodes="\n".join(nodes)))
    for name in ("state", *(f"spool-{name}" for name in NODES)):
        (folder / name).mkdir()
    files = [f"--{name}-file={folder / 'munge'}.{name}" for name in ("key", "pid", "log", "seed")]
    _begin(cluster, "mungekey", "--create", f"--keyfile={folder / 'munge.key'}")
    _begin(cluster, "munged", "--force", f"--socket={folder / 'munge.socket'}", *files)
    _begin(cluster, "slurmctld", "-c", "-f", configuration)
    for name in NODES:
        _begin(cluster, "slurmd", "-c", "-f", configuration, "-N", name)
    until = time.monotonic() + 30
    while (found := cluster.run("sinfo", "--noheader", "--format=%t", "--partition=low").stdout.split()) != ["idle"]:
        if time.monotonic() > until:
            logs = (line for path in folder.glob("slurm*.log") for line in path.read_text().splitlines())
            said = " ".join(line for line in logs if "error" in line or "fatal" in line)
            raise NoClusterError(f"SLURM's nodes do not come up, but are {found or 'not known'}: {said[-600:]}")
        time.sleep(0.2)


def _begin(cluster: Cluster, *words: object) -> None:
    """Run a program that goes on by itself behind, or ends."""
    try:
        done = cluster.run(*words, seconds=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoClusterError(f"{words[0]} does not start: {error}") from error
    if done.returncode:
        raise NoClusterError(f"{words[0]} does not start: {' '.join(done.stderr.split())[-600:]}")


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _end(folder: Path) -> None:
    """End all processes of the cluster in a folder: its daemons, the steps of its jobs, and what these have started."""
    mine = _processes(folder)
    for one in mine:
        with _gone():
            one.send_signal(signal.SIGTERM if one.name().startswith(DAEMONS) else signal.SIGKILL)
    _, alive = psutil.wait_procs(mine, timeout=10)
    for one in {*alive, *_processes(folder)}:
        with _gone():
            one.kill()


def _processes(folder: Path) -> list[psutil.Process]:
    """Return the processes whose command line or environment names the folder."""
    found = []
    for one in psutil.process_iter():
        with _gone():
            if one.pid != os.getpid() and str(folder) in " ".join((*one.cmdline(), *one.environ().values())):
                found.append(one)
    return found


def guard(folder: Path, parent: int) -> None:
    """End the cluster when the process that has started it is gone, in whatever way; a program of its own."""
    while psutil.pid_exists(parent) and psutil.Process(parent).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.5)
    _end(folder)
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _gone() -> Iterator[None]:
    """Let a process be gone, or be another user's."""
    try:
        yield
    except (psutil.Error, OSError):
        return


if __name__ == "__main__":
    guard(Path(sys.argv[1]), int(sys.argv[2]))
