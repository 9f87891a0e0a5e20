"""Student, reference -> table of Fréchet distances by how many of its steps are its own.

    adm reference fashion-mnist --split test --features efficientnet-lite0 --out lite.npz
    python benchmarks/student.py fashion-fast --reference lite.npz

The teacher's points take the place of the student's first steps: of all of them in the first row,
and of none in the last one. With --noise a row follows of the teacher's images with noise that
nobody sees, which shows what the features do see.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from adm.app.processor import described
from adm.app.scoring.reference import load_reference
from adm.diffusion import Schedule
from adm.distillation import Trajectory, stepped
from adm.features import open_features
from adm.images import to_uint8
from adm.metrics import frechet_score
from adm.models.load import load_diffusion
from adm.models.teacher import Teacher
from adm.models.trained import DiffusionModel
from adm.samplers.dpm_solver import dpm_solver
from adm.samplers.solver import ExponentialSteps

BATCH = 125
GREY_LEVEL = 2 / 255


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("student", help="by trajectory distillation: a path or a shipped name")
    parser.add_argument("--teacher", default="fashion")
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--features", default="efficientnet-lite0")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--scale", type=float, default=2.0)
    parser.add_argument("--noise", type=float, help="standard deviation in grey levels, as in 1")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    distance = scorer(args.features, args.reference)
    print(
        f"{args.count} images, scale {args.scale:g}, seed {args.seed}; "
        f"torch {torch.__version__}, {described()}\n\n| images | Fréchet distance |\n|---|---|"
    )
    model, teacher = load_diffusion(args.student), Teacher.load(args.teacher)
    noise = torch.randn(
        args.count, *model.shape, generator=torch.Generator().manual_seed(args.seed)
    )
    labels = torch.arange(args.count) % len(model.classes)
    starts = points(teacher, model, noise, labels, args.scale, args.steps)
    for own, start in enumerate(starts):
        title = f"{own} of {args.steps} steps its own" if own else "the teacher's"
        images = finished(model, start, labels, args.scale, args.steps, own)
        print(f"| {title} | {distance(images)} |", flush=True)
    if args.noise is not None:
        unseen = torch.Generator().manual_seed(args.seed + 1)
        noisy = starts[0] + args.noise * GREY_LEVEL * torch.randn(noise.shape, generator=unseen)
        print(
            f"| the teacher's, and noise of deviation {args.noise:g} in 255 | {distance(noisy)} |"
        )


def scorer(features: str, reference: Path) -> Callable[[Tensor], str]:
    """Return the Fréchet distance of (N, C, H, W) images in [-1, 1], with its 95% interval."""
    extractor = open_features(features)
    real = load_reference(reference, extractor).statistics

    def distance(images: Tensor) -> str:
        pools = [extractor.extract(to_uint8(batch)).pool for batch in images.split(BATCH)]
        pooled = torch.cat(pools).double().numpy()
        score = frechet_score(pooled, real)
        return f"{score.value:.1f} ({score.low:.1f} to {score.high:.1f})"

    return distance


@torch.no_grad()
# Six parameters: the two models, and what a sample depends on.
def points(
    teacher: Teacher, model: DiffusionModel, noise: Tensor, labels: Tensor, scale: float, steps: int
) -> list[Tensor]:
    """Return the teacher's images, and its points where the last 1, 2, ... student steps begin."""
    how = model.recipe.distillation
    if how is None or not isinstance(how.method, Trajectory):
        raise SystemExit(
            f"{model} is no student by trajectory distillation; give one, as fashion-fast"
        )
    fine = model.schedule.visiting(how.grid.visited(model.schedule))
    levels = range(0, fine.last, fine.last // steps)
    reached: dict[int, list[Tensor]] = {level: [] for level in levels}
    for x, y in zip(noise.split(BATCH), labels.split(BATCH), strict=True):
        teach = teacher.teach(fine, y, torch.full((len(x),), scale))
        for state in dpm_solver(teach, x, ExponentialSteps(fine), how.method.order):
            if state.level in reached:
                reached[state.level].append(state.x)
    return [*(torch.cat(batches) for batches in reached.values()), noise]


@torch.no_grad()
# Six parameters: a model, and what a sample depends on.
def finished(
    model: DiffusionModel, start: Tensor, labels: Tensor, scale: float, steps: int, own: int
) -> Tensor:
    """Return the images after the last `own` steps of the student from these points."""
    schedule = student_schedule(model, steps)
    images: list[Tensor] = []
    for x, y in zip(start.split(BATCH), labels.split(BATCH), strict=True):
        denoise = model.denoise(y, schedule, scale=scale)
        for level in range(own, 0, -1):
            x = stepped(schedule, denoise(x, level), level - 1)
        images.append(x)
    return torch.cat(images)


def student_schedule(model: DiffusionModel, steps: int) -> Schedule:
    """Return the process of the levels that the student visits."""
    how = model.recipe.distillation
    assert how is not None
    return model.schedule.visiting(how.levels(model.schedule, steps))


if __name__ == "__main__":
    main()
