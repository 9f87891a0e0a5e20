"""Recipe, DataOptions -> TrainingData: the images, and the recipe that fits them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from adm.data import NoSplit, Source, held_out
from adm.data.files import Files, channels_of
from adm.data.registry import BUILTIN, at_one_size, find
from adm.models.load import recipe_of
from adm.models.teacher import following as taught
from adm.models.trained import DiffusionModel
from adm.recipes import RECIPES, Recipe, build
from adm.recipes.following import PRECISION, following, free_fields, told
from adm.recipes.schema import override
from adm.shown import shown


class Chosen(NamedTuple):
    """A recipe with its settings.

    Attributes:
        free: the fields of it that follow from the data, and the precision if it follows from the
            device.
        model: the model whose recipe it is, which opens no path and no address that it names.
        notes: what was changed in it, as lines to print.
    """

    recipe: Recipe
    free: frozenset[str]
    model: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """The images of a run.

    Attributes:
        data: a data spec or a source; None for the recipe's own data.
        labels: a file of labels, or a labelling rule; see `open_source`.
        validation: a data spec of the validation images; None for the test split of `data`.
        hold_out: fraction of the images to use for validation instead of training.
        skip_corrupt: replace an image that cannot be read by the next one.

    Raises:
        ValueError: both `validation` and `hold_out` are given.
    """

    data: str | Source | None = None
    labels: str | None = None
    validation: str | None = None
    hold_out: float | None = None
    skip_corrupt: bool = False

    def __post_init__(self) -> None:
        if self.validation is not None and self.hold_out is not None:
            raise ValueError("give validation=... or hold_out=..., not both")


class TrainingData(NamedTuple):
    """The images of a run, and the recipe that fits them.

    Attributes:
        recipe: the recipe, whose channels and classes are those of the data unless they were set.
        training: the images to train on.
        validation: the images to validate on, or None.
        notes: what was changed in the recipe, and how images are read, as lines to print.
    """

    recipe: Recipe
    training: Source
    validation: Source | None
    notes: tuple[str, ...]


def chosen(
    recipe: str | Path | Recipe,
    settings: Sequence[str] = (),
    teacher: DiffusionModel | None = None,
) -> Chosen:
    """Return a recipe with settings.

    Channels and classes of a recipe that is given by its name follow from the data unless they are
    set, and its precision from the device (see `runs.precision`); a recipe from a file is taken as
    it is. Network, process and data of a recipe of distillation follow from the teacher unless they
    are set.

    Raises:
        ValueError: there is no such recipe, or a setting is invalid.
    """
    if not isinstance(recipe, str | Path):
        return Chosen(override(recipe, settings), frozenset())
    found = override(recipe_of(str(recipe)), settings)
    named, written = str(recipe) in RECIPES, Path(recipe).suffix == ".json"
    free = free_fields(found, settings) if named else frozenset[str]()
    if teacher is not None:
        # Settings twice: they may choose the method, which decides on the network's inputs.
        base = override(taught(found, teacher.recipe), settings)
        return Chosen(base, free & {PRECISION}, str(teacher.path))
    return Chosen(following(found, free), free, None if named or written else str(recipe))


def open_data(chosen: Chosen, options: DataOptions) -> TrainingData:
    """Open the images to train on and, if there are any, those to validate on.

    Raises:
        ValueError: the data cannot be opened, or the recipe does not fit them.
    """
    spec = _own_data(chosen) if options.data is None else options.data
    found = spec if isinstance(spec, Source) else _found(spec, options)
    channels, classes = channels_of(found), len(found.classes)
    recipe = following(chosen.recipe, chosen.free, channels, classes)
    build.check(recipe)

    def read(found: Source | Files) -> Source:
        size, kept = recipe.data.size, recipe.data.channels
        return at_one_size(found, size=size, channels=kept, skip_corrupt=options.skip_corrupt)

    training = spec if isinstance(spec, Source) else read(found)
    notes = (*chosen.notes, *_notes(chosen.recipe, recipe, training.name, channels))
    if options.hold_out is not None:
        return TrainingData(recipe, *held_out(training, options.hold_out, recipe.train.seed), notes)
    validation = None
    if options.validation is not None:
        validation = read(_found(options.validation, options))
    elif not isinstance(spec, Source):
        try:
            validation = read(_found(spec, options, "test"))
        except NoSplit:
            validation = None
    return TrainingData(recipe, training, validation, notes)


def _own_data(chosen: Chosen) -> str:
    """Return the data of a recipe; raise ValueError if a model file names a place to open."""
    spec = chosen.recipe.data.source
    if chosen.model is None or spec in BUILTIN:
        return spec
    raise ValueError(
        f"{chosen.model} was trained on {shown(spec)}, which is opened only if you name it; give "
        "data=..."
    )


def _found(spec: str, options: DataOptions, split: str = "train") -> Source | Files:
    return find(spec, split=split, labels=options.labels)


def _notes(before: Recipe, after: Recipe, name: str, channels: int) -> list[str]:
    """Return lines on the fields that follow from the data, and on colours that are not used."""
    changed = told(before, after)
    lines = [f"as in {name}: {changed}"] if changed else []
    if after.data.channels == 1 < channels:
        lines.append(f"{name} has colour images, which are read as grey (data.channels=1)")
    return lines
