"""Error -> one line: what was refused, the reason in words, and the cure."""

import errno
import os
from pathlib import Path

import pytest
from answers import Adm

from adm.app import cli
from adm.app.cli import errors
from adm.app.cli.errors import SENTENCES, of_disk
from adm.spec import out_of_range
from adm.store.files import new_file, new_folder

AGAIN = "run the command again"


def refusal(number: int, path: object = None) -> OSError:
    return OSError(number, os.strerror(number), path)


@pytest.mark.parametrize("number", [*SENTENCES, errno.ECONNRESET])
@pytest.mark.parametrize("path", ["out/file", None, b"caf\xe9"])
def test_every_refusal_is_a_sentence_with_a_cure(number: int, path: object) -> None:
    sentence = of_disk(refusal(number, path), AGAIN)
    assert all(sentence.partition("; "))
    assert "Errno" not in sentence
    assert "{" not in sentence
    if path == "out/file" and number not in (errno.EMFILE, errno.ENOMEM):
        assert "out/file" in sentence


def test_a_message_of_the_library_stays() -> None:
    error = OSError(errno.ENOSPC, "out is not empty; choose another")
    assert of_disk(error, AGAIN) == "out is not empty; choose another"


def test_a_setting_is_refused_in_the_words_of_the_command_line() -> None:
    named = {"steps": "--steps", "grid": "--grid", "model": "MODEL", "set": "--set"}
    error = out_of_range("steps", "at most 20", 21, "or pass {grid=karras} or {use_labels=False}")
    line = errors.line(error, AGAIN, lambda: named)
    assert line == (
        "--steps must be at most 20, got 21; or pass --grid karras or --set use_labels=false"
    )
    assert (
        errors.line(out_of_range("model", "a student"), AGAIN, lambda: named)
        == "MODEL must be a student"
    )


def test_a_failed_write_names_what_was_to_be_written(tmp_path: Path) -> None:
    path, out = tmp_path / "file", tmp_path / "folder"
    with pytest.raises(OSError, match="Errno") as raised, new_file(path):
        raise refusal(errno.ENOSPC)
    assert raised.value.filename == str(path)
    with pytest.raises(OSError, match="Errno") as raised, new_file(path) as part:
        (part / "x").touch()  # no such file; the name of the part means nothing to the user
    assert raised.value.filename == str(path)
    with pytest.raises(OSError, match="Errno") as raised, new_folder(out) as folder:
        raise refusal(errno.EDQUOT, str(folder / "a.png"))
    assert raised.value.filename == str(out)
    with pytest.raises(OSError, match="Errno") as raised, new_file(path):
        raise refusal(errno.EACCES, "another")
    assert raised.value.filename == "another"
    with pytest.raises(OSError, match="a sentence") as raised, new_file(path):
        raise OSError(errno.ENOSPC, "a sentence")
    assert raised.value.filename is None


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MemoryError(), "the memory is full; end other programs, or give less to do at a time"),
        (
            b"caf\xe9 au lait".decode,
            r"a file or a name is not UTF-8, near b'caf\xe9 au lait'; write",
        ),
        ("caf\udce9".encode, r"a file or a name is not UTF-8, near 'caf\udce9'; write"),
        (ValueError("x" * 10**6), "xxx…xxx"),
        (ValueError("a b " * 10**6), "a b a b"),
        (ValueError("\x1b[2J\u202e\udcff"), r"\x1b[2J\u202e\udcff"),
    ],
    ids=["memory", "bytes", "surrogate", "long word", "long line", "controls"],
)
def test_a_line_is_short_and_acts_on_no_terminal(
    adm: Adm, monkeypatch: pytest.MonkeyPatch, error: object, line: str
) -> None:
    def fail(words: object) -> None:
        if isinstance(error, BaseException):
            raise error
        assert callable(error)
        error()

    monkeypatch.setattr(cli, "command_line", lambda words: lambda *_, **__: fail(words))
    message = adm("recipes").refusal()
    start, _, end = line.partition("…")
    assert start in message
    assert end in message
    assert len(message) < 2100


@pytest.mark.parametrize("error", [RecursionError, KeyError])
def test_a_mistake_of_the_program_is_not_hidden(
    adm: Adm, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(cli, "command_line", lambda words: fail)
    with pytest.raises(error):
        adm("recipes")
