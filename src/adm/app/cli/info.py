"""adm info MODEL -> table of the recipe, process, classes and weights of a model file."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from adm.app.cli.output import AsJson, as_document, show
from adm.shown import printable

if TYPE_CHECKING:
    from adm.recipes import ClassifierRecipe, DiffusionRecipe, Recipe
    from adm.recipes.schema import GANRecipe
    from adm.training.model_file import Metadata

MOST_SHOWN = 24
WEIGHTS = {"model": "the average that a run is sampled with", "raw": "without averaging"}


def info(
    model: str,
    /,
    *,
    recipe: Annotated[bool, Parameter(negative="")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the contents of a model file.

    Examples:

        adm info fashion

        adm info runs/digits --recipe

    Parameters
    ----------
    model
        A path (a file or a run folder) or a shipped name, such as fashion.
    recipe
        Print the whole recipe as JSON.
    as_json
        Print the contents as one JSON document, with the whole recipe.
    """
    # Imported here, so that --help does not load torch.
    from adm.models.load import read
    from adm.models.pair import classifier_of
    from adm.networks import parameters_of
    from adm.spec import to_json

    path, _, chosen, metadata = read(model)
    if recipe:
        print(as_document(to_json(chosen), indent=2))
        return
    guides = classifier_of(model)
    held = {
        "file": str(path),
        "bytes": path.stat().st_size,
        "kind": chosen.kind,
        "parameters": parameters_of(chosen.config),
        "classes": list(metadata.classes) if chosen.config.classes is not None else [],
        "steps": chosen.train.steps if metadata.step is None else metadata.step,
        "data": metadata.data,
        "weights": _weights(metadata),
        "classifier": None if guides is None else str(guides),
        "teacher": None if metadata.teacher is None else asdict(metadata.teacher),
        "guide": None if metadata.guide is None else asdict(metadata.guide),
    }
    show(
        lambda: held | {"recipe": to_json(chosen)},
        as_json,
        lambda: _print(chosen, held),
    )


def _print(chosen: "Recipe", held: dict[str, Any]) -> None:
    from adm.recipes import build
    from adm.shown import count_of

    height, width = chosen.data.size
    table = Table(show_header=False, box=None)
    rows = {
        "file": f"{held['file']} ({held['bytes'] / 1e6:.1f} MB)",
        "recipe": f"{chosen.name} ({chosen.kind})",
        "parameters": f"{held['parameters']:,}",
        "images": f"{height}x{width}, {count_of(chosen.data.channels, 'channel')}",
        "classes": _listed(held["classes"]),
        "trained": f"{held['steps']:,} steps of {chosen.train.batch_size} images of "
        f"{held['data'] or 'unknown data'}",
    }
    if held["weights"]:
        rows["weights"] = held["weights"]
    rows |= {part: _origin(held[part]) for part in ("teacher", "guide") if held[part]}
    guides = held["classifier"] or "none is found for it"
    rows |= build.by_kind(
        chosen,
        diffusion=lambda recipe: _process(recipe) | _made_by(recipe, guides),
        classifier=_process,
        gan=_made_from,
    )
    for name, value in rows.items():
        table.add_row(name, Text(printable(value)))
    Console(width=100).print(table)


def _process(recipe: "DiffusionRecipe | ClassifierRecipe") -> dict[str, str]:
    return {"process": f"{recipe.process.schedule}, {recipe.process.steps} steps"}


def _made_from(recipe: "GANRecipe") -> dict[str, str]:
    """Describe what a generator makes images from."""
    truncation = recipe.sample.truncation
    limit = "whole" if truncation is None else f"truncated at {truncation:g}"
    return {"noise": f"{recipe.gan.noise} numbers, {limit} by default"}


def _made_by(recipe: "DiffusionRecipe", classifier: str) -> dict[str, str]:
    """Describe what the network predicts, and how it is sampled by default."""
    from adm.spec import text

    sampling, how = recipe.sample, recipe.distillation
    if how is not None:
        low, high = how.scales
        steps = ", ".join(map(str, sorted(how.steps)))
        return {
            "distilled": f"by {how.method.name} distillation, for scales {low:g} to {high:g}",
            "sampled by": f"{sampling.sampler.name}, {steps} steps; {sampling.grid.steps} by "
            "default",
        }
    start = f" from level {sampling.grid.start}" if sampling.grid.start else ""
    return {
        "predicts": f"{text(recipe.process.prediction)}, variance {recipe.process.variance}",
        "sampled by": f"{sampling.sampler.name}, {sampling.grid.steps} steps{start}",
        "classifier": classifier,
    }


def _origin(teacher: dict[str, Any]) -> str:
    """Name a network that a student was distilled from, with the start of its file's hash."""
    steps = teacher["trained_steps"]
    trained = "" if steps is None else f"{steps:,} steps, "
    return f"{teacher['recipe']} ({trained}sha256 {teacher['sha256'][:12]})"


def _weights(metadata: "Metadata") -> str | None:
    """Describe which weights of a run a file holds; None if it does not record it."""
    if metadata.width is not None:
        return f"power-function average of width {metadata.width:g}"
    kept = metadata.weights
    return None if kept is None else WEIGHTS.get(kept, f"average {kept}")


def _listed(classes: list[str]) -> str:
    if len(classes) <= MOST_SHOWN:
        return ", ".join(classes) or "none"
    return f"{len(classes)}: {', '.join(classes[:3])} ... {classes[-1]}"
