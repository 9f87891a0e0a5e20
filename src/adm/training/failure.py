"""Updates of a step -> number of bad steps in a row; Updates -> failure.json, error message."""

from collections.abc import Iterable, Mapping
from operator import itemgetter
from pathlib import Path

import torch

from adm.store.files import write_json
from adm.training.disk import writing
from adm.training.update import Update

MOST_NAMED = 8  # images listed in the message


def count(bad_steps: int, taken: Iterable[Update]) -> int:
    """Return the number of consecutive bad steps, this one included.

    An overflow of the scaled float16 gradient does not count while a smaller scale may prevent it.

    Args:
        bad_steps: the number before this step.
        taken: the updates of this step.
    """
    skipped = [one for one in taken if one.skipped is not None]
    if not skipped:
        return 0
    return bad_steps + any(not one.curable for one in skipped)


def give_up(
    run: Path, done: int, taken: Mapping[str, Update], indices: list[int], last: Path | None
) -> str:
    """Write `failure.json`, and return the message of the error.

    Args:
        run: the run folder.
        done: optimizer steps taken or skipped, this one included.
        taken: the updates of this step, by player.
        indices: indices of the global batch's images in the training set.
        last: the newest checkpoint before the first bad step, if there is one.
    """
    skipped = ((one.curable, name) for name, one in taken.items() if one.skipped is not None)
    _, name = min(skipped, key=itemgetter(0))
    step, named = taken[name], {"player": name} if len(taken) > 1 else {}
    loss = step.rows["loss"].abs().nan_to_num(torch.inf, torch.inf)
    worst = [
        {"image": indices[i], "level": int(step.level[i]), "loss": str(step.rows["loss"][i].item())}
        for i in loss.argsort(descending=True).tolist()
    ]
    report = {"step": done, **named, "skipped": step.skipped, "worst": worst}
    with writing(f"step {done} is not finite, and {run / 'failure.json'}"):
        write_json(run / "failure.json", report)
    what = (
        "the network's output is not finite"
        if step.skipped == "forward"
        else "the loss is finite, but its gradient is not"
    )
    levels = ", ".join(str(w["level"]) for w in worst[:MOST_NAMED])
    images = ", ".join(str(w["image"]) for w in worst[:MOST_NAMED])
    place = f"start a new run from {last}" if last else "start a new run"
    whose = f", {name}" if named else ""
    return (
        f"step {done}{whose}: {what}, for too many consecutive steps; worst at levels {levels}, "
        f"for images {images} (all are in {run / 'failure.json'}); {place} with a lower "
        "train.learning_rate, a smaller train.gradient_clip or train.precision=float32"
    )
