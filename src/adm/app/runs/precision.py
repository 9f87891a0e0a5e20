"""Chosen, run folder, Devices -> Chosen in the precision that suits the machine.

A run keeps the precision that it began with, on whichever machine it resumes.
"""

from pathlib import Path

from adm.app.runs.claim import recipe_in
from adm.app.runs.data import Chosen
from adm.processes import Devices
from adm.processor import half_precision
from adm.recipes.following import PRECISION, in_precision

HALF, WHOLE = "bfloat16", "float32"
SLOW = (
    f"{PRECISION}={WHOLE}: this processor is not known to have instructions for {HALF}, without "
    f"which it is many times slower; set {PRECISION}={HALF} to use it anyway"
)


def suited(chosen: Chosen, run: Path, devices: Devices) -> Chosen:
    """Return a recipe that trains in float32 on a CPU without instructions for bfloat16.

    A precision that was set stays, and so does that of a run that is resumed.

    Raises:
        ValueError: the run in the folder is damaged.
    """
    if PRECISION not in chosen.free:
        return chosen
    if (earlier := devices.once(lambda: recipe_in(run))) is not None:
        kept = in_precision(chosen.recipe, chosen.free, earlier.train.precision)
        return chosen._replace(recipe=kept)
    slow = devices.any(devices.device.type == "cpu" and not half_precision())
    if not slow or chosen.recipe.train.precision != HALF:
        return chosen
    whole = in_precision(chosen.recipe, chosen.free, WHOLE)
    return chosen._replace(recipe=whole, notes=(*chosen.notes, SLOW))
