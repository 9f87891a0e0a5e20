"""teacher, recipe -> student: trained, resumed and refused like every run."""

from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from training.test_resuming import assert_same

from adm.generation.diffusion import DiffusionGenerator
from adm.models.identity import identify
from adm.models.load import load_classifier, load_diffusion
from adm.models.paths import resolve
from adm.models.teacher import Teacher
from adm.networks import UNet, prepared
from adm.recipes import build
from adm.runs.run import TrainOptions
from adm.samplers import DDIM, ClassifierGuide, Even, Guide, Sampling, WeakGuide
from adm.spec import SettingError
from adm.training.batches import Augmentation, batch_at
from adm.training.model_file import entries_of

CONSISTENCY = (
    "distillation.method=consistency",
    "distillation.method.stage_steps=1",
    "unet.conditions=scale",
    "sample.sampler=consistency",
)
METHODS = {
    "trajectory": (),
    "consistency": CONSISTENCY,
}
each_method = pytest.mark.parametrize("settings", METHODS.values(), ids=METHODS)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    folder = tmp_path_factory.mktemp("teacher")
    model = load_diffusion(tiny.model(folder / "d.safetensors", tiny.diffusion()))
    guide = load_classifier(tiny.model(folder / "c.safetensors", tiny.classifier(), seed=1))
    return Teacher(model, guide)


@each_method
def test_a_student_that_was_stopped_is_the_one_that_was_not(
    tmp_path: Path, teacher: Teacher, settings: tuple[str, ...]
) -> None:
    chosen = tiny.student(*settings, "unet.dropout=0.3", "train.save_every_steps=2")
    source, options = tiny.stripes(), TrainOptions(teacher=teacher)
    shown = tiny.steps(chosen, source, tmp_path / "whole", options=options)
    tiny.steps(chosen, source, tmp_path / "halves", count=3, options=options)
    assert len(tiny.steps(chosen, source, tmp_path / "halves", options=options)) == 2
    assert_same(tmp_path / "whole", tmp_path / "halves")
    assert all(0 < each["loss"] < 1e4 for each in shown)


@each_method
def test_micro_batches_change_no_loss(
    tmp_path: Path, teacher: Teacher, settings: tuple[str, ...]
) -> None:
    chosen = tiny.student(*settings, "train.steps=1", "train.precision=float32")
    (whole,), (parts,) = (
        tiny.steps(
            chosen,
            tiny.stripes(),
            tmp_path / str(size),
            options=TrainOptions(teacher=teacher, micro_batch=size),
        )
        for size in (4, 1)
    )
    assert parts["loss"] == pytest.approx(whole["loss"], rel=1e-5)
    assert parts["gradient_norm"] == pytest.approx(whole["gradient_norm"], rel=1e-4)


def test_a_checkpoint_names_its_teacher_and_resumes_with_no_other(
    tmp_path: Path, teacher: Teacher
) -> None:
    chosen, source = tiny.student("train.save_every_steps=1"), tiny.stripes()
    tiny.steps(chosen, source, tmp_path / "run", 1, TrainOptions(teacher=teacher))
    entries = entries_of(resolve(tmp_path / "run"))
    assert entries["teacher"]["sha256"] == identify(teacher.model.path)
    assert entries["guide"]["sha256"] == identify(teacher.classifier.path)
    path = tiny.model(tmp_path / "other.safetensors", tiny.diffusion(), seed=5)
    other = Teacher(load_diffusion(path), teacher.classifier)
    with pytest.raises(ValueError, match=r"holds another run: teacher\.sha256 is"):
        tiny.steps(chosen, source, tmp_path / "run", options=TrainOptions(teacher=other))


def test_a_student_is_its_teacher_at_first(teacher: Teacher) -> None:
    network = build.network(tiny.student())
    teacher.start(network)
    assert isinstance(network, UNet)
    network.eval()
    x, label = torch.randn(5, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1])
    timestep, conditions = torch.arange(5).float(), torch.rand(5, 2) * 10
    with torch.no_grad():
        ours = network(x, timestep, label, None, conditions)
        assert torch.equal(ours, teacher.model.network(x, timestep, label))
        # Its inputs count as soon as they have weights, in the prepared network as well.
        for embedding in network.condition_embeddings.values():
            torch.nn.init.normal_(embedding[-1].weight)
        moved = network(x, timestep, label, None, conditions)
        assert (moved - ours).abs().max() > 1e-3
        torch.testing.assert_close(
            prepared(network)(x, timestep, label, None, conditions), moved, rtol=1e-4, atol=1e-4
        )
    with pytest.raises(ValueError, match="takes the conditions next, scale, got 0 numbers"):
        network(x, timestep, label)
    with pytest.raises(ValueError, match="takes the conditions none, got 2 numbers"):
        teacher.model.network(x, timestep, label, None, conditions)


def test_a_run_starts_at_its_teacher(tmp_path: Path, teacher: Teacher) -> None:
    """The loss of the first step is that of the teacher's weights."""
    chosen = tiny.student("train.steps=1", "train.precision=float32")
    source, cpu = tiny.stripes(), torch.device("cpu")
    (shown,) = tiny.steps(chosen, source, tmp_path / "run", options=TrainOptions(teacher=teacher))
    network = build.network(chosen)
    teacher.start(network)
    first, *_ = build.objectives(chosen, cpu, teach=teacher.teach)
    loss = first(network, batch_at(source, chosen.train.seed, 0, 4, Augmentation())).loss
    assert shown["loss"] == pytest.approx(float(loss.detach().mean()), rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        (("distillation.interval=1,999",), r"interval must be within levels 0\.\."),
    ],
)
def test_a_student_s_settings_that_contradict_each_other_are_refused(
    settings: tuple[str, ...], refused: str
) -> None:
    with pytest.raises(ValueError, match=rf"distillation\.{refused}"):
        build.check(tiny.student(*settings))


def test_each_step_starts_where_the_student_has_arrived(teacher: Teacher) -> None:
    """The network is called at the points of sampling it, to its last step."""
    chosen = tiny.student("train.precision=float32", "distillation.steps=4")
    network = build.network(chosen)
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.15, generator=generator)
    points: list[torch.Tensor] = []

    def watched(x_t: torch.Tensor, *inputs: torch.Tensor | None) -> torch.Tensor:
        points.append(x_t)
        return network(x_t, *inputs)

    (objective,) = build.objectives(chosen, torch.device("cpu"), teach=teacher.teach)
    batch = batch_at(tiny.stripes(), 0, 0, 4, Augmentation())
    with torch.no_grad():
        objective(watched, batch)  # type: ignore[arg-type]
    model = replace(teacher.model, network=network.eval().requires_grad_(False), recipe=chosen)
    assert chosen.distillation is not None
    schedule = chosen.distillation.grid.of(model.schedule)
    low, high = chosen.distillation.scales
    scales = torch.from_numpy(low + (high - low) * batch.draws.scale)
    denoise = model.denoise(batch.labels, schedule, None, scale=scales)
    states = DDIM()(denoise, batch.draws.noise, schedule, lambda *_: batch.draws.noise)
    visited = [batch.draws.noise, *(state.x for state in states)]
    assert len(points) == 4
    for ours, sampled in zip(points, visited, strict=False):
        torch.testing.assert_close(ours, sampled, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("autoguided", [False, True])
def test_a_teacher_is_the_guided_sampler(
    tmp_path: Path, teacher: Teacher, autoguided: bool
) -> None:
    """At one scale for all images it predicts what the generator's denoiser does."""
    labels, scale = torch.tensor([0, 1, 2]), 1.7
    guides: tuple[Guide, ...] = (ClassifierGuide(scale=scale),)
    if autoguided:
        weak = load_diffusion(tiny.model(tmp_path / "w.safetensors", tiny.diffusion(), seed=2))
        recipe = tiny.student("distillation.weak_scale=1.5", "train.precision=float32")
        with pytest.raises(SettingError, match="teacher_weak"):
            teacher.of(recipe)
        teacher = replace(teacher, weak=weak).of(recipe)
        guides += (WeakGuide(scale=1.5),)
    sampling = Sampling(sampler=DDIM(), grid=Even(steps=5), guide=guides)
    generator = DiffusionGenerator(teacher.model, sampling, [teacher.classifier], teacher.weak)
    state = next(generator.trajectory(labels, range(3)))
    x = generator.noise(range(3)).start()
    taught = teacher.teach(generator.schedule, labels, torch.full((3,), scale))(x, 5)
    assert torch.equal(taught.x_0, state.prediction.x_0)
    other = teacher.teach(generator.schedule, labels, torch.tensor([scale, 0.0, scale]))(x, 5)
    assert torch.equal(other.x_0[0], taught.x_0[0])
    assert not torch.equal(other.x_0[1], taught.x_0[1])


def test_a_student_is_no_teacher(tmp_path: Path, teacher: Teacher) -> None:
    tiny.steps(
        tiny.student(), tiny.stripes(), tmp_path / "run", options=TrainOptions(teacher=teacher)
    )
    with pytest.raises(ValueError, match="is a student; give the teacher"):
        Teacher.load(tmp_path / "run")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("unet.channels=16",), r"unet\.channels must be that of the teacher, 8, got 16"),
        (("process.steps=30",), r"process must be that of the teacher, .*steps=20"),
    ],
)
def test_a_teacher_of_another_kind_is_refused(
    tmp_path: Path, teacher: Teacher, settings: tuple[str, ...], message: str
) -> None:
    chosen, options = tiny.student(*settings), TrainOptions(teacher=teacher)
    with pytest.raises(ValueError, match=message):
        tiny.steps(chosen, tiny.stripes(), tmp_path / "run", options=options)


def test_teacher_and_recipe_come_together(tmp_path: Path, teacher: Teacher) -> None:
    with pytest.raises(ValueError, match="distils a model; give teacher=MODEL"):
        tiny.steps(tiny.student(), tiny.stripes(), tmp_path / "run")
    options = TrainOptions(teacher=teacher)
    with pytest.raises(ValueError, match="distils no model; leave teacher out"):
        tiny.steps(tiny.diffusion(), tiny.stripes(), tmp_path / "run", options=options)
    with pytest.raises(ValueError, match="no classifier belongs to"):
        Teacher.load(teacher.model.path)
    with pytest.raises(ValueError, match=r"classes are sneaker, .* the data have ankle boot"):
        teacher.check(tiny.student(), tiny.CLASSES[::-1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("unet.conditions=[]",), r"this recipe needs next,scale; set unet\.conditions=next,scale"),
        (("distillation.steps=5",), "grid.steps must be a multiple of 5"),
        (("unet.classes=null",), "a model without classes cannot be distilled"),
    ],
)
def test_recipes_that_contradict_themselves_are_refused(
    settings: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build.check(tiny.student(*settings))
