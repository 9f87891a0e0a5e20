"""Recipe, machine, DataOptions -> TrainingData: the images, and the recipe that fits both."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from adm.app.processor import half_precision
from adm.app.runs.folder import recipe_in
from adm.data import NoSplit, Source, hold_out
from adm.data.fitting import at_one_size, channels_of, deviation_of
from adm.data.labels import NO_LABELS
from adm.data.naming import at_home
from adm.data.pairs import pair
from adm.data.registry import BUILTIN, find
from adm.diffusion import EDM
from adm.models.load import recipe_of
from adm.models.teacher import follow_teacher
from adm.models.trained import DiffusionModel
from adm.processes import Devices
from adm.recipes import RECIPES, Recipe, build
from adm.recipes.following import changed, describe_changes, following, measured, paired
from adm.recipes.schema import DiffusionRecipe, override
from adm.shown import shown
from adm.spec import SettingError

PRECISION = "train.precision"
HALF, WHOLE = "bfloat16", "float32"
SLOW = (
    f"{PRECISION}={WHOLE}: this processor is not known to have instructions for {HALF}, without "
    f"which it is many times slower; set {PRECISION}={HALF} to use it anyway"
)


class Choice(NamedTuple):
    """A recipe with its settings.

    Attributes:
        settings: those of a recipe that is given by its name, which else follows the data (unless
            it follows a teacher) and the device; None for another recipe.
        model: the model whose recipe it is, which opens no path and no address that it names.
        notes: what was changed in it, as lines to print.
        deviation: the standard deviation of the images, as measured by a run that is resumed.
    """

    recipe: Recipe
    settings: tuple[str, ...] | None = None
    model: str | None = None
    notes: tuple[str, ...] = ()
    deviation: float | None = None


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
            raise SettingError("hold_out", "left out with {validation}, or the other way round")
        if self.condition is not None and isinstance(self.data, Source):
            raise SettingError("condition", "left out with a Source, which has its own; see `pair`")


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


def choose(
    recipe: str | Path | Recipe,
    settings: Sequence[str] = (),
    teacher: DiffusionModel | None = None,
    condition: bool = False,
) -> Choice:
    """Return a recipe with settings.

    Channels and classes of a recipe that is given by its name follow from the data unless they are
    set, and its precision from the device (see `fit_precision`); a recipe from a file is taken as
    it is. Network, process and data of a recipe of distillation follow from the teacher unless they
    are set.

    Args:
        condition: whether the data are pairs, which the recipe then is for.

    Raises:
        ValueError: there is no such recipe, or a setting is invalid.
    """
    fitting = partial(paired, settings=settings) if condition else override
    if not isinstance(recipe, str | Path):
        return Choice(fitting(recipe, settings=settings))
    read = fitting(recipe_of(str(recipe)), settings=settings)
    named, written = str(recipe) in RECIPES, Path(recipe).suffix == ".json"
    own = tuple(settings) if named else None
    if teacher is not None:
        # Settings twice: they may choose the method, which decides on the network's inputs.
        base = override(follow_teacher(read, teacher.recipe), settings)
        return Choice(base, own, str(teacher.path))
    if named:
        return Choice(following(read, settings), own)
    return Choice(read, None, None if written else str(recipe))


def fit_precision(choice: Choice, run: Path, devices: Devices) -> Choice:
    """Return a recipe that trains in float32 on a CPU without instructions for bfloat16.

    An explicit precision is retained; so are, on any machine, the precision of a resumed run and
    the standard deviation that it measured.

    Args:
        run: the run folder.

    Raises:
        ValueError: the run in the folder is damaged.
    """
    earlier = devices.once(lambda: recipe_in(run))
    if isinstance(earlier, DiffusionRecipe) and isinstance(earlier.process.prediction, EDM):
        choice = choice._replace(deviation=earlier.process.prediction.sigma_data)
    if choice.settings is None:
        return choice
    in_precision = partial(changed, choice.recipe, choice.settings, "train")
    if earlier is not None:
        return choice._replace(recipe=in_precision(precision=earlier.train.precision))
    slow = devices.any(devices.device.type == "cpu" and not half_precision())
    whole = in_precision(precision=WHOLE)
    if not slow or choice.recipe.train.precision != HALF or whole == choice.recipe:
        return choice
    return choice._replace(recipe=whole, notes=(*choice.notes, SLOW))


def open_data(choice: Choice, options: DataOptions) -> TrainingData:
    """Open the images to train on and, if there are any, those to validate on.

    Raises:
        ValueError: the data cannot be opened, or the recipe does not fit them.
    """
    spec = _own_data(choice) if options.data is None else options.data
    data = spec if isinstance(spec, Source) else _find(spec, options)
    channels, classes = channels_of(data), len(data.classes)
    recipe = choice.recipe
    if choice.settings is not None and recipe.distillation is None:
        recipe = following(recipe, choice.settings, channels, classes)
    build.check(recipe)

    def sized(data: Source, split: str = "train") -> Source:
        fit = partial(at_one_size, channels=recipe.data.channels)
        images = fit(data, size=recipe.data.size)
        if options.condition is None:
            return images
        others = find(options.condition, split=split, labels=NO_LABELS)
        return pair(images, fit(others, size=recipe.data.low_res))

    training, validation = spec if isinstance(spec, Source) else sized(data), None
    name = training.name
    if options.hold_out is not None:
        training, validation = hold_out(training, options.hold_out, recipe.train.seed)
    elif options.validation is not None:
        validation = sized(_find(options.validation, options))
    elif not isinstance(spec, Source):
        try:
            validation = sized(_find(spec, options, "test"), "test")
        except NoSplit:
            validation = None
    recipe = measured(recipe, lambda: choice.deviation or deviation_of(training, recipe.train.seed))
    notes = (*choice.notes, *_notes(choice.recipe, recipe, name, channels))
    return TrainingData(recipe, training, validation, notes)


def check_source(recipe: Recipe, source: Source) -> None:
    """Raise ValueError unless the recipe's network can be trained on the data."""
    if not len(source):
        raise ValueError(f"{source.name} has no images; give other data")
    if recipe.data.crop == "random" and not source.can_crop:
        expected = f"centre for {source.name}, which cannot be cropped at random"
        raise SettingError("data.crop", expected, recipe.data.crop)
    got, needed = source.shape, (recipe.data.channels, *recipe.data.size)
    if got != needed:
        raise ValueError(
            f"{source.name} has images of (C, H, W) = {got}, and the recipe needs {needed}; "
            "set data.size and data.channels, or give other data"
        )
    _check_pairs(recipe, source)
    config = recipe.config
    if config.classes is not None and config.classes != len(source.classes):
        expected = f"{len(source.classes)}, the number of classes in {source.name}"
        raise SettingError(f"{recipe.section}.classes", expected, config.classes)


def _check_pairs(recipe: Recipe, source: Source) -> None:
    """Raise SettingError unless the data are pairs exactly if the recipe is for pairs."""
    other = source.condition
    if other is None and recipe.data.paired:
        raise SettingError("condition", f"given, as {recipe.name} is conditioned on images")
    if other is not None and not recipe.data.paired:
        raise SettingError("data.paired", f"true, as {source.name} are pairs", False)
    if other is not None and other.shape != (recipe.data.channels, *(recipe.data.low_res or ())):
        low = recipe.data.low_res
        raise SettingError("data.low_res", f"{other.shape[1:]}, the size of the conditions", low)


def _own_data(choice: Choice) -> str:
    """Return the data of a recipe; raise ValueError if a model file names a place to open."""
    spec = choice.recipe.data.source
    if spec in BUILTIN:
        return spec
    if choice.model is None:
        if not set(":*[") & set(spec) and not at_home(spec).exists():
            raise _missing(choice.recipe.name, spec)
        return spec
    raise ValueError(
        f"{choice.model} was trained on {shown(spec)}, which is opened only if it is given as the "
        "data"
    )


def _missing(recipe: str, spec: str) -> SettingError:
    return SettingError(
        "data",
        f"given: {recipe} trains on images of yours, and there is no {spec} here",
        cure="pass {data=FOLDER}; `adm data example --out photos` makes a folder to try it",
    )


def _find(spec: str, options: DataOptions, split: str = "train") -> Source:
    return find(spec, split=split, labels=options.labels)


def _notes(before: Recipe, after: Recipe, name: str, channels: int) -> list[str]:
    """Return lines on the fields that follow from the data, and on colours that are not used."""
    changes = describe_changes(before, after)
    lines = [f"as in {name}: {changes}"] if changes else []
    if after.data.channels == 1 < channels:
        lines.append(f"{name} has colour images, which are read as grey (data.channels=1)")
    return lines
