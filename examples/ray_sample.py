"""Arguments of `adm sample` -> a sample folder, of which Ray's tasks make a part each.

    pip install ray
    python examples/ray_sample.py 16 imagenet256-guided --count 50000 --out /shared/out/50000

The first word is the number of parts, any that suits the cluster. A task that is lost starts again
on another node, with the batches that it has finished. --out must be on a disk that all nodes see.
"""

import os
import sys

import ray


def part(number: int, of: int, words: list[str], folder: str) -> None:
    """Make one share of the images; the last one that ends writes the folder."""
    os.chdir(folder)  # Ray starts a worker elsewhere
    from adm.app.cli import main

    try:
        main(["sample", *words, "--part", f"{number}/{of}"])
    except SystemExit as end:  # ends every command; Ray would take it for the end of a worker
        if end.code:
            raise RuntimeError(f"adm sample has failed with status {end.code}") from end


def sample(parts: int, words: list[str]) -> None:
    """Sample on the cluster that `ray.init` finds, or on this machine."""
    ray.init(ignore_reinit_error=True)
    gpus = 1 if "GPU" in ray.cluster_resources() else 0
    task = ray.remote(part).options(num_gpus=gpus, max_retries=20)
    ray.get([task.remote(number, parts, words, os.getcwd()) for number in range(1, parts + 1)])


if __name__ == "__main__":
    sample(int(sys.argv[1]), sys.argv[2:])
