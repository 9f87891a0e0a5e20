r"""Checkout of the released code -> table of what each switch of a GPU is worth, all in one run.

    python benchmarks/switches.py --released ~/guided-diffusion
    python benchmarks/switches.py --released ~/guided-diffusion --device cpu --shapes 28 \
        --batch-size 2 --rounds 3 --no-compile

A row is a step of training, or a call of the network in sampling, as this package takes it on the
device, with one switch changed; the last row is the released code in its own float16. The rows take
turns, so that whatever else slows the machine slows all of them. On another device than a GPU some
switches change nothing, or are left out.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import sampling
import steps
import torch
from peers import released_network
from torch.nn.attention import SDPBackend, sdpa_kernel
from training import describe

from adm.models.compiled import Compiled
from adm.networks import UNet, prepared, recompute
from adm.networks.encoder import Encoder
from adm.spec import SettingError
from adm.training import optimizers
from adm.training.batches import Batch

LAST = torch.channels_last
TOGETHER = 10  # calls that are issued before the first one is waited for
Context = Callable[[], AbstractContextManager[Any]]


class Row(NamedTuple):
    """A way to take a step, or to call the network.

    Attributes:
        make: returns the call; it runs in `around`, too.
        around: the switch, if it is one of torch's.
        times: calls that one makes.
    """

    make: Callable[[], Callable[[], object]]
    around: Context = nullcontext
    times: int = 1


@contextmanager
def turned(place: Any, name: str, value: object) -> Iterator[None]:
    """Set an attribute of torch for a while."""
    before = getattr(place, name)
    setattr(place, name, value)
    try:
        yield
    finally:
        setattr(place, name, before)


@contextmanager
def tf32(on: bool) -> Iterator[None]:
    """Round the inputs of float32 products and convolutions to 10 bits, or leave them."""
    backends = torch.backends
    with turned(backends.cuda.matmul, "allow_tf32", on), turned(backends.cudnn, "allow_tf32", on):
        yield


@contextmanager
def channels_last() -> Iterator[None]:
    """Lay features out with channels last in training, as on a CPU."""
    with patch.object(Encoder, "_in_fastest_layout", lambda _, x: x.contiguous(memory_format=LAST)):
        yield


ANYWHERE: dict[str, Context] = {
    "attention without flash": partial(sdpa_kernel, SDPBackend.MATH),
    "cuDNN tries its kernels": partial(turned, torch.backends.cudnn, "benchmark", True),
    "cuDNN deterministic": partial(turned, torch.backends.cudnn, "deterministic", True),
}


def training_rows(shape: steps.Shape, device: torch.device, released: Path) -> dict[str, Row]:
    """Return the ways to take a training step; each copies its batch to the device."""
    (batch,) = steps.batches(shape, 1, torch.device("cpu"))
    pinned = batch.pinned() if device.type == "cuda" else batch

    def row(
        step: Callable[[], steps.Step], source: Batch = pinned, around: Context = nullcontext
    ) -> Row:
        def make() -> Callable[[], object]:
            taken = step()
            return lambda: taken(source.to(device))

        return Row(make, around)

    ours = partial(steps.ours, shape, device, steps.bfloat16(device))
    whole = partial(steps.ours, shape, device, steps.float32)
    separate = partial(patch.object, optimizers, "FUSED", ())
    rows = {
        "as it is, bfloat16": row(ours),
        "float16, scaled loss": row(
            partial(steps.ours, shape, device, steps.float16(device), True)
        ),
        "float32": row(whole, around=partial(tf32, False)),
        "float32, TF32": row(whole, around=partial(tf32, True)),
        "AdamW not fused": row(ours, around=separate),
        "channels last": row(
            partial(ours, change=lambda network: network.to(memory_format=LAST)),
            around=channels_last,
        ),
        "copies not pinned": row(ours, batch),
        "activations recomputed": row(partial(ours, change=recompute)),
    }
    rows |= {name: row(ours, around=around) for name, around in ANYWHERE.items()}
    theirs = partial(steps.theirs, shape, device, steps.float32, released)
    return rows | {"released, float16": row(partial(theirs, half=True))}


def sampling_rows(
    shape: steps.Shape, device: torch.device, released: Path, compiled: bool
) -> dict[str, Row]:
    """Return the ways to call the network in sampling; float16 is what a GPU takes by itself."""
    torch.manual_seed(0)
    network = sampling.filled(UNet(shape.network)).to(device)
    size, channels = shape.batch_size, shape.network.in_channels
    x = torch.randn(size, channels, shape.size, shape.size, device=device)
    time_ = torch.full((size,), 500.0, device=device)
    label = torch.arange(size, device=device) % 10

    def row(build: Callable[[], Any], around: Context = nullcontext, times: int = 1) -> Row:
        def make() -> Callable[[], object]:
            call = build()
            return lambda: [call(x, time_, label) for _ in range(times)]

        return Row(make, around, times)

    half = partial(prepared, network, torch.float16)
    whole = partial(prepared, network, torch.float32)
    rows = {
        "as it is, float16": row(half),
        "bfloat16": row(partial(prepared, network, torch.bfloat16)),
        "float32": row(whole, partial(tf32, False)),
        "float32, TF32": row(whole, partial(tf32, True)),
        "not prepared, float32": row(lambda: network),
        f"{TOGETHER} calls without waiting": row(half, times=TOGETHER),
    }
    rows |= {name: row(half, around) for name, around in ANYWHERE.items()}
    if compiled:
        rows["compile=true"] = row(lambda: Compiled(half(), "network"))
    code = steps.released_code(released)
    theirs = partial(released_network, code, network, shape.size, half=True)
    return rows | {"released, float16": row(lambda: theirs().to(device))}


def race(rows: dict[str, Row], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Return the seconds of a call of each row, in every round after the warm-up."""

    def now() -> float:
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        return time.perf_counter()

    calls: dict[str, Callable[[], object]] = {}
    taken: dict[str, list[float]] = {}
    for turn in range(-sampling.WARM_UP, rounds):
        for name, row in rows.items():
            try:
                with row.around():
                    call = calls.get(name) or calls.setdefault(name, row.make())
                    started = now()
                    call()
                    seconds = (now() - started) / row.times
            except (RuntimeError, SettingError) as error:
                if turn > -sampling.WARM_UP:
                    raise
                print(f"{name}: not here: {str(error).splitlines()[0]}", flush=True)
                calls[name] = lambda: None
                seconds = math.nan
            if turn >= 0:
                taken.setdefault(name, []).append(seconds)
    return {name: own for name, own in taken.items() if name in rows}


def print_table(taken: dict[str, list[float]], size: int) -> None:
    """Print medians, and the speed against the first row and the last, with quartiles."""
    first, *_, last = taken
    print("| | ms a step | images a second | times as it is (quartiles) | times the released |")
    print("|---|--:|--:|--:|--:|")
    for name, own in taken.items():
        cells = [f"{1e3 * statistics.median(own):.2f}", f"{size / statistics.median(own):.1f}"]
        for base in (first, last):
            ratios = [other / mine for other, mine in zip(taken[base], own, strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            cells.append(f"{middle:.2f} ({low:.2f} to {high:.2f})")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--released", type=Path, required=True, help="checkout of guided-diffusion")
    parser.add_argument("--shapes", nargs="+", choices=list(steps.SHAPES), default=["64"])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--no-compile", action="store_true", help="which takes minutes on a CPU")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    print(describe(args))
    for key in args.shapes:
        shape = replace(steps.SHAPES[key], batch_size=args.batch_size)
        rows = training_rows(shape, device, args.released)
        print(f"\n{key}x{key}, batches of {shape.batch_size}: a training step\n", flush=True)
        print_table(race(rows, args.rounds, device), shape.batch_size)
        del rows
        print("\na call of the network in sampling\n", flush=True)
        with torch.no_grad():
            own = sampling_rows(shape, device, args.released, not args.no_compile)
            print_table(race(own, args.rounds, device), shape.batch_size)


if __name__ == "__main__":
    main()
