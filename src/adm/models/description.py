"""Recipe, Metadata -> what a model is in a line, and the rows that describe it."""

from collections.abc import Iterable

from adm.networks import parameters_of
from adm.recipes.schema import ClassifierRecipe, DiffusionRecipe, Recipe
from adm.samplers.guide import Guide
from adm.shown import count_of
from adm.spec import text
from adm.training.model_file import Metadata

DATA = {  # as a released file names them
    "imagenet/": "ImageNet",
    "cifar10/": "CIFAR-10",
    "lsun/bedroom/": "LSUN bedroom",
    "lsun/cat/": "LSUN cat",
    "lsun/horse/": "LSUN horse",
}
WEIGHTS = {"model": "the average that a run is sampled with", "raw": "without averaging"}
MOST_NAMED = 24  # classes


def describe(
    recipe: Recipe,
    data: str | None = None,
    guides: Iterable[Guide] = (),
    classifier: object = None,
    weak: object = None,
) -> str:
    """Say what a model is, as in "fashion-mnist 28x28: unconditional diffusion model".

    Args:
        data: name of the training images; by default that in the recipe.
        guides: those by which it is sampled by default.
        classifier, weak: names of the models that guide it; None for none.
    """
    source = data or recipe.data.source
    names = {"classifier": classifier, "weak": weak}
    by = [
        f"{'away from' if each.name == 'weak' else 'by'} {names[each.name]} at scale {each.scale:g}"
        for each in guides
        if names.get(each.name)
    ]
    guided = f", guided {' and '.join(by)}" if by else ""
    return f"{DATA.get(source, source)} {_sides(recipe.data.size)}: {_kind(recipe)}{guided}"


def _kind(recipe: Recipe) -> str:
    if isinstance(recipe, ClassifierRecipe):
        return "noisy classifier" if recipe.noised else "classifier of clean images, a judge"
    kind, small = "diffusion model", recipe.data.low_res
    if small is not None and recipe.data.paired:
        kind = f"{kind} conditioned on {_sides(small)}"
    elif small is not None:
        kind = f"upsampler from {_sides(small)}"
    elif recipe.distillation is not None:
        kind = f"student of {_steps(recipe.distillation.steps)}"
    elif recipe.sample.sampler.name == "consistency":
        kind = "consistency model"
    return f"{'class-conditional' if recipe.config.classes else 'unconditional'} {kind}"


def facts(recipe: Recipe, metadata: Metadata) -> dict[str, str]:
    """Describe a model: its recipe, classes, training, process and settings."""
    classes = list(metadata.classes) if recipe.config.classes is not None else []
    steps = recipe.train.steps if metadata.step is None else metadata.step
    rows = {
        "recipe": f"{recipe.name} ({recipe.kind})",
        "parameters": f"{parameters_of(recipe.config):,}",
        "images": f"{_sides(recipe.data.size)}, {count_of(recipe.data.channels, 'channel')}",
        "classes": _listed(classes),
        "trained": f"{steps:,} steps of {recipe.train.batch_size} images of "
        f"{metadata.data or 'unknown data'}",
    }
    if (stored := metadata.weights) is not None:
        rows["weights"] = WEIGHTS.get(stored, f"average {stored}")
    if (start := metadata.start) is not None:
        rows["starting from"] = _origin(start.model, start.step, start.sha256)
    origins = {"teacher": metadata.teacher, "guide": metadata.guide, "weak guide": metadata.weak}
    for part, of in origins.items():
        if of is not None:
            rows[part] = _origin(of.recipe, of.trained_steps, of.sha256)
    rows["process"] = f"{recipe.process.schedule}, {recipe.process.steps} steps"
    return rows if isinstance(recipe, ClassifierRecipe) else rows | _sampled(recipe)


def _sampled(recipe: DiffusionRecipe) -> dict[str, str]:
    """Describe what the network predicts, and how it is sampled by default."""
    sampling, student = recipe.sample, recipe.distillation
    scale = f", at scale {sampling.scale:g}" if sampling.scale else ""
    if student is not None:
        low, high = student.scales
        steps = _steps(student.steps)
        if len(student.steps) > 1:
            steps += f"; {sampling.grid.steps} by default"
        return {
            "distilled": f"by {student.method.name} distillation, for scales {low:g} to {high:g}",
            "sampled by": f"{sampling.sampler.name}, {steps}{scale}",
        }
    start = f" from level {sampling.grid.start}" if sampling.grid.start else ""
    return {
        "predicts": f"{text(recipe.process.prediction)}, variance {recipe.process.variance}",
        "sampled by": f"{sampling.sampler.name}, {sampling.grid.steps} steps{start}{scale}",
    }


def _sides(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))


def _steps(several: Iterable[int]) -> str:
    return f"{' or '.join(map(str, sorted(several)))} steps"


def _origin(recipe: str, steps: int | None, sha256: str) -> str:
    """Name the model that another was made from, with the start of its file's hash."""
    trained = "" if steps is None else f"{steps:,} steps, "
    return f"{recipe} ({trained}sha256 {sha256[:12]})"


def _listed(classes: list[str]) -> str:
    if len(classes) <= MOST_NAMED:
        return ", ".join(classes) or "none"
    return f"{len(classes)}: {', '.join(classes[:3])} ... {classes[-1]}"
