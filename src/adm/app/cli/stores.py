"""Words with an --out in a store -> words with its copy here, fetched before and put after.

Every verb writes its --out to the disk. `needed` selects the files of the store that it reads.
"""

import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from adm.app.notices import notice
from adm.data.naming import MANIFEST
from adm.store.files import is_address
from adm.store.hashes import SUMS

if TYPE_CHECKING:  # which load torch
    from adm.training.loop import Progress

OUT = re.compile(r"(?:--out|-o)(?:=(.+))?", re.DOTALL)
STEP = re.compile(r"(.+/checkpoints/step-\d{7,12})/.+")
STATE = "state.json"  # of a checkpoint, whose module loads torch
LATER = re.compile(r"\.[^/]+\.parts/.+\.npz|.+\.tar|.+\.index\.json")  # read if at all


@contextmanager
def mirrored(words: Sequence[str]) -> Iterator[list[str]]:
    """Replace the address of an --out by its copy, which is equal to the store before and after.

    Write access to the store is tested first. What a failed or stopped command leaves is put there,
    too, so that it may resume elsewhere. Of several ranks, the first one writes there.

    Raises:
        ValueError: the store refuses.
    """
    local = list(words)
    place, address = _address(local)
    if address is None or {"--help", "-h"} & {*words}:
        yield local
        return
    from adm.store.remote import Mirror  # which loads more than --help may

    mirror, main = Mirror.at(address), os.environ.get("RANK", "0") == "0"
    local[place] = local[place].replace(address, str(mirror.local))
    if main:
        mirror.probe()
    mirror.begin()
    mirror.pull(needed)
    try:
        yield local
    except BaseException:
        if main:
            try:
                mirror.push()
            except ValueError as error:  # that of the command matters more
                notice(str(error))
        raise
    if main:
        mirror.push()


def pushed(steps: "Iterator[Progress]", run: Path) -> "Iterator[Progress]":
    """Yield the steps of a run; put what is new in a copy into the store at each checkpoint.

    The description of the run is put there first, so that another run is refused.
    """
    from adm.store.remote import Mirror

    mirror = Mirror.of(run)
    if mirror is None or os.environ.get("RANK", "0") != "0":
        yield from steps
        return
    mirror.push(sole=True)
    for step in steps:
        if step.saved is not None:
            try:
                mirror.push(sole=True)
            except ValueError as error:
                notice(f"{error}; the next checkpoint is put with this one")
        yield step


def _address(words: Sequence[str]) -> tuple[int, str | None]:
    """Return which word has the address of an --out, and the address."""
    for place, word in enumerate(words):
        match = OUT.fullmatch(word)
        if match is None:
            continue
        place, value = (
            (place, match[1]) if match[1] else (place + 1, "".join(words[place + 1 :][:1]))
        )
        if is_address(value):
            return place, value
    return 0, None


def needed(names: Collection[str]) -> set[str]:
    """Return the files that a command needs to resume.

    These are all but the parts, which are read once all are complete, shards, and the single images
    of sample folders, which their archive holds, too. Of checkpoints before the newest, the numbers
    are enough.
    """
    folders = {match[1] for name in names if (match := STEP.fullmatch(name))}
    newest = max(folders, key=lambda folder: (len(folder), folder), default="")
    samples = tuple(name.removesuffix(MANIFEST) for name in names if name.endswith(f"/{MANIFEST}"))
    return {
        name
        for name in names
        if not LATER.fullmatch(name)
        and not (name.endswith(".png") and name.startswith(samples))
        and (STEP.fullmatch(name) is None or name.startswith(f"{newest}/") or _numbers(name))
    }


def _numbers(name: str) -> bool:
    return name.endswith((f"/{STATE}", f"/{SUMS}"))
