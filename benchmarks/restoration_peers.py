"""fashion, test images -> table of DPS and DiffPIR: ours, azula's and deepinv's, side by side.

    pip install azula deepinv
    OMP_NUM_THREADS=1 python benchmarks/restoration_peers.py

All restore the same measurements with the same network, at the same noise levels. Theirs take our
network, and ours their operators. Seconds are of one processor, as other programs on the machine
affect them less than those of a clock.
"""

import argparse
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import torch
from azula.guidance import DiffPIRDenoiser, DPSSampler
from azula.sample import DDIMSampler
from deepinv import physics, sampling
from deepinv.optim.data_fidelity import L2
from torch import Tensor

import adm
from adm.data import open_source
from adm.diffusion import Threshold, clip
from adm.generation.peers import from_azula, from_deepinv, to_azula, to_deepinv
from adm.images import to_uint8
from adm.metrics.bootstrap import mean_interval
from adm.metrics.similarity import psnr
from adm.restoration import DPS, DiffPIR, Method, Operator, Prior, operator_of
from adm.runs.processor import processor
from adm.samplers import SAMPLERS, ImageNoise
from adm.spec import parse

SIGMA = 0.1  # of the noise of y, in units of [-1, 1]
STEP, WEIGHT, FRESH = 1.0, 3.5, 0.3  # of DPS, and of DiffPIR
OPERATORS = ("inpaint:box=8-8-12-12", "downsample:factor=4")
Restore = Callable[[], Tensor]  # -> (N, C, H, W) in [-1, 1]


@dataclass(frozen=True)
class Row:
    method: str
    by: str
    restore: Restore


@dataclass(frozen=True)
class Task:
    """A batch of measurements, in our units and in deepinv's."""

    model: adm.Pipeline
    operator: Operator
    y: Tensor
    steps: int

    @property
    def forward(self) -> Callable[[Tensor], Tensor]:
        return self.operator.on(self.model.shape).forward

    @property
    def physics(self) -> physics.LinearPhysics:
        """deepinv's operator."""
        shape, noise = self.model.shape, physics.GaussianNoise(SIGMA / 2)
        mask = self.operator.on(shape).mask
        if mask is not None:
            return physics.Inpainting(shape, mask=mask, noise_model=noise)
        mean = torch.full((1, 1, 4, 4), 1 / 16)
        return physics.Downsampling(shape, mean, 4, padding="valid", noise_model=noise)

    @property
    def y_in_0_1(self) -> Tensor:
        """(N, ...) of images in [0, 1]."""
        return (self.y + self.physics.A(torch.ones(len(self.y), *self.model.shape))) / 2

    @property
    def start(self) -> Tensor:
        """(N, C, H, W) noise."""
        torch.manual_seed(0)
        return torch.randn(len(self.y), *self.model.shape)

    def ours(
        self, method: Method, ratios: Tensor, theirs: str, threshold: Threshold | None = None
    ) -> Restore:
        """Return one of our methods, with their operator, at levels of some sigma / signal."""

        def restore() -> Tensor:
            model, y, operator, sigma = self.model, self.y, from_azula(self.forward), SIGMA
            if theirs == "deepinv":
                y, operator, sigma = from_deepinv(self.physics, self.y_in_0_1)
            own = model.schedule
            schedule = own.visiting(own.level_of(-2 * ratios.double().log()).flip(0).tolist())
            prior = Prior(
                model.denoise(schedule=schedule, threshold=None), schedule, None, threshold
            )
            built = operator.on(model.shape)
            measurement = built.measured(y, sigma)
            noise = ImageNoise(1, range(len(y)), model.shape)
            sampler = parse(SAMPLERS, "ddim:eta=1", "sampler")
            *_, last = method.sample(prior, measurement, self.start, noise, sampler)
            return last.x.detach()

        return restore


def of_azula(task: Task) -> Iterator[Row]:
    """Yield the rows of azula's methods and of ours at its levels."""
    times = torch.linspace(1, 0, task.steps + 1)[:-1]
    alpha, sigma = to_azula(task.model).schedule(times)
    options = {"steps": task.steps, "silent": True}

    def dps(size: int) -> Restore:
        def restore() -> Tensor:
            denoiser, batches = to_azula(task.model), list[Tensor]()
            for x, y in zip(task.start.split(size), task.y.split(size), strict=True):
                sampler = DPSSampler(denoiser, y, task.forward, zeta=STEP, **options)
                batches.append(sampler(x))
            return torch.cat(batches)

        return restore

    def diffpir() -> Tensor:
        denoiser = to_azula(task.model, clip)
        guided = DiffPIRDenoiser(denoiser, task.y, task.forward, SIGMA**2, lmbda=WEIGHT)
        return DDIMSampler(guided, eta=0.0, **options)(task.start)

    ratios = sigma / alpha
    yield Row("DPS", "azula, an image at a time", dps(1))
    yield Row("DPS", "azula, all images at once", dps(len(task.y)))
    yield Row("DPS", "ours at these levels", task.ours(DPS(step=STEP), ratios, "azula"))
    yield Row("DiffPIR", "azula, without fresh noise", diffpir)
    own = DiffPIR(weight=WEIGHT, fresh=0.0)
    yield Row("DiffPIR", "ours at these levels", task.ours(own, ratios, "azula", clip))


def of_deepinv(task: Task) -> Iterator[Row]:
    """Yield the rows of deepinv's methods and of ours at its levels."""
    denoiser = to_deepinv(task.model)

    def dps(weight: float | None) -> sampling.DPS:
        sampler = sampling.DPS(
            denoiser, num_steps=task.steps + 1, weight=weight or 1.0, rng=torch.Generator()
        )
        if weight is None:
            ratios = torch.stack([sampler.sde.sigma_t(t) for t in sampler.solver.timesteps])
            sampler.data_fidelity = Stepped(ratios)
            sampler.data_fidelity.denoiser = denoiser
        return sampler

    def sampled(weight: float | None) -> Restore:
        return lambda: 2 * dps(weight)(task.y_in_0_1, task.physics, seed=0) - 1

    def diffpir() -> sampling.DiffPIR:
        settings = {"zeta": FRESH, "lambda_": 2 * WEIGHT, "max_iter": task.steps}
        return sampling.DiffPIR(denoiser, L2(), SIGMA / 2, **settings)

    usual = dps(1.0)
    ratios = torch.stack([usual.sde.sigma_t(t) for t in usual.solver.timesteps[:-1]])
    for weight in (1.0, 30.0, 100.0):
        yield Row("DPS", f"deepinv, weight {weight:g}", sampled(weight))
    yield Row("DPS", "deepinv, the paper's step size", sampled(None))
    yield Row("DPS", "ours at these levels", task.ours(DPS(step=STEP), ratios, "deepinv"))
    sampler = diffpir()
    ratios = sampler.sigmas[sampler.seq.long()]
    own = DiffPIR(weight=WEIGHT, fresh=FRESH)
    yield Row("DiffPIR", "deepinv", lambda: 2 * diffpir()(task.y_in_0_1, task.physics) - 1)
    yield Row("DiffPIR", "ours at these levels", task.ours(own, ratios, "deepinv", clip))


class Stepped(sampling.DPSDataFidelity):
    """deepinv's gradient, with the weight of each level that makes the step size the paper's."""

    def __init__(self, ratios: Tensor) -> None:
        super().__init__()
        signal = (1 + ratios**2).rsqrt()
        removed = ratios[:-1] ** 2 - ratios[1:] ** 2
        self.ratios, self.weights = ratios, 2 * STEP / (signal[:-1] * signal[1:] * removed)

    def forward(
        self, x: Tensor, y: Tensor, physics: object, sigma: Tensor, **kwargs: object
    ) -> Tensor:
        level = (self.ratios - 2 * sigma).abs().argmin()
        self.weight = float(self.weights[level])
        return super().forward(x, y, physics, sigma, **kwargs)


def main() -> None:
    """Measure, and print a table for each operator."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--steps", type=int, default=50, help="evaluations of the network")
    chosen = parser.parse_args()
    packages = ("torch", "azula", "deepinv")
    print(f"{processor()}, one thread; Python {platform.python_version()}, ", end="")
    print(", ".join(f"{name} {version(name)}" for name in packages))
    model = adm.load("fashion", device="cpu")
    truth = open_source("fashion-mnist", split="test").batch(range(chosen.images))[0]
    for spec in OPERATORS:
        operator = operator_of(spec)
        y = model.measure(truth, operator, sigma=SIGMA)
        task = Task(model, operator, operator.on(model.shape).measured(y, SIGMA).y, chosen.steps)
        print(f"\n`{spec}`\n\n| method | by | PSNR | 95% | seconds |\n|---|---|---|---|---|")
        for rows in (of_azula(task), of_deepinv(task)):
            for row in rows:
                print(line(row, truth), flush=True)


def line(row: Row, truth: Tensor) -> str:
    """Restore, and return the row of the table."""
    begin = time.process_time()
    images = to_uint8(row.restore().float())
    seconds = time.process_time() - begin
    each = psnr(images, truth).numpy()
    low, high = mean_interval(each)
    mean = float(np.mean(each))
    return f"| {row.method} | {row.by} | {mean:.2f} | {low:.2f} to {high:.2f} | {seconds:.1f} |"


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
