"""Run folders -> model files in src/adm/models/shipped/, logs in docs/training/.

    python tools/ship.py fashion=runs/fashion fashion-classifier=runs/fashion-classifier
    python tools/ship.py fashion-fast=runs/fast fashion=runs/fashion/checkpoints/best
    python tools/ship.py --settings fashion emoji

Stores the averaged weights of a run, or of one of its checkpoints, in half precision: with the
recipe of its name as it is now, or that of the run if there is none. `--settings` gives shipped
models the sampling settings of their recipes. With the judge are stored statistics of its features
of the test images, so that samples can be compared with real ones without the data set.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adm.app.study.demo import JUDGE, REFERENCE
from adm.data import open_source
from adm.features.classifier import classifier_features
from adm.models.identity import identify
from adm.models.paths import SHIPPED, resolve
from adm.recipes import RECIPES, recipe
from adm.scoring import make_reference
from adm.spec import to_json
from adm.training import model_file
from adm.training.log import FILE

LOGS = Path(__file__).parent.parent / "docs" / "training"
POOL = 2000  # test images whose features are shipped
TRAINING = ("train", "loss", "weight", "levels", "distillation")  # parts of a recipe
EVERY = 20  # steps averaged into one line of the stored log


def ship(name: str, run: Path) -> None:
    """Store the averaged weights and the log of a run under a name."""
    trained = resolve(run)
    weights, metadata = model_file.load_weights(trained), model_file.entries_of(trained)
    if name in RECIPES:
        metadata |= {"recipe": current(name, metadata["recipe"])}
    if (start := metadata.get("start")) is not None:  # a path is of this machine alone
        metadata["start"] = start | {"given": Path(start["given"]).name}
    for part in {"teacher", "guide", "weak"} & metadata.keys():  # of a student
        of = metadata[part]["recipe"]
        if not file_of(of).exists() or metadata[part]["sha256"] != identify(file_of(of)):
            raise SystemExit(f"the {part} of {run} is not {of} as it is now; distil it again")
    save(file_of(name), weights, metadata)
    log = next(file for place in (run, *run.parents) if (file := place / FILE).is_file())
    store_log(log, LOGS / f"{name}.jsonl")
    if name == JUDGE:
        test = open_source("fashion-mnist", split="test")
        whole = make_reference(test, classifier_features(JUDGE))
        rows = np.sort(np.random.default_rng(0).choice(len(test), POOL, replace=False))
        assert whole.pool is not None
        own = replace(whole, pool=whole.pool[rows], images=None, labels=None, classes=())
        own.save(SHIPPED / REFERENCE)


def current(name: str, stored: dict[str, Any]) -> dict[str, Any]:
    """Return the recipe of a name as it is now, with what a stored one says of the training."""
    now = to_json(recipe(name))
    for part in ("process", "unet", "classifier", "data"):
        if stored.get(part) != now.get(part):
            raise SystemExit(f"the run was trained with another {part} than recipe {name} has now")
    return now | {part: stored[part] for part in TRAINING if part in stored}


def update_settings(name: str) -> None:
    """Give a shipped model the sampling settings of its recipe; its weights and its hash stay."""
    file = file_of(name)
    weights, metadata = model_file.load_weights(file), model_file.entries_of(file)
    settings = {"sample": to_json(recipe(name))["sample"]}
    save(file, weights, metadata | {"recipe": metadata["recipe"] | settings})
    print(f"{file.name}: {settings}")


def file_of(name: str) -> Path:
    return SHIPPED / f"{name}.safetensors"


def save(file: Path, weights: dict[str, torch.Tensor], metadata: dict[str, Any]) -> None:
    halves = {key: value.half() for key, value in weights.items()}
    model_file.save_model(file, halves, metadata)


def store_log(log: Path, out: Path) -> None:
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w") as file:
        for i in range(0, len(lines), EVERY):
            chunk = lines[i : i + EVERY]
            columns = {k: [line[k] for line in chunk if k in line] for line in chunk for k in line}
            means = {k: sum(values) / len(values) for k, values in columns.items() if k != "step"}
            rounded = {key: round(value, 6) for key, value in means.items()}
            file.write(json.dumps({"step": chunk[-1]["step"], **rounded}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", metavar="NAME=RUN")
    parser.add_argument("--settings", nargs="+", metavar="NAME", default=[])
    args = parser.parse_args()
    if not args.runs and not args.settings:
        parser.error("give NAME=RUN, or --settings NAME")
    for name, run in (each.split("=", 1) for each in args.runs):
        ship(name, Path(run))
    for name in args.settings:
        update_settings(name)


if __name__ == "__main__":
    main()
