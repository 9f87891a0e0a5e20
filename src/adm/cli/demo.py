"""adm demo --out DIR -> report.html, samples/ at several guidance scales."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from adm.cli.progress import progress
from adm.demo import SCALES

if TYPE_CHECKING:
    from adm.demo.run import Column


def demo(
    *,
    out: Path = Path("out/demo"),
    per_class: int = 12,
    scales: Annotated[list[float], Parameter(consume_multiple=True, negative="")] = list(SCALES),  # noqa: B006
    seed: int = 0,
    sampler: str | None = None,
    steps: int | None = None,
    device: str | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Sample the shipped Fashion-MNIST model at several guidance scales, and write a report.

    Writes report.html, a single self-contained file, and samples/ with PNG files and samples.npz.
    The same command gives the same images, bit for bit.

    Examples:

        adm demo

        adm demo --per-class 50 --scales 0 0.5 1 2 --seed 7 --out out/finer

        adm demo --sampler ancestral --steps 100 --out out/ancestral

    Parameters
    ----------
    out
        Folder to write.
    per_class
        Images per class and scale, at least 2.
    scales
        Guidance scales to sample at; 0 is no guidance.
    seed
        Random seed. Each image depends on the seed and its index only.
    sampler
        ancestral or ddim, with parameters after colons, as in ddim:eta=0.5; the recipe's sampler by
        default.
    steps
        Network evaluations per image; the recipe's value by default.
    device
        Device: cpu, cuda, cuda:1 or mps. The best available by default.
    overwrite
        Replace the folder of an earlier demo.
    """
    # Imported here, so that --help does not load torch.
    from adm.data.export import new_folder
    from adm.demo.report import page, write
    from adm.demo.run import columns, preset, shipped
    from adm.models.device import pick

    _check_free(out, overwrite)
    models = shipped(pick(device))
    sweep = preset(models, scales, per_class, sampler=sampler, steps=steps, seed=seed)
    started = time.monotonic()
    evaluations = sum(sweep.job(point).evaluations for point in sweep.points)
    with progress("sampling", evaluations) as advance:
        made = list(columns(models, sweep, lambda n, scale: advance(n, f"scale {scale:g}")))
    report = page(models, made, sweep.base, time.monotonic() - started)
    with new_folder(out, overwrite) as folder:
        write(folder, made, sweep.classes, seed, report)
    _print(made, models.reference.accuracy)
    print(f"\n{out / 'report.html'}: open it in a browser; {out / 'samples'}: the images")


def _check_free(out: Path, overwrite: bool) -> None:
    held = {p.name for p in out.iterdir()} if out.is_dir() else set()
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is a file; choose another --out")
    if held and not (overwrite and held <= {"report.html", "samples"}):
        hint = "add --overwrite, or " if held <= {"report.html", "samples"} else ""
        raise FileExistsError(f"{out} already exists and is not empty; {hint}choose another --out")


def _print(columns: list["Column"], real: float) -> None:
    print("scale  fidelity  diversity")
    for c in columns:
        print(f"{c.scale:5g}  {100 * c.scores.fidelity.value:7.1f}%  {c.scores.diversity:9.3f}")
    print(f" real  {100 * real:7.1f}%      1.000")
