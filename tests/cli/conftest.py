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

    def done(*words: object) -> Answer:
        """The answer of a command that has to end well."""
        answer = call(*words)
        assert answer.status == 0, answer.err
        return answer

    call.done = done
    return call


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of model files: of each kind, and some that do not match the others."""
    folder = tmp_path_factory.mktemp("models")
    diffusion = {
        "model": ("train.label_dropout=0.1",),
        "always": ("train.label_dropout=0",),  # is always told the label
        "unlabelled": ("unet.classes=null",),
        "larger": ("data.size=16,16",),
        "small": ("data.size=4,4",),
        "up": ("unet.super_resolution=true", "data.low_res=4,4"),
        "up16": ("unet.super_resolution=true", "data.low_res=8,8", "data.size=16,16"),
    }
    for name, settings in diffusion.items():
        tiny.model(folder / f"{name}.safetensors", tiny.diffusion(*settings))
    turned = tuple(reversed(tiny.CLASSES))
    tiny.model(folder / "turned.safetensors", tiny.upsampler(), classes=turned)
    tiny.model(folder / "strange.safetensors", tiny.upsampler(), classes=("bag", "cat", "dog"))
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


@pytest.fixture(scope="session")
def gan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of a GAN, after a few steps."""
    run = tmp_path_factory.mktemp("runs") / "gan"
    tiny.steps(tiny.gan(), tiny.stripes(), run)
    return run
