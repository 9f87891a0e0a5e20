"""adm recipes [NAME] -> names and summaries, or one Recipe as JSON with its memory."""

import inspect
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from adm.app.cli.output import AsJson, show
from adm.spec import to_json

if TYPE_CHECKING:
    from adm.app.runs.estimates import StepMemory
    from adm.recipes import Recipe

GIB, MIB = 2**30, 2**20


def recipes(
    name: str | None = None,
    /,
    *,
    memory: Annotated[bool, Parameter(negative="")] = False,
    as_json: AsJson = False,
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
        Also print the estimated memory of a training step, which takes up to a minute for large
        networks.

    Raises
    ------
    ValueError
        There is no such recipe; names similar ones.
    """
    from adm.recipes import RECIPES, recipe

    if name is not None:
        chosen, text = recipe(name), inspect.getdoc(RECIPES[name]) or ""
        show(lambda: _as_json(chosen, text, memory), as_json, lambda: _print(chosen, text, memory))
        return
    if memory:
        raise ValueError("--memory needs a recipe; give one, as in adm recipes fashion --memory")
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


def _print(chosen: "Recipe", text: str, memory: bool) -> None:
    print(text)
    if memory:
        print(f"Estimated memory of a training step in {chosen.train.precision}:")
        for how, step in _estimates(chosen).items():
            is_chosen = (how == "recomputed") == chosen.train.checkpoint_activations
            print(
                f"  {step.fixed / GIB:.2f} GiB plus {step.per_image / MIB:,.1f} MiB per image at "
                f"a time, activations {how}{' (this recipe)' * is_chosen}"
            )
        if not chosen.divisible:
            whole = chosen.train.batch_size // chosen.parts
            print(f"  {whole:,} images at a time in one process: a GAN does not divide a step's")
    print(json.dumps(to_json(chosen), indent=2))


def _as_json(chosen: "Recipe", text: str, memory: bool) -> dict[str, Any]:
    document = {"description": text, "recipe": to_json(chosen)}
    if memory:
        estimates = {
            f"activations_{how}": each._asdict() for how, each in _estimates(chosen).items()
        }
        document["memory_in_bytes"] = estimates
    return document


def _estimates(chosen: "Recipe") -> "dict[str, StepMemory]":
    """Estimate the memory of a training step, with activations stored and recomputed."""
    from adm.app.runs.estimates import step_memory

    estimates: dict[str, StepMemory] = {}
    for how in ("stored", "recomputed"):
        train = replace(chosen.train, checkpoint_activations=how == "recomputed")
        estimates[how] = step_memory(replace(chosen, train=train))
    return estimates
