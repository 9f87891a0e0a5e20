"""words -> numbers, paths and lists of them, or one line that says what was expected."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from answers import Adm
from cyclopts import App, CoercionError

from adm.app.cli import lists

EXAMPLES = {
    "numbers": (lists.numbers("0,1"), tuple[float, ...]),
    "whole": (lists.whole_numbers("1,2"), tuple[int, ...]),
    "names": (lists.names("a,b"), tuple[str, ...]),
    "renames": (lists.RENAMES, tuple[str, ...]),
}


def parse(form: Any, type_: Any, *words: str) -> Any:
    app = App()

    @app.default
    def verb(*, values: Annotated[type_, form], other: str = "") -> Any:
        return values

    call = {"exit_on_error": False, "print_error": False, "result_action": "return_value"}
    return app(["--values", *words, "--other", "end"], **call)


def size(*words: str) -> Any:
    return lists.height_and_width(parse(lists.Size.__metadata__[0], tuple[int, ...], *words))


@pytest.mark.parametrize("words", [["0", "1.5"], ["0,1.5"], ["0, 1.5"], ["0,", "1.5"], ["0 1.5"]])
def test_numbers_are_separated_by_commas_or_spaces(words: list[str]) -> None:
    assert parse(*EXAMPLES["numbers"], *words) == (0.0, 1.5)


@pytest.mark.parametrize(
    ("kind", "words", "line"),
    [
        ("numbers", ["0,a"], "cannot read --values '0,a'; write --values 0,1"),
        ("numbers", [","], "cannot read --values ','; write --values 0,1"),
        ("names", ["", ","], "cannot read --values ' ,'; write --values a,b"),
    ],
)
def test_what_is_no_list_is_refused_with_an_example(kind: str, words: list[str], line: str) -> None:
    with pytest.raises(CoercionError) as refused:
        parse(*EXAMPLES[kind], *words)
    assert line in str(refused.value)


def test_a_path_that_exists_is_not_split_at_its_comma(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse(*EXAMPLES["names"], "a,b c.npz", "d") == ("a", "b c.npz", "d")
    (tmp_path / "a,b c.npz").touch()
    assert parse(*EXAMPLES["names"], "a,b c.npz", "d") == ("a,b c.npz", "d")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a=b", "c=d"], ("a=b", "c=d")),
        (["a=b,c=d"], ("a=b", "c=d")),
        (["red fox=fox, vixen"], ("red fox=fox, vixen",)),
        (["a=b", "ankle boot=boot,c=d"], ("a=b", "ankle boot=boot", "c=d")),
    ],
)
def test_a_comma_of_a_name_splits_no_renaming(words: list[str], expected: tuple[str, ...]) -> None:
    assert parse(*EXAMPLES["renames"], *words) == expected


@pytest.mark.parametrize("words", [["48,64"], ["48", "64"], ["48x64"], ["48,", "64"]])
def test_a_size_is_one_or_two_numbers_in_any_form(words: list[str]) -> None:
    assert size(*words) == (48, 64)
    assert size("64") == (64, 64)
    assert lists.height_and_width(None) is None


@pytest.mark.parametrize("text", ["", "8,8,8", "8x0", "1.5"])
def test_sizes_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(CoercionError, match="write --values 64 or --values 48,64"):
        size(text)


@pytest.mark.parametrize("words", [["ankle boot:2, bag"], ["2:2", "1"]])
def test_classes_are_separated_by_commas_or_spaces(
    adm: Adm, models: Path, tmp_path: Path, words: list[str]
) -> None:
    """The three classes of the tiny models are sneaker, bag and ankle boot."""
    options = ("--steps", 2, "-o", tmp_path / "out")
    adm.done("sample", models / "model.safetensors", "--classes", *words, *options)
    names = sorted(path.name for path in (tmp_path / "out").glob("*_seed*.png"))
    assert [name.split("_seed")[0] for name in names] == ["ankle-boot", "ankle-boot", "bag"]


@pytest.mark.parametrize(
    ("read", "words", "message"),
    [
        (lists.whole, ("1_000", "\uff11", "2.5", "0x10", ""), "expected a whole number, got"),
        (lists.whole, ("9" * 5000, "-" + "9" * 21, str(2**64)), "expected a whole number below"),
        (lists.number, ("nan", "-INF", "1e400"), "expected a finite number, got"),
        (lists.number, ("1_0.5", "\uff11", "", "0x1p3"), "expected a number, got"),
    ],
)
def test_other_words_are_no_numbers(
    read: Callable[[str], float], words: tuple[str, ...], message: str
) -> None:
    for word in words:
        with pytest.raises(ValueError, match=message):
            read(word)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("info", "a\0b"), r"'a\x00b' holds a NUL character; remove it"),
        (("info", "~nosuchuser/m"), "~nosuchuser/m: there is no such home"),
        (("info", "s3://b/m"), "s3://b/m is an address, and adm reads and writes local paths;"),
        (("train", "digits", "--data", "s3://b/x", "--out", "run"), "s3://b/x is an address, "),
        (("train", "digits", "--out", "s3://b/x"), "s3://b/x is an address, "),
        (("info", "pipe"), "pipe is a pipe; give a file or a folder"),
        (("train", "digits", "--out", ""), "--out: the path is empty; give one, or ."),
        (("evaluate", "a", "--reference", "b", "--count", ""), "a whole number, got nothing"),
    ],
)
def test_words_are_refused_before_anything_is_opened(
    adm: Adm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    assert line in adm(*words).refusal()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
