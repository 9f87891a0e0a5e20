"""Every command of the released README -> a job, on networks of the released shapes.

The networks have shapes and no values, so nothing is sampled; whatever is checked before is.
"""

from pathlib import Path

import pytest

import adm
from adm.generation.cascade import CascadeGenerator
from adm.models import load as loading
from adm.models.convert import Loaded
from adm.networks import on_meta
from adm.recipes.released import RELEASED

GUIDED = [
    ("64x64_diffusion.pt", "64x64_classifier.pt", 1.0),
    ("128x128_diffusion.pt", "128x128_classifier.pt", 0.5),
    ("256x256_diffusion.pt", "256x256_classifier.pt", 1.0),
    ("256x256_diffusion_uncond.pt", "256x256_classifier.pt", 10.0),
    ("512x512_diffusion.pt", "512x512_classifier.pt", 4.0),
]
CASCADES = [
    ("64x64_diffusion.pt", "64_256_upsampler.pt"),
    ("128x128_diffusion.pt", "128_512_upsampler.pt"),
]
UNCONDITIONAL = ["lsun_bedroom.pt", "lsun_cat.pt", "lsun_horse.pt", "lsun_horse_nodropout.pt"]


@pytest.fixture
def released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all released files, as far as loading them looks."""

    def load_released(path: Path) -> Loaded:
        found = RELEASED[path.name]
        return Loaded((path.name,), found, dict(on_meta(found.config).state_dict()))

    monkeypatch.setattr(loading, "load_released", load_released)
    for name in RELEASED:
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(("model", "classifier", "scale"), GUIDED)
def test_a_guided_model_is_paired_and_asked_for_a_class(
    released: Path, model: str, classifier: str, scale: float
) -> None:
    named = adm.load(released / model, released / classifier, device="meta")
    found = adm.load(released / model, device="meta")  # the classifier that lies beside it
    for pipeline in (named, found):
        job = pipeline.job("207:2", scale=scale)
        assert job.labels == [207, 207]
        assert len(job.generator.classes) == 1000
        assert pipeline.classifier is not None
        assert pipeline.classifier.path.name == classifier
        assert pipeline.sampling == pipeline.sampling.change(scale=scale)  # that of the README


def test_the_unconditional_model_is_sampled_without_a_class_too(released: Path) -> None:
    pipeline = adm.load(released / "256x256_diffusion_uncond.pt", device="meta")
    assert pipeline.job(count=3, scale=0).labels is None
    with pytest.raises(ValueError, match=r"pass count=\.\.\., or classifier=\.\.\. with scale="):
        pipeline.job("207:2", scale=0)


@pytest.mark.parametrize(("base", "upsampler"), CASCADES)
def test_a_base_and_its_upsampler_are_a_cascade(released: Path, base: str, upsampler: str) -> None:
    pipeline = adm.load(released / base, upsampler=released / upsampler, device="meta")
    job = pipeline.job("207:2", scale=1.0)
    assert job.labels == [207, 207]
    assert isinstance(job.generator, CascadeGenerator)
    assert job.generator.upsampler.input_shape == pipeline.shape
    assert job.evaluations == 2 * (250 + 250)


@pytest.mark.parametrize("name", UNCONDITIONAL)
def test_an_unconditional_model_is_sampled_by_count(released: Path, name: str) -> None:
    job = adm.load(released / name, device="meta").job(count=2)
    assert job.labels is None
    assert job.evaluations == 2 * 1000
