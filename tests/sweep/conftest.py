"""Models for studies to work with."""

from pathlib import Path

import pytest
import tiny


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny.model(folder / "model.safetensors", tiny.diffusion())
    tiny.model(folder / "unlabelled.safetensors", tiny.diffusion("unet.classes=null"))
    tiny.model(folder / "guide.safetensors", tiny.classifier())
    tiny.model(folder / "judge.safetensors", tiny.classifier("noised=false"), seed=1)
    return folder
