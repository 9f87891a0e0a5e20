"""adm demo --out DIR -> report.html, samples/ at several guidance scales."""

from pathlib import Path
from typing import Annotated

from adm.app.cli import places
from adm.app.cli.options import Device, separated
from adm.app.cli.output import OUT, AsJson, say, show


def demo(
    *,
    out: Annotated[Path, OUT] = Path("out/demo"),
    per_class: int = 10,
    scales: Annotated[tuple[float, ...], separated(float)] = (0.0, 2.0, 8.0),
    seed: int = 0,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Sweep the guidance scale of the shipped Fashion-MNIST model, which needs no data.

    Writes what `adm sweep` does: report.html, a single self-contained file, its tables and scores,
    and samples/ with a sample folder for each scale. The page also compares the model with a
    student of it, which takes fewer steps from the same noise, and shows a cascade of two models of
    emoji in colour. The same command gives the same images, bit for bit. An interrupted command
    resumes when it is run again.

    Examples:

        adm demo

        adm demo --per-class 50 --scales 0,0.5,1,2 --seed 7 --out out/finer

    Parameters
    ----------
    out
        Folder to write.
    per_class
        Images per class and scale, at least 2.
    scales
        Guidance scales to sample at, separated by commas; 0 is no guidance.
    seed
        Random seed. Each image depends on the seed and its index only.
    """
    places.resumable(out, "a demo needs")
    from adm.app.study import demo as library
    from adm.app.study.page import PAGE
    from adm.app.study.scoring import locked_study
    from adm.models.device import pick

    plan = library.demo(scales, per_class, seed, pick(device))
    with locked_study(out, library.CPU):
        result = library.run_demo(plan, out)
    show(result.to_json, as_json, lambda: None)
    say(f"{out / PAGE}: open it to see the samples and scores; report.csv has the numbers", as_json)
