"""Broken images are named; failures of disk and memory are not blamed on them."""

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
import torch
from data.test_archives import KINDS, Make, make_tar, png

from adm.data import CorruptImage, Source, open_source
from adm.data.files import Files
from adm.data.fitting import at_one_size


class Failing(io.BytesIO):
    """A file of which only the first `sound` bytes can be read."""

    def __init__(self, content: bytes, error: BaseException, sound: int = 0) -> None:
        super().__init__(content)
        self.error, self.sound = error, sound

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() >= self.sound:
            raise self.error
        return super().read(size)


def files(open_: Callable[[], BinaryIO]) -> Source:
    """A sound image, and one that is opened by `open_`."""
    streams = [lambda: io.BytesIO(png(0, (64, 64))), open_]
    labels = torch.zeros(2, dtype=torch.int64)
    return Source("two", ("a",), labels, Files(lambda i: streams[i](), lambda i: f"{i}.png"))


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
@pytest.mark.parametrize("sound", [0, 100])  # in the header; in the pixels
def test_a_disk_that_fails_is_an_error_of_its_own(number: int, sound: int) -> None:
    error = OSError(number, os.strerror(number))
    broken = files(lambda: Failing(png(1, (64, 64)), error, sound))
    source = at_one_size(broken, size=(4, 4), check=False)
    with pytest.raises(
        ValueError, match=rf"1\.png cannot be read \({os.strerror(number)}\); check"
    ):
        source.batch([0, 1])


@pytest.mark.parametrize("sound", [0, 100])
def test_memory_that_runs_out_is_no_fault_of_an_image(sound: int) -> None:
    broken = files(lambda: Failing(png(1, (64, 64)), MemoryError(), sound))
    with pytest.raises(MemoryError):
        at_one_size(broken, size=(4, 4), check=False).batch([0, 1])


@pytest.mark.parametrize(
    "error",
    [
        OSError("broken data stream when reading image file"),
        OSError(errno.EINVAL, "Invalid argument"),  # from a seek before the start
        ValueError("negative seek value"),
    ],
)
def test_errors_of_a_broken_image_name_it(error: Exception) -> None:
    broken = files(lambda: Failing(png(1, (64, 64)), error, 100))
    source = at_one_size(broken, size=(4, 4), check=False)
    with pytest.raises(CorruptImage, match=r"1\.png is not a usable image"):
        source.read(1)


@pytest.mark.parametrize("make", [*KINDS, make_tar])
def test_in_every_form_a_failing_disk_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Make
) -> None:
    spec = make(tmp_path / "set", {"1.png": png(1), "2.png": png(2)})
    source = open_source(spec, size=(4, 4))

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("builtins.open", fail)
    monkeypatch.setattr(Path, "open", fail)
    monkeypatch.setattr("zipfile.ZipFile.open", fail)
    with pytest.raises(ValueError, match=r"set.*1\.png cannot be read \(Input/output error\)"):
        source.batch([0, 1])
