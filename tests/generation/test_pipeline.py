"""adm.load -> Pipeline; classes, settings by name -> Samples: the front door."""

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from samples import contents

import adm
from adm.app.cli import main
from adm.generation import pipeline as pipelines
from adm.generation.labels import labels_of
from adm.images import to_uint8
from adm.models.load import read
from adm.models.paths import SHIPPED
from adm.recipes import DiffusionRecipe
from adm.samplers import Sampling
from adm.spec import SettingError, convert
from adm.store.samples import read_manifest


def sampled_alone(path: Path) -> bool:
    """Return whether a file is a diffusion model, and no upsampler."""
    recipe = read(path)[2]
    return isinstance(recipe, DiffusionRecipe) and not recipe.unet.super_resolution


SHIPPED_MODELS = [
    path.stem for path in sorted(SHIPPED.glob("*.safetensors")) if sampled_alone(path)
]
FAST = {"steps": 3}  # the bytes are compared, not the quality


def command(*words: object) -> None:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    assert end.value.code == 0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> adm.Pipeline:
    folder = tmp_path_factory.mktemp("models")
    classifier = tiny.model(folder / "c.safetensors", tiny.classifier(), seed=1)
    return adm.load(tiny.model(folder / "d.safetensors", tiny.diffusion()), classifier)


def test_a_model_of_one_class_is_guided_to_the_classes_of_any_classifier(tmp_path: Path) -> None:
    unlabelled = tiny.diffusion("unet.classes=null")
    path = tiny.model(tmp_path / "u.safetensors", unlabelled, classes=("stripes",))
    guide = tiny.model(tmp_path / "c.safetensors", tiny.classifier(), seed=1)
    pipeline = adm.load(path, guide)
    assert (pipeline.model.classes, pipeline.classes) == ((), tiny.CLASSES)
    settings = {"scale": 2.0, **FAST}
    guided = pipeline.sample("bag:2", **settings)
    assert not torch.equal(guided.images, pipeline.sample("sneaker:2", **settings).images)
    out = ("--classes", "bag:2", "--scale", 2, "--steps", 3, "--out", tmp_path / "out")
    command("sample", path, "--classifier", guide, *out)
    assert np.array_equal(
        np.load(tmp_path / "out" / "samples.npz")["arr_0"],
        guided.images.permute(0, 2, 3, 1).numpy(),
    )


@pytest.mark.parametrize("name", SHIPPED_MODELS)
def test_the_library_writes_the_bytes_of_the_command_line(tmp_path: Path, name: str) -> None:
    """With the same words: the model's own settings, and its own classifier, in both."""
    model = adm.load(name)
    classes = model.classes[:2]
    words = [f"{label}:2" for label in classes]
    steps = 4 if model.model.student else FAST["steps"]  # both students know 4
    settings = {"seed": 7, "steps": steps} | ({"scale": 2.0} if model.sampling.scale else {})
    command(
        "sample", name, "--classes", ",".join(words), "--device", "cpu",
        *(word for key, value in settings.items() for word in (f"--{key}", value)),
        "--out", tmp_path / "command",
    )  # fmt: skip
    samples = adm.load(name, device="cpu").sample(dict.fromkeys(classes, 2), **settings)
    samples.save(tmp_path / "library")
    assert contents(tmp_path / "library") == contents(tmp_path / "command")


@pytest.mark.parametrize(
    ("classes", "count", "labels"),
    [
        ({"bag": 2, "sneaker": 1}, None, [1, 1, 0]),
        ("bag:2,sneaker", None, [1, 1, 0]),
        ("bag", 3, [1, 1, 1]),
        (2, 2, [2, 2]),
        (["bag", "ankle boot", 0], None, [1, 2, 0]),
        (None, 4, [0, 1, 2, 0]),
        ("ALL: 1", None, [0, 1, 2]),
        ({2: 1, "bag": np.int64(2)}, None, [2, 1, 1]),
        (np.array([2, 0]), None, [2, 0]),
        (torch.tensor(1), None, [1]),
    ],
)
def test_classes_are_given_in_many_ways(
    model: adm.Pipeline, classes: Any, count: int | None, labels: list[int]
) -> None:
    samples = model.sample(classes, count)
    assert samples.labels is not None
    assert samples.labels.tolist() == labels
    assert samples.images.shape == (len(labels), 1, 8, 8)
    assert len(samples) == len(labels)


@pytest.mark.parametrize(
    ("classes", "count", "message"),
    [
        ({"bag": 0}, None, "classes must be a whole number from 1 to 10,000,000, got 0"),
        ([0, 1], 2, "says how many; leave count out"),
        (None, 0, "count must be a whole number from 1 to 10,000,000, got 0"),
        ({None: 1}, None, "classes must be names or whole numbers, as in .* got None"),
        ({}, None, r"names no class; give such as 'all:8'"),
        (b"bag", None, "classes must be names or whole numbers, as in .* got b'bag'"),
        ({"bag", "sneaker"}, None, "classes is a set, which has no order"),
        (torch.tensor([1.5]), None, r"classes must be \(N,\) whole numbers in 0\.\.2, .* got 1\.5"),
        (torch.tensor([-1]), None, "classes must be .* got -1"),
    ],
)
def test_invalid_classes_are_refused(
    model: adm.Pipeline, classes: Any, count: int | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        model.sample(classes, count)


def test_labels_in_an_array_are_numbers_even_if_classes_are_named_by_numbers() -> None:
    assert labels_of(torch.tensor([0, 2]), ("2", "0", "1")) == ([0, 2], 2)
    assert labels_of("0,2", ("2", "0", "1")) == ([1, 0], 2)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"eta": 0.5}, "eta"),
        ({"classifier": "c"}, "classifier"),
        ({"scale": float("nan")}, "scale"),
        ({"seed": -1}, "seed"),
        ({"sampler": "ancestral:eta=0.5"}, "sampler"),
        ({"upsampler_steps": 3}, "upsampler_steps"),
    ],
)
def test_an_invalid_setting_is_refused_by_its_name(
    model: adm.Pipeline, settings: dict[str, Any], field: str
) -> None:
    with pytest.raises(SettingError) as error:
        model.sample(**settings)
    assert error.value.field == field


def test_numbers_of_other_libraries_are_settings(model: adm.Pipeline) -> None:
    expected = model.generator(scale=2.0, seed=3, steps=3).sampling
    settings = {"scale": np.float32(2), "seed": torch.tensor(3), "steps": np.int64(3)}
    assert model.generator(**settings).sampling == expected
    assert not model.generator(scale="0").sampling.guide


def test_a_folder_is_not_overwritten_unless_asked(model: adm.Pipeline, tmp_path: Path) -> None:
    samples = model.sample("bag", count=1)
    place = samples.save(tmp_path / "out")
    with pytest.raises(SettingError, match="exists and is not empty"):
        samples.save(place)
    model.sample("sneaker", count=1).save(place, overwrite=True)
    manifest = read_manifest(place)
    assert manifest is not None
    assert manifest["labels"] == [0]
    assert convert(Sampling, manifest["sampling"]) == model.sampling


def test_a_classifier_is_opened_only_to_guide(tmp_path: Path) -> None:
    chosen = tiny.model(tmp_path / "d.safetensors", tiny.diffusion())
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"not a model")
    pipeline = adm.load(chosen, damaged)
    assert len(pipeline.sample("bag", count=1, **FAST)) == 1
    with pytest.raises(ValueError, match="damaged"):
        pipeline.sample("bag", count=1, scale=1.0, **FAST)


def test_classes_label_images_that_depend_on_none(
    model: adm.Pipeline, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As at scale 0 of a model without labels, which is compared with scale 4."""
    chosen = tiny.diffusion("unet.classes=null")
    path = tiny.model(tmp_path / "u.safetensors", chosen, classes=())
    unconditional = adm.load(path, model.classifier)
    assert unconditional.classes == tiny.CLASSES
    for pipeline, settings in ((unconditional, {}), (model, {"use_labels": False})):
        caplog.clear()
        with caplog.at_level("INFO", "adm"):
            plain, named = (
                pipeline.sample(classes, count=2, scale=0, **settings, **FAST)
                for classes in (None, "bag")
            )
        assert caplog.messages == [pipelines.ONLY_LABELS]
        assert torch.equal(plain.images, named.images)
        assert plain.labels is None
        assert named.labels is not None
        assert named.labels.tolist() == [1, 1]
        restored = pipeline.restore(
            plain.images, "inpaint:random=0.5", "ddnm", classes="bag", steps=3
        )
        assert restored.labels is not None
        guided = pipeline.sample("bag", count=2, scale=1.0, **settings, **FAST)
        assert guided.classes == tiny.CLASSES
        assert guided.labels is not None
        assert guided.labels.tolist() == [1, 1]


def exits(*_: object) -> Any:
    raise SystemExit(7)


@pytest.mark.parametrize(
    ("gradient", "message"),
    [
        (3, "gradient must be a function of the schedule, got 3"),
        (lambda schedule: 3, "returns 3; let it return a function of x_t, level and prediction"),
        (lambda schedule: lambda x, level, p: x.sum(), r"returns float32 \(\) for images"),
        (lambda schedule: lambda x, level, p: x[:, :, :1], r"floats \(\d+, 1, 8, 8\)"),
        (lambda schedule: lambda x, level, p: x.long(), "returns int64"),
        (lambda schedule: lambda x, level, p: None, "returns NoneType"),
        (lambda schedule: exits, r"exits fails when it is called \(SystemExit: 7, .* line \d"),
        (exits, r"exits fails when it is called \(SystemExit: 7, .* line \d"),
    ],
)
def test_a_gradient_that_is_none_is_refused(
    model: adm.Pipeline, gradient: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        model.sample("bag", gradient=gradient, **FAST)


def test_samples_are_a_sequence_of_images(tmp_path: Path) -> None:
    model = adm.load(tiny.model(tmp_path / "d.safetensors", tiny.diffusion()))
    samples = model.sample(count=3)
    assert [tuple(image.shape) for image in samples] == [samples.images.shape[1:]] * 3
    assert torch.equal(samples[1], samples.images[1])
    assert torch.equal(samples[:2], samples.images[:2])
    assert [each.size for each in samples.pil] == [(8, 8)] * 3
    assert np.array_equal(np.asarray(samples.pil[1]), samples.images[1, 0].numpy())
    assert torch.equal(model.sample(count=3, progress=False).images, samples.images)
    for theirs, ours in (("guidance_scale", "scale"), ("num_inference_steps", "steps")):
        with pytest.raises(SettingError, match=f"{theirs} is called {ours}=... here"):
            model.sample(**{theirs: 3})
    first = next(iter(model.trajectory(count=2)))
    assert repr(first) == f"State(x of {tuple(first.x.shape)}, level={first.level})"


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("fashion", "classifier:scale=1,interval=1-700 (fashion-classifier)"),
        ("fashion-fast", "classifier:scale=1"),
        ("fashion-unlabelled", "classifier:scale=2 (fashion-unlabelled-classifier)"),
        ("emoji", "classifier:scale=2 (emoji-classifier), weak:scale=1.5 (emoji-weak)"),
        ("emoji-fast", "classifier:scale=2"),
    ],
)
def test_a_shipped_model_is_guided_by_default(name: str, spec: str) -> None:
    model = adm.load(name)
    assert model.generator().guidance == spec
    by_classifier, _, weak = spec.partition(", ")
    assert by_classifier.startswith("classifier")
    assert model.generator(scale=0).guidance == weak
    for none in ("none", None, ()):
        assert model.generator(guide=none).guidance == ""
    other = "attention:scale=1"
    if not name.endswith("-fast"):
        assert model.generator(guide=other).guidance == other


def test_a_pipeline_its_job_and_samples_are_copied_and_pickled(model: adm.Pipeline) -> None:
    samples, job = model.sample("bag", 2, scale=2.0), model.job("bag", 2)
    for duplicate in (
        copy.copy,
        copy.deepcopy,
        lambda original: pickle.loads(pickle.dumps(original)),
    ):
        assert torch.equal(duplicate(model).sample("bag", 2, scale=2.0).images, samples.images)
        assert torch.equal(duplicate(samples).images, samples.images)
        assert duplicate(job).manifest() == job.manifest()


def test_a_pipeline_is_moved_to_a_device(model: adm.Pipeline) -> None:
    moved = model.to("cpu")
    expected = model.sample("bag", 2, scale=1.0, **FAST)
    assert torch.equal(moved.sample("bag", 2, scale=1.0, **FAST).images, expected.images)
    assert moved.model.network is not model.model.network
    with pytest.raises(ValueError, match="device"):
        model.to("nowhere")


def test_guidance_works_in_inference_mode(tmp_path: Path, model: adm.Pipeline) -> None:
    expected = model.sample("bag", 2, scale=2.0).images
    with torch.inference_mode():
        fresh = adm.load(model.model.path, classifier=model.guides)
        assert torch.equal(fresh.sample("bag", 2, scale=2.0).images, expected)
        *_, last = model.trajectory(torch.tensor([1, 1]), scale=2.0)
    assert torch.equal(to_uint8(last.x), expected)


def test_an_upsampler_is_sampled_step_by_step(tmp_path: Path) -> None:
    up = adm.load(tiny.model(tmp_path / "up.safetensors", tiny.upsampler()))
    low = torch.randint(0, 256, (2, 1, 4, 4), dtype=torch.uint8)
    *_, last = up.trajectory("bag", 2, inputs=low)
    assert torch.equal(to_uint8(last.x), up.sample("bag", 2, inputs=low).images)
    with pytest.raises(ValueError, match=r"up\.safetensors starts from images of 4x4"):
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
