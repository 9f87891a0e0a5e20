"""adm info MODEL -> table of the recipe, process, classes and weights of a model file."""

from typing import Annotated

from adm.app.cli.options import FLAG, Model
from adm.app.cli.output import AsJson, print_json, show, table
from adm.spec import to_json


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
    from adm.models.description import facts
    from adm.models.load import read
    from adm.models.pair import classifier_of
    from adm.networks import parameters_of
    from adm.recipes import DiffusionRecipe

    path, _, chosen, metadata = read(model)
    stored = to_json(chosen)
    if recipe:
        print_json(stored)
        return
    size, guide = path.stat().st_size, classifier_of(model, path)
    document = {
        "file": str(path),
        "bytes": size,
        "kind": chosen.kind,
        "parameters": parameters_of(chosen.config),
        "classifier": None if guide is None else str(guide),
    }
    rows = {"file": f"{path} ({size / 1e6:.1f} MB)"} | facts(chosen, metadata)
    if isinstance(chosen, DiffusionRecipe) and chosen.distillation is None:
        rows["classifier"] = str(guide or "none found")
    whole = document | metadata.entries() | {"recipe": stored}
    show(lambda: whole, as_json, lambda: table(rows.items()))
