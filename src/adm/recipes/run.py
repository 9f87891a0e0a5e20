"""recipe, data -> a training run: every object that the loop needs, built and handed over."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from adm.data import Source
from adm.losses import TimestepImportance
from adm.recipes import build
from adm.recipes.schema import DiffusionRecipe, Recipe, TrainSettings, to_json
from adm.training import loop, objective
from adm.training.loop import LoopSettings, Progress


def train(recipe: Recipe, source: Source, run: Path, device: torch.device) -> Iterator[Progress]:
    """Train `recipe` on `source` in the folder `run`; the same call again continues.

    Raises:
        ValueError: the recipe contradicts itself or the data, or the folder holds another run.
    """
    build.check(recipe)
    if isinstance(recipe, DiffusionRecipe) and recipe.unet.super_resolution:
        raise ValueError(
            "upsamplers cannot be trained by a recipe yet; use adm.training with an objective that "
            "gives the network low_res=..."
        )
    check_source(recipe, source)
    network, importance = build.network(recipe), build.importance(recipe)
    described = {"recipe": to_json(recipe), "classes": list(source.classes), "data": source.name}
    claim(run, described)
    return loop.train(
        network=network,
        objective=objective_of(recipe, device, importance),
        source=source,
        settings=loop_settings(recipe.train, flip=recipe.data.flip),
        run=run,
        metadata=described,
        device=device,
        importance=importance,
    )


def objective_of(
    recipe: Recipe, device: torch.device, importance: TimestepImportance | None = None
) -> objective.Objective:
    schedule = build.schedule(recipe.process)
    autocast = autocast_for(recipe.train, device)
    if isinstance(recipe, DiffusionRecipe):
        return objective.diffusion(
            schedule,
            build.parameterization(recipe.process),
            build.loss(recipe),
            labelled=recipe.unet.classes is not None,
            label_dropout=recipe.train.label_dropout,
            importance=importance,
            autocast=autocast,
        )
    return objective.classification(schedule, noised=recipe.noised, autocast=autocast)


def autocast_for(train: TrainSettings, device: torch.device) -> Callable[[], torch.autocast]:
    return partial(
        torch.autocast, device.type, torch.bfloat16, enabled=train.precision == "bfloat16"
    )


def loop_settings(train: TrainSettings, flip: bool) -> LoopSettings:
    wanted = {field.name for field in dataclasses.fields(LoopSettings)} - {"flip"}
    return LoopSettings(flip=flip, **{name: getattr(train, name) for name in wanted})


def check_source(recipe: Recipe, source: Source) -> None:
    """Raise ValueError unless the data is what the recipe's network was made for."""
    if not len(source):
        raise ValueError(f"{source.name} holds no images; give another --data")
    got, wanted = tuple(source.read(0).shape), (recipe.data.channels, *recipe.data.size)
    if got != wanted:
        raise ValueError(
            f"{source.name} has images of (C, H, W) = {got} and the recipe wants {wanted}; "
            "set data.size and data.channels, or give other data"
        )
    config = recipe.unet if isinstance(recipe, DiffusionRecipe) else recipe.classifier
    if config.classes is not None and config.classes != len(source.classes):
        field = "unet" if isinstance(recipe, DiffusionRecipe) else "classifier"
        raise ValueError(
            f"{source.name} has {len(source.classes)} classes and the recipe {config.classes}; "
            f"add --set {field}.classes={len(source.classes)}"
        )


def claim(run: Path, described: dict[str, object]) -> None:
    """Make the folder this run's, or see that it already is.

    Raises:
        ValueError: the folder holds something else, or the same run with other settings.
    """
    path = run / "run.json"
    if not path.exists():
        if run.exists() and any(run.iterdir()):
            raise ValueError(f"{run} is not empty and holds no run; choose another --out")
        run.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(described, indent=1) + "\n")
        return
    held = json.loads(path.read_text())
    if difference := _difference(held, json.loads(json.dumps(described))):
        raise ValueError(
            f"{run} holds another run: {difference}; choose another --out, or use the same settings"
        )


def _difference(held: object, asked: object, path: str = "") -> str | None:
    """The first setting in which two runs differ, with both values."""
    if isinstance(held, dict) and isinstance(asked, dict):
        for key in {**held, **asked}:
            here = f"{path}.{key}" if path else str(key)
            if found := _difference(held.get(key), asked.get(key), here):
                return found
        return None
    return None if held == asked else f"{path} is {held!r} there and {asked!r} here"
