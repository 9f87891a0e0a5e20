"""adm info MODEL -> table of the recipe, process, classes and weights of a model file."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from adm.app.cli.options import FLAG, Model
from adm.app.cli.output import AsJson, print_json, show, table
from adm.spec import to_json

if TYPE_CHECKING:
    from adm.recipes import Recipe
    from adm.training.model_file import Metadata


def info(
    model: Model,
    /,
    *,
    recipe: Annotated[bool, FLAG] = False,
    as_json: AsJson = False,
) -> None:
    """Show the contents of a model file.

    Examples:

        adm info fashion

        adm info runs/digits --recipe

    Parameters
    ----------
    recipe
        Print the whole recipe as JSON.
    """
    from adm.generation.pretrained import weights_of
    from adm.models.load import read
    from adm.models.pair import classifier_of
    from adm.networks import parameters_of

    path, _, chosen, metadata = read(model)
    if recipe:
        print_json(to_json(chosen))
        return
    guides = classifier_of(model, path)
    contents = {
        "file": str(path),
        "bytes": path.stat().st_size,
        "kind": chosen.kind,
        "parameters": parameters_of(chosen.config),
        "classes": list(metadata.classes) if chosen.config.classes is not None else [],
        "steps": chosen.train.steps if metadata.step is None else metadata.step,
        "data": metadata.data,
        "weights": weights_of(metadata),
        "classifier": None if guides is None else str(guides),
        **{
            part: None if (of := getattr(metadata, part)) is None else asdict(of)
            for part in ("start", "teacher", "guide", "weak")
        },
    }
    show(
        lambda: contents | {"recipe": to_json(chosen)},
        as_json,
        lambda: _print(chosen, metadata, contents),
    )


def _print(chosen: "Recipe", metadata: "Metadata", contents: dict[str, Any]) -> None:
    from adm.generation.pretrained import facts
    from adm.recipes import DiffusionRecipe

    file = f"{contents['file']} ({contents['bytes'] / 1e6:.1f} MB)"
    rows = {"file": file} | facts(chosen, metadata)
    if isinstance(chosen, DiffusionRecipe) and chosen.distillation is None:
        rows["classifier"] = contents["classifier"] or "none found"
    table(rows.items())
