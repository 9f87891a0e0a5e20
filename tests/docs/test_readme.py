"""README.md -> its Python block runs, and does what the page says."""

import pytest
import torch

from docs import pages


@pytest.mark.slow
def test_the_first_lines_of_python_do_what_they_say(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    readme: dict = {}
    for block in pages.blocks(pages.ROOT / "README.md"):
        exec(block, readme)
    samples = readme["samples"]
    assert samples.images.shape == (12, 1, 28, 28)
    assert samples.images.dtype == torch.uint8
    assert samples.labels.tolist() == [7] * 8 + [8] * 4
    assert (tmp_path / "out/pairs/grid.png").is_file()


def test_it_fits_a_screen_and_a_half() -> None:
    assert len((pages.ROOT / "README.md").read_text("utf-8").split()) <= 650
