"""Measurements, Problem -> images: resuming, blocks, refusals."""

import inspect
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from samples import contents

import adm
from adm.generation.folder import sample_into
from adm.generation.restored import Problem
from adm.generation.samples import Samples
from adm.spec import SettingError
from adm.store.hashes import sha256_of

OPERATOR = "inpaint:box=2-2-4-4"
METHODS = ("mmps:iterations=2", "pgdm", "dps", "ddnm", "diffpir", "repaint:jump=2,times=2", "daps")
IMAGES = tiny.stripes(6).batch(range(6))[0]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> adm.Pipeline:
    folder = tmp_path_factory.mktemp("models")
    dropped = tiny.diffusion("train.label_dropout=0.1")
    own = tiny.model(folder / "own.safetensors", dropped)
    return adm.load(own, tiny.model(folder / "guide.safetensors", tiny.classifier()))


@pytest.mark.parametrize("method", METHODS)
def test_an_image_is_the_same_alone_and_among_others(model: adm.Pipeline, method: str) -> None:
    y = model.measure(IMAGES, OPERATOR, sigma=0.05)
    whole = model.restore(y, OPERATOR, method, sigma=0.05, samples=2, steps=5)
    assert whole.images.shape == (12, 1, 8, 8)
    job = whole.job
    assert torch.equal(job.images([7, 3]), whole.images[[7, 3]])
    assert not torch.equal(whole.images[0], whole.images[1]), "samples differ"


@pytest.mark.parametrize("method", METHODS)
def test_the_stated_cost_is_the_number_of_calls(model: adm.Pipeline, method: str) -> None:
    y = model.measure(IMAGES[:1], OPERATOR)
    settings = {"classes": "bag", "scale": 1.0, "steps": 5}
    job = model.restore_job(y, Problem.parsed(OPERATOR, method), **settings)
    progress = list[int]()
    job.images([0], progress.append)
    assert sum(progress) == job.evaluations
    assert job.cost.classifier == job.cost.network // (1 + job.generator.start.method.backward)


@pytest.mark.parametrize("guide", ["free:scale=3,every=2", "free:scale=3,interval=5-20"])
def test_a_contrast_that_is_not_always_evaluated_is_counted_so(
    model: adm.Pipeline, guide: str
) -> None:
    y, problem = model.measure(IMAGES[:1], OPERATOR), Problem.parsed(OPERATOR, "mmps")
    job = model.restore_job(y, problem, classes="bag", guide=guide, steps=6)
    called = list[int]()
    hook = model.model.prepared().register_forward_hook(lambda *_: called.append(1))
    job.images([0])
    hook.remove()
    assert job.cost.network == len(called) * (1 + problem.method.backward)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_guided_as_sampling_is(model: adm.Pipeline, method: str) -> None:
    """By a classifier in an interval, and by the contrast with the model without the label."""
    y = model.measure(IMAGES[:2], OPERATOR)
    classifier = "classifier:scale=40,interval=5-20"
    guides = (("free:scale=1",), (classifier,), ("free:scale=3",), (classifier, "free:scale=3"))
    restored = [
        model.restore(y, OPERATOR, method, classes="bag", guide=guide, steps=5).images
        for guide in guides
    ]
    for index, one in enumerate(restored):
        assert not any(torch.equal(one, other) for other in restored[:index]), guides[index]


def test_a_stopped_restoration_resumes(tmp_path: Path, model: adm.Pipeline) -> None:
    y = model.measure(IMAGES, OPERATOR)
    jobs = [
        model.restore_job(y, Problem.parsed(OPERATOR, "ddnm"), samples=24, steps=3)
        for _ in range(2)
    ]
    sample_into(tmp_path / "whole", jobs[0])

    def stop(calls: int) -> None:
        progress.append(calls)
        if sum(progress) > jobs[1].evaluations // 2:
            raise KeyboardInterrupt

    progress = list[int]()
    with pytest.raises(KeyboardInterrupt):
        sample_into(tmp_path / "stopped", jobs[1], on_step=stop)
    sample_into(tmp_path / "stopped", jobs[1])
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


def test_known_pixels_come_back(model: adm.Pipeline) -> None:
    y = model.measure(IMAGES, OPERATOR)
    known = torch.ones(8, 8, dtype=torch.bool)
    known[2:6, 2:6] = False
    for method in ("ddnm", "repaint:times=1"):
        restored = model.restore(y, OPERATOR, method, steps=5).images
        assert torch.equal(restored[..., known], IMAGES[..., known]), method


def test_masked_pixels_do_not_matter(model: adm.Pipeline) -> None:
    y = model.measure(IMAGES, OPERATOR)
    one, other = (
        model.restore(measured, OPERATOR, "ddnm", steps=3).images
        for measured in (y, y + (y == 0) * 0.7)
    )
    assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("operator", "method", "settings", "message"),
    [
        ("downsample", "repaint", {}, "method=repaint is for operator=inpaint"),
        ("phase", "ddnm", {}, "and phase is none; use one of dps, daps"),
        (OPERATOR, "daps", {"sampler": "ddim"}, "method=daps takes its own steps"),
        (OPERATOR, "ddnm", {"classes": "bag,bag"}, "classes must be one, or one for each of 6"),
        (OPERATOR, "ddnm", {"sigma": -1.0}, "sigma must be in 0..10"),
    ],
)
def test_unfit_settings_are_refused(
    model: adm.Pipeline, operator: str, method: str, settings: dict, message: str
) -> None:
    with pytest.raises(SettingError, match=message):
        model.restore(IMAGES, operator, method, **settings)


def test_y_has_the_shape_that_the_operator_leaves(model: adm.Pipeline) -> None:
    for y, message in (
        (IMAGES, r"each of y has the shape \(1, 8, 8\), and operator=... leaves \(1, 4, 4\)"),
        (IMAGES[:0, :, :4, :4], "y has no measurements"),
        (torch.full((1, 1, 4, 4), torch.nan), "y holds numbers that are not finite"),
        (3, "y must be a path, PIL images"),
    ):
        with pytest.raises(SettingError, match=message):
            model.restore(y, "downsample:factor=2")
    with pytest.raises(SettingError, match="y has a negative mean"):
        model.restore(-torch.ones(1, 1, 16, 16), "phase", "dps")


def halved(x: torch.Tensor) -> torch.Tensor:
    return x[:, :, ::2] / 2


def test_a_function_is_an_operator(tmp_path: Path, model: adm.Pipeline) -> None:
    (tmp_path / "camera.py").write_text(f"import torch\n\n{inspect.getsource(halved)}")
    named = f"{tmp_path}/camera.py:halved"
    one, other = (
        model.restore(model.measure(IMAGES, of), of, "ddnm", steps=3) for of in (halved, named)
    )
    assert torch.equal(one.images, other.images)
    restoration = one.job.manifest()["restoration"]
    assert restoration["operator"] == f"function:of={__name__}:halved"
    assert restoration["sha256"] == sha256_of(inspect.getsource(halved).encode())


def test_images_are_given_in_many_ways(tmp_path: Path, model: adm.Pipeline) -> None:
    """To be edited, measured and restored: files, PIL images, arrays, samples."""
    arrays = IMAGES.permute(0, 2, 3, 1).numpy()
    pictures = [Image.fromarray(each[..., 0]) for each in arrays]
    for number, picture in enumerate(pictures):
        picture.save(tmp_path / f"{number}.png")
    samples = Samples(model.job(count=len(IMAGES)), IMAGES)
    expected = model.edit(IMAGES, steps=3).images
    y = model.measure(IMAGES, OPERATOR)
    for given in (tmp_path, str(tmp_path), pictures, arrays, arrays[..., 0], samples):
        assert torch.equal(model.edit(given, steps=3).images, expected)
        assert torch.equal(model.measure(given, OPERATOR), y)
        restored = model.restore(given, "inpaint:box=2-2-4-4", "ddnm", steps=3).images
        assert torch.equal(restored, model.restore(IMAGES, OPERATOR, "ddnm", steps=3).images)
    assert torch.equal(model.edit(pictures[0], steps=3).images, expected[:1])
    assert model.edit(pictures[0].resize((32, 20)), steps=3).images.shape == (1, 1, 8, 8)
    for measured in (y.numpy(), tmp_path / "y.npy"):
        np.save(tmp_path / "y.npy", y.numpy())
        again = model.restore(measured, OPERATOR, "ddnm", steps=3).images
        assert torch.equal(again, model.restore(y, OPERATOR, "ddnm", steps=3).images)
    for given in (None, [3], [], arrays.astype(float)):
        with pytest.raises(ValueError, match=r"must be a path|none; give|range is uint8"):
            model.edit(given)


def test_divergence_stops_with_the_step_and_what_to_lower(
    tmp_path: Path, model: adm.Pipeline
) -> None:
    camera = tmp_path / "camera.py"
    camera.write_text("def burst(x):\n    return (1e30 * x) ** 3\n")
    y, burst = torch.zeros(1, 1, 8, 8), f"{camera}:burst"
    with pytest.raises(FloatingPointError, match=r"dps gave NaN .* step 1 of 5; give a smaller"):
        model.restore(y, burst, "dps", steps=5)
