"""adm demo --out DIR -> report.html, which fills itself, and samples/."""

from pathlib import Path
from typing import Annotated

from adm.app.cli import places
from adm.app.cli.options import Device
from adm.app.cli.output import OUT, AsJson, say, show


def demo(
    *,
    out: Annotated[Path, OUT] = Path("out/demo"),
    per_class: int | None = None,
    seed: int = 0,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Show what guidance does, with the shipped models, on a page that fills itself.

    Writes report.html, a single self-contained file that a browser can show from the first seconds
    on: it refreshes itself while the demo runs. It shows a model without labels guided to one class
    at several scales, emoji with guidance and without, how they come from noise, larger ones and
    those of a student, and then scores. samples/ has a sample folder for each.

    The first images are timed, and as many others follow as fit in about 15 seconds; a faster
    computer makes more of the same images. The same command gives the same images, bit for bit, and
    resumes if it was interrupted. `adm sweep` compares other settings.

    Examples:

        adm demo

        adm demo --per-class 10 --seed 7 --out out/more

    Parameters
    ----------
    out
        Folder to write.
    per_class
        Images per class, at least 2; by default as many as fit.
    seed
        Random seed. Each image depends on the seed and its index only.
    """
    places.resumable(out, "a demo needs")
    from adm.app.study import demo as library
    from adm.app.study.page import PAGE
    from adm.app.study.scoring import locked_study
    from adm.models.device import pick

    def tell(line: str) -> None:
        say(line, as_json)

    plan = library.Demo(out, seed, pick(device), per_class, tell)
    with locked_study(out, library.CPU):
        tell(f"{out / PAGE}: open it now; pictures appear there while the demo runs")
        result = plan.run()
    show(result.to_json, as_json, lambda: None)
    tell(f"{out / PAGE}: complete; report.csv has the scores")
