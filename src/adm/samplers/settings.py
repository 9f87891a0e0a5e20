"""Sampler, Grid, Guides, seed -> Sampling; settings by name -> Sampling."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from itertools import pairwise
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from adm.elsewhere import ELSEWHERE
from adm.limits import MOST_LEVELS
from adm.samplers.ancestral import Ancestral
from adm.samplers.consistency import Consistency
from adm.samplers.ddim import DDIM
from adm.samplers.dpm_solver import DPMSolver
from adm.samplers.grid import GRIDS, Even, Grid
from adm.samplers.guide import GUIDES, ClassifierGuide, ContrastGuide, Guide
from adm.samplers.heun import Heun
from adm.samplers.ipndm import IPNDM
from adm.samplers.sampler import Sampler
from adm.samplers.splitting import Splitting
from adm.samplers.then import THENS, Then
from adm.samplers.threshold import THRESHOLDS, Clip, Thresholding
from adm.samplers.unipc import UniPC
from adm.spec import Checked, SettingError, SpecOf, change, convert, out_of_range, parse

AnyGuide = TypeVar("AnyGuide", bound=Guide)
Precision = Literal["float32", "bfloat16", "float16", "auto"]
Rounding = Literal["nearest", "truncated"]
Seed = Annotated[int, Field(ge=0, lt=2**64)]
SAMPLERS: dict[str, type[Sampler]] = {
    kind.name: kind
    for kind in (
        Ancestral,
        DDIM,
        Heun,
        DPMSolver,
        UniPC,
        IPNDM,
        Splitting,
        Consistency,
    )
}
# The settings that have parameters, which may be passed by their own names by mistake.
KINDS: dict[str, Mapping[str, type[Checked]]] = {
    "sampler": SAMPLERS,
    "grid": GRIDS,
    "guide": GUIDES,
    "then": THENS,
    "threshold": THRESHOLDS,
}


class Stage(NamedTuple):
    """Settings of one part of the way from noise to the image.

    Attributes:
        top: its highest level, of the process that is sampled, which numbers the visited ones.
        sampling: the settings, without `then`.
        classes: the class of all images by name or number; None for that of each.
    """

    top: int
    sampling: "Sampling"
    classes: str | None = None


@dataclass(frozen=True, kw_only=True)
class Sampling(Checked):
    """Everything besides the models that determines samples.

    A recipe has one, `Pipeline.sample` and the command line change it, and the manifest of a sample
    folder stores it.

    Attributes:
        sampler: the algorithm, with its parameters.
        grid: the noise levels visited.
        guide: what steers: gradients of classifiers or of the user's own, and contrasts with weaker
            predictions, which all add up; empty for no guidance.
        then: what changes on the way, from a level down, the highest first; empty for nothing.
        use_labels: whether a class-conditional model receives the class; otherwise only the
            guidance depends on it.
        threshold: how estimates of x_0 are limited to [-1, 1], the range of images.
        precision: precision of the networks; everything else is float32. "auto" is the fastest one
            on the device.
        compile: whether torch compiles the networks, which takes minutes on a CPU.
        seed: random seed; with the index of an image it determines its noise.
        rounding: rounding to 8 bits; the released system uses `truncated`.
        low_res_noise: level of the noise that is added to the images that an upsampler starts from,
            if it was trained on such noise; None, as 0, for none.

    Raises:
        SettingError: a value has another type, or is out of range.
    """

    sampler: Annotated[Sampler, SpecOf(SAMPLERS)] = field(default_factory=Ancestral)
    grid: Annotated[Grid, SpecOf(GRIDS)] = field(default_factory=lambda: Even(steps=250))
    guide: tuple[Annotated[Guide, SpecOf(GUIDES)], ...] = ()
    then: tuple[Annotated[Then, SpecOf(THENS)], ...] = ()
    use_labels: bool = True
    threshold: Annotated[Thresholding, SpecOf(THRESHOLDS)] = field(default_factory=Clip)
    precision: Precision = "float32"
    compile: bool = False
    seed: Seed = 0
    rounding: Rounding = "nearest"
    low_res_noise: Annotated[int, Field(ge=0, le=MOST_LEVELS)] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for before, after in pairwise(self.then):
            if before.level <= after.level:
                levels = (before.level, after.level)
                raise out_of_range("then", "in the order of sampling, from high to low", levels)

    @model_serializer(mode="wrap")
    def _stored(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave an empty `then` out, so that settings that were stored without it are the same."""
        stored: dict[str, Any] = handler(self)
        return stored if self.then else {k: value for k, value in stored.items() if k != "then"}

    @property
    def in_turn(self) -> tuple["Sampling", ...]:
        """The settings at first, and from each of `then` on, without `then`."""
        settings = list[Sampling]()
        settings.append(replace(self, then=()) if self.then else self)
        for each in self.then:
            guide = {} if each.guide is None else {"guide": each.guide}
            settings.append(settings[-1].change(scale=each.scale, **guide))
        return tuple(settings)

    def stages(self, levels: Sequence[float]) -> list[Stage]:
        """Return the stages of sampling, the noisiest first; each has at least one level.

        Args:
            levels: those that are visited, of the process that the model was trained on, ascending.
        """
        first, *others = self.in_turn
        stages = [Stage(len(levels), first)]
        for each, sampling in zip(self.then, others, strict=True):
            top = bisect_right(levels, each.level)
            before = stages.pop() if top == stages[-1].top else stages[-1]  # which had no level
            stages.append(Stage(top, sampling, each.classes or before.classes))
        return [each for each in stages if each.top]

    @property
    def guides(self) -> tuple[Guide, ...]:
        """All that steer at some time, those of `then` included."""
        return tuple(guide for each in self.in_turn for guide in each.guide)

    def by(self, kind: type[AnyGuide]) -> tuple[AnyGuide, ...]:
        """Return those of `guides` of a kind."""
        return tuple(each for each in self.guides if isinstance(each, kind))

    @property
    def by_contrast(self) -> tuple[ContrastGuide, ...]:
        """Those of `guides` that contrast with a weaker prediction, unless of no effect."""
        return tuple(each for each in self.by(ContrastGuide) if each.factor)

    @property
    def scale(self) -> float:
        """Sum of the scales of a classifier's guidance, at first; 0 for none."""
        return sum(each.scale for each in self.in_turn[0].by(ClassifierGuide))

    def change(self, **settings: Any) -> "Sampling":
        """Return the settings with some changed by name.

        Args:
            settings: fields of `Sampling`, where `sampler`, `grid`, `guide`, `then` and `threshold`
                may be specs, such as "ddim:eta=0.5"; `steps`, those of the grid; and `scale`, that
                of the first guide by a classifier, 0 for none by any. A `guide` or `then` of None,
                "none" or () is none at all; other settings that are None are left as they are.

        Raises:
            SettingError: a setting is unknown, or its value is out of range.
        """
        lists = {"guide": GUIDES, "then": THENS}
        changes = {name: v for name, v in settings.items() if v is not None or name in lists}
        steps, scale = changes.pop("steps", None), changes.pop("scale", None)
        for name, kinds in (("sampler", SAMPLERS), ("grid", GRIDS), ("threshold", THRESHOLDS)):
            if name in changes:
                changes[name] = parse(kinds, changes[name], name, getattr(self, name))
        for name in lists.keys() & changes.keys():
            changes[name] = _several(lists[name], changes[name], name)
        if unknown := changes.keys() - {each.name for each in fields(self)}:
            raise _unknown(min(unknown))
        new = change(self, changes)
        if steps is not None:
            new = replace(new, grid=_with_steps(new.grid, steps))
        return new if scale is None else replace(new, guide=_with_scale(new.guide, scale))


def _several(kinds: Mapping[str, type[Any]], specs: Any, name: str) -> tuple[Any, ...]:
    """Return the dataclasses of specs or objects; none for None or "none"."""
    several = isinstance(specs, Sequence) and not isinstance(specs, str)
    items: list[Any] = [*specs] if several else [specs]
    return () if items in ([None], ["none"]) else tuple(parse(kinds, item, name) for item in items)


def _with_steps(grid: Grid, steps: Any) -> Grid:
    number = convert(int, steps, "steps")
    if number == grid.steps:
        return grid
    if not any(each.name == "steps" for each in fields(grid)):  # type: ignore[arg-type]
        raise SettingError(
            "steps",
            f"{{grid={grid.name}}} has {grid.steps} levels, and {{}} is {number}; leave it out, or "
            "give {grid=karras}",
        )
    if number < 1:
        raise out_of_range("steps", "at least 1", number)
    return replace(grid, steps=number)  # type: ignore[type-var]


def _with_scale(guides: tuple[Guide, ...], scale: Any) -> tuple[Guide, ...]:
    """Return the guides with another scale of the first classifier's; without any for scale 0."""
    number = convert(Annotated[float, Field(allow_inf_nan=False)], scale, "scale")
    own = [each for each in guides if isinstance(each, ClassifierGuide)]
    others = [each for each in guides if not isinstance(each, ClassifierGuide)]
    if not number:
        return tuple(others)
    first = replace(own[0], scale=number) if own else ClassifierGuide(scale=number)
    return (first, *own[1:], *others)


def _unknown(name: str) -> SettingError:
    """Return the error of a setting that does not exist, with the kinds that have it."""
    if name in ELSEWHERE:
        return SettingError(name, f"{{}} is called {{{ELSEWHERE[name]}}} here")
    for field_name, kinds in KINDS.items():
        having = [
            kind.name
            for kind in kinds.values()
            if name in {each.name for each in fields(kind)}  # type: ignore[arg-type]
        ]
        if having:
            return SettingError(
                name, f"{{}} is a parameter; write it as {{{field_name}={having[0]}:{name}=...}}"
            )
    known = [*(each.name for each in fields(Sampling)), "steps", "scale"]
    near = " or ".join(get_close_matches(name, known))
    cure = f"did you mean {near}?" if near else f"there are {', '.join(sorted(known))}"
    return SettingError(name, f"there is no setting {{}}; {cure}")
