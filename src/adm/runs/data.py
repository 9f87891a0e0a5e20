"""Recipe, machine, DataOptions -> TrainingData: the images, and the recipe that fits both."""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from adm.data import NoSplit, Source, hold_out
from adm.data.fitting import at_one_size, channels_of, deviation_of
from adm.data.labels import NO_LABELS
from adm.data.naming import at_home
from adm.data.pairs import pair
from adm.data.registry import BUILTIN, find
from adm.diffusion import EDM
from adm.images import UINT8
from adm.models.load import recipe_of
from adm.processes import Devices
from adm.recipes import RECIPES, Recipe, build
from adm.recipes.resolve import Facts, describe_changes, resolve
from adm.recipes.schema import DiffusionRecipe, assignments, override
from adm.runs.folder import recipe_in
from adm.runs.processor import half_precision
from adm.shown import count_of, shown
from adm.spec import SettingError, literal, written

log = logging.getLogger("adm")
PRECISION = "train.precision"
HALF: Literal["bfloat16"] = "bfloat16"
WHOLE: Literal["float32"] = "float32"
SLOW = (
    f"{PRECISION}={WHOLE}: this processor is not known to have instructions for {HALF}, without "
    f"which it is many times slower; set {PRECISION}={HALF} to use it anyway"
)


class Choice(NamedTuple):
    """A recipe with the user's settings.

    Attributes:
        fixed: dotted paths of the fields that are set.
        origin: where the recipe is from: a name, whose recipe follows the data and the machine; the
            user, who wrote a file or an object, which is taken as it is; or a model, which is as
            well, and whose data are opened only if they are given.
    """

    recipe: Recipe
    fixed: Collection[str]
    origin: Literal["name", "user", "model"]


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """The images of a run.

    Attributes:
        data: a data spec or a source; None for the recipe's own data.
        condition: a data spec of the images that the model is conditioned on, one for each of
            `data` and of the same name (`data.pairs`); None for none, and for a source, which has
            its own.
        labels: a file of labels, or a labelling rule; see `open_source`.
        validation: a data spec of the validation images; None for the test split of `data`.
        hold_out: fraction of the images to use for validation instead of training.

    Raises:
        SettingError: both `validation` and `hold_out` are given.
    """

    data: str | Source | None = None
    condition: str | None = None
    labels: str | None = None
    validation: str | None = None
    hold_out: float | None = None

    def __post_init__(self) -> None:
        if self.validation is not None and self.hold_out is not None:
            raise SettingError("hold_out", "{} and {validation} exclude each other: give one")
        if self.condition is not None and isinstance(self.data, Source):
            raise SettingError(
                "condition",
                "a Source has conditions of its own, see adm.data.pairs.pair; leave {} out",
            )


class TrainingData(NamedTuple):
    """The images of a run, and the recipe that fits them.

    Attributes:
        recipe: the recipe, whose channels, classes and standard deviation (`EDM.sigma_data`) are
            those of the data unless they were set.
        training: the images to train on.
        validation: the images to validate on, or None.
        notes: what was changed in the recipe, and how images are read, as lines to print.
    """

    recipe: Recipe
    training: Source
    validation: Source | None
    notes: tuple[str, ...]


def choose(recipe: str | Path | Recipe, settings: Sequence[str] = ()) -> Choice:
    """Return a recipe, by its name, of a file or a model, or as an object, with settings.

    Raises:
        ValueError: there is no such recipe, or a setting is invalid.
    """
    fixed = assignments(settings)
    if not isinstance(recipe, str | Path):
        return Choice(override(recipe, settings), fixed, "user")
    chosen = override(recipe_of(str(recipe)), settings)
    if str(recipe) in RECIPES:
        return Choice(chosen, fixed, "name")
    return Choice(chosen, fixed, "user" if Path(recipe).suffix == ".json" else "model")


def known_facts(
    choice: Choice,
    run: Path,
    devices: Devices,
    *,
    teacher: DiffusionRecipe | None = None,
    paired: bool = False,
) -> Facts:
    """Return the facts that are known before the data are opened.

    A resumed run keeps the standard deviation that it measured and, on any machine, its precision.
    Else a named recipe trains in float32 on a CPU without instructions for bfloat16.

    Args:
        run: the run folder.
        teacher, paired: as in `Facts`.

    Raises:
        ValueError: the run in the folder is damaged.
    """
    earlier = devices.once(lambda: recipe_in(run))
    facts = Facts(deviation=_deviation_in(earlier), paired=paired, teacher=teacher)
    if choice.origin != "name":
        return facts
    facts = replace(facts, channels=choice.recipe.data.channels)
    if earlier is not None:
        return replace(facts, precision=earlier.train.precision)
    slow = devices.any(devices.device.type == "cpu" and not half_precision())
    if not slow or PRECISION in choice.fixed or choice.recipe.train.precision != HALF:
        return facts
    if devices.main:
        log.info(SLOW)
    return replace(facts, precision=WHOLE)


def _deviation_in(recipe: Recipe | None) -> Callable[[], float] | None:
    """Return the standard deviation of data that a recipe states, if it does."""
    target = recipe.process.prediction if isinstance(recipe, DiffusionRecipe) else None
    stated = target.sigma_data if isinstance(target, EDM) else None
    return None if stated is None else lambda: stated


def open_data(choice: Choice, facts: Facts, options: DataOptions) -> TrainingData:
    """Open the images to train on and, if there are any, those to validate on.

    Args:
        facts: those that are `known_facts` before.

    Raises:
        ValueError: the data cannot be opened, or the recipe does not fit them.
    """
    expected = resolve(choice.recipe, facts, choice.fixed)
    spec = _own_data(expected, choice, facts) if options.data is None else options.data
    data = spec if isinstance(spec, Source) else _find(spec, options)
    channels, facts = channels_of(data), replace(facts, source=data.name)
    expected = resolve(choice.recipe, facts, choice.fixed)
    if facts.channels is not None and expected.distillation is None:
        facts = replace(facts, channels=channels, classes=len(data.classes))
    recipe = resolve(choice.recipe, facts, choice.fixed)
    build.check(recipe)

    def fit(data: Source, split: str = "train") -> Source:
        at_size = partial(at_one_size, channels=recipe.data.channels, stored=recipe.data.range)
        images = at_size(data, size=recipe.data.size)
        if options.condition is None:
            return images
        others = find(options.condition, split=split, labels=NO_LABELS)
        return pair(images, at_size(others, size=recipe.data.low_res))

    training, validation = spec if isinstance(spec, Source) else fit(data), None
    name = training.name
    if options.hold_out is not None:
        training, validation = hold_out(training, options.hold_out, recipe.train.seed)
    elif options.validation is not None:
        validation = fit(_find(options.validation, options))
    elif not isinstance(spec, Source):
        try:
            validation = fit(_find(spec, options, "test"), "test")
        except NoSplit:
            validation = None
    if facts.deviation is None:
        facts = replace(facts, deviation=partial(deviation_of, training, recipe.train.seed))
        recipe = resolve(choice.recipe, facts, choice.fixed)
    notes = _notes(expected, recipe, name, channels)
    if data.files is not None and recipe.data.range == UINT8:
        with data.files.picture(data.row(0)) as picture:
            if picture.mode.startswith("I;16"):
                notes.append(f"{name} has 16 bits, which are rounded to 8; see data.range")
    return TrainingData(recipe, training, validation, tuple(notes))


def check_source(recipe: Recipe, source: Source) -> None:
    """Raise ValueError unless the recipe's network can be trained on the data."""
    name = literal(source.name)
    if not len(source):
        raise ValueError(f"{source.name} has no images; give other data")
    if recipe.data.crop == "random" and not source.can_crop:
        raise SettingError(
            "data.crop", f"{name} cannot be cropped at random; set {{data.crop=centre}}"
        )
    got, needed = source.shape, (recipe.data.channels, *recipe.data.size)
    if got != needed or source.range != recipe.data.range:
        raise ValueError(
            f"{source.name} has {written(source.range)} images of (C, H, W) = {got}, and the "
            f"recipe needs {needed} of {written(recipe.data.range)}; set data.size, data.channels "
            "and data.range, or give other data"
        )
    _check_pairs(recipe, source)
    expected, classes = recipe.config.classes, len(source.classes)
    if expected is not None and expected != classes:
        field = f"{recipe.section}.classes"
        raise SettingError(
            field,
            f"the recipe is for {count_of(expected, 'class', 'classes')}, and {name} has "
            f"{classes}; set {{{field}={classes}}}, or give other data",
        )


def _check_pairs(recipe: Recipe, source: Source) -> None:
    """Raise SettingError unless the data are pairs exactly if the recipe is for pairs."""
    other, name = source.condition, literal(source.name)
    if other is None and recipe.data.paired:
        raise SettingError(
            "condition", f"{literal(recipe.name)} is conditioned on images; give {{condition=DATA}}"
        )
    if other is not None and not recipe.data.paired:
        raise SettingError("data.paired", f"{name} are pairs; set {{data.paired=true}}")
    needed = (recipe.data.channels, *(recipe.data.low_res or ()))
    if other is not None and other.shape != needed:
        height, width = other.shape[1:]
        raise SettingError(
            "data.low_res",
            f"the conditions of {name} have (C, H, W) = {other.shape}, and the recipe needs "
            f"{needed}; set {{data.low_res={height},{width}}}, or give others",
        )


def _own_data(recipe: Recipe, choice: Choice, facts: Facts) -> str:
    """Return the data of a recipe; raise SettingError if a model file names a place to open."""
    spec = recipe.data.source
    if spec in BUILTIN:
        return spec
    if choice.origin == "model" or facts.teacher is not None:
        name = (facts.teacher or recipe).name
        raise SettingError(
            "data",
            f"{literal(name)} was trained on {literal(shown(spec))}, which a model file does not "
            "get to open; give {data=DATA}",
        )
    if not set(":") & set(spec) and not at_home(spec).exists():
        raise SettingError(
            "data",
            f"{literal(recipe.name)} trains on images of yours, and there is no "
            f"{literal(shown(spec))} here; give {{data=FOLDER}}, with a sub-folder for each class",
        )
    return spec


def _find(spec: str, options: DataOptions, split: str = "train") -> Source:
    return find(spec, split=split, labels=options.labels)


def _notes(before: Recipe, after: Recipe, name: str, channels: int) -> list[str]:
    """Return lines on the fields that follow from the data, and on colours that are not used."""
    changes = describe_changes(before, after)
    lines = [f"as in {name}: {changes}"] if changes else []
    if after.data.channels == 1 < channels:
        lines.append(f"{name} has colour images, which are read as grey (data.channels=1)")
    return lines
