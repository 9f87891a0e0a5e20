"""Updates of a step -> number of bad steps in a row; Updates -> failure.json, error message."""

from collections.abc import Iterable, Mapping
from operator import itemgetter
from pathlib import Path

import torch

from adm.files import write_json
from adm.training.update import Update

MOST_NAMED = 8  # of the worst batch's images, in the message


def count(bad_steps: int, taken: Iterable[Update]) -> int:
    """How many steps in a row were bad, after this one.

    An overflow of float16's scaled gradient is no failure while a smaller scale may cure it.
    """
    skipped = [one for one in taken if one.skipped is not None]
    if not skipped:
        return 0
    return bad_steps + any(not one.curable for one in skipped)


def give_up(
    run: Path, done: int, taken: Mapping[str, Update], indices: list[int], last: Path | None
) -> str:
    """Write `failure.json` and say what happened.

    Args:
        done: optimizer steps taken or skipped, this one included.
        taken: what each player came to, by name.
        indices: of the global batch's images among those trained on.
        last: the newest checkpoint before the first of these steps.

    Returns:
        the text of the error.
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
    write_json(run / "failure.json", report)
    what = (
        "the network's output is not finite"
        if step.skipped == "forward"
        else "the loss is finite and its gradient is not"
    )
    levels = ", ".join(str(w["level"]) for w in worst[:MOST_NAMED])
    images = ", ".join(str(w["image"]) for w in worst[:MOST_NAMED])
    place = f"start a new run from {last}" if last else "start again"
    whose = f", {name}" if named else ""
    return (
        f"step {done}{whose}: {what}, for too many steps in a row; worst at levels {levels} with "
        f"images {images} (all in {run / 'failure.json'}); {place} with a lower "
        "train.learning_rate, a smaller train.gradient_clip or train.precision=float32"
    )
