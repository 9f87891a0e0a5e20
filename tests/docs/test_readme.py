"""README.md -> its Python block runs, and does what the page says."""

import pytest
import torch

from docs import pages

pytestmark = pytest.mark.xdist_group("readme")  # one worker makes what all of them use

PAGE = pages.ROOT / "README.md"


@pytest.fixture(scope="module")
def readme(tmp_path_factory: pytest.TempPathFactory) -> dict:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("readme"))
        return pages.run(PAGE)


@pytest.mark.slow
def test_the_first_lines_of_python_do_what_they_say(readme: dict, tmp_path_factory) -> None:
    samples = readme["samples"]
    assert samples.images.shape == (12, 1, 28, 28)
    assert samples.images.dtype == torch.uint8
    assert samples.labels.tolist() == [7] * 8 + [8] * 4
    assert readme["state"].level == 0
