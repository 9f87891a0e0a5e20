"""weights -> a picture of their samples, the same for the same weights; failure costs no run."""

from pathlib import Path

import pytest
import tiny
import torch
from PIL import Image
from runs import states

from adm.generation.diffusion import DiffusionGenerator
from adm.models.trained import DiffusionModel
from adm.pictures import fit, tile_size
from adm.recipes import DiffusionRecipe, Recipe
from adm.runs.watch import guard
from adm.runs.watch.previews import (
    preview_sampling,
    watch_previews,
)

EVERY = "watch.every_steps=1"
KINDS = {"diffusion": tiny.diffusion, "upsampler": tiny.upsampler, "student": tiny.student}


def picture_of(chosen: Recipe, folder: Path) -> Path:
    assert isinstance(chosen, DiffusionRecipe)
    watch_previews(states.watched(chosen, folder=folder), chosen)(1, states.learner_of(chosen))
    return folder / "previews" / "step-0000001.png"


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_weights_make_the_same_picture_and_touch_nothing(
    tmp_path: Path, kind: str
) -> None:
    chosen = KINDS[kind]("watch.images=3", EVERY)
    torch.manual_seed(1)
    drawn = torch.get_rng_state()
    first = picture_of(chosen, tmp_path / "one" / "run")
    assert torch.equal(torch.get_rng_state(), drawn)
    torch.manual_seed(2)
    assert picture_of(chosen, tmp_path / "two" / "run").read_bytes() == first.read_bytes()
    assert [f.name for f in first.parent.iterdir()] == ["step-0000001.png"]


@pytest.mark.parametrize("channels", [1, 4])
def test_raw_weights_and_their_average_stand_side_by_side(tmp_path: Path, channels: int) -> None:
    source = tiny.stripes(channels=channels)
    widths = (f"unet.in_channels={channels}", f"unet.out_channels={2 * channels}")
    chosen = tiny.diffusion("watch.images=3", EVERY, f"data.channels={channels}", *widths)
    learner = states.learner_of(chosen)
    watched = states.watched(chosen, training=source, folder=tmp_path / "run")
    watch = watch_previews(watched, chosen)

    def halves() -> tuple[bytes, bytes]:
        watch(1, learner)
        with Image.open(tmp_path / "run/previews/step-0000001.png") as picture:
            half = picture.width // 2 + 20  # the columns of raw weights end left of it
            left = picture.crop((0, 60, half, picture.height)).tobytes()
            return left, picture.crop((half, 60, picture.width, picture.height)).tobytes()

    before = halves()
    states.scramble(learner.ema.weights, 5)
    after = halves()
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_the_picture_is_that_of_the_sample_command(tmp_path: Path) -> None:
    chosen = tiny.diffusion("watch.images=3", EVERY)
    learner, run = states.learner_of(chosen), states.watched(chosen, folder=tmp_path)
    model = run.model(learner.ema.weights, 1)
    assert isinstance(model, DiffusionModel)
    generator = DiffusionGenerator(model, preview_sampling(chosen))
    image = generator.images(torch.arange(3), range(3))[2]
    watch_previews(run, chosen)(1, learner)
    expected = fit(image, tile_size((8, 8)))
    with Image.open(tmp_path / "previews/step-0000001.png") as picture:
        top = picture.height - 14 - expected.height
        crops = [
            picture.crop((x, top, x + expected.width, top + expected.height)).tobytes()
            for x in range(picture.width - expected.width)
        ]
    assert crops.count(expected.tobytes()) == 1  # under the averages, and not under raw weights


def test_a_failure_is_reported_once_and_interrupts_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fails(done: int, learner: None) -> dict[str, float]:
        raise OSError(28, "No space left on device")

    watch = guard("the preview", fails)
    assert [watch(done, None) for done in (1, 2, 3)] == [{}, {}, {}]
    assert len(caplog.messages) == 1
    assert "the preview failed at step 1 (No space left on device)" in caplog.text

    def interrupted(done: int, learner: None) -> dict[str, float]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        guard("the preview", interrupted)(1, None)
