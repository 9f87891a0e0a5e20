"""recipe, data -> a run under way, with its speed and figures shown."""

import json
from pathlib import Path

import torch

from adm.cli.progress import progress
from adm.data import Source
from adm.recipes import Recipe, run
from adm.training import checkpoint

SMOOTHING = 0.95  # of the figures shown
MOST_SHOWN = 12  # classes named before training


def describe(source: Source) -> str:
    """What the data are, in a line: how many images of each class."""
    counts = torch.bincount(source.labels, minlength=len(source.classes)).tolist()
    pairs = list(zip(source.classes, counts, strict=False))
    listed = ", ".join(f"{name} {count}" for name, count in pairs[:MOST_SHOWN])
    more = ", ..." if len(pairs) > MOST_SHOWN else ""
    return f"{source.name}: {len(source)} images of {len(pairs)} classes: {listed}{more}"


def watch(chosen: Recipe, source: Source, out: Path, device: torch.device) -> Path:
    """Train, showing the progress; returns the last checkpoint's folder."""
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
