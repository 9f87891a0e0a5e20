"""baselines/rival.py: noise, changes of images; of each rival a stopped run, the command line."""

import itertools
import math
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy import stats
from torch import nn

sys.path.append(str(Path(__file__).parents[2] / "baselines"))
rival, *RIVALS = map(import_module, ("rival", "biggan", "r3gan"))


@pytest.mark.parametrize("limit", [None, 2.0, 0.5, 0.04])
def test_truncated_noise_has_the_normal_distribution_given_its_range(limit: float | None) -> None:
    noise, end = rival.draw_noise(7, range(300), 64, limit), limit or math.inf
    assert noise.abs().max() <= end
    fit = stats.kstest(noise.flatten().double().numpy(), stats.truncnorm(-end, end).cdf)
    assert fit.pvalue > 0.01
    assert torch.equal(rival.draw_noise(7, [9], 64, limit)[0], noise[9])


def pictures() -> torch.Tensor:
    return torch.rand(64, 3, 16, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1


def uniforms(**columns: float) -> torch.Tensor:
    drawn = torch.rand(64, 7, generator=torch.Generator().manual_seed(1))
    for column, value in columns.items():
        drawn[:, int(column[1:])] = value
    return drawn


def test_colours_change_by_brightness_saturation_and_contrast() -> None:
    x, close = pictures(), {"rtol": 0, "atol": 1e-6}
    level = x.mean((1, 2, 3), keepdim=True)
    for column, value, expected in (
        ("c0", 0.5, x),
        ("c0", 0.75, x + 0.25),
        ("c1", 0.0, x.mean(1, keepdim=True).expand_as(x)),
        ("c2", 0.0, level + (x - level) / 2),
    ):
        drawn = uniforms(**({"c0": 0.5, "c1": 0.5, "c2": 0.5} | {column: value}))
        torch.testing.assert_close(rival.recolour(x, drawn), expected, **close)


def test_translation_shifts_by_up_to_an_eighth_and_fills_with_0() -> None:
    x, shifted = pictures(), rival.translate(pictures(), uniforms())
    around = nn.functional.pad(x, (3, 3, 2, 2))
    shifts = {
        (down, right)
        for down, right in itertools.product(range(-2, 3), range(-3, 4))
        for before, after in zip(around, shifted, strict=True)
        if torch.equal(before[:, 2 - down :, 3 - right :][:, :16, :24], after)
    }
    assert {down for down, _ in shifts} == {*range(-2, 3)}
    assert {right for _, right in shifts} == {*range(-3, 4)}


def test_cutout_sets_one_rectangle_of_half_the_sides_to_0() -> None:
    inside = rival.cut_out(pictures(), uniforms(c5=0.5, c6=0.5))
    assert (inside == 0).all(1).flatten(1).sum(1).tolist() == [8 * 12] * 64
    for before, after in zip(pictures(), rival.cut_out(pictures(), uniforms()), strict=True):
        cut = (after == 0).all(0)
        assert cut.sum() == cut.any(1).sum() * cut.any(0).sum() <= 8 * 12
        assert torch.equal(after[:, ~cut], before[:, ~cut])


@pytest.mark.parametrize("change", rival.CHANGES)
def test_gradients_pass_through_every_change(change: str) -> None:
    x = pictures().requires_grad_()
    rival.CHANGES[change](x, uniforms()).sum().backward()
    assert x.grad is not None
    assert (x.grad.flatten(1).abs().sum(1) > 0).all()


SETTINGS = "--size 8,8 --multipliers 1,2 --channels 16 --noise 8 --batch-size 8 --save-every 2"


@pytest.mark.parametrize("program", RIVALS, ids=lambda program: program.__name__)
def test_a_run_that_was_stopped_is_the_run_that_was_not(
    program: ModuleType, tmp_path: Path
) -> None:
    def run(*words: object) -> None:
        program.main([str(word) for word in words])

    for out, counts in {"whole": (4,), "halves": (2, 4)}.items():
        for steps in counts:
            words = ["--data", "digits", "--out", tmp_path / out, "--steps", steps]
            run("--device", "cpu", "train", *words, *SETTINGS.split())
    file = "step-0000004.safetensors"
    whole, halves = (load_file(tmp_path / out / file) for out in ("whole", "halves"))
    assert all(torch.equal(whole[name], halves[name]) for name in whole)
    with pytest.raises(SystemExit):
        run("train", *words, *SETTINGS.split(), "--noise", "16")
    weights, out = tmp_path / "whole" / file, tmp_path / "samples"
    run("sample", weights, "--classes", "3:2,7", "--truncation", "1", "--out", out)
    arrays = np.load(out / "samples.npz")
    assert arrays["arr_0"].shape == (3, 8, 8, 1)
    assert arrays["arr_1"].tolist() == [3, 3, 7]
