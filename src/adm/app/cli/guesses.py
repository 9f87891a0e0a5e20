"""CycloptsError, words -> message, which suggests only what is really near."""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from cyclopts import CycloptsError, MissingArgumentError

LEAST = 0.6  # similarity of two names with the same first letter
LEAST_OF_OTHERS = 0.75
PREFIX = re.compile(r"^Invalid value for \S+: (?=cannot read )")  # the rest names the option again
SWITCH = re.compile(r'^Invalid value for (\S+): unable to convert (".*") into bool\.$', re.DOTALL)
GUESS = re.compile(r' Did you mean "?(?P<near>[\w-]+)"?\?')
GIVEN = re.compile(r'Unknown (?:option: |command ")(?P<given>[^\s".=]+)')


def message(error: CycloptsError, words: Sequence[str]) -> str:
    """Return the message of an error in the words of a command line."""
    text = PREFIX.sub("", str(error))
    text = SWITCH.sub(r"\1 takes no value, got \2; write \1 alone", text)
    guess, given = GUESS.search(text), GIVEN.search(text)
    if guess and given and not near(given["given"], guess["near"]):
        text = text[: guess.start()] + text[guess.end() :]
    swallowed = _swallowed(words)
    if isinstance(error, MissingArgumentError) and swallowed and _positional(error):
        option, values = swallowed
        return (
            f"{_name(error)} is missing; it comes before the options, and {option} took "
            f"{' '.join(values)}"
        )
    return text


def near(given: str, other: str) -> bool:
    """Return whether a name is likely a misspelling of another, leading dashes aside."""
    one, two = given.lstrip("-"), other.lstrip("-")
    least = LEAST if one[:1] == two[:1] else LEAST_OF_OTHERS
    return SequenceMatcher(None, one, two).ratio() >= least


def _positional(error: MissingArgumentError) -> bool:
    return not _name(error).startswith("-")


def _name(error: MissingArgumentError) -> str:
    return "" if error.argument is None else error.argument.name


def _swallowed(words: Sequence[str]) -> tuple[str, list[str]] | None:
    """Return the last option that took two words or more, and these words."""
    found, option, values = None, "", list[str]()
    for word in (*words, "--"):
        if not word.startswith("-"):
            values.append(word)
            continue
        if option and len(values) > 1:
            found = option, values
        option, values = word, []
    return found
