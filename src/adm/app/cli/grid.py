"""adm grid MODEL --steps N -> the noise levels for N sampling steps, stored beside the model."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from adm.app.cli import lists, places
from adm.app.cli.output import AsJson, say, show
from adm.app.progress import progress
from adm.store.files import new_file

if TYPE_CHECKING:
    from adm.diffusion import Schedule
    from adm.generation.grid_search import Search
    from adm.models.stored_grids import StoredGrid

COEFFICIENTS = (0.1, 10.0)  # beyond these, one step would count for all


def grid(
    model: str,
    /,
    *,
    steps: Annotated[tuple[int, ...], lists.whole_numbers("5,8,10")],
    scale: float | None = None,
    classifier: str | None = None,
    start: int | None = None,
    count: int = 256,
    coefficient: float = 1.15,
    seed: int = 0,
    device: str | None = None,
    plot: Path | None = None,
    as_json: AsJson = False,
) -> None:
    """Search the noise levels for few sampling steps, and store them beside the model.

    Some images are sampled by 60 steps of DDIM. For any two of these levels, one step from the
    upper to the lower one leaves the trajectory by so much; the levels found are those whose steps
    leave it least in all (Chen et al. 2024). Several numbers of steps take no longer than one.
    `adm sample --grid searched` then visits the levels stored for its number of steps, those of
    the nearest scale. They are stored in grids.json of a run folder, or in x.grids.json beside
    x.safetensors.

    Examples:

        adm grid runs/digits --steps 5,8,10 --plot grid.png

        adm grid runs/digits --classifier runs/digits-classifier --scale 1 --steps 10

        adm sample runs/digits --grid searched:steps=10 --count 8 --out out/ten

        adm sample fashion --grid searched:steps=8 --scale 2 --count 8 --out out/eight

    Parameters
    ----------
    model
        A path (a file or a run folder) or a shipped name, such as fashion.
    steps
        Numbers of sampling steps, from 2 to 60, separated by commas or spaces.
    scale
        Guidance scale of the images; the recipe's value by default, which is 0 for most.
    classifier
        Noisy classifier that guides: a path or a shipped name. By default the one that belongs to
        the model.
    start
        Noisiest level; by default the recipe's, or the noisiest one at which the noise is at most
        80 times the signal.
    count
        Number of images.
    coefficient
        Weight of later steps: each counts this many times as much as the one before it.
    seed
        Random seed of the images.
    device
        Device: cpu, cuda, cuda:1 or mps. The best available by default.
    plot
        File to plot the levels to, over the deviation of the steps: PNG, PDF or SVG.
    as_json
        Print the result as one JSON document.
    """
    low, high = COEFFICIENTS
    if not low <= coefficient <= high:
        raise ValueError(f"coefficient must be in {low}..{high}, got {coefficient:g}")
    if plot is not None:
        places.file(plot, "--plot", "grid.png")
    # Imported here, so that --help does not load torch.
    from adm.generation.diffusion import DiffusionGenerator
    from adm.generation.grid_search import search, teacher_of
    from adm.generation.pipeline import load
    from adm.models.stored_grids import file_of, store
    from adm.spec import SettingError

    pipeline = load(model, classifier, None, device)
    # Two levels are possible from any start; the teacher has others.
    even = "even:steps=2" if start is None else f"even:steps=2,start={start}"
    settings: dict[str, Any] = {"scale": scale, "grid": even, "seed": seed}
    generator = pipeline.generator(**settings)
    if not isinstance(generator, DiffusionGenerator):
        raise SettingError("model", "a diffusion model, which visits levels", model)
    teacher = teacher_of(generator)
    labels = pipeline.job(count=count, **settings).label_tensor
    total = count * teacher.sampling.grid.steps
    with progress(f"sampling {count} images", total, "network evaluations") as advance:
        found = search(teacher, labels, count, sorted({*steps}), coefficient, advance)
    store(teacher.model.path, found.grids)
    show(lambda: [asdict(each) for each in found.grids], as_json, lambda: _print(found.grids))
    say(f"{file_of(teacher.model.path)}: the levels; use --grid searched", as_json)
    if plot is not None:
        draw(found, teacher.model.schedule, plot)
        say(f"{plot}: the levels over the deviation", as_json)


def _print(grids: "Sequence[StoredGrid]") -> None:
    for each in grids:
        levels = " ".join(f"{level:.6g}" for level in each.levels)
        print(f"{each.steps} steps, scale {each.scale:g}, deviation {each.deviation:.3f}: {levels}")


def draw(found: "Search", schedule: "Schedule", path: Path) -> None:
    """Plot the levels found against log-SNR, above the deviation of single steps of the teacher."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    for each in found.grids:
        at = [float(value) for value in schedule.log_snr_at(each.levels)]
        upper.plot(at, [each.steps] * len(at), "o-", markersize=4, linewidth=0.8)
    upper.set(ylabel="steps", yticks=[each.steps for each in found.grids])
    at = [float(value) for value in schedule.log_snr_at(found.teacher)]
    for width in (2, 5, 10):
        costs: list[Any] = [float(each) for each in found.cost.diagonal(-width)]
        lower.plot(at[width - 1 :], costs, label=f"over {width} levels of the teacher")
    lower.set(xlabel="log-SNR of the level", ylabel="deviation of one step", yscale="log")
    lower.legend(loc="lower left", fontsize="small")
    with new_file(path) as part:
        figure.savefig(part, dpi=150, format=path.suffix[1:] or "png")
