"""adm recipes [NAME] -> names and summaries, or one Recipe as JSON with its memory."""

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
    """List the recipes, or show one with its settings.

    Examples:

        adm recipes

        adm recipes fashion

        adm recipes 64-256-upsampler --memory

    Parameters
    ----------
    name
        Recipe to show.
    memory
        Also print the estimated memory of a training step, which takes seconds for large networks.

    Raises
    ------
    ValueError
        There is no such recipe; names similar ones.
    """
    # Imported here, so that --help does not load torch.
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
        raise ValueError("--memory needs a recipe; give one, as in adm recipes fashion --memory")
    width = max(map(len, RECIPES))
    for key, make in RECIPES.items():
        summary = (inspect.getdoc(make) or "").split("\n\n")[0].replace("\n", " ")
        print(f"{key:{width}}  {summary}")


def memory_of(chosen: "Recipe") -> str:
    """Describe the memory of a training step, with activations stored and recomputed."""
    from adm.runs.memory import estimate

    lines = [f"Estimated memory of a training step in {chosen.train.precision}:"]
    for recomputed, how in ((False, "activations stored"), (True, "activations recomputed")):
        train = replace(chosen.train, checkpoint_activations=recomputed)
        found = estimate(replace(chosen, train=train))
        mark = " (this recipe)" if recomputed == chosen.train.checkpoint_activations else ""
        lines.append(
            f"  {found.fixed / GIB:.2f} GiB plus {found.per_image / MIB:,.1f} MiB per image at a "
            f"time, {how}{mark}"
        )
    return "\n".join(lines)
