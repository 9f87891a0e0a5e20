"""A Pipeline copied, pickled, shown, in inference mode; wrong arguments -> ValueError."""

import copy
import pickle
from pathlib import Path

import pytest
import tiny
import torch

import adm
from adm.images import to_uint8


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> adm.Pipeline:
    folder = tmp_path_factory.mktemp("models")
    classifier = tiny.model(folder / "c.safetensors", tiny.classifier(), seed=1)
    return adm.load(tiny.model(folder / "d.safetensors", tiny.diffusion()), classifier)


def test_a_pipeline_its_job_and_samples_are_copied_and_pickled(model: adm.Pipeline) -> None:
    samples, job = model.sample("bag", 2, scale=2.0), model.job("bag", 2)
    for whole in (copy.copy, copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))):
        assert torch.equal(whole(model).sample("bag", 2, scale=2.0).images, samples.images)
        assert torch.equal(whole(samples).images, samples.images)
        assert whole(job).manifest() == job.manifest()


def test_guidance_works_in_inference_mode(tmp_path: Path, model: adm.Pipeline) -> None:
    usual = model.sample("bag", 2, scale=2.0).images
    with torch.inference_mode():
        fresh = adm.load(model.model.path, classifier=model.guide)
        assert torch.equal(fresh.sample("bag", 2, scale=2.0).images, usual)
        *_, last = model.trajectory(torch.tensor([1, 1]), scale=2.0)
    assert torch.equal(to_uint8(last.x), usual)


def test_reprs_are_one_line(model: adm.Pipeline) -> None:
    job = model.job("bag", 2, scale=2.0)
    for each in (model, model.model, model.classifier, job.generator, job, model.sample("bag")):
        assert "\n" not in repr(each)
        assert len(repr(each)) < 1000
    assert "d.safetensors', digits, 8x8, 3 classes, 0 steps)" in repr(model.model)


def test_an_upsampler_is_sampled_step_by_step(tmp_path: Path) -> None:
    up = adm.load(tiny.model(tmp_path / "up.safetensors", tiny.upsampler()))
    low = torch.randint(0, 256, (2, 1, 4, 4), dtype=torch.uint8)
    *_, last = up.trajectory("bag", 2, inputs=low)
    assert torch.equal(to_uint8(last.x), up.sample("bag", 2, inputs=low).images)
    with pytest.raises(ValueError, match=r"noise alone, got .*up\.safetensors.*images of 4x4"):
        up.trajectory("bag")


def test_the_progress_of_sampling_is_shown_where_a_person_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = adm.load(tiny.model(tmp_path / "d.safetensors", tiny.diffusion()))
    model.sample(count=2, steps=2)
    assert capsys.readouterr() == ("", "")  # no terminal
    monkeypatch.setenv("FORCE_COLOR", "1")  # which rich takes for one
    model.sample(count=2, steps=2)
    assert "sampling 2 images" in capsys.readouterr().err
    model.sample(count=2, steps=2, on_step=lambda amount: None)
    assert capsys.readouterr().err == ""
