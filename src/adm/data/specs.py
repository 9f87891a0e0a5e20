"""Data spec string -> ValueError if its path does not exist, without loading torch."""

import os
from difflib import get_close_matches

from adm.data.fetch import SCHEMES
from adm.data.naming import at_home
from adm.shown import LONGEST_PATH, shown

BUILTIN = ("fashion-mnist", "digits")  # data at a place of their own, which no spec names
NAMES = ("fashion-mnist", "fashion-mnist+download", "digits", "idx", "hf")
FORMS = (
    "fashion-mnist, fashion-mnist:/FOLDER, fashion-mnist+download:/FOLDER, digits, "
    "idx:/FOLDER, hf:NAME[@CONFIG], hf:/FOLDER, a folder of images with one sub-folder per class, "
    "a .zip or .tar of such a folder, WebDataset shards (a folder of them, a-{000..009}.tar, or an "
    "https URL of this form), or an .npz or .npy file"
)
WRITTEN = "emoji"  # the folder of a data set that a command writes
LONGEST_NAME = 40  # characters that are compared with those of data sets
PATTERN = set("*?[{")  # characters of a spec of several archives


def check_there(spec: str) -> None:
    """Raise ValueError if a data spec is a path that does not exist.

    Data that are named, such as `digits`, and patterns of several archives are not looked for.
    """
    if not spec:
        raise empty()
    name = spec.partition(":")[0]
    if name in NAMES or name in SCHEMES or PATTERN & set(spec):
        return
    if not os.path.exists(at_home(spec)):  # no for a name that is too long, unlike Path.exists
        raise no_archive(spec) if spec.endswith(".tar") else missing(spec)


def empty() -> ValueError:
    """Return the error of an empty spec."""
    return ValueError(f"the data spec is empty; give {FORMS}, or . for the current folder")


def missing(spec: str) -> ValueError:
    """Return the error of a spec that is neither a path nor a name; names similar ones."""
    if spec.rstrip("/") == WRITTEN:
        return ValueError(f"no data {spec!r}; write them with: adm data emoji --out emoji")
    near = get_close_matches(spec.partition(":")[0][:LONGEST_NAME].lower(), NAMES)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return ValueError(f"no data {shown(spec, LONGEST_PATH)}; {hint}give {FORMS}")


def no_archive(name: str) -> ValueError:
    """Return the error of a path of archives that do not exist."""
    return ValueError(f"no data {shown(name)}: no such .tar archive; give {FORMS}")
