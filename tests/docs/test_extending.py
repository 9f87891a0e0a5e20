"""docs/howto/extend.md -> every block runs, and each addition does what the page says of it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from adm.data import registry
from docs import pages

# One worker makes what all of them use.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("extending")]

PAGE = pages.DOCS / "howto" / "extend.md"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """What the page defines, run in an empty folder; the tables that it adds to are restored."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "NAMED", dict(registry.NAMED))
        patch.chdir(tmp_path_factory.mktemp("extending"))
        yield {**pages.run(PAGE), "place": Path.cwd()}


def test_the_trapezoid_quarters_its_error_where_ddim_halves_it(page):
    ratios = {name: coarse / fine for name, (coarse, fine) in page["errors"].items()}
    assert ratios["ddim"] == pytest.approx(2, abs=0.3)
    assert ratios["trapezoid"] == pytest.approx(4, abs=0.6)
    assert page["errors"]["trapezoid"][1] < 0.1 * page["errors"]["ddim"][1]


def test_the_guided_trapezoid_by_the_exact_classifier_is_the_conditional_model(page):
    data, levels, label, x = (page[name] for name in ("data", "levels", "label", "x_T"))

    def run(denoise, gradient=None):
        *_, state = page["Trapezoid"]()(denoise, x, levels, lambda level, draw=0: x, gradient)
        return state.x

    guided = run(data.denoise(levels), data.gradient(levels, label))
    torch.testing.assert_close(guided, run(data.denoise(levels, label)))


def test_an_interval_guides_less_than_all_levels_and_more_than_none(page):
    none, some, whole, strong, directed = page["shares"]
    assert none < some < whole < strong
    assert directed > none


def test_denoisers_made_of_denoisers_move_every_sampler(page):
    for shares in page["by_sampler"].values():
        assert shares["none"] + 0.2 < shares["interpolated"] < shares["contrast"]
        assert shares["contrast"] > 0.95


def test_the_best_of_several_images_is_the_most_probable_of_them(page):
    best_of, labels = page["best_of"], page["plain"].labels
    once = replace(best_of, tries=1)
    assert torch.equal(once.images(labels, range(20)), page["plain"].images)
    every = [best_of.base.images(labels, range(k, 40, 2)) for k in (0, 1)]
    scores = torch.stack([best_of.log_p(images, labels) for images in every])
    torch.testing.assert_close(best_of.log_p(page["chosen"], labels), scores.amax(dim=0))
    assert page["sureness"][0] < page["sureness"][1]


def test_the_energy_distance_is_small_for_the_same_and_large_for_the_moved(page):
    distance, same, moved = (page[name] for name in ("energy_distance", "same", "moved"))
    assert abs(distance(same, page["features"][200:])) < 0.05 * distance(same, moved)
    assert distance(same, moved) == pytest.approx(distance(moved, same))


def test_the_new_data_are_found_by_name_and_fit_the_new_recipe(page):
    assert len(page["found"]) == 100
    assert page["found"].read(1).shape == (3, 8, 8)
    assert page["found"].classes == ("vertical", "horizontal")
    assert not torch.equal(page["found"].read(0), page["found"].read(1))
    with pytest.raises(ValueError, match="classes"):
        page["check_source"](page["recipe"]("digits"), registry.open_source("stripes"))
    assert page["from_json"](page["to_json"](page["striped"]())) == page["striped"]()
