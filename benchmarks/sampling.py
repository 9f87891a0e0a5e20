"""Checkout of the released code -> table of the speed of a sampling step, beside it and diffusers.

python benchmarks/sampling.py --released ~/guided-diffusion --diffusers

A step is the U-Net alone, and guided, with the classifier's forward and backward pass. The
implementations take turns, so that other work on the machine affects all of them alike. The weights
are the same where the structures match, which is checked: diffusers has the same blocks with
weights of its own.
"""

import argparse
import importlib.util
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import steps
import torch
from peers import diffusers_network, released_network
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from adm.networks import Classifier, ClassifierConfig, HeadWidth, UNet, UNetConfig, prepared
from adm.runs.processor import describe_processor

CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
BASE = "released, float32"
SIDE = 2048  # of the matrices whose product shows the processor's peak
WARM_UP = 2  # rounds that are not timed
Call = Callable[[], Tensor]
Network = TypeVar("Network", UNet, Classifier)


@dataclass(frozen=True)
class Shape:
    """A U-Net, a classifier, the size of the images and those of a step."""

    network: UNetConfig
    classifier: ClassifierConfig
    size: int
    batch_size: int


_28: dict[str, Any] = {
    "in_channels": 1,
    "channels": 32,
    "multipliers": (1, 2, 2),
    "attention_factors": (4,),
    "heads": HeadWidth(32),
    "classes": 10,
}
_32: dict[str, Any] = {
    "channels": 128,
    "multipliers": (1, 2, 2, 2),
    "attention_factors": (2, 4),
    "heads": HeadWidth(64),
    "classes": 10,
}
SHAPES = {
    # The networks of `fashion` and its classifier, in the 32 groups of the released code.
    "28": Shape(
        UNetConfig(out_channels=2, depth=2, **_28),
        ClassifierConfig(depth=1, size=(28, 28), **_28),
        size=28,
        batch_size=16,
    ),
    # 44 million parameters, for CIFAR-10.
    "32": Shape(
        UNetConfig(out_channels=6, depth=2, **_32),
        ClassifierConfig(depth=1, size=(32, 32), **{**_32, "channels": 64}),
        size=32,
        batch_size=16,
    ),
}


def filled(network: Network) -> Network:
    """Give the layers that start at zero small random weights."""
    for parameter in network.parameters():
        if parameter.abs().max() == 0 and parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.02)
    return network.eval().requires_grad_(False)


class Contest:
    """The inputs of a step, and one call of each implementation."""

    def __init__(self, shape: Shape, device: torch.device) -> None:
        torch.manual_seed(0)
        self.shape, self.device, self.on_gpu = shape, device, device.type == "cuda"
        batch, channels = shape.batch_size, shape.network.in_channels
        self.x = torch.randn(batch, channels, shape.size, shape.size, device=device)
        self.level = torch.full((1,), 500.0, device=device).expand(batch)
        self.label = torch.arange(batch, device=device) % 10
        self.network = filled(UNet(shape.network)).to(device)
        self.classifier = filled(Classifier(shape.classifier)).to(device)

    def guided(self, network: Call, logits: Callable[[Tensor], Tensor]) -> Call:
        def call() -> Tensor:
            output = network()
            with torch.enable_grad():
                x = self.x.detach().requires_grad_()
                log_p = logits(x).float().log_softmax(1)
                chosen = log_p.gather(1, self.label[:, None]).sum()
                return output, torch.autograd.grad(chosen, x)[0]  # type: ignore[return-value]

        return call

    def pair(self, name: str, network: Any, classifier: Any) -> dict[str, Call]:
        """Return the step of an implementation, and the guided one."""

        def alone() -> Tensor:
            return network(self.x, self.level, self.label)

        return {
            name: alone,
            f"{name}, guided": self.guided(alone, lambda x: classifier(x, self.level)),
        }

    def ours(self) -> dict[str, Call]:
        calls = self.pair("adm, order of the released code", self.network, self.classifier)
        for dtype in (torch.float32, torch.bfloat16, *[torch.float16] * self.on_gpu):
            name = str(dtype).removeprefix("torch.")
            networks = (prepared(n, dtype) for n in (self.network, self.classifier))
            calls |= self.pair(f"adm, {name}", *networks)
        return calls

    def released(self, checkout: Path) -> dict[str, Call]:
        code, calls = steps.released_code(checkout), dict[str, Call]()
        for name, half in ((BASE, False), *[("released, float16", True)] * self.on_gpu):
            network, classifier = (
                released_network(code, own, self.shape.size, half).to(self.device)
                for own in (self.network, self.classifier)
            )
            calls |= self.pair(name, network, classifier)
        return calls

    def diffusers(self) -> dict[str, Call]:
        """Its U-Net as it comes, and with channels last and fused projections of attention."""
        calls = {}
        for best in (False, True):
            network = diffusers_network(self.shape.network, self.shape.size, best).to(self.device)
            name = "diffusers, channels last, fused" if best else "diffusers, as it comes"
            calls[name] = self._diffusers_call(network, best)
        return calls

    def _diffusers_call(self, network: Any, last: bool) -> Call:
        form = torch.channels_last if last else torch.contiguous_format

        def call() -> Tensor:
            return network(self.x.contiguous(memory_format=form), self.level, self.label).sample

        return call


def race(calls: dict[str, Call], rounds: int, now: Callable[[], float]) -> dict[str, list[float]]:
    """Call each implementation in turn; return the seconds of every call after the warm-up."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    with torch.no_grad():
        for _ in range(WARM_UP + rounds):
            for name, call in calls.items():
                started = now()
                call()
                taken[name].append(now() - started)
    return {name: seconds[WARM_UP:] for name, seconds in taken.items()}


def print_table(taken: dict[str, list[float]], batch_size: int) -> None:
    """Print milliseconds an image and ratios to the released code, both as medians."""
    print("| | ms an image (quartiles) | times the released speed (quartiles) |")
    print("|---|---|---|")
    for name, own in taken.items():
        base = taken[f"{BASE}, guided" if name.endswith(", guided") else BASE]
        ratios = [theirs / ours for theirs, ours in zip(base, own, strict=True)]
        cells = []
        for values in ([1e3 * s / batch_size for s in own], ratios):
            low, middle, high = statistics.quantiles(values, n=4)
            cells.append(f"{middle:.2f} ({low:.2f} to {high:.2f})")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def print_errors(calls: dict[str, Call]) -> None:
    """Print the relative difference of outputs from the released ones, in the root mean square."""
    with torch.no_grad():
        expected = calls[BASE]()
        for name, call in calls.items():
            if name.startswith("adm") and not name.endswith("guided"):
                error = float((call() - expected).norm() / expected.norm())
                print(f"{name}: {error:.1e} from the released output")


def product_rate(dtype: torch.dtype, now: Callable[[], float], device: torch.device) -> float:
    """Return the operations a second of a large product of matrices, the best of some."""
    a, b = (torch.randn(SIDE, SIDE, device=device).to(dtype) for _ in range(2))
    seconds = race({"": lambda: a @ b}, 8, now)[""]
    return 2 * SIDE**3 / min(seconds)


def print_rates(contest: Contest, taken: dict[str, list[float]], now: Callable[[], float]) -> None:
    """Print the operations a second of the U-Net, beside those of a product of matrices."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        contest.network(contest.x, contest.level, contest.label)
    for dtype in (torch.float32, torch.bfloat16):
        name = f"adm, {str(dtype).removeprefix('torch.')}"
        rate = counter.get_total_flops() / statistics.median(taken[name])
        most = product_rate(dtype, now, contest.device)
        print(
            f"{name}: {rate / 1e9:.0f} GFLOP/s, {rate / most:.0%} of the {most / 1e9:.0f} of a "
            "product of matrices"
        )


def measure(args: argparse.Namespace) -> None:
    device = torch.device(args.device)

    def now() -> float:
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        return CLOCKS[args.clock]()

    for key in args.shapes:
        contest = Contest(SHAPES[key], device)
        calls = contest.released(args.released) | contest.ours()
        if args.diffusers:
            calls |= contest.diffusers()
        size, millions = (
            contest.shape.batch_size,
            sum(p.numel() for p in contest.network.parameters()),
        )
        print(f"\n{key}x{key}, {millions / 1e6:.1f} million parameters, batches of {size}\n")
        taken = race(calls, args.rounds, now)
        print_table(taken, size)
        print()
        print_rates(contest, taken, now)
        print_errors(calls)


def describe(args: argparse.Namespace) -> str:
    name = describe_processor()
    if args.device.startswith("cuda"):
        name = torch.cuda.get_device_name(args.device)
    versions = [f"torch {torch.__version__}", f"Python {platform.python_version()}"]
    if args.diffusers:
        versions.append(f"diffusers {importlib.import_module('diffusers').__version__}")
    return ", ".join([name, f"{args.threads} threads, {args.clock} time", *versions])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--released", type=Path, required=True, help="checkout of guided-diffusion")
    parser.add_argument("--diffusers", action="store_true", help="measure diffusers too")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--clock", choices=list(CLOCKS), default="processor")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(describe(args), flush=True)
    measure(args)


if __name__ == "__main__":
    main()
