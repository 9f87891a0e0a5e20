"""adm info MODEL -> table of the recipe, process, classes and weights of a model file."""

from adm.app.cli.options import Model
from adm.app.cli.output import AsJson, show, table
from adm.spec import to_json


def info(model: Model, /, *, as_json: AsJson = False) -> None:
    """Show the contents of a model file.

    Examples:

        adm info fashion

        adm info runs/digits --json
    """
    from adm.models.description import facts
    from adm.models.load import read
    from adm.models.pair import classifier_of
    from adm.networks import parameters_of
    from adm.recipes import DiffusionRecipe

    path, _, chosen, metadata = read(model)
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
    whole = document | metadata.entries() | {"recipe": to_json(chosen)}
    show(lambda: whole, as_json, lambda: table(rows.items()))
