"""Run folder -> a run at Weights & Biases, with the figures and the previews that it has so far.

    python examples/wandb_log.py runs/photos --project adm

needs wandb (pip install wandb). It may be run while a model trains, and again: steps that the
service has are skipped.
"""

import argparse
import json
import math
import secrets
from pathlib import Path

import wandb  # pyright: ignore[reportMissingImports]
from PIL import Image

from adm.training import log


def upload(run: Path, project: str) -> int:
    """Upload the figures of a run and its previews; return the steps of the last line."""
    identity = run / "wandb.txt"
    if not identity.exists():
        identity.write_text(secrets.token_hex(4) + "\n")
    settings = json.loads((run / "run.json").read_text())
    session = wandb.init(
        project=project,
        name=run.resolve().name,
        id=identity.read_text().strip(),
        resume="allow",
        config=settings["recipe"],
    )
    step, first = 0, session.step  # that the service lacks
    for line in (line for _, line in log.lines(run / log.FILE) if line is not None):
        step, values = line.step, dict[str, object]()
        values |= {name: value for name, value in line.figures.items() if math.isfinite(value)}
        preview = run / "previews" / f"step-{step:07d}.png"
        if preview.exists():
            values["preview"] = wandb.Image(Image.open(preview))
        if step >= first:
            session.log(values, step=step)
    session.summary["trend"] = settings.get("trend", "")
    session.finish()
    return step


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="a run folder")
    parser.add_argument("--project", required=True)
    given = parser.parse_args()
    print(f"uploaded {upload(given.run, given.project):,} steps")
