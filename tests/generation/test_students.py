"""student, scale, steps -> images: without classifier, at the levels that it was distilled for."""

from pathlib import Path

import pytest
import tiny
import torch

import adm
from adm import processor
from adm.generation.diffusion import DiffusionGenerator
from adm.generation.precision import candidates, measured
from adm.models.load import load_classifier, load_diffusion
from adm.models.trained import DiffusionModel
from adm.samplers import DDIM, Grid, Sampling
from adm.samplers.words import changed

LABELS = torch.tensor([0, 1, 2])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    folder = tmp_path_factory.mktemp("student")
    return load_diffusion(tiny.model(folder / "s.safetensors", tiny.student()))


def images(model: DiffusionModel, **settings) -> torch.Tensor:
    generator = DiffusionGenerator(model, changed(model.recipe.sample, **settings))
    return generator.images(LABELS, range(3))


def test_the_scale_is_an_input(model: DiffusionModel) -> None:
    plain, guided = images(model), images(model, scale=2.0)
    assert not torch.equal(plain, guided)
    assert torch.equal(images(model, scale=0.0), plain)


def test_its_precision_can_be_measured(
    model: DiffusionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "absent")  # then precisions are measured
    generator = DiffusionGenerator(model, changed(model.recipe.sample, precision="auto"))
    assert generator.sampling.precision in candidates(model.device)
    found, told = measured(model)
    assert found in candidates(model.device)
    assert "float32" in told


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_student_takes_one_call_a_step_at_its_levels(model: DiffusionModel, steps: int) -> None:
    sampling = changed(model.recipe.sample, steps=steps, scale=1.5)
    generator = DiffusionGenerator(model, sampling)
    assert str(generator.cost) == f"{steps} call{'s' * (steps > 1)} of the network"
    assert generator.evaluations == steps
    how = model.recipe.distillation
    assert how is not None
    assert generator.sampling.grid.levels == how.levels(model.schedule, steps)
    assert len(list(generator.trajectory(LABELS, range(3)))) == steps
    # What a manifest records makes the same images.
    again = DiffusionGenerator(model, generator.sampling)
    assert torch.equal(again.images(LABELS, range(3)), generator.images(LABELS, range(3)))


def test_steps_are_those_of_ddim_without_a_threshold(model: DiffusionModel) -> None:
    """Computed by hand, from the network and the schedule."""
    generator = DiffusionGenerator(model, changed(model.recipe.sample, steps=2, scale=1.0))
    *_, state = generator.trajectory(LABELS, range(3))
    schedule, x = generator.schedule, generator.noise(range(3)).start()
    for level in (2, 1):
        step = schedule.timestep(level, x)
        given = torch.stack([schedule.timestep(level - 1, x), torch.ones(3)], dim=1)
        raw = model.prepared("float32")(x, step, LABELS, None, given)
        p = model.parameterization.predict(schedule, raw, x, level)
        signal, sigma = schedule.signal[level - 1].float(), schedule.sigma[level - 1].float()
        x = signal * p.x_0 + sigma * p.noise
    torch.testing.assert_close(state.x, x)
    assert state.x.abs().max() > 1, "nothing was clipped"


def test_a_classifier_is_neither_needed_nor_taken(model: DiffusionModel, tmp_path: Path) -> None:
    guide = load_classifier(tiny.model(tmp_path / "c.safetensors", tiny.classifier()))
    sampling = changed(model.recipe.sample, scale=2.0)
    with pytest.raises(ValueError, match="takes the scale without a classifier"):
        DiffusionGenerator(model, sampling, guide)
    found = adm.load(model.path, device="cpu").sample("all:1", scale=2.0)
    assert len(found.images) == 3


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"steps": 3}, "distilled for 1, 2 or 4 steps, got 3; pass steps=1"),
        ({"scale": 5.0}, "distilled for scales from 0 to 4, got 5; pass a scale between them"),
        ({"scale": -1.0}, "distilled for scales from 0 to 4, got -1"),
        ({"sampler": "unipc"}, "distilled for sampler='ddim' without parameters"),
        ({"eta": 0.5}, "distilled for sampler='ddim' without parameters"),
        ({"spacing": "even"}, "leave spacing, start, end and levels out"),
        ({"levels": (3.0, 9.0)}, "leave spacing, start, end and levels out"),
        ({"use_labels": False}, "distilled with labels; leave use_labels out"),
        ({"scale": 1.0, "guide_interval": (2, 9)}, "without a cap; pass only the scale"),
    ],
)
def test_what_a_student_did_not_learn_is_refused(model, settings, found) -> None:
    with pytest.raises(ValueError, match=found):
        images(model, **settings)


def test_levels_of_students_are_refused_for_others(tmp_path: Path) -> None:
    plain = load_diffusion(tiny.model(tmp_path / "d.safetensors", tiny.diffusion()))
    sampling = Sampling(sampler=DDIM(), grid=Grid(steps=2, spacing="distilled"))
    with pytest.raises(ValueError, match="spacing distilled is for distilled models"):
        DiffusionGenerator(plain, sampling)
    with pytest.raises(ValueError, match="for distilled models, whose generator knows the levels"):
        Grid(steps=2, spacing="distilled").visited(plain.schedule)


def test_one_level_makes_a_process_of_one_step() -> None:
    for level in (18, 7.5):
        process = tiny_process().visiting([level])
        assert process.last == 1
        both = tiny_process().visiting([level, 19])
        assert process.alpha_bar[1] == pytest.approx(float(both.alpha_bar[1]), rel=1e-12)
        assert process.timesteps[1] == both.timesteps[1]
        assert process.posterior_log_variance.isfinite().all()


def tiny_process():
    from adm.diffusion import cosine

    return cosine(20)
