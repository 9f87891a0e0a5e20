"""Checkout of the released code -> table of the time of whole images, beside it and diffusers.

All make one block of images of the shipped `fashion`, with the labels 0, 1, ..., 9, 0, ... The
released code samples as it comes, by 250 guided ancestral steps in float32, and this package by the
same steps and by few ones. Both have the same weights, noise and labels; the first steps are
compared. The student that is shipped, `fashion-fast`, has the same labels and noise as well. The
network of the released code predicts noise and this one velocity, so that its output is converted.
diffusers has no guidance by a classifier for such a network: it samples without, with a network of
the same blocks and weights of its own.

Each implementation runs in a process of its own, and they take turns.
"""

import argparse
import importlib
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, NamedTuple
from unittest.mock import patch

import steps
import torch
from peers import diffusers_network, released_network
from torch import Tensor
from torch.nn import functional as F

from adm.app.study.demo import STUDENT
from adm.generation.diffusion import DiffusionGenerator
from adm.generation.pipeline import Pipeline, load
from adm.shown import count_of

BASE = "released, 250 ancestral steps"
ALL_STEPS = 250  # of the released default
SCALE = 2.0
PRECISIONS = ("float32", "bfloat16")  # of this package
PRECISE, COMPARED = 1e-3, 3  # largest difference of images after so many of the same steps


class Contender(NamedTuple):
    """A way to make the block of images.

    Attributes:
        calls: of the network, and of the classifier's gradient, an image.
        run: makes the block, or the first steps of it.
        part: the share of the calls that `run` makes.
    """

    calls: tuple[int, int]
    run: Callable[[], object]
    part: float = 1.0


class Taken(NamedTuple):
    """Seconds of the whole block, by the clock on the wall and by the processor's."""

    wall: float
    processor: float


class Row(NamedTuple):
    """A row of the table: the calls of a contender, and its seconds in every round."""

    calls: tuple[int, int]
    taken: list[Taken]


class Block:
    """The model, and the images that all make."""

    def __init__(self) -> None:
        self.model: Pipeline = load("fashion", device="cpu")
        self.ancestral = self.ancestral_in("float32")
        self.indices = range(self.ancestral.block)
        self.labels = torch.arange(len(self.indices)) % len(self.model.classes)
        self.shape = (len(self.indices), *self.model.shape)
        self.noise = self.ancestral.noise(self.indices)

    def generator(self, **settings: Any) -> DiffusionGenerator:
        """Return a generator that is guided at all levels, unlike the model's default."""
        settings = {"guide": f"classifier:scale={SCALE:g},interval=0-1000", **settings}
        generator = self.model.generator(**settings)
        assert isinstance(generator, DiffusionGenerator)
        return generator

    def ancestral_in(self, precision: str) -> DiffusionGenerator:
        """Return the generator of the released default."""
        grid = f"even:steps={ALL_STEPS},start=1000"
        return self.generator(sampler="ancestral", precision=precision, grid=grid)

    def first_steps(self, generator: DiffusionGenerator) -> Iterator[Tensor]:
        """Yield the images after each of the 250 steps of this package."""
        return (state.x for state in generator.trajectory(self.labels, self.indices))

    def ours(
        self, system: str, counts: Sequence[int], interval: tuple[int, int]
    ) -> dict[str, Contender]:
        """Splitting on karras, guided at all levels and at those of the interval."""
        entrants: dict[str, Contender] = {}
        for count in counts:
            base = {"sampler": "splitting", "grid": f"karras:steps={count}", "precision": system}
            whole = self.generator(**base)
            guide = f"classifier:scale={SCALE:g},interval={interval[0]}-{interval[1]}"
            some = self.generator(**base, guide=guide)
            name = f"adm, {system}, splitting, {count} steps"
            entrants[name] = self._contender(whole)
            if some.cost != whole.cost:  # a grid may lie within the interval
                entrants[f"{name}, guided at {interval[0]} to {interval[1]}"] = self._contender(
                    some
                )
        return entrants

    def students(self, system: str) -> dict[str, Contender]:
        """The steps that the shipped student has learned, without a classifier."""
        student = load(STUDENT, device="cpu")
        entrants: dict[str, Contender] = {}
        how = student.model.recipe.distillation
        assert how
        for count in sorted(how.steps, reverse=True):
            own = student.generator(scale=SCALE, steps=count, precision=system)
            entrants[f"adm, {system}, student, {count_of(count, 'step')}"] = self._contender(own)
        return entrants

    def _contender(self, generator: DiffusionGenerator) -> Contender:
        calls = (generator.cost.network, generator.cost.classifier)
        return Contender(calls, lambda: generator.images(self.labels, self.indices))


class Released:
    """The released code, with the weights of this package's model."""

    def __init__(self, args: argparse.Namespace, block: Block) -> None:
        code = steps.released_code(args.released)
        respace = importlib.import_module("guided_diffusion.respace")
        kinds, model = code.gaussian_diffusion, block.model
        assert model.classifier
        size = model.shape[1]
        self.block, self.schedule = block, model.schedule
        self.network = released_network(code, model.model.network, size)
        self.classifier = released_network(code, model.classifier.network, size)
        last = self.schedule.last
        self.process = respace.SpacedDiffusion(
            respace.space_timesteps(last, str(ALL_STEPS)),
            betas=kinds.get_named_beta_schedule("cosine", last),
            model_mean_type=kinds.ModelMeanType.EPSILON,
            model_var_type=kinds.ModelVarType.LEARNED_RANGE,
            loss_type=kinds.LossType.MSE,
        )

    def steps(self) -> Iterator[Tensor]:
        """Yield the images after each step of `p_sample_loop`."""
        states = self.process.p_sample_loop_progressive(
            self._noise,
            self.block.shape,
            noise=self.block.noise.start(),
            cond_fn=self._gradient,
            model_kwargs={"y": self.block.labels},
            device="cpu",
        )
        return (state["sample"] for state in states)

    def _noise(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Convert the output of the network, which predicts velocity."""
        velocity, variance = self.network(x, t, y).chunk(2, dim=1)
        level = int(t[0]) + 1
        signal, sigma = float(self.schedule.signal[level]), float(self.schedule.sigma[level])
        return torch.cat([signal * velocity + sigma * x, variance], dim=1)

    def _gradient(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Its `cond_fn`."""
        with torch.enable_grad():
            x_in = x.detach().requires_grad_()
            log_p = F.log_softmax(self.classifier(x_in, t), dim=-1)
            return SCALE * torch.autograd.grad(log_p.gather(1, y[:, None]).sum(), x_in)[0]

    def difference(self) -> float:
        """Return the relative difference of images from ours, after the first steps."""
        noise = self.block.noise
        drawn = iter([noise(level) for level in range(ALL_STEPS, ALL_STEPS - COMPARED, -1)])
        with patch.object(torch, "randn_like", lambda _: next(drawn)):  # what its loop draws by
            *_, theirs = islice(self.steps(), COMPARED)
        *_, ours = islice(self.block.first_steps(self.block.ancestral), COMPARED)
        return float((ours - theirs).norm() / theirs.norm())


def diffusers(block: Block) -> dict[str, Contender]:
    """The loops of its two pipelines, and the best of its schedulers with channels last."""
    library: Any = importlib.import_module("diffusers")
    kinds: tuple[tuple[str, Any, int, bool], ...] = (
        ("DDPM", library.DDPMScheduler, 1000, False),
        ("DDIM", library.DDIMScheduler, 50, False),
        ("DPM-Solver++ 2M, channels last", library.DPMSolverMultistepScheduler, 20, True),
    )
    entrants: dict[str, Contender] = {}
    for name, kind, count, best in kinds:
        network = diffusers_network(block.model.model.network.config, block.shape[-1], best)
        scheduler = kind(block.model.schedule.last, beta_schedule="squaredcos_cap_v2")
        taken = min(count, 50)
        run = _loop(network, scheduler, count, taken, block)
        entrants[f"diffusers, {name}, {count:,} steps, not guided"] = Contender(
            (count, 0), run, taken / count
        )
    return entrants


def _loop(
    network: Any, scheduler: Any, count: int, taken: int, block: Block
) -> Callable[[], Tensor]:
    """Return the loop of its pipelines, or the first `taken` steps of it."""
    form = next(p for p in network.parameters() if p.dim() == 4)
    last = form.is_contiguous(memory_format=torch.channels_last)
    memory = torch.channels_last if last else torch.contiguous_format

    def run() -> Tensor:
        scheduler.set_timesteps(count)
        x = block.noise.start().contiguous(memory_format=memory)
        for t in scheduler.timesteps[:taken]:
            output = network(x, t, block.labels).sample[:, : x.shape[1]]
            x = scheduler.step(output, t, x).prev_sample
        return x

    return run


def contenders(system: str, args: argparse.Namespace) -> dict[str, Contender]:
    """Return the rows of an implementation by their names."""
    block, few = Block(), args.released_steps
    calls, part = (ALL_STEPS, ALL_STEPS), few / ALL_STEPS
    if system == "diffusers":
        return diffusers(block)
    if system == "released":
        theirs = Released(args, block)
        return {BASE: Contender(calls, lambda: list(islice(theirs.steps(), few)), part)}
    entrants = block.ours(system, args.steps, args.guide_interval) | block.students(system)
    ours = block.ancestral_in(system)
    run = Contender(calls, lambda: list(islice(block.first_steps(ours), few)), part)
    return {f"adm, {system}, 250 ancestral steps": run} | entrants


def contend(line: Connection, system: str, args: argparse.Namespace) -> None:
    """Run each requested row and send its seconds; runs in an implementation's process."""
    torch.set_num_threads(args.threads)
    entrants = contenders(system, args)
    line.send({name: contender.calls for name, contender in entrants.items()})
    while name := line.recv():
        wall, processor = time.perf_counter(), time.process_time()
        with torch.no_grad():
            entrants[name].run()
        seconds = time.perf_counter() - wall, time.process_time() - processor
        line.send(Taken(*(s / entrants[name].part for s in seconds)))


def race(systems: Sequence[str], args: argparse.Namespace) -> dict[str, Row]:
    """Let all rows take turns; return the seconds of whole blocks, after a first round."""
    context, rows = get_context("spawn"), dict[str, Row]()
    lines: dict[str, Connection] = {}
    for system in systems:
        parent, child = context.Pipe()
        context.Process(target=contend, args=(child, system, args), daemon=True).start()
        child.close()  # so that `recv` fails if the process does
        for name, calls in parent.recv().items():
            lines[name], rows[name] = parent, Row(calls, [])
    for round_ in range(1 + args.rounds):
        for name, line in lines.items():
            line.send(name)
            rows[name].taken.append(line.recv())
        print(f"round {round_} of {args.rounds}", file=sys.stderr)  # the first one warms up
    for line in set(lines.values()):
        line.send("")
    for process in context.active_children():
        process.join()
    return {name: Row(row.calls, row.taken[1:]) for name, row in rows.items()}


def print_table(rows: dict[str, Row], n: int) -> None:
    """Print seconds an image, and ratios to the released code, by both clocks."""
    print("| | calls | seconds an image | times the released speed | processor | times |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, ((network, classifier), own) in rows.items():
        cells: list[str] = []
        for clock in range(2):
            seconds = [each[clock] for each in own]
            bases = [each[clock] for each in rows[BASE].taken]
            ratios = [base / each for base, each in zip(bases, seconds, strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            cells.append(f"{statistics.median(seconds) / n:.3g}")
            cells.append(f"{middle:.3g} ({low:.3g} to {high:.3g})")
        print(f"| {name} | {network:,} + {classifier:,} | {' | '.join(cells)} |", flush=True)


def measure(args: argparse.Namespace) -> None:
    block, few = Block(), args.released_steps
    difference = Released(args, block).difference()
    if not difference < PRECISE:
        raise ValueError(f"the released code makes other images: {difference:.1e} from ours")
    n = len(block.indices)
    sides = f"{block.shape[2]}x{block.shape[3]}"
    print(
        f"\n{n} images of {sides}, scale {SCALE:g}. After {COMPARED} steps the images of the "
        f"released code and of adm in float32 differ by {difference:.1e} (relative, in the root "
        "mean square)."
    )
    if few < ALL_STEPS:
        print(f"Of 250 ancestral steps the first {few} are timed, and scaled to all.")
    systems = ["released", *PRECISIONS]
    if args.diffusers:
        print("Of the 1,000 steps of diffusers' DDPM the first 50 are.")
        systems.insert(1, "diffusers")
    print(flush=True)
    print_table(race(systems, args), n)
    print(f"\nload of the machine in the last minute: {os.getloadavg()[0]:.1f}")
