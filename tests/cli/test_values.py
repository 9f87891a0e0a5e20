"""Word -> number or path, or one line that says what was expected."""

import os
from pathlib import Path

import pytest
from cli.conftest import Adm

from adm.app.cli.lists import number, whole


@pytest.mark.parametrize(("word", "value"), [("0", 0), ("-7", -7), (" 12 ", 12), ("+3", 3)])
def test_whole_numbers(word: str, value: int) -> None:
    assert whole(word) == value
    assert number(word) == value
    assert whole(str(2**64 - 1)) == 2**64 - 1


@pytest.mark.parametrize("word", ["1_000", "\uff11", "2.5", "0x10", ""])
def test_other_words_are_no_whole_numbers(word: str) -> None:
    with pytest.raises(ValueError, match="expected a whole number, got"):
        whole(word)


@pytest.mark.parametrize("word", ["9" * 5000, "-" + "9" * 21, str(2**64)])
def test_a_number_that_nothing_takes_is_refused_at_once(word: str) -> None:
    with pytest.raises(ValueError, match="expected a whole number below"):
        whole(word)


@pytest.mark.parametrize("word", ["nan", "-INF", "1e400"])
def test_a_number_is_finite(word: str) -> None:
    with pytest.raises(ValueError, match="expected a finite number, got"):
        number(word)


@pytest.mark.parametrize(("word", "value"), [(".5", 0.5), ("5.", 5.0), ("-2E2", -200.0)])
def test_numbers(word: str, value: float) -> None:
    assert number(word) == value


@pytest.mark.parametrize("word", ["1_0.5", "\uff11", "", "0x1p3"])
def test_other_words_are_no_numbers(word: str) -> None:
    with pytest.raises(ValueError, match="expected a number, got"):
        number(word)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("info", "a\0b"), r"'a\x00b' holds a NUL character; remove it"),
        (("info", "~nosuchuser/m"), "~nosuchuser/m: there is no such home"),
        (("info", "pipe"), "pipe is a pipe; give a file or a folder"),
        (("train", "digits", "--out", ""), "--out: the path is empty; give one, or ."),
        (("evaluate", "a", "--reference", "b", "--count", ""), "a whole number, got nothing"),
        (("recipes", "--memory=maybe"), '--memory takes no value, got "maybe"; write --memory'),
    ],
)
def test_words_are_refused_before_anything_is_opened(
    adm: Adm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    assert line in adm(*words).refusal()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
