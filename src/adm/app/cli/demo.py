"""adm demo --out DIR -> report.html, samples/ at several guidance scales."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from adm.app.cli import lists, places
from adm.app.cli.output import OUT, AsJson, say, show
from adm.app.progress import progress


def demo(
    *,
    out: Annotated[Path, OUT] = Path("out/demo"),
    per_class: int = 12,
    scales: Annotated[tuple[float, ...], lists.numbers("0,1,2")] = (0.0, 1.0, 2.0, 4.0, 8.0),
    seed: int = 0,
    device: str | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    as_json: AsJson = False,
) -> None:
    """Sample the shipped Fashion-MNIST model at several guidance scales, and write a report.

    Writes report.html, a single self-contained file, and samples/ with a sample folder for each
    scale. The report compares the model with a student of it, which takes fewer steps from the same
    noise, and shows a cascade of two models of emoji in colour. The same command gives the same
    images, bit for bit. An interrupted command resumes when it is run again.

    Examples:

        adm demo

        adm demo --per-class 50 --scales 0 0.5 1 2 --seed 7 --out out/finer

    Parameters
    ----------
    out
        Folder to write.
    per_class
        Images per class and scale, at least 2.
    scales
        Guidance scales to sample at, separated by commas or spaces; 0 is no guidance.
    seed
        Random seed. Each image depends on the seed and its index only.
    device
        Device: cpu, cuda, cuda:1 or mps. The best available by default.
    overwrite
        Sample again what an earlier demo has sampled.
    as_json
        Print the scores as one JSON document.
    """
    places.resumable(out, "a demo needs")
    # Imported here, so that --help does not load torch.
    from adm.app.study.demo import REPORT, SAMPLES, evaluations, jobs, sample, shipped, write
    from adm.models.device import pick

    models = shipped(pick(device))
    every = jobs(models, scales, per_class, seed)
    with progress("sampling", evaluations(every), "network evaluations") as advance:
        sample(every, out, overwrite, advance)
    scores = write(models, every, out)
    show(lambda: scores, as_json, lambda: _print(scores))
    say(f"\n{out / SAMPLES}: the images", as_json)
    say(f"{out / REPORT}: open it to see the samples and scores", as_json)


def _print(scores: dict[str, Any]) -> None:
    print("             fidelity  diversity")
    for name, row in scores.items():
        print(f"{name:11}  {100 * row['fidelity']['value']:7.1f}%  {row['diversity']:9.3f}")
