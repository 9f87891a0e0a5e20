"""Models for studies to work with."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny

from adm.app.study import timing


@pytest.fixture(autouse=True, scope="session")
def _no_time_passes() -> Iterator[None]:
    """So that the folders of the same sweep have the same bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "clock", lambda: 0.0)
        yield


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny.model(folder / "model.safetensors", tiny.diffusion())
    tiny.model(folder / "unlabelled.safetensors", tiny.diffusion("unet.classes=null"))
    tiny.model(folder / "guide.safetensors", tiny.classifier())
    tiny.model(folder / "judge.safetensors", tiny.classifier("noised=false"), seed=1)
    return folder
