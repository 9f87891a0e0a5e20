"""adm recipes -> every recipe in a line, or one with what it promises and what memory it takes."""

import inspect
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from adm.recipes import Recipe

GIB, MIB = 2**30, 2**20


def recipes(
    name: str | None = None,
    /,
    *,
    memory: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """List the recipes, or show one: what it promises and every setting.

    Examples:

        adm recipes

        adm recipes fashion

        adm recipes 64-256-upsampler --memory

    Parameters
    ----------
    name
        The recipe to show.
    memory
        Estimate what a training step of it takes, too; some seconds for the large ones.

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
        if memory:
            print(memory_of(chosen))
        print(json.dumps(to_json(chosen), indent=2))
        return
    if memory:
        raise ValueError("--memory is of one recipe; name it, as in adm recipes fashion --memory")
    width = max(map(len, RECIPES))
    for key, make in RECIPES.items():
        summary = (inspect.getdoc(make) or "").split("\n\n")[0].replace("\n", " ")
        print(f"{key:{width}}  {summary}")


def memory_of(chosen: "Recipe") -> str:
    """What a training step takes, with features kept and with features computed again."""
    from adm.runs.memory import estimate

    lines = [f"Memory of a training step in {chosen.train.precision}, by estimate:"]
    for again, how in ((False, "features kept"), (True, "features computed again")):
        train = replace(chosen.train, checkpoint_activations=again)
        found = estimate(replace(chosen, train=train))
        mark = " (this recipe)" if again == chosen.train.checkpoint_activations else ""
        lines.append(
            f"  {found.fixed / GIB:.2f} GiB and {found.per_image / MIB:,.1f} MiB an image at once, "
            f"{how}{mark}"
        )
    return "\n".join(lines)
