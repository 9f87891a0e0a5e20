"""Seed, material, folders -> Bench, on which a trial works; Row, the trials of a line of the table.

A trial is a function of its number and of the seed alone. It runs the program in children of this
process, and returns its faults.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import NamedTuple

from abuse import child
from abuse.judge import Fault
from abuse.material import Material, adm

HERE = "here"


class Result(NamedTuple):
    """What a trial found.

    Attributes:
        statuses: the exit status of each command.
        note: what the table says below about this trial, such as a kill that came too late.
    """

    faults: list[Fault]
    statuses: tuple[int, ...]
    note: str = ""


@dataclass(frozen=True)
class Bench:
    """Where a trial works.

    Attributes:
        material: the undamaged files.
        work: folder of the trials that run.
        failures: folder in which those with faults are kept.
        whole: what each verb writes undisturbed; see `verbs`.
    """

    seed: int
    material: Material
    work: Path
    failures: Path
    limits: child.Limits = field(default_factory=child.Limits)

    def random(self, row: str, number: int) -> Random:
        """Return the random numbers of a trial."""
        return Random(f"{self.seed} {row} {number}")

    def folder(self, row: str, number: int) -> Path:
        """Return a new folder of a trial, alone in its parent, with a cache and a home of its own.

        All have the same name, which some results contain.
        """
        folder = self.work / name_of(row, number) / HERE
        shutil.rmtree(folder.parent, ignore_errors=True)
        for name in ("cache", "home"):
            (folder / name).mkdir(parents=True)
        return folder

    def logs(self, folder: Path) -> Path:
        """Return the folder of what the commands in a folder print."""
        return self.work / "logs" / folder.parent.name

    def start(
        self,
        folder: Path,
        words: Sequence[object],
        before: Callable[[], object] = lambda: None,
        name: str = "",
    ) -> child.Child:
        """Start the program in a folder; `before` is called in its process."""

        def work() -> None:
            before()
            adm(words, folder)

        return child.Child(work, self.logs(folder) / name, self.limits)

    def keep(self, folder: Path, story: dict[str, object]) -> Path:
        """Keep the files of a failure, and what happened."""
        target = self.failures / folder.parent.name
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(folder, target / "files", symlinks=True, ignore=_special)
        logs = self.logs(folder)
        if logs.is_dir():
            shutil.copytree(logs, target / "printed")
        (target / "case.json").write_text(json.dumps(story, indent=1, default=str) + "\n")
        return target

    def done(self, folder: Path) -> None:
        """Remove the folder of a trial."""
        shutil.rmtree(folder.parent, ignore_errors=True)
        shutil.rmtree(self.logs(folder), ignore_errors=True)


def _special(folder: str, names: list[str]) -> list[str]:
    paths = [Path(folder, name) for name in names]
    return [p.name for p in paths if not (p.is_symlink() or p.is_dir() or p.is_file())]


def name_of(row: str, number: int) -> str:
    """Return the name of the folder of a trial."""
    return f"{row.replace(',', '').replace(' ', '-')}-{number:05d}"


Trial = Callable[[Bench, str, int], Result]


@dataclass(frozen=True)
class Row:
    """The trials of a line of the table."""

    trial: Trial
    count: int
