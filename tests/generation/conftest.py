"""The model and the classifier that most tests of sampling work with."""

from pathlib import Path

import pytest
import tiny

from adm.models.load import load_classifier, load_diffusion
from adm.models.trained import ClassifierModel, DiffusionModel


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def model(folder: Path) -> DiffusionModel:
    return load_diffusion(tiny.model(folder / "d.safetensors", tiny.diffusion()))


@pytest.fixture(scope="session")
def guide(folder: Path) -> ClassifierModel:
    return load_classifier(tiny.model(folder / "c.safetensors", tiny.classifier(), seed=1))
