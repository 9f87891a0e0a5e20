"""Command line -> Settings, Helpers, Output; Helpers -> Pipeline; Output, Job -> sample folder."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from adm.app.cli.options import FLAG, SEVERAL, Classifier, Device, Weak
from adm.app.cli.output import say
from adm.app.progress import Advance, progress
from adm.spec import out_of_range
from adm.store.samples import ANIMATION, ARCHIVE, MANIFEST, SHEET

if TYPE_CHECKING:  # so that --help does not load torch
    import torch
    from numpy import int64
    from numpy.typing import NDArray

    from adm.generation.job import Job
    from adm.generation.pipeline import Pipeline
    from adm.processes import Devices
    from adm.samplers import Sampling

MOST_NAMED = 8  # parts in a message


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of sampling; their defaults are the values of the model's recipe.

    Parameters
    ----------
    scale
        Guidance scale: 0 is no guidance, above 1 sharpens the class. Shipped models have a default.
    steps
        Number of noise levels to visit; for most samplers also that of network calls.
    sampler
        Sampler, as in ddim:eta=0.5 or unipc:order=3; `adm help sampler` lists them.
    grid
        Noise levels to visit, as in karras:steps=10,end=3; `adm help grid` lists the grids.
    guide
        Guidance, as in classifier:scale=2,every=2,interval=300-980 or free:scale=1.5; may be
        given several times. `adm help guide` lists the kinds.
    then
        Change of class, scale or guide from a level down, as in at:700,classes=sneaker,scale=4; may
        be given several times. `adm help then` lists the parameters.
    seed
        Random seed. Each image depends on the seed and its index only.
    precision
        float32, bfloat16, float16, or auto, the fastest on this device.
    set
        Another setting, as in use_labels=false, threshold=dynamic, compile=true or
        rounding=truncated; may be given several times. `adm help sampling` lists them.
    """

    scale: float | None = None
    steps: int | None = None
    sampler: str | None = None
    grid: str | None = None
    guide: Annotated[tuple[str, ...], SEVERAL] = ()
    then: Annotated[tuple[str, ...], SEVERAL] = ()
    seed: int | None = None
    precision: str | None = None
    set: Annotated[tuple[str, ...], SEVERAL] = ()

    @property
    def overrides(self) -> dict[str, Any]:
        """Name -> value, as `Pipeline.sample` takes them, of the settings that are set.

        Raises:
            SettingError: one of `set` has no value, or is given twice.
        """
        named = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "set"}
        overrides = {name: value for name, value in named.items() if value not in (None, ())}
        for text in self.set:
            name, equals, value = (part.strip() for part in text.partition("="))
            if not equals or name in overrides:
                raise out_of_range("set", "as in threshold=dynamic, each name once", text)
            overrides[name] = value
        return overrides


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Helpers:
    """Models that guide the one that is sampled, and the device of all."""

    classifier: Classifier = None
    weak: Weak = None
    device: Device = None

    def load(self, model: str, device: "torch.device", upsampler: str | None = None) -> "Pipeline":
        """Load a model with these helpers."""
        from adm.generation.pipeline import load

        return load(model, self.classifier, upsampler, device, self.weak)

    def check_used(self, sampling: "Sampling") -> None:
        """Raise SettingError if a weak model is given that guides nothing."""
        if self.weak is not None and "weak" not in {each.name for each in sampling.guides}:
            raise out_of_range(
                "guide",
                "a weak one beside {weak}, as in {guide=weak:scale=1.5}",
                cure="or leave {weak} out",
            )


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Output:
    """How images are written.

    Parameters
    ----------
    animate
        Also write denoising.gif: up to 64 of the images at every step.
    overwrite
        Sample again, and replace the sample folder.
    part
        Sample only a share of the images, such as 2/4, the second of four, which may run anywhere
        at any time; the one that finds all others beside --out writes the folder.
    """

    animate: Annotated[bool, FLAG] = False
    overwrite: Annotated[bool, FLAG] = False
    part: str | None = None

    def __post_init__(self) -> None:
        if self.part is not None:
            from adm.processes import launched
            from adm.store.work import Share

            Share.parsed(self.part)
            if launched():
                raise ValueError(
                    "--part is for processes that are not launched together, and a launcher has "
                    "started this one; leave --part out"
                )

    def write(self, out: Path, job: "Job", title: str, devices: "Devices") -> None:
        """Sample a job with a progress bar, unless `out` holds it; print the files."""
        from adm.generation.animation import cost
        from adm.generation.folder import holds

        done = devices.once(lambda: not self.overwrite and holds(out, job))
        films = self.animate and not (done and (out / ANIMATION).is_file())
        total = (0 if done else job.evaluations) + (cost(job) if films else 0)
        bar = progress(f"drawing {ANIMATION}" if done else title, total, "network evaluations")
        # Opening a finished folder as well removes the leftovers of a killed process beside it.
        shown = bar if devices.main and (films or not done) else nullcontext()
        with shown as advance:
            left = self._sampled(out, job, advance, devices)
        if devices.main:
            self._say(out, job, done, left)

    def _sampled(
        self, out: Path, job: "Job", advance: Advance | None, devices: "Devices"
    ) -> list[range]:
        """Sample a job, or a share of it; return the images that are still missing."""
        from adm.generation.folder import sample_into, sample_share
        from adm.store.work import Share

        options = {"on_step": advance, "overwrite": self.overwrite, "animate": self.animate}
        if self.part is not None:
            return sample_share(out, job, Share.parsed(self.part), **options)
        sample_into(out, job, devices=devices, **options)
        return []

    def _say(self, out: Path, job: "Job", done: bool, left: list[range]) -> None:
        """Print the files, or the missing images."""
        if not done and (left or not (out / MANIFEST).is_file()):
            say(f"part {self.part} of {out} is done; {_missing(job, str(self.part), left)}")
            return
        if done:
            say(f"{out} is complete: it holds these images; add --overwrite to sample again")
        else:
            say(f"{out}: {job.count} images, {ARCHIVE}, {MANIFEST}")
            guided = (
                f"guided by {job.generator.guidance}" if job.generator.guidance else "not guided"
            )
            say(f"each image took {job.cost}, {guided}")
        if self.animate:
            say(f"{out / ANIMATION}: the images at every step, from noise to sample")
        say(f"{out / SHEET}: open it to see the samples")


def _missing(job: "Job", part: str, left: list[range]) -> str:
    """Describe which images are missing, and in which parts."""
    if not left:
        return "another process writes the folder, or the same command without --part does"
    of = int(part.partition("/")[2])
    lack = sorted({span.start // job.generator.block % of + 1 for span in left})
    named = ", ".join([*(f"{each}/{of}" for each in lack[:MOST_NAMED]), "..."][: len(lack)])
    return (
        f"{sum(map(len, left)):,} of {job.count:,} images are missing beside it, those of "
        f"{'part' if len(lack) == 1 else 'parts'} {named}; run these, or copy what is in "
        "their folders *.parts into the one beside it, or run the same command without --part, "
        "which samples what is missing"
    )


DEFAULT, ALONE, USUAL = Settings(), Helpers(), Output()


def labels_like(
    proportions: str, classes: str | None, known: Sequence[str], count: int | None
) -> "NDArray[int64]":
    """Return (count,) labels in the proportions of a list; as many as by default without a count.

    Args:
        proportions: path of the list.
        classes: those of --classes, which are refused in addition to a list.
        known: the generator's classes.

    Raises:
        SettingError: classes are given as well, the generator has none, or the count is out of
            range.
        ValueError: the list has other classes.
    """
    from adm.data.lists import sizes_in
    from adm.generation.labels import DEFAULT_COUNT, in_proportion, positive

    if classes is not None:
        raise out_of_range("proportions", "left out with {classes}: both choose the classes")
    if not known:
        raise out_of_range(
            "proportions",
            "left out, as sampling is unconditional",
            cure="add {classifier} with {scale} to guide to classes",
        )
    number = positive("count", DEFAULT_COUNT if count is None else count)
    return in_proportion(sizes_in(proportions, known), number)
