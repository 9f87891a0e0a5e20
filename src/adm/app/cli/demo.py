"""adm demo --out DIR -> report.html, samples/ at several guidance scales."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from adm.app.cli import lists, places
from adm.app.cli.output import OUT, AsJson, say, show
from adm.app.cli.progress import progress
from adm.app.study.demo import CASCADE, FILES, MANIFEST, REPORT, SAMPLES, SCALES, SCORES
from adm.data.naming import ANIMATION, SHEET


def demo(
    *,
    out: Annotated[Path, OUT] = Path("out/demo"),
    per_class: int = 12,
    scales: Annotated[tuple[float, ...], lists.numbers("0,1,2")] = SCALES,
    seed: int = 0,
    sampler: str | None = None,
    steps: int | None = None,
    device: str | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    as_json: AsJson = False,
) -> None:
    """Sample the shipped Fashion-MNIST model at several guidance scales, and write a report.

    Writes report.html, a single self-contained file, the pictures grid.png and denoising.gif, and
    samples/ with PNG files and samples.npz. The report compares the model with a student of it,
    which takes fewer steps from the same noise, and shows a cascade of two models of emoji in
    colour, whose images are in emoji/. The same command gives the same images, bit for
    bit. An interrupted command resumes when it is run again, and a finished one is done.

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
        Guidance scales to sample at, separated by commas or spaces; 0 is no guidance.
    seed
        Random seed. Each image depends on the seed and its index only.
    sampler
        Sampler, as in `adm sample`; the recipe's by default.
    steps
        Noise levels that sampling visits; the recipe's value by default.
    device
        Device: cpu, cuda, cuda:1 or mps. The best available by default.
    overwrite
        Replace the folder of an earlier demo.
    as_json
        Print the scores as one JSON document.
    """
    from adm.generation.labels import positive

    places.replaceable(out)
    _check_free(out, overwrite)
    positive("per_class=...", per_class)
    # Imported here, so that --help does not load torch.
    from adm.app.study.demo.report import write
    from adm.app.study.demo.run import evaluations, manifest, preset, run, shipped
    from adm.models.device import pick
    from adm.store.files import empty, new_folder, work_folder
    from adm.store.parsed import read_json

    models = shipped(pick(device))
    sweep = preset(models, scales, per_class, sampler=sampler, steps=steps, seed=seed)
    with work_folder(out) as cache:
        if not overwrite and _is_complete(out, manifest(models, sweep)):
            empty(cache)
            say(f"{out} is complete; add --overwrite to sample again", as_json)
        else:
            with progress("sampling", evaluations(models, sweep), "network evaluations") as advance:
                made = run(models, sweep, cache, advance)
            with new_folder(out, overwrite, cache) as folder:
                write(folder, made)
    scores = read_json(out / SCORES)
    show(lambda: scores, as_json, lambda: _print(scores))
    say(f"\n{out / SAMPLES}, {out / CASCADE}: the images", as_json)
    say(f"{out / ANIMATION}: from noise to image", as_json)
    pictures = f"{out / SHEET}, {out / REPORT}"
    say(f"{pictures}: open them to see the samples and scores", as_json)


def _check_free(out: Path, overwrite: bool) -> None:
    """Raise FileExistsError unless the folder is free, an earlier demo to overwrite, or a demo."""
    held = {p.name for p in out.iterdir()} if out.is_dir() else set()
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is a file; choose another --out")
    ours = held <= FILES and bool(held & {REPORT, MANIFEST})
    if held and not (ours and (overwrite or MANIFEST in held)):
        hint = "add --overwrite, or " if ours else ""
        raise FileExistsError(f"{out} already exists and is not empty; {hint}choose another --out")


def _is_complete(out: Path, asked: dict[str, Any]) -> bool:
    """Return whether the folder holds this demo; raise FileExistsError if it holds another."""
    from adm.differences import first_difference
    from adm.store.hashes import damaged_parts
    from adm.store.parsed import cached_json, through_json

    if not out.is_dir() or not any(out.iterdir()):
        return False
    lacks = sorted(name for name in FILES if not (out / name).exists())
    difference = first_difference(cached_json(out / MANIFEST) or {}, through_json(asked))
    if lacks:
        difference = f"{lacks[0]} is missing there"
    elif damaged := damaged_parts(out):
        difference = f"{damaged[0]} is damaged there"
    if difference:
        raise FileExistsError(
            f"{out} holds another demo: {difference}; add --overwrite, or choose another --out"
        )
    return True


def _print(scores: dict[str, Any]) -> None:
    print("scale  steps  fidelity  diversity")
    for row in scores["scales"]:
        print(_line(row))
    for row in scores["student"]:
        print(f"{_line(row)}  student")
    real = scores["real"]
    print(f" real         {100 * real['fidelity']:7.1f}%  {real['diversity']:9.3f}")


def _line(row: dict[str, Any]) -> str:
    fidelity = 100 * row["fidelity"]["value"]
    return f"{row['scale']:5g}  {row['steps']:5}  {fidelity:7.1f}%  {row['diversity']:9.3f}"
