"""adm train RECIPE --out DIR -> a run's folder, with the model in its checkpoints."""

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
    labels: str | None = None,
    validation: str | None = None,
    hold_out: float | None = None,
    skip_corrupt: Annotated[bool, Parameter(negative="")] = False,
    set: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    steps: int | None = None,
    micro_batch: str | None = None,
    pretrained: str | None = None,
    rename: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    shard: Annotated[bool, Parameter(negative="")] = False,
    tensorboard: Annotated[bool, Parameter(negative="")] = False,
    wandb: str | None = None,
    device: str | None = None,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Train a diffusion model, a noisy classifier or an upsampler from a recipe.

    The same command again continues from the newest checkpoint, exactly as if it had never been
    stopped; Ctrl-C and SIGTERM save first. The folder holds checkpoints/, log.jsonl, previews/ and
    progress.png. `adm sample DIR` and `adm info DIR` take it.

    Examples:

        adm train digits --out runs/digits

        adm train fashion --data photos/ --out runs/photos --set data.size=32,32 unet.classes=3

        adm train fashion --pretrained fashion --data mine/ --rename bag=handbag --out runs/mine

        torchrun --nproc-per-node 8 -m adm train 64x64-diffusion --data imagenet/ --out runs/64

    Parameters
    ----------
    name
        A recipe that `adm recipes` lists, a JSON file of one, or a model, for its recipe.
    out
        The run's folder: new, or that of the same run.
    data
        fashion-mnist[:/FOLDER], digits, a folder, an archive, shards, hf:NAME, ...; docs/data.md
        has them all. The recipe's own data by default.
    labels
        A CSV or JSON file of labels, or prefix for names like dog_0001.png. Sub-folders by default.
    validation
        Data to validate on. The test images of the same data by default, where it has some.
    hold_out
        Share of the images to validate on and never train on, where there are no others.
    skip_corrupt
        Take the next image for one that cannot be read, and say so, instead of stopping.
    set
        Settings to change, as field=value; `--dry-run` lists the fields.
    steps
        Optimizer steps in all, instead of the recipe's.
    micro_batch
        Images that go through the network at once: a number, or auto for what fits.
        It changes memory and speed, and what is learned only by rounding.
    pretrained
        A model to start from: a path, a run's folder, or a shipped name. Classes keep what was
        learned of them by name.
    rename
        Classes that are called otherwise here: old=new.
    shard
        Spread the weights over the processes (FSDP), for networks too large for one device.
    tensorboard
        Write the log for TensorBoard too, into the run's folder.
    wandb
        A Weights & Biases project to log to.
    device
        cpu, cuda, mps, or cuda:1. The best there is by default.
    dry_run
        Print the recipe as it would be run, and stop.
    """
    # Loaded here and not above, so that --help answers before torch is there.
    from adm.cli import training
    from adm.models.load import recipe_of
    from adm.networks import on_meta
    from adm.recipes import build
    from adm.recipes.overrides import override
    from adm.recipes.schema import to_json
    from adm.runs.front import open_data
    from adm.runs.run import TrainOptions

    settings = list(set or []) + ([f"train.steps={steps}"] if steps is not None else [])
    chosen = override(recipe_of(name), settings)
    build.check(chosen)
    build.check_sampling(chosen)
    if dry_run:
        on_meta(chosen.config)  # can be built
        print(json.dumps(to_json(chosen), indent=2))
        return
    source, held = open_data(chosen, data, labels, validation, hold_out, skip_corrupt)
    if rename and pretrained is None:
        raise ValueError(
            "--rename says what classes of the --pretrained model are called here; give both"
        )
    options = TrainOptions(
        micro_batch=training.parse_micro_batch(micro_batch),
        pretrained=pretrained,
        renamed=training.parse_renames(rename or []),
        shard=shard,
    )
    watched = training.WatchOptions(held, tensorboard, wandb)
    training.follow(chosen, source, out, training.place(device, shard), options, watched)
