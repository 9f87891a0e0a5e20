"""adm recipes -> every recipe in a line, or one with what it promises."""

import inspect
import json


def recipes(name: str | None = None, /) -> None:
    """List the recipes, or show one: what it promises and every setting.

    Examples:

        adm recipes

        adm recipes fashion

    Parameters
    ----------
    name
        The recipe to show.

    Raises
    ------
    ValueError
        No such recipe; names those that are near.
    """
    # Loaded here and not above, so that --help answers before torch is there.
    from adm.recipes import RECIPES, recipe
    from adm.recipes.schema import to_json

    if name is not None:
        chosen = recipe(name)
        print(inspect.getdoc(RECIPES[name]) or "")
        print(json.dumps(to_json(chosen), indent=2))
        return
    width = max(map(len, RECIPES))
    for key, make in RECIPES.items():
        summary = (inspect.getdoc(make) or "").split("\n\n")[0].replace("\n", " ")
        print(f"{key:{width}}  {summary}")
