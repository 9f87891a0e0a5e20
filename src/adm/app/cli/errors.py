"""Error of the user -> one line that names the cure, in the words of the command line."""

import errno
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from cyclopts import CycloptsError, MissingArgumentError, UnknownOptionError

from adm.elsewhere import ELSEWHERE
from adm.shown import printable, short, shown
from adm.store.files import of_system

LONGEST_WORD, LONGEST_LINE = 400, 2000  # characters
AROUND = 20  # characters shown before and after one that is not UTF-8
LONG = re.compile(rf"\S{{{LONGEST_WORD},}}")
# Options whose values have parameters.
SPECS = ("sampler", "grid", "guide", "threshold", "bound", "operator", "method", "edit", "then")
OF_SETTINGS = ("set", "vary")  # options that take any setting, by name
# What the system refuses; {it} is the path, and {again} how the command goes on.
SENTENCES = {
    errno.ENOSPC: "the disk that holds {it} is full; free space, then {again}",
    errno.EDQUOT: "the quota of the disk that holds {it} is used up; free space, then {again}",
    errno.EROFS: "{it} is on a disk that is read-only; choose another path",
    errno.EACCES: "{it}: permission denied; change its permissions, or choose another path",
    errno.EPERM: "{it}: permission denied; change its permissions, or choose another path",
    errno.ENOENT: "{it} does not exist; check the path",
    errno.ENOTDIR: "{it} is, or is in, a file where a folder is needed; choose another path",
    errno.EISDIR: "{it} is a folder where a file is needed; choose another path",
    errno.EMFILE: "too many files are open; raise the limit with `ulimit -n 4096`, then {again}",
    errno.ENOMEM: "the memory is full; end other programs, then {again}",
}
OTHERWISE = "{it}: {reason}; choose another path, or resolve that error, then {again}"
TEMPORARY = "; temporary files are there, and TMPDIR names another folder for them"
NO_TEMPORARY_FOLDER = "No usable temporary directory"

Arguments = Callable[[], Mapping[str, str]]


def line(error: BaseException, again: str, arguments: Arguments) -> str:
    """Return the message of an error as one short line without control characters.

    Args:
        again: how the command goes on, as in "run the same command again to resume".
        arguments: returns argument -> what the verb calls it, as in `scale` -> `--scale`.
    """
    text = printable(" ".join(_message(error, again, arguments).split()))
    return short(LONG.sub(lambda word: short(word[0], LONGEST_WORD), text), LONGEST_LINE)


def _message(error: BaseException, again: str, arguments: Arguments) -> str:
    # Here, because pydantic, which it imports, takes a third of the time of `adm --help`.
    from adm.spec import SettingError

    if isinstance(error, SettingError):
        named = arguments()
        return error.text(option(error.field, None, named), partial(option, named=named))
    if isinstance(error, CycloptsError):
        return of_words(error, arguments())
    if isinstance(error, OSError):
        return of_disk(error, again)
    if isinstance(error, MemoryError):
        detail = f" ({error})" if str(error) else ""
        return f"the memory is full{detail}; end other programs, or give less to do at a time"
    if isinstance(error, UnicodeDecodeError | UnicodeEncodeError):
        near = shown(error.object[max(error.start - AROUND, 0) : error.end + AROUND])
        return f"a file or a name is not UTF-8, near {near}; write it in UTF-8, and try again"
    return str(error)


def option(name: str, value: str | None, named: Mapping[str, str]) -> str:
    """Return what a verb calls an argument or a setting: `scale`, 2 -> `--scale 2`.

    Args:
        named: argument -> its word, of the verb; a setting without one is set by name.
    """
    first, dot, rest = name.partition(".")
    if dot and first in SPECS:
        return f"{rest} of {option(first, None, named)}"
    if name in named:
        word = named[name]
        return word if value in (None, "True") else f"{word} {value}"
    for taker in OF_SETTINGS:
        if taker in named:
            pair = name if value is None else f"{name}={value.lower()}"
            return f"{named[taker]} {pair}"
    flag = f"--{name.replace('_', '-')}"
    return flag if value in (None, "True") else f"{flag} {value}"


def of_disk(error: OSError, again: str) -> str:
    """Describe an error of the system; return a message that says more unchanged."""
    if NO_TEMPORARY_FOLDER in str(error):
        return f"no folder for temporary files can be written; set TMPDIR to one, then {again}"
    if not of_system(error):
        return str(error) if error.errno is None else str(error.strerror)
    path = error.filename2 if error.filename2 is not None else error.filename
    it = "a file of this command" if path is None else os.fsdecode(path)
    known = SENTENCES.get(error.errno or 0, OTHERWISE)
    sentence = known.format(it=it, again=again, reason=str(error.strerror).lower())
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    # The folder itself: what is in it may be an --out.
    return sentence + TEMPORARY * (is_full and Path(it) == Path(tempfile.gettempdir()))


def of_words(error: CycloptsError, named: Mapping[str, str]) -> str:
    """Describe words that are no command line; `named` is as of `option`."""
    if isinstance(error, UnknownOptionError):
        unknown = error.token.keyword or ""
        if ours := ELSEWHERE.get(unknown.lstrip("-").replace("-", "_")):
            name, _, value = ours.partition("=")
            word = option(name, value or None, named)
            return f"Unknown option: {unknown}. It is called {word} here."
    name = "-" if error.argument is None else error.argument.name
    if isinstance(error, MissingArgumentError) and not name.startswith("-"):
        return f"{name} is missing; it comes before the options"
    return str(error)
