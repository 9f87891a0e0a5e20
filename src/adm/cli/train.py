"""adm train RECIPE --data SPEC --out DIR -> a run's folder with checkpoints and a log."""

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def train(
    name: Annotated[str, Parameter(name="RECIPE")],
    /,
    *,
    out: Path,
    data: str | None = None,
    set: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    steps: int | None = None,
    device: str | None = None,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Train a network from a recipe.

    The same command again continues from the newest checkpoint, exactly as if it had never been
    stopped. `adm sample DIR` and `adm info DIR` take the run's folder.

    Examples:

        adm train digits --out runs/digits

        adm train fashion --data fashion-mnist --out runs/fashion --set unet.dropout=0.1

        adm train fashion --data photos/ --out runs/photos --set data.size=32,32 unet.classes=3

    Parameters
    ----------
    name
        A recipe that `adm recipes` lists.
    out
        The run's folder: new, or that of the same run.
    data
        fashion-mnist[:/FOLDER], digits, a folder with a class a sub-folder, or an .npz file.
        The recipe's own data by default.
    set
        Settings to change, as field=value; `--dry-run` lists the fields.
    steps
        Optimizer steps in all, instead of the recipe's.
    device
        cpu, cuda, mps, or cuda:1. The best there is by default.
    dry_run
        Print the recipe as it would be run, and stop.
    """
    # Loaded here and not above, so that --help answers before torch is there.
    from adm.cli.device import pick
    from adm.cli.training import describe, watch
    from adm.data import open_source
    from adm.recipes import build, recipe
    from adm.recipes.overrides import override
    from adm.recipes.schema import to_json

    settings = list(set or []) + ([f"train.steps={steps}"] if steps is not None else [])
    chosen = override(recipe(name), settings)
    build.check(chosen)
    if dry_run:
        print(json.dumps(to_json(chosen), indent=2))
        return
    source = open_source(
        data or chosen.data.source, size=chosen.data.size, channels=chosen.data.channels
    )
    print(describe(source))
    folder = watch(chosen, source, out, pick(device))
    use = (
        f"sample {out} --out" if chosen.kind == "diffusion" else f"sample MODEL --classifier {out}"
    )
    print(f"{folder}: done; next, `adm {use} ...`")
