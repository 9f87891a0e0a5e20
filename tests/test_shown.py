"""Values in messages are short, on one line, and without control sequences."""

import pytest

from adm.shown import LONGEST, printable, short, shown


@pytest.mark.parametrize(
    "value",
    ["\x1b]0;title\x07", "a\nb", "\u202eabc", "\udcff", b"\x1b[2J", "\x7f", "\u2028", "\x9b1m", 5],
)
def test_nothing_shown_acts_on_a_terminal(value: object) -> None:
    for text in (shown(value), printable(str(value)), printable(f"a {value} b")):
        assert text.isprintable()
        text.encode()  # no lone surrogates


def test_readable_text_stays() -> None:
    for text in ("snow man ☃", "日本語", "🏳️\u200d🌈"):
        assert printable(text) == text


@pytest.mark.parametrize(
    "value", ["x" * 10**6, list(range(10**4)), [10**5000], {"a": "b" * 999}], ids=type
)
def test_long_values_are_cut_short(value: object) -> None:
    assert len(shown(value)) <= LONGEST
    assert len(shown(value, 30)) <= 30


def test_the_start_and_the_end_of_a_long_text_stay() -> None:
    assert short("0123456789", 10) == "0123456789"
    assert short("abcdefghijklmnopqrstuvwxyz", 12) == "abcdefgh…xyz"


def test_of_long_values_only_the_ends_are_shown() -> None:
    for value in (list(range(1000)), dict.fromkeys(range(1000)), [["a" * 1000] * 1000], "b" * 1000):
        assert shown(value) == short(repr(value))
