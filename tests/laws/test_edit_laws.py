"""x_0, edit -> x_t, sampled again: what stays of an image, and how edits are distributed."""

from itertools import pairwise

import pytest
import torch
from oracle import (
    Mixture,
    four_modes,
    last,
    noise_like,
    normal,
    one_gaussian,
    rms,
    sampler_of,
    seeded,
    slope,
)
from torch import Tensor

from adm.diffusion import cosine
from adm.generation.edit import EDITS, Edit, on_arc
from adm.samplers import Even, Sampling
from adm.spec import parse

DATA, PROCESS = four_modes(), cosine(1000)


def edit_of(spec: str) -> Edit:
    return parse(EDITS, spec, "edit")


def started(
    edit: Edit, x_0: Tensor, steps: int, share: float = 0.0, data: Mixture = DATA
) -> tuple[Tensor, Sampling]:
    """x_t from which sampling starts, and how it goes on."""
    sampling = edit.moved(Sampling(grid=Even(steps=steps)), PROCESS)
    way = PROCESS.visiting(edit.levels(sampling.grid.visited(PROCESS)[-1]))
    noise = normal((len(x_0), 1, 2, 2), 7)
    places = torch.full((len(x_0),), share)
    return edit.encoded(data.denoise(way), x_0, way, noise, places), sampling


def edited(spec: str, x_0: Tensor, sampler: str, steps: int, data: Mixture = DATA) -> Tensor:
    x, sampling = started(edit_of(spec), x_0, steps, data=data)
    schedule = sampling.grid.of(PROCESS)
    return last(sampler_of(sampler)(data.denoise(schedule), x, schedule, noise_like(x)))


@pytest.mark.parametrize("data", [DATA, one_gaussian(0.5)], ids=["modes", "wide"])
@pytest.mark.parametrize("strength", [0.3, 0.7])
def test_samples_that_are_noised_and_sampled_are_samples_again(strength: float, data: Mixture):
    x_0, _ = data.sample(3000, seeded(1))
    samples = edited(f"noise:strength={strength}", x_0, "ancestral", 40, data).flatten(1)
    assert rms(samples - x_0.flatten(1)) > 0.1, "they are others"
    torch.testing.assert_close(samples.mean(dim=0), data.mean, atol=0.03, rtol=0)
    torch.testing.assert_close(samples.T.cov(), data.covariance, atol=0.04, rtol=0)


def test_the_weaker_the_noise_the_more_of_the_image_stays():
    x_0, _ = DATA.sample(64, seeded(1))
    strengths = (0.6, 0.2, 0.05, 0.001)
    errors = [rms(edited(f"noise:strength={each}", x_0, "ddim", 20) - x_0) for each in strengths]
    assert all(more > less for more, less in pairwise(errors)), errors
    assert errors[-1] < 1.5 * PROCESS.sigma[2], "no more is lost than the noise of level 2"


@pytest.mark.parametrize("strength", [0.001, 0.3, 1.0])
def test_an_edit_visits_as_many_levels_all_of_which_a_network_is_trained_on(strength: float):
    plain = Sampling(grid=Even(steps=10))
    moved = edit_of(f"noise:strength={strength}").moved(plain, PROCESS).grid.visited(PROCESS)
    assert min(moved) == 1
    share = torch.tensor(moved).diff() / torch.tensor(plain.grid.visited(PROCESS)).diff()
    torch.testing.assert_close(share, torch.full((9,), strength), rtol=1e-3, atol=0)


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_a_code_gives_its_image_again_as_steps_grow(strength):
    x_0, _ = DATA.sample(64, seeded(1))
    counts, errors = [25, 50, 100, 200], []
    for steps in counts:
        spec = f"invert:strength={strength},steps={steps}"
        errors.append(rms(edited(spec, x_0, "ddim", steps) - x_0))
    assert slope(counts, errors) == pytest.approx(1, abs=0.2), errors
    assert errors[-1] < 0.01, errors


def test_the_ends_of_an_interpolation_are_the_codes_of_its_images():
    x_0, _ = DATA.sample(6, seeded(1))
    pairs = torch.stack([x_0[:-1], x_0[1:]], dim=1)
    between = edit_of("interpolate:steps=30")
    codes, _ = started(edit_of("invert:strength=1,steps=30"), x_0, 30)
    for share, expected in ((0.0, codes[:-1]), (1.0, codes[1:])):
        assert torch.equal(started(between, pairs, 30, share)[0], expected)
    one, other = started(between, pairs, 30, 0.3)[0], started(between, pairs.flip(1), 30, 0.7)[0]
    torch.testing.assert_close(one, other)


def test_an_arc_keeps_the_length_and_divides_the_angle():
    start, end = normal((5, 1, 8, 8), 1), normal((5, 1, 8, 8), 2)
    end = end * (start.flatten(1).norm(dim=1) / end.flatten(1).norm(dim=1)).reshape(-1, 1, 1, 1)

    def angle(one, other):
        return torch.nn.functional.cosine_similarity(one.flatten(1), other.flatten(1)).acos()

    for share in (0.25, 0.5, 0.9):
        point = on_arc(start, end, torch.full((5,), share))
        torch.testing.assert_close(point.flatten(1).norm(dim=1), start.flatten(1).norm(dim=1))
        expected = torch.tensor(share, dtype=torch.float32).double() * angle(start, end)
        torch.testing.assert_close(angle(start, point), expected)
    torch.testing.assert_close(on_arc(start, 2 * start, torch.full((5,), 0.5)), 1.5 * start)
