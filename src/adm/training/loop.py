"""data, objective, network -> trained weights: the loop."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from adm.data import Source, shuffled
from adm.losses import TimestepImportance
from adm.training import checkpoint
from adm.training.draws import draw, dropout_seed
from adm.training.ema import EMA
from adm.training.objective import Batch, Objective, Outcome


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """What the loop itself must know; see `TrainSettings` for meanings."""

    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    anneal: bool
    ema_decay: float
    gradient_clip: float
    flip: bool
    seed: int
    save_every_steps: int

    def rate(self, step: int) -> float:
        """Learning rate of optimizer step number `step`, counted from 0."""
        rise = min(1.0, (step + 1) / (self.warmup_steps + 1))
        return self.learning_rate * rise * ((1 - step / self.steps) if self.anneal else 1.0)


class Progress(NamedTuple):
    """Yielded after every step."""

    step: int  # steps done
    shown: dict[str, float]
    images_per_second: float


def train(
    network: nn.Module,
    objective: Objective,
    source: Source,
    settings: LoopSettings,
    run: Path,
    metadata: dict[str, Any],
    device: torch.device,
    importance: TimestepImportance | None = None,
) -> Iterator[Progress]:
    """Train, or go on training, until `settings.steps` steps are done.

    A run found in the folder is continued from its newest checkpoint. Every random number is a
    function of (seed, step, position in the batch), so continuing equals never having stopped.
    Checkpoints are written early, every `save_every_steps`, and at the end; `log.jsonl` takes one
    line a step.

    Args:
        run: the run's folder.
        metadata: stored with the weights, so that a path is enough to sample from.
        importance: the objective's own, where it has one, to be saved and restored with the rest.

    Raises:
        FloatingPointError: the loss is not finite; the last checkpoint stays.
    """
    network.to(device).train()
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    state = checkpoint.RunState(network, EMA(network, settings.ema_decay), optimizer, importance)
    found = checkpoint.latest(run)
    first = 0 if found is None else checkpoint.restore(found, state)
    run.mkdir(parents=True, exist_ok=True)
    with _continued(run / "log.jsonl", first) as log:
        for step in range(first, settings.steps):
            started = time.monotonic()
            for group in optimizer.param_groups:
                group["lr"] = settings.rate(step)
            torch.manual_seed(dropout_seed(settings.seed, step))  # dropout's only source
            batch = _batch(source, settings, step, device)
            outcome = _update(network, objective, optimizer, batch, settings.gradient_clip, step)
            state.ema.update(network, step)
            shown = _means(outcome)
            log.write(json.dumps({"step": step + 1, **shown}) + "\n")
            if _saves(step + 1, settings):
                log.flush()
                checkpoint.save(run, step + 1, state, metadata)
            speed = settings.batch_size / (time.monotonic() - started)
            yield Progress(step + 1, shown, speed)


def _saves(done: int, settings: LoopSettings) -> bool:
    early = done == min(10, settings.steps)
    return early or done % settings.save_every_steps == 0 or done == settings.steps


def _batch(source: Source, settings: LoopSettings, step: int, device: torch.device) -> Batch:
    start, count = step * settings.batch_size, settings.batch_size
    images, labels = source.batch(shuffled(settings.seed, len(source), start, count))
    draws = draw(settings.seed, start, count, (images.shape[1], images.shape[2], images.shape[3]))
    if settings.flip:
        mirrored = torch.from_numpy(draws.flip < 0.5)
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    draws = draws._replace(noise=draws.noise.to(device))
    return Batch(images.to(device), labels.to(device), draws)


def _update(
    network: nn.Module,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    gradient_clip: float,
    step: int,
) -> Outcome:
    outcome = objective(network, batch)
    loss = outcome.loss.mean()
    if not torch.isfinite(loss):
        worst = int(outcome.level[outcome.loss.detach().abs().nan_to_num(torch.inf).argmax()])
        raise FloatingPointError(
            f"the loss of step {step + 1} is {loss.item()}, worst at level {worst}; lower "
            "train.learning_rate, or continue from the last checkpoint in float32"
        )
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), gradient_clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return outcome


def _means(outcome: Outcome) -> dict[str, float]:
    return {name: float(values.mean()) for name, values in outcome.shown.items()}


def _continued(path: Path, steps: int) -> Any:
    """Open the log after its first `steps` lines; what a stopped run wrote beyond them goes."""
    lines = path.read_text().splitlines(keepends=True)[:steps] if path.exists() else []
    path.write_text("".join(lines))
    return path.open("a")
