"""Network's width -> how long a training step waits for a checkpoint: whole, and of shards.

    torchrun --nproc-per-node 2 benchmarks/checkpoints.py --out DISK
    torchrun --nproc-per-node 2 benchmarks/checkpoints.py --out DISK --channels 32 --rounds 5

It saves the state of the 64x64 recipe at another width: weights, an average and two moments,
sharded over the processes. The two forms take turns. A step waits until `save` or `start_saving`
returns. The table also has the time until the checkpoint is on the disk, and the rate of other work
meanwhile, which is that of matrix products in the same process.
"""

import argparse
import platform
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from adm import processes
from adm.processes import Devices
from adm.recipes import build, recipe
from adm.recipes.schema import override
from adm.training import checkpoint, sharded
from adm.training.checkpoint import Numbers
from adm.training.players import RunState

RECIPE = "64x64-diffusion"
PRODUCT = 512  # rows of the matrices that are multiplied meanwhile


class Cost(NamedTuple):
    """What a checkpoint costs: seconds until a step goes on, until it is on the disk; work left."""

    waited: float
    done: float
    rate: float  # products a second meanwhile, as a share of those without a checkpoint


def state_of(channels: int, devices: Devices) -> RunState:
    """Return the state of a run with sharded weights, after a step without a gradient."""
    chosen = override(recipe(RECIPE), [f"unet.channels={channels}"])
    players = build.players(chosen, build.networks(chosen), devices, True)
    for each in players.values():
        for parameter in each.network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        each.optimizer.step()
        each.optimizer.zero_grad(set_to_none=True)
    return RunState(players)


def products(until: Callable[[], bool]) -> float:
    """Multiply matrices until it is time; return the rate a second."""
    a, started, count = torch.ones(PRODUCT, PRODUCT), time.perf_counter(), 0
    while not until():
        a @ a
        count += 1
    return count / max(time.perf_counter() - started, 1e-9)


def after(seconds: float) -> Callable[[], bool]:
    end = time.perf_counter() + seconds
    return lambda: time.perf_counter() > end


def whole(run: Path, step: int, state: RunState, devices: Devices, idle: float) -> Cost:
    """Save a whole checkpoint, during which there is no other work."""
    started = time.perf_counter()
    checkpoint.save(run, Numbers(step, 1), state, {}, devices)
    waited = time.perf_counter() - started
    return Cost(waited, waited, 0.0)


def behind(
    run: Path, step: int, state: RunState, devices: Devices, idle: float, writer: sharded.Writer
) -> Cost:
    """Save a checkpoint of shards, and work meanwhile."""
    started = time.perf_counter()
    checkpoint.start_saving(run, Numbers(step, 1), state, {}, devices, writer, lambda: None)
    waited = time.perf_counter() - started
    following = writer.following
    assert following is not None
    rate = products(following.done)
    writer.wait()
    return Cost(waited, time.perf_counter() - started, rate / idle)


def cells(costs: list[Cost]) -> tuple[str, str, str]:
    waited, done = (
        f"{statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})"
        for each in ([cost.waited for cost in costs], [cost.done for cost in costs])
    )
    return waited, done, f"{statistics.median(cost.rate for cost in costs):.0%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="a folder on the disk to measure")
    parser.add_argument("--channels", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    devices = processes.join(torch.device("cpu"))
    state, run = state_of(args.channels, devices), args.out / "checkpoints-measured"
    copies = [t for tensors in checkpoint.files_of(state).values() for t in tensors.values()]
    size = sum(t.numel() * t.element_size() for t in copies)
    idle = products(after(2.0))
    costs: dict[str, list[Cost]] = {"whole": [], "shards": []}
    with sharded.Writer(devices) as writer:
        for number in range(args.rounds + 1):  # the first is a warm-up, which allocates
            for name, measured in costs.items():
                devices.gather(None)
                step = 2 * number + (name == "shards") + 1
                if name == "whole":
                    measured.append(whole(run, step, state, devices, idle))
                else:
                    measured.append(behind(run, step, state, devices, idle, writer))
                devices.once(lambda: shutil.rmtree(run))
    if devices.main:
        print(f"{size / 1e9:.2f} GB of state, {devices.world} processes, {platform.platform()}, ")
        print(f"PyTorch {torch.__version__}; the median of {args.rounds} (lowest to highest)\n")
        print("| | a step waits, s | on the disk after, s | other work meanwhile |")
        print("|---|---|---|---|")
        for name, measured in costs.items():
            print(f"| {name} | {' | '.join(cells(measured[1:]))} |")
    processes.leave()


if __name__ == "__main__":
    main()
    processes.end(0)
