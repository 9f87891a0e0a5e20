"""errors of the system and of safetensors -> their number, and the cure that fits."""

import errno
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from adm.training.disk import unwritten


@pytest.mark.parametrize(
    ("error", "number", "cure"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), errno.ENOSPC, "free disk space"),
        (OSError(errno.EDQUOT, "Quota exceeded"), errno.EDQUOT, "free disk space"),
        (OSError(errno.EACCES, "Permission denied"), errno.EACCES, "make it writable, or"),
        (OSError(errno.EROFS, "Read-only file system"), errno.EROFS, "make it writable, or"),
        (OSError(errno.EIO, "Input/output error"), errno.EIO, "resolve that error"),
        (SafetensorError("I/O error: No space (os error 28)"), errno.ENOSPC, "free disk space"),
        (SafetensorError("IoError(Os { code: 13, kind: No })"), errno.EACCES, "make it writable"),
        (SafetensorError("something else"), errno.EIO, "resolve that error"),
    ],
)
def test_the_cure_is_the_error_s(error: Exception, number: int, cure: str) -> None:
    raised = unwritten("the file", error, "; nothing is left")
    assert raised.errno == number
    assert f"the file was not written ({error}); nothing is left; {cure}" in str(raised)
    assert str(raised).endswith("and try again")


def test_the_number_of_a_real_error_of_safetensors_is_found(tmp_path: Path) -> None:
    with pytest.raises((SafetensorError, OSError)) as raised:
        save_file({"a": torch.zeros(2)}, tmp_path / "absent/file.safetensors")
    assert unwritten("it", raised.value).errno == errno.ENOENT
