"""student, scale, steps -> images: without classifier, at the levels that it was distilled for."""

from pathlib import Path

import pytest
import tiny
import torch

import adm
from adm.diffusion import cosine
from adm.generation.diffusion import DiffusionGenerator
from adm.generation.resolve import resolve
from adm.models.load import load_classifier, load_diffusion
from adm.models.trained import DiffusionModel
from adm.samplers import DDIM, Distilled, Sampling
from adm.spec import SettingError

LABELS = torch.tensor([0, 1, 2])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    folder = tmp_path_factory.mktemp("student")
    return load_diffusion(tiny.model(folder / "s.safetensors", tiny.student()))


def generator_of(model: DiffusionModel, **settings) -> DiffusionGenerator:
    return DiffusionGenerator(model, resolve(model, model.recipe.sample.change(**settings)))


def images(model: DiffusionModel, **settings) -> torch.Tensor:
    generator = generator_of(model, **settings)
    return generator.images(LABELS, range(3))


def test_the_scale_is_an_input(model: DiffusionModel) -> None:
    plain, guided = images(model), images(model, scale=2.0)
    assert not torch.equal(plain, guided)
    assert torch.equal(images(model, scale=0.0), plain)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_student_takes_one_call_a_step_at_its_levels(model: DiffusionModel, steps: int) -> None:
    generator = generator_of(model, steps=steps, scale=1.5)
    assert str(generator.cost) == f"{steps} call{'s' * (steps > 1)} of the network"
    assert generator.evaluations == steps
    how = model.recipe.distillation
    assert how is not None
    assert generator.sampling.grid.levels == how.levels(model.schedule, steps)
    assert len(list(generator.trajectory(LABELS, range(3)))) == steps
    # The settings of a manifest make the same images.
    again = DiffusionGenerator(model, resolve(model, generator.sampling))
    assert torch.equal(again.images(LABELS, range(3)), generator.images(LABELS, range(3)))


def test_steps_are_those_of_ddim_without_a_threshold(model: DiffusionModel) -> None:
    """Computed by hand, from the network and the schedule."""
    generator = generator_of(model, steps=2, scale=1.0)
    *_, state = generator.trajectory(LABELS, range(3))
    schedule, x = generator.schedule, generator.noise(range(3)).start()
    for level in (2, 1):
        step = schedule.timestep(level, x)
        conditions = torch.stack([schedule.timestep(level - 1, x), torch.ones(3)], dim=1)
        raw = model.prepared("float32")(x, step, LABELS, None, conditions)
        p = model.parameterization.predict(schedule, raw, x, level)
        signal, sigma = schedule.signal[level - 1].float(), schedule.sigma[level - 1].float()
        x = signal * p.x_0 + sigma * p.noise
    torch.testing.assert_close(state.x, x)
    assert state.x.abs().max() > 1, "nothing was clipped"


def test_a_classifier_is_neither_needed_nor_taken(model: DiffusionModel, tmp_path: Path) -> None:
    guide = load_classifier(tiny.model(tmp_path / "c.safetensors", tiny.classifier()))
    sampling = generator_of(model, scale=2.0).sampling
    with pytest.raises(SettingError, match="is distilled from a guided model"):
        DiffusionGenerator(model, sampling, [guide])
    samples = adm.load(model.path, device="cpu").sample("all:1", scale=2.0)
    assert len(samples.images) == 3


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"steps": 3}, "steps"),
        ({"scale": 5.0}, "scale"),
        ({"scale": -1.0}, "scale"),
        ({"sampler": "unipc"}, "sampler"),
        ({"sampler": "ddim:eta=0.5"}, "sampler"),
        ({"grid": "even"}, "grid"),
        ({"grid": "levels:3,9"}, "grid"),
        ({"use_labels": False}, "use_labels"),
        ({"guide": "classifier:scale=1,interval=2-9"}, "guide"),
        ({"guide": "free:scale=2"}, "guide"),
    ],
)
def test_what_a_student_did_not_learn_is_refused(model, settings, field) -> None:
    with pytest.raises(SettingError) as error:
        images(model, **settings)
    assert error.value.field == field


def test_levels_of_students_are_refused_for_others(tmp_path: Path) -> None:
    plain = load_diffusion(tiny.model(tmp_path / "d.safetensors", tiny.diffusion()))
    with pytest.raises(SettingError, match=r"^grid=distilled is for a distilled model"):
        resolve(plain, Sampling(sampler=DDIM(), grid=Distilled(steps=2)))


def test_one_level_makes_a_process_of_one_step() -> None:
    for level in (18, 7.5):
        process = cosine(20).visiting([level])
        assert process.last == 1
        both = cosine(20).visiting([level, 19])
        assert process.alpha_bar[1] == pytest.approx(float(both.alpha_bar[1]), rel=1e-12)
        assert process.timesteps[1] == both.timesteps[1]
        assert process.posterior_log_variance.isfinite().all()
