"""docs/howto/sample.md -> every block runs, and what the page says of its results is so."""

from pathlib import Path

import pytest
import torch

from adm.images import to_float
from docs import pages

pytestmark = pytest.mark.xdist_group("tour")  # one worker makes what all of them use

PAGE = pages.DOCS / "howto" / "sample.md"


@pytest.fixture(scope="module")
def tour(tmp_path_factory):
    """What the page defines, run in an empty folder."""
    folder: Path = tmp_path_factory.mktemp("tour")
    with pytest.MonkeyPatch.context() as patch:
        (folder / "empty").mkdir()
        patch.chdir(folder / "empty")
        yield pages.run(PAGE)


@pytest.mark.slow
def test_the_samples_are_as_the_page_says(tour):
    samples = tour["samples"]
    assert samples.images.shape == (10, *tour["model"].shape)
    assert samples.images.dtype == torch.uint8
    assert samples.labels.tolist() == list(range(10))
    assert tour["picture"].width > samples.images.shape[3]
    assert (tour["saved"] / "samples.npz").is_file()


@pytest.mark.slow
def test_the_parts_give_what_the_settings_give(tour):
    samples = tour["model"].sample("all:1", scale=2.0, seed=0, precision="float32")
    whole, by_parts = to_float(samples.images[:4]), tour["last"].x.clamp(-1, 1)
    # A batch of another size may round differently: one grey level at the most.
    assert (whole - by_parts).abs().max() < 2 / 127.5


@pytest.mark.slow
def test_a_sweep_scores_every_combination(tour):
    points = tour["result"].points
    assert [point.settings["scale"] for point in points] == [0, 2]
    assert all("Fréchet distance (fashion-judge)" in point.scores for point in points)


@pytest.mark.slow
def test_a_method_of_one_s_own_draws_the_known_pixels_to_what_is_known(tour):
    free, restored = (tour["missed"](tour[name].images) for name in ("free", "other"))
    assert restored < 0.25 * free
    assert len(tour["evaluations"]) == 12
    assert tour["missed"](tour["filled"].images[::2]) < 0.1


@pytest.mark.slow
def test_several_samples_of_one_measurement_differ_where_it_says_nothing(tour):
    filled, steered = tour["filled"], tour["steered"]
    assert len(filled) == 8
    assert steered.labels.tolist() == [8] * 4
    one, other = to_float(filled.images[:2])
    unknown = tour["y"][0] == 0
    assert (one - other)[unknown].abs().mean() > 3 * (one - other)[~unknown].abs().mean()


@pytest.mark.slow
def test_bits_are_the_sum_of_their_terms(tour):
    bits = tour["bits"]
    torch.testing.assert_close(bits.total, bits.terms.sum(dim=1) + bits.prior)
    assert bits.terms.shape == (4, tour["model"].sampling.grid.steps)
    assert (bits.total > 0).all()


@pytest.mark.slow
def test_more_steps_bring_an_image_back_more_exactly(tour):
    few, many = ((tour[name] - tour["images"]).abs().mean() for name in ("few", "many"))
    assert many < 0.5 * few
    assert len(tour["variations"]) == 8
    assert tour["bags"].labels.tolist() == [8] * 4


@pytest.mark.slow
def test_a_finished_run_has_nothing_left_to_do(tour):
    assert len(tour["losses"]) == tour["mine"].trained_steps == 12
    assert tour["again"] == []
    assert tour["mine"].recipe == tour["short"]


@pytest.mark.slow
def test_an_imported_network_is_the_one_exported(tour):
    described, [named] = (
        tour["theirs"],
        tour["recognise"](tour["released_shapes"](tour["RELEASED"]["64x64_diffusion.pt"].config)),
    )
    assert named == "64x64_diffusion.pt"
    written = torch.load("theirs.pt", weights_only=True)
    back = tour["export_state"](tour["imported"].state_dict(), described.config)
    assert written.keys() == back.keys()
    assert all(torch.equal(written[name], back[name]) for name in written)
