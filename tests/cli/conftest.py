"""words -> what the command line said, and its exit status; models for it to work with."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import tiny

from adm.app.cli import main


class Answer(NamedTuple):
    status: int
    out: str
    err: str

    def refusal(self) -> str:
        """The one line in which it refused."""
        assert self.status == 2
        assert self.err.startswith("adm: ")
        assert self.err.count("\n") == 1, self.err
        assert "Traceback" not in self.err + self.out
        return self.err


Adm = Callable[..., Answer]


@pytest.fixture
def adm(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Adm:
    monkeypatch.delenv("ADM_TRACEBACK", raising=False)
    monkeypatch.setenv("COLUMNS", "100")

    def call(*words: object) -> Answer:
        status = 0
        try:
            main([str(word) for word in words])
        except SystemExit as exit_:
            status = int(exit_.code or 0)
        said = capsys.readouterr()
        return Answer(status, said.out, said.err)

    return call


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of model files: one of each kind, and classifiers that do not match."""
    folder = tmp_path_factory.mktemp("models")
    tiny.model(folder / "model.safetensors", tiny.diffusion())
    tiny.model(folder / "unlabelled.safetensors", tiny.diffusion("unet.classes=null"))
    classifiers = {
        "guide": (),
        "linear": ("process.schedule=linear",),
        "clean": ("noised=false",),
    }
    for name, settings in classifiers.items():
        tiny.model(folder / f"{name}.safetensors", tiny.classifier(*settings))
    others = ("sneaker", "bag", "boot")
    tiny.model(folder / "boots.safetensors", tiny.classifier(), classes=others)
    return folder
