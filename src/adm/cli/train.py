"""adm train RECIPE --data SPEC --out DIR -> a run's folder with checkpoints and a log."""

import json
from pathlib import Path
from typing import Annotated

import torch
from cyclopts import Parameter

from adm.cli.device import pick
from adm.cli.progress import progress
from adm.data import open_source
from adm.recipes import Recipe, build, recipe, run
from adm.recipes.overrides import override
from adm.recipes.schema import to_json
from adm.training import checkpoint

SMOOTHING = 0.95  # of the figures shown


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
    settings = list(set or []) + ([f"train.steps={steps}"] if steps is not None else [])
    chosen = override(recipe(name), settings)
    build.check(chosen)
    if dry_run:
        print(json.dumps(to_json(chosen), indent=2))
        return
    source = open_source(
        data or chosen.data.source, size=chosen.data.size, channels=chosen.data.channels
    )
    counts = torch.bincount(source.labels, minlength=len(source.classes)).tolist()
    listed = ", ".join(f"{c} {n}" for c, n in zip(source.classes[:12], counts, strict=False))
    print(f"{source.name}: {len(source)} images of {len(source.classes)} classes: {listed}")
    folder = _train(chosen, source, out, pick(device))
    use = (
        f"sample {out} --out" if chosen.kind == "diffusion" else f"sample MODEL --classifier {out}"
    )
    print(f"{folder}: done; next, `adm {use} ...`")


def _train(chosen: Recipe, source: run.Source, out: Path, device: torch.device) -> Path:
    found = checkpoint.latest(out)
    done = 0 if found is None else int(json.loads((found / "state.json").read_text())["step"])
    if done:
        print(f"continuing {out} from step {done}")
    total, speed = chosen.train.steps, 0.0
    smooth: dict[str, float] = {}
    with progress(chosen.name, total, done) as advance:
        for state in run.train(chosen, source, out, device):
            for key, value in state.shown.items():
                smooth[key] = SMOOTHING * smooth.get(key, value) + (1 - SMOOTHING) * value
            speed = SMOOTHING * (speed or state.images_per_second)
            speed += (1 - SMOOTHING) * state.images_per_second
            figures = "  ".join(f"{key} {value:.4f}" for key, value in smooth.items())
            advance(1, f"{figures}  {speed:.0f} images/s")
    newest = checkpoint.latest(out)
    assert newest is not None
    return newest
