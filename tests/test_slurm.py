"""What SLURM says of the processes of a step, and where Lightning lets them meet."""

from __future__ import annotations

import socket
import warnings
from datetime import timedelta

import pytest
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning_fabric.strategies import DDPStrategy
from lightning_fabric.utilities.rank_zero import rank_zero_only

from jetsym.errors import ConfigError
from jetsym.launch import SlurmStep, environment, launched
from jetsym.ranks import started
from jetsym.slurm import first_host, step
from jetsym.training.config import TrainConfig
from jetsym.training.engine import make_fabric

#: What the last of four processes of the second step of a job on two nodes finds, where the job has room for six.
STEP = {
    "SLURM_JOB_ID": "7012345",
    "SLURM_JOB_NAME": "interactive",
    "SLURM_NTASKS": "6",
    "SLURM_NNODES": "3",
    "SLURM_STEP_ID": "1",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
}


@pytest.fixture
def setting(monkeypatch):
    """``setting(variables, **changes)``: variables of the environment, for the time of a test."""

    def change(variables, **changes):
        for name, value in (variables | changes).items():
            monkeypatch.setenv(name, value)

    for name in (*STEP, "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(rank_zero_only, "rank", 0)  # Lightning sets it for the whole process
    return change


def test_the_step_counts_and_not_the_job(setting):
    setting(STEP)
    assert started() == (2, 2)
    found = environment()
    assert isinstance(found, SlurmStep)
    assert (found.world_size(), found.global_rank(), found.local_rank(), found.node_rank()) == (4, 3, 1, 1)
    assert (found.main_address, found.creates_processes_externally) == ("gpu07", True)


def test_steps_and_jobs_meet_at_ports_of_their_own(setting):
    setting(STEP)
    ports = []
    for job in (7012345, 7012346, 7012347):
        for number in range(3):
            setting({}, SLURM_JOB_ID=str(job), SLURM_STEP_ID=str(number))
            ports.append(step().port)
    assert len(set(ports)) == 9
    assert all(10_000 <= port < 32_768 for port in ports)
    setting({}, MASTER_PORT="12345", MASTER_ADDR="other")
    assert (step().address, step().port) == ("other", 12345)


def test_a_script_or_a_shell_within_a_job_is_one_process(setting):
    setting({name: value for name, value in STEP.items() if "STEP" not in name}, SLURM_PROCID="0")
    assert step() is None
    assert started() == (1, 1)
    assert isinstance(environment(), LightningEnvironment)
    with pytest.raises(ConfigError, match="start them by srun"):
        SlurmStep()


def test_torchrun_that_srun_has_started_counts(setting):
    setting(STEP, TORCHELASTIC_RUN_ID="1", LOCAL_WORLD_SIZE="4", WORLD_SIZE="8")
    assert started() == (4, 2)
    assert isinstance(environment(), TorchElasticEnvironment)


def test_nodes_with_different_numbers_of_processes_are_refused(setting):
    setting(STEP, SLURM_STEP_TASKS_PER_NODE="3,1")
    with pytest.raises(ConfigError, match=r"4 processes on 2 nodes, 3,1 of them on each; .*--ntasks-per-node"):
        started()


def test_devices_are_as_many_as_processes_that_were_started(setting):
    setting(STEP)
    with pytest.raises(ConfigError, match="--devices is 4 and --num_nodes is 2, but .* 2 processes on each of 2 nodes"):
        make_fabric(TrainConfig("a.root", device="cpu", devices=4))


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("n1", "n1"), ("n[1,3]", "n1"), ("n[001-016]", "n001"), ("r[1-2]c[3-4],n7", "r1c3")],
)
def test_the_first_of_many_nodes(nodes, first):
    assert first_host(nodes) == first


def test_an_srun_that_is_not_used_is_no_warning(setting, tmp_path, monkeypatch):
    """As on the machine where jobs are submitted."""
    setting({})
    program = tmp_path / "srun"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.warns(UserWarning, match="`srun` command is available"):  # of Lightning, where it looks by itself
        Fabric(accelerator="cpu", devices=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert launched(accelerator="cpu", devices=1).world_size == 1


def test_a_place_where_processes_do_not_meet_is_named(setting):
    setting(STEP, MASTER_ADDR="no-such-host.invalid", MASTER_PORT="12345", SLURM_PROCID="1")
    strategy = DDPStrategy(timeout=timedelta(seconds=1))
    with pytest.raises(ConfigError, match=r"do not meet at no-such-host.invalid:12345 .*MASTER_PORT"):
        launched(accelerator="cpu", devices=2, num_nodes=2, strategy=strategy)


def test_a_busy_port_is_named(setting):
    """By the first process, which listens there."""
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        setting(STEP, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), SLURM_PROCID="0", SLURM_LOCALID="0")
        with pytest.raises(ConfigError, match=rf"do not meet at 127.0.0.1:{port} .*MASTER_PORT"):
            launched(accelerator="cpu", devices=2, num_nodes=2)
