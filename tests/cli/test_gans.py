"""adm sample, sweep, info, train of a GAN -> the same folders as of a diffusion model."""

import json
from pathlib import Path

import numpy as np
from cli.conftest import Adm

from adm.store.hashes import SUMS


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


def test_a_gan_s_images_are_upsampled(adm: Adm, gan: Path, models: Path, tmp_path: Path) -> None:
    words = ("sample", gan, "--truncation", 0.5, "--classes", "bag:2,sneaker")
    up = ("--upsampler", models / "up16.safetensors", "--upsampler-steps", 3)
    answer = adm(*words, *up, "--out", tmp_path / "one")
    assert answer.status == 0, answer.err
    assert adm(*words, "--out", tmp_path / "low").status == 0
    told = ("--steps", 3, "--out", tmp_path / "two")
    assert adm("sample", up[1], "--condition", tmp_path / "low", *told).status == 0
    one, two = (np.load(tmp_path / name / "samples.npz")["arr_0"] for name in ("one", "two"))
    assert one.shape == (3, 16, 16, 1)
    assert np.array_equal(one, two)


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
