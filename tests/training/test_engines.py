"""The same command under each engine -> the weights and images of one process, bit for bit."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import launch
import psutil
import pytest
import tiny
import yaml
from samples import contents

EXAMPLES = Path(__file__).parents[2] / "examples"
SETTINGS = (
    "train.steps=12",
    "train.save_every_steps=5",
    "train.precision=float32",
    "watch.images=0",
)
MACHINE = {
    "NUM_NODES": "1",
    "NODE_RANK": "0",
    "NODE_IPS": "127.0.0.1",
    "NUM_GPUS_PER_NODE": "2",
}
pytestmark = pytest.mark.xdist_group("engines")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Arguments and final weights of a run of one process that divides the batch as two do;
    arguments and images of its samples."""
    place = tmp_path_factory.mktemp("alone")
    recipe = tiny.diffusion(*SETTINGS, "unet.dropout=0.2", "levels=by-loss")
    launch.finish(launch.train(place, recipe, tiny.stripes(), place / "run", "--micro-batch", "2"))
    words = ["train", str(place / "recipe.json"), "--data", str(place / "data.npz")]
    sample = ["sample", str(place / "run"), "--classes", "all:3"]
    launch.finish(launch.command(place, [*sample, "--device", "cpu", "--out", f"{place}/out"]))
    return Alone(words, weights(place / "run"), sample, contents(place / "out"))


class Alone(NamedTuple):
    train: list[str]
    weights: dict[str, bytes]
    sample: list[str]
    images: dict[str, bytes]


def weights(run):
    """The last checkpoint's weights, averages and moments."""
    files = launch.outcome(run).items()
    return {name: content for name, content in files if name.endswith(".safetensors")}


def start(place, *words, **variables):
    """Start a command, with the search paths that it needs."""
    paths = {"PYTHONPATH": [str(EXAMPLES), *sys.path], "PATH": [place, Path(sys.executable).parent]}
    paths["PATH"] += os.environ["PATH"].split(os.pathsep)
    own = {name: os.pathsep.join(map(str, folders)) for name, folders in paths.items()}
    with (place / "printed").open("ab") as printed:
        return psutil.Popen(
            [str(word) for word in words],
            cwd=place,
            env=os.environ | own | {"OMP_NUM_THREADS": "1"} | variables,
            stdout=printed,
            stderr=subprocess.STDOUT,
        )


def finish(place, *started):
    """Wait until processes succeed, and return their output."""
    for each in started:
        assert each.wait(timeout=launch.LONGEST_S) == 0, (place / "printed").read_text()
    return (place / "printed").read_text()


def until(condition, process):
    while not (value := condition()):
        assert process.poll() is None
        time.sleep(0.01)
    return value


@pytest.mark.launcher
def test_two_processes_are_one_that_divides_the_batch_as_they_do(alone, tmp_path):
    """Started by nobody's launcher; those of other tests by torchrun, Ray and submitit."""
    words = [*alone.train, "--device", "cpu", "--out", str(tmp_path / "run")]
    launch.finish(launch.command(tmp_path, words, processes=2))
    assert weights(tmp_path / "run") == alone.weights


@pytest.mark.launcher
def test_accelerate_launches_processes_that_train_the_same_weights(alone, tmp_path):
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    how = ("--multi_gpu", "--num_processes", 2, "--num_machines", 1, "--mixed_precision", "no")
    module = (sys.executable, "-m", "accelerate.commands.launch", *how, "--dynamo_backend", "no")
    words = (*alone.train, "--device", "cpu", "--out", "run")
    finish(tmp_path, start(tmp_path, *module, "-m", "adm", *words))
    assert weights(tmp_path / "run") == alone.weights


ON_RAY = """
import sys
import ray
from ray_sample import sample
from ray_train import train
ray.init(num_cpus=2)
train(2, sys.argv[1].split())
sample(2, sys.argv[2].split())
"""


@pytest.mark.launcher
def test_ray_s_workers_train_the_same_weights_and_its_tasks_sample_the_same_images(alone, tmp_path):
    pytest.importorskip("ray.train.torch", reason="ray[train] is not installed")
    words = (
        " ".join([*of, "--device", "cpu", "--out", str(tmp_path / name)])
        for name, of in (("run", alone.train[1:]), ("out", alone.sample[1:]))
    )
    finish(tmp_path, start(tmp_path, sys.executable, "-c", ON_RAY, *words))
    assert weights(tmp_path / "run") == alone.weights
    assert contents(tmp_path / "out") == alone.images


WAITING = launch.at_step(
    7,
    "open('waiting-' + os.environ['RANK'], 'w').close()\nwhile True:\n    time.sleep(0.01)",
)
ON_SLURM = f"""
import sys
from pathlib import Path
import slurm
class Waiting(slurm.Work):
    def __call__(self):
        Path("run/checkpoints").exists() or exec({WAITING!r}, {{}})
        super().__call__()
slurm.Work = Waiting
slurm.submit(1, 2, sys.argv[1:]).results()
"""


@pytest.mark.launcher
@pytest.mark.skipif(shutil.which("srun") is not None, reason="would queue a job of Slurm")
def test_a_job_of_submitit_that_is_preempted_ends_with_the_same_weights(alone, tmp_path):
    pytest.importorskip("submitit", reason="submitit is not installed")
    words = (*alone.train, "--device", "cpu", "--out", "run")
    job = start(tmp_path, sys.executable, "-c", ON_SLURM, *words)
    until((tmp_path / "waiting-0").exists, job)
    for task in job.children(recursive=True):
        if "submitit.core._submit" in task.cmdline():
            task.send_signal(signal.SIGUSR2)  # as Slurm
    finish(tmp_path, job)
    logs = "".join(path.read_text() for path in (tmp_path / "slurm-logs").glob("*_0_log.*"))
    assert "this job is preempted" in logs
    assert "continuing run from step" in logs
    assert weights(tmp_path / "run") == alone.weights


@pytest.mark.launcher
def test_a_task_of_an_array_that_is_preempted_is_queued_again(alone, tmp_path):
    queue = tmp_path / "scontrol"
    queue.write_text('#!/bin/bash\necho "$@" >> queued\n')
    queue.chmod(0o755)
    words = ("bash", EXAMPLES / "slurm-array.sh", *alone.sample[1:], "--device", "cpu")

    def task(number):
        own = {"SLURM_ARRAY_TASK_ID": f"{number}", "SLURM_ARRAY_TASK_COUNT": "2"}
        return start(tmp_path, *words, "--out", "out", SLURM_JOB_ID=f"7{number}", **own)

    work = tmp_path / "python"  # which would take long
    work.write_text("#!/bin/bash\necho > started\nexec sleep infinity\n")
    work.chmod(0o755)
    preempted = task(2)
    until((tmp_path / "started").exists, preempted)
    preempted.send_signal(signal.SIGUSR1)
    finish(tmp_path, preempted)
    work.unlink()
    assert (tmp_path / "queued").read_text() == "requeue 72\n"
    assert not (tmp_path / "out").exists()
    finish(tmp_path, task(1), task(2))
    assert contents(tmp_path / "out") == alone.images


@pytest.mark.launcher
def test_the_task_of_skypilot_trains_on_every_gpu_of_its_machine(alone, tmp_path):
    task = yaml.safe_load((EXAMPLES / "skypilot.yaml").read_text())
    fields = {"name", "workdir", "resources", "envs", "file_mounts", "setup", "run"}
    assert task.keys() == fields
    assert {task["envs"][name] for name in ("DATA", "RUNS")} == task["file_mounts"].keys()
    own = task["envs"] | {"RECIPE": alone.train[1], "DATA": alone.train[3], "RUNS": str(tmp_path)}
    own |= {f"SKYPILOT_{name}": value for name, value in MACHINE.items()}
    own |= {"OPTIONS": "--device cpu"}
    finish(tmp_path, start(tmp_path, "bash", "-e", "-c", task["run"], **own))
    assert weights(tmp_path / own["NAME"]) == alone.weights
