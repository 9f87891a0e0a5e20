"""docs/extending.md -> every block runs, and each addition does what the page says of it."""

import pytest
import torch
from oracle import normal

from adm.data import registry
from adm.generation.generate import SamplingSettings, generate
from adm.models.load import DiffusionModel
from adm.recipes import build
from adm.samplers import SAMPLERS
from docs import pages, stand_ins

PAGE = pages.DOCS / "extending.md"


@pytest.fixture(scope="module")
def page():
    """What the page defines; the tables that it adds to are put back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "NAMED", dict(registry.NAMED))
        yield pages.run(PAGE)


def test_links_resolve():
    assert pages.broken_links(PAGE) == []


def test_heun_quarters_its_error_where_ddim_halves_it(page):
    ratios = {name: coarse / fine for name, (coarse, fine) in page["errors"].items()}
    assert ratios["ddim"] == pytest.approx(2, abs=0.3)
    assert ratios["heun"] == pytest.approx(4, abs=0.6)
    assert page["errors"]["heun"][1] < 0.1 * page["errors"]["ddim"][1]


def test_heun_asks_for_noise_once_a_level_and_yields_each(page):
    levels, x, asked = page["levels"].respaced([5, 20, 40]), page["x_T"], []

    def noise(level):
        asked.append(level)
        return x

    states = list(page["heun"](page["data"].denoise(levels), x, levels, noise))
    assert asked == [3, 2, 1]
    assert [state.level for state in states] == [2, 1, 0]


def test_guided_heun_by_the_exact_classifier_is_the_conditional_model(page):
    data, levels, label, x = (page[name] for name in ("data", "levels", "label", "x_T"))

    def run(denoise, gradient=None):
        *_, state = page["heun"](denoise, x, levels, lambda level: x, gradient)
        return state.x

    guided = run(data.denoise(levels), data.gradient(levels, label))
    torch.testing.assert_close(guided, run(data.denoise(levels, label)))


def test_the_table_is_all_that_generate_and_its_checks_look_at(page, monkeypatch):
    monkeypatch.setitem(SAMPLERS, "heun", page["heun"])
    recipe = stand_ins.small("fashion")
    model = DiffusionModel(
        build.network(recipe).eval(),
        recipe,
        tuple(map(str, range(10))),
        build.schedule(recipe.process),
        build.parameterization(recipe.process),
        pages.ROOT,
        0,
    )
    settings = SamplingSettings(sampler="heun", steps=3)
    [images] = generate(model, torch.tensor([0, 1]), settings, images=range(2))
    assert images.shape == (2, 1, 28, 28)
    with pytest.raises(ValueError, match="eta means nothing to the heun sampler"):
        next(generate(model, None, SamplingSettings(sampler="heun", eta=0.5), images=[0]))


def test_an_interval_guides_less_than_all_levels_and_more_than_none(page):
    none, some, all_, whole = page["shares"]
    assert none < some < all_
    assert all_ == whole


def test_a_gradient_outside_its_interval_is_zero(page):
    limited, x = page["within"](page["pull"], 10, 30), normal((8, 1, 2, 2), 1)
    assert torch.equal(limited(x, 9), torch.zeros_like(x))
    assert torch.equal(limited(x, 10), page["pull"](x, 10))


def test_the_huber_loss_never_exceeds_half_the_squared_error(page):
    squared, huber = (page["outcomes"][name].loss for name in ("simple", "huber"))
    assert (huber <= squared / 2).all()
    assert (huber > 0).all()


def test_heads_cost_no_parameters(page):
    base, narrow = page["sizes"]
    assert base == narrow > 0
    assert page["narrow_heads"]().unet != page["attention_base"]().unet


def test_the_kernel_distance_is_small_for_the_same_and_large_for_the_moved(page):
    distance, same, moved = (page[name] for name in ("kernel_distance", "same", "moved"))
    assert abs(distance(same, page["features"][200:])) < 0.05 * distance(same, moved)
    assert distance(same, moved) == pytest.approx(distance(moved, same))


def test_the_new_data_are_found_by_name_and_fit_the_new_recipe(page):
    assert len(page["found"]) == 100
    assert page["found"].read(1).shape == (3, 8, 8)
    assert page["found"].classes == ("upright", "level")
    assert not torch.equal(page["found"].read(0), page["found"].read(1))
    with pytest.raises(ValueError, match="classes"):
        page["check_source"](page["recipe"]("digits"), registry.open_source("stripes"))
    assert page["from_json"](page["to_json"](page["striped"]())) == page["striped"]()
