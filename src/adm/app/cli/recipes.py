"""adm recipes [NAME] -> names and summaries, or one Recipe as JSON."""

import inspect
from typing import TYPE_CHECKING

from adm.app.cli.output import AsJson, print_json, show
from adm.spec import to_json

if TYPE_CHECKING:
    from adm.recipes import Recipe


def recipes(
    name: str | None = None,
    /,
    *,
    as_json: AsJson = False,
) -> None:
    """List the recipes, or show one with its settings.

    Examples:

        adm recipes

        adm recipes fashion

    Parameters
    ----------
    name
        Recipe to show.

    Raises
    ------
    ValueError
        There is no such recipe; names similar ones.
    """
    from adm.recipes import RECIPES, recipe

    if name is not None:
        chosen, text = recipe(name), inspect.getdoc(RECIPES[name]) or ""
        document = {"description": text, "recipe": to_json(chosen)}
        show(lambda: document, as_json, lambda: _print(chosen, text))
        return
    width = max(map(len, RECIPES))
    listed = {
        key: (inspect.getdoc(make) or "").split("\n\n")[0].replace("\n", " ")
        for key, make in RECIPES.items()
    }
    show(
        lambda: [{"name": key, "summary": summary} for key, summary in listed.items()],
        as_json,
        lambda: print("\n".join(f"{key:{width}}  {summary}" for key, summary in listed.items())),
    )


def _print(chosen: "Recipe", text: str) -> None:
    print(text)
    print_json(to_json(chosen))
