"""Arguments of `adm train` -> a run by the workers of a Ray cluster, one for each GPU.

    pip install "ray[train]"
    python examples/ray_train.py 16 64x64-diffusion --data /shared/imagenet --out /shared/runs/64

The first word is the number of workers, which have a CPU each on a cluster without GPUs. If one is
lost, Ray starts all of them again, and the run continues from its newest checkpoint. Paths are the
same on all nodes, which see one disk.
"""

import os
import sys
from pathlib import Path
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer


def work(config: dict[str, Any]) -> None:
    """Do the work of one process, of which Ray has set rank and address."""
    os.chdir(config["folder"])  # Ray starts a worker elsewhere
    from adm.app.cli import main

    try:
        main(["train", *config["words"]])
    except SystemExit as end:  # ends every command; Ray would report a failure
        if end.code:
            raise RuntimeError(f"adm train has failed with status {end.code}") from end


def train(workers: int, words: list[str]) -> None:
    """Train on the cluster that `ray.init` finds, or on this machine."""
    ray.init(ignore_reinit_error=True)
    gpus = "GPU" in ray.cluster_resources()
    out = Path(words[words.index("--out") + 1]).resolve()  # on a disk that all nodes see
    TorchTrainer(
        work,
        train_loop_config={"words": words, "folder": os.getcwd()},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpus),
        run_config=RunConfig(
            storage_path=str(out.parent / "ray"), failure_config=FailureConfig(max_failures=20)
        ),
    ).fit()


if __name__ == "__main__":
    train(int(sys.argv[1]), sys.argv[2:])
