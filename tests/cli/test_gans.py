"""adm sample, sweep, info, train of a GAN -> the same folders as of a diffusion model."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
from cli.conftest import Adm
from safetensors.torch import load_file

from adm.models.paths import resolve
from adm.store.hashes import SUMS


@pytest.fixture(scope="module")
def gan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of a GAN, after a few steps."""
    run = tmp_path_factory.mktemp("runs") / "gan"
    tiny.steps(tiny.gan(), tiny.stripes(), run)
    return run


def test_a_gan_is_sampled_into_a_sample_folder(adm: Adm, gan: Path, tmp_path: Path) -> None:
    command = ("sample", gan, "--truncation", 0.5, "--classes", "bag:3,sneaker:2", "--out")
    answer = adm(*command, tmp_path / "a")
    assert answer.status == 0
    assert "each image took 1 call of the network" in answer.out + answer.err
    arrays = np.load(tmp_path / "a" / "samples.npz")
    assert arrays["arr_0"].shape == (5, 8, 8, 1)
    assert arrays["arr_1"].tolist() == [1, 1, 1, 0, 0]
    sampled = json.loads((tmp_path / "a" / "samples.json").read_text())
    assert sampled["latent"]["truncation"] == 0.5
    assert "is complete" in adm(*command, tmp_path / "a").out
    adm(*command, tmp_path / "b", "--batch-size", 1)
    assert (tmp_path / "a" / SUMS).read_bytes() == (tmp_path / "b" / SUMS).read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--scale", 2), "scale"),
        (("--classifier", "fashion-classifier"), "classifier"),
        (("--animate",), "which has no steps to show"),
        (("--budget", "50ms"), "frontier"),
    ],
)
def test_what_a_gan_cannot_do_is_refused(
    adm: Adm, gan: Path, tmp_path: Path, options, message
) -> None:
    assert message in adm("sample", gan, *options, "--out", tmp_path / "out").refusal()
    assert not (tmp_path / "out").exists()


def test_a_gan_is_no_diffusion_model_and_a_diffusion_model_no_gan(
    adm: Adm, gan: Path, models: Path, tmp_path: Path
) -> None:
    model = models / "model.safetensors"
    said = adm("sample", model, "--truncation", 2, "--out", tmp_path / "out").refusal()
    assert "truncation" in said
    said = adm(
        "sample", model, "--classifier", gan, "--scale", 1, "--out", tmp_path / "out"
    ).refusal()
    assert "is a GAN; give a classifier" in said
    said = adm("upsample", gan, models, "--out", tmp_path / "out").refusal()
    assert "MODEL must be a diffusion model" in said
    assert "for a GAN" in adm("grid", gan, "--steps", 2).refusal()


def test_a_gan_describes_itself(adm: Adm, gan: Path) -> None:
    told = adm("info", gan).out
    assert "fashion-biggan (gan)" in told
    assert "8 numbers, whole by default" in told
    assert "process" not in told
    held = json.loads(adm("info", gan, "--json").out)
    assert held["kind"] == "gan"
    tensors = load_file(resolve(gan))
    trained = (each.numel() for name, each in tensors.items() if not name.endswith(".u"))
    assert held["parameters"] == sum(trained)  # the vectors of singular values are not trained


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--micro-batch", 2), "--micro-batch must be left out for a GAN"),
        (
            ("--set", "train.batch_size=5"),
            "train.batch_size must be a multiple of 2, a part for each process",
        ),
        (("--set", "gan.noise=7"), "does not split into 3 equal pieces"),
    ],
)
def test_a_run_that_a_gan_cannot_have_is_refused(adm: Adm, options, message, tmp_path) -> None:
    said = adm("train", "fashion-biggan", "--data", "digits", *options, "--out", tmp_path / "run")
    assert message in said.err
    assert said.status == 2


def test_a_gan_is_trained_on_other_data_and_validated_by_distance(adm: Adm, tmp_path: Path) -> None:
    small = ("gan.channels=8", "gan.multipliers=1,2", "gan.noise=8", "gan.class_width=4")
    settings = (*small, "data.size=8", "train.batch_size=8", "watch.features=pixels")
    run = tmp_path / "run"
    answer = adm(
        "train", "fashion-biggan", "--data", "digits", "--steps", 2, "--set", *settings, "-o", run
    )
    assert answer.status == 0, answer.err
    assert json.loads((run / "run.json").read_text())["recipe"]["gan"]["size"] == [8, 8]
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["validation/frechet"] > 0
    assert (run / "previews" / "step-0000002.png").is_file()
    assert (run / "progress.png").is_file()
    assert (run / "checkpoints" / "best").exists()
