"""Arguments of a verb -> ValueError, OSError, or nothing, before torch and models are loaded.

Every function raises all obstacles that the command line, the headers of model files and the paths
show. What only the models or the data show is refused later, in the same words.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adm.app.cli import budgets, places
from adm.app.cli.early_gan import check_options
from adm.app.cli.early_models import known_classes, model_of, models
from adm.app.cli.obstacles import gathered
from adm.app.cli.proportions import check_proportions
from adm.app.cli.sampling import DEFAULT, SamplingOptions
from adm.arguments import check_grid, check_learned, check_levels
from adm.data.naming import MANIFEST

if TYPE_CHECKING:
    from adm.models.described import Described

OF_SAMPLER = (
    *("sampler", "eta", "spacing", "end", "levels", "at_mean", "clip_again"),
    *("threshold", "precision", "engine", "rounding"),
    *DEFAULT.guides,
    *DEFAULT.contrasts.settings,
)


def sample(
    model: str,
    out: Path,
    how: SamplingOptions,
    *,
    classes: str | None,
    count: int | None,
    proportions: str | None,
    upsampler: str | None,
    upsampler_steps: int | None,
    budget: str | None = None,
    frontier: Path | None = None,
) -> None:
    """Refuse what `adm sample` cannot do."""
    from adm.generation.fit import check_start, check_upsampler_steps

    with gathered() as check:
        base, guide = models(check, model, how)
        larger = None if upsampler is None else check(model_of, upsampler, "diffusion")
        check(places.folder, out, MANIFEST)
        if base is not None:
            check(check_start, str(base.path), base.low_shape, None)
            known = known_classes(base, guide, how)
            check(_countable, classes, count, known)
            if proportions is not None:
                check(check_proportions, proportions, classes, known)
        check(settings, base, how)
        check(check_upsampler_steps, upsampler_steps, upsampler)
        check(budgets.check, model, how, budget, frontier, upsampler)
        if larger is not None:
            check(_upsampler_grid, larger, upsampler_steps)
            if base is not None:
                path = str(base.path)
                check(check_start, str(larger.path), larger.low_shape, base.shape, path)


def upsample(model: str, images: str, out: Path, how: SamplingOptions) -> None:
    """Refuse what `adm upsample` cannot do."""
    from adm.data.specs import check_there
    from adm.generation.fit import not_upsampler

    with gathered() as check:
        base, _ = models(check, model, how)
        check(check_there, images)
        check(places.folder, out, MANIFEST)
        if base is not None and base.low_shape is None:
            check(_raise, not_upsampler(base.path))
        check(settings, base, how)


def job(model: str, how: SamplingOptions, classes: str | None, count: int | None) -> None:
    """Refuse images that cannot be sampled."""
    with gathered() as check:
        base, guide = models(check, model, how)
        if base is not None:
            check(_countable, classes, count, known_classes(base, guide, how))
        check(settings, base, how)


def sweep(
    model: str,
    out: Path,
    how: SamplingOptions,
    *,
    references: Sequence[str],
    judge: str | None,
    classes: str | None,
    proportions: str | None,
    samplers: Sequence[str],
    steps: Sequence[int],
) -> None:
    """Refuse what `adm sweep` cannot do."""
    from adm.data.specs import check_there
    from adm.generation.labels import parse_classes

    with gathered() as check:
        base, guide = models(check, model, how)
        if judge is not None:
            check(model_of, judge, "classifier")
        for reference in references:
            check(check_there, reference)
        check(places.resumable, out, "a sweep needs")
        known = None if base is None else base.classes or (guide.classes if guide else None)
        if known and classes is not None:
            check(parse_classes, classes, known)
        if proportions is not None:
            check(check_proportions, proportions, classes, known)
        if base is not None and base.kind == "gan":
            check(check_options, base, how)
            if samplers or steps:
                check(_raise, ValueError("a GAN has no samplers and no steps; leave them out"))
            return
        shared = how.settings
        for sampler in samplers or [None]:
            own = shared if sampler in (None, "ddim") else shared | {"eta": None}
            for number in steps or [None]:
                check(of_diffusion, base, own | {"sampler": sampler, "steps": number})


def demo(out: Path, sampler: str | None, steps: int | None) -> None:
    """Refuse a folder that cannot be written, and settings that the shipped model does not have."""
    with gathered() as check:
        check(places.replaceable, out)
        base = check(model_of, "fashion", "diffusion")
        check(of_diffusion, base, {"sampler": sampler, "steps": steps})


def train(
    name: str,
    out: Path,
    data: Sequence[str | None],
    pretrained: str | None,
    teacher: str | None = None,
    teacher_classifier: str | None = None,
) -> None:
    """Refuse what `adm train` cannot do.

    Args:
        data: the specs of the images to train and to validate on, if they are given.
    """
    from adm.data.specs import check_there
    from adm.models.paths import resolve

    with gathered() as check:
        check(recipe, name)
        check(places.resumable, out, "a run needs")
        for spec in data:
            if spec is not None:
                check(check_there, spec)
        if pretrained is not None:
            check(resolve, pretrained)
        if teacher is not None:
            check(model_of, teacher, "diffusion")
        if teacher_classifier is not None:
            check(model_of, teacher_classifier, "classifier")
            if teacher is None:
                check(_raise, ValueError("--teacher-classifier guides a --teacher; give one"))


def average(run: Path, out: Path | None, plot: Path | None) -> None:
    """Refuse a run that does not exist, and paths that cannot be written."""
    with gathered() as check:
        if not run.is_dir():
            what = "is a file" if run.exists() else "does not exist"
            check(_raise, ValueError(f"{run} {what}; give the folder of a run"))
        if out is not None:
            check(places.creatable, out, "--out")
        if plot is not None:
            check(places.file, plot, "--plot", "profiles.png")


def recipe(name: str) -> None:
    """Raise ValueError unless this is the name of a recipe, a file or a run folder."""
    from adm.data.naming import at_home
    from adm.models.paths import resolve
    from adm.recipe_names import NAMES, unknown

    path = at_home(name)
    if name in NAMES:
        return
    if not path.exists():
        raise unknown(name)
    if path.is_dir():
        resolve(path)


def pack(spec: str, out: Path) -> None:
    """Refuse data that do not exist, and a folder that cannot be written."""
    from adm.data.specs import check_there

    with gathered() as check:
        check(check_there, spec)
        check(places.resumable, out, "shards need")


def paths(data: Sequence[str], written: Mapping[str, tuple[Path | None, str]]) -> None:
    """Refuse data that do not exist, and files that cannot be written.

    Args:
        data: data specs.
        written: flag -> the path that it gives, and the name of a file as an example.
    """
    from adm.data.specs import check_there

    with gathered() as check:
        for spec in data:
            check(check_there, spec)
        for flag, (path, example) in written.items():
            if path is not None:
                check(places.file, path, flag, example)


def settings(base: "Described | None", how: SamplingOptions) -> None:
    """Refuse options that a model cannot be sampled with."""
    check_options(base, how)
    if base is None or base.kind != "gan":
        of_diffusion(base, how.settings)


def of_diffusion(base: "Described | None", given: Mapping[str, Any]) -> None:
    """Refuse settings that a diffusion model cannot be sampled with.

    The samplers need torch, which is loaded only if a setting of theirs is given.
    """
    with gathered() as check:
        if base is not None:
            check(_check_grid, base, given.get("steps"), given.get("start"), given.get("levels"))
        own = {} if base is None else base.sample.get("sampler")
        few = isinstance(own, Mapping) and 0 < (given.get("steps") or 0) < own.get("order", 0)
        if few or any(given.get(name) is not None for name in OF_SAMPLER):
            check(_check_sampler, base, given)


def _check_sampler(base: "Described | None", given: Mapping[str, Any]) -> None:
    from adm.models.stored_grids import with_levels
    from adm.samplers.words import changed, from_json, sampler_of

    if base is not None:
        sampling = changed(from_json(base.sample), **given)
        sampling.grid.check(base.steps)
        sampling.sampler.evaluations(sampling.grid.steps)
        with_levels(sampling, base.path)
        for term in sampling.guidance:
            term.check(base.steps)
    elif given["sampler"] is not None:
        sampler_of(given["sampler"])


def _check_grid(
    base: "Described",
    steps: int | None,
    start: int | None,
    levels: Sequence[float] | None = None,
) -> None:
    if levels is not None:
        check_levels(levels, base.steps)
    if steps is None and start is None:
        return
    if base.learned:
        check_learned(base.grid.get("steps") or 0 if steps is None else steps, base.learned)
        return
    own = base.grid
    chosen = own.get("steps") if steps is None else steps
    if chosen is not None:
        check_grid(chosen, own.get("start") if start is None else start, base.steps)


def _upsampler_grid(larger: "Described", steps: int | None) -> None:
    if steps is None:
        return
    try:
        _check_grid(larger, steps, None)
    except ValueError as error:
        raise ValueError(f"the upsampler's {error}") from None


def _countable(classes: str | None, count: int | None, known: tuple[str, ...] | None) -> None:
    from adm.generation.labels import labels_of, positive

    if known is not None:
        labels_of(classes, known, count)
    elif count is not None:
        positive("count", count)


def _raise(error: Exception) -> None:
    raise error
