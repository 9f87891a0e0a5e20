"""Command-line options -> SamplingOptions -> Pipeline, its settings; Job -> sample folder."""

import os
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from adm.app.cli import lists
from adm.app.cli.contrasts import NONE, ContrastOptions
from adm.app.cli.output import say
from adm.app.cli.progress import Advance, progress
from adm.generation.shares import Shard, common
from adm.shown import shown_path

if TYPE_CHECKING:  # so that --help does not load torch
    from adm.generation.gan_pipeline import GANPipeline
    from adm.generation.job import Job
    from adm.generation.pipeline import Pipeline
    from adm.processes import Devices

MOST_NAMED = 8  # shards in a message


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """Options of sampling; an option that is not given has the value of the model's recipe.

    Parameters
    ----------
    classifier
        Classifier that guides: a path or a shipped name. By default the one that belongs to the
        model. One of clean images guides through the model's estimate of the image.
    scale
        Guidance scale, which multiplies the classifier's gradient. 0 is no guidance; values above 1
        sharpen the class distribution. The recipe's value by default.
    guide_interval
        Lowest and highest noise level of guidance, in 0..T, as in 100,700; all levels by default.
    guide_every
        Evaluate the classifier at every second, third, ... level only, and reuse its gradient in
        between.
    guide_cap
        Largest L2 norm of the scaled gradient of an image; no limit by default.
    guide_on
        What the classifier classifies: x_t, the noisy image; x_0, the model's estimate of the clean
        image; or x_0_through_network, which differentiates the model too. By default x_t with a
        noisy classifier, and x_0 with one of clean images.
    guide_temperatures
        Factors of the logits in the joint and the marginal term of the guidance, as in 1,0.5 (Ma et
        al. 2024); 1,1 by default.
    sampler
        Sampler, with parameters after colons, as in ddim:eta=0.5; the recipe's by default.
        ancestral (some 250 steps) and ddim (25 or more) are those of the paper. For 5 to 20 steps
        there are ipndm and splitting, which suit strong guidance as well, and dpm-solver, also with
        order=3, and unipc, for weak or no guidance; dpm-solver:sde adds noise at each step. heun
        evaluates the network twice a step, and serves as a reference with many. consistency is for
        models that were distilled by consistency tuning.
    steps
        Noise levels that sampling visits, which are the network evaluations per image of every
        sampler but heun (2 steps - 1); the recipe's value by default.
    truncation
        GANs only: largest absolute value of the noise, as in 0.5, which gives more typical and less
        diverse images; no limit by default.
    eta
        DDIM only: noise added at each step, from 0 (deterministic) to 1 (as in ancestral sampling).
    seed
        Random seed. Each image depends on the seed and its index only.
    batch_size
        Images that are sampled between two saves of the progress, from which a stopped command
        resumes; rounded up to whole blocks. It affects no image.
    spacing
        Spacing of the levels: even, strided (the released DDIM spacing), quadratic or
        ddim_quadratic; for few steps log_snr or karras; or searched, the levels that `adm grid`
        has stored for the model.
    start
        Noisiest level that sampling visits.
    end
        Least noisy level that sampling visits, for log_snr and karras; by default the one at which
        the ratio of noise and signal is 2 divided by the number of steps.
    levels
        The levels themselves, ascending and separated by commas or spaces, instead of --steps and
        --spacing; fractional ones are between two levels.
    without_label
        Do not pass the class to the diffusion model; only the classifier guides.
    at_mean
        Ancestral only: evaluate the gradient at the mean, as in the paper's derivation.
    clip_again
        ddim, heun, dpm-solver, unipc and ipndm: apply the threshold after guidance as well.
    threshold
        How estimates of x_0 are kept in the range of images: clip, or dynamic thresholding, which
        is meant for images of several channels.
    precision
        Precision of the networks: float32, bfloat16, float16, or auto, which is the fastest by a
        measurement that is made once on each machine.
    engine
        What evaluates the networks: torch; torch-compiled, which compiles them first, in minutes on
        a CPU; openvino; or openvino-int8, whose convolutions are of 8-bit integers. The last two
        compute the diffusion network, on the CPU.
    compile
        The same as --engine torch-compiled.
    rounding
        Rounding to 8 bits: nearest, or truncated as in the released system.
    device
        Device: cpu, cuda, cuda:1 or mps. The best available by default.
    animate
        Also write denoising.gif, which shows up to 64 of the images at every step, from noise to
        the sample. These images are sampled twice.
    overwrite
        Sample again, and replace the sample folder.
    shard
        Sample only a share of the images, such as 2/4, the second of four. The shards may run at
        the same time or one after another, on one machine or several; the one that finds all images
        beside --out writes the sample folder, and so does the same command without --shard.
    """

    classifier: str | None = None
    scale: float | None = None
    guide_interval: Annotated[tuple[int, ...] | None, lists.whole_numbers("100,700")] = None
    guide_every: int | None = None
    guide_cap: float | None = None
    guide_on: str | None = None
    guide_temperatures: Annotated[tuple[float, ...] | None, lists.numbers("1,0.5")] = None
    contrasts: ContrastOptions = NONE
    sampler: str | None = None
    steps: int | None = None
    truncation: float | None = None
    eta: float | None = None
    seed: int | None = None
    batch_size: int = 64
    spacing: str | None = None
    start: int | None = None
    end: float | None = None
    levels: Annotated[tuple[float, ...] | None, lists.numbers("3,40.5,400,980")] = None
    without_label: Annotated[bool, Parameter(negative="")] = False
    at_mean: Annotated[bool, Parameter(negative="")] = False
    clip_again: Annotated[bool, Parameter(negative="")] = False
    threshold: str | None = None
    precision: str | None = None
    engine: str | None = None
    compile: Annotated[bool, Parameter(negative="")] = False
    rounding: str | None = None
    device: str | None = None
    animate: Annotated[bool, Parameter(negative="")] = False
    overwrite: Annotated[bool, Parameter(negative="")] = False
    shard: str | None = None

    def __post_init__(self) -> None:
        if self.shard is not None:
            Shard.parsed(self.shard)
            if os.environ.get("WORLD_SIZE", "1") != "1":
                raise ValueError(
                    "--shard is for processes that are not launched together, and a launcher has "
                    "started this one; leave --shard out"
                )
        if self.compile and self.engine not in (None, "torch-compiled"):
            raise ValueError(
                f"--compile is --engine torch-compiled, and --engine is {shown_path(self.engine)}; "
                "leave one of them out"
            )
        if self.batch_size < 1:
            raise ValueError(f"--batch-size must be at least 1, got {self.batch_size}")

    @property
    def settings(self) -> dict[str, Any]:
        """The settings by the names of `Pipeline.sample`; None for one that is not given."""
        return {
            "sampler": self.sampler,
            "steps": self.steps,
            "spacing": self.spacing,
            "start": self.start,
            "end": self.end,
            "levels": self.levels,
            "truncation": self.truncation,
            "eta": self.eta,
            "scale": self.scale,
            **self.guides,
            **self.contrasts.settings,
            "seed": self.seed,
            "use_labels": False if self.without_label else None,
            "at_mean": self.at_mean or None,
            "clip_again": self.clip_again or None,
            "threshold": self.threshold,
            "precision": self.precision,
            "engine": "torch-compiled" if self.compile else self.engine,
            "rounding": self.rounding,
        }

    @property
    def guides(self) -> dict[str, Any]:
        """The settings of a classifier's guidance besides the scale, as in `settings`."""
        names = (field.name for field in fields(self))
        return {name: getattr(self, name) for name in names if name.startswith("guide_")}

    def pipeline(self, model: str, upsampler: str | None = None) -> "Pipeline | GANPipeline":
        """Load the model and those that help it on the device of these options."""
        from adm.generation.gan_pipeline import load_gan
        from adm.models.paths import kind_of, resolve

        path = resolve(model)
        if kind_of(path) == "gan":
            if self.classifier is not None or self.contrasts.weak is not None:
                raise ValueError(
                    f"{path} is a GAN, which nothing guides; pass truncation=..., as in 0.5"
                )
            return load_gan(model, upsampler, self.device)
        return self.of_diffusion(model, upsampler)

    def of_diffusion(self, model: str, upsampler: str | None = None) -> "Pipeline":
        """Load a diffusion model, as `pipeline` does."""
        from adm.generation.pipeline import load

        weak = self.contrasts.weak
        pipeline = load(model, self.classifier, upsampler, self.device, weak)
        guided = any(term.name == "weak" for term in pipeline.sampling.guidance)
        if weak is not None and self.contrasts.weak_scale is None and not guided:
            raise ValueError("weak=... needs a scale; pass weak_scale=..., such as 1.5")
        return pipeline

    def joined(self) -> tuple["SamplingOptions", "Devices"]:
        """Join the ranks that were launched together; return these options on the own device."""
        from adm.app.cli.scoring import joined

        devices = joined(self.device)
        return replace(self, device=str(devices.device)), devices

    def sample_into(self, out: Path, job: "Job", title: str, devices: "Devices") -> None:
        """Sample into a folder with a progress bar, or say that it is complete; name its files."""
        from adm.data.naming import ANIMATION
        from adm.generation.animation import check_animated, cost
        from adm.generation.folder import holds, missing

        if self.animate:
            check_animated(job)
        done = devices.told(lambda: not self.overwrite and holds(out, job))
        lacking = devices.told(lambda: missing(out, job, self.animate)) if done else []
        films = ANIMATION in lacking if done else self.animate
        total = (0 if done else job.evaluations) + (cost(job) if films else 0)
        some = lacking if len(lacking) < 4 else [lacking[0], f"{len(lacking) - 1} more"]
        what = f"drawing {' and '.join(some)}" if done else title
        bar = progress(what, total, "network evaluations")
        # A finished folder is opened as well, which removes what a killed process has left beside.
        shown = bar if devices.main and (lacking or not done) else nullcontext()
        with shown as advance:
            left = self._sampled(out, job, advance, devices)
        if devices.main:
            self._say(out, job, done, left)

    def _sampled(
        self, out: Path, job: "Job", advance: Advance | None, devices: "Devices"
    ) -> list[range]:
        """Sample a job, or a shard of it; return what is missing beside other shards."""
        from adm.generation.folder import sample_into
        from adm.generation.sharded import sample_shard

        options = {"overwrite": self.overwrite, "animate": self.animate}
        if self.shard is None:
            sample_into(
                out, job, batch_size=self.batch_size, on_step=advance, devices=devices, **options
            )
            return []
        shard = Shard.parsed(self.shard)
        return sample_shard(out, job, shard, batch_size=self.batch_size, on_step=advance, **options)

    def _say(self, out: Path, job: "Job", done: bool, left: list[range]) -> None:
        """Name the files, or what is missing."""
        from adm.data.naming import ANIMATION, ARCHIVE, BASE, MANIFEST, SHEET

        if not done and (left or not (out / MANIFEST).is_file()):
            say(f"shard {self.shard} of {out} is done; {_missing(job, str(self.shard), left)}")
            return
        if done:
            say(f"{out} is complete: it holds these images; add --overwrite to sample again")
        else:
            base = f", {BASE}/" if job.low_res is not None and (out / BASE).is_dir() else ""
            say(f"{out}: {job.count} images, {ARCHIVE}, {MANIFEST}{base}")
            say(f"each image took {job.cost}")
        if self.animate:
            say(f"{out / ANIMATION}: the images at every step, from noise to sample")
        say(f"{out / SHEET}: open it to see the samples")


def _missing(job: "Job", shard: str, left: list[range]) -> str:
    """Say which images are missing, and of which shards they are."""
    from adm.generation.generate import block_of

    if not left:
        return "another process writes the folder, or the same command without --shard does"
    own, block = Shard.parsed(shard), block_of(job.generator)
    every = [Shard(number, own.of) for number in range(1, own.of + 1)]
    lack = [str(each) for each in every if common(left, each.share([range(job.count)], block))]
    named = ", ".join(lack if len(lack) <= MOST_NAMED else [*lack[:MOST_NAMED], "..."])
    return (
        f"{sum(map(len, left)):,} of {job.count:,} images are missing beside it, those of "
        f"{'shard' if len(lack) == 1 else 'shards'} {named}; run these, or copy their folders "
        "*.part.* beside it, or run the same command without --shard, which samples what is missing"
    )


DEFAULT = SamplingOptions()
