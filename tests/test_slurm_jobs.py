"""Jobs of a SLURM that runs: the file for sbatch that the documentation gives, preemption, steps that share inputs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from slurm_cluster import Cluster, NoClusterError, started_cluster

from jetsym.cli import main
from jetsym.jets import checkpoint
from jetsym.jets.evaluation.report import Evaluation
from jetsym.jets.io.sample import sample_dir
from jetsym.jets.models import PointNet
from jetsym.probing.reports.read import read_report

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "notebooks" / "docs" / "train.md"
#: The options of sbatch that make the documentation's job as small as the cluster, which has no GPU.
SMALL = ("--gpus-per-node=0", "--cpus-per-task=1", "--nodes=2", "--ntasks-per-node=1", "--time=10")
TRAINING = [
    *("train", "--data", str(sample_dir() / "train"), "--val", str(sample_dir() / "val"), "--limit", "200"),
    *("--device", "cpu", "--batch_size", "10", "--max_particles", "10", "--epochs", "2", "--checkpoint_every", "1"),
    *("--options.width", "8", "--options.blocks", "1", "--options.heads", "2", "--augmentation.group", "O3"),
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    """A SLURM whose jobs find ``jetsym`` as this test does; tests skip where there is none."""
    programs = tmp_path_factory.mktemp("bin")
    (programs / "jetsym").write_text(f'#!/bin/sh\nexec {sys.executable} -m jetsym.cli "$@"\n')
    (programs / "jetsym").chmod(0o755)
    try:
        with started_cluster(programs, PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1") as cluster:
            yield cluster
    except NoClusterError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def script(tmp_path_factory) -> Path:
    """The file for sbatch, as the documentation gives it."""
    (found,) = re.findall(r"^```bash\n(#!/bin/bash\n.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.M)
    path = tmp_path_factory.mktemp("documented") / "jetsym.sbatch"
    path.write_text(found)
    return path


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    """The run that two processes of torchrun make."""
    run = tmp_path_factory.mktemp("torchrun") / "run"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*torchrun, "-m", "jetsym.cli", *TRAINING, "--out", run],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return run


def same_weights(first: Path, second: Path) -> bool:
    """Whether two runs have ended with the same bits, those of the optimizer and of the best epoch included."""
    pairs = [[checkpoint.read(run / name)[1] for run in (first, second)] for name in (checkpoint.LAST, checkpoint.BEST)]
    return all(
        one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one) for one, other in pairs
    )


def test_tasks_of_one_node_train_as_torchrun_does(cluster, uninterrupted, tmp_path):
    """Also in a job that is called as salloc calls one, and by --ntasks, which Lightning's own environment refuses."""
    words = ["srun", "--job-name=interactive", "--nodes=1", "--ntasks=2", "jetsym", *TRAINING]
    done = cluster.run(*words, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert same_weights(tmp_path / "run", uninterrupted)
    assert {path.name for path in uninterrupted.iterdir()} == {path.name for path in (tmp_path / "run").iterdir()}


def began(cluster: Cluster, job: str, run: Path) -> None:
    """Wait until a training has saved a checkpoint, and let its processes stand still."""
    until = time.monotonic() + 120
    while not (run / checkpoint.LAST).is_file():
        assert time.monotonic() < until, cluster.job(job)
        time.sleep(0.05)
    ranks = cluster.processes(job)
    assert len(ranks) == 2
    for one in ranks:
        one.suspend()


@pytest.mark.parametrize("partition", ["low", "graced"])
def test_a_preempted_job_goes_on_to_the_bits_of_an_uninterrupted_one(
    cluster, script, uninterrupted, tmp_path, partition
):
    """It gives way to a job of a higher partition, at once or within a time of grace, and is queued again."""
    run, said = tmp_path / "run", tmp_path / "said.txt"
    words = [f"--partition={partition}", f"--output={said}", *SMALL, script, *TRAINING, "--out", run, "--resume"]
    job = cluster.submit(*words)
    began(cluster, job, run)
    steps = checkpoint.read(run / checkpoint.LAST)[0].progress["position"]["step"]
    higher = cluster.submit("--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=true")
    cluster.wait(higher, "COMPLETED")
    assert checkpoint.read(run / checkpoint.LAST)[0].progress["position"]["step"] >= steps
    ended = cluster.wait(job, "COMPLETED", "FAILED", "CANCELLED", "PREEMPTED")
    assert (ended["JobState"], ended["Restarts"]) == ("COMPLETED", "1"), said.read_text()
    told = said.read_text().count("asked to end (SIGTERM)")
    assert told <= 2  # by the first process, or by both
    assert told or partition == "low"  # where they are killed at once, they may not come to say it
    assert same_weights(run, uninterrupted)


def test_steps_of_one_job_share_their_inputs_side_by_side(cluster, tmp_path):
    """Two at once, each of two processes, which must not meet those of the other; with the numbers of one process."""
    model, data = tmp_path / "model.safetensors", sample_dir() / "test"
    torch.manual_seed(0)
    checkpoint.save(model, PointNet(width=8, blocks=1))
    probed = ["probe", model, "--group", "O3", "--l_max", "2", "--limit", "5", "--out"]
    evaluated = ["evaluate", model, data, "--limit", "600", "--batch_size", "100", "--out"]
    for words, name in ((probed, "probe-1.json"), (evaluated, "evaluate-1.json")):
        assert main([*map(str, words), str(tmp_path / name)]) == 0
    script = tmp_path / "job.sh"
    srun = "srun --overlap --nodes=2 --ntasks=2 jetsym"
    both = ((probed, "probe-2.json"), (evaluated, "evaluate-2.json"))
    lines = [f"{srun} {' '.join(map(str, words))} {tmp_path / name} & its+=($!)" for words, name in both]
    script.write_text("\n".join(["#!/bin/bash", *lines, 'for one in "${its[@]}"; do wait "$one" || exit 1; done\n']))
    said = tmp_path / "said.txt"
    job = cluster.submit("--nodes=2", "--ntasks-per-node=2", f"--output={said}", script)
    assert cluster.wait(job, "COMPLETED", "FAILED")["JobState"] == "COMPLETED", said.read_text()
    one, two = (read_report(tmp_path / f"probe-{ranks}.json") for ranks in (1, 2))
    assert (one.meta["ranks"], two.meta["ranks"]) == (1, 2)
    np.testing.assert_allclose(two.fractions, one.fractions, rtol=1e-4, atol=1e-7)
    for name, item in one.equivariance.items():
        assert two.equivariance[name].absolute == pytest.approx(item.absolute, rel=1e-4)
    found = [Evaluation.load(tmp_path / f"evaluate-{ranks}.json").to_dict() for ranks in (1, 2)]
    assert found[0] == found[1]


@pytest.fixture
def endless(cluster, tmp_path) -> dict[str, str]:
    """The path of a job whose ``jetsym`` goes on until it is asked to end, and then ends with status 143."""
    program = tmp_path / "jetsym"
    program.write_text("#!/bin/bash\ntrap 'kill $!; exit 143' TERM\nsleep 300 & wait\n")
    program.chmod(0o755)
    return {"PATH": f"{tmp_path}{os.pathsep}{cluster.environment['PATH']}"}


def test_a_job_whose_time_is_nearly_over_is_queued_again(cluster, script, endless):
    job = cluster.submit("--output=/dev/null", *SMALL, "--time=2", "--signal=TERM@120", script, "train", **endless)
    until = time.monotonic() + 90
    while cluster.job(job)["Restarts"] == "0":
        assert time.monotonic() < until, cluster.job(job)
        time.sleep(0.2)
    cluster.run("scancel", job)
    assert cluster.wait(job, "CANCELLED", "FAILED", "COMPLETED")["JobState"] == "CANCELLED"


def test_a_cancelled_job_is_not_queued_again(cluster, script, endless):
    job = cluster.submit("--output=/dev/null", *SMALL, script, "train", **endless)
    cluster.wait(job, "RUNNING")
    time.sleep(1)
    cluster.run("scancel", job)
    cluster.wait(job, "CANCELLED")
    time.sleep(2)
    ended = cluster.job(job)
    assert (ended["JobState"], ended["Restarts"]) == ("CANCELLED", "0")
