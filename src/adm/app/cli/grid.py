"""adm grid MODEL --steps N -> the noise levels for N sampling steps, stored beside the model."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from adm.app.cli import lists
from adm.app.cli.options import Classifier, Device, Model
from adm.app.cli.output import AsJson, say, show
from adm.app.progress import progress
from adm.spec import SettingError

if TYPE_CHECKING:
    from adm.models.stored_grids import StoredGrid


def grid(
    model: Model,
    /,
    *,
    steps: Annotated[tuple[int, ...], lists.whole_numbers("5,8,10")],
    scale: float | None = None,
    classifier: Classifier = None,
    start: int | None = None,
    count: int = 256,
    seed: int = 0,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Search the noise levels for few sampling steps, and store them beside the model.

    Some images are sampled by 60 steps of DDIM. Between any two of these levels, a single step
    deviates from the trajectory; the levels found minimize the total deviation of their steps
    (Chen et al. 2024). Several numbers of steps take no longer than one.
    `adm sample --grid searched` then visits the levels stored for its number of steps, those of
    the nearest scale. They are stored in grids.json of a run folder, in x.grids.json beside
    x.safetensors, or in the user's own folder for a shipped model.

    Examples:

        adm grid runs/digits --steps 5,8,10

        adm grid runs/digits --classifier runs/digits-classifier --scale 1 --steps 10

        adm sample runs/digits --grid searched:steps=10 --count 8 --out out/ten

        adm sample fashion --grid searched:steps=8 --scale 2 --count 8 --out out/eight

    Parameters
    ----------
    steps
        Numbers of sampling steps, from 2 to 60, separated by commas or spaces.
    scale
        Guidance scale of the images; the recipe's value by default, which is 0 for most.
    start
        Noisiest level; by default the recipe's, or the noisiest one at which the noise is at most
        80 times the signal.
    count
        Number of images.
    seed
        Random seed of the images.
    """
    from adm.generation.diffusion import DiffusionGenerator
    from adm.generation.grid_search import search, teacher_of
    from adm.generation.pipeline import load
    from adm.models.stored_grids import store

    pipeline = load(model, classifier, None, device)
    # Two levels are possible from any start; the teacher has its own.
    even = "even:steps=2" if start is None else f"even:steps=2,start={start}"
    settings: dict[str, Any] = {"scale": scale, "grid": even, "seed": seed}
    generator = pipeline.generator(**settings)
    if not isinstance(generator, DiffusionGenerator):
        raise SettingError("model", "a diffusion model, which visits levels", model)
    teacher = teacher_of(generator)
    labels = pipeline.job(count=count, **settings).label_tensor
    total = count * teacher.sampling.grid.steps
    with progress(f"sampling {count} images", total, "network evaluations") as advance:
        grids = search(teacher, labels, count, sorted({*steps}), advance)
    path = store(teacher.model.path, grids)
    show(lambda: [asdict(each) for each in grids], as_json, lambda: _print(grids))
    say(f"{path}: the levels; use --grid searched", as_json)


def _print(grids: "Sequence[StoredGrid]") -> None:
    for each in grids:
        levels = " ".join(f"{level:.6g}" for level in each.levels)
        print(f"{each.steps} steps, scale {each.scale:g}, deviation {each.deviation:.3f}: {levels}")
