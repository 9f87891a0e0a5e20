"""Run folders -> model files in src/adm/models/shipped/, logs in docs/training/.

    python tools/ship.py --diffusion runs/fashion --classifier runs/fashion-classifier \\
        --judge runs/fashion-judge
    python tools/ship.py --student runs/fast
    python tools/ship.py --named fashion-unlabelled=runs/u fashion-unlabelled-classifier=runs/uc
    python tools/ship.py --named fashion-biggan=runs/biggan/checkpoints/best
    python tools/ship.py --settings

`--student` stores a student of the shipped model as `fashion-fast`, and `--named` any models, with
the recipes that they have. `--settings` changes only the sampling settings of `fashion`, to those
of its recipe. Files stored beside a model name it by the hash of its file, and are changed with it,
as is the hash of the teacher in the student's file.

Weights are stored in half precision. Statistics of the judge's features of the 10,000 test images
are stored with them, so that samples can be compared with real images without the data set.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from adm.app.scoring import make_reference
from adm.app.study.demo import REFERENCE, STUDENT
from adm.app.study.frontier import NAME
from adm.data import Source, open_source
from adm.features.classifier import classifier_features
from adm.models.load import load_classifier
from adm.models.paths import SHIPPED, resolve, sidecar_path
from adm.recipes import recipe
from adm.spec import to_json
from adm.store.files import write_text
from adm.store.hashes import sha256
from adm.training import model_file
from adm.training.log import FILE

LOGS = Path(__file__).parent.parent / "docs" / "training"
POOL = 2000  # test images whose features are shipped
EVERY = 20  # steps averaged into one line of the stored log


def ship(run: Path, name: str) -> None:
    """Write the averaged weights of a run, in half precision, with the current recipe."""
    weights, metadata = model_file.load_model(resolve(run))
    stored, current = metadata["recipe"], to_json(recipe(name))
    for part in ("process", "unet", "classifier", "data"):
        if stored.get(part) != current.get(part):
            raise SystemExit(f"{run} was trained with another {part} than recipe {name} has now")
    current["train"] = stored["train"]
    save(SHIPPED / f"{name}.safetensors", weights, metadata | {"recipe": current})
    store_log(run / FILE, LOGS / f"{name}.jsonl")


def save(file: Path, weights: dict[str, torch.Tensor], metadata: dict[str, Any]) -> None:
    halves = {key: value.half() for key, value in weights.items()}
    model_file.save_model(file, halves, metadata)


def ship_student(run: Path) -> None:
    """Store the averaged weights of a student of the shipped model, in half precision."""
    metadata = model_file.load_model(resolve(run))[1]
    for part, name in (("teacher", "fashion"), ("guide", "fashion-classifier")):
        if metadata[part]["sha256"] != sha256(SHIPPED / f"{name}.safetensors"):
            raise SystemExit(f"the {part} of {run} is not {name} as it is now; distil it again")
    as_trained(run, STUDENT)


def as_trained(run: Path, name: str) -> None:
    """Store the averaged weights of a run with the recipe that it has, in half precision.

    Args:
        run: a run folder, or one of its checkpoints.
    """
    weights, metadata = model_file.load_model(resolve(run))
    save(SHIPPED / f"{name}.safetensors", weights, metadata)
    log = next(file for place in (run, *run.parents) if (file := place / FILE).is_file())
    store_log(log, LOGS / f"{name}.jsonl")


def update_settings(name: str) -> None:
    """Give a shipped model the sampling settings of its recipe; its weights stay."""
    file = SHIPPED / f"{name}.safetensors"
    before = sha256(file)
    weights, metadata = model_file.load_model(file)
    settings = {"sample": to_json(recipe(name))["sample"]}
    save(file, weights, metadata | {"recipe": metadata["recipe"] | settings})
    for kind in ("grids", NAME):
        sidecar = sidecar_path(file, kind)
        if sidecar.exists():
            write_text(sidecar, sidecar.read_text("utf-8").replace(before, sha256(file)))
    student = SHIPPED / f"{STUDENT}.safetensors"
    if student.exists():
        weights, metadata = model_file.load_model(student)
        if metadata["teacher"]["sha256"] == before:
            metadata["teacher"]["sha256"] = sha256(file)
            save(student, weights, metadata)
    print(f"{file.name}: {settings}")


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
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--settings", action="store_true")
    for kind in ("diffusion", "classifier", "judge", "student"):
        parser.add_argument(f"--{kind}", type=Path)
    parser.add_argument("--named", nargs="+", metavar="NAME=RUN", default=[])
    args = parser.parse_args()
    if args.student:
        ship_student(args.student)
        return
    if args.named:
        for name, run in (each.split("=", 1) for each in args.named):
            as_trained(Path(run), name)
        return
    if args.settings:
        update_settings("fashion")
        return
    if None in (args.diffusion, args.classifier, args.judge):
        parser.error("give the three runs, --student, --named or --settings")
    ship_runs(args)


def ship_runs(runs: argparse.Namespace) -> None:
    """Store the models of three runs, and the judge's features of the test images."""
    SHIPPED.mkdir(exist_ok=True)
    ship(runs.diffusion, "fashion")
    ship(runs.classifier, "fashion-classifier")
    ship(runs.judge, "fashion-judge")
    test = open_source("fashion-mnist", split="test")
    store_reference(test)
    images, labels = test.batch(range(len(test)))
    with torch.no_grad():
        report_guide(images, labels)


def store_reference(test: Source) -> None:
    """Store the features of test images by the judge: statistics of all, and those of some."""
    reference = make_reference(test, classifier_features("fashion-judge"), images=POOL)
    replace(reference, images=None, labels=None, classes=()).save(SHIPPED / REFERENCE)


def report_guide(images: torch.Tensor, labels: torch.Tensor) -> None:
    """Print the accuracy of the noisy classifier by quarter of the levels."""
    from adm.images import to_float
    from adm.losses import noised
    from adm.samplers import ImageNoise

    guide = load_classifier("fashion-classifier")
    chosen = torch.arange(0, len(images), 5)
    for quarter in range(4):
        right = 0
        for part in chosen.split(250):
            noise = ImageNoise(quarter, part.tolist(), (1, 28, 28))(1)
            level = 1 + (250 * quarter + part % 250)
            x_t = noised(guide.schedule, to_float(images[part]), noise, level).x_t
            logits = guide.network(x_t, guide.schedule.timestep(level, x_t))
            right += int((logits.argmax(dim=1) == labels[part]).sum())
        low, high = 1 + 250 * quarter, 250 * (quarter + 1)
        print(f"the guide names {100 * right / len(chosen):.1f}% right at levels {low} to {high}")


if __name__ == "__main__":
    main()
