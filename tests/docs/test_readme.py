"""README.md -> its Python block runs, and does what the page says."""

import os
import subprocess
import textwrap

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


def test_a_release_gives_its_links_addresses_that_work_elsewhere(tmp_path) -> None:
    workflow = (pages.ROOT / ".github/workflows/release.yml").read_text("utf-8")
    step = textwrap.dedent(workflow.partition("lead to the files of this version\n")[2])
    command = textwrap.dedent(step.partition("run: |\n")[2].partition("- run:")[0])
    readme = tmp_path / "README.md"
    readme.write_text((pages.ROOT / "README.md").read_text("utf-8"), "utf-8")
    assert len(pages.links(readme)) > 20
    github = {"SERVER_URL": "https://host", "REPOSITORY": "me/adm", "REF_NAME": "v0.1.0"}
    environment = os.environ | {f"GITHUB_{name}": value for name, value in github.items()}
    subprocess.run(["bash", "-euc", command], cwd=tmp_path, env=environment, check=True)
    text = readme.read_text("utf-8")
    assert pages.links(readme) == []
    assert "](https://host/me/adm/raw/v0.1.0/docs/images/emoji-samples.png)" in text
    assert "](https://host/me/adm/blob/v0.1.0/docs/howto/train.md)" in text
    assert "](https://arxiv.org/abs/2105.05233)" in text
